//! Contacts and watchers, and every fault: see `tests/presence.rs`.

mod agent;
mod phone;
mod server;
mod world;

pub use world::run;

use super::support;

/// Open, see `seeds.rs`. What is shown is not what is, in the end.
pub const OPEN: [u64; 20] =
    [91, 113, 116, 141, 148, 162, 394, 435, 453, 586, 602, 632, 642, 679, 820, 827, 838, 921, 929, 990];

/// Seeds that found something once, with what that was.
pub const KEPT: [u64; 0] = [];

/// Those whose process dies at every one of their commits, one after the other. Open: seed 1 with death 28, 4 with 4 and 20, 9
/// with 3 and 50.
pub const DYING: [u64; 1] = [1];
