//! What SIP says goes to the room (RFC 7701 §6, RFC 7702 §6.3): lines, private lines, the subject.
//!
//! A SEND is answered when the room has reflected its line, so that the sender's place in the order is everybody's. A
//! private line is not reflected: a ping of our own occupant behind it tells that the room has dealt with it. The same asks,
//! after twenty seconds, what became of a line that did not come back.

use std::time::Duration;

use super::seat::{SAID, Said, SeatId, Stage};
use super::{Alarm, Rooms};
use crate::documents::cpim::{self, Cpim};
use crate::documents::imdn;
use crate::documents::iscomposing::{self, IsComposing};
use crate::features::{Cx, content, describe};
use crate::msrp::connections::SessionId;
use crate::msrp::message::InMessage;
use crate::msrp::session::Ticket;
use crate::sip::uri::SipAddress;
use crate::xmpp::muc;
use crate::xmpp::ns;
use crate::xmpp::stanza::Element;

/// A line that was not reflected for so long is asked after.
const ASK_AFTER: Duration = Duration::from_secs(20);
/// And answered then, before its sender gives up (RFC 4975 §7.1.1).
const ANSWER_AFTER: Duration = Duration::from_secs(25);

impl Rooms {
    /// A whole message came.
    pub(super) fn came(
        &mut self,
        cx: &mut Cx<'_>,
        id: SeatId,
        session: SessionId,
        ticket: Ticket,
        message: &InMessage,
    ) {
        if let Err(code) = self.read(cx, id, session, ticket, message) {
            if code != 200 {
                cx.count("room_lines_refused_total", &[]);
            }
            cx.msrp.answer(cx.now.tick, cx.mint, session, ticket, code);
        }
    }

    /// Says something to the room. The code of the answer where nothing is said.
    fn read(
        &mut self,
        cx: &mut Cx<'_>,
        id: SeatId,
        session: SessionId,
        ticket: Ticket,
        message: &InMessage,
    ) -> Result<(), u16> {
        let seat = self.seats.get_mut(&id).ok_or(481_u16)?;
        let Some(type_) = message.content_type.as_deref() else {
            // Some keep a connection alive with such things.
            return Err(if message.body.is_empty() { 200 } else { 415 });
        };
        if !cpim::is_type(type_) {
            return Err(415);
        }
        let encoding = describe::header(&message.headers, "Content-Encoding");
        let envelope = match encoding {
            None => cpim::parse(&message.body).map_err(|_| 400_u16)?,
            Some(_) => return Err(415),
        };
        let room = cx.domains.user_sip(&seat.room).map_err(|_| 404_u16)?;
        let to = addressee(&envelope, &room)?;
        if !is_by(cx, &envelope, seat.nick.as_str(), &room, &seat.contact) {
            return Err(403);
        }
        if content::notice_in(type_, encoding, &message.body, imdn::TYPE).is_some() {
            // RFC 7701 §6.3: no reports in rooms.
            return Err(200);
        }
        if let Some(typing) = content::notice_in(type_, encoding, &message.body, iscomposing::TYPE) {
            // To all it would only disturb.
            if let (Some(nick), Stage::In) = (&to, seat.stage)
                && let (Ok(target), Ok(typing)) = (seat.room.with_resource(nick), IsComposing::parse(&typing))
            {
                let state = Element::new(if typing.active { "composing" } else { "active" }, ns::CHAT_STATES);
                let id = cx.token_for(&seat.room);
                cx.stanza(muc::say(&seat.own, &target, &id).with_child(state));
            }
            return Err(200);
        }
        let content = content::read_body(Some(type_), encoding, &message.body)
            .map_err(|reply| describe::code_of(&reply))?;
        if content.text.is_empty() && content.subject.is_none() {
            return Err(200);
        }
        if !seat.takes_part() || !cx.link_is_up(&seat.own) {
            return Err(408);
        }
        if seat.said.len() >= SAID {
            return Err(413);
        }
        let stanza_id = cx.token_for(&seat.room);
        let private = to.is_some();
        let target = match &to {
            Some(nick) => {
                let hall = self.halls.get(&seat.room).ok_or(404_u16)?;
                if !hall.people.contains_key(nick.as_str()) {
                    return Err(404);
                }
                seat.room.with_resource(nick).map_err(|_| 404_u16)?
            }
            None => seat.room.clone(),
        };
        let mut stanza = muc::say(&seat.own, &target, &stanza_id);
        if content.text.is_empty() {
            if private {
                return Err(200);
            }
            let subject = content.subject.as_deref().unwrap_or_default();
            stanza = stanza.with_child(Element::new("subject", ns::COMPONENT).with_text(subject));
        } else {
            let mut body = Element::new("body", ns::COMPONENT).with_text(&content.text);
            if let Some(lang) = &content.lang {
                body.set_lang(lang);
            }
            stanza = stanza.with_child(body);
        }
        cx.stanza(stanza);
        cx.count("room_lines_total", &[("direction", "sip_to_xmpp")]);
        let receipt = message.receipt.clone();
        let (number, at) = (seat.number(), cx.now.tick);
        seat.said.push_back(Said {
            id: stanza_id,
            session,
            ticket,
            receipt,
            at,
            number,
            private,
            reflected: false,
        });
        if private {
            self.ask(cx, id);
        }
        self.arm_line(id);
        Ok(())
    }

    /// The room has said what a seat said. True when that is so.
    pub(super) fn reflected(&mut self, cx: &mut Cx<'_>, id: SeatId, stanza: Option<&str>) -> bool {
        let Some(seat) = self.seats.get_mut(&id) else { return false };
        let Some(stanza) = stanza else { return false };
        let Some(said) = seat.take_said(stanza) else {
            return seat.take_late(stanza).is_some();
        };
        accept(cx, &said);
        self.arm_line(id);
        true
    }

    /// The room has dealt with all that was said until then.
    pub(super) fn dealt_with(&mut self, cx: &mut Cx<'_>, id: SeatId, until: u64) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let is_dealt_with = |said: &Said| said.number < until && !said.reflected;
        while let Some(place) = seat.said.iter().position(is_dealt_with) {
            let Some(said) = seat.said.remove(place) else { break };
            seat.is_late(&said);
            accept(cx, &said);
        }
        let waits = seat.said.iter().any(|said| said.private);
        self.arm_line(id);
        if waits {
            self.ask(cx, id);
        }
    }

    /// Nothing that was said has arrived.
    pub(super) fn nothing_arrived(&mut self, cx: &mut Cx<'_>, id: SeatId) {
        self.answer_reflected(cx, id, |_| true);
        let Some(seat) = self.seats.get_mut(&id) else { return };
        for said in std::mem::take(&mut seat.said) {
            seat.is_late(&said);
            cx.msrp.answer(cx.now.tick, cx.mint, said.session, said.ticket, 408);
        }
        self.arm_line(id);
    }

    /// A line has not been reflected for long.
    pub(super) fn not_reflected(&mut self, cx: &mut Cx<'_>, id: SeatId) {
        let now = cx.now.tick;
        self.answer_reflected(cx, id, |said| said.at + ASK_AFTER <= now);
        let Some(seat) = self.seats.get_mut(&id) else { return };
        while seat.said.front().is_some_and(|said| said.at + ANSWER_AFTER <= now) {
            let Some(said) = seat.said.pop_front() else { break };
            seat.is_late(&said);
            cx.msrp.answer(now, cx.mint, said.session, said.ticket, 408);
        }
        let Some(oldest) = seat.said.front() else { return };
        let (ask, answer) = (oldest.at + ASK_AFTER, oldest.at + ANSWER_AFTER);
        self.timers.set(Alarm::Line(id), if ask > now { ask } else { answer });
        if ask <= now {
            self.ask(cx, id);
        }
    }

    /// A line that the room has said cannot wait any longer for those before it: all of them are told now.
    fn answer_reflected(&mut self, cx: &mut Cx<'_>, id: SeatId, is_due: impl Fn(&Said) -> bool) {
        let said = self.seats.get(&id).into_iter().flat_map(|seat| &seat.said);
        if said.filter(|said| said.reflected).any(is_due) {
            self.lets_go(cx, id);
        }
    }

    /// Sets the alarm for the oldest line that is not answered.
    pub(super) fn arm_line(&mut self, id: SeatId) {
        let oldest = self.seats.get(&id).and_then(|seat| seat.said.front());
        self.timers.arm(Alarm::Line(id), oldest.map(|said| said.at + ASK_AFTER));
    }
}

/// 200, and the report that its sender wants: no receiver's is passed on, so it is the room's own (RFC 7701 §6.3).
fn accept(cx: &mut Cx<'_>, said: &Said) {
    cx.msrp.answer(cx.now.tick, cx.mint, said.session, said.ticket, 200);
    cx.msrp.report(cx.now.tick, cx.mint, said.session, &said.receipt, 200);
}

/// Whom a message is for: nobody in particular, or a nick. The code of the answer where it is for somebody else.
fn addressee(envelope: &Cpim<'_>, room: &SipAddress) -> Result<Option<String>, u16> {
    let mut all = envelope.headers.iter().filter(|header| header.name == "To");
    let Some(to) = all.next() else { return Ok(None) };
    // RFC 7701 §6.1: one addressee.
    if all.next().is_some() || envelope.headers.iter().any(|header| header.name == "cc") {
        return Err(403);
    }
    let to = address_of(&to.value).ok_or(400_u16)?;
    if to.aor != room.aor {
        return Err(404);
    }
    Ok(to.gr)
}

/// Whether the envelope's From is who sent it. One without a From that can be read is believed: SIP has said who it is.
fn is_by(
    cx: &Cx<'_>,
    envelope: &Cpim<'_>,
    nick: &str,
    room: &SipAddress,
    contact: &crate::sip::uri::Aor,
) -> bool {
    let Some(from) = envelope.header("From").and_then(|from| address_of(&from.value)) else { return true };
    if from.aor == room.aor {
        return from.gr.as_deref() == Some(nick);
    }
    from.aor == *contact
        || cx.domains.known_as(&from.aor).as_ref() == Some(contact)
        || from.aor.host == "anonymous.invalid"
}

/// The address in a header of an envelope. RFC 7702 writes `gr` behind the brackets, others inside.
fn address_of(value: &str) -> Option<SipAddress> {
    let (uri, behind) = match value.rsplit_once('<') {
        Some((_, rest)) => rest.split_once('>')?,
        None => (value, ""),
    };
    let mut address = SipAddress::parse(uri.trim()).ok()?;
    if address.gr.is_none()
        && let Some(gr) = behind.split(';').find_map(|one| one.trim().strip_prefix("gr="))
    {
        address.gr = crate::words::percent::decode(gr.as_bytes()).ok().filter(|gr| !gr.is_empty());
    }
    Some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nick_stands_inside_the_brackets_or_behind_them() {
        let address = |value| address_of(value).map(|address| address.to_string());
        let expected = Some("sip:verona@rooms.example.com;gr=JuliC".to_owned());
        assert_eq!(address("<sip:verona@rooms.example.com;gr=JuliC>"), expected);
        assert_eq!(address("\"J <x>\" <sip:verona@rooms.example.com>;gr=JuliC"), expected);
        assert_eq!(address("sip:verona@rooms.example.com").as_deref(), Some("sip:verona@rooms.example.com"));
        assert_eq!(address("nobody"), None);
    }
}
