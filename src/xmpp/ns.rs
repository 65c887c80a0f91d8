//! Namespace names.

use std::borrow::Cow;

/// The component stream and the stanzas on it (XEP-0114).
pub const COMPONENT: &str = "jabber:component:accept";
/// A client's stanzas, as they appear inside `<forwarded/>` and in PIDF's `<show/>` (RFC 8048).
pub const CLIENT: &str = "jabber:client";
/// `<stream:stream/>`, `<stream:error/>`.
pub const STREAM: &str = "http://etherx.jabber.org/streams";
/// Conditions of stream errors (RFC 6120 §4.9.3).
pub const STREAM_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-streams";
/// Conditions of stanza errors (RFC 6120 §8.3.3).
pub const STANZA_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
/// `xml:lang` and its kin.
pub const XML: &str = "http://www.w3.org/XML/1998/namespace";
/// XEP-0030.
pub const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
/// XEP-0030.
pub const DISCO_ITEMS: &str = "http://jabber.org/protocol/disco#items";
/// XEP-0115.
pub const CAPS: &str = "http://jabber.org/protocol/caps";
/// XEP-0172.
pub const NICK: &str = "http://jabber.org/protocol/nick";
/// XEP-0199.
pub const PING: &str = "urn:xmpp:ping";
/// XEP-0092.
pub const VERSION: &str = "jabber:iq:version";
/// XEP-0054.
pub const VCARD: &str = "vcard-temp";
/// XEP-0203.
pub const DELAY: &str = "urn:xmpp:delay";
/// XEP-0334.
pub const HINTS: &str = "urn:xmpp:hints";
/// XEP-0085.
pub const CHAT_STATES: &str = "http://jabber.org/protocol/chatstates";
/// XEP-0184.
pub const RECEIPTS: &str = "urn:xmpp:receipts";
/// XEP-0333.
pub const MARKERS: &str = "urn:xmpp:chat-markers:0";
/// XEP-0045: what enters a room.
pub const MUC: &str = "http://jabber.org/protocol/muc";
/// XEP-0045: what a room says.
pub const MUC_USER: &str = "http://jabber.org/protocol/muc#user";
/// XEP-0045: roles and affiliations.
pub const MUC_ADMIN: &str = "http://jabber.org/protocol/muc#admin";
/// XEP-0045: configuration.
pub const MUC_OWNER: &str = "http://jabber.org/protocol/muc#owner";
/// XEP-0045, as a disco feature: a line is reflected with the id of its sender.
pub const MUC_STABLE_ID: &str = "http://jabber.org/protocol/muc#stable_id";
/// XEP-0410, as a disco feature: the room itself answers who pings her own nick.
pub const MUC_SELF_PING: &str = "http://jabber.org/protocol/muc#self-ping-optimization";
/// XEP-0077.
pub const REGISTER: &str = "jabber:iq:register";
/// XEP-0249.
pub const CONFERENCE: &str = "jabber:x:conference";
/// XEP-0004.
pub const DATA: &str = "jabber:x:data";
/// XEP-0421.
pub const OCCUPANT_ID: &str = "urn:xmpp:occupant-id:0";
/// XEP-0359.
pub const STANZA_ID: &str = "urn:xmpp:sid:0";
/// XEP-0106, as a disco feature.
pub const JID_ESCAPING: &str = "jid\\20escaping";

/// `namespace` without a copy where it is one of those that most stanzas carry.
pub fn intern(namespace: &str) -> Cow<'static, str> {
    match find(&KNOWN, namespace) {
        Some(place) => Cow::Borrowed(KNOWN[place]),
        None => Cow::Owned(namespace.to_owned()),
    }
}

/// Where a text stands among others that are in the order of [`order`].
pub(super) fn find(texts: &[&str], wanted: &str) -> Option<usize> {
    texts.binary_search_by(|text| order(text).cmp(&order(wanted))).ok()
}

/// The shorter comes first: most texts are told apart by that alone, and their bytes need not be looked at.
pub(super) fn order(text: &str) -> (usize, &str) {
    (text.len(), text)
}

/// In that order, for the search.
const KNOWN: [&str; 25] = [
    "",
    VCARD,
    CLIENT,
    PING,
    DELAY,
    HINTS,
    "urn:xmpp:sid:0",
    STANZA_ID,
    VERSION,
    RECEIPTS,
    "vcard-temp:x:update",
    OCCUPANT_ID,
    COMPONENT,
    MARKERS,
    MUC,
    CAPS,
    NICK,
    STREAM,
    MUC_USER,
    STANZA_ERRORS,
    STREAM_ERRORS,
    XML,
    CHAT_STATES,
    DISCO_INFO,
    DISCO_ITEMS,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_namespaces_are_sorted_and_found() {
        assert!(KNOWN.is_sorted_by_key(|known| order(known)), "{KNOWN:?}");
        assert!(KNOWN.iter().all(|known| matches!(intern(known), Cow::Borrowed(_))));
        assert_eq!(intern("urn:example"), "urn:example");
    }
}
