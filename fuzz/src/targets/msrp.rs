//! MSRP: a connection's stream cut into frames, and sessions that are fed from it.

use bytes::{Bytes, BytesMut};
use mostar::msrp::connections::{Connections, Out, SessionId};
use mostar::msrp::frame::Frame;
use mostar::msrp::frame::decoder::Decoder;
use mostar::msrp::message::{OutMessage, Receipt};
use mostar::msrp::path::Path;
use mostar::msrp::reassembly::Limits;
use mostar::msrp::session::{Event, Role, Terms};
use mostar::msrp::uri::{Host, Uri};
use mostar::msrp::{Behalf, ConnId, Link, MsrpIn, MsrpOut};
use mostar::words::id::{Mint, Partition, Seed};
use mostar::words::time::Tick;

use super::{choice, parts, pieces};

/// Longer bodies are passed over.
const BODY: usize = 2_000;

fn read<'a>(bytes: impl Iterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<&'static str>) {
    let (mut decoder, mut out) = (Decoder::new(BODY), Vec::new());
    for piece in bytes {
        decoder.push(piece);
        while let Some(frame) = decoder.next_frame() {
            match frame {
                Ok(frame) => out.push(frame),
                Err(garbage) => return (out, Some(garbage.0)),
            }
        }
    }
    (out, None)
}

/// A stream: every cut gives the same frames, and a frame that is printed is read as the same.
pub fn frames(data: &[u8]) {
    let (seed, bytes) = choice(data);
    let (whole, garbage) = read(std::iter::once(bytes));
    let (cut, cut_garbage) = read(pieces(seed, bytes));
    assert_eq!(cut, whole);
    // What was seen first is named.
    assert_eq!(cut_garbage.is_some(), garbage.is_some());
    for frame in &whole {
        let mut printed = BytesMut::new();
        frame.write(&mut printed);
        // What may not stand in a line is replaced, and a body has a type.
        let is_plain =
            |headers: &[(String, String)]| !headers.iter().any(|(_, value)| value.contains(char::is_control));
        let is_odd = match frame {
            Frame::Request(request) => {
                let status = request.status.as_ref().map_or("", |status| &status.comment);
                let type_ = request.content_type.as_deref().unwrap_or_default();
                request.fault.is_some()
                    || request.oversize.is_some()
                    || request.body.is_some() != request.content_type.is_some()
                    || !is_plain(&request.headers)
                    || format!("{status}{type_}").contains(char::is_control)
            }
            // A response whose headers contradict themselves has no fault that would say so.
            Frame::Response(response) => {
                let names = ["Message-ID", "Byte-Range", "Status", "Success-Report", "Failure-Report"];
                let is_known = |name: &str| names.iter().any(|known| known.eq_ignore_ascii_case(name));
                response.headers.iter().any(|(name, _)| is_known(name))
                    || !is_plain(&response.headers)
                    || response.comment.contains(char::is_control)
            }
        };
        if !is_odd {
            let again = read(std::iter::once(&printed[..]));
            assert_eq!(again, (vec![frame.clone()], None), "{}", String::from_utf8_lossy(&printed));
        }
        if let Some(answer) = mostar::msrp::stray(frame) {
            assert_eq!(read(std::iter::once(&answer[..])).1, None);
        }
    }
}

/// Three sessions over one connection, two of which know their peer. A part of the program is bytes on the connection, or
/// what the shell or the owner says, by its first byte. `\x01`, `\x02` and `\x03` stand for the paths of the sessions.
pub fn sessions(data: &[u8]) {
    let limits = Limits { message: 4_000, session: 8_000 };
    let mut world = World {
        all: Connections::new(limits, 16_000),
        mint: Mint::new(Seed([4; 32])),
        now: Tick(0),
        ids: Vec::new(),
        paths: Vec::new(),
        messages: 0,
        receipts: Vec::new(),
    };
    let host = Host::parse("192.0.2.9").expect("a host");
    for _ in 0..3 {
        let own = Uri::mint(&mut world.mint, Partition(9), false, &host, 2855);
        world.paths.push(own.to_string());
        world.ids.push(world.all.offer(&world.mint, own));
    }
    for (place, role) in [(0, Role::Passive), (1, Role::Active)] {
        let path = Path::parse("msrp://192.0.2.1:2855/peer;tcp").expect("a path");
        let terms =
            Terms { path, anchor: None, role, behalf: Behalf::Peer(0), fingerprint: None, max_size: None };
        world.all.start(world.now, &mut world.mint, world.ids[place], terms);
    }
    world.all.take_nicknames(world.ids[0]);
    world.drain(8_000);
    let mut decoder = Decoder::new(BODY);
    for part in parts(data).take(100) {
        let (what, rest) = choice(part);
        match what {
            b'c' => world.connected(),
            b'l' => {
                decoder = Decoder::new(BODY);
                world.handle(MsrpIn::Lost { conn: LINK.conn, why: "reset".into() });
            }
            b't' => world.wait(rest.len() as u64 * 7),
            b's' => world.send(rest),
            b'f' => {
                let id = world.ids[rest.len() % 3];
                world.all.finish(world.now, &mut world.mint, id);
            }
            b'r' => world.report(rest.len()),
            _ => {
                let filled = world.fill(part);
                decoder.push(&filled);
                while let Some(frame) = decoder.next_frame() {
                    match frame {
                        Ok(frame) => world.handle(MsrpIn::Frame { link: LINK, frame: Box::new(frame) }),
                        Err(_) => {
                            decoder = Decoder::new(BODY);
                            world.handle(MsrpIn::Lost { conn: LINK.conn, why: "garbage".into() });
                        }
                    }
                }
            }
        }
        world.drain(16_000);
    }
    for id in world.ids.clone() {
        world.all.close(world.now, &mut world.mint, id);
    }
    world.wait(400);
    assert_eq!(world.all.held(), 0, "nothing is held when all is over");
}

const LINK: Link = Link { conn: ConnId(1), secure: false };

struct World {
    all: Connections,
    mint: Mint,
    now: Tick,
    ids: Vec<SessionId>,
    paths: Vec<String>,
    messages: usize,
    receipts: Vec<(SessionId, Receipt)>,
}

impl World {
    fn handle(&mut self, input: MsrpIn) {
        self.all.handle(self.now, &mut self.mint, input);
        self.drain(16_000);
    }

    /// What was asked for: the second session's connection.
    fn connected(&mut self) {
        let attempt = mostar::msrp::AttemptId(0);
        self.handle(MsrpIn::Connected { attempt, link: LINK });
    }

    fn wait(&mut self, seconds: u64) {
        let until = Tick(self.now.0 + seconds * 1_000_000);
        for round in 0.. {
            let Some((at, why)) = self.all.next_timeout().filter(|(at, _)| *at <= until) else { break };
            assert!(round < 5_000, "{why} rings for ever");
            self.now = self.now.max(at);
            self.all.timeout(self.now, &mut self.mint);
            self.drain(16_000);
        }
        self.now = until;
    }

    fn send(&mut self, body: &[u8]) {
        self.messages += 1;
        let body = Bytes::copy_from_slice(body);
        let message = OutMessage::new(format!("m{}", self.messages), "text/plain", body);
        let id = self.ids[self.messages % 3];
        let _ = self.all.send(self.now, &mut self.mint, id, message);
    }

    fn report(&mut self, place: usize) {
        if let Some((id, receipt)) = self.receipts.get(place % self.receipts.len().max(1)) {
            self.all.report(self.now, &mut self.mint, *id, receipt, 200);
        }
    }

    fn fill(&self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        for byte in bytes {
            match byte {
                1..=3 => out.extend_from_slice(self.paths[usize::from(byte - 1)].as_bytes()),
                other => out.push(*other),
            }
        }
        out
    }

    /// Everything that came out: frames are whole, messages are within the limits, and what came whole is answered.
    fn drain(&mut self, most: usize) {
        for round in 0.. {
            let Some(out) = self.all.poll() else { break };
            assert!(round < 10_000, "a drain without end");
            match out {
                Out::Msrp(MsrpOut::Send { conn, bytes }) => {
                    let (frames, garbage) = {
                        let mut decoder = Decoder::new(1 << 20);
                        decoder.push(&bytes);
                        let frames: Vec<_> = std::iter::from_fn(|| decoder.next_frame()).collect();
                        assert_eq!(decoder.pending(), 0, "half a frame: {}", String::from_utf8_lossy(&bytes));
                        (frames.len(), frames.iter().any(Result::is_err))
                    };
                    assert!(frames > 0 && !garbage, "{}", String::from_utf8_lossy(&bytes));
                    self.all.handle(self.now, &mut self.mint, MsrpIn::Drained { conn, bytes: bytes.len() });
                }
                Out::Told { session, event: Event::Incoming { ticket, message } } => {
                    assert!(message.body.len() <= 4_000, "{} bytes", message.body.len());
                    self.receipts.truncate(20);
                    self.receipts.push((session, message.receipt.clone()));
                    let code = if message.body.first() == Some(&b'!') { 413 } else { 200 };
                    self.all.answer(self.now, &mut self.mint, session, ticket, code);
                }
                Out::Told { session, event: Event::Nickname { ticket, nickname } } => {
                    let code = if nickname.is_empty() { 200 } else { 425 };
                    self.all.answer(self.now, &mut self.mint, session, ticket, code);
                }
                Out::Msrp(_) | Out::Told { .. } | Out::Note(_) => {}
            }
        }
        assert!(self.all.held() <= most, "{} bytes are held", self.all.held());
    }
}
