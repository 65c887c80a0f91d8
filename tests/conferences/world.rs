//! The world around one gateway: the streams to it and from it, and what people and faults do by chance.

use std::collections::BTreeSet;
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

use super::clients::Client;
use super::focus::{Focus, PORT, Shows};
use super::support::course::{self, Course};
use super::support::invariants::Broken;
use super::support::invariants::Invariant::Rooms;
use super::support::process::{Death, Due, Host, Process};
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
        /// How often the calendar was set while the process lived.
        set,
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
    LinkFalls,
    Due(Due),
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
    pub course: Course<Event>,
    pub process: Process,
    /// Odd while the link is up.
    pub link: u64,
    /// It often falls again soon after it came up.
    flaps: bool,
    pub wires: Vec<Wire>,
    pub focus: Focus,
    pub clients: Vec<Client>,
    pub peace: bool,
    pub tally: Tally,
    /// Lines that came back to their sender, and those that were said.
    pub returned: BTreeSet<String>,
}

/// Runs one seed to its end and judges it.
pub fn run(seed: u64, deaths: &[(u64, Death)], show: bool) -> Result<Run<Tally>, Broken> {
    of(seed, deaths, show, false)
}

/// The same with a calendar that is wrong from the beginning, and is set now and then.
pub fn run_and_set(seed: u64, deaths: &[(u64, Death)], show: bool) -> Result<Run<Tally>, Broken> {
    of(seed, deaths, show, true)
}

fn of(seed: u64, deaths: &[(u64, Death)], show: bool, is_set: bool) -> Result<Run<Tally>, Broken> {
    let bytes = course::bytes(9, seed);
    let mut config = vector::config();
    let first = config.xmpp.components[0].clone();
    let domain = "conference.example.net".to_owned();
    let rooms = Component { domain: domain.clone(), sip_domain: domain.clone(), rooms: true, ..first };
    config.xmpp.components.push(rooms);
    config.sip.peers[0].may_send_from.push(domain);
    let config = Arc::new(config);
    let mut course = Course::new(bytes, show);
    let people = if seed % 16 == 15 { 15 } else { 1 + course.below(5) };
    let mut world = World {
        course,
        process: Process::new(config, Seed(bytes), [0, 0, 3, 20][(seed / 2 % 4) as usize], deaths),
        link: 0,
        flaps: seed % 5 == 3,
        wires: Vec::new(),
        focus: Focus { shows: Shows::of(seed), ..Focus::default() },
        clients: (0..people).map(Client::new).collect(),
        peace: false,
        tally: Tally::default(),
        returned: BTreeSet::new(),
    };
    world.process.is_set = is_set;
    if is_set {
        world.process.days = [10, -10, 0][(seed % 3) as usize];
    }
    world.play(people);
    let Process { checks, life, commits, .. } = world.process;
    checks.verdict()?;
    (world.tally.crashes, world.tally.commits) = (life, commits);
    Ok(Run { tally: world.tally, checks, trace: world.course.trace() })
}

impl World {
    /// The conference is not the same for all.
    pub fn wrong(&mut self, text: String) {
        self.broken(Rooms, text);
    }

    /// Something is on its way.
    fn sends(&mut self, stream: &'static str, number: u64, event: Event) {
        let delay = self.course.micros(20);
        self.course.in_order(stream, number, delay, event);
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
        self.course.acts = 30 + self.course.below(50);
        self.course.after(100, Event::Act);
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

    fn msrp_out(&mut self, out: MsrpOut) {
        match out {
            MsrpOut::Connect { attempt, hop, .. } => {
                let call =
                    hop.port.and_then(|port| port.checked_sub(PORT)).map(u64::from).unwrap_or(u64::MAX);
                let wait = 1 + self.course.below(50);
                self.course.after(wait, Event::Connects(self.process.life, attempt, call));
            }
            MsrpOut::Send { conn, bytes } => {
                let mut decoder = Decoder::new(1 << 20);
                decoder.push(&bytes);
                while let Some(Ok(frame)) = decoder.next_frame() {
                    self.sends("to-focus", conn.0, Event::ToFocus(conn.0, Box::new(frame)));
                }
                self.apply(Input::Msrp(MsrpIn::Drained { conn, bytes: bytes.len() }));
            }
            MsrpOut::Release(conn) => self.wires[conn.0 as usize].alive = false,
            MsrpOut::Keep(_) => {}
        }
    }

    pub fn sip(&mut self, text: String) {
        let life = self.process.life;
        self.sends("from-sip", life, Event::Sip(life, text.into_bytes().into()));
    }

    pub fn stanza(&mut self, stanza: Stanza) {
        self.sends("from-xmpp", self.link, Event::Stanza(self.link, stanza));
    }

    pub fn frame(&mut self, conn: u64, frame: Frame) {
        self.sends("from-focus", conn, Event::ToGateway(conn, Box::new(frame)));
    }

    /// A connection dies.
    pub fn dies(&mut self, conn: u64) {
        if std::mem::replace(&mut self.wires[conn as usize].alive, false) {
            self.course.note(&format!("connection {conn} dies"));
            let wait = self.course.below(3000);
            self.course.after(wait, Event::Lost(conn));
        }
    }

    fn act(&mut self) {
        self.course.acts = self.course.acts.saturating_sub(1);
        let wait = [200, 500, 1500, 3000, 10_000][self.course.below(5) as usize];
        let next = self.moment(wait);
        self.course.at(next, Event::Act);
        match self.course.below(100) {
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
                    let conn = alive[self.course.below(alive.len() as u64) as usize];
                    self.dies(conn);
                }
            }
            92..95 => self.link_goes(),
            95 => self.focus_forgets(),
            96 => self.crash(),
            97..100 if self.process.is_set => {
                self.tally.set += 1;
                self.process.days = [10, -10, 0][self.course.below(3) as usize];
            }
            _ => {}
        }
    }

    fn link_goes(&mut self) {
        if self.is_linked() {
            self.course.note("the link goes down");
            self.tally.links += 1;
            self.link += 1;
            self.clients.iter_mut().for_each(|client| client.missed = true);
            self.apply(Input::Link(LinkId(1), LinkChange::Down));
            let back = self.moment(30_000);
            self.course.at(back, Event::LinkUp);
        }
    }
}

impl Host for World {
    type Event = Event;

    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn course(&mut self) -> &mut Course<Event> {
        &mut self.course
    }

    fn becomes(&self, due: Due) -> Event {
        Event::Due(due)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Stanza(link, stanza) => {
                if link != self.link {
                    self.is_lost(stanza.from());
                } else if self.is_linked() {
                    self.course.note(&format!("xmpp -> gateway {}", stanza.to_xml()));
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
                self.course.note(&format!("sip -> gateway {}", String::from_utf8_lossy(&bytes)));
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
                    self.course.note(&format!("msrp {conn} -> gateway {frame:?}"));
                    self.given(conn, &frame);
                    let link = Link { conn: ConnId(conn), secure: false };
                    self.apply(Input::Msrp(MsrpIn::Frame { link, frame }));
                }
            }
            Event::ToFocus(conn, frame) => {
                if self.wires[conn as usize].alive {
                    self.course.note(&format!("gateway -> msrp {conn} {frame:?}"));
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
                self.course.note("the link comes up");
                self.link += 1;
                self.apply(Input::Link(LinkId(1), LinkChange::Up));
                if self.flaps && !self.peace {
                    self.course.may_flap(Event::LinkFalls);
                }
            }
            Event::LinkUp => {}
            Event::LinkFalls if self.peace => {}
            Event::LinkFalls => self.link_goes(),
            Event::Due(due) => self.due(due),
            Event::FocusWaits(call) => self.focus_waits(call),
            Event::Act if self.peace => {}
            Event::Act => self.act(),
        }
    }

    fn edges(&self) -> (Tick, u64) {
        (self.course.now + Duration::from_secs(40), 60)
    }

    fn restores_slowly(&self) -> bool {
        !self.peace
    }

    fn leaves(&mut self, output: Output) {
        match output {
            Output::Sip(out) => {
                self.course.note(&format!("gateway -> sip {}", String::from_utf8_lossy(&out.bytes)));
                let life = self.process.life;
                self.sends("to-sip", life, Event::SipReaches(life, out.bytes));
            }
            Output::Stanza(LinkId(1), stanza) => {
                self.course.note(&format!("gateway -> xmpp {}", stanza.to_xml()));
                if self.is_linked() {
                    self.sends("to-xmpp", self.link, Event::StanzaReaches(self.link, stanza));
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
        let now = self.course.now;
        let unwritten = |client: &&mut Client| now < client.asked + Duration::from_millis(100);
        self.clients.iter_mut().filter(unwritten).for_each(|client| client.lost = true);
        self.wires.iter_mut().for_each(|wire| wire.alive = false);
    }

    fn risen(&mut self) {
        self.apply(Input::Link(LinkId(0), LinkChange::Up));
        let wait = self.course.below(3000);
        self.course.after(wait, Event::LinkUp);
    }
}
