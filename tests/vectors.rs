//! Runs every conversation in `tests/vectors/`: each file is one gateway, one clock and one list of steps.
//!
//! The format stands in `tests/vectors/README.md`. `VECTOR=part-of-a-path` runs only the files whose path has that
//! part. Failures of all files are shown together.

#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "vec") {
            found.push(path);
        }
    }
}

#[test]
fn every_conversation_goes_as_written() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let filter = std::env::var("VECTOR").unwrap_or_default();
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    paths.retain(|path| path.to_string_lossy().contains(&filter));
    assert!(!paths.is_empty(), "no vector matches VECTOR={filter}");
    let mut failures = Vec::new();
    for path in &paths {
        let name = path.strip_prefix(&root).unwrap_or(path).display().to_string();
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{name}: {error}"));
        if let Err(failure) = support::vector::run(&text) {
            failures.push(format!("--- {name}\n{failure}"));
        }
    }
    assert!(failures.is_empty(), "{} of {} failed\n{}", failures.len(), paths.len(), failures.join("\n"));
}
