//! Two gateways back to back: see `tests/facing.rs`.

mod people;
mod world;

pub use world::run;

use super::support;

/// Open, see `seeds.rs`. A few more messages go to and fro than the bound allows, before all is quiet.
pub const OPEN: [u64; 6] = [107, 357, 570, 600, 720, 794];

/// Seeds that found something once, with what that was.
pub const KEPT: [u64; 0] = [];
