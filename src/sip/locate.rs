//! Finding where a SIP URI leads: RFC 3263 §4 as questions and answers, asked and answered by the shell.
//!
//! A [`Locator`] is one search: it gives [`Query`]s, takes their answers in any order, and in the end has the [`Hop`]s
//! in the order in which they are to be tried. Numeric hosts, ports and transports take the short-cuts of §4.1 and
//! §4.2. Only UDP and TCP are looked for; `sips:` and TLS services are passed over.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::flow::Transport;

/// A question to DNS (RFC 3263): the records of one name and type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Query {
    /// A and AAAA.
    Address(String),
    /// NAPTR.
    Naptr(String),
    /// SRV.
    Srv(String),
}

/// One record of an answer from DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Located {
    /// A or AAAA.
    Address(IpAddr),
    /// NAPTR: order, preference, service (`SIP+D2T`), replacement.
    Naptr(u16, u16, String, String),
    /// SRV: priority, weight, port, target.
    Srv(u16, u16, u16, String),
}

/// A place to send to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hop {
    /// Over what.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
    /// The name that led there, in lower case.
    pub name: String,
}

/// SRV targets of one search that are followed: more would only be a burden for somebody else.
const TARGET_LIMIT: usize = 16;
/// The port of `sip:` when nothing says another.
const DEFAULT_PORT: u16 = 5060;

/// One search for the hops of a host.
#[derive(Clone, Debug)]
pub struct Locator {
    host: String,
    /// What the host's own addresses are tried with, when SRV knows nothing.
    plain: (Transport, u16),
    /// The transports that may be used, best first.
    transports: Vec<Transport>,
    asked: BTreeMap<Query, Option<Vec<Located>>>,
    /// SRV names in the order in which they are followed.
    services: Vec<(Transport, String)>,
    targets: Option<Vec<Target>>,
}

#[derive(Clone, Debug)]
struct Target {
    transport: Transport,
    name: String,
    port: u16,
}

/// How far a search is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// These are to be asked; nothing when answers are still due.
    Ask(Vec<Query>),
    /// The end, best first; nothing when the name leads nowhere.
    Done(Vec<Hop>),
}

impl Locator {
    /// A search for `host`, with port and transport where the URI names them, and otherwise any of `transports`.
    pub fn new(
        host: &str,
        port: Option<u16>,
        transport: Option<Transport>,
        transports: &[Transport],
    ) -> Locator {
        let usable = match transport {
            Some(one) => vec![one],
            None => transports.to_vec(),
        };
        // RFC 3263 §4.1: a numeric host or a port without a transport means UDP; without a UDP listener, what we have.
        let first = match transport {
            Some(one) => one,
            None if usable.contains(&Transport::Udp) || usable.is_empty() => Transport::Udp,
            None => Transport::Tcp,
        };
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        Locator {
            plain: (first, port.unwrap_or(DEFAULT_PORT)),
            transports: usable,
            asked: BTreeMap::new(),
            services: Vec::new(),
            targets: port.map(|port| vec![Target { transport: first, name: name.clone(), port }]),
            host: name,
        }
        .with_services(port.is_none() && transport.is_some())
    }

    fn with_services(mut self, known: bool) -> Locator {
        if known {
            self.services = self.guessed_services();
        }
        self
    }

    fn guessed_services(&self) -> Vec<(Transport, String)> {
        self.transports.iter().map(|one| (*one, format!("_sip._{}.{}", one.param(), self.host))).collect()
    }

    /// Goes on as far as the answers allow. Call first without an answer. `draw` gives a number below its argument.
    pub fn step(&mut self, draw: &mut dyn FnMut(u64) -> u64) -> Progress {
        if let Ok(ip) = self.host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            let address = SocketAddr::new(ip, self.plain.1);
            return Progress::Done(vec![Hop { transport: self.plain.0, address, name: self.host.clone() }]);
        }
        if self.targets.is_none() && self.services.is_empty() {
            let query = Query::Naptr(self.host.clone());
            let Some(answer) = self.asked.get(&query) else { return self.ask(vec![query]) };
            let Some(found) = answer else { return Progress::Ask(Vec::new()) };
            self.services = self.offered_services(found);
            if self.services.is_empty() {
                self.services = self.guessed_services();
            }
        }
        if self.targets.is_none() {
            let queries: Vec<_> = self.services.iter().map(|(_, name)| Query::Srv(name.clone())).collect();
            if let Some(progress) = self.wait_for(queries) {
                return progress;
            }
            self.targets = Some(self.srv_targets(draw));
        }
        let targets = self.targets.clone().unwrap_or_default();
        let queries = targets
            .iter()
            .filter(|target| target.name.parse::<IpAddr>().is_err())
            .map(|target| Query::Address(target.name.clone()))
            .collect();
        if let Some(progress) = self.wait_for(queries) {
            return progress;
        }
        Progress::Done(self.hops(&targets))
    }

    /// Takes an answer; false when this search did not ask.
    pub fn answer(&mut self, query: &Query, found: &[Located]) -> bool {
        match self.asked.get_mut(query) {
            Some(slot) => {
                *slot = Some(found.to_vec());
                true
            }
            None => false,
        }
    }

    fn ask(&mut self, queries: Vec<Query>) -> Progress {
        for query in &queries {
            self.asked.insert(query.clone(), None);
        }
        Progress::Ask(queries)
    }

    /// What remains to be done until all of `queries` are answered; nothing when they are.
    fn wait_for(&mut self, queries: Vec<Query>) -> Option<Progress> {
        let mut new: Vec<_> =
            queries.iter().filter(|query| !self.asked.contains_key(query)).cloned().collect();
        new.dedup();
        if !new.is_empty() {
            return Some(self.ask(new));
        }
        let waits = queries.iter().any(|query| matches!(self.asked.get(query), Some(None)));
        waits.then(|| Progress::Ask(Vec::new()))
    }

    fn offered_services(&self, found: &[Located]) -> Vec<(Transport, String)> {
        let mut offers: Vec<_> = found
            .iter()
            .filter_map(|record| match record {
                Located::Naptr(order, preference, service, replacement) => {
                    let transport = match service.to_ascii_uppercase().as_str() {
                        "SIP+D2U" => Transport::Udp,
                        "SIP+D2T" => Transport::Tcp,
                        _ => return None,
                    };
                    let name = replacement.trim_end_matches('.').to_ascii_lowercase();
                    self.transports.contains(&transport).then_some((*order, *preference, transport, name))
                }
                _ => None,
            })
            .collect();
        offers.sort();
        offers.into_iter().map(|(_, _, transport, name)| (transport, name)).collect()
    }

    fn srv_targets(&self, draw: &mut dyn FnMut(u64) -> u64) -> Vec<Target> {
        let mut targets = Vec::new();
        for (transport, service) in &self.services {
            let Some(Some(found)) = self.asked.get(&Query::Srv(service.clone())) else { continue };
            for (port, name) in by_priority_and_weight(found, draw) {
                targets.push(Target { transport: *transport, name, port });
            }
        }
        targets.truncate(TARGET_LIMIT);
        if targets.is_empty() {
            let (transport, port) = self.plain;
            targets.push(Target { transport, name: self.host.clone(), port });
        }
        targets
    }

    fn hops(&self, targets: &[Target]) -> Vec<Hop> {
        let mut hops = Vec::new();
        for target in targets {
            let mut add = |ip: IpAddr| {
                let address = SocketAddr::new(ip, target.port);
                let hop = Hop { transport: target.transport, address, name: target.name.clone() };
                if !hops.contains(&hop) {
                    hops.push(hop);
                }
            };
            if let Ok(ip) = target.name.parse() {
                add(ip);
                continue;
            }
            if let Some(Some(found)) = self.asked.get(&Query::Address(target.name.clone())) {
                for record in found {
                    if let Located::Address(ip) = record {
                        add(*ip);
                    }
                }
            }
        }
        hops
    }
}

/// RFC 2782: lowest priority first; among equals a draw by weight, for each place anew. A lone "." means no service.
fn by_priority_and_weight(found: &[Located], draw: &mut dyn FnMut(u64) -> u64) -> Vec<(u16, String)> {
    let mut records: Vec<_> = found
        .iter()
        .filter_map(|record| match record {
            Located::Srv(priority, weight, port, target) => {
                let name = target.trim_end_matches('.').to_ascii_lowercase();
                (!name.is_empty()).then_some((*priority, *weight, *port, name))
            }
            _ => None,
        })
        .collect();
    records.sort();
    let mut out = Vec::new();
    while let Some(&(priority, ..)) = records.first() {
        let equals = records.iter().take_while(|record| record.0 == priority).count();
        let total: u64 = records[..equals].iter().map(|record| u64::from(record.1)).sum();
        let drawn = draw(total + 1);
        let mut sum = 0;
        let place = records[..equals].iter().position(|record| {
            sum += u64::from(record.1);
            sum >= drawn
        });
        let (_, _, port, name) = records.remove(place.unwrap_or(0));
        out.push((port, name));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::id::{Mint, Seed};

    const BOTH: [Transport; 2] = [Transport::Udp, Transport::Tcp];

    /// Runs a search against a small zone and gives what was asked and found.
    fn run(mut locator: Locator, zone: &[(Query, Vec<Located>)]) -> (Vec<Query>, Vec<String>) {
        let mut mint = Mint::new(Seed([1; 32]));
        let mut asked = Vec::new();
        loop {
            match locator.step(&mut |limit| mint.below(limit)) {
                Progress::Done(hops) => {
                    let hops = hops.iter().map(|hop| format!("{} {}", hop.transport, hop.address)).collect();
                    return (asked, hops);
                }
                Progress::Ask(queries) => {
                    assert!(!queries.is_empty(), "stuck after {asked:?}");
                    for query in queries {
                        let found = zone.iter().find(|(known, _)| *known == query);
                        assert!(locator.answer(&query, found.map_or(&[][..], |(_, found)| found)));
                        asked.push(query);
                    }
                }
            }
        }
    }

    fn ip(text: &str) -> Located {
        Located::Address(text.parse().expect("an address"))
    }

    #[test]
    fn a_number_or_a_port_asks_for_little() {
        assert_eq!(
            run(Locator::new("192.0.2.1", None, None, &BOTH), &[]),
            (vec![], vec!["udp 192.0.2.1:5060".into()])
        );
        let tcp = Some(Transport::Tcp);
        assert_eq!(
            run(Locator::new("[2001:db8::1]", Some(5070), tcp, &BOTH), &[]).1,
            ["tcp [2001:db8::1]:5070"]
        );
        assert_eq!(
            run(Locator::new("192.0.2.1", None, None, &[Transport::Tcp]), &[]).1,
            ["tcp 192.0.2.1:5060"]
        );
        let zone = [(Query::Address("p.example".into()), vec![ip("192.0.2.7"), ip("192.0.2.8")])];
        let (asked, hops) = run(Locator::new("P.example.", Some(5062), None, &BOTH), &zone);
        assert_eq!(asked, [Query::Address("p.example".into())]);
        assert_eq!(hops, ["udp 192.0.2.7:5062", "udp 192.0.2.8:5062"]);
    }

    #[test]
    fn a_bare_name_goes_by_naptr_and_srv() {
        let zone = [
            (
                Query::Naptr("example.org".into()),
                vec![
                    Located::Naptr(20, 1, "SIP+D2U".into(), "_sip._udp.example.org.".into()),
                    Located::Naptr(10, 1, "SIPS+D2T".into(), "_sips._tcp.example.org.".into()),
                    Located::Naptr(10, 2, "sip+d2t".into(), "_sip._tcp.example.org.".into()),
                ],
            ),
            (
                Query::Srv("_sip._tcp.example.org".into()),
                vec![
                    Located::Srv(2, 0, 5063, "b.example.org.".into()),
                    Located::Srv(1, 5, 5061, "a.example.org.".into()),
                ],
            ),
            (
                Query::Srv("_sip._udp.example.org".into()),
                vec![Located::Srv(1, 0, 5060, "a.example.org".into())],
            ),
            (Query::Address("a.example.org".into()), vec![ip("192.0.2.1")]),
            (Query::Address("b.example.org".into()), vec![ip("192.0.2.2")]),
        ];
        let (_, hops) = run(Locator::new("example.org", None, None, &BOTH), &zone);
        assert_eq!(hops, ["tcp 192.0.2.1:5061", "tcp 192.0.2.2:5063", "udp 192.0.2.1:5060"]);
    }

    #[test]
    fn without_naptr_and_srv_the_name_itself_is_asked() {
        let zone = [(Query::Address("example.org".into()), vec![ip("192.0.2.1")])];
        let (asked, hops) = run(Locator::new("example.org", None, None, &BOTH), &zone);
        assert_eq!(asked.len(), 4);
        assert_eq!(hops, ["udp 192.0.2.1:5060"]);
        assert_eq!(run(Locator::new("nowhere.example", None, None, &BOTH), &zone).1, Vec::<String>::new());
    }

    #[test]
    fn a_transport_skips_naptr_only() {
        let zone = [
            (Query::Srv("_sip._tcp.example.org".into()), vec![Located::Srv(1, 0, 5090, "192.0.2.9".into())]),
            (Query::Address("example.org".into()), vec![ip("192.0.2.1")]),
        ];
        let (asked, hops) = run(Locator::new("example.org", None, Some(Transport::Tcp), &BOTH), &zone);
        assert_eq!(asked, [Query::Srv("_sip._tcp.example.org".into())]);
        assert_eq!(hops, ["tcp 192.0.2.9:5090"]);
    }

    #[test]
    fn weights_are_shares() {
        let mut mint = Mint::new(Seed([3; 32]));
        let records = [Located::Srv(1, 90, 1, "heavy".into()), Located::Srv(1, 10, 1, "light".into())];
        let heavy = (0..1000)
            .filter(|_| by_priority_and_weight(&records, &mut |limit| mint.below(limit))[0].1 == "heavy")
            .count();
        assert!((820..960).contains(&heavy), "{heavy} of 1000");
    }
}
