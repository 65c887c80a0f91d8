//! What goes in at the one door and comes out of the one drain.

use crate::msrp::{MsrpIn, MsrpOut};
use crate::sip::flow::{BadSip, Flow, SendId, SipOut};
use crate::sip::locate::{Located, Query};
use crate::sip::message::Message;
use crate::store::record::{Key, Record, Restored};
use crate::words::id::Partition;
use crate::words::note::Note;
use crate::xmpp::stanza::{Element, Stanza};

/// Which component link, by its place in `xmpp.components`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub usize);

/// Everything that can happen to a gateway.
#[derive(Debug)]
pub enum Input {
    /// A stanza came over a component link.
    Stanza(LinkId, Stanza),
    /// Something on a component link was no routable stanza: an unknown element or a bad address.
    BadStanza(LinkId, Element),
    /// A SIP message came in whole.
    Sip(Flow, Box<Message>),
    /// Bytes that are no SIP message; with what could be read of the head, for a 400.
    BadSip(Flow, BadSip),
    /// Something happened on the MSRP side.
    Msrp(MsrpIn),
    /// The alarm of [`Gateway::next_timeout`](super::Gateway::next_timeout) rang, or may have.
    Timeout,
    /// A component link changed.
    Link(LinkId, LinkChange),
    /// What an [`Output::Sip`] with this number was to send could not be sent.
    SendFailed(SendId, String),
    /// The answer to an [`Output::Resolve`].
    Resolved(Query, Vec<Located>),
    /// The store's condition changed.
    Store(StoreChange),
    /// The records of before the start will be given back while other inputs come: whoever's are not back waits.
    Restoring,
    /// A record of before the start.
    Restored(Restored),
    /// All records of this partition have been given back.
    Whole(Partition),
    /// All records have been given back.
    RestoreDone,
    /// From another owner of this process.
    Forwarded(Forward),
    /// An admin asks how this message would go; the answer is [`Output::Explained`] with the same number.
    Explain(u64, Box<Stanza>),
    /// The process is asked to stop: say goodbye, then emit [`Output::Stopped`].
    Stop,
}

/// What happened to a component link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkChange {
    /// The handshake succeeded; stanzas go out.
    Up,
    /// The stream is closed. Stanzas that were not confirmed by a pong may be lost.
    Down,
}

/// What happened to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreChange {
    /// Commits succeed and there is room.
    Ok,
    /// A reserve is nearly used: refuse new work, finish the old.
    Low,
    /// Commits fail: refuse new work.
    Down,
}

/// Everything that a gateway can ask of the shell. Outputs leave in order, each once every earlier `Save` is on disk;
/// only [`Output::Now`] may overtake.
#[derive(Debug)]
pub enum Output {
    /// Send a stanza over the link of its `from` domain.
    Stanza(LinkId, Stanza),
    /// Send a SIP message.
    Sip(SipOut),
    /// Something for the MSRP side.
    Msrp(MsrpOut),
    /// Close a connection, after what was sent on it has gone.
    Close(Flow),
    /// Ask DNS; the answer is [`Input::Resolved`].
    Resolve(Query),
    /// Keep a record.
    Save(Record),
    /// Drop a record.
    Forget(Key),
    /// Give the records of this partition back before all others: somebody waits for them.
    Fetch(Partition),
    /// Something for all other owners of this process.
    Forward(Forward),
    /// A refusal, which need not wait for the store.
    Now(Box<Output>),
    /// A line for the log, a figure for the metrics.
    Note(Note),
    /// The answer to [`Input::Explain`], for people.
    Explained(u64, String),
    /// The answer to [`Input::Stop`]: everything that must be said has been said.
    Stopped,
}

/// What crosses owners inside one process: what one of them says to all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// A peer, by its place in `sip.peers`, answers again after so long that it may have given up what it wanted to tell us.
    /// One owner watches the peers for all.
    PeerBack(usize),
}
