//! All sessions of one owner, and the connections that they use (RFC 4975 §5.4, §7.3, RFC 4976 §5).
//!
//! A connection belongs to a session from the first request on it that names the session's unguessable id; a second
//! connection for the same session is refused with 506, an id that nobody has with 481. Several sessions may share a
//! connection. Those that we open are used again for the same next hop, which with relays in the path is the first of
//! them; those that we accepted are never used for anything but the sessions that came over them, since nobody has
//! proven who is at the other end.
//!
//! What shares a connection takes turns: one frame each, at most 2,048 bytes of body, while the shell holds less than
//! [`WINDOW`] bytes. What arrives for a session whose SDP answer is still on its way waits for it.
//!
//! It deliberately finds sessions by session-id alone: the id is the secret (§14.1), and a middlebox may have put
//! another host before it.

#[cfg(test)]
mod tests;
mod ways;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use bytes::BytesMut;

use self::ways::{Attempt, Conn, Opened, Way};
use super::frame::{Frame, Request, Response};
use super::message::{OutMessage, Receipt};
use super::path::Path;
use super::reassembly::Limits;
use super::relay::Account;
use super::session::{Ending, Event, Role, Session, Terms, Ticket, Unsendable};
use super::uri::Uri;
use super::{AttemptId, Behalf, ConnId, Link, MsrpIn, MsrpOut};
use crate::words::id::Mint;
use crate::words::note::Note;
use crate::words::time::Tick;
use crate::words::timers::Timers;

/// How many bytes of a connection are with the shell at most, before they have left.
pub const WINDOW: u64 = 64 * 1024;

/// How long a connection to a relay is kept for the next session (RFC 4976 §5.4).
const LINGER: Duration = Duration::from_secs(300);

/// What a request that waits for an SDP answer takes beside its body, towards what a session may hold.
const PARKED_HEAD: usize = 1024;

/// A session, numbered by [`Connections`]; never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// What the sessions want done, or tell.
#[derive(Debug, PartialEq, Eq)]
pub enum Out {
    /// For the shell.
    Msrp(MsrpOut),
    /// For the owner.
    Told {
        /// Which session.
        session: SessionId,
        /// What happened.
        event: Event,
    },
    /// A figure for the metrics.
    Note(Note),
}

/// All sessions of one owner.
pub struct Connections {
    limits: Limits,
    /// How much all incomplete messages of the machine may take together.
    machine: usize,
    /// What other owners hold of it.
    elsewhere: usize,
    held: usize,
    /// In boxes: a node of the tree has room for eleven.
    sessions: BTreeMap<SessionId, Box<Entry>>,
    by_token: HashMap<Box<str>, SessionId>,
    conns: BTreeMap<ConnId, Conn>,
    /// Connections that we opened, and attempts, by where they go.
    opened: BTreeMap<Way, Opened>,
    attempts: BTreeMap<AttemptId, Attempt>,
    timers: Timers<Alarm>,
    next_session: u64,
    next_attempt: u64,
    out: VecDeque<Out>,
}

#[derive(Debug)]
struct Entry {
    session: Session,
    conn: Option<ConnId>,
    /// The attempt that it last waited for.
    attempt: Option<AttemptId>,
    /// Its connection was there before it.
    has_joined: bool,
    /// Requests that wait for the SDP answer, and how many bytes they take.
    parked: Vec<(Link, Request)>,
    parked_bytes: usize,
    /// It stands in its connection's queue.
    is_ready: bool,
    /// What it held when it was last looked at.
    held: usize,
    /// Why its timer rings.
    why: &'static str,
}

/// Why to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    /// A session wants it.
    Session(SessionId),
    /// No session has used the connection to a relay for long.
    Linger(ConnId),
}

impl Connections {
    /// No sessions. `machine` is how many bytes all incomplete messages of the machine may take.
    pub fn new(limits: Limits, machine: usize) -> Connections {
        Connections {
            limits,
            machine,
            elsewhere: 0,
            held: 0,
            sessions: BTreeMap::new(),
            by_token: HashMap::new(),
            conns: BTreeMap::new(),
            opened: BTreeMap::new(),
            attempts: BTreeMap::new(),
            timers: Timers::default(),
            next_session: 0,
            next_attempt: 0,
            out: VecDeque::new(),
        }
    }

    /// A session whose URI ([`Uri::mint`]) goes into an SDP, an offer's or an answer's.
    pub fn offer(&mut self, mint: &Mint, own: impl Into<Path>) -> SessionId {
        let own = own.into();
        let id = SessionId(self.next_session);
        self.next_session += 1;
        let token = own.last().session().unwrap_or_default();
        self.by_token.insert(token.into(), id);
        let session = Session::new(own, mint.home());
        let entry = Entry {
            session,
            conn: None,
            attempt: None,
            has_joined: false,
            parked: Vec::new(),
            parked_bytes: 0,
            is_ready: false,
            held: 0,
            why: "msrp",
        };
        self.sessions.insert(id, Box::new(entry));
        id
    }

    /// The same, through a relay of our own: what goes into the SDP comes as [`Event::Admitted`].
    pub fn offer_through(&mut self, now: Tick, mint: &mut Mint, own: Uri, account: Account) -> SessionId {
        let id = self.offer(mint, own);
        let way = Way { hop: account.relay.hop(), behalf: Behalf::Ours, fingerprint: None };
        if let Some(entry) = self.sessions.get_mut(&id) {
            entry.session.admit(now, account);
        }
        self.connect(mint, id, way);
        self.settle(now, mint, id);
        id
    }

    /// A session in the place of another one, with its URI of ours and its relays: for a peer that goes on elsewhere. What
    /// names the URI is its own from now on. Nothing where the other one is over.
    pub fn succeed(&mut self, mint: &Mint, old: SessionId) -> Option<SessionId> {
        let entry = self.sessions.get(&old)?;
        let (own, relays, conn) = (entry.session.own().clone(), entry.session.relays().cloned(), entry.conn);
        let id = self.offer(mint, own);
        if let Some(relays) = relays {
            self.sessions.get_mut(&id)?.session.go_through(relays);
            if let Some(conn) = conn {
                self.bind(id, conn, None);
            }
        }
        Some(id)
    }

    /// The SDP exchange of a session is complete.
    pub fn start(&mut self, now: Tick, mint: &mut Mint, id: SessionId, terms: Terms) {
        let Some(entry) = self.sessions.get_mut(&id) else { return };
        let (peer, role) = (terms.path.last().clone(), terms.role);
        let way = Way {
            hop: terms.anchor.clone().unwrap_or_else(|| terms.path.first().hop()),
            behalf: terms.behalf,
            fingerprint: terms.fingerprint.clone(),
        };
        entry.session.start(now, terms);
        entry.parked_bytes = 0;
        // What waited does not count twice when it is taken.
        self.held -= std::mem::take(&mut entry.held);
        for (link, request) in std::mem::take(&mut entry.parked) {
            // With forked answers others may have come too.
            if *request.from.last() == peer {
                self.request(now, mint, link, request);
            } else {
                self.refuse(link, &request, 481);
            }
        }
        if role == Role::Active {
            match self.sessions.get_mut(&id) {
                Some(entry) if entry.conn.is_none() => self.connect(mint, id, way),
                // Through our own relay.
                Some(entry) => entry.session.connected(mint),
                None => {}
            }
        }
        self.settle(now, mint, id);
    }

    /// Sends a message, as soon as the session is open.
    pub fn send(
        &mut self,
        now: Tick,
        mint: &mut Mint,
        id: SessionId,
        message: OutMessage,
    ) -> Result<(), (Unsendable, OutMessage)> {
        let Some(entry) = self.sessions.get_mut(&id) else { return Err((Unsendable::Ending, message)) };
        entry.session.send(message)?;
        self.settle(now, mint, id);
        Ok(())
    }

    /// Takes a message back of which nothing was sent.
    pub fn withdraw(
        &mut self,
        now: Tick,
        mint: &mut Mint,
        id: SessionId,
        message_id: &str,
    ) -> Option<OutMessage> {
        let message = self.sessions.get_mut(&id)?.session.withdraw(message_id);
        self.settle(now, mint, id);
        message
    }

    /// Answers a message that came: 200 once it is safe, or why it is not taken.
    pub fn answer(&mut self, now: Tick, mint: &mut Mint, id: SessionId, ticket: Ticket, code: u16) {
        if let Some(entry) = self.sessions.get_mut(&id) {
            entry.session.answer(ticket, code);
            self.settle(now, mint, id);
        }
    }

    /// From now on NICKNAME requests of this session's peer are told, as [`Event::Nickname`].
    pub fn take_nicknames(&mut self, id: SessionId) {
        if let Some(entry) = self.sessions.get_mut(&id) {
            entry.session.take_nicknames();
        }
    }

    /// Asks for a name in the room behind a session; [`Event::Named`] follows, unless the session ends.
    pub fn ask_nickname(
        &mut self,
        now: Tick,
        mint: &mut Mint,
        id: SessionId,
        nickname: &str,
    ) -> Result<(), Unsendable> {
        let entry = self.sessions.get_mut(&id).ok_or(Unsendable::Ending)?;
        entry.session.ask_nickname(nickname)?;
        self.settle(now, mint, id);
        Ok(())
    }

    /// Reports what became of a message that came, if its sender wants to know.
    pub fn report(&mut self, now: Tick, mint: &mut Mint, id: SessionId, receipt: &Receipt, code: u16) {
        if let Some(entry) = self.sessions.get_mut(&id) {
            entry.session.report(mint, receipt, code);
            self.settle(now, mint, id);
        }
    }

    /// Ends a session when all that is outstanding is answered and reported, or has had its time.
    pub fn finish(&mut self, now: Tick, mint: &mut Mint, id: SessionId) {
        if let Some(entry) = self.sessions.get_mut(&id) {
            entry.session.finish(now);
            self.settle(now, mint, id);
        }
    }

    /// Ends a session at once.
    pub fn close(&mut self, now: Tick, mint: &mut Mint, id: SessionId) {
        self.end(now, mint, id, Ending::Closed);
    }

    /// What other owners of this machine hold of incomplete messages.
    pub fn set_elsewhere(&mut self, bytes: usize) {
        self.elsewhere = bytes;
    }

    /// What is held here of incomplete messages.
    pub fn held(&self) -> usize {
        self.held
    }

    /// The shell tells something.
    pub fn handle(&mut self, now: Tick, mint: &mut Mint, input: MsrpIn) {
        match input {
            MsrpIn::Frame { link, frame } => match *frame {
                Frame::Request(request) => self.request(now, mint, link, request),
                Frame::Response(response) => self.response(now, mint, link, &response),
            },
            MsrpIn::Connected { attempt, link } => self.connected(now, mint, attempt, link),
            MsrpIn::NotConnected { attempt, why } => {
                let Some(attempt) = self.attempts.remove(&attempt) else { return };
                self.opened.remove(&attempt.way);
                for id in self.still_waiting(attempt.waiting) {
                    self.end(now, mint, id, Ending::NotConnected(why.clone()));
                }
            }
            MsrpIn::Drained { conn, bytes } => self.drained(now, mint, conn, bytes),
            MsrpIn::Lost { conn, why } => self.lost(now, mint, conn, &why),
        }
    }

    /// When [`Connections::timeout`] is wanted, and a stable name for why.
    pub fn next_timeout(&self) -> Option<(Tick, &'static str)> {
        self.timers.next().map(|(at, alarm)| match alarm {
            Alarm::Session(id) => (at, self.sessions.get(id).map_or("msrp", |entry| entry.why)),
            Alarm::Linger(_) => (at, "msrp-linger"),
        })
    }

    /// Rings everything that is due.
    pub fn timeout(&mut self, now: Tick, mint: &mut Mint) {
        while let Some(alarm) = self.timers.pop(now) {
            match alarm {
                Alarm::Session(id) => {
                    if let Some(entry) = self.sessions.get_mut(&id) {
                        entry.session.timeout(now, mint);
                        self.settle(now, mint, id);
                    }
                }
                Alarm::Linger(conn) => self.release(conn),
            }
        }
    }

    /// The one drain.
    pub fn poll(&mut self) -> Option<Out> {
        self.out.pop_front()
    }

    /// Sessions, connections, attempts and alarms; zero when all is over.
    pub fn load(&self) -> usize {
        self.sessions.len() + self.by_token.len() + self.conns.len() + self.attempts.len() + self.timers.len()
    }

    /// A session, to look at.
    pub fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(&id).map(|entry| &entry.session)
    }

    fn request(&mut self, now: Tick, mint: &mut Mint, link: Link, request: Request) {
        let Some(id) = self.named(request.to.last()) else { return self.refuse(link, &request, 481) };
        let Some(entry) = self.sessions.get_mut(&id) else { return };
        // What was promised TLS does not go without.
        if entry.session.own().is_secure() && !link.secure {
            return self.refuse(link, &request, 481);
        }
        if entry.session.terms().is_none() {
            let bytes = PARKED_HEAD + request.body.as_ref().map_or(0, |body| body.len());
            let room = self.machine.saturating_sub(self.held + self.elsewhere);
            if entry.parked_bytes + bytes > self.limits.session || bytes > room {
                // The session is there: only this message has no place.
                return self.refuse(link, &request, 413);
            }
            entry.parked_bytes += bytes;
            entry.parked.push((link, request));
            return self.settle(now, mint, id);
        }
        match entry.conn {
            Some(conn) if conn != link.conn => return self.refuse(link, &request, 506),
            Some(_) => {}
            None => self.bind(id, link.conn, None),
        }
        let room = self.machine.saturating_sub(self.held + self.elsewhere);
        if let Some(entry) = self.sessions.get_mut(&id) {
            entry.session.request(now, self.limits, room, request);
        }
        self.settle(now, mint, id);
    }

    fn response(&mut self, now: Tick, mint: &mut Mint, link: Link, response: &Response) {
        let Some(id) = self.named(response.to.last()) else { return };
        let Some(entry) = self.sessions.get_mut(&id) else { return };
        // Responses come over the connection of their request (§7.2).
        if entry.conn == Some(link.conn) {
            entry.session.response(mint, response);
            self.settle(now, mint, id);
        }
    }

    fn named(&self, uri: &Uri) -> Option<SessionId> {
        self.by_token.get(uri.session()?).copied()
    }

    fn drained(&mut self, now: Tick, mint: &mut Mint, conn: ConnId, bytes: usize) {
        let Some(known) = self.conns.get_mut(&conn) else { return };
        known.drained = known.drained.saturating_add(bytes as u64).min(known.handed);
        let mut touched = BTreeSet::new();
        while known.marks.front().is_some_and(|(end, ..)| *end <= known.drained) {
            let Some((_, id, tid)) = known.marks.pop_front() else { break };
            if let Some(entry) = self.sessions.get_mut(&id) {
                entry.session.left(now, &tid);
                touched.insert(id);
            }
        }
        touched.extend(self.pump(mint, conn));
        for id in touched {
            self.settle(now, mint, id);
        }
    }

    fn end(&mut self, now: Tick, mint: &mut Mint, id: SessionId, why: Ending) {
        if let Some(entry) = self.sessions.get_mut(&id) {
            entry.session.end(why);
            self.settle(now, mint, id);
        }
    }

    /// After anything has happened to a session: tells its events, lets it send, sets its timer, and buries it.
    fn settle(&mut self, now: Tick, mint: &mut Mint, id: SessionId) {
        let mut work = BTreeSet::from([id]);
        while let Some(id) = work.pop_first() {
            let Some(entry) = self.sessions.get_mut(&id) else { continue };
            while let Some(event) = entry.session.poll() {
                self.out.push_back(Out::Told { session: id, event });
            }
            if let Some(conn) = entry.conn
                && entry.session.has_output()
                && !entry.is_ready
            {
                entry.is_ready = true;
                if let Some(known) = self.conns.get_mut(&conn) {
                    known.ready.push_back(id);
                }
                // Whoever wrote may have come to its end with that, this session among them.
                work.extend(self.pump(mint, conn));
            }
            let Some(entry) = self.sessions.get_mut(&id) else { continue };
            let held = entry.session.held() + entry.parked_bytes;
            self.held = self.held - entry.held + held;
            entry.held = held;
            if entry.session.is_over() {
                self.held -= std::mem::take(&mut entry.held);
                self.bury(now, id);
                continue;
            }
            match entry.session.next_timeout() {
                Some((at, why)) => {
                    entry.why = why;
                    self.timers.set(Alarm::Session(id), at.max(now));
                }
                None => {
                    self.timers.stop(&Alarm::Session(id));
                }
            }
        }
    }

    /// Hands frames to the shell, one of each session in turn, while there is room. Gives the sessions that wrote.
    fn pump(&mut self, mint: &mut Mint, conn: ConnId) -> BTreeSet<SessionId> {
        let mut wrote = BTreeSet::new();
        let Some(known) = self.conns.get_mut(&conn) else { return wrote };
        let mut bytes = BytesMut::new();
        while known.handed + bytes.len() as u64 - known.drained < WINDOW {
            let Some(id) = known.ready.pop_front() else { break };
            let Some(entry) = self.sessions.get_mut(&id) else { continue };
            entry.is_ready = false;
            let Some(transaction) = entry.session.write(mint, &mut bytes) else { continue };
            wrote.insert(id);
            if let Some(tid) = transaction {
                known.marks.push_back((known.handed + bytes.len() as u64, id, tid));
            }
            if entry.session.has_output() {
                entry.is_ready = true;
                known.ready.push_back(id);
            }
        }
        if !bytes.is_empty() {
            known.handed += bytes.len() as u64;
            self.out.push_back(Out::Msrp(MsrpOut::Send { conn, bytes: bytes.freeze() }));
        }
        wrote
    }

    fn bury(&mut self, now: Tick, id: SessionId) {
        let Some(entry) = self.sessions.remove(&id) else { return };
        // Another session may have its URI by now.
        let token = entry.session.own().session().unwrap_or_default();
        if self.by_token.get(token) == Some(&id) {
            self.by_token.remove(token);
        }
        self.timers.stop(&Alarm::Session(id));
        if let Some(attempt) = entry.attempt.and_then(|attempt| self.attempts.get_mut(&attempt)) {
            attempt.waiting.remove(&id);
        }
        for (link, request) in entry.parked {
            self.refuse(link, &request, 481);
        }
        let Some(conn) = entry.conn else { return };
        let Some(known) = self.conns.get_mut(&conn) else { return };
        known.sessions.remove(&id);
        if !known.sessions.is_empty() {
            return;
        }
        if known.is_relay && known.way.is_some() {
            // Another session through the same relay may come soon.
            return self.timers.set(Alarm::Linger(conn), now + LINGER);
        }
        self.release(conn);
    }

    /// Answers a request that belongs to no session here.
    fn refuse(&mut self, link: Link, request: &Request, code: u16) {
        let reason = match code {
            506 => "session-in-use",
            413 => "no-room",
            _ => "no-session",
        };
        self.out.push_back(Out::Note(Note::Count {
            name: "msrp_refused_total",
            labels: vec![("reason", reason)],
            by: 1,
        }));
        if let Some(response) = request.response(code) {
            let bytes = response.bytes();
            if let Some(known) = self.conns.get_mut(&link.conn) {
                known.handed += bytes.len() as u64;
            }
            self.out.push_back(Out::Msrp(MsrpOut::Send { conn: link.conn, bytes }));
        }
    }
}
