//! What features know together about people: soft, per shard, bounded, gone after a restart.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::sessions::{Mood, Stage};
use crate::sip::uri::{Aor, SipAddress};
use crate::words::time::Tick;
use crate::xmpp::jid::Jid;

/// How many contacts' devices are remembered; the oldest by address go first.
const SHOWN_LIMIT: usize = 100_000;
/// How many users are known to be online, and with how many resources each.
const ONLINE_LIMIT: usize = 1_000_000;
const RESOURCES_LIMIT: usize = 64;
/// How many devices of one contact; the one that was shown longest ago goes first.
const DEVICES_LIMIT: usize = 16;

/// How many contacts' names are remembered; the first by address go first.
const NAMES_LIMIT: usize = 100_000;
/// How many contacts' spellings are remembered; the first by address go first.
const SPELLINGS_LIMIT: usize = 100_000;
/// How long a remembered name may be, in bytes.
const NAME_LENGTH: usize = 256;

/// The session of a user with a contact that lines go in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Talking {
    /// How far it is.
    pub stage: Stage,
    /// Its Call-ID, which is its thread, or stands for one.
    pub call_id: Box<str>,
    /// When anybody wrote last, in any of theirs.
    pub last: Tick,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Facts {
    /// The resources of XMPP users that are known to be online, with their priority, by bare JID.
    online: BTreeMap<Jid, BTreeMap<String, i8>>,
    /// The `gr` values that SIP contacts have themselves shown, the latest last.
    shown: BTreeMap<Aor, VecDeque<String>>,
    /// The display names that SIP contacts use.
    names: BTreeMap<Aor, String>,
    /// How SIP contacts write their own user part, where that is not how they are known here.
    spellings: BTreeMap<Aor, Box<str>>,
    /// The sessions of users (bare) with contacts, as far as they are there.
    sessions: BTreeMap<(Jid, Aor), Talking>,
    /// What users (bare) and contacts show of their attention; bounded by who tells it.
    moods: BTreeMap<Arc<(Jid, Aor)>, Mood>,
    /// What the contacts' devices have shown they can do.
    pub devices: super::devices::Devices,
    /// What the users' clients can do.
    pub clients: super::clients::Known,
    /// Which SIP contacts each XMPP user, by bare JID, lets see her presence.
    shares: BTreeMap<Jid, BTreeSet<Aor>>,
}

impl Facts {
    /// `full` is online with this priority.
    pub fn set_online(&mut self, full: &Jid, priority: i8) {
        let bare = full.bare();
        let is_full = match self.online.get(&bare) {
            Some(known) => known.len() >= RESOURCES_LIMIT,
            None => self.online.len() >= ONLINE_LIMIT,
        };
        // Whom there is no room for is not known to be online: she is asked when it matters.
        if let Some(resource) = full.resource().filter(|_| !is_full || self.is_online(full)) {
            self.online.entry(bare).or_default().insert(resource.to_owned(), priority);
        }
    }

    /// `jid` went offline; a bare JID means every resource.
    pub fn set_offline(&mut self, jid: &Jid) {
        let bare = jid.bare();
        match jid.resource() {
            None => {
                self.online.remove(&bare);
            }
            Some(resource) => {
                if let Some(resources) = self.online.get_mut(&bare) {
                    resources.remove(resource);
                    if resources.is_empty() {
                        self.online.remove(&bare);
                    }
                }
            }
        }
    }

    /// Nothing is known any more about who is online: the component link was lost.
    pub fn forget_online(&mut self) {
        self.online.clear();
    }

    /// Whether this full JID is known to be online.
    pub fn is_online(&self, full: &Jid) -> bool {
        full.resource().is_some_and(|resource| {
            self.online.get(&full.bare()).is_some_and(|known| known.contains_key(resource))
        })
    }

    /// Whether any resource of this XMPP user is known to be online.
    pub fn is_anyone_online(&self, user: &Jid) -> bool {
        if user.is_bare() { self.online.contains_key(user) } else { self.online.contains_key(&user.bare()) }
    }

    /// The contact has shown this device itself: in From, Contact or a presence document.
    pub fn show(&mut self, device: &SipAddress) {
        let Some(gr) = &device.gr else { return };
        if self.shown.len() >= SHOWN_LIMIT && !self.shown.contains_key(&device.aor) {
            self.shown.pop_first();
        }
        let known = self.shown.entry(device.aor.clone()).or_default();
        if known.back() != Some(gr) {
            known.retain(|one| one != gr);
            if known.len() >= DEVICES_LIMIT {
                known.pop_front();
            }
            known.push_back(gr.clone());
        }
    }

    /// `address` if the contact has shown that device, else the AOR: a registrar answers an unknown GRUU with 404.
    pub fn reachable(&self, address: &SipAddress) -> SipAddress {
        match &address.gr {
            Some(gr) if self.shown.get(&address.aor).is_some_and(|known| known.contains(gr)) => {
                address.clone()
            }
            _ => address.aor.address(),
        }
    }

    /// A device answered that it is unknown: its `gr` is not used again until it is shown anew.
    pub fn unshow(&mut self, device: &SipAddress) {
        if let (Some(gr), Some(known)) = (&device.gr, self.shown.get_mut(&device.aor)) {
            known.retain(|one| one != gr);
            if known.is_empty() {
                self.shown.remove(&device.aor);
            }
        }
    }

    /// The contact that is known here as `known` writes itself `own`. True if that is news.
    pub fn set_spelling(&mut self, known: &Aor, own: &Aor) -> bool {
        match own.user.as_deref().filter(|user| known.user.as_deref() != Some(user)) {
            None => self.spellings.remove(known).is_some(),
            Some(user) if self.spellings.get(known).is_some_and(|old| **old == *user) => false,
            Some(user) => {
                if self.spellings.len() >= SPELLINGS_LIMIT && !self.spellings.contains_key(known) {
                    self.spellings.pop_first();
                }
                self.spellings.insert(known.clone(), user.into());
                true
            }
        }
    }

    /// `known` as the contact writes itself: what a Request-URI and To of ours must say, since SIP compares user parts
    /// by their case (RFC 3261 §19.1.4).
    pub fn spelled(&self, known: &Aor) -> Aor {
        self.own_spelling(known).unwrap_or_else(|| known.clone())
    }

    /// The same, where it is not how the contact is known here.
    pub fn own_spelling(&self, known: &Aor) -> Option<Aor> {
        let user = self.spellings.get(known)?;
        Some(Aor { user: Some(user.to_string()), host: known.host.clone() })
    }

    /// How far a session of the user (bare) with the contact is.
    pub fn session(&self, user: &Jid, contact: &Aor) -> Stage {
        self.talking(user, contact).map(|talking| talking.stage).unwrap_or_default()
    }

    /// The session that lines of the user (bare) to the contact go in, as far as there is one.
    pub fn talking(&self, user: &Jid, contact: &Aor) -> Option<&Talking> {
        if self.sessions.is_empty() {
            return None;
        }
        self.sessions.get(&(user.clone(), contact.clone()))
    }

    /// The session that lines of the user (bare) to the contact go in has come so far; nothing: there is none any more.
    pub fn set_talking(&mut self, user: &Jid, contact: &Aor, talking: Option<Talking>) {
        let key = (user.clone(), contact.clone());
        match talking {
            None => self.sessions.remove(&key),
            Some(talking) => self.sessions.insert(key, talking),
        };
    }

    /// What the user (bare) and the contact show of their attention.
    pub fn mood(&self, user: &Jid, contact: &Aor) -> Mood {
        if self.moods.is_empty() {
            return Mood::default();
        }
        self.moods.get(&(user.clone(), contact.clone())).copied().unwrap_or_default()
    }

    /// That has changed, perhaps. True if it has.
    pub fn set_mood(&mut self, pair: &Arc<(Jid, Aor)>, change: impl FnOnce(&mut Mood)) -> bool {
        let known = self.moods.get(&**pair).copied().unwrap_or_default();
        let mut mood = known;
        change(&mut mood);
        if mood == Mood::default() {
            self.moods.remove(&**pair);
        } else if mood != known {
            self.moods.insert(pair.clone(), mood);
        }
        mood != known
    }

    /// The user (bare) lets the contact see her presence, or does so no longer.
    pub fn set_shares(&mut self, user: &Jid, contact: &Aor, shares: bool) {
        if shares {
            match self.shares.get_mut(user) {
                Some(contacts) => contacts.insert(contact.clone()),
                None => self.shares.entry(user.clone()).or_default().insert(contact.clone()),
            };
        } else if let Some(contacts) = self.shares.get_mut(user) {
            contacts.remove(contact);
            if contacts.is_empty() {
                self.shares.remove(user);
            }
        }
    }

    /// Whether the user (bare) is known to let the contact see her presence.
    pub fn shares(&self, user: &Jid, contact: &Aor) -> bool {
        self.shares.get(user).is_some_and(|contacts| contacts.contains(contact))
    }

    /// The contact calls itself `name`. An empty or overlong name changes nothing.
    pub fn set_name(&mut self, contact: &Aor, name: &str) {
        let name = name.trim();
        if name.is_empty() || name.len() > NAME_LENGTH {
            return;
        }
        match self.names.get_mut(contact) {
            Some(known) if known == name => {}
            Some(known) => name.clone_into(known),
            None => {
                if self.names.len() >= NAMES_LIMIT {
                    self.names.pop_first();
                }
                self.names.insert(contact.clone(), name.to_owned());
            }
        }
    }

    /// What the contact calls itself, as far as that is known.
    pub fn name_of(&self, contact: &Aor) -> Option<&str> {
        self.names.get(contact).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_resources_are_known_and_no_more() {
        let mut facts = Facts::default();
        let full = |number: usize| Jid::parse(&format!("juliet@example.com/{number}")).expect("a JID");
        for number in 0..2 * RESOURCES_LIMIT {
            facts.set_online(&full(number), 0);
        }
        assert!(facts.is_online(&full(0)) && !facts.is_online(&full(RESOURCES_LIMIT)));
        facts.set_offline(&full(0));
        facts.set_online(&full(RESOURCES_LIMIT), 0);
        assert!(facts.is_online(&full(RESOURCES_LIMIT)));
    }

    #[test]
    fn of_many_devices_the_latest_are_known() {
        let mut facts = Facts::default();
        let device = |number: usize| SipAddress {
            aor: Aor { user: Some("romeo".into()), host: "example.net".into() },
            gr: Some(number.to_string()),
        };
        for number in 0..=DEVICES_LIMIT {
            facts.show(&device(number));
            facts.show(&device(1));
        }
        assert_eq!(facts.reachable(&device(0)), device(0).aor.address());
        for number in [1, 2, DEVICES_LIMIT] {
            assert_eq!(facts.reachable(&device(number)), device(number));
        }
        facts.unshow(&device(2));
        assert_eq!(facts.reachable(&device(2)), device(2).aor.address());
    }
}
