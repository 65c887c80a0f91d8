//! What can still be read of bytes that are no SIP message: enough to answer 400 or 505, or to see that nothing can
//! be answered.
//!
//! Headers are looked for line by line and only those are kept that a response must repeat (RFC 3261 §8.2.6.2). They
//! were cut at line breaks, so none can be smuggled into the answer.

use bytes::Bytes;
use sipx_sip::Header;

use crate::sip::message::{HeaderName, Method, Request};
use crate::sip::uri::{Host, Uri};

/// Lines that are looked at.
const LINES: usize = 300;

/// A request with no more than the headers of its answer, and the status of that answer. Nothing for a response, an
/// ACK, or noise.
pub fn request(bytes: &[u8]) -> Option<(Request, u16)> {
    let mut lines = unfolded(bytes).into_iter();
    let start = lines.next()?;
    let mut words = start.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let method = words.next()?;
    if start.to_ascii_uppercase().starts_with(b"SIP/") || method == b"ACK" {
        return None;
    }
    let last = words.next_back().unwrap_or_default().to_ascii_uppercase();
    let status = if last.starts_with(b"SIP/") && last != b"SIP/2.0" { 505 } else { 400 };
    // The URI is never printed: a request needs one to be a value.
    let nowhere = Uri::sip(Host::Ip(std::net::Ipv4Addr::UNSPECIFIED.into()));
    let mut request = Request::new(Method::parse(&Bytes::copy_from_slice(method)), nowhere);
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::parse(&Bytes::copy_from_slice(line[..colon].trim_ascii()));
        let kept = [HeaderName::Via, HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq];
        let once = name == HeaderName::Via || request.headers.count(&name) == 0;
        if kept.contains(&name)
            && once
            && let Ok(header) = Header::build(name, line[colon + 1..].trim_ascii().to_vec())
        {
            request.headers.push(header);
        }
    }
    Some((request, status))
}

/// The lines of the head, continuations joined.
fn unfolded(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n').take(LINES) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line: Vec<u8> =
            line.iter().map(|byte| if *byte == b'\r' || *byte == 0 { b' ' } else { *byte }).collect();
        match lines.last_mut() {
            Some(_) if line.is_empty() => break,
            Some(last) if line[0] == b' ' || line[0] == b'\t' => {
                last.push(b' ');
                last.extend_from_slice(line.trim_ascii());
            }
            None if line.is_empty() => {}
            _ => lines.push(line),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_of_an_answer_are_found_in_a_wreck() {
        let (request, status) = request(
            b"OPTIONS  sip:a b SIP/3.1\r\nv: SIP/2.0/UDP h\r\n ;branch=z9hG4bK1\r\nno colon\r\nTo : x\nTo: y\r\nX: 1\r\n\r\nVia: body",
        )
        .expect("a request");
        assert_eq!(status, 505);
        assert_eq!(request.headers.len(), 2);
        assert_eq!(
            &*request.headers.value(&HeaderName::Via).expect("Via"),
            b"SIP/2.0/UDP h ;branch=z9hG4bK1"
        );
    }

    #[test]
    fn a_response_an_ack_and_noise_give_nothing() {
        for bytes in
            [&b"SIP/2.0 9999 x\r\nVia: a\r\n\r\n"[..], b"ACK a b c\r\nVia: a\r\n\r\n", b"", b"\r\n\r\n"]
        {
            assert!(request(bytes).is_none());
        }
    }
}
