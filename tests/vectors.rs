//! Runs every conversation in `tests/vectors/`: each file is one gateway, one clock and one list of steps.
//!
//! The format stands in `tests/vectors/README.md`. `VECTOR=part-of-a-path` runs only the files whose path has that
//! part. Failures of all files are shown together. `BLESS=1` writes the `out` steps of those that fail anew, for review.

#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

mod support;

use std::fs;
use std::path::Path;

#[test]
fn every_conversation_goes_as_written() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let filter = std::env::var("VECTOR").unwrap_or_default();
    let mut paths = support::script::vectors();
    paths.retain(|path| path.to_string_lossy().contains(&filter));
    assert!(!paths.is_empty(), "no vector matches VECTOR={filter}");
    let mut failures = Vec::new();
    for path in &paths {
        let name = path.strip_prefix(&root).unwrap_or(path).display().to_string();
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let outcome = if std::env::var_os("BLESS").is_some() {
            bless(path, &text)
        } else {
            support::vector::run(&text)
        };
        if let Err(failure) = outcome {
            failures.push(format!("--- {name}\n{failure}"));
        }
    }
    assert!(failures.is_empty(), "{} of {} failed\n{}", failures.len(), paths.len(), failures.join("\n"));
}

/// Writes a vector anew where what came out is not what it says. Left as it is where no writing would make it pass.
fn bless(path: &Path, text: &str) -> Result<(), String> {
    let blessed = support::bless::bless(text)?;
    if blessed != text {
        fs::write(path, blessed).map_err(|error| error.to_string())?;
        println!("blessed {}", path.display());
    }
    Ok(())
}

/// A conversation whose expectations are wrong in every way, and what becomes of it.
#[test]
fn a_blessed_vector_passes_and_keeps_what_was_right() {
    const WRONG: &str = "\
# a comment
@0 xmpp in
    <message from='juliet@example.com/b' to='romeo@example.net' id='a1'><body>Hi</body></message>
# above the step
@0 sip out udp
    MESSAGE sip:nobody@example.net SIP/2.0
# in the middle
    Via: SIP/2.0/TCP {_};branch=z9hG4bK{branch}
    CSeq: 7 MESSAGE
    From: <sip:nurse@example.com>;tag={tag}
    Call-ID: {call}
    Subject: none
    !To
    !Date

    Hello
@10 xmpp out
    <message from='romeo@example.net' to='juliet@example.com/b' type='error' id='a1'/>
# below the step
@40 sip in
    SIP/2.0 200 OK
@50 sip in
    MESSAGE sip:juliet@example.com SIP/2.0
    From: <sip:romeo@example.net>;tag=r
    To: <sip:juliet@example.com>
    Call-ID: {call}
    CSeq: 1 MESSAGE
    Content-Type: text/plain

    Ho
@50 xmpp out
    <message from='romeo@example.net' to='juliet@example.com' type='normal' id='{_}'><body>Ho</body></message>
@51 idle
# below the last
@60 xmpp in
    <iq from='example.com' to='example.net' type='result' id='{p}'/>
@60 sip out
    SIP/2.0 200 OK
    Call-ID: {call}
";
    let right = "\
# a comment
@0 xmpp in
    <message from='juliet@example.com/b' to='romeo@example.net' id='a1'><body>Hi</body></message>
# above the step
@0 sip out tcp
    MESSAGE sip:romeo@example.net SIP/2.0
# in the middle
    Via: SIP/2.0/TCP {_};branch=z9hG4bK{branch}
    CSeq: 1 MESSAGE
    From: <sip:juliet@example.com>;tag={tag}
    Call-ID: {call}
    !Subject
    To: <sip:romeo@example.net>
    !Date

    Hi
# below the step
@40 sip in
    SIP/2.0 200 OK
@50 sip in
    MESSAGE sip:juliet@example.com SIP/2.0
    From: <sip:romeo@example.net>;tag=r
    To: <sip:juliet@example.com>
    Call-ID: {call}
    CSeq: 1 MESSAGE
    Content-Type: text/plain

    Ho
@50 xmpp out
    <message from='romeo@example.net' to='juliet@example.com' type='chat' id='{_}'><body>Ho</body>
      <thread>{call}</thread></message>
@51 xmpp out
    <iq from='example.net' to='example.com' type='get' id='{p}'><ping xmlns='urn:xmpp:ping'/></iq>
@51 idle
# below the last
@60 xmpp in
    <iq from='example.com' to='example.net' type='result' id='{p}'/>
@60 sip out
    SIP/2.0 202 Accepted
    Call-ID: {call}
";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.vec");
    for text in [WRONG, right] {
        fs::write(&path, text).unwrap();
        bless(&path, text).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), right);
    }
}

#[test]
fn what_goes_in_is_never_blessed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.vec");
    let text = "@0 xmpp in\n    <message\n@0 idle\n";
    fs::write(&path, text).unwrap();
    assert!(bless(&path, text).is_err());
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}
