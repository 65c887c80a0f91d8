//! The two clocks, read here and nowhere else.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::words::time::{Now, Tick, Wall};

/// Where the process' ticks begin. All shards share one.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock whose first tick is now.
    pub fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    /// Both clocks, read together.
    pub fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { tick: Tick(self.start.elapsed().as_micros() as u64), wall: Wall(wall.as_millis() as u64) }
    }

    /// When an alarm for `tick` must ring.
    pub fn instant(&self, tick: Tick) -> tokio::time::Instant {
        // A tick that no clock will reach is far away, not an overflow.
        let after = std::time::Duration::from_micros(tick.0.min(FAR));
        tokio::time::Instant::from_std(self.start + after)
    }
}

/// A hundred years in microseconds.
const FAR: u64 = 100 * 365 * 86_400 * 1_000_000;
