//! Whatever can grow stands in docs/limits.md: every file that holds a queue, a map or a set is named there.

#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Whether a line of code is a field that holds many.
fn is_field(line: &str) -> bool {
    let code = line.trim_start().trim_start_matches("pub(super) ").trim_start_matches("pub ");
    let name = code.split(':').next().unwrap_or_default();
    let is_name =
        !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit());
    let holds = ["BTreeMap<", "HashMap<", "VecDeque<", "BTreeSet<", "HashSet<"]
        .iter()
        .any(|kind| code.contains(kind));
    is_name && holds && code.ends_with(',') && !code.contains('&')
}

#[test]
fn every_place_that_can_grow_is_on_its_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/limits.md")).expect("docs/limits.md");
    let mut paths = Vec::new();
    sources(&root.join("src"), &mut paths);
    let mut missing = BTreeSet::new();
    for path in paths {
        let name = path.strip_prefix(root.join("src")).expect("below src").display().to_string();
        if name.starts_with("config/") || name.ends_with("tests.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap_or_default();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        if code.lines().any(is_field) && !page.contains(&format!("`{name}`")) {
            missing.insert(name);
        }
    }
    assert!(missing.is_empty(), "docs/limits.md does not name {missing:?}");
    // And names nothing that is gone.
    let named = page.split('`').filter(|word| word.ends_with(".rs") && !word.starts_with("tests/"));
    let gone: Vec<_> = named.filter(|name| !root.join("src").join(name).is_file()).collect();
    assert!(gone.is_empty(), "docs/limits.md names {gone:?}");
}
