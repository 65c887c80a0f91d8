//! What SIP users asked to be told (RFC 5438 §6.3), on disk until it is answered or too old: a person may read a message
//! days later. A displayed marker covers all earlier messages of the conversation (XEP-0333 §5), a notification speaks of one:
//! so one marker may answer many questions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::documents::imdn::Status;
use crate::features::audit::view::{Says, View};
use crate::features::signal::{Asked, Told};
use crate::sip::uri::{Aor, SipAddress};
use crate::store::record::{Key, Record, Restored};
use crate::words::id::Partition;
use crate::words::time::{Now, Tick, Wall};
use crate::xmpp::jid::Jid;

/// The kind of these records in the store.
pub const RECORD: &str = "asked";

/// How long an answer is waited for.
const WAIT: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often those that waited in vain are looked for.
const LOOK: Duration = Duration::from_secs(3600);
/// How many questions are open; the oldest go first.
const LIMIT: usize = 100_000;
/// How many of those that were forgotten are known, in case their messages fail after all.
const FORGOTTEN: usize = 10_000;
/// How many notifications one marker leads to.
const FAN_OUT: usize = 100;

/// A question that is not answered whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The user who got the message, bare.
    pub user: Jid,
    /// Who asked.
    pub sender: SipAddress,
    /// The id of the stanza.
    id: String,
    /// The sender's name for the message.
    pub message_id: String,
    /// When it was written, by its sender's clock.
    pub written: Wall,
    /// It is to be told that a device has it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    delivery: bool,
    /// It is to be told that it was shown.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    display: bool,
    /// It is to be told that it failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    failure: bool,
    /// A client has it, so it has not failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    received: bool,
    /// When it was asked.
    since: Wall,
    /// Its place among those of the same moment.
    order: u64,
}

impl Question {
    /// Whether nothing more is to be told.
    pub fn is_answered(&self) -> bool {
        !self.delivery && !self.display && !self.failure
    }

    /// Its name in the store.
    pub fn key(&self) -> Key {
        Key { kind: RECORD, partition: Partition::of(self.user.as_str()), id: self.id.clone() }
    }

    /// What a record says.
    pub fn view(record: &Restored) -> Result<View, String> {
        let question: Question = record.read().map_err(|error| error.to_string())?;
        let key = question.key();
        Ok(View { key, user: Some(question.user), contact: Some(question.sender.aor), says: Says::Memory })
    }

    /// What is kept of it.
    pub fn record(&self) -> Record {
        Record::new(self.key(), self)
    }
}

/// The user, bare; the contact; when, and in which order.
type Place = (Jid, Aor, Wall, u64);

/// All open questions.
#[derive(Debug, Default)]
pub struct Questions {
    open: BTreeMap<Place, Question>,
    by_id: BTreeMap<String, Place>,
    /// By age, for forgetting.
    by_age: BTreeMap<(Wall, u64), Place>,
    /// The ids of the last that were forgotten, and of which a failure was still to be told; the same by age.
    forgotten: BTreeSet<Arc<str>>,
    forgotten_by_age: VecDeque<Arc<str>>,
    next: u64,
    /// When was looked last.
    looked: Option<Now>,
}

impl Questions {
    /// A new question: its record, and that of one that gives way to it.
    pub fn ask(&mut self, now: Wall, asked: &Asked) -> (Record, Option<Key>) {
        let oldest = if self.open.len() >= LIMIT { self.by_age.first_key_value() } else { None };
        let oldest = oldest.map(|(_, place)| place.clone()).and_then(|place| self.forget(&place));
        let question = Question {
            user: asked.user.clone(),
            sender: asked.sender.clone(),
            id: asked.id.clone(),
            message_id: asked.message_id.clone(),
            written: asked.written,
            delivery: asked.wanted.delivery,
            display: asked.wanted.display,
            failure: asked.wanted.failure,
            received: false,
            since: now,
            order: self.next,
        };
        let record = question.record();
        self.insert(question);
        (record, oldest)
    }

    /// A question of before the start.
    pub fn restored(&mut self, record: &Restored) -> Result<(), String> {
        let question: Question = serde_json::from_slice(&record.value).map_err(|error| error.to_string())?;
        self.insert(question);
        Ok(())
    }

    /// A client confirmed a stanza: the questions that this answers, each with what is to be told of it, if anything. A
    /// question is closed when nothing more is to be told.
    pub fn confirmed(&mut self, user: &Jid, id: &str, displayed: bool) -> Vec<(Question, Option<Status>)> {
        let Some(place) = self.by_id.get(id).filter(|place| place.0.as_str() == user.bare_str()).cloned()
        else {
            return Vec::new();
        };
        let first = (place.0.clone(), place.1.clone(), Wall(0), 0);
        let first = if displayed { first } else { place.clone() };
        let places: Vec<Place> =
            self.open.range(first..=place).rev().take(FAN_OUT).map(|(place, _)| place.clone()).collect();
        let mut told = Vec::new();
        for place in places.into_iter().rev() {
            let Some(question) = self.open.get_mut(&place) else { continue };
            let mut statuses = Vec::new();
            (question.failure, question.received) = (false, true);
            // What was shown was received, and a client need not say both.
            if std::mem::take(&mut question.delivery) {
                statuses.push(Status::Delivered);
            }
            if displayed && std::mem::take(&mut question.display) {
                statuses.push(Status::Displayed);
            }
            let question = question.clone();
            if question.is_answered() {
                self.take(&place);
            }
            if statuses.is_empty() {
                told.push((question, None));
            } else {
                told.extend(statuses.into_iter().map(|status| (question.clone(), Some(status))));
            }
        }
        told
    }

    /// A message failed: the question about it, and whether that is to be told. It is closed, unless it may have to be told
    /// later.
    pub fn failed(&mut self, user: &Jid, id: &str, told: Told) -> Option<(Question, bool)> {
        let place = self.by_id.get(id).filter(|place| place.0.as_str() == user.bare_str()).cloned()?;
        let question = self.open.get_mut(&place).filter(|question| !question.received)?;
        (question.delivery, question.display) = (false, false);
        if question.failure && told == Told::Perhaps {
            return Some((question.clone(), false));
        }
        let is_wanted = std::mem::take(&mut question.failure) && told == Told::No;
        Some((self.take(&place)?, is_wanted))
    }

    /// Whether the question about the message of this stanza was forgotten before it was answered.
    pub fn was_forgotten(&self, id: &str) -> bool {
        self.forgotten.contains(id)
    }

    /// When [`Questions::expired`] is wanted.
    pub fn next_timeout(&self) -> Option<Tick> {
        self.looked.filter(|_| !self.open.is_empty()).map(|looked| looked.tick + LOOK)
    }

    /// The names of those that are too old. A calendar that has gone forward since the last look, or since before the
    /// start, is not believed before the next one: of what is on its way now, a failure may still have to be told.
    pub fn expired(&mut self, now: Now) -> Vec<Key> {
        let mut keys = Vec::new();
        let looked = *self.looked.get_or_insert(now);
        if now.tick < looked.tick + LOOK {
            return keys;
        }
        self.looked = Some(now);
        if now.wall > looked.wall_at(now.tick) + LOOK {
            return keys;
        }
        while let Some(((since, _), place)) = self.by_age.first_key_value() {
            if now.wall - *since < WAIT {
                break;
            }
            let place = place.clone();
            keys.extend(self.forget(&place));
        }
        keys
    }

    fn insert(&mut self, question: Question) {
        self.next = self.next.max(question.order) + 1;
        let place = (question.user.clone(), question.sender.aor.clone(), question.since, question.order);
        self.by_id.insert(question.id.clone(), place.clone());
        self.by_age.insert((question.since, question.order), place.clone());
        self.open.insert(place, question);
    }

    /// Forgets a question that nobody has answered; its name in the store.
    fn forget(&mut self, place: &Place) -> Option<Key> {
        let question = self.take(place)?;
        if question.failure {
            if self.forgotten_by_age.len() >= FORGOTTEN
                && let Some(oldest) = self.forgotten_by_age.pop_front()
            {
                self.forgotten.remove(&oldest);
            }
            let id: Arc<str> = question.id.as_str().into();
            self.forgotten.insert(id.clone());
            self.forgotten_by_age.push_back(id);
        }
        Some(question.key())
    }

    fn take(&mut self, place: &Place) -> Option<Question> {
        let question = self.open.remove(place)?;
        self.by_id.remove(&question.id);
        self.by_age.remove(&(question.since, question.order));
        Some(question)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::imdn::Wanted;

    const ALL: Wanted = Wanted { delivery: true, failure: false, display: true };

    fn juliet() -> Jid {
        Jid::parse("juliet@example.com").unwrap()
    }

    fn asked(id: &str, wanted: Wanted) -> Asked {
        Asked {
            user: juliet(),
            sender: SipAddress::parse("sip:romeo@example.net").unwrap(),
            id: id.into(),
            message_id: format!("m{id}"),
            wanted,
            written: Wall(1),
        }
    }

    fn told(questions: &mut Questions, id: &str, displayed: bool) -> Vec<String> {
        let answers = questions.confirmed(&juliet().with_resource("balcony").unwrap(), id, displayed);
        let told = |(question, status): &(Question, Option<Status>)| {
            status.map(|status| format!("{} {status:?}", question.message_id))
        };
        answers.iter().filter_map(told).collect()
    }

    #[test]
    fn each_question_is_answered_once() {
        let mut questions = Questions::default();
        questions.ask(Wall(5), &asked("1", ALL));
        assert_eq!(told(&mut questions, "1", false), ["m1 Delivered"]);
        assert_eq!(told(&mut questions, "1", false), [""; 0]);
        assert_eq!(told(&mut questions, "1", true), ["m1 Displayed"]);
        assert!(questions.open.is_empty() && questions.by_id.is_empty() && questions.by_age.is_empty());
    }

    #[test]
    fn a_displayed_marker_covers_earlier_messages_in_their_order() {
        let mut questions = Questions::default();
        for (id, at) in [("1", 5), ("2", 5), ("3", 7)] {
            questions.ask(Wall(at), &asked(id, ALL));
        }
        assert_eq!(
            told(&mut questions, "2", true),
            ["m1 Delivered", "m1 Displayed", "m2 Delivered", "m2 Displayed"]
        );
        assert_eq!(questions.open.len(), 1);
    }

    #[test]
    fn what_was_received_has_not_failed() {
        let mut questions = Questions::default();
        let all = Wanted { failure: true, ..ALL };
        questions.ask(Wall(5), &asked("1", all));
        questions.ask(Wall(5), &asked("2", all));
        questions.ask(Wall(5), &asked("3", ALL));
        told(&mut questions, "1", false);
        let mut failed = |id, told| {
            let failed = questions.failed(&juliet(), id, told);
            failed.map(|(question, is_told)| (question.message_id.clone(), question.is_answered(), is_told))
        };
        assert_eq!(failed("1", Told::No), None);
        assert_eq!(failed("2", Told::Perhaps), Some(("m2".into(), false, false)));
        assert_eq!(failed("2", Told::No), Some(("m2".into(), true, true)));
        assert_eq!(failed("2", Told::No), None);
        assert_eq!(failed("3", Told::No), Some(("m3".into(), true, false)));
        questions.ask(Wall(5), &asked("4", Wanted { failure: true, ..Wanted::default() }));
        let rest = ["m1 Displayed"];
        assert_eq!(told(&mut questions, "4", true), rest, "of the fourth nothing was to be told");
        assert!(questions.open.is_empty(), "received: nothing remains to be told");
    }

    #[test]
    fn nobody_answers_for_another() {
        let mut questions = Questions::default();
        questions.ask(Wall(5), &asked("1", ALL));
        let nurse = Jid::parse("nurse@example.com/x").unwrap();
        assert!(questions.confirmed(&nurse, "1", true).is_empty());
        assert!(questions.confirmed(&juliet(), "2", true).is_empty());
    }

    #[test]
    fn questions_survive_a_restart_and_not_a_week() {
        let mut questions = Questions::default();
        let (record, _) = questions.ask(Wall(5), &asked("1", ALL));
        let name = record.key.to_string();
        let mut anew = Questions::default();
        anew.restored(&Restored::parse(&name, record.value).unwrap()).unwrap();
        assert_eq!(anew.open, questions.open);
        let start = Now { tick: Tick(9), wall: Wall(6) };
        assert_eq!(anew.expired(start), []);
        let week = Now { tick: start.tick + WAIT, wall: start.wall + WAIT };
        assert_eq!(anew.expired(week), [record.key]);
        assert_eq!(anew.next_timeout(), None);
    }

    #[test]
    fn of_the_forgotten_only_the_last_are_known() {
        let mut questions = Questions::default();
        let wanted = Wanted { failure: true, ..ALL };
        for number in 0..=FORGOTTEN {
            questions.ask(Wall(5), &asked(&number.to_string(), wanted));
        }
        let start = Now { tick: Tick(9), wall: Wall(6) };
        questions.expired(start);
        assert!(!questions.was_forgotten("1"));
        let week = Now { tick: start.tick + WAIT, wall: start.wall + WAIT };
        assert_eq!(questions.expired(week).len(), FORGOTTEN + 1);
        assert!(!questions.was_forgotten("0"), "the oldest made room");
        assert!(questions.was_forgotten("1") && questions.was_forgotten(&FORGOTTEN.to_string()));
        assert_eq!((questions.forgotten.len(), questions.forgotten_by_age.len()), (FORGOTTEN, FORGOTTEN));
    }

    #[test]
    fn a_calendar_that_was_set_forward_makes_nobody_forget_at_once() {
        let mut questions = Questions::default();
        let (record, _) = questions.ask(Wall(5), &asked("1", ALL));
        let mut now = Now { tick: Tick(9), wall: Wall(5) + WAIT * 2 };
        assert_eq!(questions.expired(now), [], "it was set before the start");
        let mut pass = |wall| {
            now = Now { tick: now.tick + LOOK, wall };
            now
        };
        assert_eq!(questions.expired(pass(Wall(5) + LOOK)), [], "it was set back");
        assert_eq!(questions.expired(pass(Wall(5) + WAIT * 2)), [], "it was set forward");
        assert_eq!(questions.expired(pass(Wall(5) + WAIT * 2 + LOOK)), [record.key], "it seems to be right");
    }
}
