//! Which lines are from before a guest came, as far as can be known (docs/decisions/conferences.md, "History").
//!
//! A focus tells them at once, so only what comes first is asked when it was said. That is compared with the focus's own
//! clock where it shows one: in the roster, when the guest joined (RFC 4575 §5.7.4), or by the Date of its answer to INVITE
//! (RFC 3261 §20.17). Our calendar may be wrong, or theirs: by that alone nothing is kept from anybody. How much time has
//! passed the monotonic clock says, which nobody sets.
//!
//! A speaker whose own clock is behind looks as if all that he says were old. So what is asked about ends: soon after the last
//! line that seemed old, and after a minute in any case.

use std::time::Duration;

use crate::words::time::{Now, Tick, Wall};

/// What a clock says may be wrong by so much: of a Date the fractions are missing.
const SKEW: Duration = Duration::from_secs(2);
/// For so long after the connection is there, or after the last of them, lines of before are told.
const FIRST: Duration = Duration::from_secs(10);
/// After this no line is of before, however many have seemed to be.
const LONGEST: Duration = Duration::from_secs(60);

/// When a guest came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Came {
    at: Now,
    /// The same by the focus's clock, as its answer has it.
    theirs: Option<Wall>,
    /// When lines may be of before; nothing while the connection is not there.
    window: Option<Window>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    until: Tick,
    /// It goes on no longer than this.
    end: Tick,
}

/// That a line is of before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Before {
    /// How old it was when it came.
    pub age: Duration,
    /// It is, by the focus's own clock.
    pub is_sure: bool,
}

impl Came {
    /// Now; the focus has written this date.
    pub fn new(at: Now, theirs: Option<Wall>) -> Came {
        Came { at, theirs, window: None }
    }

    /// The connection is there. Another one later changes nothing.
    pub fn opened(&mut self, now: Tick) {
        self.window.get_or_insert(Window { until: now + FIRST, end: now + LONGEST });
    }

    /// What the focus's clock showed when this guest came: as the roster says when it joined, else as the answer has it.
    pub fn by_focus(&self, joined: Option<Wall>) -> Option<Now> {
        joined.or(self.theirs).map(|wall| Now { tick: self.at.tick, wall })
    }

    /// What a clock showed when this guest came that shows this.
    pub fn at(&self, clock: Now) -> Wall {
        clock.wall_at(self.at.tick)
    }

    /// Whether a line is of before: when it came, when it was said as somebody there has written, and when the guest came
    /// by the focus's clock.
    pub fn before(&mut self, tick: Tick, said: Wall, theirs: Option<Wall>) -> Option<Before> {
        if self.window.is_some_and(|window| tick > window.until) {
            return None;
        }
        let since = theirs.unwrap_or(self.at.wall);
        if said + SKEW >= since {
            return None;
        }
        if let Some(window) = &mut self.window {
            window.until = window.until.max(tick + FIRST).min(window.end);
        }
        Some(Before { age: (since - said) + (tick - self.at.tick), is_sure: theirs.is_some() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const NOON: Wall = Wall(1_795_219_200_000);

    fn at(seconds: u64) -> Tick {
        Tick(seconds * 1_000_000)
    }

    fn came() -> Came {
        let mut came = Came::new(Now { tick: at(1), wall: NOON }, None);
        came.opened(at(2));
        came
    }

    #[test]
    fn what_was_said_before_is_so_by_the_clock_that_the_focus_shows() {
        let before = Some(Before { age: HOUR + Duration::from_secs(1), is_sure: true });
        let behind = Wall(NOON.0 - 3_600_000);
        assert_eq!(came().before(at(2), behind, Some(NOON)), before);
        assert_eq!(came().before(at(2), behind, Some(behind)), None);
        assert_eq!(came().before(at(2), NOON, Some(NOON + HOUR)), before);
    }

    #[test]
    fn the_clock_is_what_the_roster_shows_then_what_the_answer_does() {
        let came = Came::new(Now { tick: at(5), wall: NOON }, Some(NOON + HOUR));
        let shown = |joined| came.by_focus(joined).map(|clock| came.at(clock));
        assert_eq!(shown(Some(NOON + HOUR * 2)), Some(NOON + HOUR * 2));
        assert_eq!(shown(None), Some(NOON + HOUR));
        let another = Came::new(Now { tick: at(8), wall: NOON }, None);
        assert_eq!(another.by_focus(None), None);
        assert_eq!(another.at(came.by_focus(None).unwrap()), NOON + HOUR + Duration::from_secs(3));
    }

    #[test]
    fn by_our_calendar_alone_it_is_not_sure() {
        let before = came().before(at(2), Wall(NOON.0 - 3_600_000), None);
        assert_eq!(before.map(|before| before.is_sure), Some(false));
    }

    #[test]
    fn what_comes_later_is_new_whatever_its_date() {
        let mut came = came();
        assert!(came.before(at(11), Wall(0), None).is_some());
        assert!(came.before(at(20), Wall(0), None).is_some(), "a long history on a slow line");
        assert!(came.before(at(31), Wall(0), None).is_none());
        assert!(came.before(at(32), Wall(0), None).is_none());
    }

    #[test]
    fn another_connection_in_mid_session_brings_nothing_of_before() {
        let mut came = came();
        came.opened(at(600));
        assert!(came.before(at(601), Wall(0), Some(NOON)).is_none());
    }

    #[test]
    fn after_a_minute_all_is_new_however_many_have_seemed_old() {
        let mut came = came();
        let seemed = (3..200).filter(|second| came.before(at(*second), Wall(0), Some(NOON)).is_some());
        assert_eq!(seemed.max(), Some(62));
    }
}
