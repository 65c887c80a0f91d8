//! Every row of `mappings/sessions.yaml` that the chat asks has a conversation that shows it; this test names the rows
//! without one.
//!
//! A vector says which rows it shows in lines of the form `# rows QUESTION: ROW ROW …`, and which decisions of the lists
//! about messages in lines of the form `# decisions QUESTION: WORD DECISION, WORD DECISION …`.

#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use mostar::features::sessions::{self, table::Form};
use support::script;

/// The questions about sessions; the others are about messages, and shown with those.
const QUESTIONS: [&str; 9] =
    ["line", "failed", "broken", "held", "invited", "asked", "quiet", "gone", "ended"];

/// Lists of one row, which an admin may want otherwise: each of these decisions is shown, for each of the things that it
/// can be about.
const DECISIONS: [&str; 2] = ["answered", "extra"];

#[test]
fn every_decision_about_messages_has_a_vector() {
    let mut wanted = BTreeSet::new();
    for question in sessions::QUESTIONS.iter().filter(|question| DECISIONS.contains(&question.name)) {
        let words = question.conditions.iter().flat_map(|(_, form)| match form {
            Form::Words(words) => *words,
            _ => &[],
        });
        let words: Vec<&str> =
            if question.conditions.is_empty() { vec![""] } else { words.copied().collect() };
        for (decision, _) in question.decisions {
            wanted.extend(
                words.iter().map(|word| format!("{} {word} {decision}", question.name).replace("  ", " ")),
            );
        }
    }
    let shown = decisions_shown();
    let missing: Vec<_> = wanted.difference(&shown).collect();
    assert!(missing.is_empty(), "decisions without a vector: {missing:?}");
    let gone: Vec<_> = shown.difference(&wanted).collect();
    assert!(gone.is_empty(), "vectors for decisions that are not there: {gone:?}");
}

/// The decisions that vectors say they show, each with its question.
fn decisions_shown() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let mut shown = BTreeSet::new();
    for folder in ["pager", "receipts"] {
        for entry in fs::read_dir(root.join(folder)).expect("the vectors").flatten() {
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            shown.extend(script::decisions(&text));
        }
    }
    shown
}

#[test]
fn every_row_says_why_it_is_there() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("mappings/sessions.yaml");
    let text = fs::read_to_string(path).expect("the table");
    let lines: Vec<&str> = text.lines().collect();
    let bare =
        lines.windows(2).filter(|pair| pair[1].starts_with("  - { row:") && !pair[0].starts_with("  # "));
    let bare: Vec<_> = bare.map(|pair| pair[1]).collect();
    assert!(bare.is_empty(), "rows without a comment: {bare:#?}");
}

/// Conditions and decisions that no built-in row has are there for admins: some vector has a row of its own with each.
#[test]
fn every_condition_and_decision_has_a_vector() {
    let mut tables = vec![sessions::whole(None)];
    for path in script::vectors() {
        let text = fs::read_to_string(path).unwrap_or_default();
        let own = text.lines().filter_map(|line| line.strip_prefix("config sessions="));
        tables.extend(own.map(|rows| support::settings::rows(rows).expect("rows")));
    }
    let (mut missing, mut shown) = (Vec::new(), BTreeSet::new());
    for question in &sessions::QUESTIONS {
        for row in tables.iter().flat_map(|table| table.list(question.name)) {
            shown.insert((question.name, row.then));
            shown.extend(row.when.iter().map(|(condition, _)| (question.name, *condition)));
        }
        let conditions = question.conditions.iter().map(|(name, _)| (question.name, *name));
        let decisions = question.decisions.iter().map(|(name, _)| (question.name, *name));
        missing.extend(conditions.chain(decisions).filter(|known| !shown.contains(known)));
    }
    assert!(missing.is_empty(), "conditions and decisions that no row of a vector has: {missing:?}");
}

#[test]
fn every_row_about_sessions_has_a_vector() {
    let table = sessions::whole(None);
    let rows: BTreeSet<String> = QUESTIONS
        .iter()
        .flat_map(|question| table.list(question).iter().map(move |row| format!("{question} {}", row.name)))
        .collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/chat");
    let mut shown = BTreeSet::new();
    for entry in fs::read_dir(folder).expect("the vectors").flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let is_question = |row: &String| QUESTIONS.iter().any(|name| row.split(' ').next() == Some(*name));
        shown.extend(script::rows(&text).filter(is_question));
    }
    let missing: Vec<_> = rows.difference(&shown).collect();
    assert!(missing.is_empty(), "rows without a vector: {missing:?}");
    let gone: Vec<_> = shown.difference(&rows).collect();
    assert!(gone.is_empty(), "vectors for rows that are not there: {gone:?}");
}

/// What crosses between chat states and isComposing (RFC 7573 §6, RFC 3994), between receipts and reports (RFC 5438, RFC
/// 4975 §7.1.2), and the codes of MSRP (RFC 4975 §10), row by row.
const TABLES: [(&str, &[&str]); 3] = [
    (
        "states",
        &[
            "sip-active",
            "sip-idle",
            "sip-unknown",
            "refresh",
            "text",
            "xmpp-composing",
            "xmpp-active",
            "xmpp-paused",
            "xmpp-inactive",
            "xmpp-gone",
        ],
    ),
    (
        "reports",
        &[
            "request-to-report",
            "request-to-imdn",
            "imdn-to-request",
            "delivered",
            "failed",
            "forbidden",
            "error",
            "displayed",
            "markable",
            "processed",
        ],
    ),
    ("codes", &["400", "403", "404", "408", "413", "415", "481", "501", "506"]),
];

#[test]
fn every_row_of_typing_reports_and_codes_has_a_vector() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let mut shown = BTreeSet::new();
    for folder in ["chat", "composing", "receipts"] {
        for entry in fs::read_dir(root.join(folder)).expect("the vectors").flatten() {
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            shown.extend(script::rows(&text));
        }
    }
    let rows = TABLES.iter().flat_map(|(table, rows)| rows.iter().map(move |row| format!("{table} {row}")));
    let missing: Vec<_> = rows.filter(|row| !shown.contains(row)).collect();
    assert!(missing.is_empty(), "rows without a vector: {missing:?}");
}
