//! Sessions over the real sockets: what the sockets promise to the core is what the core expects of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mostar::config::{Identity, MsrpListen};
use mostar::gateway::Domains;
use mostar::gateway::io::Input;
use mostar::msrp::MsrpIn;
use mostar::msrp::connections::{Connections, Out, SessionId};
use mostar::msrp::message::OutMessage;
use mostar::msrp::path::Path;
use mostar::msrp::reassembly;
use mostar::msrp::session::{Event, Role, Terms};
use mostar::msrp::uri::Uri;
use mostar::shell::dns::Dns;
use mostar::shell::inbox::Inboxes;
use mostar::shell::log::{Format, Log};
use mostar::shell::meters::Meters;
use mostar::shell::msrp::{self, Endpoint, Limits};
use mostar::words::id::{Mint, Partition, Seed};
use mostar::words::note::Level;
use mostar::words::time::Tick;
use tokio::sync::mpsc;

#[path = "support/config.rs"]
mod config;

const NOW: Tick = Tick(0);

/// A core with its sockets, as one shard has them.
struct Side {
    all: Connections,
    mint: Mint,
    endpoint: Endpoint,
    inbox: mpsc::Receiver<Input>,
    msrp: mostar::config::Msrp,
    sessions: Vec<SessionId>,
    meters: Meters,
    got: Vec<(String, usize)>,
    delivered: BTreeSet<String>,
    ended: usize,
}

impl Side {
    fn new(seed: u8) -> Side {
        let mut config = config::config();
        config.sip.peers[0].host = "127.0.0.1".into();
        config.msrp.advertise = None;
        let made =
            rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let identity =
            Identity::read(made.cert.pem().as_bytes(), made.signing_key.serialize_pem().as_bytes()).unwrap();
        config.msrp.identity = Some(Arc::new(identity));
        let any = |secure| MsrpListen { secure, address: "127.0.0.1:0".parse().unwrap() };
        let bound = msrp::bind(&[any(false), any(true)]).unwrap();
        config.msrp.listen.clone_from(&bound.listen);
        let (inboxes, mut receivers) = Inboxes::new(1, Domains::new(&config));
        let (log, _) = Log::start(Level::Error, Format::Logfmt).unwrap();
        let meters = Meters::new();
        let dns = Arc::new(Dns::new(&inboxes, &log));
        let limits = Limits::for_messages(100_000);
        let endpoint = Endpoint::new(bound, &config, limits, &inboxes, &dns, &log, &meters).unwrap();
        endpoint.listen();
        let room = reassembly::Limits { message: 100_000, session: 1_000_000 };
        Side {
            all: Connections::new(room, 10_000_000),
            mint: Mint::new(Seed([seed; 32])),
            endpoint,
            inbox: receivers.remove(0),
            msrp: config.msrp,
            sessions: Vec::new(),
            meters,
            got: Vec::new(),
            delivered: BTreeSet::new(),
            ended: 0,
        }
    }

    fn offer(&mut self, secure: bool) -> Uri {
        let (host, port) = self.msrp.path_host(secure, None).unwrap();
        let own = Uri::mint(&mut self.mint, Partition(9), secure, &host, port);
        self.sessions.push(self.all.offer(&self.mint, own.clone()));
        own
    }

    fn start(&mut self, peer: &Uri, role: Role, fingerprint: Option<&str>) {
        let fingerprint = fingerprint.map(str::to_owned);
        let terms = Terms {
            path: Path::from(peer.clone()),
            role,
            behalf: mostar::msrp::Behalf::Peer(0),
            anchor: None,
            fingerprint,
            max_size: None,
        };
        let id = *self.sessions.last().unwrap();
        self.all.start(NOW, &mut self.mint, id, terms);
        self.drain();
    }

    fn send(&mut self, session: usize, id: &str, size: usize) {
        let message = OutMessage::new(id.into(), "text/plain", Bytes::from(vec![b'x'; size]));
        assert!(self.all.send(NOW, &mut self.mint, self.sessions[session], message).is_ok());
        self.drain();
    }

    fn handle(&mut self, input: MsrpIn) {
        self.all.handle(NOW, &mut self.mint, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(out) = self.all.poll() {
            match out {
                Out::Msrp(out) => {
                    if let Some(told) = self.endpoint.send(0, out) {
                        self.all.handle(NOW, &mut self.mint, told);
                    }
                }
                Out::Told { session, event: Event::Incoming { ticket, message } } => {
                    self.got.push((message.receipt.message_id.clone(), message.body.len()));
                    self.all.answer(NOW, &mut self.mint, session, ticket, 200);
                    self.all.report(NOW, &mut self.mint, session, &message.receipt, 200);
                }
                Out::Told { event: Event::Delivered { message_id }, .. } => {
                    self.delivered.insert(message_id);
                }
                Out::Told { event: Event::Ended { .. }, .. } => self.ended += 1,
                Out::Told { event: Event::Failed { message_id, code, .. }, .. } => {
                    panic!("{message_id}: {code}")
                }
                Out::Told { .. } | Out::Note(_) => {}
            }
        }
    }

    fn finish(&mut self) {
        for id in std::mem::take(&mut self.sessions) {
            self.all.finish(NOW, &mut self.mint, id);
            self.drain();
        }
    }
}

/// Lets both do what comes to them, until this holds.
async fn until(sides: &mut [Side; 2], holds: impl Fn(&[Side; 2]) -> bool) {
    while !holds(sides) {
        let [one, two] = sides;
        let (side, input) = tokio::select! {
            input = one.inbox.recv() => (one, input),
            input = two.inbox.recv() => (two, input),
        };
        let Some(Input::Msrp(told)) = input else { panic!("something of MSRP was expected: {input:?}") };
        side.handle(told);
    }
}

async fn talk(secure: bool) {
    let mut sides = [Side::new(1), Side::new(2)];
    for _ in 0..3 {
        let [one, two] = &mut sides;
        let (ours, theirs) = (one.offer(secure), two.offer(secure));
        let fingerprint = two.msrp.fingerprint().filter(|_| secure).map(str::to_owned);
        two.start(&ours, Role::Passive, None);
        one.start(&theirs, Role::Active, fingerprint.as_deref());
    }
    for number in 0..200 {
        for side in &mut sides {
            side.send(number % 3, &format!("short{number:04}"), 20);
        }
    }
    for side in &mut sides {
        side.send(1, "long0001", 90_000);
    }
    until(&mut sides, |sides| sides.iter().all(|side| side.delivered.len() == 201)).await;
    for side in &sides {
        assert_eq!(side.got.iter().map(|(_, size)| size).sum::<usize>(), 200 * 20 + 90_000);
    }
    let [one, two] = &sides;
    assert!(one.meters.render().contains("mostar_msrp_connections_total{direction=\"out\"} 1\n"));
    assert!(two.meters.render().contains("mostar_msrp_connections_total{direction=\"in\"} 1\n"));
    for side in &mut sides {
        side.finish();
    }
    until(&mut sides, |sides| sides.iter().all(|side| side.all.load() == 0)).await;
    for side in &sides {
        assert_eq!(side.ended, 3);
        side.endpoint.drain(Duration::from_secs(20)).await;
        while !side.meters.render().contains("mostar_msrp_connections 0\n") {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn sessions_share_a_connection_and_leave_nothing_behind() {
    talk(false).await;
}

#[tokio::test]
async fn sessions_over_tls_do_the_same() {
    talk(true).await;
}

/// As a re-INVITE with another path does it.
#[tokio::test]
async fn who_moves_to_another_session_keeps_the_connection() {
    let mut sides = [Side::new(1), Side::new(2)];
    for name in ["before01", "after001"] {
        let [one, two] = &mut sides;
        let (ours, theirs) = (one.offer(false), two.offer(false));
        two.start(&ours, Role::Passive, None);
        one.start(&theirs, Role::Active, None);
        let latest = one.sessions.len() - 1;
        one.send(latest, name, 20);
        until(&mut sides, |sides| sides[0].delivered.contains(name)).await;
        // The new one is there: the old one goes.
        for side in &mut sides {
            let old: Vec<_> = side.sessions.drain(..latest).collect();
            for id in old {
                side.all.close(NOW, &mut side.mint, id);
                side.drain();
            }
        }
    }
    let [one, two] = &mut sides;
    one.send(0, "last0001", 20);
    two.send(0, "last0002", 20);
    until(&mut sides, |sides| sides[0].delivered.len() == 3 && sides[1].delivered.len() == 1).await;
    assert!(sides[1].meters.render().contains("mostar_msrp_connections_total{direction=\"in\"} 1\n"));
}

#[tokio::test]
async fn a_session_whose_connection_is_cut_hears_of_it() {
    let mut sides = [Side::new(1), Side::new(2)];
    let [one, two] = &mut sides;
    let (ours, theirs) = (one.offer(false), two.offer(false));
    two.start(&ours, Role::Passive, None);
    one.start(&theirs, Role::Active, None);
    one.send(0, "first001", 20);
    until(&mut sides, |sides| sides[0].delivered.len() == 1).await;
    sides[1].endpoint.drain(Duration::ZERO).await;
    until(&mut sides, |sides| sides.iter().all(|side| side.ended == 1)).await;
    assert_eq!(sides.iter().map(|side| side.all.load()).sum::<usize>(), 0);
}
