//! Second, foreign parsers read everything that we print: `rsip` and `xmpp-parsers`.
//!
//! Their known defects are kept away from them here, each with its reason, so that what remains is our fault.

/// What `rsip` 0.4 cannot read though it is right.
fn known_defect(text: &str) -> Option<&'static str> {
    if text.contains("@[") || text.contains("//[") || text.contains(" [") {
        return Some("rsip refuses IPv6 references");
    }
    None
}

/// Fails when `rsip` refuses the message or reads another Call-ID than stands there.
pub fn reads(bytes: &[u8]) -> Result<(), String> {
    use rsip::prelude::{HeadersExt, UntypedHeader};
    let text = String::from_utf8_lossy(bytes);
    if known_defect(&text).is_some() {
        return Ok(());
    }
    let message =
        rsip::SipMessage::try_from(bytes).map_err(|error| format!("rsip cannot read it: {error}\n{text}"))?;
    let call_id = match &message {
        rsip::SipMessage::Request(request) => {
            request.call_id_header().map(|header| header.value().to_owned())
        }
        rsip::SipMessage::Response(response) => {
            response.call_id_header().map(|header| header.value().to_owned())
        }
    };
    match call_id {
        Ok(read) if text.contains(&read) => Ok(()),
        Ok(read) => Err(format!("rsip reads Call-ID {read}\n{text}")),
        Err(error) => Err(format!("rsip finds no Call-ID: {error}\n{text}")),
    }
}

/// What `xmpp-parsers` 0.23 cannot read though it is right.
fn known_stanza_defect(text: &str) -> Option<&'static str> {
    if text.chars().any(|c| c > '\u{2fff}') {
        return Some("its addresses are prepared by stringprep, which refuses emoji in resources");
    }
    None
}

/// Fails when `xmpp-parsers` refuses the stanza, or one of the payloads that it knows.
pub fn reads_stanza(text: &str) -> Result<(), String> {
    use xmpp_parsers::minidom::Element;
    use xmpp_parsers::{caps, delay, disco, iq, message, nick, ping, presence, vcard, version};
    if known_stanza_defect(text).is_some() {
        return Ok(());
    }
    // On the stream, the root declares the namespace.
    let name_ends = text.find([' ', '>', '/']).unwrap_or(0);
    let rooted = format!("{} xmlns='jabber:component:accept'{}", &text[..name_ends], &text[name_ends..]);
    let refused = |error: &dyn std::fmt::Display| format!("xmpp-parsers cannot read it: {error}\n{text}");
    let root: Element = rooted.parse().map_err(|error| refused(&error))?;
    let outcome = match root.name() {
        "message" => message::Message::try_from(root.clone()).map(drop),
        "presence" => presence::Presence::try_from(root.clone()).map(drop),
        "iq" => iq::Iq::try_from(root.clone()).map(drop),
        name => return Err(format!("<{name}/> is no stanza\n{text}")),
    };
    outcome.map_err(|error| refused(&error))?;
    for child in root.children().cloned() {
        let outcome = match (child.name(), child.ns().as_str()) {
            ("c", "http://jabber.org/protocol/caps") => caps::Caps::try_from(child).map(drop),
            ("delay", "urn:xmpp:delay") => delay::Delay::try_from(child).map(drop),
            ("nick", "http://jabber.org/protocol/nick") => nick::Nick::try_from(child).map(drop),
            ("ping", "urn:xmpp:ping") => ping::Ping::try_from(child).map(drop),
            ("vCard", "vcard-temp") => vcard::VCard::try_from(child).map(drop),
            ("query", "jabber:iq:version") if root.attr("type") == Some("result") => {
                version::VersionResult::try_from(child).map(drop)
            }
            ("query", "http://jabber.org/protocol/disco#info") if root.attr("type") == Some("result") => {
                disco::DiscoInfoResult::try_from(child).map(drop)
            }
            ("query", "http://jabber.org/protocol/disco#items") if root.attr("type") == Some("result") => {
                disco::DiscoItemsResult::try_from(child).map(drop)
            }
            _ => Ok(()),
        };
        outcome.map_err(|error| refused(&error))?;
    }
    Ok(())
}
