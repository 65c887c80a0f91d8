//! The XMPP side: stanzas, addresses and the component stream, without I/O and without a word of SIP.

pub mod barrier;
pub mod element;
pub mod jid;
mod lexer;
pub mod limits;
pub mod muc;
pub mod ns;
pub mod stanza;
pub mod stream;
