//! What we print is read back as the same tree, by our own reader and by one that we did not write.

use mostar::xmpp::ns;
use mostar::xmpp::stanza::{Attr, Element, Node};
use mostar::xmpp::stream::{Event, Limits, Stream};
use proptest::prelude::*;

const HEADER: &str = "<stream:stream xmlns='jabber:component:accept' \
                      xmlns:stream='http://etherx.jabber.org/streams' id='1'><handshake/>";

/// The first element that our reader finds in `text` on an open stream, which comes in pieces of `size` bytes.
fn read(text: &str, size: usize) -> Option<Element> {
    let mut events = Vec::new();
    let mut stream = Stream::new(Limits::default());
    stream.receive(HEADER.as_bytes(), &mut events);
    text.as_bytes().chunks(size).for_each(|piece| stream.receive(piece, &mut events));
    events.into_iter().find_map(|event| match event {
        Event::Element(element) => Some(element),
        _ => None,
    })
}

/// Any text that XML can carry, the awkward characters more often than others.
fn text() -> impl Strategy<Value = String> {
    let awkward =
        prop::sample::select(vec!["\n", "\r", "\t", "\r\n", "&", "<", ">", "'", "\"", "]]>", " ", "&amp;"]);
    let plain = any::<char>().prop_filter(
        "XML",
        |c| matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..),
    );
    prop::collection::vec(prop_oneof![awkward.prop_map(str::to_owned), plain.prop_map(String::from)], 1..8)
        .prop_map(|parts| parts.concat())
}

fn namespace() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![ns::COMPONENT, ns::CLIENT, ns::STREAM, ns::XML, "", "urn:a", "urn:b&'<"])
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["message", "x", "a0", "b-c", "d.e", "f\u{fc}r"])
}

fn attrs() -> impl Strategy<Value = Vec<(&'static str, &'static str, String)>> {
    prop::collection::vec((namespace(), name(), text()), 0..4)
}

fn element() -> impl Strategy<Value = Element> {
    let leaf =
        (name(), namespace(), attrs()).prop_map(|(name, ns, attrs)| build(name, ns, attrs, Vec::new()));
    leaf.prop_recursive(5, 40, 4, |inner| {
        let node = prop_oneof![inner.prop_map(Node::Element), text().prop_map(Node::Text)];
        (name(), namespace(), attrs(), prop::collection::vec(node, 0..4))
            .prop_map(|(name, ns, attrs, nodes)| build(name, ns, attrs, nodes))
    })
}

fn build(
    name: &'static str,
    ns: &'static str,
    attrs: Vec<(&'static str, &'static str, String)>,
    nodes: Vec<Node>,
) -> Element {
    let mut element = Element::new(name, ns);
    for (ns, name, value) in attrs {
        if !element.attrs().iter().any(|known| known.ns == ns && known.name == name) {
            element.push_attr(Attr { ns: ns.into(), name: name.into(), value });
        }
    }
    // A reader cannot tell two neighbouring texts from one.
    let mut after_text = false;
    for node in nodes {
        match node {
            Node::Element(child) => {
                element.push(child);
                after_text = false;
            }
            Node::Text(text) if !after_text => {
                element.push_text(&text);
                after_text = true;
            }
            Node::Text(_) => {}
        }
    }
    element
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_printed_is_read_back(element in element(), size in 1usize..40) {
        // These two are the stream's own words.
        prop_assume!(element.ns() != ns::STREAM);
        let mut text = String::new();
        element.write(ns::COMPONENT, &mut text);
        prop_assert_eq!(read(&text, size), Some(element), "{}", text);
    }

    #[test]
    fn what_is_printed_is_well_formed_for_others(element in element()) {
        // Neither of these readers knows elements in the namespace of the prefix `xml`.
        prop_assume!(!has(&element, ns::XML));
        let text = element.to_string();
        let read = roxmltree::Document::parse(&text);
        prop_assert!(read.is_ok(), "{:?}: {}", read, text);
        // minidom knows no elements without a namespace.
        if !has(&element, "") {
            let read = text.parse::<xmpp_parsers::minidom::Element>();
            prop_assert!(read.is_ok(), "{:?}: {}", read, text);
        }
    }
}

fn has(element: &Element, ns: &str) -> bool {
    element.ns() == ns || element.children().any(|child| has(child, ns))
}
