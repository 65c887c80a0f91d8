//! What contacts and watchers cost: memory for each subscription, the time to take all offline, the time to start with
//! all their records. The gateway alone, without sockets, on one core; the store is the real one.
//!
//! A start is measured with all records in the tree, and again with a journal that is nearly full in front of it. A
//! process shares them among its cores; here one has them all.
//!
//! `cargo bench --bench presence` takes 100,000 of each direction, `SUBSCRIPTIONS=n` so many. A user has 20 contacts, a
//! contact one device.

#![allow(clippy::disallowed_types, clippy::unwrap_used, reason = "a load generator is shell")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mostar::gateway::{Gateway, Input, LinkChange, LinkId, Output};
use mostar::sip::flow::{ConnId, Flow, Transport};
use mostar::sip::framing;
use mostar::store::record::{Key, Record, Restored};
use mostar::store::sled::SledStore;
use mostar::store::{Change, Step, Store};
use mostar::words::id::Seed;
use mostar::words::time::{Now, Tick, Wall};
use mostar::xmpp::jid::Jid;
use mostar::xmpp::stanza::{Stanza, StanzaKind};

#[path = "../tests/support/config.rs"]
mod config;

/// Contacts of one user.
const EACH: usize = 20;

/// The program's own.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// So much of what was kept is kept once more, so that a journal that is nearly full stands in front of the tree.
const AGAIN: (usize, usize) = (190_000, 30 * 1024 * 1024);

/// Each phase runs in a process of its own: what one has freed would be given to the next.
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [phase, direction, folder] = arguments.as_slice() {
        let direction = if direction == "Contacts" { Direction::Contacts } else { Direction::Watchers };
        let folder = Path::new(folder);
        return match phase.as_str() {
            "live" => live(direction, folder),
            "again" => keep_again(folder),
            _ => start(direction, folder),
        };
    }
    for direction in ["Contacts", "Watchers"] {
        let folder = tempfile::tempdir().unwrap();
        for phase in ["live", "start", "again", "start"] {
            let own = std::process::Command::new(std::env::current_exe().unwrap())
                .args([phase, direction])
                .arg(folder.path())
                .status();
            assert!(own.unwrap().success());
        }
    }
}

/// Makes subscriptions, puts their records into a store, and stops.
fn live(direction: Direction, folder: &Path) {
    let count = std::env::var("SUBSCRIPTIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let mut world = World::new();
    let before = resident();
    let began = Instant::now();
    for number in 0..count {
        match direction {
            Direction::Contacts => world.add_contact(number),
            Direction::Watchers => world.add_watcher(number),
        }
        if number % 500 == 0 {
            // Transactions are over after half a minute.
            world.pass(Duration::from_secs(1));
        }
    }
    world.pass(Duration::from_secs(90));
    let each = (resident().saturating_sub(before)) * 1024 / count as u64;
    let text = |(name, record): (&String, &Record)| 2 * name.len() + record.value.len();
    let kept = world.records.iter().map(text).sum::<usize>() / count;
    println!(
        "{direction:?}: {count} made in {:?}; {each} bytes resident for each, with the {kept} of its records, which this \
         process plays the store for",
        began.elapsed()
    );
    let records: Vec<Record> = world.records.values().cloned().collect();
    let stanzas = world.stanzas;
    let began = Instant::now();
    let took = world.stop();
    println!(
        "{direction:?}: told all of the end in {:?} of CPU and {took:?} of the clock ({} stanzas, {} NOTIFYs)",
        began.elapsed(),
        world.stanzas - stanzas,
        world.notifies
    );
    let mut store = SledStore::open(folder).unwrap();
    let mut steps: Vec<Step> = records.into_iter().map(|record| vec![Change::Save(record)]).collect();
    store.commit(&mut steps).unwrap();
    while store.tidy().unwrap() {}
    drop(store);
    // Removes the journal whose records have all been moved.
    drop(SledStore::open(folder).unwrap());
}

/// Keeps some of the records once more, as refreshes do.
fn keep_again(folder: &Path) {
    let mut store = SledStore::open(folder).unwrap();
    let mut bytes = 0;
    let change = |record: Restored| {
        let kind = ["contact", "watch", "watch-dialog"].into_iter().find(|kind| *kind == record.kind);
        let key = Key { kind: kind.unwrap(), partition: record.partition, id: record.id };
        bytes += key.to_string().len() + record.value.len();
        (bytes < AGAIN.1).then(|| vec![Change::Save(Record { key, value: record.value })])
    };
    let mut steps: Vec<Step> = store.load().map(Result::unwrap).map_while(change).take(AGAIN.0).collect();
    println!("{} records are kept again, and stand in the journal", steps.len());
    store.commit(&mut steps).unwrap();
}

/// Opens the store and gives all records to a gateway, as a start does.
fn start(direction: Direction, folder: &Path) {
    let mut world = World::bare();
    let before = resident();
    let began = Instant::now();
    let store = SledStore::open(folder).unwrap();
    let opened = began.elapsed();
    let mut count = 0;
    for record in store.load() {
        world.handle(Input::Restored(record.unwrap()));
        count += 1;
    }
    let given = began.elapsed();
    world.handle(Input::RestoreDone);
    let started = began.elapsed();
    let resident = (resident() - before) / 1024;
    let began = Instant::now();
    assert_eq!(store.load().map(Result::unwrap).count(), count);
    println!(
        "{direction:?}: started with {count} records in {started:?}: store opened after {opened:?}, all given back after \
         {given:?}; to read them alone takes {:?}; {resident} MB resident",
        began.elapsed()
    );
}

#[derive(Clone, Copy, Debug)]
enum Direction {
    Contacts,
    Watchers,
}

/// Kilobytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

struct World {
    gateway: Gateway,
    now: u64,
    /// When it began, in milliseconds since 1970.
    began: u64,
    records: BTreeMap<String, Record>,
    stanzas: usize,
    notifies: usize,
    stopped: bool,
    cseq: u32,
}

impl World {
    fn bare() -> World {
        World {
            gateway: Gateway::new(Arc::new(config::config()), Seed([7; 32])),
            now: 0,
            began: std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64,
            records: BTreeMap::new(),
            stanzas: 0,
            notifies: 0,
            stopped: false,
            cseq: 0,
        }
    }

    fn new() -> World {
        let mut world = World::bare();
        world.handle(Input::RestoreDone);
        world.handle(Input::Link(LinkId(0), LinkChange::Up));
        world
    }

    fn handle(&mut self, input: Input) {
        let now = Now { tick: Tick(self.now), wall: Wall(self.began + self.now / 1000) };
        self.gateway.handle(now, input);
        let mut heard = Vec::new();
        while let Some(output) = self.gateway.poll() {
            let output = if let Output::Now(inner) = output { *inner } else { output };
            match output {
                Output::Save(record) => drop(self.records.insert(record.key.to_string(), record)),
                Output::Forget(key) => drop(self.records.remove(&key.to_string())),
                Output::Stanza(..) => self.stanzas += 1,
                Output::Sip(out) => heard.push(String::from_utf8_lossy(&out.bytes).into_owned()),
                Output::Stopped => self.stopped = true,
                _ => {}
            }
        }
        for text in heard {
            self.hear(&text);
        }
    }

    /// The SIP side: everything is accepted, and a SUBSCRIBE is followed by its state.
    fn hear(&mut self, text: &str) {
        if text.starts_with("SIP/2.0") {
            return;
        }
        let line = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
        };
        let to = line("To:");
        let to = if to.contains(";tag=") { to } else { format!("{to};tag=peer") };
        self.notifies += usize::from(text.starts_with("NOTIFY"));
        self.sip(format!(
            "SIP/2.0 200 OK\r\nVia: {}\r\nFrom: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\nContact: \
             <sip:romeo@192.0.2.1;transport=tcp>\r\nExpires: 3600\r\nContent-Length: 0\r\n\r\n",
            line("Via:"),
            line("From:"),
            line("Call-ID:"),
            line("CSeq:")
        ));
        if text.starts_with("SUBSCRIBE") {
            self.cseq += 1;
            let body = "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:romeo@example.net'><tuple id='t'><status>\
                        <basic>open</basic></status><note>at home</note></tuple></presence>";
            self.sip(format!(
                "NOTIFY sip:juliet@192.0.2.9 SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bK{}\r\nFrom: {to}\r\nTo: {}\r\n\
                 Call-ID: {}\r\nCSeq: 1 NOTIFY\r\nMax-Forwards: 70\r\nContact: <sip:romeo@192.0.2.1;transport=tcp>\r\nEvent: \
                 presence\r\nSubscription-State: active;expires=3600\r\nContent-Type: application/pidf+xml\r\nContent-Length: \
                 {}\r\n\r\n{body}",
                self.cseq,
                line("From:"),
                line("Call-ID:"),
                body.len()
            ));
        }
    }

    fn sip(&mut self, text: String) {
        let flow = Flow {
            transport: Transport::Tcp,
            local: "192.0.2.9:5060".parse().unwrap(),
            remote: "192.0.2.1:5060".parse().unwrap(),
            conn: Some(ConnId(1)),
        };
        let message = framing::datagram(text.into()).unwrap();
        self.handle(Input::Sip(flow, Box::new(message)));
    }

    fn presence(&mut self, from: &str, to: &str, type_: Option<&str>) {
        let (from, to) = (Jid::parse(from).unwrap(), Jid::parse(to).unwrap());
        let stanza = Stanza::new(StanzaKind::Presence, &from, &to);
        let stanza = type_.map_or(stanza.clone(), |type_| stanza.with_type(type_));
        self.handle(Input::Stanza(LinkId(0), stanza));
    }

    fn add_contact(&mut self, number: usize) {
        let (user, contact) = (number / EACH, number % (EACH * 50));
        self.presence(
            &format!("juliet{user}@example.com"),
            &format!("romeo{contact}@example.net"),
            Some("subscribe"),
        );
    }

    fn add_watcher(&mut self, number: usize) {
        let (user, watcher) = (number / EACH, number % (EACH * 50));
        self.sip(format!(
            "SUBSCRIBE sip:juliet{user}@example.com SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bKs{number}\r\nFrom: \
             <sip:romeo{watcher}@example.net>;tag=r{number}\r\nTo: <sip:juliet{user}@example.com>\r\nCall-ID: \
             c{number}\r\nCSeq: 1 SUBSCRIBE\r\nMax-Forwards: 70\r\nContact: <sip:romeo{watcher}@192.0.2.1;transport=tcp>\r\n\
             Event: presence\r\nContent-Length: 0\r\n\r\n"
        ));
        let (user, watcher) = (format!("juliet{user}@example.com"), format!("romeo{watcher}@example.net"));
        self.presence(&user, &watcher, Some("subscribed"));
        self.presence(&format!("{user}/balcony"), &watcher, None);
    }

    /// Lets time pass, alarm by alarm.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time.as_micros() as u64;
        while let Some((at, _)) = self.gateway.next_timeout().filter(|(at, _)| at.0 <= until) {
            self.now = self.now.max(at.0);
            self.handle(Input::Timeout);
        }
        self.now = until;
    }

    /// Stops; how long it took by the gateway's clock.
    fn stop(&mut self) -> Duration {
        let began = self.now;
        self.handle(Input::Stop);
        while !self.stopped {
            let Some((at, _)) = self.gateway.next_timeout() else { break };
            self.now = self.now.max(at.0);
            self.handle(Input::Timeout);
        }
        assert!(self.stopped, "it never said that it had stopped");
        Duration::from_micros(self.now - began)
    }
}
