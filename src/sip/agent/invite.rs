//! What an INVITE needs and no other request (RFC 3261 §9, §13.2.2.4): CANCEL in both directions, the ACK for a 2xx,
//! and the further 2xx that forks send.
//!
//! A CANCEL goes out only after a provisional answer (§9.1), to the same place and with the same branch as its INVITE.
//! Whoever was cancelled has 64·T1 to say so; then the INVITE fails, for its transaction alone would wait for ever.

use std::time::Duration;

use sipx_sip::{RequestBuilder, TransactionKey};

use super::outbound::{Asker, Attempt, Call};
use super::{Agent, AgentOut, Alarm, ServerKey, print};
use crate::sip::flow::{SendId, Target};
use crate::sip::message::{
    self, Answer, Failure, HeaderName, Message, Method, OutRequest, Reply, Request, Response,
};
use crate::sip::transaction::TransactionId;
use crate::words::id::Mint;
use crate::words::time::Now;

/// 64·T1: how long a cancelled INVITE may go on without a final answer (§9.1).
const PATIENCE: Duration = Duration::from_secs(32);
/// The number of a call that never was: calls begin with one.
const NO_CALL: u64 = 0;

/// An INVITE of ours that was accepted, until its transaction is over.
pub struct Accepted {
    /// As given with the request.
    pub user: u64,
    /// The CSeq number that was used; its ACK has the same.
    pub cseq: u32,
    /// The ACK must carry the same (§13.2.2.4).
    pub credentials: Vec<(HeaderName, String)>,
}

impl Agent {
    pub(super) fn cancel_call(&mut self, now: Now, user: u64) {
        let Some(id) = self.invites.get(&user).copied() else { return };
        let Some(call) = self.calls.get_mut(&id).filter(|call| !call.cancelled) else { return };
        call.cancelled = true;
        if call.hop.is_none() {
            let why = "cancelled before it was sent".to_owned();
            return self.finish(id, Answer::Failed(Failure::Transport(why)));
        }
        if call.provisional {
            self.send_cancel(now, id);
        }
    }

    /// A provisional answer came: now a CANCEL that waited for it may go.
    pub(super) fn heard(&mut self, now: Now, id: u64) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let is_first = !std::mem::replace(&mut call.provisional, true);
        if is_first && call.cancelled {
            self.send_cancel(now, id);
        }
    }

    fn send_cancel(&mut self, now: Now, id: u64) {
        let Some(at) = self.calls.get(&id).and_then(|call| call.transaction) else { return };
        let Some(target) = self.attempts.get(&at).map(|attempt| attempt.target) else { return };
        let cancel = self.transactions.sent(at).and_then(|invite| {
            let branch = message::branch(&invite.headers)?.strip_prefix(message::COOKIE)?.to_owned();
            Some((cancel_for(invite)?, branch))
        });
        self.timers.set(Alarm::Cancelled(id), now.tick + PATIENCE);
        let Some((cancel, branch)) = cancel else { return };
        let bytes = print::bytes_of(&Message::Request(cancel));
        let at = self.transactions.ask(now.tick, target.transport, branch, Method::Cancel, bytes.clone());
        self.attempts.insert(at, Attempt { call: NO_CALL, target, is_watch: false, accepted: None });
        self.send(bytes, target, Some(SendId(at.0)));
    }

    /// A cancelled INVITE got no final answer.
    pub(super) fn give_up(&mut self, now: Now, mint: &mut Mint, id: u64) {
        let at = self.calls.get(&id).and_then(|call| call.transaction);
        self.finish(id, Answer::Failed(Failure::Timeout));
        if let Some(at) = at {
            let steps = self.transactions.failed(now.tick, at);
            self.run(now, mint, at, steps);
        }
    }

    /// Remembers an accepted INVITE; called before its call is finished.
    pub(super) fn note_accepted(&mut self, at: TransactionId, id: u64) {
        let Some(call) = self.calls.get(&id).filter(|call| call.request.method == Method::Invite) else {
            return;
        };
        let Asker::User(user) = call.asker else { return };
        let accepted = Accepted { user, cseq: call.cseq, credentials: call.credentials.clone() };
        if let Some(attempt) = self.attempts.get_mut(&at) {
            attempt.accepted = Some(Box::new(accepted));
            self.accepted.insert(user, at);
        }
    }

    /// A response whose call is over: to an INVITE it may be a further 2xx, and the same one again if its ACK got lost.
    pub(super) fn further(&mut self, at: TransactionId, response: Response) {
        let accepted = self.attempts.get(&at).and_then(|attempt| attempt.accepted.as_ref());
        if let Some(accepted) = accepted.filter(|_| response.status.is_success()) {
            let (user, cseq) = (accepted.user, accepted.cseq);
            self.out.push_back(AgentOut::Further { user, cseq, response });
        }
    }

    /// Sends an ACK for a 2xx: once, without a transaction. If it is lost the 2xx comes again.
    pub(super) fn send_ack(&mut self, mint: &mut Mint, user: u64, request: OutRequest) {
        let Some(peer) = self.config.peer_for(&super::outbound::domain_of(&request)) else {
            return self.count("sip_dropped_total", "ack");
        };
        let at = self.accepted.get(&user).and_then(|at| self.attempts.get(at));
        let accepted = at.and_then(|attempt| attempt.accepted.as_ref());
        let token = mint.token(request.partition);
        let credentials = accepted.map(|accepted| accepted.credentials.clone()).unwrap_or_default();
        let call = Call::new(Asker::User(user), request, peer, credentials);
        let hop = self.way(&call).ok().and_then(|mut hops| hops.pop_front());
        let composed = hop.and_then(|hop| Some((self.compose_bytes(&call, &hop, &token).ok()?, hop)));
        let Some((ack, hop)) = composed else { return self.count("sip_dropped_total", "ack") };
        let (_, local) = self.own.sent_by(hop.transport, &hop.address);
        let target = Target { transport: hop.transport, local, remote: hop.address, conn: None };
        self.send(ack, target, None);
    }

    /// A CANCEL for an INVITE that we know: it is answered here, and the INVITE's owner is told. False for any other.
    pub(super) fn cancelled_by_peer(
        &mut self,
        now: Now,
        mint: &mut Mint,
        key: ServerKey,
        cancel: &Request,
    ) -> bool {
        let Some(mut invite) = TransactionKey::from_request(cancel) else { return false };
        let (TransactionKey::Rfc3261 { method, .. } | TransactionKey::Legacy { method, .. }) = &mut invite;
        *method = Method::Invite.as_bytes().to_vec();
        let Some(id) = self.transactions.find(&invite) else { return false };
        let Some(server) = self.servers.get_mut(ServerKey(id.0)) else { return false };
        // §9.2: the tag in To is that of the INVITE's answer.
        let tag = server.tag.get_or_insert_with(|| mint.token(mint.home())).clone();
        let is_open = !server.answered;
        self.answer(now, mint, key, Reply { to_tag: Some(tag), ..Reply::new(200) });
        if is_open {
            self.out.push_back(AgentOut::Cancelled(ServerKey(id.0)));
        }
        true
    }
}

/// The CANCEL for a request that was sent (§9.1): same Request-URI, Via, From, To, Call-ID, routes and number.
fn cancel_for(invite: &Request) -> Option<Request> {
    let number = message::cseq(&invite.headers)?;
    let first = |name: HeaderName| {
        let value = invite.headers.value(&name)?;
        Some((name, String::from_utf8(value.to_vec()).ok()?))
    };
    let mut builder = RequestBuilder::new(Method::Cancel, invite.uri.clone());
    for (name, value) in [first(HeaderName::Via)?, first(HeaderName::From)?, first(HeaderName::To)?] {
        builder = builder.header(name, value).ok()?;
    }
    let (name, call_id) = first(HeaderName::CallId)?;
    builder = builder.max_forwards(70).header(name, call_id).ok()?.cseq(number, &Method::Cancel).ok()?;
    for route in invite.headers.get_all(&HeaderName::Route) {
        builder = builder.header(HeaderName::Route, route.value().to_vec()).ok()?;
    }
    Some(builder.header(HeaderName::UserAgent, super::PRODUCT).ok()?.body(bytes::Bytes::new()).build())
}
