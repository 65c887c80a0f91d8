//! REFER (RFC 3515, RFC 6665, RFC 7647): somebody is asked to call somebody else, or to put somebody out.
//!
//! [`read`] is what a REFER asks for, [`Referral`] the subscription that it makes on our side, by which the asker is told what
//! became of it, and [`Referring`] is a REFER of our own with what is told of it. RFC 4488 is followed on both sides: with
//! `Refer-Sub: false` there is no subscription.
//!
//! What is asked for is the method of Refer-To: INVITE, or BYE as RFC 4579 §5.11 has it for a conference. It is read as a
//! parameter of the URI or, where clients of the SIP SIMPLE SDK put it, of the header. Headers embedded in the URI are not
//! followed: no stranger says what stands in our requests. A REFER in the dialog of a session is taken too
//! (docs/decisions/refer.md).
//!
//! It deliberately takes no list of targets (RFC 5368), follows no Replaces or Target-Dialog, and decides nothing about who
//! may ask.

mod receiver;
mod sender;

use crate::sip::message::{self, HeaderName, Reply, Request, headers::Address};
use crate::sip::uri::SipAddress;

pub use self::receiver::Referral;
pub use self::sender::{Outcome, Referring};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// To call somebody.
    Invite,
    /// To put somebody out.
    Bye,
}

/// What a REFER asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// What is to be done.
    pub action: Action,
    /// To whom.
    pub target: SipAddress,
    /// The name of the target, as the asker knows it.
    pub name: Option<String>,
    /// Who asks, by Referred-By (RFC 3892), which nobody has proven.
    pub referred_by: Option<SipAddress>,
    /// The asker wants to be told what becomes of it.
    pub wants_news: bool,
}

/// Reads a REFER, or says what to answer: 400 where there is not exactly one Refer-To (RFC 3515 §2.4.2), where it cannot be
/// read, or asks for another method; 403 for an address that is not SIP's.
pub fn read(request: &Request) -> Result<Wish, Reply> {
    let bad = |why: &str| Reply::new(400).because(why);
    let values = message::list(&request.headers, &HeaderName::ReferTo);
    let [value] = &values[..] else {
        return Err(bad(if values.is_empty() { "Refer-To is missing" } else { "more than one Refer-To" }));
    };
    let address = Address::parse(value.as_bytes(), "Refer-To").map_err(|_| bad("Refer-To cannot be read"))?;
    let target = SipAddress::of(&address.uri)
        .map_err(|_| Reply::new(403).because("only SIP addresses can be referred to"))?;
    let in_uri = address.uri.params().and_then(|params| params.value("method"));
    let mut methods = [in_uri, address.param("method")].into_iter().flatten();
    let action = match (methods.next(), methods.next()) {
        (Some(one), Some(other)) if !one.eq_ignore_ascii_case(other) => {
            return Err(bad("Refer-To has two methods"));
        }
        (Some(method), _) if method.eq_ignore_ascii_case(b"BYE") => Action::Bye,
        (Some(method), _) if !method.eq_ignore_ascii_case(b"INVITE") => {
            return Err(bad("Refer-To asks for another method than INVITE and BYE"));
        }
        _ => Action::Invite,
    };
    let name = address.display_name.as_deref().map(|name| String::from_utf8_lossy(name).trim().to_owned());
    let referred_by = message::address(&request.headers, &HeaderName::ReferredBy);
    Ok(Wish {
        action,
        target,
        name: name.filter(|name| !name.is_empty()),
        referred_by: referred_by.and_then(|address| SipAddress::of(&address.uri).ok()),
        wants_news: !is_quiet(&request.headers),
    })
}

/// Whether a REFER or its answer says that there is no subscription (RFC 4488 §4).
fn is_quiet(headers: &message::Headers) -> bool {
    let value = message::text(headers, &HeaderName::ReferSub).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("false")
}

#[cfg(test)]
mod tests;
