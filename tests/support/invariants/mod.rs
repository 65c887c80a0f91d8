//! What must be true whatever happens: each invariant of the gateway with its number and its words, what a run of a
//! simulation has checked of them, and which it found broken.
//!
//! A simulation says `checks.hold(Invariant::Order, …)` where it looks; what every simulation can see at the gateway's
//! own door stands in [`door`].

pub mod door;

use std::collections::BTreeMap;
use std::fmt;

/// One invariant. The numbers are those of docs/testing.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// 1
    Fate,
    /// 2
    Commit,
    /// 3
    Refused,
    /// 4
    Again,
    /// 5
    Msrp,
    /// 6
    Once,
    /// 7
    Order,
    /// 8
    Quiet,
    /// 9
    Presence,
    /// 10
    Rooms,
    /// Rule 12 of the house, which all of them need at the end.
    Rest,
}

impl Invariant {
    /// All, in order.
    pub const ALL: [Invariant; 11] = {
        use Invariant::*;
        [Fate, Commit, Refused, Again, Msrp, Once, Order, Quiet, Presence, Rooms, Rest]
    };

    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Invariant::Fate => "1 every message in exactly one place, and its sender knows",
            Invariant::Commit => "2 no positive answer before the commit",
            Invariant::Refused => "3 what was refused is never delivered later",
            Invariant::Again => "4 the same request gets the same answer and is delivered once",
            Invariant::Msrp => "5 an MSRP message is delivered once, an incomplete one is reported",
            Invariant::Once => {
                "6 at most one outstanding request, a retry is recognisable, an error told once"
            }
            Invariant::Order => "7 first in, first out for each pair",
            Invariant::Quiet => "8 no error is answered by an error, and all come to rest",
            Invariant::Presence => "9 presence shown is the last authorised state",
            Invariant::Rooms => "10 a room's members and the order of its lines are the same for all",
            Invariant::Rest => "at the end all books are empty",
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name().split_once(' ') {
            Some((number, words)) if number.parse::<u8>().is_ok() => {
                write!(out, "invariant {number} ({words})")
            }
            _ => write!(out, "rule 12 ({})", self.name()),
        }
    }
}

/// What was found wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    pub invariant: Invariant,
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} broken: {}", self.invariant, self.what)
    }
}

/// What a run has looked at, and what it found.
#[derive(Clone, Debug, Default)]
pub struct Checks {
    checked: BTreeMap<Invariant, u64>,
    /// In so many runs.
    runs: BTreeMap<Invariant, u64>,
    broken: Vec<Broken>,
    violations: BTreeMap<Invariant, u64>,
    /// Moments that were drawn, and those of them next to an edge of a timer.
    pub moments: u64,
    pub edges: u64,
}

impl Checks {
    /// It was looked at, and must hold.
    pub fn hold(&mut self, invariant: Invariant, holds: bool, what: impl FnOnce() -> String) {
        *self.checked.entry(invariant).or_default() += 1;
        if !holds {
            self.broken.push(Broken { invariant, what: what() });
        }
    }

    /// It does not hold.
    pub fn broken(&mut self, invariant: Invariant, what: String) {
        self.hold(invariant, false, || what);
    }

    /// It was looked at and holds.
    pub fn held(&mut self, invariant: Invariant) {
        self.hold(invariant, true, String::new);
    }

    /// What was found first.
    pub fn first(&self) -> Option<&Broken> {
        self.broken.first()
    }

    /// The run is over: what it found first is what it came to.
    pub fn verdict(&self) -> Result<(), Broken> {
        self.broken.first().map_or(Ok(()), |broken| Err(broken.clone()))
    }

    /// Adds what another part of the same run has looked at.
    pub fn join(&mut self, other: &Checks) {
        other.checked.iter().for_each(|(invariant, count)| {
            *self.checked.entry(*invariant).or_default() += count;
        });
        self.broken.extend(other.broken.iter().cloned());
        self.moments += other.moments;
        self.edges += other.edges;
    }

    /// Adds what another run has looked at.
    pub fn add(&mut self, other: &Checks) {
        for (invariant, count) in &other.checked {
            *self.checked.entry(*invariant).or_default() += count;
            *self.runs.entry(*invariant).or_default() += 1;
        }
        self.moments += other.moments;
        self.edges += other.edges;
    }

    /// Adds what others have added up.
    pub fn add_all(&mut self, other: &Checks) {
        let sums = [
            (&mut self.checked, &other.checked),
            (&mut self.runs, &other.runs),
            (&mut self.violations, &other.violations),
        ];
        for (sum, more) in sums {
            more.iter().for_each(|(invariant, count)| *sum.entry(*invariant).or_default() += count);
        }
        self.moments += other.moments;
        self.edges += other.edges;
    }

    /// Adds a run that broke something.
    pub fn count(&mut self, broken: &Broken) {
        *self.violations.entry(broken.invariant).or_default() += 1;
        *self.checked.entry(broken.invariant).or_default() += 1;
        *self.runs.entry(broken.invariant).or_default() += 1;
    }

    /// A moment was drawn, next to an edge or anywhere.
    pub fn drawn(&mut self, edge: bool) {
        self.moments += 1;
        self.edges += u64::from(edge);
    }

    /// How often this was looked at.
    pub fn times(&self, invariant: Invariant) -> u64 {
        self.checked.get(&invariant).copied().unwrap_or_default()
    }

    /// A line for each, for people, and for the table of results where somebody keeps one.
    pub fn report(&self, faults: &str) {
        for (invariant, runs) in &self.runs {
            let violations = self.violations.get(invariant).copied().unwrap_or_default();
            println!("  {invariant}: checked {} times in {runs} runs", self.times(*invariant));
            super::results::line(&format!("invariant\t{}\t{faults}\t{runs}\t{violations}", invariant.name()));
        }
    }
}
