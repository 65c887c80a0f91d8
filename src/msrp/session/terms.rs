//! What a session is given, and what it tells.

use std::time::Duration;

use super::super::Behalf;
use super::super::message::{InMessage, OutMessage};
use super::super::path::Path;
use super::super::uri::Hop;

/// Which side opens the connection (RFC 6135).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// We do.
    Active,
    /// The peer does.
    Passive,
}

/// What the SDP has settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The path of the peer's SDP. Its first URI is connected to, unless a relay of our own stands before it.
    pub path: Path,
    /// What is connected to instead, where a middlebox anchors the session (RFC 6714).
    pub anchor: Option<Hop>,
    /// Who connects.
    pub role: Role,
    /// Whose SDP it is.
    pub behalf: Behalf,
    /// The fingerprint that the peer's certificate must have, as in its SDP.
    pub fingerprint: Option<String>,
    /// The longest message that the peer takes.
    pub max_size: Option<u64>,
}

/// Names a message that came in and waits for [`Session::answer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What the owner is told.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// Our relay has let the session in.
    Admitted {
        /// What goes into our SDP: through the relay to us.
        path: Path,
        /// How long it is good for, where the relay says so. Then another one is to be negotiated (RFC 4976 §9.4).
        expires: Option<Duration>,
    },
    /// The connection is there and the peer has proven that the path leads to it.
    Opened,
    /// A message came. It must be answered once.
    Incoming {
        /// For the answer.
        ticket: Ticket,
        /// The message.
        message: Box<InMessage>,
    },
    /// The peer asks for a name in the room. It must be answered once: 200, 403, 424 or 425. Only told where the owner
    /// takes nicknames.
    Nickname {
        /// For the answer.
        ticket: Ticket,
        /// The name; an empty one takes the present name away.
        nickname: String,
    },
    /// The peer has answered to the name that we asked for.
    Named {
        /// The name.
        nickname: String,
        /// 200, or why not; 408 for silence.
        code: u16,
        /// What the peer said to it.
        comment: String,
    },
    /// The next hop has the message, as far as its Failure-Report lets it say so: `yes`, all chunks were answered 200;
    /// otherwise they have left. After `partial` a failure may still come.
    Sent {
        /// Which.
        message_id: String,
    },
    /// Success REPORTs cover the whole message. [`Event::Sent`] need not have come before.
    Delivered {
        /// Which.
        message_id: String,
    },
    /// The message did not arrive. This is its last event.
    Failed {
        /// Which.
        message_id: String,
        /// The code (§10); 408 for silence.
        code: u16,
        /// What the peer said to it.
        comment: String,
        /// How it was learnt.
        by: By,
    },
    /// The session is over. This is its last event.
    Ended {
        /// Why.
        why: Ending,
        /// What was to be sent and is not settled, in order.
        unconfirmed: Vec<Unconfirmed>,
    },
}

/// How a failure was learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// By the answer to a chunk.
    Response,
    /// By a REPORT.
    Report,
    /// No answer came in time.
    Silence,
}

/// Why a session is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The owner closed it.
    Closed,
    /// Our relay does not let us in; 408 where it says nothing.
    NotAdmitted(u16),
    /// The owner asked for the end, and all is said.
    Finished,
    /// The connection broke.
    Lost(String),
    /// Nobody connected in time.
    NobodyCame,
    /// No connection could be made.
    NotConnected(String),
    /// The peer does not know the session (481), or has it on another connection (506).
    Refused(u16),
    /// The first SEND was not answered in time.
    Unanswered,
}

/// A message that is not settled when its session ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unconfirmed {
    /// What is known of it.
    pub known: Known,
    /// The message; of a taken one without its content.
    pub message: OutMessage,
}

/// What is known of a message that is not settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Nothing of it was sent.
    Unsent,
    /// Some of it was sent: it cannot have arrived whole.
    SentInPart,
    /// All of it was sent: it may have arrived.
    Sent,
    /// [`Event::Sent`] was told: it arrived at the next hop; the success REPORT has not come.
    Taken,
}

/// Why a message cannot be sent in this session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsendable {
    /// The session is over or ends.
    Ending,
    /// Too much waits already.
    Full,
    /// Its Message-ID is none.
    Malformed,
    /// The peer takes no message that long.
    TooLarge,
    /// Its Message-ID is in use.
    Twice,
}
