//! How fast one sender may write: `messages.rate` a second for long, more at once (RFC 6120 §13.12).
//!
//! Only messages that are taken count: no repetition of a request, no presence, no answer. See
//! `docs/decisions/rate-of-stanzas.md`.

use super::meter::{Hushed, Way};
use crate::features::Cx;
use crate::words::pace::Pace;
use crate::words::time::Tick;

/// How many senders are counted at a time.
const SENDERS: usize = 100_000;
/// The event of a refusal.
const EVENT: &str = "sender-too-fast";

/// The senders of one direction.
#[derive(Debug)]
pub struct Quota {
    pace: Pace,
    refusals: Hushed,
}

impl Default for Quota {
    fn default() -> Quota {
        Quota { pace: Pace::of(SENDERS), refusals: Hushed::default() }
    }
}

impl Quota {
    /// Whether this sender may write now; counted if so, and logged if not.
    pub fn admits(&mut self, cx: &mut Cx<'_>, way: Way, sender: &str) -> bool {
        let admitted = self.pace.take(cx.now.tick, cx.config.messages.rate, sender);
        if !admitted {
            let fields = vec![("from", sender.to_owned()), ("direction", way.name().to_owned())];
            self.refusals.say(cx, EVENT, fields);
        }
        admitted
    }

    /// When [`Quota::timeout`] is wanted.
    pub fn next_timeout(&self) -> Option<Tick> {
        [self.pace.next_timeout(), self.refusals.next_timeout()].into_iter().flatten().min()
    }

    /// Time has come.
    pub fn timeout(&mut self, cx: &mut Cx<'_>, way: Way) {
        self.pace.timeout(cx.now.tick);
        self.refusals.timeout(cx, EVENT, way);
    }

    /// How many senders are counted.
    pub fn len(&self) -> usize {
        self.pace.known()
    }
}
