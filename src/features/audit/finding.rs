//! What may be wrong with a record, in words, and what mends it.

use std::fmt;

/// Something that is wrong with one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The record's name.
    pub record: String,
    /// What is wrong, and what that means.
    pub words: Words,
    /// More of it: a reader's complaint, another name.
    pub why: String,
    /// What mends it.
    pub repair: Repair,
}

/// What is wrong, and what it means for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    what: &'static str,
    means: &'static str,
}

/// What mends a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// It is written to the file of what was set aside, and taken out of the store.
    SetAside,
    /// It is written to that file, and this takes its place.
    Replace(Vec<u8>),
    /// Nothing here can.
    Nothing,
}

impl Finding {
    pub(super) const NAMELESS: Words =
        Words { what: "its name is none of ours", means: "no version of Mostar has written it" };
    pub(super) const UNKNOWN: Words =
        Words { what: "its kind is unknown", means: "another program has written it, or a newer Mostar" };
    pub(super) const NEWER: Words = Words {
        what: "it is of a newer version",
        means: "a newer Mostar has written it, and this one cannot read it",
    };
    pub(super) const UNREADABLE: Words =
        Words { what: "it cannot be read", means: "what it says is lost to the gateway" };
    pub(super) const MISPLACED: Words = Words {
        what: "its name belongs to something else than it says",
        means: "the gateway would look for it, or forget it, under another name",
    };
    pub(super) const ORPHAN: Words = Words {
        what: "it is of a domain that is not configured any more",
        means: "nobody can be reached or told; list the domain again to have it back",
    };
    pub(super) const REFUSED_AND_WAITS: Words = Words {
        what: "the message was refused and waits all the same",
        means: "it would be delivered although its sender was told that it failed",
    };
    pub(super) const SETTLED_AND_WAITS: Words = Words {
        what: "the message has met its fate and waits all the same",
        means: "it would be sent once more",
    };
    pub(super) const TWICE: Words =
        Words { what: "the message waits under two names", means: "it would be sent twice" };
    pub(super) const SAME_PLACE: Words = Words {
        what: "the message has the place of another one in its queue",
        means: "which of the two goes first is open",
    };
    pub(super) const TOO_LONG: Words = Words {
        what: "it would last longer than anything may",
        means: "it was written while the calendar was wrong, or the calendar is wrong now",
    };
    pub(super) const WITHOUT_CONSENT: Words = Words {
        what: "the watcher was let in and nobody has consented",
        means: "he would see presence that he may not see",
    };
    pub(super) const REFUSED_AND_WATCHED: Words = Words {
        what: "the contact has refused and is watched all the same",
        means: "a subscription is refreshed that its notifier has ended",
    };
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name: String = self.record.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        write!(out, "{name}: {}", self.words.what)?;
        if !self.why.is_empty() {
            let why: String = self.why.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            write!(out, " ({why})")?;
        }
        write!(out, ": {}; --repair {}", self.words.means, self.repair)
    }
}

impl fmt::Display for Repair {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Repair::SetAside => "sets it aside",
            Repair::Replace(_) => "corrects it",
            Repair::Nothing => "leaves it there: put a backup of the store in its place",
        })
    }
}

/// The record with another number at this place; nothing if there is none.
pub(super) fn with_number(value: &[u8], place: &[&str], number: u64) -> Option<Vec<u8>> {
    let mut tree: serde_json::Value = serde_json::from_slice(value).ok()?;
    let mut at = &mut tree;
    for step in place {
        at = at.get_mut(*step)?;
    }
    *at = at.is_u64().then(|| number.into())?;
    serde_json::to_vec(&tree).ok()
}
