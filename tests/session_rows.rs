//! Every row of `mappings/sessions.yaml` that the chat asks has a conversation that shows it; this test names the rows
//! without one.
//!
//! A vector says which rows it shows in lines of the form `# rows QUESTION: ROW ROW …`.

#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use mostar::features::sessions;

/// The questions about sessions; the others are about messages, and shown with those.
const QUESTIONS: [&str; 8] = ["line", "failed", "broken", "invited", "asked", "quiet", "gone", "ended"];

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
        for line in text.lines().filter_map(|line| line.strip_prefix("# rows ")) {
            if let Some((question, names)) = line.split_once(':')
                && QUESTIONS.contains(&question)
            {
                shown.extend(names.split_whitespace().map(|name| format!("{question} {name}")));
            }
        }
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
            for (table, rows) in
                text.lines().filter_map(|line| line.strip_prefix("# rows ")?.split_once(": "))
            {
                shown.extend(rows.split_whitespace().map(|row| format!("{table} {row}")));
            }
        }
    }
    let rows = TABLES.iter().flat_map(|(table, rows)| rows.iter().map(move |row| format!("{table} {row}")));
    let missing: Vec<_> = rows.filter(|row| !shown.contains(row)).collect();
    assert!(missing.is_empty(), "rows without a vector: {missing:?}");
}
