//! Requests of ours: where they go, by which of a peer's addresses, with which credentials, and what comes of them.
//!
//! A *call* is one request with everything that is tried for it; an *attempt* is one client transaction of it. The
//! next address is tried when one is silent, cannot be reached or answers 503 (RFC 3263 §4.3); Call-ID, From tag and
//! CSeq stay the same, so that who got it twice can tell.

use std::collections::VecDeque;
use std::net::IpAddr;

use bytes::Bytes;
use sipx_sip::validate_response;

use super::invite::Accepted;
use super::{Agent, AgentOut, Alarm, print};
use crate::sip::auth;
use crate::sip::flow::{ConnId, SendId, Target, Transport};
use crate::sip::locate::Hop;
use crate::sip::message::{
    self, Answer, Failure, HeaderName, Message, Method, OutRequest, Request, Response,
};
use crate::sip::transaction::{Received, TransactionId};
use crate::sip::uri::{Host, Uri};
use crate::words::id::Mint;
use crate::words::time::Now;

/// RFC 3261 §18.1.1, RFC 3428 §8: what is longer needs a transport that cares for congestion.
const DATAGRAM_LIMIT: usize = 1300;
/// Ports below this are other services' (RFC 6335 §6).
const WELL_KNOWN: u16 = 1024;
/// Requests under way at once.
const LIMIT: usize = 100_000;
/// What their bodies may take.
const LIMIT_BYTES: usize = 256 * 1024 * 1024;
/// Answers to challenges for one request: one, and one more when the nonce was stale or another asks too.
const TRIES: u8 = 2;

/// Who wants to know what becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// The user of [`Agent::request`](super::Agent::request), by its own number.
    User(u64),
    /// The watch over a peer.
    Watch(usize),
}

/// One request, with everything that is tried for it.
pub struct Call {
    pub asker: Asker,
    pub(super) request: OutRequest,
    peer: usize,
    /// What is still to be tried, after `hop`.
    hops: VecDeque<Hop>,
    /// What is being tried; nothing while the peer's addresses are awaited.
    pub(super) hop: Option<Hop>,
    /// What carries it at the moment.
    pub(super) transaction: Option<TransactionId>,
    pub(super) cseq: u32,
    tries: u8,
    pub(super) credentials: Vec<(HeaderName, String)>,
    /// The present attempt got a provisional answer.
    pub(super) provisional: bool,
    /// It is not wanted any more: nothing else is tried for it.
    pub(super) cancelled: bool,
    /// Why sending failed last, in words.
    pub why: String,
}

impl Call {
    pub(super) fn new(
        asker: Asker,
        request: OutRequest,
        peer: usize,
        credentials: Vec<(HeaderName, String)>,
    ) -> Call {
        Call {
            asker,
            peer,
            hops: VecDeque::new(),
            hop: None,
            transaction: None,
            cseq: request.cseq,
            tries: 0,
            credentials,
            provisional: false,
            cancelled: false,
            why: String::new(),
            request,
        }
    }

    pub fn is_watch(&self) -> bool {
        matches!(self.asker, Asker::Watch(_))
    }
}

/// One client transaction.
pub struct Attempt {
    pub call: u64,
    pub target: Target,
    pub is_watch: bool,
    /// It carried an INVITE, which was accepted.
    pub accepted: Option<Box<Accepted>>,
}

/// Why an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    Silence,
    Transport,
}

impl Agent {
    pub(super) fn call(&mut self, now: Now, mint: &mut Mint, asker: Asker, request: OutRequest) {
        let peer = match asker {
            Asker::Watch(peer) => Some(peer),
            Asker::User(_) => self.config.peer_for(&domain_of(&request)),
        };
        let Some(peer) = peer else {
            return self.tell(asker, Answer::Failed(Failure::NoRoute));
        };
        if self.calls.len() >= LIMIT || self.call_bytes >= LIMIT_BYTES {
            self.count("sip_refused_total", "too-many");
            let why = "too many requests under way".to_owned();
            return self.tell(asker, Answer::Failed(Failure::Transport(why)));
        }
        let id = self.transactions.number().0;
        if let (Asker::User(user), Method::Invite) = (asker, &request.method) {
            self.invites.insert(user, id);
        }
        self.call_bytes += request.body.len();
        self.calls.insert(id, Box::new(Call::new(asker, request, peer, Vec::new())));
        if !self.peers.is_searching(peer) {
            self.set_out(now, mint, id);
        }
    }

    /// Sends on their way all calls that waited for an address of their peer.
    pub(super) fn release(&mut self, now: Now, mint: &mut Mint) {
        let calls = self.calls.iter();
        let ready: Vec<u64> = calls
            .filter(|(_, call)| call.hop.is_none() && !self.peers.is_searching(call.peer))
            .map(|(id, _)| *id)
            .collect();
        for id in ready {
            self.set_out(now, mint, id);
        }
    }

    /// Chooses the hops of a call and tries the first.
    fn set_out(&mut self, now: Now, mint: &mut Mint, id: u64) {
        let Some(call) = self.calls.get(&id) else { return };
        match self.way(call) {
            Ok(hops) => {
                if let Some(call) = self.calls.get_mut(&id) {
                    call.hops = hops;
                }
                self.attempt(now, mint, id);
            }
            Err(failure) => self.finish(id, Answer::Failed(failure)),
        }
    }

    pub(super) fn way(&self, call: &Call) -> Result<VecDeque<Hop>, Failure> {
        let config = self.peers.config(call.peer);
        let mut hops: Vec<Hop> = match self.next_hop(&call.request) {
            Some(hop) => vec![hop],
            None => self.peers.hops(call.peer).to_vec(),
        };
        if hops.is_empty() {
            return Err(Failure::Transport(format!("{} leads nowhere", config.uri)));
        }
        if hops.iter().any(|hop| self.own.reaches(hop.transport, &hop.address)) {
            hops.retain(|hop| self.own.reaches(hop.transport, &hop.address));
        }
        self.fit(call, hops)
    }

    /// The same hops, by a transport that takes a request of this length.
    fn fit(&self, call: &Call, hops: Vec<Hop>) -> Result<VecDeque<Hop>, Failure> {
        if call.credentials.is_empty()
            && print::at_most(&call.request, self.own.longest_name()) <= DATAGRAM_LIMIT
        {
            return Ok(hops.into());
        }
        let Some(first) = hops.first() else { return Ok(VecDeque::new()) };
        let config = self.peers.config(call.peer);
        let sample = self.compose(call, first, "000000000000000000").map_err(Failure::Transport)?;
        let length = print::bytes_of(&Message::Request(sample)).len();
        if length <= DATAGRAM_LIMIT {
            return Ok(hops.into());
        }
        let has_tcp = match config.transport {
            Some(transport) => transport == Transport::Tcp,
            None => self.own.listens(Transport::Tcp),
        };
        let is_message = call.request.method == Method::Message;
        if is_message && !(config.long_messages && has_tcp) {
            let limit = (call.request.body.len() + DATAGRAM_LIMIT).saturating_sub(length);
            return Err(Failure::TooLong { limit });
        }
        if has_tcp {
            let mut reliable: Vec<Hop> = Vec::new();
            for hop in &hops {
                let hop = Hop { transport: Transport::Tcp, ..hop.clone() };
                if !reliable.contains(&hop) {
                    reliable.push(hop);
                }
            }
            // RFC 3261 §18.1.1: back to the transport that would have been taken, if the connection fails.
            let back = hops.into_iter().filter(|hop| hop.transport == Transport::Udp && !is_message);
            reliable.extend(back.collect::<Vec<_>>());
            return Ok(reliable.into());
        }
        Ok(hops.into())
    }

    /// Inside a dialog, the first Route or the Request-URI, if that is at a peer's address. Otherwise the request goes
    /// to the peer of its domain: nobody else is contacted, whatever a Contact or Record-Route says.
    fn next_hop(&self, request: &OutRequest) -> Option<Hop> {
        if request.routes.is_empty() && !message::may_have_tag(request.to.as_bytes()) {
            return None;
        }
        let to = message::headers::Address::parse(request.to.as_bytes(), "To").ok()?;
        if request.routes.is_empty() && to.tag().is_none() {
            return None;
        }
        let (target, routes) = print::routing(request);
        let is_strict = request.routes.first() != routes.first();
        let text = match routes.first().filter(|_| !is_strict) {
            Some(route) => message::uri_of(route)?,
            None => target,
        };
        let uri = Uri::parse(bytes::Bytes::from(text.into_bytes())).ok()?;
        let host = uri.host()?.to_string().trim_end_matches('.').to_ascii_lowercase();
        let transport = match uri.transport().map(<[u8]>::to_ascii_lowercase).as_deref() {
            Some(b"tcp") => Transport::Tcp,
            Some(b"udp") => Transport::Udp,
            Some(_) => return None,
            None if self.own.listens(Transport::Udp) => Transport::Udp,
            None => Transport::Tcp,
        };
        let port = uri.port().unwrap_or(5060);
        if let Some(Host::Ip(ip)) = uri.host() {
            let known = !self.peers.at(*ip).is_empty() && self.is_open(*ip, port);
            return known.then(|| Hop { transport, address: (*ip, port).into(), name: host });
        }
        let known = self.peers.named(&host)?;
        match uri.port() {
            Some(port) if !self.is_open(known.address.ip(), port) => None,
            Some(port) => Some(Hop { transport, address: (known.address.ip(), port).into(), name: host }),
            None => Some(known.clone()),
        }
    }

    /// Whether a dialog may lead to this port: its Contact must not make us talk to another service of a peer's machine.
    /// Well-known ports are such services, unless the admin's own URI leads there.
    fn is_open(&self, address: IpAddr, port: u16) -> bool {
        let is_named =
            |peer: usize| self.peers.hops(peer).iter().any(|hop| hop.address == (address, port).into());
        port >= WELL_KNOWN || (0..self.peers.len()).any(is_named)
    }

    /// The connection that the request prefers, if who is at its other end is this hop: the peer itself, or where the
    /// dialog leads.
    fn preferred(&self, request: &OutRequest, hop: &Hop) -> Option<ConnId> {
        let inlet = request.over?;
        let leads_there = hop.transport == Transport::Tcp && hop.address.ip() == inlet.source;
        (leads_there && (inlet.is_next || self.next_hop(request).is_none())).then_some(inlet.conn)
    }

    fn compose(&self, call: &Call, hop: &Hop, token: &str) -> Result<Request, String> {
        let via = self.via(hop, token);
        let additions = print::Additions { via: &via, cseq: call.cseq, credentials: &call.credentials };
        print::request(&call.request, &additions)
    }

    pub(super) fn compose_bytes(&self, call: &Call, hop: &Hop, token: &str) -> Result<Bytes, String> {
        let via = self.via(hop, token);
        let additions = print::Additions { via: &via, cseq: call.cseq, credentials: &call.credentials };
        print::request_bytes(&call.request, &additions)
    }

    fn via(&self, hop: &Hop, token: &str) -> String {
        let (sent_by, _) = self.own.sent_by(hop.transport, &hop.address);
        ["SIP/2.0/", hop.transport.via(), " ", sent_by, ";branch=", message::COOKIE, token, ";rport"].concat()
    }

    /// Tries the next hop of a call.
    fn attempt(&mut self, now: Now, mint: &mut Mint, id: u64) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(hop) = call.hops.pop_front() else {
            let why = std::mem::take(&mut call.why);
            return self.finish(id, Answer::Failed(Failure::Transport(why)));
        };
        call.hop = Some(hop.clone());
        call.provisional = false;
        let (partition, is_watch) = (call.request.partition, call.is_watch());
        let token = mint.token(partition);
        let call = &self.calls[&id];
        let (_, local) = self.own.sent_by(hop.transport, &hop.address);
        let conn = self.preferred(&call.request, &hop);
        let target = Target { transport: hop.transport, local, remote: hop.address, conn };
        let method = call.request.method.clone();
        if method != Method::Invite {
            let bytes = match self.compose_bytes(call, &hop, &token) {
                Ok(bytes) => bytes,
                Err(why) => return self.finish(id, Answer::Failed(Failure::Transport(why))),
            };
            let at = self.transactions.ask(now.tick, hop.transport, token, method, bytes.clone());
            self.attempts.insert(at, Attempt { call: id, target, is_watch, accepted: None });
            return self.send(bytes, target, Some(SendId(at.0)));
        }
        let request = match self.compose(call, &hop, &token) {
            Ok(request) => request,
            Err(why) => return self.finish(id, Answer::Failed(Failure::Transport(why))),
        };
        match self.transactions.send(now.tick, hop.transport, request) {
            Some((transaction, steps)) => {
                self.attempts.insert(transaction, Attempt { call: id, target, is_watch, accepted: None });
                if let Some(call) = self.calls.get_mut(&id) {
                    call.transaction = Some(transaction);
                }
                self.run(now, mint, transaction, steps);
            }
            None => {
                let why = "our own Via cannot be read".to_owned();
                self.finish(id, Answer::Failed(Failure::Transport(why)));
            }
        }
    }

    pub(super) fn attempt_failed(&mut self, now: Now, mint: &mut Mint, at: TransactionId, trouble: Trouble) {
        let Some(id) = self.attempts.get(&at).map(|attempt| attempt.call) else { return };
        if let Some(peer) = self.calls.get(&id).map(|call| call.peer) {
            self.doubt(now, mint, peer);
        }
        let Some(call) = self.calls.get_mut(&id) else { return };
        if let Some(hop) = &call.hop {
            self.peers.demote(call.peer, hop);
            if trouble == Trouble::Silence {
                // It may have arrived there: not again over UDP to the same place.
                let address = hop.address;
                call.hops.retain(|next| next.address != address);
            }
        }
        if !call.hops.is_empty() && !call.cancelled {
            let asker = call.asker;
            self.tell(asker, Answer::Repeated);
            return self.attempt(now, mint, id);
        }
        let failure = match trouble {
            Trouble::Silence => Failure::Timeout,
            Trouble::Transport => Failure::Transport(std::mem::take(&mut call.why)),
        };
        self.finish(id, Answer::Failed(failure));
    }

    pub(super) fn response_in(&mut self, now: Now, mint: &mut Mint, response: Response) {
        let asked = self.transactions.asked(&response);
        let is_plain = asked.is_some_and(|at| self.is_plain(at, &response));
        if !is_plain && !validate_response(&response).is_empty() {
            return self.count("sip_dropped_total", "malformed");
        }
        if let Some(id) = asked {
            let steps = self.transactions.answered(now.tick, id, response);
            return self.run(now, mint, id, steps);
        }
        match self.transactions.receive(now.tick, Transport::Udp, Message::Response(response)) {
            Received::Steps(id, steps) => self.run(now, mint, id, steps),
            Received::Unmatched(_) => self.count("sip_dropped_total", "unmatched"),
        }
    }

    /// Whether a response repeats what its request said, letter by letter (RFC 3261 §8.2.6.2). Then it is well-formed,
    /// and nothing need be decoded to know it.
    fn is_plain(&self, at: TransactionId, response: &Response) -> bool {
        let attempt = self.attempts.get(&at);
        let Some(call) = attempt.and_then(|attempt| self.calls.get(&attempt.call)) else { return false };
        let (request, headers) = (&call.request, &response.headers);
        let is_token = |tag: &[u8]| {
            !tag.is_empty() && tag.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(byte))
        };
        let to =
            message::only(headers, &HeaderName::To).and_then(|to| to.strip_prefix(request.to.as_bytes()));
        let cseq = message::only(headers, &HeaderName::CSeq);
        let number = cseq.and_then(|cseq| cseq.split(|byte| *byte == b' ').next());
        response.version.is_supported()
            && message::only(headers, &HeaderName::From) == Some(request.from.as_bytes())
            && message::only(headers, &HeaderName::CallId) == Some(request.call_id.as_bytes())
            && number == Some(call.cseq.to_string().as_bytes())
            && to.is_some_and(|to| to.is_empty() || to.strip_prefix(b";tag=").is_some_and(is_token))
    }

    /// A response to a request of ours.
    pub(super) fn response_to(&mut self, now: Now, mint: &mut Mint, at: TransactionId, response: Response) {
        let Some(id) = self.attempts.get(&at).map(|attempt| attempt.call) else { return };
        let Some(call) = self.calls.get_mut(&id) else { return self.further(at, response) };
        let status = response.status;
        if status.is_provisional() {
            let asker = call.asker;
            self.heard(now, id);
            return self.tell(asker, Answer::Provisional(response));
        }
        if status.code() == 503 && !call.hops.is_empty() && !call.cancelled {
            if let Some(hop) = &call.hop {
                self.peers.demote(call.peer, hop);
            }
            return self.attempt(now, mint, id);
        }
        if matches!(status.code(), 401 | 407) && self.prove(mint, id, &response) {
            // With the credentials it may have become too long for a datagram.
            let Some(call) = self.calls.get(&id) else { return };
            return match self.fit(call, call.hops.iter().cloned().collect()) {
                Ok(hops) => {
                    if let Some(call) = self.calls.get_mut(&id) {
                        call.hops = hops;
                    }
                    self.attempt(now, mint, id)
                }
                Err(failure) => self.finish(id, Answer::Failed(failure)),
            };
        }
        if status.is_success() {
            self.note_accepted(at, id);
        }
        if let Some(Asker::Watch(peer)) = self.calls.get(&id).map(|call| call.asker) {
            self.present(now, peer, status.code());
        }
        let cseq = self.calls.get(&id).map_or(0, |call| call.cseq);
        self.finish(id, Answer::Final { response, cseq });
    }

    /// Prepares the same request with credentials; false when the challenge is not ours to answer.
    fn prove(&mut self, mint: &mut Mint, id: u64, response: &Response) -> bool {
        let Some(call) = self.calls.get_mut(&id) else { return false };
        let Some(auth) = &self.peers.config(call.peer).auth else { return false };
        let Some(hop) = call.hop.clone() else { return false };
        // A device behind the peer's networks is not the peer: it gets no proof.
        let is_peer = self.peers.hops(call.peer).iter().any(|known| known.address.ip() == hop.address.ip());
        if !is_peer || call.is_watch() || call.cancelled || call.tries >= TRIES {
            return false;
        }
        let (uri, _) = print::routing(&call.request);
        let mut is_new = false;
        for challenge in auth::challenges(response) {
            let nonce = mint.token(call.request.partition);
            let method = call.request.method.to_string();
            let (name, value) = auth::answer(&challenge, auth, &method, &uri, 1, &nonce);
            let realm = format!("realm=\"{}\"", challenge.realm.replace('\\', r"\\").replace('"', "\\\""));
            let same = |known: &(HeaderName, String)| known.0 == name && known.1.contains(&realm);
            is_new |= challenge.stale || !call.credentials.iter().any(same);
            call.credentials.retain(|known| !same(known));
            call.credentials.push((name, value));
        }
        if !is_new {
            return false;
        }
        call.tries += 1;
        call.cseq = call.cseq.saturating_add(1);
        call.hops.push_front(hop);
        true
    }

    pub(super) fn finish(&mut self, id: u64, answer: Answer) {
        if let Some(call) = self.calls.remove(&id) {
            self.call_bytes = self.call_bytes.saturating_sub(call.request.body.len());
            if let (Asker::User(user), Method::Invite) = (call.asker, &call.request.method) {
                self.invites.remove(&user);
                self.timers.stop(&Alarm::Cancelled(id));
            }
            self.tell(call.asker, answer);
        }
    }

    fn tell(&mut self, asker: Asker, answer: Answer) {
        match asker {
            Asker::User(user) => self.out.push_back(AgentOut::Answer { user, answer }),
            Asker::Watch(peer) => self.watched(peer, &answer),
        }
    }
}

/// The domain whose peer is asked: as given, else the host of the Request-URI.
pub(super) fn domain_of(request: &OutRequest) -> String {
    if !request.domain.is_empty() {
        return request.domain.clone();
    }
    let uri = Uri::parse(bytes::Bytes::copy_from_slice(request.uri.as_bytes())).ok();
    let host = uri.and_then(|uri| uri.host().map(ToString::to_string)).unwrap_or_default();
    host.trim_end_matches('.').to_ascii_lowercase()
}
