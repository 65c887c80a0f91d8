//! Rooms as XEP-0045 has them, seen by an occupant: what a room says, read; what is said to one, built. The other way
//! round, as a room itself sees it, it is in [`request`] and [`room`].
//!
//! Read loosely: a stanza says as much as can be understood of it. What a role or a status code means to anybody is not
//! decided here. Besides: direct invitations (XEP-0249), occupant ids (XEP-0421), stanza ids (XEP-0359), the ping of one's
//! own occupant (XEP-0410). Not read: forms, registration, requests for voice.

use self::request::History;
use super::jid::Jid;
use super::ns;
use super::stanza::{Element, Stanza, StanzaError, StanzaKind};
use crate::words::condition::Kind;

pub mod nick;
pub mod request;
pub mod room;

/// More codes of one stanza are not looked at: there are not so many.
const STATUSES: usize = 32;

/// What somebody may do in the room now (§5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Not in it.
    #[default]
    None,
    /// May only listen.
    Visitor,
    /// May speak.
    Participant,
    /// May expel.
    Moderator,
}

/// What somebody is to the room for ever (§5.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Affiliation {
    /// Banned.
    Outcast,
    /// Nobody in particular.
    #[default]
    None,
    /// On the list of a members-only room.
    Member,
    /// Decides on members.
    Admin,
    /// Decides on everything.
    Owner,
}

/// An occupant, as one presence has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Occupant {
    /// The name in the room.
    pub nick: String,
    /// Now.
    pub role: Role,
    /// For ever.
    pub affiliation: Affiliation,
    /// Who it is, where we may know.
    pub jid: Option<Jid>,
    /// XEP-0421: the same under every nick.
    pub id: Option<String>,
}

/// Where a destroyed room went on (§10.9).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destroyed {
    /// The other room.
    pub to: Option<Jid>,
    /// Why.
    pub reason: Option<String>,
}

/// Why somebody is not in the room any more, or not under that nick.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Departure {
    /// The new nick, where it is only a change of nick (303).
    pub nick: Option<String>,
    /// Who did it.
    pub actor: Option<String>,
    /// What they said to it.
    pub reason: Option<String>,
    /// The room is no more.
    pub destroyed: Option<Destroyed>,
    /// What somebody said who left.
    pub status: Option<String>,
}

/// A presence of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Somebody is in it, and so.
    Here(Occupant, Codes),
    /// Somebody is not in it any more.
    Gone(Occupant, Codes, Box<Departure>),
    /// What we wanted is refused.
    Refused(StanzaError),
}

/// Status codes (§15.6).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Codes(Vec<u16>);

impl Codes {
    /// Everybody sees who everybody is.
    pub const OPEN: u16 = 100;
    /// It is about ourselves.
    pub const SELF: u16 = 110;
    /// The room is new, and locked.
    pub const CREATED: u16 = 201;
    /// The room chose another nick for us.
    pub const RENAMED: u16 = 210;
    /// A change of nick.
    pub const NICK: u16 = 303;

    /// Whether it is among them.
    pub fn has(&self, code: u16) -> bool {
        self.0.contains(&code)
    }

    /// All of them, in the order of the stanza.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.0.iter().copied()
    }
}

/// A message of a room, or of somebody in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The subject is this now.
    Subject(String),
    /// Somebody said something to all.
    Line(Line),
    /// Somebody said something to us alone.
    Private(Line),
    /// Somebody types, or stops, to us alone: the name of a chat state (XEP-0085).
    State(String),
    /// Somebody asks us in (§7.8.2).
    Invitation(Invitation),
    /// Somebody does not want to come.
    Declined {
        /// Who.
        by: Option<Jid>,
        /// What they say.
        reason: Option<String>,
    },
    /// It does not take what we sent.
    Refused(StanzaError),
    /// Nothing for people: a change of configuration, a chat state to all.
    Nothing,
}

/// What was said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// The text.
    pub body: String,
    /// Its language.
    pub lang: Option<String>,
    /// When it was said, if that is long ago (XEP-0203), as it is written.
    pub stamp: Option<String>,
}

/// An invitation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// To which room.
    pub room: Jid,
    /// By whom.
    pub by: Option<Jid>,
    /// Why.
    pub reason: Option<String>,
    /// What opens it.
    pub password: Option<String>,
    /// The room itself has asked (§7.8.2), and can be told no.
    pub mediated: bool,
}

/// Reads a presence that comes from a room.
pub fn presence(stanza: &Stanza) -> Option<Presence> {
    let from = stanza.from().filter(|_| stanza.kind == StanzaKind::Presence)?;
    if stanza.type_() == Some("error") {
        return Some(Presence::Refused(error_of(stanza)));
    }
    let x = stanza.element.child("x", ns::MUC_USER);
    let codes = x.map(codes_of).unwrap_or_default();
    let item = x.and_then(|x| x.child("item", ns::MUC_USER));
    let occupant = Occupant {
        nick: from.resource().unwrap_or_default().to_owned(),
        role: item.and_then(|item| role(item.attr("role")?)).unwrap_or_default(),
        affiliation: item.and_then(|item| affiliation(item.attr("affiliation")?)).unwrap_or_default(),
        jid: item.and_then(|item| Jid::parse(item.attr("jid")?).ok()),
        id: stanza
            .element
            .child("occupant-id", ns::OCCUPANT_ID)
            .and_then(|id| id.attr("id"))
            .filter(|id| !id.is_empty())
            .map(str::to_owned),
    };
    match stanza.type_() {
        None => {
            // A role that nobody wrote is that of somebody who is there.
            let role = if occupant.role == Role::None { Role::Participant } else { occupant.role };
            Some(Presence::Here(Occupant { role, ..occupant }, codes))
        }
        Some("unavailable") => {
            let text = |name| item.and_then(|item| text_in(item, name));
            let actor = item.and_then(|item| item.child("actor", ns::MUC_USER));
            let actor = actor.and_then(|actor| actor.attr("nick").or(actor.attr("jid")));
            let new = item.and_then(|item| item.attr("nick")).filter(|_| codes.has(Codes::NICK));
            let destroyed = x.and_then(|x| x.child("destroy", ns::MUC_USER)).map(|destroy| Destroyed {
                to: destroy.attr("jid").and_then(|jid| Jid::parse(jid).ok()),
                reason: text_in(destroy, "reason"),
            });
            let status = stanza.element.child("status", ns::COMPONENT).map(Element::text);
            let departure = Departure {
                nick: new.map(str::to_owned),
                actor: actor.map(str::to_owned),
                reason: text("reason"),
                destroyed,
                status: status.filter(|status| !status.is_empty()),
            };
            Some(Presence::Gone(occupant, codes, Box::new(departure)))
        }
        _ => None,
    }
}

/// Reads a message that comes from a room or from somebody in it.
pub fn message(stanza: &Stanza) -> Message {
    let element = &stanza.element;
    let Some(from) = stanza.from() else { return Message::Nothing };
    match stanza.type_() {
        Some("error") => return Message::Refused(error_of(stanza)),
        Some("groupchat") => {}
        _ if from.is_bare() => return asked(stanza).unwrap_or(Message::Nothing),
        _ => {
            return match line(element) {
                Some(line) => Message::Private(line),
                None => {
                    let state = element.children().find(|child| child.ns() == ns::CHAT_STATES);
                    state.map_or(Message::Nothing, |state| Message::State(state.name().to_owned()))
                }
            };
        }
    }
    let body = element.child("body", ns::COMPONENT);
    let thread = element.child("thread", ns::COMPONENT);
    match element.child("subject", ns::COMPONENT) {
        Some(subject) if body.is_none() && thread.is_none() => Message::Subject(subject.text()),
        _ => line(element).map_or(Message::Nothing, Message::Line),
    }
}

/// The text of a message, where there is one. Of several languages the first counts.
fn line(element: &Element) -> Option<Line> {
    let body = element.child("body", ns::COMPONENT)?;
    let text = body.text();
    let delay = element.child("delay", ns::DELAY).and_then(|delay| delay.attr("stamp"));
    (!text.is_empty()).then(|| Line {
        body: text,
        lang: body.lang().or(element.lang()).map(str::to_owned),
        stamp: delay.map(str::to_owned),
    })
}

/// The id that the room itself has given a message (XEP-0359).
pub fn stanza_id(stanza: &Stanza) -> Option<&str> {
    let room = stanza.from()?.bare_str();
    let ids = stanza.element.children().filter(|child| child.is("stanza-id", ns::STANZA_ID));
    ids.filter(|id| id.attr("by") == Some(room)).find_map(|id| id.attr("id"))
}

/// What a room asks of somebody who is not in it.
fn asked(stanza: &Stanza) -> Option<Message> {
    let x = stanza.element.child("x", ns::MUC_USER)?;
    if let Some(decline) = x.child("decline", ns::MUC_USER) {
        let by = decline.attr("from").and_then(|jid| Jid::parse(jid).ok());
        return Some(Message::Declined { by, reason: text_in(decline, "reason") });
    }
    let invite = x.child("invite", ns::MUC_USER)?;
    Some(Message::Invitation(Invitation {
        room: stanza.from()?.bare(),
        by: invite.attr("from").and_then(|jid| Jid::parse(jid).ok()),
        reason: text_in(invite, "reason"),
        password: text_in(x, "password"),
        mediated: true,
    }))
}

/// Reads a direct invitation (XEP-0249) in a message of anybody's.
pub fn direct_invitation(stanza: &Stanza) -> Option<Invitation> {
    if stanza.kind != StanzaKind::Message || matches!(stanza.type_(), Some("error" | "groupchat")) {
        return None;
    }
    let x = stanza.element.child("x", ns::CONFERENCE)?;
    let some = |name| x.attr(name).filter(|value| !value.is_empty()).map(str::to_owned);
    Some(Invitation {
        room: Jid::parse(x.attr("jid")?).ok().filter(Jid::is_bare)?,
        by: stanza.from().cloned(),
        reason: some("reason"),
        password: some("password"),
        mediated: false,
    })
}

/// What the answer to a ping of our own occupant says (XEP-0410 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pinged {
    /// We are in the room.
    In,
    /// We are not.
    Out,
    /// Nobody knows: the way there is broken.
    Unknown,
    /// Nobody has this nick: ours has just changed (§3.2), or there is no such room any more, which servers answer so too.
    Nobody,
}

/// Reads the answer to a ping of our own occupant.
pub fn pinged(answer: &Stanza) -> Pinged {
    if answer.type_() == Some("result") {
        return Pinged::In;
    }
    match error_of(answer).kind {
        Kind::ServiceUnavailable | Kind::FeatureNotImplemented => Pinged::In,
        Kind::ItemNotFound => Pinged::Nobody,
        Kind::RemoteServerNotFound | Kind::RemoteServerTimeout => Pinged::Unknown,
        _ => Pinged::Out,
    }
}

/// Enters a room under the nick of `occupant`, and asks for these old lines.
pub fn enter(own: &Jid, occupant: &Jid, password: Option<&str>, history: &History) -> Stanza {
    let mut lines = Element::new("history", ns::MUC);
    for (name, number) in [("seconds", history.seconds), ("maxstanzas", history.lines)] {
        if let Some(number) = number {
            lines.set(name, &number.to_string());
        }
    }
    let mut x = Element::new("x", ns::MUC).with_child(lines);
    if let Some(password) = password {
        x.push(Element::new("password", ns::MUC).with_text(password));
    }
    Stanza::new(StanzaKind::Presence, own, occupant).with_child(x)
}

/// Takes another nick.
pub fn rename(own: &Jid, occupant: &Jid) -> Stanza {
    Stanza::new(StanzaKind::Presence, own, occupant)
}

/// Leaves.
pub fn leave(own: &Jid, occupant: &Jid, status: Option<&str>) -> Stanza {
    let stanza = Stanza::new(StanzaKind::Presence, own, occupant).with_type("unavailable");
    match status {
        Some(status) => stanza.with_child(Element::new("status", ns::COMPONENT).with_text(status)),
        None => stanza,
    }
}

/// A message to all, or, to an occupant, to one alone (§7.5: with an empty `<x/>`).
pub fn say(own: &Jid, to: &Jid, id: &str) -> Stanza {
    let stanza = Stanza::new(StanzaKind::Message, own, to).with_id(id);
    if to.is_bare() {
        stanza.with_type("groupchat")
    } else {
        stanza.with_type("chat").with_child(Element::new("x", ns::MUC_USER))
    }
}

/// Accepts the default configuration of a new room: it is unlocked (§10.1.2).
pub fn unlock(own: &Jid, room: &Jid, id: &str) -> Stanza {
    configure(own, room, id, Element::new("x", ns::DATA).with("type", "submit"))
}

/// Asks how a room is configured (§10.2).
pub fn configuration(own: &Jid, room: &Jid, id: &str) -> Stanza {
    let query = Element::new("query", ns::MUC_OWNER);
    Stanza::new(StanzaKind::Iq, own, room).with_type("get").with_id(id).with_child(query)
}

/// Accepts the configuration that a room has told: it is unlocked where it was locked, and stays as it is in any case.
pub fn unlock_as(own: &Jid, room: &Jid, id: &str, told: &Stanza) -> Stanza {
    let mut form = Element::new("x", ns::DATA).with("type", "submit");
    let query = told.element.child("query", ns::MUC_OWNER);
    let fields = query.and_then(|query| query.child("x", ns::DATA)).into_iter().flat_map(Element::children);
    for field in fields.filter(|field| field.is("field", ns::DATA)) {
        let values: Vec<_> = field.children().filter(|child| child.is("value", ns::DATA)).collect();
        // One without a value keeps none, or is a heading.
        let Some(var) = field.attr("var").filter(|_| !values.is_empty()) else { continue };
        let mut same = Element::new("field", ns::DATA).with("var", var);
        for value in values {
            same.push(Element::new("value", ns::DATA).with_text(&value.text()));
        }
        form.push(same);
    }
    configure(own, room, id, form)
}

/// Gives a room a filled form of its configuration.
fn configure(own: &Jid, room: &Jid, id: &str, form: Element) -> Stanza {
    let query = Element::new("query", ns::MUC_OWNER).with_child(form);
    Stanza::new(StanzaKind::Iq, own, room).with_type("set").with_id(id).with_child(query)
}

/// Expels somebody (§8.2).
pub fn expel(own: &Jid, room: &Jid, id: &str, nick: &str, reason: Option<&str>) -> Stanza {
    let mut item = Element::new("item", ns::MUC_ADMIN).with("nick", nick).with("role", "none");
    if let Some(reason) = reason {
        item.push(Element::new("reason", ns::MUC_ADMIN).with_text(reason));
    }
    let query = Element::new("query", ns::MUC_ADMIN).with_child(item);
    Stanza::new(StanzaKind::Iq, own, room).with_type("set").with_id(id).with_child(query)
}

/// Asks somebody in, through the room (§7.8.2).
pub fn invite(own: &Jid, room: &Jid, id: &str, whom: &Jid, reason: Option<&str>) -> Stanza {
    let mut invite = Element::new("invite", ns::MUC_USER).with("to", whom.as_str());
    if let Some(reason) = reason {
        invite.push(Element::new("reason", ns::MUC_USER).with_text(reason));
    }
    let x = Element::new("x", ns::MUC_USER).with_child(invite);
    Stanza::new(StanzaKind::Message, own, room).with_id(id).with_child(x)
}

/// Says no to an invitation that came through the room (§7.8.2). Some rooms do not tell who asks, but under which nick: such
/// an address is meant whole.
pub fn decline(own: &Jid, room: &Jid, inviter: &Jid, reason: Option<&str>) -> Stanza {
    let to = if inviter.bare_str() == room.bare_str() { inviter.as_str() } else { inviter.bare_str() };
    let mut decline = Element::new("decline", ns::MUC_USER).with("to", to);
    if let Some(reason) = reason {
        decline.push(Element::new("reason", ns::MUC_USER).with_text(reason));
    }
    let x = Element::new("x", ns::MUC_USER).with_child(decline);
    Stanza::new(StanzaKind::Message, own, room).with_child(x)
}

/// Asks whether we are in the room still (XEP-0410).
pub fn ping(own: &Jid, occupant: &Jid, id: &str) -> Stanza {
    let ping = Element::new("ping", ns::PING);
    Stanza::new(StanzaKind::Iq, own, occupant).with_type("get").with_id(id).with_child(ping)
}

fn role(name: &str) -> Option<Role> {
    Some(match name {
        "none" => Role::None,
        "visitor" => Role::Visitor,
        "participant" => Role::Participant,
        "moderator" => Role::Moderator,
        _ => return None,
    })
}

fn affiliation(name: &str) -> Option<Affiliation> {
    Some(match name {
        "none" => Affiliation::None,
        "outcast" => Affiliation::Outcast,
        "member" => Affiliation::Member,
        "admin" => Affiliation::Admin,
        "owner" => Affiliation::Owner,
        _ => return None,
    })
}

fn codes_of(x: &Element) -> Codes {
    let all = x.children().filter(|child| child.is("status", ns::MUC_USER));
    Codes(all.filter_map(|status| status.attr("code")?.trim().parse().ok()).take(STATUSES).collect())
}

fn text_in(element: &Element, name: &str) -> Option<String> {
    let text = element.child(name, ns::MUC_USER)?.text();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn error_of(stanza: &Stanza) -> StanzaError {
    let unknown = StanzaError { kind: Kind::UndefinedCondition, text: None, redirect: None };
    stanza.stanza_error().unwrap_or(unknown)
}

#[cfg(test)]
mod tests;
