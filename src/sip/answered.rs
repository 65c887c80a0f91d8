//! The answers that we gave lately, for whoever asks again (RFC 3261 §17.2.2, state Completed).
//!
//! A server transaction of the library holds the whole request for 32 s; an answer's bytes are a tenth of that. The
//! memory is bounded: the oldest answer goes first, and its request would then be seen as new, which the features
//! that matter (MESSAGE) recognise by Call-ID, From tag and CSeq.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use sipx_sip::TransactionKey;

use crate::words::time::Tick;

/// Timer J: 64·T1.
const KEPT: Duration = Duration::from_secs(32);
/// Forgetting is done in sweeps this far apart, not entry by entry.
const SWEEP: Duration = Duration::from_secs(1);
/// 40 MB at 400 bytes each.
const LIMIT: usize = 100_000;

/// Answers by the request's transaction key.
#[derive(Default)]
pub struct Answered {
    answers: HashMap<TransactionKey, Bytes>,
    order: VecDeque<(Tick, TransactionKey)>,
}

impl Answered {
    /// The answer that was given to this request.
    pub fn get(&self, key: &TransactionKey) -> Option<Bytes> {
        self.answers.get(key).cloned()
    }

    /// Remembers an answer.
    pub fn put(&mut self, now: Tick, key: TransactionKey, answer: Bytes) {
        if self.answers.len() >= LIMIT
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.answers.remove(&oldest);
        }
        if self.answers.insert(key.clone(), answer).is_none() {
            self.order.push_back((now + KEPT, key));
        }
    }

    /// When [`Answered::sweep`] is wanted.
    pub fn next_timeout(&self) -> Option<Tick> {
        self.order.front().map(|(at, _)| *at + SWEEP)
    }

    /// Forgets what is old.
    pub fn sweep(&mut self, now: Tick) {
        while self.order.front().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, key)) = self.order.pop_front() {
                self.answers.remove(&key);
            }
        }
    }

    /// How many answers are remembered.
    pub fn len(&self) -> usize {
        self.answers.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> TransactionKey {
        let branch = format!("z9hG4bK{number}").into_bytes();
        TransactionKey::Rfc3261 { branch, sent_by: b"a".to_vec(), method: b"MESSAGE".to_vec() }
    }

    #[test]
    fn answers_are_forgotten_by_age_and_by_number() {
        let mut answered = Answered::default();
        for number in 0..=LIMIT {
            answered.put(Tick(number as u64), key(number), Bytes::from_static(b"x"));
        }
        assert_eq!(answered.len(), LIMIT);
        assert!(answered.get(&key(0)).is_none() && answered.get(&key(1)).is_some());
        answered.sweep(Tick(0) + KEPT + SWEEP * 2);
        assert_eq!((answered.len(), answered.next_timeout()), (0, None));
    }
}
