//! What every request must say (RFC 3261 §8.1.1), read once for all who need it.
//!
//! The checks are those of `sipx_sip::validate_request` in its order. They are made here because that function throws
//! away what it has decoded, and decoding is most of what a request costs.

use sipx_sip::TypedHeader;
use sipx_sip::headers::{self, Address, Via};

use super::print;
use crate::sip::message::{self, HeaderName, Headers, Method, Request};
use crate::sip::uri::Host;

/// The headers that every request has, decoded.
#[derive(Clone, Debug)]
pub struct Head {
    /// From.
    pub from: Address,
    /// To.
    pub to: Address,
    /// Call-ID.
    pub call_id: String,
    /// The number of CSeq.
    pub cseq: u32,
    /// Max-Forwards; 70 where the sender has left it out.
    pub max_forwards: u8,
}

impl Head {
    /// Reads a request that has a readable top Via, or says what is wrong with it, as status and reason.
    pub fn read(request: &Request) -> Result<Head, (u16, String)> {
        let headers = &request.headers;
        if !request.version.is_supported() {
            return Err((505, print::reason_of(505).to_owned()));
        }
        if request.uri.has_headers() {
            return Err(bad("the Request-URI has headers"));
        }
        let to: headers::To = required(headers, "To")?;
        let from: headers::From = required(headers, "From")?;
        for (address, label) in [(&to.0, "To"), (&from.0, "From")] {
            let mut tags = address.params.iter().filter(|param| param.name.eq_ignore_ascii_case(b"tag"));
            // A proxy that sees a tag where we see none lets in what it takes for a dialog's.
            if tags.next().is_some_and(|tag| tag.value.is_none()) || tags.next().is_some() {
                return Err(bad(format!("the tag of {label} is malformed")));
            }
        }
        let call_id: headers::CallId = required(headers, "Call-ID")?;
        let cseq: headers::CSeq = required(headers, "CSeq")?;
        let max_forwards = match message::typed::<headers::MaxForwards>(headers) {
            Some(Ok(hops)) => hops.0,
            Some(Err(_)) => return Err(bad("Max-Forwards is malformed")),
            None => 70,
        };
        for (name, label) in ONCE {
            if headers.count(&name) > 1 {
                return Err(bad(format!("{label} is there more than once")));
            }
        }
        if cseq.method != request.method {
            return Err(bad("CSeq names another method"));
        }
        if has_more_vias(headers) && headers.typed_all::<Via>().any(|via| via.is_err()) {
            return Err(bad("a Via is malformed"));
        }
        let call_id = String::from_utf8(call_id.0)
            .ok()
            .filter(|text| !text.chars().any(|c| c.is_control() || c.is_whitespace()))
            .ok_or_else(|| bad("Call-ID is malformed"))?;
        let forms =
            matches!(request.method, Method::Invite | Method::Subscribe | Method::Refer | Method::Update);
        if forms && headers.typed_all::<headers::Contact>().any(|contact| contact.is_err()) {
            return Err(bad("Contact is malformed"));
        }
        Ok(Head { from: from.0, to: to.0, call_id, cseq: cseq.sequence, max_forwards })
    }

    /// The host of From, as domains are compared.
    pub fn from_domain(&self) -> String {
        let mut host = match self.from.uri.host() {
            Some(Host::Name(name)) => String::from_utf8_lossy(name.as_bytes()).into_owned(),
            host => host.map(ToString::to_string).unwrap_or_default(),
        };
        host.truncate(host.trim_end_matches('.').len());
        host.make_ascii_lowercase();
        host
    }
}

/// Whether there is a Via besides the top one.
pub fn has_more_vias(headers: &Headers) -> bool {
    let mut vias = headers.get_all(&HeaderName::Via);
    vias.next().is_some_and(|top| memchr::memchr(b',', top.raw_value()).is_some()) || vias.next().is_some()
}

/// What may be there only once.
const ONCE: [(HeaderName, &str); 5] = [
    (HeaderName::To, "To"),
    (HeaderName::From, "From"),
    (HeaderName::CallId, "Call-ID"),
    (HeaderName::CSeq, "CSeq"),
    (HeaderName::MaxForwards, "Max-Forwards"),
];

fn required<H: TypedHeader>(headers: &Headers, name: &str) -> Result<H, (u16, String)> {
    match message::typed::<H>(headers) {
        None => Err(bad(format!("{name} is missing"))),
        Some(Err(_)) => Err(bad(format!("{name} is malformed"))),
        Some(Ok(value)) => Ok(value),
    }
}

fn bad(reason: impl Into<String>) -> (u16, String) {
    (400, reason.into())
}
