//! What was let go while nobody could reach us is found out.
//!
//! A NOTIFY that nobody answers for 64·T1 ends its subscription at the notifier, without another word (RFC 6665 §4.2.2).
//! What is shown would then stay as it was until the next refresh, which may be most of an hour away. So when a peer answers
//! again after such a time, the subscriptions of its contacts are refreshed, and contacts who could not be asked meanwhile
//! are; likewise when the store was down for so long, since no answer leaves before its commit. A notifier that has lost
//! the subscription says so (481), and it begins anew.
//!
//! A NOTIFY that was sent just before the end of such a time may still fail after the refresh, and end what was refreshed:
//! who was asked so early is asked once more. The same is so after a restart, where all are asked in any case ([`outage`]).
//!
//! A lost component link needs nothing of this: NOTIFYs are answered while it is down.
//!
//! [`outage`]: super::outage

use std::time::Duration;

use super::{CROSSED_PAUSE, Contacts, Timer};
use crate::features::Cx;
use crate::gateway::io::StoreChange;
use crate::words::time::Tick;

/// How long a notifier waits for the answer to a NOTIFY: Timer F (RFC 3261 §17.1.2.2).
const GIVEN_UP: Duration = Duration::from_secs(32);
/// How many contacts are asked in one step, and the pause between two: a peer that has just come back is sent 500 a second.
const STEP: usize = 25;
const PAUSE: Duration = Duration::from_millis(50);
/// How many contacts are looked at in one step.
const LOOK: usize = 2000;

/// A peer that answers again.
#[derive(Clone, Copy, Debug)]
pub struct Return {
    /// Since when.
    since: Tick,
    /// The last pair that was looked at.
    last: u64,
}

impl Contacts {
    /// A peer answers again.
    pub(super) fn begin_return(&mut self, cx: &mut Cx<'_>, peer: usize) {
        self.returning.insert(peer, Return { since: cx.now.tick, last: 0 });
        self.ask_returned(cx, peer);
    }

    /// The store fails, or is back.
    pub(super) fn store_changes(&mut self, cx: &mut Cx<'_>, change: StoreChange) {
        match change {
            StoreChange::Down => drop(self.mute.get_or_insert(cx.now.tick)),
            StoreChange::Ok | StoreChange::Low => {
                if self.mute.take().is_some_and(|since| since + GIVEN_UP <= cx.now.tick) {
                    (0..cx.config.sip.peers.len()).for_each(|peer| self.begin_return(cx, peer));
                }
            }
        }
    }

    /// Asks the next contacts of a peer that answers again.
    pub(super) fn ask_returned(&mut self, cx: &mut Cx<'_>, peer: usize) {
        let Some(Return { since, last: after }) = self.returning.get(&peer).copied() else { return };
        let (mut last, mut due) = (None, Vec::new());
        for (id, pair) in self.pairs.range(after + 1..).take(LOOK) {
            last = Some(*id);
            let may_be_lost = match pair.ask {
                Some(_) => !pair.lapsing,
                None => self.timers.at(&Timer::Again(*id)).is_some() && self.rested(cx, *id, CROSSED_PAUSE),
            };
            if may_be_lost && !pair.refused && cx.config.sip.peer_for(&pair.contact.host) == Some(peer) {
                due.push((*id, pair.ask.is_some()));
            }
            if due.len() == STEP {
                break;
            }
        }
        for (id, was_running) in due {
            self.again(cx, id);
            if was_running {
                self.ask_once_more(cx, id, cx.now.tick - since);
            }
        }
        match last.filter(|_| self.goodbye.is_none()) {
            Some(last) => {
                self.returning.insert(peer, Return { since, last });
                self.timers.set(Timer::Return(peer), cx.now.tick + PAUSE);
            }
            None => drop(self.returning.remove(&peer)),
        }
    }

    /// A subscription was refreshed so soon after its notifier could not reach us that it may still be given up.
    pub(super) fn ask_once_more(&mut self, cx: &Cx<'_>, id: u64, after: Duration) {
        let is_running = self.pairs.get(&id).is_some_and(|pair| pair.ask.is_some());
        if is_running && after < GIVEN_UP {
            self.timers.set(Timer::Again(id), cx.now.tick + GIVEN_UP);
        }
    }
}
