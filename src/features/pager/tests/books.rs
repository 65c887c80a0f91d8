//! The books over restarts: what was refused stays refused, what is told is told once, what waits keeps its order.

use super::*;
use crate::words::condition::Condition;

fn bodies(world: &mut World) -> Vec<String> {
    world.server_takes_all()
}

/// The ids of the errors that came out.
fn errors(world: &mut World) -> Vec<String> {
    let errors = world.stanzas.drain(..).filter(|stanza| stanza.type_() == Some("error"));
    errors.filter_map(|stanza| stanza.id().map(str::to_owned)).collect()
}

#[test]
fn what_was_refused_while_the_link_was_down_is_told_after_a_restart_and_never_sent_again() {
    let mut world = World::new(config(), 1);
    world.chat("a");
    let (token, cseq) = world.requests.pop_front().unwrap();
    world.link(false);
    world.answer(token, &answered(404, cseq));
    world.restart();
    assert_eq!(world.requests.len(), 0, "it is not sent again");
    world.link(true);
    assert_eq!(errors(&mut world), ["a"]);
    world.pass(Duration::from_secs(3));
    assert_eq!((world.pager.load(), world.store.len(), world.requests.len()), (0, 0, 0));
}

#[test]
fn what_died_with_its_error_on_the_way_is_told_once_more_and_not_sent_again() {
    let mut world = World::new(config(), 2);
    world.chat("a");
    let (token, cseq) = world.requests.pop_front().unwrap();
    world.answer(token, &answered(404, cseq));
    assert_eq!(errors(&mut world), ["a"]);
    world.restart();
    world.link(true);
    assert_eq!((errors(&mut world), world.requests.len()), (vec!["a".to_owned()], 0));
    world.pass(Duration::from_secs(3));
    world.restart();
    world.link(true);
    assert_eq!((errors(&mut world), world.store.len()), (vec![], 0), "by now it is out");
}

#[test]
fn however_many_failures_wait_for_the_link_each_is_told() {
    let mut world = World::new(config(), 3);
    for number in 0..1200 {
        let from = Jid::parse(&format!("juliet{number}@example.com/b")).unwrap();
        let to = Jid::parse("romeo@example.net").unwrap();
        let body = Element::new("body", ns::COMPONENT).with_text("x");
        let stanza = Stanza::new(StanzaKind::Message, &from, &to)
            .with_type("chat")
            .with_id(&number.to_string())
            .with_child(body);
        assert!(world.stanza_in(&stanza));
    }
    world.link(false);
    while let Some((token, cseq)) = world.requests.pop_front() {
        world.answer(token, &answered(404, cseq));
    }
    world.stanzas.clear();
    world.link(true);
    assert_eq!(errors(&mut world).len(), 1200);
}

#[test]
fn what_is_of_a_domain_that_is_not_listed_stays_until_it_is_again() {
    let mut world = World::new(config(), 4);
    world.link(false);
    world.message("to-xmpp");
    world.up = true;
    world.chat("to-sip");
    let mut elsewhere = config();
    elsewhere.xmpp.domains[0].domain = "other.example".into();
    elsewhere.xmpp.components[0].domain = "other.example".into();
    world.domains = Domains::new(&elsewhere);
    world.restart();
    assert_eq!(world.logged("message-orphaned").len(), 2, "{:?}", world.logs);
    assert_eq!((world.counted("messages_queued xmpp_to_sip"), world.store.len()), (0, 2));
    world.domains = Domains::new(&config());
    world.restart();
    world.link(true);
    assert_eq!(bodies(&mut world), ["to-xmpp"]);
    assert_eq!(world.requests.len(), 1);
}

#[test]
fn the_order_of_lines_holds_over_restarts_with_the_calendar_set_back() {
    let mut world = World::new(config(), 5);
    world.link(false);
    let mut written = Vec::new();
    for number in 0..4 {
        let body = format!("line {number}");
        world.message(&body);
        written.push(body);
        world.restart();
        world.now.wall = Wall(world.now.wall.0 - 10 * 86_400_000);
    }
    world.link(true);
    let mut got = bodies(&mut world);
    for _ in 0..8 {
        // One that was in flight when the stream closed goes alone; here none was.
        world.pass(Duration::from_secs(6));
        got.extend(bodies(&mut world));
    }
    assert_eq!(got, written);
}

#[test]
fn an_answer_is_known_after_a_restart_wherever_the_calendar_was_set_meanwhile() {
    const DAY: Duration = Duration::from_secs(86_400);
    for seconds in [10 * 86_400, 400, 0, -400, -10 * 86_400] {
        let mut world = World::new(config(), 7);
        world.now.wall = world.now.wall + 20 * DAY;
        world.message("a");
        assert_eq!(bodies(&mut world), ["a"]);
        // What comes again, came while the process was dead.
        for _ in 0..2 {
            world.now.wall = Wall(world.now.wall.0.saturating_add_signed(seconds * 1000));
            world.restart();
            world.link(true);
            world.pass(Duration::from_secs(33));
            let again = world.message("a");
            assert_eq!(bodies(&mut world), Vec::<String>::new(), "{seconds}");
            assert_eq!(world.replies.last(), Some(&(again, 202)), "{seconds}");
        }
        world.pass(Duration::from_secs(7 * 60));
        assert_eq!((world.pager.load(), world.store.len()), (0, 0), "{seconds}");
    }
}

#[test]
fn what_may_be_a_machines_answer_is_not_answered_wherever_the_calendar_was_set_meanwhile() {
    let mut world = World::new(config(), 9);
    let fails_late = |world: &mut World, body: &str| {
        world.message(body);
        world.pass(Duration::from_millis(600));
        let sent = world.stanzas.drain(..).find(|stanza| stanza.kind == StanzaKind::Message).unwrap();
        let error = crate::features::errors::stanza_error(&sent, &Condition::new(Kind::ItemNotFound, "gone"));
        world.stanza_in(&error.unwrap());
    };
    fails_late(&mut world, "a");
    let (token, cseq) = world.requests.pop_front().unwrap();
    world.answer(token, &answered(200, cseq));
    world.now.wall = world.now.wall + Duration::from_secs(10 * 86_400);
    world.restart();
    world.link(true);
    fails_late(&mut world, "b");
    world.pass(Duration::from_secs(70));
    assert_eq!(world.requests.len(), 0, "it is not told");
}

#[test]
fn what_fails_in_the_quiet_after_its_answer_is_counted_once_and_logged() {
    let mut world = World::new(config(), 10);
    let fails = |world: &mut World, body: &str| {
        world.message(body);
        world.pass(Duration::from_millis(20));
        let sent = world.stanzas.iter().find(|stanza| stanza.kind == StanzaKind::Message).cloned().unwrap();
        assert_eq!(bodies(world), [body]);
        let error = crate::features::errors::stanza_error(&sent, &Condition::new(Kind::ItemNotFound, "gone"));
        for _ in 0..2 {
            world.stanza_in(error.as_ref().unwrap());
        }
    };
    fails(&mut world, "a");
    let (token, cseq) = world.requests.pop_front().expect("it is told");
    world.answer(token, &answered(200, cseq));
    assert_eq!(world.counted("late_errors_untold_total "), 0);
    fails(&mut world, "b");
    world.pass(Duration::from_secs(70));
    assert_eq!(world.requests.len(), 0, "it may be a machine's answer");
    assert_eq!((world.counted("late_errors_total "), world.counted("late_errors_untold_total ")), (2, 1));
    let line = "user=juliet@example.com sender=sip:romeo@example.net why=quiet";
    assert_eq!(world.logged("late-error-untold"), [line]);
}

#[test]
fn a_telling_that_does_not_arrive_is_counted_as_untold() {
    let mut world = World::new(config(), 11);
    world.message("a");
    world.pass(Duration::from_millis(20));
    let sent = world.stanzas.iter().find(|stanza| stanza.kind == StanzaKind::Message).cloned().unwrap();
    assert_eq!(bodies(&mut world), ["a"]);
    let error = crate::features::errors::stanza_error(&sent, &Condition::new(Kind::ItemNotFound, "gone"));
    world.stanza_in(&error.unwrap());
    let (token, cseq) = world.requests.pop_front().expect("it is told");
    world.answer(token, &answered(404, cseq));
    assert_eq!(world.counted("late_errors_untold_total "), 1);
    assert_eq!(world.logged("late-error-untold").len(), 1);
}

#[test]
fn the_answers_of_before_a_start_are_not_all_forgotten_in_one_step() {
    let mut world = World::new(config(), 8);
    for number in 0..2400 {
        world.message_from(&format!("sip:romeo{number}@example.net"), "a");
        if number % 600 == 599 {
            assert_eq!(bodies(&mut world).len(), 600);
        }
    }
    world.restart();
    world.move_to(world.now.tick + Duration::from_secs(6 * 60));
    let mut left = Vec::new();
    while world.pager.next_timeout().is_some() {
        world.with(|pager, cx| pager.timeout(cx));
        left.push(world.store.len());
    }
    assert_eq!(left, [1400, 400, 0]);
}

#[test]
fn what_nobody_confirmed_is_counted_as_ambiguous() {
    let mut world = World::new(config(), 6);
    let count =
        |world: &World, way: &str, why: &str| world.counted(&format!("messages_ambiguous_total {way} {why}"));
    world.message("unanswered");
    world.restart();
    assert_eq!(count(&world, "sip_to_xmpp", "restart"), 1);
    world.link(true);
    world.pass(Duration::from_secs(70));
    assert_eq!(count(&world, "sip_to_xmpp", "unconfirmed"), 1, "no pong came");
    world.chat("into the dark");
    while let Some((token, _)) = world.requests.pop_front() {
        world.answer(token, &Answer::Failed(Failure::Timeout));
        world.pass(Duration::from_secs(30));
    }
    assert_eq!(count(&world, "xmpp_to_sip", "unconfirmed"), 1);
}
