//! Which partition an input belongs to: a pure function of the input, the same in every process.
//!
//! In this order:
//!
//! 1. What we minted names its partition.
//! 2. What is about a room of a domain that holds rooms goes by the room, in both directions: all that happens in one meets
//!    in one owner, which keeps its roster once.
//! 3. Otherwise the bare JID of the XMPP side decides, so that both directions of a conversation meet.
//! 4. What maps to no XMPP user goes by its Call-ID.

use super::domains::Domains;
use crate::sip::message::{self, COOKIE, HeaderName, Headers, Message, Request, tag, text};
use crate::sip::uri::SipAddress;
use crate::words::id::Partition;
use crate::xmpp::jid::Jid;
use crate::xmpp::ns;
use crate::xmpp::stanza::{Stanza, StanzaKind};

/// The owner of a stanza.
pub fn of_stanza(domains: &Domains, stanza: &Stanza) -> Partition {
    let answers = matches!(stanza.type_(), Some("result" | "error"));
    if stanza.kind == StanzaKind::Iq
        && answers
        && let Some(partition) = stanza.id().and_then(Partition::of_token)
    {
        return partition;
    }
    if let Some(partition) = room_of(domains, stanza) {
        return partition;
    }
    Partition::of(stanza.from().map_or("", |from| from.bare_str()))
}

/// The room that a stanza comes from, goes to, or invites to (XEP-0249).
fn room_of(domains: &Domains, stanza: &Stanza) -> Option<Partition> {
    let is_room = |jid: &&Jid| domains.holds_rooms(jid.domain());
    if let Some(room) = stanza.from().filter(is_room).or(stanza.to().filter(is_room)) {
        return Some(Partition::of(room.bare_str()));
    }
    if stanza.kind != StanzaKind::Message {
        return None;
    }
    let invited = stanza.element.child("x", ns::CONFERENCE)?.attr("jid")?;
    let room = Jid::parse(invited).ok()?;
    is_room(&&room).then(|| Partition::of(room.bare_str()))
}

/// The owner of a SIP message.
pub fn of_sip(domains: &Domains, message: &Message) -> Partition {
    match message {
        Message::Response(response) => {
            branch(&response.headers).unwrap_or_else(|| by_call_id(&response.headers))
        }
        Message::Request(request) => to_tag(&request.headers)
            .or_else(|| from_focus(domains, request))
            .or_else(|| {
                let target = SipAddress::of(&request.uri).ok()?;
                Some(Partition::of(domains.user_jid(&target).ok()?.bare_str()))
            })
            .unwrap_or_else(|| by_call_id(&request.headers)),
    }
}

/// The SIP room that a request comes from.
fn from_focus(domains: &Domains, request: &Request) -> Option<Partition> {
    if !domains.has_sip_rooms() {
        return None;
    }
    let from = message::address(&request.headers, &HeaderName::From)?;
    let room = domains.contact_jid(&SipAddress::of(&from.uri).ok()?).ok()?;
    domains.holds_sip_rooms(room.domain()).then(|| Partition::of(room.bare_str()))
}

fn branch(headers: &Headers) -> Option<Partition> {
    Partition::of_token(message::branch(headers)?.strip_prefix(COOKIE)?)
}

fn to_tag(headers: &Headers) -> Option<Partition> {
    Partition::of_token(&tag(headers, &HeaderName::To)?)
}

fn by_call_id(headers: &Headers) -> Partition {
    Partition::of(&text(headers, &HeaderName::CallId).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Component, Config, Secret, Xmpp, XmppDomain};
    use crate::xmpp::stanza::Element;

    fn domains() -> Domains {
        let component = |domain: &str, rooms| Component {
            domain: domain.into(),
            sip_domain: domain.into(),
            secret: Secret::new("x"),
            any_domain: false,
            rooms,
        };
        let users =
            |domain: &str, rooms| XmppDomain { domain: domain.into(), sip_alias: domain.into(), rooms };
        Domains::new(&Config {
            xmpp: Xmpp {
                server: String::new(),
                components: vec![component("example.net", false), component("conference.example.net", true)],
                domains: vec![users("example.com", false), users("rooms.example.com", true)],
            },
            ..Config::empty()
        })
    }

    fn stanza(from: &str, to: &str) -> Stanza {
        let jid = |text| Jid::parse(text).expect("a JID");
        Stanza::new(StanzaKind::Message, &jid(from), &jid(to))
    }

    #[test]
    fn what_is_about_a_room_belongs_to_the_room_in_both_worlds() {
        let owner = |stanza: &Stanza| of_stanza(&domains(), stanza);
        let verona = Partition::of("verona@rooms.example.com");
        assert_eq!(owner(&stanza("verona@rooms.example.com/Juliet", "romeo@example.net/1")), verona);
        let invitation = Element::new("x", ns::CONFERENCE).with("jid", "Verona@rooms.example.com");
        assert_eq!(
            owner(&stanza("juliet@example.com/x", "romeo@example.net").with_child(invitation)),
            verona
        );
        let mantua = Partition::of("mantua@conference.example.net");
        assert_eq!(owner(&stanza("juliet@example.com/x", "mantua@conference.example.net/J")), mantua);
        let foreign = Element::new("x", ns::CONFERENCE).with("jid", "verona@elsewhere.example");
        let juliet = Partition::of("juliet@example.com");
        assert_eq!(owner(&stanza("juliet@example.com/x", "romeo@example.net").with_child(foreign)), juliet);
    }
}
