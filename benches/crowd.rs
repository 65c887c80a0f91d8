//! What very many subscriptions cost a running gateway, through sockets; it is a process of its own, and the XMPP server and
//! the SIP peer are played here.
//!
//! - `notify`: CPU for each NOTIFY that a change of presence leads to, with the stanza before it and the answer after it.
//!   `WATCHERS=n` (20,000) have 20 users each.
//! - `return`: the stream of the component is lost and comes back, with 100,000 contacts to be told (`CONTACTS=n`), and
//!   messages both ways meanwhile: how long they take.
//! - `idle`: CPU while nothing happens, with 10,000 subscriptions, for `SECONDS=n` (30).
//! - `burst`: memory before a burst of 200,000 messages (`MESSAGES=n`), at its end, and seven minutes later (`SECONDS=n`):
//!   for six a phone may send again, and its answers are remembered.
//!
//! A word selects what is measured.

#![allow(clippy::disallowed_types, clippy::unwrap_used, reason = "a load generator is shell")]

mod world;

use std::collections::HashMap;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use world::process::{Process, Setup};
use world::server::{Stream, attribute, body};
use world::{SIP_DOMAIN, XMPP_DOMAIN, figure, number, proxy};

/// Contacts, or users, of one person.
const EACH: usize = 20;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    for (name, measure) in
        [("notify", notify as fn()), ("return", comes_back), ("idle", idle), ("burst", burst)]
    {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            measure();
        }
    }
}

fn notify() {
    let count = number("WATCHERS", 20_000);
    let mut crowd = Crowd::start();
    crowd.watch(count);
    let mut best = f64::MAX;
    for round in 0..4 {
        // A watcher is told every five seconds at most.
        std::thread::sleep(Duration::from_millis(6_500));
        let (before, cpu, began) = (crowd.notified(), crowd.gateway.cpu(), Instant::now());
        for watcher in 0..count {
            crowd.server.say(&format!(
                "<presence from='juliet{}@{XMPP_DOMAIN}/balcony' to='romeo{watcher}@{SIP_DOMAIN}'><show>{}</show></presence>",
                watcher / EACH,
                ["away", "chat"][round % 2],
            ));
        }
        crowd.wait("NOTIFYs", || crowd.notified() - before >= count);
        let each = crowd.gateway.cpu().each(cpu, count).total();
        println!("{count} NOTIFYs: {each:.1} µs of CPU each, {:?} in all", began.elapsed());
        best = best.min(each);
    }
    let rate = 1e6 / best;
    figure("NOTIFYs out for each core", "at least 15,000/s", &format!("{rate:.0}/s"), 15_000.0 / rate);
}

fn comes_back() {
    let count = number("CONTACTS", 100_000);
    let mut crowd = Crowd::start();
    crowd.add_contacts(count);
    println!("{count} contacts; {} MB resident", crowd.gateway.resident() / 1024);
    std::thread::sleep(Duration::from_secs(3));
    let (quiet_in, quiet_out) = crowd.talk(Duration::from_secs(5));
    let before = crowd.shown();
    crowd.server.cut();
    crowd.server = crowd.accept();
    let began = Instant::now();
    let (inward, outward) = crowd.talk(Duration::from_secs(8));
    crowd.wait("presence", || crowd.shown() - before >= count);
    println!(
        "all {count} told within {:?}; p99 before {quiet_in:?} in, {quiet_out:?} out; meanwhile {inward:?} and {outward:?}",
        began.elapsed()
    );
    let worst = inward.max(outward).as_secs_f64() * 1e3;
    let name = format!("p99 of messages while {count} contacts come back");
    figure(&name, "50 ms", &format!("{worst:.1} ms"), worst / 50.0);
}

fn idle() {
    let mut crowd = Crowd::start();
    crowd.watch(5_000);
    crowd.add_contacts(5_000);
    // Transactions are over.
    std::thread::sleep(Duration::from_secs(45));
    let seconds = number("SECONDS", 30) as f64;
    let before = crowd.gateway.nanoseconds();
    std::thread::sleep(Duration::from_secs_f64(seconds));
    let used = (crowd.gateway.nanoseconds() - before) as f64 / 1e9 / seconds * 100.0;
    figure(
        "CPU of an idle gateway with 10,000 subscriptions",
        "0.1 % of a core",
        &format!("{used:.3} %"),
        used / 0.1,
    );
}

fn burst() {
    let (count, seconds) = (number("MESSAGES", 200_000), number("SECONDS", 420));
    let mut crowd = Crowd::start();
    crowd.flood(2_000);
    std::thread::sleep(Duration::from_secs(40));
    let before = crowd.gateway.resident();
    crowd.flood(count);
    let most = crowd.gateway.resident();
    std::thread::sleep(Duration::from_secs(seconds as u64));
    let after = crowd.gateway.resident();
    println!("{before} kB before, {most} kB at the end of {count} messages, {after} kB {seconds} s later");
    let ratio = after as f64 / before as f64;
    figure("memory a while after a burst", "1.2 of before", &format!("{ratio:.2} of before"), ratio / 1.2);
}

struct Crowd {
    gateway: Process,
    component: TcpListener,
    server: Stream,
    sip: TcpStream,
    seen: Arc<Seen>,
    /// What the other side of a message says: its number.
    arrived: Receiver<(bool, usize)>,
    to_main: Sender<(bool, usize)>,
    serial: usize,
    peer: SocketAddr,
    _folder: tempfile::TempDir,
}

/// What has come out.
#[derive(Default)]
struct Seen {
    notifies: AtomicUsize,
    subscribes: AtomicUsize,
    presences: AtomicUsize,
    /// NOTIFYs that a SUBSCRIBE leads to, which our connection is to send.
    owed: Mutex<Vec<String>>,
}

impl Crowd {
    fn start() -> Crowd {
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
        let peer_address = setup.peer;
        let gateway = Process::start(folder.path(), &setup);
        let (to_main, arrived) = channel();
        let seen = Arc::new(Seen::default());
        let server = accept(&component, &seen, &to_main);
        let sip = TcpStream::connect(address).unwrap();
        let (told, counted) = (to_main.clone(), seen.clone());
        proxy::read_all(peer, &sip, move |message| hear(&message, &counted, &told));
        Crowd {
            gateway,
            component,
            server,
            sip,
            seen,
            arrived,
            to_main,
            serial: 0,
            peer: peer_address,
            _folder: folder,
        }
    }

    fn accept(&self) -> Stream {
        accept(&self.component, &self.seen, &self.to_main)
    }

    fn notified(&self) -> usize {
        self.seen.notifies.load(Ordering::Relaxed)
    }

    fn shown(&self) -> usize {
        self.seen.presences.load(Ordering::Relaxed)
    }

    fn wait(&self, what: &str, is_done: impl Fn() -> bool) {
        let patience = Instant::now() + Duration::from_secs(180);
        while !is_done() {
            assert!(Instant::now() < patience, "no end of {what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Watchers subscribe, and are allowed.
    fn watch(&mut self, count: usize) {
        let before = self.notified();
        for watcher in 0..count {
            let user = watcher / EACH;
            let subscribe = format!(
                "SUBSCRIBE sip:juliet{user}@{XMPP_DOMAIN} SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKw{watcher}\r\n\
                 From: <sip:romeo{watcher}@{SIP_DOMAIN}>;tag=w{watcher}\r\nTo: <sip:juliet{user}@{XMPP_DOMAIN}>\r\nCall-ID: \
                 w{watcher}\r\nCSeq: 1 SUBSCRIBE\r\nMax-Forwards: 69\r\nContact: \
                 <sip:romeo{watcher}@{};transport=tcp>\r\nEvent: presence\r\nExpires: 3600\r\nContent-Length: 0\r\n\r\n",
                self.peer
            );
            self.sip.write_all(subscribe.as_bytes()).unwrap();
            if watcher % 500 == 499 {
                self.wait("subscribing", || self.notified() - before + 500 > watcher);
            }
        }
        // One that says that it waits, and one with her state.
        self.wait("watching", || self.notified() - before >= count);
        std::thread::sleep(Duration::from_secs(7));
    }

    /// Users add contacts, who are there.
    fn add_contacts(&mut self, count: usize) {
        let before = self.seen.subscribes.load(Ordering::Relaxed);
        for contact in 0..count {
            let (user, contact) = (contact / EACH, contact % 1000);
            self.server.say(&format!(
                "<presence type='subscribe' from='juliet{user}@{XMPP_DOMAIN}' to='romeo{contact}@{SIP_DOMAIN}'/>"
            ));
            if contact % 100 == 99 {
                self.pay();
            }
        }
        let seen = self.seen.clone();
        while seen.subscribes.load(Ordering::Relaxed) - before < count {
            self.pay();
            std::thread::sleep(Duration::from_millis(1));
        }
        self.pay();
    }

    /// Sends the NOTIFYs that are owed.
    fn pay(&mut self) {
        let owed = std::mem::take(&mut *self.seen.owed.lock().unwrap());
        for notify in owed {
            self.sip.write_all(notify.as_bytes()).unwrap();
        }
    }

    /// Messages both ways at 100/s each, for so long: p99 of each way, for SIP that of the answer.
    fn talk(&mut self, time: Duration) -> (Duration, Duration) {
        let began = Instant::now();
        let mut sent: [HashMap<usize, Instant>; 2] = Default::default();
        let mut took: [Vec<Duration>; 2] = Default::default();
        let mut round = 0;
        while began.elapsed() < time || sent.iter().any(|sent| !sent.is_empty()) {
            assert!(
                began.elapsed() < time + Duration::from_secs(60),
                "{} never arrived",
                sent[0].len() + sent[1].len()
            );
            if began.elapsed() < time && began.elapsed() >= Duration::from_millis(10) * round {
                round += 1;
                self.serial += 1;
                let serial = self.serial;
                sent[0].insert(serial, Instant::now());
                self.sip.write_all(message(serial).as_bytes()).unwrap();
                sent[1].insert(serial, Instant::now());
                self.server.say(&stanza(serial));
            }
            if let Ok((outward, serial)) = self.arrived.recv_timeout(Duration::from_millis(1))
                && let Some(at) = sent[usize::from(outward)].remove(&serial)
            {
                took[usize::from(outward)].push(at.elapsed());
            }
            self.pay();
        }
        took.each_mut()
            .map(|took| {
                took.sort();
                took[took.len() * 99 / 100]
            })
            .into()
    }

    /// Messages both ways as fast as they go, 500 at once each way.
    fn flood(&mut self, count: usize) {
        let (mut written, mut open) = ([0; 2], [0; 2]);
        let half = count / 2;
        while written != [half; 2] || open != [0; 2] {
            for way in 0..2 {
                while written[way] < half && open[way] < 500 {
                    self.serial += 1;
                    (written[way], open[way]) = (written[way] + 1, open[way] + 1);
                    if way == 0 {
                        self.sip.write_all(message(self.serial).as_bytes()).unwrap();
                    } else {
                        self.server.say(&stanza(self.serial));
                    }
                }
            }
            let (outward, _) = self.arrived.recv_timeout(Duration::from_secs(60)).expect("it arrives");
            open[usize::from(outward)] -= 1;
        }
    }
}

fn message(serial: usize) -> String {
    let (user, body) = (serial % 977, format!("Art thou not Romeo? {serial}"));
    format!(
        "MESSAGE sip:juliet{user}@{XMPP_DOMAIN} SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKm{serial}\r\n\
         Max-Forwards: 69\r\nFrom: <sip:mercutio{user}@{SIP_DOMAIN}>;tag=m{serial}\r\nTo: <sip:juliet{user}@{XMPP_DOMAIN}>\r\n\
         Call-ID: m-{serial}\r\nCSeq: 1 MESSAGE\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn stanza(serial: usize) -> String {
    let user = serial % 977;
    format!(
        "<message from='juliet{user}@{XMPP_DOMAIN}/balcony' to='mercutio{user}@{SIP_DOMAIN}' type='chat' id='s{serial}'>\
         <body>Art thou not Romeo? {serial}</body></message>"
    )
}

/// The number at the end.
fn serial_of(text: &str) -> Option<usize> {
    text.rsplit(' ').next()?.parse().ok()
}

/// An XMPP server whose users allow everybody to see them, and are there.
fn accept(component: &TcpListener, seen: &Arc<Seen>, _told: &Sender<(bool, usize)>) -> Stream {
    let seen = seen.clone();
    Stream::accept(component, move |text| {
        if body(text).is_some() {
            return None;
        }
        let (from, to) = (attribute(text, "from")?, attribute(text, "to")?);
        let there = format!("<presence from='{to}/balcony' to='{from}'/>");
        match attribute(text, "type") {
            Some("subscribe") => {
                Some(format!("<presence type='subscribed' from='{to}' to='{from}'/>{there}"))
            }
            Some("probe") => Some(there),
            None => {
                seen.presences.fetch_add(1, Ordering::Relaxed);
                None
            }
            _ => None,
        }
    })
}

/// A SIP side that accepts everything; contacts are there.
fn hear(message: &proxy::Message, seen: &Seen, told: &Sender<(bool, usize)>) -> Option<String> {
    if message.status().is_some() {
        if let Some(serial) = message.value("Call-ID").strip_prefix("m-") {
            let _ = told.send((false, serial.parse().unwrap()));
        }
        return None;
    }
    match message.method() {
        "NOTIFY" => {
            seen.notifies.fetch_add(1, Ordering::Relaxed);
        }
        "MESSAGE" => {
            let _ = told.send((true, serial_of(&String::from_utf8_lossy(&message.body)).unwrap()));
        }
        "SUBSCRIBE" => {
            let number = seen.subscribes.fetch_add(1, Ordering::Relaxed);
            let body = "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:romeo@sip.bench'><tuple id='t'><status>\
                        <basic>open</basic></status></tuple></presence>";
            seen.owed.lock().unwrap().push(format!(
                "NOTIFY sip:juliet@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKn{number}\r\nFrom: {};tag=bench\r\n\
                 To: {}\r\nCall-ID: {}\r\nCSeq: 1 NOTIFY\r\nMax-Forwards: 69\r\nContact: <sip:romeo@127.0.0.1;transport=tcp>\r\n\
                 Event: presence\r\nSubscription-State: active;expires=3600\r\nContent-Type: application/pidf+xml\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                message.value("To"),
                message.value("From"),
                message.value("Call-ID"),
                body.len()
            ));
            return Some(message.ok("Expires: 3600\r\nContact: <sip:romeo@127.0.0.1;transport=tcp>\r\n", ""));
        }
        _ => {}
    }
    Some(message.ok("", ""))
}
