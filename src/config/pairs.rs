//! What must hold between the parts of a configuration: each name has one meaning, each neighbour one entry.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;

use super::check::Placed;
use super::report::Mistake;
use super::{Component, Listen, Peer, XmppDomain, egress};

/// No two worlds answer for the same name, and what is listed can be reached.
pub fn domains(
    components: &[Placed<Component>],
    domains: &[Placed<XmppDomain>],
    peers: &[Placed<Peer>],
    mistakes: &mut Vec<Mistake>,
) {
    let mut jids = BTreeMap::new();
    let mut sips = BTreeMap::new();
    for Placed { at, value } in components {
        if jids.insert(value.domain.as_str(), "a component").is_some() {
            mistakes.push(
                Mistake::error(at.clone(), format!("the component {} is listed twice", value.domain))
                    .help("remove one of the two"),
            );
        } else if let Some(other) = sips.insert(value.sip_domain.as_str(), value.domain.as_str()) {
            mistakes.push(
                Mistake::error(
                    at.clone(),
                    format!(
                        "{} and {other} both stand for the SIP domain {}",
                        value.domain, value.sip_domain
                    ),
                )
                .help("each component needs a `sip_domain` of its own: SIP users have one JID"),
            );
        }
    }
    for Placed { at, value } in
        components.iter().filter(|placed| placed.value.rooms && placed.value.any_domain)
    {
        mistakes.push(
            Mistake::error(
                at.clone(),
                format!("{} cannot hold rooms and stand for every SIP domain", value.domain),
            )
            .help("every SIP user would be a room: give the rooms a component of their own, without `any_domain`"),
        );
    }
    let mut aliases = BTreeMap::new();
    for Placed { at, value } in domains {
        match jids.insert(value.domain.as_str(), "an XMPP domain") {
            Some("a component") => mistakes.push(
                Mistake::error(
                    at.clone(),
                    format!("{} is a component and cannot have XMPP users", value.domain),
                )
                .help("list the domains of XMPP users here; the component is for SIP users"),
            ),
            Some(_) => mistakes.push(
                Mistake::error(at.clone(), format!("the XMPP domain {} is listed twice", value.domain))
                    .help("remove one of the two"),
            ),
            None => {}
        }
        if let Some(component) = sips.get(value.sip_alias.as_str()) {
            mistakes.push(
                Mistake::error(
                    at.clone(),
                    format!("{} is the SIP domain of the component {component} already", value.sip_alias),
                )
                .help(format!(
                    "the two worlds would answer for each other's users: give {} another name in SIP, for \
                     example sip_alias: xmpp.{}",
                    value.domain, value.sip_alias
                )),
            );
        } else if let Some(other) = aliases.insert(value.sip_alias.as_str(), value.domain.as_str())
            && other != value.domain
        {
            mistakes.push(
                Mistake::error(
                    at.clone(),
                    format!("{} and {other} have the same name in SIP, {}", value.domain, value.sip_alias),
                )
                .help("give one of them another `sip_alias`"),
            );
        }
    }
    reach(components, &aliases, peers, mistakes);
}

/// Without chat sessions nobody can be in a room.
pub fn rooms_without_msrp(
    components: &[Placed<Component>],
    domains: &[Placed<XmppDomain>],
    mistakes: &mut Vec<Mistake>,
) {
    let of_sip = components.iter().map(|placed| (&placed.at, &placed.value.domain, placed.value.rooms));
    let of_xmpp = domains.iter().map(|placed| (&placed.at, &placed.value.domain, placed.value.rooms));
    for (at, domain, _) in of_sip.chain(of_xmpp).filter(|(_, _, rooms)| *rooms) {
        mistakes.push(
            Mistake::warning(
                at.clone(),
                format!("nobody can enter the rooms of {domain} without chat sessions"),
            )
            .help("let `msrp.listen` have a listener, as in \"tcp://127.0.0.1:2855\""),
        );
    }
}

/// Every component's domain has a peer, and no peer speaks for XMPP users.
fn reach(
    components: &[Placed<Component>],
    aliases: &BTreeMap<&str, &str>,
    peers: &[Placed<Peer>],
    mistakes: &mut Vec<Mistake>,
) {
    for Placed { at, value } in peers {
        for domain in &value.may_send_from {
            if let Some(jid) = aliases.get(domain.as_str()) {
                mistakes.push(
                    Mistake::error(at.clone(), format!("this peer would speak for the XMPP users of {jid}"))
                        .help(format!(
                            "take {domain} out of its `may_send_from`: only the XMPP server speaks for them"
                        )),
                );
            } else if !components
                .iter()
                .any(|placed| placed.value.any_domain || placed.value.sip_domain == *domain)
            {
                mistakes.push(
                    Mistake::warning(at.clone(), format!("no component stands for {domain}")).help(format!(
                        "its users have no JID and cannot cross: add a component with sip_domain: {domain}"
                    )),
                );
            }
        }
    }
    for Placed { at, value } in components {
        if !peers.is_empty() && !peers.iter().any(|placed| placed.value.speaks_for(&value.sip_domain)) {
            mistakes.push(
                Mistake::warning(at.clone(), format!("no peer reaches {}", value.sip_domain))
                    .help(format!("add it to a peer: may_send_from: [ {} ]", value.sip_domain)),
            );
        }
    }
}

/// A request's source names one peer, and a peer can be spoken to.
pub fn peers(listen: &[Placed<Listen>], peers: &[Placed<Peer>], mistakes: &mut Vec<Mistake>) {
    for (index, Placed { at, value: peer }) in peers.iter().enumerate() {
        if let Some(other) = peers[..index].iter().find(|other| overlap(peer, &other.value)) {
            mistakes.push(
                Mistake::error(at.clone(), format!("this peer cannot be told from {}", other.value.uri)).help(
                    "peers are known by their address, whatever the port: join the two, or give one another \
                     address or network",
                ),
            );
        }
        if let Some(transport) = peer.transport
            && !listen.is_empty()
            && !listen.iter().any(|placed| placed.value.transport == transport)
        {
            mistakes.push(
                Mistake::warning(
                    at.clone(),
                    format!("requests go to this peer by {transport}, but nothing listens there"),
                )
                .help(format!("add a listener: {transport}://ADDRESS:PORT, so that it can send to us")),
            );
        }
        if peer.networks.iter().any(|network| network.prefix_len() == 0) {
            mistakes.push(
                Mistake::warning(at.clone(), "every address on earth is a network of this peer")
                    .help("name the networks that it speaks from"),
            );
        }
    }
}

/// Whether a request could come from both.
fn overlap(one: &Peer, other: &Peer) -> bool {
    let nets = |peer: &Peer| -> Vec<IpNet> {
        let own = peer.host.parse::<IpAddr>().ok().map(IpNet::from);
        peer.networks.iter().copied().chain(own).collect()
    };
    let meet = |a: &IpNet, b: &IpNet| a.contains(b) || b.contains(a);
    one.host == other.host || nets(one).iter().any(|a| nets(other).iter().any(|b| meet(a, b)))
}

/// No peer is ourselves, as far as that can be seen without DNS: `aliases` are addresses that we advertise.
pub fn own_peers(
    peers: &[Placed<Peer>],
    own: &[SocketAddr],
    aliases: &[IpAddr],
    mistakes: &mut Vec<Mistake>,
) {
    for Placed { at, value } in peers {
        let address = match value.host.parse::<IpAddr>() {
            Ok(address) => address,
            // Where it has no port, DNS says which.
            Err(_) if value.port.is_none() => continue,
            Err(_) if value.host == "localhost" => Ipv4Addr::LOCALHOST.into(),
            Err(_) => continue,
        };
        let place = SocketAddr::new(address, value.port.unwrap_or(5060));
        if egress::is_own(own, place, aliases, |address| address.is_loopback()) {
            mistakes.push(
                Mistake::error(at.clone(), format!("{place} is a listener of our own, and nothing is sent there"))
                    .help("write the address and port that the SIP server listens on, or give our listener another port"),
            );
        }
    }
}
