//! What has failed on its way to SIP, and whose sender is to be told.
//!
//! A verdict takes the place of the message in the store in one step, before it is said: whatever happens then, what was
//! refused is never sent again. It is said when the link is there, and forgotten a moment later: nobody confirms an error
//! stanza, so one whose process dies in that moment is said once more, under the same id.
//!
//! Until it is said the message counts as one that waits. How many wait is limited where messages are taken.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::meter::{self, Moves, Way};
use super::place::rank;
use super::post::Post;
use crate::features::audit::view::{Says, View};
use crate::features::{Cx, errors};
use crate::gateway::LinkId;
use crate::sabotage::{self, Fault as Mistake};
use crate::store::record::{Key, Record, Restored};
use crate::words::condition::Condition;
use crate::words::time::Tick;

/// The kind of these records in the store.
pub const RECORD: &str = "verdict";

/// So long after it was said it is out, or never will be; unless the store is down, for which everything waits.
const SAID: Duration = Duration::from_millis(20);

/// See the module.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Verdict {
    /// The message.
    pub post: Post,
    /// Why it failed.
    pub condition: Condition,
    /// Nobody refused it: its time was over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub expired: bool,
}

impl Verdict {
    /// Its name in the store.
    pub fn key(&self) -> Key {
        Key { kind: RECORD, ..self.post.key() }
    }
}

/// All verdicts of one owner that are not over.
#[derive(Debug, Default)]
pub struct Verdicts {
    /// They wait for a link.
    unsaid: BTreeMap<LinkId, VecDeque<Verdict>>,
    /// They were said, and are forgotten then.
    said: VecDeque<(Tick, Key)>,
    /// What the store gave back, until all is there.
    restored: Vec<Verdict>,
}

impl Verdicts {
    /// A message that waited has failed: its sender is told, now or when the link is back. What nobody waits for is only
    /// forgotten.
    pub fn pass(&mut self, cx: &mut Cx<'_>, moves: &mut Moves, verdict: Verdict) {
        cx.forget(verdict.post.key());
        if !verdict.post.is_quiet() {
            cx.save(Record::with_room(verdict.key(), &verdict, 768 + verdict.post.text.len()));
            self.hear(cx, moves, verdict);
        }
    }

    fn hear(&mut self, cx: &mut Cx<'_>, moves: &mut Moves, verdict: Verdict) {
        match cx.domains.link_of(verdict.post.to.domain()) {
            Some(link) if !cx.is_up(link) => self.unsaid.entry(link).or_default().push_back(verdict),
            _ => self.say(cx, moves, &verdict),
        }
    }

    fn say(&mut self, cx: &mut Cx<'_>, moves: &mut Moves, verdict: &Verdict) {
        moves.queued(-1);
        meter::result(cx, Way::XmppToSip, if verdict.expired { "expired" } else { "refused" });
        let error = errors::stanza_error(&verdict.post.stanza(), &verdict.condition);
        if let Some(error) = error.filter(|_| !sabotage::is(Mistake::NeverTold)) {
            if sabotage::is(Mistake::ToldTwice) {
                cx.stanza(error.clone());
            }
            cx.stanza(error);
        }
        self.said.push_back((cx.now.tick + SAID, verdict.key()));
    }

    /// Says what waited for this link.
    pub fn link_up(&mut self, cx: &mut Cx<'_>, moves: &mut Moves, link: LinkId) {
        for verdict in self.unsaid.remove(&link).unwrap_or_default() {
            self.say(cx, moves, &verdict);
        }
    }

    /// A verdict of before the start.
    pub fn restored(&mut self, record: &Restored) -> Result<(), String> {
        self.restored.push(record.read().map_err(|error| error.to_string())?);
        Ok(())
    }

    /// All records of before the start are there.
    pub fn start(&mut self, cx: &mut Cx<'_>, moves: &mut Moves) {
        let mut restored = std::mem::take(&mut self.restored);
        restored.sort_by_key(|verdict| rank(verdict.post.accepted, verdict.post.order));
        for verdict in restored {
            if cx.domains.link_of(verdict.post.to.domain()).is_none() {
                meter::orphaned(cx, Way::XmppToSip, verdict.post.names());
                continue;
            }
            meter::restored(cx, Way::XmppToSip);
            moves.queued(1);
            self.hear(cx, moves, verdict);
        }
    }

    /// Forgets what is out. Unlike a farewell in a conference it need not wait for the link: an error that a link has lost
    /// is not said again.
    pub fn timeout(&mut self, cx: &mut Cx<'_>) {
        while self.said.front().is_some_and(|(at, _)| *at <= cx.now.tick) {
            let Some((_, key)) = self.said.pop_front() else { return };
            if cx.accepting {
                cx.forget(key);
            } else {
                self.said.push_back((cx.now.tick + SAID, key));
            }
        }
    }

    /// When [`Verdicts::timeout`] is wanted.
    pub fn next_timeout(&self) -> Option<Tick> {
        self.said.front().map(|(at, _)| *at)
    }

    /// The process stops, after everything that was said is out.
    pub fn stop(&mut self, cx: &mut Cx<'_>) {
        for (_, key) in self.said.drain(..) {
            cx.forget(key);
        }
    }

    /// How many are not over.
    pub fn len(&self) -> usize {
        self.said.len() + self.unsaid.values().map(VecDeque::len).sum::<usize>()
    }
}

/// What a record says.
pub fn view(record: &Restored) -> Result<View, String> {
    let verdict: Verdict = record.read().map_err(|error| error.to_string())?;
    let says = Says::Failed { name: verdict.post.tag.clone() };
    let key = verdict.key();
    Ok(View { key, user: Some(verdict.post.from), contact: Some(verdict.post.target.aor), says })
}
