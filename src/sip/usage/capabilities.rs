//! What a peer can do, asked by OPTIONS (RFC 3261 §11) and read from whatever it sends (RFC 3840 §9).
//!
//! OPTIONS asks in the background and rings nobody. The answer may come from the device or from a proxy before it, and
//! its status is the one that an INVITE would have got (§11.2), so the headers are worth reading whatever it is. The
//! description in it says what is possible, often with ports of zero (RFC 3264 §9). This module decides nothing: it
//! makes a value of it.

use bytes::Bytes;

use crate::sip::message::{self, Answer, HeaderName, Headers, Method, OutRequest};
use crate::sip::sdp::{self, Description};
use crate::words::id::{Mint, Partition};

/// More contacts than a forking proxy will list.
const CONTACTS: usize = 16;

/// A question about somebody's abilities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// From, without a tag.
    pub from: String,
    /// The Request-URI, and To: an address of record or a device.
    pub uri: String,
    /// The whole value of our Contact.
    pub contact: String,
    /// The domain whose peer is asked.
    pub domain: String,
    /// The partition that the branches shall name.
    pub partition: Partition,
}

impl Question {
    /// The request.
    pub fn request(&self, mint: &mut Mint) -> OutRequest {
        OutRequest {
            method: Method::Options,
            uri: self.uri.clone(),
            from: format!("{};tag={}", self.from, mint.token(self.partition)),
            to: format!("<{}>", self.uri),
            call_id: mint.token(self.partition),
            cseq: 1,
            max_forwards: 70,
            routes: Vec::new(),
            headers: vec![
                (HeaderName::Contact, self.contact.clone()),
                (HeaderName::Accept, sdp::TYPE.to_owned()),
            ],
            body: Bytes::new(),
            partition: self.partition,
            domain: self.domain.clone(),
            over: None,
        }
    }
}

/// One Contact, with what it says of the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// The URI.
    pub uri: String,
    /// Its parameters besides those of registration, names in lower case: `+sip.message`, `isfocus`.
    pub features: Vec<(String, Option<String>)>,
}

impl Contact {
    /// Whether it says that the device takes MSRP: `sip.message` (RFC 4569), as the grammar writes it or without its
    /// prefix, as many do, or the tag of OMA's session mode. Nothing where it says neither yes nor no.
    pub fn says_message(&self) -> Option<bool> {
        const TAGS: [&str; 3] = ["+sip.message", "message", "+g.oma.sip-im"];
        let (_, value) = self.features.iter().find(|(name, _)| TAGS.contains(&name.as_str()))?;
        Some(value.as_deref().is_none_or(|value| !value.trim_matches('"').eq_ignore_ascii_case("FALSE")))
    }

    /// Whether it is a conference (RFC 4579 §5.1).
    pub fn is_focus(&self) -> bool {
        self.features.iter().any(|(name, _)| name == "isfocus")
    }
}

/// What a message says about who sent it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Its Contacts.
    pub contacts: Vec<Contact>,
    /// Allow, if it is there.
    pub allow: Option<Vec<String>>,
    /// Accept, if it is there; an empty one accepts nothing.
    pub accept: Option<Vec<String>>,
    /// User-Agent, or Server in an answer.
    pub user_agent: Option<String>,
    /// Whether a description is there that has a line for MSRP, refused or not; nothing where there is none.
    pub msrp: Option<bool>,
}

impl Capabilities {
    /// Reads them from any message of the peer.
    pub fn read(headers: &Headers, body: &Bytes) -> Capabilities {
        let listed = |name| (headers.count(&name) > 0).then(|| message::list(headers, &name));
        let agent = message::text(headers, &HeaderName::UserAgent);
        let kind = message::text(headers, &HeaderName::ContentType).unwrap_or_default();
        let is_sdp = kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(sdp::TYPE);
        let description = if is_sdp { Description::parse(body).ok() } else { None };
        Capabilities {
            contacts: contacts(headers),
            allow: listed(HeaderName::Allow),
            accept: listed(HeaderName::Accept),
            user_agent: agent.or_else(|| message::text(headers, &HeaderName::Server)),
            msrp: description.map(|sdp| sdp.messages().iter().any(|(_, line)| !line.file)),
        }
    }

    /// Whether a method is allowed; nothing where Allow is missing.
    pub fn allows(&self, method: &str) -> Option<bool> {
        Some(self.allow.as_ref()?.iter().any(|known| known == method))
    }

    /// Whether there is a sign for MSRP, or one against it. A description counts more than a tag.
    pub fn says_msrp(&self) -> Option<bool> {
        self.msrp.or_else(|| {
            let mut said = self.contacts.iter().filter_map(Contact::says_message);
            let first = said.next()?;
            Some(first || said.any(|yes| yes))
        })
    }
}

fn contacts(headers: &Headers) -> Vec<Contact> {
    let values = message::list(headers, &HeaderName::Contact).into_iter().take(CONTACTS);
    let read = |value: String| {
        let address = message::headers::Address::parse(value.as_bytes(), "Contact").ok()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let params = address.params.iter().map(|param| {
            let value = param.value.as_deref().map(text);
            (text(&param.name).to_ascii_lowercase(), value)
        });
        let of_registration = |name: &str| matches!(name, "q" | "expires" | "received");
        let features = params.filter(|(name, _)| !of_registration(name)).collect();
        Some(Contact { uri: text(&address.uri.to_bytes()), features })
    };
    values.filter_map(read).collect()
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Findings {
    /// Somebody answered with this status.
    Answered(u16, Box<Capabilities>),
    /// Nobody did.
    Silent,
}

impl Findings {
    /// Reads an answer; nothing while the last has not come.
    pub fn of(answer: &Answer) -> Option<Findings> {
        match answer {
            Answer::Provisional(_) | Answer::Repeated => None,
            Answer::Failed(_) => Some(Findings::Silent),
            Answer::Final { response, .. } => Some(Findings::Answered(
                response.status.code(),
                Box::new(Capabilities::read(&response.headers, response.body())),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::message::{Failure, Message};
    use crate::words::id::Seed;
    use sipx_sip::{Limits, parse_datagram};

    fn findings(lines: &str, body: &str) -> (u16, Capabilities) {
        let text = format!(
            "SIP/2.0 {}\r\nContent-Length: {}\r\n\r\n{body}",
            lines.replace('\n', "\r\n"),
            body.len()
        );
        let Ok(Message::Response(response)) = parse_datagram(text.into(), &Limits::datagram()) else {
            panic!("a response")
        };
        match Findings::of(&Answer::Final { response, cseq: 1 }) {
            Some(Findings::Answered(status, found)) => (status, *found),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_question_is_an_options_outside_dialogs() {
        let question = Question {
            from: "<sip:juliet@example.com>".into(),
            uri: "sip:romeo@example.net;gr=1".into(),
            contact: "<sip:juliet@192.0.2.9>".into(),
            domain: "example.net".into(),
            partition: Partition(0x2a),
        };
        let request = question.request(&mut Mint::new(Seed([1; 32])));
        assert_eq!((request.method, request.to.as_str()), (Method::Options, "<sip:romeo@example.net;gr=1>"));
        assert!(request.from.starts_with("<sip:juliet@example.com>;tag=2a"), "{}", request.from);
    }

    #[test]
    fn an_answer_shows_what_the_device_can_do() {
        let sdp =
            "v=0\r\no=- 1 1 IN IP4 a\r\ns=-\r\nt=0 0\r\nm=audio 0 RTP/AVP 0\r\nm=message 0 TCP/MSRP *\r\n";
        let (status, found) = findings(
            "200 OK\nContact: \"R\" <sip:r@192.0.2.7>;q=0.5;+sip.instance=\"<urn:uuid:1>\";isfocus\nAllow: INVITE, MESSAGE\n\
             Accept: application/sdp, text/plain\nServer: client 5\nContent-Type: application/SDP; x=y",
            sdp,
        );
        assert_eq!(
            (status, found.says_msrp(), found.allows("MESSAGE"), found.allows("INFO")),
            (200, Some(true), Some(true), Some(false))
        );
        assert_eq!(found.contacts[0].uri, "sip:r@192.0.2.7");
        assert!(found.contacts[0].is_focus() && found.contacts[0].features.len() == 2);
        assert_eq!(found.accept.as_deref(), Some(&["application/sdp".to_owned(), "text/plain".into()][..]));
        assert_eq!(found.user_agent.as_deref(), Some("client 5"));
    }

    #[test]
    fn a_tag_is_a_sign_and_so_is_its_denial() {
        for (contact, expected) in [
            ("<sip:r@a>;+sip.message", Some(true)),
            ("<sip:r@a>;MESSAGE", Some(true)),
            ("<sip:r@a>;message=\"FALSE\"", Some(false)),
            ("<sip:r@a>;audio, <sip:r@b>;+g.oma.sip-im", Some(true)),
            ("<sip:r@a>;audio", None),
        ] {
            let (_, found) = findings(&format!("486 Busy Here\nContact: {contact}"), "");
            assert_eq!(
                (found.says_msrp(), found.msrp, found.allows("INVITE")),
                (expected, None, None),
                "{contact}"
            );
        }
    }

    #[test]
    fn a_description_without_msrp_is_a_sign_against_it() {
        let sdp = "v=0\r\no=- 1 1 IN IP4 a\r\ns=-\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n";
        let (_, found) =
            findings("200 OK\nContact: <sip:r@a>;+sip.message\nContent-Type: application/sdp", sdp);
        assert_eq!(found.says_msrp(), Some(false));
        assert_eq!(Findings::of(&Answer::Failed(Failure::Timeout)), Some(Findings::Silent));
        assert_eq!(Findings::of(&Answer::Repeated), None);
    }
}
