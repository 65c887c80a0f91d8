//! The requests to us that are under way, and what they take: so many, and so many bytes.

use std::collections::BTreeMap;

use super::inbound::Server;
use crate::sip::message::{Request, ServerKey};

/// Requests that may await their answers; more get 503.
const LIMIT: usize = 50_000;
/// What they may take: a request may be a megabyte long, and an INVITE is kept while it rings.
const LIMIT_BYTES: usize = 128 * 1024 * 1024;

/// All of them.
#[derive(Default)]
pub struct Servers {
    all: BTreeMap<ServerKey, (Server, usize)>,
    bytes: usize,
}

impl Servers {
    /// Whether there is no room for another.
    pub fn is_full(&self) -> bool {
        self.all.len() >= LIMIT || self.bytes >= LIMIT_BYTES
    }

    /// Notes a request.
    pub fn insert(&mut self, key: ServerKey, server: Server, request: &Request) {
        let size = size_of(request);
        self.bytes += size;
        self.all.insert(key, (server, size));
    }

    /// Forgets a request.
    pub fn remove(&mut self, key: ServerKey) {
        if let Some((_, size)) = self.all.remove(&key) {
            self.bytes -= size;
        }
    }

    /// One of them.
    pub fn get(&self, key: ServerKey) -> Option<&Server> {
        self.all.get(&key).map(|(server, _)| server)
    }

    /// One of them, to change.
    pub fn get_mut(&mut self, key: ServerKey) -> Option<&mut Server> {
        self.all.get_mut(&key).map(|(server, _)| server)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }
}

/// About what a request takes.
fn size_of(request: &Request) -> usize {
    let headers: usize = request.headers.iter().map(|header| header.raw_value().len() + 64).sum();
    headers + request.body().len()
}
