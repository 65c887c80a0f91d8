//! The user agent core (RFC 3261 §8, §17, §18): who may speak to us, where requests go, and what is answered below
//! the features.
//!
//! Requests from strangers never get further than an address comparison; what is malformed, loops or asks for an
//! extension is refused here; what is new and valid is handed up once, and must be answered by [`Agent::reply`]. A
//! request of ours goes to the peer of its domain, by all of that peer's addresses if need be, and ends in exactly one
//! final answer or failure.
//!
//! It deliberately does not know methods (405 and 501 are the gateway's), does not keep dialogs, and does not repeat
//! a 2xx to an INVITE by itself.
//!
//! The parts: [`inbound`] admits and answers, [`outbound`] sends, [`invite`] is what only an INVITE needs,
//! [`neighbours`] looks peers up and watches them.

mod head;
mod hush;
mod inbound;
mod invite;
mod merged;
mod neighbours;
mod outbound;
mod own;
mod print;
mod salvage;
mod servers;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use self::hush::Hush;
use self::merged::Merged;
use self::outbound::{Attempt, Call};
use self::own::Own;
use self::servers::Servers;
use super::answered::{Answered, RequestName};
use super::flow::{BadSip, Flow, SendId, SipOut, Target};
use super::locate::{Located, Query};
use super::message::{Answer, Message, OutRequest, Reply, Request, Response, ServerKey};
use super::peers::Peers;
use super::transaction::{Step, TransactionId, Transactions};
use crate::config::{Config, Sip};
use crate::words::id::Mint;
use crate::words::index::Index;
use crate::words::note::{Level, Note};
use crate::words::time::{Now, Tick};
use crate::words::timers::Timers;

pub use self::head::Head;
pub use self::own::PRODUCT;
pub use self::print::reason_of;

/// The user agent core of one gateway.
pub struct Agent {
    config: Sip,
    own: Own,
    peers: Peers,
    transactions: Transactions,
    answered: Answered,
    merged: Merged,
    /// Requests to us: until they are answered, and an INVITE until its transaction is over.
    servers: Servers,
    /// Those of them that are no INVITE, by what their retransmissions are known by.
    by_name: Index<RequestName, ServerKey>,
    /// Requests of ours that have no final answer yet.
    calls: BTreeMap<u64, Box<Call>>,
    /// What their bodies take.
    call_bytes: usize,
    /// Client transactions, until they are over: some time after the answer.
    attempts: BTreeMap<TransactionId, Attempt>,
    /// INVITEs of ours that have no final answer yet: the call, by its user.
    invites: BTreeMap<u64, u64>,
    /// INVITEs of ours that were accepted lately, by their users.
    accepted: BTreeMap<u64, TransactionId>,
    timers: Timers<Alarm>,
    hush: Hush,
    watches: bool,
    out: VecDeque<AgentOut>,
}

/// Why the agent wants to be woken, besides transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    /// A request was not answered in time: 500 is better than silence.
    Unanswered(ServerKey),
    /// A cancelled INVITE has no final answer yet.
    Cancelled(u64),
    /// A peer's addresses are looked up, or a look-up has had its time.
    Lookup(usize),
    /// A peer is asked whether it is there.
    Watch(usize),
}

/// What the agent wants done, or tells.
#[derive(Debug)]
pub enum AgentOut {
    /// Send a message.
    Send(SipOut),
    /// Close a connection, after what was sent on it has gone.
    Close(Flow),
    /// Ask DNS; [`Agent::resolved`] takes the answer.
    Resolve(Query),
    /// A line for the log, a figure for the metrics.
    Note(Note),
    /// A peer, by its place in `sip.peers`, answers again after so long that it may have given up what it wanted to tell us.
    PeerBack(usize),
    /// A request that is new (no retransmission), valid and from a peer. It must be answered by [`Agent::reply`].
    Request(Box<InRequest>),
    /// An ACK for a 2xx; it is not answered.
    Ack(Box<InRequest>),
    /// An INVITE that was handed up and has no final answer is cancelled; 487 is its answer. The CANCEL was answered.
    Cancelled(ServerKey),
    /// A further 2xx to an INVITE whose `Final` was a 2xx: the same again, or that of another fork. Each wants an ACK.
    Further {
        /// As given with the request.
        user: u64,
        /// The CSeq number of the INVITE, which its ACK has too.
        cseq: u32,
        /// The answer.
        response: Response,
    },
    /// What became of a request of [`Agent::request`].
    Answer {
        /// As given with the request.
        user: u64,
        /// What became of it.
        answer: Answer,
    },
}

/// A request that the agent let in.
#[derive(Debug)]
pub struct InRequest {
    /// For the answer.
    pub key: ServerKey,
    /// The message.
    pub request: Arc<Request>,
    /// What every request must say, decoded.
    pub head: Head,
    /// The way it came.
    pub flow: Flow,
    /// Which peer sent it, by its place in `sip.peers`.
    pub peer: usize,
}

impl Agent {
    /// An agent that has heard nothing and watches nobody yet.
    pub fn new(config: &Config) -> Agent {
        Agent {
            config: config.sip.clone(),
            own: Own::new(&config.sip),
            peers: Peers::new(&config.sip.peers),
            transactions: Transactions::default(),
            answered: Answered::default(),
            merged: Merged::default(),
            servers: Servers::default(),
            by_name: Index::default(),
            calls: BTreeMap::new(),
            call_bytes: 0,
            attempts: BTreeMap::new(),
            invites: BTreeMap::new(),
            accepted: BTreeMap::new(),
            timers: Timers::default(),
            hush: Hush::default(),
            watches: true,
            out: VecDeque::new(),
        }
    }

    /// Leaves it to another agent of this process to watch the peers. One is enough, and it must be the one that owns
    /// partition 0, which the branches of its questions name.
    pub fn leave_watch(&mut self) {
        self.watches = false;
    }

    /// Looks the peers up and begins to watch them.
    pub fn start(&mut self, now: Now) {
        for peer in 0..self.peers.len() {
            // Nobody can be preferred by chance before anything is known: the draw has no say yet.
            self.look_up(now, peer, &mut |_| 0);
            self.timers.set(Alarm::Watch(peer), now.tick);
        }
    }

    /// A message came in.
    pub fn receive(&mut self, now: Now, mint: &mut Mint, flow: Flow, message: Message) {
        match message {
            Message::Request(request) => self.request_in(now, mint, flow, request),
            Message::Response(response) => self.response_in(now, mint, response),
        }
    }

    /// Bytes came in that are no SIP message.
    pub fn bad(&mut self, now: Now, mint: &mut Mint, flow: Flow, bad: BadSip) {
        self.bad_in(now, mint, flow, &bad);
    }

    /// Sends a request; what becomes of it comes back with `user`: a `Final` or `Failed` exactly once, last.
    pub fn request(&mut self, now: Now, mint: &mut Mint, user: u64, request: OutRequest) {
        self.call(now, mint, outbound::Asker::User(user), request);
    }

    /// Cancels an INVITE of [`Agent::request`]: at once, or when its first provisional answer comes. Its `Final` or
    /// `Failed` comes all the same, and may be a 2xx that has crossed the CANCEL.
    pub fn cancel(&mut self, now: Now, user: u64) {
        self.cancel_call(now, user);
    }

    /// Sends the ACK for a 2xx to the INVITE of this user. Nothing comes back.
    pub fn ack(&mut self, mint: &mut Mint, user: u64, request: OutRequest) {
        self.send_ack(mint, user, request);
    }

    /// Answers a request. A second final answer to the same request is ignored, but for a 2xx to an INVITE, which its
    /// owner repeats until the ACK comes (RFC 3261 §13.3.1.4).
    pub fn reply(&mut self, now: Now, mint: &mut Mint, key: ServerKey, reply: Reply) {
        self.answer(now, mint, key, reply);
    }

    /// What was to be sent under this number could not be sent.
    pub fn send_failed(&mut self, now: Now, mint: &mut Mint, id: SendId, why: String) {
        let id = TransactionId(id.0);
        if let Some(call) = self.attempts.get(&id).and_then(|attempt| self.calls.get_mut(&attempt.call)) {
            call.why = why;
        }
        let steps = self.transactions.failed(now.tick, id);
        self.run(now, mint, id, steps);
    }

    /// DNS answered; a name that does not exist has no records.
    pub fn resolved(&mut self, now: Now, mint: &mut Mint, query: Query, found: Vec<Located>) {
        let mut draw = |limit| mint.below(limit);
        for (peer, search) in self.peers.answer(&query, &found, &mut draw) {
            self.searched(now, peer, search);
        }
        self.release(now, mint);
    }

    /// When [`Agent::timeout`] is wanted, and a stable name for why.
    pub fn next_timeout(&self) -> Option<(Tick, &'static str)> {
        let own = self.timers.next().map(|(at, alarm)| match alarm {
            Alarm::Unanswered(_) => (at, "sip-unanswered"),
            Alarm::Cancelled(_) => (at, "sip-cancelled"),
            Alarm::Lookup(_) => (at, "sip-lookup"),
            Alarm::Watch(_) => (at, "sip-watch"),
        });
        let others = [
            (self.transactions.next_timeout(), "sip-transaction"),
            (self.answered.next_timeout(), "sip-answered"),
            (self.merged.next_timeout(), "sip-merged"),
            (self.hush.next_timeout(), "sip-log"),
        ];
        others.into_iter().filter_map(|(at, why)| at.map(|at| (at, why))).chain(own).min()
    }

    /// Rings everything that is due.
    pub fn timeout(&mut self, now: Now, mint: &mut Mint) {
        while let Some((id, steps)) = self.transactions.ring(now.tick) {
            self.run(now, mint, id, steps);
        }
        while let Some(alarm) = self.timers.pop(now.tick) {
            match alarm {
                Alarm::Unanswered(key) => self.unanswered(now, mint, key),
                Alarm::Cancelled(call) => self.give_up(now, mint, call),
                Alarm::Lookup(peer) => {
                    self.look_up(now, peer, &mut |limit| mint.below(limit));
                    self.release(now, mint);
                }
                Alarm::Watch(peer) => self.watch(now, mint, peer),
            }
        }
        self.answered.sweep(now.tick);
        self.merged.sweep(now.tick);
        if self.hush.next_timeout().is_some_and(|at| at <= now.tick) {
            for sum in self.hush.sums() {
                let source = sum.source.map_or_else(|| "others".to_owned(), |source| source.to_string());
                self.log(Level::Warn, sum.event, vec![("src", source), ("again", sum.times.to_string())]);
            }
        }
    }

    /// The one drain.
    pub fn poll(&mut self) -> Option<AgentOut> {
        self.out.pop_front()
    }

    /// Requests under way in either direction and answers kept for repetition; zero when all is over. Watching peers
    /// does not count.
    pub fn load(&self) -> usize {
        let calls = self.calls.values().filter(|call| !call.is_watch()).count();
        let attempts = self.attempts.values().filter(|attempt| !attempt.is_watch).count();
        self.servers.len() + calls + attempts + self.answered.len() + self.merged.len()
    }

    /// Carries out what a transaction wants.
    fn run(&mut self, now: Now, mint: &mut Mint, id: TransactionId, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Send(bytes) => {
                    let server = self.servers.get(ServerKey(id.0)).map(|server| (server.target, None));
                    let client = self.attempts.get(&id).map(|attempt| (attempt.target, Some(SendId(id.0))));
                    if let Some((target, id)) = server.or(client) {
                        self.send(bytes, target, id);
                    }
                }
                Step::Response(response) => self.response_to(now, mint, id, response),
                Step::Timeout => self.attempt_failed(now, mint, id, outbound::Trouble::Silence),
                Step::TransportError => self.attempt_failed(now, mint, id, outbound::Trouble::Transport),
                Step::Over => {
                    let attempt = self.attempts.remove(&id);
                    if let Some(accepted) = attempt.and_then(|attempt| attempt.accepted) {
                        self.accepted.remove(&accepted.user);
                    }
                    self.servers.remove(ServerKey(id.0));
                    self.timers.stop(&Alarm::Unanswered(ServerKey(id.0)));
                }
                // Only a message that comes in leads to these, and there they are taken out.
                Step::Request(_) | Step::Ack(_) => {}
            }
        }
    }

    fn send(&mut self, bytes: bytes::Bytes, target: Target, id: Option<SendId>) {
        self.out.push_back(AgentOut::Send(SipOut { bytes, target, id }));
    }

    fn log(&mut self, level: Level, event: &'static str, fields: Vec<(&'static str, String)>) {
        self.out.push_back(AgentOut::Note(Note::Log { level, event, fields }));
    }

    /// Logs what a neighbour or a stranger did, once a minute for each source.
    fn log_hushed(
        &mut self,
        now: Now,
        event: &'static str,
        source: IpAddr,
        fields: Vec<(&'static str, String)>,
    ) {
        if self.hush.admits(now.tick, event, source) {
            self.log(Level::Warn, event, fields);
        }
    }

    fn count(&mut self, name: &'static str, reason: &'static str) {
        self.out.push_back(AgentOut::Note(Note::Count { name, labels: vec![("reason", reason)], by: 1 }));
    }
}
