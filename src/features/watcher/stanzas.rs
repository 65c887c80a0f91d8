//! Presence stanzas of XMPP users: what they show, what they consent to, and what servers refuse.

use super::pair::read;
use super::table::{self, Consent, Heard, Turn, WEEK};
use super::{COLLECT, PairId, SILENCE, Timer, Watcher};
use crate::features::Cx;
use crate::sabotage::{self, Fault as Mistake};
use crate::sip::uri::Aor;
use crate::sip::usage::notifier::Reason;
use crate::words::availability::Availability;
use crate::words::condition::Kind;
use crate::xmpp::jid::Jid;
use crate::xmpp::stanza::Stanza;

/// The id of our `subscribe`: an error that answers it has it too, after a restart as well.
pub(super) const QUESTION: &str = "mostar-watch";
/// The id of our probes.
pub(super) const PROBE: &str = "mostar-probe";

impl Watcher {
    /// True for everything that concerns what a SIP watcher sees. `subscribe`, `unsubscribe` and `probe` concern what
    /// the XMPP user sees; that she subscribed comes as a signal.
    pub(super) fn presence(&mut self, cx: &mut Cx<'_>, stanza: &Stanza) -> bool {
        let (Some(from), Some(to)) = (stanza.from(), stanza.to()) else { return false };
        let pair = |this: &Watcher, cx: &Cx<'_>| {
            let contact = cx.domains.contact_sip(&to.bare()).ok()?.aor;
            this.find(&from.bare(), &contact)
        };
        match stanza.type_() {
            None | Some("unavailable") => {
                let pair = pair(self, cx);
                self.state(cx, stanza, from, pair);
                true
            }
            Some("subscribed") => self.heard(cx, pair(self, cx), Heard::Subscribed),
            Some("unsubscribed") => self.heard(cx, pair(self, cx), Heard::Unsubscribed),
            Some("error") => pair(self, cx).is_some_and(|pair| self.failed(cx, stanza, pair)),
            _ => false,
        }
    }

    /// The user adds the watcher to her contacts: she no longer minds him.
    pub(super) fn pardon(&mut self, cx: &mut Cx<'_>, user: &Jid, contact: &Aor) {
        let pair = self.find(&user.bare(), contact);
        self.heard(cx, pair, Heard::Subscribe);
    }

    /// A device of a user is so.
    fn state(&mut self, cx: &mut Cx<'_>, stanza: &Stanza, from: &Jid, pair: Option<PairId>) {
        let Some(id) = pair else { return };
        let Some(pair) = self.pairs.get_mut(&id) else { return };
        let probing = pair.seen.probe.is_some();
        // Without her consent it counts as the answer to a fetch alone, which her server has let through.
        if pair.consent != Consent::Granted && !(pair.consent == Consent::Unasked && probing) {
            return;
        }
        if !pair.seen.known && !probing {
            // One device alone is not her state. Whoever comes to watch has her asked for all of them.
            if pair.subs.is_empty() {
                return;
            }
            self.probe(cx, id, SILENCE);
        }
        let Some(pair) = self.pairs.get_mut(&id) else { return };
        let changed = pair.seen.hear(from.resource(), read(stanza, cx.now));
        if let Some(probe) = &pair.seen.probe {
            // More devices may follow; one document shall have them all.
            self.timers.set(Timer::Settle(id), probe.deadline.min(cx.now.tick + COLLECT));
        } else if changed && self.stopping.is_none() {
            for id in self.subs_of(id) {
                if let Some(sub) = self.subs.get_mut(&id).filter(|sub| sub.notifier.is_active()) {
                    sub.notifier.want(cx.now);
                }
                self.tend(cx, id);
            }
        }
    }

    fn heard(&mut self, cx: &mut Cx<'_>, pair: Option<PairId>, heard: Heard) -> bool {
        if heard == Heard::Unsubscribed && sabotage::is(Mistake::ConsentKept) {
            return true;
        }
        // What answers nothing of ours is taken and forgotten.
        let Some(id) = pair else { return true };
        let Some(pair) = self.pairs.get(&id) else { return true };
        match table::turn(pair.consent, heard, pair.seen.probe.is_some()) {
            Turn::Nothing => {}
            Turn::Grant => self.grant(cx, id),
            Turn::Refuse => {
                self.end_all(cx, id, Reason::Rejected, None);
                self.decide(cx, id, Consent::Refused { until: cx.now.wall + WEEK });
            }
            Turn::Lapse => {
                self.end_all(cx, id, Reason::Rejected, None);
                self.decide(cx, id, Consent::Unasked);
            }
            Turn::Pardon => self.decide(cx, id, Consent::Unasked),
        }
        true
    }

    /// She consents: the dialogs are active, and the first document has all her devices.
    fn grant(&mut self, cx: &mut Cx<'_>, id: PairId) {
        self.decide(cx, id, Consent::Granted);
        let subs = self.subs_of(id);
        let wait = !subs.is_empty() && self.probe(cx, id, SILENCE);
        for id in subs {
            let Some(sub) = self.subs.get_mut(&id) else { continue };
            if sub.fetch || sub.notifier.has_ended() {
                continue;
            }
            sub.notifier.activate();
            if wait {
                sub.held = true;
            } else {
                sub.notifier.want_now(cx.now);
            }
            self.keep(cx, id);
            self.tend(cx, id);
        }
    }

    /// A server could not deliver our question or our probe.
    fn failed(&mut self, cx: &mut Cx<'_>, stanza: &Stanza, id: PairId) -> bool {
        let Some(pair) = self.pairs.get_mut(&id) else { return false };
        match (stanza.id(), pair.consent) {
            (Some(QUESTION), Consent::Asked { .. }) => {
                let kind = stanza.stanza_error().map(|error| error.kind);
                let kind = kind.unwrap_or(Kind::UndefinedCondition);
                let (reason, retry_after) = table::end_of_failed_question(kind);
                self.end_all(cx, id, reason, retry_after);
                self.decide(cx, id, Consent::Unasked);
                true
            }
            (Some(PROBE), _) => {
                // A fetch learns nothing; who was shown devices learns that they are gone.
                if pair.consent == Consent::Granted {
                    pair.seen.hear(None, Availability::closed());
                }
                self.settle(cx, id);
                true
            }
            (Some(QUESTION), _) => true,
            _ => false,
        }
    }
}
