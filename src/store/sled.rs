//! The store on this machine: `sled` in a folder of its own, behind a journal.
//!
//! What was measured and must stay so: `apply_batch` of at most a hundred records and a small cache, since larger ones
//! hold gigabytes; never `flush_async`, which hangs with many tasks; and after a full disk everything fails until it is
//! opened again. sled's own `flush` hands its bytes to the disk and does not ask the disk to keep them
//! (`sync_file_range`): so its files are synced by us before a journal is removed. `docs/decisions/journal.md`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::task::Poll;
use std::thread::JoinHandle;

use super::StoreError;
use super::journal::files::{Folder, sync_all};
use super::journal::reader::{Reader, View};
use super::journal::{Journaled, Pairs, Tree};

/// The format that this version writes: names as in [`super::record::Key`], values as JSON, and since 2 a journal in
/// front of the tree. A store of an older format is brought to this one when it is opened.
const FORMAT: u32 = 2;

/// The first format with a journal.
const WITH_JOURNAL: u32 = 2;

/// Where in the store its format stands, and the number of the last journal that was moved.
const FORMAT_NAME: &[u8] = b"format";
const MOVED_NAME: &[u8] = b"moved";

/// The tree of the records.
const RECORDS: &str = "records";

/// How sled calls its log, and the folder of its large values.
const LOG: &str = "db";
const BLOBS: &str = "blobs";

/// How often, and after which pause, a store in use is tried again before it is refused.
const LOCK_TRIES: usize = 20;
const LOCK_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// The most memory that pages may take.
const CACHE: u64 = 8 * 1024 * 1024;

/// After so many bytes the tree is closed and opened again, which leaves a snapshot of where its pages are: without one the
/// next start reads everything that was ever written since the last.
const GROWN: usize = 256 * 1024 * 1024;

/// A store in a folder.
pub type SledStore = Journaled<SledTree, Folder>;

/// Reads a store on a thread of its own.
pub type SledReader = Reader<SledView>;

impl SledStore {
    /// Opens the store in `folder`, or makes an empty one.
    pub fn open(folder: &Path) -> Result<SledStore, StoreError> {
        let files = Folder::make(folder).map_err(|error| io(folder, &error))?;
        Journaled::over(folder, SledTree::open(folder)?, files)
    }
}

/// The tree behind the journal.
pub struct SledTree {
    path: PathBuf,
    /// Nothing only while a reopening has failed.
    open: Option<Open>,
    /// Syncs the files, which may take long. A tree that has grown is its alone meanwhile.
    settling: Option<JoinHandle<Result<Open, StoreError>>>,
    /// How many bytes it has got since it was opened.
    grown: usize,
}

#[derive(Clone)]
struct Open {
    db: sled::Db,
    records: sled::Tree,
    format: u32,
    kept: Kept,
}

/// What of its folder and of that of its large values the disk keeps already: what each name stood for when it was synced.
#[derive(Clone, Default)]
struct Kept([BTreeMap<OsString, Stamp>; 2]);

/// What changes when a file is written, or another takes its place.
#[derive(Clone, Copy, PartialEq)]
struct Stamp {
    inode: u64,
    length: u64,
    written: (i64, i64),
}

impl Stamp {
    fn of(file: &Metadata) -> Stamp {
        Stamp { inode: file.ino(), length: file.size(), written: (file.mtime(), file.mtime_nsec()) }
    }
}

impl SledTree {
    fn open(folder: &Path) -> Result<SledTree, StoreError> {
        let path = folder.join("sled");
        let open = open_patiently(&path)?;
        Ok(SledTree { path, open: Some(open), settling: None, grown: 0 })
    }

    fn parts(&self) -> Result<&Open, StoreError> {
        self.open.as_ref().ok_or_else(|| StoreError::Io {
            path: self.path.display().to_string(),
            reason: "it could not be opened again".into(),
        })
    }

    fn join(&mut self) -> Result<(), StoreError> {
        let Some(thread) = self.settling.take() else { return Ok(()) };
        let settled = thread.join().unwrap_or_else(|_| Err(unreadable(&self.path, "its library gave up")));
        self.open = Some(settled?);
        Ok(())
    }
}

impl Drop for SledTree {
    fn drop(&mut self) {
        // What it did not finish is done again after the next start; but the lock must go with us.
        let _ = self.join();
    }
}

/// The records of a tree, for readers.
#[derive(Clone)]
pub struct SledView {
    path: PathBuf,
    records: sled::Tree,
}

impl View for SledView {
    fn from(&self, name: &str) -> Pairs<'_> {
        Box::new(self.records.range(name.as_bytes()..).map(|entry| pair(&self.path, entry)))
    }
}

fn pair(
    path: &Path,
    entry: sled::Result<(sled::IVec, sled::IVec)>,
) -> Result<(Vec<u8>, Vec<u8>), StoreError> {
    let (name, value) = entry.map_err(|error| explain(path, error))?;
    Ok((name.to_vec(), value.to_vec()))
}

impl Tree for SledTree {
    type View = SledView;

    fn view(&self) -> Result<SledView, StoreError> {
        Ok(SledView { path: self.path.clone(), records: self.parts()?.records.clone() })
    }

    fn has_journal(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.format >= WITH_JOURNAL)
    }

    fn moved(&self) -> Result<u64, StoreError> {
        let text = self.parts()?.db.get(MOVED_NAME).map_err(|error| explain(&self.path, error))?;
        let Some(text) = text else { return Ok(0) };
        let number = std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok());
        number.ok_or_else(|| unreadable(&self.path, "the number of its last journal is none"))
    }

    fn expect_journal(&mut self) -> Result<(), StoreError> {
        self.parts()?;
        if let Some(open) = &mut self.open {
            note(&self.path, open, FORMAT_NAME, FORMAT.into())?;
            open.format = FORMAT;
        }
        Ok(())
    }

    fn apply(&mut self, changes: Vec<(String, Option<Vec<u8>>)>) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for (name, value) in changes {
            self.grown += name.len() + value.as_ref().map_or(0, Vec::len);
            match value {
                Some(value) => batch.insert(name.as_bytes(), value),
                None => batch.remove(name.as_bytes()),
            }
        }
        self.parts()?.records.apply_batch(batch).map_err(|error| explain(&self.path, error))
    }

    fn settle(&mut self, number: u64) -> Poll<Result<(), StoreError>> {
        match &self.settling {
            Some(thread) if thread.is_finished() => Poll::Ready(self.join()),
            Some(_) => Poll::Pending,
            None => {
                if let Err(error) = self.parts() {
                    return Poll::Ready(Err(error));
                }
                let (path, open) = (self.path.clone(), self.open.clone());
                let is_grown = self.grown >= GROWN;
                if is_grown {
                    // Its lock goes with the last handle.
                    (self.grown, self.open) = (0, None);
                }
                let work = move || {
                    let mut open = open.ok_or_else(|| unreadable(&path, "it is not open"))?;
                    sync(&path, &mut open)?;
                    note(&path, &mut open, MOVED_NAME, number)?;
                    if !is_grown {
                        return Ok(open);
                    }
                    drop(open);
                    open_patiently(&path)
                };
                match std::thread::Builder::new().name("settler".into()).spawn(work) {
                    Ok(thread) => self.settling = Some(thread),
                    Err(error) => return Poll::Ready(Err(io(&self.path, &error))),
                }
                Poll::Pending
            }
        }
    }

    fn all(&self) -> Pairs<'_> {
        let open = match self.parts() {
            Ok(open) => open,
            Err(error) => return Box::new(std::iter::once(Err(error))),
        };
        Box::new(open.records.iter().map(|entry| pair(&self.path, entry)))
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        // Whether that went well does not matter any more.
        let _ = self.join();
        // The lock on the files goes with the last handle, so the old one goes first.
        self.open = None;
        self.open = Some(open_patiently(&self.path)?);
        Ok(())
    }
}

/// Notes a number, durably.
fn note(path: &Path, open: &mut Open, name: &[u8], number: u64) -> Result<(), StoreError> {
    open.db.insert(name, number.to_string().as_bytes()).map_err(|error| explain(path, error))?;
    sync(path, open)
}

/// Makes durable what the tree holds: sled writes it to its files, and the disk is asked to keep them.
fn sync(path: &Path, open: &mut Open) -> Result<(), StoreError> {
    open.db.flush().map_err(|error| explain(path, error))?;
    let [own, blobs] = &mut open.kept.0;
    let synced = keep_folder(&path.join(BLOBS), blobs).and_then(|()| keep_folder(path, own));
    synced.map_err(|error| io(path, &error))
}

/// Has the disk keep a folder and the files in it.
fn keep_folder(folder: &Path, kept: &mut BTreeMap<OsString, Stamp>) -> std::io::Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    let survey = Survey::of(folder, kept)?;
    for file in &survey.files {
        if_there(sync_all(file))?;
    }
    if survey.has_other_names {
        sync_all(folder)?;
    }
    *kept = survey.found;
    Ok(())
}

/// What in a folder the disk does not keep yet. Nothing else is synced, since commits wait for the disk meanwhile.
struct Survey {
    files: Vec<PathBuf>,
    has_other_names: bool,
    found: BTreeMap<OsString, Stamp>,
}

impl Survey {
    fn of(folder: &Path, kept: &BTreeMap<OsString, Stamp>) -> std::io::Result<Survey> {
        let (mut files, mut found) = (Vec::new(), BTreeMap::new());
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            // sled removes snapshots that it has replaced.
            let Some(file) = if_there(entry.metadata())? else { continue };
            let stamp = Stamp::of(&file);
            // Its log is written in place, perhaps twice within one tick of the file system's clock.
            if file.is_file() && (name == LOG || kept.get(&name) != Some(&stamp)) {
                files.push(entry.path());
            }
            found.insert(name, stamp);
        }
        let names = |of: &BTreeMap<OsString, Stamp>| -> Vec<_> {
            of.iter().map(|(name, stamp)| (name.clone(), stamp.inode)).collect()
        };
        let has_other_names = names(&found) != names(kept);
        Ok(Survey { files, has_other_names, found })
    }
}

fn if_there<T>(result: std::io::Result<T>) -> std::io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// A store that was just closed, here or by a process that is ending, keeps its lock a moment longer.
fn open_patiently(path: &Path) -> Result<Open, StoreError> {
    for _ in 0..LOCK_TRIES {
        match open(path) {
            Err(StoreError::Locked { .. }) => std::thread::sleep(LOCK_PAUSE),
            opened => return opened,
        }
    }
    open(path)
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
    let format = match db.get(FORMAT_NAME).map_err(|error| explain(path, error))? {
        Some(text) => std::str::from_utf8(&text)
            .ok()
            .and_then(|text| text.parse::<u32>().ok())
            .ok_or_else(|| unreadable(path, "its format has no number"))?,
        None if records.is_empty() => 0,
        None => return Err(unreadable(path, "it has records and no format")),
    };
    if format > FORMAT {
        return Err(StoreError::Newer { path: path.display().to_string(), found: format, known: FORMAT });
    }
    Ok(Open { db, records, format, kept: Kept::default() })
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
    if path.is_file() {
        return StoreError::NoFolder { path: path.display().to_string() };
    }
    StoreError::Io { path: path.display().to_string(), reason: error.to_string() }
}

fn unreadable(path: &Path, reason: &str) -> StoreError {
    StoreError::Unreadable { path: path.display().to_string(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::record::{Key, Life, Record};
    use crate::store::{Change, Step, Store};
    use crate::words::id::Partition;

    fn key(id: &str) -> Key {
        Key { kind: "page", partition: Partition(7), id: id.into() }
    }

    fn save(id: &str) -> Change {
        Change::Save(Record { key: key(id), value: id.as_bytes().to_vec(), life: Life::Open })
    }

    fn ids(store: &SledStore) -> Vec<String> {
        store.load().map(|record| record.unwrap().id).collect()
    }

    #[test]
    fn committed_steps_are_there_after_opening_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SledStore::open(folder.path()).unwrap();
        store.commit(&mut vec![vec![save("a"), save("b")], vec![Change::Forget(key("a"))]]).unwrap();
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
        store.commit(&mut vec![vec![save("x")], long, vec![save("y")]]).unwrap();
        assert_eq!(ids(&store).len(), 252);
    }

    #[test]
    fn records_go_through_the_tree_and_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut tree = SledTree::open(folder.path()).unwrap();
        tree.expect_journal().unwrap();
        let pair = |id: &str| (key(id).text(), Some(id.as_bytes().to_vec()));
        tree.apply(vec![pair("a"), pair("b")]).unwrap();
        tree.apply(vec![(key("a").text(), None), (key("z").text(), None)]).unwrap();
        let settled = loop {
            match tree.settle(3) {
                Poll::Ready(settled) => break settled,
                Poll::Pending => std::thread::yield_now(),
            }
        };
        settled.unwrap();
        for _ in 0..2 {
            let all: Vec<_> = tree.all().map(Result::unwrap).collect();
            assert_eq!((all, tree.moved()), (vec![(b"page/07/b".to_vec(), b"b".to_vec())], Ok(3)));
            tree.reopen().unwrap();
        }
    }

    #[test]
    fn a_tree_that_has_grown_leaves_a_snapshot_and_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let mut tree = SledTree::open(folder.path()).unwrap();
        tree.expect_journal().unwrap();
        tree.apply(vec![("page/07/a".into(), Some(b"1".to_vec()))]).unwrap();
        tree.grown = GROWN;
        while tree.settle(1).is_pending() {
            std::thread::yield_now();
        }
        tree.apply(vec![("page/07/b".into(), Some(b"2".to_vec()))]).unwrap();
        assert_eq!((tree.all().map(Result::unwrap).count(), tree.moved(), tree.grown), (2, Ok(1), 10));
        let names = std::fs::read_dir(folder.path().join("sled")).unwrap();
        let mut names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert!(names.any(|name| name.starts_with("snap.")));
    }

    #[test]
    fn what_the_disk_keeps_is_not_synced_again_but_for_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let survey = |kept: &BTreeMap<OsString, Stamp>| {
            let survey = Survey::of(folder.path(), kept).unwrap();
            let names =
                survey.files.iter().map(|file| file.file_name().unwrap().to_str().unwrap().to_owned());
            let mut names: Vec<String> = names.collect();
            names.sort();
            (names.join(" "), survey.has_other_names, survey.found)
        };
        for name in ["conf", LOG, "snap.1"] {
            std::fs::write(at(name), "old").unwrap();
        }
        std::fs::create_dir(at(BLOBS)).unwrap();
        let (files, has_other_names, kept) = survey(&BTreeMap::new());
        assert_eq!((files.as_str(), has_other_names), ("conf db snap.1", true));
        let (files, has_other_names, _) = survey(&kept);
        assert_eq!((files.as_str(), has_other_names), (LOG, false));
        std::fs::write(at("conf"), "longer").unwrap();
        std::fs::write(at("snap.2"), "new").unwrap();
        std::fs::remove_file(at("snap.1")).unwrap();
        let (files, has_other_names, _) = survey(&kept);
        assert_eq!((files.as_str(), has_other_names), ("conf db snap.2", true));
    }

    #[test]
    fn a_store_of_format_1_is_opened_and_brought_to_format_2() {
        let folder = tempfile::tempdir().unwrap();
        let db = sled::open(folder.path().join("sled")).unwrap();
        db.insert(FORMAT_NAME, b"1").unwrap();
        db.open_tree(RECORDS).unwrap().insert("page/07/old", "old").unwrap();
        drop(db);
        let mut store = SledStore::open(folder.path()).unwrap();
        assert_eq!(ids(&store), ["old"]);
        store.commit(&mut vec![vec![save("new"), Change::Forget(key("old"))]]).unwrap();
        drop(store);
        assert_eq!(ids(&SledStore::open(folder.path()).unwrap()), ["new"]);
        let db = sled::open(folder.path().join("sled")).unwrap();
        assert_eq!(db.get(FORMAT_NAME).unwrap().unwrap(), b"2", "an older Mostar refuses it");
    }

    #[test]
    fn a_newer_format_is_refused_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let db = sled::open(folder.path().join("sled")).unwrap();
        db.insert(FORMAT_NAME, b"3").unwrap();
        drop(db);
        let error = SledStore::open(folder.path()).err().unwrap();
        assert!(matches!(error, StoreError::Newer { found: 3, known: 2, .. }), "{error:?}");
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
