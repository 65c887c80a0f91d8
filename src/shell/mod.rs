//! The only room with windows: sockets, clocks, threads, the disk, signals. Everything else is a function of
//! (now, input), and this drives it.
#![allow(clippy::disallowed_types)]

pub mod clock;
pub mod component;
pub mod dns;
pub mod http;
pub mod inbox;
pub mod link;
pub mod link_end;
pub mod log;
pub mod meters;
pub mod shard;
pub mod sip;
pub mod status;
pub mod writer;
