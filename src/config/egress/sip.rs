//! Where SIP goes: to the addresses and networks of configured peers, and nowhere else.
//!
//! A Contact, Route, Record-Route, Via, `maddr` or Refer-To is written by a stranger. The user agent core chooses among
//! peers' addresses only; this is asked once more for each connection and datagram, after DNS, so that no mistake there
//! makes us knock at somebody else's door.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::{Permit, is_never, plain};
use crate::config::Config;

/// Whom the admin named, and what we are ourselves.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// `sip.peers[].networks`, and the addresses that stand in `uri`.
    networks: Vec<IpNet>,
    /// Where we listen ourselves, whatever for.
    own: Vec<SocketAddr>,
}

/// Why nothing is sent there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is one of our own listeners.
    Own,
    /// Nobody named it.
    Stranger,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Refusal::Own => "a listener of our own",
            Refusal::Stranger => "no address of a peer",
        })
    }
}

impl Policy {
    /// From the configuration, whose listeners are bound.
    pub fn new(config: &Config) -> Policy {
        let literal = config.sip.peers.iter().filter_map(|peer| peer.host.parse::<IpAddr>().ok());
        let networks = config.sip.peers.iter().flat_map(|peer| peer.networks.iter().copied());
        let sip = config.sip.listen.iter().map(|listen| listen.address);
        let msrp = config.msrp.listen.iter().map(|listen| listen.address);
        Policy {
            networks: literal.map(|address| IpNet::from(plain(address))).chain(networks).collect(),
            own: sip.chain(msrp).chain(config.http).collect(),
        }
    }

    /// Whether the configuration itself says that a peer is at this address.
    pub fn names(&self, address: IpAddr) -> bool {
        let address = plain(address);
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Leave to send there, or why not. `found` says whether DNS gave this address to the name of a peer.
    pub fn judge(&self, at: SocketAddr, found: impl Fn(IpAddr) -> bool) -> Result<Permit, Refusal> {
        let address = plain(at.ip());
        let is_named = self.names(address);
        if !is_named && (is_never(address) || !found(address)) || at.port() == 0 {
            return Err(Refusal::Stranger);
        }
        let is_ours = |own: &SocketAddr| own.port() == at.port() && plain(own.ip()) == address;
        if self.own.iter().any(is_ours) {
            return Err(Refusal::Own);
        }
        Ok(Permit(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(at: &str) -> Result<Permit, Refusal> {
        let policy = Policy {
            networks: vec!["192.0.2.1/32".parse().unwrap(), "10.7.0.0/16".parse().unwrap()],
            own: vec!["10.7.0.9:5060".parse().unwrap()],
        };
        policy.judge(at.parse().unwrap(), |address| {
            ["198.51.100.7", "169.254.169.254", "0.0.0.0"].iter().any(|one| address.to_string() == *one)
        })
    }

    #[test]
    fn peers_are_open_by_address_network_and_dns() {
        for at in ["192.0.2.1:5060", "192.0.2.1:49152", "10.7.3.3:5060", "198.51.100.7:5061"] {
            assert_eq!(judge(at).map(Permit::address), Ok(at.parse().unwrap()), "{at}");
        }
        assert!(judge("[::ffff:192.0.2.1]:5060").is_ok());
    }

    #[test]
    fn everybody_else_is_closed() {
        for at in ["192.0.2.2:5060", "10.8.0.1:5060", "127.0.0.1:5060", "[::1]:5060", "192.0.2.1:0"] {
            assert_eq!(judge(at), Err(Refusal::Stranger), "{at}");
        }
    }

    #[test]
    fn dns_that_names_nobodys_address_is_not_believed() {
        assert_eq!(judge("169.254.169.254:5060"), Err(Refusal::Stranger));
        assert_eq!(judge("0.0.0.0:5060"), Err(Refusal::Stranger));
    }

    #[test]
    fn our_own_listeners_are_nobodys_next_hop() {
        assert_eq!(judge("10.7.0.9:5060"), Err(Refusal::Own));
        assert!(judge("10.7.0.9:5061").is_ok());
    }
}
