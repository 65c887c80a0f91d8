//! The joint between a component's stream and the shards: one [`Link`] for each component, shared by both.
//!
//! Shards print their stanzas straight into the link's queue, and the stream's task writes everything that is there
//! with one call. What the stream reads goes to the shard that owns it. While the stream is down, stanzas are dropped:
//! the core has been told, and sends again what matters.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::inbox::Inboxes;
use super::log::Log;
use super::meters::Meters;
use super::status::Status;
use crate::gateway::io::{Input, LinkChange, LinkId};
use crate::words::id::Partition;
use crate::words::note::Level;
use crate::xmpp::ns;
use crate::xmpp::stanza::{Element, Stanza};

/// The most bytes that may wait. A server that takes nothing for so long is given up, and connected to anew.
const QUEUE: usize = 64 * 1024 * 1024;

/// One component link.
pub struct Link {
    id: LinkId,
    /// The JID domain that it serves.
    pub domain: String,
    is_up: AtomicBool,
    queue: Mutex<Queue>,
    wake: Notify,
    inboxes: Inboxes,
    status: Status,
    log: Log,
    stanzas_in: metrics::Counter,
    stanzas_out: metrics::Counter,
    bad: metrics::Counter,
    dropped: metrics::Counter,
    connects: metrics::Counter,
    up: metrics::Gauge,
}

#[derive(Default)]
struct Queue {
    text: String,
    overflowed: bool,
    closing: bool,
}

/// What the stream's task should do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Work {
    /// Write this. Everything that waited, in order.
    Write(String),
    /// The server takes nothing: close the stream and connect anew.
    GiveUp,
    /// The process stops, and everything has been written: close the stream.
    Close,
}

impl Link {
    /// A link that is down.
    pub fn new(
        id: LinkId,
        domain: &str,
        inboxes: &Inboxes,
        status: &Status,
        log: &Log,
        meters: &Meters,
    ) -> Link {
        let labels = |direction| [("component", domain.to_owned()), ("direction", String::from(direction))];
        let own = [("component", domain.to_owned())];
        let link = Link {
            id,
            domain: domain.to_owned(),
            is_up: AtomicBool::new(false),
            queue: Mutex::default(),
            wake: Notify::new(),
            inboxes: inboxes.clone(),
            status: status.clone(),
            log: log.clone(),
            stanzas_in: meters.counter("stanzas_total", &labels("in")),
            stanzas_out: meters.counter("stanzas_total", &labels("out")),
            bad: meters.counter("stanzas_bad_total", &own),
            dropped: meters.counter("stanzas_dropped_total", &own),
            connects: meters.counter("link_connects_total", &own),
            up: meters.gauge("link_up", &own),
        };
        link.up.set(0.0);
        link.status.missing(&link.part(), "not connected yet");
        link
    }

    /// A shard sends a stanza.
    pub fn send(&self, stanza: &Stanza) {
        if !self.is_up.load(Ordering::Acquire) {
            self.dropped.increment(1);
            return;
        }
        let mut queue = self.lock();
        if queue.text.len() > QUEUE {
            queue.overflowed = true;
            self.dropped.increment(1);
        } else {
            stanza.element.write(ns::COMPONENT, &mut queue.text);
            self.stanzas_out.increment(1);
        }
        drop(queue);
        self.wake.notify_one();
    }

    /// For the stream's task: waits for something to do. It may be dropped and called again.
    pub async fn work(&self) -> Work {
        loop {
            {
                let mut queue = self.lock();
                if queue.overflowed {
                    return Work::GiveUp;
                }
                if !queue.text.is_empty() {
                    return Work::Write(std::mem::take(&mut queue.text));
                }
                if queue.closing {
                    return Work::Close;
                }
            }
            self.wake.notified().await;
        }
    }

    /// For the stream's task: the server sent an element.
    pub async fn arrived(&self, element: Element) {
        self.stanzas_in.increment(1);
        // The address is looked at before the tree is given away.
        let partition = Partition::of(element.attr("from").unwrap_or_default());
        match Stanza::from_element(element) {
            Ok(stanza) => {
                let shard = self.inboxes.of_stanza(&stanza);
                self.inboxes.put(shard, Input::Stanza(self.id, stanza)).await;
            }
            Err(element) => {
                self.bad.increment(1);
                let shard = self.inboxes.shard_of(partition);
                self.inboxes.put(shard, Input::BadStanza(self.id, element)).await;
            }
        }
    }

    /// For the stream's task: the handshake succeeded.
    pub async fn came_up(&self) {
        {
            // What was left of an earlier stream is told again by the core, if it still matters.
            let mut queue = self.lock();
            *queue = Queue { closing: queue.closing, ..Queue::default() };
        }
        self.is_up.store(true, Ordering::Release);
        self.status.ready(&self.part());
        self.up.set(1.0);
        self.connects.increment(1);
        self.log.line(Level::Info, "link-up", &[("component", self.domain.clone())]);
        let id = self.id;
        self.inboxes.put_all(|| Input::Link(id, LinkChange::Up)).await;
    }

    /// For the stream's task: the stream is closed, or could not be opened, for a reason in words that say what to do.
    pub async fn went_down(&self, level: Level, reason: &str) {
        self.status.missing(&self.part(), reason);
        let fields = [("component", self.domain.clone()), ("reason", reason.to_owned())];
        self.log.line(level, "link-down", &fields);
        if self.is_up.swap(false, Ordering::AcqRel) {
            self.up.set(0.0);
            let id = self.id;
            self.inboxes.put_all(|| Input::Link(id, LinkChange::Down)).await;
        }
    }

    /// The process stops: what waits is written, then the stream closed.
    pub fn close(&self) {
        self.lock().closing = true;
        self.wake.notify_one();
    }

    fn part(&self) -> String {
        format!("component {}", self.domain)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
