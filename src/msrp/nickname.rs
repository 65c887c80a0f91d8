//! Names in a room: the header of a NICKNAME request (RFC 7701 §7).
//!
//! Written as a quoted string; read also without the quotes, as clients of the SIP SIMPLE SDK write it. A name of no bytes
//! takes the present one away (§7.3). Whether two names are the same (RFC 8266) is the room's to say.

use super::frame::Request;

const HEADER: &str = "Use-Nickname";
/// §7.1.
const LONGEST: usize = 1023;

/// The name that a NICKNAME asks for, or the code that answers it: 424 for what is no name (§7.1), 400 where there is
/// none, or more than one.
pub fn read(request: &Request) -> Result<String, u16> {
    let mut found = request.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(HEADER));
    match (found.next(), found.next()) {
        (Some((_, value)), None) => unquote(value).ok_or(424),
        _ => Err(400),
    }
}

/// The header that asks for a name. Nothing for what cannot be asked for.
pub fn header(nickname: &str) -> Option<(String, String)> {
    let value = nickname.replace('\\', "\\\\").replace('"', "\\\"");
    may_be(nickname).then(|| (HEADER.to_owned(), format!("\"{value}\"")))
}

fn unquote(value: &str) -> Option<String> {
    let value = value.trim();
    let Some(quoted) = value.strip_prefix('"') else {
        return Some(value.to_owned()).filter(|value| !value.is_empty() && may_be(value));
    };
    let mut nickname = String::new();
    let mut chars = quoted.chars();
    loop {
        match chars.next()? {
            '"' => break,
            '\\' => nickname.push(chars.next().filter(|c| matches!(c, '"' | '\\'))?),
            c => nickname.push(c),
        }
    }
    (chars.as_str().is_empty() && may_be(&nickname)).then_some(nickname)
}

/// What the grammar of §7.1 lets through. Bytes that were no UTF-8 have become U+FFFD on the way here.
fn may_be(nickname: &str) -> bool {
    nickname.len() <= LONGEST && !nickname.chars().any(|c| c.is_control() || c == '\u{fffd}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msrp::frame::Method;
    use crate::msrp::path::Path;
    use proptest::prelude::*;

    fn request(headers: &[&str]) -> Request {
        let path = Path::parse("msrp://bob:2/b;tcp").unwrap();
        let mut request = Request::new("abcd1234".into(), Method::Nickname, path.clone(), path);
        request.headers =
            headers.iter().map(|value| ("use-nickname".to_owned(), value.to_string())).collect();
        request
    }

    #[test]
    fn a_name_is_read_with_quotes_and_without() {
        for (written, name) in [
            (r#""Alice the great""#, "Alice the great"),
            ("Ally", "Ally"),
            ("Ally \"of\" Bath", "Ally \"of\" Bath"),
            (r#""a \"b\" \\c""#, r#"a "b" \c"#),
            ("\"\"", ""),
            ("\"\u{202e}evil 😀\"", "\u{202e}evil 😀"),
        ] {
            assert_eq!(read(&request(&[written])).as_deref(), Ok(name), "{written}");
        }
    }

    #[test]
    fn what_is_no_name_is_424_and_none_or_two_are_400() {
        let long = format!("\"{}\"", "x".repeat(1024));
        for written in ["", "\"a", "\"a\" b", r#""a\b""#, r#""a\"#, "\u{fffd}", "a\u{7}b", &long] {
            assert_eq!(read(&request(&[written])), Err(424), "{written}");
        }
        assert_eq!(read(&request(&[])), Err(400));
        assert_eq!(read(&request(&["a", "b"])), Err(400));
        assert_eq!((header(&"x".repeat(1024)), header("a\nb")), (None, None));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(name in "[^\u{0}-\u{1f}\u{7f}-\u{9f}\u{fffd}]{0,300}") {
            let (_, value) = header(&name).expect("a header");
            prop_assert_eq!(read(&request(&[&value])), Ok(name));
        }

        #[test]
        fn nothing_panics(value in ".*") {
            let _ = read(&request(&[&value]));
        }
    }
}
