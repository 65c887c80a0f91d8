use super::super::package::{CONFERENCE, PRESENCE};
use super::*;
use crate::sip::flow::{ConnId, Transport};
use sipx_sip::{Limits, Message, StatusCode, parse_datagram};

fn subscribe(further: &[&str]) -> Request {
    let mut lines = vec![
        "SUBSCRIBE sip:juliet@example.com SIP/2.0",
        "From: <sip:romeo@example.net>;tag=xfg9",
        "To: <sip:juliet@example.com>",
        "Call-ID: AA5A8BE5",
        "Contact: <sip:romeo@192.0.2.7>",
    ];
    lines.extend(further);
    let text = lines.join("\r\n") + "\r\n\r\n";
    match parse_datagram(text.into(), &Limits::datagram()).expect("test message") {
        Message::Request(request) => request,
        Message::Response(_) => panic!("a request"),
    }
}

fn judged(further: &[&str]) -> Result<Terms, Reply> {
    PRESENCE.judge(&subscribe(further).headers)
}

fn at(seconds: u64) -> Now {
    Now { tick: Tick(seconds * 1_000_000), wall: Wall((1_700_000_000 + seconds) * 1000) }
}

fn over(conn: Option<ConnId>) -> Flow {
    let local = "192.0.2.9:5060".parse().expect("an address");
    let remote = "192.0.2.7:40000".parse().expect("an address");
    Flow { transport: Transport::Tcp, local, remote, conn }
}

fn accepted_over(request: &Request, conn: Option<ConnId>, now: Now) -> Notifier {
    let terms = PRESENCE.judge(&request.headers).expect("terms");
    let accepted = Notifier::accept(request, &terms, "<sip:us>", "ur93", Partition(3), &over(conn), now);
    accepted.expect("a subscription").0
}

fn accepted(now: Now) -> Notifier {
    let request = subscribe(&["CSeq: 1 SUBSCRIBE", "Event: presence"]);
    accepted_over(&request, None, now)
}

fn state(request: &OutRequest) -> &str {
    let found = request.headers.iter().find(|(name, _)| *name == HeaderName::SubscriptionState);
    &found.expect("Subscription-State").1
}

fn answer(status: u16) -> Answer {
    let status = StatusCode::new(status).expect("a status");
    Answer::Final { response: Response::new(status, ""), cseq: 1 }
}

#[test]
fn a_subscribe_without_expires_and_accept_is_granted_an_hour() {
    assert_eq!(
        judged(&["Event: presence"]),
        Ok(Terms { event: "presence".into(), expires: 3600, pace: Duration::from_secs(5) })
    );
}

#[test]
fn the_event_id_is_repeated_and_other_parameters_are_not() {
    assert_eq!(judged(&["o: presence ;x=y; ID=7"]).expect("terms").event, "presence;id=7");
}

#[test]
fn another_package_or_none_is_489() {
    for event in ["Event: dialog", "Event: presence.winfo", "X: y"] {
        let reply = judged(&[event]).expect_err("refused");
        assert_eq!(reply.status, 489);
        assert_eq!(reply.headers, [(HeaderName::AllowEvents, "presence".to_owned())]);
    }
}

#[test]
fn an_accept_without_the_document_is_406() {
    for refused in ["Accept: text/plain", "Accept:", "Accept: application/pidf+xml;q=0, text/*"] {
        assert_eq!(judged(&["Event: presence", refused]).expect_err("refused").status, 406, "{refused}");
    }
    for taken in ["Accept: Application/PIDF+xml", "Accept: text/*, */*;q=0.1", "Accept: application/*"] {
        assert!(judged(&["Event: presence", taken]).is_ok(), "{taken}");
    }
}

#[test]
fn only_an_interval_between_zero_and_the_minimum_is_too_brief() {
    let brief = judged(&["Event: presence", "Expires: 59"]).expect_err("refused");
    assert_eq!((brief.status, brief.headers[0].1.as_str()), (423, "60"));
    for (asked, granted) in [("0", 0), ("60", 60), ("86400", 3600), ("99999999999", 3600)] {
        let terms = judged(&["Event: presence", &format!("Expires: {asked}")]).expect("terms");
        assert_eq!(terms.expires, granted);
    }
    assert_eq!(judged(&["Event: presence", "Expires: soon"]).expect_err("refused").status, 400);
}

#[test]
fn only_the_notify_that_follows_prefers_the_connection_of_the_subscribe() {
    let via = "Via: SIP/2.0/TCP 192.0.2.7;branch=z9hG4bK1";
    for (further, is_next) in
        [(&[via][..], true), (&[via, via], false), (&[via, via, "Record-Route: <sip:192.0.2.7;lr>"], true)]
    {
        let lines = [&["CSeq: 1 SUBSCRIBE", "Event: presence"], further].concat();
        let mut notifier = accepted_over(&subscribe(&lines), Some(ConnId(4)), at(0));
        let sent = notifier.notify("<sip:us>".into(), None, at(0)).over;
        let source = "192.0.2.7".parse().expect("an address");
        assert_eq!(sent, Some(Inlet { conn: ConnId(4), source, is_next }), "{further:?}");
        assert_eq!(notifier.notify("<sip:us>".into(), None, at(1)).over, None);
        let lines = ["CSeq: 2 SUBSCRIBE", "Event: presence", via];
        let terms = PRESENCE.judge(&subscribe(&lines).headers).expect("terms");
        notifier.refresh(&subscribe(&lines), &terms, "<sip:us>", &over(Some(ConnId(5))), at(2));
        let sent = notifier.notify("<sip:us>".into(), None, at(2)).over;
        assert_eq!(sent, Some(Inlet { conn: ConnId(5), source, is_next: true }), "{further:?}");
    }
}

#[test]
fn a_change_waits_for_its_turn_and_for_the_outstanding_one() {
    let mut notifier = accepted(at(0));
    notifier.want_now(at(0));
    assert!(notifier.is_due(at(0)));
    assert_eq!(state(&notifier.notify("<sip:us>".into(), None, at(0))), "pending;expires=3600");
    notifier.want(at(1));
    assert!(!notifier.is_due(at(6)), "one is outstanding");
    assert_eq!(notifier.answered(&answer(200), at(7)), Verdict::Keep);
    assert!(notifier.is_due(at(7)));
    notifier.activate();
    assert_eq!(state(&notifier.notify("<sip:us>".into(), None, at(7))), "active;expires=3593");
    notifier.answered(&answer(200), at(7));
    notifier.want(at(8));
    assert_eq!(notifier.next(), Some(at(12).tick));
    assert!(!notifier.is_due(at(11)));
    assert!(notifier.is_due(at(12)));
}

#[test]
fn expiry_ends_with_timeout() {
    let mut notifier = accepted(at(0));
    assert_eq!(notifier.next(), Some(at(3600).tick));
    assert!(notifier.is_due(at(3600)));
    assert_eq!(state(&notifier.notify("<sip:us>".into(), None, at(3600))), "terminated;reason=timeout");
    let late = subscribe(&["CSeq: 2 SUBSCRIBE", "Event: presence"]);
    let terms = PRESENCE.judge(&late.headers).expect("terms");
    assert_eq!(notifier.refresh(&late, &terms, "<sip:us>", &over(None), at(3601)).status, 481);
}

#[test]
fn a_refresh_moves_the_expiry_and_one_out_of_order_is_500() {
    let mut notifier = accepted(at(0));
    let refresh = subscribe(&["CSeq: 5 SUBSCRIBE", "Event: presence", "Expires: 100"]);
    let terms = PRESENCE.judge(&refresh.headers).expect("terms");
    let reply = notifier.refresh(&refresh, &terms, "<sip:us>", &over(None), at(50));
    assert_eq!((reply.status, reply.headers[0].1.as_str()), (200, "100"));
    assert_eq!(notifier.next(), Some(at(150).tick));
    let old = subscribe(&["CSeq: 4 SUBSCRIBE", "Event: presence"]);
    assert_eq!(notifier.refresh(&old, &terms, "<sip:us>", &over(None), at(51)).status, 500);
}

#[test]
fn the_codes_of_the_rfc_remove_the_subscription() {
    for code in [404, 405, 408, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604] {
        let mut notifier = accepted(at(0));
        notifier.notify("<sip:us>".into(), None, at(0));
        assert_eq!(notifier.answered(&answer(code), at(1)), Verdict::Gone, "{code}");
    }
    let mut notifier = accepted(at(0));
    notifier.notify("<sip:us>".into(), None, at(0));
    assert_eq!(notifier.answered(&Answer::Failed(Failure::Timeout), at(32)), Verdict::Gone);
}

#[test]
fn what_may_pass_is_tried_again_later_and_later() {
    let mut notifier = accepted(at(0));
    let mut now = 0;
    for wait in [5, 10, 20, 40, 80, 160, 160] {
        notifier.notify("<sip:us>".into(), None, at(now));
        assert_eq!(notifier.answered(&answer(503), at(now)), Verdict::Keep);
        assert_eq!(notifier.next(), Some(at(now + wait).tick));
        now += wait;
    }
    notifier.notify("<sip:us>".into(), None, at(now));
    notifier.answered(&answer(403), at(now));
    assert_eq!(notifier.next(), Some(at(3600).tick), "a refusal is not repeated");
}

#[test]
fn what_is_too_long_for_the_way_is_to_be_shortened() {
    for code in [413, 477, 513] {
        let mut notifier = accepted(at(0));
        notifier.notify("<sip:us>".into(), None, at(0));
        assert_eq!(notifier.answered(&answer(code), at(1)), Verdict::Shorten, "{code}");
        assert!(!notifier.is_in_flight());
    }
}

#[test]
fn a_kept_subscription_goes_on_with_higher_numbers() {
    let mut notifier = accepted(at(0));
    notifier.activate();
    notifier.notify("<sip:us>".into(), None, at(0));
    let kept = serde_json::to_vec(&notifier.kept(at(10))).expect("JSON");
    let later = Now { tick: Tick(0), wall: at(3590).wall };
    let mut back =
        Notifier::restore(serde_json::from_slice(&kept).expect("a subscription"), &PRESENCE, later);
    let notify = back.notify("<sip:us>".into(), None, later);
    assert_eq!(state(&notify), "active;expires=10");
    assert_eq!((notify.cseq, notify.from.as_str()), (10_002, "<sip:juliet@example.com>;tag=ur93"));
}

#[test]
fn a_subscription_that_was_kept_after_its_end_is_over() {
    let mut notifier = accepted(at(0));
    notifier.activate();
    notifier.end(Reason::Timeout, None, at(10));
    let mut back = Notifier::restore(notifier.kept(at(10)), &PRESENCE, at(11));
    assert!(back.is_due(at(11)));
    let notify = back.notify("<sip:us>".into(), None, at(11));
    assert_eq!(state(&notify), "terminated;reason=timeout");
}

#[test]
fn a_calendar_that_was_set_back_gives_no_more_than_was_granted() {
    let request = subscribe(&["CSeq: 1 SUBSCRIBE", "Event: presence", "Expires: 600"]);
    let kept = accepted_over(&request, None, at(0)).kept(at(10));
    let before = Now { tick: Tick(0), wall: Wall(0) };
    let back = Notifier::restore(kept, &PRESENCE, before);
    assert_eq!(back.next(), Some(before.tick + Duration::from_secs(600)));
}

#[test]
fn a_roster_may_be_told_each_second() {
    let lines = ["CSeq: 1 SUBSCRIBE", "Event: conference", "Accept: application/conference-info+xml"];
    let terms = CONFERENCE.judge(&subscribe(&lines).headers).expect("terms");
    assert_eq!((terms.event.as_str(), terms.expires), ("conference", 3600));
    let request = subscribe(&lines);
    let accepted = Notifier::accept(&request, &terms, "<sip:us>", "ur93", Partition(3), &over(None), at(0));
    let mut notifier = accepted.expect("a subscription").0;
    notifier.activate();
    notifier.want_now(at(0));
    notifier.notify("<sip:us>".into(), None, at(0));
    notifier.answered(&answer(200), at(0));
    notifier.want(at(0));
    assert_eq!(notifier.next(), Some(at(1).tick));
}

#[test]
fn a_guest_counts_on_from_the_numbers_of_its_host() {
    let invite = subscribe(&["CSeq: 1 INVITE"]);
    let mut host = Dialog::of_request(&invite, "ur93", Partition(3)).expect("a dialog");
    host.request(Method::Update);
    let asked = ["CSeq: 2 SUBSCRIBE", "Event: conference;id=7", "Contact: <sip:romeo@192.0.2.8>"];
    let request = subscribe(&asked);
    let terms = CONFERENCE.judge(&request.headers).expect("terms");
    let (mut guest, reply) =
        Notifier::accept_inside(&mut host, &request, &terms, "<sip:us>", &over(None), at(0));
    assert_eq!(
        (reply.status, reply.to_tag, guest.event(), guest.tag()),
        (200, None, "conference;id=7", "ur93")
    );
    let notify = guest.inside(&mut host, |guest| guest.notify("<sip:us>".into(), None, at(0)));
    assert_eq!((notify.cseq, notify.from.as_str()), (2, "<sip:juliet@example.com>;tag=ur93"));
    let used =
        Answer::Final { response: Response::new(StatusCode::new(200).expect("a status"), ""), cseq: 5 };
    assert_eq!(guest.inside(&mut host, |guest| guest.answered(&used, at(0))), Verdict::Keep);
    assert_eq!(host.request(Method::Bye).cseq, 6, "the challenge was counted");
    guest.inherit(host);
    guest.end(Reason::NoResource, None, at(1));
    let last = guest.notify("<sip:us>".into(), None, at(1));
    assert_eq!((last.cseq, state(&last)), (7, "terminated;reason=noresource"));
}

#[test]
fn the_notify_that_follows_a_subscribe_overtakes_and_what_was_overtaken_ends_nothing() {
    let mut notifier = accepted(at(0));
    notifier.want_now(at(0));
    assert!(notifier.is_due(at(0)));
    notifier.notify("<sip:us>".into(), None, at(0));
    notifier.want_now(at(1));
    assert!(!notifier.is_due(at(1)), "news wait for the answer");
    let again = subscribe(&["CSeq: 2 SUBSCRIBE", "Event: presence"]);
    let terms = PRESENCE.judge(&again.headers).expect("terms");
    assert_eq!(notifier.refresh(&again, &terms, "<sip:us>", &over(None), at(20)).status, 200);
    notifier.want_now(at(20));
    assert!(notifier.is_due(at(20)), "who subscribes is there to hear");
    notifier.notify("<sip:us>".into(), None, at(20));
    assert_eq!(notifier.answered(&Answer::Failed(Failure::Timeout), at(32)), Verdict::Keep);
    assert!(notifier.is_in_flight());
    assert_eq!(notifier.answered(&Answer::Failed(Failure::Timeout), at(52)), Verdict::Gone);
}

#[test]
fn a_subscriber_that_answers_nothing_is_not_sent_more_and_more() {
    let mut notifier = accepted(at(0));
    let mut sent = 0;
    for number in 2..20 {
        let again = subscribe(&[&format!("CSeq: {number} SUBSCRIBE"), "Event: presence"]);
        let terms = PRESENCE.judge(&again.headers).expect("terms");
        notifier.refresh(&again, &terms, "<sip:us>", &over(None), at(number));
        notifier.want_now(at(number));
        if notifier.is_due(at(number)) {
            notifier.notify("<sip:us>".into(), None, at(number));
            sent += 1;
        }
    }
    assert_eq!(sent, usize::from(OVERTAKEN) + 1);
}
