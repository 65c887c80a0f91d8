//! Our own changes: re-INVITE with a new offer, and UPDATE or re-INVITE to refresh (RFC 3261 §14.1, RFC 4028 §7.4).
//!
//! One request at a time; an offer that has to wait is replaced by a newer one.

use std::time::Duration;

use super::{Act, Alarm, Body, Cause, End, Event, Exchange, PATIENCE, Sent, Session, State, timer};
use crate::sip::message::{Answer, Failure, Method, Response};
use crate::words::id::Mint;
use crate::words::time::Now;

/// How long a refresh waits for another request to be over.
const SOON: Duration = Duration::from_secs(10);

impl Session {
    /// Offers a change. [`Event::Answered`] or [`Event::Declined`] follows, unless the session ends before.
    pub fn offer(&mut self, now: Now, body: Body) {
        self.wanted = Some(Box::new(body));
        self.next_offer(now);
    }

    /// Sends the offer that waits, if nothing is in its way.
    pub(super) fn next_offer(&mut self, now: Now) {
        if self.is_busy() || self.timers.at(&Alarm::Glare).is_some() {
            return;
        }
        if let Some(body) = self.wanted.take() {
            self.reinvite(now, *body, false);
        }
    }

    fn is_busy(&self) -> bool {
        self.state != State::Up || !self.pending.is_empty() || self.asked.is_some() || self.unacked.is_some()
    }

    fn reinvite(&mut self, now: Now, body: Body, refresh: bool) {
        let mut request = self.dialog.request(Method::Invite);
        self.equip(&mut request);
        request.headers.extend(self.timer_headers());
        Session::fill(&mut request, &body);
        self.send(Sent::Offer { body, refresh }, request);
        self.timers.set(Alarm::NoReply, now.tick + PATIENCE);
    }

    /// It is our turn to refresh.
    pub(super) fn refresh(&mut self, now: Now) {
        if self.state != State::Up {
            return;
        }
        if self.is_busy() || self.timers.at(&Alarm::Glare).is_some() {
            return self.timers.set(Alarm::Refresh, now.tick + SOON);
        }
        if self.updates {
            let mut request = self.dialog.request(Method::Update);
            self.equip(&mut request);
            request.headers.extend(self.timer_headers());
            self.send(Sent::Refresh, request);
        } else if let Some(body) = self.ours.clone() {
            self.reinvite(now, body, true);
        }
    }

    pub(super) fn offer_answered(
        &mut self,
        now: Now,
        mint: &mut Mint,
        exchange: Exchange,
        answer: &Answer,
        body: Body,
        refresh: bool,
    ) {
        let was_cancelled = !self.timers.stop(&Alarm::NoReply);
        let Answer::Final { response, cseq } = answer else { return self.unanswered(answer) };
        let status = response.status.code();
        if status / 100 == 2 {
            let ack = self.dialog.ack(*cseq);
            self.ack(exchange, ack);
            if self.state != State::Up {
                return;
            }
            self.changed(now, response);
            self.ours = Some(body);
            return self.tell(Event::Answered(Body::of(&response.headers, response.body())));
        }
        if self.state != State::Up {
            return;
        }
        match status {
            408 | 481 => self.lost(status),
            491 => {
                self.wanted = self.wanted.take().or_else(|| (!refresh).then(|| Box::new(body)));
                self.wait_after_glare(now, mint, refresh);
            }
            422 if self.lengthen_timer(&response.headers) => self.reinvite(now, body, refresh),
            _ if refresh => self.refresh_later(now),
            487 if was_cancelled => self.tell(Event::Declined(408)),
            _ => self.tell(Event::Declined(status)),
        }
    }

    pub(super) fn refresh_answered(&mut self, now: Now, mint: &mut Mint, answer: &Answer) {
        if self.state != State::Up {
            return;
        }
        let Answer::Final { response, .. } = answer else { return self.unanswered(answer) };
        match response.status.code() {
            200..300 => self.changed(now, response),
            status @ (408 | 481) => self.lost(status),
            491 => self.wait_after_glare(now, mint, true),
            // Allow has promised too much: the other way, at once.
            405 | 501 if self.updates => {
                self.updates = false;
                self.refresh(now);
            }
            422 if self.lengthen_timer(&response.headers) => self.refresh(now),
            _ => self.refresh_later(now),
        }
    }

    /// What a 2xx to a request of ours may change.
    fn changed(&mut self, now: Now, response: &Response) {
        self.dialog.refresh_target(&response.headers);
        let asked = self.timing.map(|timing| timing.interval);
        self.adopt_timer(now, &response.headers, asked);
    }

    /// RFC 3261 §14.1: who made the Call-ID waits longer, so that the second try does not collide again.
    fn wait_after_glare(&mut self, now: Now, mint: &mut Mint, refresh: bool) {
        let (low, high) = if self.is_caller { (2100, 4000) } else { (0, 2000) };
        let wait = Duration::from_millis(low + 10 * mint.below((high - low) / 10 + 1));
        let alarm = if refresh { Alarm::Refresh } else { Alarm::Glare };
        self.timers.set(alarm, now.tick + wait);
    }

    /// A re-INVITE that was neither accepted nor refused is cancelled.
    pub(super) fn no_reply(&mut self) {
        let offer = self.pending.iter().find(|(_, sent)| matches!(sent, Sent::Offer { .. }));
        if let Some((exchange, _)) = offer {
            self.out.push_back(Act::Cancel(*exchange));
        }
    }

    fn unanswered(&mut self, answer: &Answer) {
        if self.state == State::Up && matches!(answer, Answer::Failed(_)) {
            let status = if matches!(answer, Answer::Failed(Failure::Timeout)) { 408 } else { 503 };
            self.lost(status);
        }
    }

    /// Nobody is there any more (§12.2.1.2). Who does not know the dialog needs no BYE.
    fn lost(&mut self, status: u16) {
        if status != 481 {
            let text = "no answer in the session".to_owned();
            self.bye(Some(Cause { status: 408, text }));
        }
        self.over(End::Lost(status));
    }

    /// Our timer headers in a request: we are its client.
    fn timer_headers(&self) -> Vec<(crate::sip::message::HeaderName, String)> {
        match self.timing {
            Some(timing) => timer::wanted(timing.interval, Some(timing.we_refresh)),
            None => timer::wanted(timer::INTERVAL, None),
        }
    }
}
