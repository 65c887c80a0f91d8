//! The subscription to the roster (RFC 4575, RFC 6665): one for each guest, in a dialog of its own, to the room's address.
//!
//! RFC 7702 has one for each, and a focus may tell each something else. The roster is kept once all the same: one guest's
//! documents are believed, the *teller's*; those of others are answered and not read. When the teller is gone another takes its
//! place, beginning with a full document.

use std::time::Duration;

use super::guest::{Farewell, GuestId, Stage};
use super::{Alarm, Conferences, WatchId};
use crate::documents::conference;
use crate::features::{Cx, Incoming};
use crate::sip::message::{Answer, HeaderName, OutRequest, Reply};
use crate::sip::usage::package::CONFERENCE;
use crate::sip::usage::session::token_of;
use crate::sip::usage::subscription::{End, Meaning, Parties, Reason, Step, Subscription};
use crate::words::id::Partition;
use crate::words::note::Level;
use crate::xmpp::jid::Jid;

/// How long before a subscription that ended is begun anew: twice as long each time, up to the last.
const AGAIN: Duration = Duration::from_secs(30);
/// Where the focus wants that at once (RFC 6665 §4.1.3): not more often than this, all the same.
const AT_ONCE: Duration = Duration::from_secs(1);
const AGAIN_AT_MOST: Duration = Duration::from_secs(3600);
/// A focus whose documents have gaps is asked for a full one at most so often.
const WHOLE: Duration = Duration::from_secs(10);
/// A focus that says that the room is no more has so long to say BYE.
const THEIRS: Duration = Duration::from_secs(2);

/// A guest's subscription.
#[derive(Debug)]
pub struct Watch {
    /// Its number here.
    number: WatchId,
    subscription: Subscription,
    parties: Parties,
    /// It has brought a document.
    tells: bool,
}

impl Conferences {
    /// Begins the subscription of a guest.
    pub(super) fn subscribe(&mut self, cx: &mut Cx<'_>, id: GuestId) {
        let number = self.number();
        let Some(guest) = self.guests.get_mut(&id) else { return };
        if guest.watch.is_some() || !matches!(guest.stage, Stage::Entering | Stage::In) {
            return;
        }
        let Ok(room) = cx.domains.contact_sip(&guest.room) else { return };
        let room = cx.facts.spelled(&room.aor);
        let parties = Parties {
            package: &CONFERENCE,
            from: format!("<{}>", guest.own),
            to: format!("<{room}>"),
            uri: room.text(),
            contact: cx.config.sip.contact(&guest.own, &room.host),
            domain: room.host.clone(),
            partition: Partition::of(guest.room.bare_str()),
        };
        let (subscription, request) = Subscription::subscribe(cx.now, cx.mint, &parties);
        self.watch_calls.insert(subscription.call_id().into(), id);
        self.watches.insert(number, id);
        guest.watch = Some(Box::new(Watch { number, subscription, parties, tells: false }));
        cx.request(token_of(number, 0), request);
        self.arm_watch(id);
    }

    /// What was answered to a SUBSCRIBE.
    pub(super) fn subscribe_answered(&mut self, cx: &mut Cx<'_>, number: WatchId, answer: &Answer) {
        let Some(id) = self.watches.get(&number).copied() else { return };
        let Some(watch) = self.guests.get_mut(&id).and_then(|guest| guest.watch.as_mut()) else { return };
        let step = watch.subscription.answer(cx.now, cx.mint, &watch.parties, answer);
        self.step(cx, id, step);
    }

    /// A NOTIFY. False when it is for none of ours.
    pub(super) fn notified(&mut self, cx: &mut Cx<'_>, tag: &str, incoming: &Incoming) -> bool {
        let Some(id) = self.watch_calls.get(incoming.call_id.as_str()).copied() else { return false };
        let watch = self.guests.get_mut(&id).and_then(|guest| guest.watch.as_mut());
        let Some(watch) = watch.filter(|watch| watch.subscription.has_tag(tag)) else { return false };
        let came = watch.subscription.notify(cx.now, cx.mint, &watch.parties, &incoming.request);
        let (notice, farewell) = match came {
            Ok(came) => came,
            Err(reply) => {
                cx.reply(incoming.key, reply);
                return true;
            }
        };
        let number = watch.number;
        if let Some(request) = farewell {
            cx.request(token_of(number, 0), request);
        }
        let reply = match &notice.document {
            Some((type_, bytes)) => self.document_came(cx, id, type_, bytes),
            None => Reply::new(200),
        };
        cx.reply(incoming.key, reply);
        match notice.end {
            Some(end) => self.step(cx, id, Step { request: None, meaning: Some(Meaning::Over(end)) }),
            None => self.arm_watch(id),
        }
        true
    }

    fn document_came(&mut self, cx: &mut Cx<'_>, id: GuestId, type_: &str, bytes: &[u8]) -> Reply {
        let is_ours =
            type_.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case(conference::TYPE));
        if !is_ours {
            return Reply::new(415).with(HeaderName::Accept, conference::TYPE);
        }
        let Some(guest) = self.guests.get_mut(&id) else { return Reply::new(200) };
        guest.failures = 0;
        if guest.stage == Stage::Out {
            return Reply::new(200);
        }
        if let Some(watch) = &mut guest.watch {
            watch.tells = true;
        }
        let room = guest.room.clone();
        let Some(hall) = self.halls.get_mut(&room) else { return Reply::new(200) };
        if *hall.teller.get_or_insert(id) != id {
            return Reply::new(200);
        }
        match conference::parse(bytes) {
            Ok(info) => self.document(cx, id, &room, info),
            Err(error) => {
                let mut fields = self.guests.get(&id).map(|guest| guest.fields()).unwrap_or_default();
                fields.push(("why", error.to_string()));
                cx.log(Level::Warn, "conference-roster-unreadable", fields);
                // Another guest's may be better, but most likely is the same: this one goes on without.
                self.goes_without_roster(cx, id);
            }
        }
        Reply::new(200)
    }

    /// The subscription of a guest has something to do, or has ended.
    pub(super) fn tend(&mut self, cx: &mut Cx<'_>, id: GuestId) {
        while let Some(watch) = self.guests.get_mut(&id).and_then(|guest| guest.watch.as_mut()) {
            let Some(meaning) = watch.subscription.timeout(cx.now) else { break };
            self.step(cx, id, Step { request: None, meaning: Some(meaning) });
        }
        self.arm_watch(id);
    }

    fn step(&mut self, cx: &mut Cx<'_>, id: GuestId, step: Step) {
        let Some(watch) = self.guests.get_mut(&id).and_then(|guest| guest.watch.as_mut()) else { return };
        let number = watch.number;
        let refresh = match &step.meaning {
            Some(Meaning::RefreshDue) => watch.subscription.refresh(cx.now, &watch.parties),
            _ => None,
        };
        let requests: [Option<OutRequest>; 2] = [step.request.map(|request| *request), refresh];
        requests.into_iter().flatten().for_each(|request| cx.request(token_of(number, 0), request));
        match step.meaning {
            Some(Meaning::Over(end)) => self.watch_over(cx, id, &end),
            _ => self.arm_watch(id),
        }
    }

    fn watch_over(&mut self, cx: &mut Cx<'_>, id: GuestId, end: &End) {
        let Some(guest) = self.guests.get_mut(&id) else { return };
        let Some(watch) = guest.watch.take() else { return };
        self.watches.remove(&watch.number);
        self.watch_calls.remove(watch.subscription.call_id());
        self.timers.stop(&Alarm::Watch(id));
        if guest.stage == Stage::Out {
            return self.bury(cx, id);
        }
        let room = guest.room.clone();
        let mut fields = guest.fields();
        fields.push(("why", end.to_string()));
        cx.log(Level::Info, "conference-roster-lost", fields);
        if matches!(end, End::Terminated { reason: Some(Reason::NoResource), .. }) {
            // The room is no more; who runs it is about to say so.
            guest.fate.get_or_insert_with(Farewell::closed);
            self.timers.set(Alarm::Part(id), cx.now.tick + THEIRS);
        }
        self.subscribe_later(cx, id, end);
        self.next_teller(cx, &room, id);
        self.goes_without_roster(cx, id);
    }

    /// Begins anew after a while, unless the focus has said that it is of no use.
    fn subscribe_later(&mut self, cx: &mut Cx<'_>, id: GuestId, end: &End) {
        let Some(guest) = self.guests.get_mut(&id) else { return };
        let said = match end {
            End::Closed | End::NoRoute => return,
            End::Refused { status: 408 | 480 | 500 | 503 | 504, retry_after } => *retry_after,
            End::Refused { .. } => return,
            End::Terminated { reason: Some(Reason::NoResource | Reason::Rejected), .. } => return,
            End::Terminated { retry_after, .. } => *retry_after,
            End::Expired | End::Lost | End::Silent | End::Unreachable(_) => None,
        };
        let is_moved = match end {
            End::Terminated { reason, .. } => {
                matches!(reason, Some(Reason::Deactivated | Reason::Timeout))
            }
            // It was there until now.
            End::Expired | End::Lost => true,
            _ => false,
        };
        let wait = match said {
            None if is_moved && guest.failures == 0 => AT_ONCE,
            None => AGAIN * 2_u32.saturating_pow(guest.failures.min(7)),
            Some(said) => said.max(AGAIN),
        };
        guest.failures = guest.failures.saturating_add(1);
        self.timers.set(Alarm::Again(id), cx.now.tick + wait.min(AGAIN_AT_MOST));
    }

    /// The teller of a room is gone, if this was it: another takes its place.
    pub(super) fn next_teller(&mut self, cx: &mut Cx<'_>, room: &Jid, gone: GuestId) {
        let Some(hall) = self.halls.get_mut(room).filter(|hall| hall.teller == Some(gone)) else { return };
        hall.teller = None;
        let tells = |id: &&GuestId| {
            let guest = self.guests.get(*id).filter(|guest| **id != gone && guest.stage != Stage::Out);
            guest.and_then(|guest| guest.watch.as_ref()).is_some_and(|watch| watch.tells)
        };
        hall.wants_full = hall.view.is_whole();
        let Some(next) = hall.guests.iter().find(tells).copied() else { return };
        hall.teller = Some(next);
        self.ask_whole(cx, next);
    }

    /// Asks for a full document: a refresh brings one (RFC 4575 §4.6).
    pub(super) fn ask_whole(&mut self, cx: &mut Cx<'_>, id: GuestId) {
        let Some(guest) = self.guests.get_mut(&id) else { return };
        if let Some(at) = guest.asked_at.map(|at| at + WHOLE).filter(|at| *at > cx.now.tick) {
            return self.timers.set(Alarm::Whole(id), at);
        }
        let Some(watch) = guest.watch.as_mut() else { return };
        let Some(request) = watch.subscription.refresh(cx.now, &watch.parties) else { return };
        let number = watch.number;
        guest.asked_at = Some(cx.now.tick);
        cx.request(token_of(number, 0), request);
        self.arm_watch(id);
    }

    /// A guest that is out wants to know nothing more.
    pub(super) fn unsubscribe(&mut self, cx: &mut Cx<'_>, id: GuestId) {
        let Some(watch) = self.guests.get_mut(&id).and_then(|guest| guest.watch.as_mut()) else { return };
        let number = watch.number;
        if let Some(request) = watch.subscription.end(cx.now, &watch.parties) {
            cx.request(token_of(number, 0), request);
        }
        self.arm_watch(id);
    }

    fn arm_watch(&mut self, id: GuestId) {
        let watch = self.guests.get(&id).and_then(|guest| guest.watch.as_ref());
        let at = watch.and_then(|watch| watch.subscription.next_timeout());
        self.timers.arm(Alarm::Watch(id), at);
    }

    /// The focus says that the conference is over: all of ours are out.
    pub(super) fn conference_over(&mut self, cx: &mut Cx<'_>, room: &Jid) {
        let Some(hall) = self.halls.get(room) else { return };
        for id in hall.nicks.values().copied().collect::<Vec<_>>() {
            self.timers.set(Alarm::Part(id), cx.now.tick + THEIRS);
            if let Some(guest) = self.guests.get_mut(&id) {
                guest.fate.get_or_insert_with(Farewell::closed);
            }
        }
    }
}
