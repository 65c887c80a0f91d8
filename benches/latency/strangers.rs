//! `cargo bench --bench latency -- strangers`: what a flood of strangers costs the peer that is served. The same rate of
//! messages through Mostar in turns without and with it: datagrams of scanners, right and wrong, and connections that say
//! half a request or nothing, all from addresses that nobody named. `FLOOD=n` is how many datagrams a second (20,000);
//! there are a fortieth as many connections.

use std::io::Write;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Strangers that come until it is dropped.
pub struct Flood {
    stop: Arc<AtomicBool>,
    /// Datagrams and connections so far.
    pub sent: [Arc<AtomicUsize>; 2],
    threads: Vec<JoinHandle<()>>,
}

impl Flood {
    /// Begins.
    pub fn start(gateway: SocketAddr, datagrams: usize) -> Flood {
        let stop = Arc::new(AtomicBool::new(false));
        let sent = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
        let threads = vec![
            paced(&stop, &sent[0], datagrams, datagram(gateway)),
            paced(&stop, &sent[1], datagrams / 40, connection(gateway)),
        ];
        Flood { stop, sent, threads }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Does it so often a second, in little bursts.
fn paced(
    stop: &Arc<AtomicBool>,
    sent: &Arc<AtomicUsize>,
    rate: usize,
    mut act: impl FnMut(usize) + Send + 'static,
) -> JoinHandle<()> {
    let (stop, sent) = (stop.clone(), sent.clone());
    thread::spawn(move || {
        let began = Instant::now();
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            let due = (began.elapsed().as_secs_f64() * rate as f64) as usize;
            while number < due {
                act(number);
                number += 1;
            }
            sent.store(number, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(2));
        }
    })
}

fn datagram(gateway: SocketAddr) -> impl FnMut(usize) + Send + 'static {
    let sockets: Vec<UdpSocket> =
        (66..74).map(|host| UdpSocket::bind(format!("127.0.0.{host}:0")).unwrap()).collect();
    move |number| {
        let text = match number % 4 {
            0 => scan("OPTIONS", number),
            1 => scan("REGISTER", number),
            2 => scan("INVITE", number),
            _ => "INVITE sip:100@1.2.3.4 SIP/2.0\r\nVia: \r\nFrom\r\n\r\n".to_owned(),
        };
        // What finds no room is lost, as it would be on the way.
        let _ = sockets[number % sockets.len()].send_to(text.as_bytes(), gateway);
    }
}

fn connection(gateway: SocketAddr) -> impl FnMut(usize) + Send + 'static {
    let mut open: Vec<TcpStream> = Vec::new();
    move |number| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let from: SocketAddr = format!("127.0.0.{}:0", 80 + number % 8).parse().unwrap();
        if socket.bind(&from.into()).is_err() || socket.connect(&gateway.into()).is_err() {
            return;
        }
        let mut stream: TcpStream = socket.into();
        let text = scan("INVITE", number);
        let part = [text.len(), text.len() / 2, 0][number % 3];
        let _ = stream.write_all(&text.as_bytes()[..part]);
        open.push(stream);
        if open.len() > 500 {
            open.remove(0);
        }
    }
}

/// What a scanner says.
fn scan(method: &str, number: usize) -> String {
    format!(
        "{method} sip:100@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK-{number};rport\r\n\
         Max-Forwards: 70\r\nTo: \"scan\" <sip:100@127.0.0.1>\r\nFrom: \"scan\" <sip:100@127.0.0.1>;tag={number}\r\n\
         Call-ID: scan-{number}\r\nCSeq: 1 {method}\r\nContact: <sip:100@127.0.0.1:5060>\r\nUser-Agent: scanner\r\n\
         Accept: application/sdp\r\nContent-Length: 0\r\n\r\n"
    )
}
