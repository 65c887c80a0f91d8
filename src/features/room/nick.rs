//! NICKNAME (RFC 7701 §7) as a change of nick (XEP-0045 §7.6).

use std::time::Duration;

use super::seat::{Renaming, SeatId, Stage};
use super::{Alarm, Rooms, table};
use crate::features::Cx;
use crate::msrp::connections::SessionId;
use crate::msrp::session::Ticket;
use crate::words::condition::Kind;
use crate::words::text::turns_direction;
use crate::xmpp::muc;

/// How long the room may take: whoever asked gives up after thirty seconds.
const PATIENCE: Duration = Duration::from_secs(25);

impl Rooms {
    /// A seat wants another nick.
    pub(super) fn wants_nick(
        &mut self,
        cx: &mut Cx<'_>,
        id: SeatId,
        session: SessionId,
        ticket: Ticket,
        nick: &str,
    ) {
        if let Some(code) = self.try_nick(cx, id, session, ticket, nick) {
            cx.msrp.answer(cx.now.tick, cx.mint, session, ticket, code);
        }
    }

    /// The code of the answer, where the room is not asked.
    fn try_nick(
        &mut self,
        cx: &mut Cx<'_>,
        id: SeatId,
        session: SessionId,
        ticket: Ticket,
        nick: &str,
    ) -> Option<u16> {
        let Some(seat) = self.seats.get_mut(&id) else { return Some(403) };
        if nick.is_empty() {
            // Nobody is in a room without a nick.
            return Some(403);
        }
        // A room may let it through, and people would take its bearer for somebody else.
        if nick.contains(turns_direction) {
            return Some(424);
        }
        let Ok(occupant) = seat.room.with_resource(nick) else { return Some(424) };
        let nick = occupant.resource().unwrap_or_default().to_owned();
        if seat.stage != Stage::In || !cx.link_is_up(&seat.own) {
            return Some(408);
        }
        if seat.nick == nick {
            return Some(200);
        }
        if seat.renaming.is_some() {
            return Some(403);
        }
        cx.stanza(muc::rename(&seat.own, &occupant));
        seat.renaming = Some(Renaming { nick, session, ticket });
        self.timers.set(Alarm::Nick(id), cx.now.tick + PATIENCE);
        None
    }

    /// The room has given a seat a nick.
    pub(super) fn has_nick(&mut self, cx: &mut Cx<'_>, id: SeatId, nick: &str) {
        let asked =
            self.seats.get_mut(&id).and_then(|seat| seat.renaming.take_if(|asked| asked.nick == nick));
        self.answer_nick(cx, id, asked, 200);
    }

    /// The room does not give a seat the nick that it wants.
    pub(super) fn no_nick(&mut self, cx: &mut Cx<'_>, id: SeatId, kind: Kind) {
        let asked = self.seats.get_mut(&id).and_then(|seat| seat.renaming.take());
        self.answer_nick(cx, id, asked, table::nickname(kind));
    }

    /// The room does not say whether a seat may have a nick.
    pub(super) fn nick_too_late(&mut self, cx: &mut Cx<'_>, id: SeatId) {
        let asked = self.seats.get_mut(&id).and_then(|seat| seat.renaming.take());
        self.answer_nick(cx, id, asked, 408);
    }

    fn answer_nick(&mut self, cx: &mut Cx<'_>, id: SeatId, asked: Option<Renaming>, code: u16) {
        let Some(asked) = asked else { return };
        self.timers.stop(&Alarm::Nick(id));
        cx.msrp.answer(cx.now.tick, cx.mint, asked.session, asked.ticket, code);
    }
}
