//! The only room with windows: sockets, clocks, threads, the disk, signals. Everything else is a function of
//! (now, input), and this drives it.
//!
//! [`run`] is the process: it binds, restores, starts, waits for a signal and stops. Sockets, streams and shards are
//! tasks of one runtime; the store and the log have a thread each, since they wait for a disk and a pipe.
#![allow(clippy::disallowed_types)]

use std::process::ExitCode;

use crate::config::Config;
use crate::words::note::Level;

pub mod clock;
pub mod component;
pub mod dns;
pub mod explain;
pub mod fsck;
pub mod http;
pub mod inbox;
pub mod link;
pub mod link_end;
pub mod log;
pub mod meters;
pub mod msrp;
mod process;
pub mod record;
pub mod restore;
pub mod shard;
pub mod sip;
pub mod sockets;
pub mod status;
mod store_owner;
pub mod writer;

/// What the command line decides.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The least important lines that are logged.
    pub level: Level,
    /// How log lines look.
    pub format: log::Format,
}

impl Default for Options {
    fn default() -> Self {
        Options { level: Level::Info, format: log::Format::Logfmt }
    }
}

/// Runs until a signal asks it to stop. 0 after a clean stop; 1 when it could not start or did not end cleanly, with
/// the reason in the log.
pub fn run(mut config: Config, options: Options) -> ExitCode {
    // The store holds what people write to each other: nobody else reads the files that we make.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    crate::words::table::replace(std::mem::take(&mut config.mappings));
    let (log, written) = match log::Log::start(options.level, options.format) {
        Ok(started) => started,
        Err(error) => {
            eprintln!("mostar: cannot start a thread: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = match process::run(config, &log) {
        Ok(code) => code,
        Err(reason) => {
            log.line(Level::Error, "cannot-start", &[("reason", reason)]);
            ExitCode::FAILURE
        }
    };
    drop(log);
    written.join();
    code
}
