//! Requests that reach us twice on different ways (RFC 3261 §8.2.2.2): a fork upstream that joins again here.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::head::Head;
use crate::sip::message::Method;
use crate::words::time::Tick;

/// As long as a transaction over UDP lives.
const KEPT: Duration = Duration::from_secs(32);
/// More than this are not told apart.
const LIMIT: usize = 20_000;

/// Nor are requests whose names are longer than this.
const LONGEST: usize = 1024;

type Identity = (String, Vec<u8>, u32, Vec<u8>);

/// What came lately, by Call-ID, From tag and CSeq.
#[derive(Default)]
pub struct Merged {
    seen: BTreeSet<Identity>,
    order: VecDeque<(Tick, Identity)>,
}

impl Merged {
    /// Whether this new transaction repeats a request that came by another. A MESSAGE is not looked at: the pager
    /// knows repetitions for longer, and gives them the same answer. OPTIONS has no effect that could double.
    pub fn repeats(&mut self, now: Tick, method: &Method, head: &Head) -> bool {
        self.sweep(now);
        let passes = matches!(method, Method::Message | Method::Options | Method::Ack | Method::Cancel);
        if passes || head.to.tag().is_some() {
            return false;
        }
        let tag = head.from.tag().unwrap_or_default().to_vec();
        let identity = (head.call_id.clone(), tag, head.cseq, method.as_bytes().to_vec());
        if self.seen.contains(&identity) {
            return true;
        }
        if self.seen.len() < LIMIT && identity.0.len() + identity.1.len() <= LONGEST {
            self.seen.insert(identity.clone());
            self.order.push_back((now + KEPT, identity));
        }
        false
    }

    /// When [`Merged::sweep`] is wanted.
    pub fn next_timeout(&self) -> Option<Tick> {
        self.order.front().map(|(at, _)| *at + Duration::from_secs(1))
    }

    /// Forgets what is old.
    pub fn sweep(&mut self, now: Tick) {
        while self.order.front().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, identity)) = self.order.pop_front() {
                self.seen.remove(&identity);
            }
        }
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.seen.len()
    }
}
