//! The way into the shards: which of them an input belongs to, and what happens when one has no room.

use std::sync::Arc;

use tokio::sync::mpsc::{self, error::TrySendError};

use super::shard::INBOX;
use crate::gateway::Domains;
use crate::gateway::io::Input;
use crate::gateway::owner;
use crate::sip::message::Message;
use crate::words::id::Partition;
use crate::xmpp::stanza::Stanza;

/// The inboxes of all shards.
#[derive(Clone)]
pub struct Inboxes {
    shards: Arc<[mpsc::Sender<Input>]>,
    domains: Arc<Domains>,
}

impl Inboxes {
    /// Inboxes for so many shards, and their other ends in order.
    pub fn new(shards: usize, domains: Domains) -> (Inboxes, Vec<mpsc::Receiver<Input>>) {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..shards).map(|_| mpsc::channel(INBOX)).unzip();
        (Inboxes { shards: senders.into(), domains: Arc::new(domains) }, receivers)
    }

    /// The shard that owns a partition.
    pub fn shard_of(&self, partition: Partition) -> usize {
        usize::from(partition.0) * self.shards.len() / 256
    }

    /// The first partition of a shard.
    pub fn home_of(&self, shard: usize) -> Partition {
        Partition((shard * 256).div_ceil(self.shards.len()).min(255) as u8)
    }

    /// The shard that owns a SIP message.
    pub fn of_sip(&self, message: &Message) -> usize {
        self.shard_of(owner::of_sip(&self.domains, message))
    }

    /// The shard that owns a stanza.
    pub fn of_stanza(&self, stanza: &Stanza) -> usize {
        self.shard_of(owner::of_stanza(stanza))
    }

    /// Hands over an input if there is room. False when there is none.
    pub fn offer(&self, shard: usize, input: Input) -> bool {
        let Some(inbox) = self.shards.get(shard) else { return true };
        // A closed inbox means that the process ends; then it does not matter.
        !matches!(inbox.try_send(input), Err(TrySendError::Full(_)))
    }

    /// Hands over an input, waiting for room.
    pub async fn put(&self, shard: usize, input: Input) {
        if let Some(inbox) = self.shards.get(shard) {
            // As above: closed means that the process ends.
            let _ = inbox.send(input).await;
        }
    }

    /// Hands over an input from a thread that may be held up.
    pub fn put_blocking(&self, shard: usize, input: Input) {
        if let Some(inbox) = self.shards.get(shard) {
            // As above.
            let _ = inbox.blocking_send(input);
        }
    }

    /// Hands the same to every shard.
    pub async fn put_all(&self, make: impl Fn() -> Input) {
        for shard in 0..self.shards.len() {
            self.put(shard, make()).await;
        }
    }

    /// How many shards there are.
    pub fn len(&self) -> usize {
        self.shards.len()
    }

    /// True when there is no shard; never in a running process.
    pub fn is_empty(&self) -> bool {
        self.shards.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn every_shard_is_at_home_in_its_own_share() {
        for shards in 1..=16 {
            let (inboxes, _) = Inboxes::new(shards, Domains::new(&Config::empty()));
            for shard in 0..shards {
                assert_eq!(inboxes.shard_of(inboxes.home_of(shard)), shard, "of {shards}");
            }
        }
    }
}
