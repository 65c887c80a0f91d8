//! The journal on a disk that keeps only what was synced, and on one that fails.

#![allow(clippy::disallowed_types, reason = "a disk is shared by what stands on it")]

use std::sync::{Arc, Mutex, MutexGuard};

use std::collections::BTreeSet;

use super::*;
use crate::store::record::{Key, Record};
use crate::words::id::Partition;

/// A file: what readers see, what a power cut leaves, and which bytes a sync would carry over.
#[derive(Clone, Debug, Default)]
struct Inode {
    seen: Vec<u8>,
    kept: Vec<u8>,
    dirty: Vec<bool>,
}

impl Inode {
    fn sync(&mut self) {
        self.kept.resize(self.seen.len(), 0);
        for (at, dirty) in self.dirty.iter_mut().enumerate() {
            if std::mem::take(dirty) {
                self.kept[at] = self.seen[at];
            }
        }
    }
}

type Names = BTreeMap<String, usize>;

/// A disk, with the tree on it.
#[derive(Debug, Default)]
struct Disk {
    inodes: Vec<Inode>,
    names: Names,
    kept_names: Names,
    tree: BTreeMap<String, Vec<u8>>,
    kept_tree: BTreeMap<String, Vec<u8>>,
    moved: u64,
    has_journal: bool,
    /// What was asked of it.
    calls: Vec<String>,
    /// So many calls go well, and then so many fail.
    well: usize,
    failing: usize,
}

impl Disk {
    fn call(&mut self, words: String) -> io::Result<()> {
        self.calls.push(words);
        if self.well > 0 {
            self.well -= 1;
            return Ok(());
        }
        if self.failing == 0 {
            return Ok(());
        }
        self.failing = self.failing.saturating_sub(1);
        Err(io::ErrorKind::StorageFull.into())
    }

    /// What was not synced is gone, or by chance only a part of it.
    fn cut_power(&mut self, chance: &mut Chance) {
        for inode in &mut self.inodes {
            if chance.below(2) == 0 {
                let grown = inode.seen.len().max(inode.kept.len());
                inode.kept.resize(chance.between(inode.kept.len().min(grown), grown), 0);
                for at in 0..inode.kept.len() {
                    if inode.dirty.get(at) == Some(&true) && chance.below(8) > 0 {
                        inode.kept[at] = inode.seen[at];
                    }
                }
            }
            inode.seen = inode.kept.clone();
            inode.dirty = vec![false; inode.seen.len()];
        }
        if chance.below(2) == 0 {
            self.names = self.kept_names.clone();
        } else {
            self.kept_names = self.names.clone();
        }
        if chance.below(2) == 0 {
            self.tree = self.kept_tree.clone();
        } else {
            self.kept_tree = self.tree.clone();
        }
        (self.well, self.failing) = (0, 0);
    }
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Disk>>);

impl Shared {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap()
    }

    fn open(&self) -> Result<Journaled<Shared, Shared>, StoreError> {
        let mut store = Journaled::over(Path::new("/store"), self.clone(), self.clone())?;
        store.limits = Limits { bytes: 900, names: 30, piece: 3, together: 4, ahead: 200 };
        Ok(store)
    }
}

struct OpenFile(Shared, usize, String);

impl Files for Shared {
    type File = OpenFile;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.disk().names.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let disk = self.disk();
        let inode = disk.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(disk.inodes[*inode].seen.clone())
    }

    fn create(&self, name: &str) -> io::Result<OpenFile> {
        let mut disk = self.disk();
        disk.call(format!("create {name}"))?;
        disk.inodes.push(Inode::default());
        let inode = disk.inodes.len() - 1;
        disk.names.insert(name.to_owned(), inode);
        Ok(OpenFile(self.clone(), inode, name.to_owned()))
    }

    fn open(&self, name: &str) -> io::Result<OpenFile> {
        let inode = *self.disk().names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(OpenFile(self.clone(), inode, name.to_owned()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.call(format!("remove {name}"))?;
        disk.names.remove(name).map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn discard(&self, names: Vec<String>) {
        files::remove_all(self, &names);
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.disk();
        disk.call("sync folder".into())?;
        disk.kept_names = disk.names.clone();
        Ok(())
    }
}

impl Handle for OpenFile {
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.0.disk();
        let called = disk.call(format!("write {}", self.2));
        // A full disk takes the first half.
        let bytes = if called.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        let inode = &mut disk.inodes[self.1];
        let end = at as usize + bytes.len();
        inode.seen.resize(end.max(inode.seen.len()), 0);
        inode.dirty.resize(inode.seen.len(), false);
        inode.seen[at as usize..end].copy_from_slice(bytes);
        inode.dirty[at as usize..end].fill(true);
        called
    }

    fn cut(&mut self, at: u64) -> io::Result<()> {
        let mut disk = self.0.disk();
        disk.call(format!("cut {}", self.2))?;
        let inode = &mut disk.inodes[self.1];
        inode.seen.truncate(at as usize);
        inode.dirty.truncate(at as usize);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut disk = self.0.disk();
        let called = disk.call(format!("sync {}", self.2));
        let inode = &mut disk.inodes[self.1];
        match called {
            Ok(()) => inode.sync(),
            // As Linux does: after a failed sync nobody writes these bytes again, and the next sync succeeds.
            Err(_) => inode.dirty.fill(false),
        }
        called
    }
}

impl Shared {
    fn tree_call(&self, words: &str) -> Result<MutexGuard<'_, Disk>, StoreError> {
        let mut disk = self.disk();
        let failed = |error: io::Error| StoreError::Io { path: "tree".into(), reason: error.to_string() };
        disk.call(words.into()).map_err(failed)?;
        Ok(disk)
    }
}

impl View for Shared {
    fn from(&self, name: &str) -> Pairs<'_> {
        let from: Vec<_> = self.disk().tree.range(name.to_owned()..).map(own).collect();
        Box::new(from.into_iter())
    }
}

fn own((name, value): (&String, &Vec<u8>)) -> Result<(Vec<u8>, Vec<u8>), StoreError> {
    Ok((name.clone().into_bytes(), value.clone()))
}

impl Tree for Shared {
    type View = Shared;

    fn view(&self) -> Result<Shared, StoreError> {
        Ok(self.clone())
    }

    fn has_journal(&self) -> bool {
        self.disk().has_journal
    }

    fn moved(&self) -> Result<u64, StoreError> {
        Ok(self.disk().moved)
    }

    fn expect_journal(&mut self) -> Result<(), StoreError> {
        self.tree_call("tree format")?.has_journal = true;
        Ok(())
    }

    fn apply(&mut self, changes: Vec<(String, Option<Vec<u8>>)>) -> Result<(), StoreError> {
        let mut disk = self.tree_call("tree apply")?;
        for (name, value) in changes {
            match value {
                Some(value) => drop(disk.tree.insert(name, value)),
                None => drop(disk.tree.remove(&name)),
            }
        }
        Ok(())
    }

    fn settle(&mut self, number: u64) -> Poll<Result<(), StoreError>> {
        let settled = self.tree_call("tree sync").map(|mut disk| {
            disk.kept_tree = disk.tree.clone();
            disk.moved = number;
        });
        Poll::Ready(settled)
    }

    fn all(&self) -> Pairs<'_> {
        let all: Vec<_> = self.disk().tree.clone().into_iter().collect();
        Box::new(all.into_iter().map(|(name, value)| Ok((name.into_bytes(), value))))
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        let mut disk = self.disk();
        disk.tree = disk.kept_tree.clone();
        Ok(())
    }
}

/// Small numbers that look like chance and are the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit.max(1)
    }

    fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }
}

fn key(id: usize) -> Key {
    Key { kind: "test", partition: Partition(id as u8), id: id.to_string() }
}

fn save(id: usize, value: usize) -> Change {
    save_of(id, value, Life::Open)
}

fn save_of(id: usize, value: usize, life: Life) -> Change {
    Change::Save(Record { key: key(id), value: value.to_string().into_bytes(), life })
}

type Model = BTreeMap<String, Vec<u8>>;

fn add(model: &mut Model, steps: &[Step]) {
    for change in steps.iter().flatten() {
        match change {
            Change::Save(record) => drop(model.insert(record.key.text(), record.value.clone())),
            Change::Forget(key) => drop(model.remove(&key.text())),
        }
    }
}

fn kept(store: &Journaled<Shared, Shared>) -> Model {
    let name = |record: &Restored| format!("{}/{:02x}/{}", record.kind, record.partition.0, record.id);
    let all: Vec<_> =
        store.load().map(|record| record.unwrap()).map(|record| (name(&record), record.value)).collect();
    assert!(all.is_sorted_by(|one, other| one.0 < other.0), "out of order: {all:?}");
    all.into_iter().collect()
}

/// Steps that say of a record's life what is so.
fn some_steps(chance: &mut Chance, serial: usize, model: &Model) -> Vec<Step> {
    let mut steps = vec![Step::new(); chance.between(1, 3)];
    let mut known: BTreeSet<String> = model.keys().cloned().collect();
    for step in &mut steps {
        for _ in 0..chance.between(1, 4) {
            let id = chance.below(40);
            let name = key(id).text();
            step.push(if chance.below(3) == 0 {
                known.remove(&name);
                Change::Forget(key(id))
            } else {
                let is_first = known.insert(name) && chance.below(4) > 0;
                let life = [Life::Open, Life::Brief][usize::from(id.is_multiple_of(2))];
                save_of(id, serial, if is_first { Life::First } else { life })
            });
        }
    }
    steps
}

/// Commits and tidies until something fails. What was acknowledged, and what was under way.
fn work(store: &mut Journaled<Shared, Shared>, chance: &mut Chance, model: &mut Model) -> Option<Vec<Step>> {
    for serial in 0..60 {
        let mut steps = some_steps(chance, serial, model);
        let asked = steps.clone();
        if store.commit(&mut steps).is_err() {
            assert_eq!(steps, asked, "a failed commit keeps its steps");
            return Some(steps);
        }
        add(model, &asked);
        for _ in 0..chance.below(5) {
            if store.tidy().is_err() {
                return None;
            }
        }
    }
    None
}

/// How many courses of events chance makes up.
const SEEDS: u64 = 300;

#[test]
fn a_power_cut_at_any_moment_loses_nothing_acknowledged_and_leaves_no_half_step() {
    for seed in 0..SEEDS {
        let (shared, mut chance, mut model) = (Shared::default(), Chance(seed), Model::new());
        for _ in 0..4 {
            (shared.disk().well, shared.disk().failing) = (chance.below(160), usize::MAX);
            let doubtful = match shared.open() {
                Ok(mut store) => work(&mut store, &mut chance, &mut model),
                Err(error) => {
                    assert!(matches!(error, StoreError::Io { .. }), "seed {seed}: {error}");
                    None
                }
            };
            shared.disk().cut_power(&mut chance);
            let store = shared.open().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            let found = kept(&store);
            if found != model {
                add(&mut model, &doubtful.unwrap_or_default());
                assert_eq!(found, model, "seed {seed}");
            }
        }
    }
}

#[test]
fn a_disk_that_fails_for_a_while_loses_and_doubles_nothing() {
    for seed in 0..SEEDS {
        let (shared, mut chance, mut model) = (Shared::default(), Chance(seed), Model::new());
        let mut store = shared.open().unwrap();
        for _ in 0..4 {
            (shared.disk().well, shared.disk().failing) = (chance.below(160), chance.between(1, 6));
            let mut waiting = work(&mut store, &mut chance, &mut model).unwrap_or_default();
            // What came meanwhile goes with it, as the writer does it.
            let mut expected = model.clone();
            add(&mut expected, &waiting);
            waiting.extend(some_steps(&mut chance, 99, &expected));
            let asked = waiting.clone();
            let mut tries = 0;
            while store.reopen().is_err() || store.commit(&mut waiting).is_err() {
                tries += 1;
                assert!(tries < 20, "seed {seed}: it never recovers");
            }
            add(&mut model, &asked);
            assert_eq!(kept(&store), model, "seed {seed}");
        }
        shared.disk().cut_power(&mut chance);
        assert_eq!(kept(&shared.open().unwrap()), model, "seed {seed}");
    }
}

/// A store with three files' worth of records behind it, and nothing left to tidy.
fn used() -> (Shared, Journaled<Shared, Shared>) {
    let shared = Shared::default();
    let mut store = shared.open().unwrap();
    for id in 0..100 {
        store.commit(&mut vec![vec![save(id, id)]]).unwrap();
        while store.tidy().unwrap() {}
    }
    (shared, store)
}

#[test]
fn a_commit_is_one_write_and_then_one_sync_and_nothing_else() {
    let (shared, mut store) = used();
    store.limits.ahead = 30_000;
    store.commit(&mut vec![(0..50).map(|id| save(id, 7)).collect()]).unwrap();
    shared.disk().calls.clear();
    store.commit(&mut vec![(0..250).map(|id| save(id, 7)).collect(), vec![save(300, 7)]]).unwrap();
    let calls = shared.disk().calls.clone();
    assert_eq!(
        calls.iter().map(|call| call.split(' ').next().unwrap()).collect::<Vec<_>>(),
        ["write", "sync"]
    );
    assert_eq!(calls[0].split(' ').nth(1), calls[1].split(' ').nth(1));
}

#[test]
fn after_a_failed_commit_nothing_is_taken_until_it_is_opened_again() {
    let (shared, mut store) = used();
    let mut waiting = vec![vec![save(1, 9)]];
    (shared.disk().well, shared.disk().failing) = (1, 1);
    store.commit(&mut waiting).unwrap_err();
    store.commit(&mut waiting).unwrap_err();
    store.reopen().unwrap();
    store.commit(&mut waiting).unwrap();
    assert_eq!(kept(&store)["test/01/1"], b"9");
}

#[test]
fn what_is_saved_and_forgotten_within_one_file_never_reaches_the_tree() {
    let shared = Shared::default();
    let mut store = shared.open().unwrap();
    for id in 0..200 {
        store.commit(&mut vec![vec![save(id, 1)], vec![Change::Forget(key(id))]]).unwrap();
        while store.tidy().unwrap() {
            assert!(shared.disk().tree.is_empty());
        }
    }
    assert!(shared.disk().moved > 3, "files were moved");
    assert_eq!(shared.disk().names.len(), 1);
}

#[test]
fn a_file_goes_only_after_the_tree_is_synced_and_a_new_one_is_synced_before_it_is_used() {
    let (shared, _) = used();
    let calls = shared.disk().calls.clone();
    let at = |words: &str| calls.iter().position(|call| call.starts_with(words)).unwrap();
    assert!(at("tree apply") < at("tree sync") && at("tree sync") < at("remove journal.0000000000000001"));
    let second = "journal.0000000000000002";
    let made: Vec<&str> =
        calls[at(&format!("create {second}"))..].iter().map(String::as_str).take(5).collect();
    let expected = [
        format!("create {second}"),
        format!("write {second}"),
        format!("sync {second}"),
        "sync folder".into(),
    ];
    assert_eq!(made[..4], expected);
}

#[test]
fn a_name_that_the_newest_file_knows_better_is_not_moved() {
    let shared = Shared::default();
    let mut store = shared.open().unwrap();
    for id in 0..15 {
        store.commit(&mut vec![vec![save(id, 1), save(id + 100, 1)]]).unwrap();
    }
    assert!(store.tidy().unwrap(), "a new file");
    store.commit(&mut vec![(0..15).map(|id| save(id, 2)).collect()]).unwrap();
    while store.tidy().unwrap() {}
    let tree = shared.disk().tree.clone();
    assert_eq!(tree.len(), 15);
    assert!(tree.values().all(|value| value == b"1"));
    assert_eq!(kept(&store).values().filter(|value| *value == b"2").count(), 15);
}

#[test]
fn a_missing_file_is_named() {
    let (shared, mut store) = used();
    while !store.tidy().unwrap() {
        store.commit(&mut vec![vec![save(1, 1)]]).unwrap();
    }
    store.commit(&mut vec![vec![save(1, 1)]]).unwrap();
    drop(store);
    let names: Vec<String> = shared.disk().names.keys().cloned().collect();
    assert_eq!(names.len(), 2);
    for name in &names {
        let inode = shared.disk().names.remove(name).unwrap();
        let open = shared.open().map(drop);
        if *name == names[0] {
            let words = open.unwrap_err().to_string();
            assert!(words.contains(name) && words.contains("it is missing"), "{words}");
        }
        shared.disk().names.insert(name.clone(), inode);
    }
    shared.disk().names.clear();
    let words = shared.open().map(drop).unwrap_err().to_string();
    assert!(words.contains("it is missing") && words.contains("put a backup in its place"), "{words}");
}

#[test]
fn a_damaged_file_is_named_and_nothing_is_changed() {
    let (shared, store) = used();
    drop(store);
    let name = shared.disk().names.keys().next().unwrap().clone();
    let inode = shared.disk().names[&name];
    shared.disk().inodes[inode].seen[70] ^= 4;
    let before = shared.disk().inodes[inode].seen.clone();
    let words = shared.open().map(drop).unwrap_err().to_string();
    assert!(words.contains(&name) && words.contains("entry") && words.contains("is damaged"), "{words}");
    assert_eq!(shared.disk().inodes[inode].seen, before);
}

#[test]
fn a_journal_that_cannot_be_moved_takes_commits_for_long_and_not_for_ever() {
    let shared = Shared::default();
    let mut store = shared.open().unwrap();
    let mut taken = 0;
    while store.commit(&mut vec![vec![save(taken, 1)]]).is_ok() {
        taken += 1;
        if store.older.is_none() {
            store.tidy().unwrap();
        }
    }
    assert!(taken > 100, "{taken}");
    assert_eq!(kept(&store).len(), taken);
    while store.tidy().unwrap() {}
    store.commit(&mut vec![vec![save(taken, 1)]]).unwrap();
}

#[test]
fn while_it_is_read_it_takes_all_commits_and_moves_them_afterwards() {
    let (shared, mut store) = used();
    store.rotate().unwrap();
    let (reader, _) = store.reader().unwrap();
    for id in 0..1000 {
        store.commit(&mut vec![vec![save(id, 7)]]).unwrap();
        assert!(!store.tidy().unwrap());
    }
    drop(reader);
    assert!(store.is_pressed());
    store.commit(&mut vec![vec![save(2, 7)]]).unwrap();
    while store.tidy().unwrap() {}
    assert!(!store.is_pressed());
    store.commit(&mut vec![vec![save(1, 8)]]).unwrap();
    assert_eq!((kept(&store).len(), shared.disk().tree.len()), (1000, 1000));
}

#[test]
fn a_reader_sees_each_partition_as_it_was_when_it_came_and_the_tree_is_left_alone_meanwhile() {
    // Records in the tree, in a file that is being moved, and in the newest, some of them forgotten in each.
    let (shared, mut store) = used();
    store.rotate().unwrap();
    let mut chance = Chance(1);
    for serial in 0..5 {
        let known = kept(&store);
        store.commit(&mut some_steps(&mut chance, serial, &known)).unwrap();
    }
    assert!(store.older.is_some() && !store.newest.overlay.is_empty());
    shared.disk().tree.insert("nameless".into(), Vec::new());
    shared.disk().tree.insert("other/07/x".into(), b"1".to_vec());
    let there: Vec<_> = store.load().filter_map(Result::ok).collect();
    let (reader, nameless) = store.reader().unwrap();
    assert_eq!(nameless, ["nameless"]);
    for serial in 5..9 {
        store.commit(&mut some_steps(&mut chance, serial, &Model::new())).unwrap();
        assert!(!store.tidy().unwrap());
    }
    let mut seen: Vec<_> =
        (0..=255).flat_map(|number| reader.partition(Partition(number))).collect::<Result<_, _>>().unwrap();
    seen.sort_by(|one, other| {
        (&one.kind, one.partition, &one.id).cmp(&(&other.kind, other.partition, &other.id))
    });
    assert_eq!(seen, there);
    drop(reader);
    assert!(store.tidy().unwrap());
}

#[test]
fn what_a_burst_has_left_in_memory_goes_to_the_tree_in_time() {
    let shared = Shared::default();
    let mut store = shared.open().unwrap();
    (store.limits.names, store.limits.bytes) = (100 * MUCH, 1 << 20);
    store.commit(&mut vec![(0..99).map(|id| save(id, id)).collect()]).unwrap();
    store.trim().unwrap();
    assert!(!store.tidy().unwrap(), "little stays where it is");
    store.commit(&mut vec![vec![save(100, 7)]]).unwrap();
    store.trim().unwrap();
    while store.tidy().unwrap() {}
    assert!(store.newest.overlay.is_empty() && store.older.is_none());
    assert_eq!(shared.disk().tree.len(), 100);
    assert_eq!(kept(&shared.open().unwrap()).len(), 100);
}

#[test]
fn what_is_brief_is_carried_on_and_never_reaches_the_tree() {
    let shared = Shared::default();
    let mut store = shared.open().unwrap();
    // Twenty are alive at a time, as answers are that are remembered for a while.
    for id in 0..600 {
        let mut steps = vec![vec![save_of(id, 1, Life::First)], vec![save_of(id, 2, Life::Brief)]];
        steps.extend(id.checked_sub(20).map(|id| vec![Change::Forget(key(id))]));
        store.commit(&mut steps).unwrap();
        while store.tidy().unwrap() {}
        assert!(shared.disk().tree.is_empty(), "{id}");
    }
    assert!(shared.disk().moved > 3, "files were moved");
    assert_eq!((kept(&store).len(), store.newest.overlay.len(), store.newest.brief), (20, 20, 20));
    for id in 580..600 {
        store.commit(&mut vec![vec![Change::Forget(key(id))]]).unwrap();
    }
    assert!(store.newest.overlay.is_empty() && store.newest.brief == 0);
    shared.disk().cut_power(&mut Chance(1));
    assert!(kept(&shared.open().unwrap()).is_empty());
}
