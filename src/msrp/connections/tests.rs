use bytes::Bytes;

use super::*;
use crate::msrp::frame::decoder::Decoder;
use crate::msrp::uri::Host;
use crate::words::id::{Partition, Seed};

const LIMITS: Limits = Limits { message: 100_000, session: 200_000 };

struct World {
    all: Connections,
    mint: Mint,
    now: Tick,
}

impl World {
    fn new() -> World {
        World { all: Connections::new(LIMITS, 1_000_000), mint: Mint::new(Seed([2; 32])), now: Tick(0) }
    }

    fn offer(&mut self, secure: bool) -> (SessionId, String) {
        let host = Host::parse("us").unwrap();
        let own = Uri::mint(&mut self.mint, Partition(7), secure, &host, 2855);
        let text = own.to_string();
        (self.all.offer(&self.mint, own), text)
    }

    fn start(&mut self, id: SessionId, path: &str, role: Role) {
        let path = crate::msrp::path::Path::parse(path).unwrap();
        let terms =
            Terms { path, role, behalf: Behalf::Peer(0), anchor: None, fingerprint: None, max_size: None };
        self.all.start(self.now, &mut self.mint, id, terms);
    }

    /// A passive session whose peer has come over this connection.
    fn bound(&mut self, conn: u64, peer: &str) -> (SessionId, String) {
        let (id, own) = self.offer(false);
        self.start(id, peer, Role::Passive);
        self.send_in(conn, &own, peer, "bind", None);
        self.lines();
        (id, own)
    }

    fn handle(&mut self, input: MsrpIn) {
        self.all.handle(self.now, &mut self.mint, input);
    }

    fn bytes_in(&mut self, link: Link, text: &str) {
        let mut decoder = Decoder::new(1_000_000);
        decoder.push(text.as_bytes());
        while let Some(frame) = decoder.next_frame() {
            self.handle(MsrpIn::Frame { link, frame: Box::new(frame.expect("a frame")) });
        }
    }

    fn send_in(&mut self, conn: u64, to: &str, from: &str, tid: &str, body: Option<&str>) {
        let body = match body {
            Some(body) => format!("Message-ID: {tid}x\r\nContent-Type: text/plain\r\n\r\n{body}\r\n"),
            None => "Byte-Range: 1-0/0\r\n".into(),
        };
        let text =
            format!("MSRP {tid} SEND\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\n{body}-------{tid}$\r\n");
        self.bytes_in(Link { conn: ConnId(conn), secure: false }, &text);
    }

    fn response_in(&mut self, conn: u64, to: &str, tid: &str, code: u16) {
        let text =
            format!("MSRP {tid} {code}\r\nTo-Path: {to}\r\nFrom-Path: msrp://x:1/x;tcp\r\n-------{tid}$\r\n");
        self.bytes_in(Link { conn: ConnId(conn), secure: false }, &text);
    }

    fn send(&mut self, id: SessionId, message: &str, body: &str) {
        let message = OutMessage::new(message.into(), "text/plain", Bytes::from(body.to_owned()));
        self.all.send(self.now, &mut self.mint, id, message).expect("it can be sent");
    }

    fn connected(&mut self, attempt: u64, conn: u64) {
        let link = Link { conn: ConnId(conn), secure: false };
        self.handle(MsrpIn::Connected { attempt: AttemptId(attempt), link });
    }

    fn wait(&mut self, until: Tick) {
        self.now = until;
        self.all.timeout(until, &mut self.mint);
    }

    /// What came out, in short; the frames of each write apart. `{tid}` stands for ids that we minted.
    fn lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(out) = self.all.poll() {
            match out {
                Out::Note(_) => {}
                Out::Told { session, event } => lines.push(match event {
                    Event::Admitted { path, .. } => format!("{} admitted {}", session.0, path.uris().len()),
                    Event::Opened => format!("{} open", session.0),
                    Event::Incoming { message, .. } => {
                        format!("{} got {}", session.0, String::from_utf8_lossy(&message.body))
                    }
                    Event::Nickname { nickname, .. } => format!("{} asks for {nickname}", session.0),
                    Event::Named { nickname, code, .. } => format!("{} {nickname} {code}", session.0),
                    Event::Sent { message_id } => format!("{} sent {message_id}", session.0),
                    Event::Delivered { message_id } => format!("{} delivered {message_id}", session.0),
                    Event::Failed { message_id, code, .. } => {
                        format!("{} failed {message_id} {code}", session.0)
                    }
                    Event::Ended { why, unconfirmed } => {
                        let back: Vec<_> =
                            unconfirmed.iter().map(|one| one.message.message_id.as_str()).collect();
                        format!("{} ended {why:?} [{}]", session.0, back.join(" "))
                    }
                }),
                Out::Msrp(MsrpOut::Connect { attempt, hop, .. }) => {
                    lines.push(format!("connect {} {hop}", attempt.0));
                }
                Out::Msrp(MsrpOut::Keep(conn)) => lines.push(format!("keep {}", conn.0)),
                Out::Msrp(MsrpOut::Release(conn)) => lines.push(format!("release {}", conn.0)),
                Out::Msrp(MsrpOut::Send { conn, bytes }) => {
                    let mut decoder = Decoder::new(1_000_000);
                    decoder.push(&bytes);
                    while let Some(frame) = decoder.next_frame() {
                        lines.push(match frame.expect("we print MSRP") {
                            Frame::Response(response) => {
                                format!("{}> {} {}", conn.0, response.tid, response.code)
                            }
                            Frame::Request(request) => {
                                let id =
                                    request.message_id.filter(|_| request.body.is_some()).unwrap_or_default();
                                format!("{}> {} {id}", conn.0, request.method.name()).trim_end().into()
                            }
                        });
                    }
                }
            }
        }
        lines
    }

    /// The transaction ids of the requests that go out, and how many bytes each write has.
    fn tids(&mut self) -> (Vec<String>, Vec<usize>) {
        let (mut tids, mut sizes) = (Vec::new(), Vec::new());
        while let Some(out) = self.all.poll() {
            let Out::Msrp(MsrpOut::Send { bytes, .. }) = out else { continue };
            sizes.push(bytes.len());
            let mut decoder = Decoder::new(1_000_000);
            decoder.push(&bytes);
            while let Some(Ok(Frame::Request(request))) = decoder.next_frame() {
                tids.push(request.tid);
            }
        }
        (tids, sizes)
    }
}

const BOB: &str = "msrp://bob:2/b;tcp";

#[test]
fn a_connection_belongs_to_the_session_that_its_first_request_names() {
    let mut world = World::new();
    let (id, own) = world.offer(false);
    world.start(id, BOB, Role::Passive);
    world.send_in(1, &own, BOB, "bind", None);
    assert_eq!(world.lines(), ["keep 1", "0 open", "1> bind 200"]);
    world.send(id, "one1", "hello");
    assert_eq!(world.lines(), ["1> SEND one1"]);
}

#[test]
fn an_unknown_session_is_481_and_a_taken_one_506() {
    let mut world = World::new();
    let (_, own) = world.bound(1, BOB);
    world.send_in(1, "msrp://us:2855/07aaaaaaaaaaaaaaaa;tcp", BOB, "gues", Some("x"));
    world.send_in(1, "msrp://us:2855;tcp", BOB, "none", Some("x"));
    world.send_in(2, &own, BOB, "twic", Some("x"));
    assert_eq!(world.lines(), ["1> gues 481", "1> none 481", "2> twic 506"]);
    world.send_in(1, &own, BOB, "fine", Some("x"));
    assert_eq!(world.lines(), ["0 got x"]);
}

#[test]
fn a_session_that_promised_tls_takes_nothing_without() {
    let mut world = World::new();
    let (id, own) = world.offer(true);
    world.start(id, "msrps://bob:2/b;tcp", Role::Passive);
    world.send_in(1, &own, "msrps://bob:2/b;tcp", "bind", None);
    assert_eq!(world.lines(), ["1> bind 481"]);
    let text = format!("MSRP tls1 SEND\r\nTo-Path: {own}\r\nFrom-Path: {BOB}\r\n-------tls1$\r\n");
    world.bytes_in(Link { conn: ConnId(2), secure: true }, &text);
    assert_eq!(world.lines(), ["keep 2", "0 open", "2> tls1 200"]);
}

#[test]
fn the_active_side_connects_to_the_first_hop_of_the_path() {
    let mut world = World::new();
    let (id, own) = world.offer(false);
    world.start(id, "msrp://relay:9/r;tcp msrp://bob:2/b;tcp", Role::Active);
    assert_eq!(world.lines(), ["connect 0 msrp://relay:9;tcp"]);
    world.send(id, "one1", "hello");
    world.connected(0, 1);
    let (tids, _) = world.tids();
    world.response_in(1, &own, &tids[0], 200);
    assert_eq!(world.lines(), ["0 open", "1> SEND one1"]);
}

#[test]
fn a_connection_that_cannot_be_made_ends_all_who_wait_for_it() {
    let mut world = World::new();
    let (one, _) = world.offer(false);
    let (two, _) = world.offer(false);
    world.start(one, "msrp://bob:2/b;tcp", Role::Active);
    world.start(two, "msrp://bob:2/c;tcp", Role::Active);
    world.send(two, "one1", "hello");
    assert_eq!(world.lines(), ["connect 0 msrp://bob:2;tcp"]);
    world.handle(MsrpIn::NotConnected { attempt: AttemptId(0), why: "refused".into() });
    assert_eq!(
        world.lines(),
        ["0 ended NotConnected(\"refused\") []", "1 ended NotConnected(\"refused\") [one1]"]
    );
    assert_eq!(world.all.load(), 0);
}

#[test]
fn connections_that_we_opened_are_used_again_and_accepted_ones_are_not() {
    let mut world = World::new();
    let (one, own) = world.offer(false);
    world.start(one, "msrp://bob:2/b;tcp", Role::Active);
    world.connected(0, 1);
    let (tids, _) = world.tids();
    world.response_in(1, &own, &tids[0], 200);
    world.lines();
    let (two, _) = world.offer(false);
    world.start(two, "msrp://bob:2/c;tcp", Role::Active);
    assert_eq!(world.lines(), ["1> SEND"]);
    world.bound(5, "msrp://eve:3/e;tcp");
    let (four, _) = world.offer(false);
    world.start(four, "msrp://eve:3/f;tcp", Role::Active);
    assert_eq!(world.lines(), ["connect 1 msrp://eve:3;tcp"]);
}

#[test]
fn a_connection_that_goes_before_who_joined_it_is_answered_is_made_anew_once() {
    let mut world = World::new();
    let (first, _) = world.offer(false);
    world.start(first, "msrp://peer:9/a;tcp", Role::Active);
    world.connected(0, 10);
    let (tids, _) = world.tids();
    world.response_in(10, "msrp://us:2855/x;tcp", &tids[0], 200);
    let (second, _) = world.offer(false);
    world.start(second, "msrp://peer:9/b;tcp", Role::Active);
    world.lines();
    world.handle(MsrpIn::Lost { conn: ConnId(10), why: "closed".into() });
    assert_eq!(world.lines(), ["0 ended Lost(\"closed\") []", "connect 1 msrp://peer:9;tcp"]);
    world.connected(1, 11);
    assert_eq!(world.lines(), ["11> SEND"]);
    world.handle(MsrpIn::Lost { conn: ConnId(11), why: "closed".into() });
    assert_eq!(world.lines(), ["1 ended Lost(\"closed\") []"]);
}

#[test]
fn what_comes_before_the_sdp_answer_waits_for_it() {
    let mut world = World::new();
    let (id, own) = world.offer(false);
    world.send_in(1, &own, "msrp://eve:6/e;tcp", "fork", Some("other branch"));
    world.send_in(2, &own, BOB, "bind", None);
    world.send_in(2, &own, BOB, "text", Some("early"));
    assert_eq!(world.lines(), [""; 0]);
    world.start(id, BOB, Role::Passive);
    assert_eq!(world.lines(), ["1> fork 481", "keep 2", "0 open", "2> bind 200", "0 got early"]);
}

#[test]
fn many_short_messages_may_wait_for_an_sdp_answer() {
    let mut world = World::new();
    let (id, own) = world.offer(false);
    world.send_in(1, &own, BOB, "bind", None);
    for number in 0..50 {
        world.send_in(1, &own, BOB, &format!("tid{number}"), Some(&number.to_string()));
    }
    assert_eq!(world.lines(), [""; 0]);
    assert!(world.all.held() >= 50);
    world.start(id, BOB, Role::Passive);
    let got: Vec<String> = (0..50).map(|number| format!("0 got {number}")).collect();
    assert_eq!(world.lines().into_iter().filter(|line| line.contains("got")).collect::<Vec<_>>(), got);
    world.all.close(world.now, &mut world.mint, id);
    assert_eq!(world.all.held(), 0);
}

#[test]
fn what_waits_for_an_sdp_answer_is_bounded_by_its_bytes_and_481_without_one() {
    let mut world = World::new();
    let (id, own) = world.offer(false);
    let long = "x".repeat(60_000);
    for number in 0..5 {
        world.send_in(1, &own, BOB, &format!("tid{number}"), Some(&long));
    }
    assert_eq!(world.lines(), ["1> tid3 413", "1> tid4 413"]);
    world.all.close(world.now, &mut world.mint, id);
    assert_eq!(world.lines()[1..], ["1> tid0 481", "1> tid1 481", "1> tid2 481"]);
    assert_eq!((world.all.load(), world.all.held()), (0, 0));
}

#[test]
fn what_waits_for_sdp_answers_is_bounded_in_the_machine() {
    let mut world = World::new();
    world.all.set_elsewhere(1_000_000 - 3 * 1024);
    for _ in 0..4 {
        let (_, own) = world.offer(false);
        world.send_in(1, &own, BOB, "bind", None);
    }
    assert_eq!(world.lines(), ["1> bind 413"]);
}

#[test]
fn a_peer_that_connects_though_we_do_is_taken_and_our_own_connection_let_go() {
    let mut world = World::new();
    let (id, own) = world.offer(false);
    world.start(id, BOB, Role::Active);
    world.send_in(1, &own, BOB, "bind", None);
    world.lines();
    world.connected(0, 2);
    assert_eq!(world.lines(), ["release 2"]);
    assert!(world.all.session(id).is_some_and(Session::is_open));
}

#[test]
fn a_lost_connection_ends_all_its_sessions() {
    let mut world = World::new();
    let (one, _) = world.bound(1, BOB);
    let (_, own_two) = world.offer(false);
    let two = SessionId(1);
    world.start(two, "msrp://bob:2/c;tcp", Role::Passive);
    world.send_in(1, &own_two, "msrp://bob:2/c;tcp", "bind", None);
    let (three, _) = world.bound(2, "msrp://eve:3/e;tcp");
    world.send(one, "one1", "hello");
    world.lines();
    world.handle(MsrpIn::Lost { conn: ConnId(1), why: "reset".into() });
    assert_eq!(world.lines(), ["0 ended Lost(\"reset\") [one1]", "1 ended Lost(\"reset\") []"]);
    world.all.close(world.now, &mut world.mint, three);
    assert_eq!(world.lines(), ["2 ended Closed []", "release 2"]);
    assert_eq!(world.all.load(), 0);
}

#[test]
fn sessions_that_share_a_connection_take_turns() {
    let mut world = World::new();
    let (one, _) = world.bound(1, BOB);
    let (two, own) = world.offer(false);
    world.start(two, "msrp://bob:2/c;tcp", Role::Passive);
    world.send_in(1, &own, "msrp://bob:2/c;tcp", "bind", None);
    world.lines();
    world.send(one, "long", &"x".repeat(200_000));
    let first: Vec<_> = world.lines();
    assert!(first.len() > 20 && first.iter().all(|line| line == "1> SEND long"));
    world.send(two, "quick", "hello");
    assert_eq!(world.lines(), [""; 0], "the window is full");
    world.handle(MsrpIn::Drained { conn: ConnId(1), bytes: 10_000 });
    let next = world.lines();
    assert!(next[..2].contains(&"1> SEND quick".to_owned()), "{next:?}");
}

#[test]
fn the_shell_never_has_much_more_than_the_window() {
    let mut world = World::new();
    let (id, own) = world.bound(1, BOB);
    world.send(id, "long", &"x".repeat(300_000));
    let (mut all, mut sizes) = world.tids();
    while !sizes.is_empty() {
        let size = sizes.iter().sum::<usize>();
        assert!(size < WINDOW as usize + 4096, "{size}");
        world.handle(MsrpIn::Drained { conn: ConnId(1), bytes: size });
        let (tids, next) = world.tids();
        all.extend(tids);
        sizes = next;
    }
    assert_eq!(all.len(), 300_000_usize.div_ceil(2048));
    for tid in &all {
        world.response_in(1, &own, tid, 200);
    }
    assert_eq!(world.lines(), ["0 sent long"]);
}

#[test]
fn a_message_taken_back_does_not_hold_up_the_end() {
    let mut world = World::new();
    let (id, own) = world.bound(1, BOB);
    world.send(id, "long", &"x".repeat(100_000));
    world.send(id, "late", "hello");
    let (mut tids, sizes) = world.tids();
    assert!(world.all.withdraw(world.now, &mut world.mint, id, "long").is_none());
    assert!(world.all.withdraw(world.now, &mut world.mint, id, "late").is_some());
    world.all.finish(world.now, &mut world.mint, id);
    world.handle(MsrpIn::Drained { conn: ConnId(1), bytes: sizes.iter().sum() });
    tids.extend(world.tids().0);
    world.response_in(1, &own, &tids[0], 413);
    assert_eq!(world.lines(), ["0 failed long 413", "0 ended Finished []", "release 1"]);
}

#[test]
fn an_answer_on_another_connection_is_none() {
    let mut world = World::new();
    let (id, own) = world.bound(1, BOB);
    world.send(id, "one1", "hello");
    let (tids, _) = world.tids();
    world.response_in(2, &own, &tids[0], 403);
    assert_eq!(world.lines(), [""; 0]);
    world.response_in(1, &own, &tids[0], 403);
    assert_eq!(world.lines(), ["0 failed one1 403"]);
}

#[test]
fn a_connection_to_a_relay_is_kept_for_a_while() {
    let mut world = World::new();
    let path = "msrp://relay:9/r;tcp msrp://bob:2/b;tcp";
    let (one, _) = world.offer(false);
    world.start(one, path, Role::Active);
    world.connected(0, 1);
    world.all.close(world.now, &mut world.mint, one);
    world.lines();
    assert_eq!(world.all.next_timeout(), Some((Tick(0) + LINGER, "msrp-linger")));
    let (two, _) = world.offer(false);
    world.start(two, path, Role::Active);
    assert_eq!(world.lines(), ["1> SEND"]);
    world.all.close(world.now, &mut world.mint, two);
    assert_eq!(world.lines(), ["1 ended Closed []"]);
    world.wait(Tick(0) + LINGER);
    assert_eq!(world.lines(), ["release 1"]);
    assert_eq!(world.all.load(), 0);
}

#[test]
fn a_session_goes_through_a_relay_of_our_own() {
    for role in [Role::Active, Role::Passive] {
        let mut world = World::new();
        let host = Host::parse("us").unwrap();
        let own = Uri::mint(&mut world.mint, Partition(7), false, &host, 2855);
        let relay = Uri::parse("msrps://relay.example.com:2855;tcp").unwrap();
        let account = Account { relay, username: "us".into(), password: "secret".into() };
        let id = world.all.offer_through(world.now, &mut world.mint, own.clone(), account);
        assert_eq!(world.lines(), ["connect 0 msrps://relay.example.com:2855;tcp"]);
        world.connected(0, 1);
        let (tids, _) = world.tids();
        let granted = format!(
            "MSRP {} 200 OK\r\nTo-Path: {own}\r\nFrom-Path: msrps://relay.example.com:2855;tcp\r\n\
             Use-Path: msrps://relay.example.com:9000/jui787s2f;tcp\r\n-------{}$\r\n",
            tids[0], tids[0]
        );
        world.bytes_in(Link { conn: ConnId(1), secure: true }, &granted);
        assert_eq!(world.lines(), ["0 admitted 2"]);
        world.start(id, BOB, role);
        if role == Role::Active {
            let (tids, _) = world.tids();
            world.response_in(1, own.as_str(), &tids[0], 200);
            assert_eq!(world.lines(), ["0 open"]);
        } else {
            assert_eq!(world.lines(), [""; 0]);
            world.send_in(1, own.as_str(), BOB, "bind", None);
            assert_eq!(world.lines(), ["0 open", "1> bind 200"]);
        }
        world.send(id, "one1", "hello");
        let Some(Out::Msrp(MsrpOut::Send { bytes, .. })) = world.all.poll() else { panic!() };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let path = "To-Path: msrps://relay.example.com:9000/jui787s2f;tcp msrp://bob:2/b;tcp\r\n";
        assert!(text.contains(path), "{text}");
    }
}

#[test]
fn a_relay_that_says_nothing_ends_the_session() {
    let mut world = World::new();
    let host = Host::parse("us").unwrap();
    let own = Uri::mint(&mut world.mint, Partition(7), false, &host, 2855);
    let relay = Uri::parse("msrps://relay.example.com:2855;tcp").unwrap();
    let account = Account { relay, username: "us".into(), password: "secret".into() };
    world.all.offer_through(world.now, &mut world.mint, own, account);
    world.connected(0, 1);
    world.lines();
    let (at, _) = world.all.next_timeout().unwrap();
    world.wait(at);
    assert_eq!(world.lines(), ["0 ended NotAdmitted(408) []"]);
}

#[test]
fn incomplete_messages_of_all_sessions_share_the_room_of_the_machine() {
    let mut world = World::new();
    let (id, own) = world.bound(1, BOB);
    let chunk = |tid: &str, size: usize| {
        format!(
            "MSRP {tid} SEND\r\nTo-Path: {own}\r\nFrom-Path: {BOB}\r\nMessage-ID: {tid}x\r\nByte-Range: 1-*/*\r\n\
             Content-Type: text/plain\r\n\r\n{}\r\n-------{tid}+\r\n",
            "x".repeat(size)
        )
    };
    let link = Link { conn: ConnId(1), secure: false };
    world.all.set_elsewhere(950_000);
    world.bytes_in(link, &chunk("aaaa", 40_000));
    world.bytes_in(link, &chunk("bbbb", 40_000));
    assert_eq!(world.lines(), ["1> aaaa 200", "1> bbbb 413"]);
    assert_eq!(world.all.held(), 40_000);
    world.all.close(world.now, &mut world.mint, id);
    assert_eq!(world.all.held(), 0);
}

#[test]
fn timers_ring_in_their_sessions() {
    let mut world = World::new();
    let (id, _) = world.offer(false);
    assert_eq!(world.all.next_timeout(), None);
    world.start(id, BOB, Role::Passive);
    let (at, why) = world.all.next_timeout().unwrap();
    assert_eq!(why, "msrp-connect");
    world.wait(at);
    assert_eq!(world.lines(), ["0 ended NobodyCame []"]);
    assert_eq!(world.all.load(), 0);
}

#[test]
fn a_finished_session_says_its_last_words_before_its_connection_is_released() {
    let mut world = World::new();
    let (id, own) = world.bound(1, BOB);
    world.send_in(1, &own, BOB, "text", Some("bye"));
    world.lines();
    world.all.finish(world.now, &mut world.mint, id);
    assert_eq!(world.lines(), [""; 0]);
    world.all.answer(world.now, &mut world.mint, id, Ticket(0), 200);
    assert_eq!(world.lines(), ["1> text 200", "0 ended Finished []", "release 1"]);
}
