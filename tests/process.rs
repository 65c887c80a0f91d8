//! The whole process, as an admin starts and stops it: what it says when it cannot start, and what it answers when it
//! runs. Nothing sleeps: each test waits for a line of the log or an answer.

#![allow(clippy::disallowed_types)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(20);

fn configuration(folder: &Path, listen: &str) -> String {
    let folder = folder.display();
    format!(
        "xmpp:\n  server: 127.0.0.1:1\n  components:\n    - domain: sip.example.org\n      sip_domain: example.org\n      \
         secret: {{ env: MOSTAR_TEST_SECRET }}\n  domains:\n    - {{ domain: example.org, sip_alias: \
         xmpp.example.org }}\nsip:\n  listen: [ {listen} ]\n  peers:\n    - uri: \"sip:127.0.0.1:1\"\n      \
         may_send_from: [ example.org ]\nstore: {folder}/store\nhttp: none\n"
    )
}

/// Two listeners on a port that is free for both. It is below those that the system gives to connections.
fn both() -> String {
    let first = 10_000 + std::process::id().wrapping_mul(7) % 20_000;
    let port = (first..32_000).chain(10_000..first).find(|port| {
        let address = format!("127.0.0.1:{port}");
        UdpSocket::bind(&address).is_ok() && std::net::TcpListener::bind(&address).is_ok()
    });
    let port = port.unwrap();
    format!("\"udp://127.0.0.1:{port}\", \"tcp://127.0.0.1:{port}\"")
}

fn start(folder: &Path, listen: &str) -> Child {
    let file = folder.join("mostar.yaml");
    std::fs::write(&file, configuration(folder, listen)).unwrap();
    Command::new(env!("CARGO_BIN_EXE_mostar"))
        .args(["run", "-c"])
        .arg(&file)
        .env("MOSTAR_TEST_SECRET", "not-a-word")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What a process that cannot start says; its status is 1.
fn refusal(folder: &Path, listen: &str) -> String {
    let output = start(folder, listen).wait_with_output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(!text.contains("not-a-word"), "a secret is in the log: {text}");
    text
}

/// A running process with its listeners.
struct Running {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
    udp: SocketAddr,
    tcp: SocketAddr,
    records: usize,
}

impl Running {
    fn new(folder: &Path) -> Running {
        let mut child = start(folder, &both());
        let log = BufReader::new(child.stderr.take().unwrap());
        let any = "127.0.0.1:0".parse().unwrap();
        let mut running = Running { child, log, udp: any, tcp: any, records: 0 };
        running.udp = running.wait_for("listener=udp://").parse().unwrap();
        running.tcp = running.wait_for("listener=tcp://").parse().unwrap();
        running.records = running.wait_for("records=").parse().unwrap();
        running
    }

    /// Reads the log up to a line that holds `text`; gives what follows it in that word.
    fn wait_for(&mut self, text: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert_ne!(self.log.read_line(&mut line).unwrap(), 0, "the log ended before {text}");
            if let Some((_, rest)) = line.split_once(text) {
                return rest.split_whitespace().next().unwrap_or_default().to_owned();
            }
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.tcp).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn request(method: &str, transport: &str, number: usize) -> String {
    format!(
        "{method} sip:juliet@xmpp.example.org SIP/2.0\r\nVia: SIP/2.0/{transport} 127.0.0.1:1;branch=z9hG4bK{number};rport\r\n\
         From: <sip:romeo@example.org>;tag=1\r\nTo: <sip:juliet@xmpp.example.org>\r\nCall-ID: {number}\r\n\
         CSeq: 1 {method}\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
}

fn answer(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_taken_port_is_named_with_what_to_do() {
    let folder = folder();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let said = refusal(folder.path(), &format!("\"udp://127.0.0.1:{port}\""));
    assert!(said.contains(&format!("cannot listen on udp://127.0.0.1:{port}")), "{said}");
    assert!(said.contains(&format!("ss -lunp sport = :{port}")), "{said}");
}

#[test]
fn a_damaged_store_is_refused_with_what_to_do() {
    let folder = folder();
    let store = folder.path().join("store/sled");
    std::fs::create_dir_all(&store).unwrap();
    std::fs::write(store.join("conf"), [0x55; 64]).unwrap();
    let said = refusal(folder.path(), &both());
    assert!(said.contains("level=error event=cannot-start"), "{said}");
    assert!(said.contains("store/sled cannot be"), "{said}");
}

#[test]
fn a_store_of_a_newer_format_is_refused_with_what_to_do() {
    let folder = folder();
    let db = sled::open(folder.path().join("store/sled")).unwrap();
    db.insert("format", "7").unwrap();
    drop(db);
    let said = refusal(folder.path(), &both());
    assert!(said.contains("has format 7, written by a newer Mostar"), "{said}");
}

#[test]
fn a_store_in_use_is_refused_with_what_to_do() {
    let folder = folder();
    let _running = Running::new(folder.path());
    let said = refusal(folder.path(), &both());
    assert!(said.contains("in use by another process: stop the other Mostar"), "{said}");
}

#[test]
fn a_folder_that_may_not_be_written_is_refused_with_what_to_do() {
    let folder = folder();
    std::fs::write(folder.path().join("store"), "a file").unwrap();
    let said = refusal(folder.path(), &both());
    assert!(said.contains("see that the folder exists"), "{said}");
}

#[test]
fn a_signal_ends_it_cleanly() {
    let folder = folder();
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let mut running = Running::new(folder.path());
        running.signal(signal);
        running.wait_for("event=stopped clean=true");
        assert_eq!(running.child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn a_peer_is_answered_over_udp_and_over_tcp_in_one_byte_pieces() {
    let folder = folder();
    let running = Running::new(folder.path());
    let mut stream = running.connect();
    stream.set_nodelay(true).unwrap();
    for byte in request("OPTIONS", "TCP", 1).bytes() {
        stream.write_all(&[byte]).unwrap();
    }
    assert!(answer(&mut stream).contains("\r\nAllow: "));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(request("OPTIONS", "UDP", 2).as_bytes(), running.udp).unwrap();
    let mut buffer = [0; 4096];
    let (length, _) = socket.recv_from(&mut buffer).unwrap();
    assert!(buffer[..length].starts_with(b"SIP/2.0 "));
}

#[test]
fn a_stranger_is_refused_and_his_connection_closed() {
    let folder = folder();
    let mut running = Running::new(folder.path());
    let mut stream = stranger(running.tcp);
    stream.write_all(request("MESSAGE", "TCP", 1).as_bytes()).unwrap();
    assert!(answer(&mut stream).starts_with("SIP/2.0 403 "));
    assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0);
    assert_eq!(running.wait_for("event=sip-stranger src="), "127.0.0.2");
}

#[test]
fn ten_thousand_requests_of_a_stranger_leave_the_peer_served() {
    let folder = folder();
    let mut running = Running::new(folder.path());
    let socket = UdpSocket::bind("127.0.0.2:0").unwrap();
    let mut peer = running.connect();
    for number in 0..10_000 {
        socket.send_to(request("MESSAGE", "UDP", number).as_bytes(), running.udp).unwrap();
        if number % 1000 == 0 {
            peer.write_all(request("OPTIONS", "TCP", number).as_bytes()).unwrap();
            assert!(answer(&mut peer).contains("\r\nAllow: "));
        }
    }
    // Nothing at all goes back to a stranger on UDP.
    socket.set_nonblocking(true).unwrap();
    assert_eq!(socket.recv(&mut [0; 16]).err().unwrap().kind(), std::io::ErrorKind::WouldBlock);
    running.wait_for("event=sip-stranger");
}

#[test]
fn messages_that_were_accepted_are_there_after_a_kill() {
    let folder = folder();
    let mut running = Running::new(folder.path());
    let mut stream = running.connect();
    for number in 0..20 {
        let message = request("MESSAGE", "TCP", number).replace(
            "Content-Length: 0\r\n\r\n",
            "Content-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello",
        );
        stream.write_all(message.as_bytes()).unwrap();
        let said = answer(&mut stream);
        assert!(said.starts_with("SIP/2.0 202 "), "{said}");
    }
    running.child.kill().unwrap();
    running.child.wait().unwrap();
    drop(running);
    let again = Running::new(folder.path());
    assert!(again.records >= 20, "{} records", again.records);
}

/// A connection from an address that is no peer's.
fn stranger(to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.2:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}
