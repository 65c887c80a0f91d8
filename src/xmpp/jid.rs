//! JIDs (RFC 7622): `local@domain/resource`, each part prepared and at most 1,023 bytes.
//!
//! The localpart is prepared with UsernameCaseMapped, the resource with OpaqueString (PRECIS, RFC 8265), the domain by
//! IDNA to U-labels in lower case. Emoji and other characters that PRECIS would refuse in a *resource* that comes from
//! an XMPP server are kept: the server has let them in, and an answer must go back to exactly that resource
//! (`docs/decisions/lenient-jids.md`).
//!
//! Several addresses are read for each message, so an address of plain, already prepared ASCII is recognised first and
//! copied as it stands; the Unicode tables are only asked about the rest.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;

use precis_profiles::precis_core::profile::PrecisFastInvocation;
use precis_profiles::precis_core::{Error as Precis, UnexpectedError};
use precis_profiles::{OpaqueString, UsernameCaseMapped};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a string is no JID: which part, and which character or rule. Reads as a reason for the sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JidError(pub String);

impl fmt::Display for JidError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for JidError {}

/// A prepared JID. Two JIDs are equal when their prepared forms are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Jid {
    /// The whole address; the parts are slices of it.
    text: Box<str>,
    /// Length of the localpart; zero when there is none.
    local: u16,
    /// Length of the domain.
    domain: u16,
}

impl Jid {
    /// Splits at the first `/`, then at the first `@` before it, and prepares the parts (RFC 7622 §3).
    pub fn parse(text: &str) -> Result<Jid, JidError> {
        let (bare, resource) = match text.split_once('/') {
            Some((bare, resource)) => (bare, Some(resource)),
            None => (text, None),
        };
        let (local, domain) = match bare.split_once('@') {
            Some((local, domain)) => (Some(local), domain),
            None => (None, bare),
        };
        Jid::new(local, domain, resource)
    }

    /// A JID of these parts, each prepared here.
    pub fn new(local: Option<&str>, domain: &str, resource: Option<&str>) -> Result<Jid, JidError> {
        let local = local.map(prepare_local).transpose()?.unwrap_or_default();
        let domain = prepare_domain(domain)?;
        let resource = resource.map(prepare_resource).transpose()?;
        let mut text = String::with_capacity(
            local.len() + 1 + domain.len() + resource.as_ref().map_or(0, |resource| 1 + resource.len()),
        );
        if !local.is_empty() {
            text.push_str(&local);
            text.push('@');
        }
        text.push_str(&domain);
        if let Some(resource) = resource {
            text.push('/');
            text.push_str(&resource);
        }
        Ok(Jid { text: text.into_boxed_str(), local: local.len() as u16, domain: domain.len() as u16 })
    }

    /// The localpart, still in its XEP-0106 escaped form.
    pub fn local(&self) -> Option<&str> {
        (self.local > 0).then(|| &self.text[..self.local as usize])
    }

    /// The domain in U-labels, or a bracketed IPv6 address.
    pub fn domain(&self) -> &str {
        let start = self.domain_start();
        &self.text[start..start + self.domain as usize]
    }

    /// The resource.
    pub fn resource(&self) -> Option<&str> {
        let end = self.bare_length();
        (self.text.len() > end).then(|| &self.text[end + 1..])
    }

    /// The address without its resource.
    pub fn bare(&self) -> Jid {
        Jid { text: self.text[..self.bare_length()].into(), local: self.local, domain: self.domain }
    }

    /// The same person's `resource`.
    pub fn with_resource(&self, resource: &str) -> Result<Jid, JidError> {
        let resource = prepare_resource(resource)?;
        let text = [self.bare_str(), "/", &resource].concat().into_boxed_str();
        Ok(Jid { text, local: self.local, domain: self.domain })
    }

    /// True when there is no resource.
    pub fn is_bare(&self) -> bool {
        self.text.len() == self.bare_length()
    }

    /// The whole address.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text of the bare address, without a copy.
    pub fn bare_str(&self) -> &str {
        &self.text[..self.bare_length()]
    }

    fn domain_start(&self) -> usize {
        if self.local > 0 { self.local as usize + 1 } else { 0 }
    }

    fn bare_length(&self) -> usize {
        self.domain_start() + self.domain as usize
    }
}

impl fmt::Display for Jid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl Serialize for Jid {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Jid {
    fn deserialize<D: Deserializer<'de>>(text: D) -> Result<Jid, D::Error> {
        text.deserialize_str(FromText)
    }
}

/// Parses a text where it stands.
struct FromText;

impl Visitor<'_> for FromText {
    type Value = Jid;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JID")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Jid, E> {
        Jid::parse(text).map_err(E::custom)
    }
}

impl From<Jid> for String {
    fn from(jid: Jid) -> String {
        jid.text.into()
    }
}

/// RFC 7622 §3: each part is at most 1,023 bytes.
const PART_LIMIT: usize = 1023;

/// RFC 7622 §3.3.1: what a localpart excludes beyond its PRECIS profile.
const EXCLUDED: [char; 8] = ['"', '&', '\'', '/', ':', '<', '>', '@'];

/// The bytes that stand in a prepared localpart as they are. Every address is looked at byte by byte, so this is a table.
static PLAIN_LOCAL: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        let excluded = matches!(byte, b'"' | b'&' | b'\'' | b'/' | b':' | b'<' | b'>' | b'@');
        plain[byte as usize] = byte.is_ascii_graphic() && !byte.is_ascii_uppercase() && !excluded;
        byte += 1;
    }
    plain
};

fn bounded<'a>(part: Cow<'a, str>, name: &str) -> Result<Cow<'a, str>, JidError> {
    match part.len() {
        0 => Err(JidError(format!("the {name} is empty"))),
        1..=PART_LIMIT => Ok(part),
        length => Err(JidError(format!("the {name} has {length} bytes, more than {PART_LIMIT}"))),
    }
}

fn forbidden(c: char, name: &str) -> JidError {
    JidError(format!("{} may not stand in a {name}", Shown(c)))
}

/// A character for a reader: itself where it can be seen, and its number.
struct Shown(char);

impl fmt::Display for Shown {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            '!'..='~' => write!(out, "'{}'", self.0),
            ' ' => out.write_str("a space"),
            c if c.is_control() || c.is_whitespace() => write!(out, "U+{:04X}", c as u32),
            c => write!(out, "'{c}' (U+{:04X})", c as u32),
        }
    }
}

fn prepare_local(local: &str) -> Result<Cow<'_, str>, JidError> {
    // Preparation shortens a text, but never to a quarter: what is longer than that is refused without it.
    if local.len() > 4 * PART_LIMIT || local.bytes().all(|byte| PLAIN_LOCAL[usize::from(byte)]) {
        return bounded(Cow::Borrowed(local), "localpart");
    }
    if let Some(bad) = local.chars().find(|c| EXCLUDED.contains(c)) {
        return Err(forbidden(bad, "localpart"));
    }
    let prepared = stable_local(local)?;
    // Compatibility mappings can bring an excluded character back: U+FF20 is a wide '@'.
    if let Some(bad) = prepared.chars().find(|c| EXCLUDED.contains(c)) {
        return Err(forbidden(bad, "localpart"));
    }
    bounded(Cow::Owned(prepared), "localpart")
}

/// Applies the profile until nothing changes any more, three times at most (RFC 8265 §5). A lower case letter can be
/// younger than the profile's tables, which then refuse what they have themselves made.
fn stable_local(local: &str) -> Result<String, JidError> {
    let mut prepared = enforce_local(local)?.into_owned();
    for _ in 0..3 {
        let again = enforce_local(&prepared)?;
        if again == prepared {
            return Ok(prepared);
        }
        prepared = again.into_owned();
    }
    Err(JidError("the localpart has no stable form".into()))
}

fn enforce_local(local: &str) -> Result<Cow<'_, str>, JidError> {
    UsernameCaseMapped::enforce(local).map_err(|error| match offender(&error) {
        Some(bad) => forbidden(bad, "localpart"),
        None => JidError("the localpart mixes writing directions in a way that cannot be read back".into()),
    })
}

/// The character that a PRECIS profile stumbled over.
fn offender(error: &Precis) -> Option<char> {
    match error {
        Precis::BadCodepoint(info)
        | Precis::Unexpected(UnexpectedError::ContextRuleNotApplicable(info))
        | Precis::Unexpected(UnexpectedError::MissingContextRule(info)) => char::from_u32(info.cp),
        _ => None,
    }
}

/// DNS: a label has at most 63 bytes, written in ASCII.
const LABEL_LIMIT: usize = 63;

fn prepare_domain(domain: &str) -> Result<Cow<'_, str>, JidError> {
    if let Some(address) = domain.strip_prefix('[') {
        let address = address
            .strip_suffix(']')
            .and_then(|inner| inner.parse::<Ipv6Addr>().ok())
            .ok_or_else(|| JidError(format!("{domain} is no IPv6 address")))?;
        return Ok(Cow::Owned(format!("[{address}]")));
    }
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    if is_plain_domain(domain) {
        return bounded(Cow::Borrowed(domain), "domain");
    }
    if let Some(bad) = domain.chars().find(|c| c.is_ascii() && !is_domain_byte(c.to_ascii_lowercase() as u8))
    {
        return Err(forbidden(bad, "domain"));
    }
    let bounded_domain = bounded(Cow::Borrowed(domain), "domain")?;
    let (unicode, outcome) = idna::domain_to_unicode(&bounded_domain);
    if outcome.is_err() {
        let alone =
            |c: &char| !c.is_ascii() && idna::domain_to_unicode(c.encode_utf8(&mut [0; 4])).1.is_err();
        return Err(match domain.chars().find(alone) {
            Some(bad) => forbidden(bad, "domain"),
            None => JidError(format!("{domain} is no domain name")),
        });
    }
    // IDNA maps some characters to a full stop, and some to ASCII that no domain has.
    let unicode = unicode.strip_suffix('.').map(str::to_owned).unwrap_or(unicode);
    let ascii =
        idna::domain_to_ascii(&unicode).map_err(|_| JidError(format!("{domain} is no domain name")))?;
    if let Some(bad) = ascii.bytes().find(|byte| !is_domain_byte(*byte)) {
        return Err(forbidden(char::from(bad), "domain"));
    }
    labels_fit(&ascii)?;
    bounded(Cow::Owned(unicode), "domain")
}

/// Letters, digits and hyphens; and the underscore, which some networks use although the host name rules do not.
fn is_domain_byte(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.')
}

/// True for labels in lower case ASCII that IDNA would leave as they are.
pub(crate) fn is_plain_domain(domain: &str) -> bool {
    let (mut label, mut hyphens, mut plain) = (0, 0, true);
    for byte in domain.bytes() {
        plain &= is_domain_byte(byte) && (byte != b'.' || (1..=LABEL_LIMIT).contains(&label));
        label = if byte == b'.' { 0 } else { label + 1 };
        hyphens += usize::from(byte == b'-');
    }
    plain && (1..=LABEL_LIMIT).contains(&label) && (hyphens < 2 || !domain.contains("xn--"))
}

fn labels_fit(ascii: &str) -> Result<(), JidError> {
    for label in ascii.split('.') {
        match label.len() {
            0 => return Err(JidError("the domain has an empty label".into())),
            1..=LABEL_LIMIT => {}
            _ => return Err(JidError(format!("the domain has a label of more than {LABEL_LIMIT} bytes"))),
        }
    }
    Ok(())
}

fn prepare_resource(resource: &str) -> Result<Cow<'_, str>, JidError> {
    let resource = bounded(Cow::Borrowed(resource), "resource")?;
    if resource.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Ok(resource);
    }
    // What XML cannot carry, or a line-based protocol could take for its own, is refused whatever the server thinks.
    let unfit = |c: &char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}');
    if let Some(bad) = resource.chars().find(unfit) {
        return Err(forbidden(bad, "resource"));
    }
    match OpaqueString::enforce(resource.as_ref()) {
        Ok(prepared) => bounded(Cow::Owned(prepared.into_owned()), "resource"),
        Err(_) => Ok(resource),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        Jid::parse(text).map_or_else(|error| format!("REFUSED: {error}"), String::from)
    }

    #[test]
    fn plain_addresses_are_copied() {
        for text in
            ["a@b.example", "b.example", "a@b.example/c d", "a@b/c@d/e", "a@127.0.0.1", "a@b_c.example"]
        {
            assert_eq!(parsed(text), text);
        }
    }

    #[test]
    fn in_a_record_it_is_its_text_and_is_prepared_again() {
        let jid: Jid = serde_json::from_str(r#""Juliet@example.com/b\u00fcro""#).unwrap();
        assert_eq!(serde_json::to_string(&jid).unwrap(), r#""juliet@example.com/büro""#);
        for (bad, reason) in [(r#""@""#, "the localpart is empty"), ("7", "expected a JID")] {
            let error = serde_json::from_str::<Jid>(bad).err().unwrap().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn the_localpart_is_mapped_to_lower_case_narrow_and_composed() {
        assert_eq!(parsed("Juliet@Example.COM/Balcony"), "juliet@example.com/Balcony");
        assert_eq!(parsed("\u{ff21}bc@example.com"), "abc@example.com");
        assert_eq!(parsed("u\u{308}@example.com"), "\u{fc}@example.com");
        assert_eq!(parsed("\u{738b}@example.com"), "\u{738b}@example.com");
    }

    #[test]
    fn a_refusal_names_the_character() {
        for (text, reason) in [
            ("a b@example.com", "a space may not stand in a localpart"),
            ("a\"b@example.com", "'\"' may not stand in a localpart"),
            ("a\u{ff20}b@example.com", "'@' may not stand in a localpart"),
            ("\u{1f600}@example.com", "'\u{1f600}' (U+1F600) may not stand in a localpart"),
            ("a\u{0}@example.com", "U+0000 may not stand in a localpart"),
            ("a@exa mple.com", "a space may not stand in a domain"),
            ("a@b@example.com", "'@' may not stand in a domain"),
            ("a@example.com:5060", "':' may not stand in a domain"),
            ("a@example.com/b\u{7}", "U+0007 may not stand in a resource"),
        ] {
            assert_eq!(parsed(text), format!("REFUSED: {reason}"), "{text:?}");
        }
    }

    #[test]
    fn the_examples_of_rfc_7622_are_judged_as_there() {
        for legal in [
            "juliet@example.com/foo bar",
            "foo\\20bar@example.com",
            "fu\u{df}ball@example.com",
            "\u{3c0}@example.com",
            "\u{3c2}@example.com/foo",
            "king@example.com/\u{265a}",
            "a.example.com/b@example.net",
        ] {
            assert_eq!(parsed(legal), legal);
        }
        assert_eq!(parsed("\u{3a3}@example.com/foo"), "\u{3c3}@example.com/foo");
        // Example 18, a leading space in the resource, is kept: docs/decisions/lenient-jids.md.
        for illegal in
            ["henry\u{2163}@example.com", "\u{265a}@example.com", "juliet@", "/foobar", "@example.com/"]
        {
            assert!(Jid::parse(illegal).is_err(), "{illegal}");
        }
    }

    #[test]
    fn empty_and_overlong_parts_are_refused() {
        for text in ["", "@example.com", "a@", "a@example.com/", "a@example..com", "a@.", "/b"] {
            assert!(Jid::parse(text).is_err(), "{text:?}");
        }
        let long = "x".repeat(1023);
        assert!(Jid::parse(&format!("{long}@example.com/{long}")).is_ok());
        assert!(Jid::parse(&format!("{long}x@example.com")).is_err());
        assert!(Jid::parse(&format!("a@example.com/{long}x")).is_err());
        assert!(Jid::parse(&format!("a@{}.example", "x".repeat(64))).is_err());
    }

    #[test]
    fn the_domain_is_written_in_u_labels() {
        assert_eq!(parsed("a@xn--mnchen-3ya.example"), "a@m\u{fc}nchen.example");
        assert_eq!(parsed("a@M\u{dc}NCHEN.example."), "a@m\u{fc}nchen.example");
        assert_eq!(parsed("a@example\u{3002}com"), "a@example.com");
        assert_eq!(parsed("a@[2001:DB8:0::1]/x"), "a@[2001:db8::1]/x");
        for text in ["a@xn--a", "a@[::1", "a@[1.2.3.4]", "a@ex\u{2106}ample"] {
            assert!(Jid::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_resource_keeps_what_a_server_let_in() {
        for resource in ["\u{260e} caf\u{e9}", "\u{1f468}\u{200d}\u{1f4bb}", "\u{1fae0}", " x ", "a/b@c"] {
            assert_eq!(parsed(&format!("a@b/{resource}")), format!("a@b/{resource}"));
        }
        assert_eq!(parsed("a@b/x\u{a0}y"), "a@b/x y");
    }

    #[test]
    fn a_prepared_address_is_prepared_for_good() {
        for text in ["Stra\u{df}e@Fa\u{df}.example/\u{212b}", "\u{3a3}\u{3a3}@b", "\u{130}@b/\u{fb01}"] {
            let once = parsed(text);
            assert_eq!(parsed(&once), once, "{text}");
        }
    }

    #[test]
    fn parts_are_slices_of_the_whole() {
        let jid = Jid::parse("a@b.example/c").unwrap();
        assert_eq!((jid.local(), jid.domain(), jid.resource()), (Some("a"), "b.example", Some("c")));
        assert_eq!((jid.bare_str(), jid.is_bare(), jid.bare().is_bare()), ("a@b.example", false, true));
        assert_eq!(jid.with_resource("d e").unwrap().as_str(), "a@b.example/d e");
    }
}
