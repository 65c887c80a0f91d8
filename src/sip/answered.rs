//! The server transactions of requests other than INVITE (RFC 3261 §17.2.2): how a request is known again, and, in the
//! state Completed, the answer that it gets again.
//!
//! They are ours and not the library's, which copies the whole request and holds it for 32 s; an answer's bytes are a
//! tenth of that. The memory is bounded: the oldest answer goes first, and its request would then be seen as new, which the features
//! that matter (MESSAGE) recognise by Call-ID, From tag and CSeq.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use sipx_sip::TransactionKey;
use sipx_sip::headers::Via;

use super::message::Request;
use super::uri::Host;
use crate::words::index::Index;
use crate::words::time::Tick;

/// Timer J: 64·T1.
const KEPT: Duration = Duration::from_secs(32);
/// Forgetting is done in sweeps this far apart, not entry by entry.
const SWEEP: Duration = Duration::from_secs(1);
/// 40 MB at 400 bytes each.
const LIMIT: usize = 100_000;
/// Answers repeat what requests say, and those may be long.
const LIMIT_BYTES: usize = 64 * 1024 * 1024;

/// Names a request's transaction: its retransmissions have the same name (§17.2.3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestName(Bytes);

impl RequestName {
    /// The name of a request, whose top Via this is. Nothing for one whose branch is not unique, if one of the headers
    /// that name it instead cannot be read.
    pub fn of(via: &Via, request: &Request) -> Option<RequestName> {
        let mut name = Vec::with_capacity(64);
        let mut add = |part: &[u8]| {
            name.extend_from_slice(&(part.len() as u32).to_be_bytes());
            name.extend_from_slice(part);
        };
        add(request.method.as_bytes());
        match via.branch().filter(|_| via.has_rfc3261_branch()) {
            Some(branch) => {
                add(branch);
                match &via.host {
                    Host::Name(host) => add(&host.as_bytes().to_ascii_lowercase()),
                    Host::Ip(IpAddr::V4(host)) => add(&host.octets()),
                    Host::Ip(IpAddr::V6(host)) => add(&host.octets()),
                }
                add(&via.port.map(u16::to_be_bytes).unwrap_or_default());
            }
            None => match TransactionKey::from_request(request)? {
                TransactionKey::Legacy { request_uri, top_via, from_tag, to_tag, call_id, cseq, .. } => {
                    [&request_uri, &top_via, &from_tag, &to_tag, &call_id]
                        .into_iter()
                        .for_each(|part| add(part));
                    add(&cseq.to_be_bytes());
                }
                TransactionKey::Rfc3261 { .. } => return None,
            },
        }
        Some(RequestName(name.into()))
    }
}

/// Answers by the request's name.
#[derive(Default)]
pub struct Answered {
    answers: Index<RequestName, Bytes>,
    order: VecDeque<(Tick, RequestName)>,
    /// What names and answers take.
    bytes: usize,
}

impl Answered {
    /// The answer that was given to this request.
    pub fn get(&self, key: &RequestName) -> Option<Bytes> {
        self.answers.get(key).cloned()
    }

    /// Remembers an answer.
    pub fn put(&mut self, now: Tick, key: RequestName, answer: Bytes) {
        let size = key.0.len() + answer.len();
        while (self.answers.len() >= LIMIT || self.bytes + size > LIMIT_BYTES) && self.drop_oldest() {}
        self.bytes += size;
        match self.answers.insert(key.clone(), answer) {
            None => self.order.push_back((now + KEPT, key)),
            Some(old) => self.bytes -= key.0.len() + old.len(),
        }
    }

    /// When [`Answered::sweep`] is wanted.
    pub fn next_timeout(&self) -> Option<Tick> {
        self.order.front().map(|(at, _)| *at + SWEEP)
    }

    /// Forgets what is old.
    pub fn sweep(&mut self, now: Tick) {
        while self.order.front().is_some_and(|(at, _)| *at <= now) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) -> bool {
        let Some((_, key)) = self.order.pop_front() else { return false };
        if let Some(answer) = self.answers.remove(&key) {
            self.bytes -= key.0.len() + answer.len();
        }
        true
    }

    /// How many answers are remembered.
    pub fn len(&self) -> usize {
        self.answers.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::message::Message;

    fn key(number: usize) -> RequestName {
        RequestName(format!("z9hG4bK{number}").into())
    }

    fn name(via: &str, lines: &str) -> Option<RequestName> {
        let text = format!(
            "MESSAGE sip:a@b SIP/2.0\r\nVia: {via}\r\nTo: <sip:a@b>\r\nCall-ID: c\r\n{lines}\r\n\r\n"
        );
        let Ok(Message::Request(request)) = crate::sip::framing::datagram(text.into()) else {
            panic!("{via}")
        };
        let via = request.headers.typed::<Via>().expect("a Via").expect("readable");
        RequestName::of(&via, &request)
    }

    #[test]
    fn a_request_is_known_by_branch_and_sender_or_else_by_all_that_names_it() {
        let first = name("SIP/2.0/UDP h.example:5060;branch=z9hG4bKx", "CSeq: 1 MESSAGE");
        assert_eq!(first, name("SIP/2.0/UDP H.example:5060;branch=z9hG4bKx;rport", "CSeq: 2 MESSAGE"));
        assert_ne!(first, name("SIP/2.0/UDP h.example;branch=z9hG4bKx", "CSeq: 1 MESSAGE"));
        assert_ne!(first, name("SIP/2.0/UDP h.example:5060;branch=z9hG4bKy", "CSeq: 1 MESSAGE"));
        let old = name("SIP/2.0/UDP h.example;branch=1", "CSeq: 1 MESSAGE");
        assert_eq!(old, name("SIP/2.0/UDP h.example;branch=1", "CSeq: 1 MESSAGE"));
        assert_ne!(old, name("SIP/2.0/UDP h.example;branch=1", "CSeq: 2 MESSAGE"));
        assert_eq!(name("SIP/2.0/UDP h.example;branch=1", "Subject: no number"), None);
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
        assert_eq!((answered.len(), answered.next_timeout(), answered.bytes), (0, None, 0));
    }

    #[test]
    fn long_answers_are_fewer() {
        let mut answered = Answered::default();
        let long = Bytes::from(vec![b'x'; 1024 * 1024]);
        for number in 0..100 {
            answered.put(Tick(0), key(number), long.clone());
            answered.put(Tick(0), key(number), long.clone());
        }
        assert!((62..64).contains(&answered.len()));
        assert!(answered.bytes <= LIMIT_BYTES && answered.get(&key(99)).is_some());
    }
}
