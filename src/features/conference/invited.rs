//! A focus calls an XMPP user: an invitation (RFC 4579 §5.6), which reaches her as one through the room (XEP-0045 §7.8.2).
//!
//! The call rings until she enters the room, which accepts it, so that she is in by the dialog that the focus has begun; or
//! until she says no (603), her server says that she is not there, or a minute is over (480). A room never chats as if it were
//! a person: what else a focus wants of somebody outside of the room's sessions is refused.
//!
//! Who invites is known by Referred-By (RFC 3892) alone, which nobody has proven; else it is the room.

use std::time::Duration;

use super::guest::{Abilities, Client, Guest, GuestId, Stage};
use super::{Alarm, Conferences};
use crate::documents::resource_lists;
use crate::features::describe::{self, Ways};
use crate::features::leg::Leg;
use crate::features::{Cx, Incoming, Op, errors};
use crate::sip::message::{self, HeaderName, Method, Reply};
use crate::sip::uri::SipAddress;
use crate::sip::usage::session::{Body, Session};
use crate::words::condition::Scope;
use crate::words::id::Partition;
use crate::words::note::Level;
use crate::words::text::clean;
use crate::xmpp::jid::Jid;
use crate::xmpp::muc::request::Entry;
use crate::xmpp::muc::room;
use crate::xmpp::stanza::{Stanza, StanzaError};

/// How long it rings.
const RINGS: Duration = Duration::from_secs(60);
/// How much of a subject is told, in characters.
const SUBJECT: usize = 200;
/// What a caller is told that we cannot serve now, in seconds.
const RETRY_AFTER: &str = "30";

/// Why an INVITE is refused.
type Refused = (Reply, &'static str);

impl Conferences {
    /// A request outside dialogs, of a focus: in a domain of rooms, or one that says so. False where it is of somebody else.
    pub(super) fn focus_asks(&mut self, cx: &mut Cx<'_>, incoming: &Incoming) -> bool {
        let Some((user, contact)) = &incoming.jids else { return false };
        let is_room = cx.domains.holds_sip_rooms(contact.domain());
        let refused = match incoming.request.method {
            Method::Invite if is_room => {
                let (user, room) = (user.bare(), contact.bare());
                self.asked_in(cx, incoming, &room, &user).err()
            }
            Method::Invite if super::entering::is_focus(&incoming.request.headers) => {
                Some((forbidden("Conferences of this domain have no place in XMPP here"), "not-a-room"))
            }
            Method::Message if is_room => {
                Some((forbidden("A conference speaks to those who are in it, in their sessions"), "message"))
            }
            Method::Subscribe | Method::Refer | Method::Publish if is_room => {
                Some((forbidden("A conference may only call"), "method"))
            }
            _ => return false,
        };
        if let Some((reply, why)) = refused {
            let fields = vec![
                ("corr", incoming.call_id.clone()),
                ("room", contact.bare().to_string()),
                ("user", user.bare().to_string()),
                ("status", reply.status.to_string()),
                ("why", why.to_owned()),
            ];
            cx.log(Level::Info, "conference-not-invited", fields);
            cx.ops.push_back(Op::ReplyNow(incoming.key, reply));
        }
        true
    }

    fn asked_in(
        &mut self,
        cx: &mut Cx<'_>,
        incoming: &Incoming,
        room: &Jid,
        user: &Jid,
    ) -> Result<(), Refused> {
        let refuse = |status, words: &str, why| Err((Reply::new(status).because(words), why));
        if room.local().is_none() || user.local().is_none() {
            return refuse(404, "The address names no person", "address");
        }
        if cx.domains.holds_rooms(user.domain()) {
            return refuse(403, "A room cannot enter a room", "room");
        }
        if !cx.accepting || self.stopping.is_some() {
            let reply = Reply::new(503).because("Not taking sessions now");
            return Err((reply.with(HeaderName::RetryAfter, RETRY_AFTER), "not-now"));
        }
        if !cx.link_is_up(room) {
            return refuse(480, "The XMPP server cannot be reached", "link");
        }
        let guests = self.halls.get(room).into_iter().flat_map(|hall| &hall.guests);
        let known = guests.filter_map(|id| self.guests.get(id));
        if known.into_iter().any(|guest| guest.user == *user && guest.stage != Stage::Out) {
            return refuse(486, "This person is in the conference, or has been called", "there");
        }
        if self.is_full(user, room) {
            return refuse(486, "Too many sessions", "full");
        }
        let ways = Ways::of(cx);
        if ways == Ways::default() || ways.relay {
            return refuse(488, "There are no conferences here without MSRP", "media");
        }
        let required = message::list(&incoming.request.headers, &HeaderName::Require);
        if required.iter().any(|tag| tag.eq_ignore_ascii_case(resource_lists::OPTION)) {
            let reply = Reply::new(420).with(HeaderName::Unsupported, resource_lists::OPTION);
            return Err((reply, "extension"));
        }
        let own = cx.domains.user_sip(user).map_err(|bad| (errors::reply_of(&bad), "address"))?.aor;
        let (tag, partition) = (cx.token_for(room), Partition::of(room.bare_str()));
        let contact = cx.config.sip.contact(&own, &incoming.from.aor.host);
        let (call, offer) = Session::invited(
            cx.now,
            incoming.key,
            &incoming.request,
            &tag,
            partition,
            &contact,
            crate::features::ALLOW.as_str(),
        )
        .map_err(|reply| (reply, "malformed"))?;
        let line = offer.as_ref().map(|offer| describe::offered_room(cx, offer)).transpose()?;
        if let Some(words) = line.as_ref().and_then(|line| describe::forbidden(cx, line, incoming.peer)) {
            return Err((describe::not_acceptable(cx, 399, &words), "forbidden"));
        }
        let by = inviter(cx, incoming).unwrap_or_else(|| room.clone());
        let reason =
            message::text(&incoming.request.headers, &HeaderName::Subject).map(|text| one_line(&text));
        let invitation = cx.token_for(room);
        let leg = Leg::new(cx, call, incoming.peer, offer, describe::room_line);
        let mut guest = Guest::new(room.clone(), user.clone(), own, "", leg);
        guest.stage = Stage::Invited;
        guest.abilities = line.as_ref().map(Abilities::of).unwrap_or_default();
        cx.stanza(room::invitation(
            room,
            user,
            &invitation,
            &by,
            reason.as_deref().filter(|text| !text.is_empty()),
        ));
        guest.invitation = Some(invitation);
        guest.leg.call.ring(cx.now);
        let mut fields = guest.fields();
        fields.push(("by", by.to_string()));
        cx.log(Level::Info, "conference-invited", fields);
        let id = self.add(guest);
        self.asked.insert(incoming.key, id);
        self.timers.set(Alarm::Enter(id), cx.now.tick + RINGS);
        self.run(cx, id);
        Ok(())
    }

    /// The call for this person that rings.
    fn rings(&self, room: &Jid, user: &str) -> Option<GuestId> {
        let hall = self.halls.get(room)?;
        let rings = |id: &&GuestId| {
            let guest = self.guests.get(id);
            guest.is_some_and(|guest| guest.stage == Stage::Invited && guest.user.as_str() == user)
        };
        hall.guests.iter().find(rings).copied()
    }
}

/// What becomes of a call that rings.
impl Conferences {
    /// Somebody enters. True where a call for her rings: that is accepted, and she enters by it.
    pub(super) fn comes(
        &mut self,
        cx: &mut Cx<'_>,
        stanza: &Stanza,
        from: &Jid,
        room: &Jid,
        nick: &str,
        entry: &Entry,
    ) -> bool {
        let Some(id) = self.rings(room, from.bare_str()) else { return false };
        let Some(guest) = self.guests.get_mut(&id) else { return false };
        let answer = if guest.leg.bind(cx, room) { guest.leg.answer(cx) } else { None };
        let Some(answer) = answer else {
            self.turn_down(cx, id, Reply::new(488).because("No MSRP here"));
            return false;
        };
        (guest.stage, guest.nick, guest.wanted) = (Stage::Calling, nick.into(), nick.into());
        let client = Client { history: entry.history.clone(), asked: Some(stanza.clone()) };
        guest.clients.insert(from.clone(), client);
        self.msrp.extend(guest.leg.msrp.map(|session| (session, id)));
        guest.leg.call.agree(cx.now, Body::sdp(answer));
        if let Some(hall) = self.halls.get_mut(room) {
            hall.nicks.insert(nick.into(), id);
            hall.clients.insert(from.clone(), id);
        }
        self.timers.set(Alarm::Enter(id), cx.now.tick + super::entering::PATIENCE);
        self.run(cx, id);
        true
    }

    /// The focus has heard that its call is accepted; with its answer, where the offer was ours.
    pub(super) fn confirmed(&mut self, cx: &mut Cx<'_>, id: GuestId, answer: Option<&Body>) {
        let Some(guest) = self.guests.get_mut(&id) else { return };
        if guest.invitation.take().is_none() {
            if answer.is_some() {
                self.settled(cx, id, answer);
            }
            return;
        }
        if answer.is_none() || self.agrees(cx, id, answer) {
            self.goes_in(cx, id, None);
        }
    }

    /// Somebody does not want to come.
    pub(super) fn declines(&mut self, cx: &mut Cx<'_>, from: &Jid, room: &Jid, reason: Option<&str>) {
        if let Some(id) = self.rings(room, from.bare_str()) {
            let words = reason.map(one_line).filter(|words| !words.is_empty());
            self.turn_down(cx, id, Reply::new(603).because(words.as_deref().unwrap_or("Decline")));
        }
    }

    /// An invitation does not reach whom it is for. False where the stanza was none.
    pub(super) fn not_reached(
        &mut self,
        cx: &mut Cx<'_>,
        stanza: &Stanza,
        from: &Jid,
        room: &Jid,
        error: &StanzaError,
    ) -> bool {
        let Some(id) = self.rings(room, from.bare_str()) else { return false };
        let invitation = self.guests.get(&id).and_then(|guest| guest.invitation.as_deref());
        if stanza.id().is_none() || stanza.id() != invitation {
            return false;
        }
        let why = errors::condition_of_error(error, Scope::Bare, cx.domains);
        self.turn_down(cx, id, errors::reply_of(&why));
        true
    }

    /// A call that rings comes to nothing.
    pub(super) fn turn_down(&mut self, cx: &mut Cx<'_>, id: GuestId, reply: Reply) {
        let Some(guest) = self.guests.get_mut(&id) else { return };
        let mut fields = guest.fields();
        fields.extend([
            ("status", reply.status.to_string()),
            ("why", reply.reason.clone().unwrap_or_default()),
        ]);
        cx.log(Level::Info, "conference-not-invited", fields);
        guest.leg.call.decline(cx.now, reply);
        self.run(cx, id);
    }

    /// A call that rang is over. False where it was none: an invitation cannot be taken back, so nobody is told.
    pub(super) fn rings_no_more(&mut self, id: GuestId) -> bool {
        let Some(guest) = self.guests.get_mut(&id).filter(|guest| guest.stage == Stage::Invited) else {
            return false;
        };
        guest.stage = Stage::Out;
        self.timers.stop(&Alarm::Enter(id));
        true
    }
}

/// Who invites, where somebody is named who has an address in XMPP.
fn inviter(cx: &Cx<'_>, incoming: &Incoming) -> Option<Jid> {
    let address = message::address(&incoming.request.headers, &HeaderName::ReferredBy)?;
    let address = SipAddress::of(&address.uri).ok()?;
    let jid = cx.domains.user_jid(&address).or_else(|_| cx.domains.contact_jid(&address)).ok()?.bare();
    jid.local().is_some().then_some(jid)
}

fn forbidden(words: &str) -> Reply {
    Reply::new(403).because(words)
}

/// Words as they may stand in one line, and not too many.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
    let line = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    clean(&line).chars().take(SUBJECT).collect()
}
