//! One door, one drain, one alarm: the machine around the features.
//!
//! **The contract.** After every [`Gateway::handle`], call [`Gateway::poll`] until it returns nothing, before the next
//! input. What one such drain gives is one step: its `Save`s and `Forget`s commit together. Then wait for an input or
//! for [`Gateway::next_timeout`], whichever comes first.
//!
//! The gateway knows no feature by name. It asks the policy ([`route`]) whether a stanza or request may enter, offers
//! it to the features in the registry's order, and answers what nobody took: every stanza and every request gets a
//! fate (rule 8).

mod crowd;
pub mod domains;
pub mod io;
pub mod owner;
mod restoring;
mod route;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use self::crowd::Crowd;
use self::restoring::{Restoring, Turn};
use crate::config::Config;
use crate::features::facts::Facts;
use crate::features::{self, Cx, Feature, Op, Signal};
use crate::msrp::connections::{Connections, Out};
use crate::msrp::reassembly::Limits;
use crate::sabotage::{self, Fault as Mistake};
use crate::sip::agent::{Agent, AgentOut};
use crate::words::id::{Mint, Partition, Seed};
use crate::words::note::{Level, Note};
use crate::words::time::{Now, Tick};

pub use domains::Domains;
pub use io::{Forward, Input, LinkChange, LinkId, Output, StoreChange};

/// One owner's share of all conversations. See the module for the contract.
pub struct Gateway {
    config: Arc<Config>,
    domains: Domains,
    mint: Mint,
    facts: Facts,
    agent: Agent,
    crowd: Crowd,
    msrp: Connections,
    features: Vec<Box<dyn Feature + Send>>,
    /// The SIP methods that they serve, each once.
    methods: BTreeSet<&'static str>,
    links: Vec<bool>,
    store: StoreChange,
    /// How many records were of no kind that a feature keeps.
    unknown: u64,
    stopping: bool,
    stopped: bool,
    /// Records come back while there is traffic.
    restoring: Option<Restoring>,
    level: Level,
    ops: VecDeque<Op>,
    signals: VecDeque<Signal>,
    out: VecDeque<Output>,
}

/// A message is as long as it may be in XMPP; a second one may begin before the first is whole.
fn msrp_limits(config: &Config) -> Limits {
    let message = config.messages.max_message;
    Limits { message, session: 2 * message }
}

/// How many bytes all incomplete MSRP messages of one owner may take.
const MSRP_ROOM: usize = 64 * 1024 * 1024;

/// A feature's place in the registry travels in the upper byte of the agent's `user`, its token in the rest.
const TOKEN_BITS: u32 = 56;

fn join(index: usize, token: u64) -> u64 {
    (index as u64) << TOKEN_BITS | token & ((1 << TOKEN_BITS) - 1)
}

fn split(user: u64) -> (usize, u64) {
    ((user >> TOKEN_BITS) as usize, user & ((1 << TOKEN_BITS) - 1))
}

impl Gateway {
    /// A gateway that has heard nothing yet. Give it its records ([`Input::Restored`]), then
    /// [`Input::RestoreDone`], then the links. Or say [`Input::Restoring`] first: then anything may come between the records.
    pub fn new(config: Arc<Config>, seed: Seed) -> Gateway {
        let features = features::registry();
        let methods = features.iter().flat_map(|feature| feature.manifest().methods).copied().collect();
        Gateway {
            domains: Domains::new(&config),
            mint: Mint::new(seed),
            facts: Facts::default(),
            agent: Agent::new(&config),
            crowd: Crowd::default(),
            msrp: Connections::new(msrp_limits(&config), MSRP_ROOM),
            features,
            methods,
            links: vec![false; config.xmpp.components.len()],
            store: StoreChange::Ok,
            unknown: 0,
            stopping: false,
            stopped: false,
            restoring: None,
            level: Level::Debug,
            ops: VecDeque::new(),
            signals: VecDeque::new(),
            out: VecDeque::new(),
            config,
        }
    }

    /// The same gateway, which leaves it to the first of its process to watch the SIP peers.
    pub fn without_watch(mut self) -> Gateway {
        self.agent.leave_watch();
        self
    }

    /// The same, for an owner whose share does not hold partition 0: `home` is one that it holds.
    pub fn at_home(mut self, home: Partition) -> Gateway {
        self.mint = self.mint.at_home(home);
        self
    }

    /// The same, whose log nobody reads below this level: such lines need not be made.
    pub fn with_log_level(mut self, level: Level) -> Gateway {
        self.level = level;
        self
    }

    /// The one door.
    pub fn handle(&mut self, now: Now, input: Input) {
        let Some(restoring) = &mut self.restoring else { return self.take(now, input) };
        match restoring.turn(&self.domains, input) {
            Turn::Now(input) => self.take(now, input),
            Turn::Later => {}
            Turn::Fetch(partition) => self.out.push_back(Output::Fetch(partition)),
        }
    }

    /// Whether so much waits for its records that nothing more should come in.
    pub fn is_crowded(&self) -> bool {
        self.restoring.as_ref().is_some_and(Restoring::is_crowded)
    }

    fn take(&mut self, now: Now, input: Input) {
        match input {
            Input::Stanza(link, stanza) => self.stanza(now, link, &stanza),
            Input::BadStanza(link, element) => self.bad_stanza(link, &element),
            Input::Sip(flow, message) => self.agent.receive(now, &mut self.mint, flow, *message),
            Input::BadSip(flow, bad) => self.agent.bad(now, &mut self.mint, flow, bad),
            Input::Msrp(input) => self.msrp.handle(now.tick, &mut self.mint, input),
            Input::Timeout => self.ring(now),
            Input::Link(link, change) => self.link(now, link, change),
            Input::SendFailed(id, why) => self.agent.send_failed(now, &mut self.mint, id, why),
            Input::Resolved(query, found) => self.agent.resolved(now, &mut self.mint, query, found),
            Input::Store(change) => {
                self.store = change;
                self.each(now, |feature, cx| feature.store(cx, change));
            }
            Input::Restored(record) => {
                let owner = self
                    .features
                    .iter()
                    .position(|feature| feature.manifest().records.iter().any(|kind| *kind == record.kind));
                match owner {
                    Some(index) => self.with(now, index, |feature, cx| feature.restored(cx, &record)),
                    None => self.unknown += 1,
                }
            }
            Input::Restoring => {
                self.agent.start(now);
                self.restoring = Some(Restoring::default());
            }
            Input::Whole(partition) => {
                self.each(now, |feature, cx| feature.start(cx));
                self.settle(now);
                let waited = self.restoring.as_mut().map(|restoring| restoring.is_whole(partition));
                waited.into_iter().flatten().for_each(|input| self.take(now, input));
            }
            Input::RestoreDone => {
                self.tell_unknown();
                let restoring = self.restoring.take();
                if restoring.is_none() {
                    self.agent.start(now);
                }
                self.each(now, |feature, cx| feature.start(cx));
                self.settle(now);
                restoring.into_iter().flat_map(Restoring::end).for_each(|input| self.take(now, input));
            }
            Input::Forwarded(Forward::PeerBack(peer)) => {
                self.each(now, |feature, cx| feature.peer_back(cx, peer));
            }
            Input::Explain(number, stanza) => {
                let mut said = String::new();
                self.each(now, |feature, cx| said.extend(feature.explain(cx, &stanza)));
                if said.is_empty() {
                    said.push_str("no feature has a rule for this\n");
                }
                self.out.push_back(Output::Explained(number, said));
            }
            Input::Stop => self.stopping = true,
        }
        self.settle(now);
        if self.stopping && !self.stopped {
            self.say_goodbye(now);
        }
    }

    /// The one drain.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// The one alarm: when [`Input::Timeout`] is wanted, and a stable name for why.
    pub fn next_timeout(&self) -> Option<(Tick, &'static str)> {
        self.features
            .iter()
            .filter_map(|feature| feature.next_timeout())
            .chain(self.agent.next_timeout())
            .chain(self.msrp.next_timeout())
            .chain(self.crowd.next_timeout().map(|at| (at, "crowd")))
            .min()
    }

    /// How many transactions, conversations, queues and timers are held; zero when all is over.
    pub fn load(&self) -> usize {
        self.restoring.as_ref().map_or(0, Restoring::len)
            + self.agent.load()
            + self.msrp.load()
            + self.crowd.len()
            + self.features.iter().map(|feature| feature.load()).sum::<usize>()
    }

    /// Records whose kind nobody here knows stay where they are; an admin may want to know.
    fn tell_unknown(&mut self) {
        if self.unknown > 0 {
            let fields = vec![("records", self.unknown.to_string()), ("do", "mostar fsck".to_owned())];
            let note = Note::Log { level: Level::Warn, event: "records-unknown", fields };
            self.out.push_back(Output::Note(note));
        }
    }

    fn ring(&mut self, now: Now) {
        self.crowd.timeout(now);
        if self.agent.next_timeout().is_some_and(|(at, _)| at <= now.tick) {
            self.agent.timeout(now, &mut self.mint);
        }
        if self.msrp.next_timeout().is_some_and(|(at, _)| at <= now.tick) {
            self.msrp.timeout(now.tick, &mut self.mint);
        }
        self.each(now, |feature, cx| {
            if feature.next_timeout().is_some_and(|(at, _)| at <= cx.now.tick) {
                feature.timeout(cx);
            }
        });
    }

    fn link(&mut self, now: Now, link: LinkId, change: LinkChange) {
        let Some(up) = self.links.get_mut(link.0) else { return };
        *up = change == LinkChange::Up;
        match change {
            LinkChange::Up => self.each(now, |feature, cx| feature.link_up(cx, link)),
            LinkChange::Down => {
                self.facts.forget_online();
                self.each(now, |feature, cx| feature.link_down(cx, link));
            }
        }
    }

    fn say_goodbye(&mut self, now: Now) {
        let mut done = true;
        for index in 0..self.features.len() {
            done &= self.with(now, index, |feature, cx| feature.stop(cx));
            self.settle(now);
        }
        if done {
            self.stopped = true;
            self.out.push_back(Output::Stopped);
        }
    }

    /// Carries out what features and agent want until both are silent.
    fn settle(&mut self, now: Now) {
        loop {
            while let Some(out) = self.agent.poll() {
                self.agent_out(now, out);
            }
            if let Some(out) = self.msrp.poll() {
                self.msrp_out(now, out);
                continue;
            }
            let Some(signal) = self.signals.pop_front() else { return };
            self.each(now, |feature, cx| feature.signal(cx, &signal));
        }
    }

    fn agent_out(&mut self, now: Now, out: AgentOut) {
        match out {
            AgentOut::Send(message) => self.out.push_back(Output::Sip(message)),
            AgentOut::Close(flow) => self.out.push_back(Output::Close(flow)),
            AgentOut::Resolve(query) => self.out.push_back(Output::Resolve(query)),
            AgentOut::Note(note) => self.out.push_back(Output::Note(note)),
            AgentOut::PeerBack(peer) => {
                self.out.push_back(Output::Forward(Forward::PeerBack(peer)));
                self.each(now, |feature, cx| feature.peer_back(cx, peer));
            }
            AgentOut::Request(request) => self.request(now, *request),
            AgentOut::Ack(ack) => self.ack(now, *ack),
            AgentOut::Cancelled(key) => {
                for index in 0..self.features.len() {
                    if self.with(now, index, |feature, cx| feature.cancelled(cx, key)) {
                        return;
                    }
                }
            }
            AgentOut::Further { user, cseq, response } => {
                let (index, token) = split(user);
                if index < self.features.len() {
                    self.with(now, index, |feature, cx| feature.further(cx, token, cseq, &response));
                }
            }
            AgentOut::Answer { user, answer } => {
                let (index, token) = split(user);
                if index < self.features.len() {
                    self.with(now, index, |feature, cx| feature.answer(cx, token, &answer));
                }
            }
        }
    }

    fn msrp_out(&mut self, now: Now, out: Out) {
        match out {
            Out::Msrp(out) => self.out.push_back(Output::Msrp(out)),
            Out::Note(note) => self.out.push_back(Output::Note(note)),
            Out::Told { session, event } => {
                for index in 0..self.features.len() {
                    if self.with(now, index, |feature, cx| feature.msrp(cx, session, &event)) {
                        return;
                    }
                }
            }
        }
    }

    /// Calls every feature in the registry's order.
    fn each(&mut self, now: Now, mut call: impl FnMut(&mut dyn Feature, &mut Cx<'_>)) {
        for index in 0..self.features.len() {
            self.with(now, index, &mut call);
        }
    }

    /// Calls one feature, then does what it asked for.
    fn with<T>(
        &mut self,
        now: Now,
        index: usize,
        call: impl FnOnce(&mut dyn Feature, &mut Cx<'_>) -> T,
    ) -> T {
        let mut cx = Cx {
            now,
            mint: &mut self.mint,
            config: &self.config,
            domains: &self.domains,
            facts: &mut self.facts,
            msrp: &mut self.msrp,
            links: &self.links,
            restoring: self.restoring.is_some(),
            accepting: self.store == StoreChange::Ok && !self.stopping,
            level: self.level,
            ops: &mut self.ops,
        };
        let result = call(self.features[index].as_mut(), &mut cx);
        while let Some(op) = self.ops.pop_front() {
            self.carry_out(now, index, op);
        }
        result
    }

    fn carry_out(&mut self, now: Now, index: usize, op: Op) {
        match op {
            Op::Stanza(stanza) => self.send_stanza(stanza, false),
            Op::Refuse(stanza) => self.send_stanza(stanza, true),
            Op::Request(token, request) => {
                self.agent.request(now, &mut self.mint, join(index, token), *request);
            }
            Op::Cancel(token) => self.agent.cancel(now, join(index, token)),
            Op::Ack(token, request) => self.agent.ack(&mut self.mint, join(index, token), *request),
            Op::Reply(key, reply) if sabotage::is(Mistake::AnsweredFirst) => self.reply_now(now, key, reply),
            Op::Reply(key, reply) => self.agent.reply(now, &mut self.mint, key, reply),
            Op::ReplyNow(key, reply) => self.reply_now(now, key, reply),
            Op::Save(record) => self.out.push_back(Output::Save(record)),
            Op::Forget(key) => self.out.push_back(Output::Forget(key)),
            Op::Signal(signal) => self.signals.push_back(signal),
            Op::Note(note) => self.out.push_back(Output::Note(note)),
        }
    }
}
