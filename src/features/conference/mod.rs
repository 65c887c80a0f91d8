//! An XMPP user in a conference of SIP (RFC 7702 §5, RFC 7701, RFC 4575, RFC 4579; XEP-0045).
//!
//! The gateway is a member of the conference for each of its XMPP users, and towards them it is the room. A *guest* is one
//! INVITE dialog with the focus: one person under one nick, with as many clients as she likes. A *hall* is what all guests in
//! a room share: the roster, the nicks, the subject. What is about a room belongs to one owner (`gateway/owner.rs`).
//!
//! | file | what it holds |
//! |---|---|
//! | `guest.rs`, `hall.rs` | a guest, a room: values |
//! | `asked.rs` | what a client asks of the room |
//! | `service.rs` | what can be asked about rooms without being in one |
//! | `referring.rs` | what a member wants done with others, by REFER |
//! | `invited.rs` | the focus calls somebody |
//! | `entering.rs` | the way in: INVITE, nick, roster, what is seen first |
//! | `watching.rs` | the subscription to the roster |
//! | `roster.rs` | who comes and goes, as documents tell |
//! | `showing.rs` | presence of people in the room, to all of ours |
//! | `lines.rs` | what XMPP says goes to the focus |
//! | `arrivals.rs` | what the focus says goes to XMPP |
//! | `before.rs` | which lines are of before somebody came |
//! | `nick.rs` | other nicks |
//! | `doubted.rs` | what is said again after a lost link |
//! | `ending.rs` | ends: BYE, lost connections, links, stops and starts |
//!
//! Not done: a relay of our own (`msrp.relay`), changes of the subject by XMPP users, which no RFC has a way for, a session
//! that goes on after a restart.

mod arrivals;
mod asked;
mod before;
mod doubted;
mod ending;
mod entering;
mod guest;
mod hall;
mod invited;
mod lines;
mod nick;
mod referring;
mod roster;
mod service;
mod showing;
mod watching;

use std::collections::{BTreeMap, HashMap, VecDeque};

use self::doubted::Doubted;
use self::guest::{Guest, GuestId};
use self::hall::Hall;
use self::referring::Errands;
use super::leg::{self, Done};
use super::{Cx, Feature, Incoming, Manifest};
use crate::features::audit::view::View;
use crate::gateway::LinkId;
use crate::msrp::connections::SessionId;
use crate::msrp::session::Event;
use crate::sip::message::{Answer, Method, Response, ServerKey};
use crate::sip::usage::session::{self, of_token};
use crate::store::record::{Key, Restored};
use crate::words::tally::Tally;
use crate::words::time::Tick;
use crate::words::timers::Timers;
use crate::xmpp::jid::Jid;
use crate::xmpp::stanza::Stanza;

static MANIFEST: Manifest = Manifest {
    name: "conference",
    follows: &[
        "RFC 7702 §5",
        "RFC 7701",
        "RFC 4575",
        "RFC 4579",
        "RFC 3515",
        "RFC 6665",
        "XEP-0030 §3",
        "XEP-0045",
        "XEP-0128 §2",
        "XEP-0249",
        "XEP-0359",
        "XEP-0410",
        "XEP-0421",
    ],
    summary: "XMPP users in conferences of SIP",
    methods: &["INVITE", "ACK", "BYE", "CANCEL", "UPDATE", "NOTIFY"],
    events: &[],
    disco: &[],
    records: &[ending::RECORD],
};

/// How many guests one gateway holds, how many one person has, and how many a room.
const GUESTS: usize = 20_000;
const PER_USER: usize = 64;
const PER_ROOM: usize = 2_000;

/// What is served in the dialog of a guest.
const WITHIN: &str = "INVITE, ACK, BYE, CANCEL, UPDATE, OPTIONS";

/// Names a subscription in memory; never the number of a guest.
type WatchId = u64;

/// Why an alarm is armed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    /// The SIP machine of a guest wants it.
    Call(GuestId),
    /// A guest is not in yet.
    Enter(GuestId),
    /// The roster has not come: the guest goes in without.
    Roster(GuestId),
    /// A REFER of ours wants it.
    Errand(u64),
    /// The subscription of a guest wants it.
    Watch(GuestId),
    /// A guest whose subscription ended subscribes anew.
    Again(GuestId),
    /// A full document is to be asked for.
    Whole(GuestId),
    /// What ends a session has come but for the BYE.
    Part(GuestId),
    /// More guests of before the start are to be ended.
    Resume,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Conferences {
    halls: BTreeMap<Jid, Hall>,
    guests: BTreeMap<GuestId, Box<Guest>>,
    /// By our tag in the INVITE dialog.
    tags: HashMap<Box<str>, GuestId>,
    /// By the Call-ID of a subscription.
    watch_calls: HashMap<Box<str>, GuestId>,
    /// By the number of a subscription.
    watches: BTreeMap<WatchId, GuestId>,
    /// By the MSRP session.
    msrp: HashMap<SessionId, GuestId>,
    /// INVITEs and UPDATEs of theirs that are not answered.
    asked: BTreeMap<ServerKey, GuestId>,
    /// How many guests each person has.
    users: Tally<Jid>,
    /// What members want done with others.
    errands: Errands,
    /// What clients must have heard.
    doubted: Doubted,
    timers: Timers<Alarm>,
    /// Guests of before the start, to be ended.
    restored: VecDeque<GuestId>,
    /// Records of those who were not in then, to be forgotten when they have been told.
    unanswered: Vec<(Jid, Key)>,
    /// Records of those who have gone, with their rooms, and when each is forgotten.
    gone: VecDeque<(Tick, Jid, Key)>,
    /// When the process began to stop.
    stopping: Option<Tick>,
    /// It has had its time.
    stopped: bool,
    next: u64,
}

impl Feature for Conferences {
    fn manifest(&self) -> &'static Manifest {
        &MANIFEST
    }

    fn stanza(&mut self, cx: &mut Cx<'_>, _link: LinkId, stanza: &Stanza) -> bool {
        self.served(cx, stanza) || self.asked_for(cx, stanza) || self.invites_directly(cx, stanza)
    }

    fn request(&mut self, cx: &mut Cx<'_>, incoming: &Incoming) -> bool {
        let Some(tag) = incoming.to_tag.as_deref() else { return self.focus_asks(cx, incoming) };
        if incoming.request.method == Method::Notify {
            return self.errand_told(cx, tag, incoming) || self.notified(cx, tag, incoming);
        }
        let Some((id, guest)) = self.held(tag, incoming) else { return false };
        let is_known = guest.leg.call.request(cx.now, cx.mint, incoming.key, &incoming.request);
        if is_known {
            self.asked.insert(incoming.key, id);
        } else {
            cx.reply(incoming.key, leg::not_within(&incoming.request.method, WITHIN));
        }
        self.run(cx, id);
        true
    }

    fn ack(&mut self, cx: &mut Cx<'_>, incoming: &Incoming) -> bool {
        let Some((id, guest)) = incoming.to_tag.as_deref().and_then(|tag| self.held(tag, incoming)) else {
            return false;
        };
        guest.leg.call.acked(cx.now, &incoming.request);
        self.run(cx, id);
        true
    }

    fn cancelled(&mut self, cx: &mut Cx<'_>, key: ServerKey) -> bool {
        let Some(id) = self.asked.get(&key).copied() else { return false };
        let Some(guest) = self.guests.get_mut(&id) else { return false };
        let is_ours = guest.leg.call.cancelled(cx.now, key);
        self.run(cx, id);
        is_ours
    }

    fn answer(&mut self, cx: &mut Cx<'_>, token: u64, answer: &Answer) {
        let (id, exchange) = of_token(token);
        if self.errand_answered(cx, id, answer) {
            return;
        }
        let Some(guest) = self.guests.get_mut(&id) else { return self.subscribe_answered(cx, id, answer) };
        guest.leg.call.answer(cx.now, cx.mint, exchange, answer);
        self.run(cx, id);
    }

    fn further(&mut self, cx: &mut Cx<'_>, token: u64, cseq: u32, response: &Response) {
        let (id, exchange) = of_token(token);
        let Some(guest) = self.guests.get_mut(&id) else { return };
        guest.leg.call.further(exchange, cseq, response);
        self.run(cx, id);
    }

    fn msrp(&mut self, cx: &mut Cx<'_>, session: SessionId, event: &Event) -> bool {
        let Some(id) = self.msrp.get(&session).copied() else { return false };
        match event {
            Event::Opened => self.opened(cx, id),
            Event::Incoming { ticket, message } => self.came(cx, id, session, *ticket, message),
            Event::Sent { message_id } => self.sent(cx, id, message_id),
            Event::Failed { message_id, code, comment, by } => {
                self.failed(cx, id, message_id, *code, comment, *by);
            }
            Event::Ended { why, unconfirmed } => self.ended(cx, id, session, why, unconfirmed),
            Event::Named { nickname, code, .. } => self.named(cx, id, nickname, *code),
            // We ask for no reports, have no relay, and let nobody have a name here.
            Event::Delivered { .. } | Event::Admitted { .. } | Event::Nickname { .. } => {}
        }
        true
    }

    fn next_timeout(&self) -> Option<(Tick, &'static str)> {
        let stop = self.stopping.filter(|_| !self.stopped).map(|at| (at, "conference-stop"));
        let timer = self.timers.next().map(|(at, alarm)| {
            let why = match alarm {
                Alarm::Call(_) => "conference-call",
                Alarm::Enter(_) => "conference-enter",
                Alarm::Roster(_) => "conference-roster",
                Alarm::Errand(_) => "conference-refer",
                Alarm::Watch(_) => "conference-watch",
                Alarm::Again(_) => "conference-again",
                Alarm::Whole(_) => "conference-whole",
                Alarm::Part(_) => "conference-part",
                Alarm::Resume => "conference-resume",
            };
            (at, why)
        });
        let gone = self.gone.front().map(|(at, ..)| (*at, "conference-gone"));
        [stop, timer, gone].into_iter().flatten().min()
    }

    fn timeout(&mut self, cx: &mut Cx<'_>) {
        while let Some(alarm) = self.timers.pop(cx.now.tick) {
            match alarm {
                Alarm::Call(id) => {
                    if let Some(guest) = self.guests.get_mut(&id) {
                        guest.leg.call.timeout(cx.now);
                        self.run(cx, id);
                    }
                }
                Alarm::Enter(id) => self.entered_too_late(cx, id),
                Alarm::Roster(id) => self.goes_without_roster(cx, id),
                Alarm::Errand(number) => self.errand_due(cx, number),
                Alarm::Watch(id) => self.tend(cx, id),
                Alarm::Again(id) => self.subscribe(cx, id),
                Alarm::Whole(id) => self.ask_whole(cx, id),
                Alarm::Part(id) => self.lost(cx, id),
                Alarm::Resume => self.resume(cx),
            }
        }
        self.forget_gone(cx);
        self.stopped |= self.stopping.is_some_and(|at| at <= cx.now.tick);
    }

    fn link_up(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        self.link_is_up(cx, link);
    }

    fn link_down(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        self.link_is_down(cx, link);
    }

    fn restored(&mut self, cx: &mut Cx<'_>, record: &Restored) {
        if let Err(error) = self.restore(record) {
            cx.unreadable(record, error);
        }
    }

    fn view(&self, record: &Restored) -> Result<View, String> {
        ending::view(record)
    }

    fn start(&mut self, cx: &mut Cx<'_>) {
        self.starts(cx);
    }

    fn explain(&self, cx: &mut Cx<'_>, stanza: &Stanza) -> Option<String> {
        self.told_to_admins(cx, stanza)
    }

    fn stop(&mut self, cx: &mut Cx<'_>) -> bool {
        self.say_goodbye(cx)
    }

    fn load(&self) -> usize {
        self.halls.len()
            + self.guests.len()
            + self.tags.len()
            + self.watches.len()
            + self.watch_calls.len()
            + self.msrp.len()
            + self.asked.len()
            + self.errands.len()
            + self.unanswered.len()
            + self.doubted.owed()
            + self.gone.len()
            + self.timers.len()
    }
}

impl Conferences {
    /// The guest in whose dialog a request came.
    fn held(&mut self, tag: &str, incoming: &Incoming) -> Option<(GuestId, &mut Guest)> {
        let id = *self.tags.get(tag)?;
        let guest = self.guests.get_mut(&id)?;
        guest.leg.call.holds(&incoming.call_id, tag, &incoming.from_tag).then_some((id, &mut **guest))
    }

    /// Whether there is no place for one more guest of this person in this room.
    fn is_full(&self, user: &Jid, room: &Jid) -> bool {
        self.guests.len() >= GUESTS
            || self.users.of(user) >= PER_USER
            || self.halls.get(room).is_some_and(|hall| hall.guests.len() >= PER_ROOM)
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Remembers a guest that begins.
    fn add(&mut self, guest: Guest) -> GuestId {
        let id = self.number();
        self.tags.insert(guest.leg.call.tag().into(), id);
        self.users.add(&guest.user);
        let hall = self.halls.entry(guest.room.clone()).or_default();
        hall.guests.insert(id);
        if !matches!(guest.stage, guest::Stage::Invited | guest::Stage::Out) {
            hall.nicks.insert(guest.nick.clone(), id);
            hall.addresses.insert((guest.own.clone(), id));
            hall.clients.extend(guest.clients.keys().map(|client| (client.clone(), id)));
        }
        self.guests.insert(id, Box::new(guest));
        id
    }

    /// Forgets a guest of which nothing more will come.
    fn bury(&mut self, cx: &mut Cx<'_>, id: GuestId) {
        if !self.guests.get(&id).is_some_and(|guest| guest.is_over()) {
            return;
        }
        let Some(guest) = self.guests.remove(&id) else { return };
        self.tags.remove(guest.leg.call.tag());
        self.users.take(&guest.user);
        self.asked.retain(|_, asked| *asked != id);
        if let Some(hall) = self.halls.get_mut(&guest.room) {
            hall.guests.remove(&id);
            if hall.guests.is_empty() {
                self.halls.remove(&guest.room);
            }
        }
        let alarms = [
            Alarm::Call(id),
            Alarm::Enter(id),
            Alarm::Roster(id),
            Alarm::Watch(id),
            Alarm::Again(id),
            Alarm::Whole(id),
            Alarm::Part(id),
        ];
        for alarm in alarms {
            self.timers.stop(&alarm);
        }
        if guest.saved {
            let key = ending::key_of(&guest.room, guest.leg.call.tag());
            self.gone.push_back((cx.now.tick + ending::SAID, guest.room.clone(), key));
        }
    }

    /// Does what the SIP machine of a guest wants.
    fn run(&mut self, cx: &mut Cx<'_>, id: GuestId) {
        while let Some(act) = self.guests.get_mut(&id).and_then(|guest| guest.leg.call.poll()) {
            match leg::carry_out(cx, id, act) {
                Done::Asked | Done::Sent => {}
                // A call that rings may be cancelled.
                Done::Replied(_, 100..200) => {}
                Done::Replied(key, _) => {
                    self.asked.remove(&key);
                }
                Done::Told(event) => self.told(cx, id, event),
            }
        }
        let Some(guest) = self.guests.get(&id) else { return };
        let at = guest.leg.call.next_timeout();
        self.timers.arm(Alarm::Call(id), at);
        self.bury(cx, id);
    }

    fn told(&mut self, cx: &mut Cx<'_>, id: GuestId, event: session::Event) {
        match event {
            session::Event::Ringing(_) | session::Event::Withdrawn | session::Event::Declined(_) => {}
            session::Event::Confirmed { answer } => self.confirmed(cx, id, answer.as_ref()),
            session::Event::Accepted { response, answer } => {
                self.accepted(cx, id, &response, answer.as_ref());
            }
            session::Event::Answered(answer) => self.settled(cx, id, answer.as_ref()),
            session::Event::Offered(offer) => self.offered(cx, id, offer.as_ref()),
            session::Event::Over(_) if self.rings_no_more(id) => {}
            session::Event::Over(end) => self.call_over(cx, id, &end),
        }
    }
}
