//! What one message costs: the load generator plays the XMPP server and the SIP proxy, the gateway is a process of its
//! own, and only its CPU time (user and system, from /proc) is counted.
//!
//! `cargo bench --bench load` prints CPU per message both ways (window 64), latency at a fixed rate, memory at rest and
//! start-up time. `MESSAGES=n` says how many messages a run has (default 30,000). Compare figures of one run only.

#![allow(clippy::disallowed_types, clippy::unwrap_used, reason = "a load generator is shell")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

const WINDOW: usize = 64;

fn main() {
    let messages = std::env::var("MESSAGES").ok().and_then(|text| text.parse().ok()).unwrap_or(30_000);
    let mut world = World::start();
    println!("serving after {:?}; {} kB resident at rest", world.started_in, world.resident());
    world.sip_to_xmpp(2_000, None);
    let inward = world.sip_to_xmpp(messages, None);
    world.xmpp_to_sip(2_000);
    let outward = world.xmpp_to_sip(messages);
    println!("SIP to XMPP: {inward}");
    println!("XMPP to SIP: {outward}");
    let paced = world.sip_to_xmpp(5_000, Some(Duration::from_micros(2_000)));
    println!("SIP to XMPP at 500/s: {paced}");
    println!("{} kB resident after {} messages", world.resident(), 2 * messages + 9_000);
}

struct Figures {
    cpu: f64,
    rate: f64,
    median: Duration,
    p99: Duration,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "{:.1} µs CPU a message, {:.0}/s, latency {:?} median, {:?} p99",
            self.cpu, self.rate, self.median, self.p99
        )
    }
}

struct World {
    gateway: Child,
    started_in: Duration,
    xmpp: TcpStream,
    sip: TcpStream,
    /// Bodies that reached the XMPP server.
    at_xmpp: Receiver<String>,
    /// Call-IDs that were answered, and bodies that reached the SIP proxy.
    at_sip: Receiver<SipEvent>,
    _folder: tempfile::TempDir,
    serial: usize,
}

enum SipEvent {
    Answered(String, u16),
    Message(String),
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.gateway.kill();
        let _ = self.gateway.wait();
    }
}

impl World {
    fn start() -> World {
        let folder = tempfile::tempdir().unwrap();
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
        let spare = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let secret = folder.path().join("secret");
        std::fs::write(&secret, "bench").unwrap();
        std::os::unix::fs::chown(&secret, None, None).unwrap();
        let mut permissions = std::fs::metadata(&secret).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
        std::fs::set_permissions(&secret, permissions).unwrap();
        let config = folder.path().join("mostar.yaml");
        let text = format!(
            "xmpp:\n  server: {}\n  components:\n    - {{ domain: sip.bench, secret: {{ file: {} }} }}\n  domains:\n    \
             - {{ domain: xmpp.bench }}\nsip:\n  listen: [ \"tcp://{spare}\" ]\n  peers:\n    - {{ uri: \
             \"sip:{};transport=tcp\", may_send_from: [ sip.bench ] }}\nmsrp: {{ listen: [] }}\nstore: {}\nhttp: none\n\
             messages: {{ rate: 0 }}\n",
            server.local_addr().unwrap(),
            secret.display(),
            proxy.local_addr().unwrap(),
            folder.path().join("store").display(),
        );
        std::fs::write(&config, text).unwrap();
        let began = Instant::now();
        let gateway = Command::new(env!("CARGO_BIN_EXE_mostar"))
            .args(["run", "-c"])
            .arg(&config)
            .stderr(if std::env::var_os("SHOW").is_some() { Stdio::inherit() } else { Stdio::null() })
            .spawn()
            .unwrap();
        let (mut xmpp, _) = server.accept().unwrap();
        handshake(&mut xmpp);
        let started_in = began.elapsed();
        let (to_main, at_xmpp) = channel();
        read_stanzas(xmpp.try_clone().unwrap(), to_main);
        // The gateway watches its peer: what it connects is answered, and our own connection carries the requests.
        let (to_main, at_sip) = channel();
        let accepted = to_main.clone();
        thread::spawn(move || {
            for connection in proxy.incoming().flatten() {
                read_sip(connection, accepted.clone());
            }
        });
        let sip = TcpStream::connect(spare).unwrap();
        sip.set_nodelay(true).unwrap();
        xmpp.set_nodelay(true).unwrap();
        read_sip(sip.try_clone().unwrap(), to_main);
        World { gateway, started_in, xmpp, sip, at_xmpp, at_sip, _folder: folder, serial: 0 }
    }

    /// User and system time of the gateway so far, in seconds; a tick is 10 ms.
    fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.gateway.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
    }

    fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.gateway.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    fn sip_to_xmpp(&mut self, count: usize, pace: Option<Duration>) -> Figures {
        let (cpu, began) = (self.cpu(), Instant::now());
        let mut sent: HashMap<String, Instant> = HashMap::new();
        let mut latencies = Vec::with_capacity(count);
        let mut written = 0;
        while latencies.len() < count {
            while written < count
                && sent.len() < WINDOW
                && pace.is_none_or(|pace| began.elapsed() >= pace * written as u32)
            {
                self.serial += 1;
                written += 1;
                let (call, body) = (format!("bench-{}", self.serial), "Art thou not Romeo, and a Montague?");
                let message = format!(
                    "MESSAGE sip:juliet{}@xmpp.bench SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKb{}\r\n\
                     Max-Forwards: 69\r\nFrom: <sip:romeo{}@sip.bench>;tag=t{}\r\nTo: <sip:juliet@xmpp.bench>\r\nCall-ID: \
                     {call}\r\nCSeq: 1 MESSAGE\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
                    self.serial % WINDOW,
                    self.serial,
                    self.serial % WINDOW,
                    self.serial,
                    body.len()
                );
                self.sip.write_all(message.as_bytes()).unwrap();
                sent.insert(call, Instant::now());
            }
            let wait = if pace.is_some() { Duration::from_micros(500) } else { Duration::from_secs(10) };
            match self.at_sip.recv_timeout(wait) {
                Ok(SipEvent::Answered(call, status)) => {
                    if let Some(at) = sent.remove(&call) {
                        assert!(status < 300, "{call} was answered {status}");
                        latencies.push(at.elapsed());
                    }
                }
                Ok(SipEvent::Message(_)) => {}
                Err(_) if pace.is_some() => {}
                Err(error) => panic!("nothing answered for 10 s: {error}; {} of {count}", latencies.len()),
            }
        }
        let mut arrived = 0;
        while arrived < count {
            self.at_xmpp
                .recv_timeout(Duration::from_secs(10))
                .expect("every message reaches the XMPP server");
            arrived += 1;
        }
        figures(self.cpu() - cpu, began.elapsed(), count, latencies)
    }

    fn xmpp_to_sip(&mut self, count: usize) -> Figures {
        let (cpu, began) = (self.cpu(), Instant::now());
        let mut sent: HashMap<String, Instant> = HashMap::new();
        let mut latencies = Vec::with_capacity(count);
        let mut written = 0;
        while latencies.len() < count {
            while written < count && sent.len() < WINDOW {
                self.serial += 1;
                written += 1;
                let body = format!("Art thou not Romeo, and a Montague? {}", self.serial);
                let stanza = format!(
                    "<message from='juliet{}@xmpp.bench/balcony' to='romeo{}@sip.bench' type='chat' id='b{}'><body>{body}</body></message>",
                    self.serial % WINDOW,
                    self.serial % WINDOW,
                    self.serial
                );
                self.xmpp.write_all(stanza.as_bytes()).unwrap();
                sent.insert(body, Instant::now());
            }
            match self
                .at_sip
                .recv_timeout(Duration::from_secs(10))
                .expect("every message reaches the SIP proxy")
            {
                SipEvent::Message(body) => {
                    if let Some(at) = sent.remove(&body) {
                        latencies.push(at.elapsed());
                    }
                }
                SipEvent::Answered(..) => {}
            }
        }
        figures(self.cpu() - cpu, began.elapsed(), count, latencies)
    }
}

fn figures(cpu: f64, took: Duration, count: usize, mut latencies: Vec<Duration>) -> Figures {
    latencies.sort();
    Figures {
        cpu: cpu * 1e6 / count as f64,
        rate: count as f64 / took.as_secs_f64(),
        median: latencies[count / 2],
        p99: latencies[count * 99 / 100],
    }
}

fn handshake(stream: &mut TcpStream) {
    let mut seen = String::new();
    let mut piece = [0; 4096];
    let mut opened = false;
    loop {
        let length = stream.read(&mut piece).unwrap();
        assert!(length > 0, "the gateway closed the stream");
        seen.push_str(&String::from_utf8_lossy(&piece[..length]));
        if !opened && seen.contains("sip.bench") && seen.contains('>') {
            let header = "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' \
                          xmlns:stream='http://etherx.jabber.org/streams' id='bench' from='sip.bench'>";
            stream.write_all(header.as_bytes()).unwrap();
            opened = true;
        }
        if seen.contains("</handshake>") {
            return stream.write_all(b"<handshake/>").unwrap();
        }
    }
}

/// Answers pings, and reports bodies.
fn read_stanzas(stream: TcpStream, to_main: Sender<String>) {
    thread::spawn(move || {
        let mut answers = stream.try_clone().unwrap();
        let mut reader = BufReader::with_capacity(1 << 16, stream);
        let mut piece = Vec::new();
        let mut pending = String::new();
        while reader.read_until(b'>', &mut piece).is_ok_and(|length| length > 0) {
            pending.push_str(&String::from_utf8_lossy(&piece));
            piece.clear();
            if pending.ends_with("</message>") {
                let body = pending.split("<body>").nth(1).and_then(|rest| rest.split('<').next());
                if let Some(body) = body {
                    let _ = to_main.send(body.to_owned());
                }
                pending.clear();
            } else if pending.ends_with("</iq>") {
                let value = |name: &str| {
                    pending
                        .split(&format!("{name}='"))
                        .nth(1)
                        .and_then(|rest| rest.split('\'').next())
                        .unwrap_or_default()
                };
                let answer = format!(
                    "<iq type='result' id='{}' from='{}' to='{}'/>",
                    value("id"),
                    value("to"),
                    value("from")
                );
                let _ = answers.write_all(answer.as_bytes());
                pending.clear();
            } else if pending.starts_with("<presence") && pending.ends_with("/>") {
                pending.clear();
            }
        }
    });
}

/// Answers requests with 200, and reports answers and bodies.
fn read_sip(stream: TcpStream, to_main: Sender<SipEvent>) {
    thread::spawn(move || {
        let mut answers = stream.try_clone().unwrap();
        let mut reader = BufReader::with_capacity(1 << 16, stream);
        loop {
            let mut head = Vec::new();
            let mut length = 0;
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).map_or(true, |length| length == 0) {
                    return;
                }
                let line = line.trim_end().to_owned();
                if let Some(value) = line.strip_prefix("Content-Length:") {
                    length = value.trim().parse().unwrap_or(0);
                }
                if line.is_empty() {
                    break;
                }
                head.push(line);
            }
            let mut body = vec![0; length];
            if reader.read_exact(&mut body).is_err() || head.is_empty() {
                return;
            }
            let value = |name: &str| {
                head.iter().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
            };
            if let Some(rest) = head[0].strip_prefix("SIP/2.0 ") {
                let status = rest.split(' ').next().and_then(|code| code.parse().ok()).unwrap_or(0);
                let _ = to_main.send(SipEvent::Answered(value("Call-ID:"), status));
                continue;
            }
            let mut answer = String::from("SIP/2.0 200 OK\r\n");
            for line in &head {
                let name = line.split(':').next().unwrap_or_default();
                if ["Via", "From", "Call-ID", "CSeq"].contains(&name) {
                    answer.push_str(&format!("{line}\r\n"));
                } else if name == "To" {
                    answer.push_str(&format!("{line};tag=bench\r\n"));
                }
            }
            answer.push_str("Content-Length: 0\r\n\r\n");
            let _ = answers.write_all(answer.as_bytes());
            if head[0].starts_with("MESSAGE") {
                let _ = to_main.send(SipEvent::Message(String::from_utf8_lossy(&body).into_owned()));
            }
        }
    });
}
