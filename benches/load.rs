//! What one message costs: the load generator plays the XMPP server and the SIP proxy, the gateway is a process of its
//! own on a core of its own, and only its CPU time (user and system, from /proc) is counted.
//!
//! `cargo bench --bench load` plays rounds: messages of 64 under way through Mostar both ways, then the same through the
//! two references of `world/reference.rs`, whose sum is the limit. So what is compared was measured within seconds, and
//! the medians are shown. Then the same load over two cores and two components, as fast as it goes, and at a fixed rate.
//!
//! `MESSAGES=n` says how many messages a run has (default 20,000), `ROUNDS=n` how many rounds there are (default 5).
//! `MOSTAR` names another build to measure. Compare figures of one run only. On a machine of one core all share it.
//!
//! The shares of a message are those of `world/process.rs`; parsing is measured apart, by reading the same bytes again
//! in this process.

#![allow(clippy::disallowed_types, clippy::unwrap_used, reason = "a load generator is shell")]

mod world;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use world::figures::{Figures, median, parsing, sip_reader, xmpp_reader};
use world::process::{Place, Process, Setup, put_on};
use world::server::Stream;
use world::{SIP_DOMAIN, XMPP_DOMAIN, proxy, reference, server};

/// How many users each side has.
const USERS: usize = 64;

/// The component that a second stream serves.
const SECOND: &str = "two.sip.bench";

/// Where the gateway runs; the load has the other cores.
const CORE: &str = "0";

fn main() {
    if reference::run(&std::env::args().collect::<Vec<_>>()) {
        return;
    }
    let cores = std::thread::available_parallelism().unwrap().get();
    if cores > 1 {
        put_on(std::process::id(), &format!("1-{}", cores - 1));
    }
    let (messages, rounds) = (world::number("MESSAGES", 20_000), world::number("ROUNDS", 5));
    compare(messages, rounds);
    if cores > 1 {
        two_shards(messages, rounds);
    }
}

/// Mostar beside its limit.
fn compare(messages: usize, rounds: usize) {
    let one = Place { cores: Some(CORE), ..Place::default() };
    let mut mostar = World::start(&Kind::Mostar(one));
    println!("serving after {:?}; {} kB resident at rest", mostar.started_in, mostar.gateway.resident());
    for way in Way::BOTH {
        mostar.play(way, &Load::of(2_000));
    }
    let appended = Way::BOTH.map(|way| mostar.appended(way, 2_000));
    let mut store = Store::start();
    let sync = store.run(&appended[0], 2_000).1;
    let mut plain = World::start(&Kind::Reference(sync));
    let mut seen = Way::BOTH.map(|_| [const { Vec::new() }; 3]);
    for _ in 0..rounds {
        for ((way, seen), appended) in Way::BOTH.into_iter().zip(&mut seen).zip(&appended) {
            seen[0].push(mostar.play(way, &Load::of(messages)));
            seen[1].push(plain.play(way, &Load::of(messages)));
            let (cpu, _) = store.run(appended, messages / 4);
            seen[2].push(Figures::bare(cpu));
        }
    }
    println!("on one core, {messages} messages a run, the medians of {rounds} rounds:");
    for ((way, seen), appended) in Way::BOTH.into_iter().zip(&seen).zip(&appended) {
        let of = |seen: &Vec<Figures>| median(seen.iter().map(|figures| figures.shares.total()));
        let [own, sockets, disk] = seen.each_ref().map(of);
        let ratio = median(
            (0..rounds)
                .map(|round| seen.each_ref().map(|seen| seen[round].shares.total()))
                .map(|[own, a, b]| own / (a + b)),
        );
        let last = seen[0].last().unwrap();
        println!("{}: {own:.1} µs CPU each; the last time {last}", way.name());
        println!("  of it parsing {:.1} µs, {}", way.parsing(), last.shares);
        println!(
            "  the limit: sockets and least parsing {sockets:.1} µs, {:.1} commits of {:.0} bytes for 100 messages {disk:.1} µs; \
             Mostar takes {ratio:.2} times as much",
            appended.commits * 100.0,
            appended.bytes / appended.commits
        );
        let (name, most) = (way.name(), way.most());
        let figure = |what: &str, target: &str, measured: String, ratio: f64| {
            world::result(&format!("{what}, {name}"), target, &measured, ratio);
        };
        figure("CPU a durable message", &format!("{most:.0} µs"), format!("{own:.1} µs"), own / most);
        figure("CPU a message over that of the limit", "2", format!("{ratio:.2}"), ratio / 2.0);
    }
    for way in Way::BOTH {
        let fast: Vec<Figures> = (0..rounds).map(|_| mostar.play(way, &Load::fast(messages))).collect();
        let fastest = fast.iter().map(|figures| figures.rate).fold(0.0, f64::max);
        let each = median(fast.iter().map(|figures| figures.shares.total()));
        let (least, most) = (way.least(), way.most());
        println!("{} as fast as it goes: {fastest:.0}/s, {each:.1} µs CPU each, nothing lost", way.name());
        let ratio = least / fastest;
        world::result(
            &format!("CPU a durable message as fast as it goes, {}", way.name()),
            &format!("{most:.0} µs"),
            &format!("{each:.1} µs"),
            each / most,
        );
        world::result(
            &format!("loss-free on one core, {}", way.name()),
            &format!("{least:.0}/s"),
            &format!("{fastest:.0}/s"),
            ratio,
        );
        let pace = Duration::from_secs_f64(2.0 / fastest);
        let count = fastest as usize;
        let half = mostar.play(way, &Load { pace: Some(pace), window: count, ..Load::of(count) });
        println!("  half as fast: {half}");
        let (most, p99) = (Duration::from_millis(20), half.p99);
        world::result(
            &format!("p99 at half of the highest load, {}", way.name()),
            "20 ms",
            &format!("{:.1} ms", p99.as_secs_f64() * 1e3),
            p99.as_secs_f64() / most.as_secs_f64(),
        );
    }
    let paced =
        mostar.play(Way::Inward, &Load { pace: Some(Duration::from_micros(2_000)), ..Load::of(5_000) });
    println!("SIP to XMPP at 500/s: {paced}");
    println!("{} kB resident after all", mostar.gateway.resident());
}

/// What it costs to have two shards, with two component domains: on two cores that the load shares, and, so that nothing
/// else differs, both on one core.
fn two_shards(messages: usize, rounds: usize) {
    let one = Place { cores: Some("0"), ..Place::default() };
    let two = Place { cores: Some("0,1"), domains: &[SECOND], listeners: "" };
    put_on(std::process::id(), "0,1");
    let mut worlds = [one, two, two].map(|place| World::start(&Kind::Mostar(place)));
    put_on(std::process::id(), "1");
    worlds[1].gateway.move_to("0");
    for way in Way::BOTH {
        let mut seen = [const { Vec::new() }; 3];
        for round in 0..=rounds {
            for (world, seen) in worlds.iter_mut().zip(&mut seen) {
                let figures = world.play(way, &Load::of(messages));
                // The first one warms up.
                if round > 0 {
                    seen.push(figures.shares.total());
                }
            }
        }
        let ratio = |of: usize| median((0..rounds).map(|round| seen[of][round] / seen[0][round]));
        let [one, same, apart] = seen.each_ref().map(|seen| median(seen.iter().copied()));
        println!(
            "{}: one shard {one:.1} µs CPU each; two shards and two components on the same core {same:.1} ({:.2} times as much), \
             on two cores that the load shares {apart:.1} ({:.2})",
            way.name(),
            ratio(1),
            ratio(2)
        );
        for (of, where_) in [(1, "on one core"), (2, "on two shared cores")] {
            let figure = format!("CPU of two shards over that of one, {where_}, {}", way.name());
            world::result(&figure, "1.18", &format!("{:.2}", ratio(of)), ratio(of) / 1.18);
        }
    }
}

/// Where a message comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// From SIP to XMPP.
    Inward,
    /// From XMPP to SIP.
    Outward,
}

impl Way {
    const BOTH: [Way; 2] = [Way::Inward, Way::Outward];

    fn name(self) -> &'static str {
        ["SIP to XMPP", "XMPP to SIP"][self as usize]
    }

    /// The goals: so many µs at most, so many messages a second at least.
    fn most(self) -> f64 {
        [20.0, 18.0][self as usize]
    }

    fn least(self) -> f64 {
        [30_000.0, 25_000.0][self as usize]
    }

    /// What its bytes are parsed in, in µs a message.
    fn parsing(self) -> f64 {
        match self {
            Way::Inward => parsing(&mut sip_reader(), |serial| sip_message(serial, SIP_DOMAIN)),
            Way::Outward => {
                parsing(&mut xmpp_reader(), |serial| stanza(serial, SIP_DOMAIN))
                    + parsing(&mut sip_reader(), sip_answer)
            }
        }
    }
}

/// How messages come.
#[derive(Clone, Copy)]
struct Load {
    count: usize,
    /// How many are under way at most.
    window: usize,
    /// How many are written together.
    together: usize,
    /// How long after one another; at once, if nothing.
    pace: Option<Duration>,
}

impl Load {
    fn of(count: usize) -> Load {
        Load { count, window: 64, together: 1, pace: None }
    }

    fn fast(count: usize) -> Load {
        Load { count, window: 512, together: 32, pace: None }
    }
}

/// What is sent to the gateway from the SIP side.
fn sip_message(serial: usize, domain: &str) -> String {
    let body = "Art thou not Romeo, and a Montague?";
    let user = serial % USERS;
    format!(
        "MESSAGE sip:juliet{user}@{XMPP_DOMAIN} SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKb{serial}\r\n\
         Max-Forwards: 69\r\nFrom: <sip:romeo{user}@{domain}>;tag=t{serial}\r\nTo: <sip:juliet@{XMPP_DOMAIN}>\r\n\
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
fn stanza(serial: usize, domain: &str) -> String {
    let (user, body) = (serial % USERS, body(serial));
    format!(
        "<message from='juliet{user}@xmpp.bench/balcony' to='romeo{user}@{domain}' type='chat' id='b{serial}'>\
         <body>{body}</body></message>"
    )
}

/// What is played with.
enum Kind<'a> {
    Mostar(Place<'a>),
    /// The reference, which has each piece wait as long as a commit takes.
    Reference(Duration),
}

struct World {
    gateway: Process,
    started_in: Duration,
    /// A domain of SIP users, and the stream of its component.
    streams: Vec<(&'static str, Stream)>,
    sip: TcpStream,
    /// Bodies that reached the XMPP server.
    at_xmpp: Receiver<String>,
    /// Call-IDs that were answered, and bodies that reached the SIP proxy.
    at_sip: Receiver<SipEvent>,
    folder: tempfile::TempDir,
    serial: usize,
}

enum SipEvent {
    Answered(String, u16),
    Message(String),
}

impl World {
    fn start(kind: &Kind<'_>) -> World {
        let folder = tempfile::tempdir().unwrap();
        let component = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = world::free();
        let (server, to_peer) = (component.local_addr().unwrap(), peer.local_addr().unwrap());
        let began = Instant::now();
        let (gateway, count) = match kind {
            Kind::Mostar(place) => {
                let more = "msrp: { listen: [] }\nhttp: none\nmessages: { rate: 0 }\n";
                let setup = Setup { server, sip: address, peer: to_peer, of_peer: "", more };
                (Process::start_at(folder.path(), &setup, *place), 1 + place.domains.len())
            }
            Kind::Reference(wait) => {
                let [server, sip, peer] = [server, address, to_peer].map(|address| address.to_string());
                let arguments = ["reference-gateway".into(), server, sip, peer, wait.as_micros().to_string()];
                (Process::of_this(&arguments, Some(CORE)), 1)
            }
        };
        let (to_main, at_xmpp) = channel();
        let streams = (0..count).map(|_| {
            let to_main = to_main.clone();
            let (stream, opening) = Stream::accept_and_tell(&component, move |text| {
                let _ = to_main.send(server::body(text)?.to_owned());
                None
            });
            (if opening.contains(SECOND) { SECOND } else { SIP_DOMAIN }, stream)
        });
        let streams = streams.collect();
        let started_in = began.elapsed();
        // The gateway watches its peer: what it connects is answered, and our own connection carries the requests.
        let sip = world::connect(address);
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
        World { gateway, started_in, streams, sip, at_xmpp, at_sip, folder, serial: 0 }
    }

    /// Sends messages one way and waits for all of them, and for their answers.
    fn play(&mut self, way: Way, load: &Load) -> Figures {
        let (cpu, began) = (self.gateway.cpu(), Instant::now());
        let mut sent: HashMap<String, Instant> = HashMap::new();
        let mut latencies = Vec::with_capacity(load.count);
        let mut written = 0;
        while latencies.len() < load.count {
            let due =
                load.pace.map_or(load.count, |pace| began.elapsed().div_duration_f64(pace) as usize + 1);
            let free = load.window - sent.len();
            if free >= load.together.min(load.count - written) {
                let until = due.min(load.count).min(written + free);
                while written < until {
                    let count = load.together.min(until - written);
                    self.send(way, count, &mut sent);
                    written += count;
                }
            }
            let wait = if load.pace.is_some() { Duration::from_micros(500) } else { Duration::from_secs(10) };
            match (way, self.at_sip.recv_timeout(wait)) {
                (Way::Inward, Ok(SipEvent::Answered(name, status))) => {
                    if let Some(at) = sent.remove(&name) {
                        assert!(status < 300, "{name} was answered {status}");
                        latencies.push(at.elapsed());
                    }
                }
                (Way::Outward, Ok(SipEvent::Message(name))) => {
                    latencies.extend(sent.remove(&name).map(|at| at.elapsed()));
                }
                (_, Ok(_)) => {}
                (_, Err(_)) if load.pace.is_some() => {}
                (_, Err(error)) => {
                    panic!("nothing came for 10 s: {error}; {} of {}", latencies.len(), load.count)
                }
            }
        }
        for _ in 0..if way == Way::Inward { load.count } else { 0 } {
            self.at_xmpp
                .recv_timeout(Duration::from_secs(10))
                .expect("every message reaches the XMPP server");
        }
        Figures::of(self.gateway.cpu().each(cpu, load.count), began.elapsed(), latencies)
    }

    fn send(&mut self, way: Way, count: usize, sent: &mut HashMap<String, Instant>) {
        let mut texts = vec![String::new(); self.streams.len()];
        for _ in 0..count {
            self.serial += 1;
            // A user keeps her contact.
            let place = self.serial % USERS % self.streams.len();
            let (domain, text) = (self.streams[place].0, &mut texts[place]);
            let name = match way {
                Way::Inward => {
                    text.push_str(&sip_message(self.serial, domain));
                    format!("bench-{}", self.serial)
                }
                Way::Outward => {
                    text.push_str(&stanza(self.serial, domain));
                    body(self.serial)
                }
            };
            sent.insert(name, Instant::now());
        }
        for (text, (_, stream)) in texts.iter().zip(&self.streams) {
            match way {
                _ if text.is_empty() => {}
                Way::Inward => self.sip.write_all(text.as_bytes()).unwrap(),
                Way::Outward => stream.say(text),
            }
        }
    }

    /// What so many messages append to the journal.
    fn appended(&mut self, way: Way, count: usize) -> Appended {
        loop {
            let before = Journal::of(self.folder.path());
            self.play(way, &Load::of(count));
            // What is only dropped lingers a moment.
            std::thread::sleep(Duration::from_millis(100));
            let after = Journal::of(self.folder.path());
            if before.file == after.file {
                let each = |of: fn(&Journal) -> usize| (of(&after) - of(&before)) as f64 / count as f64;
                return Appended {
                    commits: each(|journal| journal.entries),
                    bytes: each(|journal| journal.bytes),
                };
            }
        }
    }
}

/// What a message comes to in the journal.
struct Appended {
    commits: f64,
    bytes: f64,
}

/// The newest file of Mostar's journal: its entries and their bytes.
struct Journal {
    file: PathBuf,
    entries: usize,
    bytes: usize,
}

impl Journal {
    fn of(folder: &Path) -> Journal {
        const HEADER: usize = 40;
        const LEAD: usize = 20;
        let files = std::fs::read_dir(folder.join("store")).unwrap().map(|file| file.unwrap().path());
        let is_journal = |file: &PathBuf| file.file_name().unwrap().to_string_lossy().starts_with("journal.");
        let file = files.filter(is_journal).max().unwrap();
        let bytes = std::fs::read(&file).unwrap();
        let (mut at, mut entries) = (HEADER, 0);
        // Zeros are written ahead.
        while bytes.get(at).is_some_and(|byte| *byte != 0) {
            at += LEAD + u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
            entries += 1;
        }
        Journal { file, entries, bytes: at }
    }
}

/// The reference of the store.
struct Store {
    process: Process,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    _folder: tempfile::TempDir,
}

impl Store {
    fn start() -> Store {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file").display().to_string();
        let mut process = Process::of_this(&["reference-store".into(), file], Some(CORE));
        let (input, output) = process.ends();
        Store { process, input, output: BufReader::new(output), _folder: folder }
    }

    /// Appends what so many messages would have appended: CPU for each message, and how long one commit took.
    fn run(&mut self, appended: &Appended, messages: usize) -> (world::process::Cpu, Duration) {
        let count = (appended.commits * messages as f64).ceil().max(1.0) as u32;
        let bytes = appended.bytes / appended.commits;
        let (cpu, began) = (self.process.cpu(), Instant::now());
        writeln!(self.input, "{count} {bytes:.0}").unwrap();
        self.output.read_line(&mut String::new()).unwrap();
        (self.process.cpu().each(cpu, messages), began.elapsed() / count)
    }
}
