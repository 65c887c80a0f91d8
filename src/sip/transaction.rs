//! The transactions of RFC 3261 §17 (with RFC 6026), by `sipx-sip`, behind our clock.
//!
//! `sipx-sip` names its timers and asks for durations; here they become [`Tick`]s in one ordered set, and a duration
//! of zero (every absorbing timer on TCP) is over in the call that set it. Transactions are numbered, so that the rest
//! of the agent has a small ordered name for each. Requests of ours other than INVITE are kept by [`super::client`].
//!
//! The library keeps an INVITE and its answer for as long as it may come again. Once we have accepted one, its name is
//! enough: there are many of those, for half a minute each, between things that stay for hours.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use sipx_sip::transaction::{Dispatch, Output, Timer, Timers as Durations};
use sipx_sip::{Reliability, TransactionKey, TransactionLayer, TuEvent};

use bytes::Bytes;

use super::client::Clients;
use super::flow::Transport;
use super::message::{Message, Method, Request, Response};
use crate::words::time::Tick;
use crate::words::timers::Timers;

/// Tables for more transactions than this are given back when the last is over.
const ROOMY: usize = 1_000;
/// How long an INVITE that was accepted may come again: timer L, 64·T1 (RFC 6026 §8.1).
const ABSORBS: Duration = Duration::from_secs(32);
/// Its place among the timers; no number that the library's have.
const TIMER_L: u8 = u8::MAX;

/// Names one transaction of ours, in either role; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId(pub u64);

/// What a transaction wants done or tells, in order.
#[derive(Debug)]
pub enum Step {
    /// Put this on the wire.
    Send(Bytes),
    /// A request that is no retransmission.
    Request(Request),
    /// A response to a request of ours.
    Response(Response),
    /// An ACK for a 2xx.
    Ack(Request),
    /// Nothing was heard for 64·T1.
    Timeout,
    /// The transport could not deliver.
    TransportError,
    /// Nothing more will come of this transaction.
    Over,
}

/// Where a message belongs.
#[derive(Debug)]
pub enum Received {
    /// To a transaction, new or old.
    Steps(TransactionId, Vec<Step>),
    /// To none: a late response, or an ACK for a 2xx.
    Unmatched(Box<Message>),
}

/// All transactions under way.
pub struct Transactions {
    layer: TransactionLayer,
    ids: HashMap<Arc<TransactionKey>, TransactionId>,
    keys: HashMap<TransactionId, Arc<TransactionKey>>,
    /// INVITEs to us that we have accepted.
    accepted: BTreeSet<TransactionId>,
    timers: Timers<(TransactionId, u8)>,
    clients: Clients,
    next: u64,
}

impl Default for Transactions {
    fn default() -> Self {
        Transactions {
            layer: TransactionLayer::new(Durations::default()),
            ids: HashMap::new(),
            keys: HashMap::new(),
            accepted: BTreeSet::new(),
            timers: Timers::default(),
            clients: Clients::default(),
            next: 1,
        }
    }
}

impl Transactions {
    /// A number that no transaction has.
    pub fn number(&mut self) -> TransactionId {
        let id = TransactionId(self.next);
        self.next += 1;
        id
    }

    /// When [`Transactions::ring`] is wanted.
    pub fn next_timeout(&self) -> Option<Tick> {
        let own = self.timers.next().map(|(at, _)| at);
        own.into_iter().chain(self.clients.next_timeout()).min()
    }

    /// A message came in.
    pub fn receive(&mut self, now: Tick, transport: Transport, message: Message) -> Received {
        if let Message::Request(request) = &message
            && request.method == Method::Invite
            && let Some(id) = TransactionKey::from_request(request).and_then(|key| self.find(&key))
            && self.accepted.contains(&id)
        {
            return Received::Steps(id, Vec::new());
        }
        match self.layer.receive(message, reliability(transport)) {
            Dispatch::Matched { key, outputs } | Dispatch::Created { key, outputs } => {
                let (id, key) = self.id_of(key);
                Received::Steps(id, self.absorb(now, id, &key, outputs))
            }
            Dispatch::Unmatched(message) => Received::Unmatched(message),
        }
    }

    /// Begins a client transaction. Nothing when the request has no readable Via, which we printed ourselves.
    pub fn send(
        &mut self,
        now: Tick,
        transport: Transport,
        request: Request,
    ) -> Option<(TransactionId, Vec<Step>)> {
        let (key, outputs) = self.layer.send_request(request, reliability(transport))?;
        let (id, key) = self.id_of(key);
        Some((id, self.absorb(now, id, &key, outputs)))
    }

    /// Begins the client transaction of a request other than INVITE that is being sent; `branch` is that of its Via,
    /// without the cookie.
    pub fn ask(
        &mut self,
        now: Tick,
        transport: Transport,
        branch: String,
        method: Method,
        request: Bytes,
    ) -> TransactionId {
        let id = self.number();
        self.clients.begin(now, id, transport, branch, method, request);
        id
    }

    /// Which request begun by [`Transactions::ask`] a response answers.
    pub fn asked(&self, response: &Response) -> Option<TransactionId> {
        self.clients.find(response)
    }

    /// A response came that [`Transactions::asked`] knows.
    pub fn answered(&mut self, now: Tick, id: TransactionId, response: Response) -> Vec<Step> {
        self.clients.answered(now, id, response)
    }

    /// The request that began a client transaction.
    pub fn sent(&self, id: TransactionId) -> Option<&Request> {
        self.layer.client_request(self.keys.get(&id)?.as_ref())
    }

    /// The transaction of this name.
    pub fn find(&self, key: &TransactionKey) -> Option<TransactionId> {
        self.ids.get(key).copied()
    }

    /// Answers through a server transaction, which then repeats the answer by itself.
    pub fn respond(&mut self, now: Tick, id: TransactionId, response: Response) -> Vec<Step> {
        let Some(key) = self.keys.get(&id).cloned() else { return Vec::new() };
        let outputs = self.layer.send_response(&key, response);
        self.absorb(now, id, &key, outputs)
    }

    /// An INVITE to us was accepted. From now on it is only known by its name: when it comes again, it is not answered
    /// here (RFC 6026 §7.1); its owner repeats the 2xx until the ACK comes.
    pub fn accepted(&mut self, now: Tick, id: TransactionId) {
        let Some(key) = self.keys.get(&id) else { return };
        self.layer.abandon(key);
        self.timers.stop_range((id, 0)..=(id, u8::MAX));
        self.timers.set((id, TIMER_L), now + ABSORBS);
        self.accepted.insert(id);
    }

    /// What a transaction wanted to send could not be sent.
    pub fn failed(&mut self, now: Tick, id: TransactionId) -> Vec<Step> {
        if let Some(steps) = self.clients.failed(id) {
            return steps;
        }
        let Some(key) = self.keys.get(&id).cloned() else { return Vec::new() };
        let outputs = self.layer.on_transport_error(&key);
        self.absorb(now, id, &key, outputs)
    }

    /// Rings the next timer that is due. Call until it returns nothing.
    pub fn ring(&mut self, now: Tick) -> Option<(TransactionId, Vec<Step>)> {
        let Some((id, timer)) = self.timers.pop(now) else { return self.clients.ring(now) };
        let Some(key) = self.keys.get(&id).cloned() else { return Some((id, Vec::new())) };
        let Some(timer) = Timer::ALL.get(usize::from(timer)) else {
            self.forget(id, &key);
            return Some((id, vec![Step::Over]));
        };
        let outputs = self.layer.on_timer(&key, *timer);
        Some((id, self.absorb(now, id, &key, outputs)))
    }

    fn id_of(&mut self, key: TransactionKey) -> (TransactionId, Arc<TransactionKey>) {
        if let Some((key, id)) = self.ids.get_key_value(&key) {
            return (*id, key.clone());
        }
        let (id, key) = (self.number(), Arc::new(key));
        self.ids.insert(key.clone(), id);
        self.keys.insert(id, key.clone());
        (id, key)
    }

    fn absorb(
        &mut self,
        now: Tick,
        id: TransactionId,
        key: &TransactionKey,
        outputs: Vec<Output>,
    ) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut outputs: std::collections::VecDeque<_> = outputs.into();
        while let Some(output) = outputs.pop_front() {
            match output {
                Output::Send(message) => steps.push(Step::Send(message.to_bytes())),
                Output::SetTimer { timer, after } if after.is_zero() => {
                    outputs.extend(self.layer.on_timer(key, timer));
                }
                Output::SetTimer { timer, after } => self.timers.set((id, place(timer)), now + after),
                Output::ClearTimer(timer) => {
                    self.timers.stop(&(id, place(timer)));
                }
                Output::ToTu(event) => steps.extend(match *event {
                    TuEvent::Request(request) => Some(Step::Request(*request)),
                    TuEvent::Response(response) => Some(Step::Response(*response)),
                    TuEvent::Ack(ack) => Some(Step::Ack(*ack)),
                    TuEvent::Timeout => Some(Step::Timeout),
                    TuEvent::TransportError => Some(Step::TransportError),
                    _ => None,
                }),
                Output::Terminated(_) => {
                    self.forget(id, key);
                    steps.push(Step::Over);
                }
                _ => {}
            }
        }
        steps
    }

    fn forget(&mut self, id: TransactionId, key: &TransactionKey) {
        self.ids.remove(key);
        self.keys.remove(&id);
        self.accepted.remove(&id);
        self.timers.stop_range((id, 0)..=(id, u8::MAX));
        // Tables keep the room that they once needed; the library's cannot be told to give it back.
        if self.ids.is_empty() && self.ids.capacity() > ROOMY {
            self.layer = TransactionLayer::new(Durations::default());
            self.ids.shrink_to_fit();
            self.keys.shrink_to_fit();
        }
    }
}

fn reliability(transport: Transport) -> Reliability {
    match transport {
        Transport::Tcp => Reliability::Reliable,
        Transport::Udp => Reliability::Unreliable,
    }
}

/// A timer's place in the library's own list: the library gives them no order.
fn place(timer: Timer) -> u8 {
    Timer::ALL.iter().position(|known| *known == timer).unwrap_or(0) as u8
}
