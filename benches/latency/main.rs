//! How long a message is under way: from leaving one side to arriving at the other, through a real Prosody, at a fixed
//! rate, both ways at once. A played SIP peer and XMPP clients are in this process, on one clock; everything is on
//! loopback.
//!
//! `cargo bench --bench latency` plays 500 messages a second in all, for 5 s, three times through Mostar and in turns with
//! that through Prosody alone: the same clients, Prosody and rate, but a component that is played here in Mostar's place.
//! So the difference is Mostar's. `RATE=n` and `SECONDS=n` say otherwise. Nothing here waits for an answer before it
//! sends the next message, and gaps are random as those of many people are. Without Prosody it says so and ends.
//!
//! With `-- strangers`: what a flood of strangers costs those who are served (see `strangers.rs`).
//! Before that, what is Mostar's own is measured alone (`own.rs`).
//!
//! All that twice: with Prosody as it comes, and without the Nagle algorithm. Prosody leaves that on, and then holds a
//! message to a client back while the client's system takes up to 40 ms to acknowledge the one before.

#![allow(clippy::disallowed_types, clippy::unwrap_used, reason = "a load generator is shell")]

mod gateway;
mod own;
mod prosody;
mod strangers;
mod traffic;
#[path = "../world/mod.rs"]
mod world;

use std::io::Write;
use std::net::TcpStream;
use std::ops::Range;
use std::time::Duration;

use gateway::Gateway;
use prosody::Prosody;
use traffic::{Figures, Traffic};
use world::{SIP_DOMAIN, XMPP_DOMAIN, number};

/// Users of each side; everybody writes to everybody.
const USERS: usize = 10;
const ROUNDS: usize = 3;

/// The played component's domain.
const PLAYED: &str = "played.bench";

fn main() {
    if std::env::args().any(|word| word == "strangers") {
        return measure_strangers();
    }
    if world::reference::run(&std::env::args().collect::<Vec<_>>()) {
        return;
    }
    own::measure(number("RATE", 500), number("SECONDS", 5) as u64);
    measure("Prosody as it comes", "");
    measure("Prosody with network_settings = { nagle = false }", "network_settings = { nagle = false }");
}

/// Plays everything with one Prosody, and prints what was seen.
fn measure(name: &str, option: &str) {
    let Some(prosody) = Prosody::start(USERS, option) else {
        println!("skipped: prosody is not installed");
        return;
    };
    let (rate, seconds) = (number("RATE", 500), number("SECONDS", 5) as u64);
    let gateway = Gateway::start(prosody.components, prosody.folder.path());
    let traffic = Traffic::new(rate * (1 + seconds as usize) * ROUNDS * 2);
    let mut world = World {
        clients: (0..USERS).map(|user| prosody.login(user, &traffic)).collect(),
        played: prosody.component(PLAYED, &traffic),
        sip: gateway.connect(&traffic),
    };
    let mut seen = [Way::Prosody, Way::Mostar].map(|way| Seen {
        way,
        inward: vec![],
        outward: vec![],
        answered: vec![],
    });
    for _ in 0..ROUNDS {
        for seen in &mut seen {
            // What is slow only once is not what is asked.
            world.play(&traffic, seen.way, rate, Duration::from_secs(1));
            let numbers = world.play(&traffic, seen.way, rate, Duration::from_secs(seconds));
            seen.add(&traffic, numbers);
        }
    }
    println!("{rate} messages/s, half of them each way; {name}:");
    let [alone, with] = seen.map(Seen::tell);
    let ratio = |of: fn(&Figures) -> Duration| of(&with).as_secs_f64() / of(&alone).as_secs_f64();
    println!("  ratio                {:.1} median, {:.1} p99", ratio(|f| f.median), ratio(|f| f.p99));
}

/// Plays the same through Mostar with and without strangers at its door, in turns.
fn measure_strangers() {
    let Some(prosody) = Prosody::start(USERS, "network_settings = { nagle = false }") else {
        println!("skipped: prosody is not installed");
        return;
    };
    let (rate, seconds) = (number("RATE", 500), number("SECONDS", 5) as u64);
    let flood = number("FLOOD", 20_000);
    let gateway = Gateway::start_for(prosody.components, prosody.folder.path(), true);
    let traffic = Traffic::new(rate * (1 + seconds as usize) * ROUNDS * 2);
    let mut world = World {
        clients: (0..USERS).map(|user| prosody.login(user, &traffic)).collect(),
        played: prosody.component(PLAYED, &traffic),
        sip: gateway.connect(&traffic),
    };
    let mut took: [Vec<Duration>; 2] = Default::default();
    let (before, mut sent) = (gateway.process.resident(), [0, 0]);
    for _ in 0..ROUNDS {
        for (strangers, took) in [false, true].into_iter().zip(&mut took) {
            let flood = strangers.then(|| strangers::Flood::start(gateway.address, flood));
            world.play(&traffic, Way::Mostar, rate, Duration::from_secs(1));
            let numbers = world.play(&traffic, Way::Mostar, rate, Duration::from_secs(seconds));
            took.extend(numbers.map(|number| traffic.took(number)));
            if let Some(flood) = flood {
                for (all, these) in sent.iter_mut().zip(&flood.sent) {
                    *all += these.load(std::sync::atomic::Ordering::Relaxed);
                }
            }
        }
    }
    let [quiet, flooded] = took.map(Figures::of);
    let (datagrams, connections) = (sent[0], sent[1]);
    let grown = gateway.process.resident().saturating_sub(before) / 1024;
    println!(
        "{rate} messages/s; strangers: {datagrams} datagrams, {connections} connections; resident {grown} MB more\n  \
         without strangers    {quiet}\n  with strangers       {flooded}"
    );
    let cost = flooded.p99.saturating_sub(quiet.p99).as_secs_f64() * 1000.0;
    figure("p99 that a flood of strangers costs the served", 100.0, cost);
}

/// A line for the table of results, where `MOSTAR_RESULTS` names its file.
fn figure(name: &str, target: f64, measured: f64) {
    let text = format!("figure\t{name}\t{target} ms\t{measured:.1} ms\t{:.2}\n", measured / target);
    println!("{text}");
    if let Some(path) = std::env::var_os("MOSTAR_RESULTS") {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }
}

/// What was seen of one way.
struct Seen {
    way: Way,
    inward: Vec<Duration>,
    outward: Vec<Duration>,
    answered: Vec<Duration>,
}

impl Seen {
    fn add(&mut self, traffic: &Traffic, numbers: Range<usize>) {
        for number in numbers {
            let side = if number % 2 == 0 { &mut self.inward } else { &mut self.outward };
            side.push(traffic.took(number));
            self.answered.extend(traffic.answered_after(number));
        }
    }

    /// Prints it; what both directions come to.
    fn tell(self) -> Figures {
        let (inward, outward, all) = match self.way {
            Way::Prosody => ("component to XMPP", "XMPP to component", "Prosody alone"),
            Way::Mostar => ("SIP to XMPP", "XMPP to SIP", "Mostar and Prosody"),
        };
        let both = Figures::of([&self.inward[..], &self.outward].concat());
        println!(
            "  {inward:<20} {}\n  {outward:<20} {}",
            Figures::of(self.inward),
            Figures::of(self.outward)
        );
        if !self.answered.is_empty() {
            println!("  {:<20} {}", "SIP answered", Figures::of(self.answered));
        }
        println!("  {all:<20} {both}");
        both
    }
}

/// Which way messages take.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Clients and the played component.
    Prosody,
    /// Clients and the played SIP peer.
    Mostar,
}

struct World {
    clients: Vec<TcpStream>,
    played: TcpStream,
    sip: TcpStream,
}

impl World {
    /// Sends for a time, and waits until everything has arrived. The numbers of the messages: the even ones went to
    /// XMPP, the odd ones came from there.
    fn play(&mut self, traffic: &Traffic, way: Way, rate: usize, time: Duration) -> Range<usize> {
        let domain = if way == Way::Mostar { SIP_DOMAIN } else { PLAYED };
        traffic.run(rate, time, |number, [juliet, romeo], body| {
            let (juliet, romeo) = (juliet % USERS, romeo % USERS);
            let (user, contact) = (format!("juliet{juliet}@{XMPP_DOMAIN}"), format!("romeo{romeo}@{domain}"));
            if number % 2 == 0 && way == Way::Mostar {
                let request = gateway::request(number, &contact, &user, body);
                self.sip.write_all(request.as_bytes()).unwrap();
            } else if number % 2 == 0 {
                let stanza = stanza(&format!("from='{contact}' to='{user}'"), number, body);
                self.played.write_all(stanza.as_bytes()).unwrap();
            } else {
                let stanza = stanza(&format!("to='{contact}'"), number, body);
                self.clients[juliet].write_all(stanza.as_bytes()).unwrap();
            }
        })
    }
}

fn stanza(addresses: &str, number: usize, body: &str) -> String {
    format!("<message {addresses} type='chat' id='b{number}'><body>{body}</body></message>")
}
