//! Which partition an input belongs to: a pure function of the input, the same in every process.
//!
//! In this order: what we minted names its partition; otherwise the bare JID of the XMPP side decides, so that both
//! directions of a conversation meet in one owner; what maps to no XMPP user goes by its Call-ID. (A domain that holds
//! rooms will go by the room; the rule has its place before the bare JID.)

use super::domains::Domains;
use crate::sip::message::{self, COOKIE, HeaderName, Headers, Message, tag, text};
use crate::sip::uri::SipAddress;
use crate::words::id::Partition;
use crate::xmpp::stanza::{Stanza, StanzaKind};

/// The owner of a stanza.
pub fn of_stanza(stanza: &Stanza) -> Partition {
    let answers = matches!(stanza.type_(), Some("result" | "error"));
    if stanza.kind == StanzaKind::Iq
        && answers
        && let Some(partition) = stanza.id().and_then(Partition::of_token)
    {
        return partition;
    }
    Partition::of(stanza.from().map_or("", |from| from.bare_str()))
}

/// The owner of a SIP message.
pub fn of_sip(domains: &Domains, message: &Message) -> Partition {
    match message {
        Message::Response(response) => {
            branch(&response.headers).unwrap_or_else(|| by_call_id(&response.headers))
        }
        Message::Request(request) => to_tag(&request.headers)
            .or_else(|| {
                let target = SipAddress::of(&request.uri).ok()?;
                Some(Partition::of(domains.user_jid(&target).ok()?.bare_str()))
            })
            .unwrap_or_else(|| by_call_id(&request.headers)),
    }
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
