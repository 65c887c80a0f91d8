//! What chat sessions cost, through sockets: the gateway is a process of its own and only its CPU time is counted; the
//! XMPP server, the SIP peer and the phone with its MSRP connections are played here.
//!
//! `cargo bench --bench chat` prints CPU per line in an open session each way, without and with receipts (window 64);
//! CPU per session that is opened by either side, and for hanging it up; large messages; memory of idle sessions. A word selects
//! what is measured: `lines`, `opening`, `large`, `idle`. `MESSAGES=n` says how many lines a run has (30,000),
//! `OPENINGS=n` how many sessions are opened (5,000) and `AT_ONCE=n` how many of them at once (128), `SESSIONS=n` how many
//! sessions are idle (20,000). Everything is durable, as in the field. Compare figures of one run
//! only.
//!
//! The shares are those of `world/process.rs`; parsing is measured apart, by reading the same bytes again in this
//! process. A session that the gateway opens carries one line, which is in its figure.

#![allow(clippy::disallowed_types, clippy::unwrap_used, reason = "a load generator is shell")]

mod phone;
#[path = "../world/mod.rs"]
mod world;

use std::collections::{HashMap, HashSet};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use mostar::msrp::frame::decoder::Decoder;
use phone::{Phone, Session};
use world::figures::{Figures, parsing, xmpp_reader};
use world::process::{Process, Setup, wait_until_ready};
use world::proxy::Message;
use world::server::Stream;
use world::{SIP_DOMAIN, XMPP_DOMAIN, number, proxy, server};

const WINDOW: usize = 64;
/// What is known of a session that ended is dropped half a minute later.
const SETTLED: Duration = Duration::from_secs(45);

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|word| word == name);
    if is_wanted("lines") {
        lines(number("MESSAGES", 30_000));
    }
    if is_wanted("opening") {
        opening(number("OPENINGS", 5_000));
    }
    if is_wanted("large") {
        large();
    }
    if is_wanted("idle") {
        for each in [100, 1] {
            idle(number("SESSIONS", 20_000), each);
        }
    }
}

/// How many sessions are on their way at once. Whoever asks for a user who is not known waits 50 ms for her server's
/// word: with few at once the gateway would sleep between them, and each would cost what waking up costs.
fn at_once() -> usize {
    number("AT_ONCE", 128)
}

/// Lines in one open session.
fn lines(count: usize) {
    let mut world = World::start();
    let (mut phone, session) = world.one_session();
    for receipts in [false, true] {
        let word = if receipts { "with receipts" } else { "receipts off" };
        let short = |count| Run { count, window: WINDOW, size: 0, receipts };
        world.inward(&mut phone, &session, &short(2_000));
        let inward = world.inward(&mut phone, &session, &short(count));
        world.outward(&short(2_000));
        let outward = world.outward(&short(count));
        println!("line in a session, SIP to XMPP, {word}: {inward}");
        let send = |serial| session.send(serial, &text(serial, 0), receipts);
        let received = |serial| format!("{}{}", stanza(serial, 0, false), received("juliet0", "romeo0", "x"));
        let parsed = parsing(&mut msrp_reader(), send)
            + if receipts { parsing(&mut xmpp_reader(), received) } else { 0.0 };
        println!("  of it parsing {parsed:.1} µs, {}", inward.shares);
        println!("line in a session, XMPP to SIP, {word}: {outward}");
        let parsed = parsing(&mut xmpp_reader(), |serial| stanza(serial, 0, receipts))
            + parsing(&mut msrp_reader(), |serial| session.answer(serial));
        println!("  of it parsing {parsed:.1} µs, {}", outward.shares);
    }
}

/// Sessions that are opened, and when all are there, hung up. The first run is not counted.
fn opening(count: usize) {
    let mut world = World::start();
    let mut first = 1;
    for (name, means) in [("one connection", Means::Kept), ("a connection each", Means::Own)] {
        for is_counted in [false, true] {
            let (mut kept, numbers) = (Vec::new(), first..first + count);
            let opened = world.measure(count, |world| {
                let (latencies, sessions) = world.sessions(numbers, means);
                kept = sessions;
                latencies
            });
            let ended = world.measure(count, |world| world.hang_up(kept));
            if is_counted {
                print_opening(&format!("SIP, {name}"), &opened, &ended);
            }
            first += count;
        }
    }
    for is_counted in [false, true] {
        let (mut byes, numbers) = (Vec::new(), first..first + count);
        let opened = world.measure(count, |world| {
            let (latencies, opened) = world.call(numbers);
            byes = opened;
            latencies
        });
        let ended = world.measure(count, |world| world.say_byes(byes, |_| ()));
        if is_counted {
            print_opening("us, with a line", &opened, &ended);
        }
        first += count;
    }
}

fn print_opening(by: &str, opened: &Figures, ended: &Figures) {
    println!("session opened by {by}: {opened}");
    println!("  of it {}", opened.shares);
    println!("  hung up: {:.1} µs CPU each, of it {}", ended.shares.total(), ended.shares);
}

/// Long messages.
fn large() {
    for (size, window, count) in [(1_000_000, 2, 150), (200_000, 8, 600)] {
        let mut world = World::start();
        let (mut phone, session) = world.one_session();
        let run = |count| Run { count, window, size, receipts: false };
        let rate = |cpu: f64| size as f64 / cpu;
        world.inward(&mut phone, &session, &run(count / 10));
        let inward = world.inward(&mut phone, &session, &run(count));
        println!("{size} bytes SIP to XMPP: {:.0} MB/s per core; {inward}", rate(inward.shares.total()));
        println!("  of it {}", inward.shares);
        world.outward(&run(count / 10));
        let outward = world.outward(&run(count));
        println!("{size} bytes XMPP to SIP: {:.0} MB/s per core; {outward}", rate(outward.shares.total()));
        println!("  of it {}", outward.shares);
    }
}

/// Memory of sessions that are open and say nothing, so many over each connection.
fn idle(sessions: usize, each: usize) {
    // The process may open so many files, takes at most half of them for MSRP, and needs some for itself.
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let sessions = sessions.min(each * (usize::try_from(most / 2).unwrap_or(usize::MAX) - 200));
    let mut world = World::start();
    let before = world.gateway.resident();
    let began = Instant::now();
    let kept: Vec<_> = match each {
        1 => world.keep(1..sessions + 1, Means::Own),
        _ => (1..=sessions)
            .step_by(each)
            .flat_map(|first| world.keep(first..(first + each).min(sessions + 1), Means::Kept))
            .collect(),
    };
    let opened = began.elapsed();
    std::thread::sleep(SETTLED);
    let (resident, cpu) = (world.gateway.resident(), world.gateway.cpu());
    std::thread::sleep(Duration::from_secs(5));
    println!(
        "{sessions} idle sessions, {each} a connection: {:.2} kB each resident, opened in {opened:.0?}; {:.1} ms CPU a second",
        resident.saturating_sub(before) as f64 / sessions as f64,
        world.gateway.cpu().each(cpu, 1).total() / 5e3
    );
    drop(kept);
}

/// What is told by those who read.
pub enum Event {
    /// A text with this number reached the XMPP server.
    Stanza(usize),
    /// A receipt for the stanza with this number did.
    Received(usize),
    /// The SIP peer got a message.
    Sip(Message),
    /// A SEND of ours was answered.
    Answered(String, u16),
    /// A text with this number reached the phone.
    Line(usize),
    /// A report on the message with this number did.
    Reported(usize),
}

/// A run of messages in the one session.
struct Run {
    count: usize,
    window: usize,
    /// How long a message is; 0: a line.
    size: usize,
    receipts: bool,
}

/// How a session gets its MSRP connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Means {
    /// All over a new connection.
    Kept,
    /// Each over one of its own.
    Own,
}

/// The number at the end of a text.
pub fn serial_in(text: &str) -> usize {
    text.rsplit(' ').next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// A text with its number at the end.
fn text(serial: usize, size: usize) -> String {
    let line = "Art thou not Romeo, and a Montague?";
    if size == 0 {
        return format!("{line} {serial}");
    }
    let end = format!(" {serial}");
    let mut text = format!("{line}\n").repeat(size / line.len());
    text.truncate(size - end.len());
    text + &end
}

fn stanza(serial: usize, size: usize, receipt: bool) -> String {
    let request = if receipt { "<request xmlns='urn:xmpp:receipts'/>" } else { "" };
    format!(
        "<message from='juliet0@{XMPP_DOMAIN}/balcony' to='romeo0@{SIP_DOMAIN}' type='chat' id='{serial}'>\
         <body>{}</body>{request}</message>",
        text(serial, size)
    )
}

fn received(user: &str, contact: &str, id: &str) -> String {
    format!(
        "<message from='{user}@{XMPP_DOMAIN}/balcony' to='{contact}@{SIP_DOMAIN}'><received xmlns='urn:xmpp:receipts' \
         id='{id}'/></message>"
    )
}

fn msrp_reader() -> impl FnMut(&[u8]) {
    let mut decoder = Decoder::new(1_000_000);
    move |bytes| {
        decoder.push(bytes);
        while let Some(frame) = decoder.next_frame() {
            assert!(frame.is_ok());
        }
    }
}

struct World {
    gateway: Process,
    xmpp: Stream,
    sip: TcpStream,
    /// Where the gateway takes MSRP.
    msrp: SocketAddr,
    events: Receiver<Event>,
    to_main: Sender<Event>,
    _folder: tempfile::TempDir,
    serial: usize,
}

impl World {
    fn start() -> World {
        let folder = tempfile::tempdir().unwrap();
        let component = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpListener::bind("127.0.0.1:0").unwrap();
        let phones = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = phones.local_addr().unwrap().port();
        let [address, msrp, http] = [(); 3].map(|()| world::free());
        let more = format!(
            "msrp: {{ listen: [ \"tcp://{msrp}\" ] }}\nhttp: {http}\nmessages: {{ rate: 0, max_message: 1048576 }}\n"
        );
        let setup = Setup {
            server: component.local_addr().unwrap(),
            sip: address,
            peer: peer.local_addr().unwrap(),
            of_peer: ", msrp: yes",
            more: &more,
        };
        let gateway = Process::start(folder.path(), &setup);
        let (to_main, events) = channel();
        let told = to_main.clone();
        let xmpp = Stream::accept(&component, move |text| {
            if text.contains("<received ") {
                let id = text.split("<received ").nth(1).and_then(|rest| server::attribute(rest, "id"));
                let _ = told.send(Event::Received(id?.parse().unwrap_or(0)));
                return None;
            }
            let _ = told.send(Event::Stanza(serial_in(server::body(text)?)));
            let value = |name| server::attribute(text, name).unwrap_or_default();
            let local = |jid: &'_ str| jid.split('@').next().unwrap_or_default().to_owned();
            let asks = text.contains("<request ");
            asks.then(|| received(&local(value("to")), &local(value("from")), value("id")))
        });
        wait_until_ready(http);
        let sip = TcpStream::connect(address).unwrap();
        let told = to_main.clone();
        proxy::read_all(peer, &sip, move |message| {
            let answer = match (message.status(), message.method()) {
                (None, "INVITE") => Some(phone::accept(&message, port)),
                (None, "ACK") | (Some(_), _) => None,
                _ => Some(message.ok("", "")),
            };
            let _ = told.send(Event::Sip(message));
            answer
        });
        phone::listen(phones, to_main.clone());
        World { gateway, xmpp, sip, msrp, events, to_main, _folder: folder, serial: 0 }
    }

    fn event(&self) -> Event {
        self.events.recv_timeout(Duration::from_secs(20)).expect("something happens within 20 s")
    }

    fn say(&mut self, text: &str) {
        std::io::Write::write_all(&mut self.sip, text.as_bytes()).unwrap();
    }

    /// A session of juliet0 and romeo0 that stays open.
    fn one_session(&mut self) -> (Phone, Session) {
        let (phone, mut sessions) = self.keep(0..1, Means::Kept).pop().unwrap();
        (phone, sessions.pop().unwrap())
    }

    /// Takes the figures of something that is done so many times.
    fn measure(&mut self, count: usize, work: impl FnOnce(&mut World) -> Vec<Duration>) -> Figures {
        let (cpu, began) = (self.gateway.cpu(), Instant::now());
        let latencies = work(self);
        Figures::of(self.gateway.cpu().each(cpu, count), began.elapsed(), latencies)
    }

    /// Messages from the phone; a latency is the time to the answer.
    fn inward(&mut self, phone: &mut Phone, session: &Session, run: &Run) -> Figures {
        self.measure(run.count, |world| {
            let mut sent: HashMap<String, Instant> = HashMap::new();
            let mut latencies = Vec::with_capacity(run.count);
            let (mut written, mut arrived, mut reported) = (0, 0, 0);
            let reports = if run.receipts { run.count } else { 0 };
            while latencies.len() < run.count || arrived < run.count || reported < reports {
                while written < run.count && sent.len() < run.window {
                    world.serial += 1;
                    written += 1;
                    phone.say(&session.send(world.serial, &text(world.serial, run.size), run.receipts));
                    sent.insert(format!("line{}", world.serial), Instant::now());
                }
                match world.event() {
                    Event::Answered(tid, code) => {
                        assert_eq!(code, 200);
                        latencies.extend(sent.remove(&tid).map(|at| at.elapsed()));
                    }
                    Event::Stanza(_) => arrived += 1,
                    Event::Reported(_) => reported += 1,
                    _ => {}
                }
            }
            latencies
        })
    }

    /// Messages from XMPP; a latency is the time to their arrival at the phone.
    fn outward(&mut self, run: &Run) -> Figures {
        self.measure(run.count, |world| {
            let mut sent: HashMap<usize, Instant> = HashMap::new();
            let mut latencies = Vec::with_capacity(run.count);
            let (mut written, mut received) = (0, 0);
            let receipts = if run.receipts { run.count } else { 0 };
            while latencies.len() < run.count || received < receipts {
                while written < run.count && sent.len() < run.window {
                    world.serial += 1;
                    written += 1;
                    world.xmpp.say(&stanza(world.serial, run.size, run.receipts));
                    sent.insert(world.serial, Instant::now());
                }
                match world.event() {
                    Event::Line(serial) => latencies.extend(sent.remove(&serial).map(|at| at.elapsed())),
                    Event::Received(_) => received += 1,
                    _ => {}
                }
            }
            latencies
        })
    }

    /// Opens sessions over SIP and keeps them, with their connections.
    fn keep(&mut self, numbers: Range<usize>, means: Means) -> Vec<(Phone, Vec<Session>)> {
        self.sessions(numbers, means).1
    }

    /// The same. A latency is the time from INVITE to the session's being bound to its connection.
    fn sessions(
        &mut self,
        numbers: Range<usize>,
        means: Means,
    ) -> (Vec<Duration>, Vec<(Phone, Vec<Session>)>) {
        let mut phone = (means == Means::Kept).then(|| Phone::connect(self.msrp, &self.to_main));
        let (mut sent, mut answered) = (HashMap::new(), HashSet::new());
        let (mut open, mut own) = (Vec::new(), Vec::new());
        let mut latencies = Vec::new();
        let (count, at_once) = (numbers.len(), at_once());
        let mut numbers = numbers.into_iter();
        while latencies.len() < count {
            while sent.len() < at_once
                && let Some(number) = numbers.next()
            {
                self.say(&phone::invite(number, number));
                sent.insert(number, Instant::now());
            }
            let bound = match self.event() {
                Event::Sip(message) if message.status().is_none() => continue,
                Event::Sip(message) if message.value("CSeq").ends_with("INVITE") => {
                    assert!(message.status() <= Some(200), "{:?}", message.head);
                    if message.status() != Some(200) {
                        continue;
                    }
                    let number = phone::number_of(&message);
                    self.say(&phone::inside("ACK", number, &message));
                    if !answered.insert(number) {
                        // The same again: it was slow to see the ACK.
                        continue;
                    }
                    let session = Session::of(number, &message);
                    let bind = session.bind(number);
                    match &mut phone {
                        Some(phone) => {
                            phone.say(&bind);
                            open.push(session);
                            continue;
                        }
                        None => {
                            let mut phone = Phone::bare(self.msrp);
                            phone.ask(&bind);
                            own.push((phone, vec![session]));
                            number
                        }
                    }
                }
                Event::Answered(tid, code) => {
                    assert_eq!(code, 200);
                    tid.trim_start_matches("bind").parse().unwrap()
                }
                _ => continue,
            };
            latencies.extend(sent.remove(&bound).map(|at| at.elapsed()));
        }
        own.extend(phone.map(|phone| (phone, open)));
        (latencies, own)
    }

    /// Hangs up sessions that we have opened, and closes what connections have no others. A latency is the time to the
    /// answer.
    fn hang_up(&mut self, kept: Vec<(Phone, Vec<Session>)>) -> Vec<Duration> {
        let mut phones: HashMap<usize, Rc<Phone>> = HashMap::new();
        let mut byes = Vec::new();
        for (phone, sessions) in kept {
            let phone = Rc::new(phone);
            for session in sessions {
                phones.insert(session.bye.0, phone.clone());
                byes.push(session.bye);
            }
        }
        self.say_byes(byes, |number| drop(phones.remove(&number)))
    }

    /// Says each BYE, and tells whose was answered.
    fn say_byes(&mut self, byes: Vec<(usize, String)>, mut ended: impl FnMut(usize)) -> Vec<Duration> {
        let (mut sent, mut latencies) = (HashMap::new(), Vec::new());
        let (count, at_once) = (byes.len(), at_once());
        let mut byes = byes.into_iter();
        while latencies.len() < count {
            while sent.len() < at_once
                && let Some((number, bye)) = byes.next()
            {
                self.say(&bye);
                sent.insert(number, Instant::now());
            }
            if let Event::Sip(message) = self.event()
                && message.status().is_some()
                && message.value("CSeq").ends_with("BYE")
            {
                assert_eq!(message.status(), Some(200), "{:?}", message.head);
                let number = phone::number_of(&message);
                latencies.extend(sent.remove(&number).map(|at: Instant| at.elapsed()));
                ended(number);
            }
        }
        latencies
    }

    /// Has the gateway open sessions by a line in each; with their BYEs. A latency is the time from the stanza to the
    /// line's arrival at the phone.
    fn call(&mut self, numbers: Range<usize>) -> (Vec<Duration>, Vec<(usize, String)>) {
        let (mut sent, mut invites) = (HashMap::<usize, Instant>::new(), HashMap::new());
        let (mut latencies, mut byes, count) = (Vec::new(), Vec::new(), numbers.len());
        let mut numbers = numbers.into_iter();
        while latencies.len() < count {
            while sent.len() < at_once()
                && let Some(number) = numbers.next()
            {
                self.xmpp.say(&format!(
                    "<message from='juliet{number}@{XMPP_DOMAIN}/balcony' to='romeo{number}@{SIP_DOMAIN}' type='chat' \
                     id='{number}'><body>{}</body></message>",
                    text(number, 0)
                ));
                sent.insert(number, Instant::now());
            }
            match self.event() {
                Event::Sip(message) if message.method() == "INVITE" => {
                    invites.insert(phone::number_of(&message), message);
                }
                Event::Line(number) => {
                    latencies.extend(sent.remove(&number).map(|at| at.elapsed()));
                    byes.push((number, phone::bye(number, &invites.remove(&number).unwrap())));
                }
                _ => {}
            }
        }
        (latencies, byes)
    }
}
