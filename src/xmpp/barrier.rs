//! A delivery barrier: XEP-0199 pings that show that what was sent before them has been looked at.
//!
//! A component stream has no acknowledgements. But a server handles the stanzas of one stream for one domain in their
//! order, so the answer to a ping to that domain comes after every objection to what was sent before the ping. Any
//! answer will do, an error too: a server that knows no ping has still read it.
//!
//! A lane is a stream and a domain on it. Per lane one ping is outstanding; it covers everything that was sent on the
//! lane since the ping before. The owner sends the pings, and decides what it means when none is answered.

use std::collections::BTreeMap;
use std::time::Duration;

use super::jid::Jid;
use super::ns;
use super::stanza::{Element, Stanza, StanzaKind};
use crate::words::time::Tick;
use crate::words::timers::Timers;

/// So many stanzas on a lane make a ping due at once.
const BATCH: usize = 20;

/// A ping is due so long after the first stanza that it is to cover. Short, because somebody waits for the answer; not
/// zero, because stanzas come in bursts.
const GATHER: Duration = Duration::from_millis(1);

/// An unanswered ping is repeated after so long, under a new id.
const AGAIN: Duration = Duration::from_secs(10);

/// The barriers of all lanes: `L` names a lane, `M` a message.
#[derive(Debug)]
pub struct Barrier<L, M> {
    lanes: BTreeMap<L, Lane<M>>,
    /// Which lane a ping belongs to, by its id.
    pings: BTreeMap<String, L>,
    timers: Timers<L>,
}

#[derive(Debug)]
struct Lane<M> {
    /// The id of the outstanding ping.
    ping: Option<String>,
    /// Sent before the outstanding ping.
    covered: Vec<M>,
    /// Sent since.
    open: Vec<M>,
}

impl<M> Default for Lane<M> {
    fn default() -> Self {
        Lane { ping: None, covered: Vec::new(), open: Vec::new() }
    }
}

impl<L, M> Default for Barrier<L, M> {
    fn default() -> Self {
        Barrier { lanes: BTreeMap::new(), pings: BTreeMap::new(), timers: Timers::default() }
    }
}

impl<L: Clone + Ord, M> Barrier<L, M> {
    /// A message went out on a lane. True when a ping is due at once.
    pub fn sent(&mut self, now: Tick, lane: &L, message: M) -> bool {
        let state = match self.lanes.get_mut(lane) {
            Some(state) => state,
            None => self.lanes.entry(lane.clone()).or_default(),
        };
        state.open.push(message);
        if state.ping.is_some() {
            return false;
        }
        if state.open.len() == 1 {
            self.timers.set(lane.clone(), now + GATHER);
        }
        state.open.len() >= BATCH
    }

    /// The next lane for which a ping is due; the owner sends it and says so with [`Barrier::pinged`].
    pub fn due(&mut self, now: Tick) -> Option<L> {
        while let Some(lane) = self.timers.pop(now) {
            let idle = |state: &Lane<M>| state.covered.is_empty() && state.open.is_empty();
            if !self.lanes.get(&lane).is_some_and(idle) {
                return Some(lane);
            }
            // Nobody waits for the answer of its ping any more.
            if let Some(ping) = self.lanes.remove(&lane).and_then(|state| state.ping) {
                self.pings.remove(&ping);
            }
        }
        None
    }

    /// When the next ping is due.
    pub fn next_timeout(&self) -> Option<Tick> {
        self.timers.next().map(|(at, _)| at)
    }

    /// The latest message that a ping on this lane would cover.
    pub fn latest(&self, lane: &L) -> Option<&M> {
        let state = self.lanes.get(lane)?;
        state.open.last().or(state.covered.last())
    }

    /// A ping was sent on a lane. It replaces an unanswered one, whose answer is not waited for any more.
    pub fn pinged(&mut self, now: Tick, lane: &L, id: String) {
        let Some(state) = self.lanes.get_mut(lane) else { return };
        if let Some(old) = state.ping.replace(id.clone()) {
            self.pings.remove(&old);
        }
        state.covered.append(&mut state.open);
        self.pings.insert(id, lane.clone());
        self.timers.set(lane.clone(), now + AGAIN);
    }

    /// An answer came, a result or an error. Nothing when the id is not that of an outstanding ping; else what the ping
    /// covered, in the order of sending.
    pub fn pong(&mut self, now: Tick, id: &str) -> Option<Vec<M>> {
        let lane = self.pings.remove(id)?;
        let state = self.lanes.get_mut(&lane)?;
        state.ping = None;
        let covered = std::mem::take(&mut state.covered);
        if state.open.is_empty() {
            self.lanes.remove(&lane);
            self.timers.stop(&lane);
        } else {
            // What came meanwhile has waited for as long as the ping was away: the next one goes at once.
            self.timers.set(lane, now);
        }
        Some(covered)
    }

    /// What became of a message is known otherwise, or it is sent again: its lane does not wait for it any more.
    pub fn uncover(&mut self, lane: &L, mut is: impl FnMut(&M) -> bool) {
        if let Some(state) = self.lanes.get_mut(lane) {
            state.covered.retain(|message| !is(message));
            state.open.retain(|message| !is(message));
            if state.ping.is_none() && state.open.is_empty() {
                self.lanes.remove(lane);
                self.timers.stop(lane);
            }
        }
    }

    /// The stream of these lanes closed: no answer will come. What was not confirmed, in the order of sending per lane.
    pub fn close(&mut self, closed: impl Fn(&L) -> bool) -> Vec<M> {
        let lanes: Vec<L> = self.lanes.keys().filter(|lane| closed(lane)).cloned().collect();
        let mut lost = Vec::new();
        for lane in lanes {
            self.timers.stop(&lane);
            if let Some(state) = self.lanes.remove(&lane) {
                if let Some(id) = state.ping {
                    self.pings.remove(&id);
                }
                lost.extend(state.covered);
                lost.extend(state.open);
            }
        }
        lost
    }

    /// How many lanes wait for something.
    pub fn len(&self) -> usize {
        self.lanes.len()
    }

    /// True when nothing is waited for.
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }
}

/// A ping (XEP-0199 §4.2).
pub fn ping(from: &Jid, to: &Jid, id: &str) -> Stanza {
    Stanza::new(StanzaKind::Iq, from, to)
        .with_type("get")
        .with_id(id)
        .with_child(Element::new("ping", ns::PING))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Tick {
        Tick(millis * 1000)
    }

    #[test]
    fn a_ping_covers_what_was_sent_before_it_and_nothing_after() {
        let mut barrier = Barrier::default();
        assert!(!barrier.sent(at(0), &"a", 1));
        assert!(!barrier.sent(at(0), &"a", 2));
        assert_eq!(barrier.due(at(0)), None);
        assert_eq!(barrier.due(at(1)), Some("a"));
        barrier.pinged(at(1), &"a", "p1".into());
        barrier.sent(at(2), &"a", 3);
        assert_eq!(barrier.due(at(9)), None, "one ping at a time");
        assert_eq!(barrier.pong(at(9), "p0"), None);
        assert_eq!(barrier.pong(at(9), "p1"), Some(vec![1, 2]));
        assert_eq!(barrier.due(at(9)), Some("a"));
        barrier.pinged(at(9), &"a", "p2".into());
        assert_eq!(barrier.pong(at(10), "p2"), Some(vec![3]));
        assert!(barrier.is_empty() && barrier.next_timeout().is_none());
    }

    #[test]
    fn the_twentieth_stanza_makes_the_ping_due() {
        let mut barrier = Barrier::default();
        for number in 1..20 {
            assert!(!barrier.sent(at(0), &"a", number));
        }
        assert!(barrier.sent(at(0), &"a", 20));
    }

    #[test]
    fn an_unanswered_ping_is_repeated_and_its_late_answer_is_nothing() {
        let mut barrier = Barrier::default();
        barrier.sent(at(0), &"a", 1);
        barrier.due(at(1));
        barrier.pinged(at(1), &"a", "p1".into());
        barrier.sent(at(2), &"a", 2);
        assert_eq!(barrier.due(at(10_001)), Some("a"));
        barrier.pinged(at(10_001), &"a", "p2".into());
        assert_eq!(barrier.pong(at(10_002), "p1"), None);
        assert_eq!(barrier.pong(at(10_003), "p2"), Some(vec![1, 2]));
    }

    #[test]
    fn a_ping_that_covers_nothing_any_more_is_not_repeated() {
        let mut barrier = Barrier::default();
        barrier.sent(at(0), &"a", 1);
        barrier.due(at(1));
        barrier.pinged(at(1), &"a", "p1".into());
        barrier.uncover(&"a", |message| *message == 1);
        assert_eq!(barrier.due(at(10_001)), None);
        assert!(barrier.is_empty() && barrier.next_timeout().is_none());
    }

    #[test]
    fn a_closed_stream_gives_back_what_is_not_confirmed() {
        let mut barrier = Barrier::default();
        barrier.sent(at(0), &("x", "a"), 1);
        barrier.due(at(1));
        barrier.pinged(at(1), &("x", "a"), "p1".into());
        barrier.sent(at(2), &("x", "a"), 2);
        barrier.sent(at(2), &("y", "a"), 3);
        assert_eq!(barrier.close(|lane| lane.0 == "x"), [1, 2]);
        assert_eq!(barrier.pong(at(3), "p1"), None);
        assert_eq!(barrier.len(), 1);
    }
}
