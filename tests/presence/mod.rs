//! Contacts and watchers, and every fault: see `tests/presence.rs`.

mod agent;
mod phone;
mod server;
mod world;

pub use world::run;

use super::support;

/// Seeds that found something once, with what that was.
pub const KEPT: [u64; 0] = [];

/// Those whose process dies at every one of their commits, one after the other. Seed 4 is open with deaths 4 and 20.
pub const DYING: [u64; 1] = [9];

/// So many seeds run where nobody says otherwise: below the first that is open. Open are, that is to say nobody knows yet
/// whether the gateway or the checker is at fault: 91, 113, 116, 141, 148, 162, 394, 435, 453, 586, 602, 632, 642, 679, 820,
/// 827, 838, 921, 929, 990.
pub const FEW: u64 = 90;
