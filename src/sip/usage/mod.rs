//! One RFC, one usage: machines that turn SIP messages into meanings of SIP, for features to combine with stanzas.

pub mod capabilities;
pub mod notifier;
pub mod package;
pub mod page;
pub mod refer;
pub mod session;
pub mod subscription;
