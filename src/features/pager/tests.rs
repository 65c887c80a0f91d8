//! The feature by itself: chance plays server, phone, stream and crash, and the books must be right at every moment.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::*;
use crate::config::{Component, Config, Peer, Secret, Sip, Xmpp, XmppDomain};
use crate::features::facts::Facts;
use crate::features::{Op, Signal};
use crate::gateway::domains::Domains;
use crate::msrp::connections::Connections;
use crate::msrp::reassembly::Limits;
use crate::sip::flow;
use crate::sip::message::{Failure, Header, HeaderName, Request, Response, ServerKey, StatusCode};
use crate::sip::uri::{SipAddress, Uri};
use crate::words::condition::Kind;
use crate::words::id::{Mint, Seed};
use crate::words::note::{Level, Note};
use crate::words::time::{Now, Wall};
use crate::xmpp::jid::Jid;
use crate::xmpp::ns;
use crate::xmpp::stanza::Element;

mod books;
mod suspects;

fn config() -> Config {
    let component = Component {
        domain: "example.net".into(),
        sip_domain: "example.net".into(),
        secret: Secret::new("x"),
        any_domain: false,
        rooms: false,
    };
    let peer = Peer {
        uri: String::new(),
        host: String::new(),
        port: None,
        transport: None,
        may_send_from: vec![],
        any_domain: true,
        networks: vec![],
        auth: None,
        long_messages: false,
        trust_dates: true,
        msrp: Default::default(),
    };
    Config {
        xmpp: Xmpp {
            server: String::new(),
            components: vec![component],
            domains: vec![XmppDomain {
                domain: "example.com".into(),
                sip_alias: "example.com".into(),
                rooms: false,
            }],
        },
        sip: Sip { listen: vec![], advertise: None, peers: vec![peer] },
        ..Config::empty()
    }
}

/// What the world saw: everything that went out, and what the counters say.
struct World {
    pager: Pager,
    config: Config,
    domains: Domains,
    mint: Mint,
    facts: Facts,
    msrp: Connections,
    up: bool,
    now: Now,
    store: BTreeMap<String, crate::store::record::Record>,
    stanzas: VecDeque<Stanza>,
    requests: VecDeque<(u64, u32)>,
    replies: Vec<(u64, u16)>,
    crossed: usize,
    /// How often others were told the names of a message.
    named: usize,
    counts: BTreeMap<String, i64>,
    /// Log lines: the event, and its fields as `name=value`.
    logs: Vec<String>,
    keys: u64,
}

impl World {
    fn new(config: Config, seed: u8) -> World {
        World {
            pager: Pager::default(),
            domains: Domains::new(&config),
            config,
            mint: Mint::new(Seed([seed; 32])),
            facts: Facts::default(),
            msrp: Connections::new(Limits { message: 0, session: 0 }, 0),
            up: true,
            now: Now { tick: Tick(0), wall: Wall(1_795_219_200_000) },
            store: BTreeMap::new(),
            stanzas: VecDeque::new(),
            requests: VecDeque::new(),
            replies: Vec::new(),
            crossed: 0,
            named: 0,
            counts: BTreeMap::new(),
            logs: Vec::new(),
            keys: 0,
        }
    }

    fn with<T>(&mut self, call: impl FnOnce(&mut Pager, &mut Cx<'_>) -> T) -> T {
        let mut ops = VecDeque::new();
        let mut cx = Cx {
            now: self.now,
            mint: &mut self.mint,
            config: &self.config,
            domains: &self.domains,
            facts: &mut self.facts,
            msrp: &mut self.msrp,
            links: &[self.up],
            restoring: false,
            accepting: true,
            level: Level::Debug,
            ops: &mut ops,
        };
        let result = call(&mut self.pager, &mut cx);
        for op in ops {
            self.carry_out(op);
        }
        self.check_books();
        result
    }

    fn carry_out(&mut self, op: Op) {
        match op {
            Op::Stanza(stanza) | Op::Refuse(stanza) => {
                assert!(self.up, "a stanza for a closed stream: {}", stanza.to_xml());
                self.stanzas.push_back(stanza);
            }
            Op::Request(token, request) => self.requests.push_back((token, request.cseq)),
            Op::Reply(key, reply) | Op::ReplyNow(key, reply) => self.replies.push((key.0, reply.status)),
            Op::Save(record) => {
                self.store.insert(record.key.to_string(), record);
            }
            Op::Forget(key) => {
                self.store.remove(&key.to_string());
            }
            Op::Cancel(_) | Op::Ack(..) => panic!("the pager sends no INVITE"),
            Op::Signal(Signal::Crossed { .. }) => self.crossed += 1,
            Op::Signal(Signal::Sent(_)) => self.named += 1,
            Op::Signal(_) => {}
            Op::Note(Note::Log { event, fields, .. }) => {
                let fields = fields.iter().map(|(name, value)| format!(" {name}={value}"));
                self.logs.push(format!("{event}{}", fields.collect::<String>()));
            }
            Op::Note(Note::Count { name, labels, by }) => {
                let labels: Vec<&str> = labels.iter().map(|(_, value)| *value).collect();
                *self.counts.entry(format!("{name} {}", labels.join(" "))).or_default() += by as i64;
            }
            Op::Note(Note::Gauge { name, labels, by }) => {
                let labels: Vec<String> = labels.iter().map(|(_, value)| value.to_string()).collect();
                *self.counts.entry(format!("{name} {}", labels.join(" "))).or_default() += by;
            }
        }
    }

    /// What was logged of this event, without its name.
    fn logged(&self, event: &str) -> Vec<&str> {
        self.logs.iter().filter_map(|line| line.strip_prefix(event)?.strip_prefix(' ')).collect()
    }

    fn counted(&self, name: &str) -> i64 {
        self.counts.get(name).copied().unwrap_or_default()
    }

    /// accepted + restored = delivered + refused + expired + withdrawn + queued + in flight
    fn check_books(&self) {
        for way in ["sip_to_xmpp", "xmpp_to_sip"] {
            let result = |result: &str| self.counted(&format!("messages_total {way} {result}"));
            let queued = self.counted(&format!("messages_queued {way}"));
            let flying = self.counted(&format!("messages_in_flight {way}"));
            assert!(queued >= 0 && flying >= 0, "{way}: {queued} queued, {flying} in flight");
            let fates = ["delivered", "refused", "expired", "withdrawn"].into_iter().map(result).sum::<i64>();
            let taken = result("accepted") + result("restored");
            assert_eq!(taken, fates + queued + flying, "{way}: {:?}", self.counts);
        }
    }

    /// A MESSAGE with this body; the body is also its Call-ID.
    fn message(&mut self, body: &str) -> u64 {
        self.message_from("sip:romeo@example.net", body)
    }

    fn message_from(&mut self, from: &str, body: &str) -> u64 {
        self.keys += 1;
        let mut request = Request::new(Method::Message, Uri::parse(Bytes::from_static(b"sip:x@y")).unwrap());
        request.headers.push(Header::build(HeaderName::ContentType, "text/plain").unwrap());
        request.set_body(Bytes::from(body.to_owned()));
        let incoming = Incoming {
            key: ServerKey(self.keys),
            request: request.into(),
            flow: flow::of_a_peer(),
            peer: 0,
            from: SipAddress::parse(from).unwrap(),
            from_name: None,
            from_tag: "tag".into(),
            to_tag: None,
            target: SipAddress::parse("sip:juliet@example.com").unwrap(),
            jids: None,
            call_id: body.into(),
            cseq: 1,
            max_forwards: 69,
        };
        assert!(self.with(|pager, cx| pager.request(cx, &incoming)));
        self.keys
    }

    fn chat(&mut self, body: &str) {
        assert!(self.stanza_in(&chat(body)));
    }

    fn stanza_in(&mut self, stanza: &Stanza) -> bool {
        self.with(|pager, cx| pager.stanza(cx, LinkId(0), stanza))
    }

    fn answer(&mut self, token: u64, answer: &Answer) {
        self.with(|pager, cx| pager.answer(cx, token, answer));
    }

    fn pass(&mut self, duration: Duration) {
        let until = self.now.tick + duration;
        while let Some((at, _)) = self.pager.next_timeout().filter(|(at, _)| *at <= until) {
            self.move_to(at.max(self.now.tick));
            self.with(|pager, cx| pager.timeout(cx));
        }
        self.move_to(until);
    }

    fn move_to(&mut self, tick: Tick) {
        self.now = Now { tick, wall: self.now.wall_at(tick) };
    }

    fn link(&mut self, up: bool) {
        if self.up != up {
            self.up = up;
            self.with(
                |pager, cx| {
                    if up { pager.link_up(cx, LinkId(0)) } else { pager.link_down(cx, LinkId(0)) }
                },
            );
        }
    }

    /// The process dies and starts again with what was saved. Counters begin anew.
    fn restart(&mut self) {
        self.link(false);
        self.pager = Pager::default();
        self.stanzas.clear();
        self.requests.clear();
        self.counts.clear();
        let records: Vec<_> = self.store.values().cloned().collect();
        for record in records {
            let restored = Restored {
                kind: record.key.kind.into(),
                partition: record.key.partition,
                id: record.key.id,
                value: record.value,
            };
            self.with(|pager, cx| pager.restored(cx, &restored));
        }
        self.with(|pager, cx| pager.start(cx));
    }

    fn pong(ping: &Stanza) -> Stanza {
        ping.result().unwrap()
    }

    /// The server takes everything and answers every ping. Returns the bodies that it took.
    fn server_takes_all(&mut self) -> Vec<String> {
        let mut bodies = Vec::new();
        loop {
            self.pass(Duration::from_millis(5));
            let Some(stanza) = self.stanzas.pop_front() else { return bodies };
            match stanza.kind {
                StanzaKind::Iq => {
                    self.stanza_in(&World::pong(&stanza));
                }
                _ => bodies.extend(stanza.element.child("body", ns::COMPONENT).map(Element::text)),
            }
        }
    }
}

/// A line of chat with this body, which is also its id.
fn chat(body: &str) -> Stanza {
    let from = Jid::parse("juliet@example.com/balcony").unwrap();
    let to = Jid::parse("romeo@example.net").unwrap();
    Stanza::new(StanzaKind::Message, &from, &to)
        .with_type("chat")
        .with_id(body)
        .with_child(Element::new("body", ns::COMPONENT).with_text(body))
}

fn answered(status: u16, cseq: u32) -> Answer {
    Answer::Final { response: Response::new(StatusCode::new(status).unwrap(), "x"), cseq }
}

#[test]
fn a_request_that_comes_again_has_one_answer_and_is_delivered_once() {
    let mut world = World::new(config(), 1);
    let first = world.message("a");
    let second = world.message("a");
    assert_eq!(world.replies, []);
    assert_eq!(world.server_takes_all(), ["a"]);
    let third = world.message("a");
    world.restart();
    world.link(true);
    let fourth = world.message("a");
    assert_eq!(world.replies, [(first, 202), (second, 202), (third, 202), (fourth, 202)]);
    assert_eq!(world.server_takes_all(), Vec::<String>::new());
    world.pass(Duration::from_secs(7 * 60));
    assert_eq!((world.pager.load(), world.store.len()), (0, 0));
}

#[test]
fn a_full_queue_says_503_and_a_request_again_gets_another_chance() {
    let mut world = World::new(config(), 3);
    world.link(false);
    for number in 0..1000 {
        world.message_from(&format!("sip:romeo{}@example.net", number % 5), &format!("m{number}"));
    }
    let refused = world.message("one more");
    assert_eq!(world.replies.last(), Some(&(refused, 503)));
    world.link(true);
    assert_eq!(world.server_takes_all().len(), 1000);
    world.message("one more");
    assert_eq!(world.server_takes_all(), ["one more"]);
}

#[test]
fn a_domain_whose_server_is_slow_has_half_of_the_room() {
    let mut world = World::new(config(), 3);
    for number in 0..5_000 {
        world.message_from(&format!("sip:romeo{}@example.net", number % 50), &format!("m{number}"));
    }
    assert_eq!(world.replies.iter().filter(|(_, status)| *status == 503).count(), 0);
    let refused = world.message("one more");
    assert_eq!(world.replies.last(), Some(&(refused, 503)));
    assert_eq!(world.server_takes_all().len(), 5_000);
}

#[test]
fn a_sip_user_makes_200_wait_and_nobody_else_suffers() {
    let mut world = World::new(config(), 14);
    for number in 0..300 {
        world.message(&format!("while it is up {number}"));
    }
    assert_eq!(world.counted("messages_turned_away_total sip_to_xmpp queue-full"), 0);
    world.server_takes_all();
    world.link(false);
    for number in 0..200 {
        world.message(&format!("m{number}"));
    }
    for body in ["one", "two"] {
        let refused = world.message(body);
        assert_eq!(world.replies.last(), Some(&(refused, 480)));
    }
    let other = world.message_from("sip:mercutio@example.net", "from another");
    assert_eq!(world.replies.last(), Some(&(other, 202)));
    assert_eq!(world.counted("messages_turned_away_total sip_to_xmpp queue-full"), 2);
    let from = "from=sip:romeo@example.net direction=sip_to_xmpp limit=sender";
    assert_eq!(world.logged("too-many-wait"), [from]);
    world.pass(Duration::from_secs(60));
    assert_eq!(world.logged("too-many-wait"), [from, "direction=sip_to_xmpp again=1"]);
    world.link(true);
    world.server_takes_all();
    let later = world.message("one");
    world.server_takes_all();
    assert_eq!(world.replies.last(), Some(&(later, 202)));
}

/// Messages to contacts with these numbers, each so often; the last answer, if there was one.
fn flood(world: &mut World, from: &str, contacts: std::ops::Range<u32>, each: u32) -> Option<String> {
    for contact in contacts {
        for number in 0..each {
            let from = Jid::parse(from).unwrap();
            let to = Jid::parse(&format!("romeo{contact}@example.net")).unwrap();
            let body = Element::new("body", ns::COMPONENT).with_text("Hi");
            let stanza = Stanza::new(StanzaKind::Message, &from, &to).with_id(&format!("{contact}-{number}"));
            world.stanza_in(&stanza.with_child(body));
        }
    }
    let error = world.stanzas.pop_back()?;
    world.stanzas.clear();
    error.stanza_error()?.text
}

#[test]
fn an_xmpp_user_makes_1000_wait_and_nobody_else_suffers() {
    let mut world = World::new(config(), 15);
    let (juliet, nurse) = ("juliet@example.com/balcony", "nurse@example.com/home");
    assert_eq!(flood(&mut world, juliet, 0..1, 500), None);
    let pair = flood(&mut world, juliet, 0..1, 1);
    assert_eq!(pair.as_deref(), Some("500 of your messages wait for this contact; please try again later."));
    assert_eq!(flood(&mut world, juliet, 1..501, 1), None);
    let sender = flood(&mut world, juliet, 600..602, 1);
    assert_eq!(
        sender.as_deref(),
        Some("1000 of your messages wait to be delivered; please try again later.")
    );
    assert_eq!(flood(&mut world, nurse, 0..1, 1), None);
    let first = "from=juliet@example.com direction=xmpp_to_sip limit=pair";
    assert_eq!(world.logged("too-many-wait"), [first]);
    world.pass(Duration::from_secs(59));
    for _ in 0..2000 {
        let Some((token, cseq)) = world.requests.pop_front() else { break };
        world.answer(token, &answered(200, cseq));
    }
    assert_eq!(world.pager.to_sip.lanes.len(), 0);
    assert_eq!(flood(&mut world, juliet, 600..601, 1), None, "there is room again");
}

#[test]
fn long_messages_of_one_sender_wait_up_to_64_mib() {
    let mut world = World::new(config(), 18);
    let from = Jid::parse("juliet@example.com/balcony").unwrap();
    let body = Element::new("body", ns::COMPONENT).with_text(&"x".repeat(250_000));
    for number in 0..269 {
        let to = Jid::parse(&format!("friend{number}@example.net")).unwrap();
        let id = format!("m{number}");
        world.stanza_in(&Stanza::new(StanzaKind::Message, &from, &to).with_id(&id).with_child(body.clone()));
    }
    let errors: Vec<_> = world.stanzas.iter().filter(|stanza| stanza.type_() == Some("error")).collect();
    assert!(errors.is_empty(), "{} of 269", errors.len());
    let refused = flood(&mut world, "juliet@example.com/balcony", 500..501, 1);
    assert!(refused.is_some_and(|text| text.starts_with("So many long messages of yours wait")));
    assert_eq!(flood(&mut world, "nurse@example.com/home", 0..1, 1), None);
}

#[test]
fn one_contact_takes_no_more_than_its_share() {
    let mut world = World::new(config(), 16);
    for sender in 0..4 {
        assert_eq!(flood(&mut world, &format!("user{sender}@example.com/a"), 0..1, 500), None);
    }
    let refused = flood(&mut world, "juliet@example.com/balcony", 0..1, 1);
    assert_eq!(refused.as_deref(), Some("Too many messages wait for this contact; please try again later."));
    assert_eq!(flood(&mut world, "juliet@example.com/balcony", 1..2, 1), None);
}

#[test]
fn what_is_turned_away_leaves_a_line_with_the_reason_and_no_word_of_it() {
    let mut world = World::new(config(), 17);
    let (from, to) =
        (Jid::parse("juliet@example.com/balcony").unwrap(), Jid::parse("romeo@example.net").unwrap());
    let body = Element::new("body", ns::COMPONENT).with_text(&"secret".repeat(50_000));
    world.stanza_in(&Stanza::new(StanzaKind::Message, &from, &to).with_id("m1").with_child(body));
    world.message_from("sip:example.net", "call");
    let lines = world.logged("message-turned-away");
    let start =
        "direction=xmpp_to_sip stanza=m1 condition=policy-violation reason=too-long why=This message has";
    assert!(lines[0].starts_with(start) && !lines[0].contains("secret"), "{}", lines[0]);
    let line = "corr=call direction=sip_to_xmpp status=403 reason=address why=From names no user";
    assert_eq!(lines[1..], [line]);
}

#[test]
fn whoever_passes_reports_on_hears_once_what_a_message_is_called_however_often_it_is_tried() {
    let mut world = World::new(config(), 6);
    assert!(world.stanza_in(&chat("asks").with_child(Element::new("request", ns::RECEIPTS))));
    for _ in 0..3 {
        let (token, cseq) = world.requests.pop_front().unwrap();
        world.answer(token, &answered(503, cseq));
        world.pass(Duration::from_secs(20));
    }
    assert_eq!((world.requests.len(), world.named), (1, 1));
}

#[test]
fn held_messages_survive_a_restart_and_go_out_in_order_when_the_contact_comes() {
    let mut config = config();
    config.messages.hold = Duration::from_secs(3 * 86400);
    let mut world = World::new(config, 4);
    for body in ["one", "two"] {
        world.chat(body);
    }
    let (token, cseq) = world.requests.pop_front().unwrap();
    world.answer(token, &answered(480, cseq));
    let notices = world.stanzas.drain(..).map(|stanza| stanza.to_xml()).collect::<Vec<_>>();
    assert!(notices.len() == 1 && notices[0].contains("is away") && notices[0].contains("no-store"));
    world.restart();
    world.link(true);
    let (token, cseq) = world.requests.pop_front().unwrap();
    world.answer(token, &answered(480, cseq));
    assert!(world.requests.is_empty());
    let (user, contact) =
        (Jid::parse("juliet@example.com").unwrap(), SipAddress::parse("sip:romeo@example.net").unwrap().aor);
    world.with(|pager, cx| pager.signal(cx, &Signal::Opened { user, contact }));
    for _ in 0..2 {
        let (token, cseq) = world.requests.pop_front().unwrap();
        world.answer(token, &answered(200, cseq));
    }
    assert_eq!((world.crossed, world.pager.to_sip.load(), world.store.len()), (2, 0, 0));
}

#[test]
fn held_messages_expire_with_an_error() {
    let mut config = config();
    config.messages.hold = Duration::from_secs(3600);
    let mut world = World::new(config, 5);
    world.chat("one");
    for _ in 0..20 {
        if let Some((token, cseq)) = world.requests.pop_front() {
            world.answer(token, &answered(480, cseq));
        }
        world.pass(Duration::from_secs(360));
    }
    let types: Vec<_> = world.stanzas.iter().map(|stanza| stanza.type_()).collect();
    assert_eq!(types, [Some("chat"), Some("error")]);
    assert_eq!(world.counted("messages_total xmpp_to_sip expired"), 1);
}

#[test]
fn what_is_taken_back_in_time_is_withdrawn_and_neither_expires_nor_is_refused() {
    let mut world = World::new(config(), 5);
    world.chat("one");
    world.chat("two");
    let retract = Element::new("retract", "urn:xmpp:message-retract:1").with("id", "two");
    let from = Jid::parse("juliet@example.com/balcony").unwrap();
    let to = Jid::parse("romeo@example.net").unwrap();
    let stanza = Stanza::new(StanzaKind::Message, &from, &to).with_type("chat").with_child(retract);
    assert!(world.stanza_in(&stanza) && world.stanzas.is_empty());
    let counted = |result: &str| world.counted(&format!("messages_total xmpp_to_sip {result}"));
    assert_eq!(["accepted", "withdrawn", "expired", "refused"].map(counted), [2, 1, 0, 0]);
}

#[test]
fn what_is_held_stays_held_while_the_other_side_is_out_of_service() {
    let mut config = config();
    config.messages.hold = Duration::from_secs(86400);
    let mut world = World::new(config, 11);
    for body in ["one", "two"] {
        world.chat(body);
    }
    let faults = |cseq| {
        let silent = [Failure::Timeout, Failure::Transport("refused".into())];
        let refused = [480, 408, 500, 502, 503, 504].map(|status| answered(status, cseq));
        refused.into_iter().chain(silent.map(Answer::Failed))
    };
    let mut sent = 0;
    for fault in faults(1) {
        let (token, _) = world.requests.pop_front().unwrap();
        world.answer(token, &fault);
        sent += 1;
        if sent == 4 {
            assert_eq!(world.stanzas.len(), 1, "she was told once, and of no failure");
            world.restart();
            world.link(true);
        } else {
            world.pass(Duration::from_secs(400));
        }
    }
    assert_eq!(world.stanzas.iter().filter(|stanza| stanza.kind == StanzaKind::Message).count(), 0);
    for _ in 0..2 {
        let (token, cseq) = world.requests.pop_front().unwrap();
        world.answer(token, &answered(200, cseq));
    }
    assert_eq!((world.crossed, world.pager.to_sip.load(), world.store.len()), (2, 0, 0));
}

#[test]
fn what_waits_behind_a_held_message_has_a_time_of_its_own() {
    let mut config = config();
    config.messages.hold = Duration::from_secs(3600);
    let mut world = World::new(config, 12);
    world.chat("one");
    world.chat("two");
    let (token, cseq) = world.requests.pop_front().unwrap();
    world.answer(token, &answered(480, cseq));
    world.pass(Duration::from_secs(600));
    world.requests.clear();
    world.answer(token, &answered(503, cseq));
    world.chat("three");
    for _ in 0..9 {
        world.pass(Duration::from_secs(360));
        if let Some((token, cseq)) = world.requests.pop_front() {
            world.answer(token, &answered(503, cseq));
        }
    }
    let failed: Vec<_> = world.stanzas.iter().filter(|stanza| stanza.type_() == Some("error")).collect();
    let failed: Vec<_> = failed.iter().filter_map(|stanza| stanza.id()).collect();
    assert_eq!(failed, ["one", "two"]);
    world.pass(Duration::from_secs(360));
    let (token, cseq) = world.requests.pop_front().unwrap();
    world.answer(token, &answered(200, cseq));
    assert_eq!((world.crossed, world.pager.to_sip.load()), (1, 0));
}

#[test]
fn a_held_message_that_can_never_arrive_is_given_up() {
    for status in [403, 404, 501, 505, 513, 603] {
        let mut config = config();
        config.messages.hold = Duration::from_secs(3600);
        let mut world = World::new(config, 13);
        world.chat("one");
        for status in [480, status] {
            let (token, cseq) = world.requests.pop_front().unwrap();
            world.answer(token, &answered(status, cseq));
            world.pass(Duration::from_secs(400));
        }
        assert_eq!(world.stanzas.back().and_then(|stanza| stanza.type_()), Some("error"), "{status}");
        assert_eq!(world.counted("messages_total xmpp_to_sip refused"), 1);
    }
}

/// Chance plays everybody. Whatever it does: the books balance at every moment, every request is answered once and with
/// nothing but 202 or a refusal, and when all is over nothing is held.
#[test]
fn chance_finds_the_books_in_order() {
    for seed in 0..64 {
        let mut config = config();
        if seed % 3 == 0 {
            config.messages.hold = Duration::from_secs(600);
        }
        let mut world = World::new(config, seed);
        let mut dice = Mint::new(Seed([seed ^ 0x5a; 32]));
        let mut roll =
            |sides: u64| dice.between(Duration::ZERO, Duration::from_micros(sides - 1)).as_micros() as u64;
        let mut pings = Vec::new();
        for step in 0..200 {
            match roll(10) {
                0 | 1 => drop(world.message(&format!("m{}", (step + 2) - roll(3)))),
                2 | 3 => world.chat(&format!("c{step}")),
                4 => {
                    let up = roll(3) > 0;
                    world.link(up);
                    pings.clear();
                }
                5 if roll(10) == 0 => {
                    world.restart();
                    pings.clear();
                    world.replies.clear();
                }
                5 | 6 => {
                    if let Some((token, cseq)) = world.requests.pop_front() {
                        let answer = match roll(6) {
                            0 => Answer::Failed(Failure::Timeout),
                            1 => Answer::Failed(Failure::Transport("x".into())),
                            2 => answered(480, cseq),
                            3 => answered(503, cseq),
                            _ => answered(200, cseq),
                        };
                        world.answer(token, &answer);
                    }
                }
                7 => world.pass(Duration::from_millis(roll(40) * roll(40))),
                _ => {
                    let Some(stanza) = world.stanzas.pop_front() else { continue };
                    if stanza.kind == StanzaKind::Iq {
                        pings.push(stanza);
                    } else if roll(5) == 0 && world.up {
                        let kind = crate::words::condition::Kind::ServiceUnavailable;
                        let type_ = crate::xmpp::stanza::ErrorType::Cancel;
                        if let Some(error) = stanza.error(kind, type_, None, None) {
                            world.stanza_in(&error);
                        }
                    }
                    if roll(2) == 0
                        && world.up
                        && let Some(ping) = pings.pop()
                    {
                        world.stanza_in(&World::pong(&ping));
                    }
                }
            }
        }
        world.link(true);
        for _ in 0..1000 {
            world.server_takes_all();
            world.pass(Duration::from_secs(1));
            while let Some((token, cseq)) = world.requests.pop_front() {
                world.answer(token, &answered(200, cseq));
            }
        }
        let mut answers: Vec<u64> = world.replies.iter().map(|(key, _)| *key).collect();
        let count = answers.len();
        answers.sort_unstable();
        answers.dedup();
        assert_eq!(answers.len(), count, "seed {seed}: answered twice");
        assert!(world.replies.iter().all(|(_, status)| *status == 202 || *status >= 400), "seed {seed}");
        assert_eq!((world.pager.load(), world.store.len()), (0, 0), "seed {seed}");
    }
}

/// A world in which one sender may send 20 at once, and one a second.
fn slow() -> World {
    let mut config = config();
    config.messages.rate = 1;
    World::new(config, 9)
}

#[test]
fn a_sip_user_who_writes_too_fast_is_told_480_and_nobody_else() {
    let mut world = slow();
    world.link(false);
    for number in 0..20 {
        world.message(&format!("m{number}"));
    }
    let (refused, again) = (world.message("too fast"), world.message("m3"));
    assert_eq!(world.replies[20..], [(refused, 480), (again, 202)], "a repetition is none too many");
    assert_eq!(world.counted("messages_turned_away_total sip_to_xmpp rate"), 1);
    let other = world.message_from("sip:mercutio@example.net", "from another");
    assert_eq!(world.replies.last(), Some(&(other, 202)));
    world.pass(Duration::from_secs(1));
    let later = world.message("too fast");
    assert_eq!(world.replies.last(), Some(&(later, 202)));
}

#[test]
fn an_xmpp_user_who_writes_too_fast_is_told_to_wait() {
    let mut world = slow();
    for number in 0..21 {
        world.chat(&format!("m{number}"));
    }
    let error = world.stanzas.pop_back().expect("an error");
    assert_eq!(error.stanza_error().map(|error| error.kind), Some(Kind::ResourceConstraint));
    let type_ = error.element.child("error", ns::COMPONENT).and_then(|error| error.attr("type"));
    assert_eq!((error.id(), type_), (Some("m20"), Some("wait")));
    assert_eq!(world.counted("messages_turned_away_total xmpp_to_sip rate"), 1);
    assert_eq!(world.counted("messages_total xmpp_to_sip accepted"), 20);
}

#[test]
fn a_stop_writes_what_conversations_have_shown_some_at_a_time() {
    let mut world = World::new(config(), 10);
    let user = Jid::parse("juliet@example.com/balcony").unwrap();
    let contact = |number| SipAddress::parse(&format!("sip:romeo{number}@example.net")).unwrap().aor;
    for number in 0..2500 {
        world
            .with(|pager, cx| pager.pairs.sent(cx.now.wall, &user, &contact(number), "call", Some("thread")));
    }
    let mut written = Vec::new();
    while !world.with(|pager, cx| pager.stop(cx)) {
        assert_eq!(world.pager.next_timeout(), Some((world.now.tick, "pager")));
        written.push(world.store.len());
    }
    assert_eq!((written.len(), written[0], world.store.len()), (19, 100, 2000));
    world.restart();
    let thread =
        |world: &World, number| world.pager.pairs.call_id_of(&user, &contact(number), "thread").is_some();
    assert!(thread(&world, 2499) && thread(&world, 500) && !thread(&world, 499));
    assert!(world.with(|pager, cx| pager.stop(cx)), "nothing is news");
    world.now.wall = world.now.wall + Duration::from_secs(8 * 86400);
    world.restart();
    assert!(!thread(&world, 2499) && world.store.is_empty());
}
