//! The simulation of conferences of SIP: a focus that is played, with members of its own, and XMPP users who enter, talk, take
//! names, leave, and are expelled; connections and the link die, the focus forgets, the process dies. Each seed is one run.
//!
//! At rest: who is in a conference is in it on both sides, once, and sees all who are there; each has heard what reached the
//! gateway for it in that order, the own lines where their answers arrived; no books hold anything when all have left.
//! `tests/support/seeds.rs` says how to choose seeds.

#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

#[path = "conferences/mod.rs"]
mod conferences;
mod support;

use support::seeds;

#[test]
fn a_conference_is_the_same_for_all_whatever_happens() {
    let Some((tally, runs)) = seeds::all(
        "conferences of SIP",
        seeds::Seeds { usual: seeds::SEEDS, kept: &conferences::KEPT, open: &[] },
        conferences::run,
    ) else {
        return;
    };
    let counts = [
        tally.entered,
        tally.refused,
        tally.said,
        tally.heard,
        tally.own,
        tally.returned,
        tally.renamed,
        tally.expelled,
        tally.documents,
        tally.cut,
        tally.links,
        tally.forgotten,
        tally.crashes,
        tally.in_at_rest,
    ];
    assert!(counts.iter().all(|count| 20 * *count > runs), "hardly anything happens: {tally:?}");
}

#[test]
fn every_line_is_heard_as_what_it_is_whatever_the_calendar_says() {
    let seeds = seeds::Seeds { usual: 200, kept: &[], open: &[] };
    let Some((tally, runs)) =
        seeds::all("conferences with a calendar that is set", seeds, conferences::run_and_set)
    else {
        return;
    };
    assert!(tally.heard > runs && tally.set > runs / 2, "hardly anything happens: {tally:?}");
}

#[test]
fn the_process_may_die_at_any_commit() {
    seeds::dying(&conferences::DYING, conferences::run);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    seeds::repeats(&[3, 15], conferences::run);
}
