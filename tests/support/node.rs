//! A SIP agent on its own, with a clock that tests move and bytes on both sides.

use std::net::SocketAddr;

use bytes::Bytes;
use mostar::config::Config;
use mostar::sip::agent::{Agent, AgentOut, InRequest};
use mostar::sip::flow::{ConnId, Flow, SipOut, Transport};
use mostar::sip::framing;
use mostar::sip::message::{Answer, HeaderName, Method, OutRequest, Reply, Response, ServerKey};
use mostar::words::id::{Mint, Partition, Seed};
use mostar::words::note::Note;
use mostar::words::time::{Now, Tick, Wall};

/// An agent, and what came out of it.
pub struct Node {
    pub agent: Agent,
    pub mint: Mint,
    pub now: Tick,
    pub sent: Vec<SipOut>,
    pub requests: Vec<InRequest>,
    pub answers: Vec<(u64, Answer)>,
    /// Peers that answer again after a long time.
    #[allow(dead_code, reason = "one test asks")]
    pub back: Vec<usize>,
    /// Further 2xx to INVITEs, with the number that their ACK must have.
    pub further: Vec<(u64, u32, Response)>,
    pub acks: Vec<InRequest>,
    pub cancelled: Vec<ServerKey>,
    pub closed: usize,
    pub asked: Vec<mostar::sip::locate::Query>,
    pub notes: Vec<Note>,
}

impl Node {
    /// A started agent; its watch over peers is answered by nobody and left aside.
    pub fn new(config: &Config, seed: u8) -> Node {
        let mut node = Node {
            agent: Agent::new(config),
            mint: Mint::new(Seed([seed; 32])),
            now: Tick(0),
            sent: Vec::new(),
            requests: Vec::new(),
            answers: Vec::new(),
            back: Vec::new(),
            further: Vec::new(),
            acks: Vec::new(),
            cancelled: Vec::new(),
            closed: 0,
            asked: Vec::new(),
            notes: Vec::new(),
        };
        node.agent.start(node.clock());
        node.drain();
        node
    }

    pub fn clock(&self) -> Now {
        Now { tick: self.now, wall: Wall(1_795_219_200_000 + self.now.0 / 1000) }
    }

    pub fn drain(&mut self) {
        while let Some(out) = self.agent.poll() {
            match out {
                AgentOut::Send(out) => self.sent.push(out),
                AgentOut::Close(_) => self.closed += 1,
                AgentOut::Resolve(query) => self.asked.push(query),
                AgentOut::Note(note) => self.notes.push(note),
                AgentOut::Request(request) => self.requests.push(*request),
                AgentOut::Ack(ack) => self.acks.push(*ack),
                AgentOut::Cancelled(key) => self.cancelled.push(key),
                AgentOut::Further { user, cseq, response } => self.further.push((user, cseq, response)),
                AgentOut::Answer { user, answer } => self.answers.push((user, answer)),
                AgentOut::PeerBack(peer) => self.back.push(peer),
            }
        }
    }

    /// Bytes arrive as one datagram or as one whole message on a connection.
    pub fn receive(&mut self, transport: Transport, from: &str, bytes: impl Into<Bytes>) {
        let flow = flow(transport, from);
        match framing::datagram(bytes.into()) {
            Ok(message) => self.agent.receive(self.clock(), &mut self.mint, flow, message),
            Err(bad) => self.agent.bad(self.clock(), &mut self.mint, flow, bad),
        }
        self.drain();
    }

    pub fn reply(&mut self, reply: Reply) {
        let request = self.requests.pop().expect("a request to answer");
        self.agent.reply(self.clock(), &mut self.mint, request.key, reply);
        self.drain();
    }

    pub fn request(&mut self, user: u64, request: OutRequest) {
        self.agent.request(self.clock(), &mut self.mint, user, request);
        self.drain();
    }

    pub fn cancel(&mut self, user: u64) {
        self.agent.cancel(self.clock(), user);
        self.drain();
    }

    pub fn fail(&mut self, out: &SipOut) {
        let id = out.id.expect("somebody who waits");
        self.agent.send_failed(self.clock(), &mut self.mint, id, "connection refused".into());
        self.drain();
    }

    /// Moves the clock, alarm by alarm.
    pub fn advance(&mut self, seconds: f64) {
        let until = Tick(self.now.0 + (seconds * 1e6) as u64);
        while let Some((at, why)) = self.agent.next_timeout().filter(|(at, _)| *at <= until) {
            assert!(at >= self.now || at <= until, "{why} rang in the past");
            self.now = self.now.max(at);
            self.agent.timeout(self.clock(), &mut self.mint);
            self.drain();
        }
        self.now = until;
    }

    /// What was sent since the last call, the watch over peers left aside.
    pub fn take(&mut self) -> Vec<(SipOut, String)> {
        let sent = std::mem::take(&mut self.sent);
        let texts = sent.into_iter().map(|out| {
            super::foreign::reads(&out.bytes).expect("another parser reads it");
            let text = String::from_utf8_lossy(&out.bytes).into_owned();
            (out, text)
        });
        texts.filter(|(_, text)| !text.starts_with("OPTIONS ")).collect()
    }

    /// The one message that was sent.
    pub fn only(&mut self) -> (SipOut, String) {
        let mut sent = self.take();
        assert_eq!(sent.len(), 1, "{sent:#?}");
        sent.remove(0)
    }

    /// How often a reason was counted.
    pub fn counted(&self, wanted: &str) -> u64 {
        let of = |note: &Note| match note {
            Note::Count { labels, by, .. } if labels.iter().any(|(_, value)| *value == wanted) => *by,
            _ => 0,
        };
        self.notes.iter().map(of).sum()
    }

    pub fn logged(&self, wanted: &str) -> usize {
        self.notes.iter().filter(|note| matches!(note, Note::Log { event, .. } if *event == wanted)).count()
    }
}

/// A way from `from` to us.
pub fn flow(transport: Transport, from: &str) -> Flow {
    let remote: SocketAddr = from.parse().expect("an address");
    let local = if remote.is_ipv4() { "192.0.2.9:5060" } else { "[2001:db8::9]:5060" };
    Flow {
        transport,
        local: local.parse().expect("an address"),
        remote,
        conn: (transport == Transport::Tcp).then_some(ConnId(1)),
    }
}

/// A request as a peer would send it. `extra` are further header lines.
pub fn arriving(method: &str, branch: &str, extra: &str) -> String {
    format!(
        "{method} sip:juliet@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bK{branch}\r\n\
         From: <sip:romeo@example.net>;tag=r1\r\nTo: <sip:juliet@example.com>\r\nCall-ID: c1\r\n\
         CSeq: 1 {method}\r\nMax-Forwards: 70\r\n{extra}Content-Length: 0\r\n\r\n"
    )
}

/// A request as a feature would want it sent.
pub fn wanted(method: Method, body: &str) -> OutRequest {
    OutRequest {
        method,
        uri: "sip:romeo@example.net".into(),
        from: "<sip:juliet@example.com>;tag=j1".into(),
        to: "<sip:romeo@example.net>".into(),
        call_id: "call-1".into(),
        cseq: 7,
        max_forwards: 70,
        routes: Vec::new(),
        headers: vec![(HeaderName::ContentType, "text/plain".into())],
        body: Bytes::copy_from_slice(body.as_bytes()),
        partition: Partition(0x2a),
        domain: String::new(),
        over: None,
    }
}

/// The value of a header in a message's text.
pub fn header<'a>(text: &'a str, name: &str) -> &'a str {
    let line = text.lines().find(|line| line.split(':').next().is_some_and(|found| found == name));
    line.and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim())
}

/// An answer to a request of ours.
pub fn answer_to(text: &str, status: &str, extra: &str) -> String {
    format!(
        "SIP/2.0 {status}\r\nVia: {}\r\nFrom: {}\r\nTo: {};tag=peer\r\nCall-ID: {}\r\nCSeq: {}\r\n{extra}Content-Length: 0\r\n\r\n",
        header(text, "Via"),
        header(text, "From"),
        header(text, "To"),
        header(text, "Call-ID"),
        header(text, "CSeq"),
    )
}
