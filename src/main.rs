//! The binary: its command line, and what its exit codes mean.
//!
//! No secret is ever an argument: others can read those.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use mostar::shell::log::Format;
use mostar::shell::{self, Options};
use mostar::words::note::Level;

/// Messages are many small pieces; `docs/decisions/allocator.md` has the figures.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A gateway between SIP and XMPP: messages and presence cross both ways.
#[derive(Debug, Parser)]
#[command(name = "mostar", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the gateway until SIGTERM or SIGINT; logs go to standard error.
    ///
    /// Exit status: 0 after a clean stop, 1 it could not start, had to give up or the configuration has mistakes, 2 the
    /// configuration cannot be read.
    Run {
        #[command(flatten)]
        file: File,
        /// How log lines look.
        #[arg(long, value_enum, default_value_t = LogFormat::Logfmt)]
        log: LogFormat,
        /// The least important lines that are logged: error (an admin must act), warn (something was refused or lost
        /// its way), info (a significant change of state), debug (one line per message).
        #[arg(long, value_enum, default_value_t = LogLevel::Info)]
        log_level: LogLevel,
    },
    /// Says what is wrong in a configuration file: all mistakes at once.
    ///
    /// Exit status: 0 the file is good (there may be warnings), 1 it has mistakes, 2 it cannot be read.
    Check {
        #[command(flatten)]
        file: File,
    },
    /// Says how a message between an XMPP user and a SIP contact would go, in either direction, and which row of the session
    /// heuristics decides it.
    ///
    /// Asks the running gateway, which knows what the contact has shown and which sessions are open; where none answers,
    /// the tables alone decide. Nothing is sent.
    ///
    /// Exit status: 0 there is an answer, 1 the configuration or the message has mistakes, 2 a file cannot be read.
    Explain {
        #[command(flatten)]
        file: File,
        /// Who writes or calls: an XMPP user, or a SIP contact by its JID.
        #[arg(long, value_name = "JID")]
        from: String,
        /// To whom: a SIP contact by its JID, or an XMPP user.
        #[arg(long, value_name = "JID")]
        to: String,
        /// A file with the `<message/>`; without one a short line of text is meant.
        #[arg(long, value_name = "FILE")]
        stanza: Option<PathBuf>,
    },
    /// Says whether the store of a stopped gateway is in order: every record can be read, every message has one state,
    /// nobody is watched without consent.
    ///
    /// To be run as the user of the gateway, who owns the store: runuser -u mostar -- mostar fsck -c FILE. As root it is
    /// refused, since the gateway could not open what root leaves there.
    ///
    /// No secret is read. No record is changed without --repair; but the files of the store are opened as by a start,
    /// which writes some of them anew, and brings a store of an older format to the present one.
    ///
    /// Exit status: 0 the store is in order or has been repaired, 1 there are findings, 2 the configuration or the store
    /// cannot be read.
    Fsck {
        #[command(flatten)]
        file: File,
        /// Mends what is found. What has to go is set aside in a file in the store's folder, never dropped.
        #[arg(long)]
        repair: bool,
    },
}

#[derive(Debug, Args)]
struct File {
    /// The configuration file.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    config: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Logfmt,
    Json,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Check { file } => check(&file.config),
        Command::Explain { file, from, to, stanza } => explain(&file.config, &from, &to, stanza.as_deref()),
        Command::Fsck { file, repair } => fsck(&file.config, repair),
        Command::Run { file, log, log_level } => run(&file.config, options(log, log_level)),
    }
}

/// The file cannot be read; clap uses the same status for a wrong command line.
const UNREADABLE: u8 = 2;

fn check(path: &Path) -> ExitCode {
    match mostar::config::read(path) {
        Ok((config, report)) => {
            say(report);
            if config.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(words) => unreadable(&words),
    }
}

fn run(path: &Path, options: Options) -> ExitCode {
    match mostar::config::read(path) {
        Ok((Some(config), report)) => {
            if !report.mistakes().is_empty() {
                eprint!("{report}");
            }
            shell::run(config, options)
        }
        Ok((None, report)) => {
            eprint!("{report}");
            ExitCode::FAILURE
        }
        Err(words) => unreadable(&words),
    }
}

fn fsck(path: &Path, repair: bool) -> ExitCode {
    match mostar::config::read_without_secrets(path) {
        Ok((Some(config), _)) => match shell::fsck::run(config, repair, &mut std::io::stdout().lock()) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(words) => unreadable(&words),
        },
        Ok((None, report)) => {
            eprint!("{report}");
            ExitCode::from(UNREADABLE)
        }
        Err(words) => unreadable(&words),
    }
}

fn explain(path: &Path, from: &str, to: &str, stanza: Option<&Path>) -> ExitCode {
    let config = match mostar::config::read(path) {
        Ok((Some(config), _)) => config,
        Ok((None, report)) => {
            eprint!("{report}");
            return ExitCode::FAILURE;
        }
        Err(words) => return unreadable(&words),
    };
    let text = match stanza.map(|path| std::fs::read_to_string(path).map_err(|error| (path, error))) {
        None => None,
        Some(Ok(text)) => Some(text),
        Some(Err((path, error))) => {
            return unreadable(&format!("{} cannot be read: {error}", path.display()));
        }
    };
    let message = match shell::explain::message(from, to, text.as_deref()) {
        Ok(message) => message,
        Err(words) => {
            eprintln!("mostar: {words}");
            return ExitCode::FAILURE;
        }
    };
    let running = match config.http {
        Some(address) => shell::explain::from_running(address, &message)
            .map_err(|why| format!("no gateway answers at http://{address} ({why})")),
        None => {
            Err("the configuration has `http: none`, so that a running gateway cannot be asked".to_owned())
        }
    };
    match running {
        Ok(said) => say(said),
        Err(why) => {
            mostar::words::table::replace(config.mappings.clone());
            let said = shell::explain::from_tables(config, message);
            say(format_args!("{why}; this is what the tables alone say:\n{said}"));
        }
    }
    ExitCode::SUCCESS
}

/// Prints what was asked for. Who reads only the first lines of it, as `head` does, has what he wants.
fn say(words: impl std::fmt::Display) {
    use std::io::Write as _;
    let _ = write!(std::io::stdout(), "{words}");
}

fn unreadable(words: &str) -> ExitCode {
    eprintln!("mostar: {words}");
    ExitCode::from(UNREADABLE)
}

fn options(log: LogFormat, level: LogLevel) -> Options {
    Options {
        level: match level {
            LogLevel::Error => Level::Error,
            LogLevel::Warn => Level::Warn,
            LogLevel::Info => Level::Info,
            LogLevel::Debug => Level::Debug,
        },
        format: match log {
            LogFormat::Logfmt => Format::Logfmt,
            LogFormat::Json => Format::Json,
        },
    }
}
