//! The SIP sockets alone, on loopback: what is read reaches an inbox, what is sent leaves, and the limits hold.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mostar::config::Listen;
use mostar::gateway::Domains;
use mostar::gateway::io::Input;
use mostar::shell::inbox::Inboxes;
use mostar::shell::log::{Format, Log};
use mostar::shell::meters::Meters;
use mostar::shell::sip::{self, Endpoint, Limits};
use mostar::shell::sockets::Doorkeeper;
use mostar::sip::flow::{Flow, SendId, SipOut, Target, Transport};
use mostar::words::note::Level;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;

#[path = "support/config.rs"]
mod config;

const OPTIONS: &str = "OPTIONS sip:b@example.net SIP/2.0\r\nVia: SIP/2.0/TCP c.example;branch=z9hG4bKa\r\n\
     From: <sip:a@example.org>;tag=1\r\nTo: <sip:b@example.net>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n\
     Max-Forwards: 70\r\nContent-Length: 4\r\n\r\nbody";

/// An endpoint with one listener of each transport, and the inbox of its only shard.
struct Stage {
    endpoint: Endpoint,
    inbox: mpsc::Receiver<Input>,
    udp: SocketAddr,
    tcp: SocketAddr,
    meters: Meters,
}

impl Stage {
    fn new(limits: Limits) -> Stage {
        Stage::at("127.0.0.1:0", limits)
    }

    fn at(address: &str, limits: Limits) -> Stage {
        Stage::among(&["127.0.0.0/8", "::1/128"], address, limits)
    }

    /// With peers in these networks.
    fn among(peers: &[&str], address: &str, limits: Limits) -> Stage {
        let any = |transport| Listen { transport, address: address.parse().unwrap() };
        let bound = sip::bind(&[any(Transport::Udp), any(Transport::Tcp)]).unwrap();
        let (udp, tcp) = (bound.listen[0].address, bound.listen[1].address);
        let mut config = config::config();
        config.sip.peers[0].networks = peers.iter().map(|network| network.parse().unwrap()).collect();
        let (inboxes, mut receivers) = Inboxes::new(1, Domains::new(&config));
        let (log, _) = Log::start(Level::Error, Format::Logfmt).unwrap();
        let meters = Meters::new();
        let keeper = Arc::new(Doorkeeper::new(&config, &log, &meters));
        let endpoint = Endpoint::new(bound, limits, &keeper, &inboxes, &log, &meters).unwrap();
        endpoint.listen();
        Stage { endpoint, inbox: receivers.remove(0), udp, tcp, meters }
    }

    async fn message(&mut self) -> (Flow, String) {
        match self.inbox.recv().await {
            Some(Input::Sip(flow, message)) => (flow, String::from_utf8_lossy(message.body()).into_owned()),
            other => panic!("a message was expected: {other:?}"),
        }
    }

    fn send(&self, target: Target, text: &str, id: u64) -> Result<(), (SendId, String)> {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        self.endpoint.send(0, SipOut { bytes, target, id: Some(SendId(id)) })
    }
}

async fn read(stream: &mut TcpStream, length: usize) -> String {
    let mut buffer = vec![0; length];
    stream.read_exact(&mut buffer).await.unwrap();
    String::from_utf8(buffer).unwrap()
}

/// True when the other end closes without a further word.
async fn is_closed(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0; 64]).await, Ok(0) | Err(_))
}

#[tokio::test]
async fn a_stream_in_one_byte_pieces_is_read_and_answered_on_its_connection() {
    let mut stage = Stage::new(Limits::default());
    let mut client = TcpStream::connect(stage.tcp).await.unwrap();
    client.set_nodelay(true).unwrap();
    for byte in OPTIONS.repeat(2).bytes() {
        client.write_all(&[byte]).await.unwrap();
    }
    let (flow, body) = stage.message().await;
    assert_eq!((body.as_str(), flow.remote), ("body", client.local_addr().unwrap()));
    stage.message().await;
    stage.send(flow.back(), "answer", 1).unwrap();
    assert_eq!(read(&mut client, 6).await, "answer");
}

#[tokio::test]
async fn a_double_line_break_is_answered_by_a_single_one_on_tcp_and_by_nothing_on_udp() {
    let mut stage = Stage::new(Limits::default());
    let mut client = TcpStream::connect(stage.tcp).await.unwrap();
    client.write_all(b"\r\n\r\n").await.unwrap();
    assert_eq!(read(&mut client, 2).await, "\r\n");
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(b"\r\n\r\n", stage.udp).await.unwrap();
    socket.send_to(OPTIONS.as_bytes(), stage.udp).await.unwrap();
    let (flow, _) = stage.message().await;
    assert_eq!((flow.transport, flow.remote), (Transport::Udp, socket.local_addr().unwrap()));
    stage.send(flow.back(), "answer", 1).unwrap();
    let mut buffer = [0; 64];
    let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
    assert_eq!((&buffer[..length], from), (&b"answer"[..], stage.udp));
}

#[tokio::test]
async fn what_comes_together_keeps_its_order() {
    let mut stage = Stage::new(Limits::default());
    let messages: Vec<_> = (0..100).map(|number| OPTIONS.replace("body", &format!("{number:04}"))).collect();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for message in &messages {
        socket.send_to(message.as_bytes(), stage.udp).await.unwrap();
    }
    for number in 0..100 {
        assert_eq!(stage.message().await.1, format!("{number:04}"), "over UDP");
    }
    let mut client = TcpStream::connect(stage.tcp).await.unwrap();
    client.write_all(messages.concat().as_bytes()).await.unwrap();
    for number in 0..100 {
        assert_eq!(stage.message().await.1, format!("{number:04}"), "over TCP");
    }
}

#[tokio::test]
async fn a_second_request_to_an_address_takes_the_open_connection() {
    let mut stage = Stage::new(Limits::default());
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let remote = server.local_addr().unwrap();
    let target = Target { transport: Transport::Tcp, local: None, remote, conn: None };
    stage.send(target, "one", 1).unwrap();
    stage.send(target, "two", 2).unwrap();
    let (mut stream, _) = server.accept().await.unwrap();
    assert_eq!(read(&mut stream, 6).await, "onetwo");
    stream.write_all(OPTIONS.as_bytes()).await.unwrap();
    let (flow, _) = stage.message().await;
    assert_eq!(flow.remote, remote);
    stage.send(target, "three", 3).unwrap();
    assert_eq!(read(&mut stream, 5).await, "three");
    stage.send(target, "four", 4).unwrap();
    stage.endpoint.close(flow);
    assert_eq!(read(&mut stream, 4).await, "four");
    assert!(is_closed(&mut stream).await);
}

#[tokio::test]
async fn what_cannot_be_sent_is_told() {
    let mut stage = Stage::new(Limits::default());
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let target = Target { transport: Transport::Tcp, local: None, remote: gone, conn: None };
    stage.send(target, "lost", 7).unwrap();
    match stage.inbox.recv().await {
        Some(Input::SendFailed(SendId(7), reason)) => assert!(reason.contains("refused"), "{reason}"),
        other => panic!("a failure was expected: {other:?}"),
    }
    let six = "[::1]:5060".parse().unwrap();
    let target = Target { transport: Transport::Udp, local: None, remote: six, conn: None };
    let (id, reason) = stage.send(target, "lost", 8).err().unwrap();
    assert_eq!(id, SendId(8));
    assert!(reason.contains("no UDP listener"), "{reason}");
}

#[tokio::test]
async fn bytes_without_framing_are_told_and_end_the_connection() {
    let mut stage = Stage::new(Limits { grace: Duration::from_millis(20), ..Limits::default() });
    let mut client = TcpStream::connect(stage.tcp).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    match stage.inbox.recv().await {
        Some(Input::BadSip(_, bad)) => assert!(bad.fatal),
        other => panic!("a bad message was expected: {other:?}"),
    }
    assert!(is_closed(&mut client).await);
}

#[tokio::test]
async fn an_answer_reaches_who_has_closed_only_his_half_and_a_request_does_not_go_there() {
    let mut stage = Stage::new(Limits::default());
    let mut client = TcpStream::connect(stage.tcp).await.unwrap();
    client.write_all(OPTIONS.as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    let (flow, _) = stage.message().await;
    let bytes = Bytes::from_static(b"answer");
    stage.endpoint.send(0, SipOut { bytes, target: flow.back(), id: None }).unwrap();
    assert_eq!(read(&mut client, 6).await, "answer");
    // His answer to it could not come back. From when the end of his half was read, another way is looked for.
    let failed = async {
        for number in 1.. {
            stage.send(flow.back(), "request", number).unwrap();
            tokio::task::yield_now().await;
            if let Ok(Input::SendFailed(_, reason)) = stage.inbox.try_recv() {
                return reason;
            }
        }
        String::new()
    };
    let reason = tokio::time::timeout(Duration::from_secs(20), failed).await.unwrap();
    assert!(reason.contains("refused"), "{reason}");
}

#[tokio::test]
async fn a_connection_on_which_no_request_is_answered_is_left_for_a_new_one() {
    let stage = Stage::new(Limits { dumb: Duration::ZERO, ..Limits::default() });
    let peer = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let remote = peer.local_addr().unwrap();
    let target = Target { transport: Transport::Tcp, local: None, remote, conn: None };
    stage.send(target, OPTIONS, 1).unwrap();
    let (mut dumb, _) = peer.accept().await.unwrap();
    stage.send(target, OPTIONS, 2).unwrap();
    let (mut heard, _) = peer.accept().await.unwrap();
    assert_eq!(read(&mut heard, OPTIONS.len()).await, OPTIONS);
    // What waited on the old one has still gone.
    assert_eq!(read(&mut dumb, OPTIONS.len()).await, OPTIONS);
    assert!(is_closed(&mut dumb).await);
}

#[tokio::test]
async fn who_sends_half_a_message_or_nothing_is_closed() {
    let stage = Stage::new(Limits { partial: Duration::from_millis(20), ..Limits::default() });
    let mut silent = TcpStream::connect(stage.tcp).await.unwrap();
    let mut slow = TcpStream::connect(stage.tcp).await.unwrap();
    slow.write_all(&OPTIONS.as_bytes()[..40]).await.unwrap();
    assert!(is_closed(&mut silent).await && is_closed(&mut slow).await);
}

#[tokio::test]
async fn one_address_has_only_so_many_connections() {
    let stage = Stage::new(Limits { from_one: 2, ..Limits::default() });
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = TcpStream::connect(stage.tcp).await.unwrap();
        client.write_all(b"\r\n\r\n").await.unwrap();
        assert_eq!(read(&mut client, 2).await, "\r\n");
        clients.push(client);
    }
    let mut third = TcpStream::connect(stage.tcp).await.unwrap();
    assert!(is_closed(&mut third).await);
    assert!(stage.meters.render().contains("mostar_sip_connections_refused_total 1\n"));
}

#[tokio::test]
async fn a_new_connection_takes_the_place_of_the_most_silent() {
    let stage = Stage::new(Limits { in_all: 1, ..Limits::default() });
    let mut first = TcpStream::connect(stage.tcp).await.unwrap();
    first.write_all(b"\r\n\r\n").await.unwrap();
    assert_eq!(read(&mut first, 2).await, "\r\n");
    let mut second = TcpStream::connect(stage.tcp).await.unwrap();
    assert!(is_closed(&mut first).await);
    second.write_all(b"\r\n\r\n").await.unwrap();
    assert_eq!(read(&mut second, 2).await, "\r\n");
}

#[tokio::test]
async fn strangers_take_the_places_of_strangers_alone() {
    let limits = Limits { strangers: 2, ..Limits::default() };
    // Another address of this machine is the peer.
    let stage = Stage::among(&["127.0.0.2/32"], "127.0.0.1:0", limits);
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut peer = socket.connect(stage.tcp).await.unwrap();
    let mut strangers = Vec::new();
    for _ in 0..3 {
        let mut stranger = TcpStream::connect(stage.tcp).await.unwrap();
        // Its answer says that it was accepted.
        let _ = stranger.write_all(b"\r\n\r\n").await;
        assert_eq!(read(&mut stranger, 2).await, "\r\n");
        strangers.push(stranger);
    }
    assert!(is_closed(&mut strangers[0]).await);
    peer.write_all(b"\r\n\r\n").await.unwrap();
    assert_eq!(read(&mut peer, 2).await, "\r\n");
}

#[tokio::test]
async fn of_a_stranger_a_head_is_read_and_no_body_is_waited_for() {
    let mut stage = Stage::among(&[], "127.0.0.1:0", Limits::default());
    let mut stranger = TcpStream::connect(stage.tcp).await.unwrap();
    stranger.write_all(OPTIONS.replace("Length: 4", "Length: 900000").as_bytes()).await.unwrap();
    match stage.inbox.recv().await {
        Some(Input::BadSip(_, bad)) => {
            assert!(bad.fatal && bad.bytes.starts_with(b"OPTIONS") && bad.bytes.len() < 400)
        }
        other => panic!("a head was expected: {other:?}"),
    }
}

#[tokio::test]
async fn nothing_is_sent_to_who_is_no_peer() {
    let stage = Stage::among(&["127.0.0.2/32"], "127.0.0.1:0", Limits::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let remote = listener.local_addr().unwrap();
    for transport in [Transport::Tcp, Transport::Udp] {
        let target = Target { transport, local: None, remote, conn: None };
        let (_, why) = stage.send(target, OPTIONS, 1).unwrap_err();
        assert_eq!(why, format!("{transport}://{remote}: no address of a peer"));
    }
    let own = Target { transport: Transport::Tcp, local: None, remote: stage.tcp, conn: None };
    assert!(stage.send(own, OPTIONS, 2).is_err());
    assert!(stage.meters.render().contains("mostar_sip_forbidden_total 3\n"));
    let accepted = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(accepted.is_err(), "nobody knocked");
}

#[tokio::test]
async fn unfinished_messages_share_their_room() {
    let stage = Stage::new(Limits { unfinished: 100_000, ..Limits::default() });
    let head = OPTIONS.replace("Length: 4", "Length: 900000");
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = TcpStream::connect(stage.tcp).await.unwrap();
        client.write_all(&[head.as_bytes(), &[b'x'; 60_000]].concat()).await.unwrap();
        clients.push(client);
    }
    let mut closed = 0;
    for client in &mut clients {
        let end = tokio::time::timeout(Duration::from_millis(500), is_closed(client)).await;
        closed += usize::from(end.is_ok());
    }
    assert!(closed >= 1, "one at least had no room");
    let mut last = TcpStream::connect(stage.tcp).await.unwrap();
    last.write_all(b"\r\n\r\n").await.unwrap();
    assert_eq!(read(&mut last, 2).await, "\r\n", "who is short is served");
}

#[tokio::test]
async fn a_flood_fills_the_inbox_and_no_more() {
    let mut stage = Stage::new(Limits::default());
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut sent = 0;
    while !stage.meters.render().contains("direction=\"in\"} 1") {
        for _ in 0..500 {
            socket.send_to(OPTIONS.as_bytes(), stage.udp).await.unwrap();
            sent += 1;
        }
        assert!(sent < 1_000_000, "nothing was dropped");
        tokio::task::yield_now().await;
    }
    stage.message().await;
}

#[tokio::test]
async fn requests_come_and_go_over_ipv6() {
    if UdpSocket::bind("[::1]:0").await.is_err() {
        return eprintln!("skipped: this machine has no IPv6");
    }
    let mut stage = Stage::at("[::1]:0", Limits::default());
    assert!(stage.udp.is_ipv6() && stage.tcp.is_ipv6());
    let socket = UdpSocket::bind("[::1]:0").await.unwrap();
    socket.send_to(OPTIONS.as_bytes(), stage.udp).await.unwrap();
    let (flow, body) = stage.message().await;
    assert_eq!((flow.remote, body.as_str()), (socket.local_addr().unwrap(), "body"));
    stage.send(flow.back(), "over udp", 1).unwrap();
    let mut piece = [0; 64];
    let (length, from) = socket.recv_from(&mut piece).await.unwrap();
    assert_eq!((&piece[..length], from), (&b"over udp"[..], stage.udp));

    let mut stream = TcpStream::connect(stage.tcp).await.unwrap();
    stream.write_all(OPTIONS.as_bytes()).await.unwrap();
    let (flow, _) = stage.message().await;
    assert!(flow.remote.is_ipv6());
    stage.send(flow.back(), "over tcp", 2).unwrap();
    assert_eq!(read(&mut stream, 8).await, "over tcp");
    let listener = TcpListener::bind("[::1]:0").await.unwrap();
    let target =
        Target { transport: Transport::Tcp, local: None, remote: listener.local_addr().unwrap(), conn: None };
    stage.send(target, "to six", 3).unwrap();
    assert_eq!(read(&mut listener.accept().await.unwrap().0, 6).await, "to six");
}
