//! The sending half of a session (RFC 4975 §7.1.1, §7.3.2): messages in order, cut in chunks, and what is known of each.
//!
//! A chunk is written only when the connection has room for it, so that others come between. Each is a transaction of
//! its own; where its Failure-Report is `yes`, an answer is awaited for 30 seconds from the time its last byte has left.
//! REPORTs find their message by Message-ID alone; their ranges are added up, and a message of one chunk is delivered
//! whatever the range says.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::BytesMut;

use super::super::frame::{ByteRange, FailureReport, Flag, Method, Request, Status, mint_tid};
use super::super::message::OutMessage;
use super::super::path::Path;
use super::super::pieces::Pieces;
use super::{By, Event, Known, Unconfirmed, Unsendable};
use crate::words::id::{Mint, Partition};
use crate::words::time::Tick;

/// The longest body of a chunk. Up to here a chunk need not be interruptible (§7.1.1): others go between chunks.
pub(super) const CHUNK: usize = 2048;

/// How long an answer is awaited (§7.1.1).
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// How many messages may wait to be sent.
const QUEUE: usize = 1000;

/// How many bytes may wait to be sent.
const QUEUE_BYTES: usize = 8 * 1024 * 1024;

/// How many messages are remembered whose REPORT is awaited.
const UNREPORTED: usize = 1000;

/// All messages of a session that are not settled.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// By order of sending.
    messages: BTreeMap<u64, Outgoing>,
    by_id: BTreeMap<String, u64>,
    /// Those that are not wholly written; the first may be in part.
    unsent: VecDeque<u64>,
    unsent_bytes: usize,
    /// Those that only wait for a REPORT, the oldest first.
    unreported: VecDeque<u64>,
    /// The message of each chunk that is not answered.
    chunks: BTreeMap<String, u64>,
    /// Chunks whose last byte has left, in that order.
    deadlines: VecDeque<(Tick, String)>,
    next: u64,
}

#[derive(Debug)]
struct Outgoing {
    message: OutMessage,
    length: usize,
    /// How far it is written.
    offset: usize,
    /// Chunks that were written.
    written: u32,
    /// Chunks whose last byte has left.
    left: u32,
    /// Chunks that were answered 200.
    confirmed: u32,
    /// Chunks that may still be answered.
    open: u32,
    /// All that the protocol can confirm about its chunks is confirmed.
    taken: bool,
    reported: Pieces,
}

impl Outbox {
    /// Takes a message in, behind all others.
    pub(super) fn push(&mut self, message: OutMessage) -> Result<(), (Unsendable, OutMessage)> {
        if self.by_id.contains_key(&message.message_id) {
            return Err((Unsendable::Twice, message));
        }
        let length = message.body.len();
        if self.unsent.len() >= QUEUE || self.unsent_bytes + length > QUEUE_BYTES {
            return Err((Unsendable::Full, message));
        }
        let number = self.next;
        self.next += 1;
        self.by_id.insert(message.message_id.clone(), number);
        self.unsent.push_back(number);
        self.unsent_bytes += length;
        self.messages.insert(
            number,
            Outgoing {
                message,
                length,
                offset: 0,
                written: 0,
                left: 0,
                confirmed: 0,
                open: 0,
                taken: false,
                reported: Pieces::default(),
            },
        );
        Ok(())
    }

    /// Takes a message back of which nothing is written.
    pub(super) fn withdraw(&mut self, message_id: &str) -> Option<OutMessage> {
        let number = *self.by_id.get(message_id)?;
        if self.messages.get(&number)?.written > 0 {
            return None;
        }
        self.remove(number).map(|outgoing| outgoing.message)
    }

    /// True when there is a chunk to write.
    pub(super) fn has_chunk(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Writes the next chunk, and says by which transaction.
    pub(super) fn write(
        &mut self,
        mint: &mut Mint,
        partition: Partition,
        to: &Path,
        from: &Path,
        out: &mut BytesMut,
    ) -> Option<String> {
        let number = *self.unsent.front()?;
        let outgoing = self.messages.get_mut(&number)?;
        let begin = outgoing.offset;
        let end = (begin + CHUNK).min(outgoing.length);
        let is_last = end == outgoing.length;
        let body = outgoing.message.body.slice(begin..end);
        let tid = mint_tid(mint, partition, &body);
        outgoing.offset = end;
        outgoing.written += 1;
        outgoing.open += 1;
        let message = &outgoing.message;
        let request = Request {
            message_id: Some(message.message_id.clone()),
            range: Some(ByteRange {
                start: begin as u64 + 1,
                end: is_last.then_some(end as u64),
                total: Some(outgoing.length as u64),
            }),
            success_report: message.success_report,
            failure_report: message.failure_report,
            content_type: Some(message.content_type.clone()),
            headers: message.headers.clone(),
            body: Some(body),
            flag: if is_last { Flag::Complete } else { Flag::More },
            ..Request::new(tid.clone(), Method::Send, to.clone(), from.clone())
        };
        request.write(out);
        self.unsent_bytes -= end - begin;
        if is_last {
            self.unsent.pop_front();
        }
        self.chunks.insert(tid.clone(), number);
        Some(tid)
    }

    /// The last byte of a chunk has left.
    pub(super) fn left(&mut self, now: Tick, tid: &str, events: &mut VecDeque<Event>) {
        // It may have been answered already.
        let Some(number) = self.chunks.get(tid).copied() else { return };
        let Some(outgoing) = self.messages.get_mut(&number) else {
            self.chunks.remove(tid);
            return;
        };
        outgoing.left += 1;
        if outgoing.message.failure_report == FailureReport::No {
            self.chunks.remove(tid);
            outgoing.open -= 1;
        } else {
            self.deadlines.push_back((now + ANSWER_WITHIN, tid.to_owned()));
        }
        self.settle(number, events);
    }

    /// A chunk was answered.
    pub(super) fn answered(&mut self, tid: &str, code: u16, comment: &str, events: &mut VecDeque<Event>) {
        let Some(number) = self.chunks.remove(tid) else { return };
        if (200..300).contains(&code) {
            if let Some(outgoing) = self.messages.get_mut(&number) {
                outgoing.confirmed += 1;
                outgoing.open -= 1;
            }
            self.settle(number, events);
        } else {
            self.fail(number, code, comment, By::Response, events);
        }
    }

    /// A REPORT came. One about a message that nobody remembers is nothing (§7.1.1).
    pub(super) fn reported(
        &mut self,
        message_id: &str,
        range: Option<ByteRange>,
        status: &Status,
        events: &mut VecDeque<Event>,
    ) {
        let Some(number) = self.by_id.get(message_id).copied() else { return };
        if !(200..300).contains(&status.code) {
            return self.fail(number, status.code, &status.comment, By::Report, events);
        }
        let Some(outgoing) = self.messages.get_mut(&number) else { return };
        let length = outgoing.length as u64;
        let (from, to) = match range {
            Some(range) if outgoing.written > 1 => {
                let end = range.end.unwrap_or(length);
                let is_rest = range.total.is_some_and(|total| end >= total);
                (range.start.saturating_sub(1), if is_rest { length } else { end.min(length) })
            }
            _ => (0, length),
        };
        outgoing.reported.add(from, to);
        let is_written = outgoing.written > 0 && outgoing.offset == outgoing.length;
        if is_written && outgoing.reported.covers(length) && outgoing.message.success_report {
            self.remove(number);
            events.push_back(Event::Delivered { message_id: message_id.to_owned() });
        }
    }

    /// When [`Outbox::timeout`] is wanted.
    pub(super) fn next_timeout(&mut self) -> Option<Tick> {
        while let Some((at, tid)) = self.deadlines.front() {
            if self.chunks.contains_key(tid) {
                return Some(*at);
            }
            self.deadlines.pop_front();
        }
        None
    }

    /// Lets those fail whose answer has not come in time.
    pub(super) fn timeout(&mut self, now: Tick, events: &mut VecDeque<Event>) {
        while let Some((at, _)) = self.deadlines.front() {
            if *at > now {
                return;
            }
            let Some((_, tid)) = self.deadlines.pop_front() else { return };
            let Some(number) = self.chunks.remove(&tid) else { continue };
            let Some(outgoing) = self.messages.get_mut(&number) else { continue };
            outgoing.open -= 1;
            if outgoing.message.failure_report == FailureReport::Yes {
                self.fail(number, 408, "no answer came", By::Silence, events);
            } else if outgoing.is_over() {
                self.remove(number);
            }
        }
    }

    /// True when a chunk with this transaction id may still be answered.
    pub(super) fn expects(&self, tid: &str) -> bool {
        self.chunks.contains_key(tid)
    }

    /// True when this message is not settled.
    pub(super) fn knows(&self, message_id: &str) -> bool {
        self.by_id.contains_key(message_id)
    }

    /// How many messages are not settled.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// True when nothing is not settled, and no answer is awaited.
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.chunks.is_empty()
    }

    /// Gives back what is not settled, in the order of sending.
    pub(super) fn into_unconfirmed(self) -> Vec<Unconfirmed> {
        self.messages
            .into_values()
            .filter(|outgoing| !outgoing.taken || outgoing.message.success_report)
            .map(|outgoing| {
                let known = if outgoing.taken {
                    Known::Taken
                } else if outgoing.written == 0 {
                    Known::Unsent
                } else if outgoing.offset < outgoing.length {
                    Known::SentInPart
                } else {
                    Known::Sent
                };
                Unconfirmed { known, message: outgoing.message }
            })
            .collect()
    }

    /// Looks whether all that can be confirmed of a message now is.
    fn settle(&mut self, number: u64, events: &mut VecDeque<Event>) {
        let Some(outgoing) = self.messages.get_mut(&number) else { return };
        let done = match outgoing.message.failure_report {
            FailureReport::Yes => outgoing.confirmed,
            FailureReport::No | FailureReport::Partial => outgoing.left,
        };
        if outgoing.taken || outgoing.offset < outgoing.length || done < outgoing.written {
            return;
        }
        outgoing.taken = true;
        // It need not be sent again: let go of the content.
        outgoing.message.body.clear();
        events.push_back(Event::Sent { message_id: outgoing.message.message_id.clone() });
        if outgoing.message.success_report {
            self.unreported.push_back(number);
            if self.unreported.len() > UNREPORTED
                && let Some(oldest) = self.unreported.pop_front()
            {
                self.remove(oldest);
            }
        } else if outgoing.is_over() {
            self.remove(number);
        }
    }

    fn fail(&mut self, number: u64, code: u16, comment: &str, by: By, events: &mut VecDeque<Event>) {
        if let Some(outgoing) = self.remove(number) {
            let message_id = outgoing.message.message_id;
            events.push_back(Event::Failed { message_id, code, comment: comment.to_owned(), by });
        }
    }

    /// Forgets a message. Its chunks are forgotten when they are answered or their time is over.
    fn remove(&mut self, number: u64) -> Option<Outgoing> {
        let outgoing = self.messages.remove(&number)?;
        self.by_id.remove(&outgoing.message.message_id);
        if outgoing.offset < outgoing.length || outgoing.written == 0 {
            self.unsent.retain(|other| *other != number);
            self.unsent_bytes -= outgoing.length - outgoing.offset;
        }
        if outgoing.taken {
            self.unreported.retain(|other| *other != number);
        }
        Some(outgoing)
    }
}

impl Outgoing {
    /// Nothing more can be heard of it.
    fn is_over(&self) -> bool {
        self.taken && !self.message.success_report && self.open == 0
    }
}
