//! What the core wants known: log lines and figures, as values.

use std::borrow::Cow;

/// How loud a log line is, by audience.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// An admin must act.
    Error,
    /// Something was refused or lost its way; an admin may want to know.
    Warn,
    /// A significant change of state.
    Info,
    /// One line per message.
    Debug,
}

/// What the core wants known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A log line: a stable event name and fields. Never a body, never a secret.
    Log {
        /// How loud.
        level: Level,
        /// Stable name in kebab-case: `sip-stranger`.
        event: &'static str,
        /// Fields in order; `corr` is the correlation id that both legs share.
        fields: Vec<(&'static str, String)>,
    },
    /// A counter grows.
    Count {
        /// The metric's name without the prefix `mostar_`: `messages_total`.
        name: &'static str,
        /// Its labels.
        labels: Vec<(&'static str, &'static str)>,
        /// By how much.
        by: u64,
    },
    /// A gauge of this shard moves by a difference; the shell adds the shards up.
    Gauge {
        /// The metric's name without the prefix `mostar_`.
        name: &'static str,
        /// Its labels; a peer's name is one.
        labels: Vec<(&'static str, Cow<'static, str>)>,
        /// The difference.
        by: i64,
    },
}
