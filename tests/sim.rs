//! The simulation: a gateway between a fake XMPP server and fake SIP users, on one queue and one clock, with every
//! fault that a network and a crash can bring. Each seed is one run of some minutes; the same seed gives the same
//! trace.
//!
//! `MOSTAR_SEEDS=5000` says how many seeds run, `MOSTAR_SEED=17` runs one and prints its trace, and `MOSTAR_LONG` (of
//! `scripts/test --full`) runs ten times as many.

#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

#[path = "sim/ledger.rs"]
mod ledger;
mod support;
#[path = "sim/world.rs"]
mod world;

/// How many seeds run where nobody says otherwise.
const SEEDS: u64 = 1000;

#[test]
fn nothing_is_lost_whatever_happens() {
    if let Some(seed) = std::env::var("MOSTAR_SEED").ok().and_then(|seed| seed.parse().ok()) {
        let outcome = world::run(seed, true);
        outcome.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
        return;
    }
    let seeds = std::env::var("MOSTAR_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    let usual = if std::env::var_os("MOSTAR_LONG").is_some() { 10 * SEEDS } else { SEEDS };
    let seeds = seeds.unwrap_or(usual);
    let mut failures = Vec::new();
    let mut totals = ledger::Totals::default();
    for seed in 0..seeds {
        match world::run(seed, false) {
            Ok(run) => totals.add(&run.totals),
            Err(failure) => failures.push(format!("seed {seed}: {failure}")),
        }
    }
    println!("{seeds} seeds: {totals:?}");
    assert!(
        failures.is_empty(),
        "{} of {seeds} seeds failed; MOSTAR_SEED=n shows one\n{}",
        failures.len(),
        failures[..failures.len().min(20)].join("\n")
    );
    assert!(totals.crossed > seeds, "the simulation hardly sends anything: {totals:?}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [3, 5, 8] {
        let first = world::run(seed, false).map(|run| run.trace);
        assert_eq!(first, world::run(seed, false).map(|run| run.trace), "seed {seed}");
    }
}
