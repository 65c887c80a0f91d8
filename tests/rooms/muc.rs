//! A room server, as Prosody and ejabberd are seen by who is in their rooms (XEP-0045).
//!
//! It expels who answers it with an error that says that nobody is there, it locks new rooms, it sends everything again to
//! who enters once more. When it cannot deliver it either notices, and expels, or not.

use std::collections::{BTreeMap, BTreeSet};

use mostar::xmpp::jid::Jid;
use mostar::xmpp::ns;
use mostar::xmpp::stanza::{Element, Stanza, StanzaKind};

use super::world::{Event, Given, World};

/// Names that everybody wants.
pub const NAMES: [&str; 5] = ["Romeo", "Paris", "Tybalt", "Μαβ 👑", "Romeo 2"];

/// Errors after which somebody is not there any more.
const GONE: [&str; 5] =
    ["gone", "item-not-found", "recipient-unavailable", "service-unavailable", "remote-server-timeout"];

/// A room.
#[derive(Debug)]
pub struct Room {
    pub jid: String,
    pub occupants: BTreeMap<String, Occupant>,
    pub banned: BTreeSet<String>,
    pub subject: String,
    /// How many lines were said.
    pub spoken: u64,
    /// Who made it, without a resource.
    pub owner: String,
    /// Its owner has not accepted its configuration.
    pub locked: bool,
}

/// Somebody in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occupant {
    pub jid: String,
    pub role: &'static str,
}

impl Room {
    /// A room that is not there yet.
    pub fn new(name: &str) -> Room {
        Room {
            jid: format!("{name}@rooms.example.com"),
            occupants: BTreeMap::new(),
            banned: BTreeSet::new(),
            subject: String::new(),
            spoken: 0,
            owner: String::new(),
            locked: false,
        }
    }

    /// Somebody in it, as presence says.
    pub fn item(&self, nick: &str) -> Element {
        let Occupant { jid, role } = &self.occupants[nick];
        item(if self.owner == bare(jid) { "owner" } else { "none" }, role)
    }

    pub fn nick_of(&self, jid: &str) -> Option<String> {
        self.occupants.iter().find(|(_, occupant)| occupant.jid == jid).map(|(nick, _)| nick.clone())
    }

    /// Nicks and addresses of those who are of SIP.
    pub fn of_sip(&self) -> Vec<(String, String)> {
        let all = self.occupants.iter().filter(|(_, occupant)| is_sip(&occupant.jid));
        all.map(|(nick, occupant)| (nick.clone(), occupant.jid.clone())).collect()
    }
}

/// Why somebody leaves.
#[derive(Clone, Debug, Default)]
pub struct Parting {
    pub code: Option<u16>,
    pub actor: Option<String>,
    pub destroyed: Option<String>,
}

fn is_sip(jid: &str) -> bool {
    jid.contains("@example.net")
}

pub fn native_jid(native: u8) -> String {
    format!("juliet{native}@example.com/x")
}

pub fn jid(text: &str) -> Jid {
    Jid::parse(text).expect("a JID")
}

fn inside_x(item: Element, codes: &[u16]) -> Element {
    let mut x = Element::new("x", ns::MUC_USER).with_child(item);
    for code in codes {
        x.push(Element::new("status", ns::MUC_USER).with("code", &code.to_string()));
    }
    x
}

fn item(affiliation: &str, role: &str) -> Element {
    Element::new("item", ns::MUC_USER).with("affiliation", affiliation).with("role", role)
}

fn bare(jid: &str) -> &str {
    jid.split('/').next().unwrap_or_default()
}

/// How somebody is told of a subject.
fn subject_told(subject: &str) -> String {
    match subject.is_empty() {
        true => "The room has no subject any more".to_owned(),
        false => format!("Subject: {subject}"),
    }
}

impl World {
    fn room_of(&self, address: &str) -> Option<usize> {
        self.rooms.iter().position(|room| room.jid == bare(address))
    }

    /// The server has a stanza of the gateway's.
    pub fn server_hears(&mut self, stanza: &Stanza) {
        let (Some(from), Some(to)) = (stanza.from(), stanza.to()) else { return };
        let (from, to) = (from.to_string(), to.to_string());
        let Some(room) = self.room_of(&to) else {
            if let Some(pong) = stanza.result().filter(|_| stanza.kind == StanzaKind::Iq) {
                self.stanza(pong, None);
            }
            return;
        };
        let nick = to.split_once('/').map(|(_, nick)| nick.to_owned());
        let own = self.rooms[room].nick_of(&from);
        match (stanza.kind, stanza.type_()) {
            (StanzaKind::Presence, None) => {
                let asks = stanza.element.child("x", ns::MUC).is_some();
                match (nick, own) {
                    (Some(nick), Some(own)) if nick != own => self.renames(room, stanza, &own, nick),
                    (Some(nick), _) if asks => self.enters(room, stanza, &nick),
                    _ => self.refuse(stanza, "not-acceptable"),
                }
            }
            (StanzaKind::Presence, Some("unavailable")) => {
                if let Some(own) = own {
                    self.leaves(room, &own, &Parting::default());
                }
            }
            (StanzaKind::Message, Some("error")) => {
                let is_gone = stanza
                    .element
                    .child("error", ns::COMPONENT)
                    .is_some_and(|error| error.children().any(|child| GONE.contains(&child.name())));
                if let Some(own) = own.filter(|_| is_gone) {
                    let call = self.calls.iter().position(|call| call.jid.as_deref() == Some(&from));
                    if call.is_some_and(|call| self.calls[call].is_up()) {
                        self.wrong(format!("{from} puts itself out of the room by an error"));
                    }
                    self.leaves(room, &own, &Parting { code: Some(333), ..Parting::default() });
                }
            }
            (StanzaKind::Message, type_) => match own {
                Some(own) => self.says(room, stanza, &own, type_ == Some("groupchat"), nick),
                None if stanza
                    .element
                    .child("x", ns::MUC_USER)
                    .is_some_and(|x| x.child("decline", ns::MUC_USER).is_some()) =>
                {
                    self.tally.declined += 1
                }
                None => self.refuse(stanza, "not-acceptable"),
            },
            (StanzaKind::Iq, Some("get" | "set")) => self.asks(room, stanza, own, nick),
            _ => {}
        }
        self.settle();
    }

    fn refuse(&mut self, stanza: &Stanza, condition: &'static str) {
        let (Some(from), Some(to)) = (stanza.from(), stanza.to()) else { return };
        let error = Element::new("error", ns::COMPONENT)
            .with("type", "cancel")
            .with_child(Element::new(condition, "urn:ietf:params:xml:ns:xmpp-stanzas"));
        let mut answer = Stanza::new(stanza.kind, to, from).with_type("error").with_child(error);
        if let Some(id) = stanza.id() {
            answer = answer.with_id(id);
        }
        self.stanza(answer, None);
    }

    /// Something goes to somebody in a room.
    pub fn deliver(&mut self, room: usize, to: &str, stanza: Stanza, given: Option<Given>) {
        if is_sip(to) && !self.is_linked() && self.bounces {
            self.bounced.push((room, to.to_owned()));
        } else if is_sip(to) {
            self.stanza(stanza, given);
        }
    }

    /// Who could not be reached is not there.
    pub fn settle(&mut self) {
        while let Some((room, to)) = self.bounced.pop() {
            if let Some(nick) = self.rooms[room].nick_of(&to) {
                self.leaves(room, &nick, &Parting { code: Some(333), ..Parting::default() });
            }
        }
    }

    fn presence(&mut self, room: usize, nick: &str, to: &str, gone: bool, x: Element) {
        let from = jid(&format!("{}/{nick}", self.rooms[room].jid));
        let mut stanza = Stanza::new(StanzaKind::Presence, &from, &jid(to)).with_child(x);
        if gone {
            stanza = stanza.with_type("unavailable");
        }
        self.deliver(room, to, stanza, None);
    }

    /// Somebody's presence goes to all of SIP.
    pub fn tell(&mut self, room: usize, nick: &str, gone: bool, item: &Element, codes: &[u16], own: &[u16]) {
        let of = self.rooms[room].occupants.get(nick).map(|occupant| occupant.jid.clone());
        for (_, to) in self.rooms[room].of_sip() {
            let own: &[u16] = if of.as_ref() == Some(&to) { own } else { &[] };
            self.presence(room, nick, &to, gone, inside_x(item.clone(), &[codes, own].concat()));
        }
    }

    fn enters(&mut self, room: usize, stanza: &Stanza, nick: &str) {
        let from = stanza.from().expect("a sender").to_string();
        let it = &self.rooms[room];
        let was_in = it.nick_of(&from).is_some();
        if !was_in {
            if it.banned.contains(bare(&from)) {
                return self.refuse(stanza, "forbidden");
            }
            if it.locked {
                return self.refuse(stanza, "item-not-found");
            }
            if it.occupants.contains_key(nick) {
                self.tally.conflicts += 1;
                return self.refuse(stanza, "conflict");
            }
        }
        let is_new = self.rooms[room].occupants.is_empty();
        self.tally.entered += 1;
        self.comes(room, nick, &from);
        self.rooms[room].locked |= is_new;
        let others: Vec<String> =
            self.rooms[room].occupants.keys().filter(|other| *other != nick).cloned().collect();
        for other in others {
            let item = self.rooms[room].item(&other);
            self.presence(room, &other, &from, false, inside_x(item, &[]));
        }
        let item = self.rooms[room].item(nick);
        let own: &[u16] = if is_new { &[110, 201] } else { &[110] };
        if was_in {
            self.presence(room, nick, &from, false, inside_x(item, own));
        } else {
            self.tell(room, nick, false, &item, &[], own);
        }
        let subject = self.rooms[room].subject.clone();
        let text = subject_told(&subject);
        let given = Given { text, order: None, needed: false, own: false };
        let from_room = jid(&self.rooms[room].jid);
        let message = Stanza::new(StanzaKind::Message, &from_room, &jid(&from)).with_type("groupchat");
        let message = message.with_child(Element::new("subject", ns::COMPONENT).with_text(&subject));
        self.deliver(room, &from, message, Some(given));
    }

    /// Somebody is in a room now.
    pub fn comes(&mut self, room: usize, nick: &str, from: &str) {
        self.named.insert((from.to_owned(), nick.to_owned()));
        let it = &mut self.rooms[room];
        let role = match it.occupants.get(nick) {
            Some(occupant) => occupant.role,
            None if it.occupants.is_empty() => "moderator",
            None => "participant",
        };
        if it.occupants.is_empty() {
            bare(from).clone_into(&mut it.owner);
        }
        it.occupants.insert(nick.to_owned(), Occupant { jid: from.to_owned(), role });
    }

    fn renames(&mut self, room: usize, stanza: &Stanza, own: &str, nick: String) {
        if self.rooms[room].occupants.contains_key(&nick) {
            self.tally.conflicts += 1;
            return self.refuse(stanza, "conflict");
        }
        let from = stanza.from().expect("a sender").to_string();
        self.named.insert((from, nick.clone()));
        self.takes(room, own, nick);
    }

    pub fn takes(&mut self, room: usize, own: &str, nick: String) {
        self.tally.renamed += 1;
        let item = self.rooms[room].item(own);
        self.tell(room, own, true, &item.clone().with("nick", &nick), &[303], &[110]);
        let occupant = self.rooms[room].occupants.remove(own).expect("it is there");
        self.rooms[room].occupants.insert(nick.clone(), occupant);
        self.tell(room, &nick, false, &item, &[], &[110]);
    }

    pub fn leaves(&mut self, room: usize, nick: &str, parting: &Parting) {
        let mut item = item("none", "none");
        if let Some(actor) = &parting.actor {
            item.push(Element::new("actor", ns::MUC_USER).with("nick", actor));
        }
        let codes: Vec<u16> = parting.code.into_iter().collect();
        let of = self.rooms[room].occupants.get(nick).map(|occupant| occupant.jid.clone());
        for (_, to) in self.rooms[room].of_sip() {
            let own: &[u16] = if of.as_ref() == Some(&to) { &[110] } else { &[] };
            let mut x = inside_x(item.clone(), &[&codes, own].concat());
            if let Some(other) = &parting.destroyed {
                x.push(Element::new("destroy", ns::MUC_USER).with("jid", other));
            }
            self.presence(room, nick, &to, true, x);
        }
        let it = &mut self.rooms[room];
        it.occupants.remove(nick);
        if it.occupants.is_empty() {
            let (banned, spoken) = (std::mem::take(&mut it.banned), it.spoken);
            *it = Room { jid: it.jid.clone(), banned, spoken, ..Room::new("") };
        }
    }

    /// Somebody in a room says something.
    fn says(&mut self, room: usize, stanza: &Stanza, own: &str, to_all: bool, nick: Option<String>) {
        let child = |name| stanza.element.child(name, ns::COMPONENT).map(Element::text);
        let is_visitor = self.rooms[room].occupants[own].role == "visitor";
        match (child("body"), child("subject")) {
            (Some(_), _) if to_all && is_visitor => self.refuse(stanza, "forbidden"),
            (None, Some(_)) if to_all && is_visitor => self.refuse(stanza, "forbidden"),
            (Some(text), _) if to_all => {
                self.talks(room, own, &text, stanza.id().unwrap_or_default());
            }
            (None, Some(text)) if to_all => self.subject(room, own, &text, stanza.id().unwrap_or_default()),
            (Some(text), _) => {
                let nick = nick.unwrap_or_default();
                if !self.rooms[room].occupants.contains_key(&nick) {
                    return self.refuse(stanza, "item-not-found");
                }
                if let Some(line) = self.lines.get_mut(&text) {
                    line.passed += 1;
                }
                self.tally.whispered += 1;
                self.whispers(room, own, &nick, &text, stanza.id().unwrap_or_default());
            }
            _ => {
                let invite =
                    stanza.element.child("x", ns::MUC_USER).and_then(|x| x.child("invite", ns::MUC_USER));
                if let Some(to) = invite.and_then(|invite| invite.attr("to")) {
                    let (to, by) = (to.to_owned(), stanza.from().expect("a sender").to_string());
                    self.invites(room, &by, &to);
                }
            }
        }
    }

    pub fn talks(&mut self, room: usize, nick: &str, text: &str, id: &str) {
        let order = self.rooms[room].spoken;
        self.rooms[room].spoken += 1;
        if let Some(line) = self.lines.get_mut(text) {
            line.orders.push(order);
        }
        self.tally.said += 1;
        self.spread(room, nick, Some(order), text.to_owned(), id, "body", text);
    }

    pub fn subject(&mut self, room: usize, nick: &str, text: &str, id: &str) {
        if self.rooms[room].subject == text {
            return;
        }
        self.rooms[room].subject = text.to_owned();
        self.tally.subjects += 1;
        let told = subject_told(text);
        if let Some(line) = self.lines.get_mut(&told) {
            line.orders.push(0);
        }
        self.spread(room, nick, None, told, id, "subject", text);
    }

    #[allow(clippy::too_many_arguments, reason = "what a message has")]
    fn spread(
        &mut self,
        room: usize,
        nick: &str,
        order: Option<u64>,
        told: String,
        id: &str,
        name: &'static str,
        text: &str,
    ) {
        let from = jid(&format!("{}/{nick}", self.rooms[room].jid));
        let by = self.rooms[room].occupants.get(nick).map(|occupant| occupant.jid.clone());
        for (_, to) in self.rooms[room].of_sip() {
            let message =
                Stanza::new(StanzaKind::Message, &from, &jid(&to)).with_type("groupchat").with_id(id);
            let message = message.with_child(Element::new(name, ns::COMPONENT).with_text(text));
            let own = by.as_ref() == Some(&to);
            let given = Given { text: told.clone(), order, needed: !own, own };
            self.deliver(room, &to, message, Some(given));
        }
    }

    pub fn whispers(&mut self, room: usize, nick: &str, to: &str, text: &str, id: &str) {
        let target = self.rooms[room].occupants[to].jid.clone();
        let from = jid(&format!("{}/{nick}", self.rooms[room].jid));
        let message = Stanza::new(StanzaKind::Message, &from, &jid(&target)).with_type("chat").with_id(id);
        let message = message
            .with_child(Element::new("body", ns::COMPONENT).with_text(text))
            .with_child(Element::new("x", ns::MUC_USER));
        let takes = self.calls.iter().any(|call| call.private && call.jid.as_deref() == Some(&target));
        let given = Given { text: text.to_owned(), order: None, needed: takes, own: !takes };
        self.deliver(room, &target, message, Some(given));
    }

    fn asks(&mut self, room: usize, stanza: &Stanza, own: Option<String>, nick: Option<String>) {
        let Some(own) = own else { return self.refuse(stanza, "not-acceptable") };
        let child = |name, ns| stanza.element.child(name, ns);
        let expelled = child("query", ns::MUC_ADMIN).and_then(|query| query.child("item", ns::MUC_ADMIN));
        if nick == Some(own.clone()) && child("ping", ns::PING).is_some() {
            self.tally.pings += 1;
        } else if child("ping", ns::PING).is_some()
            && nick.is_some_and(|nick| !self.rooms[room].occupants.contains_key(&nick))
        {
            // Also after a nick of its own that has changed (XEP-0410 §3.2).
            return self.refuse(stanza, "item-not-found");
        } else if let Some(query) = child("query", ns::MUC_OWNER) {
            return self.configures(room, stanza, query);
        } else if let Some(whom) = expelled.and_then(|item| item.attr("nick")) {
            if self.rooms[room].occupants[&own].role != "moderator" {
                return self.refuse(stanza, "forbidden");
            }
            if !self.rooms[room].occupants.contains_key(whom) {
                return self.refuse(stanza, "item-not-found");
            }
            self.tally.expelled += 1;
            let (whom, actor) = (whom.to_owned(), Some(own));
            self.leaves(room, &whom, &Parting { code: Some(307), actor, ..Parting::default() });
        } else {
            return self.refuse(stanza, "service-unavailable");
        }
        self.stanza(stanza.result().expect("a question"), None);
    }

    /// An owner asks for the configuration of a room, or gives one.
    fn configures(&mut self, room: usize, stanza: &Stanza, query: &Element) {
        let it = &mut self.rooms[room];
        if stanza.from().is_none_or(|from| from.bare_str() != it.owner) {
            return self.refuse(stanza, "forbidden");
        }
        let mut answer = stanza.result().expect("a question");
        let field = |value| {
            let value = Element::new("value", ns::DATA).with_text(value);
            Element::new("field", ns::DATA).with("var", "muc#roomconfig_roomname").with_child(value)
        };
        match query.child("x", ns::DATA) {
            None => {
                let form = Element::new("x", ns::DATA).with("type", "form").with_child(field(&it.jid));
                answer = answer.with_child(Element::new("query", ns::MUC_OWNER).with_child(form));
            }
            Some(form) if !it.locked && !form.children().any(|child| *child == field(&it.jid)) => {
                self.wrong(format!("the configuration of a room is taken back: {}", stanza.to_xml()));
            }
            Some(_) => it.locked = false,
        }
        self.stanza(answer, None);
    }

    pub fn invites(&mut self, room: usize, by: &str, to: &str) {
        self.tally.invited += 1;
        if let Some(native) = to.strip_prefix("juliet").and_then(|rest| rest.split('@').next()?.parse().ok())
        {
            let wait = self.course.below(3_000);
            self.course.after(wait, Event::Comes(native, room));
        } else if is_sip(to) {
            let invite = Element::new("invite", ns::MUC_USER).with("from", by);
            let x = Element::new("x", ns::MUC_USER).with_child(invite);
            let message =
                Stanza::new(StanzaKind::Message, &jid(&self.rooms[room].jid), &jid(to)).with_child(x);
            self.stanza(message, None);
        }
    }
}
