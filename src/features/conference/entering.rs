//! The way in (RFC 7702 §5.1): INVITE, the nick, the roster; then the client sees all who are there, itself last.
//!
//! After 25 seconds there is an answer, whatever the focus does. A roster that does not come is not waited for so long: the
//! room works without.

use std::time::Duration;

use super::asked::refuse_for;
use super::before::Came;
use super::guest::{Abilities, Client, Farewell, Guest, GuestId, Naming, Stage};
use super::hall::{Old, Person, Who};
use super::{Alarm, Conferences};
use crate::documents::cpim;
use crate::documents::date;
use crate::features::Cx;
use crate::features::describe::Ways;
use crate::features::leg::Leg;
use crate::sip::message::{self, HeaderName, Headers, Reply, Response};
use crate::sip::uri::{Aor, SipAddress};
use crate::sip::usage::session::{Body, Call, Cause, Session};
use crate::words::condition::{Condition, Kind};
use crate::words::id::Partition;
use crate::words::note::Level;
use crate::words::time::{Tick, Wall};
use crate::xmpp::jid::Jid;
use crate::xmpp::muc::Codes;
use crate::xmpp::muc::request::{Entry, History};
use crate::xmpp::muc::room::{self, Marks};
use crate::xmpp::stanza::Stanza;

/// How long a focus may take to let somebody in.
pub(super) const PATIENCE: Duration = Duration::from_secs(25);
/// How long its roster may take, once it has accepted.
const ROSTER: Duration = Duration::from_secs(10);
/// RFC 3261 §8.1.1.6.
const HOPS: u8 = 70;

impl Conferences {
    /// Calls the focus for a client that wants to enter under a nick that nobody has.
    pub(super) fn begin(
        &mut self,
        cx: &mut Cx<'_>,
        stanza: &Stanza,
        from: &Jid,
        room: &Jid,
        nick: &str,
        entry: Entry,
    ) {
        let client = Client { history: entry.history, asked: Some(stanza.clone()) };
        if let Err(refusal) = self.try_begin(cx, from, room, nick, entry.password, client) {
            cx.count("conference_joins_total", &[("result", "refused")]);
            refuse_for(cx, stanza, &refusal);
        }
    }

    fn try_begin(
        &mut self,
        cx: &mut Cx<'_>,
        from: &Jid,
        room: &Jid,
        nick: &str,
        password: Option<String>,
        client: Client,
    ) -> Result<(), Condition> {
        let focus = cx.domains.contact_sip(room)?.aor;
        let user = from.bare();
        let own = cx.domains.user_sip(&user)?.aor;
        if !cx.accepting || self.stopping.is_some() {
            return Err(Condition::new(Kind::ResourceConstraint, "The gateway takes nobody in now"));
        }
        if self.is_full(&user, room) {
            return Err(Condition::new(Kind::ResourceConstraint, "The gateway has no room for this"));
        }
        if Ways::of(cx) == Ways::default() || Ways::of(cx).relay {
            return Err(Condition::new(Kind::FeatureNotImplemented, "There are no rooms here without MSRP"));
        }
        let target = SipAddress { aor: cx.facts.spelled(&focus), gr: None };
        let call = |cx: &mut Cx<'_>, offer: Body| {
            let call = Call {
                from: format!("{} <{own}>", quoted(nick)),
                to: format!("<{target}>"),
                uri: with_password(&target.aor, password.as_deref()),
                call_id: None,
                contact: cx.config.sip.contact(&own, &focus.host),
                allow: crate::features::ALLOW.clone(),
                offer,
                headers: Vec::new(),
                max_forwards: HOPS,
                patience: PATIENCE,
                partition: Partition::of(room.bare_str()),
                domain: focus.host.clone(),
            };
            Session::invite(cx.now, cx.mint, call)
        };
        let no_msrp = || Condition::new(Kind::FeatureNotImplemented, "There are no rooms here without MSRP");
        let leg = Leg::calling(cx, room, &focus.host, call).ok_or_else(no_msrp)?;
        let session = leg.msrp;
        let mut guest = Guest::new(room.clone(), user, own, nick, leg);
        guest.clients.insert(from.clone(), client);
        let id = self.add(guest);
        self.msrp.extend(session.map(|session| (session, id)));
        self.timers.set(Alarm::Enter(id), cx.now.tick + PATIENCE);
        // Whoever asks is answered, though the process may die before the focus answers.
        self.keep(cx, id);
        self.run(cx, id);
        Ok(())
    }

    /// The focus has accepted: if it is one.
    pub(super) fn accepted(
        &mut self,
        cx: &mut Cx<'_>,
        id: GuestId,
        response: &Response,
        answer: Option<&Body>,
    ) {
        if self.guests.get(&id).is_none_or(|guest| guest.stage != Stage::Calling) {
            return;
        }
        if !is_focus(&response.headers) {
            let words = "At this address is a person or a device, and no room";
            return self.turn_away(cx, id, 488, Condition::new(Kind::ItemNotFound, words));
        }
        if self.agrees(cx, id, answer) {
            let date = message::text(&response.headers, &HeaderName::Date);
            self.goes_in(cx, id, date.and_then(|date| date::read_sip(&date)));
        }
    }

    /// Whether what they answered is a room's line. One that is none turns the guest away.
    pub(super) fn agrees(&mut self, cx: &mut Cx<'_>, id: GuestId, answer: Option<&Body>) -> bool {
        let Some(guest) = self.guests.get_mut(&id) else { return false };
        let settled = guest.leg.settle(cx, answer).filter(|(line, _)| line.accepts(cpim::TYPE));
        let Some((line, _)) = settled else {
            let words = "This room is not for chat by MSRP";
            self.turn_away(cx, id, 488, Condition::new(Kind::FeatureNotImplemented, words));
            return false;
        };
        guest.abilities = Abilities::of(&line);
        true
    }

    /// Both have accepted, the focus at this time by its clock: the nick and the roster are asked for.
    pub(super) fn goes_in(&mut self, cx: &mut Cx<'_>, id: GuestId, date: Option<Wall>) {
        let Some(guest) = self.guests.get_mut(&id).filter(|guest| guest.stage == Stage::Calling) else {
            return;
        };
        (guest.stage, guest.came) = (Stage::Entering, Came::new(cx.now, date));
        if guest.opened {
            // A focus that has called may have spoken before its ACK.
            guest.came.opened(cx.now.tick);
        }
        let nick = guest.nick.clone();
        if let Some(session) = guest.leg.msrp.filter(|_| guest.abilities.nicknames) {
            let is_asked = cx.msrp.ask_nickname(cx.now.tick, cx.mint, session, &nick).is_ok();
            guest.naming = if is_asked { Naming::Asked } else { Naming::Left };
        }
        self.timers.set(Alarm::Roster(id), cx.now.tick + ROSTER);
        self.keep(cx, id);
        self.subscribe(cx, id);
    }

    /// The MSRP connection is there.
    pub(super) fn opened(&mut self, cx: &mut Cx<'_>, id: GuestId) {
        self.timers.stop(&Alarm::Part(id));
        let Some(guest) = self.guests.get_mut(&id) else { return };
        guest.opened = true;
        guest.came.opened(cx.now.tick);
        self.ready(cx, id);
    }

    /// The focus has given a guest its nick on the way in, or not.
    pub(super) fn named_on_the_way_in(&mut self, cx: &mut Cx<'_>, id: GuestId, code: u16) {
        let Some(guest) = self.guests.get_mut(&id) else { return };
        let refusal = match code {
            200 => None,
            425 => Some((Kind::Conflict, "This name is taken in the room")),
            424 => Some((Kind::NotAcceptable, "The room does not take such a name")),
            403 | 423 => Some((Kind::NotAcceptable, "The room does not give you this name")),
            // Whoever has no answer, or knows no nicks after all, has let the display name stand.
            _ => None,
        };
        if let Some((kind, words)) = refusal {
            return self.turn_away(cx, id, 200, Condition::new(kind, words));
        }
        guest.naming = if code == 200 { Naming::Given } else { Naming::Left };
        self.ready(cx, id);
    }

    /// The roster has not come.
    pub(super) fn goes_without_roster(&mut self, cx: &mut Cx<'_>, id: GuestId) {
        if let Some(guest) = self.guests.get_mut(&id) {
            guest.goes_without = true;
            self.ready(cx, id);
        }
    }

    /// The focus has had its time.
    pub(super) fn entered_too_late(&mut self, cx: &mut Cx<'_>, id: GuestId) {
        let Some(guest) = self.guests.get_mut(&id) else { return };
        if guest.stage == Stage::Invited {
            return self.turn_down(cx, id, Reply::new(480).because("No answer"));
        }
        if guest.stage == Stage::Entering && guest.opened {
            guest.goes_without = true;
            if guest.naming == Naming::Asked {
                guest.naming = Naming::Left;
            }
            return self.ready(cx, id);
        }
        let words = "The room does not answer in time";
        self.turn_away(cx, id, 408, Condition::new(Kind::RemoteServerTimeout, words));
    }

    /// A guest that has all that it needs is in.
    pub(super) fn ready(&mut self, cx: &mut Cx<'_>, id: GuestId) {
        let Some(guest) = self.guests.get(&id).filter(|guest| guest.stage == Stage::Entering) else { return };
        let Some(hall) = self.halls.get(&guest.room) else { return };
        let has_roster = guest.goes_without || hall.view.is_whole() && !hall.wants_full;
        if guest.opened && guest.naming != Naming::Asked && has_roster {
            self.let_in(cx, id);
        }
    }

    fn let_in(&mut self, cx: &mut Cx<'_>, id: GuestId) {
        self.timers.stop(&Alarm::Enter(id));
        self.timers.stop(&Alarm::Roster(id));
        let chosen = self.name_by_focus(cx, id);
        let Some(guest) = self.guests.get_mut(&id) else { return };
        let room = guest.room.clone();
        let Some(hall) = self.halls.get_mut(&room) else { return };
        let wanted = chosen.filter(|_| guest.naming != Naming::Given).unwrap_or_else(|| guest.nick.clone());
        let nick = hall.free_nick(&room, &wanted, &Who::Guest(id));
        let mut codes = Vec::new();
        if nick != guest.nick {
            hall.nicks.remove(&guest.nick);
            hall.nicks.insert(nick.clone(), id);
            guest.take_nick(&nick);
            codes.push(Codes::RENAMED);
        }
        if guest.is_owner {
            codes.push(Codes::CREATED);
        }
        let Some(occupant) = self.occupant_of(cx, id) else { return };
        if let Some(hall) = self.halls.get_mut(&room) {
            hall.people.insert(nick.clone(), Person { who: Who::Guest(id), occupant });
        }
        // The others first: it is no member yet.
        self.show(cx, &room, &nick, &[]);
        let Some(guest) = self.guests.get_mut(&id) else { return };
        guest.stage = Stage::In;
        guest.clients.values_mut().for_each(|client| client.asked = None);
        self.keep(cx, id);
        let Some(guest) = self.guests.get_mut(&id) else { return };
        let clients: Vec<Jid> = guest.clients.keys().cloned().collect();
        cx.count("conference_joins_total", &[("result", "joined")]);
        cx.gauge("conference_guests", &[], 1);
        cx.log(Level::Info, "conference-joined", guest.fields());
        clients.iter().for_each(|client| self.show_all(cx, id, client, &codes));
        self.say_early(cx, id);
        clients.iter().for_each(|client| self.tell_subject(cx, &room, client));
        self.flow(cx, id);
    }

    /// A client of a guest who is in sees the room: all who are there, old lines as it wants them, the subject.
    pub(super) fn welcome(&mut self, cx: &mut Cx<'_>, id: GuestId, client: &Jid, codes: &[u16]) {
        self.show_all(cx, id, client, codes);
        let Some(guest) = self.guests.get(&id) else { return };
        let Some(hall) = self.halls.get(&guest.room) else { return };
        let history = guest.clients.get(client).map(|client| client.history.clone()).unwrap_or_default();
        let lines: Vec<Old> = hall.old().map(|old| old.as_before(cx.now)).collect();
        let lines = wanted_of(&history, cx.now.tick, lines.iter());
        lines.into_iter().for_each(|old| deliver(cx, &guest.room, client, old));
        self.tell_subject(cx, &guest.room, client);
    }

    /// The subject, also where there is none (XEP-0045 §7.2.15).
    pub(super) fn tell_subject(&self, cx: &mut Cx<'_>, room: &Jid, client: &Jid) {
        let Some(hall) = self.halls.get(room) else { return };
        let id = cx.token_for(room);
        cx.stanza(room::subject(room, client, &id, &hall.subject, Marks::default()));
    }

    /// Somebody who is not in yet does not get in.
    pub(super) fn turn_away(&mut self, cx: &mut Cx<'_>, id: GuestId, status: u16, why: Condition) {
        let text = why.text.clone().unwrap_or_default();
        self.part(cx, id, Farewell::default(), &why, Some(Cause { status, text }));
    }
}

/// Sends a line to a client.
pub(super) fn deliver(cx: &mut Cx<'_>, room: &Jid, client: &Jid, old: &Old) {
    let from = old.nick.as_deref().and_then(|nick| room.with_resource(nick).ok());
    let marks = Marks { occupant: old.occupant.as_deref(), stanza: Some(&old.ids.stanza) };
    cx.stanza(room::line(from.as_ref().unwrap_or(room), client, &old.ids.message, &old.line, marks));
}

/// Of lines, those that a client wants to know. What was not said before it came is not asked about, nor what may not have
/// been.
pub(super) fn wanted_of<'a>(
    history: &History,
    now: Tick,
    lines: impl DoubleEndedIterator<Item = &'a Old>,
) -> Vec<&'a Old> {
    let since = history.since.as_deref().and_then(date::read_rfc3339);
    let (mut count, mut characters) = (0, 0);
    let is_wanted = |old: &&Old| {
        if old.before.is_none_or(|before| !before.is_sure) {
            return true;
        }
        let said = old.line.stamp.as_deref().and_then(date::read_rfc3339);
        count += 1;
        characters += old.line.body.chars().count() as u64;
        !history.is_none()
            && said.is_none_or(|said| since.is_none_or(|since| said >= since))
            && history.seconds.is_none_or(|most| old.age(now) <= Duration::from_secs(most))
            && history.lines.is_none_or(|most| count <= most)
            && history.characters.is_none_or(|most| characters <= most)
    };
    let mut wanted: Vec<&Old> = lines.rev().filter(is_wanted).collect();
    wanted.reverse();
    wanted
}

/// Whether who has accepted says that it is a focus (RFC 4579 §5.1): a parameter of Contact, or of the URI in it.
pub(super) fn is_focus(headers: &Headers) -> bool {
    let contacts = message::list(headers, &HeaderName::Contact);
    contacts.iter().any(|contact| {
        // Not in the display name.
        let rest = contact.rsplit_once('"').map_or(contact.as_str(), |(_, rest)| rest);
        rest.split([';', '>']).skip(1).any(|param| {
            let name = param.split('=').next().unwrap_or_default().trim();
            name.eq_ignore_ascii_case("isfocus")
        })
    })
}

/// A display name (RFC 3261 §25.1).
fn quoted(name: &str) -> String {
    let name = name.replace(char::is_control, " ").replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{name}\"")
}

/// An address with a password, where there is one (RFC 3261 §25.1).
fn with_password(address: &Aor, password: Option<&str>) -> String {
    let text = address.text();
    let Some((password, (user, host))) = password.zip(text.rsplit_once('@')) else { return text };
    let escaped = password.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    });
    format!("{user}:{escaped}@{host}")
}
