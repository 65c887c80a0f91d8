//! A process that is simulated: a gateway and its disk. One step of the gateway after the other, as a shard lets them out:
//! what is saved is written, after a while; what is said leaves in order, once everything before it is written; refusals
//! overtake. And the death of the process, at any commit: before it, after it, or when half of what waited has left.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use mostar::config::Config;
use mostar::gateway::{Gateway, Input, Output, StoreChange};
use mostar::store::record::{Key, Life, Record};
use mostar::words::id::Seed;
use mostar::words::note::Note;
use mostar::words::time::{Now, Tick, Wall};

use super::course::{Course, Next};
use super::invariants::Checks;
use super::invariants::Invariant::{self, Again};
use super::invariants::door::Door;
use super::restore::{Restore, records};

/// When the process dies, about a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Nothing of it is written.
    Before,
    /// It is written, and nobody was told.
    After,
    /// Half of those who are to be told were.
    Midway,
}

impl Death {
    /// How the process dies at its commit of this number.
    pub fn at(commit: u64) -> Death {
        [Death::Before, Death::After, Death::Midway][(commit % 3) as usize]
    }
}

/// See the module.
pub struct Process {
    pub gateway: Gateway,
    pub store: BTreeMap<String, Vec<u8>>,
    pub checks: Checks,
    pub door: Door,
    /// Commits at which the process dies, counted from 1.
    pub deaths: BTreeMap<u64, Death>,
    /// Which life this is; so often it has died.
    pub life: u64,
    pub commits: u64,
    /// Starts whose records came back while the world went on.
    pub slow_starts: u64,
    /// With each death the calendar is set: ten days forward, ten days back, or to what it should be.
    pub is_set: bool,
    /// How far it is off, in days.
    pub days: i64,
    /// Another of the same process watches the SIP peers.
    is_without_watch: bool,
    config: Arc<Config>,
    /// How long writing takes, in milliseconds; 0: it is done at once.
    latency: u64,
    /// What is to be written, by step.
    orders: VecDeque<Vec<Change>>,
    /// What waits, with the number of orders that must have been written before.
    held: VecDeque<(u64, Output)>,
    ordered: u64,
    written: u64,
    /// When the store failed last, and when it was back: while it is not, nothing can be written.
    outage: Option<(Tick, Option<Tick>)>,
    /// What must be written before anything that is said now may leave.
    needs: u64,
    restore: Restore,
}

#[derive(Debug)]
enum Change {
    Save(Key, Vec<u8>, Life),
    Forget(Key),
}

impl Process {
    /// A gateway that has heard nothing yet, and an empty disk.
    pub fn new(config: Arc<Config>, seed: Seed, latency: u64, deaths: &[(u64, Death)]) -> Process {
        Process {
            gateway: Gateway::new(config.clone(), seed),
            store: BTreeMap::new(),
            checks: Checks::default(),
            door: Door::default(),
            deaths: deaths.iter().copied().collect(),
            life: 0,
            commits: 0,
            slow_starts: 0,
            is_set: false,
            days: 0,
            is_without_watch: false,
            config,
            latency,
            orders: VecDeque::new(),
            held: VecDeque::new(),
            ordered: 0,
            written: 0,
            outage: None,
            needs: 0,
            restore: Restore::default(),
        }
    }

    /// A step's changes, and what it says: true where that need not wait.
    fn step(&mut self, now: Now, input: Input) -> (Vec<Change>, Vec<(bool, Output)>, Vec<Note>) {
        self.door.goes_in(&input);
        self.gateway.handle(now, input);
        let (mut changes, mut outputs, mut notes) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(output) = self.gateway.poll() {
            match output {
                Output::Save(Record { key, value, life }) => changes.push(Change::Save(key, value, life)),
                Output::Forget(key) => changes.push(Change::Forget(key)),
                Output::Now(output) => outputs.push((true, *output)),
                Output::Fetch(partition) => self.restore.fetch(partition),
                Output::Note(note) => {
                    self.door.counts(&note);
                    notes.push(note);
                }
                output => outputs.push((false, output)),
            }
        }
        self.door.adds_up(&mut self.checks);
        for (overtakes, output) in &outputs {
            self.door.comes_out(&mut self.checks, now.tick, output, *overtakes);
        }
        (changes, outputs, notes)
    }

    fn now(&self, tick: Tick) -> Now {
        let beginning = Wall(1_795_219_200_000_u64.saturating_add_signed(self.days * 86_400_000));
        Now { tick, wall: beginning + Duration::from_micros(tick.0) }
    }

    /// Whether the gateway leaves it to another to watch the SIP peers. Before its first step.
    pub fn leave_watch(&mut self, leaves: bool) {
        self.is_without_watch = leaves;
        if leaves {
            let gateway = Gateway::new(self.config.clone(), Seed([0; 32]));
            self.gateway = std::mem::replace(&mut self.gateway, gateway).without_watch();
        }
    }

    fn rises(&mut self, chance: u64) {
        self.life += 1;
        let mut seed = [self.life as u8; 32];
        seed[..8].copy_from_slice(&chance.to_le_bytes());
        if self.is_set {
            self.days = [10, -10, 0][(chance % 3) as usize];
        }
        self.gateway = Gateway::new(self.config.clone(), Seed(seed));
        self.leave_watch(self.is_without_watch);
        (self.orders, self.held) = (VecDeque::new(), VecDeque::new());
        (self.ordered, self.written, self.needs) = (0, 0, 0);
        self.door.dies();
    }

    fn is_down(&self) -> bool {
        matches!(self.outage, Some((_, None)))
    }

    /// Since when what is said may not be remembered as said, should the process die now: while the store fails nothing is
    /// forgotten, and what was said is looked at a moment after it is back.
    pub fn unremembered(&self, now: Tick) -> Tick {
        let is_recent = |back: Option<Tick>| back.is_none_or(|back| back.0 + 100_000 >= now.0);
        match self.outage {
            Some((from, back)) if is_recent(back) => from.min(now),
            _ => now,
        }
    }
}

/// What the process does in a while. Its world gives it back with [`Host::due`].
#[derive(Clone, Copy, Debug)]
pub enum Due {
    /// The writer of that life has written something.
    Written(u64),
    /// More records come back in that life.
    Restores(u64),
}

/// A world with a process in it. What it must say stands first; what it may, next; what it gets for that, below.
pub trait Host: Sized {
    /// What happens in it.
    type Event;
    /// What is broken where there is no end to it.
    const ENDLESS: Invariant = Invariant::Rest;

    /// Its process.
    fn process(&mut self) -> &mut Process;
    /// Its course.
    fn course(&mut self) -> &mut Course<Self::Event>;
    /// What its process does in a while, as an event.
    fn becomes(&self, due: Due) -> Self::Event;
    /// An event happens.
    fn happen(&mut self, event: Self::Event);
    /// Until when the edges of timers are looked for, and how many of a hundred moments are next to one.
    fn edges(&self) -> (Tick, u64);
    /// Whether records may come back while the world goes on; else they are back before anything else.
    fn restores_slowly(&self) -> bool;
    /// Something leaves the process.
    fn leaves(&mut self, output: Output);
    /// The process has died: so have its connections. What it is to forget is forgotten.
    fn died(&mut self);
    /// It has been started again; its records may still be coming back.
    fn risen(&mut self);

    /// The gateway has made something, which leaves when the disk lets it.
    fn made(&mut self, _output: &Output) {}
    /// A record is on disk.
    fn saved(&mut self, _key: &Key, _value: &[u8]) {}
    /// What this was about is on disk, and it was never said.
    fn dies_unsaid(&mut self, _output: &Output) {}
    /// The gateway has logged or counted something.
    fn noted(&mut self, _note: &Note) {}
    /// A line of the process for who reads the trace.
    fn tells(&mut self, line: &str) {
        self.course().note(line);
    }

    /// Whether it is enough: where nobody says until when, when everybody has done what he was to do.
    fn is_enough(&mut self, until: Option<Tick>) -> bool {
        until.is_none() && self.course().acts == 0
    }

    /// When the next timer rings; its process is the one that acts then.
    fn alarm(&mut self) -> Option<Tick> {
        self.process().gateway.next_timeout().map(|(at, _)| at)
    }

    /// Everything happens until then, or until it is enough.
    fn run(&mut self, until: Option<Tick>) {
        for _ in 0..400_000 {
            let has_failed = self.process().checks.first().is_some();
            if has_failed && !self.course().show || self.is_enough(until) {
                return;
            }
            let alarm = self.alarm();
            match self.course().next(alarm, until) {
                Some(Next::Alarm) => self.apply(Input::Timeout),
                Some(Next::Event(event)) => self.happen(event),
                None => return,
            }
        }
        let what = format!("there is no end to it: {:?}", self.process().gateway.next_timeout());
        self.broken(Self::ENDLESS, what);
    }

    /// So much time passes.
    fn pass(&mut self, time: Duration) {
        let until = self.course().now + time;
        self.run(Some(until));
        self.course().now = until;
    }

    /// An invariant does not hold.
    fn broken(&mut self, invariant: Invariant, what: String) {
        self.course().note(&format!("WRONG: {what}"));
        let what = format!("{:.3}: {what}", self.course().now.0 as f64 / 1e6);
        self.process().checks.broken(invariant, what);
    }

    /// A moment for the next thing that people or faults do: most of them next to an edge of a timer.
    fn moment(&mut self, spread: u64) -> Tick {
        let (until, percent) = self.edges();
        let edge = self.process().gateway.next_timeout().map(|(at, _)| at).filter(|at| *at < until);
        let edge = edge.filter(|_| self.course().chance(percent));
        self.process().checks.drawn(edge.is_some());
        self.course().moment(edge, spread)
    }

    /// The process does what it said it would.
    fn due(&mut self, due: Due) {
        match due {
            Due::Written(life) if life == self.process().life => self.writes(),
            Due::Written(_) => {}
            Due::Restores(life) => self.restores(life),
        }
    }

    /// The process will do this in so many milliseconds.
    fn is_due(&mut self, millis: u64, due: Due) {
        let event = self.becomes(due);
        self.course().after(millis, event);
    }

    /// Nothing keeps this back any more.
    fn lets_out(&mut self, output: Output) {
        let process = self.process();
        process.door.leaves(&mut process.checks, &output);
        self.leaves(output);
    }

    /// Something that was heard.
    fn apply(&mut self, input: Input) {
        let tick = self.course().now;
        let now = self.process().now(tick);
        let (changes, outputs, notes) = self.process().step(now, input);
        notes.iter().for_each(|note| self.noted(note));
        let saves = changes.iter().any(|change| matches!(change, Change::Save(..)));
        if !changes.is_empty() {
            let process = self.process();
            process.orders.push_back(changes);
            process.ordered += 1;
            let (latency, life) = (process.latency, process.life);
            if latency > 0 && !process.is_down() {
                let wait = 1 + self.course().below(latency);
                self.is_due(wait, Due::Written(life));
            }
        }
        let process = self.process();
        if saves {
            process.needs = process.ordered;
        }
        let waits = process.needs > process.written || !process.held.is_empty();
        for (overtakes, output) in outputs {
            self.made(&output);
            if overtakes || !waits {
                self.lets_out(output);
            } else {
                let process = self.process();
                process.held.push_back((process.needs, output));
            }
        }
        if self.process().latency == 0 {
            self.writes();
        }
    }

    /// The writer has written all that it was handed: what waited for that leaves.
    fn writes(&mut self) {
        let process = self.process();
        if process.is_down() {
            return;
        }
        let orders = std::mem::take(&mut process.orders);
        let mut death = None;
        if !orders.is_empty() {
            process.commits += 1;
            death = process.deaths.remove(&process.commits);
            if death == Some(Death::Before) {
                return self.crash();
            }
        }
        for change in orders.into_iter().flatten() {
            match change {
                Change::Save(key, value, life) => {
                    self.saved(&key, &value);
                    let process = self.process();
                    let is_first = process.store.insert(key.to_string(), value).is_none();
                    // A store takes it at its word, and would give the one before back after a crash. Mistakes that are made
                    // on purpose break this too, and are to be found by the checkers of what people see.
                    let is_so = life != Life::First || is_first || cfg!(feature = "sabotage");
                    process.checks.hold(Again, is_so, || format!("{key} is not the first of its name"));
                }
                Change::Forget(key) => drop(self.process().store.remove(&key.to_string())),
            }
        }
        let process = self.process();
        process.written = process.ordered;
        let (mut half, life) = (process.held.len() / 2, process.life);
        loop {
            let process = self.process();
            let may = process.held.front().is_some_and(|(needs, _)| *needs <= process.written);
            if !may || death == Some(Death::After) || death == Some(Death::Midway) && half == 0 {
                break;
            }
            half = half.saturating_sub(1);
            let Some((_, output)) = process.held.pop_front() else { return };
            self.lets_out(output);
            if self.process().life != life {
                return;
            }
        }
        if death.is_some() {
            let process = self.process();
            let (written, held) = (process.written, std::mem::take(&mut process.held));
            held.iter()
                .filter(|(needs, _)| *needs <= written)
                .for_each(|(_, output)| self.dies_unsaid(output));
            self.crash();
        }
    }

    /// The store fails, or is back.
    fn store_changes(&mut self, down: bool) {
        if self.process().is_down() == down {
            return;
        }
        self.tells(if down { "the store fails" } else { "the store is back" });
        let now = self.course().now;
        match &mut self.process().outage {
            Some((_, back)) if !down => *back = Some(now),
            outage => *outage = Some((now, None)),
        }
        if down {
            self.apply(Input::Store(StoreChange::Down));
        } else {
            self.writes();
            self.apply(Input::Store(StoreChange::Ok));
        }
    }

    /// The process dies and is started again.
    fn crash(&mut self) {
        self.tells("crash and restart");
        let chance = self.course().below(u64::MAX);
        self.process().rises(chance);
        self.died();
        self.process().outage = None;
        let life = self.process().life;
        // What chance drew says this as well.
        let [is_slow, order, ..] = chance.to_be_bytes();
        if is_slow.is_multiple_of(2) && self.restores_slowly() {
            self.tells("the records come back one after the other");
            let process = self.process();
            (process.restore, process.slow_starts) =
                (Restore::of(&process.store, order), process.slow_starts + 1);
            self.is_due(u64::from(order), Due::Restores(life));
            self.apply(Input::Restoring);
            return self.risen();
        }
        for record in records(&self.process().store.clone()) {
            self.apply(Input::Restored(record));
            if self.process().life != life {
                return;
            }
        }
        self.apply(Input::RestoreDone);
        self.risen();
    }

    /// In that life, the next partition that has records comes back, and those before it that have none.
    fn restores(&mut self, life: u64) {
        while life == self.process().life {
            let Some((partition, records)) = self.process().restore.next() else {
                self.tells("all records are back");
                return self.apply(Input::RestoreDone);
            };
            let is_empty = records.is_empty();
            for record in records {
                self.apply(Input::Restored(record));
            }
            if life == self.process().life {
                self.apply(Input::Whole(partition));
            }
            let wait = u64::from(partition.0) * 3;
            if !is_empty && life == self.process().life && self.restores_slowly() {
                return self.is_due(wait, Due::Restores(life));
            }
        }
    }
}
