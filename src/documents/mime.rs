//! MIME as SIP uses it: media types (RFC 2045 §5.1), multipart bodies (RFC 2046 §5.1, RFC 5621) and transfer
//! encodings (RFC 2045 §6).
//!
//! `mail-parser` finds the parts; what it would guess about them (their charset, which of them is "the text") is not
//! used. Parts of nested messages (`message/rfc822`) stay opaque.

use std::borrow::Cow;

use mail_parser::{ContentType, MessageParser, MessagePart, MimeHeaders, PartType};

/// A media type with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaType {
    /// `text`, in lower case.
    pub main: String,
    /// `plain`, in lower case.
    pub sub: String,
    params: Vec<(String, String)>,
}

impl MediaType {
    /// The type of a body that names none (RFC 2045 §5.2).
    pub fn text_plain() -> MediaType {
        MediaType { main: "text".into(), sub: "plain".into(), params: Vec::new() }
    }

    /// Reads `text/plain; charset="utf-8"`. Nothing when there is no `main/sub`; a parameter that is not understood
    /// costs only itself.
    pub fn parse(text: &str) -> Option<MediaType> {
        let (name, rest) = text.split_once(';').unwrap_or((text, ""));
        let (main, sub) = name.split_once('/')?;
        let word = |word: &str| Some(word.trim().to_ascii_lowercase()).filter(|word| is_token(word));
        Some(MediaType { main: word(main)?, sub: word(sub)?, params: parameters(rest) })
    }

    /// True for this type.
    pub fn is(&self, main: &str, sub: &str) -> bool {
        self.main == main && self.sub == sub
    }

    /// The value of a parameter, unquoted.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl std::fmt::Display for MediaType {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}/{}", self.main, self.sub)
    }
}

/// One part of a multipart body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its type.
    pub media: MediaType,
    /// What it is for (`Content-Disposition`), in lower case and without parameters.
    pub disposition: Option<String>,
    /// It may be left out: `handling=optional` (RFC 5621 §8.1). The default is that it may not.
    pub optional: bool,
    /// Its language.
    pub lang: Option<String>,
    /// What it holds.
    pub inside: Inside,
}

/// What a part holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inside {
    /// Its bytes, the transfer encoding undone.
    Bytes(Vec<u8>),
    /// Parts.
    Parts(Vec<Part>),
    /// Something in an unknown transfer encoding, or in too many layers.
    Unreadable,
}

/// The parts of a body whose Content-Type has this value. Nothing if it is no multipart body after all.
pub fn parts(content_type: &str, body: &[u8]) -> Option<Vec<Part>> {
    let mut message = Vec::with_capacity(body.len() + content_type.len() + 32);
    message.extend_from_slice(b"Content-Type: ");
    message.extend(content_type.bytes().map(|byte| if byte.is_ascii_control() { b' ' } else { byte }));
    message.extend_from_slice(b"\r\n\r\n");
    message.extend_from_slice(body);
    let parsed = MessageParser::new().parse(&message)?;
    match part(&parsed.parts, &message, 0, DEPTH_LIMIT)?.inside {
        Inside::Parts(parts) => Some(parts),
        Inside::Bytes(_) | Inside::Unreadable => None,
    }
}

/// How deep parts may lie in parts.
const DEPTH_LIMIT: usize = 8;

fn part(all: &[MessagePart<'_>], raw: &[u8], number: usize, depth: usize) -> Option<Part> {
    let found = all.get(number)?;
    let inside = match &found.body {
        PartType::Multipart(_) if depth == 0 => Inside::Unreadable,
        PartType::Multipart(inner) => {
            let inner = inner.iter().filter_map(|number| part(all, raw, *number as usize, depth - 1));
            Inside::Parts(inner.collect())
        }
        _ => {
            let bytes = raw.get(found.offset_body as usize..found.offset_end as usize).unwrap_or_default();
            let encoding = found.content_transfer_encoding().unwrap_or_default();
            decode(encoding, bytes).map_or(Inside::Unreadable, |bytes| Inside::Bytes(bytes.into_owned()))
        }
    };
    let disposition = found.content_disposition();
    let handling = disposition.and_then(|disposition| disposition.attribute("handling"));
    Some(Part {
        media: found.content_type().map_or_else(MediaType::text_plain, media),
        disposition: disposition.map(|disposition| disposition.ctype().trim().to_ascii_lowercase()),
        optional: handling.is_some_and(|handling| handling.eq_ignore_ascii_case("optional")),
        lang: found.content_language().as_text().map(|lang| lang.trim().to_owned()),
        inside,
    })
}

fn media(found: &ContentType<'_>) -> MediaType {
    let params = found.attributes().unwrap_or_default().iter();
    MediaType {
        main: found.ctype().to_ascii_lowercase(),
        sub: found.subtype().unwrap_or_default().to_ascii_lowercase(),
        params: params.map(|attr| (attr.name.to_ascii_lowercase(), attr.value.to_string())).collect(),
    }
}

/// Undoes a Content-Transfer-Encoding; one with an empty value, which clients write, is none. Nothing for one that is
/// unknown or broken.
pub fn decode<'a>(encoding: &str, bytes: &'a [u8]) -> Option<Cow<'a, [u8]>> {
    match encoding.trim().to_ascii_lowercase().as_str() {
        "" | "7bit" | "8bit" | "binary" => Some(Cow::Borrowed(bytes)),
        "base64" => mail_parser::decoders::base64::base64_decode(bytes).map(Cow::Owned),
        "quoted-printable" => {
            mail_parser::decoders::quoted_printable::quoted_printable_decode(bytes).map(Cow::Owned)
        }
        _ => None,
    }
}

fn is_token(word: &str) -> bool {
    !word.is_empty()
        && word.bytes().all(|byte| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&byte))
}

/// `; name=value; name="quoted \" value"`.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.rsplit(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let after = after.trim_start();
        let value = match after.strip_prefix('"') {
            Some(quoted) => {
                let (value, tail) = unquote(quoted);
                rest = tail;
                value
            }
            None => {
                let (value, tail) = after.split_once(';').unwrap_or((after, ""));
                rest = tail;
                value.trim().to_owned()
            }
        };
        found.push((name, value));
    }
    found
}

/// A quoted string without its first quote, and what follows its last.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn types_are_read_whatever_their_parameters_look_like() {
        let read = MediaType::parse("Text/PLAIN ;charset = \"u\\tf8\" ; x; format=flowed").expect("a type");
        assert!(read.is("text", "plain"));
        assert_eq!(read.param("charset"), Some("utf8"));
        assert_eq!(read.param("format"), Some("flowed"));
        assert_eq!(MediaType::parse("text"), None);
        assert_eq!(MediaType::parse("text/ "), None);
    }

    #[test]
    fn parts_are_found_with_lf_and_crlf_and_without_an_end() {
        for body in [
            "--b\r\nContent-Type: text/plain\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n",
            "--b\nContent-Type: text/plain\n\none\n--b\n\ntwo\n--b--\n",
            "preamble\n--b\nContent-Type: text/plain\n\none\n--b\n\ntwo",
        ] {
            let found = parts("multipart/mixed; boundary=\"b\"", body.as_bytes()).expect("parts");
            let inside: Vec<_> = found.iter().map(|part| part.inside.clone()).collect();
            assert_eq!(inside, [Inside::Bytes(b"one".into()), Inside::Bytes(b"two".into())], "{body}");
        }
    }

    #[test]
    fn transfer_encodings_are_undone_and_an_empty_one_is_none() {
        assert_eq!(decode(" ", b"a=41").as_deref(), Some(&b"a=41"[..]));
        assert_eq!(decode("BASE64", b"aMOp").as_deref(), Some("hé".as_bytes()));
        assert_eq!(decode("quoted-printable", b"h=C3=A9").as_deref(), Some("hé".as_bytes()));
        assert_eq!(decode("uuencode", b"x"), None);
    }

    #[test]
    fn a_part_that_cannot_be_read_is_not_left_out() {
        let body = b"--b\nContent-Transfer-Encoding: uuencode\n\nx\n--b--";
        let found = parts("multipart/mixed; boundary=b", body).expect("parts");
        assert_eq!(found[0].inside, Inside::Unreadable);
        let mut body = String::new();
        for layer in 0..12 {
            body.push_str(&format!("--{layer}\nContent-Type: multipart/mixed; boundary={}\n\n", layer + 1));
        }
        let mut inside = Inside::Parts(parts("multipart/mixed; boundary=0", body.as_bytes()).expect("parts"));
        while let Inside::Parts(mut inner) = inside {
            inside = inner.pop().expect("a part").inside;
        }
        assert_eq!(inside, Inside::Unreadable);
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..400), parameter in ".*") {
            let _ = parts(&format!("multipart/mixed; boundary={parameter}"), &body);
            let _ = parts("multipart/mixed; boundary=a", &body);
            let _ = MediaType::parse(&parameter);
        }

        #[test]
        fn no_multipart_makes_it_panic(pieces in prop::collection::vec(
            prop::sample::select(vec!["--a", "--b", "--", "\r\n", "\n", ":", "Content-Type: ", "multipart/mixed; boundary=b",
                "message/rfc822", "text/plain", "Content-Transfer-Encoding: base64", "aGVq", "=", "é"]), 0..40)) {
            let _ = parts("multipart/digest; boundary=a", pieces.concat().as_bytes());
        }
    }
}
