//! Lists of addresses: `application/resource-lists+xml` (RFC 4826 §3), as far as they come in an INVITE that makes a
//! conference and names whom to invite (RFC 5366), with the copy control of RFC 5364.
//!
//! Lists in lists are one list. Nothing is fetched: `entry-ref` and `external` name what is elsewhere, and are counted with what
//! is left out. An address is there once, under the most open of its marks (RFC 5364 §4.3).

use std::collections::BTreeMap;

use roxmltree::Node;

use super::mime::{self, Inside, Part};
use super::xml::{self, DocumentError, children, inner};
use crate::sip::uri::SipAddress;

/// The media type.
pub const TYPE: &str = "application/resource-lists+xml";
/// The option tag that asks for such a list to be understood (RFC 5366 §3).
pub const OPTION: &str = "recipient-list-invite";

const NS: &str = "urn:ietf:params:xml:ns:resource-lists";
const COPY: &str = "urn:ietf:params:xml:ns:copyControl";
/// The disposition of a list of people who are to be invited. `recipient-list-history` only says who was (RFC 5366 §4).
const DISPOSITION: &str = "recipient-list";

/// The most entries that are read.
const ENTRIES: usize = 200;
/// How deep lists may lie in lists.
const DEPTH: usize = 8;
/// The longest name that is kept, in bytes.
const NAME: usize = 1_024;

/// A list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// The entries, in the document's order.
    pub entries: Vec<Entry>,
    /// How many more there were: no SIP addresses, elsewhere, or too many.
    pub left_out: usize,
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The address.
    pub target: SipAddress,
    /// The name (`display-name`).
    pub name: Option<String>,
    /// Who else may know.
    pub copy: Copy,
    /// That it was asked may be known, who it is may not.
    pub anonymous: bool,
}

/// Who may know that somebody was asked too (RFC 5364 §4.1). What is not said is the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Copy {
    /// All, it is meant.
    To,
    /// All.
    Cc,
    /// Nobody.
    #[default]
    Bcc,
}

/// Reads a list.
pub fn parse(bytes: &[u8]) -> Result<List, DocumentError> {
    let document = xml::tree(xml::text(bytes)?, "resource-lists", NS)?;
    let mut list = List::default();
    let mut places = BTreeMap::new();
    for node in children(document.root_element(), NS, "list") {
        read(node, DEPTH, &mut list, &mut places);
    }
    Ok(list)
}

/// The list of people to invite in a body whose Content-Type has this value: among the parts of a multipart body, or alone.
/// Nothing where there is none.
pub fn in_body(content_type: &str, body: &[u8]) -> Option<Result<List, DocumentError>> {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case(TYPE) {
        return Some(parse(body));
    }
    let (main, sub) = TYPE.split_once('/').unwrap_or_default();
    let is_list = |part: &&Part| {
        let is_asked = part.disposition.as_deref().is_none_or(|disposition| disposition == DISPOSITION);
        part.media.is(main, sub) && is_asked
    };
    let parts = mime::parts(content_type, body)?;
    match &parts.iter().find(is_list)?.inside {
        Inside::Bytes(bytes) => Some(parse(bytes)),
        Inside::Parts(_) | Inside::Unreadable => Some(Err(DocumentError::Encoding("in a strange encoding"))),
    }
}

fn read(list: Node<'_, '_>, depth: usize, found: &mut List, places: &mut BTreeMap<SipAddress, usize>) {
    for node in list.children().filter(Node::is_element) {
        match node.tag_name().name() {
            _ if node.tag_name().namespace() != Some(NS) => {}
            "list" if depth > 0 => read(node, depth - 1, found, places),
            "list" | "entry-ref" | "external" => found.left_out += 1,
            "entry" => match entry(node) {
                None => found.left_out += 1,
                Some(entry) => match places.get(&entry.target) {
                    Some(place) => {
                        let known = &mut found.entries[*place];
                        known.copy = known.copy.min(entry.copy);
                        known.anonymous |= entry.anonymous;
                    }
                    None if found.entries.len() >= ENTRIES => found.left_out += 1,
                    None => {
                        places.insert(entry.target.clone(), found.entries.len());
                        found.entries.push(entry);
                    }
                },
            },
            _ => {}
        }
    }
}

fn entry(node: Node<'_, '_>) -> Option<Entry> {
    let copy = match node.attribute((COPY, "copyControl")).unwrap_or_default().trim() {
        "to" => Copy::To,
        "cc" => Copy::Cc,
        _ => Copy::Bcc,
    };
    let name = children(node, NS, "display-name").map(inner).next();
    Some(Entry {
        target: super::pidf::repair(node.attribute("uri")?)?,
        name: name.filter(|name| !name.is_empty() && name.len() <= NAME),
        copy,
        anonymous: matches!(node.attribute((COPY, "anonymize")).map(str::trim), Some("true" | "1")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn document(inside: &str) -> String {
        format!(
            "<?xml version='1.0'?><resource-lists xmlns='{NS}' xmlns:cp='{COPY}' xmlns:x='urn:x'>{inside}</resource-lists>"
        )
    }

    fn read(inside: &str) -> List {
        parse(document(inside).as_bytes()).expect("a list")
    }

    fn texts(list: &List) -> Vec<String> {
        list.entries.iter().map(|entry| entry.target.to_string()).collect()
    }

    #[test]
    fn entries_have_their_name_and_who_may_know() {
        let list = read(
            "<list><entry uri='sip:bill@example.com' cp:copyControl='to'><display-name>Bill D</display-name></entry>\
             <entry uri='sip:joe@example.org;method=BYE?Subject=x' cp:copyControl='cc' cp:anonymize='true'/>\
             <entry uri='sip:ted@example.net'/></list>",
        );
        let entry = |target: &str, name: Option<&str>, copy, anonymous| Entry {
            target: SipAddress::parse(target).expect("an address"),
            name: name.map(str::to_owned),
            copy,
            anonymous,
        };
        let expected = [
            entry("sip:bill@example.com", Some("Bill D"), Copy::To, false),
            entry("sip:joe@example.org", None, Copy::Cc, true),
            entry("sip:ted@example.net", None, Copy::Bcc, false),
        ];
        assert_eq!(list, List { entries: expected.into(), left_out: 0 });
    }

    #[test]
    fn lists_in_lists_are_one_and_an_address_is_there_once() {
        let list = read(
            "<list name='a'><entry uri='sip:a@b'/><list><entry uri='sip:c@d'/><entry uri='sip:a@b' cp:copyControl='to'/>\
             <entry-ref ref='x'/></list><external anchor='http://x'/><entry uri='tel:+1'/><entry/><x:entry uri='sip:no@b'/>\
             </list><list><entry uri='c%40d'/></list>",
        );
        assert_eq!((texts(&list), list.left_out), (vec!["sip:a@b".to_owned(), "sip:c@d".into()], 4));
        assert_eq!(list.entries[0].copy, Copy::To);
        let deep = format!("{}<entry uri='sip:a@b'/>{}", "<list>".repeat(20), "</list>".repeat(20));
        assert_eq!(read(&deep), List { entries: vec![], left_out: 1 });
    }

    #[test]
    fn more_than_can_be_meant_is_left_out() {
        let many: String = (0..250).map(|number| format!("<entry uri='sip:u{number}@b'/>")).collect();
        let list = read(&format!("<list>{many}</list>"));
        assert_eq!((list.entries.len(), list.left_out), (200, 50));
        assert!(parse(b"<!DOCTYPE x [<!ENTITY a 'b'>]><resource-lists/>").is_err());
        assert!(parse(b"<list/>").is_err());
    }

    #[test]
    fn the_list_is_found_beside_the_description_and_a_history_is_not_taken_for_one() {
        let body = |disposition: &str| {
            format!(
                "--b1\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n\r\n--b1\r\nContent-Type: {TYPE}\r\n{disposition}\r\n{}\r\n--b1--",
                document("<list><entry uri='sip:a@b'/></list>")
            )
        };
        let found = |disposition| in_body("multipart/mixed;boundary=\"b1\"", body(disposition).as_bytes());
        for disposition in [
            "Content-Disposition: recipient-list\r\n",
            "",
            "Content-Disposition: Recipient-List; handling=required\r\n",
        ] {
            assert_eq!(
                found(disposition).map(|list| list.map(|list| texts(&list))),
                Some(Ok(vec!["sip:a@b".to_owned()])),
                "{disposition}"
            );
        }
        assert_eq!(found("Content-Disposition: recipient-list-history; handling=optional\r\n"), None);
        assert_eq!(in_body("application/sdp", b"v=0"), None);
        assert!(in_body(TYPE, b"nonsense").is_some_and(|list| list.is_err()));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(pieces in prop::collection::vec(prop::sample::select(vec![
            "<list>", "</list>", "<entry uri='sip:a@b'/>", "<entry uri='%'>", "</entry>", "<display-name>x</display-name>",
            "<entry-ref/>", "&lt;",
        ]), 0..20), bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = parse(document(&pieces.concat()).as_bytes());
            let _ = (parse(&bytes), in_body("multipart/mixed; boundary=b1", &bytes));
        }
    }
}
