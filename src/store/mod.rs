//! What survives a restart: records that features save and forget, and the places that keep them.
//!
//! A [`Store`] is a place behind few verbs: load everything, commit a batch, open again after a failure, tidy up. The shell's
//! writer thread is the only one that calls it once the process runs.

use std::fmt;

pub mod journal;
pub mod memory;
pub mod record;
#[cfg(feature = "shell")]
pub mod sled;

use record::{Key, Record, Restored};

/// One line of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Keep this record, in place of an earlier one of the same name.
    Save(Record),
    /// Drop the record of this name, if there is one.
    Forget(Key),
}

/// What one drain of a gateway wants committed: all of it or nothing.
pub type Step = Vec<Change>;

/// A place that keeps records.
pub trait Store: Send {
    /// Every record that is kept, in the order of their names. A name that cannot be read is an error of its own and
    /// does not end the list.
    fn load(&self) -> Box<dyn Iterator<Item = Result<Restored, StoreError>> + '_>;

    /// Makes the steps durable, in order, all of them or none, and takes them. When this returns, they survive a crash
    /// of the machine. When it fails, they are still there.
    fn commit(&mut self, steps: &mut Vec<Step>) -> Result<(), StoreError>;

    /// Does a little of the work that no commit waits for. True when there is more of it to do at once.
    fn tidy(&mut self) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// Whether more comes in than [`Store::tidy`] has time for.
    fn is_pressed(&self) -> bool {
        false
    }

    /// Begins to give back memory that a burst has taken; to be asked now and then. [`Store::tidy`] does the work.
    fn trim(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Opens the place anew after a failed commit. A full disk leaves some stores unusable until then.
    fn reopen(&mut self) -> Result<(), StoreError>;

    /// How many bytes are free where the store lives, and how many there are; nothing where that means nothing.
    fn room(&self) -> Option<Room>;
}

/// The space where a store lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes that we may still use.
    pub free: u64,
    /// Bytes in all.
    pub total: u64,
}

/// Why a store cannot do what it should, as a sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// Written by a newer version of this program.
    Newer {
        /// Where.
        path: String,
        /// The format that was found.
        found: u32,
        /// The newest that we know.
        known: u32,
    },
    /// Another process has it open.
    Locked {
        /// Where.
        path: String,
    },
    /// The operating system refuses.
    Io {
        /// Where.
        path: String,
        /// Its words.
        reason: String,
    },
    /// A file is where the folder should be.
    NoFolder {
        /// Where.
        path: String,
    },
    /// What is there is no store of ours, or is damaged.
    Unreadable {
        /// Where.
        path: String,
        /// What was wrong with it.
        reason: String,
    },
    /// One record has a name that is none of ours.
    BadName(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Newer { path, found, known } => write!(
                out,
                "the store {path} has format {found}, written by a newer Mostar; this one knows formats up to \
                 {known}: install the newer version again, or name another folder in `store`"
            ),
            StoreError::Locked { path } => write!(
                out,
                "the store {path} is in use by another process: stop the other Mostar, or name another folder in \
                 `store`"
            ),
            StoreError::Io { path, reason } => write!(
                out,
                "the store {path} cannot be used: {reason}: see that the folder exists, that this user may write \
                 there, that no file in it belongs to another user, and that the disk has room"
            ),
            StoreError::NoFolder { path } => {
                write!(
                    out,
                    "the store {path} is a file: name a folder in `store`, which is made if it is not there"
                )
            }
            StoreError::Unreadable { path, reason } => write!(
                out,
                "the store {path} cannot be read: {reason}: put a backup in its place, or move it away to begin with \
                 an empty one (messages that wait are then lost, and subscriptions are asked for again)"
            ),
            StoreError::BadName(name) => write!(out, "the store has a record with an unknown name: {name}"),
        }
    }
}

impl std::error::Error for StoreError {}
