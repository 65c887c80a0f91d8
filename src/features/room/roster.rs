//! Who comes and goes, as the presence of a room tells each seat; what happens to the seats themselves.

use super::entering::one_line;
use super::hall::{Hall, PEOPLE};
use super::seat::{SeatId, Stage};
use super::{Rooms, table};
use crate::documents::conference::{Disconnection, Execution, Leaving};
use crate::features::Cx;
use crate::sip::usage::session::Cause;
use crate::xmpp::jid::Jid;
use crate::xmpp::muc::{self, Codes, Departure, Occupant, Presence};
use crate::xmpp::stanza::Stanza;

impl Rooms {
    /// A presence from a room.
    pub(super) fn presence(&mut self, cx: &mut Cx<'_>, stanza: &Stanza) {
        let (Some(from), Some(to)) = (stanza.from(), stanza.to()) else { return };
        let Some(id) = self.owns.get(to).copied() else { return stranger(cx, stanza) };
        let Some(seat) = self.seats.get_mut(&id).filter(|seat| seat.room.bare_str() == from.bare_str())
        else {
            return;
        };
        seat.heard = cx.now.tick;
        match muc::presence(stanza) {
            Some(Presence::Here(occupant, codes)) => self.here(cx, id, occupant, &codes),
            Some(Presence::Gone(occupant, codes, departure)) => {
                self.gone(cx, id, &occupant, &codes, &departure);
            }
            Some(Presence::Refused(error)) if seat.stage == Stage::Entering => {
                self.not_let_in(cx, id, &error);
            }
            Some(Presence::Refused(error)) => self.no_nick(cx, id, error.kind),
            None => {}
        }
    }

    fn here(&mut self, cx: &mut Cx<'_>, id: SeatId, occupant: Occupant, codes: &Codes) {
        // A presence of the room itself, with which some tell that it has a picture, is nobody's.
        if occupant.nick.is_empty() {
            return;
        }
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let (nick, is_self) = (occupant.nick.clone(), codes.has(Codes::SELF));
        if seat.stage == Stage::Entering {
            if seat.seen.len() < PEOPLE {
                seat.seen.insert(nick.as_str().into());
            }
        } else if seat.stage != Stage::In {
            return;
        } else if is_self {
            nick.clone_into(&mut seat.nick);
        }
        let room = seat.room.clone();
        if let Some(hall) = self.halls.get_mut(&room) {
            if is_self && codes.has(Codes::OPEN) {
                hall.reveal(cx.domains);
            }
            hall.put(cx.domains, occupant);
        }
        if is_self {
            self.has_nick(cx, id, &nick);
            self.let_in(cx, id, &nick, codes);
        }
        self.arm_step(cx, &room);
    }

    fn gone(
        &mut self,
        cx: &mut Cx<'_>,
        id: SeatId,
        occupant: &Occupant,
        codes: &Codes,
        departure: &Departure,
    ) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        // A nick that is still asked for is another one's.
        let is_self = codes.has(Codes::SELF) || occupant.nick == seat.nick && seat.stage != Stage::Entering;
        let room = seat.room.clone();
        // Where devices of one person share a nick, one that leaves is told so, and the others are not: the nick stays.
        let stays = is_self && departure.nick.is_none() && self.shares_nick(&room, id, &occupant.nick);
        if let Some(hall) = self.halls.get_mut(&room).filter(|_| !stays) {
            let leaving = match &departure.nick {
                Some(_) => None,
                None => leaving(cx, hall, codes, departure),
            };
            hall.remove(&occupant.nick, leaving);
        }
        let Some(seat) = self.seats.get_mut(&id) else { return };
        if let Some(new) = departure.nick.as_ref().filter(|_| is_self) {
            new.clone_into(&mut seat.nick);
            seat.renamed = seat.stage == Stage::Entering;
        }
        let stage = seat.stage;
        self.arm_step(cx, &room);
        if !is_self || departure.nick.is_some() {
            return;
        }
        match stage {
            Stage::In | Stage::Entering => self.removed(cx, id, codes, departure),
            Stage::Leaving | Stage::Out => self.out(cx, id),
        }
    }

    /// Whether another seat is in a room under this nick.
    fn shares_nick(&self, room: &Jid, id: SeatId, nick: &str) -> bool {
        let others =
            self.halls.get(room).into_iter().flat_map(|hall| &hall.seats).filter(|other| **other != id);
        let mut others = others.filter_map(|other| self.seats.get(other));
        others.any(|other| other.stage == Stage::In && other.nick == nick)
    }

    /// The room has put a seat out.
    fn removed(&mut self, cx: &mut Cx<'_>, id: SeatId, codes: &Codes, departure: &Departure) {
        let Some(row) = table::removal(codes, departure) else { return };
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let mut text = row.words.clone();
        if let Some(actor) = &departure.actor {
            text.push_str(&format!(" by {actor}"));
        }
        let destroyed = departure.destroyed.as_ref();
        let reason = departure.reason.as_ref().or(destroyed.and_then(|destroyed| destroyed.reason.as_ref()));
        if let Some(reason) = reason {
            text.push_str(&format!(": {reason}"));
        }
        let moved = destroyed.and_then(|destroyed| destroyed.to.as_ref());
        if let Some(moved) = moved.and_then(|room| cx.domains.user_sip(room).ok()) {
            text.push_str(&format!(" (now {moved})"));
        }
        // Nobody is told that it leaves: it is out.
        seat.stage = Stage::Out;
        cx.count("room_removals_total", &[("method", row.method.as_str())]);
        self.dismiss(cx, id, Cause { status: row.cause, text: one_line(&text) });
    }
}

/// How somebody left, for the roster.
fn leaving(cx: &Cx<'_>, hall: &Hall, codes: &Codes, departure: &Departure) -> Option<Leaving> {
    let row = table::removal(codes, departure)?;
    let by = departure.actor.as_deref().map(|nick| hall.entity(nick));
    let reason = departure.reason.clone().or_else(|| departure.status.clone());
    let how = Disconnection::parse(row.method.as_str())?;
    Some(Leaving { how, info: Execution { when: Some(cx.now.wall), reason, by } })
}

/// A room holds somebody in it whom nobody knows here, as after a crash: it is told that he is not there.
fn stranger(cx: &mut Cx<'_>, stanza: &Stanza) {
    let (Some(from), Some(to)) = (stanza.from(), stanza.to()) else { return };
    let is_there = matches!(muc::presence(stanza), Some(Presence::Here(_, codes)) if codes.has(Codes::SELF));
    if is_there && !to.is_bare() {
        cx.stanza(muc::leave(to, from, None));
    }
}
