use super::*;
use crate::msrp::frame::decoder::Decoder;
use crate::msrp::frame::{FailureReport, Flag, Frame};
use crate::words::id::Seed;

const LIMITS: Limits = Limits { message: 300_000, session: 600_000 };
const OWN: &str = "msrp://us:1/0aaaaaaaaaaaaaaaaa;tcp";
const PEER: &str = "msrp://bob:2/b;tcp";

fn at(seconds: u64) -> Tick {
    Tick(seconds * 1_000_000)
}

/// A session, and what its connection does.
struct World {
    session: Session,
    mint: Mint,
    now: Tick,
}

impl World {
    fn new(role: Role) -> World {
        let mut session = Session::new(Uri::parse(OWN).unwrap(), Partition(0));
        let terms = Terms {
            path: Path::parse(PEER).unwrap(),
            role,
            behalf: crate::msrp::Behalf::Peer(0),
            anchor: None,
            fingerprint: None,
            max_size: Some(200_000),
        };
        session.start(at(0), terms);
        World { session, mint: Mint::new(Seed([1; 32])), now: at(0) }
    }

    /// A session that the peer has bound.
    fn open() -> World {
        let mut world = World::new(Role::Passive);
        world.request("bind", "SEND", "Byte-Range: 1-0/0\r\n", None);
        assert_eq!(world.events(), [Event::Opened]);
        assert_eq!(world.lines(), ["bind 200"]);
        world
    }

    /// A request comes in.
    fn request(&mut self, tid: &str, method: &str, headers: &str, body: Option<(&str, char)>) {
        let (body, flag) = match body {
            Some((body, flag)) => (format!("Content-Type: text/plain\r\n\r\n{body}\r\n"), flag),
            None => (String::new(), '$'),
        };
        let text = format!(
            "MSRP {tid} {method}\r\nTo-Path: {OWN}\r\nFrom-Path: {PEER}\r\n{headers}{body}-------{tid}{flag}\r\n"
        );
        let mut decoder = Decoder::new(250_000);
        decoder.push(text.as_bytes());
        let Some(Ok(Frame::Request(request))) = decoder.next_frame() else { panic!("{text}") };
        self.session.request(self.now, LIMITS, 1_000_000, request);
    }

    fn send_in(&mut self, tid: &str, headers: &str, body: &str) {
        self.request(tid, "SEND", &format!("Message-ID: {tid}x\r\n{headers}"), Some((body, '$')));
    }

    fn response(&mut self, tid: &str, code: u16) {
        let path = Path::parse(OWN).unwrap();
        let response = Response {
            tid: tid.into(),
            code,
            comment: "because".into(),
            to: path.clone(),
            from: path,
            headers: vec![],
        };
        self.session.response(&mut self.mint, &response);
    }

    fn report(&mut self, message: &str, range: &str, status: &str) {
        self.request(
            "rep1",
            "REPORT",
            &format!("Message-ID: {message}\r\nByte-Range: {range}\r\nStatus: {status}\r\n"),
            None,
        );
    }

    /// What goes out, all of it; its bytes leave at once.
    fn frames(&mut self) -> Vec<Frame> {
        let mut decoder = Decoder::new(1_000_000);
        let mut out = BytesMut::new();
        while let Some(transaction) = self.session.write(&mut self.mint, &mut out) {
            if let Some(tid) = transaction {
                self.session.left(self.now, &tid);
            }
        }
        decoder.push(&out);
        std::iter::from_fn(|| decoder.next_frame()).map(|frame| frame.expect("we print MSRP")).collect()
    }

    fn requests(&mut self) -> Vec<Request> {
        let read = |frame| match frame {
            Frame::Request(request) => request,
            other => panic!("{other:?}"),
        };
        self.frames().into_iter().map(read).collect()
    }

    /// What goes out, in short.
    fn lines(&mut self) -> Vec<String> {
        let short = |frame| match frame {
            Frame::Response(response) => format!("{} {}", response.tid, response.code),
            Frame::Request(request) => {
                let status = request.status.map(|status| format!(" {:03}", status.code)).unwrap_or_default();
                let range = request.range.map(|range| {
                    let star = |number: Option<u64>| number.map_or("*".into(), |number| number.to_string());
                    format!(" {}-{}/{}", range.start, star(range.end), star(range.total))
                });
                let flag = char::from(request.flag.byte());
                let id = request.message_id.unwrap_or_default();
                format!("{} {id}{}{status} {flag}", request.method.name(), range.unwrap_or_default())
            }
        };
        self.frames().into_iter().map(short).collect()
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.session.poll()).collect()
    }

    fn wait(&mut self, until: Tick) {
        self.now = until;
        self.session.timeout(until, &mut self.mint);
    }

    fn send(&mut self, id: &str, body: &str) {
        self.session.send(message(id, body)).expect("it can be sent");
    }
}

fn message(id: &str, body: &str) -> OutMessage {
    OutMessage::new(id.into(), "text/plain", Bytes::from(body.to_owned()))
}

fn sent(id: &str) -> Event {
    Event::Sent { message_id: id.into() }
}

fn delivered(id: &str) -> Event {
    Event::Delivered { message_id: id.into() }
}

fn failed(id: &str, code: u16, comment: &str, by: By) -> Event {
    Event::Failed { message_id: id.into(), code, comment: comment.into(), by }
}

fn known(event: &Event) -> Vec<(&str, Known)> {
    let Event::Ended { unconfirmed, .. } = event else { panic!("{event:?}") };
    unconfirmed.iter().map(|one| (one.message.message_id.as_str(), one.known)).collect()
}

#[test]
fn the_active_side_speaks_first_and_sends_nothing_before_it_is_answered() {
    let mut world = World::new(Role::Active);
    world.send("one1", "hello");
    assert_eq!(world.lines(), [""; 0]);
    world.session.connected(&mut world.mint);
    let first = world.requests().remove(0);
    assert_eq!(first.range, Some(ByteRange { start: 1, end: Some(0), total: Some(0) }));
    assert_eq!((first.content_type, first.body, first.message_id.is_some()), (None, None, true));
    assert_eq!(world.events(), []);
    world.response(&first.tid, 200);
    assert_eq!(world.events(), [Event::Opened]);
    assert_eq!(world.lines(), ["SEND one1 1-5/5 $"]);
}

#[test]
fn a_request_of_the_peer_proves_the_path_too() {
    let mut world = World::new(Role::Active);
    world.session.connected(&mut world.mint);
    world.frames();
    world.send_in("abcd", "", "hi");
    assert!(matches!(&world.events()[..], [Event::Opened, Event::Incoming { .. }]));
}

#[test]
fn an_answer_that_does_not_like_bodiless_requests_proves_the_path_and_481_ends_it() {
    for (code, is_open) in [(400, true), (415, true), (501, true), (481, false), (506, false)] {
        let mut world = World::new(Role::Active);
        world.send("one1", "hello");
        world.session.connected(&mut world.mint);
        let first = world.requests().remove(0);
        world.response(&first.tid, code);
        let events = world.events();
        if is_open {
            assert_eq!(events, [Event::Opened], "{code}");
        } else {
            assert!(matches!(&events[..], [Event::Ended { why: Ending::Refused(got), .. }] if *got == code));
            assert_eq!(known(&events[0]), [("one1", Known::Unsent)]);
            assert!(world.session.is_over());
        }
    }
}

#[test]
fn a_relay_that_finds_nobody_behind_it_ends_the_session() {
    for (code, why) in [(408, Ending::Unanswered), (481, Ending::Refused(481))] {
        let mut world = World::new(Role::Active);
        world.session.connected(&mut world.mint);
        let first = world.requests().remove(0);
        world.response(&first.tid, 200);
        world.report(&first.message_id.unwrap(), "1-0/0", &format!("000 {code} gone"));
        assert_eq!(world.events(), [Event::Opened, Event::Ended { why, unconfirmed: vec![] }]);
    }
}

#[test]
fn a_first_word_that_is_not_answered_by_a_peer_that_speaks_is_no_matter() {
    let mut world = World::new(Role::Active);
    world.session.connected(&mut world.mint);
    world.frames();
    world.send_in("abcd", "", "hi");
    world.wait(at(30));
    assert!(world.session.is_open());
    assert_eq!(world.session.next_timeout(), None);
}

#[test]
fn a_first_word_without_answer_ends_the_session() {
    let mut world = World::new(Role::Active);
    world.session.connected(&mut world.mint);
    world.frames();
    assert_eq!(world.session.next_timeout(), Some((at(30), "msrp-welcome")));
    world.wait(at(30));
    assert!(matches!(&world.events()[..], [Event::Ended { why: Ending::Unanswered, .. }]));
}

#[test]
fn a_peer_that_does_not_come_ends_the_session() {
    let mut world = World::new(Role::Passive);
    assert_eq!(world.session.next_timeout(), Some((Tick(0) + CONNECT_WITHIN, "msrp-connect")));
    world.wait(Tick(0) + CONNECT_WITHIN);
    assert!(matches!(&world.events()[..], [Event::Ended { why: Ending::NobodyCame, .. }]));
    assert_eq!(world.session.next_timeout(), None);
}

#[test]
fn a_send_is_answered_when_its_owner_says_so() {
    let mut world = World::open();
    world.send_in("abcd", "Success-Report: yes\r\n", "hello");
    let events = world.events();
    let [Event::Incoming { ticket, message }] = &events[..] else { panic!("{events:?}") };
    assert_eq!((&message.body[..], message.receipt.length), (&b"hello"[..], 5));
    assert_eq!(world.lines(), [""; 0]);
    world.session.answer(*ticket, 200);
    world.session.answer(*ticket, 200);
    assert_eq!(world.lines(), ["abcd 200"]);
    world.session.report(&mut world.mint, &message.receipt, 200);
    assert_eq!(world.lines(), ["REPORT abcdx 1-5/5 200 $"]);
}

#[test]
fn a_message_that_its_owner_refuses_may_come_again() {
    let mut world = World::open();
    for _ in 0..2 {
        world.request("abcd", "SEND", "Message-ID: same\r\nByte-Range: 1-*/4\r\n", Some(("ab", '+')));
        world.request("efgh", "SEND", "Message-ID: same\r\nByte-Range: 3-4/4\r\n", Some(("cd", '$')));
        let events = world.events();
        let [Event::Incoming { ticket, .. }] = &events[..] else { panic!("{events:?}") };
        world.session.answer(*ticket, 415);
        assert_eq!(world.lines(), ["abcd 200", "efgh 415"]);
    }
}

#[test]
fn who_wants_no_answer_gets_none() {
    let mut world = World::open();
    for (wish, on_200, on_403) in [("no", 0, 0), ("partial", 0, 1), ("yes", 1, 1)] {
        for (code, answers) in [(200, on_200), (403, on_403)] {
            world.send_in("abcd", &format!("Failure-Report: {wish}\r\n"), "hello");
            let events = world.events();
            let [Event::Incoming { ticket, message }] = &events[..] else { panic!("{events:?}") };
            world.session.answer(*ticket, code);
            assert_eq!(world.lines().len(), answers, "{wish} {code}");
            world.session.report(&mut world.mint, &message.receipt, 403);
            assert_eq!(world.lines().len(), usize::from(wish != "no"), "a failure REPORT after {wish}");
            world.session.report(&mut world.mint, &message.receipt, 200);
            assert_eq!(world.lines().len(), 0, "a success REPORT that nobody wants");
        }
    }
}

#[test]
fn chunks_are_answered_at_once_and_the_one_that_completes_when_its_owner_says_so() {
    let mut world = World::open();
    world.request("abcd", "SEND", "Message-ID: same\r\nByte-Range: 3-4/4\r\n", Some(("cd", '$')));
    assert_eq!(world.lines(), ["abcd 200"]);
    world.request("efgh", "SEND", "Message-ID: same\r\nByte-Range: 1-*/4\r\n", Some(("ab", '+')));
    assert_eq!(world.lines(), [""; 0]);
    let events = world.events();
    let [Event::Incoming { ticket, message }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(&message.body[..], b"abcd");
    world.session.answer(*ticket, 200);
    assert_eq!(world.lines(), ["efgh 200"]);
}

#[test]
fn what_cannot_be_taken_is_answered_with_its_code() {
    let mut world = World::open();
    world.request("aaaa", "SEND", "", Some(("no Message-ID", '$')));
    world.request("bbbb", "SEND", "Message-ID: bbbbx\r\nByte-Range: x\r\n", Some(("x", '$')));
    world.request("cccc", "SEND", "Message-ID: ccccx\r\nByte-Range: 1-*/300001\r\n", Some(("x", '+')));
    world.request("dddd", "SEND", "Message-ID: ccccx\r\nByte-Range: 2-*/300001\r\n", Some(("x", '+')));
    world.request("eeee", "SEND", "Message-ID: eeeex\r\n", Some((&"x".repeat(250_001), '+')));
    world.request("ffff", "SEND", "Message-ID: eeeex\r\nByte-Range: 250002-*/*\r\n", Some(("x", '$')));
    world.request("gggg", "NICKNAME", "Use-Nickname: Ally\r\n", None);
    world.request("hhhh", "FILE_OFFSET", "", None);
    world.request("iiii", "REPORT", "Status: nonsense\r\n", None);
    world.request("jjjj", "SEND", "Failure-Report: no\r\nByte-Range: x\r\n", Some(("x", '$')));
    assert_eq!(
        world.lines(),
        ["aaaa 400", "bbbb 400", "cccc 413", "dddd 413", "eeee 413", "ffff 413", "gggg 501", "hhhh 501"]
    );
    assert_eq!(world.events(), []);
}

#[test]
fn pieces_without_the_rest_are_reported_and_let_go_of() {
    let mut world = World::open();
    world.request("abcd", "SEND", "Message-ID: same\r\nByte-Range: 1-*/4\r\n", Some(("ab", '+')));
    assert_eq!(world.lines(), ["abcd 200"]);
    let (at, why) = world.session.next_timeout().unwrap();
    assert_eq!((why, world.session.held()), ("msrp-abandoned", 2));
    world.wait(at);
    assert_eq!(world.lines(), ["REPORT same 1-2/2 408 $"]);
    assert_eq!((world.session.held(), world.session.next_timeout()), (0, None));
}

#[test]
fn a_short_message_goes_in_one_chunk() {
    let mut world = World::open();
    world.send("one1", "hello");
    let request = world.requests().remove(0);
    assert_eq!((request.flag, request.body.as_deref()), (Flag::Complete, Some(&b"hello"[..])));
    assert!(request.success_report);
    assert_eq!((request.to.to_string().as_str(), request.from.to_string().as_str()), (PEER, OWN));
    world.response(&request.tid, 200);
    assert_eq!(world.events(), [sent("one1")]);
    world.report("one1", "1-5/5", "000 200 OK");
    assert_eq!(world.events(), [delivered("one1")]);
    assert_eq!((world.session.load(), world.session.next_timeout()), (0, None));
}

#[test]
fn a_long_message_goes_in_chunks_that_others_can_interrupt() {
    let mut world = World::open();
    world.send("one1", &"x".repeat(5000));
    world.send("two2", "");
    let requests = world.requests();
    let lengths: Vec<_> = requests.iter().map(|request| request.body.as_ref().unwrap().len()).collect();
    assert_eq!(lengths, [2048, 2048, 904, 0]);
    let ranges: Vec<_> = requests.iter().map(|request| request.range.unwrap()).collect();
    assert_eq!(ranges[0], ByteRange { start: 1, end: None, total: Some(5000) });
    assert_eq!(ranges[2], ByteRange { start: 4097, end: Some(5000), total: Some(5000) });
    assert_eq!(ranges[3], ByteRange { start: 1, end: Some(0), total: Some(0) });
    for request in &requests {
        world.response(&request.tid, 200);
    }
    assert_eq!(world.events(), [sent("one1"), sent("two2")]);
}

#[test]
fn several_reports_with_odd_ranges_deliver_a_message_when_they_cover_it() {
    let mut world = World::open();
    world.send("one1", &"x".repeat(5000));
    world.frames();
    world.report("one1", "1-2048/5000", "000 200 OK");
    world.report("one1", "4097-5100/5000", "000 200 OK");
    world.report("other", "1-5000/5000", "000 200 OK");
    assert_eq!(world.events(), []);
    world.report("one1", "2049-4096/5000", "000 200 OK");
    assert_eq!(world.events(), [delivered("one1")]);
    assert_eq!(world.session.load(), 0);
}

#[test]
fn a_report_on_a_message_in_one_chunk_is_believed_whatever_its_range() {
    for range in ["1-4/4", "1-211/207", "1-*/*", "5-5/9"] {
        let mut world = World::open();
        world.send("one1", "héllo");
        world.frames();
        world.report("one1", range, "000 200 OK");
        assert_eq!(world.events(), [delivered("one1")], "{range}");
    }
}

#[test]
fn a_refusal_ends_its_message_and_no_further_chunk_goes() {
    let mut world = World::open();
    world.send("one1", &"x".repeat(5000));
    world.send("two2", "next");
    let mut out = BytesMut::new();
    let first = world.session.write(&mut world.mint, &mut out).flatten().unwrap();
    world.response(&first, 413);
    assert_eq!(world.events(), [failed("one1", 413, "because", By::Response)]);
    assert_eq!(world.lines(), ["SEND two2 1-4/4 $"]);
}

#[test]
fn a_failure_report_ends_its_message_and_not_the_session() {
    let mut world = World::open();
    world.send("one1", "hello");
    let request = world.requests().remove(0);
    world.response(&request.tid, 200);
    world.report("one1", "1-5/5", "000 404 gone");
    world.report("one1", "1-5/5", "000 200 OK");
    world.report("two2", "1-5/5", "000 481 unknown here");
    assert_eq!(world.events(), [sent("one1"), failed("one1", 404, "gone", By::Report)]);
    assert!(world.session.is_open());
}

#[test]
fn silence_of_thirty_seconds_is_a_failure() {
    let mut world = World::open();
    world.send("one1", "hello");
    let request = world.requests().remove(0);
    assert_eq!(world.session.next_timeout(), Some((at(30), "msrp-answer")));
    world.wait(at(29));
    assert_eq!(world.events(), []);
    world.wait(at(30));
    assert_eq!(world.events(), [failed("one1", 408, "no answer came", By::Silence)]);
    world.response(&request.tid, 200);
    assert_eq!((world.events(), world.session.load(), world.session.next_timeout()), (vec![], 0, None));
}

#[test]
fn the_thirty_seconds_begin_when_the_last_byte_has_left() {
    let mut world = World::open();
    world.send("one1", "hello");
    let mut out = BytesMut::new();
    let tid = world.session.write(&mut world.mint, &mut out).flatten().unwrap();
    assert_eq!(world.session.next_timeout(), None);
    world.session.left(at(7), &tid);
    assert_eq!(world.session.next_timeout(), Some((at(37), "msrp-answer")));
}

#[test]
fn without_failure_reports_a_message_is_sent_when_it_has_left() {
    for failure_report in [FailureReport::No, FailureReport::Partial] {
        let mut world = World::open();
        let plain = OutMessage { success_report: false, failure_report, ..message("one1", "typing") };
        world.session.send(plain).unwrap();
        let request = world.requests().remove(0);
        assert_eq!(request.failure_report, failure_report);
        assert_eq!(world.events(), [sent("one1")]);
        world.response(&request.tid, 403);
        let late = world.events();
        match failure_report {
            FailureReport::Partial => assert_eq!(late, [failed("one1", 403, "because", By::Response)]),
            _ => assert_eq!(late, []),
        }
        assert_eq!(world.session.load(), 0);
    }
}

#[test]
fn partial_is_forgotten_when_no_failure_has_come() {
    let mut world = World::open();
    let failure_report = FailureReport::Partial;
    world.session.send(OutMessage { success_report: false, failure_report, ..message("one1", "x") }).unwrap();
    world.frames();
    assert_eq!((world.events(), world.session.load()), (vec![sent("one1")], 1));
    world.wait(at(30));
    assert_eq!((world.events(), world.session.load()), (vec![], 0));
}

#[test]
fn a_lost_connection_gives_back_what_is_not_settled_with_what_is_known() {
    let mut world = World::open();
    world.send("one1", "taken");
    let request = world.requests().remove(0);
    world.response(&request.tid, 200);
    world.send("two2", "sent");
    world.frames();
    world.send("thr3", &"x".repeat(5000));
    let mut out = BytesMut::new();
    world.session.write(&mut world.mint, &mut out);
    world.send("fou4", "unsent");
    world.events();
    world.session.end(Ending::Lost("reset".into()));
    let events = world.events();
    assert_eq!(
        known(&events[0]),
        [("one1", Known::Taken), ("two2", Known::Sent), ("thr3", Known::SentInPart), ("fou4", Known::Unsent)]
    );
    let Event::Ended { unconfirmed, .. } = &events[0] else { panic!() };
    assert_eq!(&unconfirmed[1].message.body[..], b"sent");
    assert!(world.session.is_over());
    assert_eq!((world.session.load(), world.session.held(), world.session.next_timeout()), (0, 0, None));
    assert_eq!(world.session.send(message("fiv5", "x")).unwrap_err().0, Unsendable::Ending);
}

#[test]
fn a_session_that_the_peer_does_not_know_gives_everything_back() {
    let mut world = World::open();
    world.send("one1", "hello");
    let request = world.requests().remove(0);
    world.response(&request.tid, 481);
    let events = world.events();
    assert!(matches!(&events[..], [Event::Ended { why: Ending::Refused(481), .. }]));
    assert_eq!(known(&events[0]), [("one1", Known::Sent)]);
}

#[test]
fn finishing_waits_for_what_is_outstanding() {
    let mut world = World::open();
    world.send("one1", "hello");
    world.send_in("abcd", "", "hi");
    let events = world.events();
    let [Event::Incoming { ticket, .. }] = &events[..] else { panic!("{events:?}") };
    world.session.finish(at(0));
    assert_eq!(world.session.send(message("two2", "late")).unwrap_err().0, Unsendable::Ending);
    let request = world.requests().remove(0);
    world.response(&request.tid, 200);
    assert_eq!(world.events(), [sent("one1")]);
    world.session.answer(*ticket, 200);
    assert_eq!(world.lines(), ["abcd 200"]);
    assert_eq!(world.events(), []);
    world.report("one1", "1-5/5", "000 200 OK");
    assert_eq!(
        world.events(),
        [delivered("one1"), Event::Ended { why: Ending::Finished, unconfirmed: vec![] }]
    );
}

#[test]
fn finishing_has_its_time() {
    let mut world = World::open();
    world.send("one1", "hello");
    let request = world.requests().remove(0);
    world.response(&request.tid, 200);
    world.session.finish(at(0));
    assert_eq!(world.session.next_timeout(), Some((at(35), "msrp-finish")));
    world.events();
    world.wait(at(35));
    let events = world.events();
    assert_eq!(known(&events[0]), [("one1", Known::Taken)]);
}

#[test]
fn what_cannot_be_sent_is_given_back() {
    let mut world = World::open();
    let mut refused = |message: OutMessage| world.session.send(message).unwrap_err().0;
    assert_eq!(refused(message("one1", &"x".repeat(200_001))), Unsendable::TooLarge);
    assert_eq!(refused(message("no", "x")), Unsendable::Malformed);
    world.send("one1", "x");
    assert_eq!(world.session.send(message("one1", "x")).unwrap_err().0, Unsendable::Twice);
    for number in 1..1000 {
        world.send(&format!("id{number:03}"), "x");
    }
    assert_eq!(world.session.send(message("more", "x")).unwrap_err().0, Unsendable::Full);
}

#[test]
fn a_message_of_which_nothing_is_sent_can_be_taken_back() {
    let mut world = World::open();
    world.send("one1", &"x".repeat(5000));
    world.send("two2", "wrong");
    let mut out = BytesMut::new();
    world.session.write(&mut world.mint, &mut out);
    assert_eq!(world.session.withdraw("one1"), None);
    assert_eq!(world.session.withdraw("two2").map(|message| message.message_id), Some("two2".into()));
    assert_eq!(world.lines(), ["SEND one1 2049-*/5000 +", "SEND one1 4097-5000/5000 $"]);
}

#[test]
fn a_peer_that_never_reads_is_cut_off() {
    let mut world = World::open();
    for number in 0..=CONTROL {
        world.request(&format!("tid{number}"), "SEND", "Byte-Range: 1-0/0\r\n", None);
    }
    assert!(matches!(&world.events()[..], [Event::Ended { why: Ending::Lost(_), .. }]));
}

#[test]
fn what_waits_for_the_owner_is_limited_in_bytes_too() {
    let mut world = World::open();
    let long = "x".repeat(200_000);
    for tid in ["aaaa", "bbbb", "cccc", "dddd"] {
        world.send_in(tid, "", &long);
    }
    assert_eq!((world.lines(), world.session.held()), (vec!["dddd 413".to_owned()], 600_000));
    world.session.answer(Ticket(0), 200);
    assert_eq!(world.session.held(), 400_000);
    world.send_in("eeee", "", &long);
    assert_eq!(world.lines(), ["aaaa 200"]);
}

#[test]
fn a_peer_whose_messages_pile_up_is_told_to_stop() {
    let mut world = World::open();
    for number in 0..=TICKETS {
        world.send_in(&format!("tid{number}"), "", "x");
    }
    assert_eq!(world.lines(), ["tid1000 413"]);
    assert_eq!(world.events().len(), TICKETS);
}

#[test]
fn a_nickname_is_answered_by_an_owner_who_takes_them() {
    let mut world = World::open();
    world.request("aaaa", "NICKNAME", "Use-Nickname: Ally\r\n", None);
    assert_eq!((world.events(), world.lines()), (vec![], vec!["aaaa 501".to_owned()]));
    world.session.take_nicknames();
    world.request("bbbb", "NICKNAME", "Use-Nickname: \"Ally\"\r\nFailure-Report: no\r\n", None);
    world.request("cccc", "NICKNAME", "Use-Nickname: \"Ally\r\n", None);
    let events = world.events();
    let [Event::Nickname { ticket, nickname }] = &events[..] else { panic!("{events:?}") };
    assert_eq!((nickname.as_str(), world.lines()), ("Ally", vec!["cccc 424".to_owned()]));
    world.session.answer(*ticket, 425);
    world.session.answer(*ticket, 200);
    assert_eq!(world.lines(), ["bbbb 425"]);
    assert_eq!((world.session.load(), world.session.held()), (0, 0));
}

#[test]
fn nicknames_in_floods_are_forbidden_while_some_wait() {
    let mut world = World::open();
    world.session.take_nicknames();
    for number in 0..6 {
        world.request(&format!("aaa{number}"), "NICKNAME", "Use-Nickname: Ally\r\n", None);
    }
    let events = world.events();
    assert_eq!((events.len(), world.lines()), (4, vec!["aaa4 403".to_owned(), "aaa5 403".to_owned()]));
    for event in events {
        let Event::Nickname { ticket, .. } = event else { panic!("{event:?}") };
        world.session.answer(ticket, 200);
    }
    world.request("aaa6", "NICKNAME", "Use-Nickname: Ally\r\n", None);
    assert_eq!(world.events().len(), 1);
}

#[test]
fn our_nickname_goes_before_messages_once_the_session_is_open() {
    let mut world = World::new(Role::Active);
    world.send("one1", "hello");
    assert_eq!(world.session.ask_nickname("Ju \"C\""), Ok(()));
    assert_eq!(world.session.ask_nickname("Other"), Err(Unsendable::Full));
    assert_eq!(world.lines(), [""; 0]);
    world.session.connected(&mut world.mint);
    let first = world.requests().remove(0);
    world.response(&first.tid, 200);
    let requests = world.requests();
    assert_eq!(requests[0].method, Method::Nickname);
    assert_eq!(requests[0].headers, [("Use-Nickname".to_owned(), "\"Ju \\\"C\\\"\"".to_owned())]);
    assert_eq!(requests[1].message_id.as_deref(), Some("one1"));
    world.response(&requests[0].tid, 425);
    let named = Event::Named { nickname: "Ju \"C\"".into(), code: 425, comment: "because".into() };
    assert_eq!(world.events(), [Event::Opened, named]);
    assert_eq!(world.session.ask_nickname("x\ny"), Err(Unsendable::Malformed));
}

#[test]
fn a_nickname_without_an_answer_is_given_up_and_an_unknown_session_ends() {
    let mut world = World::open();
    world.session.ask_nickname("Ally").expect("it can be asked for");
    world.frames();
    assert_eq!(world.session.next_timeout(), Some((at(30), "msrp-nickname")));
    world.wait(at(30));
    assert!(matches!(&world.events()[..], [Event::Named { code: 408, .. }]));
    world.session.ask_nickname("Ally").expect("it can be asked for again");
    let asked = world.requests().remove(0);
    world.response(&asked.tid, 481);
    assert!(matches!(&world.events()[..], [Event::Ended { why: Ending::Refused(481), .. }]));
    assert_eq!((world.session.load(), world.session.ask_nickname("x")), (0, Err(Unsendable::Ending)));
}

#[test]
fn a_last_chunk_without_a_body_completes_its_message_or_gives_it_up() {
    let mut world = World::open();
    world.request("one1", "SEND", "Message-ID: m1\r\nByte-Range: 1-8/*\r\n", Some(("all of i", '+')));
    world.request("two1", "SEND", "Message-ID: m1\r\nByte-Range: 9-8/8\r\n", None);
    assert_eq!(world.lines(), ["one1 200"], "the last is answered by its owner");
    let events = world.events();
    let [Event::Incoming { message, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(&message.body[..], b"all of i");
    world.request("one2", "SEND", "Message-ID: m2\r\nByte-Range: 1-3/*\r\n", Some(("not", '+')));
    assert_eq!(world.session.reassembly.held(), 3);
    let void = format!(
        "MSRP two2 SEND\r\nTo-Path: {OWN}\r\nFrom-Path: {PEER}\r\nMessage-ID: m2\r\nByte-Range: 4-3/*\r\n-------two2#\r\n"
    );
    let mut decoder = Decoder::new(1000);
    decoder.push(void.as_bytes());
    let Some(Ok(Frame::Request(void))) = decoder.next_frame() else { panic!("{void}") };
    world.session.request(world.now, LIMITS, 1_000_000, void);
    assert_eq!(
        (world.session.reassembly.held(), world.lines()),
        (0, vec!["one2 200".into(), "two2 200".into()])
    );
}
