//! The world around two gateways: one clock, a queue, streams that keep their order, and faults.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mostar::config::Config;
use mostar::features::sessions::PeerMsrp;
use mostar::gateway::{Input, LinkChange, LinkId, Output};
use mostar::msrp::frame::Frame;
use mostar::msrp::frame::decoder::Decoder;
use mostar::msrp::uri;
use mostar::msrp::{AttemptId, ConnId, Link, MsrpIn, MsrpOut};
use mostar::sip::flow::{self, Flow, Transport};
use mostar::sip::framing;
use mostar::words::id::Seed;
use mostar::words::time::Tick;
use mostar::xmpp::ns;
use mostar::xmpp::stanza::{Element, Stanza};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::people::Mood;
use super::support::invariants::Broken;
use super::support::invariants::Invariant::{Quiet, Rest};
use super::support::process::{Death, Host, Process};
use super::support::seeds::Run;
use super::support::vector;

/// The XMPP domain of each side, which the other gateway is a component for.
pub const DOMAINS: [&str; 2] = ["example.com", "example.net"];
/// So many on each side.
pub const PEOPLE: u8 = 2;

crate::tally! {
    /// What has happened, so that nobody believes in a world where nothing does.
    Tally {
        /// Lines that people wrote, and those that came to anybody.
        written,
        messages,
        read,
        replied,
        refused,
        late,
        errors,
        receipts,
        shown,
        links,
        in_sessions,
    }
}

/// Something that will happen, to the gateway of a side.
#[derive(Debug)]
pub enum Event {
    Stanza(usize, u64, Stanza),
    StanzaReaches(usize, u64, Stanza),
    /// Somebody's client or server says something now.
    Says(usize, Stanza),
    Sip(usize, u64, Bytes),
    Frame(usize, u64, Box<Frame>),
    Connects(usize, u64, AttemptId),
    Lost(usize, u64),
    LinkUp(usize),
    Written(usize, u64),
    /// More records come back in that life.
    Restores(usize, u64),
    Act,
}

/// See the module.
pub struct World {
    rng: ChaCha8Rng,
    pub process: [Process; 2],
    /// Which of them acts.
    turn: usize,
    now: Tick,
    queue: BTreeMap<(Tick, u64), Event>,
    sequence: u64,
    /// Odd while the link is up.
    link: [u64; 2],
    /// Which SIP connection between them this is.
    connection: u64,
    /// MSRP connections between them: whether each lives.
    wires: Vec<bool>,
    last: BTreeMap<(&'static str, usize, u64), Tick>,
    pub moods: [[Mood; PEOPLE as usize]; 2],
    /// What was said on each side.
    pub said: [BTreeSet<String>; 2],
    counter: u64,
    pub tally: Tally,
    acts: u64,
    peace: bool,
    trace: DefaultHasher,
    show: bool,
}

/// The configuration of one side; the other's is the mirror image.
fn config(side: usize, msrp: PeerMsrp) -> Arc<Config> {
    let mut config = vector::config();
    let (own, other) = (DOMAINS[side].to_owned(), DOMAINS[1 - side].to_owned());
    let component = &mut config.xmpp.components[0];
    (component.domain, component.sip_domain) = (other.clone(), other.clone());
    let domain = &mut config.xmpp.domains[0];
    (domain.domain, domain.sip_alias) = (own.clone(), own);
    config.sip.peers[0].may_send_from = vec![other];
    config.sip.peers[0].msrp = msrp;
    let name = format!("gateway{side}.example.org");
    config.msrp.advertise = uri::Host::parse(&name);
    config.sip.advertise = Some(name);
    Arc::new(config)
}

/// Runs one seed to its end and judges it.
pub fn run(seed: u64, deaths: &[(u64, Death)], show: bool) -> Result<Run<Tally>, Broken> {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let msrp = if seed % 3 == 2 { PeerMsrp::Yes } else { PeerMsrp::No };
    let process = |side: usize| {
        let mut own = bytes;
        own[31] = side as u8;
        let latency = [0, 3, 20][(seed / 2 % 3) as usize];
        Process::new(config(side, msrp), Seed(own), latency, if side == 0 { deaths } else { &[] })
    };
    let mut world = World {
        rng: ChaCha8Rng::from_seed(bytes),
        process: [process(0), process(1)],
        turn: 0,
        now: Tick(1),
        queue: BTreeMap::new(),
        sequence: 0,
        link: [0; 2],
        connection: 1,
        wires: Vec::new(),
        last: BTreeMap::new(),
        moods: [[Mood::Reads; PEOPLE as usize]; 2],
        said: [BTreeSet::new(), BTreeSet::new()],
        counter: 0,
        tally: Tally::default(),
        acts: 0,
        peace: false,
        trace: DefaultHasher::new(),
        show,
    };
    world.play(seed);
    let [one, other] = world.process;
    let mut checks = one.checks;
    checks.join(&other.checks);
    checks.verdict()?;
    (world.tally.crashes, world.tally.commits) = (one.life + other.life, one.commits + other.commits);
    Ok(Run { tally: world.tally, checks, trace: world.trace.finish() })
}

impl World {
    pub fn chance(&mut self, percent: u64) -> bool {
        self.rng.next_u64() % 100 < percent
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.rng.next_u64() % limit.max(1)
    }

    pub fn count(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    pub fn some_side(&mut self) -> usize {
        self.below(2) as usize
    }

    pub fn some_person(&mut self) -> u8 {
        self.below(PEOPLE.into()) as u8
    }

    fn at(&mut self, when: Tick, event: Event) {
        self.sequence += 1;
        self.queue.insert((when.max(self.now), self.sequence), event);
    }

    pub fn after(&mut self, millis: u64, event: Event) {
        self.at(self.now + Duration::from_millis(millis), event);
    }

    fn in_order(&mut self, stream: &'static str, side: usize, number: u64) -> Tick {
        let at = self.now + Duration::from_micros(self.below(20_000));
        let last = self.last.entry((stream, side, number)).or_default();
        *last = at.max(*last);
        *last
    }

    fn note(&mut self, line: &str) {
        self.trace.write_u64(self.now.0);
        self.trace.write(line.as_bytes());
        if self.show {
            println!("{:>12.6} {}", self.now.0 as f64 / 1e6, line.replace("\r\n", "\n              "));
        }
    }

    /// Somebody of a side says something to its gateway.
    pub fn stanza(&mut self, side: usize, stanza: Stanza) {
        if let Some(body) =
            stanza.element.child("body", ns::COMPONENT).filter(|_| stanza.type_() == Some("chat"))
        {
            self.said[side].insert(Element::text(body));
        }
        let (link, at) = (self.link[side], self.in_order("from-xmpp", side, self.link[side]));
        self.at(at, Event::Stanza(side, link, stanza));
    }

    fn hand(&mut self, side: usize, input: Input) {
        let before = std::mem::replace(&mut self.turn, side);
        self.apply(input);
        self.turn = before;
    }

    fn play(&mut self, seed: u64) {
        for side in 0..2 {
            self.hand(side, Input::RestoreDone);
            self.happen(Event::LinkUp(side));
            for who in 0..PEOPLE {
                self.moods[side][who as usize] = if who == 0 { Mood::Replies } else { Mood::Reads };
            }
        }
        if seed % 4 == 1 {
            let (side, commit) = (self.some_side(), 1 + self.below(30));
            self.process[side].deaths.insert(commit, Death::at(commit));
        }
        self.acts = 20 + self.below(30);
        self.after(100, Event::Act);
        self.run(None);
        self.peace = true;
        self.happen(Event::LinkUp(0));
        self.happen(Event::LinkUp(1));
        // Whoever answers by itself has five minutes to come to its senses; then there must be silence.
        self.pass(Duration::from_secs(300));
        let before = self.tally.messages;
        self.pass(Duration::from_secs(3600));
        let (written, all) = (self.tally.written, self.tally.messages);
        let checks = &mut self.process[0].checks;
        checks.hold(Quiet, all == before, || format!("{} messages nobody has written", all - before));
        checks.hold(Quiet, all <= 8 * written + 20, || format!("{all} messages for {written} lines"));
        self.everybody_lets_go();
        self.pass(Duration::from_secs(2 * 3600));
        if self.process.iter().any(|process| process.checks.first().is_some()) {
            return;
        }
        for process in &mut self.process {
            let (load, timeout) = (process.gateway.load(), process.gateway.next_timeout());
            process.checks.hold(Rest, load == 0, || format!("{load} things are still held: {timeout:?}"));
            process.door.is_at_rest(&mut process.checks);
        }
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        self.run(Some(until));
        self.now = until;
    }

    fn run(&mut self, until: Option<Tick>) {
        for _ in 0..100_000 {
            let failed = self.process.iter().any(|process| process.checks.first().is_some());
            if failed && !self.show || until.is_none() && self.acts == 0 {
                return;
            }
            let alarms = [0, 1].map(|side| self.process[side].gateway.next_timeout().map(|(at, _)| at));
            let side = usize::from(alarms[1].is_some_and(|at| alarms[0].is_none_or(|first| at < first)));
            let alarm = alarms[side].map(|at| at.max(self.now));
            let event = self.queue.first_key_value().map(|((at, _), _)| *at);
            let next = alarm.into_iter().chain(event).min();
            let Some(at) = next.filter(|at| until.is_none_or(|until| *at <= until)) else { return };
            self.now = at.max(self.now);
            if alarm == Some(at) {
                self.hand(side, Input::Timeout);
            } else if let Some((_, event)) = self.queue.pop_first() {
                self.happen(event);
            }
        }
        self.process[0].checks.broken(Quiet, "they do not come to rest".into());
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Stanza(side, link, stanza) => {
                if link == self.link[side] && link % 2 == 1 {
                    self.note(&format!("xmpp -> gateway {side} {}", stanza.to_xml()));
                    self.hand(side, Input::Stanza(LinkId(0), stanza));
                }
            }
            Event::StanzaReaches(side, link, stanza) => {
                if link == self.link[side] && link % 2 == 1 {
                    self.server_hears(side, &stanza);
                }
            }
            Event::Says(side, stanza) => self.stanza(side, stanza),
            Event::Sip(side, connection, bytes) => {
                if connection == self.connection {
                    let flow = Flow {
                        transport: Transport::Tcp,
                        local: "192.0.2.9:5060".parse().unwrap(),
                        remote: "192.0.2.1:5060".parse().unwrap(),
                        conn: Some(flow::ConnId(connection)),
                    };
                    let input = match framing::datagram(bytes) {
                        Ok(message) => Input::Sip(flow, Box::new(message)),
                        Err(bad) => Input::BadSip(flow, bad),
                    };
                    self.hand(side, input);
                }
            }
            Event::Frame(side, conn, frame) => {
                if self.wires[conn as usize] {
                    let link = Link { conn: ConnId(conn), secure: false };
                    self.hand(side, Input::Msrp(MsrpIn::Frame { link, frame }));
                }
            }
            Event::Connects(side, life, attempt) => {
                if life == self.process[side].life {
                    self.wires.push(true);
                    let conn = ConnId(self.wires.len() as u64 - 1);
                    let link = Link { conn, secure: false };
                    self.tally.in_sessions += 1;
                    self.hand(side, Input::Msrp(MsrpIn::Connected { attempt, link }));
                }
            }
            Event::Lost(side, conn) => {
                self.hand(side, Input::Msrp(MsrpIn::Lost { conn: ConnId(conn), why: "reset".into() }));
            }
            Event::LinkUp(side) => {
                if self.link[side].is_multiple_of(2) {
                    self.note(&format!("the link of {side} comes up"));
                    self.link[side] += 1;
                    self.hand(side, Input::Link(LinkId(0), LinkChange::Up));
                }
            }
            Event::Written(side, life) => {
                let before = std::mem::replace(&mut self.turn, side);
                self.written(life);
                self.turn = before;
            }
            Event::Restores(side, life) => {
                let before = std::mem::replace(&mut self.turn, side);
                self.restores(life);
                self.turn = before;
            }
            Event::Act if self.peace => {}
            Event::Act => self.act(),
        }
    }

    /// A moment for what comes next: half of them next to a timer's edge.
    fn moment(&mut self, spread: u64) -> Tick {
        let side = self.some_side();
        let near = self.now + Duration::from_secs(90);
        let edge = self.process[side].gateway.next_timeout().filter(|(at, _)| *at < near);
        let edge = edge.filter(|_| self.chance(80));
        self.process[0].checks.drawn(edge.is_some());
        match edge {
            Some((at, _)) => {
                let jitter = self.below(4_000);
                Tick((at.0 + jitter).saturating_sub(2_000)).max(self.now)
            }
            None => self.now + Duration::from_millis(self.below(spread)),
        }
    }

    fn act(&mut self) {
        self.acts = self.acts.saturating_sub(1);
        let wait = [300, 1500, 5000, 60_000][self.below(4) as usize];
        let next = self.moment(wait);
        self.at(next, Event::Act);
        match self.below(100) {
            0..50 => self.writes(),
            50..70 => self.some_mood(),
            70..82 => self.adds(),
            82..89 => {
                let side = self.some_side();
                if self.link[side] % 2 == 1 {
                    self.note(&format!("the link of {side} goes down"));
                    self.tally.links += 1;
                    self.link[side] += 1;
                    self.hand(side, Input::Link(LinkId(0), LinkChange::Down));
                    let back = self.moment(30_000);
                    self.at(back, Event::LinkUp(side));
                }
            }
            89..93 => {
                self.turn = self.some_side();
                self.crash();
            }
            93..96 => {
                self.note("the connection breaks");
                self.connection += 1;
            }
            _ => {}
        }
    }

    fn msrp_out(&mut self, out: MsrpOut) {
        let side = self.turn;
        match out {
            MsrpOut::Connect { attempt, .. } => {
                let (life, wait) = (self.process[side].life, 1 + self.below(50));
                self.after(wait, Event::Connects(side, life, attempt));
            }
            MsrpOut::Send { conn, bytes } => {
                let mut decoder = Decoder::new(1 << 20);
                decoder.push(&bytes);
                while let Some(Ok(frame)) = decoder.next_frame() {
                    self.note(&format!("msrp of {side} {frame:?}"));
                    let at = self.in_order("msrp", side, conn.0);
                    self.at(at, Event::Frame(1 - side, conn.0, Box::new(frame)));
                }
                self.apply(Input::Msrp(MsrpIn::Drained { conn, bytes: bytes.len() }));
            }
            MsrpOut::Release(conn) => {
                if std::mem::replace(&mut self.wires[conn.0 as usize], false) {
                    self.after(20, Event::Lost(1 - side, conn.0));
                }
            }
            MsrpOut::Keep(_) => {}
        }
    }
}

impl Host for World {
    fn process(&mut self) -> &mut Process {
        &mut self.process[self.turn]
    }

    fn clock(&self) -> Tick {
        self.now
    }

    fn draw(&mut self, limit: u64) -> u64 {
        self.below(limit)
    }

    fn tells(&mut self, line: &str) {
        let line = format!("{} {line}", self.turn);
        self.note(&line);
    }

    fn writes_in(&mut self, millis: u64, life: u64) {
        self.after(millis, Event::Written(self.turn, life));
    }

    fn restores_in(&mut self, millis: u64, life: u64) -> bool {
        let may = !self.peace;
        if may {
            self.after(millis, Event::Restores(self.turn, life));
        }
        may
    }

    fn leaves(&mut self, output: Output) {
        let side = self.turn;
        match output {
            Output::Sip(out) => {
                self.note(&format!("sip of {side} {}", String::from_utf8_lossy(&out.bytes)));
                let (connection, at) = (self.connection, self.in_order("sip", side, self.connection));
                self.at(at, Event::Sip(1 - side, connection, out.bytes));
            }
            Output::Stanza(_, stanza) => {
                self.note(&format!("gateway {side} -> xmpp {}", stanza.to_xml()));
                let (link, at) = (self.link[side], self.in_order("to-xmpp", side, self.link[side]));
                self.at(at, Event::StanzaReaches(side, link, stanza));
            }
            Output::Msrp(out) => self.msrp_out(out),
            _ => {}
        }
    }

    fn died(&mut self) {
        self.connection += 1;
        for conn in 0..self.wires.len() {
            if std::mem::replace(&mut self.wires[conn], false) {
                self.after(20, Event::Lost(1 - self.turn, conn as u64));
            }
        }
        if self.link[self.turn] % 2 == 1 {
            self.link[self.turn] += 1;
        }
    }

    fn risen(&mut self) {
        let wait = 10 + self.below(3_000);
        self.after(wait, Event::LinkUp(self.turn));
    }
}
