//! A subscriber's side of one subscription (RFC 6665 §4.1), to any package.
//!
//! A machine without I/O: answers to our SUBSCRIBEs, NOTIFY requests and time go in; requests and [`Meaning`]s come
//! out. One dialog at most (RFC 3856 §6.9, RFC 4575 §3.8): the first NOTIFY makes it, whoever sent it, and a NOTIFY of any other fork
//! gets 481. The machine never starts over by itself: a subscription that is over says so, and whoever owns it decides
//! whether and when a new one, with a new Call-ID and tag, begins. It does not read documents.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
pub use sipx_sip::event::{Reason, State, Subscription as SubscriptionState};

use super::package::Package;
use crate::sip::dialog::{self, Dialog};
use crate::sip::message::{self, Answer, Failure, HeaderName, Method, OutRequest, Reply, Request};
use crate::words::id::{Mint, Partition};
use crate::words::time::{Now, Tick, Wall};

/// Timer N: how long after a SUBSCRIBE its NOTIFY may take (RFC 6665 §4.1.2.4), 64·T1.
const TIMER_N: Duration = Duration::from_secs(32);
/// Longer grants than this are treated as this: a broken peer must not make us forget to refresh.
pub const LONGEST: Duration = Duration::from_secs(86_400);
/// A peer that grants seconds does not get a SUBSCRIBE every second.
const SOONEST: Duration = Duration::from_secs(5);
/// How often a 423 is obeyed before it counts as a refusal.
const SHORTER_AT_MOST: u8 = 2;
/// When a refresh that failed is tried again; each further time after twice as long.
const AFTER_FAILURE: Duration = Duration::from_secs(60);
/// A state that is not known is asked for again after this.
const UNHEARD: Duration = Duration::from_secs(300);
/// A NOTIFY that moves the expiry by less than this does not move the refresh: many NOTIFYs must not put it off.
const SLACK: Duration = Duration::from_secs(10);

/// Who asks about whom, and what: the same for every request of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parties {
    /// What is asked for.
    pub package: &'static Package,
    /// The subscriber's address, without tag: `<sip:juliet@example.com>`.
    pub from: String,
    /// The one who is asked about: `<sip:romeo@example.net>`.
    pub to: String,
    /// The Request-URI of the first request.
    pub uri: String,
    /// The value of Contact.
    pub contact: String,
    /// The domain whose peer is asked.
    pub domain: String,
    /// The partition that our branches name.
    pub partition: Partition,
}

/// What a message or an alarm meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// It is time to refresh: call [`Subscription::refresh`], or let the subscription lapse.
    RefreshDue,
    /// A refresh failed, but the subscription lives on; it will be tried again.
    RefreshFailed(String),
    /// The notifier has agreed to the end. Its last NOTIFY may still come, and [`Meaning::Over`] follows.
    Ending,
    /// The subscription is over.
    Over(End),
}

/// Why a subscription is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// We ended it, and it is done.
    Closed,
    /// Its time ran out.
    Expired,
    /// The notifier has lost it (481 to a refresh).
    Lost,
    /// No peer serves the domain.
    NoRoute,
    /// The SUBSCRIBE was refused.
    Refused {
        /// The status code; 408 for a request that nobody answered.
        status: u16,
        /// Retry-After.
        retry_after: Option<Duration>,
    },
    /// No NOTIFY came within Timer N.
    Silent,
    /// A NOTIFY said so.
    Terminated {
        /// The reason, if it is one of RFC 6665 §4.1.3.
        reason: Option<Reason>,
        /// How long to wait before asking again.
        retry_after: Option<Duration>,
    },
    /// The SUBSCRIBE could not be sent, in words.
    Unreachable(String),
}

impl fmt::Display for End {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Closed => write!(out, "we ended it"),
            End::Expired => write!(out, "its time ran out"),
            End::Lost => write!(out, "the notifier has lost it (481)"),
            End::NoRoute => write!(out, "no peer serves the domain"),
            End::Refused { status, .. } => write!(out, "the SUBSCRIBE was answered {status}"),
            End::Silent => write!(out, "no NOTIFY came"),
            End::Terminated { reason: Some(reason), .. } => {
                write!(out, "the notifier ended it: {}", reason.as_str())
            }
            End::Terminated { reason: None, .. } => write!(out, "the notifier ended it"),
            End::Unreachable(why) => write!(out, "the SUBSCRIBE could not be sent: {why}"),
        }
    }
}

/// What a NOTIFY said. It is answered by the owner, who knows what to think of the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Pending, active or terminated.
    pub state: State,
    /// The subscription is over with it.
    pub end: Option<End>,
    /// The value of Content-Type and the body, if there is one.
    pub document: Option<(String, Bytes)>,
    /// It was sent because of an Expires of zero in a new dialog (RFC 6665 §4.4.3).
    pub fetched: bool,
}

/// What came of an input: at most one request to send, and what it meant.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// To be sent.
    pub request: Option<Box<OutRequest>>,
    /// What it meant.
    pub meaning: Option<Meaning>,
}

impl Step {
    fn over(end: End) -> Step {
        Step { request: None, meaning: Some(Meaning::Over(end)) }
    }
}

/// One subscription, or one fetch.
#[derive(Clone, Debug)]
pub struct Subscription {
    call_id: Box<str>,
    local_tag: Box<str>,
    /// Of our last SUBSCRIBE while there is no dialog.
    cseq: u32,
    dialog: Option<Box<Dialog>>,
    /// Contact of the 2xx and its To tag, until a NOTIFY makes the dialog: that may have none.
    answered: Option<Box<(String, String)>>,
    /// What the next SUBSCRIBE asks for; zero for a fetch.
    wanted: Duration,
    obeyed: u8,
    /// A SUBSCRIBE awaits its answer.
    in_flight: bool,
    /// We want it to end: an Expires of zero was, or will be, sent.
    ending: bool,
    /// The Expires of zero was sent.
    farewell_sent: bool,
    /// A NOTIFY has come since the last SUBSCRIBE.
    heard: bool,
    /// It said how long the subscription lasts: the 200 does not count any more.
    timed: bool,
    since: Tick,
    expires_at: Option<Tick>,
    refresh_at: Option<Tick>,
    /// How many refreshes have failed in a row.
    failed: u32,
    notify_by: Option<Tick>,
}

/// A subscription as it is kept over a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    dialog: Box<Dialog>,
    expires: Wall,
}

impl Kept {
    /// When it ends.
    pub fn until(&self) -> Wall {
        self.expires
    }
}

impl Subscription {
    /// Begins a subscription in a dialog of its own.
    pub fn subscribe(now: Now, mint: &mut Mint, parties: &Parties) -> (Subscription, OutRequest) {
        Subscription::begin(now, mint, parties, wanted(parties.package))
    }

    /// Asks for the state once: Expires of zero in a dialog of its own (RFC 6665 §4.4.3).
    pub fn fetch(now: Now, mint: &mut Mint, parties: &Parties) -> (Subscription, OutRequest) {
        Subscription::begin(now, mint, parties, Duration::ZERO)
    }

    /// A subscription of before a restart; nothing if it has expired meanwhile. Refresh it.
    pub fn restore(now: Now, kept: Kept, package: &Package) -> Option<Subscription> {
        if kept.expires <= now.wall {
            return None;
        }
        let mut subscription =
            Subscription::fresh(now, &kept.dialog.call_id, &kept.dialog.local_tag, wanted(package));
        subscription.cseq = kept.dialog.local_cseq;
        // A calendar that was set back makes nothing last longer.
        subscription.expires_at = Some(now.tick_at(kept.expires).min(now.tick + LONGEST));
        subscription.dialog = Some(kept.dialog);
        Some(subscription)
    }

    fn begin(now: Now, mint: &mut Mint, parties: &Parties, wanted: Duration) -> (Subscription, OutRequest) {
        let (call_id, tag) = (mint.token(parties.partition), mint.token(parties.partition));
        let mut subscription = Subscription::fresh(now, &call_id, &tag, wanted);
        let request = subscription.send(now, parties);
        (subscription, request)
    }

    fn fresh(now: Now, call_id: &str, local_tag: &str, wanted: Duration) -> Subscription {
        Subscription {
            call_id: call_id.into(),
            local_tag: local_tag.into(),
            cseq: 0,
            dialog: None,
            answered: None,
            wanted,
            obeyed: 0,
            in_flight: false,
            ending: false,
            farewell_sent: false,
            heard: false,
            timed: false,
            since: now.tick,
            expires_at: None,
            refresh_at: None,
            failed: 0,
            notify_by: None,
        }
    }

    /// Refreshes the subscription. Nothing is sent while a SUBSCRIBE awaits its answer or before a NOTIFY has made the
    /// dialog: both are followed by a refresh in time.
    pub fn refresh(&mut self, now: Now, parties: &Parties) -> Option<OutRequest> {
        self.refresh_at = None;
        if self.in_flight || self.ending || self.dialog.is_none() {
            return None;
        }
        Some(self.send(now, parties))
    }

    /// Ends the subscription: Expires of zero in its dialog, as soon as there is one. [`End::Closed`] follows.
    pub fn end(&mut self, now: Now, parties: &Parties) -> Option<OutRequest> {
        self.ending = true;
        self.refresh_at = None;
        self.farewell(now, parties)
    }

    /// An answer to the SUBSCRIBE that is in flight.
    pub fn answer(&mut self, now: Now, mint: &mut Mint, parties: &Parties, answer: &Answer) -> Step {
        let (response, cseq) = match answer {
            Answer::Provisional(_) | Answer::Repeated => return Step::default(),
            Answer::Final { response, cseq } => (response, *cseq),
            Answer::Failed(failure) => {
                self.in_flight = false;
                return self.failed(now, parties, failure);
            }
        };
        self.in_flight = false;
        self.cseq = self.cseq.max(cseq);
        if let Some(dialog) = &mut self.dialog {
            dialog.used_cseq(cseq);
        }
        let status = response.status.code();
        let seconds = |name| message::text(&response.headers, name).as_deref().and_then(seconds);
        match status {
            200..300 => {
                self.failed = 0;
                self.note_target(&response.headers);
                if status == 204 {
                    self.notify_by = None;
                }
                if self.farewell_sent {
                    // The last NOTIFY is waited for until Timer N (RFC 6665 §4.4.1): some notifiers send none.
                    return match self.notify_by {
                        Some(_) => Step { request: None, meaning: Some(Meaning::Ending) },
                        None => Step::over(End::Closed),
                    };
                }
                if !self.timed {
                    let granted = seconds(&HeaderName::Expires).unwrap_or(self.wanted);
                    self.expire_after(now, mint, if granted.is_zero() { TIMER_N } else { granted });
                }
                if !self.heard && self.notify_by.is_none() && status != 204 {
                    self.notify_by = Some(now.tick + TIMER_N);
                }
                if self.refresh_at.is_none() {
                    self.plan_refresh(now, mint);
                }
                Step { request: self.farewell(now, parties).map(Box::new), meaning: None }
            }
            423 if !self.ending && self.obeyed < SHORTER_AT_MOST => {
                let least = seconds(&HeaderName::MinExpires).unwrap_or(wanted(parties.package) * 2);
                if self.wanted.is_zero() || least <= self.wanted {
                    return Step::over(End::Refused { status, retry_after: None });
                }
                self.obeyed += 1;
                self.wanted = least;
                Step { request: Some(Box::new(self.send(now, parties))), meaning: None }
            }
            _ if self.ending => Step::over(End::Closed),
            481 if self.dialog.is_some() => Step::over(End::Lost),
            _ if self.dialog.is_some() && !ends_usage(status) => self.try_again(now, format!("{status}")),
            _ => Step::over(End::Refused { status, retry_after: seconds(&HeaderName::RetryAfter) }),
        }
    }

    /// A 2xx to a SUBSCRIBE names the remote target anew (RFC 3261 §12.2.1.2).
    fn note_target(&mut self, headers: &message::Headers) {
        match &mut self.dialog {
            Some(dialog) if dialog.answers(headers) => dialog.refresh_target(headers),
            Some(_) => {}
            None => {
                let tag = message::tag(headers, &HeaderName::To).unwrap_or_default();
                self.answered = dialog::contact(headers).ok().map(|target| Box::new((tag, target)));
            }
        }
    }

    fn failed(&mut self, now: Now, parties: &Parties, failure: &Failure) -> Step {
        if self.ending {
            // The NOTIFY of a first SUBSCRIBE may still have made a dialog that has to be ended.
            return match self.farewell(now, parties) {
                Some(request) => Step { request: Some(Box::new(request)), meaning: None },
                None => Step::over(End::Closed),
            };
        }
        let words = match failure {
            Failure::Timeout => "nobody answered".to_owned(),
            Failure::Transport(words) => words.clone(),
            Failure::NoRoute => "no peer serves the domain".to_owned(),
            Failure::TooLong { limit } => format!("longer than {limit} bytes"),
        };
        if self.dialog.is_some() {
            return self.try_again(now, words);
        }
        Step::over(match failure {
            Failure::Timeout => End::Refused { status: 408, retry_after: None },
            Failure::NoRoute => End::NoRoute,
            Failure::Transport(_) | Failure::TooLong { .. } => End::Unreachable(words),
        })
    }

    /// A refresh failed for a reason that leaves the subscription alive until it expires (RFC 6665 §4.1.2.2). Where
    /// nobody was reached, the notifier may not have reached us either, and have given us up: it is asked again soon.
    fn try_again(&mut self, now: Now, why: String) -> Step {
        self.notify_by = None;
        let left = self.expires_at.map_or(Duration::ZERO, |at| at - now.tick);
        if left > TIMER_N * 2 {
            // Who goes on after a restart and has heard nothing yet shows nothing: that shall not take long.
            let most = if self.heard { left } else { UNHEARD };
            let soon = AFTER_FAILURE * 2u32.saturating_pow(self.failed.min(8));
            self.refresh_at = Some(now.tick + (left / 2).min(most).max(TIMER_N).min(soon));
            self.failed += 1;
        }
        Step { request: None, meaning: Some(Meaning::RefreshFailed(why)) }
    }

    /// A NOTIFY with our Call-ID and tag. An error is the answer to it; the caller answers what is understood.
    pub fn notify(
        &mut self,
        now: Now,
        mint: &mut Mint,
        parties: &Parties,
        request: &Request,
    ) -> Result<(Notice, Option<OutRequest>), Reply> {
        let headers = &request.headers;
        let event = message::text(headers, &HeaderName::Event).unwrap_or_default();
        let package = parties.package.name;
        if !event.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case(package)) {
            return Err(Reply::new(489).with(HeaderName::AllowEvents, package));
        }
        let said = match headers.value(&HeaderName::SubscriptionState) {
            None => return Err(Reply::new(400).because("Subscription-State is missing")),
            Some(value) => SubscriptionState::parse(&value)
                .ok_or_else(|| Reply::new(400).because("Subscription-State is malformed"))?,
        };
        self.join(request, parties)?;
        let fetched = self.wanted.is_zero();
        if !self.farewell_sent {
            self.notify_by = None;
        }
        self.heard = true;
        let end = match said.state {
            State::Terminated if self.ending => Some(End::Closed),
            State::Terminated => Some(End::Terminated {
                reason: said.reason,
                retry_after: said.retry_after.map(|wait| wait.min(LONGEST * 30)),
            }),
            // It crossed our farewell: Timer N runs, and nothing else counts any more.
            _ if self.farewell_sent => None,
            _ => {
                if let Some(left) = said.expires {
                    self.timed = true;
                    self.expire_after(now, mint, left);
                } else if self.expires_at.is_none() {
                    self.expire_after(now, mint, self.wanted.max(TIMER_N));
                }
                if !self.in_flight && self.refresh_at.is_none() {
                    self.plan_refresh(now, mint);
                }
                None
            }
        };
        let document = (!request.body().is_empty()).then(|| {
            let type_ = message::text(headers, &HeaderName::ContentType).unwrap_or_default();
            (type_, request.body().clone())
        });
        let farewell = if end.is_none() { self.farewell(now, parties) } else { None };
        Ok((Notice { state: said.state, end, document, fetched }, farewell))
    }

    /// Makes the dialog, or sees that the NOTIFY belongs to it and is in order.
    fn join(&mut self, request: &Request, parties: &Parties) -> Result<(), Reply> {
        let headers = &request.headers;
        let cseq = message::cseq(headers).ok_or_else(|| Reply::new(400).because("CSeq is missing"))?;
        let Some(dialog) = &mut self.dialog else {
            let sent = self.first(parties);
            let mut dialog =
                Dialog::of_notify(&sent, self.cseq, request).map_err(|why| Reply::new(400).because(why))?;
            if let Some((tag, target)) = self.answered.take().map(|answered| *answered)
                && headers.value(&HeaderName::Contact).is_none()
                && tag == dialog.remote_tag
            {
                dialog.target = target;
            }
            self.dialog = Some(Box::new(dialog));
            return Ok(());
        };
        if !dialog.holds(headers) {
            return Err(Reply::new(481).because("this fork is not followed"));
        }
        if !dialog.accepts_cseq(cseq) {
            return Err(Reply::new(500).because("CSeq is out of order"));
        }
        dialog.refresh_target(headers);
        Ok(())
    }

    /// Time has come. Call until it means nothing.
    pub fn timeout(&mut self, now: Now) -> Option<Meaning> {
        let due = |at: Option<Tick>| at.is_some_and(|at| at <= now.tick);
        if due(self.notify_by) {
            self.notify_by = None;
            // While the SUBSCRIBE itself is unanswered, its own timer decides (RFC 3261 §17.1.2.2).
            if !self.in_flight {
                return Some(Meaning::Over(if self.ending { End::Closed } else { End::Silent }));
            }
        }
        if due(self.expires_at) {
            self.expires_at = None;
            self.refresh_at = None;
            return Some(Meaning::Over(if self.ending { End::Closed } else { End::Expired }));
        }
        if due(self.refresh_at) {
            self.refresh_at = None;
            return Some(Meaning::RefreshDue);
        }
        None
    }

    /// When [`Subscription::timeout`] is wanted.
    pub fn next_timeout(&self) -> Option<Tick> {
        [self.notify_by, self.expires_at, self.refresh_at].into_iter().flatten().min()
    }

    /// What has to be kept over a restart; nothing before a NOTIFY has made the dialog.
    pub fn keep(&self, now: Now) -> Option<Kept> {
        let (dialog, expires_at) = (self.dialog.clone()?, self.expires_at?);
        (!self.ending).then(|| Kept { dialog, expires: now.wall_at(expires_at) })
    }

    /// When it ends, unless it is refreshed.
    pub fn expires_at(&self) -> Option<Tick> {
        self.expires_at
    }

    /// The Call-ID of everything in it.
    pub fn call_id(&self) -> &str {
        &self.call_id
    }

    /// Whether a request with this tag in To is meant for it.
    pub fn has_tag(&self, to_tag: &str) -> bool {
        *self.local_tag == *to_tag
    }

    /// How long ago it began.
    pub fn age(&self, now: Now) -> Duration {
        now.tick - self.since
    }

    fn send(&mut self, now: Now, parties: &Parties) -> OutRequest {
        self.in_flight = true;
        self.heard = false;
        self.timed = false;
        self.notify_by = Some(now.tick + TIMER_N);
        let mut request = match &mut self.dialog {
            Some(dialog) => {
                let request = dialog.request(Method::Subscribe);
                self.cseq = request.cseq;
                request
            }
            None => {
                self.cseq = self.cseq.saturating_add(1);
                self.first(parties)
            }
        };
        let expires = if self.ending { 0 } else { self.wanted.as_secs() };
        request.headers = vec![
            (HeaderName::Contact, parties.contact.clone()),
            (HeaderName::Event, parties.package.name.to_owned()),
            (HeaderName::Accept, parties.package.document.to_owned()),
            (HeaderName::Expires, expires.to_string()),
        ];
        request
    }

    fn first(&self, parties: &Parties) -> OutRequest {
        OutRequest {
            method: Method::Subscribe,
            uri: parties.uri.clone(),
            from: format!("{};tag={}", parties.from, self.local_tag),
            to: parties.to.clone(),
            call_id: self.call_id.to_string(),
            cseq: self.cseq,
            max_forwards: 70,
            routes: Vec::new(),
            headers: Vec::new(),
            body: Bytes::new(),
            partition: parties.partition,
            domain: parties.domain.clone(),
            over: None,
        }
    }

    fn farewell(&mut self, now: Now, parties: &Parties) -> Option<OutRequest> {
        if !self.ending || self.farewell_sent || self.in_flight || self.dialog.is_none() {
            return None;
        }
        self.farewell_sent = true;
        self.expires_at = None;
        Some(self.send(now, parties))
    }

    fn expire_after(&mut self, now: Now, mint: &mut Mint, left: Duration) {
        let at = now.tick + left.min(LONGEST);
        let before = self.expires_at.replace(at);
        let moved = before.is_none_or(|before| (at - before).max(before - at) > SLACK);
        if moved && !self.in_flight {
            self.plan_refresh(now, mint);
        }
    }

    /// Between half and 85 % of what is left, so that contacts who were added together do not stay together.
    fn plan_refresh(&mut self, now: Now, mint: &mut Mint) {
        let left = self.expires_at.map_or(Duration::ZERO, |at| at - now.tick);
        let wait = mint.between(left / 2, left * 85 / 100).max(SOONEST);
        self.refresh_at = (!self.wanted.is_zero() && !self.ending).then(|| now.tick + wait);
    }
}

/// Whether this answer to a refresh ends the subscription (RFC 6665 §4.1.2.2). 403 and 603 are added: they say that
/// nothing more will come.
fn ends_usage(status: u16) -> bool {
    matches!(status, 403..=405 | 410 | 416 | 480..=485 | 489 | 501 | 603 | 604)
}

/// How long we ask for.
fn wanted(package: &Package) -> Duration {
    Duration::from_secs(package.default_expires.into())
}

fn seconds(text: &str) -> Option<Duration> {
    let digits = text.trim_start().split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse::<u32>().ok().map(|number| Duration::from_secs(number.into()))
}

#[cfg(test)]
mod tests;
