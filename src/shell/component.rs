//! Keeps one component link up for ever: connect, open the stream, prove the secret, carry stanzas, notice death, retry.
//!
//! XEP-0114, with the keep-alive of XEP-0199: when nothing has come for a while, a ping goes to our own domain, which
//! every server sends back to us. Any byte counts as life. What the server sends is taken no faster than its receiver
//! takes it: the channel is bounded, and a full one stops the reading. A stanza over a limit is answered here, see
//! `docs/decisions/component-stream.md`.
//!
//! What is still queued when a stream ends is dropped before the next [`LinkEvent::Up`]: its sender has been told by
//! [`LinkEvent::Down`] that whatever was not confirmed may be lost, and sends it again itself.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::link_end::{self, End};
use super::sockets;
use crate::config::Secret;
use crate::gateway::io::LinkId;
use crate::words::note::{Level, Note};
use crate::xmpp::jid::Jid;
use crate::xmpp::ns;
use crate::xmpp::stanza::Element;
use crate::xmpp::stream::{self, Event, Limits, Refused, Stream};

/// What a link is to be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which of the components.
    pub id: LinkId,
    /// `host:port` of the server's component listener, resolved anew for each attempt.
    pub server: String,
    /// The component's domain.
    pub domain: String,
    /// What the handshake proves.
    pub secret: Secret,
    /// What one stanza may cost.
    pub limits: Limits,
    /// How patient it is.
    pub timing: Timing,
}

/// How patient a link is.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// The first pause between two attempts; it doubles up to `longest_pause`.
    pub shortest_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// How long the server may take to accept a connection, and then the handshake.
    pub answer: Duration,
    /// A ping goes after this much silence.
    pub quiet: Duration,
    /// The link is dead after this much silence, or when a write takes this long.
    pub dead: Duration,
    /// How long the server may take to close when we have closed.
    pub goodbye: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            shortest_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(30),
            answer: Duration::from_secs(10),
            quiet: Duration::from_secs(10),
            dead: Duration::from_secs(25),
            goodbye: Duration::from_secs(1),
        }
    }
}

/// What happens on a link.
#[derive(Debug)]
pub enum LinkEvent {
    /// The handshake is accepted; stanzas given from now on go out.
    Up,
    /// The stream has ended; stanzas that were not confirmed may be lost.
    Down,
    /// The server sent stanzas, or something else at that level: what came together, in order.
    Elements(Vec<Element>),
}

/// The way to a running link.
#[derive(Clone, Debug)]
pub struct LinkHandle {
    /// Takes stanzas as they stand on the stream. Full means that the server takes less than we send.
    pub stanzas: mpsc::Sender<Bytes>,
}

/// A running link's life.
#[derive(Debug)]
pub struct LinkTask {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl LinkTask {
    /// Sends what is queued, closes the stream, and waits until the server has closed too, but not for long.
    pub async fn close(self) {
        self.stop.send_replace(true);
        // A panic of the task has been reported by the runtime already.
        let _ = self.task.await;
    }
}

/// How many pieces of the stream may wait to be written; what was sent meanwhile is one of them.
const QUEUE: usize = 4096;
/// How many of them are written at one go.
const TOGETHER: usize = 256;
/// How much is read at one go.
const READ: usize = 32 * 1024;

/// Starts a link. It ends when it is closed, or when nobody takes its events any more.
pub fn start(
    settings: Settings,
    events: mpsc::Sender<(LinkId, LinkEvent)>,
    notes: mpsc::Sender<Note>,
) -> (LinkHandle, LinkTask) {
    let (stanzas, queue) = mpsc::channel(QUEUE);
    let (stop, stopping) = watch::channel(false);
    let link = Link { settings, queue, own: stanzas.clone(), events, notes, stopping };
    (LinkHandle { stanzas }, LinkTask { stop, task: tokio::spawn(link.run()) })
}

struct Link {
    settings: Settings,
    queue: mpsc::Receiver<Bytes>,
    /// The other end of `queue`, for what the link itself has to say.
    own: mpsc::Sender<Bytes>,
    events: mpsc::Sender<(LinkId, LinkEvent)>,
    notes: mpsc::Sender<Note>,
    stopping: watch::Receiver<bool>,
}

impl Link {
    async fn run(mut self) {
        let mut pause = self.settings.timing.shortest_pause;
        loop {
            let mut stopping = self.stopping.clone();
            let opened = tokio::select! {
                opened = open(&self.settings) => opened,
                _ = stopping.wait_for(|stop| *stop) => return,
            };
            let began = Instant::now();
            let end = match opened {
                Ok(opened) => self.session(opened).await,
                Err(end) => end,
            };
            if *stopping.borrow() || self.events.is_closed() {
                return;
            }
            // A link that is thrown out at once, again and again, must not hammer the server.
            if began.elapsed() > self.settings.timing.longest_pause {
                pause = self.settings.timing.shortest_pause;
            }
            let wait = jittered(pause);
            self.note(end.note(&self.settings, wait));
            pause = (pause * 2).min(self.settings.timing.longest_pause);
            tokio::select! {
                () = sleep(wait) => {}
                _ = stopping.wait_for(|stop| *stop) => return,
            }
            if end.is_about_the_secret() {
                self.read_secret().await;
            }
        }
    }

    /// The secret may have been mended since it was refused.
    async fn read_secret(&mut self) {
        let secret = self.settings.secret.clone();
        match tokio::task::spawn_blocking(move || secret.read_again()).await {
            Ok(Ok(secret)) => self.settings.secret = secret,
            Ok(Err((reason, advice))) => self.note(link_end::unread(&self.settings, reason, advice)),
            // The runtime ends.
            Err(_) => {}
        }
    }

    /// Carries stanzas until the stream ends.
    async fn session(&mut self, opened: Opened) -> End {
        let Opened { socket, stream, early, address } = opened;
        while self.queue.try_recv().is_ok() {
            self.note(dropped("link-down"));
        }
        let id = self.settings.id;
        if self.events.send((id, LinkEvent::Up)).await.is_err() {
            return End::Stopped;
        }
        self.note(Note::Log {
            level: Level::Info,
            event: "link-up",
            fields: vec![
                ("component", self.settings.domain.clone()),
                ("server", self.settings.server.clone()),
                ("address", address.to_string()),
            ],
        });
        let end = self.carry(socket, stream, early).await;
        // When the process ends, nobody may be there to take it.
        if *self.stopping.borrow() {
            let _ = self.events.try_send((id, LinkEvent::Down));
        } else {
            let _ = self.events.send((id, LinkEvent::Down)).await;
        }
        end
    }

    async fn carry(&mut self, socket: TcpStream, stream: Stream, early: Vec<Event>) -> End {
        let Link { settings, queue, own, events, notes, stopping } = self;
        let (read, mut write) = socket.into_split();
        let pulse = Pulse::new();
        let end = {
            let reader = Reader { settings, own, events, notes, pulse: &pulse };
            let reading = reader.run(read, stream, early);
            let writing = write_queue(&mut write, queue, stopping, settings.timing.dead);
            tokio::pin!(reading);
            tokio::select! {
                end = &mut reading => end,
                end = writing => {
                    if matches!(end, End::Stopped) {
                        // The server answers our closing tag with its own.
                        let _ = timeout(settings.timing.goodbye, reading).await;
                    }
                    end
                }
                () = keep_alive(settings, own, &pulse) => End::Dead(settings.timing.dead),
            }
        };
        if matches!(end, End::Dead(_) | End::Stuck(_)) {
            // What the server has not taken by now goes again on the next stream. Without this the system would go on
            // sending it, and a network that comes back would bring it behind what is newer.
            let _ = write.as_ref().set_zero_linger();
        }
        if matches!(end, End::Closed | End::Refused(_) | End::Broken(_)) {
            // Politeness only: the connection is given up in any case.
            let _ = timeout(settings.timing.goodbye, write.write_all(stream::CLOSE.as_bytes())).await;
        }
        end
    }

    fn note(&self, note: Note) {
        // A full channel means that the log is far behind; a link does not wait for it.
        let _ = self.notes.try_send(note);
    }
}

/// A stream on which the handshake has been accepted.
struct Opened {
    socket: TcpStream,
    stream: Stream,
    /// What came in the same piece as the acceptance.
    early: Vec<Event>,
    address: SocketAddr,
}

async fn open(settings: &Settings) -> Result<Opened, End> {
    let patience = settings.timing.answer;
    let addresses = match timeout(patience, sockets::named(&settings.server)).await {
        Err(_) => return Err(End::Unresolved("the resolver does not answer".into())),
        Ok(Err(error)) => return Err(End::Unresolved(error.to_string())),
        Ok(Ok(found)) => found,
    };
    let mut failure = End::Unresolved("the name has no address".into());
    for permit in addresses {
        let address = permit.address();
        match timeout(patience, sockets::connect(permit)).await {
            Err(_) => failure = End::Unreachable(address, "no answer to the connection".into()),
            Ok(Err(error)) => failure = End::Unreachable(address, error.to_string()),
            Ok(Ok(socket)) => {
                return timeout(patience, negotiate(socket, address, settings))
                    .await
                    .unwrap_or(Err(End::Silent(address)));
            }
        }
    }
    Err(failure)
}

async fn negotiate(mut socket: TcpStream, address: SocketAddr, settings: &Settings) -> Result<Opened, End> {
    let lost = |error: std::io::Error| End::Lost(error.to_string());
    socket.set_nodelay(true).map_err(lost)?;
    socket.write_all(stream::open(&settings.domain).as_bytes()).await.map_err(lost)?;
    let mut stream = Stream::new(settings.limits);
    let mut buffer = BytesMut::with_capacity(READ);
    loop {
        if socket.read_buf(&mut buffer).await.map_err(lost)? == 0 {
            return Err(End::Lost("the server hung up before the stream was open".into()));
        }
        let mut events = Vec::new();
        stream.receive(&buffer, &mut events);
        buffer.clear();
        let mut events = events.into_iter();
        while let Some(event) = events.next() {
            match event {
                Event::Opened { id } => {
                    let proof = stream::handshake(&id, settings.secret.reveal());
                    socket.write_all(proof.as_bytes()).await.map_err(lost)?;
                }
                Event::Accepted => {
                    return Ok(Opened { socket, stream, early: events.collect(), address });
                }
                Event::Error(error) => return Err(End::Refused(error)),
                Event::Closed => return Err(End::Closed),
                Event::Broken(reason) => return Err(End::Broken(reason)),
                // The machine gives stanzas only after the handshake.
                Event::Element(_) | Event::Refused(_) => {}
            }
        }
    }
}

/// When the server was last heard.
struct Pulse {
    start: Instant,
    heard: AtomicU64,
    /// The reader waits for whoever takes the events: the silence is ours.
    busy: AtomicBool,
}

impl Pulse {
    fn new() -> Pulse {
        Pulse { start: Instant::now(), heard: AtomicU64::new(0), busy: AtomicBool::new(false) }
    }

    fn beat(&self) {
        self.heard.store(self.start.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    fn silence(&self) -> Duration {
        if self.busy.load(Ordering::Relaxed) {
            return Duration::ZERO;
        }
        let heard = Duration::from_millis(self.heard.load(Ordering::Relaxed));
        self.start.elapsed().saturating_sub(heard)
    }
}

/// A sleep that lasts so much too long was none: the process was stopped, or its machine.
const STOOD_STILL: Duration = Duration::from_secs(2);

/// Pings when it is quiet; ends when the link is dead.
async fn keep_alive(settings: &Settings, own: &mpsc::Sender<Bytes>, pulse: &Pulse) {
    let Timing { quiet, dead, .. } = settings.timing;
    let ping = Element::new("iq", ns::COMPONENT)
        .with("type", "get")
        .with("id", "keep-alive")
        .with("from", &settings.domain)
        .with("to", &settings.domain)
        .with_child(Element::new("ping", ns::PING));
    let mut bytes = String::new();
    ping.write(ns::COMPONENT, &mut bytes);
    let bytes = Bytes::from(bytes);
    loop {
        let silence = pulse.silence();
        if silence >= dead {
            return;
        }
        let wait = if silence < quiet {
            quiet - silence
        } else {
            // A full queue is being written, or else the writer finds the link dead.
            let _ = own.try_send(bytes.clone());
            (dead - silence).min(quiet)
        };
        let slept = Instant::now();
        sleep(wait).await;
        if slept.elapsed() > wait + STOOD_STILL {
            // The process did not run: the silence was ours, and what the server has said meanwhile is not read yet.
            pulse.beat();
        }
    }
}

struct Reader<'a> {
    settings: &'a Settings,
    own: &'a mpsc::Sender<Bytes>,
    events: &'a mpsc::Sender<(LinkId, LinkEvent)>,
    notes: &'a mpsc::Sender<Note>,
    pulse: &'a Pulse,
}

impl Reader<'_> {
    async fn run(&self, mut read: OwnedReadHalf, mut stream: Stream, mut events: Vec<Event>) -> End {
        let mut buffer = BytesMut::with_capacity(READ);
        loop {
            self.pulse.busy.store(true, Ordering::Relaxed);
            if let Some(end) = self.take(&mut events).await {
                return end;
            }
            self.pulse.beat();
            self.pulse.busy.store(false, Ordering::Relaxed);
            buffer.clear();
            match read.read_buf(&mut buffer).await {
                Ok(0) => return End::Lost("the server hung up".into()),
                Ok(_) => {
                    acknowledge(read.as_ref());
                    stream.receive(&buffer, &mut events);
                }
                Err(error) => return End::Lost(error.to_string()),
            }
        }
    }

    /// Hands on what was read at one go.
    async fn take(&self, events: &mut Vec<Event>) -> Option<End> {
        let (mut elements, mut end) = (Vec::new(), None);
        for event in events.drain(..) {
            match event {
                Event::Element(element) if self.is_own(&element) => {}
                Event::Element(element) => elements.push(element),
                Event::Refused(refused) => self.refused(&refused),
                // Nothing comes after one of these.
                Event::Error(error) => end = end.or(Some(End::Refused(error))),
                Event::Closed => end = end.or(Some(End::Closed)),
                Event::Broken(reason) => end = end.or(Some(End::Broken(reason))),
                Event::Opened { .. } | Event::Accepted => {}
            }
        }
        if !elements.is_empty() {
            let taken = self.events.send((self.settings.id, LinkEvent::Elements(elements))).await;
            end = if taken.is_err() { Some(End::Stopped) } else { end };
        }
        end
    }

    /// Our own ping, or what the server answered to it.
    fn is_own(&self, element: &Element) -> bool {
        let domain = Some(self.settings.domain.as_str());
        element.is("iq", ns::COMPONENT) && element.attr("from") == domain && element.attr("to") == domain
    }

    fn refused(&self, refused: &Refused) {
        // We speak for our own domain alone (XEP-0114 §3).
        let to = refused.head.attr("to").and_then(|to| Jid::parse(to).ok());
        let is_ours = to.is_some_and(|to| to.domain() == self.settings.domain);
        let answer = refused.answer().filter(|_| is_ours);
        let answered = answer.is_some_and(|answer| self.own.try_send(Bytes::from(answer.to_xml())).is_ok());
        let head = |name| refused.head.attr(name).unwrap_or_default().to_owned();
        let count = Note::Count { name: "stanzas_refused_total", labels: vec![("reason", "limit")], by: 1 };
        let line = Note::Log {
            level: Level::Warn,
            event: "stanza-refused",
            fields: vec![
                ("component", self.settings.domain.clone()),
                ("from", head("from")),
                ("to", head("to")),
                ("reason", format!("the stanza {}", refused.limit)),
                ("answered", answered.to_string()),
            ],
        };
        for note in [count, line] {
            // As above: a link does not wait for the log.
            let _ = self.notes.try_send(note);
        }
    }
}

/// Has what was read acknowledged at once. Prosody leaves the Nagle algorithm on: a stanza that it wants to send while
/// one before is not acknowledged waits, and an acknowledgement may take 40 ms where nothing goes the other way.
fn acknowledge(socket: &TcpStream) {
    // The system forgets it again, so it is said for each piece. Where it fails, stanzas are late, and no more.
    #[cfg(target_os = "linux")]
    let _ = socket.set_quickack(true);
    #[cfg(not(target_os = "linux"))]
    let _ = socket;
}

/// Writes what is queued, many pieces at one go, until it is told to stop; then the rest and the closing tag.
async fn write_queue(
    write: &mut OwnedWriteHalf,
    queue: &mut mpsc::Receiver<Bytes>,
    stopping: &mut watch::Receiver<bool>,
    patience: Duration,
) -> End {
    let mut taken: Vec<Bytes> = Vec::with_capacity(TOGETHER);
    loop {
        let stop = tokio::select! {
            // In this order: a queue that is never empty must not keep the link from closing.
            biased;
            _ = stopping.wait_for(|stop| *stop) => true,
            _ = queue.recv_many(&mut taken, TOGETHER) => false,
        };
        while stop && let Ok(bytes) = queue.try_recv() {
            taken.push(bytes);
        }
        let mut batch = match taken.len() {
            // Whoever batches for us, batches best.
            1 => taken.pop().map(BytesMut::from).unwrap_or_default(),
            _ => taken.drain(..).fold(BytesMut::new(), |mut batch, bytes| {
                batch.extend_from_slice(&bytes);
                batch
            }),
        };
        if stop {
            batch.extend_from_slice(stream::CLOSE.as_bytes());
        }
        while !batch.is_empty() {
            // A server that takes a little at a time is slow, not dead.
            match timeout(patience, write.write_buf(&mut batch)).await {
                Ok(Ok(0)) => return End::Lost("the server takes nothing more".into()),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return End::Lost(error.to_string()),
                Err(_) => return End::Stuck(patience),
            }
        }
        if stop {
            return End::Stopped;
        }
    }
}

/// Between three quarters and five quarters of `pause`, so that many links do not come back in step.
fn jittered(pause: Duration) -> Duration {
    let share = RandomState::new().hash_one(()) as u16;
    pause.mul_f64(0.75 + f64::from(share) / f64::from(u16::MAX) / 2.0)
}

fn dropped(reason: &'static str) -> Note {
    Note::Count { name: "stanzas_dropped_total", labels: vec![("reason", reason)], by: 1 }
}
