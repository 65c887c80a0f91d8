//! Bodies: what SIP carries inside its messages, read into owned values and written from them.

pub mod cpim;
pub mod date;
pub mod encoding;
pub mod file_http;
pub mod html;
pub mod imdn;
pub mod iscomposing;
pub mod mime;
pub mod pidf;
pub mod rpid;
mod shape;
pub mod text;
pub mod xml;
