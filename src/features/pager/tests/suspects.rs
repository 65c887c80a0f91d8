//! What was in flight when a stream closed, and goes again.

use super::*;

#[test]
fn a_message_that_breaks_the_stream_twice_is_refused_and_the_others_go_on() {
    let mut world = World::new(config(), 2);
    for body in ["good", "poison", "fine"] {
        world.message(body);
    }
    world.link(false);
    world.pass(Duration::from_secs(1));
    world.replies.sort_unstable();
    assert_eq!(world.replies, [(1, 202), (2, 202), (3, 202)]);
    world.message("later");
    let mut delivered = Vec::new();
    for _ in 0..4 {
        world.stanzas.clear();
        world.link(true);
        loop {
            world.pass(Duration::from_millis(5));
            let Some(stanza) = world.stanzas.pop_front() else { break };
            match stanza.element.child("body", ns::COMPONENT).map(Element::text) {
                Some(body) if body == "poison" => {
                    world.link(false);
                    break;
                }
                Some(body) => delivered.push(body),
                None => drop(world.stanza_in(&World::pong(&stanza))),
            }
        }
    }
    assert_eq!(delivered, ["good", "fine", "later"]);
    assert_eq!(world.counted("messages_total sip_to_xmpp refused"), 1);
    assert_eq!(world.counted("messages_suspected_total "), 1);
    assert_eq!(world.requests.len(), 1, "the sender is told");
}

/// How many stanzas are there before the server answers a ping, each time; it closes the stream where it says so.
fn server_takes_in_turns(world: &mut World, closes: impl Fn(&str) -> bool) -> (Vec<usize>, Vec<String>) {
    let (mut turns, mut bodies) = (Vec::new(), Vec::new());
    loop {
        world.pass(Duration::from_millis(5));
        let stanzas = std::mem::take(&mut world.stanzas);
        if stanzas.is_empty() {
            return (turns, bodies);
        }
        let before = bodies.len();
        bodies.extend(
            stanzas.iter().filter_map(|stanza| Some(stanza.element.child("body", ns::COMPONENT)?.text())),
        );
        if let Some(at) = bodies[before..].iter().position(|body| closes(body)) {
            bodies.truncate(before + at);
            world.link(false);
            world.stanzas.clear();
            return (turns, bodies);
        }
        turns.extend(Some(bodies.len() - before).filter(|count| *count > 0));
        for ping in stanzas.iter().filter(|stanza| stanza.kind == StanzaKind::Iq) {
            world.stanza_in(&World::pong(ping));
        }
    }
}

#[test]
fn very_many_that_were_in_flight_go_again_more_and_more_together() {
    let mut world = World::new(config(), 2);
    let all: Vec<String> = (0..300).map(|number| format!("m{number}")).collect();
    for body in &all {
        world.message(body);
    }
    world.link(false);
    world.stanzas.clear();
    world.link(true);
    let (turns, bodies) = server_takes_in_turns(&mut world, |_| false);
    assert_eq!((turns[..6].to_vec(), bodies), (vec![1, 2, 4, 8, 16, 32], all));
    // From then on 64 are in flight, of which a ping covers twenty.
    assert!(turns.len() < 20, "{turns:?}");
}

#[test]
fn of_a_group_that_is_in_flight_at_a_close_only_what_closes_the_stream_alone_is_refused() {
    let mut world = World::new(config(), 2);
    let all: Vec<String> = (0..100).map(|number| format!("m{number}")).collect();
    for body in &all {
        world.message(body);
    }
    world.link(false);
    let (mut breaks, mut delivered) = (0, Vec::new());
    while delivered.last() != all.last() && breaks < 9 {
        world.stanzas.clear();
        world.link(true);
        breaks += 1;
        delivered.extend(server_takes_in_turns(&mut world, |body| body == "m50").1);
    }
    // In its group, alone, and then the others.
    assert_eq!(breaks, 3);
    delivered.dedup();
    let twice: Vec<String> = all[31..50].to_vec();
    let others = all[..50].iter().chain(&twice).chain(&all[51..]);
    assert_eq!(delivered, others.cloned().collect::<Vec<_>>(), "those before it in its group came twice");
    assert_eq!(world.counted("messages_suspected_total "), 1);
    assert_eq!(world.counted("messages_total sip_to_xmpp refused"), 1);
}
