//! The SIP side: messages, transactions, dialogs and usages, without I/O and without a word of XMPP.

pub mod agent;
pub mod dialog;
pub mod flow;
pub mod framing;
pub mod locate;
pub mod message;
pub mod uri;
pub mod usage;
