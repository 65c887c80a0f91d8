//! What all XML documents share: the limits before a tree is built, the reasons for refusing one, and the writer.
//!
//! Read by `roxmltree`, which keeps namespaces right and takes BOM and comments; a DTD is refused, so there are no
//! entities to expand. Only UTF-8 is read: RFC 3023 lets a sender choose UTF-16, and no client is known that does.

use std::fmt;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};
use roxmltree::{Document, Node, ParsingOptions};

use super::shape;
use crate::words::availability::Words;
use crate::words::text::clean;

/// The longest document that is read, in bytes.
pub const SIZE_LIMIT: usize = 64 * 1024;

/// The most nodes that a document may have.
const NODES_LIMIT: u32 = 8192;

/// `xml:lang` and its kin.
const XML: &str = "http://www.w3.org/XML/1998/namespace";

/// Why a body is not the document that it should be; reads as a reason phrase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DocumentError {
    /// It has so many bytes, more than [`SIZE_LIMIT`].
    TooLong(usize),
    /// It is not UTF-8: what it is instead.
    Encoding(&'static str),
    /// It is no XML that we read: what the parser said.
    Xml(String),
    /// It is another document: its root element.
    Root(String),
}

impl fmt::Display for DocumentError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DocumentError::TooLong(bytes) => {
                write!(out, "the document has {bytes} bytes, more than {SIZE_LIMIT}")
            }
            DocumentError::Encoding(what) => write!(out, "the document is {what}, not UTF-8"),
            DocumentError::Xml(error) => write!(out, "the document is not well-formed XML: {error}"),
            DocumentError::Root(root) => write!(out, "the document is <{root}/>"),
        }
    }
}

impl std::error::Error for DocumentError {}

/// The text of a document: at most [`SIZE_LIMIT`] bytes of UTF-8.
pub fn text(bytes: &[u8]) -> Result<&str, DocumentError> {
    if bytes.len() > SIZE_LIMIT {
        return Err(DocumentError::TooLong(bytes.len()));
    }
    match bytes {
        [0xfe, 0xff, ..] | [0xff, 0xfe, ..] | [0, b'<', ..] | [b'<', 0, ..] => {
            Err(DocumentError::Encoding("UTF-16"))
        }
        _ => std::str::from_utf8(bytes).map_err(|_| DocumentError::Encoding("in another charset")),
    }
}

/// The tree of a document whose root element has this name and namespace.
pub fn tree<'a>(text: &'a str, root: &str, ns: &str) -> Result<Document<'a>, DocumentError> {
    let options = ParsingOptions { allow_dtd: false, nodes_limit: NODES_LIMIT, ..ParsingOptions::default() };
    if let Some(excess) = shape::excess(text) {
        return Err(DocumentError::Xml(excess.to_owned()));
    }
    // White space after the document is common where a body was padded; before the declaration it is an error that
    // only strict readers notice.
    let document = Document::parse_with_options(text.trim_start(), options)
        .map_err(|error| DocumentError::Xml(error.to_string()))?;
    let name = document.root_element().tag_name();
    if name.name() != root || name.namespace() != Some(ns) {
        let found = match name.namespace() {
            Some(ns) => format!("{} xmlns='{ns}'", name.name()),
            None => name.name().to_owned(),
        };
        return Err(DocumentError::Root(found));
    }
    Ok(document)
}

/// The child elements of this namespace and name.
pub fn children<'a, 'i: 'a>(
    node: Node<'a, 'i>,
    ns: &'a str,
    name: &'a str,
) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children().filter(move |child| child.has_tag_name((ns, name)))
}

/// The text directly inside, trimmed; comments do not cut it.
pub fn inner(node: Node<'_, '_>) -> String {
    let text: String =
        node.children().filter(|child| child.is_text()).filter_map(|child| child.text()).collect();
    text.trim().to_owned()
}

/// The text inside with its `xml:lang`, which an element inherits (XML 1.0 §2.12). Nothing if it is empty.
pub fn words(node: Node<'_, '_>) -> Option<Words> {
    let text = inner(node);
    let lang = node
        .ancestors()
        .find_map(|element| element.attribute((XML, "lang")))
        .map(|lang| lang.trim().to_owned())
        .filter(|lang| !lang.is_empty());
    (!text.is_empty()).then_some(Words { lang, text })
}

/// Writes a document, element by element. What XML forbids is replaced, what it reserves is escaped.
pub struct XmlWriter(Writer<Vec<u8>>);

impl XmlWriter {
    /// A document that begins with its declaration.
    pub fn new() -> XmlWriter {
        let mut writer = XmlWriter(Writer::new(Vec::with_capacity(1024)));
        writer.put(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)));
        writer
    }

    /// `<name a='b'>`, then what `inside` writes, then `</name>`; `<name/>` where that is nothing.
    pub fn element(&mut self, name: &str, attrs: &[(&str, &str)], inside: impl FnOnce(&mut XmlWriter)) {
        self.put(Event::Start(start(name, attrs)));
        inside(self);
        self.put(Event::End(BytesEnd::new(name)));
    }

    /// `<name a='b'/>`.
    pub fn empty(&mut self, name: &str, attrs: &[(&str, &str)]) {
        self.put(Event::Empty(start(name, attrs)));
    }

    /// `<name a='b'>text</name>`.
    pub fn text(&mut self, name: &str, attrs: &[(&str, &str)], text: &str) {
        self.element(name, attrs, |writer| writer.put(Event::Text(BytesText::new(&clean(text)))));
    }

    /// `<name xml:lang='…'>text</name>`.
    pub fn words(&mut self, name: &str, words: &Words) {
        match &words.lang {
            Some(lang) => self.text(name, &[("xml:lang", lang)], &words.text),
            None => self.text(name, &[], &words.text),
        }
    }

    /// The bytes.
    pub fn finish(self) -> Vec<u8> {
        self.0.into_inner()
    }

    fn put(&mut self, event: Event<'_>) {
        // A Vec takes everything: there is no failure to report.
        let _ = self.0.write_event(event);
    }
}

impl Default for XmlWriter {
    fn default() -> Self {
        XmlWriter::new()
    }
}

fn start<'a>(name: &'a str, attrs: &[(&str, &str)]) -> BytesStart<'a> {
    let mut start = BytesStart::new(name);
    for (name, value) in attrs {
        start.push_attribute((*name, clean(value).as_ref()));
    }
    start
}
