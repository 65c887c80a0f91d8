//! What comes to XMPP out of sessions: it is kept, ordered, counted and confirmed like what comes in MESSAGEs, but its
//! answer is the session's to give: the chat hears at once whether it is taken, and later what became of it.

use crate::features::Cx;
use crate::features::content::Content;
use crate::features::signal::{Arrived, Signal, Told};
use crate::sabotage::{self, Fault as Mistake};
use crate::sip::message::{HeaderName, Reply};
use crate::sip::uri::SipAddress;
use crate::words::condition::{Condition, Kind};
use crate::words::time::Wall;
use crate::xmpp::jid::Jid;

use super::arrivals::{Known, Name, Said};
use super::meter::{self, Way};
use super::pairs::Pairs;
use super::to_xmpp::ToXmpp;

/// What a sender is told that we cannot serve now, in seconds.
const RETRY_AFTER: &str = "30";

/// What a contact wrote, by whatever way.
pub struct Letter<'a> {
    /// The user, with the device that was named.
    pub user: Jid,
    /// The contact.
    pub from: Jid,
    /// The contact's address.
    pub sender: SipAddress,
    /// Call-ID.
    pub call_id: &'a str,
    /// What was written.
    pub content: Content,
    /// When, as far as that is believed.
    pub written: Option<Wall>,
    /// The stanza asks for a receipt.
    pub receipt: bool,
    /// The stanza asks for a marker when it is shown.
    pub marker: bool,
    /// The id that its stanza shall have.
    pub id: Option<String>,
    /// When it is of no use any more.
    pub expires: Option<Wall>,
    /// Hops left for what we send because of it.
    pub hops: u8,
}

/// Why something is not taken.
pub struct Refusal {
    /// The SIP answer.
    pub status: u16,
    /// Its words.
    pub reason: String,
    /// Retry-After.
    pub retry: Option<&'static str>,
    /// For the counter.
    pub why: &'static str,
}

impl Refusal {
    /// We cannot, for a while.
    pub fn busy(reason: &str, why: &'static str) -> Refusal {
        Refusal { status: 503, reason: reason.into(), retry: Some(RETRY_AFTER), why }
    }

    /// It is longer than messages may be.
    pub fn too_long(cx: &Cx<'_>) -> Refusal {
        let reason = format!("At most {} bytes of an escaped stanza", cx.config.messages.max_message);
        Refusal { status: 413, reason, retry: None, why: "too-long" }
    }

    /// As the answer to a MESSAGE.
    pub fn reply(self) -> (Reply, &'static str) {
        let reply = Reply::new(self.status).because(self.reason);
        let reply = match self.retry {
            Some(seconds) => reply.with(HeaderName::RetryAfter, seconds),
            None => reply,
        };
        (reply, self.why)
    }

    fn condition(self) -> Condition {
        let kind = match self.status {
            404 => Kind::ItemNotFound,
            413 => Kind::PolicyViolation,
            480 | 503 => Kind::ResourceConstraint,
            _ => Kind::BadRequest,
        };
        Condition::new(kind, self.reason)
    }
}

impl ToXmpp {
    /// A message came in a session.
    pub fn arrived(&mut self, cx: &mut Cx<'_>, pairs: &mut Pairs, arrived: &Arrived) {
        let (ticket, name) = (arrived.ticket, Name::of_session(arrived.name));
        match self.arrivals.get(name).filter(|_| !sabotage::is(Mistake::NotRecognisedInMsrp)) {
            Some(Known::Done(done)) => {
                let text = "It was refused when it came before.";
                let failed = done.failed || !done.said.is_success();
                let failure = failed.then(|| Condition::new(Kind::UndefinedCondition, text));
                cx.signal(Signal::Taken { ticket, refused: None });
                return cx.signal(Signal::Met { ticket, failure });
            }
            Some(Known::Pending(arrival)) => {
                arrival.ticket = Some(ticket);
                if arrival.said.is_some() {
                    cx.signal(Signal::Taken { ticket, refused: None });
                }
                return;
            }
            None => {}
        }
        let letter = Letter {
            user: arrived.user.clone(),
            from: arrived.contact.clone(),
            sender: arrived.sender.clone(),
            call_id: &arrived.call_id,
            written: arrived.content.date,
            receipt: arrived.receipt
                || arrived.content.asks.as_ref().is_some_and(|asks| asks.wanted.delivery),
            marker: arrived.content.asks.as_ref().is_some_and(|asks| asks.wanted.display),
            content: arrived.content.clone(),
            id: Some(arrived.id.clone()),
            expires: None,
            hops: super::HOPS,
        };
        let room = self.has_room(cx, &arrived.user, &arrived.sender.aor, arrived.content.text.len());
        match room.and_then(|()| self.admit(cx, pairs, letter)) {
            Ok((link, mut arrival)) => {
                arrival.ticket = Some(ticket);
                // A session is a conversation from its first line on (RFC 7573 §5).
                arrival.thread.get_or_insert_with(|| arrived.call_id.clone());
                if !arrival.quiet {
                    // The session answers; whatever is said later is said there.
                    arrival.said = Some(Said::of(&Reply::new(202)));
                    cx.signal(Signal::Taken { ticket, refused: None });
                }
                self.take(cx, link, name, arrival);
            }
            Err(refusal) => {
                let status = refusal.status.to_string();
                let names = (arrived.call_id.as_str(), arrived.id.as_str());
                let (said, words) = (("status", status.as_str()), Some(refusal.reason.as_str()));
                meter::turned_away(cx, Way::SipToXmpp, names, said, refusal.why, words);
                cx.signal(Signal::Taken { ticket, refused: Some(refusal.condition()) });
            }
        }
    }

    /// A session could not tell of a failure: it is told by a MESSAGE, like one that comes after its answer.
    pub fn unreported(
        &mut self,
        cx: &mut Cx<'_>,
        user: &Jid,
        sender: &SipAddress,
        id: &str,
        failure: &Condition,
    ) {
        let known = self.arrivals.by_id(id).and_then(|name| self.arrivals.get(name));
        if matches!(known, Some(Known::Done(done)) if done.asked) {
            let (user, contact, id) = (user.clone(), sender.aor.clone(), id.to_owned());
            return cx.signal(Signal::Undelivered { user, contact, id, told: Told::No });
        }
        self.tell(cx, user, sender, super::HOPS, failure);
    }
}
