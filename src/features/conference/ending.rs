//! Ends: who leaves hangs up, and whom the focus puts out is told; lost connections, links that go and come, stops and starts.
//!
//! Guests do not outlive the process: what is on disk is what BYE and the farewell to the clients need, and
//! who still waits for an answer.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::asked::{refusal, refuse};
use super::guest::{Client, Farewell, Guest, GuestId, Said, Stage};
use super::hall::{Hall, Person, Who};
use super::{Alarm, Conferences};
use crate::features::audit::view::{Says, View};
use crate::features::leg::Leg;
use crate::features::room::table;
use crate::features::{Cx, errors};
use crate::gateway::LinkId;
use crate::msrp::connections::SessionId;
use crate::msrp::session::{Ending, Known, Unconfirmed};
use crate::sip::message::Reply;
use crate::sip::uri::Aor;
use crate::sip::usage::session::{Body, Cause, End, Kept, Session};
use crate::store::record::{Key, Record, Restored};
use crate::words::condition::{Condition, Kind, Scope};
use crate::words::id::Partition;
use crate::words::note::Level;
use crate::words::text::clean;
use crate::xmpp::jid::Jid;
use crate::xmpp::muc::{Codes, Departure, Destroyed, Occupant, room};
use crate::xmpp::stanza::{Stanza, StanzaKind};

/// The kind of the records in the store.
pub const RECORD: &str = "guest";

/// Whoever hangs up may close the connection first.
const THEIRS: Duration = Duration::from_secs(2);
/// A stop waits so long for the answers to BYE.
const STOP: Duration = Duration::from_secs(3);
/// So long after somebody has gone, words about it are out.
pub(super) const SAID: Duration = Duration::from_millis(20);
/// When that is looked at again where the link or the store is down.
const LATER: Duration = Duration::from_secs(1);
/// How many guests are ended at once after a start, and how long after those the next ones.
const BATCH: usize = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// A guest on disk.
#[derive(Debug, Serialize, Deserialize)]
struct KeptGuest {
    room: Jid,
    user: Jid,
    own: Aor,
    nick: Box<str>,
    clients: Vec<Jid>,
    /// Nothing while the focus is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    call: Option<Kept>,
    /// Clients whose request to be let in had no answer when this was written, and its id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    asking: Vec<(Jid, Option<String>)>,
}

impl Conferences {
    /// A client leaves; with the last one the guest does.
    pub(super) fn leaves(&mut self, cx: &mut Cx<'_>, client: &Jid, room: &Jid, status: Option<String>) {
        let Some(id) = self.guest_of(room, client) else { return };
        let Some(occupant) = self.occupant_of(cx, id) else { return };
        let departure = Departure { status, ..Departure::default() };
        let from = self.guests.get(&id).map(|guest| guest.occupant());
        if let Some(from) = from {
            let own = Occupant { jid: Some(client.clone()), ..occupant };
            self.doubted.say(cx, room::gone(&from, client, &own, &[Codes::SELF], &departure));
        }
        self.without(cx, id, client, Farewell { codes: Vec::new(), departure });
    }

    /// A client is not there any more, as what was sent to it says.
    pub(super) fn vanished(&mut self, cx: &mut Cx<'_>, client: &Jid, room: &Jid) {
        if let Some(id) = self.guest_of(room, client) {
            self.without(cx, id, client, Farewell::broken());
        }
    }

    /// A guest has one client less.
    fn without(&mut self, cx: &mut Cx<'_>, id: GuestId, client: &Jid, farewell: Farewell) {
        let Some(guest) = self.guests.get_mut(&id) else { return };
        guest.clients.remove(client);
        // Who has left does not want to hear what became of it.
        guest.waiting.retain(|said| said.stanza.from() != Some(client));
        if let Some(hall) = self.halls.get_mut(&guest.room) {
            hall.clients.remove(client);
        }
        if guest.clients.is_empty() {
            let why = Condition::new(Kind::RecipientUnavailable, "You have left the room");
            return self.part(cx, id, farewell, &why, None);
        }
        self.keep(cx, id);
        if self.guests.get(&id).is_some_and(|guest| guest.stage == Stage::In) {
            self.refresh_own(cx, id);
        }
    }

    /// A guest is out. Its clients are told so, or why they did not come in; so are all others of ours. What was said and
    /// is not answered comes back. `cause`: what the focus is told, if it has not ended it itself.
    pub(super) fn part(
        &mut self,
        cx: &mut Cx<'_>,
        id: GuestId,
        farewell: Farewell,
        why: &Condition,
        cause: Option<Cause>,
    ) {
        if self.guests.get(&id).is_some_and(|guest| guest.stage == Stage::Invited) {
            let status = cause.map_or(480, |cause| cause.status);
            return self.turn_down(cx, id, Reply::new(status));
        }
        let occupant = self.occupant_of(cx, id);
        let Some(guest) = self.guests.get_mut(&id).filter(|guest| guest.stage != Stage::Out) else { return };
        let has_come = matches!(guest.stage, Stage::Entering | Stage::In);
        if let Some(hall) = self.halls.get_mut(&guest.room).filter(|_| has_come) {
            // Later the roster may have her as one who came again.
            hall.clock = hall.shown_for(guest).or(hall.clock);
        }
        let was_in = std::mem::replace(&mut guest.stage, Stage::Out) == Stage::In;
        let (room, nick, from) = (guest.room.clone(), guest.nick.clone(), guest.occupant());
        let own = guest.own.clone();
        let clients = std::mem::take(&mut guest.clients);
        let (said, waiting) = (std::mem::take(&mut guest.said), std::mem::take(&mut guest.waiting));
        let renaming = guest.renaming.take();
        (guest.early, guest.missed) = Default::default();
        let mut fields = guest.fields();
        fields.push(("why", why.text.clone().unwrap_or_default()));
        let session = guest.leg.msrp;
        for alarm in
            [Alarm::Enter(id), Alarm::Roster(id), Alarm::Again(id), Alarm::Whole(id), Alarm::Part(id)]
        {
            self.timers.stop(&alarm);
        }
        if let Some(hall) = self.halls.get_mut(&room) {
            if hall.nicks.get(&nick) == Some(&id) {
                hall.nicks.remove(&nick);
            }
            hall.addresses.remove(&(own, id));
            clients.keys().for_each(|client| {
                hall.clients.remove(client);
            });
        }
        said.iter().for_each(|said| self.give_back(cx, said, Known::Sent));
        waiting.iter().for_each(|said| self.give_back(cx, said, Known::Unsent));
        if let Some(renaming) = renaming {
            refuse(cx, &renaming.stanza, Kind::NotAcceptable, "You are not in this room");
        }
        if was_in {
            cx.gauge("conference_guests", &[], -1);
            cx.log(Level::Info, "conference-left", fields);
            self.tell_clients(cx, id, &from, occupant.as_ref(), &clients, &farewell);
            let person = self.halls.get_mut(&room).and_then(|hall| hall.people.remove(&nick));
            if let Some(person) = person.filter(|person| person.who == Who::Guest(id)) {
                self.show_gone(cx, &room, &person, &farewell);
            }
        } else {
            cx.count("conference_joins_total", &[("result", "refused")]);
            cx.log(Level::Info, "conference-refused", fields);
            // Whose link is down hears of it when that is up.
            for asked in clients.values().filter_map(|client| client.asked.as_ref()) {
                let words = why.text.as_deref().unwrap_or_default();
                if let Some(refusal) = refusal(asked, why.kind, words) {
                    self.doubted.say(cx, refusal);
                }
            }
        }
        self.next_teller(cx, &room, id);
        if let Some(hall) = self.halls.get_mut(&room).filter(|hall| hall.nicks.is_empty()) {
            // Nobody is told anything any more: what is known grows old.
            let guests = std::mem::take(&mut hall.guests);
            *hall = Hall::default();
            hall.guests = guests;
        }
        self.unsubscribe(cx, id);
        let Some(guest) = self.guests.get_mut(&id) else { return };
        guest.leg.call.hang_up(cause);
        match session {
            // What they have said already is still answered.
            Some(session) if was_in => cx.msrp.finish(cx.now.tick, cx.mint, session),
            Some(session) => cx.msrp.close(cx.now.tick, cx.mint, session),
            None => {}
        }
        self.run(cx, id);
    }

    /// Tells clients that they are out, or remembers to.
    fn tell_clients(
        &mut self,
        cx: &mut Cx<'_>,
        id: GuestId,
        from: &Jid,
        occupant: Option<&Occupant>,
        clients: &std::collections::BTreeMap<Jid, Client>,
        farewell: &Farewell,
    ) {
        let Some(occupant) = occupant else { return };
        if !cx.link_is_up(from) {
            if let Some(guest) = self.guests.get_mut(&id) {
                guest.owes.extend(clients.keys().cloned());
            }
            return;
        }
        for client in clients.keys() {
            let mut codes = farewell.codes.clone();
            codes.push(Codes::SELF);
            let own = Occupant { jid: Some(client.clone()), ..occupant.clone() };
            self.doubted.say(cx, room::gone(from, client, &own, &codes, &farewell.departure));
        }
    }

    /// A line that will not be answered any more: its sender is told what is known of it.
    fn give_back(&mut self, cx: &mut Cx<'_>, said: &Said, known: Known) {
        let words = match known {
            Known::Unsent | Known::SentInPart => "The way to the room broke before this was said",
            Known::Sent | Known::Taken => "The way to the room broke; perhaps this was said, perhaps not",
        };
        if let Some(error) = refusal(&said.stanza, Kind::RemoteServerTimeout, words) {
            self.doubted.say(cx, error);
        }
    }

    /// SIP says that it is over.
    pub(super) fn call_over(&mut self, cx: &mut Cx<'_>, id: GuestId, end: &End) {
        let Some(guest) = self.guests.get(&id) else { return };
        if guest.stage == Stage::Out {
            return;
        }
        let was_called = guest.stage != Stage::Calling;
        let (farewell, why) = match end {
            End::Refused(response) => (Farewell::broken(), refusal_of(cx, response)),
            End::Unreachable(failure) => {
                (Farewell::broken(), errors::condition_of_failure(failure, Scope::Bare))
            }
            End::NoAnswer => {
                let words = "The room does not answer in time";
                (Farewell::broken(), Condition::new(Kind::RemoteServerTimeout, words))
            }
            End::Theirs(cause) if was_called => {
                let fate = guest.fate.clone();
                let farewell = fate.unwrap_or_else(|| farewell_of(cause.as_ref()));
                (farewell, Condition::new(Kind::RecipientUnavailable, "The room has put you out"))
            }
            _ => (guest.fate.clone().unwrap_or_else(Farewell::broken), lost_words()),
        };
        self.part(cx, id, farewell, &why, None);
    }

    /// What ends a session has come, and nobody has hung up.
    pub(super) fn lost(&mut self, cx: &mut Cx<'_>, id: GuestId) {
        let Some(guest) = self.guests.get(&id) else { return };
        let (farewell, status, words) = match guest.fate.clone() {
            Some(fate) => (fate, 410, "the conference is over"),
            None => (Farewell::broken(), 480, "the MSRP connection was lost"),
        };
        self.part(cx, id, farewell, &lost_words(), Some(Cause { status, text: words.to_owned() }));
    }

    /// An MSRP session is over.
    pub(super) fn ended(
        &mut self,
        cx: &mut Cx<'_>,
        id: GuestId,
        session: SessionId,
        why: &Ending,
        unconfirmed: &[Unconfirmed],
    ) {
        self.msrp.remove(&session);
        let Some(guest) = self.guests.get(&id) else { return };
        let is_left = guest.leg.msrp != Some(session);
        for one in unconfirmed {
            let Some(guest) = self.guests.get_mut(&id) else { return };
            let Some(said) = guest.take_said(&one.message.message_id) else { continue };
            match (one.known, why) {
                // What was not sent on the path that was left goes on the one that is there.
                (Known::Unsent | Known::SentInPart, _) if is_left => guest.waiting.push_back(said),
                (_, Ending::Refused(code)) => {
                    let (kind, words) = table::answer(*code);
                    refuse(cx, &said.stanza, kind, words);
                }
                (known, _) => self.give_back(cx, &said, known),
            }
        }
        if is_left {
            return self.flow(cx, id);
        }
        let Some(guest) = self.guests.get_mut(&id) else { return };
        guest.leg.msrp = None;
        match guest.stage {
            Stage::Out => self.bury(cx, id),
            Stage::In => self.timers.set(Alarm::Part(id), cx.now.tick + THEIRS),
            Stage::Invited | Stage::Calling | Stage::Entering => {
                let said = match why {
                    Ending::NotConnected(why) => format!(": {why}"),
                    _ => String::new(),
                };
                let words = format!("The room's MSRP connection cannot be made{said}");
                self.turn_away(cx, id, 480, Condition::new(Kind::RemoteServerTimeout, words));
            }
        }
    }

    /// They answered an offer of ours.
    pub(super) fn settled(&mut self, cx: &mut Cx<'_>, id: GuestId, answer: Option<&Body>) {
        let Some(guest) = self.guests.get_mut(&id) else { return };
        match guest.leg.settle(cx, answer) {
            Some((_, change)) => self.moved(cx, id, change.left),
            None => self.hang_up(cx, id, 488, "no line for a room"),
        }
    }

    /// They want the session changed.
    pub(super) fn offered(&mut self, cx: &mut Cx<'_>, id: GuestId, offer: Option<&Body>) {
        let Some(guest) = self.guests.get_mut(&id) else { return };
        let room = guest.room.clone();
        match guest.leg.reconsider(cx, &room, offer) {
            Ok(change) => {
                guest.leg.call.agree(cx.now, Body::sdp(change.body));
                self.keep(cx, id);
                self.moved(cx, id, change.left);
                if change.ends {
                    self.hang_up(cx, id, 200, "they closed the chat line");
                }
            }
            Err(reply) => guest.leg.call.decline(cx.now, reply),
        }
    }

    fn hang_up(&mut self, cx: &mut Cx<'_>, id: GuestId, status: u16, words: &str) {
        let cause = Cause { status, text: words.to_owned() };
        self.part(cx, id, Farewell::broken(), &lost_words(), Some(cause));
    }

    /// A guest may have another MSRP session: what it left finishes.
    fn moved(&mut self, cx: &mut Cx<'_>, id: GuestId, left: Option<SessionId>) {
        if let Some(session) = self.guests.get(&id).and_then(|guest| guest.leg.msrp) {
            self.msrp.insert(session, id);
        }
        if let Some(left) = left {
            cx.msrp.finish(cx.now.tick, cx.mint, left);
        }
        self.flow(cx, id);
    }

    /// A link is up: who is out is told, and who is in sees what there is now. Whoever is not there any more sends it back.
    pub(super) fn link_is_up(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        self.settle(cx);
        let rooms = self.rooms_of(cx, link);
        for room in &rooms {
            let Some(hall) = self.halls.get_mut(room) else { continue };
            let missed = std::mem::take(&mut hall.missed);
            let all: Vec<GuestId> = hall.guests.iter().copied().collect();
            let gone: Vec<Occupant> = missed
                .into_values()
                .filter(|occupant| !hall.people.contains_key(occupant.nick.as_str()))
                .collect();
            for occupant in gone {
                let who = Who::Entity(Default::default());
                self.show_gone(cx, room, &Person { who, occupant }, &Farewell::default());
            }
            for id in all {
                self.is_back(cx, id);
            }
        }
        self.resume(cx);
    }

    fn is_back(&mut self, cx: &mut Cx<'_>, id: GuestId) {
        let Some(guest) = self.guests.get_mut(&id) else { return };
        let (room, from) = (guest.room.clone(), guest.occupant());
        let owes = std::mem::take(&mut guest.owes);
        let occupant = self.occupant_of(cx, id).unwrap_or_default();
        for client in owes {
            let own = Occupant { jid: Some(client.clone()), ..occupant.clone() };
            let gone = room::gone(&from, &client, &own, &[332, Codes::SELF], &Departure::default());
            self.doubted.say(cx, gone);
        }
        let Some(guest) = self.guests.get_mut(&id) else { return };
        if guest.stage != Stage::In {
            return self.bury(cx, id);
        }
        let clients: Vec<Jid> = guest.clients.keys().cloned().collect();
        clients.iter().for_each(|client| self.show_all(cx, id, client, &[]));
        self.say_missed(cx, id);
        clients.iter().for_each(|client| self.tell_subject(cx, &room, client));
    }

    /// A link is down: who waits to be let in waits in vain.
    pub(super) fn link_is_down(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        self.doubted.link_is_down(cx, link);
        for room in self.rooms_of(cx, link) {
            let Some(hall) = self.halls.get(&room) else { continue };
            let is_waiting = |id: &GuestId| {
                let stage = self.guests.get(id).map(|guest| guest.stage);
                matches!(stage, Some(Stage::Calling | Stage::Entering))
            };
            for id in hall.guests.iter().copied().filter(is_waiting).collect::<Vec<_>>() {
                let words = "The XMPP server cannot be reached";
                self.turn_away(cx, id, 480, Condition::new(Kind::RemoteServerTimeout, words));
            }
        }
    }

    fn rooms_of(&self, cx: &Cx<'_>, link: LinkId) -> Vec<Jid> {
        self.halls.keys().filter(|room| cx.domains.link_of(room.domain()) == Some(link)).cloned().collect()
    }

    /// Records are back, perhaps behind the link: who asked in vain is told now, as otherwise when the link comes up.
    pub(super) fn starts(&mut self, cx: &mut Cx<'_>) {
        self.settle(cx);
        self.resume(cx);
    }

    /// Says what waited for a link that is up. Who had waited for an answer has gone.
    fn settle(&mut self, cx: &mut Cx<'_>) {
        self.doubted.settle(cx);
        let told: Vec<_> = self.unanswered.extract_if(.., |(room, _)| cx.link_is_up(room)).collect();
        self.gone.extend(told.into_iter().map(|(room, key)| (cx.now.tick + SAID, room, key)));
    }

    /// Ends some of the guests of before the start.
    pub(super) fn resume(&mut self, cx: &mut Cx<'_>) {
        for _ in 0..BATCH {
            let Some(id) = self.restored.pop_front() else { return };
            let Some(guest) = self.guests.get_mut(&id) else { continue };
            let text = "the gateway was restarted".to_owned();
            let is_seen = cx.link_is_up(&guest.room);
            guest.leg.call.hang_up(Some(Cause { status: 503, text }));
            self.run(cx, id);
            if is_seen {
                // Otherwise when the link comes up.
                self.is_back(cx, id);
            }
        }
        if !self.restored.is_empty() {
            self.timers.set(Alarm::Resume, cx.now.tick + PAUSE);
        }
    }

    /// Keeps a guest on disk.
    pub(super) fn keep(&mut self, cx: &mut Cx<'_>, id: GuestId) {
        let Some(guest) = self.guests.get_mut(&id) else { return };
        let call = guest.leg.call.kept();
        let asking = guest.clients.iter().filter_map(|(client, how)| {
            let asked = how.asked.as_ref()?;
            Some((client.clone(), asked.id().map(str::to_owned)))
        });
        let asking: Vec<_> = asking.collect();
        if call.is_none() && asking.is_empty() {
            return;
        }
        guest.saved = true;
        let kept = KeptGuest {
            room: guest.room.clone(),
            user: guest.user.clone(),
            own: guest.own.clone(),
            nick: guest.nick.clone(),
            clients: guest.clients.keys().cloned().collect(),
            call,
            asking,
        };
        cx.save(Record::new(key_of(&guest.room, guest.leg.call.tag()), &kept));
    }

    /// A guest of before the start.
    pub(super) fn restore(&mut self, record: &Restored) -> Result<(), String> {
        let kept: KeptGuest = record.read().map_err(|error| error.to_string())?;
        let occupant = kept.room.with_resource(&kept.nick).unwrap_or_else(|_| kept.room.clone());
        for (client, id) in &kept.asking {
            let asked = Stanza::new(StanzaKind::Presence, client, &occupant);
            let asked = id.iter().fold(asked, |asked, id| asked.with_id(id));
            let words = "The gateway was restarted before you were in";
            self.doubted.owe(refusal(&asked, Kind::RemoteServerTimeout, words));
        }
        let Some(call) = kept.call else {
            // Of the dialog nothing is known. A focus that has accepted gets no ACK, and ends it (RFC 3261 §13.3.1.4).
            self.unanswered
                .push((kept.room, Key { kind: RECORD, partition: record.partition, id: record.id.clone() }));
            return Ok(());
        };
        let leg = Leg::of_before(Session::restore(call, crate::features::ALLOW.as_str()));
        let mut guest = Guest::new(kept.room, kept.user, kept.own, &kept.nick, leg);
        (guest.stage, guest.owes, guest.saved) = (Stage::Out, kept.clients, true);
        let id = self.add(guest);
        self.restored.push_back(id);
        Ok(())
    }

    /// The process stops: every guest ends. True when nothing is waited for.
    pub(super) fn say_goodbye(&mut self, cx: &mut Cx<'_>) -> bool {
        if self.stopping.is_none() {
            self.stopping = Some(cx.now.tick + STOP);
            self.errands_end(cx);
            for id in self.guests.keys().copied().collect::<Vec<_>>() {
                let cause = Cause { status: 503, text: "the gateway stops".to_owned() };
                let why = Condition::new(Kind::ResourceConstraint, "The gateway stops");
                self.part(cx, id, Farewell::closed(), &why, Some(cause));
            }
        }
        let is_over = self.stopped || self.guests.values().all(|guest| guest.leg.call.is_done());
        if is_over {
            // Who could not be told stays on disk for the next start.
            for (_, room, key) in self.gone.drain(..) {
                if cx.link_is_up(&room) {
                    cx.forget(key);
                }
            }
        }
        is_over
    }

    /// Who has gone has heard of it, or never will: nobody confirms a farewell. A process that dies before says that it
    /// was restarted. While the link or the store is down everybody waits: unlike the pager's verdicts, a farewell that a
    /// link has lost is said again.
    pub(super) fn forget_gone(&mut self, cx: &mut Cx<'_>) {
        while self.gone.front().is_some_and(|(at, ..)| *at <= cx.now.tick) {
            let Some((_, room, key)) = self.gone.pop_front() else { return };
            // At the end nothing is accepted, and what is said goes out all the same.
            let may_say = cx.accepting || self.stopping.is_some();
            if may_say && cx.link_is_up(&room) {
                cx.forget(key);
            } else {
                self.gone.push_back((cx.now.tick + LATER, room, key));
            }
        }
    }
}

/// What a record says.
pub(super) fn view(record: &Restored) -> Result<View, String> {
    let kept: KeptGuest = record.read().map_err(|error| error.to_string())?;
    let key = key_of(&kept.room, kept.call.as_ref().map_or(&record.id, |call| call.tag()));
    Ok(View { key, user: Some(kept.user), contact: None, says: Says::Memory })
}

/// The record of a guest.
pub(super) fn key_of(room: &Jid, tag: &str) -> Key {
    Key { kind: RECORD, partition: Partition::of(room.bare_str()), id: tag.to_owned() }
}

/// Why somebody is out whom nobody has put out.
pub(super) fn lost_words() -> Condition {
    Condition::new(Kind::RemoteServerTimeout, "The connection to the room was lost")
}

/// Why a focus does not let somebody in.
fn refusal_of(cx: &Cx<'_>, response: &crate::sip::message::Response) -> Condition {
    let mut condition = errors::condition_of_response(response, Scope::Bare, cx.domains);
    if let Some((kind, words)) = table::refusal(response.status.code()) {
        let said = clean(&String::from_utf8_lossy(&response.reason)).into_owned();
        let status = response.status.code();
        condition.kind = kind;
        condition.text = Some(format!("{words} ({})", format!("SIP {status} {said}").trim_end()));
    }
    if let (Some(text), Some(moved)) = (&mut condition.text, &condition.redirect) {
        text.push_str(&format!(": {moved}"));
    }
    condition
}

/// How somebody is out whom the focus has hung up on, by what it says to it.
fn farewell_of(cause: Option<&Cause>) -> Farewell {
    let words = cause.map(|cause| clean(cause.text.trim()).into_owned()).filter(|words| !words.is_empty());
    match table::fate(cause.map_or(0, |cause| cause.status)) {
        table::Fate::Destroyed => {
            let destroyed = Some(Destroyed { to: None, reason: words });
            Farewell { codes: Vec::new(), departure: Departure { destroyed, ..Departure::default() } }
        }
        table::Fate::Code(code) => {
            Farewell { codes: vec![code], departure: Departure { reason: words, ..Departure::default() } }
        }
    }
}
