//! A record: one thing that one feature must remember, as JSON under a key that names its partition.
//!
//! The key's text is `<feature>/<partition in hex>/<id>`, so a store can be read by eye and by partition. Values carry
//! their feature's version inside, where the feature needs one.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::words::id::Partition;

/// Names a record for ever.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The feature's name for this kind of record, short and stable: `page`, `watch`.
    pub kind: &'static str,
    /// Whose shard.
    pub partition: Partition,
    /// Unique within kind and partition.
    pub id: String,
}

impl Key {
    /// The name of what one XMPP user, bare, and one SIP contact have in common: with her partition.
    pub fn of_pair(kind: &'static str, user: &str, contact: impl fmt::Display) -> Key {
        Key { kind, partition: Partition::of(user), id: format!("{user} {contact}") }
    }

    /// The text of the name; there is one for every change, so it is made without ceremony.
    pub fn text(&self) -> String {
        let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or('0');
        let mut text = String::with_capacity(self.kind.len() + self.id.len() + 4);
        text.push_str(self.kind);
        text.push('/');
        text.push(digit(self.partition.0 >> 4));
        text.push(digit(self.partition.0 & 15));
        text.push('/');
        text.push_str(&self.id);
        text
    }
}

impl fmt::Display for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text())
    }
}

/// A record with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its name.
    pub key: Key,
    /// JSON.
    pub value: Vec<u8>,
    /// What is known of its life, which decides where a store keeps it and not whether.
    pub life: Life,
}

/// How a record stands in the life of its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Life {
    /// Nothing is known: it may stand in place of another, and stay for ever.
    #[default]
    Open,
    /// No record of this name is kept. A store need not look for one when this is forgotten.
    First,
    /// It is forgotten within minutes, and there may be very many of the kind.
    Brief,
}

impl Record {
    /// A record of `value`. Serialising the types of this project to JSON cannot fail; if it does, the value is empty
    /// and will be refused when it is read.
    pub fn new<T: Serialize>(key: Key, value: &T) -> Record {
        let mut record = Record::with_room(key, value, 128);
        // It may stay in memory for as long as the record lives: without the room that writing left.
        record.value.shrink_to_fit();
        record
    }

    /// The same, of a value that takes some `bytes` and is soon over: it is moved neither while it grows nor after.
    pub fn with_room<T: Serialize>(key: Key, value: &T, bytes: usize) -> Record {
        let mut text = Vec::with_capacity(bytes);
        let written = serde_json::to_writer(&mut text, value);
        Record { key, value: if written.is_ok() { text } else { Vec::new() }, life: Life::Open }
    }

    /// The same, with what is known of its life.
    pub fn of_life(mut self, life: Life) -> Record {
        self.life = life;
        self
    }
}

/// A record as a store gives it back, before a feature has claimed its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The kind as text; a feature compares it with its own.
    pub kind: String,
    /// Whose shard.
    pub partition: Partition,
    /// The id within kind and partition.
    pub id: String,
    /// JSON.
    pub value: Vec<u8>,
}

impl Restored {
    /// A record from the text of its [`Key`] and its value. Nothing if the text is no key.
    pub fn parse(name: &str, value: Vec<u8>) -> Option<Restored> {
        let (kind, rest) = split(name)?;
        let (partition, id) = split(rest)?;
        if kind.is_empty() || partition.len() != 2 {
            return None;
        }
        let partition = Partition(u8::from_str_radix(partition, 16).ok()?);
        Some(Restored { kind: kind.to_owned(), partition, id: id.to_owned(), value })
    }

    /// Reads the value back. It is checked to be UTF-8 as a whole, which costs less than each of its texts alone.
    pub fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        let text = std::str::from_utf8(&self.value).map_err(serde::de::Error::custom)?;
        serde_json::from_str(text)
    }
}

/// What stands before and behind the first slash, which is never far: a search for long texts would cost more.
fn split(name: &str) -> Option<(&str, &str)> {
    let at = name.bytes().position(|byte| byte == b'/')?;
    Some((&name[..at], &name[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_key_is_read_back_whatever_the_id() {
        for id in ["a", "", "a/b", "jülich@example.com"] {
            let key = Key { kind: "page", partition: Partition(0x0a), id: id.into() };
            let restored = Restored::parse(&key.text(), Vec::new()).unwrap();
            assert_eq!(
                (restored.kind.as_str(), restored.partition, restored.id.as_str()),
                (key.kind, key.partition, id)
            );
        }
        for bad in ["", "page", "page/0a", "/0a/x", "page/a/x", "page/0g/x", "page/0ab/x"] {
            assert_eq!(Restored::parse(bad, Vec::new()), None, "{bad}");
        }
    }

    #[test]
    fn a_value_that_is_no_text_is_refused() {
        let read = |value: &[u8]| Restored::parse("page/0a/x", value.to_vec()).unwrap().read::<String>().ok();
        assert_eq!(read("\"ü\"".as_bytes()), Some("ü".to_owned()));
        assert_eq!(read(b"\"\xff\""), None);
    }
}
