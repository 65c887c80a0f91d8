//! How fast one may ask for what costs more than its answer: calls, subscriptions, referrals of a SIP user, ways into rooms
//! of an XMPP user; and how fast all users of one foreign SIP domain may ask for anything.
//!
//! What a feature keeps for these is bounded there. This bounds what is done for them: each asks a server, opens a session
//! or writes to people. Messages have a pace of their own (`features/pager/quota.rs`). See
//! `docs/decisions/rate-of-stanzas.md`.

use crate::words::pace::Pace;
use crate::words::time::{Now, Tick};

/// How many users, and how many domains, are counted at a time.
const USERS: usize = 50_000;
const DOMAINS: usize = 10_000;
/// A domain may do so much as so many of its users.
const OF_A_DOMAIN: u64 = 10;

/// Everybody who asked lately.
#[derive(Debug)]
pub struct Crowd {
    users: Pace,
    domains: Pace,
}

impl Default for Crowd {
    fn default() -> Crowd {
        Crowd { users: Pace::of(USERS), domains: Pace::of(DOMAINS) }
    }
}

impl Crowd {
    /// Whether this user may ask now.
    pub fn admits_user(&mut self, now: Now, rate: u64, user: &str) -> bool {
        self.users.take(now.tick, rate, user)
    }

    /// Whether a user of this foreign domain may ask now.
    pub fn admits_domain(&mut self, now: Now, rate: u64, domain: &str) -> bool {
        self.domains.take(now.tick, rate.saturating_mul(OF_A_DOMAIN), domain)
    }

    /// When [`Crowd::timeout`] is wanted.
    pub fn next_timeout(&self) -> Option<Tick> {
        [self.users.next_timeout(), self.domains.next_timeout()].into_iter().flatten().min()
    }

    /// Time has come.
    pub fn timeout(&mut self, now: Now) {
        self.users.timeout(now.tick);
        self.domains.timeout(now.tick);
    }

    /// How many are counted.
    pub fn len(&self) -> usize {
        self.users.known() + self.domains.known()
    }
}
