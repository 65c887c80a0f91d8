//! What only vectors of the recorder say: the configuration in one line, where the clocks stood, answers of DNS.

use std::path::Path;
use std::sync::Arc;

use mostar::config::outside::{Found, Outside, Pem};
use mostar::config::values::Bad;
use mostar::config::{Config, Secret};
use mostar::gateway::Gateway;
use mostar::sip::locate::{Located, Query};
use mostar::words::id::{Partition, Seed};
use mostar::words::time::Wall;

/// The `config recorded.` lines.
#[derive(Default)]
pub struct Recorded {
    /// The calendar at tick zero. Where it is written, so is every input.
    pub wall: Option<Wall>,
    home: Option<Partition>,
    is_without_watch: bool,
}

impl Recorded {
    /// Takes one line.
    pub fn set(&mut self, line: &str) -> Result<(), String> {
        let bad = || format!("recorded.{line}: nobody knows this");
        match line.split_once('=').ok_or_else(bad)? {
            ("wall", value) => self.wall = Some(Wall(value.parse().map_err(|_| bad())?)),
            ("home", value) => self.home = Some(Partition(value.parse().map_err(|_| bad())?)),
            ("watch", value) => self.is_without_watch = value == "false",
            _ => return Err(bad()),
        }
        Ok(())
    }

    /// A fresh gateway in the place of the one that was recorded.
    pub fn gateway(&self, config: &Arc<Config>) -> Gateway {
        let gateway = Gateway::new(config.clone(), Seed([1; 32]));
        let gateway = self.home.into_iter().fold(gateway, Gateway::at_home);
        if self.is_without_watch { gateway.without_watch() } else { gateway }
    }
}

/// The configuration of a recording.
pub fn config(line: &str) -> Result<Config, String> {
    let (config, report) = mostar::config::check("config", line, Path::new("/"), &Nowhere);
    config.ok_or_else(|| report.to_string())
}

/// Recordings have no secrets; any will do.
struct Nowhere;

impl Outside for Nowhere {
    fn look(&self, _path: &Path) -> Found {
        Found::Nothing
    }

    fn file(&self, _path: &Path) -> Result<Secret, Bad> {
        Ok(Secret::new("recorded"))
    }

    fn variable(&self, _name: &str) -> Result<Secret, Bad> {
        Ok(Secret::new("recorded"))
    }

    fn table(&self, _path: &Path) -> Result<Option<String>, Bad> {
        Ok(None)
    }

    fn pem(&self, _: &std::path::Path, _: Pem) -> Result<Vec<u8>, Bad> {
        Ok(Vec::new())
    }
}

/// An answer of DNS, a record a line.
pub fn resolved(kind: &str, name: &str, body: &str) -> Option<(Query, Vec<Located>)> {
    let query = match kind {
        "address" => Query::Address(name.into()),
        "naptr" => Query::Naptr(name.into()),
        "srv" => Query::Srv(name.into()),
        _ => return None,
    };
    let located = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |place: usize| words.get(place).and_then(|word| word.parse().ok());
        let word = |place: usize| words.get(place).map(|word| (*word).to_owned());
        Some(match kind {
            "address" => Located::Address(line.parse().ok()?),
            "naptr" => Located::Naptr(number(0)?, number(1)?, word(2)?, word(3)?),
            _ => Located::Srv(number(0)?, number(1)?, number(2)?, word(3)?),
        })
    };
    let found = body.lines().filter(|line| !line.is_empty()).map(located).collect::<Option<_>>()?;
    Some((query, found))
}

/// A message as it was, but for its line breaks and its length.
pub fn complete(text: &str) -> String {
    let (head, body) = text.split_once("\n\n").unwrap_or((text.trim_end_matches('\n'), ""));
    let body = body.strip_suffix('\n').unwrap_or(body);
    let is_length = |line: &str| {
        let name = line.split(':').next().unwrap_or_default().trim();
        name.eq_ignore_ascii_case("Content-Length") || name.eq_ignore_ascii_case("l")
    };
    let length = match head.lines().any(is_length) {
        true => String::new(),
        false => format!("\r\nContent-Length: {}", body.len()),
    };
    format!("{}{length}\r\n\r\n{body}", head.lines().collect::<Vec<_>>().join("\r\n"))
}
