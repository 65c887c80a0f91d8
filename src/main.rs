//! The binary: its command line, and what its exit codes mean.
//!
//! No secret is ever an argument: others can read those.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A gateway between SIP and XMPP: messages and presence cross both ways.
#[derive(Debug, Parser)]
#[command(name = "mostar", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Says what is wrong in a configuration file: all mistakes at once.
    ///
    /// Exit status: 0 the file is good (there may be warnings), 1 it has mistakes, 2 it cannot be read.
    Check {
        /// The configuration file.
        #[arg(short = 'c', long = "config", value_name = "FILE")]
        config: PathBuf,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Check { config } => check(&config),
    }
}

/// The file cannot be read; clap uses the same status for a wrong command line.
const UNREADABLE: u8 = 2;

fn check(path: &Path) -> ExitCode {
    match mostar::config::read(path) {
        Ok((Some(_), report)) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Ok((None, report)) => {
            print!("{report}");
            ExitCode::FAILURE
        }
        Err(words) => {
            eprintln!("mostar: {words}");
            ExitCode::from(UNREADABLE)
        }
    }
}
