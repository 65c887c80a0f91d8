//! Gives the shards back what was kept, partition by partition, while they are at work: a thread for each shard reads what
//! is wanted first, and otherwise one partition after the other.

use std::sync::mpsc::Receiver;

use tokio::sync::mpsc;

use super::inbox::Inboxes;
use crate::store::StoreError;
use crate::store::record::Restored;
use crate::store::sled::SledReader;
use crate::words::id::Partition;

/// How many records are given at one go, and how many such pieces may wait: what is wanted comes behind them.
const TOGETHER: usize = 128;
const PIECES: usize = 4;

/// A part of what was kept for a shard.
#[derive(Debug)]
pub enum Piece {
    /// Some records.
    Records(Vec<Restored>),
    /// That was all of this partition.
    Whole(Partition),
    /// That was all.
    All,
}

/// The ends of one shard's way.
pub struct Way {
    pieces: mpsc::Sender<Piece>,
    wanted: Receiver<Partition>,
}

/// A way for a shard's records: for whoever reads them, and both ends of the shard's.
pub fn way() -> (Way, mpsc::Receiver<Piece>, std::sync::mpsc::Sender<Partition>) {
    let (pieces, records) = mpsc::channel(PIECES);
    let (want, wanted) = std::sync::mpsc::channel();
    (Way { pieces, wanted }, records, want)
}

/// Starts the threads. What cannot be read is told to `failed`.
pub fn start(
    reader: &SledReader,
    ways: Vec<Way>,
    inboxes: &Inboxes,
    failed: &mpsc::UnboundedSender<String>,
) -> std::io::Result<()> {
    for (shard, way) in ways.into_iter().enumerate() {
        let all = (0..=255).map(Partition).filter(|partition| inboxes.shard_of(*partition) == shard);
        let (missing, reader, failed) = (all.collect(), reader.clone(), failed.clone());
        std::thread::Builder::new().name("restorer".into()).spawn(move || {
            // The store is foreign code, and a damaged file makes some versions of it panic.
            let given = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| way.give(missing, &reader)));
            let reason = match given {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "the store cannot be read: its library gave up".to_owned(),
            };
            // Nobody listens only when the process ends.
            let _ = failed.send(reason);
        })?;
    }
    Ok(())
}

impl Way {
    fn give(&self, mut missing: Vec<Partition>, reader: &SledReader) -> Result<(), StoreError> {
        missing.reverse();
        while let Some(partition) = self.next(&mut missing) {
            let mut records = Vec::new();
            for record in reader.partition(partition) {
                match record {
                    // A name that is none of ours is nobody's record.
                    Err(StoreError::BadName(_)) => {}
                    record => records.push(record?),
                }
                if records.len() >= TOGETHER && !self.send(Piece::Records(std::mem::take(&mut records))) {
                    return Ok(());
                }
            }
            if !self.send(Piece::Records(records)) || !self.send(Piece::Whole(partition)) {
                return Ok(());
            }
        }
        self.send(Piece::All);
        Ok(())
    }

    /// Somebody waits for what is wanted. What was given already may still be on its way.
    fn next(&self, missing: &mut Vec<Partition>) -> Option<Partition> {
        while let Ok(wanted) = self.wanted.try_recv() {
            if let Some(at) = missing.iter().position(|partition| *partition == wanted) {
                return Some(missing.remove(at));
            }
        }
        missing.pop()
    }

    /// False when the shard has ended.
    fn send(&self, piece: Piece) -> bool {
        self.pieces.blocking_send(piece).is_ok()
    }
}
