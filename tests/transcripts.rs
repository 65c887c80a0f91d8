//! Plays recorded clients to the gateway, which stands in for one person of the recording.
//!
//! What the gateway answers and what the XMPP user sees is compared with `tests/transcripts/expected.txt`.

#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

#[path = "support/cut.rs"]
mod cut;
mod support;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use mostar::config::Config;
use mostar::documents::conference::{self, Taken, View};
use mostar::features::sessions::PeerMsrp;
use mostar::sip::flow::Transport;
use mostar::words::id::Partition;
use mostar::words::time::Tick;
use support::vector::{Side, World};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts")
}

/// One recorded message.
struct Frame {
    time: f64,
    way: String,
    udp: bool,
    bytes: Vec<u8>,
}

fn frames(name: &str) -> Vec<Frame> {
    let text = fs::read(folder().join(name)).expect("the recording is there");
    let text = String::from_utf8(text).expect("recordings are UTF-8; other bodies lie in files of their own");
    let mut frames = Vec::new();
    for part in text.split("\n--- ").map(|part| part.trim_start_matches("--- ")) {
        let Some((title, content)) = part.split_once('\n') else { continue };
        let words: Vec<_> = title.split_whitespace().collect();
        let [time, from, "->", to, transport, ..] = words.as_slice() else { continue };
        let Ok(time) = time.parse() else { continue };
        let content = &format!("{content}\n");
        let mut bytes = content.as_bytes().to_vec();
        if let Some(file) = words.iter().find_map(|word| word.strip_prefix("body=")) {
            let head = content.trim_end();
            bytes = format!("{head}\r\n\r\n").into_bytes();
            bytes.extend(fs::read(folder().join(file)).expect("the body is there"));
        } else if let Some((head, body)) =
            content.split_once("\r\n\r\n").filter(|_| !transport.starts_with("msrp"))
        {
            let length = header(head, "Content-Length").and_then(|length| length.parse().ok()).unwrap_or(0);
            let body = &body.as_bytes()[..body.len().min(length)];
            bytes = [head.as_bytes(), b"\r\n\r\n", body].concat();
        }
        frames.push(Frame { time, way: format!("{from} -> {to}"), udp: *transport == "sip/udp", bytes });
    }
    frames
}

fn header(head: &str, name: &str) -> Option<String> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

/// The frame with these texts replaced in its head and in a body of text, its length put right.
fn rewritten(frame: &Frame, replace: &[(&str, &str)]) -> Vec<u8> {
    let at = frame.bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head ends");
    let mut head = String::from_utf8_lossy(&frame.bytes[..at]).into_owned();
    let mut body = frame.bytes[at + 4..].to_vec();
    if let Ok(text) = String::from_utf8(body.clone()) {
        body = replace.iter().fold(text, |text, (from, to)| text.replace(from, to)).into_bytes();
    }
    head = replace.iter().fold(head, |head, (from, to)| head.replace(from, to));
    let lines: Vec<_> =
        head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("content-length")).collect();
    [format!("{}\r\nContent-Length: {}\r\n\r\n", lines.join("\r\n"), body.len()).into_bytes(), body].concat()
}

/// A gateway for `sip.lab` whose XMPP users are those of `xmpp.lab`, beside the recorded proxy.
fn world() -> World {
    World::new(config())
}

fn config() -> Config {
    let mut config = support::vector::config();
    config.xmpp.components[0].domain = "sip.lab".into();
    config.xmpp.components[0].sip_domain = "sip.lab".into();
    config.xmpp.domains[0].domain = "xmpp.lab".into();
    config.xmpp.domains[0].sip_alias = "xmpp.lab".into();
    config.sip.peers[0].may_send_from = vec!["sip.lab".into()];
    config
}

/// What came out, in lines that do not change from run to run.
fn tell(world: &mut World, out: &mut String) {
    for line in world.take_stanzas() {
        let _ = writeln!(out, "    {line}");
    }
    for message in world.take_messages() {
        let first = message.lines().next().unwrap_or_default();
        let hints = ["Accept", "Accept-Encoding"]
            .map(|name| header(&message, name).map(|value| format!("{name}: {value}")));
        let hints: Vec<_> = hints.into_iter().flatten().collect();
        let _ = writeln!(out, "    {first} {}", hints.join(" "));
    }
}

/// Every MESSAGE that reached `person` reaches the gateway instead.
fn messages(name: &str, person: &str, out: &mut String) {
    let _ = writeln!(out, "# {name}: what reaches {person}");
    let mut world = world();
    let (theirs, ours) = (format!("{person}@sip.lab"), format!("{person}@xmpp.lab"));
    for frame in frames(name).iter().filter(|frame| frame.way == format!("proxy -> {person}")) {
        if !frame.bytes.starts_with(b"MESSAGE ") {
            continue;
        }
        let text = String::from_utf8_lossy(&frame.bytes).into_owned();
        let head = text.split("\r\n\r\n").next().unwrap_or_default();
        let kind = header(head, "Content-Type").unwrap_or_default();
        let encoding = header(head, "Content-Encoding").unwrap_or_default();
        let _ = writeln!(out, "{:.3} {kind} {encoding}", frame.time);
        // The registrar had put bob's own address into the Request-URI; a gateway is sent the AOR.
        let target = text.split_whitespace().nth(1).unwrap_or_default();
        let aor = format!("MESSAGE sip:{ours} SIP/2.0");
        let bytes = rewritten(frame, &[(&format!("MESSAGE {target} SIP/2.0"), &aor), (&theirs, &ours)]);
        let transport = if frame.udp { Transport::Udp } else { Transport::Tcp };
        world.advance(Tick((frame.time * 1e6) as u64)).expect("alarms end");
        world.arrive(transport, None, bytes);
        world.answer_pings();
        world.advance(Tick((frame.time * 1e6) as u64 + 15_000)).expect("alarms end");
        world.answer_pings();
        tell(&mut world, out);
    }
}

/// Whoever calls in a recorded session calls the gateway, and says there what was said to `callee`.
fn session(name: &str, caller: &str, callee: &str, out: &mut String) {
    let _ = writeln!(out, "# {name}: {caller} has a session with {callee}");
    let mut world = world();
    world.stanza_in(&format!("<presence from='{callee}@xmpp.lab/here' to='{caller}@sip.lab'/>"));
    // Her client knows chat states: it is shown his.
    let active = "<active xmlns='http://jabber.org/protocol/chatstates'/>";
    world.stanza_in(&format!(
        "<message from='{callee}@xmpp.lab/here' to='{caller}@sip.lab' type='chat'>{active}</message>"
    ));
    let (theirs, ours) = (format!("{callee}@sip.lab"), format!("{callee}@xmpp.lab"));
    let (sip, msrp) = (format!("{caller} -> proxy"), format!("{caller} -> {callee}"));
    // What the gateway says of itself, beside what was said of the callee.
    let (mut tags, mut paths) = ((String::new(), String::new()), (String::new(), String::new()));
    for frame in frames(name) {
        let text = String::from_utf8_lossy(&frame.bytes).into_owned();
        if frame.way == format!("proxy -> {caller}") && text.starts_with("SIP/2.0 200") && tags.0.is_empty() {
            tags.0 = tag_of(&text);
            paths.0 = line_of(&text, "a=path:");
        }
    }
    for frame in frames(name).iter().filter(|frame| frame.way == sip || frame.way == msrp) {
        let text = String::from_utf8_lossy(&frame.bytes).into_owned();
        let text = if frame.way == msrp { cut::rebuilt(&format!("{}\r\n", text.trim_end())) } else { text };
        let first = text.lines().next().unwrap_or_default();
        let is_answer = |word: Option<&str>| word.is_some_and(|word| word.parse::<u16>().is_ok());
        let _ = writeln!(out, "{:.3} {}", frame.time, first.replace(&theirs, &ours));
        world.advance(Tick((frame.time * 1e6) as u64)).expect("alarms end");
        if frame.way == sip {
            let target = text.split_whitespace().nth(1).unwrap_or_default().to_owned();
            let uri = format!("sip:{ours}");
            let replace = [(target.as_str(), uri.as_str()), (&theirs, &ours), (&tags.0, &tags.1)];
            let replace: Vec<_> = replace.into_iter().filter(|(known, _)| !known.is_empty()).collect();
            world.arrive(Transport::Udp, None, rewritten(frame, &replace));
        } else if is_answer(first.split(' ').nth(2)) {
            // It answers what only the callee said.
            continue;
        } else {
            world.frame_in(text.replace(&paths.0, &paths.1).as_bytes());
        }
        world.answer_pings();
        world.advance(Tick((frame.time * 1e6) as u64 + 2_000)).expect("alarms end");
        world.answer_pings();
        for message in world.take_messages() {
            let first = message.lines().next().unwrap_or_default();
            let _ = writeln!(out, "    {first}");
            if first.starts_with("SIP/2.0 4") {
                return;
            }
            if first.starts_with("SIP/2.0 200") && tags.1.is_empty() {
                tags.1 = tag_of(&message);
                paths.1 = line_of(&message, "a=path:");
            }
        }
        for stanza in world.take_stanzas() {
            let _ = match stanza.char_indices().nth(300) {
                Some((at, _)) => writeln!(out, "    {}… {} bytes", &stanza[..at], stanza.len()),
                None => writeln!(out, "    {stanza}"),
            };
        }
        for frame in world.take_frames() {
            let mut words = frame.split_whitespace().skip(1);
            let (tid, what) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let header = |name| header(&frame, name).unwrap_or_default();
            let _ = match is_answer(Some(what)) {
                true => writeln!(out, "    MSRP {tid} {what}"),
                false => writeln!(out, "    MSRP {what} {} {}", header("Message-ID"), header("Status")),
            };
        }
    }
}

/// The tag of To.
fn tag_of(text: &str) -> String {
    header(text, "To").and_then(|to| Some(to.split_once("tag=")?.1.to_owned())).unwrap_or_default()
}

/// The rest of the line that begins so.
fn line_of(text: &str, beginning: &str) -> String {
    text.lines().find_map(|line| line.strip_prefix(beginning)).unwrap_or_default().trim().to_owned()
}

/// An XMPP user watches `contact`; what the proxy told `watcher` of it is told to the gateway.
fn presence(name: &str, watcher: &str, contact: &str, out: &mut String) {
    let _ = writeln!(out, "# {name}: {watcher} watches {contact}");
    let mut world = world();
    let frames = frames(name);
    world.stanza_in(&format!(
        "<presence from='{watcher}@xmpp.lab/here' to='{contact}@sip.lab' type='subscribe'/>"
    ));
    let subscribe =
        world.take_messages().into_iter().find(|text| text.starts_with("SUBSCRIBE ")).expect("it subscribes");
    let (call, from) = (header(&subscribe, "Call-ID").unwrap(), header(&subscribe, "From").unwrap());
    let uri = header(&subscribe, "Contact").unwrap();
    let uri = uri.split(['<', '>']).nth(1).unwrap().to_owned();
    let notifies: Vec<_> = frames
        .iter()
        .filter(|frame| frame.way == format!("proxy -> {watcher}") && frame.bytes.starts_with(b"NOTIFY "))
        .filter(|frame| String::from_utf8_lossy(&frame.bytes).contains("\r\nEvent: presence\r\n"))
        .collect();
    assert!(!notifies.is_empty(), "{name} has no NOTIFY for {watcher}");
    let first = String::from_utf8_lossy(&notifies[0].bytes).into_owned();
    let notifier = header(&first, "From").unwrap();
    let answer = format!(
        "SIP/2.0 200 OK\nTo: {notifier}\nExpires: 600\nContact: <sip:192.0.2.1:5060;transport=tcp>\n"
    );
    world.answer_last(&subscribe, &answer);
    tell(&mut world, out);
    for frame in notifies {
        let text = String::from_utf8_lossy(&frame.bytes).into_owned();
        let mut lines: Vec<String> =
            text.split("\r\n\r\n").next().unwrap_or_default().lines().map(str::to_owned).collect();
        lines[0] = format!("NOTIFY {uri} SIP/2.0");
        for line in &mut lines {
            let name = line.split(':').next().unwrap_or_default().to_owned();
            match name.as_str() {
                "To" => *line = format!("To: {from}"),
                "Call-ID" => *line = format!("Call-ID: {call}"),
                _ => {}
            }
        }
        let at = frame.bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let bytes = [lines.join("\r\n").as_bytes(), &frame.bytes[at..]].concat();
        let state = header(&text, "Subscription-State").unwrap_or_default();
        let _ = writeln!(out, "{:.3} {state}", frame.time);
        let transport = if frame.udp { Transport::Udp } else { Transport::Tcp };
        world.advance(Tick(1_000_000 + (frame.time * 1e6) as u64)).expect("alarms end");
        world.arrive(transport, None, bytes);
        tell(&mut world, out);
    }
}

/// Alice's roster after each document that the recorded focus sent her.
#[test]
fn the_recorded_roster_is_understood() {
    let mut view = View::default();
    let mut rosters = Vec::new();
    for frame in frames("sdk-focus-conference.txt").iter().filter(|frame| frame.way == "focus -> proxy") {
        let text = String::from_utf8_lossy(&frame.bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let is_hers = header(head, "To").is_some_and(|to| to.contains("alice@sip.lab"));
        if !is_hers || header(head, "Content-Type").as_deref() != Some(conference::TYPE) {
            continue;
        }
        let info = conference::parse(body.as_bytes()).expect("a document");
        let place = &info.description.as_ref().expect("a description").uris[0];
        assert_eq!(place.uri.as_str(), "sip:room@conference.sip.lab", "it was escaped");
        assert!(matches!(view.take(info), Taken::News(_)));
        assert_eq!(view.condition().user_count, Some(view.len() as u32));
        let names: Vec<_> =
            view.users().map(|user| user.name().unwrap_or(user.entity.as_str()).to_owned()).collect();
        rosters.push(names.join(" "));
    }
    let expected = [
        "alice Lab",
        "Ally",
        "Ally bob Lab",
        "Ally Bobby",
        "Ally Bobby sip:carol@sip.lab",
        "Ally sip:carol@sip.lab",
        "sip:carol@sip.lab",
    ];
    assert_eq!(rosters, expected);
}

/// An XMPP user writes to `callee`, who turns chats down: what the proxy told `caller` is told to the gateway.
fn turned_down(name: &str, caller: &str, callee: &str, out: &mut String) {
    let _ = writeln!(out, "# {name}: {callee} turns down a chat with {caller}");
    let mut config = config();
    config.sip.peers[0].msrp = PeerMsrp::Yes;
    let mut world = World::new(config);
    world.stanza_in(&format!(
        "<message from='{caller}@xmpp.lab/here' to='{callee}@sip.lab' id='m1' type='chat'><body>Hi</body></message>"
    ));
    let invite =
        world.take_messages().into_iter().find(|text| text.starts_with("INVITE ")).expect("it invites");
    for frame in frames(name).iter().filter(|frame| frame.way == format!("proxy -> {caller}")) {
        let text = String::from_utf8_lossy(&frame.bytes).into_owned();
        let of_invite = header(&text, "CSeq").is_some_and(|cseq| cseq.ends_with(" INVITE"));
        if !text.starts_with("SIP/2.0 ") || !of_invite {
            continue;
        }
        let ours = ["via:", "from:", "call-id:", "cseq:"];
        let is_theirs = |line: &&str| !ours.iter().any(|ours| line.to_ascii_lowercase().starts_with(ours));
        let answer: Vec<_> = text.trim_end().lines().filter(is_theirs).collect();
        let _ = writeln!(out, "{:.3} {}", frame.time, answer[0]);
        world.advance(Tick((frame.time * 1e6) as u64)).expect("alarms end");
        world.answer_last(&invite, &answer.join("\n"));
        tell(&mut world, out);
    }
}

/// An XMPP user is alice in the recorded conference: what the focus told alice is told to the gateway, and what alice said
/// she says.
fn conference(name: &str, out: &mut String) {
    let _ = writeln!(out, "# {name}: alice is an XMPP user");
    let mut config = config();
    support::config::add_conference(&mut config, "conference.sip.lab");
    let mut world = World::new(config);
    let mut sent = Sent::default();
    let (user, room) = ("alice@xmpp.lab/here", "room@conference.sip.lab");
    world.stanza_in(&format!(
        "<presence from='{user}' to='{room}/Ally'><x xmlns='http://jabber.org/protocol/muc'/></presence>"
    ));
    sent.tell(&mut world, out);
    let all = frames(name);
    let hers = |frame: &&Frame| matches!(&*frame.way, "focus -> proxy" | "focus -> alice" | "alice -> focus");
    for frame in all.iter().filter(hers) {
        let text = String::from_utf8_lossy(&frame.bytes).replace("alice@sip.lab", "alice@xmpp.lab");
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let first = head.lines().next().unwrap_or_default();
        let is_hers = header(head, "To").is_some_and(|who| who.contains("alice@"));
        let of_call = header(head, "From").is_some_and(|who| who.contains("alice@"));
        world.advance(Tick((frame.time * 1e6) as u64)).expect("alarms end");
        let _ = writeln!(out, "{:.3} {} {first}", frame.time, frame.way);
        match &*frame.way {
            "alice -> focus" => said(&mut world, user, room, &text),
            "focus -> alice" => sent.frame_in(&mut world, &text),
            _ if !is_hers && !of_call => {}
            _ if first.starts_with("NOTIFY ") && header(head, "Event").as_deref() == Some("conference") => {
                sent.notify(&mut world, &text, body);
            }
            _ if first.starts_with("SIP/2.0 2") && of_call => sent.answer(&mut world, head, body),
            _ => {}
        }
        sent.tell(&mut world, out);
        let is_accepted = header(head, "CSeq").is_some_and(|cseq| cseq.contains("INVITE"));
        if of_call && is_accepted && first.starts_with("SIP/2.0 200") {
            world.act(&["msrp", "connected"], "").unwrap_or_else(|error| panic!("{error}\n{out}"));
            sent.tell(&mut world, out);
        }
    }
    let leave = format!("<presence from='{user}' to='{room}/Ally' type='unavailable'/>");
    world.stanza_in(&leave);
    sent.tell(&mut world, out);
}

/// What an XMPP user says of what alice said.
fn said(world: &mut World, user: &str, room: &str, text: &str) {
    let is_text = text.contains(" SEND\r\n") && text.contains("Content-Type: text/plain");
    // The part's own lines end in LF.
    let Some((_, body)) = text.rsplit_once("\n\n").filter(|_| is_text) else { return };
    let body = body.split("\r\n-------").next().unwrap_or_default();
    let is_private = text.contains("To: <sip:bob@sip.lab>");
    let (to, type_) = if is_private { (format!("{room}/Bobby"), "chat") } else { (room.into(), "groupchat") };
    world.stanza_in(&format!(
        "<message from='{user}' to='{to}' type='{type_}' id='said'><body>{body}</body></message>"
    ));
}

/// Requests of the gateway that wait for their answers.
#[derive(Default)]
struct Sent {
    /// Of SIP, by method.
    sip: BTreeMap<String, String>,
    /// Transactions of MSRP.
    msrp: VecDeque<String>,
    subscribe: String,
}

impl Sent {
    /// What came out, in lines that do not change from run to run.
    fn tell(&mut self, world: &mut World, out: &mut String) {
        while let Some(side) = world.first_waiting() {
            let Some(taken) = world.take(side) else { break };
            let first = taken.text.lines().next().unwrap_or_default().to_owned();
            match side {
                Side::Xmpp => {
                    let minted =
                        |part: &str| Partition::of_token(part).map_or(part.to_owned(), |_| "minted".into());
                    let parts: Vec<String> = taken.text.split('\'').map(minted).collect();
                    let _ = writeln!(out, "    {}", parts.join("'"));
                }
                Side::Sip(_) => {
                    let method = first.split(' ').next().unwrap_or_default().to_owned();
                    if method == "SUBSCRIBE" && self.subscribe.is_empty() {
                        self.subscribe.clone_from(&taken.text);
                    }
                    let _ = writeln!(out, "    {first}");
                    self.sip.insert(method, taken.text);
                }
                Side::Msrp if first.starts_with("CONNECT ") => {
                    let _ = writeln!(out, "    {first}");
                }
                Side::Msrp => {
                    let mut words = first.split(' ');
                    let (tid, what) = (words.nth(1).unwrap_or_default(), words.collect::<Vec<_>>().join(" "));
                    let name = header(&taken.text, "Use-Nickname").unwrap_or_default();
                    let body = taken.text.rsplit_once("\r\n\r\n").map_or("", |(_, body)| body).trim();
                    let _ = writeln!(out, "    {}", format!("MSRP {what} {name}{body}").trim_end());
                    if what == "SEND" || what == "NICKNAME" {
                        self.msrp.push_back(tid.to_owned());
                    }
                }
            }
        }
    }

    /// A frame of the focus: an answer is for the oldest request, whatever it was called there.
    fn frame_in(&mut self, world: &mut World, text: &str) {
        let text = text.replace("\r\n", "\n");
        let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
        let tid = first.split(' ').nth(1).unwrap_or_default();
        let rest = rest.split(&format!("-------{tid}")).next().unwrap_or_default();
        let rest: Vec<&str> = rest.split_inclusive('\n').filter(|line| !line.contains("-Path: ")).collect();
        let first = match first.split(' ').nth(2) {
            Some(code) if code.parse::<u16>().is_ok() => {
                let Some(ours) = self.msrp.pop_front() else { return };
                first.replace(tid, &ours)
            }
            _ => first.to_owned(),
        };
        world.act(&["msrp", "in"], &format!("{first}\n{}", rest.concat())).expect("a frame");
    }

    /// A 2xx of the focus to the INVITE or the SUBSCRIBE.
    fn answer(&mut self, world: &mut World, head: &str, body: &str) {
        let method = header(head, "CSeq").and_then(|cseq| Some(cseq.split(' ').nth(1)?.to_owned()));
        let Some(request) = method.and_then(|method| self.sip.remove(&method)) else { return };
        let ours = ["via:", "from:", "call-id:", "cseq:", "record-route:", "content-length:"];
        let is_theirs = |line: &&str| !ours.iter().any(|ours| line.to_ascii_lowercase().starts_with(ours));
        let head: Vec<_> = head.lines().filter(is_theirs).collect();
        world.answer_last(&request, &format!("{}\n\n{}", head.join("\n"), body.replace("\r\n", "\n")));
    }

    /// A roster of the focus.
    fn notify(&self, world: &mut World, text: &str, body: &str) {
        let value = |name| header(&self.subscribe, name).expect("a SUBSCRIBE has it");
        let uri = value("Contact").split(['<', '>']).nth(1).expect("a URI").to_owned();
        let mut lines: Vec<String> =
            text.split("\r\n\r\n").next().unwrap_or_default().lines().map(str::to_owned).collect();
        lines[0] = format!("NOTIFY {uri} SIP/2.0");
        lines.retain(|line| !line.starts_with("Content-Length") && !line.starts_with("Route"));
        for line in &mut lines {
            if line.starts_with("To:") {
                *line = format!("To: {}", value("From"));
            } else if line.starts_with("Call-ID:") {
                *line = format!("Call-ID: {}", value("Call-ID"));
            }
        }
        let body = body.trim_end();
        let head = format!("{}\r\nContent-Length: {}", lines.join("\r\n"), body.len());
        world.arrive(Transport::Tcp, None, format!("{head}\r\n\r\n{body}").into_bytes());
    }
}

#[test]
fn recorded_clients_are_understood() {
    let mut out = String::new();
    messages("linphone-message.txt", "bob", &mut out);
    messages("linphone-message.txt", "carol", &mut out);
    messages("linphone-message-cpim-imdn.txt", "bob", &mut out);
    messages("linphone-message-cpim-imdn.txt", "carol", &mut out);
    messages("linphone-file-http.txt", "bob", &mut out);
    messages("linphone-file-http.txt", "carol", &mut out);
    messages("sdk-message.txt", "bob", &mut out);
    for name in ["sdk-msrp-chat.txt", "sdk-msrp-chunks.txt", "sdk-msrp-otr.txt", "sdk-msrp-file.txt"] {
        session(name, "alice", "bob", &mut out);
    }
    presence("linphone-presence.txt", "bob", "carol", &mut out);
    presence("sdk-presence-winfo.txt", "alice", "bob", &mut out);
    turned_down("sdk-msrp-reject.txt", "alice", "bob", &mut out);
    conference("sdk-focus-conference.txt", &mut out);
    let golden = folder().join("expected.txt");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&golden, &out).expect("the golden file can be written");
    }
    let expected = fs::read_to_string(&golden).unwrap_or_default();
    for (number, (got, want)) in out.lines().zip(expected.lines()).enumerate() {
        assert_eq!(got, want, "line {}", number + 1);
    }
    assert_eq!(out.lines().count(), expected.lines().count());
}
