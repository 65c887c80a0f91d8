//! What consent becomes by what is heard: RFC 8048 §5.3 and RFC 6121 §3.1 as functions without state.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sip::usage::notifier::Reason;
use crate::words::condition::Kind;
use crate::words::time::Wall;

/// How long an unanswered question rests before it is put once more, and how long a refusal stands.
pub const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// How often an XMPP user is asked who does not answer.
const QUESTIONS: u8 = 2;

/// What an XMPP user has said about one SIP watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Consent {
    /// She has not been asked, or it does not count any more.
    Unasked,
    /// She has been asked and has not answered.
    Asked {
        /// When last.
        at: Wall,
        /// How often.
        times: u8,
    },
    /// She lets the watcher see her presence.
    Granted,
    /// She does not, or no longer.
    Refused {
        /// Until then nobody asks her again.
        until: Wall,
    },
}

/// What a SUBSCRIBE meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Welcome {
    /// 603.
    Decline,
    /// 200 and pending; whether the user is asked now.
    Wait {
        /// Asks her.
        ask: bool,
    },
    /// 200 and the state.
    Show,
}

/// What a SUBSCRIBE meets at `now`. Refreshes, new subscriptions and reboots never ask again.
pub fn welcome(consent: Consent, now: Wall) -> Welcome {
    match consent {
        Consent::Unasked => Welcome::Wait { ask: true },
        Consent::Asked { at, times } => Welcome::Wait { ask: times < QUESTIONS && now >= at + WEEK },
        Consent::Granted => Welcome::Show,
        Consent::Refused { until } if now < until => Welcome::Decline,
        Consent::Refused { .. } => Welcome::Wait { ask: true },
    }
}

/// How often the user has been asked once she is asked now.
pub fn asked(consent: Consent, now: Wall) -> Consent {
    let before = match consent {
        Consent::Asked { times, .. } => times,
        _ => 0,
    };
    Consent::Asked { at: now, times: before.saturating_add(1) }
}

/// A stanza about subscriptions, from the XMPP user to the SIP watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// She adds the watcher to her own contacts.
    Subscribe,
    /// She consents.
    Subscribed,
    /// She refuses or withdraws; or the server says, to a probe, that nothing was granted.
    Unsubscribed,
}

/// What such a stanza changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing.
    Nothing,
    /// Every dialog becomes active.
    Grant,
    /// Every dialog ends with `rejected`, and 603 is answered for a week.
    Refuse,
    /// Every dialog ends with `rejected`; the next SUBSCRIBE asks anew.
    Lapse,
    /// A refusal is forgotten.
    Pardon,
}

/// What `heard` changes; `probing` while a probe of ours is unanswered (RFC 6121 §4.3.2, first case).
pub fn turn(consent: Consent, heard: Heard, probing: bool) -> Turn {
    match (consent, heard) {
        (Consent::Refused { .. }, Heard::Subscribe) => Turn::Pardon,
        (_, Heard::Subscribe) => Turn::Nothing,
        // Only a `subscribe` that was sent can be answered (RFC 6121 §3.1.6); she may change her mind.
        (Consent::Asked { .. } | Consent::Refused { .. }, Heard::Subscribed) => Turn::Grant,
        (Consent::Unasked | Consent::Granted, Heard::Subscribed) => Turn::Nothing,
        (Consent::Asked { .. }, Heard::Unsubscribed) => Turn::Refuse,
        (Consent::Granted, Heard::Unsubscribed) if probing => Turn::Lapse,
        (Consent::Granted, Heard::Unsubscribed) => Turn::Refuse,
        (Consent::Unasked, Heard::Unsubscribed) if probing => Turn::Lapse,
        (Consent::Unasked | Consent::Refused { .. }, Heard::Unsubscribed) => Turn::Nothing,
    }
}

/// How a watcher's dialogs end whose question came back as an error (RFC 6665 §4.1.3): the address does not exist, a
/// server forbids it, or it may work later. None of these is the user's word, so a later SUBSCRIBE asks.
pub fn end_of_failed_question(kind: Kind) -> (Reason, Option<Duration>) {
    match kind {
        Kind::Gone | Kind::ItemNotFound | Kind::JidMalformed | Kind::Redirect | Kind::ServiceUnavailable => {
            (Reason::NoResource, None)
        }
        Kind::BadRequest
        | Kind::FeatureNotImplemented
        | Kind::Forbidden
        | Kind::NotAcceptable
        | Kind::NotAllowed
        | Kind::NotAuthorized
        | Kind::PolicyViolation
        | Kind::RegistrationRequired
        | Kind::SubscriptionRequired => (Reason::Rejected, None),
        Kind::Conflict
        | Kind::InternalServerError
        | Kind::RecipientUnavailable
        | Kind::RemoteServerNotFound
        | Kind::RemoteServerTimeout
        | Kind::ResourceConstraint
        | Kind::UndefinedCondition
        | Kind::UnexpectedRequest => (Reason::GiveUp, Some(Duration::from_secs(600))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Wall = Wall(1_700_000_000_000);

    #[test]
    fn she_is_asked_once_and_once_more_after_a_week() {
        assert_eq!(welcome(Consent::Unasked, NOW), Welcome::Wait { ask: true });
        let once = asked(Consent::Unasked, NOW);
        assert_eq!(welcome(once, NOW), Welcome::Wait { ask: false });
        assert_eq!(welcome(once, NOW + WEEK), Welcome::Wait { ask: true });
        let twice = asked(once, NOW + WEEK);
        assert_eq!(welcome(twice, NOW + WEEK * 9), Welcome::Wait { ask: false });
    }

    #[test]
    fn a_refusal_stands_for_a_week_or_until_she_adds_the_watcher() {
        let refused = Consent::Refused { until: NOW + WEEK };
        assert_eq!(welcome(refused, NOW), Welcome::Decline);
        assert_eq!(welcome(refused, NOW + WEEK), Welcome::Wait { ask: true });
        assert_eq!(turn(refused, Heard::Subscribe, false), Turn::Pardon);
    }

    #[test]
    fn an_answer_to_a_probe_is_not_her_word() {
        assert_eq!(turn(Consent::Granted, Heard::Unsubscribed, true), Turn::Lapse);
        assert_eq!(turn(Consent::Granted, Heard::Unsubscribed, false), Turn::Refuse);
    }

    #[test]
    fn consent_that_nobody_asked_for_is_not_believed() {
        assert_eq!(turn(Consent::Unasked, Heard::Subscribed, true), Turn::Nothing);
    }
}
