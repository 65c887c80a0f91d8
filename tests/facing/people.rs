//! The XMPP users of both sides, their clients and their servers.

use mostar::words::condition::Kind;
use mostar::xmpp::jid::Jid;
use mostar::xmpp::ns;
use mostar::xmpp::stanza::{Element, ErrorType, Stanza, StanzaKind};

use super::support::invariants::Invariant::Quiet;
use super::world::{DOMAINS, Event, PEOPLE, World};

/// What becomes of a message to somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// She reads it.
    Reads,
    /// Her client answers at once that she is away; not what is such an answer itself.
    Replies,
    /// Her server refuses it at once, or when it has taken it already.
    Refused,
    RefusedLate,
}

/// What a machine says begins so.
const AUTOMATIC: &str = "I am away";

/// Somebody's address: side and number.
pub fn person(side: usize, number: u8) -> Jid {
    Jid::new(Some(&format!("p{number}")), DOMAINS[side], Some("home")).unwrap()
}

impl World {
    fn message(&mut self, side: usize, number: u8, to: &Jid, text: &str) -> Stanza {
        let id = format!("m{}", self.course.count());
        let mut message = Stanza::new(StanzaKind::Message, &person(side, number), to)
            .with_type("chat")
            .with_id(&id)
            .with_child(Element::new("body", ns::COMPONENT).with_text(text));
        if self.course.chance(40) {
            message = message.with_child(Element::new("request", ns::RECEIPTS));
        }
        message
    }

    /// Somebody writes to somebody of the other side.
    pub fn writes(&mut self) {
        let (side, from, to) = (self.some_side(), self.some_person(), self.some_person());
        for _ in 0..1 + self.course.below(2) {
            let text = format!("line {}", self.course.count());
            let message = self.message(side, from, &person(1 - side, to).bare(), &text);
            self.tally.written += 1;
            self.stanza(side, message);
        }
    }

    /// Somebody adds somebody of the other side, or lets go.
    pub fn adds(&mut self) {
        let (side, from, to) = (self.some_side(), self.some_person(), self.some_person());
        let word = if self.course.chance(75) { "subscribe" } else { "unsubscribe" };
        self.presence(side, from, to, word);
    }

    fn presence(&mut self, side: usize, from: u8, to: u8, word: &str) {
        let (from, to) = (person(side, from).bare(), person(1 - side, to).bare());
        self.stanza(side, Stanza::new(StanzaKind::Presence, &from, &to).with_type(word));
    }

    /// Everybody lets go of everybody.
    pub fn everybody_lets_go(&mut self) {
        for side in 0..2 {
            for from in 0..PEOPLE {
                for to in 0..PEOPLE {
                    self.presence(side, from, to, "unsubscribe");
                }
            }
        }
    }

    pub fn some_mood(&mut self) {
        let (side, who) = (self.some_side(), self.some_person());
        let moods = [Mood::Reads, Mood::Replies, Mood::Replies, Mood::Refused, Mood::RefusedLate];
        self.moods[side][who as usize] = moods[self.course.below(5) as usize];
    }

    /// A stanza of the gateway of this side reaches its server.
    pub fn server_hears(&mut self, side: usize, stanza: &Stanza) {
        let (Some(from), Some(to)) = (stanza.from(), stanza.to()) else { return };
        let number = to.local().and_then(|local| local.strip_prefix('p')?.parse::<u8>().ok());
        match (stanza.kind, stanza.type_(), number) {
            (StanzaKind::Iq, Some("get" | "set"), _) => {
                stanza.result().into_iter().for_each(|pong| self.stanza(side, pong));
            }
            (StanzaKind::Message, Some("error"), _) => self.tally.errors += 1,
            (StanzaKind::Message, _, Some(number)) => self.comes(side, number, stanza),
            (StanzaKind::Presence, Some("subscribe"), Some(number)) => {
                // Everybody likes everybody.
                let yes = Stanza::new(StanzaKind::Presence, &to.bare(), &from.bare()).with_type("subscribed");
                self.stanza(side, yes);
                self.shows(side, number, from);
            }
            (StanzaKind::Presence, Some("probe"), Some(number)) => self.shows(side, number, from),
            (StanzaKind::Presence, None, _) => self.tally.shown += 1,
            _ => {}
        }
    }

    fn shows(&mut self, side: usize, number: u8, to: &Jid) {
        self.stanza(side, Stanza::new(StanzaKind::Presence, &person(side, number), &to.bare()));
    }

    fn comes(&mut self, side: usize, number: u8, stanza: &Stanza) {
        let (Some(from), Some(to)) = (stanza.from(), stanza.to()) else { return };
        let body = stanza.element.child("body", ns::COMPONENT).map(Element::text);
        let is_own = body.as_ref().is_some_and(|body| self.said[side].contains(body));
        self.process[side]
            .checks
            .hold(Quiet, !is_own, || format!("own words come back: {}", stanza.to_xml()));
        if stanza.element.child("received", ns::RECEIPTS).is_some() {
            self.tally.receipts += 1;
        }
        let Some(body) = body else { return };
        self.tally.messages += 1;
        let mood = self.moods[side][number as usize];
        let error = || stanza.error(Kind::ServiceUnavailable, ErrorType::Cancel, None, None);
        match mood {
            Mood::Refused | Mood::RefusedLate => {
                self.tally.refused += 1;
                let late = mood == Mood::RefusedLate;
                self.tally.late += u64::from(late);
                let wait = if late { 1_000 + self.course.below(3_000) } else { 0 };
                if let Some(error) = error() {
                    self.course.after(wait, Event::Says(side, error));
                }
            }
            Mood::Reads | Mood::Replies => {
                self.tally.read += 1;
                if stanza.element.child("request", ns::RECEIPTS).is_some() {
                    let id = stanza.id().unwrap_or_default();
                    let received = Element::new("received", ns::RECEIPTS).with("id", id);
                    let own = if to.is_bare() { person(side, number) } else { to.clone() };
                    self.stanza(side, Stanza::new(StanzaKind::Message, &own, from).with_child(received));
                }
                if mood == Mood::Replies && !body.starts_with(AUTOMATIC) {
                    self.tally.replied += 1;
                    let text = format!("{AUTOMATIC} {}", self.course.count());
                    let reply = self.message(side, number, from, &text);
                    let wait = self.course.below(3_000);
                    self.course.after(wait, Event::Says(side, reply));
                }
            }
        }
    }
}
