//! What the running process records is a vector: a fresh gateway that hears the same says the same.

#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

#[path = "support/played.rs"]
mod played;
#[path = "support/running.rs"]
mod running;
mod support;

use played::Server;
use running::{PATIENCE, Running, SECRET, answer, both, configuration, folder, header, message};

/// What must not be recorded, each where it is said.
const WRITTEN: [&str; 4] = ["mark-body-to-sip", "mark-subject", "mark-body-to-xmpp", "mark-status"];

/// An answer to the request with this head.
fn reply(head: &str, status: &str, extra: &str) -> String {
    let value = |name: &str| header(head, name).unwrap_or_default();
    let to = value("To");
    let tag = if to.contains(";tag=") { "" } else { ";tag=p" };
    format!(
        "SIP/2.0 {status}\r\nVia: {}\r\nFrom: {}\r\nTo: {to}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\n{extra}Content-Length: 0\r\n\r\n",
        value("Via"),
        value("From"),
        value("Call-ID"),
        value("CSeq")
    )
}

/// What was recorded while messages crossed, one of them challenged, and a contact was added.
fn conversation(folder: &Path, record: &str) -> Vec<String> {
    let (server, proxy) = (Server::new(), TcpListener::bind("127.0.0.1:0").unwrap());
    let peer = format!("sip:{};transport=tcp", proxy.local_addr().unwrap());
    let peers = "may_send_from: [ example.org ]\n      auth: { username: m, password: { env: MOSTAR_TEST_SECRET } }\n";
    let configuration = configuration(folder, &both(), &server.address(), &peer, "none")
        .replace("may_send_from: [ example.org ]\n", peers)
        + &format!("record: {{ folder: recorded{record} }}\n");
    let mut running = Running::of(folder, &configuration);
    let mut xmpp = server.welcome();
    let (mut sip, _) = proxy.accept().unwrap();
    sip.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut mouth = sip.try_clone().unwrap();
    let mut say = |text: String| mouth.write_all(text.as_bytes()).unwrap();
    let head = answer(&mut sip);
    assert!(head.starts_with("OPTIONS "), "{head}");
    say(reply(&head, "200 OK", ""));

    xmpp.say(&format!(
        "<message from='juliet@example.org/b' to='romeo@sip.example.org' id='m1' type='chat'><subject>{}</subject><body>{}</body>\
         </message>",
        WRITTEN[1], WRITTEN[0]
    ));
    let head = answer(&mut sip);
    assert!(head.starts_with("MESSAGE "), "{head}");
    let asked = answer(&mut sip);
    assert!(asked.starts_with("OPTIONS sip:romeo@"), "{asked}");
    say(reply(&asked, "200 OK", ""));
    say(reply(
        &head,
        "401 No",
        "WWW-Authenticate: Digest realm=\"t\", nonce=\"n\", algorithm=MD5, qop=\"auth\"\r\n",
    ));
    let head = answer(&mut sip);
    assert!(head.contains("Authorization: Digest"), "{head}");
    say(reply(&head, "200 OK", ""));

    let mut own = running.connect();
    own.write_all(&message(1, WRITTEN[2].as_bytes())).unwrap();
    assert!(xmpp.stanza().contains(WRITTEN[2]));
    xmpp.say("<presence from='juliet@example.org' to='romeo@sip.example.org' type='subscribe'/>");
    let head = answer(&mut sip);
    assert!(head.starts_with("SUBSCRIBE "), "{head}");
    say(reply(&head, "200 OK", "Contact: <sip:romeo@127.0.0.1>\r\nExpires: 3600\r\n"));
    let body = format!(
        "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:romeo@example.org'><tuple id='t'><status><basic>open</basic>\
         </status><note>{}</note></tuple></presence>",
        WRITTEN[3]
    );
    let value = |name: &str| header(&head, name).unwrap_or_default();
    say(format!(
        "NOTIFY sip:juliet@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKn\r\nFrom: {};tag=p\r\nTo: {}\r\n\
         Call-ID: {}\r\nCSeq: 1 NOTIFY\r\nMax-Forwards: 70\r\nContact: <sip:romeo@127.0.0.1>\r\nEvent: presence\r\n\
         Subscription-State: active;expires=3600\r\nContent-Type: application/pidf+xml\r\nContent-Length: {}\r\n\r\n{body}",
        value("To"),
        value("From"),
        value("Call-ID"),
        body.len()
    ));
    assert!(xmpp.stanza().contains("subscribed"));
    assert!(xmpp.stanza().contains(WRITTEN[3]));
    assert!(answer(&mut sip).starts_with("SIP/2.0 200 "));
    assert!(answer(&mut own).starts_with("SIP/2.0 202 "));

    running.signal(rustix::process::Signal::TERM);
    assert!(xmpp.stanza().contains("unavailable"));
    running.wait_for("event=stopped");

    let files = std::fs::read_dir(folder.join("recorded")).unwrap();
    let file = |path: std::path::PathBuf| {
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::read_to_string(path).unwrap()
    };
    files.map(|entry| file(entry.unwrap().path())).collect()
}

#[test]
fn a_recording_goes_as_it_went_and_tells_no_secret() {
    let folder = folder();
    let recorded = conversation(folder.path(), "");
    let all = recorded.concat();
    for secret in WRITTEN.iter().chain([&SECRET, &"response="]) {
        assert!(!all.contains(secret), "{secret} was recorded:\n{all}");
    }
    for text in ["MESSAGE sip:romeo@example.org", "xxxxxxxxxxxxxxxx", "401 No", "NOTIFY ", "stop\n"] {
        assert!(all.contains(text), "{text} was not recorded:\n{all}");
    }
    for text in recorded {
        if let Err(failure) = support::vector::run(&text) {
            panic!("{failure}\n{text}");
        }
    }
}

#[test]
fn bodies_are_recorded_where_the_admin_says_so_and_secrets_are_not() {
    let folder = folder();
    let recorded = conversation(folder.path(), ", bodies: true");
    let all = recorded.concat();
    assert!(WRITTEN.iter().all(|text| all.contains(text)), "{all}");
    assert!(!all.contains(SECRET) && !all.contains("response="), "{all}");
    for text in recorded {
        if let Err(failure) = support::vector::run(&text) {
            panic!("{failure}\n{text}");
        }
    }
}
