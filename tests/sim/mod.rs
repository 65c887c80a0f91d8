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

/// Open, see `seeds.rs`.
pub const OPEN: [u64; 0] = [];

/// Seeds that found something once, with what that was. 507: a line was out as MESSAGE when the process died, and went in a
/// session afterwards, where nobody knew it again.
pub const KEPT: [u64; 1] = [507];

/// Those whose process dies at every one of their commits, one after the other. Seed 5 with death 25: a line came while
/// words about a failure were on their way, was answered, failed too, and nobody was told.
pub const DYING: [u64; 2] = [5, 46];
