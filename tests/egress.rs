//! Nothing that a stranger writes makes us talk to somebody whom the admin did not name: header by header, over the
//! whole core. (What the shell asks before each socket: `src/config/egress.rs`, `src/shell/sockets.rs`; MSRP with real
//! sockets: `tests/msrp_transport.rs`.) And nobody is flooded through us: bytes out are counted against bytes in.

#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

mod support;

use std::time::Duration;

use mostar::config::Config;
use mostar::msrp::MsrpOut;
use mostar::sip::flow::Transport::{self, Tcp, Udp};
use support::config;
use support::door::{Ask, Came, Door, METHODS, header, offer, text};

const PEER: &str = "192.0.2.1:5060";
/// Somebody whom nobody named, by address and by name.
const THIRD: &str = "203.0.113.66";
const THIRD_NAME: &str = "third.evil.example";

fn world(transport: Option<Transport>) -> Config {
    let mut config = config::config();
    config.sip.peers[0].transport = transport;
    config
}

/// Nothing went, or was to go, anywhere but to the peer, and no name was looked up.
#[track_caller]
fn only_the_peer(door: &mut Door, what: &str) -> Vec<Came> {
    let came = door.take();
    for one in &came {
        match one {
            Came::Sip(out) => {
                assert_eq!(out.target.remote.ip().to_string(), "192.0.2.1", "{what}: {}", text(&out.bytes));
            }
            Came::Asked(query) => panic!("{what}: {query:?} was looked up"),
            _ => {}
        }
    }
    came
}

/// Every header that names a place, with a third party in it.
fn headers(place: &str) -> Vec<(&'static str, String)> {
    let uri = format!("<sip:victim@{place}:5060;transport=tcp>");
    [
        "Contact",
        "Route",
        "Record-Route",
        "Path",
        "Service-Route",
        "Reply-To",
        "Refer-To",
        "Referred-By",
        "Alert-Info",
        "Call-Info",
        "Error-Info",
        "P-Asserted-Identity",
        "P-Preferred-Identity",
        "History-Info",
        "Diversion",
        "Geolocation",
        "Content-Indirection",
    ]
    .into_iter()
    .map(|name| {
        let value = match name {
            "Route" | "Record-Route" | "Path" | "Service-Route" => {
                format!("<sip:{place}:5060;transport=tcp;lr>")
            }
            "Alert-Info" | "Call-Info" | "Error-Info" | "Geolocation" => format!("<http://{place}/ring.wav>"),
            _ => uri.clone(),
        };
        (name, format!("{name}: {value}\r\n"))
    })
    .collect()
}

/// Each alone, or all together.
fn tried(place: &str, one_by_one: bool) -> Vec<(&'static str, String)> {
    let all = headers(place);
    if one_by_one { all } else { vec![("all", all.into_iter().map(|(_, line)| line).collect())] }
}

#[test]
fn no_header_of_a_request_leads_to_a_third_party() {
    for place in [THIRD, THIRD_NAME, "127.0.0.1", "169.254.169.254", "localhost"] {
        for method in ["INVITE", "MESSAGE", "SUBSCRIBE", "REFER"] {
            let one_by_one = place == THIRD_NAME && matches!(method, "INVITE" | "SUBSCRIBE");
            for (name, line) in tried(place, one_by_one) {
                let mut door = Door::new(world(Some(Tcp)));
                door.xmpp("<presence from='juliet@example.com/balcony' to='romeo@example.net'/>");
                door.take();
                let mut ask = Ask::new(method);
                let is_replaced =
                    |old: &str| line.contains(&format!("{}:", old.split(':').next().unwrap_or_default()));
                let kept = ask.extra.split_inclusive("\r\n").filter(|old| !is_replaced(old));
                ask.extra = kept.collect::<String>() + &line;
                door.sip(Tcp, PEER, ask.print());
                door.xmpp("<presence from='juliet@example.com' to='romeo@example.net' type='subscribed'/>");
                door.xmpp("<presence from='juliet@example.com/balcony' to='romeo@example.net'/>");
                door.advance(Duration::from_secs(120));
                only_the_peer(&mut door, &format!("{method} {name} {place}"));
            }
        }
    }
}

#[test]
fn no_header_of_an_answer_leads_to_a_third_party() {
    for place in [THIRD, THIRD_NAME] {
        for status in ["200 OK", "302 Moved", "305 Use Proxy", "380 Other", "401 Unauthorized", "503 Busy"] {
            for (name, line) in tried(place, place == THIRD_NAME && status == "200 OK") {
                for stanza in [
                    "<message from='juliet@example.com/b' to='romeo@example.net' id='m' type='chat'><body>hi</body></message>",
                    "<presence from='juliet@example.com' to='romeo@example.net' id='p' type='subscribe'/>",
                ] {
                    let mut door = Door::new(world(Some(Tcp)));
                    door.xmpp(stanza);
                    let asked = door.messages().remove(0);
                    let answer = |status: &str| {
                        format!(
                            "SIP/2.0 {status}\r\nVia: {}\r\nFrom: {}\r\nTo: {};tag=t\r\nCall-ID: {}\r\nCSeq: {}\r\n{line}Expires: 60\r\nContent-Length: 0\r\n\r\n",
                            header(&asked, "Via"),
                            header(&asked, "From"),
                            header(&asked, "To"),
                            header(&asked, "Call-ID"),
                            header(&asked, "CSeq")
                        )
                    };
                    door.sip(Tcp, PEER, answer(status));
                    // Long enough for refreshes and for what is tried again.
                    door.advance(Duration::from_secs(400));
                    only_the_peer(&mut door, &format!("{status} {name} {place}"));
                }
            }
        }
    }
}

#[test]
fn an_answer_goes_to_its_source_whatever_via_says() {
    let vias = [
        format!("SIP/2.0/UDP {THIRD}:5060;branch=z9hG4bK1"),
        format!("SIP/2.0/UDP {THIRD}:5060;branch=z9hG4bK1;rport"),
        format!("SIP/2.0/UDP {THIRD_NAME};branch=z9hG4bK1"),
        format!("SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1;received={THIRD}"),
        format!("SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1;received={THIRD};rport=9"),
        format!("SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1;maddr={THIRD}"),
        "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1;maddr=224.2.0.1;ttl=255".to_owned(),
        format!("SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1, SIP/2.0/UDP {THIRD};branch=z9hG4bK2"),
        format!("SIP/2.0/TCP {THIRD}:5060;branch=z9hG4bK1;alias"),
    ];
    for via in vias {
        for transport in [Udp, Tcp] {
            let mut door = Door::new(world(Some(Tcp)));
            door.sip(transport, PEER, Ask { via: via.clone(), ..Ask::new("OPTIONS") }.print());
            let came = only_the_peer(&mut door, &via);
            assert!(matches!(&came[..], [Came::Sip(_)]), "{via} is answered once: {came:?}");
        }
    }
}

#[test]
fn a_dialog_leads_into_no_well_known_port_of_a_peer() {
    for (contact, remote) in [
        ("sip:romeo@192.0.2.1:5066;transport=tcp", "192.0.2.1:5066"),
        ("sip:romeo@192.0.2.1:22;transport=tcp", PEER),
        ("sip:romeo@192.0.2.1:25;transport=tcp", PEER),
        ("sip:romeo@192.0.2.1:0;transport=tcp", PEER),
        // Ours: to us it would be a stranger's request that we asked for.
        ("sip:romeo@192.0.2.9:5060;transport=tcp", PEER),
    ] {
        let mut door = Door::new(world(Some(Tcp)));
        let extra = format!("Contact: <{contact}>\r\nEvent: presence\r\n");
        door.sip(Tcp, PEER, Ask { extra, ..Ask::new("SUBSCRIBE") }.print());
        let came = door.take();
        let notify = came.iter().find_map(|one| match one {
            Came::Sip(out) if out.bytes.starts_with(b"NOTIFY") => Some(out.target.remote.to_string()),
            _ => None,
        });
        assert_eq!(notify.as_deref(), Some(remote), "{contact}");
    }
}

#[test]
fn only_the_path_of_a_session_description_leads_anywhere() {
    let sdp = offer("msrp://192.0.2.1:12763/theirs;tcp")
        .replace("c=IN IP4 192.0.2.1", &format!("c=IN IP4 {THIRD}"))
        .replace("o=- 1 1 IN IP4 192.0.2.1", &format!("o=- 1 1 IN IP4 {THIRD_NAME}"))
        .replace(
            "setup:actpass",
            &format!("setup:passive\r\na=rtcp:9 IN IP4 {THIRD}\r\na=candidate:1 1 UDP 1 {THIRD} 9 typ host"),
        );
    let mut door = Door::new(world(Some(Tcp)));
    door.xmpp("<presence from='juliet@example.com/balcony' to='romeo@example.net'/>");
    door.take();
    door.sip(Tcp, PEER, Ask { body: sdp, ..Ask::new("INVITE") }.print());
    door.advance(Duration::from_secs(1));
    let hops: Vec<String> = door
        .take()
        .into_iter()
        .filter_map(|one| match one {
            Came::Msrp(MsrpOut::Connect { hop, .. }) => Some(hop.to_string()),
            _ => None,
        })
        .collect();
    // That one is judged after DNS by the policy of `msrp.connect_to`.
    assert_eq!(hops, ["msrp://192.0.2.1:12763;tcp"]);
}

/// Bytes out for bytes in, of one request, with all that follows in five minutes at its source.
fn factor(from: &str, bytes: &str, transport: Transport) -> (usize, usize) {
    let mut door = Door::new(world(Some(Udp)));
    door.pongs = false;
    door.sip(transport, from, bytes.to_owned());
    door.advance(Duration::from_secs(300));
    let out = door.take().iter().map(|one| if let Came::Sip(out) = one { out.bytes.len() } else { 0 }).sum();
    (bytes.len(), out)
}

#[test]
fn a_source_that_nobody_verified_hears_nothing_over_udp() {
    let mut sent = (0, 0);
    for method in METHODS {
        let whole = Ask::new(method).print();
        let broken = [
            whole.replace("Call-ID: ask\r\n", ""),
            whole.replace("CSeq: 1", "CSeq: x"),
            whole.replace("SIP/2.0\r\nVia", "SIP/3.0\r\nVia"),
            whole.replace("To: <sip:", "To: <"),
            format!("{method} sip:juliet@example.com\r\n\r\n"),
            method.to_owned(),
        ];
        for text in broken.iter().chain([&whole]) {
            let (read, out) = factor("203.0.113.7:5060", text, Udp);
            sent = (sent.0 + read, sent.1 + out);
            assert_eq!(out, 0, "{text}");
        }
    }
    figure("bytes to unverified UDP sources per byte received", "1.5", sent.1 as f64 / sent.0 as f64, 1.5);
}

/// A datagram in a peer's name that another sent: its answer reaches that peer alone, and is not much longer; that to
/// OPTIONS, with what RFC 3261 §11.2 wants in it, is the longest.
#[test]
fn who_borrows_a_peers_address_multiplies_nothing() {
    let mut worst = (0.0, "");
    for method in METHODS {
        let mut door = Door::new(world(Some(Udp)));
        let whole = Ask::new(method).print();
        door.sip(Udp, PEER, whole.clone());
        let out: usize = door
            .take()
            .iter()
            .filter_map(|one| if let Came::Sip(out) = one { Some(&out.bytes) } else { None })
            .filter(|bytes| bytes.starts_with(b"SIP/2.0"))
            .map(|bytes| bytes.len())
            .sum();
        let ratio = out as f64 / whole.len() as f64;

        assert!(ratio <= 1.6 || method == "OPTIONS", "{method}: {ratio:.2}");
        if ratio > worst.0 {
            worst = (ratio, method);
        }
    }
    assert!(worst.0 <= 3.0, "{worst:?}");
}

/// However often one watcher asks, he is told once for each SUBSCRIBE, and of one change once for each of 16 dialogs.
#[test]
fn notifies_do_not_multiply() {
    let mut door = Door::new(world(Some(Tcp)));
    let (mut read, mut out) = (0, 0);
    for number in 0..200 {
        let via = format!("SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bK{number}");
        let from = format!("<sip:romeo@example.net>;tag=r{number}");
        let call_id = format!("flood-{number}");
        let extra = "Contact: <sip:victim@203.0.113.66>\r\nEvent: presence\r\n".to_owned();
        let ask = Ask { via, from, call_id, extra, ..Ask::new("SUBSCRIBE") }.print();
        read += ask.len();
        door.sip(Tcp, PEER, ask);
        door.advance(Duration::from_millis(10));
        let came = only_the_peer(&mut door, "SUBSCRIBE");
        out += came.iter().filter(|one| one.short().starts_with("NOTIFY")).count();
    }
    // One for the new dialog, one for the oldest, which makes room.
    assert!(out <= 2 * 200, "{out} NOTIFYs for {read} bytes");
    door.xmpp("<presence from='juliet@example.com' to='romeo@example.net' type='subscribed'/>");
    door.xmpp("<presence from='juliet@example.com/balcony' to='romeo@example.net'/>");
    door.advance(Duration::from_secs(1));
    door.take();
    // A user who changes her presence a hundred times in a second.
    for number in 0..100 {
        let show = if number % 2 == 0 { "away" } else { "dnd" };
        door.xmpp(&format!("<presence from='juliet@example.com/balcony' to='romeo@example.net'><show>{show}</show></presence>"));
    }
    door.advance(Duration::from_secs(5));
    let told = only_the_peer(&mut door, "presence").len();
    assert!(told <= 2 * 16, "{told} NOTIFYs for a hundred changes in five seconds");
}

/// Fetches (Expires: 0) leave nothing behind, and each is answered by one NOTIFY.
#[test]
fn a_flood_of_fetches_is_one_notify_each_and_leaves_nothing() {
    let mut door = Door::new(world(Some(Tcp)));
    let mut told = 0;
    for number in 0..300 {
        let via = format!("SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bK{number}");
        let from = format!("<sip:romeo@example.net>;tag=r{number}");
        let extra = "Contact: <sip:romeo@192.0.2.1>\r\nEvent: presence\r\nExpires: 0\r\n".to_owned();
        let ask = Ask { via, from, call_id: format!("fetch-{number}"), extra, ..Ask::new("SUBSCRIBE") };
        door.sip(Tcp, PEER, ask.print());
        told += door.take().iter().filter(|one| one.short().starts_with("NOTIFY")).count();
    }
    door.advance(Duration::from_secs(120));
    told += door.take().iter().filter(|one| one.short().starts_with("NOTIFY")).count();
    assert!(told <= 300, "{told}");
    assert_eq!(door.gateway.load(), 0);
}

fn figure(name: &str, target: &str, measured: f64, limit: f64) {
    let ratio = measured / limit;
    support::results::line(&format!("figure\t{name}\t{target}\t{measured:.2}\t{ratio:.2}"));
}
