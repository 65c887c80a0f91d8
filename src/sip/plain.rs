//! Messages that are written as most are, read in one pass.
//!
//! `sipx-sip` looks at a head five times, and compares a header's name with all that it knows. Here is read what leaves
//! no question open: names spelled as RFC 3261 spells them, one space behind the colon, no folded line, one length. All
//! else is the library's to read or to refuse; what is read here, it reads the same.

use std::ops::Range;

use bytes::Bytes;
use memchr::memchr;

use super::message::{Header, HeaderName, Message, Method, Request, Response, StatusCode};
use super::uri::Uri;

/// More headers, or a longer one, the library may count.
const HEADERS: usize = 64;
const HEADER_LIMIT: usize = 2048;

/// Reads the message at the start, if it is a plain one.
pub fn read(bytes: &Bytes) -> Option<Message> {
    let (first, mut at) = line(bytes, 0)?;
    let mut message = start(bytes, first)?;
    let headers = message.headers_mut();
    let mut length = None;
    loop {
        let (range, next) = line(bytes, at)?;
        at = next;
        if range.is_empty() {
            break;
        }
        let colon = range.start + memchr(b':', &bytes[range.clone()])?;
        let name = name(bytes, range.start..colon)?;
        let value = colon + 2..range.end;
        // One space, and something else behind it, or nothing.
        let is_plain = bytes.get(colon + 1) == Some(&b' ')
            && value.start <= value.end
            && !matches!(bytes[value.clone()], [b' ' | b'\t', ..]);
        if !is_plain || range.len() > HEADER_LIMIT || headers.len() == HEADERS {
            return None;
        }
        if matches!(name, HeaderName::ContentLength) {
            if length.is_some() {
                return None;
            }
            length = Some(number(&bytes[value.clone()])?);
        }
        headers.push(Header::build(name, bytes.slice(value)).ok()?);
    }
    let end = at.checked_add(length?).filter(|end| *end <= bytes.len())?;
    match &mut message {
        Message::Request(request) => request.set_body(bytes.slice(at..end)),
        Message::Response(response) => response.set_body(bytes.slice(at..end)),
    }
    Some(message)
}

/// The line at this place without its end, and where the next one begins.
fn line(bytes: &[u8], at: usize) -> Option<(Range<usize>, usize)> {
    let end = at + memchr(b'\n', &bytes[at..])?;
    (end > at && bytes[end - 1] == b'\r').then_some((at..end - 1, end + 1))
}

/// A request or a response without headers.
fn start(bytes: &Bytes, line: Range<usize>) -> Option<Message> {
    const VERSION: &[u8] = b"SIP/2.0";
    let text = &bytes[line.clone()];
    if let Some(status) = text.strip_prefix(VERSION).and_then(|rest| rest.strip_prefix(b" ")) {
        let (code, reason) = status.split_first_chunk::<3>()?;
        let code = StatusCode::new(u16::try_from(number(code)?).ok()?)?;
        let reason = reason.strip_prefix(b" ").filter(|reason| memchr(b'\r', reason).is_none())?;
        return Some(Message::Response(Response::new(code, bytes.slice(line.end - reason.len()..line.end))));
    }
    let target = text.strip_suffix(VERSION)?.strip_suffix(b" ")?;
    let space = memchr(b' ', target)?;
    let method = match &target[..space] {
        b"MESSAGE" => Method::Message,
        b"NOTIFY" => Method::Notify,
        b"SUBSCRIBE" => Method::Subscribe,
        b"OPTIONS" => Method::Options,
        b"INVITE" => Method::Invite,
        b"ACK" => Method::Ack,
        b"BYE" => Method::Bye,
        _ => return None,
    };
    // A second space, or anything else that does not belong there, may not stand in a URI.
    let uri = Uri::parse(bytes.slice(line.start + space + 1..line.start + target.len())).ok()?;
    Some(Message::Request(Request::new(method, uri)))
}

/// The name of a header as RFC 3261 spells it.
fn name(bytes: &Bytes, range: Range<usize>) -> Option<HeaderName> {
    Some(match &bytes[range.clone()] {
        b"Via" => HeaderName::Via,
        b"From" => HeaderName::From,
        b"To" => HeaderName::To,
        b"Call-ID" => HeaderName::CallId,
        b"CSeq" => HeaderName::CSeq,
        b"Contact" => HeaderName::Contact,
        b"Max-Forwards" => HeaderName::MaxForwards,
        b"Content-Type" => HeaderName::ContentType,
        b"Content-Length" => HeaderName::ContentLength,
        b"User-Agent" => HeaderName::UserAgent,
        b"Server" => HeaderName::Server,
        b"Record-Route" => HeaderName::RecordRoute,
        b"Route" => HeaderName::Route,
        b"Date" => HeaderName::Date,
        b"Allow" => HeaderName::Allow,
        b"Event" => HeaderName::Event,
        b"Expires" => HeaderName::Expires,
        b"Subscription-State" => HeaderName::SubscriptionState,
        other => {
            let name = HeaderName::parse(&bytes.slice(range));
            return (name.canonical() == other).then_some(name);
        }
    })
}

/// A number of digits alone, and of so few that it cannot be too large.
fn number(digits: &[u8]) -> Option<usize> {
    let is_number = (1..=7).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| digits.iter().fold(0, |number, digit| number * 10 + usize::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_read(text: &str) -> bool {
        read(&Bytes::copy_from_slice(text.as_bytes())).is_some()
    }

    #[test]
    fn what_most_programs_write_is_read_here() {
        assert!(is_read(
            "MESSAGE sip:juliet@example.com SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bKx\r\nMax-Forwards: 70\r\n\
             From: <sip:r@example.net>;tag=1\r\nTo: <sip:juliet@example.com>\r\nCall-ID: 1\r\nCSeq: 1 MESSAGE\r\n\
             P-Hint: \r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi"
        ));
        assert!(is_read("SIP/2.0 202 Accepted\r\nVia: SIP/2.0/UDP a\r\nContent-Length: 0\r\n\r\n"));
    }

    #[test]
    fn what_leaves_a_question_open_is_not() {
        let head = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP a\r\n";
        for text in [
            format!("{head}\r\n"),
            format!("{head}Content-Length: 1\r\n\r\n"),
            format!("{head}Content-Length: 0\r\nContent-Length: 0\r\n\r\n"),
            format!("{head}Content-Length: +0\r\n\r\n"),
            format!("{head}content-length: 0\r\n\r\n"),
            format!("{head}l: 0\r\n\r\n"),
            format!("{head}Subject: a\r\n b\r\nContent-Length: 0\r\n\r\n"),
            format!("{head}Subject:\r\n b: c\r\nContent-Length: 0\r\n\r\n"),
            format!("{head}Subject: a\rb\r\nContent-Length: 0\r\n\r\n"),
            format!("{head}Subject: a\nContent-Length: 0\r\n\r\n"),
            format!("{head}Subject : a\r\nContent-Length: 0\r\n\r\n"),
            format!("{head}Subject:  a\r\nContent-Length: 0\r\n\r\n"),
            format!("{head}Content-Length: 0\r\n"),
            "OPTIONS  sip:a@b SIP/2.0\r\nContent-Length: 0\r\n\r\n".into(),
            "SIP/2.0 99 X\r\nContent-Length: 0\r\n\r\n".into(),
            "SIP/2.0 200\r\nContent-Length: 0\r\n\r\n".into(),
            "\r\nOPTIONS sip:a@b SIP/2.0\r\nContent-Length: 0\r\n\r\n".into(),
        ] {
            assert!(!is_read(&text), "{text:?}");
        }
    }
}
