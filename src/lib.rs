//! Mostar joins SIP and XMPP: one binary that is an XEP-0114 component on an XMPP server and a SIP endpoint
//! beside a SIP proxy.
//!
//! The tree is the architecture. [`words`] holds what both cities mean; [`xmpp`], [`sip`], [`msrp`] and [`documents`] each
//! speak one language; [`features`] is the only place where both are spoken; [`gateway`] is the one door, one drain
//! and one alarm around them. None of these reads a clock, draws randomness, opens a socket, awaits or locks:
//! they are functions of (now, input). [`shell`] does all that, and nothing else.

pub mod config;
pub mod documents;
pub mod features;
pub mod gateway;
pub mod msrp;
pub mod sabotage;
#[cfg(feature = "shell")]
pub mod shell;
pub mod sip;
pub mod store;
pub mod words;
pub mod xmpp;
