//! A session: the INVITE usage of RFC 3261 §13–15, with UPDATE (RFC 3311) and session timers (RFC 4028), as a machine
//! without I/O.
//!
//! The owner makes one with [`Session::invite`] or [`Session::invited`], hands it what the agent hands up, and drains
//! [`Session::poll`] after each call. What it wants sent comes as an [`Act`]; what it has to tell comes as an
//! [`Event`], of which [`Event::Over`] is the last and comes exactly once. After that the owner keeps the machine, and
//! goes on handing it everything, until [`Session::is_done`]: a BYE may be unanswered, a 2xx may cross a CANCEL.
//!
//! It carries session descriptions and does not read them: it knows only which offers have no answer yet (RFC 3264
//! §4, RFC 6337 §2). An offer of ours goes by re-INVITE, as RFC 3311 §5.1 recommends; UPDATE is sent to refresh.
//!
//! It deliberately sends no INVITE without an offer, follows no redirection, has no reliable provisional answers
//! (RFC 3262), and knows no other usage. What shares its dialog (RFC 5057) borrows it from here, so that all count on from one
//! number: [`Session::dialog_mut`].
//!
//! The parts: [`client`] is the caller, [`server`] the called, [`requests`] what comes in a dialog, [`modify`] our own
//! re-INVITE and UPDATE, [`timer`] the session timer, [`ending`] BYE, [`kept`] what survives a restart, [`parts`] what
//! messages have in common.

mod client;
mod ending;
mod kept;
mod modify;
mod parts;
mod requests;
mod server;
mod timer;

use std::collections::VecDeque;
use std::time::Duration;

use crate::sip::dialog::Dialog;
use crate::sip::message::{Answer, Failure, OutRequest, Reply, Response, ServerKey};
use crate::words::id::Mint;
use crate::words::time::{Now, Tick};
use crate::words::timers::Timers;

use self::client::Opening;
use self::server::{Asked, Unacked};
use self::timer::Timing;

pub use self::client::Call;
pub use self::kept::Kept;
pub use self::parts::{Body, Cause};

/// RFC 3261 §17.1.1.1: the first and the longest interval between two repetitions.
const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
/// 64·T1: how long something is waited for that the network owes.
const PATIENCE: Duration = Duration::from_secs(32);
/// RFC 3261 §13.3.1.1: a call that goes on ringing says so every minute.
const RING: Duration = Duration::from_secs(60);

/// Names a request of one session; the owner makes of it and of the session the token for its agent.
pub type Exchange = u16;

/// Names an exchange among the answers to an owner who has many sessions, by their numbers.
pub fn token_of(number: u64, exchange: Exchange) -> u64 {
    number << Exchange::BITS | u64::from(exchange)
}

/// The number and the exchange of such a name.
pub fn of_token(token: u64) -> (u64, Exchange) {
    (token >> Exchange::BITS, token as Exchange)
}

/// What a session wants done or tells, in order.
#[derive(Debug)]
pub enum Act {
    /// Send this request; what becomes of it goes to [`Session::answer`], a further 2xx to [`Session::further`].
    Send(Exchange, Box<OutRequest>),
    /// Send this ACK for a 2xx to the INVITE of that number.
    Ack(Exchange, Box<OutRequest>),
    /// Cancel the INVITE of that number; its answer comes all the same.
    Cancel(Exchange),
    /// Answer a request. A 2xx to an INVITE is repeated this way until its ACK comes.
    Reply(ServerKey, Reply),
    /// For the owner.
    Tell(Event),
}

/// What a session tells.
#[derive(Debug)]
pub enum Event {
    /// Our INVITE has a provisional answer of this status, from one of the places that it reached.
    Ringing(u16),
    /// Our INVITE was accepted. An answer is missing only where a peer breaks RFC 3264.
    Accepted {
        /// The 2xx.
        response: Box<Response>,
        /// Their answer to our offer.
        answer: Option<Body>,
    },
    /// Our 2xx arrived: the ACK is there, with their answer if the offer was ours.
    Confirmed {
        /// Their answer.
        answer: Option<Body>,
    },
    /// They want the session changed: [`Session::agree`] or [`Session::decline`] must follow. Without an offer they
    /// want one of ours.
    Offered(Option<Body>),
    /// They want it no longer.
    Withdrawn,
    /// Our offer, or a refresh with the same one, was accepted with this answer.
    Answered(Option<Body>),
    /// Our offer was refused with this status; the session goes on as it was.
    Declined(u16),
    /// It is over for the owner.
    Over(End),
}

/// Why a session is over.
#[derive(Debug)]
pub enum End {
    /// Our INVITE was refused, or redirected.
    Refused(Box<Response>),
    /// Our INVITE did not arrive, or nobody ever answered it.
    Unreachable(Failure),
    /// Nobody accepted our INVITE in the time that the owner gave, or the owner decided nothing about theirs.
    NoAnswer,
    /// They cancelled their INVITE.
    Cancelled,
    /// The owner ended it, or refused it.
    Ours,
    /// They ended it.
    Theirs(Option<Cause>),
    /// The ACK for our 2xx never came.
    NoAck,
    /// Nobody has refreshed it in time (RFC 4028 §10).
    Expired,
    /// A request in it got this status, or none (408): they do not know it any more, or are gone.
    Lost(u16),
}

/// What the session waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The final answer to our first INVITE.
    ExpectAnswer,
    /// The owner's word on their first INVITE.
    ExpectDecision,
    /// Nothing: both have agreed.
    Up,
    /// Loose ends.
    Over,
}

/// A request of ours that has no final answer yet.
#[derive(Clone, Debug)]
enum Sent {
    /// The first INVITE.
    Invite,
    /// A re-INVITE with a new offer, or with the present one to refresh.
    Offer { body: Body, refresh: bool },
    /// An UPDATE without an offer.
    Refresh,
    /// A BYE, to the session or to a fork of it.
    Bye,
}

/// Why a session wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    /// The time for the answer to a first INVITE, of ours or theirs, is over.
    NoAnswer,
    /// A call that rings says so again.
    Ring,
    /// Our 2xx is repeated.
    Repeat,
    /// The ACK for it will not come any more.
    NoAck,
    /// A re-INVITE has no final answer.
    NoReply,
    /// After a glare our offer is tried again (RFC 3261 §14.1).
    Glare,
    /// It is our turn to refresh.
    Refresh,
    /// The session has not been refreshed.
    Expire,
    /// Forks of our INVITE may still answer.
    Linger,
}

/// One INVITE usage, from its first request to its last answer.
#[derive(Debug)]
pub struct Session {
    state: State,
    /// Before the first 2xx to our INVITE it has no remote tag.
    dialog: Dialog,
    /// The whole value of our Contact.
    contact: Box<str>,
    /// The whole value of our Allow.
    allow: Box<str>,
    /// Whether the Call-ID is ours.
    is_caller: bool,
    /// Of our first INVITE, until it is answered.
    opening: Option<Box<Opening>>,
    /// Their INVITE or UPDATE that the owner has not decided.
    asked: Option<Box<Asked>>,
    /// Our 2xx without ACK.
    unacked: Option<Box<Unacked>>,
    pending: Vec<(Exchange, Sent)>,
    next: Exchange,
    /// Tags of forks that were answered with BYE.
    forks: Box<[String]>,
    timing: Option<Timing>,
    /// Their Allow lists UPDATE.
    updates: bool,
    /// How often they wanted a longer timer.
    lengthened: u8,
    /// Our present description.
    ours: Option<Body>,
    /// An offer that waits for its turn.
    wanted: Option<Box<Body>>,
    /// It is over, but BYE waits for the ACK.
    farewell: Option<Box<Option<Cause>>>,
    timers: Timers<Alarm>,
    out: VecDeque<Act>,
}

impl Session {
    fn new(state: State, dialog: Dialog, contact: &str, allow: &str) -> Session {
        Session {
            state,
            dialog,
            contact: contact.into(),
            allow: allow.into(),
            is_caller: state == State::ExpectAnswer,
            opening: None,
            asked: None,
            unacked: None,
            pending: Vec::new(),
            next: 0,
            forks: Box::default(),
            timing: None,
            updates: false,
            lengthened: 0,
            ours: None,
            wanted: None,
            farewell: None,
            timers: Timers::default(),
            out: VecDeque::new(),
        }
    }

    /// What became of a request of [`Act::Send`].
    pub fn answer(&mut self, now: Now, mint: &mut Mint, exchange: Exchange, answer: &Answer) {
        let Some(place) = self.pending.iter().position(|(known, _)| *known == exchange) else { return };
        if let Answer::Provisional(response) = answer {
            return self.provisional(place, response);
        }
        if matches!(answer, Answer::Repeated) {
            return;
        }
        if let Answer::Final { cseq, .. } = answer {
            self.dialog.used_cseq(*cseq);
        }
        match self.pending.remove(place).1 {
            Sent::Invite => self.invite_answered(now, exchange, answer),
            Sent::Offer { body, refresh } => self.offer_answered(now, mint, exchange, answer, body, refresh),
            Sent::Refresh => self.refresh_answered(now, mint, answer),
            // Whatever is answered to it: whom it was for has heard it, or is not there.
            Sent::Bye => {}
        }
        self.next_offer(now);
    }

    /// When [`Session::timeout`] is wanted.
    pub fn next_timeout(&self) -> Option<Tick> {
        self.timers.next().map(|(at, _)| at)
    }

    /// Rings everything that is due.
    pub fn timeout(&mut self, now: Now) {
        while let Some(alarm) = self.timers.pop(now.tick) {
            match alarm {
                Alarm::NoAnswer => self.no_answer(),
                Alarm::Ring => self.ring(now),
                Alarm::Repeat => self.repeat(now),
                Alarm::NoAck => self.no_ack(),
                Alarm::NoReply => self.no_reply(),
                Alarm::Glare => self.next_offer(now),
                Alarm::Refresh => self.refresh(now),
                Alarm::Expire => self.expired(),
                Alarm::Linger => {}
            }
        }
    }

    /// The one drain.
    pub fn poll(&mut self) -> Option<Act> {
        let act = self.out.pop_front();
        if act.is_none() {
            // Most sessions have nothing to say for a long time.
            self.out = VecDeque::new();
        }
        act
    }

    /// Nothing more will come of it: the owner may drop it.
    pub fn is_done(&self) -> bool {
        self.state == State::Over
            && self.pending.is_empty()
            && self.unacked.is_none()
            && self.timers.at(&Alarm::Linger).is_none()
            && self.out.is_empty()
    }

    /// The last description of ours that was agreed on, or is offered first.
    pub fn description(&self) -> Option<&Body> {
        self.ours.as_ref()
    }

    /// Both sides have agreed, and nobody has hung up.
    pub fn is_up(&self) -> bool {
        self.state == State::Up
    }

    /// Whether a request from the peer with this Call-ID and these tags in To and From is for this session: its dialog,
    /// or an early one of our INVITE.
    pub fn holds(&self, call_id: &str, to_tag: &str, from_tag: &str) -> bool {
        self.dialog.is(call_id, to_tag, from_tag) || self.holds_early(call_id, to_tag, from_tag)
    }

    /// The Call-ID.
    pub fn call_id(&self) -> &str {
        &self.dialog.call_id
    }

    /// The tag that names the dialog on our side.
    pub fn tag(&self) -> &str {
        &self.dialog.local_tag
    }

    /// The dialog, for a usage that shares it: what [`Session::request`] leaves to the owner may be the beginning of one, and
    /// has its CSeq judged already. Who keeps sessions on disk keeps this one again after some thousand requests in it.
    pub fn dialog_mut(&mut self) -> &mut Dialog {
        &mut self.dialog
    }

    /// The remote target: the peer's device.
    pub fn target(&self) -> &str {
        &self.dialog.target
    }

    fn tell(&mut self, event: Event) {
        self.out.push_back(Act::Tell(event));
    }

    fn reply(&mut self, key: ServerKey, reply: Reply) {
        self.out.push_back(Act::Reply(key, reply));
    }

    fn send(&mut self, sent: Sent, request: OutRequest) -> Exchange {
        let exchange = self.next;
        self.next = self.next.wrapping_add(1);
        self.pending.push((exchange, sent));
        self.out.push_back(Act::Send(exchange, Box::new(request)));
        exchange
    }

    fn ack(&mut self, exchange: Exchange, ack: OutRequest) {
        self.out.push_back(Act::Ack(exchange, Box::new(ack)));
    }
}

#[cfg(test)]
mod tests;
