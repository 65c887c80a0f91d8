//! Floods of every kind at the gateway's door, all at one moment and with nobody answering: who is too many is told so and
//! counted, and memory stays within bounds (invariant 11). What bounds each queue stands in docs/limits.md.

#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use mostar::config::Config;
use mostar::sip::flow::Transport::{Tcp, Udp};
use mostar::sip::framing::Stream;
use mostar::words::note::Note;
use support::config;
use support::door::{Ask, Came, Door};

const PEER: &str = "192.0.2.1:5060";
const STRANGER: &str = "203.0.113.7:5060";
/// How much one gateway may grow by all floods together.
const CAP: usize = 256 * 1024 * 1024;

fn world() -> Config {
    let mut config = config::config();
    config.messages.rate = 50;
    config::add_conference(&mut config, "conference.example.net");
    config::add_rooms(&mut config, "chat.example.com");
    config.sip.peers[0].any_domain = true;
    config.xmpp.components[0].any_domain = true;
    config
}

/// What is resident of this process; nextest gives each test its own.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|text| text.parse::<usize>().ok()).unwrap_or_default() * 1024
}

/// A request of which everything that names it is new.
fn numbered(method: &'static str, number: usize) -> Ask {
    Ask {
        via: format!("SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bK{method}{number}"),
        from: format!("<sip:romeo@example.net>;tag=t{number}"),
        call_id: format!("{method}-{number}"),
        ..Ask::new(method)
    }
}

/// One kind of flood: what comes, and the answer that those get who are too many.
struct Flood {
    name: &'static str,
    times: usize,
    /// No two floods have the same number.
    send: fn(&mut Door, usize),
    refusal: &'static str,
    counter: &'static str,
}

const FLOODS: &[Flood] = &[
    Flood {
        name: "MESSAGEs of one SIP user",
        times: 2500,
        send: |door, number| {
            let extra = "Content-Type: text/plain\r\n".to_owned();
            let ask = Ask { extra, body: format!("line {number}"), ..numbered("MESSAGE", number) };
            door.sip(Tcp, PEER, ask.print());
        },
        refusal: "480",
        counter: "messages_turned_away_total",
    },
    Flood {
        name: "messages of one XMPP user to one contact",
        times: 1500,
        send: |door, number| {
            door.xmpp(&format!("<message from='juliet@example.com/b' to='romeo@example.net' id='a{number}' type='normal'><body>hi {number}</body></message>"));
        },
        refusal: "<message error resource-constraint>",
        counter: "messages_turned_away_total",
    },
    Flood {
        name: "messages of one XMPP user to many contacts",
        times: 1500,
        send: |door, number| {
            door.xmpp(&format!("<message from='nurse@example.com/b' to='r{number}@example.net' id='b{number}' type='normal'><body>hi</body></message>"));
        },
        refusal: "<message error resource-constraint>",
        counter: "messages_turned_away_total",
    },
    Flood {
        name: "SUBSCRIBEs of one watcher to many users",
        times: 700,
        send: |door, number| {
            let uri = format!("sip:j{number}@example.com");
            door.sip(Tcp, PEER, Ask { to: format!("<{uri}>"), uri, ..numbered("SUBSCRIBE", number) }.print());
        },
        refusal: "480",
        counter: "subscribes_refused_total",
    },
    Flood {
        name: "INVITEs of one SIP user",
        times: 1200,
        send: |door, number| {
            let from = format!("<sip:caller@example.net>;tag=t{number}");
            door.sip(Tcp, PEER, Ask { from, ..numbered("INVITE", number) }.print());
        },
        refusal: "480",
        counter: "sip_rejected_total",
    },
    Flood {
        name: "INVITEs of one SIP user into rooms",
        times: 200,
        send: |door, number| {
            let uri = format!("sip:hall{number}@chat.example.com");
            let from = format!("<sip:visitor@example.net>;tag=t{number}");
            let ask = Ask { to: format!("<{uri}>"), uri, from, ..numbered("INVITE", number) };
            let body = ask.body.replace(
                "accept-types:text/plain",
                "accept-types:message/cpim text/plain\r\na=accept-wrapped-types:text/plain",
            );
            door.sip(Tcp, PEER, Ask { body, ..ask }.print());
        },
        refusal: "486",
        counter: "room_joins_total",
    },
    Flood {
        name: "one XMPP user into conferences",
        times: 200,
        send: |door, number| {
            door.xmpp(&format!("<presence from='juliet@example.com/b' to='hall{number}@conference.example.net/J' id='p'><x xmlns='http://jabber.org/protocol/muc'/></presence>"));
        },
        refusal: "<presence error resource-constraint>",
        counter: "conference_joins_total",
    },
    Flood {
        name: "MESSAGEs of a foreign domain's many users",
        times: 10_500,
        send: |door, number| {
            let from = format!("<sip:u{number}@far.example>;tag=t");
            door.sip(Tcp, PEER, Ask { from, ..numbered("MESSAGE", number) }.print());
        },
        refusal: "480",
        counter: "sip_rejected_total",
    },
    Flood {
        name: "requests of strangers over UDP",
        times: 5000,
        send: |door, number| door.sip(Udp, STRANGER, numbered("INVITE", number).print()),
        refusal: "-",
        counter: "sip_rejected_total",
    },
    Flood {
        name: "requests of strangers over TCP",
        times: 1000,
        send: |door, number| door.sip(Tcp, STRANGER, numbered("INVITE", number).print()),
        refusal: "403",
        counter: "sip_rejected_total",
    },
    Flood {
        name: "stanzas of an unlisted domain",
        times: 2000,
        send: |door, number| {
            door.xmpp(&format!("<message from='e{number}@evil.example/x' to='romeo@example.net' id='e{number}'><body>hi</body></message>"));
        },
        refusal: "<message error forbidden>",
        counter: "stanzas_refused_total",
    },
    Flood {
        name: "long requests of a peer's users",
        times: 300,
        send: |door, number| {
            let extra = format!("Subject: {}\r\nContent-Type: text/plain\r\n", "s".repeat(500));
            let from = format!("<sip:long{number}@example.net>;tag=1");
            let ask = Ask { from, extra, body: "x".repeat(900_000), ..numbered("MESSAGE", number) };
            door.stream(&mut Stream::new(), PEER, ask.print().as_bytes());
        },
        refusal: "413",
        counter: "messages_turned_away_total",
    },
    Flood {
        name: "iqs that nobody offers",
        times: 2000,
        send: |door, number| {
            door.xmpp(&format!("<iq from='juliet@example.com/b' to='r{number}@example.net' id='i{number}' type='get'><query xmlns='urn:example:odd'/></iq>"));
        },
        refusal: "<iq error service-unavailable>",
        counter: "",
    },
    Flood {
        name: "presence to many contacts, from many resources",
        times: 3000,
        send: |door, number| {
            door.xmpp(&format!("<presence from='juliet@example.com/r{number}' to='c{number}@example.net'/>"));
        },
        refusal: "",
        counter: "",
    },
    Flood {
        name: "typing to many contacts",
        times: 3000,
        send: |door, number| {
            door.xmpp(&format!("<message from='juliet@example.com/b' to='t{number}@example.net' type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>"));
        },
        refusal: "",
        counter: "",
    },
];

fn counts(door: &mut Door) -> BTreeMap<&'static str, u64> {
    let mut counted = BTreeMap::new();
    for note in door.notes.drain(..) {
        if let Note::Count { name, by, .. } = note {
            *counted.entry(name).or_default() += by;
        }
    }
    counted
}

#[test]
fn every_flood_is_answered_counted_and_bounded() {
    let mut door = Door::new(world());
    // Nobody answers what the gateway asks.
    door.pongs = false;
    let before = resident();
    let (mut inputs, mut wrong) = (0, Vec::new());
    for flood in FLOODS {
        counts(&mut door);
        let mut answers: BTreeMap<String, usize> = BTreeMap::new();
        for number in 0..flood.times {
            (flood.send)(&mut door, inputs + number);
            let came = door.take();
            let last =
                came.iter().map(Came::short).rfind(|word| word != "closed").unwrap_or_else(|| "-".into());
            *answers.entry(last).or_default() += 1;
        }
        inputs += flood.times;
        let counted = counts(&mut door);
        println!("{}: {answers:?} {counted:?} {} MB", flood.name, resident().saturating_sub(before) >> 20);
        let is_answered = flood.refusal.is_empty() || answers.contains_key(flood.refusal);
        let is_counted = flood.counter.is_empty() || counted.contains_key(flood.counter);
        if !is_answered || !is_counted {
            wrong.push(format!("{}: {answers:?} {counted:?}", flood.name));
        }
    }
    let grown = resident().saturating_sub(before);
    let violations = wrong.len() + usize::from(grown > CAP);
    support::results::line(&format!(
        "invariant\t11 memory is bounded, all are answered\tfloods of {} kinds\t{inputs}\t{violations}",
        FLOODS.len()
    ));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(grown <= CAP, "{} MB more", grown >> 20);
}

/// After all have gone, nothing is left of a flood.
#[test]
fn when_a_flood_is_over_the_books_are_empty() {
    let mut door = Door::new(world());
    for number in 0..300 {
        door.sip(Udp, PEER, numbered("PUBLISH", number).print());
        door.sip(Tcp, PEER, numbered("OPTIONS", number).print());
        let extra = "Contact: <sip:r@192.0.2.1>\r\nEvent: presence\r\nExpires: 0\r\n".to_owned();
        door.sip(Tcp, PEER, Ask { extra, ..numbered("SUBSCRIBE", number) }.print());
        door.sip(Udp, STRANGER, numbered("INVITE", number).print());
        door.xmpp(&format!("<presence from='e@evil.example/r{number}' to='hall@conference.example.net/J'><x xmlns='http://jabber.org/protocol/muc'/></presence>"));
    }
    door.advance(Duration::from_secs(600));
    assert_eq!(door.gateway.load(), 0);
}
