//! Bodies: what SIP carries inside its messages, read into owned values and written from them.

pub mod date;
pub mod pidf;
pub mod rpid;
pub mod xml;
