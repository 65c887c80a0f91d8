//! `docs/sessions.md` is drawn from `mappings/sessions.yaml` and from the vectors that show its rows: what the pictures
//! show is what the gateway does. A stale page fails here; `BLESS=1` writes it anew.

#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

mod support;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use mostar::xmpp::stanza::Element;
use support::script::{self, Script, Step};
use support::xml;

const HEAD: &str = "# Chat sessions, row by row

Drawn from [`mappings/sessions.yaml`](../mappings/sessions.yaml) and from the conversations in `tests/vectors` by
`BLESS=1 cargo test --test flows`: each picture is one of those conversations, which every test run plays.

XMPP chats are informal, MSRP sessions are negotiated: what becomes of one in the other is decided by this table. Each
question has a list of rows, and the first row whose conditions all hold decides. `mostar explain` says which row decides
for two people and why; rows of your own go under `sessions:` in the configuration. What happens before the picture
begins, such as presence that lets the gateway know who is online, is drawn too: it is what the row looks at.

An arrow to the left or right of the gateway is one message; a dashed one is an answer. Answers to presence and the
barrier's pings (docs/decisions/message-answers.md) are drawn where the conversation shows them.
";

/// A row as the page tells it.
struct Row {
    question: String,
    name: String,
    /// The comment over it.
    reason: String,
    /// `when` and `do`, as written.
    rule: String,
}

impl Row {
    /// What it decides, as [`shown`] calls it.
    fn decision(&self) -> String {
        let decision = self.rule.rsplit("do: ").next().and_then(|rest| rest.split(',').next());
        format!("{} do {}", self.question, decision.unwrap_or_default())
    }
}

/// A conversation, and how many rows it shows.
struct Shown {
    file: String,
    script: Script,
    rows: usize,
}

#[test]
fn the_page_of_sessions_is_fresh() {
    let table = include_str!("../mappings/sessions.yaml");
    let shown = shown();
    let mut page = HEAD.to_owned();
    let mut question = String::new();
    let intros = intros(table);
    for row in rows(table) {
        if row.question != question {
            question.clone_from(&row.question);
            let _ = write!(page, "\n## `{question}`\n\n{}\n", intros[&question]);
        }
        let by_row = shown.get(&format!("{} {}", row.question, row.name));
        let Some(shown) = by_row.or_else(|| shown.get(&row.decision())) else {
            panic!("{} {} has no vector: see tests/session_rows.rs", row.question, row.name)
        };
        let title = shown.script.before[0].trim_start_matches("# ");
        let (title, section) = title.split_once("   ").unwrap_or((title, ""));
        let section = section.trim();
        let section = if section.is_empty() { String::new() } else { format!(" ({section})") };
        let _ = write!(page, "\n### `{}`\n\n", row.name);
        if !row.reason.is_empty() {
            let _ = write!(page, "{} ", row.reason);
        }
        let _ = write!(page, "`{}`\n\n{title}{section}, `{}`:\n\n", row.rule, shown.file);
        page.push_str(&picture(&shown.script));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/sessions.md");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &page).expect("docs/ can be written");
    }
    let stands = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(stands == page, "docs/sessions.md is stale: BLESS=1 cargo test --test flows");
}

/// For each row, and each decision of the lists about messages (`QUESTION do DECISION`), the conversation that shows it and
/// as little else as possible.
fn shown() -> BTreeMap<String, Shown> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut best: BTreeMap<String, Shown> = BTreeMap::new();
    for path in script::vectors() {
        let text = std::fs::read_to_string(&path).expect("a vector");
        let decisions = script::decisions(&text).filter_map(|decision| {
            let (question, word) = (decision.split(' ').next()?, decision.rsplit(' ').next()?);
            Some(format!("{question} do {word}"))
        });
        let rows: Vec<String> = script::rows(&text).chain(decisions).collect();
        let script: Script = text.parse().expect("a vector");
        let relative = path.strip_prefix(root.join("tests/vectors")).expect("below").with_extension("");
        for row in &rows {
            let length = |shown: &Shown| (shown.rows, shown.script.steps.len());
            if best.get(row).is_none_or(|known| (rows.len(), script.steps.len()) < length(known)) {
                let file = relative.display().to_string();
                best.insert(row.clone(), Shown { file, script: script.clone(), rows: rows.len() });
            }
        }
    }
    best
}

/// The first sentence of the comment over each question.
fn intros(table: &str) -> BTreeMap<String, String> {
    let mut intros = BTreeMap::new();
    let mut comment: Vec<&str> = Vec::new();
    for line in table.lines() {
        if let Some(text) = line.strip_prefix("# ") {
            comment.push(text);
        } else if let Some(question) = line.strip_suffix(':') {
            let text = comment.iter().take_while(|text| !text.starts_with("  ")).copied();
            intros.insert(question.to_owned(), text.collect::<Vec<_>>().join(" "));
        } else {
            comment.clear();
        }
    }
    intros
}

/// The rows of the table, in order.
fn rows(table: &str) -> Vec<Row> {
    let (mut rows, mut question, mut reason) = (Vec::new(), String::new(), Vec::new());
    for line in table.lines() {
        if let Some(name) = line.strip_suffix(':').filter(|line| !line.starts_with([' ', '#'])) {
            question = name.to_owned();
        } else if let Some(text) = line.strip_prefix("  # ") {
            reason.push(text);
        } else if let Some(row) = line.strip_prefix("  - { row: ") {
            let (name, rule) = row.trim_end_matches(" }").split_once(", ").expect("a row decides");
            let reason = std::mem::take(&mut reason).join(" ");
            rows.push(Row { question: question.clone(), name: name.into(), reason, rule: rule.into() });
        }
    }
    rows
}

/// The conversation as a sequence diagram.
fn picture(script: &Script) -> String {
    let mut out = String::from(
        "```mermaid\nsequenceDiagram\n    participant X as XMPP server\n    participant M as Mostar\n    participant S as SIP peer\n",
    );
    let mut last = 0;
    for step in &script.steps {
        let (at, words) = step.words().expect("a step");
        let Some(line) = line(step, &words) else { continue };
        let wait = (at.0 - last) / 1_000_000;
        if wait >= 1 {
            let _ = writeln!(out, "    Note over X,S: {} later", span(wait));
        }
        last = at.0;
        let _ = writeln!(out, "    {line}");
    }
    out.push_str("```\n");
    out
}

fn span(seconds: u64) -> String {
    match seconds {
        s if s >= 7200 => format!("{} hours", s / 3600),
        s if s >= 120 => format!("{} minutes", s / 60),
        s => format!("{s} s"),
    }
}

/// What one step shows.
fn line(step: &Step, words: &[&str]) -> Option<String> {
    let body = step.body();
    Some(match words {
        ["xmpp", "in", ..] => format!("X->>M: {}", stanza(&body)),
        ["xmpp", "out", ..] => format!("M->>X: {}", stanza(&body)),
        ["sip", "in", ..] => arrow("S", "M", &sip(&body)),
        ["sip", "out", ..] => arrow("M", "S", &sip(&body)),
        ["msrp", "connected", ..] => "M->S: the MSRP connection is there".into(),
        ["msrp", "refused", ..] => "M-xS: the MSRP connection is refused".into(),
        ["msrp", "lost", ..] => "S-xM: the MSRP connection is lost".into(),
        ["msrp", "out", ..] if body.starts_with("CONNECT") => "M->S: connects for MSRP".into(),
        ["msrp", "in", ..] => arrow("S", "M", &msrp(&body)),
        ["msrp", "out", ..] => arrow("M", "S", &msrp(&body)),
        ["idle"] => return None,
        other => format!("Note over M: {}", other.join(" ")),
    })
}

/// Answers are dashed.
fn arrow(from: &str, to: &str, what: &str) -> String {
    let is_answer = what.split(' ').any(|word| word.len() == 3 && word.parse::<u16>().is_ok());
    format!("{from}{}{to}: {what}", if is_answer { "-->>" } else { "->>" })
}

/// A SIP message in a few words: the method, or the status with its method where it is written.
fn sip(text: &str) -> String {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let first = head.lines().next().unwrap_or_default();
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let kind = header("Content-Type:").unwrap_or_default();
    if let Some(status) = first.strip_prefix("SIP/2.0 ") {
        let method = header("CSeq:").and_then(|cseq| cseq.split(' ').nth(1));
        let method = method.map(|method| format!(" to {method}")).unwrap_or_default();
        let refuses = if body.contains("m=message 0 ") { ", the message line refused" } else { "" };
        return clean(&format!("{status}{method}{refuses}"));
    }
    let method = first.split(' ').next().unwrap_or_default();
    let what = match (kind, body) {
        (_, "") => String::new(),
        ("application/sdp", body) if body.contains("m=message") => " with an MSRP line".into(),
        (kind, body) if kind.is_empty() || kind.starts_with("text/plain") => format!(" {}", quote(body)),
        (kind, _) => format!(" with {kind}"),
    };
    clean(&format!("{method}{what}"))
}

/// A frame in a few words.
fn msrp(text: &str) -> String {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut first = head.lines().next().unwrap_or_default().splitn(3, ' ').skip(2);
    let what = first.next().unwrap_or_default();
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let body = body.split_once("\n\n").filter(|_| body.contains("From:")).map_or(body, |(_, inner)| inner);
    let more = match (what, header("Status:"), body.trim()) {
        (_, Some(status), _) => format!(": {}", status.trim_start_matches("000 ")),
        ("SEND", None, "") => " without a body".into(),
        ("SEND", None, body) if body.starts_with('<') => {
            format!(" with {}", header("Content-Type:").unwrap_or("XML"))
        }
        ("SEND", None, body) => format!(" {}", quote(body)),
        _ => String::new(),
    };
    clean(&format!("MSRP {what}{more}"))
}

/// A stanza in a few words: what it is, its type, and what it carries.
fn stanza(text: &str) -> String {
    let Ok(stanza) = xml::parse(text) else { return clean(&quote(text)) };
    let kind = stanza.attr("type").map(|kind| format!(" {kind}")).unwrap_or_default();
    let parts: Vec<String> = stanza.children().map(part).collect();
    clean(&format!("{}{kind} {}", stanza.name(), parts.join(", ")))
}

fn part(child: &Element) -> String {
    match child.name() {
        "body" => quote(child.text().trim()),
        "error" => child.children().next().map_or_else(String::new, |first| first.name().to_owned()),
        name => name.to_owned(),
    }
}

/// The beginning of what people wrote.
fn quote(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    let short: String = line.chars().take(40).collect();
    let more = if short.len() < text.trim().len() { "…" } else { "" };
    format!("“{short}{more}”")
}

/// Without what means something to the drawing program, or to the vectors alone.
fn clean(text: &str) -> String {
    let text = text.replace("{_}", "…").replace([';', '#', '{', '}', '<', '>'], " ");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
