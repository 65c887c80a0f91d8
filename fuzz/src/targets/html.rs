//! HTML to text.

use mostar::documents::html;

/// A page: what is rich is well-formed, harmless and says what the plain text says.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let page = html::read(text);
    assert!(page.text.len() <= 8 * text.len() + 64, "{} bytes of {}", page.text.len(), text.len());
    let Some(rich) = page.rich else { return };
    assert!(rich.len() <= 64 * text.len() + 64, "{} bytes of {}", rich.len(), text.len());
    assert!(html::says(&rich, &page.text));
    if rich.contains(|c: char| !may_stand_in_xml(c)) {
        return;
    }
    let document = format!("<x>{rich}</x>");
    let tree = roxmltree::Document::parse(&document).unwrap_or_else(|why| panic!("{why}: {rich}"));
    for node in tree.descendants().filter(roxmltree::Node::is_element) {
        let name = node.tag_name().name();
        assert!(["x", "em", "strong", "code", "br", "span", "a"].contains(&name), "{name}");
        for attribute in node.attributes() {
            match (name, attribute.name()) {
                ("a", "href") => assert!(html::is_address(attribute.value()), "{}", attribute.value()),
                ("span", "style") => assert!(attribute.value().starts_with("text-decoration:")),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// The rest is replaced where a text enters a stanza.
fn may_stand_in_xml(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}
