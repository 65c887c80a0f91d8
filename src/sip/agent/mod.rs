//! The user agent core: who may speak to us, where requests go, and what is answered below the features.

use std::collections::VecDeque;

use super::flow::{BadSip, Flow, SendId, SipOut};
use super::locate::{Located, Query};
use super::message::{Answer, Failure, Message, OutRequest, Reply, Request, ServerKey};
use crate::config::Config;
use crate::words::id::Mint;
use crate::words::note::Note;
use crate::words::time::{Now, Tick};

/// The user agent core of one gateway.
pub struct Agent {
    next: u64,
    out: VecDeque<AgentOut>,
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
    /// A request that is new (no retransmission), valid and from a peer. It must be answered by [`Agent::reply`].
    Request(InRequest),
    /// An ACK for a 2xx; it is not answered.
    Ack(InRequest),
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
    pub request: Request,
    /// The way it came.
    pub flow: Flow,
    /// Which peer sent it, by its place in `sip.peers`.
    pub peer: usize,
}

impl Agent {
    /// An agent that has heard nothing and watches nobody yet.
    pub fn new(_config: &Config) -> Agent {
        Agent { next: 1, out: VecDeque::new() }
    }

    /// Resolves the peers and begins to watch them.
    pub fn start(&mut self, _now: Now) {}

    /// A message came in.
    pub fn receive(&mut self, _now: Now, _mint: &mut Mint, flow: Flow, message: Message) {
        if let Message::Request(request) = message {
            let key = ServerKey(self.next);
            self.next += 1;
            self.out.push_back(AgentOut::Request(InRequest { key, request, flow, peer: 0 }));
        }
    }

    /// Bytes came in that are no SIP message.
    pub fn bad(&mut self, _now: Now, _mint: &mut Mint, flow: Flow, bad: BadSip) {
        if bad.fatal {
            self.out.push_back(AgentOut::Close(flow));
        }
    }

    /// Sends a request; what becomes of it comes back with `user`: a `Final` or `Failed` exactly once.
    pub fn request(&mut self, _now: Now, _mint: &mut Mint, user: u64, _request: OutRequest) {
        self.out.push_back(AgentOut::Answer { user, answer: Answer::Failed(Failure::NoRoute) });
    }

    /// Answers a request. A second final answer to the same request is ignored.
    pub fn reply(&mut self, _now: Now, _mint: &mut Mint, _key: ServerKey, _reply: Reply) {}

    /// What was to be sent under this number could not be sent.
    pub fn send_failed(&mut self, _now: Now, _mint: &mut Mint, _id: SendId, _why: String) {}

    /// DNS answered; nothing found and nothing to be found look the same.
    pub fn resolved(&mut self, _now: Now, _mint: &mut Mint, _query: Query, _found: Vec<Located>) {}

    /// When [`Agent::timeout`] is wanted, and a stable name for why.
    pub fn next_timeout(&self) -> Option<(Tick, &'static str)> {
        None
    }

    /// Rings everything that is due.
    pub fn timeout(&mut self, _now: Now, _mint: &mut Mint) {}

    /// The one drain.
    pub fn poll(&mut self) -> Option<AgentOut> {
        self.out.pop_front()
    }

    /// The URI for a Contact of ours in requests to `target_domain` and answers from it:
    /// `sip:user@host:port;transport=tcp` with the user part of `aor` (a URI as text) and our own address.
    pub fn contact(&self, aor: &str, _target_domain: &str) -> String {
        aor.to_owned()
    }

    /// Transactions and queued requests that are left; zero when all is over. Watching peers does not count.
    pub fn load(&self) -> usize {
        0
    }
}
