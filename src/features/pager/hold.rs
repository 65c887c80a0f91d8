//! Keeping messages for SIP contacts that are away: the option `messages.hold`.
//!
//! SIP has no offline storage that a sender could rely on, and XMPP users are used to one. So a message that fails with
//! a status whose row in `mappings/errors.yaml` says `hold` goes back to the head of its lane, and is tried again when
//! the contact's presence opens, and now and then. What has been promised to wait, or waits behind such a message, is not
//! given up for an outage either: silence, a lost transport and what servers say of themselves (5xx) are then the same as
//! being away. The sender hears of it in a line from the contact, never by an error: clients offer to send again what has
//! failed, and then it would arrive twice.

use std::collections::BTreeMap;
use std::time::Duration;

use super::post::Post;
use crate::features::{Cx, errors};
use crate::sabotage::{self, Fault as Mistake};
use crate::sip::message::Failure;
use crate::sip::uri::Aor;
use crate::sip::usage::page::{Fault, retry_after};
use crate::words::time::{Tick, Wall};
use crate::xmpp::jid::Jid;
use crate::xmpp::ns;
use crate::xmpp::stanza::{Element, Stanza, StanzaKind};

/// Between two attempts while nothing is heard of the contact; up to a fifth more, so that they do not come together.
const INTERVAL: Duration = Duration::from_secs(5 * 60);
/// The sender is told once per contact in so long.
const TELL_AGAIN: Duration = Duration::from_secs(3600);
/// How many senders and contacts are remembered for that.
const TOLD_LIMIT: usize = 10_000;

/// Whom we told that messages are kept, and when. It is kept with the messages, so that a restart tells nobody again.
#[derive(Debug, Default)]
pub struct Told {
    /// With the number of the telling.
    when: BTreeMap<Key, (u64, Wall)>,
    /// The same, those told first before the others: they are forgotten when there are too many. By a number of our own:
    /// the calendar may be set.
    order: BTreeMap<u64, Key>,
    /// The number of the next telling.
    next: u64,
}

/// A sender and a contact.
type Key = (Jid, Aor);

/// Whether a message that failed so may arrive later: its contact is away, or, for one that is held already, whatever is
/// between us is out of service. Statuses that are about the message itself (501, 505, 513) will not change.
pub fn is_away(post: &Post, fault: &Fault) -> bool {
    match fault {
        Fault::Refused(response) => {
            let status = response.status.code();
            let is_outage = matches!(status, 408 | 500..=599) && !matches!(status, 501 | 505 | 513);
            errors::holds(status) || post.held && is_outage
        }
        Fault::Silent(Failure::Timeout) => errors::holds(408) || post.held,
        Fault::Silent(Failure::Transport(_)) => post.held,
        Fault::Silent(Failure::NoRoute | Failure::TooLong { .. }) => false,
    }
}

/// When a message that failed so, and may be kept until then, is to be tried again; nothing when it is not to be kept, or
/// not any longer.
pub fn again_at(cx: &mut Cx<'_>, post: &Post, ends: Tick, fault: &Fault) -> Option<Tick> {
    let hold = cx.config.messages.hold;
    if !is_away(post, fault) || hold.is_zero() || post.is_quiet() || ends <= cx.now.tick {
        return None;
    }
    let not_before = match fault {
        Fault::Refused(response) => retry_after(response).unwrap_or_default(),
        Fault::Silent(_) => Duration::ZERO,
    };
    let pause = cx.mint.between(INTERVAL, INTERVAL + INTERVAL / 5).max(not_before);
    Some((cx.now.tick + pause).min(ends))
}

/// Until when a message is kept that has come, or has come back from the disk.
pub fn until(cx: &Cx<'_>, post: &Post) -> Tick {
    let times = if sabotage::is(Mistake::KeptTooLong) { 100 } else { 1 };
    cx.now.end_of(post.accepted, cx.config.messages.hold * times)
}

impl Told {
    /// When the sender of this message was told last.
    pub fn of(&self, post: &Post) -> Option<Wall> {
        self.when.get(&key(post)).map(|(_, told)| *told)
    }

    /// A message of before the start says when its sender was told.
    pub fn restored(&mut self, post: &Post, now: Wall) {
        if let Some(told) = post.told.filter(|told| is_fresh(*told, now)) {
            let told = self.of(post).map_or(told, |known| known.max(told));
            self.insert(key(post), told);
        }
    }

    fn insert(&mut self, key: Key, told: Wall) {
        if let Some((before, _)) = self.when.insert(key.clone(), (self.next, told)) {
            self.order.remove(&before);
        }
        self.order.insert(self.next, key);
        self.next += 1;
        if self.order.len() > TOLD_LIMIT
            && let Some((_, key)) = self.order.pop_first()
        {
            self.when.remove(&key);
        }
    }

    /// The line that tells the sender, unless she knows.
    pub fn notice(&mut self, cx: &mut Cx<'_>, post: &Post) -> Option<Stanza> {
        let now = cx.now.wall;
        if self.of(post).is_some_and(|told| is_fresh(told, now)) {
            return None;
        }
        self.insert(key(post), now);
        let body = format!(
            "This contact is away. Your message is kept for up to {} and is delivered when they are back.",
            spoken(cx.config.messages.hold)
        );
        let id = cx.token_for(&post.from);
        let line = Stanza::new(StanzaKind::Message, &post.to.bare(), &post.from)
            .with_type("chat")
            .with_id(&id)
            .with_child(Element::new("body", ns::COMPONENT).with_text(&body))
            .with_child(Element::new("no-store", ns::HINTS));
        Some(line)
    }
}

fn key(post: &Post) -> Key {
    (post.from.bare(), post.target.aor.clone())
}

/// Whether somebody who was told then knows it still. A calendar that was set back makes us tell again.
fn is_fresh(told: Wall, now: Wall) -> bool {
    told <= now && now - told < TELL_AGAIN
}

/// A duration in words, in the largest unit that is not too coarse.
pub fn spoken(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (count, unit) = match seconds {
        0..=119 => (seconds, "second"),
        120..=7199 => (seconds / 60, "minute"),
        7200..=172_799 => (seconds / 3600, "hour"),
        _ => (seconds / 86400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_who_were_told_the_first_are_forgotten() {
        let key = |number: usize| {
            let jid = Jid::parse(&format!("juliet{number}@example.com")).unwrap();
            (jid, Aor { user: Some("romeo".into()), host: "example.net".into() })
        };
        let mut told = Told::default();
        // In the order of time, which is not that of the names.
        for number in (0..=TOLD_LIMIT).rev() {
            told.insert(key(number), Wall((TOLD_LIMIT - number) as u64));
        }
        assert_eq!((told.when.len(), told.order.len()), (TOLD_LIMIT, TOLD_LIMIT));
        assert!(told.when.contains_key(&key(0)) && !told.when.contains_key(&key(TOLD_LIMIT)));
        // Who is told again is one and the same.
        told.insert(key(TOLD_LIMIT - 1), Wall(u64::MAX));
        told.insert(key(TOLD_LIMIT), Wall(u64::MAX));
        assert_eq!((told.when.len(), told.order.len()), (TOLD_LIMIT, TOLD_LIMIT));
        assert!(
            told.when.contains_key(&key(TOLD_LIMIT - 1)) && !told.when.contains_key(&key(TOLD_LIMIT - 2))
        );
        // Who is told when the calendar has been set back is remembered like everybody.
        told.insert(key(TOLD_LIMIT + 1), Wall(0));
        assert!(told.when.contains_key(&key(TOLD_LIMIT + 1)));
    }

    #[test]
    fn durations_are_spoken() {
        for (seconds, words) in [
            (1, "1 second"),
            (90, "90 seconds"),
            (600, "10 minutes"),
            (86400, "24 hours"),
            (259_200, "3 days"),
        ] {
            assert_eq!(spoken(Duration::from_secs(seconds)), words);
        }
    }
}
