//! XMPP users and their server.

use mostar::gateway::{Input, LinkId};
use mostar::words::condition::Kind;
use mostar::xmpp::jid::Jid;
use mostar::xmpp::ns;
use mostar::xmpp::stanza::{Element, ErrorType, Stanza, StanzaKind};

use super::ledger::key_of;
use super::support::process::Host;
use super::world::{Event, PEOPLE, World};

impl World {
    pub fn juliet_writes(&mut self, juliet: u8, romeo: u8) {
        if self.link.is_multiple_of(2) {
            // Her server says that the gateway is away: not our message to keep.
            return;
        }
        let number = self.course.count();
        let body = format!("from-xmpp-{number}");
        let (from, to) = (juliet_jid(juliet), romeo_jid(romeo));
        let mut child = Element::new("body", ns::COMPONENT);
        child.push_text(&body);
        let more = self.padding();
        child.push_text(&more);
        let type_ = if self.course.chance(6) { "normal" } else { "chat" };
        let mut stanza = Stanza::new(StanzaKind::Message, &from, &to)
            .with_type(type_)
            .with_id(&format!("sim-{number}"))
            .with_child(child);
        if self.course.chance(30) {
            stanza = stanza.with_child(Element::new("request", ns::RECEIPTS));
        }
        // It counts from the moment at which the gateway has read it: what the link loses before is the server's.
        self.course.note(&format!("xmpp -> gateway {}", stanza.to_xml()));
        self.ledger.written(false, &body, (format!("juliet{juliet}"), format!("romeo{romeo}")), number);
        let hold = self.config.messages.hold;
        // What is too long for UDP is told so when its turn comes.
        let may_be_kept = !hold.is_zero() && more.len() < 600;
        if let Some(fate) = self.ledger.of(&body).filter(|_| may_be_kept) {
            fate.keep = Some(self.course.now + hold);
        }
        self.apply(Input::Stanza(LinkId(0), stanza));
        if self.course.chance(8) {
            let wait = self.course.below(3_000);
            self.course.after(wait, Event::Retracts(juliet, romeo, number));
        }
    }

    /// A Juliet takes back what she wrote, if the gateway has it for her still.
    pub fn juliet_retracts(&mut self, juliet: u8, romeo: u8, number: u64) {
        let written = format!("from-xmpp-{number}");
        let Some(fate) = self.ledger.from_xmpp.get_mut(&written).filter(|_| self.link % 2 == 1) else {
            return;
        };
        fate.retracted = true;
        let own = self.course.count();
        let retract =
            Element::new("retract", "urn:xmpp:message-retract:1").with("id", &format!("sim-{number}"));
        let stanza = Stanza::new(StanzaKind::Message, &juliet_jid(juliet), &romeo_jid(romeo))
            .with_type("chat")
            .with_id(&format!("sim-{own}"))
            .with_child(retract);
        self.course.note(&format!("xmpp -> gateway {}", stanza.to_xml()));
        self.apply(Input::Stanza(LinkId(0), stanza));
    }

    pub fn juliet_comes(&mut self, who: u8, online: bool) {
        self.julietes[who as usize] = online;
        let from = juliet_jid(who);
        for romeo in 0..PEOPLE {
            if self.watches.contains(&(format!("juliet{who}"), format!("romeo{romeo}"))) {
                let presence = Stanza::new(StanzaKind::Presence, &from, &romeo_jid(romeo));
                let presence = if online { presence } else { presence.with_type("unavailable") };
                self.stanza_to_gateway(presence);
            }
        }
    }

    pub fn server_gets(&mut self, stanza: &Stanza) {
        let (Some(from), Some(to)) = (stanza.from(), stanza.to()) else { return };
        match (stanza.kind, stanza.type_()) {
            (StanzaKind::Iq, Some("get" | "set")) => {
                if let Some(result) = stanza.result() {
                    self.stanza_to_gateway(result);
                }
            }
            (StanzaKind::Message, Some("error")) => {
                let id = stanza.id().and_then(|id| id.strip_prefix("sim-")).unwrap_or_default();
                self.ledger.given_up(self.course.now, &format!("from-xmpp-{id}"));
            }
            (StanzaKind::Message, _) => self.juliet_reads(stanza),
            (StanzaKind::Presence, Some("subscribe")) => {
                let answer =
                    Stanza::new(StanzaKind::Presence, &to.bare(), &from.bare()).with_type("subscribed");
                self.stanza_to_gateway(answer);
                let who = to.local().unwrap_or_default().trim_start_matches("juliet").parse().unwrap_or(0);
                self.juliet_comes(who, self.julietes[who as usize]);
            }
            (StanzaKind::Presence, Some("probe")) => {
                let who: u8 =
                    to.local().unwrap_or_default().trim_start_matches("juliet").parse().unwrap_or(0);
                let online = self.julietes[who as usize];
                let full = if online { juliet_jid(who) } else { to.bare() };
                let presence = Stanza::new(StanzaKind::Presence, &full, &from.bare());
                self.stanza_to_gateway(if online { presence } else { presence.with_type("unavailable") });
            }
            (StanzaKind::Presence, _) => self.ledger.totals.presence += 1,
            _ => {}
        }
    }

    fn juliet_reads(&mut self, stanza: &Stanza) {
        if let Some(received) = stanza.element.child("received", ns::RECEIPTS) {
            let id = received.attr("id").and_then(|id| id.strip_prefix("sim-")).unwrap_or_default();
            return self.ledger.proven(&format!("from-xmpp-{id}"), "XEP-0184");
        }
        let body = stanza.element.child("body", ns::COMPONENT).map(Element::text).unwrap_or_default();
        let id = stanza.id().unwrap_or_default().to_owned();
        let Some(key) = key_of(&body).filter(|key| self.ledger.from_sip.contains_key(*key)) else { return };
        if self.course.below(20) == 0 {
            if let Some(fate) = self.ledger.from_sip.get_mut(key) {
                fate.refused_there = true;
            }
            let error = stanza.error(Kind::ServiceUnavailable, ErrorType::Cancel, None, None);
            return error.into_iter().for_each(|error| self.stanza_to_gateway(error));
        }
        self.ledger.arrived(self.course.now, true, key, &id);
        let asks = stanza.element.child("request", ns::RECEIPTS).is_some();
        if asks
            && self.course.chance(70)
            && let (Some(from), Some(to)) = (stanza.from(), stanza.to())
        {
            let client = if to.is_bare() {
                to.with_resource("balcony").unwrap_or_else(|_| to.clone())
            } else {
                to.clone()
            };
            let received = Element::new("received", ns::RECEIPTS).with("id", &id);
            self.stanza_to_gateway(Stanza::new(StanzaKind::Message, &client, from).with_child(received));
        }
    }

    /// A Juliet is writing, stops, or closes her window.
    pub fn juliet_types(&mut self, juliet: u8, romeo: u8) {
        let state = ["composing", "active", "paused", "gone"][self.course.below(4) as usize];
        let child = Element::new(state, ns::CHAT_STATES);
        let stanza =
            Stanza::new(StanzaKind::Message, &juliet_jid(juliet), &romeo_jid(romeo)).with_type("chat");
        self.stanza_to_gateway(stanza.with_child(child));
    }
}

pub fn juliet_jid(number: u8) -> Jid {
    Jid::new(Some(&format!("juliet{number}")), "example.com", Some("balcony")).unwrap()
}

pub fn romeo_jid(number: u8) -> Jid {
    Jid::new(Some(&format!("romeo{number}")), "example.net", None).unwrap()
}
