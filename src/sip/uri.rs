//! SIP addresses as the gateway uses them: an address of record, and perhaps the one device that a `gr` names.
//!
//! RFC 3261 §19.1, RFC 5627. A public GRUU always compares equal to its AOR by the rules of RFC 3261 §19.1.4, so
//! tables are keyed by [`SipAddress`], never by URI equality.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
pub use sipx_sip::uri::{Host, Scheme, Uri};

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

impl fmt::Display for Aor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("sip:")?;
        if let Some(user) = &self.user {
            encode(user, b"-_.!~*'()&=+$,;?/", out)?;
            out.write_str("@")?;
        }
        out.write_str(&self.host)
    }
}

impl fmt::Display for SipAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.aor.fmt(out)?;
        if let Some(gr) = &self.gr {
            out.write_str(";gr=")?;
            encode(gr, b"-_.!~*'()[]/:&+$", out)?;
        }
        Ok(())
    }
}

/// Percent-encodes every byte that is neither alphanumeric nor in `plain`.
fn encode(text: &str, plain: &[u8], out: &mut fmt::Formatter<'_>) -> fmt::Result {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || plain.contains(&byte) {
            write!(out, "{}", byte as char)?;
        } else {
            write!(out, "%{byte:02X}")?;
        }
    }
    Ok(())
}

/// Text with every byte percent-encoded that is neither alphanumeric nor in the set.
struct Encoded<'a>(&'a str, &'static [u8]);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        encode(self.0, self.1, out)
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
    /// Reads the text of a `sip:` URI. Password, port, headers and other parameters are dropped.
    pub fn parse(text: &str) -> Result<SipAddress, UriProblem> {
        let uri = Uri::parse(Bytes::copy_from_slice(text.as_bytes()))
            .map_err(|error| UriProblem(error.to_string()))?;
        SipAddress::of(&uri)
    }

    /// Reads a parsed URI of the scheme `sip`, `sips`, `im` or `pres`; the scheme is the caller's to judge.
    pub fn of(uri: &Uri) -> Result<SipAddress, UriProblem> {
        let host = uri.host().ok_or_else(|| UriProblem("the URI has no host".into()))?;
        let host = host.to_string().trim_end_matches('.').to_ascii_lowercase();
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
}

/// Undoes percent-encoding; the result must be UTF-8.
pub fn unescape(bytes: &[u8]) -> Result<String, UriProblem> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            out.push(first);
            continue;
        }
        let hex = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(byte.ok_or_else(|| UriProblem("'%' without two hexadecimal digits".into()))?);
        rest = &tail[2..];
    }
    String::from_utf8(out).map_err(|_| UriProblem("not UTF-8 after unescaping".into()))
}
