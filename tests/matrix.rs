//! Everybody who may come to the door with everything that may be said there, and the answer: `tests/matrix/*.tsv`.
//!
//! Each cell is one fresh gateway, one request or stanza, and what came out within five seconds, in order; `-` is
//! silence. `BLESS=1` writes the tables and docs/security.md anew, for review: each cell is a promise.

#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use mostar::config::Config;
use mostar::sip::flow::Transport::{self, Tcp, Udp};
use support::config;
use support::door::{Ask, Door, METHODS, header};

const PLACES: [&str; 4] = ["", " in a dialog nobody knows", " in his subscription", " in his session"];

/// A class of senders of SIP.
struct Caller {
    name: &'static str,
    transport: Transport,
    address: &'static str,
    from: &'static str,
}

const CALLERS: [Caller; 7] = [
    Caller { name: "peer", transport: Tcp, address: "192.0.2.1:5060", from: "romeo@example.net" },
    Caller { name: "peer by UDP", transport: Udp, address: "192.0.2.1:5060", from: "romeo@example.net" },
    Caller { name: "whom she denied", transport: Tcp, address: "192.0.2.1:5060", from: "romeo@example.net" },
    Caller { name: "foreign From", transport: Tcp, address: "192.0.2.1:5060", from: "romeo@bank.example" },
    Caller { name: "From of XMPP", transport: Tcp, address: "192.0.2.1:5060", from: "nurse@example.com" },
    Caller {
        name: "stranger by UDP",
        transport: Udp,
        address: "203.0.113.7:5060",
        from: "romeo@example.net",
    },
    Caller {
        name: "stranger by TCP",
        transport: Tcp,
        address: "203.0.113.7:5060",
        from: "romeo@example.net",
    },
];

/// The world of the vectors, with rooms on both sides.
fn world() -> Config {
    let mut config = config::config();
    config::add_conference(&mut config, "conference.example.net");
    config::add_rooms(&mut config, "chat.example.com");
    config
}

/// Five seconds pass.
fn outcome(door: &mut Door) -> String {
    door.advance(Duration::from_secs(5));
    door.short()
}

fn sip_cell(method: &'static str, place: &str, caller: &Caller) -> String {
    let mut door = Door::new(world());
    let peer = "192.0.2.1:5060";
    let mut ask = Ask::new(method);
    if caller.name == "whom she denied" {
        door.sip(Tcp, peer, Ask { call_id: "before".into(), ..Ask::new("SUBSCRIBE") }.print());
        door.xmpp("<presence from='juliet@example.com' to='romeo@example.net' type='unsubscribed'/>");
    }
    if place.contains("subscription") || place.contains("session") {
        let opening = if place.contains("session") { "INVITE" } else { "SUBSCRIBE" };
        door.xmpp("<presence from='juliet@example.com/balcony' to='romeo@example.net'/>");
        door.take();
        let via = "SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bKopening".to_owned();
        let opening = Ask { via: via.clone(), ..Ask::new(opening) };
        door.sip(Tcp, peer, opening.print());
        let answer = door.messages().into_iter().next().unwrap_or_default();
        let Some((_, tag)) = header(&answer, "To").split_once(";tag=") else { return "n/a".into() };
        if !answer.starts_with("SIP/2.0 200") {
            return "n/a".into();
        }
        ask.to = format!("<sip:juliet@example.com>;tag={tag}");
        if opening.method == "INVITE" {
            let ack = Ask { to: ask.to.clone(), via: format!("{via}a"), ..Ask::new("ACK") };
            door.sip(Tcp, peer, ack.print());
        }
        ask.cseq = if method == "ACK" { 1 } else { 2 };
        ask.call_id = opening.call_id;
    } else if !place.is_empty() {
        ask.to = "<sip:juliet@example.com>;tag=nobody".into();
    }
    door.advance(Duration::from_secs(10));
    door.take();
    ask.from = format!("<sip:{}>;tag=r1", caller.from);
    ask.via = format!("SIP/2.0/{} {};branch=z9hG4bKask", caller.transport.via(), caller.address);
    door.sip(caller.transport, caller.address, ask.print());
    let now = door.short();
    match (now.as_str(), outcome(&mut door).as_str()) {
        ("-", later) => later.to_owned(),
        (now, "-") => now.to_owned(),
        (now, later) if now.ends_with(later) => now.to_owned(),
        (now, later) => format!("{now} {later}"),
    }
}

/// The stanzas, by name. `FROM` is who says it.
const STANZAS: &[(&str, &str)] = &[
    ("message chat", "<message FROM to='romeo@example.net' id='m' type='chat'><body>hi</body></message>"),
    ("message normal", "<message FROM to='romeo@example.net' id='m' type='normal'><body>hi</body></message>"),
    ("message without a type", "<message FROM to='romeo@example.net' id='m'><body>hi</body></message>"),
    (
        "message headline",
        "<message FROM to='romeo@example.net' id='m' type='headline'><body>hi</body></message>",
    ),
    (
        "message groupchat",
        "<message FROM to='romeo@example.net' id='m' type='groupchat'><body>hi</body></message>",
    ),
    (
        "message of an odd type",
        "<message FROM to='romeo@example.net' id='m' type='odd'><body>hi</body></message>",
    ),
    (
        "message error",
        "<message FROM to='romeo@example.net' id='m' type='error'><body>hi</body><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>",
    ),
    (
        "message without a body",
        "<message FROM to='romeo@example.net' id='m' type='chat'><x xmlns='urn:example:odd'/></message>",
    ),
    (
        "typing",
        "<message FROM to='romeo@example.net' id='m' type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>",
    ),
    (
        "receipt for nothing",
        "<message FROM to='romeo@example.net' id='m' type='chat'><received xmlns='urn:xmpp:receipts' id='x'/></message>",
    ),
    (
        "message chat to the component",
        "<message FROM to='example.net' id='m' type='chat'><body>hi</body></message>",
    ),
    (
        "message chat to a domain not served",
        "<message FROM to='romeo@elsewhere.example' id='m' type='chat'><body>hi</body></message>",
    ),
    (
        "message chat to a bad address",
        "<message FROM to='@example.net' id='m' type='chat'><body>hi</body></message>",
    ),
    (
        "a carbon copy",
        "<message FROM to='romeo@example.net' id='m' type='chat'><received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='nurse@example.com/x' to='romeo@example.net' type='chat'><body>forged</body></message></forwarded></received></message>",
    ),
    ("presence", "<presence FROM to='romeo@example.net'/>"),
    ("presence unavailable", "<presence FROM to='romeo@example.net' type='unavailable'/>"),
    ("presence subscribe", "<presence FROM to='romeo@example.net' id='p' type='subscribe'/>"),
    ("presence subscribed", "<presence FROM to='romeo@example.net' id='p' type='subscribed'/>"),
    ("presence unsubscribe", "<presence FROM to='romeo@example.net' id='p' type='unsubscribe'/>"),
    ("presence unsubscribed", "<presence FROM to='romeo@example.net' id='p' type='unsubscribed'/>"),
    ("presence probe", "<presence FROM to='romeo@example.net' id='p' type='probe'/>"),
    (
        "presence error",
        "<presence FROM to='romeo@example.net' id='p' type='error'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>",
    ),
    ("presence of an odd type", "<presence FROM to='romeo@example.net' id='p' type='odd'/>"),
    ("presence to the component", "<presence FROM to='example.net'/>"),
    ("presence subscribe to the component", "<presence FROM to='example.net' id='p' type='subscribe'/>"),
    ("presence probe to the component", "<presence FROM to='example.net' id='p' type='probe'/>"),
    (
        "disco#info of the component",
        "<iq FROM to='example.net' id='i' type='get'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>",
    ),
    (
        "disco#info of a contact",
        "<iq FROM to='romeo@example.net' id='i' type='get'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>",
    ),
    (
        "disco#items of the component",
        "<iq FROM to='example.net' id='i' type='get'><query xmlns='http://jabber.org/protocol/disco#items'/></iq>",
    ),
    (
        "ping to the component",
        "<iq FROM to='example.net' id='i' type='get'><ping xmlns='urn:xmpp:ping'/></iq>",
    ),
    (
        "ping to a contact",
        "<iq FROM to='romeo@example.net' id='i' type='get'><ping xmlns='urn:xmpp:ping'/></iq>",
    ),
    (
        "vCard of a contact",
        "<iq FROM to='romeo@example.net' id='i' type='get'><vCard xmlns='vcard-temp'/></iq>",
    ),
    (
        "a new vCard for a contact",
        "<iq FROM to='romeo@example.net' id='i' type='set'><vCard xmlns='vcard-temp'/></iq>",
    ),
    (
        "version of the component",
        "<iq FROM to='example.net' id='i' type='get'><query xmlns='jabber:iq:version'/></iq>",
    ),
    ("registration", "<iq FROM to='example.net' id='i' type='set'><query xmlns='jabber:iq:register'/></iq>"),
    (
        "iq get of something unknown",
        "<iq FROM to='romeo@example.net' id='i' type='get'><query xmlns='urn:example:odd'/></iq>",
    ),
    (
        "iq set of something unknown",
        "<iq FROM to='romeo@example.net' id='i' type='set'><query xmlns='urn:example:odd'/></iq>",
    ),
    ("iq result for nothing", "<iq FROM to='romeo@example.net' id='i' type='result'/>"),
    (
        "iq error for nothing",
        "<iq FROM to='romeo@example.net' id='i' type='error'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>",
    ),
    (
        "iq of an odd type",
        "<iq FROM to='romeo@example.net' id='i' type='odd'><query xmlns='urn:example:odd'/></iq>",
    ),
    ("iq without a type", "<iq FROM to='romeo@example.net' id='i'><query xmlns='urn:example:odd'/></iq>"),
    ("iq get without an id", "<iq FROM to='example.net' type='get'><ping xmlns='urn:xmpp:ping'/></iq>"),
    (
        "entering a conference",
        "<presence FROM to='mantua@conference.example.net/J' id='p'><x xmlns='http://jabber.org/protocol/muc'/></presence>",
    ),
    (
        "a line to a conference from outside",
        "<message FROM to='mantua@conference.example.net' id='m' type='groupchat'><body>hi</body></message>",
    ),
    (
        "a private line to a conference from outside",
        "<message FROM to='mantua@conference.example.net/Romeo' id='m' type='chat'><body>hi</body></message>",
    ),
    (
        "asking into a conference from outside",
        "<message FROM to='mantua@conference.example.net' id='m'><x xmlns='http://jabber.org/protocol/muc#user'><invite to='nurse@example.com'/></x></message>",
    ),
    (
        "governing a conference",
        "<iq FROM to='mantua@conference.example.net' id='i' type='set'><query xmlns='http://jabber.org/protocol/muc#owner'><destroy/></query></iq>",
    ),
    (
        "disco#items of conferences",
        "<iq FROM to='conference.example.net' id='i' type='get'><query xmlns='http://jabber.org/protocol/disco#items'/></iq>",
    ),
    (
        "an invitation by a room",
        "<message FROM to='romeo@example.net' id='m'><x xmlns='http://jabber.org/protocol/muc#user'><invite from='juliet@example.com'/></x></message>",
    ),
    (
        "a direct invitation",
        "<message FROM to='romeo@example.net' id='m'><x xmlns='jabber:x:conference' jid='hall@chat.example.com'/></message>",
    ),
    (
        "a direct invitation to a foreign room",
        "<message FROM to='romeo@example.net' id='m'><x xmlns='jabber:x:conference' jid='hall@chat.evil.example'/></message>",
    ),
];

/// Who says it.
const SPEAKERS: [(&str, &str); 8] = [
    ("user", "juliet@example.com/balcony"),
    ("user, bare", "juliet@example.com"),
    ("her server", "example.com"),
    ("a room of ours", "hall@chat.example.com/nick"),
    ("unlisted user", "eve@evil.example/x"),
    ("unlisted server", "evil.example"),
    ("unlisted room", "hall@chat.evil.example/nick"),
    ("our own contact", "mercutio@example.net/x"),
];

fn xmpp_cell(stanza: &str, from: &str) -> String {
    let mut door = Door::new(world());
    door.xmpp(&stanza.replace("FROM", &format!("from='{from}'")));
    outcome(&mut door)
}

fn sip_table() -> Vec<Vec<String>> {
    let head =
        std::iter::once("request".to_owned()).chain(CALLERS.iter().map(|caller| caller.name.to_owned()));
    let mut rows = vec![head.collect::<Vec<_>>()];
    for place in PLACES {
        for method in METHODS {
            let cells = CALLERS.iter().map(|caller| sip_cell(method, place, caller));
            rows.push(std::iter::once(format!("{method}{place}")).chain(cells).collect());
        }
    }
    rows
}

fn xmpp_table() -> Vec<Vec<String>> {
    let head = std::iter::once("stanza").chain(SPEAKERS.iter().map(|(name, _)| *name));
    let mut rows = vec![head.map(str::to_owned).collect::<Vec<_>>()];
    for (name, stanza) in STANZAS {
        let cells = SPEAKERS.iter().map(|(_, from)| xmpp_cell(stanza, from));
        rows.push(std::iter::once((*name).to_owned()).chain(cells).collect());
    }
    rows
}

fn tsv(rows: &[Vec<String>]) -> String {
    rows.iter().map(|row| row.join("\t") + "\n").collect()
}

fn markdown(rows: &[Vec<String>]) -> String {
    let escaped = |cell: &String| cell.replace('<', "&lt;").replace('|', "\\|");
    let line =
        |row: &Vec<String>| format!("| {} |\n", row.iter().map(escaped).collect::<Vec<_>>().join(" | "));
    let mut text = line(&rows[0]);
    text += &format!("|{}\n", "---|".repeat(rows[0].len()));
    rows[1..].iter().for_each(|row| text += &line(row));
    text
}

/// The tables stand in docs/security.md between these.
fn section(page: &str, name: &str, table: &str) -> String {
    let (begin, end) = (format!("<!-- matrix {name} -->\n"), format!("<!-- end of matrix {name} -->"));
    let (before, rest) = page.split_once(&begin).expect("the page has a place for the table");
    let (_, after) = rest.split_once(&end).expect("the place ends");
    format!("{before}{begin}{table}{end}{after}")
}

#[test]
fn everybody_gets_the_answer_that_the_matrix_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let is_blessing = std::env::var_os("BLESS").is_some();
    let page_at = root.join("docs/security.md");
    let page = fs::read_to_string(&page_at).expect("docs/security.md");
    let mut wanted_page = page.clone();
    let mut wrong = Vec::new();
    for (name, rows) in [("sip", sip_table()), ("xmpp", xmpp_table())] {
        judge(name, &rows);
        wanted_page = section(&wanted_page, name, &markdown(&rows));
        let path = root.join(format!("tests/matrix/{name}.tsv"));
        let text = tsv(&rows);
        if is_blessing {
            fs::write(&path, &text).expect("written");
        }
        let stands = fs::read_to_string(&path).unwrap_or_default();
        let said: Vec<&str> = stands.lines().collect();
        for (number, line) in text.lines().enumerate() {
            if said.get(number) != Some(&line) {
                wrong.push(format!(
                    "{name}.tsv says\n  {}\nbut it is\n  {line}",
                    said.get(number).unwrap_or(&"")
                ));
            }
        }
        assert_eq!(said.len(), text.lines().count(), "{name}.tsv has other rows");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    if is_blessing {
        fs::write(&page_at, &wanted_page).expect("written");
    } else {
        assert!(page == wanted_page, "docs/security.md is stale: BLESS=1 cargo test --test matrix");
    }
}

/// What holds of every cell, whatever the tables say: strangers are not spoken to, and nothing crosses for who may not.
fn judge(name: &str, rows: &[Vec<String>]) {
    let head = &rows[0];
    for row in &rows[1..] {
        for (who, cell) in head.iter().zip(row).skip(1) {
            let crosses = match name {
                "sip" => cell.contains('<'),
                _ => ["MESSAGE", "INVITE", "SUBSCRIBE", "NOTIFY", "OPTIONS", "REFER", "connect"]
                    .iter()
                    .any(|word| cell.contains(word)),
            };
            let may = match who.as_str() {
                "stranger by UDP" => cell == "-",
                "stranger by TCP" => ["403 closed", "closed"].contains(&cell.as_str()),
                "foreign From" | "From of XMPP" | "our own contact" => !crosses,
                unlisted if unlisted.contains("unlisted") => !crosses,
                _ => true,
            };
            assert!(may, "{} by {who}: {cell}", row[0]);
        }
    }
}
