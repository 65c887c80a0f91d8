//! Rooms: a SIP user in a room of XMPP (RFC 7702 §6, RFC 7701, RFC 4575, RFC 4579; XEP-0045).
//!
//! The gateway is the focus. A *seat* is one INVITE dialog that is, or wants to be, an occupant; a *room* is what all
//! seats in it share: who is there, and the subject. What is about a room belongs to one owner (`gateway/owner.rs`).
//!
//! | file | what it holds |
//! |---|---|
//! | `seat.rs`, `hall.rs` | a seat, a room: values |
//! | `invited.rs` | INVITE, and what is asked in its dialog |
//! | `entering.rs` | the way in: presence, refusals, other nicks |
//! | `roster.rs` | who comes and goes, as presence tells |
//! | `calling.rs` | invitations of XMPP, as calls |
//! | `referring.rs` | REFER: asking in, putting out |
//! | `watching.rs` | who watches the roster |
//! | `nick.rs` | NICKNAME |
//! | `lines.rs` | what the room says goes to SIP |
//! | `missed.rs`, `heard.rs` | what was said while nobody listened |
//! | `arrivals.rs` | what SIP says goes to the room |
//! | `asking.rs` | whether we are in still (XEP-0410) |
//! | `ending.rs` | ends: BYE, expulsion, lost connections, stops and starts |
//! | `table.rs` | what a room's answers become |
//!
//! Not done: forms, voice requests, a session that goes on after a restart.

mod arrivals;
mod asking;
mod calling;
mod ending;
mod entering;
mod hall;
mod heard;
mod invited;
mod lines;
mod missed;
mod nick;
mod referring;
mod roster;
mod seat;
pub mod table;
mod watching;

use std::collections::{BTreeMap, HashMap, VecDeque};

use self::hall::Hall;
use self::seat::{Seat, SeatId};
use self::watching::{Watch, WatchId};
use super::leg::{self, Done};
use super::{Cx, Feature, Incoming, Manifest, Op};
use crate::features::audit::view::View;
use crate::gateway::LinkId;
use crate::msrp::connections::SessionId;
use crate::msrp::session::Event;
use crate::sip::message::{Answer, Method, Reply, Response, ServerKey};
use crate::sip::uri::Aor;
use crate::sip::usage::session::{self, of_token};
use crate::store::record::Restored;
use crate::words::tally::Tally;
use crate::words::time::Tick;
use crate::words::timers::Timers;
use crate::xmpp::jid::Jid;
use crate::xmpp::stanza::{Stanza, StanzaKind};

static MANIFEST: Manifest = Manifest {
    name: "room",
    follows: &[
        "RFC 7702 §6",
        "RFC 7701",
        "RFC 4575",
        "RFC 4579",
        "RFC 3515",
        "XEP-0045",
        "XEP-0249",
        "XEP-0410",
        "XEP-0421",
    ],
    summary: "SIP users in rooms of XMPP",
    methods: &["INVITE", "ACK", "BYE", "CANCEL", "UPDATE", "SUBSCRIBE", "REFER"],
    events: &["conference"],
    disco: &[],
    records: &[ending::RECORD],
};

/// How many seats one gateway holds, how many one person has, and how many a room.
const SEATS: usize = 20_000;
const PER_CONTACT: usize = 64;
const PER_ROOM: usize = 2_000;

/// How many stanzas of one seat may wait for an answer, besides a ping.
const QUESTIONS: usize = 64;

/// Why an alarm is armed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    /// The SIP machine of a seat wants it.
    Call(SeatId),
    /// The room has not let somebody in, nor refused.
    Enter(SeatId),
    /// A line that was sent to the room is not reflected.
    Line(SeatId),
    /// The room has not been heard for long, or owes an answer to a ping.
    Ping(SeatId),
    /// The MSRP connection is gone, and nobody has hung up.
    Part(SeatId),
    /// The room has not said that somebody who left is out.
    Out(SeatId),
    /// The room has not said whether a seat may have a nick.
    Nick(SeatId),
    /// A subscription has a NOTIFY to send, or expires.
    Watch(WatchId),
    /// A room has not told what was said while the link was away.
    Missed(Jid),
    /// What has changed in a room may be told.
    Step(Jid),
    /// More seats are to be asked after, or ended.
    Resume,
}

/// What a stanza of ours asked, whose answer comes with its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    /// Whether a seat is in.
    Ping(SeatId),
    /// That a new room be unlocked.
    Unlock(SeatId),
    /// How a room is configured that may be new.
    Configuration(SeatId),
    /// That somebody be put out; who wants to know.
    Expel(Option<WatchId>),
}

/// See the module.
#[derive(Debug, Default)]
pub struct Rooms {
    halls: BTreeMap<Jid, Hall>,
    seats: BTreeMap<SeatId, Box<Seat>>,
    /// By our tag.
    tags: HashMap<Box<str>, SeatId>,
    /// By our address in XMPP.
    owns: HashMap<Jid, SeatId>,
    /// By the MSRP session.
    msrp: HashMap<SessionId, SeatId>,
    /// INVITEs and UPDATEs of theirs that are not answered.
    asked: BTreeMap<ServerKey, SeatId>,
    watches: BTreeMap<WatchId, Watch>,
    /// Those with a dialog of their own, by our tag.
    watch_tags: HashMap<Box<str>, WatchId>,
    /// By the id of the stanza that asked.
    questions: BTreeMap<String, Question>,
    /// How many seats each person has.
    contacts: Tally<Aor>,
    /// How many calls for invitations each person has at once.
    ringing: Tally<Aor>,
    timers: Timers<Alarm>,
    /// Seats of before the start, to be ended.
    restored: VecDeque<SeatId>,
    /// Seats to be asked after, since the link was away.
    doubted: VecDeque<SeatId>,
    /// When the process began to stop.
    stopping: Option<Tick>,
    /// It has had its time.
    stopped: bool,
    next: u64,
}

impl Feature for Rooms {
    fn manifest(&self) -> &'static Manifest {
        &MANIFEST
    }

    fn stanza(&mut self, cx: &mut Cx<'_>, _link: LinkId, stanza: &Stanza) -> bool {
        let Some(from) = stanza.from().filter(|from| cx.domains.holds_xmpp_rooms(from.domain())) else {
            return stanza.kind == StanzaKind::Message && self.asked_in(cx, stanza);
        };
        match stanza.kind {
            StanzaKind::Presence => {
                self.presence(cx, stanza);
                true
            }
            StanzaKind::Message => {
                self.message(cx, from, stanza);
                true
            }
            StanzaKind::Iq => self.answered(cx, stanza),
        }
    }

    fn request(&mut self, cx: &mut Cx<'_>, incoming: &Incoming) -> bool {
        if let Some(tag) = &incoming.to_tag {
            return self.inside(cx, tag, incoming);
        }
        let Some((room, contact)) =
            incoming.jids.as_ref().filter(|(room, _)| cx.domains.holds_xmpp_rooms(room.domain()))
        else {
            return false;
        };
        // A conference is no person who could be in a room: each would tell the other what it has heard of it.
        if cx.domains.holds_sip_rooms(contact.domain()) {
            let reply = Reply::new(403).because("A room cannot enter a room");
            cx.ops.push_back(Op::ReplyNow(incoming.key, reply));
            return true;
        }
        match incoming.request.method {
            Method::Invite => self.invited(cx, incoming, &room.bare()),
            Method::Subscribe => self.subscribed(cx, incoming, &room.bare()),
            Method::Refer => self.referred(cx, incoming, &room.bare(), None),
            Method::Message => {
                let words = "Call this room to say something in it";
                cx.ops.push_back(Op::ReplyNow(incoming.key, Reply::new(403).because(words)));
            }
            _ => return false,
        }
        true
    }

    fn ack(&mut self, cx: &mut Cx<'_>, incoming: &Incoming) -> bool {
        let Some((id, seat)) = incoming.to_tag.as_deref().and_then(|tag| self.held(tag, incoming)) else {
            return false;
        };
        seat.leg.call.acked(cx.now, &incoming.request);
        self.run(cx, id);
        true
    }

    fn cancelled(&mut self, cx: &mut Cx<'_>, key: ServerKey) -> bool {
        let Some(id) = self.asked.get(&key).copied() else { return false };
        let Some(seat) = self.seats.get_mut(&id) else { return false };
        let is_ours = seat.leg.call.cancelled(cx.now, key);
        self.run(cx, id);
        is_ours
    }

    fn answer(&mut self, cx: &mut Cx<'_>, token: u64, answer: &Answer) {
        let (id, exchange) = of_token(token);
        let Some(seat) = self.seats.get_mut(&id) else { return self.notified(cx, id, answer) };
        seat.leg.call.answer(cx.now, cx.mint, exchange, answer);
        self.run(cx, id);
    }

    fn further(&mut self, cx: &mut Cx<'_>, token: u64, cseq: u32, response: &Response) {
        let (id, exchange) = of_token(token);
        let Some(seat) = self.seats.get_mut(&id) else { return };
        seat.leg.call.further(exchange, cseq, response);
        self.run(cx, id);
    }

    fn msrp(&mut self, cx: &mut Cx<'_>, session: SessionId, event: &Event) -> bool {
        let Some(id) = self.msrp.get(&session).copied() else { return false };
        match event {
            Event::Opened => self.opened(cx, id),
            Event::Incoming { ticket, message } => self.came(cx, id, session, *ticket, message),
            Event::Sent { message_id } | Event::Delivered { message_id } => self.delivered(id, message_id),
            Event::Failed { message_id, code, by, .. } => self.failed(cx, id, message_id, *code, *by),
            Event::Ended { why, unconfirmed } => self.ended(cx, id, session, why, unconfirmed),
            Event::Admitted { path, .. } => self.admitted(cx, id, path),
            Event::Nickname { ticket, nickname } => self.wants_nick(cx, id, session, *ticket, nickname),
            // We ask nobody for a name.
            Event::Named { .. } => {}
        }
        true
    }

    fn next_timeout(&self) -> Option<(Tick, &'static str)> {
        let stop = self.stopping.filter(|_| !self.stopped).map(|at| (at, "room-stop"));
        let timer = self.timers.next().map(|(at, alarm)| {
            let why = match alarm {
                Alarm::Call(_) => "room-call",
                Alarm::Enter(_) => "room-enter",
                Alarm::Line(_) => "room-line",
                Alarm::Ping(_) => "room-ping",
                Alarm::Part(_) => "room-part",
                Alarm::Out(_) => "room-out",
                Alarm::Nick(_) => "room-nick",
                Alarm::Watch(_) => "room-watch",
                Alarm::Missed(_) => "room-missed",
                Alarm::Step(_) => "room-step",
                Alarm::Resume => "room-resume",
            };
            (at, why)
        });
        [stop, timer].into_iter().flatten().min()
    }

    fn timeout(&mut self, cx: &mut Cx<'_>) {
        while let Some(alarm) = self.timers.pop(cx.now.tick) {
            match alarm {
                Alarm::Call(id) => {
                    if let Some(seat) = self.seats.get_mut(&id) {
                        seat.leg.call.timeout(cx.now);
                        self.run(cx, id);
                    }
                }
                Alarm::Enter(id) => self.entered_too_late(cx, id),
                Alarm::Line(id) => self.not_reflected(cx, id),
                Alarm::Ping(id) => self.silent(cx, id),
                Alarm::Part(id) => self.lost(cx, id),
                Alarm::Out(id) => self.out(cx, id),
                Alarm::Nick(id) => self.nick_too_late(cx, id),
                Alarm::Watch(id) => self.tend(cx, id),
                Alarm::Missed(room) => self.missed_for_good(cx, &room),
                Alarm::Step(room) => self.step(cx, &room),
                Alarm::Resume => self.resume(cx),
            }
        }
        self.stopped |= self.stopping.is_some_and(|at| at <= cx.now.tick);
    }

    fn link_up(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        self.link_is_up(cx, link);
    }

    fn link_down(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        self.link_is_down(cx, link);
    }

    fn restored(&mut self, cx: &mut Cx<'_>, record: &Restored) {
        if let Err(error) = self.restore(cx, record) {
            cx.unreadable(record, error);
        }
    }

    fn view(&self, record: &Restored) -> Result<View, String> {
        ending::view(record)
    }

    fn start(&mut self, cx: &mut Cx<'_>) {
        self.resume(cx);
    }

    fn stop(&mut self, cx: &mut Cx<'_>) -> bool {
        self.say_goodbye(cx)
    }

    fn load(&self) -> usize {
        self.halls.len()
            + self.seats.len()
            + self.watches.len()
            + self.questions.len()
            + self.timers.len()
            + self.doubted.len()
    }
}

impl Rooms {
    /// The seat in whose dialog a request came.
    fn held(&mut self, tag: &str, incoming: &Incoming) -> Option<(SeatId, &mut Seat)> {
        let id = *self.tags.get(tag)?;
        let seat = self.seats.get_mut(&id)?;
        seat.leg.call.holds(&incoming.call_id, tag, &incoming.from_tag).then_some((id, &mut **seat))
    }

    /// Whether there is no place for one more seat of this person in this room.
    fn is_full(&self, contact: &Aor, room: &Jid) -> bool {
        self.seats.len() >= SEATS
            || self.contacts.of(contact) >= PER_CONTACT
            || self.halls.get(room).is_some_and(|hall| hall.seats.len() >= PER_ROOM)
    }

    /// Remembers a seat that begins.
    fn add(&mut self, cx: &Cx<'_>, seat: Seat) -> SeatId {
        self.next += 1;
        let id = self.next;
        self.tags.insert(seat.leg.call.tag().into(), id);
        self.owns.insert(seat.own.clone(), id);
        self.contacts.add(&seat.contact);
        let hall =
            self.halls.entry(seat.room.clone()).or_insert_with(|| Hall::new(cx.domains, &seat.room, cx.now));
        hall.seats.insert(id);
        self.seats.insert(id, Box::new(seat));
        id
    }

    /// Remembers what a stanza in the name of a seat asked; of too many the oldest is not waited for any more.
    fn put_question(&mut self, id: SeatId, stanza: String, question: Question) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        if seat.questions.len() >= QUESTIONS
            && let Some(oldest) = seat.questions.pop_front()
        {
            self.questions.remove(&oldest);
        }
        seat.questions.push_back(stanza.clone());
        self.questions.insert(stanza, question);
    }

    /// Forgets a seat of which nothing more will come.
    fn bury(&mut self, cx: &mut Cx<'_>, id: SeatId) {
        if !self.seats.get(&id).is_some_and(|seat| seat.is_over()) {
            return;
        }
        let Some(seat) = self.seats.remove(&id) else { return };
        self.tags.remove(seat.leg.call.tag());
        self.owns.remove(&seat.own);
        self.contacts.take(&seat.contact);
        if let Some(hall) = self.halls.get_mut(&seat.room) {
            hall.seats.remove(&id);
            hall.reader.take_if(|reader| *reader == id);
            if hall.looks == Some(id) {
                // It did not come back: others look.
                hall.looks = None;
                self.doubted.extend(hall.seats.iter());
                self.timers.set(Alarm::Resume, cx.now.tick);
            }
            if hall.seats.is_empty() {
                self.halls.remove(&seat.room);
                self.timers.stop(&Alarm::Step(seat.room.clone()));
                self.timers.stop(&Alarm::Missed(seat.room.clone()));
            }
        }
        for alarm in [
            Alarm::Call(id),
            Alarm::Enter(id),
            Alarm::Line(id),
            Alarm::Ping(id),
            Alarm::Part(id),
            Alarm::Out(id),
            Alarm::Nick(id),
        ] {
            self.timers.stop(&alarm);
        }
        for question in seat.questions.iter().chain(seat.ping.iter().map(|ping| &ping.id)) {
            self.questions.remove(question);
        }
        if seat.saved {
            cx.forget(ending::key_of(&seat.room, seat.leg.call.tag()));
        }
    }

    /// Does what the SIP machine of a seat wants.
    fn run(&mut self, cx: &mut Cx<'_>, id: SeatId) {
        while let Some(act) = self.seats.get_mut(&id).and_then(|seat| seat.leg.call.poll()) {
            match leg::carry_out(cx, id, act) {
                Done::Asked | Done::Sent => {}
                Done::Replied(key, _) => {
                    self.asked.remove(&key);
                }
                Done::Told(event) => self.told(cx, id, event),
            }
        }
        let Some(seat) = self.seats.get(&id) else { return };
        let at = seat.leg.call.next_timeout();
        self.timers.arm(Alarm::Call(id), at);
        self.bury(cx, id);
    }

    fn told(&mut self, cx: &mut Cx<'_>, id: SeatId, event: session::Event) {
        match event {
            session::Event::Ringing(_) | session::Event::Withdrawn | session::Event::Declined(_) => {}
            session::Event::Accepted { answer, .. } => self.accepted(cx, id, answer.as_ref()),
            session::Event::Confirmed { answer } => self.confirmed(cx, id, answer.as_ref()),
            session::Event::Answered(answer) => self.settled(cx, id, answer.as_ref()),
            session::Event::Offered(offer) => self.offered(cx, id, offer.as_ref()),
            session::Event::Over(end) => self.call_over(cx, id, &end),
        }
    }
}
