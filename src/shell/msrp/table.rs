//! Which connections there are, who keeps each, and which of those that nobody keeps yet has to go.
//!
//! Whoever connects is a stranger until a session of ours keeps the connection. Strangers take the places of other
//! strangers only: of those from the same network first, of the oldest else. So half-open connections, however many,
//! cost what [`Limits`](super::Limits) says, and no session its connection.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use super::Limits;
use super::conn::{Conn, End};
use crate::msrp::{ConnId, Link};

/// All connections.
#[derive(Default)]
pub struct Table {
    last: u64,
    conns: HashMap<ConnId, Entry>,
    /// Those that nobody keeps; the numbers grow with time.
    strangers: BTreeSet<ConnId>,
    by_source: HashMap<IpAddr, BTreeSet<ConnId>>,
    /// Attempts that are on their way.
    connecting: usize,
}

struct Entry {
    conn: Arc<Conn>,
    keepers: BTreeSet<usize>,
}

impl Table {
    /// A connection was accepted. Nothing if there is no room for it.
    pub fn accept(&mut self, remote: SocketAddr, secure: bool, limits: &Limits) -> Option<Arc<Conn>> {
        let source = network(remote.ip());
        let same = self.by_source.get(&source);
        let crowded = same.filter(|same| same.len() >= limits.unkept_from_one).and_then(BTreeSet::first);
        let is_full = self.strangers.len() >= limits.unkept || self.conns.len() >= limits.in_all;
        let victim = crowded.or(if is_full { self.strangers.first() } else { None }).copied();
        match victim {
            Some(victim) => self.evict(victim),
            None if is_full => return None,
            None => {}
        }
        let conn = self.add(remote, secure, None);
        self.strangers.insert(conn.id());
        self.by_source.entry(source).or_default().insert(conn.id());
        Some(conn)
    }

    /// A connection was opened for a shard.
    pub fn open(&mut self, remote: SocketAddr, secure: bool, shard: usize) -> Arc<Conn> {
        self.add(remote, secure, Some(shard))
    }

    /// Counts an attempt to connect. False if there are too many, or too many connections.
    pub fn begin(&mut self, limits: &Limits) -> bool {
        let has_room =
            self.connecting < limits.connecting && self.conns.len() + self.connecting < limits.in_all;
        self.connecting += usize::from(has_room);
        has_room
    }

    /// The attempt is over.
    pub fn end_attempt(&mut self) {
        self.connecting = self.connecting.saturating_sub(1);
    }

    /// A connection that is there.
    pub fn get(&self, id: ConnId) -> Option<&Arc<Conn>> {
        self.conns.get(&id).map(|entry| &entry.conn)
    }

    /// A shard keeps a connection. False if it is gone.
    pub fn keep(&mut self, id: ConnId, shard: usize) -> bool {
        let Some(entry) = self.conns.get_mut(&id).filter(|entry| entry.conn.is_open()) else { return false };
        entry.keepers.insert(shard);
        entry.conn.keep();
        let remote = entry.conn.remote;
        self.forget_stranger(id, remote);
        true
    }

    /// A shard does not need a connection any more; it closes when no other does.
    pub fn release(&mut self, id: ConnId, shard: usize) {
        let Some(entry) = self.conns.get_mut(&id) else { return };
        if entry.keepers.remove(&shard) && entry.keepers.is_empty() {
            entry.conn.close();
        }
    }

    /// A connection is gone; who kept it.
    pub fn remove(&mut self, conn: &Conn) -> BTreeSet<usize> {
        self.forget_stranger(conn.id(), conn.remote);
        self.conns.remove(&conn.id()).map(|entry| entry.keepers).unwrap_or_default()
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Conn>> {
        self.conns.values().map(|entry| &entry.conn)
    }

    fn add(&mut self, remote: SocketAddr, secure: bool, keeper: Option<usize>) -> Arc<Conn> {
        self.last += 1;
        let link = Link { conn: ConnId(self.last), secure };
        let conn = Arc::new(Conn::new(link, remote, keeper.is_some()));
        self.conns.insert(conn.id(), Entry { conn: conn.clone(), keepers: keeper.into_iter().collect() });
        conn
    }

    fn evict(&mut self, id: ConnId) {
        if let Some(entry) = self.conns.remove(&id) {
            entry.conn.cut(End::Crowded);
            self.forget_stranger(id, entry.conn.remote);
        }
    }

    fn forget_stranger(&mut self, id: ConnId, remote: SocketAddr) {
        if !self.strangers.remove(&id) {
            return;
        }
        let source = network(remote.ip());
        if let Some(same) = self.by_source.get_mut(&source) {
            same.remove(&id);
            if same.is_empty() {
                self.by_source.remove(&source);
            }
        }
    }
}

/// What one person has: an IPv4 address, or 64 bits of an IPv6 one.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => {
            let [a, b, c, d, ..] = six.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        four => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits { unkept: 4, unkept_from_one: 2, in_all: 6, ..Limits::for_messages(1000) }
    }

    fn from(table: &mut Table, remote: &str) -> Arc<Conn> {
        table.accept(remote.parse().unwrap(), false, &limits()).unwrap()
    }

    #[test]
    fn a_stranger_takes_the_place_of_his_own_neighbour_first() {
        let mut table = Table::default();
        let other = from(&mut table, "192.0.2.9:1");
        let first = from(&mut table, "[2001:db8::1]:1");
        let second = from(&mut table, "[2001:db8::2]:1");
        let third = from(&mut table, "[2001:db8::3]:1");
        assert!(!first.is_open() && second.is_open() && third.is_open() && other.is_open());
        from(&mut table, "192.0.2.1:1");
        from(&mut table, "192.0.2.2:1");
        assert!(!other.is_open(), "the oldest goes when there are too many");
    }

    #[test]
    fn what_is_kept_stays_and_is_not_counted_with_the_strangers() {
        let mut table = Table::default();
        let kept: Vec<_> = (0..6).map(|_| from(&mut table, "192.0.2.9:1")).collect();
        assert!(table.keep(kept[5].id(), 3) && !table.keep(kept[0].id(), 3));
        for _ in 0..10 {
            from(&mut table, "192.0.2.9:1");
        }
        assert!(kept[5].is_open() && !kept[4].is_open());
        assert_eq!(table.remove(&kept[5]), BTreeSet::from([3]));
    }

    #[test]
    fn with_kept_connections_alone_nobody_comes_in() {
        let mut table = Table::default();
        for _ in 0..6 {
            let conn = from(&mut table, "192.0.2.9:1");
            table.keep(conn.id(), 0);
        }
        assert!(table.accept("192.0.2.1:1".parse().unwrap(), false, &limits()).is_none());
        assert!(!table.begin(&limits()));
    }

    #[test]
    fn a_connection_closes_when_the_last_keeper_lets_go() {
        let mut table = Table::default();
        let conn = from(&mut table, "192.0.2.9:1");
        table.release(conn.id(), 7);
        assert!(conn.is_open(), "it was never kept");
        table.keep(conn.id(), 1);
        table.keep(conn.id(), 2);
        table.release(conn.id(), 1);
        assert!(conn.is_open());
        table.release(conn.id(), 2);
        assert!(!conn.is_open() && !table.keep(conn.id(), 1));
        assert_eq!(table.remove(&conn), BTreeSet::new());
        assert!(table.strangers.is_empty() && table.by_source.is_empty());
    }
}
