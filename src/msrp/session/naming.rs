//! Names in a room, on both sides of a session (RFC 7701 §7): requests of the peer go to the owner, and one of ours is
//! out at a time.

use bytes::BytesMut;

use super::outbox::ANSWER_WITHIN;
use super::{Event, Session, State, Ticket, Unsendable};
use crate::msrp::frame::{Method, Request, comment, mint_tid};
use crate::msrp::nickname;
use crate::words::id::Mint;
use crate::words::time::Tick;

/// How many requests of the peer may be with the owner at once: a person chooses one name at a time.
const ASKED: u8 = 4;

/// What a session has to do with names.
#[derive(Debug, Default)]
pub(super) struct Naming {
    /// The owner knows what a nickname is.
    pub(super) is_allowed: bool,
    /// How many requests of the peer are with the owner.
    pub(super) asked: u8,
    ours: Option<Box<Wish>>,
}

/// A request of ours.
#[derive(Debug)]
struct Wish {
    nickname: String,
    tid: Option<String>,
    answer_by: Option<Tick>,
}

impl Naming {
    /// Whether this is the transaction of ours.
    pub(super) fn is_asked_as(&self, tid: &str) -> bool {
        self.ours.as_ref().is_some_and(|wish| wish.tid.as_deref() == Some(tid))
    }
}

impl Session {
    /// From now on a NICKNAME of the peer is told as [`Event::Nickname`]. Before, its answer is 501: this is no room.
    pub fn take_nicknames(&mut self) {
        self.naming.is_allowed = true;
    }

    /// Asks for a name, as soon as the session is open and before messages that wait; an empty one gives ours up.
    /// [`Event::Named`] follows, unless the session ends. While one is outstanding there is no room for another.
    pub fn ask_nickname(&mut self, nickname: &str) -> Result<(), Unsendable> {
        if self.state == State::Over || self.finish_by.is_some() {
            return Err(Unsendable::Ending);
        }
        if self.naming.ours.is_some() {
            return Err(Unsendable::Full);
        }
        if nickname::header(nickname).is_none() {
            return Err(Unsendable::Malformed);
        }
        let wish = Wish { nickname: nickname.to_owned(), tid: None, answer_by: None };
        self.naming.ours = Some(Box::new(wish));
        Ok(())
    }

    /// A NICKNAME came.
    pub(super) fn nickname_came(&mut self, mut request: Request) {
        if !self.naming.is_allowed {
            return self.respond(&request, 501);
        }
        // It is always answered: RFC 7701 §7.1 gives it neither of the report headers.
        request.failure_report = Default::default();
        match nickname::read(&request) {
            Err(code) => self.respond(&request, code),
            Ok(_) if self.naming.asked >= ASKED => self.respond(&request, 403),
            Ok(nickname) => {
                let ticket = Ticket(self.next_ticket);
                self.next_ticket += 1;
                self.naming.asked += 1;
                self.tickets.insert(ticket, (request, 0));
                self.events.push_back(Event::Nickname { ticket, nickname });
            }
        }
    }

    /// Writes ours, if it waits for that.
    pub(super) fn write_nickname(&mut self, mint: &mut Mint, out: &mut BytesMut) -> Option<String> {
        if !self.has_nickname() {
            return None;
        }
        let to = self.terms.as_ref()?.path.clone();
        let wish = self.naming.ours.as_mut()?;
        let tid = mint_tid(mint, self.partition, b"");
        let mut request = Request::new(tid.clone(), Method::Nickname, to, self.own.clone());
        request.headers.extend(nickname::header(&wish.nickname));
        request.write(out);
        wish.tid = Some(tid.clone());
        Some(tid)
    }

    /// Ours waits to be written.
    pub(super) fn has_nickname(&self) -> bool {
        self.state == State::Open && self.naming.ours.as_ref().is_some_and(|wish| wish.tid.is_none())
    }

    /// Whether this is the transaction of ours, whose last byte has left.
    pub(super) fn nickname_left(&mut self, now: Tick, tid: &str) -> bool {
        match &mut self.naming.ours {
            Some(wish) if wish.tid.as_deref() == Some(tid) => {
                wish.answer_by = Some(now + ANSWER_WITHIN);
                true
            }
            _ => false,
        }
    }

    /// Ours is answered.
    pub(super) fn nickname_answered(&mut self, code: u16, comment: &str) {
        if !self.end_if_refused(code) {
            self.named(code, comment);
        }
    }

    /// When ours has waited long enough for its answer.
    pub(super) fn nickname_due(&self) -> Option<Tick> {
        self.naming.ours.as_ref()?.answer_by
    }

    /// Gives ours up, if its time is over.
    pub(super) fn nickname_timeout(&mut self, now: Tick) {
        if self.nickname_due().is_some_and(|at| at <= now) {
            self.named(408, comment(408));
        }
    }

    fn named(&mut self, code: u16, comment: &str) {
        if let Some(wish) = self.naming.ours.take() {
            self.events.push_back(Event::Named {
                nickname: wish.nickname,
                code,
                comment: comment.to_owned(),
            });
        }
    }
}
