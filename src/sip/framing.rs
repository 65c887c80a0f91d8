//! Bytes to messages: one datagram, or a stream that is cut into messages (RFC 3261 §18.3, §7.5, RFC 5626 §4.4.1).
//!
//! The stream is cut here rather than by `sipx-sip`, for two reasons: what cannot be parsed is handed on with its
//! bytes, so that it can be answered 400; and one malformed request on a connection that a whole proxy shares does not
//! end the connection, as long as its length is beyond doubt. Where the length is in doubt (absent, negative, twice,
//! behind a bare line break) framing is lost, and [`BadSip::fatal`] says so: guessing on is how a body becomes a
//! request (RFC 4475 §3.1.2.3).

use std::sync::LazyLock;

use bytes::{Buf, Bytes, BytesMut};
use memchr::memmem::Finder;
use sipx_sip::{Limits, parse_datagram};

use super::flow::BadSip;
use super::message::Message;
use super::plain;

/// What ends the headers.
static HEAD_END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\n\r\n"));

/// The longest start line and headers.
const HEAD_LIMIT: usize = 64 * 1024;
/// The same of somebody who is no peer: enough to be refused by.
const STRANGERS_LIMIT: usize = 8 * 1024;
/// The longest body on a stream.
const BODY_LIMIT: usize = 1024 * 1024;

/// Reads one datagram. Line breaks before the start line are passed over, octets after the body are noise.
pub fn datagram(bytes: Bytes) -> Result<Message, BadSip> {
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
    parse(&bytes.slice(start..), &Limits::datagram())
}

/// Reads a message of which everything has come.
fn parse(bytes: &Bytes, limits: &Limits) -> Result<Message, BadSip> {
    match plain::read(bytes) {
        Some(message) => Ok(message),
        None => parse_datagram(bytes.clone(), limits).map_err(|error| bad(bytes, error.to_string(), false)),
    }
}

/// Whether a datagram is a keep-alive that is not answered: nothing but line breaks, blanks or zero bytes.
pub fn is_keep_alive(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | b' ' | b'\t' | 0))
}

/// Cuts a stream into messages.
#[derive(Debug, Default)]
pub struct Stream {
    buffer: BytesMut,
    /// How far the end of the head has been looked for.
    scanned: usize,
    /// Length of head and body of the message whose head is complete.
    wanted: Option<usize>,
    /// A line break was seen since the last message or ping: the first half of a ping.
    half_ping: bool,
    pings: usize,
    lost: bool,
}

impl Stream {
    /// A stream that has read nothing.
    pub fn new() -> Stream {
        Stream::default()
    }

    /// Takes bytes in and gives every message that they complete. After a fatal one nothing more comes.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Result<Message, BadSip>> {
        let mut out = Vec::new();
        if self.lost {
            return out;
        }
        self.buffer.extend_from_slice(bytes);
        while let Some(result) = self.cut() {
            self.lost = matches!(&result, Err(bad) if bad.fatal);
            out.push(result);
            if self.lost {
                self.buffer = BytesMut::new();
                break;
            }
        }
        out
    }

    /// Takes bytes of somebody who is no peer. The first head is all that is read, and it is bad whatever it says: it
    /// will be refused for whom it is from, and nothing longer is kept for that.
    pub fn push_of_stranger(&mut self, bytes: &[u8]) -> Vec<Result<Message, BadSip>> {
        if self.lost {
            return Vec::new();
        }
        let room = (STRANGERS_LIMIT + 1).saturating_sub(self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.skip_line_breaks();
        let head = HEAD_END.find(&self.buffer).map(|at| at + 4);
        if head.is_none() && self.buffer.len() <= STRANGERS_LIMIT {
            return Vec::new();
        }
        self.lost = true;
        let buffer = std::mem::take(&mut self.buffer);
        let head = head.unwrap_or(buffer.len());
        vec![Err(bad(&buffer[..head], "it is from a stranger".into(), true))]
    }

    /// How many keep-alive pings (CRLF CRLF between messages) came since the last call; each is answered by one CRLF.
    pub fn take_pings(&mut self) -> usize {
        std::mem::take(&mut self.pings)
    }

    /// Bytes of a message that is not complete yet: while there are any, a peer that falls silent is to be cut off.
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }

    fn cut(&mut self) -> Option<Result<Message, BadSip>> {
        if self.wanted.is_none() {
            self.skip_line_breaks();
            let from = self.scanned.min(self.buffer.len());
            let Some(at) = HEAD_END.find(&self.buffer[from..]) else {
                self.scanned = self.buffer.len().saturating_sub(3);
                if self.buffer.len() > HEAD_LIMIT {
                    return Some(Err(bad(&self.buffer, "the header section is too long".into(), true)));
                }
                return None;
            };
            let head = from + at + 4;
            self.scanned = 0;
            if head > HEAD_LIMIT {
                return Some(Err(bad(&self.buffer[..head], "the header section is too long".into(), true)));
            }
            match body_length(&self.buffer[..head]) {
                Ok(body) => self.wanted = Some(head + body),
                Err(reason) => return Some(Err(bad(&self.buffer[..head], reason.into(), true))),
            }
        }
        let wanted = self.wanted?;
        if self.buffer.len() < wanted {
            return None;
        }
        self.wanted = None;
        self.half_ping = false;
        // Its own copy, since it outlives the buffer: what came with it need not be kept with it, nor be counted
        // together with it by the threads that drop their messages at the same time.
        let message = Bytes::copy_from_slice(&self.buffer[..wanted]);
        self.buffer.advance(wanted);
        let limits = Limits { max_message_bytes: HEAD_LIMIT + BODY_LIMIT, ..Limits::stream() };
        Some(parse(&message, &limits))
    }

    fn skip_line_breaks(&mut self) {
        while self.buffer.starts_with(b"\r\n") {
            self.buffer.advance(2);
            self.scanned = 0;
            if self.half_ping {
                self.pings += 1;
            }
            self.half_ping = !self.half_ping;
        }
    }
}

fn bad(bytes: &[u8], reason: String, fatal: bool) -> BadSip {
    BadSip { bytes: Bytes::copy_from_slice(&bytes[..bytes.len().min(HEAD_LIMIT)]), reason, fatal }
}

/// The one Content-Length of a head. Anything that two readers could read differently is an error.
fn body_length(head: &[u8]) -> Result<usize, &'static str> {
    // Where every line ends in both, as many of one as of the other is none that stands alone.
    if memchr::memchr_iter(b'\r', head).count() != memchr::memchr_iter(b'\n', head).count()
        && memchr::memchr_iter(b'\r', head).any(|at| head.get(at + 1) != Some(&b'\n'))
    {
        return Err("bare CR in the header section");
    }
    let mut found = None;
    let mut start = 0;
    for (number, end) in memchr::memchr_iter(b'\n', head).enumerate() {
        let Some(line) = head[start..end].strip_suffix(b"\r") else {
            return Err("bare LF in the header section");
        };
        start = end + 1;
        if !matches!(line.first(), Some(b'c' | b'C' | b'l' | b'L')) {
            continue;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = line[..colon].trim_ascii_end();
        if number == 0 || !(name.eq_ignore_ascii_case(b"Content-Length") || name.eq_ignore_ascii_case(b"l")) {
            continue;
        }
        if found.is_some() {
            return Err("repeated Content-Length");
        }
        let digits = line[colon + 1..].trim_ascii();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Err("Content-Length is not a decimal number");
        }
        let length = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<usize>().ok());
        match length {
            Some(length) if length <= BODY_LIMIT => found = Some(length),
            _ => return Err("the body is too long"),
        }
    }
    found.ok_or("Content-Length is required on a stream")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = "MESSAGE sip:a@b SIP/2.0\r\nl :  005 \r\nSubject: x\r\n\r\nhello";

    #[test]
    fn a_stream_gives_the_same_messages_however_it_is_cut() {
        let text = format!("\r\n\r\n{MESSAGE}\r\n{MESSAGE}\r\n\r\n\r\n\r\n");
        for size in 1..text.len() {
            let mut stream = Stream::new();
            let mut bodies = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                bodies.extend(stream.push(piece).into_iter().map(|one| one.expect("parses").body().clone()));
            }
            assert_eq!(bodies, ["hello", "hello"], "in pieces of {size}");
            assert_eq!((stream.take_pings(), stream.pending()), (3, 0));
        }
    }

    #[test]
    fn of_a_stranger_one_head_is_read_and_never_a_body() {
        let text = MESSAGE.replace("005", "500000");
        let mut stream = Stream::new();
        assert!(stream.push_of_stranger(b"\r\n\r\nMESSAGE").is_empty());
        let got = stream.push_of_stranger(&text.as_bytes()["MESSAGE".len()..]);
        assert!(matches!(&got[..], [Err(bad)] if bad.fatal && bad.bytes.ends_with(b"x\r\n\r\n")), "{got:?}");
        assert_eq!((stream.pending(), stream.take_pings()), (0, 1));
        assert!(stream.push_of_stranger(MESSAGE.as_bytes()).is_empty());
        let mut stream = Stream::new();
        let got = stream.push_of_stranger(&[b'a'; 1 << 20]);
        assert!(matches!(&got[..], [Err(bad)] if bad.fatal && bad.bytes.len() <= STRANGERS_LIMIT + 1));
    }

    #[test]
    fn a_malformed_message_of_certain_length_does_not_end_the_stream() {
        let mut stream = Stream::new();
        let got = stream.push(format!("MESSAGE sip:a b SIP/2.0\r\nl: 2\r\n\r\n12{MESSAGE}").as_bytes());
        assert!(matches!(&got[0], Err(bad) if !bad.fatal && bad.bytes.ends_with(b"12")));
        assert!(got[1].is_ok());
    }

    #[test]
    fn a_doubtful_length_ends_the_stream() {
        for length in
            ["l: 5\r\nContent-Length: 5", "l: -5", "l: +5", "Subject: x", "l: 9999999999999999999999", "l:"]
        {
            let mut stream = Stream::new();
            let got = stream.push(format!("MESSAGE sip:a@b SIP/2.0\r\n{length}\r\n\r\nhello").as_bytes());
            assert!(matches!(&got[..], [Err(bad)] if bad.fatal), "{length}: {got:?}");
            assert!(stream.push(MESSAGE.as_bytes()).is_empty());
        }
        let mut stream = Stream::new();
        assert!(
            matches!(&stream.push(b"A sip:b SIP/2.0\r\nX: 1\nl: 3\r\nl: 0\r\n\r\n")[..], [Err(bad)] if bad.fatal)
        );
        assert!(matches!(&Stream::new().push(&[b'a'; HEAD_LIMIT + 1])[..], [Err(bad)] if bad.fatal));
    }

    #[test]
    fn a_datagram_may_begin_with_line_breaks_and_end_in_noise() {
        let message = datagram(format!("\r\n{MESSAGE} and noise").into()).expect("parses");
        assert_eq!(message.body(), "hello");
        assert!(is_keep_alive(b"\r\n\r\n") && is_keep_alive(b"") && !is_keep_alive(b"x"));
    }
}
