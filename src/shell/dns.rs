//! Answers to the core's questions to DNS (RFC 3263 §4), from the system's resolver configuration and hosts file.
//!
//! Choosing among the records is the core's; here a question becomes records, and every failure an empty answer.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use tokio::sync::Semaphore;

use super::inbox::Inboxes;
use super::log::Log;
use super::sockets::Doorkeeper;
use crate::gateway::io::Input;
use crate::sip::locate::{Located, Query};
use crate::words::note::Level;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long one name server may take. There is a second try within [`PATIENCE`].
const ONE_TRY: Duration = Duration::from_secs(2);

/// How many questions are asked at a time; more wait their turn within [`PATIENCE`].
const AT_ONCE: usize = 32;

/// The resolver, for all shards.
pub struct Dns {
    resolver: Option<TokioResolver>,
    turns: Semaphore,
    asked: Mutex<HashSet<(usize, Query)>>,
    inboxes: Inboxes,
    /// Who wants to know where peers are.
    keeper: Option<Arc<Doorkeeper>>,
}

impl Dns {
    /// A resolver by the system's configuration. Without one, addresses and the hosts file still work.
    pub fn new(inboxes: &Inboxes, log: &Log) -> Dns {
        let mut builder = TokioResolver::builder_tokio().unwrap_or_else(|error| {
            log.line(Level::Warn, "dns-unconfigured", &[("reason", error.to_string())]);
            TokioResolver::builder_with_config(ResolverConfig::default(), TokioRuntimeProvider::default())
        });
        let options = builder.options_mut();
        // A peer is known by all of its addresses, whatever we prefer ourselves.
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.timeout = ONE_TRY;
        options.attempts = 1;
        let resolver = builder.build();
        if let Err(error) = &resolver {
            log.line(Level::Error, "dns-unusable", &[("reason", error.to_string())]);
        }
        Dns {
            resolver: resolver.ok(),
            turns: Semaphore::new(AT_ONCE),
            asked: Mutex::default(),
            inboxes: inboxes.clone(),
            keeper: None,
        }
    }

    /// The same, which tells the keeper what it told a shard: shards ask about peers alone.
    pub fn telling(mut self, keeper: &Arc<Doorkeeper>) -> Dns {
        self.keeper = Some(keeper.clone());
        self
    }

    /// Asks for a shard; the answer comes as an input. The same question of the same shard is asked once at a time.
    pub fn ask(self: &Arc<Self>, shard: usize, query: Query) {
        if !self.asked().insert((shard, query.clone())) {
            return;
        }
        let dns = self.clone();
        tokio::spawn(async move {
            let found = dns.find(&query).await;
            dns.asked().remove(&(shard, query.clone()));
            if let Some(keeper) = &dns.keeper {
                keeper.learn(&query, &found);
            }
            dns.inboxes.put(shard, Input::Resolved(query, found)).await;
        });
    }

    /// The answer to a question; nothing where there is none in time.
    pub async fn find(&self, query: &Query) -> Vec<Located> {
        tokio::time::timeout(PATIENCE, self.answer(query)).await.unwrap_or_default()
    }

    fn asked(&self) -> std::sync::MutexGuard<'_, HashSet<(usize, Query)>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, query: &Query) -> Vec<Located> {
        if let Query::Address(name) = query
            && let Some(address) = literal(name)
        {
            return vec![Located::Address(address)];
        }
        // The semaphore is never closed.
        let _turn = self.turns.acquire().await;
        match query {
            Query::Address(name) => self.addresses(name).await,
            Query::Naptr(name) => self.records(name, RecordType::NAPTR).await,
            Query::Srv(name) => self.records(name, RecordType::SRV).await,
        }
    }

    async fn addresses(&self, name: &str) -> Vec<Located> {
        let Some(resolver) = &self.resolver else { return Vec::new() };
        match resolver.lookup_ip(name).await {
            Ok(found) => found.iter().map(Located::Address).collect(),
            Err(_) => Vec::new(),
        }
    }

    async fn records(&self, name: &str, kind: RecordType) -> Vec<Located> {
        let Some(resolver) = &self.resolver else { return Vec::new() };
        // Never with the machine's search list: these names are whole.
        let name = format!("{}.", name.trim_end_matches('.'));
        match resolver.lookup(name, kind).await {
            Ok(found) => found.answers().iter().filter_map(|record| located(&record.data)).collect(),
            Err(_) => Vec::new(),
        }
    }
}

/// An address in the clothes of a name, with or without brackets.
fn literal(name: &str) -> Option<IpAddr> {
    name.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn located(data: &RData) -> Option<Located> {
    match data {
        RData::NAPTR(naptr) => Some(Located::Naptr(
            naptr.order,
            naptr.preference,
            String::from_utf8_lossy(&naptr.services).into_owned(),
            naptr.replacement.to_utf8(),
        )),
        RData::SRV(srv) => Some(Located::Srv(srv.priority, srv.weight, srv.port, srv.target.to_utf8())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_need_no_resolver() {
        assert_eq!(literal("192.0.2.1"), Some("192.0.2.1".parse().unwrap()));
        assert_eq!(literal("[2001:db8::1]"), Some("2001:db8::1".parse().unwrap()));
        assert_eq!(literal("sip.example.org"), None);
    }

    #[tokio::test]
    async fn names_of_the_hosts_file_need_no_server() {
        let (inboxes, mut inbox) =
            Inboxes::new(1, crate::gateway::Domains::new(&crate::config::Config::empty()));
        let (log, _) = Log::start(Level::Error, crate::shell::log::Format::Logfmt).unwrap();
        let dns = Arc::new(Dns::new(&inboxes, &log));
        let query = Query::Address("localhost".into());
        dns.ask(0, query.clone());
        match inbox[0].recv().await {
            Some(Input::Resolved(asked, found)) => {
                assert_eq!(asked, query);
                assert!(found.contains(&Located::Address("127.0.0.1".parse().unwrap())), "{found:?}");
            }
            other => panic!("an answer was expected: {other:?}"),
        }
    }
}
