//! The store on this machine: `sled` in a folder of its own.
//!
//! What was measured and must stay so: `apply_batch` and then one `flush()` for everything that waits; never
//! `flush_async`, which hangs with many tasks; at most a hundred records in a batch and a small cache, since larger
//! ones hold gigabytes; and after a full disk every commit fails until the store is opened again.

use std::path::{Path, PathBuf};

use super::record::Restored;
use super::{Change, Room, Step, Store, StoreError};

/// The format that this version writes: names as in [`super::record::Key`], values as JSON.
const FORMAT: u32 = 1;

/// Where in the store its format stands.
const FORMAT_NAME: &[u8] = b"format";

/// The tree of the records.
const RECORDS: &str = "records";

/// The most records in one batch.
const BATCH: usize = 100;

/// How often, and after which pause, a store in use is tried again before it is refused.
const LOCK_TRIES: usize = 20;
const LOCK_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// The most memory that pages may take.
const CACHE: u64 = 8 * 1024 * 1024;

/// A store in a folder.
pub struct SledStore {
    path: PathBuf,
    /// Nothing only while a reopening has failed.
    open: Option<Open>,
}

struct Open {
    db: sled::Db,
    records: sled::Tree,
}

impl SledStore {
    /// Opens the store in `folder`, or makes an empty one.
    pub fn open(folder: &Path) -> Result<SledStore, StoreError> {
        std::fs::create_dir_all(folder).map_err(|error| io(folder, &error))?;
        let path = folder.join("sled");
        for _ in 0..LOCK_TRIES {
            match open(&path) {
                // A store that was just closed, here or by a process that is ending, keeps its lock a moment longer.
                Err(StoreError::Locked { .. }) => std::thread::sleep(LOCK_PAUSE),
                opened => return Ok(SledStore { path, open: Some(opened?) }),
            }
        }
        let open = open(&path)?;
        Ok(SledStore { path, open: Some(open) })
    }

    fn parts(&self) -> Result<&Open, StoreError> {
        self.open.as_ref().ok_or_else(|| StoreError::Io {
            path: self.path.display().to_string(),
            reason: "it could not be opened again".into(),
        })
    }
}

impl Store for SledStore {
    fn load(&self) -> Box<dyn Iterator<Item = Result<Restored, StoreError>> + '_> {
        let open = match self.parts() {
            Ok(open) => open,
            Err(error) => return Box::new(std::iter::once(Err(error))),
        };
        Box::new(open.records.iter().map(|entry| {
            let (name, value) = entry.map_err(|error| explain(&self.path, error))?;
            let name = String::from_utf8_lossy(&name).into_owned();
            Restored::parse(&name, value.to_vec()).ok_or(StoreError::BadName(name))
        }))
    }

    fn commit(&mut self, steps: &[Step]) -> Result<(), StoreError> {
        let open = self.parts()?;
        let mut batch = sled::Batch::default();
        let mut waiting = 0;
        for step in steps {
            // A step is never divided, unless it alone is longer than a batch may be.
            if waiting > 0 && waiting + step.len() > BATCH {
                apply(&self.path, open, std::mem::take(&mut batch))?;
                waiting = 0;
            }
            for change in step {
                match change {
                    Change::Save(record) => {
                        batch.insert(record.key.to_string().as_bytes(), record.value.as_slice())
                    }
                    Change::Forget(key) => batch.remove(key.to_string().as_bytes()),
                }
                waiting += 1;
                if waiting == BATCH {
                    apply(&self.path, open, std::mem::take(&mut batch))?;
                    waiting = 0;
                }
            }
        }
        if waiting > 0 {
            apply(&self.path, open, batch)?;
        }
        open.db.flush().map_err(|error| explain(&self.path, error))?;
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        // The lock on the files goes with the last handle, so the old one goes first.
        self.open = None;
        self.open = Some(open(&self.path)?);
        Ok(())
    }

    fn room(&self) -> Option<Room> {
        let space = rustix::fs::statvfs(&self.path).ok()?;
        Some(Room {
            free: space.f_bavail.saturating_mul(space.f_frsize),
            total: space.f_blocks.saturating_mul(space.f_frsize),
        })
    }
}

fn apply(path: &Path, open: &Open, batch: sled::Batch) -> Result<(), StoreError> {
    open.records.apply_batch(batch).map_err(|error| explain(path, error))
}

fn open(path: &Path) -> Result<Open, StoreError> {
    // A damaged file makes some versions of sled panic where they should return an error.
    let opened = std::panic::catch_unwind(|| {
        sled::Config::new().path(path).cache_capacity(CACHE).flush_every_ms(None).open()
    });
    let db = match opened {
        Ok(db) => db.map_err(|error| explain(path, error))?,
        Err(_) => return Err(unreadable(path, "its files are damaged")),
    };
    let records = db.open_tree(RECORDS).map_err(|error| explain(path, error))?;
    match db.get(FORMAT_NAME).map_err(|error| explain(path, error))? {
        Some(text) => {
            let found = std::str::from_utf8(&text).ok().and_then(|text| text.parse::<u32>().ok());
            match found {
                Some(found) if found > FORMAT => {
                    return Err(StoreError::Newer { path: path.display().to_string(), found, known: FORMAT });
                }
                Some(_) => {}
                None => return Err(unreadable(path, "its format has no number")),
            }
        }
        None if records.is_empty() => {
            db.insert(FORMAT_NAME, FORMAT.to_string().as_bytes()).map_err(|error| explain(path, error))?;
            db.flush().map_err(|error| explain(path, error))?;
        }
        None => return Err(unreadable(path, "it has records and no format")),
    }
    Ok(Open { db, records })
}

fn explain(path: &Path, error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(error) => {
            let text = error.to_string();
            if error.kind() == std::io::ErrorKind::WouldBlock || text.contains("could not acquire lock") {
                return StoreError::Locked { path: path.display().to_string() };
            }
            io(path, &error)
        }
        sled::Error::Corruption { .. } => unreadable(path, "its files are damaged"),
        other => unreadable(path, &other.to_string()),
    }
}

fn io(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Io { path: path.display().to_string(), reason: error.to_string() }
}

fn unreadable(path: &Path, reason: &str) -> StoreError {
    StoreError::Unreadable { path: path.display().to_string(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::record::{Key, Record};
    use crate::words::id::Partition;

    fn key(id: &str) -> Key {
        Key { kind: "page", partition: Partition(7), id: id.into() }
    }

    fn save(id: &str) -> Change {
        Change::Save(Record { key: key(id), value: id.as_bytes().to_vec() })
    }

    fn ids(store: &SledStore) -> Vec<String> {
        store.load().map(|record| record.unwrap().id).collect()
    }

    #[test]
    fn committed_steps_are_there_after_opening_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SledStore::open(folder.path()).unwrap();
        store.commit(&[vec![save("a"), save("b")], vec![Change::Forget(key("a"))]]).unwrap();
        drop(store);
        let mut store = SledStore::open(folder.path()).unwrap();
        assert_eq!(ids(&store), ["b"]);
        store.reopen().unwrap();
        assert_eq!(ids(&store), ["b"]);
    }

    #[test]
    fn a_step_longer_than_a_batch_is_committed_whole() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SledStore::open(folder.path()).unwrap();
        let long: Step = (0..250).map(|number| save(&format!("{number:03}"))).collect();
        store.commit(&[vec![save("x")], long, vec![save("y")]]).unwrap();
        assert_eq!(ids(&store).len(), 252);
    }

    #[test]
    fn a_newer_format_is_refused_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let store = SledStore::open(folder.path()).unwrap();
        let open = store.open.as_ref().unwrap();
        open.db.insert(FORMAT_NAME, b"2").unwrap();
        open.db.flush().unwrap();
        drop(store);
        let error = SledStore::open(folder.path()).err().unwrap();
        assert!(matches!(error, StoreError::Newer { found: 2, known: 1, .. }));
        assert!(error.to_string().contains("newer Mostar"), "{error}");
    }

    #[test]
    fn a_store_in_use_is_refused_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let _first = SledStore::open(folder.path()).unwrap();
        let error = SledStore::open(folder.path()).err().unwrap();
        assert!(matches!(error, StoreError::Locked { .. }), "{error:?}");
    }

    #[test]
    fn files_that_are_no_store_are_refused_in_words() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("sled")).unwrap();
        std::fs::write(folder.path().join("sled/conf"), [0x55; 64]).unwrap();
        std::fs::write(folder.path().join("sled/db"), [0xaa; 4096]).unwrap();
        let error = SledStore::open(folder.path()).err().unwrap();
        assert!(matches!(error, StoreError::Unreadable { .. } | StoreError::Io { .. }), "{error:?}");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_refused_in_words() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let error = SledStore::open(&folder.path().join("file/store")).err().unwrap();
        assert!(matches!(error, StoreError::Io { .. }), "{error:?}");
    }

    #[test]
    fn there_is_room() {
        let folder = tempfile::tempdir().unwrap();
        let store = SledStore::open(folder.path()).unwrap();
        assert!(store.room().unwrap().total > 0);
    }
}
