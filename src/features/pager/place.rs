//! The order in which messages were taken: one that holds over restarts, whatever the calendar does meanwhile.
//!
//! A process goes on counting where the messages that it finds in its store end. What was written before it was so has
//! smaller numbers, which began anew with each process: among those the moment comes first, and all of them come before
//! what is written now.

use crate::features::audit::view::FIRST;
use crate::words::time::Wall;

/// Gives places away. See the module.
#[derive(Debug)]
pub struct Places {
    next: u64,
}

impl Default for Places {
    fn default() -> Places {
        Places { next: FIRST }
    }
}

impl Places {
    /// The place of a message that is taken now.
    pub fn next(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// This place is taken, since before the start.
    pub fn taken(&mut self, place: u64) {
        self.next = self.next.max(place.saturating_add(1));
    }
}

/// What messages are sorted by.
pub type Rank = (u64, Wall, u64);

/// A message's.
pub fn rank(accepted: Wall, place: u64) -> Rank {
    if place < FIRST { (0, accepted, place) } else { (place, Wall(0), 0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_holds_over_a_restart_with_the_calendar_set_back() {
        let mut before = Places::default();
        let first = rank(Wall(9_000), before.next());
        let mut after = Places::default();
        after.taken(FIRST);
        assert!(first < rank(Wall(1_000), after.next()));
    }

    #[test]
    fn what_was_written_before_the_rule_comes_first_and_by_its_moment() {
        let (older, newer, now) = (rank(Wall(1), 700), rank(Wall(2), 3), rank(Wall(0), FIRST));
        assert!(older < newer && newer < now);
    }
}
