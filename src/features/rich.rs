//! Emphasis and links in a message: XHTML-IM (XEP-0071) on one side, `text/html` on the other, with the same few elements
//! in both ([`html`]).
//!
//! The body is the message and always goes; what is here says the same and only shows it better. What a client wrote is
//! read as any HTML is and written anew, and where it says something else than the body it is left out.

use crate::documents::{html, xml};
use crate::xmpp::stanza::Element;

const XHTML_IM: &str = "http://jabber.org/protocol/xhtml-im";
const XHTML: &str = "http://www.w3.org/1999/xhtml";

/// The page of a message that has one.
pub fn page(message: &Element) -> Option<html::Page> {
    let body = message.child("html", XHTML_IM)?.child("body", XHTML)?;
    let mut text = String::new();
    body.write(XHTML, &mut text);
    Some(html::read(&text))
}

/// The rich text of a message, if it says what the body says.
pub fn beside(message: &Element, body: &str) -> Option<String> {
    page(message)?.rich.filter(|rich| html::says(rich, body))
}

/// As a child of a message. Nothing if it is no rich text, as [`html::read`] gives it.
pub fn element(rich: &str) -> Option<Element> {
    let text = format!("<body xmlns='{XHTML}'>{rich}</body>");
    let document = xml::tree(&text, "body", XHTML).ok()?;
    Some(
        Element::new("html", XHTML_IM)
            .with_child(Element::of_tree(document.root_element(), |namespace| namespace)),
    )
}

/// As a document for SIP.
pub fn document(rich: &str) -> String {
    format!("<html><body>{rich}</body></html>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xmpp::ns;

    fn message(inside: &str) -> Element {
        let text = format!("<body xmlns='{XHTML}'>{inside}</body>");
        let document = xml::tree(&text, "body", XHTML).expect("the test's own XHTML");
        let html = Element::new("html", XHTML_IM)
            .with_child(Element::of_tree(document.root_element(), |namespace| namespace));
        Element::new("message", ns::COMPONENT).with_child(html)
    }

    #[test]
    fn what_a_client_wrote_is_written_anew() {
        let wrote = message(
            "<p style='color: red'><strong onclick='x'>Hi</strong> <script>no</script><a href='javascript:x'>you</a></p>",
        );
        assert_eq!(beside(&wrote, "Hi you").as_deref(), Some("<strong>Hi</strong> you"));
        assert_eq!(beside(&wrote, "*Hi* you").as_deref(), Some("<strong>Hi</strong> you"));
        assert_eq!(beside(&wrote, "Send him money"), None, "it says something else");
        assert_eq!(page(&wrote).map(|page| page.text).as_deref(), Some("Hi you"));
    }

    #[test]
    fn what_is_read_from_a_page_becomes_a_child_of_a_message() {
        let rich = html::read("<b>so</b> &amp; <a href='https://e.org/?a&amp;b'>here</a><br>x")
            .rich
            .expect("a rich text");
        let expected = format!(
            "<html xmlns='{XHTML_IM}'><body xmlns='{XHTML}'><strong>so</strong> &amp; <a href='https://e.org/?a&amp;b'>here</a>\
             <br/>x</body></html>"
        );
        assert_eq!(element(&rich).map(|element| element.to_string()), Some(expected));
        assert_eq!(element("<b>"), None);
    }
}
