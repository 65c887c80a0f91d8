//! Bad input, given to the real process by a peer and by an XMPP server that are both played here. After each the
//! gateway still serves. (A taken port, a store that cannot be read and a stranger's flood are in `process.rs`; a wrong
//! secret, a server that dies and a stanza 20,000 levels deep at a real Prosody in `component.rs`.)

#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;

#[path = "support/played.rs"]
mod played;
#[path = "support/running.rs"]
mod running;

use played::{Server, Stream};

use mostar::xmpp::stream;
use running::{PATIENCE, Running, answer, both, configuration, folder, header, message, port, request};

/// What a server says to a component whose secret is wrong.
const NOT_AUTHORIZED: &str = "<stream:error><not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>";

/// What `/readyz` answers.
fn readyz(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// The gateway answers its peer and the XMPP server.
fn still_serves(running: &Running, xmpp: Option<&mut Stream>) {
    let mut stream = running.connect();
    stream.write_all(request("OPTIONS", "TCP", 0).as_bytes()).unwrap();
    assert!(answer(&mut stream).starts_with("SIP/2.0 200 "));
    if let Some(xmpp) = xmpp {
        xmpp.say("<iq type='get' id='alive' from='juliet@example.org/x' to='sip.example.org'><query xmlns='jabber:iq:version'/></iq>");
        let version = xmpp.stanza();
        assert!(version.contains("alive") && version.contains("Mostar"), "{version}");
    }
}

#[test]
fn a_wrong_secret_is_named_and_tried_again_and_nothing_is_ready_meanwhile() {
    let (folder, server) = (folder(), Server::new());
    let http = format!("127.0.0.1:{}", port(1));
    let mut running = Running::beside(folder.path(), &server.address(), "sip:127.0.0.1:1", &http);
    let mut refused = server.accept();
    refused.say(NOT_AUTHORIZED);
    let line = running.line("event=link-secret-refused");
    assert!(line.contains("sip.example.org") && line.contains("xmpp.components[0].secret"), "{line}");
    assert!(line.contains("MOSTAR_TEST_SECRET is read at the start only: restart mostar"), "{line}");
    let page = readyz(&http);
    assert!(page.starts_with("HTTP/1.1 503") && page.contains("sip.example.org"), "{page}");
    let mut welcome = server.welcome();
    running.line("event=link-up");
    still_serves(&running, Some(&mut welcome));
    assert!(readyz(&http).starts_with("HTTP/1.1 200"));
}

#[test]
fn a_secret_that_is_mended_in_its_file_is_taken_without_a_restart() {
    let (folder, server) = (folder(), Server::new());
    let file = folder.path().join("secret");
    let write = |text: &str, mode| {
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    write("wrong\n", 0o600);
    let text = configuration(folder.path(), &both(), &server.address(), "sip:127.0.0.1:1", "none")
        .replace("env: MOSTAR_TEST_SECRET", &format!("file: {}", file.display()));
    let mut running = Running::of(folder.path(), &text);
    let mut refused = server.accept();
    write("right\n", 0o644);
    refused.say(NOT_AUTHORIZED);
    let line = running.line("event=link-secret-refused");
    assert!(line.contains(&format!("{} is read again before each attempt", file.display())), "{line}");
    let line = running.line("event=link-secret-unread");
    assert!(line.contains("everybody on this machine can read") && line.contains("chmod o="), "{line}");
    let mut refused = server.accept();
    assert_eq!(refused.proof, stream::handshake("played", "wrong"), "what cannot be read changes nothing");
    write("right\n", 0o600);
    refused.say(NOT_AUTHORIZED);
    let mut welcome = server.welcome();
    assert_eq!(welcome.proof, stream::handshake("played", "right"));
    running.line("event=link-up");
    still_serves(&running, Some(&mut welcome));
}

#[test]
fn without_an_xmpp_server_sip_is_served_and_the_process_is_not_ready() {
    let folder = folder();
    let http = format!("127.0.0.1:{}", port(1));
    let mut running = Running::beside(folder.path(), "127.0.0.1:1", "sip:127.0.0.1:1", &http);
    let line = running.line("event=link-unreachable");
    assert!(line.contains("127.0.0.1:1"), "{line}");
    assert!(readyz(&http).starts_with("HTTP/1.1 503"));
    let mut stream = running.connect();
    stream.write_all(&message(1, b"kept")).unwrap();
    assert!(answer(&mut stream).starts_with("SIP/2.0 202 "));
}

#[test]
fn a_sender_who_floods_is_told_to_wait_and_others_are_served() {
    let folder = folder();
    let slow = configuration(folder.path(), &both(), "127.0.0.1:1", "sip:127.0.0.1:1", "none")
        + "messages: { rate: 1 }\n";
    let mut running = Running::of(folder.path(), &slow);
    let mut stream = running.connect();
    let mut say = |message: &[u8]| {
        stream.write_all(message).unwrap();
        answer(&mut stream)
    };
    let first_refusal =
        (1..100).map(|number| say(&message(number, b"again"))).find(|answer| !answer.contains(" 202 "));
    let refusal = first_refusal.expect("a refusal");
    assert!(
        refusal.starts_with("SIP/2.0 480 Too many messages") && refusal.contains("Retry-After: 5"),
        "{refusal}"
    );
    assert_eq!(running.wait_for("event=sender-too-fast from="), "sip:romeo@example.org");
    let other = String::from_utf8(message(100, b"hello")).unwrap().replace("sip:romeo@", "sip:mercutio@");
    assert!(say(other.as_bytes()).starts_with("SIP/2.0 202 "));
}

#[test]
fn broken_requests_of_a_peer_are_refused_one_by_one() {
    let folder = folder();
    let mut running = Running::new(folder.path());
    let with = |number: usize, from: &str, to: &str| {
        String::from_utf8(message(number, b"hello")).unwrap().replace(from, to).into_bytes()
    };
    let cases = [
        ("400 From is missing", with(1, "From: <sip:romeo@example.org>;tag=1\r\n", "")),
        ("400 To is there more than once", with(2, "Call-ID", "To: <sip:nurse@xmpp.example.org>\r\nCall-ID")),
        ("400 The body is not ", message(3, b"h\xe9llo \xff\xfe")),
        (
            "403 this peer may not send for the domain in From",
            with(4, "romeo@example.org", "romeo@bank.example"),
        ),
        ("481 ", request("NOTIFY", "TCP", 5).replace("org>\r\nCall", "org>;tag=nobody\r\nCall").into_bytes()),
        ("481 ", request("NOTIFY", "TCP", 6).into_bytes()),
        ("416 ", with(7, "MESSAGE sip:", "MESSAGE sips:")),
        ("404 ", with(8, "sip:juliet@xmpp.example.org", "sip:juliet@elsewhere.example")),
    ];
    let mut stream = running.connect();
    for (expected, request) in cases {
        stream.write_all(&request).unwrap();
        let said = answer(&mut stream);
        assert!(said.starts_with(&format!("SIP/2.0 {expected}")), "{expected}: {said}");
        still_serves(&running, None);
    }
    let line = running.line("event=sip-spoof");
    assert!(line.contains("src=127.0.0.1") && line.contains("domain=bank.example"), "{line}");
}

#[test]
fn a_presence_document_of_a_megabyte_or_with_a_dtd_is_refused() {
    let (folder, server) = (folder(), Server::new());
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = format!("sip:{};transport=tcp", proxy.local_addr().unwrap());
    let running = Running::beside(folder.path(), &server.address(), &peer, "none");
    let mut xmpp = server.welcome();
    let (mut sip, _) = proxy.accept().unwrap();
    sip.set_read_timeout(Some(PATIENCE)).unwrap();
    xmpp.say("<presence from='juliet@example.org' to='romeo@sip.example.org' type='subscribe'/>");
    let subscribe = next(&mut sip, "SUBSCRIBE ");
    respond(&mut sip, &subscribe, "Contact: <sip:romeo@127.0.0.1;transport=tcp>\r\nExpires: 3600\r\n");
    let entity = "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='pres:romeo@example.org'>";
    let tuple = "<tuple id='a'><status><basic>open</basic></status></tuple>";
    let long = format!("{entity}{tuple}<note>{}</note></presence>", "x".repeat(1_000_000));
    let dtd =
        format!("<!DOCTYPE presence [<!ENTITY a 'aaaaaaaa'>]>{entity}{tuple}<note>&a;</note></presence>");
    let good = format!("{entity}{tuple}</presence>");
    for (number, document, expected) in [(1, long, "413"), (2, dtd, "400"), (3, good, "200")] {
        let field = |name| header(&subscribe, name).unwrap();
        let notify = format!(
            "NOTIFY sip:juliet@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKnotify{number}\r\n\
             From: {};tag=peer\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {number} NOTIFY\r\nMax-Forwards: 70\r\n\
             Contact: <sip:romeo@127.0.0.1;transport=tcp>\r\nEvent: presence\r\nSubscription-State: active\r\n\
             Content-Type: application/pidf+xml\r\nContent-Length: {}\r\n\r\n{document}",
            field("To"),
            field("From"),
            field("Call-ID"),
            document.len()
        );
        sip.write_all(notify.as_bytes()).unwrap();
        let said = next(&mut sip, "SIP/2.0 ");
        assert!(said.starts_with(&format!("SIP/2.0 {expected} ")), "{number}: {said}");
    }
    // The first active says that the contact is there, whatever its document; the good one that it is available.
    loop {
        let stanza = xmpp.stanza();
        if stanza.contains("romeo@sip.example.org/a") {
            break;
        }
        assert!(stanza.contains("subscribed"), "{stanza}");
    }
    still_serves(&running, Some(&mut xmpp));
}

#[test]
fn a_stanza_of_20000_levels_is_refused_and_the_stream_goes_on() {
    let (folder, server) = (folder(), Server::new());
    let running = Running::beside(folder.path(), &server.address(), "sip:127.0.0.1:1", "none");
    let mut xmpp = server.welcome();
    let deep = format!("{}{}", "<a>".repeat(20_000), "</a>".repeat(20_000));
    xmpp.say(&format!(
        "<message id='deep' from='juliet@example.org/x' to='romeo@sip.example.org'>{deep}</message>"
    ));
    let refused = xmpp.stanza();
    assert!(refused.contains("deep") && refused.contains("policy-violation"), "{refused}");
    still_serves(&running, Some(&mut xmpp));
}

#[test]
fn a_message_that_makes_the_server_close_the_stream_is_given_up_and_the_next_one_arrives() {
    let (folder, server) = (folder(), Server::new());
    let mut running = Running::beside(folder.path(), &server.address(), "sip:127.0.0.1:1", "none");
    let mut xmpp = server.welcome();
    let mut sip = running.connect();
    sip.write_all(&message(1, b"poison")).unwrap();
    for _ in 0..2 {
        assert!(xmpp.stanza().contains("<body>poison</body>"));
        xmpp.say("<stream:error><invalid-xml xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>");
        drop(xmpp);
        xmpp = server.welcome();
    }
    assert!(answer(&mut sip).starts_with("SIP/2.0 "));
    running.line("event=message-refused");
    // It knows that it has its new stream.
    still_serves(&running, Some(&mut xmpp));
    sip.write_all(&message(2, b"good")).unwrap();
    assert!(xmpp.stanza().contains("<body>good</body>"));
    // Where the first was answered before it was given up, that is being told now, and this must have arrived.
    xmpp.pong();
    next(&mut sip, "SIP/2.0 202 ");
}

/// The next message on a connection that begins so; questions whether we are there are answered.
fn next(sip: &mut TcpStream, beginning: &str) -> String {
    loop {
        let text = answer(sip);
        if text.starts_with(beginning) {
            return text;
        }
        if !text.starts_with("SIP/2.0 ") {
            respond(sip, &text, "");
        }
    }
}

fn respond(sip: &mut TcpStream, request: &str, further: &str) {
    let field = |name| header(request, name).unwrap();
    let response = format!(
        "SIP/2.0 200 OK\r\nVia: {}\r\nFrom: {}\r\nTo: {};tag=peer\r\nCall-ID: {}\r\nCSeq: {}\r\n{further}Content-Length: 0\r\n\r\n",
        field("Via"),
        field("From"),
        field("To"),
        field("Call-ID"),
        field("CSeq")
    );
    sip.write_all(response.as_bytes()).unwrap();
}
