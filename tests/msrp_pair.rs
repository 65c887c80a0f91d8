//! Two of our own MSRP endpoints talk, under chance: pieces of any size, late answers, a connection that breaks.
//!
//! Whatever happens, each message has a fate: it arrives once and in order and its sender is told so, or its sender
//! gets it back with what is known of it; and what was told to be sent has arrived. When all is over nothing is left.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use mostar::msrp::connections::{Connections, Out, SessionId};
use mostar::msrp::frame::decoder::Decoder;
use mostar::msrp::message::{OutMessage, Receipt};
use mostar::msrp::path::Path;
use mostar::msrp::reassembly::Limits;
use mostar::msrp::session::{Event, Known, Role, Terms, Ticket};
use mostar::msrp::uri::{Host, Uri};
use mostar::msrp::{ConnId, Link, MsrpIn, MsrpOut};
use mostar::words::id::{Mint, Partition, Seed};
use mostar::words::time::Tick;
use proptest::prelude::*;

const LINK: Link = Link { conn: ConnId(1), secure: false };
const SESSIONS: usize = 3;

/// One endpoint with several sessions over one connection.
struct End {
    all: Connections,
    mint: Mint,
    ids: Vec<SessionId>,
    decoder: Decoder,
    /// Bytes that the shell has and that have not left.
    shell: BytesMut,
    tickets: VecDeque<(SessionId, Ticket, Receipt)>,
    got: Vec<(SessionId, String)>,
    fates: BTreeMap<String, Vec<&'static str>>,
    back: BTreeMap<String, Known>,
    connects: VecDeque<MsrpOut>,
}

impl End {
    fn new(seed: u8) -> End {
        let limits = Limits { message: 100_000, session: 1_000_000 };
        End {
            all: Connections::new(limits, 10_000_000),
            mint: Mint::new(Seed([seed; 32])),
            ids: Vec::new(),
            decoder: Decoder::new(100_000),
            shell: BytesMut::new(),
            tickets: VecDeque::new(),
            got: Vec::new(),
            fates: BTreeMap::new(),
            back: BTreeMap::new(),
            connects: VecDeque::new(),
        }
    }

    fn offer(&mut self, port: u16) -> Uri {
        let host = Host::parse("127.0.0.1").unwrap();
        let own = Uri::mint(&mut self.mint, Partition(9), false, &host, port);
        self.ids.push(self.all.offer(&self.mint, own.clone()));
        own
    }

    fn handle(&mut self, now: Tick, input: MsrpIn) {
        self.all.handle(now, &mut self.mint, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(out) = self.all.poll() {
            match out {
                Out::Note(_) => {}
                Out::Msrp(MsrpOut::Send { bytes, .. }) => self.shell.extend_from_slice(&bytes),
                Out::Msrp(MsrpOut::Keep(_) | MsrpOut::Release(_)) => {}
                Out::Msrp(connect) => self.connects.push_back(connect),
                Out::Told { session, event } => match event {
                    Event::Admitted { .. } | Event::Opened => {}
                    Event::Nickname { .. } | Event::Named { .. } => panic!("nobody asks for a name"),
                    Event::Incoming { ticket, message } => {
                        self.got.push((session, message.receipt.message_id.clone()));
                        let first = message.receipt.message_id.bytes().next().unwrap();
                        assert!(message.body.iter().all(|byte| *byte == first), "the content is whole");
                        self.tickets.push_back((session, ticket, message.receipt));
                    }
                    Event::Sent { message_id } => self.fates.entry(message_id).or_default().push("sent"),
                    Event::Delivered { message_id } => {
                        self.fates.entry(message_id).or_default().push("delivered")
                    }
                    Event::Failed { message_id, .. } => {
                        self.fates.entry(message_id).or_default().push("failed")
                    }
                    Event::Ended { unconfirmed, .. } => {
                        for one in unconfirmed {
                            assert_eq!(self.back.insert(one.message.message_id, one.known), None);
                        }
                    }
                },
            }
        }
    }

    /// The owner answers what has waited longest.
    fn answer(&mut self, now: Tick) -> bool {
        let Some((session, ticket, receipt)) = self.tickets.pop_front() else { return false };
        self.all.answer(now, &mut self.mint, session, ticket, 200);
        self.all.report(now, &mut self.mint, session, &receipt, 200);
        self.drain();
        true
    }
}

struct Pair {
    ends: [End; 2],
    now: Tick,
    sent: [Vec<(SessionId, String)>; 2],
    is_broken: bool,
}

impl Pair {
    fn new() -> Pair {
        let mut ends = [End::new(1), End::new(2)];
        for _ in 0..SESSIONS {
            let (ours, theirs) = (ends[0].offer(1), ends[1].offer(2));
            let terms = |uri: &Uri, role| Terms {
                path: Path::from(uri.clone()),
                role,
                behalf: mostar::msrp::Behalf::Peer(0),
                anchor: None,
                fingerprint: None,
                max_size: None,
            };
            let [one, two] = &mut ends;
            let id = *one.ids.last().unwrap();
            one.all.start(Tick(0), &mut one.mint, id, terms(&theirs, Role::Active));
            let id = *two.ids.last().unwrap();
            two.all.start(Tick(0), &mut two.mint, id, terms(&ours, Role::Passive));
        }
        ends[0].drain();
        assert_eq!(ends[0].connects.len(), 1, "one connection for all");
        let Some(MsrpOut::Connect { attempt, .. }) = ends[0].connects.pop_front() else { panic!() };
        ends[0].handle(Tick(0), MsrpIn::Connected { attempt, link: LINK });
        Pair { ends, now: Tick(0), sent: [vec![], vec![]], is_broken: false }
    }

    fn send(&mut self, from: usize, session: usize, size: usize) {
        let number = self.sent[from].len();
        let letter = char::from(b'a' + (number % 26) as u8);
        let id = format!("{letter}{from}x{number:04}");
        let end = &mut self.ends[from];
        let body = Bytes::from(letter.to_string().repeat(size));
        let message = OutMessage::new(id.clone(), "text/plain", body);
        if end.all.send(self.now, &mut end.mint, end.ids[session], message).is_ok() {
            self.sent[from].push((self.ends[from].ids[session], id));
        }
        self.ends[from].drain();
    }

    /// Some bytes leave one end and arrive at the other.
    fn carry(&mut self, from: usize, most: usize) -> bool {
        if self.is_broken || self.ends[from].shell.is_empty() {
            return false;
        }
        let size = most.min(self.ends[from].shell.len());
        let bytes = self.ends[from].shell.split_to(size);
        self.ends[from].handle(self.now, MsrpIn::Drained { conn: LINK.conn, bytes: size });
        let to = &mut self.ends[1 - from];
        to.decoder.push(&bytes);
        while let Some(frame) = to.decoder.next_frame() {
            let frame = Box::new(frame.expect("we print MSRP"));
            to.handle(self.now, MsrpIn::Frame { link: LINK, frame });
        }
        true
    }

    fn break_down(&mut self) {
        self.is_broken = true;
        for end in &mut self.ends {
            end.handle(self.now, MsrpIn::Lost { conn: LINK.conn, why: "it broke".into() });
        }
        // Those that nobody had come to yet wait in vain.
        self.now = Tick(100_000_000);
        for end in &mut self.ends {
            end.all.timeout(self.now, &mut end.mint);
            end.drain();
        }
    }

    fn run_down(&mut self) {
        loop {
            let mut did = false;
            for end in 0..2 {
                did |= self.carry(end, 100_000);
                did |= self.ends[end].answer(self.now);
            }
            if !did {
                return;
            }
        }
    }

    fn finish(&mut self) {
        for end in &mut self.ends {
            for id in end.ids.clone() {
                end.all.finish(self.now, &mut end.mint, id);
                end.drain();
            }
        }
        self.run_down();
    }
}

/// Per session and in order.
fn by_session(list: &[(SessionId, String)]) -> BTreeMap<SessionId, Vec<String>> {
    let mut sorted: BTreeMap<SessionId, Vec<String>> = BTreeMap::new();
    for (session, id) in list {
        sorted.entry(*session).or_default().push(id.clone());
    }
    sorted
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_message_has_its_fate(
        steps in proptest::collection::vec((0_u8..5, 0_usize..2, 0_usize..SESSIONS, 0_usize..9000), 1..80),
        breaks in any::<bool>(),
    ) {
        let mut pair = Pair::new();
        for (what, end, session, size) in steps {
            match what {
                0 | 1 => pair.send(end, session, size),
                2 | 3 => { pair.carry(end, size); }
                _ => { pair.ends[end].answer(pair.now); }
            }
        }
        if breaks {
            pair.break_down();
        } else {
            pair.run_down();
            pair.finish();
        }
        for from in 0..2 {
            let got = by_session(&pair.ends[1 - from].got);
            let sent = by_session(&pair.sent[from]);
            for (session, ids) in &sent {
                let arrived = got.get(session).cloned().unwrap_or_default();
                prop_assert_eq!(&arrived[..], &ids[..arrived.len()], "in order, once");
                if !breaks {
                    prop_assert_eq!(arrived.len(), ids.len());
                }
                for (place, id) in ids.iter().enumerate() {
                    let fates = pair.ends[from].fates.get(id).cloned().unwrap_or_default();
                    let has_arrived = place < arrived.len();
                    match (&fates[..], pair.ends[from].back.get(id)) {
                        (["sent", "delivered"] | ["delivered"], None) => prop_assert!(has_arrived),
                        (["sent"], Some(Known::Taken)) => prop_assert!(breaks && has_arrived),
                        ([], Some(Known::Sent)) => prop_assert!(breaks),
                        ([], Some(Known::SentInPart | Known::Unsent)) => prop_assert!(breaks && !has_arrived),
                        other => prop_assert!(false, "{}: {:?}", id, other),
                    }
                }
            }
        }
        for end in &pair.ends {
            prop_assert_eq!((end.all.load(), end.all.held()), (0, 0));
        }
    }
}
