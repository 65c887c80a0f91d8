//! The simulation of conferences of SIP: a focus that is played, with members of its own, and XMPP users who enter, talk, take
//! names, leave, and are expelled; connections and the link die, the focus forgets, the process dies. Each seed is one run.
//!
//! At rest: who is in a conference is in it on both sides, once, and sees all who are there; each has heard what reached the
//! gateway for it in that order, the own lines where their answers arrived; no books hold anything when all have left.
//!
//! `MOSTAR_SEEDS` and `MOSTAR_FROM` say which seeds run, `MOSTAR_SEED` runs one and prints its trace.

#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

#[path = "conferences/clients.rs"]
mod clients;
#[path = "conferences/focus.rs"]
mod focus;
mod support;
#[path = "conferences/world.rs"]
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use world::Tally;

/// How many seeds run where nobody says otherwise.
const SEEDS: u64 = 1_000;

#[test]
fn a_conference_is_the_same_for_all_whatever_happens() {
    if let Some(seed) = number("MOSTAR_SEED") {
        world::run(seed, true).unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
        return;
    }
    let long = std::env::var_os("MOSTAR_LONG").is_some();
    let seeds = number("MOSTAR_SEEDS").unwrap_or(if long { 10 * SEEDS } else { SEEDS });
    let first = number("MOSTAR_FROM").unwrap_or_default();
    let next = AtomicU64::new(first);
    let work = || {
        let (mut tally, mut failures) = (Tally::default(), Vec::new());
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds {
                return (tally, failures);
            }
            match world::run(seed, false) {
                Ok((mut run, _)) => {
                    tally.counts().into_iter().zip(run.counts()).for_each(|(sum, one)| *sum += *one);
                }
                Err(failure) => failures.push(format!("seed {seed}: {failure}")),
            }
        }
    };
    let (mut tally, failures) = std::thread::scope(|scope| {
        let other = scope.spawn(work);
        let (mut tally, mut failures) = work();
        let (mut more, others) = other.join().expect("no run panics");
        tally.counts().into_iter().zip(more.counts()).for_each(|(sum, one)| *sum += *one);
        failures.extend(others);
        (tally, failures)
    });
    println!("{seeds} runs: {tally:?}");
    let shown = failures[..failures.len().min(20)].join("\n");
    assert!(
        failures.is_empty(),
        "{} of {seeds} runs failed; MOSTAR_SEED=n shows one\n{shown}",
        failures.len()
    );
    assert!(
        tally.counts().iter().all(|count| 20 * **count as u64 > seeds),
        "hardly anything happens: {tally:?}"
    );
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [3, 15] {
        let first = world::run(seed, false).map(|(_, trace)| trace);
        assert_eq!(first, world::run(seed, false).map(|(_, trace)| trace), "seed {seed}");
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}
