//! A stream of bytes to frames (RFC 4975 §5.1, §7.3.1): in any pieces, in one pass, in bounded memory.
//!
//! A frame ends by its end-line and by nothing else. Byte-Range does not frame: it may say `*`, and clients count
//! characters in it. Large bodies are handed on without being copied again; what is larger than the limit is passed
//! over until its end-line, and the request is handed on without it, so that it can be answered 413. Bytes that
//! cannot be framed, or whose request could not be answered, are [`Garbage`]: the connection must be closed.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;
use memchr::memmem::Finder;

use super::head::{self, Known, Start};
use super::{BODY_OF_OTHERS, Flag, Frame, Method};

/// The longest start line and headers together.
const HEAD_LIMIT: usize = 16 * 1024;

/// The most headers.
const HEADER_LIMIT: usize = 64;

/// Smaller bodies are copied out, so that a short line does not keep the whole buffer that it came in.
const COPIED: usize = 16 * 1024;

/// What was wrong with bytes that should have been MSRP. Framing is lost: the connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Garbage(pub &'static str);

/// Cuts one connection's stream into frames.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    /// Everything before this has been looked at.
    scanned: usize,
    state: State,
    body_limit: usize,
    known: Known,
}

#[derive(Debug)]
enum State {
    /// The start line and headers, up to a blank line or an end-line.
    ExpectHead(Head),
    /// The body, up to its end-line.
    ExpectEnd(Box<Body>),
    /// It was garbage.
    Lost,
}

/// A head that is being read.
#[derive(Debug, Default)]
struct Head {
    /// Where the line begins that is not complete yet.
    line: usize,
    /// Complete lines.
    lines: usize,
    /// What the first line says, and where the second begins.
    start: Option<(Start, usize)>,
}

/// A body that is being read.
#[derive(Debug)]
struct Body {
    frame: Frame,
    /// Where it begins in the buffer.
    start: usize,
    /// A line break, seven hyphens and the transaction id.
    end: Finder<'static>,
    limit: usize,
    /// So many bytes have been passed over: the body is too large.
    passed: Option<u64>,
}

impl std::fmt::Debug for Start {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.tid())
    }
}

impl Decoder {
    /// A decoder that has read nothing. `body_limit` is for SEND; other bodies have a limit of their own (§7.1).
    pub fn new(body_limit: usize) -> Decoder {
        Decoder {
            buffer: BytesMut::new(),
            scanned: 0,
            state: State::ExpectHead(Head::default()),
            body_limit,
            known: Known::default(),
        }
    }

    /// Another limit, from the next frame on: where memory is short, or the other end is better known.
    pub fn set_body_limit(&mut self, body_limit: usize) {
        self.body_limit = body_limit;
    }

    /// Takes bytes in. [`Decoder::next_frame`] is to be asked until it has nothing, before more are.
    pub fn push(&mut self, bytes: &[u8]) {
        if !matches!(self.state, State::Lost) {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next frame that is complete. After garbage nothing more comes.
    pub fn next_frame(&mut self) -> Option<Result<Frame, Garbage>> {
        let mut result = match self.state {
            State::Lost => return None,
            State::ExpectHead(_) => self.head().transpose(),
            State::ExpectEnd(_) => None,
        };
        if result.is_none() {
            result = self.body().map(Ok);
        }
        if let Some(Err(_)) = result {
            self.state = State::Lost;
            self.buffer = BytesMut::new();
        } else if self.buffer.is_empty() {
            // An idle connection holds no memory here.
            self.buffer = BytesMut::new();
        }
        result
    }

    /// Bytes of a frame that is not complete: memory that is held, and a reason not to wait for ever.
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }

    /// Reads a head, and so a frame if it has no body.
    fn head(&mut self) -> Result<Option<Frame>, Garbage> {
        let State::ExpectHead(head) = &mut self.state else { return Ok(None) };
        if head.lines == 0 && self.scanned < MAGIC.len() {
            // Line breaks between frames keep a NAT's binding alive. One may come in two pieces.
            while self.buffer.starts_with(b"\r\n") {
                self.buffer.advance(2);
                self.scanned = 0;
            }
            let seen = self.buffer.len().min(MAGIC.len());
            if self.buffer[..seen] != MAGIC[..seen] && &self.buffer[..] != b"\r" {
                return Err(Garbage("it is not MSRP"));
            }
        }
        while let Some(at) = memchr(b'\n', &self.buffer[self.scanned..]).map(|at| at + self.scanned) {
            self.scanned = at + 1;
            let Some(line) = self.buffer[head.line..at].strip_suffix(b"\r") else {
                return Err(Garbage("a line of the head ends by a bare LF"));
            };
            let (begin, next) = (head.line, at + 1);
            head.line = next;
            head.lines += 1;
            if next > HEAD_LIMIT || head.lines > HEADER_LIMIT + 2 {
                return Err(Garbage("the head is too long"));
            }
            let Some((start, second)) = head.start.take() else {
                head.start = Some((head::start_line(line)?, next));
                continue;
            };
            if line.is_empty() {
                let frame = head::headers(start, &self.buffer[second..begin], &mut self.known)?;
                self.state = State::ExpectEnd(Box::new(Body::new(frame, next, self.body_limit)));
                // A body that is empty may come without the line break that belongs to the end-line.
                self.scanned = begin;
                return Ok(None);
            }
            if let Some(rest) = line.strip_prefix(b"-------") {
                let flag = rest.strip_prefix(start.tid().as_bytes()).and_then(|flag| match flag {
                    [byte] => Flag::of(*byte),
                    _ => None,
                });
                let flag = flag.ok_or(Garbage("an end-line has another transaction id"))?;
                let mut frame = head::headers(start, &self.buffer[second..begin], &mut self.known)?;
                if let Frame::Request(request) = &mut frame {
                    request.flag = flag;
                }
                self.buffer.advance(next);
                self.restart();
                return Ok(Some(frame));
            }
            head.start = Some((start, second));
        }
        self.scanned = self.buffer.len();
        if self.buffer.len() > HEAD_LIMIT {
            return Err(Garbage("the head is too long"));
        }
        Ok(None)
    }

    /// Reads the body of a frame whose head has been read.
    fn body(&mut self) -> Option<Frame> {
        let State::ExpectEnd(body) = &mut self.state else { return None };
        let needle = body.end.needle().len();
        let (at, flag) = loop {
            let Some(at) = body.end.find(&self.buffer[self.scanned..]).map(|at| at + self.scanned) else {
                self.scanned = self.scanned.max((self.buffer.len() + 1).saturating_sub(needle));
                self.pass_over();
                return None;
            };
            match self.buffer[at + needle..] {
                [byte, b'\r', b'\n', ..] if Flag::of(byte).is_some() => break (at, Flag::of(byte)?),
                // It may become one.
                [] | [_] | [_, b'\r'] => {
                    self.scanned = at;
                    self.pass_over();
                    return None;
                }
                _ => self.scanned = at + 1,
            }
        };
        let (start, end, behind) = (body.start, at.max(body.start), at + needle + 3);
        let too_large = body.passed.is_some() || end - start > body.limit;
        let passed = body.passed.unwrap_or(0) + (end - start) as u64;
        let bytes = if too_large || end - start <= COPIED {
            let bytes =
                if too_large { Bytes::new() } else { Bytes::copy_from_slice(&self.buffer[start..end]) };
            self.buffer.advance(behind);
            bytes
        } else {
            let mut whole = self.buffer.split_to(behind);
            whole.advance(start);
            whole.truncate(end - start);
            whole.freeze()
        };
        let State::ExpectEnd(body) = std::mem::replace(&mut self.state, State::Lost) else { return None };
        self.restart();
        let mut frame = body.frame;
        // A response has no body (§9); one that has is taken without.
        if let Frame::Request(request) = &mut frame {
            request.flag = flag;
            if too_large {
                request.oversize = Some(passed);
            } else {
                request.body = Some(bytes);
            }
        }
        Some(frame)
    }

    /// Lets go of what was looked at and is too large to be kept.
    fn pass_over(&mut self) {
        let State::ExpectEnd(body) = &mut self.state else { return };
        let looked_at = self.scanned.saturating_sub(body.start);
        if body.passed.is_none() && looked_at <= body.limit {
            return;
        }
        body.passed = Some(body.passed.unwrap_or(0) + looked_at as u64);
        self.buffer.advance(self.scanned.max(body.start));
        body.start = 0;
        self.scanned = 0;
    }

    fn restart(&mut self) {
        self.state = State::ExpectHead(Head::default());
        self.scanned = 0;
    }
}

/// What each frame begins with.
const MAGIC: &[u8] = b"MSRP ";

impl Body {
    fn new(frame: Frame, start: usize, send_limit: usize) -> Body {
        let (tid, limit) = match &frame {
            Frame::Request(request) if request.method == Method::Send => (&request.tid, send_limit),
            Frame::Request(request) => (&request.tid, BODY_OF_OTHERS),
            Frame::Response(response) => (&response.tid, BODY_OF_OTHERS),
        };
        let end = Finder::new(&["\r\n-------", tid].concat()).into_owned();
        Body { frame, start, end, limit, passed: None }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::msrp::frame::Request;

    const PATHS: &str = "To-Path: msrp://us:3/x;tcp\r\nFrom-Path: msrp://bob:2/b;tcp\r\n";

    fn send(tid: &str, body: &str, flag: char) -> String {
        format!("MSRP {tid} SEND\r\n{PATHS}Content-Type: text/plain\r\n\r\n{body}\r\n-------{tid}{flag}\r\n")
    }

    fn decode(decoder: &mut Decoder, bytes: &[u8]) -> Vec<Result<Frame, Garbage>> {
        decoder.push(bytes);
        std::iter::from_fn(|| decoder.next_frame()).collect()
    }

    fn requests(bytes: &[u8]) -> Vec<Request> {
        let read = |frame| match frame {
            Ok(Frame::Request(request)) => request,
            other => panic!("{other:?}"),
        };
        decode(&mut Decoder::new(1000), bytes).into_iter().map(read).collect()
    }

    #[test]
    fn a_body_ends_by_its_end_line_whatever_its_range_says() {
        let text = send("abcd", "twelve bytes", '$').replace("Content", "Byte-Range: 1-2/3\r\nContent");
        let got = requests(text.as_bytes());
        assert_eq!(got[0].body.as_deref(), Some(&b"twelve bytes"[..]));
        assert_eq!(got[0].flag, Flag::Complete);
    }

    #[test]
    fn a_request_without_body_has_no_blank_line() {
        let text = format!("MSRP abcd SEND\r\n{PATHS}Byte-Range: 1-0/0\r\n-------abcd$\r\n");
        let got = requests(text.repeat(2).as_bytes());
        assert_eq!(got.len(), 2);
        assert_eq!((&got[0].body, got[0].fault), (&None, None));
    }

    #[test]
    fn an_empty_body_is_a_body() {
        for end in ["\r\n-------abcd$\r\n", "-------abcd$\r\n"] {
            let text = format!("MSRP abcd SEND\r\n{PATHS}Content-Type: text/plain\r\n\r\n{end}");
            let got = requests(text.as_bytes());
            assert_eq!(got[0].body, Some(Bytes::new()), "{end}");
        }
    }

    #[test]
    fn what_only_looks_like_an_end_line_belongs_to_the_body() {
        let body =
            "-------abc$\r\n-------abcde$\r\n-------abcd\r\n-------abcdx\r\n -------abcd$\r\n-------abcd$x";
        let got = requests(send("abcd", body, '+').as_bytes());
        assert_eq!(got[0].body.as_deref(), Some(body.as_bytes()));
        assert_eq!(got[0].flag, Flag::More);
    }

    #[test]
    fn responses_and_line_breaks_between_frames_are_read() {
        let text =
            format!("\r\n\r\nMSRP abcd 200 OK\r\n{PATHS}-------abcd$\r\n\r\n{}", send("efgh", "x", '#'));
        let got = decode(&mut Decoder::new(1000), text.as_bytes());
        assert!(matches!(&got[0], Ok(Frame::Response(response)) if response.code == 200));
        assert!(matches!(&got[1], Ok(Frame::Request(request)) if request.flag == Flag::Aborted));
    }

    #[test]
    fn line_breaks_and_what_is_not_msrp_are_known_in_any_pieces() {
        let text =
            format!("\r\n\r\nMSRP abcd 200 OK\r\n{PATHS}-------abcd$\r\n\r\n{}", send("efgh", "x", '#'));
        let mut decoder = Decoder::new(1000);
        let got: Vec<_> = text.as_bytes().chunks(1).flat_map(|piece| decode(&mut decoder, piece)).collect();
        assert!(matches!(&got[..], [Ok(_), Ok(_)]), "{got:?}");
        let mut decoder = Decoder::new(1000);
        let got: Vec<_> = b"MSX".chunks(1).flat_map(|piece| decode(&mut decoder, piece)).collect();
        assert_eq!(got, [Err(Garbage("it is not MSRP"))]);
    }

    #[test]
    fn a_body_over_the_limit_is_passed_over_and_what_follows_is_read() {
        let text = format!("{}{}", send("abcd", &"x".repeat(5000), '$'), send("efgh", "fine", '$'));
        for size in [1, 7, 100, 1500, text.len()] {
            let mut decoder = Decoder::new(1000);
            let mut got = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                got.extend(decode(&mut decoder, piece));
                assert!(decoder.pending() < 1600 + size, "{} held", decoder.pending());
            }
            let [Ok(Frame::Request(large)), Ok(Frame::Request(fine))] = &got[..] else { panic!("{got:?}") };
            assert_eq!((large.oversize, &large.body), (Some(5000), &None), "in pieces of {size}");
            assert_eq!(fine.body.as_deref(), Some(&b"fine"[..]));
            assert_eq!(decoder.pending(), 0);
        }
    }

    #[test]
    fn bodies_of_other_requests_have_their_own_limit() {
        let text = send("abcd", &"x".repeat(10_241), '$').replace(" SEND", " NICKNAME");
        let got = decode(&mut Decoder::new(1_000_000), text.as_bytes());
        assert!(matches!(&got[..], [Ok(Frame::Request(request))] if request.oversize == Some(10_241)));
    }

    #[test]
    fn a_large_body_comes_whole() {
        let body = "0123456789abcdef".repeat(20_000);
        let mut decoder = Decoder::new(1_000_000);
        let got: Vec<_> = send("abcd", &body, '$')
            .as_bytes()
            .chunks(5000)
            .flat_map(|piece| decode(&mut decoder, piece))
            .collect();
        assert!(
            matches!(&got[..], [Ok(Frame::Request(request))] if request.body.as_deref() == Some(body.as_bytes()))
        );
    }

    #[test]
    fn garbage_ends_the_stream_and_says_why() {
        let long = format!("MSRP abcd SEND\r\n{PATHS}X: {}", "x".repeat(HEAD_LIMIT));
        let many = format!("MSRP abcd SEND\r\n{PATHS}{}", "X: y\r\n".repeat(70));
        let cases = [
            ("GET / HTTP/1.1\r\n", "it is not MSRP"),
            ("\u{16}\u{3}\u{1}", "it is not MSRP"),
            ("MSRP abcd SEND\n", "a line of the head ends by a bare LF"),
            ("MSRP abcd\r\n", "a start line has no method or code"),
            (&long, "the head is too long"),
            (&many, "the head is too long"),
            ("MSRP abcd SEND\r\n-------abcd$\r\n", "there is no To-Path"),
            ("MSRP abcd SEND\r\n-------abce$\r\n", "an end-line has another transaction id"),
            ("MSRP abcd SEND\r\n-------abcd\r\n", "an end-line has another transaction id"),
        ];
        for (text, why) in cases {
            let mut decoder = Decoder::new(1000);
            assert_eq!(decode(&mut decoder, text.as_bytes()), [Err(Garbage(why))], "{text:.60}");
            assert_eq!(decode(&mut decoder, send("abcd", "x", '$').as_bytes()), []);
            assert_eq!(decoder.pending(), 0);
        }
    }

    #[test]
    fn a_line_that_never_ends_is_not_kept() {
        let mut decoder = Decoder::new(1000);
        assert!(decode(&mut decoder, b"MSRP ").is_empty());
        for _ in 0..15 {
            assert!(decode(&mut decoder, &[b'x'; 1024]).is_empty());
        }
        assert_eq!(decode(&mut decoder, &[b'x'; 1024]), [Err(Garbage("the head is too long"))]);
    }

    /// Bodies out of what end-lines are made of.
    fn body() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("\r\n".to_owned()),
            Just("-------".to_owned()),
            Just("-".to_owned()),
            Just("tid1".to_owned()),
            Just("tid".to_owned()),
            Just("$".to_owned()),
            Just("+".to_owned()),
            "[a-z\r\n]{0,40}",
        ];
        proptest::collection::vec(piece, 0..12)
            .prop_map(|pieces| pieces.concat())
            .prop_filter("it is no end-line", |body| {
                ["$", "+", "#"].iter().all(|flag| !body.contains(&format!("-------tid1{flag}")))
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn frames_are_the_same_however_the_stream_is_cut(
            bodies in proptest::collection::vec(body(), 1..6),
            cuts in proptest::collection::vec(1_usize..60, 1..20),
        ) {
            let stream: String = bodies.iter().map(|body| send("tid1", body, '$')).collect();
            let mut decoder = Decoder::new(120);
            let mut got = Vec::new();
            let (mut rest, mut cuts) = (stream.as_bytes(), cuts.iter().cycle());
            while !rest.is_empty() {
                let size = cuts.next().copied().unwrap_or(1).min(rest.len());
                got.extend(decode(&mut decoder, &rest[..size]));
                rest = &rest[size..];
            }
            prop_assert_eq!(got.len(), bodies.len());
            for (frame, body) in got.iter().zip(&bodies) {
                let Ok(Frame::Request(request)) = frame else { panic!("{frame:?}") };
                if body.len() > 120 {
                    prop_assert_eq!(request.oversize, Some(body.len() as u64));
                } else {
                    prop_assert_eq!(request.body.as_deref(), Some(body.as_bytes()));
                }
            }
        }
    }
}
