//! Bytes to messages: one datagram is one message, a stream is cut at Content-Length (RFC 3261 §18.3).
//!
//! What is no message becomes a [`BadSip`] with the reason, so that the agent can still answer 400. Keep-alives
//! (RFC 5626 §4.4.1) are counted, not delivered.

use bytes::Bytes;
use sipx_sip::{Limits, StreamParser};

use super::flow::BadSip;
use super::message::Message;

/// How much of something unreadable is kept for the answer.
const KEPT: usize = 16 * 1024;

/// Longest message on a stream, in bytes; a datagram cannot be longer than 64 KiB anyway.
const LONGEST: usize = 1024 * 1024;

/// Reads a datagram.
pub fn datagram(bytes: Bytes) -> Result<Message, BadSip> {
    sipx_sip::parse_datagram(bytes.clone(), &Limits::datagram()).map_err(|error| BadSip {
        bytes: bytes.slice(..bytes.len().min(KEPT)),
        reason: error.to_string(),
        fatal: false,
    })
}

/// True for a datagram that only keeps a binding open: CRLFs or nothing.
pub fn is_keep_alive(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0))
}

/// Cuts one connection's bytes into messages.
pub struct Stream {
    parser: StreamParser,
    /// The bytes since the last whole message, for the answer to what cannot be read; at most [`KEPT`].
    recent: Vec<u8>,
}

impl Default for Stream {
    fn default() -> Self {
        let limits = Limits { max_message_bytes: LONGEST, max_body_bytes: LONGEST, ..Limits::stream() };
        Stream { parser: StreamParser::new(limits), recent: Vec::new() }
    }
}

impl Stream {
    /// Takes what was read. A `BadSip` is fatal: framing is lost, the connection must be closed.
    pub fn push(&mut self, chunk: &[u8]) -> Result<Vec<Message>, BadSip> {
        let room = KEPT.saturating_sub(self.recent.len());
        self.recent.extend_from_slice(&chunk[..chunk.len().min(room)]);
        match self.parser.push(chunk) {
            Ok(messages) => {
                if !messages.is_empty() || self.parser.pending() == 0 {
                    self.recent.clear();
                }
                Ok(messages)
            }
            Err(error) => Err(BadSip {
                bytes: Bytes::from(std::mem::take(&mut self.recent)),
                reason: error.to_string(),
                fatal: true,
            }),
        }
    }

    /// How many CRLF pairs stood between messages since the last call: two are a ping that wants one back.
    pub fn take_keep_alives(&mut self) -> usize {
        self.parser.take_keepalives()
    }

    /// Whether a message has begun and not ended.
    pub fn is_partial(&self) -> bool {
        self.parser.pending() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: &[u8] = b"OPTIONS sip:a@example.com SIP/2.0\r\nContent-Length: 2\r\n\r\nhi";

    #[test]
    fn a_stream_is_cut_wherever_its_pieces_end() {
        for size in 1..OPTIONS.len() {
            let mut stream = Stream::default();
            let twice = [OPTIONS, b"\r\n\r\n", OPTIONS].concat();
            let found: usize =
                twice.chunks(size).map(|chunk| stream.push(chunk).map_or(0, |messages| messages.len())).sum();
            assert_eq!(found, 2, "in pieces of {size}");
            assert_eq!(stream.take_keep_alives(), 2);
        }
    }

    #[test]
    fn lost_framing_is_fatal_and_says_why() {
        let mut stream = Stream::default();
        let bad =
            stream.push(b"OPTIONS sip:a@example.com SIP/2.0\r\nContent-Length: -2\r\n\r\n").unwrap_err();
        assert!(bad.fatal && bad.bytes.starts_with(b"OPTIONS"), "{bad:?}");
    }
}
