//! A room as all seats in it share it: who is there, and the subject. A plain value.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::seat::SeatId;
use crate::xmpp::jid::Jid;
use crate::xmpp::muc::Occupant;

/// See the module.
#[derive(Debug, Default)]
pub struct Hall {
    /// Who of SIP is in it, or on the way in or out.
    pub seats: BTreeSet<SeatId>,
    /// Who is there, by nick.
    pub people: BTreeMap<Box<str>, Occupant>,
    /// Everybody sees who everybody is: their addresses may be shown.
    pub open: bool,
    /// The subject; empty where there is none.
    pub subject: String,
    /// The last line that was put into an envelope: the same for all.
    pub last: Option<(Told, Bytes)>,
}

/// What makes an envelope what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Who said it; nobody: the room.
    pub nick: Option<String>,
    /// The text.
    pub text: String,
    /// The new subject, where it is one.
    pub subject: Option<String>,
    /// When it was said, where that is not now.
    pub stamp: Option<String>,
}

impl Hall {
    /// Nobody of SIP is there.
    pub fn is_void(&self) -> bool {
        self.seats.is_empty()
    }

    /// Somebody is there, and so. True if that is news.
    pub fn put(&mut self, mut occupant: Occupant) -> bool {
        let known = self.people.get(occupant.nick.as_str());
        // A copy for a moderator may say more than the others do.
        if let (None, Some(known)) = (&occupant.jid, known) {
            occupant.jid.clone_from(&known.jid);
        }
        let is_news = known.is_none_or(|known| {
            let same_address = !self.open || known.jid == occupant.jid;
            let without = |occupant: &Occupant| Occupant { jid: None, ..occupant.clone() };
            !same_address || without(known) != without(&occupant)
        });
        self.people.insert(occupant.nick.as_str().into(), occupant);
        is_news
    }

    /// Who somebody is, where all may know.
    pub fn address(&self, nick: &str) -> Option<&Jid> {
        self.people.get(nick).filter(|_| self.open)?.jid.as_ref()
    }

    /// Somebody is not there any more. True if that is news.
    pub fn remove(&mut self, nick: &str) -> bool {
        self.people.remove(nick).is_some()
    }

    /// These are all who are there: who is known and not among them has left unseen.
    pub fn only(&mut self, there: &BTreeSet<Box<str>>) -> Vec<Box<str>> {
        let gone: Vec<Box<str>> = self.people.keys().filter(|nick| !there.contains(*nick)).cloned().collect();
        gone.iter().for_each(|nick| drop(self.people.remove(nick)));
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn occupant(nick: &str) -> Occupant {
        Occupant { nick: nick.into(), jid: Jid::parse("juliet@example.com/x").ok(), ..Occupant::default() }
    }

    #[test]
    fn who_somebody_is_is_shared_only_where_all_may_know() {
        let mut hall = Hall::default();
        assert!(hall.put(occupant("Juliet")) && !hall.put(occupant("Juliet")));
        assert_eq!(hall.address("Juliet"), None);
        // What a moderator saw before the room said that all may is known then.
        hall.open = true;
        assert!(!hall.put(Occupant { jid: None, ..occupant("Juliet") }));
        assert!(hall.address("Juliet").is_some());
    }

    #[test]
    fn who_left_unseen_is_found_by_the_next_whole_picture() {
        let mut hall = Hall::default();
        hall.put(occupant("Juliet"));
        hall.put(occupant("Nurse"));
        assert_eq!(hall.only(&BTreeSet::from(["Juliet".into()])), ["Nurse".into()]);
        assert!(!hall.remove("Nurse") && hall.remove("Juliet"));
    }
}
