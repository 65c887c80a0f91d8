//! Stanzas as a loose tree: what came in is kept whole, what we act on is read through typed views.
//!
//! An [`Element`] keeps unknown children, odd attribute values and foreign namespaces, so one strange child never
//! costs the stanza around it. Text that goes out is cleaned when it is put in: characters that XML 1.0 §2.2 forbids
//! become U+FFFD, so nothing we print can break the stream.

use std::borrow::Cow;
use std::fmt;

use super::jid::Jid;
use super::ns;
use crate::words::condition::Kind;

/// A name or namespace: usually one of ours, sometimes one that came in.
pub type Name = Cow<'static, str>;

/// An XML element with everything in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    name: Name,
    ns: Name,
    attrs: Vec<Attr>,
    children: Vec<Node>,
}

/// An attribute; `ns` is empty for the plain ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attr {
    /// Namespace, usually empty.
    pub ns: Name,
    /// Local name.
    pub name: Name,
    /// Value, unescaped.
    pub value: String,
}

/// What stands between an element's tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A child element.
    Element(Element),
    /// Character data, unescaped.
    Text(String),
}

impl Element {
    /// An empty element.
    pub fn new(name: impl Into<Name>, ns: impl Into<Name>) -> Element {
        Element { name: name.into(), ns: ns.into(), attrs: Vec::new(), children: Vec::new() }
    }

    /// An element as parsed, of which only the tag has come.
    pub(super) fn parsed(name: Name, ns: Name, attrs: Vec<Attr>) -> Element {
        Element { name, ns, attrs, children: Vec::new() }
    }

    /// Adds an attribute, for building: `Element::new(..).with("node", node)`.
    pub fn with(mut self, name: impl Into<Name>, value: &str) -> Element {
        self.set(name, value);
        self
    }

    /// Adds a child, for building.
    pub fn with_child(mut self, child: Element) -> Element {
        self.push(child);
        self
    }

    /// Adds cleaned text, for building.
    pub fn with_text(mut self, text: &str) -> Element {
        self.push_text(text);
        self
    }

    /// Sets a plain attribute, cleaned.
    pub fn set(&mut self, name: impl Into<Name>, value: &str) {
        let name = name.into();
        let value = clean(value).into_owned();
        match self.attrs.iter_mut().find(|attr| attr.ns.is_empty() && attr.name == name) {
            Some(attr) => attr.value = value,
            None => self.attrs.push(Attr { ns: "".into(), name, value }),
        }
    }

    /// Sets `xml:lang`.
    pub fn set_lang(&mut self, lang: &str) {
        let value = clean(lang).into_owned();
        match self.attrs.iter_mut().find(|attr| attr.ns == ns::XML && attr.name == "lang") {
            Some(attr) => attr.value = value,
            None => self.attrs.push(Attr { ns: ns::XML.into(), name: "lang".into(), value }),
        }
    }

    /// Appends an attribute as parsed.
    pub fn push_attr(&mut self, attr: Attr) {
        self.attrs.push(attr);
    }

    /// Removes a plain attribute.
    pub fn unset(&mut self, name: &str) {
        self.attrs.retain(|attr| !(attr.ns.is_empty() && attr.name == name));
    }

    /// Appends a child.
    pub fn push(&mut self, child: Element) {
        self.children.push(Node::Element(child));
    }

    /// Appends text, cleaned.
    pub fn push_text(&mut self, text: &str) {
        self.children.push(Node::Text(clean(text).into_owned()));
    }

    /// Removes the children that `keep` refuses.
    pub fn retain(&mut self, mut keep: impl FnMut(&Element) -> bool) {
        self.children.retain(|node| match node {
            Node::Element(child) => keep(child),
            Node::Text(_) => true,
        });
    }

    /// The local name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace.
    pub fn ns(&self) -> &str {
        &self.ns
    }

    /// True for this name in this namespace.
    pub fn is(&self, name: &str, ns: &str) -> bool {
        self.name == name && self.ns == ns
    }

    /// A plain attribute's value.
    pub fn attr(&self, name: &str) -> Option<&str> {
        self.attrs.iter().find(|attr| attr.ns.is_empty() && attr.name == name).map(|attr| attr.value.as_str())
    }

    /// All attributes.
    pub fn attrs(&self) -> &[Attr] {
        &self.attrs
    }

    /// `xml:lang` of this element.
    pub fn lang(&self) -> Option<&str> {
        self.attrs
            .iter()
            .find(|attr| attr.ns == ns::XML && attr.name == "lang")
            .map(|attr| attr.value.as_str())
    }

    /// Everything between the tags.
    pub fn nodes(&self) -> &[Node] {
        &self.children
    }

    /// The child elements.
    pub fn children(&self) -> impl Iterator<Item = &Element> {
        self.children.iter().filter_map(|node| match node {
            Node::Element(child) => Some(child),
            Node::Text(_) => None,
        })
    }

    /// The first child of this name and namespace.
    pub fn child(&self, name: &str, ns: &str) -> Option<&Element> {
        self.children().find(|child| child.is(name, ns))
    }

    /// The text directly inside, in one piece.
    pub fn text(&self) -> String {
        self.children
            .iter()
            .filter_map(|node| match node {
                Node::Text(text) => Some(text.as_str()),
                Node::Element(_) => None,
            })
            .collect()
    }

    /// Appends text as parsed: joined to text that is already the last node.
    pub(super) fn append_parsed(&mut self, text: String) {
        match self.children.last_mut() {
            Some(Node::Text(last)) => last.push_str(&text),
            _ => self.children.push(Node::Text(text)),
        }
    }

    /// Appends the element to `out` as XML, declaring namespaces where they differ from `outer`, the default namespace
    /// of the place where it will stand.
    pub fn write(&self, outer: &str, out: &mut String) {
        // The `xml` prefix is always declared, and its namespace may never be the default one (XML Namespaces §3).
        let (prefix, inner) = if self.ns == ns::XML { ("xml:", outer) } else { ("", self.ns.as_ref()) };
        out.push('<');
        out.push_str(prefix);
        out.push_str(&self.name);
        if inner != outer {
            out.push_str(" xmlns='");
            escape_value(inner, out);
            out.push('\'');
        }
        for (number, attr) in self.attrs.iter().enumerate() {
            attr.write(number, out);
        }
        if self.children.is_empty() {
            out.push_str("/>");
            return;
        }
        out.push('>');
        for node in &self.children {
            match node {
                Node::Element(child) => child.write(inner, out),
                Node::Text(text) => escape_text(text, out),
            }
        }
        out.push_str("</");
        out.push_str(prefix);
        out.push_str(&self.name);
        out.push('>');
    }
}

impl Attr {
    /// Appends ` name='value'`; a foreign namespace gets a prefix of its own, numbered so that no two are the same.
    fn write(&self, number: usize, out: &mut String) {
        out.push(' ');
        if self.ns == ns::XML {
            out.push_str("xml:");
        } else if !self.ns.is_empty() {
            let prefix = format!("a{number}");
            out.push_str("xmlns:");
            out.push_str(&prefix);
            out.push_str("='");
            escape_value(&self.ns, out);
            out.push_str("' ");
            out.push_str(&prefix);
            out.push(':');
        }
        out.push_str(&self.name);
        out.push_str("='");
        escape_value(&self.value, out);
        out.push('\'');
    }
}

impl fmt::Display for Element {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write("", &mut text);
        out.write_str(&text)
    }
}

pub use crate::words::text::clean;

/// Text between tags: a lone carriage return would be read back as a line feed (XML 1.0 §2.11).
fn escape_text(text: &str, out: &mut String) {
    escape(text, out, |byte| match byte {
        b'&' => Some("&amp;"),
        b'<' => Some("&lt;"),
        b'>' => Some("&gt;"),
        b'\r' => Some("&#13;"),
        _ => None,
    });
}

/// A value between single quotes: white space other than spaces would be read back as spaces (XML 1.0 §3.3.3).
pub(super) fn escape_value(text: &str, out: &mut String) {
    escape(text, out, |byte| match byte {
        b'&' => Some("&amp;"),
        b'<' => Some("&lt;"),
        b'\'' => Some("&apos;"),
        b'\r' => Some("&#13;"),
        b'\n' => Some("&#10;"),
        b'\t' => Some("&#9;"),
        _ => None,
    });
}

fn escape(text: &str, out: &mut String, reference: impl Fn(u8) -> Option<&'static str>) {
    let mut done = 0;
    for (at, byte) in text.bytes().enumerate() {
        if let Some(reference) = reference(byte) {
            out.push_str(&text[done..at]);
            out.push_str(reference);
            done = at + 1;
        }
    }
    out.push_str(&text[done..]);
}

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

fn condition_name(kind: Kind) -> &'static str {
    CONDITIONS.iter().find(|(known, _)| *known == kind).map_or("undefined-condition", |(_, name)| name)
}

fn condition_of(name: &str) -> Option<Kind> {
    CONDITIONS.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind)
}
