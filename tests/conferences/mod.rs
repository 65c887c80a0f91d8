//! XMPP users in a conference of SIP, and every fault: see `tests/conferences.rs`.

mod clients;
mod focus;
mod world;

pub use world::run;

use super::support;

/// Seeds that found something once.
pub const KEPT: [u64; 1] = [
    // The process dies between INVITE and its answer: whoever wanted to enter was told nothing, and the focus had a member
    // of whom nobody knew.
    3067,
];

/// Those whose process dies at every one of their commits, one after the other.
pub const DYING: [u64; 2] = [3, 15];
