//! What an XMPP client says about an earlier message: a correction (XEP-0308), a retraction (XEP-0424), a reply (XEP-0461) or
//! a reaction (XEP-0444). SIP has no form for any of them, so each becomes a short line of text, once; a row of
//! `mappings/sessions.yaml` may leave it out instead.
//!
//! The words for clients that do not know the extension, which stand in the same body (XEP-0428), are taken out first:
//! what SIP reads is said here in one way, whichever client wrote it.

use std::ops::Range;

use crate::features::sessions::table::Table;
use crate::features::sessions::{Extra, extra_is_text};
use crate::xmpp::stanza::{Element, Stanza};

const CORRECT: &str = "urn:xmpp:message-correct:0";
const RETRACT: &str = "urn:xmpp:message-retract:1";
const REPLY: &str = "urn:xmpp:reply:0";
const REACTIONS: &str = "urn:xmpp:reactions:0";
const FALLBACK: &str = "urn:xmpp:fallback:0";

/// How much of a message that is answered is repeated, in characters.
const QUOTE: usize = 60;

/// What of a body goes to SIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// This text.
    Text {
        /// The text.
        text: String,
        /// It takes the place of the message with this id while that still waits: then it is `instead`.
        corrects: Option<(String, String)>,
    },
    /// Nothing: a row leaves it out, or there is nothing in it.
    Nothing,
}

/// Reads what is said; `body` is the body as it stands, empty where there is none. Nothing if it is about no other
/// message.
pub fn read(stanza: &Stanza, body: &str, table: &Table) -> Option<Said> {
    let element = &stanza.element;
    let wanted = |extra| extra_is_text(table, extra);
    let plain = |text: String| Some(Said::Text { text, corrects: None });
    if element.child("retract", RETRACT).is_some() {
        return if wanted(Extra::Retraction) {
            plain("✎ I take back what I wrote before.".to_owned())
        } else {
            Some(Said::Nothing)
        };
    }
    if let Some(reactions) = element.child("reactions", REACTIONS) {
        let all = reactions.children().filter(|child| child.is("reaction", REACTIONS));
        let all: Vec<String> =
            all.map(Element::text).map(|one| one.trim().chars().take(16).collect()).collect();
        let shown = all.join(" ");
        return if wanted(Extra::Reaction) && !shown.trim().is_empty() {
            plain(format!("✎ {shown}"))
        } else {
            Some(Said::Nothing)
        };
    }
    let reply = element.child("reply", REPLY).is_some();
    let replace = element.child("replace", CORRECT).and_then(|replace| replace.attr("id"));
    if !reply && replace.is_none() {
        return None;
    }
    let mut text = body.to_owned();
    if reply {
        let (own, quoted) = without_fallback(element, body, REPLY);
        if own.trim().is_empty() {
            return Some(Said::Nothing);
        }
        let quoted = quoted.filter(|_| wanted(Extra::Reply));
        text = match quoted.as_deref().and_then(quote) {
            Some(quote) => format!("> {quote}\n{own}"),
            None => own,
        };
    }
    if text.trim().is_empty() {
        return Some(Said::Nothing);
    }
    match replace {
        None => plain(text),
        Some(_) if !wanted(Extra::Correction) => Some(Said::Nothing),
        Some(id) => Some(Said::Text { text: format!("✎ {text}"), corrects: Some((id.to_owned(), text)) }),
    }
}

/// The body without the parts that are for clients that do not know `what`, and those parts.
fn without_fallback(element: &Element, body: &str, what: &str) -> (String, Option<String>) {
    let fallbacks = element
        .children()
        .filter(|child| child.is("fallback", FALLBACK) && child.attr("for").is_none_or(|for_| for_ == what));
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let length = body.chars().count();
    for fallback in fallbacks {
        let mut bodies = fallback.children().filter(|child| child.is("body", FALLBACK)).peekable();
        if bodies.peek().is_none() && fallback.children().next().is_none() {
            ranges.push(0..length);
        }
        ranges.extend(bodies.map(|range| {
            let place = |name, default: usize| {
                range.attr(name).and_then(|text| text.parse::<usize>().ok()).unwrap_or(default).min(length)
            };
            place("start", 0)..place("end", length)
        }));
    }
    let is_fallback = |place: &usize| ranges.iter().any(|range| range.contains(place));
    let (mut own, mut quoted) = (String::new(), String::new());
    for (place, c) in body.chars().enumerate() {
        if is_fallback(&place) { quoted.push(c) } else { own.push(c) }
    }
    (own, Some(quoted).filter(|quoted| !quoted.trim().is_empty()))
}

/// The words that are answered, shortened, without the marks of a quotation. The first of several lines often only says who
/// wrote; the last one is what was written.
fn quote(quoted: &str) -> Option<String> {
    let mut lines = quoted.lines().map(|line| line.trim_start_matches(['>', ' ']).trim());
    let last = lines.rfind(|line| !line.is_empty())?;
    let mut short: String = last.chars().take(QUOTE).collect();
    if last.chars().count() > QUOTE {
        short.push('…');
    }
    Some(short)
}

/// Whether a stanza without a body says something that [`read`] knows.
pub fn is_extra(stanza: &Stanza) -> bool {
    stanza.element.children().any(|child| child.is("reactions", REACTIONS) || child.is("retract", RETRACT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::sessions::{QUESTIONS, whole};
    use crate::xmpp::jid::Jid;
    use crate::xmpp::stanza::StanzaKind;

    fn message(children: Vec<Element>) -> Stanza {
        let from = Jid::parse("juliet@example.com/balcony").unwrap();
        let to = Jid::parse("romeo@example.net").unwrap();
        children.into_iter().fold(Stanza::new(StanzaKind::Message, &from, &to), Stanza::with_child)
    }

    fn said(children: Vec<Element>, body: &str) -> Option<Said> {
        read(&message(children), body, &whole(None))
    }

    fn text(text: &str) -> Option<Said> {
        Some(Said::Text { text: text.into(), corrects: None })
    }

    fn fallback(range: Option<(&str, &str)>) -> Element {
        let fallback = Element::new("fallback", FALLBACK).with("for", REPLY);
        match range {
            Some((start, end)) => {
                fallback.with_child(Element::new("body", FALLBACK).with("start", start).with("end", end))
            }
            None => fallback,
        }
    }

    #[test]
    fn a_reply_quotes_in_short_what_it_answers() {
        let reply = || Element::new("reply", REPLY).with("id", "m1");
        let body = "> Anna wrote:\n> 😀 We should bake a cake\nGreat idea!";
        let end = body.chars().count() - "Great idea!".chars().count();
        let ranged = fallback(Some(("0", &end.to_string())));
        assert_eq!(said(vec![reply(), ranged], body), text("> 😀 We should bake a cake\nGreat idea!"));
        assert_eq!(said(vec![reply()], "Great idea!"), text("Great idea!"));
        let long = format!("> {}\nyes", "x".repeat(100));
        let ranged = fallback(Some(("0", "103")));
        assert_eq!(said(vec![reply(), ranged], &long), text(&format!("> {}…\nyes", "x".repeat(60))));
        assert_eq!(said(vec![reply(), fallback(Some(("9", "5")))], "ok"), text("ok"), "an odd range");
        assert_eq!(said(vec![reply(), fallback(None)], "all of it"), Some(Said::Nothing));
    }

    #[test]
    fn a_correction_is_marked_and_names_what_it_corrects() {
        let replace = Element::new("replace", CORRECT).with("id", "m1");
        let corrects = Some(("m1".to_owned(), "right".to_owned()));
        assert_eq!(said(vec![replace], "right"), Some(Said::Text { text: "✎ right".into(), corrects }));
    }

    #[test]
    fn reactions_and_retractions_are_lines_and_their_fallback_is_not() {
        let reaction = |emoji: &str| Element::new("reaction", REACTIONS).with_text(emoji);
        let reactions = |all: Vec<Element>| {
            all.into_iter().fold(Element::new("reactions", REACTIONS).with("id", "m1"), Element::with_child)
        };
        assert_eq!(said(vec![reactions(vec![reaction("👋"), reaction("🐢")])], "> hi\n👋"), text("✎ 👋 🐢"));
        assert_eq!(said(vec![reactions(vec![])], ""), Some(Said::Nothing));
        let retract = Element::new("retract", RETRACT).with("id", "m1");
        assert_eq!(said(vec![retract], "fallback"), text("✎ I take back what I wrote before."));
        assert_eq!(said(vec![], "hello"), None);
    }

    #[test]
    fn a_row_leaves_it_out() {
        let own = "extra:\n  - { row: as-text, do: drop }\n";
        let root = crate::config::yaml::parse(own, &mut Vec::new()).unwrap();
        let table = whole(None).with(Table::of(&root, &QUESTIONS, &mut Vec::new()));
        let replace = Element::new("replace", CORRECT).with("id", "m1");
        assert_eq!(read(&message(vec![replace]), "right", &table), Some(Said::Nothing));
        let reply = vec![Element::new("reply", REPLY), fallback(Some(("0", "5")))];
        assert_eq!(read(&message(reply), "> hi\nyes", &table), text("yes"), "its own words go");
    }
}
