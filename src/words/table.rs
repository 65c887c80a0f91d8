//! The tables of `mappings/`, and an admin's own in their place.
//!
//! A table is read once, when it is first needed. Whoever replaces one does so before, at the start of the process, with
//! text that `mostar check` has read.

use std::collections::BTreeMap;
use std::sync::OnceLock;

/// An admin's own tables, by the names of their files without `.yaml`.
pub type Own = BTreeMap<&'static str, String>;

static OWN: OnceLock<Own> = OnceLock::new();

/// Takes an admin's own tables, once in a process.
pub fn replace(own: Own) {
    // A second call could only come too late for what has been read.
    let _ = OWN.set(own);
}

/// The text of a table: the admin's own, else the built-in one.
pub fn text(name: &str, embedded: &'static str) -> &'static str {
    OWN.get().and_then(|own| own.get(name)).map_or(embedded, String::as_str)
}
