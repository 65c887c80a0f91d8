//! A start while the world goes on: the records come back partition by partition, in an order that chance draws and that
//! the gateway changes by what it asks for, with anything in between.

use std::collections::{BTreeMap, VecDeque};

use mostar::store::record::Restored;
use mostar::words::id::Partition;

/// What is still to be given back.
#[derive(Debug, Default)]
pub struct Restore(VecDeque<(Partition, Vec<Restored>)>);

impl Restore {
    /// All partitions, in one of 256 orders.
    pub fn of(store: &BTreeMap<String, Vec<u8>>, order: u8) -> Restore {
        let mut all: BTreeMap<u8, Vec<Restored>> = (0..=255).map(|number| (number, Vec::new())).collect();
        for record in records(store) {
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

    /// The next partition, with its records.
    pub fn next(&mut self) -> Option<(Partition, Vec<Restored>)> {
        self.0.pop_front()
    }
}

/// All that a store holds.
pub fn records(store: &BTreeMap<String, Vec<u8>>) -> impl Iterator<Item = Restored> + '_ {
    store.iter().map(|(name, value)| {
        Restored::parse(name, value.clone()).expect("the gateway's own names can be read")
    })
}
