//! Where we connect to for somebody else (RFC 4975 §14.5): a pure function of the address that DNS gave.
//!
//! Whoever opens a connection or sends a datagram needs a [`Permit`], and only the policies here give one: [`sip`] for
//! requests and answers, [`Policy`] for MSRP, [`Permit::named`] for what the admin wrote itself.
//!
//! The path of an SDP is written by a stranger. Without a rule he chooses what we knock at: services of this machine,
//! of its network, the metadata service of a cloud, ourselves. So public addresses are open to all, others where an
//! admin has named them: in `msrp.connect_to`, as the peer by whom the path came, as one of its networks, or by that peer
//! being of that kind itself. Some are never open. An address is judged in its plain form: one that wraps an IPv4 address
//! is that address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use super::Config;
use crate::sip::flow::Transport;

pub mod sip;

/// Leave to send to one address. `shell/sockets` takes nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit(SocketAddr);

impl Permit {
    /// For a place that the admin wrote itself: the XMPP server, our own HTTP page.
    pub fn named(address: SocketAddr) -> Permit {
        Permit(address)
    }

    /// Where.
    pub fn address(self) -> SocketAddr {
        self.0
    }
}

/// Whether an address is of a kind that nobody is ever reached at: nobody's, link-local, multicast, or that of a cloud's
/// metadata. DNS that says so lies.
pub fn is_never(address: IpAddr) -> bool {
    never(address).is_some()
}

/// The name of that kind, if an address is of one.
pub fn never(address: IpAddr) -> Option<&'static str> {
    match kind(address) {
        Kind::Never(name) => Some(name),
        _ => None,
    }
}

/// Whether what goes to this address comes to one of our own listeners: to the address of one, to one that is on every
/// address of this machine, or by a name that we are reached by. `is_here` is asked for the second alone.
pub fn is_own(
    own: &[SocketAddr],
    at: SocketAddr,
    aliases: &[IpAddr],
    is_here: impl Fn(IpAddr) -> bool,
) -> bool {
    let address = plain(at.ip());
    own.iter().filter(|own| own.port() == at.port()).any(|own| {
        plain(own.ip()) == address
            || aliases.iter().any(|alias| plain(*alias) == address)
            || own.ip().is_unspecified() && is_here(address)
    })
}

/// What an admin has said, and what we are ourselves.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// `msrp.connect_to`.
    connect_to: Vec<IpNet>,
    /// Where we listen ourselves, by TCP.
    own: Vec<SocketAddr>,
}

/// What is looked up for a judgement.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    /// The addresses of the peer by whom the path came.
    pub peer: &'a [IpAddr],
    /// Its `networks`.
    pub networks: &'a [IpNet],
    /// The admin wrote where it leads: as our relay.
    pub is_named: bool,
    /// The addresses that our advertised names have.
    pub aliases: &'a [IpAddr],
    /// Whether an address is one of this machine.
    pub is_here: &'a dyn Fn(IpAddr) -> bool,
}

/// Why an address is not connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is one of our own listeners.
    Own,
    /// It is of a kind that is never connected to.
    Never(&'static str),
    /// It is of a kind that has to be named.
    Unnamed(&'static str),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refusal::Own => out.write_str("a listener of our own"),
            Refusal::Never(kind) => write!(out, "{kind}, which is never connected to"),
            Refusal::Unnamed(kind) => write!(out, "{kind}; `msrp.connect_to` names what is allowed"),
        }
    }
}

/// What kind of address it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Public,
    /// Open where the peer is of this kind.
    Near(&'static str),
    /// Open where it is named.
    Special(&'static str),
    Never(&'static str),
}

const LOOPBACK: Kind = Kind::Near("an address of this machine alone");
const PRIVATE: Kind = Kind::Near("a private address");
const SHARED: Kind = Kind::Near("an address of a provider's network (RFC 6598)");
const LINK_LOCAL: Kind = Kind::Never("a link-local address");
const METADATA: Kind = Kind::Never("the address of a cloud's metadata");
const NOBODY: Kind = Kind::Never("nobody's address");
const MULTICAST: Kind = Kind::Never("a multicast or broadcast address");
const DOCUMENTATION: Kind = Kind::Special("an address for documentation");
const RESERVED: Kind = Kind::Special("a reserved address");

impl Policy {
    /// From the configuration, whose listeners are bound.
    pub fn new(config: &Config) -> Policy {
        let sip = config.sip.listen.iter().filter(|listen| listen.transport == Transport::Tcp);
        let msrp = config.msrp.listen.iter().map(|listen| listen.address);
        Policy {
            connect_to: config.msrp.connect_to.clone(),
            own: sip.map(|listen| listen.address).chain(msrp).chain(config.http).collect(),
        }
    }

    /// Whether one of our listeners has this port.
    pub fn has_port(&self, port: u16) -> bool {
        self.own.iter().any(|own| own.port() == port)
    }

    /// The address to connect to, or why not.
    pub fn judge(&self, at: SocketAddr, around: Around<'_>) -> Result<Permit, Refusal> {
        let address = plain(at.ip());
        if is_own(&self.own, at, around.aliases, around.is_here) {
            return Err(Refusal::Own);
        }
        let kind = kind(address);
        if let Kind::Never(name) = kind {
            return Err(Refusal::Never(name));
        }
        let mut peer = around.peer.iter().map(|peer| plain(*peer));
        let holds = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        let is_open = kind == Kind::Public
            || around.is_named
            || holds(&self.connect_to)
            || holds(around.networks)
            || peer.any(|peer| peer == address || matches!(kind, Kind::Near(_)) && self::kind(peer) == kind);
        match kind {
            _ if is_open => Ok(Permit(SocketAddr::new(address, at.port()))),
            Kind::Near(name) | Kind::Special(name) | Kind::Never(name) => Err(Refusal::Unnamed(name)),
            Kind::Public => Ok(Permit(SocketAddr::new(address, at.port()))),
        }
    }
}

/// The address without wrapping. NAT64 and 6to4 wrap an IPv4 address too, but are told apart by [`kind`]: a connection
/// to them needs the wrapped form.
fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

fn kind(address: IpAddr) -> Kind {
    match plain(address) {
        IpAddr::V4(address) => kind_of_v4(address),
        IpAddr::V6(address) => kind_of_v6(address),
    }
}

fn kind_of_v4(address: Ipv4Addr) -> Kind {
    match address.octets() {
        // AWS, Azure and others are link-local; these are not.
        [168, 63, 129, 16] | [100, 100, 100, 200] | [192, 0, 0, 192] => METADATA,
        [169, 254, ..] => LINK_LOCAL,
        [0, ..] => NOBODY,
        [224..=239, ..] | [255, 255, 255, 255] => MULTICAST,
        [127, ..] => LOOPBACK,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => PRIVATE,
        [100, 64..=127, ..] => SHARED,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => DOCUMENTATION,
        [192, 0, 0, _] | [192, 88, 99, _] | [198, 18..=19, ..] | [240..=255, ..] => RESERVED,
        _ => Kind::Public,
    }
}

fn kind_of_v6(address: Ipv6Addr) -> Kind {
    let wrapped = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        // What a translator would reach for us is nearer to it than to us: only public addresses are sure.
        match kind_of_v4(Ipv4Addr::new(a, b, c, d)) {
            Kind::Public => Kind::Public,
            Kind::Never(name) => Kind::Never(name),
            _ => RESERVED,
        }
    };
    match address.segments() {
        // AWS, Google and Oracle.
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254]
        | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254]
        | [0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe] => METADATA,
        [0, 0, 0, 0, 0, 0, 0, 1] => LOOPBACK,
        // Unspecified, and IPv4 addresses in the form that RFC 4291 §2.5.5.1 has abandoned.
        [0, 0, 0, 0, 0, 0, ..] => NOBODY,
        // NAT64 (RFC 6052) and 6to4 (RFC 3056).
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => wrapped(high, low),
        [0x2002, high, low, ..] => wrapped(high, low),
        [0xfe80..=0xfebf, ..] => LINK_LOCAL,
        [0xff00..=0xffff, ..] => MULTICAST,
        [0xfc00..=0xfdff, ..] => PRIVATE,
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => DOCUMENTATION,
        // Teredo, benchmarks and other protocols' own (RFC 6890).
        [0x2001, 0..=0x1ff, ..] => RESERVED,
        [0x2000..=0x3fff, ..] => Kind::Public,
        _ => RESERVED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(policy: &Policy, at: &str, peer: &[&str]) -> Result<String, Refusal> {
        judge_with(policy, at, peer, &[], false)
    }

    fn judge_with(
        policy: &Policy,
        at: &str,
        peer: &[&str],
        networks: &[IpNet],
        is_named: bool,
    ) -> Result<String, Refusal> {
        let peer: Vec<IpAddr> = peer.iter().map(|peer| peer.parse().unwrap()).collect();
        let is_here = |address: IpAddr| address.is_loopback() || address.to_string() == "192.168.7.7";
        let aliases = ["9.9.9.1".parse().unwrap()];
        let around = Around { peer: &peer, networks, is_named, aliases: &aliases, is_here: &is_here };
        policy.judge(at.parse().unwrap(), around).map(|permit| permit.address().to_string())
    }

    fn open(at: &str, peers: &[&str]) -> bool {
        let address = if at.contains(':') { format!("[{at}]:2855") } else { format!("{at}:2855") };
        judge(&Policy::default(), &address, peers).is_ok()
    }

    #[test]
    fn public_addresses_are_open() {
        for at in [
            "9.9.9.9",
            "172.15.0.1",
            "172.32.0.1",
            "100.128.0.1",
            "2a00:1450::1",
            "2606:4700::1",
            "64:ff9b::909:909",
        ] {
            assert!(open(at, &[]), "{at}");
        }
    }

    #[test]
    fn what_is_not_public_is_closed_without_a_word() {
        for at in [
            "127.0.0.1",
            "127.9.9.9",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.1",
            "198.18.0.1",
            "240.0.0.1",
            "192.0.0.1",
            "::1",
            "fc00::1",
            "fd12::1",
            "2001:db8::1",
            "2001::1",
            "3fff::1",
            "64:ff9b::a00:1",
            "64:ff9b:1::909:909",
            "2002:a00:1::1",
            "100::1",
            "5f00::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
        ] {
            assert!(!open(at, &["9.9.9.9"]), "{at}");
        }
    }

    #[test]
    fn the_kinds_that_the_peer_has_are_open() {
        assert!(open("10.1.2.3", &["192.168.0.1"]) && open("fd12::7", &["10.0.0.1"]));
        assert!(open("127.0.0.1", &["::1"]) && open("::ffff:127.0.0.1", &["127.0.0.1"]));
        assert!(open("100.64.0.9", &["100.127.0.1"]));
        assert!(!open("10.1.2.3", &["127.0.0.1"]) && !open("127.0.0.1", &["10.0.0.1"]));
        assert!(open("192.0.2.7", &["192.0.2.7"]) && !open("192.0.2.8", &["192.0.2.7"]));
    }

    #[test]
    fn some_are_never_open_whatever_is_named() {
        let all = vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
        let policy = Policy { connect_to: all, own: Vec::new() };
        for at in [
            "169.254.169.254:80",
            "169.254.1.1:2855",
            "0.0.0.0:2855",
            "0.1.2.3:2855",
            "224.0.0.1:2855",
            "255.255.255.255:1",
            "168.63.129.16:80",
            "100.100.100.200:80",
            "192.0.0.192:80",
            "[fd00:ec2::254]:80",
            "[fd20:ce::254]:80",
            "[fd00:c1::a9fe:a9fe]:80",
            "[fe80::1]:2855",
            "[febf::1]:2855",
            "[::]:2855",
            "[::7f00:1]:2855",
            "[ff02::1]:2855",
            "[::ffff:169.254.169.254]:80",
            "[64:ff9b::a9fe:a9fe]:80",
            "[2002:a9fe:a9fe::1]:80",
        ] {
            assert!(matches!(judge(&policy, at, &["169.254.1.1"]), Err(Refusal::Never(_))), "{at}");
        }
        assert!(judge(&policy, "10.0.0.1:2855", &[]).is_ok());
    }

    #[test]
    fn named_networks_are_open() {
        let policy = Policy { connect_to: vec!["10.7.0.0/16".parse().unwrap()], ..Policy::default() };
        let networks = ["2001:db8::/32".parse().unwrap()];
        assert!(judge(&policy, "10.7.1.1:1", &[]).is_ok() && judge(&policy, "[2001:db8::7]:1", &[]).is_err());
        assert!(judge_with(&policy, "[2001:db8::7]:1", &[], &networks, false).is_ok());
        let refusal = judge(&policy, "10.8.1.1:1", &[]).err().unwrap();
        assert_eq!(refusal.to_string(), "a private address; `msrp.connect_to` names what is allowed");
    }

    #[test]
    fn what_the_admin_wrote_is_open_unless_nothing_opens_it() {
        let named = |at| judge_with(&Policy::default(), at, &[], &[], true);
        assert!(named("10.0.0.1:2855").is_ok() && named("127.0.0.1:2855").is_ok());
        assert!(matches!(named("169.254.169.254:80"), Err(Refusal::Never(_))));
    }

    #[test]
    fn we_do_not_connect_to_ourselves() {
        let policy = Policy {
            connect_to: vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()],
            own: vec!["0.0.0.0:2855".parse().unwrap(), "[::1]:5070".parse().unwrap()],
        };
        for at in
            ["127.0.0.1:2855", "192.168.7.7:2855", "[::ffff:192.168.7.7]:2855", "9.9.9.1:2855", "[::1]:5070"]
        {
            assert_eq!(judge(&policy, at, &[]), Err(Refusal::Own), "{at}");
        }
        for at in ["192.168.7.7:2856", "192.168.7.8:2855", "[::2:1]:5070", "9.9.9.1:80"] {
            assert_ne!(judge(&policy, at, &[]), Err(Refusal::Own), "{at}");
        }
    }

    #[test]
    fn an_address_is_pinned_in_its_plain_form() {
        let at = judge(&Policy::default(), "[::ffff:9.9.9.9]:2855", &[]);
        assert_eq!(at.as_deref(), Ok("9.9.9.9:2855"));
    }
}
