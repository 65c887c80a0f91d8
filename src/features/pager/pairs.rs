//! What two people's conversation has shown so far: which of the user's devices wrote last, and which Call-IDs mean a
//! thread. Soft and bounded: whoever has been silent longest is forgotten first.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::sip::uri::Aor;
use crate::xmpp::jid::Jid;

/// How many pairs are remembered.
const PAIRS: usize = 10_000;
/// How many Call-IDs are remembered for each.
const CALLS: usize = 16;
/// A longer Call-ID is not remembered.
const CALL_ID_LIMIT: usize = 256;
/// A longer thread is not remembered.
const THREAD_LIMIT: usize = 1024;

type PairKey = (Jid, Aor);

/// See the module.
#[derive(Debug, Default)]
pub struct Pairs {
    known: BTreeMap<Arc<PairKey>, Pair>,
    by_use: BTreeMap<u64, Arc<PairKey>>,
    uses: u64,
}

#[derive(Debug, Default)]
struct Pair {
    used: u64,
    resource: Option<String>,
    calls: VecDeque<Call>,
}

#[derive(Debug)]
struct Call {
    call_id: String,
    /// The user's thread for it, where that is another text.
    thread: Option<String>,
}

impl Pairs {
    /// The user wrote to the contact from this device, under this Call-ID, in this thread.
    pub fn sent(&mut self, user: &Jid, contact: &Aor, call_id: &str, thread: Option<&str>) {
        let pair = self.pair(user, contact);
        pair.resource = user.resource().map(str::to_owned);
        pair.remember(call_id, thread);
    }

    /// The contact wrote to the user under this Call-ID. The thread that it belongs to, if it belongs to one: a Call-ID
    /// is a thread when we sent it, or when the contact uses it again.
    pub fn received(&mut self, user: &Jid, contact: &Aor, call_id: &str) -> Option<String> {
        let pair = self.pair(user, contact);
        match pair.calls.iter().find(|call| call.call_id == call_id) {
            Some(call) => Some(call.thread.clone().unwrap_or_else(|| call_id.to_owned())),
            None => {
                pair.remember(call_id, None);
                None
            }
        }
    }

    /// The Call-ID that a thread of the user's has with the contact, when it could not be the thread itself.
    pub fn call_id_of(&self, user: &Jid, contact: &Aor, thread: &str) -> Option<&str> {
        let pair = self.known.get(&(user.bare(), contact.clone()))?;
        let call = pair.calls.iter().find(|call| call.thread.as_deref() == Some(thread))?;
        Some(&call.call_id)
    }

    /// The device that the user wrote from last.
    pub fn resource(&self, user: &Jid, contact: &Aor) -> Option<&str> {
        self.known.get(&(user.bare(), contact.clone()))?.resource.as_deref()
    }

    fn pair(&mut self, user: &Jid, contact: &Aor) -> &mut Pair {
        let key = (user.bare(), contact.clone());
        self.uses += 1;
        let known = self.known.get(&key).and_then(|pair| self.by_use.remove(&pair.used));
        if known.is_none()
            && self.known.len() >= PAIRS
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.known.remove(&oldest);
        }
        let key = known.unwrap_or_else(|| Arc::new(key));
        self.by_use.insert(self.uses, key.clone());
        let pair = self.known.entry(key).or_default();
        pair.used = self.uses;
        pair
    }
}

impl Pair {
    fn remember(&mut self, call_id: &str, thread: Option<&str>) {
        if call_id.len() > CALL_ID_LIMIT || thread.is_some_and(|thread| thread.len() > THREAD_LIMIT) {
            return;
        }
        self.calls.retain(|call| call.call_id != call_id);
        if self.calls.len() >= CALLS {
            self.calls.pop_front();
        }
        let thread = thread.filter(|thread| *thread != call_id).map(str::to_owned);
        self.calls.push_back(Call { call_id: call_id.to_owned(), thread });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn juliet() -> Jid {
        Jid::parse("juliet@example.com/balcony").unwrap()
    }

    fn romeo(number: usize) -> Aor {
        Aor { user: Some(format!("romeo{number}")), host: "example.net".into() }
    }

    #[test]
    fn a_call_id_is_a_thread_when_it_was_ours_or_comes_again() {
        let mut pairs = Pairs::default();
        pairs.sent(&juliet(), &romeo(0), "ours", None);
        pairs.sent(&juliet(), &romeo(0), "minted", Some("a long thread"));
        assert_eq!(pairs.received(&juliet(), &romeo(0), "ours").as_deref(), Some("ours"));
        assert_eq!(pairs.received(&juliet(), &romeo(0), "minted").as_deref(), Some("a long thread"));
        assert_eq!(pairs.received(&juliet(), &romeo(0), "new"), None);
        assert_eq!(pairs.received(&juliet(), &romeo(0), "new").as_deref(), Some("new"));
        assert_eq!(pairs.received(&juliet(), &romeo(1), "ours"), None, "another pair");
        assert_eq!(pairs.call_id_of(&juliet(), &romeo(0), "a long thread"), Some("minted"));
        assert_eq!(pairs.resource(&juliet(), &romeo(0)), Some("balcony"));
    }

    #[test]
    fn memory_is_bounded_by_pairs_and_by_calls() {
        let mut pairs = Pairs::default();
        for number in 0..=PAIRS {
            pairs.sent(&juliet(), &romeo(number), "c", None);
        }
        assert_eq!((pairs.known.len(), pairs.by_use.len()), (PAIRS, PAIRS));
        assert_eq!(pairs.resource(&juliet(), &romeo(0)), None);
        for number in 0..100 {
            pairs.sent(&juliet(), &romeo(1), &format!("c{number}"), None);
        }
        assert_eq!(pairs.received(&juliet(), &romeo(1), "c0"), None);
        assert!(pairs.received(&juliet(), &romeo(1), "c99").is_some());
    }
}
