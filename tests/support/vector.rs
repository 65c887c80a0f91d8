//! One conversation: a gateway, a clock that steps move, and a script that says what must come out.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mostar::config::{Config, Record};
use mostar::gateway::{Forward, Gateway, Input, LinkChange, LinkId, Output, StoreChange};
use mostar::msrp::frame::decoder::Decoder;
use mostar::msrp::{Link, MsrpIn, MsrpOut};
use mostar::shell::record::{Recorder, Share};
use mostar::sip::flow::{BadSip, ConnId, Flow, SendId, SipOut, Transport};
use mostar::sip::framing;
use mostar::words::id::{Partition, Seed};
use mostar::words::note::{Level, Note};
use mostar::words::time::{Now, Tick, Wall};
use mostar::xmpp::stanza::Stanza;

use super::books::Books;
pub use super::config::config;
use super::heard::Heard;
use super::msrp::Msrp;
use super::pattern::{self, Bindings};
use super::recorded::{self, Recorded};
use super::script::{Script, Step};
use super::settings;
use super::written::{compare, complete, header_of};
use super::xml;

/// Runs a conversation; the error says at which line it went wrong, and what came out instead.
pub fn run(text: &str) -> Result<(), String> {
    let script: Script = text.parse()?;
    let mut world = World::of(&script)?;
    for step in &script.steps {
        world.step(step).map_err(|error| world.located(step, &error))?;
    }
    world.expect_silence().map_err(|error| format!("at the end\n{error}{}", world.tail()))
}

/// Plays a conversation as [`run`] does, as far as it goes, and gives its world with all that was heard and said in it.
pub fn played(text: &str) -> Result<World, String> {
    let script: Script = text.parse()?;
    let mut world = World::of(&script)?;
    let _ = script.steps.iter().try_for_each(|step| world.step(step));
    Ok(world)
}

/// Plays a conversation as [`run`] does, with recorders beside it, one of which tells what people wrote: what they wrote
/// down, where anything was said. They do not see what comes after a restart, which is another process.
pub fn record(text: &str, folder: &Path) -> Result<Vec<(bool, String)>, String> {
    let script: Script = text.parse()?;
    let settings: Vec<&str> = script.settings().map(|(_, setting)| setting).collect();
    // One that changes nothing where there is none.
    let config =
        if settings.is_empty() { "messages.late_errors=true".into() } else { settings.join("\nconfig ") };
    let recorder = |bodies: bool| {
        let folder = folder.join(bodies.to_string());
        let settings = Record { folder, bodies, limit: u64::MAX, config: config.clone() };
        Recorder::new(settings, Share { number: 0, home: Partition(0) })
    };
    let mut world = World::heard(&script, [true, false].map(recorder).into())?;
    for step in &script.steps {
        world.step(step).map_err(|error| world.located(step, &error))?;
    }
    let read = |bodies: bool| {
        let file = std::fs::read_dir(folder.join(bodies.to_string())).ok()?.next()?.ok()?;
        Some((bodies, std::fs::read_to_string(file.path()).ok()?))
    };
    Ok([true, false].into_iter().filter_map(read).collect())
}

/// A gateway with everything around it.
pub struct World {
    config: Arc<Config>,
    gateway: Gateway,
    /// The calendar at tick zero.
    beginning: Wall,
    /// Every input is written down, alarms too, and nothing is filled in.
    is_recorded: bool,
    /// The script says what comes of OPTIONS to a person.
    shows_questions: bool,
    /// Nobody answers the OPTIONS with which the peer is watched.
    peer_is_silent: bool,
    /// Milliseconds since the beginning.
    now: Tick,
    pub books: Books,
    xmpp: VecDeque<Came<Stanza>>,
    sip: VecDeque<Came<SipOut>>,
    msrp: VecDeque<Came<String>>,
    connections: Msrp,
    came: u64,
    pub bindings: Bindings,
    last_request: Option<(SipOut, String)>,
    last_arrived: Option<String>,
    arrived: u64,
    log: Vec<String>,
    lives: u8,
    recorders: Vec<Recorder>,
    /// Everything that came in, and when.
    pub heard: Vec<(Tick, Heard)>,
    /// The bytes of everything that came out.
    pub said: Vec<Vec<u8>>,
}

/// Something that came out and waits to be expected.
struct Came<T> {
    /// Which it is, both sides counted together.
    number: u64,
    at: Tick,
    what: T,
}

/// Something that came out.
pub struct Taken {
    /// When.
    pub at: Tick,
    /// As it went out.
    pub text: String,
    /// `tcp` or `udp`, of a SIP message.
    pub over: &'static str,
}

/// 2026-11-21T00:00:00Z: when every vector begins.
const BEGINNING: Wall = Wall(1_795_219_200_000);

impl World {
    /// The world of a script, before its first step.
    pub fn of(script: &Script) -> Result<World, String> {
        World::heard(script, Vec::new())
    }

    fn heard(script: &Script, recorders: Vec<Recorder>) -> Result<World, String> {
        let mut config = config();
        let mut recorded = Recorded::default();
        for (number, setting) in script.settings() {
            let at_line = |error| format!("line {number}: {error}");
            if setting.starts_with('{') {
                config = recorded::config(setting).map_err(at_line)?;
                continue;
            }
            let setting = setting.split_whitespace().next().unwrap_or_default();
            if let Some(setting) = setting.strip_prefix("recorded.") {
                recorded.set(setting).map_err(at_line)?;
            } else {
                settings::set(&mut config, setting).map_err(at_line)?;
            }
        }
        let mut world = World::begin(config, recorded, recorders);
        world.shows_questions = script.steps.iter().any(|step| step.body().starts_with("OPTIONS sip:"));
        Ok(world)
    }

    /// A started gateway whose link is up.
    pub fn new(config: Config) -> World {
        World::begin(config, Recorded::default(), Vec::new())
    }

    fn begin(config: Config, recorded: Recorded, recorders: Vec<Recorder>) -> World {
        let config = Arc::new(config);
        let mut world = World {
            gateway: recorded.gateway(&config),
            beginning: recorded.wall.unwrap_or(BEGINNING),
            is_recorded: recorded.wall.is_some(),
            shows_questions: false,
            peer_is_silent: false,
            config,
            now: Tick(0),
            books: Books::default(),
            xmpp: VecDeque::new(),
            sip: VecDeque::new(),
            msrp: VecDeque::new(),
            connections: Msrp::default(),
            came: 0,
            bindings: Bindings::new(),
            last_request: None,
            last_arrived: None,
            arrived: 0,
            log: Vec::new(),
            lives: 1,
            recorders,
            heard: Vec::new(),
            said: Vec::new(),
        };
        if !world.is_recorded {
            world.handle(Input::Restoring);
            world.handle(Input::RestoreDone);
            world.links_up();
        }
        world
    }

    fn clock(&self) -> Now {
        Now { tick: self.now, wall: self.beginning + Duration::from_micros(self.now.0) }
    }

    fn handle(&mut self, input: Input) {
        let clock = self.clock();
        for recorder in &mut self.recorders {
            recorder.input(clock, &input, self.gateway.next_timeout().map(|(_, why)| why));
        }
        self.heard.extend(Heard::of(&input).map(|heard| (self.now, heard)));
        self.gateway.handle(clock, input);
        self.drain();
    }

    fn came<T>(&mut self, what: T) -> Came<T> {
        self.came += 1;
        Came { number: self.came, at: self.now, what }
    }

    fn drain(&mut self) {
        let mut answers = Vec::new();
        let mut told = Vec::new();
        while let Some(output) = self.gateway.poll() {
            for recorder in &mut self.recorders {
                recorder.output(&output);
            }
            let output = match output {
                Output::Now(inner) => *inner,
                other => other,
            };
            if self.books.see(&output) {
                continue;
            }
            match &output {
                Output::Stanza(_, stanza) => self.said.push(stanza.to_xml().into_bytes()),
                Output::Sip(out) => self.said.push(out.bytes.to_vec()),
                Output::Msrp(MsrpOut::Send { bytes, .. }) => self.said.push(bytes.to_vec()),
                _ => {}
            }
            match output {
                Output::Stanza(link, stanza) => {
                    // Anything else would end the stream (XEP-0114 §3).
                    let from = stanza.from().map(|from| from.domain().to_owned());
                    let own = self.config.xmpp.components[link.0].domain.clone();
                    assert!(from == Some(own) && stanza.to().is_some(), "{}", stanza.to_xml());
                    let came = self.came(stanza);
                    self.xmpp.push_back(came);
                }
                Output::Sip(out) if self.answers_itself(&out) => answers.push(out),
                Output::Sip(out) => {
                    let came = self.came(out);
                    self.sip.push_back(came);
                }
                Output::Msrp(out) => {
                    let (texts, drained) = self.connections.came_out(&out);
                    for text in texts {
                        let came = self.came(text);
                        self.msrp.push_back(came);
                    }
                    told.extend(drained);
                }
                Output::Note(Note::Log { level, event, fields }) if level <= Level::Info => {
                    let fields: Vec<_> =
                        fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
                    self.log.push(format!("{event} {}", fields.join(" ")));
                }
                Output::Close(_)
                | Output::Resolve(_)
                | Output::Note(_)
                | Output::Save(_)
                | Output::Forget(_)
                | Output::Forward(_)
                | Output::Now(_)
                | Output::Fetch(_)
                | Output::Explained(..)
                | Output::Stopped => {}
            }
        }
        for recorder in &mut self.recorders {
            recorder.end_of_step();
        }
        for told in told {
            self.handle(Input::Msrp(told));
        }
        if self.peer_is_silent {
            answers.clear();
        }
        for options in answers {
            let answer = complete("SIP/2.0 200 OK\n", Some(&String::from_utf8_lossy(&options.bytes)), 0);
            self.arrive(Transport::Tcp, None, answer.into_bytes());
        }
    }

    /// OPTIONS, unless the script says what comes of one that asks a person's devices.
    fn answers_itself(&self, out: &SipOut) -> bool {
        let is_question = |line: &str| line.starts_with("OPTIONS ") && line.contains('@');
        let first = out.bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let first = String::from_utf8_lossy(first);
        !self.is_recorded && first.starts_with("OPTIONS ") && !(self.shows_questions && is_question(&first))
    }

    /// Bytes come in from the peer, or from somebody else.
    pub fn arrive(&mut self, transport: Transport, from: Option<SocketAddr>, bytes: Vec<u8>) {
        let own = |listen: &&mostar::config::Listen| listen.transport == transport;
        let any = "192.0.2.9:5060".parse().unwrap();
        let remote = from.unwrap_or_else(|| "192.0.2.1:5060".parse().unwrap());
        let flow = Flow {
            transport,
            local: self.config.sip.listen.iter().find(own).map_or(any, |listen| listen.address),
            remote,
            conn: (transport == Transport::Tcp).then_some(ConnId(u64::from(remote.port()))),
        };
        let input = match framing::datagram(Bytes::from(bytes)) {
            Ok(message) => Input::Sip(flow, Box::new(message)),
            Err(bad) => Input::BadSip(flow, BadSip { fatal: false, ..bad }),
        };
        self.handle(input);
    }

    /// Moves the clock to `until`, alarm by alarm.
    pub fn advance(&mut self, until: Tick) -> Result<(), String> {
        if self.is_recorded {
            self.now = self.now.max(until);
            return Ok(());
        }
        for _ in 0..100_000 {
            match self.gateway.next_timeout() {
                Some((at, _)) if at <= until => {
                    self.now = self.now.max(at);
                    self.handle(Input::Timeout);
                }
                _ => {
                    self.now = self.now.max(until);
                    return Ok(());
                }
            }
        }
        Err(format!("an alarm rings for ever: {:?}", self.gateway.next_timeout()))
    }

    /// A stanza comes in, as text.
    pub fn stanza_in(&mut self, text: &str) {
        let stanza = Stanza::from_element(xml::parse(text).unwrap()).unwrap();
        self.handle(Input::Stanza(self.link_to(&stanza), stanza));
    }

    /// The stanzas that came out since the last call, with what is minted anew in each run left out.
    pub fn take_stanzas(&mut self) -> Vec<String> {
        let unminted = |mut stanza: Stanza| {
            if stanza.id().is_some_and(|id| Partition::of_token(id).is_some()) {
                stanza.element.set("id", "minted");
            }
            stanza.to_xml()
        };
        self.xmpp.drain(..).map(|came| unminted(came.what)).collect()
    }

    /// The SIP messages that came out since the last call.
    pub fn take_messages(&mut self) -> Vec<String> {
        self.sip.drain(..).map(|came| text_of(&came.what)).collect()
    }

    /// A frame of MSRP comes in on the first connection.
    pub fn frame_in(&mut self, bytes: &[u8]) {
        let mut decoder = Decoder::new(1 << 20);
        decoder.push(bytes);
        let frame = decoder.next_frame().expect("it is whole").expect("it is MSRP");
        let link = Link { conn: mostar::msrp::ConnId(1), secure: false };
        self.handle(Input::Msrp(MsrpIn::Frame { link, frame: Box::new(frame) }));
    }

    /// The frames of MSRP that came out since the last call.
    pub fn take_frames(&mut self) -> Vec<String> {
        self.msrp.drain(..).map(|came| came.what).collect()
    }

    /// Answers the pings among the stanzas that came out, and takes them away.
    pub fn answer_pings(&mut self) {
        let is_ping = |came: &Came<Stanza>| came.what.element.child("ping", mostar::xmpp::ns::PING).is_some();
        let (pings, rest): (VecDeque<_>, _) = self.xmpp.drain(..).partition(is_ping);
        self.xmpp = rest;
        for pong in pings.iter().filter_map(|ping| ping.what.result()) {
            self.handle(Input::Stanza(self.link_to(&pong), pong));
        }
    }

    /// Answers a request that came out, given as text; what the answer leaves out is filled in.
    pub fn answer_last(&mut self, request: &str, answer: &str) {
        let bytes = complete(answer, Some(request), 0).into_bytes();
        self.arrive(Transport::Tcp, None, bytes);
    }

    /// What the gateway still holds.
    #[allow(dead_code, reason = "not all tests look at the books")]
    pub fn load(&self) -> usize {
        self.gateway.load()
    }

    pub fn expect_silence(&self) -> Result<(), String> {
        if self.xmpp.is_empty() && self.sip.is_empty() && self.msrp.is_empty() {
            return Ok(());
        }
        Err(format!("came out and was not expected:\n{}", self.pending()))
    }

    fn pending(&self) -> String {
        let stanzas = self.xmpp.iter().map(|came| format!("xmpp out\n    {}\n", came.what.to_xml()));
        let messages = self
            .sip
            .iter()
            .map(|came| format!("sip out\n    {}\n", text_of(&came.what).replace("\r\n", "\n    ")));
        let frames =
            self.msrp.iter().map(|came| format!("msrp out\n    {}\n", came.what.replace("\r\n", "\n    ")));
        stanzas.chain(messages).chain(frames).collect()
    }

    fn tail(&self) -> String {
        let recent: Vec<_> =
            self.log.iter().rev().take(5).rev().map(|line| format!("\n  log: {line}")).collect();
        recent.concat()
    }

    /// An error with its place and what was logged before it.
    pub fn located(&self, step: &Step, error: &str) -> String {
        format!("line {}: @{}\n{error}{}", step.line, step.what, self.tail())
    }

    pub fn step(&mut self, step: &Step) -> Result<(), String> {
        self.books.judge(&self.config, self.clock().wall)?;
        let (at, words) = step.words()?;
        self.advance(at)?;
        if let Some(side) = Side::expected(&words)? {
            self.expect(side, 0, &step.body())?;
            self.take(side);
            return Ok(());
        }
        self.expect_silence()?;
        self.act(&words, &step.body())
    }

    /// Whether what waits at this place is what a step says: then names are bound, and it waits on.
    pub fn expect(&mut self, side: Side, place: usize, body: &str) -> Result<(), String> {
        match side {
            Side::Xmpp => self.expect_stanza(place, body),
            Side::Sip(transport) => self.expect_sip(place, body, transport),
            Side::Msrp => self.expect_msrp(place, body),
        }
    }

    /// How much waits on a side.
    pub fn waiting(&self, side: Side) -> usize {
        match side {
            Side::Xmpp => self.xmpp.len(),
            Side::Sip(_) => self.sip.len(),
            Side::Msrp => self.msrp.len(),
        }
    }

    /// What came out first on a side.
    pub fn first_text(&self, side: Side) -> Option<String> {
        match side {
            Side::Xmpp => self.xmpp.front().map(|came| came.what.to_xml()),
            Side::Sip(_) => self.sip.front().map(|came| text_of(&came.what)),
            Side::Msrp => self.msrp.front().map(|came| came.what.clone()),
        }
    }

    /// The side on which something has waited longest.
    pub fn first_waiting(&self) -> Option<Side> {
        let xmpp = self.xmpp.front().map(|came| (came.number, Side::Xmpp));
        let sip = self.sip.front().map(|came| (came.number, Side::Sip(None)));
        let msrp = self.msrp.front().map(|came| (came.number, Side::Msrp));
        xmpp.into_iter().chain(sip).chain(msrp).min_by_key(|(number, _)| *number).map(|(_, side)| side)
    }

    /// Takes what came out first on a side; the next answer that comes in is for that.
    pub fn take(&mut self, side: Side) -> Option<Taken> {
        if side == Side::Xmpp {
            let came = self.xmpp.pop_front()?;
            return Some(Taken { at: came.at, text: came.what.to_xml(), over: "" });
        }
        if side == Side::Msrp {
            let came = self.msrp.pop_front()?;
            return Some(Taken { at: came.at, text: came.what, over: "" });
        }
        let came = self.sip.pop_front()?;
        let (text, over) = (text_of(&came.what), came.what.target.transport.param());
        if !text.starts_with("SIP/2.0") {
            self.last_request = Some((came.what, text.clone()));
        }
        Some(Taken { at: came.at, text, over })
    }

    /// Does what a step says.
    pub fn act(&mut self, words: &[&str], body: &str) -> Result<(), String> {
        let (words, link) = match words {
            [words @ .., "link", link] => (words, Some(LinkId(link.parse().map_err(|_| "link NUMBER")?))),
            _ => (words, None),
        };
        match words {
            [] | ["idle" | "tick"] => {}
            ["begin"] => self.handle(Input::RestoreDone),
            ["ring", _] => self.handle(Input::Timeout),
            ["resolved", kind, name] => {
                let (query, found) = recorded::resolved(kind, name, body).ok_or("resolved KIND NAME")?;
                self.handle(Input::Resolved(query, found));
            }
            ["xmpp", "in"] => {
                let element = xml::parse(&pattern::fill(body, &self.bindings))?;
                self.handle(match Stanza::from_element(element) {
                    Ok(stanza) => Input::Stanza(link.unwrap_or_else(|| self.link_to(&stanza)), stanza),
                    Err(element) => Input::BadStanza(link.unwrap_or(LinkId(0)), element),
                });
            }
            ["sip", "in", rest @ ..] => {
                let transport = if rest.contains(&"udp") { Transport::Udp } else { Transport::Tcp };
                let from = match rest.iter().position(|word| *word == "from") {
                    Some(at) => {
                        Some(rest.get(at + 1).and_then(|text| text.parse().ok()).ok_or("from ADDRESS:PORT")?)
                    }
                    None => None,
                };
                let text = pattern::fill(body, &self.bindings);
                self.arrived += 1;
                let model = if text.starts_with("SIP/2.0") {
                    let cseq = header_of(&text, "CSeq");
                    match &self.last_request {
                        Some((out, _)) if cseq.is_none() => Some(text_of(out)),
                        _ => None,
                    }
                } else {
                    None
                };
                let complete = if self.is_recorded {
                    recorded::complete(&text)
                } else {
                    complete(&text, model.as_deref(), self.arrived)
                };
                self.last_arrived = Some(complete.clone());
                self.arrive(transport, from, complete.into_bytes());
            }
            ["msrp", rest @ ..] => {
                let told = self.connections.happens(rest, &pattern::fill(body, &self.bindings))?;
                self.handle(Input::Msrp(told));
            }
            ["sip", "again"] => {
                let again = self.last_arrived.clone().ok_or("nothing came in yet")?;
                self.arrive(Transport::Tcp, None, again.into_bytes());
            }
            ["xmpp", "down"] => self.handle(Input::Link(link.unwrap_or(LinkId(0)), LinkChange::Down)),
            ["xmpp", "up"] => self.handle(Input::Link(link.unwrap_or(LinkId(0)), LinkChange::Up)),
            ["store", "ok"] => self.handle(Input::Store(StoreChange::Ok)),
            ["store", "low"] => self.handle(Input::Store(StoreChange::Low)),
            ["store", "down"] => self.handle(Input::Store(StoreChange::Down)),
            ["stop"] => self.handle(Input::Stop),
            ["calendar", seconds] => {
                let seconds: i64 = seconds.parse().map_err(|_| "calendar SECONDS")?;
                self.beginning = Wall(self.beginning.0.saturating_add_signed(seconds * 1000));
            }
            ["peer", "silent"] => self.peer_is_silent = true,
            ["peer", "answers"] => self.peer_is_silent = false,
            ["peer", "back", peer] => {
                let peer = peer.parse().map_err(|_| "peer back NUMBER")?;
                self.handle(Input::Forwarded(Forward::PeerBack(peer)));
            }
            ["send", "failed", id] => {
                let id = SendId(id.parse().map_err(|_| "send failed NUMBER")?);
                self.handle(Input::SendFailed(id, "connection refused".into()));
            }
            ["send", "failed"] => {
                let id = self.last_request.as_ref().and_then(|(out, _)| out.id).unwrap_or(SendId(0));
                self.handle(Input::SendFailed(id, "connection refused".into()));
            }
            ["restart"] => self.restart(),
            other => return Err(format!("no step is called {}", other.join(" "))),
        }
        Ok(())
    }

    fn restart(&mut self) {
        self.lives += 1;
        self.recorders.clear();
        self.gateway = Gateway::new(self.config.clone(), Seed([self.lives; 32]));
        self.handle(Input::Restoring);
        // One partition after the other, as a process does it.
        let records = self.books.restart();
        for number in (0..=255).rev().map(Partition) {
            for record in records.iter().filter(|record| record.partition == number) {
                self.handle(Input::Restored(record.clone()));
            }
            self.handle(Input::Whole(number));
        }
        self.handle(Input::RestoreDone);
        self.links_up();
    }

    fn links_up(&mut self) {
        for link in 0..self.config.xmpp.components.len() {
            self.handle(Input::Link(LinkId(link), LinkChange::Up));
        }
    }

    /// The link over which a stanza comes, where the script does not say: that of its domain, else the first.
    fn link_to(&self, stanza: &Stanza) -> LinkId {
        let domain = stanza.to().map(|to| to.domain());
        let all = &self.config.xmpp.components;
        LinkId(all.iter().position(|known| Some(known.domain.as_str()) == domain).unwrap_or_default())
    }

    fn expect_stanza(&mut self, place: usize, body: &str) -> Result<(), String> {
        let Some(came) = self.xmpp.get(place) else {
            return Err(format!("no stanza came out; waiting:\n{}", self.pending()));
        };
        let expected = xml::lines(&xml::parse(body)?);
        let printed = came.what.to_xml();
        super::foreign::reads_stanza(&printed)?;
        let got = xml::lines(&xml::parse(&printed)?);
        if pattern::block(&expected, &got, &mut self.bindings) {
            return Ok(());
        }
        Err(format!("expected\n{expected}came out\n{got}as\n    {printed}\n"))
    }

    fn expect_sip(&mut self, place: usize, body: &str, transport: Option<Transport>) -> Result<(), String> {
        let Some(came) = self.sip.get(place) else {
            return Err(format!("no SIP message came out; waiting:\n{}", self.pending()));
        };
        let text = text_of(&came.what);
        let used = came.what.target.transport;
        if transport.is_some_and(|wanted| wanted != used) {
            return Err(format!("came out over {used}\n{text}"));
        }
        if let Err(why) = compare(body, &text, &mut self.bindings) {
            return Err(format!("{why}\ncame out\n    {}\n", text.replace("\r\n", "\n    ")));
        }
        super::foreign::reads(&came.what.bytes)
    }
}

/// A frame is compared like a SIP message.
impl World {
    fn expect_msrp(&mut self, place: usize, body: &str) -> Result<(), String> {
        let Some(came) = self.msrp.get(place) else {
            return Err(format!("nothing of MSRP came out; waiting:\n{}", self.pending()));
        };
        let text = came.what.clone();
        compare(body, &text, &mut self.bindings)
            .map_err(|why| format!("{why}\ncame out\n    {}\n", text.replace("\r\n", "\n    ")))
    }
}

/// Where a step expects something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `xmpp out`
    Xmpp,
    /// `sip out`, with the transport where one is written.
    Sip(Option<Transport>),
    /// `msrp out`
    Msrp,
}

impl Side {
    /// Whether both are XMPP, both SIP or both MSRP.
    pub fn is_same(self, other: Side) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }

    /// The side of a step that expects something; nothing for one that does something.
    pub fn expected(words: &[&str]) -> Result<Option<Side>, String> {
        Ok(match words {
            ["xmpp", "out"] => Some(Side::Xmpp),
            ["msrp", "out"] => Some(Side::Msrp),
            ["sip", "out"] => Some(Side::Sip(None)),
            ["sip", "out", "udp"] => Some(Side::Sip(Some(Transport::Udp))),
            ["sip", "out", "tcp"] => Some(Side::Sip(Some(Transport::Tcp))),
            [_, "out", ..] => {
                return Err("`xmpp out`, `msrp out`, `sip out`, `sip out udp` or `sip out tcp`".into());
            }
            _ => None,
        })
    }
}

fn text_of(out: &SipOut) -> String {
    String::from_utf8_lossy(&out.bytes).into_owned()
}
