//! The world around one gateway: the streams to it and from it, and what people and faults do by chance.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mostar::config::XmppDomain;
use mostar::gateway::{Input, LinkChange, LinkId, Output};
use mostar::msrp::AttemptId;
use mostar::msrp::frame::Frame;
use mostar::msrp::uri::Hop;
use mostar::sip::flow::{ConnId, Flow, Transport};
use mostar::sip::framing;
use mostar::words::id::Seed;
use mostar::words::time::Tick;
use mostar::xmpp::stanza::Stanza;

use super::judge::{Line, Tally};
use super::muc::Room;
use super::phone::Call;
use super::support::course::{self, Course};
use super::support::invariants::Broken;
use super::support::invariants::Invariant::{self, *};
use super::support::process::{Death, Due, Host, Process};
use super::support::seeds::Run;
use super::support::vector;
use super::watch::Sub;
use super::wire::Wire;

/// Something that will happen.
#[derive(Debug)]
pub enum Event {
    /// A stanza reaches the gateway, sent in that life of the link; with what a SIP user shall hear of it.
    Stanza(u64, Stanza, Option<Given>),
    /// A stanza of the gateway's reaches the server.
    StanzaReaches(u64, Stanza),
    /// A SIP message reaches the gateway, or the SIP side, over the connection of that number.
    Sip(u64, Bytes),
    SipReaches(u64, Bytes),
    /// The same for MSRP; the last: so many bytes have left for the phone with it.
    ToGateway(u64, Box<Frame>),
    ToPhone(u64, Box<Frame>, usize),
    Connects(u64, AttemptId, Hop),
    /// A connection is gone, as the gateway hears; as the phone does; the gateway lets go of it.
    Lost(u64),
    Hears(u64),
    Closes(u64),
    LinkUp,
    LinkFalls,
    Stopped(u64),
    StoreOk,
    Due(Due),
    /// People and faults do something.
    Act,
    /// A phone answers what rings, says nothing more, gives up waiting.
    Picks(usize),
    GivesUp(usize),
    /// A watcher answers a NOTIFY.
    Answers(u64, String),
    /// Somebody who was asked in comes.
    Comes(u8, usize),
}

/// What a room has told a SIP user, when that reached the gateway.
#[derive(Clone, Debug)]
pub struct Given {
    pub text: String,
    /// Its place in what was said in the room; none for what is said to one alone.
    pub order: Option<u64>,
    /// It must be heard.
    pub needed: bool,
    /// It must not be heard: it is one's own.
    pub own: bool,
}

/// See the module.
pub struct World {
    pub course: Course<Event>,
    pub process: Process,
    /// Odd while the link is up: which life of the link this is.
    pub link: u64,
    /// It often falls again soon after it came up.
    flaps: bool,
    /// Which SIP connection this is.
    pub connection: u64,
    pub rooms: Vec<Room>,
    /// The server notices that it cannot deliver; else what it says is lost.
    pub bounces: bool,
    pub natives: u8,
    pub phones: u8,
    pub calls: Vec<Call>,
    pub wires: Vec<Wire>,
    pub subs: Vec<Sub>,
    /// Who could not be reached, and in which room.
    pub bounced: Vec<(usize, String)>,
    /// Who has had which nick.
    pub named: BTreeSet<(String, String)>,
    /// All that was said by SIP users, by its text.
    pub lines: BTreeMap<String, Line>,
    /// The call that the input is about.
    pub cause: Option<usize>,
    /// No more faults, and nobody does anything.
    pub peace: bool,
    pub tally: Tally,
}

/// Runs one seed to its end and judges it. The process dies at these commits.
pub fn run(seed: u64, deaths: &[(u64, Death)], show: bool) -> Result<Run<Tally>, Broken> {
    let bytes = course::bytes(0, seed);
    let mut config = vector::config();
    let rooms = "rooms.example.com".to_owned();
    config.xmpp.domains.push(XmppDomain { domain: rooms.clone(), sip_alias: rooms, rooms: true });
    let config = Arc::new(config);
    let mut course = Course::new(bytes, show);
    // Most rooms are small; one in sixteen has thirty people.
    let (phones, natives) = match seed % 16 {
        15 => (15, 15),
        7 => (8, 8),
        _ => (2 + course.below(4) as u8, 1 + course.below(4) as u8),
    };
    let mut world = World {
        course,
        process: Process::new(config, Seed(bytes), [0, 0, 3, 20][(seed / 2 % 4) as usize], deaths),
        link: 0,
        flaps: seed % 5 == 3,
        connection: 1,
        rooms: vec![Room::new("verona"), Room::new("mantua")],
        bounces: seed % 3 == 1,
        natives,
        phones,
        calls: Vec::new(),
        wires: Vec::new(),
        subs: Vec::new(),
        bounced: Vec::new(),
        named: BTreeSet::new(),
        lines: BTreeMap::new(),
        cause: None,
        peace: false,
        tally: Tally::default(),
    };
    world.play();
    let Process { checks, life, commits, .. } = world.process;
    checks.verdict()?;
    (world.tally.crashes, world.tally.commits) = (life, commits);
    Ok(Run { tally: world.tally, checks, trace: world.course.trace() })
}

impl World {
    /// The room is not the same for all.
    pub fn wrong(&mut self, text: String) {
        self.broken(Rooms, text);
    }

    pub fn hold(&mut self, invariant: Invariant, holds: bool, text: impl FnOnce() -> String) {
        if holds {
            self.process.checks.held(invariant);
        } else {
            self.broken(invariant, text());
        }
    }

    /// Something is on its way.
    pub fn sends(&mut self, stream: &'static str, number: u64, event: Event) {
        let delay = self.course.micros(20);
        self.course.in_order(stream, number, delay, event);
    }

    pub fn is_linked(&self) -> bool {
        self.link % 2 == 1
    }

    fn play(&mut self) {
        self.apply(Input::RestoreDone);
        self.happen(Event::LinkUp);
        for native in 0..self.natives {
            let room = usize::from(self.course.chance(15));
            self.native_comes(native, room);
        }
        for _ in 0..self.phones {
            self.dial_in();
        }
        self.course.acts = 30 + self.course.below(50);
        self.course.after(500, Event::Act);
        self.run(None);
        self.peace = true;
        if !self.is_linked() {
            self.happen(Event::LinkUp);
        }
        self.happen(Event::StoreOk);
        // The rooms are silent for longer than anybody believes them to be.
        self.pass(Duration::from_secs(45 * 60));
        self.subscribe_all();
        self.last_words();
        self.pass(Duration::from_secs(120));
        self.judge_rest();
        self.everybody_leaves();
        self.pass(Duration::from_secs(700));
        self.judge_end();
    }

    fn sip_arrives(&mut self, bytes: Bytes) {
        self.course.note(&format!("sip -> gateway {}", String::from_utf8_lossy(&bytes)));
        let flow = Flow {
            transport: Transport::Tcp,
            local: "192.0.2.9:5060".parse().unwrap(),
            remote: "192.0.2.1:5060".parse().unwrap(),
            conn: Some(ConnId(self.connection)),
        };
        self.cause = self.call_of(&String::from_utf8_lossy(&bytes));
        if let Some(call) = self.cause.filter(|_| bytes.starts_with(b"BYE ")) {
            self.calls[call].leaves = false;
        }
        match framing::datagram(bytes) {
            Ok(message) => self.apply(Input::Sip(flow, Box::new(message))),
            Err(bad) => self.wrong(format!("a phone wrote no SIP: {bad:?}")),
        }
        self.cause = None;
    }

    /// A SIP message goes to the gateway.
    pub fn sip(&mut self, text: String) {
        let connection = self.connection;
        self.sends("from-sip", connection, Event::Sip(connection, text.into_bytes().into()));
    }

    /// A stanza goes to the gateway.
    pub fn stanza(&mut self, stanza: Stanza, given: Option<Given>) {
        self.sends("from-xmpp", self.link, Event::Stanza(self.link, stanza, given));
    }

    pub fn link_down(&mut self) {
        if self.is_linked() {
            self.course.note("the link goes down");
            self.tally.links += 1;
            self.link += 1;
            self.apply(Input::Link(LinkId(0), LinkChange::Down));
            let back = self.moment(40_000);
            self.course.at(back, Event::LinkUp);
        }
    }

    fn act(&mut self) {
        if self.peace {
            return;
        }
        self.course.acts = self.course.acts.saturating_sub(1);
        let wait = [300, 300, 1500, 1500, 3000, 20_000][self.course.below(6) as usize];
        let next = self.moment(wait);
        self.course.at(next, Event::Act);
        match self.course.below(100) {
            0..26 => self.somebody_talks(),
            26..46 => self.native_talks(),
            46..56 => self.dial_in(),
            56..59 => self.somebody_hangs_up(),
            59..64 => self.somebody_takes_a_nick(),
            64..69 => self.somebody_watches(),
            69..73 => self.native_moves(),
            73..77 => self.native_whispers(),
            77..80 => self.somebody_is_put_out(),
            80..83 => self.native_asks_in(),
            83..86 => self.somebody_refers(),
            86..89 => self.somebody_holds(),
            89..91 => self.subject_changes(),
            91..93 => self.break_a_wire(),
            93..95 => self.link_down(),
            95 => self.server_forgets(),
            96 => self.crash(),
            97 => self.role_changes(),
            98 => self.stop_or_full_disk(),
            _ => self.room_is_destroyed(),
        }
    }

    fn stop_or_full_disk(&mut self) {
        if self.course.chance(60) {
            self.store_changes(true);
            self.course.after(4_000, Event::StoreOk);
        } else {
            self.course.note("the process is asked to stop");
            let life = self.process.life;
            self.course.after(60_000, Event::Stopped(life));
            self.apply(Input::Stop);
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
            Event::Stanza(life, stanza, given) if life == self.link && self.is_linked() => {
                self.course.note(&format!("xmpp -> gateway {}", stanza.to_xml()));
                if let (Some(given), Some(to)) = (given, stanza.to()) {
                    self.given(to.as_str(), given);
                }
                self.apply(Input::Stanza(LinkId(0), stanza));
            }
            Event::Stanza(..) => {}
            Event::StanzaReaches(life, stanza) => {
                if life == self.link && self.is_linked() {
                    self.server_hears(&stanza);
                }
            }
            Event::Sip(connection, bytes) => {
                if connection == self.connection {
                    self.sip_arrives(bytes);
                }
            }
            Event::SipReaches(connection, bytes) => {
                if connection == self.connection {
                    self.phone_hears(&String::from_utf8_lossy(&bytes));
                }
            }
            Event::ToGateway(conn, frame) => self.gateway_reads(conn, frame),
            Event::ToPhone(conn, frame, drained) => self.phone_reads(conn, &frame, drained),
            Event::Connects(life, attempt, hop) => self.connects(life, attempt, &hop),
            Event::Lost(conn) => self.lost(conn),
            Event::Hears(conn) => self.hears(conn),
            Event::Closes(conn) => self.closes(conn),
            Event::LinkUp if !self.is_linked() => {
                self.course.note("the link comes up");
                self.link += 1;
                self.apply(Input::Link(LinkId(0), LinkChange::Up));
                if self.flaps && !self.peace {
                    self.course.may_flap(Event::LinkFalls);
                }
            }
            Event::LinkUp => {}
            Event::LinkFalls if self.peace => {}
            Event::LinkFalls => self.link_down(),
            Event::Stopped(life) if life == self.process.life => self.crash(),
            Event::Stopped(_) => {}
            Event::StoreOk => self.store_changes(false),
            Event::Due(due) => self.due(due),
            Event::Act => self.act(),
            Event::Picks(call) => self.picks(call),
            Event::GivesUp(call) => self.gives_up(call),
            Event::Answers(connection, text) => {
                if connection == self.connection {
                    self.sip(text);
                }
            }
            Event::Comes(native, room) => self.native_comes(native, room),
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
                let connection = self.connection;
                self.sends("to-sip", connection, Event::SipReaches(connection, out.bytes));
            }
            Output::Stanza(_, stanza) => {
                self.course.note(&format!("gateway -> xmpp {}", stanza.to_xml()));
                if self.is_linked() {
                    self.sends("to-xmpp", self.link, Event::StanzaReaches(self.link, stanza));
                }
            }
            Output::Msrp(out) => self.msrp_out(out),
            Output::Stopped => {
                let life = self.process.life;
                self.course.after(100, Event::Stopped(life));
            }
            _ => {}
        }
    }

    fn made(&mut self, output: &Output) {
        self.is_made(output);
    }

    fn died(&mut self) {
        self.connection += 1;
        if self.is_linked() {
            self.link += 1;
        }
        self.wires_die();
        self.calls_are_doubted();
    }

    fn risen(&mut self) {
        let wait = 10 + self.course.below(3_000);
        self.course.after(wait, Event::LinkUp);
    }
}
