//! SIP users in rooms of XMPP, and every fault: see `tests/rooms.rs`.

mod judge;
mod muc;
mod native;
mod phone;
mod talk;
mod watch;
mod wire;
mod world;

pub use world::run;

use super::support;

/// Open, see `seeds.rs`.
pub const OPEN: [u64; 0] = [];

/// Seeds that found something once, with what that was. 900: an own line was answered while lines before it still waited
/// for the room's history. 5876: news of a nick was lost with the link, and what was said under it was told to who had said it.
/// 12623: a room that was made anew stayed locked, since the news of that was lost with a link that fell again. 50428: an entry
/// under a nick of before was a change of nick, and nobody else seemed to be there.
pub const KEPT: [u64; 4] = [900, 5876, 12623, 50428];

/// Those whose process dies at every one of their commits, one after the other.
pub const DYING: [u64; 2] = [5, 12];
