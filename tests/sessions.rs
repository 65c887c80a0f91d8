//! Sessions, both ends of the usage against each other: two user agents over a wire that loses, delays and doubles.

mod support;

#[path = "sessions/world.rs"]
mod world;

use std::collections::BTreeMap;

use mostar::sip::flow::Transport::{Tcp, Udp};
use mostar::sip::message::Reply;
use mostar::sip::usage::session::{Cause, Session};
use world::{FAIR, FOUL, Manner, World};

fn cause() -> Cause {
    Cause { status: 200, text: "the \"user\" left".into() }
}

#[test]
fn a_session_opens_and_closes_and_nothing_remains() {
    for transport in [Tcp, Udp] {
        let (mut world, ours, _) = World::connected(transport);
        assert_eq!(world.parties[0].heard(), ["accepted with answer-b1"]);
        assert_eq!(world.parties[1].heard(), ["offered offer-a1", "confirmed with nothing"]);
        let now = world.clock();
        world.parties[0].with(now, ours, |session| session.hang_up(Some(cause())));
        world.advance(70.0);
        assert_eq!(world.parties[0].heard()[1..], ["over Ours"]);
        assert_eq!(
            world.parties[1].heard()[2..],
            ["over Theirs(Some(Cause { status: 200, text: \"the \"user\" left\" }))"
                .replace("\"the \"user\" left\"", "\"the \\\"user\\\" left\"")]
        );
        world.assert_over();
        assert_eq!((world.count(0, "INVITE"), world.count(0, "ACK"), world.count(0, "BYE")), (1, 1, 1));
    }
}

#[test]
fn the_called_may_hang_up_too() {
    let (mut world, _, theirs) = World::connected(Tcp);
    let now = world.clock();
    world.parties[1].with(now, theirs, |session| session.hang_up(None));
    world.advance(70.0);
    assert_eq!(world.parties[0].heard()[1..], ["over Theirs(None)"]);
    world.assert_over();
}

#[test]
fn a_2xx_is_repeated_until_its_ack_comes() {
    let mut world = World::new(Udp, [Manner::Agrees; 2], FAIR, 1);
    world.drops = |place, line| place == 0 && line.starts_with("ACK");
    world.parties[0].call(world.clock(), 10);
    world.advance(3.9);
    assert_eq!((world.count(1, "SIP/2.0 200"), world.count(0, "ACK")), (4, 4));
    world.drops = |_, _| false;
    world.advance(30.0);
    assert_eq!((world.count(1, "SIP/2.0 200"), world.count(0, "ACK")), (5, 5));
    assert_eq!(world.parties[1].heard()[1..], ["confirmed with nothing"]);
}

#[test]
fn without_any_ack_the_called_ends_it_with_bye() {
    for transport in [Tcp, Udp] {
        let mut world = World::new(transport, [Manner::Agrees; 2], FAIR, 1);
        world.drops = |place, line| place == 0 && line.starts_with("ACK");
        world.parties[0].call(world.clock(), 10);
        world.advance(31.0);
        assert_eq!(world.count(1, "BYE"), 0);
        world.advance(60.0);
        assert_eq!(world.parties[1].heard()[1..], ["over NoAck"]);
        assert!(world.parties[0].heard()[1].contains("status: 408"), "{:?}", world.parties[0].heard());
        world.assert_over();
    }
}

#[test]
fn who_was_called_waits_with_bye_for_the_ack() {
    let mut world = World::new(Udp, [Manner::Agrees; 2], FAIR, 1);
    world.drops = |place, line| place == 0 && line.starts_with("ACK");
    world.parties[0].call(world.clock(), 10);
    world.advance(1.0);
    let (now, id) = (world.clock(), world.parties[1].only());
    world.parties[1].with(now, id, |session| session.hang_up(None));
    world.advance(2.0);
    assert_eq!((world.count(1, "BYE"), world.parties[1].heard()[1]), (0, "over Ours"));
    world.drops = |_, _| false;
    world.advance(60.0);
    assert_eq!(world.count(1, "BYE"), 1);
    world.assert_over();
}

#[test]
fn a_call_that_rings_says_so_each_minute_and_is_cancelled_when_patience_ends() {
    let mut world = World::new(Udp, [Manner::Agrees, Manner::Rings], FAIR, 1);
    world.parties[0].call(world.clock(), 130);
    world.advance(129.0);
    assert_eq!(world.count(1, "SIP/2.0 180"), 3);
    world.advance(60.0);
    assert_eq!(world.parties[0].heard(), ["ringing 180", "over NoAnswer"]);
    assert_eq!(world.parties[1].heard(), ["offered offer-a1", "over Cancelled"]);
    assert_eq!((world.count(0, "CANCEL"), world.count(1, "SIP/2.0 487")), (1, 1));
    world.assert_over();
}

#[test]
fn a_2xx_that_crosses_the_cancel_is_acknowledged_and_ended() {
    let mut world = World::new(Tcp, [Manner::Agrees, Manner::Rings], FAIR, 1);
    let ours = world.parties[0].call(world.clock(), 10);
    world.advance(1.0);
    let (now, theirs) = (world.clock(), world.parties[1].only());
    world.parties[0].with(now, ours, |session| session.hang_up(None));
    world.parties[1].agree(now, theirs);
    world.advance(70.0);
    assert_eq!(world.parties[0].heard(), ["ringing 180", "over Ours"]);
    assert_eq!(world.parties[1].heard()[1..], ["confirmed with nothing", "over Theirs(None)"]);
    assert_eq!((world.count(0, "ACK"), world.count(0, "BYE")), (1, 1));
    world.assert_over();
}

#[test]
fn where_nothing_is_heard_no_cancel_is_sent() {
    let mut world = World::new(Udp, [Manner::Agrees; 2], FAIR, 1);
    world.drops = |_, _| true;
    world.parties[0].call(world.clock(), 10);
    world.advance(11.0);
    assert_eq!(world.parties[0].heard(), ["over NoAnswer"]);
    world.advance(60.0);
    assert_eq!(world.count(0, "CANCEL"), 0);
    world.assert_over();
}

#[test]
fn a_refusal_is_told_with_its_status() {
    let mut world = World::new(Udp, [Manner::Agrees, Manner::Waits], FAIR, 1);
    world.parties[0].call(world.clock(), 10);
    world.advance(1.0);
    let (now, theirs) = (world.clock(), world.parties[1].only());
    world.parties[1].with(now, theirs, |session| session.decline(now, Reply::new(488)));
    world.advance(70.0);
    assert_eq!(world.parties[0].heard(), ["over Refused(488)"]);
    assert_eq!(world.parties[1].heard()[1..], ["over Ours"]);
    world.assert_over();
}

#[test]
fn each_side_may_change_the_session() {
    for transport in [Tcp, Udp] {
        let (mut world, ours, theirs) = World::connected(transport);
        let now = world.clock();
        world.parties[0].offer(now, ours);
        world.advance(1.0);
        assert_eq!(world.parties[0].heard()[1..], ["answered answer-b2"]);
        assert_eq!(world.parties[1].heard()[2..], ["offered offer-a2"]);
        let now = world.clock();
        world.parties[1].offer(now, theirs);
        world.advance(1.0);
        assert_eq!(world.parties[1].heard()[3..], ["answered answer-a3"]);
        assert_eq!((world.count(0, "ACK"), world.count(1, "ACK")), (2, 1));
    }
}

#[test]
fn a_glare_is_resolved_by_waiting() {
    for seed in 0..20 {
        let mut world = World::new(Udp, [Manner::Agrees; 2], FAIR, seed);
        let ours = world.parties[0].call(world.clock(), 10);
        world.advance(1.0);
        let (now, theirs) = (world.clock(), world.parties[1].only());
        world.parties[0].offer(now, ours);
        world.parties[1].offer(now, theirs);
        world.advance(0.05);
        // Where one INVITE is late, its 491 has come already and it is no glare any more for the other side.
        assert!(world.count(0, "SIP/2.0 491") + world.count(1, "SIP/2.0 491") >= 1);
        world.advance(6.0);
        for party in &world.parties {
            let answered = party.heard().iter().filter(|words| words.starts_with("answered")).count();
            assert_eq!(answered, 1, "{seed}: {:?}", party.heard());
        }
    }
}

#[test]
fn an_offer_that_waits_is_replaced_by_a_newer_one() {
    let (mut world, ours, _) = World::connected(Udp);
    let now = world.clock();
    for _ in 0..3 {
        world.parties[0].offer(now, ours);
    }
    world.advance(1.0);
    assert_eq!(world.parties[1].heard()[2..], ["offered offer-a2", "offered offer-a4"]);
}

#[test]
fn a_refused_offer_leaves_the_session_as_it_was() {
    let (mut world, ours, theirs) = World::connected(Udp);
    world.parties[1].manner = Manner::Waits;
    let now = world.clock();
    world.parties[0].offer(now, ours);
    world.advance(1.0);
    let now = world.clock();
    world.parties[1].with(now, theirs, |session| session.decline(now, Reply::new(488)));
    world.advance(1.0);
    assert_eq!(world.parties[0].heard()[1..], ["Declined(488)"]);
    assert!(world.parties.iter().all(|party| party.sessions.values().all(Session::is_up)));
}

#[test]
fn an_offer_that_nobody_decides_is_cancelled() {
    let (mut world, ours, theirs) = World::connected(Udp);
    world.parties[1].manner = Manner::Waits;
    let now = world.clock();
    world.parties[0].offer(now, ours);
    world.advance(40.0);
    assert_eq!(world.parties[0].heard()[1..], ["Declined(408)"]);
    assert_eq!(world.parties[1].heard()[2..], ["offered offer-a2", "Withdrawn"]);
    assert!(world.parties[1].sessions[&theirs].is_up());
}

#[test]
fn the_caller_keeps_the_session_fresh_with_update_or_without() {
    for (allow, method) in [("INVITE, ACK, BYE, UPDATE", "UPDATE"), ("INVITE, ACK, BYE", "INVITE")] {
        let mut world = World::new(Udp, [Manner::Agrees; 2], FAIR, 1);
        world.parties.iter_mut().for_each(|party| party.allow = allow);
        world.parties[0].call(world.clock(), 10);
        world.advance(1.0);
        let before = [0, 1].map(|place| world.count(place, method));
        world.advance(3.0 * 3600.0);
        let after = [0, 1].map(|place| world.count(place, method));
        assert_eq!(after[0] + after[1] - before[0] - before[1], 12, "{method}: half of 1800 s, one side");
        assert!(world.parties.iter().all(|party| party.sessions.values().all(Session::is_up)));
    }
}

#[test]
fn a_session_that_nobody_refreshes_ends_on_both_sides() {
    let (mut world, _, _) = World::connected(Udp);
    world.drops = |_, _| true;
    world.advance(2000.0);
    assert_eq!(world.parties[0].heard()[1..], ["over Expired"]);
    assert_eq!(world.parties[1].heard()[2..], ["over Lost(408)"]);
    world.assert_over();
}

#[test]
fn a_peer_that_has_forgotten_the_session_ends_it() {
    let (mut world, ours, _) = World::connected(Udp);
    world.parties[1].sessions.clear();
    let now = world.clock();
    world.parties[0].offer(now, ours);
    world.advance(40.0);
    assert_eq!((world.parties[0].heard()[1], world.count(0, "BYE")), ("over Lost(481)", 0));
    world.parties[1].told.clear();
    world.assert_over();
}

#[test]
fn a_session_can_be_ended_after_a_restart() {
    for side in [0, 1] {
        let (mut world, ours, theirs) = World::connected(Udp);
        world.advance(60.0);
        let id = [ours, theirs][side];
        let kept = world.parties[side].sessions[&id].kept().expect("a record");
        let kept = serde_json::to_string(&kept).expect("JSON");
        world.parties[side].sessions.clear();
        let restored = Session::restore(serde_json::from_str(&kept).expect("a record"), "INVITE");
        world.parties[side].sessions.insert(id, restored);
        world.advance(40.0);
        assert!(world.parties.iter().all(|party| party.sessions.values().all(Session::is_up)));
        let now = world.clock();
        world.parties[side].with(now, id, |session| session.hang_up(Some(cause())));
        world.advance(70.0);
        assert!(world.parties[1 - side].heard().last().is_some_and(|words| words.starts_with("over Theirs")));
        world.assert_over();
    }
}

/// One story of calls, changes and ends at times that chance draws.
fn story(seed: u8) -> World {
    let transport = if seed.is_multiple_of(4) { Tcp } else { Udp };
    let manners = [Manner::Agrees, if seed.is_multiple_of(3) { Manner::Rings } else { Manner::Agrees }];
    let mut world = World::new(transport, manners, FOUL, seed);
    for _ in 0..2 {
        let caller = world.chance(2) as usize;
        let now = world.clock();
        world.parties[caller].call(now, 10);
    }
    for _ in 0..12 {
        // Half of the times are near the edges of timers.
        let wait = match world.chance(4) {
            0 => 0.5,
            1 => 31.99,
            _ => world.chance(4000) as f64 / 1000.0,
        };
        world.advance(wait);
        let (place, what) = (world.chance(2) as usize, world.chance(6));
        let now = world.clock();
        let ids: Vec<u64> = world.parties[place].sessions.keys().copied().collect();
        let Some(id) = ids.get(world.chance(ids.len() as u64) as usize).copied() else { continue };
        match what {
            0 => world.parties[place].with(now, id, |session| session.hang_up(None)),
            1..4 => world.parties[place].offer(now, id),
            _ => world.parties[place].agree(now, id),
        }
    }
    for place in 0..2 {
        let now = world.clock();
        let ids: Vec<u64> = world.parties[place].sessions.keys().copied().collect();
        for id in ids {
            world.parties[place].with(now, id, |session| session.hang_up(None));
        }
    }
    world.advance(400.0);
    world
}

#[test]
fn whatever_happens_every_session_ends_once_and_all_books_are_empty() {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 0..=255 {
        let world = story(seed);
        let told: Vec<&str> = world.parties.iter().flat_map(world::Party::heard).collect();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.assert_over()));
        assert!(outcome.is_ok(), "seed {seed}: {told:#?}");
        let all = told.iter().copied().chain(world.trace.iter().map(String::as_str));
        for words in all {
            for wanted in SEEN {
                *seen.entry(wanted).or_default() += usize::from(words.contains(wanted));
            }
        }
    }
    for wanted in SEEN {
        assert!(seen[wanted] > 0, "the stories never came to: {wanted}");
    }
}

/// What the stories must have come to, to be worth anything.
const SEEN: [&str; 14] = [
    "accepted with",
    "confirmed with",
    "answered answer",
    "Declined",
    "over NoAnswer",
    "over Cancelled",
    "over Ours",
    "over Theirs",
    "over Lost",
    "SIP/2.0 481",
    "SIP/2.0 487",
    "SIP/2.0 491",
    "SIP/2.0 500",
    "CANCEL",
];

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [1, 2, 3] {
        assert_eq!(story(seed).trace, story(seed).trace);
    }
}
