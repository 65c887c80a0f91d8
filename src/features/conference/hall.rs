//! A room of SIP as all its members of XMPP share it: who is there, under which nick, the subject, and which lines are
//! the same for all. A plain value.
//!
//! A nick belongs to one. Members of ours have theirs first-hand; everybody else is called as the roster says, varied by a
//! number where that name is taken, and keeps the nick for as long as the focus says nothing else.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::before::Before;
use super::guest::{Guest, GuestId};
use crate::documents::conference::{Entity, User, View};
use crate::documents::date;
use crate::sip::uri::Aor;
use crate::words::id::Mint;
use crate::words::time::{Now, Tick, Wall};
use crate::xmpp::jid::Jid;
use crate::xmpp::muc::{Line, Occupant, nick};

/// How many speakers are known where there is no roster.
const HEARD: usize = 500;
/// How many of the last lines are known by what they say, to give them the same id for all.
const KNOWN: usize = 64;
/// How many of the last lines are kept for who comes with a further client, and how many bytes they may have together.
const OLD: usize = 20;
const OLD_BYTES: usize = 64 * 1024;

/// Who an occupant is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// One of ours.
    Guest(GuestId),
    /// Somebody of the roster, or, where there is none, somebody who spoke.
    Entity(Entity),
}

/// An occupant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Who it is.
    pub who: Who,
    /// As XMPP sees it.
    pub occupant: Occupant,
}

/// What somebody of the roster is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Here.
    pub nick: Box<str>,
    /// There.
    pub said: Box<str>,
    /// There is no roster: it was only heard.
    pub heard: bool,
}

/// What makes two copies of a line the same line: when it was said, and what.
pub type Mark = (Wall, u64);

/// The names of a line: the room's own id, and that of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    /// XEP-0359.
    pub stanza: String,
    /// The id of the message: that of its sender, where she is one of ours.
    pub message: String,
}

#[derive(Debug)]
struct Known {
    mark: Mark,
    ids: Ids,
    /// Who has had it.
    had: BTreeSet<GuestId>,
}

/// A line as it is kept for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Old {
    /// Under which nick it was said; nobody's: by the room.
    pub nick: Option<Box<str>>,
    /// What, with the time.
    pub line: Line,
    /// Its ids.
    pub ids: Ids,
    /// Who said it.
    pub occupant: Option<String>,
    /// When it came.
    pub came: Tick,
    /// It was said before who heard it was there.
    pub before: Option<Before>,
}

impl Old {
    /// How old it is.
    pub fn age(&self, now: Tick) -> Duration {
        (now - self.came) + self.before.map_or(Duration::ZERO, |before| before.age)
    }

    /// The same for somebody who comes now: all of it is of before, and has its time.
    pub fn as_before(&self, now: Now) -> Old {
        let mut old = self.clone();
        old.before = Some(Before { age: self.age(now.tick), is_sure: true });
        old.came = now.tick;
        old.line.stamp.get_or_insert_with(|| date::write_rfc3339(now.wall_at(self.came)));
        old
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Hall {
    /// What the focus tells.
    pub view: View,
    /// Whose documents are believed.
    pub teller: Option<GuestId>,
    /// The teller is new: it begins with a full document.
    pub wants_full: bool,
    /// Ours, by nick, from when they want to enter until they leave.
    pub nicks: BTreeMap<Box<str>, GuestId>,
    /// The same, by the person's address in SIP.
    pub addresses: BTreeSet<(Aor, GuestId)>,
    /// Ours, by the address of each client.
    pub clients: BTreeMap<Jid, GuestId>,
    /// All of ours, those who have left and have loose ends too.
    pub guests: BTreeSet<GuestId>,
    /// Who is there, by nick.
    pub people: BTreeMap<Box<str>, Person>,
    /// Those of them who are of SIP, by what the roster calls them.
    pub names: BTreeMap<Entity, Name>,
    /// The subject that is shown; empty where there is none.
    pub subject: String,
    /// Who left while the link was down.
    pub missed: BTreeMap<Box<str>, Occupant>,
    /// The focus's clock, as it showed for the last of ours who left.
    pub clock: Option<Now>,
    known: VecDeque<Known>,
    old: VecDeque<Old>,
}

impl Hall {
    /// The nick of somebody who is called so: it stands in an address, and is nobody else's.
    pub fn free_nick(&self, room: &Jid, wanted: &str, me: &Who) -> Box<str> {
        // What one of ours wants her server has judged.
        let base = match me {
            Who::Guest(_) => wanted.into(),
            Who::Entity(_) => fitting(room, wanted).unwrap_or_else(|| "guest".into()),
        };
        let is_free = |nick: &str| {
            let is_ours = self.nicks.get(nick).is_some_and(|id| *me != Who::Guest(*id));
            !is_ours && self.people.get(nick).is_none_or(|person| person.who == *me)
        };
        if is_free(&base) {
            return base;
        }
        let numbered = (2_u32..).map(|number| format!(" {number}")).find_map(|end| {
            let mut cut = base.len().min(1023 - end.len());
            while !base.is_char_boundary(cut) {
                cut -= 1;
            }
            let nick = format!("{}{end}", base[..cut].trim_end());
            (is_free(&nick) && room.with_resource(&nick).is_ok()).then_some(nick)
        });
        numbered.map_or(base, String::into_boxed_str)
    }

    /// The nick of somebody of the roster.
    pub fn nick_of(&self, entity: &Entity) -> Option<&str> {
        self.names.get(entity).map(|name| &*name.nick)
    }

    /// Whether one more speaker may be remembered.
    pub fn hears_more(&self) -> bool {
        self.names.values().filter(|name| name.heard).count() < HEARD
    }

    /// The ids of a line that came to one of ours: those that others of ours have had it by.
    pub fn ids(&mut self, mint: &mut Mint, room: &Jid, guest: GuestId, mark: Option<Mark>) -> Ids {
        let is_it = |known: &&mut Known| Some(known.mark) == mark && !known.had.contains(&guest);
        if let Some(known) = self.known.iter_mut().find(is_it) {
            known.had.insert(guest);
            return known.ids.clone();
        }
        let stanza = mint.token(crate::words::id::Partition::of(room.bare_str()));
        let ids = Ids { message: stanza.clone(), stanza };
        self.remember(mark, ids.clone(), guest);
        ids
    }

    /// One of ours says something: the others will have it by the same ids.
    pub fn says(&mut self, mark: Mark, ids: Ids, guest: GuestId) {
        self.remember(Some(mark), ids, guest);
    }

    fn remember(&mut self, mark: Option<Mark>, ids: Ids, guest: GuestId) {
        // Alone there is nobody to have it by another name.
        let Some(mark) = mark.filter(|_| self.nicks.len() > 1) else { return };
        if self.known.len() >= KNOWN {
            self.known.pop_front();
        }
        self.known.push_back(Known { mark, ids, had: BTreeSet::from([guest]) });
    }

    /// Keeps a line for a while; once, however many have it.
    pub fn keep(&mut self, old: Old) {
        if self.old.iter().any(|known| known.ids == old.ids) {
            return;
        }
        self.old.push_back(old);
        let bytes = |old: &VecDeque<Old>| old.iter().map(|old| old.line.body.len()).sum::<usize>();
        while self.old.len() > OLD || bytes(&self.old) > OLD_BYTES {
            self.old.pop_front();
        }
    }

    /// The last lines, the oldest first.
    pub fn old(&self) -> impl DoubleEndedIterator<Item = &Old> {
        self.old.iter()
    }

    /// What the focus's clock showed when somebody of ours came, while she is there.
    pub fn shown_for(&self, guest: &Guest) -> Option<Now> {
        guest.came.by_focus(self.joined(&guest.own))
    }

    /// When somebody of ours has joined, by the focus's clock. Nothing where she may be meant by another nick.
    fn joined(&self, own: &Aor) -> Option<Wall> {
        if self.of_address(own).count() > 1 {
            return None;
        }
        let user = self.view.speaker(&own.address(), None)?;
        user.endpoints.iter().filter_map(|endpoint| endpoint.joining_info.as_ref()?.when).max()
    }

    /// Those of ours who have this address in SIP.
    pub fn of_address(&self, address: &Aor) -> impl Iterator<Item = GuestId> + use<'_> {
        let all = (address.clone(), GuestId::MIN)..=(address.clone(), GuestId::MAX);
        self.addresses.range(all).map(|(_, id)| *id)
    }
}

/// What a user of the roster is called: its name, else the user part of its address, else the address.
pub fn name_of(user: &User) -> Box<str> {
    if let Some(name) = user.name().filter(|name| nick::of(name).is_some()) {
        return name.into();
    }
    let address = user.entity.address();
    let part = address.and_then(|address| address.gr.or(address.aor.user));
    part.filter(|part| !part.is_empty()).unwrap_or_else(|| user.entity.as_str().to_owned()).into()
}

/// A name as it can stand in an address of the room; nothing where nothing of it can.
pub fn fitting(room: &Jid, name: &str) -> Option<Box<str>> {
    Some(room.with_resource(&nick::of(name)?).ok()?.resource()?.into())
}

/// What tells a text from others.
pub fn print_of(text: &str) -> u64 {
    text.trim_end().bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::id::Seed;

    fn room() -> Jid {
        Jid::parse("verona@conference.example.net").expect("a JID")
    }

    fn entity(text: &str) -> Who {
        Who::Entity(Entity::new(text))
    }

    #[test]
    fn two_of_one_name_have_two_nicks() {
        let mut hall = Hall::default();
        let romeo = entity("sip:romeo@example.net");
        let person = Person { who: romeo.clone(), occupant: Occupant::default() };
        hall.people.insert("Romeo".into(), person);
        assert_eq!(&*hall.free_nick(&room(), " Romeo\t", &romeo), "Romeo");
        assert_eq!(&*hall.free_nick(&room(), "Romeo", &entity("sip:r2@example.net")), "Romeo 2");
        assert_eq!(&*hall.free_nick(&room(), "\u{1}", &romeo), "guest");
        let long = "x".repeat(1022) + "é";
        assert_eq!(hall.free_nick(&room(), &long, &romeo).len(), 1022);
    }

    #[test]
    fn who_wants_to_enter_has_the_nick_already() {
        let mut hall = Hall::default();
        hall.nicks.insert("Jule".into(), 7);
        assert_eq!(&*hall.free_nick(&room(), "Jule", &Who::Guest(7)), "Jule");
        assert_eq!(&*hall.free_nick(&room(), "Jule", &Who::Guest(8)), "Jule 2");
    }

    #[test]
    fn a_line_has_one_id_for_all_and_the_same_words_again_another() {
        let mut mint = Mint::new(Seed([1; 32]));
        let mut hall = Hall::default();
        hall.nicks.extend([("a".into(), 1), ("b".into(), 2)]);
        let mark = Some((Wall(5), print_of("ok")));
        let first = hall.ids(&mut mint, &room(), 1, mark);
        let again = hall.ids(&mut mint, &room(), 1, mark);
        assert_ne!(first, again);
        assert_eq!(hall.ids(&mut mint, &room(), 2, mark), first);
        assert_eq!(hall.ids(&mut mint, &room(), 2, mark), again);
        assert_ne!(hall.ids(&mut mint, &room(), 2, None), hall.ids(&mut mint, &room(), 1, None));
    }

    #[test]
    fn somebody_without_a_name_is_called_by_the_address() {
        let named = |text: &str| name_of(&User::new(Entity::new(text)));
        assert_eq!(&*named("sip:romeo@example.net"), "romeo");
        assert_eq!(&*named("sip:verona@example.net;gr=Romeo"), "Romeo");
        assert_eq!(&*named("sip:example.net"), "sip:example.net");
    }
}
