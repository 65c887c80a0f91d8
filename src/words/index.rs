//! Look-up by key, and nothing else: what goes through entries in their order has an ordered map (rule 12).
//!
//! Keys are often chosen by others: tags, Call-IDs, addresses. So the hash is seeded anew in each process, though it is a
//! quicker one than the standard library's: a message is looked up some twenty times on its way.

use std::collections::HashMap;

/// Values by key, in no order.
pub type Index<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
