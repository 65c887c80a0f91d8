//! The messages from SIP that we have taken: those without a fate, and for a while those with one, so that the same
//! request again gets the same answer (RFC 3261 §8.2.2.2 in spirit, across transactions and restarts).
//!
//! The same request is one with the same From tag, Call-ID and CSeq, from the same sender to the same person: a client
//! that heard nothing sends it again in a new transaction, and a forking proxy may send it along two ways.

use std::collections::{BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

use super::place::{Rank, rank};
use crate::features::Incoming;
use crate::features::audit::view::{Says, View};
use crate::features::content::Asks;
use crate::sip::message::{HeaderName, Reply, ServerKey};
use crate::sip::uri::SipAddress;
use crate::store::record::{Key, Life, Record, Restored};
use crate::words::id::Partition;
use crate::words::index::Index;
use crate::words::time::{Now, Tick, Wall};
use crate::xmpp::jid::Jid;

/// The kind of these records in the store.
pub const RECORD: &str = "page";

/// How long an answer is remembered; over a start as long again, since only the calendar could say how much is left.
const REMEMBER: Duration = Duration::from_secs(6 * 60);

/// How many answers are remembered; at more than 500 messages a second the oldest go sooner.
const REMEMBERED: usize = 200_000;

/// Room for so many answers is not worth being given back.
const SMALL: usize = 1_000;

/// How long a record mostly is besides its text.
const ROOM: usize = 512;

/// Names a request of a sender's for ever; see the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name([u8; 20]);

impl Hash for Name {
    /// It is a hash already: a part of it tells as much as the whole.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let part: [u8; 8] = std::array::from_fn(|at| self.0[at]);
        state.write_u64(u64::from_le_bytes(part));
    }
}

impl Name {
    /// The name of a request.
    pub fn of(incoming: &Incoming) -> Name {
        let mut digest = Sha1::new();
        let (from, to) = (incoming.from.aor.text(), incoming.target.aor.text());
        for part in [&from, &to, &incoming.from_tag, &incoming.call_id] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part.as_bytes());
        }
        digest.update(incoming.cseq.to_be_bytes());
        Name(digest.finalize().into())
    }

    /// The name of a message in a session, which is unique by itself.
    pub fn of_session(name: [u8; 20]) -> Name {
        Name(name)
    }

    fn text(self) -> String {
        const DIGITS: [u8; 16] = *b"0123456789abcdef";
        let digits = self.0.map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        String::from_utf8_lossy(digits.as_flattened()).into_owned()
    }

    fn parse(text: &str) -> Option<Name> {
        let mut bytes = [0; 20];
        if text.len() != 40 || !text.is_ascii() {
            return None;
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
        }
        Some(Name(bytes))
    }
}

/// An answer, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    status: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(String, String)>,
}

impl Said {
    /// Keeps an answer.
    pub fn of(reply: &Reply) -> Said {
        let text = |name: &HeaderName| String::from_utf8_lossy(name.canonical()).into_owned();
        Said {
            status: reply.status,
            reason: reply.reason.clone(),
            headers: reply.headers.iter().map(|(name, value)| (text(name), value.clone())).collect(),
        }
    }

    /// The answer, to be given again.
    pub fn reply(&self) -> Reply {
        let name = |text: &String| HeaderName::parse(&Bytes::from(text.clone()));
        let mut reply = Reply::new(self.status);
        reply.reason.clone_from(&self.reason);
        reply.headers = self.headers.iter().map(|(text, value)| (name(text), value.clone())).collect();
        reply
    }

    /// Whether it said that the message was taken.
    pub fn is_success(&self) -> bool {
        self.status / 100 == 2
    }
}

/// A message that has not met its fate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Arrival {
    /// The id of its stanza, the same however often it is sent.
    pub id: String,
    /// The contact, with the device where it is known.
    pub from: Jid,
    /// The user, or the device that it goes to.
    pub to: Jid,
    /// The sender's address as it wrote it.
    pub sender: SipAddress,
    /// Call-ID, for the log.
    pub call_id: String,
    /// The body.
    pub text: String,
    /// The body with its emphasis.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rich: Option<String>,
    /// Its language.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lang: Option<String>,
    /// The subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The thread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<String>,
    /// When it was written, as far as that is believed; else when it came.
    pub written: Wall,
    /// When it came.
    pub accepted: Wall,
    /// When it is of no use any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Wall>,
    /// Hops left for what we send because of it.
    pub hops: u8,
    /// Its place in the order of coming, on disk.
    pub order: u64,
    /// The same, in this process.
    #[serde(skip)]
    pub turn: u64,
    /// 1 where it was in flight when a stream closed; 2 once it has gone alone after that.
    pub flights: u8,
    /// We chose the device; the sender meant the person.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub chosen: bool,
    /// Its failure is not told by a MESSAGE.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quiet: bool,
    /// The sender asked for a notification if it fails.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asked: bool,
    /// The stanza asks for a receipt.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub receipt: bool,
    /// The stanza asks for a marker when it is shown.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub marker: bool,
    /// What the sender asked to be told; that is remembered elsewhere.
    #[serde(skip)]
    pub asks: Option<Asks>,
    /// What was answered already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<Said>,
    /// It came in a session, which waits for its fate under this number.
    #[serde(skip)]
    pub ticket: Option<u64>,
    /// Who waits for the answer.
    #[serde(skip)]
    pub waiting: Vec<ServerKey>,
    /// It is out and not confirmed.
    #[serde(skip)]
    pub flying: bool,
}

impl Arrival {
    /// What it is called in SIP and in XMPP.
    pub fn names(&self) -> (&str, &str) {
        (&self.call_id, &self.id)
    }
}

/// A message that has met its fate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Done {
    /// The id of its stanza, for an error that comes late.
    pub id: String,
    /// The answer.
    pub said: Said,
    /// Its sender, where a late error would not find the way to it by the address alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<Box<SipAddress>>,
    /// Hops left for a late error.
    pub hops: u8,
    /// It came while a failure was told: its own, should it come late, is not told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quiet: bool,
    /// The sender asked for a notification if it fails.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asked: bool,
    /// It did not arrive, whatever was answered before that was known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failed: bool,
    /// An error has come since: there is nothing to say of another.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub objected: bool,
    /// Until when it is remembered.
    until: Wall,
}

/// A record's value, as it is read.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kept {
    Pending(Box<Arrival>),
    Done(Box<Done>),
}

/// A record's value, as it is written.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum Keep<'a> {
    Pending(&'a Arrival),
    Done(&'a Done),
}

/// What is known of a request.
pub enum Known<'a> {
    /// It was taken and has no fate yet.
    Pending(&'a mut Arrival),
    /// It has one.
    Done(&'a mut Done),
}

/// All that an owner has taken. See the module. There may be hundreds of thousands, so they are found by hash; what goes
/// through them sorts what it finds.
#[derive(Debug, Default)]
pub struct Arrivals {
    pending: Index<Name, (Partition, Box<Arrival>)>,
    done: Index<Name, (Partition, Box<Done>)>,
    by_id: Index<String, Name>,
    /// When each answer is forgotten, in that order.
    forget: VecDeque<(Tick, Name)>,
    /// The same of those of before the start.
    forget_restored: BTreeSet<(Tick, Wall, Name)>,
    /// What came back since the last start and has no fate.
    restored_pending: Vec<(Rank, u64, Name)>,
    /// The same of what has one.
    restored_done: Vec<(Wall, Name)>,
}

impl Arrivals {
    /// What is known of this request.
    pub fn get(&mut self, name: Name) -> Option<Known<'_>> {
        match self.pending.get_mut(&name) {
            Some((_, arrival)) => Some(Known::Pending(arrival)),
            None => self.done.get_mut(&name).map(|(_, done)| Known::Done(done)),
        }
    }

    /// A message without a fate.
    pub fn pending(&mut self, name: Name) -> Option<&mut Arrival> {
        self.pending.get_mut(&name).map(|(_, arrival)| &mut **arrival)
    }

    /// The partition of a message's user.
    pub fn user(&self, name: Name) -> Option<Partition> {
        self.pending.get(&name).map(|(partition, _)| *partition)
    }

    /// Which message has this stanza id.
    pub fn by_id(&self, id: &str) -> Option<Name> {
        self.by_id.get(id).copied()
    }

    /// Takes a message in; the record is to be saved.
    pub fn insert(&mut self, name: Name, arrival: Box<Arrival>) -> Record {
        let partition = Partition::of(arrival.to.bare_str());
        self.by_id.insert(arrival.id.clone(), name);
        let record = record(name, partition, &Keep::Pending(&arrival)).of_life(Life::First);
        self.pending.insert(name, (partition, arrival));
        record
    }

    /// The record of a message that has changed.
    pub fn changed(&self, name: Name) -> Option<Record> {
        if let Some((partition, arrival)) = self.pending.get(&name) {
            return Some(record(name, *partition, &Keep::Pending(arrival)));
        }
        let (partition, done) = self.done.get(&name)?;
        Some(record(name, *partition, &Keep::Done(done)))
    }

    /// A message meets its fate: it was answered so, and arrived unless it `failed`. The record is to be saved.
    pub fn settle(
        &mut self,
        now: Now,
        name: Name,
        said: Said,
        failed: bool,
        sender: Option<SipAddress>,
    ) -> Option<(Box<Arrival>, Record)> {
        let (partition, arrival) = self.pending.remove(&name)?;
        let until = now.wall + REMEMBER;
        let (sender, hops, quiet) = (sender.map(Box::new), arrival.hops, arrival.quiet);
        let asked = arrival.asked;
        let (id, objected) = (arrival.id.clone(), false);
        let done = Box::new(Done { id, said, sender, hops, quiet, asked, failed, objected, until });
        let record = record(name, partition, &Keep::Done(&done));
        self.done.insert(name, (partition, done));
        self.forget.push_back((now.tick + REMEMBER, name));
        Some((arrival, record))
    }

    /// A message that will never be answered is dropped; its record is to be forgotten.
    pub fn drop(&mut self, name: Name) -> Option<Key> {
        let (partition, arrival) = self.pending.remove(&name)?;
        self.by_id.remove(&arrival.id);
        Some(key(name, partition))
    }

    /// The next answer that is old enough to be forgotten.
    pub fn forgotten(&mut self, now: Tick) -> Option<Key> {
        let is_due = |at| at <= now || self.forget.len() + self.forget_restored.len() > REMEMBERED;
        self.next_timeout().filter(|at| is_due(*at))?;
        // What is of before the start is older.
        let restored = self.forget_restored.first().copied().filter(|(at, ..)| is_due(*at));
        let name = match restored {
            Some(first @ (_, _, name)) => {
                self.forget_restored.remove(&first);
                name
            }
            None => self.forget.pop_front()?.1,
        };
        let (partition, done) = self.done.remove(&name)?;
        self.by_id.remove(&done.id);
        self.give_back();
        Some(key(name, partition))
    }

    /// Gives back the room that many have left.
    fn give_back(&mut self) {
        if self.forget.capacity() > SMALL && self.forget.capacity() > 8 * self.forget.len() {
            self.pending.shrink_to_fit();
            self.done.shrink_to_fit();
            self.by_id.shrink_to_fit();
            self.forget.shrink_to(SMALL);
        }
    }

    /// When the next answer is forgotten.
    pub fn next_timeout(&self) -> Option<Tick> {
        let (new, restored) = (self.forget.front(), self.forget_restored.first());
        new.map(|(at, _)| *at).into_iter().chain(restored.map(|(at, ..)| *at)).min()
    }

    /// A record of before the start.
    pub fn restored(&mut self, record: &Restored) -> Result<(), String> {
        let name = Name::parse(&record.id).ok_or("the id is no name")?;
        match record.read::<Kept>().map_err(|error| error.to_string())? {
            Kept::Pending(arrival) => {
                self.by_id.insert(arrival.id.clone(), name);
                self.restored_pending.push((rank(arrival.accepted, arrival.order), arrival.order, name));
                self.pending.insert(name, (record.partition, arrival));
            }
            Kept::Done(done) => {
                self.by_id.insert(done.id.clone(), name);
                self.restored_done.push((done.until, name));
                self.done.insert(name, (record.partition, done));
            }
        }
        Ok(())
    }

    /// Records of before the start are there, of some users whole: their messages without a fate in the order of their
    /// coming, and the last place that they take. The calendar may have been set while nobody looked, in either direction:
    /// it says which answers are older, and not that one is old.
    pub fn start(&mut self, now: Now) -> (Vec<Name>, u64) {
        let until = now.tick + REMEMBER;
        let done = std::mem::take(&mut self.restored_done);
        self.forget_restored.extend(done.into_iter().map(|(wall, name)| (until, wall, name)));
        let mut pending = std::mem::take(&mut self.restored_pending);
        pending.sort();
        let last = pending.iter().map(|(_, order, _)| *order).max().unwrap_or_default();
        (pending.into_iter().map(|(_, _, name)| name).collect(), last)
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.pending.len() + self.done.len()
    }

    /// How many have no fate.
    pub fn unsettled(&self) -> usize {
        self.pending.len()
    }
}

/// What a record says.
pub fn view(record: &Restored) -> Result<View, String> {
    let name = Name::parse(&record.id).ok_or("its id is no name of a request")?;
    match record.read::<Kept>().map_err(|error| error.to_string())? {
        Kept::Pending(arrival) => Ok(View {
            key: key(name, Partition::of(arrival.to.bare_str())),
            contact: Some(arrival.sender.aor.clone()),
            says: Says::Waits {
                to_xmpp: true,
                rank: rank(arrival.accepted, arrival.order),
                is_refused: arrival.said.as_ref().is_some_and(|said| !said.is_success()),
                name: arrival.id,
            },
            user: Some(arrival.to),
        }),
        Kept::Done(done) => {
            let is_delivered = !done.failed && done.said.is_success();
            let says = Says::Settled { name: done.id, is_delivered, until: done.until };
            Ok(View { key: key(name, record.partition), user: None, contact: None, says })
        }
    }
}

fn key(name: Name, partition: Partition) -> Key {
    Key { kind: RECORD, partition, id: name.text() }
}

fn record(name: Name, partition: Partition, kept: &Keep<'_>) -> Record {
    let (room, life) = match kept {
        Keep::Pending(arrival) => (ROOM + arrival.text.len(), Life::Open),
        Keep::Done(_) => (ROOM / 4, Life::Brief),
    };
    Record::with_room(key(name, partition), kept, room).of_life(life)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_written_and_read() {
        let name = Name(std::array::from_fn(|at| at as u8 * 13));
        assert_eq!(Name::parse(&name.text()), Some(name));
        assert_eq!(Name::parse("xyz"), None);
    }

    #[test]
    fn an_answer_is_kept_with_its_headers() {
        let reply = Reply::new(301).because("Moved").with(HeaderName::Contact, "<sip:a@b>");
        let kept: Said = serde_json::from_slice(&serde_json::to_vec(&Said::of(&reply)).unwrap()).unwrap();
        assert_eq!(kept.reply(), reply);
    }
}
