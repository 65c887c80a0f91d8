//! Two gateways back to back: see `tests/facing.rs`.

mod people;
mod world;

pub use world::run;

use super::support;

/// Seeds that found something once, with what that was.
pub const KEPT: [u64; 0] = [];
