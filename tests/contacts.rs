//! Contacts at random: users, a peer that answers anything, lost links, crashes and time in seeded disorder.
//!
//! Three things must hold whatever happens: no alarm rings for ever, the user never sees a contact whom she has
//! removed or whom we have left, and when every contact is removed nothing is remembered of any. `WALKS=250` takes more
//! walks than the usual 40.

#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mostar::gateway::{Gateway, Input, LinkChange, LinkId, Output};
use mostar::sip::flow::{ConnId, Flow, Transport};
use mostar::sip::framing;
use mostar::store::record::Restored;
use mostar::words::id::{Mint, Partition, Seed};
use mostar::words::time::{Now, Tick, Wall};
use mostar::xmpp::jid::Jid;
use mostar::xmpp::stanza::{Stanza, StanzaKind};
use std::time::Duration;

const LINK: LinkId = LinkId(0);
const STATES: [&str; 9] = [
    "active;expires=600",
    "active;expires=60",
    "active",
    "pending",
    "terminated;reason=timeout",
    "terminated;reason=deactivated",
    "terminated;reason=probation;retry-after=30",
    "terminated;reason=rejected",
    "terminated;reason=noresource",
];
const ANSWERS: [u16; 12] = [200, 200, 200, 200, 202, 403, 404, 423, 481, 489, 500, 603];

struct Walk {
    gateway: Gateway,
    dice: Mint,
    now: u64,
    up: bool,
    lives: u8,
    store: BTreeMap<String, (Partition, Vec<u8>)>,
    /// Requests that wait for an answer.
    asked: Vec<String>,
    /// From and Call-ID of what was ever asked, for NOTIFYs in and out of season.
    dialogs: Vec<(String, String, String)>,
    cseq: u32,
    /// Full JIDs that the user sees as available.
    green: BTreeSet<String>,
}

fn gateway(seed: u8) -> Gateway {
    Gateway::new(Arc::new(support::vector::config()), Seed([seed; 32]))
}

impl Walk {
    fn new(seed: u8) -> Walk {
        let mut walk = Walk {
            gateway: gateway(seed),
            dice: Mint::new(Seed([seed; 32])),
            now: 0,
            up: true,
            lives: seed,
            store: BTreeMap::new(),
            asked: Vec::new(),
            dialogs: Vec::new(),
            cseq: 0,
            green: BTreeSet::new(),
        };
        walk.handle(Input::RestoreDone);
        walk.handle(Input::Link(LINK, LinkChange::Up));
        walk
    }

    fn roll(&mut self, sides: usize) -> usize {
        let most = Duration::from_micros(sides as u64 - 1);
        self.dice.between(Duration::ZERO, most).as_micros() as usize
    }

    fn handle(&mut self, input: Input) -> bool {
        let now = Now { tick: Tick(self.now), wall: Wall(1_795_219_200_000 + self.now / 1000) };
        self.gateway.handle(now, input);
        let mut stopped = false;
        while let Some(output) = self.gateway.poll() {
            let output = match output {
                Output::Now(inner) => *inner,
                output => output,
            };
            match output {
                Output::Save(record) => {
                    self.store.insert(record.key.to_string(), (record.key.partition, record.value));
                }
                Output::Forget(key) => {
                    self.store.remove(&key.to_string());
                }
                Output::Stanza(_, stanza) => self.see(&stanza),
                Output::Sip(out) => self.hear(String::from_utf8_lossy(&out.bytes).into_owned()),
                Output::Stopped => stopped = true,
                _ => {}
            }
        }
        stopped
    }

    fn see(&mut self, stanza: &Stanza) {
        if stanza.kind != StanzaKind::Presence {
            return;
        }
        let from = stanza.from().map(ToString::to_string).unwrap_or_default();
        match stanza.type_() {
            None => {
                self.green.insert(from);
            }
            Some("unavailable") => {
                self.green.remove(&from);
            }
            Some("unsubscribed") => {
                let prefix = format!("{from}/");
                let ghosts: Vec<_> = self.green.iter().filter(|full| full.starts_with(&prefix)).collect();
                assert!(ghosts.is_empty(), "{from} leaves {ghosts:?}");
            }
            _ => {}
        }
    }

    fn hear(&mut self, text: String) {
        if text.starts_with("SUBSCRIBE") {
            let line = |name: &str| {
                text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
            };
            let to = line("To:").split(";tag").next().unwrap_or_default().to_owned();
            self.dialogs.push((line("From:"), to, line("Call-ID:")));
            self.asked.push(text);
        }
    }

    fn sip(&mut self, text: String) {
        let flow = Flow {
            transport: Transport::Tcp,
            local: "192.0.2.9:5060".parse().expect("an address"),
            remote: "192.0.2.1:5060".parse().expect("an address"),
            conn: Some(ConnId(1)),
        };
        let message = framing::datagram(text.into()).expect("a SIP message");
        self.handle(Input::Sip(flow, Box::new(message)));
    }

    fn wait(&mut self, micros: u64) {
        let until = self.now + micros;
        for _ in 0..20_000 {
            match self.gateway.next_timeout() {
                Some((at, _)) if at.0 <= until => {
                    self.now = self.now.max(at.0);
                    self.handle(Input::Timeout);
                }
                _ => {
                    self.now = until;
                    return;
                }
            }
        }
        panic!("an alarm rings for ever: {:?}", self.gateway.next_timeout());
    }

    fn presence(&mut self, contact: usize, resource: &str, type_: Option<&str>) {
        let from = Jid::parse(&format!("juliet@example.com{resource}")).expect("a JID");
        let to = Jid::parse(&format!("romeo{contact}@example.net")).expect("a JID");
        let stanza = Stanza::new(StanzaKind::Presence, &from, &to);
        let stanza = match type_ {
            Some(type_) => stanza.with_type(type_),
            None => stanza,
        };
        self.handle(Input::Stanza(LINK, stanza));
    }

    fn answer(&mut self, status: u16) {
        if self.asked.is_empty() {
            return;
        }
        let which = self.roll(self.asked.len());
        let asked = self.asked.remove(which);
        let mut text = format!("SIP/2.0 {status} X\r\n");
        for line in asked.lines() {
            if ["Via:", "From:", "To:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name)) {
                let tag = if line.starts_with("To:") && !line.contains("tag=") { ";tag=r" } else { "" };
                text.push_str(&format!("{line}{tag}\r\n"));
            }
        }
        text.push_str("Expires: 600\r\nMin-Expires: 7200\r\nContent-Length: 0\r\n\r\n");
        self.sip(text);
    }

    fn notify(&mut self, state: &str, tuples: usize) {
        if self.dialogs.is_empty() {
            return;
        }
        let which = self.roll(self.dialogs.len());
        let (local, remote, call) = self.dialogs[which].clone();
        self.cseq += 1;
        let mut body = String::new();
        if tuples < 4 {
            body.push_str("<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:romeo@example.net'>");
            for tuple in 0..tuples {
                let basic = if self.roll(3) == 0 { "closed" } else { "open" };
                body.push_str(&format!(
                    "<tuple id='t{tuple}'><status><basic>{basic}</basic></status></tuple>"
                ));
            }
            body.push_str("</presence>");
        }
        let (cseq, length) = (self.cseq, body.len());
        self.sip(format!(
            "NOTIFY sip:juliet@gateway.example.org SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bKw{cseq}\r\n\
             Max-Forwards: 70\r\nFrom: {remote};tag=r\r\nTo: {local}\r\nCall-ID: {call}\r\nCSeq: {cseq} NOTIFY\r\n\
             Contact: <sip:romeo@192.0.2.1>\r\nEvent: presence\r\nSubscription-State: {state}\r\n\
             Content-Type: application/pidf+xml\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
    }

    fn link(&mut self, up: bool) {
        if self.up != up {
            self.up = up;
            self.handle(Input::Link(LINK, if up { LinkChange::Up } else { LinkChange::Down }));
        }
    }

    fn restart(&mut self) {
        self.lives = self.lives.wrapping_add(101);
        self.gateway = gateway(self.lives);
        self.asked.clear();
        for (key, (partition, value)) in self.store.clone() {
            let mut parts = key.splitn(3, '/').map(str::to_owned);
            let kind = parts.next().unwrap_or_default();
            let id = parts.nth(1).unwrap_or_default();
            self.handle(Input::Restored(Restored { kind, partition, id, value }));
        }
        self.handle(Input::RestoreDone);
        self.up = false;
        self.link(true);
    }

    fn step(&mut self) {
        let contact = self.roll(3);
        let resource = ["", "/balcony", "/garden"][self.roll(3)];
        let full = ["/balcony", "/garden"][self.roll(2)];
        match self.roll(20) {
            0 | 1 if self.up => self.presence(contact, "", Some("subscribe")),
            2 if self.up => self.presence(contact, "", Some("unsubscribe")),
            3 if self.up => self.presence(contact, resource, Some("probe")),
            4 if self.up => self.presence(contact, full, None),
            5 if self.up => self.presence(contact, full, Some("unavailable")),
            6 if self.up => {
                let word = ["subscribed", "unsubscribed"][self.roll(2)];
                self.presence(contact, "", Some(word));
            }
            7..=9 => {
                let status = ANSWERS[self.roll(ANSWERS.len())];
                self.answer(status);
            }
            10..=13 => {
                let state = STATES[self.roll(STATES.len())];
                let tuples = self.roll(5);
                self.notify(state, tuples);
            }
            14 => self.link(false),
            15 => self.link(true),
            16 | 17 => {
                let micros =
                    [10_000, 1_000_000, 31_999_999, 32_000_000, 600_000_000, 7_200_000_000][self.roll(6)];
                self.wait(micros);
            }
            18 if self.roll(8) == 0 => self.restart(),
            _ => self.wait(1_000),
        }
    }
}

#[test]
fn whatever_happens_no_light_lies_and_no_book_stays_open() {
    let walks = std::env::var("WALKS").ok().and_then(|walks| walks.parse().ok()).unwrap_or(40);
    for seed in 0..walks {
        let mut walk = Walk::new(seed);
        for _ in 0..300 {
            walk.step();
        }
        // The user sees nobody when we have left.
        walk.link(true);
        walk.wait(1_000_000);
        if seed % 2 == 0 {
            let mut stopped = walk.handle(Input::Stop);
            for _ in 0..100 {
                if stopped {
                    break;
                }
                walk.now += 100_000;
                stopped = walk.handle(Input::Timeout);
            }
            assert!(stopped, "seed {seed}: it does not stop");
            assert_eq!(walk.green, BTreeSet::new(), "seed {seed}");
            continue;
        }
        for contact in 0..3 {
            walk.presence(contact, "", Some("unsubscribe"));
        }
        assert_eq!(walk.green, BTreeSet::new(), "seed {seed}");
        walk.wait(120_000_000);
        let kept: Vec<_> = walk.store.keys().filter(|key| key.starts_with("contact/")).collect();
        assert!(kept.is_empty(), "seed {seed}: {kept:?}");
        walk.wait(600_000_000);
        assert_eq!(walk.gateway.load(), 0, "seed {seed}");
    }
}
