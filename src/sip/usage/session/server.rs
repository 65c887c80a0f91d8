//! The called: their INVITE, our answer, and the ACK for it (RFC 3261 §13.3); the owner's word on re-INVITE and UPDATE.

use std::time::Duration;

use super::{Alarm, Body, Cause, End, Event, PATIENCE, RING, Session, State, T1, T2, parts, timer};
use crate::sip::dialog::{self, Dialog};
use crate::sip::message::{self, HeaderName, Reply, Request, ServerKey};
use crate::words::id::Partition;
use crate::words::time::Now;

/// How long the owner may leave a call undecided, if the caller does not want it sooner (§13.3.1): as long as proxies
/// let it ring.
const DECISION: Duration = Duration::from_secs(180);

/// What they ask by a request that awaits the owner's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// The first INVITE.
    Invite,
    /// A re-INVITE.
    Reinvite,
    /// An UPDATE with an offer.
    Update,
}

/// Their request that awaits the owner's word.
#[derive(Debug)]
pub(super) struct Asked {
    pub key: ServerKey,
    pub question: Question,
    pub cseq: u32,
    /// It has an offer; otherwise our 2xx has one, and their ACK the answer.
    pub has_offer: bool,
    pub timer: timer::Terms,
    /// Their new Contact, which counts once we agree.
    pub target: Option<String>,
}

/// A 2xx of ours whose ACK has not come.
#[derive(Debug)]
pub(super) struct Unacked {
    key: ServerKey,
    cseq: u32,
    reply: Reply,
    wait: Duration,
    is_first: bool,
    /// The 2xx has an offer of ours; the ACK will have the answer.
    pub is_offer: bool,
}

impl Session {
    /// Somebody calls us. The session, and the offer, if the call has one; [`Session::agree`] or [`Session::decline`]
    /// follows, [`Session::ring`] may come before. `tag` is ours and must be new. The refusal is for an INVITE that
    /// makes no session.
    pub fn invited(
        now: Now,
        key: ServerKey,
        request: &Request,
        tag: &str,
        partition: Partition,
        contact: &str,
        allow: &str,
    ) -> Result<(Session, Option<Body>), Reply> {
        let dialog = Dialog::of_request(request, tag, partition)
            .map_err(|problem| Reply::new(400).because(problem))?;
        let offer = parts::offer_in(request)?;
        let timer = timer::Terms::of(&request.headers)?;
        let mut session = Session::new(State::ExpectDecision, dialog, contact, allow);
        session.updates = parts::allows_update(&request.headers);
        let expires =
            message::text(&request.headers, &HeaderName::Expires).and_then(|text| text.parse().ok());
        let patience = expires.map_or(DECISION, Duration::from_secs).min(DECISION);
        session.timers.set(Alarm::NoAnswer, now.tick + patience);
        session.asked = Some(Box::new(Asked {
            key,
            question: Question::Invite,
            cseq: message::cseq(&request.headers).unwrap_or_default(),
            has_offer: offer.is_some(),
            timer,
            target: None,
        }));
        Ok((session, offer))
    }

    /// Says that the owner has not decided yet, and again each minute.
    pub fn ring(&mut self, now: Now) {
        let Some(asked) = self.asked.as_ref().filter(|asked| asked.question == Question::Invite) else {
            return;
        };
        let reply = Reply {
            to_tag: Some(self.dialog.local_tag.clone()),
            ..Reply::new(180).with(HeaderName::Contact, &*self.contact)
        };
        let key = asked.key;
        self.reply(key, reply);
        self.timers.set(Alarm::Ring, now.tick + RING);
    }

    /// The owner agrees, with our answer to their offer, or with our offer where they sent none.
    pub fn agree(&mut self, now: Now, body: Body) {
        let Some(asked) = self.asked.take() else { return };
        self.timers.stop(&Alarm::Ring);
        self.timers.stop(&Alarm::NoAnswer);
        if let Some(target) = asked.target {
            self.dialog.target = target;
        }
        let mut reply = self.equipped(200);
        reply.headers.extend(asked.timer.headers());
        let reply = reply.carrying(body.kind.clone(), &body.bytes);
        self.ours = Some(body);
        self.set_timer(now, asked.timer.timing());
        self.reply(asked.key, reply.clone());
        if asked.question == Question::Update {
            return self.next_offer(now);
        }
        self.state = State::Up;
        self.unacked = Some(Box::new(Unacked {
            key: asked.key,
            cseq: asked.cseq,
            reply,
            wait: T1,
            is_first: asked.question == Question::Invite,
            is_offer: !asked.has_offer,
        }));
        self.timers.set(Alarm::Repeat, now.tick + T1);
        self.timers.set(Alarm::NoAck, now.tick + PATIENCE);
    }

    /// The owner refuses. A first INVITE ends with it; otherwise the session goes on as it was.
    pub fn decline(&mut self, now: Now, reply: Reply) {
        let Some(asked) = self.asked.take() else { return };
        self.timers.stop(&Alarm::Ring);
        let to_tag = Some(self.dialog.local_tag.clone());
        self.reply(asked.key, Reply { to_tag, ..reply });
        match asked.question {
            Question::Invite => self.over(End::Ours),
            Question::Reinvite | Question::Update => self.next_offer(now),
        }
    }

    /// They cancel their INVITE. False when it is another one's, or answered.
    pub fn cancelled(&mut self, now: Now, key: ServerKey) -> bool {
        let Some(asked) = self.asked.take_if(|asked| asked.key == key) else { return false };
        self.timers.stop(&Alarm::Ring);
        self.terminate_asked(&asked);
        match asked.question {
            Question::Invite => self.over(End::Cancelled),
            Question::Reinvite | Question::Update => {
                self.tell(Event::Withdrawn);
                self.next_offer(now);
            }
        }
        true
    }

    /// Answers a request that is overtaken by the end.
    pub(super) fn terminate_asked(&mut self, asked: &Asked) {
        let to_tag = Some(self.dialog.local_tag.clone());
        self.reply(asked.key, Reply { to_tag, ..Reply::new(487) });
    }

    /// The ACK for a 2xx of ours.
    pub fn acked(&mut self, now: Now, request: &Request) {
        let cseq = message::cseq(&request.headers);
        if self.unacked.as_ref().is_some_and(|unacked| Some(unacked.cseq) == cseq) {
            self.confirm(Body::of(&request.headers, request.body()));
            self.next_offer(now);
        }
    }

    /// Our 2xx has arrived: its ACK says so, or whatever they could not have sent without it.
    pub(super) fn confirm(&mut self, answer: Option<Body>) {
        let Some(unacked) = self.unacked.take() else { return };
        self.timers.stop(&Alarm::Repeat);
        self.timers.stop(&Alarm::NoAck);
        if let Some(cause) = self.farewell.take() {
            return self.bye(*cause);
        }
        if self.state == State::Up && (unacked.is_first || unacked.is_offer) {
            self.tell(Event::Confirmed { answer: answer.filter(|_| unacked.is_offer) });
        }
    }

    /// Repeats the 2xx: on any transport, since behind a proxy it may go by another (§13.3.1.4).
    pub(super) fn repeat(&mut self, now: Now) {
        let Some(unacked) = &mut self.unacked else { return };
        unacked.wait = (unacked.wait * 2).min(T2);
        let (key, reply, wait) = (unacked.key, unacked.reply.clone(), unacked.wait);
        self.timers.set(Alarm::Repeat, now.tick + wait);
        self.reply(key, reply);
    }

    /// No ACK in 64·T1: the session is ended, and the dialog with it.
    pub(super) fn no_ack(&mut self) {
        self.unacked = None;
        self.timers.stop(&Alarm::Repeat);
        let cause = self.farewell.take();
        let lost = Cause { status: 408, text: "no ACK".to_owned() };
        self.bye(cause.map_or(Some(lost), |cause| *cause));
        self.over(End::NoAck);
    }

    /// Their request brought a new Contact.
    pub(super) fn new_target(request: &Request) -> Option<String> {
        dialog::contact(&request.headers).ok()
    }
}
