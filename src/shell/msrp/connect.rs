//! Opening connections: DNS, the rules of [`egress`](crate::config::egress), TCP, TLS, all within one time limit.
//!
//! What DNS gave is judged and then connected to as it is: it is not looked up a second time. Of several addresses those
//! that may be are tried in turn.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::client::TlsStream;

use super::{Shared, listener, tls};
use crate::config::Config;
use crate::config::egress::{Around, Permit, Policy, Refusal};
use crate::gateway::io::Input;
use crate::msrp::uri::{Hop, Host};
use crate::msrp::{AttemptId, Behalf, MsrpIn};
use crate::shell::dns::Dns;
use crate::shell::sockets;
use crate::sip::locate::{Located, Query};
use crate::words::note::Level;

/// The port of relays whose URI names none (RFC 4976 §8).
const PORT: u16 = 2855;

/// How many addresses of a name are tried.
const TRIES: usize = 4;

/// How many names are looked up at a time. The resolver has more turns than that: names of strangers must not hold up
/// those of SIP peers.
const LOOK_UPS: usize = 16;

/// How often a forbidden address is told, at most: strangers cause it.
const SELDOM: Duration = Duration::from_secs(60);

/// Where we may connect to.
pub struct Ways {
    policy: Policy,
    dns: Arc<Dns>,
    turns: Semaphore,
    peers: Vec<Peer>,
    /// What we call ourselves.
    advertised: Vec<Host>,
    told: Mutex<Told>,
}

/// A peer, as far as it opens ways.
#[derive(Default)]
struct Peer {
    address: Option<IpAddr>,
    /// Where it is a name: whether its services are looked up too.
    name: Option<(String, bool)>,
    networks: Vec<IpNet>,
}

/// When a forbidden address was last told, and how many were not since.
#[derive(Default)]
struct Told {
    last: Option<Instant>,
    untold: u64,
}

/// A connection.
enum Opened {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Why there is none: for the metrics, and for people.
struct Failed {
    reason: &'static str,
    why: String,
}

fn failed(reason: &'static str, why: impl Into<String>) -> Failed {
    Failed { reason, why: why.into() }
}

impl Ways {
    /// From the configuration, whose listeners are bound.
    pub fn new(config: &Config, dns: Arc<Dns>) -> Ways {
        let mut ways = Ways {
            policy: Policy::new(config),
            dns,
            turns: Semaphore::new(LOOK_UPS),
            peers: Vec::new(),
            advertised: Vec::new(),
            told: Mutex::default(),
        };
        for peer in &config.sip.peers {
            let address = peer.host.parse().ok();
            let name = address.is_none().then(|| (peer.host.clone(), peer.port.is_none()));
            ways.peers.push(Peer { address, name, networks: peer.networks.clone() });
        }
        ways.advertised.extend(config.msrp.advertise.clone());
        ways.advertised.extend(config.sip.advertise.clone());
        ways
    }

    /// The addresses of a hop that may be connected to, in their order; otherwise why none may.
    async fn find(&self, hop: &Hop, behalf: Behalf) -> Result<Vec<Permit>, Failed> {
        let port = hop.port.unwrap_or(PORT);
        let found = match &hop.host {
            Host::Ip(address) => vec![*address],
            Host::Name(name) => self.look_up(name).await,
        };
        if found.is_empty() || port == 0 {
            return Err(failed("dns", format!("{hop} has no address with a port")));
        }
        let mut aliases = Vec::new();
        if self.policy.has_port(port) {
            for host in &self.advertised {
                match host {
                    Host::Ip(address) => aliases.push(*address),
                    Host::Name(name) => aliases.extend(self.look_up(name).await),
                }
            }
        }
        let nobody = Peer::default();
        let (peer, is_named) = match behalf {
            Behalf::Peer(place) => (self.peers.get(place).unwrap_or(&nobody), false),
            Behalf::Ours => (&nobody, true),
        };
        let judge = |addresses: &[IpAddr]| {
            let around = Around {
                peer: addresses,
                networks: &peer.networks,
                is_named,
                aliases: &aliases,
                is_here: &sockets::is_here,
            };
            let judged = found.iter().map(|address| {
                let at = SocketAddr::new(*address, port);
                self.policy.judge(at, around).map_err(|refusal| (at, refusal))
            });
            let (good, bad): (Vec<_>, Vec<_>) = judged.partition(Result::is_ok);
            let good: Vec<Permit> = good.into_iter().flatten().take(TRIES).collect();
            let bad = bad.into_iter().find_map(Result::err);
            if good.is_empty() { Err(bad) } else { Ok(good) }
        };
        let mut judged = judge(peer.address.as_slice());
        if let (Err(Some((_, Refusal::Unnamed(_)))), Some((name, has_services))) = (&judged, &peer.name) {
            // Perhaps the peer is near it.
            judged = judge(&self.addresses_of(name, *has_services).await);
        }
        judged.map_err(|refused| match refused {
            Some((at, refusal)) => failed("forbidden", format!("{hop} is at {at}: this is {refusal}")),
            None => failed("dns", format!("{hop} has no address")),
        })
    }

    async fn addresses_of(&self, name: &str, has_services: bool) -> Vec<IpAddr> {
        let mut addresses = self.look_up(name).await;
        for service in ["_sip._udp", "_sip._tcp"].iter().filter(|_| has_services) {
            for record in self.dns.find(&Query::Srv(format!("{service}.{name}"))).await {
                if let Located::Srv(_, _, _, target) = record {
                    addresses.extend(self.look_up(&target).await);
                }
            }
        }
        addresses
    }

    async fn look_up(&self, name: &str) -> Vec<IpAddr> {
        // The semaphore is never closed.
        let _turn = self.turns.acquire().await;
        let found = self.dns.find(&Query::Address(name.to_owned())).await;
        let address = |record| match record {
            Located::Address(address) => Some(address),
            _ => None,
        };
        found.into_iter().filter_map(address).collect()
    }

    /// How many were not told before this one, if this one is to be told.
    fn is_to_be_told(&self) -> Option<u64> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.last.is_some_and(|last| last.elapsed() < SELDOM) {
            told.untold += 1;
            return None;
        }
        told.last = Some(Instant::now());
        Some(std::mem::take(&mut told.untold))
    }
}

impl Shared {
    /// Opens a connection for a shard, which is told in any case: here and now, or as an input.
    pub(super) fn connect(
        self: &Arc<Self>,
        shard: usize,
        attempt: AttemptId,
        hop: Hop,
        behalf: Behalf,
        fingerprint: Option<String>,
    ) -> Option<MsrpIn> {
        if !self.table().begin(&self.limits) {
            let why = self.note(failed("full", format!("{hop}: there are too many connections")));
            return Some(MsrpIn::NotConnected { attempt, why });
        }
        let shared = self.clone();
        tokio::spawn(async move {
            let opening = shared.open(&hop, behalf, fingerprint.as_deref());
            let opened = tokio::time::timeout(shared.limits.connect, opening)
                .await
                .unwrap_or_else(|_| Err(failed("timeout", format!("{hop}: no answer in time"))));
            match opened {
                Ok((remote, stream)) => shared.begin(shard, attempt, &hop, remote, stream).await,
                Err(failed) => {
                    shared.table().end_attempt();
                    let why = shared.note(failed);
                    let told = MsrpIn::NotConnected { attempt, why };
                    shared.inboxes.put(shard, Input::Msrp(told)).await;
                }
            }
        });
        None
    }

    async fn begin(
        self: &Arc<Self>,
        shard: usize,
        attempt: AttemptId,
        hop: &Hop,
        remote: SocketAddr,
        stream: Opened,
    ) {
        let conn = {
            let mut table = self.table();
            table.end_attempt();
            table.open(remote, hop.secure, shard)
        };
        self.opened[1].increment(1);
        self.inboxes.put(shard, Input::Msrp(MsrpIn::Connected { attempt, link: conn.link })).await;
        let shared = self.clone();
        // Tasks of their own: opening takes more memory than a connection needs for the rest of its life.
        match stream {
            Opened::Tcp(stream) => {
                let (reader, writer) = stream.into_split();
                tokio::spawn(async move { shared.serve(&conn, reader, writer).await });
            }
            Opened::Tls(stream) => {
                let (reader, writer) = tokio::io::split(*stream);
                tokio::spawn(async move { shared.serve(&conn, reader, writer).await });
            }
        }
    }

    async fn open(
        &self,
        hop: &Hop,
        behalf: Behalf,
        fingerprint: Option<&str>,
    ) -> Result<(SocketAddr, Opened), Failed> {
        if &*hop.transport != "tcp" {
            return Err(failed("transport", format!("{hop}: only tcp is built")));
        }
        let places = self.ways.find(hop, behalf).await?;
        let connector = match hop.secure {
            true => Some(
                self.tls
                    .connector(fingerprint)
                    .await
                    .map_err(|why| failed("tls", format!("{hop}: {why}")))?,
            ),
            false => None,
        };
        let patience = self.limits.connect / u32::try_from(places.len()).unwrap_or(1).max(1);
        let mut last = failed("dns", format!("{hop} has no address"));
        for permit in places {
            let at = permit.address();
            let stream = match tokio::time::timeout(patience, sockets::connect(permit)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => {
                    last = failed("refused", format!("{hop} is at {at}: {error}"));
                    continue;
                }
                Err(_) => {
                    last = failed("timeout", format!("{hop} is at {at}: no answer in time"));
                    continue;
                }
            };
            listener::prepare(&stream);
            let Some(connector) = &connector else { return Ok((at, Opened::Tcp(stream))) };
            let name = tls::server_name(&hop.host).map_err(|why| failed("tls", why))?;
            return match connector.connect(name, stream).await {
                Ok(stream) => Ok((at, Opened::Tls(Box::new(stream)))),
                Err(error) => Err(failed("tls", format!("{hop} is at {at}: {}", tls::explain(&error)))),
            };
        }
        Err(last)
    }

    /// Counts and logs a failure, and gives its words.
    fn note(&self, failed: Failed) -> String {
        self.meters.counter("msrp_not_connected_total", &[("reason", failed.reason)]).increment(1);
        if failed.reason != "forbidden" {
            self.log.line(Level::Debug, "msrp-not-connected", &[("why", failed.why.clone())]);
        } else if let Some(untold) = self.ways.is_to_be_told() {
            let mut fields = vec![("why", failed.why.clone())];
            if untold > 0 {
                fields.push(("again", untold.to_string()));
            }
            self.log.line(Level::Warn, "msrp-forbidden", &fields);
        }
        failed.why
    }
}
