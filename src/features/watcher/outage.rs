//! Lost links, starts and stops: no green light lies. Who is told that nobody is there keeps his dialog, and is told
//! everything again when somebody can be seen.

use std::time::Duration;

use super::pair::Pair;
use super::subscribe::question;
use super::table::{Consent, WEEK};
use super::{
    CONSENT, DIALOG, Down, KeptConsent, KeptDialog, PairId, Sub, SubId, Timer, Told, Watcher, count_subs,
    kept, note_question,
};
use crate::features::Cx;
use crate::features::audit::view::{Says, View};
use crate::gateway::LinkId;
use crate::sip::usage::notifier::{Notifier, Reason};
use crate::sip::usage::package::PRESENCE;
use crate::store::record::{Key, Record, Restored};
use crate::words::id::Partition;
use crate::words::time::Wall;

/// How long a link may be down before watchers are told that nobody is there.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the answer to a probe is waited for when very many are sent at once.
const CROWD: Duration = Duration::from_secs(10);

/// A question that went out so shortly before its link broke, or the process died, is put again: it may have been lost.
pub(super) const DOUBT: Duration = Duration::from_secs(60);

/// How many users are probed, and watchers told, at once; and how long the next wait.
const BATCH: usize = 100;
const BETWEEN: Duration = Duration::from_millis(5);

/// The same when the process stops: 100,000 watchers in a second.
const LAST_BATCH: usize = 2000;
const LAST_BETWEEN: Duration = Duration::from_millis(20);

/// After this a last word overtakes a NOTIFY that is not answered.
const OVERTAKE: Duration = Duration::from_secs(2);

/// After this no answer to a last word is waited for.
const LEAVE: Duration = Duration::from_secs(3);

/// An unanswered question of a watcher who has not come back is forgotten after this.
const FORGET: Duration = Duration::from_secs(90 * 24 * 3600);

/// What a record says.
pub(super) fn view(record: &Restored) -> Result<View, String> {
    if record.kind == CONSENT {
        let kept: KeptConsent = record.read().map_err(|error| error.to_string())?;
        let key = Key::of_pair(CONSENT, kept.user.bare_str(), &kept.contact);
        let says = Says::Consent { is_granted: kept.consent == Consent::Granted };
        return Ok(View { key, user: Some(kept.user), contact: Some(kept.contact), says });
    }
    let kept: KeptDialog = record.read().map_err(|error| error.to_string())?;
    let (is_active, until) = (kept.subscription.is_active(), kept.subscription.until());
    let (partition, id) = (Partition::of(kept.user.as_str()), kept.subscription.tag().to_owned());
    Ok(View {
        key: Key { kind: DIALOG, partition, id },
        user: Some(kept.user),
        contact: Some(kept.contact),
        says: Says::Watch { is_active, until },
    })
}

impl Watcher {
    /// What cannot be used stays in the store: a user's word is not forgotten because a domain is not listed today.
    pub(super) fn restore(&mut self, cx: &mut Cx<'_>, record: &Restored) {
        let restored = match record.kind.as_str() {
            CONSENT => record.read().map(|kept| self.restore_consent(cx, kept)),
            _ => record.read().map(|kept| self.restore_dialog(cx, kept)),
        };
        match restored {
            Ok(true) => {}
            Ok(false) => cx.unused(record, "no component speaks for the watcher"),
            Err(error) => cx.unreadable(record, error),
        }
    }

    /// False where the watcher has no name in XMPP now.
    fn restore_consent(&mut self, cx: &mut Cx<'_>, kept: KeptConsent) -> bool {
        let Some(id) = self.pair(cx, kept.user, kept.contact) else { return false };
        self.restored_pairs.push(id);
        let Some(pair) = self.pairs.get_mut(&id) else { return false };
        pair.consent = kept.consent;
        // Without its alarm: it is put again when somebody can hear it.
        pair.asked = Some(cx.now.tick).filter(|_| kept.in_doubt);
        note_question(&mut self.asking, id, pair);
        cx.facts.set_shares(&pair.user, &pair.contact, kept.consent == Consent::Granted);
        true
    }

    /// The same.
    fn restore_dialog(&mut self, cx: &mut Cx<'_>, kept: KeptDialog) -> bool {
        let Some(pair) = self.pair(cx, kept.user, kept.contact) else { return false };
        let notifier = Notifier::restore(kept.subscription, &PRESENCE, cx.now);
        let sub = Sub { pair, notifier, fetch: false, held: false, told: Told::Something, short: false };
        let sub = self.add_sub(sub);
        self.restored_subs.push(sub);
        self.restored_pairs.push(pair);
        true
    }

    /// Records are back, of some users whole. Links are down until they are up.
    pub(super) fn begin(&mut self, cx: &mut Cx<'_>) {
        for link in (0..cx.links.len()).map(LinkId) {
            if !cx.links[link.0] {
                self.link_is_down(cx, link);
            }
        }
        let subs = std::mem::take(&mut self.restored_subs);
        let mut pairs = std::mem::take(&mut self.restored_pairs);
        count_subs(cx, subs.len() as i64);
        let mut due = Vec::new();
        for id in subs {
            let Some(sub) = self.subs.get_mut(&id) else { continue };
            let Some(pair) = self.pairs.get(&sub.pair) else { continue };
            match pair.consent {
                Consent::Granted => sub.notifier.activate(),
                // His last word was on its way, or the book was changed by hand.
                Consent::Refused { .. } => sub.notifier.end(Reason::Rejected, None, cx.now),
                _ if sub.notifier.is_active() => sub.notifier.end(Reason::Rejected, None, cx.now),
                _ => {}
            }
            if !cx.domains.is_user_domain(pair.user.domain()) {
                sub.notifier.end(Reason::NoResource, None, cx.now);
            }
            match sub.notifier.next() {
                Some(at) if at > cx.now.tick => self.timers.set(Timer::Subscription(id), at),
                _ => due.push(id),
            }
        }
        for id in due {
            self.tend(cx, id);
        }
        pairs.sort();
        pairs.dedup();
        // Whose link is up already is asked and probed for like those whose link came up.
        let is_seen = |id: &PairId| {
            let pair = self.pairs.get(id);
            pair.is_some_and(|pair| cx.is_up(pair.link) && (!pair.subs.is_empty() || pair.asked.is_some()))
        };
        let before = self.resuming.len();
        self.resuming.extend(pairs.iter().copied().filter(is_seen));
        if before == 0 && !self.resuming.is_empty() {
            self.timers.set(Timer::Resume, cx.now.tick);
        }
        self.forget_stale(cx, pairs);
    }

    /// Forgets those of these pairs that are only of the past.
    pub(super) fn forget_stale(&mut self, cx: &mut Cx<'_>, mut pairs: Vec<PairId>) {
        pairs.retain(|id| self.pairs.get(id).is_some_and(|pair| is_stale(pair, cx.now.wall)));
        for id in pairs {
            self.decide(cx, id, Consent::Unasked);
        }
    }

    pub(super) fn link_is_down(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        if self.down.contains_key(&link) {
            return;
        }
        self.down.insert(link, Down { since: cx.now.tick, dark: false });
        self.timers.set(Timer::Dark(link), cx.now.tick + PATIENCE);
        // Nobody answers a probe now; what was shown stays until the link is dark or up.
        let mine = self.pairs.iter_mut().filter(|(_, pair)| pair.link == link);
        let probed = mine.filter_map(|(id, pair)| pair.seen.break_off().then_some(*id));
        let probed: Vec<PairId> = probed.collect();
        for id in probed {
            self.timers.stop(&Timer::Settle(id));
            self.release(cx, id);
        }
    }

    /// The link has been down for too long.
    pub(super) fn darken(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        let Some(down) = self.down.get_mut(&link) else { return };
        down.dark = true;
        for id in self.pairs_of(link) {
            if let Some(pair) = self.pairs.get_mut(&id) {
                pair.seen.forget();
                self.closing.extend(pair.subs.iter().copied());
            }
        }
        self.close_some(cx);
    }

    pub(super) fn link_is_up(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        self.timers.stop(&Timer::Dark(link));
        let down = self.down.remove(&link);
        if self.stopping.is_some() {
            return;
        }
        let pairs = self.pairs_of(link);
        let (subs, known) = (&self.subs, &self.pairs);
        let is_mine = |id: &SubId| {
            let pair = subs.get(id).and_then(|sub| known.get(&sub.pair));
            pair.is_some_and(|pair| pair.link == link)
        };
        self.closing.retain(|id| !is_mine(id));
        for id in pairs {
            let Some(pair) = self.pairs.get_mut(&id) else { continue };
            let is_armed = self.timers.at(&Timer::Asked(id)).is_some();
            // Without its alarm it waits to be put again since a link before this one.
            let in_doubt =
                pair.asked.is_some_and(|at| !is_armed || down.is_some_and(|down| at + DOUBT >= down.since));
            if pair.subs.is_empty() {
                pair.seen.forget();
            }
            if in_doubt {
                self.timers.stop(&Timer::Asked(id));
            }
            if !pair.subs.is_empty() || in_doubt {
                self.resuming.push_back(id);
            }
            if pair.asked.is_some() && !in_doubt {
                self.has_arrived(cx, id);
            }
        }
        self.resume_some(cx);
    }

    /// Asks and probes for some of the watchers who wait since a link was down.
    pub(super) fn resume_some(&mut self, cx: &mut Cx<'_>) {
        for _ in 0..BATCH {
            let Some(id) = self.resuming.pop_front() else { return };
            let Some(pair) = self.pairs.get_mut(&id) else { continue };
            let is_watched = !pair.subs.is_empty();
            let is_in_doubt = pair.asked.is_some() && self.timers.at(&Timer::Asked(id)).is_none();
            match pair.consent {
                Consent::Unasked if is_watched => self.ask(cx, id),
                // The same question again, which does not count as another one: servers keep one. Also where the watcher
                // has gone meanwhile: he has asked.
                Consent::Asked { .. } if is_in_doubt && cx.is_up(pair.link) => {
                    if let Some(stanza) = question(cx, pair) {
                        pair.asked = Some(cx.now.tick);
                        self.timers.set(Timer::Asked(id), cx.now.tick + DOUBT);
                        cx.stanza(stanza);
                    }
                }
                Consent::Granted if is_watched && pair.seen.probe.is_none() => {
                    self.probe(cx, id, CROWD);
                }
                _ => {}
            }
        }
        if !self.resuming.is_empty() {
            self.timers.set(Timer::Resume, cx.now.tick + cx.pause(BETWEEN));
        }
    }

    /// A question that went out so long ago has arrived, if its link has not broken since: a start need not put it again.
    pub(super) fn has_arrived(&mut self, cx: &mut Cx<'_>, id: PairId) {
        self.timers.stop(&Timer::Asked(id));
        let Some(pair) = self.pairs.get_mut(&id).filter(|pair| cx.is_up(pair.link)) else { return };
        if pair.asked.take().is_some() && matches!(pair.consent, Consent::Asked { .. }) {
            let key = Key::of_pair(CONSENT, pair.user.bare_str(), &pair.contact);
            cx.save(Record::new(key, &kept(pair)));
        }
    }

    /// Tells some of the watchers that nobody is there.
    pub(super) fn close_some(&mut self, cx: &mut Cx<'_>) {
        let (batch, between) =
            if self.stopping.is_some() { (LAST_BATCH, LAST_BETWEEN) } else { (BATCH, BETWEEN) };
        for _ in 0..batch {
            let Some(id) = self.closing.pop_front() else { break };
            let Some(sub) = self.subs.get_mut(&id) else { continue };
            if sub.notifier.is_active() && !sub.notifier.has_ended() {
                // At the end nobody waits for his turn.
                if self.stopping.is_some() {
                    sub.notifier.want_now(cx.now);
                } else {
                    sub.notifier.want(cx.now);
                }
                self.tend(cx, id);
            }
        }
        if !self.closing.is_empty() {
            self.timers.set(Timer::Close, cx.now.tick + between);
        }
    }

    /// Every watcher sees the lights go out, in a dialog that stays active and is kept. Answers are waited for, but
    /// not for long.
    pub(super) fn say_goodbye(&mut self, cx: &mut Cx<'_>) -> bool {
        let Some(since) = self.stopping else {
            self.stopping = Some(cx.now.tick);
            self.resuming.clear();
            self.closing = self.subs.keys().copied().collect();
            let waiting: Vec<SubId> =
                self.subs.iter().filter(|(_, sub)| sub.fetch).map(|(id, _)| *id).collect();
            for id in waiting {
                if let Some(sub) = self.subs.get_mut(&id) {
                    sub.notifier.want_now(cx.now);
                }
                self.tend(cx, id);
            }
            self.close_some(cx);
            return self.has_said_goodbye();
        };
        if self.has_said_goodbye() || cx.now.tick >= since + LEAVE {
            return true;
        }
        if self.closing.is_empty() {
            let next = since + if cx.now.tick < since + OVERTAKE { OVERTAKE } else { LEAVE };
            if cx.now.tick >= since + OVERTAKE {
                self.overtake(cx);
            }
            self.timers.set(Timer::Close, next);
        }
        false
    }

    fn has_said_goodbye(&self) -> bool {
        self.closing.is_empty() && self.in_flight == 0
    }

    /// The last word for those who have not answered the one before.
    fn overtake(&mut self, cx: &mut Cx<'_>) {
        let owed: Vec<SubId> =
            self.subs.iter().filter(|(_, sub)| sub.notifier.owes()).map(|(id, _)| *id).collect();
        for id in owed {
            self.notify(cx, id);
        }
    }

    /// Whoever waits for a probe of this pair waits no longer.
    pub(super) fn release(&mut self, cx: &mut Cx<'_>, id: PairId) {
        for id in self.subs_of(id) {
            if let Some(sub) = self.subs.get_mut(&id).filter(|sub| sub.held) {
                sub.notifier.want_now(cx.now);
                self.tend(cx, id);
            }
        }
    }

    fn pairs_of(&self, link: LinkId) -> Vec<PairId> {
        self.pairs.iter().filter(|(_, pair)| pair.link == link).map(|(id, _)| *id).collect()
    }
}

/// Whether a pair without watchers is only of the past.
fn is_stale(pair: &Pair, now: Wall) -> bool {
    pair.subs.is_empty()
        && match pair.consent {
            Consent::Unasked | Consent::Granted => false,
            Consent::Asked { at, .. } => now >= at + FORGET.max(WEEK),
            Consent::Refused { until } => now >= until,
        }
}
