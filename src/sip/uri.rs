//! SIP addresses as the gateway uses them: an address of record, and perhaps the one device that a `gr` names.
//!
//! RFC 3261 §19.1, RFC 5627. A public GRUU always compares equal to its AOR by the rules of RFC 3261 §19.1.4, so
//! tables are keyed by [`SipAddress`], never by URI equality.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
pub use sipx_sip::uri::{Host, Scheme, Uri};

use crate::words::percent;

/// An address of record: `sip:user@host`, decoded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Aor {
    /// The user part with every escape undone. Compared case-sensitively (RFC 3261 §19.1.4).
    pub user: Option<String>,
    /// The host in lower case: a domain in A-labels, an IPv4 address, or an IPv6 address in brackets.
    pub host: String,
}

/// An AOR, or one device of it by its public GRUU.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SipAddress {
    /// The person.
    pub aor: Aor,
    /// The value of the `gr` parameter, decoded.
    pub gr: Option<String>,
}

impl Aor {
    /// The address without a device.
    pub fn address(&self) -> SipAddress {
        SipAddress { aor: self.clone(), gr: None }
    }

    /// The same person as a `pres:` URI (RFC 3859). RFC 7247 §6.5 escapes the dot too, since a dot-atom must not begin
    /// or end with one; what a URI cannot hold or reads as something else (`# ? ^ {` and the like) is escaped as well.
    pub fn to_pres(&self) -> String {
        self.with_scheme("pres", b"!$&'*+-/=_~")
    }

    fn with_scheme(&self, scheme: &str, plain: &'static [u8]) -> String {
        match &self.user {
            Some(user) => format!("{scheme}:{}@{}", Encoded(user, plain), self.host),
            None => format!("{scheme}:{}", self.host),
        }
    }
}

impl Aor {
    /// The URI; the same as Display gives, without its detours.
    pub fn text(&self) -> String {
        let user = self.user.as_deref().unwrap_or_default();
        let mut out = String::with_capacity(user.len() + self.host.len() + 8);
        out.push_str("sip:");
        if self.user.is_some() {
            append(user, b"-_.!~*'()&=+$,;?/", &mut out);
            out.push('@');
        }
        out.push_str(&self.host);
        out
    }
}

impl SipAddress {
    /// The URI; the same as Display gives, without its detours.
    pub fn text(&self) -> String {
        let Some(gr) = &self.gr else { return self.aor.text() };
        let mut out = self.aor.text();
        out.push_str(";gr=");
        append(gr, b"-_.!~*'()[]/:&+$", &mut out);
        out
    }
}

impl fmt::Display for Aor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text())
    }
}

impl fmt::Display for SipAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text())
    }
}

/// Appends a text with every byte percent-encoded that is neither alphanumeric nor in `plain`.
fn append(text: &str, plain: &'static [u8], out: &mut String) {
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        out.push_str(text);
    } else {
        out.push_str(&Encoded(text, plain).to_string());
    }
}

/// Percent-encodes every byte that is neither alphanumeric nor in `plain`.
fn encode(text: &str, plain: &[u8], out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut done = 0;
    for (at, byte) in text.bytes().enumerate() {
        if !byte.is_ascii_alphanumeric() && !plain.contains(&byte) {
            // Inside a character of several bytes there is nothing between two that are encoded.
            out.write_str(text.get(done..at).unwrap_or_default())?;
            write!(out, "%{byte:02X}")?;
            done = at + 1;
        }
    }
    out.write_str(text.get(done..).unwrap_or_default())
}

/// Text with every byte percent-encoded that is neither alphanumeric nor in the set.
struct Encoded<'a>(&'a str, &'static [u8]);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        encode(self.0, self.1, out)
    }
}

/// A character for a reader: itself where it can be seen, and its number where it cannot or may be mistaken.
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

/// Why a URI is no address that we can use; reads as a reason phrase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UriProblem(pub String);

impl fmt::Display for UriProblem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl SipAddress {
    /// Reads the text of a `sip:`, `sips:`, `im:` or `pres:` URI. Password, port, headers and other parameters are
    /// dropped, and so is a `gr` without value: a temporary GRUU names no device for long (RFC 7247 §6.3).
    pub fn parse(text: &str) -> Result<SipAddress, UriProblem> {
        if let Some(bad) = text.chars().find(|c| !matches!(c, '!'..='~') || matches!(c, '<' | '>' | '"')) {
            return Err(UriProblem(format!("{} may not stand in a URI", Shown(bad))));
        }
        let uri = Uri::parse(Bytes::copy_from_slice(text.as_bytes()))
            .map_err(|error| UriProblem(error.to_string()))?;
        SipAddress::of(&uri)
    }

    /// Reads a parsed URI of the scheme `sip`, `sips`, `im` or `pres`; the scheme is the caller's to judge.
    pub fn of(uri: &Uri) -> Result<SipAddress, UriProblem> {
        let Some(host) = uri.host() else {
            return SipAddress::of_mailbox(uri);
        };
        let host = match host {
            Host::Name(name) => {
                String::from_utf8_lossy(name.as_bytes()).trim_end_matches('.').to_ascii_lowercase()
            }
            // Display writes an IPv6 address in brackets and in its one shortest form.
            Host::Ip(_) => host.to_string(),
        };
        if host.is_empty() {
            return Err(UriProblem("the URI has no host".into()));
        }
        let user = match uri.user() {
            Some(user) => Some(unescape(user)?),
            None => None,
        };
        let gr = match sipx_sip::gruu::gr_value(uri) {
            Some(gr) if !gr.is_empty() => Some(unescape(gr)?),
            _ => None,
        };
        Ok(SipAddress { aor: Aor { user, host }, gr })
    }

    /// `im:user@host` and `pres:user@host` (RFC 3860, RFC 3859) have the shape of a SIP URI without parameters.
    fn of_mailbox(uri: &Uri) -> Result<SipAddress, UriProblem> {
        let scheme = uri.scheme().as_bytes();
        let known = [&b"im"[..], b"pres"].iter().any(|known| known.eq_ignore_ascii_case(scheme));
        let Some(mailbox) = uri.opaque().filter(|_| known) else {
            return Err(UriProblem(format!("{}: is no address here", String::from_utf8_lossy(scheme))));
        };
        let mut text = b"sip:".to_vec();
        text.extend_from_slice(mailbox);
        let uri = Uri::parse(text.into()).map_err(|error| UriProblem(error.to_string()))?;
        SipAddress::of(&uri)
    }
}

/// Undoes percent-encoding; the result must be UTF-8.
pub fn unescape(bytes: &[u8]) -> Result<String, UriProblem> {
    percent::decode(bytes).map_err(UriProblem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn problem(text: &str) -> String {
        SipAddress::parse(text).expect_err("a problem").0
    }

    #[test]
    fn an_ipv6_host_keeps_its_brackets_and_has_one_form() {
        let address = SipAddress::parse("sip:alice@[2001:DB8:0:0::1]:5060;gr=x").expect("an address");
        assert_eq!(address.to_string(), "sip:alice@[2001:db8::1];gr=x");
    }

    #[test]
    fn im_and_pres_are_mailboxes_and_tel_is_none() {
        let address = SipAddress::parse("PRES:o'hara@Example.com").expect("an address");
        assert_eq!(address.to_string(), "sip:o'hara@example.com");
        assert_eq!(problem("tel:+14155550101"), "tel: is no address here");
        assert!(!problem("im:").is_empty());
    }

    #[test]
    fn a_problem_names_the_character() {
        assert_eq!(problem("sip:a b@example.com"), "a space may not stand in a URI");
        assert_eq!(problem("sip:é@example.com"), "'é' (U+00E9) may not stand in a URI");
        assert_eq!(problem("sip:%FF@example.com"), "%FF is not UTF-8");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(user in prop::option::of(".+"), gr in prop::option::of(".+")) {
            let address = SipAddress { aor: Aor { user, host: "example.com".into() }, gr };
            prop_assert_eq!(SipAddress::parse(&address.to_string()), Ok(address));
        }

        #[test]
        fn a_pres_uri_is_read_again(user in ".+") {
            let aor = Aor { user: Some(user), host: "example.com".into() };
            prop_assert_eq!(SipAddress::parse(&aor.to_pres()).map(|address| address.aor), Ok(aor));
        }

        #[test]
        fn nothing_panics(text in ".*", bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = (SipAddress::parse(&text), SipAddress::parse(&format!("sip:{text}")), unescape(&bytes));
            let _ = SipAddress::parse(&String::from_utf8_lossy(&bytes));
        }
    }
}
