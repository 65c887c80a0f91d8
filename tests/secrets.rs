//! What people say, and what proves who we are, is never in the log, however talkative it is set; and what one message
//! caused on both sides is found by one id.

#![allow(clippy::disallowed_types, reason = "a test of the process is shell")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How long anything may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// What must not be found, each where it is said.
const SECRET: &str = "mark-component-secret";
const PASSWORD: &str = "mark-sip-password";
const BODY_OUT: &str = "mark-body-to-sip";
const BODY_IN: &str = "mark-body-to-xmpp";
const SUBJECT: &str = "mark-subject";
const BODY_LOOSE: &str = "mark-body-behind-its-length";
const BODY_FRAMING: &str = "mark-body-without-request";
const BODY_TYPE: &str = "mark-body-of-unknown-type";
const NOTE: &str = "mark-status";

/// Text that comes in on a connection, as it comes.
struct Heard {
    pieces: Receiver<String>,
    text: String,
}

impl Heard {
    fn on(mut stream: TcpStream) -> Heard {
        let (tell, pieces) = channel();
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(length) = stream.read(&mut piece) {
                let text = String::from_utf8_lossy(&piece[..length]).into_owned();
                if length == 0 || tell.send(text).is_err() {
                    return;
                }
            }
        });
        Heard { pieces, text: String::new() }
    }

    /// Waits for `text`, and gives all that came up to its end.
    fn until(&mut self, text: &str) -> String {
        loop {
            if let Some(at) = self.text.find(text) {
                let rest = self.text.split_off(at + text.len());
                return std::mem::replace(&mut self.text, rest);
            }
            let piece = self.pieces.recv_timeout(PATIENCE);
            self.text += &piece.unwrap_or_else(|_| panic!("{text:?} did not come, but {:?}", self.text));
        }
    }
}

fn answer(head: &str, status: &str, extra: &str) -> String {
    let line = |name: &str| {
        let found = head.lines().rfind(|line| line.starts_with(&format!("{name}:")));
        found.unwrap_or_default().to_owned()
    };
    format!(
        "SIP/2.0 {status}\r\n{}\r\n{}\r\n{};tag=p\r\n{}\r\n{}\r\n{extra}Content-Length: 0\r\n\r\n",
        line("Via"),
        line("From"),
        line("To"),
        line("Call-ID"),
        line("CSeq")
    )
}

fn message(number: usize, headers: &str, body: &str) -> String {
    format!(
        "MESSAGE sip:juliet@xmpp.test SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK{number}\r\nFrom: \
         <sip:romeo@sip.test>;tag={number}\r\nTo: <sip:juliet@xmpp.test>\r\nCall-ID: call-{number}\r\nCSeq: 1 \
         MESSAGE\r\nMax-Forwards: 70\r\n{headers}\r\n\r\n{body}"
    )
}

#[test]
fn no_body_and_no_secret_is_in_the_log_and_both_legs_have_one_id() {
    let folder = tempfile::tempdir().unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let file = folder.path().join("mostar.yaml");
    let text = format!(
        "xmpp:\n  server: {}\n  components:\n    - {{ domain: sip.test, secret: {{ env: T_SECRET }} }}\n  domains:\n    - {{ \
         domain: xmpp.test }}\nsip:\n  listen: [ \"tcp://{listen}\" ]\n  peers:\n    - uri: \"sip:{};transport=tcp\"\n      \
         may_send_from: [ sip.test ]\n      auth: {{ username: mostar, password: {{ env: T_PASSWORD }} }}\nstore: {}\nhttp: none\nmsrp: {{ listen: [] }}\n",
        server.local_addr().unwrap(),
        proxy.local_addr().unwrap(),
        folder.path().join("store").display()
    );
    std::fs::write(&file, text).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_mostar"))
        .args(["run", "--log-level", "debug", "-c"])
        .arg(&file)
        .env("T_SECRET", SECRET)
        .env("T_PASSWORD", PASSWORD)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    let log = std::thread::spawn(move || log.lines().map_while(Result::ok).collect::<Vec<_>>());

    let (mut xmpp, _) = server.accept().unwrap();
    let mut stanzas = Heard::on(xmpp.try_clone().unwrap());
    stanzas.until("sip.test");
    write!(
        xmpp,
        "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' id='x' from='sip.test'>"
    )
    .unwrap();
    stanzas.until("</handshake>");
    xmpp.write_all(b"<handshake/>").unwrap();
    let (mut sip, _) = proxy.accept().unwrap();
    let mut requests = Heard::on(sip.try_clone().unwrap());
    let head = requests.until("\r\n\r\n");
    assert!(head.starts_with("OPTIONS "), "{head}");
    sip.write_all(answer(&head, "200 OK", "").as_bytes()).unwrap();

    // To SIP: challenged, then refused.
    write!(
        xmpp,
        "<message from='juliet@xmpp.test/b' to='romeo@sip.test' id='m1' type='chat'><subject>{SUBJECT}</subject><body>{BODY_OUT}\
         </body></message>"
    )
    .unwrap();
    let head = requests.until("\r\n\r\n");
    assert!(head.starts_with("MESSAGE "), "{head}");
    requests.until(BODY_OUT);
    let asked = requests.until("\r\n\r\n");
    assert!(asked.starts_with("OPTIONS sip:romeo@"), "{asked}");
    sip.write_all(answer(&asked, "200 OK", "").as_bytes()).unwrap();
    let challenge = "WWW-Authenticate: Digest realm=\"test\", nonce=\"abc\", algorithm=MD5, qop=\"auth\"\r\n";
    sip.write_all(answer(&head, "401 Unauthorized", challenge).as_bytes()).unwrap();
    let head = requests.until("\r\n\r\n");
    assert!(head.contains("Authorization: Digest"), "{head}");
    requests.until(BODY_OUT);
    sip.write_all(answer(&head, "404 Not Found", "").as_bytes()).unwrap();
    stanzas.until("item-not-found");
    let call_id = head.lines().find_map(|line| line.strip_prefix("Call-ID: ")).unwrap().to_owned();

    // From SIP: taken and refused late, of an unknown type, longer than it says, and no request at all.
    let mut own = TcpStream::connect(listen).unwrap();
    let mut answers = Heard::on(own.try_clone().unwrap());
    let plain = |body: &str| format!("Content-Type: text/plain\r\nContent-Length: {}", body.len());
    own.write_all(message(1, &plain(BODY_IN), BODY_IN).as_bytes()).unwrap();
    stanzas.until(BODY_IN);
    let stanza = stanzas.until("urn:xmpp:ping");
    let attribute = |text: &str, name: &str| {
        let rest = text.rsplit(&format!(" {name}=")).next().unwrap_or_default();
        rest[1..].split(['\'', '"']).next().unwrap_or_default().to_owned()
    };
    let ping = attribute(stanza.split("<iq").last().unwrap(), "id");
    write!(xmpp, "<iq from='xmpp.test' to='sip.test' type='result' id='{ping}'/>").unwrap();
    answers.until("202 ");
    let odd = format!("Content-Type: application/x-mark\r\nContent-Length: {}", BODY_TYPE.len());
    own.write_all(message(2, &odd, BODY_TYPE).as_bytes()).unwrap();
    answers.until("415 ");
    write!(
        xmpp,
        "<presence from='juliet@xmpp.test/b' to='romeo@sip.test'><status>{NOTE}</status></presence><presence \
         from='juliet@xmpp.test/b' to='r@r@sip.test' type='subscribe'><status>{NOTE}</status></presence>"
    )
    .unwrap();
    own.write_all(message(3, "Content-Type: text/plain\r\nContent-Length: 2", BODY_LOOSE).as_bytes())
        .unwrap();
    own.write_all(b" SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK7\r\n\r\n").unwrap();
    let mut third = TcpStream::connect(listen).unwrap();
    let mut closed = Heard::on(third.try_clone().unwrap());
    write!(third, "{BODY_FRAMING}\r\n\r\n").unwrap();
    // It is answered or closed; either way it has been read.
    while let Ok(piece) = closed.pieces.recv_timeout(Duration::from_secs(1)) {
        closed.text += &piece;
    }

    let pid = rustix::process::Pid::from_child(&child);
    let signalled = std::time::Instant::now();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    // The XMPP server has not answered the last ping, and does not close its stream.
    assert!(signalled.elapsed() < Duration::from_secs(5), "{:?}", signalled.elapsed());
    drop((xmpp, sip, own, third));
    let log = log.join().unwrap();
    let all = log.join("\n");
    for mark in [SECRET, PASSWORD, BODY_OUT, BODY_IN, SUBJECT, BODY_LOOSE, BODY_FRAMING, BODY_TYPE, NOTE] {
        assert!(!all.contains(mark), "{mark} is in the log:\n{all}");
    }
    let of_first: Vec<_> = log.iter().filter(|line| line.contains(&format!("corr={call_id}"))).collect();
    assert!(of_first.len() >= 2 && of_first.iter().all(|line| line.contains("stanza=m1")), "{all}");
    assert!(all.contains("corr=call-1"), "{all}");
}
