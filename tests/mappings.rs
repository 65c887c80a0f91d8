//! An admin's own table counts instead of the built-in one. Tables are read once in a process, so this is one of its own.

use mostar::config::outside::Machine;
use mostar::features::contact::table::{Fate, Refusal, fate};
use mostar::words::table;

const ROWS: &str = "subscribe-answers:\n  - { answer: \"404\", first: refuse, later: doubt }\n  - { answer: other, first: retry, later: retry }\n";

/// What `check` says of a configuration with this table in its folder of tables.
fn checked(name: &str, rows: &str) -> Result<table::Own, String> {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("own")).expect("a folder");
    std::fs::write(folder.path().join("own").join(name), rows).expect("a table");
    let text = "xmpp:\n  server: 127.0.0.1:5347\n  components: [ { domain: sip.example.org, secret: { env: PATH } } ]\n  domains: \
                [ { domain: example.org } ]\nsip:\n  listen: [ \"udp://127.0.0.1:5070\" ]\n  peers: [ { uri: \
                \"sip:127.0.0.1:5060\", may_send_from: [ sip.example.org ] } ]\nstore: store\nmappings: own\n";
    let (config, report) = mostar::config::check("mostar.yaml", text, folder.path(), &Machine);
    config.map(|config| config.mappings).ok_or_else(|| report.to_string())
}

#[test]
fn a_row_of_an_admin_counts_and_a_bad_one_is_told() {
    let told = checked("subscribe.yaml", &ROWS.replace("doubt", "dubt")).expect_err("a mistake");
    assert!(told.contains("subscribe.yaml") && told.contains("dubt"), "{told}");
    let told = checked("subscribe.yaml", "subscribe-answers: []").expect_err("a mistake");
    assert!(told.contains("must be `other`"), "{told}");
    let told = checked("subscribes.yaml", ROWS).expect_err("a mistake");
    assert!(told.contains("holds no table") && told.contains("subscribe.yaml"), "{told}");
    table::replace(checked("subscribe.yaml", ROWS).expect("a good table"));
    assert_eq!(fate(Refusal::Status(404), false), Fate::Refuse);
    assert_eq!(fate(Refusal::Status(404), true), Fate::Doubt);
    assert_eq!(fate(Refusal::Status(403), false), Fate::Retry);
}
