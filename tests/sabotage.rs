//! The simulations find what they are for: mistakes that somebody could make are made on purpose, one after the other
//! (`src/sabotage.rs`), and each must be found within a thousand seeds by the checker of the invariant that it breaks.
//!
//! `cargo nextest run --features sabotage --test sabotage`. `MOSTAR_FAULT=ToldTwice` tries one.

#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

#[path = "conferences/mod.rs"]
#[allow(dead_code, reason = "what it counts is looked at where it is at home")]
mod conferences;
#[path = "facing/mod.rs"]
#[allow(dead_code, reason = "the same")]
mod facing;
#[path = "presence/mod.rs"]
#[allow(dead_code, reason = "the same")]
mod presence;
#[path = "rooms/mod.rs"]
#[allow(dead_code, reason = "the same")]
mod rooms;
#[path = "sim/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the same")]
mod sim;
mod support;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mostar::sabotage::{self, Fault};
use support::invariants::Broken;
use support::invariants::Invariant::{self, *};

/// Within so many seeds each must be found.
const SEEDS: u64 = 1000;

/// Runs one seed of a simulation and says what it found.
type Simulation = fn(u64) -> Option<Broken>;

const MESSAGES: Simulation = |seed| sim::run(seed, &[], false).err();
const ROOMS: Simulation = |seed| rooms::run(seed, &[], false).err();
const CONFERENCES: Simulation = |seed| conferences::run(seed, &[], false).err();
const PRESENCE: Simulation = |seed| presence::run(seed, &[], false).err();
const FACING: Simulation = |seed| facing::run(seed, &[], false).err();

/// Each mistake, with the simulation that finds it and the invariant that it breaks.
const FAULTS: [(Fault, Simulation, Invariant); 22] = [
    (Fault::NeverTold, MESSAGES, Fate),
    (Fault::ForgottenEarly, MESSAGES, Fate),
    (Fault::ForgottenAtBreak, MESSAGES, Fate),
    (Fault::Miscounted, MESSAGES, Fate),
    (Fault::KeptTooLong, MESSAGES, Fate),
    (Fault::AnsweredFirst, MESSAGES, Commit),
    (Fault::RefusedLater, MESSAGES, Refused),
    (Fault::NotRecognised, MESSAGES, Again),
    (Fault::NotRecognisedInMsrp, MESSAGES, Msrp),
    (Fault::PiecesUntold, MESSAGES, Msrp),
    (Fault::RetryRenamed, MESSAGES, Once),
    (Fault::SentTwice, MESSAGES, Once),
    (Fault::ToldTwice, MESSAGES, Once),
    (Fault::RetryOvertaken, MESSAGES, Order),
    (Fault::ErrorTaken, MESSAGES, Quiet),
    (Fault::NeverQuiet, FACING, Quiet),
    (Fault::NewsLost, PRESENCE, Presence),
    (Fault::ConsentKept, PRESENCE, Presence),
    (Fault::Outlives, PRESENCE, Presence),
    (Fault::LeaveForgotten, ROOMS, Rooms),
    (Fault::LinesTurned, ROOMS, Rooms),
    (Fault::LeaveUnseen, CONFERENCES, Rooms),
];

/// What the simulation made of a mistake.
#[derive(Default)]
struct Hunt {
    /// How many seeds were run.
    runs: u64,
    /// In how many of them each invariant was found broken, and in which seed first.
    found: BTreeMap<Invariant, (u64, u64)>,
    first: Option<(u64, Broken)>,
}

#[test]
fn every_mistake_is_found_by_the_checker_of_what_it_breaks() {
    assert_eq!(sabotage::ALL.len(), FAULTS.len(), "a mistake that nobody looks for");
    let wanted = std::env::var("MOSTAR_FAULT").ok();
    let mut missed = Vec::new();
    for (fault, simulation, invariant) in FAULTS {
        let name = format!("{fault:?}");
        if wanted.as_ref().is_some_and(|wanted| *wanted != name) {
            continue;
        }
        let hunt = hunt(fault, simulation, invariant);
        let others: Vec<String> =
            hunt.found.iter().map(|(law, (count, _))| format!("{law}: {count}")).collect();
        let Some((count, first)) = hunt.found.get(&invariant) else {
            missed.push(format!("{name}: not by {invariant} in {} seeds; {others:?}", hunt.runs));
            continue;
        };
        println!("{name}: {invariant}, first in seed {first}, in {count} of {} seeds", hunt.runs);
        println!(
            "    {}; all: {}",
            hunt.first.map_or(String::new(), |(_, broken)| short(&broken.what)),
            others.join(", ")
        );
        support::results::line(&format!(
            "figure\tdeliberate fault {name}: seeds until found\t{SEEDS}\t{}\t{:.2}",
            first + 1,
            (first + 1) as f64 / SEEDS as f64
        ));
    }
    assert!(missed.is_empty(), "not found:\n{}", missed.join("\n"));
}

/// Runs seeds with this mistake, on two threads, until the invariant is found broken; what runs then is counted too.
fn hunt(fault: Fault, simulation: Simulation, invariant: Invariant) -> Hunt {
    let (next, over, all) = (AtomicU64::new(0), AtomicBool::new(false), Mutex::new(Hunt::default()));
    let work = || {
        sabotage::choose(Some(fault));
        while !over.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= SEEDS {
                break;
            }
            // A mistake may break what the code counts on.
            let found = catch_unwind(AssertUnwindSafe(|| simulation(seed)));
            let mut hunt = all.lock().expect("nobody panics with it");
            hunt.runs += 1;
            if let Ok(Some(broken)) = found {
                let found = hunt.found.entry(broken.invariant).or_insert((0, seed));
                *found = (found.0 + 1, found.1.min(seed));
                if broken.invariant == invariant {
                    over.store(true, Ordering::Relaxed);
                    hunt.first.get_or_insert((seed, broken));
                }
            }
        }
        sabotage::choose(None);
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        work();
    });
    all.into_inner().expect("nobody panics with it")
}

fn short(what: &str) -> String {
    what.chars().take(140).collect()
}
