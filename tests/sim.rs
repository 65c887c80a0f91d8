//! The simulation: a gateway between a fake XMPP server and fake SIP users, on one queue and one clock, with every
//! fault that a network and a crash can bring. Phones speak MESSAGE and MSRP: sessions are opened by both sides, accepted,
//! refused, forked, changed and ended at any moment, and connections die with what is on its way. Each seed is one run of
//! some minutes; the same seed gives the same trace.
//!
//! `MOSTAR_SEEDS=5000` says how many seeds run, `MOSTAR_FROM=20000` which is the first. `MOSTAR_SEED=17` runs one and prints its trace, with `MOSTAR_DEATH=9` one
//! whose process dies at its ninth commit. `MOSTAR_LONG` (of `scripts/test --full`) runs ten times as many.

#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

#[path = "sim/disk.rs"]
mod disk;
#[path = "sim/juliet.rs"]
mod juliet;
#[path = "sim/ledger.rs"]
mod ledger;
#[path = "sim/phone.rs"]
mod phone;
#[path = "sim/restore.rs"]
mod restore;
#[path = "sim/romeo.rs"]
mod romeo;
mod support;
#[path = "sim/talk.rs"]
mod talk;
#[path = "sim/wire.rs"]
mod wire;
#[path = "sim/world.rs"]
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use disk::Death;
use ledger::Totals;

/// How many seeds run where nobody says otherwise.
const SEEDS: u64 = 1000;

/// Those whose process dies at every one of their commits, one after the other.
const DYING: [u64; 2] = [5, 46];

#[test]
fn nothing_is_lost_whatever_happens() {
    if let Some(seed) = number("MOSTAR_SEED") {
        let deaths: Vec<_> = number("MOSTAR_DEATH").map(|at| (at, death(at))).into_iter().collect();
        let outcome = world::run(seed, &deaths, true);
        outcome.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
        return;
    }
    let seeds = number("MOSTAR_SEEDS").unwrap_or(if is_long() { 10 * SEEDS } else { SEEDS });
    let first = number("MOSTAR_FROM").unwrap_or_default();
    let runs: Vec<(u64, Option<u64>)> = (first..first + seeds).map(|seed| (seed, None)).collect();
    let totals = judge(&runs);
    assert!(totals.crossed > seeds, "the simulation hardly sends anything: {totals:?}");
    let [sessions, twice, receipts, cut, dropped] =
        [totals.in_sessions, totals.twice, totals.receipts, totals.cut, totals.dropped]
            .map(|count| 100 * count > seeds);
    assert!(sessions && twice && receipts && cut, "the simulation hardly opens sessions: {totals:?}");
    assert!(20 * totals.kept > seeds, "the simulation hardly keeps anything for who is away: {totals:?}");
    assert!(10 * totals.slow_starts > seeds, "the records hardly come back slowly: {totals:?}");
    assert!(dropped, "the simulation hardly takes anything back: {totals:?}");
}

#[test]
fn the_process_may_die_at_any_commit() {
    let all = match number("MOSTAR_FROM") {
        Some(first) => (first..first + 40).collect(),
        None if is_long() => (0..40).collect(),
        None => DYING.to_vec(),
    };
    for seed in all {
        let commits = world::run(seed, &[], false).expect("it goes well").totals.commits;
        let runs: Vec<_> = (1..=commits).map(|commit| (seed, Some(commit))).collect();
        let totals = judge(&runs);
        assert!(totals.crashes >= commits, "the process does not die: {totals:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [3, 5, 8] {
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
fn judge(runs: &[(u64, Option<u64>)]) -> Totals {
    let next = AtomicU64::new(0);
    let work = || {
        let (mut totals, mut failures) = (Totals::default(), Vec::new());
        while let Some((seed, dies)) = runs.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
            let deaths: Vec<_> = dies.map(|commit| (commit, death(commit))).into_iter().collect();
            match world::run(*seed, &deaths, false) {
                Ok(run) => totals.add(&run.totals),
                Err(failure) => {
                    let dies = dies.map_or(String::new(), |commit| format!(", death {commit}"));
                    failures.push(format!("seed {seed}{dies}: {failure}"));
                }
            }
        }
        (totals, failures)
    };
    let (totals, failures) = std::thread::scope(|scope| {
        let other = scope.spawn(work);
        let (mut totals, mut failures) = work();
        let (more, others) = other.join().expect("no run panics");
        totals.add(&more);
        failures.extend(others);
        (totals, failures)
    });
    println!("{} runs: {totals:?}", runs.len());
    assert!(
        failures.is_empty(),
        "{} of {} runs failed; MOSTAR_SEED=n shows one, MOSTAR_DEATH=n with its death\n{}",
        failures.len(),
        runs.len(),
        failures[..failures.len().min(20)].join("\n")
    );
    totals
}
