//! The gateway's door: a program of bytes says what comes in over SIP, MSRP and the component link, and what time it is.
//!
//! The first byte chooses the configuration. Parts of the program are divided by [`SEPARATOR`](super::SEPARATOR); the first
//! byte of a part says what it is (see [`World::act`]), the rest is what came. `\x02` and a byte stand for something that the
//! gateway has minted (a tag, a branch, an id): `\0` is the newest. So a program is a whole conversation, also where what
//! comes in must name what went out before.
//!
//! What must hold: nothing panics; a drain ends, and so do alarms; what goes out can be read, by ourselves and by others, and
//! goes to nobody who has not asked; every request and every question has its answer in the end; the books are bounded by
//! what came in.

#[path = "../../../tests/support/config.rs"]
pub mod config;
#[path = "../../../tests/support/restore.rs"]
mod restore;
mod world;

pub use world::{World, answer_to, peer};

/// One program.
pub fn run(data: &[u8]) {
    let (profile, rest) = super::choice(data);
    let mut world = World::new(profile);
    for part in super::parts(rest).take(STEPS) {
        world.act(part);
    }
    world.finish();
}

/// The most parts that are played.
const STEPS: usize = 200;
