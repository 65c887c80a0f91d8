//! Stanzas: a loose tree with typed views of what we act on.
//!
//! An [`Element`] keeps unknown children, odd attribute values and foreign namespaces, so one strange child never
//! costs the stanza around it.

pub use super::element::{Attr, Element, Name, Node, clean};
use super::jid::Jid;
use super::ns;
use crate::words::condition::Kind;

/// Which of the three stanzas of RFC 6120 §8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StanzaKind {
    /// `<iq/>`
    Iq,
    /// `<message/>`
    Message,
    /// `<presence/>`
    Presence,
}

/// A top-level stanza of the component stream: its tree, and its addresses if they are JIDs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stanza {
    /// Which of the three.
    pub kind: StanzaKind,
    /// Everything, the addresses included.
    pub element: Element,
    from: Option<Jid>,
    to: Option<Jid>,
}

impl Stanza {
    /// A stanza to send. Both addresses are mandatory on a component stream (XEP-0114 §3).
    pub fn new(kind: StanzaKind, from: &Jid, to: &Jid) -> Stanza {
        let name = match kind {
            StanzaKind::Iq => "iq",
            StanzaKind::Message => "message",
            StanzaKind::Presence => "presence",
        };
        let mut element = Element::new(name, ns::COMPONENT);
        element.set("from", from.as_str());
        element.set("to", to.as_str());
        Stanza { kind, element, from: Some(from.clone()), to: Some(to.clone()) }
    }

    /// Reads a top-level element of the stream. Gives it back if it is none of the three, or if an address of it is
    /// no JID.
    pub fn from_element(element: Element) -> Result<Stanza, Element> {
        let kind = match (element.name(), element.ns()) {
            ("iq", ns::COMPONENT) => StanzaKind::Iq,
            ("message", ns::COMPONENT) => StanzaKind::Message,
            ("presence", ns::COMPONENT) => StanzaKind::Presence,
            _ => return Err(element),
        };
        let address = |name| element.attr(name).map(Jid::parse).transpose();
        match (address("from"), address("to")) {
            (Ok(from), Ok(to)) => Ok(Stanza { kind, element, from, to }),
            _ => Err(element),
        }
    }

    /// The sender.
    pub fn from(&self) -> Option<&Jid> {
        self.from.as_ref()
    }

    /// The addressee.
    pub fn to(&self) -> Option<&Jid> {
        self.to.as_ref()
    }

    /// The `type` attribute.
    pub fn type_(&self) -> Option<&str> {
        self.element.attr("type")
    }

    /// The `id` attribute.
    pub fn id(&self) -> Option<&str> {
        self.element.attr("id")
    }

    /// Sets `type`, for building.
    pub fn with_type(mut self, type_: &str) -> Stanza {
        self.element.set("type", type_);
        self
    }

    /// Sets `id`, for building.
    pub fn with_id(mut self, id: &str) -> Stanza {
        self.element.set("id", id);
        self
    }

    /// Adds a child, for building.
    pub fn with_child(mut self, child: Element) -> Stanza {
        self.element.push(child);
        self
    }

    /// The payload of an IQ of this type, if it is this one.
    pub fn query(&self, type_: &str, name: &str, ns: &str) -> Option<&Element> {
        let fits = self.kind == StanzaKind::Iq && self.type_() == Some(type_);
        if fits { self.element.child(name, ns) } else { None }
    }

    /// An IQ result without payload: the answer to a `get` or `set`. Nothing if the stanza cannot be answered.
    pub fn result(&self) -> Option<Stanza> {
        let answer = Stanza::new(self.kind, self.to.as_ref()?, self.from.as_ref()?).with_type("result");
        Some(match self.id() {
            Some(id) => answer.with_id(id),
            None => answer,
        })
    }

    /// The error that answers this stanza: same id, addresses swapped, the original's children kept for messages
    /// (RFC 6120 §8.3.1). Nothing if the stanza is itself an error or a result, or has no sender: an error is never
    /// answered by an error.
    pub fn error(
        &self,
        kind: Kind,
        type_: ErrorType,
        text: Option<&str>,
        redirect: Option<&str>,
    ) -> Option<Stanza> {
        if matches!(self.type_(), Some("error"))
            || (self.kind == StanzaKind::Iq && self.type_() == Some("result"))
        {
            return None;
        }
        let mut answer = Stanza::new(self.kind, self.to.as_ref()?, self.from.as_ref()?).with_type("error");
        if let Some(id) = self.id() {
            answer = answer.with_id(id);
        }
        if self.kind == StanzaKind::Message {
            // Not an <error/> that the sender has put there: ours must be the only one.
            let kept = self.element.children().filter(|child| !child.is("error", ns::COMPONENT));
            kept.for_each(|child| answer.element.push(child.clone()));
        }
        let mut condition = Element::new(condition_name(kind), ns::STANZA_ERRORS);
        if let Some(redirect) = redirect {
            condition.push_text(redirect);
        }
        let mut error =
            Element::new("error", ns::COMPONENT).with("type", type_.as_str()).with_child(condition);
        if let Some(text) = text {
            error.push(Element::new("text", ns::STANZA_ERRORS).with_text(text));
        }
        answer.element.push(error);
        Some(answer)
    }

    /// The `<error/>` of an error stanza: condition, text and the address in `<gone/>` or `<redirect/>`.
    pub fn stanza_error(&self) -> Option<StanzaError> {
        let error = self.element.child("error", ns::COMPONENT)?;
        let condition =
            error.children().find(|child| child.ns() == ns::STANZA_ERRORS && child.name() != "text");
        let text = error.child("text", ns::STANZA_ERRORS).map(Element::text).filter(|text| !text.is_empty());
        Some(StanzaError {
            kind: condition.and_then(|child| condition_of(child.name())).unwrap_or(Kind::UndefinedCondition),
            text,
            redirect: condition.map(Element::text).filter(|text| !text.is_empty()),
        })
    }

    /// The stanza as it stands on the component stream.
    pub fn to_xml(&self) -> String {
        let mut text = String::with_capacity(256);
        self.element.write(ns::COMPONENT, &mut text);
        text
    }
}

/// What a stanza error says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StanzaError {
    /// The defined condition; `UndefinedCondition` when there is none that we know.
    pub kind: Kind,
    /// The text for people.
    pub text: Option<String>,
    /// The URI inside `<gone/>` or `<redirect/>`.
    pub redirect: Option<String>,
}

/// What the sender of a failed stanza may do (RFC 6120 §8.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorType {
    /// Retry after providing credentials.
    Auth,
    /// Do not retry.
    Cancel,
    /// A warning.
    Continue,
    /// Retry after changing what was sent.
    Modify,
    /// Retry after waiting.
    Wait,
}

impl ErrorType {
    /// The attribute's value.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorType::Auth => "auth",
            ErrorType::Cancel => "cancel",
            ErrorType::Continue => "continue",
            ErrorType::Modify => "modify",
            ErrorType::Wait => "wait",
        }
    }
}

/// The defined conditions with their element names (RFC 6120 §8.3.3).
const CONDITIONS: [(Kind, &str); 22] = [
    (Kind::BadRequest, "bad-request"),
    (Kind::Conflict, "conflict"),
    (Kind::FeatureNotImplemented, "feature-not-implemented"),
    (Kind::Forbidden, "forbidden"),
    (Kind::Gone, "gone"),
    (Kind::InternalServerError, "internal-server-error"),
    (Kind::ItemNotFound, "item-not-found"),
    (Kind::JidMalformed, "jid-malformed"),
    (Kind::NotAcceptable, "not-acceptable"),
    (Kind::NotAllowed, "not-allowed"),
    (Kind::NotAuthorized, "not-authorized"),
    (Kind::PolicyViolation, "policy-violation"),
    (Kind::RecipientUnavailable, "recipient-unavailable"),
    (Kind::Redirect, "redirect"),
    (Kind::RegistrationRequired, "registration-required"),
    (Kind::RemoteServerNotFound, "remote-server-not-found"),
    (Kind::RemoteServerTimeout, "remote-server-timeout"),
    (Kind::ResourceConstraint, "resource-constraint"),
    (Kind::ServiceUnavailable, "service-unavailable"),
    (Kind::SubscriptionRequired, "subscription-required"),
    (Kind::UndefinedCondition, "undefined-condition"),
    (Kind::UnexpectedRequest, "unexpected-request"),
];

/// The name of a condition on the wire.
pub fn condition_name(kind: Kind) -> &'static str {
    CONDITIONS.iter().find(|(known, _)| *known == kind).map_or("undefined-condition", |(_, name)| name)
}

fn condition_of(name: &str) -> Option<Kind> {
    CONDITIONS.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stanza(name: &'static str, type_: &str) -> Stanza {
        let element = Element::new(name, ns::COMPONENT)
            .with("from", "a@b/c")
            .with("to", "d@e")
            .with("id", "1")
            .with("type", type_)
            .with_child(Element::new("body", ns::COMPONENT).with_text("x"))
            .with_child(Element::new("error", ns::COMPONENT));
        Stanza::from_element(element).expect("a stanza")
    }

    #[test]
    fn an_error_goes_back_with_what_it_refuses() {
        let error =
            stanza("message", "chat").error(Kind::Gone, ErrorType::Cancel, Some("moved"), Some("sip:f@g"));
        let error = error.expect("an answer");
        assert_eq!(
            error.to_xml(),
            "<message from='d@e' to='a@b/c' type='error' id='1'><body>x</body><error type='cancel'>\
             <gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>sip:f@g</gone>\
             <text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>moved</text></error></message>"
        );
        let read = error.stanza_error().expect("an error");
        assert_eq!((read.kind, read.text.as_deref()), (Kind::Gone, Some("moved")));
        assert_eq!(read.redirect.as_deref(), Some("sip:f@g"));
    }

    #[test]
    fn errors_and_results_are_not_answered_by_errors() {
        for (name, type_) in [("message", "error"), ("presence", "error"), ("iq", "error"), ("iq", "result")]
        {
            let stanza = stanza(name, type_);
            assert_eq!(stanza.error(Kind::Gone, ErrorType::Cancel, None, None), None, "{name} {type_}");
        }
    }

    #[test]
    fn only_the_iq_that_asks_is_a_query() {
        let ask = |type_: &str| {
            let ping = Element::new("ping", ns::PING);
            Stanza::from_element(Element::new("iq", ns::COMPONENT).with("type", type_).with_child(ping))
                .expect("an iq")
        };
        assert!(ask("get").query("get", "ping", ns::PING).is_some());
        assert!(ask("set").query("get", "ping", ns::PING).is_none());
        assert!(ask("get").query("get", "ping", ns::VCARD).is_none());
    }

    #[test]
    fn what_is_no_stanza_is_given_back() {
        for element in [Element::new("message", ns::CLIENT), Element::new("x", ns::COMPONENT)] {
            assert_eq!(Stanza::from_element(element.clone()).err(), Some(element));
        }
        let bad = Element::new("message", ns::COMPONENT).with("from", "a@b@c");
        assert!(Stanza::from_element(bad).is_err());
    }
}
