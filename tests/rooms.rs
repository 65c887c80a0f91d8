//! A room with people of both sides, on one clock: phones that call, talk, take other names, hang up and lose their
//! connections; a room server that lets in, reflects, expels, forgets and goes away. Everything is delayed by chance, in order
//! on each connection.
//!
//! At rest: the same people are in the room on both sides; each phone has heard what others said between its coming and its
//! going, once, in the room's order, and not its own; each line of its own was answered once; all books are empty.

#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use mostar::config::XmppDomain;
use mostar::gateway::{Gateway, Input, LinkChange, LinkId, Output};
use mostar::msrp::frame::decoder::Decoder;
use mostar::msrp::{ConnId, Link, MsrpIn, MsrpOut};
use mostar::shell::record::frames;
use mostar::sip::flow::{Flow, Transport};
use mostar::sip::framing;
use mostar::words::id::Seed;
use mostar::words::time::{Now, Tick, Wall};
use mostar::xmpp::stanza::{Stanza, StanzaKind};
use support::vector::header_of;
use support::xml;

const ROOM: &str = "verona@rooms.example.com";

/// Numbers that look drawn.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// What is on its way to the gateway.
enum Coming {
    Stanza(String),
    Sip(String),
    Msrp(u64, String),
    Lost(u64),
}

/// Who is in the room, as the server has it.
#[derive(Default)]
struct Muc {
    /// By nick: who, and whether of SIP.
    occupants: BTreeMap<String, String>,
    /// All that was said, in order: by whom, what.
    said: Vec<(String, String)>,
    id: u64,
}

/// A SIP user.
#[derive(Default)]
struct Phone {
    calls: u32,
    tag: String,
    us: String,
    /// It waits for an answer.
    calling: bool,
    in_call: bool,
    /// Its connection is gone.
    broken: bool,
    /// Its address in the room's eyes.
    jid: String,
    /// Lines of its own without an answer.
    waiting: Vec<String>,
    answered: u32,
    sent: u32,
    /// What it heard in its present call.
    heard: Vec<String>,
    /// How much had been said when it came in.
    since: Option<usize>,
}

struct World {
    gateway: Gateway,
    now: Tick,
    chance: Chance,
    muc: Muc,
    phones: Vec<Phone>,
    /// By time, in order on each line.
    coming: BTreeMap<(u64, u64), Coming>,
    next: u64,
    /// When the last thing on a line arrives.
    lines: BTreeMap<u64, u64>,
    spoken: u32,
    calm: bool,
    tally: Tally,
}

/// What has happened, so that nobody believes in a room where nothing does.
#[derive(Debug, Default)]
struct Tally {
    entered: usize,
    heard: usize,
    answered: usize,
    renamed: usize,
    expelled: usize,
    lost: usize,
}

impl World {
    fn new(seed: u64, phones: usize) -> World {
        let mut config = support::config::config();
        let rooms = "rooms.example.com".to_owned();
        config.xmpp.domains.push(XmppDomain { domain: rooms.clone(), sip_alias: rooms, rooms: true });
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let mut world = World {
            gateway: Gateway::new(Arc::new(config), Seed(bytes)),
            now: Tick(0),
            chance: Chance(seed),
            muc: Muc::default(),
            phones: (0..phones).map(|_| Phone::default()).collect(),
            coming: BTreeMap::new(),
            next: 0,
            lines: BTreeMap::new(),
            spoken: 0,
            calm: false,
            tally: Tally::default(),
        };
        world.input(Input::RestoreDone);
        world.input(Input::Link(LinkId(0), LinkChange::Up));
        for nick in ["Juliet", "Nurse"] {
            world.muc.occupants.insert(nick.into(), format!("{}@example.com/x", nick.to_lowercase()));
        }
        world
    }

    fn input(&mut self, input: Input) {
        let wall = Wall(1_795_219_200_000 + self.now.0 / 1000);
        self.gateway.handle(Now { tick: self.now, wall }, input);
        let mut outputs = Vec::new();
        while let Some(output) = self.gateway.poll() {
            outputs.push(output);
        }
        for output in outputs {
            let output = match output {
                Output::Now(inner) => *inner,
                other => other,
            };
            match output {
                Output::Stanza(_, stanza) => self.server_hears(&stanza),
                Output::Sip(out) => self.phone_hears(&String::from_utf8_lossy(&out.bytes)),
                Output::Msrp(MsrpOut::Send { conn, bytes }) => {
                    let length = bytes.len();
                    for text in frames::texts(&bytes) {
                        self.frame(conn.0, &text);
                    }
                    self.input(Input::Msrp(MsrpIn::Drained { conn, bytes: length }));
                }
                _ => {}
            }
        }
    }

    /// Sends something to the gateway on a line, behind what is on it.
    fn send(&mut self, line: u64, coming: Coming) {
        let delay = if self.calm { 1000 } else { self.chance.below(40_000) };
        let at = (self.now.0 + delay).max(self.lines.get(&line).map_or(0, |at| at + 1));
        self.lines.insert(line, at);
        self.next += 1;
        self.coming.insert((at, self.next), coming);
    }

    fn say(&mut self, stanza: String) {
        self.send(0, Coming::Stanza(stanza));
    }

    // The server.

    fn server_hears(&mut self, stanza: &Stanza) {
        let (from, to) = (stanza.from().expect("a sender").to_string(), stanza.to().expect("an addressee"));
        if to.bare_str() != ROOM {
            if let Some(pong) = stanza.result().filter(|_| stanza.kind == StanzaKind::Iq) {
                self.say(pong.to_xml());
            }
            return;
        }
        let nick = to.resource().map(str::to_owned);
        let own = self.muc.occupants.iter().find(|(_, jid)| **jid == from).map(|(nick, _)| nick.clone());
        match (stanza.kind, stanza.type_(), nick) {
            (StanzaKind::Presence, None, Some(nick)) => self.enters(&from, own, nick),
            (StanzaKind::Presence, Some("unavailable"), _) => {
                if let Some(own) = own {
                    self.leaves(&own, "");
                }
            }
            (StanzaKind::Message, Some("groupchat"), _) => {
                let Some(own) = own else {
                    return self.error(stanza, "not-acceptable");
                };
                let body = stanza.element.child("body", mostar::xmpp::ns::COMPONENT);
                self.talks(&own, &body.expect("a body").text(), stanza.id().expect("an id"));
            }
            (StanzaKind::Iq, Some("get"), Some(_)) if own.is_some() => {
                let pong = stanza.result().expect("a pong").to_xml();
                self.say(pong);
            }
            (StanzaKind::Iq, Some("get" | "set"), _) => self.error(stanza, "not-acceptable"),
            // An error for what the room said: nobody is there.
            (StanzaKind::Message, Some("error"), _) => {
                if let Some(own) = own {
                    self.leaves(&own, "<status code='333'/>");
                }
            }
            _ => {}
        }
    }

    fn error(&mut self, stanza: &Stanza, condition: &str) {
        let (name, from, to) = (stanza.element.name(), stanza.to().unwrap(), stanza.from().unwrap());
        let id = stanza.id().map(|id| format!(" id='{id}'")).unwrap_or_default();
        self.say(format!(
            "<{name} from='{from}' to='{to}' type='error'{id}><error type='cancel'><{condition} \
             xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></{name}>"
        ));
    }

    fn seats(&self) -> Vec<(String, String)> {
        let of_sip = self.muc.occupants.iter().filter(|(_, jid)| jid.contains("@example.net/"));
        of_sip.map(|(nick, jid)| (nick.clone(), jid.clone())).collect()
    }

    fn presence(&mut self, nick: &str, to: &str, type_: &str, inside: &str) {
        self.say(format!(
            "<presence from='{ROOM}/{nick}' to='{to}'{type_}><x xmlns='http://jabber.org/protocol/muc#user'>{inside}</x></presence>"
        ));
    }

    fn enters(&mut self, jid: &str, own: Option<String>, nick: String) {
        if self.muc.occupants.get(&nick).is_some_and(|other| other != jid) {
            return self.say(format!(
                "<presence from='{ROOM}/{nick}' to='{jid}' type='error'><error type='cancel'><conflict \
                 xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>"
            ));
        }
        if let Some(own) = own.filter(|own| *own != nick) {
            self.tally.renamed += 1;
            self.muc.occupants.remove(&own);
            self.muc.occupants.insert(nick.clone(), jid.to_owned());
            for (_, to) in self.seats() {
                let is_self = if to == jid { "<status code='110'/>" } else { "" };
                let item = format!("<item nick='{nick}' role='participant'/><status code='303'/>{is_self}");
                self.presence(&own, &to, " type='unavailable'", &item);
                self.presence(&nick, &to, "", &format!("<item role='participant'/>{is_self}"));
            }
            return;
        }
        for other in self.muc.occupants.keys().filter(|other| **other != nick).cloned().collect::<Vec<_>>() {
            self.presence(&other, jid, "", "<item role='participant'/>");
        }
        self.muc.occupants.insert(nick.clone(), jid.to_owned());
        for (_, to) in self.seats() {
            let is_self = if to == jid { "<status code='110'/>" } else { "" };
            self.presence(&nick, &to, "", &format!("<item role='participant'/>{is_self}"));
        }
        self.say(format!("<message from='{ROOM}' to='{jid}' type='groupchat'><subject/></message>"));
        self.tally.entered += 1;
        // From here on it hears everything.
        if let Some(phone) = phone_of(jid) {
            let since = self.muc.said.len();
            self.phones[phone].since.get_or_insert(since);
            self.phones[phone].jid = jid.to_owned();
        }
    }

    fn leaves(&mut self, nick: &str, status: &str) {
        for (_, to) in self.seats() {
            let is_self = if self.muc.occupants.get(nick) == Some(&to) { "<status code='110'/>" } else { "" };
            self.presence(nick, &to, " type='unavailable'", &format!("<item role='none'/>{status}{is_self}"));
        }
        self.muc.occupants.remove(nick);
    }

    fn talks(&mut self, nick: &str, text: &str, id: &str) {
        let by = self.muc.occupants.get(nick).cloned().unwrap_or_default();
        self.muc.said.push((by, text.to_owned()));
        for (_, to) in self.seats() {
            self.say(format!(
                "<message from='{ROOM}/{nick}' to='{to}' type='groupchat' id='{id}'><body>{text}</body></message>"
            ));
        }
    }

    // The phones.

    fn call(&mut self, number: usize) {
        let phone = &mut self.phones[number];
        phone.calls += 1;
        let (calls, conn) = (phone.calls, number as u64 + 1);
        *phone =
            Phone { calls, calling: true, sent: phone.sent, answered: phone.answered, ..Phone::default() };
        let sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=message {} TCP/MSRP *\r\n\
             a=path:msrp://192.0.2.1:{}/p{number}c{calls};tcp\r\na=accept-types:message/cpim\r\n\
             a=accept-wrapped-types:*\r\na=setup:active\r\na=chatroom:nickname private-messages\r\n",
            4000 + conn,
            4000 + conn
        );
        let text = format!(
            "INVITE sip:{ROOM} SIP/2.0\r\n{}To: <sip:{ROOM}>\r\nCSeq: 1 INVITE\r\nContact: \
             <sip:p{number}@192.0.2.1:5062;transport=tcp>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
            head(number, calls, "i"),
            sdp.len()
        );
        self.send(1000, Coming::Sip(text));
    }

    fn phone_hears(&mut self, text: &str) {
        let call = header_of(text, "Call-ID").unwrap_or_default().to_owned();
        let Some((number, calls)) = call.strip_prefix('p').and_then(|rest| rest.split_once('c')) else {
            // The gateway watches its peer.
            if text.starts_with("OPTIONS") {
                let answer = answer_to(text);
                self.send(1000, Coming::Sip(answer));
            }
            return;
        };
        let (number, calls): (usize, u32) = (number.parse().unwrap(), calls.parse().unwrap());
        let is_present = self.phones[number].calls == calls;
        if text.starts_with("BYE ") {
            let answer = answer_to(text);
            self.send(1000, Coming::Sip(answer));
            if is_present {
                self.over(number);
            }
        } else if text.starts_with("SIP/2.0 200") && text.contains(" INVITE\r\n") {
            let tag =
                header_of(text, "To").and_then(|to| to.split(";tag=").nth(1)).expect("a tag").to_owned();
            self.send(
                1000,
                Coming::Sip(format!(
                    "ACK sip:verona@gateway.example.org:5060 SIP/2.0\r\n{}To: <sip:{ROOM}>;tag={tag}\r\nCSeq: 1 ACK\r\n\
                     Content-Length: 0\r\n\r\n",
                    head(number, calls, "a")
                )),
            );
            let phone = &mut self.phones[number];
            if is_present && !phone.in_call && phone.tag.is_empty() {
                (phone.tag, phone.in_call, phone.calling) = (tag, true, false);
                phone.us =
                    text.lines().find_map(|line| line.strip_prefix("a=path:")).expect("a path").to_owned();
                self.msrp(number, "SEND", &format!("h{calls}"), "Byte-Range: 1-0/0\r\n", None);
            }
        } else if is_present && text.contains(" INVITE\r\n") && !text.starts_with("SIP/2.0 1") {
            self.phones[number].calling = false;
        }
    }

    /// The connection of a phone's present call.
    fn conn(&self, number: usize) -> u64 {
        u64::from(self.phones[number].calls) * 1000 + number as u64
    }

    fn msrp(&mut self, number: usize, method: &str, id: &str, headers: &str, body: Option<&str>) {
        let phone = &self.phones[number];
        let body = body.map(|body| format!("\r\n{body}\r\n")).unwrap_or_default();
        let name = if method == "NICKNAME" { String::new() } else { format!("Message-ID: {id}\r\n") };
        let text = format!(
            "MSRP {id}tid {method}\r\nTo-Path: {}\r\nFrom-Path: msrp://192.0.2.1:{}/p{number}c{};tcp\r\n{name}{headers}{body}-------{id}tid$\r\n",
            phone.us,
            4001 + number,
            phone.calls
        );
        let conn = self.conn(number);
        self.send(conn, Coming::Msrp(conn, text));
    }

    fn talk(&mut self, number: usize) {
        if !self.phones[number].in_call || self.phones[number].broken {
            return;
        }
        self.spoken += 1;
        let (text, id) = (format!("line {}", self.spoken), format!("m{}", self.spoken));
        let body = format!(
            "From: <sip:p{number}@example.net>\r\nTo: <sip:{ROOM}>\r\n\r\nContent-Type: text/plain\r\n\r\n{text}"
        );
        let headers = format!("Byte-Range: 1-{0}/{0}\r\nContent-Type: message/cpim\r\n", body.len());
        self.phones[number].sent += 1;
        self.phones[number].waiting.push(format!("{id}tid"));
        self.msrp(number, "SEND", &id, &headers, Some(&body));
    }

    fn frame(&mut self, conn: u64, text: &str) {
        let number = conn as usize % 1000;
        let first = text.lines().next().unwrap_or_default();
        let words: Vec<&str> = first.split(' ').collect();
        let to = header_of(text, "To-Path").unwrap_or_default().to_owned();
        let phone = &mut self.phones[number];
        if !to.contains(&format!("/p{number}c{};", phone.calls)) || !phone.in_call {
            return;
        }
        if words[2] == "SEND" {
            phone.heard.push(spoken(text));
            self.tally.heard += 1;
            let from = header_of(text, "From-Path").unwrap_or_default().to_owned();
            let answer = format!(
                "MSRP {} 200 OK\r\nTo-Path: {from}\r\nFrom-Path: {to}\r\n-------{}$\r\n",
                words[1], words[1]
            );
            self.send(conn, Coming::Msrp(conn, answer));
        } else if let Some(place) = phone.waiting.iter().position(|id| id == words[1]) {
            phone.waiting.remove(place);
            phone.answered += 1;
            self.tally.answered += usize::from(words[2] == "200");
        } else {
            assert!(!words[1].starts_with('m'), "answered twice: {text}");
        }
    }

    fn hang_up(&mut self, number: usize) {
        let phone = &self.phones[number];
        if !phone.in_call {
            return;
        }
        let text = format!(
            "BYE sip:verona@gateway.example.org:5060 SIP/2.0\r\n{}To: <sip:{ROOM}>;tag={}\r\nCSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n",
            head(number, phone.calls, "b"),
            phone.tag
        );
        self.send(1000, Coming::Sip(text));
        self.over(number);
        let conn = self.conn(number);
        self.send(conn, Coming::Lost(conn));
    }

    /// A call is over for a phone: what it heard is judged.
    fn over(&mut self, number: usize) {
        self.judge(number, false);
        let phone = &mut self.phones[number];
        phone.in_call = false;
        // What is not answered yet will not be.
        phone.answered += phone.waiting.len() as u32;
        phone.waiting.clear();
    }

    /// What a phone heard is what others said since it came, in the room's order, without a hole; at rest all of it.
    fn judge(&self, number: usize, at_rest: bool) {
        let phone = &self.phones[number];
        let Some(since) = phone.since else { return assert!(phone.heard.is_empty()) };
        let others = self.muc.said[since..].iter().filter(|(by, _)| *by != phone.jid);
        let expected: Vec<&String> = others.map(|(_, text)| text).collect();
        for (heard, said) in phone.heard.iter().zip(&expected) {
            assert_eq!(heard, *said, "phone {number} heard something else");
        }
        assert!(phone.heard.len() <= expected.len(), "phone {number} heard too much: {:?}", phone.heard);
        if at_rest {
            assert_eq!(phone.heard.len(), expected.len(), "phone {number} did not hear all");
        }
    }

    // The clock.

    fn run(&mut self, until: u64) {
        loop {
            let coming = self.coming.keys().next().map(|(at, _)| *at);
            let alarm = self.gateway.next_timeout().map(|(at, _)| at.0);
            let next = coming.into_iter().chain(alarm).min().filter(|at| *at <= until);
            let Some(at) = next else { break };
            self.now = Tick(self.now.0.max(at));
            if alarm == Some(at) {
                self.input(Input::Timeout);
                continue;
            }
            let Some((_, coming)) = self.coming.pop_first() else { break };
            match coming {
                Coming::Stanza(text) => {
                    let stanza = Stanza::from_element(xml::parse(&text).expect("XML")).expect("a stanza");
                    self.input(Input::Stanza(LinkId(0), stanza));
                }
                Coming::Sip(text) => {
                    let flow = Flow {
                        transport: Transport::Tcp,
                        local: "192.0.2.9:5060".parse().unwrap(),
                        remote: "192.0.2.1:5060".parse().unwrap(),
                        conn: Some(mostar::sip::flow::ConnId(1)),
                    };
                    let message = framing::datagram(Bytes::from(text.into_bytes())).expect("a message");
                    self.input(Input::Sip(flow, Box::new(message)));
                }
                Coming::Msrp(conn, text) => {
                    let mut decoder = Decoder::new(1 << 20);
                    decoder.push(text.as_bytes());
                    let frame = decoder.next_frame().expect("a frame").expect("a good frame");
                    let link = Link { conn: ConnId(conn), secure: false };
                    self.input(Input::Msrp(MsrpIn::Frame { link, frame: Box::new(frame) }));
                }
                Coming::Lost(conn) => {
                    self.input(Input::Msrp(MsrpIn::Lost { conn: ConnId(conn), why: "reset".into() }));
                }
            }
        }
        self.now = Tick(self.now.0.max(until));
    }

    /// Something happens by chance.
    fn something(&mut self) {
        let number = self.chance.below(self.phones.len() as u64) as usize;
        let in_call = self.phones[number].in_call;
        match self.chance.below(20) {
            0..10 => self.talk(number),
            10..13 => {
                self.spoken += 1;
                self.muc.id += 1;
                let (text, id) = (format!("line {}", self.spoken), format!("x{}", self.muc.id));
                let nick = if self.chance.below(2) == 0 { "Juliet" } else { "Nurse" };
                self.talks(nick, &text, &id);
            }
            13..16 if !in_call && !self.phones[number].calling => self.call(number),
            16 if in_call && !self.phones[number].broken => {
                let id = format!("n{}", self.next);
                let name = format!("Use-Nickname: \"p{number} of {}\"\r\n", self.chance.below(3));
                self.msrp(number, "NICKNAME", &id, &name, None);
            }
            17 => self.hang_up(number),
            18 if in_call && self.chance.below(3) == 0 => {
                // The connection breaks; the phone knows nothing until BYE comes.
                self.tally.lost += 1;
                self.phones[number].broken = true;
                let conn = self.conn(number);
                self.send(conn, Coming::Lost(conn));
            }
            19 if self.chance.below(3) == 0 => {
                if let Some((nick, _)) = self.seats().first().cloned() {
                    self.tally.expelled += 1;
                    self.leaves(&nick, "<status code='307'/>");
                }
            }
            _ => {}
        }
    }
}

/// The headers that all requests of a phone have.
fn head(number: usize, calls: u32, what: &str) -> String {
    format!(
        "Via: SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bK{what}p{number}c{calls}\r\nFrom: \"p{number}\" \
         <sip:p{number}@example.net>;tag=t{calls}\r\nCall-ID: p{number}c{calls}\r\nMax-Forwards: 70\r\n"
    )
}

fn answer_to(request: &str) -> String {
    let mut text = "SIP/2.0 200 OK\r\n".to_owned();
    for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
        text.push_str(&format!("{name}: {}\r\n", header_of(request, name).unwrap_or_default()));
    }
    text + "Content-Length: 0\r\n\r\n"
}

fn phone_of(jid: &str) -> Option<usize> {
    jid.strip_prefix('p')?.split_once('@')?.0.parse().ok()
}

/// What is said in a SEND.
fn spoken(text: &str) -> String {
    let line = text.split("\r\n\r\n").nth(3).unwrap_or_default();
    line.split("\r\n").next().unwrap_or_default().to_owned()
}

fn play(seed: u64) -> Tally {
    let phones = 3 + (seed % 12) as usize;
    let mut world = World::new(seed, phones);
    for _ in 0..300 {
        world.something();
        let until = world.now.0 + world.chance.below(60_000);
        world.run(until);
    }
    // Rest: everything arrives, and what was broken is noticed.
    world.calm = true;
    let until = world.now.0 + 100_000_000;
    world.run(until);
    let there: Vec<usize> = world.seats().iter().filter_map(|(_, jid)| phone_of(jid)).collect();
    for number in 0..phones {
        let count = there.iter().filter(|other| **other == number).count();
        let in_call = world.phones[number].in_call;
        assert_eq!(
            count,
            usize::from(in_call),
            "seed {seed}: phone {number}, in call: {in_call}, seats {:?}",
            world.seats()
        );
        if in_call {
            world.judge(number, true);
        }
        let phone = &world.phones[number];
        assert_eq!((phone.answered, phone.waiting.len()), (phone.sent, 0), "seed {seed}: phone {number}");
        world.hang_up(number);
    }
    let until = world.now.0 + 100_000_000;
    world.run(until);
    assert_eq!(world.seats(), [], "seed {seed}: ghosts");
    assert_eq!(world.gateway.load(), 0, "seed {seed}: the books");
    world.tally
}

#[test]
fn a_room_is_the_same_for_all_at_rest() {
    let mut all = Tally::default();
    for seed in 0..20 {
        let tally = play(seed);
        all.entered += tally.entered;
        all.heard += tally.heard;
        all.answered += tally.answered;
        all.renamed += tally.renamed;
        all.expelled += tally.expelled;
        all.lost += tally.lost;
    }
    let enough = [(all.entered, 100), (all.heard, 5000), (all.answered, 1000)];
    assert!(enough.iter().all(|(count, least)| count >= least), "{all:?}");
    assert!(all.renamed.min(all.expelled).min(all.lost) >= 20, "{all:?}");
}
