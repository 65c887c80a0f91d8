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
pub const KEPT: [u64; 23] = [
    54,   // a word that was on its way when the last fault came (the world had to say it again)
    69,   // `subscribed` was lost with the process
    102,  // a NOTIFY that was lost held up the one that follows a SUBSCRIBE
    116,  // as 54
    162,  // a NOTIFY that was lost ended a subscription that had been renewed meanwhile
    225,  // as 162
    282,  // the disk had an expiry that a refresh had moved
    403,  // what a probe had brought was lost with the link before it was told
    456,  // as 282
    473,  // as 102
    582,  // `unsubscribed` and what went away with it were lost with the link
    586,  // as 54
    873,  // as 69
    2034, // an agent that does not hear tells on in a dialog that was let go (the world demanded that it be shown)
    2991, // the end of a watcher's dialog was answered and lost with the process, which went on in it
    3377, // who waited for a contact's word was not there when it was time to ask again
    3649, // what was shown before a restart was forgotten untold when the first NOTIFY came before its turn
    5230, // as 3649
    5467, // as 403
    6560, // who was seen to go was not believed to be there when her server probed
    7572, // as 3649
    8809, // as 2991
    8904, // a refresh was granted, and the 200 lost with the process (the world's phone did not reckon with that)
];

/// Those whose process dies at every one of their commits, one after the other.
pub const DYING: [u64; 2] = [
    1, 14, // as 2991
];
