//! How fast one sender may write: a bucket of [`BURST`] that fills at `messages.rate` (RFC 6120 §13.12).
//!
//! Only messages that are taken count: no repetition of a request, no presence, no answer. A bucket is one moment, at
//! which it is full again; then it is forgotten, so only who writes now is known. See
//! `docs/decisions/rate-of-stanzas.md`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::meter::{Hushed, Way};
use crate::features::Cx;
use crate::words::time::Tick;

/// What may come at once, as the time in which as much may come evenly.
const BURST: Duration = Duration::from_secs(20);
/// How many senders are counted at a time. Beyond that nobody new is held up: the queues have their own limits.
const SENDERS: usize = 100_000;
/// How often full buckets are looked for where there is no room.
const SWEEP: Duration = Duration::from_secs(1);
/// The event of a refusal.
const EVENT: &str = "sender-too-fast";

/// The senders of one direction.
#[derive(Debug, Default)]
pub struct Quota {
    /// When each sender's bucket is full again.
    full_at: BTreeMap<Box<str>, Tick>,
    /// When full buckets are forgotten.
    sweep_at: Option<Tick>,
    /// When there was no room last, and they were.
    swept_at: Option<Tick>,
    refusals: Hushed,
}

impl Quota {
    /// Whether this sender may write now; counted if so, and logged if not.
    pub fn admits(&mut self, cx: &mut Cx<'_>, way: Way, sender: &str) -> bool {
        let admitted = self.take(cx.now.tick, cx.config.messages.rate, sender);
        if !admitted {
            let fields = vec![("from", sender.to_owned()), ("direction", way.name().to_owned())];
            self.refusals.say(cx, EVENT, fields);
        }
        admitted
    }

    fn take(&mut self, now: Tick, rate: u64, sender: &str) -> bool {
        if rate == 0 {
            return true;
        }
        let each = Duration::from_micros((1_000_000 / rate).max(1));
        if let Some(full_at) = self.full_at.get_mut(sender) {
            let next = (*full_at).max(now) + each;
            let fits = next - now <= BURST;
            if fits {
                *full_at = next;
            }
            return fits;
        }
        // Each look goes through all: not at every message of a crowd.
        if self.full_at.len() >= SENDERS && self.swept_at.is_none_or(|at| at + SWEEP <= now) {
            self.swept_at = Some(now);
            self.sweep(now);
        }
        if self.full_at.len() < SENDERS {
            self.full_at.insert(sender.into(), now + each);
            self.sweep_at.get_or_insert(now + BURST);
        }
        true
    }

    fn sweep(&mut self, now: Tick) {
        self.full_at.retain(|_, full_at| *full_at > now);
    }

    /// When [`Quota::timeout`] is wanted.
    pub fn next_timeout(&self) -> Option<Tick> {
        [self.sweep_at, self.refusals.next_timeout()].into_iter().flatten().min()
    }

    /// Time has come.
    pub fn timeout(&mut self, cx: &mut Cx<'_>, way: Way) {
        let now = cx.now.tick;
        if self.sweep_at.is_some_and(|at| at <= now) {
            self.sweep(now);
            self.sweep_at = (!self.full_at.is_empty()).then_some(now + BURST);
        }
        self.refusals.timeout(cx, EVENT, way);
    }

    /// How many senders are counted.
    pub fn len(&self) -> usize {
        self.full_at.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Tick {
        Tick(millis * 1000)
    }

    #[test]
    fn a_burst_passes_and_then_one_in_its_time() {
        let mut quota = Quota::default();
        let passed = (0..1000).filter(|_| quota.take(at(0), 10, "a@x")).count();
        assert_eq!(passed, 200, "20 s at 10 a second");
        assert!(!quota.take(at(99), 10, "a@x") && quota.take(at(100), 10, "a@x"));
        assert!(!quota.take(at(100), 10, "a@x"));
        assert!(quota.take(at(100), 10, "b@x"), "everybody has a bucket of his own");
        let later = (0..1000).filter(|_| quota.take(at(100_000), 10, "a@x")).count();
        assert_eq!(later, 200);
    }

    #[test]
    fn who_writes_as_fast_as_he_may_is_never_refused() {
        let mut quota = Quota::default();
        assert!((0..10_000).all(|number| quota.take(at(number * 100), 10, "a@x")));
    }

    #[test]
    fn no_rate_is_no_limit() {
        let mut quota = Quota::default();
        assert!((0..10_000).all(|_| quota.take(at(0), 0, "a@x")));
        assert_eq!((quota.len(), quota.next_timeout()), (0, None));
    }

    #[test]
    fn the_senders_who_are_counted_are_bounded() {
        let mut quota = Quota::default();
        for number in 0..SENDERS + 10 {
            assert!(quota.take(at(0), 1, &format!("{number}@x")));
        }
        assert_eq!(quota.len(), SENDERS);
        quota.take(at(500), 1, "too soon");
        assert_eq!(quota.len(), SENDERS, "not looked for at every message");
        quota.take(at(1500), 1, "one more");
        assert_eq!(quota.len(), 1, "all others are full again");
    }
}
