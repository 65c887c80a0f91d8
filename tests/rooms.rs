//! The simulation of rooms: people of both sides in rooms of a room server that is played, on one clock; phones that call,
//! are called, talk, whisper, watch, hold and lose their connections; a server that lets in, reflects, expels, bans, forgets
//! and goes away; a gateway that stops, and dies at any commit. Each seed is one run of some minutes.
//!
//! At rest: the same people are in the rooms on both sides; each phone has heard what reached the gateway for it, once, in the
//! room's order, with its own lines answered at their place in it; every line of its own was said once where it was told so,
//! and not where it was refused; who watches sees who is there; no books hold anything when all have left.
//! `tests/support/seeds.rs` says how to choose seeds.

#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

#[path = "rooms/mod.rs"]
mod rooms;
mod support;

use support::seeds;

#[test]
fn a_room_is_the_same_for_all_whatever_happens() {
    let Some((tally, runs)) = seeds::all(
        "rooms of XMPP",
        seeds::Seeds { usual: seeds::SEEDS, kept: &rooms::KEPT, open: &rooms::OPEN },
        rooms::run,
    ) else {
        return;
    };
    let often = [tally.entered, tally.said, tally.heard, tally.taken, tally.whispered, tally.documents];
    assert!(often.iter().all(|count| *count > runs), "hardly anything happens: {tally:?}");
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
    assert!(seldom.iter().all(|count| 10 * *count > runs), "hardly anything happens: {tally:?}");
}

#[test]
fn the_process_may_die_at_any_commit() {
    seeds::dying(&rooms::DYING, rooms::run);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    seeds::repeats(&[3, 7, 8], rooms::run);
}
