//! The client transactions of requests other than INVITE (RFC 3261 §17.1.2), kept as the bytes that were sent.
//!
//! They are ours and not the library's because most of what a request costs is there: it keeps and copies whole messages
//! and decodes Via for each step. A transaction is found by its branch, which we mint and nobody can guess, and by the
//! method in CSeq (§17.1.3). One timer each: E repeats the request over UDP, F gives it up, K absorbs late answers.

use std::time::Duration;

use bytes::Bytes;

use super::flow::Transport;
use super::message::{self, HeaderName, Method, Response};
use super::transaction::{Step, TransactionId};
use crate::words::index::Index;
use crate::words::time::Tick;
use crate::words::timers::Timers;

const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
const T4: Duration = Duration::from_secs(5);
/// Timer F.
const PATIENCE: Duration = Duration::from_secs(32);

/// All that are under way.
#[derive(Default)]
pub struct Clients {
    by_branch: Index<String, TransactionId>,
    asked: Index<TransactionId, Asked>,
    timers: Timers<TransactionId>,
}

struct Asked {
    branch: String,
    method: Method,
    transport: Transport,
    /// As it was sent.
    request: Bytes,
    state: State,
    /// Timer F, then K.
    until: Tick,
    /// How long timer E waits the next time.
    interval: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing was heard.
    Trying,
    /// A provisional answer came.
    Proceeding,
    /// The final answer came.
    Completed,
}

impl Clients {
    /// A request is being sent; `branch` is that of its Via, without the cookie.
    pub fn begin(
        &mut self,
        now: Tick,
        id: TransactionId,
        transport: Transport,
        branch: String,
        method: Method,
        request: Bytes,
    ) {
        let until = now + PATIENCE;
        let first = if transport == Transport::Udp { now + T1 } else { until };
        self.timers.set(id, first);
        self.by_branch.insert(branch.clone(), id);
        let state = State::Trying;
        self.asked.insert(id, Asked { branch, method, transport, request, state, until, interval: T1 });
    }

    /// Which request a response answers.
    pub fn find(&self, response: &Response) -> Option<TransactionId> {
        let branch = message::branch(&response.headers)?;
        let id = *self.by_branch.get(branch.strip_prefix(message::COOKIE)?)?;
        let cseq = response.headers.get(&HeaderName::CSeq)?.raw_value();
        let method = cseq.trim_ascii_end().rsplit(u8::is_ascii_whitespace).next()?;
        self.asked.get(&id).is_some_and(|asked| asked.method.as_bytes() == method).then_some(id)
    }

    /// A response came for this transaction.
    pub fn answered(&mut self, now: Tick, id: TransactionId, response: Response) -> Vec<Step> {
        let Some(asked) = self.asked.get_mut(&id).filter(|asked| asked.state != State::Completed) else {
            return Vec::new();
        };
        if response.status.is_provisional() {
            asked.state = State::Proceeding;
            return vec![Step::Response(response)];
        }
        if asked.transport == Transport::Udp {
            asked.state = State::Completed;
            asked.until = now + T4;
            self.timers.set(id, now + T4);
            return vec![Step::Response(response)];
        }
        self.forget(id);
        vec![Step::Response(response), Step::Over]
    }

    /// What was to be sent could not be sent. Nothing when this is none of these transactions.
    pub fn failed(&mut self, id: TransactionId) -> Option<Vec<Step>> {
        self.forget(id).then(|| vec![Step::TransportError, Step::Over])
    }

    /// When [`Clients::ring`] is wanted.
    pub fn next_timeout(&self) -> Option<Tick> {
        self.timers.next().map(|(at, _)| at)
    }

    /// Rings the next timer that is due. Call until it returns nothing.
    pub fn ring(&mut self, now: Tick) -> Option<(TransactionId, Vec<Step>)> {
        let id = self.timers.pop(now)?;
        let Some(asked) = self.asked.get_mut(&id) else { return Some((id, Vec::new())) };
        if asked.until <= now {
            let answered = asked.state == State::Completed;
            self.forget(id);
            return Some((id, if answered { vec![Step::Over] } else { vec![Step::Timeout, Step::Over] }));
        }
        asked.interval = match asked.state {
            State::Trying => (asked.interval * 2).min(T2),
            _ => T2,
        };
        let step = Step::Send(asked.request.clone());
        self.timers.set(id, (now + asked.interval).min(asked.until));
        Some((id, vec![step]))
    }

    fn forget(&mut self, id: TransactionId) -> bool {
        let Some(asked) = self.asked.remove(&id) else { return false };
        self.by_branch.remove(&asked.branch);
        self.timers.stop(&id);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::message::{Header, StatusCode};

    const ID: TransactionId = TransactionId(1);

    fn at(millis: u64) -> Tick {
        Tick(millis * 1000)
    }

    fn asked(transport: Transport) -> Clients {
        let mut clients = Clients::default();
        clients.begin(at(0), ID, transport, "b".into(), Method::Message, Bytes::from_static(b"x"));
        clients
    }

    fn response(status: u16, cseq: &'static str) -> Response {
        let mut response = Response::new(StatusCode::new(status).expect("a status"), "");
        for (name, value) in
            [(HeaderName::Via, "SIP/2.0/UDP a;rport=1;branch=z9hG4bKb"), (HeaderName::CSeq, cseq)]
        {
            response.headers.push(Header::build(name, value).expect("a header"));
        }
        response
    }

    /// When it is repeated, in milliseconds, until it is given up.
    fn repeated(clients: &mut Clients) -> Vec<u64> {
        let mut times = Vec::new();
        while let Some(time) = clients.next_timeout() {
            match clients.ring(time).expect("a timer").1.as_slice() {
                [Step::Send(_)] => times.push(time.0 / 1000),
                [Step::Timeout, Step::Over] => assert_eq!(time, at(32_000)),
                other => panic!("{other:?}"),
            }
        }
        times
    }

    #[test]
    fn over_udp_it_is_repeated_until_timer_f() {
        let times = repeated(&mut asked(Transport::Udp));
        assert_eq!(times, [500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]);
        assert!(repeated(&mut asked(Transport::Tcp)).is_empty());
    }

    #[test]
    fn after_a_provisional_answer_it_is_repeated_every_four_seconds() {
        let mut clients = asked(Transport::Udp);
        assert_eq!(clients.answered(at(100), ID, response(100, "1 MESSAGE")).len(), 1);
        assert_eq!(repeated(&mut clients)[..3], [500, 4500, 8500]);
    }

    #[test]
    fn late_answers_are_absorbed_for_five_seconds_over_udp() {
        let mut clients = asked(Transport::Udp);
        assert_eq!(clients.find(&response(200, "1 MESSAGE")), Some(ID));
        assert_eq!(clients.find(&response(200, "1 CANCEL")), None);
        assert!(matches!(clients.answered(at(100), ID, response(200, "1 MESSAGE"))[..], [Step::Response(_)]));
        assert_eq!(clients.find(&response(200, "1 MESSAGE")), Some(ID));
        assert!(clients.answered(at(200), ID, response(200, "1 MESSAGE")).is_empty());
        assert_eq!(clients.next_timeout(), Some(at(5100)));
        assert!(matches!(clients.ring(at(5100)), Some((ID, steps)) if matches!(steps[..], [Step::Over])));
        assert_eq!((clients.find(&response(200, "1 MESSAGE")), clients.next_timeout()), (None, None));
    }

    #[test]
    fn over_tcp_it_is_over_with_its_answer() {
        let mut clients = asked(Transport::Tcp);
        let steps = clients.answered(at(100), ID, response(200, "1 MESSAGE"));
        assert!(matches!(steps[..], [Step::Response(_), Step::Over]));
        assert!(clients.failed(ID).is_none() && clients.next_timeout().is_none());
    }
}
