//! The user agent core, driven by bytes: admission, answers, ways, credentials, and what happens when packets are lost.

mod support;

use mostar::config::{Auth, Config, Secret};
use mostar::msrp::uri::Host;
use mostar::sip::flow::Transport::{self, Tcp, Udp};
use mostar::sip::flow::{ConnId, Inlet};
use mostar::sip::locate::{Located, Query};
use mostar::sip::message::{Answer, Failure, HeaderName, Method, OutRequest, Reply};
use mostar::words::note::Note;
use support::node::{Node, answer_to, arriving, header, wanted};
use support::vector;

const PEER: &str = "192.0.2.1:5062";

fn config(transport: Option<Transport>) -> Config {
    let mut config = vector::config();
    config.sip.peers[0].transport = transport;
    config
}

fn node(transport: Option<Transport>) -> Node {
    Node::new(&config(transport), 1)
}

fn status(text: &str) -> &str {
    text.split(' ').nth(1).unwrap_or_default()
}

#[test]
fn a_stranger_gets_silence_over_udp_and_a_closed_door_over_tcp() {
    let mut node = node(Some(Udp));
    for number in 0..10_000 {
        node.receive(Udp, "198.51.100.7:5060", arriving("MESSAGE", &number.to_string(), ""));
    }
    node.receive(Udp, "198.51.100.7:5060", "noise\r\n\r\n");
    assert!(node.take().is_empty() && node.requests.is_empty());
    assert_eq!((node.counted("stranger"), node.logged("sip-stranger")), (10_001, 1));
    node.receive(Tcp, "198.51.100.8:5060", arriving("MESSAGE", "t", ""));
    assert_eq!((status(&node.only().1), node.closed), ("403", 1));
    node.receive(Tcp, "198.51.100.8:5060", "noise\r\n\r\n");
    assert!(node.take().is_empty() && node.closed == 2);
    node.advance(61.0);
    assert_eq!(node.logged("sip-stranger"), 4, "the first lines of two sources, and a sum for each");
    assert_eq!(node.agent.load(), 0);
}

#[test]
fn a_retransmission_gets_the_same_answer_and_is_not_told_again() {
    let mut node = node(Some(Udp));
    node.receive(Udp, PEER, arriving("MESSAGE", "1", ""));
    node.receive(Udp, PEER, arriving("MESSAGE", "1", ""));
    assert_eq!(node.requests.len(), 1, "one while it is not answered");
    node.reply(Reply::new(202));
    let (out, text) = node.only();
    assert_eq!((status(&text), out.target.remote.to_string().as_str()), ("202", PEER));
    assert!(header(&text, "To").contains(";tag=") && header(&text, "Server").starts_with("Mostar/"));
    node.receive(Udp, PEER, arriving("MESSAGE", "1", ""));
    assert_eq!(node.only().1, text);
    assert!(node.requests.is_empty());
    node.advance(40.0);
    assert_eq!(node.agent.load(), 0);
}

#[test]
fn an_answer_goes_where_the_request_came_from() {
    let mut node = node(Some(Udp));
    let request =
        arriving("OPTIONS", "1", "").replace("192.0.2.1:5062;", "far.example;maddr=203.0.113.5;rport;");
    node.receive(Udp, "192.0.2.1:40000", request);
    node.reply(Reply::new(200));
    let (out, text) = node.only();
    assert_eq!(out.target.remote.to_string(), "192.0.2.1:40000");
    assert_eq!(
        header(&text, "Via"),
        "SIP/2.0/UDP far.example;maddr=203.0.113.5;branch=z9hG4bK1;received=192.0.2.1;rport=40000"
    );
    let request =
        arriving("OPTIONS", "2", "").replace("192.0.2.1:5062;", "far.example;received=203.0.113.5;");
    node.receive(Udp, "192.0.2.1:40000", request);
    node.reply(Reply::new(200));
    let (out, text) = node.only();
    assert_eq!(out.target.remote.to_string(), "192.0.2.1:5060", "without rport: the port of Via, or 5060");
    assert!(header(&text, "Via").ends_with(";branch=z9hG4bK2;received=192.0.2.1"), "{text}");
}

#[test]
fn a_peer_speaks_for_its_domains_only() {
    let mut node = node(Some(Udp));
    let spoof = |request: String| request.replace("romeo@example.net", "romeo@bank.example");
    node.receive(Udp, PEER, spoof(arriving("MESSAGE", "1", "")));
    assert_eq!(status(&node.only().1), "403");
    assert_eq!((node.counted("spoof"), node.logged("sip-spoof")), (1, 1));
    node.receive(Udp, PEER, spoof(arriving("OPTIONS", "2", "")));
    let in_dialog = spoof(arriving("NOTIFY", "3", ""))
        .replace("juliet@example.com>\r\nCall", "j@example.com>;tag=o\r\nCall");
    node.receive(Udp, PEER, in_dialog);
    assert_eq!(node.requests.len(), 2);
}

#[test]
fn what_a_usage_understands_may_be_required_of_it() {
    let mut node = node(Some(Udp));
    for (branch, method, tag, is_known) in [
        ("1", "REFER", "norefersub", true),
        ("2", "INVITE", "recipient-list-invite, timer", true),
        ("3", "UPDATE", "recipient-list-invite", false),
        ("4", "INVITE", "norefersub", false),
    ] {
        node.receive(Udp, PEER, arriving(method, branch, &format!("Require: {tag}\r\n")));
        assert_eq!(node.requests.pop().is_some(), is_known, "{method} {tag}");
    }
}

#[test]
fn what_nobody_could_handle_is_refused_here() {
    let cases = [
        ("416", arriving("MESSAGE", "1", "").replace("MESSAGE sip:juliet@example.com", "MESSAGE tel:+123")),
        ("505", arriving("MESSAGE", "2", "").replace(" SIP/2.0\r\nVia", " SIP/3.0\r\nVia")),
        ("420", arriving("MESSAGE", "3", "Require: a, b\r\nrequire: c\r\n")),
        ("400", arriving("MESSAGE", "4", "").replace("From:", "Frim:")),
        ("400", arriving("MESSAGE", "5", "To: <sip:other@example.com>\r\n")),
        ("400", arriving("MESSAGE", "6", "").replace("Call-ID: c1", "Call-ID: c 1")),
        ("400", arriving("MESSAGE", "7", "").replace("CSeq: 1 MESSAGE", "CSeq: 4294967296 MESSAGE")),
        ("400", arriving("MESSAGE", "8", "").replace("CSeq: 1 MESSAGE", "CSeq: 1 INVITE")),
        ("400", arriving("MESSAGE", "9", "").replace("Length: 0", "Length: 10")),
        (
            "482",
            arriving(
                "MESSAGE",
                "a",
                "Via: SIP/2.0/UDP gateway.example.org:5060;branch=z9hG4bK2aabcdefghijklmnop\r\n",
            ),
        ),
        ("400", arriving("MESSAGE", "", "")),
    ];
    let mut node = node(Some(Udp));
    for (number, (expected, request)) in cases.into_iter().enumerate() {
        node.receive(Udp, PEER, request.clone());
        let (_, text) = node.only();
        assert_eq!(status(&text), expected, "{request}\n{text}");
        if expected == "420" {
            assert_eq!(header(&text, "Unsupported"), "a, b, c");
        }
        assert!(node.requests.is_empty());
        let ok = arriving("OPTIONS", &format!("ok{number}"), "");
        node.receive(Udp, PEER, ok);
        node.reply(Reply::new(200));
        assert_eq!(status(&node.only().1), "200");
    }
    node.receive(Udp, PEER, "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\r\n\r\n");
    node.receive(Udp, PEER, arriving("ACK", "z", "To: <sip:two@example.com>\r\n"));
    assert!(node.take().is_empty());
    assert_eq!(node.counted("malformed"), 2 + 8);
}

#[test]
fn a_fork_that_joins_again_is_one_request() {
    let mut node = node(Some(Udp));
    node.receive(Udp, PEER, arriving("SUBSCRIBE", "1", "Contact: <sip:r@192.0.2.1>\r\n"));
    node.receive(Udp, PEER, arriving("SUBSCRIBE", "2", "Contact: <sip:r@192.0.2.1>\r\n"));
    assert_eq!((node.requests.len(), status(&node.only().1)), (1, "482"));
    node.reply(Reply::new(200));
    node.receive(Udp, PEER, arriving("MESSAGE", "3", ""));
    node.receive(Udp, PEER, arriving("MESSAGE", "4", ""));
    assert_eq!(node.requests.len(), 2, "the pager knows its repetitions itself");
}

#[test]
fn a_dialog_is_answered_with_the_record_route() {
    let mut node = node(Some(Tcp));
    let extra = "Record-Route: <sip:p2;lr>\r\nRecord-Route: <sip:p1;lr>\r\n";
    node.receive(Tcp, PEER, arriving("SUBSCRIBE", "1", extra));
    let mut reply = Reply::new(200);
    reply.to_tag = Some("ours".into());
    node.reply(reply);
    let (_, text) = node.only();
    assert!(text.contains("Record-Route: <sip:p2;lr>\r\nRecord-Route: <sip:p1;lr>\r\n"), "{text}");
    assert_eq!(header(&text, "To"), "<sip:juliet@example.com>;tag=ours");
}

#[test]
fn a_request_that_nobody_answers_gets_500() {
    let mut node = node(Some(Udp));
    node.receive(Udp, PEER, arriving("MESSAGE", "1", ""));
    node.advance(59.0);
    assert!(node.take().is_empty());
    node.advance(2.0);
    assert_eq!(status(&node.only().1), "500");
    node.reply(Reply::new(200));
    assert!(node.take().is_empty());
    node.advance(40.0);
    assert_eq!(node.agent.load(), 0);
}

#[test]
fn an_invite_is_refused_until_the_ack_comes() {
    let mut node = node(Some(Udp));
    node.receive(Udp, PEER, arriving("INVITE", "1", "Contact: <sip:r@192.0.2.1>\r\n"));
    node.reply(Reply::new(405));
    node.advance(2.0);
    assert!(node.take().len() > 2, "repeated until the ACK");
    node.receive(Udp, PEER, arriving("ACK", "1", ""));
    node.advance(40.0);
    assert!(node.take().is_empty());
    assert_eq!(node.agent.load(), 0);
}

#[test]
fn an_invite_that_was_accepted_is_known_for_half_a_minute() {
    let mut node = node(Some(Udp));
    let invite = arriving("INVITE", "1", "Contact: <sip:r@192.0.2.1>\r\n");
    node.receive(Udp, PEER, invite.clone());
    node.reply(Reply::new(200));
    let (_, accepted) = node.only();
    node.receive(Udp, PEER, invite);
    assert!(node.take().is_empty() && node.requests.is_empty(), "the 2xx is its owner's to repeat");
    node.receive(Udp, PEER, arriving("CANCEL", "1", ""));
    let (_, cancel) = node.only();
    assert_eq!((status(&cancel), header(&cancel, "To")), ("200", header(&accepted, "To")));
    node.advance(40.0);
    assert_eq!(node.agent.load(), 0);
}

#[test]
fn a_request_goes_to_the_peer_of_its_domain() {
    let mut node = node(Some(Tcp));
    node.request(1, wanted(Method::Message, "hello"));
    let (out, text) = node.only();
    assert_eq!((out.target.transport, out.target.remote.to_string().as_str()), (Tcp, "192.0.2.1:5060"));
    assert!(
        header(&text, "Via").starts_with("SIP/2.0/TCP gateway.example.org:5060;branch=z9hG4bK2a"),
        "{text}"
    );
    assert!(header(&text, "Via").ends_with(";rport") && header(&text, "Content-Length") == "5");
    node.receive(Tcp, PEER, answer_to(&text, "202 Accepted", ""));
    assert!(
        matches!(&node.answers[..], [(1, Answer::Final { response, cseq: 7 })] if response.status.code() == 202)
    );
    assert_eq!(node.agent.load(), 0);
    let mut elsewhere = wanted(Method::Message, "hello");
    elsewhere.uri = "sip:romeo@other.example".into();
    node.request(2, elsewhere);
    assert!(matches!(&node.answers[1], (2, Answer::Failed(Failure::NoRoute))));
}

#[test]
fn silence_ends_after_32_seconds() {
    let mut node = node(Some(Udp));
    node.request(1, wanted(Method::Message, "hello"));
    node.advance(31.9);
    assert!(node.answers.is_empty() && node.take().len() == 11, "the first and ten times again");
    node.advance(0.2);
    assert!(matches!(&node.answers[..], [(1, Answer::Failed(Failure::Timeout))]));
    assert_eq!(node.agent.load(), 0);
}

#[test]
fn a_long_message_stays_here_and_says_how_long_it_may_be() {
    let mut node = node(None);
    let body = "x".repeat(1400);
    node.request(1, wanted(Method::Message, &body));
    let (1, Answer::Failed(Failure::TooLong { limit })) = node.answers.remove(0) else { panic!("too long") };
    node.request(2, wanted(Method::Message, &body[..limit + 2]));
    assert!(matches!(node.answers.remove(0), (2, Answer::Failed(Failure::TooLong { .. }))));
    node.request(3, wanted(Method::Message, &body[..limit]));
    let (out, text) = node.only();
    assert!(out.target.transport == Udp && (1298..=1300).contains(&text.len()), "{}", text.len());

    let mut config = config(None);
    config.sip.peers[0].long_messages = true;
    let mut node = Node::new(&config, 1);
    node.request(1, wanted(Method::Message, &body));
    assert_eq!(node.only().0.target.transport, Tcp);
}

#[test]
fn a_long_notify_goes_by_tcp_and_back_to_udp_where_nobody_listens() {
    let mut node = node(None);
    node.request(1, wanted(Method::Notify, &"x".repeat(1400)));
    let (out, _) = node.only();
    assert_eq!(out.target.transport, Tcp);
    node.fail(&out);
    let (out, text) = node.only();
    assert_eq!(out.target.transport, Udp);
    assert!(header(&text, "Via").starts_with("SIP/2.0/UDP"));
    node.fail(&out);
    assert!(
        matches!(&node.answers[..], [(1, Answer::Repeated), (1, Answer::Failed(Failure::Transport(why)))] if why == "connection refused")
    );
}

#[test]
fn the_next_address_is_tried_with_the_same_call_id() {
    let mut config = config(None);
    config.sip.peers[0].host = "proxy.example".into();
    config.sip.peers[0].port = None;
    let mut node = Node::new(&config, 1);
    node.request(1, wanted(Method::Message, "hello"));
    assert!(node.take().is_empty(), "it waits for DNS");
    let zone = |query: &Query| match query {
        Query::Srv(name) if name == "_sip._udp.proxy.example" => {
            vec![Located::Srv(1, 0, 5061, "a.example".into()), Located::Srv(2, 0, 5062, "b.example".into())]
        }
        Query::Address(name) if name == "a.example" => vec![Located::Address([192, 0, 2, 11].into())],
        Query::Address(name) if name == "b.example" => vec![Located::Address([192, 0, 2, 12].into())],
        _ => Vec::new(),
    };
    while !node.asked.is_empty() {
        let query = node.asked.remove(0);
        let found = zone(&query);
        node.agent.resolved(node.clock(), &mut node.mint, query, found);
        node.drain();
    }
    let (out, first) = node.only();
    assert_eq!(out.target.remote.to_string(), "192.0.2.11:5061");
    node.receive(Udp, PEER, answer_to(&first, "503 Overload", "Retry-After: 5\r\n"));
    let (out, second) = node.only();
    assert_eq!(out.target.remote.to_string(), "192.0.2.12:5062");
    assert_eq!(header(&first, "Call-ID"), header(&second, "Call-ID"));
    assert_eq!(header(&first, "CSeq"), header(&second, "CSeq"));
    assert_ne!(header(&first, "Via"), header(&second, "Via"));
    node.request(2, wanted(Method::Message, "hello"));
    let (out, third) = node.only();
    assert_eq!(out.target.remote.to_string(), "192.0.2.12:5062", "the one that failed comes last now");
    node.fail(&out);
    let (out, fourth) = node.only();
    assert_eq!(out.target.remote.to_string(), "192.0.2.11:5061");
    assert!(matches!(&node.answers[..], [(2, Answer::Repeated)]), "it may have arrived by the first");
    assert_eq!(header(&third, "CSeq"), header(&fourth, "CSeq"));
    node.receive(Udp, "192.0.2.11:9", arriving("OPTIONS", "1", ""));
    assert_eq!(node.requests.len(), 1, "both addresses are the peer");
}

#[test]
fn a_name_that_leads_nowhere_ends_the_wait() {
    let mut config = config(Some(Udp));
    config.sip.peers[0].host = "proxy.example".into();
    let mut node = Node::new(&config, 1);
    node.request(1, wanted(Method::Message, "hello"));
    node.advance(11.0);
    assert!(matches!(&node.answers[..], [(1, Answer::Failed(Failure::Transport(_)))]));
    assert_eq!(node.agent.load(), 0);
}

#[test]
fn a_challenge_of_the_peer_is_answered_with_a_higher_number() {
    let mut config = config(Some(Udp));
    config.sip.peers[0].auth = Some(Auth { username: "mostar".into(), password: Secret::new("s") });
    let mut node = Node::new(&config, 1);
    node.request(1, wanted(Method::Message, "hello"));
    let (_, first) = node.only();
    let challenge =
        "Proxy-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\", algorithm=SHA-256\r\n";
    node.receive(Udp, PEER, answer_to(&first, "407 Proxy Authentication Required", challenge));
    let (_, second) = node.only();
    assert_eq!(header(&second, "CSeq"), "8 MESSAGE");
    assert!(header(&second, "Proxy-Authorization").starts_with("Digest username=\"mostar\", realm=\"r\""));
    node.receive(
        Udp,
        PEER,
        answer_to(
            &second,
            "407 Proxy Authentication Required",
            &challenge.replace("nonce=\"n\"", "nonce=\"m\", stale=true"),
        ),
    );
    let (_, third) = node.only();
    assert!(header(&third, "Proxy-Authorization").contains("nonce=\"m\""));
    node.receive(
        Udp,
        PEER,
        answer_to(
            &third,
            "407 Proxy Authentication Required",
            &challenge.replace("\"n\"", "\"o\", stale=true"),
        ),
    );
    assert!(
        matches!(&node.answers[..], [(1, Answer::Final { response, cseq: 9 })] if response.status.code() == 407)
    );
    assert!(node.take().is_empty());
}

#[test]
fn credentials_that_make_a_request_too_long_for_a_datagram_send_it_by_tcp_or_nowhere() {
    let mut config = config(None);
    config.sip.peers[0].auth = Some(Auth { username: "mostar".into(), password: Secret::new("s") });
    let challenge =
        "Proxy-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\", algorithm=SHA-256\r\n";
    let body = "x".repeat(900);
    for method in [Method::Notify, Method::Message] {
        let mut node = Node::new(&config, 1);
        node.request(1, wanted(method.clone(), &body));
        let (out, first) = node.only();
        assert_eq!(out.target.transport, Udp);
        node.receive(Udp, PEER, answer_to(&first, "407 Proxy Authentication Required", challenge));
        if method == Method::Notify {
            assert_eq!(node.only().0.target.transport, Tcp);
            continue;
        }
        let (1, Answer::Failed(Failure::TooLong { limit })) = node.answers.remove(0) else {
            panic!("too long")
        };
        node.request(2, wanted(method, &body[..limit]));
        let (_, first) = node.only();
        node.receive(Udp, PEER, answer_to(&first, "407 Proxy Authentication Required", challenge));
        let (out, text) = node.only();
        assert!(out.target.transport == Udp && (1295..=1300).contains(&text.len()), "{}", text.len());
    }
}

#[test]
fn a_domain_goes_to_the_first_peer_that_names_it_else_to_the_first_with_a_star() {
    let mut config = config(Some(Tcp));
    let other = |host: &str, named: &[&str], any_domain| {
        let may_send_from = named.iter().map(|name| (*name).to_owned()).collect();
        let host = host.to_owned();
        mostar::config::Peer { host, may_send_from, any_domain, ..config.sip.peers[0].clone() }
    };
    config.sip.peers = vec![
        other("192.0.2.20", &[], true),
        other("192.0.2.21", &["far.example"], false),
        other("192.0.2.22", &["example.net", "far.example"], false),
        other("192.0.2.23", &[], true),
    ];
    let mut node = Node::new(&config, 1);
    for (number, (domain, host)) in
        [("example.net", "192.0.2.22"), ("far.example", "192.0.2.21"), ("else.example", "192.0.2.20")]
            .into_iter()
            .enumerate()
    {
        let mut request = wanted(Method::Message, "hello");
        request.uri = format!("sip:romeo@{domain}");
        node.request(number as u64, request);
        assert_eq!(node.only().0.target.remote.ip().to_string(), host);
    }
}

#[test]
fn a_wrong_password_is_not_said_twice_and_a_peer_without_credentials_not_once() {
    let mut secret = config(Some(Udp));
    secret.sip.peers[0].auth = Some(Auth { username: "mostar".into(), password: Secret::new("s") });
    for (config, tries) in [(secret, 2), (config(Some(Udp)), 1)] {
        let mut node = Node::new(&config, 1);
        node.request(1, wanted(Method::Message, "hello"));
        for _ in 0..tries {
            let (_, text) = node.only();
            let challenge = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\"\r\n";
            node.receive(Udp, PEER, answer_to(&text, "401 Unauthorized", challenge));
        }
        assert_eq!((node.answers.len(), node.take().len()), (1, 0));
    }
}

#[test]
fn in_a_dialog_only_addresses_of_peers_are_contacted() {
    let mut config = config(Some(Tcp));
    config.sip.peers[0].networks = vec!["198.51.100.0/24".parse().unwrap()];
    let mut node = Node::new(&config, 1);
    let mut request = wanted(Method::Notify, "");
    request.to = "<sip:romeo@example.net>;tag=r1".into();
    request.domain = "example.net".into();
    let cases = [
        ("sip:romeo@203.0.113.5:5070", vec![], "192.0.2.1:5060"),
        ("sip:romeo@198.51.100.4:5070;transport=tcp", vec![], "198.51.100.4:5070"),
        ("sip:romeo@203.0.113.5", vec!["<sip:198.51.100.6;lr>"], "198.51.100.6:5060"),
        ("sip:romeo@198.51.100.4", vec!["<sip:203.0.113.9;lr>"], "192.0.2.1:5060"),
        ("sip:romeo@203.0.113.5", vec!["<sip:198.51.100.6>"], "198.51.100.6:5060"),
        ("sip:romeo@phone.evil.example", vec![], "192.0.2.1:5060"),
    ];
    for (uri, routes, expected) in cases {
        request.uri = uri.into();
        request.routes = routes.iter().map(|route| route.to_string()).collect();
        node.request(1, request.clone());
        let (out, text) = node.only();
        assert_eq!(out.target.remote.to_string(), expected, "{text}");
    }
}

#[test]
fn a_peer_is_watched_and_its_fall_is_told_once() {
    let mut node = node(Some(Udp));
    let gauge = |node: &Node| -> i64 {
        node.notes.iter().map(|note| if let Note::Gauge { by, .. } = note { *by } else { 0 }).sum()
    };
    for round in 0..3 {
        node.advance(1.0);
        let sent = std::mem::take(&mut node.sent);
        let text = String::from_utf8_lossy(&sent[0].bytes).into_owned();
        assert!(text.starts_with("OPTIONS sip:192.0.2.1:5060 SIP/2.0\r\n"), "{text}");
        node.receive(Udp, PEER, answer_to(&text, "404 Not Found", ""));
        assert_eq!((gauge(&node), node.logged("sip-peer-up")), (1, 1), "round {round}");
        node.advance(29.0);
    }
    node.advance(100.0);
    assert_eq!((gauge(&node), node.logged("sip-peer-down"), node.agent.load()), (0, 1, 0));
}

#[test]
fn a_peer_that_was_away_for_longer_than_timer_f_is_told_to_be_back_once() {
    let mut node = node(Some(Udp));
    let answer = |node: &mut Node| {
        let sent = std::mem::take(&mut node.sent);
        let text = String::from_utf8_lossy(&sent.last().expect("it is asked").bytes).into_owned();
        node.receive(Udp, PEER, answer_to(&text, "200 OK", ""));
    };
    for (seconds, back) in [(1.0, 0), (30.0, 0), (30.0, 0), (33.0, 1), (30.0, 1), (90.0, 2)] {
        node.advance(seconds);
        answer(&mut node);
        assert_eq!(node.back.len(), back, "after {seconds} s");
    }
}

/// The test's DNS: it has one address for everybody. How many questions it was asked.
fn name_server(node: &mut Node, address: [u8; 4]) -> usize {
    let asked = std::mem::take(&mut node.asked);
    let times = asked.len();
    for query in asked {
        let found = vec![Located::Address(address.into())];
        node.agent.resolved(node.clock(), &mut node.mint, query, found);
        node.drain();
    }
    times
}

fn named_peer() -> Node {
    let mut config = config(Some(Udp));
    config.sip.peers[0].host = "proxy.example".into();
    config.sip.peers[0].port = Some(5060);
    let mut node = Node::new(&config, 1);
    assert_eq!(name_server(&mut node, [192, 0, 2, 66]), 1);
    node
}

#[test]
fn a_peer_that_is_silent_is_looked_up_again() {
    let mut node = named_peer();
    node.request(1, wanted(Method::Message, "hello"));
    let (out, _) = node.only();
    assert_eq!(out.target.remote.ip().to_string(), "192.0.2.66");
    node.advance(31.0);
    assert_eq!(name_server(&mut node, [192, 0, 2, 66]), 0, "it has time to answer");
    node.advance(2.0);
    assert_eq!(name_server(&mut node, [192, 0, 2, 1]), 1);
    node.take();
    node.request(2, wanted(Method::Message, "hello"));
    let (out, _) = node.only();
    assert_eq!(out.target.remote.ip().to_string(), "192.0.2.1");
    node.fail(&out);
    node.advance(1.0);
    assert_eq!(node.asked.len(), 0, "it was looked up just now");
}

#[test]
fn where_a_stranger_speaks_peers_are_looked_up_again() {
    let mut node = named_peer();
    node.advance(30.0);
    let heard = node.requests.len();
    for number in ["1", "2", "3"] {
        node.receive(Udp, PEER, arriving("MESSAGE", number, ""));
    }
    assert_eq!((node.requests.len(), name_server(&mut node, [192, 0, 2, 1])), (heard, 1));
    node.receive(Udp, PEER, arriving("MESSAGE", "4", ""));
    assert_eq!((node.requests.len(), node.asked.len()), (heard + 1, 0), "it is the peer");
}

/// Two agents over a network that loses three packets of ten.
#[test]
fn loss_ends_nothing_but_the_messages_concerned() {
    use std::collections::BTreeSet;
    let (mut silent, mut answered) = (0, 0);
    for seed in 0..20 {
        let mut here = config(Some(Udp));
        here.sip.peers[0].any_domain = true;
        let mut there = here.clone();
        there.sip.listen[1].address = "192.0.2.1:5060".parse().unwrap();
        there.sip.advertise = Host::parse("192.0.2.1");
        there.sip.peers[0].host = "192.0.2.9".into();
        let mut nodes = [Node::new(&here, seed), Node::new(&there, seed + 100)];
        let mut draws = mostar::words::id::Mint::new(mostar::words::id::Seed([seed; 32]));
        let mut seen = BTreeSet::new();
        for user in 0..50 {
            let mut request = wanted(if user % 2 == 0 { Method::Message } else { Method::Invite }, "hello");
            request.headers.push((HeaderName::Contact, "<sip:j@192.0.2.9>".into()));
            request.call_id = format!("call-{user}");
            nodes[0].request(user, request);
        }
        for _ in 0..2500 {
            for from in 0..2 {
                let address = if from == 0 { "192.0.2.9:5060" } else { "192.0.2.1:5060" };
                for out in std::mem::take(&mut nodes[from].sent) {
                    if draws.below(10) >= 3 {
                        nodes[1 - from].receive(Udp, address, out.bytes);
                    }
                }
            }
            while let Some(request) = nodes[1].requests.pop() {
                if request.request.method != Method::Options {
                    let call = request.request.headers.value(&HeaderName::CallId).unwrap().into_owned();
                    assert!(seen.insert(call), "told twice");
                }
                let clock = nodes[1].clock();
                let (agent, mint) = {
                    let node = &mut nodes[1];
                    (&mut node.agent, &mut node.mint)
                };
                agent.reply(clock, mint, request.key, Reply::new(486));
                nodes[1].drain();
            }
            nodes.iter_mut().for_each(|node| node.advance(0.05));
        }
        assert_eq!(nodes[0].answers.len(), 50);
        // The two go on watching each other: let what they asked be forgotten.
        nodes.iter_mut().for_each(|node| node.advance(100.0));
        silent += nodes[0].answers.iter().filter(|(_, answer)| matches!(answer, Answer::Failed(_))).count();
        answered +=
            nodes[0].answers.iter().filter(|(_, answer)| matches!(answer, Answer::Final { .. })).count();
        assert_eq!(nodes.each_ref().map(|node| node.agent.load()), [0, 0], "seed {seed}");
    }
    assert!(answered > 950 && silent < 50, "{answered} answered, {silent} not");
}

#[test]
fn a_request_takes_the_connection_of_its_dialog_where_that_leads_to_its_next_hop() {
    let inlet = |source: &str, is_next| Inlet { conn: ConnId(9), source: source.parse().unwrap(), is_next };
    let inside = |uri: &str, over| {
        let mut node = node(Some(Tcp));
        let to = "<sip:romeo@example.net>;tag=r1".into();
        let request = wanted(Method::Notify, "");
        let domain = "example.net".into();
        node.request(1, OutRequest { uri: uri.into(), to, domain, over: Some(over), ..request });
        node.only().0.target
    };
    let near = "sip:romeo@192.0.2.1:5099;transport=tcp";
    let target = inside(near, inlet("192.0.2.1", true));
    assert_eq!((target.conn, target.remote.port()), (Some(ConnId(9)), 5099));
    assert_eq!(inside(near, inlet("192.0.2.1", false)).conn, None, "somebody else at that address");
    assert_eq!(inside(near, inlet("192.0.2.2", true)).conn, None, "another machine");
    assert_eq!(inside("sip:romeo@192.0.2.1;transport=udp", inlet("192.0.2.1", true)).conn, None);
    let behind = inside("sip:romeo@10.0.0.7;transport=tcp", inlet("192.0.2.1", false));
    assert_eq!(behind.conn, Some(ConnId(9)), "what is behind the peer goes to the peer");
}
