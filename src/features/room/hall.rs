//! A room as all seats in it share it: who is there, and the subject. A plain value.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::heard::Heard;
use super::seat::SeatId;
use super::table;
use super::watching::WatchId;
use crate::documents::conference::{Endpoint, Entity, Joining, Leaving, Media, Place, Roster, Status, User};
use crate::gateway::Domains;
use crate::sip::uri::{Aor, SipAddress};
use crate::words::time::{Now, Tick};
use crate::xmpp::jid::Jid;
use crate::xmpp::muc::{Occupant, Role};

/// How many people of a room are known by name.
pub const PEOPLE: usize = 10_000;

/// See the module.
#[derive(Debug)]
pub struct Hall {
    /// Its address in SIP.
    address: SipAddress,
    /// What watchers are told of it.
    pub roster: Roster,
    /// Who watches it.
    pub watches: BTreeSet<WatchId>,
    /// Who of SIP is in it, or on the way in or out.
    pub seats: BTreeSet<SeatId>,
    /// Nicks of those who were called, and did not call.
    called: BTreeSet<Box<str>>,
    /// Who is there, by nick.
    pub people: BTreeMap<Box<str>, Occupant>,
    /// Everybody sees who everybody is: their addresses may be shown.
    pub open: bool,
    /// The link was away: who is there may have changed unseen.
    pub stale: bool,
    /// The seat that enters again, so that the room tells all of it.
    pub looks: Option<SeatId>,
    /// The seat that reads for all what was said while the link was away.
    pub reader: Option<SeatId>,
    /// What has been said.
    pub heard: Heard,
    /// The subject; empty where there is none.
    pub subject: String,
    /// The last line that was put into an envelope, and when: its copies for all seats come one behind the other.
    pub last: Option<(Told, Tick, Bytes)>,
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
    /// A room of which nothing is known yet.
    pub fn new(domains: &Domains, room: &Jid, now: Now) -> Hall {
        // One whose domain has no name in SIP any more, as after a restart: nobody will be told of it.
        let address = domains.user_sip(room).unwrap_or_else(|_| SipAddress {
            aor: Aor { user: None, host: room.domain().to_owned() },
            gr: None,
        });
        let mut roster = Roster::new(Entity::from(&address), now);
        let uri = Place {
            uri: Entity::from(&address),
            display_text: None,
            purpose: Some("participation".to_owned()),
        };
        roster.describe(|description| {
            description.display_text = room.local().map(str::to_owned);
            description.uris = vec![uri];
        });
        Hall {
            address,
            roster,
            watches: BTreeSet::new(),
            seats: BTreeSet::new(),
            called: BTreeSet::new(),
            people: BTreeMap::new(),
            open: false,
            stale: false,
            looks: None,
            reader: None,
            heard: Heard::default(),
            subject: String::new(),
            last: None,
        }
    }

    /// The subject is this now.
    pub fn set_subject(&mut self, subject: &str) {
        subject.clone_into(&mut self.subject);
        self.roster.describe(|description| description.subject = Some(subject.to_owned()));
    }

    /// Somebody is there, and so. Of more than [`PEOPLE`] only what they say is known.
    pub fn put(&mut self, domains: &Domains, mut occupant: Occupant) {
        // A copy for a moderator may say more than the others do.
        if let (None, Some(known)) = (&occupant.jid, self.people.get(occupant.nick.as_str())) {
            occupant.jid.clone_from(&known.jid);
        }
        let known = self.people.get(occupant.nick.as_str());
        if known == Some(&occupant) || known.is_none() && self.people.len() >= PEOPLE {
            return;
        }
        let nick = occupant.nick.clone();
        self.people.insert(nick.as_str().into(), occupant);
        self.show(domains, &nick);
    }

    /// From now on everybody may see who everybody is.
    pub fn reveal(&mut self, domains: &Domains) {
        if !std::mem::replace(&mut self.open, true) {
            let all: Vec<Box<str>> = self.people.keys().cloned().collect();
            all.iter().for_each(|nick| self.show(domains, nick));
        }
    }

    /// Somebody is there because we called.
    pub fn was_called(&mut self, domains: &Domains, nick: &str) {
        self.called.insert(nick.into());
        self.show(domains, nick);
    }

    fn show(&mut self, domains: &Domains, nick: &str) {
        let Some(occupant) = self.people.get(nick) else { return };
        let entity = self.entity(nick);
        let address = self.address(nick);
        let sip = address.and_then(|jid| domains.user_sip(jid).or_else(|_| domains.contact_sip(jid)).ok());
        let status = if occupant.role == Role::Visitor { "recvonly" } else { "sendrecv" };
        let media =
            Media { id: "1".to_owned(), kind: Some("message".to_owned()), status: Some(status.to_owned()) };
        let endpoint = Endpoint {
            entity: entity.clone(),
            status: Some(Status::Connected),
            joining: Some(if self.called.contains(nick) { Joining::DialedOut } else { Joining::DialedIn }),
            media: vec![media],
            ..Endpoint::default()
        };
        self.roster.put(User {
            display_text: Some(nick.to_owned()),
            nickname: Some(nick.to_owned()),
            aors: sip.iter().map(|sip| Entity::from(&sip.aor.address())).collect(),
            roles: vec![table::role(occupant.role).to_owned()],
            endpoints: vec![endpoint],
            ..User::new(entity)
        });
    }

    /// The name of somebody in the roster.
    pub fn entity(&self, nick: &str) -> Entity {
        Entity::from(&SipAddress { aor: self.address.aor.clone(), gr: Some(nick.to_owned()) })
    }

    /// Somebody is not there any more.
    pub fn remove(&mut self, nick: &str, leaving: Option<Leaving>) {
        self.called.remove(nick);
        if self.people.remove(nick).is_some() {
            let entity = self.entity(nick);
            self.roster.remove(&entity, leaving);
        }
    }

    /// Who somebody is, where all may know.
    pub fn address(&self, nick: &str) -> Option<&Jid> {
        self.people.get(nick).filter(|_| self.open)?.jid.as_ref()
    }

    /// These are all who are there: who is known and not among them has left unseen.
    pub fn only(&mut self, there: &BTreeSet<Box<str>>) {
        let gone: Vec<Box<str>> = self.people.keys().filter(|nick| !there.contains(*nick)).cloned().collect();
        gone.iter().for_each(|nick| self.remove(nick, None));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::words::time::Wall;

    fn hall() -> (Domains, Hall) {
        let domains = Domains::new(&Config::empty());
        let room = Jid::parse("verona@rooms.example.com").expect("a JID");
        let hall = Hall::new(&domains, &room, Now { tick: Tick(0), wall: Wall(0) });
        (domains, hall)
    }

    fn occupant(nick: &str) -> Occupant {
        Occupant { nick: nick.into(), jid: Jid::parse("juliet@example.com/x").ok(), ..Occupant::default() }
    }

    #[test]
    fn who_somebody_is_is_told_only_where_all_may_know() {
        let (domains, mut hall) = hall();
        hall.put(&domains, occupant("Juliet"));
        assert_eq!(hall.address("Juliet"), None);
        // What a moderator saw before the room said that all may is known then.
        hall.reveal(&domains);
        hall.put(&domains, Occupant { jid: None, ..occupant("Juliet") });
        assert!(hall.address("Juliet").is_some());
    }

    #[test]
    fn of_a_crowd_only_so_many_are_known() {
        let (domains, mut hall) = hall();
        for number in 0..=PEOPLE {
            hall.put(&domains, occupant(&number.to_string()));
        }
        hall.put(&domains, occupant("0"));
        assert_eq!((hall.people.len(), hall.roster.len()), (PEOPLE, PEOPLE));
    }

    #[test]
    fn who_left_unseen_is_found_by_the_next_whole_picture() {
        let (domains, mut hall) = hall();
        hall.put(&domains, occupant("Juliet"));
        hall.put(&domains, occupant("Nurse"));
        hall.only(&BTreeSet::from(["Juliet".into()]));
        assert_eq!((hall.people.len(), hall.roster.len()), (1, 1));
    }
}
