//! What rooms of XMPP with SIP users in them cost, through sockets: the gateway is a process of its own and only its CPU time
//! is counted; the XMPP server with its rooms, the SIP peer and the phones with an MSRP connection each are played here.
//!
//! `cargo bench --bench rooms` prints one table: CPU per delivery of a line in a room of 50 XMPP and 50 SIP users, said by
//! either side; the join of the 200th SIP user in a room of 200 XMPP users, without and with everybody watching the roster;
//! what a change of that roster costs; memory of a SIP occupant in such rooms. A word selects what is measured: `lines`,
//! `joins`, `idle`. `LINES=n` says how many lines a run has (1,000), `ROOMS=n` how many rooms are idle (10). Everything is
//! durable, as in the field. Compare figures of one run only.

#![allow(clippy::disallowed_types, clippy::unwrap_used, reason = "a load generator is shell")]

#[path = "world/mod.rs"]
mod world;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use mostar::msrp::frame::Frame;
use mostar::msrp::frame::decoder::Decoder;
use world::process::{Process, Setup, wait_until_ready};
use world::proxy::Message;
use world::server::{Stream, attribute, body};
use world::{ROOMS_DOMAIN, SIP_DOMAIN, number, proxy};

/// What is known of calls and NOTIFYs is dropped half a minute later.
const SETTLED: Duration = Duration::from_secs(45);
/// So many lines are on their way at once.
const WINDOW: usize = 20;
/// The joins at the end, whose mean is the figure: the clock of CPU time ticks every 10 ms.
const LAST: usize = 40;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|word| word == name);
    println!("{:62} {:>10}  of it", "", "");
    if is_wanted("lines") {
        lines(number("LINES", 1_000));
    }
    if is_wanted("joins") {
        joins(false);
        joins(true);
    }
    if is_wanted("idle") {
        idle(number("ROOMS", 10));
    }
}

fn row(what: &str, figure: &str, more: &str) {
    println!("{what:62} {figure:>10}  {more}");
}

/// Lines in a room of fifty and fifty.
fn lines(count: usize) {
    let mut world = World::start(50);
    let mut phones: Vec<Phone> = (0..50).map(|user| world.join(0, user)).collect();
    for counted in [false, true] {
        let count = if counted { count } else { count / 5 };
        let cpu = world.gateway.cpu();
        for first in (0..count).step_by(WINDOW) {
            let goal = world.heard() + WINDOW * phones.len();
            (first..first + WINDOW).for_each(|serial| world.muc.says("Juliet 0", serial, &world.xmpp));
            world.wait_for(goal);
        }
        let each = world.gateway.cpu().each(cpu, count * phones.len());
        if counted {
            row(
                "a line of an XMPP user's, per SIP user who hears it",
                &micros(each.total()),
                &each.to_string(),
            );
        }
    }
    for counted in [false, true] {
        let count = if counted { count } else { count / 5 };
        let cpu = world.gateway.cpu();
        for first in (0..count).step_by(WINDOW) {
            let goal = world.heard() + WINDOW * (phones.len() - 1);
            (first..first + WINDOW).for_each(|serial| phones[serial % 50].talk(serial));
            world.wait_for(goal);
        }
        // Fifty of XMPP hear it from their server.
        let each = world.gateway.cpu().each(cpu, count * 99);
        let other = world.gateway.cpu().each(cpu, count * 49);
        if counted {
            row(
                "a line of a SIP user's, per user of either side who hears it",
                &micros(each.total()),
                &each.to_string(),
            );
            row("  per SIP user who hears it", &micros(other.total()), &other.to_string());
        }
    }
}

/// Two hundred SIP users enter a room of two hundred, one behind the other.
fn joins(watched: bool) {
    let mut world = World::start(200);
    let with = if watched { "all watch" } else { "nobody watches" };
    let mut phones = Vec::new();
    let (mut took, mut cpu, mut last) = (Vec::new(), world.gateway.cpu(), Duration::ZERO);
    for user in 0..200 {
        if user == 200 - LAST {
            thread::sleep(Duration::from_millis(1500));
            cpu = world.gateway.cpu();
        }
        let began = Instant::now();
        phones.push(world.call(0, user));
        last = began.elapsed();
        took.push(last);
        if watched {
            world.watch(0, user);
        }
        // As people come: one in a while.
        thread::sleep(Duration::from_millis(25));
    }
    thread::sleep(Duration::from_millis(1500));
    let each = world.gateway.cpu().each(cpu, LAST);
    let mut late = took.split_off(200 - LAST);
    late.sort();
    row(
        &format!("the join of the 200th SIP user, {with}: INVITE to 200"),
        &format!("{:.2} ms", late[LAST / 2].as_secs_f64() * 1e3),
        &format!(
            "median of {LAST}; slowest {:.2} ms, the 200th {:.2} ms",
            late[LAST - 1].as_secs_f64() * 1e3,
            last.as_secs_f64() * 1e3
        ),
    );
    row(&format!("  CPU of one join, {with}"), &format!("{:.2} ms", each.total() / 1e3), &each.to_string());
    if watched {
        let (cpu, notifies) = (world.gateway.cpu(), world.notifies.load(Ordering::Relaxed));
        for number in 0..20 {
            world.muc.comes(&format!("Nurse {number}"), &world.xmpp);
            thread::sleep(Duration::from_millis(1200));
        }
        let notifies = world.notifies.load(Ordering::Relaxed) - notifies;
        let each = world.gateway.cpu().each(cpu, 20);
        row(
            "a change of a roster of 400 that 200 watch",
            &format!("{:.2} ms", each.total() / 1e3),
            &format!("200 presences in, {} NOTIFYs and their answers; {each}", notifies / 20),
        );
    }
}

/// Memory of those who are in and say nothing, each with an MSRP connection and a subscription.
fn idle(rooms: usize) {
    let mut world = World::start(200);
    let before = world.gateway.resident();
    let mut phones = Vec::new();
    for room in 0..rooms {
        for user in 0..200 {
            phones.push(world.call(room, user));
            world.watch(room, user);
        }
    }
    thread::sleep(SETTLED);
    let each = world.gateway.resident().saturating_sub(before) as f64 / phones.len() as f64;
    let (cpu, seconds) = (world.gateway.cpu(), 5);
    thread::sleep(Duration::from_secs(seconds));
    let idle = world.gateway.cpu().each(cpu, seconds as usize).total() / 1e3;
    row(
        &format!("memory of a SIP occupant, {} in {rooms} rooms of 200 and 200", phones.len()),
        &format!("{each:.1} kB"),
        &format!("resident, with an MSRP connection and a subscription; {idle:.1} ms CPU a second"),
    );
}

fn micros(figure: f64) -> String {
    format!("{figure:.1} µs")
}

/// The rooms of the XMPP server.
#[derive(Clone)]
struct Muc(Arc<Mutex<Rooms>>);

#[derive(Default)]
struct Rooms {
    natives: usize,
    /// Those of SIP, by room: nick and address.
    seats: HashMap<String, Vec<(String, String)>>,
}

impl Muc {
    /// The server has a stanza of the gateway's; what it says to it.
    fn hears(&self, text: &str) -> Option<String> {
        let (from, to) = (attribute(text, "from")?, attribute(text, "to")?);
        let mut rooms = self.0.lock().unwrap();
        let (room, nick) = to.split_once('/').unwrap_or((to, ""));
        if text.starts_with("<message") {
            let seats = rooms.seats.get(room)?;
            let (nick, _) = seats.iter().find(|(_, jid)| jid == from)?;
            return Some(line(room, nick, seats, attribute(text, "id")?, body(text)?));
        }
        if text.contains("type='unavailable'") {
            return None;
        }
        let natives = rooms.natives;
        let seats = rooms.seats.entry(room.to_owned()).or_default();
        let mut said = String::new();
        (0..natives).for_each(|number| presence(&mut said, room, &format!("Juliet {number}"), from, ""));
        seats.iter().for_each(|(other, _)| presence(&mut said, room, other, from, ""));
        seats.iter().for_each(|(_, jid)| presence(&mut said, room, nick, jid, ""));
        presence(&mut said, room, nick, from, "<status code='110'/>");
        let _ = write!(said, "<message from='{room}' to='{from}' type='groupchat'><subject/></message>");
        seats.push((nick.to_owned(), from.to_owned()));
        Some(said)
    }

    /// Somebody of XMPP says something in the first room.
    fn says(&self, nick: &str, serial: usize, xmpp: &Stream) {
        let rooms = self.0.lock().unwrap();
        let room = room(0);
        xmpp.say(&line(&room, nick, &rooms.seats[&room], &format!("x{serial}"), &words(serial)));
    }

    /// Somebody of XMPP comes into the first room.
    fn comes(&self, nick: &str, xmpp: &Stream) {
        let rooms = self.0.lock().unwrap();
        let (room, mut said) = (room(0), String::new());
        rooms.seats[&room].iter().for_each(|(_, jid)| presence(&mut said, &room, nick, jid, ""));
        xmpp.say(&said);
    }
}

fn room(number: usize) -> String {
    format!("verona{number}@{ROOMS_DOMAIN}")
}

fn words(serial: usize) -> String {
    format!("Art thou not Romeo, and a Montague? {serial}")
}

fn presence(said: &mut String, room: &str, nick: &str, to: &str, status: &str) {
    let _ = write!(
        said,
        "<presence from='{room}/{nick}' to='{to}'><x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='none' \
         role='participant'/>{status}</x></presence>"
    );
}

fn line(room: &str, nick: &str, seats: &[(String, String)], id: &str, text: &str) -> String {
    let mut said = String::new();
    for (_, to) in seats {
        let _ = write!(
            said,
            "<message from='{room}/{nick}' to='{to}' type='groupchat' id='{id}'><body>{text}</body><stanza-id \
             xmlns='urn:xmpp:sid:0' id='{id}' by='{room}'/></message>"
        );
    }
    said
}

/// A SIP user in a room.
struct Phone {
    socket: TcpStream,
    ours: String,
    theirs: String,
    room: String,
    user: usize,
}

impl Phone {
    /// Says something to all.
    fn talk(&mut self, serial: usize) {
        let Phone { ours, theirs, room, user, .. } = self;
        let envelope = format!(
            "From: <sip:romeo{user}@{SIP_DOMAIN}>\r\nTo: <sip:{room}>\r\n\r\nContent-Type: text/plain\r\n\r\n{}",
            words(serial)
        );
        let text = format!(
            "MSRP line{serial} SEND\r\nTo-Path: {theirs}\r\nFrom-Path: {ours}\r\nMessage-ID: {user:04}{serial:08}\r\n\
             Byte-Range: 1-{0}/{0}\r\nContent-Type: message/cpim\r\n\r\n{envelope}\r\n-------line{serial}$\r\n",
            envelope.len()
        );
        self.socket.write_all(text.as_bytes()).unwrap();
    }

    /// Answers what comes, and counts the lines.
    fn listens(&self, heard: Arc<AtomicUsize>) {
        let mut socket = self.socket.try_clone().unwrap();
        thread::spawn(move || {
            let (mut decoder, mut piece) = (Decoder::new(1 << 20), vec![0; 1 << 16]);
            while let Ok(length @ 1..) = socket.read(&mut piece) {
                decoder.push(&piece[..length]);
                let (mut answers, mut lines) = (BytesMut::new(), 0);
                while let Some(frame) = decoder.next_frame() {
                    match frame.expect("a frame") {
                        Frame::Response(response) => assert_eq!(response.code, 200),
                        Frame::Request(request) => {
                            lines += usize::from(request.body.is_some());
                            if let Some(response) = request.response(200) {
                                response.write(&mut answers);
                            }
                        }
                    }
                }
                if !answers.is_empty() && socket.write_all(&answers).is_err() {
                    return;
                }
                heard.fetch_add(lines, Ordering::Relaxed);
            }
        });
    }
}

struct World {
    gateway: Process,
    xmpp: Stream,
    muc: Muc,
    sip: TcpStream,
    /// Where the gateway's requests go.
    peer: SocketAddr,
    msrp: SocketAddr,
    answers: Receiver<Message>,
    heard: Arc<AtomicUsize>,
    notifies: Arc<AtomicUsize>,
    accepted: HashMap<(usize, usize), Message>,
    _folder: tempfile::TempDir,
}

impl World {
    fn start(natives: usize) -> World {
        let folder = tempfile::tempdir().unwrap();
        let component = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpListener::bind("127.0.0.1:0").unwrap();
        let [address, msrp, http] = [(); 3].map(|()| world::free());
        let more =
            format!("msrp: {{ listen: [ \"tcp://{msrp}\" ] }}\nhttp: {http}\nmessages: {{ rate: 0 }}\n");
        let setup = Setup {
            server: component.local_addr().unwrap(),
            sip: address,
            peer: peer.local_addr().unwrap(),
            of_peer: ", msrp: yes",
            more: &more,
        };
        let peer_address = setup.peer;
        let gateway = Process::start(folder.path(), &setup);
        let muc = Muc(Arc::new(Mutex::new(Rooms { natives, ..Rooms::default() })));
        let rooms = muc.clone();
        let xmpp = Stream::accept(&component, move |text| rooms.hears(text));
        wait_until_ready(http);
        let sip = TcpStream::connect(address).unwrap();
        sip.set_nodelay(true).unwrap();
        let (to_main, answers) = channel();
        let notifies = Arc::new(AtomicUsize::new(0));
        let counted = notifies.clone();
        proxy::read_all(peer, &sip, move |message| {
            if message.status().is_some() {
                let _ = to_main.send(message);
                return None;
            }
            counted.fetch_add(usize::from(message.method() == "NOTIFY"), Ordering::Relaxed);
            (message.method() != "ACK").then(|| message.ok("", ""))
        });
        let (heard, accepted) = (Arc::default(), HashMap::new());
        World {
            gateway,
            xmpp,
            muc,
            sip,
            peer: peer_address,
            msrp,
            answers,
            heard,
            notifies,
            accepted,
            _folder: folder,
        }
    }

    fn heard(&self) -> usize {
        self.heard.load(Ordering::Relaxed)
    }

    fn wait_for(&self, goal: usize) {
        let patience = Instant::now() + Duration::from_secs(20);
        while self.heard() < goal {
            assert!(Instant::now() < patience, "{} of {goal} lines are heard", self.heard());
            thread::sleep(Duration::from_micros(200));
        }
    }

    /// Sends a request, and waits for its final answer.
    fn ask(
        &mut self,
        method: &str,
        uri: &str,
        dialog: &str,
        cseq: u32,
        more: &str,
        body: &str,
    ) -> Option<Message> {
        let text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK{method}{cseq}{0}\r\nMax-Forwards: 69\r\n{dialog}\
             CSeq: {cseq} {method}\r\nContact: <sip:romeo@{2};transport=tcp>\r\n{more}Content-Length: {1}\r\n\r\n{body}",
            dialog.split("Call-ID: ").nth(1).unwrap_or_default().trim(),
            body.len(),
            self.peer
        );
        self.sip.write_all(text.as_bytes()).unwrap();
        if method == "ACK" {
            return None;
        }
        loop {
            let answer = self.answers.recv_timeout(Duration::from_secs(20)).expect("an answer within 20 s");
            if answer.status() >= Some(200) && answer.value("CSeq").ends_with(method) {
                assert_eq!(answer.status(), Some(200), "{:?}", answer.head);
                return Some(answer);
            }
        }
    }

    /// Somebody enters a room, and has an MSRP connection; it is not read.
    fn call(&mut self, number: usize, user: usize) -> Phone {
        let room = room(number);
        let dialog = format!(
            "From: \"Romeo {user}\" <sip:romeo{user}@{SIP_DOMAIN}>;tag=t{user}\r\nTo: <sip:{room}>\r\nCall-ID: \
             r{number}u{user}\r\n"
        );
        let ours = format!("msrp://127.0.0.1:9/r{number}phone{user:04};tcp");
        let body = format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=message 9 TCP/MSRP *\r\na=path:{ours}\r\n\
             a=accept-types:message/cpim\r\na=accept-wrapped-types:*\r\na=setup:active\r\na=chatroom:nickname private-messages\r\n"
        );
        let uri = format!("sip:{room}");
        let answer =
            self.ask("INVITE", &uri, &dialog, 1, "Content-Type: application/sdp\r\n", &body).unwrap();
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let theirs =
            text.split("a=path:").nth(1).and_then(|rest| rest.lines().next()).expect("a path").to_owned();
        let (uri, dialog) = dialog_of(&answer);
        self.ask("ACK", &uri, &dialog, 1, "", "");
        self.accepted.insert((number, user), answer);
        let mut socket = TcpStream::connect(self.msrp).unwrap();
        socket.set_nodelay(true).unwrap();
        let hello = format!(
            "MSRP bind{user:04} SEND\r\nTo-Path: {theirs}\r\nFrom-Path: {ours}\r\nMessage-ID: bind{user:04}\r\n\
             Byte-Range: 1-0/0\r\n-------bind{user:04}$\r\n"
        );
        socket.write_all(hello.as_bytes()).unwrap();
        Phone { socket, ours, theirs, room, user }
    }

    /// Somebody enters, and hears.
    fn join(&mut self, number: usize, user: usize) -> Phone {
        let phone = self.call(number, user);
        phone.listens(self.heard.clone());
        phone
    }

    /// Somebody who is in watches the roster.
    fn watch(&mut self, number: usize, user: usize) {
        let (uri, dialog) = dialog_of(&self.accepted[&(number, user)]);
        let more = "Event: conference\r\nExpires: 3600\r\nAccept: application/conference-info+xml\r\n";
        self.ask("SUBSCRIBE", &uri, &dialog, 2, more, "");
    }
}

/// Where requests in a dialog go, and what stands in them.
fn dialog_of(answer: &Message) -> (String, String) {
    let contact = answer.value("Contact");
    let uri = contact.split(['<', '>']).nth(1).unwrap_or(contact).to_owned();
    let (from, to, call) = (answer.value("From"), answer.value("To"), answer.value("Call-ID"));
    (uri, format!("From: {from}\r\nTo: {to}\r\nCall-ID: {call}\r\n"))
}
