//! What two people's conversation has shown so far: which of the user's devices wrote last, and which Call-IDs mean a
//! thread. Soft and bounded: whoever has been silent longest is forgotten first.
//!
//! It is written at a clean stop and not with each message: see `docs/decisions/message-threads.md`. So a record may be
//! older than what happened before a crash; nothing in it becomes wrong by that, it only knows less.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::features::Cx;
use crate::features::audit::view::{Says, View};
use crate::sip::uri::Aor;
use crate::store::record::{Key, Record, Restored};
use crate::words::index::Index;
use crate::words::time::{Tick, Wall};
use crate::xmpp::jid::Jid;

/// The kind of these records in the store.
pub const RECORD: &str = "talk";

/// How many pairs are remembered.
const PAIRS: usize = 10_000;
/// How many Call-IDs are remembered for each.
const CALLS: usize = 16;
/// A longer Call-ID is not remembered.
const CALL_ID_LIMIT: usize = 256;
/// A longer thread is not remembered.
const THREAD_LIMIT: usize = 1024;
/// Who has been silent for so long is not remembered over a stop.
const SILENT: Duration = Duration::from_secs(7 * 24 * 3600);
/// How many pairs a stop writes at most, those who wrote last, and how many at a time.
const WRITTEN: usize = 2_000;
const TOGETHER: usize = 100;

type PairKey = (Jid, Aor);

/// See the module.
#[derive(Debug, Default)]
pub struct Pairs {
    known: Index<Arc<PairKey>, Pair>,
    by_use: BTreeMap<u64, Arc<PairKey>>,
    uses: u64,
    /// What the store gave back, until all is there.
    restored: Vec<Kept>,
    /// Forgotten here and not yet in the store.
    forgotten: Vec<Key>,
    /// The process stops, since then: these are still to be written.
    writing: Option<(Tick, Vec<Arc<PairKey>>)>,
}

#[derive(Debug, Default)]
struct Pair {
    used: u64,
    /// When they wrote last.
    at: Wall,
    /// There is a record of it.
    is_kept: bool,
    /// More is known than the record says.
    is_news: bool,
    resource: Option<String>,
    calls: VecDeque<Call>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Call {
    call_id: String,
    /// The user's thread for it, where that is another text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    thread: Option<String>,
}

/// What is known of a pair when a message comes from the contact.
#[derive(Debug)]
pub struct Received<'a> {
    /// The thread that it belongs to, if it belongs to one: a Call-ID is a thread when we sent it, or when the contact uses
    /// it again.
    pub thread: Option<String>,
    /// The device that the user wrote from last.
    pub resource: Option<&'a str>,
}

/// A pair on disk.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    user: Jid,
    contact: Aor,
    at: Wall,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resource: Option<String>,
    calls: VecDeque<Call>,
}

impl Pairs {
    /// The user wrote to the contact from this device, under this Call-ID, in this thread.
    pub fn sent(&mut self, now: Wall, user: &Jid, contact: &Aor, call_id: &str, thread: Option<&str>) {
        let pair = self.talk(now, user, contact);
        pair.resource = user.resource().map(str::to_owned);
        pair.remember(call_id, thread);
    }

    /// The contact wrote to the user under this Call-ID.
    pub fn received(&mut self, now: Wall, user: &Jid, contact: &Aor, call_id: &str) -> Received<'_> {
        let pair = self.talk(now, user, contact);
        let known = pair.calls.iter().find(|call| call.call_id == call_id);
        let thread = known.map(|call| call.thread.clone().unwrap_or_else(|| call_id.to_owned()));
        if thread.is_none() {
            pair.add(call_id, None);
        }
        Received { thread, resource: pair.resource.as_deref() }
    }

    /// The Call-ID that a thread of the user's has with the contact, when it could not be the thread itself.
    pub fn call_id_of(&self, user: &Jid, contact: &Aor, thread: &str) -> Option<&str> {
        let pair = self.known.get(&(user.bare(), contact.clone()))?;
        let call = pair.calls.iter().find(|call| call.thread.as_deref() == Some(thread))?;
        Some(&call.call_id)
    }

    /// A record of before the start.
    pub fn restored(&mut self, record: &Restored) -> Result<(), String> {
        self.restored.push(record.read().map_err(|error| error.to_string())?);
        Ok(())
    }

    /// All records of before the start are there.
    pub fn start(&mut self, cx: &mut Cx<'_>) {
        let mut restored = std::mem::take(&mut self.restored);
        restored.sort_by(|one, other| {
            (one.at, &one.user, &one.contact).cmp(&(other.at, &other.user, &other.contact))
        });
        for kept in restored {
            if kept.at + SILENT < cx.now.wall {
                cx.forget(key(&kept.user, &kept.contact));
                continue;
            }
            let Kept { user, contact, at, resource, calls } = kept;
            let pair = self.pair(&user, &contact);
            *pair = Pair { used: pair.used, at, is_kept: true, is_news: false, resource, calls };
        }
        self.forget(cx);
    }

    /// The process stops: writes what the store does not know, some at a time. True when that is done.
    pub fn stop(&mut self, cx: &mut Cx<'_>) -> bool {
        if self.writing.is_none() {
            let latest = self.by_use.values().rev();
            let news = latest.filter(|key| self.known.get(*key).is_some_and(|pair| pair.is_news));
            self.writing = Some((cx.now.tick, news.take(WRITTEN).cloned().collect()));
            self.forget(cx);
        }
        let Some((_, waiting)) = &mut self.writing else { return true };
        for named in waiting.drain(waiting.len().saturating_sub(TOGETHER)..) {
            let Some(pair) = self.known.get_mut(&named) else { continue };
            (pair.is_kept, pair.is_news) = (true, false);
            let (user, contact) = (named.0.clone(), named.1.clone());
            let (resource, calls) = (pair.resource.clone(), pair.calls.clone());
            let key = key(&user, &contact);
            cx.save(Record::new(key, &Kept { user, contact, at: pair.at, resource, calls }));
        }
        waiting.is_empty()
    }

    /// When [`Pairs::stop`] is to be asked again.
    pub fn next_timeout(&self) -> Option<Tick> {
        self.writing.as_ref().filter(|(_, waiting)| !waiting.is_empty()).map(|(since, _)| *since)
    }

    fn forget(&mut self, cx: &mut Cx<'_>) {
        for key in self.forgotten.drain(..) {
            cx.forget(key);
        }
    }

    /// They write to each other now.
    fn talk(&mut self, now: Wall, user: &Jid, contact: &Aor) -> &mut Pair {
        let pair = self.pair(user, contact);
        (pair.at, pair.is_news) = (now, true);
        pair
    }

    fn pair(&mut self, user: &Jid, contact: &Aor) -> &mut Pair {
        let key = (user.bare(), contact.clone());
        self.uses += 1;
        let known = self.known.get(&key).and_then(|pair| self.by_use.remove(&pair.used));
        if known.is_none()
            && self.known.len() >= PAIRS
            && let Some((_, oldest)) = self.by_use.pop_first()
            && let Some(pair) = self.known.remove(&oldest)
            && pair.is_kept
        {
            self.forgotten.push(self::key(&oldest.0, &oldest.1));
        }
        let key = known.unwrap_or_else(|| Arc::new(key));
        self.by_use.insert(self.uses, key.clone());
        let pair = self.known.entry(key).or_default();
        pair.used = self.uses;
        pair
    }
}

fn key(user: &Jid, contact: &Aor) -> Key {
    Key::of_pair(RECORD, user.bare_str(), contact)
}

/// What a record says.
pub fn view(record: &Restored) -> Result<View, String> {
    let kept: Kept = record.read().map_err(|error| error.to_string())?;
    let key = key(&kept.user, &kept.contact);
    Ok(View { key, user: Some(kept.user), contact: Some(kept.contact), says: Says::Memory })
}

impl Pair {
    fn remember(&mut self, call_id: &str, thread: Option<&str>) {
        if fits(call_id, thread) {
            self.calls.retain(|call| call.call_id != call_id);
            self.add(call_id, thread);
        }
    }

    /// Remembers a Call-ID that is not known.
    fn add(&mut self, call_id: &str, thread: Option<&str>) {
        if !fits(call_id, thread) {
            return;
        }
        if self.calls.len() >= CALLS {
            self.calls.pop_front();
        }
        let thread = thread.filter(|thread| *thread != call_id).map(str::to_owned);
        self.calls.push_back(Call { call_id: call_id.to_owned(), thread });
    }
}

/// Whether they are short enough to be remembered.
fn fits(call_id: &str, thread: Option<&str>) -> bool {
    call_id.len() <= CALL_ID_LIMIT && thread.is_none_or(|thread| thread.len() <= THREAD_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Wall = Wall(1_795_219_200_000);

    fn juliet() -> Jid {
        Jid::parse("juliet@example.com/balcony").unwrap()
    }

    fn romeo(number: usize) -> Aor {
        Aor { user: Some(format!("romeo{number}")), host: "example.net".into() }
    }

    #[test]
    fn a_call_id_is_a_thread_when_it_was_ours_or_comes_again() {
        let mut pairs = Pairs::default();
        pairs.sent(NOW, &juliet(), &romeo(0), "ours", None);
        pairs.sent(NOW, &juliet(), &romeo(0), "minted", Some("a long thread"));
        let mut thread = |contact, call_id| pairs.received(NOW, &juliet(), &romeo(contact), call_id).thread;
        assert_eq!(thread(0, "ours").as_deref(), Some("ours"));
        assert_eq!(thread(0, "minted").as_deref(), Some("a long thread"));
        assert_eq!(thread(0, "new"), None);
        assert_eq!(thread(0, "new").as_deref(), Some("new"));
        assert_eq!(thread(1, "ours"), None, "another pair");
        assert_eq!(pairs.call_id_of(&juliet(), &romeo(0), "a long thread"), Some("minted"));
        assert_eq!(pairs.received(NOW, &juliet(), &romeo(0), "new").resource, Some("balcony"));
    }

    #[test]
    fn memory_is_bounded_by_pairs_and_by_calls() {
        let mut pairs = Pairs::default();
        for number in 0..=PAIRS {
            pairs.sent(NOW, &juliet(), &romeo(number), "c", None);
        }
        assert_eq!((pairs.known.len(), pairs.by_use.len()), (PAIRS, PAIRS));
        assert!(!pairs.known.contains_key(&(juliet().bare(), romeo(0))));
        for number in 0..100 {
            pairs.sent(NOW, &juliet(), &romeo(1), &format!("c{number}"), None);
        }
        assert_eq!(pairs.received(NOW, &juliet(), &romeo(1), "c0").thread, None);
        assert!(pairs.received(NOW, &juliet(), &romeo(1), "c99").thread.is_some());
    }
}
