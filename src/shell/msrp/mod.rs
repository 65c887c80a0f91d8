//! MSRP over TCP and TLS (RFC 4975 §5.4 and §14): listeners, connections and their limits.
//!
//! Nothing here knows sessions. Whole frames go to the shard whose partition their To-Path names, and what names none
//! of ours is answered here. Shards say which connections they keep; see [`crate::msrp`] for what is promised to them.
//! What is behind a path that somebody else wrote is connected to by the rules of [`egress`](crate::config::egress) only.
//!
//! WebSocket (RFC 7977) has its place here and is not built yet.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

use super::dns::Dns;
use super::inbox::Inboxes;
use super::log::Log;
use super::meters::Meters;
use crate::config::Config;
use crate::gateway::io::Input;
use crate::msrp::frame::Frame;
use crate::msrp::{self, ConnId, MsrpIn, MsrpOut};
use crate::words::note::Level;

mod conn;
mod connect;
mod listener;
mod table;
mod tls;

use self::conn::{Conn, End};
use self::connect::Ways;
pub use self::listener::{Bound, bind};
use self::table::Table;
use self::tls::Tls;

/// How long the other ends have to close when we stop.
const LAST_MOMENT: Duration = Duration::from_millis(250);

/// What one connection and all of them may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The largest body of a SEND.
    pub body: usize,
    /// How long opening a connection may take, with DNS and TLS; and TLS alone on one that came.
    pub connect: Duration,
    /// How long a frame may take from its first byte to its last.
    pub partial: Duration,
    /// How long an accepted connection may be of no use to anybody.
    pub unused: Duration,
    /// How long the other end may take nothing while something waits for it.
    pub stuck: Duration,
    /// How long the last bytes may take to leave, and the other end to close.
    pub grace: Duration,
    /// How many connections there may be that nobody keeps yet. At the limit the oldest makes room.
    pub unkept: usize,
    /// How many of them may come from one IPv4 address or one IPv6 network.
    pub unkept_from_one: usize,
    /// How many connections there may be.
    pub in_all: usize,
    /// How many may be on their way.
    pub connecting: usize,
    /// How much all unfinished frames may take together.
    pub held: usize,
}

impl Limits {
    /// For messages of at most so many bytes.
    pub fn for_messages(body: usize) -> Limits {
        Limits {
            body,
            connect: Duration::from_secs(10),
            partial: Duration::from_secs(60),
            unused: Duration::from_secs(60),
            stuck: Duration::from_secs(30),
            grace: Duration::from_secs(2),
            unkept: 2048,
            unkept_from_one: 256,
            in_all: 40_000,
            connecting: 1024,
            held: 256 * 1024 * 1024,
        }
    }

    /// The same where the process may open so many files: strangers must not take those that others need.
    pub fn within(self, files: u64) -> Limits {
        let files = usize::try_from(files).unwrap_or(usize::MAX);
        Limits { unkept: self.unkept.min(files / 4), in_all: self.in_all.min(files / 2), ..self }
    }
}

/// The running MSRP side.
pub struct Endpoint {
    shared: Arc<Shared>,
    acceptor: Option<TlsAcceptor>,
    bound: Mutex<Bound>,
    accepting: Mutex<Vec<AbortHandle>>,
}

/// What every connection reaches.
struct Shared {
    table: Mutex<Table>,
    limits: Limits,
    tls: Tls,
    ways: Ways,
    inboxes: Inboxes,
    log: Log,
    meters: Meters,
    /// What all unfinished frames take.
    held: AtomicUsize,
    received: metrics::Counter,
    sent: metrics::Counter,
    strays: metrics::Counter,
    opened: [metrics::Counter; 2],
    open: metrics::Gauge,
}

impl Endpoint {
    /// Takes the sockets; nothing is read before [`Endpoint::listen`], but connecting works. Call it inside the runtime.
    /// The configuration has the listeners as they are bound.
    pub fn new(
        bound: Bound,
        config: &Config,
        limits: Limits,
        inboxes: &Inboxes,
        dns: &Arc<Dns>,
        log: &Log,
        meters: &Meters,
    ) -> Result<Endpoint, String> {
        let tls = Tls::new(config.msrp.identity.clone());
        let acceptor = tls.acceptor()?;
        let shared = Shared {
            table: Mutex::default(),
            limits,
            tls,
            ways: Ways::new(config, dns.clone()),
            inboxes: inboxes.clone(),
            log: log.clone(),
            meters: meters.clone(),
            held: AtomicUsize::new(0),
            received: meters.plain_counter("msrp_received_bytes_total"),
            sent: meters.plain_counter("msrp_sent_bytes_total"),
            strays: meters.counter("msrp_refused_total", &[("reason", "no-session")]),
            opened: ["in", "out"]
                .map(|direction| meters.counter("msrp_connections_total", &[("direction", direction)])),
            open: meters.plain_gauge("msrp_connections"),
        };
        Ok(Endpoint {
            shared: Arc::new(shared),
            acceptor,
            bound: Mutex::new(bound),
            accepting: Mutex::default(),
        })
    }

    /// Begins to accept.
    pub fn listen(&self) {
        let bound = std::mem::take(&mut *self.bound.lock().unwrap_or_else(PoisonError::into_inner));
        let accepting = listener::accept(bound, &self.shared, self.acceptor.as_ref());
        self.accepting.lock().unwrap_or_else(PoisonError::into_inner).extend(accepting);
    }

    /// Does what a shard asks; gives what there is to tell at once.
    pub fn send(&self, shard: usize, out: MsrpOut) -> Option<MsrpIn> {
        let gone = |conn| Some(MsrpIn::Lost { conn, why: "the connection is gone".into() });
        match out {
            MsrpOut::Connect { attempt, hop, behalf, fingerprint } => {
                self.shared.connect(shard, attempt, hop, behalf, fingerprint)
            }
            MsrpOut::Send { conn, bytes } => {
                let known = self.shared.table().get(conn).cloned();
                match known.is_some_and(|known| known.push(Some(shard), bytes)) {
                    true => None,
                    false => gone(conn),
                }
            }
            MsrpOut::Keep(conn) => match self.shared.table().keep(conn, shard) {
                true => None,
                false => gone(conn),
            },
            MsrpOut::Release(conn) => {
                self.shared.table().release(conn, shard);
                None
            }
        }
    }

    /// Accepts nothing more, waits until everything queued has gone, or for so long, and closes every connection.
    pub async fn drain(&self, longest: Duration) {
        for accepting in self.accepting.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            accepting.abort();
        }
        let some_are = |busy: fn(&Conn) -> bool| self.shared.table().all().any(|conn| busy(conn));
        wait_while(longest, || some_are(Conn::is_busy)).await;
        self.shared.table().all().for_each(|conn| conn.close());
        // Most close too when they see it, and then nothing is lost on the way.
        wait_while(longest.min(LAST_MOMENT), || some_are(|_| true)).await;
    }
}

async fn wait_while(longest: Duration, holds: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + longest;
    while holds() && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Shared {
    /// The life of a connection that stands.
    async fn serve<R, W>(&self, conn: &Conn, reader: R, writer: W)
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        self.open.increment(1.0);
        let end = self.converse(conn, reader, writer).await;
        self.open.decrement(1.0);
        self.end(conn, end).await;
    }

    async fn converse<R, W>(&self, conn: &Conn, mut reader: R, mut writer: W) -> End
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let limits = &self.limits;
        let writing = conn.write(&mut writer, limits.stuck, |shard, bytes| self.drained(conn, shard, bytes));
        tokio::pin!(writing);
        let mut share = Share { of: &self.held, bytes: 0 };
        let reading = conn.read(
            &mut reader,
            limits,
            |frame| self.route(conn, frame),
            |length, now| {
                self.received.increment(length as u64);
                share.set(now);
                now == 0 || self.held.load(Ordering::Relaxed) <= limits.held
            },
        );
        let end = tokio::select! {
            end = reading => Some(end),
            end = conn.cut_off() => return end,
            written = &mut writing => written.err(),
        };
        match end {
            Some(end @ (End::Stuck | End::Broken)) => end,
            Some(end) => {
                // Perhaps the other end still reads.
                conn.close();
                let _ = tokio::time::timeout(limits.grace, writing).await;
                end
            }
            None => {
                conn::linger(&mut reader, limits.grace).await;
                End::Released
            }
        }
    }

    async fn route(&self, conn: &Conn, frame: Frame) {
        if let Some(partition) = msrp::partition(&frame) {
            let shard = self.inboxes.shard_of(partition);
            let input = MsrpIn::Frame { link: conn.link, frame: Box::new(frame) };
            return self.inboxes.put(shard, Input::Msrp(input)).await;
        }
        if let Frame::Request(_) = frame {
            self.strays.increment(1);
        }
        if let Some(answer) = msrp::stray(&frame) {
            conn.push(None, answer);
        }
    }

    async fn drained(&self, conn: &Conn, shard: usize, bytes: usize) {
        self.sent.increment(bytes as u64);
        self.inboxes.put(shard, Input::Msrp(MsrpIn::Drained { conn: conn.id(), bytes })).await;
    }

    /// A connection is over: everybody who kept it is told.
    async fn end(&self, conn: &Conn, end: End) {
        let keepers = self.table().remove(conn);
        self.meters.counter("msrp_connections_closed_total", &[("reason", end.label())]).increment(1);
        if self.log.takes(Level::Debug) {
            let ConnId(number) = conn.id();
            let fields =
                [("conn", number.to_string()), ("remote", conn.remote.to_string()), ("why", end.to_string())];
            self.log.line(Level::Debug, "msrp-closed", &fields);
        }
        for shard in keepers {
            let lost = MsrpIn::Lost { conn: conn.id(), why: end.to_string() };
            self.inboxes.put(shard, Input::Msrp(lost)).await;
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one connection takes of the memory of all.
struct Share<'a> {
    of: &'a AtomicUsize,
    bytes: usize,
}

impl Share<'_> {
    fn set(&mut self, bytes: usize) {
        self.of.fetch_add(bytes, Ordering::Relaxed);
        self.of.fetch_sub(std::mem::replace(&mut self.bytes, bytes), Ordering::Relaxed);
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.set(0);
    }
}
