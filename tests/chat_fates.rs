//! A user writes lines to a contact whose device does as it likes: accepts, refuses, is silent, hangs up, breaks its
//! connection, opens sessions itself. Whatever happens, every line has one fate, in order, and nothing remains.

#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

mod support;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mostar::features::sessions::PeerMsrp;
use mostar::gateway::{Gateway, Input, LinkChange, LinkId, Output};
use mostar::msrp::frame::decoder::Decoder;
use mostar::msrp::frame::{Frame, Method};
use mostar::msrp::{ConnId, Link, MsrpIn, MsrpOut};
use mostar::sip::flow::{ConnId as SipConn, Flow, Transport};
use mostar::sip::framing;
use mostar::words::id::{Mint, Seed};
use mostar::words::time::{Now, Tick, Wall};
use mostar::xmpp::stanza::Stanza;
use support::written::header_of;
use support::xml;

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=message PORT TCP/MSRP *\r\n\
    a=path:msrp://192.0.2.1:2855/PEER;tcp\r\na=accept-types:text/plain message/cpim\r\na=setup:passive\r\n";

/// The gateway, and the other side with its whims.
struct Play {
    gateway: Gateway,
    now: Tick,
    dice: Mint,
    /// Connections that stand, and the next one.
    conns: Vec<u64>,
    next: u64,
    /// Lines as they arrived, by either way, and those that were returned.
    arrived: Vec<u32>,
    returned: BTreeSet<u32>,
    seen: BTreeSet<String>,
    /// Dialogs that are up: Call-ID, our From, To.
    dialogs: BTreeMap<String, (String, String)>,
    calm: bool,
    todo: VecDeque<Input>,
}

impl Play {
    fn new(seed: u8) -> Play {
        let mut config = support::config::config();
        config.sip.peers[0].msrp = PeerMsrp::Yes;
        let gateway = Gateway::new(Arc::new(config), Seed([seed; 32]));
        let mut play = Play {
            gateway,
            now: Tick(0),
            dice: Mint::new(Seed([seed.wrapping_add(99); 32])),
            conns: Vec::new(),
            next: 0,
            arrived: Vec::new(),
            returned: BTreeSet::new(),
            seen: BTreeSet::new(),
            dialogs: BTreeMap::new(),
            calm: false,
            todo: VecDeque::new(),
        };
        play.input(Input::RestoreDone);
        play.input(Input::Link(LinkId(0), LinkChange::Up));
        play
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.dice.below(sides)
    }

    fn input(&mut self, input: Input) {
        self.todo.push_back(input);
        while let Some(input) = self.todo.pop_front() {
            let wall = Wall(1_795_219_200_000) + Duration::from_micros(self.now.0);
            self.gateway.handle(Now { tick: self.now, wall }, input);
            while let Some(output) = self.gateway.poll() {
                self.output(output);
            }
        }
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Now(inner) => self.output(*inner),
            Output::Sip(out) => self.sip(&String::from_utf8_lossy(&out.bytes)),
            Output::Msrp(out) => self.msrp(out),
            Output::Stanza(_, stanza) if stanza.type_() == Some("error") => {
                let id = stanza.id().unwrap_or_default().trim_start_matches('m').parse().unwrap();
                assert!(self.returned.insert(id), "{id} was returned twice");
            }
            Output::Stanza(link, stanza) => {
                if let Some(pong) = stanza.result() {
                    self.todo.push_back(Input::Stanza(link, pong));
                }
            }
            _ => {}
        }
    }

    fn sip_in(&mut self, text: String) {
        let flow = Flow {
            transport: Transport::Tcp,
            local: "192.0.2.9:5060".parse().unwrap(),
            remote: "192.0.2.1:5060".parse().unwrap(),
            conn: Some(SipConn(1)),
        };
        let message = framing::datagram(Bytes::from(text)).unwrap();
        self.todo.push_back(Input::Sip(flow, Box::new(message)));
    }

    fn reply(&mut self, request: &str, status: &str, tag: &str, body: &str) {
        let header = |name| header_of(request, name).unwrap_or_default();
        let to = header("To");
        let to = if to.contains(";tag=") { to.to_owned() } else { format!("{to};tag={tag}") };
        let more = if body.is_empty() {
            ""
        } else {
            "Contact: <sip:romeo@192.0.2.1>\r\nContent-Type: application/sdp\r\n"
        };
        self.sip_in(format!(
            "SIP/2.0 {status}\r\nVia: {}\r\nFrom: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\n{more}Content-Length: {}\r\n\r\n{body}",
            header("Via"),
            header("From"),
            header("Call-ID"),
            header("CSeq"),
            body.len()
        ));
    }

    fn sip(&mut self, text: &str) {
        let call_id = header_of(text, "Call-ID").unwrap_or_default().to_owned();
        match text.split(' ').next().unwrap_or_default() {
            "OPTIONS" => self.reply(text, "200 OK", "o", ""),
            "MESSAGE" => {
                // With an envelope around it or without.
                let body = text.rsplit("\r\n\r\n").next().unwrap_or_default().to_owned();
                self.line(&body);
                self.reply(text, "200 OK", "m", "");
            }
            "BYE" => {
                self.dialogs.remove(&call_id);
                self.reply(text, "200 OK", "b", "");
            }
            "INVITE" => {
                let whim = if self.calm { 0 } else { self.roll(10) };
                let number = self.next;
                self.next += 1;
                let tag = format!("r{number}");
                let body = SDP.replace("PEER", &format!("peer{number}"));
                match whim {
                    0..=4 => {
                        let to = format!("{};tag={tag}", header_of(text, "To").unwrap_or_default());
                        let from = header_of(text, "From").unwrap_or_default().to_owned();
                        self.dialogs.insert(call_id, (from, to));
                        self.reply(text, "200 OK", &tag, &body.replace("PORT", "2855"));
                    }
                    5 => self.reply(text, "200 OK", &tag, &body.replace("PORT", "0")),
                    6 => self.reply(text, "488 No", &tag, ""),
                    7 => self.reply(text, "480 No", &tag, ""),
                    8 => self.reply(text, "180 Ringing", &tag, ""),
                    _ => {}
                }
            }
            "CANCEL" => self.reply(text, "200 OK", "c", ""),
            _ => {}
        }
    }

    fn msrp(&mut self, out: MsrpOut) {
        match out {
            MsrpOut::Connect { attempt, .. } => {
                self.next += 1;
                let (conn, refused) = (self.next, !self.calm && self.roll(6) == 0);
                self.todo.push_back(Input::Msrp(if refused {
                    MsrpIn::NotConnected { attempt, why: "refused".into() }
                } else {
                    self.conns.push(conn);
                    MsrpIn::Connected { attempt, link: Link { conn: ConnId(conn), secure: false } }
                }));
            }
            MsrpOut::Send { conn, bytes } => {
                self.todo.push_back(Input::Msrp(MsrpIn::Drained { conn, bytes: bytes.len() }));
                let mut decoder = Decoder::new(1 << 20);
                decoder.push(&bytes);
                while let Some(Ok(frame)) = decoder.next_frame() {
                    if let Frame::Request(request) = frame
                        && request.method == Method::Send
                    {
                        self.send(conn, &request);
                    }
                }
            }
            MsrpOut::Release(conn) => self.conns.retain(|known| *known != conn.0),
            MsrpOut::Keep(_) => {}
        }
    }

    fn send(&mut self, conn: ConnId, request: &mostar::msrp::frame::Request) {
        let is_line = request.body.as_ref().is_some_and(|body| !body.is_empty());
        let whim = if self.calm || !is_line { 0 } else { self.roll(12) };
        let code = match whim {
            0..=8 => 200,
            9 => 413,
            10 => 481,
            // It arrives, but its answer does not.
            _ => 0,
        };
        if is_line && matches!(code, 0 | 200) {
            let body = String::from_utf8_lossy(request.body.as_deref().unwrap_or_default()).into_owned();
            let text = body.rsplit("\r\n").next().unwrap_or_default().to_owned();
            self.line(&text);
        }
        if let Some(response) = request.response(if code == 0 { 200 } else { code }).filter(|_| code != 0) {
            let mut decoder = Decoder::new(1 << 20);
            decoder.push(&response.bytes());
            if let Some(Ok(frame)) = decoder.next_frame() {
                let link = Link { conn, secure: false };
                self.todo.push_back(Input::Msrp(MsrpIn::Frame { link, frame: Box::new(frame) }));
            }
        }
    }

    /// A line arrived; the same again by another way, after a doubt, is no news.
    fn line(&mut self, text: &str) {
        let number = text.trim().strip_prefix("line ").and_then(|number| number.parse().ok());
        let number: u32 = number.unwrap_or_else(|| panic!("{text:?} is no line"));
        if self.seen.insert(text.trim().to_owned()) {
            self.arrived.push(number);
        }
    }

    fn write(&mut self, number: u32) {
        let text = format!(
            "<message from='juliet@example.com/b' to='romeo@example.net' id='m{number}' type='chat'><body>line {number}</body></message>"
        );
        let stanza = Stanza::from_element(xml::parse(&text).unwrap()).unwrap();
        self.input(Input::Stanza(LinkId(0), stanza));
    }

    fn hang_up(&mut self) {
        let Some((call_id, (from, to))) = self.dialogs.pop_first() else { return };
        let number = self.next;
        self.next += 1;
        self.sip_in(format!(
            "BYE sip:juliet@gateway.example.org:5060;transport=tcp SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bKbye{number}\r\n\
             Max-Forwards: 70\r\nFrom: {to}\r\nTo: {from}\r\nCall-ID: {call_id}\r\nCSeq: 9 BYE\r\nContent-Length: 0\r\n\r\n"
        ));
    }

    fn advance(&mut self, by: Duration) {
        let until = self.now + by;
        while let Some((at, _)) = self.gateway.next_timeout().filter(|(at, _)| *at <= until) {
            self.now = self.now.max(at);
            self.input(Input::Timeout);
        }
        self.now = until;
    }
}

#[test]
fn every_line_has_one_fate_and_nothing_remains() {
    let (mut delivered, mut returned) = (0, 0);
    for seed in 0..=60 {
        let mut play = Play::new(seed);
        let mut written = 0;
        for _ in 0..60 {
            match play.roll(10) {
                0..=4 => {
                    written += 1;
                    play.write(written);
                }
                5 => play.hang_up(),
                6 => {
                    if let Some(conn) = play.conns.pop() {
                        let why = "reset".into();
                        play.input(Input::Msrp(MsrpIn::Lost { conn: ConnId(conn), why }));
                    }
                }
                7 => {
                    let text = "<message from='juliet@example.com/b' to='romeo@example.net' type='chat'><gone \
                                xmlns='http://jabber.org/protocol/chatstates'/></message>";
                    let stanza = Stanza::from_element(xml::parse(text).unwrap()).unwrap();
                    play.input(Input::Stanza(LinkId(0), stanza));
                }
                8 => {
                    let seconds = play.roll(700);
                    play.advance(Duration::from_secs(seconds));
                }
                _ => {
                    let millis = play.roll(12_000);
                    play.advance(Duration::from_millis(millis));
                }
            }
            play.advance(Duration::ZERO);
            play.input(Input::Timeout);
        }
        play.calm = true;
        for _ in 0..4 {
            play.advance(Duration::from_secs(1000));
        }
        let missing: Vec<u32> = (1..=written)
            .filter(|number| !play.arrived.contains(number) && !play.returned.contains(number))
            .collect();
        assert!(missing.is_empty(), "seed {seed}: {missing:?} have no fate");
        assert!(play.arrived.is_sorted(), "seed {seed}: {:?}", play.arrived);
        delivered += play.arrived.len();
        returned += play.returned.len();
        assert_eq!(play.gateway.load(), Play::new(seed).gateway.load(), "seed {seed}");
    }
    assert!(delivered > 1000 && returned > 10, "{delivered} delivered, {returned} returned");
}

#[test]
fn what_nobody_has_confirmed_goes_with_its_session() {
    let text = std::fs::read_to_string("tests/vectors/chat/receipt-withheld.vec").unwrap()
        + "@60000 sip in\n    BYE sip:juliet@gateway.example.org:5060;transport=tcp SIP/2.0\n    \
           From: <sip:romeo@example.net>;tag=r1\n    To: <sip:juliet@example.com>;tag={tag}\n    \
           Call-ID: invite1\n    CSeq: 2 BYE\n@600000 idle\n";
    let load = |text: &str| support::vector::played(text).unwrap().load();
    assert_eq!(load(&text), load("@600000 idle\n"));
}
