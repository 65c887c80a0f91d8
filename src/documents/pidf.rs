//! Presence documents: PIDF (RFC 3863) with what RFC 4479 and RFC 4480 add, and the `<show/>` of RFC 8048 §6.2.
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
/// The namespace of what a service can do (RFC 5196).
const CAPS: &str = "urn:ietf:params:xml:ns:pidf:caps";
/// The namespace of `<show/>`, by RFC 8048 §6.2.
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
    /// Whether it takes messages in sessions: `<message/>` of RFC 5196 §3.2, or the tag of RFC 4569 behind its address.
    /// Read, not written.
    pub sessions: Option<bool>,
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
    if pidf.persons.iter().any(|person| person.rpid.is_written())
        || pidf.tuples.iter().any(|tuple| tuple.rpid.is_written())
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

/// The id of the tuple that stands for a resource (RFC 8048 §6.2): `ID-` and the resource where that is an xs:ID, else
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

/// The contact's priority of an XMPP priority (RFC 8048 §6.2): floor(p·1000/127) thousandths; a negative one has none.
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
        tuple.sessions = tag_for_sessions(&text);
        let uri = text.strip_prefix('<').and_then(|rest| rest.split_once('>')).map_or(&*text, |(uri, _)| uri);
        tuple.contact = Some(repair(uri).map_or_else(|| Contact::Other(text.clone()), Contact::Sip));
    }
    for caps in children(node, CAPS, "servcaps") {
        let told = children(caps, CAPS, "message").find_map(truth);
        tuple.sessions = told.or(tuple.sessions);
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

/// An xs:boolean.
fn truth(node: Node<'_, '_>) -> Option<bool> {
    match inner(node).to_ascii_lowercase().as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// What a Contact of SIP says of sessions (RFC 3840 §9, RFC 4569), where a client has copied one into its document.
fn tag_for_sessions(contact: &str) -> Option<bool> {
    contact.split(';').skip(1).find_map(|param| {
        let (name, value) = param.split_once('=').unwrap_or((param, "TRUE"));
        let is_tag = ["message", "+sip.message"].iter().any(|tag| name.trim().eq_ignore_ascii_case(tag));
        is_tag.then(|| !value.trim().trim_matches(['"', '>']).eq_ignore_ascii_case("FALSE"))
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(inside: &str) -> Pidf {
        let text = format!(
            "\u{feff}<?xml version='1.0'?>\n<!-- a comment --><presence xmlns='{PIDF}' xmlns:dm='{DATA_MODEL}' \
             xmlns:rpid='{RPID}' xmlns:x='urn:example:x' entity='pres:bob@sip.lab'>{inside}</presence>\n"
        );
        parse(text.as_bytes()).expect("a document")
    }

    fn sip(text: &str) -> SipAddress {
        SipAddress::parse(text).expect("an address")
    }

    fn words_of(lang: Option<&str>, text: &str) -> Words {
        Words { lang: lang.map(str::to_owned), text: text.into() }
    }

    #[test]
    fn every_part_of_a_tuple_is_read() {
        let found = read(
            "<tuple id='t1'><status><basic> open </basic><show xmlns='jabber:client'>away</show></status>\
             <contact priority='0.8'>sip:bob@sip.lab;gr=desk</contact><note xml:lang='en'>back <!-- x -->at two</note>\
             <note>zpět</note><timestamp>2026-11-20T10:34:56Z</timestamp></tuple>",
        );
        let expected = Tuple {
            id: "t1".into(),
            open: Some(true),
            show: Some(Show::Away),
            contact: Some(Contact::Sip(sip("sip:bob@sip.lab;gr=desk"))),
            priority: Some(800),
            notes: vec![words_of(Some("en"), "back at two"), words_of(None, "zpět")],
            timestamp: Some(Wall(1_795_170_896_000)),
            ..Tuple::default()
        };
        assert_eq!(found.tuples, [expected]);
        assert_eq!(found.entity, Some(sip("sip:bob@sip.lab")));
    }

    #[test]
    fn basic_is_read_and_other_words_in_a_status_are_not() {
        let found = read(
            "<tuple id='a'><status><x:extended>available</x:extended><basic>closed</basic></status></tuple>\
             <tuple id='b'><status><x:online/><basic>OPEN</basic></status></tuple>\
             <tuple id='c'><status><x:basic>open</x:basic></status></tuple>\
             <tuple id='d'><status><basic>maybe</basic></status></tuple><tuple/>",
        );
        let open: Vec<_> = found.tuples.iter().map(|tuple| tuple.open).collect();
        assert_eq!(open, [Some(false), Some(true), None, None, None]);
    }

    #[test]
    fn what_takes_sessions_says_so() {
        let caps = |inside: &str| {
            format!(
                "<tuple id='t'><c:servcaps xmlns:c='{CAPS}'>{inside}</c:servcaps><contact>sip:b@a</contact></tuple>"
            )
        };
        let contact = |text: &str| format!("<tuple id='t'><contact>{text}</contact></tuple>");
        for (tuple, expected) in [
            (caps("<c:audio>true</c:audio><c:message>true</c:message>"), Some(true)),
            (caps("<c:message> 0 </c:message>"), Some(false)),
            (caps("<c:message>perhaps</c:message>"), None),
            (caps("<c:audio>true</c:audio>"), None),
            (contact("&lt;sip:bob@sip.lab;gr=x&gt;;audio;+sip.message"), Some(true)),
            (contact("sip:bob@sip.lab;message=&quot;FALSE&quot;"), Some(false)),
            (contact("sip:bob@sip.lab;gr=message"), None),
        ] {
            assert_eq!(read(&tuple).tuples[0].sessions, expected, "{tuple}");
        }
    }

    #[test]
    fn order_and_number_do_not_matter() {
        let found = read(
            "<dm:device id='d'><dm:note>Powered by x</dm:note></dm:device>\
             <dm:person id='p1'/><note>on the whole</note>\
             <tuple id='t'><timestamp>2026-11-20T10:34:56Z</timestamp><contact>tel:+1</contact>\
               <status><basic>open</basic></status></tuple>\
             <dm:person id='p2'><rpid:activities><rpid:note xml:lang='en'>deep in é</rpid:note><rpid:appointment/>\
               <rpid:other>gym</rpid:other></rpid:activities><rpid:mood><rpid:happy/></rpid:mood>\
               <rpid:place-type><x:home/></rpid:place-type><rpid:user-input idle-threshold='5'>idle</rpid:user-input>\
               <dm:note>me</dm:note><timestamp>2026-11-20T10:34:56Z</timestamp></dm:person>",
        );
        assert_eq!(found.notes, [words_of(None, "on the whole")]);
        assert_eq!(found.tuples[0].contact, Some(Contact::Other("tel:+1".into())));
        let other = Told { name: "other".into(), text: Some("gym".into()) };
        let rpid = Rpid {
            activities: vec![Told::new("appointment"), other],
            moods: vec![Told::new("happy")],
            places: vec![Told::new("home")],
            notes: vec![words_of(Some("en"), "deep in é")],
            idle: Some(true),
        };
        let person = Person {
            id: "p2".into(),
            rpid,
            notes: vec![words_of(None, "me")],
            timestamp: Some(Wall(1_795_170_896_000)),
        };
        assert_eq!(found.persons, [Person { id: "p1".into(), ..Person::default() }, person]);
    }

    #[test]
    fn an_extension_with_a_part_that_must_be_understood_and_is_not_counts_for_nothing() {
        let found = read(
            "<tuple id='t'><status><basic>open</basic><x:ext mustUnderstand='1'/></status>\
             <rpid:activities><rpid:busy/><x:ext mustUnderstand='true'/></rpid:activities>\
             <rpid:mood><rpid:sad mustUnderstand='true'/></rpid:mood></tuple>",
        );
        assert_eq!(found.tuples[0].open, Some(true));
        assert_eq!(found.tuples[0].rpid.activities, []);
        assert_eq!(found.tuples[0].rpid.moods, [Told::new("sad")]);
    }

    #[test]
    fn the_language_of_a_note_may_be_that_of_what_is_around_it() {
        let found = read("<tuple id='t' xml:lang='cs'><note>ahoj</note><note xml:lang=''>x</note></tuple>");
        assert_eq!(found.tuples[0].notes, [words_of(Some("cs"), "ahoj"), words_of(None, "x")]);
    }

    #[test]
    fn broken_addresses_are_repaired_and_others_are_none() {
        for (text, address) in [
            ("bob%40sip.lab", "sip:bob@sip.lab"),
            ("bob@sip.lab", "sip:bob@sip.lab"),
            ("sip:bob%40sip.lab", "sip:bob@sip.lab"),
            ("sip%3Abob%40sip.lab%3Bgr%3Durn%3Auuid%3A64bf", "sip:bob@sip.lab;gr=urn:uuid:64bf"),
            (" <SIP:bob@sip.lab> ", "sip:bob@sip.lab"),
            ("sips:bob@sip.lab", "sip:bob@sip.lab"),
            ("im:bob@sip.lab", "sip:bob@sip.lab"),
            ("sip:j%40corp@sip.lab", "sip:j%40corp@sip.lab"),
            ("sip%3Aj%2540corp%40sip.lab", "sip:j%40corp@sip.lab"),
            ("bob@sip.lab:5070", "sip:bob@sip.lab"),
        ] {
            assert_eq!(repair(text), Some(sip(address)), "{text}");
        }
        for text in
            ["", "bob", "tel:+14155550101", "mailto:bob@sip.lab", "%", "http://sip.lab/bob%40x", "bob@"]
        {
            assert_eq!(repair(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_presence_document_is_refused_with_the_reason() {
        let reason = |bytes: &[u8]| parse(bytes).expect_err("a refusal").to_string();
        assert!(reason(&vec![b' '; 1024 * 1024]).starts_with("the document has 1048576 bytes"));
        assert_eq!(reason(b"\xff\xfe<\0"), "the document is UTF-16, not UTF-8");
        assert_eq!(reason(b"<a>\xe9</a>"), "the document is in another charset, not UTF-8");
        assert!(reason(b"<!DOCTYPE presence [<!ENTITY a 'a'>]><presence/>").contains("DTD"));
        assert_eq!(reason(b"<presence/>"), "the document is <presence/>");
        assert_eq!(reason(b"<list xmlns='urn:x'/>"), "the document is <list xmlns='urn:x'/>");
        assert!(reason(b"<presence xmlns='urn:ietf:params:xml:ns:pidf'>").contains("not well-formed"));
        assert!(reason("<a>".repeat(20_000).as_bytes()).contains("not well-formed"));
        assert!(reason(b"").contains("not well-formed"));
    }

    #[test]
    fn a_document_is_written_in_the_order_of_the_schema_and_read_again() {
        let rpid = Rpid { activities: vec![Told::new("away")], idle: Some(true), ..Rpid::default() };
        let pidf = Pidf {
            entity: Some(sip("sip:o'hara@example.com")),
            tuples: vec![Tuple {
                id: tuple_id("a"),
                open: Some(true),
                show: Some(Show::Xa),
                contact: Some(Contact::Sip(sip("sip:o'hara@example.com;gr=a"))),
                priority: Some(7),
                notes: vec![words_of(Some("en"), "<&> \"gone\"\u{1}")],
                rpid: Rpid { idle: Some(true), ..Rpid::default() },
                sessions: None,
                timestamp: Some(Wall(1_795_170_896_000)),
            }],
            persons: vec![Person {
                id: "P1".into(),
                rpid,
                notes: vec![],
                timestamp: Some(Wall(1_795_170_896_000)),
            }],
            notes: vec![],
        };
        let bytes = write(&pidf);
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
            <presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"pres:o&apos;hara@example.com\" \
            xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\">\
            <tuple id=\"ID-a\"><status><basic>open</basic><show xmlns=\"jabber:client\">xa</show></status>\
            <rpid:user-input>idle</rpid:user-input>\
            <contact priority=\"0.007\">sip:o&apos;hara@example.com;gr=a</contact>\
            <note xml:lang=\"en\">&lt;&amp;&gt; &quot;gone&quot;\u{fffd}</note>\
            <timestamp>2026-11-20T10:34:56Z</timestamp></tuple>\
            <dm:person id=\"P1\"><rpid:activities><rpid:away/></rpid:activities>\
            <rpid:user-input>idle</rpid:user-input><dm:timestamp>2026-11-20T10:34:56Z</dm:timestamp></dm:person>\
            </presence>";
        assert_eq!(String::from_utf8_lossy(&bytes), expected);
        let mut again = pidf;
        again.tuples[0].notes = vec![words_of(Some("en"), "<&> \"gone\"\u{fffd}")];
        assert_eq!(parse(&bytes), Ok(again));
    }

    #[test]
    fn priorities_are_three_digits_that_come_back() {
        for (priority, written) in [(0, "0"), (1, "0.007"), (2, "0.015"), (126, "0.992"), (127, "1")] {
            assert_eq!(priority_of(priority).map(thousandths).as_deref(), Some(written));
        }
        for priority in 0..=127 {
            assert_eq!(priority_from(priority_of(priority)), priority);
        }
        assert_eq!(priority_of(-5), None);
        for (text, value) in
            [("0.8", Some(800)), ("1.000", Some(1000)), (".5", Some(500)), ("0.12345", Some(123))]
        {
            assert_eq!(read_priority(text), value, "{text}");
        }
        for text in ["1.001", "2", "-0.5", "high", "", "0.é", "0.8é9"] {
            assert_eq!(read_priority(text).filter(|_| !text.is_empty()), None, "{text}");
        }
    }

    #[test]
    fn a_tuple_id_is_a_name_and_always_the_same() {
        assert_eq!(tuple_id("yn0cl4bnw0yr3vym"), "ID-yn0cl4bnw0yr3vym");
        assert_eq!(tuple_id("2nd.phone_é-王"), "ID-2nd.phone_é-王");
        for resource in ["my phone", "a/b", "x@y", "a:b", "☎"] {
            let id = tuple_id(resource);
            assert!(id.starts_with("H-") && id.len() == 18, "{id}");
            assert_eq!(id, tuple_id(resource));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), text in ".*") {
            let _ = (parse(&bytes), parse(text.as_bytes()), repair(&text), read_priority(&text));
        }

        #[test]
        fn no_document_makes_it_panic(pieces in prop::collection::vec(prop::sample::select(vec![
            "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='%'>", "</presence>", "<tuple id='a'>", "</tuple>",
            "<status>", "</status>", "<basic>", "</basic>", "open", "<contact priority='é.1'>", "</contact>", "%4", "<!--",
            "-->", "<![CDATA[", "]]>", "&amp;", "&#0;", "<note xml:lang='x'>", "</note>",
        ]), 0..40)) {
            let _ = parse(pieces.concat().as_bytes());
        }

        #[test]
        fn any_note_and_any_resource_are_written_as_xml(text in ".*", resource in ".*") {
            let note = words_of(Some("en"), &text);
            let tuple = Tuple { id: tuple_id(&resource), notes: vec![note], ..Tuple::default() };
            let found = parse(&write(&Pidf { tuples: vec![tuple], ..Pidf::default() }));
            prop_assert!(found.is_ok(), "{:?}", found);
        }
    }
}
