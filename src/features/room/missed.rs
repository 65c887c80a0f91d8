//! What was said while nobody listened (XEP-0045 §7.2.13): who enters again asks for the room's history since it was heard
//! last, and is told what it has not heard, in its place and with its time.
//!
//! When the link comes back one seat enters again for all (`ending.rs`); what it reads is told to the others too, of whom the
//! server may think that they were there all the time. What is said meanwhile waits until they have been told.

use std::time::Duration;

use super::hall::Told;
use super::heard::{self, Catching, Waiting};
use super::seat::{Seat, SeatId, Stage};
use super::{Alarm, Rooms};
use crate::features::Cx;
use crate::words::time::Tick;
use crate::xmpp::jid::Jid;
use crate::xmpp::muc::request::History;
use crate::xmpp::muc::{self, Line};
use crate::xmpp::stanza::Stanza;

/// So much longer than the gap the history reaches back: what came last may have been on its way, and so may the question.
const MARGIN: Duration = Duration::from_secs(60);
/// More lines are not asked for.
const LINES: u64 = 500;
/// Those of whom the server thinks that they are in wait so long for what another one reads.
const PATIENCE: Duration = Duration::from_secs(30);

impl Rooms {
    /// Which old lines a seat asks for as it enters.
    pub(super) fn history(&mut self, cx: &Cx<'_>, id: SeatId) -> History {
        let lines = |lines| History { lines: Some(lines), ..History::default() };
        let Some(seat) = self.seats.get_mut(&id) else { return lines(0) };
        let hall = self.halls.get(&seat.room);
        let (Some(catching), Some(hall)) = (seat.catching.as_mut().filter(|_| seat.was_in), hall) else {
            return lines(if seat.stands { 0 } else { cx.config.rooms.history });
        };
        let since = catching.asks(&hall.heard);
        // Not the moment: the room's clock may be another one.
        let seconds = (cx.now.tick - since).as_millis().div_ceil(1000) as u64;
        History { seconds: Some(seconds), ..lines(LINES) }
    }

    /// A seat may have missed something: the link was away, or it was out and did not know.
    pub(super) fn may_have_missed(&mut self, cx: &Cx<'_>, id: SeatId) {
        let Some(seat) = self.seats.get_mut(&id).filter(|seat| seat.was_in) else { return };
        let since = Tick(seat.heard.0.saturating_sub(MARGIN.as_micros() as u64)).max(seat.came);
        let line = seat.line;
        seat.catching.get_or_insert_with(|| Box::new(Catching::new(line, since)));
        self.timers.set(Alarm::Missed(seat.room.clone()), cx.now.tick + PATIENCE);
    }

    /// A line for all.
    pub(super) fn line(
        &mut self,
        cx: &mut Cx<'_>,
        id: SeatId,
        stanza: &Stanza,
        nick: Option<String>,
        line: Line,
    ) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let is_old = line.stamp.is_some();
        let is_own = seat.takes_for_own(nick.as_deref(), stanza.id(), is_old);
        let known = stanza.id().or_else(|| muc::stanza_id(stanza));
        let mark = heard::mark(nick.as_deref(), known, &line.body);
        let told = Told { nick, text: line.body, subject: None, stamp: line.stamp };
        if !is_old && seat.catching.as_ref().is_some_and(|catching| catching.reads) {
            // What is said now comes behind the history; where no subject has, this is its end.
            self.has_read(cx, id);
        }
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let Some(hall) = self.halls.get_mut(&seat.room) else { return };
        if let Some(catching) = seat.catching.as_mut().filter(|catching| is_old && catching.reads) {
            let number = hall.heard.was_said(mark, cx.now.tick, catching);
            return self.was_said(cx, id, stanza, number, told, is_own);
        }
        if is_old && !seat.listens {
            // What was said before it came, and it has asked for.
            return self.deliver(cx, id, told, None);
        }
        seat.listens = true;
        let number = match &seat.catching {
            Some(catching) => {
                hall.heard.said(mark, cx.now.tick, catching.heard(), |number| !catching.knows(number))
            }
            None => hall.heard.said(mark, cx.now.tick, seat.line, |_| true),
        };
        if let Some(catching) = &mut seat.catching
            && let Some(said) =
                seat.said.iter_mut().find(|said| is_own && stanza.id() == Some(said.id.as_str()))
            && catching.hold(number, Waiting::Own(said.id.clone())).is_none()
        {
            // Its answer would say that nothing was said before it but what has been heard.
            said.reflected = true;
            return;
        }
        let is_own = is_own && self.reflected(cx, id, stanza.id());
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let now = match &mut seat.catching {
            Some(catching) if is_own => {
                catching.tell(number);
                None
            }
            Some(catching) => catching.hold(number, Waiting::Line(told)),
            None => {
                seat.line = seat.line.max(number);
                Some(Waiting::Line(told)).filter(|_| !is_own)
            }
        };
        if let Some(waiting) = now {
            self.release(cx, id, waiting);
        }
    }

    /// What has waited comes now.
    fn release(&mut self, cx: &mut Cx<'_>, id: SeatId, waiting: Waiting) {
        match waiting {
            Waiting::Line(told) => self.deliver(cx, id, told, None),
            Waiting::Own(stanza) => drop(self.reflected(cx, id, Some(&stanza))),
        }
    }

    /// A line of the room's history, as one seat reads it: for all who may have missed it.
    fn was_said(
        &mut self,
        cx: &mut Cx<'_>,
        id: SeatId,
        stanza: &Stanza,
        number: heard::Number,
        told: Told,
        is_own: bool,
    ) {
        // Its sender may have been told that it did not arrive: it is not told him as another one's.
        let is_own = is_own && self.reflected(cx, id, stanza.id());
        let Some(room) = self.seats.get(&id).map(|seat| seat.room.clone()) else { return };
        let Some(hall) = self.halls.get(&room) else { return };
        for other in hall.seats.iter().copied().collect::<Vec<_>>() {
            let Some(seat) = self.seats.get_mut(&other).filter(|seat| seat.takes_part()) else { continue };
            let is_own = if other == id { is_own } else { seat.has_said(stanza.id()) };
            let Some(catching) = &mut seat.catching else { continue };
            if !catching.tell(number) {
                continue;
            }
            if let Some(own) = catching.own(number) {
                self.release(cx, other, Waiting::Own(own));
            } else if !is_own {
                cx.count("room_lines_caught_up_total", &[]);
                self.deliver(cx, other, told.clone(), None);
            }
        }
    }

    /// The room has told all of its history: the subject comes behind it (§7.2.15).
    pub(super) fn has_read(&mut self, cx: &mut Cx<'_>, id: SeatId) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        seat.listens = true;
        let room = seat.room.clone();
        if !seat.catching.as_ref().is_some_and(|catching| catching.reads) {
            return;
        }
        self.catches_up(cx, id);
        let Some(hall) = self.halls.get_mut(&room).filter(|hall| hall.reader == Some(id)) else { return };
        hall.reader = None;
        self.nothing_more(cx, &room);
    }

    /// Nobody reads a room's history any more for others: who is in goes on, who is not sure of it will read for himself.
    pub(super) fn nothing_more(&mut self, cx: &mut Cx<'_>, room: &Jid) {
        let Some(hall) = self.halls.get(room) else { return };
        for id in hall.seats.iter().copied().collect::<Vec<_>>() {
            let is_in = |seat: &Seat| seat.stage == Stage::In && seat.ping.is_none();
            let reads = |seat: &Seat| seat.catching.as_ref().is_some_and(|catching| catching.reads);
            if self.seats.get(&id).is_some_and(|seat| is_in(seat) && !reads(seat)) {
                self.catches_up(cx, id);
            }
        }
    }

    /// A seat is in, and has been all the time: unless somebody reads for it, it has missed nothing.
    pub(super) fn is_sure(&mut self, cx: &mut Cx<'_>, id: SeatId) {
        let room = self.seats.get(&id).map(|seat| &seat.room);
        if room.and_then(|room| self.halls.get(room)).is_some_and(|hall| hall.reader.is_none()) {
            self.catches_up(cx, id);
        }
    }

    /// The room has had its time to tell what was said.
    pub(super) fn missed_for_good(&mut self, cx: &mut Cx<'_>, room: &Jid) {
        let Some(hall) = self.halls.get_mut(room) else { return };
        hall.reader = None;
        for id in hall.seats.iter().copied().collect::<Vec<_>>() {
            self.catches_up(cx, id);
        }
    }

    /// Something comes for a seat that is no line for all: it does not overtake those that wait.
    pub(super) fn lets_go(&mut self, cx: &mut Cx<'_>, id: SeatId) {
        let catching = self.seats.get_mut(&id).and_then(|seat| seat.catching.as_mut());
        for waiting in catching.map(|catching| catching.let_go()).unwrap_or_default() {
            self.release(cx, id, waiting);
        }
    }

    /// A seat has been told what it had missed: what was said meanwhile comes behind it.
    fn catches_up(&mut self, cx: &mut Cx<'_>, id: SeatId) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let Some(catching) = seat.catching.take() else { return };
        let Some(hall) = self.halls.get(&seat.room) else { return };
        seat.line = hall.heard.last();
        for waiting in catching.rest() {
            self.release(cx, id, waiting);
        }
    }
}
