//! Every row of `mappings/errors.yaml` has a conversation that shows it; this test names the rows without one.
//!
//! A vector says which rows it shows in lines of the form `# rows TABLE: ROW ROW …`.

#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use support::script;

#[derive(serde::Deserialize)]
struct Tables {
    statuses: Vec<Status>,
    conditions: Vec<Condition>,
}

#[derive(serde::Deserialize)]
struct Status {
    status: u16,
}

#[derive(serde::Deserialize)]
struct Condition {
    condition: String,
    moved: Option<u16>,
}

/// `TABLE ROW` for every row that the vectors of a folder show.
fn shown(folder: &Path) -> BTreeSet<String> {
    let mut rows = BTreeSet::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        rows.extend(script::rows(&text));
    }
    rows
}

#[test]
fn every_row_of_the_error_tables_has_a_vector() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let yaml = fs::read_to_string(root.join("mappings/errors.yaml")).expect("mappings/errors.yaml");
    let tables: Tables = serde_yaml::from_str(&yaml).expect("the tables");
    let mut rows: Vec<String> =
        tables.statuses.iter().map(|row| format!("statuses {}", row.status)).collect();
    for row in &tables.conditions {
        rows.push(format!("conditions full {}", row.condition));
        rows.push(format!("conditions bare {}", row.condition));
        rows.extend(row.moved.map(|_| format!("conditions moved {}", row.condition)));
    }
    let shown = shown(&root.join("tests/vectors/pager"));
    let missing: Vec<&String> = rows.iter().filter(|row| !shown.contains(*row)).collect();
    assert!(missing.is_empty(), "rows without a vector: {missing:?}");
    let gone: Vec<&String> = shown.iter().filter(|row| !rows.contains(row)).collect();
    assert!(gone.is_empty(), "vectors for rows that are not there: {gone:?}");
}
