//! Who comes and goes, as the documents of the teller say (RFC 4575; RFC 7702 §5.3).
//!
//! Everybody in a roster who has an address of XMPP is one of ours, or a ghost of the focus: ours are shown first-hand, ghosts
//! not at all. Everybody else who takes part is an occupant.

use super::guest::{Farewell, GuestId, Stage};
use super::hall::{Name, Person, Who, name_of};
use super::showing::occupant_id;
use super::{Alarm, Conferences};
use crate::documents::conference::{
    ConferenceInfo, Disconnection, Entity, Joining, News, State, Taken, User,
};
use crate::features::Cx;
use crate::features::room::table;
use crate::sabotage::{self, Fault as Mistake};
use crate::sip::uri::{Aor, SipAddress};
use crate::sip::usage::session::Cause;
use crate::words::text::clean;
use crate::xmpp::jid::Jid;
use crate::xmpp::muc::{Departure, Occupant};

impl Conferences {
    /// A document of the teller's.
    pub(super) fn document(&mut self, cx: &mut Cx<'_>, id: GuestId, room: &Jid, info: ConferenceInfo) {
        let Some(hall) = self.halls.get_mut(room) else { return };
        let is_full = info.state == State::Full;
        let taken = match info.state {
            State::Partial if hall.wants_full => Taken::Gap,
            _ => hall.view.take(info),
        };
        match taken {
            Taken::News(news) => {
                hall.wants_full = false;
                if is_full {
                    self.timers.stop(&Alarm::Whole(id));
                }
                self.forget_heard(cx, room);
                for one in news {
                    self.news(cx, room, one);
                }
                let all: Vec<GuestId> =
                    self.halls.get(room).into_iter().flat_map(|hall| hall.nicks.values().copied()).collect();
                all.into_iter().for_each(|guest| self.ready(cx, guest));
            }
            Taken::Old => {}
            Taken::Gap => self.ask_whole(cx, id),
            Taken::Over => self.conference_over(cx, room),
        }
    }

    fn news(&mut self, cx: &mut Cx<'_>, room: &Jid, news: News) {
        match news {
            News::Described => self.described(cx, room),
            News::Condition => {}
            News::Came(entity) => self.put(cx, room, &entity, None),
            News::Changed(old) => self.put(cx, room, &old.entity.clone(), Some(&old)),
            News::Gone(user) => {
                let farewell = self.how_left(room, &user);
                self.drop_entity(cx, room, &user.entity, &farewell);
            }
        }
    }

    /// What the conference is about: the subject.
    fn described(&mut self, cx: &mut Cx<'_>, room: &Jid) {
        let Some(hall) = self.halls.get_mut(room) else { return };
        let said = hall.view.description().subject.as_deref().unwrap_or_default().trim();
        let subject = clean(said).into_owned();
        if std::mem::replace(&mut hall.subject, subject.clone()) != subject {
            for client in self.clients_in(room) {
                self.tell_subject(cx, room, &client);
            }
        }
    }

    /// The clients of all of ours who are in a room.
    pub(super) fn clients_in(&self, room: &Jid) -> Vec<Jid> {
        let Some(hall) = self.halls.get(room) else { return Vec::new() };
        let is_in = |id: &GuestId| self.guests.get(id).is_some_and(|guest| guest.stage == Stage::In);
        hall.clients.iter().filter(|(_, id)| is_in(id)).map(|(client, _)| client.clone()).collect()
    }

    /// Somebody of the roster is as it says.
    fn put(&mut self, cx: &mut Cx<'_>, room: &Jid, entity: &Entity, old: Option<&User>) {
        let Some(user) = self.halls.get(room).and_then(|hall| hall.view.user(entity)).cloned() else {
            return;
        };
        let known = self.halls.get(room).is_some_and(|hall| hall.names.contains_key(entity));
        match self.ours(cx, room, &user) {
            Ours::Guest(id) => {
                self.drop_entity(cx, room, entity, &Farewell::default());
                return self.own_entry(cx, id, &user, old);
            }
            Ours::Ghost => return self.drop_entity(cx, room, entity, &Farewell::default()),
            Ours::No => {}
        }
        if !user.is_present() {
            let farewell = self.how_left(room, &user);
            return self.drop_entity(cx, room, entity, &farewell);
        }
        let (role, affiliation) = table::standing(&user);
        let occupant = Occupant {
            nick: String::new(),
            role,
            affiliation,
            jid: jid_of(cx, &user),
            id: Some(occupant_id(cx, room, &address_of(&user))),
        };
        if known {
            self.changed(cx, room, entity, name_of(&user), occupant);
        } else {
            self.insert(cx, room, entity, name_of(&user), occupant, false);
        }
    }

    /// Somebody is there who was not.
    pub(super) fn insert(
        &mut self,
        cx: &mut Cx<'_>,
        room: &Jid,
        entity: &Entity,
        said: Box<str>,
        mut occupant: Occupant,
        heard: bool,
    ) {
        let Some(hall) = self.halls.get_mut(room) else { return };
        let who = Who::Entity(entity.clone());
        let nick = hall.free_nick(room, &said, &who);
        occupant.nick = nick.to_string();
        hall.names.insert(entity.clone(), Name { nick: nick.clone(), said, heard });
        hall.people.insert(nick.clone(), Person { who, occupant });
        self.show(cx, room, &nick, &[]);
    }

    /// Somebody who is there is so now, and perhaps called otherwise.
    fn changed(
        &mut self,
        cx: &mut Cx<'_>,
        room: &Jid,
        entity: &Entity,
        said: Box<str>,
        mut occupant: Occupant,
    ) {
        let Some(hall) = self.halls.get_mut(room) else { return };
        let Some(name) = hall.names.get(entity).cloned() else { return };
        let who = Who::Entity(entity.clone());
        let nick = if name.said == said { name.nick.clone() } else { hall.free_nick(room, &said, &who) };
        occupant.nick = nick.to_string();
        hall.names.insert(entity.clone(), Name { nick: nick.clone(), said, heard: false });
        let Some(before) = hall.people.remove(&name.nick) else { return };
        let is_news = before.occupant != occupant;
        hall.people.insert(nick.clone(), Person { who, occupant });
        if nick != name.nick {
            self.show_renamed(cx, room, &before, &nick, &[]);
        } else if is_news {
            self.show(cx, room, &nick, &[]);
        }
    }

    /// Somebody of the roster is not there any more.
    fn drop_entity(&mut self, cx: &mut Cx<'_>, room: &Jid, entity: &Entity, farewell: &Farewell) {
        if sabotage::is(Mistake::LeaveUnseen) {
            return;
        }
        let Some(hall) = self.halls.get_mut(room) else { return };
        let Some(name) = hall.names.remove(entity) else { return };
        let Some(person) = hall.people.remove(&name.nick) else { return };
        self.show_gone(cx, room, &person, farewell);
    }

    /// There is a roster now: who was only heard is not there unless it says so.
    fn forget_heard(&mut self, cx: &mut Cx<'_>, room: &Jid) {
        let Some(hall) = self.halls.get(room) else { return };
        let is_gone = |entity: &Entity, name: &Name| name.heard && hall.view.user(entity).is_none();
        let gone: Vec<Entity> = hall
            .names
            .iter()
            .filter(|(entity, name)| is_gone(entity, name))
            .map(|(entity, _)| entity.clone())
            .collect();
        gone.iter().for_each(|entity| self.drop_entity(cx, room, entity, &Farewell::default()));
    }

    /// How somebody left, as the last that the roster said of it tells.
    fn how_left(&self, room: &Jid, user: &User) -> Farewell {
        let Some(endpoint) = user.left() else { return Farewell::default() };
        let info = endpoint.disconnection_info.clone().unwrap_or_default();
        let hall = self.halls.get(room);
        let by = info.by.and_then(|by| hall?.nick_of(&by).map(str::to_owned));
        let departure = Departure {
            actor: by,
            reason: info.reason.as_deref().and_then(words_of),
            ..Departure::default()
        };
        match endpoint.disconnection {
            Some(Disconnection::Booted) => Farewell { codes: vec![307], departure },
            Some(Disconnection::Failed) => Farewell { codes: vec![333], departure },
            _ => Farewell::default(),
        }
    }

    /// What the roster says of one of ours.
    fn own_entry(&mut self, cx: &mut Cx<'_>, id: GuestId, user: &User, old: Option<&User>) {
        let Some(guest) = self.guests.get(&id) else { return };
        let room = guest.room.clone();
        if user.left().is_some() {
            let farewell = self.how_left(&room, user);
            if let Some(guest) = self.guests.get_mut(&id).filter(|_| farewell.codes == [307]) {
                guest.fate = Some(farewell);
            }
            return;
        }
        let (role, affiliation) = table::standing(user);
        let is_owner = user.endpoints.iter().any(|endpoint| endpoint.joining == Some(Joining::FocusOwner));
        let Some(guest) = self.guests.get_mut(&id) else { return };
        let is_news = (guest.role, guest.affiliation) != (role, affiliation);
        (guest.role, guest.affiliation, guest.is_owner) = (role, affiliation, is_owner);
        if guest.stage != Stage::In {
            return;
        }
        let name = user.name().filter(|name| old.is_some_and(|old| old.name() != Some(*name)));
        let is_former = |name: &str| *guest.nick == *name || guest.past.iter().any(|past| **past == *name);
        let forced = name.filter(|name| guest.renaming.is_none() && !is_former(name));
        let forced = forced.and_then(|name| super::hall::fitting(&room, name));
        if is_news {
            self.refresh_own(cx, id);
        }
        if let Some(name) = forced.filter(|_| self.is_alone(id)) {
            self.is_called(cx, id, &name, &[crate::xmpp::muc::Codes::RENAMED]);
        }
    }

    /// One of ours is otherwise than before.
    pub(super) fn refresh_own(&mut self, cx: &mut Cx<'_>, id: GuestId) {
        let Some(occupant) = self.occupant_of(cx, id) else { return };
        let Some(guest) = self.guests.get(&id) else { return };
        let (room, nick) = (guest.room.clone(), guest.nick.clone());
        let Some(person) = self.halls.get_mut(&room).and_then(|hall| hall.people.get_mut(&nick)) else {
            return;
        };
        person.occupant = occupant;
        self.show(cx, &room, &nick, &[]);
    }

    /// What the focus calls one of ours, where it can be told which.
    pub(super) fn name_by_focus(&self, cx: &Cx<'_>, id: GuestId) -> Option<Box<str>> {
        let guest = self.guests.get(&id)?;
        let hall = self.halls.get(&guest.room)?;
        if !self.is_alone(id) {
            return None;
        }
        let entry = hall
            .view
            .users()
            .find(|user| user.is_present() && self.ours(cx, &guest.room, user) == Ours::Guest(id))?;
        super::hall::fitting(&guest.room, entry.name()?)
    }

    /// Whether a guest is the only one of its person in the room: then what is said of the person is said of it.
    fn is_alone(&self, id: GuestId) -> bool {
        let Some(guest) = self.guests.get(&id) else { return false };
        let hall = self.halls.get(&guest.room);
        hall.is_some_and(|hall| hall.of_address(&guest.own).count() == 1)
    }

    /// Whether a user of the roster is one of ours.
    fn ours(&self, cx: &Cx<'_>, room: &Jid, user: &User) -> Ours {
        let Some(hall) = self.halls.get(room) else { return Ours::No };
        let endpoints = user.endpoints.iter().map(|endpoint| &endpoint.entity);
        let all: Vec<SipAddress> = [&user.entity]
            .into_iter()
            .chain(&user.aors)
            .chain(endpoints)
            .filter_map(Entity::address)
            .collect();
        let mut is_ours = false;
        for address in &all {
            if cx.domains.user_jid(address).is_err() {
                continue;
            }
            is_ours = true;
            let mut guests: Vec<GuestId> = hall.of_address(&address.aor).collect();
            let named =
                |id: &GuestId| self.guests.get(id).is_some_and(|guest| user.name() == Some(&*guest.nick));
            if guests.len() > 1 {
                // Of two nicks of one person, the one that it names.
                guests.sort_by_key(|id| !named(id));
            }
            if let Some(id) = guests.first() {
                return Ours::Guest(*id);
            }
        }
        // A focus that calls everybody by the nick, and not by the address.
        let focus = cx.domains.contact_sip(room).ok();
        let by_nick = all.iter().find(|address| focus.as_ref().is_some_and(|focus| focus.aor == address.aor));
        let nick = by_nick.and_then(|address| address.gr.as_deref());
        match nick.and_then(|nick| hall.nicks.get(nick)) {
            Some(id) => Ours::Guest(*id),
            None if is_ours => Ours::Ghost,
            None => Ours::No,
        }
    }
}

/// Whether a user of the roster is one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ours {
    /// Nobody of XMPP.
    No,
    /// This one.
    Guest(GuestId),
    /// Somebody of XMPP who is not here.
    Ghost,
}

/// Who a user of the roster is in XMPP, where an address says so.
fn jid_of(cx: &Cx<'_>, user: &User) -> Option<Jid> {
    let all = [&user.entity].into_iter().chain(&user.aors);
    all.filter_map(Entity::address).find_map(|address| {
        let jid = cx.domains.contact_jid(&address.aor.address()).ok()?;
        (jid.local().is_some() && !cx.domains.holds_rooms(jid.domain())).then_some(jid)
    })
}

/// What stays the same of a user whatever it is called.
fn address_of(user: &User) -> Aor {
    // One that names a nick changes with it.
    let mut all = [&user.entity].into_iter().chain(&user.aors).filter_map(Entity::address);
    let person = all.find(|address| address.gr.is_none()).map(|address| address.aor);
    person.unwrap_or_else(|| Aor { user: Some(user.entity.as_str().to_owned()), host: String::new() })
}

/// The words of a reason in a roster, which may be written as the header is (RFC 4575 §5.7.7): `Reason: SIP;cause=415;text="…"`.
fn words_of(reason: &str) -> Option<String> {
    let head = reason.get(..7).filter(|head| head.eq_ignore_ascii_case("reason:"));
    let value = head.map_or(reason, |head| &reason[head.len()..]).trim();
    let words = Cause::of(value).map_or_else(|| value.to_owned(), |cause| cause.text);
    Some(clean(&words).into_owned()).filter(|words| !words.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_words_or_a_header() {
        let words = |reason| words_of(reason);
        assert_eq!(words("bad voice quality").as_deref(), Some("bad voice quality"));
        assert_eq!(words("Reason: SIP;cause=415;text=\"Too \\\"loud\\\"\"").as_deref(), Some("Too \"loud\""));
        assert_eq!(words("SIP;text=\"out\"").as_deref(), Some("out"));
        assert_eq!(words("SIP;cause=403"), None);
        assert_eq!(words("  "), None);
        assert_eq!(words("räuspern").as_deref(), Some("räuspern"));
    }
}
