//! A vector's text in its parts: what stands before the first step, then the steps, each with its lines as written.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use mostar::words::time::Tick;

use super::pattern;

/// A vector as written. Printed, it is the same again, byte for byte.
#[derive(Clone, Debug)]
pub struct Script {
    /// The lines before the first step.
    pub before: Vec<String>,
    /// The steps.
    pub steps: Vec<Step>,
}

/// One step as written.
#[derive(Clone, Debug)]
pub struct Step {
    /// The number of its first line.
    pub line: usize,
    /// What follows the `@`.
    pub what: String,
    /// The lines below, comments among them.
    pub lines: Vec<String>,
}

impl FromStr for Script {
    type Err = String;

    fn from_str(text: &str) -> Result<Script, String> {
        let mut script = Script { before: Vec::new(), steps: Vec::new() };
        for (number, line) in text.lines().enumerate() {
            if let Some(what) = line.strip_prefix('@') {
                script.steps.push(Step { line: number + 1, what: what.to_owned(), lines: Vec::new() });
            } else if let Some(step) = script.steps.last_mut() {
                step.lines.push(line.to_owned());
            } else {
                let is_known = is_comment(line) || line.trim().is_empty() || line.starts_with("config ");
                if !is_known {
                    return Err(format!("line {}: expected a comment, `config` or `@`", number + 1));
                }
                script.before.push(line.to_owned());
            }
        }
        Ok(script)
    }
}

impl Script {
    /// The `config` lines, with their numbers.
    pub fn settings(&self) -> impl Iterator<Item = (usize, &str)> {
        self.before
            .iter()
            .enumerate()
            .filter_map(|(number, line)| Some((number + 1, line.strip_prefix("config ")?)))
    }

    /// Every name that stands in braces anywhere.
    pub fn names(&self) -> BTreeSet<String> {
        let lines = self.steps.iter().flat_map(|step| &step.lines);
        lines.flat_map(|line| pattern::names(line)).map(str::to_owned).collect()
    }

    /// The text.
    pub fn print(&self) -> String {
        let mut out = String::new();
        let mut line = |line: &str| {
            out.push_str(line);
            out.push('\n');
        };
        self.before.iter().for_each(|text| line(text));
        for step in &self.steps {
            line(&format!("@{}", step.what));
            step.lines.iter().for_each(|text| line(text));
        }
        out
    }
}

impl Step {
    /// Its time and its words.
    pub fn words(&self) -> Result<(Tick, Vec<&str>), String> {
        let mut words = self.what.split_whitespace();
        let at = words.next().and_then(tick).ok_or("@MILLISECONDS WHAT")?;
        Ok((at, words.collect()))
    }

    /// What is said, without comments and without the indentation.
    pub fn body(&self) -> String {
        let lines = self.lines.iter().filter(|line| !is_comment(line));
        lines.flat_map(|line| [line.strip_prefix("    ").unwrap_or(line), "\n"]).collect()
    }
}

/// Milliseconds, with up to three digits behind a point.
fn tick(text: &str) -> Option<Tick> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let part: u64 = format!("{part:0<3}").parse().ok().filter(|part| *part < 1000)?;
    Some(Tick(whole.parse::<u64>().ok()?.checked_mul(1000)? + part))
}

/// What is said is indented, so this is a comment wherever it stands.
pub fn is_comment(line: &str) -> bool {
    line.starts_with('#')
}

/// `LIST NAME` for each row of a table that a vector says it shows: `# rows LIST: NAME NAME …`.
pub fn rows(text: &str) -> impl Iterator<Item = String> {
    marks(text, "# rows ")
        .flat_map(|(list, names)| names.split_whitespace().map(move |name| format!("{list} {name}")))
}

/// `LIST WORD DECISION` for each decision that a vector says it shows: `# decisions LIST: WORD DECISION, …`.
pub fn decisions(text: &str) -> impl Iterator<Item = String> {
    marks(text, "# decisions ").flat_map(|(list, decisions)| {
        decisions.split(',').map(move |decision| format!("{list} {}", decision.trim()))
    })
}

fn marks<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    text.lines().filter_map(move |line| line.strip_prefix(word)?.split_once(':'))
}

/// All vectors, in order.
pub fn vectors() -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors"), &mut found);
    found
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "vec") {
            found.push(path);
        }
    }
}
