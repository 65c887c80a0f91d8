//! Text in its charset, read as Unicode.
//!
//! No charset means UTF-8 (RFC 3261 §7.4.1), as every SIP client writes it; bytes that are not UTF-8 are an
//! error there, never a guess. `encoding_rs` knows the others, and the misspelt names (`utf8`) that clients use.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8};

/// Why bytes are no text; reads as a reason phrase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextProblem {
    /// They are not what their charset says.
    Malformed(&'static str),
    /// Nobody knows this charset.
    UnknownCharset(String),
}

/// The text of a body: every line ends in LF, and a byte order mark is gone.
pub fn decode(bytes: &[u8], charset: Option<&str>) -> Result<String, TextProblem> {
    let encoding = match charset.map(str::trim).filter(|name| !name.is_empty()) {
        None => UTF_8,
        Some(name) => Encoding::for_label(name.as_bytes())
            .ok_or_else(|| TextProblem::UnknownCharset(name.chars().take(40).collect()))?,
    };
    // "us-ascii" and its kin are read as windows-1252; where the bytes are UTF-8 all the same, that is what was meant.
    let said_ascii = charset.is_some_and(|name| name.to_ascii_lowercase().contains("ascii"));
    if encoding == UTF_8 || (said_ascii && std::str::from_utf8(bytes).is_ok()) {
        let text = std::str::from_utf8(bytes).map_err(|_| TextProblem::Malformed("UTF-8"))?;
        return Ok(lines(text.trim_start_matches('\u{feff}')));
    }
    let (text, _, malformed) = encoding.decode(bytes);
    if malformed { Err(TextProblem::Malformed(encoding.name())) } else { Ok(lines(&text)) }
}

/// CR LF and lone CR become LF.
fn lines(text: &str) -> String {
    if !text.contains('\r') {
        return text.to_owned();
    }
    let text =
        if text.contains("\r\n") { Cow::Owned(text.replace("\r\n", "\n")) } else { Cow::Borrowed(text) };
    if text.contains('\r') { text.replace('\r', "\n") } else { text.into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn charsets_are_read_by_any_of_their_names() {
        for (charset, bytes) in [
            (None, "é€".as_bytes()),
            (Some("utf8"), "\u{feff}é€".as_bytes()),
            (Some("UTF-8"), "é€".as_bytes()),
            (Some("us-ascii"), "é€".as_bytes()),
            (Some("iso-8859-15"), b"\xe9\xa4"),
            (Some("windows-1252"), b"\xe9\x80"),
            (Some("utf-16be"), b"\x00\xe9\x20\xac"),
        ] {
            assert_eq!(decode(bytes, charset).as_deref(), Ok("é€"), "{charset:?}");
        }
    }

    #[test]
    fn what_is_not_utf_8_is_no_text() {
        assert_eq!(decode(b"\xe9", None), Err(TextProblem::Malformed("UTF-8")));
        assert_eq!(decode(b"\xff\xfe", Some("utf-8")), Err(TextProblem::Malformed("UTF-8")));
        assert_eq!(decode(b"\x82", Some("shift_jis")), Err(TextProblem::Malformed("Shift_JIS")));
        assert_eq!(decode(b"x", Some("klingon")), Err(TextProblem::UnknownCharset("klingon".into())));
    }

    #[test]
    fn lines_end_in_lf() {
        assert_eq!(decode(b"a\r\nb\rc\nd", None).as_deref(), Ok("a\nb\nc\nd"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), charset in "[a-z0-9-]{0,12}") {
            let _ = decode(&bytes, Some(&charset));
            let _ = decode(&bytes, None);
        }

        #[test]
        fn utf_8_stays(text in "[^\r\u{feff}]*") {
            prop_assert_eq!(decode(text.as_bytes(), None), Ok(text));
        }
    }
}
