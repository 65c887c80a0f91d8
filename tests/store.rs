//! The store against a process that is killed, and against a full disk: whatever was committed is there afterwards.

#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mostar::store::record::{Key, Life, Record};
use mostar::store::sled::SledStore;
use mostar::store::{Change, Step, Store};
use mostar::words::id::Partition;

/// Where the process that will be killed finds its store.
const FOLDER: &str = "MOSTAR_TEST_STORE";

/// After how many steps it ends by itself, if at all.
const STEPS: &str = "MOSTAR_TEST_STEPS";

/// Records of one step, and how long each is: a file of the journal is full after some thirty steps.
const EACH: usize = 20;
const LONG: usize = 60_000;

/// So many steps later most records are dropped.
const LATER: usize = 10;

fn key(step: usize, place: usize) -> Key {
    Key { kind: "test", partition: Partition(step as u8), id: format!("{step} {place}") }
}

/// Step by step: some records are kept, and most of those of an earlier step are dropped.
fn step(number: usize) -> Step {
    let mut step: Step = (0..EACH)
        .map(|place| {
            Change::Save(Record {
                key: key(number, place),
                value: vec![number as u8; LONG],
                life: Life::Open,
            })
        })
        .collect();
    if let Some(earlier) = number.checked_sub(LATER) {
        step.extend((1..EACH).map(|place| Change::Forget(key(earlier, place))));
    }
    step
}

/// How many records of each step are there when this one was the last.
fn expected(last: usize) -> BTreeMap<usize, usize> {
    (0..=last).map(|number| (number, if number + LATER <= last { 1 } else { EACH })).collect()
}

fn found(store: &SledStore) -> BTreeMap<usize, usize> {
    let mut found = BTreeMap::new();
    for record in store.load().map(Result::unwrap) {
        let number: usize = record.id.split(' ').next().unwrap().parse().unwrap();
        assert_eq!(record.value, vec![number as u8; LONG]);
        *found.entry(number).or_default() += 1;
    }
    found
}

/// Commits for ever, tidies as the writer does, and says what it has done.
#[test]
#[ignore = "it may never end; the tests below run it as a process of its own"]
fn writes_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let mut store = SledStore::open(Path::new(&folder)).unwrap();
    let first = found(&store).keys().last().map_or(0, |last| last + 1);
    let count = std::env::var(STEPS).ok().and_then(|count| count.parse().ok()).unwrap_or(usize::MAX);
    for number in (first..).take(count) {
        store.commit(&mut vec![step(number)]).unwrap();
        println!("committed {number}");
        for _ in 0..3 {
            store.tidy().unwrap();
        }
        std::io::stdout().flush().unwrap();
    }
}

/// The process, behind the words of another program that starts it.
fn process(before: &[&str], test: &str, folder: &Path) -> Command {
    let own = std::env::current_exe().unwrap();
    let words: Vec<&str> = before.iter().copied().chain([own.to_str().unwrap()]).collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).args(["--exact", test, "--ignored", "--nocapture"]).env(FOLDER, folder);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// Reads what it has committed until it has been so many steps.
fn steps(child: &mut Child, count: usize) -> usize {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut committed = lines.filter_map(|line| line.strip_prefix("committed ")?.parse().ok());
    committed.nth(count).expect("it commits")
}

#[test]
fn a_killed_process_loses_nothing_that_was_committed_and_leaves_no_half_step() {
    let folder = tempfile::tempdir().unwrap();
    // The numbers fall before, into and after the turn from one file of the journal to the next.
    for count in [3, 24, 2, 4, 1, 7, 23] {
        let mut child = process(&[], "writes_until_it_is_killed", folder.path()).spawn().unwrap();
        let last = steps(&mut child, count);
        child.kill().unwrap();
        child.wait().unwrap();
        let found = found(&SledStore::open(folder.path()).unwrap());
        // It went on until it was killed.
        let reached = *found.keys().last().unwrap();
        assert!(reached >= last, "{reached} of {last}");
        assert_eq!(found, expected(reached));
    }
    // How far the tree had come when the last one died is the disk's affair. What is left is moved now, and nothing is lost.
    let mut store = SledStore::open(folder.path()).unwrap();
    let first = folder.path().join("journal.0000000000000001");
    let patience = Instant::now() + Duration::from_secs(60);
    while first.exists() {
        assert!(Instant::now() < patience, "it is never done with");
        store.tidy().unwrap();
        std::thread::yield_now();
    }
    let found = found(&store);
    assert_eq!(found, expected(*found.keys().last().unwrap()));
}

#[test]
fn nothing_is_said_before_it_was_written_and_synced() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let calls = "trace=pwrite64,fdatasync,write";
    let strace = ["strace", "-f", "-y", "-s", "16", "-e", calls, "-o", trace.to_str().unwrap()];
    let mut traced = process(&strace, "writes_until_it_is_killed", &folder.path().join("store"));
    let ended = traced.env(STEPS, "6").output();
    if !ended.is_ok_and(|ended| ended.status.success()) {
        println!("not tried: strace is not installed, or processes may not be traced here");
        return;
    }
    let (mut written, mut synced, mut said) = (false, false, 0);
    for line in std::fs::read_to_string(&trace).unwrap().lines() {
        if line.contains("pwrite64(") && line.contains("/journal.") {
            (written, synced) = (true, false);
        } else if line.contains("fdatasync(") && line.contains("/journal.") && line.contains("= 0") {
            synced = written;
        } else if line.contains("write(1<") && line.contains("\"committed ") {
            assert!(synced, "{line}");
            (written, synced, said) = (false, false, said + 1);
        }
    }
    assert_eq!(said, 6);
}

/// Fills a small disk, and goes on when there is room again. Its parent gives it a disk of its own.
#[test]
#[ignore = "the test below runs it on a disk of 24 MB"]
fn fills_its_disk() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let filler = folder.join("filler");
    let mut store = SledStore::open(&folder.join("store")).unwrap();
    std::fs::write(&filler, vec![1; 12 << 20]).unwrap();
    let mut number = 0;
    while store.commit(&mut vec![step(number)]).is_ok() {
        number += 1;
    }
    let mut waiting = vec![step(number)];
    for _ in 0..3 {
        store.reopen().unwrap();
        store.commit(&mut waiting).unwrap_err();
    }
    std::fs::remove_file(&filler).unwrap();
    store.reopen().unwrap();
    store.commit(&mut waiting).unwrap();
    store.commit(&mut vec![step(number + 1)]).unwrap();
    drop(store);
    assert_eq!(found(&SledStore::open(&folder.join("store")).unwrap()), expected(number + 1));
    println!("filled after {number}");
}

#[test]
fn a_full_disk_fails_commits_loses_nothing_and_takes_them_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let mount = "mount -t tmpfs -o size=24m tmpfs \"$MOSTAR_TEST_STORE\" || exit 99; exec \"$0\" \"$@\"";
    let ended = process(&["unshare", "-m", "sh", "-c", mount], "fills_its_disk", folder.path()).output();
    let Some(ended) = ended.ok().filter(|ended| matches!(ended.status.code(), Some(0 | 101))) else {
        println!("not tried: this user may not mount a small disk");
        return;
    };
    let words = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success() && words.contains("filled after"), "{words}");
}
