//! The simulation of presence: XMPP users who watch SIP contacts, and SIP users who watch XMPP users, on one clock. People
//! come and go, change what they show, subscribe and let go, consent and take it back; presence agents and phones forget,
//! fall silent, are out of service; connections and the link break with what is on its way; the disk fails; the process
//! stops, and dies at any commit. Each seed is one run of some minutes, and some hours of quiet.
//!
//! Two seconds after the faults have ended XMPP users see what the contacts' agents last told the gateway, five seconds later
//! SIP watchers see what they may, in an eighth of the runs without having asked again; in the quiet hours everything that was
//! missed is found; nobody ever sees anything without consent; no subscription outlives its expiry; after a restart the books
//! are what they were.
//! `tests/support/seeds.rs` says how to choose seeds.

#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

#[path = "presence/mod.rs"]
mod presence;
mod support;

use support::seeds;

#[test]
fn presence_is_the_truth_whatever_happens() {
    let Some((tally, runs)) = seeds::all(
        "presence",
        seeds::Seeds { usual: 300, kept: &presence::KEPT, open: &presence::OPEN },
        presence::run,
    ) else {
        return;
    };
    let often = [tally.shown, tally.documents, tally.contacts, tally.watchers, tally.compared];
    assert!(often.iter().all(|count| *count > runs), "hardly anything happens: {tally:?}");
    let seldom = [
        tally.links,
        tally.breaks,
        tally.crashes,
        tally.stops,
        tally.refused,
        tally.withdrawn,
        tally.forgotten,
        tally.expired,
        tally.silent,
    ];
    assert!(seldom.iter().all(|count| 10 * *count > runs), "hardly anything happens: {tally:?}");
}

#[test]
fn the_process_may_die_at_any_commit() {
    seeds::dying(&presence::DYING, presence::run);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    seeds::repeats(&[2, 7], presence::run);
}
