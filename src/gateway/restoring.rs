//! A start while there is traffic: what came for users whose records are not back yet waits for them.
//!
//! The unit is the partition, since that is what the keys of records and the owners of inputs have in common
//! ([`owner`]). The first input of a partition has its records fetched before all others ([`Output::Fetch`]); when they are
//! back, what waited is handled in the order of its coming. So nobody is answered by a gateway that does not remember: a
//! request that is sent again finds its answer, a message goes behind those that wait, a dialog is known.
//!
//! What needs no record does not wait: answers to our own requests, alarms, links, MSRP, whose sessions end with the
//! process. A stop waits for everything, since all must hear the goodbye.
//!
//! [`Output::Fetch`]: super::Output::Fetch

use std::collections::{BTreeMap, BTreeSet};

use super::domains::Domains;
use super::io::Input;
use super::owner;
use crate::sip::message::Message;
use crate::words::id::Partition;

/// So many inputs may wait; then whoever runs the gateway should bring no more.
const LIMIT: usize = 10_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Restoring {
    whole: BTreeSet<Partition>,
    waiting: BTreeMap<Partition, Vec<Input>>,
    count: usize,
    /// Stops.
    last: Vec<Input>,
}

/// What is to be done with an input.
pub(super) enum Turn {
    /// It is handled.
    Now(Input),
    /// It waits.
    Later,
    /// It waits, and the records of this partition are wanted first.
    Fetch(Partition),
}

impl Restoring {
    /// Takes what must wait.
    pub fn turn(&mut self, domains: &Domains, input: Input) -> Turn {
        let partition = match &input {
            Input::Stanza(_, stanza) => owner::of_stanza(domains, stanza),
            Input::Explain(_, stanza) => owner::of_stanza(domains, stanza),
            Input::Sip(_, message) if matches!(**message, Message::Request(_)) => {
                owner::of_sip(domains, message)
            }
            Input::Stop => {
                self.last.push(input);
                return Turn::Later;
            }
            _ => return Turn::Now(input),
        };
        if self.whole.contains(&partition) {
            return Turn::Now(input);
        }
        self.count += 1;
        let waiting = self.waiting.entry(partition).or_default();
        waiting.push(input);
        if waiting.len() == 1 { Turn::Fetch(partition) } else { Turn::Later }
    }

    /// All records of a partition are back: what waited for them.
    pub fn is_whole(&mut self, partition: Partition) -> Vec<Input> {
        self.whole.insert(partition);
        let waiting = self.waiting.remove(&partition).unwrap_or_default();
        self.count -= waiting.len();
        waiting
    }

    /// All records are back: what is left.
    pub fn end(self) -> impl Iterator<Item = Input> {
        self.waiting.into_values().flatten().chain(self.last)
    }

    /// Whether as much waits as may.
    pub fn is_crowded(&self) -> bool {
        self.count >= LIMIT
    }

    /// How many inputs wait.
    pub fn len(&self) -> usize {
        self.count + self.last.len()
    }
}
