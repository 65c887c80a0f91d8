//! The caller: our first INVITE and all that may be answered to it (RFC 3261 §13.2).

use std::time::Duration;

use super::{Alarm, Body, End, Event, Exchange, PATIENCE, Sent, Session, State, parts, timer};
use crate::sip::dialog::Dialog;
use crate::sip::message::{self, Answer, HeaderName, Headers, Method, Response};
use crate::words::id::{Mint, Partition};
use crate::words::time::Now;

/// Early dialogs that are told apart; a phone system may ring more devices than that.
const EARLY: usize = 16;
/// Forks whose tags are remembered.
const FORKS: usize = 16;
/// How often a timer that is too short is made longer.
const TRIES: u8 = 2;

/// An INVITE to send.
#[derive(Clone, Debug)]
pub struct Call {
    /// From, without a tag.
    pub from: String,
    /// To.
    pub to: String,
    /// The Request-URI.
    pub uri: String,
    /// Call-ID; one is minted where the owner has none.
    pub call_id: Option<String>,
    /// The whole value of our Contact.
    pub contact: String,
    /// The whole value of our Allow.
    pub allow: String,
    /// Our offer.
    pub offer: Body,
    /// Further headers.
    pub headers: Vec<(HeaderName, String)>,
    /// Max-Forwards.
    pub max_forwards: u8,
    /// How long an acceptance may take.
    pub patience: Duration,
    /// The partition that our tag and branches name.
    pub partition: Partition,
    /// The domain whose peer carries the session.
    pub domain: String,
}

/// What is needed of the first INVITE until it has its final answer.
#[derive(Debug)]
pub(super) struct Opening {
    exchange: Exchange,
    headers: Vec<(HeaderName, String)>,
    max_forwards: u8,
    interval: Duration,
    tries: u8,
    /// The last status that was told.
    told: u16,
    early: Vec<Early>,
}

/// An early dialog, and what it has answered already: in an unreliable provisional answer that counts (§13.2.1).
#[derive(Debug)]
struct Early {
    tag: String,
    answer: Option<Body>,
}

impl Session {
    /// Calls somebody.
    pub fn invite(now: Now, mint: &mut Mint, call: Call) -> Session {
        let tag = mint.token(call.partition);
        let call_id = call.call_id.unwrap_or_else(|| mint.token(call.partition));
        let dialog = Dialog {
            call_id,
            local: format!("{};tag={tag}", call.from),
            local_tag: tag,
            remote: call.to,
            remote_tag: String::new(),
            local_cseq: 0,
            remote_cseq: None,
            routes: Vec::new(),
            target: call.uri,
            domain: call.domain,
            partition: call.partition,
        };
        let mut session = Session::new(State::ExpectAnswer, dialog, &call.contact, &call.allow);
        session.ours = Some(call.offer);
        session.opening = Some(Box::new(Opening {
            exchange: 0,
            headers: call.headers,
            max_forwards: call.max_forwards,
            interval: timer::INTERVAL,
            tries: 0,
            told: 0,
            early: Vec::new(),
        }));
        session.timers.set(Alarm::NoAnswer, now.tick + call.patience);
        session.send_invite();
        session
    }

    fn send_invite(&mut self) {
        let mut request = self.dialog.request(Method::Invite);
        self.equip(&mut request);
        let Some(opening) = &mut self.opening else { return };
        request.max_forwards = opening.max_forwards;
        request.headers.extend(timer::wanted(opening.interval, None));
        request.headers.extend(opening.headers.iter().cloned());
        if let Some(offer) = &self.ours {
            Session::fill(&mut request, offer);
        }
        let exchange = self.send(Sent::Invite, request);
        if let Some(opening) = &mut self.opening {
            opening.exchange = exchange;
        }
    }

    pub(super) fn provisional(&mut self, place: usize, response: &Response) {
        let is_first = matches!(self.pending.get(place), Some((_, Sent::Invite)));
        let status = response.status.code();
        let Some(opening) = self.opening.as_mut().filter(|_| is_first && status > 100) else { return };
        let tag = message::tag(&response.headers, &HeaderName::To).unwrap_or_default();
        let answer = Body::of(&response.headers, response.body());
        let has_room = opening.early.len() < EARLY && !tag.is_empty();
        match opening.early.iter_mut().find(|early| early.tag == tag) {
            Some(early) => early.answer = early.answer.take().or(answer),
            None if has_room => opening.early.push(Early { tag, answer }),
            None => {}
        }
        let is_news = std::mem::replace(&mut opening.told, status) != status;
        if is_news && self.state == State::ExpectAnswer {
            self.tell(Event::Ringing(status));
        }
    }

    pub(super) fn holds_early(&self, call_id: &str, to_tag: &str, from_tag: &str) -> bool {
        let Some(opening) = &self.opening else { return false };
        call_id == self.dialog.call_id
            && to_tag == self.dialog.local_tag
            && opening.early.iter().any(|early| early.tag == from_tag)
    }

    pub(super) fn invite_answered(&mut self, now: Now, exchange: Exchange, answer: &Answer) {
        let (response, cseq) = match answer {
            Answer::Final { response, cseq } => (response, *cseq),
            Answer::Failed(failure) => {
                self.opening = None;
                return self.over(End::Unreachable(failure.clone()));
            }
            Answer::Provisional(_) | Answer::Repeated => return,
        };
        match response.status.code() {
            200..300 => self.accepted(now, exchange, response, cseq),
            422 if self.state == State::ExpectAnswer && self.make_timer_longer(&response.headers) => {
                self.send_invite();
            }
            _ => {
                self.opening = None;
                self.over(End::Refused(Box::new(response.clone())));
            }
        }
    }

    /// RFC 4028 §7.3.
    fn make_timer_longer(&mut self, headers: &Headers) -> bool {
        let Some(opening) = &mut self.opening else { return false };
        let Some(least) = timer::least(headers).filter(|least| *least > opening.interval) else {
            return false;
        };
        opening.tries += 1;
        opening.interval = least;
        opening.tries <= TRIES
    }

    /// The first 2xx. It is acknowledged in any case; where nobody wants it any more, BYE follows (§15, §9.1).
    fn accepted(&mut self, now: Now, exchange: Exchange, response: &Response, cseq: u32) {
        let opening = self.opening.take();
        self.dialog = self.dialog.answered(response, cseq);
        let ack = self.dialog.ack(cseq);
        self.ack(exchange, ack);
        self.timers.set(Alarm::Linger, now.tick + PATIENCE);
        if self.state == State::Over {
            self.bye(None);
            return;
        }
        self.timers.stop(&Alarm::NoAnswer);
        self.state = State::Up;
        self.updates = parts::allows_update(&response.headers);
        self.adopt_timer(now, &response.headers, opening.as_ref().map(|opening| opening.interval));
        let early = opening.and_then(|opening| {
            opening.early.into_iter().find(|early| early.tag == self.dialog.remote_tag)?.answer
        });
        let answer = early.or_else(|| Body::of(&response.headers, response.body()));
        self.tell(Event::Accepted { response: Box::new(response.clone()), answer });
    }

    /// A further 2xx to an INVITE of ours (§13.2.2.4): the same again, because our ACK got lost, or one from another
    /// place that the INVITE reached. Each gets its ACK; other places are told at once that we are taken. Those that are
    /// too many get nothing, and give up without their ACK.
    pub fn further(&mut self, exchange: Exchange, cseq: u32, response: &Response) {
        if self.dialog.answers(&response.headers) {
            let ack = self.dialog.ack(cseq);
            return self.ack(exchange, ack);
        }
        let mut fork = self.dialog.answered(response, cseq);
        let is_known = self.forks.contains(&fork.remote_tag);
        if !self.is_caller || !is_known && self.forks.len() >= FORKS {
            return;
        }
        self.ack(exchange, fork.ack(cseq));
        if !is_known {
            self.forks = self.forks.iter().chain([&fork.remote_tag]).cloned().collect();
            let bye = fork.request(Method::Bye);
            self.send(Sent::Bye, bye);
        }
    }

    /// The time for an answer is over: the owner's patience as a caller, or what the owner had to decide in.
    pub(super) fn no_answer(&mut self) {
        match self.state {
            State::ExpectAnswer => self.cancel(),
            // What was asked is answered with 487 by the end.
            State::ExpectDecision => {}
            State::Up | State::Over => return,
        }
        self.over(End::NoAnswer);
    }

    pub(super) fn cancel(&mut self) {
        if let Some(opening) = &self.opening {
            self.out.push_back(super::Act::Cancel(opening.exchange));
        }
    }
}
