//! Pure decisions: what a refused SUBSCRIBE and an ended subscription do to a pair of user and contact
//! (`mappings/subscribe.yaml`; RFC 8048 §5.2.2, RFC 6665 §4.1.3), and how long to wait before asking again.

use std::sync::LazyLock;
use std::time::Duration;

use serde::Deserialize;

use crate::sip::usage::subscription::{End, Reason};
use crate::words::table;

/// What becomes of the pair. The words are explained at the head of `mappings/subscribe.yaml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// Asked again at once.
    Anew,
    /// Accepted, but not believed: unavailable, and refused after [`DOUBT`].
    Doubt,
    /// The contact can be talked to, and has no presence.
    NoPresence,
    /// The user is told that she is not authorised.
    Refuse,
    /// Asked again later.
    Retry,
}

/// Why a SUBSCRIBE came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// This status; 408 for no answer at all.
    Status(u16),
    /// A 200, but no NOTIFY.
    NoNotify,
    /// It could not be sent.
    Unreachable,
}

/// How long an accepted contact may be refused before the user is told `unsubscribed`: ten minutes of a misconfigured
/// proxy must not empty rosters.
pub const DOUBT: Duration = Duration::from_secs(24 * 3600);
/// How often a contact without presence is asked again, before jitter.
pub const NO_PRESENCE: Duration = Duration::from_secs(30 * 60);
/// The first wait after a failure that may pass by itself.
const RETRY: Duration = Duration::from_secs(30);
/// The first wait after a refusal that is doubted.
const DOUBTED: Duration = Duration::from_secs(600);
/// The longest of both.
const LONGEST: Duration = Duration::from_secs(3600);

/// One row of `mappings/subscribe.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    answer: String,
    first: Fate,
    later: Fate,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Table {
    subscribe_answers: Vec<Row>,
}

/// The fate of a pair whose SUBSCRIBE came to nothing; `accepted`: the user has been told `subscribed`.
pub fn fate(refusal: Refusal, accepted: bool) -> Fate {
    static TABLE: LazyLock<Table> = LazyLock::new(|| {
        parse(table::text("subscribe", include_str!("../../../mappings/subscribe.yaml")))
            .expect("mappings/subscribe.yaml is tested, and an admin's own is checked")
    });
    let answer = match refusal {
        Refusal::Status(status) => status.to_string(),
        Refusal::NoNotify => "no-notify".to_owned(),
        Refusal::Unreachable => "unreachable".to_owned(),
    };
    let row = TABLE.subscribe_answers.iter().find(|row| row.answer == answer || row.answer == "other");
    row.map_or(Fate::Retry, |row| if accepted { row.later } else { row.first })
}

/// What is wrong with a table of an admin's own.
pub fn check_table(text: &str) -> Result<(), String> {
    parse(text).map(drop)
}

fn parse(text: &str) -> Result<Table, String> {
    let table: Table = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
    match table.subscribe_answers.last() {
        Some(last) if last.answer == "other" => Ok(table),
        _ => Err("the last row of subscribe-answers must be `other`".to_owned()),
    }
}

/// What becomes of a pair whose subscription is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// This fate, and not before this wait if there is one.
    Fate(Fate, Option<Duration>),
    /// Nothing: what was shown stays (`invariant`).
    Keep,
    /// Nobody may be asked: the user is told so.
    NoRoute,
    /// What was shown becomes unavailable; asked again when the user does something.
    Rest,
}

/// The rows of RFC 6665 §4.1.3, and the refusals.
pub fn next(end: &End, accepted: bool) -> Next {
    match end {
        End::Closed | End::Expired => Next::Rest,
        End::Lost => Next::Fate(Fate::Anew, None),
        End::NoRoute => Next::NoRoute,
        End::Refused { status, retry_after } => {
            Next::Fate(fate(Refusal::Status(*status), accepted), *retry_after)
        }
        End::Silent => Next::Fate(fate(Refusal::NoNotify, accepted), None),
        End::Terminated { reason, retry_after } => match reason {
            Some(Reason::Deactivated | Reason::Timeout) => Next::Fate(Fate::Anew, None),
            Some(Reason::Rejected) => Next::Fate(Fate::Refuse, None),
            Some(Reason::NoResource) => Next::Rest,
            Some(Reason::Invariant) => Next::Keep,
            // Probation and giveup, and what we do not know: after the wait that was named, else a usual one.
            _ => Next::Fate(Fate::Retry, *retry_after),
        },
        End::Unreachable(_) => Next::Fate(fate(Refusal::Unreachable, accepted), None),
    }
}

/// The shortest and the longest wait before the next attempt; `tries` have failed in a row before this one.
pub fn wait(fate: Fate, tries: u8) -> (Duration, Duration) {
    let doubled = |first: Duration| (first * 2_u32.pow(tries.min(7).into())).min(LONGEST);
    match fate {
        Fate::NoPresence => (NO_PRESENCE * 4 / 5, NO_PRESENCE * 6 / 5),
        Fate::Doubt => (doubled(DOUBTED), doubled(DOUBTED) * 5 / 4),
        _ => (doubled(RETRY), doubled(RETRY) * 5 / 4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_its_two_vectors() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/contact");
        let table = parse(include_str!("../../../mappings/subscribe.yaml")).expect("the table");
        for row in &table.subscribe_answers {
            for when in ["first", "later"] {
                let file = format!("{when}-{}.vec", row.answer);
                assert!(folder.join(&file).exists(), "{file} is missing");
            }
        }
    }

    #[test]
    fn a_first_subscribe_is_refused_by_403_and_603_alone() {
        for status in 300..700 {
            let refused = fate(Refusal::Status(status), false) == Fate::Refuse;
            assert_eq!(refused, matches!(status, 403 | 603), "{status}");
        }
    }

    #[test]
    fn phones_without_presence_stay_addable() {
        for status in [404, 405, 408, 480, 489, 501] {
            assert_eq!(fate(Refusal::Status(status), false), Fate::NoPresence, "{status}");
        }
    }

    #[test]
    fn nothing_but_rejected_takes_an_accepted_contact_away_at_once() {
        for status in 300..700 {
            assert_ne!(fate(Refusal::Status(status), true), Fate::Refuse, "{status}");
        }
        let rejected = End::Terminated { reason: Some(Reason::Rejected), retry_after: None };
        assert_eq!(next(&rejected, true), Next::Fate(Fate::Refuse, None));
    }

    #[test]
    fn a_named_wait_counts_for_probation_and_giveup() {
        let wait = Some(Duration::from_secs(90));
        for reason in [Some(Reason::Probation), Some(Reason::GiveUp), None] {
            let end = End::Terminated { reason, retry_after: wait };
            assert_eq!(next(&end, true), Next::Fate(Fate::Retry, wait));
        }
        for reason in [Reason::Deactivated, Reason::Timeout] {
            let end = End::Terminated { reason: Some(reason), retry_after: wait };
            assert_eq!(next(&end, true), Next::Fate(Fate::Anew, None));
        }
    }

    #[test]
    fn waits_grow_and_end() {
        assert!(wait(Fate::Retry, 0).0 < wait(Fate::Retry, 1).0);
        assert_eq!(wait(Fate::Retry, 200).0, LONGEST);
        assert!(wait(Fate::NoPresence, 9).1 < NO_PRESENCE * 2);
    }
}
