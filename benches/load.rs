//! What one message costs: the load generator plays the XMPP server and the SIP proxy, the gateway is a process of its
//! own, and only its CPU time (user and system, from /proc) is counted.
//!
//! `cargo bench --bench load` prints CPU per message both ways (window 64), latency at a fixed rate, memory at rest and
//! start-up time. `MESSAGES=n` says how many messages a run has (default 30,000). Compare figures of one run only.
//!
//! The shares of it are those of `world/process.rs`; parsing is measured apart, by reading the same bytes again in this
//! process.

#![allow(clippy::disallowed_types, clippy::unwrap_used, reason = "a load generator is shell")]

mod world;

use std::collections::HashMap;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use world::figures::{Figures, parsing, sip_reader, xmpp_reader};
use world::process::{Process, Setup};
use world::server::Stream;
use world::{SIP_DOMAIN, XMPP_DOMAIN, proxy, server};

const WINDOW: usize = 64;

fn main() {
    let messages = world::number("MESSAGES", 30_000);
    let mut world = World::start();
    println!("serving after {:?}; {} kB resident at rest", world.started_in, world.gateway.resident());
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
    println!("{} kB resident after {} messages", world.gateway.resident(), 2 * messages + 9_000);
}

/// What is sent to the gateway from the SIP side.
fn sip_message(serial: usize) -> String {
    let body = "Art thou not Romeo, and a Montague?";
    let user = serial % WINDOW;
    format!(
        "MESSAGE sip:juliet{user}@{XMPP_DOMAIN} SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKb{serial}\r\n\
         Max-Forwards: 69\r\nFrom: <sip:romeo{user}@{SIP_DOMAIN}>;tag=t{serial}\r\nTo: <sip:juliet@{XMPP_DOMAIN}>\r\n\
         Call-ID: bench-{serial}\r\nCSeq: 1 MESSAGE\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
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

struct World {
    gateway: Process,
    started_in: Duration,
    xmpp: Stream,
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

impl World {
    fn start() -> World {
        let folder = tempfile::tempdir().unwrap();
        let component = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = world::free();
        let setup = Setup {
            server: component.local_addr().unwrap(),
            sip: address,
            peer: peer.local_addr().unwrap(),
            of_peer: "",
            more: "msrp: { listen: [] }\nhttp: none\nmessages: { rate: 0 }\n",
        };
        let began = Instant::now();
        let gateway = Process::start(folder.path(), &setup);
        let (to_main, at_xmpp) = channel();
        let xmpp = Stream::accept(&component, move |text| {
            let _ = to_main.send(server::body(text)?.to_owned());
            None
        });
        let started_in = began.elapsed();
        // The gateway watches its peer: what it connects is answered, and our own connection carries the requests.
        let sip = TcpStream::connect(address).unwrap();
        let (to_main, at_sip) = channel();
        proxy::read_all(peer, &sip, move |message| {
            if let Some(status) = message.status() {
                let _ = to_main.send(SipEvent::Answered(message.value("Call-ID").to_owned(), status));
                return None;
            }
            if message.method() == "MESSAGE" {
                let _ = to_main.send(SipEvent::Message(String::from_utf8_lossy(&message.body).into_owned()));
            }
            Some(message.ok("", ""))
        });
        World { gateway, started_in, xmpp, sip, at_xmpp, at_sip, _folder: folder, serial: 0 }
    }

    fn sip_to_xmpp(&mut self, count: usize, pace: Option<Duration>) -> Figures {
        let (cpu, began) = (self.gateway.cpu(), Instant::now());
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
        Figures::of(self.gateway.cpu().each(cpu, count), began.elapsed(), latencies)
    }

    fn xmpp_to_sip(&mut self, count: usize) -> Figures {
        let (cpu, began) = (self.gateway.cpu(), Instant::now());
        let mut sent: HashMap<String, Instant> = HashMap::new();
        let mut latencies = Vec::with_capacity(count);
        let mut written = 0;
        while latencies.len() < count {
            while written < count && sent.len() < WINDOW {
                self.serial += 1;
                written += 1;
                self.xmpp.say(&stanza(self.serial));
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
        Figures::of(self.gateway.cpu().each(cpu, count), began.elapsed(), latencies)
    }
}
