//! XML of test files to trees, and trees to a form that can be compared.

use mostar::xmpp::ns;
use mostar::xmpp::stanza::Element;

/// Reads one element; without `xmlns` it is in the component namespace.
pub fn parse(text: &str) -> Result<Element, String> {
    let text = text.trim();
    let wrapped = format!("<wrap xmlns='{}'>{text}</wrap>", ns::COMPONENT);
    let text = if text.starts_with("<?xml") { text.to_owned() } else { wrapped };
    let document = roxmltree::Document::parse(&text).map_err(|error| format!("{error} in {text}"))?;
    let root = document.root_element();
    let node =
        if root.tag_name().name() == "wrap" { root.first_element_child().ok_or("no element")? } else { root };
    Ok(Element::of_tree(node, |namespace| namespace))
}

/// One line a node: attributes sorted, white space between tags dropped. Equal trees give equal lines.
pub fn lines(element: &Element) -> String {
    let mut out = String::new();
    write(element, 0, &mut out);
    out
}

fn write(element: &Element, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    out.push_str(&format!("{indent}<{} xmlns={}>\n", element.name(), element.ns()));
    let mut attrs: Vec<_> = element
        .attrs()
        .iter()
        .map(|attr| format!("{indent}  @{}{}={}\n", attr.ns, attr.name, attr.value))
        .collect();
    attrs.sort();
    out.extend(attrs);
    let text = element.text();
    let mixed = element.children().next().is_some();
    if !(text.is_empty() || mixed && text.trim().is_empty()) {
        out.push_str(&format!("{indent}  {:?}\n", if mixed { text.trim() } else { &text }));
    }
    for child in element.children() {
        write(child, depth + 1, out);
    }
}
