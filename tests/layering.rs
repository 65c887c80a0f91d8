//! The rules of the house that a compiler does not hold: what may touch what, and how long a file may be.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap_or_default();
                found.push((path, text));
            }
        }
    }
    let mut found = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut found);
    assert!(!found.is_empty(), "{folder} has no sources");
    found.sort();
    found
}

/// The lines of code in `folder` that name one of `words`, comments left aside.
fn offenders(folder: &str, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in sources(folder) {
        for (number, line) in text.lines().enumerate() {
            let code = line.trim_start();
            if !code.starts_with("//") && words.iter().any(|word| code.contains(word)) {
                found.push(format!("{}:{}: {code}", path.display(), number + 1));
            }
        }
    }
    found
}

#[track_caller]
fn none(rule: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{rule}:\n{}", found.join("\n"));
}

const CORE: [&str; 7] =
    ["src/words", "src/xmpp", "src/sip", "src/msrp", "src/documents", "src/features", "src/gateway"];

#[test]
fn the_core_does_no_io_and_reads_no_clock() {
    let words = [
        "tokio",
        ".await",
        "Instant::now",
        "SystemTime",
        "OsRng",
        "getrandom",
        "thread::",
        "std::fs",
        "crate::shell",
    ];
    for folder in CORE {
        none("rule 1: below shell/ there is no I/O, clock or randomness", offenders(folder, &words));
    }
}

#[test]
fn the_two_cities_meet_in_features_only() {
    none(
        "rule 3: sip/ never names XMPP",
        offenders("src/sip", &["crate::xmpp", "crate::features", "crate::gateway"]),
    );
    none(
        "rule 3: xmpp/ never names SIP",
        offenders("src/xmpp", &["crate::sip", "crate::features", "crate::gateway"]),
    );
    none(
        "msrp/ stands alone",
        offenders("src/msrp", &["crate::xmpp", "crate::sip", "crate::features", "crate::gateway"]),
    );
    none(
        "documents/ knows SIP's bodies, not XMPP",
        offenders("src/documents", &["crate::xmpp", "crate::features"]),
    );
}

#[test]
fn the_gateway_knows_no_feature_by_name() {
    let features: Vec<String> = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/features"))
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| format!("features::{}", entry.file_name().to_string_lossy()))
        .collect();
    let words: Vec<&str> = features.iter().map(String::as_str).collect();
    none("rule 4: the router knows no feature by name", offenders("src/gateway", &words));
}

#[test]
fn one_place_opens_sockets() {
    let words = [
        "::connect(",
        "::connect_timeout(",
        "Socket::new(",
        "UdpSocket::bind",
        "TcpListener::bind",
        "lookup_host",
        ".send_to(",
        ".try_send_to(",
        "connect_addr",
    ];
    // What takes a permit is a call of that place; an endpoint's own tests play the world around it.
    let found = offenders("src", &words)
        .into_iter()
        .filter(|line| !line.contains("shell/sockets.rs:") && !line.contains("sockets::connect(permit)"));
    none("shell/sockets.rs alone opens sockets and sends datagrams", found.collect());
}

#[test]
fn permits_are_given_by_policies() {
    let found = offenders("src", &["Permit::named("])
        .into_iter()
        .filter(|line| !["shell/sockets.rs:", "shell/explain.rs:"].iter().any(|place| line.contains(place)));
    none("only what the admin wrote itself is reached without a question", found.collect());
}

#[test]
fn secrets_are_revealed_only_where_they_are_proven() {
    let proofs = ["sip/auth.rs:", "shell/component.rs:", "config/msrp.rs:", "conference/showing.rs:"];
    let found = offenders("src", &[".reveal()"]).into_iter().filter(|line| {
        let is_a_test = line.contains("config/outside.rs:") || line.contains("config/check.rs:");
        !is_a_test && !proofs.iter().any(|place| line.contains(place))
    });
    none("a secret leaves its type where it is proven", found.collect());
}

#[test]
fn no_file_is_over_800_lines() {
    let long: Vec<_> = sources("src")
        .into_iter()
        .filter(|(_, text)| text.lines().count() > 800)
        .map(|(path, text)| format!("{}: {} lines", path.display(), text.lines().count()))
        .collect();
    none("rule 14", long);
}

#[test]
fn nothing_points_outside_the_repository() {
    let outside = concat!("../", "shared");
    let found = offenders("src", &[outside, "/work/"]);
    none("everything that the project needs is in it", found);
}
