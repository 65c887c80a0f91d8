//! What crosses, and in which words: the rules of RFC 7572 §§4–5 as functions.

use std::time::Duration;

use super::extras::{self, Change, Said};
use super::links;
use crate::features::rich;
use crate::features::sessions::table::Table;
use crate::words::condition::{Condition, Kind};
use crate::words::time::Wall;
use crate::xmpp::ns;
use crate::xmpp::stanza::{Element, Stanza};

/// What a `<message/>` of an XMPP user means for SIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// It says something.
    Text(Text),
    /// It says nothing that a MESSAGE carries, and nobody waits for an answer: typing, receipts, hints.
    Nothing,
    /// It cannot cross.
    Refused(Condition),
}

/// The words of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The body.
    pub text: String,
    /// The body with its emphasis, where there is some.
    pub rich: Option<String>,
    /// It corrects an earlier message or takes it back: this is done instead while that waits.
    pub changes: Option<Change>,
    /// The subject.
    pub subject: Option<String>,
    /// The language of the body.
    pub lang: Option<String>,
    /// The thread.
    pub thread: Option<String>,
    /// The sender asks for a receipt (XEP-0184).
    pub receipt: bool,
    /// The sender asks to be told when it is shown (XEP-0333).
    pub marker: bool,
}

/// Reads a message that is no error.
pub fn outgoing(stanza: &Stanza, sessions: &Table) -> Outgoing {
    let element = &stanza.element;
    if stanza.type_() == Some("groupchat") {
        return refused(Kind::ServiceUnavailable, "This address is a person, not a room.");
    }
    if element.children().any(is_encrypted) || is_said_to_be_encrypted(element) {
        return refused(
            Kind::NotAcceptable,
            "This contact is on a telephone network, which cannot read encrypted messages. \
             Please turn encryption off for this contact and send it again.",
        );
    }
    let spoken = |name: &'static str| {
        element
            .children()
            .find(move |child| child.is(name, ns::COMPONENT))
            .map(|child| (child.text(), child.lang().or(element.lang()).map(str::to_owned)))
            .filter(|(text, _)| !text.is_empty())
    };
    let lang = || element.lang().map(str::to_owned);
    let (body, lang) = match spoken("body") {
        Some(spoken) => spoken,
        None if extras::is_extra(stanza) || links::added(element, "").is_some() => (String::new(), lang()),
        // XEP-0071 §8 demands a body; where it is missing, what is there is not lost.
        None => match rich::page(element).filter(|page| !page.text.is_empty()) {
            Some(page) => (page.text, lang()),
            None => return without_body(stanza),
        },
    };
    let (text, rich, changes) = match extras::read(stanza, &body, sessions) {
        None => match links::added(element, &body) {
            Some(text) => (text, None, None),
            None => {
                let rich = rich::beside(element, &body);
                (body, rich, None)
            }
        },
        Some(Said::Text { text, changes }) => (links::added(element, &text).unwrap_or(text), None, changes),
        Some(Said::Nothing) => return Outgoing::Nothing,
    };
    Outgoing::Text(Text {
        text,
        rich,
        changes,
        subject: spoken("subject").map(|(subject, _)| subject),
        lang,
        thread: spoken("thread").map(|(thread, _)| thread),
        receipt: element.child("request", ns::RECEIPTS).is_some(),
        marker: element.child("markable", ns::MARKERS).is_some(),
    })
}

/// XEP-0380 §3: the body beside the mark is for people who cannot read the message, except with OTR, where it is the message.
fn is_said_to_be_encrypted(element: &Element) -> bool {
    let has_body = element.child("body", ns::COMPONENT).is_some_and(|body| !body.text().is_empty());
    element.children().filter(|child| child.is("encryption", EME)).any(|mark| {
        let is_otr = mark.attr("namespace").is_some_and(|namespace| namespace.starts_with("urn:xmpp:otr:"));
        !(is_otr && has_body)
    })
}

/// RFC 6120 §8.4: a message with nothing but unknown children is ignored or answered `service-unavailable`. What only
/// accompanies a conversation is ignored; what somebody waits for, a call for example, is answered.
fn without_body(stanza: &Stanza) -> Outgoing {
    // Copies of other messages (XEP-0280, XEP-0313): whoever they were for has them already.
    if stanza.element.children().any(|child| COPIES.contains(&child.ns())) {
        return Outgoing::Nothing;
    }
    // XEP-0155 §4.2.3: this is how somebody says that there are no such sessions.
    if stanza.element.child("feature", "http://jabber.org/protocol/feature-neg").is_some() {
        return refused(
            Kind::ServiceUnavailable,
            "Sessions are not negotiated with this contact. Just write: whatever is needed is arranged on the way.",
        );
    }
    let from_server = stanza.from().is_none_or(|from| from.local().is_none());
    let silent = |child: &Element| {
        SILENT.contains(&child.ns()) || child.is("thread", ns::COMPONENT) || child.is("body", ns::COMPONENT)
    };
    if from_server || stanza.type_() == Some("headline") || stanza.element.children().all(silent) {
        return Outgoing::Nothing;
    }
    refused(Kind::ServiceUnavailable, "Only text reaches this contact.")
}

/// Typing, receipts, markers and what only goes along with a message.
const SILENT: [&str; 7] =
    [ns::CHAT_STATES, "jabber:x:event", ns::MARKERS, ns::HINTS, ns::NICK, ns::RECEIPTS, "urn:xmpp:sid:0"];

/// What wraps copies of messages that were for somebody else, or are old.
const COPIES: [&str; 2] = ["urn:xmpp:carbons:2", "urn:xmpp:mam:2"];

/// XEP-0380.
const EME: &str = "urn:xmpp:eme:0";

/// OMEMO old and new, OpenPGP new and old: the body beside them is only an apology.
fn is_encrypted(child: &Element) -> bool {
    matches!(
        (child.name(), child.ns()),
        ("encrypted", "eu.siacs.conversations.axolotl" | "urn:xmpp:omemo:1" | "urn:xmpp:omemo:2")
            | ("openpgp", "urn:xmpp:openpgp:0")
            | ("x", "jabber:x:encrypted")
    )
}

fn refused(kind: Kind, text: &str) -> Outgoing {
    Outgoing::Refused(Condition::new(kind, text))
}

/// Longest thread that becomes a Call-ID.
const CALL_ID_LIMIT: usize = 128;

/// Whether a thread can be a Call-ID as it is: `word ["@" word]` (RFC 3261 §25.1).
pub fn fits_call_id(thread: &str) -> bool {
    let word = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~()<>:\\\"/[]?{}".contains(&byte))
    };
    thread.len() <= CALL_ID_LIMIT
        && match thread.split_once('@') {
            Some((left, right)) => word(left) && word(right),
            None => word(thread),
        }
}

/// Content-Type of a text: a charset only where it matters, since some phones stumble over the parameter.
pub fn content_type(text: &str) -> &'static str {
    if text.is_ascii() { "text/plain" } else { "text/plain;charset=UTF-8" }
}

/// A text as the value of a header: one line, no control characters, so that nothing can begin a header of its own.
pub fn one_line(text: &str) -> String {
    let parts = text.split(|c: char| c.is_control() || matches!(c, ' ' | '\u{2028}' | '\u{2029}'));
    parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// A date is shown when it is this much older than now, at least and at most: younger is ordinary delay and clocks that
/// differ, older is a clock that was never set.
const DELAY: (Duration, Duration) = (Duration::from_secs(5 * 60), Duration::from_secs(30 * 24 * 3600));

/// Whether a message of `date` gets a `<delay/>` now.
pub fn is_delayed(date: Wall, now: Wall) -> bool {
    let (least, most) = DELAY;
    (least..=most).contains(&(now - date))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xmpp::jid::Jid;
    use crate::xmpp::stanza::StanzaKind;

    fn outgoing_of(stanza: &Stanza) -> Outgoing {
        outgoing(stanza, &crate::features::sessions::whole(None))
    }

    fn message(children: Vec<Element>) -> Stanza {
        let from = Jid::parse("juliet@example.com/balcony").unwrap();
        let to = Jid::parse("romeo@example.net").unwrap();
        children.into_iter().fold(Stanza::new(StanzaKind::Message, &from, &to), Stanza::with_child)
    }

    fn body(text: &str) -> Element {
        Element::new("body", ns::COMPONENT).with_text(text)
    }

    #[test]
    fn a_body_is_text_with_its_language_and_thread() {
        let mut spoken = body("Ahoj");
        spoken.set_lang("cs");
        let thread = Element::new("thread", ns::COMPONENT).with_text("t1");
        let Outgoing::Text(text) = outgoing_of(&message(vec![thread, spoken, body("Hi")])) else {
            panic!("no text")
        };
        assert_eq!((text.text.as_str(), text.lang.as_deref()), ("Ahoj", Some("cs")));
        assert_eq!(text.thread.as_deref(), Some("t1"));
    }

    #[test]
    fn typing_and_receipts_are_silent_and_calls_are_not() {
        let composing = Element::new("composing", "http://jabber.org/protocol/chatstates");
        let hint = Element::new("no-store", ns::HINTS);
        assert_eq!(outgoing_of(&message(vec![composing, hint.clone()])), Outgoing::Nothing);
        assert_eq!(outgoing_of(&message(vec![])), Outgoing::Nothing);
        let propose = Element::new("propose", "urn:xmpp:jingle-message:0");
        assert!(matches!(outgoing_of(&message(vec![propose, hint])), Outgoing::Refused(_)));
    }

    #[test]
    fn encrypted_messages_are_refused_with_an_explanation() {
        let encrypted = Element::new("encrypted", "eu.siacs.conversations.axolotl");
        let Outgoing::Refused(condition) =
            outgoing_of(&message(vec![encrypted, body("I sent you an OMEMO…")]))
        else {
            panic!("not refused")
        };
        assert_eq!(condition.kind, Kind::NotAcceptable);
    }

    #[test]
    fn a_room_message_to_a_person_is_refused() {
        let stanza = message(vec![body("hi")]).with_type("groupchat");
        assert!(matches!(outgoing_of(&stanza), Outgoing::Refused(_)));
    }

    #[test]
    fn only_threads_of_the_right_shape_become_call_ids() {
        for thread in ["29377446-0CBB-4296-8958-590D79094C50", "a@b.c", "x\"[]{}"] {
            assert!(fits_call_id(thread), "{thread}");
        }
        for thread in ["", "a b", "a@b@c", "@b", "a@", "a,b", "ü", "a\r\nb", &"x".repeat(129)] {
            assert!(!fits_call_id(thread), "{thread}");
        }
    }

    #[test]
    fn a_subject_stays_on_its_line() {
        assert_eq!(one_line(" a\r\n\tContact: b\u{0}\u{2028} ü😀 "), "a Contact: b ü😀");
    }

    #[test]
    fn a_date_counts_between_five_minutes_and_thirty_days() {
        let now = Wall(100_000_000_000);
        let ago = |seconds: u64| Wall(now.0 - seconds * 1000);
        assert!(!is_delayed(ago(299), now) && is_delayed(ago(300), now));
        assert!(is_delayed(ago(30 * 86400), now) && !is_delayed(ago(30 * 86400 + 1), now));
        assert!(!is_delayed(Wall(now.0 + 1), now));
    }
}
