//! One session (RFC 4975 §5.4, §7, RFC 6135 §4.2), from its SDP to its end.
//!
//! The active side connects and sends a SEND without body at once; nothing else goes out until the path has answered
//! it, so that nobody can make us send content to a third party (§14.5). The passive side waits for the first request
//! that names its session. Either may then send. A SEND that completes a message is not answered before the owner says
//! so; other chunks are, at once.
//!
//! What becomes of a message that we send is told as [`Event::Sent`], [`Event::Delivered`] and [`Event::Failed`]; when
//! the session ends, whatever is not settled is given back with what is known of it. A connection that fails ends all
//! its sessions; a new one is for the owner to negotiate (§5.4).
//!
//! It deliberately knows no connections: [`Connections`](super::connections::Connections) brings requests and takes
//! bytes. It does not look at content types, and it answers other methods with 501; NICKNAME too, unless its owner takes
//! nicknames.

mod naming;
mod outbox;
mod terms;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use self::naming::Naming;
use self::outbox::{ANSWER_WITHIN, Outbox};
pub use self::terms::{By, Ending, Event, Known, Role, Terms, Ticket, Unconfirmed, Unsendable};
use super::frame::{ByteRange, Method, Request, Response, Status, comment, is_ident, mint_tid};
use super::message::{OutMessage, Receipt};
use super::path::Path;
use super::reassembly::{Limits, Reassembly, Taken};
use super::relay::{Account, Admission, Step};
use super::uri::Uri;
use crate::sabotage::{self, Fault as Mistake};
use crate::words::id::{Mint, Partition};
use crate::words::time::Tick;

/// How long a connection may take, ours or the peer's. A peer may connect as late as its ACK (RFC 3261 §13.3.1.4).
pub const CONNECT_WITHIN: Duration = Duration::from_secs(64);

/// How long a session that finishes waits for what is outstanding.
const FINISH_WITHIN: Duration = Duration::from_secs(35);

/// How many messages may be with the owner at once.
const TICKETS: usize = 1000;

/// How many answers and reports may wait for the connection: a peer that sends and never reads is cut off.
const CONTROL: usize = 2000;

/// What a session waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Our relay shall let us in.
    ExpectAdmission,
    /// Our path is in an SDP; the peer's is not known yet.
    ExpectTerms,
    /// The peer shall connect.
    ExpectPeer,
    /// We connect.
    ExpectConnection,
    /// The bodiless SEND is out.
    ExpectWelcome,
    /// Both sides may send.
    Open,
    /// Nothing more.
    Over,
}

/// One session.
#[derive(Debug)]
pub struct Session {
    own: Path,
    partition: Partition,
    state: State,
    terms: Option<Terms>,
    /// An account at our relay, before we have asked it.
    account: Option<Box<Account>>,
    admission: Option<Box<Admission>>,
    /// Our own relays, which stand before the peer's path.
    relays: Option<Path>,
    /// When the state has lasted too long.
    connect_by: Option<Tick>,
    finish_by: Option<Tick>,
    greeting: Option<Box<Greeting>>,
    /// Answers and reports, which go before any chunk.
    control: VecDeque<Bytes>,
    naming: Naming,
    /// What is sent and not settled, while there is something.
    outbox: Option<Box<Outbox>>,
    reassembly: Reassembly,
    /// Requests that completed a message, without their bodies, and how long the messages are.
    tickets: BTreeMap<Ticket, (Request, usize)>,
    with_owner: usize,
    next_ticket: u64,
    events: VecDeque<Event>,
}

/// The first SEND of the active side.
#[derive(Debug)]
struct Greeting {
    tid: String,
    /// A relay may report later that it led nowhere.
    message_id: String,
    is_written: bool,
    is_answered: bool,
    answer_by: Option<Tick>,
}

impl Session {
    /// A session whose URI goes into an SDP.
    pub fn new(own: impl Into<Path>, home: Partition) -> Session {
        let own = own.into();
        Session {
            partition: own.last().session().and_then(Partition::of_token).unwrap_or(home),
            own,
            state: State::ExpectTerms,
            terms: None,
            account: None,
            admission: None,
            relays: None,
            connect_by: None,
            finish_by: None,
            greeting: None,
            control: VecDeque::new(),
            naming: Naming::default(),
            outbox: None,
            reassembly: Reassembly::default(),
            tickets: BTreeMap::new(),
            with_owner: 0,
            next_ticket: 0,
            events: VecDeque::new(),
        }
    }

    /// The session shall go through a relay of our own (RFC 4976 §5.1): what goes into an SDP comes as
    /// [`Event::Admitted`].
    pub fn admit(&mut self, now: Tick, account: Account) {
        if self.state == State::ExpectTerms {
            self.state = State::ExpectAdmission;
            self.account = Some(Box::new(account));
            self.connect_by = Some(now + CONNECT_WITHIN);
        }
    }

    /// The session goes through these relays, which have let in the one before it.
    pub fn go_through(&mut self, relays: Path) {
        self.relays = Some(relays);
    }

    /// Our own relays.
    pub fn relays(&self) -> Option<&Path> {
        self.relays.as_ref()
    }

    /// The SDP exchange is complete.
    pub fn start(&mut self, now: Tick, mut terms: Terms) {
        if self.state != State::ExpectTerms {
            return;
        }
        if let Some(relays) = &self.relays {
            terms.path = relays.then(&terms.path);
        }
        self.state = match terms.role {
            Role::Active => State::ExpectConnection,
            Role::Passive => State::ExpectPeer,
        };
        self.terms = Some(terms);
        self.connect_by = Some(now + CONNECT_WITHIN);
    }

    /// Our connection stands: says the first words.
    pub fn connected(&mut self, mint: &mut Mint) {
        if let Some(account) = self.account.take() {
            let (admission, request) = Admission::begin(mint, self.partition, self.own.clone(), *account);
            self.admission = Some(Box::new(admission));
            return self.request_out(&request);
        }
        if self.state == State::ExpectConnection {
            self.state = State::ExpectWelcome;
            self.connect_by = None;
            let tid = mint_tid(mint, self.partition, b"");
            let message_id = mint.token(self.partition);
            let greeting =
                Greeting { tid, message_id, is_written: false, is_answered: false, answer_by: None };
            self.greeting = Some(Box::new(greeting));
        }
    }

    /// Its connection is gone. True when nothing but the first words had been said in it, and it waits for another one.
    pub fn connects_anew(&mut self, now: Tick) -> bool {
        let is_new = self.state == State::ExpectWelcome;
        if is_new {
            self.state = State::ExpectConnection;
            self.greeting = None;
            self.connect_by = Some(now + CONNECT_WITHIN);
        }
        is_new
    }

    /// A request came over the session's connection, which the first one makes its own. `room` is what the machine has left for incomplete messages.
    pub fn request(&mut self, now: Tick, limits: Limits, room: usize, mut request: Request) {
        // Whoever names the session has read our SDP: that is as good as an answer to the first SEND.
        self.open();
        if request.fault.is_some() {
            return self.respond(&request, 400);
        }
        match request.method {
            Method::Send => {
                if request.oversize.is_some() {
                    if let Some(id) = &request.message_id {
                        self.reassembly.refuse(id, 413);
                    }
                    return self.respond(&request, 413);
                }
                if request.body.is_none() && self.reassembly.is_ended_by(&request) {
                    request.body = Some(Bytes::new());
                }
                let Some(body) = &request.body else { return self.respond(&request, 200) };
                let is_full = self.tickets.len() >= TICKETS
                    || self.with_owner + body.len() > limits.session
                    || body.len() > room;
                let taken = match &request.message_id {
                    Some(id) if is_full => self.reassembly.refuse(id, 413),
                    _ => self.reassembly.take(now, limits, room, &request),
                };
                match taken {
                    Taken::Part | Taken::Nothing => self.respond(&request, 200),
                    Taken::Refused(code) => self.respond(&request, code),
                    Taken::Whole(message) => {
                        let ticket = Ticket(self.next_ticket);
                        self.next_ticket += 1;
                        request.body = None;
                        self.with_owner += message.body.len();
                        self.tickets.insert(ticket, (request, message.body.len()));
                        self.events.push_back(Event::Incoming { ticket, message });
                    }
                }
            }
            Method::Report => {
                if let (Some(id), Some(status)) = (&request.message_id, &request.status)
                    && status.namespace == 0
                {
                    self.reported(id, request.range, status);
                }
            }
            Method::Nickname => self.nickname_came(request),
            Method::Auth | Method::Other(_) => self.respond(&request, 501),
        }
    }

    /// A response came over the session's connection.
    pub fn response(&mut self, mint: &mut Mint, response: &Response) {
        let Response { tid, code, comment, .. } = response;
        if let Some(admission) = &mut self.admission
            && admission.tid() == tid
        {
            match admission.answer(mint, self.partition, response) {
                Step::Again(request) => self.request_out(&request),
                Step::Granted(relays, expires) => self.admitted(relays, expires),
                Step::Refused(code) => self.end(Ending::NotAdmitted(code)),
            }
        } else if let Some(greeting) = &mut self.greeting
            && greeting.tid == *tid
        {
            greeting.is_answered = true;
            greeting.answer_by = None;
            if *code == 408 {
                self.end(Ending::Unanswered);
            } else if !self.end_if_refused(*code) {
                // Any other code still proves the path: some do not like a SEND without body.
                self.open();
            }
        } else if self.naming.is_asked_as(tid) {
            self.nickname_answered(*code, comment);
        } else if matches!(code, 481 | 506) && self.outbox.as_ref().is_some_and(|outbox| outbox.expects(tid))
        {
            self.end_if_refused(*code);
        } else if let Some(outbox) = &mut self.outbox {
            outbox.answered(tid, *code, comment, &mut self.events);
        }
    }

    /// Takes a message to be sent, behind all others, as soon as the session is open.
    pub fn send(&mut self, message: OutMessage) -> Result<(), (Unsendable, OutMessage)> {
        let max_size = self.terms.as_ref().and_then(|terms| terms.max_size).unwrap_or(u64::MAX);
        if self.state == State::Over || self.finish_by.is_some() {
            return Err((Unsendable::Ending, message));
        }
        if message.body.len() as u64 > max_size {
            return Err((Unsendable::TooLarge, message));
        }
        if !is_ident(&message.message_id) {
            return Err((Unsendable::Malformed, message));
        }
        self.outbox.get_or_insert_default().push(message)
    }

    /// Takes a message back of which nothing was sent.
    pub fn withdraw(&mut self, message_id: &str) -> Option<OutMessage> {
        self.outbox.as_mut()?.withdraw(message_id)
    }

    /// Answers a message or a NICKNAME that came: 200 once it is safe, or why it is not taken.
    pub fn answer(&mut self, ticket: Ticket, code: u16) {
        let Some((request, length)) = self.tickets.remove(&ticket) else { return };
        self.with_owner -= length;
        if request.method == Method::Nickname {
            self.naming.asked -= 1;
        } else if code != 200
            && let Some(id) = &request.message_id
        {
            self.reassembly.forget(id);
        }
        self.respond(&request, code);
    }

    /// Reports what became of a message that came, if its sender wants to know (§7.1.3, §7.1.4).
    pub fn report(&mut self, mint: &mut Mint, receipt: &Receipt, code: u16) {
        let Some(terms) = &self.terms else { return };
        if self.state != State::Open || !receipt.wants(code) || !is_ident_or_odd(&receipt.message_id) {
            return;
        }
        let tid = mint_tid(mint, self.partition, b"");
        let length = receipt.length;
        let report = Request {
            message_id: Some(receipt.message_id.clone()),
            range: Some(ByteRange { start: 1, end: Some(length), total: Some(length) }),
            status: Some(Status { namespace: 0, code, comment: comment(code).to_owned() }),
            ..Request::new(tid, Method::Report, terms.path.clone(), self.own.clone())
        };
        self.request_out(&report);
    }

    /// Takes no new messages, and ends when all that is outstanding is answered and reported.
    pub fn finish(&mut self, now: Tick) {
        if self.state != State::Open {
            return self.end(Ending::Closed);
        }
        self.finish_by.get_or_insert(now + FINISH_WITHIN);
    }

    /// Ends it at once.
    pub fn end(&mut self, why: Ending) {
        if self.state == State::Over {
            return;
        }
        self.state = State::Over;
        self.connect_by = None;
        self.finish_by = None;
        self.greeting = None;
        self.account = None;
        self.admission = None;
        self.control.clear();
        self.naming = Naming::default();
        self.tickets.clear();
        self.with_owner = 0;
        self.reassembly = Reassembly::default();
        let unconfirmed = self.outbox.take().map(|outbox| outbox.into_unconfirmed()).unwrap_or_default();
        self.events.push_back(Event::Ended { why, unconfirmed });
    }

    /// Writes the next frame, if there is one that may go: answers and reports before chunks. Gives the transaction
    /// whose bytes those are, for [`Session::left`].
    pub fn write(&mut self, mint: &mut Mint, out: &mut BytesMut) -> Option<Option<String>> {
        if let Some(greeting) = &mut self.greeting
            && !greeting.is_written
        {
            greeting.is_written = true;
            let path = self.terms.as_ref()?.path.clone();
            let bodiless = Request {
                message_id: Some(greeting.message_id.clone()),
                range: Some(ByteRange { start: 1, end: Some(0), total: Some(0) }),
                ..Request::new(greeting.tid.clone(), Method::Send, path, self.own.clone())
            };
            bodiless.write(out);
            return Some(Some(greeting.tid.clone()));
        }
        if let Some(bytes) = self.control.pop_front() {
            out.extend_from_slice(&bytes);
            return Some(None);
        }
        if self.state != State::Open {
            return None;
        }
        if let Some(tid) = self.write_nickname(mint, out) {
            return Some(Some(tid));
        }
        let path = &self.terms.as_ref()?.path;
        self.outbox.as_mut()?.write(mint, self.partition, path, &self.own, out).map(Some)
    }

    /// True when [`Session::write`] has something.
    pub fn has_output(&self) -> bool {
        self.greeting.as_ref().is_some_and(|greeting| !greeting.is_written)
            || !self.control.is_empty()
            || self.has_nickname()
            || self.state == State::Open && self.outbox.as_ref().is_some_and(|outbox| outbox.has_chunk())
    }

    /// The last byte of a transaction has left: from now on its answer is awaited (§7.1.1).
    pub fn left(&mut self, now: Tick, tid: &str) {
        if self.nickname_left(now, tid) {
            return;
        }
        match &mut self.greeting {
            Some(greeting) if greeting.tid == tid => {
                greeting.answer_by = Some(now + ANSWER_WITHIN).filter(|_| !greeting.is_answered);
            }
            _ => {
                if let Some(outbox) = &mut self.outbox {
                    outbox.left(now, tid, &mut self.events);
                }
            }
        }
    }

    /// When [`Session::timeout`] is wanted, and a stable name for why.
    pub fn next_timeout(&mut self) -> Option<(Tick, &'static str)> {
        let greeting = self.greeting.as_ref().and_then(|greeting| greeting.answer_by);
        [
            (self.connect_by, "msrp-connect"),
            (greeting, "msrp-welcome"),
            (self.nickname_due(), "msrp-nickname"),
            (self.outbox.as_mut().and_then(|outbox| outbox.next_timeout()), "msrp-answer"),
            (self.reassembly.next_timeout(), "msrp-abandoned"),
            (self.finish_by, "msrp-finish"),
        ]
        .into_iter()
        .filter_map(|(at, why)| at.map(|at| (at, why)))
        .min()
    }

    /// Rings everything that is due.
    pub fn timeout(&mut self, now: Tick, mint: &mut Mint) {
        let is_due = |at: Option<Tick>| at.is_some_and(|at| at <= now);
        if is_due(self.connect_by) {
            let why = match self.state {
                State::ExpectAdmission => Ending::NotAdmitted(408),
                State::ExpectConnection => Ending::NotConnected("it took too long".into()),
                _ => Ending::NobodyCame,
            };
            return self.end(why);
        }
        if let Some(greeting) = &mut self.greeting
            && is_due(greeting.answer_by)
        {
            greeting.answer_by = None;
            // Where the peer has spoken meanwhile, the path is good.
            if self.state == State::ExpectWelcome {
                return self.end(Ending::Unanswered);
            }
        }
        self.nickname_timeout(now);
        if let Some(outbox) = &mut self.outbox {
            outbox.timeout(now, &mut self.events);
        }
        while let Some(receipt) = self.reassembly.expire(now) {
            if !sabotage::is(Mistake::PiecesUntold) {
                self.report(mint, &receipt, 408);
            }
        }
        if is_due(self.finish_by) {
            self.end(Ending::Finished);
        }
    }

    /// What the owner is told next.
    pub fn poll(&mut self) -> Option<Event> {
        let is_done = self.finish_by.is_some() && self.control.is_empty() && self.tickets.is_empty();
        if self.events.is_empty() && is_done && self.unsettled() == 0 {
            self.end(Ending::Finished);
        }
        let event = self.events.pop_front();
        if event.is_none() {
            self.rest();
        }
        event
    }

    /// What the SDP has settled, once it has.
    pub fn terms(&self) -> Option<&Terms> {
        self.terms.as_ref()
    }

    /// Our URI.
    pub fn own(&self) -> &Uri {
        self.own.last()
    }

    /// True when both sides may send.
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// True when the last event has been told.
    pub fn is_over(&self) -> bool {
        self.state == State::Over && self.events.is_empty()
    }

    /// Bytes of messages that are incomplete, or wait for the owner.
    pub fn held(&self) -> usize {
        self.reassembly.held() + self.with_owner
    }

    /// Messages under way in either direction; zero when all is over.
    pub fn load(&self) -> usize {
        let nickname = usize::from(self.has_nickname() || self.nickname_due().is_some());
        self.unsettled() + self.tickets.len() + self.control.len() + nickname
    }

    /// Most sessions are silent for most of their time: what is empty is not kept at the size that it once had.
    fn rest(&mut self) {
        self.events = VecDeque::new();
        if self.control.is_empty() {
            self.control = VecDeque::new();
        }
        if self.tickets.is_empty() {
            self.tickets = BTreeMap::new();
        }
        self.outbox.take_if(|outbox| outbox.is_empty());
    }

    /// How many messages are sent, or are to be, and not settled.
    fn unsettled(&self) -> usize {
        self.outbox.as_ref().map_or(0, |outbox| outbox.len())
    }

    fn knows(&self, message_id: &str) -> bool {
        self.outbox.as_ref().is_some_and(|outbox| outbox.knows(message_id))
    }

    fn reported(&mut self, id: &str, range: Option<ByteRange>, status: &Status) {
        let is_greeting = self.greeting.as_ref().is_some_and(|greeting| greeting.message_id == id);
        if is_greeting && status.code == 408 {
            self.end(Ending::Unanswered);
        } else if is_greeting || matches!(status.code, 481 | 506) && self.knows(id) {
            self.end_if_refused(status.code);
        } else if let Some(outbox) = &mut self.outbox {
            outbox.reported(id, range, status, &mut self.events);
        }
    }

    fn open(&mut self) {
        if !matches!(self.state, State::Open | State::Over | State::ExpectTerms | State::ExpectAdmission) {
            self.state = State::Open;
            self.connect_by = None;
            self.events.push_back(Event::Opened);
        }
    }

    fn respond(&mut self, request: &Request, code: u16) {
        if let Some(mut response) = request.response(code) {
            response.from = self.own.clone();
            if let Some(fault) = request.fault
                && code == 400
            {
                response.comment = fault.to_owned();
            }
            self.control(response.bytes());
        }
    }

    fn admitted(&mut self, relays: Path, expires: Option<Duration>) {
        let path = relays.reversed().then(&self.own);
        self.admission = None;
        self.relays = Some(relays);
        self.connect_by = None;
        self.state = State::ExpectTerms;
        self.events.push_back(Event::Admitted { path, expires });
    }

    fn request_out(&mut self, request: &Request) {
        let mut bytes = BytesMut::new();
        request.write(&mut bytes);
        self.control(bytes.freeze());
    }

    fn control(&mut self, bytes: Bytes) {
        if self.state == State::Over {
            return;
        }
        if self.control.len() >= CONTROL {
            return self.end(Ending::Lost("the peer takes no answers".into()));
        }
        self.control.push_back(bytes);
    }

    /// The session is over when the peer says that it has none (§10.8), or has it on another connection (§10.10).
    fn end_if_refused(&mut self, code: u16) -> bool {
        let is_over = matches!(code, 481 | 506);
        if is_over {
            self.end(Ending::Refused(code));
        }
        is_over
    }
}

/// A Message-ID that can be given back: ours, or one of a peer that is longer or shorter than §9 has it.
fn is_ident_or_odd(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}
