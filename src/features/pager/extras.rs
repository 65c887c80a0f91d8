//! What an XMPP client says about an earlier message: a correction (XEP-0308), a retraction (XEP-0424), a reply (XEP-0461) or
//! a reaction (XEP-0444). SIP has no form for any of them, so each becomes a short line of text, once; a row of
//! `mappings/sessions.yaml` may leave it out instead.
//!
//! The words for clients that do not know the extension, which stand in the same body (XEP-0428), are taken out first:
//! what SIP reads is said here in one way, whichever client wrote it. What else stands in the body is kept. Beside a
//! retraction or a reaction the whole body is such words, unless it says which part is.

use std::collections::BTreeMap;

use crate::features::sessions::table::Table;
use crate::features::sessions::{Extra, extra_is_text};
use crate::xmpp::stanza::{Element, Stanza};

const CORRECT: &str = "urn:xmpp:message-correct:0";
const RETRACT: &str = "urn:xmpp:message-retract:1";
/// As it was before version 0.4 of XEP-0424: in an envelope of XEP-0422.
const RETRACT_OLD: &str = "urn:xmpp:message-retract:0";
const FASTEN: &str = "urn:xmpp:fasten:0";
const REPLY: &str = "urn:xmpp:reply:0";
const REACTIONS: &str = "urn:xmpp:reactions:0";
const FALLBACK: &str = "urn:xmpp:fallback:0";

/// How much of a message that is answered is repeated, in characters.
const QUOTE: usize = 60;
/// How many reactions of one person are shown.
const SHOWN: usize = 10;

/// What becomes of an earlier message while that still waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The id of its stanza.
    pub id: String,
    /// What it says now. Nothing: it is taken back.
    pub instead: Option<String>,
    /// It is a retraction, also where its sender says something beside it.
    pub takes_back: bool,
}

/// What of a body goes to SIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// This text.
    Text {
        /// The text.
        text: String,
        /// This is done instead, where that is still possible.
        changes: Option<Change>,
    },
    /// Nothing: a row leaves it out, or there is nothing in it.
    Nothing,
}

/// Reads what is said; `body` is the body as it stands, empty where there is none. Nothing if it is about no other
/// message.
pub fn read(stanza: &Stanza, body: &str, table: &Table) -> Option<Said> {
    let element = &stanza.element;
    let wanted = |extra| extra_is_text(table, extra);
    let plain = |text: String| Some(Said::Text { text, changes: None });
    if let Some((retract, id)) = retraction(element) {
        let said = wanted(Extra::Retraction).then(|| "✎ I take back what I wrote before.".to_owned());
        let beside = beside(element, body, retract);
        let instead = Some(beside.clone()).filter(|beside| !beside.is_empty());
        let changes =
            id.filter(|_| said.is_some()).map(|id| Change { id: id.to_owned(), instead, takes_back: true });
        return Some(together(said, &beside, changes));
    }
    if let Some(reactions) = element.child("reactions", REACTIONS) {
        let all = reactions.children().filter(|child| child.is("reaction", REACTIONS)).take(SHOWN);
        let all: Vec<String> =
            all.map(Element::text).map(|one| one.trim().chars().take(16).collect()).collect();
        let shown = all.join(" ");
        let said = (wanted(Extra::Reaction) && !shown.trim().is_empty()).then(|| format!("✎ {shown}"));
        return Some(together(said, &beside(element, body, REACTIONS), None));
    }
    let reply = element.child("reply", REPLY).is_some();
    let replace = element.child("replace", CORRECT).and_then(|replace| replace.attr("id"));
    if !reply && replace.is_none() {
        return None;
    }
    let (mut own, mut quoted) = (body.to_owned(), None);
    if reply {
        let parts = without_fallback(element, body, REPLY);
        own = parts.0.trim_matches('\n').to_owned();
        quoted = parts.1.filter(|_| wanted(Extra::Reply)).as_deref().and_then(quote);
    }
    if own.trim().is_empty() {
        return Some(Said::Nothing);
    }
    let whole = |own: &str| match &quoted {
        Some(quoted) => format!("> {quoted}\n{own}"),
        None => own.to_owned(),
    };
    match replace {
        None => plain(whole(&own)),
        Some(_) if !wanted(Extra::Correction) => Some(Said::Nothing),
        Some(id) => Some(Said::Text {
            text: whole(&format!("✎ {own}")),
            changes: Some(Change { id: id.to_owned(), instead: Some(whole(&own)), takes_back: false }),
        }),
    }
}

/// What is said about another message, and what else is.
fn together(said: Option<String>, beside: &str, changes: Option<Change>) -> Said {
    let text = match (said, beside.is_empty()) {
        (Some(said), true) => said,
        (Some(said), false) => format!("{said}\n{beside}"),
        (None, true) => return Said::Nothing,
        (None, false) => beside.to_owned(),
    };
    Said::Text { text, changes }
}

/// What stands in the body besides the words for clients that do not know `what`: nothing where it does not say which
/// words those are.
fn beside(element: &Element, body: &str, what: &str) -> String {
    let says =
        element.children().any(|child| child.is("fallback", FALLBACK) && child.attr("for") == Some(what));
    if says { without_fallback(element, body, what).0.trim().to_owned() } else { String::new() }
}

/// The namespace of a retraction, where there is one, and the id of what is taken back.
fn retraction(element: &Element) -> Option<(&'static str, Option<&str>)> {
    if let Some(retract) = element.child("retract", RETRACT) {
        return Some((RETRACT, retract.attr("id")));
    }
    let old = element.child("apply-to", FASTEN)?;
    old.child("retract", RETRACT_OLD).map(|_| (RETRACT_OLD, old.attr("id")))
}

/// The body without the parts that are for clients that do not know `what`, and those parts. Places are counted in
/// characters (XEP-0426).
fn without_fallback(element: &Element, body: &str, what: &str) -> (String, Option<String>) {
    let fallbacks = element
        .children()
        .filter(|child| child.is("fallback", FALLBACK) && child.attr("for").is_none_or(|for_| for_ == what));
    let length = body.chars().count();
    // By how many ranges begin less how many end at each place.
    let mut turns: BTreeMap<usize, i64> = BTreeMap::new();
    let mut add = |start: usize, end: usize| {
        if start < end {
            *turns.entry(start).or_default() += 1;
            *turns.entry(end).or_default() -= 1;
        }
    };
    for fallback in fallbacks {
        if fallback.children().next().is_none() {
            add(0, length);
        }
        for range in fallback.children().filter(|child| child.is("body", FALLBACK)) {
            let place = |name, default: usize| {
                range.attr(name).and_then(|text| text.parse::<usize>().ok()).unwrap_or(default).min(length)
            };
            add(place("start", 0), place("end", length));
        }
    }
    let (mut own, mut quoted, mut depth) = (String::new(), String::new(), 0);
    for (place, c) in body.chars().enumerate() {
        depth += turns.get(&place).copied().unwrap_or_default();
        if depth > 0 { quoted.push(c) } else { own.push(c) }
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
    let element = &stanza.element;
    element.child("reactions", REACTIONS).is_some() || retraction(element).is_some()
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
        Some(Said::Text { text: text.into(), changes: None })
    }

    fn change(text: &str, id: &str, instead: Option<&str>) -> Option<Said> {
        let takes_back = text.contains("I take back");
        let changes = Some(Change { id: id.into(), instead: instead.map(str::to_owned), takes_back });
        Some(Said::Text { text: text.into(), changes })
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
    fn the_order_of_quotation_answer_and_elements_does_not_matter() {
        let reply = || Element::new("reply", REPLY).with("id", "m1");
        let before = fallback(Some(("0", "9")));
        assert_eq!(said(vec![before, reply()], "> a cake\nyes"), text("> a cake\nyes"));
        let after = fallback(Some(("3", "13")));
        assert_eq!(said(vec![reply(), after], "yes\n> a cake\n"), text("> a cake\nyes"));
        let twice = fallback(Some(("0", "9")))
            .with_child(Element::new("body", FALLBACK).with("start", "2").with("end", "9"));
        assert_eq!(said(vec![reply(), twice], "> a cake\nyes"), text("> a cake\nyes"), "ranges that overlap");
        let other = Element::new("fallback", FALLBACK).with("for", "urn:other");
        assert_eq!(said(vec![reply(), other], "yes"), text("yes"), "that of another extension");
    }

    #[test]
    fn a_corrected_reply_keeps_its_quotation() {
        let children = || vec![Element::new("reply", REPLY).with("id", "m0"), fallback(Some(("0", "9")))];
        let replace = || Element::new("replace", CORRECT).with("id", "m1");
        let expected = change("> a cake\n✎ yes", "m1", Some("> a cake\nyes"));
        let mut last = children();
        last.push(replace());
        assert_eq!(said(last, "> a cake\nyes"), expected);
        let mut first = vec![replace()];
        first.extend(children());
        assert_eq!(said(first, "> a cake\nyes"), expected);
    }

    #[test]
    fn what_else_stands_beside_a_reaction_is_kept() {
        let reactions = Element::new("reactions", REACTIONS)
            .with_child(Element::new("reaction", REACTIONS).with_text("👋"));
        let range = Element::new("body", FALLBACK).with("start", "0").with("end", "1");
        let fallback = Element::new("fallback", FALLBACK).with("for", REACTIONS).with_child(range);
        assert_eq!(said(vec![reactions, fallback], "👋 and welcome"), text("✎ 👋\nand welcome"));
        let old = Element::new("apply-to", FASTEN)
            .with("id", "m1")
            .with_child(Element::new("retract", RETRACT_OLD));
        assert!(is_extra(&message(vec![old.clone()])));
        assert_eq!(
            said(vec![old], "/me retracted"),
            change("✎ I take back what I wrote before.", "m1", None)
        );
    }

    #[test]
    fn many_ranges_over_a_long_body_are_counted_once() {
        let fallback = (0..4_000).fold(Element::new("fallback", FALLBACK), |fallback, _| {
            fallback.with_child(Element::new("body", FALLBACK).with("start", "0").with("end", "200000"))
        });
        let body = "é".repeat(200_000) + "yes";
        assert_eq!(without_fallback(&message(vec![fallback]).element, &body, REPLY).0, "yes");
    }

    #[test]
    fn a_correction_is_marked_and_names_what_it_corrects() {
        let replace = Element::new("replace", CORRECT).with("id", "m1");
        assert_eq!(said(vec![replace], "right"), change("✎ right", "m1", Some("right")));
    }

    #[test]
    fn reactions_and_retractions_are_lines_and_their_fallback_is_not() {
        let reaction = |emoji: &str| Element::new("reaction", REACTIONS).with_text(emoji);
        let reactions = |all: Vec<Element>| {
            all.into_iter().fold(Element::new("reactions", REACTIONS).with("id", "m1"), Element::with_child)
        };
        assert_eq!(said(vec![reactions(vec![reaction("👋"), reaction("🐢")])], "> hi\n👋"), text("✎ 👋 🐢"));
        assert_eq!(said(vec![reactions(vec![])], ""), Some(Said::Nothing));
        let taken_back = "✎ I take back what I wrote before.";
        let retract = || Element::new("retract", RETRACT).with("id", "m1");
        assert_eq!(said(vec![retract()], "fallback"), change(taken_back, "m1", None));
        assert_eq!(
            said(vec![Element::new("retract", RETRACT)], ""),
            text(taken_back),
            "of nobody knows what"
        );
        let range = Element::new("body", FALLBACK).with("start", "0").with("end", "4");
        let fallback = Element::new("fallback", FALLBACK).with("for", RETRACT).with_child(range);
        let both = change(&format!("{taken_back}\nsorry"), "m1", Some("sorry"));
        assert_eq!(said(vec![retract(), fallback], "gone sorry"), both, "what else she says goes");
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
