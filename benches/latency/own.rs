//! What of the time under way is Mostar's own: the servers on both sides are played and do nothing, and the store is in
//! memory, so that no disk is waited for. What remains is Mostar, the sockets of loopback, and the scheduler of a machine
//! that also plays the servers. The same is played through the reference that does nothing else (`world/reference.rs`), in
//! turns: what that takes is nobody's.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use super::traffic::{Figures, Traffic};
use super::world::process::{Process, Setup};
use super::world::server::{self, Stream};
use super::world::{SIP_DOMAIN, XMPP_DOMAIN, connect, free, proxy, result};
use super::{ROUNDS, USERS, gateway, stanza};

/// The goal at 500 messages a second.
const MOST: Duration = Duration::from_millis(1);

/// A folder that is no disk's, where there is one.
const MEMORY: &str = "/dev/shm";

/// Plays both, in turns, and prints what was seen.
pub fn measure(rate: usize, seconds: u64) {
    let traffic = Traffic::new(rate * (1 + seconds as usize) * ROUNDS * 2);
    let mut worlds = [true, false].map(|is_mostar| World::start(is_mostar, &traffic));
    let mut seen = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (world, seen) in worlds.iter_mut().zip(&mut seen) {
            world.play(&traffic, rate, Duration::from_secs(1));
            let numbers = world.play(&traffic, rate, Duration::from_secs(seconds));
            seen.extend(numbers.map(|number| traffic.took(number)));
        }
    }
    let [mostar, bare] = seen.map(Figures::of);
    println!("{rate} messages/s, half of them each way; played servers, the store in memory:");
    println!("  {:<20} {mostar}\n  {:<20} {bare}", "Mostar", "nothing but sockets");
    let p99 = mostar.p99;
    let ratio = p99.as_secs_f64() / MOST.as_secs_f64();
    result(
        &format!("p99 of our own at {rate}/s"),
        "1 ms",
        &format!("{:.2} ms", p99.as_secs_f64() * 1e3),
        ratio,
    );
}

struct World {
    stream: Stream,
    sip: TcpStream,
    _process: Process,
    _folder: tempfile::TempDir,
}

impl World {
    fn start(is_mostar: bool, traffic: &Traffic) -> World {
        let folder = if Path::new(MEMORY).is_dir() {
            tempfile::tempdir_in(MEMORY).unwrap()
        } else {
            println!("there is no {MEMORY}: the store is on a disk, and the disk's time is counted too");
            tempfile::tempdir().unwrap()
        };
        let [component, peer] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [server, to_peer] = [&component, &peer].map(|listener| listener.local_addr().unwrap());
        let sip = free();
        let process = if is_mostar {
            let more = "msrp: { listen: [] }\nhttp: none\n";
            Process::start(folder.path(), &Setup { server, sip, peer: to_peer, of_peer: "", more })
        } else {
            let addresses = [server, sip, to_peer].map(|address| address.to_string());
            let arguments = [&["reference-gateway".to_owned()], &addresses[..], &["0".to_owned()]].concat();
            Process::of_this(&arguments, None)
        };
        let told = traffic.clone();
        let stream = Stream::accept(&component, move |text| {
            told.arrived(server::body(text)?);
            None
        });
        let sip = connect(sip);
        let told = traffic.clone();
        proxy::read_all(peer, &sip, move |message| {
            if message.status().is_some() {
                return None;
            }
            if message.method() == "MESSAGE" {
                told.arrived(&String::from_utf8_lossy(&message.body));
            }
            Some(message.ok("", ""))
        });
        World { stream, sip, _process: process, _folder: folder }
    }

    fn play(&mut self, traffic: &Traffic, rate: usize, time: Duration) -> std::ops::Range<usize> {
        traffic.run(rate, time, |number, [juliet, romeo], body| {
            let user = format!("juliet{}@{XMPP_DOMAIN}", juliet % USERS);
            let contact = format!("romeo{}@{SIP_DOMAIN}", romeo % USERS);
            if number % 2 == 0 {
                self.sip.write_all(gateway::request(number, &contact, &user, body).as_bytes()).unwrap();
            } else {
                self.stream.say(&stanza(&format!("from='{user}/balcony' to='{contact}'"), number, body));
            }
        })
    }
}
