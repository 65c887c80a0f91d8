//! A gateway and everything around it, played from a program of bytes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use mostar::config::{Auth, Config, Relay, Secret};
use mostar::gateway::{Gateway, Input, LinkChange, LinkId, Output, StoreChange};
use mostar::msrp::frame::decoder::Decoder;
use mostar::msrp::uri::Uri;
use mostar::msrp::{AttemptId, ConnId, Link, MsrpIn, MsrpOut};
use mostar::sip::flow::{BadSip, Flow, SendId, SipOut, Transport};
use mostar::sip::framing;
use mostar::sip::message::{self, HeaderName, Message, Method, Request};
use mostar::words::id::{Partition, Seed};
use mostar::words::time::{Now, Tick, Wall};
use mostar::xmpp::stanza::Stanza;
use mostar::xmpp::stream::{Event, Limits, Stream};

use super::config::{add_conference, add_rooms, config};
use super::restore::Restore;
use crate::targets::component::HEADER;

/// The only peer.
const PEER: &str = "192.0.2.1:5060";
/// Somebody who is no peer.
const STRANGER: &str = "198.51.100.7:5060";

/// A start takes no longer than so many milliseconds: then all records are back.
const START: u64 = 100;

/// The configuration that a byte chooses; made once, since reading its tables takes longer than most programs.
fn configured(profile: u8) -> Arc<Config> {
    static ALL: [OnceLock<Arc<Config>>; 256] = [const { OnceLock::new() }; 256];
    ALL[usize::from(profile)].get_or_init(|| Arc::new(configuration(profile))).clone()
}

fn configuration(profile: u8) -> Config {
    let mut config = config();
    let is_set = |bit: u8| profile >> bit & 1 == 1;
    if is_set(0) {
        add_conference(&mut config, "conference.example.net");
    }
    if is_set(1) {
        add_rooms(&mut config, "rooms.example.com");
    }
    if is_set(2) {
        config.sip.peers[0].msrp = mostar::config::values::msrp("yes").unwrap_or_default();
    }
    if is_set(3) {
        config.messages.hold = Duration::from_secs(86_400);
    }
    if is_set(4)
        && let Ok(uri) = Uri::parse("msrps://relay.example.org:2855;tcp")
    {
        let auth = Auth { username: "mostar".into(), password: Secret::new("secret") };
        config.msrp.relay = Some(Relay { uri, auth });
    }
    if is_set(5) {
        config.xmpp.components[0].any_domain = true;
        config.sip.peers[0].any_domain = true;
    }
    if is_set(6) {
        config.messages.from_gruu = true;
        config.sip.peers[0].auth = Some(Auth { username: "mostar".into(), password: Secret::new("secret") });
    }
    if is_set(7) {
        config.messages.rate = 2;
        config.messages.max_message = 700;
    }
    config
}

/// Who waits for an answer: over SIP by branch and method, since a request with those of an earlier one is that one again,
/// whatever else it says (RFC 3261 §17.2.3); over XMPP by address and id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    Sip(String, String),
    Xmpp(String, String, String),
}

/// A gateway, and what has come out of it.
pub struct World {
    config: Arc<Config>,
    gateway: Gateway,
    now: Tick,
    lives: u8,
    steps: usize,
    store: BTreeMap<String, Vec<u8>>,
    /// What has not come back yet since the last start.
    restore: Option<Restore>,
    /// What was minted, by the order in which it came out.
    minted: Vec<String>,
    /// Requests that went out, the newest last.
    requests: VecDeque<SipOut>,
    asked: BTreeSet<Asked>,
    /// INVITEs that have their last answer: the same again is taken in silence (RFC 6026 §8.7).
    invited: BTreeSet<Asked>,
    streams: Vec<Stream>,
    /// Which links are up.
    links: Vec<bool>,
    decoder: Decoder,
    attempts: VecDeque<AttemptId>,
}

impl World {
    /// A started gateway whose links are up.
    pub fn new(profile: u8) -> World {
        let config = configured(profile);
        let mut world = World {
            gateway: Gateway::new(config.clone(), Seed([1; 32])),
            now: Tick(0),
            lives: 1,
            steps: 0,
            store: BTreeMap::new(),
            restore: None,
            minted: Vec::new(),
            requests: VecDeque::new(),
            asked: BTreeSet::new(),
            invited: BTreeSet::new(),
            streams: Vec::new(),
            links: Vec::new(),
            decoder: Decoder::new(64 * 1024),
            attempts: VecDeque::new(),
            config,
        };
        world.begin(Input::RestoreDone);
        world
    }

    fn begin(&mut self, first: Input) {
        self.streams = self.config.xmpp.components.iter().map(|_| open()).collect();
        self.links = vec![true; self.streams.len()];
        self.handle(first);
        for link in 0..self.streams.len() {
            self.handle(Input::Link(LinkId(link), LinkChange::Up));
        }
        // What is due at once comes before what anybody says: as in the vectors, so that the same is minted.
        self.wait(0);
    }

    /// One part of a program.
    pub fn act(&mut self, part: &[u8]) {
        let filled = self.fill(part);
        let Some((what, rest)) = filled.split_first() else { return };
        self.steps += 1;
        match what {
            // SIP from the peer over TCP and UDP, and from a stranger.
            b's' => self.sip(Transport::Tcp, PEER, rest),
            b'u' => self.sip(Transport::Udp, PEER, rest),
            b'o' => self.sip(Transport::Udp, STRANGER, rest),
            // An answer to a request of ours, the newest where no other is named: `a`, a digit, status line and headers.
            b'a' => self.answer(rest),
            // The component links.
            b'x' => self.stanza(0, rest),
            b'y' => self.stanza(1, rest),
            b'd' => self.link(rest, LinkChange::Down),
            b'e' => self.link(rest, LinkChange::Up),
            // MSRP on a connection, and what the shell says of it.
            b'm' => self.msrp(rest),
            b'c' => {
                if let Some(attempt) = self.attempts.pop_back() {
                    self.handle(Input::Msrp(MsrpIn::Connected { attempt, link: LINK }));
                }
            }
            b'r' => {
                if let Some(attempt) = self.attempts.pop_back() {
                    self.handle(Input::Msrp(MsrpIn::NotConnected { attempt, why: "refused".into() }));
                }
            }
            b'l' => self.lost("reset"),
            // Time, in milliseconds; what the store is like.
            b't' => {
                let millis = String::from_utf8_lossy(rest).trim().parse::<u64>().unwrap_or(0).min(7_200_000);
                self.wait(millis);
            }
            b'w' => self.handle(Input::Store(match rest.first() {
                Some(b'l') => StoreChange::Low,
                Some(b'd') => StoreChange::Down,
                _ => StoreChange::Ok,
            })),
            b'f' => {
                let id = self.requests.pop_back().and_then(|out| out.id).unwrap_or(SendId(0));
                self.handle(Input::SendFailed(id, "connection refused".into()));
            }
            // An end and a new beginning; the order in which the records come back then.
            b'R' => return self.restart(rest.first().copied().unwrap_or_default()),
            b'p' => self.handle(Input::Stop),
            b'q' => {
                if let Some(stanza) = stanzas(&mut open(), rest).0.pop() {
                    self.handle(Input::Explain(1, Box::new(stanza)));
                }
            }
            _ => {}
        }
        self.restores();
        let most = 400 + 100 * self.steps;
        assert!(
            self.gateway.load() <= most,
            "{} in the books after {} steps",
            self.gateway.load(),
            self.steps
        );
    }

    /// The requests that went out, the newest first.
    #[allow(dead_code, reason = "the seeds are made by it")]
    pub fn requests(&self) -> impl Iterator<Item = &Bytes> {
        self.requests.iter().rev().map(|out| &out.bytes)
    }

    /// Time passes until everybody must have been answered.
    pub fn finish(&mut self) {
        self.handle(Input::Store(StoreChange::Ok));
        self.wait(600_000);
        assert!(self.asked.is_empty(), "nobody has answered {:?}", self.asked);
    }

    fn clock(&self) -> Now {
        Now { tick: self.now, wall: Wall(1_795_219_200_000 + self.now.0 / 1000) }
    }

    fn handle(&mut self, input: Input) {
        self.gateway.handle(self.clock(), input);
        let mut later = Vec::new();
        for count in 0.. {
            let Some(output) = self.gateway.poll() else { break };
            assert!(count < 5_000, "a drain without end");
            let output = if let Output::Now(inner) = output { *inner } else { output };
            match output {
                Output::Stanza(link, stanza) => self.stanza_out(link, &stanza),
                Output::Sip(out) => later.extend(self.sip_out(out)),
                Output::Msrp(out) => later.extend(self.msrp_out(out)),
                Output::Save(record) => drop(self.store.insert(record.key.text(), record.value)),
                Output::Forget(key) => drop(self.store.remove(&key.text())),
                Output::Fetch(partition) => {
                    self.restore.iter_mut().for_each(|restore| restore.fetch(partition));
                }
                Output::Close(_)
                | Output::Resolve(_)
                | Output::Note(_)
                | Output::Forward(_)
                | Output::Now(_)
                | Output::Explained(..)
                | Output::Stopped => {}
            }
        }
        for input in later {
            self.handle(input);
        }
    }

    fn wait(&mut self, millis: u64) {
        while millis >= START && self.restore.is_some() {
            self.restores();
        }
        let until = Tick(self.now.0 + millis * 1000);
        let (mut at_once, mut rung) = (0, 0);
        while let Some((at, why)) = self.gateway.next_timeout().filter(|(at, _)| *at <= until) {
            at_once = if at > self.now { 0 } else { at_once + 1 };
            assert!(at_once < 1_000, "{why} rings for ever");
            rung += 1;
            if rung > 20_000 {
                break;
            }
            self.now = self.now.max(at);
            self.handle(Input::Timeout);
        }
        self.now = until;
    }

    /// The process is started again: with each part that follows a partition comes back.
    fn restart(&mut self, order: u8) {
        if self.lives >= 4 {
            return;
        }
        self.lives += 1;
        self.asked.clear();
        self.invited.clear();
        self.requests.clear();
        self.attempts.clear();
        self.decoder = Decoder::new(64 * 1024);
        self.gateway = Gateway::new(self.config.clone(), Seed([self.lives; 32]));
        self.restore = Some(Restore::of(&self.store, order));
        self.begin(Input::Restoring);
    }

    /// The next partition that has records comes back, and those before it that have none.
    fn restores(&mut self) {
        while let Some(restore) = &mut self.restore {
            let Some((partition, records)) = restore.next() else {
                self.restore = None;
                return self.handle(Input::RestoreDone);
            };
            let is_empty = records.is_empty();
            for record in records {
                self.handle(Input::Restored(record));
            }
            self.handle(Input::Whole(partition));
            if !is_empty {
                return;
            }
        }
    }
}

/// Ids: those that a program names, and those that it will.
impl World {
    fn fill(&self, part: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(part.len());
        let mut bytes = part.iter();
        while let Some(byte) = bytes.next() {
            if *byte != MINTED {
                out.push(*byte);
            } else if let Some(token) = bytes.next().and_then(|back| self.token(usize::from(*back))) {
                out.extend_from_slice(token.as_bytes());
            }
        }
        out
    }

    fn token(&self, back: usize) -> Option<&str> {
        self.minted.iter().rev().nth(back).map(String::as_str)
    }

    /// The same part, with what was minted named by its place: the way back from [`World::fill`], for seeds.
    #[allow(dead_code, reason = "the seeds are made by it")]
    pub fn named(&self, part: &[u8]) -> Vec<u8> {
        let (mut out, mut at) = (Vec::with_capacity(part.len()), 0);
        while let Some(byte) = part.get(at) {
            let token = part.get(at..at + 18).and_then(|word| std::str::from_utf8(word).ok());
            let known = token.filter(|token| Partition::of_token(token).is_some());
            let back =
                known.and_then(|token| self.minted.iter().rev().take(256).position(|known| known == token));
            match back {
                Some(back) => {
                    out.extend([MINTED, back as u8]);
                    at += 18;
                }
                None => {
                    out.push(if *byte == MINTED { b' ' } else { *byte });
                    at += 1;
                }
            }
        }
        out
    }

    fn learn(&mut self, text: &[u8]) {
        let is_part = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        for word in text.split(|byte| !is_part(byte)) {
            let word = std::str::from_utf8(word).unwrap_or_default();
            // A branch has its cookie before it, which ends in a letter.
            let token = word.get(word.len().saturating_sub(18)..).unwrap_or_default();
            if Partition::of_token(token).is_some()
                && !self.minted.iter().rev().take(300).any(|known| known == token)
            {
                self.minted.push(token.to_owned());
            }
        }
    }
}

/// SIP.
impl World {
    fn sip(&mut self, transport: Transport, from: &str, bytes: &[u8]) {
        let flow = flow(transport, from);
        let input = match framing::datagram(Bytes::copy_from_slice(bytes)) {
            Ok(message) => {
                if let (Message::Request(request), PEER) = (&message, from) {
                    self.asked.extend(wants_answer(request).filter(|asked| !self.invited.contains(asked)));
                }
                Input::Sip(flow, Box::new(message))
            }
            Err(bad) => Input::BadSip(flow, BadSip { fatal: false, ..bad }),
        };
        self.handle(input);
    }

    /// An answer, whose Via, From, To, Call-ID and CSeq are those of the request.
    fn answer(&mut self, rest: &[u8]) {
        let (back, text) = match rest.split_first() {
            Some((digit, text)) if digit.is_ascii_digit() => (usize::from(digit - b'0'), text),
            _ => (0, rest),
        };
        let Some(request) = self.requests.iter().rev().nth(back).map(|out| out.bytes.clone()) else { return };
        if let Some(bytes) = answer_to(&request, text) {
            self.sip(Transport::Tcp, PEER, &bytes);
        }
    }

    fn sip_out(&mut self, out: SipOut) -> Option<Input> {
        self.learn(&out.bytes);
        let shown = || String::from_utf8_lossy(&out.bytes).into_owned();
        let read = framing::datagram(out.bytes.clone());
        let message = read.unwrap_or_else(|bad| panic!("{}: {}", bad.reason, shown()));
        let to = out.target.remote.ip().to_string();
        match message {
            Message::Request(request) => {
                assert_eq!(to, "192.0.2.1", "a third party is asked: {}", shown());
                let is_watch = request.method == Method::Options && !request.uri.to_string().contains('@');
                if is_watch {
                    let bytes = answer_to(&out.bytes, b"200 OK\r\n\r\n")?;
                    return peer(&bytes);
                }
                self.requests.push_back(out);
                if self.requests.len() > 50 {
                    self.requests.pop_front();
                }
            }
            Message::Response(response) => {
                assert!(
                    ["192.0.2.1", "198.51.100.7"].contains(&to.as_str()),
                    "a third party is told: {}",
                    shown()
                );
                if response.status.code() >= 200
                    && let Some(branch) = message::branch(&response.headers)
                {
                    // What had no CSeq is answered without one; so is what comes again under its branch.
                    let method = method_of(&response.headers);
                    let is_answered = |known: &str, of: &String| {
                        known == branch && method.as_ref().is_none_or(|method| method == of)
                    };
                    self.asked
                        .retain(|asked| !matches!(asked, Asked::Sip(known, of) if is_answered(known, of)));
                    if method.as_deref() == Some("INVITE") {
                        self.invited.extend(method.map(|method| Asked::Sip(branch.into_owned(), method)));
                    }
                }
            }
        }
        None
    }
}

fn flow(transport: Transport, from: &str) -> Flow {
    let remote: SocketAddr = from.parse().expect("an address");
    let conn = (transport == Transport::Tcp).then_some(mostar::sip::flow::ConnId(1));
    Flow { transport, local: "192.0.2.9:5060".parse().expect("an address"), remote, conn }
}

/// What the peer says over TCP.
pub fn peer(bytes: &[u8]) -> Option<Input> {
    let message = framing::datagram(Bytes::copy_from_slice(bytes)).ok()?;
    Some(Input::Sip(flow(Transport::Tcp, PEER), Box::new(message)))
}

/// The method that CSeq names.
fn method_of(headers: &message::Headers) -> Option<String> {
    let cseq = message::text(headers, &HeaderName::CSeq)?;
    cseq.split_whitespace().last().map(str::to_owned)
}

/// What names the answer that a request must have; nothing where the rules let it be dropped: an ACK, and what lacks
/// something that an answer would have to repeat.
fn wants_answer(request: &Request) -> Option<Asked> {
    let headers = &request.headers;
    for name in [HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq] {
        message::only(headers, &name)?;
    }
    message::address(headers, &HeaderName::From)?;
    message::address(headers, &HeaderName::To)?;
    message::only(headers, &HeaderName::Via)?;
    let cseq = headers.typed::<message::headers::CSeq>()?.ok()?;
    if cseq.method != request.method || request.method == Method::Ack {
        return None;
    }
    let (branch, method) = (message::branch(headers)?, method_of(headers)?);
    branch.starts_with(message::COOKIE).then(|| Asked::Sip(branch.into_owned(), method))
}

/// An answer to `request`: `text` is its status, its headers and, behind an empty line, its body.
pub fn answer_to(request: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    let request = framing::datagram(Bytes::copy_from_slice(request)).ok()?;
    let at = text.windows(4).position(|four| four == b"\r\n\r\n");
    let (head, body) = at.map_or((text, &[][..]), |at| (&text[..at], &text[at + 4..]));
    let mut out = b"SIP/2.0 ".to_vec();
    out.extend_from_slice(head);
    for (name, title) in [
        (HeaderName::Via, "Via"),
        (HeaderName::From, "From"),
        (HeaderName::To, "To"),
        (HeaderName::CallId, "Call-ID"),
        (HeaderName::CSeq, "CSeq"),
    ] {
        let value = message::text(request.headers(), &name)?;
        let tag = title == "To" && !value.contains(";tag=") && !head.starts_with(b"1");
        out.extend_from_slice(
            format!("\r\n{title}: {value}{}", if tag { ";tag=peer" } else { "" }).as_bytes(),
        );
    }
    out.extend_from_slice(format!("\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes());
    out.extend_from_slice(body);
    Some(out)
}

/// The component links.
impl World {
    fn stanza(&mut self, link: usize, bytes: &[u8]) {
        let Some(stream) = self.streams.get_mut(link).filter(|_| self.links[link]) else { return };
        let (mut found, bad, is_over) = stanzas(stream, bytes);
        found.iter_mut().for_each(|stanza| self.asks(stanza));
        for stanza in found {
            self.handle(Input::Stanza(LinkId(link), stanza));
        }
        for element in bad {
            self.handle(Input::BadStanza(LinkId(link), element));
        }
        if is_over {
            self.link(&[b'0' + link as u8], LinkChange::Down);
            self.link(&[b'0' + link as u8], LinkChange::Up);
        }
    }

    /// A question to one of ours from somebody who may ask has an answer in the end.
    fn asks(&mut self, stanza: &Stanza) {
        let (Some(from), Some(to), Some(id)) = (stanza.from(), stanza.to(), stanza.id()) else { return };
        let is_question = stanza.element.name() == "iq" && matches!(stanza.type_(), Some("get" | "set"));
        let is_user = self.config.xmpp.domains.iter().any(|domain| domain.domain == from.domain());
        let is_ours = self.config.xmpp.components.iter().any(|component| component.domain == to.domain());
        if is_question && is_user && is_ours {
            self.asked.insert(Asked::Xmpp(from.to_string(), to.to_string(), id.to_owned()));
        }
    }

    fn stanza_out(&mut self, link: LinkId, stanza: &Stanza) {
        let text = stanza.to_xml();
        self.learn(text.as_bytes());
        let own = &self.config.xmpp.components[link.0].domain;
        let (Some(from), Some(to)) = (stanza.from(), stanza.to()) else { panic!("from nobody: {text}") };
        assert_eq!(from.domain(), own, "{text}");
        if matches!(stanza.type_(), Some("result" | "error"))
            && let Some(id) = stanza.id()
        {
            self.asked.remove(&Asked::Xmpp(to.to_string(), from.to_string(), id.to_owned()));
        }
        let mut stream = open();
        let (read, bad, _) = stanzas(&mut stream, text.as_bytes());
        assert!(bad.is_empty() && read.len() == 1, "{text}");
        assert_eq!(read[0].element, stanza.element, "{text}");
        let rooted = text.replacen(' ', " xmlns='jabber:component:accept' ", 1);
        roxmltree::Document::parse(&rooted).unwrap_or_else(|why| panic!("{why}: {text}"));
    }

    fn link(&mut self, which: &[u8], change: LinkChange) {
        let link = usize::from(which.first() == Some(&b'1'));
        let is_up = change == LinkChange::Up;
        if let Some(stream) = self.streams.get_mut(link)
            && std::mem::replace(&mut self.links[link], is_up) != is_up
        {
            *stream = open();
            self.asked.retain(|asked| matches!(asked, Asked::Sip(..)));
            self.handle(Input::Link(LinkId(link), change));
        }
    }
}

/// A stream whose handshake is over.
fn open() -> Stream {
    let mut stream = Stream::new(Limits::default());
    stream.receive(HEADER.as_bytes(), &mut Vec::new());
    stream
}

/// What bytes on a stream bring: stanzas, other elements, and whether it is over.
fn stanzas(stream: &mut Stream, bytes: &[u8]) -> (Vec<Stanza>, Vec<mostar::xmpp::stanza::Element>, bool) {
    let mut events = Vec::new();
    stream.receive(bytes, &mut events);
    let (mut found, mut bad, mut is_over) = (Vec::new(), Vec::new(), false);
    for event in events {
        match event {
            Event::Element(element) => match Stanza::from_element(element) {
                Ok(stanza) => found.push(stanza),
                Err(element) => bad.push(element),
            },
            Event::Closed | Event::Broken(_) => is_over = true,
            Event::Opened { .. } | Event::Accepted | Event::Refused(_) | Event::Error(_) => {}
        }
    }
    (found, bad, is_over)
}

const LINK: Link = Link { conn: ConnId(1), secure: false };

/// What stands for something minted.
const MINTED: u8 = 2;

/// MSRP.
impl World {
    fn msrp(&mut self, bytes: &[u8]) {
        self.decoder.push(bytes);
        while let Some(frame) = self.decoder.next_frame() {
            match frame {
                Ok(frame) => self.handle(Input::Msrp(MsrpIn::Frame { link: LINK, frame: Box::new(frame) })),
                Err(garbage) => self.lost(garbage.0),
            }
        }
    }

    fn lost(&mut self, why: &str) {
        self.decoder = Decoder::new(64 * 1024);
        self.handle(Input::Msrp(MsrpIn::Lost { conn: LINK.conn, why: why.into() }));
    }

    fn msrp_out(&mut self, out: MsrpOut) -> Option<Input> {
        match out {
            MsrpOut::Connect { attempt, .. } => {
                self.attempts.push_back(attempt);
                None
            }
            MsrpOut::Send { conn, bytes } => {
                self.learn(&bytes);
                let mut decoder = Decoder::new(1 << 20);
                decoder.push(&bytes);
                let frames: Vec<_> = std::iter::from_fn(|| decoder.next_frame()).collect();
                let is_whole =
                    decoder.pending() == 0 && !frames.is_empty() && frames.iter().all(Result::is_ok);
                assert!(is_whole, "no frames: {}", String::from_utf8_lossy(&bytes));
                Some(Input::Msrp(MsrpIn::Drained { conn, bytes: bytes.len() }))
            }
            MsrpOut::Keep(_) | MsrpOut::Release(_) => None,
        }
    }
}
