//! How many chat sessions somebody may have: conversations that are too many to be written down one by one.

mod support;

use support::vector;

const ONLINE: &str = "<presence from='USER@example.com/balcony' to='romeo@example.net'/>";

/// Somebody is called from a device, and a session opens on a connection of its own.
fn session(at: u64, number: usize, user: &str, device: &str) -> String {
    let open = "\
@AT sip in
    INVITE sip:USER@example.com SIP/2.0
    Via: SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bKinviteNUM
    From: <sip:romeo@example.net>;tag=r1
    To: <sip:USER@example.com>
    Contact: <sip:romeo@example.net;gr=DEVICE>
    Call-ID: inviteNUM
    CSeq: 1 INVITE
    Content-Type: application/sdp

    v=0
    o=- 1 1 IN IP4 192.0.2.1
    s=-
    c=IN IP4 192.0.2.1
    t=0 0
    m=message 12763 TCP/MSRP *
    a=path:msrp://192.0.2.1:12763/kjhd37s2s20w2a;tcp
    a=accept-types:text/plain
    a=setup:actpass
@AT sip out
    SIP/2.0 200 OK
    To: <sip:USER@example.com>;tag={tagNUM}
    Call-ID: inviteNUM
    Content-Type: application/sdp

    v=0
    o=- {_} {_} IN IP4 gateway.example.org
    s=-
    c=IN IP4 gateway.example.org
    t=0 0
    m=message 2855 TCP/MSRP *
    a=path:msrp://gateway.example.org:2855/{usNUM};tcp
    a=accept-types:{_}
    a=accept-wrapped-types:{_}
    a=max-size:262144
    a=setup:passive
@AT sip in
    ACK sip:USER@gateway.example.org:5060;transport=tcp SIP/2.0
    Via: SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bKackNUM
    From: <sip:romeo@example.net>;tag=r1
    To: <sip:USER@example.com>;tag={tagNUM}
    Call-ID: inviteNUM
    CSeq: 1 ACK
@AT msrp in conn NUM
    MSRP helloNUM SEND
    To-Path: msrp://gateway.example.org:2855/{usNUM};tcp
    From-Path: msrp://192.0.2.1:12763/kjhd37s2s20w2a;tcp
    Byte-Range: 1-0/0
    Message-ID: firstNUM
@AT msrp out
    MSRP helloNUM 200 OK
";
    let (number, at) = (number.to_string(), at.to_string());
    let words = [("AT", at.as_str()), ("NUM", &number), ("USER", user), ("DEVICE", device)];
    words.iter().fold(open.to_owned(), |text, (word, by)| text.replace(word, by))
}

fn play(text: &str) {
    if let Err(failure) = vector::run(text) {
        panic!("{failure}");
    }
}

#[test]
fn a_help_desk_has_a_session_with_each_of_many_users() {
    let mut text = String::from("# Many users, one contact\n");
    for number in 1..=40 {
        let user = format!("user{number}");
        text.push_str(&format!("@0 xmpp in\n    {}\n", ONLINE.replace("USER", &user)));
        text.push_str(&session(0, number, &user, "desk"));
    }
    play(&text);
}

#[test]
fn too_many_sessions_of_a_pair_are_refused_until_one_of_them_is_silent_for_long() {
    let mut text = format!("# Sessions of one pair\n@0 xmpp in\n    {}\n", ONLINE.replace("USER", "juliet"));
    for number in 1..=16 {
        text.push_str(&session(number as u64, number, "juliet", &format!("d{number}")));
    }
    text.push_str(
        "\
@500 sip in
    INVITE sip:juliet@example.com SIP/2.0
    Via: SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bKinvite17
    From: <sip:romeo@example.net>;tag=r1
    To: <sip:juliet@example.com>
    Contact: <sip:romeo@example.net;gr=d17>
    Call-ID: invite17
    CSeq: 1 INVITE
@500 sip out
    SIP/2.0 486 Too many sessions
    Call-ID: invite17
@500 sip in
    ACK sip:juliet@example.com SIP/2.0
    Via: SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bKinvite17
    From: <sip:romeo@example.net>;tag=r1
    To: <sip:juliet@example.com>
    Call-ID: invite17
    CSeq: 1 ACK
",
    );
    let bye = "\
@600001 sip out
    BYE sip:romeo@example.net;gr=d1 SIP/2.0
    Call-ID: invite1
    Reason: SIP;cause=200;text=\"a newer session needs its place\"
@600001 sip in
    SIP/2.0 200 OK
";
    let newer = session(600_001, 18, "juliet", "d18");
    let (invite, rest) = newer.split_at(newer.find("@600001 sip out").unwrap_or_default());
    let (answer, rest) = rest.split_at(rest.find("@600001 sip in").unwrap_or_default());
    play(&[&text, invite, answer, bye, rest].concat());
}
