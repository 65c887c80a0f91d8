//! What one message costs: the load generator plays the XMPP server and the SIP proxy, the gateway is a process of its
//! own, and only its CPU time (user and system, from /proc) is counted.
//!
//! `cargo bench --bench load` prints CPU per message both ways (window 64), latency at a fixed rate, memory at rest and
//! start-up time. `MESSAGES=n` says how many messages a run has (default 30,000). Compare figures of one run only.
//!
//! The shares of it: the store is the CPU time of all threads but those that run the gateway (the writer, and what the
//! store itself starts); system calls are the part of the gateway's threads that the kernel took, most of it for
//! sockets, as the clock's ticks sample it; parsing is measured apart, by reading the same bytes again in this process.

#![allow(clippy::disallowed_types, clippy::unwrap_used, reason = "a load generator is shell")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use mostar::sip::framing;
use mostar::xmpp::stream::{self, Limits};

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
    println!("  of it parsing {:.1} µs, {}", parsing(&mut sip_reader(), sip_message), inward.shares);
    println!("XMPP to SIP: {outward}");
    let parsing = parsing(&mut xmpp_reader(), stanza) + parsing(&mut sip_reader(), sip_answer);
    println!("  of it parsing {parsing:.1} µs, {}", outward.shares);
    let paced = world.sip_to_xmpp(5_000, Some(Duration::from_micros(2_000)));
    println!("SIP to XMPP at 500/s: {paced}");
    println!("{} kB resident after {} messages", world.resident(), 2 * messages + 9_000);
}

/// What a message is parsed in, in µs: the same bytes as in a run, read in pieces of a few messages.
fn parsing(read: &mut dyn FnMut(&[u8]), message: impl Fn(usize) -> String) -> f64 {
    const PIECES: usize = 2_000;
    const TOGETHER: usize = 8;
    let pieces: Vec<String> = (0..PIECES)
        .map(|piece| (0..TOGETHER).map(|number| message(piece * TOGETHER + number)).collect())
        .collect();
    let pass = |read: &mut dyn FnMut(&[u8])| {
        let began = Instant::now();
        pieces.iter().for_each(|piece| read(piece.as_bytes()));
        began.elapsed().as_secs_f64() * 1e6 / (PIECES * TOGETHER) as f64
    };
    // Of several passes the shortest: others share the machine.
    (0..10).map(|_| pass(read)).fold(f64::MAX, f64::min)
}

fn sip_reader() -> impl FnMut(&[u8]) {
    let mut stream = framing::Stream::new();
    move |bytes| assert!(stream.push(bytes).iter().all(Result::is_ok))
}

fn xmpp_reader() -> impl FnMut(&[u8]) {
    let mut stream = stream::Stream::new(Limits::default());
    let mut events = Vec::new();
    stream.receive(format!("{HEADER}<handshake/>").as_bytes(), &mut events);
    move |bytes| {
        events.clear();
        stream.receive(bytes, &mut events);
        assert!(events.iter().all(|event| matches!(event, stream::Event::Element(_))));
    }
}

/// What is sent to the gateway from the SIP side.
fn sip_message(serial: usize) -> String {
    let body = "Art thou not Romeo, and a Montague?";
    let user = serial % WINDOW;
    format!(
        "MESSAGE sip:juliet{user}@xmpp.bench SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKb{serial}\r\n\
         Max-Forwards: 69\r\nFrom: <sip:romeo{user}@sip.bench>;tag=t{serial}\r\nTo: <sip:juliet@xmpp.bench>\r\nCall-ID: \
         bench-{serial}\r\nCSeq: 1 MESSAGE\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// What the SIP proxy answers, for the share of parsing.
fn sip_answer(serial: usize) -> String {
    format!(
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP 127.0.0.1:40000;branch=z9hG4bK00aaaaaaaaaaaaaaaa;rport\r\nFrom: \
         <sip:juliet@xmpp.bench>;tag=00aaaaaaaaaaaaaaaa\r\nTo: <sip:romeo@sip.bench>;tag=bench\r\nCall-ID: \
         00aaaaaaaa{serial}\r\nCSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n"
    )
}

/// The body of the stanza of this number.
fn body(serial: usize) -> String {
    format!("Art thou not Romeo, and a Montague? {serial}")
}

/// What is sent to the gateway from the XMPP side.
fn stanza(serial: usize) -> String {
    let (user, body) = (serial % WINDOW, body(serial));
    format!(
        "<message from='juliet{user}@xmpp.bench/balcony' to='romeo{user}@sip.bench' type='chat' id='b{serial}'>\
         <body>{body}</body></message>"
    )
}

const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' \
                      xmlns:stream='http://etherx.jabber.org/streams' id='bench' from='sip.bench'>";

/// CPU time in seconds.
#[derive(Clone, Copy, Default)]
struct Cpu {
    /// Of the threads that run the gateway, in user mode.
    gateway: f64,
    /// Of the same threads, in the kernel.
    system: f64,
    /// Of all other threads.
    store: f64,
}

impl Cpu {
    fn total(self) -> f64 {
        self.gateway + self.system + self.store
    }

    /// Since an earlier moment, for each of so many messages, in µs.
    fn each(self, earlier: Cpu, count: usize) -> Cpu {
        let each = |now: f64, then: f64| (now - then) * 1e6 / count as f64;
        Cpu {
            gateway: each(self.gateway, earlier.gateway),
            system: each(self.system, earlier.system),
            store: each(self.store, earlier.store),
        }
    }
}

impl std::fmt::Display for Cpu {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "store {:.1} µs, system calls {:.1} µs", self.store, self.system)
    }
}

struct Figures {
    shares: Cpu,
    rate: f64,
    median: Duration,
    p99: Duration,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "{:.1} µs CPU a message, {:.0}/s, latency {:?} median, {:?} p99",
            self.shares.total(),
            self.rate,
            self.median,
            self.p99
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

    /// The CPU time of the gateway so far; a tick is 10 ms.
    fn cpu(&self) -> Cpu {
        let mut cpu = Cpu::default();
        for task in std::fs::read_dir(format!("/proc/{}/task", self.gateway.id())).unwrap() {
            // A thread may end while we look; what it used is then in nobody's figure.
            let Ok(stat) = std::fs::read_to_string(task.unwrap().path().join("stat")) else { continue };
            let (name, fields) = stat.split_once('(').unwrap().1.rsplit_once(')').unwrap();
            let fields: Vec<&str> = fields.split_whitespace().collect();
            let seconds = |field: usize| fields[field].parse::<f64>().unwrap() / 100.0;
            if name == "mostar" {
                cpu.gateway += seconds(11);
                cpu.system += seconds(12);
            } else {
                cpu.store += seconds(11) + seconds(12);
            }
        }
        cpu
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
                self.sip.write_all(sip_message(self.serial).as_bytes()).unwrap();
                sent.insert(format!("bench-{}", self.serial), Instant::now());
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
        figures(self.cpu().each(cpu, count), began.elapsed(), latencies)
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
                self.xmpp.write_all(stanza(self.serial).as_bytes()).unwrap();
                sent.insert(body(self.serial), Instant::now());
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
        figures(self.cpu().each(cpu, count), began.elapsed(), latencies)
    }
}

fn figures(shares: Cpu, took: Duration, mut latencies: Vec<Duration>) -> Figures {
    latencies.sort();
    let count = latencies.len();
    Figures {
        shares,
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
            stream.write_all(HEADER.as_bytes()).unwrap();
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
