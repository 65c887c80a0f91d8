//! SIP messages, by `sipx-sip`: parsed loosely, kept whole, read through typed headers.
//!
//! The crate is young and pinned; nothing outside `sip/` names it. Helpers here are what usages and features need of
//! a message in one call.

pub use sipx_sip::headers;
pub use sipx_sip::{Header, HeaderName, Headers, Message, Method, Request, Response, StatusCode};

use std::borrow::Cow;
use std::sync::LazyLock;

use sipx_sip::{HeaderError, TypedHeader};

use bytes::Bytes;
use memchr::memmem::Finder;

use super::flow::Inlet;

/// The first value of a header as text, trimmed; invalid UTF-8 is replaced. Nothing when the header is absent.
pub fn text(headers: &Headers, name: &HeaderName) -> Option<String> {
    headers.get(name).map(|header| String::from_utf8_lossy(&value(header)).trim().to_owned())
}

/// The value of a header, without the library's look at each byte where nothing is folded, as nearly always.
pub fn value(header: &Header) -> Cow<'_, [u8]> {
    let raw = header.raw_value();
    match memchr::memchr2(b'\r', b'\n', raw) {
        None => Cow::Borrowed(raw.trim_ascii()),
        Some(_) => header.value(),
    }
}

/// The first header of this type, decoded. Nothing when it is absent.
pub fn typed<H: TypedHeader>(headers: &Headers) -> Option<Result<H, HeaderError>> {
    headers.get(&H::NAME).map(|header| H::decode(&value(header)))
}

/// The value of a header that is there exactly once, unless it is folded.
pub fn only<'a>(headers: &'a Headers, name: &HeaderName) -> Option<&'a [u8]> {
    let mut all = headers.iter().filter(|header| header.name() == name);
    let first = all.next()?;
    all.next().is_none().then(|| first.raw_value().trim_ascii())
}

/// A header by a name that `sipx-sip` has no variant for.
pub fn other(name: &'static str) -> HeaderName {
    HeaderName::parse(&Bytes::from_static(name.as_bytes()))
}

/// The address of a From, To, Contact or the like; of the first, where there are several. Nothing when the header is
/// absent or no address.
pub fn address(headers: &Headers, name: &HeaderName) -> Option<headers::Address> {
    let first = value(headers.get(name)?);
    if !first.is_empty() && !first.contains(&b',') && first.is_ascii() {
        return headers::Address::parse(&first, "address").ok();
    }
    let first = list(headers, name).into_iter().next()?;
    headers::Address::parse(first.as_bytes(), "address").ok()
}

/// The tag of a From or To.
pub fn tag(headers: &Headers, name: &HeaderName) -> Option<String> {
    let value = value(headers.get(name)?);
    if !may_have_tag(&value) {
        return None;
    }
    if let Some(tag) = plain_tag(&value) {
        return Some(tag.to_owned());
    }
    let address = headers::Address::parse(&value, "address").ok()?;
    address.tag().map(|tag| String::from_utf8_lossy(tag).into_owned())
}

/// The tag behind an address without a display name and without other parameters, as we write it and most others do: it is
/// looked at several times for each message, and the address need not be read for it.
fn plain_tag(value: &[u8]) -> Option<&str> {
    let (address, tag) = std::str::from_utf8(value).ok()?.rsplit_once(";tag=")?;
    let uri = address.strip_prefix("<sip:")?.strip_suffix('>')?;
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b'"');
    let in_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte);
    let fits = !uri.is_empty() && uri.bytes().all(is_plain) && !tag.is_empty() && tag.bytes().all(in_token);
    fits.then_some(tag)
}

/// False for a From or To that has no tag for certain: most requests outside dialogs are told apart without reading it.
pub fn may_have_tag(value: &[u8]) -> bool {
    memchr::memchr2_iter(b't', b'T', value)
        .any(|at| value[at..].get(..3).is_some_and(|three| three.eq_ignore_ascii_case(b"tag")))
}

/// What every branch of RFC 3261 begins with (§8.1.1.7).
pub const COOKIE: &str = "z9hG4bK";

/// The branch of the top Via. Where it stands as we write it, as in most answers to us, Via is not decoded for it.
pub fn branch(headers: &Headers) -> Option<Cow<'_, str>> {
    if let Some(branch) = headers.get(&HeaderName::Via).and_then(|via| plain_branch(via.raw_value())) {
        return Some(Cow::Borrowed(branch));
    }
    let via = headers.typed::<headers::Via>()?.ok()?;
    String::from_utf8(via.branch()?.to_vec()).ok().map(Cow::Owned)
}

static BRANCH: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b";branch="));

fn plain_branch(via: &[u8]) -> Option<&str> {
    if memchr::memchr3(b',', b'"', b'\r', via).is_some() {
        return None;
    }
    let rest = &via[BRANCH.find(via)? + BRANCH.needle().len()..];
    let branch = &rest[..memchr::memchr(b';', rest).unwrap_or(rest.len())];
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    std::str::from_utf8(branch).ok().filter(|branch| branch.as_bytes().iter().all(is_plain))
}

/// The number of a CSeq.
pub fn cseq(headers: &Headers) -> Option<u32> {
    headers.typed::<headers::CSeq>()?.ok().map(|cseq| cseq.sequence)
}

/// The URI of a Route, Contact or other address value, as text and without its angle brackets.
pub fn uri_of(value: &str) -> Option<String> {
    let address = headers::Address::parse(value.as_bytes(), "address").ok()?;
    String::from_utf8(address.uri.to_bytes().to_vec()).ok()
}

/// Every value of a header whose grammar is a list, over all its lines, in order: commas inside quotes, angle
/// brackets and comments do not divide. Invalid UTF-8 is replaced.
pub fn list(headers: &Headers, name: &HeaderName) -> Vec<String> {
    let mut out = Vec::new();
    for header in headers.get_all(name) {
        out.extend(split_list(&String::from_utf8_lossy(&value(header))));
    }
    out
}

fn split_list(value: &str) -> Vec<String> {
    let (mut out, mut start) = (Vec::new(), 0);
    let (mut quoted, mut escaped, mut depth) = (false, false, 0_usize);
    for (at, c) in value.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '<' | '(' => depth += 1,
            '>' | ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                out.push(value[start..at].trim().to_owned());
                start = at + 1;
            }
            _ => {}
        }
    }
    out.push(value[start..].trim().to_owned());
    out.retain(|part| !part.is_empty());
    out
}

/// What a usage or feature wants sent as a request. The agent adds Via, Max-Forwards where absent, Content-Length,
/// credentials, and chooses the next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutRequest {
    /// The method.
    pub method: Method,
    /// The Request-URI as text.
    pub uri: String,
    /// The whole value of From, tag included.
    pub from: String,
    /// The whole value of To, with the tag inside a dialog.
    pub to: String,
    /// Call-ID.
    pub call_id: String,
    /// CSeq number. A challenge makes the agent send a higher one; [`Answer::cseq`] says which was used.
    pub cseq: u32,
    /// Hops left; 70 for a request that nobody sent us.
    pub max_forwards: u8,
    /// Route values of a dialog's route set, in order; empty outside dialogs. The agent turns the request inside out
    /// for a strict router (RFC 3261 §12.2.1.1): `uri` is always the remote target.
    pub routes: Vec<String>,
    /// Further headers, in order, without Content-Length.
    pub headers: Vec<(HeaderName, String)>,
    /// The body; its Content-Type is among `headers`.
    pub body: Bytes,
    /// The partition that the branch shall name.
    pub partition: crate::words::id::Partition,
    /// The domain whose peer is asked, when it is not the host of `uri` (inside a dialog).
    pub domain: String,
    /// A connection to prefer, where it leads to the next hop.
    pub over: Option<Inlet>,
}

/// What became of a request that we sent.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A 1xx.
    Provisional(Response),
    /// An address did not answer, and the same request goes to another one. It may have arrived by the first.
    Repeated,
    /// The final answer, and the CSeq number of the request that it answers.
    Final {
        /// The answer.
        response: Response,
        /// The number that was used, higher than asked for after a challenge.
        cseq: u32,
    },
    /// No answer will come.
    Failed(Failure),
}

/// Why no answer will come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Timer F or B: nothing was heard for 64·T1. The request may have arrived.
    Timeout,
    /// It could not be sent, in words. It has not arrived.
    Transport(String),
    /// No peer is configured for the domain.
    NoRoute,
    /// A MESSAGE that is too long for the way behind this peer (RFC 3428 §8); how many bytes the body may have.
    TooLong {
        /// Bytes of body that would have passed.
        limit: usize,
    },
}

/// What a feature wants answered to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The reason phrase; the standard one when absent. Cleaned of line breaks when printed.
    pub reason: Option<String>,
    /// The tag for To, in a dialog-forming answer; the agent mints one when absent.
    pub to_tag: Option<String>,
    /// Further headers.
    pub headers: Vec<(HeaderName, String)>,
    /// The body; its Content-Type is among `headers`.
    pub body: Vec<u8>,
}

impl Reply {
    /// An answer with nothing but a status.
    pub fn new(status: u16) -> Reply {
        Reply { status, reason: None, to_tag: None, headers: Vec::new(), body: Vec::new() }
    }

    /// The reason phrase.
    pub fn because(mut self, reason: impl Into<String>) -> Reply {
        self.reason = Some(reason.into());
        self
    }

    /// A body of this type.
    pub fn carrying(self, kind: impl Into<String>, body: &[u8]) -> Reply {
        Reply { body: body.to_vec(), ..self.with(HeaderName::ContentType, kind) }
    }

    /// A further header.
    pub fn with(mut self, name: HeaderName, value: impl Into<String>) -> Reply {
        self.headers.push((name, value.into()));
        self
    }
}

/// A request of ours that awaits its answer to somebody: the agent's handle for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerKey(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_is_found_wherever_it_stands() {
        for via in [
            "SIP/2.0/TCP a;branch=z9hG4bKx;rport",
            "SIP/2.0/TCP a;rport;branch=z9hG4bKx",
            "SIP / 2.0 / TCP a ; BRANCH = z9hG4bKx",
            "SIP/2.0/TCP a;x=\";branch=no\";branch=z9hG4bKx",
            "SIP/2.0/TCP a;branch=z9hG4bKx, SIP/2.0/TCP b;branch=no",
        ] {
            let mut headers = Headers::new();
            headers.push(Header::build(HeaderName::Via, via).expect("a header"));
            assert_eq!(branch(&headers).as_deref(), Some("z9hG4bKx"), "{via}");
        }
    }

    #[test]
    fn a_tag_is_the_one_of_the_header_wherever_it_stands() {
        for from in [
            "<sip:romeo@a>;tag=1.x",
            "<sip:romeo@a;tag=no>;tag=1.x",
            "sip:romeo@a;tag=1.x",
            "\"<sip:a@b>;tag=no\" <sip:romeo@a>;x=y;TAG=1.x",
            "<sip:romeo@a>;tag=1.x;x=\";tag=no\"",
        ] {
            let mut headers = Headers::new();
            headers.push(Header::build(HeaderName::From, from).expect("a header"));
            assert_eq!(tag(&headers, &HeaderName::From).as_deref(), Some("1.x"), "{from}");
        }
    }
}
