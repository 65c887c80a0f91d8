//! A set of named timers: each key is armed at most once, and rings once.
//!
//! Keys are enum variants of the machine that owns the set, with a line each that says why it is armed. Timers that
//! are due at the same moment ring in key order, so the same seed gives the same trace.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::time::Tick;

/// Armed timers by key. Nothing rings by itself: the owner asks [`Timers::next`] and [`Timers::pop`].
#[derive(Clone, Debug)]
pub struct Timers<K> {
    by_time: BTreeSet<(Tick, K)>,
    by_key: BTreeMap<K, Tick>,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Timers { by_time: BTreeSet::new(), by_key: BTreeMap::new() }
    }
}

impl<K: Clone + Ord> Timers<K> {
    /// Arms `key` for `at`, replacing an earlier setting.
    pub fn set(&mut self, key: K, at: Tick) {
        match self.by_key.insert(key.clone(), at) {
            Some(old) if old == at => return,
            Some(old) => drop(self.by_time.remove(&(old, key.clone()))),
            None => {}
        }
        self.by_time.insert((at, key));
    }

    /// Disarms `key`; true if it was armed.
    pub fn stop(&mut self, key: &K) -> bool {
        let Some(at) = self.by_key.remove(key) else { return false };
        self.by_time.remove(&(at, key.clone()));
        self.give_back();
        true
    }

    /// Arms `key` where there is a time for it, else disarms it.
    pub fn arm(&mut self, key: K, at: Option<Tick>) {
        match at {
            Some(at) => self.set(key, at),
            None => {
                self.stop(&key);
            }
        }
    }

    /// Disarms every key of a range.
    pub fn stop_range(&mut self, range: RangeInclusive<K>) {
        while let Some((key, at)) =
            self.by_key.range(range.clone()).next().map(|(key, at)| (key.clone(), *at))
        {
            self.by_key.remove(&key);
            self.by_time.remove(&(at, key));
        }
        self.give_back();
    }

    /// When the next timer rings, and which.
    pub fn next(&self) -> Option<(Tick, &K)> {
        self.by_time.first().map(|(at, key)| (*at, key))
    }

    /// Takes the earliest timer that is due at `now`. Call until it returns nothing.
    pub fn pop(&mut self, now: Tick) -> Option<K> {
        if self.by_time.first().is_none_or(|(at, _)| *at > now) {
            return None;
        }
        let (_, key) = self.by_time.pop_first()?;
        self.by_key.remove(&key);
        self.give_back();
        Some(key)
    }

    /// When `key` rings, if it is armed.
    pub fn at(&self, key: &K) -> Option<Tick> {
        self.by_key.get(key).copied()
    }

    /// How many timers are armed.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// True when nothing is armed.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// An emptied tree keeps its last leaf, and sets of which nothing rings for hours are many.
    fn give_back(&mut self) {
        if self.by_key.is_empty() {
            *self = Timers::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_rings_once_and_setting_it_again_moves_it() {
        let mut timers = Timers::default();
        timers.set("a", Tick(10));
        timers.set("b", Tick(5));
        timers.set("a", Tick(3));
        assert_eq!(timers.next(), Some((Tick(3), &"a")));
        assert_eq!(timers.pop(Tick(2)), None);
        assert_eq!(timers.pop(Tick(10)), Some("a"));
        assert!(timers.stop(&"b"));
        assert_eq!(timers.pop(Tick(10)), None);
        assert!(timers.is_empty());
    }
}
