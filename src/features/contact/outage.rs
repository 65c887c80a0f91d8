//! Lost links and the stop: who may have missed something is told again, and nothing is shown that we cannot see.

use std::collections::btree_map::Entry;
use std::time::Duration;

use super::pair::Check;
use super::{CROSSED_PAUSE, Contacts, Timer};
use crate::features::Cx;
use crate::gateway::io::LinkId;
use crate::sabotage::{self, Fault as Mistake};

/// How many contacts are told of in one step when a link comes up, and the pause between two such steps: messages go
/// between them, and no server is sent more than it can take.
const STEP: usize = 100;
const PAUSE: Duration = Duration::from_millis(5);
/// How many in one step when the process stops.
const LAST_STEP: usize = 500;
/// How much room each contact gets when all are asked again.
const SPREAD: Duration = Duration::from_millis(2);
/// Those who get less room are asked at once.
const FEW: Duration = Duration::from_millis(50);

impl Contacts {
    /// Who is online is not known any more, whichever component the user's presence came through; and what was on its
    /// way may be lost.
    pub(super) fn lose_link(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        self.telling.remove(&link);
        self.timers.stop(&Timer::Tell(link));
        self.users.values_mut().for_each(|user| user.gone = false);
        let mut unanswered = Vec::new();
        for (id, pair) in &mut self.pairs {
            pair.present = false;
            if cx.domains.link_of(pair.jid.domain()) != Some(link) {
                continue;
            }
            if pair.may_be_unsaid(cx.now.tick) && !pair.unsaid {
                pair.unsaid = true;
                self.dirty.insert(*id);
            }
            pair.said_at = None;
            if pair.check != Check::None {
                unanswered.push(*id);
            }
        }
        for id in unanswered {
            self.refresh(cx, id);
        }
    }

    /// A link came up: its users may have missed anything, and who came online meanwhile is not known. After a restart
    /// nothing is known yet.
    pub(super) fn tell_link(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        let Some(after) = self.telling.get(&link).copied() else { return };
        let room = SPREAD * u32::try_from(self.pairs.len()).unwrap_or(u32::MAX);
        let (mut last, mut refused, mut lapsing) = (None, Vec::new(), Vec::new());
        let next = self.pairs.range_mut(after + 1..).take(STEP);
        for (id, pair) in next {
            last = Some(*id);
            if cx.domains.link_of(pair.jid.domain()) != Some(link) {
                continue;
            }
            if pair.accepted {
                if pair.unsaid && !pair.refused {
                    pair.say_subscribed(cx);
                    self.dirty.insert(*id);
                }
                if pair.resources.iter().any(|(_, state)| !state.open) {
                    pair.gone_at = Some(cx.now.tick);
                }
                if !sabotage::is(Mistake::NewsLost) {
                    pair.tell_all(cx, &pair.user);
                }
            }
            if pair.refused {
                refused.push(*id);
            } else if pair.lapsing {
                lapsing.push(*id);
            } else if (pair.ask.is_none() || pair.asked_at.is_none())
                && self.timers.at(&Timer::Again(*id)).is_none()
            {
                // A link that comes and goes must not have everybody asked each time; the first of a few go at once.
                let rest = pair.asked_at.map_or(Duration::ZERO, |at| at + CROSSED_PAUSE - cx.now.tick);
                let share = cx.mint.between(Duration::ZERO, room);
                let share = if room < FEW { Duration::ZERO } else { share };
                self.timers.set(Timer::Again(*id), cx.now.tick + rest + share);
            }
        }
        for id in refused {
            self.say_refused(cx, id);
        }
        for id in lapsing {
            self.refresh(cx, id);
        }
        match last {
            Some(last) => {
                self.telling.insert(link, last);
                self.timers.set(Timer::Tell(link), cx.now.tick + cx.pause(PAUSE));
            }
            None => {
                self.telling.remove(&link);
            }
        }
    }

    /// Pairs came back while links are up: they are told of behind all that are being told.
    pub(super) fn tell_restored(&mut self, cx: &Cx<'_>) {
        let Some(first) = self.restored.take() else { return };
        for link in (0..cx.links.len()).map(LinkId).filter(|link| cx.is_up(*link)) {
            if let Entry::Vacant(vacant) = self.telling.entry(link) {
                vacant.insert(first - 1);
                self.timers.set(Timer::Tell(link), cx.now.tick);
            }
        }
    }

    /// Takes the next contacts offline. Their subscriptions stay, on disk and at the other side.
    pub(super) fn take_offline(&mut self, cx: &mut Cx<'_>) {
        let Some(after) = self.goodbye else { return };
        let mut last = None;
        for (id, pair) in self.pairs.range(after + 1..).take(LAST_STEP) {
            last = Some(*id);
            pair.say_goodbye(cx);
        }
        match last {
            Some(last) => {
                self.goodbye = Some(last);
                self.timers.set(Timer::Goodbye, cx.now.tick);
            }
            None => self.said_goodbye = true,
        }
    }
}
