//! What the messages of a session have in common: bodies, the headers that say what we can do, Reason.

use bytes::Bytes;

use super::Session;
use crate::sip::message::{self, HeaderName, Headers, OutRequest, Reply, Request};
use crate::sip::sdp;

/// A body with its type: a session description, or a multipart body that should have one among its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// The whole value of Content-Type.
    pub kind: String,
    /// What it is.
    pub bytes: Bytes,
}

impl Body {
    /// A session description of ours.
    pub fn sdp(bytes: Bytes) -> Body {
        Body { kind: sdp::TYPE.to_owned(), bytes }
    }

    /// The description that a message carries. One that has no type but looks like one is taken; what is something
    /// else and may be left out (RFC 5621 §8.3) is.
    pub(super) fn of(headers: &Headers, body: &Bytes) -> Option<Body> {
        if body.is_empty() {
            return None;
        }
        let kind = message::text(headers, &HeaderName::ContentType).unwrap_or_default();
        let kind = if kind.is_empty() && body.starts_with(b"v=") { sdp::TYPE.to_owned() } else { kind };
        let name = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let fits = name == sdp::TYPE || name.starts_with("multipart/");
        fits.then(|| Body { kind, bytes: body.clone() })
    }
}

/// The offer in a request, if there is one; 415 for what we can neither read nor leave out.
pub(super) fn offer_in(request: &Request) -> Result<Option<Body>, Reply> {
    let headers = &request.headers;
    let encoding = message::text(headers, &HeaderName::ContentEncoding).unwrap_or_default();
    if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity") {
        return Err(Reply::new(415).with(HeaderName::AcceptEncoding, "identity"));
    }
    let offer = Body::of(headers, request.body());
    let disposition = message::text(headers, &HeaderName::ContentDisposition).unwrap_or_default();
    let may_be_left_out = disposition.to_ascii_lowercase().replace(' ', "").contains("handling=optional");
    if offer.is_none() && !request.body().is_empty() && !may_be_left_out {
        return Err(Reply::new(415).with(HeaderName::Accept, sdp::TYPE));
    }
    Ok(offer)
}

/// Why a session was ended, as Reason says it (RFC 3326).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// A SIP status; 200 where nothing went wrong.
    pub status: u16,
    /// For people.
    pub text: String,
}

impl Cause {
    /// Reads the Reason of protocol SIP, if there is one.
    pub(super) fn read(headers: &Headers) -> Option<Cause> {
        message::list(headers, &message::other("Reason")).iter().find_map(|value| Cause::of(value))
    }

    /// Reads a value of Reason of protocol SIP (RFC 3326 §2), which stands in other places too. Nothing if it is none.
    pub fn of(value: &str) -> Option<Cause> {
        let mut parts = fields(value).into_iter();
        if !parts.next()?.trim().eq_ignore_ascii_case("SIP") {
            return None;
        }
        let mut cause = Cause { status: 0, text: String::new() };
        for (name, value) in parts.as_slice().iter().filter_map(|part| part.split_once('=')) {
            match name.trim().to_ascii_lowercase().as_str() {
                "cause" => cause.status = value.trim().parse().unwrap_or_default(),
                "text" => cause.text = value.trim().to_owned(),
                _ => {}
            }
        }
        Some(cause)
    }

    pub(super) fn header(&self) -> (HeaderName, String) {
        let text = self.text.replace('\\', "\\\\").replace('"', "\\\"");
        (message::other("Reason"), format!("SIP;cause={};text=\"{text}\"", self.status))
    }
}

/// What stands between the semicolons, quotes and escapes undone.
fn fields(value: &str) -> Vec<String> {
    let (mut out, mut quoted, mut escaped) = (vec![String::new()], false, false);
    for c in value.chars() {
        match c {
            '\\' if quoted && !escaped => {
                escaped = true;
                continue;
            }
            '"' if !escaped => quoted = !quoted,
            ';' if !quoted => out.push(String::new()),
            c => {
                if let Some(last) = out.last_mut() {
                    last.push(c);
                }
            }
        }
        escaped = false;
    }
    out
}

/// Whether the Allow of a message lists UPDATE (RFC 3311 §4).
pub(super) fn allows_update(headers: &Headers) -> bool {
    message::list(headers, &HeaderName::Allow).iter().any(|method| method.eq_ignore_ascii_case("UPDATE"))
}

impl Session {
    /// What a request says that may change the remote target or the timer.
    pub(super) fn equip(&self, request: &mut OutRequest) {
        request.headers.push((HeaderName::Contact, self.contact.to_string()));
        request.headers.push((HeaderName::Allow, self.allow.to_string()));
        request.headers.push((HeaderName::Supported, super::timer::OPTION.to_owned()));
    }

    /// Puts a description into a request.
    pub(super) fn fill(request: &mut OutRequest, body: &Body) {
        request.headers.push((HeaderName::ContentType, body.kind.clone()));
        request.body = body.bytes.clone();
    }

    /// The same for an answer.
    pub(super) fn equipped(&self, status: u16) -> Reply {
        let reply = Reply::new(status)
            .with(HeaderName::Contact, &*self.contact)
            .with(HeaderName::Allow, &*self.allow)
            .with(HeaderName::Supported, super::timer::OPTION);
        Reply { to_tag: Some(self.dialog.local_tag.clone()), ..reply }
    }
}
