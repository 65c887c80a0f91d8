//! The gateway's one door with a clock, for tests that look at all that comes out: answers, closed connections,
//! questions to DNS, notes. Pings of the gateway are answered, and its OPTIONS to peers left aside.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mostar::config::Config;
use mostar::gateway::{Gateway, Input, LinkChange, LinkId, Output};
use mostar::msrp::frame::decoder::Decoder;
use mostar::msrp::{ConnId as MsrpConn, Link, MsrpIn, MsrpOut};
use mostar::sip::flow::{ConnId, Flow, SipOut, Transport};
use mostar::sip::framing;
use mostar::sip::locate::Query;
use mostar::words::id::Seed;
use mostar::words::note::Note;
use mostar::words::time::{Now, Tick, Wall};
use mostar::xmpp::ns;
use mostar::xmpp::stanza::Stanza;

use super::xml;

/// What came out.
#[derive(Debug)]
pub enum Came {
    Sip(SipOut),
    Stanza(Stanza),
    Msrp(MsrpOut),
    Closed(Flow),
    Asked(Query),
}

impl Came {
    /// In a word or two: the status of an answer, the method of a request, a stanza's kind, type and condition.
    pub fn short(&self) -> String {
        match self {
            Came::Sip(out) => short_sip(&text(&out.bytes)),
            Came::Stanza(stanza) => short_stanza(stanza),
            Came::Msrp(MsrpOut::Connect { hop, .. }) => format!("connect {hop}"),
            Came::Msrp(MsrpOut::Send { bytes, .. }) => {
                let text = text(bytes);
                text.split_whitespace().skip(2).take(1).collect()
            }
            Came::Msrp(_) => String::new(),
            Came::Closed(_) => "closed".into(),
            Came::Asked(query) => format!("dns {query:?}"),
        }
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn short_sip(text: &str) -> String {
    let mut words = text.split(' ');
    let first = words.next().unwrap_or_default();
    if first == "SIP/2.0" {
        return words.next().unwrap_or_default().to_owned();
    }
    let state = text.lines().find_map(|line| line.strip_prefix("Subscription-State: "));
    let state = state.and_then(|state| state.split(';').next()).filter(|_| first == "NOTIFY");
    state.map_or_else(|| first.to_owned(), |state| format!("{first} {state}"))
}

fn short_stanza(stanza: &Stanza) -> String {
    let mut words = vec![stanza.element.name().to_owned()];
    words.extend(stanza.type_().map(str::to_owned));
    if stanza.type_() == Some("error")
        && let Some(error) = stanza.element.children().find(|child| child.name() == "error")
    {
        words.extend(error.children().next().map(|condition| condition.name().to_owned()));
    }
    format!("<{}>", words.join(" "))
}

pub struct Door {
    pub gateway: Gateway,
    pub now: Tick,
    pub came: Vec<Came>,
    pub notes: Vec<Note>,
    pub store: BTreeMap<String, Vec<u8>>,
    config: Arc<Config>,
    /// Whether pings and NOTIFYs of the gateway are answered.
    pub pongs: bool,
}

impl Door {
    /// A gateway that is up. The peer is TCP, so nothing is repeated by itself.
    pub fn new(config: Config) -> Door {
        let config = Arc::new(config);
        let mut door = Door {
            gateway: Gateway::new(config.clone(), Seed([7; 32])),
            now: Tick(0),
            came: Vec::new(),
            notes: Vec::new(),
            store: BTreeMap::new(),
            config: config.clone(),
            pongs: true,
        };
        door.handle(Input::RestoreDone);
        for link in 0..config.xmpp.components.len() {
            door.handle(Input::Link(LinkId(link), LinkChange::Up));
        }
        door.came.clear();
        door
    }

    pub fn clock(&self) -> Now {
        Now { tick: self.now, wall: Wall(1_795_219_200_000 + self.now.0 / 1000) }
    }

    pub fn handle(&mut self, input: Input) {
        self.gateway.handle(self.clock(), input);
        let (mut pongs, mut told) = (Vec::new(), Vec::new());
        while let Some(output) = self.gateway.poll() {
            let output = match output {
                Output::Now(inner) => *inner,
                other => other,
            };
            match output {
                Output::Stanza(_, stanza) => match stanza.result() {
                    Some(pong) if self.pongs && stanza.element.child("ping", ns::PING).is_some() => {
                        pongs.push(pong)
                    }
                    _ => self.came.push(Came::Stanza(stanza)),
                },
                Output::Sip(out) if is_watch(&out.bytes) => {}
                Output::Sip(out) => {
                    if self.pongs && out.bytes.starts_with(b"NOTIFY ") {
                        told.push(out.clone());
                    }
                    self.came.push(Came::Sip(out));
                }
                Output::Msrp(out) => self.came.push(Came::Msrp(out)),
                Output::Close(flow) => self.came.push(Came::Closed(flow)),
                Output::Resolve(query) => self.came.push(Came::Asked(query)),
                Output::Note(note) => self.notes.push(note),
                Output::Save(record) => {
                    self.store.insert(record.key.to_string(), record.value);
                }
                Output::Forget(key) => {
                    self.store.remove(&key.to_string());
                }
                Output::Now(_)
                | Output::Forward(_)
                | Output::Fetch(_)
                | Output::Explained(..)
                | Output::Stopped => {}
            }
        }
        for notify in told {
            self.sip(Transport::Tcp, "192.0.2.1:5060", answer_to(&text(&notify.bytes), "200 OK"));
        }
        for pong in pongs {
            self.handle(Input::Stanza(self.link_to(&pong), pong));
        }
    }

    /// A message comes in, whole, from `from`.
    pub fn sip(&mut self, transport: Transport, from: &str, bytes: impl Into<Bytes>) {
        let flow = flow(transport, from);
        match framing::datagram(bytes.into()) {
            Ok(message) => self.handle(Input::Sip(flow, Box::new(message))),
            Err(bad) => self.handle(Input::BadSip(flow, bad)),
        }
    }

    /// Bytes of a stream come in from `from`, as the shell would cut them.
    pub fn stream(&mut self, stream: &mut framing::Stream, from: &str, bytes: &[u8]) {
        let flow = flow(Transport::Tcp, from);
        for message in stream.push(bytes) {
            match message {
                Ok(message) => self.handle(Input::Sip(flow, Box::new(message))),
                Err(bad) => self.handle(Input::BadSip(flow, bad)),
            }
        }
    }

    /// A stanza comes in.
    pub fn xmpp(&mut self, text: &str) {
        let element = xml::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        match Stanza::from_element(element) {
            Ok(stanza) => self.handle(Input::Stanza(self.link_to(&stanza), stanza)),
            Err(element) => self.handle(Input::BadStanza(LinkId(0), element)),
        }
    }

    /// A frame of MSRP comes in on a connection.
    pub fn msrp(&mut self, conn: u64, bytes: &[u8]) {
        let mut decoder = Decoder::new(1 << 20);
        decoder.push(bytes);
        while let Some(frame) = decoder.next_frame() {
            let Ok(frame) = frame else { return };
            let link = Link { conn: MsrpConn(conn), secure: false };
            self.handle(Input::Msrp(MsrpIn::Frame { link, frame: Box::new(frame) }));
        }
    }

    /// Moves the clock, alarm by alarm.
    pub fn advance(&mut self, by: Duration) {
        let until = self.now + by;
        while let Some((at, _)) = self.gateway.next_timeout().filter(|(at, _)| *at <= until) {
            self.now = self.now.max(at);
            self.handle(Input::Timeout);
        }
        self.now = until;
    }

    /// What came since the last call.
    pub fn take(&mut self) -> Vec<Came> {
        std::mem::take(&mut self.came)
    }

    /// What came since the last call, in short; `-` for nothing.
    pub fn short(&mut self) -> String {
        let mut words: Vec<String> =
            self.take().iter().map(Came::short).filter(|word| !word.is_empty()).collect();
        // What is repeated until it is acknowledged is said once.
        words.dedup();
        if words.is_empty() { "-".into() } else { words.join(" ") }
    }

    /// The SIP messages that came since the last call.
    pub fn messages(&mut self) -> Vec<String> {
        let came = self.take().into_iter();
        came.filter_map(|one| if let Came::Sip(out) = one { Some(text(&out.bytes)) } else { None }).collect()
    }

    /// How often a reason was counted under this name.
    pub fn counted(&self, wanted: &str, reason: &str) -> u64 {
        let of = |note: &Note| match note {
            Note::Count { name, labels, by }
                if *name == wanted && labels.iter().any(|(_, value)| *value == reason) =>
            {
                *by
            }
            _ => 0,
        };
        self.notes.iter().map(of).sum()
    }

    fn link_to(&self, stanza: &Stanza) -> LinkId {
        let domain = stanza.to().map(|to| to.domain());
        let all = &self.config.xmpp.components;
        LinkId(all.iter().position(|known| Some(known.domain.as_str()) == domain).unwrap_or_default())
    }
}

/// OPTIONS to a peer itself, which names no user.
fn is_watch(bytes: &[u8]) -> bool {
    let first = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    first.starts_with(b"OPTIONS ") && !first.contains(&b'@')
}

/// A way from `from` to us; each port is a connection of its own.
pub fn flow(transport: Transport, from: &str) -> Flow {
    let remote: std::net::SocketAddr = from.parse().expect("an address");
    let conn = (transport == Transport::Tcp).then(|| ConnId(u64::from(remote.port())));
    Flow { transport, local: "192.0.2.9:5060".parse().expect("an address"), remote, conn }
}

/// An answer to a request of ours.
pub fn answer_to(text: &str, status: &str) -> String {
    let line = |name| header(text, name);
    format!(
        "SIP/2.0 {status}\r\nVia: {}\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {}\r\nContent-Length: 0\r\n\r\n",
        line("Via"),
        line("From"),
        line("To"),
        line("Call-ID"),
        line("CSeq"),
    )
}

/// The value of a header in a message's text.
pub fn header<'a>(text: &'a str, name: &str) -> &'a str {
    let line = text.lines().find(|line| line.split(':').next().is_some_and(|found| found == name));
    line.and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim())
}

/// A session description that offers MSRP at this path.
pub fn offer(path: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=message 12763 TCP/MSRP *\r\n\
         a=path:{path}\r\na=accept-types:text/plain\r\na=setup:actpass\r\n"
    )
}

/// Every method that there is, and one that nobody knows.
pub const METHODS: [&str; 15] = [
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "OPTIONS",
    "REGISTER",
    "MESSAGE",
    "SUBSCRIBE",
    "NOTIFY",
    "PUBLISH",
    "REFER",
    "INFO",
    "UPDATE",
    "PRACK",
    "UNHEARD",
];

/// A request, as somebody sends it.
#[derive(Clone, Debug)]
pub struct Ask {
    pub method: &'static str,
    pub uri: String,
    pub via: String,
    pub from: String,
    pub to: String,
    pub call_id: String,
    pub cseq: u32,
    pub extra: String,
    pub body: String,
}

impl Ask {
    /// From romeo to juliet, with what the method wants.
    pub fn new(method: &'static str) -> Ask {
        let (extra, body) = match method {
            "MESSAGE" => ("Content-Type: text/plain\r\n".to_owned(), "hello".to_owned()),
            "INVITE" | "UPDATE" => (
                "Contact: <sip:romeo@192.0.2.1>\r\nContent-Type: application/sdp\r\n".to_owned(),
                offer("msrp://192.0.2.1:12763/theirs;tcp"),
            ),
            "SUBSCRIBE" => {
                ("Contact: <sip:romeo@192.0.2.1>\r\nEvent: presence\r\n".to_owned(), String::new())
            }
            "NOTIFY" => (
                "Contact: <sip:romeo@192.0.2.1>\r\nEvent: presence\r\nSubscription-State: active\r\n"
                    .to_owned(),
                String::new(),
            ),
            "REFER" => (
                "Contact: <sip:romeo@192.0.2.1>\r\nRefer-To: <sip:nurse@example.com>\r\n".to_owned(),
                String::new(),
            ),
            "PUBLISH" => ("Event: presence\r\n".to_owned(), String::new()),
            "REGISTER" => ("Contact: <sip:romeo@203.0.113.66>\r\n".to_owned(), String::new()),
            "PRACK" => ("RAck: 1 1 INVITE\r\n".to_owned(), String::new()),
            _ => (String::new(), String::new()),
        };
        Ask {
            method,
            uri: "sip:juliet@example.com".into(),
            via: "SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bKask".into(),
            from: "<sip:romeo@example.net>;tag=r1".into(),
            to: "<sip:juliet@example.com>".into(),
            call_id: "ask".into(),
            cseq: 1,
            extra,
            body,
        }
    }

    pub fn print(&self) -> String {
        let Ask { method, uri, via, from, to, call_id, cseq, extra, body } = self;
        format!(
            "{method} {uri} SIP/2.0\r\nVia: {via}\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\n\
             CSeq: {cseq} {method}\r\nMax-Forwards: 70\r\n{extra}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}
