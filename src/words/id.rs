//! Identifiers that we mint, and the partition that each of them names.
//!
//! Whatever comes back to us (a tag, a Via branch, an IQ id) must find the one gateway that owns the conversation,
//! in any process that runs the same code: so the first two characters of every minted token are its partition in
//! hexadecimal, and 80 random bits follow, which nobody can guess.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// One of the 256 shares that all conversations are divided into. Fixed for ever: it is written into the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Partition(pub u8);

impl Partition {
    /// The partition of a name: FNV-1a with 64 bits, folded to eight. Fixed, because stores and peers hold the result.
    pub fn of(name: &str) -> Partition {
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Partition((hash ^ (hash >> 32) ^ (hash >> 16) ^ (hash >> 8)) as u8)
    }

    /// The partition that a token of ours names; nothing for a token that we cannot have minted.
    pub fn of_token(token: &str) -> Option<Partition> {
        if token.len() != TOKEN_LENGTH
            || !token.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        {
            return None;
        }
        u8::from_str_radix(&token[..2], 16).ok().map(Partition)
    }
}

/// Two hexadecimal digits of partition and sixteen of base 32.
const TOKEN_LENGTH: usize = 18;

/// What the shell draws from the operating system for one gateway, and a simulation from its seed.
#[derive(Clone, Copy)]
pub struct Seed(pub [u8; 32]);

/// The source of everything random in the core: a generator that the shell seeds once.
pub struct Mint {
    random: ChaCha8Rng,
    home: Partition,
}

impl Mint {
    /// A generator that gives the same sequence for the same seed.
    pub fn new(seed: Seed) -> Mint {
        Mint { random: ChaCha8Rng::from_seed(seed.0), home: Partition(0) }
    }

    /// The same, for an owner whose share does not hold partition 0.
    pub fn at_home(mut self, home: Partition) -> Mint {
        self.home = home;
        self
    }

    /// A partition that is this owner's: for what concerns nobody in particular, and whose answer must come back here.
    pub fn home(&self) -> Partition {
        self.home
    }

    /// A token of 18 lower-case letters and digits that names `partition` and cannot be guessed.
    pub fn token(&mut self, partition: Partition) -> String {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let mut bits = (u128::from(self.random.next_u64()) << 64) | u128::from(self.random.next_u64());
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut token = [0; TOKEN_LENGTH];
        token[0] = DIGITS[usize::from(partition.0 >> 4)];
        token[1] = DIGITS[usize::from(partition.0 & 15)];
        for letter in &mut token[2..] {
            *letter = ALPHABET[(bits & 31) as usize];
            bits >>= 5;
        }
        String::from_utf8_lossy(&token).into_owned()
    }

    /// A number from zero up to, and without, `limit`; zero when that is zero.
    pub fn below(&mut self, limit: u64) -> u64 {
        if limit == 0 { 0 } else { self.random.next_u64() % limit }
    }

    /// A duration between `low` and `high`, evenly spread.
    pub fn between(&mut self, low: Duration, high: Duration) -> Duration {
        let span = high.saturating_sub(low).as_micros() as u64;
        low + Duration::from_micros(if span == 0 { 0 } else { self.random.next_u64() % (span + 1) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_partition() {
        let mut mint = Mint::new(Seed([7; 32]));
        for number in [0, 1, 127, 255] {
            let token = mint.token(Partition(number));
            assert_eq!(Partition::of_token(&token), Some(Partition(number)));
        }
        assert_eq!(Partition::of_token("bf9m36d5"), None);
        assert_ne!(mint.token(Partition(1)), mint.token(Partition(1)));
    }

    #[test]
    fn partitions_of_names_never_change() {
        assert_eq!(Partition::of("juliet@example.com"), Partition::of("juliet@example.com"));
        let spread: std::collections::BTreeSet<_> =
            (0..2000).map(|number| Partition::of(&format!("user{number}@example.com"))).collect();
        assert!(spread.len() > 250, "{} of 256 partitions used", spread.len());
    }
}
