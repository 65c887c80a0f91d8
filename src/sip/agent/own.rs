//! What we are to others: our listeners, and the names by which messages know them.

use std::net::SocketAddr;

use sipx_sip::headers::Via;

use crate::config::{Listen, Sip};
use crate::sip::flow::Transport;
use crate::words::id::Partition;

/// Our name and version, for User-Agent and Server.
pub const PRODUCT: &str = concat!("Mostar/", env!("CARGO_PKG_VERSION"));

/// What a gateway without listeners is called.
const NOWHERE: &str = "mostar.invalid";

/// Our listeners.
pub struct Own {
    sip: Sip,
    /// What a Via of ours says, for each listener.
    names: Vec<String>,
}

impl Own {
    pub fn new(sip: &Sip) -> Own {
        let names = sip.listen.iter().map(|listen| sip.host_port(listen)).collect();
        Own { sip: sip.clone(), names }
    }

    /// The length of the longest name by which a Via of ours knows us.
    pub fn longest_name(&self) -> usize {
        self.names.iter().map(String::len).max().unwrap_or_default().max(NOWHERE.len())
    }

    /// The transports that we listen on, UDP first (RFC 3263 §4.1).
    pub fn transports(&self) -> Vec<Transport> {
        [Transport::Udp, Transport::Tcp].into_iter().filter(|one| self.listens(*one)).collect()
    }

    pub fn listens(&self, transport: Transport) -> bool {
        self.sip.listen.iter().any(|listen| listen.transport == transport)
    }

    /// Whether a datagram of ours can reach this address at all: over IPv6 only with a listener for it.
    pub fn reaches(&self, transport: Transport, remote: &SocketAddr) -> bool {
        transport == Transport::Tcp || self.fits(transport, remote).is_some()
    }

    /// The place of the listener for this transport and family.
    fn fits(&self, transport: Transport, remote: &SocketAddr) -> Option<usize> {
        self.sip
            .listen
            .iter()
            .position(|one| one.transport == transport && one.address.is_ipv4() == remote.is_ipv4())
    }

    /// What our Via says in a request to `remote`, and the listener to send it from.
    pub fn sent_by(&self, transport: Transport, remote: &SocketAddr) -> (&str, Option<SocketAddr>) {
        let same = |one: &Listen| one.transport == transport;
        let listen = self.fits(transport, remote).or_else(|| self.sip.listen.iter().position(same));
        let local =
            listen.filter(|_| transport == Transport::Udp).map(|place| self.sip.listen[place].address);
        (self.names.get(listen.unwrap_or(0)).map_or(NOWHERE, String::as_str), local)
    }

    /// Our URI without a user.
    pub fn uri(&self) -> String {
        let host = self.sip.listen.first().map(|listen| self.sip.host_port(listen));
        format!("sip:mostar@{}", host.unwrap_or_else(|| NOWHERE.to_owned()))
    }

    /// Whether a Via is one of ours: our name, and a branch that we can have minted.
    pub fn is_own_via(&self, via: &Via) -> bool {
        let branch = via.branch().unwrap_or_default();
        let token = branch.strip_prefix(b"z9hG4bK").and_then(|token| std::str::from_utf8(token).ok());
        token.and_then(Partition::of_token).is_some() && {
            let name = format!("{}:{}", via.host, via.port.unwrap_or(5060));
            self.names.iter().any(|known| known.eq_ignore_ascii_case(&name))
        }
    }
}
