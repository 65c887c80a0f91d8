//! What phones and the gateway say to each other in MSRP: letters in pieces, shuffled, mixed and repeated, answers,
//! reports, typing; and what each end may conclude from it.

use std::collections::BTreeSet;

use bytes::Bytes;
use mostar::gateway::Output;
use mostar::msrp::MsrpOut;
use mostar::msrp::frame::decoder::Decoder;
use mostar::msrp::frame::{ByteRange, FailureReport, Flag, Frame, Method, Request, Status};
use mostar::sip::framing;
use mostar::sip::message::{HeaderName, Message, text};
use mostar::xmpp::stanza::Stanza;

use super::ledger::key_of;
use super::phone::Stage;
use super::support::invariants::Invariant::*;
use super::world::{Event, PEACE, World};

/// After so many milliseconds pieces without the rest are reported, and slow readers have read that.
const ABANDONED: u64 = 100_000;

/// A text of a SIP user's.
#[derive(Debug)]
pub struct Letter {
    pub key: String,
    message_id: String,
    romeo: u8,
    juliet: u8,
    type_: &'static str,
    body: Bytes,
    pieces: Vec<(usize, usize)>,
    report: FailureReport,
    success: bool,
    call: usize,
    acked: BTreeSet<usize>,
    /// Which pieces the gateway has of this session's.
    there: BTreeSet<usize>,
    /// The piece that made it whole there.
    whole_by: Option<String>,
    tries: u8,
    over: bool,
    /// Its last piece is never sent in its first session.
    torn: bool,
}

impl World {
    /// Now and then a text is long: then it has several chunks.
    pub fn padding(&mut self) -> String {
        let length = match self.course.below(100) {
            0 => 30_000,
            1..12 => 2_000 + self.course.below(6_000),
            12..30 => self.course.below(600),
            _ => 0,
        };
        if length == 0 { String::new() } else { format!(" {}", "x".repeat(length as usize)) }
    }

    /// A SIP user writes in a session, or in one that opens.
    pub fn phone_writes(&mut self, number: usize) {
        let written = self.course.count();
        let key = format!("from-sip-{written}");
        let (romeo, juliet) = (self.calls[number].romeo, self.calls[number].juliet);
        self.ledger.written(true, &key, (format!("romeo{romeo}"), format!("juliet{juliet}")), written);
        self.ledger.of(&key).into_iter().for_each(|fate| fate.in_session = true);
        let said = format!("{key}{}", self.padding());
        let (type_, body) = if self.calls[number].wrapped {
            let envelope = format!(
                "From: <sip:romeo{romeo}@example.net>\r\nTo: <sip:juliet{juliet}@example.com>\r\n\r\n\
                 Content-Type: text/plain; charset=utf-8\r\n\r\n{said}"
            );
            ("message/cpim", envelope)
        } else {
            ("text/plain", said)
        };
        let mut pieces = vec![(0, body.len())];
        let cuts = if body.len() < 40 { self.course.below(2) } else { self.course.below(4) };
        for _ in 0..cuts {
            let at = self.course.below(pieces.len() as u64) as usize;
            let (from, to) = pieces[at];
            if to - from >= 2 {
                let cut = from + 1 + self.course.below((to - from - 1) as u64) as usize;
                pieces.splice(at..=at, [(from, cut), (cut, to)]);
            }
        }
        let report = match self.course.below(12) {
            0 => FailureReport::No,
            1 => FailureReport::Partial,
            _ => FailureReport::Yes,
        };
        if report != FailureReport::Yes {
            // Nobody answers it.
            self.ledger.of(&key).into_iter().for_each(|fate| fate.doubt = true);
        }
        let letter = Letter {
            message_id: format!("msg{written}"),
            key,
            romeo,
            juliet,
            type_,
            body: body.into(),
            pieces,
            report,
            success: self.course.chance(30),
            call: number,
            acked: BTreeSet::new(),
            there: BTreeSet::new(),
            whole_by: None,
            tries: 0,
            over: false,
            torn: false,
        };
        let index = self.letters.len();
        self.letters.push(letter);
        self.posts(index, number);
    }

    /// The pieces of a letter are to be sent in a session.
    fn posts(&mut self, index: usize, number: usize) {
        let letter = &mut self.letters[index];
        (letter.call, letter.acked, letter.there) = (number, BTreeSet::new(), BTreeSet::new());
        letter.whole_by = None;
        letter.tries += 1;
        let mut order: Vec<usize> = (0..letter.pieces.len()).collect();
        if self.course.chance(40) {
            for place in (1..order.len()).rev() {
                order.swap(place, self.course.below(place as u64 + 1) as usize);
            }
        }
        if self.course.chance(10) {
            order.push(order[0]);
        }
        let may_tear = self.course.now < PEACE && self.letters[index].tries == 1 && order.len() > 1;
        if may_tear && self.letters[index].report == FailureReport::Yes && self.course.chance(15) {
            let letter = &mut self.letters[index];
            letter.torn = true;
            order.retain(|piece| *piece + 1 != letter.pieces.len());
            let key = letter.key.clone();
            self.ledger.of(&key).into_iter().for_each(|fate| fate.doubt = true);
        }
        for piece in order {
            // Pieces of several letters mix, now and then.
            let call = &self.calls[number];
            let behind = call.queue.len();
            let at = if behind > 0 && self.course.chance(15) {
                self.course.below(behind as u64 + 1) as usize
            } else {
                behind
            };
            self.calls[number].queue.insert(at, (index, piece));
        }
        self.speaks_soon(number);
    }

    fn speaks_soon(&mut self, number: usize) {
        let call = &mut self.calls[number];
        if call.open && !call.speaking && !call.queue.is_empty() && call.stage == Stage::Up {
            call.speaking = true;
            let wait = self.course.below(25);
            self.course.after(wait, Event::Speaks(number));
        }
    }

    /// A phone has its connection, or opens it, and says the first words.
    pub fn dials(&mut self, number: usize) {
        if self.calls[number].stage != Stage::Up
            || self.calls[number].peer.is_none()
            || self.calls[number].conn.is_some()
        {
            return;
        }
        let conn = self.dial(self.calls[number].romeo);
        self.calls[number].conn = Some(conn);
        self.course.note(&format!("call {number} uses connection {conn}"));
        // Some speak at once.
        if !self.calls[number].queue.is_empty() && self.course.chance(30) {
            self.calls[number].open = true;
            return self.speaks_soon(number);
        }
        let greeting = self.frame(number, Method::Send);
        let range = ByteRange { start: 1, end: Some(0), total: Some(0) };
        let message_id = Some(format!("{}m", greeting.tid));
        self.greetings.insert(greeting.tid.clone(), number);
        self.frame_out(conn, Frame::Request(Request { range: Some(range), message_id, ..greeting }));
    }

    fn frame(&mut self, number: usize, method: Method) -> Request {
        let tid = format!("tid{}", self.course.count());
        let call = &self.calls[number];
        let to = call.peer.clone().unwrap_or_else(|| call.own.clone());
        Request::new(tid, method, to, call.own.clone())
    }

    /// A phone sends the next piece.
    pub fn speaks(&mut self, number: usize) {
        self.calls[number].speaking = false;
        let call = &mut self.calls[number];
        let (Some(conn), Stage::Up) = (call.conn, call.stage) else { return };
        let Some((index, piece)) = call.queue.pop_front() else { return };
        if self.course.chance(8) {
            self.types(number, conn);
        }
        let request = self.frame(number, Method::Send);
        let letter = &self.letters[index];
        let (from, to) = letter.pieces[piece];
        let total = letter.body.len();
        let known = !letter.message_id.ends_with('7');
        let flag = if to == total { Flag::Complete } else { Flag::More };
        self.spoken.insert(request.tid.clone(), (index, piece, number));
        let request = Request {
            message_id: Some(letter.message_id.clone()),
            range: Some(ByteRange {
                start: from as u64 + 1,
                end: Some(to as u64),
                total: (known || to == total).then_some(total as u64),
            }),
            success_report: letter.success,
            failure_report: letter.report,
            content_type: Some(letter.type_.into()),
            body: Some(letter.body.slice(from..to)),
            flag,
            ..request
        };
        self.frame_out(conn, Frame::Request(request));
        self.speaks_soon(number);
    }

    fn types(&mut self, number: usize, conn: u64) {
        let request = self.frame(number, Method::Send);
        let state = if self.course.chance(50) { "active" } else { "idle" };
        let body = format!(
            "<?xml version='1.0'?><isComposing xmlns='urn:ietf:params:xml:ns:im-iscomposing'><state>{state}</state></isComposing>"
        );
        let length = body.len() as u64;
        let request = Request {
            message_id: Some(format!("{}t", request.tid)),
            range: Some(ByteRange { start: 1, end: Some(length), total: Some(length) }),
            failure_report: FailureReport::No,
            content_type: Some("application/im-iscomposing+xml".into()),
            body: Some(body.into()),
            ..request
        };
        self.frame_out(conn, Frame::Request(request));
    }

    /// A piece of a letter comes to the gateway.
    pub fn arrives_at_gateway(&mut self, tid: &str) {
        let Some((index, piece, number)) = self.spoken.get(tid).copied() else { return };
        let letter = &mut self.letters[index];
        if letter.call == number {
            letter.there.insert(piece);
            if letter.torn && letter.there.len() + 1 == letter.pieces.len() {
                let torn = Event::Torn(index, number, self.process.life);
                return self.course.after(ABANDONED, torn);
            }
            let letter = &mut self.letters[index];
            if letter.there.len() == letter.pieces.len() && letter.whole_by.is_none() {
                letter.whole_by = Some(tid.to_owned());
            }
        }
    }

    /// Pieces of a letter have lain at the gateway for long enough: in a session that lives its phone must have been told.
    pub fn torn(&mut self, index: usize, number: usize, life: u64) {
        let (letter, call) = (&self.letters[index], &self.calls[number]);
        let lives = call.stage == Stage::Up && call.conn.is_some_and(|conn| self.is_alive(conn));
        // Who has moved meanwhile has left them behind on the old path, where nothing can be told any more.
        let stays = letter.call == number && letter.tries == 1 && !letter.over;
        if lives && life == self.process.life && stays && call.open {
            let key = letter.key.clone();
            let told = self.ledger.of(&key).is_none_or(|fate| fate.late || !fate.answers.is_empty());
            self.ledger.totals.torn += 1;
            self.ledger.checks.hold(Msrp, told, || format!("pieces of {key} were let go of in silence"));
        }
    }

    /// A frame leaves the gateway: is what it says true by now?
    pub fn leaves(&mut self, frame: &Frame) {
        match frame {
            Frame::Response(response) if response.code == 200 => {
                let Some((index, _, _)) = self.spoken.get(&response.tid) else { return };
                let letter = &self.letters[*index];
                if letter.whole_by.as_deref() == Some(&response.tid) {
                    let key = letter.key.clone();
                    self.ledger.acknowledged(&key, "MSRP 200");
                }
            }
            Frame::Request(request) if request.method == Method::Send => {
                let key = request
                    .body
                    .as_ref()
                    .and_then(|body| key_of(&String::from_utf8_lossy(body)).map(str::to_owned));
                self.goes_out(key.as_deref(), "SEND");
            }
            Frame::Request(request) => {
                let failure = request.status.as_ref().filter(|status| status.code != 200);
                if let Some(key) = failure.and_then(|_| self.letter_of(request)) {
                    self.tells(&key);
                }
            }
            _ => {}
        }
    }

    /// Which letter a report is about.
    fn letter_of(&self, report: &Request) -> Option<String> {
        let id = report.message_id.as_ref()?;
        self.letters.iter().find(|letter| letter.message_id == *id).map(|letter| letter.key.clone())
    }

    fn tells(&mut self, key: &str) {
        let now = self.course.now;
        self.ledger.of(key).into_iter().for_each(|fate| fate.telling = Some(now));
    }

    /// A stanza leaves the gateway: it may tell of a failure.
    pub fn leaves_in_xmpp(&mut self, stanza: &Stanza) {
        if stanza.type_() == Some("error") {
            let key = format!("from-xmpp-{}", stanza.id().unwrap_or_default().trim_start_matches("sim-"));
            self.tells(&key);
            // The stream that would carry it is gone.
            let is_in_vain = self.link.is_multiple_of(2);
            self.ledger.of(&key).into_iter().for_each(|fate| fate.in_vain |= is_in_vain);
        }
    }

    /// Something was to leave when the process died, and what it was about is settled on disk.
    pub fn dies_with(&mut self, output: &Output) {
        match output {
            Output::Stanza(_, stanza) => self.leaves_in_xmpp(stanza),
            Output::Msrp(MsrpOut::Send { bytes, .. }) => {
                let mut decoder = Decoder::new(1 << 20);
                decoder.push(bytes);
                while let Some(Ok(frame)) = decoder.next_frame() {
                    self.leaves(&frame);
                }
            }
            _ => {}
        }
    }

    /// A SIP message leaves the gateway: the same question.
    pub fn leaves_in_sip(&mut self, bytes: &Bytes) {
        if bytes.starts_with(b"MESSAGE ") {
            let said = String::from_utf8_lossy(bytes).into_owned();
            let body = said.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            self.goes_out(key_of(body).filter(|key| key.starts_with("from-xmpp")), "MESSAGE");
        } else if bytes.starts_with(b"SIP/2.0 2")
            && let Ok(Message::Response(response)) = framing::datagram(bytes.clone())
            && let Some(call) = text(&response.headers, &HeaderName::CallId)
            && let Some((_, body)) = self.pending.get(&call).cloned()
        {
            self.ledger.acknowledged(&body, "SIP 2xx");
        }
    }

    /// What the gateway knows to have arrived is not sent again.
    fn goes_out(&mut self, key: Option<&str>, how: &str) {
        let Some(key) = key else { return };
        let fate = self.ledger.of(key);
        if fate.is_some_and(|fate| fate.confirmed) {
            self.ledger.wrong(Again, format!("{key} was sent by {how} though it had been confirmed"));
        }
    }

    // ---- what the gateway sends

    /// A frame comes to a phone.
    pub fn phone_takes(&mut self, conn: u64, frame: &Frame) {
        match frame {
            Frame::Response(response) => self.phone_answered(&response.tid, response.code),
            Frame::Request(request) => {
                let own = request.to.last();
                let found =
                    self.calls.iter().rposition(|call| call.own.last() == own && call.stage == Stage::Up);
                match (found, &request.method) {
                    (Some(number), Method::Send) => self.phone_hears_line(conn, number, request),
                    (Some(_), Method::Report) => self.phone_hears_report(request),
                    _ => self.respond(conn, request, 481),
                }
            }
        }
    }

    fn respond(&mut self, conn: u64, request: &Request, code: u16) {
        if let Some(response) = request.response(code) {
            self.frame_out(conn, Frame::Response(response));
        }
    }

    fn phone_hears_line(&mut self, conn: u64, number: usize, request: &Request) {
        let call = &mut self.calls[number];
        if call.conn.is_some_and(|known| known != conn) {
            return self.respond(conn, request, 506);
        }
        call.conn = Some(conn);
        call.open = true;
        self.speaks_soon(number);
        let call = &mut self.calls[number];
        let (Some(body), Some(id), Some(range)) = (&request.body, &request.message_id, request.range) else {
            return self.respond(conn, request, 200);
        };
        let (mute, refuses) = (call.mute, call.refuses);
        let is_text = request.content_type.as_deref().is_some_and(|type_| !type_.contains("iscomposing"));
        if let Some(code) = refuses.filter(|_| is_text) {
            if let Some(key) = key_of(&String::from_utf8_lossy(body))
                && let Some(fate) = self.ledger.of(key)
            {
                fate.refused_there = true;
            }
            return self.respond(conn, request, code);
        }
        let held = call.incoming.entry(id.clone()).or_default();
        if range.start != held.1 + 1 {
            let key = key_of(&String::from_utf8_lossy(body)).unwrap_or_default().to_owned();
            self.ledger.wrong(Msrp, format!("a chunk at {} of {id} {key} came out of order", range.start));
            return;
        }
        held.0.extend_from_slice(body);
        held.1 += body.len() as u64;
        if request.flag != Flag::Complete {
            if !mute {
                self.respond(conn, request, 200);
            }
            return;
        }
        let Some((whole, length)) = call.incoming.remove(id) else { return };
        let again = !call.read.insert(id.clone());
        let token = call.own.last().session().unwrap_or_default().to_owned();
        let Some(key) = key_of(&String::from_utf8_lossy(&whole)).map(str::to_owned) else {
            return self.respond(conn, request, 200);
        };
        if again {
            self.ledger.wrong(Msrp, format!("{key} was sent twice in one session"));
        }
        self.displays(&key, id, Some(token));
        if mute {
            self.ledger.of(&key).into_iter().for_each(|fate| fate.doubt = true);
            return;
        }
        self.confirming.insert(request.tid.clone(), (key.clone(), number));
        self.respond(conn, request, 200);
        if self.course.now < PEACE && self.course.chance(3) {
            self.ledger.of(&key).into_iter().for_each(|fate| fate.refused_there = true);
            self.report(number, conn, id, length, 403);
        } else if request.success_report {
            self.report(number, conn, id, length, 200);
        }
    }

    fn report(&mut self, number: usize, conn: u64, id: &str, length: u64, code: u16) {
        let report = self.frame(number, Method::Report);
        let report = Request {
            message_id: Some(id.to_owned()),
            range: Some(ByteRange { start: 1, end: Some(length), total: Some(length) }),
            status: Some(Status { namespace: 0, code, comment: String::new() }),
            ..report
        };
        let wait = if self.course.chance(50) { 0 } else { self.course.below(3_000) };
        self.course.after(wait, Event::Reports(number, conn, Box::new(report)));
    }

    /// A report that took its time.
    pub fn reports(&mut self, number: usize, conn: u64, report: Request) {
        if self.calls[number].conn == Some(conn) && self.is_alive(conn) {
            self.frame_out(conn, Frame::Request(report));
        }
    }

    /// A SIP user sees a line, which came in a session or as a MESSAGE.
    pub fn displays(&mut self, key: &str, identity: &str, way: Option<String>) {
        self.ledger.arrived(self.course.now, false, key, identity);
        let Some(fate) = self.ledger.from_xmpp.get_mut(key) else { return };
        if !fate.ways.contains(&way) {
            fate.ways.push(way);
        }
        let before: Vec<String> = fate.ways.iter().flatten().cloned().collect();
        if fate.ways.len() > 1 {
            self.course.after(70_000, Event::Judges(key.to_owned(), before));
        }
    }

    /// What came twice must have come in a session that broke.
    pub fn judges(&mut self, key: &str, tokens: &[String]) {
        let is_used = |token: &&String| {
            self.calls.iter().any(|call| {
                call.stage == Stage::Up && call.open && call.own.last().session() == Some(token.as_str())
            })
        };
        let used = tokens.iter().filter(is_used).count();
        let ways = self.ledger.of(key).map_or(0, |fate| fate.ways.len());
        if used > 1 || used == 1 && ways > tokens.len() {
            self.ledger.wrong(Msrp, format!("{key} came twice, and no session had broken"));
        }
    }

    /// The gateway has a phone's 200.
    pub fn confirm(&mut self, tid: &str) {
        let Some((key, number)) = self.confirming.remove(tid) else { return };
        if self.calls[number].stage == Stage::Up && !self.calls[number].mute {
            self.ledger.of(&key).into_iter().for_each(|fate| fate.confirmed = true);
        }
    }

    // ---- what the gateway answers

    fn phone_answered(&mut self, tid: &str, code: u16) {
        let Some((index, piece, number)) = self.spoken.get(tid).copied() else {
            if let Some(number) = self.greetings.remove(tid).filter(|_| code == 200) {
                self.calls[number].open = true;
                self.speaks_soon(number);
            }
            return;
        };
        let letter = &mut self.letters[index];
        if letter.call != number || letter.over {
            return;
        }
        if code != 200 {
            if matches!(code, 481 | 506) {
                return self.hangs(number);
            }
            letter.over = true;
            let key = letter.key.clone();
            self.ledger.of(&key).into_iter().for_each(|fate| fate.answers.push(code));
            return self.calls[number].queue.retain(|(other, _)| *other != index);
        }
        letter.acked.insert(piece);
        if letter.acked.len() == letter.pieces.len() {
            letter.over = true;
            let key = letter.key.clone();
            self.ledger.of(&key).into_iter().for_each(|fate| fate.answers.push(200));
        }
    }

    fn phone_hears_report(&mut self, report: &Request) {
        let (Some(key), Some(status)) = (self.letter_of(report), &report.status) else { return };
        if status.code == 200 {
            self.ledger.proven(&key, "REPORT");
        } else {
            self.ledger.of(&key).into_iter().for_each(|fate| fate.late = true);
        }
    }

    /// A connection is gone, as its phone sees it.
    pub fn hears(&mut self, conn: u64) {
        for number in 0..self.calls.len() {
            if self.calls[number].conn != Some(conn) || self.calls[number].stage == Stage::Over {
                continue;
            }
            self.unsettled(number);
            (self.calls[number].conn, self.calls[number].open) = (None, false);
            if self.calls[number].ours || self.course.chance(60) {
                let wait = self.course.below(5_000);
                self.course.after(wait, Event::Hangs(number));
            }
        }
    }

    /// A session ends, or its connection has: what is not answered is in doubt, and may be sent again in another.
    pub fn unsettled(&mut self, number: usize) {
        self.calls[number].queue.clear();
        for (key, call) in self.confirming.values() {
            if *call == number {
                self.ledger.of(key).into_iter().for_each(|fate| fate.doubt = true);
            }
        }
        for index in 0..self.letters.len() {
            let letter = &self.letters[index];
            if letter.call != number || letter.over {
                continue;
            }
            let (key, tries) = (letter.key.clone(), letter.tries);
            self.ledger.of(&key).into_iter().for_each(|fate| fate.doubt = true);
            if tries < 4 && letter.report == FailureReport::Yes && self.course.chance(70) {
                let wait = 100 + self.course.below(3_000);
                self.course.after(wait, Event::Resends(index));
            } else {
                self.letters[index].over = true;
            }
        }
    }

    /// A letter goes again, in another session (RFC 4975 §5.4).
    pub fn resends(&mut self, index: usize) {
        let letter = &self.letters[index];
        if letter.over {
            return;
        }
        let (romeo, juliet) = (letter.romeo, letter.juliet);
        let number = self.call_with(romeo, juliet).unwrap_or_else(|| self.calls_juliet(romeo, juliet));
        self.posts(index, number);
    }
}
