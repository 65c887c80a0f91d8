//! The XMPP server and its users: their rosters, their devices, what they are shown, and what they have said about who
//! watches them (RFC 6121 §3 and §4).

use std::collections::BTreeMap;

use mostar::xmpp::jid::Jid;
use mostar::xmpp::ns;
use mostar::xmpp::stanza::{Element, Stanza, StanzaKind};

use super::support::invariants::Invariant::Presence;
use super::world::{PEOPLE, Pair, World};

/// What each device shows: nothing for plainly available.
pub type Shown = BTreeMap<String, String>;

/// What a device may show.
pub const SHOWS: [&str; 5] = ["", "away", "dnd", "xa", "chat"];

/// How far somebody is with somebody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bond {
    #[default]
    None,
    Asked,
    Agreed,
    Refused,
}

/// An XMPP user and her server's knowledge of her.
#[derive(Debug, Default)]
pub struct Juliet {
    /// Her devices that are online.
    pub devices: Shown,
}

/// What a Juliet's server knows about her and a Romeo.
#[derive(Debug, Default)]
pub struct Roster {
    /// She sees him.
    pub to: Bond,
    /// He may see her.
    pub from: Bond,
    /// What she is shown of him.
    pub green: Shown,
}

pub fn juliet(number: u8) -> Jid {
    Jid::new(Some(&format!("juliet{number}")), "example.com", None).unwrap()
}

pub fn romeo(number: u8) -> Jid {
    Jid::new(Some(&format!("romeo{number}")), "example.net", None).unwrap()
}

/// The number at the end of a name.
pub fn number_of(name: &str) -> Option<u8> {
    name.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().ok().filter(|number| *number < PEOPLE)
}

/// Whose word could not be taken now, if this says so.
pub fn refused(stanza: &Stanza) -> Option<Pair> {
    let of = |jid: Option<&Jid>| jid.and_then(Jid::local).and_then(number_of);
    let is_refusal = stanza.kind == StanzaKind::Presence && stanza.type_() == Some("error");
    of(stanza.to()).zip(of(stanza.from())).filter(|_| is_refusal)
}

impl World {
    /// She says a word about him: `subscribe`, `unsubscribed`.
    pub fn says(&mut self, (one, other): Pair, word: &'static str) {
        let stanza = Stanza::new(StanzaKind::Presence, &juliet(one), &romeo(other)).with_type(word);
        self.stanza(stanza, Some(((one, other), word)));
    }

    /// A device of hers is so, as he is to see it.
    fn directs(&mut self, (one, other): Pair, device: &str, show: Option<&str>) {
        let from = juliet(one).with_resource(device).expect("a resource");
        let mut stanza = Stanza::new(StanzaKind::Presence, &from, &romeo(other));
        match show {
            None => stanza = stanza.with_type("unavailable"),
            Some("") => {}
            Some(show) => stanza = stanza.with_child(Element::new("show", ns::COMPONENT).with_text(show)),
        }
        self.stanza(stanza, None);
    }

    fn broadcast(&mut self, one: u8, device: &str, show: Option<&str>) {
        for other in 0..PEOPLE {
            if self.roster[&(one, other)].from == Bond::Agreed {
                self.directs((one, other), device, show);
            }
        }
    }

    /// A device of hers comes, goes or shows something else.
    pub fn device_moves(&mut self, one: u8) {
        let device = ["balcony", "garden", "phone"][self.course.below(3) as usize];
        let show = if self.course.chance(35) { None } else { Some(SHOWS[self.course.below(5) as usize]) };
        self.device_is(one, device, show);
    }

    /// A device of hers is so now.
    pub fn device_is(&mut self, one: u8, device: &str, show: Option<&str>) {
        let devices = &mut self.juliets[one as usize].devices;
        let was_online = !devices.is_empty();
        let before = match show {
            None => devices.remove(device),
            Some(show) => devices.insert(device.into(), show.into()),
        };
        if show.is_some() || before.is_some() {
            self.broadcast(one, device, show);
        }
        let is_online = !self.juliets[one as usize].devices.is_empty();
        for other in 0..PEOPLE {
            let roster = self.roster.get_mut(&(one, other)).expect("all have one");
            if !is_online {
                roster.green.clear();
            } else if !was_online && roster.to == Bond::Agreed {
                self.probes((one, other), device);
            }
        }
    }

    /// Her server asks how he is.
    pub fn probes(&mut self, (one, other): Pair, device: &str) {
        let from = juliet(one).with_resource(device).expect("a resource");
        self.stanza(Stanza::new(StanzaKind::Presence, &from, &romeo(other)).with_type("probe"), None);
    }

    /// She adds him, or lets go.
    pub fn adds_or_removes(&mut self, pair: Pair) {
        let stays = self.course.chance(60);
        let roster = self.roster.get_mut(&pair).expect("all have one");
        if roster.to == Bond::None || stays {
            if roster.to == Bond::None {
                roster.to = Bond::Asked;
            }
            self.tally.contacts += 1;
            self.says(pair, "subscribe");
        } else {
            roster.to = Bond::None;
            roster.green.clear();
            self.says(pair, "unsubscribe");
        }
    }

    /// She answers who wants to see her, or thinks better of what she has said.
    pub fn consents(&mut self, pair: Pair) {
        let roster = self.roster.get_mut(&pair).expect("all have one");
        match roster.from {
            Bond::Asked => {
                let yes = self.course.chance(80);
                self.answers(pair, yes);
            }
            Bond::Agreed => {
                self.tally.withdrawn += 1;
                roster.from = Bond::None;
                self.says(pair, "unsubscribed");
            }
            _ => {}
        }
    }

    fn answers(&mut self, pair: Pair, yes: bool) {
        let roster = self.roster.get_mut(&pair).expect("all have one");
        roster.from = if yes { Bond::Agreed } else { Bond::None };
        self.says(pair, if yes { "subscribed" } else { "unsubscribed" });
        if yes {
            let devices = self.juliets[pair.0 as usize].devices.clone();
            devices.iter().for_each(|(device, show)| self.directs(pair, device, Some(show)));
        }
    }

    /// A stanza reaches the server.
    pub fn server_hears(&mut self, stanza: &Stanza) {
        let (Some(from), Some(to)) = (stanza.from(), stanza.to()) else { return };
        if stanza.kind == StanzaKind::Iq {
            let online = to.local().and_then(number_of).is_some_and(|one| {
                to.resource().is_none_or(|name| self.juliets[one as usize].devices.contains_key(name))
            });
            let answer = if online { stanza.result() } else { self.not_there(stanza) };
            return answer.into_iter().for_each(|answer| self.stanza(answer, None));
        }
        let pair = (to.local().and_then(number_of), from.local().and_then(number_of));
        let (Some(one), Some(other)) = pair else { return };
        let pair = (one, other);
        let roster = self.roster.get_mut(&pair).expect("all have one");
        match stanza.type_() {
            Some("subscribe") => match roster.from {
                Bond::Agreed => self.answers(pair, true),
                _ => roster.from = Bond::Asked,
            },
            Some("probe") => {
                if roster.from != Bond::Agreed {
                    return self.says(pair, "unsubscribed");
                }
                let devices = self.juliets[one as usize].devices.clone();
                if devices.is_empty() {
                    let gone = Stanza::new(StanzaKind::Presence, &juliet(one), &romeo(other));
                    self.stanza(gone.with_type("unavailable"), None);
                }
                devices.iter().for_each(|(device, show)| self.directs(pair, device, Some(show)));
            }
            // The gateway could not take it now.
            Some("error") if roster.to == Bond::Asked => roster.to = Bond::None,
            Some("subscribed") if roster.to == Bond::Asked => roster.to = Bond::Agreed,
            Some("unsubscribed") => {
                self.tally.refused += u64::from(roster.to != Bond::None);
                roster.to = Bond::None;
                let ghosts = std::mem::take(&mut roster.green);
                self.process.checks.hold(Presence, ghosts.is_empty(), || {
                    format!("romeo{other} refuses juliet{one} and leaves {ghosts:?}")
                });
            }
            Some("unavailable") => match from.resource() {
                Some(name) => drop(roster.green.remove(name)),
                None => roster.green.clear(),
            },
            None => {
                self.tally.shown += 1;
                let show = stanza.element.child("show", ns::COMPONENT).map(Element::text).unwrap_or_default();
                let device = from.resource().unwrap_or_default().to_owned();
                if roster.to != Bond::None && !self.juliets[one as usize].devices.is_empty() {
                    roster.green.insert(device, show);
                }
            }
            _ => {}
        }
    }

    fn not_there(&self, stanza: &Stanza) -> Option<Stanza> {
        use mostar::words::condition::Kind;
        use mostar::xmpp::stanza::ErrorType;
        stanza.error(Kind::ServiceUnavailable, ErrorType::Cancel, None, None)
    }
}
