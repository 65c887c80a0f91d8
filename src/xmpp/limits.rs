//! What a stanza may cost, and what is said of one that costs more.

use std::fmt;

use super::element::Element;
use super::stanza::{ErrorType, Stanza, StanzaKind};
use crate::words::condition::Kind;

/// What a stanza may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Elements inside each other, the stanza itself included.
    pub depth: usize,
    /// Attributes and namespace declarations of one element.
    pub attributes: usize,
    /// Elements and texts.
    pub nodes: usize,
    /// Bytes on the wire.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { depth: 64, attributes: 64, nodes: 4096, bytes: 256 * 1024 }
    }
}

impl Limits {
    /// Limits with room for messages of so many bytes, and for what stands around their bodies.
    pub fn for_messages(max_message: usize) -> Limits {
        let limits = Limits::default();
        Limits { bytes: limits.bytes.max(max_message.saturating_add(64 * 1024)), ..limits }
    }
}

/// A stanza that exceeded a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its name with `from`, `to`, `id` and `type`, as far as they were read; nothing else.
    pub head: Element,
    /// Which limit.
    pub limit: Limit,
}

impl Refused {
    /// The error for its sender; nothing where an error may not be answered, or where nobody waits for one.
    pub fn answer(&self) -> Option<Stanza> {
        let stanza = Stanza::from_element(self.head.clone()).ok()?;
        let text = format!("this stanza {}", self.limit);
        match stanza.kind {
            StanzaKind::Presence => None,
            _ => stanza.error(Kind::PolicyViolation, ErrorType::Modify, Some(&text), None),
        }
    }
}

/// Why a stanza was not read. Prints as the end of a sentence about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Nested too deeply.
    Depth(usize),
    /// Too many attributes on one element.
    Attributes(usize),
    /// Too many elements and texts.
    Nodes(usize),
    /// Too many bytes.
    Bytes(usize),
    /// An undeclared prefix, or the same attribute twice.
    Names,
}

impl fmt::Display for Limit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Depth(most) => write!(out, "is nested more than {most} levels deep"),
            Limit::Attributes(most) => write!(out, "has an element with more than {most} attributes"),
            Limit::Nodes(most) => write!(out, "has more than {most} parts"),
            Limit::Bytes(most) => write!(out, "is longer than {most} bytes"),
            Limit::Names => out.write_str("uses an undeclared prefix or repeats an attribute"),
        }
    }
}
