//! What a subscriber knows of a conference (RFC 4575 §4.6): documents go in, what they changed comes out.
//!
//! A full document is taken whatever its version (docs/decisions/rosters.md): the dialog has put NOTIFYs in order already. Of
//! partial ones each must be the next; behind a gap the owner asks for a full one.

use std::collections::{BTreeMap, BTreeSet};

use super::{Condition, ConferenceInfo, Description, Endpoint, Entity, State, User, Users};
use crate::sip::uri::SipAddress;

/// The most users of a conference that are remembered, if a focus goes on telling of new ones.
const USERS: usize = 4_000;
/// The most endpoints of a user and streams of an endpoint, likewise.
const OTHERS: usize = 16;

/// What is known.
#[derive(Clone, Debug, Default)]
pub struct View {
    version: Option<u32>,
    /// There was a full document.
    is_whole: bool,
    description: Description,
    condition: Condition,
    users: BTreeMap<Entity, User>,
    /// Who has which address, and as what.
    addresses: BTreeSet<(SipAddress, Use, Entity)>,
}

/// What an address is to a user; what comes first says more of who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    Entity,
    Endpoint,
    Associated,
}

/// What came of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was taken, and this is new. It may be nothing.
    News(Vec<News>),
    /// It is older than what is known; nothing has changed.
    Old,
    /// Something is missing before it; nothing has changed. A refresh brings a full document.
    Gap,
    /// The conference is over.
    Over,
}

/// Something new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// What the conference is about.
    Described,
    /// How it is.
    Condition,
    /// A user came.
    Came(Entity),
    /// A user has changed; this is how it was.
    Changed(Box<User>),
    /// A user is gone; this is the last that was known.
    Gone(Box<User>),
}

impl View {
    /// Takes a document. A user in it who says nothing new is no news.
    pub fn take(&mut self, info: ConferenceInfo) -> Taken {
        match info.state {
            State::Deleted => {
                *self = View::default();
                return Taken::Over;
            }
            State::Full => {
                self.is_whole = true;
                self.version = info.version;
            }
            State::Partial => {
                if !self.is_whole {
                    return Taken::Gap;
                }
                match (self.version, info.version) {
                    (Some(known), Some(version)) if version <= known => return Taken::Old,
                    (Some(known), Some(version)) if version > known.saturating_add(1) => return Taken::Gap,
                    _ => self.version = info.version.or(self.version),
                }
            }
        }
        let mut news = Vec::new();
        let is_full = info.state == State::Full;
        self.take_description(info.description, is_full, &mut news);
        let condition = if is_full { Some(info.condition.unwrap_or_default()) } else { info.condition };
        if let Some(condition) = condition
            && condition != self.condition
        {
            self.condition = condition;
            news.push(News::Condition);
        }
        // §5.2: a full document has users. One without says nothing of them.
        if let Some(users) = info.users {
            self.take_users(users, &mut news);
        }
        Taken::News(news)
    }

    /// What the conference is about.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// How it is.
    pub fn condition(&self) -> Condition {
        self.condition
    }

    /// A user.
    pub fn user(&self, entity: &Entity) -> Option<&User> {
        self.users.get(entity)
    }

    /// Who it is that has this address: by entity, by endpoint, by further addresses; then the person behind the device, if a
    /// person is what the conference lists; then who alone has this name. A focus names speakers as it likes.
    pub fn speaker(&self, address: &SipAddress, name: Option<&str>) -> Option<&User> {
        let person = address.aor.address();
        self.at(address).or_else(|| self.at(&person)).or_else(|| {
            let name = name.map(str::trim).filter(|name| !name.is_empty())?;
            let mut named = self.users.values().filter(|user| user.name() == Some(name));
            named.next().filter(|_| named.next().is_none())
        })
    }

    fn at(&self, address: &SipAddress) -> Option<&User> {
        let first = (address.clone(), Use::Entity, Entity::default());
        let (found, _, entity) = self.addresses.range(first..).next()?;
        self.users.get(entity).filter(|_| found == address)
    }

    /// All users, in the order of their entities.
    pub fn users(&self) -> impl Iterator<Item = &User> {
        self.users.values()
    }

    /// How many users are known.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// No user is known.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// There has been a full document.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    fn take_description(&mut self, description: Option<Description>, is_full: bool, news: &mut Vec<News>) {
        let description = match description {
            Some(description) => description,
            None if is_full => Description::default(),
            None => return,
        };
        if description != self.description {
            self.description = description;
            news.push(News::Described);
        }
    }

    fn take_users(&mut self, users: Users, news: &mut Vec<News>) {
        if users.state != State::Partial {
            let mut before = std::mem::take(&mut self.users);
            for user in users.list {
                let old = before.remove(&user.entity);
                self.put(old, user, news);
            }
            for user in before.into_values() {
                self.index(&user, false);
                news.push(News::Gone(Box::new(user)));
            }
            return;
        }
        for user in users.list {
            let old = self.users.remove(&user.entity);
            match (user.state, old) {
                (State::Deleted, Some(old)) => {
                    self.index(&old, false);
                    news.push(News::Gone(Box::new(old)));
                }
                (State::Deleted, None) => {}
                (State::Partial, Some(old)) => {
                    let merged = merged(old.clone(), user);
                    self.put(Some(old), merged, news);
                }
                (_, old) => self.put(old, user, news),
            }
        }
    }

    fn put(&mut self, old: Option<User>, mut user: User, news: &mut Vec<News>) {
        user.state = State::Full;
        user.endpoints.retain(|endpoint| endpoint.state != State::Deleted);
        user.endpoints.iter_mut().for_each(|endpoint| endpoint.state = State::Full);
        match old {
            Some(old) if old == user => {}
            Some(old) => {
                self.index(&old, false);
                self.index(&user, true);
                news.push(News::Changed(Box::new(old)));
            }
            None if self.users.len() >= USERS => return,
            None => {
                self.index(&user, true);
                news.push(News::Came(user.entity.clone()));
            }
        }
        self.users.insert(user.entity.clone(), user);
    }
}

impl View {
    /// Remembers or forgets the addresses of a user.
    fn index(&mut self, user: &User, is_there: bool) {
        let endpoints = user.endpoints.iter().map(|endpoint| (&endpoint.entity, Use::Endpoint));
        let further = user.aors.iter().map(|aor| (aor, Use::Associated));
        for (entity, what) in [(&user.entity, Use::Entity)].into_iter().chain(endpoints).chain(further) {
            let Some(address) = entity.address() else { continue };
            let entry = (address, what, user.entity.clone());
            if is_there {
                self.addresses.insert(entry);
            } else {
                self.addresses.remove(&entry);
            }
        }
    }
}

/// A user with what a partial element says of it (§4.6, step 3): each part that is there replaces the one that was.
fn merged(mut user: User, news: User) -> User {
    user.display_text = news.display_text.or(user.display_text);
    user.nickname = news.nickname.or(user.nickname);
    if !news.aors.is_empty() {
        user.aors = news.aors;
    }
    if !news.roles.is_empty() {
        user.roles = news.roles;
    }
    for endpoint in news.endpoints {
        match user.endpoints.iter().position(|known| known.entity == endpoint.entity) {
            None if user.endpoints.len() >= OTHERS => {}
            None => user.endpoints.push(endpoint),
            Some(place) if endpoint.state == State::Partial => {
                let known = std::mem::take(&mut user.endpoints[place]);
                user.endpoints[place] = merged_endpoint(known, endpoint);
            }
            Some(place) => user.endpoints[place] = endpoint,
        }
    }
    user
}

fn merged_endpoint(known: Endpoint, news: Endpoint) -> Endpoint {
    let mut media = known.media;
    for stream in news.media {
        match media.iter().position(|known| known.id == stream.id) {
            Some(place) => media[place] = stream,
            None if media.len() >= OTHERS => {}
            None => media.push(stream),
        }
    }
    Endpoint {
        entity: known.entity,
        state: State::Full,
        display_text: news.display_text.or(known.display_text),
        status: news.status.or(known.status),
        joining: news.joining.or(known.joining),
        joining_info: news.joining_info.or(known.joining_info),
        disconnection: news.disconnection.or(known.disconnection),
        disconnection_info: news.disconnection_info.or(known.disconnection_info),
        media,
    }
}
