//! Log lines on standard error, as logfmt or as JSON: `ts`, `level`, `event`, then the fields of the note.
//!
//! Lines are made where they occur and written by a thread of their own, so a slow terminal or pipe never holds up a
//! message. When more wait than the queue holds, lines are dropped, and the next line that passes is preceded by one
//! that says how many.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use time::macros::format_description;

use crate::words::note::Level;

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `ts=… level=info event=… name=value`
    #[default]
    Logfmt,
    /// One JSON object a line.
    Json,
}

/// How many lines may wait.
const QUEUE: usize = 8192;

/// A line that comes so soon after others waits as long for company: to wake a thread for each costs more than the line.
const LINGER: Duration = Duration::from_millis(10);

/// Takes lines; clones are cheap and go everywhere.
#[derive(Clone)]
pub struct Log {
    level: Level,
    format: Format,
    lines: SyncSender<String>,
    dropped: Arc<AtomicU64>,
}

/// Ends when the last [`Log`] is gone and everything is written.
pub struct LogThread(JoinHandle<()>);

impl LogThread {
    /// Waits until every line is written. Call it when all clones of the [`Log`] are gone.
    pub fn join(self) {
        // A panic of that thread can only mean that standard error is gone.
        let _ = self.0.join();
    }
}

impl Log {
    /// A log on standard error.
    pub fn start(level: Level, format: Format) -> std::io::Result<(Log, LogThread)> {
        let (lines, waiting) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new().name("log".into()).spawn(move || write(&waiting))?;
        Ok((Log { level, format, lines, dropped: Arc::new(AtomicU64::new(0)) }, LogThread(thread)))
    }

    /// The least important lines that are written.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Whether a line of this level would be written at all.
    pub fn takes(&self, level: Level) -> bool {
        level <= self.level
    }

    /// Writes a line.
    pub fn line(&self, level: Level, event: &str, fields: &[(&str, String)]) {
        if !self.takes(level) {
            return;
        }
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let fields = [("lines", dropped.to_string())];
            if self.lines.try_send(render(self.format, Level::Warn, "log-dropped", &fields)).is_err() {
                self.dropped.fetch_add(dropped, Ordering::Relaxed);
            }
        }
        if self.lines.try_send(render(self.format, level, event, fields)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write(waiting: &Receiver<String>) {
    let mut block = String::new();
    let mut written: Option<Instant> = None;
    while let Ok(line) = waiting.recv() {
        if written.is_some_and(|at| at.elapsed() < LINGER) {
            std::thread::sleep(LINGER);
        }
        block.clear();
        block.push_str(&line);
        while block.len() < 64 * 1024
            && let Ok(line) = waiting.try_recv()
        {
            block.push_str(&line);
        }
        // Nobody is left to tell when standard error is closed.
        let _ = std::io::stderr().lock().write_all(block.as_bytes());
        written = Some(Instant::now());
    }
}

/// A line as it is written now.
pub fn render(format: Format, level: Level, event: &str, fields: &[(&str, String)]) -> String {
    let stamp = OffsetDateTime::now_utc()
        .format(format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"))
        .unwrap_or_default();
    line(format, &stamp, level, event, fields)
}

fn line(format: Format, stamp: &str, level: Level, event: &str, fields: &[(&str, String)]) -> String {
    let level = match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
    };
    let mut out = String::with_capacity(160);
    let pairs = [("ts", stamp), ("level", level), ("event", event)]
        .into_iter()
        .chain(fields.iter().map(|(name, value)| (*name, value.as_str())));
    if format == Format::Json {
        out.push('{');
    }
    for (number, (name, value)) in pairs.enumerate() {
        match format {
            Format::Logfmt => {
                if number > 0 {
                    out.push(' ');
                }
                out.push_str(name);
                out.push('=');
                logfmt(value, &mut out);
            }
            Format::Json => {
                if number > 0 {
                    out.push(',');
                }
                quote(name, &mut out);
                out.push(':');
                quote(value, &mut out);
            }
        }
    }
    if format == Format::Json {
        out.push('}');
    }
    out.push('\n');
    out
}

fn logfmt(value: &str, out: &mut String) {
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '"' | '=' | '\\');
    if !value.is_empty() && value.chars().all(plain) {
        out.push_str(value);
    } else {
        quote(value, out);
    }
}

/// A JSON string; also what logfmt understands. Control characters are escaped, those above ASCII too, so nothing
/// that a stranger sends can move an admin's cursor.
fn quote(value: &str, out: &mut String) {
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Vec<(&'static str, String)> {
        vec![("corr", "1f".into()), ("why", "a \"b\"\n\u{1b}[2J".into()), ("none", String::new())]
    }

    #[test]
    fn logfmt_quotes_only_what_needs_it() {
        assert_eq!(
            line(Format::Logfmt, "T", Level::Info, "sip-stranger", &fields()),
            "ts=T level=info event=sip-stranger corr=1f why=\"a \\\"b\\\"\\n\\u001b[2J\" none=\"\"\n"
        );
    }

    #[test]
    fn a_json_line_is_json() {
        let text = line(Format::Json, "T", Level::Error, "x", &fields());
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["level"], "error");
        assert_eq!(read["why"], "a \"b\"\n\u{1b}[2J");
    }

    #[test]
    fn a_level_filters_what_is_louder_in_detail() {
        let (log, thread) = Log::start(Level::Warn, Format::Logfmt).unwrap();
        assert!(log.takes(Level::Error) && log.takes(Level::Warn) && !log.takes(Level::Info));
        drop(log);
        thread.join();
    }
}
