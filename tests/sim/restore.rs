//! A start while the world goes on: the records come back partition by partition, in an order that chance draws and that
//! the gateway changes by what it asks for, with anything in between.

use std::collections::{BTreeMap, VecDeque};

use mostar::gateway::Input;
use mostar::store::record::Restored;
use mostar::words::id::Partition;

use super::world::{Event, World};

/// What is still to be given back.
#[derive(Debug, Default)]
pub struct Restore(VecDeque<(Partition, Vec<Restored>)>);

impl Restore {
    /// All partitions, in one of 256 orders.
    fn of(store: &BTreeMap<String, Vec<u8>>, order: u8) -> Restore {
        let mut all: BTreeMap<u8, Vec<Restored>> = (0..=255).map(|number| (number, Vec::new())).collect();
        for (key, value) in store {
            let record = Restored::parse(key, value.clone()).expect("the gateway's own keys can be read");
            all.entry(record.partition.0).or_default().push(record);
        }
        let mut all: Vec<_> = all.into_iter().map(|(number, records)| (Partition(number), records)).collect();
        all.sort_by_key(|(partition, _)| partition.0.wrapping_mul(order | 1).wrapping_add(order));
        Restore(all.into())
    }

    /// This one is wanted first.
    pub fn fetch(&mut self, wanted: Partition) {
        if let Some(at) = self.0.iter().position(|(partition, _)| *partition == wanted)
            && let Some(found) = self.0.remove(at)
        {
            self.0.push_front(found);
        }
    }
}

impl World {
    /// The records will come back, the first of them soon.
    pub fn restores_slowly(&mut self, order: u8) {
        self.note("the records come back one after the other");
        self.ledger.totals.slow_starts += 1;
        self.restore = Restore::of(&self.store, order);
        self.apply(Input::Restoring);
        let life = self.life();
        self.after(u64::from(order), Event::Restores(life));
    }

    /// The next partition that has records, and those before it that have none.
    pub fn restores(&mut self, life: u64) {
        while life == self.life() {
            let Some((partition, records)) = self.restore.0.pop_front() else {
                self.note("all records are back");
                return self.apply(Input::RestoreDone);
            };
            let is_empty = records.is_empty();
            for record in records {
                self.apply(Input::Restored(record));
            }
            if life == self.life() {
                self.apply(Input::Whole(partition));
            }
            if !is_empty && life == self.life() {
                let wait = u64::from(partition.0) * 3;
                return self.after(wait, Event::Restores(life));
            }
        }
    }
}
