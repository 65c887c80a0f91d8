//! One step of the gateway after the other, as a shard lets them out: what is saved is written, after a while; what is
//! said leaves in order, once everything before it is written; refusals overtake. And the death of the process, at any
//! commit: before it, after it, or when half of what waited for it has left.

use std::collections::VecDeque;
use std::time::Duration;

use mostar::gateway::{Gateway, Input, Output, StoreChange};
use mostar::store::record::{Key, Record, Restored};
use mostar::words::id::Seed;
use mostar::words::note::Note;
use mostar::words::time::{Now, Wall};
use rand_core::Rng;

use super::world::{Event, PEACE, World};

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

/// What is written together, and what leaves then.
#[derive(Debug, Default)]
pub struct Disk {
    /// How long writing takes, in milliseconds; 0: it is done at once.
    latency: u64,
    /// Nothing can be written.
    down: bool,
    /// What is to be written, by step.
    orders: VecDeque<Vec<Change>>,
    /// What waits, with the number of orders that must have been written before.
    held: VecDeque<(u64, Output)>,
    ordered: u64,
    written: u64,
    /// What must be written before anything that is said now may leave.
    needs: u64,
    /// Which life of the process the writer works for.
    life: u64,
}

#[derive(Debug)]
enum Change {
    Save(Key, Vec<u8>),
    Forget(Key),
}

impl Disk {
    /// Nothing is written yet.
    pub fn new(latency: u64) -> Disk {
        Disk { latency, ..Disk::default() }
    }
}

/// What the figures of the gateway say: accepted = delivered + refused + expired + withdrawn + queued + in flight.
#[derive(Debug, Default)]
pub struct Books {
    /// To XMPP, to SIP: accepted; what became of it; what waits or flies.
    sides: [[i64; 4]; 2],
    sessions: i64,
}

impl Books {
    fn note(&mut self, note: &Note) {
        let side = |labels: &str| usize::from(labels.contains("xmpp_to_sip"));
        match note {
            Note::Count { name: "messages_total", labels, by } => {
                let side = &mut self.sides[side(labels[0].1)];
                side[usize::from(labels[1].1 != "accepted")] += *by as i64;
            }
            Note::Gauge { name: "messages_queued", labels, by } => self.sides[side(&labels[0].1)][2] += by,
            Note::Gauge { name: "messages_in_flight", labels, by } => self.sides[side(&labels[0].1)][3] += by,
            Note::Gauge { name: "msrp_sessions", by, .. } => self.sessions += by,
            _ => {}
        }
    }

    fn judge(&self) -> Result<(), String> {
        let is_right = |[accepted, over, queued, flying]: &[i64; 4]| {
            *accepted == over + queued + flying && *queued >= 0 && *flying >= 0
        };
        if self.sides.iter().all(is_right) && self.sessions >= 0 { Ok(()) } else { Err(format!("{self:?}")) }
    }

    /// Whether nothing waits, flies or is open.
    pub fn is_at_rest(&self) -> bool {
        self.sides.iter().all(|[_, _, queued, flying]| *queued == 0 && *flying == 0) && self.sessions == 0
    }
}

impl World {
    /// One step of the gateway.
    pub fn apply(&mut self, input: Input) {
        let now = Now { tick: self.now, wall: Wall(1_795_219_200_000) + Duration::from_micros(self.now.0) };
        self.gateway.handle(now, input);
        let (mut changes, mut outputs, mut saves) = (Vec::new(), Vec::new(), false);
        while let Some(output) = self.gateway.poll() {
            match output {
                Output::Save(Record { key, value }) => {
                    saves = true;
                    changes.push(Change::Save(key, value));
                }
                Output::Forget(key) => changes.push(Change::Forget(key)),
                Output::Now(output) => outputs.push((true, *output)),
                Output::Note(note) => self.books.note(&note),
                Output::Fetch(partition) => self.restore.fetch(partition),
                output => outputs.push((false, output)),
            }
        }
        if let Err(books) = self.books.judge() {
            self.ledger.wrong(format!("the figures do not add up at {:?}: {books}", self.now));
        }
        if !changes.is_empty() {
            self.disk.orders.push_back(changes);
            self.disk.ordered += 1;
            if self.disk.latency > 0 && !self.disk.down {
                let (life, wait) = (self.disk.life, 1 + self.below(self.disk.latency));
                self.after(wait, Event::Written(life));
            }
        }
        if saves {
            self.disk.needs = self.disk.ordered;
        }
        let waits = self.disk.needs > self.disk.written || !self.disk.held.is_empty();
        for (overtakes, output) in outputs {
            if overtakes || !waits {
                self.leave(output);
            } else {
                self.disk.held.push_back((self.disk.needs, output));
            }
        }
        if self.disk.latency == 0 {
            self.write();
        }
    }

    /// The writer of that life has written something.
    pub fn written(&mut self, life: u64) {
        if life == self.disk.life {
            self.write();
        }
    }

    /// The writer has written all that it was handed: what waited for that leaves.
    fn write(&mut self) {
        if self.disk.down {
            return;
        }
        let orders = std::mem::take(&mut self.disk.orders);
        let mut death = None;
        if !orders.is_empty() {
            self.ledger.totals.commits += 1;
            death = self.deaths.remove(&self.ledger.totals.commits);
            if death == Some(Death::Before) {
                return self.crash();
            }
        }
        for change in orders.into_iter().flatten() {
            match change {
                Change::Save(key, value) => {
                    if matches!(key.kind, "post" | "page") {
                        self.ledger.saved(&String::from_utf8_lossy(&value));
                    }
                    self.store.insert(key.to_string(), value);
                }
                Change::Forget(key) => {
                    self.store.remove(&key.to_string());
                }
            }
        }
        self.disk.written = self.disk.ordered;
        let (mut half, life) = (self.disk.held.len() / 2, self.disk.life);
        while self.disk.held.front().is_some_and(|(needs, _)| *needs <= self.disk.written) {
            if death == Some(Death::After) || death == Some(Death::Midway) && half == 0 {
                break;
            }
            half = half.saturating_sub(1);
            let Some((_, output)) = self.disk.held.pop_front() else { return };
            self.leave(output);
            if self.disk.life != life {
                return;
            }
        }
        if death.is_some() {
            let written = self.disk.written;
            let held = std::mem::take(&mut self.disk.held);
            held.iter().filter(|(needs, _)| *needs <= written).for_each(|(_, output)| self.dies_with(output));
            self.crash();
        }
    }

    /// The store fails, or is back.
    pub fn store_changes(&mut self, down: bool) {
        self.note(if down { "the store fails" } else { "the store is back" });
        self.disk.down = down;
        if down {
            self.apply(Input::Store(StoreChange::Down));
        } else {
            self.write();
            self.apply(Input::Store(StoreChange::Ok));
        }
    }

    /// The process dies and is started again.
    pub fn crash(&mut self) {
        self.note("crash and restart");
        self.ledger.totals.crashes += 1;
        self.ledger.crashed(self.now);
        self.disk = Disk { latency: self.disk.latency, life: self.disk.life + 1, ..Disk::default() };
        self.books = Default::default();
        let mut seed = [self.disk.life as u8; 32];
        seed[..8].copy_from_slice(&self.rng.next_u64().to_le_bytes());
        self.gateway = Gateway::new(self.config.clone(), Seed(seed));
        self.connection += 1;
        if self.link % 2 == 1 {
            self.link += 1;
        }
        self.wires_die();
        if self.now < PEACE && seed[0].is_multiple_of(2) {
            let wait = 10 + self.below(3_000);
            self.after(wait, Event::LinkUp);
            return self.restores_slowly(seed[1]);
        }
        let life = self.disk.life;
        for (key, value) in self.store.clone() {
            let record = Restored::parse(&key, value).expect("the gateway's own keys can be read");
            self.apply(Input::Restored(record));
            if self.disk.life != life {
                return;
            }
        }
        self.apply(Input::RestoreDone);
        let wait = 10 + self.below(3_000);
        self.after(wait, Event::LinkUp);
    }
}
