//! What is kept of a session on disk: enough to end it after a restart, and to answer what comes before it is ended.
//!
//! The owner keeps it when the session is up, and again when [`Session::kept`] has changed: with a new target. A session
//! that is not up yet is not kept: its caller gets no answer, or no ACK, and ends it (RFC 3261 §13.3.1.4). What somebody
//! was promised for it, the owner keeps by itself.
//!
//! Descriptions and timers are not kept: nobody goes on with a session of before a restart, whose MSRP connections are
//! gone.

use serde::{Deserialize, Serialize};

use super::{Session, State};
use crate::sip::dialog::Dialog;

/// By how much CSeq jumps after a restart: refreshes are not kept one by one.
const RESTART_GAP: u32 = 10_000;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    dialog: Dialog,
    contact: Box<str>,
}

impl Kept {
    /// Our tag.
    pub fn tag(&self) -> &str {
        &self.dialog.local_tag
    }
}

impl Session {
    /// What is kept; nothing unless the session is up.
    pub fn kept(&self) -> Option<Kept> {
        (self.state == State::Up).then(|| Kept { dialog: self.dialog.clone(), contact: self.contact.clone() })
    }

    /// The session, to be ended. A missing ACK is not waited for any more. `allow` is the whole value of our Allow.
    pub fn restore(kept: Kept, allow: &str) -> Session {
        let mut dialog = kept.dialog;
        dialog.local_cseq = dialog.local_cseq.saturating_add(RESTART_GAP);
        Session::new(State::Up, dialog, &kept.contact, allow)
    }
}
