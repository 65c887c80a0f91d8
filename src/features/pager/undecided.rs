//! Lines that are too long for a MESSAGE, to a contact that a row of `mappings/sessions.yaml` has asked what it can do: they
//! wait for its answer, a few seconds at most, and with them what is written behind them. Then the rows are asked once
//! more: where a session is no way for them, they go as MESSAGEs, and whoever wrote too much is told. After a start all
//! long lines are such, since what contacts had shown is forgotten. The first of such a lane may be there already by the
//! MESSAGE that was out when the process died: it goes as that again, under its name, and the others wait for its fate.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::meter::{self, Way};
use super::post::Post;
use super::to_sip::ToSip;
use super::ways::line;
use crate::features::{Cx, Signal, sessions};
use crate::sip::uri::Aor;
use crate::sip::usage::page::LaneKey;
use crate::words::note::Level;
use crate::words::time::Tick;
use crate::words::timers::Timers;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(4);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Undecided {
    /// The numbers of what waits, in order; and whether it may have arrived before a start.
    lanes: BTreeMap<LaneKey, VecDeque<(u64, bool)>>,
    timers: Timers<LaneKey>,
    /// What goes as a MESSAGE before them after a start; and whether they wait for nothing else.
    first: BTreeMap<LaneKey, (u64, bool)>,
}

impl Undecided {
    /// Whether what is written in this lane waits.
    pub fn has(&self, lane: &LaneKey) -> bool {
        self.lanes.contains_key(lane)
    }

    /// Whether this message of a lane does.
    pub fn holds(&self, lane: &LaneKey, number: u64) -> bool {
        self.lanes.get(lane).is_some_and(|lane| lane.iter().any(|(waits, _)| *waits == number))
    }

    /// This message of before the start goes as a MESSAGE, and what is behind it waits for its fate.
    pub fn goes_first(&mut self, lane: LaneKey, number: u64) {
        self.first.insert(lane, (number, false));
    }

    /// Whether a message goes first in this lane.
    pub fn has_first(&self, lane: &LaneKey) -> bool {
        self.first.contains_key(lane)
    }

    /// A message has met its fate: what waited for nothing else is decided now.
    pub fn settled(&mut self, now: Tick, lane: &LaneKey, number: u64) {
        if self.first.is_empty() || self.first.get(lane).is_none_or(|(first, _)| *first != number) {
            return;
        }
        if let Some((_, true)) = self.first.remove(lane) {
            self.timers.set(lane.clone(), now);
        }
    }

    /// When the next answer is not waited for any longer.
    pub fn next_timeout(&self) -> Option<Tick> {
        self.timers.next().map(|(at, _)| at)
    }
}

impl ToSip {
    /// Takes a message that is kept, behind what waits in its lane; `tried`: it may have arrived before a start.
    pub(super) fn wait(&mut self, cx: &mut Cx<'_>, post: Post, key: LaneKey, tried: bool) {
        let number = self.number();
        self.moves.queued(1);
        self.lanes.entry(key.clone()).or_default().count += 1;
        if !self.undecided.has(&key) {
            let line = line(cx, &post.from, &post.target.aor, (&post).into());
            let until = match line.way(&cx.config.sessions) {
                sessions::Way::Page { ask: true } => {
                    cx.signal(Signal::Unknown { user: post.from.clone(), contact: post.target.clone() });
                    cx.now.tick + PATIENCE
                }
                _ => cx.now.tick,
            };
            self.undecided.timers.set(key.clone(), until);
        }
        self.insert(cx, number, post, key.clone());
        self.undecided.lanes.entry(key).or_default().push_back((number, tried));
    }

    /// What can be known of a contact is known.
    pub fn known(&mut self, cx: &mut Cx<'_>, contact: &Aor) {
        let lanes: Vec<LaneKey> =
            self.undecided.lanes.keys().filter(|lane| lane.1 == *contact).cloned().collect();
        lanes.iter().for_each(|lane| self.decide(cx, lane));
    }

    /// Who has not answered by now is not waited for.
    pub(super) fn decide_overdue(&mut self, cx: &mut Cx<'_>) {
        if self.stopping {
            return;
        }
        while let Some(lane) = self.undecided.timers.pop(cx.now.tick) {
            self.decide(cx, &lane);
        }
    }

    /// The first that no row refuses decides for all behind it.
    fn decide(&mut self, cx: &mut Cx<'_>, lane: &LaneKey) {
        if self.stopping {
            // It is on disk.
            return;
        }
        self.undecided.timers.stop(lane);
        if let Some((_, decided)) = self.undecided.first.get_mut(lane) {
            *decided = true;
            return;
        }
        let mut by_session = None;
        for (number, tried) in self.undecided.lanes.remove(lane).unwrap_or_default() {
            let Some(live) = self.posts.get(&number) else { continue };
            let post = &live.post;
            let line = line(cx, &post.from, &post.target.aor, post.into());
            let way = line.way(&cx.config.sessions);
            if let sessions::Way::Refuse(condition) = way {
                let Some(live) = self.take(cx, number) else { continue };
                let words = condition.text.clone().unwrap_or_default();
                meter::log(cx, Level::Warn, "message-refused", Way::XmppToSip, live.post.names(), &words);
                self.say(cx, live.post, condition, false);
            } else if *by_session.get_or_insert(way == sessions::Way::Session) {
                self.give(cx, number);
            } else {
                let page = live.post.page(cx, lane, tried);
                self.pages.push(number, page);
            }
        }
        self.drive(cx);
    }
}
