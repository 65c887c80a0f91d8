//! The notifier's half of a subscription: RFC 6665 §4.2 as a machine without I/O.
//!
//! [`Package::judge`] decides what is answered to a SUBSCRIBE; a [`Notifier`] is one accepted subscription. It never
//! holds the state that it notifies of: it says when a NOTIFY is due ([`Notifier::next`], [`Notifier::is_due`]), the
//! owner then composes the newest body, and [`Notifier::notify`] makes the request. So what is sent is always the
//! newest state, and nothing is queued.
//!
//! At most one NOTIFY is outstanding in a dialog, and a change of state waits until five seconds have passed since
//! the last NOTIFY (RFC 3856 §6.10). As RFC 6446 §5.2 says, three do not wait: the one that follows a SUBSCRIBE, the
//! one that turns pending into active, and the last one. The one that follows a SUBSCRIBE takes its connection where it
//! can, behind the 200: a subscriber must take it before the 200 (RFC 6665 §4.1.2.4), and many do not.
//!
//! It deliberately does not share a dialog between subscriptions (RFC 6665 §4.5.2), create one without a SUBSCRIBE,
//! or know any package.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
pub use sipx_sip::event::Reason;

use crate::sip::dialog::Dialog;
use crate::sip::flow::{Flow, Inlet};
use crate::sip::message::{
    self, Answer, Failure, HeaderName, Headers, Method, OutRequest, Reply, Request, Response,
};
use crate::words::id::Partition;
use crate::words::time::{Now, Tick, Wall};

/// The least time between two NOTIFYs that tell of changes (RFC 3856 §6.10).
pub const PACE: Duration = Duration::from_secs(5);

/// RFC 6665 §4.2.1.1: an interval from here on may not be called too brief.
const NEVER_TOO_BRIEF: u32 = 3600;

/// The longest wait before a NOTIFY is tried again that failed for a reason that may pass.
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);

/// By how much CSeq jumps after a restart. A dialog is kept on disk when its subscription is made or refreshed, not
/// with each NOTIFY; between two refreshes, at most an hour apart, there is room for 720 of them at [`PACE`], and
/// each may be challenged.
const RESTART_GAP: u32 = 10_000;

/// An event package, as far as a notifier must know it.
#[derive(Clone, Copy, Debug)]
pub struct Package {
    /// The name in Event.
    pub name: &'static str,
    /// The type of its documents.
    pub document: &'static str,
    /// What a SUBSCRIBE without Expires means, in seconds.
    pub default_expires: u32,
    /// Less is answered 423.
    pub min_expires: u32,
    /// More is shortened to this.
    pub max_expires: u32,
}

/// What a SUBSCRIBE is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The whole value of Event, as it is repeated in each NOTIFY.
    pub event: String,
    /// For how many seconds; zero is a fetch, or the end.
    pub expires: u32,
}

impl Package {
    /// What a SUBSCRIBE is granted, or its refusal: 489 for another package, 406 where the document is not accepted,
    /// 423 for an interval that is too brief, 400 for one that cannot be read. Without Accept the package's own type
    /// is meant (RFC 3856 §6.5).
    pub fn judge(&self, headers: &Headers) -> Result<Terms, Reply> {
        let event = message::text(headers, &HeaderName::Event).unwrap_or_default();
        let (name, params) = event.split_once(';').map_or((event.as_str(), ""), |(name, rest)| (name, rest));
        if name.trim() != self.name {
            return Err(Reply::new(489).with(HeaderName::AllowEvents, self.name));
        }
        if headers.count(&HeaderName::Accept) > 0 && !accepts(headers, self.document) {
            return Err(Reply::new(406).with(HeaderName::Accept, self.document));
        }
        let expires = match message::text(headers, &HeaderName::Expires) {
            None => self.default_expires,
            Some(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse().unwrap_or(u32::MAX)
            }
            Some(_) => return Err(Reply::new(400).because("Expires is no number")),
        };
        if (1..self.min_expires.min(NEVER_TOO_BRIEF)).contains(&expires) {
            return Err(Reply::new(423).with(HeaderName::MinExpires, self.min_expires.to_string()));
        }
        // Only `id` means anything here; it is repeated so that the subscriber finds its subscription (§8.2.1).
        let id = params.split(';').find_map(|param| {
            let (name, value) = param.split_once('=')?;
            name.trim().eq_ignore_ascii_case("id").then(|| value.trim())
        });
        let event = match id.filter(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_graphic())) {
            Some(id) => format!("{};id={id}", self.name),
            None => self.name.to_owned(),
        };
        Ok(Terms { event, expires: expires.min(self.max_expires) })
    }
}

/// Whether an Accept header lets `document` through: by its name or by a wildcard, unless `q` is zero.
fn accepts(headers: &Headers, document: &str) -> bool {
    let (family, _) = document.split_once('/').unwrap_or((document, ""));
    message::list(headers, &HeaderName::Accept).iter().any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let refused = parts.filter_map(|param| param.split_once('=')).any(|(name, value)| {
            name.trim().eq_ignore_ascii_case("q") && value.trim().parse::<f32>().is_ok_and(|q| q <= 0.0)
        });
        let matches = name == "*/*"
            || name == document
            || name.strip_suffix("/*").is_some_and(|known| known == family && known != "*");
        matches && !refused
    })
}

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
    end: Option<End>,
    /// When the next NOTIFY is wanted; nothing when the subscriber knows all there is.
    wanted: Option<Tick>,
    /// Before this, a mere change is not told.
    earliest: Tick,
    in_flight: bool,
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
        let notifier = Notifier {
            dialog,
            event: terms.event.as_str().into(),
            active: false,
            until: now.tick + Duration::from_secs(terms.expires.into()),
            end: (terms.expires == 0).then_some(End { reason: Reason::Timeout, retry_after: None }),
            wanted: None,
            earliest: now.tick,
            in_flight: false,
            failures: 0,
            inlet,
        };
        let reply = Reply { to_tag: Some(tag.to_owned()), ..ok(terms, contact) };
        Ok((notifier, reply))
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
        self.until = now.tick + Duration::from_secs(terms.expires.into());
        if terms.expires == 0 {
            self.end(Reason::Timeout, None, now);
        }
        ok(terms, contact)
    }

    /// Whether a request from the peer belongs to this dialog.
    pub fn holds(&self, headers: &Headers) -> bool {
        self.dialog.holds(headers)
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
        if self.in_flight {
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
        !self.in_flight && self.wanted.is_some_and(|wanted| wanted <= now.tick)
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
        self.earliest = now.tick + PACE;
        self.in_flight = true;
        request
    }

    /// What became of the outstanding NOTIFY (RFC 6665 §4.2.2).
    pub fn answered(&mut self, answer: &Answer, now: Now) -> Verdict {
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
            let backoff = (PACE * 2_u32.pow(u32::from(self.failures.min(6)) - 1)).min(LONGEST_BACKOFF);
            let again = now.tick + asked.unwrap_or(backoff).max(backoff);
            self.earliest = self.earliest.max(again);
            self.wanted = Some(again);
        }
        Verdict::Keep
    }

    /// What is kept on disk.
    pub fn kept(&self, now: Now) -> Kept {
        Kept {
            dialog: self.dialog.clone(),
            event: self.event.clone(),
            active: self.active,
            until: now.wall_at(self.until),
        }
    }

    /// The subscription as it was kept; one whose time has passed meanwhile is due at once. No NOTIFY is wanted yet.
    pub fn restore(kept: Kept, now: Now) -> Notifier {
        let mut dialog = kept.dialog;
        dialog.local_cseq = dialog.local_cseq.saturating_add(RESTART_GAP);
        Notifier {
            dialog,
            event: kept.event,
            active: kept.active,
            until: now.tick_at(kept.until),
            end: None,
            wanted: None,
            earliest: now.tick,
            in_flight: false,
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
mod tests {
    use super::*;
    use crate::sip::flow::{ConnId, Transport};
    use sipx_sip::{Limits, Message, StatusCode, parse_datagram};

    const PRESENCE: Package = Package {
        name: "presence",
        document: "application/pidf+xml",
        default_expires: 3600,
        min_expires: 60,
        max_expires: 3600,
    };

    fn subscribe(further: &[&str]) -> Request {
        let mut lines = vec![
            "SUBSCRIBE sip:juliet@example.com SIP/2.0",
            "From: <sip:romeo@example.net>;tag=xfg9",
            "To: <sip:juliet@example.com>",
            "Call-ID: AA5A8BE5",
            "Contact: <sip:romeo@192.0.2.7>",
        ];
        lines.extend(further);
        let text = lines.join("\r\n") + "\r\n\r\n";
        match parse_datagram(text.into(), &Limits::datagram()).expect("test message") {
            Message::Request(request) => request,
            Message::Response(_) => panic!("a request"),
        }
    }

    fn judged(further: &[&str]) -> Result<Terms, Reply> {
        PRESENCE.judge(&subscribe(further).headers)
    }

    fn at(seconds: u64) -> Now {
        Now { tick: Tick(seconds * 1_000_000), wall: Wall((1_700_000_000 + seconds) * 1000) }
    }

    fn over(conn: Option<ConnId>) -> Flow {
        let local = "192.0.2.9:5060".parse().expect("an address");
        let remote = "192.0.2.7:40000".parse().expect("an address");
        Flow { transport: Transport::Tcp, local, remote, conn }
    }

    fn accepted_over(request: &Request, conn: Option<ConnId>, now: Now) -> Notifier {
        let terms = PRESENCE.judge(&request.headers).expect("terms");
        let accepted = Notifier::accept(request, &terms, "<sip:us>", "ur93", Partition(3), &over(conn), now);
        accepted.expect("a subscription").0
    }

    fn accepted(now: Now) -> Notifier {
        let request = subscribe(&["CSeq: 1 SUBSCRIBE", "Event: presence"]);
        accepted_over(&request, None, now)
    }

    fn state(request: &OutRequest) -> &str {
        let found = request.headers.iter().find(|(name, _)| *name == HeaderName::SubscriptionState);
        &found.expect("Subscription-State").1
    }

    fn answer(status: u16) -> Answer {
        let status = StatusCode::new(status).expect("a status");
        Answer::Final { response: Response::new(status, ""), cseq: 1 }
    }

    #[test]
    fn a_subscribe_without_expires_and_accept_is_granted_an_hour() {
        assert_eq!(judged(&["Event: presence"]), Ok(Terms { event: "presence".into(), expires: 3600 }));
    }

    #[test]
    fn the_event_id_is_repeated_and_other_parameters_are_not() {
        assert_eq!(judged(&["o: presence ;x=y; ID=7"]).expect("terms").event, "presence;id=7");
    }

    #[test]
    fn another_package_or_none_is_489() {
        for event in ["Event: dialog", "Event: presence.winfo", "X: y"] {
            let reply = judged(&[event]).expect_err("refused");
            assert_eq!(reply.status, 489);
            assert_eq!(reply.headers, [(HeaderName::AllowEvents, "presence".to_owned())]);
        }
    }

    #[test]
    fn an_accept_without_the_document_is_406() {
        for refused in ["Accept: text/plain", "Accept:", "Accept: application/pidf+xml;q=0, text/*"] {
            assert_eq!(judged(&["Event: presence", refused]).expect_err("refused").status, 406, "{refused}");
        }
        for taken in ["Accept: Application/PIDF+xml", "Accept: text/*, */*;q=0.1", "Accept: application/*"] {
            assert!(judged(&["Event: presence", taken]).is_ok(), "{taken}");
        }
    }

    #[test]
    fn only_an_interval_between_zero_and_the_minimum_is_too_brief() {
        let brief = judged(&["Event: presence", "Expires: 59"]).expect_err("refused");
        assert_eq!((brief.status, brief.headers[0].1.as_str()), (423, "60"));
        for (asked, granted) in [("0", 0), ("60", 60), ("86400", 3600), ("99999999999", 3600)] {
            let terms = judged(&["Event: presence", &format!("Expires: {asked}")]).expect("terms");
            assert_eq!(terms.expires, granted);
        }
        assert_eq!(judged(&["Event: presence", "Expires: soon"]).expect_err("refused").status, 400);
    }

    #[test]
    fn only_the_notify_that_follows_prefers_the_connection_of_the_subscribe() {
        let via = "Via: SIP/2.0/TCP 192.0.2.7;branch=z9hG4bK1";
        for (further, is_next) in [
            (&[via][..], true),
            (&[via, via], false),
            (&[via, via, "Record-Route: <sip:192.0.2.7;lr>"], true),
        ] {
            let lines = [&["CSeq: 1 SUBSCRIBE", "Event: presence"], further].concat();
            let mut notifier = accepted_over(&subscribe(&lines), Some(ConnId(4)), at(0));
            let sent = notifier.notify("<sip:us>".into(), None, at(0)).over;
            let source = "192.0.2.7".parse().expect("an address");
            assert_eq!(sent, Some(Inlet { conn: ConnId(4), source, is_next }), "{further:?}");
            assert_eq!(notifier.notify("<sip:us>".into(), None, at(1)).over, None);
            let lines = ["CSeq: 2 SUBSCRIBE", "Event: presence", via];
            let terms = PRESENCE.judge(&subscribe(&lines).headers).expect("terms");
            notifier.refresh(&subscribe(&lines), &terms, "<sip:us>", &over(Some(ConnId(5))), at(2));
            let sent = notifier.notify("<sip:us>".into(), None, at(2)).over;
            assert_eq!(sent, Some(Inlet { conn: ConnId(5), source, is_next: true }), "{further:?}");
        }
    }

    #[test]
    fn a_change_waits_for_its_turn_and_for_the_outstanding_one() {
        let mut notifier = accepted(at(0));
        notifier.want_now(at(0));
        assert!(notifier.is_due(at(0)));
        assert_eq!(state(&notifier.notify("<sip:us>".into(), None, at(0))), "pending;expires=3600");
        notifier.want(at(1));
        assert!(!notifier.is_due(at(6)), "one is outstanding");
        assert_eq!(notifier.answered(&answer(200), at(7)), Verdict::Keep);
        assert!(notifier.is_due(at(7)));
        notifier.activate();
        assert_eq!(state(&notifier.notify("<sip:us>".into(), None, at(7))), "active;expires=3593");
        notifier.answered(&answer(200), at(7));
        notifier.want(at(8));
        assert_eq!(notifier.next(), Some(at(12).tick));
        assert!(!notifier.is_due(at(11)));
        assert!(notifier.is_due(at(12)));
    }

    #[test]
    fn expiry_ends_with_timeout() {
        let mut notifier = accepted(at(0));
        assert_eq!(notifier.next(), Some(at(3600).tick));
        assert!(notifier.is_due(at(3600)));
        assert_eq!(state(&notifier.notify("<sip:us>".into(), None, at(3600))), "terminated;reason=timeout");
        let late = subscribe(&["CSeq: 2 SUBSCRIBE", "Event: presence"]);
        let terms = PRESENCE.judge(&late.headers).expect("terms");
        assert_eq!(notifier.refresh(&late, &terms, "<sip:us>", &over(None), at(3601)).status, 481);
    }

    #[test]
    fn a_refresh_moves_the_expiry_and_one_out_of_order_is_500() {
        let mut notifier = accepted(at(0));
        let refresh = subscribe(&["CSeq: 5 SUBSCRIBE", "Event: presence", "Expires: 100"]);
        let terms = PRESENCE.judge(&refresh.headers).expect("terms");
        let reply = notifier.refresh(&refresh, &terms, "<sip:us>", &over(None), at(50));
        assert_eq!((reply.status, reply.headers[0].1.as_str()), (200, "100"));
        assert_eq!(notifier.next(), Some(at(150).tick));
        let old = subscribe(&["CSeq: 4 SUBSCRIBE", "Event: presence"]);
        assert_eq!(notifier.refresh(&old, &terms, "<sip:us>", &over(None), at(51)).status, 500);
    }

    #[test]
    fn the_codes_of_the_rfc_remove_the_subscription() {
        for code in [404, 405, 408, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604] {
            let mut notifier = accepted(at(0));
            notifier.notify("<sip:us>".into(), None, at(0));
            assert_eq!(notifier.answered(&answer(code), at(1)), Verdict::Gone, "{code}");
        }
        let mut notifier = accepted(at(0));
        notifier.notify("<sip:us>".into(), None, at(0));
        assert_eq!(notifier.answered(&Answer::Failed(Failure::Timeout), at(32)), Verdict::Gone);
    }

    #[test]
    fn what_may_pass_is_tried_again_later_and_later() {
        let mut notifier = accepted(at(0));
        let mut now = 0;
        for wait in [5, 10, 20, 40, 80, 160, 160] {
            notifier.notify("<sip:us>".into(), None, at(now));
            assert_eq!(notifier.answered(&answer(503), at(now)), Verdict::Keep);
            assert_eq!(notifier.next(), Some(at(now + wait).tick));
            now += wait;
        }
        notifier.notify("<sip:us>".into(), None, at(now));
        notifier.answered(&answer(403), at(now));
        assert_eq!(notifier.next(), Some(at(3600).tick), "a refusal is not repeated");
    }

    #[test]
    fn what_is_too_long_for_the_way_is_to_be_shortened() {
        for code in [413, 477, 513] {
            let mut notifier = accepted(at(0));
            notifier.notify("<sip:us>".into(), None, at(0));
            assert_eq!(notifier.answered(&answer(code), at(1)), Verdict::Shorten, "{code}");
            assert!(!notifier.is_in_flight());
        }
    }

    #[test]
    fn a_kept_subscription_goes_on_with_higher_numbers() {
        let mut notifier = accepted(at(0));
        notifier.activate();
        notifier.notify("<sip:us>".into(), None, at(0));
        let kept = serde_json::to_vec(&notifier.kept(at(10))).expect("JSON");
        let later = Now { tick: Tick(0), wall: at(3590).wall };
        let mut back = Notifier::restore(serde_json::from_slice(&kept).expect("a subscription"), later);
        let notify = back.notify("<sip:us>".into(), None, later);
        assert_eq!(state(&notify), "active;expires=10");
        assert_eq!((notify.cseq, notify.from.as_str()), (10_002, "<sip:juliet@example.com>;tag=ur93"));
    }
}
