//! What the pages in `docs/` name exists, and the pages name all there is.

#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect(name)
}

/// The words between back-ticks.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

#[test]
fn every_proof_that_the_page_of_tests_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut missing = Vec::new();
    for line in page("docs/testing.md").lines().filter_map(|line| line.rsplit_once(" | ")) {
        let mut file = String::new();
        for name in quoted(line.1) {
            let vector = root.join(format!("tests/vectors/{name}.vec"));
            if vector.exists() {
            } else if name.starts_with("tests/") || name.starts_with("src/") {
                file = fs::read_to_string(root.join(name)).unwrap_or_default();
                if file.is_empty() {
                    missing.push(name.to_owned());
                }
            } else if !file.contains(&format!("fn {name}(")) {
                missing.push(name.to_owned());
            }
        }
    }
    assert!(missing.is_empty(), "docs/testing.md names what is not there: {missing:?}");
}

#[test]
fn what_the_page_of_the_architecture_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = page("docs/architecture.md");
    let is_path = |name: &&str| name.contains('/') && !name.contains([' ', '<']);
    let is_there = |name: &str| {
        [name.to_owned(), format!("src/{name}"), format!("tests/vectors/{name}.vec")]
            .iter()
            .any(|place| root.join(place).exists())
    };
    let missing: Vec<&str> =
        text.lines().flat_map(quoted).filter(is_path).filter(|name| !is_there(name)).collect();
    assert!(missing.is_empty(), "docs/architecture.md names what is not there: {missing:?}");
}

#[test]
fn every_decision_is_in_the_list_under_its_title() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/decisions");
    let list = page("docs/decisions/README.md");
    let names = fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.file_name());
    let names = names.filter_map(|name| name.into_string().ok()).filter(|name| name != "README.md");
    let missing: Vec<String> = names
        .filter(|name| {
            let text = page(&format!("docs/decisions/{name}"));
            let title = text.lines().next().unwrap_or_default().trim_start_matches("# ");
            !list.contains(&format!("- [{title}]({name})"))
        })
        .collect();
    assert!(missing.is_empty(), "docs/decisions/README.md does not name {missing:?}, or by another title");
}

#[test]
fn every_event_of_the_log_is_on_its_page() {
    let page = page("docs/log.md");
    let known: BTreeSet<&str> =
        page.lines().filter(|line| line.starts_with("| `")).flat_map(quoted).collect();
    let mut files = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut missing = BTreeSet::new();
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(fs::read_dir(&path).expect("a folder").flatten().map(|entry| entry.path()));
            continue;
        }
        let text = fs::read_to_string(&path).unwrap_or_default();
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (at, _) in text.match_indices("Level::").chain(text.match_indices("gossip(&")) {
            // `Level::Warn, "name"`, `level: Level::Warn, event: "name"` and `gossip(&log, "name"`
            let Some((_, rest)) = text[at..].split_once(',') else { continue };
            let rest = rest.trim_start().trim_start_matches("event:").trim_start();
            let Some(name) = rest.strip_prefix('"').and_then(|rest| rest.split('"').next()) else { continue };
            if !known.contains(name) {
                missing.insert(name.to_owned());
            }
        }
    }
    assert!(missing.is_empty(), "docs/log.md does not name {missing:?}");
}

#[test]
fn the_page_of_metrics_is_not_stale() {
    let told = mostar::shell::meters::page();
    if std::env::var_os("BLESS").is_some() {
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md"), &told)
            .expect("docs/metrics.md");
    }
    assert!(page("docs/metrics.md") == told, "docs/metrics.md is stale: BLESS=1 cargo test --test docs");
}

/// All code of a folder, tests left out, without line breaks and blanks.
fn code(folder: &Path, text: &mut String) {
    for path in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if path.is_dir() {
            code(&path, text);
        } else if !path.ends_with("meters.rs") && !path.ends_with("tests.rs") {
            let whole = fs::read_to_string(&path).expect("a source file");
            text.extend(
                whole.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().split_whitespace(),
            );
        }
    }
}

#[test]
fn every_figure_that_is_counted_is_on_its_page_and_no_other() {
    let mut text = String::new();
    code(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut text);
    let page = page("docs/metrics.md");
    let told: BTreeSet<&str> = quoted(&page).filter_map(|name| name.strip_prefix("mostar_")).collect();
    let mut counted = BTreeSet::new();
    for call in ["count(\"", "counter(\"", "gauge(\"", "Count{name:\"", "Gauge{name:\""] {
        counted.extend(text.split(call).skip(1).filter_map(|rest| rest.split('"').next()));
    }
    assert!(counted.len() > 40, "{counted:?}");
    let missing: Vec<_> = counted.difference(&told).collect();
    assert!(missing.is_empty(), "without a line in src/shell/meters.rs: {missing:?}");
    let gone: Vec<_> =
        told.iter().filter(|name| !name.is_empty() && !text.contains(&format!("\"{name}\""))).collect();
    assert!(gone.is_empty(), "nobody counts {gone:?}");
}
