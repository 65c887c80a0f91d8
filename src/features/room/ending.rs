//! Ends: BYE in both directions, lost connections, links that go and come, stops and starts.
//!
//! Who hangs up leaves the room; whom the room puts out is told by BYE. The room says that somebody is out, and until then
//! what it says to him is known here, so that he is no ghost. Seats do not outlive the process: what is on disk is what BYE
//! and the farewell to the room need.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::seat::{Seat, SeatId, Stage};
use super::{Alarm, Rooms};
use crate::features::Cx;
use crate::features::audit::view::{Says, View};
use crate::features::leg::Leg;
use crate::gateway::LinkId;
use crate::msrp::connections::SessionId;
use crate::msrp::session::{Ending, Known, Unconfirmed};
use crate::sabotage::{self, Fault as Mistake};
use crate::sip::message::Reply;
use crate::sip::uri::Aor;
use crate::sip::usage::session::{Cause, End, Kept, Session};
use crate::store::record::{Key, Record, Restored};
use crate::words::id::Partition;
use crate::words::note::Level;
use crate::xmpp::jid::Jid;
use crate::xmpp::muc;

/// The kind of the records in the store.
pub const RECORD: &str = "seat";

/// Whoever hangs up may close the connection first.
const THEIRS: Duration = Duration::from_secs(2);
/// The room has so long to say that somebody is out.
const FAREWELL: Duration = Duration::from_secs(30);
/// A stop waits so long for the answers to BYE.
const STOP: Duration = Duration::from_secs(3);
/// How many seats are ended or asked after at once, and how long after those the next ones.
const BATCH: usize = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// A seat on disk.
#[derive(Debug, Serialize, Deserialize)]
struct KeptSeat {
    room: Jid,
    own: Jid,
    nick: String,
    contact: Aor,
    call: Kept,
}

impl Rooms {
    /// We end a seat, with these words to SIP: by BYE, or by the answer that its INVITE still waits for.
    pub(super) fn dismiss(&mut self, cx: &mut Cx<'_>, id: SeatId, cause: Cause) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        if !seat.leg.call.is_up() {
            let status = if cause.status >= 400 { cause.status } else { 480 };
            seat.leg.call.decline(cx.now, Reply::new(status).because(cause.text.clone()));
        }
        seat.leg.call.hang_up(Some(cause));
        self.run(cx, id);
    }

    /// SIP says that it is over.
    pub(super) fn call_over(&mut self, cx: &mut Cx<'_>, id: SeatId, end: &End) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let session = seat.leg.msrp;
        if seat.opened {
            let mut fields = seat.fields();
            let why = match end {
                End::Theirs(_) => "they hung up",
                End::Ours => "it was ended here",
                _ => "the session was lost",
            };
            fields.push(("why", why.to_owned()));
            cx.gauge("room_seats", &[], -1);
            cx.log(Level::Info, "room-left", fields);
            seat.opened = false;
        }
        self.timers.stop(&Alarm::Enter(id));
        self.timers.stop(&Alarm::Part(id));
        self.not_accepted(cx, id, end);
        self.end_watches(cx, id);
        self.leave(cx, id);
        if let Some(session) = session {
            match end {
                // What is on its way may still be answered.
                End::Theirs(_) => cx.msrp.finish(cx.now.tick, cx.mint, session),
                _ => cx.msrp.close(cx.now.tick, cx.mint, session),
            }
        }
    }

    /// A seat leaves the room.
    fn leave(&mut self, cx: &mut Cx<'_>, id: SeatId) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        if !matches!(seat.stage, Stage::Entering | Stage::In) {
            return;
        }
        seat.stage = Stage::Leaving;
        seat.owes_farewell = !cx.link_is_up(&seat.own);
        if !seat.owes_farewell {
            self.bid_farewell(cx, id);
        }
    }

    fn bid_farewell(&mut self, cx: &mut Cx<'_>, id: SeatId) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        seat.owes_farewell = false;
        if let Some(occupant) = seat.occupant().filter(|_| !sabotage::is(Mistake::LeaveForgotten)) {
            cx.stanza(muc::leave(&seat.own, &occupant, None));
        }
        self.timers.set(Alarm::Out(id), cx.now.tick + FAREWELL);
    }

    /// The room knows that a seat is out, or has had its time to say so.
    pub(super) fn out(&mut self, cx: &mut Cx<'_>, id: SeatId) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        seat.stage = Stage::Out;
        self.timers.stop(&Alarm::Out(id));
        self.nothing_arrived(cx, id);
        self.bury(cx, id);
    }

    /// The MSRP connection is there.
    pub(super) fn opened(&mut self, cx: &mut Cx<'_>, id: SeatId) {
        self.timers.stop(&Alarm::Part(id));
        let Some(seat) = self.seats.get_mut(&id) else { return };
        if !std::mem::replace(&mut seat.opened, true) {
            cx.gauge("room_seats", &[], 1);
        }
    }

    /// An MSRP session is over.
    pub(super) fn ended(
        &mut self,
        cx: &mut Cx<'_>,
        id: SeatId,
        session: SessionId,
        why: &Ending,
        unconfirmed: &[Unconfirmed],
    ) {
        self.msrp.remove(&session);
        let Some(seat) = self.seats.get_mut(&id) else { return };
        seat.said.retain(|said| said.session != session);
        if seat.leg.msrp != Some(session) {
            // What was not sent on the path that was left goes on the one that is there.
            let rest =
                unconfirmed.iter().filter(|one| matches!(one.known, Known::Unsent | Known::SentInPart));
            for one in rest {
                if let Some(now) = seat.leg.msrp {
                    let _ = cx.msrp.send(cx.now.tick, cx.mint, now, one.message.clone());
                }
            }
            return self.arm_line(id);
        }
        seat.leg.msrp = None;
        self.arm_line(id);
        let Some(seat) = self.seats.get_mut(&id) else { return };
        if let Ending::NotAdmitted(_) = why {
            return self.turn_away(
                cx,
                id,
                Reply::new(503).because("Our MSRP relay does not let the session in"),
            );
        }
        if seat.leg.call.is_up() {
            self.timers.set(Alarm::Part(id), cx.now.tick + THEIRS);
        } else {
            self.bury(cx, id);
        }
    }

    /// The MSRP connection is gone, and nobody has hung up.
    pub(super) fn lost(&mut self, cx: &mut Cx<'_>, id: SeatId) {
        let cause = Cause { status: 480, text: "the MSRP connection was lost".to_owned() };
        self.dismiss(cx, id, cause);
    }

    /// A link is up: who left meanwhile says so, and who is in asks whether that is so.
    pub(super) fn link_is_up(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        for id in self.seats_of(cx, link) {
            let Some(seat) = self.seats.get_mut(&id) else { continue };
            if seat.owes_farewell {
                self.bid_farewell(cx, id);
            } else if seat.stage == Stage::In || seat.stage == Stage::Entering && seat.stands {
                if let Some(hall) = self.halls.get_mut(&seat.room) {
                    (hall.stale, hall.looks) = (true, None);
                }
                self.may_have_missed(cx, id);
                self.doubted.push_back(id);
            }
        }
        self.resume(cx);
    }

    /// A link is down: who waits for a room to let him in waits in vain.
    pub(super) fn link_is_down(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        for id in self.seats_of(cx, link) {
            let Some(seat) = self.seats.get_mut(&id) else { continue };
            if let Some(ping) = seat.ping.take() {
                self.questions.remove(&ping.id);
            }
            // What was to be told is asked for when the link is up again.
            self.timers.stop(&Alarm::Missed(seat.room.clone()));
            let entering = seat.stage == Stage::Entering && !seat.stands;
            // It may be in, and have made the room.
            seat.locked |= seat.stage == Stage::Entering;
            // What was on its way may be lost: the answer to a question that comes later would say nothing about it.
            self.nothing_arrived(cx, id);
            self.nobody_invited(cx, id);
            if entering {
                self.turn_away(cx, id, Reply::new(480).because("The XMPP server cannot be reached"));
            }
        }
    }

    fn seats_of(&self, cx: &Cx<'_>, link: LinkId) -> Vec<SeatId> {
        let of_link = |seat: &Seat| cx.domains.link_of(seat.own.domain()) == Some(link);
        self.seats.iter().filter(|(_, seat)| of_link(seat)).map(|(id, _)| *id).collect()
    }

    /// Ends some of the seats of before the start; asks after some whose link was away.
    pub(super) fn resume(&mut self, cx: &mut Cx<'_>) {
        for _ in 0..BATCH {
            if let Some(id) = self.restored.pop_front() {
                let text = "the gateway was restarted; please call again".to_owned();
                self.dismiss(cx, id, Cause { status: 503, text });
                // The link may be up already.
                if self.seats.get(&id).is_some_and(|seat| seat.owes_farewell && cx.link_is_up(&seat.own)) {
                    self.bid_farewell(cx, id);
                }
            } else if let Some(id) = self.doubted.pop_front() {
                match self.seats.get(&id).map(|seat| seat.stage) {
                    Some(Stage::In) if self.looks(id) => self.enter_again(cx, id),
                    Some(Stage::In) => self.ask(cx, id),
                    Some(Stage::Entering) => self.enter(cx, id),
                    _ => {}
                }
            } else {
                return;
            }
        }
        if !self.restored.is_empty() || !self.doubted.is_empty() {
            self.timers.set(Alarm::Resume, cx.now.tick + PAUSE);
        }
    }

    /// Whether it is for this seat to enter again, so that the room tells who is there now: one does it for all.
    fn looks(&mut self, id: SeatId) -> bool {
        let Some(seat) = self.seats.get(&id) else { return false };
        let Some(hall) = self.halls.get_mut(&seat.room) else { return false };
        let first = hall.stale && hall.looks.is_none();
        if first {
            (hall.looks, hall.reader) = (Some(id), Some(id));
        }
        first
    }

    /// Keeps a seat on disk.
    pub(super) fn keep(&mut self, cx: &mut Cx<'_>, id: SeatId) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let Some(call) = seat.leg.call.kept() else { return };
        seat.saved = true;
        let key = key_of(&seat.room, seat.leg.call.tag());
        let (room, own, nick) = (seat.room.clone(), seat.own.clone(), seat.nick.clone());
        let kept = KeptSeat { room, own, nick, contact: seat.contact.clone(), call };
        cx.save(Record::new(key, &kept));
    }

    /// A seat of before the start.
    pub(super) fn restore(&mut self, cx: &mut Cx<'_>, record: &Restored) -> Result<(), String> {
        let kept: KeptSeat = record.read().map_err(|error| error.to_string())?;
        let leg = Leg::of_before(Session::restore(kept.call, crate::features::ALLOW.as_str()));
        let mut seat = Seat::new(cx.now.tick, kept.room, kept.own, kept.contact, kept.nick, leg);
        (seat.stage, seat.owes_farewell, seat.saved) = (Stage::Leaving, true, true);
        let id = self.add(cx, seat);
        self.restored.push_back(id);
        Ok(())
    }

    /// The process stops: every seat ends. True when nothing is waited for.
    pub(super) fn say_goodbye(&mut self, cx: &mut Cx<'_>) -> bool {
        if self.stopping.is_none() {
            self.stopping = Some(cx.now.tick + STOP);
            for id in self.seats.keys().copied().collect::<Vec<_>>() {
                let text = "the gateway stops".to_owned();
                self.dismiss(cx, id, Cause { status: 503, text });
            }
        }
        self.stopped || self.seats.values().all(|seat| seat.leg.call.is_done())
    }
}

/// What a record says.
pub(super) fn view(record: &Restored) -> Result<View, String> {
    let kept: KeptSeat = record.read().map_err(|error| error.to_string())?;
    let key = key_of(&kept.room, kept.call.tag());
    Ok(View { key, user: Some(kept.room), contact: Some(kept.contact), says: Says::Memory })
}

/// The record of a seat.
pub(super) fn key_of(room: &Jid, tag: &str) -> Key {
    Key { kind: RECORD, partition: Partition::of(room.bare_str()), id: tag.to_owned() }
}
