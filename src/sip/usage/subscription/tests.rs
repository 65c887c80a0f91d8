//! One behaviour of RFC 6665 §4.1 each.

use super::*;
use crate::sip::usage::package::{CONFERENCE, PRESENCE};
use crate::words::id::Seed;
use sipx_sip::{Limits, Message, Response, parse_datagram};

struct Scene {
    now: Now,
    mint: Mint,
    parties: Parties,
    machine: Subscription,
    sent: OutRequest,
}

impl Scene {
    fn new() -> Scene {
        Scene::begin(Subscription::subscribe)
    }

    fn begin(how: fn(Now, &mut Mint, &Parties) -> (Subscription, OutRequest)) -> Scene {
        let parties = Parties {
            package: &PRESENCE,
            from: "<sip:juliet@example.com>".into(),
            to: "<sip:romeo@example.net>".into(),
            uri: "sip:romeo@example.net".into(),
            contact: "<sip:juliet@192.0.2.9>".into(),
            domain: "example.net".into(),
            partition: Partition(3),
        };
        let now = Now { tick: Tick(1_000_000), wall: Wall(1_000_000) };
        let mut mint = Mint::new(Seed([1; 32]));
        let (machine, sent) = how(now, &mut mint, &parties);
        Scene { now, mint, parties, machine, sent }
    }

    /// Lets time pass and gives what it meant.
    fn wait(&mut self, seconds: u64) -> Vec<Meaning> {
        self.now = Now {
            tick: self.now.tick + Duration::from_secs(seconds),
            wall: self.now.wall + Duration::from_secs(seconds),
        };
        std::iter::from_fn(|| self.machine.timeout(self.now)).collect()
    }

    fn answer(&mut self, status: u16, extra: &[&str]) -> Step {
        let answer = Answer::Final { response: response(status, extra), cseq: self.sent.cseq };
        self.take(&answer)
    }

    fn take(&mut self, answer: &Answer) -> Step {
        let step = self.machine.answer(self.now, &mut self.mint, &self.parties, answer);
        if let Some(request) = &step.request {
            self.sent = (**request).clone();
        }
        step
    }

    fn notify(&mut self, tag: &str, cseq: u32, state: &str) -> Result<Notice, u16> {
        let call = self.sent.call_id.clone();
        let own = self.sent.from.rsplit("tag=").next().unwrap_or_default().to_owned();
        self.hear(&format!(
            "NOTIFY sip:juliet@192.0.2.9 SIP/2.0\r\nFrom: <sip:romeo@example.net>;tag={tag}\r\n\
             To: <sip:juliet@example.com>;tag={own}\r\nCall-ID: {call}\r\nCSeq: {cseq} NOTIFY\r\n\
             Contact: <sip:romeo@192.0.2.7>\r\nEvent: presence\r\n\
             Subscription-State: {state}\r\nContent-Length: 0\r\n\r\n"
        ))
    }

    fn hear(&mut self, text: &str) -> Result<Notice, u16> {
        let parsed = parse_datagram(text.to_owned().into(), &Limits::datagram()).expect("test message");
        let Message::Request(request) = parsed else { panic!("a request") };
        match self.machine.notify(self.now, &mut self.mint, &self.parties, &request) {
            Ok((notice, farewell)) => {
                if let Some(request) = farewell {
                    self.sent = request;
                }
                Ok(notice)
            }
            Err(reply) => Err(reply.status),
        }
    }

    fn refresh(&mut self) {
        self.sent = self.machine.refresh(self.now, &self.parties).expect("a refresh");
    }

    fn end(&mut self) -> Option<u32> {
        let request = self.machine.end(self.now, &self.parties)?;
        self.sent = request;
        Some(self.sent.cseq)
    }

    fn expires(&self) -> &str {
        header(&self.sent, &HeaderName::Expires)
    }
}

fn header<'a>(request: &'a OutRequest, name: &HeaderName) -> &'a str {
    request.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
}

fn response(status: u16, extra: &[&str]) -> Response {
    let mut lines = vec![format!("SIP/2.0 {status} X"), "CSeq: 1 SUBSCRIBE".into()];
    lines.extend(extra.iter().map(ToString::to_string));
    let text = lines.join("\r\n") + "\r\n\r\n";
    let parsed = parse_datagram(text.into(), &Limits::datagram()).expect("test message");
    let Message::Response(response) = parsed else { panic!("a response") };
    response
}

fn over(step: &Step) -> Option<&End> {
    match &step.meaning {
        Some(Meaning::Over(end)) => Some(end),
        _ => None,
    }
}

#[test]
fn a_roster_is_asked_for_and_another_package_is_489() {
    let mut scene = Scene::new();
    scene.parties.package = &CONFERENCE;
    (scene.machine, scene.sent) = Subscription::subscribe(scene.now, &mut scene.mint, &scene.parties);
    assert_eq!(header(&scene.sent, &HeaderName::Event), "conference");
    assert_eq!(header(&scene.sent, &HeaderName::Accept), "application/conference-info+xml");
    assert_eq!(scene.notify("r1", 5, "active"), Err(489), "it is about presence");
}

#[test]
fn a_subscribe_asks_for_an_hour_of_presence() {
    let scene = Scene::new();
    assert_eq!(scene.expires(), "3600");
    assert_eq!(header(&scene.sent, &HeaderName::Event), "presence");
    assert_eq!(header(&scene.sent, &HeaderName::Accept), "application/pidf+xml");
    assert_eq!(header(&scene.sent, &HeaderName::Contact), "<sip:juliet@192.0.2.9>");
    assert_eq!((scene.sent.to.as_str(), scene.sent.cseq), ("<sip:romeo@example.net>", 1));
}

#[test]
fn a_notify_may_come_before_the_200_and_its_expiry_counts() {
    let mut scene = Scene::new();
    assert_eq!(scene.notify("r1", 1, "active;expires=100").expect("taken").state, State::Active);
    assert_eq!(scene.answer(200, &["Expires: 3600"]), Step::default());
    let meant = scene.wait(86);
    assert_eq!(meant, [Meaning::RefreshDue]);
    assert_eq!(scene.wait(15), [Meaning::Over(End::Expired)]);
}

#[test]
fn a_notify_is_accepted_until_the_granted_expiry() {
    let mut scene = Scene::new();
    scene.answer(200, &["Expires: 600"]);
    scene.notify("r1", 1, "active").expect("taken");
    assert_eq!(scene.wait(599), [Meaning::RefreshDue]);
    scene.notify("r1", 2, "active").expect("still taken");
    assert_eq!(scene.wait(1), [Meaning::Over(End::Expired)]);
}

#[test]
fn refreshes_are_spread_over_the_middle_of_what_is_left() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let mut scene = Scene::new();
        scene.mint = Mint::new(Seed([seed; 32]));
        scene.answer(200, &["Expires: 1000"]);
        scene.notify("r1", 1, "active;expires=1000").expect("taken");
        let at = scene.machine.next_timeout().expect("a refresh");
        let wait = (at - scene.now.tick).as_secs();
        assert!((500..=850).contains(&wait), "{wait}");
        seen.insert(wait);
    }
    assert!(seen.len() > 10);
}

#[test]
fn many_notifies_do_not_put_the_refresh_off() {
    let mut scene = Scene::new();
    scene.answer(200, &["Expires: 600"]);
    for second in 0..600 {
        scene.notify("r1", second + 1, &format!("active;expires={}", 600 - second)).expect("taken");
        if scene.wait(1) == [Meaning::RefreshDue] {
            assert!((300..=511).contains(&second), "{second}");
            return;
        }
    }
    panic!("no refresh");
}

#[test]
fn no_notify_within_timer_n_means_that_it_failed() {
    let mut scene = Scene::new();
    scene.answer(200, &["Expires: 3600"]);
    assert_eq!(scene.wait(31), []);
    assert_eq!(scene.wait(1), [Meaning::Over(End::Silent)]);
}

#[test]
fn a_refresh_without_notify_ends_the_subscription() {
    let mut scene = Scene::new();
    scene.answer(200, &[]);
    scene.notify("r1", 1, "active;expires=3600").expect("taken");
    scene.refresh();
    scene.answer(200, &[]);
    assert_eq!(scene.wait(32), [Meaning::Over(End::Silent)]);
}

#[test]
fn an_unanswered_subscribe_is_left_to_its_transaction() {
    let mut scene = Scene::new();
    assert_eq!(scene.wait(33), []);
    let step = scene.take(&Answer::Failed(Failure::Timeout));
    assert_eq!(over(&step), Some(&End::Refused { status: 408, retry_after: None }));
}

#[test]
fn a_fork_that_is_not_followed_is_told_481() {
    let mut scene = Scene::new();
    scene.notify("fork1", 1, "pending").expect("taken");
    assert_eq!(scene.notify("fork2", 1, "active"), Err(481));
    scene.notify("fork1", 2, "active").expect("taken");
}

#[test]
fn a_notify_out_of_order_or_without_state_or_of_another_package_is_refused() {
    let mut scene = Scene::new();
    scene.notify("r1", 7, "active").expect("taken");
    assert_eq!(scene.notify("r1", 6, "active"), Err(500));
    assert_eq!(scene.notify("r1", 8, "sleepy"), Err(400));
    assert_eq!(scene.hear("NOTIFY sip:j SIP/2.0\r\nEvent: presence\r\nCSeq: 9 NOTIFY\r\n\r\n"), Err(400));
    let other =
        "NOTIFY sip:j SIP/2.0\r\nEvent: dialog\r\nSubscription-State: active\r\nCSeq: 9 NOTIFY\r\n\r\n";
    assert_eq!(scene.hear(other), Err(489));
}

#[test]
fn a_423_is_obeyed_with_the_next_number() {
    let mut scene = Scene::new();
    let first = scene.sent.clone();
    let step = scene.answer(423, &["Min-Expires: 7200"]);
    assert!(step.meaning.is_none());
    assert_eq!(scene.expires(), "7200");
    assert_eq!((scene.sent.cseq, &scene.sent.call_id), (first.cseq + 1, &first.call_id));
    scene.answer(423, &["Min-Expires: 9000"]);
    let step = scene.answer(423, &["Min-Expires: 10000"]);
    assert_eq!(over(&step), Some(&End::Refused { status: 423, retry_after: None }));
}

#[test]
fn a_481_to_a_refresh_says_that_the_dialog_is_lost() {
    let mut scene = Scene::new();
    scene.answer(200, &[]);
    scene.notify("r1", 1, "active").expect("taken");
    scene.refresh();
    assert_eq!(over(&scene.answer(481, &[])), Some(&End::Lost));
}

#[test]
fn a_refresh_that_fails_otherwise_leaves_the_subscription_alive() {
    for status in [400, 408, 500, 503] {
        let mut scene = Scene::new();
        scene.answer(200, &[]);
        scene.notify("r1", 1, "active;expires=3600").expect("taken");
        scene.refresh();
        assert!(matches!(scene.answer(status, &[]).meaning, Some(Meaning::RefreshFailed(_))), "{status}");
        scene.notify("r1", 2, "active").expect("still taken");
        assert_eq!(scene.wait(2000), [Meaning::RefreshDue], "{status}");
    }
}

#[test]
fn a_refresh_that_fails_is_tried_again_soon_and_then_less_and_less_often() {
    let mut scene = Scene::new();
    scene.answer(200, &[]);
    scene.notify("r1", 1, "active;expires=3600").expect("taken");
    for pause in [60, 120, 240] {
        scene.refresh();
        scene.take(&Answer::Failed(Failure::Timeout));
        assert!(scene.wait(pause - 1).is_empty());
        assert_eq!(scene.wait(1), [Meaning::RefreshDue], "after {pause} s");
    }
    scene.refresh();
    scene.answer(200, &["Expires: 3600"]);
    scene.refresh();
    scene.take(&Answer::Failed(Failure::Timeout));
    assert_eq!(scene.wait(60), [Meaning::RefreshDue], "one that succeeded ends the row");
}

#[test]
fn these_answers_to_a_refresh_end_the_subscription() {
    for status in [403, 404, 405, 410, 416, 480, 482, 483, 484, 485, 489, 501, 603, 604] {
        let mut scene = Scene::new();
        scene.answer(200, &[]);
        scene.notify("r1", 1, "active").expect("taken");
        scene.refresh();
        let step = scene.answer(status, &["Retry-After: 120 (soon)"]);
        let retry_after = Some(Duration::from_secs(120));
        assert_eq!(over(&step), Some(&End::Refused { status, retry_after }), "{status}");
    }
}

#[test]
fn what_a_terminated_notify_says_is_handed_on() {
    let mut scene = Scene::new();
    let notice = scene.notify("r1", 1, "terminated;reason=probation;retry-after=60").expect("taken");
    let retry_after = Some(Duration::from_secs(60));
    assert_eq!(notice.end, Some(End::Terminated { reason: Some(Reason::Probation), retry_after }));
}

fn ending() -> Scene {
    let mut scene = Scene::new();
    scene.answer(200, &[]);
    scene.notify("r1", 1, "active").expect("taken");
    assert_eq!(scene.end(), Some(2));
    assert_eq!(scene.expires(), "0");
    scene
}

#[test]
fn an_end_that_is_refused_or_promises_no_notify_is_done_with_its_answer() {
    for status in [204, 481, 500] {
        assert_eq!(over(&ending().answer(status, &[])), Some(&End::Closed), "{status}");
    }
}

#[test]
fn after_the_200_to_an_end_the_last_notify_is_waited_for() {
    let mut scene = ending();
    assert_eq!(scene.answer(200, &[]).meaning, Some(Meaning::Ending));
    assert_eq!(scene.notify("r1", 2, "active;expires=3000").expect("taken").end, None);
    assert_eq!(scene.notify("r1", 3, "terminated").expect("taken").end, Some(End::Closed));
}

#[test]
fn after_timer_n_no_last_notify_is_waited_for() {
    let mut scene = ending();
    scene.wait(20);
    scene.answer(200, &["Expires: 0"]);
    scene.notify("r1", 2, "active;expires=3000").expect("taken");
    assert_eq!(scene.wait(12), [Meaning::Over(End::Closed)]);
    assert_eq!(scene.machine.next_timeout(), None);
}

#[test]
fn an_end_before_the_first_notify_waits_for_it() {
    let mut scene = Scene::new();
    assert_eq!(scene.end(), None);
    scene.answer(200, &[]);
    scene.notify("r1", 1, "active").expect("taken");
    assert_eq!((scene.expires(), scene.sent.cseq), ("0", 2));
    let last = scene.notify("r1", 2, "terminated;reason=timeout").expect("taken");
    assert_eq!(last.end, Some(End::Closed));
}

#[test]
fn an_end_without_any_notify_is_done_after_timer_n() {
    let mut scene = Scene::new();
    scene.answer(200, &[]);
    scene.end();
    assert_eq!(scene.wait(32), [Meaning::Over(End::Closed)]);
}

#[test]
fn a_fetch_asks_once() {
    let mut scene = Scene::begin(Subscription::fetch);
    assert_eq!(scene.expires(), "0");
    scene.answer(200, &["Expires: 0"]);
    let notice = scene.notify("r1", 1, "terminated;reason=timeout").expect("taken");
    assert!(notice.end.is_some());
}

#[test]
fn a_subscription_survives_a_restart() {
    let mut scene = Scene::new();
    scene.answer(200, &[]);
    scene.notify("r1", 4, "active;expires=3600").expect("taken");
    let kept = serde_json::to_string(&scene.machine.keep(scene.now)).expect("JSON");
    let kept: Option<Kept> = serde_json::from_str(&kept).expect("kept");
    scene.machine =
        Subscription::restore(scene.now, kept.clone().expect("a dialog"), &PRESENCE).expect("alive");
    scene.refresh();
    assert_eq!(scene.sent.cseq, 2);
    scene.notify("r1", 5, "active").expect("taken");
    scene.wait(3600);
    assert!(Subscription::restore(scene.now, kept.expect("a dialog"), &PRESENCE).is_none());
}

#[test]
fn a_peer_that_grants_seconds_is_not_asked_every_second() {
    let mut scene = Scene::new();
    scene.answer(200, &["Expires: 1"]);
    assert_eq!(scene.wait(1), [Meaning::Over(End::Expired)]);
    assert_eq!(scene.wait(5), []);
}

#[test]
fn a_challenge_moves_the_numbers() {
    let mut scene = Scene::new();
    let answer = Answer::Final { response: response(200, &[]), cseq: 2 };
    scene.take(&answer);
    scene.notify("r1", 1, "active").expect("taken");
    scene.refresh();
    assert_eq!(scene.sent.cseq, 3);
}
