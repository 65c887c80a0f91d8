//! Half an hour of everything, with faults: memory and open files must not grow. The gateway is a process of its own; the
//! XMPP server with its rooms, the SIP peer and the phones are played here.
//!
//! Meanwhile: messages both ways, contacts that are added and removed, watchers that come and go, chat sessions that either
//! side opens, SIP users who enter a room, talk there and leave. Every half minute a fault: the stream of the component ends,
//! the server is away for some seconds, the SIP connections break, the peer is silent, the process sleeps (SIGSTOP).
//!
//! Memory and files are looked at every two seconds; over the last twenty minutes a line is laid through them (least squares),
//! and its growth over that time is compared with what is held. At the end all that is open is ended, and the figures of
//! `/metrics` must say that nothing is left.
//!
//! The people are always the same: whom the gateway has never met is remembered in tables that have limits
//! (`docs/limits.md`) and are far from full after half an hour, which would look like a leak.
//!
//! `cargo bench --bench soak -- --minutes 30`; `RATE=n` (40) says how many messages go each way in a second.

#![allow(clippy::disallowed_types, clippy::unwrap_used, reason = "a load generator is shell")]

#[path = "chat/phone.rs"]
#[allow(dead_code, reason = "the benchmark of chats uses more of it")]
mod phone;
mod world;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use phone::Session;
use world::process::{Process, Setup, wait_until_ready};
use world::proxy::Message;
use world::server::{Stream, attribute, body};
use world::{ROOMS_DOMAIN, SIP_DOMAIN, XMPP_DOMAIN, figure, number, proxy};

/// How many people there are on each side.
const PEOPLE: usize = 200;
/// How many of them on the SIP side call somebody: the last sixteen Call-IDs of each pair are remembered, and so few have had
/// as many before it is measured.
const CALLERS: usize = 40;
/// Between two looks.
const LOOK: Duration = Duration::from_secs(2);
/// Between two faults.
const FAULT: Duration = Duration::from_secs(30);
/// How long the past decides what is held: answers are known for six minutes, and who was silent once is called again after
/// ten. So the same people's lines go in sessions and in MESSAGEs by turns, and half an hour has two such turns behind this.
const PAST: Duration = Duration::from_secs(600);
/// So much of what is held may growth be that is none: what is counted in pages is never quite at rest.
const NOISE: f64 = 0.05;

/// What phones tell.
pub enum Event {
    /// A SEND of ours was answered.
    Answered(String, u16),
    /// A text reached the phone.
    Line(usize),
    /// A report did.
    Reported(usize),
}

/// Phones want a number of each text.
pub fn serial_in(text: &str) -> usize {
    text.rsplit(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let minutes =
        words.iter().position(|word| word == "--minutes").and_then(|at| words.get(at + 1)?.parse().ok());
    let time = Duration::from_secs_f64(minutes.unwrap_or(30.0) * 60.0);
    let mut soak = Soak::start();
    let began = Instant::now();
    let (mut looks, mut faults, mut rounds) = (Vec::new(), 0, 0);
    while began.elapsed() < time {
        soak.act(rounds);
        rounds += 1;
        if began.elapsed() > FAULT * (faults + 1) {
            soak.fault(faults);
            faults += 1;
        }
        if began.elapsed() > LOOK * looks.len() as u32 {
            let look = Look {
                at: began.elapsed().as_secs_f64(),
                memory: soak.gateway.resident() as f64,
                files: soak.gateway.files() as f64,
            };
            if looks.len() % 15 == 0 {
                println!(
                    "{:5.0} s: {:6.0} kB, {} files; {}",
                    look.at,
                    look.memory,
                    look.files,
                    soak.counts.text()
                );
            }
            looks.push(look);
        }
        thread::sleep(Duration::from_millis(100).saturating_sub(
            began.elapsed().saturating_sub(Duration::from_millis(100) * (rounds as u32 - 1)),
        ));
    }
    println!("{faults} faults; {}", soak.counts.text());
    let from = PAST.as_secs_f64().min(time.as_secs_f64() * 0.7);
    let later: Vec<&Look> = looks.iter().filter(|look| look.at >= from).collect();
    for (name, of) in
        [("memory", (|look: &Look| look.memory) as fn(&Look) -> f64), ("files", |look| look.files)]
    {
        let growth = growth(&later, of);
        let what = format!(
            "growth of {name} over the last {:.0} of {:.0} minutes with faults",
            (time.as_secs_f64() - from) / 60.0,
            time.as_secs_f64() / 60.0
        );
        figure(&what, "0 ± 5 %", &format!("{:.1} %", growth * 100.0), growth.max(0.0) / NOISE);
    }
    let left = soak.end();
    figure("what is left when all is over", "0", &left.to_string(), left as f64);
    assert_eq!(left, 0, "something is left");
}

struct Look {
    at: f64,
    memory: f64,
    files: f64,
}

/// How much larger the line through the looks is at its end than at its beginning, as a part of their mean.
fn growth(looks: &[&Look], of: fn(&Look) -> f64) -> f64 {
    let count = looks.len().max(1) as f64;
    let mean = |of: &dyn Fn(&Look) -> f64| looks.iter().map(|look| of(look)).sum::<f64>() / count;
    let (time, value) = (mean(&|look| look.at), mean(&of));
    let above: f64 = looks.iter().map(|look| (look.at - time) * (of(look) - value)).sum();
    let below: f64 = looks.iter().map(|look| (look.at - time).powi(2)).sum();
    let span = looks.last().map_or(0.0, |last| last.at - looks[0].at);
    above / below.max(1e-9) * span / value.max(1.0)
}

/// What has happened.
#[derive(Default)]
struct Counts {
    to_xmpp: AtomicUsize,
    to_sip: AtomicUsize,
    lines: AtomicUsize,
    sessions: AtomicUsize,
    seats: AtomicUsize,
    presences: AtomicUsize,
    notifies: AtomicUsize,
}

impl Counts {
    fn text(&self) -> String {
        let of = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        format!(
            "{} messages to XMPP, {} to SIP, {} lines in {} sessions, {} seats, {} presences, {} NOTIFYs",
            of(&self.to_xmpp),
            of(&self.to_sip),
            of(&self.lines),
            of(&self.sessions),
            of(&self.seats),
            of(&self.presences),
            of(&self.notifies)
        )
    }
}

fn add(count: &AtomicUsize) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// What the played sides share.
struct Shared {
    counts: Arc<Counts>,
    /// What is to be said over SIP, and when.
    due: Mutex<Vec<(Instant, String)>>,
    /// Nobody answers over SIP.
    silent: AtomicBool,
    /// Where the gateway takes MSRP, and where the phones do.
    msrp: SocketAddr,
    phones: u16,
    /// Where the SIP peer is.
    peer: SocketAddr,
    serial: AtomicUsize,
}

impl Shared {
    fn serial(&self) -> usize {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }

    fn say_later(&self, millis: u64, text: String) {
        self.due.lock().unwrap().push((Instant::now() + Duration::from_millis(millis), text));
    }
}

struct Soak {
    gateway: Process,
    component: TcpListener,
    server: Option<Stream>,
    /// When the server is there again.
    away_until: Option<Instant>,
    address: SocketAddr,
    sip: TcpStream,
    /// The connections that the gateway has opened to the peer.
    opened: Arc<Mutex<Vec<TcpStream>>>,
    http: SocketAddr,
    shared: Arc<Shared>,
    counts: Arc<Counts>,
    events: Receiver<Event>,
    _folder: tempfile::TempDir,
}

impl Soak {
    fn start() -> Soak {
        let folder = tempfile::tempdir().unwrap();
        let component = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpListener::bind("127.0.0.1:0").unwrap();
        let phones = TcpListener::bind("127.0.0.1:0").unwrap();
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
        let gateway = Process::start(folder.path(), &setup);
        let counts = Arc::new(Counts::default());
        let shared = Arc::new(Shared {
            counts: counts.clone(),
            due: Mutex::default(),
            silent: AtomicBool::new(false),
            msrp,
            phones: phones.local_addr().unwrap().port(),
            peer: peer.local_addr().unwrap(),
            serial: AtomicUsize::new(1),
        });
        let server = Some(serve(&component, &shared));
        wait_until_ready(http);
        let sip = TcpStream::connect(address).unwrap();
        let opened = Arc::new(Mutex::new(Vec::new()));
        listen(peer, &shared, &opened);
        read(&sip, &shared);
        let (told, events) = channel();
        phone::listen(phones, told);
        Soak {
            gateway,
            component,
            server,
            away_until: None,
            address,
            sip,
            opened,
            http,
            shared,
            counts,
            events,
            _folder: folder,
        }
    }

    /// A tenth of a second of it.
    fn act(&mut self, round: usize) {
        self.come_back();
        let now = Instant::now();
        let due: Vec<String> = {
            let mut due = self.shared.due.lock().unwrap();
            let (ready, later) = std::mem::take(&mut *due).into_iter().partition(|(at, _)| *at <= now);
            *due = later;
            let ready: Vec<(Instant, String)> = ready;
            ready.into_iter().map(|(_, text)| text).collect()
        };
        due.iter().for_each(|text| self.say(text));
        for _ in 0..number("RATE", 40) / 10 {
            let serial = self.shared.serial();
            let text = request(
                "MESSAGE",
                serial,
                "",
                "Content-Type: text/plain\r\n",
                &format!("Art thou not Romeo? {serial}"),
            );
            self.say(&text);
            self.tell(&format!(
                "<message from='juliet{}@{XMPP_DOMAIN}/balcony' to='romeo{}@{SIP_DOMAIN}' type='chat' id='s{serial}'>\
                 <body>Art thou not Romeo? {serial}</body></message>",
                serial % PEOPLE,
                (serial + 1) % PEOPLE
            ));
        }
        let who = round % PEOPLE;
        let (user, contact) =
            (format!("juliet{who}@{XMPP_DOMAIN}"), format!("romeo{}@{SIP_DOMAIN}", (who * 7) % PEOPLE));
        // A roster entry comes, her device comes and goes, and in the next round of all the entry goes.
        let type_ = if (round / PEOPLE).is_multiple_of(2) { "subscribe" } else { "unsubscribe" };
        self.tell(&format!("<presence type='{type_}' from='{user}' to='{contact}'/>"));
        let there = if round.is_multiple_of(3) { " type='unavailable'" } else { "" };
        self.tell(&format!("<presence from='{user}/balcony' to='{contact}'{there}/>"));
        if round.is_multiple_of(2) {
            // A watcher for a minute.
            let serial = self.shared.serial();
            let more = "Event: presence\r\nExpires: 60\r\n";
            let text = request("SUBSCRIBE", serial, "", more, "");
            let text = text.replace("@127.0.0.1;transport", &format!("@{};transport", self.shared.peer));
            self.say(&text);
        }
        if round.is_multiple_of(5) {
            let serial = self.shared.serial();
            self.say(&phone::invite(serial, round / 5 % CALLERS));
        }
        if round % 20 == 10 {
            let serial = self.shared.serial();
            let text = enter(serial);
            self.say(&text);
        }
        while self.events.try_recv().is_ok() {
            add(&self.counts.lines);
        }
    }

    fn say(&mut self, text: &str) {
        if self.sip.write_all(text.as_bytes()).is_err() {
            self.sip = TcpStream::connect(self.address).unwrap();
            read(&self.sip, &self.shared);
        }
    }

    fn tell(&self, text: &str) {
        if let Some(server) = &self.server {
            server.try_to_say(text);
        }
    }

    fn come_back(&mut self) {
        self.shared.silent.fetch_and(self.away_until.is_some(), Ordering::Relaxed);
        if self.away_until.is_some_and(|until| Instant::now() >= until) {
            self.away_until = None;
            self.shared.silent.store(false, Ordering::Relaxed);
            if self.server.is_none() {
                self.server = Some(serve(&self.component, &self.shared));
            }
        }
    }

    fn fault(&mut self, number: u32) {
        match number % 5 {
            0 => {
                if let Some(server) = self.server.take() {
                    server.cut();
                }
                self.server = Some(serve(&self.component, &self.shared));
            }
            1 => {
                if let Some(server) = self.server.take() {
                    server.cut();
                }
                self.away_until = Some(Instant::now() + Duration::from_secs(8));
            }
            2 => {
                let _ = self.sip.shutdown(std::net::Shutdown::Both);
                for connection in self.opened.lock().unwrap().drain(..) {
                    let _ = connection.shutdown(std::net::Shutdown::Both);
                }
            }
            3 => {
                self.shared.silent.store(true, Ordering::Relaxed);
                self.away_until = Some(Instant::now() + Duration::from_secs(5));
            }
            _ => {
                self.gateway.signal("STOP");
                thread::sleep(Duration::from_secs(3));
                self.gateway.signal("CONT");
            }
        }
    }

    /// Ends what is open, and waits for what ends by itself. How much is left by the figures.
    fn end(&mut self) -> i64 {
        self.away_until = Some(Instant::now());
        self.come_back();
        for pass in 0..2 {
            for who in 0..PEOPLE {
                let (user, contact) = (
                    format!("juliet{who}@{XMPP_DOMAIN}"),
                    format!("romeo{}@{SIP_DOMAIN}", (who * 7) % PEOPLE),
                );
                self.tell(&format!("<presence type='unsubscribe' from='{user}' to='{contact}'/>"));
            }
            thread::sleep(Duration::from_secs(1 + pass));
        }
        // Watchers leave after a minute, calls that nobody ends after their timers.
        let patience = Instant::now() + Duration::from_secs(200);
        loop {
            let due = std::mem::take(&mut *self.shared.due.lock().unwrap());
            due.iter().for_each(|(_, text)| self.say(text));
            thread::sleep(Duration::from_secs(2));
            let (left, text) = left(self.http);
            if left == 0 || Instant::now() > patience {
                println!("left at the end:{}", if text.is_empty() { " nothing" } else { &text });
                println!("{} kB, {} files", self.gateway.resident(), self.gateway.files());
                return left;
            }
        }
    }
}

/// What the gauges of the gateway hold that should be empty when all is over.
fn left(http: SocketAddr) -> (i64, String) {
    const GAUGES: [&str; 6] = [
        "mostar_subscriptions",
        "mostar_messages_queued",
        "mostar_messages_in_flight",
        "mostar_sessions",
        "mostar_room_seats",
        "mostar_conference_guests",
    ];
    let mut stream = TcpStream::connect(http).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    let (mut left, mut text) = (0, String::new());
    for line in page.lines().filter(|line| {
        let name = line.split(['{', ' ']).next();
        GAUGES.iter().any(|gauge| Some(*gauge) == name)
    }) {
        let value: f64 = line.rsplit(' ').next().and_then(|value| value.parse().ok()).unwrap_or(0.0);
        if value != 0.0 {
            left += value.abs() as i64;
            text = format!("{text} {line}");
        }
    }
    (left, text)
}

/// An XMPP server whose users allow everybody to see them, are there, and answer in chats; with one room.
fn serve(component: &TcpListener, shared: &Arc<Shared>) -> Stream {
    let (shared, mut occupants) = (shared.clone(), HashMap::new());
    Stream::accept(component, move |text| {
        let (from, to) = (attribute(text, "from")?, attribute(text, "to")?);
        let type_ = attribute(text, "type");
        if to.contains(ROOMS_DOMAIN) {
            return room(&mut occupants, text, from, to);
        }
        if body(text).is_some() {
            add(&shared.counts.to_xmpp);
            return None;
        }
        let there = format!("<presence from='{to}/balcony' to='{from}'/>");
        match type_ {
            Some("subscribe") => {
                Some(format!("<presence type='subscribed' from='{to}' to='{from}'/>{there}"))
            }
            Some("probe") => Some(there),
            _ => {
                shared
                    .counts
                    .presences
                    .fetch_add(usize::from(text.starts_with("<presence")), Ordering::Relaxed);
                None
            }
        }
    })
}

/// Whoever enters is in, and hears himself.
fn room(occupants: &mut HashMap<String, String>, text: &str, from: &str, to: &str) -> Option<String> {
    let (room, nick) = to.split_once('/').unwrap_or((to, ""));
    if text.starts_with("<message") {
        let nick = occupants.get(from)?;
        let (id, body) = (attribute(text, "id").unwrap_or_default(), body(text)?);
        return Some(format!(
            "<message type='groupchat' id='{id}' from='{room}/{nick}' to='{from}'><body>{body}</body></message>"
        ));
    }
    let own = "<x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='none' role='participant'/><status code='110'/></x>";
    if attribute(text, "type") == Some("unavailable") {
        let nick = occupants.remove(from)?;
        return Some(format!(
            "<presence type='unavailable' from='{room}/{nick}' to='{from}'>{own}</presence>"
        ));
    }
    occupants.insert(from.to_owned(), nick.to_owned());
    Some(format!(
        "<presence from='{to}' to='{from}'>{own}</presence><message type='groupchat' from='{room}' to='{from}'><subject/></message>"
    ))
}

/// The connections that the gateway opens to its peer.
fn listen(peer: TcpListener, shared: &Arc<Shared>, opened: &Arc<Mutex<Vec<TcpStream>>>) {
    let (shared, opened) = (shared.clone(), opened.clone());
    thread::spawn(move || {
        for connection in peer.incoming().flatten() {
            opened.lock().unwrap().push(connection.try_clone().unwrap());
            read(&connection, &shared);
        }
    });
}

fn read(connection: &TcpStream, shared: &Arc<Shared>) {
    let shared = shared.clone();
    proxy::read(connection.try_clone().unwrap(), move |message| hear(&message, &shared));
}

/// A SIP side that accepts everything.
fn hear(message: &Message, shared: &Arc<Shared>) -> Option<String> {
    if shared.silent.load(Ordering::Relaxed) {
        return None;
    }
    if let Some(status) = message.status() {
        return answered(message, status, shared);
    }
    match message.method() {
        "ACK" => None,
        "INVITE" => {
            add(&shared.counts.sessions);
            let again = message.value("To").contains(";tag=");
            if !again {
                shared.say_later(4_000, phone::bye(shared.serial(), message));
            }
            Some(phone::accept(message, shared.phones))
        }
        "SUBSCRIBE" => {
            let is_last = message.value("Expires") == "0";
            let to = message.value("To");
            let tag = if to.contains(";tag=") { "" } else { ";tag=bench" };
            let state = if is_last { "terminated;reason=timeout" } else { "active;expires=600" };
            let body = "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:romeo@sip.bench'><tuple id='t'><status>\
                        <basic>open</basic></status></tuple></presence>";
            shared.say_later(
                0,
                format!(
                    "NOTIFY sip:juliet@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKn{0}\r\nFrom: {to}{tag}\r\n\
                     To: {1}\r\nCall-ID: {2}\r\nCSeq: {0} NOTIFY\r\nMax-Forwards: 69\r\nContact: \
                     <sip:romeo@127.0.0.1;transport=tcp>\r\nEvent: presence\r\nSubscription-State: {state}\r\nContent-Type: \
                     application/pidf+xml\r\nContent-Length: {3}\r\n\r\n{body}",
                    shared.serial(),
                    message.value("From"),
                    message.value("Call-ID"),
                    body.len()
                ),
            );
            let expires = if is_last { 0 } else { 600 };
            Some(
                message.ok(
                    &format!("Expires: {expires}\r\nContact: <sip:romeo@127.0.0.1;transport=tcp>\r\n"),
                    "",
                ),
            )
        }
        "NOTIFY" => {
            add(&shared.counts.notifies);
            Some(message.ok("", ""))
        }
        "MESSAGE" => {
            add(&shared.counts.to_sip);
            Some(message.ok("", ""))
        }
        _ => Some(message.ok("", "")),
    }
}

/// An answer to one of ours: a session that was accepted is bound, spoken in and hung up.
fn answered(message: &Message, status: u16, shared: &Arc<Shared>) -> Option<String> {
    if status != 200 || !message.value("CSeq").ends_with("INVITE") {
        return None;
    }
    let number = number_of_call(message)?;
    let is_seat = message.value("Call-ID").starts_with("seat-");
    add(if is_seat { &shared.counts.seats } else { &shared.counts.sessions });
    let session = Session::of(number, message);
    let (told, _) = channel();
    let mut phone = phone::Phone::connect(shared.msrp, &told);
    phone.say(&session.bind(number));
    if !is_seat {
        for _ in 0..3 {
            let serial = shared.serial();
            phone.say(&session.send(serial, &format!("Art thou not Romeo? {serial}"), true));
        }
    }
    let (bye, later) = (session.bye.1.clone(), shared.clone());
    thread::spawn(move || {
        thread::sleep(Duration::from_secs(3));
        later.say_later(0, bye);
        thread::sleep(Duration::from_secs(1));
        // Whose BYE was lost with its connection has gone all the same.
        let _ = phone.0.shutdown(std::net::Shutdown::Both);
    });
    Some(phone::inside("ACK", number, message))
}

/// The number of a call of ours: what stands behind the hyphen of its Call-ID.
fn number_of_call(message: &Message) -> Option<usize> {
    message.value("Call-ID").rsplit('-').next()?.parse().ok()
}

/// A request outside dialogs.
fn request(method: &str, serial: usize, to: &str, more: &str, body: &str) -> String {
    let (user, other) = (serial % PEOPLE, (serial * 3) % PEOPLE);
    let to = if to.is_empty() { format!("juliet{user}@{XMPP_DOMAIN}") } else { to.to_owned() };
    format!(
        "{method} sip:{to} SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKq{serial}\r\nMax-Forwards: 69\r\nFrom: \
         <sip:romeo{other}@{SIP_DOMAIN}>;tag=q{serial}\r\nTo: <sip:{to}>\r\nCall-ID: q-{serial}\r\nCSeq: 1 {method}\r\nContact: \
         <sip:romeo{other}@127.0.0.1;transport=tcp>\r\n{more}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Somebody enters the room.
fn enter(serial: usize) -> String {
    let body = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=message 9 TCP/MSRP *\r\n\
         a=path:msrp://127.0.0.1:9/phone{serial:08};tcp\r\na=accept-types:message/cpim\r\na=accept-wrapped-types:*\r\n\
         a=setup:active\r\na=chatroom:nickname private-messages\r\n"
    );
    let text = request(
        "INVITE",
        serial,
        &format!("verona@{ROOMS_DOMAIN}"),
        "Content-Type: application/sdp\r\n",
        &body,
    );
    text.replacen(&format!("Call-ID: q-{serial}"), &format!("Call-ID: seat-{serial}"), 1)
}
