//! What is kept of a session on disk: enough to go on with it, or at least to send BYE, after a restart.
//!
//! The owner keeps it when the session is up, and again when [`Session::kept`] has changed: with a new target, a new
//! description or a new timer. A session that is not up yet is not kept: its caller gets no answer, or no ACK, and
//! ends it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::parts::KeptBody;
use super::timer::Timing;
use super::{Alarm, Session, State};
use crate::sip::dialog::Dialog;
use crate::words::time::{Now, Wall};

/// By how much CSeq jumps after a restart: refreshes are not kept one by one.
const RESTART_GAP: u32 = 10_000;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    dialog: Dialog,
    contact: Box<str>,
    allow: Box<str>,
    is_caller: bool,
    updates: bool,
    ours: Option<KeptBody>,
    timer: Option<KeptTimer>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct KeptTimer {
    seconds: u64,
    we_refresh: bool,
    until: Wall,
}

impl Kept {
    /// The Call-ID of the session.
    pub fn call_id(&self) -> &str {
        &self.dialog.call_id
    }

    /// The tag that names the dialog on our side.
    pub fn tag(&self) -> &str {
        &self.dialog.local_tag
    }
}

impl Session {
    /// What is kept; nothing unless the session is up.
    pub fn kept(&self, now: Now) -> Option<Kept> {
        let until = self.timers.at(&Alarm::Expire);
        (self.state == State::Up).then(|| Kept {
            dialog: self.dialog.clone(),
            contact: self.contact.clone(),
            allow: self.allow.clone(),
            is_caller: self.is_caller,
            updates: self.updates,
            ours: self.ours.as_ref().map(KeptBody::of),
            timer: self.timing.zip(until).map(|(timing, until)| KeptTimer {
                seconds: timing.interval.as_secs(),
                we_refresh: timing.we_refresh,
                until: now.wall_at(until),
            }),
        })
    }

    /// The session as it was, with what is left of its timer. A missing ACK is not waited for any more.
    pub fn restore(now: Now, kept: Kept) -> Session {
        let mut dialog = kept.dialog;
        dialog.local_cseq = dialog.local_cseq.saturating_add(RESTART_GAP);
        let mut session = Session::new(State::Up, dialog, &kept.contact, &kept.allow);
        session.is_caller = kept.is_caller;
        session.updates = kept.updates;
        session.ours = kept.ours.map(KeptBody::restore);
        if let Some(timer) = kept.timer {
            let interval = Duration::from_secs(timer.seconds);
            session.timing = Some(Timing { interval, we_refresh: timer.we_refresh });
            let until = now.tick_at(timer.until).min(now.tick + interval);
            session.timers.set(Alarm::Expire, until);
            if timer.we_refresh {
                session.timers.set(Alarm::Refresh, now.tick + (until - now.tick) / 2);
            }
        }
        session
    }
}
