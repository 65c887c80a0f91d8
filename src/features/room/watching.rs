//! Subscriptions: who watches the roster, by SUBSCRIBE for `conference` (RFC 4575), in the dialog of a seat or in one of its
//! own; and who waits for what becomes of a REFER.
//!
//! Only who is in the room sees who is in it. A document is built once for each change and its bytes go to all; one's own
//! address beside one's own entry is the only difference. With the last seat of a person in a room its watching ends.

use super::seat::{SeatId, Stage};
use super::{Alarm, Rooms};
use crate::documents::conference::Seen;
use crate::features::{Cx, Incoming, Op};
use crate::sip::message::{self, Answer, HeaderName, Reply};
use crate::sip::uri::Aor;
use crate::sip::usage::notifier::{Body, Notifier, Reason, Verdict};
use crate::sip::usage::package::{CONFERENCE, Package, REFER};
use crate::sip::usage::refer::Referral;
use crate::sip::usage::session::token_of;
use crate::words::id::Partition;
use crate::xmpp::jid::Jid;

/// Names a subscription in memory; never the same as a seat's.
pub type WatchId = u64;

/// How many watch in one room with one address.
pub const PER_PERSON: usize = 16;

/// A subscription to the roster of a room.
#[derive(Debug)]
pub struct Watch {
    /// The room.
    pub room: Jid,
    /// Whose it is.
    pub contact: Aor,
    /// A seat of the same person, whose entry in the roster is its own.
    pub seat: SeatId,
    /// The seat whose dialog it shares.
    pub inside: Option<SeatId>,
    /// What is told.
    pub about: About,
    /// The whole value of our Contact.
    pub focus: String,
}

/// What a subscription is about.
#[derive(Debug)]
pub enum About {
    /// Who is in the room, and how much of that has been told.
    Roster(Notifier, Seen),
    /// What became of a REFER.
    Referral(Referral),
}

impl Watch {
    fn notifier(&self) -> &Notifier {
        match &self.about {
            About::Roster(notifier, _) => notifier,
            About::Referral(referral) => &referral.notifier,
        }
    }

    fn notifier_mut(&mut self) -> &mut Notifier {
        match &mut self.about {
            About::Roster(notifier, _) => notifier,
            About::Referral(referral) => &mut referral.notifier,
        }
    }

    /// What was told is not known to have arrived, or is asked for again.
    fn tell_all(&mut self) {
        if let About::Roster(_, seen) = &mut self.about {
            seen.nothing();
        }
    }

    fn package(&self) -> &'static Package {
        match &self.about {
            About::Roster(..) => &CONFERENCE,
            About::Referral(_) => &REFER,
        }
    }
}

impl Rooms {
    /// A SUBSCRIBE outside dialogs.
    pub(super) fn subscribed(&mut self, cx: &mut Cx<'_>, incoming: &Incoming, room: &Jid) {
        if let Err(reply) = self.watch(cx, incoming, room) {
            cx.ops.push_back(Op::ReplyNow(incoming.key, reply));
        }
    }

    fn watch(&mut self, cx: &mut Cx<'_>, incoming: &Incoming, room: &Jid) -> Result<(), Reply> {
        let terms = CONFERENCE.judge(&incoming.request.headers)?;
        let contact = &incoming.from.aor;
        let seat = self.seat_of(room, contact);
        let Some(seat) = seat else {
            return Err(Reply::new(403).because("Who is in a room is told to who is in it: call it first"));
        };
        if self.watches_of(room, contact).len() >= PER_PERSON {
            return Err(Reply::new(486).because("Too many subscriptions"));
        }
        let focus = self.focus_of(cx, room, contact).ok_or_else(|| Reply::new(404))?;
        let tag = cx.token_for(room);
        let partition = Partition::of(room.bare_str());
        let (request, flow) = (&incoming.request, &incoming.flow);
        let (notifier, reply) = Notifier::accept(request, &terms, &focus, &tag, partition, flow, cx.now)?;
        cx.reply(incoming.key, reply);
        let watch = Watch {
            room: room.clone(),
            contact: contact.clone(),
            seat,
            inside: None,
            about: About::Roster(notifier, Seen::default()),
            focus,
        };
        self.begin_watch(cx, watch, seat);
        Ok(())
    }

    /// A SUBSCRIBE in the dialog of a seat, which has judged its CSeq: a new subscription, or a refresh of one.
    pub(super) fn subscribed_inside(&mut self, cx: &mut Cx<'_>, id: SeatId, incoming: &Incoming) {
        if let Err(reply) = self.watch_inside(cx, id, incoming) {
            cx.reply(incoming.key, reply);
        }
    }

    fn watch_inside(&mut self, cx: &mut Cx<'_>, id: SeatId, incoming: &Incoming) -> Result<(), Reply> {
        let Some(seat) = self.seats.get(&id) else { return Err(Reply::new(481)) };
        let (room, contact) = (seat.room.clone(), seat.contact.clone());
        let theirs = self.watches_of(&room, &contact);
        let event = message::text(&incoming.request.headers, &HeaderName::Event).unwrap_or_default();
        let is_it = |watch: &Watch| watch.inside == Some(id) && watch.notifier().event() == event.trim();
        if let Some(known) = theirs.iter().find(|known| self.watches.get(known).is_some_and(is_it)) {
            self.refreshed(cx, *known, incoming);
            return Ok(());
        }
        let terms = CONFERENCE.judge(&incoming.request.headers)?;
        if theirs.len() >= PER_PERSON {
            return Err(Reply::new(486).because("Too many subscriptions"));
        }
        let focus = self.focus_of(cx, &room, &contact).ok_or_else(|| Reply::new(404))?;
        let Some(seat) = self.seats.get_mut(&id) else { return Err(Reply::new(481)) };
        let dialog = seat.leg.call.dialog_mut();
        let (notifier, reply) =
            Notifier::accept_inside(dialog, &incoming.request, &terms, &focus, &incoming.flow, cx.now);
        cx.reply(incoming.key, reply);
        let about = About::Roster(notifier, Seen::default());
        self.begin_watch(cx, Watch { room, contact, seat: id, inside: Some(id), about, focus }, id);
        Ok(())
    }

    /// A SUBSCRIBE in the dialog of a subscription. False when there is no such.
    pub(super) fn subscribed_again(&mut self, cx: &mut Cx<'_>, tag: &str, incoming: &Incoming) -> bool {
        let Some(id) = self.watch_tags.get(tag).copied() else { return false };
        if !self.watches.get(&id).is_some_and(|watch| watch.notifier().holds(&incoming.request.headers)) {
            return false;
        }
        self.refreshed(cx, id, incoming);
        true
    }

    fn begin_watch(&mut self, cx: &mut Cx<'_>, mut watch: Watch, seat: SeatId) {
        if self.seats.get(&seat).is_some_and(|seat| seat.stage == Stage::In) {
            watch.notifier_mut().activate();
        }
        watch.notifier_mut().want_now(cx.now);
        let room = watch.room.clone();
        if let Some(hall) = self.halls.get_mut(&room).filter(|hall| hall.watches.is_empty()) {
            // What has happened before anybody watched is no news.
            hall.roster.step(cx.now);
        }
        let id = self.add_watch(watch);
        self.tend(cx, id);
        self.arm_step(cx, &room);
    }

    /// Remembers a subscription that begins.
    pub(super) fn add_watch(&mut self, watch: Watch) -> WatchId {
        self.next += 1;
        let id = self.next;
        if watch.inside.is_none() {
            self.watch_tags.insert(watch.notifier().tag().into(), id);
        }
        if let Some(hall) = self.halls.get_mut(&watch.room) {
            hall.watches.insert(id);
        }
        self.watches.insert(id, watch);
        id
    }

    fn refreshed(&mut self, cx: &mut Cx<'_>, id: WatchId, incoming: &Incoming) {
        let Some(watch) = self.watches.get_mut(&id) else { return };
        let terms = match watch.package().judge(&incoming.request.headers) {
            Ok(terms) => terms,
            Err(reply) => return cx.reply(incoming.key, reply),
        };
        let (request, flow, now) = (&incoming.request, &incoming.flow, cx.now);
        let focus = watch.focus.clone();
        let seat = watch.inside.and_then(|seat| self.seats.get_mut(&seat));
        let refresh = |notifier: &mut Notifier| notifier.refresh(request, &terms, &focus, flow, now);
        let reply = match seat {
            Some(seat) => watch.notifier_mut().inside(seat.leg.call.dialog_mut(), refresh),
            None => refresh(watch.notifier_mut()),
        };
        let is_good = reply.status == 200;
        cx.reply(incoming.key, reply);
        if is_good {
            // A refresh brings all there is (RFC 4575 §4.5).
            watch.tell_all();
            watch.notifier_mut().want_now(cx.now);
            self.tend(cx, id);
        }
    }

    /// Sends the NOTIFY that is due, if one is, and arms the alarm for the next.
    pub(super) fn tend(&mut self, cx: &mut Cx<'_>, id: WatchId) {
        let Some(watch) = self.watches.get_mut(&id) else { return };
        if watch.notifier_mut().is_due(cx.now) {
            self.notify(cx, id);
        }
        let Some(watch) = self.watches.get(&id) else { return };
        if watch.notifier().has_ended() && !watch.notifier().owes() {
            return self.drop_watch(id);
        }
        let at = watch.notifier().next();
        self.timers.arm(Alarm::Watch(id), at);
    }

    fn notify(&mut self, cx: &mut Cx<'_>, id: WatchId) {
        let Some(watch) = self.watches.get_mut(&id) else { return };
        let Some(hall) = self.halls.get_mut(&watch.room) else { return };
        let body = match &mut watch.about {
            About::Referral(referral) => Some(referral.body()),
            About::Roster(notifier, _) if !notifier.is_active() => None,
            About::Roster(_, seen) => {
                // Where all see who everybody is, one's own address stands there already.
                let own = self.seats.get(&watch.seat).map(|seat| &seat.nick);
                let entity = own.filter(|nick| hall.address(nick).is_none()).map(|nick| hall.entity(nick));
                hall.roster.tell(seen).map(|document| Body {
                    kind: CONFERENCE.document,
                    language: None,
                    bytes: match &entity {
                        Some(entity) => document.marked(entity, &watch.contact.to_string()),
                        None => document.bytes(),
                    },
                })
            }
        };
        let (focus, now) = (watch.focus.clone(), cx.now);
        let seat = watch.inside.and_then(|seat| self.seats.get_mut(&seat));
        let notify = |notifier: &mut Notifier| notifier.notify(focus, body, now);
        let request = match seat {
            Some(seat) => watch.notifier_mut().inside(seat.leg.call.dialog_mut(), notify),
            None => notify(watch.notifier_mut()),
        };
        cx.request(token_of(id, 0), request);
    }

    /// What became of a NOTIFY.
    pub(super) fn notified(&mut self, cx: &mut Cx<'_>, id: WatchId, answer: &Answer) {
        let Some(watch) = self.watches.get_mut(&id) else { return };
        let now = cx.now;
        let seat = watch.inside.and_then(|seat| self.seats.get_mut(&seat));
        let answered = |notifier: &mut Notifier| notifier.answered(answer, now);
        let verdict = match seat {
            Some(seat) => watch.notifier_mut().inside(seat.leg.call.dialog_mut(), answered),
            None => answered(watch.notifier_mut()),
        };
        let arrived = matches!(answer, Answer::Final { response, .. } if response.status.code() / 100 == 2);
        if !arrived && matches!(answer, Answer::Final { .. } | Answer::Failed(_)) {
            watch.tell_all();
        }
        match verdict {
            Verdict::Keep => self.tend(cx, id),
            // There is no shorter way to say it: the steps that follow are short.
            Verdict::Shorten => self.tend(cx, id),
            Verdict::Gone => {
                cx.count("subscriptions_lost_total", &[("direction", "sip_to_xmpp")]);
                self.drop_watch(id);
            }
        }
    }

    /// The watching of a person who is in the room from now on counts.
    pub(super) fn activate_watches(&mut self, cx: &mut Cx<'_>, room: &Jid, contact: &Aor) {
        for id in self.watches_of(room, contact) {
            let Some(watch) = self.watches.get_mut(&id).filter(|watch| !watch.notifier().is_active()) else {
                continue;
            };
            watch.notifier_mut().activate();
            watch.notifier_mut().want_now(cx.now);
            self.tend(cx, id);
        }
    }

    /// A seat is over: what shares its dialog ends, and all of the person's watching with the last seat.
    pub(super) fn end_watches(&mut self, cx: &mut Cx<'_>, seat: SeatId) {
        let Some((room, contact)) =
            self.seats.get(&seat).map(|seat| (seat.room.clone(), seat.contact.clone()))
        else {
            return;
        };
        let theirs = self.watches_of(&room, &contact);
        if theirs.is_empty() {
            return;
        }
        let other = self.another_seat(&room, &contact, seat);
        for id in theirs {
            let Some(watch) = self.watches.get_mut(&id) else { continue };
            if let Some(other) = other.filter(|_| watch.inside != Some(seat)) {
                watch.seat = other;
            } else {
                if watch.notifier().is_in_flight() {
                    // Nobody knows yet whether that is taken.
                    watch.tell_all();
                }
                watch.notifier_mut().end(Reason::NoResource, None, cx.now);
                // It does not wait for the one that is out: the dialog will not be there any more.
                self.notify(cx, id);
                self.drop_watch(id);
            }
        }
    }

    /// What has changed in a room becomes a version, which is told.
    pub(super) fn step(&mut self, cx: &mut Cx<'_>, room: &Jid) {
        let Some(hall) = self.halls.get_mut(room) else { return };
        if hall.roster.step(cx.now) {
            for id in hall.watches.iter().copied().collect::<Vec<_>>() {
                if let Some(About::Roster(notifier, _)) =
                    self.watches.get_mut(&id).map(|watch| &mut watch.about)
                    && notifier.is_active()
                {
                    notifier.want(cx.now);
                    self.tend(cx, id);
                }
            }
        }
        self.arm_step(cx, room);
    }

    /// Sets the alarm for the next version, where anybody watches.
    pub(super) fn arm_step(&mut self, cx: &Cx<'_>, room: &Jid) {
        let Some(hall) = self.halls.get(room).filter(|hall| !hall.watches.is_empty()) else { return };
        if let Some(at) = hall.roster.next() {
            self.timers.set(Alarm::Step(room.clone()), at.max(cx.now.tick));
        }
    }

    fn drop_watch(&mut self, id: WatchId) {
        let Some(watch) = self.watches.remove(&id) else { return };
        self.timers.stop(&Alarm::Watch(id));
        if watch.inside.is_none() {
            self.watch_tags.remove(watch.notifier().tag());
        }
        if let Some(hall) = self.halls.get_mut(&watch.room) {
            hall.watches.remove(&id);
        }
    }

    pub(super) fn watches_of(&self, room: &Jid, contact: &Aor) -> Vec<WatchId> {
        let Some(hall) = self.halls.get(room) else { return Vec::new() };
        let is_its = |id: &&WatchId| self.watches.get(id).is_some_and(|watch| watch.contact == *contact);
        hall.watches.iter().filter(is_its).copied().collect()
    }

    /// A seat of this person that is in the room, or on its way in.
    pub(super) fn seat_of(&self, room: &Jid, contact: &Aor) -> Option<SeatId> {
        self.another_seat(room, contact, 0)
    }

    fn another_seat(&self, room: &Jid, contact: &Aor, than: SeatId) -> Option<SeatId> {
        let hall = self.halls.get(room)?;
        let is_its = |id: &&SeatId| {
            **id != than
                && self.seats.get(id).is_some_and(|seat| {
                    seat.contact == *contact && matches!(seat.stage, Stage::In | Stage::Entering)
                })
        };
        hall.seats.iter().find(is_its).copied()
    }

    /// The whole value of Contact of a room's focus.
    pub(super) fn focus_of(&self, cx: &Cx<'_>, room: &Jid, contact: &Aor) -> Option<String> {
        let address = cx.domains.user_sip(room).ok()?;
        Some(format!("{};isfocus", cx.config.sip.contact(&address.aor, &contact.host)))
    }
}
