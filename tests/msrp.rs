//! Plays the MSRP of recorded clients to our own, which takes the place of each person in turn.
//!
//! Every frame must be read and come out of the printer as it went in; every message must arrive whole; and what we
//! answer must be what the recorded person answered. Bodies that were cut from the recordings are rebuilt: they are
//! numbered lines.

#[path = "support/cut.rs"]
mod cut;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use bytes::BytesMut;
use mostar::msrp::connections::{Connections, Out, SessionId};
use mostar::msrp::frame::decoder::Decoder;
use mostar::msrp::frame::{FailureReport, Frame, Method};
use mostar::msrp::message::InMessage;
use mostar::msrp::path::Path;
use mostar::msrp::reassembly::Limits;
use mostar::msrp::session::{Event, Role, Terms};
use mostar::msrp::uri::Uri;
use mostar::msrp::{ConnId, Link, MsrpIn, MsrpOut};
use mostar::words::id::{Mint, Seed};
use mostar::words::time::Tick;

const RECORDINGS: [&str; 5] = [
    "sdk-msrp-chat.txt",
    "sdk-msrp-chunks.txt",
    "sdk-msrp-file.txt",
    "sdk-msrp-otr.txt",
    "sdk-focus-conference.txt",
];

/// One recorded frame.
struct Recorded {
    from: String,
    to: String,
    bytes: Vec<u8>,
}

fn recording(name: &str) -> Vec<Recorded> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts").join(name);
    let text = fs::read_to_string(path).expect("the recording is there");
    let mut frames = Vec::new();
    for part in text.split("\n--- ") {
        let Some((title, content)) = part.split_once('\n') else { continue };
        let words: Vec<_> = title.split_whitespace().collect();
        if let [_, from, "->", to, "msrp/tcp", ..] = words.as_slice() {
            let bytes = cut::rebuilt(&format!("{}\r\n", content.trim_end())).into_bytes();
            frames.push(Recorded { from: (*from).into(), to: (*to).into(), bytes });
        }
    }
    if name == "sdk-msrp-file.txt" {
        let first = frames.iter().position(|frame| frame.bytes.len() > 60_000).expect("the first chunk");
        let more: Vec<_> = (1..4).map(|number| chunk_between(&frames[first], number)).collect();
        frames.splice(first + 1..first + 1, more);
    }
    frames
}

fn whole_file() -> String {
    (0..5000)
        .map(|number| format!("{number:06} a line of a file of some three hundred kilobytes\n"))
        .collect()
}

/// A chunk of the file that is missing from the recording, made like the first.
fn chunk_between(first: &Recorded, number: usize) -> Recorded {
    let file = whole_file();
    let start = number * 65_536;
    let text = String::from_utf8_lossy(&first.bytes).into_owned();
    let (head, _) = text.split_once("\r\n\r\n").expect("a head");
    let tid = format!("c2c3bb7e732f42{number}");
    let head = head.replace("c2c3bb7e732f419", &tid).replace("1-*/", &format!("{}-*/", start + 1));
    let bytes = format!("{head}\r\n\r\n{}\r\n-------{tid}+\r\n", &file[start..start + 65_536]).into_bytes();
    Recorded { from: first.from.clone(), to: first.to.clone(), bytes }
}

fn read(bytes: &[u8]) -> Frame {
    let mut decoder = Decoder::new(1_000_000);
    decoder.push(bytes);
    let frame = decoder.next_frame().expect("it is whole").expect("it is MSRP");
    assert!(
        decoder.next_frame().is_none() && decoder.pending() == 0,
        "{:.200}",
        String::from_utf8_lossy(bytes)
    );
    frame
}

#[test]
fn every_recorded_frame_is_read_and_printed_as_it_was() {
    let mut count = 0;
    for name in RECORDINGS {
        for recorded in recording(name) {
            let frame = read(&recorded.bytes);
            if let Frame::Request(request) = &frame {
                assert_eq!(request.fault, None);
            }
            let mut printed = BytesMut::new();
            frame.write(&mut printed);
            assert_eq!(read(&printed), frame);
            count += 1;
        }
    }
    assert_eq!(count, 126, "frames");
}

#[test]
fn recorded_streams_are_the_same_however_they_are_cut() {
    for name in RECORDINGS {
        let frames = recording(name);
        let stream: Vec<u8> = frames.iter().flat_map(|frame| frame.bytes.clone()).collect();
        for size in [1, 7, 100, 1460, 65_536] {
            let mut decoder = Decoder::new(1_000_000);
            let mut got = Vec::new();
            for piece in stream.chunks(size) {
                decoder.push(piece);
                got.extend(std::iter::from_fn(|| decoder.next_frame()));
            }
            assert_eq!(got.len(), frames.len(), "{name} in pieces of {size}");
            assert!(got.iter().all(Result::is_ok));
        }
    }
}

/// What we said in somebody's place.
#[derive(Default)]
struct Said {
    messages: Vec<InMessage>,
    /// Codes by transaction.
    answers: BTreeMap<String, u16>,
    /// The Message-ID and the last byte of each REPORT.
    reports: BTreeSet<(String, u64)>,
    opened: usize,
}

/// Plays everything that was sent to `person` to our own endpoint.
fn play(frames: &[Recorded], person: &str) -> Said {
    play_within(1_000_000, frames, person)
}

/// The same where messages are at most so long.
fn play_within(message: usize, frames: &[Recorded], person: &str) -> Said {
    let limits = Limits { message, session: 2 * message };
    let (mut mint, mut all) = (Mint::new(Seed([4; 32])), Connections::new(limits, 10_000_000));
    let mut sessions: BTreeMap<String, (SessionId, ConnId)> = BTreeMap::new();
    let mut said = Said::default();
    for recorded in frames.iter().filter(|frame| frame.to == person) {
        let frame = read(&recorded.bytes);
        let (own, from) = match &frame {
            Frame::Request(request) => (request.to.to_string(), request.from.clone()),
            Frame::Response(response) => (response.to.to_string(), response.from.clone()),
        };
        let next = ConnId(sessions.len() as u64);
        let (_, conn) = *sessions.entry(own.clone()).or_insert_with(|| {
            let id = all.offer(&mint, Uri::parse(&own).expect("a URI"));
            let terms = Terms {
                path: from,
                role: Role::Passive,
                behalf: mostar::msrp::Behalf::Peer(0),
                anchor: None,
                fingerprint: None,
                max_size: None,
            };
            all.start(Tick(0), &mut mint, id, terms);
            (id, next)
        });
        let link = Link { conn, secure: false };
        all.handle(Tick(0), &mut mint, MsrpIn::Frame { link, frame: Box::new(frame) });
        while let Some(out) = all.poll() {
            match out {
                Out::Told { event: Event::Opened, .. } => said.opened += 1,
                Out::Told { session, event: Event::Incoming { ticket, message } } => {
                    all.answer(Tick(0), &mut mint, session, ticket, 200);
                    all.report(Tick(0), &mut mint, session, &message.receipt, 200);
                    said.messages.push(*message);
                }
                Out::Msrp(MsrpOut::Send { bytes, conn }) => {
                    all.handle(Tick(0), &mut mint, MsrpIn::Drained { conn, bytes: bytes.len() });
                    let mut decoder = Decoder::new(1_000_000);
                    decoder.push(&bytes);
                    while let Some(frame) = decoder.next_frame() {
                        match frame.expect("we print MSRP") {
                            Frame::Response(response) => {
                                said.answers.insert(response.tid, response.code);
                            }
                            Frame::Request(request) => {
                                assert_eq!(request.method, Method::Report);
                                let end = request.range.and_then(|range| range.end).unwrap_or_default();
                                said.reports.insert((request.message_id.unwrap_or_default(), end));
                            }
                        }
                    }
                }
                Out::Msrp(MsrpOut::Keep(_)) | Out::Note(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    said
}

#[test]
fn what_we_answer_is_what_the_recorded_clients_answered() {
    for name in RECORDINGS {
        let frames = recording(name);
        let people: BTreeSet<_> = frames.iter().map(|frame| frame.to.clone()).collect();
        for person in people {
            let said = play(&frames, &person);
            let methods: BTreeMap<_, _> = frames
                .iter()
                .filter(|frame| frame.to == person)
                .filter_map(|frame| match read(&frame.bytes) {
                    Frame::Request(request) => Some((request.tid, request.method)),
                    Frame::Response(_) => None,
                })
                .collect();
            let (mut answers, mut reports) = (BTreeMap::new(), BTreeSet::new());
            for frame in frames.iter().filter(|frame| frame.from == person) {
                match read(&frame.bytes) {
                    Frame::Response(response) => {
                        // What we do not do is answered so.
                        let code = match methods.get(&response.tid) {
                            Some(Method::Send) => response.code,
                            _ => 501,
                        };
                        answers.insert(response.tid, code);
                    }
                    Frame::Request(request) if request.method == Method::Report => {
                        let end = request.range.and_then(|range| range.end).unwrap_or_default();
                        let last =
                            reports.iter().find(|(id, _)| Some(id) == request.message_id.as_ref()).cloned();
                        // A report for each chunk there, one for the whole here.
                        reports.retain(|one| Some(one) != last.as_ref());
                        let end = end.max(last.map_or(0, |(_, end)| end));
                        reports.insert((request.message_id.unwrap_or_default(), end));
                    }
                    Frame::Request(_) => {}
                }
            }
            if name == "sdk-msrp-file.txt" && person == "bob" {
                for number in 1..4 {
                    answers.insert(format!("c2c3bb7e732f42{number}"), 200);
                }
            }
            assert_eq!(said.answers, answers, "{name}: answers of {person}");
            assert_eq!(said.reports, reports, "{name}: reports of {person}");
        }
    }
}

#[test]
fn recorded_messages_arrive_whole() {
    let bodies = |name: &str, person: &str| {
        let said = play(&recording(name), person);
        assert_eq!(said.opened, 1, "{name}");
        said.messages
            .into_iter()
            .map(|message| String::from_utf8_lossy(&message.body).into_owned())
            .collect::<Vec<_>>()
    };
    let chat = bodies("sdk-msrp-chat.txt", "bob");
    assert_eq!(chat.iter().map(String::len).collect::<Vec<_>>(), [355, 353, 211, 28_406]);
    assert!(chat[2].ends_with("over MSRP é 😀"));
    assert_eq!(bodies("sdk-msrp-chunks.txt", "bob")[0].len(), 200_166);
    assert_eq!(bodies("sdk-msrp-file.txt", "bob"), [whole_file()]);
    let by_default = mostar::config::Messages::default().max_message;
    let said = play_within(by_default, &recording("sdk-msrp-chunks.txt"), "bob");
    assert_eq!(said.messages.first().map(|message| message.body.len()), Some(200_166));
    let typing = play(&recording("sdk-msrp-otr.txt"), "bob");
    let unanswered = |message: &InMessage| message.receipt.failure_report == FailureReport::No;
    assert!(typing.messages.iter().any(unanswered));
}

#[test]
fn our_first_send_is_the_recorded_one() {
    let recorded = recording("sdk-msrp-chat.txt");
    let Frame::Request(theirs) = read(&recorded[0].bytes) else { panic!("a request") };
    let (mut mint, mut all) =
        (Mint::new(Seed([5; 32])), Connections::new(Limits { message: 1000, session: 1000 }, 10_000));
    let id = all.offer(&mint, theirs.from.last().clone());
    let path = Path::parse(&theirs.to.to_string()).expect("a path");
    let terms = Terms {
        path,
        role: Role::Active,
        behalf: mostar::msrp::Behalf::Peer(0),
        anchor: None,
        fingerprint: None,
        max_size: None,
    };
    all.start(Tick(0), &mut mint, id, terms);
    let Some(Out::Msrp(MsrpOut::Connect { attempt, hop, .. })) = all.poll() else { panic!("it connects") };
    assert_eq!(hop, theirs.to.first().hop());
    let link = Link { conn: ConnId(1), secure: false };
    all.handle(Tick(0), &mut mint, MsrpIn::Connected { attempt, link });
    let Some(Out::Msrp(MsrpOut::Send { bytes, .. })) = all.poll() else { panic!("it speaks") };
    let Frame::Request(mut ours) = read(&bytes) else { panic!("a request") };
    ours.tid.clone_from(&theirs.tid);
    ours.message_id.clone_from(&theirs.message_id);
    assert_eq!(ours, theirs);
}
