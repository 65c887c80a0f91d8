//! The way into the shards: which of them an input belongs to, and what happens when one has no room.

use std::sync::Arc;

use tokio::sync::mpsc::{self, PermitIterator, error::TrySendError};

use super::shard::INBOX;
use crate::gateway::Domains;
use crate::gateway::io::Input;
use crate::gateway::owner;
use crate::sip::message::Message;
use crate::words::id::Partition;
use crate::xmpp::stanza::Stanza;

/// How many inputs take their places in an inbox at one go.
const TOGETHER: usize = 128;

/// Inputs that came together, in their order, each with its shard: they are handed over at one go.
#[derive(Debug, Default)]
pub struct Batch {
    shards: Vec<Vec<Input>>,
}

impl Batch {
    /// Adds an input for a shard.
    pub fn push(&mut self, shard: usize, input: Input) {
        if self.shards.len() <= shard {
            self.shards.resize_with(shard + 1, Vec::new);
        }
        self.shards[shard].push(input);
    }

    /// How many inputs are in it.
    pub fn len(&self) -> usize {
        self.shards.iter().map(Vec::len).sum()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.shards.iter().all(Vec::is_empty)
    }
}

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
        self.shard_of(owner::of_stanza(&self.domains, stanza))
    }

    /// Hands over those inputs for which there is room, and empties the batch. Gives how many had none.
    pub fn offer(&self, batch: &mut Batch) -> usize {
        let mut refused = 0;
        for (inbox, inputs) in self.shards.iter().zip(&mut batch.shards) {
            if let Ok(places) = inbox.try_reserve_many(inputs.len()) {
                fill(places, inputs.drain(..));
            }
            for input in inputs.drain(..) {
                // A closed inbox means that the process ends; then it does not matter.
                refused += usize::from(matches!(inbox.try_send(input), Err(TrySendError::Full(_))));
            }
        }
        refused
    }

    /// Hands over an input, waiting for room.
    pub async fn put(&self, shard: usize, input: Input) {
        if let Some(inbox) = self.shards.get(shard) {
            // As above: closed means that the process ends.
            let _ = inbox.send(input).await;
        }
    }

    /// Hands over all of a batch, waiting for room, and empties it. Who waits longest for room gets it first: inputs
    /// from elsewhere have their turn between two goes.
    pub async fn put_batch(&self, batch: &mut Batch) {
        for (inbox, inputs) in self.shards.iter().zip(&mut batch.shards) {
            while !inputs.is_empty() {
                let together = inputs.len().min(TOGETHER);
                match inbox.reserve_many(together).await {
                    Ok(places) => fill(places, inputs.drain(..together)),
                    // As above.
                    Err(_) => inputs.clear(),
                }
            }
        }
    }

    /// Hands the same to every shard.
    pub async fn put_all(&self, make: impl Fn() -> Input) {
        for shard in 0..self.shards.len() {
            self.put(shard, make()).await;
        }
    }

    /// Hands the same to every shard but this one.
    pub async fn put_others(&self, shard: usize, make: impl Fn() -> Input) {
        for other in (0..self.shards.len()).filter(|other| *other != shard) {
            self.put(other, make()).await;
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

fn fill(places: PermitIterator<'_, Input>, inputs: impl Iterator<Item = Input>) {
    places.zip(inputs).for_each(|(place, input)| place.send(input));
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;
    use crate::config::Config;
    use crate::sip::flow::SendId;

    fn inboxes(shards: usize) -> (Inboxes, Vec<mpsc::Receiver<Input>>) {
        Inboxes::new(shards, Domains::new(&Config::empty()))
    }

    fn numbered(number: usize) -> Input {
        Input::SendFailed(SendId(number as u64), String::new())
    }

    /// The numbers of what waits in an inbox.
    fn numbers(inbox: &mut mpsc::Receiver<Input>) -> Vec<usize> {
        std::iter::from_fn(|| inbox.try_recv().ok())
            .map(|input| match input {
                Input::SendFailed(id, _) => id.0 as usize,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn batch(numbers: impl IntoIterator<Item = usize>, shards: usize) -> Batch {
        let mut batch = Batch::default();
        numbers.into_iter().for_each(|number| batch.push(number % shards, numbered(number)));
        batch
    }

    #[test]
    fn a_batch_keeps_the_order_in_each_shard() {
        let (inboxes, mut receivers) = inboxes(2);
        let mut batch = batch(0..7, 2);
        assert_eq!(inboxes.offer(&mut batch), 0);
        assert!(batch.is_empty());
        assert_eq!(numbers(&mut receivers[0]), [0, 2, 4, 6]);
        assert_eq!(numbers(&mut receivers[1]), [1, 3, 5]);
    }

    #[test]
    fn of_a_batch_that_does_not_fit_the_first_are_taken_and_the_rest_is_counted() {
        let (inboxes, mut receivers) = inboxes(1);
        assert_eq!(inboxes.offer(&mut batch(0..INBOX - 2, 1)), 0);
        let mut late = batch(INBOX - 2..INBOX + 3, 1);
        assert_eq!((inboxes.offer(&mut late), late.len()), (3, 0));
        assert_eq!(numbers(&mut receivers[0]), (0..INBOX).collect::<Vec<_>>());
    }

    #[test]
    fn a_flood_from_one_source_leaves_another_its_turn() {
        let (inboxes, mut receivers) = inboxes(1);
        let mut cx = Context::from_waker(Waker::noop());
        let (mut flood, mut other) = (batch(0..3 * INBOX, 1), batch([9_000_000], 1));
        let mut flooding = std::pin::pin!(inboxes.put_batch(&mut flood));
        assert!(flooding.as_mut().poll(&mut cx).is_pending());
        let mut waiting = std::pin::pin!(inboxes.put_batch(&mut other));
        assert!(waiting.as_mut().poll(&mut cx).is_pending());
        // One go of the flood waits before it; the next one comes behind it.
        let mut taken = Vec::new();
        for _ in 0..=TOGETHER {
            taken.push(receivers[0].try_recv().expect("an input"));
            let _ = flooding.as_mut().poll(&mut cx);
            let _ = waiting.as_mut().poll(&mut cx);
        }
        assert_eq!(numbers(&mut receivers[0]).last(), Some(&9_000_000));
    }

    #[test]
    fn every_shard_is_at_home_in_its_own_share() {
        for shards in 1..=16 {
            let (inboxes, _) = inboxes(shards);
            for shard in 0..shards {
                assert_eq!(inboxes.shard_of(inboxes.home_of(shard)), shard, "of {shards}");
            }
        }
    }
}
