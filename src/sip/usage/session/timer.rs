//! Session timers (RFC 4028): who refreshes, when, and what happens when nobody does. The table of §9 and the
//! arithmetic of §10 are `sipx-sip`'s.

use std::time::Duration;

use sipx_sip::session::{self, Answer, Refresher, SessionExpires};

use super::{Alarm, Cause, End, Session, State};
use crate::sip::message::{self, HeaderName, Headers, Reply};
use crate::words::time::Now;

/// The option tag, for Supported and Require.
pub(super) const OPTION: &str = session::OPTION_TAG;
/// What we ask for.
pub(super) const INTERVAL: Duration = session::DEFAULT_INTERVAL;
/// A timer that somebody wants to be longer than this is none.
const LONGEST: Duration = Duration::from_secs(86_400);

/// How often a peer may want a longer timer.
const LENGTHENED: u8 = 4;

/// A timer that runs.
pub(super) type Timing = session::Session;

/// What is answered to a request about the timer (§9).
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms(Answer);

impl Terms {
    /// Reads what a request wants; 422 for too little, 400 for what cannot be read.
    pub(super) fn of(headers: &Headers) -> Result<Terms, Reply> {
        let wants = match headers.typed::<SessionExpires>() {
            Some(Ok(wants)) => Some(wants),
            Some(Err(_)) => return Err(Reply::new(400).because("Session-Expires is malformed")),
            None => None,
        };
        let supports = |name| message::list(headers, name).iter().any(|tag| tag.eq_ignore_ascii_case(OPTION));
        let supports = supports(&HeaderName::Supported) || supports(&HeaderName::Require);
        match session::answer(supports, wants, least(headers), session::ABSOLUTE_MIN_INTERVAL) {
            Answer::TooBrief(least) => {
                Err(Reply::new(422).with(HeaderName::MinSe, least.as_secs().to_string()))
            }
            terms => Ok(Terms(terms)),
        }
    }

    /// What the 2xx says.
    pub(super) fn headers(&self) -> Vec<(HeaderName, String)> {
        let Answer::Accept(terms) = self.0 else { return Vec::new() };
        let expires = SessionExpires { interval: terms.interval, refresher: Some(terms.refresher) };
        let mut out = vec![(HeaderName::SessionExpires, expires.to_string())];
        if terms.require {
            out.push((HeaderName::Require, OPTION.to_owned()));
        }
        out
    }

    /// The timer that runs after the 2xx.
    pub(super) fn timing(&self) -> Option<Timing> {
        match self.0 {
            Answer::Accept(terms) => {
                Some(Timing { interval: terms.interval, we_refresh: terms.refresher == Refresher::Uas })
            }
            Answer::None | Answer::TooBrief(_) => None,
        }
    }
}

/// The headers of a request that wants a timer. Whose turn it is stays as it was; the first time they choose.
pub(super) fn wanted(interval: Duration, we_refresh: Option<bool>) -> Vec<(HeaderName, String)> {
    let refresher = we_refresh.map(|we| if we { Refresher::Uac } else { Refresher::Uas });
    let mut out = vec![(HeaderName::SessionExpires, SessionExpires { interval, refresher }.to_string())];
    if interval > INTERVAL {
        // Somebody on the way has insisted (§7.3).
        out.push((HeaderName::MinSe, interval.as_secs().to_string()));
    }
    out
}

/// Min-SE.
pub(super) fn least(headers: &Headers) -> Option<Duration> {
    let least = headers.typed::<session::MinSe>()?.ok()?.0;
    Some(least).filter(|least| *least <= LONGEST)
}

impl Session {
    /// A 2xx to a request of ours says what runs from now on. Who says nothing has no timer; we then refresh for
    /// ourselves, where UPDATE makes that cheap (§7.2).
    pub(super) fn adopt_timer(&mut self, now: Now, headers: &Headers, asked: Option<Duration>) {
        let agreed = headers.typed::<SessionExpires>().and_then(Result::ok);
        self.set_timer(now, session::adopt(agreed, asked.filter(|_| self.updates)));
    }

    /// Begins the timer anew.
    pub(super) fn set_timer(&mut self, now: Now, timing: Option<Timing>) {
        self.timers.stop(&Alarm::Refresh);
        self.timers.stop(&Alarm::Expire);
        self.timing = timing.map(|timing| Timing { interval: timing.interval.min(LONGEST), ..timing });
        let Some(timing) = self.timing else { return };
        if timing.we_refresh {
            self.timers.set(Alarm::Refresh, now.tick + timing.act_after());
            self.timers.set(Alarm::Expire, now.tick + timing.interval);
        } else {
            self.timers.set(Alarm::Expire, now.tick + timing.act_after());
        }
    }

    /// A refresh was refused for a reason that may pass: again after half of what is left.
    pub(super) fn refresh_later(&mut self, now: Now) {
        let left = self.timers.at(&Alarm::Expire).map_or(Duration::ZERO, |at| at - now.tick);
        if left > super::PATIENCE {
            self.timers.set(Alarm::Refresh, now.tick + left / 2);
        }
    }

    /// 422 to a request in the dialog: a longer timer, if it is longer, and if they can make up their minds.
    pub(super) fn lengthen_timer(&mut self, headers: &Headers) -> bool {
        let Some(least) = least(headers).filter(|_| self.lengthened < LENGTHENED) else { return false };
        self.lengthened += 1;
        let present = self.timing.map_or(INTERVAL, |timing| timing.interval);
        let we_refresh = self.timing.is_none_or(|timing| timing.we_refresh);
        self.timing = Some(Timing { interval: least.max(present), we_refresh });
        least > present
    }

    /// Nobody has refreshed (§10).
    pub(super) fn expired(&mut self) {
        if self.state == State::Up {
            let cause = Cause { status: 408, text: "session expired".to_owned() };
            self.bye_when_allowed(Some(cause));
            self.over(End::Expired);
        }
    }
}
