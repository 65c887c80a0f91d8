//! The world around one gateway: a queue of events, a clock, a network that loses things, an XMPP server and SIP users.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mostar::config::Config;
use mostar::gateway::{Gateway, Input, LinkChange, LinkId, Output, StoreChange};
use mostar::sip::flow::{ConnId, Flow, SendId, SipOut, Transport};
use mostar::sip::framing;
use mostar::sip::message::{HeaderName, Message, text};
use mostar::store::record::{Record, Restored};
use mostar::words::condition::Kind;
use mostar::words::id::Seed;
use mostar::words::time::{Now, Tick, Wall};
use mostar::xmpp::jid::Jid;
use mostar::xmpp::ns;
use mostar::xmpp::stanza::{Element, ErrorType, Stanza, StanzaKind};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::ledger::{Ledger, Totals};
use super::support::vector;

/// What a run came to.
pub struct Run {
    pub totals: Totals,
    pub trace: u64,
}

/// Something that will happen.
#[derive(Debug)]
enum Event {
    /// A datagram or message reaches the gateway, over the connection of that number (0 for UDP).
    Arrives(u64, Bytes),
    /// A stanza reaches the gateway, sent in that life of the link.
    StanzaArrives(u64, Stanza),
    /// Something of the gateway's reaches the SIP side.
    Reaches(SipOut),
    /// A stanza of the gateway's reaches the XMPP server.
    StanzaReaches(u64, Stanza),
    SendFailed(u64, SendId),
    LinkDown,
    LinkUp,
    Crash,
    Connection,
    StoreDown,
    StoreOk,
    /// Juliet number n writes to Romeo number m.
    JulietWrites(u8, u8),
    /// Romeo number n writes to Juliet number m.
    RomeoWrites(u8, u8),
    /// Romeo has not heard an answer and sends again (UDP).
    RomeoRepeats(String, Duration),
    /// A Romeo gets another temper.
    Temper(u8, Temper),
    /// A Juliet comes or goes.
    Juliet(u8, bool),
    /// A Juliet adds or removes a Romeo.
    Roster(u8, u8, bool),
    /// A Romeo begins to watch a Juliet.
    Watch(u8, u8),
}

/// How a Romeo treats what reaches him.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Temper {
    Answers,
    Slow,
    Silent,
    Status(u16),
}

const PEOPLE: u8 = 3;
/// When the faults end and the world only has to come to rest.
const PEACE: Tick = Tick(240_000_000);
/// When everything must be over.
const END: Tick = Tick(1_500_000_000);

struct World {
    rng: ChaCha8Rng,
    config: Arc<Config>,
    udp: bool,
    gateway: Gateway,
    lives: u8,
    store: BTreeMap<String, Vec<u8>>,
    now: Tick,
    queue: BTreeMap<(Tick, u64), Event>,
    sequence: u64,
    /// Odd while the link is up: which life of the link this is.
    link: u64,
    /// Which TCP connection this is.
    connection: u64,
    /// First in, first out: when the last thing sent on a stream arrives, by stream.
    last: BTreeMap<&'static str, Tick>,
    loss: u64,
    tempers: Vec<Temper>,
    julietes: Vec<bool>,
    accepted: BTreeMap<(String, String, String), u16>,
    pending: BTreeMap<String, (Bytes, String)>,
    watches: BTreeSet<(String, String)>,
    written: u64,
    ledger: Ledger,
    trace: u64,
    show: bool,
}

/// Runs one seed to its end and judges it.
pub fn run(seed: u64, show: bool) -> Result<Run, String> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut config = vector::config();
    let udp = seed.is_multiple_of(3);
    if udp {
        config.sip.peers[0].transport = Some(Transport::Udp);
    }
    let config = Arc::new(config);
    let mut world = World {
        rng: ChaCha8Rng::from_seed(bytes),
        gateway: Gateway::new(config.clone(), Seed(bytes)),
        config,
        udp,
        lives: 0,
        store: BTreeMap::new(),
        now: Tick(1),
        queue: BTreeMap::new(),
        sequence: 0,
        link: 0,
        connection: 1,
        last: BTreeMap::new(),
        loss: if seed % 4 == 1 { 0 } else { seed % 20 },
        tempers: vec![Temper::Answers; PEOPLE as usize],
        julietes: vec![true; PEOPLE as usize],
        accepted: BTreeMap::new(),
        pending: BTreeMap::new(),
        watches: BTreeSet::new(),
        written: 0,
        ledger: Ledger::default(),
        trace: 0xcbf2_9ce4_8422_2325,
        show,
    };
    world.plan(seed);
    world.play()?;
    world.ledger.judge()?;
    Ok(Run { totals: world.ledger.totals, trace: world.trace })
}

impl World {
    fn chance(&mut self, percent: u64) -> bool {
        self.rng.next_u64() % 100 < percent
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.rng.next_u64() % limit.max(1)
    }

    fn at(&mut self, when: Tick, event: Event) {
        self.sequence += 1;
        self.queue.insert((when.max(self.now), self.sequence), event);
    }

    fn after(&mut self, millis: u64, event: Event) {
        self.at(self.now + Duration::from_millis(millis), event);
    }

    /// A moment for the next thing that people or faults do: half of them next to a timer's edge.
    fn moment(&mut self, spread: u64) -> Tick {
        match self.gateway.next_timeout() {
            Some((at, _)) if self.chance(50) && at < PEACE => {
                let jitter = self.below(4_000);
                Tick((at.0 + jitter).saturating_sub(2_000))
            }
            _ => self.now + Duration::from_millis(self.below(spread)),
        }
    }

    fn plan(&mut self, seed: u64) {
        self.apply(Input::RestoreDone);
        self.after(0, Event::LinkUp);
        let people = u64::from(PEOPLE);
        for _ in 0..6 + self.below(14) {
            let (one, other) = (self.below(people) as u8, self.below(people) as u8);
            let when = Tick(self.below(120_000_000));
            let event = if self.chance(50) {
                Event::JulietWrites(one, other)
            } else {
                Event::RomeoWrites(one, other)
            };
            self.at(when, event);
        }
        for _ in 0..self.below(4) {
            let (one, other) = (self.below(people) as u8, self.below(people) as u8);
            let when = Tick(self.below(60_000_000));
            let event =
                if self.chance(50) { Event::Roster(one, other, true) } else { Event::Watch(one, other) };
            self.at(when, event);
        }
        for _ in 0..self.below(5) {
            let who = self.below(people) as u8;
            let temper = match self.below(8) {
                0 => Temper::Silent,
                1 => Temper::Slow,
                2 => Temper::Status(404),
                3 => Temper::Status(480),
                4 => Temper::Status(503),
                5 => Temper::Status(408),
                6 => Temper::Status(603),
                _ => Temper::Answers,
            };
            let when = Tick(self.below(100_000_000));
            self.at(when, Event::Temper(who, temper));
        }
        for _ in 0..self.below(3) {
            let who = self.below(people) as u8;
            let when = Tick(self.below(100_000_000));
            let online = self.chance(50);
            self.at(when, Event::Juliet(who, online));
        }
        if seed.is_multiple_of(2) {
            for _ in 0..1 + self.below(3) {
                let when = Tick(1_000_000 + self.below(100_000_000));
                self.at(when, Event::LinkDown);
            }
        }
        if seed % 3 != 1 {
            for _ in 0..1 + self.below(2) {
                let when = Tick(1_000_000 + self.below(100_000_000));
                self.at(when, Event::Crash);
            }
        }
        if seed % 5 == 2 {
            let when = Tick(1_000_000 + self.below(100_000_000));
            self.at(when, Event::Connection);
        }
        if seed % 7 == 3 {
            let when = Tick(1_000_000 + self.below(60_000_000));
            self.at(when, Event::StoreDown);
        }
        for who in 0..PEOPLE {
            self.at(PEACE, Event::Temper(who, Temper::Answers));
            for romeo in 0..PEOPLE {
                self.at(PEACE + Duration::from_secs(120), Event::Roster(who, romeo, false));
            }
        }
    }

    fn play(&mut self) -> Result<(), String> {
        for _ in 0..200_000 {
            let alarm = self.gateway.next_timeout().map(|(at, _)| at.max(self.now));
            let event = self.queue.first_key_value().map(|((at, _), _)| *at);
            match (alarm, event) {
                (Some(at), other) if other.is_none_or(|event| at <= event) => {
                    if at >= END {
                        return self.rest();
                    }
                    self.now = at;
                    self.apply(Input::Timeout);
                }
                (_, Some(at)) => {
                    self.now = self.now.max(at);
                    if let Some((_, event)) = self.queue.pop_first() {
                        self.happen(event);
                    }
                }
                (_, None) => return self.rest(),
            }
        }
        Err(format!("does not come to rest by {:?}: {:?}", self.now, self.gateway.next_timeout()))
    }

    /// Rule 12: when all is over, all books are empty; only consent and answered messages may stay in the store.
    fn rest(&self) -> Result<(), String> {
        match self.gateway.load() {
            0 => Ok(()),
            load => Err(format!("{load} things are still held: {:?}", self.gateway.next_timeout())),
        }
    }

    fn note(&mut self, line: &str) {
        let stamped = format!("{} {line}", self.now.0);
        self.trace = stamped
            .bytes()
            .fold(self.trace, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        if self.show {
            println!("{:>12.3} {}", self.now.0 as f64 / 1e6, line.replace("\r\n", "\n              "));
        }
    }

    /// One step of the gateway: its saves commit, then its outputs leave.
    fn apply(&mut self, input: Input) {
        let now = Now { tick: self.now, wall: Wall(1_795_219_200_000) + Duration::from_micros(self.now.0) };
        self.gateway.handle(now, input);
        let mut outputs = Vec::new();
        while let Some(output) = self.gateway.poll() {
            outputs.push(match output {
                Output::Now(inner) => *inner,
                other => other,
            });
        }
        for output in &outputs {
            match output {
                Output::Save(Record { key, value }) => {
                    self.store.insert(key.to_string(), value.clone());
                }
                Output::Forget(key) => {
                    self.store.remove(&key.to_string());
                }
                _ => {}
            }
        }
        for output in outputs {
            match output {
                Output::Sip(out) => self.leave(out),
                Output::Stanza(_, stanza) => {
                    self.note(&format!("gateway -> xmpp {}", stanza.to_xml()));
                    let link = self.link;
                    let at = self.in_order("to-xmpp", 20);
                    self.at(at, Event::StanzaReaches(link, stanza));
                }
                _ => {}
            }
        }
    }

    /// When something sent now on a stream arrives: never before what was sent earlier.
    fn in_order(&mut self, stream: &'static str, spread: u64) -> Tick {
        let at = self.now + Duration::from_millis(self.below(spread));
        let last = self.last.entry(stream).or_default();
        *last = at.max(*last);
        *last
    }

    fn leave(&mut self, out: SipOut) {
        self.note(&format!("gateway -> sip {}", String::from_utf8_lossy(&out.bytes)));
        if out.target.transport == Transport::Tcp {
            let at = self.in_order("to-sip", 20);
            self.at(at, Event::Reaches(out));
        } else {
            self.datagram(|world, at| world.at(at, Event::Reaches(out.clone())));
        }
    }

    /// Loses, doubles and reorders.
    fn datagram(&mut self, mut send: impl FnMut(&mut World, Tick)) {
        let copies =
            if self.now < PEACE && self.chance(self.loss) { 0 } else { 1 + u64::from(self.chance(3)) };
        for _ in 0..copies {
            let at = self.now + Duration::from_millis(1 + self.below(60));
            send(self, at);
        }
    }

    fn send(&mut self, bytes: Bytes) {
        if self.udp {
            self.datagram(|world, at| world.at(at, Event::Arrives(0, bytes.clone())));
        } else {
            let connection = self.connection;
            let at = self.in_order("from-sip", 20);
            self.at(at, Event::Arrives(connection, bytes));
        }
    }

    fn stanza_to_gateway(&mut self, stanza: Stanza) {
        let link = self.link;
        let at = self.in_order("from-xmpp", 20);
        self.at(at, Event::StanzaArrives(link, stanza));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrives(connection, bytes) => {
                if connection != 0 && connection != self.connection {
                    return;
                }
                self.note(&format!("sip -> gateway {}", String::from_utf8_lossy(&bytes)));
                let transport = if connection == 0 { Transport::Udp } else { Transport::Tcp };
                let flow = Flow {
                    transport,
                    local: "192.0.2.9:5060".parse().unwrap(),
                    remote: "192.0.2.1:5060".parse().unwrap(),
                    conn: (connection != 0).then_some(ConnId(connection)),
                };
                if bytes.starts_with(b"MESSAGE ") {
                    self.ledger.reached_gateway(&String::from_utf8_lossy(&bytes));
                }
                match framing::datagram(bytes) {
                    Ok(message) => self.apply(Input::Sip(flow, Box::new(message))),
                    Err(bad) => self.apply(Input::BadSip(flow, bad)),
                }
            }
            Event::StanzaArrives(link, stanza) => {
                if link == self.link && link % 2 == 1 {
                    self.note(&format!("xmpp -> gateway {}", stanza.to_xml()));
                    self.apply(Input::Stanza(LinkId(0), stanza));
                }
            }
            Event::Reaches(out) => self.romeo_gets(&out),
            Event::StanzaReaches(link, stanza) => {
                if link == self.link && link % 2 == 1 {
                    self.server_gets(&stanza);
                }
            }
            Event::SendFailed(connection, id) => {
                if connection + 1 == self.connection {
                    self.apply(Input::SendFailed(id, "connection reset".into()));
                }
            }
            Event::LinkDown if self.link % 2 == 1 => {
                self.note("the link goes down");
                self.ledger.totals.link_losses += 1;
                self.link += 1;
                self.ledger.doubt();
                self.apply(Input::Link(LinkId(0), LinkChange::Down));
                let back = self.moment(40_000).max(self.now);
                self.at(back, Event::LinkUp);
            }
            Event::LinkDown => {}
            Event::LinkUp if self.link.is_multiple_of(2) => {
                self.note("the link comes up");
                self.link += 1;
                self.apply(Input::Link(LinkId(0), LinkChange::Up));
            }
            Event::LinkUp => {}
            Event::Crash => self.crash(),
            Event::Connection => {
                self.note("the TCP connection breaks");
                self.connection += 1;
                self.ledger.doubt();
            }
            Event::StoreDown => {
                self.note("the store fails");
                self.apply(Input::Store(StoreChange::Down));
                self.after(5_000, Event::StoreOk);
            }
            Event::StoreOk => self.apply(Input::Store(StoreChange::Ok)),
            Event::JulietWrites(juliet, romeo) => self.juliet_writes(juliet, romeo),
            Event::RomeoWrites(romeo, juliet) => self.romeo_writes(romeo, juliet),
            Event::RomeoRepeats(body, wait) => self.romeo_repeats(&body, wait),
            Event::Temper(who, temper) => self.tempers[who as usize] = temper,
            Event::Juliet(who, online) => self.juliet_comes(who, online),
            Event::Roster(juliet, romeo, add) => {
                let (from, to) = (juliet_jid(juliet), romeo_jid(romeo));
                let type_ = if add { "subscribe" } else { "unsubscribe" };
                self.stanza_to_gateway(Stanza::new(StanzaKind::Presence, &from, &to).with_type(type_));
                self.juliet_comes(juliet, self.julietes[juliet as usize]);
            }
            Event::Watch(romeo, juliet) => self.romeo_watches(romeo, juliet),
        }
    }

    fn crash(&mut self) {
        self.note("crash and restart");
        self.ledger.totals.crashes += 1;
        self.ledger.doubt();
        self.lives += 1;
        let mut seed = [self.lives; 32];
        seed[..8].copy_from_slice(&self.rng.next_u64().to_le_bytes());
        self.gateway = Gateway::new(self.config.clone(), Seed(seed));
        self.connection += 1;
        if self.link % 2 == 1 {
            self.link += 1;
        }
        for (key, value) in self.store.clone() {
            let record = Restored::parse(&key, value).expect("the gateway's own keys can be read");
            self.apply(Input::Restored(record));
        }
        self.apply(Input::RestoreDone);
        let wait = 10 + self.below(3_000);
        self.after(wait, Event::LinkUp);
    }

    // ---- the SIP side

    fn romeo_writes(&mut self, romeo: u8, juliet: u8) {
        self.written += 1;
        let number = self.written;
        let body = format!("from-sip-{number}");
        let pair = (format!("romeo{romeo}"), format!("juliet{juliet}"));
        self.ledger.written(true, &body, pair, number);
        let transport = if self.udp { "UDP" } else { "TCP" };
        let message = format!(
            "MESSAGE sip:juliet{juliet}@example.com SIP/2.0\r\nVia: SIP/2.0/{transport} 192.0.2.1:5060;branch=z9hG4bKsim{number}\r\n\
             Max-Forwards: 69\r\nFrom: <sip:romeo{romeo}@example.net>;tag=sim{number}\r\nTo: <sip:juliet{juliet}@example.com>\r\n\
             Call-ID: sim-{number}\r\nCSeq: 1 MESSAGE\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let bytes = Bytes::from(message);
        self.pending.insert(format!("sim-{number}"), (bytes.clone(), body));
        self.send(bytes);
        let first = Duration::from_millis(500);
        self.after(500, Event::RomeoRepeats(format!("sim-{number}"), first));
    }

    /// Timer E over UDP; over TCP the client gives up after Timer F and sends the same request anew.
    fn romeo_repeats(&mut self, call: &str, wait: Duration) {
        let Some((bytes, body)) = self.pending.get(call).cloned() else { return };
        if self.udp && wait < Duration::from_secs(33) {
            self.send(bytes);
            let next = (wait * 2).min(Duration::from_secs(4)) + Duration::from_millis(1);
            let total = wait + next;
            self.after(next.as_millis() as u64, Event::RomeoRepeats(call.to_owned(), total));
        } else if !self.udp && wait < Duration::from_secs(60) {
            let again = String::from_utf8_lossy(&bytes).replacen(
                "z9hG4bK",
                &format!("z9hG4bK{}", wait.as_millis()),
                1,
            );
            if wait > Duration::from_secs(1) {
                self.send(Bytes::from(again));
            }
            self.after(32_000, Event::RomeoRepeats(call.to_owned(), wait + Duration::from_secs(32)));
        } else {
            self.pending.remove(call);
            if let Some(fate) = self.ledger.from_sip.get_mut(&body) {
                fate.doubt = true;
            }
        }
    }

    fn romeo_watches(&mut self, romeo: u8, juliet: u8) {
        self.written += 1;
        let number = self.written;
        let transport = if self.udp { "UDP" } else { "TCP" };
        let subscribe = format!(
            "SUBSCRIBE sip:juliet{juliet}@example.com SIP/2.0\r\nVia: SIP/2.0/{transport} 192.0.2.1:5060;branch=z9hG4bKsim{number}\r\n\
             Max-Forwards: 69\r\nFrom: <sip:romeo{romeo}@example.net>;tag=watch{number}\r\nTo: <sip:juliet{juliet}@example.com>\r\n\
             Call-ID: watch-{number}\r\nCSeq: 1 SUBSCRIBE\r\nContact: <sip:romeo{romeo}@192.0.2.1:5060>\r\nEvent: presence\r\n\
             Expires: 600\r\nContent-Length: 0\r\n\r\n"
        );
        self.watches.insert((format!("juliet{juliet}"), format!("romeo{romeo}")));
        self.send(Bytes::from(subscribe));
    }

    fn romeo_gets(&mut self, out: &SipOut) {
        let tcp = out.target.transport == Transport::Tcp;
        if tcp && out.target.conn.is_some_and(|conn| conn.0 != self.connection) && self.chance(50) {
            // A response on a connection that is gone goes nowhere; a request is reported.
            if let Some(id) = out.id {
                let connection = self.connection - 1;
                self.after(1, Event::SendFailed(connection, id));
                return;
            }
        }
        let Ok(message) = framing::datagram(out.bytes.clone()) else { return };
        match message {
            Message::Response(response) => {
                let call = text(&response.headers, &HeaderName::CallId).unwrap_or_default();
                let status = response.status.code();
                if status >= 200
                    && let Some((_, body)) = self.pending.get(&call).cloned()
                    && let Some(fate) = self.ledger.from_sip.get_mut(&body)
                {
                    fate.answers.push(status);
                    self.pending.remove(&call);
                }
            }
            Message::Request(request) => {
                let name = |header: &HeaderName| text(&request.headers, header).unwrap_or_default();
                let identity = (name(&HeaderName::CallId), name(&HeaderName::From), name(&HeaderName::CSeq));
                let user = String::from_utf8_lossy(request.uri.user().unwrap_or_default()).into_owned();
                let who = user.trim_start_matches("romeo").parse::<usize>().unwrap_or(0) % PEOPLE as usize;
                let temper = self.tempers[who];
                if let Some(status) = self.accepted.get(&identity).copied() {
                    return self.answer(&out.bytes, status, temper);
                }
                let method = request.method.to_string();
                if method == "MESSAGE" {
                    self.hear_of_failure(&request, &identity.1);
                }
                let status = match (method.as_str(), temper) {
                    ("OPTIONS" | "NOTIFY", _) => 200,
                    (_, Temper::Answers | Temper::Slow) => 200,
                    (_, Temper::Silent) => return,
                    (_, Temper::Status(status)) => status,
                };
                if method == "MESSAGE" {
                    self.romeo_reads(&request, &identity, status);
                }
                if method == "NOTIFY" {
                    self.ledger.totals.presence += 1;
                }
                self.accepted.insert(identity, status);
                self.answer(&out.bytes, status, temper);
                if method == "SUBSCRIBE" && status == 200 {
                    self.notify(&out.bytes, name(&HeaderName::Expires) == "0");
                }
            }
        }
    }

    fn romeo_reads(
        &mut self,
        request: &mostar::sip::message::Request,
        identity: &(String, String, String),
        status: u16,
    ) {
        let body = String::from_utf8_lossy(request.body()).trim().to_owned();
        let key = format!("{} {} {}", identity.0, identity.1, identity.2);
        if self.ledger.from_xmpp.contains_key(&body) {
            if self.tempers.contains(&Temper::Slow)
                && let Some(fate) = self.ledger.from_xmpp.get_mut(&body)
            {
                // An answer that comes after Timer F leaves the sender in doubt.
                fate.doubt = true;
            }
            if status < 300 {
                self.ledger.arrived(false, &body, &key);
            } else if let Some(fate) = self.ledger.from_xmpp.get_mut(&body) {
                fate.refused_there = true;
            }
        }
    }

    /// What is not a Juliet's line is the gateway telling of a late failure. It counts as told when it reaches Romeo,
    /// though he may be silent.
    fn hear_of_failure(&mut self, request: &mostar::sip::message::Request, from: &str) {
        let body = String::from_utf8_lossy(request.body()).trim().to_owned();
        if self.ledger.from_xmpp.contains_key(&body) {
            return;
        }
        for fate in self.ledger.from_sip.values_mut() {
            if from.contains(&fate.pair.1) && request.uri.to_string().contains(&fate.pair.0) {
                fate.late = true;
            }
        }
    }

    fn answer(&mut self, request: &[u8], status: u16, temper: Temper) {
        let text = String::from_utf8_lossy(request);
        let mut lines = vec![format!("SIP/2.0 {status} Simulated")];
        for line in text.lines().take_while(|line| !line.is_empty()) {
            let name = line.split(':').next().unwrap_or_default();
            if ["Via", "From", "Call-ID", "CSeq", "Record-Route"].contains(&name) {
                lines.push(line.to_owned());
            } else if name == "To" {
                let tag = if line.contains(";tag=") { "" } else { ";tag=sim" };
                lines.push(format!("{line}{tag}"));
            } else if name == "Expires" {
                lines.push(line.to_owned());
            }
        }
        lines.push("Contact: <sip:romeo@192.0.2.1:5060>".into());
        lines.push("Content-Length: 0".into());
        let bytes = Bytes::from(format!("{}\r\n\r\n", lines.join("\r\n")));
        if temper == Temper::Slow {
            let wait = self.below(40_000);
            let connection = if self.udp { 0 } else { self.connection };
            self.after(wait, Event::Arrives(connection, bytes));
        } else {
            self.send(bytes);
        }
    }

    /// The state of the phone that was subscribed to: open, or the end of the dialog.
    fn notify(&mut self, subscribe: &[u8], last: bool) {
        let text = String::from_utf8_lossy(subscribe).into_owned();
        let header = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(&format!("{name}: ")))
                .unwrap_or_default()
                .to_owned()
        };
        self.written += 1;
        let number = self.written;
        let contact = header("Contact");
        let uri = contact.split(['<', '>']).nth(1).unwrap_or("sip:nobody@invalid").to_owned();
        let to = header("To");
        let from = if to.contains(";tag=") { to } else { format!("{to};tag=sim") };
        let entity = from.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
        let state =
            if last { "terminated;reason=timeout".to_owned() } else { "active;expires=600".to_owned() };
        let body = format!(
            "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='{entity}'><tuple id='t{number}'><status>\
             <basic>open</basic></status></tuple></presence>"
        );
        let transport = if self.udp { "UDP" } else { "TCP" };
        let notify = format!(
            "NOTIFY {uri} SIP/2.0\r\nVia: SIP/2.0/{transport} 192.0.2.1:5060;branch=z9hG4bKsim{number}\r\nMax-Forwards: 69\r\n\
             From: {from}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {number} NOTIFY\r\nContact: <sip:romeo@192.0.2.1:5060>\r\n\
             Event: presence\r\nSubscription-State: {state}\r\nContent-Type: application/pidf+xml\r\nContent-Length: {}\r\n\r\n{body}",
            header("From"),
            header("Call-ID"),
            body.len()
        );
        self.send(Bytes::from(notify));
    }

    // ---- the XMPP side

    fn juliet_writes(&mut self, juliet: u8, romeo: u8) {
        if self.link.is_multiple_of(2) {
            // Her server says that the gateway is away: not our message to keep.
            return;
        }
        self.written += 1;
        let number = self.written;
        let body = format!("from-xmpp-{number}");
        let (from, to) = (juliet_jid(juliet), romeo_jid(romeo));
        let mut child = Element::new("body", ns::COMPONENT);
        child.push_text(&body);
        let stanza = Stanza::new(StanzaKind::Message, &from, &to)
            .with_type("chat")
            .with_id(&format!("sim-{number}"))
            .with_child(child);
        // It counts from the moment at which the gateway has read it: what the link loses before is the server's.
        self.note(&format!("xmpp -> gateway {}", stanza.to_xml()));
        self.ledger.written(false, &body, (format!("juliet{juliet}"), format!("romeo{romeo}")), number);
        self.apply(Input::Stanza(LinkId(0), stanza));
    }

    fn juliet_comes(&mut self, who: u8, online: bool) {
        self.julietes[who as usize] = online;
        let from = juliet_jid(who);
        for romeo in 0..PEOPLE {
            if self.watches.contains(&(format!("juliet{who}"), format!("romeo{romeo}"))) {
                let presence = Stanza::new(StanzaKind::Presence, &from, &romeo_jid(romeo));
                let presence = if online { presence } else { presence.with_type("unavailable") };
                self.stanza_to_gateway(presence);
            }
        }
    }

    fn server_gets(&mut self, stanza: &Stanza) {
        let (Some(from), Some(to)) = (stanza.from(), stanza.to()) else { return };
        match (stanza.kind, stanza.type_()) {
            (StanzaKind::Iq, Some("get" | "set")) => {
                if let Some(result) = stanza.result() {
                    self.stanza_to_gateway(result);
                }
            }
            (StanzaKind::Message, Some("error")) => {
                let body = stanza.element.child("body", ns::COMPONENT).map(Element::text).unwrap_or_default();
                if let Some(fate) = self.ledger.from_xmpp.get_mut(&body) {
                    fate.answers.push(500);
                }
            }
            (StanzaKind::Message, _) => {
                let body = stanza.element.child("body", ns::COMPONENT).map(Element::text).unwrap_or_default();
                let id = stanza.id().unwrap_or_default().to_owned();
                let known = self.ledger.from_sip.contains_key(&body);
                let refused = known && self.below(20) == 0;
                if refused {
                    if let Some(fate) = self.ledger.from_sip.get_mut(&body) {
                        fate.refused_there = true;
                    }
                    let error = stanza.error(Kind::ServiceUnavailable, ErrorType::Cancel, None, None);
                    error.into_iter().for_each(|error| self.stanza_to_gateway(error));
                } else if known {
                    self.ledger.arrived(true, &body, &id);
                }
            }
            (StanzaKind::Presence, Some("subscribe")) => {
                let answer =
                    Stanza::new(StanzaKind::Presence, &to.bare(), &from.bare()).with_type("subscribed");
                self.stanza_to_gateway(answer);
                let who = to.local().unwrap_or_default().trim_start_matches("juliet").parse().unwrap_or(0);
                self.juliet_comes(who, self.julietes[who as usize]);
            }
            (StanzaKind::Presence, Some("probe")) => {
                let who: u8 =
                    to.local().unwrap_or_default().trim_start_matches("juliet").parse().unwrap_or(0);
                let online = self.julietes[who as usize];
                let full = if online { juliet_jid(who) } else { to.bare() };
                let presence = Stanza::new(StanzaKind::Presence, &full, &from.bare());
                self.stanza_to_gateway(if online { presence } else { presence.with_type("unavailable") });
            }
            (StanzaKind::Presence, _) => self.ledger.totals.presence += 1,
            _ => {}
        }
    }
}

fn juliet_jid(number: u8) -> Jid {
    Jid::new(Some(&format!("juliet{number}")), "example.com", Some("balcony")).unwrap()
}

fn romeo_jid(number: u8) -> Jid {
    Jid::new(Some(&format!("romeo{number}")), "example.net", None).unwrap()
}
