//! Two gateways back to back: see `tests/facing.rs`.

mod people;
mod world;

pub use world::run;

use super::support;

/// Open, see `seeds.rs`.
pub const OPEN: [u64; 0] = [];

/// Seeds that found something once, with what that was. All of them: each gateway told the other, once a minute, that what
/// it had told could not be delivered.
pub const KEPT: [u64; 6] = [107, 357, 570, 600, 720, 794];
