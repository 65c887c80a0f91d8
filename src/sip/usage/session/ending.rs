//! The end: BYE in both directions, and what the owner's wish to end means in each state (RFC 3261 §15).

use super::{Alarm, Cause, End, Event, Sent, Session, State};
use crate::sip::message::{Method, Reply, Request, ServerKey};

impl Session {
    /// The owner ends it, whatever it waits for: CANCEL, a refusal, or BYE. [`End::Ours`] follows at once.
    pub fn hang_up(&mut self, cause: Option<Cause>) {
        match self.state {
            State::ExpectAnswer => self.cancel(),
            State::ExpectDecision => {
                if let Some(asked) = self.asked.take() {
                    let to_tag = Some(self.dialog.local_tag.clone());
                    self.reply(asked.key, Reply { to_tag, ..Reply::new(480) });
                }
            }
            State::Up => self.bye_when_allowed(cause),
            State::Over => return,
        }
        self.over(End::Ours);
    }

    /// BYE, or once the ACK is there: who was called may not send it before (§15).
    pub(super) fn bye_when_allowed(&mut self, cause: Option<Cause>) {
        if self.unacked.is_some() {
            self.farewell = Some(Box::new(cause));
        } else {
            self.bye(cause);
        }
    }

    pub(super) fn bye(&mut self, cause: Option<Cause>) {
        let mut request = self.dialog.request(Method::Bye);
        request.headers.extend(cause.map(|cause| cause.header()));
        self.send(Sent::Bye, request);
    }

    pub(super) fn bye_came(&mut self, key: ServerKey, request: &Request) {
        self.reply(key, Reply::new(200));
        // Who ends it needs no 2xx any more.
        self.unacked = None;
        self.farewell = None;
        self.over(End::Theirs(Cause::read(&request.headers)));
    }

    /// It is over for the owner; told once. What they asked and nobody will decide any more is answered.
    pub(super) fn over(&mut self, end: End) {
        if self.state == State::Over {
            return;
        }
        self.state = State::Over;
        if let Some(asked) = self.asked.take() {
            self.terminate_asked(&asked);
        }
        self.wanted = None;
        let moot = [Alarm::NoAnswer, Alarm::Ring, Alarm::Glare, Alarm::Refresh, Alarm::Expire];
        for alarm in moot {
            self.timers.stop(&alarm);
        }
        if self.unacked.is_none() {
            self.timers.stop(&Alarm::Repeat);
            self.timers.stop(&Alarm::NoAck);
        }
        self.tell(Event::Over(end));
    }
}
