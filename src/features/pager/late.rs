//! Failures that come after the SIP answer: the sender is told by one short MESSAGE from the contact.
//!
//! A MESSAGE has one answer, and RFC 3428 §4 leaves what comes after a 202 to "some other mechanism". But what answers
//! by itself must never talk to another machine that does: at most one is sent per pair and minute, with a count; what
//! arrives from that sender within five seconds after it is never answered by another, and so it is taken only when it has
//! arrived; an error of it is never answered; and it has half of the hops of what it answers, so that two gateways that tell
//! each other that what they tell does not arrive come to rest, in minutes and not after seventy of them.
//!
//! Each pair is a record while its minute lasts, written in the step that changes it: a failure that waits for its turn
//! is told after a restart too, and neither the pace nor the quiet ends with the process.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::features::audit::view::{Says, View};
use crate::features::{Cx, errors};
use crate::sabotage::{self, Fault as Mistake};
use crate::sip::uri::{Aor, SipAddress};
use crate::store::record::{Key, Record, Restored};
use crate::words::condition::{Condition, Kind};
use crate::words::time::{Tick, Wall};
use crate::words::timers::Timers;
use crate::xmpp::jid::Jid;

/// The kind of these records in the store.
pub const RECORD: &str = "late";

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
    /// What the store gave back, until all is there.
    restored: Vec<Kept>,
}

#[derive(Debug)]
struct Pair {
    sender: SipAddress,
    hops: u8,
    /// One is under way, and may have arrived at any time since.
    speaking: bool,
    /// What was under way came to its end; what comes until then may answer it.
    quiet: Tick,
    /// How many failures are still to be told.
    more: u32,
}

/// A pair on disk.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    user: Jid,
    sender: SipAddress,
    hops: u8,
    more: u32,
    /// When its minute is over.
    until: Wall,
    quiet: Wall,
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
            errors::untold(cx, user, &sender.aor, "hops");
            return None;
        }
        let key = (user.bare(), sender.aor.clone());
        if let Some(pair) = self.pairs.get_mut(&key) {
            pair.more = pair.more.saturating_add(1);
            pair.hops = hops;
            self.save(cx, &key);
            return None;
        }
        if self.pairs.len() >= PAIRS {
            errors::untold(cx, user, &sender.aor, "too-many");
            return None;
        }
        self.begin(cx.now.tick, &key, sender.clone(), hops);
        self.save(cx, &key);
        let text = format!("Your message could not be delivered: {}", reason(why));
        Some(Telling { user: key.0, sender: sender.clone(), text, hops: hops.div_ceil(2) })
    }

    /// A pair's minute begins.
    fn begin(&mut self, now: Tick, key: &PairKey, sender: SipAddress, hops: u8) {
        self.timers.set(key.clone(), now + PACE);
        self.pairs.insert(key.clone(), Pair { sender, hops, speaking: false, quiet: now + QUIET, more: 0 });
    }

    /// A MESSAGE that tells of a failure goes out, or what was out came to its end. That it is out, its own record says.
    pub fn speaks(&mut self, cx: &mut Cx<'_>, user: Jid, sender: &Aor, speaking: bool) {
        let (key, now) = ((user, sender.clone()), cx.now.tick);
        if !self.pairs.contains_key(&key) && self.pairs.len() < PAIRS {
            self.begin(now, &key, sender.address(), 0);
        }
        if let Some(pair) = self.pairs.get_mut(&key) {
            (pair.speaking, pair.quiet) = (speaking, now + QUIET);
            if !speaking {
                self.save(cx, &key);
            }
        }
    }

    /// Whether what arrives now from `sender` for `user` may be a machine's answer to us.
    pub fn is_quiet(&self, now: Tick, user: &Jid, sender: &Aor) -> bool {
        !self.pairs.is_empty()
            && self.pairs.get(&(user.bare(), sender.clone())).is_some_and(|pair| pair.is_quiet(now))
    }

    /// A minute is over: what is to be told of it, if there was more. Call until nothing is due.
    pub fn due(&mut self, cx: &mut Cx<'_>) -> Option<Option<Telling>> {
        let now = cx.now.tick;
        let key = self.timers.pop(now)?;
        let pair = self.pairs.get_mut(&key)?;
        if pair.more == 0 {
            if pair.is_quiet(now) {
                self.timers.set(key, now + QUIET);
            } else {
                self.pairs.remove(&key);
                cx.forget(name(&key));
            }
            return Some(None);
        }
        let text = match pair.more {
            1 => "Another message could not be delivered.".to_owned(),
            more => format!("{more} more messages could not be delivered."),
        };
        (pair.quiet, pair.more) = (now + QUIET, 0);
        let telling =
            Telling { user: key.0.clone(), sender: pair.sender.clone(), text, hops: pair.hops.div_ceil(2) };
        self.timers.set(key.clone(), now + PACE);
        self.save(cx, &key);
        Some(Some(telling))
    }

    /// A record of before the start.
    pub fn restored(&mut self, record: &Restored) -> Result<(), String> {
        self.restored.push(record.read().map_err(|error| error.to_string())?);
        Ok(())
    }

    /// All records of before the start are there. No calendar makes anybody wait for longer than a minute, and none ends the
    /// quiet: what answers by itself may do so now.
    pub fn start(&mut self, cx: &mut Cx<'_>) {
        for kept in std::mem::take(&mut self.restored) {
            let key = (kept.user, kept.sender.aor.clone());
            if !cx.config.messages.late_errors {
                cx.forget(name(&key));
                continue;
            }
            let now = cx.now;
            let quiet = now.tick + QUIET;
            self.timers.set(key.clone(), now.tick_at(kept.until).min(now.tick + PACE));
            let Kept { sender, hops, more, .. } = kept;
            self.pairs.insert(key, Pair { sender, hops, speaking: false, quiet, more });
        }
    }

    fn save(&self, cx: &mut Cx<'_>, key: &PairKey) {
        let Some((pair, until)) = self.pairs.get(key).zip(self.timers.at(key)) else { return };
        let kept = Kept {
            user: key.0.clone(),
            sender: pair.sender.clone(),
            hops: pair.hops,
            more: pair.more,
            until: cx.now.wall_at(until),
            quiet: cx.now.wall_at(pair.quiet),
        };
        cx.save(Record::new(name(key), &kept));
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
        (self.speaking || now < self.quiet) && !sabotage::is(Mistake::NeverQuiet)
    }
}

/// What came in the quiet and was taken fails after its answer: it may be a machine's answer, which is not answered.
pub fn stays_untold(cx: &mut Cx<'_>, user: &Jid, sender: &Aor) {
    cx.count("late_errors_total", &[]);
    errors::untold(cx, user, sender, "quiet");
}

/// A pair's name in the store.
fn name((user, contact): &PairKey) -> Key {
    Key::of_pair(RECORD, user.bare_str(), contact)
}

/// What a record says.
pub fn view(record: &Restored) -> Result<View, String> {
    let kept: Kept = record.read().map_err(|error| error.to_string())?;
    let key = Key::of_pair(RECORD, kept.user.bare_str(), &kept.sender.aor);
    Ok(View { key, user: Some(kept.user), contact: Some(kept.sender.aor), says: Says::Memory })
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
