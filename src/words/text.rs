//! Text that may stand in XML, whichever city prints it.

use std::borrow::Cow;

/// Replaces every character that XML 1.0 §2.2 forbids by U+FFFD.
pub fn clean(text: &str) -> Cow<'_, str> {
    let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if is_plain || text.chars().all(may_stand_in_xml) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if may_stand_in_xml(c) { c } else { '\u{fffd}' }).collect())
}

/// XML 1.0 §2.2.
pub fn may_stand_in_xml(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forbidden_characters_are_replaced_and_others_stay() {
        assert_eq!(clean("a\u{0}b\u{ffff}c\u{1b}"), "a\u{fffd}b\u{fffd}c\u{fffd}");
        assert!(matches!(clean("tab\tline\r\n\u{1f600}"), Cow::Borrowed(_)));
    }
}
