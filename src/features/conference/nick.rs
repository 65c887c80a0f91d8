//! Other nicks (RFC 7701 §7, RFC 7702 §5.4): presence to another occupant address becomes NICKNAME; what the focus answers
//! decides.

use super::Conferences;
use super::asked::refuse;
use super::guest::{GuestId, Naming, Renaming, Stage};
use super::hall::{Person, Who};
use crate::features::Cx;
use crate::words::condition::Kind;
use crate::xmpp::stanza::Stanza;

impl Conferences {
    /// A client wants another nick, for all clients of its guest.
    pub(super) fn wants_nick(&mut self, cx: &mut Cx<'_>, id: GuestId, stanza: &Stanza, nick: &str) {
        if let Err((kind, words)) = self.try_nick(cx, id, stanza, nick) {
            refuse(cx, stanza, kind, words);
        }
    }

    fn try_nick(
        &mut self,
        cx: &mut Cx<'_>,
        id: GuestId,
        stanza: &Stanza,
        nick: &str,
    ) -> Result<(), (Kind, &'static str)> {
        let Some(guest) = self.guests.get_mut(&id) else { return Ok(()) };
        if guest.stage != Stage::In {
            return Err((Kind::UnexpectedRequest, "You are not in the room yet"));
        }
        if !guest.abilities.nicknames {
            return Err((Kind::NotAcceptable, "In this room nobody can have another name"));
        }
        if guest.renaming.is_some() {
            return Err((Kind::ResourceConstraint, "The room has not answered about another name yet"));
        }
        let Some(hall) = self.halls.get(&guest.room) else { return Ok(()) };
        if hall.nicks.contains_key(nick) || hall.people.contains_key(nick) {
            return Err((Kind::Conflict, "This name is taken in the room"));
        }
        let asked = guest.leg.msrp.map(|session| cx.msrp.ask_nickname(cx.now.tick, cx.mint, session, nick));
        match asked {
            Some(Ok(())) => {
                guest.renaming = Some(Renaming { nick: nick.into(), stanza: stanza.clone() });
                Ok(())
            }
            _ => Err((Kind::NotAcceptable, "The room does not take this name")),
        }
    }

    /// The focus has answered about a nick.
    pub(super) fn named(&mut self, cx: &mut Cx<'_>, id: GuestId, nickname: &str, code: u16) {
        let Some(guest) = self.guests.get_mut(&id) else { return };
        if guest.naming == Naming::Asked && *guest.wanted == *nickname {
            return self.named_on_the_way_in(cx, id, code);
        }
        let Some(renaming) = guest.renaming.take() else { return };
        let (kind, words) = match code {
            200 => return self.is_called(cx, id, &renaming.nick, &[]),
            425 => (Kind::Conflict, "This name is taken in the room"),
            408 => (Kind::RemoteServerTimeout, "The room does not answer"),
            _ => (Kind::NotAcceptable, "The room does not take this name"),
        };
        refuse(cx, &renaming.stanza, kind, words);
    }

    /// One of ours has another nick from now on.
    pub(super) fn is_called(&mut self, cx: &mut Cx<'_>, id: GuestId, nick: &str, codes: &[u16]) {
        let Some(guest) = self.guests.get_mut(&id).filter(|guest| guest.stage == Stage::In) else { return };
        let room = guest.room.clone();
        let Some(hall) = self.halls.get_mut(&room) else { return };
        let nick = hall.free_nick(&room, nick, &Who::Guest(id));
        if nick == guest.nick {
            return;
        }
        let old = guest.nick.clone();
        guest.take_nick(&nick);
        hall.nicks.remove(&old);
        hall.nicks.insert(nick.clone(), id);
        let Some(before) = hall.people.remove(&old) else { return };
        let mut occupant = before.occupant.clone();
        occupant.nick = nick.to_string();
        hall.people.insert(nick.clone(), Person { who: Who::Guest(id), occupant });
        self.keep(cx, id);
        self.show_renamed(cx, &room, &before, &nick, codes);
    }
}
