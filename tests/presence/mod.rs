//! Contacts and watchers, and every fault: see `tests/presence.rs`.

mod agent;
mod phone;
mod server;
mod world;

pub use world::run;

use super::support;

/// Open, see `seeds.rs`.
pub const OPEN: [u64; 0] = [];

/// Seeds that found something once, with what that was.
pub const KEPT: [u64; 12] = [
    54,  // a word that was on its way when the last fault came (the world had to say it again)
    69,  // `subscribed` was lost with the process
    102, // a NOTIFY that was lost held up the one that follows a SUBSCRIBE
    116, // as 54
    162, // a NOTIFY that was lost ended a subscription that had been renewed meanwhile
    225, // as 162
    282, // the disk had an expiry that a refresh had moved
    456, // the same
    473, // as 102
    582, // `unsubscribed` and what went away with it were lost with the link
    586, // as 54
    873, // as 69
];

/// Those whose process dies at every one of their commits, one after the other.
pub const DYING: [u64; 1] = [1];
