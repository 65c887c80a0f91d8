//! Failures that come after the SIP answer: the sender is told by one short MESSAGE from the contact.
//!
//! A MESSAGE has one answer, and RFC 3428 §4 leaves what comes after a 202 to "some other mechanism". But what answers
//! by itself must never talk to another machine that does: at most one is sent per pair and minute, with a count; what
//! arrives from that sender within five seconds after it is never answered by another; an error of it is never answered;
//! and it has one hop less than what it answers (RFC 7332 §5), so even two gateways that do all of this wrong come to rest.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::features::Cx;
use crate::sip::uri::{Aor, SipAddress};
use crate::words::condition::{Condition, Kind};
use crate::words::time::Tick;
use crate::words::timers::Timers;
use crate::xmpp::jid::Jid;

/// One pair hears of failures once in so long.
const PACE: Duration = Duration::from_secs(60);
/// What comes from a sender so soon after we told them may be a machine's answer.
const QUIET: Duration = Duration::from_secs(5);
/// How many pairs are told about at a time; more failures are only counted.
const PAIRS: usize = 10_000;

/// The XMPP user (bare) and the SIP contact.
type PairKey = (Jid, Aor);

/// What is to be told, and to whom.
#[derive(Debug, PartialEq, Eq)]
pub struct Telling {
    /// The XMPP user in whose name it is told, bare.
    pub user: Jid,
    /// The SIP sender.
    pub sender: SipAddress,
    /// The words.
    pub text: String,
    /// Hops left.
    pub hops: u8,
}

/// Who was told, and what is to be told when the minute is over.
#[derive(Debug, Default)]
pub struct Late {
    pairs: BTreeMap<PairKey, Pair>,
    /// When a pair's minute is over.
    timers: Timers<PairKey>,
}

#[derive(Debug)]
struct Pair {
    sender: SipAddress,
    hops: u8,
    /// One is under way, and may have arrived at any time since.
    speaking: bool,
    /// When what was under way came to its end.
    spoke: Tick,
    more: u32,
}

impl Late {
    /// A message from `sender` to `user` failed after it was answered. Returned is what to tell now.
    pub fn failed(
        &mut self,
        cx: &mut Cx<'_>,
        user: &Jid,
        sender: &SipAddress,
        hops: u8,
        why: &Condition,
    ) -> Option<Telling> {
        cx.count("late_errors_total", &[]);
        if !cx.config.messages.late_errors {
            return None;
        }
        if hops == 0 {
            cx.count("late_errors_untold_total", &[]);
            return None;
        }
        let key = (user.bare(), sender.aor.clone());
        if let Some(pair) = self.pairs.get_mut(&key) {
            pair.more = pair.more.saturating_add(1);
            pair.hops = hops;
            return None;
        }
        if self.pairs.len() >= PAIRS {
            cx.count("late_errors_untold_total", &[]);
            return None;
        }
        let now = cx.now.tick;
        self.timers.set(key.clone(), now + PACE);
        let sender = sender.clone();
        self.pairs.insert(key, Pair { sender: sender.clone(), hops, speaking: false, spoke: now, more: 0 });
        let text = format!("Your message could not be delivered: {}", reason(why));
        Some(Telling { user: user.bare(), sender, text, hops })
    }

    /// A MESSAGE that tells of a failure goes out, or what was out came to its end. After a restart that is the first
    /// that is known of the pair.
    pub fn speaks(&mut self, now: Tick, user: Jid, sender: &Aor, speaking: bool) {
        let key = (user, sender.clone());
        if !self.pairs.contains_key(&key) && self.pairs.len() < PAIRS {
            self.timers.set(key.clone(), now + PACE);
            let sender = sender.address();
            let pair = Pair { sender, hops: 0, speaking, spoke: now, more: 0 };
            self.pairs.insert(key.clone(), pair);
        }
        if let Some(pair) = self.pairs.get_mut(&key) {
            (pair.speaking, pair.spoke) = (speaking, now);
        }
    }

    /// Whether what arrives now from `sender` for `user` may be a machine's answer to us.
    pub fn is_quiet(&self, now: Tick, user: &Jid, sender: &Aor) -> bool {
        !self.pairs.is_empty()
            && self.pairs.get(&(user.bare(), sender.clone())).is_some_and(|pair| pair.is_quiet(now))
    }

    /// A minute is over: what is to be told of it, if there was more. Call until nothing is due.
    pub fn due(&mut self, now: Tick) -> Option<Option<Telling>> {
        let key = self.timers.pop(now)?;
        let pair = self.pairs.get_mut(&key)?;
        if pair.more == 0 {
            if pair.is_quiet(now) {
                self.timers.set(key, now + QUIET);
            } else {
                self.pairs.remove(&key);
            }
            return Some(None);
        }
        let text = match pair.more {
            1 => "Another message could not be delivered.".to_owned(),
            more => format!("{more} more messages could not be delivered."),
        };
        (pair.spoke, pair.more) = (now, 0);
        let telling = Telling { user: key.0.clone(), sender: pair.sender.clone(), text, hops: pair.hops };
        self.timers.set(key, now + PACE);
        Some(Some(telling))
    }

    /// When [`Late::due`] is wanted.
    pub fn next_timeout(&self) -> Option<Tick> {
        self.timers.next().map(|(at, _)| at)
    }

    /// How many pairs are waited for.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }
}

impl Pair {
    fn is_quiet(&self, now: Tick) -> bool {
        self.speaking || now - self.spoke < QUIET
    }
}

/// Why, for the eyes of a person: the words of the other side where it has any.
fn reason(why: &Condition) -> String {
    let plain = match why.kind {
        Kind::ItemNotFound | Kind::ServiceUnavailable => "there is no such user, or no way to keep it.",
        Kind::RecipientUnavailable => "the user is not there.",
        Kind::RemoteServerNotFound => "the user's server cannot be found.",
        Kind::RemoteServerTimeout => "the user's server does not answer.",
        Kind::Gone | Kind::Redirect => "the user has moved.",
        Kind::Forbidden | Kind::NotAllowed | Kind::NotAuthorized => "it was not allowed.",
        Kind::ResourceConstraint => "the user's mailbox is full.",
        _ => "the other side refused it.",
    };
    match &why.text {
        Some(text) => format!("{plain} ({text})"),
        None => plain.to_owned(),
    }
}
