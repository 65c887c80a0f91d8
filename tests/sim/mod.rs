//! Messages and sessions between SIP and XMPP users, and every fault: see `tests/sim.rs`.

mod juliet;
mod ledger;
mod phone;
mod romeo;
mod talk;
mod wire;
mod world;

pub use world::{run, run_and_set};

use super::support;

/// Open, see `seeds.rs`. Seed 507: a line to SIP comes twice, and no session had broken.
pub const OPEN: [u64; 1] = [507];

/// Seeds that found something once, with what that was.
pub const KEPT: [u64; 0] = [];

/// Those whose process dies at every one of their commits, one after the other. Seed 5 is open with death 25: a message that
/// was answered 2xx and then refused, and nobody was told.
pub const DYING: [u64; 1] = [46];
