//! The world around one gateway: a queue of events, a clock, a network that loses things, an XMPP server and SIP users.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hasher};
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
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::juliet::{juliet_jid, romeo_jid};
use super::ledger::{Ledger, Totals};
use super::phone::{Asking, Call, Change};
use super::support::invariants::Broken;
use super::support::invariants::Invariant::{Fate, Rest};
use super::support::process::{Death, Host, Process};
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
    /// The writer of that life has written.
    Written(u64),
    /// More records come back in that life.
    Restores(u64),
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
    pub rng: ChaCha8Rng,
    pub config: Arc<Config>,
    pub udp: bool,
    pub process: Process,
    pub now: Tick,
    queue: BTreeMap<(Tick, u64), Event>,
    sequence: u64,
    /// Odd while the link is up: which life of the link this is.
    pub link: u64,
    /// Which TCP connection this is.
    pub connection: u64,
    /// First in, first out: when the last thing sent on a stream arrives, by stream.
    last: BTreeMap<&'static str, Tick>,
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
    pub written: u64,
    pub ledger: Ledger,
    trace: DefaultHasher,
    show: bool,
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
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
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
        // Messages for who is away are kept: beyond the end of all faults, or not so long. By the calendar, so here for
        // longer than that jumps.
        let seconds = if is_set { 40 * 86_400 } else { [86_400, 100][(seed / 4 % 2) as usize] };
        config.messages.hold = Duration::from_secs(seconds);
    }
    let config = Arc::new(config);
    let mut world = World {
        rng: ChaCha8Rng::from_seed(bytes),
        process: Process::new(config.clone(), Seed(bytes), [0, 0, 3, 20][(seed / 2 % 4) as usize], deaths),
        config,
        udp,
        now: Tick(1),
        queue: BTreeMap::new(),
        sequence: 0,
        link: 0,
        connection: 1,
        last: BTreeMap::new(),
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
        written: 0,
        ledger: Ledger::default(),
        trace: DefaultHasher::new(),
        show,
    };
    world.process.is_set = is_set;
    world.plan(seed);
    world.play();
    world.process.checks.verdict()?;
    world.ledger.judge()?;
    let (mut tally, mut checks) = (world.ledger.totals, world.process.checks);
    checks.join(&world.ledger.checks);
    (tally.crashes, tally.commits) = (world.process.life, world.process.commits);
    tally.slow_starts = world.process.slow_starts;
    Ok(Run { tally, checks, trace: world.trace.finish() })
}

impl World {
    pub fn chance(&mut self, percent: u64) -> bool {
        self.rng.next_u64() % 100 < percent
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.rng.next_u64() % limit.max(1)
    }

    pub fn at(&mut self, when: Tick, event: Event) {
        self.sequence += 1;
        self.queue.insert((when.max(self.now), self.sequence), event);
    }

    pub fn after(&mut self, millis: u64, event: Event) {
        self.at(self.now + Duration::from_millis(millis), event);
    }

    /// A moment for the next thing that people or faults do: most of them next to a timer's edge.
    fn moment(&mut self, spread: u64) -> Tick {
        let edge = self.process.gateway.next_timeout().filter(|(at, _)| *at < PEACE);
        let edge = edge.filter(|_| self.chance(65));
        self.process.checks.drawn(edge.is_some());
        match edge {
            Some((at, _)) => {
                let jitter = self.below(4_000);
                Tick((at.0 + jitter).saturating_sub(2_000))
            }
            None => self.now + Duration::from_millis(self.below(spread)),
        }
    }

    /// Something is to happen then, or next to the first edge of a timer that there is then.
    fn about(&mut self, when: Tick, event: Event) {
        self.at(when, Event::About(Box::new(event)));
    }

    fn plan(&mut self, seed: u64) {
        self.apply(Input::RestoreDone);
        self.after(0, Event::LinkUp);
        let people = u64::from(PEOPLE);
        for _ in 0..4 + self.below(8) {
            let (one, other) = (self.below(people) as u8, self.below(people) as u8);
            let when = Tick(self.below(120_000_000));
            let event = if self.chance(50) {
                Event::JulietWrites(one, other)
            } else {
                Event::RomeoWrites(one, other)
            };
            self.about(when, event);
        }
        // Bursts: several lines are under way at once.
        for _ in 0..1 + self.below(5) {
            let (one, other) = (self.below(people) as u8, 1 + self.below(people - 1) as u8);
            let (from_xmpp, start) = (self.chance(60), self.below(110_000_000));
            for _ in 0..2 + self.below(5) {
                let when = Tick(start + self.below(400_000));
                let event =
                    if from_xmpp { Event::JulietWrites(one, other) } else { Event::RomeoWrites(other, one) };
                self.about(when, event);
            }
        }
        for _ in 0..self.below(6) {
            let (one, other) = (1 + self.below(people - 1) as u8, self.below(people) as u8);
            let when = Tick(self.below(100_000_000));
            self.about(when, Event::Calls(one, other));
        }
        for _ in 0..self.below(4) {
            let (one, other) = (self.below(people) as u8, self.below(people) as u8);
            let when = Tick(self.below(120_000_000));
            self.about(when, Event::Types(one, other));
        }
        if seed % 11 == 6 {
            let when = Tick(1_000_000 + self.below(110_000_000));
            self.about(when, Event::Stop);
        }
        if seed % 5 == 4 {
            let commit = 1 + self.below(60);
            self.process.deaths.insert(commit, Death::at(commit));
        }
        for _ in 0..self.below(4) {
            let (one, other) = (self.below(people) as u8, self.below(people) as u8);
            let when = Tick(self.below(60_000_000));
            let event =
                if self.chance(50) { Event::Roster(one, other, true) } else { Event::Watch(one, other) };
            self.about(when, event);
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
            self.about(when, Event::Temper(who, temper));
        }
        for _ in 0..self.below(3) {
            let who = self.below(people) as u8;
            let when = Tick(self.below(100_000_000));
            let online = self.chance(50);
            self.about(when, Event::Juliet(who, online));
        }
        if seed.is_multiple_of(2) {
            for _ in 0..1 + self.below(3) {
                let when = Tick(1_000_000 + self.below(100_000_000));
                self.about(when, Event::LinkDown);
            }
        }
        if seed % 3 != 1 {
            for _ in 0..1 + self.below(2) {
                let when = Tick(1_000_000 + self.below(100_000_000));
                self.about(when, Event::Crash);
            }
        }
        if seed % 5 == 2 {
            let when = Tick(1_000_000 + self.below(100_000_000));
            self.about(when, Event::Connection);
        }
        if seed % 7 == 3 {
            let when = Tick(1_000_000 + self.below(60_000_000));
            self.about(when, Event::StoreDown);
        }
        for who in 0..PEOPLE {
            self.at(PEACE, Event::Temper(who, Temper::Answers));
            for romeo in 0..PEOPLE {
                // Twice: the process may die with the first.
                self.at(PEACE + Duration::from_secs(120), Event::Roster(who, romeo, false));
                self.at(PEACE + Duration::from_secs(240), Event::Roster(who, romeo, false));
            }
        }
    }

    fn play(&mut self) {
        for _ in 0..200_000 {
            let alarm = self.process.gateway.next_timeout().map(|(at, _)| at.max(self.now));
            let event = self.queue.first_key_value().map(|((at, _), _)| *at);
            if event.is_none() && self.now > PEACE && self.process.gateway.load() == 0 {
                return self.rest();
            }
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
        let what = format!("an alarm rings for ever: {:?}", self.process.gateway.next_timeout());
        self.process.checks.broken(Rest, what);
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

    pub fn note(&mut self, line: &str) {
        self.trace.write_u64(self.now.0);
        self.trace.write(line.as_bytes());
        if self.show {
            println!("{:>12.3} {}", self.now.0 as f64 / 1e6, line.replace("\r\n", "\n              "));
        }
    }

    /// Which life of the process this is.
    pub fn life(&self) -> u64 {
        self.process.life
    }

    /// When something sent now on a stream arrives: never before what was sent earlier.
    pub fn in_order(&mut self, stream: &'static str, spread: u64) -> Tick {
        let at = self.now + Duration::from_millis(self.below(spread));
        let last = self.last.entry(stream).or_default();
        *last = at.max(*last);
        *last
    }

    fn leave_in_sip(&mut self, out: SipOut) {
        self.leaves_in_sip(&out.bytes);
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

    pub fn send(&mut self, bytes: Bytes) {
        if self.udp {
            self.datagram(|world, at| world.at(at, Event::Arrives(0, bytes.clone())));
        } else {
            let connection = self.connection;
            let at = self.in_order("from-sip", 20);
            self.at(at, Event::Arrives(connection, bytes));
        }
    }

    pub fn stanza_to_gateway(&mut self, stanza: Stanza) {
        let link = self.link;
        let at = self.in_order("from-xmpp", 20);
        self.at(at, Event::StanzaArrives(link, stanza));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::About(event) => {
                let at = self.moment(1);
                self.at(at, *event);
            }
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
                self.ledger.unheard(self.now, false);
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
            Event::Stop => {
                self.note("the process is asked to stop");
                let life = self.life();
                self.after(60_000, Event::Stopped(life));
                self.apply(Input::Stop);
            }
            Event::Stopped(life) if life == self.life() => self.crash(),
            Event::Stopped(_) => {}
            Event::Connection => {
                self.note("the TCP connection breaks");
                self.connection += 1;
                self.ledger.doubt();
            }
            Event::StoreDown => {
                self.store_changes(true);
                self.after(5_000, Event::StoreOk);
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
            Event::Written(life) => self.written(life),
            Event::Restores(life) => self.restores(life),
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
        let may = self.now < PEACE;
        if may {
            self.after(millis, Event::Restores(life));
        }
        may
    }

    fn leaves(&mut self, output: Output) {
        match output {
            Output::Sip(out) => self.leave_in_sip(out),
            Output::Stanza(_, stanza) => {
                self.leaves_in_xmpp(&stanza);
                self.note(&format!("gateway -> xmpp {}", stanza.to_xml()));
                let link = self.link;
                let at = self.in_order("to-xmpp", 20);
                self.at(at, Event::StanzaReaches(link, stanza));
            }
            Output::Msrp(out) => self.msrp_out(out),
            Output::Stopped => {
                let life = self.life();
                self.after(100, Event::Stopped(life));
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
        self.ledger.crashed(self.now);
        self.connection += 1;
        if self.link % 2 == 1 {
            self.link += 1;
        }
        self.wires_die();
    }

    fn risen(&mut self) {
        let wait = 10 + self.below(3_000);
        self.after(wait, Event::LinkUp);
    }
}
