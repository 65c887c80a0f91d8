//! A store that forgets everything with the process: for tests, simulations and trials.

use std::collections::BTreeMap;

use super::record::Restored;
use super::{Change, Room, Step, Store, StoreError};

/// Records by the text of their names. A clone is a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryStore {
    records: BTreeMap<String, Vec<u8>>,
}

impl MemoryStore {
    /// How many records are kept.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// True when nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

impl Store for MemoryStore {
    fn load(&self) -> Box<dyn Iterator<Item = Result<Restored, StoreError>> + '_> {
        Box::new(self.records.iter().map(|(name, value)| {
            Restored::parse(name, value.clone()).ok_or_else(|| StoreError::BadName(name.clone()))
        }))
    }

    fn commit(&mut self, steps: &mut Vec<Step>) -> Result<(), StoreError> {
        for change in steps.drain(..).flatten() {
            match change {
                Change::Save(record) => drop(self.records.insert(record.key.text(), record.value)),
                Change::Forget(key) => drop(self.records.remove(&key.text())),
            }
        }
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn room(&self) -> Option<Room> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::record::{Key, Life, Record};
    use crate::words::id::Partition;

    #[test]
    fn what_was_saved_is_loaded_and_what_was_forgotten_is_not() {
        let key = |id: &str| Key { kind: "page", partition: Partition(0x0a), id: id.into() };
        let mut store = MemoryStore::default();
        let save = |id: &str| Change::Save(Record { key: key(id), value: b"1".to_vec(), life: Life::Open });
        store.commit(&mut vec![vec![save("a/b"), save("c")], vec![Change::Forget(key("c"))]]).unwrap();
        let all: Vec<_> = store.load().collect::<Result<_, _>>().unwrap();
        assert_eq!(
            all,
            [Restored {
                kind: "page".into(),
                partition: Partition(0x0a),
                id: "a/b".into(),
                value: b"1".to_vec()
            }]
        );
    }
}
