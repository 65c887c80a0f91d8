//! Chunks to messages (RFC 4975 §7.3.1): in any order, overlapping, repeated, of unknown total, several messages at
//! once.
//!
//! A chunk is as long as it is; its range only says where it begins. The chunk with `$` defines the end of the message.
//! A message in one piece is taken as it is, whatever its range says, since clients count characters in it. Bytes that
//! come twice are taken from the later chunk. What is held is limited by message, by session and by the room that the
//! caller has left in the machine; what does not fit is refused with 413, as are the chunks that still follow. Pieces
//! whose rest does not come are let go of after a time.
//!
//! It deliberately does not answer: it says what a chunk means, and the session answers.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::frame::{ByteRange, Flag, Request};
use super::message::{InMessage, Receipt};
use super::pieces::Pieces;
use crate::words::time::Tick;

/// How long a message may stay without a new chunk.
pub const ABANDONED_AFTER: Duration = Duration::from_secs(60);

/// How many messages may be incomplete at once in one session. Senders send one after the other.
const INCOMPLETE: usize = 16;

/// How many separate pieces a message may be in.
const PIECES: usize = 64;

/// How many messages are remembered whose chunks may still come: those that are complete, void or refused.
const REMEMBERED: usize = 64;

/// How much one session may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest message.
    pub message: usize,
    /// All incomplete messages of a session together.
    pub session: usize,
}

/// What a chunk with content means.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// The message is whole.
    Whole(Box<InMessage>),
    /// More is missing.
    Part,
    /// Its message was whole before, or is void now: there is nothing to do.
    Nothing,
    /// It is refused with this code, and so is its message.
    Refused(u16),
}

/// The incomplete messages of one session.
#[derive(Debug, Default)]
pub struct Reassembly {
    incomplete: BTreeMap<String, Incomplete>,
    /// Messages that are over, the oldest first, with the code that chunks get which still come.
    over: VecDeque<(String, Option<u16>)>,
    held: usize,
}

#[derive(Debug)]
struct Incomplete {
    first: Receipt,
    content_type: Option<String>,
    headers: Vec<(String, String)>,
    bytes: Vec<u8>,
    /// Which bytes are there.
    pieces: Pieces,
    /// The length, once `$` has come.
    end: Option<usize>,
    /// Where the last chunk ended by its range and in truth, if these differ: its sender counts characters.
    drift: Option<(u64, usize)>,
    deadline: Tick,
}

impl Reassembly {
    /// Whether a request without a body says that nothing more follows of a message that is incomplete.
    pub fn is_ended_by(&self, request: &Request) -> bool {
        let is_known = request.message_id.as_ref().is_some_and(|id| self.incomplete.contains_key(id));
        let is_last = match request.flag {
            Flag::Complete => request.range.is_some_and(|range| range.start > 1),
            Flag::Aborted => true,
            Flag::More => false,
        };
        is_known && is_last
    }

    /// Takes a chunk with a body and a Message-ID. `room` is what the machine has left for all sessions together.
    pub fn take(&mut self, now: Tick, limits: Limits, room: usize, request: &Request) -> Taken {
        let (Some(id), Some(body)) = (&request.message_id, &request.body) else { return Taken::Refused(400) };
        if let Some((_, code)) = self.over.iter().find(|(over, _)| over == id) {
            match code {
                Some(code) => return Taken::Refused(*code),
                // A whole message under an id that was used before is for the owner to judge.
                None if !is_whole(request) => return Taken::Nothing,
                None => {}
            }
        }
        if request.flag == Flag::Aborted {
            self.drop_message(id);
            self.remember(id, None);
            return Taken::Nothing;
        }
        let range = request.range.unwrap_or(ByteRange { start: 1, end: None, total: None });
        let Some(start) = range.start.checked_sub(1) else { return self.refuse(id, 400) };
        let announced = range.total.unwrap_or(0).max(start.saturating_add(body.len() as u64));
        if announced > limits.message as u64 {
            return self.refuse(id, 413);
        }
        if is_whole(request) {
            // Nothing follows that would have to be remembered.
            self.drop_message(id);
            return Taken::Whole(Box::new(InMessage {
                content_type: request.content_type.clone(),
                headers: request.headers.clone(),
                body: body.clone(),
                receipt: Receipt::of(request, body.len() as u64),
            }));
        }
        if !self.incomplete.contains_key(id) {
            if self.incomplete.len() >= INCOMPLETE {
                return self.refuse(id, 413);
            }
            self.incomplete.insert(id.clone(), Incomplete::new(request));
        }
        let Some(message) = self.incomplete.get_mut(id) else { return Taken::Refused(413) };
        let at = message.place(range, start as usize);
        let (before, end) = (message.bytes.len(), at.saturating_add(body.len()));
        let more = end.saturating_sub(before);
        if end > limits.message || self.held + more > limits.session || more > room {
            return self.refuse(id, 413);
        }
        message.put(at, body, range, request.flag);
        message.deadline = now + ABANDONED_AFTER;
        self.held += message.bytes.len() - before;
        if message.pieces.count() > PIECES {
            return self.refuse(id, 413);
        }
        if !message.is_whole() {
            return Taken::Part;
        }
        let Some(mut message) = self.drop_message(id) else { return Taken::Nothing };
        self.remember(id, None);
        let length = message.end.unwrap_or(0);
        message.bytes.truncate(length);
        Taken::Whole(Box::new(InMessage {
            content_type: message.content_type,
            headers: message.headers,
            body: Bytes::from(message.bytes),
            receipt: Receipt { length: length as u64, ..message.first },
        }))
    }

    /// Refuses a message: what is held of it is dropped, and what still comes of it is refused too.
    pub fn refuse(&mut self, id: &str, code: u16) -> Taken {
        self.drop_message(id);
        self.remember(id, Some(code));
        Taken::Refused(code)
    }

    /// Forgets that a message has come, since its owner would not have it: it may come again.
    pub fn forget(&mut self, id: &str) {
        self.over.retain(|(over, _)| over != id);
    }

    /// When [`Reassembly::expire`] is wanted.
    pub fn next_timeout(&self) -> Option<Tick> {
        self.incomplete.values().map(|message| message.deadline).min()
    }

    /// Lets go of a message whose rest has not come in time, and says of which. Call until there is none.
    pub fn expire(&mut self, now: Tick) -> Option<Receipt> {
        let (id, _) = self.incomplete.iter().find(|(_, message)| message.deadline <= now)?;
        let id = id.clone();
        let message = self.drop_message(&id)?;
        self.remember(&id, Some(408));
        Some(Receipt { length: message.bytes.len() as u64, ..message.first })
    }

    /// How many bytes are held.
    pub fn held(&self) -> usize {
        self.held
    }

    fn drop_message(&mut self, id: &str) -> Option<Incomplete> {
        let message = self.incomplete.remove(id)?;
        self.held -= message.bytes.len();
        Some(message)
    }

    fn remember(&mut self, id: &str, code: Option<u16>) {
        self.forget(id);
        if self.over.len() >= REMEMBERED {
            self.over.pop_front();
        }
        self.over.push_back((id.to_owned(), code));
    }
}

/// A message in one piece (§7.3.1).
fn is_whole(request: &Request) -> bool {
    request.flag == Flag::Complete && request.range.is_none_or(|range| range.start == 1)
}

impl Incomplete {
    fn new(request: &Request) -> Incomplete {
        Incomplete {
            first: Receipt::of(request, 0),
            content_type: request.content_type.clone(),
            headers: request.headers.clone(),
            bytes: Vec::new(),
            pieces: Pieces::default(),
            end: None,
            drift: None,
            deadline: Tick(0),
        }
    }

    /// Where a chunk belongs: where its range says, unless it follows one whose range was wrong.
    fn place(&self, range: ByteRange, start: usize) -> usize {
        match self.drift {
            Some((claimed, end)) if range.start == claimed.saturating_add(1) => end,
            _ => start,
        }
    }

    fn put(&mut self, at: usize, body: &[u8], range: ByteRange, flag: Flag) {
        let end = at + body.len();
        if at == self.bytes.len() {
            self.bytes.extend_from_slice(body);
        } else {
            if self.bytes.len() < end {
                self.bytes.resize(end, 0);
            }
            self.bytes[at..end].copy_from_slice(body);
        }
        let claimed = range.end.filter(|claimed| *claimed != end as u64);
        self.drift = claimed.map(|claimed| (claimed, end));
        if flag == Flag::Complete {
            self.end = Some(end);
        }
        self.pieces.add(at as u64, end as u64);
    }

    fn is_whole(&self) -> bool {
        self.end.is_some_and(|end| self.pieces.covers(end as u64))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::msrp::frame::Method;
    use crate::msrp::path::Path;

    const LIMITS: Limits = Limits { message: 1000, session: 2000 };

    fn chunk(id: &str, range: &str, body: &str, flag: Flag) -> Request {
        let path = Path::parse("msrp://a:1/a;tcp").unwrap();
        Request {
            message_id: Some(id.into()),
            range: Some(ByteRange::parse(range).unwrap()),
            content_type: Some("text/plain".into()),
            body: Some(Bytes::from(body.to_owned())),
            flag,
            ..Request::new("abcd".into(), Method::Send, path.clone(), path)
        }
    }

    #[derive(Default)]
    struct Heap(Reassembly);

    impl Heap {
        /// In short: the message, `-` for a part, `.` for nothing, the code of a refusal.
        fn take(&mut self, chunk: &Request) -> String {
            match self.0.take(Tick(0), LIMITS, 10_000, chunk) {
                Taken::Whole(message) => String::from_utf8(message.body.to_vec()).unwrap(),
                Taken::Part => "-".into(),
                Taken::Nothing => ".".into(),
                Taken::Refused(code) => code.to_string(),
            }
        }

        fn all(&mut self, chunks: &[(&str, &str, Flag)]) -> String {
            let told: Vec<_> = chunks
                .iter()
                .map(|(range, body, flag)| self.take(&chunk("id12", range, body, *flag)))
                .collect();
            told.join(" ")
        }
    }

    use Flag::{Aborted, Complete, More};

    #[test]
    fn a_message_in_one_piece_is_taken_as_it_is_whatever_its_range_says() {
        for range in ["1-5/5", "1-3/3", "1-*/*", "1-900/900", "1-0/0"] {
            assert_eq!(Heap::default().all(&[(range, "héllo", Complete)]), "héllo", "{range}");
        }
        let mut without = chunk("id12", "1-5/5", "hello", Complete);
        without.range = None;
        assert_eq!(Heap::default().take(&without), "hello");
    }

    #[test]
    fn chunks_come_in_any_order_and_with_any_total() {
        assert_eq!(Heap::default().all(&[("1-*/6", "abc", More), ("4-6/6", "def", Complete)]), "- abcdef");
        assert_eq!(
            Heap::default().all(&[("5-6/*", "ef", Complete), ("3-*/*", "cd", More), ("1-*/*", "ab", More)]),
            "- - abcdef"
        );
        let mut heap = Heap::default();
        heap.all(&[("5-6/*", "ef", Complete)]);
        assert_eq!(heap.all(&[("1-4/*", "abcd", More)]), "abcdef");
        assert_eq!(heap.0.held(), 0);
    }

    #[test]
    fn what_overlaps_is_taken_from_the_later_chunk() {
        let got =
            Heap::default().all(&[("1-*/*", "abcd", More), ("3-*/*", "CDE", More), ("6-6/6", "f", Complete)]);
        assert_eq!(got, "- - abCDEf");
    }

    #[test]
    fn chunks_of_a_message_that_was_whole_before_are_nothing() {
        let mut heap = Heap::default();
        heap.all(&[("1-*/4", "ab", More), ("3-4/4", "cd", Complete)]);
        assert_eq!(heap.all(&[("1-*/4", "ab", More), ("3-4/4", "cd", Complete)]), ". .");
        heap.0.forget("id12");
        assert_eq!(heap.all(&[("1-*/4", "ab", More), ("3-4/4", "cd", Complete)]), "- abcd");
    }

    #[test]
    fn messages_may_be_interleaved() {
        let mut heap = Heap::default();
        assert_eq!(heap.take(&chunk("one1", "1-*/4", "ab", More)), "-");
        assert_eq!(heap.take(&chunk("two2", "1-*/4", "AB", More)), "-");
        assert_eq!(heap.take(&chunk("one1", "3-4/4", "cd", Complete)), "abcd");
        assert_eq!(heap.take(&chunk("two2", "3-4/4", "CD", Complete)), "ABCD");
    }

    #[test]
    fn an_aborted_message_is_void() {
        let mut heap = Heap::default();
        assert_eq!(
            heap.all(&[("1-*/4", "ab", More), ("3-4/4", "c", Aborted), ("1-*/4", "ab", More)]),
            "- . ."
        );
        assert_eq!(heap.0.held(), 0);
    }

    #[test]
    fn ranges_that_count_characters_do_not_tear_a_message() {
        // "é" is one character in two bytes.
        let got = Heap::default().all(&[("1-3/6", "éab", More), ("4-6/6", "écd", Complete)]);
        assert_eq!(got, "- éabécd");
    }

    #[test]
    fn what_is_too_long_is_refused_at_the_first_chunk_that_says_so() {
        let mut heap = Heap::default();
        assert_eq!(heap.all(&[("1-*/1001", "ab", More), ("3-*/1001", "cd", More)]), "413 413");
        assert_eq!(heap.take(&chunk("two2", "999-*/*", "abc", More)), "413");
        assert_eq!(heap.take(&chunk("thr3", "18446744073709551615-*/*", "abc", More)), "413");
        assert_eq!(heap.take(&chunk("fou4", "0-1/2", "abc", More)), "400");
        assert_eq!(heap.0.held(), 0);
    }

    #[test]
    fn a_session_holds_so_much_and_no_more() {
        let mut heap = Heap::default();
        let half = "x".repeat(900);
        assert_eq!(heap.take(&chunk("one1", "1-*/*", &half, More)), "-");
        assert_eq!(heap.take(&chunk("two2", "1-*/*", &half, More)), "-");
        assert_eq!(heap.take(&chunk("thr3", "1-*/*", &half, More)), "413");
        assert_eq!(heap.0.held(), 1800);
        assert_eq!(heap.take(&chunk("one1", "901-901/901", "y", Complete)).len(), 901);
        assert_eq!(heap.0.held(), 900);
    }

    #[test]
    fn the_machine_has_so_much_room_and_no_more() {
        let mut heap = Reassembly::default();
        let half = chunk("one1", "1-*/*", &"x".repeat(100), More);
        assert_eq!(heap.take(Tick(0), LIMITS, 99, &half), Taken::Refused(413));
        assert_eq!(heap.take(Tick(0), LIMITS, 99, &chunk("two2", "1-2/2", "ab", More)), Taken::Part);
    }

    #[test]
    fn a_message_in_too_many_pieces_and_too_many_messages_are_refused() {
        let mut heap = Heap::default();
        let told: Vec<_> = (1..=65)
            .map(|number| heap.take(&chunk("id12", &format!("{}-*/*", number * 2), "x", More)))
            .collect();
        assert_eq!((told[63].as_str(), told[64].as_str()), ("-", "413"));
        let told: Vec<_> =
            (0..17).map(|number| heap.take(&chunk(&format!("no{number}"), "1-*/*", "x", More))).collect();
        assert_eq!((told[15].as_str(), told[16].as_str()), ("-", "413"));
    }

    #[test]
    fn abandoned_pieces_are_let_go_of() {
        let mut heap = Heap::default();
        heap.take(&chunk("id12", "1-*/*", "abc", More));
        let at = heap.0.next_timeout().unwrap();
        assert_eq!(at, Tick(0) + ABANDONED_AFTER);
        assert_eq!(heap.0.expire(Tick(at.0 - 1)), None);
        let gone = heap.0.expire(at).unwrap();
        assert_eq!((gone.message_id.as_str(), gone.length), ("id12", 3));
        assert_eq!((heap.0.held(), heap.0.next_timeout(), heap.0.expire(at)), (0, None, None));
        assert_eq!(heap.take(&chunk("id12", "4-6/6", "def", Complete)), "408");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_message_is_the_same_however_it_is_cut_shuffled_and_repeated(
            text in "[a-zé]{1,200}",
            cuts in proptest::collection::vec(7_usize..30, 1..20),
            order in any::<u64>(),
        ) {
            let bytes = text.as_bytes();
            let mut chunks = Vec::new();
            let (mut at, mut cuts) = (0, cuts.iter().cycle());
            while at < bytes.len() {
                let end = (at + cuts.next().copied().unwrap_or(1)).min(bytes.len());
                let flag = if end == bytes.len() { Complete } else { More };
                let mut one = chunk("id12", &format!("{}-{end}/{}", at + 1, bytes.len()), "", flag);
                one.body = Some(Bytes::copy_from_slice(&bytes[at..end]));
                chunks.push(one);
                at = end;
            }
            // Each chunk twice, in an order that the number decides; but not the first time whole by itself.
            let mut doubled: Vec<_> = chunks.iter().chain(&chunks).collect();
            let mut mint = crate::words::id::Mint::new(crate::words::id::Seed([order as u8; 32]));
            for last in (1..doubled.len()).rev() {
                doubled.swap(last, mint.below(last as u64 + 1) as usize);
            }
            let mut heap = Reassembly::default();
            let limits = Limits { message: 1000, session: 1000 };
            let whole: Vec<_> = doubled
                .into_iter()
                .filter_map(|one| match heap.take(Tick(0), limits, 1000, one) {
                    Taken::Whole(message) => Some(message.body),
                    _ => None,
                })
                .collect();
            let times = if chunks.len() == 1 { 2 } else { 1 };
            prop_assert_eq!(whole, vec![Bytes::from(text); times]);
            prop_assert_eq!(heap.held(), 0);
        }
    }
}
