//! The MSRP sockets alone, on loopback: what is read reaches the shard that it names, what is sent leaves, strangers
//! cost little, and what a path may not point at is not connected to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mostar::config::{Config, Identity, MsrpListen};
use mostar::gateway::Domains;
use mostar::gateway::io::Input;
use mostar::msrp::frame::Frame;
use mostar::msrp::uri::{Hop, Host};
use mostar::msrp::{AttemptId, Behalf, ConnId, Link, MsrpIn, MsrpOut};
use mostar::shell::dns::Dns;
use mostar::shell::inbox::Inboxes;
use mostar::shell::log::{Format, Log};
use mostar::shell::meters::Meters;
use mostar::shell::msrp::{self, Endpoint, Limits};
use mostar::words::id::{Mint, Partition, Seed};
use mostar::words::note::Level;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

#[path = "support/config.rs"]
mod config;

/// An endpoint of two shards with a listener for TCP and one for TLS, and a peer on this machine.
struct Stage {
    endpoint: Endpoint,
    inboxes: Vec<mpsc::Receiver<Input>>,
    tcp: SocketAddr,
    tls: SocketAddr,
    meters: Meters,
    identity: Arc<Identity>,
}

impl Stage {
    fn new(limits: Limits) -> Stage {
        Stage::with(limits, |config| config.sip.peers[0].host = "127.0.0.1".into())
    }

    fn with(limits: Limits, change: impl FnOnce(&mut Config)) -> Stage {
        let mut config = config::config();
        let any = |secure| MsrpListen { secure, address: "127.0.0.1:0".parse().unwrap() };
        let (certificate, key) = certificate();
        let identity = Arc::new(Identity::read(certificate.as_bytes(), key.as_bytes()).unwrap());
        config.msrp.identity = Some(identity.clone());
        config.msrp.listen = vec![any(false), any(true)];
        change(&mut config);
        let bound = msrp::bind(&config.msrp.listen).unwrap();
        config.msrp.listen.clone_from(&bound.listen);
        let (tcp, tls) = (bound.listen[0].address, bound.listen[1].address);
        let (inboxes, receivers) = Inboxes::new(2, Domains::new(&config));
        let (log, _) = Log::start(Level::Error, Format::Logfmt).unwrap();
        let meters = Meters::new();
        let dns = Arc::new(Dns::new(&inboxes, &log));
        let endpoint = Endpoint::new(bound, &config, limits, &inboxes, &dns, &log, &meters).unwrap();
        endpoint.listen();
        Stage { endpoint, inboxes: receivers, tcp, tls, meters, identity }
    }

    async fn told(&mut self, shard: usize) -> MsrpIn {
        match self.inboxes[shard].recv().await {
            Some(Input::Msrp(told)) => told,
            other => panic!("something of MSRP was expected: {other:?}"),
        }
    }

    /// The next frame of a shard: its link and its body.
    async fn frame(&mut self, shard: usize) -> (Link, String) {
        match self.told(shard).await {
            MsrpIn::Frame { link, frame } => match *frame {
                Frame::Request(request) => {
                    (link, String::from_utf8_lossy(&request.body.unwrap_or_default()).into_owned())
                }
                other => panic!("a request was expected: {other:?}"),
            },
            other => panic!("a frame was expected: {other:?}"),
        }
    }

    async fn lost(&mut self, shard: usize) -> (ConnId, String) {
        loop {
            match self.told(shard).await {
                MsrpIn::Lost { conn, why } => return (conn, why),
                MsrpIn::Drained { .. } => {}
                other => panic!("an end was expected: {other:?}"),
            }
        }
    }

    fn send(&self, shard: usize, conn: ConnId, text: &str) -> Option<MsrpIn> {
        self.endpoint.send(shard, MsrpOut::Send { conn, bytes: Bytes::copy_from_slice(text.as_bytes()) })
    }

    fn connect(&self, hop: Hop, fingerprint: Option<String>) {
        self.connect_for(Behalf::Peer(0), hop, fingerprint);
    }

    fn connect_for(&self, behalf: Behalf, hop: Hop, fingerprint: Option<String>) {
        let connect = MsrpOut::Connect { attempt: AttemptId(7), hop, behalf, fingerprint };
        let told = self.endpoint.send(1, connect);
        assert!(told.is_none(), "{told:?}");
    }

    async fn not_connected(&mut self, hop: Hop) -> String {
        self.connect(hop, None);
        match self.told(1).await {
            MsrpIn::NotConnected { attempt: AttemptId(7), why } => why,
            other => panic!("no connection was expected: {other:?}"),
        }
    }

    /// Waits until the metrics have this line: some figures follow what the other end sees.
    async fn counts(&self, line: &str) {
        let line = format!("mostar_{line}\n");
        while !self.meters.render().contains(&line) {
            tokio::task::yield_now().await;
        }
    }
}

fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

fn hop(secure: bool, host: &str, port: u16) -> Hop {
    Hop { secure, host: Host::parse(host).unwrap(), port: Some(port), transport: "tcp".into() }
}

fn limits() -> Limits {
    Limits::for_messages(65_536)
}

/// A SEND for a session of this shard of two.
fn send(shard: usize, body: &str) -> String {
    let token = Mint::new(Seed([7; 32])).token(Partition(if shard == 0 { 3 } else { 200 }));
    send_to(&token, body)
}

fn send_to(session: &str, body: &str) -> String {
    format!(
        "MSRP tid4 SEND\r\nTo-Path: msrp://us:1/{session};tcp\r\nFrom-Path: msrp://bob:2/b;tcp\r\nMessage-ID: 1234\r\n\
         Content-Type: text/plain\r\n\r\n{body}\r\n-------tid4$\r\n"
    )
}

async fn read(stream: &mut (impl AsyncRead + Unpin), length: usize) -> String {
    let mut buffer = vec![0; length];
    stream.read_exact(&mut buffer).await.unwrap();
    String::from_utf8(buffer).unwrap()
}

/// True when the other end closes; what it says before does not matter.
async fn is_closed(stream: &mut (impl AsyncRead + Unpin)) -> bool {
    let mut buffer = [0; 1024];
    while matches!(stream.read(&mut buffer).await, Ok(length) if length > 0) {}
    true
}

#[tokio::test]
async fn a_stream_in_one_byte_pieces_reaches_the_shard_that_it_names_and_is_answered() {
    let mut stage = Stage::new(limits());
    let mut client = TcpStream::connect(stage.tcp).await.unwrap();
    client.set_nodelay(true).unwrap();
    for byte in [send(1, "one"), send(0, "two")].concat().bytes() {
        client.write_all(&[byte]).await.unwrap();
    }
    let (link, body) = stage.frame(1).await;
    assert_eq!((body.as_str(), link.secure), ("one", false));
    assert_eq!(stage.frame(0).await, (link, "two".into()));
    assert!(stage.endpoint.send(1, MsrpOut::Keep(link.conn)).is_none());
    assert!(stage.send(1, link.conn, "answer").is_none());
    assert_eq!(read(&mut client, 6).await, "answer");
    assert!(matches!(stage.told(1).await, MsrpIn::Drained { conn, bytes: 6 } if conn == link.conn));
    drop(client);
    assert_eq!(stage.lost(1).await, (link.conn, "closed by the other end".into()));
    stage.counts("msrp_connections_total{direction=\"in\"} 1").await;
    stage.counts("msrp_sent_bytes_total 6").await;
}

#[tokio::test]
async fn ipv6_is_spoken_too() {
    let six: SocketAddr = "[::1]:0".parse().unwrap();
    if TcpListener::bind(six).await.is_err() {
        return; // A machine without IPv6.
    }
    let mut stage = Stage::with(limits(), |config| {
        config.sip.peers[0].host = "127.0.0.1".into();
        config.msrp.listen[0].address = six;
    });
    let mut client = TcpStream::connect(stage.tcp).await.unwrap();
    client.write_all(send(0, "in").as_bytes()).await.unwrap();
    assert_eq!(stage.frame(0).await.1, "in");
    let server = TcpListener::bind(six).await.unwrap();
    stage.connect(hop(false, "[::1]", server.local_addr().unwrap().port()), None);
    let (mut stream, _) = server.accept().await.unwrap();
    stream.write_all(send(1, "out").as_bytes()).await.unwrap();
    assert!(matches!(stage.told(1).await, MsrpIn::Connected { .. }));
    assert_eq!(stage.frame(1).await.1, "out");
}

#[tokio::test]
async fn a_body_over_the_limit_is_passed_over() {
    let mut stage = Stage::new(Limits::for_messages(1000));
    let mut client = TcpStream::connect(stage.tcp).await.unwrap();
    client.write_all(send(0, &"x".repeat(200_000)).as_bytes()).await.unwrap();
    match stage.told(0).await {
        MsrpIn::Frame { frame, .. } => {
            assert!(matches!(*frame, Frame::Request(request) if request.oversize == Some(200_000)));
        }
        other => panic!("a frame was expected: {other:?}"),
    }
}

#[tokio::test]
async fn a_connection_of_several_shards_stays_until_the_last_lets_go() {
    let mut stage = Stage::new(limits());
    let mut client = TcpStream::connect(stage.tcp).await.unwrap();
    client.write_all([send(0, "a"), send(1, "b")].concat().as_bytes()).await.unwrap();
    let (link, _) = stage.frame(0).await;
    stage.frame(1).await;
    for shard in [0, 1] {
        assert!(stage.endpoint.send(shard, MsrpOut::Keep(link.conn)).is_none());
    }
    assert!(stage.endpoint.send(0, MsrpOut::Release(link.conn)).is_none());
    stage.send(1, link.conn, "still here");
    assert_eq!(read(&mut client, 10).await, "still here");
    stage.send(1, link.conn, "last words");
    stage.endpoint.send(1, MsrpOut::Release(link.conn));
    assert_eq!(read(&mut client, 10).await, "last words");
    assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
    // Whoever comes too late is told.
    let late = stage.endpoint.send(0, MsrpOut::Keep(link.conn));
    assert!(matches!(late, Some(MsrpIn::Lost { conn, .. }) if conn == link.conn), "{late:?}");
    assert!(matches!(stage.send(0, link.conn, "x"), Some(MsrpIn::Lost { .. })));
}

#[tokio::test]
async fn a_frame_for_nobody_is_answered_481_and_the_connection_goes_on() {
    let mut stage = Stage::new(limits());
    let mut client = TcpStream::connect(stage.tcp).await.unwrap();
    client.write_all([send_to("unknown", "a"), send(0, "b")].concat().as_bytes()).await.unwrap();
    let answer = read(&mut client, 13).await;
    assert_eq!(answer, "MSRP tid4 481");
    assert_eq!(stage.frame(0).await.1, "b");
    stage.counts("msrp_refused_total{reason=\"no-session\"} 1").await;
}

#[tokio::test]
async fn garbage_ends_a_connection_and_its_keepers_are_told() {
    let mut stage = Stage::new(limits());
    let mut client = TcpStream::connect(stage.tcp).await.unwrap();
    client.write_all(send(0, "a").as_bytes()).await.unwrap();
    let (link, _) = stage.frame(0).await;
    stage.endpoint.send(0, MsrpOut::Keep(link.conn));
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(is_closed(&mut client).await);
    assert_eq!(stage.lost(0).await, (link.conn, "it is not MSRP".into()));
    stage.counts("msrp_connections_closed_total{reason=\"garbage\"} 1").await;
}

#[tokio::test]
async fn a_flood_of_headers_ends_a_connection() {
    let stage = Stage::new(limits());
    let mut client = TcpStream::connect(stage.tcp).await.unwrap();
    let flood = format!("MSRP tid4 SEND\r\n{}", "X-Header: y\r\n".repeat(2000));
    // It may be closed before all of it has gone.
    let _ = client.write_all(flood.as_bytes()).await;
    assert!(is_closed(&mut client).await);
}

#[tokio::test]
async fn a_frame_that_is_never_finished_ends_a_connection() {
    let short = Limits { partial: Duration::from_millis(50), ..limits() };
    let mut stage = Stage::new(short);
    let mut client = TcpStream::connect(stage.tcp).await.unwrap();
    client.write_all(send(0, "a").as_bytes()).await.unwrap();
    let (link, _) = stage.frame(0).await;
    stage.endpoint.send(0, MsrpOut::Keep(link.conn));
    client.write_all(b"MSRP tid4 SEND\r\nTo-P").await.unwrap();
    assert_eq!(stage.lost(0).await, (link.conn, "a frame took too long".into()));
    assert!(is_closed(&mut client).await);
}

#[tokio::test]
async fn a_writer_who_adds_a_byte_now_and_then_gets_no_more_time() {
    let stage = Stage::new(Limits { partial: Duration::from_millis(300), ..limits() });
    let mut client = TcpStream::connect(stage.tcp).await.unwrap();
    client.write_all(send(0, "").strip_suffix("\r\n-------tid4$\r\n").unwrap().as_bytes()).await.unwrap();
    let mut every = tokio::time::interval(Duration::from_millis(5));
    while client.write_all(b"x").await.is_ok() {
        every.tick().await;
    }
    stage.counts("msrp_connections_closed_total{reason=\"slow\"} 1").await;
}

#[tokio::test]
async fn who_takes_nothing_is_closed_and_told() {
    let mut stage = Stage::new(Limits { stuck: Duration::from_millis(50), ..limits() });
    let mut client = TcpStream::connect(stage.tcp).await.unwrap();
    client.write_all(send(0, "a").as_bytes()).await.unwrap();
    let (link, _) = stage.frame(0).await;
    stage.endpoint.send(0, MsrpOut::Keep(link.conn));
    let piece = "x".repeat(64 * 1024);
    // As the core does it: the next piece when the one before has left, until the buffers of both sockets are full.
    let why = loop {
        assert!(stage.send(0, link.conn, &piece).is_none());
        match stage.told(0).await {
            MsrpIn::Drained { .. } => {}
            MsrpIn::Lost { why, .. } => break why,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(why, "the other end takes nothing");
}

#[tokio::test]
async fn a_connection_that_nobody_keeps_is_closed() {
    let stage = Stage::new(Limits { unused: Duration::from_millis(50), ..limits() });
    for bytes in [String::new(), send(0, "a"), send_to("unknown", "a")] {
        let mut client = TcpStream::connect(stage.tcp).await.unwrap();
        client.write_all(bytes.as_bytes()).await.unwrap();
        assert!(is_closed(&mut client).await);
    }
    stage.counts("msrp_connections_closed_total{reason=\"unused\"} 3").await;
}

#[tokio::test]
async fn a_stranger_who_guesses_ids_is_closed() {
    let stage = Stage::new(Limits { unused: Duration::from_secs(3600), ..limits() });
    let mut client = TcpStream::connect(stage.tcp).await.unwrap();
    for _ in 0..100 {
        // It may be closed by now.
        let _ = client.write_all(send_to("guessed", "a").as_bytes()).await;
    }
    assert!(is_closed(&mut client).await);
    stage.counts("msrp_connections_closed_total{reason=\"unused\"} 1").await;
}

#[tokio::test]
async fn many_sessions_may_begin_at_once_on_a_new_connection() {
    let mut stage = Stage::new(limits());
    let mut client = TcpStream::connect(stage.tcp).await.unwrap();
    // They come at once, and the first is kept only after that.
    client.write_all(send(0, "first").repeat(200).as_bytes()).await.unwrap();
    let (link, _) = stage.frame(0).await;
    stage.endpoint.send(0, MsrpOut::Keep(link.conn));
    for _ in 1..200 {
        stage.frame(0).await;
    }
    client.write_all(send(0, "second").as_bytes()).await.unwrap();
    assert_eq!(stage.frame(0).await, (link, "second".into()));
}

#[tokio::test]
async fn who_is_quicker_than_sip_is_not_read_further_and_not_cut() {
    let mut stage = Stage::new(Limits { unused: Duration::from_secs(3600), ..limits() });
    let mut client = TcpStream::connect(stage.tcp).await.unwrap();
    // Nobody answers: what came waits for an SDP answer.
    let (mut lines, all) = (String::new(), 20_000);
    for number in 0..all {
        lines.push_str(&send(0, &number.to_string()));
    }
    let writing = tokio::spawn(async move {
        client.write_all(lines.as_bytes()).await.unwrap();
        client
    });
    let (link, first) = stage.frame(0).await;
    assert_eq!(first, "0");
    for number in 1..64 {
        assert_eq!(stage.frame(0).await, (link, number.to_string()));
    }
    tokio::time::timeout(Duration::from_millis(100), stage.told(0))
        .await
        .expect_err("no more is read, or cut");
    stage.endpoint.send(0, MsrpOut::Keep(link.conn));
    for number in 64..all {
        assert_eq!(stage.frame(0).await, (link, number.to_string()));
    }
    drop(writing.await.unwrap());
}

#[tokio::test]
async fn who_is_quicker_than_sip_and_is_never_awaited_is_closed() {
    let mut stage = Stage::new(Limits { unused: Duration::from_millis(300), ..limits() });
    let mut client = TcpStream::connect(stage.tcp).await.unwrap();
    client.write_all(send(0, "a").repeat(100).as_bytes()).await.unwrap();
    for _ in 0..64 {
        stage.frame(0).await;
    }
    assert!(is_closed(&mut client).await);
    stage.counts("msrp_connections_closed_total{reason=\"unused\"} 1").await;
}

#[tokio::test]
async fn ten_thousand_half_open_connections_do_not_hurt_a_session() {
    let mut stage = Stage::new(Limits { unkept: 64, unkept_from_one: 64, ..limits() });
    let mut client = TcpStream::connect(stage.tcp).await.unwrap();
    client.write_all(send(0, "first").as_bytes()).await.unwrap();
    let (link, _) = stage.frame(0).await;
    stage.endpoint.send(0, MsrpOut::Keep(link.conn));
    let mut silent = std::collections::VecDeque::new();
    for _ in 0..10_000 {
        silent.push_back(TcpStream::connect(stage.tcp).await.unwrap());
        if silent.len() > 300 {
            let mut oldest = silent.pop_front().unwrap();
            assert!(is_closed(&mut oldest).await);
        }
    }
    client.write_all(send(0, "second").as_bytes()).await.unwrap();
    assert_eq!(stage.frame(0).await, (link, "second".into()));
    let mut late = TcpStream::connect(stage.tcp).await.unwrap();
    late.write_all(send(1, "late").as_bytes()).await.unwrap();
    assert_eq!(stage.frame(1).await.1, "late");
}

#[tokio::test]
async fn unfinished_frames_share_their_memory() {
    let stage = Stage::new(Limits { held: 20_000, ..limits() });
    let begun = send(0, &"x".repeat(15_000));
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = TcpStream::connect(stage.tcp).await.unwrap();
        client.write_all(&begun.as_bytes()[..15_000]).await.unwrap();
        clients.push(client);
    }
    let [one, two] = &mut clients[..] else { panic!("two were made") };
    tokio::select! {
        closed = is_closed(one) => assert!(closed),
        closed = is_closed(two) => assert!(closed),
    }
    stage.counts("msrp_connections_closed_total{reason=\"memory\"} 1").await;
}

#[tokio::test]
async fn a_connection_is_opened_kept_and_released() {
    let mut stage = Stage::new(limits());
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    stage.connect(hop(false, "localhost", server.local_addr().unwrap().port()), None);
    let (mut stream, _) = server.accept().await.unwrap();
    let link = match stage.told(1).await {
        MsrpIn::Connected { attempt: AttemptId(7), link } => link,
        other => panic!("a connection was expected: {other:?}"),
    };
    stage.send(1, link.conn, "hello");
    assert_eq!(read(&mut stream, 5).await, "hello");
    stream.write_all(send(1, "welcome").as_bytes()).await.unwrap();
    stage.told(1).await;
    assert_eq!(stage.frame(1).await, (link, "welcome".into()));
    stage.endpoint.send(1, MsrpOut::Release(link.conn));
    assert!(is_closed(&mut stream).await);
}

#[tokio::test]
async fn every_attempt_is_answered() {
    let short = Limits { connect: Duration::from_millis(200), connecting: 1, ..limits() };
    let mut stage = Stage::new(short);
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    assert!(stage.not_connected(hop(false, "127.0.0.1", gone)).await.contains("refused"));
    let nowhere = stage.not_connected(hop(false, "nowhere.invalid", 1)).await;
    assert!(nowhere.contains("has no address") || nowhere.contains("no answer in time"), "{nowhere}");
    let other = Hop { transport: "ws".into(), ..hop(false, "127.0.0.1", gone) };
    assert!(stage.not_connected(other).await.contains("only tcp"));
    // Somebody who takes the connection and then says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = hop(true, "127.0.0.1", silent.local_addr().unwrap().port());
    stage.connect(at.clone(), Some(format!("sha-1 {}", ["00"; 20].join(":"))));
    let behalf = Behalf::Peer(0);
    let another = MsrpOut::Connect { attempt: AttemptId(8), hop: at, behalf, fingerprint: None };
    let refused = stage.endpoint.send(1, another);
    assert!(
        matches!(&refused, Some(MsrpIn::NotConnected { attempt: AttemptId(8), why }) if why.contains("too many"))
    );
    assert!(matches!(stage.told(1).await, MsrpIn::NotConnected { why, .. } if why.contains("in time")));
}

#[tokio::test]
async fn a_path_may_not_point_where_nobody_allowed_it_to() {
    let mut stage = Stage::with(limits(), |config| config.sip.peers[0].host = "198.51.100.1".into());
    for (host, kind) in [
        ("127.0.0.1", "this machine alone"),
        ("localhost", "this machine alone"),
        ("[::ffff:127.0.0.1]", "this machine alone"),
        ("10.0.0.1", "a private address"),
        ("169.254.169.254", "never connected to"),
        ("[fd00:ec2::254]", "never connected to"),
        ("0.0.0.0", "never connected to"),
    ] {
        let why = stage.not_connected(hop(false, host, 9)).await;
        assert!(why.contains(kind), "{host}: {why}");
        assert!(why.contains("`msrp.connect_to`") || why.contains("never"), "{why}");
    }
    stage.counts("msrp_not_connected_total{reason=\"forbidden\"} 7").await;
}

#[tokio::test]
async fn a_path_may_not_point_at_the_gateway_itself() {
    let mut stage = Stage::with(limits(), |config| {
        config.sip.peers[0].host = "127.0.0.1".into();
        config.sip.advertise = Host::parse("localhost");
        config.msrp.listen[0].address.set_ip("0.0.0.0".parse().unwrap());
    });
    let port = stage.tcp.port();
    for host in ["127.0.0.1", "127.0.0.7", "localhost", "[::ffff:127.0.0.1]", "[::1]"] {
        let why = stage.not_connected(hop(false, host, port)).await;
        let is_six = host == "[::1]";
        // Nothing of ours listens on IPv6; but it is an address of the name that we go by, where the machine has one.
        assert!(why.contains("a listener of our own") || is_six && why.contains("refused"), "{host}: {why}");
    }
    let why = stage.not_connected(hop(true, "127.0.0.1", stage.tls.port())).await;
    assert!(why.contains("a listener of our own"), "{why}");
}

#[tokio::test]
async fn a_name_that_we_go_by_is_ourselves() {
    let mut stage = Stage::with(limits(), |config| {
        config.sip.peers[0].host = "127.0.0.1".into();
        config.sip.advertise = Host::parse("127.0.0.9");
    });
    let why = stage.not_connected(hop(false, "127.0.0.9", stage.tcp.port())).await;
    assert!(why.contains("a listener of our own"), "{why}");
}

#[tokio::test]
async fn a_peer_that_is_a_name_has_the_addresses_of_its_name() {
    let mut stage = Stage::with(limits(), |config| config.sip.peers[0].host = "localhost".into());
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    stage.connect(hop(false, "127.0.0.1", server.local_addr().unwrap().port()), None);
    assert!(matches!(stage.told(1).await, MsrpIn::Connected { .. }));
}

#[tokio::test]
async fn what_one_peer_opens_is_not_open_to_another() {
    let mut stage = Stage::with(limits(), |config| {
        config.sip.peers[0].host = "127.0.0.1".into();
        let mut public = config.sip.peers[0].clone();
        public.host = "198.51.100.1".into();
        let mut networks = public.clone();
        networks.networks = vec!["127.0.0.0/8".parse().unwrap()];
        config.sip.peers.extend([public, networks]);
    });
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = server.local_addr().unwrap().port();
    for (behalf, is_open) in [
        (Behalf::Peer(0), true),
        (Behalf::Peer(1), false),
        (Behalf::Peer(2), true),
        (Behalf::Peer(9), false),
        (Behalf::Ours, true),
    ] {
        stage.connect_for(behalf, hop(false, "127.0.0.1", port), None);
        match stage.told(1).await {
            MsrpIn::Connected { .. } => assert!(is_open, "{behalf:?}"),
            MsrpIn::NotConnected { why, .. } => {
                assert!(!is_open, "{behalf:?}: {why}");
                assert!(
                    why.contains(&format!("127.0.0.1:{port}")) && why.contains("`msrp.connect_to`"),
                    "{why}"
                );
            }
            other => panic!("an answer was expected: {other:?}"),
        }
    }
}

#[tokio::test]
async fn tls_is_taken_and_its_link_is_secure() {
    let mut stage = Stage::new(limits());
    let mut roots = RootCertStore::empty();
    roots.add(stage.identity.chain[0].clone()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(stage.tls).await.unwrap();
    let mut stream =
        TlsConnector::from(Arc::new(client)).connect("localhost".try_into().unwrap(), stream).await.unwrap();
    stream.write_all(send(0, "in secret").as_bytes()).await.unwrap();
    let (link, body) = stage.frame(0).await;
    assert_eq!((link.secure, body.as_str()), (true, "in secret"));
    stage.endpoint.send(0, MsrpOut::Keep(link.conn));
    stage.send(0, link.conn, "answer");
    assert_eq!(read(&mut stream, 6).await, "answer");
    // No TLS at all, and silence.
    let mut plain = TcpStream::connect(stage.tls).await.unwrap();
    plain.write_all(send(0, "in the open").as_bytes()).await.unwrap();
    assert!(is_closed(&mut plain).await);
}

/// Somebody with TLS: where, and the fingerprint of the certificate.
async fn server() -> (TcpListener, TlsAcceptor, String) {
    let (certificate, key) = certificate();
    let identity = Identity::read(certificate.as_bytes(), key.as_bytes()).unwrap();
    let chain: Vec<CertificateDer<'static>> = identity.chain.clone();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, identity.key.clone_key())
        .unwrap();
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (server, TlsAcceptor::from(Arc::new(config)), identity.fingerprint)
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    stream.write_all(send(1, "it is me").as_bytes()).await.unwrap();
    is_closed(&mut stream).await;
}

#[tokio::test]
async fn the_fingerprint_of_the_sdp_decides_about_a_certificate() {
    let mut stage = Stage::new(limits());
    let (server, acceptor, fingerprint) = server().await;
    let at = hop(true, "127.0.0.1", server.local_addr().unwrap().port());
    tokio::spawn(async move {
        loop {
            let (stream, _) = server.accept().await.unwrap();
            if let Ok(stream) = acceptor.accept(stream).await {
                tokio::spawn(serve(stream));
            }
        }
    });
    stage.connect(at.clone(), Some(fingerprint.to_lowercase()));
    assert!(matches!(stage.told(1).await, MsrpIn::Connected { link: Link { secure: true, .. }, .. }));
    assert_eq!(stage.frame(1).await.1, "it is me");
    let wrong = format!("SHA-256 {}", ["00"; 32].join(":"));
    for (fingerprint, expected) in [
        (Some(wrong), "does not have the fingerprint of the SDP"),
        (Some("md5 00".to_owned()), "not known here"),
        // Nobody vouches for it.
        (None, "TLS"),
    ] {
        stage.connect(at.clone(), fingerprint);
        match stage.told(1).await {
            MsrpIn::NotConnected { why, .. } => assert!(
                why.contains(expected) || why.contains("trusts no authority"),
                "{why} but not {expected}"
            ),
            other => panic!("no connection was expected: {other:?}"),
        }
    }
}

#[tokio::test]
async fn at_the_end_what_was_handed_over_goes_first() {
    let mut stage = Stage::new(limits());
    let mut client = TcpStream::connect(stage.tcp).await.unwrap();
    client.write_all(send(0, "a").as_bytes()).await.unwrap();
    let (link, _) = stage.frame(0).await;
    stage.endpoint.send(0, MsrpOut::Keep(link.conn));
    let long = "x".repeat(1_000_000);
    stage.send(0, link.conn, &long);
    let (read, ()) =
        tokio::join!(read(&mut client, long.len()), stage.endpoint.drain(Duration::from_secs(20)));
    assert_eq!(read, long);
    assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
    assert!(TcpStream::connect(stage.tcp).await.is_err());
}
