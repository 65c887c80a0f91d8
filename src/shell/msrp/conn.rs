//! One MSRP connection: what is queued on it, and the two loops that read and write it.

use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::ready;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Limits;
use crate::msrp::frame::Frame;
use crate::msrp::frame::decoder::{Decoder, Garbage};
use crate::msrp::{ConnId, Link};

/// The most bytes that may wait on a connection: the windows of many owners.
const QUEUE: usize = 2 * 1024 * 1024;

/// Small pieces are put together up to so many bytes for one write.
const TOGETHER: usize = 64 * 1024;

/// How much is read at a time, through a buffer that exists only for the call.
const READ: usize = 32 * 1024;

/// How many frames an accepted connection may bring before anybody here keeps it. Then it is not read further until
/// somebody does: who is quicker than SIP waits for the answer that makes his session. Who had so many refused is closed.
const UNKEPT_FRAMES: usize = 64;

/// One connection.
pub struct Conn {
    /// Its number, and whether it is safe.
    pub link: Link,
    /// The other end.
    pub remote: SocketAddr,
    /// Somebody here uses it, or did.
    is_kept: AtomicBool,
    /// What was written before: nothing but refusals.
    refused: AtomicUsize,
    /// One of the two has changed.
    judged: Notify,
    since: Instant,
    queue: Mutex<Queue>,
    wake: Notify,
    cut: Notify,
}

#[derive(Default)]
struct Queue {
    /// Bytes, and the shard that wants to hear when they have left.
    items: VecDeque<(Option<usize>, Bytes)>,
    bytes: usize,
    is_writing: bool,
    state: State,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// It closes when the queue is empty.
    Closing,
    /// It closes at once.
    Cut(End),
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nobody here uses it any more.
    Released,
    /// The other end closed it.
    Closed,
    /// The network broke it.
    Broken,
    /// What came was no MSRP.
    Garbage(Garbage),
    /// A frame took too long.
    Slow,
    /// The other end takes nothing.
    Stuck,
    /// Nobody here had use for it.
    Unused,
    /// It made room for newer ones that nobody had use for yet.
    Crowded,
    /// All unfinished frames together take too much memory.
    Full,
    /// TLS could not be agreed on.
    Handshake,
}

impl End {
    /// As the metrics have it.
    pub fn label(self) -> &'static str {
        match self {
            End::Released => "released",
            End::Closed => "closed",
            End::Broken => "broken",
            End::Garbage(_) => "garbage",
            End::Slow => "slow",
            End::Stuck => "stuck",
            End::Unused => "unused",
            End::Crowded => "crowded",
            End::Full => "memory",
            End::Handshake => "tls",
        }
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            End::Released => "closed by us: no session uses it any more",
            End::Closed => "closed by the other end",
            End::Broken => "the connection broke",
            End::Garbage(Garbage(why)) => why,
            End::Slow => "a frame took too long",
            End::Stuck => "the other end takes nothing",
            End::Unused => "closed by us: no session used it",
            End::Crowded => "closed by us: too many connections that no session uses",
            End::Full => "closed by us: unfinished frames take too much memory",
            End::Handshake => "TLS could not be agreed on",
        })
    }
}

/// What writing asks for next.
enum Next {
    Wait,
    Write(Bytes, Vec<(usize, usize)>),
    Done,
}

impl Conn {
    /// A connection with nothing queued.
    pub fn new(link: Link, remote: SocketAddr, is_kept: bool) -> Conn {
        Conn {
            link,
            remote,
            is_kept: AtomicBool::new(is_kept),
            refused: AtomicUsize::new(0),
            judged: Notify::new(),
            since: Instant::now(),
            queue: Mutex::default(),
            wake: Notify::new(),
            cut: Notify::new(),
        }
    }

    /// Its number.
    pub fn id(&self) -> ConnId {
        self.link.conn
    }

    /// Somebody here uses it.
    pub fn keep(&self) {
        self.is_kept.store(true, Ordering::Relaxed);
        self.judged.notify_one();
    }

    /// Queues bytes; `owner` hears when they have left. False if the connection is closed.
    pub fn push(&self, owner: Option<usize>, bytes: Bytes) -> bool {
        let mut queue = self.lock();
        if queue.state != State::Open {
            return false;
        }
        if queue.bytes + bytes.len() > QUEUE {
            drop(queue);
            self.cut(End::Stuck);
            return true;
        }
        queue.bytes += bytes.len();
        queue.items.push_back((owner, bytes));
        drop(queue);
        self.wake.notify_one();
        if !self.is_kept.load(Ordering::Relaxed) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            self.judged.notify_one();
        }
        true
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

    /// Closes it at once.
    pub fn cut(&self, why: End) {
        let mut queue = self.lock();
        queue.state = State::Cut(why);
        queue.items.clear();
        queue.bytes = 0;
        drop(queue);
        self.cut.notify_one();
    }

    /// True when it is open, and not about to close.
    pub fn is_open(&self) -> bool {
        self.lock().state == State::Open
    }

    /// True while something waits to be written.
    pub fn is_busy(&self) -> bool {
        let queue = self.lock();
        queue.is_writing || queue.bytes > 0
    }

    /// Waits until it is to close at once, and says why.
    pub async fn cut_off(&self) -> End {
        loop {
            if let State::Cut(why) = self.lock().state {
                return why;
            }
            self.cut.notified().await;
        }
    }

    /// Writes what is queued, until the connection is to be closed or breaks. `left` is told whose bytes have gone.
    pub async fn write<W: AsyncWrite + Unpin, F: Future<Output = ()>>(
        &self,
        to: &mut W,
        stuck: Duration,
        mut left: impl FnMut(usize, usize) -> F,
    ) -> Result<(), End> {
        loop {
            let (bytes, owners) = match self.next() {
                Next::Wait => {
                    self.wake.notified().await;
                    continue;
                }
                Next::Write(bytes, owners) => (bytes, owners),
                Next::Done => break,
            };
            let writing = async {
                to.write_all(&bytes).await?;
                to.flush().await
            };
            match tokio::time::timeout(stuck, writing).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(End::Broken),
                Err(_) => return Err(End::Stuck),
            }
            self.lock().is_writing = false;
            for (owner, bytes) in owners {
                left(owner, bytes).await;
            }
        }
        // It may be closed already from the other end.
        let _ = tokio::time::timeout(stuck, to.shutdown()).await;
        Ok(())
    }

    /// What is to be written now: one large piece as it is, small ones put together.
    fn next(&self) -> Next {
        let mut queue = self.lock();
        let Some((owner, first)) = queue.items.pop_front() else {
            // Most connections are silent for most of their time.
            queue.items = VecDeque::new();
            return if queue.state == State::Open { Next::Wait } else { Next::Done };
        };
        let mut owners: Vec<(usize, usize)> = owner.map(|owner| (owner, first.len())).into_iter().collect();
        let mut more = Vec::new();
        while let Some((_, next)) = queue.items.front()
            && first.len().max(more.len()) + next.len() <= TOGETHER
        {
            let Some((owner, next)) = queue.items.pop_front() else { break };
            if more.is_empty() {
                more.extend_from_slice(&first);
            }
            more.extend_from_slice(&next);
            match (owner, owners.iter_mut().find(|(known, _)| Some(*known) == owner)) {
                (Some(_), Some((_, bytes))) => *bytes += next.len(),
                (Some(owner), None) => owners.push((owner, next.len())),
                (None, _) => {}
            }
        }
        let bytes = if more.is_empty() { first } else { Bytes::from(more) };
        queue.bytes = queue.bytes.saturating_sub(bytes.len());
        queue.is_writing = true;
        Next::Write(bytes, owners)
    }

    /// Reads frames and hands each to `arrived`, until the end. `has_room` is told how much was read
    /// and how much an unfinished frame takes, and says whether there is room for it.
    pub async fn read<R: AsyncRead + Unpin, F: Future<Output = ()>>(
        &self,
        from: &mut R,
        limits: &Limits,
        mut arrived: impl FnMut(Frame) -> F,
        mut has_room: impl FnMut(usize, usize) -> bool,
    ) -> End {
        let mut decoder = Decoder::new(limits.body);
        // Since when a frame is unfinished.
        let mut begun: Option<Instant> = None;
        let mut frames = 0_usize;
        loop {
            let unused = self.since + limits.unused;
            let is_kept = self.is_kept.load(Ordering::Relaxed);
            let patience = begun.map(|begun| begun + limits.partial);
            let deadline = patience.into_iter().chain((!is_kept).then_some(unused)).min();
            let read = match deadline {
                Some(deadline) => {
                    match tokio::time::timeout_at(deadline, take(from, |bytes| decoder.push(bytes))).await {
                        Ok(length) => length,
                        Err(_) if patience.is_some_and(|patience| patience <= Instant::now()) => {
                            break End::Slow;
                        }
                        Err(_) if self.is_kept.load(Ordering::Relaxed) => continue,
                        Err(_) => break End::Unused,
                    }
                }
                None => take(from, |bytes| decoder.push(bytes)).await,
            };
            let length = match read {
                Ok(0) => break End::Closed,
                Ok(length) => length,
                Err(_) => break End::Broken,
            };
            let before = frames;
            let end = loop {
                match decoder.next_frame() {
                    Some(Ok(_)) if frames >= UNKEPT_FRAMES && !self.gets_kept(unused).await => {
                        break Some(End::Unused);
                    }
                    Some(Ok(frame)) => {
                        frames += 1;
                        arrived(frame).await;
                    }
                    Some(Err(garbage)) => break Some(End::Garbage(garbage)),
                    None => break None,
                }
            };
            if let Some(end) = end {
                break end;
            }
            if !has_room(length, decoder.pending()) {
                break End::Full;
            }
            begun = match begun {
                _ if decoder.pending() == 0 => None,
                Some(begun) if frames == before => Some(begun),
                _ => Some(Instant::now()),
            };
        }
    }

    /// Whether somebody keeps it, now or in time.
    async fn gets_kept(&self, until: Instant) -> bool {
        while !self.is_kept.load(Ordering::Relaxed) {
            let is_useless = self.refused.load(Ordering::Relaxed) >= UNKEPT_FRAMES;
            if is_useless || tokio::time::timeout_at(until, self.judged.notified()).await.is_err() {
                return false;
            }
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads what is there, through a buffer that exists only for the call. Zero at the end of the stream.
async fn take<R: AsyncRead + Unpin>(from: &mut R, mut taken: impl FnMut(&[u8])) -> std::io::Result<usize> {
    std::future::poll_fn(|cx| {
        let mut buffer = [const { MaybeUninit::uninit() }; READ];
        let mut buffer = ReadBuf::uninit(&mut buffer);
        ready!(Pin::new(&mut *from).poll_read(cx, &mut buffer))?;
        taken(buffer.filled());
        Ok(buffer.filled().len()).into()
    })
    .await
}

/// Reads and forgets until the other end has closed, so that the last bytes to it are not lost in a reset.
pub async fn linger<R: AsyncRead + Unpin>(from: &mut R, grace: Duration) {
    let rest = async { while matches!(take(from, |_| ()).await, Ok(length) if length > 0) {} };
    // Whoever does not close is left behind.
    let _ = tokio::time::timeout(grace, rest).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conn() -> Conn {
        let link = Link { conn: ConnId(1), secure: false };
        Conn::new(link, "127.0.0.1:1".parse().unwrap(), true)
    }

    #[test]
    fn small_pieces_leave_together_and_each_owner_hears_of_its_own() {
        let conn = conn();
        for (owner, text) in [(Some(1), "aa"), (Some(2), "bbb"), (None, "c"), (Some(1), "d")] {
            assert!(conn.push(owner, Bytes::from_static(text.as_bytes())));
        }
        let Next::Write(bytes, owners) = conn.next() else { panic!("nothing to write") };
        assert_eq!((&bytes[..], &owners[..]), (&b"aabbbcd"[..], &[(1, 3), (2, 3)][..]));
        assert!(matches!(conn.next(), Next::Wait));
        conn.close();
        assert!(matches!(conn.next(), Next::Done));
        assert!(!conn.push(None, Bytes::new()));
    }

    #[test]
    fn a_large_piece_is_not_copied() {
        let conn = conn();
        let large = Bytes::from(vec![0; TOGETHER + 1]);
        conn.push(Some(1), large.clone());
        conn.push(Some(1), large.clone());
        let Next::Write(bytes, _) = conn.next() else { panic!("nothing to write") };
        assert_eq!((bytes.as_ptr(), bytes.len()), (large.as_ptr(), large.len()));
    }

    #[test]
    fn who_takes_nothing_is_cut_off() {
        let conn = conn();
        let piece = Bytes::from(vec![0; QUEUE / 2]);
        assert!((0..3).all(|_| conn.push(Some(1), piece.clone())));
        assert!(!conn.is_open() && !conn.is_busy());
    }
}
