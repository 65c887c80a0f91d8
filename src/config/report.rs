//! What is wrong with a configuration file: each mistake with its line, a caret and what to do.
//!
//! Secrets never get here: values that may be one are hidden before a line is shown.

use std::fmt;

use super::yaml::At;

/// Whether a mistake stops the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// It can, but hardly as it was meant.
    Warning,
}

/// One mistake.
#[derive(Clone, Debug)]
pub struct Mistake {
    /// Whether it stops us.
    pub severity: Severity,
    /// Where, in bytes of the file.
    pub at: At,
    /// What.
    pub what: String,
    /// What to do.
    pub help: String,
    /// The whole line may hold a secret: nothing in it could be told apart.
    pub hides_line: bool,
}

impl Mistake {
    /// A mistake that stops us.
    pub fn error(at: At, what: impl Into<String>) -> Mistake {
        Mistake { severity: Severity::Error, at, what: what.into(), help: String::new(), hides_line: false }
    }

    /// A doubt.
    pub fn warning(at: At, what: impl Into<String>) -> Mistake {
        Mistake { severity: Severity::Warning, ..Mistake::error(at, what) }
    }

    /// Says what to do.
    pub fn help(mut self, help: impl Into<String>) -> Mistake {
        self.help = help.into();
        self
    }

    /// Shows nothing after a colon in lines that speak of secrets.
    pub fn hides_line(mut self) -> Mistake {
        self.hides_line = true;
        self
    }
}

/// All mistakes of one file, in the order of its lines.
#[derive(Clone, Debug)]
pub struct Report {
    /// The name under which the file was given.
    pub file: String,
    text: String,
    mistakes: Vec<Mistake>,
    hidden: Vec<At>,
}

impl Report {
    /// Sorts the mistakes; `hidden` are the places that are never shown.
    pub fn new(file: &str, text: &str, mut mistakes: Vec<Mistake>, mut hidden: Vec<At>) -> Report {
        hidden.sort_by_key(|hidden| hidden.start);
        mistakes.sort_by_key(|mistake| mistake.at.start);
        Report { file: file.to_owned(), text: text.to_owned(), mistakes, hidden }
    }

    /// The mistakes.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }

    /// How many stop us.
    pub fn errors(&self) -> usize {
        self.mistakes.iter().filter(|mistake| mistake.severity == Severity::Error).count()
    }

    fn show(&self, mistake: &Mistake, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match mistake.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let start = mistake.at.start.min(self.text.len());
        let line_start = self.text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = self.text[start..].find('\n').map_or(self.text.len(), |newline| start + newline);
        let number = 1 + self.text[..line_start].matches('\n').count();
        let column = 1 + self.text[line_start..start].chars().count();
        let end = mistake.at.end.clamp(start, line_end);

        let before = self.visible(line_start..start, mistake.hides_line);
        let marked = self.visible(start..end, mistake.hides_line);
        let after = self.visible(end..line_end, mistake.hides_line);
        let gutter = " ".repeat(number.to_string().len());
        // A tab stays a tab under itself, so that the caret meets its column.
        let indent: String = before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        writeln!(out, "{kind}: {}", mistake.what)?;
        writeln!(out, "{gutter}--> {}:{number}:{column}", self.file)?;
        writeln!(out, "{gutter} |")?;
        writeln!(out, "{number} | {before}{marked}{}", after.trim_end())?;
        writeln!(out, "{gutter} | {indent}{}", "^".repeat(marked.trim_end().chars().count().max(1)))?;
        if !mistake.help.is_empty() {
            writeln!(out, "{gutter} = {}", mistake.help)?;
        }
        writeln!(out)
    }

    /// A piece of one line without what is hidden, and without control characters.
    fn visible(&self, at: At, hides_line: bool) -> String {
        let piece = &self.text[at.clone()];
        if hides_line {
            let line_start = self.text[..at.start].rfind('\n').map_or(0, |newline| newline + 1);
            let line = &self.text[line_start..at.end];
            // A secret may go on in the next line: quotes, a block.
            let before = self.text[..line_start].trim_end().lines().next_back().unwrap_or_default();
            if secret_word(before).is_some() && !before.contains("file:") && !before.contains("env:") {
                return if at.start == line_start { "…".to_owned() } else { String::new() };
            }
            if let Some(cut) = secret_word(line).map(|cut| line_start + cut) {
                return match cut.checked_sub(at.start) {
                    None => String::new(),
                    Some(kept) => format!("{}…", clean(&piece[..kept])),
                };
            }
            return clean(piece);
        }
        let mut shown = String::new();
        let mut from = at.start;
        for hidden in &self.hidden {
            let (start, end) = (hidden.start.max(from), hidden.end.min(at.end));
            if start < end {
                shown.push_str(&clean(&self.text[from..start]));
                shown.push('…');
                from = end;
            }
        }
        shown.push_str(&clean(&self.text[from..at.end]));
        shown
    }
}

/// Where in a line the value after a word for a secret begins.
fn secret_word(line: &str) -> Option<usize> {
    let lower = line.to_ascii_lowercase();
    let word = ["secr", "passw", "auth"].iter().filter_map(|word| lower.find(word)).min()?;
    Some(line[word..].find(':').map_or(line.len(), |colon| word + colon + 1))
}

fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in &self.mistakes {
            self.show(mistake, out)?;
        }
        let errors = self.errors();
        let warnings = self.mistakes.len() - errors;
        let count = |number: usize, noun: &str| match number {
            1 => format!("1 {noun}"),
            _ => format!("{number} {noun}s"),
        };
        match (errors, warnings) {
            (0, 0) => writeln!(out, "{}: good", self.file),
            (0, _) => writeln!(out, "{}: good, with {}", self.file, count(warnings, "warning")),
            (_, 0) => writeln!(out, "{}: {}", self.file, count(errors, "mistake")),
            _ => writeln!(
                out,
                "{}: {} and {}",
                self.file,
                count(errors, "mistake"),
                count(warnings, "warning")
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str, mistake: Mistake, hidden: Option<At>) -> String {
        Report::new("f.yaml", text, vec![mistake], hidden.into_iter().collect()).to_string()
    }

    #[test]
    fn the_caret_meets_its_column() {
        let shown = report("a: 1\nbé: x\n", Mistake::error(10..11, "no").help("do"), None);
        assert_eq!(
            shown,
            "error: no\n --> f.yaml:2:5\n  |\n2 | bé: x\n  |     ^\n  = do\n\nf.yaml: 1 mistake\n"
        );
    }

    #[test]
    fn what_is_hidden_is_not_shown() {
        let text = "secret: hunter2, foo: 1\n";
        let shown = report(text, Mistake::error(17..20, "no"), Some(8..15));
        assert!(shown.contains("1 | secret: …, foo: 1\n  |            ^^^\n"), "{shown}");
        let shown = report(text, Mistake::error(8..15, "no"), Some(8..15));
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_broken_line_hides_its_secret() {
        for at in [0, 5, 12, 20] {
            let shown = report(
                "  secret: \"hunter2\n",
                Mistake::error(at.min(18)..at.min(18), "no").hides_line(),
                None,
            );
            assert!(!shown.contains("hunt") && !shown.contains("ter2"), "{at}: {shown}");
        }
    }

    #[test]
    fn a_mistake_at_the_end_of_the_file_is_shown() {
        assert!(report("", Mistake::error(0..0, "empty"), None).contains("f.yaml:1:1"));
        assert!(report("a", Mistake::error(7..9, "far"), None).contains("f.yaml:1:2"));
    }
}
