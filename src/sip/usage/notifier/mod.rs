//! The notifier's half of a subscription: RFC 6665 §4.2 as a machine without I/O.
//!
//! [`Package::judge`] decides what is answered to a SUBSCRIBE; a [`Notifier`] is one accepted subscription. It never
//! holds the state that it notifies of: it says when a NOTIFY is due ([`Notifier::next`], [`Notifier::is_due`]), the
//! owner then composes the newest body, and [`Notifier::notify`] makes the request. So what is sent is always the
//! newest state, and nothing is queued.
//!
//! One NOTIFY is outstanding in a subscription, and a change of state waits until the package's pace allows another
//! one (RFC 3856 §6.10 and the like). As RFC 6446 §5.2 says, three do not wait: the one that follows a SUBSCRIBE, the
//! one that turns pending into active, and the last one. The one that follows a SUBSCRIBE does not wait for an outstanding one
//! either (RFC 6665 §4.2.1.2: immediately): that may be lost, and who subscribes is there to hear the next. It takes the
//! connection of the SUBSCRIBE where it can, behind the 200: a subscriber must take it before the 200 (RFC 6665 §4.1.2.4), and many do not.
//!
//! A subscription made inside a call shares the call's dialog, which the session keeps: a guest
//! ([`Notifier::accept_inside`]) makes its requests in it by [`Notifier::inside`], so that both count on from one number.
//! RFC 6665 §4.5.2 lets a notifier do so for the sake of older clients. The dialog outlives the call as long as a guest is in it
//! ([`Notifier::inherit`]).
//!
//! It deliberately does not share a dialog of its own between subscriptions, create one without a request of the peer, or
//! know what is in documents. Names, types and times of the packages are in [`package`](super::package).

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
pub use sipx_sip::event::Reason;

use super::package::{Package, Terms};
use crate::sabotage::{self, Fault as Mistake};
use crate::sip::dialog::Dialog;
use crate::sip::flow::{Flow, Inlet};
use crate::sip::message::{
    self, Answer, Failure, HeaderName, Headers, Method, OutRequest, Reply, Request, Response,
};
use crate::words::id::Partition;
use crate::words::time::{Now, Tick, Wall};

/// The first and the longest wait before a NOTIFY is tried again that failed for a reason that may pass.
const FIRST_BACKOFF: Duration = Duration::from_secs(5);
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);

/// By how much CSeq jumps after a restart. A dialog is kept on disk when its subscription is made or refreshed, not
/// with each NOTIFY; between two refreshes, at most an hour apart, there is room for 3,600 of them at the quickest pace,
/// and each may be challenged.
const RESTART_GAP: u32 = 10_000;

/// How many NOTIFYs may be overtaken by such as follow a SUBSCRIBE: a subscriber that answers none is not sent more and more.
const OVERTAKEN: u8 = 3;

/// What a NOTIFY carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// Content-Type.
    pub kind: &'static str,
    /// Content-Language, where the whole document is in one.
    pub language: Option<String>,
    /// The document.
    pub bytes: Bytes,
}

/// Whether a subscription goes on after an answer to its NOTIFY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on; look at [`Notifier::next`] again.
    Keep,
    /// It goes on, but the NOTIFY was too long for the way: say it in fewer words.
    Shorten,
    /// It is over: the subscriber does not know it, cannot be reached, or the last NOTIFY has been answered.
    Gone,
}

/// How a subscription ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct End {
    reason: Reason,
    retry_after: Option<Duration>,
}

/// One accepted subscription.
#[derive(Clone, Debug)]
pub struct Notifier {
    dialog: Dialog,
    event: Box<str>,
    active: bool,
    until: Tick,
    /// The seconds that were granted last.
    granted: u32,
    end: Option<End>,
    /// When the next NOTIFY is wanted; nothing when the subscriber knows all there is.
    wanted: Option<Tick>,
    /// Before this, a mere change is not told.
    earliest: Tick,
    pace: Duration,
    in_flight: bool,
    /// The number of the newest NOTIFY.
    newest: u32,
    /// How many older ones have no answer. What becomes of them says nothing any more.
    overtaken: u8,
    /// The NOTIFY that follows a SUBSCRIBE has not been sent.
    prompt: bool,
    failures: u8,
    /// Where the NOTIFY that follows a SUBSCRIBE goes, if that leads to the subscriber: it must not overtake the 200.
    inlet: Option<Inlet>,
}

/// What is kept of a [`Notifier`] on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    dialog: Dialog,
    event: Box<str>,
    active: bool,
    until: Wall,
    /// For how many seconds it was granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    granted: Option<u32>,
}

impl Kept {
    /// The subscriber was let in.
    pub fn is_active(&self) -> bool {
        self.active
    }

    /// When it ends.
    pub fn until(&self) -> Wall {
        self.until
    }

    /// Our tag.
    pub fn tag(&self) -> &str {
        &self.dialog.local_tag
    }
}

impl Notifier {
    /// Accepts an initial SUBSCRIBE. No NOTIFY is wanted yet: the owner says whether at once or, for a fetch, when
    /// the state is known. The refusal is for a SUBSCRIBE that makes no dialog.
    pub fn accept(
        request: &Request,
        terms: &Terms,
        contact: &str,
        tag: &str,
        partition: Partition,
        flow: &Flow,
        now: Now,
    ) -> Result<(Notifier, Reply), Reply> {
        let dialog = Dialog::of_request(request, tag, partition)
            .map_err(|problem| Reply::new(400).because(problem))?;
        let inlet = inlet(&dialog, request, flow);
        let reply = Reply { to_tag: Some(tag.to_owned()), ..ok(terms, contact) };
        Ok((Notifier { inlet, ..Notifier::new(dialog, terms, now) }, reply))
    }

    /// Accepts an initial SUBSCRIBE inside the dialog of another usage, which has judged its CSeq. What is known here of the
    /// dialog is only its name: everything else happens [`Notifier::inside`] it.
    pub fn accept_inside(
        dialog: &mut Dialog,
        request: &Request,
        terms: &Terms,
        contact: &str,
        flow: &Flow,
        now: Now,
    ) -> (Notifier, Reply) {
        dialog.refresh_target(&request.headers);
        let inlet = inlet(dialog, request, flow);
        (Notifier { inlet, ..Notifier::new(dialog.name(), terms, now) }, ok(terms, contact))
    }

    fn new(dialog: Dialog, terms: &Terms, now: Now) -> Notifier {
        Notifier {
            dialog,
            event: terms.event.as_str().into(),
            active: false,
            until: expiry(terms, now),
            granted: terms.expires,
            end: (terms.expires == 0).then_some(End { reason: Reason::Timeout, retry_after: None }),
            wanted: None,
            earliest: now.tick,
            pace: terms.pace,
            in_flight: false,
            newest: 0,
            overtaken: 0,
            prompt: true,
            failures: 0,
            inlet: None,
        }
    }

    /// Does something with a guest in the dialog that it shares: a refresh, a NOTIFY, its answer.
    pub fn inside<T>(&mut self, dialog: &mut Dialog, act: impl FnOnce(&mut Notifier) -> T) -> T {
        std::mem::swap(&mut self.dialog, dialog);
        let done = act(self);
        std::mem::swap(&mut self.dialog, dialog);
        done
    }

    /// The usage whose dialog was shared is over, and has sent its last request: the dialog is this subscription's alone.
    pub fn inherit(&mut self, dialog: Dialog) {
        self.dialog = dialog;
    }

    /// A SUBSCRIBE inside the dialog: a refresh or, with zero seconds, the end. What it is granted, or 481 after the
    /// end and 500 out of order (RFC 3261 §12.2.2). The owner then wants a NOTIFY.
    pub fn refresh(
        &mut self,
        request: &Request,
        terms: &Terms,
        contact: &str,
        flow: &Flow,
        now: Now,
    ) -> Reply {
        if self.end.is_some() {
            return Reply::new(481);
        }
        if !message::cseq(&request.headers).is_some_and(|cseq| self.dialog.accepts_cseq(cseq)) {
            return Reply::new(500).because("CSeq out of order");
        }
        self.dialog.refresh_target(&request.headers);
        self.inlet = inlet(&self.dialog, request, flow);
        self.prompt = true;
        (self.until, self.granted) = (expiry(terms, now), terms.expires);
        if terms.expires == 0 {
            self.end(Reason::Timeout, None, now);
        }
        ok(terms, contact)
    }

    /// Whether a request from the peer belongs to this dialog.
    pub fn holds(&self, headers: &Headers) -> bool {
        self.dialog.holds(headers)
    }

    /// The whole value of Event: it tells subscriptions of one dialog apart.
    pub fn event(&self) -> &str {
        &self.event
    }

    /// The tag that names the dialog on our side.
    pub fn tag(&self) -> &str {
        &self.dialog.local_tag
    }

    /// The subscriber has been granted to see the state.
    pub fn is_active(&self) -> bool {
        self.active
    }

    /// The last NOTIFY is wanted or sent.
    pub fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// Why it is over, if it is.
    pub fn ending(&self) -> Option<Reason> {
        self.end.map(|end| end.reason)
    }

    /// A NOTIFY is wanted that has not been sent.
    pub fn owes(&self) -> bool {
        self.wanted.is_some()
    }

    /// A NOTIFY awaits its answer.
    pub fn is_in_flight(&self) -> bool {
        self.in_flight
    }

    /// From now on it is granted; the first NOTIFY that says so does not wait for its turn.
    pub fn activate(&mut self) {
        self.active = true;
    }

    /// The subscription is over; the last NOTIFY goes as soon as none is outstanding. What is said last counts: a
    /// fetch, which is over from the beginning, may still be rejected.
    pub fn end(&mut self, reason: Reason, retry_after: Option<Duration>, now: Now) {
        self.end = Some(End { reason, retry_after });
        self.wanted = Some(now.tick);
    }

    /// There is news: a NOTIFY goes in its turn.
    pub fn want(&mut self, now: Now) {
        let turn = self.earliest.max(now.tick);
        self.wanted = Some(self.wanted.map_or(turn, |wanted| wanted.min(turn)));
    }

    /// A NOTIFY goes as soon as none is outstanding: it answers a SUBSCRIBE, or pending has become active.
    pub fn want_now(&mut self, now: Now) {
        self.wanted = Some(now.tick);
    }

    /// When to look at this subscription again: a NOTIFY is due, or it expires. While a NOTIFY is outstanding its
    /// answer comes first.
    pub fn next(&self) -> Option<Tick> {
        let expiry = self.end.is_none().then_some(self.until);
        if self.must_wait() {
            return expiry.filter(|_| self.wanted.is_none());
        }
        match (self.wanted, expiry) {
            (Some(wanted), Some(expiry)) => Some(wanted.min(expiry)),
            (wanted, expiry) => wanted.or(expiry),
        }
    }

    /// Ends the subscription if its time has passed, and says whether a NOTIFY is to be made now.
    pub fn is_due(&mut self, now: Now) -> bool {
        if self.end.is_none() && self.until <= now.tick {
            self.end(Reason::Timeout, None, now);
        }
        !self.must_wait() && self.wanted.is_some_and(|wanted| wanted <= now.tick)
    }

    /// Whether the answer to the outstanding NOTIFY comes first.
    fn must_wait(&self) -> bool {
        self.in_flight && !(self.prompt && self.overtaken < OVERTAKEN)
    }

    /// The next NOTIFY, with the whole value of our Contact. After one that follows an end, the owner may drop the
    /// subscription: whatever is answered to the last NOTIFY, 481 included, changes nothing. Whoever cannot wait for
    /// the outstanding one may overtake it: the subscriber takes the higher number (RFC 3261 §12.2.2).
    pub fn notify(&mut self, contact: String, body: Option<Body>, now: Now) -> OutRequest {
        let mut request = self.dialog.request(Method::Notify);
        request.over = self.inlet.take();
        request.headers.push((HeaderName::Contact, contact));
        request.headers.push((HeaderName::Event, self.event.to_string()));
        request.headers.push((HeaderName::SubscriptionState, self.state(now)));
        if let Some(body) = body {
            request.headers.push((HeaderName::ContentType, body.kind.to_owned()));
            if let Some(language) = body.language {
                request.headers.push((HeaderName::ContentLanguage, language));
            }
            request.body = body.bytes;
        }
        self.wanted = None;
        self.earliest = now.tick + self.pace;
        self.overtaken = self.overtaken.saturating_add(self.in_flight.into());
        (self.in_flight, self.newest, self.prompt) = (true, request.cseq, false);
        request
    }

    /// What became of the outstanding NOTIFY (RFC 6665 §4.2.2), or of one that was overtaken.
    pub fn answered(&mut self, answer: &Answer, now: Now) -> Verdict {
        if self.overtaken > 0 && self.is_of_old(answer) {
            self.overtaken -= 1;
            return Verdict::Keep;
        }
        let retry = match answer {
            Answer::Provisional(_) | Answer::Repeated => return Verdict::Keep,
            Answer::Final { response, cseq } => {
                self.dialog.used_cseq(*cseq);
                match response.status.code() {
                    200..=299 => {
                        self.dialog.refresh_target(&response.headers);
                        self.failures = 0;
                        None
                    }
                    404 | 405 | 408 | 410 | 416 | 480..=485 | 489 | 501 | 604 => return Verdict::Gone,
                    // 477 is what Kamailio and OpenSIPS say when a long request found no TCP on the last hop.
                    413 | 477 | 513 => {
                        self.in_flight = false;
                        return Verdict::Shorten;
                    }
                    500..=599 => Some(retry_after(response)),
                    // What was said was not liked; the subscription stands, and news will be said again.
                    _ => None,
                }
            }
            // Timer F: the subscriber has crashed or left (§4.2.2).
            Answer::Failed(Failure::Timeout) => return Verdict::Gone,
            Answer::Failed(Failure::Transport(_) | Failure::NoRoute) => Some(None),
            Answer::Failed(Failure::TooLong { .. }) => None,
        };
        self.in_flight = false;
        if let Some(asked) = retry {
            self.failures = self.failures.saturating_add(1);
            let backoff =
                (FIRST_BACKOFF * 2_u32.pow(u32::from(self.failures.min(6)) - 1)).min(LONGEST_BACKOFF);
            let again = now.tick + asked.unwrap_or(backoff).max(backoff);
            self.earliest = self.earliest.max(again);
            self.wanted = Some(again);
        }
        Verdict::Keep
    }

    /// Whether this is about a NOTIFY that was overtaken. Silence ends in the order of sending.
    fn is_of_old(&self, answer: &Answer) -> bool {
        match answer {
            Answer::Provisional(_) | Answer::Repeated => false,
            Answer::Final { cseq, .. } => *cseq < self.newest,
            Answer::Failed(Failure::Timeout) => true,
            Answer::Failed(_) => !self.in_flight,
        }
    }

    /// What is kept on disk. One that has ended is over there too: a process that goes on from here says so once more.
    pub fn kept(&self, now: Now) -> Kept {
        let has_ended = self.has_ended();
        Kept {
            dialog: self.dialog.clone(),
            event: self.event.clone(),
            active: self.active && !has_ended,
            until: if has_ended { now.wall } else { now.wall_at(self.until) },
            granted: Some(if has_ended { 0 } else { self.granted }),
        }
    }

    /// The subscription as it was kept; one whose time has passed meanwhile is due at once, and no calendar makes it last
    /// longer than was granted. No NOTIFY is wanted yet.
    pub fn restore(kept: Kept, package: &Package, now: Now) -> Notifier {
        let mut dialog = kept.dialog;
        dialog.local_cseq = dialog.local_cseq.saturating_add(RESTART_GAP);
        let granted = kept.granted.unwrap_or(package.max_expires);
        Notifier {
            dialog,
            event: kept.event,
            active: kept.active,
            until: now.tick_at(kept.until).min(now.tick + Duration::from_secs(granted.into())),
            granted,
            end: None,
            wanted: None,
            earliest: now.tick,
            pace: package.pace,
            in_flight: false,
            newest: 0,
            overtaken: 0,
            prompt: false,
            failures: 0,
            inlet: None,
        }
    }

    fn state(&self, now: Now) -> String {
        match self.end {
            Some(End { reason, retry_after: Some(wait) }) => {
                format!("terminated;reason={};retry-after={}", reason.as_str(), wait.as_secs())
            }
            Some(End { reason, .. }) => format!("terminated;reason={}", reason.as_str()),
            None => {
                let state = if self.active { "active" } else { "pending" };
                format!("{state};expires={}", (self.until - now.tick).as_secs())
            }
        }
    }
}

/// The connection that a SUBSCRIBE came by, for the NOTIFY that follows it.
fn inlet(dialog: &Dialog, request: &Request, flow: &Flow) -> Option<Inlet> {
    let is_next =
        || !dialog.routes.is_empty() || message::list(&request.headers, &HeaderName::Via).len() == 1;
    flow.conn.map(|conn| Inlet { conn, source: flow.remote.ip(), is_next: is_next() })
}

/// When it is over unless it is asked for again.
fn expiry(terms: &Terms, now: Now) -> Tick {
    let granted = Duration::from_secs(terms.expires.into());
    now.tick + if sabotage::is(Mistake::Outlives) { 2 * granted } else { granted }
}

fn ok(terms: &Terms, contact: &str) -> Reply {
    Reply::new(200).with(HeaderName::Expires, terms.expires.to_string()).with(HeaderName::Contact, contact)
}

/// The seconds of a Retry-After, without its comment and parameters.
fn retry_after(response: &Response) -> Option<Duration> {
    let text = message::text(&response.headers, &HeaderName::RetryAfter)?;
    let digits = text.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok().map(|seconds: u32| Duration::from_secs(seconds.min(3600).into()))
}

#[cfg(test)]
mod tests;
