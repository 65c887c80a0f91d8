//! The simulation of rooms: people of both sides in rooms of a room server that is played, on one clock; phones that call,
//! are called, talk, whisper, watch, hold and lose their connections; a server that lets in, reflects, expels, bans, forgets
//! and goes away; a gateway that stops, and dies at any commit. Each seed is one run of some minutes.
//!
//! At rest: the same people are in the rooms on both sides; each phone has heard what reached the gateway for it, once, in the
//! room's order, with its own lines answered at their place in it; every line of its own was said once where it was told so,
//! and not where it was refused; who watches sees who is there; no books hold anything when all have left.
//!
//! `MOSTAR_SEEDS=5000` says how many seeds run, `MOSTAR_FROM=20000` which is the first. `MOSTAR_SEED=17` runs one and prints
//! its trace, with `MOSTAR_DEATH=9` one whose process dies at its ninth commit. `MOSTAR_LONG` runs ten times as many.

#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

#[path = "rooms/disk.rs"]
mod disk;
#[path = "rooms/judge.rs"]
mod judge;
#[path = "rooms/muc.rs"]
mod muc;
#[path = "rooms/native.rs"]
mod native;
#[path = "rooms/phone.rs"]
mod phone;
mod support;
#[path = "rooms/talk.rs"]
mod talk;
#[path = "rooms/watch.rs"]
mod watch;
#[path = "rooms/wire.rs"]
mod wire;
#[path = "rooms/world.rs"]
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use disk::Death;
use judge::Tally;

/// How many seeds run where nobody says otherwise.
const SEEDS: u64 = 1000;

/// Those whose process dies at every one of their commits, one after the other.
const DYING: [u64; 2] = [5, 12];

#[test]
fn a_room_is_the_same_for_all_whatever_happens() {
    if let Some(seed) = number("MOSTAR_SEED") {
        let deaths: Vec<_> = number("MOSTAR_DEATH").map(|at| (at, death(at))).into_iter().collect();
        let outcome = world::run(seed, &deaths, true);
        outcome.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
        return;
    }
    let seeds = number("MOSTAR_SEEDS").unwrap_or(if is_long() { 10 * SEEDS } else { SEEDS });
    let first = number("MOSTAR_FROM").unwrap_or_default();
    let runs: Vec<(u64, Option<u64>)> = (first..first + seeds).map(|seed| (seed, None)).collect();
    let tally = judge(&runs);
    let often = [tally.entered, tally.said, tally.heard, tally.taken, tally.whispered, tally.documents];
    assert!(often.iter().all(|count| *count as u64 > seeds), "hardly anything happens: {tally:?}");
    let seldom = [
        tally.conflicts,
        tally.renamed,
        tally.expelled,
        tally.rang,
        tally.declined,
        tally.progress,
        tally.held,
        tally.cut,
        tally.links,
        tally.forgotten,
        tally.crashes,
        tally.subjects,
        tally.in_at_rest,
    ];
    assert!(seldom.iter().all(|count| 10 * *count as u64 > seeds), "hardly anything happens: {tally:?}");
}

#[test]
fn the_process_may_die_at_any_commit() {
    let all = match number("MOSTAR_FROM") {
        Some(first) => (first..first + 40).collect(),
        None if is_long() => (0..40).collect(),
        None => DYING.to_vec(),
    };
    for seed in all {
        let commits = world::run(seed, &[], false).expect("it goes well").tally.commits;
        let runs: Vec<_> = (1..=commits).map(|commit| (seed, Some(commit))).collect();
        let tally = judge(&runs);
        assert!(tally.crashes as u64 >= commits, "the process does not die: {tally:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [3, 7, 8] {
        let first = world::run(seed, &[], false).map(|run| run.trace);
        assert_eq!(first, world::run(seed, &[], false).map(|run| run.trace), "seed {seed}");
    }
}

/// How the process dies at its commit of this number.
fn death(commit: u64) -> Death {
    [Death::Before, Death::After, Death::Midway][(commit % 3) as usize]
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn is_long() -> bool {
    std::env::var_os("MOSTAR_LONG").is_some()
}

/// Runs seeds, each with the commit at which the process dies; the first failures are told.
fn judge(runs: &[(u64, Option<u64>)]) -> Tally {
    let next = AtomicU64::new(0);
    let work = || {
        let (mut tally, mut failures) = (Tally::default(), Vec::new());
        while let Some((seed, dies)) = runs.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
            let deaths: Vec<_> = dies.map(|commit| (commit, death(commit))).into_iter().collect();
            match world::run(*seed, &deaths, false) {
                Ok(run) => tally.add(&run.tally),
                Err(failure) => {
                    let dies = dies.map_or(String::new(), |commit| format!(", death {commit}"));
                    failures.push(format!("seed {seed}{dies}: {failure}"));
                }
            }
        }
        (tally, failures)
    };
    let (tally, failures) = std::thread::scope(|scope| {
        let other = scope.spawn(work);
        let (mut tally, mut failures) = work();
        let (more, others) = other.join().expect("no run panics");
        tally.add(&more);
        failures.extend(others);
        (tally, failures)
    });
    println!("{} runs: {tally:?}", runs.len());
    assert!(
        failures.is_empty(),
        "{} of {} runs failed; MOSTAR_SEED=n shows one, MOSTAR_DEATH=n with its death\n{}",
        failures.len(),
        runs.len(),
        failures[..failures.len().min(20)].join("\n")
    );
    tally
}
