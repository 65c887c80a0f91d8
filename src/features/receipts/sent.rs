//! What XMPP users have sent to SIP, by the names under which a report may speak of it (RFC 5438 §7.1.1): its
//! `imdn.Message-ID`, or the Call-ID of a MESSAGE without one, which some clients use unasked. In memory, the oldest are
//! forgotten first.

use std::collections::{BTreeMap, VecDeque};

use crate::features::signal::Sent;
use crate::sip::uri::Aor;
use crate::xmpp::jid::Jid;

/// How many messages are remembered.
const LIMIT: usize = 50_000;

/// One message.
#[derive(Debug)]
pub struct Remembered {
    /// Who wrote it, with the device.
    pub user: Jid,
    /// To whom, as she wrote it.
    pub to: Jid,
    /// The id of her stanza.
    pub id: String,
    /// She asked for a receipt.
    pub receipt: bool,
    /// She asked for a marker.
    pub marker: bool,
    /// A device reported that it has it.
    pub delivered: bool,
    /// A device reported that it was shown.
    pub displayed: bool,
    /// A device reported that it failed.
    pub failed: bool,
}

/// The contact, and a name of the message.
type Name = (Aor, String);

/// See the module.
#[derive(Debug, Default)]
pub struct Memory {
    by_name: BTreeMap<Name, u64>,
    messages: BTreeMap<u64, (Remembered, Vec<Name>)>,
    /// In the order of sending.
    order: VecDeque<u64>,
    next: u64,
}

impl Memory {
    /// A message went out; again, if it goes by another way.
    pub fn remember(&mut self, sent: &Sent) {
        let mut names: Vec<Name> =
            sent.names.iter().map(|name| (sent.contact.clone(), name.clone())).collect();
        if let Some(number) = names.iter().find_map(|name| self.by_name.get(name)).copied()
            && let Some((known, own)) = self.messages.get_mut(&number)
            && known.id == sent.id
            && known.user == sent.user
        {
            names.retain(|name| !own.contains(name));
            own.extend(names.iter().cloned());
            self.by_name.extend(names.into_iter().map(|name| (name, number)));
            return;
        }
        if self.order.len() >= LIMIT
            && let Some(oldest) = self.order.pop_front()
            && let Some((_, names)) = self.messages.remove(&oldest)
        {
            for name in names {
                // A thread's Call-ID may since have become the name of a later message.
                if self.by_name.get(&name) == Some(&oldest) {
                    self.by_name.remove(&name);
                }
            }
        }
        let number = self.next;
        self.next += 1;
        self.by_name.extend(names.iter().cloned().map(|name| (name, number)));
        self.order.push_back(number);
        let remembered = Remembered {
            user: sent.user.clone(),
            to: sent.to.clone(),
            id: sent.id.clone(),
            receipt: sent.receipt,
            marker: sent.marker,
            delivered: false,
            displayed: false,
            failed: false,
        };
        self.messages.insert(number, (remembered, names));
    }

    /// The message of this user's that a contact's report names.
    pub fn reported(&mut self, user: &Jid, contact: &Aor, name: &str) -> Option<&mut Remembered> {
        let number = self.by_name.get(&(contact.clone(), name.to_owned()))?;
        let (remembered, _) = self.messages.get_mut(number)?;
        (remembered.user.bare_str() == user.bare_str()).then_some(remembered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn romeo() -> Aor {
        Aor { user: Some("romeo".into()), host: "example.net".into() }
    }

    fn juliet() -> Jid {
        Jid::parse("juliet@example.com/balcony").unwrap()
    }

    fn sent(id: &str, names: &[&str]) -> Sent {
        Sent {
            user: juliet(),
            to: Jid::parse("romeo@example.net").unwrap(),
            contact: romeo(),
            id: id.into(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            receipt: true,
            marker: false,
        }
    }

    #[test]
    fn a_message_is_found_under_each_of_its_names_and_by_its_own_user_alone() {
        let mut memory = Memory::default();
        memory.remember(&sent("1", &["m1"]));
        memory.remember(&sent("1", &["m1", "call"]));
        assert_eq!((memory.messages.len(), memory.by_name.len()), (1, 2));
        for name in ["m1", "call"] {
            assert_eq!(
                memory.reported(&juliet().bare(), &romeo(), name).map(|known| known.id.as_str()),
                Some("1")
            );
        }
        let nurse = Jid::parse("nurse@example.com").unwrap();
        assert!(memory.reported(&nurse, &romeo(), "m1").is_none());
        assert!(memory.reported(&juliet(), &romeo(), "m2").is_none());
    }

    #[test]
    fn a_call_id_that_is_a_thread_means_the_latest_message() {
        let mut memory = Memory::default();
        memory.remember(&sent("1", &["m1", "thread"]));
        memory.remember(&sent("2", &["m2", "thread"]));
        assert_eq!(memory.reported(&juliet(), &romeo(), "thread").map(|known| known.id.as_str()), Some("2"));
        assert_eq!(memory.reported(&juliet(), &romeo(), "m1").map(|known| known.id.as_str()), Some("1"));
    }

    #[test]
    fn memory_is_bounded() {
        let mut memory = Memory::default();
        for number in 0..LIMIT + 10 {
            memory.remember(&sent(&number.to_string(), &[&format!("m{number}"), "thread"]));
        }
        assert_eq!(
            (memory.messages.len(), memory.order.len(), memory.by_name.len()),
            (LIMIT, LIMIT, LIMIT + 1)
        );
        assert!(memory.reported(&juliet(), &romeo(), "m9").is_none());
    }
}
