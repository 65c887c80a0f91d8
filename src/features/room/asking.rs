//! Whether we are in a room still (XEP-0410): asked after silence, after the link was away, and where a line did not come
//! back. Who is out enters again.

use std::time::Duration;

use super::seat::{Ping, SeatId, Stage};
use super::{Alarm, Question, Rooms};
use crate::features::Cx;
use crate::xmpp::muc::{self, Pinged};
use crate::xmpp::stanza::{Stanza, StanzaKind};

/// A room that was not heard for so long is asked.
pub const SILENCE: Duration = Duration::from_secs(15 * 60);
/// It has so long to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Who got no answer asks again after so long.
const AGAIN: Duration = Duration::from_secs(120);

impl Rooms {
    /// Asks whether a seat is in; one question at a time.
    pub(super) fn ask(&mut self, cx: &mut Cx<'_>, id: SeatId) {
        let Some(seat) =
            self.seats.get_mut(&id).filter(|seat| seat.stage == Stage::In && seat.ping.is_none())
        else {
            return;
        };
        let Some(occupant) = seat.occupant().filter(|_| cx.link_is_up(&seat.own)) else { return };
        let question = cx.token_for(&seat.room);
        cx.stanza(muc::ping(&seat.own, &occupant, &question));
        seat.ping = Some(Ping { id: question.clone(), number: seat.number(), nick: seat.nick.clone() });
        self.questions.insert(question, Question::Ping(id));
        self.timers.set(Alarm::Ping(id), cx.now.tick + PATIENCE);
    }

    /// An IQ from a room. True when it answers a question of ours.
    pub(super) fn answered(&mut self, cx: &mut Cx<'_>, stanza: &Stanza) -> bool {
        if stanza.kind != StanzaKind::Iq || !matches!(stanza.type_(), Some("result" | "error")) {
            return false;
        }
        let Some(question) = stanza.id().and_then(|id| self.questions.remove(id)) else { return false };
        match question {
            Question::Ping(id) => self.pinged(cx, id, muc::pinged(stanza)),
            Question::Expel(watch) => self.expelled(cx, watch, stanza.stanza_error().as_ref()),
            Question::Unlock(id) => self.unlocked(cx, id, stanza.stanza_error().as_ref()),
            Question::Configuration(id) => self.configured(cx, id, stanza),
        }
        true
    }

    fn pinged(&mut self, cx: &mut Cx<'_>, id: SeatId, pinged: Pinged) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let Some(ping) = seat.ping.take() else { return };
        // A nick that is not there while another is asked for, or has been given since, says that the room has given us that.
        let is_another = seat.renaming.is_some() || ping.nick != seat.nick;
        let pinged = if pinged == Pinged::Nobody && is_another { Pinged::In } else { pinged };
        match pinged {
            Pinged::In => {
                seat.heard = cx.now.tick;
                self.timers.set(Alarm::Ping(id), cx.now.tick + SILENCE);
                self.dealt_with(cx, id, ping.number);
                self.is_sure(cx, id);
                if self.invited_until(cx, id, ping.number) {
                    self.ask(cx, id);
                }
            }
            Pinged::Out | Pinged::Nobody => {
                self.nothing_arrived(cx, id);
                self.enter_again(cx, id);
            }
            Pinged::Unknown => self.timers.set(Alarm::Ping(id), cx.now.tick + AGAIN),
        }
    }

    /// The room has been silent for long, or owes an answer.
    pub(super) fn silent(&mut self, cx: &mut Cx<'_>, id: SeatId) {
        let Some(seat) = self.seats.get_mut(&id).filter(|seat| seat.stage == Stage::In) else { return };
        if let Some(ping) = seat.ping.take() {
            self.questions.remove(&ping.id);
            return self.timers.set(Alarm::Ping(id), cx.now.tick + AGAIN);
        }
        let due = seat.heard + SILENCE;
        if due > cx.now.tick {
            return self.timers.set(Alarm::Ping(id), due);
        }
        // Where nothing can be asked now, the next time comes all the same.
        self.timers.set(Alarm::Ping(id), cx.now.tick + AGAIN);
        self.ask(cx, id);
    }
}
