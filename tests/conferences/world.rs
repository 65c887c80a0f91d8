//! The world around one gateway: a clock, a queue, streams that keep their order, and what people and faults do by chance.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mostar::config::Component;
use mostar::gateway::{Input, LinkChange, LinkId, Output};
use mostar::msrp::frame::Frame;
use mostar::msrp::frame::decoder::Decoder;
use mostar::msrp::{AttemptId, ConnId, Link, MsrpIn, MsrpOut};
use mostar::sip::flow::{self, Flow, Transport};
use mostar::sip::framing;
use mostar::words::id::Seed;
use mostar::words::time::Tick;
use mostar::xmpp::stanza::Stanza;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::clients::Client;
use super::focus::{Focus, PORT};
use super::support::invariants::Broken;
use super::support::invariants::Invariant::{self, Rest, Rooms};
use super::support::process::{Death, Host, Process};
use super::support::seeds::Run;
use super::support::vector;

pub const ROOM: &str = "mantua@conference.example.net";

crate::tally! {
    /// What has happened, so that nobody believes in a conference where nothing does.
    Tally {
        entered,
        refused,
        said,
        heard,
        own,
        returned,
        renamed,
        expelled,
        documents,
        cut,
        links,
        forgotten,
        in_at_rest,
    }
}

/// Something that will happen.
#[derive(Debug)]
pub enum Event {
    Stanza(u64, Stanza),
    StanzaReaches(u64, Stanza),
    Sip(u64, Bytes),
    SipReaches(u64, Bytes),
    ToGateway(u64, Box<Frame>),
    ToFocus(u64, Box<Frame>),
    Connects(u64, AttemptId, u64),
    Lost(u64),
    LinkUp,
    Written(u64),
    /// More records come back in that life.
    Restores(u64),
    /// A member has had its time to send ACK.
    FocusWaits(usize),
    Act,
}

/// A connection for one member.
#[derive(Debug)]
pub struct Wire {
    pub call: usize,
    pub alive: bool,
}

/// See the module.
pub struct World {
    pub rng: ChaCha8Rng,
    pub process: Process,
    pub now: Tick,
    queue: BTreeMap<(Tick, u64), Event>,
    sequence: u64,
    /// Odd while the link is up.
    pub link: u64,
    last: BTreeMap<(&'static str, u64), Tick>,
    pub wires: Vec<Wire>,
    pub focus: Focus,
    pub clients: Vec<Client>,
    pub peace: bool,
    pub counter: u64,
    pub tally: Tally,
    /// Lines that came back to their sender, and those that were said.
    pub returned: BTreeSet<String>,
    acts: u64,
    trace: DefaultHasher,
    show: bool,
}

/// Runs one seed to its end and judges it.
pub fn run(seed: u64, deaths: &[(u64, Death)], show: bool) -> Result<Run<Tally>, Broken> {
    let mut bytes = [9; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut config = vector::config();
    let first = config.xmpp.components[0].clone();
    let domain = "conference.example.net".to_owned();
    let rooms = Component { domain: domain.clone(), sip_domain: domain.clone(), rooms: true, ..first };
    config.xmpp.components.push(rooms);
    config.sip.peers[0].may_send_from.push(domain);
    let config = Arc::new(config);
    let mut rng = ChaCha8Rng::from_seed(bytes);
    let people = if seed % 16 == 15 { 15 } else { 1 + rng.next_u64() % 5 };
    let mut world = World {
        rng,
        process: Process::new(config, Seed(bytes), [0, 0, 3, 20][(seed / 2 % 4) as usize], deaths),
        now: Tick(1),
        queue: BTreeMap::new(),
        sequence: 0,
        link: 0,
        last: BTreeMap::new(),
        wires: Vec::new(),
        focus: Focus::default(),
        clients: (0..people).map(Client::new).collect(),
        peace: false,
        counter: 0,
        tally: Tally::default(),
        returned: BTreeSet::new(),
        acts: 0,
        trace: DefaultHasher::new(),
        show,
    };
    world.play(people);
    let Process { checks, life, commits, .. } = world.process;
    checks.verdict()?;
    (world.tally.crashes, world.tally.commits) = (life, commits);
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

    pub fn at(&mut self, when: Tick, event: Event) {
        self.sequence += 1;
        self.queue.insert((when.max(self.now), self.sequence), event);
    }

    pub fn after(&mut self, millis: u64, event: Event) {
        self.at(self.now + Duration::from_millis(millis), event);
    }

    /// When something sent now on a stream arrives: never before what was sent earlier.
    fn in_order(&mut self, stream: &'static str, number: u64) -> Tick {
        let at = self.now + Duration::from_micros(self.below(20_000));
        let last = self.last.entry((stream, number)).or_default();
        *last = at.max(*last);
        *last
    }

    pub fn note(&mut self, line: &str) {
        self.trace.write_u64(self.now.0);
        self.trace.write(line.as_bytes());
        if self.show {
            println!("{:>12.6} {}", self.now.0 as f64 / 1e6, line.replace("\r\n", "\n              "));
        }
    }

    /// The conference is not the same for all.
    pub fn wrong(&mut self, text: String) {
        self.broken(Rooms, text);
    }

    pub fn broken(&mut self, invariant: Invariant, text: String) {
        self.note(&format!("WRONG: {text}"));
        let text = format!("{:.3}: {text}", self.now.0 as f64 / 1e6);
        self.process.checks.broken(invariant, text);
    }

    pub fn is_linked(&self) -> bool {
        self.link % 2 == 1
    }

    fn play(&mut self, people: u64) {
        for number in 0..people {
            self.focus.natives.insert(format!("romeo{number}@example.net"), format!("Romeo{number}"));
        }
        self.apply(Input::RestoreDone);
        self.apply(Input::Link(LinkId(0), LinkChange::Up));
        self.happen(Event::LinkUp);
        self.acts = 30 + self.below(50);
        self.after(100, Event::Act);
        self.run(None);
        self.peace = true;
        self.happen(Event::LinkUp);
        self.pass(Duration::from_secs(300));
        self.focus_speaks();
        self.pass(Duration::from_secs(60));
        self.judge_rest();
        self.everybody_leaves();
        self.pass(Duration::from_secs(300));
        self.judge_end();
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        self.run(Some(until));
        self.now = until;
    }

    fn run(&mut self, until: Option<Tick>) {
        for _ in 0..400_000 {
            let failed = self.process.checks.first().is_some();
            if failed && !self.show || until.is_none() && self.acts == 0 {
                return;
            }
            let alarm = self.process.gateway.next_timeout().map(|(at, _)| at.max(self.now));
            let event = self.queue.first_key_value().map(|((at, _), _)| *at);
            let next = alarm.into_iter().chain(event).min();
            let Some(at) = next.filter(|at| until.is_none_or(|until| *at <= until)) else { return };
            self.now = at.max(self.now);
            if alarm == Some(at) {
                self.apply(Input::Timeout);
            } else if let Some((_, event)) = self.queue.pop_first() {
                self.happen(event);
            }
        }
        let what = format!("an alarm rings for ever: {:?}", self.process.gateway.next_timeout());
        self.broken(Rest, what);
    }

    fn msrp_out(&mut self, out: MsrpOut) {
        match out {
            MsrpOut::Connect { attempt, hop, .. } => {
                let call =
                    hop.port.and_then(|port| port.checked_sub(PORT)).map(u64::from).unwrap_or(u64::MAX);
                let wait = 1 + self.below(50);
                self.after(wait, Event::Connects(self.process.life, attempt, call));
            }
            MsrpOut::Send { conn, bytes } => {
                let mut decoder = Decoder::new(1 << 20);
                decoder.push(&bytes);
                while let Some(Ok(frame)) = decoder.next_frame() {
                    let at = self.in_order("to-focus", conn.0);
                    self.at(at, Event::ToFocus(conn.0, Box::new(frame)));
                }
                self.apply(Input::Msrp(MsrpIn::Drained { conn, bytes: bytes.len() }));
            }
            MsrpOut::Release(conn) => self.wires[conn.0 as usize].alive = false,
            MsrpOut::Keep(_) => {}
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Stanza(link, stanza) => {
                if link != self.link {
                    self.is_lost(stanza.from());
                } else if self.is_linked() {
                    self.note(&format!("xmpp -> gateway {}", stanza.to_xml()));
                    self.apply(Input::Stanza(LinkId(1), stanza));
                }
            }
            Event::StanzaReaches(link, stanza) => {
                if link != self.link {
                    self.is_lost(stanza.to());
                } else if self.is_linked() {
                    self.client_hears(&stanza);
                }
            }
            Event::Sip(life, bytes) if life == self.process.life => {
                self.note(&format!("sip -> gateway {}", String::from_utf8_lossy(&bytes)));
                let flow = Flow {
                    transport: Transport::Tcp,
                    local: "192.0.2.9:5060".parse().unwrap(),
                    remote: "192.0.2.1:5060".parse().unwrap(),
                    conn: Some(flow::ConnId(life + 1)),
                };
                match framing::datagram(bytes) {
                    Ok(message) => self.apply(Input::Sip(flow, Box::new(message))),
                    Err(bad) => self.wrong(format!("the focus wrote no SIP: {bad:?}")),
                }
            }
            Event::Sip(..) => {}
            Event::SipReaches(life, bytes) => {
                if life == self.process.life {
                    self.focus_hears(&String::from_utf8_lossy(&bytes));
                }
            }
            Event::ToGateway(conn, frame) => {
                if self.wires[conn as usize].alive {
                    self.note(&format!("msrp {conn} -> gateway {frame:?}"));
                    self.given(conn, &frame);
                    let link = Link { conn: ConnId(conn), secure: false };
                    self.apply(Input::Msrp(MsrpIn::Frame { link, frame }));
                }
            }
            Event::ToFocus(conn, frame) => {
                if self.wires[conn as usize].alive {
                    self.note(&format!("gateway -> msrp {conn} {frame:?}"));
                    self.member_says(conn, &frame);
                }
            }
            Event::Connects(life, attempt, call) if life == self.process.life => {
                let told = match self.focus.calls.get_mut(call as usize) {
                    Some(member) if member.up => {
                        let conn = self.wires.len() as u64;
                        member.conn = Some(conn);
                        self.wires.push(Wire { call: call as usize, alive: true });
                        MsrpIn::Connected { attempt, link: Link { conn: ConnId(conn), secure: false } }
                    }
                    _ => MsrpIn::NotConnected { attempt, why: "refused".into() },
                };
                self.apply(Input::Msrp(told));
            }
            Event::Connects(..) => {}
            Event::Lost(conn) => {
                self.apply(Input::Msrp(MsrpIn::Lost { conn: ConnId(conn), why: "reset".into() }));
            }
            Event::LinkUp if !self.is_linked() => {
                self.note("the link comes up");
                self.link += 1;
                self.apply(Input::Link(LinkId(1), LinkChange::Up));
            }
            Event::LinkUp => {}
            Event::Written(life) => self.written(life),
            Event::Restores(life) => self.restores(life),
            Event::FocusWaits(call) => self.focus_waits(call),
            Event::Act if self.peace => {}
            Event::Act => self.act(),
        }
    }

    pub fn sip(&mut self, text: String) {
        let life = self.process.life;
        let at = self.in_order("from-sip", life);
        self.at(at, Event::Sip(life, text.into_bytes().into()));
    }

    pub fn stanza(&mut self, stanza: Stanza) {
        let (link, at) = (self.link, self.in_order("from-xmpp", self.link));
        self.at(at, Event::Stanza(link, stanza));
    }

    pub fn frame(&mut self, conn: u64, frame: Frame) {
        let at = self.in_order("from-focus", conn);
        self.at(at, Event::ToGateway(conn, Box::new(frame)));
    }

    /// A connection dies.
    pub fn dies(&mut self, conn: u64) {
        if std::mem::replace(&mut self.wires[conn as usize].alive, false) {
            self.note(&format!("connection {conn} dies"));
            let wait = self.below(3000);
            self.after(wait, Event::Lost(conn));
        }
    }

    fn act(&mut self) {
        self.acts = self.acts.saturating_sub(1);
        let wait = [200, 500, 1500, 3000, 10_000][self.below(5) as usize];
        let next = self.moment(wait);
        self.at(next, Event::Act);
        match self.below(100) {
            0..30 => self.client_talks(),
            30..48 => self.client_enters(),
            48..66 => self.focus_speaks(),
            66..70 => self.client_leaves(),
            70..76 => self.client_takes_a_nick(),
            76..84 => self.native_comes_or_goes(),
            84..88 => self.focus_expels(),
            88..92 => {
                let alive: Vec<u64> =
                    (0..self.wires.len() as u64).filter(|conn| self.wires[*conn as usize].alive).collect();
                if !alive.is_empty() {
                    self.tally.cut += 1;
                    let conn = alive[self.below(alive.len() as u64) as usize];
                    self.dies(conn);
                }
            }
            92..95 => self.link_goes(),
            95 => self.focus_forgets(),
            96 => self.crash(),
            _ => {}
        }
    }

    fn link_goes(&mut self) {
        if self.is_linked() {
            self.note("the link goes down");
            self.tally.links += 1;
            self.link += 1;
            self.clients.iter_mut().for_each(|client| client.missed = true);
            self.apply(Input::Link(LinkId(1), LinkChange::Down));
            let back = self.moment(30_000);
            self.at(back, Event::LinkUp);
        }
    }

    /// A moment for what comes next: half of them next to a timer's edge.
    fn moment(&mut self, spread: u64) -> Tick {
        let near = self.now + Duration::from_secs(40);
        let edge = self.process.gateway.next_timeout().filter(|(at, _)| *at < near);
        let edge = edge.filter(|_| self.chance(60));
        self.process.checks.drawn(edge.is_some());
        match edge {
            Some((at, _)) => {
                let jitter = self.below(4_000);
                Tick((at.0 + jitter).saturating_sub(2_000)).max(self.now)
            }
            None => self.now + Duration::from_millis(self.below(spread)),
        }
    }
}

impl Host for World {
    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn clock(&self) -> Tick {
        self.now
    }

    fn draw(&mut self, limit: u64) -> u64 {
        self.below(limit)
    }

    fn tells(&mut self, line: &str) {
        self.note(line);
    }

    fn writes_in(&mut self, millis: u64, life: u64) {
        self.after(millis, Event::Written(life));
    }

    fn restores_in(&mut self, millis: u64, life: u64) -> bool {
        let may = !self.peace;
        if may {
            self.after(millis, Event::Restores(life));
        }
        may
    }

    fn leaves(&mut self, output: Output) {
        match output {
            Output::Sip(out) => {
                self.note(&format!("gateway -> sip {}", String::from_utf8_lossy(&out.bytes)));
                let life = self.process.life;
                let at = self.in_order("to-sip", life);
                self.at(at, Event::SipReaches(life, out.bytes));
            }
            Output::Stanza(LinkId(1), stanza) => {
                self.note(&format!("gateway -> xmpp {}", stanza.to_xml()));
                if self.is_linked() {
                    let (link, at) = (self.link, self.in_order("to-xmpp", self.link));
                    self.at(at, Event::StanzaReaches(link, stanza));
                } else {
                    self.is_lost(stanza.to());
                }
            }
            Output::Msrp(out) => self.msrp_out(out),
            _ => {}
        }
    }

    fn died(&mut self) {
        if self.is_linked() {
            self.link += 1;
        }
        self.clients.iter_mut().for_each(|client| client.missed = true);
        // What the disk had not written when the process died was never taken.
        let now = self.now;
        let unwritten = |client: &&mut Client| now < client.asked + Duration::from_millis(100);
        self.clients.iter_mut().filter(unwritten).for_each(|client| client.lost = true);
        self.wires.iter_mut().for_each(|wire| wire.alive = false);
    }

    fn risen(&mut self) {
        self.apply(Input::Link(LinkId(0), LinkChange::Up));
        let wait = self.below(3000);
        self.after(wait, Event::LinkUp);
    }
}
