//! What XMPP says goes to the focus (RFC 7702 §5.5, §5.6; RFC 7701 §6): lines, private lines, typing.
//!
//! A focus does not say to a member what the member said: when it has answered, the room says it to all of the member's
//! clients, with the id that it came with. So one's own line stands where its answer arrived. A line that the focus does not
//! take, or that nobody knows the fate of, comes back as an error.

use bytes::Bytes;

use super::Conferences;
use super::asked::{refuse, refuse_for};
use super::ending;
use super::guest::{GuestId, Missed, SAID, Said, Stage};
use super::hall::{Ids, Old, Who, print_of};
use crate::documents::cpim::{self, Mailbox};
use crate::documents::date;
use crate::documents::iscomposing::{self, IsComposing};
use crate::features::Cx;
use crate::features::room::table;
use crate::msrp::frame::FailureReport;
use crate::msrp::message::OutMessage;
use crate::msrp::session::{By, Unsendable};
use crate::sip::uri::SipAddress;
use crate::sip::usage::session::Cause;
use crate::words::condition::{Condition, Kind};
use crate::words::time::{Tick, Wall};
use crate::xmpp::jid::Jid;
use crate::xmpp::muc::Line;
use crate::xmpp::muc::room::{self, Marks};
use crate::xmpp::stanza::Stanza;

impl Conferences {
    /// A client says something: to one, where there is a nick, else to all.
    pub(super) fn says(
        &mut self,
        cx: &mut Cx<'_>,
        stanza: &Stanza,
        from: &Jid,
        room: &Jid,
        nick: Option<&str>,
        line: &Line,
    ) {
        if let Err(why) = self.try_say(cx, stanza, from, room, nick, line) {
            refuse_for(cx, stanza, &why);
        }
    }

    fn try_say(
        &mut self,
        cx: &mut Cx<'_>,
        stanza: &Stanza,
        from: &Jid,
        room: &Jid,
        nick: Option<&str>,
        line: &Line,
    ) -> Result<(), Condition> {
        let no = |kind, words: &str| Err(Condition::new(kind, words));
        let Some(id) = self.guest_of(room, from) else {
            return no(Kind::NotAcceptable, "You are not in this room");
        };
        let to = match nick {
            Some(nick) => self.private_address(cx, id, nick)?,
            None => cx.domains.contact_sip(room)?,
        };
        let Some(guest) = self.guests.get_mut(&id) else { return Ok(()) };
        if guest.said.len() + guest.waiting.len() >= SAID {
            return no(Kind::ResourceConstraint, "The room has not taken what you said before");
        }
        let wall = cx.now.wall;
        let type_ = if line.body.is_ascii() { "text/plain" } else { "text/plain;charset=UTF-8" };
        let body = envelope(&guest.own.address(), &guest.nick, &to, wall, type_, &line.body);
        let message_id = cx.token_for(room);
        let mark = (wall, print_of(&line.body));
        let stanza_id = cx.token_for(room);
        let ids = nick.is_none().then(|| {
            let message = stanza.id().unwrap_or(&stanza_id).to_owned();
            Ids { stanza: stanza_id, message }
        });
        if let (Some(ids), Some(hall)) = (&ids, self.halls.get_mut(room)) {
            hall.says(mark, ids.clone(), id);
        }
        guest.waiting.push_back(Said { message_id, stanza: stanza.clone(), mark, ids, body });
        self.flow(cx, id);
        Ok(())
    }

    /// The address of somebody in the room, for what is for that one alone.
    fn private_address(&self, cx: &Cx<'_>, id: GuestId, nick: &str) -> Result<SipAddress, Condition> {
        let none = || Condition::new(Kind::ItemNotFound, "Nobody of this name is in the room");
        let guest = self.guests.get(&id).ok_or_else(none)?;
        let person = self.halls.get(&guest.room).and_then(|hall| hall.people.get(nick)).ok_or_else(none)?;
        if !guest.abilities.private {
            let words = "Nothing can be said to one alone in this room";
            return Err(Condition::new(Kind::FeatureNotImplemented, words));
        }
        match &person.who {
            Who::Entity(entity) => entity.address().ok_or_else(|| {
                Condition::new(Kind::FeatureNotImplemented, "This person has no address in this room")
            }),
            Who::Guest(other) => {
                let other = self.guests.get(other).ok_or_else(none)?;
                let hall = self.halls.get(&guest.room).ok_or_else(none)?;
                if hall.of_address(&other.own).count() == 1 {
                    return Ok(other.own.address());
                }
                // One person under two nicks has one address: only the nick says which is meant (RFC 7702 §5.6).
                let focus = cx.domains.contact_sip(&guest.room)?;
                Ok(SipAddress { aor: focus.aor, gr: Some(nick.to_owned()) })
            }
        }
    }

    /// A client shows one that somebody types, or stops. Where that cannot be passed on nobody misses it.
    pub(super) fn types(&mut self, cx: &mut Cx<'_>, from: &Jid, room: &Jid, nick: &str, state: &str) {
        let Some(id) = self.guest_of(room, from) else { return };
        let Ok(to) = self.private_address(cx, id, nick) else { return };
        let Some(guest) = self.guests.get(&id).filter(|guest| guest.stage == Stage::In) else { return };
        let Some(session) = guest.leg.msrp.filter(|_| guest.abilities.composing && !guest.leg.held) else {
            return;
        };
        let text =
            IsComposing { active: state == "composing", refresh: iscomposing::DEFAULT_REFRESH }.write();
        let own = guest.own.address();
        let body = envelope(&own, &guest.nick, &to, cx.now.wall, iscomposing::TYPE, &text);
        let message = OutMessage {
            success_report: false,
            failure_report: FailureReport::No,
            ..OutMessage::new(cx.token_for(room), cpim::TYPE, body)
        };
        // What does not go now would be old later.
        let _ = cx.msrp.send(cx.now.tick, cx.mint, session, message);
    }

    /// What waits goes out, if it may.
    pub(super) fn flow(&mut self, cx: &mut Cx<'_>, id: GuestId) {
        loop {
            let Some(guest) = self.guests.get_mut(&id).filter(|guest| guest.stage == Stage::In) else {
                return;
            };
            let Some(session) = guest.leg.msrp.filter(|_| !guest.leg.held) else { return };
            let Some(said) = guest.waiting.pop_front() else { return };
            let message = OutMessage {
                success_report: false,
                failure_report: FailureReport::Yes,
                ..OutMessage::new(said.message_id.clone(), cpim::TYPE, said.body.clone())
            };
            let refused = cx.msrp.send(cx.now.tick, cx.mint, session, message);
            let (kind, words) = match refused {
                Ok(()) => {
                    guest.said.push_back(said);
                    continue;
                }
                Err((Unsendable::TooLarge, _)) => (Kind::PolicyViolation, "This is too long for the room"),
                Err((Unsendable::Full, _)) => {
                    (Kind::ResourceConstraint, "The room has not taken what you said before")
                }
                Err(_) => (Kind::RemoteServerTimeout, "The way to the room is broken"),
            };
            refuse(cx, &said.stanza, kind, words);
        }
    }

    /// The focus has a line: the room says it.
    pub(super) fn sent(&mut self, cx: &mut Cx<'_>, id: GuestId, message_id: &str) {
        let Some(guest) = self.guests.get_mut(&id) else { return };
        let Some(said) = guest.take_said(message_id) else { return };
        if said.ids.is_some() {
            guest.was_reflected(said.mark);
        }
        self.taken(cx, id, said);
    }

    /// The focus has taken a line: the room says it, as soon as there is a link.
    pub(super) fn taken(&mut self, cx: &mut Cx<'_>, id: GuestId, said: Said) {
        match self.guests.get_mut(&id).filter(|guest| !cx.link_is_up(&guest.room)) {
            Some(guest) => guest.missed.push_back(Missed::Own(said, cx.now.tick)),
            None => self.reflect(cx, id, &said, cx.now.tick),
        }
    }

    /// Says a line to all clients of who said it; the focus has taken it then. One for somebody alone is not said again.
    pub(super) fn reflect(&mut self, cx: &mut Cx<'_>, id: GuestId, said: &Said, came: Tick) {
        cx.count("conference_lines_total", &[("direction", "xmpp_to_sip")]);
        let Some(ids) = &said.ids else { return };
        let Some(guest) = self.guests.get(&id) else { return };
        let (from, room, nick) = (guest.occupant(), guest.room.clone(), guest.nick.clone());
        let own = super::showing::occupant_id(cx, &room, &guest.own);
        let marks = Marks { occupant: Some(&own), stanza: Some(&ids.stanza) };
        for client in guest.clients.keys() {
            cx.stanza(room::reflection(&said.stanza, &from, client, &ids.message, marks));
        }
        let text = said.stanza.element.child("body", crate::xmpp::ns::COMPONENT);
        let body = text.map(crate::xmpp::stanza::Element::text).unwrap_or_default();
        let line = Line { body, lang: None, stamp: None };
        let (nick, occupant) = (Some(nick), Some(own));
        let old = Old { nick, line, ids: ids.clone(), occupant, came, before: None };
        self.remember(&room, old);
    }

    /// Keeps a line for who comes with a further client.
    pub(super) fn remember(&mut self, room: &Jid, old: Old) {
        if let Some(hall) = self.halls.get_mut(room) {
            hall.keep(old);
        }
    }

    /// The focus does not take a line.
    pub(super) fn failed(
        &mut self,
        cx: &mut Cx<'_>,
        id: GuestId,
        message_id: &str,
        code: u16,
        comment: &str,
        by: By,
    ) {
        let Some(guest) = self.guests.get_mut(&id) else { return };
        if let Some(said) = guest.take_said(message_id) {
            cx.count("conference_lines_refused_total", &[]);
            let (kind, words) = table::answer(code);
            let said_by = comment.trim();
            let words = match said_by.is_empty() {
                true => format!("{words} ({code})"),
                false => format!("{words} ({code} {said_by})"),
            };
            refuse(cx, &said.stanza, kind, &words);
        }
        if by == By::Silence {
            // Whoever does not answer in 30 seconds is not there (RFC 4975 §7.1.1).
            let cause = Cause { status: 408, text: "a message was not answered".to_owned() };
            self.part(cx, id, super::guest::Farewell::broken(), &ending::lost_words(), Some(cause));
        }
    }
}

/// A CPIM message of a member (RFC 7701 §6): From the member's own address, with the nick.
fn envelope(own: &SipAddress, nick: &str, to: &SipAddress, wall: Wall, type_: &str, text: &str) -> Bytes {
    let from = Mailbox::new(Some(nick), own).value();
    let to = Mailbox::new(None, to).value();
    let date = date::write_rfc3339(wall);
    let headers = [("From", from.as_str()), ("To", to.as_str()), ("DateTime", date.as_str())];
    cpim::write(&headers, &[("Content-Type", type_)], text.as_bytes()).into()
}
