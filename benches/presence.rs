//! What contacts and watchers cost: memory for each subscription, the time to take all offline, the time to start with
//! all their records. The gateway alone, without sockets, on one core; the store is the real one.
//!
//! A start is measured with all records in the tree, and again with a journal that is nearly full in front of it. A
//! process shares them among its cores; here one has them all.
//!
//! `cargo bench --bench presence` takes 100,000 of each direction, `SUBSCRIPTIONS=n` so many. A user has 20 contacts, a
//! contact one device.

#![allow(clippy::disallowed_types, clippy::unwrap_used, reason = "a load generator is shell")]

mod world;

use std::path::Path;
use std::time::{Duration, Instant};

use mostar::gateway::Input;
use mostar::store::record::{Key, Life, Record, Restored};
use mostar::store::sled::SledStore;
use mostar::store::{Change, Step, Store};
use world::core::World;

/// The program's own.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// So much of what was kept is kept once more, so that a journal that is nearly full stands in front of the tree.
const AGAIN: (usize, usize) = (190_000, 30 * 1024 * 1024);

/// Each phase runs in a process of its own: what one has freed would be given to the next.
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [phase, direction, folder] = arguments.as_slice() {
        let direction = if direction == "Contacts" { Direction::Contacts } else { Direction::Watchers };
        let folder = Path::new(folder);
        return match phase.as_str() {
            "live" => live(direction, folder),
            "again" => keep_again(folder),
            _ => start(direction, folder),
        };
    }
    for direction in ["Contacts", "Watchers"] {
        let folder = tempfile::tempdir().unwrap();
        for phase in ["live", "start", "again", "start"] {
            let own = std::process::Command::new(std::env::current_exe().unwrap())
                .args([phase, direction])
                .arg(folder.path())
                .status();
            assert!(own.unwrap().success());
        }
    }
}

/// Makes subscriptions, puts their records into a store, and stops.
fn live(direction: Direction, folder: &Path) {
    let count = std::env::var("SUBSCRIPTIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let mut world = World::new();
    let before = resident();
    let began = Instant::now();
    for number in 0..count {
        match direction {
            Direction::Contacts => world.add_contact(number),
            Direction::Watchers => world.add_watcher(number),
        }
        if number % 500 == 0 {
            // Transactions are over after half a minute.
            world.pass(Duration::from_secs(1));
        }
    }
    world.pass(Duration::from_secs(90));
    let each = (resident().saturating_sub(before)) * 1024 / count as u64;
    let text = |(name, record): (&String, &Record)| 2 * name.len() + record.value.len();
    let kept = world.records.iter().map(text).sum::<usize>() / count;
    println!(
        "{direction:?}: {count} made in {:?}; {each} bytes resident for each, with the {kept} of its records, which this \
         process plays the store for",
        began.elapsed()
    );
    let records: Vec<Record> = world.records.values().cloned().collect();
    let stanzas = world.stanzas;
    let began = Instant::now();
    let took = world.stop();
    println!(
        "{direction:?}: told all of the end in {:?} of CPU and {took:?} of the clock ({} stanzas, {} NOTIFYs)",
        began.elapsed(),
        world.stanzas - stanzas,
        world.notifies
    );
    let mut store = SledStore::open(folder).unwrap();
    let mut steps: Vec<Step> = records.into_iter().map(|record| vec![Change::Save(record)]).collect();
    store.commit(&mut steps).unwrap();
    while store.tidy().unwrap() {}
    drop(store);
    // Removes the journal whose records have all been moved.
    drop(SledStore::open(folder).unwrap());
}

/// Keeps some of the records once more, as refreshes do.
fn keep_again(folder: &Path) {
    let mut store = SledStore::open(folder).unwrap();
    let mut bytes = 0;
    let change = |record: Restored| {
        let kind = ["contact", "watch", "watch-dialog"].into_iter().find(|kind| *kind == record.kind);
        let key = Key { kind: kind.unwrap(), partition: record.partition, id: record.id };
        bytes += key.to_string().len() + record.value.len();
        (bytes < AGAIN.1).then(|| vec![Change::Save(Record { key, value: record.value, life: Life::Open })])
    };
    let mut steps: Vec<Step> = store.load().map(Result::unwrap).map_while(change).take(AGAIN.0).collect();
    println!("{} records are kept again, and stand in the journal", steps.len());
    store.commit(&mut steps).unwrap();
}

/// Opens the store and gives all records to a gateway, as a start does.
fn start(direction: Direction, folder: &Path) {
    let mut world = World::bare();
    let before = resident();
    let began = Instant::now();
    let store = SledStore::open(folder).unwrap();
    let opened = began.elapsed();
    let mut count = 0;
    for record in store.load() {
        world.handle(Input::Restored(record.unwrap()));
        count += 1;
    }
    let given = began.elapsed();
    world.handle(Input::RestoreDone);
    let started = began.elapsed();
    let resident = (resident() - before) / 1024;
    let began = Instant::now();
    assert_eq!(store.load().map(Result::unwrap).count(), count);
    println!(
        "{direction:?}: started with {count} records in {started:?}: store opened after {opened:?}, all given back after \
         {given:?}; to read them alone takes {:?}; {resident} MB resident",
        began.elapsed()
    );
}

#[derive(Clone, Copy, Debug)]
enum Direction {
    Contacts,
    Watchers,
}

/// Kilobytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
