//! Files and links beside a message: stateless file sharing (XEP-0447 with the metadata of XEP-0446) and out-of-band data
//! (XEP-0066). SIP has only the text, so what is in none of it goes there: name and size where they are told, and the address.
//!
//! Nothing is fetched. An address that already stands in the body is not said again.

use crate::documents::file_http::shown;
use crate::xmpp::stanza::Element;

const OOB: &str = "jabber:x:oob";
const SHARING: &str = "urn:xmpp:sfs:0";
const METADATA: &str = "urn:xmpp:file:metadata:0";
const URL_DATA: &str = "http://jabber.org/protocol/url-data";

/// How many are shown.
const LINKS: usize = 20;

/// Something that is elsewhere.
struct Link {
    address: String,
    name: Option<String>,
    size: Option<u64>,
}

/// The body with what is beside it; nothing where that adds nothing.
pub fn added(message: &Element, body: &str) -> Option<String> {
    let links = links(message);
    if links.is_empty() {
        return None;
    }
    let mut text = body.to_owned();
    for link in links {
        let Some(line) = shown(link.name.as_deref(), link.size, &link.address) else { continue };
        if text.trim() == link.address {
            // The body is there for clients that do not know files.
            text = line;
        } else if !text.contains(&link.address) {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str(&line);
        }
    }
    (text != body).then_some(text)
}

/// Files first: they say more of the same address.
fn links(message: &Element) -> Vec<Link> {
    let files = message.children().filter(|child| child.is("file-sharing", SHARING)).filter_map(file);
    let plain = message.children().filter(|child| child.is("x", OOB)).filter_map(plain);
    files.chain(plain).take(LINKS).collect()
}

fn file(sharing: &Element) -> Option<Link> {
    let sources = sharing.child("sources", SHARING)?;
    let address = sources
        .children()
        .find_map(|source| source.attr("target").filter(|_| source.is("url-data", URL_DATA)))?;
    let file = sharing.child("file", METADATA);
    let said =
        |name| file.and_then(|file| file.child(name, METADATA)).map(|child| child.text().trim().to_owned());
    Some(Link {
        address: address.trim().to_owned(),
        name: said("name").filter(|name| !name.is_empty()),
        size: said("size").and_then(|size| size.parse().ok()),
    })
}

fn plain(x: &Element) -> Option<Link> {
    let address = x.child("url", OOB)?.text().trim().to_owned();
    let name = x.child("desc", OOB).map(|desc| desc.text().trim().to_owned()).filter(|desc| !desc.is_empty());
    Some(Link { address, name, size: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xmpp::ns;

    const URL: &str = "https://files.example/x/summit.jpg";

    fn message(children: Vec<Element>) -> Element {
        children.into_iter().fold(Element::new("message", ns::COMPONENT), Element::with_child)
    }

    fn oob(address: &str) -> Element {
        Element::new("x", OOB).with_child(Element::new("url", OOB).with_text(address))
    }

    fn sharing() -> Element {
        let file = Element::new("file", METADATA)
            .with_child(Element::new("name", METADATA).with_text("summit.jpg"))
            .with_child(Element::new("size", METADATA).with_text("3032449"));
        let source = Element::new("url-data", URL_DATA).with("target", URL);
        let sources = Element::new("sources", SHARING).with_child(source);
        Element::new("file-sharing", SHARING).with_child(file).with_child(sources)
    }

    #[test]
    fn a_file_is_a_name_a_size_and_an_address_whatever_the_body_is() {
        let whole = format!("summit.jpg (3.0 MB)\n{URL}");
        for body in ["", URL] {
            assert_eq!(added(&message(vec![sharing(), oob(URL)]), body).as_deref(), Some(whole.as_str()));
        }
        let text = format!("look:\n{whole}");
        assert_eq!(added(&message(vec![oob(URL), sharing()]), "look:").as_deref(), Some(text.as_str()));
    }

    #[test]
    fn a_link_is_said_once() {
        assert_eq!(added(&message(vec![oob(URL)]), URL), None);
        assert_eq!(added(&message(vec![oob(URL)]), &format!("look: {URL}")), None);
        let shown = format!("look\n{URL}");
        assert_eq!(added(&message(vec![oob(URL), oob(URL)]), "look").as_deref(), Some(shown.as_str()));
        let named = Element::new("desc", OOB).with_text("The summit");
        let shown = format!("The summit\n{URL}");
        assert_eq!(added(&message(vec![oob(URL).with_child(named)]), "").as_deref(), Some(shown.as_str()));
    }

    #[test]
    fn what_is_no_address_on_the_web_is_not_shown() {
        for address in ["javascript:alert(1)", "file:///etc/passwd", "", "aesgcm://x/y#00", "https://a b"] {
            assert_eq!(added(&message(vec![oob(address)]), "hi"), None, "{address}");
        }
    }
}
