//! SIP users in rooms of XMPP, and every fault: see `tests/rooms.rs`.

mod judge;
mod muc;
mod native;
mod phone;
mod talk;
mod watch;
mod wire;
mod world;

pub use world::run;

use super::support;

/// Open, see `seeds.rs`. Seed 900: a line is heard behind an own line that came after it.
pub const OPEN: [u64; 1] = [900];

/// Seeds that found something once, with what that was.
pub const KEPT: [u64; 0] = [];

/// Those whose process dies at every one of their commits, one after the other.
pub const DYING: [u64; 2] = [5, 12];
