//! What somebody asks of a room, or does in it, read by the room (XEP-0045 §7 to §10; the ping of XEP-0410).
//!
//! Read loosely, and without knowing who is in the room: whether presence without `<x/>` is a new nick or comes from
//! somebody who is not in (§7.2.18) is for the room to say. What is not about rooms (disco, vCards) is not read here. Not
//! read either: registration (§7.10), whose answer is the same whatever it says.

use super::{Affiliation, Line, Role, StanzaError, affiliation, error_of, line, role};
use crate::xmpp::jid::Jid;
use crate::xmpp::ns;
use crate::xmpp::stanza::{Element, Stanza, StanzaKind};

/// More people are not invited or changed by one stanza: it is refused.
const MOST: usize = 50;

/// The form of requests for voice, and of their approval (§7.13, §8.6).
const VOICE_FORM: &str = "http://jabber.org/protocol/muc#request";

/// What somebody wants of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// To enter (§7.2.2). From somebody who is in: to be told anew who is there, and perhaps another nick.
    Enter(Entry),
    /// To have this nick from now on (§7.6), or only to show another availability (§7.7) under it. Who is not in the room
    /// does not enter by it (§7.2.18).
    Present {
        /// The nick.
        nick: String,
    },
    /// To enter, but under no name (§7.2.1).
    NoNick,
    /// To leave (§7.14).
    Leave {
        /// The last words.
        status: Option<String>,
    },
    /// To say something to all (§7.4).
    Line(Line),
    /// To change the subject (§8.1); an empty one takes it away.
    Subject(String),
    /// To say something to one (§7.5).
    Private {
        /// To whom.
        nick: String,
        /// What.
        line: Line,
    },
    /// To show one that somebody types, or stops: the name of a chat state (XEP-0085).
    State {
        /// To whom.
        nick: String,
        /// What.
        state: String,
    },
    /// To ask others in (§7.8.2). At least one.
    Invite(Vec<Invited>),
    /// To say no to an invitation that came through the room (§7.8.2).
    Decline {
        /// To whom.
        to: Option<Jid>,
        /// Why.
        reason: Option<String>,
    },
    /// To be given voice, or to give it to who asked for it (§7.13, §8.6).
    Voice,
    /// What the room has sent could not be delivered (§14.6, Ghost Users).
    Bounced(StanzaError),
    /// Lists of people, and what they may do (§8 and §9).
    Admin(Admin),
    /// The room itself (§10).
    Owner(Owner),
    /// To know whether one is in it still, or whether that other is there (XEP-0410, XEP-0199).
    Ping {
        /// Who is asked.
        nick: String,
    },
    /// Nothing that is for people: a chat state to all, a receipt.
    Nothing,
    /// It cannot be meant so: it is a bad request, in these words.
    Wrong(&'static str),
}

/// How somebody would enter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Under which nick.
    pub nick: String,
    /// What opens the room.
    pub password: Option<String>,
    /// Which old lines are wanted.
    pub history: History,
}

/// Which old lines are wanted (§7.2.14): those that every part which is there allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// At most so many characters. Zero is how one says that none are wanted.
    pub characters: Option<u64>,
    /// At most so many lines.
    pub lines: Option<u64>,
    /// None that are older than so many seconds.
    pub seconds: Option<u64>,
    /// None from before this, as it is written (XEP-0082).
    pub since: Option<String>,
}

impl History {
    /// Whether nothing at all is wanted.
    pub fn is_none(&self) -> bool {
        [self.characters, self.lines, self.seconds].contains(&Some(0))
    }
}

/// Somebody who is asked in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invited {
    /// Who.
    pub whom: Jid,
    /// Why.
    pub reason: Option<String>,
}

/// See [`Request::Admin`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admin {
    /// Who has this role.
    WithRole(Role),
    /// Who has this affiliation.
    WithAffiliation(Affiliation),
    /// These people shall have other roles or affiliations. At least one.
    Change(Vec<Item>),
}

/// Somebody who shall be changed, by nick or by address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// The nick.
    pub nick: Option<String>,
    /// The address.
    pub jid: Option<Jid>,
    /// The new role; [`Role::None`] expels (§8.2).
    pub role: Option<Role>,
    /// The new affiliation; [`Affiliation::Outcast`] bans (§9.1).
    pub affiliation: Option<Affiliation>,
    /// Why.
    pub reason: Option<String>,
}

/// See [`Request::Owner`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The form of the configuration is asked for (§10.2).
    Form,
    /// The room is fine as it is (§10.1.2).
    Instant,
    /// It shall be otherwise.
    Configure,
    /// It shall not be changed after all.
    Cancel,
    /// It shall be no more (§10.9).
    Destroy {
        /// Where people can go.
        to: Option<Jid>,
        /// Why.
        reason: Option<String>,
    },
}

/// Reads what is said to a room, or to somebody in it. Nothing if it is not about rooms.
pub fn request(stanza: &Stanza) -> Option<Request> {
    let to = stanza.to()?;
    to.local()?;
    match stanza.kind {
        StanzaKind::Presence => presence(stanza, to),
        StanzaKind::Message => Some(message(stanza, to)),
        StanzaKind::Iq => query(stanza, to),
    }
}

fn presence(stanza: &Stanza, to: &Jid) -> Option<Request> {
    let nick = || to.resource().map(str::to_owned);
    match stanza.type_() {
        Some("error") => Some(Request::Bounced(error_of(stanza))),
        Some("unavailable") => {
            let status = stanza.element.child("status", ns::COMPONENT).map(Element::text);
            Some(Request::Leave { status: status.filter(|status| !status.trim().is_empty()) })
        }
        None => Some(match (nick(), stanza.element.child("x", ns::MUC)) {
            (None, _) => Request::NoNick,
            (Some(nick), None) => Request::Present { nick },
            (Some(nick), Some(x)) => Request::Enter(entry(nick, x)),
        }),
        // Subscriptions and probes: a room has no presence of its own.
        Some(_) => None,
    }
}

fn entry(nick: String, x: &Element) -> Entry {
    let history = x.child("history", ns::MUC);
    let number = |name| history.and_then(|history| history.attr(name)?.trim().parse().ok());
    Entry {
        nick,
        password: x.child("password", ns::MUC).map(Element::text).filter(|password| !password.is_empty()),
        history: History {
            characters: number("maxchars"),
            lines: number("maxstanzas"),
            seconds: number("seconds"),
            since: history.and_then(|history| history.attr("since")).map(str::to_owned),
        },
    }
}

fn message(stanza: &Stanza, to: &Jid) -> Request {
    let element = &stanza.element;
    let state = || element.children().find(|child| child.ns() == ns::CHAT_STATES);
    match (stanza.type_(), to.resource()) {
        (Some("error"), _) => Request::Bounced(error_of(stanza)),
        (Some("groupchat"), None) => to_all(element),
        (Some("groupchat"), Some(_)) => {
            Request::Wrong("A message to one person of a room is not of the type groupchat.")
        }
        (_, Some(nick)) => match (line(element), state()) {
            (Some(line), _) => Request::Private { nick: nick.to_owned(), line },
            (None, Some(state)) => Request::State { nick: nick.to_owned(), state: state.name().to_owned() },
            (None, None) => Request::Nothing,
        },
        (_, None) => to_the_room(element),
    }
}

fn to_all(element: &Element) -> Request {
    let has = |name| element.child(name, ns::COMPONENT).is_some();
    match element.child("subject", ns::COMPONENT) {
        Some(subject) if !has("body") && !has("thread") => Request::Subject(subject.text()),
        _ => line(element).map_or(Request::Nothing, Request::Line),
    }
}

/// A message that is for the room itself and not for the people in it.
fn to_the_room(element: &Element) -> Request {
    if let Some(x) = element.child("x", ns::MUC_USER) {
        if let Some(decline) = x.child("decline", ns::MUC_USER) {
            let to = decline.attr("to").and_then(|to| Jid::parse(to).ok());
            return Request::Decline { to, reason: reason_in(decline, ns::MUC_USER) };
        }
        let invites = x.children().filter(|child| child.is("invite", ns::MUC_USER));
        let invites: Vec<&Element> = invites.take(MOST + 1).collect();
        if !invites.is_empty() {
            return invited(&invites);
        }
    }
    if element.child("x", ns::DATA).is_some_and(|form| field(form, "FORM_TYPE") == Some(VOICE_FORM.into())) {
        return Request::Voice;
    }
    if element.child("body", ns::COMPONENT).is_some() {
        return Request::Wrong("A message to all in a room is of the type groupchat.");
    }
    Request::Nothing
}

fn invited(invites: &[&Element]) -> Request {
    if invites.len() > MOST {
        return Request::Wrong("So many people cannot be invited at once.");
    }
    let read = |invite: &&Element| {
        let whom = Jid::parse(invite.attr("to")?).ok()?;
        Some(Invited { whom, reason: reason_in(invite, ns::MUC_USER) })
    };
    match invites.iter().map(read).collect() {
        Some(invited) => Request::Invite(invited),
        None => Request::Wrong("An invitation needs the address of who is invited."),
    }
}

fn query(stanza: &Stanza, to: &Jid) -> Option<Request> {
    if let Some(query) = stanza.query("get", "query", ns::MUC_ADMIN) {
        return Some(listed(query));
    }
    if let Some(query) = stanza.query("set", "query", ns::MUC_ADMIN) {
        return Some(changed(query));
    }
    if stanza.query("get", "query", ns::MUC_OWNER).is_some() {
        return Some(Request::Owner(Owner::Form));
    }
    if let Some(query) = stanza.query("set", "query", ns::MUC_OWNER) {
        return Some(configured(query));
    }
    stanza.query("get", "ping", ns::PING)?;
    Some(Request::Ping { nick: to.resource()?.to_owned() })
}

fn listed(query: &Element) -> Request {
    const WRONG: Request = Request::Wrong("A list is asked for by a role or by an affiliation.");
    let Some(item) = query.child("item", ns::MUC_ADMIN) else { return WRONG };
    let role = item.attr("role").and_then(role);
    let affiliation = item.attr("affiliation").and_then(affiliation);
    match (role, affiliation) {
        (Some(role), None) => Request::Admin(Admin::WithRole(role)),
        (_, Some(affiliation)) => Request::Admin(Admin::WithAffiliation(affiliation)),
        (None, None) => WRONG,
    }
}

fn changed(query: &Element) -> Request {
    let items = query.children().filter(|child| child.is("item", ns::MUC_ADMIN));
    let items: Option<Vec<Item>> = items.take(MOST + 1).map(item).collect();
    match items {
        Some(items) if items.len() > MOST => Request::Wrong("So many people cannot be changed at once."),
        Some(items) if !items.is_empty() => Request::Admin(Admin::Change(items)),
        _ => Request::Wrong("Who is to be changed, and to what, is not said."),
    }
}

/// Nothing where it does not say who, or what.
fn item(item: &Element) -> Option<Item> {
    let known = |name: &str| item.attr(name).filter(|value| !value.is_empty());
    let read = Item {
        nick: known("nick").map(str::to_owned),
        jid: known("jid").map(Jid::parse).transpose().ok()?,
        role: known("role").map(|name| role(name).ok_or(())).transpose().ok()?,
        affiliation: known("affiliation").map(|name| affiliation(name).ok_or(())).transpose().ok()?,
        reason: reason_in(item, ns::MUC_ADMIN),
    };
    let is_whole =
        (read.nick.is_some() || read.jid.is_some()) && (read.role, read.affiliation) != (None, None);
    is_whole.then_some(read)
}

fn configured(query: &Element) -> Request {
    if let Some(destroy) = query.child("destroy", ns::MUC_OWNER) {
        let to = destroy.attr("jid").and_then(|jid| Jid::parse(jid).ok());
        return Request::Owner(Owner::Destroy { to, reason: reason_in(destroy, ns::MUC_OWNER) });
    }
    let Some(form) = query.child("x", ns::DATA) else {
        return Request::Wrong("The configuration of a room is a form.");
    };
    let fields = form.children().filter(|child| child.is("field", ns::DATA));
    let asks = fields.filter(|field| field.attr("var") != Some("FORM_TYPE")).count() > 0;
    Request::Owner(match form.attr("type") {
        Some("cancel") => Owner::Cancel,
        _ if asks => Owner::Configure,
        _ => Owner::Instant,
    })
}

fn field(form: &Element, var: &str) -> Option<String> {
    let field =
        form.children().find(|child| child.is("field", ns::DATA) && child.attr("var") == Some(var))?;
    Some(field.child("value", ns::DATA)?.text())
}

fn reason_in(element: &Element, namespace: &str) -> Option<String> {
    let text = element.child("reason", namespace)?.text();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::tests::stanza;
    use super::*;
    use crate::words::condition::Kind;

    const ROOM: &str = "verona@conference.example.net";

    fn read(xml: &str) -> Option<Request> {
        request(&stanza(xml))
    }

    fn presence(to: &str, type_: &str, inside: &str) -> Option<Request> {
        read(&format!("<presence from='juliet@example.com/x' to='{to}' {type_}>{inside}</presence>"))
    }

    fn message(to: &str, type_: &str, inside: &str) -> Request {
        let xml = format!("<message from='juliet@example.com/x' to='{to}' type='{type_}'>{inside}</message>");
        read(&xml).expect("a request")
    }

    fn iq(type_: &str, inside: &str) -> Option<Request> {
        read(&format!("<iq from='juliet@example.com/x' to='{ROOM}' type='{type_}' id='1'>{inside}</iq>"))
    }

    fn occupant() -> String {
        format!("{ROOM}/Jule")
    }

    #[test]
    fn one_enters_with_a_nick_a_password_and_wishes() {
        let x = "<x xmlns='http://jabber.org/protocol/muc'><history maxstanzas=' 20 ' seconds='x' \
                 since='2026-01-01T00:00:00Z'/><password>rose</password></x>";
        let Some(Request::Enter(entry)) = presence(&occupant(), "", x) else { panic!("no entry") };
        assert_eq!((entry.nick.as_str(), entry.password.as_deref()), ("Jule", Some("rose")));
        assert_eq!((entry.history.lines, entry.history.seconds), (Some(20), None));
        assert_eq!(entry.history.since.as_deref(), Some("2026-01-01T00:00:00Z"));
        assert!(!entry.history.is_none());
        let none = "<x xmlns='http://jabber.org/protocol/muc'><history maxchars='0'/></x>";
        assert!(
            matches!(presence(&occupant(), "", none), Some(Request::Enter(entry)) if entry.history.is_none())
        );
    }

    #[test]
    fn nobody_enters_without_a_nick_or_without_a_word_of_it() {
        assert_eq!(presence(ROOM, "", "<x xmlns='http://jabber.org/protocol/muc'/>"), Some(Request::NoNick));
        assert_eq!(
            presence(&occupant(), "", "<show>away</show>"),
            Some(Request::Present { nick: "Jule".into() })
        );
    }

    #[test]
    fn one_leaves_with_last_words() {
        let leave = presence(&occupant(), "type='unavailable'", "<status>Good night</status>");
        assert_eq!(leave, Some(Request::Leave { status: Some("Good night".into()) }));
        assert_eq!(
            presence(&occupant(), "type='unavailable'", "<status/>"),
            Some(Request::Leave { status: None })
        );
    }

    #[test]
    fn presence_that_is_no_request_to_a_room_is_none() {
        for type_ in ["subscribe", "probe", "unsubscribed"] {
            assert_eq!(presence(ROOM, &format!("type='{type_}'"), ""), None, "{type_}");
        }
        assert_eq!(presence("conference.example.net", "", ""), None);
    }

    #[test]
    fn a_line_is_for_all_and_a_private_one_for_one() {
        assert!(
            matches!(message(ROOM, "groupchat", "<body>Hi</body>"), Request::Line(line) if line.body == "Hi")
        );
        let private = message(&occupant(), "chat", "<body>Psst</body>");
        assert!(matches!(private, Request::Private { nick, line } if nick == "Jule" && line.body == "Psst"));
        let state = "<composing xmlns='http://jabber.org/protocol/chatstates'/>";
        assert_eq!(
            message(&occupant(), "chat", state),
            Request::State { nick: "Jule".into(), state: "composing".into() }
        );
        assert_eq!(message(ROOM, "groupchat", state), Request::Nothing);
    }

    #[test]
    fn a_message_of_the_wrong_type_is_a_bad_request() {
        assert!(matches!(message(&occupant(), "groupchat", "<body>Hi</body>"), Request::Wrong(_)));
        assert!(matches!(message(ROOM, "chat", "<body>Hi</body>"), Request::Wrong(_)));
        assert_eq!(message(ROOM, "normal", "<received xmlns='urn:xmpp:receipts' id='1'/>"), Request::Nothing);
    }

    #[test]
    fn a_subject_that_comes_alone_is_a_change_of_it() {
        assert_eq!(
            message(ROOM, "groupchat", "<subject>Tonight</subject>"),
            Request::Subject("Tonight".into())
        );
        assert_eq!(message(ROOM, "groupchat", "<subject/>"), Request::Subject(String::new()));
        let with_text = "<subject>Tonight</subject><body>Hi</body>";
        assert!(matches!(message(ROOM, "groupchat", with_text), Request::Line(_)));
        assert_eq!(
            message(ROOM, "groupchat", "<subject>Tonight</subject><thread>1</thread>"),
            Request::Nothing
        );
    }

    #[test]
    fn several_are_invited_at_once_and_each_has_an_address() {
        let muc = |inside: &str| format!("<x xmlns='{}'>{inside}</x>", ns::MUC_USER);
        let two =
            "<invite to='romeo@example.net'><reason> Come </reason></invite><invite to='nurse@example.com'/>";
        let Request::Invite(invited) = message(ROOM, "normal", &muc(two)) else { panic!("no invitation") };
        assert_eq!(invited[0].whom.as_str(), "romeo@example.net");
        assert_eq!(invited[0].reason.as_deref(), Some("Come"));
        assert_eq!(invited[1].whom.as_str(), "nurse@example.com");
        assert!(matches!(message(ROOM, "normal", &muc("<invite to='@'/>")), Request::Wrong(_)));
        let many = "<invite to='romeo@example.net'/>".repeat(MOST + 1);
        assert!(matches!(message(ROOM, "normal", &muc(&many)), Request::Wrong(_)));
    }

    #[test]
    fn who_is_invited_can_say_no() {
        let x = format!(
            "<x xmlns='{}'><decline to='romeo@example.net'><reason>Busy</reason></decline></x>",
            ns::MUC_USER
        );
        let Request::Decline { to, reason } = message(ROOM, "normal", &x) else { panic!("no answer") };
        assert_eq!(to.map(|to| to.to_string()).as_deref(), Some("romeo@example.net"));
        assert_eq!(reason.as_deref(), Some("Busy"));
    }

    #[test]
    fn voice_is_asked_for_by_a_form() {
        let form = |type_: &str| {
            format!(
                "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>{type_}</value></field></x>"
            )
        };
        assert_eq!(message(ROOM, "normal", &form(VOICE_FORM)), Request::Voice);
        assert_eq!(message(ROOM, "normal", &form("x")), Request::Nothing);
    }

    #[test]
    fn what_could_not_be_delivered_comes_back() {
        let error = "<error type='cancel'><recipient-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>";
        let bounced = message(&occupant(), "error", error);
        assert!(matches!(bounced, Request::Bounced(error) if error.kind == Kind::RecipientUnavailable));
    }

    #[test]
    fn people_are_listed_and_changed() {
        let admin =
            |type_, items: &str| iq(type_, &format!("<query xmlns='{}'>{items}</query>", ns::MUC_ADMIN));
        assert_eq!(
            admin("get", "<item affiliation='member'/>"),
            Some(Request::Admin(Admin::WithAffiliation(Affiliation::Member)))
        );
        assert_eq!(
            admin("get", "<item role='moderator'/>"),
            Some(Request::Admin(Admin::WithRole(Role::Moderator)))
        );
        let kick = admin("set", "<item nick='Romeo' role='none'><reason>enough</reason></item>");
        let Some(Request::Admin(Admin::Change(items))) = kick else { panic!("{kick:?}") };
        assert_eq!((items[0].nick.as_deref(), items[0].role), (Some("Romeo"), Some(Role::None)));
        assert_eq!(items[0].reason.as_deref(), Some("enough"));
        for wrong in ["", "<item nick='Romeo'/>", "<item role='none'/>", "<item nick='Romeo' role='king'/>"] {
            assert!(matches!(admin("set", wrong), Some(Request::Wrong(_))), "{wrong}");
        }
        assert!(matches!(admin("get", "<item/>"), Some(Request::Wrong(_))));
    }

    #[test]
    fn an_owner_configures_or_destroys() {
        let owner = |type_, inside: &str| match iq(
            type_,
            &format!("<query xmlns='{}'>{inside}</query>", ns::MUC_OWNER),
        ) {
            Some(Request::Owner(owner)) => owner,
            other => panic!("{other:?}"),
        };
        let form = |type_: &str, field: &str| format!("<x xmlns='jabber:x:data' type='{type_}'>{field}</x>");
        let form_type = "<field var='FORM_TYPE'><value>x</value></field>";
        let name = "<field var='muc#roomconfig_roomname'><value>x</value></field>";
        assert_eq!(owner("get", ""), Owner::Form);
        assert_eq!(owner("set", &form("submit", form_type)), Owner::Instant);
        assert_eq!(owner("set", &form("submit", name)), Owner::Configure);
        assert_eq!(owner("set", &form("cancel", "")), Owner::Cancel);
        let destroy =
            owner("set", "<destroy jid='mantua@rooms.example.com'><reason>plague</reason></destroy>");
        let Owner::Destroy { to, reason } = destroy else { panic!("{destroy:?}") };
        assert_eq!(to.map(|to| to.to_string()).as_deref(), Some("mantua@rooms.example.com"));
        assert_eq!(reason.as_deref(), Some("plague"));
    }

    #[test]
    fn a_ping_is_for_an_occupant() {
        let ping = |to: &str| {
            read(&format!(
                "<iq from='juliet@example.com/x' to='{to}' type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>"
            ))
        };
        assert_eq!(ping(&occupant()), Some(Request::Ping { nick: "Jule".into() }));
        assert_eq!(ping(ROOM), None);
        assert_eq!(iq("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>"), None);
    }
}
