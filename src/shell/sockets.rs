//! The only place that opens a socket, and the keeper before it: every connection and every datagram needs a
//! [`Permit`], which the policies of [`egress`](crate::config::egress) give after DNS.
//!
//! For SIP the keeper also knows who is a neighbour, a configured peer, before a byte of a connection is read: strangers
//! get small rooms.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UdpSocket, lookup_host};

use super::log::Log;
use super::meters::Meters;
use crate::config::egress::{Permit, sip};
use crate::config::{Config, Listen};
use crate::sip::flow::Transport;
use crate::sip::locate::{Located, Query};
use crate::words::note::Level;

/// What the kernel may keep of datagrams while we are busy; it grants what its own limits allow.
const UDP_BUFFER: usize = 4 * 1024 * 1024;

/// How long an address of a peer's name is good after DNS gave it last, once DNS gives others: cores ask every five
/// minutes, each for itself.
const GOOD_FOR: Duration = Duration::from_secs(900);

/// How long it is believed that an address is of this machine, or is not.
const HERE_FOR: Duration = Duration::from_secs(60);

/// How many addresses are known at most; the one that DNS gave longest ago makes room.
const ADDRESSES: usize = 1024;

/// How often a refusal is told, at most.
const SELDOM: Duration = Duration::from_secs(60);

/// Where SIP may go, and who may come.
pub struct Doorkeeper {
    policy: sip::Policy,
    /// When DNS gave an address to a peer's name last: by address, with the name.
    found: RwLock<BTreeMap<IpAddr, (String, Instant)>>,
    /// Which addresses are of this machine, and when that was seen: to see it costs a socket, too much for a datagram.
    here: Mutex<BTreeMap<IpAddr, (bool, Instant)>>,
    told: Mutex<Option<Instant>>,
    refused: metrics::Counter,
    log: Log,
}

impl Doorkeeper {
    /// From the configuration, whose listeners are bound.
    pub fn new(config: &Config, log: &Log, meters: &Meters) -> Doorkeeper {
        Doorkeeper {
            policy: sip::Policy::new(config),
            found: RwLock::default(),
            here: Mutex::default(),
            told: Mutex::default(),
            refused: meters.plain_counter("sip_forbidden_total"),
            log: log.clone(),
        }
    }

    /// DNS answered a question about a peer.
    pub fn learn(&self, query: &Query, answer: &[Located]) {
        let Query::Address(name) = query else { return };
        let addresses: Vec<IpAddr> = answer.iter().filter_map(address_of).collect();
        if addresses.is_empty() {
            // What DNS once said stays valid while it says nothing.
            return;
        }
        let now = Instant::now();
        let mut found = self.found.write().unwrap_or_else(PoisonError::into_inner);
        found.retain(|_, (known, at)| known != name || now.duration_since(*at) < GOOD_FOR);
        for address in addresses {
            found.insert(address, (name.clone(), now));
        }
        while found.len() > ADDRESSES
            && let Some(oldest) = found.iter().min_by_key(|(_, (_, at))| *at).map(|(address, _)| *address)
        {
            found.remove(&oldest);
        }
    }

    /// Whether a configured peer is at this address.
    pub fn is_neighbour(&self, address: IpAddr) -> bool {
        self.policy.names(address) || self.is_found(address.to_canonical())
    }

    /// Leave to send SIP there, or why not, in words.
    pub fn sip(&self, transport: Transport, remote: SocketAddr) -> Result<Permit, String> {
        let judged =
            self.policy.judge(remote, |address| self.is_found(address), |address| self.is_here(address));
        judged.map_err(|refusal| {
            let why = format!("{transport}://{remote}: {refusal}");
            self.refused.increment(1);
            if self.is_to_be_told() {
                self.log.line(Level::Warn, "sip-forbidden", &[("why", why.clone())]);
            }
            why
        })
    }

    fn is_found(&self, address: IpAddr) -> bool {
        self.found.read().unwrap_or_else(PoisonError::into_inner).contains_key(&address)
    }

    fn is_here(&self, address: IpAddr) -> bool {
        let mut here = self.here.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((is_here, at)) = here.get(&address)
            && at.elapsed() < HERE_FOR
        {
            return *is_here;
        }
        if here.len() >= ADDRESSES {
            here.clear();
        }
        let is_here = is_here(address);
        here.insert(address, (is_here, Instant::now()));
        is_here
    }

    fn is_to_be_told(&self) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = told.is_none_or(|last| last.elapsed() >= SELDOM);
        if is_due {
            *told = Some(Instant::now());
        }
        is_due
    }
}

fn address_of(record: &Located) -> Option<IpAddr> {
    match record {
        Located::Address(address) => Some(address.to_canonical()),
        _ => None,
    }
}

/// A bound socket, which listens where it can.
pub fn bind(listener: &Listen) -> io::Result<Socket> {
    let domain = Domain::for_address(listener.address);
    let (kind, protocol) = match listener.transport {
        Transport::Udp => (Type::DGRAM, Protocol::UDP),
        Transport::Tcp => (Type::STREAM, Protocol::TCP),
    };
    let socket = Socket::new(domain, kind, Some(protocol))?;
    if listener.address.is_ipv6() {
        // So that [::] and 0.0.0.0 are two listeners, and an address is never an IPv4 address in disguise.
        socket.set_only_v6(true)?;
    }
    if listener.transport == Transport::Tcp {
        // A port whose old connections are in TIME_WAIT is free; one with a listener is not.
        socket.set_reuse_address(true)?;
    } else {
        // The default is too small for a burst; a smaller grant is no error.
        let _ = socket.set_recv_buffer_size(UDP_BUFFER);
        let _ = socket.set_send_buffer_size(UDP_BUFFER / 4);
    }
    socket.set_nonblocking(true)?;
    socket.bind(&listener.address.into())?;
    if listener.transport == Transport::Tcp {
        socket.listen(1024)?;
    }
    Ok(socket)
}

/// A listener for our own pages.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Opens a connection.
pub async fn connect(permit: Permit) -> io::Result<TcpStream> {
    TcpStream::connect(permit.address()).await
}

/// The same for a command that waits.
pub fn connect_within(permit: Permit, patience: Duration) -> io::Result<std::net::TcpStream> {
    std::net::TcpStream::connect_timeout(&permit.address(), patience)
}

/// The addresses of a place that the admin wrote.
pub async fn named(place: &str) -> io::Result<Vec<Permit>> {
    Ok(lookup_host(place).await?.map(Permit::named).collect())
}

/// Sends a datagram, if the kernel takes it at once.
pub fn try_send(socket: &UdpSocket, bytes: &[u8], permit: Permit) -> io::Result<usize> {
    socket.try_send_to(bytes, permit.address())
}

/// Sends a datagram, waiting for the kernel.
pub async fn send(socket: &UdpSocket, bytes: &[u8], permit: Permit) -> io::Result<usize> {
    socket.send_to(bytes, permit.address()).await
}

/// Whether an address is one of this machine: only then a socket can have it.
pub fn is_here(address: IpAddr) -> bool {
    std::net::UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::log::Format;

    fn keeper() -> Doorkeeper {
        let (log, _) = Log::start(Level::Error, Format::Logfmt).unwrap();
        Doorkeeper::new(&Config::empty(), &log, &Meters::new())
    }

    fn ask(name: &str) -> Query {
        Query::Address(name.into())
    }

    fn address(text: &str) -> Located {
        Located::Address(text.parse().unwrap())
    }

    #[test]
    fn what_dns_gave_to_a_peer_is_open_and_nothing_else() {
        let keeper = keeper();
        let at = "198.51.100.7:5060".parse().unwrap();
        assert!(keeper.sip(Transport::Tcp, at).is_err() && !keeper.is_neighbour(at.ip()));
        keeper.learn(&ask("p.example"), &[address("198.51.100.7")]);
        keeper.learn(&ask("p.example"), &[]);
        assert_eq!(keeper.sip(Transport::Tcp, at).map(Permit::address), Ok(at));
        assert!(keeper.is_neighbour(at.ip()));
        let why = keeper.sip(Transport::Udp, "198.51.100.8:5060".parse().unwrap()).unwrap_err();
        assert_eq!(why, "udp://198.51.100.8:5060: no address of a peer");
    }

    #[test]
    fn a_listener_on_every_address_is_known_by_each() {
        let (log, _) = Log::start(Level::Error, Format::Logfmt).unwrap();
        let mut config = Config::empty();
        config.http = Some("0.0.0.0:9091".parse().unwrap());
        let keeper = Doorkeeper::new(&config, &log, &Meters::new());
        keeper.learn(&ask("p.example"), &[address("127.0.0.1"), address("198.51.100.7")]);
        for _ in 0..2 {
            let why = keeper.sip(Transport::Tcp, "127.0.0.1:9091".parse().unwrap()).unwrap_err();
            assert_eq!(why, "tcp://127.0.0.1:9091: a listener of our own");
            assert!(keeper.sip(Transport::Tcp, "198.51.100.7:9091".parse().unwrap()).is_ok());
        }
        assert!(keeper.sip(Transport::Tcp, "127.0.0.1:5060".parse().unwrap()).is_ok());
    }

    #[test]
    fn so_many_addresses_are_known_and_no_more() {
        let keeper = keeper();
        for number in 0..2 * ADDRESSES as u32 {
            let here = IpAddr::from(number.to_be_bytes());
            keeper.learn(&ask(&number.to_string()), &[Located::Address(here)]);
        }
        assert_eq!(keeper.found.read().unwrap().len(), ADDRESSES);
    }
}
