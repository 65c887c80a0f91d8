//! The hash of a disco#info answer (XEP-0115 §5.1), and when there is none (§5.4): then it proves nothing.

use std::collections::BTreeSet;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha1::{Digest, Sha1};

use crate::xmpp::ns;
use crate::xmpp::stanza::Element;

const FORM: &str = "jabber:x:data";

/// The features that are listed.
pub fn features(query: &Element) -> impl Iterator<Item = &str> {
    query.children().filter(|child| child.is("feature", ns::DISCO_INFO)).filter_map(|child| child.attr("var"))
}

/// The hash by SHA-1; nothing if something stands in the answer twice.
pub fn sha1(query: &Element) -> Option<String> {
    let mut identities = BTreeSet::new();
    for child in query.children().filter(|child| child.is("identity", ns::DISCO_INFO)) {
        let attr = |name| child.attr(name).unwrap_or_default();
        let lang = child.lang().unwrap_or_default();
        if !identities.insert([attr("category"), attr("type"), lang, attr("name")]) {
            return None;
        }
    }
    let mut listed = BTreeSet::new();
    if !features(query).all(|feature| listed.insert(feature)) {
        return None;
    }
    let mut forms = BTreeSet::new();
    for child in query.children().filter(|child| child.is("x", FORM)) {
        if let Some(form) = form(child)?
            && !forms.insert(form)
        {
            return None;
        }
    }
    let mut digest = Sha1::new();
    for [category, type_, lang, name] in &identities {
        digest.update(format!("{category}/{type_}/{lang}/{name}<"));
    }
    for feature in &listed {
        digest.update(format!("{feature}<"));
    }
    for (type_, fields) in &forms {
        digest.update(format!("{type_}<"));
        for (var, values) in fields {
            digest.update(format!("{var}<"));
            values.iter().for_each(|value| digest.update(format!("{value}<")));
        }
    }
    Some(BASE64_STANDARD.encode(digest.finalize()))
}

/// Its FORM_TYPE, and its fields in order, the values of each in order.
type Form = (String, Vec<(String, Vec<String>)>);

/// A form; nothing inside if it does not count: its FORM_TYPE is missing or not hidden. Nothing at all if that has two values.
fn form(form: &Element) -> Option<Option<Form>> {
    let mut type_ = None;
    let mut fields = Vec::new();
    for field in form.children().filter(|child| child.is("field", FORM)) {
        let var = field.attr("var").unwrap_or_default();
        let values = field.children().filter(|child| child.is("value", FORM)).map(Element::text);
        let mut values: Vec<String> = values.collect();
        values.sort();
        if var == "FORM_TYPE" {
            values.dedup();
            if values.len() > 1 || type_.is_some() {
                return None;
            }
            type_ = values.pop().filter(|_| field.attr("type") == Some("hidden"));
            if type_.is_none() {
                return Some(None);
            }
        } else {
            fields.push((var.to_owned(), values));
        }
    }
    fields.sort();
    Some(type_.map(|type_| (type_, fields)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feature(var: &str) -> Element {
        Element::new("feature", ns::DISCO_INFO).with("var", var)
    }

    fn identity(name: &str, lang: Option<&str>) -> Element {
        let mut identity =
            Element::new("identity", ns::DISCO_INFO).with("category", "client").with("type", "pc");
        identity.set("name", name);
        if let Some(lang) = lang {
            identity.set_lang(lang);
        }
        identity
    }

    fn query(children: impl IntoIterator<Item = Element>) -> Element {
        children.into_iter().fold(Element::new("query", ns::DISCO_INFO), Element::with_child)
    }

    fn field(var: &str, values: &[&str]) -> Element {
        let field = Element::new("field", FORM).with("var", var);
        values
            .iter()
            .fold(field, |field, value| field.with_child(Element::new("value", FORM).with_text(value)))
    }

    fn basic() -> Vec<Element> {
        let all = ["http://jabber.org/protocol/muc", "http://jabber.org/protocol/disco#info"];
        all.into_iter().chain([ns::DISCO_ITEMS, ns::CAPS]).map(feature).collect()
    }

    #[test]
    fn the_published_examples_hash_to_what_is_printed_there() {
        let simple = query(basic().into_iter().chain([identity("Exodus 0.9.1", None)]));
        assert_eq!(sha1(&simple).as_deref(), Some("QgayPKawpkPSDYmwT/WM94uAlu0="));
        let form = Element::new("x", FORM)
            .with("type", "result")
            .with_child(field("FORM_TYPE", &["urn:xmpp:dataforms:softwareinfo"]).with("type", "hidden"))
            .with_child(field("software", &["Psi"]))
            .with_child(field("ip_version", &["ipv6", "ipv4"]))
            .with_child(field("os", &["Mac"]))
            .with_child(field("os_version", &["10.5.1"]))
            .with_child(field("software_version", &["0.11"]));
        let identities = [identity("Psi 0.11", Some("en")), identity("Ψ 0.11", Some("el")), form];
        let complex = query(basic().into_iter().chain(identities));
        assert_eq!(sha1(&complex).as_deref(), Some("q07IKJEyjvHSyhy//CH0CxmKi8w="));
    }

    #[test]
    fn what_stands_twice_proves_nothing() {
        assert_eq!(sha1(&query([feature("a"), feature("a")])), None);
        assert_eq!(sha1(&query([identity("a", None), identity("a", None)])), None);
        let form = || {
            let type_ = field("FORM_TYPE", &["a"]).with("type", "hidden");
            Element::new("x", FORM).with_child(type_)
        };
        assert_eq!(sha1(&query([form(), form()])), None);
        let two = Element::new("x", FORM).with_child(field("FORM_TYPE", &["a", "b"]).with("type", "hidden"));
        assert_eq!(sha1(&query([two])), None);
        let shown = Element::new("x", FORM).with_child(field("FORM_TYPE", &["a"]));
        assert_eq!(sha1(&query([shown])), sha1(&query([])), "not hidden: it does not count");
    }
}
