//! The simulation: a gateway between a fake XMPP server and fake SIP users, on one queue and one clock, with every
//! fault that a network and a crash can bring. Phones speak MESSAGE and MSRP: sessions are opened by both sides, accepted,
//! refused, forked, changed and ended at any moment, and connections die with what is on its way. Each seed is one run of
//! some minutes; the same seed gives the same trace. `tests/support/seeds.rs` says how to choose seeds.

#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

#[path = "sim/mod.rs"]
mod sim;
mod support;

use support::seeds;

#[test]
fn nothing_is_lost_whatever_happens() {
    let Some((totals, runs)) = seeds::all(
        "messages and sessions",
        seeds::Seeds { usual: seeds::SEEDS, kept: &sim::KEPT, open: &sim::OPEN },
        sim::run,
    ) else {
        return;
    };
    assert!(totals.crossed > runs, "the simulation hardly sends anything: {totals:?}");
    let [sessions, twice, receipts, cut, dropped] =
        [totals.in_sessions, totals.twice, totals.receipts, totals.cut, totals.dropped]
            .map(|count| 100 * count > runs);
    assert!(sessions && twice && receipts && cut, "the simulation hardly opens sessions: {totals:?}");
    assert!(20 * totals.kept > runs, "the simulation hardly keeps anything for who is away: {totals:?}");
    assert!(10 * totals.slow_starts > runs, "the records hardly come back slowly: {totals:?}");
    assert!(dropped, "the simulation hardly takes anything back: {totals:?}");
}

#[test]
fn nothing_is_lost_whatever_the_calendar_says_after_a_death() {
    let seeds = seeds::Seeds { usual: 100, kept: &[], open: &[] };
    let Some((totals, runs)) = seeds::all("a calendar that is set", seeds, sim::run_and_set) else { return };
    assert!(totals.crossed > runs, "the simulation hardly sends anything: {totals:?}");
}

#[test]
fn the_process_may_die_at_any_commit() {
    seeds::dying(&sim::DYING, sim::run);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    seeds::repeats(&[3, 5, 8], sim::run);
}
