//! What `/readyz` says: what is not as it should be, in words.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The parts that are not ready, by name, each with a sentence. Clones are cheap and show the same.
#[derive(Clone, Debug, Default)]
pub struct Status {
    missing: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Status {
    /// `part` is not ready, because of this.
    pub fn missing(&self, part: &str, reason: impl Into<String>) {
        self.lock().insert(part.to_owned(), reason.into());
    }

    /// `part` is ready.
    pub fn ready(&self, part: &str) {
        self.lock().remove(part);
    }

    /// One line for each part that is not ready.
    pub fn reasons(&self) -> Vec<String> {
        self.lock().iter().map(|(part, reason)| format!("{part}: {reason}")).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
