//! What is known of the clients that are online: a value that features share. Bounded, gone with the link.

use std::collections::BTreeMap;

use crate::xmpp::jid::Jid;

/// How many users are remembered; the first by address go first.
const USERS: usize = 50_000;
/// How many clients of one user.
const CLIENTS: usize = 16;
/// How many hashes; the first by value go first.
const HASHES: usize = 2_000;

/// What a client can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ability {
    /// It confirms what it receives (XEP-0184).
    pub receipts: bool,
    /// It shows chat states (XEP-0085).
    pub states: bool,
}

/// One client.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Client {
    /// It shows nothing.
    Silent,
    /// It shows this hash, and was asked what it means or not.
    Shows(Box<str>, bool),
    /// It said so of itself, with this hash, which does not prove it.
    Says(Box<str>, Ability),
}

/// See the module.
#[derive(Debug, Default)]
pub struct Known {
    users: BTreeMap<Jid, BTreeMap<String, Client>>,
    hashes: BTreeMap<Box<str>, Ability>,
}

impl Known {
    /// A client shows a hash. True if it should be asked what that means.
    pub fn shows(&mut self, client: &Jid, ver: &str) -> bool {
        let is_known = self.hashes.contains_key(ver);
        let Some(known) = self.entry(client) else { return false };
        match known {
            Client::Shows(shown, asked) if **shown == *ver => !is_known && !*asked,
            Client::Says(shown, _) if **shown == *ver => false,
            _ => {
                *known = Client::Shows(ver.into(), false);
                !is_known
            }
        }
    }

    /// A client shows none.
    pub fn shows_nothing(&mut self, client: &Jid) {
        if let Some(known) = self.entry(client) {
            *known = Client::Silent;
        }
    }

    /// A client was asked about the hash that it shows.
    pub fn asked(&mut self, client: &Jid) {
        if let Some(Client::Shows(_, asked)) = self.entry(client) {
            *asked = true;
        }
    }

    /// A hash means this: it was computed.
    pub fn proved(&mut self, ver: &str, can: Ability) {
        if self.hashes.len() >= HASHES && !self.hashes.contains_key(ver) {
            self.hashes.pop_first();
        }
        self.hashes.insert(ver.into(), can);
    }

    /// A client said what it can do, and its hash does not prove it.
    pub fn says(&mut self, client: &Jid, can: Ability) {
        if let Some(known) = self.entry(client)
            && let Client::Shows(ver, _) = known
        {
            *known = Client::Says(std::mem::take(ver), can);
        }
    }

    /// A client went offline; a bare JID means all of them.
    pub fn gone(&mut self, client: &Jid) {
        let user = client.bare();
        let Some(resource) = client.resource() else {
            self.users.remove(&user);
            return;
        };
        if let Some(clients) = self.users.get_mut(&user) {
            clients.remove(resource);
            if clients.is_empty() {
                self.users.remove(&user);
            }
        }
    }

    /// The link was lost: nobody is known to be online. Hashes mean what they meant.
    pub fn forget_all(&mut self) {
        self.users.clear();
    }

    /// Whether a client of this user (bare) confirms what it receives: yes if one does, no if all are known and none does.
    pub fn confirms(&self, user: &Jid) -> Option<bool> {
        let mut all = Some(false);
        for client in self.users.get(user)?.values() {
            match self.ability(client).map(|can| can.receipts) {
                Some(true) => return Some(true),
                Some(false) => {}
                None => all = None,
            }
        }
        all
    }

    /// Whether a client of this user (bare) has said that it shows chat states.
    pub fn shows_states(&self, user: &Jid) -> bool {
        let clients = self.users.get(user).into_iter().flat_map(BTreeMap::values);
        clients.filter_map(|client| self.ability(client)).any(|can| can.states)
    }

    fn ability(&self, client: &Client) -> Option<Ability> {
        match client {
            Client::Silent => None,
            Client::Shows(ver, _) => self.hashes.get(ver).copied(),
            Client::Says(_, can) => Some(*can),
        }
    }

    fn entry(&mut self, client: &Jid) -> Option<&mut Client> {
        let resource = client.resource()?;
        let user = client.bare();
        if self.users.len() >= USERS && !self.users.contains_key(&user) {
            self.users.pop_first();
        }
        let clients = self.users.entry(user).or_default();
        if clients.len() >= CLIENTS && !clients.contains_key(resource) {
            return None;
        }
        Some(clients.entry(resource.to_owned()).or_insert(Client::Silent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(resource: &str) -> Jid {
        Jid::parse("juliet@example.com").and_then(|user| user.with_resource(resource)).expect("a JID")
    }

    const YES: Ability = Ability { receipts: true, states: false };
    const NO: Ability = Ability { receipts: false, states: false };

    #[test]
    fn a_hash_that_is_proved_speaks_for_all_who_show_it() {
        let mut known = Known::default();
        let juliet = client("a").bare();
        assert_eq!(known.confirms(&juliet), None);
        assert!(known.shows(&client("a"), "x") && known.shows(&client("b"), "x"));
        known.asked(&client("a"));
        assert!(!known.shows(&client("a"), "x"), "asked already");
        known.proved("x", NO);
        assert!(!known.shows(&client("b"), "x"));
        assert_eq!(known.confirms(&juliet), Some(false));
        known.forget_all();
        assert!(!known.shows(&client("a"), "x"), "the hash means what it meant");
    }

    #[test]
    fn one_who_confirms_is_enough_and_one_who_is_not_known_leaves_doubt() {
        let mut known = Known::default();
        let juliet = client("a").bare();
        known.shows(&client("a"), "x");
        known.says(&client("a"), NO);
        assert_eq!(known.confirms(&juliet), Some(false));
        known.shows_nothing(&client("b"));
        assert_eq!(known.confirms(&juliet), None);
        known.shows(&client("c"), "y");
        known.proved("y", YES);
        assert_eq!(known.confirms(&juliet), Some(true));
        known.gone(&client("c"));
        known.gone(&client("b"));
        assert_eq!(known.confirms(&juliet), Some(false));
        assert!(known.shows(&client("a"), "z"), "another version is asked");
        known.gone(&juliet);
        assert!(known.users.is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let mut known = Known::default();
        for number in 0..HASHES.max(USERS) + 5 {
            known.proved(&number.to_string(), NO);
            known.shows_nothing(&Jid::parse(&format!("{number}@example.com/x")).expect("a JID"));
            known.shows_nothing(&client(&number.to_string()));
        }
        assert!(known.hashes.len() == HASHES && known.users.len() <= USERS);
        assert!(known.users.values().all(|clients| clients.len() <= CLIENTS));
    }
}
