//! The gateway alone, without sockets, with a SIP side that accepts everything and a store that is a map.

#![allow(clippy::disallowed_types, clippy::unwrap_used, reason = "a load generator is shell")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mostar::gateway::{Gateway, Input, LinkChange, LinkId, Output};
use mostar::sip::flow::{ConnId, Flow, Transport};
use mostar::sip::framing;
use mostar::store::record::Record;
use mostar::words::id::Seed;
use mostar::words::time::{Now, Tick, Wall};
use mostar::xmpp::jid::Jid;
use mostar::xmpp::stanza::{Element, Stanza, StanzaKind};

use super::{SIP_DOMAIN, XMPP_DOMAIN};

#[path = "../../tests/support/config.rs"]
mod config;

/// Contacts of one user.
pub const EACH: usize = 20;

fn configuration() -> mostar::config::Config {
    let mut config = config::config();
    for component in &mut config.xmpp.components {
        (component.domain, component.sip_domain) = (SIP_DOMAIN.into(), SIP_DOMAIN.into());
    }
    for domain in &mut config.xmpp.domains {
        (domain.domain, domain.sip_alias) = (XMPP_DOMAIN.into(), XMPP_DOMAIN.into());
    }
    config.sip.peers[0].may_send_from = vec![SIP_DOMAIN.into()];
    config.messages.rate = 0;
    config
}

/// See the module.
pub struct World {
    pub gateway: Gateway,
    pub now: u64,
    /// When it began, in milliseconds since 1970.
    began: u64,
    pub records: BTreeMap<String, Record>,
    pub stanzas: usize,
    pub notifies: usize,
    /// MESSAGEs are not answered.
    pub is_away: bool,
    stopped: bool,
    cseq: u32,
}

impl World {
    pub fn bare() -> World {
        World {
            gateway: Gateway::new(Arc::new(configuration()), Seed([7; 32])),
            now: 0,
            began: std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64,
            records: BTreeMap::new(),
            stanzas: 0,
            notifies: 0,
            is_away: false,
            stopped: false,
            cseq: 0,
        }
    }

    pub fn new() -> World {
        World::since(Duration::ZERO)
    }

    /// One that began so long before now, and has been at work since.
    pub fn since(time: Duration) -> World {
        let mut world = World::bare();
        world.began -= time.as_millis() as u64;
        world.handle(Input::RestoreDone);
        world.handle(Input::Link(LinkId(0), LinkChange::Up));
        world
    }

    pub fn handle(&mut self, input: Input) {
        let now = Now { tick: Tick(self.now), wall: Wall(self.began + self.now / 1000) };
        self.gateway.handle(now, input);
        let mut heard = Vec::new();
        while let Some(output) = self.gateway.poll() {
            let output = if let Output::Now(inner) = output { *inner } else { output };
            match output {
                Output::Save(record) => drop(self.records.insert(record.key.to_string(), record)),
                Output::Forget(key) => drop(self.records.remove(&key.to_string())),
                Output::Stanza(..) => self.stanzas += 1,
                Output::Sip(out) => heard.push(String::from_utf8_lossy(&out.bytes).into_owned()),
                Output::Stopped => self.stopped = true,
                _ => {}
            }
        }
        for text in heard {
            self.hear(&text);
        }
    }

    /// The SIP side: everything is accepted, and a SUBSCRIBE is followed by its state.
    fn hear(&mut self, text: &str) {
        if text.starts_with("SIP/2.0") || self.is_away && text.starts_with("MESSAGE") {
            return;
        }
        let line = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
        };
        let to = line("To:");
        let to = if to.contains(";tag=") { to } else { format!("{to};tag=peer") };
        self.notifies += usize::from(text.starts_with("NOTIFY"));
        self.sip(format!(
            "SIP/2.0 200 OK\r\nVia: {}\r\nFrom: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\nContact: \
             <sip:romeo@192.0.2.1;transport=tcp>\r\nExpires: 3600\r\nContent-Length: 0\r\n\r\n",
            line("Via:"),
            line("From:"),
            line("Call-ID:"),
            line("CSeq:")
        ));
        if text.starts_with("SUBSCRIBE") {
            self.cseq += 1;
            let body = "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:romeo@sip.bench'><tuple id='t'><status>\
                        <basic>open</basic></status><note>at home</note></tuple></presence>";
            self.sip(format!(
                "NOTIFY sip:juliet@192.0.2.9 SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bK{}\r\nFrom: {to}\r\nTo: {}\r\n\
                 Call-ID: {}\r\nCSeq: 1 NOTIFY\r\nMax-Forwards: 70\r\nContact: <sip:romeo@192.0.2.1;transport=tcp>\r\nEvent: \
                 presence\r\nSubscription-State: active;expires=3600\r\nContent-Type: application/pidf+xml\r\nContent-Length: \
                 {}\r\n\r\n{body}",
                self.cseq,
                line("From:"),
                line("Call-ID:"),
                body.len()
            ));
        }
    }

    pub fn sip(&mut self, text: String) {
        let flow = Flow {
            transport: Transport::Tcp,
            local: "192.0.2.9:5060".parse().unwrap(),
            remote: "192.0.2.1:5060".parse().unwrap(),
            conn: Some(ConnId(1)),
        };
        let message = framing::datagram(text.into()).unwrap();
        self.handle(Input::Sip(flow, Box::new(message)));
    }

    pub fn presence(&mut self, from: &str, to: &str, type_: Option<&str>) {
        let (from, to) = (Jid::parse(from).unwrap(), Jid::parse(to).unwrap());
        let stanza = Stanza::new(StanzaKind::Presence, &from, &to);
        let stanza = type_.map_or(stanza.clone(), |type_| stanza.with_type(type_));
        self.handle(Input::Stanza(LinkId(0), stanza));
    }

    pub fn add_contact(&mut self, number: usize) {
        let (user, contact) = (number / EACH, number % (EACH * 50));
        self.presence(
            &format!("juliet{user}@{XMPP_DOMAIN}"),
            &format!("romeo{contact}@{SIP_DOMAIN}"),
            Some("subscribe"),
        );
    }

    pub fn add_watcher(&mut self, number: usize) {
        let (user, watcher) = (number / EACH, number % (EACH * 50));
        self.sip(format!(
            "SUBSCRIBE sip:juliet{user}@{XMPP_DOMAIN} SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bKs{number}\r\nFrom: \
             <sip:romeo{watcher}@{SIP_DOMAIN}>;tag=r{number}\r\nTo: <sip:juliet{user}@{XMPP_DOMAIN}>\r\nCall-ID: \
             c{number}\r\nCSeq: 1 SUBSCRIBE\r\nMax-Forwards: 70\r\nContact: <sip:romeo{watcher}@192.0.2.1;transport=tcp>\r\n\
             Event: presence\r\nContent-Length: 0\r\n\r\n"
        ));
        let (user, watcher) = (format!("juliet{user}@{XMPP_DOMAIN}"), format!("romeo{watcher}@{SIP_DOMAIN}"));
        self.presence(&user, &watcher, Some("subscribed"));
        self.presence(&format!("{user}/balcony"), &watcher, None);
    }

    /// A message of a user to a contact.
    pub fn write(&mut self, user: usize, contact: usize) {
        let from = Jid::parse(&format!("juliet{user}@{XMPP_DOMAIN}/balcony")).unwrap();
        let to = Jid::parse(&format!("romeo{contact}@{SIP_DOMAIN}")).unwrap();
        let body =
            Element::new("body", "jabber:component:accept").with_text("Art thou not Romeo, and a Montague?");
        let stanza =
            Stanza::new(StanzaKind::Message, &from, &to).with_type("chat").with_id("b0").with_child(body);
        self.handle(Input::Stanza(LinkId(0), stanza));
    }

    /// Lets time pass, alarm by alarm.
    pub fn pass(&mut self, time: Duration) {
        let until = self.now + time.as_micros() as u64;
        while let Some((at, _)) = self.gateway.next_timeout().filter(|(at, _)| at.0 <= until) {
            self.now = self.now.max(at.0);
            self.handle(Input::Timeout);
        }
        self.now = until;
    }

    /// Stops; how long it took by the gateway's clock.
    pub fn stop(&mut self) -> Duration {
        let began = self.now;
        self.handle(Input::Stop);
        while !self.stopped {
            let Some((at, _)) = self.gateway.next_timeout() else { break };
            self.now = self.now.max(at.0);
            self.handle(Input::Timeout);
        }
        assert!(self.stopped, "it never said that it had stopped");
        Duration::from_micros(self.now - began)
    }
}
