//! A REFER of ours and what is told of it. It goes outside dialogs (RFC 7647 §4), so that the NOTIFYs about it are alone in
//! theirs.

use std::time::Duration;

use sipx_sip::event::{State, Subscription as SubscriptionState};

use super::{Action, is_quiet};
use crate::sip::message::{self, Answer, Failure, HeaderName, Method, OutRequest, Reply, Request};
use crate::sip::uri::SipAddress;
use crate::sip::usage::package::REFER;
use crate::sip::usage::subscription::Parties;
use crate::words::id::Mint;
use crate::words::time::{Now, Tick};

/// How long after the 2xx the first NOTIFY may take: Timer N of RFC 6665, 64·T1.
const FIRST_NEWS: Duration = Duration::from_secs(32);
/// How long news is waited for where nobody says how long it may take, and at most.
const NEWS: Duration = Duration::from_secs(180);
const LONGEST: Duration = Duration::from_secs(600);

/// What became of a REFER of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is under way, with this status.
    Progress(u16),
    /// What was asked for ended with this status: 200 where it was done. Nothing follows.
    Done(u16),
    /// It was accepted, and nobody will say what becomes of it. Nothing follows.
    Unknown,
    /// It was refused. Nothing follows.
    Refused {
        /// The status.
        status: u16,
        /// The reason phrase.
        words: String,
    },
    /// It did not arrive. Nothing follows.
    Failed(Failure),
}

/// One REFER of ours. When its outcome is final the owner drops it: what still comes gets 481, which ends the subscription at
/// the other end too.
#[derive(Clone, Debug)]
pub struct Referring {
    call_id: Box<str>,
    local_tag: Box<str>,
    /// Who sends NOTIFYs: the first one to do so. Its last CSeq number.
    notifier: Option<(String, u32)>,
    accepted: bool,
    told: u16,
    until: Option<Tick>,
}

impl Referring {
    /// Asks the parties' `uri` to do something to `target`. The method stands in the URI, and for BYE behind it too: some
    /// focuses look there alone.
    pub fn refer(
        mint: &mut Mint,
        parties: &Parties,
        action: Action,
        target: &SipAddress,
        quiet: bool,
    ) -> (Referring, OutRequest) {
        let (call_id, tag) = (mint.token(parties.partition), mint.token(parties.partition));
        let refer_to = match action {
            Action::Invite => format!("<{target}>"),
            Action::Bye => format!("<{target};method=BYE>;method=BYE"),
        };
        let mut headers = vec![
            (HeaderName::Contact, parties.contact.clone()),
            (HeaderName::ReferTo, refer_to),
            (HeaderName::ReferredBy, parties.from.clone()),
        ];
        if quiet {
            headers.push((HeaderName::ReferSub, "false".to_owned()));
        }
        let request = OutRequest {
            method: Method::Refer,
            uri: parties.uri.clone(),
            from: format!("{};tag={tag}", parties.from),
            to: parties.to.clone(),
            call_id: call_id.clone(),
            cseq: 1,
            max_forwards: 70,
            routes: Vec::new(),
            headers,
            body: bytes::Bytes::new(),
            partition: parties.partition,
            domain: parties.domain.clone(),
            over: None,
        };
        let machine = Referring {
            call_id: call_id.into(),
            local_tag: tag.into(),
            notifier: None,
            accepted: false,
            told: 0,
            until: None,
        };
        (machine, request)
    }

    /// What was answered to the REFER.
    pub fn answer(&mut self, now: Now, answer: &Answer) -> Option<Outcome> {
        match answer {
            Answer::Provisional(_) | Answer::Repeated => None,
            Answer::Failed(failure) => Some(Outcome::Failed(failure.clone())),
            Answer::Final { response, .. } => match response.status.code() {
                200..300 if is_quiet(&response.headers) => Some(Outcome::Unknown),
                200..300 => {
                    self.accepted = true;
                    self.until.get_or_insert(now.tick + FIRST_NEWS);
                    None
                }
                status => {
                    let words = String::from_utf8_lossy(&response.reason).into_owned();
                    Some(Outcome::Refused { status, words })
                }
            },
        }
    }

    /// Whether a NOTIFY is about this one.
    pub fn is_about(&self, call_id: &str, to_tag: &str) -> bool {
        *self.call_id == *call_id && *self.local_tag == *to_tag
    }

    /// A NOTIFY about it. What it means, or nothing new; an error is the answer to it, 200 is the owner's to say.
    pub fn notify(&mut self, now: Now, request: &Request) -> Result<Option<Outcome>, Reply> {
        let headers = &request.headers;
        let event = message::text(headers, &HeaderName::Event).unwrap_or_default();
        if !event.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case(REFER.name)) {
            return Err(Reply::new(489).with(HeaderName::AllowEvents, REFER.name));
        }
        let said = headers
            .value(&HeaderName::SubscriptionState)
            .and_then(|value| SubscriptionState::parse(&value))
            .ok_or_else(|| Reply::new(400).because("Subscription-State is missing or malformed"))?;
        self.join(headers)?;
        self.until = Some(now.tick + said.expires.unwrap_or(NEWS).clamp(FIRST_NEWS, LONGEST));
        let status = status_of(request.body());
        let is_over = said.state == State::Terminated;
        Ok(match status {
            Some(status @ 200..700) => Some(Outcome::Done(status)),
            _ if is_over => Some(Outcome::Unknown),
            Some(status) if status > self.told.max(100) => {
                self.told = status;
                Some(Outcome::Progress(status))
            }
            _ => None,
        })
    }

    /// One fork is followed, and its NOTIFYs in their order.
    fn join(&mut self, headers: &message::Headers) -> Result<(), Reply> {
        let tag = message::tag(headers, &HeaderName::From).unwrap_or_default();
        let cseq = message::cseq(headers).ok_or_else(|| Reply::new(400).because("CSeq is missing"))?;
        match &mut self.notifier {
            Some((known, _)) if *known != tag => Err(Reply::new(481).because("this fork is not followed")),
            Some((_, last)) if cseq < *last => Err(Reply::new(500).because("CSeq is out of order")),
            notifier => {
                *notifier = Some((tag, cseq));
                Ok(())
            }
        }
    }

    /// When [`Referring::timeout`] is wanted.
    pub fn next_timeout(&self) -> Option<Tick> {
        self.until
    }

    /// Time has come: no more news.
    pub fn timeout(&mut self, now: Now) -> Option<Outcome> {
        let is_due = self.until.is_some_and(|at| at <= now.tick);
        if !is_due {
            return None;
        }
        self.until = None;
        // While the REFER itself is unanswered, its own timer decides.
        self.accepted.then_some(Outcome::Unknown)
    }
}

/// The status of a `message/sipfrag` (RFC 3420), which begins with a status line.
fn status_of(body: &[u8]) -> Option<u16> {
    let text = body.trim_ascii_start().strip_prefix(b"SIP/2.0 ")?.get(..3)?;
    let status: u16 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (100..700).contains(&status).then_some(status)
}
