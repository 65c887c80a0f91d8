//! SIP over UDP and TCP (RFC 3261 §18): listeners, connections and their limits.
//!
//! Nothing here knows transactions: whole messages go to the shard that owns them, bytes come from shards and leave
//! for the address they name. TLS and WebSocket have their place here and are not built yet.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::inbox::Inboxes;
use super::log::Log;
use super::meters::Meters;
use super::sockets::{self, Doorkeeper};
use crate::config::Listen;
use crate::sip::flow::{Flow, SendId, SipOut, Transport};
use crate::words::note::Level;

mod conn;
mod tcp;
mod udp;

use tcp::Tcp;
use udp::Udp;

/// What one connection and all of them may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long opening a connection may take.
    pub connect: Duration,
    /// How long a message may take from its first byte to its last, and a new connection to its first message.
    pub partial: Duration,
    /// How long nothing need cross before a connection is closed.
    pub idle: Duration,
    /// How long the other end may take nothing while something waits for it.
    pub stuck: Duration,
    /// How long nothing may be heard after a request before a connection of ours is left for a new one: the other end may
    /// have lost it without a word (RFC 3261 §17.1.2.2, Timer F).
    pub dumb: Duration,
    /// How long a connection stays for answers when the other end has said everything, or for the core to close it
    /// when framing was lost.
    pub grace: Duration,
    /// How many connections one address may open; of IPv6, one network of 64 bits.
    pub from_one: usize,
    /// How many connections of strangers there may be; the oldest makes room.
    pub strangers: usize,
    /// How many bytes of unfinished messages all connections may hold.
    pub unfinished: usize,
    /// How many connections there may be. At the limit, the one that was silent longest makes room: strangers cannot
    /// keep a peer out.
    pub in_all: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connect: Duration::from_secs(5),
            partial: Duration::from_secs(30),
            idle: Duration::from_secs(600),
            stuck: Duration::from_secs(30),
            dumb: Duration::from_secs(32),
            grace: Duration::from_secs(5),
            from_one: 256,
            strangers: 1024,
            unfinished: 64 * 1024 * 1024,
            in_all: 8192,
        }
    }
}

/// Sockets that are bound and not yet read.
pub struct Bound {
    udp: Vec<(SocketAddr, std::net::UdpSocket)>,
    tcp: Vec<(SocketAddr, std::net::TcpListener)>,
    /// The listeners with the ports that the system chose where the configuration says 0.
    pub listen: Vec<Listen>,
}

/// Binds every listener, or says which one cannot be bound and what to do.
pub fn bind(listeners: &[Listen]) -> Result<Bound, String> {
    let mut bound = Bound { udp: Vec::new(), tcp: Vec::new(), listen: Vec::new() };
    for listener in listeners {
        let socket = sockets::bind(listener).map_err(|error| explain(listener, &error))?;
        let local = match listener.transport {
            Transport::Udp => {
                let socket = std::net::UdpSocket::from(socket);
                let local = socket.local_addr().map_err(|error| explain(listener, &error))?;
                bound.udp.push((local, socket));
                local
            }
            Transport::Tcp => {
                let socket = std::net::TcpListener::from(socket);
                let local = socket.local_addr().map_err(|error| explain(listener, &error))?;
                bound.tcp.push((local, socket));
                local
            }
        };
        bound.listen.push(Listen { transport: listener.transport, address: local });
    }
    Ok(bound)
}

fn explain(listener: &Listen, error: &std::io::Error) -> String {
    let flag = if listener.transport == Transport::Udp { "u" } else { "t" };
    let advice = advice(error, listener.address.port(), flag, "sip.listen");
    format!("cannot listen on {}://{}: {error}: {advice}", listener.transport, listener.address)
}

/// What to do where a listener cannot be bound: `flag` is the transport's for `ss`, `key` the option's.
pub(super) fn advice(error: &std::io::Error, port: u16, flag: &str, key: &str) -> String {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => format!(
            "another program has that port: `ss -l{flag}np sport = :{port}` shows which; stop it, or choose another \
             port in `{key}`"
        ),
        std::io::ErrorKind::AddrNotAvailable => {
            format!("this machine has no such address: `ip address` shows those it has; correct `{key}`")
        }
        std::io::ErrorKind::PermissionDenied => {
            format!(
                "this user may not use that port: ports below 1024 need CAP_NET_BIND_SERVICE; choose a higher one \
                 in `{key}`"
            )
        }
        _ => format!("correct `{key}`"),
    }
}

/// The running SIP side.
pub struct Endpoint {
    udp: Vec<Arc<Udp>>,
    tcp: Arc<Tcp>,
    keeper: Arc<Doorkeeper>,
}

impl Endpoint {
    /// Takes the sockets; nothing is read before [`Endpoint::listen`], but sending works. Call it inside the runtime.
    pub fn new(
        bound: Bound,
        limits: Limits,
        keeper: &Arc<Doorkeeper>,
        inboxes: &Inboxes,
        log: &Log,
        meters: &Meters,
    ) -> std::io::Result<Endpoint> {
        let udp = bound
            .udp
            .into_iter()
            .map(|(local, socket)| Udp::new(local, socket, inboxes, log, meters).map(Arc::new))
            .collect::<Result<_, _>>()?;
        let tcp = Tcp::new(bound.tcp, limits, keeper, inboxes, log, meters)?;
        Ok(Endpoint { udp, tcp: Arc::new(tcp), keeper: keeper.clone() })
    }

    /// Begins to read.
    pub fn listen(&self) {
        for udp in &self.udp {
            tokio::spawn(udp.clone().receive());
            tokio::spawn(udp.clone().send_backlog());
        }
        self.tcp.accept();
    }

    /// Sends for a shard, or says at once why it cannot.
    pub fn send(&self, shard: usize, out: SipOut) -> Result<(), (SendId, String)> {
        let id = out.id;
        let sent = match out.target.transport {
            Transport::Udp => self.send_datagram(&out),
            Transport::Tcp => self.tcp.send(shard, out),
        };
        match (sent, id) {
            (Err(reason), Some(id)) => Err((id, reason)),
            _ => Ok(()),
        }
    }

    fn send_datagram(&self, out: &SipOut) -> Result<(), String> {
        let remote = out.target.remote;
        let from = out
            .target
            .local
            .and_then(|local| self.udp.iter().find(|udp| udp.local == local))
            .or_else(|| self.udp.iter().find(|udp| udp.local.is_ipv4() == remote.is_ipv4()));
        match from {
            Some(udp) => udp.send(&out.bytes, self.keeper.sip(Transport::Udp, remote)?),
            None => Err(format!("no UDP listener can reach {remote}")),
        }
    }

    /// Closes a connection after what is queued on it has gone.
    pub fn close(&self, flow: Flow) {
        if let Some(id) = flow.conn {
            self.tcp.close(id);
        }
    }

    /// Waits until everything queued has gone, or for so long.
    pub async fn drain(&self, longest: Duration) {
        let deadline = tokio::time::Instant::now() + longest;
        while self.is_busy() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.tcp.close_all();
    }

    fn is_busy(&self) -> bool {
        self.udp.iter().any(|udp| udp.is_busy()) || self.tcp.is_busy()
    }
}

/// Tells of something that a stranger can cause at will: in detail only.
fn gossip(log: &Log, event: &'static str, remote: SocketAddr, reason: &dyn std::fmt::Display) {
    if log.takes(Level::Debug) {
        log.line(Level::Debug, event, &[("remote", remote.to_string()), ("reason", reason.to_string())]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_what_to_do() {
        let any = Listen { transport: Transport::Tcp, address: "127.0.0.1:0".parse().unwrap() };
        let first = bind(&[any]).unwrap();
        let error = bind(&first.listen).err().unwrap();
        let port = first.listen[0].address.port();
        assert!(error.contains(&format!("tcp://127.0.0.1:{port}")), "{error}");
        assert!(error.contains(&format!("ss -ltnp sport = :{port}")), "{error}");
    }

    #[test]
    fn both_families_have_the_same_port() {
        let four = Listen { transport: Transport::Udp, address: "0.0.0.0:0".parse().unwrap() };
        let first = bind(&[four]).unwrap();
        let port = first.listen[0].address.port();
        let six = Listen { transport: Transport::Udp, address: format!("[::]:{port}").parse().unwrap() };
        match bind(&[six]) {
            Ok(second) => assert_eq!(second.listen, [six]),
            // A machine without IPv6, or a port that somebody else has there.
            Err(error) => assert!(error.contains("[::]"), "{error}"),
        }
    }
}
