//! What we print is read back as the same tree, by our own reader and by those that we did not write; whatever comes,
//! the reader says the same for every split of it; and a prepared JID is prepared for good.

use mostar::xmpp::jid::Jid;
use mostar::xmpp::ns;
use mostar::xmpp::stanza::{Attr, Element, Node};
use mostar::xmpp::stream::{Event, Limits, Stream};
use proptest::prelude::*;

const HEADER: &str = "<stream:stream xmlns='jabber:component:accept' \
                      xmlns:stream='http://etherx.jabber.org/streams' id='1'><handshake/>";

/// What our reader says to `bytes`, which come in pieces that end at the given places.
fn events(bytes: &[u8], cuts: &[usize]) -> Vec<Event> {
    let mut events = Vec::new();
    let mut stream = Stream::new(Limits { depth: 4, attributes: 3, nodes: 12, bytes: 300 });
    let mut done = 0;
    for cut in cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect::<std::collections::BTreeSet<_>>() {
        stream.receive(&bytes[done..cut], &mut events);
        done = cut;
    }
    stream.receive(&bytes[done..], &mut events);
    events
}

/// Pieces of XML, right and wrong, in any order: more often near the grammar than bytes are.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(vec![
        &b"<message from='a@b' to='c@d' id='1'>"[..],
        b"</message>",
        b"<iq/>",
        b"<body>",
        b"</body>",
        b"<x ",
        b"a='1' ",
        b"xmlns='urn:x'",
        b"xmlns:p='urn:p'",
        b"<p:y p:z=''/>",
        b">",
        b"/>",
        b"text",
        b" ",
        b"&amp;",
        b"&#x41;",
        b"&lol;",
        b"<![CDATA[<]]>",
        b"]]>",
        b"<!--",
        b"-->",
        b"<!DOCTYPE x [",
        b"<?x?>",
        b"\xff",
        b"\xc3",
        b"\xa9",
        b"\0",
        b"</stream:stream>",
        b"<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>",
        b"<a><a><a><a><a>",
        b"</a></a></a></a></a>",
        b"<q:w/>",
        b"'",
        b"\"",
        b"=",
    ]);
    prop::collection::vec(pieces, 0..30).prop_map(|pieces| [HEADER.as_bytes(), &pieces.concat()].concat())
}

/// Addresses of characters that preparation changes, composes, refuses or leaves alone.
fn address() -> impl Strategy<Value = String> {
    let letters: Vec<char> = "abZ09.-_\u{e4}\u{d6}\u{df}\u{1e9e}\u{3a3}\u{3c2}\u{130}\u{131}\u{fb01}\u{ff21}\u{ff0e}\u{3002}\
                              \u{738b}\u{30ab}\u{3099}\u{301}\u{308}\u{345}\u{5d0}\u{627}\u{661}\u{b7}\u{200d}\u{212b}\u{a0}\u{1c4}\u{10a0}"
        .chars()
        .collect();
    let part = prop_oneof![
        prop::collection::vec(prop::sample::select(letters), 1..6).prop_map(String::from_iter),
        "\\PC{1,6}",
    ];
    let domain = prop_oneof![Just("example.com".to_owned()), part.clone()];
    (prop::option::of(part.clone()), domain, prop::option::of(part)).prop_map(|(local, domain, resource)| {
        let local = local.map(|local| local + "@").unwrap_or_default();
        let resource = resource.map(|resource| format!("/{resource}")).unwrap_or_default();
        local + &domain + &resource
    })
}

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
        if has(&element, ns::XML) {
            return Ok(());
        }
        let text = element.to_string();
        let read = roxmltree::Document::parse(&text);
        prop_assert!(read.is_ok(), "{:?}: {}", read, text);
        // minidom knows no elements without a namespace.
        if !has(&element, "") {
            let read = text.parse::<xmpp_parsers::minidom::Element>();
            prop_assert!(read.is_ok(), "{:?}: {}", read, text);
        }
    }

    #[test]
    fn whatever_comes_is_read_alike_in_every_split(
        bytes in soup(),
        cuts in prop::collection::vec(any::<usize>(), 0..20),
    ) {
        let whole = events(&bytes, &[]);
        let split = events(&bytes, &cuts);
        // An error shows as soon as its bytes are there; why it is one may be said differently.
        let said = |events: Vec<Event>| -> Vec<Event> {
            events.into_iter().map(|event| match event {
                Event::Broken(_) => Event::Broken(String::new()),
                event => event,
            }).collect()
        };
        prop_assert_eq!(said(split), said(whole));
    }

    #[test]
    fn bytes_never_upset_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        events(&bytes, &[]);
        events(&[HEADER.as_bytes(), &bytes].concat(), &[]);
    }

    #[test]
    fn a_prepared_jid_is_prepared_for_good(text in address()) {
        if let Ok(jid) = Jid::parse(&text) {
            let again = Jid::parse(jid.as_str());
            prop_assert_eq!(again.as_ref(), Ok(&jid));
            let parts = Jid::new(jid.local(), jid.domain(), jid.resource());
            prop_assert_eq!(parts.as_ref(), Ok(&jid));
        }
    }
}

fn has(element: &Element, ns: &str) -> bool {
    element.ns() == ns || element.children().any(|child| has(child, ns))
}
