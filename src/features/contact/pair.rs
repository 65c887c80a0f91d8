//! One XMPP user and one SIP contact whom she watches: what she was told, and what is kept over a restart.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::table;
use crate::features::audit::view::{Says, View};
use crate::sip::uri::Aor;
use crate::sip::usage::subscription::Kept;
use crate::store::record::{Key, Record, Restored};
use crate::words::availability::Availability;
use crate::words::time::{Now, Tick, Wall};
use crate::xmpp::jid::Jid;

/// The kind of our records.
pub const KIND: &str = "contact";
/// The most resources that one contact is shown with.
pub const RESOURCES: usize = 32;
/// What was said so shortly before its link broke, or the process died, may have been lost.
pub const LOSABLE: Duration = Duration::from_secs(60);

/// See the module. Kept small: there is one for each roster entry.
#[derive(Debug)]
pub struct Pair {
    /// The user, bare.
    pub user: Jid,
    /// The contact in SIP.
    pub contact: Aor,
    /// The contact in XMPP, bare.
    pub jid: Jid,
    /// She has been told `subscribed`; else she waits for it.
    pub accepted: bool,
    /// It has not been said yet, since the link was down.
    pub unsaid: bool,
    /// When it was said by this process, unless a lost link has settled since whether it is said again.
    pub said_at: Option<Tick>,
    /// When she was told last that a resource has gone away.
    pub gone_at: Option<Tick>,
    /// The contact has refused her. It is said when the link is up, and the pair forgotten when that must have arrived.
    pub refused: bool,
    /// She shares her presence with the contact.
    pub shares: bool,
    /// She has been seen online by this contact since the link came up.
    pub present: bool,
    /// An accepted contact refuses: when that is believed.
    pub doubted: Option<Tick>,
    /// The running subscription, by its place in `Contacts::asks`.
    pub ask: Option<u64>,
    /// A NOTIFY of it has come.
    pub heard: bool,
    /// It is left to expire.
    pub lapsing: bool,
    /// Whether somebody is there is being found out.
    pub check: Check,
    /// Failures in a row.
    pub tries: u8,
    /// When the contact was last asked.
    pub asked_at: Option<Tick>,
    /// The state is known; else only the names of what was shown before the restart.
    pub known: bool,
    /// What she was told, in the order of the resources' names. A list: most contacts have one, and a map of one costs
    /// ten times as much.
    pub resources: Vec<(Box<str>, Availability)>,
}

/// How it is being found out whether the user is there, before a subscription is refreshed for her (RFC 8048 §8.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Check {
    /// It is not.
    #[default]
    None,
    /// A presence probe was sent.
    Probing,
    /// A XEP-0199 ping with this id was sent.
    Pinging(String),
}

/// A pair as it is kept.
#[derive(Serialize, Deserialize)]
pub struct KeptPair {
    user: Jid,
    /// The contact in SIP.
    pub contact: Aor,
    accepted: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    unsaid: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    refused: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    shares: bool,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    doubted: Option<Wall>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    shown: Vec<Box<str>>,
    /// How the contact writes its user part, where that is not how it is known here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    spelled: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dialog: Option<Kept>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

impl Pair {
    /// A pair that has just been wished for.
    pub fn new(user: Jid, contact: Aor, jid: Jid) -> Pair {
        Pair {
            user,
            contact,
            jid,
            accepted: false,
            unsaid: false,
            said_at: None,
            gone_at: None,
            refused: false,
            shares: false,
            present: false,
            doubted: None,
            ask: None,
            heard: false,
            lapsing: false,
            check: Check::None,
            tries: 0,
            asked_at: None,
            known: false,
            resources: Vec::new(),
        }
    }

    /// A pair of before the restart whose contact has this name in XMPP, how the contact writes itself, and its
    /// subscription.
    pub fn restore(kept: KeptPair, jid: Jid, now: Now) -> (Pair, Option<Aor>, Option<Kept>) {
        let mut pair = Pair::new(kept.user, kept.contact, jid);
        pair.accepted = kept.accepted;
        pair.unsaid = kept.unsaid;
        pair.refused = kept.refused;
        pair.shares = kept.shares;
        pair.doubted = kept.doubted.map(|since| now.end_of(since, table::DOUBT));
        pair.resources = kept.shown.into_iter().map(|name| (name, Availability::closed())).collect();
        let spelled = kept.spelled.map(|user| Aor { user: Some(user), host: pair.contact.host.clone() });
        (pair, spelled, kept.dialog)
    }

    /// Whether `subscribed` may not have arrived, should everything end now: what is on its way is lost then.
    pub fn may_be_unsaid(&self, now: Tick) -> bool {
        self.unsaid || self.said_at.is_some_and(|at| at + LOSABLE >= now)
    }

    /// Whether she may not have heard of what went away: that may be lost with the link.
    pub fn may_show_ghosts(&self, now: Tick) -> bool {
        self.gone_at.is_some_and(|at| at + LOSABLE >= now)
    }

    /// The record of the pair with its subscription.
    pub fn record(&self, now: Now, spelled: Aor, dialog: Option<Kept>) -> Record {
        // What has gone away, too: she may not have heard of it.
        let shown = self.resources.iter();
        let kept = KeptPair {
            user: self.user.clone(),
            contact: self.contact.clone(),
            accepted: self.accepted,
            unsaid: self.may_be_unsaid(now.tick),
            refused: self.refused,
            shares: self.shares,
            doubted: self.doubted.map(|ends| now.beginning_of(ends, table::DOUBT)),
            shown: shown.map(|(name, _)| name.clone()).collect(),
            spelled: spelled.user.filter(|user| self.contact.user.as_ref() != Some(user)),
            dialog,
        };
        Record::new(self.key(), &kept)
    }

    /// Names the record.
    pub fn key(&self) -> Key {
        Key::of_pair(KIND, self.user.bare_str(), &self.contact)
    }

    /// Whether any resource is shown as available.
    pub fn is_open(&self) -> bool {
        self.resources.iter().any(|(_, state)| state.open)
    }
}

/// What a record says.
pub fn view(record: &Restored) -> Result<View, String> {
    let kept: KeptPair = record.read().map_err(|error| error.to_string())?;
    let until = kept.dialog.map(|dialog| dialog.until());
    let says = Says::Contact { is_refused: kept.refused, until };
    let key = Key::of_pair(KIND, kept.user.bare_str(), &kept.contact);
    Ok(View { key, user: Some(kept.user), contact: Some(kept.contact), says })
}

/// Whether the user would see no difference.
pub fn alike(one: &Availability, other: &Availability) -> bool {
    one.open == other.open
        && one.show == other.show
        && one.status == other.status
        && one.priority == other.priority
}
