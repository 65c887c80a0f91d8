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
const QUESTIONS: [&str; 7] = ["line", "failed", "broken", "invited", "quiet", "gone", "ended"];

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
            if let Some((question, names)) = line.split_once(':') {
                shown.extend(names.split_whitespace().map(|name| format!("{question} {name}")));
            }
        }
    }
    let missing: Vec<_> = rows.difference(&shown).collect();
    assert!(missing.is_empty(), "rows without a vector: {missing:?}");
    let gone: Vec<_> = shown.difference(&rows).collect();
    assert!(gone.is_empty(), "vectors for rows that are not there: {gone:?}");
}
