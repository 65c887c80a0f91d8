//! How connections come about, who uses them, and when they are let go.

use std::collections::{BTreeSet, VecDeque};

use super::super::uri::Hop;
use super::super::{AttemptId, Behalf, ConnId, Link, MsrpOut};
use super::{Alarm, Connections, Ending, Out, SessionId};
use crate::words::id::Mint;
use crate::words::time::Tick;

#[derive(Debug, Default)]
pub(super) struct Conn {
    pub(super) sessions: BTreeSet<SessionId>,
    /// Those that have something to send, in turn.
    pub(super) ready: VecDeque<SessionId>,
    pub(super) handed: u64,
    pub(super) drained: u64,
    /// Up to where which transaction goes.
    pub(super) marks: VecDeque<(u64, SessionId, String)>,
    /// Where it goes, if we opened it.
    pub(super) way: Option<Way>,
    /// A relay is at the other end.
    pub(super) is_relay: bool,
}

/// Where a connection goes, on whose word, and whose certificate it must have. What one peer may be connected to by is not
/// for the sessions of another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Way {
    pub(super) hop: Hop,
    pub(super) behalf: Behalf,
    pub(super) fingerprint: Option<String>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Opened {
    Attempt(AttemptId),
    Conn(ConnId),
}

#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) way: Way,
    pub(super) waiting: BTreeSet<SessionId>,
}

impl Connections {
    pub(super) fn connect(&mut self, mint: &mut Mint, id: SessionId, way: Way) {
        let attempt = match self.opened.get(&way).copied() {
            Some(Opened::Conn(conn)) => {
                self.bind(id, conn, None);
                if let Some(entry) = self.sessions.get_mut(&id) {
                    entry.has_joined = true;
                    entry.session.connected(mint);
                }
                return;
            }
            Some(Opened::Attempt(attempt)) => attempt,
            None => {
                let attempt = AttemptId(self.next_attempt);
                self.next_attempt += 1;
                self.opened.insert(way.clone(), Opened::Attempt(attempt));
                let Way { hop, behalf, fingerprint } = way.clone();
                self.attempts.insert(attempt, Attempt { way, waiting: BTreeSet::new() });
                self.out.push_back(Out::Msrp(MsrpOut::Connect { attempt, hop, behalf, fingerprint }));
                attempt
            }
        };
        if let (Some(entry), Some(known)) = (self.sessions.get_mut(&id), self.attempts.get_mut(&attempt)) {
            known.waiting.insert(id);
            entry.attempt = Some(attempt);
        }
    }

    pub(super) fn connected(&mut self, now: Tick, mint: &mut Mint, attempt: AttemptId, link: Link) {
        let Some(attempt) = self.attempts.remove(&attempt) else { return };
        self.opened.remove(&attempt.way);
        let waiting = self.still_waiting(attempt.waiting);
        if waiting.is_empty() {
            return self.out.push_back(Out::Msrp(MsrpOut::Release(link.conn)));
        }
        self.opened.insert(attempt.way.clone(), Opened::Conn(link.conn));
        for id in waiting {
            self.bind(id, link.conn, Some(&attempt.way));
            if let Some(entry) = self.sessions.get_mut(&id) {
                entry.session.connected(mint);
            }
            self.settle(now, mint, id);
        }
    }

    /// A connection is gone, and with it its sessions. Not those that had just joined it and have no answer yet: a peer may
    /// let go of a connection that nobody uses while our first SEND is on its way. They have said nothing that could be lost,
    /// and try once more with a connection of their own.
    pub(super) fn lost(&mut self, now: Tick, mint: &mut Mint, conn: ConnId, why: &str) {
        let Some(gone) = self.conns.remove(&conn) else { return };
        self.forget_way(conn, gone.way.clone());
        for id in gone.sessions {
            let Some(entry) = self.sessions.get_mut(&id) else { continue };
            entry.conn = None;
            entry.is_ready = false;
            match &gone.way {
                Some(way) if std::mem::take(&mut entry.has_joined) && entry.session.connects_anew(now) => {
                    self.connect(mint, id, way.clone());
                    self.settle(now, mint, id);
                }
                _ => self.end(now, mint, id, Ending::Lost(why.into())),
            }
        }
    }

    /// Those that have no connection yet: some may be over by now, or the peer may have come to them.
    pub(super) fn still_waiting(&self, mut sessions: BTreeSet<SessionId>) -> BTreeSet<SessionId> {
        sessions.retain(|id| self.sessions.get(id).is_some_and(|entry| entry.conn.is_none()));
        sessions
    }

    /// Gives a session its connection. `way` is for one that we have just opened.
    pub(super) fn bind(&mut self, id: SessionId, conn: ConnId, way: Option<&Way>) {
        let Some(entry) = self.sessions.get_mut(&id) else { return };
        entry.conn = Some(conn);
        let has_relay = entry.session.terms().is_none_or(|terms| terms.path.has_relay());
        let known = self.conns.entry(conn).or_insert_with(|| {
            if way.is_none() {
                self.out.push_back(Out::Msrp(MsrpOut::Keep(conn)));
            }
            Conn { way: way.cloned(), is_relay: has_relay, ..Conn::default() }
        });
        known.sessions.insert(id);
        self.timers.stop(&Alarm::Linger(conn));
    }

    pub(super) fn release(&mut self, conn: ConnId) {
        if let Some(known) = self.conns.remove(&conn) {
            self.forget_way(conn, known.way);
            self.out.push_back(Out::Msrp(MsrpOut::Release(conn)));
        }
    }

    pub(super) fn forget_way(&mut self, conn: ConnId, way: Option<Way>) {
        self.timers.stop(&Alarm::Linger(conn));
        if let Some(way) = way {
            self.opened.remove(&way);
        }
    }
}
