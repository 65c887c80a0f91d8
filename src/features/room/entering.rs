//! The way in (XEP-0045 §7.2): presence goes to the room, all who are there come back, oneself last.
//!
//! A nick that is taken is varied by a number. In 25 seconds the INVITE has an answer, whatever the room does.

use std::time::Duration;

use super::seat::{SeatId, Stage};
use super::{Alarm, Question, Rooms, asking, table};
use crate::documents::conference::Joining;
use crate::features::{Cx, errors};
use crate::sip::message::Reply;
use crate::sip::usage::session::Cause;
use crate::words::condition::{Kind, Scope};
use crate::words::note::Level;
use crate::xmpp::muc::{self, Affiliation, Codes};
use crate::xmpp::stanza::{Stanza, StanzaError};

/// How long a room may take to let somebody in.
const PATIENCE: Duration = Duration::from_secs(25);

/// How long a new room may take to be unlocked.
const KEY: Duration = Duration::from_secs(5);

/// How many other nicks are tried.
const TRIES: u32 = 9;

impl Rooms {
    /// Asks the room to let a seat in, under the nick that it has.
    pub(super) fn enter(&mut self, cx: &mut Cx<'_>, id: SeatId) {
        let Some(seat) = self.seats.get_mut(&id).filter(|seat| seat.stage == Stage::Entering) else { return };
        let Some(occupant) = seat.occupant() else {
            let text = "This name cannot stand in a room".to_owned();
            return self.dismiss(cx, id, Cause { status: 403, text });
        };
        seat.seen.clear();
        seat.renamed = false;
        let (own, password) = (seat.own.clone(), seat.password.clone());
        let history = self.history(cx, id);
        cx.stanza(muc::enter(&own, &occupant, password.as_deref(), &history));
        if self.timers.at(&Alarm::Enter(id)).is_none() {
            self.timers.set(Alarm::Enter(id), cx.now.tick + PATIENCE);
        }
    }

    /// The room does not let a seat in.
    pub(super) fn not_let_in(&mut self, cx: &mut Cx<'_>, id: SeatId, error: &StanzaError) {
        let Some(row) = table::join(error.kind) else { return };
        let Some(seat) = self.seats.get_mut(&id).filter(|seat| seat.stage == Stage::Entering) else { return };
        if error.kind == Kind::JidMalformed && seat.plainer() {
            return self.enter(cx, id);
        }
        if row.again && seat.tries < TRIES {
            seat.vary();
            return self.enter(cx, id);
        }
        let words = match error.text.as_deref().map(str::trim).filter(|text| !text.is_empty()) {
            Some(said) => format!("{}: {said}", row.words),
            None => row.words.clone(),
        };
        // It never was in.
        seat.stage = Stage::Out;
        let moved = error.redirect.is_some() && matches!(error.kind, Kind::Gone | Kind::Redirect);
        let reply = if moved {
            errors::reply_of(&errors::condition_of_error(error, Scope::Bare, cx.domains))
        } else {
            Reply::new(row.status).because(one_line(&words))
        };
        self.timers.stop(&Alarm::Enter(id));
        if seat.stands {
            let cause = Cause { status: row.status, text: one_line(&words) };
            return self.dismiss(cx, id, cause);
        }
        self.turn_away(cx, id, reply);
    }

    /// A seat is in: all who are there have been told.
    pub(super) fn let_in(&mut self, cx: &mut Cx<'_>, id: SeatId, nick: &str, codes: &Codes) {
        let Some(seat) = self.seats.get_mut(&id).filter(|seat| seat.stage == Stage::Entering) else { return };
        nick.clone_into(&mut seat.nick);
        if seat.renamed {
            return self.enter(cx, id);
        }
        self.timers.stop(&Alarm::Enter(id));
        self.timers.set(Alarm::Ping(id), cx.now.tick + asking::SILENCE);
        seat.stage = Stage::In;
        if let Some(catching) = &mut seat.catching {
            catching.reads = true;
        }
        let is_first = !std::mem::replace(&mut seat.was_in, true);
        let is_new = codes.has(Codes::CREATED);
        // What told of a new room before the link went, or was to unlock it, may be lost; then it has one owner, who is alone.
        let is_owner = self.halls.get(&seat.room).and_then(|hall| hall.people.get(nick));
        let is_owner = is_owner.is_some_and(|occupant| occupant.affiliation == Affiliation::Owner);
        seat.locked = is_new || seat.locked && is_owner && seat.seen.len() == 1;
        let locked = seat.locked;
        let (room, own, seen) = (seat.room.clone(), seat.own.clone(), std::mem::take(&mut seat.seen));
        let was_called = seat.joining == Joining::DialedOut;
        let (stands, contact, fields) = (seat.stands, seat.contact.clone(), seat.fields());
        if let Some(hall) = self.halls.get_mut(&room) {
            if is_first && let Some(seat) = self.seats.get_mut(&id) {
                (seat.came, seat.line) = (cx.now.tick, hall.heard.last());
            }
            hall.only(&seen);
            (hall.stale, hall.looks) = (false, None);
            if was_called {
                hall.was_called(cx.domains, nick);
            }
        }
        self.activate_watches(cx, &room, &contact);
        if locked {
            let question = cx.token_for(&room);
            if is_new {
                cx.stanza(muc::unlock(&own, &room, &question));
                self.put_question(id, question, Question::Unlock(id));
            } else {
                // Somebody may have configured it: it gets back what it is.
                cx.stanza(muc::configuration(&own, &room, &question));
                self.put_question(id, question, Question::Configuration(id));
            }
        }
        cx.count("room_joins_total", &[("result", if stands { "again" } else { "joined" })]);
        cx.log(Level::Info, "room-joined", fields);
        if locked && !stands {
            // Others could not come in before; but who called does not wait for ever.
            self.timers.set(Alarm::Enter(id), cx.now.tick + KEY);
        } else if !stands {
            self.welcome(cx, id);
        }
    }

    /// The room has had its time to let a seat in.
    pub(super) fn entered_too_late(&mut self, cx: &mut Cx<'_>, id: SeatId) {
        let Some(seat) = self.seats.get(&id) else { return };
        match seat.stage {
            Stage::Entering => {}
            Stage::In => return self.welcome(cx, id),
            Stage::Leaving | Stage::Out => return,
        }
        let words = "The room does not answer";
        if seat.stands {
            return self.dismiss(cx, id, Cause { status: 504, text: words.to_owned() });
        }
        self.turn_away(cx, id, Reply::new(504).because(words));
    }

    /// A seat that found itself out goes in again.
    pub(super) fn enter_again(&mut self, cx: &mut Cx<'_>, id: SeatId) {
        let Some(seat) = self.seats.get_mut(&id).filter(|seat| seat.stage == Stage::In) else { return };
        (seat.stage, seat.stands, seat.tries) = (Stage::Entering, seat.leg.call.is_up(), 0);
        seat.wanted.clone_from(&seat.nick);
        self.may_have_missed(cx, id);
        self.enter(cx, id);
    }

    /// A room that may be new has told how it is configured, or does not.
    pub(super) fn configured(&mut self, cx: &mut Cx<'_>, id: SeatId, answer: &Stanza) {
        if answer.type_() == Some("error") {
            return self.unlocked(cx, id, answer.stanza_error().as_ref());
        }
        let Some(seat) = self.seats.get(&id).filter(|seat| seat.stage == Stage::In) else { return };
        let question = cx.token_for(&seat.room);
        cx.stanza(muc::unlock_as(&seat.own, &seat.room, &question, answer));
        self.put_question(id, question, Question::Unlock(id));
    }

    /// A new room was unlocked, or is not.
    pub(super) fn unlocked(&mut self, cx: &mut Cx<'_>, id: SeatId, error: Option<&StanzaError>) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        seat.locked = false;
        if let Some(error) = error {
            let mut fields = seat.fields();
            fields.push(("why", format!("{:?} {}", error.kind, error.text.as_deref().unwrap_or_default())));
            cx.log(Level::Warn, "room-locked", fields);
        }
        if seat.stage == Stage::In && !seat.leg.call.is_up() {
            self.timers.stop(&Alarm::Enter(id));
            self.welcome(cx, id);
        }
    }
}

/// Words of a room's as they may stand in a header.
pub(super) fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
    let line: String = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    line.chars().take(200).collect()
}
