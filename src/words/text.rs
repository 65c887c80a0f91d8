//! Text that may stand in XML, and tags of languages: what both sides let pass.

use std::borrow::Cow;

/// Replaces every character that XML 1.0 §2.2 forbids by U+FFFD.
pub fn clean(text: &str) -> Cow<'_, str> {
    if !is_suspicious(text.as_bytes()) || text.chars().all(may_stand_in_xml) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if may_stand_in_xml(c) { c } else { '\u{fffd}' }).collect())
}

/// Whether there may be something forbidden: a control character, or a byte that those above U+EFFF begin with. Whole
/// pieces are looked at without a branch for each byte, which is many times faster.
fn is_suspicious(text: &[u8]) -> bool {
    let is_odd =
        |byte: u8| (byte < b' ') & (byte != b'\t') & (byte != b'\n') & (byte != b'\r') | (byte == 0xef);
    text.chunks(128).any(|piece| piece.iter().fold(false, |odd, byte| odd | is_odd(*byte)))
}

/// XML 1.0 §2.2.
pub fn may_stand_in_xml(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// Whether it has the shape of a language tag (RFC 5646 §2.1): it may stand in a header and in `xml:lang` then.
pub fn is_language(tag: &str) -> bool {
    let is_subtag =
        |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    tag.len() <= 64 && tag.split('-').all(is_subtag)
}

/// Whether it changes the direction of what stands behind it (Unicode UAX #9 §2): a name with such a character in it
/// can look like another one. PRECIS has it in no name (RFC 8264 §9.13, through RFC 8266 for nicknames).
pub fn turns_direction(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_is_a_tag_and_nothing_else() {
        for tag in ["cs", "cs-CZ", "zh-Hant-TW", "i-klingon", "x-1"] {
            assert!(is_language(tag), "{tag}");
        }
        let long = "a-".repeat(32) + "a";
        for tag in ["", "-", "cs-", "-cs", "cs--CZ", "cs_CZ", "cs\r\nX: y", "č", "abcdefghi", &long] {
            assert!(!is_language(tag), "{tag}");
        }
    }

    #[test]
    fn forbidden_characters_are_replaced_and_others_stay() {
        assert_eq!(clean("a\u{0}b\u{ffff}c\u{1b}"), "a\u{fffd}b\u{fffd}c\u{fffd}");
        assert!(matches!(clean("tab\tline\r\n\u{1f600}\u{fffd}"), Cow::Borrowed(_)));
        for forbidden in ["\u{8}", "\u{fffe}", "\u{1f}"] {
            for before in [0, 1, 127, 128, 300] {
                let text = "x".repeat(before);
                assert_eq!(clean(&format!("{text}{forbidden}y")), format!("{text}\u{fffd}y"));
            }
        }
    }
}
