//! What features tell each other: the only thing that one of them ever hears of another.
//!
//! Messages have one keeper, the pager: what is accepted, kept on disk, counted and given a fate. It sends MESSAGEs itself
//! and lets the chat carry what goes in sessions:
//!
//! ```text
//! XMPP → SIP   pager ── Carry ──▸ chat ── Carried ──▸ pager          whoever has proof ── Proved ──▸ receipts
//! SIP → XMPP   chat ── Arrived ──▸ pager ── Taken, then Met ──▸ chat receipts ── Received ──▸ chat
//! reports      pager ── Sent, Awaited, Asked, Undelivered ──▸ receipts   receipts ── Whisper ──▸ pager
//! besides      composing, receipts ── Whisper ──▸ chat or pager      chat ── Heard, Left ──▸ composing, receipts
//!              composing ── Mood ──▸ chat
//! ```
//!
//! A signal is handed to every feature once the call that gave it has returned, in the order given, within the same step:
//! what it leads to commits together with its cause.

use std::sync::Arc;

use super::content::Content;
use super::sessions::{Break, Cause};
use crate::documents::imdn::Wanted;
use crate::sip::uri::{Aor, SipAddress};
use crate::words::condition::Condition;
use crate::words::time::Wall;
use crate::xmpp::jid::Jid;

/// See the module. Users are XMPP users, contacts are SIP users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// A message crossed between a user (bare) and a contact, in either direction.
    Crossed {
        /// The user, bare.
        user: Jid,
        /// The contact.
        contact: Aor,
        /// From the contact to the user.
        to_xmpp: bool,
    },
    /// A user (bare) adds a contact to her own: she sent `subscribe`.
    Added {
        /// The user, bare.
        user: Jid,
        /// The contact.
        contact: Aor,
    },
    /// A SIP user watches a user (bare) no more, and she has been told that he is not there.
    Parted {
        /// The user, bare.
        user: Jid,
        /// Who watched her.
        contact: Aor,
    },
    /// The presence of a contact became open to a user (bare).
    Opened {
        /// The user, bare.
        user: Jid,
        /// The contact.
        contact: Aor,
    },
    /// From the pager: nothing is known of this contact; somebody may ask it what it can do.
    Unknown {
        /// In whose name.
        user: Jid,
        /// The contact.
        contact: SipAddress,
    },
    /// The answer to [`Signal::Unknown`]: whatever can be known of this contact now is known.
    Known {
        /// The contact.
        contact: Aor,
    },
    /// From the pager: carry this message in a session.
    Carry(Arc<Carry>),
    /// The answer to [`Signal::Carry`], exactly once: what became of it.
    Carried {
        /// [`Carry::number`].
        number: u64,
        /// What.
        fate: Carried,
    },
    /// From the chat: a contact wrote in a session.
    Arrived(Arc<Arrived>),
    /// The answer to [`Signal::Arrived`], at once: whether it was taken. Then it commits in this step.
    Taken {
        /// [`Arrived::ticket`].
        ticket: u64,
        /// Why it was not.
        refused: Option<Condition>,
    },
    /// What became of an [`Signal::Arrived`] that was taken, exactly once per start of the process.
    Met {
        /// [`Arrived::ticket`].
        ticket: u64,
        /// Why it was not delivered; nothing when it was.
        failure: Option<Condition>,
    },
    /// From the pager: a message whose sender asked for notifications has failed. Nothing that is confirmed later is
    /// about it.
    Undelivered {
        /// To whom the message was.
        user: Jid,
        /// Who wrote it.
        contact: Aor,
        /// The id of its stanza.
        id: String,
        /// How its sender hears of it.
        told: Told,
    },
    /// From the chat: its session is over, or wants no reports, so that it could not tell of a failure that it was told
    /// of by [`Signal::Met`].
    Unreported {
        /// To whom the message was, bare.
        user: Jid,
        /// Who wrote it.
        sender: SipAddress,
        /// The id of its stanza.
        id: String,
        /// Why it was not delivered.
        failure: Condition,
    },
    /// From the chat: a contact hung up a session.
    Left {
        /// The user, bare.
        user: Jid,
        /// The contact.
        contact: Aor,
        /// Her clients were told so.
        told: bool,
    },
    /// Something that is not a message and may be lost: typing, a report. Carried in the open session with the contact,
    /// else as a MESSAGE.
    Whisper(Arc<Whisper>),
    /// From the chat: a contact said something in a session that is not a message: typing, a report.
    Heard(Arc<Heard>),
    /// From the pager: a message of a user's went to a contact. Whoever reports on it later uses one of these names.
    Sent(Arc<Sent>),
    /// From the pager: a contact's device has taken a MESSAGE of a user's which asks for notifications.
    Awaited {
        /// Who wrote it.
        user: Jid,
        /// The contact.
        contact: Aor,
        /// The device that it went to, or the empty name.
        device: String,
        /// Its name for reports: `imdn.Message-ID`.
        name: String,
    },
    /// From the pager: a message of a contact's, which asks for notifications, was taken.
    Asked(Arc<Asked>),
    /// From the chat: a client of the contact's has the message.
    Proved {
        /// Who wrote it, with the device.
        user: Jid,
        /// To whom, as she wrote it.
        to: Jid,
        /// The id of her stanza.
        id: String,
        /// The contact.
        contact: Aor,
        /// Its name for reports: `imdn.Message-ID`.
        name: String,
    },
    /// A client of the user's confirmed a stanza of ours (XEP-0184, XEP-0333).
    Received {
        /// The id of the stanza.
        id: String,
        /// Which client.
        user: Jid,
        /// It was shown to a person, and not only received.
        displayed: bool,
    },
    /// From composing: what a user (bare) and a contact show of their attention has changed, as the facts have it.
    Mood(Arc<(Jid, Aor)>),
    /// What a user's client says about her attention (XEP-0085).
    Attention {
        /// The client.
        user: Jid,
        /// To whom.
        contact: Aor,
        /// She closed the conversation: `<gone/>`.
        gone: bool,
    },
}

/// A message of a user's for a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carry {
    /// The pager's.
    pub number: u64,
    /// The user, with the device.
    pub user: Jid,
    /// The contact as she wrote it.
    pub contact: Jid,
    /// The contact, with the device where the user named one that the contact has shown.
    pub to: SipAddress,
    /// The id of her stanza.
    pub id: Option<String>,
    /// The text.
    pub text: Arc<str>,
    /// The same with its emphasis ([`super::rich`]), where it has some.
    pub rich: Option<Arc<str>>,
    /// Its language.
    pub lang: Option<String>,
    /// The subject.
    pub subject: Option<String>,
    /// Its name for reports: the same by whatever way and however often it goes (`imdn.Message-ID`).
    pub message_id: String,
    /// The Call-ID that its thread asks for, if a session must be opened for it.
    pub call_id: String,
    /// When it was written.
    pub written: Wall,
    /// The sender wants to know that it was received.
    pub receipt: bool,
    /// She wants to know that it was shown (XEP-0333).
    pub marker: bool,
    /// It changes messages that the chat has: where they have not been sent, it need not go itself.
    pub changes: Option<Changes>,
}

/// What a correction or a retraction changes of messages that have not been sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// The message that it is about.
    pub original: Option<u64>,
    /// What that says then. Nothing: it does not go.
    pub instead: Option<Arc<str>>,
    /// Earlier corrections of it, in order: of those that do not go any more the last one says what this one does.
    pub corrections: Vec<u64>,
    /// It takes back what was said: none of those corrections goes.
    pub takes_back: bool,
}

/// How the sender of a message that failed hears of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// By the answer, or in words.
    Yes,
    /// By its session, if that can; if not, the signal comes again.
    Perhaps,
    /// By a notification, and by nothing else.
    No,
}

/// What became of a [`Carry`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carried {
    /// The other side has it.
    Delivered,
    /// The message that it changes had not been sent, and goes with this text or not at all.
    Merged {
        /// [`Carry::number`] of that message.
        into: u64,
        /// What it says now. Nothing: it is taken back.
        text: Option<Arc<str>>,
    },
    /// A later retraction or correction has made it useless, and it had not been sent.
    Withdrawn,
    /// The other side refused this message, and the session goes on.
    Refused(Condition),
    /// No session came about. It was not sent.
    NoSession(Cause),
    /// The session ended before it was confirmed. All that were carried after it come back too, in their order.
    Broken {
        /// How.
        how: Break,
        /// It had been sent and may have arrived.
        sent: bool,
    },
}

/// A message of a contact's in a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// The chat's.
    pub ticket: u64,
    /// Names the message for ever, so that it is delivered once: session and Message-ID.
    pub name: [u8; 20],
    /// The user, with the device that the session was opened with, if it was with one.
    pub user: Jid,
    /// The contact, with the device.
    pub contact: Jid,
    /// The contact's address, with the device where it has a GRUU.
    pub sender: SipAddress,
    /// The session's Call-ID, which may be a thread.
    pub call_id: String,
    /// The id that its stanza shall have.
    pub id: String,
    /// What was written.
    pub content: Content,
    /// The contact wants to know that it was received: the stanza asks for a receipt.
    pub receipt: bool,
}

/// See [`Signal::Whisper`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whisper {
    /// In whose name.
    pub user: Jid,
    /// To whom.
    pub to: SipAddress,
    /// Its media type.
    pub type_: &'static str,
    /// Its text.
    pub body: Arc<str>,
    /// It must arrive: it is kept until it has. A newer one without this replaces an older one that still waits.
    pub keep: bool,
}

/// See [`Signal::Heard`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The user.
    pub user: Jid,
    /// The contact, with the device.
    pub contact: Jid,
    /// The contact's address.
    pub sender: SipAddress,
    /// Its media type, without parameters, in lower case.
    pub type_: String,
    /// Its bytes.
    pub body: bytes::Bytes,
}

/// See [`Signal::Sent`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Who wrote it, with the device.
    pub user: Jid,
    /// To whom, as she wrote it.
    pub to: Jid,
    /// The contact.
    pub contact: Aor,
    /// The id of her stanza.
    pub id: String,
    /// `imdn.Message-ID`, and the Call-ID where it went as a MESSAGE.
    pub names: Vec<String>,
    /// She asked for a receipt (XEP-0184).
    pub receipt: bool,
    /// She asked for a marker when it is shown (XEP-0333).
    pub marker: bool,
}

/// See [`Signal::Asked`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The user, bare.
    pub user: Jid,
    /// The contact's address.
    pub sender: SipAddress,
    /// The id of the stanza that it became.
    pub id: String,
    /// The contact's name for it: `imdn.Message-ID`.
    pub message_id: String,
    /// What is asked for.
    pub wanted: Wanted,
    /// When it was written.
    pub written: Wall,
}
