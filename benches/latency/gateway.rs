//! Mostar as a process of its own, and the SIP peer that is played for it, over TCP.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use super::traffic::Traffic;
use super::world::process::{Place, Process, Setup, wait_until_ready};
use super::world::{free, proxy};

/// A running gateway.
pub struct Gateway {
    /// What the system knows of it.
    pub process: Process,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where it finds its peer.
    peer: TcpListener,
}

impl Gateway {
    /// Starts it, and waits until it is ready.
    pub fn start(components: u16, folder: &Path) -> Gateway {
        Gateway::start_for(components, folder, false)
    }

    /// The same; it may listen for datagrams too.
    pub fn start_for(components: u16, folder: &Path, datagrams: bool) -> Gateway {
        let peer = TcpListener::bind("127.0.0.1:0").unwrap();
        let [address, http] = [(); 2].map(|()| free());
        let setup = Setup {
            server: ([127, 0, 0, 1], components).into(),
            sip: address,
            peer: peer.local_addr().unwrap(),
            of_peer: "",
            more: &format!("http: {http}\n"),
        };
        let more = if datagrams { format!(", \"udp://{address}\"") } else { String::new() };
        let process = Process::start_at(folder, &setup, Place { listeners: &more, ..Place::default() });
        wait_until_ready(http);
        Gateway { process, address, peer }
    }

    /// The peer's own connection, for requests. What arrives at the peer is answered, and told to `traffic`.
    pub fn connect(&self, traffic: &Traffic) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        let traffic = traffic.clone();
        proxy::read_all(self.peer.try_clone().unwrap(), &stream, move |message| {
            if let Some(status) = message.status() {
                traffic.answered(message.value("Call-ID").parse().unwrap(), status);
                return None;
            }
            if message.method() == "MESSAGE" {
                traffic.arrived(&String::from_utf8_lossy(&message.body));
            }
            Some(message.ok("", ""))
        });
        stream
    }
}

/// A MESSAGE from a SIP user.
pub fn request(number: usize, from: &str, to: &str, body: &str) -> String {
    format!(
        "MESSAGE sip:{to} SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKb{number}\r\nMax-Forwards: 69\r\n\
         From: <sip:{from}>;tag=t{number}\r\nTo: <sip:{to}>\r\nCall-ID: {number}\r\nCSeq: 1 MESSAGE\r\n\
         Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
