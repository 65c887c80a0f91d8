//! Messages that were in flight when a stream closed, and go again: how many at a time. One of them may be what closed it
//! (docs/decisions/suspects.md).
//!
//! The first goes alone. When it has arrived two are in flight, then four, up to [`MOST`]. Where the stream closes again with
//! several of them in flight nobody knows which it was, so that many go alone from then on: only what closes a stream alone is
//! given up.

use std::collections::BTreeSet;

use super::Name;

/// So many suspects go together at most.
const MOST: usize = 64;

/// The suspects of one link.
#[derive(Debug)]
pub struct Suspects {
    /// They are in flight.
    out: BTreeSet<Name>,
    /// So many go together now.
    together: usize,
    /// So many more go alone.
    alone: usize,
}

impl Default for Suspects {
    fn default() -> Self {
        Suspects { out: BTreeSet::new(), together: 1, alone: 0 }
    }
}

impl Suspects {
    /// Whether one more suspect may go, or anything else: that waits until those before it have arrived.
    pub fn lets(&self, is_suspect: bool) -> bool {
        self.out.is_empty() || is_suspect && self.out.len() < self.most()
    }

    /// One goes. True if it goes alone.
    pub fn send(&mut self, name: Name) -> bool {
        self.out.insert(name);
        self.most() == 1
    }

    /// One has met its fate. True if it was the last in flight.
    pub fn settle(&mut self, name: Name) -> bool {
        let is_last = self.out.remove(&name) && self.out.is_empty();
        if is_last {
            self.clear();
        }
        is_last
    }

    /// Those in flight have not closed the stream: more may go.
    pub fn clear(&mut self) {
        self.out.clear();
        if self.alone > 0 {
            self.alone -= 1;
        } else {
            self.together = (self.together * 2).min(MOST);
        }
    }

    /// The stream has closed.
    pub fn close(&mut self) {
        let out = std::mem::take(&mut self.out).len();
        self.alone = if out > 1 { out } else { self.alone.saturating_sub(out) };
        self.together = 1;
    }

    fn most(&self) -> usize {
        if self.alone > 0 { 1 } else { self.together }
    }
}
