//! The world around one gateway: a network that loses things, an XMPP server and SIP users.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mostar::config::Config;
use mostar::features::sessions::PeerMsrp;
use mostar::gateway::{Input, LinkChange, LinkId, Output};
use mostar::msrp::AttemptId;
use mostar::msrp::frame::{Frame, Request};
use mostar::msrp::uri::Hop;
use mostar::sip::flow::{ConnId, Flow, SendId, SipOut, Transport};
use mostar::sip::framing;
use mostar::store::record::Key;
use mostar::words::id::Seed;
use mostar::words::time::Tick;
use mostar::xmpp::stanza::{Stanza, StanzaKind};

use super::juliet::{juliet_jid, romeo_jid};
use super::ledger::{Ledger, Totals};
use super::phone::{Asking, Call, Change};
use super::support::course::{self, Course};
use super::support::invariants::Broken;
use super::support::invariants::Invariant::{Fate, Rest};
use super::support::process::{Death, Due, Host, Process};
use super::support::seeds::Run;
use super::support::vector;
use super::talk::Letter;
use super::wire::Wire;

/// Something that will happen.
#[derive(Debug)]
pub enum Event {
    /// Something is to happen about now.
    About(Box<Event>),
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
    /// The process is asked to stop, and is started again.
    Stop,
    Stopped(u64),
    Connection,
    StoreDown,
    StoreOk,
    /// Juliet number n writes to Romeo number m.
    JulietWrites(u8, u8),
    /// Juliet number n takes back what she wrote to Romeo number m, her message of that number.
    Retracts(u8, u8, u64),
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
    /// A Juliet's client says something about her attention.
    Types(u8, u8),
    Due(Due),
    /// A phone asks again, or gives up; so long after it asked first.
    Asks(String, u64),
    /// A phone's final answer to an INVITE has no ACK yet.
    Repeats(usize, u64),
    Calls(u8, u8),
    Cancels(usize),
    Picks(String, usize),
    Hangs(usize),
    Changes(usize, Change),
    Dials(usize),
    Speaks(usize),
    Reports(usize, u64, Box<Request>),
    Resends(usize),
    Torn(usize, usize, u64),
    Judges(String, Vec<String>),
    Connects(u64, AttemptId, Hop),
    ToGateway(u64, Box<Frame>),
    ToPhone(u64, Box<Frame>, usize),
    /// A connection is gone, as the gateway hears; and as the phone does.
    Lost(u64),
    Hears(u64),
    Closes(u64),
    Unkept(u64),
    Leaves(u64),
}

/// How a Romeo treats what reaches him.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temper {
    Answers,
    Slow,
    Silent,
    Status(u16),
}

pub const PEOPLE: u8 = 3;
/// When the faults end and the world only has to come to rest.
pub const PEACE: Tick = Tick(240_000_000);
/// Records of messages that are on their way to SIP, and of what their senders are to be told. What is on its way to XMPP
/// has the same kind as answers that are remembered for some minutes.
const MESSAGES: [&str; 2] = ["post/", "late/"];
/// When everything must be over.
const END: Tick = Tick(1_500_000_000);

/// See the module.
pub struct World {
    pub course: Course<Event>,
    pub config: Arc<Config>,
    pub udp: bool,
    pub process: Process,
    /// Odd while the link is up: which life of the link this is.
    pub link: u64,
    /// It often falls again soon after it came up.
    flaps: bool,
    /// Which TCP connection this is.
    pub connection: u64,
    loss: u64,
    /// How many of a hundred MSRP connections die.
    pub cuts: u64,
    /// The admin says that everybody speaks MSRP.
    pub all_msrp: bool,
    /// Phones say so when they are asked.
    pub shows: bool,
    pub tempers: Vec<Temper>,
    pub julietes: Vec<bool>,
    pub accepted: BTreeMap<(String, String, String), u16>,
    pub pending: BTreeMap<String, (Bytes, String)>,
    pub watches: BTreeSet<(String, String)>,
    pub calls: Vec<Call>,
    /// INVITEs that ring, by branch and call.
    pub ringing: BTreeMap<(String, usize), String>,
    /// What phones answered, by branch and method.
    pub served: BTreeMap<(String, String), Bytes>,
    /// What phones asked, by branch.
    pub asking: BTreeMap<String, Asking>,
    pub acks: BTreeMap<String, Bytes>,
    pub wires: Vec<Wire>,
    pub letters: Vec<Letter>,
    /// Which piece of which letter a transaction carries, in which call.
    pub spoken: BTreeMap<String, (usize, usize, usize)>,
    pub greetings: BTreeMap<String, usize>,
    /// Lines of which a phone's last 200 is on its way.
    pub confirming: BTreeMap<String, (String, usize)>,
    pub ledger: Ledger,
}

/// Runs one seed to its end and judges it. The process dies at these commits.
pub fn run(seed: u64, deaths: &[(u64, Death)], show: bool) -> Result<Run<Totals>, Broken> {
    of(seed, deaths, show, false)
}

/// The same with a calendar that is set whenever the process is dead.
pub fn run_and_set(seed: u64, deaths: &[(u64, Death)], show: bool) -> Result<Run<Totals>, Broken> {
    of(seed, deaths, show, true)
}

fn of(seed: u64, deaths: &[(u64, Death)], show: bool, is_set: bool) -> Result<Run<Totals>, Broken> {
    let bytes = course::bytes(0, seed);
    let mut config = vector::config();
    let udp = seed.is_multiple_of(3);
    if udp {
        config.sip.peers[0].transport = Some(Transport::Udp);
    }
    let all_msrp = seed % 7 == 1;
    if all_msrp {
        config.sip.peers[0].msrp = PeerMsrp::Yes;
    }
    if seed % 4 == 2 {
        // Messages for who is away are kept: beyond the end of all faults, or not so long. Over each start for as long
        // again, where the calendar is set back, so what is kept for a moment cannot be judged then.
        let seconds = if is_set { 86_400 } else { [86_400, 100][(seed / 4 % 2) as usize] };
        config.messages.hold = Duration::from_secs(seconds);
    }
    let config = Arc::new(config);
    let mut world = World {
        course: Course::new(bytes, show),
        process: Process::new(config.clone(), Seed(bytes), [0, 0, 3, 20][(seed / 2 % 4) as usize], deaths),
        config,
        udp,
        link: 0,
        flaps: seed % 11 > 7,
        connection: 1,
        loss: if seed % 4 == 1 { 0 } else { seed % 20 },
        cuts: [0, 30, 60][(seed / 3 % 3) as usize],
        all_msrp,
        shows: seed % 5 < 3,
        tempers: vec![Temper::Answers; PEOPLE as usize],
        julietes: vec![true; PEOPLE as usize],
        accepted: BTreeMap::new(),
        pending: BTreeMap::new(),
        watches: BTreeSet::new(),
        calls: Vec::new(),
        ringing: BTreeMap::new(),
        served: BTreeMap::new(),
        asking: BTreeMap::new(),
        acks: BTreeMap::new(),
        wires: Vec::new(),
        letters: Vec::new(),
        spoken: BTreeMap::new(),
        greetings: BTreeMap::new(),
        confirming: BTreeMap::new(),
        ledger: Ledger::default(),
    };
    world.process.is_set = is_set;
    world.plan(seed);
    world.run(Some(END));
    world.rest();
    world.process.checks.verdict()?;
    world.ledger.judge()?;
    let (mut tally, mut checks) = (world.ledger.totals, world.process.checks);
    checks.join(&world.ledger.checks);
    (tally.crashes, tally.commits) = (world.process.life, world.process.commits);
    tally.slow_starts = world.process.slow_starts;
    Ok(Run { tally, checks, trace: world.course.trace() })
}

impl World {
    /// Something is to happen then, or next to the first edge of a timer that there is then.
    fn about(&mut self, when: Tick, event: Event) {
        self.course.at(when, Event::About(Box::new(event)));
    }

    fn plan(&mut self, seed: u64) {
        self.apply(Input::RestoreDone);
        self.course.after(0, Event::LinkUp);
        let people = u64::from(PEOPLE);
        for _ in 0..4 + self.course.below(8) {
            let (one, other) = (self.course.below(people) as u8, self.course.below(people) as u8);
            let when = Tick(self.course.below(120_000_000));
            let event = if self.course.chance(50) {
                Event::JulietWrites(one, other)
            } else {
                Event::RomeoWrites(one, other)
            };
            self.about(when, event);
        }
        // Bursts: several lines are under way at once.
        for _ in 0..1 + self.course.below(5) {
            let (one, other) = (self.course.below(people) as u8, 1 + self.course.below(people - 1) as u8);
            let (from_xmpp, start) = (self.course.chance(60), self.course.below(110_000_000));
            for _ in 0..2 + self.course.below(5) {
                let when = Tick(start + self.course.below(400_000));
                let event =
                    if from_xmpp { Event::JulietWrites(one, other) } else { Event::RomeoWrites(other, one) };
                self.about(when, event);
            }
        }
        for _ in 0..self.course.below(6) {
            let (one, other) = (1 + self.course.below(people - 1) as u8, self.course.below(people) as u8);
            let when = Tick(self.course.below(100_000_000));
            self.about(when, Event::Calls(one, other));
        }
        for _ in 0..self.course.below(4) {
            let (one, other) = (self.course.below(people) as u8, self.course.below(people) as u8);
            let when = Tick(self.course.below(120_000_000));
            self.about(when, Event::Types(one, other));
        }
        if seed % 11 == 6 {
            let when = Tick(1_000_000 + self.course.below(110_000_000));
            self.about(when, Event::Stop);
        }
        if seed % 5 == 4 {
            let commit = 1 + self.course.below(60);
            self.process.deaths.insert(commit, Death::at(commit));
        }
        for _ in 0..self.course.below(4) {
            let (one, other) = (self.course.below(people) as u8, self.course.below(people) as u8);
            let when = Tick(self.course.below(60_000_000));
            let event = if self.course.chance(50) {
                Event::Roster(one, other, true)
            } else {
                Event::Watch(one, other)
            };
            self.about(when, event);
        }
        for _ in 0..self.course.below(5) {
            let who = self.course.below(people) as u8;
            let temper = match self.course.below(8) {
                0 => Temper::Silent,
                1 => Temper::Slow,
                2 => Temper::Status(404),
                3 => Temper::Status(480),
                4 => Temper::Status(503),
                5 => Temper::Status(408),
                6 => Temper::Status(603),
                _ => Temper::Answers,
            };
            let when = Tick(self.course.below(100_000_000));
            self.about(when, Event::Temper(who, temper));
        }
        for _ in 0..self.course.below(3) {
            let who = self.course.below(people) as u8;
            let when = Tick(self.course.below(100_000_000));
            let online = self.course.chance(50);
            self.about(when, Event::Juliet(who, online));
        }
        if seed.is_multiple_of(2) {
            for _ in 0..1 + self.course.below(3) {
                let when = Tick(1_000_000 + self.course.below(100_000_000));
                self.about(when, Event::LinkDown);
            }
        }
        if seed % 3 != 1 {
            for _ in 0..1 + self.course.below(2) {
                let when = Tick(1_000_000 + self.course.below(100_000_000));
                self.about(when, Event::Crash);
            }
        }
        if seed % 5 == 2 {
            let when = Tick(1_000_000 + self.course.below(100_000_000));
            self.about(when, Event::Connection);
        }
        if seed % 7 == 3 {
            let when = Tick(1_000_000 + self.course.below(60_000_000));
            self.about(when, Event::StoreDown);
        }
        for who in 0..PEOPLE {
            self.course.at(PEACE, Event::Temper(who, Temper::Answers));
            for romeo in 0..PEOPLE {
                // Twice: the process may die with the first.
                self.course.at(PEACE + Duration::from_secs(120), Event::Roster(who, romeo, false));
                self.course.at(PEACE + Duration::from_secs(240), Event::Roster(who, romeo, false));
            }
        }
    }

    /// Rule 12: when all is over, all books are empty; only consent and answered messages may stay in the store.
    fn rest(&mut self) {
        let (wires, process) = (self.has_wires(), &mut self.process);
        let (load, timeout) = (process.gateway.load(), process.gateway.next_timeout());
        process.checks.hold(Rest, load == 0, || format!("{load} things are still held: {timeout:?}"));
        process.checks.hold(Rest, !wires, || "a connection is still kept".into());
        process.door.is_at_rest(&mut process.checks);
        let kept: Vec<&String> =
            process.store.keys().filter(|key| MESSAGES.iter().any(|kind| key.starts_with(kind))).collect();
        process.checks.hold(Fate, kept.is_empty(), || format!("messages are still on disk: {kept:?}"));
    }

    /// Which life of the process this is.
    pub fn life(&self) -> u64 {
        self.process.life
    }

    /// Something is on its way, and comes in order.
    fn sends(&mut self, stream: &'static str, event: Event) {
        let delay = self.course.millis(20);
        self.course.in_order(stream, 0, delay, event);
    }

    fn leave_in_sip(&mut self, out: SipOut) {
        self.leaves_in_sip(&out.bytes);
        self.course.note(&format!("gateway -> sip {}", String::from_utf8_lossy(&out.bytes)));
        if out.target.transport == Transport::Tcp {
            self.sends("to-sip", Event::Reaches(out));
        } else {
            self.datagram(|| Event::Reaches(out.clone()));
        }
    }

    /// Loses, doubles and reorders.
    fn datagram(&mut self, event: impl Fn() -> Event) {
        let copies = if self.course.now < PEACE && self.course.chance(self.loss) {
            0
        } else {
            1 + u64::from(self.course.chance(3))
        };
        for _ in 0..copies {
            let wait = 1 + self.course.below(60);
            self.course.after(wait, event());
        }
    }

    pub fn send(&mut self, bytes: Bytes) {
        if self.udp {
            self.datagram(|| Event::Arrives(0, bytes.clone()));
        } else {
            self.sends("from-sip", Event::Arrives(self.connection, bytes));
        }
    }

    pub fn stanza_to_gateway(&mut self, stanza: Stanza) {
        self.sends("from-xmpp", Event::StanzaArrives(self.link, stanza));
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
            Event::About(event) => {
                let at = self.moment(1);
                self.course.at(at, *event);
            }
            Event::Arrives(connection, bytes) => {
                if connection != 0 && connection != self.connection {
                    return;
                }
                self.course.note(&format!("sip -> gateway {}", String::from_utf8_lossy(&bytes)));
                let transport = if connection == 0 { Transport::Udp } else { Transport::Tcp };
                let flow = Flow {
                    transport,
                    local: "192.0.2.9:5060".parse().unwrap(),
                    remote: "192.0.2.1:5060".parse().unwrap(),
                    conn: (connection != 0).then_some(ConnId(connection)),
                };
                match framing::datagram(bytes) {
                    Ok(message) => self.apply(Input::Sip(flow, Box::new(message))),
                    Err(bad) => self.apply(Input::BadSip(flow, bad)),
                }
            }
            Event::StanzaArrives(link, stanza) => {
                if link == self.link && link % 2 == 1 {
                    self.course.note(&format!("xmpp -> gateway {}", stanza.to_xml()));
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
                self.course.note("the link goes down");
                self.ledger.totals.link_losses += 1;
                self.link += 1;
                self.ledger.doubt();
                self.ledger.unheard(self.course.now, false);
                self.apply(Input::Link(LinkId(0), LinkChange::Down));
                let back = self.moment(40_000);
                self.course.at(back, Event::LinkUp);
            }
            Event::LinkDown => {}
            Event::LinkUp if self.link.is_multiple_of(2) => {
                self.course.note("the link comes up");
                self.link += 1;
                self.apply(Input::Link(LinkId(0), LinkChange::Up));
                if self.flaps && self.course.now + course::FLAP < PEACE {
                    self.course.may_flap(Event::LinkDown);
                }
            }
            Event::LinkUp => {}
            Event::Crash => self.crash(),
            Event::Stop => {
                self.course.note("the process is asked to stop");
                let life = self.life();
                self.course.after(60_000, Event::Stopped(life));
                self.apply(Input::Stop);
            }
            Event::Stopped(life) if life == self.life() => self.crash(),
            Event::Stopped(_) => {}
            Event::Connection => {
                self.course.note("the TCP connection breaks");
                self.connection += 1;
                self.ledger.doubt();
            }
            Event::StoreDown => {
                self.store_changes(true);
                self.course.after(5_000, Event::StoreOk);
            }
            Event::StoreOk => self.store_changes(false),
            Event::JulietWrites(juliet, romeo) => self.juliet_writes(juliet, romeo),
            Event::Retracts(juliet, romeo, number) => self.juliet_retracts(juliet, romeo, number),
            Event::RomeoWrites(romeo, juliet) => self.romeo_speaks(romeo, juliet),
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
            Event::Types(juliet, romeo) => self.juliet_types(juliet, romeo),
            Event::Due(due) => self.due(due),
            Event::Asks(branch, wait) => self.asks_again(&branch, wait),
            Event::Repeats(call, wait) => self.repeats(call, wait),
            Event::Calls(romeo, juliet) => drop(self.calls_juliet(romeo, juliet)),
            Event::Cancels(call) => self.cancels(call),
            Event::Picks(branch, call) => self.picks(&branch, call),
            Event::Hangs(call) => self.hangs(call),
            Event::Changes(call, change) => self.changes(call, change),
            Event::Dials(call) => self.dials(call),
            Event::Speaks(call) => self.speaks(call),
            Event::Reports(call, conn, report) => self.reports(call, conn, *report),
            Event::Resends(letter) => self.resends(letter),
            Event::Torn(letter, call, life) => self.torn(letter, call, life),
            Event::Judges(key, tokens) => self.judges(&key, &tokens),
            Event::Connects(life, attempt, hop) => self.connects(life, attempt, &hop),
            Event::ToGateway(conn, frame) => self.gateway_reads(conn, frame),
            Event::ToPhone(conn, frame, drained) => self.phone_reads(conn, &frame, drained),
            Event::Lost(conn) => self.lost(conn),
            Event::Hears(conn) => self.hears(conn),
            Event::Closes(conn) => self.closes(conn),
            Event::Unkept(conn) => self.unkept(conn),
            Event::Leaves(conn) => self.leaves_wire(conn),
        }
    }

    fn edges(&self) -> (Tick, u64) {
        (PEACE, 65)
    }

    fn restores_slowly(&self) -> bool {
        self.course.now < PEACE
    }

    fn is_enough(&mut self, _: Option<Tick>) -> bool {
        self.course.is_over() && self.course.now > PEACE && self.process.gateway.load() == 0
    }

    fn leaves(&mut self, output: Output) {
        match output {
            Output::Sip(out) => self.leave_in_sip(out),
            Output::Stanza(_, stanza) => {
                self.leaves_in_xmpp(&stanza);
                self.course.note(&format!("gateway -> xmpp {}", stanza.to_xml()));
                self.sends("to-xmpp", Event::StanzaReaches(self.link, stanza));
            }
            Output::Msrp(out) => self.msrp_out(out),
            Output::Stopped => {
                let life = self.life();
                self.course.after(100, Event::Stopped(life));
            }
            _ => {}
        }
    }

    fn saved(&mut self, key: &Key, value: &[u8]) {
        if matches!(key.kind, "post" | "page") {
            self.ledger.saved(&String::from_utf8_lossy(value));
        }
    }

    fn dies_unsaid(&mut self, output: &Output) {
        self.dies_with(output);
    }

    fn died(&mut self) {
        self.ledger.crashed(self.course.now, self.process.unremembered(self.course.now));
        self.connection += 1;
        if self.link % 2 == 1 {
            self.link += 1;
        }
        self.wires_die();
    }

    fn risen(&mut self) {
        let wait = 10 + self.course.below(3_000);
        self.course.after(wait, Event::LinkUp);
    }
}
