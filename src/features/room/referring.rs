//! REFER to a room (RFC 4579 §5.5, §5.11): somebody is asked in, which is a mediated invitation, or put out, which is a kick.
//!
//! Nobody can know whether an invitation is followed: once the room has dealt with it, the last word is 100 (RFC 7702 §6.5).
//! What becomes of a kick the room says.

use super::seat::{Inviting, SeatId, Stage};
use super::watching::{About, Watch, WatchId};
use super::{Question, Rooms};
use crate::features::{Cx, Incoming, Op, errors};
use crate::sip::message::Reply;
use crate::sip::uri::SipAddress;
use crate::sip::usage::refer::{self, Action, Referral, Wish};
use crate::words::condition::Scope;
use crate::words::id::Partition;
use crate::xmpp::jid::Jid;
use crate::xmpp::muc;
use crate::xmpp::stanza::StanzaError;

/// How many invitations of one seat the room may have to deal with at once.
const INVITING: usize = 200;

impl Rooms {
    /// A REFER, in the dialog of a seat or outside dialogs.
    pub(super) fn referred(
        &mut self,
        cx: &mut Cx<'_>,
        incoming: &Incoming,
        room: &Jid,
        inside: Option<SeatId>,
    ) {
        if let Err(reply) = self.refer(cx, incoming, room, inside) {
            cx.ops.push_back(Op::ReplyNow(incoming.key, reply));
        }
    }

    fn refer(
        &mut self,
        cx: &mut Cx<'_>,
        incoming: &Incoming,
        room: &Jid,
        inside: Option<SeatId>,
    ) -> Result<(), Reply> {
        let wish = refer::read(&incoming.request)?;
        let contact = match inside.and_then(|id| self.seats.get(&id)) {
            Some(seat) => seat.contact.clone(),
            None => incoming.from.aor.clone(),
        };
        let seat = inside.or_else(|| self.seat_of(room, &contact));
        let stands = |id: &SeatId| self.seats.get(id).is_some_and(|seat| seat.stage == Stage::In);
        let Some(id) = seat.filter(stands) else {
            return Err(Reply::new(403).because("Only who is in the room may ask that"));
        };
        let target = self.target_of(cx, id, &wish)?;
        let focus = self.focus_of(cx, room, &contact).ok_or_else(|| Reply::new(404))?;
        if self.watches_of(room, &contact).len() >= super::watching::PER_PERSON {
            return Err(Reply::new(486).because("Too many subscriptions"));
        }
        let (request, flow, now) = (&incoming.request, &incoming.flow, cx.now);
        let (referral, reply) = match inside.and_then(|id| self.seats.get_mut(&id)) {
            Some(seat) => {
                let dialog = seat.leg.call.dialog_mut();
                Referral::accept_inside(dialog, request, &wish, &focus, flow, now)
            }
            None => {
                let (tag, partition) = (cx.token_for(room), Partition::of(room.bare_str()));
                Referral::accept(request, &wish, &focus, &tag, partition, flow, now)?
            }
        };
        cx.reply(incoming.key, reply);
        let watch = referral.map(|referral| {
            let about = About::Referral(referral);
            self.add_watch(Watch { room: room.clone(), contact, seat: id, inside, about, focus })
        });
        match target {
            Target::Guest(whom) => self.invite(cx, id, &whom, watch),
            Target::Nicks(nicks) => self.expel(cx, id, &nicks, watch),
        }
        if let Some(watch) = watch {
            self.tend(cx, watch);
        }
        Ok(())
    }

    /// Whom a REFER is about.
    fn target_of(&self, cx: &Cx<'_>, id: SeatId, wish: &Wish) -> Result<Target, Reply> {
        let Some(seat) = self.seats.get(&id) else { return Err(Reply::new(403)) };
        let Some(hall) = self.halls.get(&seat.room) else { return Err(Reply::new(403)) };
        let own = cx.domains.user_sip(&seat.room).map_err(|bad| errors::reply_of(&bad))?;
        let target = &wish.target;
        if wish.action == Action::Invite {
            let jid = cx.domains.user_jid(target).or_else(|_| cx.domains.contact_jid(target));
            return match jid.map(|jid| jid.bare()) {
                Ok(jid) if cx.domains.holds_rooms(jid.domain()) => {
                    Err(Reply::new(403).because("A room cannot be asked into a room"))
                }
                Ok(jid) if jid.local().is_some() => Ok(Target::Guest(jid)),
                _ => Err(Reply::new(404).because("This gateway does not reach whom you ask in")),
            };
        }
        let nicks: Vec<String> = if target.aor == own.aor {
            target.gr.iter().filter(|nick| hall.people.contains_key(nick.as_str())).cloned().collect()
        } else {
            self.nicks_of(cx, hall, target)
        };
        match nicks.is_empty() {
            true => Err(Reply::new(404).because("Nobody in the room has this address")),
            false => Ok(Target::Nicks(nicks)),
        }
    }

    /// The nicks of somebody: of seats with that address, and of people whose address all may know.
    fn nicks_of(&self, cx: &Cx<'_>, hall: &super::hall::Hall, target: &SipAddress) -> Vec<String> {
        let known = cx.domains.known_as(&target.aor);
        let seats = hall.seats.iter().filter_map(|id| self.seats.get(id));
        let theirs = seats.filter(|seat| seat.stage == Stage::In && Some(&seat.contact) == known.as_ref());
        let user = cx.domains.user_jid(target).ok();
        let is_user = |nick: &str| {
            user.as_ref().zip(hall.address(nick)).is_some_and(|(user, jid)| user.bare_str() == jid.bare_str())
        };
        let others = hall.people.keys().filter(|nick| is_user(nick)).map(|nick| nick.to_string());
        theirs.map(|seat| seat.nick.clone()).chain(others).collect()
    }

    /// Asks somebody in, in the name of a seat.
    pub(super) fn invite(&mut self, cx: &mut Cx<'_>, id: SeatId, whom: &Jid, watch: Option<WatchId>) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        if seat.inviting.len() >= INVITING || !cx.link_is_up(&seat.own) {
            return self.progress(cx, watch, 480);
        }
        let stanza = cx.token_for(&seat.room);
        cx.stanza(muc::invite(&seat.own, &seat.room, &stanza, whom, None));
        let number = seat.number();
        seat.inviting.push(Inviting { id: stanza, number, watch });
        self.ask(cx, id);
    }

    /// The room does not pass an invitation on. False where the stanza was none.
    pub(super) fn not_invited(
        &mut self,
        cx: &mut Cx<'_>,
        id: SeatId,
        stanza: &str,
        error: &StanzaError,
    ) -> bool {
        let Some(seat) = self.seats.get_mut(&id) else { return false };
        let Some(place) = seat.inviting.iter().position(|one| one.id == stanza) else { return false };
        let watch = seat.inviting.remove(place).watch;
        self.progress(cx, watch, status_of(cx, error));
        true
    }

    /// The room has dealt with all invitations until then. True where more wait.
    pub(super) fn invited_until(&mut self, cx: &mut Cx<'_>, id: SeatId, until: u64) -> bool {
        let Some(seat) = self.seats.get_mut(&id) else { return false };
        let (done, rest) = std::mem::take(&mut seat.inviting).into_iter().partition(|one| one.number < until);
        seat.inviting = rest;
        let waits = !seat.inviting.is_empty();
        let done: Vec<Inviting> = done;
        for watch in done.into_iter().filter_map(|one| one.watch) {
            if let Some(About::Referral(referral)) =
                self.watches.get_mut(&watch).map(|watch| &mut watch.about)
            {
                referral.leave_open(cx.now);
                self.tend(cx, watch);
            }
        }
        waits
    }

    /// What was asked of the room may be lost: nobody knows who was asked in.
    pub(super) fn nobody_invited(&mut self, cx: &mut Cx<'_>, id: SeatId) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        for one in std::mem::take(&mut seat.inviting) {
            self.progress(cx, one.watch, 480);
        }
    }

    fn expel(&mut self, cx: &mut Cx<'_>, id: SeatId, nicks: &[String], watch: Option<WatchId>) {
        let Some(seat) = self.seats.get(&id) else { return };
        let (own, room) = (seat.own.clone(), seat.room.clone());
        for nick in nicks {
            let question = cx.token_for(&room);
            cx.stanza(muc::expel(&own, &room, &question, nick, None));
            self.put_question(id, question, Question::Expel(watch));
        }
    }

    /// The room has put somebody out, or does not.
    pub(super) fn expelled(&mut self, cx: &mut Cx<'_>, watch: Option<WatchId>, error: Option<&StanzaError>) {
        let status = error.map_or(200, |error| status_of(cx, error));
        self.progress(cx, watch, status);
    }

    fn progress(&mut self, cx: &mut Cx<'_>, watch: Option<WatchId>, status: u16) {
        let Some(id) = watch else { return };
        if let Some(About::Referral(referral)) = self.watches.get_mut(&id).map(|watch| &mut watch.about) {
            referral.progress(status, cx.now);
            self.tend(cx, id);
        }
    }
}

/// See [`Rooms::target_of`].
enum Target {
    /// Somebody who is asked in.
    Guest(Jid),
    /// Who is to be put out.
    Nicks(Vec<String>),
}

/// What an error of the room means for who asked.
fn status_of(cx: &Cx<'_>, error: &StanzaError) -> u16 {
    errors::reply_of(&errors::condition_of_error(error, Scope::Full, cx.domains)).status
}
