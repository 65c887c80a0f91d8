//! Which partition an input belongs to: a pure function of the input, the same in every process.
//!
//! In this order: what we minted names its partition; otherwise the bare JID of the XMPP side decides, so that both
//! directions of a conversation meet in one owner; what maps to no XMPP user goes by its Call-ID. (A domain that holds
//! rooms will go by the room; the rule has its place before the bare JID.)

use super::domains::Domains;
use crate::sip::message::{HeaderName, Headers, Message, headers, tag, text};
use crate::sip::uri::SipAddress;
use crate::words::id::Partition;
use crate::xmpp::stanza::{Stanza, StanzaKind};

/// What every branch of RFC 3261 begins with (§8.1.1.7).
const COOKIE: &str = "z9hG4bK";

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
    if let Some(partition) = plain_branch(&headers.value(&HeaderName::Via)?) {
        return Some(partition);
    }
    let via = headers.typed::<headers::Via>()?.ok()?;
    let branch = std::str::from_utf8(via.branch()?).ok()?;
    Partition::of_token(branch.strip_prefix(COOKIE)?)
}

/// The partition that a Via's branch names, where it stands as we write it: most answers come back so.
fn plain_branch(via: &[u8]) -> Option<Partition> {
    let hop = via.split(|byte| matches!(byte, b',' | b'"')).next()?;
    let branch = hop.split(|byte| *byte == b';').find_map(|part| part.strip_prefix(b"branch=z9hG4bK"))?;
    Partition::of_token(std::str::from_utf8(branch).ok()?)
}

fn to_tag(headers: &Headers) -> Option<Partition> {
    Partition::of_token(&tag(headers, &HeaderName::To)?)
}

fn by_call_id(headers: &Headers) -> Partition {
    Partition::of(&text(headers, &HeaderName::CallId).unwrap_or_default())
}
