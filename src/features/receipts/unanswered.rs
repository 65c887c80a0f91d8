//! Devices that take the question whether a message arrived (RFC 5438 §6.3) and never answer it: after three in a row
//! that were answered 200 and then by nothing for a minute, the device is not asked again for a day, or until it calls
//! itself something else. It speaks again as soon as it gives any notification.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::sip::uri::Aor;
use crate::words::time::Tick;
use crate::words::timers::Timers;

/// So many in a row.
const ROW: u8 = 3;
/// How long the last of them is waited for.
const WAIT: Duration = Duration::from_secs(60);
/// How many devices are counted; the first by address go first.
const DEVICES: usize = 20_000;

/// A contact and the device that the question went to, or the empty name.
type Device = (Aor, String);

/// See the module.
#[derive(Debug, Default)]
pub struct Unanswered {
    counts: BTreeMap<Device, u8>,
    timers: Timers<Device>,
}

impl Unanswered {
    /// A device took a question.
    pub fn asked(&mut self, now: Tick, contact: &Aor, device: &str) {
        let key = (contact.clone(), device.to_owned());
        if self.counts.len() >= DEVICES
            && !self.counts.contains_key(&key)
            && let Some((first, _)) = self.counts.pop_first()
        {
            self.timers.stop(&first);
        }
        let count = self.counts.entry(key.clone()).or_default();
        *count = count.saturating_add(1);
        if *count == ROW {
            self.timers.set(key, now + WAIT);
        }
    }

    /// A contact notified of something: which of its devices does, nobody knows.
    pub fn answered(&mut self, contact: &Aor) {
        let first = (contact.clone(), String::new());
        let of_contact = self.counts.range(first..).take_while(|((known, _), _)| known == contact);
        let devices: Vec<Device> = of_contact.map(|(device, _)| device.clone()).collect();
        for device in devices {
            self.counts.remove(&device);
            self.timers.stop(&device);
        }
    }

    /// When [`Unanswered::silent`] is wanted.
    pub fn next_timeout(&self) -> Option<Tick> {
        self.timers.next().map(|(at, _)| at)
    }

    /// A device that does not answer. Call until there is none.
    pub fn silent(&mut self, now: Tick) -> Option<Device> {
        let device = self.timers.pop(now)?;
        self.counts.remove(&device);
        Some(device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn romeo(number: usize) -> Aor {
        Aor { user: Some(format!("romeo{number}")), host: "example.net".into() }
    }

    fn at(seconds: u64) -> Tick {
        Tick(seconds * 1_000_000)
    }

    #[test]
    fn three_questions_without_an_answer_are_enough() {
        let mut unanswered = Unanswered::default();
        for second in 0..3 {
            assert_eq!(unanswered.next_timeout(), None);
            unanswered.asked(at(second), &romeo(1), "desk");
        }
        assert_eq!(unanswered.silent(at(61)), None);
        assert_eq!(unanswered.silent(at(62)), Some((romeo(1), "desk".into())));
        assert_eq!((unanswered.silent(at(99)), unanswered.counts.len()), (None, 0));
    }

    #[test]
    fn any_answer_of_the_contact_counts() {
        let mut unanswered = Unanswered::default();
        for contact in [1, 1, 1, 2] {
            unanswered.asked(at(0), &romeo(contact), "");
        }
        unanswered.answered(&romeo(1));
        assert_eq!((unanswered.next_timeout(), unanswered.counts.len()), (None, 1));
    }

    #[test]
    fn memory_is_bounded() {
        let mut unanswered = Unanswered::default();
        for number in 0..=DEVICES {
            (0..3).for_each(|_| unanswered.asked(at(0), &romeo(number), ""));
        }
        assert_eq!((unanswered.counts.len(), unanswered.timers.len()), (DEVICES, DEVICES));
    }
}
