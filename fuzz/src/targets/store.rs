//! What stands in a store: files of its journal, and records that a gateway is given back.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock};

use mostar::config::Config;
use mostar::gateway::{Gateway, Input, LinkChange, LinkId, Output};
use mostar::store::journal::entry;
use mostar::store::record::Restored;
use mostar::words::id::Seed;
use mostar::words::time::{Now, Tick, Wall};
use mostar::xmpp::stanza::StanzaKind;

use super::door::{self, config::config};
use super::{choice, parts};

/// A file of the journal: read as it is, and written from the same bytes and then damaged at one place.
pub fn journal(data: &[u8]) {
    for is_newest in [false, true] {
        let mut changes = 0;
        if let Ok(content) = entry::replay(data, 1, is_newest, |_, _| changes += 1) {
            assert!(content.end <= data.len() as u64 && content.changes == changes);
        }
    }
    let (place, rest) = choice(data);
    let mut file = entry::header(1, 5);
    let mut written: Vec<(String, Option<Vec<u8>>)> = Vec::new();
    let mut ends = vec![(file.len(), 0)];
    for (sequence, part) in (5..).zip(parts(rest).take(16)) {
        let mut buffer = Vec::new();
        entry::begin(&mut buffer);
        for change in part.split(|byte| *byte == b'\n') {
            let name = String::from_utf8_lossy(change.split(|byte| *byte == b'=').next().unwrap_or_default());
            match change.iter().position(|byte| *byte == b'=') {
                Some(at) => {
                    entry::save(&mut buffer, &name, &change[at + 1..]);
                    written.push((name.into_owned(), Some(change[at + 1..].to_vec())));
                }
                None => {
                    entry::forget(&mut buffer, &name);
                    written.push((name.into_owned(), None));
                }
            }
        }
        assert!(entry::seal(&mut buffer, 1, sequence));
        file.extend_from_slice(&buffer);
        ends.push((file.len(), written.len()));
    }
    let read = |file: &[u8]| {
        let mut told = Vec::new();
        let content = entry::replay(file, 1, true, |name, value| {
            told.push((name.to_owned(), value.map(<[u8]>::to_vec)));
        });
        (content, told)
    };
    assert_eq!(read(&file).1, written);
    // A file that a crash cut short is what was whole before.
    let cut = entry::HEADER + usize::from(place) * 8 % (file.len() - entry::HEADER + 1);
    let known = ends.iter().rev().find(|(end, _)| *end <= cut).map_or(0, |(_, count)| *count);
    let (content, told) = read(&file[..cut]);
    assert!(content.is_ok(), "{content:?}");
    assert_eq!(told, written[..known]);
}

/// Records as a store may hold them, `KEY=VALUE`: a gateway that is given them starts, asks, hears answers, and stops.
pub fn records(data: &[u8]) {
    static CONFIG: LazyLock<Arc<Config>> = LazyLock::new(|| Arc::new(config()));
    let mut life = Life {
        gateway: Gateway::new(CONFIG.clone(), Seed([3; 32])),
        now: Tick(0),
        // What is answered, and how, is drawn from the input.
        answers: data.iter().fold(0, |sum, byte| sum.rotate_left(5) ^ u64::from(*byte)),
        asked: 0,
    };
    let mut given = 0;
    for part in parts(data).take(64) {
        let at = part.iter().position(|byte| *byte == b'=').unwrap_or(part.len());
        let Ok(name) = std::str::from_utf8(&part[..at]) else { continue };
        let value = part.get(at + 1..).unwrap_or_default().to_vec();
        if let Some(record) = Restored::parse(name, value) {
            given += 1;
            life.handle(Input::Restored(record));
        }
    }
    life.handle(Input::RestoreDone);
    life.handle(Input::Link(LinkId(0), LinkChange::Up));
    let load = life.gateway.load();
    assert!(load <= 100 + 50 * given, "{load} of {given} records");
    for _ in 0..200 {
        let Some((at, _)) = life.gateway.next_timeout() else { break };
        life.now = life.now.max(at);
        life.handle(Input::Timeout);
    }
    life.handle(Input::Stop);
}

/// A gateway whose questions are answered.
struct Life {
    gateway: Gateway,
    now: Tick,
    answers: u64,
    asked: usize,
}

impl Life {
    fn handle(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let now = Now { tick: self.now, wall: Wall(1_795_219_200_000 + self.now.0 / 1000) };
            self.gateway.handle(now, input);
            for count in 0.. {
                let Some(output) = self.gateway.poll() else { break };
                assert!(count < 20_000, "a drain without end");
                inputs.extend(self.answer(output));
            }
        }
    }

    /// The answer to a request or to an IQ; nothing now and then, and after many.
    fn answer(&mut self, output: Output) -> Option<Input> {
        let output = if let Output::Now(inner) = output { *inner } else { output };
        self.asked += 1;
        self.answers = self.answers.rotate_left(7).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let how = *STATUSES.get((self.answers >> 60) as usize).filter(|_| self.asked < 300)?;
        match output {
            Output::Sip(out) => door::peer(&door::answer_to(&out.bytes, how.as_bytes())?),
            Output::Stanza(link, stanza) if stanza.kind == StanzaKind::Iq => {
                Some(Input::Stanza(link, stanza.result()?))
            }
            _ => None,
        }
    }
}

/// How requests are answered.
const STATUSES: [&str; 13] = [
    "200 OK\r\nExpires: 3600\r\nContact: <sip:romeo@192.0.2.1>\r\n\r\n",
    "200 OK\r\n\r\n",
    "202 Accepted\r\nExpires: 60\r\n\r\n",
    "180 Ringing\r\n\r\n",
    "302 Moved Temporarily\r\nContact: <sip:r@example.net>\r\n\r\n",
    "403 Forbidden\r\n\r\n",
    "404 Not Found\r\n\r\n",
    "408 Request Timeout\r\n\r\n",
    "423 Interval Too Brief\r\nMin-Expires: 7200\r\n\r\n",
    "481 Subscription does not exist\r\n\r\n",
    "489 Bad Event\r\n\r\n",
    "503 Service Unavailable\r\nRetry-After: 5\r\n\r\n",
    "603 Decline\r\n\r\n",
];
