//! What the devices of SIP contacts have shown they can do: MSRP, CPIM, IMDN, typing. Soft, per shard, bounded; forgotten
//! after a day, or when a device calls itself something else: then it is another program, or a newer one.
//!
//! A device is known by its `gr`, else by its Contact URI; what a MESSAGE shows, which has neither (RFC 3428 §4), is kept
//! for the contact as a whole, under the empty name. What was never shown is unknown, and unknown is not "no".

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::sessions::{Msrp, Shown};
use crate::sip::uri::Aor;
use crate::words::time::Tick;

/// How long something is believed.
const BELIEVED: Duration = Duration::from_secs(24 * 3600);
/// How many contacts are remembered; whoever has shown nothing for longest is forgotten first.
const CONTACTS: usize = 100_000;
/// How many devices of one.
const DEVICES: usize = 8;
/// The longest names of devices and of programs that are kept, in bytes.
const NAME: usize = 256;

/// What a device may show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ability {
    /// Sessions by MSRP (RFC 4975).
    Msrp,
    /// `message/cpim` in a MESSAGE (RFC 3862).
    Cpim,
    /// `message/cpim` in a session, by its description (RFC 4975 §8.6).
    CpimInSessions,
    /// Delivery and display notifications (RFC 5438).
    Imdn,
    /// `application/im-iscomposing+xml` in a MESSAGE (RFC 3994).
    Composing,
    /// `text/html`: it sent some, or names it among what it accepts.
    Html,
    /// MESSAGE, by its Allow.
    Message,
    /// INVITE, by its Allow.
    Invite,
}

/// Those that rows may ask for, in the order of the table's words.
const ASKED_FOR: [Ability; 6] =
    [Ability::Cpim, Ability::Imdn, Ability::Composing, Ability::Html, Ability::Message, Ability::Invite];

/// What is known of one ability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Belief {
    can: bool,
    until: Tick,
    /// Its place among all that was ever shown here.
    order: u64,
}

/// One device.
#[derive(Clone, Debug, Default)]
struct Device {
    name: Box<str>,
    agent: Option<Box<str>>,
    beliefs: Vec<(Ability, Belief)>,
}

impl Device {
    fn belief(&self, ability: Ability) -> Option<&Belief> {
        self.beliefs.iter().find(|(known, _)| *known == ability).map(|(_, belief)| belief)
    }

    fn believe(&mut self, ability: Ability, belief: Belief) {
        match self.beliefs.iter_mut().find(|(known, _)| *known == ability) {
            Some((_, known)) => *known = belief,
            None => {
                // Most devices show one thing.
                self.beliefs.reserve_exact(1);
                self.beliefs.push((ability, belief));
            }
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Devices {
    /// The devices of each contact, the latest last.
    known: BTreeMap<Aor, Vec<Device>>,
    /// Contacts in the order in which they were first heard of, for forgetting.
    order: VecDeque<Aor>,
    /// How much was shown.
    shown: u64,
}

impl Devices {
    /// A device was heard, and called itself `agent` (User-Agent or Server) or nothing.
    pub fn heard(&mut self, contact: &Aor, device: &str, agent: Option<&str>) {
        let agent = agent.filter(|agent| agent.len() <= NAME);
        let latest = self.known.get(contact).and_then(|devices| devices.last());
        if let Some(latest) = latest.filter(|latest| *latest.name == *device)
            && (agent.is_none() || latest.agent.as_deref() == agent)
        {
            // As with most messages, nothing is new.
            return;
        }
        if agent.is_none() && self.device(contact, device).is_none() {
            return;
        }
        let Some(known) = self.entry(contact, device) else { return };
        if let Some(agent) = agent
            && known.agent.as_deref() != Some(agent)
        {
            if known.agent.is_some() {
                known.beliefs.clear();
            }
            known.agent = Some(agent.into());
        }
    }

    /// A device showed that it can, or cannot, do something; believed for a day.
    pub fn shows(&mut self, now: Tick, contact: &Aor, device: &str, ability: Ability, can: bool) {
        self.believe(contact, device, ability, can, now + BELIEVED);
    }

    /// A device cannot do something, and is not asked again for so long.
    pub fn lacks(&mut self, now: Tick, contact: &Aor, device: &str, ability: Ability, time: Duration) {
        if device.is_empty()
            && let Some(whole) = self.entry(contact, device)
        {
            // Nobody knows which program it was: the next name that is heard is no change.
            whole.agent = None;
        }
        self.believe(contact, device, ability, false, now + time);
    }

    /// None of the contact's devices can do something after all.
    pub fn refuses(&mut self, now: Tick, contact: &Aor, ability: Ability) {
        for device in self.known.get_mut(contact).into_iter().flatten() {
            device.beliefs.retain(|(known, _)| *known != ability);
        }
        self.shows(now, contact, "", ability, false);
    }

    /// What this device has shown of an ability; nothing is known otherwise.
    pub fn can(&self, now: Tick, contact: &Aor, device: &str, ability: Ability) -> Option<bool> {
        let belief = self.device(contact, device)?.belief(ability)?;
        (belief.until > now).then_some(belief.can)
    }

    /// What any device of the contact has shown: that one can, before that one cannot.
    pub fn any_can(&self, now: Tick, contact: &Aor, ability: Ability) -> Option<bool> {
        let beliefs = self.known.get(contact)?.iter().filter_map(|device| device.belief(ability));
        beliefs.filter(|belief| belief.until > now).map(|belief| belief.can).max()
    }

    /// All that any device of the contact has shown, but for MSRP.
    pub fn shown(&self, now: Tick, contact: &Aor) -> Shown {
        let (mut takes, mut said) = (0, 0);
        for device in self.known.get(contact).into_iter().flatten() {
            for (ability, belief) in device.beliefs.iter().filter(|(_, belief)| belief.until > now) {
                let place = ASKED_FOR.iter().position(|known| known == ability);
                let bit = place.map_or(0, |place| 1 << place);
                said |= bit;
                takes |= if belief.can { bit } else { 0 };
            }
        }
        Shown { takes, lacks: said & !takes }
    }

    /// What is known of sessions with the contact, and the device that showed it: a sign before a refusal, the latest
    /// first. The empty name means the contact as a whole: what refused us there may be any of its devices, so it goes
    /// before older signs.
    pub fn msrp(&self, now: Tick, contact: &Aor) -> (Msrp, Option<&str>) {
        let Some(devices) = self.known.get(contact) else { return (Msrp::Unknown, None) };
        let belief =
            |device: &Device| device.belief(Ability::Msrp).copied().filter(|belief| belief.until > now);
        let whole = devices.iter().find(|device| device.name.is_empty()).and_then(belief);
        let since = whole.filter(|belief| !belief.can).map_or(0, |belief| belief.order);
        let found = |can: bool| {
            let fits = |device: &&Device| {
                belief(device).is_some_and(|belief| belief.can == can && belief.order >= since)
            };
            devices.iter().rev().find(fits)
        };
        match (found(true), found(false)) {
            (Some(device), _) => (Msrp::Shown, Some(&device.name)),
            (None, Some(device)) => (Msrp::Refused, Some(&device.name)),
            (None, None) => (Msrp::Unknown, None),
        }
    }

    /// What the contact's latest device calls itself.
    pub fn agent(&self, contact: &Aor) -> Option<&str> {
        self.known.get(contact)?.iter().rev().find_map(|device| device.agent.as_deref())
    }

    fn device(&self, contact: &Aor, device: &str) -> Option<&Device> {
        self.known.get(contact)?.iter().find(|known| *known.name == *device)
    }

    fn believe(&mut self, contact: &Aor, device: &str, ability: Ability, can: bool, until: Tick) {
        self.shown += 1;
        let order = self.shown;
        if let Some(known) = self.entry(contact, device) {
            known.believe(ability, Belief { can, until, order });
        }
    }

    /// The device, as the latest; nothing if its name is too long to be kept.
    fn entry(&mut self, contact: &Aor, device: &str) -> Option<&mut Device> {
        if device.len() > NAME {
            return None;
        }
        if !self.known.contains_key(contact) {
            if self.known.len() >= CONTACTS
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
            self.order.push_back(contact.clone());
        }
        let devices = self.known.entry(contact.clone()).or_default();
        match devices.iter().position(|known| *known.name == *device) {
            Some(last) if last + 1 == devices.len() => {}
            Some(place) => {
                let known = devices.remove(place);
                devices.push(known);
            }
            None => {
                if devices.len() >= DEVICES {
                    devices.remove(0);
                }
                // Most contacts have one.
                devices.reserve_exact(1);
                devices.push(Device { name: device.into(), ..Device::default() });
            }
        }
        devices.last_mut()
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
    fn what_was_shown_is_believed_for_a_day() {
        let mut devices = Devices::default();
        assert_eq!(devices.msrp(at(0), &romeo(0)), (Msrp::Unknown, None));
        devices.shows(at(0), &romeo(0), "phone", Ability::Msrp, true);
        assert_eq!(devices.msrp(at(86_399), &romeo(0)), (Msrp::Shown, Some("phone")));
        assert_eq!(devices.msrp(at(86_400), &romeo(0)), (Msrp::Unknown, None));
    }

    #[test]
    fn a_refusal_is_believed_as_long_as_its_row_says_and_a_sign_of_another_device_goes_first() {
        let mut devices = Devices::default();
        devices.lacks(at(0), &romeo(0), "phone", Ability::Msrp, Duration::from_secs(120));
        assert_eq!(devices.msrp(at(119), &romeo(0)), (Msrp::Refused, Some("phone")));
        devices.shows(at(1), &romeo(0), "desk", Ability::Msrp, true);
        devices.shows(at(2), &romeo(0), "phone", Ability::Cpim, false);
        assert_eq!(devices.msrp(at(119), &romeo(0)), (Msrp::Shown, Some("desk")));
        assert_eq!(devices.can(at(3), &romeo(0), "phone", Ability::Msrp), Some(false));
        assert_eq!(devices.can(at(120), &romeo(0), "phone", Ability::Msrp), None);
        assert_eq!(devices.any_can(at(3), &romeo(0), Ability::Cpim), Some(false));
    }

    #[test]
    fn who_refuses_in_the_name_of_all_is_believed_until_somebody_shows_otherwise() {
        let mut devices = Devices::default();
        devices.shows(at(0), &romeo(0), "desk", Ability::Msrp, true);
        devices.lacks(at(1), &romeo(0), "", Ability::Msrp, Duration::from_secs(600));
        assert_eq!(devices.msrp(at(2), &romeo(0)), (Msrp::Refused, Some("")));
        assert_eq!(devices.msrp(at(601), &romeo(0)), (Msrp::Shown, Some("desk")), "the refusal is forgotten");
        devices.shows(at(3), &romeo(0), "phone", Ability::Msrp, true);
        assert_eq!(devices.msrp(at(4), &romeo(0)), (Msrp::Shown, Some("phone")));
    }

    #[test]
    fn another_program_has_shown_nothing() {
        let mut devices = Devices::default();
        devices.heard(&romeo(0), "phone", Some("Blink 1"));
        devices.shows(at(0), &romeo(0), "phone", Ability::Msrp, false);
        devices.heard(&romeo(0), "phone", None);
        devices.heard(&romeo(0), "phone", Some("Blink 1"));
        assert_eq!(devices.msrp(at(1), &romeo(0)).0, Msrp::Refused);
        devices.heard(&romeo(0), "phone", Some("Blink 2"));
        assert_eq!(devices.msrp(at(1), &romeo(0)).0, Msrp::Unknown);
        assert_eq!(devices.agent(&romeo(0)), Some("Blink 2"));
    }

    #[test]
    fn memory_is_bounded() {
        let mut devices = Devices::default();
        for number in 0..=CONTACTS {
            devices.shows(at(0), &romeo(number), "", Ability::Imdn, true);
        }
        assert_eq!((devices.known.len(), devices.order.len()), (CONTACTS, CONTACTS));
        assert_eq!(devices.any_can(at(1), &romeo(0), Ability::Imdn), None);
        for number in 0..20 {
            devices.shows(at(0), &romeo(1), &number.to_string(), Ability::Imdn, true);
        }
        assert_eq!(devices.known[&romeo(1)].len(), DEVICES);
        devices.heard(&romeo(1), &"x".repeat(NAME + 1), Some("x"));
        assert_eq!(devices.known[&romeo(1)].len(), DEVICES);
    }
}
