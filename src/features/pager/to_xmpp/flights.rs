//! What goes out on a stream, the pings behind it, and what becomes of it when the stream closes (docs/decisions/suspects.md).

use super::{Alarm, GIVE_UP, Lane, SUSPECT, ToXmpp, stanza};
use crate::features::Cx;
use crate::features::pager::meter::{self, Way};
use crate::gateway::LinkId;
use crate::sabotage::{self, Fault as Mistake};
use crate::words::condition::{Condition, Kind};
use crate::xmpp::barrier;
use crate::xmpp::jid::Jid;

impl ToXmpp {
    /// A stream is there: what waits goes out.
    pub fn link_up(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        self.pump(cx, link);
        self.ping(cx);
    }

    /// A stream closed: what was in flight on it waits again, or is refused if it has gone alone because of that before.
    pub fn link_down(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        if let Some(suspects) = self.suspects.get_mut(&link) {
            suspects.close();
            self.timers.stop(&Alarm::Cleared(link));
        }
        for name in self.barrier.close(|lane| lane.0 == link) {
            let Some(arrival) = self.arrivals.pending(name) else { continue };
            if !arrival.flying {
                continue;
            }
            if sabotage::is(Mistake::ForgottenAtBreak) {
                self.settle(cx, name, "delivered", None);
                continue;
            }
            let (was_alone, turn) = (arrival.flights > 1, arrival.turn);
            if was_alone {
                cx.count("messages_suspected_total", &[]);
                meter::ambiguous(cx, Way::SipToXmpp, arrival.names(), "unconfirmed");
                let text = "The connection to the XMPP server broke twice while this message was on its way.";
                let condition = Condition::new(Kind::InternalServerError, text);
                self.settle(cx, name, "refused", Some(&condition));
                continue;
            }
            (arrival.flying, arrival.flights) = (false, 1);
            self.moves.in_flight(-1);
            self.moves.queued(1);
            self.timers.stop(&Alarm::GiveUp(name));
            self.queue.insert((link, turn), name);
            if let Some(record) = self.arrivals.changed(name) {
                cx.save(record);
            }
        }
    }

    pub(super) fn pump_all(&mut self, cx: &mut Cx<'_>) {
        for link in 0..cx.links.len() {
            self.pump(cx, LinkId(link));
        }
        self.ping(cx);
    }

    /// Sends what waits for this link: suspects as they are let, everything else at once.
    pub(super) fn pump(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        if !cx.is_up(link) || self.stopping {
            return;
        }
        loop {
            let next = self.queue.range((link, 0)..=(link, u64::MAX)).next();
            let Some((place, name)) = next.map(|(place, name)| (*place, *name)) else { return };
            let Some(arrival) = self.arrivals.pending(name) else {
                self.queue.remove(&place);
                continue;
            };
            let is_suspect = arrival.flights > 0;
            if self.suspects.get(&link).is_some_and(|suspects| !suspects.lets(is_suspect)) {
                return;
            }
            self.queue.remove(&place);
            let stale = arrival.expires.is_some_and(|expires| expires < cx.now.wall);
            if stale && arrival.said.is_some() {
                let condition = Condition::new(Kind::RemoteServerTimeout, "It was too late.");
                self.settle(cx, name, "expired", Some(&condition));
                continue;
            }
            if is_suspect {
                let is_alone = self.suspects.entry(link).or_default().send(name);
                arrival.flights = if is_alone { 2 } else { 1 };
                self.timers.set(Alarm::Cleared(link), cx.now.tick + SUSPECT);
            } else {
                self.suspects.remove(&link);
            }
            arrival.flying = true;
            if arrival.said.is_some() {
                self.timers.set(Alarm::GiveUp(name), cx.now.tick + GIVE_UP);
            }
            self.moves.queued(-1);
            self.moves.in_flight(1);
            let lane = (link, arrival.to.domain().to_owned());
            cx.stanza(stanza(arrival, cx.now.wall));
            if self.barrier.sent(cx.now.tick, &lane, name) {
                self.ping_lane(cx, &lane);
            }
        }
    }

    /// Sends the pings that are due.
    pub(super) fn ping(&mut self, cx: &mut Cx<'_>) {
        while let Some(lane) = self.barrier.due(cx.now.tick) {
            self.ping_lane(cx, &lane);
        }
    }

    pub(super) fn ping_lane(&mut self, cx: &mut Cx<'_>, lane: &Lane) {
        // The answer must come back to this owner: the id names the partition of a message that the ping covers.
        let user = self.barrier.latest(lane).and_then(|name| self.arrivals.user(*name));
        let from = cx.config.xmpp.components.get(lane.0.0).map(|own| Jid::new(None, &own.domain, None));
        let (Some(Ok(from)), Ok(to)) = (from, Jid::new(None, &lane.1, None)) else { return };
        let id = cx.mint.token(user.unwrap_or_default());
        cx.stanza(barrier::ping(&from, &to, &id));
        self.barrier.pinged(cx.now.tick, lane, id);
    }
}
