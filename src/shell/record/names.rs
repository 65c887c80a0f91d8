//! Names for what we mint, so that a recording fits a gateway that mints something else.
//!
//! Ids cannot be guessed, so they do not stand in a recording: where one goes out for the first time a name is bound,
//! and everywhere else, in either direction, that name stands. [`words`], [`key`] and [`hint`] also serve whoever
//! writes a vector anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::words::id::Partition;

/// The names that a recording has used so far.
#[derive(Debug, Default)]
pub struct Names {
    by_token: BTreeMap<String, String>,
    used: BTreeMap<&'static str, usize>,
}

impl Names {
    /// Text that comes in: ids that have gone out are named.
    pub fn coming_in(&self, text: &str) -> String {
        words(text, |_, word| self.by_token.get(word).map(|name| format!("{{{name}}}")))
    }

    /// Text that goes out: ids of ours are named, new ones too.
    pub fn going_out(&mut self, text: &str) -> String {
        words(text, |before, word| {
            if let Some(name) = self.by_token.get(word) {
                return Some(format!("{{{name}}}"));
            }
            Partition::of_token(word)?;
            let hint = hint(&key(before));
            let used = self.used.entry(hint).or_default();
            *used += 1;
            let name = if *used == 1 { hint.to_owned() } else { format!("{hint}{used}") };
            self.by_token.insert(word.to_owned(), name.clone());
            Some(format!("{{{name}}}"))
        })
    }
}

/// What every branch begins with (RFC 3261 §8.1.1.7).
const COOKIE: &str = "z9hG4bK";

/// Text in which `replace` has replaced words. It is shown all that is written before a word, and the word; a branch
/// is a word without what all branches begin with.
pub fn words(text: &str, mut replace: impl FnMut(&str, &str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(is_word) {
        let (before, from) = rest.split_at(start);
        let (word, after) = from.split_at(from.find(|c| !is_word(c)).unwrap_or(from.len()));
        out.push_str(before);
        let word = match word.strip_prefix(COOKIE) {
            Some(token) => {
                out.push_str(COOKIE);
                token
            }
            None => word,
        };
        match replace(&out, word) {
            // Writing to a String cannot fail.
            Some(other) => drop(write!(out, "{other}")),
            None => out.push_str(word),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '{' | '}' | '_' | '-')
}

/// What stands right before a value and says what it is: `tag=`, `Call-ID: `, `id='`.
pub fn key(before: &str) -> String {
    let begin = before.rfind([';', '<', ',', '\n']).map_or(0, |at| at + 1);
    let key = &before[begin..];
    key.rfind(' ').filter(|_| key.contains('=')).map_or(key, |at| &key[at + 1..]).to_owned()
}

/// A name for a value behind such a key.
pub fn hint(key: &str) -> &'static str {
    let is = |word: &str| key.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    if is("Call-ID") {
        "call"
    } else if is("branch") {
        "branch"
    } else if is("tag") {
        "tag"
    } else {
        "id"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_gets_a_name_when_it_goes_out_and_keeps_it() {
        let mut names = Names::default();
        let out = "MESSAGE sip:a SIP/2.0\nVia: SIP/2.0/TCP b;branch=z9hG4bK00abcdefghijklmnop\nFrom: <sip:c>;tag=01abcdefghijklmnop\n\
                   Call-ID: 02abcdefghijklmnop";
        assert_eq!(names.coming_in(out), out);
        let named = "MESSAGE sip:a SIP/2.0\nVia: SIP/2.0/TCP b;branch=z9hG4bK{branch}\nFrom: <sip:c>;tag={tag}\nCall-ID: {call}";
        assert_eq!(names.going_out(out), named);
        assert_eq!(names.coming_in(out), named);
        assert_eq!(
            names.going_out("<iq id='03abcdefghijklmnop'/><a b='01abcdefghijklmnop'/>"),
            "<iq id='{id}'/><a b='{tag}'/>"
        );
        assert_eq!(names.going_out("From: <sip:c>;tag=04abcdefghijklmnop"), "From: <sip:c>;tag={tag2}");
    }
}
