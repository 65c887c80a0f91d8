//! Which lines of a room have been said, so that after a gap each seat is told what it has missed, once and in order. A
//! plain value.
//!
//! All copies of a line are one line here, whichever seat they come for. A line is known by who said it, its id and its words;
//! the same words without an id, said twice, are two lines. What stands in a room's history is found again by going along
//! both from the past to the present.

use std::collections::{BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::hall::Told;
use crate::words::time::Tick;

/// How many lines of a room are remembered.
const LINES: usize = 512;
/// How many lines wait for a seat that is told what it has missed.
const HELD: usize = 500;
/// How many lines a history may have.
const HISTORY: usize = 1_000;

/// What a room has said last.
#[derive(Debug, Default)]
pub struct Heard {
    lines: VecDeque<Line>,
    /// How many there were before these.
    before: u64,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    mark: u64,
    at: Tick,
}

/// The number of a line in its room; the first is 1.
pub type Number = u64;

/// What a line is known by.
pub fn mark(nick: Option<&str>, id: Option<&str>, text: &str) -> u64 {
    // Its keys are fixed; somebody who finds two lines alike can only hide his own.
    let mut hasher = DefaultHasher::new();
    (nick, id, text).hash(&mut hasher);
    hasher.finish()
}

impl Heard {
    /// The number of the last line.
    pub fn last(&self) -> Number {
        self.before + self.lines.len() as u64
    }

    /// The oldest moment of which all lines are remembered.
    pub fn since(&self) -> Tick {
        if self.lines.len() < LINES { Tick(0) } else { self.lines.front().map_or(Tick(0), |line| line.at) }
    }

    /// The first line that was heard at `since` or later.
    fn first(&self, since: Tick) -> Number {
        self.before + self.lines.partition_point(|line| line.at < since) as u64 + 1
    }

    /// The first line from `from` on that is known by `mark` and that `is_free`.
    fn find(&self, mark: u64, from: Number, is_free: impl Fn(Number) -> bool) -> Option<Number> {
        let skip = from.saturating_sub(self.before + 1) as usize;
        let mut rest = self.lines.iter().enumerate().skip(skip);
        rest.find_map(|(place, line)| {
            let number = self.before + place as u64 + 1;
            (line.mark == mark && is_free(number)).then_some(number)
        })
    }

    fn push(&mut self, mark: u64, now: Tick) -> Number {
        if self.lines.len() >= LINES {
            self.lines.pop_front();
            self.before += 1;
        }
        self.lines.push_back(Line { mark, at: now });
        self.last()
    }

    /// A line is said now, to a seat that has heard those up to `after`: the next of that mark, or a new one.
    pub fn said(&mut self, mark: u64, now: Tick, after: Number, is_free: impl Fn(Number) -> bool) -> Number {
        self.find(mark, after + 1, is_free).unwrap_or_else(|| self.push(mark, now))
    }

    /// A line stands in the history that a seat reads.
    pub fn was_said(&mut self, mark: u64, now: Tick, catching: &mut Catching) -> Number {
        match self.find(mark, catching.cursor, |_| true) {
            Some(number) => {
                catching.cursor = number + 1;
                number
            }
            None => self.push(mark, now),
        }
    }
}

/// A seat between a gap and the moment when it has been told what was said in it.
#[derive(Debug)]
pub struct Catching {
    /// The last line that it had heard before.
    heard: Number,
    /// When the gap may have begun.
    since: Tick,
    /// What it has been told since.
    told: BTreeSet<Number>,
    /// Where in [`Heard`] its history is.
    cursor: Number,
    /// The room tells it its history.
    pub reads: bool,
    /// What is said now, and waits until it has been told what was said before.
    held: VecDeque<(Number, Waiting)>,
}

/// What waits for a seat to be told what was said before.
#[derive(Debug)]
pub enum Waiting {
    /// A line for it.
    Line(Told),
    /// One of its own, by the id of its stanza: the answer says where it stands among the others.
    Own(String),
}

impl Catching {
    /// A seat that has heard all up to this line, and may have missed something since then.
    pub fn new(heard: Number, since: Tick) -> Catching {
        let (told, held) = (BTreeSet::new(), VecDeque::new());
        Catching { heard, since, told, cursor: 0, reads: false, held }
    }

    /// It asks for its history; since when, so that everything in it which was heard is known.
    pub fn asks(&mut self, heard: &Heard) -> Tick {
        let since = self.since.max(heard.since());
        (self.cursor, self.reads) = (heard.first(since), false);
        since
    }

    /// The last line that it had heard before the gap.
    pub fn heard(&self) -> Number {
        self.heard
    }

    /// Whether it knows a line, or will when it has been told what waits.
    pub fn knows(&self, number: Number) -> bool {
        number <= self.heard
            || self.told.contains(&number)
            || self.held.iter().any(|(held, _)| *held == number)
    }

    /// A line is for it to be told; false where it knows it, or has been told too much.
    pub fn tell(&mut self, number: Number) -> bool {
        number > self.heard && self.told.len() < HISTORY && self.told.insert(number)
    }

    /// Lets something wait; gives it back where there is too much.
    pub fn hold(&mut self, number: Number, waiting: Waiting) -> Option<Waiting> {
        if self.held.len() >= HELD {
            return Some(waiting);
        }
        self.held.push_back((number, waiting));
        None
    }

    /// The id of the seat's own line of this number, where it waits.
    pub fn own(&self, number: Number) -> Option<String> {
        self.held.iter().find_map(|(held, waiting)| match waiting {
            Waiting::Own(id) if *held == number => Some(id.clone()),
            _ => None,
        })
    }

    /// What waits and has not been told, in order: something comes that does not wait, and shall not overtake it.
    pub fn let_go(&mut self) -> Vec<Waiting> {
        let held = std::mem::take(&mut self.held);
        held.into_iter().filter_map(|(number, line)| self.tell(number).then_some(line)).collect()
    }

    /// What waits and has not been told, in order.
    pub fn rest(self) -> impl Iterator<Item = Waiting> {
        let told = self.told;
        self.held.into_iter().filter(move |(number, _)| !told.contains(number)).map(|(_, line)| line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(heard: &mut Heard, words: &str, after: Number) -> Number {
        heard.said(mark(Some("Juliet"), None, words), Tick(5), after, |_| true)
    }

    /// What a seat that has heard `count` lines is told of a history.
    fn told(heard: &mut Heard, count: Number, history: &[&str]) -> Vec<String> {
        let mut catching = Catching::new(count, Tick(0));
        catching.asks(heard);
        let mut out = Vec::new();
        for words in history {
            let number = heard.was_said(mark(Some("Juliet"), None, words), Tick(9), &mut catching);
            if catching.tell(number) {
                out.push((*words).to_owned());
            }
        }
        out
    }

    #[test]
    fn copies_of_a_line_are_one_and_the_same_words_again_are_another() {
        let mut heard = Heard::default();
        assert_eq!((said(&mut heard, "ok", 0), said(&mut heard, "ok", 0)), (1, 1));
        assert_eq!((said(&mut heard, "ok", 1), said(&mut heard, "ok", 1)), (2, 2));
    }

    #[test]
    fn of_a_history_is_told_what_was_not_heard() {
        let mut heard = Heard::default();
        for (after, words) in ["a", "ok", "b"].into_iter().enumerate() {
            said(&mut heard, words, after as u64);
        }
        assert_eq!(told(&mut heard, 3, &["a", "ok", "b", "ok", "c"]), ["ok", "c"]);
        // Another seat had heard less, and reads the same.
        assert_eq!(told(&mut heard, 1, &["a", "ok", "b", "ok", "c"]), ["ok", "b", "ok", "c"]);
        // What was said before anybody listened stands before what was heard.
        assert_eq!(told(&mut heard, 5, &["b", "ok", "c", "d"]), ["d"]);
    }

    #[test]
    fn a_line_that_others_have_heard_is_told_in_its_place() {
        let mut heard = Heard::default();
        said(&mut heard, "a", 0);
        said(&mut heard, "live", 1);
        assert_eq!(told(&mut heard, 1, &["a", "missed", "live"]), ["missed", "live"]);
    }

    #[test]
    fn only_so_many_lines_are_remembered() {
        let mut heard = Heard::default();
        for number in 0..LINES as u64 + 10 {
            heard.said(mark(None, None, &number.to_string()), Tick(number), number, |_| true);
        }
        assert_eq!((heard.lines.len(), heard.last(), heard.since()), (LINES, LINES as u64 + 10, Tick(10)));
        assert_eq!(heard.first(Tick(20)), 21);
    }

    #[test]
    fn what_waits_is_told_once() {
        let mut catching = Catching::new(1, Tick(0));
        let own = |id: &str| Waiting::Own(id.to_owned());
        assert!(catching.hold(2, own("live")).is_none() && catching.hold(3, own("later")).is_none());
        assert_eq!((catching.own(2).as_deref(), catching.own(4)), (Some("live"), None));
        assert!(catching.tell(2) && !catching.tell(2) && !catching.tell(1));
        let rest: Vec<_> = catching.rest().collect();
        assert!(matches!(&rest[..], [Waiting::Own(id)] if id == "later"), "{rest:?}");
    }
}
