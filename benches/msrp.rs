//! What MSRP costs below the gateway, without sockets: large messages received and sent, short ones both ways, an idle
//! session's memory.
//!
//! `cargo bench --bench msrp`. Compare figures of one run only.

#![allow(clippy::disallowed_types, clippy::unwrap_used, reason = "a measurement reads the clock")]

use std::time::Instant;

use bytes::Bytes;
use mostar::msrp::connections::{Connections, Out, SessionId};
use mostar::msrp::frame::Frame;
use mostar::msrp::frame::decoder::Decoder;
use mostar::msrp::message::OutMessage;
use mostar::msrp::path::Path;
use mostar::msrp::reassembly::Limits;
use mostar::msrp::session::{Event, Role, Terms};
use mostar::msrp::uri::{Host, Uri};
use mostar::msrp::{ConnId, Link, MsrpIn, MsrpOut};
use mostar::words::id::{Mint, Partition, Seed};
use mostar::words::time::Tick;

const PEER: &str = "msrp://192.0.2.7:2855/c2c3bb7e732f419aaf21;tcp";

fn main() {
    for (size, piece) in [(200_000, 16_384), (200_000, 65_536), (30_000, 16_384), (1_000, 1_000)] {
        receive(size, piece);
    }
    for size in [200_000, 30_000, 1_000] {
        send(size);
    }
    idle(20_000);
}

struct World {
    all: Connections,
    mint: Mint,
}

impl World {
    fn new() -> World {
        let limits = Limits { message: 1_000_000, session: 4_000_000 };
        World { all: Connections::new(limits, usize::MAX / 2), mint: Mint::new(Seed([6; 32])) }
    }

    /// A session that its peer has bound.
    fn session(&mut self, conn: u64) -> (SessionId, Uri) {
        let own = Uri::mint(&mut self.mint, Partition(1), false, &Host::parse("192.0.2.1").unwrap(), 2855);
        let id = self.all.offer(&self.mint, own.clone());
        let terms = Terms {
            path: Path::parse(PEER).unwrap(),
            role: Role::Passive,
            behalf: mostar::msrp::Behalf::Peer(0),
            anchor: None,
            fingerprint: None,
            max_size: None,
        };
        self.all.start(Tick(0), &mut self.mint, id, terms);
        let text = format!("MSRP abcd SEND\r\nTo-Path: {own}\r\nFrom-Path: {PEER}\r\n-------abcd$\r\n");
        let mut decoder = Decoder::new(1000);
        decoder.push(text.as_bytes());
        self.frame(conn, decoder.next_frame().unwrap().unwrap());
        while self.all.poll().is_some() {}
        (id, own)
    }

    fn frame(&mut self, conn: u64, frame: Frame) {
        let link = Link { conn: ConnId(conn), secure: false };
        self.all.handle(Tick(0), &mut self.mint, MsrpIn::Frame { link, frame: Box::new(frame) });
    }
}

/// Bytes to messages, each answered.
fn receive(size: usize, piece: usize) {
    let mut world = World::new();
    let (_, own) = world.session(1);
    let line = "a line of a message that is as long as lines are\r\n";
    let body: String = line.chars().cycle().take(size).collect();
    let count = 400_000_000 / (size + 2_000);
    let stream: Vec<u8> = (0..16)
        .flat_map(|number| {
            let tid = format!("c2c3bb7e732f4{number:02}");
            format!(
                "MSRP {tid} SEND\r\nTo-Path: {own}\r\nFrom-Path: {PEER}\r\nMessage-ID: {tid}\r\nByte-Range: 1-*/{size}\r\n\
                 Success-Report: yes\r\nContent-Type: text/plain\r\n\r\n{body}\r\n-------{tid}$\r\n"
            )
            .into_bytes()
        })
        .collect();
    let mut decoder = Decoder::new(1_000_000);
    let (mut got, mut bytes) = (0, 0);
    let began = Instant::now();
    while got < count {
        for piece in stream.chunks(piece) {
            decoder.push(piece);
            bytes += piece.len();
            while let Some(frame) = decoder.next_frame() {
                world.frame(1, frame.unwrap());
                while let Some(out) = world.all.poll() {
                    match out {
                        Out::Told { session, event: Event::Incoming { ticket, message } } => {
                            got += 1;
                            world.all.answer(Tick(0), &mut world.mint, session, ticket, 200);
                            world.all.report(Tick(0), &mut world.mint, session, &message.receipt, 200);
                        }
                        Out::Msrp(MsrpOut::Send { conn, bytes }) => {
                            let drained = MsrpIn::Drained { conn, bytes: bytes.len() };
                            world.all.handle(Tick(0), &mut world.mint, drained);
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    let took = began.elapsed();
    println!(
        "received {size} bytes, read by {piece}: {:.0} MB/s, {:.2} µs a message, answer and report included",
        bytes as f64 / took.as_secs_f64() / 1e6,
        took.as_secs_f64() * 1e6 / got as f64
    );
}

/// Messages to bytes, each chunk answered.
fn send(size: usize) {
    let mut world = World::new();
    let (id, own) = world.session(1);
    let body = Bytes::from("x".repeat(size));
    let count = 200_000_000 / (size + 2_000);
    let (mut decoder, mut bytes_out) = (Decoder::new(1_000_000), 0);
    let began = Instant::now();
    for number in 0..count {
        let message = OutMessage {
            success_report: false,
            ..OutMessage::new(format!("m{number:08}"), "text/plain", body.clone())
        };
        world.all.send(Tick(0), &mut world.mint, id, message).unwrap();
        while let Some(out) = world.all.poll() {
            let Out::Msrp(MsrpOut::Send { conn, bytes }) = out else { continue };
            bytes_out += bytes.len();
            world.all.handle(Tick(0), &mut world.mint, MsrpIn::Drained { conn, bytes: bytes.len() });
            decoder.push(&bytes);
            while let Some(frame) = decoder.next_frame() {
                let Frame::Request(request) = frame.unwrap() else { continue };
                let mut response = request.response(200).unwrap();
                response.to = own.clone().into();
                world.frame(1, Frame::Response(response));
            }
        }
    }
    let took = began.elapsed();
    println!(
        "sent {size} bytes: {:.0} MB/s, {:.2} µs a message, the peer's reading and its answers included",
        bytes_out as f64 / took.as_secs_f64() / 1e6,
        took.as_secs_f64() * 1e6 / count as f64
    );
}

/// Sessions that are open and say nothing, each with a connection and its decoder.
fn idle(count: u64) {
    let resident = || {
        let text = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let before = resident();
    let mut world = World::new();
    let mut decoders = Vec::new();
    for conn in 0..count {
        world.session(conn);
        decoders.push(Decoder::new(1_000_000));
    }
    let per = (resident().saturating_sub(before)) as f64 / count as f64;
    println!("{count} idle sessions: {per:.2} kB each ({} decoders)", decoders.len());
}
