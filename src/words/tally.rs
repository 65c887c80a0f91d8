//! How many of something there are for each of somebody: what one sender, one contact or one domain makes wait.

use std::borrow::Borrow;
use std::hash::Hash;

use super::index::Index;

/// Counts by key. Who has none is not remembered.
#[derive(Debug)]
pub struct Tally<K>(Index<K, usize>);

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Tally(Index::default())
    }
}

impl<K: Hash + Eq> Tally<K> {
    /// How many this one has.
    pub fn of<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
    {
        self.0.get(key).copied().unwrap_or_default()
    }

    /// One more.
    pub fn add<Q: Hash + Eq + ToOwned<Owned = K> + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.add_all(key, 1);
    }

    /// So many more.
    pub fn add_all<Q: Hash + Eq + ToOwned<Owned = K> + ?Sized>(&mut self, key: &Q, more: usize)
    where
        K: Borrow<Q>,
    {
        match self.0.get_mut(key) {
            Some(count) => *count += more,
            None if more == 0 => {}
            None => drop(self.0.insert(key.to_owned(), more)),
        }
    }

    /// One less.
    pub fn take<Q: Hash + Eq + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.take_all(key, 1);
    }

    /// So many less.
    pub fn take_all<Q: Hash + Eq + ?Sized>(&mut self, key: &Q, less: usize)
    where
        K: Borrow<Q>,
    {
        if let Some(count) = self.0.get_mut(key) {
            *count -= less;
            if *count == 0 {
                self.0.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_none_is_forgotten() {
        let mut tally: Tally<String> = Tally::default();
        tally.take("a");
        tally.add("a");
        tally.add("a");
        tally.add("b");
        tally.take("b");
        assert_eq!((tally.of("a"), tally.of("b"), tally.0.len()), (2, 0, 1));
    }
}
