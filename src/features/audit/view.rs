//! What one record of the store says, in words that hold for all features, and what many of them say together.

use std::ops::AddAssign;

use crate::sip::uri::Aor;
use crate::store::record::Key;
use crate::words::time::Wall;
use crate::xmpp::jid::Jid;

/// The first place in a queue by the present rule (`features/pager/place.rs`); those of before it are smaller.
pub const FIRST: u64 = 1 << 32;

/// A record, read by its feature.
#[derive(Debug)]
pub struct View {
    /// The name that belongs to what it says.
    pub key: Key,
    /// The XMPP user whom it is about.
    pub user: Option<Jid>,
    /// The SIP contact whom it is about.
    pub contact: Option<Aor>,
    /// What it says of them.
    pub says: Says,
}

/// What a record says.
#[derive(Debug, PartialEq, Eq)]
pub enum Says {
    /// A message has met no fate: it waits, or is on its way. Which of the two is not kept.
    Waits {
        /// From SIP to XMPP.
        to_xmpp: bool,
        /// What it is called in the direction in which it goes.
        name: String,
        /// Its place among those of its sender and recipient.
        rank: (u64, Wall, u64),
        /// Its sender was told that it failed, all the same.
        is_refused: bool,
    },
    /// A message has met its fate and is remembered for who asks again.
    Settled {
        /// What it is called in XMPP, where it went.
        name: String,
        /// It is with its recipient's server.
        is_delivered: bool,
        /// When it is forgotten.
        until: Wall,
    },
    /// A message to SIP has failed, and its sender is being told.
    Failed {
        /// What it is called in SIP.
        name: String,
    },
    /// Something on its way that is nobody's message: words about a failure, a notification.
    Notice,
    /// What an XMPP user has said about a watcher.
    Consent {
        /// Yes.
        is_granted: bool,
    },
    /// A SIP user watches an XMPP user.
    Watch {
        /// He was let in.
        is_active: bool,
        /// When it ends.
        until: Wall,
    },
    /// An XMPP user has a SIP contact.
    Contact {
        /// The contact has refused her.
        is_refused: bool,
        /// When the subscription to it ends, where there is one.
        until: Option<Wall>,
    },
    /// What is remembered and has no state.
    Memory,
}

/// What a store says of the messages of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// They wait or are on their way.
    pub waiting: u64,
    /// They were delivered, not long ago. To SIP nothing is remembered of those.
    pub delivered: u64,
    /// They failed, not long ago: their senders were told; to SIP: are being told.
    pub failed: u64,
}

/// What a store says of all messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Books {
    /// From SIP to XMPP.
    pub to_xmpp: Side,
    /// From XMPP to SIP.
    pub to_sip: Side,
}

impl AddAssign<&Says> for Books {
    fn add_assign(&mut self, says: &Says) {
        match says {
            Says::Waits { to_xmpp: true, .. } => self.to_xmpp.waiting += 1,
            Says::Waits { to_xmpp: false, .. } => self.to_sip.waiting += 1,
            Says::Settled { is_delivered: true, .. } => self.to_xmpp.delivered += 1,
            Says::Settled { is_delivered: false, .. } => self.to_xmpp.failed += 1,
            Says::Failed { .. } => self.to_sip.failed += 1,
            _ => {}
        }
    }
}
