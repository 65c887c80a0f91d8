//! The joint between a component's stream and the shards: one [`Link`] for each component, shared by both.
//!
//! Shards print their stanzas straight into the link's queue, and everything that is there goes to the stream in one
//! piece. What the stream reads goes to the shard that owns it. While the stream is down, stanzas are dropped: the core
//! has been told, and sends again what matters.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

use super::component::{self, LinkEvent, Settings};
use super::inbox::{Batch, Inboxes};
use super::log::Log;
use super::meters::{Meters, ShardMeters};
use super::status::Status;
use crate::gateway::io::{Input, LinkChange, LinkId};
use crate::words::id::Partition;
use crate::words::note::Note;
use crate::xmpp::ns;
use crate::xmpp::stanza::{Element, Stanza};

/// The most bytes that may wait, here and with the stream. A server that takes nothing for so long is given up, and
/// connected to anew.
const QUEUE: usize = 64 * 1024 * 1024;

/// How many events of a stream may wait for their shards: what was read at one go is one of them.
const EVENTS: usize = 16;

/// One component link.
pub struct Link {
    id: LinkId,
    /// The JID domain that it serves.
    pub domain: String,
    is_up: AtomicBool,
    queue: Mutex<Queue>,
    /// How many bytes the stream has, and has not written.
    unwritten: Arc<AtomicUsize>,
    wake: Notify,
    inboxes: Inboxes,
    status: Status,
    stanzas_in: metrics::Counter,
    stanzas_out: metrics::Counter,
    bad: metrics::Counter,
    dropped: metrics::Counter,
    refused: metrics::Counter,
    connects: metrics::Counter,
    up: metrics::Gauge,
}

#[derive(Default)]
struct Queue {
    text: String,
    /// How much was taken together last: room for as much is made at once.
    usual: usize,
    overflowed: bool,
    closing: bool,
}

/// What is to be done next for the stream.
#[derive(Debug, PartialEq, Eq)]
enum Work {
    /// Write this. Everything that waited, in order.
    Write(Bytes),
    /// The server takes nothing: close the stream and connect anew.
    GiveUp,
    /// The process stops, and everything has been written: close the stream.
    Close,
}

impl Link {
    /// A link that is down.
    pub fn new(id: LinkId, domain: &str, inboxes: &Inboxes, status: &Status, meters: &Meters) -> Link {
        let labels = |direction| [("component", domain.to_owned()), ("direction", String::from(direction))];
        let own = [("component", domain.to_owned())];
        let link = Link {
            id,
            domain: domain.to_owned(),
            is_up: AtomicBool::new(false),
            queue: Mutex::default(),
            unwritten: Arc::default(),
            wake: Notify::new(),
            inboxes: inboxes.clone(),
            status: status.clone(),
            stanzas_in: meters.counter("stanzas_total", &labels("in")),
            stanzas_out: meters.counter("stanzas_total", &labels("out")),
            bad: meters.counter("stanzas_bad_total", &own),
            dropped: meters.counter("stanzas_dropped_total", &[("reason", "link-down")]),
            refused: meters.counter("stanzas_dropped_total", &[("reason", "queue-full")]),
            connects: meters.counter("link_connects_total", &own),
            up: meters.gauge("link_up", &own),
        };
        link.up.set(0.0);
        link.status.missing(&part(&link.domain), "not connected yet");
        link
    }

    /// A shard sends a stanza.
    pub fn send(&self, stanza: &Stanza) {
        if !self.is_up.load(Ordering::Acquire) {
            self.dropped.increment(1);
            return;
        }
        let mut queue = self.lock();
        if queue.text.len() + self.unwritten.load(Ordering::Relaxed) > QUEUE {
            queue.overflowed = true;
            self.refused.increment(1);
        } else {
            if queue.text.is_empty() {
                let usual = queue.usual;
                queue.text.reserve(usual);
            }
            stanza.element.write(ns::COMPONENT, &mut queue.text);
            self.stanzas_out.increment(1);
        }
        drop(queue);
        self.wake.notify_one();
    }

    /// Waits for something to do.
    async fn work(&self) -> Work {
        loop {
            {
                let mut queue = self.lock();
                if queue.overflowed {
                    return Work::GiveUp;
                }
                if !queue.text.is_empty() {
                    queue.usual = queue.text.len().min(64 * 1024);
                    let text = std::mem::take(&mut queue.text);
                    return Work::Write(Bytes::from_owner(Piece::new(text, &self.unwritten)));
                }
                if queue.closing {
                    return Work::Close;
                }
            }
            self.wake.notified().await;
        }
    }

    /// What the stream's task has to tell.
    async fn happened(&self, event: LinkEvent) {
        match event {
            LinkEvent::Up => self.came_up().await,
            LinkEvent::Down => self.went_down().await,
            LinkEvent::Elements(elements) => self.arrived(elements).await,
        }
    }

    async fn arrived(&self, elements: Vec<Element>) {
        self.stanzas_in.increment(elements.len() as u64);
        let mut batch = Batch::default();
        for element in elements {
            match Stanza::from_element(element) {
                Ok(stanza) => batch.push(self.inboxes.of_stanza(&stanza), Input::Stanza(self.id, stanza)),
                Err(element) => {
                    self.bad.increment(1);
                    let partition = Partition::of(element.attr("from").unwrap_or_default());
                    batch.push(self.inboxes.shard_of(partition), Input::BadStanza(self.id, element));
                }
            }
        }
        self.inboxes.put_batch(&mut batch).await;
    }

    async fn came_up(&self) {
        {
            // What was left of an earlier stream is told again by the core, if it still matters.
            let mut queue = self.lock();
            *queue = Queue { closing: queue.closing, ..Queue::default() };
        }
        self.is_up.store(true, Ordering::Release);
        self.status.ready(&part(&self.domain));
        self.up.set(1.0);
        self.connects.increment(1);
        let id = self.id;
        self.inboxes.put_all(|| Input::Link(id, LinkChange::Up)).await;
    }

    async fn went_down(&self) {
        if !self.is_up.swap(false, Ordering::AcqRel) {
            return;
        }
        self.status.missing(&part(&self.domain), "the stream has ended");
        self.up.set(0.0);
        let id = self.id;
        self.inboxes.put_all(|| Input::Link(id, LinkChange::Down)).await;
    }

    /// The process stops: what waits is written, then the stream closed.
    pub fn close(&self) {
        self.lock().closing = true;
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What goes to the stream together. It counts as long as it is there, written or not.
struct Piece {
    text: String,
    unwritten: Arc<AtomicUsize>,
}

impl Piece {
    fn new(text: String, unwritten: &Arc<AtomicUsize>) -> Piece {
        unwritten.fetch_add(text.len(), Ordering::Relaxed);
        Piece { text, unwritten: unwritten.clone() }
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.unwritten.fetch_sub(self.text.len(), Ordering::Relaxed);
    }
}

/// Keeps a link's stream and its queue together until the process stops.
pub async fn serve(link: Arc<Link>, settings: Settings, notes: mpsc::Sender<Note>) {
    loop {
        let (events, mut happening) = mpsc::channel(EVENTS);
        let (handle, task) = component::start(settings.clone(), events, notes.clone());
        let reading = async {
            while let Some((_, event)) = happening.recv().await {
                link.happened(event).await;
            }
        };
        tokio::pin!(reading);
        let writing = async {
            loop {
                match link.work().await {
                    // It ends only with the process, which closes the queue first.
                    Work::Write(text) => drop(handle.stanzas.send(text).await),
                    Work::GiveUp => return false,
                    Work::Close => return true,
                }
            }
        };
        let closing = tokio::select! {
            closing = writing => closing,
            () = &mut reading => false,
        };
        // Its last words are still heard.
        let close = task.close();
        tokio::pin!(close);
        tokio::select! {
            () = &mut close => {}
            () = reading => close.await,
        }
        link.went_down().await;
        if closing {
            return;
        }
    }
}

/// Passes what links have to say on to the log, to the figures and to `/readyz`, until the last link is gone.
pub async fn tell(mut notes: mpsc::Receiver<Note>, status: Status, log: Log, meters: Meters) {
    let mut meters = ShardMeters::new(meters);
    while let Some(note) = notes.recv().await {
        match note {
            Note::Log { level, event, fields } => {
                let field =
                    |wanted| fields.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.as_str());
                if let (Some(domain), Some(reason)) = (field("component"), field("reason"))
                    && event.starts_with("link-")
                {
                    let advice = field("do").map(|advice| format!(": {advice}")).unwrap_or_default();
                    status.missing(&part(domain), format!("{reason}{advice}"));
                }
                log.line(level, event, &fields);
            }
            Note::Count { name, labels, by } => meters.count(name, labels, by),
            Note::Gauge { name, labels, by } => meters.gauge(name, labels, by),
        }
        meters.show();
    }
}

/// A link's name in `/readyz`.
fn part(domain: &str) -> String {
    format!("component {domain}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::gateway::Domains;
    use crate::xmpp::jid::Jid;
    use crate::xmpp::stanza::StanzaKind;

    #[tokio::test]
    async fn what_the_stream_has_not_written_counts() {
        let domains = Domains::new(&Config::empty());
        let (inboxes, _shards) = Inboxes::new(1, domains);
        let link = Link::new(LinkId(0), "example.net", &inboxes, &Status::default(), &Meters::new());
        link.is_up.store(true, Ordering::Release);
        let (from, to) = (Jid::parse("a@example.net").unwrap(), Jid::parse("b@example.com").unwrap());
        let stanza = Stanza::new(StanzaKind::Message, &from, &to);
        link.send(&stanza);
        let Work::Write(piece) = link.work().await else { panic!("nothing to write") };
        assert_eq!(link.unwritten.load(Ordering::Relaxed), piece.len());
        drop(piece);
        assert_eq!(link.unwritten.load(Ordering::Relaxed), 0);

        let _slow = Piece::new("x".repeat(QUEUE), &link.unwritten);
        link.send(&stanza);
        link.send(&stanza);
        assert_eq!(link.work().await, Work::GiveUp);
    }
}
