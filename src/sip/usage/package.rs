//! Event packages as subscriber and notifier must know them, and what a SUBSCRIBE is granted (RFC 6665 §4.2.1).

use std::time::Duration;

use crate::sip::message::{self, HeaderName, Headers, Reply};

/// RFC 6665 §4.2.1.1: an interval from here on may not be called too brief.
const NEVER_TOO_BRIEF: u32 = 3600;

/// An event package, as far as both sides must know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Package {
    /// The name in Event.
    pub name: &'static str,
    /// The type of its documents, which a subscriber accepts.
    pub document: &'static str,
    /// What a SUBSCRIBE without Expires means, in seconds; a subscriber asks for as much.
    pub default_expires: u32,
    /// Less is answered 423.
    pub min_expires: u32,
    /// More is shortened to this.
    pub max_expires: u32,
    /// The least time between two NOTIFYs that tell of changes.
    pub pace: Duration,
}

/// Presence (RFC 3856 §6): an hour, and five seconds between two NOTIFYs.
pub const PRESENCE: Package = Package {
    name: "presence",
    document: "application/pidf+xml",
    default_expires: 3600,
    min_expires: 60,
    max_expires: 3600,
    pace: Duration::from_secs(5),
};

/// Who is in a conference (RFC 4575 §3): an hour. Its §3.9 recommends five seconds; docs/decisions/rosters.md says why it is
/// one.
pub const CONFERENCE: Package = Package {
    name: "conference",
    document: "application/conference-info+xml",
    pace: Duration::from_secs(1),
    ..PRESENCE
};

/// What became of a REFER (RFC 3515 §3). No SUBSCRIBE makes such a subscription; one may refresh or end it.
pub const REFER: Package = Package {
    name: "refer",
    document: "message/sipfrag",
    default_expires: 180,
    max_expires: 180,
    pace: Duration::from_secs(1),
    ..PRESENCE
};

/// What a SUBSCRIBE is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The whole value of Event, as it is repeated in each NOTIFY.
    pub event: String,
    /// For how many seconds; zero is a fetch, or the end.
    pub expires: u32,
    /// The least time between two NOTIFYs that tell of changes.
    pub pace: Duration,
}

impl Package {
    /// No subscription of ours lasts longer without a refresh.
    pub fn longest(&self) -> Duration {
        Duration::from_secs(self.max_expires.into())
    }

    /// What a SUBSCRIBE is granted, or its refusal: 489 for another package, 406 where the document is not accepted,
    /// 423 for an interval that is too brief, 400 for one that cannot be read. Without Accept the package's own type
    /// is meant (RFC 3856 §6.5).
    pub fn judge(&self, headers: &Headers) -> Result<Terms, Reply> {
        let event = message::text(headers, &HeaderName::Event).unwrap_or_default();
        let (name, params) = event.split_once(';').map_or((event.as_str(), ""), |(name, rest)| (name, rest));
        if name.trim() != self.name {
            return Err(Reply::new(489).with(HeaderName::AllowEvents, self.name));
        }
        if headers.count(&HeaderName::Accept) > 0 && !accepts(headers, self.document) {
            return Err(Reply::new(406).with(HeaderName::Accept, self.document));
        }
        let expires = match message::text(headers, &HeaderName::Expires) {
            None => self.default_expires,
            Some(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse().unwrap_or(u32::MAX)
            }
            Some(_) => return Err(Reply::new(400).because("Expires is no number")),
        };
        if (1..self.min_expires.min(NEVER_TOO_BRIEF)).contains(&expires) {
            return Err(Reply::new(423).with(HeaderName::MinExpires, self.min_expires.to_string()));
        }
        // Only `id` means anything here; it is repeated so that the subscriber finds its subscription (§8.2.1).
        let id = params.split(';').find_map(|param| {
            let (name, value) = param.split_once('=')?;
            name.trim().eq_ignore_ascii_case("id").then(|| value.trim())
        });
        let event = match id.filter(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_graphic())) {
            Some(id) => format!("{};id={id}", self.name),
            None => self.name.to_owned(),
        };
        Ok(Terms { event, expires: expires.min(self.max_expires), pace: self.pace })
    }
}

/// Whether an Accept header lets `document` through: by its name or by a wildcard, unless `q` is zero.
fn accepts(headers: &Headers, document: &str) -> bool {
    let (family, _) = document.split_once('/').unwrap_or((document, ""));
    message::list(headers, &HeaderName::Accept).iter().any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let refused = parts.filter_map(|param| param.split_once('=')).any(|(name, value)| {
            name.trim().eq_ignore_ascii_case("q") && value.trim().parse::<f32>().is_ok_and(|q| q <= 0.0)
        });
        let matches = name == "*/*"
            || name == document
            || name.strip_suffix("/*").is_some_and(|known| known == family && known != "*");
        matches && !refused
    })
}
