//! JID ↔ SIP address (RFC 7247 §6, XEP-0106, RFC 5627), for one of the two places where both are named (rule 3).
//!
//! A SIP user part is decoded, then what a localpart forbids is escaped by XEP-0106; the way back undoes exactly
//! that. `gr` is the resource. What RFC 7247 leaves out or gets wrong is mended as `docs/decisions/addresses.md` says.

use std::borrow::Cow;

use super::condition::{Condition, Kind};
use crate::sip::uri::{Aor, SipAddress};
use crate::xmpp::jid::{Jid, is_plain_domain};

/// The ten characters of XEP-0106 §4 and their escapes.
const ESCAPES: [(char, &str); 10] = [
    (' ', "20"),
    ('"', "22"),
    ('&', "26"),
    ('\'', "27"),
    ('/', "2f"),
    (':', "3a"),
    ('<', "3c"),
    ('>', "3e"),
    ('@', "40"),
    ('\\', "5c"),
];

/// The JID in `domain` (U-labels) of a SIP address: user part to localpart, `gr` to resource.
pub fn jid_of_sip(sip: &SipAddress, domain: &str) -> Result<Jid, Condition> {
    let user = sip.aor.user.as_deref().map(narrow);
    let local = user.as_deref().map(escape).transpose()?;
    Jid::new(local.as_deref(), domain, sip.gr.as_deref())
        .map_err(|error| Condition::new(Kind::JidMalformed, error.0))
}

/// The SIP address of a JID: localpart to user part, resource to `gr`, the domain in A-labels.
pub fn sip_of_jid(jid: &Jid) -> Result<SipAddress, Condition> {
    sip_at(jid, sip_domain(jid.domain())?)
}

/// The same at another host, where a pair of domains says which.
pub fn sip_at(jid: &Jid, host: String) -> Result<SipAddress, Condition> {
    let user = match jid.local() {
        None => None,
        Some(local) if !local.contains('\\') => Some(local.to_owned()),
        Some(local) => {
            let user = unescape(local);
            // A localpart that nobody's escaping writes would come back as another person's.
            if escape(&user)? != *local {
                return Err(Condition::new(
                    Kind::JidMalformed,
                    format!(
                        "'\\5c' in {local} stands where nothing needs it; there is no SIP address of that spelling"
                    ),
                ));
            }
            Some(user)
        }
    };
    Ok(SipAddress { aor: Aor { user, host }, gr: jid.resource().map(str::to_owned) })
}

/// A JID's domain as SIP writes it: A-labels, lower case; a bracketed address stays.
pub fn sip_domain(domain: &str) -> Result<String, Condition> {
    if domain.starts_with('[') || is_plain_domain(domain) {
        return Ok(domain.to_owned());
    }
    idna::domain_to_ascii(domain)
        .map_err(|_| Condition::new(Kind::JidMalformed, format!("{domain} is no domain name")))
}

/// Wide and half-wide ASCII as what preparation will make of it (RFC 8265 §3.3.2): escaping must see it first, or a
/// wide backslash before `20` would become an escape that nobody wrote.
fn narrow(user: &str) -> Cow<'_, str> {
    let wide = |c: char| matches!(c, '\u{3000}' | '\u{ff01}'..='\u{ff5e}');
    if user.is_ascii() || !user.contains(wide) {
        return Cow::Borrowed(user);
    }
    let narrow = |c: char| match c {
        '\u{3000}' => ' ',
        c if wide(c) => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
        c => c,
    };
    Cow::Owned(user.chars().map(narrow).collect())
}

fn escape(user: &str) -> Result<Cow<'_, str>, Condition> {
    // XEP-0106 §3.2: `\20` may be neither first nor last.
    if user.starts_with(' ') || user.ends_with(' ') {
        let text = "a space may not stand at an end of a localpart";
        return Err(Condition::new(Kind::JidMalformed, text));
    }
    if !user.bytes().any(needs_escape) {
        return Ok(Cow::Borrowed(user));
    }
    let mut out = String::with_capacity(user.len());
    for (at, c) in user.char_indices() {
        out.push(if ESCAPES.iter().any(|(plain, _)| *plain == c) { '\\' } else { c });
        match ESCAPES.iter().find(|(plain, _)| *plain == c) {
            // A backslash is escaped only where it would be read as an escape, in either case: PRECIS lower-cases it.
            Some(('\\', code)) => {
                let next = user[at + 1..].get(..2).map(str::to_ascii_lowercase);
                if next.is_some_and(|next| ESCAPES.iter().any(|(_, known)| *known == next)) {
                    out.push_str(code);
                }
            }
            Some((_, code)) => out.push_str(code),
            None => {}
        }
    }
    Ok(Cow::Owned(out))
}

/// Whether a byte is one of [`ESCAPES`], all of which are ASCII.
fn needs_escape(byte: u8) -> bool {
    matches!(byte, b' ' | b'"' | b'&' | b'\'' | b'/' | b':' | b'<' | b'>' | b'@' | b'\\')
}

fn unescape(local: &str) -> String {
    let mut out = String::with_capacity(local.len());
    let mut rest = local;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let known = rest[at + 1..].get(..2).and_then(|two| ESCAPES.iter().find(|(_, code)| *code == two));
        match known {
            Some((plain, _)) => {
                out.push(*plain);
                rest = &rest[at + 3..];
            }
            None => {
                out.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    out.push_str(rest);
    out
}
