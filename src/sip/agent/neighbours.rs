//! Looking peers up and watching them.
//!
//! Each peer is asked OPTIONS every 30 s. Whatever it answers shows that it is there, a refusal included; only 408,
//! 503 and silence mean that it is not. Where requests go is not decided by it: the figure and the line are for the admin.
//! But whose notifier could not reach us for 64·T1 has ended its subscriptions (RFC 6665 §4.2.2), so it is told when a peer
//! answers again after such a time, be it that the peer, the way to it or this process was away.

use std::time::Duration;

use super::outbound::Asker;
use super::{Agent, AgentOut, Alarm};
use crate::sip::flow::Transport;
use crate::sip::message::{Answer, Failure, HeaderName, Method, OutRequest};
use crate::sip::peers::Search;
use crate::words::id::Mint;
use crate::words::note::{Level, Note};
use crate::words::time::Now;

/// How often a peer is asked.
const WATCH: Duration = Duration::from_secs(30);
/// How long DNS may take to answer.
const DNS_PATIENCE: Duration = Duration::from_secs(10);

impl Agent {
    /// A peer is silent, or somebody speaks whom DNS has not named: the peer may have moved, or DNS may have lied.
    pub(super) fn doubt(&mut self, now: Now, mint: &mut Mint, peer: usize) {
        if self.peers.may_have_moved(peer, now.tick) {
            self.look_up(now, peer, &mut |limit| mint.below(limit));
        }
    }

    pub(super) fn look_up(&mut self, now: Now, peer: usize, draw: &mut dyn FnMut(u64) -> u64) {
        self.peers.note_search(peer, now.tick);
        let transports = self.own.transports();
        let search = self.peers.search(peer, &transports, draw);
        self.searched(now, peer, search);
    }

    pub(super) fn searched(&mut self, now: Now, peer: usize, search: Search) {
        match search {
            Search::Wants(queries) => {
                if self.timers.at(&Alarm::Lookup(peer)).is_none_or(|at| at > now.tick + DNS_PATIENCE) {
                    self.timers.set(Alarm::Lookup(peer), now.tick + DNS_PATIENCE);
                }
                self.out.extend(queries.into_iter().map(AgentOut::Resolve));
            }
            Search::Over(again) => {
                self.timers.set(Alarm::Lookup(peer), now.tick + again);
                if self.peers.hops(peer).is_empty() {
                    let uri = self.peers.config(peer).uri.clone();
                    self.log(Level::Warn, "sip-peer-not-found", vec![("peer", uri)]);
                } else if !self.peers.was_asked(peer) {
                    self.timers.set(Alarm::Watch(peer), now.tick);
                }
            }
        }
    }

    pub(super) fn watch(&mut self, now: Now, mint: &mut Mint, peer: usize) {
        if !self.watches {
            return;
        }
        self.timers.set(Alarm::Watch(peer), now.tick + WATCH);
        let is_asked = self.calls.values().any(|call| call.asker == Asker::Watch(peer));
        if is_asked || self.peers.hops(peer).is_empty() {
            return;
        }
        let config = self.peers.config(peer);
        let host = match config.host.parse::<std::net::Ipv6Addr>() {
            Ok(_) => format!("[{}]", config.host),
            Err(_) => config.host.clone(),
        };
        let port = config.port.map_or_else(String::new, |port| format!(":{port}"));
        let transport = match config.transport {
            Some(Transport::Tcp) => ";transport=tcp",
            _ => "",
        };
        // Whoever asks must hear the answer.
        let partition = mint.home();
        let request = OutRequest {
            method: Method::Options,
            uri: format!("sip:{host}{port}{transport}"),
            from: format!("<{}>;tag={}", self.own.uri(), mint.token(partition)),
            to: format!("<sip:{host}{port}>"),
            call_id: mint.token(partition),
            cseq: 1,
            max_forwards: 70,
            routes: Vec::new(),
            headers: vec![(HeaderName::Accept, "*/*".to_owned())],
            body: bytes::Bytes::new(),
            partition,
            domain: String::new(),
            over: None,
        };
        self.call(now, mint, Asker::Watch(peer), request);
    }

    /// A peer has answered when it was asked whether it is there.
    pub(super) fn present(&mut self, now: Now, peer: usize, status: u16) {
        if is_there(status) && self.peers.note_answer(peer, now.tick) {
            self.out.push_back(AgentOut::PeerBack(peer));
        }
    }

    /// What came of asking.
    pub(super) fn watched(&mut self, peer: usize, answer: &Answer) {
        let (up, why) = match answer {
            Answer::Provisional(_) | Answer::Repeated => return,
            Answer::Final { response, .. } => {
                let status = response.status.code();
                (is_there(status), format!("answered {status}"))
            }
            Answer::Failed(Failure::Timeout) => (false, "no answer".to_owned()),
            Answer::Failed(Failure::Transport(why)) => (false, why.clone()),
            Answer::Failed(other) => (false, format!("{other:?}")),
        };
        let first = !self.peers.was_asked(peer);
        if !self.peers.set_up(peer, up) {
            return;
        }
        let uri = self.peers.config(peer).uri.clone();
        let by = match (up, first) {
            (true, _) => 1,
            (false, true) => 0,
            (false, false) => -1,
        };
        let labels = vec![("peer", uri.clone().into())];
        self.out.push_back(AgentOut::Note(Note::Gauge { name: "sip_peer_up", labels, by }));
        let (level, event) = if up { (Level::Info, "sip-peer-up") } else { (Level::Warn, "sip-peer-down") };
        self.log(level, event, vec![("peer", uri), ("why", why)]);
    }
}

/// Whether who answers so is there, and not only somebody in front of it.
fn is_there(status: u16) -> bool {
    !matches!(status, 408 | 503)
}
