//! How fast each of many may go: a bucket for each that is not full, which is one moment, at which it is full again.
//!
//! Who goes slowly is not known here at all. So many are known at most; beyond that nobody new is held up, and the queues
//! behind have their own limits.

use std::collections::BTreeMap;
use std::time::Duration;

use super::time::Tick;

/// What may come at once, as the time in which as much may come evenly.
pub const BURST: Duration = Duration::from_secs(20);
/// How often full buckets are looked for where there is no room: each look goes through all.
const SWEEP: Duration = Duration::from_secs(1);

/// The buckets.
#[derive(Debug)]
pub struct Pace {
    /// When each bucket is full again.
    full_at: BTreeMap<Box<str>, Tick>,
    /// When full buckets are forgotten.
    sweep_at: Option<Tick>,
    /// When there was no room last, and they were.
    swept_at: Option<Tick>,
    most: usize,
}

impl Pace {
    /// Nobody yet, and so many at most.
    pub fn of(most: usize) -> Pace {
        Pace { full_at: BTreeMap::new(), sweep_at: None, swept_at: None, most }
    }

    /// Whether this one may go now, at `rate` a second for long; counted if so. No rate is no limit.
    pub fn take(&mut self, now: Tick, rate: u64, who: &str) -> bool {
        if rate == 0 {
            return true;
        }
        let each = Duration::from_micros((1_000_000 / rate).max(1));
        if let Some(full_at) = self.full_at.get_mut(who) {
            let next = (*full_at).max(now) + each;
            let fits = next - now <= BURST;
            if fits {
                *full_at = next;
            }
            return fits;
        }
        if self.full_at.len() >= self.most && self.swept_at.is_none_or(|at| at + SWEEP <= now) {
            self.swept_at = Some(now);
            self.sweep(now);
        }
        if self.full_at.len() < self.most {
            self.full_at.insert(who.into(), now + each);
            self.sweep_at.get_or_insert(now + BURST);
        }
        true
    }

    fn sweep(&mut self, now: Tick) {
        self.full_at.retain(|_, full_at| *full_at > now);
    }

    /// When [`Pace::timeout`] is wanted.
    pub fn next_timeout(&self) -> Option<Tick> {
        self.sweep_at
    }

    /// Time has come.
    pub fn timeout(&mut self, now: Tick) {
        if self.sweep_at.is_some_and(|at| at <= now) {
            self.sweep(now);
            self.sweep_at = (!self.full_at.is_empty()).then_some(now + BURST);
        }
    }

    /// How many are known.
    pub fn known(&self) -> usize {
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
        let mut pace = Pace::of(10);
        let passed = (0..1000).filter(|_| pace.take(at(0), 10, "a@x")).count();
        assert_eq!(passed, 200, "20 s at 10 a second");
        assert!(!pace.take(at(99), 10, "a@x") && pace.take(at(100), 10, "a@x"));
        assert!(!pace.take(at(100), 10, "a@x"));
        assert!(pace.take(at(100), 10, "b@x"), "everybody has a bucket of his own");
        let later = (0..1000).filter(|_| pace.take(at(100_000), 10, "a@x")).count();
        assert_eq!(later, 200);
    }

    #[test]
    fn who_goes_as_fast_as_he_may_is_never_refused() {
        let mut pace = Pace::of(10);
        assert!((0..10_000).all(|number| pace.take(at(number * 100), 10, "a@x")));
    }

    #[test]
    fn no_rate_is_no_limit() {
        let mut pace = Pace::of(10);
        assert!((0..10_000).all(|_| pace.take(at(0), 0, "a@x")));
        assert_eq!((pace.known(), pace.next_timeout()), (0, None));
    }

    #[test]
    fn those_who_are_known_are_bounded_and_not_looked_through_for_each() {
        let mut pace = Pace::of(1000);
        for number in 0..1010 {
            assert!(pace.take(at(0), 1, &format!("{number}@x")));
        }
        assert_eq!(pace.known(), 1000);
        pace.take(at(500), 1, "too soon");
        assert_eq!(pace.known(), 1000);
        pace.take(at(1500), 1, "one more");
        assert_eq!(pace.known(), 1, "all others are full again");
        pace.timeout(at(30_000));
        assert_eq!((pace.known(), pace.next_timeout()), (0, None));
    }
}
