//! XML elements as a loose tree that is printed exactly as it was read.
//!
//! Namespaces are names, not prefixes: printing declares them where they differ. Text that goes out is cleaned when it
//! is put in: characters that XML 1.0 §2.2 forbids become U+FFFD, so nothing we print can break the stream.

use std::borrow::Cow;
use std::fmt;

use super::ns;

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

    /// Appends a child.
    pub fn push(&mut self, child: Element) {
        self.children.push(Node::Element(child));
    }

    /// Appends text, cleaned; an empty one is nothing, as where it is read.
    pub fn push_text(&mut self, text: &str) {
        let text = clean(text);
        if !text.is_empty() {
            self.children.push(Node::Text(text.into_owned()));
        }
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

    /// A tree that was read elsewhere, its namespaces as `named` has them.
    pub fn of_tree(node: roxmltree::Node<'_, '_>, named: fn(&str) -> &str) -> Element {
        let namespace = named(node.tag_name().namespace().unwrap_or_default());
        let mut element = Element::new(node.tag_name().name().to_owned(), namespace.to_owned());
        for attr in node.attributes() {
            element.push_attr(Attr {
                ns: attr.namespace().unwrap_or_default().to_owned().into(),
                name: attr.name().to_owned().into(),
                value: attr.value().to_owned(),
            });
        }
        for child in node.children() {
            if child.is_element() {
                element.push(Element::of_tree(child, named));
            } else if let Some(text) = child.text() {
                element.push_text(text);
            }
        }
        element
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

    /// True when text that is appended as parsed joins text that is already there.
    pub(super) fn ends_in_text(&self) -> bool {
        matches!(self.children.last(), Some(Node::Text(_)))
    }

    /// Appends text as parsed: joined to text that is already the last node.
    pub(super) fn append_parsed(&mut self, text: String) {
        match self.children.last_mut() {
            Some(Node::Text(last)) => last.push_str(&text),
            _ => self.children.push(Node::Text(text)),
        }
    }

    /// As many bytes as [`Element::write`] can append, or more: no character becomes more than six.
    pub fn length_at_most(&self) -> usize {
        let own = 2 * self.name.len() + 6 * self.ns.len() + 32;
        let attr = |attr: &Attr| attr.name.len() + 6 * (attr.ns.len() + attr.value.len()) + 64;
        let node = |node: &Node| match node {
            Node::Element(child) => child.length_at_most(),
            Node::Text(text) => text_at_most(text),
        };
        own + self.attrs.iter().map(attr).sum::<usize>() + self.children.iter().map(node).sum::<usize>()
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

/// What is written in place of a byte.
type References<const N: usize> = [(u8, &'static str); N];

/// Between tags: a lone carriage return would be read back as a line feed (XML 1.0 §2.11).
const IN_TEXT: References<4> = [(b'&', "&amp;"), (b'<', "&lt;"), (b'>', "&gt;"), (b'\r', "&#13;")];

/// Between single quotes: white space other than spaces would be read back as spaces (XML 1.0 §3.3.3).
const IN_VALUE: References<6> =
    [(b'&', "&amp;"), (b'<', "&lt;"), (b'\'', "&apos;"), (b'\r', "&#13;"), (b'\n', "&#10;"), (b'\t', "&#9;")];

/// How much is looked at together: mostly there is nothing to escape in it, and that is seen without a branch for each
/// byte.
const PIECE: usize = 64;

fn escape_text(text: &str, out: &mut String) {
    escape(text, out, &IN_TEXT);
}

pub(super) fn escape_value(text: &str, out: &mut String) {
    escape(text, out, &IN_VALUE);
}

/// How many bytes a text has between tags, or more.
pub fn text_at_most(text: &str) -> usize {
    let more = |piece: &[u8]| if has_any(piece, &IN_TEXT) { 5 * piece.len() } else { 0 };
    text.len() + text.as_bytes().chunks(PIECE).map(more).sum::<usize>()
}

#[inline]
fn escape<const N: usize>(text: &str, out: &mut String, references: &References<N>) {
    let (mut done, mut seen) = (0, 0);
    for piece in text.as_bytes().chunks(PIECE) {
        if has_any(piece, references) {
            for (at, byte) in piece.iter().enumerate() {
                if let Some((_, reference)) = references.iter().find(|(special, _)| special == byte) {
                    out.push_str(&text[done..seen + at]);
                    out.push_str(reference);
                    done = seen + at + 1;
                }
            }
        }
        seen += piece.len();
    }
    out.push_str(&text[done..]);
}

#[inline]
fn has_any<const N: usize>(piece: &[u8], references: &References<N>) -> bool {
    // Numbers and not truth values: only these the compiler looks at many at a time.
    let is_special =
        |byte: u8| references.iter().fold(0, |any, (special, _)| any | u8::from(byte == *special));
    piece.iter().fold(0, |any, byte| any | is_special(*byte)) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_declared_where_they_change() {
        let tree = Element::new("message", ns::COMPONENT)
            .with_child(Element::new("body", ns::COMPONENT).with_text("x"))
            .with_child(Element::new("a", "urn:a").with_child(Element::new("b", "urn:a")))
            .with_child(Element::new("c", "").with_child(Element::new("d", ns::XML)));
        let mut out = String::new();
        tree.write(ns::COMPONENT, &mut out);
        let inner = "<body>x</body><a xmlns='urn:a'><b/></a><c xmlns=''><xml:d/></c></message>";
        assert_eq!(out, format!("<message>{inner}"));
        assert_eq!(tree.to_string(), format!("<message xmlns='jabber:component:accept'>{inner}"));
    }

    #[test]
    fn what_a_reader_would_change_is_escaped() {
        let mut element =
            Element::new("x", "").with("a", "\t\n\r'\"&<>").with_text("\t\n\r'\"&<]]>\u{1}\u{ffff}");
        element.set_lang("de");
        element.set_lang("en");
        assert_eq!(
            element.to_string(),
            "<x a='&#9;&#10;&#13;&apos;\"&amp;&lt;>' xml:lang='en'>\t\n&#13;'\"&amp;&lt;]]&gt;\u{fffd}\u{fffd}</x>"
        );
    }
}
