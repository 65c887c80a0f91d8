//! `mostar explain`, as an admin uses it: with a gateway and without one.

#![allow(clippy::disallowed_types)]

use std::path::Path;
use std::process::{Command, Output};

#[path = "support/running.rs"]
mod running;

use running::{Running, SECRET, configuration, folder, port};

fn explain(folder: &Path, more: &[&str]) -> Output {
    explain_from(folder, "juliet@example.org/balcony", "romeo@sip.example.org", more)
}

fn explain_from(folder: &Path, from: &str, to: &str, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mostar"))
        .args(["explain", "-c"])
        .arg(folder.join("mostar.yaml"))
        .args(["--from", from, "--to", to])
        .args(more)
        .env("MOSTAR_TEST_SECRET", SECRET)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn the_running_gateway_is_asked_and_without_one_the_tables() {
    let folder = folder();
    let http = format!("127.0.0.1:{}", port(2));
    let configuration = configuration(
        folder.path(),
        &running::both(),
        "127.0.0.1:1",
        "sip:127.0.0.1:1",
        &http,
    ) + "sessions:\n  line:\n    - { row: mine, when: { long: true }, do: refuse, condition: policy-violation }\n";
    let running = Running::of(folder.path(), &configuration);
    let answer = said(&explain(folder.path(), &[]));
    let facts = "line: { type: chat, session: none, quiet: not known, thread: none, state: unknown, typing: false, \
                 msrp: unknown, takes: nothing, lacks: nothing, agent: not known, peer: learn, via: \"sip:127.0.0.1:1\", \
                 domain: \"example.org\", long: false, content: plain }\n";
    assert!(answer.starts_with(facts), "{answer}");
    assert!(
        answer.contains("not mine: long differs") && answer.ends_with("unknown decides: ask\n"),
        "{answer}"
    );

    let file = folder.path().join("stanza.xml");
    std::fs::write(&file, format!("<message type='chat'><body>{}</body></message>", "x".repeat(2000)))
        .unwrap();
    let answer = said(&explain(folder.path(), &["--stanza", file.to_str().unwrap()]));
    assert!(answer.contains("mine decides: refuse"), "{answer}");

    drop(running);
    let answer = said(&explain(folder.path(), &[]));
    let first = format!("no gateway answers at http://{http} (");
    assert!(answer.starts_with(&first) && answer.contains("the tables alone say:\nline: {"), "{answer}");
}

#[test]
fn nobodys_address_is_no_row_and_the_other_direction_is_asked_about_sessions() {
    let folder = folder();
    let text = configuration(folder.path(), &running::both(), "127.0.0.1:1", "sip:127.0.0.1:1", "none");
    std::fs::write(folder.path().join("mostar.yaml"), text).unwrap();
    let nobody = said(&explain_from(folder.path(), "juliet@example.org", "sip.example.org", &[]));
    assert!(
        nobody.contains("refused before any row is asked: there is nobody at sip.example.org"),
        "{nobody}"
    );
    let back = said(&explain_from(folder.path(), "romeo@sip.example.org", "juliet@example.org", &[]));
    assert!(back.contains("no row is asked about MESSAGEs of SIP users"), "{back}");
    assert!(back.contains("if he opens a session:\ninvited: { user: unknown, calls: false"), "{back}");
    assert!(back.contains("not reachable: user differs\n  perhaps decides: ask"), "{back}");
}

#[test]
fn what_cannot_be_asked_is_said() {
    let folder = folder();
    let text = configuration(folder.path(), &running::both(), "127.0.0.1:1", "sip:127.0.0.1:1", "none");
    std::fs::write(folder.path().join("mostar.yaml"), text).unwrap();
    let output = explain(folder.path(), &["--stanza", "nowhere.xml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("nowhere.xml cannot be read"), "{}", said(&output));
    std::fs::write(folder.path().join("no.xml"), "hello").unwrap();
    let output = explain(folder.path(), &["--stanza", folder.path().join("no.xml").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
}
