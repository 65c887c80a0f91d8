//! What a room says (XEP-0045), built: who is there, what is said, and why not.
//!
//! Whatever comes of an occupant has its occupant id (XEP-0421) where there is one, and a line has the id that the room
//! gave it (XEP-0359). Whom a stanza is for, and who may see whose address, is for the room to know.

use super::{Affiliation, Departure, Line, Occupant, Role};
use crate::words::condition::Kind;
use crate::xmpp::jid::Jid;
use crate::xmpp::ns;
use crate::xmpp::stanza::{Element, ErrorType, Stanza, StanzaKind};

/// What a room adds to what somebody said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks<'a> {
    /// Who it was, under whatever nick (XEP-0421).
    pub occupant: Option<&'a str>,
    /// The room's own id of it (XEP-0359).
    pub stanza: Option<&'a str>,
}

/// Somebody is in the room, and so. `from` is the address in the room.
pub fn here(from: &Jid, to: &Jid, who: &Occupant, codes: &[u16]) -> Stanza {
    let item = item(who, who.role);
    presence(from, to, who.id.as_deref(), user(Some(item), codes))
}

/// Somebody is not in the room any more, or has another nick now (303). Who did it and what they said is told where
/// `departure` has it, and where the room went.
pub fn gone(from: &Jid, to: &Jid, who: &Occupant, codes: &[u16], departure: &Departure) -> Stanza {
    // Who only changes the nick keeps the role (§7.6).
    let role = if departure.nick.is_some() { who.role } else { Role::None };
    let mut item = item(who, role);
    if let Some(nick) = &departure.nick {
        item.set("nick", nick);
    }
    if let Some(actor) = &departure.actor {
        item.push(Element::new("actor", ns::MUC_USER).with("nick", actor));
    }
    if let Some(reason) = &departure.reason {
        item.push(Element::new("reason", ns::MUC_USER).with_text(reason));
    }
    let mut x = user(Some(item), codes);
    if let Some(destroyed) = &departure.destroyed {
        let mut destroy = Element::new("destroy", ns::MUC_USER);
        if let Some(to) = &destroyed.to {
            destroy.set("jid", to.as_str());
        }
        if let Some(reason) = &destroyed.reason {
            destroy.push(Element::new("reason", ns::MUC_USER).with_text(reason));
        }
        x.push(destroy);
    }
    let mut stanza = presence(from, to, who.id.as_deref(), x).with_type("unavailable");
    if let Some(status) = &departure.status {
        stanza.element.push(Element::new("status", ns::COMPONENT).with_text(status));
    }
    stanza
}

/// Tells somebody who is not in the room, and who seems to think so, to enter anew (§7.2.18).
pub fn not_in(from: &Jid, to: &Jid) -> Stanza {
    let departure = Departure { reason: Some("You are not in the room.".to_owned()), ..Departure::default() };
    gone(from, to, &Occupant::default(), &[110, 307, 333], &departure)
}

/// The subject is this; an empty one says that there is none (§7.2.15, §8.1). It has neither body nor thread.
pub fn subject(from: &Jid, to: &Jid, id: &str, subject: &str, marks: Marks<'_>) -> Stanza {
    let subject = Element::new("subject", ns::COMPONENT).with_text(subject);
    marked(Stanza::new(StanzaKind::Message, from, to).with_type("groupchat").with_id(id), marks)
        .with_child(subject)
}

/// Somebody said something to all (§7.4); long ago, where the line has a stamp (§7.2.13).
pub fn line(from: &Jid, to: &Jid, id: &str, line: &Line, marks: Marks<'_>) -> Stanza {
    let stanza = Stanza::new(StanzaKind::Message, from, to).with_type("groupchat").with_id(id);
    let mut stanza = marked(said(stanza, line), marks);
    if let Some(stamp) = &line.stamp {
        let delay = Element::new("delay", ns::DELAY).with("from", from.bare_str()).with("stamp", stamp);
        stanza.element.push(delay);
    }
    stanza
}

/// What somebody said, as the room says it again to one who shall have it whole: with the same id and everything that was
/// in it, but nothing in it that only the room may say.
pub fn reflection(said: &Stanza, from: &Jid, to: &Jid, id: &str, marks: Marks<'_>) -> Stanza {
    let mut stanza = Stanza::new(StanzaKind::Message, from, to).with_type("groupchat").with_id(id);
    if let Some(lang) = said.element.lang() {
        stanza.element.set_lang(lang);
    }
    let is_by_room = |child: &Element, by| child.attr(by).is_some_and(|by| by == from.bare_str());
    for child in said.element.children() {
        let is_forged = match (child.name(), child.ns()) {
            ("occupant-id", ns::OCCUPANT_ID) => true,
            ("stanza-id", ns::STANZA_ID) => is_by_room(child, "by"),
            ("delay", ns::DELAY) => is_by_room(child, "from"),
            (_, namespace) => namespace == ns::MUC_USER,
        };
        if !is_forged {
            stanza.element.push(child.clone());
        }
    }
    marked(stanza, marks)
}

/// Somebody said something to one alone (§7.5).
pub fn private(from: &Jid, to: &Jid, id: &str, line: &Line, occupant: Option<&str>) -> Stanza {
    let stanza = Stanza::new(StanzaKind::Message, from, to).with_type("chat").with_id(id);
    let stanza = said(stanza, line).with_child(user(None, &[]));
    marked(stanza, Marks { occupant, stanza: None })
}

/// Somebody types to one alone, or stops (XEP-0085): a state by its name.
pub fn state(from: &Jid, to: &Jid, state: &str, occupant: Option<&str>) -> Stanza {
    let stanza = Stanza::new(StanzaKind::Message, from, to)
        .with_type("chat")
        .with_child(Element::new(state.to_owned(), ns::CHAT_STATES))
        .with_child(user(None, &[]));
    marked(stanza, Marks { occupant, stanza: None })
}

/// Something about the room itself has changed (104), or must be known of it: a message of nothing but codes (§10.2.1).
pub fn notice(room: &Jid, to: &Jid, id: &str, codes: &[u16]) -> Stanza {
    let stanza = Stanza::new(StanzaKind::Message, room, to).with_type("groupchat").with_id(id);
    stanza.with_child(user(None, codes))
}

/// Somebody asks one in, by the room (§7.8.2).
pub fn invitation(room: &Jid, to: &Jid, id: &str, by: &Jid, reason: Option<&str>) -> Stanza {
    asked(room, to, Element::new("invite", ns::MUC_USER).with("from", by.as_str()), reason).with_id(id)
}

/// Somebody who was asked in says no (§7.8.2).
pub fn declined(room: &Jid, to: &Jid, id: &str, by: &Jid, reason: Option<&str>) -> Stanza {
    asked(room, to, Element::new("decline", ns::MUC_USER).with("from", by.as_str()), reason).with_id(id)
}

/// The error that answers a stanza to the room or to somebody in it: `by` the room, and for presence with the `<x/>` that
/// shows that it was about entering. Nothing if it is one that is never answered by an error.
pub fn refusal(stanza: &Stanza, kind: Kind, type_: ErrorType, text: Option<&str>) -> Option<Stanza> {
    let room = stanza.to()?.bare();
    let mut answer = stanza.error(kind, type_, text, None)?;
    let error = answer.element.child("error", ns::COMPONENT)?.clone().with("by", room.as_str());
    answer.element.retain(|child| !child.is("error", ns::COMPONENT));
    if stanza.kind == StanzaKind::Presence {
        answer.element.push(Element::new("x", ns::MUC));
    }
    Some(answer.with_child(error))
}

/// A list of people, in answer to who asks for one (§8.5, §9.4).
pub fn people<'a>(asked: &Stanza, people: impl Iterator<Item = &'a Occupant>) -> Option<Stanza> {
    let mut query = Element::new("query", ns::MUC_ADMIN);
    for who in people {
        let mut item = Element::new("item", ns::MUC_ADMIN)
            .with("affiliation", affiliation_name(who.affiliation))
            .with("nick", &who.nick)
            .with("role", role_name(who.role));
        if let Some(jid) = &who.jid {
            item.set("jid", jid.as_str());
        }
        query.push(item);
    }
    Some(asked.result()?.with_child(query))
}

/// The word for a role.
pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::None => "none",
        Role::Visitor => "visitor",
        Role::Participant => "participant",
        Role::Moderator => "moderator",
    }
}

/// The word for an affiliation.
pub fn affiliation_name(affiliation: Affiliation) -> &'static str {
    match affiliation {
        Affiliation::None => "none",
        Affiliation::Outcast => "outcast",
        Affiliation::Member => "member",
        Affiliation::Admin => "admin",
        Affiliation::Owner => "owner",
    }
}

/// Whether an error says that who should have had a stanza is not there (Ghost Users).
pub fn is_ghost(error: &super::StanzaError) -> bool {
    matches!(
        error.kind,
        Kind::Gone
            | Kind::ItemNotFound
            | Kind::RecipientUnavailable
            | Kind::Redirect
            | Kind::RemoteServerNotFound
            | Kind::RemoteServerTimeout
    )
}

fn presence(from: &Jid, to: &Jid, occupant: Option<&str>, x: Element) -> Stanza {
    let stanza = Stanza::new(StanzaKind::Presence, from, to).with_child(x);
    marked(stanza, Marks { occupant, stanza: None })
}

fn item(who: &Occupant, role: Role) -> Element {
    let mut item = Element::new("item", ns::MUC_USER)
        .with("affiliation", affiliation_name(who.affiliation))
        .with("role", role_name(role));
    if let Some(jid) = &who.jid {
        item.set("jid", jid.as_str());
    }
    item
}

fn user(item: Option<Element>, codes: &[u16]) -> Element {
    let mut x = Element::new("x", ns::MUC_USER);
    item.into_iter().for_each(|item| x.push(item));
    for code in codes {
        x.push(Element::new("status", ns::MUC_USER).with("code", &code.to_string()));
    }
    x
}

fn said(mut stanza: Stanza, line: &Line) -> Stanza {
    if let Some(lang) = &line.lang {
        stanza.element.set_lang(lang);
    }
    stanza.with_child(Element::new("body", ns::COMPONENT).with_text(&line.body))
}

fn marked(mut stanza: Stanza, marks: Marks<'_>) -> Stanza {
    if let Some(id) = marks.occupant {
        stanza.element.push(Element::new("occupant-id", ns::OCCUPANT_ID).with("id", id));
    }
    if let Some(id) = marks.stanza {
        let room = stanza.from().map(|from| from.bare_str().to_owned()).unwrap_or_default();
        stanza.element.push(Element::new("stanza-id", ns::STANZA_ID).with("by", &room).with("id", id));
    }
    stanza
}

fn asked(room: &Jid, to: &Jid, mut what: Element, reason: Option<&str>) -> Stanza {
    if let Some(reason) = reason {
        what.push(Element::new("reason", ns::MUC_USER).with_text(reason));
    }
    let x = Element::new("x", ns::MUC_USER).with_child(what);
    Stanza::new(StanzaKind::Message, room, to).with_child(x)
}

#[cfg(test)]
mod tests {
    use super::super::tests::stanza;
    use super::super::{Codes, Destroyed, Message, Presence, StanzaError, message};
    use super::*;

    fn jid(text: &str) -> Jid {
        Jid::parse(text).expect("a JID")
    }

    fn juliet() -> Jid {
        jid("juliet@example.com/x")
    }

    fn room() -> Jid {
        jid("verona@conference.example.net")
    }

    fn romeo() -> Jid {
        jid("verona@conference.example.net/Romeo")
    }

    fn occupant() -> Occupant {
        Occupant {
            nick: "Romeo".into(),
            role: Role::Participant,
            affiliation: Affiliation::None,
            jid: Some(jid("romeo@example.net")),
            id: Some("dd72".into()),
        }
    }

    #[test]
    fn an_occupant_is_shown_with_what_there_is_of_it() {
        let shown = here(&romeo(), &juliet(), &occupant(), &[100, 110]);
        assert_eq!(
            shown.to_xml(),
            "<presence from='verona@conference.example.net/Romeo' to='juliet@example.com/x'>\
             <x xmlns='http://jabber.org/protocol/muc#user'>\
             <item affiliation='none' role='participant' jid='romeo@example.net'/>\
             <status code='100'/><status code='110'/></x>\
             <occupant-id xmlns='urn:xmpp:occupant-id:0' id='dd72'/></presence>"
        );
        let read = super::super::presence(&shown);
        assert!(
            matches!(read, Some(Presence::Here(who, codes)) if who == occupant() && codes.has(Codes::SELF))
        );
    }

    #[test]
    fn who_is_expelled_learns_by_whom_and_why() {
        let departure = Departure {
            actor: Some("Nurse".into()),
            reason: Some("enough".into()),
            status: Some("bye".into()),
            ..Departure::default()
        };
        let shown = gone(&romeo(), &juliet(), &occupant(), &[307], &departure);
        let Some(Presence::Gone(who, codes, read)) = super::super::presence(&shown) else {
            panic!("{shown:?}")
        };
        assert_eq!((who.role, codes.has(307), *read), (Role::None, true, departure));
    }

    #[test]
    fn a_new_nick_is_told_and_the_role_kept() {
        let departure = Departure { nick: Some("Montague".into()), ..Departure::default() };
        let shown = gone(&romeo(), &juliet(), &occupant(), &[Codes::NICK], &departure);
        let Some(Presence::Gone(who, _, read)) = super::super::presence(&shown) else { panic!("{shown:?}") };
        assert_eq!((who.role, *read), (Role::Participant, departure));
    }

    #[test]
    fn a_room_that_is_no_more_says_where_it_went() {
        let destroyed =
            Destroyed { to: Some(jid("mantua@rooms.example.com")), reason: Some("plague".into()) };
        let departure = Departure { destroyed: Some(destroyed), ..Departure::default() };
        let shown = gone(&romeo(), &juliet(), &occupant(), &[], &departure);
        let Some(Presence::Gone(_, _, read)) = super::super::presence(&shown) else { panic!("{shown:?}") };
        assert_eq!(*read, departure);
    }

    #[test]
    fn who_is_not_in_is_told_to_enter() {
        let shown = not_in(&romeo(), &juliet());
        let Some(Presence::Gone(_, codes, read)) = super::super::presence(&shown) else {
            panic!("{shown:?}")
        };
        assert_eq!(codes.iter().collect::<Vec<_>>(), [110, 307, 333]);
        assert_eq!(read.reason.as_deref(), Some("You are not in the room."));
    }

    #[test]
    fn a_subject_comes_alone_also_where_there_is_none() {
        let told = subject(&room(), &juliet(), "s1", "Tonight", Marks::default());
        assert_eq!(message(&told), Message::Subject("Tonight".into()));
        let none = subject(&room(), &juliet(), "s1", "", Marks::default());
        assert_eq!(message(&none), Message::Subject(String::new()));
        assert_eq!(none.type_(), Some("groupchat"));
    }

    #[test]
    fn a_line_has_the_marks_of_the_room_and_an_old_one_its_time() {
        let said =
            Line { body: "Hi".into(), lang: Some("en".into()), stamp: Some("2026-01-01T00:00:00Z".into()) };
        let marks = Marks { occupant: Some("dd72"), stanza: Some("5f3d") };
        let told = line(&romeo(), &juliet(), "m1", &said, marks);
        assert_eq!(
            told.to_xml(),
            "<message from='verona@conference.example.net/Romeo' to='juliet@example.com/x' type='groupchat' \
             id='m1' xml:lang='en'><body>Hi</body><occupant-id xmlns='urn:xmpp:occupant-id:0' id='dd72'/>\
             <stanza-id xmlns='urn:xmpp:sid:0' by='verona@conference.example.net' id='5f3d'/>\
             <delay xmlns='urn:xmpp:delay' from='verona@conference.example.net' stamp='2026-01-01T00:00:00Z'/>\
             </message>"
        );
    }

    #[test]
    fn a_reflection_has_all_that_was_said_but_no_forged_mark() {
        let said = stanza(&format!(
            "<message from='juliet@example.com/x' to='verona@conference.example.net' type='groupchat' id='m1'>\
             <body>Hi</body><origin-id xmlns='urn:xmpp:sid:0' id='m1'/>\
             <stanza-id xmlns='urn:xmpp:sid:0' by='verona@conference.example.net' id='forged'/>\
             <stanza-id xmlns='urn:xmpp:sid:0' by='example.com' id='kept'/>\
             <occupant-id xmlns='urn:xmpp:occupant-id:0' id='forged'/><x xmlns='{}'/></message>",
            ns::MUC_USER
        ));
        let own = jid("verona@conference.example.net/Jule");
        let marks = Marks { occupant: Some("a"), stanza: Some("b") };
        assert_eq!(
            reflection(&said, &own, &juliet(), "m1", marks).to_xml(),
            "<message from='verona@conference.example.net/Jule' to='juliet@example.com/x' type='groupchat' \
             id='m1'><body>Hi</body><origin-id xmlns='urn:xmpp:sid:0' id='m1'/>\
             <stanza-id xmlns='urn:xmpp:sid:0' by='example.com' id='kept'/>\
             <occupant-id xmlns='urn:xmpp:occupant-id:0' id='a'/>\
             <stanza-id xmlns='urn:xmpp:sid:0' by='verona@conference.example.net' id='b'/></message>"
        );
    }

    #[test]
    fn what_is_private_is_marked_as_such() {
        let said = Line { body: "Psst".into(), ..Line::default() };
        let told = private(&romeo(), &juliet(), "m1", &said, Some("dd72"));
        assert!(told.element.child("x", ns::MUC_USER).is_some());
        assert!(matches!(message(&told), Message::Private(line) if line.body == "Psst"));
        let typing = state(&romeo(), &juliet(), "composing", None);
        assert_eq!(message(&typing), Message::State("composing".into()));
    }

    #[test]
    fn an_invitation_and_its_refusal_come_from_the_room() {
        let asked = invitation(&room(), &juliet(), "i1", &jid("romeo@example.net"), Some("Come"));
        let Message::Invitation(read) = message(&asked) else { panic!("{asked:?}") };
        assert_eq!((read.room, read.reason.as_deref()), (room(), Some("Come")));
        assert_eq!(read.by.expect("somebody"), jid("romeo@example.net"));
        let no = declined(&room(), &juliet(), "i2", &jid("romeo@example.net"), None);
        assert_eq!(message(&no), Message::Declined { by: Some(jid("romeo@example.net")), reason: None });
    }

    #[test]
    fn a_refusal_is_by_the_room_and_shows_what_it_is_about() {
        let joins = stanza(
            "<presence from='juliet@example.com/x' to='verona@conference.example.net/Jule' id='j1'>\
             <x xmlns='http://jabber.org/protocol/muc'/></presence>",
        );
        let refused = refusal(&joins, Kind::Conflict, ErrorType::Cancel, None).expect("an answer");
        assert_eq!(
            refused.to_xml(),
            "<presence from='verona@conference.example.net/Jule' to='juliet@example.com/x' type='error' id='j1'>\
             <x xmlns='http://jabber.org/protocol/muc'/><error type='cancel' by='verona@conference.example.net'>\
             <conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>"
        );
        assert_eq!(refusal(&refused, Kind::Conflict, ErrorType::Cancel, None), None);
    }

    #[test]
    fn only_errors_of_delivery_show_a_ghost() {
        let error = |kind| StanzaError { kind, text: None, redirect: None };
        assert!(is_ghost(&error(Kind::RecipientUnavailable)));
        assert!(!is_ghost(&error(Kind::NotAcceptable)));
    }
}
