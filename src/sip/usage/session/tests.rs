//! What needs a peer that we do not write: forks, early dialogs, odd messages.

use super::*;
use crate::sip::message::{HeaderName, Message, Request};
use crate::words::id::{Partition, Seed};
use sipx_sip::{Limits, parse_datagram};

const ALLOW: &str = "INVITE, ACK, BYE";

fn mint() -> Mint {
    Mint::new(Seed([3; 32]))
}

fn sdp(text: &str) -> Body {
    Body::sdp(text.to_owned().into())
}

fn parse(lines: &str) -> Message {
    let text = lines.replace('\n', "\r\n") + "\r\n\r\n";
    parse_datagram(text.into(), &Limits::datagram()).expect("a message")
}

fn response(status: &str, tag: &str, cseq: u32, more: &str) -> Answer {
    let lines = format!(
        "SIP/2.0 {status}\nFrom: <sip:juliet@example.com>;tag=j\nTo: <sip:romeo@example.net>;tag={tag}\n\
         Call-ID: c\nCSeq: {cseq} INVITE\nContact: <sip:romeo@{tag}.example>\n{more}"
    );
    let Message::Response(response) = parse(lines.trim_end()) else { panic!("a response") };
    if response.status.is_provisional() {
        Answer::Provisional(response)
    } else {
        Answer::Final { response, cseq }
    }
}

fn of(answer: &Answer) -> &Response {
    match answer {
        Answer::Provisional(response) | Answer::Final { response, .. } => response,
        other => panic!("{other:?}"),
    }
}

fn request(method: &str, cseq: u32, tags: (&str, &str), more: &str) -> Request {
    let to = if tags.1.is_empty() { String::new() } else { format!(";tag={}", tags.1) };
    let lines = format!(
        "{method} sip:juliet@192.0.2.9 SIP/2.0\nFrom: <sip:romeo@example.net>;tag={}\n\
         To: <sip:juliet@example.com>{to}\nCall-ID: c\nCSeq: {cseq} {method}\n{more}",
        tags.0
    );
    let Message::Request(request) = parse(lines.trim_end()) else { panic!("a request") };
    request
}

fn calling() -> Session {
    let call = Call {
        from: "<sip:juliet@example.com>".into(),
        to: "<sip:romeo@example.net>".into(),
        uri: "sip:romeo@example.net".into(),
        call_id: Some("c".into()),
        contact: "<sip:juliet@192.0.2.9>".into(),
        allow: ALLOW.into(),
        offer: sdp("offer"),
        headers: vec![(HeaderName::Subject, "hello".into())],
        max_forwards: 20,
        patience: Duration::from_secs(10),
        partition: Partition(1),
        domain: "example.net".into(),
    };
    Session::invite(Now::default(), &mut mint(), call)
}

fn acts(session: &mut Session) -> Vec<Act> {
    std::iter::from_fn(|| session.poll()).collect()
}

/// What was done, in short: `INVITE 1 to sip:romeo@example.net`, `200`, `Ringing(180)`.
fn short(session: &mut Session) -> Vec<String> {
    let words = acts(session).into_iter().map(|act| match act {
        Act::Send(_, out) | Act::Ack(_, out) => format!("{} {} to {}", out.method, out.cseq, out.uri),
        Act::Cancel(_) => "CANCEL".to_owned(),
        Act::Reply(key, reply) => format!("{} for {}", reply.status, key.0),
        Act::Tell(Event::Accepted { answer, .. }) => {
            format!("Accepted({:?})", answer.map(|answer| answer.bytes))
        }
        Act::Tell(Event::Over(End::Refused(response))) => format!("Refused({})", response.status.code()),
        Act::Tell(event) => format!("{event:?}"),
    });
    words.collect()
}

fn header(reply: &Reply, wanted: HeaderName) -> String {
    let found = reply.headers.iter().find(|(name, _)| *name == wanted);
    found.map(|(_, value)| value.clone()).unwrap_or_default()
}

fn only_reply(session: &mut Session) -> Reply {
    match acts(session).pop() {
        Some(Act::Reply(_, reply)) => reply,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_invite_says_what_it_must() {
    let mut session = calling();
    let Some(Act::Send(0, invite)) = session.poll() else { panic!("an INVITE") };
    let value = |name: HeaderName| {
        let found = invite.headers.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    };
    assert_eq!((invite.cseq, invite.max_forwards, invite.to.contains("tag=")), (1, 20, false));
    assert_eq!(value(HeaderName::Contact), "<sip:juliet@192.0.2.9>");
    assert_eq!((value(HeaderName::Allow), value(HeaderName::Supported)), (ALLOW, "timer"));
    assert_eq!((value(HeaderName::SessionExpires), value(HeaderName::Subject)), ("1800", "hello"));
    assert_eq!((value(HeaderName::ContentType), &*invite.body), ("application/sdp", &b"offer"[..]));
}

#[test]
fn of_several_forks_the_first_2xx_is_used_and_the_others_are_ended() {
    let (mut session, mut mint, now) = (calling(), mint(), Now::default());
    acts(&mut session);
    session.answer(now, &mut mint, 0, &response("180 Ringing", "a", 1, ""));
    session.answer(now, &mut mint, 0, &response("180 Ringing", "b", 1, ""));
    session.answer(now, &mut mint, 0, &response("183 Progress", "b", 1, ""));
    assert_eq!(short(&mut session), ["Ringing(180)", "Ringing(183)"]);
    session.answer(now, &mut mint, 0, &response("200 OK", "b", 1, ""));
    assert_eq!(short(&mut session), ["ACK 1 to sip:romeo@b.example", "Accepted(None)"]);
    let fork = response("200 OK", "a", 1, "");
    session.further(0, 1, of(&fork));
    assert_eq!(short(&mut session), ["ACK 1 to sip:romeo@a.example", "BYE 2 to sip:romeo@a.example"]);
    session.further(0, 1, of(&fork));
    assert_eq!(short(&mut session), ["ACK 1 to sip:romeo@a.example"], "once is enough for BYE");
    session.further(0, 1, of(&response("200 OK", "b", 1, "")));
    assert_eq!(short(&mut session), ["ACK 1 to sip:romeo@b.example"]);
    assert!(session.is_up());
}

#[test]
fn an_answer_in_a_provisional_answer_of_the_same_dialog_counts() {
    let (mut session, mut mint, now) = (calling(), mint(), Now::default());
    acts(&mut session);
    let early = |status, tag, text| {
        let mut answer = response(status, tag, 1, "Content-Type: application/sdp");
        if let Answer::Provisional(response) | Answer::Final { response, .. } = &mut answer {
            response.set_body(bytes::Bytes::copy_from_slice(text));
        }
        answer
    };
    session.answer(now, &mut mint, 0, &early("183 Progress", "a", b"one"));
    session.answer(now, &mut mint, 0, &early("183 Progress", "b", b"two"));
    session.answer(now, &mut mint, 0, &early("200 OK", "b", b"new"));
    assert_eq!(short(&mut session)[2], "Accepted(Some(b\"two\"))");
}

#[test]
fn a_request_in_an_early_dialog_is_answered() {
    let (mut session, mut mint, now) = (calling(), mint(), Now::default());
    let tag = session.tag().to_owned();
    let update = request("UPDATE", 1, ("a", &tag), "Contact: <sip:a@b>");
    let call_id = session.call_id().to_owned();
    assert!(!session.holds(&call_id, &tag, "a"));
    session.answer(now, &mut mint, 0, &response("180 Ringing", "a", 1, ""));
    acts(&mut session);
    assert!(session.holds(&call_id, &tag, "a") && !session.holds(&call_id, &tag, "b"));
    assert!(session.request(now, &mut mint, ServerKey(1), &update));
    assert!(session.request(now, &mut mint, ServerKey(2), &request("INFO", 2, ("a", &tag), "")));
    assert_eq!(short(&mut session), ["491 for 1", "481 for 2"]);
}

#[test]
fn a_timer_that_is_too_short_is_made_longer_once() {
    let (mut session, mut mint, now) = (calling(), mint(), Now::default());
    acts(&mut session);
    session.answer(now, &mut mint, 0, &response("422 Too Small", "a", 1, "Min-SE: 7200"));
    let Some(Act::Send(1, invite)) = session.poll() else { panic!("another INVITE") };
    assert_eq!(invite.cseq, 2);
    let has = |name, value: &str| invite.headers.contains(&(name, value.into()));
    assert!(has(HeaderName::SessionExpires, "7200") && has(HeaderName::MinSe, "7200"));
    session.answer(now, &mut mint, 1, &response("422 Too Small", "a", 2, "Min-SE: 7200"));
    assert_eq!(short(&mut session), ["Refused(422)"]);
    assert!(session.is_done());
}

#[test]
fn a_redirection_is_told_and_not_followed() {
    let (mut session, mut mint, now) = (calling(), mint(), Now::default());
    acts(&mut session);
    session.answer(now, &mut mint, 0, &response("302 Moved", "a", 1, ""));
    assert_eq!(short(&mut session), ["Refused(302)"]);
}

fn invited(more: &str) -> Result<(Session, Option<Body>), Reply> {
    let contact = if more.contains("Contact") { "" } else { "Contact: <sip:romeo@192.0.2.7>\n" };
    let mut invite = request("INVITE", 5, ("r", ""), &format!("{contact}{more}"));
    if more.contains("Content-Type") {
        invite.set_body(bytes::Bytes::from_static(b"theirs"));
    }
    Session::invited(
        Now::default(),
        ServerKey(1),
        &invite,
        "ours",
        Partition(1),
        "<sip:juliet@192.0.2.9>",
        ALLOW,
    )
}

#[test]
fn an_invite_that_makes_no_session_is_refused() {
    let refused = |more: &str| invited(more).err().map(|reply| reply.status);
    assert_eq!(refused("Contact: <tel:1>"), Some(400));
    assert_eq!(refused("Content-Type: text/plain"), Some(415));
    assert_eq!(refused("Content-Type: text/plain\nContent-Disposition: icon; handling=optional"), None);
    assert_eq!(refused("Content-Type: application/sdp\nContent-Encoding: gzip"), Some(415));
    let brief = invited("Session-Expires: 60\nSupported: timer").expect_err("a refusal");
    assert_eq!((brief.status, header(&brief, HeaderName::MinSe).as_str()), (422, "90"));
}

#[test]
fn a_2xx_says_what_it_must_and_repeats_until_the_ack() {
    let more = "Content-Type: application/sdp\nSupported: timer\nSession-Expires: 600;refresher=uac";
    let (mut session, offer) = invited(more).expect("a session");
    assert_eq!(offer.map(|offer| offer.bytes), Some("theirs".into()));
    session.agree(Now::default(), sdp("ours"));
    let ok = only_reply(&mut session);
    assert_eq!((ok.status, ok.to_tag.as_deref(), &*ok.body), (200, Some("ours"), &b"ours"[..]));
    assert_eq!(header(&ok, HeaderName::SessionExpires), "600;refresher=uac");
    assert_eq!(
        (header(&ok, HeaderName::Require), header(&ok, HeaderName::Allow)),
        ("timer".into(), ALLOW.into())
    );
    let at = |millis: u64| Now { tick: Tick(millis * 1000), ..Now::default() };
    session.timeout(at(500));
    assert_eq!(only_reply(&mut session), ok);
    session.acked(at(600), &request("ACK", 4, ("r", "ours"), ""));
    assert!(acts(&mut session).is_empty(), "another one's ACK");
    session.acked(at(600), &request("ACK", 5, ("r", "ours"), ""));
    assert_eq!(short(&mut session), ["Confirmed { answer: None }"]);
    assert_eq!(session.next_timeout(), Some(Tick(568_000_000)), "32 s before the session expires");
}

#[test]
fn a_call_that_nobody_decides_ends_when_its_caller_wants_or_after_three_minutes() {
    for (more, seconds) in [("Expires: 20", 20), ("Expires: 20000", 180), ("", 180)] {
        let (mut session, _) = invited(more).expect("a session");
        assert_eq!(session.next_timeout(), Some(Tick(seconds * 1_000_000)));
        session.timeout(Now { tick: Tick(seconds * 1_000_000), ..Now::default() });
        assert_eq!(short(&mut session), ["487 for 1", "Over(NoAnswer)"]);
        assert!(session.is_done());
    }
}

#[test]
fn without_an_offer_ours_goes_in_the_2xx_and_the_ack_answers_it() {
    let (mut session, offer) = invited("").expect("a session");
    assert!(offer.is_none());
    session.agree(Now::default(), sdp("our offer"));
    acts(&mut session);
    let (now, mut mint) = (Now::default(), mint());
    let update = |cseq| {
        let mut update = request("UPDATE", cseq, ("r", "ours"), "Content-Type: application/sdp");
        update.set_body(bytes::Bytes::from_static(b"x"));
        update
    };
    session.request(now, &mut mint, ServerKey(2), &update(6));
    assert_eq!(short(&mut session), ["491 for 2"], "our offer has no answer yet");
    let mut ack = request("ACK", 5, ("r", "ours"), "Content-Type: application/sdp");
    ack.set_body(bytes::Bytes::from_static(b"answer"));
    session.acked(now, &ack);
    assert!(
        matches!(&acts(&mut session)[..], [Act::Tell(Event::Confirmed { answer: Some(body) })] if *body.bytes == *b"answer")
    );
    session.request(now, &mut mint, ServerKey(3), &update(7));
    assert!(matches!(&acts(&mut session)[..], [Act::Tell(Event::Offered(Some(_)))]));
    session.agree(now, sdp("our answer"));
    assert_eq!(short(&mut session), ["200 for 3"]);
    assert_eq!(session.next_timeout(), None, "an UPDATE has no ACK");
}

/// A session that they have begun, with its ACK.
fn up() -> (Session, Mint) {
    let (mut session, _) = invited("Content-Type: application/sdp").expect("a session");
    session.agree(Now::default(), sdp("ours"));
    session.acked(Now::default(), &request("ACK", 5, ("r", "ours"), ""));
    acts(&mut session);
    (session, mint())
}

#[test]
fn a_new_contact_is_where_requests_go_from_then_on() {
    let (mut session, mut mint) = up();
    let now = Now::default();
    let update = request("UPDATE", 6, ("r", "ours"), "Contact: <sip:romeo@192.0.2.8>");
    session.request(now, &mut mint, ServerKey(2), &update);
    assert_eq!((short(&mut session), session.target()), (vec!["200 for 2".into()], "sip:romeo@192.0.2.8"));
    let reinvite = request("INVITE", 7, ("r", "ours"), "Contact: <sip:romeo@192.0.2.10>");
    session.request(now, &mut mint, ServerKey(3), &reinvite);
    assert_eq!(short(&mut session), ["Offered(None)"]);
    session.decline(now, Reply::new(488));
    assert_eq!((short(&mut session), session.target()), (vec!["488 for 3".into()], "sip:romeo@192.0.2.8"));
    session.hang_up(None);
    assert_eq!(short(&mut session)[0], "BYE 1 to sip:romeo@192.0.2.8");
}

#[test]
fn one_question_at_a_time_and_cancel_takes_it_back() {
    let (mut session, mut mint) = up();
    let now = Now::default();
    session.request(now, &mut mint, ServerKey(2), &request("INVITE", 6, ("r", "ours"), ""));
    acts(&mut session);
    session.request(now, &mut mint, ServerKey(3), &request("INVITE", 7, ("r", "ours"), ""));
    let busy = only_reply(&mut session);
    assert!(busy.status == 500 && !header(&busy, HeaderName::RetryAfter).is_empty());
    assert!(!session.cancelled(now, ServerKey(9)));
    assert!(session.cancelled(now, ServerKey(2)));
    assert_eq!(short(&mut session), ["487 for 2", "Withdrawn"]);
    session.request(now, &mut mint, ServerKey(4), &request("INVITE", 6, ("r", "ours"), ""));
    assert_eq!(short(&mut session), ["500 for 4"], "CSeq runs upwards");
}

#[test]
fn a_bye_answers_what_nobody_will_decide_any_more() {
    let (mut session, mut mint) = up();
    let now = Now::default();
    session.request(now, &mut mint, ServerKey(2), &request("INVITE", 6, ("r", "ours"), ""));
    acts(&mut session);
    let bye = request("BYE", 7, ("r", "ours"), "Reason: Q.850;cause=16, SIP ;cause=200 ;text=\"bye\"");
    session.request(now, &mut mint, ServerKey(3), &bye);
    let expected = "Over(Theirs(Some(Cause { status: 200, text: \"bye\" })))";
    assert_eq!(short(&mut session), ["200 for 3", "487 for 2", expected]);
    assert!(session.is_done());
    session.request(now, &mut mint, ServerKey(4), &request("INVITE", 8, ("r", "ours"), ""));
    assert_eq!(short(&mut session), ["481 for 4"]);
}

#[test]
fn other_methods_are_left_to_the_owner() {
    let (mut session, mut mint) = up();
    let now = Now::default();
    assert!(!session.request(now, &mut mint, ServerKey(2), &request("INFO", 6, ("r", "ours"), "")));
    assert!(session.request(now, &mut mint, ServerKey(3), &request("OPTIONS", 7, ("r", "ours"), "")));
    assert_eq!(short(&mut session), ["200 for 3"]);
}

#[test]
fn a_caller_who_gives_up_while_nobody_has_decided_gets_487() {
    let (mut session, _) = invited("Content-Type: application/sdp").expect("a session");
    session.ring(Now::default());
    assert!(session.cancelled(Now::default(), ServerKey(1)));
    assert_eq!(short(&mut session), ["180 for 1", "487 for 1", "Over(Cancelled)"]);
    session.agree(Now::default(), sdp("late"));
    assert!(session.is_done() && session.next_timeout().is_none());
}

#[test]
fn a_reason_may_hold_anything() {
    let cause = Cause { status: 480, text: "a \"b\"; \\ c".into() };
    let (name, value) = cause.header();
    assert_eq!((name.canonical(), value.as_str()), (&b"Reason"[..], r#"SIP;cause=480;text="a \"b\"; \\ c""#));
    let bye = request("BYE", 1, ("a", "b"), &format!("Reason: Q.850;cause=16, {value}"));
    assert_eq!(Cause::read(&bye.headers), Some(cause));
    assert_eq!(Cause::read(&request("BYE", 1, ("a", "b"), "Reason: Q.850;cause=16").headers), None);
}

#[test]
fn forks_that_are_too_many_get_nothing() {
    let (mut session, mut mint, now) = (calling(), mint(), Now::default());
    session.answer(now, &mut mint, 0, &response("200 OK", "a", 1, ""));
    acts(&mut session);
    for number in 0..100 {
        session.further(0, 1, of(&response("200 OK", &format!("f{number}"), 1, "")));
    }
    assert_eq!(acts(&mut session).len(), 32, "ACK and BYE for sixteen");
}

#[test]
fn the_timer_is_agreed_by_the_table_of_rfc_4028() {
    // Supported, Session-Expires; what the 2xx says: RFC 4028 §9, table 2.
    let rows = [
        ("", "", "", ""),
        ("", "1800", "1800;refresher=uas", ""),
        ("timer", "", "1800;refresher=uas", "timer"),
        ("timer", "1800", "1800;refresher=uas", "timer"),
        ("timer", "1800;refresher=uas", "1800;refresher=uas", "timer"),
        ("timer", "1800;refresher=uac", "1800;refresher=uac", "timer"),
    ];
    for (supported, expires, agreed, required) in rows {
        let mut more = "Content-Type: application/sdp".to_owned();
        for (name, value) in [("Supported", supported), ("Session-Expires", expires)] {
            if !value.is_empty() {
                more += &format!("\n{name}: {value}");
            }
        }
        let (mut session, _) = invited(&more).expect("a session");
        session.agree(Now::default(), sdp("ours"));
        let ok = only_reply(&mut session);
        let said = [header(&ok, HeaderName::SessionExpires), header(&ok, HeaderName::Require)];
        assert_eq!(said, [agreed, required], "{more}");
    }
}

#[test]
fn who_has_neither_timer_nor_update_is_left_in_peace() {
    for (allow, wakes) in [("Allow: INVITE, UPDATE", true), ("Allow: INVITE", false)] {
        let (mut session, mut mint, now) = (calling(), mint(), Now::default());
        session.answer(now, &mut mint, 0, &response("200 OK", "a", 1, allow));
        acts(&mut session);
        session.timeout(Now { tick: Tick(0) + PATIENCE, ..now });
        assert_eq!(session.next_timeout().is_some(), wakes, "{allow}");
    }
}

#[test]
fn after_a_glare_who_made_the_call_id_waits_longer() {
    let (mut caller, mut mint, now) = (calling(), mint(), Now::default());
    caller.answer(now, &mut mint, 0, &response("200 OK", "a", 1, ""));
    for (mut session, waits) in [(caller, 2_100_000..=4_000_000), (up().0, 0..=2_000_000)] {
        session.offer(now, sdp("change"));
        let sent = acts(&mut session).into_iter().find_map(|act| match act {
            Act::Send(exchange, out) if &*out.body == b"change" => Some((exchange, out.cseq)),
            _ => None,
        });
        let (exchange, cseq) = sent.expect("a re-INVITE");
        session.answer(now, &mut mint, exchange, &response("491 Pending", "a", cseq, ""));
        assert!(acts(&mut session).is_empty());
        let at = session.next_timeout().expect("a second try");
        assert!(waits.contains(&at.0), "{at:?} {waits:?}");
        session.timeout(Now { tick: at, ..now });
        assert_eq!(acts(&mut session).len(), 1);
    }
}

#[test]
fn a_session_that_ended_at_once_still_ends_its_forks() {
    let (mut session, mut mint, now) = (calling(), mint(), Now::default());
    session.answer(now, &mut mint, 0, &response("200 OK", "a", 1, ""));
    session.hang_up(None);
    session.answer(now, &mut mint, 1, &response("200 OK", "a", 2, ""));
    acts(&mut session);
    assert!(!session.is_done());
    session.further(0, 1, of(&response("200 OK", "b", 1, "")));
    assert_eq!(short(&mut session).len(), 2);
    session.answer(now, &mut mint, 2, &response("481 Gone", "b", 2, ""));
    session.timeout(Now { tick: Tick(0) + PATIENCE, ..now });
    assert!(session.is_done());
}

#[test]
fn after_a_restart_numbers_begin_above_all_that_may_have_been_used() {
    let (session, _) = up();
    let mut session = Session::restore(session.kept().expect("a record"), "INVITE");
    session.hang_up(None);
    assert_eq!(short(&mut session)[0], "BYE 10001 to sip:romeo@192.0.2.7");
}

#[test]
fn a_record_that_says_more_is_read() {
    let kept = up().0.kept().expect("a record");
    let mut value = serde_json::to_value(&kept).expect("JSON");
    value["allow"] = "INVITE".into();
    value["timer"] = serde_json::Value::Null;
    assert_eq!(serde_json::from_value::<super::Kept>(value).expect("a record"), kept);
}
