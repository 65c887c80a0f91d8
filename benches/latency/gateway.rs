//! Mostar as a process of its own, and the SIP peer that is played for it, over TCP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::prosody::{SECRET, XMPP_DOMAIN};
use super::traffic::Traffic;

/// The domain of the SIP users, and of Mostar's component.
pub const SIP_DOMAIN: &str = "sip.bench";

/// A running gateway.
pub struct Gateway {
    child: Child,
    address: SocketAddr,
    /// Where it finds its peer.
    peer: TcpListener,
}

impl Gateway {
    /// Starts it, and waits until it is ready.
    pub fn start(components: u16, folder: &Path) -> Gateway {
        let peer = TcpListener::bind("127.0.0.1:0").unwrap();
        let [address, http] =
            [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
        let secret = folder.join("secret");
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&secret).unwrap();
        file.write_all(SECRET.as_bytes()).unwrap();
        let config = folder.join("mostar.yaml");
        let text = format!(
            "xmpp:\n  server: 127.0.0.1:{components}\n  components:\n    - {{ domain: {SIP_DOMAIN}, secret: {{ file: {} \
             }} }}\n  domains:\n    - {{ domain: {XMPP_DOMAIN} }}\nsip:\n  listen: [ \"tcp://{address}\" ]\n  peers:\n    \
             - {{ uri: \"sip:{};transport=tcp\", may_send_from: [ {SIP_DOMAIN} ] }}\nstore: {}\nhttp: {http}\n",
            secret.display(),
            peer.local_addr().unwrap(),
            folder.join("store").display(),
        );
        std::fs::write(&config, text).unwrap();
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_mostar"), "run", "-c"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(if std::env::var_os("SHOW").is_some() { Stdio::inherit() } else { Stdio::null() })
            .spawn()
            .unwrap();
        let gateway = Gateway { child, address, peer };
        let patience = Instant::now() + Duration::from_secs(20);
        while !is_ready(http) {
            assert!(Instant::now() < patience, "the gateway does not get ready");
            thread::sleep(Duration::from_millis(50));
        }
        gateway
    }

    /// The peer's own connection, for requests. What arrives at the peer is answered, and told to `traffic`.
    pub fn connect(&self, traffic: &Traffic) -> TcpStream {
        let (listener, traffic_of_accepted) = (self.peer.try_clone().unwrap(), traffic.clone());
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                read(connection, traffic_of_accepted.clone());
            }
        });
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        read(stream.try_clone().unwrap(), traffic.clone());
        stream
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_ready(http: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(http) else { return false };
    let mut answer = String::new();
    stream.write_all(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n").is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.split(' ').nth(1) == Some("200")
}

/// A MESSAGE from a SIP user.
pub fn request(number: usize, from: &str, to: &str, body: &str) -> String {
    format!(
        "MESSAGE sip:{to} SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKb{number}\r\nMax-Forwards: 69\r\n\
         From: <sip:{from}>;tag=t{number}\r\nTo: <sip:{to}>\r\nCall-ID: {number}\r\nCSeq: 1 MESSAGE\r\n\
         Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Answers requests with 200, and tells what was answered and what arrived.
fn read(stream: TcpStream, traffic: Traffic) {
    thread::spawn(move || {
        stream.set_nodelay(true).unwrap();
        let mut answers = stream.try_clone().unwrap();
        let mut reader = BufReader::with_capacity(1 << 16, stream);
        while let Some((head, body)) = next(&mut reader) {
            let value =
                |name: &str| head.iter().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
            if let Some(rest) = head[0].strip_prefix("SIP/2.0 ") {
                let status = rest.split(' ').next().and_then(|code| code.parse().ok()).unwrap_or(0);
                traffic.answered(value("Call-ID:").parse().unwrap(), status);
                continue;
            }
            if head[0].starts_with("MESSAGE") {
                traffic.arrived(&body);
            }
            let mut answer = String::from("SIP/2.0 200 OK\r\n");
            for line in &head {
                match line.split(':').next().unwrap_or_default() {
                    "Via" | "From" | "Call-ID" | "CSeq" => answer.push_str(&format!("{line}\r\n")),
                    "To" => answer.push_str(&format!("{line};tag=bench\r\n")),
                    _ => {}
                }
            }
            answer.push_str("Content-Length: 0\r\n\r\n");
            answers.write_all(answer.as_bytes()).unwrap();
        }
    });
}

/// The next message: the lines of its head, and its body. Nothing when the connection has ended.
fn next(reader: &mut impl BufRead) -> Option<(Vec<String>, String)> {
    let (mut head, mut length) = (Vec::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
        let line = line.trim_end();
        if let Some(value) = line.strip_prefix("Content-Length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        match (line.is_empty(), head.is_empty()) {
            (false, _) => head.push(line.to_owned()),
            // A line without anything between messages keeps the connection alive (RFC 5626).
            (true, true) => {}
            (true, false) => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((head, String::from_utf8_lossy(&body).into_owned()))
}
