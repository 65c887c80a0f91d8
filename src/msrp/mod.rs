//! The Message Session Relay Protocol (RFC 4975; RFC 4976 and RFC 6135 as far as an endpoint is concerned), without
//! I/O and without a word of any other protocol.
//!
//! # Who does what
//!
//! The **shell** owns listeners, sockets, TLS, DNS and one [`frame::decoder::Decoder`] for each connection. It hands
//! each frame to the owner of its partition ([`partition`]), and answers what belongs to nobody by [`stray`]. It
//! decides which addresses may be connected to, pins the address that DNS gave, and closes a connection
//!
//! - whose bytes are [`Garbage`](frame::decoder::Garbage), or whose frame takes too long or is never ended;
//! - that takes no bytes for too long;
//! - that was accepted and that no owner has asked to keep in time;
//! - that every owner who kept it has released, after what was handed over has gone.
//!
//! It tells [`MsrpIn::Lost`] to each owner that keeps a connection when it ends, and to one that keeps or uses a
//! connection that is gone already. A connection of [`MsrpOut::Connect`] is kept by whoever asked for it, from the
//! start. After each write it tells [`MsrpIn::Drained`] to those whose bytes have left for the operating system.
//!
//! The **core** owns sessions, in [`connections::Connections`], one for each gateway: which session uses which
//! connection, what is sent next, what is answered. It never has more than [`connections::WINDOW`] bytes of a
//! connection with the shell, so that many sessions share one fairly.
//!
//! The **owner** of the sessions, a feature, gives a session's URI to an SDP ([`Connections::offer`]), says what the SDP
//! settled ([`Connections::start`]), sends messages, and answers each that came, once it is safe. It keeps what it sent
//! until it hears what became of it, and it judges doubles: two messages with one Message-ID, in one session or two.
//!
//! | module | what it holds |
//! |---|---|
//! | [`uri`], [`path`] | addresses, and how they are compared |
//! | [`frame`] | requests and responses: read, printed |
//! | [`message`] | whole messages, and what their senders want to be told |
//! | [`nickname`] | names in a room |
//! | [`reassembly`] | chunks to messages |
//! | [`relay`] | admission to a relay of our own |
//! | [`session`] | one session |
//! | [`connections`] | all sessions of an owner, and their connections |
//!
//! [`Connections::offer`]: connections::Connections::offer
//! [`Connections::start`]: connections::Connections::start

pub mod connections;
pub mod frame;
pub mod message;
pub mod nickname;
pub mod path;
mod pieces;
pub mod reassembly;
pub mod relay;
pub mod session;
pub mod uri;

use bytes::Bytes;

use self::frame::Frame;
use self::uri::Hop;
use crate::words::id::Partition;

/// A connection, numbered by the shell; never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// A connection and what matters about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link {
    /// Which.
    pub conn: ConnId,
    /// TLS protects it, and the other end's certificate is as it should be.
    pub secure: bool,
}

/// Names one attempt to connect, within one owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId(pub u64);

/// On whose word a connection is opened: where it may lead depends on that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Behalf {
    /// A path that came by this peer, by its place in the configuration.
    Peer(usize),
    /// The admin's: a relay of our own.
    Ours,
}

/// What the shell tells.
#[derive(Debug)]
pub enum MsrpIn {
    /// A frame came over a connection, opened or accepted.
    Frame {
        /// The connection.
        link: Link,
        /// The frame.
        frame: Box<Frame>,
    },
    /// The connection of a [`MsrpOut::Connect`] stands.
    Connected {
        /// Which attempt.
        attempt: AttemptId,
        /// The connection.
        link: Link,
    },
    /// There will be no connection: it is refused, forbidden, or took too long.
    NotConnected {
        /// Which attempt.
        attempt: AttemptId,
        /// Why; where it is forbidden, with the address and the key to set.
        why: String,
    },
    /// So many more bytes of this owner have left for the operating system.
    Drained {
        /// Over which connection.
        conn: ConnId,
        /// How many.
        bytes: usize,
    },
    /// A connection is gone.
    Lost {
        /// Which.
        conn: ConnId,
        /// Why.
        why: String,
    },
}

/// What the shell is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MsrpOut {
    /// Open a connection.
    Connect {
        /// For the answer.
        attempt: AttemptId,
        /// Where to.
        hop: Hop,
        /// On whose word.
        behalf: Behalf,
        /// The fingerprint that the other end's certificate must have, instead of a name and an authority.
        fingerprint: Option<String>,
    },
    /// Send bytes: whole frames.
    Send {
        /// Over which connection.
        conn: ConnId,
        /// The bytes.
        bytes: Bytes,
    },
    /// Sessions of this owner use an accepted connection.
    Keep(ConnId),
    /// No session of this owner uses the connection any more.
    Release(ConnId),
}

/// The partition that a frame belongs to: the one that the session-id of its To-Path names. Nothing where that is none
/// of ours.
pub fn partition(frame: &Frame) -> Option<Partition> {
    frame.to().last().session().and_then(Partition::of_token)
}

/// What to answer to a frame that belongs to nobody (RFC 4975 §7.3); nothing where it wants no answer.
pub fn stray(frame: &Frame) -> Option<Bytes> {
    match frame {
        Frame::Request(request) => request.response(481).map(|response| response.bytes()),
        Frame::Response(_) => None,
    }
}
