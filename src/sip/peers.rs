//! The SIP neighbours: which addresses each of them has, and whether it answers.
//!
//! A peer is known by every address that its URI leads to, and by its `networks`. Addresses are looked up again and
//! again; what DNS once said stays valid while it says nothing. What is sent and when is the agent's business.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::flow::Transport;
use super::locate::{Hop, Located, Locator, Progress, Query};
use crate::config::Peer;
use crate::words::time::Tick;

/// How often the addresses of a peer are looked up.
const LOOKUP: Duration = Duration::from_secs(300);
/// How soon after a failure, at first.
const LOOKUP_AGAIN: Duration = Duration::from_secs(5);
/// A peer that has not answered for so long may have given up what it wanted to tell us: 64·T1, Timer F.
const OUTAGE: Duration = Duration::from_secs(32);
/// A peer whose addresses are in doubt is looked up not more often than this.
const LOOKUP_DOUBT: Duration = Duration::from_secs(30);

/// One neighbour.
#[derive(Debug, Default)]
pub struct Neighbour {
    /// It is configured by a name, which may come to mean other addresses.
    has_name: bool,
    /// Where requests go, best first.
    hops: Vec<Hop>,
    /// Where it speaks from, besides its networks.
    addresses: BTreeSet<IpAddr>,
    search: Option<Locator>,
    /// When the last search began.
    searched: Option<Tick>,
    failures: u32,
    /// Whether it answered when it was last asked; nothing before the first time.
    up: Option<bool>,
    /// When it answered last that it is there.
    answered: Option<Tick>,
}

/// All neighbours, in the order of `sip.peers`.
#[derive(Debug)]
pub struct Peers {
    config: Vec<Peer>,
    all: Vec<Neighbour>,
}

/// What a search needs now.
#[derive(Debug, PartialEq, Eq)]
pub enum Search {
    /// Answers to these.
    Wants(Vec<Query>),
    /// Nothing: it is over. It is repeated after so long.
    Over(Duration),
}

impl Peers {
    /// The peers of a configuration, with no address known yet.
    pub fn new(config: &[Peer]) -> Peers {
        let neighbour = |peer: &Peer| {
            let has_name = peer.host.parse::<IpAddr>().is_err();
            Neighbour { has_name, ..Neighbour::default() }
        };
        Peers { config: config.to_vec(), all: config.iter().map(neighbour).collect() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// What the admin wrote about one.
    pub fn config(&self, peer: usize) -> &Peer {
        &self.config[peer]
    }

    /// The peers that speak from this address; one machine may be several.
    pub fn at(&self, address: IpAddr) -> Vec<usize> {
        let address = address.to_canonical();
        (0..self.all.len()).filter(|peer| self.is_at(*peer, address)).collect()
    }

    /// Whether a peer speaks from this address.
    pub fn is_at(&self, peer: usize, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.all[peer].addresses.contains(&address) || self.config[peer].has_network(address)
    }

    /// Where requests to a peer go, best first.
    pub fn hops(&self, peer: usize) -> &[Hop] {
        &self.all[peer].hops
    }

    /// Whether the first answer of DNS is still awaited.
    pub fn is_searching(&self, peer: usize) -> bool {
        self.all[peer].hops.is_empty() && self.all[peer].search.is_some()
    }

    /// The hop of any peer that has this name, for a Route that names a machine of a peer.
    pub fn named(&self, host: &str) -> Option<&Hop> {
        self.all.iter().flat_map(|peer| &peer.hops).find(|hop| hop.name == host)
    }

    /// A hop failed: others first from now on.
    pub fn demote(&mut self, peer: usize, failed: &Hop) {
        let hops = &mut self.all[peer].hops;
        if let Some(place) = hops.iter().position(|hop| hop == failed) {
            let hop = hops.remove(place);
            hops.push(hop);
        }
    }

    /// Notes whether a peer answers; true when that is news.
    pub fn set_up(&mut self, peer: usize, up: bool) -> bool {
        self.all[peer].up.replace(up) != Some(up)
    }

    /// Whether it is known if a peer answers.
    pub fn was_asked(&self, peer: usize) -> bool {
        self.all[peer].up.is_some()
    }

    /// Notes that a peer has answered; true when it had not for so long that it may have given up what it wanted to tell
    /// us. Nobody who is asked more often than that is thought away without having been.
    pub fn note_answer(&mut self, peer: usize, now: Tick) -> bool {
        self.all[peer].answered.replace(now).is_some_and(|before| before + OUTAGE <= now)
    }

    /// Notes that a search begins.
    pub fn note_search(&mut self, peer: usize, now: Tick) {
        self.all[peer].searched = Some(now);
    }

    /// Whether a peer whose addresses are in doubt should be looked up at once: it has a name, and the last search is
    /// over and some time ago.
    pub fn may_have_moved(&self, peer: usize, now: Tick) -> bool {
        let Neighbour { has_name, search, searched, .. } = &self.all[peer];
        *has_name && search.is_none() && searched.is_none_or(|at| at + LOOKUP_DOUBT <= now)
    }

    /// Begins a search for a peer's addresses. A search that is still open has had its time: it has failed.
    pub fn search(
        &mut self,
        peer: usize,
        transports: &[Transport],
        draw: &mut dyn FnMut(u64) -> u64,
    ) -> Search {
        if self.all[peer].search.take().is_some() {
            return self.found(peer, Vec::new());
        }
        let config = &self.config[peer];
        let mut search = Locator::new(&config.host, config.port, config.transport, transports);
        let progress = search.step(draw);
        self.all[peer].search = Some(search);
        self.progress(peer, progress)
    }

    /// Gives an answer of DNS to the searches that asked for it.
    pub fn answer(
        &mut self,
        query: &Query,
        found: &[Located],
        draw: &mut dyn FnMut(u64) -> u64,
    ) -> Vec<(usize, Search)> {
        let mut out = Vec::new();
        for peer in 0..self.all.len() {
            let Some(search) = &mut self.all[peer].search else { continue };
            if search.answer(query, found) {
                let progress = search.step(draw);
                out.push((peer, self.progress(peer, progress)));
            }
        }
        out
    }

    fn progress(&mut self, peer: usize, progress: Progress) -> Search {
        match progress {
            Progress::Ask(queries) => Search::Wants(queries),
            Progress::Done(hops) => {
                self.all[peer].search = None;
                self.found(peer, hops)
            }
        }
    }

    fn found(&mut self, peer: usize, hops: Vec<Hop>) -> Search {
        let neighbour = &mut self.all[peer];
        if hops.is_empty() {
            neighbour.failures = neighbour.failures.saturating_add(1);
            let again = LOOKUP_AGAIN * 2u32.saturating_pow(neighbour.failures.min(8) - 1);
            return Search::Over(again.min(LOOKUP));
        }
        neighbour.failures = 0;
        neighbour.addresses = hops.iter().map(|hop| hop.address.ip().to_canonical()).collect();
        neighbour.hops = hops;
        Search::Over(LOOKUP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(host: &str) -> Peer {
        Peer {
            uri: format!("sip:{host}"),
            host: host.into(),
            port: Some(5060),
            transport: Some(Transport::Tcp),
            may_send_from: vec!["example.org".into()],
            any_domain: false,
            networks: vec!["198.51.100.0/24".parse().expect("a network")],
            auth: None,
            long_messages: false,
            trust_dates: true,
            msrp: Default::default(),
        }
    }

    #[test]
    fn a_peer_is_known_by_its_addresses_and_networks() {
        let mut peers = Peers::new(&[peer("192.0.2.1"), peer("192.0.2.2")]);
        assert_eq!(peers.search(0, &[], &mut |_| 0), Search::Over(LOOKUP));
        assert_eq!(peers.at("::ffff:192.0.2.1".parse().expect("an address")), [0]);
        assert_eq!(peers.at("198.51.100.9".parse().expect("an address")), [0, 1]);
        assert!(peers.at("192.0.2.2".parse().expect("an address")).is_empty());
    }

    #[test]
    fn a_peer_is_back_when_nothing_it_wanted_can_have_outlived_its_silence() {
        let mut peers = Peers::new(&[peer("192.0.2.1")]);
        let mut back = |seconds| peers.note_answer(0, Tick(0) + Duration::from_secs(seconds));
        assert_eq!([0, 30, 61, 93, 124].map(&mut back), [false, false, false, true, false]);
    }

    #[test]
    fn old_addresses_outlive_a_dns_that_fails() {
        let mut peers = Peers::new(&[peer("p.example")]);
        let query = Query::Address("p.example".into());
        assert_eq!(peers.search(0, &[], &mut |_| 0), Search::Wants(vec![query.clone()]));
        assert!(peers.is_searching(0));
        let found = [Located::Address("192.0.2.5".parse().expect("an address"))];
        assert_eq!(peers.answer(&query, &found, &mut |_| 0), [(0, Search::Over(LOOKUP))]);
        for wait in [5, 10, 20] {
            peers.search(0, &[], &mut |_| 0);
            let over = Search::Over(Duration::from_secs(wait));
            assert_eq!(peers.answer(&query, &[], &mut |_| 0), [(0, over)]);
        }
        assert_eq!(peers.hops(0).len(), 1);
        peers.search(0, &[], &mut |_| 0);
        assert_eq!(peers.search(0, &[], &mut |_| 0), Search::Over(Duration::from_secs(40)));
    }
}
