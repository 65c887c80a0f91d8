//! What Mostar is compared with: two programs that do a part of its work and nothing else. Together they are the limit.
//!
//! **The gateway** has the same sockets and carries the same messages: it frames both streams, reads the headers and
//! attributes that it must copy, escapes text, sends a ping behind the stanzas of each piece that it read and the 202s when the
//! ping is answered. It checks nothing, keeps nothing, maps addresses by cutting them in two, and serves one stream and one
//! peer: three threads that read and write, without a runtime. A gateway that keeps messages answers a piece when it is on disk;
//! this one sleeps as long instead, so that its pieces are as large.
//!
//! **The store** appends entries of the same size to a file with zeros in it and syncs each: no names, no map, no tree.

use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::linux::net::TcpStreamExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use memchr::{memchr, memchr3, memmem};

use super::SIP_DOMAIN;

/// Runs what the arguments name, if they name one of the references: then this process was started for that.
pub fn run(arguments: &[String]) -> bool {
    let address = |at: usize| arguments[at].parse::<SocketAddr>().unwrap();
    match arguments.get(1).map(String::as_str) {
        Some("reference-gateway") => {
            let wait = Duration::from_micros(arguments[5].parse().unwrap());
            gateway(address(2), address(3), address(4), wait);
        }
        Some("reference-store") => store(Path::new(&arguments[2])),
        _ => return false,
    }
    true
}

/// Entries of `bytes` each, `count` of them, as often as a line on standard input says so.
fn store(file: &Path) {
    const AHEAD: u64 = 1024 * 1024;
    let file = std::fs::File::create(file).unwrap();
    let zeros = vec![0; AHEAD as usize];
    let (mut end, mut room) = (0, 0);
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let (count, bytes) = line.split_once(' ').unwrap();
        let (count, bytes): (usize, usize) = (count.parse().unwrap(), bytes.parse().unwrap());
        let records = vec![b'x'; bytes];
        let mut entry = Vec::with_capacity(bytes + 8);
        for _ in 0..count {
            entry.clear();
            entry.extend_from_slice(&(bytes as u32).to_le_bytes());
            entry.extend_from_slice(&records);
            entry.extend_from_slice(&crc32fast::hash(&records).to_le_bytes());
            let after = end + entry.len() as u64;
            if after > room {
                file.write_all_at(&zeros, after).unwrap();
                room = after + AHEAD;
            }
            file.write_all_at(&entry, end).unwrap();
            file.sync_data().unwrap();
            end = after;
        }
        println!("done");
    }
}

/// 202s that wait for their ping, by its number.
type Waiting = Arc<Mutex<VecDeque<(u64, Vec<u8>)>>>;

/// Requests that have no answer, by their branch: the stanza that an error would be about.
type Asked = Arc<Mutex<HashMap<u64, (String, String)>>>;

fn gateway(server: SocketAddr, sip: SocketAddr, peer: SocketAddr, wait: Duration) {
    let listener = TcpListener::bind(sip).unwrap();
    let xmpp = TcpStream::connect(server).unwrap();
    xmpp.set_nodelay(true).unwrap();
    let mut stream = Stanzas::open(xmpp.try_clone().unwrap());
    let to_peer = TcpStream::connect(peer).unwrap();
    to_peer.set_nodelay(true).unwrap();
    let (waiting, asked) = (Waiting::default(), Asked::default());
    {
        let (asked, from_peer) = (asked.clone(), to_peer.try_clone().unwrap());
        std::thread::spawn(move || answers(from_peer, &asked));
    }
    let (inbound, _) = listener.accept().unwrap();
    inbound.set_nodelay(true).unwrap();
    {
        let (waiting, xmpp, inbound) =
            (waiting.clone(), xmpp.try_clone().unwrap(), inbound.try_clone().unwrap());
        std::thread::spawn(move || requests(inbound, &xmpp, &waiting, wait));
    }
    let (mut inbound, mut to_peer) = (inbound, to_peer);
    let (mut replies, mut messages, mut branch) = (Vec::new(), Vec::new(), 0);
    while stream.read(|stanza| {
        if stanza.is_iq {
            let Some(number) = stanza.id.strip_prefix("ping").and_then(|number| number.parse::<u64>().ok())
            else {
                return;
            };
            let mut waiting = waiting.lock().unwrap();
            while waiting.front().is_some_and(|(covered, _)| *covered <= number) {
                replies.extend(waiting.pop_front().unwrap().1);
            }
        } else {
            branch += 1;
            message(&mut messages, stanza, branch);
            let names = (stanza.from.to_owned(), stanza.id.to_owned());
            asked.lock().unwrap().insert(branch, names);
        }
    }) {
        // Its answers wait for the disk in a gateway that keeps messages.
        if !messages.is_empty() {
            std::thread::sleep(wait);
        }
        for (bytes, to) in [(&mut replies, &mut inbound), (&mut messages, &mut to_peer)] {
            if !bytes.is_empty() {
                to.write_all(bytes).unwrap();
                bytes.clear();
            }
        }
    }
}

/// MESSAGEs that come: stanzas and a ping to the server, and the 202s wait.
fn requests(mut inbound: TcpStream, mut xmpp: &TcpStream, waiting: &Waiting, wait: Duration) {
    let (mut pings, mut out) = (0, String::new());
    let mut frames = Frames::default();
    while frames.fill(&mut inbound) {
        let mut replies = Vec::new();
        while let Some((head, body)) = frames.next() {
            let Some(request) = Head::read(head) else { continue };
            let user = |uri: &str| uri.split_once("sip:").map(|(_, rest)| rest.to_owned());
            let first = request.first.split(' ').nth(1).unwrap_or_default();
            let from = user(request.from).unwrap_or_default();
            let from = from.split(['>', ';']).next().unwrap_or_default();
            out.push_str("<message from='");
            escape(&mut out, from);
            out.push_str("' to='");
            escape(&mut out, first.strip_prefix("sip:").unwrap_or_default());
            out.push_str("' type='chat' id='");
            escape(&mut out, request.call_id);
            out.push_str("'><body>");
            escape(&mut out, std::str::from_utf8(body).unwrap_or_default());
            out.push_str("</body></message>");
            for part in [
                "SIP/2.0 202 Accepted\r\nVia: ",
                request.via,
                "\r\nFrom: ",
                request.from,
                "\r\nTo: ",
                request.to,
                ";tag=reference\r\nCall-ID: ",
                request.call_id,
                "\r\nCSeq: ",
                request.cseq,
                "\r\nContent-Length: 0\r\n\r\n",
            ] {
                replies.extend_from_slice(part.as_bytes());
            }
        }
        if out.is_empty() {
            continue;
        }
        std::thread::sleep(wait);
        pings += 1;
        waiting.lock().unwrap().push_back((pings, replies));
        out.push_str("<iq type='get' id='ping");
        out.push_str(&pings.to_string());
        out.push_str("' from='");
        out.push_str(SIP_DOMAIN);
        out.push_str("' to='xmpp.bench'><ping xmlns='urn:xmpp:ping'/></iq>");
        xmpp.write_all(out.as_bytes()).unwrap();
        out.clear();
    }
}

/// Answers that come: what they were about is forgotten.
fn answers(mut from: TcpStream, asked: &Asked) {
    let mut frames = Frames::default();
    while frames.fill(&mut from) {
        let mut asked = asked.lock().unwrap();
        while let Some((head, _)) = frames.next() {
            let branch = Head::read(head).and_then(|head| {
                let (_, rest) = head.via.split_once("branch=z9hG4bK")?;
                rest.split(';').next()?.parse::<u64>().ok()
            });
            if let Some(branch) = branch {
                asked.remove(&branch);
            }
        }
    }
}

/// A MESSAGE to the peer.
fn message(out: &mut Vec<u8>, stanza: &Seen<'_>, branch: u64) {
    let body = unescape(stanza.body);
    let user = stanza.from.split('/').next().unwrap_or_default();
    let branch = branch.to_string();
    let length = body.len().to_string();
    for part in [
        "MESSAGE sip:",
        stanza.to,
        " SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:5060;branch=z9hG4bK",
        &branch,
        ";rport\r\nMax-Forwards: 70\r\nFrom: <sip:",
        user,
        ">;tag=",
        stanza.id,
        "\r\nTo: <sip:",
        stanza.to,
        ">\r\nCall-ID: ",
        stanza.id,
        "\r\nCSeq: 1 MESSAGE\r\nContent-Type: text/plain\r\nContent-Length: ",
        &length,
        "\r\n\r\n",
        &body,
    ] {
        out.extend_from_slice(part.as_bytes());
    }
}

fn escape(out: &mut String, mut text: &str) {
    while let Some(at) =
        memchr3(b'&', b'<', b'>', text.as_bytes()).into_iter().chain(memchr(b'\'', text.as_bytes())).min()
    {
        out.push_str(&text[..at]);
        out.push_str(match text.as_bytes()[at] {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            _ => "&apos;",
        });
        text = &text[at + 1..];
    }
    out.push_str(text);
}

fn unescape(text: &str) -> std::borrow::Cow<'_, str> {
    if memchr(b'&', text.as_bytes()).is_none() {
        return text.into();
    }
    let entities = [("&lt;", "<"), ("&gt;", ">"), ("&apos;", "'"), ("&quot;", "\""), ("&amp;", "&")];
    entities.iter().fold(text.to_owned(), |text, (entity, letter)| text.replace(entity, letter)).into()
}

/// Whole messages of a stream of SIP.
#[derive(Default)]
struct Frames {
    bytes: Vec<u8>,
    at: usize,
}

impl Frames {
    /// Reads a piece. False at the end.
    fn fill(&mut self, from: &mut TcpStream) -> bool {
        self.bytes.drain(..self.at);
        self.at = 0;
        fill(&mut self.bytes, from)
    }

    /// The next whole message: its head without the empty line, and its body.
    fn next(&mut self) -> Option<(&str, &[u8])> {
        let bytes = &self.bytes[self.at..];
        let end = memmem::find(bytes, b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).unwrap_or_default();
        let (_, rest) = head.rsplit_once("Content-Length:").unwrap_or_default();
        let length = rest.split('\r').next().unwrap_or_default().trim().parse().unwrap_or(0);
        let body = bytes.get(end + 4..end + 4 + length)?;
        self.at += end + 4 + length;
        Some((head, body))
    }
}

fn fill(bytes: &mut Vec<u8>, from: &mut TcpStream) -> bool {
    const READ: usize = 64 * 1024;
    let known = bytes.len();
    bytes.resize(known + READ, 0);
    let length = from.read(&mut bytes[known..]).unwrap_or(0);
    bytes.truncate(known + length);
    length > 0
}

/// What must be copied of a message's head.
#[derive(Default)]
struct Head<'a> {
    first: &'a str,
    via: &'a str,
    from: &'a str,
    to: &'a str,
    call_id: &'a str,
    cseq: &'a str,
}

impl<'a> Head<'a> {
    fn read(head: &'a str) -> Option<Head<'a>> {
        let mut lines = head.split("\r\n");
        let mut read = Head { first: lines.next()?, ..Head::default() };
        for line in lines {
            let (name, value) = line.split_at(memchr(b':', line.as_bytes())?);
            let place = match name {
                "Via" if read.via.is_empty() => &mut read.via,
                "From" => &mut read.from,
                "To" => &mut read.to,
                "Call-ID" => &mut read.call_id,
                "CSeq" => &mut read.cseq,
                _ => continue,
            };
            *place = value[1..].trim_ascii();
        }
        Some(read)
    }
}

/// What must be known of a stanza.
struct Seen<'a> {
    is_iq: bool,
    from: &'a str,
    to: &'a str,
    id: &'a str,
    body: &'a str,
}

/// The component's stream.
struct Stanzas {
    socket: TcpStream,
    bytes: Vec<u8>,
}

impl Stanzas {
    fn open(mut socket: TcpStream) -> Stanzas {
        let open = format!(
            "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='{SIP_DOMAIN}'>"
        );
        socket.write_all(open.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        for (wanted, said) in [("id='", "<handshake>00</handshake>"), ("<handshake/>", "")] {
            while memmem::find(&bytes, wanted.as_bytes()).is_none() {
                assert!(fill(&mut bytes, &mut socket));
            }
            socket.write_all(said.as_bytes()).unwrap();
        }
        let end = memmem::find(&bytes, b"<handshake/>").unwrap() + "<handshake/>".len();
        bytes.drain(..end);
        Stanzas { socket, bytes }
    }

    /// Reads a piece, and shows what is whole. False at the end.
    fn read(&mut self, mut seen: impl FnMut(&Seen<'_>)) -> bool {
        if !fill(&mut self.bytes, &mut self.socket) {
            return false;
        }
        self.socket.set_quickack(true).unwrap();
        let mut at = 0;
        while let Some(length) = whole(&self.bytes[at..]) {
            let text = std::str::from_utf8(&self.bytes[at..at + length]).unwrap_or_default();
            if let Some(stanza) = stanza(text) {
                seen(&stanza);
            }
            at += length;
        }
        self.bytes.drain(..at);
        true
    }
}

/// How long the first element is, if it is whole: its tags are counted, with quotes looked at.
fn whole(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (0, 0);
    loop {
        at += memchr(b'<', &bytes[at..])?;
        let end = end_of_tag(bytes, at)?;
        if bytes[at + 1] == b'/' {
            depth -= 1;
        } else if bytes[end - 1] != b'/' {
            depth += 1;
        }
        at = end + 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

fn end_of_tag(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr3(b'>', b'\'', b'"', bytes.get(at..)?)?;
        match bytes[at] {
            b'>' => return Some(at),
            quote => at += 2 + memchr(quote, bytes.get(at + 1..)?)?,
        }
    }
}

fn stanza(text: &str) -> Option<Seen<'_>> {
    let at = memchr(b'<', text.as_bytes())?;
    let end = end_of_tag(text.as_bytes(), at)?;
    let tag = &text[at + 1..end];
    let (mut from, mut to, mut id) = ("", "", "");
    let mut rest = tag.split_once(' ')?.1;
    while let Some((name, after)) = rest.split_once('=') {
        let quote = after.bytes().next()?;
        let (value, after) = after[1..].split_at(memchr(quote, &after.as_bytes()[1..])?);
        match name.trim_ascii() {
            "from" => from = value,
            "to" => to = value,
            "id" => id = value,
            _ => {}
        }
        rest = &after[1..];
    }
    let is_iq = tag.starts_with("iq");
    let mut body = "";
    if !is_iq && let Some(begin) = memmem::find(&text.as_bytes()[end..], b"<body") {
        let begin = end_of_tag(text.as_bytes(), end + begin)? + 1;
        let length = memchr(b'<', &text.as_bytes()[begin..])?;
        body = &text[begin..begin + length];
    }
    Some(Seen { is_iq, from, to, id, body })
}
