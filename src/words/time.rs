//! Time as the core sees it: an argument, never a clock that is read.
//!
//! [`Tick`] only moves forward and is used for every timer; [`Wall`] is the calendar, used for dates in messages and
//! for deadlines that must survive a restart. Both come from the shell in [`Now`], so a simulation moves them at will.

use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment on the monotonic clock, in microseconds since the process (or the simulation) began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(pub u64);

/// A moment on the calendar, in milliseconds since 1970-01-01T00:00:00Z. May jump in either direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Wall(pub u64);

/// The two clocks, read together by the shell once for each input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock.
    pub tick: Tick,
    /// The calendar.
    pub wall: Wall,
}

/// By so much of what it lasts something outlives a start that finds it over: the calendar may have been set meanwhile.
const GRACE: u32 = 24;

impl Now {
    /// The calendar moment that corresponds to `tick`, given that `self` is now. Saturates at both ends.
    pub fn wall_at(self, tick: Tick) -> Wall {
        if tick >= self.tick {
            self.wall + (tick - self.tick)
        } else {
            Wall(self.wall.0.saturating_sub((self.tick - tick).as_millis() as u64))
        }
    }

    /// The tick at which the calendar will show `wall`; `self.tick` when that has passed.
    pub fn tick_at(self, wall: Wall) -> Tick {
        self.tick + (wall - self.wall)
    }

    /// When something is over that began then and lasts so long, seen from the moment that it begins or comes back from the
    /// disk; from then on nobody asks the calendar. How much of it has passed while the process was dead only the
    /// calendar can say, which may have been set: so it is never longer from now on than it was at first, and not over
    /// at once.
    pub fn end_of(self, began: Wall, lasts: Duration) -> Tick {
        let left = lasts.saturating_sub(self.wall - began);
        self.tick + left.max(lasts / GRACE)
    }

    /// When something began that ends then and lasts so long: as [`Now::end_of`] will want to know it after a restart.
    pub fn beginning_of(self, end: Tick, lasts: Duration) -> Wall {
        Wall(self.wall_at(end).0.saturating_sub(lasts.as_millis() as u64))
    }
}

impl Add<Duration> for Tick {
    type Output = Tick;
    fn add(self, by: Duration) -> Tick {
        Tick(self.0.saturating_add(by.as_micros() as u64))
    }
}

impl Sub for Tick {
    type Output = Duration;
    /// How long after `earlier` this is; zero when it is not later.
    fn sub(self, earlier: Tick) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Wall {
    type Output = Wall;
    fn add(self, by: Duration) -> Wall {
        Wall(self.0.saturating_add(by.as_millis() as u64))
    }
}

impl Sub for Wall {
    type Output = Duration;
    /// How long after `earlier` this is; zero when it is not later.
    fn sub(self, earlier: Wall) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_again_lasts_no_longer_than_it_did_and_is_not_over_at_once() {
        const DAY: Duration = Duration::from_secs(86_400);
        const HOUR: Duration = Duration::from_secs(3_600);
        let began = Wall::default() + 20 * DAY;
        let end = |wall| Now { tick: Tick(7), wall }.end_of(began, DAY);
        assert_eq!(end(began), Tick(7) + DAY);
        assert_eq!(Now { tick: Tick(7), wall: began + HOUR }.beginning_of(Tick(7) + 23 * HOUR, DAY), began);
        assert_eq!(end(began + 3 * HOUR), Tick(7) + 21 * HOUR);
        assert_eq!(end(Wall::default() + 10 * DAY), Tick(7) + DAY, "set back");
        assert_eq!(end(began + 10 * DAY), Tick(7) + HOUR, "set forward, or dead for so long");
    }
}
