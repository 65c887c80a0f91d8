//! The feature alone, where a conversation would be too long for a vector or too many people take part.

use std::collections::VecDeque;
use std::time::Duration;

use super::*;
use crate::config::{Component, Config, Secret, Xmpp, XmppDomain};
use crate::features::Op;
use crate::features::facts::Facts;
use crate::gateway::Domains;
use crate::msrp::connections::Connections;
use crate::msrp::reassembly::Limits;
use crate::sip::flow;
use crate::sip::framing;
use crate::sip::message::{Answer, Message, Response, ServerKey, StatusCode};
use crate::sip::uri::SipAddress;
use crate::words::id::{Mint, Seed};
use crate::words::note::Note;
use crate::words::time::{Now, Wall};

struct World {
    watcher: Watcher,
    config: Config,
    domains: Domains,
    mint: Mint,
    facts: Facts,
    msrp: Connections,
    links: Vec<bool>,
    now: Now,
}

impl World {
    fn new() -> World {
        let component = Component {
            domain: "example.net".into(),
            sip_domain: "example.net".into(),
            secret: Secret::new("x"),
            any_domain: false,
            rooms: false,
        };
        let users =
            XmppDomain { domain: "example.com".into(), sip_alias: "example.com".into(), rooms: false };
        let config = Config {
            xmpp: Xmpp { server: "localhost:5347".into(), components: vec![component], domains: vec![users] },
            ..Config::empty()
        };
        World {
            watcher: Watcher::default(),
            domains: Domains::new(&config),
            config,
            mint: Mint::new(Seed([1; 32])),
            facts: Facts::default(),
            msrp: Connections::new(Limits { message: 0, session: 0 }, 0),
            links: vec![true],
            now: Now { tick: Tick(0), wall: Wall(1_700_000_000_000) },
        }
    }

    fn call<T>(&mut self, call: impl FnOnce(&mut Watcher, &mut Cx<'_>) -> T) -> (T, VecDeque<Op>) {
        let mut ops = VecDeque::new();
        let mut cx = Cx {
            now: self.now,
            mint: &mut self.mint,
            config: &self.config,
            domains: &self.domains,
            facts: &mut self.facts,
            msrp: &mut self.msrp,
            links: &self.links,
            restoring: false,
            accepting: true,
            level: Level::Debug,
            ops: &mut ops,
        };
        let result = call(&mut self.watcher, &mut cx);
        (result, ops)
    }

    /// Lets time pass, alarm by alarm; what came out with the moments.
    fn pass(&mut self, by: Duration) -> Vec<Op> {
        let (until, mut all) = (self.now.tick + by, Vec::new());
        while let Some((at, _)) = self.watcher.next_timeout().filter(|(at, _)| *at <= until) {
            self.move_to(at);
            all.extend(self.call(|watcher, cx| watcher.timeout(cx)).1);
        }
        self.move_to(until);
        all
    }

    fn move_to(&mut self, at: Tick) {
        self.now = Now { tick: at.max(self.now.tick), wall: self.now.wall_at(at.max(self.now.tick)) };
    }

    fn subscribe(&mut self, user: &str, number: usize, expires: u32) -> Vec<Op> {
        self.asks(user, number, expires, None)
    }

    /// A SUBSCRIBE: the first, or the second inside the dialog that this tag of ours names.
    fn asks(&mut self, user: &str, number: usize, expires: u32, tag: Option<&str>) -> Vec<Op> {
        let cseq = 1 + u32::from(tag.is_some());
        let lines = [
            format!("SUBSCRIBE sip:{user}@example.com SIP/2.0"),
            "Via: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bK1".into(),
            format!("From: <sip:romeo@example.net>;tag=r{number}"),
            format!("To: <sip:{user}@example.com>") + &tag.map_or(String::new(), |tag| format!(";tag={tag}")),
            format!("Call-ID: c{number}"),
            format!("CSeq: {cseq} SUBSCRIBE"),
            "Contact: <sip:romeo@192.0.2.7>".into(),
            "Event: presence".into(),
            format!("Expires: {expires}"),
            "Content-Length: 0".into(),
        ];
        let text = lines.join("\r\n") + "\r\n\r\n";
        let Ok(Message::Request(request)) = framing::datagram(text.into()) else { panic!("a request") };
        let incoming = Incoming {
            key: ServerKey(number as u64),
            flow: flow::of_a_peer(),
            peer: 0,
            from: SipAddress::parse("sip:romeo@example.net").expect("an address"),
            from_name: None,
            from_tag: format!("r{number}"),
            to_tag: tag.map(str::to_owned),
            target: SipAddress::of(&request.uri).expect("an address"),
            jids: None,
            call_id: format!("c{number}"),
            cseq,
            max_forwards: 69,
            request: request.into(),
        };
        let (taken, ops) = self.call(|watcher, cx| watcher.request(cx, &incoming));
        assert!(taken);
        ops.into()
    }

    fn stanza(&mut self, from: &str, type_: Option<&str>) -> Vec<Op> {
        let from = Jid::parse(from).expect("a JID");
        let to = Jid::parse("romeo@example.net").expect("a JID");
        let mut stanza = Stanza::new(StanzaKind::Presence, &from, &to);
        if let Some(type_) = type_ {
            stanza = stanza.with_type(type_);
        }
        let (taken, ops) = self.call(|watcher, cx| watcher.stanza(cx, LinkId(0), &stanza));
        assert!(taken);
        ops.into()
    }

    /// A subscription that is active and was told; every NOTIFY is answered.
    fn watch(&mut self, user: &str, number: usize) {
        let mut ops = self.subscribe(user, number, 3600);
        ops.extend(self.stanza(&format!("{user}@example.com"), Some("subscribed")));
        ops.extend(self.stanza(&format!("{user}@example.com/x"), None));
        self.answer_all(&ops);
        let ops = self.pass(Duration::from_millis(200));
        self.answer_all(&ops);
    }

    fn answer_all(&mut self, ops: &[Op]) {
        for (token, _) in notifies(ops) {
            let ok = Response::new(StatusCode::new(200).expect("a status"), "OK");
            let answer = Answer::Final { response: ok, cseq: 1 };
            self.call(|watcher, cx| watcher.answer(cx, token, &answer));
        }
    }
}

/// By how much the gauge of subscriptions moves.
fn counted(ops: &[Op]) -> i64 {
    let by = |op: &Op| match op {
        Op::Note(Note::Gauge { name: "subscriptions", by, .. }) => Some(*by),
        _ => None,
    };
    ops.iter().filter_map(by).sum()
}

/// Token and Subscription-State and body of each NOTIFY.
fn notifies(ops: &[Op]) -> Vec<(u64, String)> {
    let said = |op: &Op| match op {
        Op::Request(token, request) => {
            let head: String = request.headers.iter().map(|(_, value)| format!("{value}\n")).collect();
            Some((*token, head + &String::from_utf8_lossy(&request.body)))
        }
        _ => None,
    };
    ops.iter().filter_map(said).collect()
}

fn statuses(ops: &[Op]) -> Vec<u16> {
    let status = |op: &Op| match op {
        Op::Reply(_, reply) | Op::ReplyNow(_, reply) => Some(reply.status),
        _ => None,
    };
    ops.iter().filter_map(status).collect()
}

fn questions(ops: &[Op]) -> usize {
    ops.iter().filter(|op| matches!(op, Op::Stanza(stanza) if stanza.type_() == Some("subscribe"))).count()
}

#[test]
fn restored_subscriptions_are_counted_and_go_on() {
    let mut world = World::new();
    let mut ops = world.subscribe("juliet", 0, 3600);
    ops.extend(world.subscribe("nurse", 1, 60));
    ops.extend(world.stanza("juliet@example.com", Some("subscribed")));
    assert_eq!(counted(&ops), 2);
    world.watcher = Watcher::default();
    world.links = vec![false];
    world.move_to(Tick(0) + Duration::from_secs(90));
    let save = |op| if let Op::Save(Record { key, value, .. }) = op { Some((key, value)) } else { None };
    let records: BTreeMap<Key, Vec<u8>> = ops.into_iter().filter_map(save).collect();
    for (Key { kind, partition, id }, value) in records {
        let record = Restored { kind: kind.into(), partition, id, value };
        world.call(|watcher, cx| watcher.restored(cx, &record));
    }
    let ((), ops) = world.call(|watcher, cx| watcher.start(cx));
    let ops: Vec<Op> = ops.into();
    // One of them has expired meanwhile.
    assert_eq!((counted(&ops), world.watcher.subs.len()), (1, 1));
    assert!(notifies(&ops)[0].1.contains("terminated;reason=timeout"));
    assert_eq!(world.watcher.next_timeout().map(|(_, why)| why), Some("watcher-dark"));
}

#[test]
fn the_end_of_a_dialog_is_on_disk_before_it_is_answered() {
    let mut world = World::new();
    world.watch("juliet", 0);
    let tag = world.watcher.tags.keys().next().expect("a dialog").to_string();
    let ops = world.asks("juliet", 0, 0, Some(&tag));
    let saved = ops.iter().position(|op| matches!(op, Op::Save(record) if record.key.kind == DIALOG));
    let answered = ops.iter().position(|op| matches!(op, Op::Reply(_, reply) if reply.status == 200));
    let forgotten = ops.iter().position(|op| matches!(op, Op::Forget(key) if key.kind == DIALOG));
    assert!(saved.is_some() && saved < answered && answered < forgotten, "{ops:?}");
}

#[test]
fn without_an_answer_she_is_asked_once_more_after_a_week() {
    let mut world = World::new();
    let day = Duration::from_secs(24 * 3600);
    let mut asked = Vec::new();
    for number in 0..20 {
        asked.push(questions(&world.subscribe("juliet", number, 60)));
        world.pass(day);
    }
    assert_eq!(asked.iter().sum::<usize>(), 2);
    assert_eq!((asked[0], asked[7]), (1, 1));
}

#[test]
fn who_has_asked_many_who_do_not_answer_asks_nobody_else() {
    let mut world = World::new();
    for number in 0..500 {
        let ops = world.subscribe(&format!("u{number}"), number, 60);
        assert_eq!(statuses(&ops), [200]);
        world.answer_all(&ops);
    }
    let ops = world.subscribe("juliet", 500, 60);
    assert_eq!((statuses(&ops), questions(&ops), world.watcher.pairs.len()), (vec![480], 0, 500));
    // Whom he has asked before is no new question, and an answer makes room for one.
    assert_eq!(statuses(&world.subscribe("u1", 501, 60)), [200]);
    world.stanza("u1@example.com", Some("subscribed"));
    let ops = world.subscribe("juliet", 502, 60);
    assert_eq!(statuses(&ops), [200]);
    world.answer_all(&ops);
    // What is very old, and watched by nobody, counts no more.
    let ops = world.pass(Duration::from_secs(600));
    world.answer_all(&ops);
    world.pass(Duration::from_secs(91 * 24 * 3600));
    assert_eq!(statuses(&world.subscribe("nurse", 503, 60)), [200]);
    assert_eq!(world.watcher.pairs.len(), 2);
}

#[test]
fn the_oldest_of_too_many_dialogs_ends() {
    let mut world = World::new();
    world.watch("juliet", 0);
    for number in 1..16 {
        let ops = world.subscribe("juliet", number, 3600);
        assert_eq!(notifies(&ops).len(), 1);
        world.answer_all(&ops);
    }
    let ops = world.subscribe("juliet", 16, 3600);
    let said = notifies(&ops);
    assert!(said[0].1.contains("terminated;reason=timeout") && said[1].1.contains("active"), "{said:?}");
    assert_eq!(world.watcher.subs.len(), 16);
}

#[test]
fn five_thousand_watchers_are_told_at_the_end_and_answers_are_not_waited_for() {
    let mut world = World::new();
    for number in 0..5_000 {
        world.watch(&format!("u{number}"), number);
    }
    let (done, mut ops) = world.call(|watcher, cx| watcher.stop(cx));
    assert!(!done);
    let began = world.now.tick;
    loop {
        let (at, _) = world.watcher.next_timeout().expect("an alarm");
        assert!(at <= began + Duration::from_secs(4));
        ops.extend(world.pass(at - world.now.tick));
        let (done, more) = world.call(|watcher, cx| watcher.stop(cx));
        ops.extend(more);
        if done {
            break;
        }
    }
    let said = notifies(&Vec::from(ops));
    assert_eq!(said.len(), 5_000);
    assert!(said.iter().all(|(_, text)| text.contains("active;") && text.contains("closed")));
}

#[test]
fn a_last_word_overtakes_a_notify_that_is_not_answered() {
    let mut world = World::new();
    world.watch("juliet", 0);
    world.pass(Duration::from_secs(10));
    assert_eq!(notifies(&world.stanza("juliet@example.com/y", None)).len(), 1);
    assert!(!world.call(|watcher, cx| watcher.stop(cx)).0);
    let mut said = Vec::new();
    for _ in 0..5 {
        world.pass(Duration::from_secs(1));
        let (done, ops) = world.call(|watcher, cx| watcher.stop(cx));
        said.extend(notifies(&Vec::from(ops)));
        if done {
            assert_eq!(said.len(), 1);
            assert!(said[0].1.contains("<basic>closed"), "{said:?}");
            return;
        }
    }
    panic!("the goodbye never ends");
}

#[test]
fn a_question_that_waits_for_its_turn_stays_in_doubt_when_the_link_goes_again() {
    let mut world = World::new();
    let crowd = 105;
    let asked: usize =
        (0..crowd).map(|number| questions(&world.subscribe(&format!("u{number}"), number, 3600))).sum();
    assert_eq!(asked, crowd);
    let link = |world: &mut World, up: bool| -> Vec<Op> {
        world.links = vec![up];
        let change = if up { Watcher::link_up } else { Watcher::link_down };
        world.call(|watcher, cx| change(watcher, cx, LinkId(0))).1.into()
    };
    world.pass(Duration::from_secs(10));
    link(&mut world, false);
    world.pass(Duration::from_secs(600));
    let mut again = link(&mut world, true);
    assert!(questions(&again) < crowd, "some wait for their turn");
    link(&mut world, false);
    world.pass(Duration::from_secs(120));
    again.extend(link(&mut world, true));
    again.extend(world.pass(Duration::from_secs(10)));
    let users = again.iter().filter_map(|op| match op {
        Op::Stanza(stanza) if stanza.type_() == Some("subscribe") => stanza.to(),
        _ => None,
    });
    assert_eq!(users.collect::<BTreeSet<&Jid>>().len(), crowd);
}

#[test]
fn when_all_is_over_the_books_are_empty() {
    let mut world = World::new();
    for number in 0..20 {
        let ops = world.subscribe(&format!("u{number}"), number, 60 + number as u32);
        world.answer_all(&ops);
        let heard = ["subscribed", "unsubscribed"][number % 2];
        let ops = world.stanza(&format!("u{number}@example.com"), Some(heard));
        world.answer_all(&ops);
    }
    for _ in 0..20 {
        let ops = world.pass(Duration::from_secs(10));
        world.answer_all(&ops);
    }
    let watcher = &world.watcher;
    assert_eq!((watcher.load(), watcher.in_flight, watcher.tags.len()), (0, 0, 0));
    assert_eq!(watcher.pairs.len(), 20, "consent is for ever");
    assert_eq!(watcher.names.values().map(BTreeMap::len).sum::<usize>(), 20);
}
