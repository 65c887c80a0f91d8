//! Requests that come in: admitted by address, matched with what is known, judged, answered.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sipx_sip::headers::{Via, first_hop_end};
use sipx_sip::{Header, StatusCode};

use super::head::{self, Head};
use super::{Agent, AgentOut, Alarm, InRequest, print, salvage};
use crate::sip::answered::RequestName;
use crate::sip::flow::{BadSip, Flow, Target, Transport};
use crate::sip::message::{self, HeaderName, Message, Method, Reply, Request, ServerKey};
use crate::sip::transaction::{Received, Step, TransactionId};
use crate::words::id::Mint;
use crate::words::note::Level;
use crate::words::time::Now;

/// How long an answer may take. Senders give up after 32 s.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the usage of INVITE understands (RFC 4028).
const SESSION_EXTENSIONS: &[&str] = &["timer"];
/// What may be wanted of an INVITE besides; whoever takes no list of people (RFC 5366 §3) refuses it there.
const INVITE_EXTENSIONS: &[&str] = &["timer", "recipient-list-invite"];
/// What that of REFER understands (RFC 4488).
const REFER_EXTENSIONS: &[&str] = &["norefersub"];
/// How long an INVITE may ring after each provisional answer: proxies wait as long (RFC 3261 §16.6, timer C).
const RINGING: Duration = Duration::from_secs(180);
/// Seconds until somebody who got 503 may try again.
const RETRY_AFTER: u32 = 10;

/// A request to us that is under way.
pub struct Server {
    /// The way of its answers.
    pub target: Target,
    /// Our tag, once one was sent.
    pub(super) tag: Option<String>,
    /// A final answer was given; what remains is the library's.
    pub(super) answered: bool,
    /// The 2xx that an INVITE got: it may be repeated.
    accepted: Option<Bytes>,
    /// Until it is accepted.
    request: Option<Arc<Request>>,
    /// What its retransmissions are known by; an INVITE's are the library's.
    name: Option<RequestName>,
    /// The provisional answer that was given, for retransmissions.
    provisional: Option<Bytes>,
}

/// How a request came.
struct Arrival {
    flow: Flow,
    /// Its top Via.
    via: Via,
    /// The peers that it may be from.
    candidates: Vec<usize>,
}

/// Why a request is not let in.
struct Refusal {
    reply: Reply,
    /// For the counter.
    label: &'static str,
}

fn refuse(status: u16, label: &'static str, reason: impl Into<String>) -> Refusal {
    Refusal { reply: Reply::new(status).because(reason), label }
}

impl Agent {
    pub(super) fn request_in(&mut self, now: Now, mint: &mut Mint, flow: Flow, mut request: Request) {
        let candidates = self.peers.at(flow.remote.ip());
        if candidates.is_empty() {
            return self.stranger(now, mint, flow, Some(&request));
        }
        let is_ack = request.method == Method::Ack;
        let via = match message::typed::<Via>(&request.headers) {
            Some(Ok(via)) if via.branch() != Some(b"z9hG4bK") => via,
            None => return self.count("sip_dropped_total", "no-via"),
            Some(_) if is_ack => return self.count("sip_dropped_total", "malformed"),
            Some(other) => {
                // The bare cookie names no transaction (RFC 4475 §3.2.1).
                let reason = other.map_or("malformed Via", |_| "the branch of Via is empty");
                return self.refuse_stateless(now, mint, flow, &request, refuse(400, "malformed", reason));
            }
        };
        stamp(&mut request, &via, &flow);
        let arrival = Arrival { flow, via, candidates };
        let is_invite = request.method == Method::Invite;
        let name = if is_ack || is_invite { None } else { RequestName::of(&arrival.via, &request) };
        if let Some(name) = &name
            && let Some(bytes) = self.said(name)
        {
            if let Some(bytes) = bytes {
                self.send(bytes, way_back(&flow, &arrival.via), None);
            }
            return;
        }
        if self.servers.is_full() && !is_ack {
            let mut refusal = refuse(503, "overload", "too many requests at once");
            refusal.reply = refusal.reply.with(HeaderName::RetryAfter, RETRY_AFTER.to_string());
            return self.refuse_stateless(now, mint, flow, &request, refusal);
        }
        if name.is_some() {
            let id = self.transactions.number();
            return self.arrived(now, mint, &arrival, id, name, request);
        }
        if !is_ack && !is_invite {
            return self.nameless(now, mint, &arrival, &request);
        }
        match self.transactions.receive(now.tick, flow.transport, Message::Request(request)) {
            Received::Steps(id, steps) => {
                for step in steps {
                    match step {
                        Step::Request(request) => self.arrived(now, mint, &arrival, id, None, request),
                        Step::Ack(ack) => self.ack_in(now, &arrival, ack),
                        other => self.run(now, mint, id, vec![other]),
                    }
                }
            }
            Received::Unmatched(message) => match *message {
                Message::Request(request) if is_ack => self.ack_in(now, &arrival, request),
                Message::Request(request) => self.nameless(now, mint, &arrival, &request),
                Message::Response(_) => {}
            },
        }
    }

    /// What a request of this name has been told, if it is known: nothing while it awaits its first answer.
    fn said(&self, name: &RequestName) -> Option<Option<Bytes>> {
        match self.by_name.get(name) {
            Some(key) => Some(self.servers.get(*key).and_then(|server| server.provisional.clone())),
            None => self.answered.get(name).map(Some),
        }
    }

    /// Without a branch a transaction is known by From, To, Call-ID and CSeq, and one of them is broken.
    fn nameless(&mut self, now: Now, mint: &mut Mint, arrival: &Arrival, request: &Request) {
        let refusal = self.judge(now, arrival, request).err();
        let refusal = refusal.unwrap_or_else(|| refuse(400, "malformed", "no transaction"));
        self.refuse_stateless(now, mint, arrival.flow, request, refusal);
    }

    fn arrived(
        &mut self,
        now: Now,
        mint: &mut Mint,
        arrival: &Arrival,
        id: TransactionId,
        name: Option<RequestName>,
        request: Request,
    ) {
        let (key, request) = (ServerKey(id.0), Arc::new(request));
        let flow = arrival.flow;
        let target = way_back(&flow, &arrival.via);
        if let Some(name) = &name {
            self.by_name.insert(name.clone(), key);
        }
        let server = Server {
            target,
            tag: None,
            answered: false,
            accepted: None,
            request: Some(request.clone()),
            name,
            provisional: None,
        };
        self.servers.insert(key, server, &request);
        self.timers.set(Alarm::Unanswered(key), now.tick + PATIENCE);
        match self.judge(now, arrival, &request) {
            Ok((_, head)) if self.merged.repeats(now.tick, &request.method, &head) => {
                self.count("sip_rejected_total", "merged");
                self.answer(now, mint, key, Reply::new(482).because("merged request"));
            }
            Ok(_) if request.method == Method::Cancel => {
                // §9.2: where there is no INVITE to cancel, whatever dialog it names.
                if !self.cancelled_by_peer(now, mint, key, &request) {
                    self.answer(now, mint, key, Reply::new(481));
                }
            }
            Ok((peer, head)) => {
                let arrived = Box::new(InRequest { key, request, head, flow, peer });
                self.out.push_back(AgentOut::Request(arrived));
            }
            Err(refusal) => {
                self.count("sip_rejected_total", refusal.label);
                self.answer(now, mint, key, refusal.reply);
            }
        }
    }

    fn ack_in(&mut self, now: Now, arrival: &Arrival, request: Request) {
        match self.judge(now, arrival, &request) {
            Ok((peer, head)) => {
                let (key, request) = (ServerKey(self.transactions.number().0), Arc::new(request));
                let flow = arrival.flow;
                let arrived = Box::new(InRequest { key, request, head, flow, peer });
                self.out.push_back(AgentOut::Ack(arrived));
            }
            Err(_) => self.count("sip_dropped_total", "malformed"),
        }
    }

    /// Which peer a request is from, or why it is refused. The order is that of RFC 3261 §8.2, after the checks that
    /// keep spoofs and loops out.
    fn judge(&mut self, now: Now, arrival: &Arrival, request: &Request) -> Result<(usize, Head), Refusal> {
        let Arrival { flow, via, candidates } = arrival;
        let source = flow.remote.ip();
        let head = match Head::read(request) {
            Ok(head) => head,
            Err((status, reason)) => {
                let method = name_of(&request.method);
                let fields = vec![("src", source.to_string()), ("method", method), ("why", reason.clone())];
                self.log_hushed(now, "sip-malformed", source, fields);
                return Err(refuse(status, "malformed", reason));
            }
        };
        if !request.uri.scheme().is_sip() {
            return Err(refuse(416, "scheme", print::reason_of(416)));
        }
        let more = head::has_more_vias(&request.headers);
        let passed_us = self.own.is_own_via(via)
            || more && request.headers.typed_all::<Via>().flatten().any(|via| self.own.is_own_via(&via));
        if passed_us {
            return Err(refuse(482, "loop", print::reason_of(482)));
        }
        let exact = |peer: &usize| self.peers.hops(*peer).iter().any(|hop| hop.address == flow.remote);
        let nearest = candidates.iter().copied().find(exact).or(candidates.first().copied()).unwrap_or(0);
        let in_dialog = head.to.tag().is_some();
        let peer = if in_dialog || request.method == Method::Options {
            nearest
        } else {
            let domain = head.from_domain();
            let speaks = |peer: &usize| self.peers.config(*peer).speaks_for(&domain);
            match candidates.iter().copied().filter(speaks).min_by_key(|peer| *peer != nearest) {
                Some(peer) => peer,
                None => {
                    let fields = vec![
                        ("src", source.to_string()),
                        ("transport", flow.transport.to_string()),
                        ("method", name_of(&request.method)),
                        ("domain", shorten(&domain)),
                    ];
                    self.log_hushed(now, "sip-spoof", source, fields);
                    return Err(refuse(403, "spoof", "this peer may not send for the domain in From"));
                }
            }
        };
        if !matches!(request.method, Method::Ack | Method::Cancel) {
            let mut required = message::list(&request.headers, &HeaderName::Require);
            let known = match request.method {
                Method::Invite => INVITE_EXTENSIONS,
                Method::Update => SESSION_EXTENSIONS,
                Method::Refer => REFER_EXTENSIONS,
                _ => &[],
            };
            required.retain(|tag| !known.contains(&tag.to_ascii_lowercase().as_str()));
            if !required.is_empty() {
                let mut refusal = refuse(420, "extension", print::reason_of(420));
                refusal.reply = refusal.reply.with(HeaderName::Unsupported, required.join(", "));
                return Err(refusal);
            }
        }
        Ok((peer, head))
    }

    pub(super) fn answer(&mut self, now: Now, mint: &mut Mint, key: ServerKey, reply: Reply) {
        let id = TransactionId(key.0);
        let Some(server) = self.servers.get_mut(key) else { return };
        let Some(status) = StatusCode::new(reply.status) else { return };
        if let Some(accepted) = server.accepted.clone().filter(|_| status.is_success()) {
            let target = server.target;
            return self.send(accepted, target, None);
        }
        let Some(request) = server.request.clone().filter(|_| !server.answered) else { return };
        if status.code() != 100 {
            let tag = reply.to_tag.clone().or(server.tag.take());
            server.tag = Some(tag.unwrap_or_else(|| mint.token(mint.home())));
        }
        let tag = server.tag.as_deref().filter(|_| status.code() != 100);
        let target = server.target;
        let is_invite = request.method == Method::Invite;
        if status.is_final() {
            server.answered = true;
            self.timers.stop(&Alarm::Unanswered(key));
        }
        if !status.is_final() && is_invite {
            self.timers.set(Alarm::Unanswered(key), now.tick + RINGING);
        }
        let Some(name) = server.name.clone() else {
            if status.is_success() {
                let bytes = print::response_bytes(&request, status, &reply, tag);
                (server.accepted, server.request) = (Some(bytes.clone()), None);
                self.transactions.accepted(now.tick, id);
                return self.send(bytes, target, None);
            }
            let response = print::response(&request, status, &reply, tag);
            let steps = self.transactions.respond(now.tick, id, response);
            return self.run(now, mint, id, steps);
        };
        let bytes = print::response_bytes(&request, status, &reply, tag);
        if status.is_final() {
            self.servers.remove(key);
            self.by_name.remove(&name);
            if target.transport == Transport::Udp {
                self.answered.put(now.tick, name, bytes.clone());
            }
        } else {
            server.provisional = Some(bytes.clone());
        }
        self.send(bytes, target, None);
    }

    pub(super) fn unanswered(&mut self, now: Now, mint: &mut Mint, key: ServerKey) {
        let request = self.servers.get(key).and_then(|server| server.request.as_ref());
        let method = request.map(|request| name_of(&request.method)).unwrap_or_default();
        self.log(Level::Error, "sip-unanswered", vec![("method", method)]);
        self.answer(now, mint, key, Reply::new(500).because("no answer was found in time"));
    }

    /// Somebody whom the admin did not name: silence over UDP, where an answer could go to a third party; a word and a
    /// closed connection over TCP.
    fn stranger(&mut self, now: Now, mint: &mut Mint, flow: Flow, request: Option<&Request>) {
        let source = flow.remote.ip();
        let method = request.map_or_else(|| "none".to_owned(), |request| name_of(&request.method));
        let fields =
            vec![("src", source.to_string()), ("transport", flow.transport.to_string()), ("method", method)];
        self.log_hushed(now, "sip-stranger", source, fields);
        self.count("sip_rejected_total", "stranger");
        for peer in 0..self.peers.len() {
            self.doubt(now, mint, peer);
        }
        if flow.transport == Transport::Tcp {
            if let Some(request) = request.filter(|request| request.method != Method::Ack) {
                let reply = Reply::new(403);
                self.answer_stateless(mint, flow, request, &reply);
            }
            self.out.push_back(AgentOut::Close(flow));
        }
    }

    pub(super) fn bad_in(&mut self, now: Now, mint: &mut Mint, flow: Flow, bad: &BadSip) {
        if self.peers.at(flow.remote.ip()).is_empty() {
            let request = salvage::request(&bad.bytes).map(|(request, _)| request);
            let request = request.filter(|request| request.headers.count(&HeaderName::Via) > 0);
            return self.stranger(now, mint, flow, request.as_ref());
        }
        let source = flow.remote.ip();
        let fields = vec![("src", source.to_string()), ("why", shorten(&bad.reason))];
        self.log_hushed(now, "sip-malformed", source, fields);
        match salvage::request(&bad.bytes) {
            Some((request, status)) if request.headers.count(&HeaderName::Via) > 0 => {
                let reason =
                    if status == 505 { print::reason_of(505).to_owned() } else { shorten(&bad.reason) };
                self.refuse_stateless(now, mint, flow, &request, refuse(status, "malformed", reason));
            }
            _ => self.count("sip_dropped_total", "malformed"),
        }
        if bad.fatal {
            self.out.push_back(AgentOut::Close(flow));
        }
    }

    fn refuse_stateless(
        &mut self,
        _now: Now,
        mint: &mut Mint,
        flow: Flow,
        request: &Request,
        refusal: Refusal,
    ) {
        self.count("sip_rejected_total", refusal.label);
        self.answer_stateless(mint, flow, request, &refusal.reply);
    }

    /// An answer that nobody remembers: a retransmission will be judged again, to the same end.
    fn answer_stateless(&mut self, mint: &mut Mint, flow: Flow, request: &Request, reply: &Reply) {
        let via = request.headers.typed::<Via>().and_then(Result::ok);
        let target = via.map_or_else(|| flow.back(), |via| way_back(&flow, &via));
        if let Some(status) = StatusCode::new(reply.status) {
            let tag = mint.token(mint.home());
            self.send(print::response_bytes(request, status, reply, Some(&tag)), target, None);
        }
    }
}

/// The way of an answer: back along the connection, or over UDP to where the request came from. Without `rport` the
/// port is that of Via (RFC 3261 §18.2.2, RFC 3581 §4); its host and `maddr` are never believed.
fn way_back(flow: &Flow, via: &Via) -> Target {
    let mut target = flow.back();
    if flow.transport == Transport::Udp && via.rport().is_none() {
        target.remote.set_port(via.port.unwrap_or(5060));
    }
    target
}

/// Writes into the top Via where the request really came from (RFC 3261 §18.2.1, RFC 3581 §4). What the sender
/// itself said about that is dropped.
fn stamp(request: &mut Request, via: &Via, flow: &Flow) {
    let source = flow.remote.ip().to_canonical();
    let is_there = matches!(&via.host, crate::sip::uri::Host::Ip(host) if host.to_canonical() == source);
    let wants_port = via.rport().is_some();
    if is_there && !wants_port && via.received().is_none() {
        return;
    }
    let Some(place) = request.headers.iter().position(|header| *header.name() == HeaderName::Via) else {
        return;
    };
    let Some(value) = request.headers.value(&HeaderName::Via).map(|value| value.into_owned()) else { return };
    let (top, rest) = value.split_at(first_hop_end(&value));
    let mut stamped = Vec::with_capacity(value.len() + 40);
    for (number, part) in split_params(top).into_iter().enumerate() {
        let name = part.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
        if number > 0 && (name.eq_ignore_ascii_case(b"received") || name.eq_ignore_ascii_case(b"rport")) {
            continue;
        }
        if number > 0 {
            stamped.push(b';');
        }
        stamped.extend_from_slice(part.trim_ascii());
    }
    stamped.extend_from_slice(format!(";received={source}").as_bytes());
    if wants_port {
        stamped.extend_from_slice(format!(";rport={}", flow.remote.port()).as_bytes());
    }
    stamped.extend_from_slice(rest);
    if let Ok(header) = Header::build(HeaderName::Via, stamped) {
        request.headers.remove_first(&HeaderName::Via);
        request.headers.insert(place, header);
    }
}

/// The parts between the semicolons that are not inside quotes.
fn split_params(value: &[u8]) -> Vec<&[u8]> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, byte) in value.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b';' if !quoted => {
                parts.push(&value[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&value[start..]);
    parts
}

fn name_of(method: &Method) -> String {
    shorten(&method.to_string())
}

/// Foreign text for the log or a reason phrase, at a length that nobody can abuse.
fn shorten(text: &str) -> String {
    print::clean(text).chars().take(120).collect()
}
