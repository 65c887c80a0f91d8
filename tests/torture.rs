//! The torture tests of RFC 4475 and RFC 5118: each message over UDP, and over TCP in pieces of any size; the gateway
//! gives the answer that `torture/expected.json` wants, to nobody but the sender, and goes on answering.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use mostar::gateway::{Gateway, Input, LinkChange, LinkId, Output};
use mostar::sip::flow::Transport::{self, Tcp, Udp};
use mostar::sip::flow::{BadSip, SipOut};
use mostar::sip::framing::{self, Stream};
use mostar::sip::message::Message;
use mostar::words::id::{Mint, Seed};
use mostar::words::time::{Now, Tick, Wall};
use serde::Deserialize;
use support::node::{arriving, flow};
use support::vector;

/// What is said of one message.
#[derive(Deserialize)]
struct Wanted {
    expect: Vec<String>,
    method: String,
    file: String,
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn wanted() -> BTreeMap<String, Wanted> {
    let text = std::fs::read_to_string(here().join("tests/torture/expected.json")).expect("expected.json");
    serde_json::from_str(&text).expect("JSON")
}

/// A gateway that one peer of every domain speaks to.
struct World {
    gateway: Gateway,
    now: Tick,
    stream: Stream,
    closed: bool,
}

impl World {
    fn new() -> World {
        let mut config = vector::config();
        config.sip.peers[0].any_domain = true;
        config.sip.peers[0].networks = vec!["2001:db8::1/128".parse().expect("a network")];
        let mut world = World {
            gateway: Gateway::new(Arc::new(config), Seed([5; 32])),
            now: Tick(0),
            stream: Stream::new(),
            closed: false,
        };
        world.handle(Input::RestoreDone);
        world.handle(Input::Link(LinkId(0), LinkChange::Up));
        world
    }

    /// The responses that an input and the second after it bring.
    fn handle(&mut self, input: Input) -> Vec<SipOut> {
        let wall = Wall(1_795_219_200_000 + self.now.0 / 1000);
        self.gateway.handle(Now { tick: self.now, wall }, input);
        let mut sent = Vec::new();
        while let Some(output) = self.gateway.poll() {
            let output = if let Output::Now(inner) = output { *inner } else { output };
            match output {
                Output::Sip(out) if out.bytes.starts_with(b"SIP/2.0 ") => sent.push(out),
                Output::Close(_) => self.closed = true,
                _ => {}
            }
        }
        sent
    }

    fn wait(&mut self) -> Vec<SipOut> {
        let until = Tick(self.now.0 + 1_000_000);
        let mut sent = Vec::new();
        while let Some((at, _)) = self.gateway.next_timeout().filter(|(at, _)| *at <= until) {
            self.now = self.now.max(at);
            sent.extend(self.handle(Input::Timeout));
        }
        self.now = until;
        sent
    }

    fn arrive(&mut self, transport: Transport, message: Result<Message, BadSip>) -> Vec<SipOut> {
        let flow = flow(transport, "192.0.2.1:5062");
        self.handle(match message {
            Ok(message) => Input::Sip(flow, Box::new(message)),
            Err(bad) => Input::BadSip(flow, bad),
        })
    }

    /// The final statuses that bytes bring, one for each request, in order.
    fn statuses(&mut self, transport: Transport, bytes: &[u8], pieces: &[usize]) -> Vec<String> {
        let mut sent = Vec::new();
        match transport {
            Udp => sent.extend(self.arrive(Udp, framing::datagram(Bytes::copy_from_slice(bytes)))),
            Tcp => {
                let mut rest = bytes;
                for size in pieces.iter().cycle() {
                    let (piece, after) = rest.split_at((*size).min(rest.len()));
                    for message in self.stream.push(piece) {
                        sent.extend(self.arrive(Tcp, message));
                    }
                    rest = after;
                    if rest.is_empty() {
                        break;
                    }
                }
            }
        }
        sent.extend(self.wait());
        let mut statuses: Vec<(String, String)> = Vec::new();
        for out in sent {
            assert_eq!(out.target.remote.ip().to_string(), "192.0.2.1", "an answer to a third party");
            let text = String::from_utf8_lossy(&out.bytes).into_owned();
            let read = framing::datagram(out.bytes).map_err(|bad| bad.reason);
            assert!(matches!(read, Ok(Message::Response(_))), "{read:?}\n{text}");
            let status = text.split(' ').nth(1).unwrap_or_default().to_owned();
            let call = support::node::header(&text, "CSeq").to_owned();
            if !status.starts_with('1') && !statuses.contains(&(status.clone(), call.clone())) {
                statuses.push((status, call));
            }
        }
        statuses.into_iter().map(|(status, _)| status).collect()
    }

    fn still_answers(&mut self, name: &str) {
        let ok = arriving("OPTIONS", &format!("after{name}"), "");
        // An INVITE that still lacks its ACK may have its answer repeated meanwhile.
        assert!(self.statuses(Udp, ok.as_bytes(), &[]).contains(&"200".to_owned()), "after {name}");
        let mut fresh = Stream::new();
        std::mem::swap(&mut self.stream, &mut fresh);
        assert!(self.statuses(Tcp, ok.as_bytes(), &[7]).contains(&"200".to_owned()), "after {name}");
    }
}

/// Whether the answers are what is wanted, or what is wrong with them.
fn judge(
    wanted: &Wanted,
    transport: Transport,
    bytes: &[u8],
    got: &[String],
    closed: bool,
) -> Result<(), String> {
    let head = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let head = head.split("\r\n\r\n").next().unwrap_or_default();
    let is_framed = head.contains("\r\ncontent-length") || head.contains("\r\nl:") || head.contains("\r\nl ");
    let drop_is_right = wanted.expect.iter().any(|expect| expect == "drop");
    let Some(first) = got.first() else {
        // Over TCP what never comes, a body or the end of the head, is waited for; the connection's own patience ends that.
        let is_cut = !bytes.windows(4).any(|four| four == b"\r\n\r\n");
        let waits =
            transport == Tcp && (is_cut || head.contains("length: 9999") || head.contains("length: 8888"));
        // No Via, or nothing that could be called a request: counted, not answered (RFC 3261 §8.2.6.2).
        return if drop_is_right || waits { Ok(()) } else { Err("no answer".into()) };
    };
    if transport == Tcp && !is_framed {
        return if first == "400" && closed { Ok(()) } else { Err(format!("{got:?} to an endless message")) };
    }
    let refusals = ["400", "416", "420", "482", "500", "505"];
    let fits = wanted.expect.iter().any(|expect| match expect.as_str() {
        "ok" => !refusals.contains(&first.as_str()),
        "drop" => false,
        status => status == first,
    });
    // Calls come later: until then an INVITE that is understood gets 405, whatever its body deserves.
    let is_early =
        wanted.method == "INVITE" && first == "405" && wanted.expect.iter().any(|status| status != "400");
    if transport == Udp && got.len() > 1 {
        return Err(format!("several answers: {got:?}"));
    }
    if fits || is_early { Ok(()) } else { Err(format!("{got:?} instead of {:?}", wanted.expect)) }
}

/// Every message by every way; the list of what went wrong.
fn torture(read: impl Fn(&str, &Wanted) -> Vec<u8>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut mint = Mint::new(Seed([9; 32]));
    for (name, wanted) in wanted() {
        let bytes = read(&name, &wanted);
        let random: Vec<usize> = (0..50).map(|_| 1 + mint.below(120) as usize).collect();
        for (transport, pieces) in [(Udp, vec![]), (Tcp, vec![1]), (Tcp, random), (Tcp, vec![usize::MAX])] {
            let mut world = World::new();
            let got = world.statuses(transport, &bytes, &pieces);
            if let Err(why) = judge(&wanted, transport, &bytes, &got, world.closed) {
                wrong.push(format!("{name} over {transport}, in pieces of {:?}: {why}", pieces.first()));
            }
            world.still_answers(&name);
        }
    }
    wrong
}

#[test]
fn our_own_messages() {
    let wrong = torture(|name, _| {
        let path = here().join(format!("tests/torture/own/{name}.sip"));
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Those of RFC 5118 come from the text of the RFC: with a text's line ends, in places without the empty line after the
/// head, and one with a Content-Length that is too large, which is not what it tests.
fn mended(text: &str) -> Vec<u8> {
    let (head, body) = text.split_once("\n\n").unwrap_or((text.trim_end(), ""));
    let body = body.replace('\n', "\r\n");
    let lines = head.lines().map(|line| {
        if line.starts_with("Content-Length") {
            format!("Content-Length: {}\r\n", body.len())
        } else {
            format!("{line}\r\n")
        }
    });
    format!("{}\r\n{body}", lines.collect::<String>()).into_bytes()
}

#[test]
fn the_messages_of_the_rfcs() {
    let beside = here().parent().map(|parent| parent.join("shared").join("torture"));
    let folder =
        std::env::var_os("MOSTAR_TORTURE").map(PathBuf::from).or(beside).filter(|path| path.is_dir());
    let Some(folder) = folder else {
        println!("The messages of RFC 4475 and RFC 5118 are not here (MOSTAR_TORTURE): not tried.");
        return;
    };
    let wrong = torture(|name, wanted| {
        let path = folder.join(&wanted.file);
        let bytes =
            std::fs::read(&path).unwrap_or_else(|error| panic!("{name}: {}: {error}", path.display()));
        if bytes.contains(&b'\r') { bytes } else { mended(&String::from_utf8_lossy(&bytes)) }
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
