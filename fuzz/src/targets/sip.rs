//! SIP messages: one datagram, and a stream that is cut anywhere.

use bytes::Bytes;
use mostar::sip::framing::{self, Stream};
use mostar::sip::message::{self, HeaderName, Headers, Message};
use sipx_sip::{Limits, parse_datagram};

use super::{choice, pieces};

/// Everything that a message holds, in words.
fn told(message: &Message) -> String {
    let headers: Vec<_> = message
        .headers()
        .iter()
        .map(|header| (format!("{:?}", header.name()), Bytes::copy_from_slice(header.raw_value())))
        .collect();
    let start = match message {
        Message::Request(request) => {
            format!("{} {:?} {} {:?}", request.method, request.version, request.uri, request.uri.scheme())
        }
        Message::Response(response) => {
            format!("{:?} {} {:?}", response.version, response.status, response.reason)
        }
    };
    format!("{start} {headers:?} {:?} {:?}", message.body(), message.to_bytes())
}

/// What features ask of a message.
fn look(headers: &Headers) {
    for name in [HeaderName::From, HeaderName::To, HeaderName::Contact, HeaderName::Route] {
        let tag = message::tag(headers, &name);
        // What is looked for in the bytes is what the whole address says.
        if let (Some(tag), Some(Ok(address))) = (&tag, message::only(headers, &name).map(parsed)) {
            assert_eq!(
                address.tag().map(|tag| String::from_utf8_lossy(tag).into_owned()).as_ref(),
                Some(tag)
            );
        }
        let _ = message::address(headers, &name);
        for one in message::list(headers, &name) {
            let _ = message::uri_of(&one);
        }
    }
    let _ = (message::branch(headers), message::cseq(headers), message::text(headers, &HeaderName::Subject));
}

fn parsed(value: &[u8]) -> Result<message::headers::Address, String> {
    message::headers::Address::parse(value, "address").map_err(|error| error.to_string())
}

/// One datagram: the library says the same, and what is printed is read as the same.
pub fn message(data: &[u8]) {
    let start = data.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(data.len());
    let theirs = parse_datagram(Bytes::copy_from_slice(&data[start..]), &Limits::datagram());
    let ours = framing::datagram(Bytes::copy_from_slice(data));
    let Ok(ours) = ours else {
        assert!(theirs.is_err(), "the library reads it");
        return;
    };
    assert_eq!(theirs.as_ref().map(told).ok(), Some(told(&ours)));
    look(ours.headers());
    let printed = ours.to_bytes();
    let again = framing::datagram(printed).map_err(|bad| bad.reason).expect("what was printed is read");
    assert_eq!(told(&again), told(&ours));
}

/// What a stream gives for `bytes` in these pieces.
fn read<'a>(bytes: impl Iterator<Item = &'a [u8]>) -> (Vec<String>, usize, usize) {
    let (mut stream, mut out, mut pings) = (Stream::new(), Vec::new(), 0);
    for piece in bytes {
        for result in stream.push(piece) {
            out.push(match result {
                Ok(message) => told(&message),
                Err(bad) => {
                    assert!(bad.bytes.len() <= 64 * 1024 + 4 || !bad.fatal, "more is kept than is answered");
                    // How much of a head without end has come is the cut's affair.
                    let shown = if bad.fatal { &[][..] } else { &bad.bytes[..] };
                    format!("{} {} {shown:?}", bad.fatal, bad.reason)
                }
            });
        }
        pings += stream.take_pings();
    }
    (out, pings, stream.pending())
}

/// A stream, whose messages are the same however it is cut.
pub fn stream(data: &[u8]) {
    let (seed, bytes) = choice(data);
    let whole = read(std::iter::once(bytes));
    assert_eq!(read(pieces(seed, bytes)), whole);
    assert!(whole.2 <= bytes.len());
}
