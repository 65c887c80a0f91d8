//! Holes that were published of other servers and gateways, each tried here. The name of a test begins with the number
//! of the hole where it has one; the first line says what it was, the second what we do.

mod support;

use std::time::Duration;

use mostar::config::{Auth, Config, Secret};
use mostar::sip::flow::Transport::{Tcp, Udp};
use mostar::sip::framing;
use mostar::sip::message::Method;
use mostar::xmpp::stream::{Event, Limits, Stream};
use support::config;
use support::door::{Ask, Came, Door, answer_to, header, offer};
use support::node::{Node, wanted};

const PEER: &str = "192.0.2.1:5060";
const STRANGER: &str = "203.0.113.7:5060";

fn door() -> Door {
    Door::new(config::config())
}

/// A peer that asks for a proof.
fn with_password() -> Config {
    let mut config = config::config();
    config.sip.peers[0].auth = Some(Auth { username: "mostar".into(), password: Secret::new("hunter2") });
    config.sip.peers[0].networks = vec!["198.51.100.0/24".parse().unwrap()];
    config
}

// FreeSWITCH relayed MESSAGE from anybody to anybody, with any From.
// Only a peer's address may send, and a peer only for its own domains.
#[test]
fn cve_2021_37624_message_without_authentication() {
    for (address, from, answer) in [
        (STRANGER, "romeo@example.net", "403 closed"),
        (PEER, "romeo@bank.example", "403"),
        (PEER, "nurse@example.com", "403"),
    ] {
        let mut door = door();
        door.sip(Tcp, address, Ask { from: format!("<sip:{from}>;tag=1"), ..Ask::new("MESSAGE") }.print());
        door.advance(Duration::from_secs(5));
        assert_eq!(door.short(), answer);
    }
    let mut door = door();
    door.sip(Udp, STRANGER, Ask::new("MESSAGE").print());
    assert_eq!(door.short(), "-");
}

// FreeSWITCH let anybody SUBSCRIBE, and told him who is there.
// As above; and nobody is told anything before the user has agreed.
#[test]
fn cve_2021_41157_subscribe_without_authentication() {
    let mut door = door();
    door.sip(Udp, STRANGER, Ask::new("SUBSCRIBE").print());
    assert_eq!(door.short(), "-");
    door.xmpp("<presence from='juliet@example.com/balcony' to='romeo@example.net'/>");
    door.take();
    door.sip(Tcp, PEER, Ask::new("SUBSCRIBE").print());
    let messages = door.messages();
    let notify = messages.iter().find(|text| text.starts_with("NOTIFY")).expect("a NOTIFY");
    assert!(notify.contains("Subscription-State: pending") && notify.ends_with("\r\n\r\n"), "{notify}");
}

// FreeSWITCH proved its password for a gateway to whoever challenged it.
// It is proven at the addresses of the peer that it is for, not to devices behind it, and never in Basic.
#[test]
fn cve_2021_41158_digest_leak_by_an_attackers_challenge() {
    let challenges = |name: &str| {
        ["Digest realm=\"r\", nonce=\"n\"", "Basic realm=\"r\""].map(|value| format!("{name}: {value}\r\n"))
    };
    for (uri, leaks) in
        [("sip:romeo@198.51.100.4;transport=tcp", false), ("sip:romeo@192.0.2.1;transport=tcp", true)]
    {
        for (status, name) in [("401 Unauthorized", "WWW-Authenticate"), ("407 Proxy", "Proxy-Authenticate")]
        {
            for challenge in challenges(name) {
                let mut node = Node::new(&with_password(), 1);
                let mut request = wanted(Method::Notify, "");
                request.to = "<sip:romeo@example.net>;tag=r1".into();
                request.domain = "example.net".into();
                request.uri = uri.into();
                node.request(1, request);
                let (out, text) = node.only();
                let from = out.target.remote.to_string();
                let answer =
                    answer_to(&text, status).replace("Content-Length", &format!("{challenge}Content-Length"));
                node.receive(Tcp, &from, answer);
                let sent = node.take();
                let proven = sent.iter().any(|(_, text)| text.contains("uthorization: Digest"));
                assert_eq!(proven, leaks && challenge.contains("Digest"), "{uri} {challenge}");
                assert!(!sent.iter().any(|(_, text)| text.contains("Basic") || text.contains("hunter2")));
            }
        }
    }
}

// FreeSWITCH kept so much of each request of a flood that its memory ended.
// Nothing is kept of a stranger, and of a peer's requests 32 s of bounded answers.
#[test]
fn cve_2021_41145_flood_that_fills_the_memory() {
    let mut door = door();
    for number in 0..20_000 {
        let via = format!("SIP/2.0/UDP 203.0.113.7;branch=z9hG4bK{number}");
        let ask = Ask { via, call_id: number.to_string(), ..Ask::new("INVITE") };
        door.sip(Udp, STRANGER, ask.print());
    }
    assert_eq!((door.short().as_str(), door.gateway.load()), ("-", 0));
    for number in 0..2000 {
        let via = format!("SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{number}");
        let ask = Ask { via, call_id: number.to_string(), ..Ask::new("PUBLISH") };
        door.sip(Udp, PEER, ask.print());
    }
    door.advance(Duration::from_secs(60));
    door.take();
    assert_eq!(door.gateway.load(), 0, "all is forgotten");
}

// Kamailio did not see a header whose name had a blank behind it when it was to take that header away.
// `From : x` is From to us, so it is judged; what only looks like it is another header and counts for nothing.
#[test]
fn cve_2020_28361_header_with_trailing_white_space() {
    for name in ["From ", "From\t", "from", "F", "f "] {
        let text = Ask::new("MESSAGE")
            .print()
            .replace("From:", &format!("{name}:"))
            .replace("romeo@example.net", "romeo@bank.example");
        let mut door = door();
        door.sip(Tcp, PEER, text);
        assert_eq!(door.short(), "403", "{name:?}");
    }
    for name in ["From\u{1}", "From\u{0}", "From\u{b}", " From"] {
        let text = Ask::new("MESSAGE")
            .print()
            .replace("To:", &format!("{name}: <sip:nurse@example.net>;tag=9\r\nTo:"));
        let mut door = door();
        door.sip(Tcp, PEER, text);
        let messages = door.take();
        let forged = messages
            .iter()
            .any(|one| matches!(one, Came::Stanza(stanza) if stanza.to_xml().contains("nurse")));
        assert!(!forged, "{name:?}: {messages:?}");
    }
    // Twice, in two spellings: neither is chosen.
    let text = Ask::new("MESSAGE").print().replace("To:", "f : <sip:nurse@example.net>;tag=9\r\nTo:");
    let mut door = door();
    door.sip(Tcp, PEER, text);
    assert_eq!(door.short(), "400");
}

// Kamailio wrote one byte behind a buffer for a REGISTER with an odd branch and a malformed From tag.
// Such a request is refused, whatever its method; lengths are those of slices.
#[test]
fn cve_2018_8828_register_with_odd_branch_and_tags() {
    for method in ["REGISTER", "MESSAGE", "SUBSCRIBE", "INVITE"] {
        for via in [
            "SIP/2.0/TCP 192.0.2.1;branch=z9hG4bK",
            "SIP/2.0/TCP 192.0.2.1;branch=",
            "SIP/2.0/TCP 192.0.2.1;branch=z9hG4bK ;;",
        ] {
            for from in [
                "<sip:romeo@example.net>;tag=",
                "<sip:romeo@example.net>;tag",
                "<sip:romeo@example.net>;=x",
                "\"<sip:a@b>;tag=1",
            ] {
                let mut door = door();
                door.sip(Tcp, PEER, Ask { via: via.into(), from: from.into(), ..Ask::new(method) }.print());
                door.advance(Duration::from_secs(5));
                let short = door.short();
                assert!(short == "400" || short == "-" || short == "405", "{method} {via} {from}: {short}");
            }
        }
    }
}

// Kamailio dereferenced nothing for two To headers of which one had an empty tag.
// To may be there once; a tag without a value is malformed.
#[test]
fn cve_2018_14767_two_to_headers_and_an_empty_tag() {
    for to in [
        "<sip:juliet@example.com>;tag=\r\nTo: <sip:juliet@example.com>",
        "<sip:juliet@example.com>\r\nt: <sip:juliet@example.com>;tag=",
        "<sip:juliet@example.com>;tag=",
        "<sip:juliet@example.com>;tag",
        "<sip:juliet@example.com>;tag;x=y",
        "<sip:juliet@example.com>;tag=nobody;tag=other",
        "",
    ] {
        for method in ["MESSAGE", "INVITE", "REGISTER", "SUBSCRIBE"] {
            let mut door = door();
            door.sip(Tcp, PEER, Ask { to: to.into(), ..Ask::new(method) }.print());
            assert_eq!(door.short(), "400", "{method} {to:?}");
        }
    }
}

// OpenSIPS read beyond a message whose Content-Length was huge and whose Request-URI was odd.
// Over 1 MiB, or no number at all, ends the connection; a datagram is as long as it is.
#[test]
fn cve_2023_28097_content_length_that_overflows() {
    for length in [
        "4294967295",
        "4294967300",
        "18446744073709551615",
        "18446744073709551620",
        "2147483647",
        "-1",
        "0x10",
        "1e3",
        "+5",
        "5 5",
    ] {
        let text =
            Ask::new("MESSAGE").print().replace("Content-Length: 5", &format!("Content-Length: {length}"));
        for text in
            [text.clone(), text.replace("sip:juliet@example.com SIP", "sip:\u{1}@[::::]:99999;;=;? SIP")]
        {
            let mut door = door();
            let mut stream = framing::Stream::new();
            door.stream(&mut stream, PEER, text.as_bytes());
            let short = door.short();
            assert!(short.ends_with("closed") && !short.contains('<'), "{length}: {short}");
            let mut door = self::door();
            door.sip(Udp, PEER, text);
            assert!(!door.short().contains('<'), "{length} in a datagram");
        }
    }
}

// Asterisk had room for 32 Accept headers of a SUBSCRIBE on its stack, and wrote all that came.
// As many as a head has room for are read where they stand.
#[test]
fn cve_2018_7284_subscribe_with_many_accept_headers() {
    for accept in [
        "Accept: application/pidf+xml\r\n".repeat(500),
        format!("Accept: {}\r\n", "application/pidf+xml,".repeat(500)),
        "Accept: text/x\r\n".repeat(700),
    ] {
        let ask = Ask::new("SUBSCRIBE");
        let mut door = door();
        door.sip(Tcp, PEER, Ask { extra: ask.extra.clone() + &accept, ..ask }.print());
        let short = door.short();
        assert!(["400", "406", "513"].contains(&short.as_str()) || short.contains("200 NOTIFY"), "{short}");
    }
}

// Asterisk answered every challenge with a new nonce, for ever, and kept each of its INVITEs.
// A request is proven twice at most, and then has failed.
#[test]
fn cve_2020_28242_challenges_without_end() {
    for method in [Method::Invite, Method::Message] {
        let mut node = Node::new(&with_password(), 1);
        node.request(1, wanted(method, "v=0"));
        let mut sent = 0;
        for number in 0..100 {
            let Some((_, text)) = node.take().into_iter().find(|(_, text)| !text.starts_with("ACK")) else {
                break;
            };
            sent += 1;
            let challenge = format!(
                "WWW-Authenticate: Digest realm=\"r{number}\", nonce=\"n{number}\", stale=true\r\nContent-Length"
            );
            node.receive(
                Tcp,
                PEER,
                answer_to(&text, "401 Unauthorized").replace("Content-Length", &challenge),
            );
        }
        assert_eq!((sent, node.answers.len()), (3, 1));
        node.advance(60.0);
        assert_eq!(node.agent.load(), 0);
    }
}

// Asterisk's stack wrote a long CSeq method into a buffer of fixed size where Via had no branch (RFC 2543).
// Such a transaction is named by its headers, whatever their length.
#[test]
fn cve_2017_9372_long_cseq_without_a_branch() {
    let long = "Z".repeat(20_000);
    for via in
        ["SIP/2.0/UDP 192.0.2.1", "SIP/2.0/UDP 192.0.2.1;branch=1", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx"]
    {
        for text in [
            Ask { via: via.into(), ..Ask::new("MESSAGE") }
                .print()
                .replace("CSeq: 1 MESSAGE", &format!("CSeq: 1 {long}")),
            Ask { via: via.into(), ..Ask::new("MESSAGE") }.print().replace("MESSAGE", &long),
            Ask { via: via.into(), call_id: long.clone(), ..Ask::new("OPTIONS") }.print(),
            Ask { via: format!("{via};x={long}"), ..Ask::new("OPTIONS") }.print(),
        ] {
            let mut door = door();
            door.sip(Udp, PEER, text);
            let short = door.short();
            assert!(["400", "501", "200"].contains(&short.as_str()), "{short}");
        }
    }
}

/// What a component stream says to these bytes behind its opening.
fn heard(bytes: &[u8]) -> Vec<Event> {
    let mut stream = Stream::new(Limits::for_messages(65_536));
    let mut events = Vec::new();
    stream.receive(b"<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' id='1'><handshake/>", &mut events);
    events.clear();
    for piece in bytes.chunks(1000) {
        stream.receive(piece, &mut events);
    }
    events
}

fn is_refused(events: &[Event]) -> bool {
    !events.iter().any(|event| matches!(event, Event::Element(_)))
}

// Prosody expanded entities of an inner document without a limit.
// A declaration ends the stream (RFC 6120 §11.1), and documents within stanzas are read without any.
#[test]
fn cve_2022_0217_entities_that_expand() {
    let bomb = "<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'>]>";
    for text in [
        format!("{bomb}<message from='a@b' to='c@d'><body>&b;</body></message>"),
        "<message from='a@b' to='c@d'><body>&b;</body></message>".to_owned(),
        "<message from='a@b' to='c@d'><body>&#99999999999;</body></message>".to_owned(),
        "<?xml-stylesheet href='x'?><message from='a@b' to='c@d'/>".to_owned(),
    ] {
        assert!(is_refused(&heard(text.as_bytes())), "{text}");
    }
    // In a body of SIP.
    let mut door = door();
    let body =
        format!("<?xml version='1.0'?>{bomb}<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='&b;'/>");
    door.xmpp("<presence from='juliet@example.com' to='romeo@example.net' id='p' type='subscribe'/>");
    let asked = door.messages().remove(0);
    door.sip(
        Tcp,
        PEER,
        answer_to(&asked, "200 OK")
            .replace("Content-Length", "Contact: <sip:r@192.0.2.1>\r\nExpires: 60\r\nContent-Length")
            .replace("\r\nCall-ID", ";tag=t\r\nCall-ID"),
    );
    door.take();
    let notify = Ask {
        uri: "sip:juliet@gateway.example.org".into(),
        from: "<sip:romeo@example.net>;tag=t".into(),
        to: header(&asked, "From").to_owned(),
        call_id: header(&asked, "Call-ID").to_owned(),
        extra: "Event: presence\r\nSubscription-State: active\r\nContent-Type: application/pidf+xml\r\n"
            .into(),
        body,
        ..Ask::new("NOTIFY")
    };
    door.sip(Tcp, PEER, notify.print());
    let came = door.take();
    assert!(
        !came.iter().any(|one| matches!(one, Came::Stanza(stanza) if stanza.to_xml().contains("aaaaaaaaaa"))),
        "{came:?}"
    );
}

// And six more.

// CVE-2017-5589 and its sisters: clients took a carbon copy from anybody for a message of whom it quotes.
// What a stanza quotes is never looked at: carbons and archives that reach us lead to nothing.
#[test]
fn cve_2017_5589_forged_carbon_copies() {
    for wrap in [
        "<received xmlns='urn:xmpp:carbons:2'>",
        "<sent xmlns='urn:xmpp:carbons:2'>",
        "<result xmlns='urn:xmpp:mam:2' id='1'>",
    ] {
        let end = wrap.split(' ').next().unwrap_or_default().replace('<', "</") + ">";
        let mut door = door();
        door.xmpp(&format!(
            "<message from='mallory@example.com/x' to='romeo@example.net' id='m' type='chat'><body>see</body>{wrap}<forwarded \
             xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='juliet@example.com/b' to='romeo@example.net' \
             type='chat'><body>forged</body></message></forwarded>{end}</message>"
        ));
        door.advance(Duration::from_secs(5));
        for text in door.messages() {
            assert!(!text.contains("forged") && !text.contains("juliet"), "{text}");
        }
    }
}

// RFC 5393: a request that forks and comes back doubles at each turn, and floods both proxies.
// We never fork; what has passed us is 482, whatever hops it has left, and the last hop is 483.
#[test]
fn rfc_5393_loops_that_amplify() {
    let mut door = door();
    door.xmpp("<message from='juliet@example.com/b' to='romeo@example.net' id='m' type='chat'><body>hi</body></message>");
    let ours = door.messages().remove(0);
    let via = format!("SIP/2.0/TCP 192.0.2.1;branch=z9hG4bKback\r\nVia: {}", header(&ours, "Via"));
    for (via, hops, answer) in
        [(via.as_str(), "70", "482"), ("SIP/2.0/TCP 192.0.2.1;branch=z9hG4bKlast", "0", "483")]
    {
        let ask = Ask { via: via.into(), ..Ask::new("MESSAGE") }.print();
        door.sip(Tcp, PEER, ask.replace("Max-Forwards: 70", &format!("Max-Forwards: {hops}")));
        assert_eq!(door.short(), answer);
    }
}

// Request smuggling: a length that two readers see differently makes the body a request of somebody else.
// Two lengths, a bare line break or a length in another place end the connection; what follows is not read.
#[test]
fn requests_hidden_in_bodies_of_others() {
    let hidden = Ask {
        from: "<sip:nurse@example.net>;tag=9".into(),
        via: "SIP/2.0/TCP 192.0.2.1;branch=z9hG4bKhidden".into(),
        ..Ask::new("MESSAGE")
    }
    .print();
    let carrier = Ask { body: hidden.clone(), ..Ask::new("MESSAGE") }.print();
    let length = format!("Content-Length: {}", hidden.len());
    assert!(carrier.contains(&length));
    for lines in [
        "Content-Length: 0\r\nl: 9".to_owned(),
        format!("{length}\r\nContent-Length: 0"),
        format!("X: y\nContent-Length: 0\r\n{length}"),
        format!("{length}\r\n\tContent-Length: 0\rl: 0"),
        "X: y".to_owned(),
    ] {
        let mut door = door();
        let mut stream = framing::Stream::new();
        door.stream(&mut stream, PEER, carrier.replace(&length, &lines).as_bytes());
        door.stream(&mut stream, PEER, hidden.as_bytes());
        door.advance(Duration::from_secs(1));
        let came = door.take();
        let forged =
            came.iter().any(|one| matches!(one, Came::Stanza(stanza) if stanza.to_xml().contains("nurse")));
        assert!(!forged && matches!(came.last(), Some(Came::Closed(_))), "{lines:?}: {came:?}");
    }
}

// XMPP servers ran out of stack or memory for elements that go deep, or names and attributes without end.
// Depth, attributes, nodes and bytes are counted before a tree is built; the stanza is refused, the stream goes on.
#[test]
fn stanzas_without_end() {
    let deep = "<x>".repeat(50_000) + &"</x>".repeat(50_000);
    let wide = "<x/>".repeat(100_000);
    let attributes: String = (0..10_000).map(|number| format!(" a{number}='1'")).collect();
    let long = "a".repeat(4 * 1024 * 1024);
    for inner in [
        deep,
        wide,
        format!("<x{attributes}/>"),
        format!("<body>{long}</body>"),
        format!("<body><![CDATA[{long}]]></body>"),
    ] {
        let text = format!(
            "<message from='a@b' to='c@d'>{inner}</message><iq from='a@b' to='c@d' id='1' type='get'><q/></iq>"
        );
        let events = heard(text.as_bytes());
        let whole = events.iter().filter(|event| matches!(event, Event::Element(_))).count();
        assert!(whole <= 1, "{} events", events.len());
        assert!(
            !events
                .iter()
                .any(|event| matches!(event, Event::Element(element) if element.name() == "message"))
        );
    }
    // Blanks between stanzas keep the link alive, and nothing else.
    assert!(heard(&vec![b' '; 1 << 20]).is_empty());
}

// MSRP: lines smuggled into a header through a Message-ID, a path or a nick become headers or frames of their own.
// What comes with a line break is cut at it; what goes out is printed from values that have none.
#[test]
fn msrp_headers_smuggled_through_text() {
    let mut door = door();
    door.xmpp("<presence from='juliet@example.com/balcony' to='romeo@example.net'/>");
    door.take();
    let path = "msrp://192.0.2.1:12763/theirs;tcp";
    let sdp =
        offer(path).replace(path, "msrp://192.0.2.1:12763/theirs;tcp\rTo-Path: msrp://203.0.113.66:1/x;tcp");
    door.sip(Tcp, PEER, Ask { body: sdp, ..Ask::new("INVITE") }.print());
    door.advance(Duration::from_secs(2));
    let came = door.take();
    assert!(!came.iter().any(|one| one.short().contains("203.0.113.66")), "{came:?}");
    // A stanza's id and thread may have any character; in SIP they are words or quoted.
    let mut door = self::door();
    door.xmpp("<message from='juliet@example.com/b' to='romeo@example.net' id='a&#13;&#10;Via: x' type='chat'><thread>t&#13;&#10;Route: &lt;sip:203.0.113.66;lr&gt;</thread><subject>s&#13;&#10;&#13;&#10;INVITE sip:a SIP/2.0</subject><body>hi</body></message>");
    for text in door.messages() {
        let head = text.split("\r\n\r\n").next().unwrap_or_default();
        assert!(!head.lines().any(|line| line.starts_with("Route") || line.starts_with("INVITE")), "{text}");
        assert_eq!(head.matches("\nVia: ").count(), 1, "{text}");
    }
}

// MSRP: ranges that lie make a receiver reserve what was said and not what came, or write beside it.
// A message has the length that came, within the limit; what overlaps or goes beyond is refused or overwritten in place.
#[test]
fn msrp_ranges_that_lie() {
    for range in [
        "1-5/99999999999",
        "99999999999-99999999999/99999999999",
        "0-5/5",
        "5-1/5",
        "1-99999999999999999999/5",
        "18446744073709551615-18446744073709551615/18446744073709551615",
        "-1-5/5",
    ] {
        let mut door = door();
        door.xmpp("<presence from='juliet@example.com/balcony' to='romeo@example.net'/>");
        door.take();
        door.sip(Tcp, PEER, Ask::new("INVITE").print());
        let answer = door.messages().into_iter().next().unwrap_or_default();
        let us = answer
            .split("a=path:")
            .nth(1)
            .and_then(|rest| rest.split("\r\n").next())
            .expect("a path")
            .to_owned();
        let ack = Ask {
            to: header(&answer, "To").to_owned(),
            via: "SIP/2.0/TCP 192.0.2.1;branch=z9hG4bKack".into(),
            ..Ask::new("ACK")
        };
        door.sip(Tcp, PEER, ack.print());
        door.take();
        let frame = format!(
            "MSRP tid1 SEND\r\nTo-Path: {us}\r\nFrom-Path: msrp://192.0.2.1:12763/theirs;tcp\r\nMessage-ID: m1\r\nByte-Range: {range}\r\n\
             Content-Type: text/plain\r\n\r\nhello\r\n-------tid1+\r\n"
        );
        door.msrp(1, frame.as_bytes());
        door.advance(Duration::from_secs(60));
        let said = door.short();
        assert!(!said.contains("<message chat>"), "{range}: {said}");
    }
}
