//! CPIM messages (RFC 3862): the envelope of `message/cpim`, its headers, and the one part that it wraps.
//!
//! Lines may end in CR LF or in LF, both in one message. Header names are case-sensitive (§2.2); the MIME headers of
//! the part are not, and may be folded. The envelope's addresses are read as text: who sent a message is what SIP says.

use std::borrow::Cow;

use super::mime::{self, MediaType};

/// One header of the envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its name, prefix included: `imdn.Message-ID`.
    pub name: String,
    /// Its `;lang=` parameter (§3.3).
    pub lang: Option<String>,
    /// Its value, the escapes of §2.3 undone.
    pub value: String,
}

/// A CPIM message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpim<'a> {
    /// The envelope's headers.
    pub headers: Vec<Header>,
    /// The MIME headers of the part.
    part: Vec<(String, String)>,
    /// The part as it stands.
    body: &'a [u8],
}

/// Reads a CPIM message; the reason when it is none.
pub fn parse(bytes: &[u8]) -> Result<Cpim<'_>, &'static str> {
    let mut rest = bytes;
    let mut head = lines(&mut rest)?;
    // RFC 3862 §2 draws the outer `Content-type: message/cpim` inside the box, and some senders copy that.
    if head.iter().all(|(name, _)| name.eq_ignore_ascii_case("content-type")) && !head.is_empty() {
        head = lines(&mut rest)?;
    }
    if head.is_empty() {
        return Err("a CPIM message without headers");
    }
    let headers = head.into_iter().map(|(name, value)| header(name, &value)).collect();
    let part = lines(&mut rest)?;
    Ok(Cpim { headers, part, body: rest })
}

/// Writes a CPIM message: the envelope's headers in the order given, then one part with its MIME headers and its bytes.
/// Lines end in CR LF. Values are taken as they are said: what may not stand in a line is escaped (§2.3).
pub fn write(headers: &[(&str, &str)], part: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + body.len());
    for (names, escaped) in [(headers, true), (part, false)] {
        for (name, value) in names {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            for c in value.chars() {
                match c {
                    '\\' if escaped => out.extend_from_slice(b"\\\\"),
                    c if c.is_control() => out.extend_from_slice(if escaped { b"\\u" } else { b" " }),
                    c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                }
                if escaped && c.is_control() {
                    out.extend_from_slice(format!("{:04X}", u32::from(c)).as_bytes());
                }
            }
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(body);
    out
}

impl Cpim<'_> {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&Header> {
        self.headers.iter().find(|header| header.name == name)
    }

    /// A MIME header of the part.
    pub fn part_header(&self, name: &str) -> Option<&str> {
        self.part.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The part's Content-Type as written, `text/plain` where there is none.
    pub fn content_type(&self) -> &str {
        self.part_header("Content-Type").filter(|value| !value.is_empty()).unwrap_or("text/plain")
    }

    /// The part's media type.
    pub fn media(&self) -> Option<MediaType> {
        MediaType::parse(self.content_type())
    }

    /// The part's bytes, its transfer encoding undone. Nothing if that is unknown or broken.
    pub fn body(&self) -> Option<Cow<'_, [u8]>> {
        mime::decode(self.part_header("Content-Transfer-Encoding").unwrap_or_default(), self.body)
    }
}

/// Takes header lines from `rest` up to the empty line that ends them.
fn lines(rest: &mut &[u8]) -> Result<Vec<(String, String)>, &'static str> {
    let mut found: Vec<(String, String)> = Vec::new();
    loop {
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            return Err("a CPIM message that ends in its headers");
        };
        let line = &rest[..end];
        *rest = &rest[end + 1..];
        let line = std::str::from_utf8(line.strip_suffix(b"\r").unwrap_or(line))
            .map_err(|_| "a CPIM header that is not UTF-8")?;
        if line.is_empty() {
            return Ok(found);
        }
        if line.starts_with([' ', '\t'])
            && let Some((_, value)) = found.last_mut()
        {
            value.push(' ');
            value.push_str(line.trim());
            continue;
        }
        let (name, value) = line.split_once(':').ok_or("a CPIM header without a colon")?;
        found.push((name.trim().to_owned(), value.trim().to_owned()));
    }
}

/// `;lang=fr Objet de message`.
fn header(name: String, value: &str) -> Header {
    let mut lang = None;
    let mut rest = value;
    while let Some(parameter) = rest.strip_prefix(';') {
        let (parameter, tail) = parameter.split_once(' ').unwrap_or((parameter, ""));
        for one in parameter.split(';') {
            if let Some(tag) = one.strip_prefix("lang=") {
                lang = Some(tag.trim_matches('"').to_owned()).filter(|tag| !tag.is_empty());
            }
        }
        rest = tail.trim_start();
    }
    Header { name, lang, value: unescape(rest) }
}

/// The escapes of §2.3; one that is not known stands for its character.
fn unescape(value: &str) -> String {
    if !value.contains('\\') {
        return value.to_owned();
    }
    let mut units: Vec<u16> = Vec::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        let found = match c {
            '\\' => match chars.next() {
                None => '\\',
                Some('b') => '\u{8}',
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('u') => {
                    match chars.as_str().get(..4).and_then(|hex| u16::from_str_radix(hex, 16).ok()) {
                        Some(unit) => {
                            units.push(unit);
                            chars = chars.as_str()[4..].chars();
                            continue;
                        }
                        None => 'u',
                    }
                }
                Some(other) => other,
            },
            other => other,
        };
        units.extend(found.encode_utf16(&mut [0; 2]).iter());
    }
    char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_message_with_mixed_line_ends_and_an_empty_transfer_encoding_is_read() {
        let bytes = "From: alice <sip:alice@sip.example>\r\nDateTime: 2026-11-20T10:29:41Z\r\n\r\n\
                     MIME-Version: 1.0\nContent-Type: text/plain;\n charset=\"utf8\"\nContent-Transfer-Encoding: \n\nhé\r\n";
        let cpim = parse(bytes.as_bytes()).expect("a message");
        assert_eq!(cpim.header("DateTime").map(|header| header.value.as_str()), Some("2026-11-20T10:29:41Z"));
        assert_eq!(cpim.header("datetime"), None);
        assert_eq!(
            cpim.media().and_then(|media| media.param("charset").map(str::to_owned)).as_deref(),
            Some("utf8")
        );
        assert_eq!(cpim.body().as_deref(), Some("hé\r\n".as_bytes()));
    }

    #[test]
    fn a_header_has_its_language_and_its_escapes_undone() {
        let bytes = b"Subject:;lang=fr beau \\\"temps\\\" \\uD83D\\uDE00\\x\\u12\\\n\n\nx";
        let cpim = parse(bytes).expect("a message");
        let expected = Header {
            name: "Subject".into(),
            lang: Some("fr".into()),
            value: "beau \"temps\" 😀xu12\\".into(),
        };
        assert_eq!(cpim.headers, [expected]);
        assert_eq!(cpim.content_type(), "text/plain");
    }

    #[test]
    fn the_outer_type_may_be_repeated_inside() {
        let cpim = parse(b"Content-type: Message/CPIM\n\nFrom: <sip:a@b>\n\nContent-type: text/html\n\nx");
        assert_eq!(cpim.map(|cpim| cpim.content_type().to_owned()).as_deref(), Ok("text/html"));
    }

    #[test]
    fn what_is_no_message_is_refused_with_a_reason() {
        assert_eq!(parse(b"hello"), Err("a CPIM message that ends in its headers"));
        assert_eq!(parse(b"hello\n\n\n"), Err("a CPIM header without a colon"));
        assert_eq!(parse(b"\n\nx"), Err("a CPIM message without headers"));
        assert_eq!(parse(b"Subject: \xff\n\n\nx"), Err("a CPIM header that is not UTF-8"));
    }

    #[test]
    fn what_is_written_is_read() {
        let headers = [("From", "\"Juliet\" <sip:juliet@example.com>"), ("Subject", "a\\b\r\nX: é\u{85}")];
        let bytes = write(&headers, &[("Content-Type", "text/plain;charset=UTF-8\r\nX: y")], b"hi\r\n\r\nho");
        let cpim = parse(&bytes).expect("a message");
        let read: Vec<_> =
            cpim.headers.iter().map(|header| (header.name.as_str(), header.value.as_str())).collect();
        assert_eq!(read, headers);
        assert_eq!(cpim.content_type(), "text/plain;charset=UTF-8  X: y");
        assert_eq!(cpim.body().as_deref(), Some(&b"hi\r\n\r\nho"[..]));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), value in ".*") {
            let _ = parse(&bytes);
            let _ = header("Subject".into(), &value);
        }
    }
}
