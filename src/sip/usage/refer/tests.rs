use proptest::prelude::*;
use sipx_sip::{Limits, Message, Response, StatusCode, parse_datagram};

use super::*;
use crate::sip::dialog::Dialog;
use crate::sip::flow::{Flow, Transport};
use crate::sip::message::{Answer, Failure, Method, OutRequest};
use crate::sip::usage::notifier::Verdict;
use crate::sip::usage::package::REFER;
use crate::sip::usage::subscription::Parties;
use crate::words::id::{Mint, Partition, Seed};
use crate::words::time::{Now, Tick, Wall};

fn at(seconds: u64) -> Now {
    Now { tick: Tick(seconds * 1_000_000), wall: Wall(seconds * 1000) }
}

fn request(method: &str, lines: &[&str]) -> Request {
    let mut text = format!(
        "{method} sip:room@chat.example SIP/2.0\r\nTo: <sip:room@chat.example>\r\nCall-ID: c1\r\n\
         CSeq: 7 {method}\r\nContact: <sip:alice@192.0.2.7>\r\n"
    );
    lines.iter().for_each(|line| text.extend([line, "\r\n"]));
    match parse_datagram((text + "\r\n").into(), &Limits::datagram()).expect("test message") {
        Message::Request(request) => request,
        Message::Response(_) => panic!("a request"),
    }
}

fn refer(lines: &[&str]) -> Request {
    request("REFER", &[&["From: <sip:alice@sip.example>;tag=a1"], lines].concat())
}

fn wish(lines: &[&str]) -> Result<Wish, u16> {
    read(&refer(lines)).map_err(|reply| reply.status)
}

fn flow() -> Flow {
    let local = "192.0.2.9:5060".parse().expect("an address");
    let remote = "192.0.2.7:40000".parse().expect("an address");
    Flow { transport: Transport::Udp, local, remote, conn: None }
}

fn answer(status: u16, header: &str) -> Answer {
    let text = format!("SIP/2.0 {status} Because\r\n{header}\r\n");
    let parsed = parse_datagram(text.into(), &Limits::datagram()).expect("test message");
    let Message::Response(response) = parsed else { panic!("a response") };
    Answer::Final { response, cseq: 1 }
}

fn told(request: &OutRequest) -> String {
    let header = |name| {
        let found = request.headers.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    };
    let body = String::from_utf8_lossy(&request.body);
    format!("{} {} {}", header(HeaderName::Event), header(HeaderName::SubscriptionState), body.trim_end())
}

#[test]
fn the_method_is_read_where_the_rfc_has_it_and_where_clients_put_it() {
    for (value, action) in [
        ("<sip:carol@sip.example>", Action::Invite),
        ("sip:carol@sip.example", Action::Invite),
        ("Carol <sip:carol@sip.example;method=INVITE>", Action::Invite),
        ("<sip:carol@sip.example>;method=invite", Action::Invite),
        ("<sip:carol@sip.example;method=BYE>", Action::Bye),
        ("<sip:carol@sip.example>;method=BYE", Action::Bye),
        ("<sip:carol@sip.example;method=BYE>;method=bye", Action::Bye),
        ("sip:carol@sip.example;method=BYE", Action::Bye),
        ("<sip:carol@sip.example;method=BYE?Replaces=x%3By&Subject=hi>", Action::Bye),
    ] {
        let wish = wish(&[&format!("Refer-To: {value}")]).expect("a wish");
        assert_eq!(
            (wish.action, wish.target.to_string().as_str()),
            (action, "sip:carol@sip.example"),
            "{value}"
        );
    }
    let named =
        wish(&["r: \"Carol, of Bath\" <sip:carol@sip.example>", "b: sip:alice@sip.example"]).expect("a wish");
    assert_eq!(named.name.as_deref(), Some("Carol, of Bath"));
    assert_eq!(named.referred_by.map(|by| by.to_string()).as_deref(), Some("sip:alice@sip.example"));
}

#[test]
fn what_cannot_be_asked_for_is_refused() {
    for (lines, status) in [
        (&[][..], 400),
        (&["Refer-To: <sip:a@b>", "Refer-To: <sip:c@b>"], 400),
        (&["Refer-To: <sip:a@b>, <sip:c@b>"], 400),
        (&["Refer-To: <sip:a@b;method=SUBSCRIBE>"], 400),
        (&["Refer-To: <sip:a@b>;method=REFER"], 400),
        (&["Refer-To: <sip:a@b;method=BYE>;method=INVITE"], 400),
        (&["Refer-To: carol"], 400),
        (&["Refer-To: <http://www.example.org>"], 403),
        (&["Refer-To: <tel:+15551234>"], 403),
        (&["Refer-To: <cid:list@example.org>"], 403),
    ] {
        assert_eq!(wish(lines).map(|wish| wish.action), Err(status), "{lines:?}");
    }
}

#[test]
fn the_asker_hears_100_at_once_and_the_newest_status_in_its_turn() {
    let asked = refer(&["Refer-To: <sip:carol@sip.example>"]);
    let wish = read(&asked).expect("a wish");
    let accepted = Referral::accept(&asked, &wish, "<sip:us>", "ours", Partition(3), &flow(), at(0));
    let (referral, reply) = accepted.expect("accepted");
    let mut referral = referral.expect("a subscription");
    assert_eq!((reply.status, reply.to_tag.as_deref()), (200, Some("ours")));
    assert_eq!(reply.headers, [(HeaderName::Contact, "<sip:us>".to_owned())]);
    let tell = |referral: &mut Referral, now| {
        if !referral.notifier.is_due(now) {
            return None;
        }
        let body = Some(referral.body());
        let notify = referral.notifier.notify("<sip:us>".into(), body, now);
        assert_eq!(referral.notifier.answered(&answer(200, ""), now), Verdict::Keep);
        Some(told(&notify))
    };
    assert_eq!(tell(&mut referral, at(0)).as_deref(), Some("refer active;expires=180 SIP/2.0 100 Trying"));
    referral.progress(180, at(0));
    referral.progress(183, at(0));
    assert_eq!(tell(&mut referral, at(0)), None);
    assert_eq!(
        tell(&mut referral, at(1)).as_deref(),
        Some("refer active;expires=179 SIP/2.0 183 Session Progress")
    );
    referral.progress(603, at(1));
    referral.progress(200, at(1));
    assert_eq!(
        tell(&mut referral, at(1)).as_deref(),
        Some("refer terminated;reason=noresource SIP/2.0 603 Decline")
    );
    let late = request("SUBSCRIBE", &["From: <sip:alice@sip.example>;tag=a1", "Event: refer", "Expires: 0"]);
    let terms = REFER.judge(&late.headers).expect("terms");
    assert_eq!(referral.notifier.refresh(&late, &terms, "<sip:us>", &flow(), at(2)).status, 481);
}

#[test]
fn what_is_known_at_once_or_never_takes_one_notify() {
    let asked = refer(&["Refer-To: <sip:carol@sip.example>"]);
    let wish = read(&asked).expect("a wish");
    let begin = || {
        let accepted = Referral::accept(&asked, &wish, "<sip:us>", "ours", Partition(3), &flow(), at(0));
        accepted.expect("accepted").0.expect("a subscription")
    };
    let (mut known, mut open) = (begin(), begin());
    known.progress(200, at(0));
    open.leave_open(at(0));
    for (referral, expected) in [(&mut known, "200 OK"), (&mut open, "100 Trying")] {
        assert!(referral.notifier.is_due(at(0)));
        let body = Some(referral.body());
        let notify = referral.notifier.notify("<sip:us>".into(), body, at(0));
        assert_eq!(told(&notify), format!("refer terminated;reason=noresource SIP/2.0 {expected}"));
    }
}

#[test]
fn refer_sub_false_makes_no_subscription() {
    let asked = refer(&["Refer-To: <sip:carol@sip.example>", "Refer-Sub: False;x"]);
    let wish = read(&asked).expect("a wish");
    let accepted = Referral::accept(&asked, &wish, "<sip:us>", "ours", Partition(3), &flow(), at(0));
    let (referral, reply) = accepted.expect("accepted");
    assert!(referral.is_none() && reply.headers.contains(&(HeaderName::ReferSub, "false".to_owned())));
}

#[test]
fn inside_a_call_each_refer_has_an_id() {
    let invite = request("INVITE", &["From: <sip:alice@sip.example>;tag=a1"]);
    let mut host = Dialog::of_request(&invite, "ours", Partition(3)).expect("a dialog");
    let asked = refer(&["Refer-To: <sip:carol@sip.example>"]);
    let wish = read(&asked).expect("a wish");
    let (referral, reply) = Referral::accept_inside(&mut host, &asked, &wish, "<sip:us>", &flow(), at(0));
    let mut referral = referral.expect("a subscription");
    assert_eq!((reply.status, reply.to_tag.as_deref(), referral.notifier.event()), (200, None, "refer;id=7"));
    let body = Some(referral.body());
    let notify = referral.notifier.inside(&mut host, |guest| guest.notify("<sip:us>".into(), body, at(0)));
    assert_eq!(
        (told(&notify).as_str(), notify.cseq),
        ("refer;id=7 active;expires=180 SIP/2.0 100 Trying", 1)
    );
    assert_eq!(host.local_cseq, 1);
}

struct Sender {
    machine: Referring,
    sent: OutRequest,
}

impl Sender {
    fn new(action: Action, quiet: bool) -> Sender {
        let parties = Parties {
            package: &REFER,
            from: "<sip:juliet@example.com>".into(),
            to: "<sip:room@focus.example>".into(),
            uri: "sip:room@focus.example".into(),
            contact: "<sip:juliet@192.0.2.9>".into(),
            domain: "focus.example".into(),
            partition: Partition(3),
        };
        let target = SipAddress::parse("sip:carol@sip.example").expect("an address");
        let mut mint = Mint::new(Seed([1; 32]));
        let (machine, sent) = Referring::refer(&mut mint, &parties, action, &target, quiet);
        Sender { machine, sent }
    }

    fn notify(
        &mut self,
        now: Now,
        tag: &str,
        cseq: u32,
        state: &str,
        body: &str,
    ) -> Result<Option<Outcome>, u16> {
        let text = format!(
            "NOTIFY sip:juliet@192.0.2.9 SIP/2.0\r\nFrom: <sip:room@focus.example>;tag={tag}\r\n\
             To: <sip:juliet@example.com>;tag=x\r\nCall-ID: c\r\nCSeq: {cseq} NOTIFY\r\nEvent: refer;id=1\r\n\
             Subscription-State: {state}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let parsed = parse_datagram(text.into(), &Limits::datagram()).expect("test message");
        let Message::Request(request) = parsed else { panic!("a request") };
        self.machine.notify(now, &request).map_err(|reply| reply.status)
    }

    fn header(&self, name: &HeaderName) -> &str {
        self.sent.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

#[test]
fn ours_names_whom_and_what() {
    let invite = Sender::new(Action::Invite, false);
    assert_eq!(
        (invite.sent.method.clone(), invite.sent.uri.as_str()),
        (Method::Refer, "sip:room@focus.example")
    );
    assert_eq!(invite.header(&HeaderName::ReferTo), "<sip:carol@sip.example>");
    assert_eq!(
        (invite.header(&HeaderName::ReferredBy), invite.header(&HeaderName::ReferSub)),
        ("<sip:juliet@example.com>", "")
    );
    let tag = invite.sent.from.rsplit("tag=").next().expect("a tag");
    assert!(invite.machine.is_about(&invite.sent.call_id, tag) && !invite.machine.is_about("c", tag));
    let bye = Sender::new(Action::Bye, true);
    let copy = request(
        "REFER",
        &["From: <sip:a@b>;tag=1", &format!("Refer-To: {}", bye.header(&HeaderName::ReferTo))],
    );
    assert_eq!(read(&copy).expect("a wish").action, Action::Bye);
    assert_eq!(bye.header(&HeaderName::ReferSub), "false");
}

#[test]
fn what_is_told_of_ours_is_understood() {
    let mut sender = Sender::new(Action::Invite, false);
    assert_eq!(sender.notify(at(0), "f1", 4, "active;expires=60", "SIP/2.0 100 Trying\r\n"), Ok(None));
    assert_eq!(sender.machine.answer(at(0), &answer(202, "")), None, "after its own NOTIFY");
    assert_eq!(
        sender.notify(at(1), "f1", 5, "active", "SIP/2.0 180 Ringing"),
        Ok(Some(Outcome::Progress(180)))
    );
    assert_eq!(sender.notify(at(1), "f2", 1, "active", "SIP/2.0 200 OK"), Err(481));
    assert_eq!(sender.notify(at(1), "f1", 3, "active", "SIP/2.0 200 OK"), Err(500));
    assert_eq!(sender.notify(at(1), "f1", 6, "active", "nonsense"), Ok(None));
    let done = sender.notify(at(2), "f1", 7, "terminated;reason=noresource", "SIP/2.0 486 Busy Here\r\n");
    assert_eq!(done, Ok(Some(Outcome::Done(486))));
}

#[test]
fn ours_ends_in_silence_a_refusal_or_nothing_known() {
    let mut silent = Sender::new(Action::Invite, false);
    assert_eq!(silent.machine.next_timeout(), None);
    assert_eq!(silent.machine.answer(at(0), &answer(200, "")), None);
    assert_eq!(silent.machine.next_timeout(), Some(at(32).tick));
    assert_eq!(silent.machine.timeout(at(31)), None);
    assert_eq!(silent.machine.timeout(at(32)), Some(Outcome::Unknown));
    let mut quiet = Sender::new(Action::Invite, true);
    assert_eq!(quiet.machine.answer(at(0), &answer(200, "Refer-Sub: false\r\n")), Some(Outcome::Unknown));
    let refused = Outcome::Refused { status: 403, words: "Because".into() };
    assert_eq!(quiet.machine.answer(at(0), &answer(403, "")), Some(refused));
    let failed = Answer::Failed(Failure::NoRoute);
    assert_eq!(quiet.machine.answer(at(0), &failed), Some(Outcome::Failed(Failure::NoRoute)));
    let open = silent.notify(at(33), "f1", 1, "terminated;reason=noresource", "SIP/2.0 100 Trying");
    assert_eq!(open, Ok(Some(Outcome::Unknown)));
    let status = Response::new(StatusCode::new(100).expect("a status"), "x");
    assert_eq!(quiet.machine.answer(at(0), &Answer::Provisional(status)), None);
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(value in "[ -~]{0,60}", body in ".{0,40}") {
        let line = format!("Refer-To: {value}");
        if let Ok(Message::Request(request)) = parse_datagram(
            format!("REFER sip:a@b SIP/2.0\r\nCSeq: 1 REFER\r\n{line}\r\nRefer-Sub: {value}\r\n\r\n").into(),
            &Limits::datagram(),
        ) {
            let _ = read(&request);
        }
        let _ = Sender::new(Action::Invite, false).notify(at(0), "f1", 1, "active", &body);
    }
}
