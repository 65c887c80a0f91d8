//! Conference state: `application/conference-info+xml` (RFC 4575), with the nickname that RFC 6501 adds to a user.
//!
//! [`ConferenceInfo`] is one document, full or partial. [`View`] is what a subscriber has put together from documents;
//! [`Roster`] is what a notifier tells of a conference, and [`Seen`] how much of it one subscriber has been told.
//!
//! Read and written: description (texts, addresses, how many may come), state (how many are there, active, locked), users
//! with their names, addresses and roles, and endpoints with how they came, how they are and how they left. Not read:
//! sidebars, cascaded focuses, languages, host-info, service-uris, available-media and call-info: a chat room has none of
//! them, and what stands in an unknown element is left out.
//!
//! Read tolerantly: addresses that lost their scheme or were escaped whole (`sip%3Aroom%40…`), elements in any order, states
//! that contradict the one above. An entity is compared as text, as §4.5 says, after it has been repaired: so one spelling
//! is one user, whoever spells it.

mod read;
mod roster;
mod view;
mod write;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use self::read::parse;
pub use self::roster::{Document, Leaving, Roster, Seen};
pub use self::view::{News, Taken, View};
pub use super::xml::DocumentError;
use crate::sip::uri::SipAddress;
use crate::words::time::Wall;

/// The media type.
pub const TYPE: &str = "application/conference-info+xml";

const NS: &str = "urn:ietf:params:xml:ns:conference-info";
/// RFC 6501, for the nickname of a user.
const XCON: &str = "urn:ietf:params:xml:ns:xcon-conference-info";

/// A document, as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConferenceInfo {
    /// The conference.
    pub entity: Entity,
    /// Whether it is all, or what has changed, or the end of the conference.
    pub state: State,
    /// Its number; a document without one is in order.
    pub version: Option<u32>,
    /// What the conference is about; nothing in a partial document that does not tell of it.
    pub description: Option<Description>,
    /// How it is.
    pub condition: Option<Condition>,
    /// Who is there.
    pub users: Option<Users>,
}

/// What an element is in relation to those before it (§4.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// All there is.
    #[default]
    Full,
    /// What has changed.
    Partial,
    /// It is gone.
    Deleted,
}

/// The name of a conference, a user or an endpoint: a URI, repaired where it is a SIP address.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entity(Arc<str>);

impl Entity {
    /// Repairs a URI that lost its scheme or was escaped whole. What is no SIP address stays as it is.
    pub fn new(text: &str) -> Entity {
        let text = text.trim();
        // A SIP URI that is well formed keeps its spelling: a port or a parameter may be all that tells two apart.
        if is_sip(text) {
            return Entity(text.into());
        }
        super::pidf::repair(text).map_or_else(|| Entity(text.into()), |address| Entity::from(&address))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The SIP address, if it is one.
    pub fn address(&self) -> Option<SipAddress> {
        super::pidf::repair(&self.0)
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&SipAddress> for Entity {
    fn from(address: &SipAddress) -> Entity {
        Entity(address.text().into())
    }
}

/// Whether it is a SIP URI that needs no repair: one whose `@` was escaped has only a host.
fn is_sip(text: &str) -> bool {
    let is_escaped = |address: &SipAddress| address.aor.user.is_none() && text.contains("%40");
    let scheme = text.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
    matches!(scheme.as_deref(), Some("sip" | "sips"))
        && SipAddress::parse(text).is_ok_and(|address| !is_escaped(&address))
}

/// What a conference is about (§5.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// Its name.
    pub display_text: Option<String>,
    /// Its subject. An empty one is none, but it was said.
    pub subject: Option<String>,
    /// More words.
    pub free_text: Option<String>,
    /// Where it is reached.
    pub uris: Vec<Place>,
    /// How many may come.
    pub maximum_user_count: Option<u32>,
}

/// An address of a conference or of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The address.
    pub uri: Entity,
    /// Its name.
    pub display_text: Option<String>,
    /// What it is for: `participation`.
    pub purpose: Option<String>,
}

/// How a conference is (§5.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// How many users it says it has.
    pub user_count: Option<u32>,
    /// It takes place.
    pub active: Option<bool>,
    /// Nobody may come any more.
    pub locked: Option<bool>,
}

/// Who is there (§5.6).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users {
    /// Whether these are all.
    pub state: State,
    /// They, each entity once.
    pub list: Vec<User>,
    /// How many more there were than are read.
    pub left_out: usize,
}

/// A user (§5.6).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Who it is, once in a conference.
    pub entity: Entity,
    /// Whether that is all of it.
    pub state: State,
    /// What it is called.
    pub display_text: Option<String>,
    /// The nickname of RFC 6501, which is closer to the name in the room where there is one.
    pub nickname: Option<String>,
    /// Further addresses of it (`associated-aors`).
    pub aors: Vec<Entity>,
    /// What it may do, in the focus' words.
    pub roles: Vec<String>,
    /// Its devices, each entity once.
    pub endpoints: Vec<Endpoint>,
}

impl User {
    /// A user of whom nothing is known yet.
    pub fn new(entity: Entity) -> User {
        User { entity, ..User::default() }
    }

    /// What it is called in the room: the nickname, the display name, an endpoint's display name.
    pub fn name(&self) -> Option<&str> {
        let endpoints = self.endpoints.iter().map(|endpoint| endpoint.display_text.as_deref());
        [self.nickname.as_deref(), self.display_text.as_deref()]
            .into_iter()
            .chain(endpoints)
            .flatten()
            .find(|name| !name.is_empty())
    }

    /// Whether it takes part: one of its endpoints does. A user without endpoints is there, since it is in the list.
    pub fn is_present(&self) -> bool {
        self.endpoints.is_empty() || self.endpoints.iter().any(Endpoint::is_present)
    }

    /// How it left, if all of its endpoints did.
    pub fn left(&self) -> Option<&Endpoint> {
        let is_gone = !self.endpoints.is_empty()
            && self.endpoints.iter().all(|endpoint| endpoint.status == Some(Status::Disconnected));
        self.endpoints.iter().find(|_| is_gone)
    }
}

/// A device of a user (§5.7).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Which.
    pub entity: Entity,
    /// Whether that is all of it.
    pub state: State,
    /// Its name.
    pub display_text: Option<String>,
    /// How it is.
    pub status: Option<Status>,
    /// How it came.
    pub joining: Option<Joining>,
    /// When it came, and by whose doing.
    pub joining_info: Option<Execution>,
    /// How it left.
    pub disconnection: Option<Disconnection>,
    /// When it left, why, and by whose doing.
    pub disconnection_info: Option<Execution>,
    /// What flows to and from it.
    pub media: Vec<Media>,
}

impl Endpoint {
    /// Whether it takes part. One whose status is not said does.
    pub fn is_present(&self) -> bool {
        self.status.is_none_or(|status| {
            matches!(
                status,
                Status::Connected | Status::OnHold | Status::MutedViaFocus | Status::Disconnecting
            )
        })
    }
}

/// A stream of an endpoint (§5.8).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Media {
    /// Which of the endpoint.
    pub id: String,
    /// `message`.
    pub kind: Option<String>,
    /// `sendrecv`: who may send, as the focus sees it.
    pub status: Option<String>,
}

/// When something was done, why, and by whom (`execution-type`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Execution {
    /// When.
    pub when: Option<Wall>,
    /// Why, for people.
    pub reason: Option<String>,
    /// By whom.
    pub by: Option<Entity>,
}

/// A vocabulary: each word as it is written.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $word:ident = $text:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$doc])* $word,)* }

        impl $name {
            /// All of them, in the order of the schema.
            pub const ALL: &[$name] = &[$($name::$word,)*];

            /// The word.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$word => $text,)* }
            }

            /// Reads the word; nothing for one that RFC 4575 does not have.
            pub fn parse(text: &str) -> Option<$name> {
                $name::ALL.iter().copied().find(|word| word.as_str().eq_ignore_ascii_case(text.trim()))
            }
        }
    };
}

words! {
    /// How an endpoint is (§5.7.3).
    Status {
        /// The focus has not decided about it.
        Pending = "pending",
        /// The focus calls it.
        DialingOut = "dialing-out",
        /// It calls.
        DialingIn = "dialing-in",
        /// It rings.
        Alerting = "alerting",
        /// It is on hold.
        OnHold = "on-hold",
        /// It takes part.
        Connected = "connected",
        /// It takes part, and the focus does not let it be heard.
        MutedViaFocus = "muted-via-focus",
        /// It leaves.
        Disconnecting = "disconnecting",
        /// It has left.
        Disconnected = "disconnected",
    }
}

words! {
    /// How an endpoint came (§5.7.4).
    Joining {
        /// By itself.
        DialedIn = "dialed-in",
        /// It was called.
        DialedOut = "dialed-out",
        /// The conference is its own.
        FocusOwner = "focus-owner",
    }
}

words! {
    /// How an endpoint left (§5.7.6).
    Disconnection {
        /// By itself.
        Departed = "departed",
        /// It was put out.
        Booted = "booted",
        /// It did not come, or was lost.
        Failed = "failed",
        /// It was busy.
        Busy = "busy",
    }
}
