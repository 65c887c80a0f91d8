//! Every row of `mappings/rooms.yaml` has a conversation that shows it; this test names the rows without one.
//!
//! A vector says which rows it shows in lines of the form `# rows TABLE: ROW ROW …`.

#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use support::script;

#[test]
fn every_row_of_the_rooms_table_has_a_vector() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let yaml = fs::read_to_string(root.join("mappings/rooms.yaml")).expect("mappings/rooms.yaml");
    let tables: BTreeMap<String, Vec<BTreeMap<String, serde_json::Value>>> =
        serde_yaml::from_str(&yaml).expect("the tables");
    let mut wanted = BTreeSet::new();
    for (table, rows) in &tables {
        for row in rows {
            let keys = ["status", "condition", "role", "entry"];
            let keys = if table == "standings" { ["entry"; 4] } else { keys };
            let name = keys.iter().find_map(|key| row.get(*key)?.as_str());
            wanted.insert(format!("{table} {}", name.expect("a row has a name")));
        }
    }
    let mut shown = BTreeSet::new();
    for folder in ["rooms", "conference"] {
        for entry in fs::read_dir(root.join("tests/vectors").join(folder)).expect("the vectors").flatten() {
            shown.extend(script::rows(&fs::read_to_string(entry.path()).unwrap_or_default()));
        }
    }
    let missing: Vec<_> = wanted.difference(&shown).collect();
    assert!(missing.is_empty(), "rows without a vector: {missing:?}");
    let gone: Vec<_> = shown.difference(&wanted).collect();
    assert!(gone.is_empty(), "vectors for rows that are not there: {gone:?}");
}
