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
