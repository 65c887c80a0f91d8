//! A start while there is traffic: whoever is spoken to before his records are back is answered as if they were, by a
//! gateway that has them fetched first.

#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use mostar::gateway::{Gateway, Input, LinkChange, LinkId, Output};
use mostar::sip::framing;
use mostar::store::record::Restored;
use mostar::words::id::{Partition, Seed};
use mostar::words::note::Note;
use mostar::words::time::{Now, Tick, Wall};
use mostar::xmpp::jid::Jid;
use mostar::xmpp::stanza::{Element, Stanza, StanzaKind};
use support::config::add_conference;
use support::node::{answer_to, flow, header};
use support::vector::config;

const JULIET: &str = "juliet@example.com";

/// A gateway, its store, and what has come out of it.
struct Life {
    gateway: Gateway,
    now: u64,
    store: BTreeMap<String, Vec<u8>>,
    stanzas: Vec<String>,
    sip: Vec<String>,
    wanted: Vec<Partition>,
    stopped: bool,
}

impl Life {
    fn of(seed: u8, now: u64, store: BTreeMap<String, Vec<u8>>) -> Life {
        let mut config = config();
        add_conference(&mut config, "conference.example.net");
        let gateway = Gateway::new(Arc::new(config), Seed([seed; 32]));
        let (stanzas, sip, wanted) = (Vec::new(), Vec::new(), Vec::new());
        Life { gateway, now, store, stanzas, sip, wanted, stopped: false }
    }

    /// With nothing to remember, and the link up.
    fn first() -> Life {
        let mut life = Life::of(1, 0, BTreeMap::new());
        life.handle(Input::RestoreDone);
        life.handle(Input::Link(LinkId(0), LinkChange::Up));
        life.forget();
        life
    }

    /// The process dies; the next one has its link, and no records yet.
    fn killed(self) -> Life {
        let mut life = Life::of(2, self.now + 1_000_000, self.store);
        life.handle(Input::Restoring);
        life.handle(Input::Link(LinkId(0), LinkChange::Up));
        life.forget();
        life
    }

    fn forget(&mut self) {
        (self.stanzas, self.sip, self.wanted) = Default::default();
    }

    fn handle(&mut self, input: Input) {
        let now = Now { tick: Tick(self.now), wall: Wall(1_795_219_200_000 + self.now / 1000) };
        self.gateway.handle(now, input);
        while let Some(output) = self.gateway.poll() {
            let output = if let Output::Now(inner) = output { *inner } else { output };
            match output {
                Output::Save(record) => drop(self.store.insert(record.key.to_string(), record.value)),
                Output::Forget(key) => drop(self.store.remove(&key.to_string())),
                Output::Stanza(_, stanza) => self.stanzas.push(stanza.to_xml()),
                Output::Sip(out) => {
                    let text = String::from_utf8_lossy(&out.bytes).into_owned();
                    self.sip.extend(Some(text).filter(|text| !text.starts_with("OPTIONS")));
                }
                Output::Fetch(partition) => self.wanted.push(partition),
                Output::Stopped => self.stopped = true,
                _ => {}
            }
        }
    }

    /// The records of a user come back.
    fn back(&mut self, user: &str) {
        self.whole(Partition::of(user));
    }

    fn whole(&mut self, partition: Partition) {
        for (key, value) in self.store.clone() {
            let record = Restored::parse(&key, value).expect("a record");
            if record.partition == partition {
                self.handle(Input::Restored(record));
            }
        }
        self.handle(Input::Whole(partition));
    }

    fn pass(&mut self, millis: u64) {
        let until = self.now + millis * 1000;
        while let Some((at, _)) = self.gateway.next_timeout().filter(|(at, _)| at.0 <= until) {
            self.now = self.now.max(at.0);
            self.handle(Input::Timeout);
        }
        self.now = until;
    }

    fn hears(&mut self, text: String) {
        let flow = flow(mostar::sip::flow::Transport::Tcp, "192.0.2.1:5060");
        let message = framing::datagram(text.into()).expect("a message");
        self.handle(Input::Sip(flow, Box::new(message)));
    }

    /// A MESSAGE of romeo's; the same under another branch is the same request again.
    fn romeo_writes(&mut self, user: &str, call: &str, branch: &str) {
        self.hears(format!(
            "MESSAGE sip:{user} SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bK{branch}\r\nFrom: \
             <sip:romeo@example.net>;tag=r{call}\r\nTo: <sip:{user}>\r\nCall-ID: {call}\r\nCSeq: 1 MESSAGE\r\n\
             Max-Forwards: 70\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
        ));
    }

    fn juliet_writes(&mut self, text: &str) {
        let (from, to) = (jid("juliet@example.com/balcony"), jid("romeo@example.net"));
        let body = Element::new("body", "jabber:component:accept").with_text(text);
        let stanza = Stanza::new(StanzaKind::Message, &from, &to).with_type("chat").with_id(text);
        self.handle(Input::Stanza(LinkId(0), stanza.with_child(body)));
    }

    fn juliet_shows(&mut self, type_: &str) {
        let stanza = Stanza::new(StanzaKind::Presence, &jid(JULIET), &jid("romeo@example.net"));
        self.handle(Input::Stanza(LinkId(0), stanza.with_type(type_)));
    }

    /// The only request that has left, the watch over peers left aside.
    fn request(&mut self) -> String {
        assert_eq!(self.sip.len(), 1, "{:#?}", self.sip);
        self.sip.remove(0)
    }
}

fn jid(text: &str) -> Jid {
    Jid::parse(text).expect("a JID")
}

fn said(stanza: &Stanza) -> Input {
    Input::Stanza(LinkId(0), stanza.clone())
}

/// The server has answered the ping that follows a message.
fn pong(life: &mut Life) {
    life.pass(100);
    let ping = life.stanzas.iter().find(|text| text.starts_with("<iq")).expect("a ping").clone();
    let id = ping.split(" id='").nth(1).and_then(|rest| rest.split('\'').next()).expect("an id");
    let pong = Stanza::new(StanzaKind::Iq, &jid("example.com"), &jid("example.net"));
    life.handle(said(&pong.with_type("result").with_id(id)));
}

#[test]
fn a_request_that_is_sent_again_waits_for_the_answer_that_it_got() {
    let mut life = Life::first();
    life.romeo_writes(JULIET, "c1", "a");
    pong(&mut life);
    assert!(life.sip[0].starts_with("SIP/2.0 202"), "{:?}", life.sip);
    let mut life = life.killed();
    life.romeo_writes(JULIET, "c1", "b");
    life.romeo_writes(JULIET, "c1", "c");
    assert_eq!((life.wanted.as_slice(), life.sip.len()), ([Partition::of(JULIET)].as_slice(), 0));
    life.back(JULIET);
    assert_eq!(life.sip.iter().filter(|text| text.starts_with("SIP/2.0 202")).count(), 2, "{:?}", life.sip);
    assert!(life.stanzas.is_empty(), "{:?}", life.stanzas);
}

#[test]
fn who_is_back_is_served_while_others_wait() {
    let mut life = Life::first().killed();
    let other = "nurse@example.com";
    assert_ne!(Partition::of(other), Partition::of(JULIET));
    life.back(JULIET);
    life.romeo_writes(other, "c1", "a");
    life.romeo_writes(JULIET, "c2", "b");
    assert_eq!(life.wanted, [Partition::of(other)]);
    assert!(life.stanzas[0].contains(JULIET) && life.stanzas[0].contains("hello"), "{:?}", life.stanzas);
    life.handle(Input::RestoreDone);
    assert!(life.stanzas.iter().any(|text| text.contains(other)), "{:?}", life.stanzas);
}

#[test]
fn a_message_goes_behind_those_of_its_pair_that_wait() {
    let mut life = Life::first();
    life.juliet_writes("first");
    let mut life = life.killed();
    life.juliet_writes("second");
    life.juliet_writes("third");
    assert!(life.sip.is_empty());
    life.back(JULIET);
    for expected in ["first", "second", "third"] {
        let request = life.request();
        assert!(request.ends_with(expected), "{request}");
        life.hears(answer_to(&request, "200 OK", ""));
    }
}

/// Juliet has asked to see romeo, and his agent takes it; the SUBSCRIBE.
fn juliet_adds_romeo(life: &mut Life) -> String {
    life.juliet_shows("subscribe");
    let subscribe = life.request();
    let more = "Contact: <sip:romeo@192.0.2.1;transport=tcp>\r\nExpires: 3600\r\n";
    life.hears(answer_to(&subscribe, "200 OK", more));
    subscribe
}

/// Romeo's agent tells in the dialog of this SUBSCRIBE which of his devices are there.
fn notify(subscribe: &str, cseq: u32, state: &str, devices: &[&str]) -> String {
    let tuple = |id: &&str| format!("<tuple id='ID-{id}'><status><basic>open</basic></status></tuple>");
    let tuples: String = devices.iter().map(tuple).collect();
    let mut body = String::new();
    if !devices.is_empty() {
        let entity = "entity='pres:romeo@example.net'";
        body = format!("<presence xmlns='urn:ietf:params:xml:ns:pidf' {entity}>{tuples}</presence>");
    }
    format!(
        "NOTIFY sip:juliet@192.0.2.9 SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bKn{cseq}\r\nFrom: {};tag=peer\r\n\
         To: {}\r\nCall-ID: {}\r\nCSeq: {cseq} NOTIFY\r\nMax-Forwards: 70\r\nContact: <sip:romeo@192.0.2.1;transport=tcp>\
         \r\nEvent: presence\r\nSubscription-State: {state}\r\nContent-Type: application/pidf+xml\r\n\
         Content-Length: {}\r\n\r\n{body}",
        header(subscribe, "To"),
        header(subscribe, "From"),
        header(subscribe, "Call-ID"),
        body.len(),
    )
}

/// Who is said to be away or to have refused, in this order.
fn words_of_parting(life: &Life) -> Vec<String> {
    let attribute = |text: &str, name: &str| {
        let rest = text.split(&format!(" {name}='")).nth(1)?;
        rest.split('\'').next().map(str::to_owned)
    };
    let words = life.stanzas.iter().filter(|text| text.contains("type='un"));
    words.filter_map(|text| Some(attribute(text, "from")? + " " + &attribute(text, "type")?)).collect()
}

#[test]
fn a_device_that_went_away_meanwhile_is_taken_back() {
    let mut life = Life::first();
    let subscribe = juliet_adds_romeo(&mut life);
    life.hears(notify(&subscribe, 1, "active;expires=3600", &["desk", "mobile"]));
    let mut life = life.killed();
    life.hears(notify(&subscribe, 2, "active;expires=3600", &["mobile"]));
    life.back(JULIET);
    assert_eq!(words_of_parting(&life), ["romeo@example.net/desk unavailable"]);
}

#[test]
fn what_was_shown_before_is_taken_back_before_a_refusal() {
    let mut life = Life::first();
    let subscribe = juliet_adds_romeo(&mut life);
    life.hears(notify(&subscribe, 1, "active;expires=3600", &["desk", "mobile"]));
    let mut life = life.killed();
    life.hears(notify(&subscribe, 2, "terminated;reason=rejected", &[]));
    life.back(JULIET);
    let expected = ["/desk unavailable", "/mobile unavailable", " unsubscribed"];
    assert_eq!(words_of_parting(&life), expected.map(|word| format!("romeo@example.net{word}")));
}

#[test]
fn a_notify_in_a_dialog_of_before_is_known() {
    let mut life = Life::first();
    let subscribe = juliet_adds_romeo(&mut life);
    life.hears(notify(&subscribe, 1, "active;expires=3600", &[]));
    life.sip.clear();
    let mut life = life.killed();
    life.hears(notify(&subscribe, 2, "active;expires=3600", &[]));
    assert!(life.sip.is_empty());
    life.back(JULIET);
    assert!(life.request().starts_with("SIP/2.0 200"));
    // The link was up before the contact was back: its user is told all the same.
    life.pass(100);
    assert!(life.stanzas.iter().any(|text| text.contains("<presence")), "{:?}", life.stanzas);
}

#[test]
fn a_watcher_who_comes_back_after_the_link_has_his_user_probed() {
    let mut life = Life::first();
    life.hears(
        "SUBSCRIBE sip:juliet@example.com SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bKs\r\nFrom: \
         <sip:romeo@example.net>;tag=r\r\nTo: <sip:juliet@example.com>\r\nCall-ID: w\r\nCSeq: 1 SUBSCRIBE\r\nMax-Forwards: \
         70\r\nContact: <sip:romeo@192.0.2.1;transport=tcp>\r\nEvent: presence\r\nContent-Length: 0\r\n\r\n"
            .into(),
    );
    life.juliet_shows("subscribed");
    let mut life = life.killed();
    life.back(JULIET);
    life.pass(100);
    assert!(life.stanzas.iter().any(|text| text.contains("type='probe'")), "{:?}", life.stanzas);
}

#[test]
fn a_stop_waits_until_all_are_back() {
    let mut life = Life::first().killed();
    life.handle(Input::Stop);
    life.pass(1_000);
    assert!(!life.stopped);
    life.handle(Input::RestoreDone);
    life.pass(10_000);
    assert!(life.stopped);
}

#[test]
fn what_waits_is_bounded_by_saying_so() {
    let mut life = Life::first().killed();
    for number in 0..10_000 {
        assert!(!life.gateway.is_crowded());
        life.romeo_writes(JULIET, &format!("c{number}"), &format!("b{number}"));
    }
    assert!(life.gateway.is_crowded());
}

#[test]
fn who_waited_to_enter_a_conference_is_told_when_the_records_come_back_behind_the_link() {
    let mut life = Life::first();
    life.handle(Input::Link(LinkId(1), LinkChange::Up));
    let (from, to) = (jid("juliet@example.com/balcony"), jid("mantua@conference.example.net/Juliet"));
    let enters = Stanza::new(StanzaKind::Presence, &from, &to).with_id("in");
    let enters = enters.with_child(Element::new("x", "http://jabber.org/protocol/muc"));
    life.handle(Input::Stanza(LinkId(1), enters));
    life.pass(100);
    assert!(life.request().starts_with("INVITE"));
    let kept: Vec<_> = life.store.iter().map(|(key, value)| Restored::parse(key, value.clone())).collect();
    let kept = kept[0].as_ref().expect("a record").partition;
    let mut life = life.killed();
    life.handle(Input::Link(LinkId(1), LinkChange::Up));
    life.forget();
    life.whole(kept);
    assert!(
        life.stanzas.iter().any(|text| text.contains("restarted before you were in")),
        "{:?}",
        life.stanzas
    );
    // Until the words are out.
    life.pass(20);
    assert!(life.store.is_empty(), "{:?}", life.store.keys());
}

#[test]
fn a_record_that_cannot_be_used_is_one_kind_of_line_whosever_it_is() {
    let mut gateway = Gateway::new(Arc::new(config()), Seed([3; 32]));
    let mut said = |kind: &str, value: &str| -> Vec<String> {
        let record =
            Restored { kind: kind.into(), partition: Partition(7), id: "x".into(), value: value.into() };
        gateway.handle(Now::default(), Input::Restored(record));
        let notes = std::iter::from_fn(|| gateway.poll()).filter_map(|output| match output {
            Output::Note(Note::Log { event, fields, .. }) => {
                assert_eq!(
                    fields.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
                    ["kind", "record", "reason"]
                );
                assert_eq!((fields[0].1.as_str(), fields[1].1.as_str()), (kind, "x"));
                assert!(!fields[2].1.is_empty(), "{kind}");
                Some(event.to_owned())
            }
            _ => None,
        });
        notes.collect()
    };
    for kind in mostar::features::registry().iter().flat_map(|feature| feature.manifest().records) {
        assert_eq!(said(kind, "{}"), ["record-unreadable"], "{kind}");
    }
    let foreign = r#""user":"juliet@example.com","contact":{"user":"romeo","host":"gone.example"}"#;
    assert_eq!(said("contact", &format!("{{{foreign},\"accepted\":true}}")), ["record-unused"]);
    assert_eq!(said("watch", &format!("{{{foreign},\"consent\":\"granted\"}}")), ["record-unused"]);
}
