//! The real binary with a configuration and a folder of its own, and what a test says to it over SIP.

#![allow(
    dead_code,
    clippy::disallowed_types,
    reason = "each test binary uses a part; tests are shell, not core"
)]

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The secret of the component; it must never be seen.
pub const SECRET: &str = "not-a-word";

/// A folder for a configuration and a store.
pub fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A configuration with these listeners (in YAML), this XMPP server and this peer: nobody is at port 1.
pub fn configuration(folder: &Path, listen: &str, server: &str, peer: &str, http: &str) -> String {
    let folder = folder.display();
    format!(
        "xmpp:\n  server: {server}\n  components:\n    - domain: sip.example.org\n      sip_domain: example.org\n      \
         secret: {{ env: MOSTAR_TEST_SECRET }}\n  domains:\n    - {{ domain: example.org, sip_alias: \
         xmpp.example.org }}\nsip:\n  listen: [ {listen} ]\n  peers:\n    - uri: \"{peer}\"\n      \
         may_send_from: [ example.org ]\nmsrp: {{ listen: [] }}\nstore: {folder}/store\nhttp: {http}\n"
    )
}

/// A port that is free for UDP and TCP, looked for at another place for each `use_`. It is below those that the system
/// gives to connections.
pub fn port(use_: u32) -> u16 {
    let first = 10_000 + ((std::process::id() * 7 + use_ * 5_000) % 20_000) as u16;
    let free = |port: &u16| {
        let address = format!("127.0.0.1:{port}");
        UdpSocket::bind(&address).is_ok() && TcpListener::bind(&address).is_ok()
    };
    (first..32_000).chain(10_000..first).find(free).unwrap()
}

/// Two listeners on one port.
pub fn both() -> String {
    let port = port(0);
    format!("\"udp://127.0.0.1:{port}\", \"tcp://127.0.0.1:{port}\"")
}

/// Starts the binary with this configuration.
pub fn start(folder: &Path, configuration: &str) -> Child {
    let file = folder.join("mostar.yaml");
    std::fs::write(&file, configuration).unwrap();
    Command::new(env!("CARGO_BIN_EXE_mostar"))
        .args(["run", "-c"])
        .arg(&file)
        .env("MOSTAR_TEST_SECRET", SECRET)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// A running process with its listeners.
pub struct Running {
    /// The process.
    pub child: Child,
    log: BufReader<ChildStderr>,
    /// Where it listens.
    pub udp: SocketAddr,
    /// Where it listens.
    pub tcp: SocketAddr,
    /// How many records it found in its store, all of which are back.
    pub records: usize,
}

impl Running {
    /// With nobody to speak to: no XMPP server, and a peer that only speaks itself.
    pub fn new(folder: &Path) -> Running {
        Running::beside(folder, "127.0.0.1:1", "sip:127.0.0.1:1", "none")
    }

    /// With this XMPP server, this peer and this address for `/readyz`.
    pub fn beside(folder: &Path, server: &str, peer: &str, http: &str) -> Running {
        Running::of(folder, &configuration(folder, &both(), server, peer, http))
    }

    /// With this configuration.
    pub fn of(folder: &Path, configuration: &str) -> Running {
        Running::child(start(folder, configuration))
    }

    /// This process, which was just started.
    pub fn child(child: Child) -> Running {
        let mut running = Running::begun(child);
        running.all_are_back();
        running
    }

    /// The same as soon as it listens: its records come back meanwhile.
    pub fn begun(mut child: Child) -> Running {
        let log = BufReader::new(child.stderr.take().unwrap());
        let any = "127.0.0.1:0".parse().unwrap();
        let mut running = Running { child, log, udp: any, tcp: any, records: 0 };
        running.udp = running.wait_for("listener=udp://").parse().unwrap();
        running.tcp = running.wait_for("listener=tcp://").parse().unwrap();
        running
    }

    /// Waits for the last of its records.
    pub fn all_are_back(&mut self) {
        self.records = self.wait_for("event=restored records=").parse().unwrap();
    }

    /// Reads the log up to a line that holds `text`; gives what follows it in that word.
    pub fn wait_for(&mut self, text: &str) -> String {
        let line = self.line(text);
        let (_, rest) = line.split_once(text).unwrap();
        rest.split_whitespace().next().unwrap_or_default().to_owned()
    }

    /// Reads the log up to a line that holds `text`.
    pub fn line(&mut self, text: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert_ne!(self.log.read_line(&mut line).unwrap(), 0, "the log ended before {text}");
            assert!(!line.contains(SECRET), "a secret is in the log: {line}");
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// A connection of the peer's.
    pub fn connect(&self) -> TcpStream {
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

/// A request of romeo's for juliet, without a body.
pub fn request(method: &str, transport: &str, number: usize) -> String {
    format!(
        "{method} sip:juliet@xmpp.example.org SIP/2.0\r\nVia: SIP/2.0/{transport} 127.0.0.1:1;branch=z9hG4bK{number};rport\r\n\
         From: <sip:romeo@example.org>;tag=1\r\nTo: <sip:juliet@xmpp.example.org>\r\nCall-ID: {number}\r\n\
         CSeq: 1 {method}\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
}

/// A MESSAGE of romeo's for juliet.
pub fn message(number: usize, body: &[u8]) -> Vec<u8> {
    let head = request("MESSAGE", "TCP", number).replace(
        "Content-Length: 0\r\n",
        &format!("Content-Type: text/plain\r\nContent-Length: {}\r\n", body.len()),
    );
    [head.as_bytes(), body].concat()
}

/// The head of the next message on a connection; its body is read too where it has one.
pub fn answer(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        text.push(byte[0]);
    }
    let text = String::from_utf8(text).unwrap();
    let length = header(&text, "Content-Length").and_then(|value| value.parse().ok()).unwrap_or(0);
    stream.read_exact(&mut vec![0; length]).unwrap();
    text.trim_start().to_owned()
}

/// The value of a header.
pub fn header<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}
