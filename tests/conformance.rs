//! `docs/conformance.md` is generated from the features' manifests; a stale one fails here. `BLESS=1` writes it anew.

use std::fmt::Write;
use std::path::Path;

fn list(words: &[&str]) -> String {
    if words.is_empty() { "–".into() } else { words.join(", ") }
}

#[test]
fn the_conformance_page_is_fresh() {
    let mut page = String::from(
        "# What Mostar follows\n\nGenerated from the features' manifests by `BLESS=1 cargo test --test conformance`.\n\n\
         | feature | what it does | follows | SIP methods | event packages | service discovery |\n|---|---|---|---|---|---|\n",
    );
    for feature in mostar::features::registry() {
        let manifest = feature.manifest();
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} |",
            manifest.name,
            manifest.summary,
            list(manifest.follows),
            list(manifest.methods),
            list(manifest.events),
            list(manifest.disco)
        );
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/conformance.md");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &page).expect("docs/ can be written");
    }
    let stands = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(stands, page, "docs/conformance.md is stale: BLESS=1 cargo test --test conformance");
}

#[test]
fn no_two_features_keep_the_same_kind_of_record() {
    let mut seen = std::collections::BTreeSet::new();
    for feature in mostar::features::registry() {
        for kind in feature.manifest().records {
            assert!(seen.insert(*kind), "records of kind {kind} belong to two features");
        }
    }
}
