//! Where SIP goes: to the addresses and networks of configured peers, and nowhere else.
//!
//! A Contact, Route, Record-Route, Via, `maddr` or Refer-To is written by a stranger. The user agent core chooses among
//! peers' addresses only; this is asked once more for each connection and datagram, after DNS, so that no mistake there
//! makes us knock at somebody else's door.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::{Permit, is_never, is_own, plain};
use crate::config::Config;
use crate::msrp::uri::Host;

/// Whom the admin named, and what we are ourselves.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// `sip.peers[].networks`, and the addresses that stand in `uri`.
    networks: Vec<IpNet>,
    /// Where we listen ourselves, whatever for.
    own: Vec<SocketAddr>,
    /// Addresses in `advertise`; a name there is not looked up.
    aliases: Vec<IpAddr>,
}

/// Why nothing is sent there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is one of our own listeners.
    Own,
    /// Nobody named it, or nobody can be there.
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
        let advertised = config.sip.advertise.iter().chain(&config.msrp.advertise);
        Policy {
            networks: literal.map(|address| IpNet::from(plain(address))).chain(networks).collect(),
            own: sip.chain(msrp).chain(config.http).collect(),
            aliases: advertised.filter_map(Host::address).collect(),
        }
    }

    /// Whether the configuration itself says that a peer is at this address.
    pub fn names(&self, address: IpAddr) -> bool {
        let address = plain(address);
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Leave to send there, or why not. `found` says whether DNS gave this address to the name of a peer, `is_here`
    /// whether it is one of this machine.
    pub fn judge(
        &self,
        at: SocketAddr,
        found: impl Fn(IpAddr) -> bool,
        is_here: impl Fn(IpAddr) -> bool,
    ) -> Result<Permit, Refusal> {
        let address = plain(at.ip());
        if is_never(address) || at.port() == 0 || !self.names(address) && !found(address) {
            return Err(Refusal::Stranger);
        }
        if is_own(&self.own, at, &self.aliases, is_here) {
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
            networks: ["192.0.2.1/32", "10.7.0.0/16", "127.0.0.0/8", "169.254.1.1/32", "fe80::/10"]
                .map(|network| network.parse().unwrap())
                .to_vec(),
            own: ["10.7.0.9:5060", "0.0.0.0:5070", "[::]:9091"].map(|own| own.parse().unwrap()).to_vec(),
            aliases: vec!["10.7.0.250".parse().unwrap()],
        };
        let found = |address: IpAddr| {
            ["198.51.100.7", "169.254.169.254", "0.0.0.0"].iter().any(|one| address.to_string() == *one)
        };
        let is_here = |address: IpAddr| address.is_loopback() || address.to_string() == "10.7.0.9";
        policy.judge(at.parse().unwrap(), found, is_here)
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
        for at in ["192.0.2.2:5060", "10.8.0.1:5060", "128.0.0.1:5060", "[::1]:5060", "192.0.2.1:0"] {
            assert_eq!(judge(at), Err(Refusal::Stranger), "{at}");
        }
    }

    #[test]
    fn nobodys_address_is_closed_whoever_names_it() {
        for at in ["169.254.169.254:5060", "0.0.0.0:5060", "169.254.1.1:5060", "[fe80::1]:5060"] {
            assert_eq!(judge(at), Err(Refusal::Stranger), "{at}");
        }
    }

    #[test]
    fn our_own_listeners_are_nobodys_next_hop() {
        for at in ["10.7.0.9:5060", "10.7.0.9:5070", "127.0.0.1:5070", "127.0.0.1:9091", "10.7.0.250:5070"] {
            assert_eq!(judge(at), Err(Refusal::Own), "{at}");
        }
        for at in ["10.7.0.9:5061", "127.0.0.1:5060", "10.7.0.8:5070", "10.7.0.250:5061"] {
            assert!(judge(at).is_ok(), "{at}");
        }
    }
}
