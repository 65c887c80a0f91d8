//! What the focus says goes to XMPP (RFC 7702 §5.5, RFC 7701 §6): lines, private lines, typing, the subject.
//!
//! Who says it is found by the address, then by the name. Whom nobody knows speaks through the room itself, the name in front;
//! where there is no roster, whoever speaks is an occupant from then on. What a focus says back to who said it is no
//! second line. A line from before one came has its time.

use super::Conferences;
use super::before::Before;
use super::entering::{deliver, wanted_of};
use super::guest::{EARLY, Farewell, GuestId, Missed, Stage};
use super::hall::{Mark, Old, print_of};
use super::showing::occupant_id;
use crate::documents::conference::Entity;
use crate::documents::cpim::{self, Cpim, Mailbox};
use crate::documents::date;
use crate::documents::imdn;
use crate::documents::iscomposing::{self, IsComposing};
use crate::features::{Cx, content, describe};
use crate::msrp::connections::SessionId;
use crate::msrp::message::InMessage;
use crate::msrp::session::Ticket;
use crate::sip::uri::{Aor, SipAddress};
use crate::sip::usage::session::Cause;
use crate::words::text::clean;
use crate::words::time::{Tick, Wall};
use crate::xmpp::jid::Jid;
use crate::xmpp::muc::{Affiliation, Line, Occupant, Role, room};

/// By so many of the others it is asked what the focus's clock says.
const ASKED: usize = 16;

/// A line as the focus has said it.
#[derive(Clone, Debug)]
pub struct Heard {
    from: Option<Mailbox>,
    text: String,
    lang: Option<String>,
    /// When it was said, by the speaker's clock or the focus's.
    date: Option<Wall>,
    /// When it came.
    came: Tick,
}

/// Who speaks.
enum Speaker {
    /// The room.
    Room,
    /// One of ours.
    Guest(GuestId),
    /// Somebody else who is in the room, by nick.
    Nick(Box<str>),
    /// Nobody knows; perhaps by name.
    Unknown(Option<String>),
}

impl Conferences {
    /// A whole message came.
    pub(super) fn came(
        &mut self,
        cx: &mut Cx<'_>,
        id: GuestId,
        session: SessionId,
        ticket: Ticket,
        message: &InMessage,
    ) {
        let code = self.hear(cx, id, message).err().unwrap_or(200);
        if code == 200 {
            cx.msrp.answer(cx.now.tick, cx.mint, session, ticket, 200);
            cx.msrp.report(cx.now.tick, cx.mint, session, &message.receipt, 200);
        } else {
            cx.count("conference_lines_refused_total", &[]);
            cx.msrp.answer(cx.now.tick, cx.mint, session, ticket, code);
        }
    }

    /// Takes a message, or says by which code it is refused.
    fn hear(&mut self, cx: &mut Cx<'_>, id: GuestId, message: &InMessage) -> Result<(), u16> {
        let guest = self.guests.get(&id).filter(|guest| guest.stage != Stage::Out).ok_or(481_u16)?;
        let Some(type_) = message.content_type.as_deref() else {
            // Some keep a connection alive with such things.
            return if message.body.is_empty() { Ok(()) } else { Err(415) };
        };
        let encoding = describe::header(&message.headers, "Content-Encoding");
        if !cpim::is_type(type_) || encoding.is_some() {
            return Err(415);
        }
        let envelope = cpim::parse(&message.body).map_err(|_| 400_u16)?;
        let room = cx.domains.contact_sip(&guest.room).map_err(|_| 404_u16)?;
        let is_private = guest.abilities.private && is_to(&envelope, &guest.own, &guest.nick, &room);
        if content::notice_in(type_, None, &message.body, imdn::TYPE).is_some() {
            // RFC 7701 §6.3: no reports in rooms.
            return Ok(());
        }
        let from = envelope.mailboxes("From").into_iter().next();
        if let Some(typing) = content::notice_in(type_, None, &message.body, iscomposing::TYPE) {
            if let (true, Ok(typing)) = (is_private, IsComposing::parse(&typing)) {
                self.typing(cx, id, from.as_ref(), typing.active);
            }
            // To all it would only disturb.
            return Ok(());
        }
        let content = content::read_body(Some(type_), None, &message.body)
            .map_err(|reply| describe::code_of(&reply))?;
        let date = envelope.datetime();
        if content.text.trim().is_empty() {
            if let Some(subject) = envelope.subject().filter(|_| !is_private) {
                self.subject_said(cx, id, from.as_ref(), subject);
            }
            return Ok(());
        }
        let heard = Heard { from, text: content.text, lang: content.lang, date, came: cx.now.tick };
        cx.count("conference_lines_total", &[("direction", "sip_to_xmpp")]);
        if is_private {
            return self.whispered(cx, id, &heard);
        }
        let Some(guest) = self.guests.get_mut(&id) else { return Err(481) };
        if guest.early.len() + guest.missed.len() >= EARLY {
            let cause = Cause { status: 480, text: "the XMPP server cannot be reached".to_owned() };
            self.part(cx, id, Farewell::broken(), &super::ending::lost_words(), Some(cause));
            return Err(408);
        }
        if guest.stage != Stage::In {
            // Who speaks is known when the roster is.
            guest.early.push_back(heard);
            return Ok(());
        }
        let Some(old) = self.resolve(cx, id, heard) else { return Ok(()) };
        match self.guests.get_mut(&id).filter(|guest| !cx.link_is_up(&guest.room)) {
            Some(guest) => guest.missed.push_back(Missed::Line(old)),
            None => self.say_to(cx, id, &old),
        }
        Ok(())
    }

    /// A line of the focus goes to all clients of a guest.
    fn say_to(&mut self, cx: &mut Cx<'_>, id: GuestId, old: &Old) {
        let Some(guest) = self.guests.get(&id) else { return };
        let room = guest.room.clone();
        for (client, how) in &guest.clients {
            // Whoever wants no old lines gets none of what a focus tells at first.
            if !wanted_of(&how.history, cx.now.tick, [old].into_iter()).is_empty() {
                deliver(cx, &room, client, old);
            }
        }
        self.remember(&room, old.clone());
    }

    /// What came before a guest was in is said to its clients, as far as they want it.
    pub(super) fn say_early(&mut self, cx: &mut Cx<'_>, id: GuestId) {
        let Some(guest) = self.guests.get_mut(&id) else { return };
        let room = guest.room.clone();
        let early = std::mem::take(&mut guest.early);
        let lines: Vec<Old> = early.into_iter().filter_map(|heard| self.resolve(cx, id, heard)).collect();
        let Some(guest) = self.guests.get(&id) else { return };
        for (client, how) in &guest.clients {
            let wanted = wanted_of(&how.history, cx.now.tick, lines.iter());
            wanted.into_iter().for_each(|old| deliver(cx, &room, client, old));
        }
        lines.into_iter().for_each(|old| self.remember(&room, old));
    }

    /// What came while the link was down is said to the clients of a guest.
    pub(super) fn say_missed(&mut self, cx: &mut Cx<'_>, id: GuestId) {
        let missed = self.guests.get_mut(&id).map(|guest| std::mem::take(&mut guest.missed));
        for missed in missed.into_iter().flatten() {
            match missed {
                Missed::Line(old) => self.say_to(cx, id, &old),
                Missed::Own(said, at) => self.reflect(cx, id, &said, at),
            }
        }
    }

    /// What a line is in XMPP. Nothing where the focus only says again what the guest has said.
    fn resolve(&mut self, cx: &mut Cx<'_>, id: GuestId, heard: Heard) -> Option<Old> {
        let speaker = self.speaker(cx, id, heard.from.as_ref());
        let room = self.guests.get(&id).map(|guest| guest.room.clone())?;
        let mark = heard.date.map(|date| (date, print_of(&heard.text)));
        let before = self.before(cx, id, &heard, matches!(speaker, Speaker::Guest(_)));
        let is_own = matches!(speaker, Speaker::Guest(speaker) if speaker == id);
        let may_be_own = is_own || matches!(speaker, Speaker::Room | Speaker::Unknown(_));
        let may_differ = is_own && before.is_none();
        if may_be_own && self.is_echo(cx, id, mark, print_of(&heard.text), may_differ) {
            return None;
        }
        let (nick, occupant, text) = match speaker {
            Speaker::Room | Speaker::Unknown(None) => (None, None, heard.text),
            Speaker::Unknown(Some(name)) => (None, None, format!("{name}: {}", heard.text)),
            Speaker::Guest(other) => {
                let guest = self.guests.get(&other)?;
                (Some(guest.nick.clone()), Some(occupant_id(cx, &room, &guest.own)), heard.text)
            }
            Speaker::Nick(nick) => {
                let person = self.halls.get(&room).and_then(|hall| hall.people.get(&nick));
                let occupant = person.and_then(|person| person.occupant.id.clone());
                (Some(nick), occupant, heard.text)
            }
        };
        let stamp = heard.date.filter(|_| before.is_some()).map(date::write_rfc3339);
        let ids = self.halls.get_mut(&room)?.ids(cx.mint, &room, id, mark);
        let line = Line { body: text, lang: heard.lang, stamp };
        Some(Old { nick, line, ids, occupant, came: heard.came, before })
    }

    /// Whether a line is of before the guest came, and how old it is. What one of ours has said has the time of our calendar,
    /// and not of the focus's.
    fn before(&mut self, cx: &Cx<'_>, id: GuestId, heard: &Heard, is_ours: bool) -> Option<Before> {
        let guest = self.guests.get(&id)?;
        let peer = cx.config.sip.peers.get(guest.leg.peer);
        let date = heard.date.filter(|_| peer.is_none_or(|peer| peer.trust_dates))?;
        let shown = self.shown(id);
        let before = self.guests.get_mut(&id)?.came.before(heard.came, date, shown)?;
        Some(Before { is_sure: before.is_sure && !is_ours, ..before })
    }

    /// When a guest came by the focus's clock, as it shows for the guest itself, else for one of the others who are there, else
    /// as it did for one who has left. Since then that one may have come again: the roster has that moment now.
    fn shown(&self, id: GuestId) -> Option<Wall> {
        let guest = self.guests.get(&id)?;
        let hall = self.halls.get(&guest.room)?;
        let others = hall.guests.iter().filter_map(|other| self.guests.get(other));
        let mut others =
            others.filter(|other| matches!(other.stage, Stage::Entering | Stage::In)).take(ASKED);
        let shown =
            hall.shown_for(guest).or_else(|| others.find_map(|other| hall.shown_for(other))).or(hall.clock)?;
        Some(guest.came.at(shown))
    }

    /// Whether this is what the guest itself has said: then the room says it, if it has not.
    fn is_echo(
        &mut self,
        cx: &mut Cx<'_>,
        id: GuestId,
        mark: Option<Mark>,
        print: u64,
        may_differ: bool,
    ) -> bool {
        let Some(guest) = self.guests.get_mut(&id) else { return false };
        // A focus may write another time; then the speaker must be known to be this one.
        let is_it = |known: &Mark| Some(*known) == mark || may_differ && known.1 == print;
        if let Some(place) = guest.said.iter().position(|said| said.ids.is_some() && is_it(&said.mark)) {
            if let Some(said) = guest.said.remove(place) {
                self.taken(cx, id, said);
            }
            return true;
        }
        let place = guest.echoes.iter().position(is_it);
        place.and_then(|place| guest.echoes.remove(place)).is_some()
    }

    /// Who has said something to a guest.
    fn speaker(&mut self, cx: &mut Cx<'_>, id: GuestId, from: Option<&Mailbox>) -> Speaker {
        let Some(guest) = self.guests.get(&id) else { return Speaker::Room };
        let room = guest.room.clone();
        let Some(hall) = self.halls.get(&room) else { return Speaker::Room };
        let Some(from) = from else { return Speaker::Room };
        let name = from.name.as_deref().map(|name| clean(name).into_owned());
        let Some(address) = from.address() else { return Speaker::Unknown(name) };
        if let Ok(focus) = cx.domains.contact_sip(&room)
            && (focus.aor == address.aor || cx.facts.spelled(&focus.aor) == address.aor)
        {
            return match address.gr.as_deref() {
                None => Speaker::Room,
                Some(nick) => match (hall.nicks.get(nick), self.by_roster(&room, &address, Some(nick))) {
                    (Some(id), _) => Speaker::Guest(*id),
                    (None, Some(nick)) => Speaker::Nick(nick),
                    (None, None) => Speaker::Unknown(name.or(Some(nick.to_owned()))),
                },
            };
        }
        let ours: Vec<GuestId> = hall.of_address(&address.aor).collect();
        let is_named =
            |id: &&GuestId| self.guests.get(id).is_some_and(|guest| name.as_deref() == Some(&*guest.nick));
        if let Some(id) = ours.iter().find(is_named).or(ours.first()) {
            return Speaker::Guest(*id);
        }
        if let Some(nick) = self.by_roster(&room, &address, name.as_deref()) {
            return Speaker::Nick(nick);
        }
        let said = name.or_else(|| address.aor.user.clone());
        match self.is_heard(cx, &room, &address, said.as_deref()) {
            Some(nick) => Speaker::Nick(nick),
            None => Speaker::Unknown(said.or_else(|| Some(address.aor.to_string()))),
        }
    }

    /// Who of the roster this is.
    fn by_roster(&self, room: &Jid, address: &SipAddress, name: Option<&str>) -> Option<Box<str>> {
        let hall = self.halls.get(room)?;
        if let Some(user) = hall.view.speaker(address, name)
            && let Some(nick) = hall.nick_of(&user.entity)
        {
            return Some(nick.into());
        }
        hall.nick_of(&Entity::from(&address.aor.address())).map(Into::into)
    }

    /// Where there is no roster, who speaks is there.
    fn is_heard(
        &mut self,
        cx: &mut Cx<'_>,
        room: &Jid,
        address: &SipAddress,
        said: Option<&str>,
    ) -> Option<Box<str>> {
        let hall = self.halls.get(room)?;
        if hall.view.is_whole() || !hall.hears_more() || cx.domains.user_jid(address).is_ok() {
            return None;
        }
        let entity = Entity::from(&address.aor.address());
        let occupant = Occupant {
            nick: String::new(),
            role: Role::Participant,
            affiliation: Affiliation::None,
            jid: cx.domains.contact_jid(&address.aor.address()).ok(),
            id: Some(occupant_id(cx, room, &address.aor)),
        };
        self.insert(cx, room, &entity, said?.into(), occupant, true);
        self.halls.get(room)?.nick_of(&entity).map(Into::into)
    }

    /// Somebody says something to one guest alone.
    fn whispered(&mut self, cx: &mut Cx<'_>, id: GuestId, heard: &Heard) -> Result<(), u16> {
        let speaker = self.speaker(cx, id, heard.from.as_ref());
        let guest = self.guests.get(&id).ok_or(481_u16)?;
        if guest.stage != Stage::In || !cx.link_is_up(&guest.room) {
            return Err(408);
        }
        let (nick, text) = match speaker {
            Speaker::Guest(other) => {
                (self.guests.get(&other).map(|guest| guest.nick.clone()), heard.text.clone())
            }
            Speaker::Nick(nick) => (Some(nick), heard.text.clone()),
            Speaker::Unknown(Some(name)) => (None, format!("{name}: {}", heard.text)),
            Speaker::Room | Speaker::Unknown(None) => (None, heard.text.clone()),
        };
        let from = nick.as_deref().and_then(|nick| guest.room.with_resource(nick).ok());
        let person = nick.and_then(|nick| self.halls.get(&guest.room)?.people.get(&nick));
        let occupant = person.and_then(|person| person.occupant.id.as_deref());
        let line = Line { body: text, lang: heard.lang.clone(), stamp: None };
        for client in guest.clients.keys() {
            let message = cx.token_for(&guest.room);
            cx.stanza(room::private(from.as_ref().unwrap_or(&guest.room), client, &message, &line, occupant));
        }
        Ok(())
    }

    /// Somebody types, or stops, to one guest alone.
    fn typing(&mut self, cx: &mut Cx<'_>, id: GuestId, from: Option<&Mailbox>, active: bool) {
        let nick = match self.speaker(cx, id, from) {
            Speaker::Nick(nick) => Some(nick),
            Speaker::Guest(other) => self.guests.get(&other).map(|guest| guest.nick.clone()),
            Speaker::Room | Speaker::Unknown(_) => None,
        };
        let Some(guest) = self.guests.get(&id).filter(|guest| guest.stage == Stage::In) else { return };
        let Some(from) = nick.as_deref().and_then(|nick| guest.room.with_resource(nick).ok()) else { return };
        let person = nick.and_then(|nick| self.halls.get(&guest.room)?.people.get(&nick));
        let occupant = person.and_then(|person| person.occupant.id.as_deref());
        for client in guest.clients.keys() {
            cx.stanza(room::state(&from, client, if active { "composing" } else { "active" }, occupant));
        }
    }

    /// Somebody says what the room is about from now on. Each of ours hears it; it is told once.
    fn subject_said(&mut self, cx: &mut Cx<'_>, id: GuestId, from: Option<&Mailbox>, subject: &str) {
        let speaker = self.speaker(cx, id, from);
        let Some(room) = self.guests.get(&id).map(|guest| guest.room.clone()) else { return };
        let nick = match speaker {
            Speaker::Nick(nick) => Some(nick),
            Speaker::Guest(other) => self.guests.get(&other).map(|guest| guest.nick.clone()),
            Speaker::Room | Speaker::Unknown(_) => None,
        };
        let subject = clean(subject.trim()).into_owned();
        let Some(hall) = self.halls.get_mut(&room).filter(|hall| hall.subject != subject) else { return };
        hall.subject.clone_from(&subject);
        let from = nick.as_deref().and_then(|nick| room.with_resource(nick).ok());
        for client in self.clients_in(&room) {
            let message = cx.token_for(&room);
            let from = from.as_ref().unwrap_or(&room);
            cx.stanza(room::subject(from, &client, &message, &subject, room::Marks::default()));
        }
    }
}

/// Whether a message is for one of ours alone: by the own address, or by the nick (RFC 7701 §6.2, RFC 7702 §5.6).
fn is_to(envelope: &Cpim<'_>, own: &Aor, nick: &str, room: &SipAddress) -> bool {
    let Some(to) = envelope.mailboxes("To").first().and_then(Mailbox::address) else { return false };
    to.aor == *own || to.aor == room.aor && to.gr.as_deref() == Some(nick)
}
