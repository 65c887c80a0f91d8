//! The whole process, as an admin starts and stops it: what it says when it cannot start, and what it answers when it
//! runs. Nothing sleeps: each test waits for a line of the log or an answer.

#![allow(clippy::disallowed_types)]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[path = "support/running.rs"]
mod running;

use mostar::store::record::{Key, Life, Record};
use mostar::store::sled::SledStore;
use mostar::store::{Change, Store};
use mostar::words::id::Partition;
use running::{PATIENCE, Running, SECRET, answer, both, configuration, folder, message, request, start};

/// What a process that cannot start says; its status is 1.
fn refusal(folder: &Path, listen: &str) -> String {
    let output = start(folder, &configuration(folder, listen, "127.0.0.1:1", "sip:127.0.0.1:1", "none"))
        .wait_with_output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(!text.contains(SECRET), "a secret is in the log: {text}");
    text
}

#[test]
fn a_taken_port_is_named_with_what_to_do() {
    let folder = folder();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let said = refusal(folder.path(), &format!("\"udp://127.0.0.1:{port}\""));
    assert!(said.contains(&format!("cannot listen on udp://127.0.0.1:{port}")), "{said}");
    assert!(said.contains(&format!("ss -lunp sport = :{port}")), "{said}");
}

#[test]
fn a_taken_port_for_chat_is_named_with_what_to_do() {
    let folder = folder();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = chatting(folder.path(), other.local_addr().unwrap().port());
    let output = start(folder.path(), &text).wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("choose another port in `msrp.listen`"), "{said}");
}

#[test]
fn a_frame_for_nobody_is_answered_and_the_connection_closed_at_the_end() {
    let folder = folder();
    let port = running::port(1);
    let mut running = Running::of(folder.path(), &chatting(folder.path(), port));
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The second names a partition, so that a gateway must know that it is nobody's.
    for session in ["unknown", "a7aaaaaaaaaaaaaaaa"] {
        let send = format!(
            "MSRP tid4 SEND\r\nTo-Path: msrp://127.0.0.1:{port}/{session};tcp\r\nFrom-Path: \
             msrp://127.0.0.1:9/b;tcp\r\nMessage-ID: 1234\r\n-------tid4$\r\n"
        );
        stream.write_all(send.as_bytes()).unwrap();
        let mut said = String::new();
        while !said.ends_with("-------tid4$\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            said.push(byte[0].into());
        }
        assert!(said.starts_with("MSRP tid4 481 "), "{said}");
    }
    running.signal(rustix::process::Signal::TERM);
    running.wait_for("event=stopped clean=true");
    assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0);
}

/// A configuration with a listener for chat sessions.
fn chatting(folder: &Path, port: u16) -> String {
    let text = configuration(folder, &both(), "127.0.0.1:1", "sip:127.0.0.1:1", "none");
    text.replace("msrp: { listen: [] }", &format!("msrp: {{ listen: \"tcp://127.0.0.1:{port}\" }}"))
}

#[test]
fn a_damaged_store_is_refused_with_what_to_do() {
    let folder = folder();
    let store = folder.path().join("store/sled");
    std::fs::create_dir_all(&store).unwrap();
    std::fs::write(store.join("conf"), [0x55; 64]).unwrap();
    let said = refusal(folder.path(), &both());
    assert!(said.contains("level=error event=cannot-start"), "{said}");
    assert!(said.contains("store/sled cannot be"), "{said}");
}

#[test]
fn a_store_of_a_newer_format_is_refused_with_what_to_do() {
    let folder = folder();
    let db = sled::open(folder.path().join("store/sled")).unwrap();
    db.insert("format", "7").unwrap();
    drop(db);
    let said = refusal(folder.path(), &both());
    assert!(said.contains("has format 7, written by a newer Mostar"), "{said}");
}

#[test]
fn a_store_in_use_is_refused_with_what_to_do() {
    let folder = folder();
    let _running = Running::new(folder.path());
    let said = refusal(folder.path(), &both());
    assert!(said.contains("in use by another process: stop the other Mostar"), "{said}");
}

#[test]
fn a_folder_that_may_not_be_written_is_refused_with_what_to_do() {
    let folder = folder();
    std::fs::write(folder.path().join("store"), "a file").unwrap();
    let said = refusal(folder.path(), &both());
    assert!(said.contains("is no folder"), "{said}");
}

#[test]
fn the_store_is_for_nobody_elses_eyes() {
    let folder = folder();
    let store = folder.path().join("store");
    let open_to_others = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o077;
    drop(Running::new(folder.path()));
    assert_eq!(open_to_others(&store), 0);
    for entry in std::fs::read_dir(&store).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(open_to_others(&path), 0, "{}", path.display());
    }
    std::fs::set_permissions(&store, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut child = start(
        folder.path(),
        &configuration(folder.path(), &both(), "127.0.0.1:1", "sip:127.0.0.1:1", "none"),
    );
    let log = BufReader::new(child.stderr.take().unwrap());
    let warned = log.lines().map_while(Result::ok).any(|line| line.contains("event=store-open"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(warned);
}

#[test]
fn a_signal_ends_it_cleanly() {
    let folder = folder();
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let mut running = Running::new(folder.path());
        running.signal(signal);
        running.wait_for("event=stopped clean=true");
        assert_eq!(running.child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn a_peer_is_answered_over_udp_and_over_tcp_in_one_byte_pieces() {
    let folder = folder();
    let running = Running::new(folder.path());
    let mut stream = running.connect();
    stream.set_nodelay(true).unwrap();
    for byte in request("OPTIONS", "TCP", 1).bytes() {
        stream.write_all(&[byte]).unwrap();
    }
    assert!(answer(&mut stream).contains("\r\nAllow: "));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(request("OPTIONS", "UDP", 2).as_bytes(), running.udp).unwrap();
    let mut buffer = [0; 4096];
    let (length, _) = socket.recv_from(&mut buffer).unwrap();
    assert!(buffer[..length].starts_with(b"SIP/2.0 "));
}

#[test]
fn a_stranger_is_refused_and_his_connection_closed() {
    let folder = folder();
    let mut running = Running::new(folder.path());
    let mut stream = stranger(running.tcp);
    stream.write_all(request("MESSAGE", "TCP", 1).as_bytes()).unwrap();
    assert!(answer(&mut stream).starts_with("SIP/2.0 403 "));
    assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0);
    assert_eq!(running.wait_for("event=sip-stranger src="), "127.0.0.2");
}

#[test]
fn ten_thousand_requests_of_a_stranger_leave_the_peer_served() {
    let folder = folder();
    let mut running = Running::new(folder.path());
    let socket = UdpSocket::bind("127.0.0.2:0").unwrap();
    let mut peer = running.connect();
    for number in 0..10_000 {
        socket.send_to(request("MESSAGE", "UDP", number).as_bytes(), running.udp).unwrap();
        if number % 1000 == 0 {
            peer.write_all(request("OPTIONS", "TCP", number).as_bytes()).unwrap();
            assert!(answer(&mut peer).contains("\r\nAllow: "));
        }
    }
    // Nothing at all goes back to a stranger on UDP.
    socket.set_nonblocking(true).unwrap();
    assert_eq!(socket.recv(&mut [0; 16]).err().unwrap().kind(), std::io::ErrorKind::WouldBlock);
    running.wait_for("event=sip-stranger");
}

#[test]
fn messages_that_were_accepted_are_there_after_a_kill() {
    let folder = folder();
    let mut running = Running::new(folder.path());
    let mut stream = running.connect();
    for number in 0..20 {
        stream.write_all(&message(number, b"hello")).unwrap();
        let said = answer(&mut stream);
        assert!(said.starts_with("SIP/2.0 202 "), "{said}");
    }
    running.child.kill().unwrap();
    running.child.wait().unwrap();
    drop(running);
    let again = Running::new(folder.path());
    assert!(again.records >= 20, "{} records", again.records);
}

/// Contacts that are on disk besides: they take a while to come back.
const CONTACTS: usize = 20_000;

#[test]
fn what_was_answered_before_a_kill_is_answered_so_while_the_records_come_back() {
    let folder = folder();
    let configuration = configuration(folder.path(), &both(), "127.0.0.1:1", "sip:127.0.0.1:1", "none");
    let mut running = Running::begun(start(folder.path(), &configuration));
    let mut stream = running.connect();
    for number in 0..20 {
        stream.write_all(&message(number, b"hello")).unwrap();
        assert!(answer(&mut stream).starts_with("SIP/2.0 202 "));
    }
    running.child.kill().unwrap();
    running.child.wait().unwrap();
    drop(running);
    let contact = |number: usize| {
        let user = format!("juliet{number}@example.org");
        let value = format!(
            r#"{{"user":"{user}","contact":{{"user":"romeo","host":"example.org"}},"accepted":true}}"#
        );
        let (partition, id) = (Partition::of(&user), format!("{user} sip:romeo@example.org"));
        Change::Save(Record {
            key: Key { kind: "contact", partition, id },
            value: value.into_bytes(),
            life: Life::Open,
        })
    };
    let mut store = SledStore::open(&folder.path().join("store")).unwrap();
    store.commit(&mut vec![(0..CONTACTS).map(contact).collect()]).unwrap();
    drop(store);
    let mut again = Running::begun(start(folder.path(), &configuration));
    let mut stream = again.connect();
    for number in 0..20 {
        // The same request in another transaction.
        let text = String::from_utf8(message(number, b"hello")).unwrap();
        stream.write_all(text.replace("z9hG4bK", "z9hG4bKagain").as_bytes()).unwrap();
        assert!(answer(&mut stream).starts_with("SIP/2.0 202 "));
    }
    again.all_are_back();
    // Who sends a message anew has another record.
    assert_eq!(again.records, CONTACTS + 20);
    again.signal(rustix::process::Signal::TERM);
    again.wait_for("event=stopped clean=true");
}

#[test]
fn the_first_notify_follows_the_200_on_the_connection_of_the_subscribe() {
    let folder = folder();
    let running = Running::new(folder.path());
    let contact = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = contact.local_addr().unwrap().port();
    let mut stream = running.connect();
    let further = format!(
        "Event: presence\r\nContact: <sip:romeo@127.0.0.1:{port};transport=tcp>\r\nContent-Length: 0\r\n\r\n"
    );
    let subscribe = request("SUBSCRIBE", "TCP", 1).replace("Content-Length: 0\r\n\r\n", &further);
    stream.write_all(subscribe.as_bytes()).unwrap();
    assert!(answer(&mut stream).starts_with("SIP/2.0 200 "));
    let notify = answer(&mut stream);
    assert!(notify.starts_with(&format!("NOTIFY sip:romeo@127.0.0.1:{port};transport=tcp ")), "{notify}");
    assert!(notify.contains("Subscription-State: pending;"), "{notify}");
}

/// A peer that is not heard for so long may have given up its subscriptions (RFC 6665 §4.2.2).
const AWAY: Duration = Duration::from_secs(33);

/// One shard watches the peers, and tells the others: on a machine of one core there is only that one. It takes more than
/// half a minute, for which the peer is away; the test hears its questions meanwhile.
#[test]
fn when_a_peer_is_back_the_contacts_of_every_shard_are_asked_for() {
    let folder = folder();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(2 * AWAY)).unwrap();
    let to = peer.local_addr().unwrap();
    // The first and the last partition that a user of these names has: of the first shard and of the last.
    let users = (0..1000).map(|number| format!("juliet{number}@example.org"));
    let mut users: Vec<String> = users.collect();
    users.sort_by_key(|user| Partition::of(user).0);
    let users = [users[0].clone(), users[users.len() - 1].clone()];
    let expires = SystemTime::now() + Duration::from_secs(3600);
    let expires = expires.duration_since(UNIX_EPOCH).unwrap().as_millis();
    let contact = |user: &String| {
        let (partition, tag) = (Partition::of(user), user.split('@').next().unwrap());
        let value = format!(
            r#"{{"user":"{user}","contact":{{"user":"romeo","host":"example.org"}},"accepted":true,"dialog":{{"dialog":
            {{"call_id":"c{tag}","local":"<sip:{tag}@xmpp.example.org>;tag={tag}","local_tag":"{tag}",
            "remote":"<sip:romeo@example.org>;tag=r","remote_tag":"r","local_cseq":1,"remote_cseq":1,"routes":[],
            "target":"sip:romeo@{to}","domain":"example.org","partition":{}}},"expires":{expires}}}}}"#,
            partition.0
        );
        let id = format!("{user} sip:romeo@example.org");
        let key = Key { kind: "contact", partition, id };
        Change::Save(Record { key, value: value.into_bytes(), life: Life::Open })
    };
    let mut store = SledStore::open(&folder.path().join("store")).unwrap();
    store.commit(&mut vec![users.iter().map(contact).collect()]).unwrap();
    drop(store);
    let running = Running::beside(folder.path(), "127.0.0.1:1", &format!("sip:{to}"), "none");
    assert_eq!(running.records, users.len());
    // It answers once, is silent, and answers again.
    let (mut answered, mut asked) = (None, BTreeSet::new());
    while asked.len() < users.len() {
        let mut bytes = [0; 2048];
        let (length, from) = peer.recv_from(&mut bytes).unwrap();
        let text = String::from_utf8(bytes[..length].to_vec()).unwrap();
        let is_back = answered.is_none_or(|at: Instant| at.elapsed() > AWAY);
        assert!(answered.is_none_or(|at| at.elapsed() < 2 * AWAY), "only these are asked for: {asked:?}");
        if text.starts_with("OPTIONS ") && is_back {
            answered.get_or_insert_with(Instant::now);
            let head: Vec<&str> = text
                .lines()
                .filter(|line| {
                    ["Via:", "From:", "To:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name))
                })
                .collect();
            let answer = format!("SIP/2.0 200 OK\r\n{}\r\nContent-Length: 0\r\n\r\n", head.join("\r\n"));
            peer.send_to(answer.as_bytes(), from).unwrap();
        } else if text.starts_with("SUBSCRIBE ") {
            assert!(answered.is_some() && is_back, "nobody asks while the peer is away: {text}");
            asked.insert(running::header(&text, "Call-ID").unwrap().to_owned());
        }
    }
    let calls: BTreeSet<String> =
        users.iter().map(|user| format!("c{}", user.split('@').next().unwrap())).collect();
    assert_eq!(asked, calls);
}

/// A connection from an address that is no peer's.
fn stranger(to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.2:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}
