//! The world around two gateways: the streams to them and between them, on one course, and faults.

use std::collections::BTreeSet;
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

use super::people::Mood;
use super::support::course::{self, Course};
use super::support::invariants::Broken;
use super::support::invariants::Invariant::{self, Quiet, Rest};
use super::support::process::{Death, Due, Host, Process};
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
    Due(usize, Due),
    Act,
}

/// See the module.
pub struct World {
    pub course: Course<Event>,
    pub process: [Process; 2],
    /// Which of them acts.
    turn: usize,
    /// Odd while the link is up.
    link: [u64; 2],
    /// Which SIP connection between them this is.
    connection: u64,
    /// MSRP connections between them: whether each lives.
    wires: Vec<bool>,
    pub moods: [[Mood; PEOPLE as usize]; 2],
    /// What was said on each side.
    pub said: [BTreeSet<String>; 2],
    pub tally: Tally,
    peace: bool,
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
    config.sip.advertise = uri::Host::parse(&name);
    config.msrp.advertise = config.sip.advertise.clone();
    Arc::new(config)
}

/// Runs one seed to its end and judges it.
pub fn run(seed: u64, deaths: &[(u64, Death)], show: bool) -> Result<Run<Tally>, Broken> {
    let bytes = course::bytes(7, seed);
    let msrp = if seed % 3 == 2 { PeerMsrp::Yes } else { PeerMsrp::No };
    let process = |side: usize| {
        let mut own = bytes;
        own[31] = side as u8;
        let latency = [0, 3, 20][(seed / 2 % 3) as usize];
        Process::new(config(side, msrp), Seed(own), latency, if side == 0 { deaths } else { &[] })
    };
    let mut world = World {
        course: Course::new(bytes, show),
        process: [process(0), process(1)],
        turn: 0,
        link: [0; 2],
        connection: 1,
        wires: Vec::new(),
        moods: [[Mood::Reads; PEOPLE as usize]; 2],
        said: [BTreeSet::new(), BTreeSet::new()],
        tally: Tally::default(),
        peace: false,
    };
    world.play(seed);
    let [one, other] = world.process;
    let mut checks = one.checks;
    checks.join(&other.checks);
    checks.verdict()?;
    (world.tally.crashes, world.tally.commits) = (one.life + other.life, one.commits + other.commits);
    Ok(Run { tally: world.tally, checks, trace: world.course.trace() })
}

impl World {
    pub fn some_side(&mut self) -> usize {
        self.course.below(2) as usize
    }

    pub fn some_person(&mut self) -> u8 {
        self.course.below(PEOPLE.into()) as u8
    }

    /// Something of that side is on its way.
    fn sends(&mut self, stream: &'static str, side: usize, number: u64, event: Event) {
        let delay = self.course.micros(20);
        self.course.in_order(stream, 2 * number + side as u64, delay, event);
    }

    /// The gateway of that side is the one that acts.
    fn on(&mut self, side: usize, act: impl FnOnce(&mut World)) {
        let before = std::mem::replace(&mut self.turn, side);
        act(self);
        self.turn = before;
    }

    fn hand(&mut self, side: usize, input: Input) {
        self.on(side, |world| world.apply(input));
    }

    /// A moment for what comes next: some of them next to an edge of one side's timers, some to one of the other's.
    fn some_moment(&mut self, spread: u64) -> Tick {
        let side = self.some_side();
        let before = std::mem::replace(&mut self.turn, side);
        let at = self.moment(spread);
        self.turn = before;
        at
    }

    /// Somebody of a side says something to its gateway.
    pub fn stanza(&mut self, side: usize, stanza: Stanza) {
        if let Some(body) =
            stanza.element.child("body", ns::COMPONENT).filter(|_| stanza.type_() == Some("chat"))
        {
            self.said[side].insert(Element::text(body));
        }
        let link = self.link[side];
        self.sends("from-xmpp", side, link, Event::Stanza(side, link, stanza));
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
            let (side, commit) = (self.some_side(), 1 + self.course.below(30));
            self.process[side].deaths.insert(commit, Death::at(commit));
        }
        self.course.acts = 20 + self.course.below(30);
        self.course.after(100, Event::Act);
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

    fn act(&mut self) {
        self.course.acts = self.course.acts.saturating_sub(1);
        let wait = [300, 1500, 5000, 60_000][self.course.below(4) as usize];
        let next = self.some_moment(wait);
        self.course.at(next, Event::Act);
        match self.course.below(100) {
            0..50 => self.writes(),
            50..70 => self.some_mood(),
            70..82 => self.adds(),
            82..89 => {
                let side = self.some_side();
                if self.link[side] % 2 == 1 {
                    self.course.note(&format!("the link of {side} goes down"));
                    self.tally.links += 1;
                    self.link[side] += 1;
                    self.hand(side, Input::Link(LinkId(0), LinkChange::Down));
                    let back = self.some_moment(30_000);
                    self.course.at(back, Event::LinkUp(side));
                }
            }
            89..93 => {
                let side = self.some_side();
                self.on(side, World::crash);
            }
            93..96 => {
                self.course.note("the connection breaks");
                self.connection += 1;
            }
            _ => {}
        }
    }

    fn msrp_out(&mut self, out: MsrpOut) {
        let side = self.turn;
        match out {
            MsrpOut::Connect { attempt, .. } => {
                let (life, wait) = (self.process[side].life, 1 + self.course.below(50));
                self.course.after(wait, Event::Connects(side, life, attempt));
            }
            MsrpOut::Send { conn, bytes } => {
                let mut decoder = Decoder::new(1 << 20);
                decoder.push(&bytes);
                while let Some(Ok(frame)) = decoder.next_frame() {
                    self.course.note(&format!("msrp of {side} {frame:?}"));
                    self.sends("msrp", side, conn.0, Event::Frame(1 - side, conn.0, Box::new(frame)));
                }
                self.apply(Input::Msrp(MsrpIn::Drained { conn, bytes: bytes.len() }));
            }
            MsrpOut::Release(conn) => {
                if std::mem::replace(&mut self.wires[conn.0 as usize], false) {
                    self.course.after(20, Event::Lost(1 - side, conn.0));
                }
            }
            MsrpOut::Keep(_) => {}
        }
    }
}

impl Host for World {
    type Event = Event;
    const ENDLESS: Invariant = Quiet;

    fn process(&mut self) -> &mut Process {
        &mut self.process[self.turn]
    }

    fn course(&mut self) -> &mut Course<Event> {
        &mut self.course
    }

    fn becomes(&self, due: Due) -> Event {
        Event::Due(self.turn, due)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Stanza(side, link, stanza) => {
                if link == self.link[side] && link % 2 == 1 {
                    self.course.note(&format!("xmpp -> gateway {side} {}", stanza.to_xml()));
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
                    self.course.note(&format!("the link of {side} comes up"));
                    self.link[side] += 1;
                    self.hand(side, Input::Link(LinkId(0), LinkChange::Up));
                }
            }
            Event::Due(side, due) => self.on(side, |world| world.due(due)),
            Event::Act if self.peace => {}
            Event::Act => self.act(),
        }
    }

    fn edges(&self) -> (Tick, u64) {
        (self.course.now + Duration::from_secs(90), 80)
    }

    fn restores_slowly(&self) -> bool {
        !self.peace
    }

    fn alarm(&mut self) -> Option<Tick> {
        let alarms = [0, 1].map(|side| self.process[side].gateway.next_timeout().map(|(at, _)| at));
        self.turn = usize::from(alarms[1].is_some_and(|at| alarms[0].is_none_or(|first| at < first)));
        alarms[self.turn]
    }

    fn tells(&mut self, line: &str) {
        let line = format!("{} {line}", self.turn);
        self.course.note(&line);
    }

    fn leaves(&mut self, output: Output) {
        let side = self.turn;
        match output {
            Output::Sip(out) => {
                self.course.note(&format!("sip of {side} {}", String::from_utf8_lossy(&out.bytes)));
                let connection = self.connection;
                self.sends("sip", side, connection, Event::Sip(1 - side, connection, out.bytes));
            }
            Output::Stanza(_, stanza) => {
                self.course.note(&format!("gateway {side} -> xmpp {}", stanza.to_xml()));
                let link = self.link[side];
                self.sends("to-xmpp", side, link, Event::StanzaReaches(side, link, stanza));
            }
            Output::Msrp(out) => self.msrp_out(out),
            _ => {}
        }
    }

    fn died(&mut self) {
        self.connection += 1;
        for conn in 0..self.wires.len() {
            if std::mem::replace(&mut self.wires[conn], false) {
                self.course.after(20, Event::Lost(1 - self.turn, conn as u64));
            }
        }
        if self.link[self.turn] % 2 == 1 {
            self.link[self.turn] += 1;
        }
    }

    fn risen(&mut self) {
        let wait = 10 + self.course.below(3_000);
        self.course.after(wait, Event::LinkUp(self.turn));
    }
}
