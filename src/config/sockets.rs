//! The sockets that a configuration asks for: whether all of them can be had, and others told how to reach them.

use std::net::SocketAddr;

use super::check::Placed;
use super::report::Mistake;
use super::yaml::At;
use super::{Listen, MsrpListen};
use crate::sip::flow::Transport;

/// One of them.
pub struct Socket {
    purpose: Purpose,
    /// Where it is written; nowhere, where it is a default.
    at: Option<At>,
    transport: Transport,
    /// What it is bound to.
    pub address: SocketAddr,
    /// As it is written.
    text: String,
}

/// What a socket is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Sip,
    Http,
    Msrp,
}

impl Purpose {
    /// The option that asks for it, a port that fits, and how to have none where there is a default.
    fn words(self) -> (&'static str, u16, &'static str) {
        match self {
            Purpose::Sip => ("sip.listen", 5070, ""),
            Purpose::Http => ("http", 9091, "http: none"),
            Purpose::Msrp => ("msrp.listen", 2855, "msrp: { listen: [] }"),
        }
    }
}

impl Socket {
    /// For SIP.
    pub fn sip(Placed { at, value }: &Placed<Listen>) -> Socket {
        let Listen { transport, address } = *value;
        let text = format!("{transport}://{address}");
        Socket { purpose: Purpose::Sip, at: Some(at.clone()), transport, address, text }
    }

    /// For our pages.
    pub fn http(address: SocketAddr, at: Option<At>) -> Socket {
        let text = address.to_string();
        Socket { purpose: Purpose::Http, at, transport: Transport::Tcp, address, text }
    }

    /// For chat sessions.
    pub fn msrp(listen: MsrpListen, at: Option<At>) -> Socket {
        let (address, text) = (listen.address, listen.to_string());
        Socket { purpose: Purpose::Msrp, at, transport: Transport::Tcp, address, text }
    }

    /// Whether it takes every address of the other's family. That of our pages takes IPv4 with IPv6, as the system has
    /// it; for the others `[::]` and `0.0.0.0` are two (`shell/sockets.rs`).
    fn has_all(&self, other: &Socket) -> bool {
        let is_both = self.purpose == Purpose::Http && self.address.is_ipv6();
        self.address.ip().is_unspecified() && (is_both || self.address.is_ipv4() == other.address.is_ipv4())
    }

    fn clashes(&self, other: &Socket) -> bool {
        self.transport == other.transport
            && self.address.port() == other.address.port()
            && (self.address.ip() == other.address.ip() || self.has_all(other) || other.has_all(self))
    }
}

/// Each can be had beside those before it.
pub fn clashes(sockets: &[Socket], mistakes: &mut Vec<Mistake>) {
    for (index, socket) in sockets.iter().enumerate() {
        let Some(other) = sockets[..index].iter().find(|other| socket.clashes(other)) else { continue };
        let (option, port, none) = socket.purpose.words();
        let (address, is_of_one) = (socket.address, socket.purpose == other.purpose);
        mistakes.push(match (&socket.at, &other.at) {
            (Some(at), _) if is_of_one && socket.text == other.text => {
                Mistake::error(at.clone(), format!("{} is listed twice", socket.text))
                    .help("remove one of the two")
            }
            (Some(at), _) if is_of_one => {
                Mistake::error(at.clone(), format!("{address} is taken by {}", other.text))
                    .help("choose another port for one of the two, or remove one")
            }
            (Some(at), _) => {
                Mistake::error(at.clone(), format!("{address} is taken by `{}`", other.purpose.words().0))
                    .help(format!("choose another port, as in {port}"))
            }
            (None, Some(at)) => Mistake::error(at.clone(), format!("{address} is where `{option}` is"))
                .help(format!("choose another port for one of them, or write `{none}`")),
            // Defaults are apart from each other.
            (None, None) => continue,
        });
    }
}

/// What is on every address has a name that others are told: `sip` and `msrp` say whether that is written.
pub fn unnamed(sockets: &[Socket], sip: bool, msrp: bool, mistakes: &mut Vec<Mistake>) {
    for socket in sockets.iter().filter(|socket| socket.address.ip().is_unspecified()) {
        let (why, help) = match socket.purpose {
            Purpose::Sip if !sip => (
                "peers must be told one",
                "add `advertise` to `sip`: the name or address that peers reach this machine by",
            ),
            Purpose::Msrp if !sip && !msrp => (
                "paths of chat sessions must name one",
                "add `advertise` to `msrp` or `sip`: the name or address that clients reach this machine by",
            ),
            _ => continue,
        };
        let what = format!("{} is every address: {why}", socket.address.ip());
        mistakes.extend(socket.at.clone().map(|at| Mistake::error(at, what).help(help)));
    }
}
