//! What can be asked about rooms of SIP without being in one, and what is sent to the domain that holds them (XEP-0045 §6,
//! §7.10, §9, §10; XEP-0030).
//!
//! Nothing is told that is not true of every room here, except to who is in it: its name, its subject, and how many are
//! there are known from the rosters of others. A focus is not asked for the sake of an answer: OPTIONS is answered by many
//! for whatever address, and every client that looks at a room would be a request. So rooms are not listed, nobody knows
//! whether one exists before somebody enters it, and what only the focus knows (a password, a list of members) is left out.

use super::Conferences;
use super::asked::refuse;
use crate::features::Cx;
use crate::words::condition::Kind;
use crate::xmpp::jid::Jid;
use crate::xmpp::muc::request::{self, Admin, Owner, Request};
use crate::xmpp::muc::{Affiliation, Role, room};
use crate::xmpp::ns;
use crate::xmpp::stanza::{Element, Stanza, StanzaKind};

/// What the service can do, and every room too.
const FEATURES: [&str; 9] = [
    ns::DISCO_INFO,
    ns::DISCO_ITEMS,
    ns::MUC,
    ns::MUC_STABLE_ID,
    ns::VERSION,
    ns::JID_ESCAPING,
    ns::OCCUPANT_ID,
    ns::PING,
    ns::STANZA_ID,
];

/// What is true of every room besides: no list names it, and rosters of SIP show everybody's address to everybody.
const OF_ROOMS: [&str; 3] = [ns::MUC_SELF_PING, "muc_hidden", "muc_nonanonymous"];

/// Where clients look for a nick that is reserved (XEP-0045 §7.12).
const RESERVED_NICK: &str = "x-roomuser-item";

/// What is told to somebody who asks what only people in a room may.
const NOT_IN: &str = "You are not in this room";

/// Why something is not answered.
type Refusal = (Kind, &'static str);

impl Conferences {
    /// A stanza to the service, or an IQ about a room. True when it is answered.
    pub(super) fn served(&mut self, cx: &mut Cx<'_>, stanza: &Stanza) -> bool {
        let (Some(from), Some(to)) = (stanza.from(), stanza.to()) else { return false };
        if !cx.domains.holds_sip_rooms(to.domain()) {
            return false;
        }
        match stanza.kind {
            StanzaKind::Iq => self.queried(cx, stanza, from, to),
            _ if to.local().is_none() => {
                to_the_service(cx, stanza, from, to);
                true
            }
            _ => false,
        }
    }

    /// How a message to a room would go, for an admin.
    pub(super) fn told_to_admins(&self, cx: &Cx<'_>, stanza: &Stanza) -> Option<String> {
        let (from, to) = (stanza.from()?, stanza.to()?);
        if !cx.domains.holds_sip_rooms(to.domain()) {
            return None;
        }
        if to.local().is_none() {
            return Some(format!("refused: nobody reads what is sent to {to}, which holds rooms of SIP\n"));
        }
        let room = to.bare();
        let rows = "rooms ask no rows of the table of sessions: what is said in them goes by the session of who is in\n";
        let is_in = self.guest_of(&room, from).is_some();
        let fate = if is_in { "is in it: it goes to its focus" } else { "is not in it: it is refused" };
        Some(format!("{room} is a room of SIP, and {from} {fate}\n{rows}"))
    }

    fn queried(&mut self, cx: &mut Cx<'_>, stanza: &Stanza, from: &Jid, to: &Jid) -> bool {
        let has = |name, namespace| {
            ["get", "set"].iter().any(|type_| stanza.query(type_, name, namespace).is_some())
        };
        let answer = if let Some(query) = stanza.query("get", "query", ns::DISCO_INFO) {
            self.info(from, to, query.attr("node"))
        } else if let Some(query) = stanza.query("get", "query", ns::DISCO_ITEMS) {
            self.items(from, to, query.attr("node"))
        } else if has("vCard", ns::VCARD) && to.resource().is_none() {
            Err((Kind::ItemNotFound, "Rooms of SIP have no vCards"))
        } else if has("query", ns::REGISTER) {
            Err((Kind::NotAllowed, "Nobody can register with a room of SIP"))
        } else {
            return self.governed(cx, stanza, from, to);
        };
        match answer {
            Ok(query) => cx.answer(stanza.result().map(|result| result.with_child(query))),
            Err((kind, words)) => refuse(cx, stanza, kind, words),
        }
        true
    }

    fn info(&self, from: &Jid, to: &Jid, node: Option<&str>) -> Result<Element, Refusal> {
        self.may_look_at(from, to)?;
        match node {
            // The answer that §7.12 wants where no nicks are reserved.
            Some(RESERVED_NICK) if to.local().is_some() => {
                return Err((Kind::FeatureNotImplemented, "No names are reserved in rooms of SIP"));
            }
            Some(_) => return Err((Kind::ItemNotFound, "There is no such node")),
            None => {}
        }
        let mut query = Element::new("query", ns::DISCO_INFO);
        let hall = self.halls.get(to).filter(|_| self.guest_of(to, from).is_some());
        let name = hall.and_then(|hall| hall.view.description().display_text.as_deref());
        let name = name.or(to.local()).unwrap_or("Conferences of SIP");
        let identity = Element::new("identity", ns::DISCO_INFO).with("category", "conference");
        query.push(identity.with("type", "text").with("name", name));
        let mut features = FEATURES.to_vec();
        if to.local().is_some() {
            features.extend(OF_ROOMS);
        }
        if let Some(hall) = hall {
            let is_silent = hall.people.values().any(|person| person.occupant.role == Role::Visitor);
            features.push(if is_silent { "muc_moderated" } else { "muc_unmoderated" });
        }
        for feature in features {
            query.push(Element::new("feature", ns::DISCO_INFO).with("var", feature));
        }
        if let Some(hall) = hall {
            let count = hall.people.len().to_string();
            let more = hall.view.description().free_text.as_deref();
            let fields = [
                ("muc#roominfo_description", more),
                ("muc#roominfo_subject", Some(hall.subject.as_str())),
                ("muc#roominfo_occupants", Some(count.as_str())),
                ("muc#roomconfig_changesubject", Some("0")),
            ];
            query.push(form(fields.into_iter().filter_map(|(var, value)| Some((var, value?)))));
        }
        Ok(query)
    }

    /// Nothing: rooms of SIP are not listed, and who is in one is told by presence, to who is in it too.
    fn items(&self, from: &Jid, to: &Jid, node: Option<&str>) -> Result<Element, Refusal> {
        self.may_look_at(from, to)?;
        match node {
            Some(_) => Err((Kind::ItemNotFound, "There is no such node")),
            None => Ok(Element::new("query", ns::DISCO_ITEMS)),
        }
    }

    /// Whether somebody may ask what is at this address (§6.6).
    fn may_look_at(&self, from: &Jid, to: &Jid) -> Result<(), Refusal> {
        match to.resource() {
            None => Ok(()),
            Some(_) if self.guest_of(&to.bare(), from).is_none() => Err((Kind::BadRequest, NOT_IN)),
            Some(_) => Err((Kind::ServiceUnavailable, "People in a room of SIP cannot be asked this")),
        }
    }

    /// Lists of people and the configuration of a room.
    fn governed(&mut self, cx: &mut Cx<'_>, stanza: &Stanza, from: &Jid, to: &Jid) -> bool {
        let wish = match request::request(stanza) {
            Some(wish @ (Request::Admin(_) | Request::Owner(_))) => wish,
            Some(Request::Wrong(words)) => {
                refuse(cx, stanza, Kind::BadRequest, words);
                return true;
            }
            _ => return false,
        };
        let Some(guest) = self.guest_of(&to.bare(), from) else {
            refuse(cx, stanza, Kind::Forbidden, NOT_IN);
            return true;
        };
        match wish {
            Request::Admin(Admin::WithRole(role)) => {
                self.list(cx, stanza, to, |known, _, _| known == role);
            }
            Request::Admin(Admin::WithAffiliation(affiliation)) => {
                // Who has an affiliation is known by the address, not by the nick.
                self.list(cx, stanza, to, |_, known, has_address| known == affiliation && has_address);
            }
            Request::Admin(Admin::Change(items)) => self.changes(cx, guest, stanza, &items),
            Request::Owner(owner) => configured(cx, stanza, &owner),
            _ => {}
        }
        true
    }

    fn list(
        &self,
        cx: &mut Cx<'_>,
        stanza: &Stanza,
        to: &Jid,
        fits: impl Fn(Role, Affiliation, bool) -> bool,
    ) {
        let people = self.halls.get(&to.bare()).into_iter().flat_map(|hall| hall.people.values());
        let listed = people
            .map(|person| &person.occupant)
            .filter(|who| fits(who.role, who.affiliation, who.jid.is_some()));
        cx.answer(room::people(stanza, listed));
    }
}

/// The configuration of a room is its focus's.
fn configured(cx: &mut Cx<'_>, stanza: &Stanza, owner: &Owner) {
    let words = match owner {
        // There is nothing to accept or to leave undone, so it is done.
        Owner::Instant | Owner::Cancel => return cx.answer(stanza.result()),
        Owner::Form | Owner::Configure => "A room of SIP cannot be configured from here",
        Owner::Destroy { .. } => "A room of SIP cannot be destroyed from here",
    };
    refuse(cx, stanza, Kind::FeatureNotImplemented, words);
}

/// Presence and messages to the domain itself, where nobody is.
fn to_the_service(cx: &mut Cx<'_>, stanza: &Stanza, from: &Jid, to: &Jid) {
    match (stanza.kind, stanza.type_()) {
        (_, Some("error")) => {}
        (StanzaKind::Message, _) => {
            let words = "Nobody reads what is sent to this address; rooms have a name before the @";
            refuse(cx, stanza, Kind::ServiceUnavailable, words);
        }
        (StanzaKind::Presence, Some("subscribe" | "probe")) => {
            let no = Stanza::new(StanzaKind::Presence, to, &from.bare()).with_type("unsubscribed");
            cx.stanza(no);
        }
        (StanzaKind::Presence, None) if stanza.element.child("x", ns::MUC).is_some() => {
            refuse(cx, stanza, Kind::JidMalformed, "A room has a name before the @");
        }
        _ => {}
    }
}

/// XEP-0128, with the fields of XEP-0045 §15.5.4.
fn form<'a>(fields: impl Iterator<Item = (&'static str, &'a str)>) -> Element {
    let field = |var: &str, value: &str| {
        let value = Element::new("value", ns::DATA).with_text(value);
        Element::new("field", ns::DATA).with("var", var).with_child(value)
    };
    let type_ = field("FORM_TYPE", "http://jabber.org/protocol/muc#roominfo").with("type", "hidden");
    let form = Element::new("x", ns::DATA).with("type", "result").with_child(type_);
    fields.fold(form, |form, (var, value)| form.with_child(field(var, value)))
}
