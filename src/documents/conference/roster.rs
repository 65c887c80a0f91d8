//! What a notifier tells of a conference: documents that are built once for each change, and shared by all watchers.
//!
//! # One version for all
//!
//! RFC 4575 §5.2 scopes the version "within a subscription" and wants two things of it: that it rises, and that a partial
//! document is the next after the one before. One version of the room that all watchers share does both for each of them,
//! as long as a watcher that has missed a step gets a full document, which may be any number higher. So no body differs
//! by watcher, and none is built for one.
//!
//! The room makes a new version at most once a second ([`PACE`]), whatever happens in it: that is as often as a watcher is
//! told, so one who keeps up gets each step as its partial document. Who does not (a NOTIFY was outstanding, or failed) gets
//! a full one. A full document shows the room as it is, also what has not become a version yet: the next step then says it
//! again, which changes nothing. First versions are the seconds of the calendar, so that after a restart they go on rising.
//!
//! # Pieces and marks
//!
//! A user is written when it changes and at no other time; a document is put together from such pieces when the first
//! watcher asks for it. The one thing that a watcher may see and others may not, its own address beside its own entry (how
//! else would it know which of them it is, where addresses are hidden?), is put into a copy at a place that is known:
//! [`Document::marked`].
//!
//! # Leaving
//!
//! A deleted user has no children (§4.4), so how somebody left is told in one step (an endpoint that is disconnected, and by
//! what method) and the next step deletes the user.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::write::{self, Mark, Parts, Piece, Written};
use super::{Condition, Description, Disconnection, Endpoint, Entity, Execution, State, Status, User};
use crate::words::time::{Now, Tick};

/// The least time between two versions.
pub const PACE: Duration = Duration::from_secs(1);

/// A conference as it is told.
#[derive(Clone, Debug)]
pub struct Roster {
    entity: Entity,
    version: u32,
    description: Description,
    locked: Option<bool>,
    users: BTreeMap<Entity, Member>,
    open: Open,
    /// Before this no new version is made.
    earliest: Tick,
    /// The whole room, until something changes.
    full: Option<Document>,
    /// What the present version has changed.
    step: Option<Document>,
}

#[derive(Clone, Debug)]
struct Member {
    user: Box<User>,
    piece: Piece,
}

/// What has changed since the present version.
#[derive(Clone, Debug, Default)]
struct Open {
    users: BTreeMap<Entity, Change>,
    description: bool,
    condition: bool,
}

#[derive(Clone, Debug)]
enum Change {
    /// It is new.
    Came,
    /// It is other than it was, or was about to be deleted and is there again.
    Other,
    /// It is not there any more; this is how it left.
    Left(Box<Piece>),
    /// That has been told, or need not be.
    Deleted,
}

/// How somebody left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// By what method.
    pub how: Disconnection,
    /// When, why, and by whose doing.
    pub info: Execution,
}

/// How much of a roster a watcher has been told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen(Option<u32>);

impl Seen {
    /// The next document shall be a full one: the watcher has refreshed, or what was sent has not arrived.
    pub fn nothing(&mut self) {
        self.0 = None;
    }
}

/// A document that is written. To copy one is to share it.
#[derive(Clone, Debug)]
pub struct Document(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    version: u32,
    state: State,
    bytes: Bytes,
    marks: Vec<(Entity, Mark)>,
}

impl Document {
    /// The same bytes for all watchers.
    pub fn bytes(&self) -> Bytes {
        self.0.bytes.clone()
    }

    /// The bytes for one watcher: beside the entry of `user` stands its address `aor`, which others do not see. The shared
    /// bytes where there is no such entry.
    pub fn marked(&self, user: &Entity, aor: &str) -> Bytes {
        let Ok(place) = self.0.marks.binary_search_by(|(entity, _)| entity.cmp(user)) else {
            return self.bytes();
        };
        let mark = self.0.marks[place].1;
        let (before, after) = self.0.bytes.split_at(mark.at);
        [before, &write::marked(aor, mark), after].concat().into()
    }

    /// Its version.
    pub fn version(&self) -> u32 {
        self.0.version
    }

    /// Whether it is full, partial, or the end.
    pub fn state(&self) -> State {
        self.0.state
    }
}

impl Roster {
    /// A conference without users, under the address that is subscribed to.
    pub fn new(entity: Entity, now: Now) -> Roster {
        Roster {
            entity,
            version: u32::try_from(now.wall.0 / 1000).unwrap_or_default(),
            description: Description::default(),
            locked: None,
            users: BTreeMap::new(),
            open: Open::default(),
            earliest: now.tick,
            full: None,
            step: None,
        }
    }

    /// What the conference is about.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Says what the conference is about.
    pub fn describe(&mut self, change: impl FnOnce(&mut Description)) {
        let before = self.description.clone();
        change(&mut self.description);
        if self.description != before {
            self.open.description = true;
            self.full = None;
        }
    }

    /// Says whether anybody may still come.
    pub fn lock(&mut self, locked: bool) {
        if self.locked.replace(locked) != Some(locked) {
            self.open.condition = true;
            self.full = None;
        }
    }

    /// A user came, or has changed.
    pub fn put(&mut self, mut user: User) {
        user.state = State::Full;
        let before = self.users.get(&user.entity);
        if before.is_some_and(|before| *before.user == user) {
            return;
        }
        let entity = user.entity.clone();
        let is_new = match (self.open.users.get(&entity), before.is_some()) {
            (Some(Change::Came), _) => true,
            // It was there in the present version.
            (Some(_), _) => false,
            (None, was_there) => !was_there,
        };
        self.open.condition |= before.is_none();
        self.open.users.insert(entity.clone(), if is_new { Change::Came } else { Change::Other });
        let piece = Piece::of(&user);
        self.users.insert(entity, Member { user: Box::new(user), piece });
        self.full = None;
    }

    /// A user left. Without a word how, it is only deleted: so for a change of its entity.
    pub fn remove(&mut self, entity: &Entity, leaving: Option<Leaving>) {
        let Some(member) = self.users.remove(entity) else { return };
        self.open.condition = true;
        self.full = None;
        if matches!(self.open.users.get(entity), Some(Change::Came)) {
            // Nobody has been told in a step. Who has seen it in a full document is told that it is deleted.
            self.open.users.insert(entity.clone(), Change::Deleted);
            return;
        }
        let change = match leaving {
            Some(leaving) => Change::Left(Box::new(Piece::of(&left(*member.user, &leaving)))),
            None => Change::Deleted,
        };
        self.open.users.insert(entity.clone(), change);
    }

    /// A user who is there.
    pub fn user(&self, entity: &Entity) -> Option<&User> {
        self.users.get(entity).map(|member| &*member.user)
    }

    /// All who are there, in the order of their entities.
    pub fn users(&self) -> impl Iterator<Item = &User> {
        self.users.values().map(|member| &*member.user)
    }

    /// How many are there.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Nobody is there.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// How many bytes all users take in a full document, about.
    pub fn size(&self) -> usize {
        self.users.values().map(|member| member.piece.len()).sum()
    }

    /// When [`Roster::step`] is wanted.
    pub fn next(&self) -> Option<Tick> {
        let is_open = self.open.description || self.open.condition || !self.open.users.is_empty();
        is_open.then_some(self.earliest)
    }

    /// Makes what has changed a new version, if it is time. Then there is news for every watcher who has been told anything.
    pub fn step(&mut self, now: Now) -> bool {
        if self.next().is_none_or(|at| at > now.tick) {
            return false;
        }
        let open = std::mem::take(&mut self.open);
        self.version = self.version.saturating_add(1);
        self.earliest = now.tick + PACE;
        let users = open.users.iter().map(|(entity, change)| {
            let piece = match change {
                Change::Came | Change::Other => self.users.get(entity).map(|member| &member.piece),
                Change::Left(piece) => Some(&**piece),
                Change::Deleted => None,
            };
            (entity, piece)
        });
        let written = write::document(Parts {
            entity: &self.entity,
            state: State::Partial,
            version: self.version,
            description: open.description.then_some(&self.description),
            condition: open.condition.then(|| self.condition()),
            users: (!open.users.is_empty()).then_some(users),
        });
        self.step = Some(made(self.version, State::Partial, written));
        // A full document of before says the same, under a number that is not its own any more.
        self.full = None;
        let told = open.users.into_iter().filter(|(_, change)| matches!(change, Change::Left(_)));
        self.open.users = told.map(|(entity, _)| (entity, Change::Deleted)).collect();
        true
    }

    /// Whether there is something that this watcher has not been told.
    pub fn has_news(&self, seen: Seen) -> bool {
        seen.0 != Some(self.version)
    }

    /// What to tell a watcher next: a full document first, then each step; a full one again to who has missed any. Nothing
    /// where there is no news. It counts as told.
    pub fn tell(&mut self, seen: &mut Seen) -> Option<Document> {
        let told = seen.0.replace(self.version);
        match told {
            Some(version) if version == self.version => None,
            Some(version) if version.checked_add(1) == Some(self.version) && self.step.is_some() => {
                self.step.clone()
            }
            _ => Some(self.full()),
        }
    }

    /// The whole room.
    pub fn full(&mut self) -> Document {
        if let Some(full) = &self.full {
            return full.clone();
        }
        let written = write::document(Parts {
            entity: &self.entity,
            state: State::Full,
            version: self.version,
            description: Some(&self.description),
            condition: Some(self.condition()),
            users: Some(self.users.iter().map(|(entity, member)| (entity, Some(&member.piece)))),
        });
        let document = made(self.version, State::Full, written);
        self.full.insert(document).clone()
    }

    /// The end of the conference, for all who watch it.
    pub fn end(&self) -> Document {
        let version = self.version.saturating_add(1);
        let written = write::document(Parts {
            entity: &self.entity,
            state: State::Deleted,
            version,
            description: None,
            condition: None,
            users: None::<std::iter::Empty<_>>,
        });
        made(version, State::Deleted, written)
    }

    fn condition(&self) -> Condition {
        Condition {
            user_count: Some(u32::try_from(self.users.len()).unwrap_or(u32::MAX)),
            active: Some(true),
            locked: self.locked,
        }
    }
}

fn made(version: u32, state: State, written: Written) -> Document {
    let Written { bytes, marks } = written;
    // Without the room that writing left: it stays as long as the version.
    let bytes = Bytes::from(bytes.into_boxed_slice());
    Document(Arc::new(Inner { version, state, bytes, marks }))
}

/// A user whose endpoints have all left this way.
fn left(mut user: User, leaving: &Leaving) -> User {
    if user.endpoints.is_empty() {
        user.endpoints.push(Endpoint { entity: user.entity.clone(), ..Endpoint::default() });
    }
    for endpoint in &mut user.endpoints {
        endpoint.status = Some(Status::Disconnected);
        endpoint.disconnection = Some(leaving.how);
        endpoint.disconnection_info = Some(leaving.info.clone());
        endpoint.media.clear();
    }
    user
}
