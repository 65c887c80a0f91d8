//! The store against a process that is killed: whatever was committed is there afterwards.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use mostar::store::record::{Key, Record};
use mostar::store::sled::SledStore;
use mostar::store::{Change, Store};
use mostar::words::id::Partition;

/// Where the process that will be killed finds its store.
const FOLDER: &str = "MOSTAR_TEST_STORE";

fn key(number: usize) -> Key {
    Key { kind: "test", partition: Partition(number as u8), id: number.to_string() }
}

/// Saves records for ever, drops every third again, and prints each number once its step is committed.
#[test]
#[ignore = "it never ends; the test below runs it as a process of its own and kills it"]
fn writes_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let mut store = SledStore::open(Path::new(&folder)).unwrap();
    for number in 0.. {
        let mut step = vec![Change::Save(Record { key: key(number), value: vec![b'x'; 300] })];
        if number % 3 == 2 {
            step.push(Change::Forget(key(number - 1)));
        }
        store.commit(&mut vec![step]).unwrap();
        while number % 7 == 0 && store.tidy().unwrap() {}
        println!("committed {number}");
    }
}

#[test]
fn a_killed_process_loses_nothing_that_was_committed() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writes_until_it_is_killed", "--ignored", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = BTreeSet::new();
        let mut last = 0;
        while last < 400 {
            let line = lines.next().unwrap().unwrap();
            let Some(number) = line.strip_prefix("committed ").and_then(|number| number.parse().ok()) else {
                continue;
            };
            last = number;
            seen.insert(number);
            if number % 3 == 2 {
                seen.remove(&(number - 1));
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let store = SledStore::open(folder.path()).unwrap();
        let kept: BTreeSet<usize> = store.load().map(|record| record.unwrap().id.parse().unwrap()).collect();
        // The last step's companion may have been dropped by a step that was committed and not yet printed.
        let lost: Vec<_> = seen.difference(&kept).filter(|number| **number + 1 < last).collect();
        assert!(lost.is_empty(), "{lost:?}");
        let risen: Vec<_> = (0..last).filter(|number| number % 3 == 1 && kept.contains(number)).collect();
        assert!(risen.iter().all(|number| *number + 1 >= last), "{risen:?}");
    }
}
