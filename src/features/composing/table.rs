//! What one user and one contact know of each other's typing, and what either must be told: the state machines of
//! RFC 3994 §3.2 (sender) and §3.3 (receiver), fed by the states of XEP-0085.

use std::time::Duration;

use crate::xmpp::jid::Jid;

/// What we name to SIP: how long `active` holds (RFC 3994 §3.2: at least a minute).
pub const REFRESH: Duration = Duration::from_secs(90);

/// When it is said again: in time before that is over.
pub const REPEAT: Duration = Duration::from_secs(75);

/// How often it is said again without a word of the client's: a client that crashed never says that it stopped.
const REPEATS: u8 = 4;

/// What the SIP side must be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tell {
    /// That she is writing.
    Active,
    /// That she is not, any more.
    Idle,
    /// Nothing: it knows.
    Nothing,
}

/// One user and one contact.
#[derive(Debug, Default)]
pub struct Pair {
    /// SIP was told that she is writing, and this often again.
    told: Option<u8>,
    /// He is writing, and XMPP was told so, or will be with her first state.
    shown: bool,
    /// It was not, since nothing said that her clients would understand.
    unseen: bool,
    /// One of her clients has sent a chat state to him.
    speaks: bool,
    /// The client that did so last.
    device: Option<Box<str>>,
    /// The contact's address with the device that was heard last.
    pub contact: Option<Jid>,
}

impl Pair {
    /// One of her clients sent a chat state. True when it is the first, and he is writing: she has not been told.
    pub fn spoke(&mut self, resource: Option<&str>) -> bool {
        self.device = resource.map(Into::into);
        self.speaks = true;
        std::mem::take(&mut self.unseen) && self.shown
    }

    /// She could not be told what he does.
    pub fn unseen(&mut self) {
        self.unseen = true;
    }

    /// Whether her clients have shown that they understand chat states (XEP-0085 §5.1).
    pub fn understands(&self) -> bool {
        self.speaks
    }

    /// The client that spoke last.
    pub fn device(&self) -> Option<&str> {
        self.device.as_deref()
    }

    /// She is writing.
    pub fn composes(&mut self) -> Tell {
        match self.told.replace(0) {
            // She said so again; the next repetition has its time.
            Some(_) => Tell::Nothing,
            None => Tell::Active,
        }
    }

    /// She is not writing.
    pub fn stop(&mut self) -> Tell {
        if self.told.take().is_some() { Tell::Idle } else { Tell::Nothing }
    }

    /// She sent what she wrote: the receiver takes that as the end (§3.3).
    pub fn wrote(&mut self) {
        self.told = None;
    }

    /// It could not be told.
    pub fn untold(&mut self) {
        self.told = None;
    }

    /// What was told will not hold much longer.
    pub fn refresh(&mut self) -> Tell {
        match &mut self.told {
            Some(repeats) if *repeats < REPEATS => {
                *repeats += 1;
                Tell::Active
            }
            _ => self.stop(),
        }
    }

    /// He says what he does. True when that is news: repetitions are swallowed (XEP-0085 §5.3).
    pub fn heard(&mut self, active: bool) -> bool {
        std::mem::replace(&mut self.shown, active) != active
    }

    /// He sent what he wrote.
    pub fn heard_text(&mut self) {
        self.shown = false;
    }

    /// What he said holds no longer. True when XMPP believes it still.
    pub fn lapse(&mut self) -> bool {
        std::mem::take(&mut self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sip_is_told_of_changes_alone() {
        let mut pair = Pair::default();
        assert_eq!(pair.stop(), Tell::Nothing);
        assert_eq!(pair.composes(), Tell::Active);
        assert_eq!(pair.composes(), Tell::Nothing);
        assert_eq!(pair.stop(), Tell::Idle);
        assert_eq!(pair.stop(), Tell::Nothing);
        assert_eq!(pair.composes(), Tell::Active);
        pair.wrote();
        assert_eq!(pair.stop(), Tell::Nothing, "the message said it");
    }

    #[test]
    fn writing_is_said_again_but_not_for_ever() {
        let mut pair = Pair::default();
        pair.composes();
        for _ in 0..REPEATS {
            assert_eq!(pair.refresh(), Tell::Active);
        }
        assert_eq!(pair.refresh(), Tell::Idle);
        assert_eq!(pair.refresh(), Tell::Nothing);
        pair.composes();
        pair.refresh();
        assert_eq!(pair.composes(), Tell::Nothing);
        assert_eq!(pair.refresh(), Tell::Active, "counted anew");
    }

    #[test]
    fn who_has_been_writing_is_told_with_the_first_state() {
        let mut pair = Pair::default();
        pair.heard(true);
        pair.unseen();
        assert!(!pair.understands() && pair.spoke(None) && !pair.spoke(None));
        let mut pair = Pair::default();
        pair.heard(true);
        assert!(!pair.spoke(None), "she was told, since her client names chat states");
        let mut pair = Pair::default();
        assert!(!pair.spoke(None));
    }

    #[test]
    fn xmpp_is_told_of_changes_alone() {
        let mut pair = Pair::default();
        assert!(pair.heard(true) && !pair.heard(true));
        pair.heard_text();
        assert!(!pair.heard(false) && pair.heard(true));
        assert!(pair.lapse() && !pair.lapse());
    }
}
