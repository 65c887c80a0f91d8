//! The component stream: what our own reader makes of it.

use mostar::xmpp::element::Element;
use mostar::xmpp::stanza::Stanza;
use mostar::xmpp::stream::{Event, Limits, Stream};

use super::{choice, pieces};

/// What opens every stream here; a program of bytes begins behind it.
pub const HEADER: &str = "<stream:stream xmlns='jabber:component:accept' \
                          xmlns:stream='http://etherx.jabber.org/streams' id='1'><handshake/>";

fn read<'a>(limits: Limits, bytes: impl Iterator<Item = &'a [u8]>) -> Vec<Event> {
    let (mut stream, mut events) = (Stream::new(limits), Vec::new());
    stream.receive(HEADER.as_bytes(), &mut events);
    bytes.for_each(|piece| stream.receive(piece, &mut events));
    events
}

/// A stream behind its header: every cut says the same, what is read is printed as the same, and a reader that we did not
/// write finds the same in it.
pub fn run(data: &[u8]) {
    let (seed, bytes) = choice(data);
    let small = Limits { depth: 6, attributes: 5, nodes: 20, bytes: 600 };
    for limits in [Limits::default(), small] {
        let whole = read(limits, std::iter::once(bytes));
        assert_eq!(read(limits, pieces(seed, bytes)), whole);
        let elements: Vec<_> = whole.iter().filter_map(element).collect();
        for element in &elements {
            printed(element);
        }
        for event in &whole {
            if let Event::Refused(refused) = event {
                let _ = refused.answer().map(|answer| answer.to_xml());
            }
        }
        let is_all = whole.last() == Some(&Event::Closed)
            && !whole.iter().any(|event| matches!(event, Event::Refused(_) | Event::Error(_)));
        if is_all {
            foreign(bytes, &elements);
        }
    }
}

fn element(event: &Event) -> Option<&Element> {
    match event {
        Event::Element(element) => Some(element),
        _ => None,
    }
}

/// As it would go out, it is the same when it comes in.
fn printed(element: &Element) {
    let Ok(stanza) = Stanza::from_element(element.clone()) else { return };
    let text = stanza.to_xml();
    let limits = Limits { bytes: 1 << 20, attributes: 1000, ..Limits::default() };
    let events = read(limits, std::iter::once(text.as_bytes()));
    assert_eq!(events.iter().find_map(self::element), Some(&stanza.element), "{text}");
}

/// The elements of a closed stream, as a library reads it whole.
fn foreign(bytes: &[u8], elements: &[&Element]) {
    let text = format!("{HEADER}{}", String::from_utf8_lossy(bytes));
    // What follows the end of the stream is nobody's.
    let end = text.rfind("</stream:stream").and_then(|at| text[at..].find('>').map(|length| at + length + 1));
    let Some(text) = end.map(|end| &text[..end]) else { return };
    let Ok(document) = roxmltree::Document::parse(text) else { return };
    let all: Vec<_> = document
        .root_element()
        .children()
        .filter(roxmltree::Node::is_element)
        .skip(1)
        .map(|node| Element::of_tree(node, |ns| ns))
        .collect();
    assert_eq!(all.iter().collect::<Vec<_>>(), elements, "{text}");
}
