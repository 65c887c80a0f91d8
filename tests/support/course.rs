//! The course of a simulated world: its clock, its chance, what is to happen and when, and a trace of what has. All of it
//! comes from one seed: who draws in the same order gets the same course.
//!
//! It knows nothing of gateways or people. What an event is, each world says for itself.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::time::Duration;

use mostar::words::time::Tick;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// See the module.
pub struct Course<Event> {
    /// What time it is.
    pub now: Tick,
    /// The trace is printed.
    pub show: bool,
    /// How often people and faults do something yet.
    pub acts: u64,
    rng: ChaCha8Rng,
    /// What is to happen, by its time and by the order in which that was said.
    queue: BTreeMap<(Tick, u64), Event>,
    sequence: u64,
    /// When the last event of each stream happens.
    streams: BTreeMap<(&'static str, u64), Tick>,
    counter: u64,
    trace: DefaultHasher,
}

/// What comes next.
pub enum Next<Event> {
    /// The alarm rings.
    Alarm,
    Event(Event),
}

/// The bytes of a seed, those of its number before those of its world.
pub fn bytes(world: u8, seed: u64) -> [u8; 32] {
    let mut bytes = [world; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes
}

/// A link that falls again soon stays up for so long at most.
pub const FLAP: Duration = Duration::from_millis(600);

impl<Event> Course<Event> {
    /// The beginning, when nothing is to happen yet.
    pub fn new(seed: [u8; 32], show: bool) -> Course<Event> {
        Course {
            now: Tick(1),
            show,
            acts: 0,
            rng: ChaCha8Rng::from_seed(seed),
            queue: BTreeMap::new(),
            sequence: 0,
            streams: BTreeMap::new(),
            counter: 0,
            trace: DefaultHasher::new(),
        }
    }

    /// True so often of a hundred times.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.rng.next_u64() % 100 < percent
    }

    /// A link has come up: half of the times it falls again soon.
    pub fn may_flap(&mut self, falls: Event) {
        if self.chance(50) {
            let soon = self.below(FLAP.as_millis() as u64);
            self.after(soon, falls);
        }
    }

    /// A number under this one.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.rng.next_u64() % limit.max(1)
    }

    /// Less than so many milliseconds, in whole ones.
    pub fn millis(&mut self, limit: u64) -> Duration {
        Duration::from_millis(self.below(limit))
    }

    /// Less than so many milliseconds, to the microsecond.
    pub fn micros(&mut self, limit: u64) -> Duration {
        Duration::from_micros(self.below(limit * 1000))
    }

    /// The next number for something that must have a name of its own.
    pub fn count(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// The last of those numbers.
    pub fn counted(&self) -> u64 {
        self.counter
    }

    /// This happens then, and now if that has passed.
    pub fn at(&mut self, when: Tick, event: Event) {
        self.sequence += 1;
        self.queue.insert((when.max(self.now), self.sequence), event);
    }

    /// This happens in so many milliseconds.
    pub fn after(&mut self, millis: u64, event: Event) {
        self.at(self.now + Duration::from_millis(millis), event);
    }

    /// This happens in so long, and never before what was put on the same stream earlier.
    pub fn in_order(&mut self, stream: &'static str, number: u64, delay: Duration, event: Event) {
        let last = self.streams.entry((stream, number)).or_default();
        *last = (self.now + delay).max(*last);
        let at = *last;
        self.at(at, event);
    }

    /// A moment that is next to this edge of a timer, or anywhere in so many milliseconds.
    pub fn moment(&mut self, edge: Option<Tick>, spread: u64) -> Tick {
        match edge {
            Some(edge) => Tick((edge.0 + self.below(4_000)).saturating_sub(2_000)).max(self.now),
            None => self.now + self.millis(spread),
        }
    }

    /// What comes next until then: the alarm, which comes before an event of the same time, or an event. The clock stands
    /// there; where nothing comes, it stands still.
    pub fn next(&mut self, alarm: Option<Tick>, until: Option<Tick>) -> Option<Next<Event>> {
        let event = self.queue.first_key_value().map(|((at, _), _)| *at);
        let next = alarm.into_iter().chain(event).min().map(|at| at.max(self.now));
        self.now = next.filter(|at| until.is_none_or(|until| *at <= until))?;
        if alarm.is_some_and(|alarm| alarm <= self.now) {
            return Some(Next::Alarm);
        }
        self.queue.pop_first().map(|(_, event)| Next::Event(event))
    }

    /// Whether nothing is to happen any more.
    pub fn is_over(&self) -> bool {
        self.queue.is_empty()
    }

    /// A line of the trace.
    pub fn note(&mut self, line: &str) {
        self.trace.write_u64(self.now.0);
        self.trace.write(line.as_bytes());
        if self.show {
            println!("{:>12.6} {}", self.now.0 as f64 / 1e6, line.replace("\r\n", "\n              "));
        }
    }

    /// What stands for the trace until now.
    pub fn trace(&self) -> u64 {
        self.trace.finish()
    }
}
