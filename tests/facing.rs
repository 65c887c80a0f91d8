//! Two gateways back to back: XMPP users on both sides, SIP in between, and machines everywhere that answer by themselves.
//! Clients confirm and reply on their own, servers refuse at once or late, links break, processes die. Nothing may answer
//! what answers it for ever: some minutes after the last person has written all is silent, the number of messages is bounded
//! by what people wrote, and no error was ever answered by an error. `tests/support/seeds.rs` says how to choose seeds.

#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

#[path = "facing/mod.rs"]
mod facing;
mod support;

use support::seeds;

#[test]
fn two_gateways_and_their_machines_come_to_rest() {
    let Some((tally, runs)) = seeds::all(
        "two gateways facing each other",
        seeds::Seeds { usual: 200, kept: &facing::KEPT, open: &facing::OPEN },
        facing::run,
    ) else {
        return;
    };
    let often = [tally.written, tally.read, tally.replied, tally.refused, tally.shown];
    assert!(often.iter().all(|count| *count > runs), "hardly anything happens: {tally:?}");
    let seldom = [tally.late, tally.errors, tally.receipts, tally.links, tally.in_sessions];
    assert!(seldom.iter().all(|count| 10 * *count > runs), "hardly anything happens: {tally:?}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    seeds::repeats(&[2, 7], facing::run);
}
