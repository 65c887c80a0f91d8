//! The SIP side: messages, transactions, dialogs and usages, without I/O and without a word of XMPP.

pub mod agent;
mod answered;
mod auth;
mod client;
pub mod dialog;
pub mod flow;
pub mod framing;
pub mod locate;
pub mod message;
mod peers;
mod plain;
pub mod sdp;
mod transaction;
pub mod uri;
pub mod usage;
