//! Contacts and watchers, and every fault: see `tests/presence.rs`.

mod agent;
mod phone;
mod server;
mod world;

pub use world::run;

use super::support;

/// Seeds that found something once, with what that was.
pub const KEPT: [u64; 0] = [];

/// Those whose process dies at every one of their commits, one after the other.
pub const DYING: [u64; 2] = [4, 9];
