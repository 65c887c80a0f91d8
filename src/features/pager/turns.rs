//! When each of very many may begin: so many at once, and so many more a little later.
//!
//! After a restart every conversation with a message that waits has a request to send. Thousands at the same moment would
//! hold up what comes in meanwhile, and no peer takes a million.

use std::time::Duration;

use crate::words::time::Tick;

/// How many begin together, and how long after each other.
const TOGETHER: usize = 200;
const PAUSE: Duration = Duration::from_millis(40);

/// See the module.
#[derive(Debug, Default)]
pub struct Turns {
    at: Tick,
    taken: usize,
}

impl Turns {
    /// When the next may begin; nothing for at once.
    pub fn next(&mut self, now: Tick) -> Option<Tick> {
        if now > self.at {
            (self.at, self.taken) = (now, 0);
        }
        if self.taken == TOGETHER {
            (self.at, self.taken) = (self.at + PAUSE, 0);
        }
        self.taken += 1;
        (self.at > now).then_some(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_begin_at_once_and_the_others_later_whenever_they_ask() {
        let mut turns = Turns::default();
        let now = Tick(1_000_000);
        let first: Vec<_> = (0..TOGETHER).map(|_| turns.next(now)).collect();
        assert!(first.iter().all(Option::is_none));
        assert_eq!(turns.next(now), Some(now + PAUSE));
        // Those of the next partition come behind these.
        let later = now + PAUSE / 2;
        let second: Vec<_> = (0..TOGETHER).map(|_| turns.next(later)).collect();
        assert_eq!((second[0], second[TOGETHER - 1]), (Some(now + PAUSE), Some(now + PAUSE * 2)));
        assert_eq!(turns.next(now + Duration::from_secs(1)), None);
    }
}
