//! Messages and sessions between SIP and XMPP users, and every fault: see `tests/sim.rs`.

mod juliet;
mod ledger;
mod phone;
mod romeo;
mod talk;
mod wire;
mod world;

pub use world::run;

use super::support;

/// Seeds that found something once, with what that was.
pub const KEPT: [u64; 0] = [];

/// Those whose process dies at every one of their commits, one after the other.
pub const DYING: [u64; 2] = [5, 46];
