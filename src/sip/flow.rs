//! Where a message came from and where one goes: a transport, two addresses and, on TCP, a connection.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

/// The transports that SIP runs over here (RFC 3261 §18).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Reliable, ordered.
    Tcp,
    /// Datagrams.
    Udp,
}

impl Transport {
    /// As it stands in a Via: `TCP`.
    pub fn via(self) -> &'static str {
        match self {
            Transport::Tcp => "TCP",
            Transport::Udp => "UDP",
        }
    }

    /// As it stands in a `transport` parameter or a listener's URL: `tcp`.
    pub fn param(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.param())
    }
}

/// A TCP connection, numbered by the shell; never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// The way a message came in, and so the way its answer goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// Over what.
    pub transport: Transport,
    /// Which of our listeners, or our end of the connection.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// The connection, on TCP.
    pub conn: Option<ConnId>,
}

/// Where a message is to go. On TCP the shell takes `conn` while it is open, else any open connection to `remote`,
/// else a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// Over what.
    pub transport: Transport,
    /// The listener to send from, on UDP; any of the address family when absent.
    pub local: Option<SocketAddr>,
    /// The other end.
    pub remote: SocketAddr,
    /// A connection to prefer.
    pub conn: Option<ConnId>,
}

/// The connection that made a dialog, for the first request inside it: there it cannot overtake the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inlet {
    /// The connection.
    pub conn: ConnId,
    /// Who is at its other end.
    pub source: IpAddr,
    /// Whatever is sent to that address inside the dialog is for who is at the other end: the peer itself, or a proxy
    /// that stays on the way. Otherwise several may be there, and only what goes to the peer anyhow is for it.
    pub is_next: bool,
}

impl Flow {
    /// The way back along this flow.
    pub fn back(&self) -> Target {
        Target { transport: self.transport, local: Some(self.local), remote: self.remote, conn: self.conn }
    }
}

/// A SIP message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SipOut {
    /// The bytes.
    pub bytes: Bytes,
    /// Where.
    pub target: Target,
    /// For [`Input::SendFailed`]; absent for what nobody waits for.
    pub id: Option<SendId>,
}

/// Names one attempt to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SendId(pub u64);

/// What was wrong with bytes that should have been a SIP message.
#[derive(Clone, Debug)]
pub struct BadSip {
    /// The bytes, at most 64 KiB of them.
    pub bytes: Bytes,
    /// What the parser said.
    pub reason: String,
    /// Framing is lost: the connection must be closed.
    pub fatal: bool,
}

/// The way of a peer's datagrams, for tests.
#[cfg(test)]
pub fn of_a_peer() -> Flow {
    let address = |text: &str| text.parse().expect("an address");
    Flow {
        transport: Transport::Udp,
        local: address("192.0.2.9:5060"),
        remote: address("192.0.2.1:5060"),
        conn: None,
    }
}
