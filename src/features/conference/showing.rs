//! Presence of people in a room, as all of ours see it: everybody who comes, changes, has another nick, or goes.
//!
//! The room is not anonymous (status 100): a roster of SIP shows everybody's address to everybody. An occupant id (XEP-0421)
//! is the same for one person in one room under every nick, and says nothing of who that is.

use std::fmt::Write;

use super::Conferences;
use super::guest::{Farewell, GuestId, Stage};
use super::hall::{Hall, Person, Who};
use crate::features::Cx;
use crate::sip::uri::Aor;
use crate::xmpp::jid::Jid;
use crate::xmpp::muc::{Codes, Departure, Occupant, room};

impl Conferences {
    /// One of ours as an occupant.
    pub(super) fn occupant_of(&self, cx: &Cx<'_>, id: GuestId) -> Option<Occupant> {
        let guest = self.guests.get(&id)?;
        Some(Occupant {
            nick: guest.nick.to_string(),
            role: guest.role,
            affiliation: guest.affiliation,
            jid: guest.clients.keys().next().cloned(),
            id: Some(occupant_id(cx, &guest.room, &guest.own)),
        })
    }

    /// All of ours who are in a room, each with her clients.
    fn members(&self, hall: &Hall) -> Vec<(GuestId, Vec<Jid>)> {
        let known = |id: &GuestId| {
            let guest = self.guests.get(id).filter(|guest| guest.stage == Stage::In)?;
            Some((*id, guest.clients.keys().cloned().collect()))
        };
        hall.nicks.values().filter_map(known).collect()
    }

    /// Somebody is there, and so: all of ours are told.
    pub(super) fn show(&mut self, cx: &mut Cx<'_>, room: &Jid, nick: &str, codes: &[u16]) {
        let Some(hall) = self.halls.get_mut(room) else { return };
        hall.missed.remove(nick);
        let Some(hall) = self.halls.get(room).filter(|_| cx.link_is_up(room)) else { return };
        let Some(person) = hall.people.get(nick) else { return };
        let Ok(from) = room.with_resource(nick) else { return };
        for (id, clients) in self.members(hall) {
            for client in clients {
                cx.stanza(presence_of(person, id, &from, &client, codes));
            }
        }
    }

    /// Somebody is not there any more, or not under that nick: all of ours are told. It must be out of the books already,
    /// except that one of ours who changes her nick is a member still.
    pub(super) fn show_gone(&mut self, cx: &mut Cx<'_>, room: &Jid, person: &Person, farewell: &Farewell) {
        let occupant = &person.occupant;
        let Some(hall) = self.halls.get_mut(room) else { return };
        if !cx.link_is_up(room) {
            hall.missed.insert(occupant.nick.as_str().into(), occupant.clone());
            return;
        }
        let Ok(from) = room.with_resource(&occupant.nick) else { return };
        let Some(hall) = self.halls.get(room) else { return };
        for (id, clients) in self.members(hall) {
            for client in clients {
                let mut codes = farewell.codes.clone();
                if person.who == Who::Guest(id) {
                    codes.push(Codes::SELF);
                }
                let gone = room::gone(&from, &client, occupant, &codes, &farewell.departure);
                self.doubted.say(cx, gone);
            }
        }
    }

    /// An occupant has another nick.
    pub(super) fn show_renamed(
        &mut self,
        cx: &mut Cx<'_>,
        room: &Jid,
        person: &Person,
        nick: &str,
        codes: &[u16],
    ) {
        let departure = Departure { nick: Some(nick.to_owned()), ..Departure::default() };
        self.show_gone(cx, room, person, &Farewell { codes: vec![Codes::NICK], departure });
        self.show(cx, room, nick, codes);
    }

    /// Shows a client all who are there, itself last (XEP-0045 §7.2.2).
    pub(super) fn show_all(&self, cx: &mut Cx<'_>, id: GuestId, client: &Jid, codes: &[u16]) {
        let Some(guest) = self.guests.get(&id) else { return };
        let Some(hall) = self.halls.get(&guest.room) else { return };
        let is_self = |person: &Person| person.who == Who::Guest(id);
        let (own, others): (Vec<_>, Vec<_>) = hall.people.values().partition(|person| is_self(person));
        let mut all = vec![Codes::OPEN];
        all.extend(codes);
        for (person, codes) in
            others.into_iter().map(|person| (person, &[][..])).chain(own.into_iter().map(|own| (own, &*all)))
        {
            if let Ok(from) = guest.room.with_resource(&person.occupant.nick) {
                cx.stanza(presence_of(person, id, &from, client, codes));
            }
        }
    }
}

/// The presence of somebody for a client of one of ours: who sees herself is told so.
fn presence_of(
    person: &Person,
    guest: GuestId,
    from: &Jid,
    client: &Jid,
    codes: &[u16],
) -> crate::xmpp::stanza::Stanza {
    if person.who != Who::Guest(guest) {
        return room::here(from, client, &person.occupant, &[]);
    }
    let mut codes = codes.to_vec();
    codes.push(Codes::SELF);
    let own = Occupant { jid: Some(client.clone()), ..person.occupant.clone() };
    room::here(from, client, &own, &codes)
}

/// XEP-0421 §4: the same for one person in one room, and nobody can tell from it who that is. The key is the secret of the
/// rooms' component: it is the same in every process that serves the room, and after a restart.
pub(super) fn occupant_id(cx: &Cx<'_>, room: &Jid, who: &Aor) -> String {
    let component = cx.config.xmpp.components.iter().find(|component| component.domain == room.domain());
    let secret = component.map(|component| component.secret.reveal()).unwrap_or_default();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let tag = ring::hmac::sign(&key, format!("occupant-id\n{room}\n{who}").as_bytes());
    tag.as_ref().iter().take(16).fold(String::with_capacity(32), |mut id, byte| {
        let _ = write!(id, "{byte:02x}");
        id
    })
}
