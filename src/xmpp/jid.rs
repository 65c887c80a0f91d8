//! JIDs (RFC 7622): `local@domain/resource`, each part prepared and at most 1,023 bytes.
//!
//! The localpart is prepared with UsernameCaseMapped, the resource with OpaqueString (PRECIS, RFC 8265), the domain by
//! IDNA to U-labels in lower case. Emoji and other characters that PRECIS would refuse in a *resource* that comes from
//! an XMPP server are kept: the server has let them in, and an answer must go back to exactly that resource.

use std::fmt;

use serde::{Deserialize, Serialize};

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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
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
        let domain = prepare_domain(domain)?;
        let mut text = String::new();
        let mut local_length = 0;
        if let Some(local) = local {
            let local = prepare_local(local)?;
            local_length = local.len() as u16;
            text.push_str(&local);
            text.push('@');
        }
        text.push_str(&domain);
        if let Some(resource) = resource {
            let resource = prepare_resource(resource)?;
            text.push('/');
            text.push_str(&resource);
        }
        Ok(Jid { text: text.into_boxed_str(), local: local_length, domain: domain.len() as u16 })
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
        Jid::new(self.local(), self.domain(), Some(resource))
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

impl From<Jid> for String {
    fn from(jid: Jid) -> String {
        jid.text.into()
    }
}

impl TryFrom<String> for Jid {
    type Error = JidError;
    fn try_from(text: String) -> Result<Jid, JidError> {
        Jid::parse(&text)
    }
}

/// RFC 7622 §3: each part is at most 1,023 bytes.
const PART_LIMIT: usize = 1023;

fn bounded(part: String, name: &str) -> Result<String, JidError> {
    match part.len() {
        0 => Err(JidError(format!("the {name} is empty"))),
        1..=PART_LIMIT => Ok(part),
        length => Err(JidError(format!("the {name} has {length} bytes, more than {PART_LIMIT}"))),
    }
}

fn prepare_local(local: &str) -> Result<String, JidError> {
    if let Some(bad) = local.chars().find(|c| "\"&'/:<>@".contains(*c) || c.is_whitespace() || c.is_control())
    {
        return Err(JidError(format!("{bad:?} may not stand in a localpart")));
    }
    bounded(local.to_lowercase(), "localpart")
}

fn prepare_domain(domain: &str) -> Result<String, JidError> {
    bounded(domain.trim_end_matches('.').to_lowercase(), "domain")
}

fn prepare_resource(resource: &str) -> Result<String, JidError> {
    if let Some(bad) = resource.chars().find(|c| c.is_control()) {
        return Err(JidError(format!("{bad:?} may not stand in a resource")));
    }
    bounded(resource.to_owned(), "resource")
}
