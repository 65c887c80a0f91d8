//! Two user agents with sessions, a wire between them that loses, delays and doubles, and one clock.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use mostar::config::{Config, Listen};
use mostar::sip::agent::{Agent, AgentOut, InRequest};
use mostar::sip::flow::{ConnId, Flow, Transport};
use mostar::sip::framing;
use mostar::sip::message::{Answer, Method, Reply, ServerKey};
use mostar::sip::usage::session::{Act, Body, Call, Event, Session};
use mostar::words::id::{Mint, Partition, Seed};
use mostar::words::time::{Now, Tick, Wall};

use super::support::vector;

pub const HOSTS: [&str; 2] = ["192.0.2.1", "192.0.2.9"];
pub const DOMAINS: [&str; 2] = ["example.com", "example.net"];
const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE";

/// What a party does without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Agrees to everything at once.
    Agrees,
    /// Rings, and leaves the rest to the test.
    Rings,
    /// Leaves everything to the test.
    Waits,
}

/// One end: a user agent and its sessions.
pub struct Party {
    pub agent: Agent,
    pub mint: Mint,
    pub sessions: BTreeMap<u64, Session>,
    pub manner: Manner,
    /// What it allows; without UPDATE, refreshes go by INVITE.
    pub allow: &'static str,
    next: u64,
    place: usize,
    /// What was told, as words, by session.
    pub told: Vec<(u64, String)>,
    sent: VecDeque<(Transport, Bytes)>,
    described: u32,
}

pub fn sdp(text: &str) -> Body {
    Body::sdp(Bytes::copy_from_slice(text.as_bytes()))
}

fn words(event: &Event) -> String {
    let body = |body: &Option<Body>| match body {
        Some(body) => String::from_utf8_lossy(&body.bytes).into_owned(),
        None => "nothing".to_owned(),
    };
    match event {
        Event::Ringing(status) => format!("ringing {status}"),
        Event::Accepted { answer, .. } => format!("accepted with {}", body(answer)),
        Event::Confirmed { answer } => format!("confirmed with {}", body(answer)),
        Event::Offered(offer) => format!("offered {}", body(offer)),
        Event::Answered(answer) => format!("answered {}", body(answer)),
        Event::Over(mostar::sip::usage::session::End::Refused(response)) => {
            format!("over Refused({})", response.status.code())
        }
        Event::Over(end) => format!("over {end:?}"),
        other => format!("{other:?}"),
    }
}

impl Party {
    pub fn new(place: usize, transport: Transport, manner: Manner, seed: u8) -> Party {
        let mut config: Config = vector::config();
        let address = |place: usize| format!("{}:5060", HOSTS[place]).parse().expect("an address");
        config.sip.listen = vec![Listen { transport, address: address(place) }];
        config.sip.advertise = None;
        let peer = &mut config.sip.peers[0];
        peer.host = HOSTS[1 - place].into();
        peer.transport = Some(transport);
        peer.may_send_from = vec![DOMAINS[1 - place].into()];
        let mut party = Party {
            agent: Agent::new(&config),
            mint: Mint::new(Seed([seed.wrapping_add(place as u8 * 100); 32])),
            sessions: BTreeMap::new(),
            manner,
            allow: ALLOW,
            next: 1,
            place,
            told: Vec::new(),
            sent: VecDeque::new(),
            described: 0,
        };
        party.agent.leave_watch();
        party.agent.start(Now::default());
        party
    }

    fn contact(&self) -> String {
        format!("<sip:user@{}:5060>", HOSTS[self.place])
    }

    fn describe(&mut self, what: &str) -> Body {
        self.described += 1;
        sdp(&format!("{what}{}{}", ["a", "b"][self.place], self.described))
    }

    /// Calls the other one.
    pub fn call(&mut self, now: Now, patience: u64) -> u64 {
        let (us, them) = (DOMAINS[self.place], DOMAINS[1 - self.place]);
        let call = Call {
            from: format!("<sip:user@{us}>"),
            to: format!("<sip:user@{them}>"),
            uri: format!("sip:user@{them}"),
            call_id: None,
            contact: self.contact(),
            allow: self.allow.into(),
            offer: self.describe("offer-"),
            headers: Vec::new(),
            max_forwards: 70,
            patience: Duration::from_secs(patience),
            partition: Partition(7),
            domain: them.into(),
        };
        let session = Session::invite(now, &mut self.mint, call);
        let id = self.add(session);
        self.settle(now);
        id
    }

    pub fn add(&mut self, session: Session) -> u64 {
        self.next += 1;
        self.sessions.insert(self.next, session);
        self.next
    }

    /// Does something with a session.
    pub fn with(&mut self, now: Now, id: u64, what: impl FnOnce(&mut Session)) {
        if let Some(session) = self.sessions.get_mut(&id) {
            what(session);
        }
        self.settle(now);
    }

    pub fn offer(&mut self, now: Now, id: u64) {
        let body = self.describe("offer-");
        self.with(now, id, |session| session.offer(now, body));
    }

    pub fn agree(&mut self, now: Now, id: u64) {
        let body = self.describe("answer-");
        self.with(now, id, |session| session.agree(now, body));
    }

    /// The only session.
    pub fn only(&self) -> u64 {
        assert_eq!(self.sessions.len(), 1);
        *self.sessions.keys().next().expect("a session")
    }

    pub fn heard(&self) -> Vec<&str> {
        self.told.iter().map(|(_, words)| words.as_str()).collect()
    }

    pub fn receive(&mut self, now: Now, transport: Transport, bytes: Bytes) {
        let at = |place: usize| format!("{}:5060", HOSTS[place]).parse().expect("an address");
        let conn = (transport == Transport::Tcp).then_some(ConnId(1));
        let flow = Flow { transport, local: at(self.place), remote: at(1 - self.place), conn };
        let message = framing::datagram(bytes).expect("a message");
        self.agent.receive(now, &mut self.mint, flow, message);
        self.settle(now);
    }

    pub fn next_timeout(&self) -> Option<Tick> {
        let sessions = self.sessions.values().filter_map(Session::next_timeout);
        sessions.chain(self.agent.next_timeout().map(|(at, _)| at)).min()
    }

    pub fn timeout(&mut self, now: Now) {
        self.agent.timeout(now, &mut self.mint);
        for session in self.sessions.values_mut() {
            session.timeout(now);
        }
        self.settle(now);
    }

    /// What wants to leave.
    pub fn take(&mut self) -> VecDeque<(Transport, Bytes)> {
        std::mem::take(&mut self.sent)
    }

    /// Until agent and sessions are silent.
    pub fn settle(&mut self, now: Now) {
        loop {
            let mut quiet = true;
            while let Some(out) = self.agent.poll() {
                quiet = false;
                self.agent_out(now, out);
            }
            let ids: Vec<u64> = self.sessions.keys().copied().collect();
            for id in ids {
                while let Some(act) = self.sessions.get_mut(&id).and_then(Session::poll) {
                    quiet = false;
                    self.act(now, id, act);
                }
                if self.sessions.get(&id).is_some_and(Session::is_done) {
                    self.sessions.remove(&id);
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn act(&mut self, now: Now, id: u64, act: Act) {
        let user = |exchange: u16| id << 16 | u64::from(exchange);
        match act {
            Act::Send(exchange, request) => {
                self.agent.request(now, &mut self.mint, user(exchange), *request);
            }
            Act::Ack(exchange, request) => self.agent.ack(&mut self.mint, user(exchange), *request),
            Act::Cancel(exchange) => self.agent.cancel(now, user(exchange)),
            Act::Reply(key, reply) => self.agent.reply(now, &mut self.mint, key, reply),
            Act::Tell(event) => {
                self.told.push((id, words(&event)));
                if matches!(event, Event::Offered(_)) && self.manner == Manner::Agrees {
                    self.agree(now, id);
                }
            }
        }
    }

    fn agent_out(&mut self, now: Now, out: AgentOut) {
        match out {
            AgentOut::Send(out) => self.sent.push_back((out.target.transport, out.bytes)),
            AgentOut::Request(request) => self.request(now, *request),
            AgentOut::Ack(ack) => {
                let session = self.sessions.values_mut().find(|one| holds(one, &ack));
                if let Some(session) = session {
                    session.acked(now, &ack.request);
                }
            }
            AgentOut::Cancelled(key) => {
                let _ = self.sessions.values_mut().any(|session| session.cancelled(now, key));
            }
            AgentOut::Answer { user, answer } => self.answer(now, user, &answer),
            AgentOut::Further { user, cseq, response } => {
                if let Some(session) = self.sessions.get_mut(&(user >> 16)) {
                    session.further(user as u16, cseq, &response);
                }
            }
            AgentOut::Close(_) | AgentOut::Resolve(_) | AgentOut::Note(_) | AgentOut::PeerBack(_) => {}
        }
    }

    fn answer(&mut self, now: Now, user: u64, answer: &Answer) {
        if let Some(session) = self.sessions.get_mut(&(user >> 16)) {
            session.answer(now, &mut self.mint, user as u16, answer);
        }
    }

    fn request(&mut self, now: Now, arrived: InRequest) {
        let (key, request) = (arrived.key, &arrived.request);
        if arrived.head.to.tag().is_some() {
            let session = self.sessions.values_mut().find(|one| holds(one, &arrived));
            let taken = session.is_some_and(|one| one.request(now, &mut self.mint, key, request));
            if !taken {
                self.refuse(now, key, 481);
            }
            return;
        }
        if request.method != Method::Invite {
            return self.refuse(now, key, if request.method == Method::Cancel { 481 } else { 405 });
        }
        let tag = self.mint.token(Partition(9));
        match Session::invited(now, key, request, &tag, Partition(9), &self.contact(), self.allow) {
            Ok((session, offer)) => {
                let id = self.add(session);
                self.told.push((id, words(&Event::Offered(offer))));
                match self.manner {
                    Manner::Agrees => self.agree(now, id),
                    Manner::Rings => self.with(now, id, |session| session.ring(now)),
                    Manner::Waits => {}
                }
            }
            Err(reply) => self.agent.reply(now, &mut self.mint, key, reply),
        }
    }

    fn refuse(&mut self, now: Now, key: ServerKey, status: u16) {
        self.agent.reply(now, &mut self.mint, key, Reply::new(status));
    }
}

/// How bad the wire is.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Of a hundred packets.
    pub lost: u64,
    /// Of a hundred packets.
    pub doubled: u64,
    /// At most, in milliseconds.
    pub delay: u64,
}

pub const FAIR: Weather = Weather { lost: 0, doubled: 0, delay: 10 };
pub const FOUL: Weather = Weather { lost: 20, doubled: 15, delay: 400 };

/// Both ends and the wire.
pub struct World {
    pub now: Tick,
    pub parties: [Party; 2],
    pub weather: Weather,
    pub trace: Vec<String>,
    /// Packets that shall not arrive: a test's own judgement, asked with the sender's place and the first line.
    pub drops: fn(usize, &str) -> bool,
    wire: BTreeMap<(Tick, u64), (usize, Transport, Bytes)>,
    /// On TCP nothing overtakes.
    last: [Tick; 2],
    chance: Mint,
    count: u64,
}

impl World {
    pub fn new(transport: Transport, manners: [Manner; 2], weather: Weather, seed: u8) -> World {
        World {
            now: Tick(0),
            parties: [0, 1].map(|place| Party::new(place, transport, manners[place], seed)),
            weather,
            trace: Vec::new(),
            drops: |_, _| false,
            wire: BTreeMap::new(),
            last: [Tick(0); 2],
            chance: Mint::new(Seed([seed ^ 0x5a; 32])),
            count: 0,
        }
    }

    /// Two who have a session: their ids.
    pub fn connected(transport: Transport) -> (World, u64, u64) {
        let mut world = World::new(transport, [Manner::Agrees; 2], FAIR, 1);
        let ours = world.parties[0].call(world.clock(), 10);
        world.advance(1.0);
        let theirs = world.parties[1].only();
        (world, ours, theirs)
    }

    pub fn clock(&self) -> Now {
        Now { tick: self.now, wall: Wall(1_795_219_200_000 + self.now.0 / 1000) }
    }

    pub fn chance(&mut self, limit: u64) -> u64 {
        self.chance.below(limit)
    }

    fn post(&mut self) {
        for place in 0..2 {
            for (transport, bytes) in self.parties[place].take() {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let line = text.lines().next().unwrap_or_default().to_owned();
                self.trace.push(format!("{} {place} {line}", self.now.0));
                let is_datagram = transport == Transport::Udp;
                let lost = is_datagram && self.chance.below(100) < self.weather.lost;
                if lost || (self.drops)(place, &line) {
                    continue;
                }
                let copies = if is_datagram && self.chance.below(100) < self.weather.doubled { 2 } else { 1 };
                for _ in 0..copies {
                    let wait = Duration::from_millis(1 + self.chance.below(self.weather.delay));
                    let mut at = self.now + wait;
                    if !is_datagram {
                        at = at.max(self.last[place]);
                        self.last[place] = at;
                    }
                    self.count += 1;
                    self.wire.insert((at, self.count), (1 - place, transport, bytes.clone()));
                }
            }
        }
    }

    /// Moves the clock, event by event.
    pub fn advance(&mut self, seconds: f64) {
        let until = Tick(self.now.0 + (seconds * 1e6) as u64);
        loop {
            self.post();
            let arrival = self.wire.keys().next().map(|(at, _)| *at);
            let alarm = self.parties.iter().filter_map(Party::next_timeout).min();
            let Some(next) = arrival.into_iter().chain(alarm).min().filter(|at| *at <= until) else { break };
            self.now = self.now.max(next);
            let now = self.clock();
            if arrival == Some(next)
                && let Some((_, (place, transport, bytes))) = self.wire.pop_first()
            {
                self.parties[place].receive(now, transport, bytes);
                continue;
            }
            for party in &mut self.parties {
                if party.next_timeout().is_some_and(|at| at <= self.now) {
                    party.timeout(now);
                }
            }
        }
        self.now = until;
    }

    /// Both books are empty, and each session ended once.
    pub fn assert_over(&self) {
        for (place, party) in self.parties.iter().enumerate() {
            assert!(party.sessions.is_empty(), "{place}: {:#?}", party.sessions);
            assert_eq!(party.agent.load(), 0, "{place}");
            let mut ends = BTreeMap::new();
            for (id, words) in &party.told {
                *ends.entry(id).or_insert(0) += usize::from(words.starts_with("over"));
            }
            assert!(ends.values().all(|times| *times == 1), "{place}: {:?}", party.told);
        }
    }

    /// How many messages that begin like this left a place.
    pub fn count(&self, place: usize, start: &str) -> usize {
        let lines = self.trace.iter().filter_map(|line| line.split_once(' '));
        lines.filter(|(_, line)| line.starts_with(&format!("{place} {start}"))).count()
    }
}

/// Whether a request is for this session.
fn holds(session: &Session, arrived: &InRequest) -> bool {
    let text = |tag: Option<&[u8]>| String::from_utf8_lossy(tag.unwrap_or_default()).into_owned();
    let head = &arrived.head;
    session.holds(&head.call_id, &text(head.to.tag()), &text(head.from.tag()))
}
