//! `docs/conformance.md` and `docs/doap.xml` are generated from the features' manifests; a stale one fails here.
//! `BLESS=1` writes both anew.

use std::collections::{BTreeMap, BTreeSet};
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
    is_fresh("docs/conformance.md", &page);
}

fn is_fresh(name: &str, page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, page).expect("docs/ can be written");
    }
    let stands = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(stands, page, "{name} is stale: BLESS=1 cargo test --test conformance");
}

/// The XEPs that manifests name: number, the version that was read, how much of it is done, and what, where that is
/// not all. XEP-0114 belongs to the link and to no feature.
const XEPS: [(&str, &str, &str, &str); 28] = [
    ("0030", "2.5.0", "complete", ""),
    ("0045", "1.35.5", "partial", "As an occupant, for SIP users; as a room, for conferences of SIP."),
    ("0054", "1.3.0", "partial", "Nothing can be published."),
    ("0066", "1.5", "partial", "Beside a message: shown to SIP as an address."),
    ("0071", "1.5.4", "partial", "Emphasis and links, where they say what the body says."),
    ("0085", "2.1", "complete", "Outside rooms."),
    ("0092", "1.1", "complete", ""),
    ("0106", "1.1.1", "complete", ""),
    ("0114", "1.6", "complete", "How the gateway is attached to an XMPP server"),
    ("0115", "1.6.0", "complete", ""),
    ("0128", "1.0.1", "partial", "What a room of SIP is about, for who is in it."),
    ("0172", "1.1", "partial", "Sent along when a SIP user asks to see the presence of an XMPP user."),
    ("0184", "1.4.0", "complete", ""),
    ("0199", "2.0.1", "complete", ""),
    ("0203", "2.0", "complete", ""),
    ("0249", "1.2", "partial", "Invitations to SIP users become calls."),
    ("0308", "1.2.1", "partial", "Told to SIP as a line of text, or in the place of what still waits."),
    ("0333", "1.0.0", "complete", "Outside rooms."),
    ("0334", "1.0.0", "partial", "Lines that only inform are not to be stored."),
    ("0359", "0.7.0", "partial", "Lines of conferences of SIP have the room's id; origin ids are passed on."),
    ("0410", "1.1.0", "complete", ""),
    ("0421", "1.0.1", "complete", "Read in rooms of XMPP, given in conferences of SIP."),
    ("0424", "0.4.2", "partial", "Told to SIP as a line of text."),
    ("0428", "0.2.1", "partial", "Removed before SIP is told."),
    ("0444", "0.2.1", "partial", "Told to SIP as a line of text."),
    ("0446", "0.2.0", "partial", "Name and size of a file are shown to SIP."),
    ("0447", "0.3.1", "partial", "Shown to SIP as name, size and address."),
    ("0461", "0.2.1", "partial", "Told to SIP as a line above the text."),
];

#[test]
fn the_description_of_the_project_is_fresh() {
    let mut xeps: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::from([("0114", BTreeSet::new())]);
    let mut rfcs = BTreeSet::new();
    for feature in mostar::features::registry() {
        let manifest = feature.manifest();
        for text in manifest.follows {
            let text = text.split(" §").next().unwrap_or(text);
            if let Some(number) = text.strip_prefix("XEP-") {
                xeps.entry(number).or_default().insert(manifest.summary);
            } else if let Some(number) =
                text.strip_prefix("RFC ").and_then(|number| number.parse::<u32>().ok())
            {
                rfcs.insert(number);
            }
        }
    }
    let known: BTreeSet<&str> = XEPS.iter().map(|(number, ..)| *number).collect();
    assert_eq!(known, xeps.keys().copied().collect(), "XEPS in this test, against those that manifests name");

    let mut page = format!(
        "<?xml version='1.0' encoding='UTF-8'?>\n<!-- Generated from the features' manifests by tests/conformance.rs. -->\n<rdf:RDF xmlns='http://usefulinc.com/ns/doap#' \
         xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'\n    xmlns:xmpp='https://linkmauve.fr/ns/xmpp-doap#'>\n  \
         <Project>\n    <name>Mostar</name>\n    <shortdesc xml:lang='en'>{}</shortdesc>\n    \
         <programming-language>Rust</programming-language>\n    <os>Linux</os>\n    <license \
         rdf:resource='https://spdx.org/licenses/MIT'/>\n    <license rdf:resource='https://spdx.org/licenses/Apache-2.0'/>\n",
        env!("CARGO_PKG_DESCRIPTION")
    );
    for number in rfcs {
        let _ =
            writeln!(page, "    <implements rdf:resource='https://www.rfc-editor.org/info/rfc{number}'/>");
    }
    for (number, version, status, part) in XEPS {
        let mut notes: Vec<&str> = xeps[number].iter().copied().collect();
        notes.extend(Some(part).filter(|part| !part.is_empty()));
        let _ = write!(
            page,
            "    <implements>\n      <xmpp:SupportedXep>\n        \
             <xmpp:xep rdf:resource='https://xmpp.org/extensions/xep-{number}.html'/>\n        \
             <xmpp:status>{status}</xmpp:status>\n        <xmpp:version>{version}</xmpp:version>\n        \
             <xmpp:note xml:lang='en'>{}</xmpp:note>\n      </xmpp:SupportedXep>\n    </implements>\n",
            notes.join(". ").replace("..", ".")
        );
    }
    page.push_str("  </Project>\n</rdf:RDF>\n");
    roxmltree::Document::parse(&page).expect("it is XML");
    is_fresh("docs/doap.xml", &page);
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
