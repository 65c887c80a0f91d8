//! CPIM messages (RFC 3862): the envelope of `message/cpim`, its headers, and the one part that it wraps.
//!
//! Lines may end in CR LF or in LF, both in one message. Header names are case-sensitive (§2.2); the MIME headers of
//! the part are not, and may be folded. Between two people the envelope's addresses are text: who sent a message is what SIP
//! says. In a room they say who of it speaks, and to whom (RFC 7701 §6): [`Cpim::mailboxes`].

use std::borrow::Cow;

use super::mime::{self, MediaType};
use super::{date, pidf};
use crate::sip::uri::SipAddress;
use crate::words::time::Wall;

/// Its media type.
pub const TYPE: &str = "message/cpim";

/// Whether a Content-Type is that, whatever its parameters.
pub fn is_type(content_type: &str) -> bool {
    content_type.split(';').next().is_some_and(|type_| type_.trim().eq_ignore_ascii_case(TYPE))
}

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

/// An address of the envelope with its name (§3.1.1): `Juliet <sip:room@chat.example;gr=Juliet>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mailbox {
    /// The formal name. It may hold anything but control characters.
    pub name: Option<String>,
    /// The address.
    pub uri: String,
}

impl Mailbox {
    /// The address of somebody of this name; an empty name is none.
    pub fn new(name: Option<&str>, address: &SipAddress) -> Mailbox {
        let name = name.map(|name| name.replace(char::is_control, " ").trim().to_owned());
        Mailbox { name: name.filter(|name| !name.is_empty()), uri: address.text() }
    }

    /// Reads the value of From, To or cc, its escapes undone. Nothing where there is no address in it. What stands before the
    /// address is the name, with its quotes or without.
    pub fn parse(value: &str) -> Option<Mailbox> {
        let value = value.trim();
        let Some((name, rest)) = value.rsplit_once('<') else {
            // The brackets must be there, and some leave them out.
            let is_uri = value.contains(':') && !value.contains(char::is_whitespace);
            return is_uri.then(|| Mailbox { name: None, uri: value.to_owned() });
        };
        let (uri, name) = (rest.split('>').next().unwrap_or_default().trim(), name.trim());
        let quoted = name.strip_prefix('"').and_then(|name| name.strip_suffix('"'));
        let name = quoted.unwrap_or(name).trim();
        let mailbox =
            Mailbox { name: Some(name.to_owned()).filter(|name| !name.is_empty()), uri: uri.to_owned() };
        (!uri.is_empty()).then_some(mailbox)
    }

    /// The SIP address, repaired where that was needed.
    pub fn address(&self) -> Option<SipAddress> {
        pidf::repair(&self.uri)
    }

    /// The value of its header, for [`write`].
    pub fn value(&self) -> String {
        match &self.name {
            Some(name) => format!("\"{name}\" <{}>", self.uri),
            None => format!("<{}>", self.uri),
        }
    }
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
/// Lines end in CR LF. Values are taken as they are said: what may not stand in a line is escaped (§2.3), and so are a quote
/// inside the quotes of a name, and blanks at the ends of a value.
pub fn write(headers: &[(&str, &str)], part: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + body.len());
    for (names, escaped) in [(headers, true), (part, false)] {
        for (name, value) in names {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            // The quotes that belong to the value are the first and the last of an address.
            let is_address = escaped && matches!(*name, "From" | "To" | "cc") && value.starts_with('"');
            let last = value.rfind("\" <").unwrap_or_default();
            let (begin, end) = (value.len() - value.trim_start().len(), value.trim_end().len());
            for (at, c) in value.char_indices() {
                let is_hidden = c.is_control() || at < begin || at >= end;
                match c {
                    '"' if is_address && at > 0 && at < last => out.extend_from_slice(b"\\\""),
                    '\\' if escaped => out.extend_from_slice(b"\\\\"),
                    _ if is_hidden => out.extend_from_slice(if escaped { b"\\u" } else { b" " }),
                    c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                }
                if escaped && is_hidden {
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

    /// The addresses of all headers of this name: `To`. One that cannot be read is left out.
    pub fn mailboxes(&self, name: &str) -> Vec<Mailbox> {
        let found = self.headers.iter().filter(|header| header.name == name);
        found.filter_map(|header| Mailbox::parse(&header.value)).collect()
    }

    /// When it was written (`DateTime`).
    pub fn datetime(&self) -> Option<Wall> {
        date::read_rfc3339(&self.header("DateTime")?.value)
    }

    /// What it is about; of several, in several languages, the first. An empty one is a subject too.
    pub fn subject(&self) -> Option<&str> {
        self.header("Subject").map(|header| header.value.as_str())
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
            let more = line.trim();
            if !value.is_empty() && !more.is_empty() {
                value.push(' ');
            }
            value.push_str(more);
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
        let headers =
            [("From", "\"Juliet\" <sip:juliet@example.com>"), ("Subject", "\u{a0} a\\b\r\nX: é\u{85} ")];
        let bytes = write(&headers, &[("Content-Type", "text/plain;charset=UTF-8\r\nX: y")], b"hi\r\n\r\nho");
        let cpim = parse(&bytes).expect("a message");
        let read: Vec<_> =
            cpim.headers.iter().map(|header| (header.name.as_str(), header.value.as_str())).collect();
        assert_eq!(read, headers);
        assert_eq!(cpim.content_type(), "text/plain;charset=UTF-8  X: y");
        assert_eq!(cpim.body().as_deref(), Some(&b"hi\r\n\r\nho"[..]));
    }

    #[test]
    fn who_speaks_in_a_room_is_read_as_clients_write_it() {
        for (value, name, uri) in [
            ("Conference Room <sip:room@chat.example>", Some("Conference Room"), "sip:room@chat.example"),
            ("<sip:room@chat.example;gr=Ju%20C>", None, "sip:room@chat.example;gr=Ju%20C"),
            ("\"Ju <C>\" <sip:a@b>", Some("Ju <C>"), "sip:a@b"),
            ("sip:a@b", None, "sip:a@b"),
            ("\"\" <a%40b>", None, "a%40b"),
        ] {
            let mailbox = Mailbox { name: name.map(str::to_owned), uri: uri.into() };
            assert_eq!(Mailbox::parse(value), Some(mailbox), "{value}");
        }
        for value in ["", "Juliet", "Juliet <>", "hi: there"] {
            assert_eq!(Mailbox::parse(value), None, "{value}");
        }
        let whole = Mailbox::parse("<a%40b>").and_then(|mailbox| mailbox.address());
        assert_eq!(whole.map(|address| address.to_string()).as_deref(), Some("sip:a@b"));
    }

    #[test]
    fn a_line_of_a_room_crosses_both_ways() {
        let room = SipAddress::parse("sip:room@chat.example").expect("an address");
        let nick = "Ju \"C\" \\ <é\u{1f600}>";
        let speaker = SipAddress { gr: Some(nick.into()), ..room.clone() };
        let (from, to) = (Mailbox::new(Some(nick), &speaker), Mailbox::new(Some(" \n"), &room));
        assert_eq!(to.value(), "<sip:room@chat.example>");
        let headers = [
            ("From", from.value()),
            ("To", to.value()),
            ("DateTime", date::write_rfc3339(Wall(1_795_170_896_000))),
            ("Subject", "Today: \"tomorrow\"".to_owned()),
        ];
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let bytes = write(&headers, &[("Content-Type", "text/plain")], b"hi");
        assert!(bytes.starts_with(b"From: \"Ju \\\"C\\\" \\\\ <"), "{}", String::from_utf8_lossy(&bytes));
        let cpim = parse(&bytes).expect("a message");
        assert_eq!(
            (cpim.mailboxes("From"), cpim.mailboxes("To"), cpim.mailboxes("cc")),
            (vec![from], vec![to], vec![])
        );
        assert_eq!(
            (cpim.datetime(), cpim.subject()),
            (Some(Wall(1_795_170_896_000)), Some("Today: \"tomorrow\""))
        );
        let address = cpim.mailboxes("From")[0].address();
        assert_eq!(address.and_then(|address| address.gr).as_deref(), Some(nick));
    }

    proptest! {
        #[test]
        fn a_name_is_read_as_it_was_written(name in ".{0,30}", gr in prop::option::of(".{1,20}")) {
            let room = SipAddress::parse("sip:room@chat.example").expect("an address");
            let mailbox = Mailbox::new(Some(&name), &SipAddress { gr, ..room });
            let bytes = write(&[("To", &mailbox.value())], &[], b"");
            let cpim = parse(&bytes).expect("a message");
            prop_assert_eq!(cpim.mailboxes("To"), [mailbox]);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), value in ".*") {
            let _ = parse(&bytes);
            let _ = header("Subject".into(), &value);
        }
    }
}
