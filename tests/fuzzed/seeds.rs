//! The first inputs of each target, out of what the repository has: conversations, recordings, samples, tables.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use mostar::gateway::StoreChange;
use mostar::msrp::frame::decoder::Decoder;
use mostar::sip::flow::Transport;
use mostar::sip::framing;
use mostar::sip::message::{self, HeaderName, Message};
use mostar::store::journal::entry;
use mostar::words::id::Partition;

use crate::support::heard::Heard;
use crate::support::script;
use crate::support::vector::{self, World};
use crate::targets::{SEPARATOR, door};

/// What has been gathered: the target and the input, each once.
#[derive(Default)]
struct Seeds {
    all: BTreeSet<(&'static str, Vec<u8>)>,
    /// What they look like without ids and numbers: what differs in these alone is there once.
    known: BTreeSet<(&'static str, Vec<u8>)>,
}

/// Longer ones make fuzzing slow and tell nothing more; a conversation in a room has its length.
const LONGEST: usize = 8_000;
const LONGEST_CONVERSATION: usize = 30_000;

/// All seeds.
pub fn all() -> BTreeSet<(&'static str, Vec<u8>)> {
    let mut seeds = Seeds::default();
    for path in script::vectors() {
        let text = fs::read_to_string(&path).expect("a vector");
        let world = vector::played(&text).expect("a vector is a script");
        seeds.of_conversation(&text, &world);
    }
    for path in files("tests/transcripts", "txt").into_iter().chain(files("tests/torture/own", "sip")) {
        seeds.of_recording(&fs::read(path).expect("a recording"));
    }
    seeds.of_files();
    seeds.all
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let all = fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
    let mut found: Vec<_> =
        all.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    found.sort();
    found
}

impl Seeds {
    fn put(&mut self, target: &'static str, input: impl Into<Vec<u8>>) {
        let input = input.into();
        let longest = if target == "door" { LONGEST_CONVERSATION } else { LONGEST };
        if input.len() <= longest && self.known.insert((target, shape(&input))) {
            self.all.insert((target, input));
        }
    }

    fn of_conversation(&mut self, text: &str, world: &World) {
        self.put("door", program(text, world, false));
        if world.heard.iter().filter(|(_, heard)| *heard == Heard::Begun).count() > 1 {
            self.put("door", program(text, world, true));
        }
        for (_, heard) in &world.heard {
            match heard {
                Heard::Sip(_, _, bytes) => self.of_sip(bytes),
                Heard::Stanza(_, bytes) => {
                    self.put("component", [&[7], &bytes[..], b"</stream:stream>"].concat())
                }
                Heard::Msrp(bytes) => self.of_msrp(bytes),
                _ => {}
            }
        }
        for bytes in &world.said {
            if bytes.starts_with(b"MSRP ") {
                self.of_msrp(bytes);
            } else if !bytes.starts_with(b"<") {
                self.of_sip(bytes);
            }
        }
        let records: Vec<_> = world
            .books
            .store
            .iter()
            .map(|(key, value)| [key.as_bytes(), b"=", &value[..]].concat())
            .collect();
        if !records.is_empty() {
            self.put("records", records.join(&SEPARATOR));
            self.put("journal", [&[9], &records.join(&b'\n')[..]].concat());
        }
    }

    fn of_recording(&mut self, bytes: &[u8]) {
        for frame in split(bytes, b"\n--- ") {
            let start = frame.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let bytes = if frame.starts_with(b"--- ") || frame.first().is_some_and(u8::is_ascii_digit) {
                &frame[start..]
            } else {
                frame
            };
            if bytes.starts_with(b"MSRP ") { self.of_msrp(bytes) } else { self.of_sip(bytes) }
        }
    }

    fn of_sip(&mut self, bytes: &[u8]) {
        self.put("sip", bytes);
        self.put("sip-stream", [&[3], bytes, b"\r\n\r\n", bytes].concat());
        let Ok(read) = framing::datagram(Bytes::copy_from_slice(bytes)) else { return };
        for name in [HeaderName::From, HeaderName::To, HeaderName::Contact] {
            let uris = message::list(read.headers(), &name);
            uris.iter().filter_map(|value| message::uri_of(value)).for_each(|uri| self.put("address", uri));
        }
        if let Message::Request(request) = &read {
            self.put("address", request.uri.to_string());
        }
        let text = |name| message::text(read.headers(), &name).unwrap_or_default();
        self.of_body(&text(HeaderName::ContentType), &text(HeaderName::ContentEncoding), read.body());
    }

    fn of_msrp(&mut self, bytes: &[u8]) {
        self.put("msrp-frames", [&[5], bytes].concat());
        let mut decoder = Decoder::new(1 << 20);
        decoder.push(bytes);
        while let Some(Ok(frame)) = decoder.next_frame() {
            let mostar::msrp::frame::Frame::Request(mut request) = frame else { continue };
            for uri in [request.to.to_string(), request.from.to_string()] {
                self.put("address", uri);
            }
            if let (Some(type_), Some(body)) = (&request.content_type, &request.body) {
                self.of_body(type_, "", body);
            }
            // To one of the target's own sessions, which has a place for its path.
            let own = "msrp://192.0.2.9:2855/own;tcp";
            let (Ok(to), Ok(from)) = (
                mostar::msrp::path::Path::parse(own),
                mostar::msrp::path::Path::parse("msrp://192.0.2.1:2855/peer;tcp"),
            ) else {
                return;
            };
            (request.to, request.from) = (to, from);
            let mut printed = BytesMut::new();
            request.write(&mut printed);
            let printed = replaced(&printed, own.as_bytes(), &[1]);
            let more = [&printed[..], &[SEPARATOR, b't', b'.'], &[SEPARATOR], &printed].concat();
            self.put("msrp", [&[b'c', SEPARATOR, b's'], &b"hello"[..], &[SEPARATOR], &more].concat());
        }
    }

    fn of_body(&mut self, type_: &str, coding: &str, body: &[u8]) {
        if body.is_empty() {
            return;
        }
        let joined = |parts: &[&[u8]]| parts.join(&SEPARATOR);
        self.put("content", joined(&[type_.as_bytes(), coding.as_bytes(), body]));
        let target = match type_.split(';').next().unwrap_or_default().trim() {
            "message/cpim" => "cpim",
            "message/imdn+xml" => "imdn",
            "application/im-iscomposing+xml" => "composing",
            "application/pidf+xml" => "pidf",
            "application/conference-info+xml" => "conference",
            "application/resource-lists+xml" => "lists",
            "application/sdp" => "sdp",
            "text/html" => "html",
            main if main.starts_with("multipart/") => {
                self.put("mime", joined(&[type_.as_bytes(), body]));
                if let Some(parts) = mostar::documents::mime::parts(type_, body) {
                    for part in parts {
                        if let mostar::documents::mime::Inside::Bytes(inner) = part.inside {
                            self.of_body(&part.media.to_string(), "", &inner);
                        }
                    }
                }
                return;
            }
            _ => return,
        };
        self.put(target, body);
        if target == "conference" || target == "sdp" {
            self.put(target, joined(&[body, body]));
        }
        if target == "cpim"
            && let Ok(envelope) = mostar::documents::cpim::parse(body)
            && let Some(inner) = envelope.body()
        {
            self.of_body(envelope.content_type(), "", &inner);
        }
    }

    fn of_files(&mut self) {
        let text = |path: PathBuf| fs::read(path).expect("a file");
        let samples = files("config", "yaml").into_iter().chain(files("tests/config", "yaml"));
        samples.for_each(|path| self.put("configuration", text(path)));
        for (number, name) in ["sessions", "errors", "rooms", "subscribe", "presence"].iter().enumerate() {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("mappings/{name}.yaml"));
            let table = [&[number as u8], &text(path)[..]].concat();
            self.all.insert(("mappings", table));
        }
        let addresses =
            fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/address-vectors.json"));
        for part in addresses.expect("the vectors").split('"').filter(|part| part.contains(['@', ':', '/'])) {
            self.put("address", part);
        }
        let mut file = entry::header(1, 5);
        let mut buffer = Vec::new();
        entry::begin(&mut buffer);
        entry::save(&mut buffer, "page/0a/x", b"{}");
        entry::forget(&mut buffer, "page/0a/y");
        assert!(entry::seal(&mut buffer, 1, 5));
        file.extend_from_slice(&buffer);
        self.put("journal", file);
        for page in [
            "<p>Hi <b>there</b>, <a href='https://example.org/x'>look</a></p><ul><li>one<li>two</ul><blockquote>so</blockquote>",
            "<style>p{}</style><script>1<2</script><span style='text-decoration: underline'>u</span>&amp;&#x41;&nbsp;<br/><s>no</s>",
            "<table><tr><td>a<td>b</table><pre>\n x\n</pre><!-- no --><i>open <code>and",
        ] {
            self.put("html", page);
        }
        let list = "<resource-lists xmlns='urn:ietf:params:xml:ns:resource-lists' xmlns:c='urn:ietf:params:xml:ns:copyControl'><list>\
                    <entry uri='sip:a@example.com' c:copyControl='to' c:anonymize='true'><display-name>A</display-name></entry>\
                    <list><entry uri='sip:b%40c@example.com'/></list><external anchor='x'/></list></resource-lists>";
        self.put("lists", list);
    }
}

/// An input without what was minted and without digits.
fn shape(input: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (Vec::with_capacity(input.len()), 0);
    while let Some(byte) = input.get(at) {
        let word = input.get(at..at + 18).and_then(|word| std::str::from_utf8(word).ok());
        let is_token = word.is_some_and(|word| Partition::of_token(word).is_some());
        if !is_token && !byte.is_ascii_digit() {
            out.push(*byte);
        }
        at += if is_token { 18 } else { 1 };
    }
    out
}

fn split<'a>(bytes: &'a [u8], by: &[u8]) -> Vec<&'a [u8]> {
    let (mut rest, mut out) = (bytes, Vec::new());
    while let Some(at) = rest.windows(by.len()).position(|window| window == by) {
        out.push(&rest[..at]);
        rest = &rest[at + by.len()..];
    }
    out.push(rest);
    out
}

fn replaced(bytes: &[u8], what: &[u8], with: &[u8]) -> Vec<u8> {
    split(bytes, what).join(with)
}

/// A conversation as a program for the door. Where people are hasty, a process that was started again hears them before its
/// records are back.
fn program(text: &str, world: &World, is_hasty: bool) -> Vec<u8> {
    let says = |setting: &str| text.lines().any(|line| line.starts_with("config ") && line.contains(setting));
    let settings = [
        "component.conference=",
        "domain.rooms=",
        "peer.msrp=yes",
        "messages.hold=",
        "msrp.relay=true",
        "any_domain=true",
        "from_gruu=true",
        "max_message=",
    ];
    let profile = settings.iter().enumerate().map(|(bit, setting)| u8::from(says(setting)) << bit).sum();
    let mut player = door::World::new(profile);
    let mut out = vec![profile];
    let (mut now, mut begun) = (0, false);
    let mut is_beginning = true;
    for (at, heard) in &world.heard {
        let at = at.0 / 1000;
        if let Heard::Link(_, true) = heard
            && is_beginning
        {
            continue;
        }
        let is_first = std::mem::replace(&mut is_beginning, *heard == Heard::Begun);
        let part = match heard {
            Heard::Begun if !std::mem::replace(&mut begun, true) => continue,
            Heard::Begun => b"R".to_vec(),
            Heard::Sip(transport, from, bytes) => match sip(&player, *transport, from, bytes) {
                Some(part) => part,
                None => continue,
            },
            Heard::Stanza(link, bytes) => [if *link == 0 { b"x" } else { b"y" }, &bytes[..]].concat(),
            Heard::Msrp(bytes) => [b"m", &bytes[..]].concat(),
            Heard::Connected(true) => b"c".to_vec(),
            Heard::Connected(false) => b"r".to_vec(),
            Heard::Lost => b"l".to_vec(),
            Heard::Link(link, is_up) => vec![if *is_up { b'e' } else { b'd' }, b'0' + *link as u8],
            Heard::Store(StoreChange::Ok) => b"wo".to_vec(),
            Heard::Store(StoreChange::Low) => b"wl".to_vec(),
            Heard::Store(StoreChange::Down) => b"wd".to_vec(),
            Heard::SendFailed => b"f".to_vec(),
            Heard::Stop => b"p".to_vec(),
        };
        let mut parts: Vec<_> =
            (at > now).then(|| format!("t{}", at - now).into_bytes()).into_iter().collect();
        parts.insert(if is_hasty && is_first { 0 } else { parts.len() }, part);
        now = now.max(at);
        for part in parts {
            let part = player.named(&part);
            if part.contains(&SEPARATOR) {
                continue;
            }
            player.act(&part);
            out.extend_from_slice(&part);
            out.push(SEPARATOR);
        }
    }
    out
}

/// A SIP message as a part: an answer to something that went out leaves out what that says.
fn sip(player: &door::World, transport: Transport, from: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    let what = match (transport, from) {
        (Transport::Udp, "192.0.2.1") => b"u",
        (Transport::Tcp, _) => b"s",
        (Transport::Udp, _) => b"o",
    };
    let whole = [what, bytes].concat();
    let Ok(Message::Response(response)) = framing::datagram(Bytes::copy_from_slice(bytes)) else {
        return Some(whole);
    };
    let text = |name| message::text(&response.headers, &name).unwrap_or_default();
    if text(HeaderName::CSeq).ends_with("OPTIONS") && !text(HeaderName::To).contains('@') {
        // The door answers its watch itself.
        return None;
    }
    let branch = message::branch(&response.headers)?.into_owned();
    let asked = player.requests().take(10).position(|request| {
        framing::datagram(request.clone())
            .is_ok_and(|request| message::branch(request.headers()).as_deref() == Some(&branch[..]))
    });
    let Some(back) = asked else { return Some(whole) };
    let at = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
    let is_filled = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default().trim().to_ascii_lowercase();
        !["via", "v", "from", "f", "to", "t", "call-id", "i", "cseq", "content-length", "l"]
            .contains(&&name[..])
    };
    let lines: Vec<_> = head.trim_start_matches("SIP/2.0 ").lines().filter(is_filled).collect();
    Some([format!("a{back}{}\r\n\r\n", lines.join("\r\n")).as_bytes(), &bytes[at + 4..]].concat())
}
