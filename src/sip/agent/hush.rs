//! Keeps a flood out of the log: the first line of each kind and source at once, the rest as a sum each minute.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::words::time::Tick;

/// How long lines are gathered.
const WINDOW: Duration = Duration::from_secs(60);
/// How many sources are told apart in one window.
const SOURCES: usize = 1000;

/// Counts what was not logged.
#[derive(Default)]
pub struct Hush {
    seen: BTreeMap<(&'static str, Option<IpAddr>), u64>,
    until: Option<Tick>,
}

/// A sum for the log; without a source it is of all those that were too many to tell apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Sum {
    pub event: &'static str,
    pub source: Option<IpAddr>,
    pub times: u64,
}

impl Hush {
    /// Whether this one is to be logged now.
    pub fn admits(&mut self, now: Tick, event: &'static str, source: IpAddr) -> bool {
        self.until.get_or_insert(now + WINDOW);
        let mut key = (event, Some(source));
        if self.seen.len() >= SOURCES && !self.seen.contains_key(&key) {
            key.1 = None;
        }
        match self.seen.get_mut(&key) {
            Some(times) => {
                *times += 1;
                false
            }
            None => {
                // The sum of the many begins with its first: that one is not logged either.
                self.seen.insert(key, u64::from(key.1.is_none()));
                key.1.is_some()
            }
        }
    }

    /// When [`Hush::sums`] is wanted.
    pub fn next_timeout(&self) -> Option<Tick> {
        self.until
    }

    /// What was kept out of the log since the window began; begins a new one.
    pub fn sums(&mut self) -> Vec<Sum> {
        self.until = None;
        let seen = std::mem::take(&mut self.seen);
        let told = seen.into_iter().filter(|(_, times)| *times > 0);
        told.map(|((event, source), times)| Sum { event, source, times }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line_and_a_sum() {
        let mut hush = Hush::default();
        let source: IpAddr = "192.0.2.1".parse().expect("an address");
        let lines = (0..10_000).filter(|_| hush.admits(Tick(0), "sip-stranger", source)).count();
        assert_eq!(lines, 1);
        assert_eq!(hush.next_timeout(), Some(Tick(0) + WINDOW));
        assert_eq!(hush.sums(), [Sum { event: "sip-stranger", source: Some(source), times: 9999 }]);
        assert_eq!((hush.next_timeout(), hush.sums()), (None, vec![]));
    }

    #[test]
    fn many_sources_are_one_sum() {
        let mut hush = Hush::default();
        let from = |number: u32| IpAddr::from(number.to_be_bytes());
        let lines = (0..5000).filter(|number| hush.admits(Tick(0), "sip-stranger", from(*number))).count();
        assert_eq!(lines, SOURCES);
        assert_eq!(hush.sums(), [Sum { event: "sip-stranger", source: None, times: 4000 }]);
    }
}
