//! All TCP connections: accepting, finding one for a message, opening one, and the limits.
//!
//! RFC 3261 §18: an answer takes the connection of its request while that is open; a request takes any open
//! connection to its address, else a new one. Whoever's bytes did not leave is told ([`Input::SendFailed`]).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};

use super::conn::{Conn, ReadEnd, Room};
use super::{Limits, gossip};
use crate::config::egress::Permit;
use crate::gateway::io::Input;
use crate::shell::inbox::{Batch, Inboxes};
use crate::shell::log::Log;
use crate::shell::meters::Meters;
use crate::shell::sockets::{self, Doorkeeper};
use crate::sip::flow::{BadSip, ConnId, Flow, SipOut, Transport};
use crate::sip::message::Message;
use crate::words::id::Partition;
use crate::words::index::Index;
use crate::words::note::Level;

/// Every connection, and the listeners.
pub struct Tcp {
    listeners: Mutex<Vec<(SocketAddr, TcpListener)>>,
    table: Mutex<Table>,
    limits: Limits,
    keeper: Arc<Doorkeeper>,
    /// What all unfinished messages take.
    held: Arc<AtomicUsize>,
    inboxes: Inboxes,
    log: Log,
    received: metrics::Counter,
    sent: metrics::Counter,
    bad: metrics::Counter,
    failed: metrics::Counter,
    refused: metrics::Counter,
    opened: [metrics::Counter; 2],
    open: metrics::Gauge,
}

#[derive(Default)]
struct Table {
    last: u64,
    conns: Index<ConnId, Arc<Conn>>,
    by_remote: Index<SocketAddr, Vec<ConnId>>,
    by_source: Index<IpAddr, usize>,
    /// Connections of those who are no peers; the numbers grow with time.
    strangers: BTreeSet<ConnId>,
}

impl Table {
    fn add(&mut self, remote: SocketAddr, inbound: bool, limits: Limits) -> Arc<Conn> {
        self.last += 1;
        let conn = Arc::new(Conn::new(ConnId(self.last), remote, inbound, limits));
        self.conns.insert(conn.id, conn.clone());
        self.by_remote.entry(remote).or_default().push(conn.id);
        if inbound {
            *self.by_source.entry(network(remote.ip())).or_default() += 1;
        }
        conn
    }

    fn remove(&mut self, conn: &Conn) {
        self.forget_remote(conn);
        self.strangers.remove(&conn.id);
        let source = network(conn.remote.ip());
        if self.conns.remove(&conn.id).is_some()
            && conn.inbound
            && let Some(count) = self.by_source.get_mut(&source)
        {
            *count -= 1;
            if *count == 0 {
                self.by_source.remove(&source);
            }
        }
    }

    /// New requests do not take this connection any more.
    fn forget_remote(&mut self, conn: &Conn) {
        conn.is_ending.store(true, Ordering::Relaxed);
        if let Some(ids) = self.by_remote.get_mut(&conn.remote) {
            ids.retain(|id| *id != conn.id);
            if ids.is_empty() {
                self.by_remote.remove(&conn.remote);
            }
        }
    }

    /// Closes those to `remote` on which requests went and nothing came back.
    fn leave_dumb(&mut self, preferred: Option<ConnId>, remote: SocketAddr) {
        let dumb: Vec<_> =
            self.candidates(preferred, remote).filter(|conn| conn.is_dumb()).cloned().collect();
        for conn in dumb {
            self.forget_remote(&conn);
            conn.close();
        }
    }

    /// The connections that may serve, best first.
    fn candidates(&self, preferred: Option<ConnId>, remote: SocketAddr) -> impl Iterator<Item = &Arc<Conn>> {
        // Mostly the preferred one serves: the others are looked for when they are asked for.
        let others =
            std::iter::once(remote).flat_map(|remote| self.by_remote.get(&remote).into_iter().flatten());
        preferred.into_iter().chain(others.copied()).filter_map(|id| self.conns.get(&id))
    }
}

impl Tcp {
    pub fn new(
        listeners: Vec<(SocketAddr, std::net::TcpListener)>,
        limits: Limits,
        keeper: &Arc<Doorkeeper>,
        inboxes: &Inboxes,
        log: &Log,
        meters: &Meters,
    ) -> std::io::Result<Tcp> {
        let listeners = listeners
            .into_iter()
            .map(|(local, listener)| Ok((local, TcpListener::from_std(listener)?)))
            .collect::<std::io::Result<_>>()?;
        Ok(Tcp {
            listeners: Mutex::new(listeners),
            table: Mutex::default(),
            limits,
            keeper: keeper.clone(),
            held: Arc::default(),
            inboxes: inboxes.clone(),
            log: log.clone(),
            received: meters.counter("sip_received_total", &[("transport", "tcp")]),
            sent: meters.counter("sip_sent_total", &[("transport", "tcp")]),
            bad: meters.counter("sip_bad_total", &[("transport", "tcp")]),
            failed: meters.plain_counter("sip_send_failed_total"),
            refused: meters.plain_counter("sip_connections_refused_total"),
            opened: ["in", "out"]
                .map(|direction| meters.counter("sip_connections_total", &[("direction", direction)])),
            open: meters.plain_gauge("sip_connections"),
        })
    }

    /// Begins to accept.
    pub fn accept(self: &Arc<Self>) {
        let listeners = std::mem::take(&mut *self.listeners.lock().unwrap_or_else(PoisonError::into_inner));
        for (local, listener) in listeners {
            tokio::spawn(self.clone().accept_on(local, listener));
        }
    }

    async fn accept_on(self: Arc<Self>, local: SocketAddr, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, remote)) => {
                    if let Some(conn) = self.admit(remote) {
                        tokio::spawn(self.clone().serve(conn, stream));
                    }
                }
                Err(error) => {
                    // Out of file descriptors, or the other end was gone before we looked.
                    let fields = [("listener", format!("tcp://{local}")), ("reason", error.to_string())];
                    self.log.line(Level::Warn, "sip-accept", &fields);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn admit(&self, remote: SocketAddr) -> Option<Arc<Conn>> {
        let is_stranger = !self.keeper.is_neighbour(remote.ip());
        let mut table = self.table();
        if table.by_source.get(&network(remote.ip())).is_some_and(|count| *count >= self.limits.from_one) {
            self.refused.increment(1);
            return None;
        }
        let is_full = table.conns.len() >= self.limits.in_all;
        if is_full || is_stranger && table.strangers.len() >= self.limits.strangers {
            self.refused.increment(1);
            // Strangers make room first, and take that of strangers alone.
            let oldest = table.strangers.first().and_then(|id| table.conns.get(id)).cloned();
            let silent = || {
                let inbound = table.conns.values().filter(|conn| conn.inbound);
                inbound.max_by_key(|conn| conn.idle_for()).cloned()
            };
            let victim = if is_stranger { oldest } else { oldest.or_else(silent) }?;
            victim.close();
            table.remove(&victim);
        }
        self.opened[0].increment(1);
        let conn = table.add(remote, true, self.limits);
        if is_stranger {
            table.strangers.insert(conn.id);
        }
        Some(conn)
    }

    /// Sends for a shard, or says at once why it cannot.
    pub fn send(self: &Arc<Self>, shard: usize, out: SipOut) -> Result<(), String> {
        let waiting = out.id.map(|id| (shard, id));
        let remote = out.target.remote;
        // An ACK has no answer (RFC 3261 §17.1.1.3).
        let asks = waiting.is_some() && !out.bytes.starts_with(b"ACK ");
        let mut table = self.table();
        if asks {
            table.leave_dumb(out.target.conn, remote);
        }
        for conn in table.candidates(out.target.conn, remote) {
            if waiting.is_some() && conn.is_ending.load(Ordering::Relaxed) {
                continue;
            }
            if let Some(pushed) = conn.push(&out.bytes, waiting) {
                if asks {
                    conn.ask();
                }
                self.count(&pushed);
                return pushed;
            }
        }
        if table.conns.len() >= self.limits.in_all {
            self.failed.increment(1);
            return Err(format!("tcp://{remote}: there are too many connections"));
        }
        let permit = match self.keeper.sip(Transport::Tcp, remote) {
            Ok(permit) => permit,
            Err(why) => {
                self.failed.increment(1);
                return Err(why);
            }
        };
        let conn = table.add(remote, false, self.limits);
        drop(table);
        let pushed = conn.push(&out.bytes, waiting).unwrap_or(Ok(()));
        if asks {
            conn.ask();
        }
        self.count(&pushed);
        self.opened[1].increment(1);
        tokio::spawn(self.clone().connect(conn, permit));
        pushed
    }

    fn count(&self, pushed: &Result<(), String>) {
        match pushed {
            Ok(()) => self.sent.increment(1),
            Err(_) => self.failed.increment(1),
        }
    }

    /// Closes a connection after what is queued on it has gone.
    pub fn close(&self, id: ConnId) {
        let mut table = self.table();
        if let Some(conn) = table.conns.get(&id).cloned() {
            table.forget_remote(&conn);
            conn.close();
        }
    }

    /// Closes every connection.
    pub fn close_all(&self) {
        self.table().conns.values().for_each(|conn| conn.close());
    }

    /// True while something waits to be written.
    pub fn is_busy(&self) -> bool {
        self.table().conns.values().any(|conn| conn.is_busy())
    }

    async fn connect(self: Arc<Self>, conn: Arc<Conn>, permit: Permit) {
        let remote = conn.remote;
        match tokio::time::timeout(self.limits.connect, sockets::connect(permit)).await {
            Ok(Ok(stream)) => self.serve(conn, stream).await,
            Ok(Err(error)) => self.end(&conn, format!("tcp://{remote}: {error}")).await,
            Err(_) => self.end(&conn, format!("tcp://{remote}: no answer to the connection")).await,
        }
    }

    /// The life of an open connection.
    async fn serve(self: Arc<Self>, conn: Arc<Conn>, stream: TcpStream) {
        self.open.increment(1.0);
        let reason = self.converse(&conn, stream).await;
        gossip(&self.log, "sip-closed", conn.remote, &reason);
        self.end(&conn, reason).await;
        self.open.decrement(1.0);
    }

    async fn converse(&self, conn: &Conn, stream: TcpStream) -> String {
        let local = match stream.set_nodelay(true).and_then(|()| stream.local_addr()) {
            Ok(local) => local,
            Err(error) => return error.to_string(),
        };
        // What is never acknowledged breaks it sooner than the kernel's quarter of an hour (RFC 5482); not worth refusing.
        let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(self.limits.stuck));
        let flow = Flow { transport: Transport::Tcp, local, remote: conn.remote, conn: Some(conn.id) };
        let (reader, writer) = stream.into_split();
        let writing = conn.write(writer);
        tokio::pin!(writing);
        let room = Room::new(&self.held, self.limits.unfinished);
        let is_stranger = || !self.keeper.is_neighbour(conn.remote.ip());
        let reading = conn.read(reader, room, is_stranger, |messages| self.take(flow, messages));
        let end = tokio::select! {
            end = reading => end,
            written = &mut writing => return written.err().unwrap_or_else(|| "closed by us".into()),
        };
        self.table().forget_remote(conn);
        match end {
            ReadEnd::Broken(reason) => {
                // Perhaps the other end still reads.
                conn.close();
                let _ = tokio::time::timeout(self.limits.grace, writing).await;
                reason
            }
            ReadEnd::Eof | ReadEnd::Unframed => {
                // Answers that are not ready yet may still be wanted.
                if tokio::time::timeout(self.limits.grace, &mut writing).await.is_err() {
                    conn.close();
                    let _ = tokio::time::timeout(self.limits.grace, writing).await;
                }
                format!("tcp://{}: closed by the other end", conn.remote)
            }
        }
    }

    async fn take(&self, flow: Flow, messages: Vec<Result<Message, BadSip>>) {
        self.received.increment(messages.len() as u64);
        let mut batch = Batch::default();
        for message in messages {
            match message {
                Ok(message) => {
                    batch.push(self.inboxes.of_sip(&message), Input::Sip(flow, Box::new(message)));
                }
                Err(bad) => {
                    self.bad.increment(1);
                    gossip(&self.log, "sip-bad", flow.remote, &bad.reason);
                    let shard = self.inboxes.shard_of(Partition::of(&flow.remote.to_string()));
                    batch.push(shard, Input::BadSip(flow, bad));
                }
            }
        }
        self.inboxes.put_batch(&mut batch).await;
    }

    async fn end(&self, conn: &Conn, reason: String) {
        self.table().remove(conn);
        for (shard, id) in conn.end() {
            self.failed.increment(1);
            self.inboxes.put(shard, Input::SendFailed(id, reason.clone())).await;
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whose limit counts: an address, and of IPv6 the network of 64 bits that one customer has (RFC 6177).
fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).into(),
        source => source,
    }
}
