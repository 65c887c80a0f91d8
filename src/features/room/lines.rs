//! What a room says goes to SIP: lines, private lines, the subject (RFC 7701 §6, RFC 7702 §5.3 the other way round).
//!
//! Nobody hears his own line again: it is known by its id, and answers the SEND that it came with.

use std::time::Duration;

use bytes::Bytes;

use super::hall::Told;
use super::seat::{SeatId, Stage, WAITING, Whispered};
use super::{Rooms, table};
use crate::documents::cpim::{self, Mailbox};
use crate::documents::date;
use crate::documents::iscomposing::{self, IsComposing};
use crate::features::Cx;
use crate::features::errors;
use crate::msrp::frame::FailureReport;
use crate::msrp::message::OutMessage;
use crate::msrp::session::{By, Unsendable};
use crate::sabotage::{self, Fault as Mistake};
use crate::sip::uri::SipAddress;
use crate::sip::usage::session::Cause;
use crate::words::condition::{Condition, Kind};
use crate::xmpp::jid::Jid;
use crate::xmpp::muc::{self, Line, Message};
use crate::xmpp::stanza::{Stanza, StanzaKind};

/// Copies of one line come within so long.
const COPIES: Duration = Duration::from_secs(2);

impl Rooms {
    /// A message from a room or from somebody in it.
    pub(super) fn message(&mut self, cx: &mut Cx<'_>, from: &Jid, stanza: &Stanza) {
        let Some(to) = stanza.to() else { return };
        let Some(id) = self.owns.get(to).copied() else {
            if let Message::Invitation(invitation) = muc::message(stanza) {
                return self.call(cx, to, invitation);
            }
            // A room that still has somebody in it whom nobody knows here learns it by this.
            let condition =
                Condition::new(Kind::RecipientUnavailable, "Nobody is in this room with that address");
            let is_ghost = !to.is_bare() && matches!(stanza.type_(), Some("groupchat" | "chat"));
            let error = errors::stanza_error(stanza, &condition).filter(|_| is_ghost);
            return cx.answer(error);
        };
        let Some(seat) = self.seats.get_mut(&id).filter(|seat| seat.room.bare_str() == from.bare_str())
        else {
            return;
        };
        seat.heard = cx.now.tick;
        let nick = from.resource().map(str::to_owned);
        let message = muc::message(stanza);
        if matches!(message, Message::Subject(_) | Message::Private(_) | Message::Declined { .. }) {
            self.lets_go(cx, id);
        }
        match message {
            Message::Refused(error) => {
                let is_invitation =
                    stanza.id().is_some_and(|stanza| self.not_invited(cx, id, stanza, &error));
                if !is_invitation {
                    self.refused(cx, id, stanza.id(), error.kind);
                }
            }
            Message::Line(line) => self.line(cx, id, stanza, nick, line),
            Message::Subject(subject) => {
                let seat = self.seats.get_mut(&id);
                let is_own = seat.is_some_and(|seat| seat.takes_for_own(nick.as_deref(), stanza.id(), false));
                self.has_read(cx, id);
                let told = is_own && self.reflected(cx, id, stanza.id());
                self.subject(cx, id, nick, subject, told);
            }
            Message::Private(line) => self.whisper(cx, id, from, stanza, line),
            Message::Declined { by, reason } => {
                let who = by.map_or_else(|| "Somebody".to_owned(), |by| by.bare_str().to_owned());
                let words = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
                let text = format!("{who} does not come{words}");
                self.deliver(cx, id, Told { nick: None, text, subject: None, stamp: None }, Some(stanza));
            }
            Message::State(state) => self.types(cx, id, from, &state),
            Message::Invitation(_) | Message::Nothing => {}
        }
    }

    /// The subject is this now; `told`: by this seat, which knows it.
    fn subject(&mut self, cx: &mut Cx<'_>, id: SeatId, nick: Option<String>, subject: String, told: bool) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        // A room says to everybody who enters, and enters again, what its subject is, also that there is none.
        let is_news = *seat.subject != *subject;
        seat.subject = subject.as_str().into();
        let room = seat.room.clone();
        let Some(hall) = self.halls.get_mut(&room) else { return };
        hall.set_subject(&subject);
        self.arm_step(cx, &room);
        if told || !is_news {
            return;
        }
        let text = match subject.is_empty() {
            true => "The room has no subject any more".to_owned(),
            false => format!("Subject: {subject}"),
        };
        self.deliver(cx, id, Told { nick, text, subject: Some(subject), stamp: None }, None);
    }

    /// Somebody says something to one alone.
    fn whisper(&mut self, cx: &mut Cx<'_>, id: SeatId, from: &Jid, stanza: &Stanza, line: Line) {
        let Some(seat) = self.seats.get(&id) else { return };
        if !seat.private {
            let text = "This person's client cannot show private messages of a room";
            let error = errors::stanza_error(stanza, &Condition::new(Kind::FeatureNotImplemented, text));
            return cx.answer(error);
        }
        let told = Told {
            nick: from.resource().map(str::to_owned),
            text: line.body,
            subject: None,
            stamp: line.stamp,
        };
        self.deliver(cx, id, told, Some(stanza));
    }

    /// Somebody types, or stops, to one alone.
    fn types(&mut self, cx: &mut Cx<'_>, id: SeatId, from: &Jid, state: &str) {
        let Some(seat) = self.seats.get(&id).filter(|seat| seat.private && seat.composing) else { return };
        let Some(session) = seat.leg.msrp.filter(|_| seat.stage == Stage::In && !seat.leg.held) else {
            return;
        };
        let Ok(room) = cx.domains.user_sip(&seat.room) else { return };
        let text =
            IsComposing { active: state == "composing", refresh: iscomposing::DEFAULT_REFRESH }.write();
        let told = Told { nick: from.resource().map(str::to_owned), text, subject: None, stamp: None };
        let body = envelope(cx, &room, Some(&seat.nick), &told, iscomposing::TYPE);
        let message = OutMessage {
            message_id: cx.token_for(&seat.room),
            content_type: cpim::TYPE.to_owned(),
            headers: Vec::new(),
            body,
            success_report: false,
            failure_report: FailureReport::No,
        };
        // What does not go now would be old later.
        let _ = cx.msrp.send(cx.now.tick, cx.mint, session, message);
    }

    /// Sends something to a seat; `private`: the stanza that says it to this one alone.
    pub(super) fn deliver(&mut self, cx: &mut Cx<'_>, id: SeatId, told: Told, private: Option<&Stanza>) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let Some(session) = seat.leg.msrp.filter(|_| seat.takes_part() && seat.leg.call.is_up()) else {
            return;
        };
        let Ok(room) = cx.domains.user_sip(&seat.room) else { return };
        let type_ = if told.text.is_ascii() { "text/plain" } else { "text/plain;charset=UTF-8" };
        let body = match private {
            Some(_) => envelope(cx, &room, Some(&seat.nick), &told, type_),
            None => {
                let Some(hall) = self.halls.get_mut(&seat.room) else { return };
                match &hall.last {
                    // The same words a while later are another line, with a DateTime of its own.
                    Some((known, at, bytes)) if *known == told && *at + COPIES > cx.now.tick => bytes.clone(),
                    _ => {
                        let bytes = envelope(cx, &room, None, &told, type_);
                        hall.last = Some((told, cx.now.tick, bytes.clone()));
                        bytes
                    }
                }
            }
        };
        let message_id = cx.token_for(&seat.room);
        if let Some((from, stanza)) = private.and_then(|stanza| Some((stanza.from()?.clone(), stanza))) {
            let id = stanza.id().map(str::to_owned);
            seat.whispers(Whispered { message_id: message_id.clone(), from, id });
        }
        if seat.leg.held && seat.waiting.len() < WAITING {
            return seat.waiting.push_back((message_id, body));
        }
        self.send(cx, id, session, message_id, body);
    }

    /// Who had put us on hold hears what was said meanwhile.
    pub(super) fn resumed(&mut self, cx: &mut Cx<'_>, id: SeatId) {
        let Some(seat) = self.seats.get_mut(&id).filter(|seat| !seat.leg.held) else { return };
        let Some(session) = seat.leg.msrp else { return };
        if sabotage::is(Mistake::LinesTurned) {
            seat.waiting.make_contiguous().reverse();
        }
        for (message_id, body) in std::mem::take(&mut seat.waiting) {
            self.send(cx, id, session, message_id, body);
        }
    }

    fn send(
        &mut self,
        cx: &mut Cx<'_>,
        id: SeatId,
        session: crate::msrp::connections::SessionId,
        message_id: String,
        body: Bytes,
    ) {
        if self.seats.get(&id).is_some_and(|seat| seat.leg.held) {
            return self.too_slow(cx, id);
        }
        let length = body.len();
        let message = OutMessage {
            message_id,
            content_type: cpim::TYPE.to_owned(),
            headers: Vec::new(),
            body,
            success_report: false,
            failure_report: FailureReport::Yes,
        };
        let Err((why, message)) = cx.msrp.send(cx.now.tick, cx.mint, session, message) else { return };
        match why {
            Unsendable::Full => self.too_slow(cx, id),
            Unsendable::TooLarge => {
                self.failed(cx, id, &message.message_id, 413, By::Response);
                let text = format!("A message of {length} bytes is too long for your client.");
                let told = Told { nick: None, text, subject: None, stamp: None };
                if length > 512 {
                    self.deliver(cx, id, told, None);
                }
            }
            Unsendable::Ending | Unsendable::Malformed | Unsendable::Twice => {}
        }
    }

    /// Whoever does not follow would see a room with holes in it.
    fn too_slow(&mut self, cx: &mut Cx<'_>, id: SeatId) {
        let text = "You do not take what the room says".to_owned();
        self.dismiss(cx, id, Cause { status: 480, text });
    }

    /// A line has arrived.
    pub(super) fn delivered(&mut self, id: SeatId, message_id: &str) {
        if let Some(seat) = self.seats.get_mut(&id) {
            seat.take_whispered(message_id);
        }
    }

    /// A line has not arrived. Of one to all nobody is told (RFC 7701 §6.3), of a private one its sender.
    pub(super) fn failed(&mut self, cx: &mut Cx<'_>, id: SeatId, message_id: &str, code: u16, by: By) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        if let Some(whispered) = seat.take_whispered(message_id) {
            let mut stanza = Stanza::new(StanzaKind::Message, &whispered.from, &seat.own).with_type("chat");
            if let Some(id) = &whispered.id {
                stanza = stanza.with_id(id);
            }
            let text = format!("This person's client did not take the message (MSRP {code})");
            // Not that nobody is there: rooms put out whoever answers so.
            let condition = Condition::new(Kind::NotAcceptable, text);
            cx.answer(errors::stanza_error(&stanza, &condition));
        }
        if by == By::Silence {
            // Whoever does not answer in 30 seconds is not there (RFC 4975 §7.1.1).
            let cause = Cause { status: 408, text: "a message was not answered".to_owned() };
            self.dismiss(cx, id, cause);
        }
    }

    /// The room does not take a line.
    fn refused(&mut self, cx: &mut Cx<'_>, id: SeatId, stanza: Option<&str>, kind: Kind) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let Some(stanza) = stanza else { return };
        let Some(said) = seat.take_said(stanza) else {
            // A private line that the room had passed on may come back from further away: then a report says so.
            if let Some(late) = seat.take_late(stanza) {
                cx.msrp.report(cx.now.tick, cx.mint, late.session, &late.receipt, table::line(kind));
            }
            return;
        };
        cx.count("room_lines_refused_total", &[]);
        cx.msrp.answer(cx.now.tick, cx.mint, said.session, said.ticket, table::line(kind));
        self.arm_line(id);
        if kind == Kind::NotAcceptable {
            self.ask(cx, id);
        }
    }
}

/// A CPIM message from somebody in the room, or from the room: to all, or to the nick of one alone.
fn envelope(cx: &Cx<'_>, room: &SipAddress, to: Option<&str>, told: &Told, type_: &str) -> Bytes {
    let place = |nick: Option<&str>| SipAddress { aor: room.aor.clone(), gr: nick.map(str::to_owned) };
    let nick = told.nick.as_deref();
    let from = Mailbox::new(nick, &place(nick)).value();
    let to = Mailbox::new(None, &place(to)).value();
    let wall = told.stamp.as_deref().and_then(date::read_rfc3339).unwrap_or(cx.now.wall);
    let date = date::write_rfc3339(wall);
    let mut headers = vec![("From", from.as_str()), ("To", to.as_str()), ("DateTime", date.as_str())];
    headers.extend(told.subject.as_deref().map(|subject| ("Subject", subject)));
    cpim::write(&headers, &[("Content-Type", type_)], told.text.as_bytes()).into()
}
