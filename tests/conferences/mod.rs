//! XMPP users in a conference of SIP, and every fault: see `tests/conferences.rs`.

mod clients;
mod focus;
mod world;

pub use world::{run, run_and_set};

use super::support;

/// Seeds that found something once.
pub const KEPT: [u64; 11] = [
    // The process dies between INVITE and its answer: whoever wanted to enter was told nothing, and the focus had a member
    // of whom nobody knew.
    3067,
    // What says to a client that it is out was lost with a process that died in the moment after.
    6186, 6802, 7741, 9139, 9377, 9695,
    // The only one by whom the focus's clock was known left, and what was said then seemed to be of before.
    1139, 3999, 5511, 9831,
];

/// Those whose process dies at every one of their commits, one after the other. Seed 7 with death 2: the link was up before
/// the records were back, and who had waited to enter was told nothing.
pub const DYING: [u64; 3] = [3, 7, 15];
