//! What a client asks of a room, by presence, message or IQ (XEP-0045 §7).
//!
//! What is asked about the room itself by IQ (disco, vCards) is not answered here, but whether somebody is in it is.

use super::Conferences;
use super::guest::{CLIENTS, Client, Stage};
use super::hall::Hall;
use crate::features::{Cx, errors};
use crate::words::condition::{Condition, Kind};
use crate::xmpp::jid::Jid;
use crate::xmpp::muc::request::{self, Entry, Request};
use crate::xmpp::muc::room;
use crate::xmpp::stanza::{Stanza, StanzaKind};

impl Conferences {
    /// A stanza of anybody's. True when it is for a room of SIP, and not one that others answer.
    pub(super) fn asked_for(&mut self, cx: &mut Cx<'_>, stanza: &Stanza) -> bool {
        let (Some(from), Some(to)) = (stanza.from(), stanza.to()) else { return false };
        if !cx.domains.holds_sip_rooms(to.domain()) || to.local().is_none() {
            return false;
        }
        let room = to.bare();
        match request::request(stanza) {
            Some(Request::Enter(entry)) => self.enters(cx, stanza, from, &room, entry),
            Some(Request::Present { nick }) => self.shows(cx, stanza, from, &room, &nick),
            Some(Request::NoNick) => refuse(cx, stanza, Kind::JidMalformed, "A room is entered under a name"),
            Some(Request::Leave { status }) => self.leaves(cx, from, &room, status),
            Some(Request::Bounced(error)) if self.not_reached(cx, stanza, from, &room, &error) => {}
            Some(Request::Bounced(error)) => {
                if room::is_ghost(&error) || error.kind == Kind::ServiceUnavailable {
                    self.vanished(cx, from, &room);
                }
            }
            Some(Request::Line(line)) => self.says(cx, stanza, from, &room, None, &line),
            Some(Request::Subject(_)) => {
                let words = "The subject of this room is set by who runs it";
                self.refuse_member(cx, stanza, from, &room, Kind::Forbidden, words);
            }
            Some(Request::Private { nick, line }) => self.says(cx, stanza, from, &room, Some(&nick), &line),
            Some(Request::State { nick, state }) => self.types(cx, from, &room, &nick, &state),
            Some(Request::Ping { nick }) => self.pinged(cx, stanza, from, &room, &nick),
            Some(Request::Wrong(words)) => refuse(cx, stanza, Kind::BadRequest, words),
            Some(Request::Invite(invited)) => self.invites(cx, stanza, &room, &invited),
            Some(Request::Decline { reason, .. }) => self.declines(cx, from, &room, reason.as_deref()),
            Some(Request::Voice) => {
                let words = "Who may speak in a room of SIP is not decided from here";
                self.refuse_member(cx, stanza, from, &room, Kind::FeatureNotImplemented, words);
            }
            Some(Request::Nothing) => {}
            Some(Request::Admin(_) | Request::Owner(_)) => return false,
            // Subscriptions and probes: nobody follows the presence of a room.
            None if stanza.kind == StanzaKind::Presence => {
                if stanza.type_() == Some("subscribe") {
                    cx.stanza(
                        Stanza::new(StanzaKind::Presence, &room, &from.bare()).with_type("unsubscribed"),
                    );
                }
            }
            None => return stanza.kind == StanzaKind::Iq && self.is_for_occupant(cx, stanza),
        }
        true
    }

    /// A client wants to enter, or to see all anew, or to have another nick.
    fn enters(&mut self, cx: &mut Cx<'_>, stanza: &Stanza, from: &Jid, room: &Jid, entry: Entry) {
        let Some(nick) = stanza.to().and_then(Jid::resource).map(str::to_owned) else { return };
        if let Some(id) = self.guest_of(room, from) {
            let Some(guest) = self.guests.get_mut(&id) else { return };
            let is_same = *guest.nick == nick || *guest.wanted == nick && guest.stage != Stage::In;
            match guest.stage {
                Stage::In if is_same => self.welcome(cx, id, from, &[]),
                _ if is_same => {}
                _ => self.wants_nick(cx, id, stanza, &nick),
            }
            return;
        }
        let hall = self.halls.get(room);
        if let Some(id) = hall.and_then(|hall| hall.nicks.get(nick.as_str()).copied()) {
            self.doubted.forget(from, room);
            return self.joins(cx, id, stanza, from, entry);
        }
        if hall.is_some_and(|hall| hall.people.contains_key(nick.as_str()) || self.is_wanted(hall, &nick)) {
            return refuse(cx, stanza, Kind::Conflict, "This name is taken in the room");
        }
        self.doubted.forget(from, room);
        if !self.comes(cx, stanza, from, room, &nick, &entry) {
            self.begin(cx, stanza, from, room, &nick, entry);
        }
    }

    /// Whether one of ours has asked the focus for this nick, and has no answer yet. If the focus gives it, it is hers: who
    /// entered by it meanwhile would have it here, and she, with a number, another than in SIP.
    fn is_wanted(&self, hall: &Hall, nick: &str) -> bool {
        let renaming = |id| self.guests.get(id)?.renaming.as_ref();
        hall.guests.iter().filter_map(renaming).any(|renaming| *renaming.nick == *nick)
    }

    /// A further client under a nick that one of ours has: that of the same person is in by the same dialog.
    fn joins(&mut self, cx: &mut Cx<'_>, id: u64, stanza: &Stanza, from: &Jid, entry: Entry) {
        let Some(guest) = self.guests.get_mut(&id) else { return };
        if guest.user.as_str() != from.bare_str() {
            return refuse(cx, stanza, Kind::Conflict, "This name is taken in the room");
        }
        if guest.clients.len() >= CLIENTS {
            return refuse(cx, stanza, Kind::ResourceConstraint, "Too many of your clients are in this room");
        }
        let is_in = guest.stage == Stage::In;
        let asked = (!is_in).then(|| stanza.clone());
        guest.clients.insert(from.clone(), Client { history: entry.history, asked });
        let room = guest.room.clone();
        if let Some(hall) = self.halls.get_mut(&room) {
            hall.clients.insert(from.clone(), id);
        }
        self.keep(cx, id);
        if is_in {
            self.welcome(cx, id, from, &[]);
        }
    }

    /// Presence without a word of entering: another nick, or what SIP has no word for.
    fn shows(&mut self, cx: &mut Cx<'_>, stanza: &Stanza, from: &Jid, room: &Jid, nick: &str) {
        let Some(id) = self.guest_of(room, from) else {
            // Who seems to think that she is in is told that she is not (§7.2.18).
            let occupant = room.with_resource(nick);
            return occupant.into_iter().for_each(|occupant| cx.stanza(room::not_in(&occupant, from)));
        };
        if self.guests.get(&id).is_some_and(|guest| *guest.nick != *nick && *guest.wanted != *nick) {
            self.wants_nick(cx, id, stanza, nick);
        }
    }

    /// Whether somebody is in (XEP-0410 §3.2): who pings her own nick is told, and of others that they are there.
    fn pinged(&mut self, cx: &mut Cx<'_>, stanza: &Stanza, from: &Jid, room: &Jid, nick: &str) {
        let Some(hall) = self.halls.get(room).filter(|hall| hall.clients.contains_key(from)) else {
            return refuse(cx, stanza, Kind::NotAcceptable, "You are not in this room");
        };
        if hall.people.contains_key(nick) {
            cx.answer(stanza.result());
        } else {
            refuse(cx, stanza, Kind::ItemNotFound, "Nobody of this name is in the room");
        }
    }

    /// An IQ that is for somebody in the room: SIP has no way for it.
    fn is_for_occupant(&self, cx: &mut Cx<'_>, stanza: &Stanza) -> bool {
        let (Some(from), Some(to)) = (stanza.from(), stanza.to()) else { return false };
        let is_question = matches!(stanza.type_(), Some("get" | "set"));
        if to.resource().is_none() || !is_question {
            return false;
        }
        if self.guest_of(&to.bare(), from).is_none() {
            refuse(cx, stanza, Kind::NotAcceptable, "You are not in this room");
        } else {
            refuse(cx, stanza, Kind::ServiceUnavailable, "People in a room of SIP cannot be asked this");
        }
        true
    }

    /// The guest by whom this client is in the room, or on the way in.
    pub(super) fn guest_of(&self, room: &Jid, client: &Jid) -> Option<u64> {
        self.halls.get(room)?.clients.get(client).copied()
    }

    /// Refuses what a member asks; who is none is told that first.
    pub(super) fn refuse_member(
        &self,
        cx: &mut Cx<'_>,
        stanza: &Stanza,
        from: &Jid,
        room: &Jid,
        kind: Kind,
        words: &str,
    ) {
        match self.guest_of(room, from) {
            Some(_) => refuse(cx, stanza, kind, words),
            None => refuse(cx, stanza, Kind::NotAcceptable, "You are not in this room"),
        }
    }
}

/// Tells somebody, in the name of the room, why something cannot be.
pub(super) fn refuse_for(cx: &mut Cx<'_>, stanza: &Stanza, why: &Condition) {
    refuse(cx, stanza, why.kind, why.text.as_deref().unwrap_or_default());
}

/// Tells somebody, in the name of the room, that something cannot be.
pub(super) fn refuse(cx: &mut Cx<'_>, stanza: &Stanza, kind: Kind, words: &str) {
    cx.answer(refusal(stanza, kind, words));
}

/// What tells somebody, in the name of the room, that something cannot be; nothing where nobody may be told.
pub(super) fn refusal(stanza: &Stanza, kind: Kind, words: &str) -> Option<Stanza> {
    room::refusal(stanza, kind, errors::type_of(kind), Some(words))
}
