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

use super::world::{Event, World};

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
    down: bool,
    orders: VecDeque<Vec<Change>>,
    /// What waits, with the number of orders that must have been written before.
    held: VecDeque<(u64, Output)>,
    ordered: u64,
    written: u64,
    needs: u64,
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
                Output::Note(note) => self.figure(&note),
                output => outputs.push((false, output)),
            }
        }
        if !changes.is_empty() {
            self.disk.orders.push_back(changes);
            self.disk.ordered += 1;
            if self.disk.latency > 0 && !self.disk.down {
                let (life, wait) = (self.life, 1 + self.below(self.disk.latency));
                self.after(wait, Event::Written(life));
            }
        }
        if saves {
            self.disk.needs = self.disk.ordered;
        }
        let waits = self.disk.needs > self.disk.written || !self.disk.held.is_empty();
        for (overtakes, output) in outputs {
            self.is_made(&output);
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

    fn figure(&mut self, note: &Note) {
        if let Note::Gauge { name: "room_seats", by, .. } = note {
            self.tally.seats += by;
            if self.tally.seats < 0 {
                self.wrong("fewer than no seats".into());
            }
        }
    }

    /// The writer of that life has written something.
    pub fn written(&mut self, life: u64) {
        if life == self.life {
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
            self.tally.commits += 1;
            death = self.deaths.remove(&self.tally.commits);
            if death == Some(Death::Before) {
                return self.crash();
            }
        }
        for change in orders.into_iter().flatten() {
            match change {
                Change::Save(key, value) => drop(self.store.insert(key.to_string(), value)),
                Change::Forget(key) => drop(self.store.remove(&key.to_string())),
            }
        }
        self.disk.written = self.disk.ordered;
        let (mut half, life) = (self.disk.held.len() / 2, self.life);
        while self.disk.held.front().is_some_and(|(needs, _)| *needs <= self.disk.written) {
            if death == Some(Death::After) || death == Some(Death::Midway) && half == 0 {
                break;
            }
            half = half.saturating_sub(1);
            let Some((_, output)) = self.disk.held.pop_front() else { return };
            self.leave(output);
            if self.life != life {
                return;
            }
        }
        if death.is_some() {
            self.crash();
        }
    }

    /// The store fails, or is back.
    pub fn store_changes(&mut self, down: bool) {
        if self.disk.down == down {
            return;
        }
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
        self.tally.crashes += 1;
        self.tally.seats = 0;
        self.life += 1;
        self.disk = Disk { latency: self.disk.latency, ..Disk::default() };
        let mut seed = [self.life as u8; 32];
        seed[..8].copy_from_slice(&self.rng.next_u64().to_le_bytes());
        self.gateway = Gateway::new(self.config.clone(), Seed(seed));
        self.connection += 1;
        if self.is_linked() {
            self.link += 1;
        }
        self.wires_die();
        self.calls_are_doubted();
        let life = self.life;
        for (key, value) in self.store.clone() {
            let record = Restored::parse(&key, value).expect("the gateway's own keys can be read");
            self.apply(Input::Restored(record));
            if self.life != life {
                return;
            }
        }
        self.apply(Input::RestoreDone);
        let wait = 10 + self.below(3_000);
        self.after(wait, Event::LinkUp);
    }
}
