//! A start with a million messages that wait and a million subscriptions: how soon the first request is answered, how soon
//! everything is back, and whether anything is answered wrongly in between. The gateway is a process of its own with a
//! store of its own, killed before each start.
//!
//! `cargo bench --bench restart` takes 1,000,000 of each, `RECORDS=n` so many, with `MESSAGES=n` so many messages: with none,
//! what is resident is that of the subscriptions. Half of the subscriptions are contacts of
//! XMPP users, half are watchers; a user has 20 of each, and writes to 100 contacts.

#![allow(clippy::disallowed_types, clippy::unwrap_used, reason = "a load generator is shell")]

mod world;

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use mostar::store::record::{Key, Life, Record};
use mostar::store::sled::SledStore;
use mostar::store::{Change, Step, Store};
use mostar::words::id::{Mint, Partition, Seed};
use world::core::{EACH, World};
use world::process::{Process, Setup};
use world::server::{self, Stream};
use world::{SIP_DOMAIN, XMPP_DOMAIN, figure, proxy};

/// How old contacts are.
const HOURS: Duration = Duration::from_secs(2 * 60 * 60);

/// So many requests that were answered before are sent again while the records come back.
const AGAIN: usize = 500;
/// How many users one user writes to.
const PEN_FRIENDS: usize = 100;

fn main() {
    let count = world::number("RECORDS", 1_000_000);
    let folder = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let messages = world::number("MESSAGES", count);
    fill(&folder.path().join("store"), count, messages);
    println!("the store was made in {:?}", began.elapsed());
    let mut known = Vec::new();
    for round in 0..3 {
        known = start(folder.path(), (count, messages), round, &known);
    }
}

/// Records of one of each kind, as a gateway writes them, from which all others are made.
fn fill(folder: &Path, count: usize, messages: usize) {
    // The contact is one of long ago: what the user was told of it has arrived.
    let mut world = World::since(HOURS);
    world.add_contact(0);
    world.pass(HOURS);
    world.add_watcher(0);
    world.is_away = true;
    world.write(0, 0);
    let models: BTreeMap<&str, Record> =
        world.records.values().map(|record| (record.key.kind, record.clone())).collect();
    assert!(models["contact"].value.windows(8).all(|word| word != b"\"unsaid\""), "{models:?}");
    let mut mint = Mint::new(Seed([9; 32]));
    let mut store = SledStore::open(folder).unwrap();
    let mut steps: Vec<Step> = Vec::new();
    for number in 0..count {
        let mut changes = Vec::new();
        if number < messages {
            changes.push((models["post"].clone(), number / PEN_FRIENDS, number % PEN_FRIENDS));
        }
        let (user, other) = (number / 2 / EACH, number / 2 % (EACH * 50));
        if number % 2 == 0 {
            changes.push((models["contact"].clone(), user, other));
        } else {
            changes.push((models["watch"].clone(), user, other));
            changes.push((models["watch-dialog"].clone(), user, other));
        }
        let changes = changes
            .into_iter()
            .map(|(model, user, other)| Change::Save(copy(&model, user, other, &mut mint)));
        steps.push(changes.collect());
        if steps.len() == 2_000 {
            store.commit(&mut steps).unwrap();
            while store.tidy().unwrap() {}
        }
    }
    store.commit(&mut steps).unwrap();
    while store.tidy().unwrap() {}
}

/// The record of another user and another contact, with names of its own.
fn copy(model: &Record, user: usize, other: usize, mint: &mut Mint) -> Record {
    let partition = Partition::of(&format!("juliet{user}@{XMPP_DOMAIN}"));
    let mut tokens: BTreeMap<String, String> = BTreeMap::new();
    let mut renamed = |text: &str| {
        let text = text
            .replace("juliet0@", &format!("juliet{user}@"))
            .replace("romeo0@", &format!("romeo{other}@"))
            .replace("\"romeo0\"", &format!("\"romeo{other}\""));
        let mut found = text.clone();
        for word in text.split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit()) {
            if Partition::of_token(word) == Some(model.key.partition) {
                let token = tokens.entry(word.to_owned()).or_insert_with(|| mint.token(partition));
                found = found.replace(word, token);
            }
        }
        found
    };
    let id = renamed(&model.key.id);
    let value = renamed(std::str::from_utf8(&model.value).unwrap()).into_bytes();
    Record { key: Key { kind: model.key.kind, partition, id }, value, life: Life::Open }
}

/// Starts the gateway on the store, speaks to it from the first moment, and kills it. Gives the numbers of the requests
/// that were answered.
fn start(folder: &Path, (count, messages): (usize, usize), round: usize, known: &[usize]) -> Vec<usize> {
    let component = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = world::free();
    let setup = Setup {
        server: component.local_addr().unwrap(),
        sip: address,
        peer: peer.local_addr().unwrap(),
        of_peer: "",
        more: "msrp: { listen: [] }\nhttp: none\nmessages: { rate: 0, hold: 1h }\n",
    };
    let began = Instant::now();
    let mut gateway = Process::start_heard(folder, &setup);
    let (logged, log) = channel();
    let stderr = gateway.log();
    std::thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            if std::env::var_os("SHOW").is_some() {
                eprintln!("{line}");
            }
            if line.contains("event=started") || line.contains("event=restored") {
                let _ = logged.send((began.elapsed(), line));
            }
        }
    });
    let (to_main, at_xmpp) = channel();
    std::thread::spawn(move || {
        Stream::accept(&component, move |text| {
            let _ = to_main.send(server::body(text)?.to_owned());
            None
        })
    });
    let mut sip = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let (answered, answers): (Sender<(usize, u16)>, Receiver<_>) = channel();
    proxy::read_all(peer, &sip, move |message| {
        if let Some(status) = message.status() {
            if let Some(number) = message.value("Call-ID").strip_prefix("restart-") {
                let _ = answered.send((number.parse().unwrap(), status));
            }
            return None;
        }
        Some(if message.method() == "MESSAGE" { busy(&message.ok("", "")) } else { message.ok("", "") })
    });
    // First what was answered before, then what is new.
    let new: Vec<usize> = (0..AGAIN).map(|number| round * AGAIN + number).collect();
    let mut first = None;
    let mut statuses = Vec::new();
    for (at, number) in known.iter().chain(&new).enumerate() {
        sip.write_all(message(*number, at + round * 10 * AGAIN).as_bytes()).unwrap();
        if first.is_none() {
            statuses.push(answers.recv_timeout(Duration::from_secs(120)).expect("an answer"));
            first = Some(began.elapsed());
        }
    }
    while statuses.len() < known.len() + new.len() {
        statuses.push(answers.recv_timeout(Duration::from_secs(300)).expect("an answer"));
    }
    let all_answered = began.elapsed();
    let (started, _) = log.recv_timeout(Duration::from_secs(300)).expect("it starts");
    let (restored, line) = log.recv_timeout(Duration::from_secs(300)).expect("all is restored");
    let used = gateway.cpu().total();
    // What was delivered before is not delivered again.
    std::thread::sleep(Duration::from_secs(1));
    let mut bodies = HashSet::new();
    let mut wrong = statuses.iter().filter(|(_, status)| *status != 202).count();
    for body in at_xmpp.try_iter() {
        // What contacts say of being away has no number.
        let Some(number) = body.rsplit(' ').next().and_then(|word| word.parse::<usize>().ok()) else {
            continue;
        };
        wrong += usize::from(known.contains(&number) || !bodies.insert(number));
    }
    wrong += new.len() - bodies.len();
    println!(
        "start {round}: listening after {started:?}, first answer after {first:?}, all {} after {all_answered:?}, all \
         restored after {restored:?} and {used:.1} s of CPU; {} MB resident; {wrong} answered wrongly; {line}",
        statuses.len(),
        gateway.resident() / 1024,
    );
    let resident = gateway.resident() as f64 / 1e6;
    gateway.kill();
    if messages == 0 && round > 0 {
        figure(
            &format!("memory of {count} subscriptions"),
            "4 GB",
            &format!("{resident:.2} GB"),
            resident / 4.0,
        );
    }
    if round > 0 {
        let seconds = |time: Duration| time.as_secs_f64();
        let first = seconds(first.unwrap());
        let what = format!("with {messages} messages and {count} subscriptions");
        figure(&format!("first answer after a restart {what}"), "1 s", &format!("{first:.2} s"), first);
        let all = seconds(restored);
        figure(&format!("all restored after a restart {what}"), "10 s", &format!("{all:.2} s"), all / 10.0);
        figure(&format!("answered wrongly in a restart {what}"), "0", &wrong.to_string(), wrong as f64);
    }
    new
}

/// The contact is away.
fn busy(ok: &str) -> String {
    ok.replacen("200 OK", "480 Temporarily Unavailable", 1)
}

/// A request; the same under another branch.
fn message(number: usize, branch: usize) -> String {
    let body = format!("Art thou not Romeo, and a Montague? {number}");
    // Users all over the partitions.
    let user = number * 17;
    format!(
        "MESSAGE sip:juliet{user}@{XMPP_DOMAIN} SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKr{branch}\r\n\
         Max-Forwards: 69\r\nFrom: <sip:romeo{user}@{SIP_DOMAIN}>;tag=t{number}\r\nTo: <sip:juliet{user}@{XMPP_DOMAIN}>\r\n\
         Call-ID: restart-{number}\r\nCSeq: 1 MESSAGE\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
