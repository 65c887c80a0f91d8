//! Presence documents: PIDF (RFC 3863) with what RFC 4479 and RFC 4480 add, and the `<show/>` of RFC 8048 §6.
//!
//! Read tolerantly: elements in any order and number, extensions that are not known, addresses that lost their scheme
//! or were escaped whole. `basic` is the word on whether a tuple is open; no extension overrules it. A document is
//! full state (RFC 3856 §6.7); partial documents (RFC 5262) are not read.

use roxmltree::Node;
use sha1::{Digest, Sha1};

use super::date;
pub use super::rpid::{DATA_MODEL, Person, RPID, Rpid, Told};
pub use super::xml::DocumentError;
use super::xml::{self, XmlWriter, children, inner, words};
use crate::sip::uri::SipAddress;
pub use crate::words::availability::{Show, Words};
use crate::words::time::Wall;

/// The media type.
pub const TYPE: &str = "application/pidf+xml";
/// The namespace of RFC 3863.
pub const PIDF: &str = "urn:ietf:params:xml:ns:pidf";
/// The namespace of `<show/>`, by RFC 8048 §6.
const SHOW: &str = "jabber:client";

/// A presence document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pidf {
    /// Whose presence it is, if that can be read as an address.
    pub entity: Option<SipAddress>,
    /// The services, in the document's order.
    pub tuples: Vec<Tuple>,
    /// The persons. There should be one; a presence server that merges publishers may leave several.
    pub persons: Vec<Person>,
    /// Notes on the whole.
    pub notes: Vec<Words>,
}

/// One service: here one device that can be sent messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tuple {
    /// Unique in the document; many clients draw a new one for each document.
    pub id: String,
    /// `basic`; nothing when it is missing or neither open nor closed.
    pub open: Option<bool>,
    /// `<show xmlns='jabber:client'/>`.
    pub show: Option<Show>,
    /// Where messages go.
    pub contact: Option<Contact>,
    /// The contact's priority in thousandths, 0 to 1000.
    pub priority: Option<u16>,
    /// Notes on this service.
    pub notes: Vec<Words>,
    /// Rich presence in the tuple or its status.
    pub rpid: Rpid,
    /// When it became so.
    pub timestamp: Option<Wall>,
}

/// The address of a tuple's contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contact {
    /// A SIP address, repaired where that was needed.
    Sip(SipAddress),
    /// Any other URI, as it was written.
    Other(String),
}

impl Contact {
    /// The SIP address, if it is one.
    pub fn sip(&self) -> Option<&SipAddress> {
        match self {
            Contact::Sip(address) => Some(address),
            Contact::Other(_) => None,
        }
    }
}

/// Reads a document.
pub fn parse(bytes: &[u8]) -> Result<Pidf, DocumentError> {
    let document = xml::tree(xml::text(bytes)?, "presence", PIDF)?;
    let root = document.root_element();
    Ok(Pidf {
        entity: root.attribute("entity").and_then(repair),
        tuples: children(root, PIDF, "tuple").map(tuple).collect(),
        persons: children(root, DATA_MODEL, "person").map(Person::read).collect(),
        notes: children(root, PIDF, "note").filter_map(words).collect(),
    })
}

/// Writes a document.
pub fn write(pidf: &Pidf) -> Vec<u8> {
    let mut out = XmlWriter::new();
    let entity = pidf.entity.as_ref().map(|entity| entity.aor.to_pres()).unwrap_or_default();
    let mut attrs = vec![("xmlns", PIDF), ("entity", &entity)];
    if !pidf.persons.is_empty() {
        attrs.push(("xmlns:dm", DATA_MODEL));
    }
    if pidf.persons.iter().any(|person| !person.rpid.is_empty())
        || pidf.tuples.iter().any(|tuple| !tuple.rpid.is_empty())
    {
        attrs.push(("xmlns:rpid", RPID));
    }
    out.element("presence", &attrs, |out| {
        pidf.tuples.iter().for_each(|tuple| tuple.write(out));
        pidf.notes.iter().for_each(|note| out.words("note", note));
        pidf.persons.iter().for_each(|person| person.write(out));
    });
    out.finish()
}

impl Tuple {
    /// The children in the order that the schema fixes: status, extensions, contact, notes, timestamp.
    fn write(&self, out: &mut XmlWriter) {
        out.element("tuple", &[("id", &self.id)], |out| {
            out.element("status", &[], |out| {
                if let Some(open) = self.open {
                    out.text("basic", &[], if open { "open" } else { "closed" });
                }
                if let Some(show) = self.show {
                    out.text("show", &[("xmlns", SHOW)], show.as_str());
                }
            });
            self.rpid.write(out);
            if let Some(contact) = &self.contact {
                let uri = match contact {
                    Contact::Sip(address) => address.to_string(),
                    Contact::Other(uri) => uri.clone(),
                };
                match self.priority {
                    Some(priority) => out.text("contact", &[("priority", &thousandths(priority))], &uri),
                    None => out.text("contact", &[], &uri),
                }
            }
            self.notes.iter().for_each(|note| out.words("note", note));
            if let Some(at) = self.timestamp {
                out.text("timestamp", &[], &date::write_rfc3339(at));
            }
        });
    }
}

/// The id of the tuple that stands for a resource (RFC 8048 §6): `ID-` and the resource where that is an xs:ID, else
/// a hash that is always the same.
pub fn tuple_id(resource: &str) -> String {
    if resource.chars().all(may_stand_in_name) {
        return format!("ID-{resource}");
    }
    format!("H-{}", short_hash(resource, 8))
}

/// The first `bytes` bytes of SHA-1 in hexadecimal: a name that is always the same, not a secret.
pub fn short_hash(text: &str, bytes: usize) -> String {
    Sha1::digest(text.as_bytes()).iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

/// The contact's priority of an XMPP priority (RFC 8048 §6): floor(p·1000/127) thousandths; a negative one has none.
pub fn priority_of(priority: i8) -> Option<u16> {
    u16::try_from(priority).ok().map(|priority| (u32::from(priority) * 1000 / 127) as u16)
}

/// The way back: ceil(q·127); a contact without priority has the lowest that receives messages.
pub fn priority_from(priority: Option<u16>) -> i8 {
    (u32::from(priority.unwrap_or(0).min(1000)) * 127).div_ceil(1000) as i8
}

/// Reads an address that may have lost its scheme, or have been escaped whole: `bob%40sip.lab`,
/// `sip%3Abob%40sip.lab%3Bgr%3D…`. Nothing for what is no SIP, IM or PRES address even so.
pub fn repair(text: &str) -> Option<SipAddress> {
    let text = text.trim().trim_start_matches('<').trim_end_matches('>');
    let direct = with_scheme(text).filter(|address| address.aor.user.is_some() || !text.contains("%40"));
    direct.or_else(|| with_scheme(&unescape(text)?))
}

fn with_scheme(text: &str) -> Option<SipAddress> {
    match text.split_once(':') {
        Some((scheme, _)) if !scheme.contains(['@', '[', '%']) => {
            let known = ["sip", "sips", "im", "pres"].iter().any(|known| known.eq_ignore_ascii_case(scheme));
            if known { SipAddress::parse(text).ok() } else { None }
        }
        // Without a scheme only `user@host` can be told from any other word.
        _ if text.contains('@') => SipAddress::parse(&format!("sip:{text}")).ok(),
        _ => None,
    }
}

fn unescape(text: &str) -> Option<String> {
    text.contains('%').then(|| crate::sip::uri::unescape(text.as_bytes()).ok()).flatten()
}

fn tuple(node: Node<'_, '_>) -> Tuple {
    let mut tuple =
        Tuple { id: node.attribute("id").unwrap_or_default().trim().to_owned(), ..Tuple::default() };
    for status in children(node, PIDF, "status") {
        tuple.open = tuple.open.or_else(|| children(status, PIDF, "basic").find_map(basic));
        tuple.show =
            tuple.show.or_else(|| children(status, SHOW, "show").find_map(|show| Show::parse(&inner(show))));
        tuple.rpid.read(status);
    }
    tuple.rpid.read(node);
    if let Some(contact) = children(node, PIDF, "contact").find(|contact| !inner(*contact).is_empty()) {
        let text = inner(contact);
        tuple.priority = contact.attribute("priority").and_then(read_priority);
        tuple.contact = Some(repair(&text).map_or(Contact::Other(text), Contact::Sip));
    }
    tuple.notes = children(node, PIDF, "note").filter_map(words).collect();
    tuple.timestamp = children(node, PIDF, "timestamp").find_map(|stamp| date::read_rfc3339(&inner(stamp)));
    tuple
}

fn basic(node: Node<'_, '_>) -> Option<bool> {
    match inner(node).to_ascii_lowercase().as_str() {
        "open" => Some(true),
        "closed" => Some(false),
        _ => None,
    }
}

/// False for an extension with a part inside that must be understood and is not: then the whole extension is as if it
/// were not there (RFC 3863 §4.2.3).
pub(super) fn understood(extension: Node<'_, '_>) -> bool {
    extension.descendants().skip(1).filter(Node::is_element).all(|part| {
        let must = part.attribute((PIDF, "mustUnderstand")).or_else(|| part.attribute("mustUnderstand"));
        !matches!(must, Some("true" | "1")) || part.tag_name().namespace() == Some(RPID)
    })
}

/// A decimal from 0 to 1; more than three digits are cut, what is out of range is ignored (RFC 3863 §4.1.5).
fn read_priority(text: &str) -> Option<u16> {
    let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let whole: u16 = if whole.is_empty() { 0 } else { whole.parse().ok().filter(|whole| *whole <= 1)? };
    if !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let thousandths = format!("{:0<3}", fraction).get(..3)?.parse::<u16>().ok()?;
    Some(whole * 1000 + thousandths).filter(|value| *value <= 1000)
}

fn thousandths(value: u16) -> String {
    let (whole, rest) = (value / 1000, value % 1000);
    if rest == 0 { whole.to_string() } else { format!("{whole}.{rest:03}").trim_end_matches('0').to_owned() }
}

/// NameChar of XML without the colon: what may follow the first character of an xs:ID.
fn may_stand_in_name(c: char) -> bool {
    matches!(c, '-' | '.' | '_' | '0'..='9' | 'A'..='Z' | 'a'..='z' | '\u{b7}' | '\u{c0}'..='\u{d6}'
        | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{37d}' | '\u{37f}'..='\u{1fff}' | '\u{200c}'..='\u{200d}'
        | '\u{203f}'..='\u{2040}' | '\u{2070}'..='\u{218f}' | '\u{2c00}'..='\u{2fef}' | '\u{3001}'..='\u{d7ff}'
        | '\u{f900}'..='\u{fdcf}' | '\u{fdf0}'..='\u{fffd}' | '\u{10000}'..='\u{effff}')
}
