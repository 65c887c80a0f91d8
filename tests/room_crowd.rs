//! A room of two thousand: all of them in the roster of who enters and watches; and as many of SIP in one room as may be, of
//! whom one more is refused.

#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

mod support;

use std::sync::Arc;

use mostar::gateway::{Gateway, Input, LinkChange, LinkId, Output};
use mostar::sip::flow::{ConnId, Flow, Transport};
use mostar::sip::framing;
use mostar::words::id::Seed;
use mostar::words::time::{Now, Tick, Wall};
use mostar::xmpp::jid::Jid;
use mostar::xmpp::ns;
use mostar::xmpp::stanza::{Element, Stanza, StanzaKind};
use support::written::header_of;

const ROOM: &str = "verona@rooms.example.com";
const MANY: usize = 2000;

struct World {
    gateway: Gateway,
    now: u64,
    count: u64,
}

/// What came out: SIP, and where stanzas come from.
#[derive(Default)]
struct Heard {
    sip: Vec<String>,
    from: Vec<Jid>,
}

impl World {
    fn new() -> World {
        let mut config = support::config::config();
        support::config::add_rooms(&mut config, "rooms.example.com");
        let mut world = World { gateway: Gateway::new(Arc::new(config), Seed([3; 32])), now: 0, count: 0 };
        world.handle(Input::RestoreDone);
        world.handle(Input::Link(LinkId(0), LinkChange::Up));
        world
    }

    fn handle(&mut self, input: Input) -> Heard {
        self.now += 10;
        let wall = Wall(1_795_219_200_000 + self.now / 1000);
        self.gateway.handle(Now { tick: Tick(self.now), wall }, input);
        let mut heard = Heard::default();
        while let Some(output) = self.gateway.poll() {
            let output = if let Output::Now(inner) = output { *inner } else { output };
            match output {
                Output::Sip(out) => heard.sip.push(String::from_utf8_lossy(&out.bytes).into_owned()),
                Output::Stanza(_, stanza) => heard.from.extend(stanza.from().cloned()),
                _ => {}
            }
        }
        heard
    }

    fn sip(&mut self, text: String) -> Heard {
        let flow = Flow {
            transport: Transport::Tcp,
            local: "192.0.2.9:5060".parse().unwrap(),
            remote: "192.0.2.1:5060".parse().unwrap(),
            conn: Some(ConnId(1)),
        };
        self.handle(Input::Sip(flow, Box::new(framing::datagram(text.into()).unwrap())))
    }

    /// A request of somebody's; of a dialog where there is a tag.
    fn ask(&mut self, method: &str, user: usize, tag: &str, headers: &str, body: &str) -> Heard {
        self.count += 1;
        self.sip(format!(
            "{method} sip:{ROOM} SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bKx{0}\r\nFrom: <sip:p{user}@example.net>;\
             tag=t{user}\r\nTo: <sip:{ROOM}>{tag}\r\nCall-ID: c{user}\r\nCSeq: {0} {method}\r\nMax-Forwards: 70\r\nContact: \
             <sip:p{user}@192.0.2.1:5062;transport=tcp>\r\n{headers}Content-Length: {1}\r\n\r\n{body}",
            self.count,
            body.len()
        ))
    }

    fn invite(&mut self, user: usize) -> Heard {
        let body = format!(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=message 7000 TCP/MSRP *\r\n\
             a=path:msrp://192.0.2.1:7000/p{user};tcp\r\na=accept-types:message/cpim\r\na=accept-wrapped-types:*\r\na=setup:active\r\n"
        );
        self.ask("INVITE", user, "", "Content-Type: application/sdp\r\n", &body)
    }

    /// The room says that somebody is in it, to one of SIP.
    fn is_in(&mut self, nick: &str, to: &Jid, codes: &[&str]) -> Heard {
        let from = Jid::parse(&format!("{ROOM}/{nick}")).unwrap();
        let item = Element::new("item", ns::MUC_USER).with("affiliation", "none").with("role", "participant");
        let mut x = Element::new("x", ns::MUC_USER).with_child(item);
        for code in codes {
            x.push(Element::new("status", ns::MUC_USER).with("code", code));
        }
        let stanza = Stanza::new(StanzaKind::Presence, &from, to).with_child(x);
        self.handle(Input::Stanza(LinkId(0), stanza))
    }

    /// Somebody calls and is let in; the tag of the dialog.
    fn enters(&mut self, user: usize) -> (Jid, String) {
        let own = self.invite(user).from.pop().expect("a presence for the room");
        let answer = self.is_in(&format!("p{user}"), &own, &["110"]).sip.pop().expect("an answer");
        assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
        let tag = header_of(&answer, "To").and_then(|to| to.split(";tag=").nth(1)).expect("a tag").to_owned();
        let tag = format!(";tag={tag}");
        self.ask("ACK", user, &tag, "", "");
        (own, tag)
    }
}

#[test]
fn all_of_two_thousand_are_in_the_roster() {
    let mut world = World::new();
    let own = world.invite(0).from.pop().expect("a presence for the room");
    for number in 0..MANY {
        world.is_in(&format!("Capulet {number} 👑"), &own, &[]);
    }
    let answer = world.is_in("p0", &own, &["110"]).sip.pop().expect("an answer");
    let tag = header_of(&answer, "To").and_then(|to| to.split(";tag=").nth(1)).expect("a tag").to_owned();
    let heard = world.ask("SUBSCRIBE", 0, &format!(";tag={tag}"), "Event: conference\r\n", "");
    let notify = heard.sip.iter().find(|text| text.starts_with("NOTIFY")).expect("a NOTIFY");
    assert_eq!(notify.matches("<user entity=").count(), MANY + 1);
    assert!(notify.contains("<user-count>2001</user-count>"));
}

#[test]
fn of_sip_two_thousand_are_in_one_room_and_no_more() {
    let mut world = World::new();
    let all: Vec<(Jid, String)> = (0..MANY).map(|user| world.enters(user)).collect();
    let refusal = world.invite(MANY).sip.pop().expect("an answer");
    assert!(refusal.starts_with("SIP/2.0 486 Too many are here"), "{refusal}");
    for (user, (_, tag)) in all.iter().enumerate() {
        world.ask("BYE", user, tag, "", "");
    }
    // The room says nothing more: whoever left is out after a while.
    while let Some((at, _)) = world.gateway.next_timeout().filter(|(at, _)| at.0 < 100_000_000) {
        world.now = world.now.max(at.0);
        world.handle(Input::Timeout);
    }
    assert_eq!(world.gateway.load(), 0);
}
