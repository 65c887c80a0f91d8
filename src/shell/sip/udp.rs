//! One UDP listener: datagrams in, datagrams out.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::Notify;

use super::gossip;
use crate::config::egress::Permit;
use crate::gateway::io::Input;
use crate::shell::inbox::{Batch, Inboxes};
use crate::shell::log::Log;
use crate::shell::meters::Meters;
use crate::shell::sockets;
use crate::sip::flow::{Flow, Transport};
use crate::sip::framing;
use crate::words::id::Partition;

/// How many datagrams may wait for the kernel; what does not fit is lost, as datagrams may be.
const BACKLOG: usize = 4096;

/// How many datagrams are read before others have their turn.
const TOGETHER: usize = 64;

/// One socket.
pub struct Udp {
    /// The address it is bound to.
    pub local: SocketAddr,
    socket: UdpSocket,
    backlog: Mutex<VecDeque<(Bytes, Permit)>>,
    wake: Notify,
    inboxes: Inboxes,
    log: Log,
    received: metrics::Counter,
    sent: metrics::Counter,
    bad: metrics::Counter,
    dropped_in: metrics::Counter,
    dropped_out: metrics::Counter,
}

impl Udp {
    pub fn new(
        local: SocketAddr,
        socket: std::net::UdpSocket,
        inboxes: &Inboxes,
        log: &Log,
        meters: &Meters,
    ) -> std::io::Result<Udp> {
        Ok(Udp {
            local,
            socket: UdpSocket::from_std(socket)?,
            backlog: Mutex::default(),
            wake: Notify::new(),
            inboxes: inboxes.clone(),
            log: log.clone(),
            received: meters.counter("sip_received_total", &[("transport", "udp")]),
            sent: meters.counter("sip_sent_total", &[("transport", "udp")]),
            bad: meters.counter("sip_bad_total", &[("transport", "udp")]),
            dropped_in: meters.counter("sip_queue_full_total", &[("transport", "udp"), ("direction", "in")]),
            dropped_out: meters
                .counter("sip_queue_full_total", &[("transport", "udp"), ("direction", "out")]),
        })
    }

    /// Reads until the process ends.
    pub async fn receive(self: std::sync::Arc<Self>) {
        let mut buffer = vec![0; 65_536];
        let mut batch = Batch::default();
        loop {
            if self.socket.readable().await.is_err() {
                return;
            }
            for _ in 0..TOGETHER {
                match self.socket.try_recv_from(&mut buffer) {
                    Ok((length, remote)) => self.take(&buffer[..length], remote, &mut batch),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    // An ICMP error of an earlier datagram; its transaction has a timer.
                    Err(error) => gossip(&self.log, "sip-receive", self.local, &error),
                }
            }
            // What there is no room for, its senders' transactions send again.
            self.dropped_in.increment(self.inboxes.offer(&mut batch) as u64);
            tokio::task::yield_now().await;
        }
    }

    fn take(&self, bytes: &[u8], remote: SocketAddr, batch: &mut Batch) {
        if framing::is_keep_alive(bytes) {
            return;
        }
        self.received.increment(1);
        let flow = Flow { transport: Transport::Udp, local: self.local, remote, conn: None };
        let (shard, input) = match framing::datagram(Bytes::copy_from_slice(bytes)) {
            Ok(message) => (self.inboxes.of_sip(&message), Input::Sip(flow, Box::new(message))),
            Err(bad) => {
                self.bad.increment(1);
                gossip(&self.log, "sip-bad", remote, &bad.reason);
                let shard = self.inboxes.shard_of(Partition::of(&remote.to_string()));
                (shard, Input::BadSip(flow, bad))
            }
        };
        batch.push(shard, input);
    }

    /// Sends a datagram, now or soon.
    pub fn send(&self, bytes: &Bytes, permit: Permit) -> Result<(), String> {
        let mut backlog = self.backlog.lock().unwrap_or_else(PoisonError::into_inner);
        if backlog.is_empty() {
            match sockets::try_send(&self.socket, bytes, permit) {
                Ok(_) => {
                    self.sent.increment(1);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(format!("udp://{}: {error}", permit.address())),
            }
        }
        if backlog.len() < BACKLOG {
            backlog.push_back((bytes.clone(), permit));
            self.wake.notify_one();
        } else {
            self.dropped_out.increment(1);
        }
        Ok(())
    }

    /// Sends what the kernel would not take at once, until the process ends.
    pub async fn send_backlog(self: std::sync::Arc<Self>) {
        loop {
            let first = self.backlog.lock().unwrap_or_else(PoisonError::into_inner).front().cloned();
            let Some((bytes, permit)) = first else {
                self.wake.notified().await;
                continue;
            };
            match sockets::send(&self.socket, &bytes, permit).await {
                Ok(_) => self.sent.increment(1),
                Err(error) => gossip(&self.log, "sip-send-failed", permit.address(), &error),
            }
            self.backlog.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        }
    }

    /// True while something waits for the kernel.
    pub fn is_busy(&self) -> bool {
        !self.backlog.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}
