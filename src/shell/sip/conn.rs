//! One TCP connection: what is queued on it, and the two loops that read and write it.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;

use super::Limits;
use crate::sip::flow::{BadSip, ConnId, SendId};
use crate::sip::framing::Stream;
use crate::sip::message::Message;

/// The most bytes that may wait on a connection. A neighbour that takes nothing for so long is told so.
const QUEUE: usize = 4 * 1024 * 1024;

/// No request waits for a sign of life.
const NEVER: u64 = u64::MAX;

/// One connection, open or being opened.
pub struct Conn {
    /// Its number.
    pub id: ConnId,
    /// The other end.
    pub remote: SocketAddr,
    /// The other end opened it.
    pub inbound: bool,
    queue: Mutex<Queue>,
    wake: Notify,
    limits: Limits,
    began: Instant,
    /// When something last crossed, in milliseconds since `began`.
    crossed: AtomicU64,
    /// When the first request went since something was read, likewise; [`NEVER`] if none.
    asked: AtomicU64,
    /// Nothing more is read from it: answers may still go out on it, but no request that wants one.
    pub is_ending: AtomicBool,
}

#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    /// How many bytes were taken together last: room for as many is made at once.
    usual: usize,
    /// Who waits for `bytes` and for what is being written: shard and attempt.
    waiting: Vec<(usize, SendId)>,
    writing: Vec<(usize, SendId)>,
    is_writing: bool,
    state: State,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// Closes when the queue is empty.
    Closing,
    Closed,
}

/// What the unfinished message of one connection takes of the room that all share.
pub struct Room {
    all: Arc<AtomicUsize>,
    limit: usize,
    mine: usize,
}

impl Room {
    /// Nothing yet, of so much.
    pub fn new(all: &Arc<AtomicUsize>, limit: usize) -> Room {
        Room { all: all.clone(), limit, mine: 0 }
    }

    /// So much is held now. False where all together hold too much, and this one more than before.
    fn take(&mut self, mine: usize) -> bool {
        let all = match mine.checked_sub(self.mine) {
            Some(more) => self.all.fetch_add(more, Ordering::Relaxed) + more,
            None => {
                self.all.fetch_sub(self.mine - mine, Ordering::Relaxed);
                0
            }
        };
        let has_grown = mine > self.mine;
        self.mine = mine;
        !has_grown || all <= self.limit
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.all.fetch_sub(self.mine, Ordering::Relaxed);
    }
}

/// Why the reading loop ended.
pub enum ReadEnd {
    /// The other end has said everything; it may still listen.
    Eof,
    /// It broke, or took too long.
    Broken(String),
    /// Framing was lost; the core has been told and will close it.
    Unframed,
}

impl Conn {
    pub fn new(id: ConnId, remote: SocketAddr, inbound: bool, limits: Limits) -> Conn {
        Conn {
            id,
            remote,
            inbound,
            limits,
            queue: Mutex::default(),
            wake: Notify::new(),
            began: Instant::now(),
            crossed: AtomicU64::new(0),
            asked: AtomicU64::new(NEVER),
            is_ending: AtomicBool::new(false),
        }
    }

    /// Queues bytes for a shard. Nothing if the connection is closed; an error if it is full.
    pub fn push(&self, bytes: &Bytes, waiting: Option<(usize, SendId)>) -> Option<Result<(), String>> {
        let mut queue = self.lock();
        if queue.state != State::Open {
            return None;
        }
        if queue.bytes.len() + bytes.len() > QUEUE {
            return Some(Err(format!("tcp://{}: it takes nothing, its queue is full", self.remote)));
        }
        if queue.bytes.is_empty() {
            let usual = queue.usual;
            queue.bytes.reserve(usual);
        }
        queue.bytes.extend_from_slice(bytes);
        queue.waiting.extend(waiting);
        drop(queue);
        self.wake.notify_one();
        Some(Ok(()))
    }

    /// Closes it after what is queued has gone.
    pub fn close(&self) {
        let mut queue = self.lock();
        if queue.state == State::Open {
            queue.state = State::Closing;
        }
        drop(queue);
        self.wake.notify_one();
    }

    /// Nothing is queued any more; gives those back whose bytes have not all gone.
    pub fn end(&self) -> Vec<(usize, SendId)> {
        let mut queue = self.lock();
        queue.state = State::Closed;
        queue.bytes = Vec::new();
        let mut lost = std::mem::take(&mut queue.writing);
        lost.append(&mut queue.waiting);
        lost
    }

    /// True while something waits to be written.
    pub fn is_busy(&self) -> bool {
        let queue = self.lock();
        queue.is_writing || !queue.bytes.is_empty()
    }

    /// How long ago something last crossed.
    pub fn idle_for(&self) -> Duration {
        let crossed = Duration::from_millis(self.crossed.load(Ordering::Relaxed));
        self.began.elapsed().saturating_sub(crossed)
    }

    /// A request that wants an answer is queued.
    pub fn ask(&self) {
        let _ = self.asked.compare_exchange(NEVER, self.age(), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// True for a connection of ours on which nothing came back for long: a new one may fare better. One that the other
    /// end opened is its only way to be reached, and stays.
    pub fn is_dumb(&self) -> bool {
        let asked = self.asked.load(Ordering::Relaxed);
        !self.inbound && asked != NEVER && self.age() >= asked + self.limits.dumb.as_millis() as u64
    }

    fn touch(&self) {
        self.crossed.store(self.age(), Ordering::Relaxed);
    }

    fn age(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what is queued, until the connection is to be closed or breaks.
    pub async fn write(&self, mut to: OwnedWriteHalf) -> Result<(), String> {
        while let Some(bytes) = self.take_bytes() {
            if bytes.is_empty() {
                self.wake.notified().await;
                continue;
            }
            match tokio::time::timeout(self.limits.stuck, to.write_all(&bytes)).await {
                Ok(Ok(())) => self.touch(),
                Ok(Err(error)) => return Err(format!("tcp://{}: {error}", self.remote)),
                Err(_) => return Err(format!("tcp://{}: it takes nothing", self.remote)),
            }
            let mut queue = self.lock();
            queue.writing.clear();
            queue.is_writing = false;
        }
        // It may be closed already from the other end.
        let _ = to.shutdown().await;
        Ok(())
    }

    /// What is to be written now; nothing when it is all done and the connection closes.
    fn take_bytes(&self) -> Option<Vec<u8>> {
        let mut queue = self.lock();
        if queue.bytes.is_empty() {
            return if queue.state == State::Open { Some(Vec::new()) } else { None };
        }
        queue.is_writing = true;
        queue.writing = std::mem::take(&mut queue.waiting);
        queue.usual = queue.bytes.len().min(64 * 1024);
        Some(std::mem::take(&mut queue.bytes))
    }

    /// Reads messages, and what should have been some, and hands those that came together to `arrived`, until the end.
    pub async fn read<F: Future<Output = ()>>(
        &self,
        from: OwnedReadHalf,
        mut room: Room,
        is_stranger: impl Fn() -> bool,
        mut arrived: impl FnMut(Vec<Result<Message, BadSip>>) -> F,
    ) -> ReadEnd {
        let mut stream = Stream::new();
        // Since when a message is incomplete, or a new connection silent.
        let mut begun = Some(Instant::now()).filter(|_| self.inbound);
        loop {
            let wait = match begun {
                Some(begun) => self.limits.partial.saturating_sub(begun.elapsed()),
                None => self.limits.idle.saturating_sub(self.idle_for()),
            };
            match tokio::time::timeout(wait, from.readable()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return ReadEnd::Broken(error.to_string()),
                Err(_) if begun.is_some() => return ReadEnd::Broken("a message took too long".into()),
                Err(_) if self.idle_for() < self.limits.idle => continue,
                Err(_) => return ReadEnd::Broken("nothing crossed for long".into()),
            }
            let messages = match take(&from, &mut stream, &is_stranger) {
                Ok(Some(messages)) => messages,
                Ok(None) => return ReadEnd::Eof,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return ReadEnd::Broken(error.to_string()),
            };
            if !room.take(stream.pending()) {
                return ReadEnd::Broken("all unfinished messages take too much room".into());
            }
            self.touch();
            self.asked.store(NEVER, Ordering::Relaxed);
            for _ in 0..stream.take_pings() {
                // RFC 5626 §4.4.1: a double CRLF is answered by a single one.
                self.push(&Bytes::from_static(b"\r\n"), None);
            }
            if !messages.is_empty() {
                begun = None;
            }
            if stream.pending() > 0 && begun.is_none() {
                begun = Some(Instant::now());
            }
            if messages.is_empty() {
                continue;
            }
            let lost = matches!(messages.last(), Some(Err(bad)) if bad.fatal);
            arrived(messages).await;
            if lost {
                return ReadEnd::Unframed;
            }
        }
    }
}

/// Reads what is there, through a buffer that exists only for the call. Nothing at the end of the stream.
fn take(
    from: &OwnedReadHalf,
    stream: &mut Stream,
    is_stranger: impl Fn() -> bool,
) -> std::io::Result<Option<Vec<Result<Message, BadSip>>>> {
    let mut buffer = Vec::with_capacity(16 * 1024);
    if from.try_read_buf(&mut buffer)? == 0 {
        return Ok(None);
    }
    Ok(Some(if is_stranger() { stream.push_of_stranger(&buffer) } else { stream.push(&buffer) }))
}
