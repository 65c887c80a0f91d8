//! The binary: its command line, and what its exit codes mean.
//!
//! No secret is ever an argument: others can read those.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use mostar::shell::Options;
use mostar::shell::log::Format;
use mostar::words::note::Level;

/// A gateway between SIP and XMPP: messages and presence cross both ways.
#[derive(Debug, Parser)]
#[command(name = "mostar", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the gateway until SIGTERM or SIGINT; the log goes to standard error.
    ///
    /// Exit status: 0 it stopped cleanly, 1 it could not start or stop cleanly, 2 the configuration cannot be read.
    Run {
        /// The configuration file.
        #[arg(short = 'c', long = "config", value_name = "FILE")]
        config: PathBuf,
        /// The least important lines of the log.
        #[arg(long, value_name = "LEVEL", default_value = "info")]
        log_level: LogLevel,
        /// How the lines of the log look.
        #[arg(long, value_name = "FORMAT", default_value = "logfmt")]
        log_format: LogFormat,
    },
    /// Says what is wrong in a configuration file: all mistakes at once.
    ///
    /// Exit status: 0 the file is good (there may be warnings), 1 it has mistakes, 2 it cannot be read.
    Check {
        /// The configuration file.
        #[arg(short = 'c', long = "config", value_name = "FILE")]
        config: PathBuf,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Logfmt,
    Json,
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run { config, log_level, log_format } => run(&config, log_level, log_format),
        Command::Check { config } => check(&config),
    }
}

/// The file cannot be read; clap uses the same status for a wrong command line.
const UNREADABLE: u8 = 2;

fn run(path: &Path, level: LogLevel, format: LogFormat) -> ExitCode {
    let config = match mostar::config::read(path) {
        Ok((Some(config), report)) => {
            // Warnings; nothing when there are none.
            if !report.mistakes().is_empty() {
                eprint!("{report}");
            }
            config
        }
        Ok((None, report)) => {
            eprint!("{report}");
            return ExitCode::FAILURE;
        }
        Err(words) => {
            eprintln!("mostar: {words}");
            return ExitCode::from(UNREADABLE);
        }
    };
    let level = match level {
        LogLevel::Error => Level::Error,
        LogLevel::Warn => Level::Warn,
        LogLevel::Info => Level::Info,
        LogLevel::Debug => Level::Debug,
    };
    let format = match format {
        LogFormat::Logfmt => Format::Logfmt,
        LogFormat::Json => Format::Json,
    };
    mostar::shell::run(config, Options { level, format })
}

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
