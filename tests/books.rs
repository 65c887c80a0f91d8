//! The books of messages in the running process: what `/metrics` says at any moment, what the store says after a kill, and
//! what the people at both ends saw.
#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

#[path = "support/played.rs"]
mod played;
#[path = "support/running.rs"]
mod running;

use played::Server;
use running::{PATIENCE, Running, answer, both, configuration, folder, header, message, port, request};

const TO_XMPP: &str = "sip_to_xmpp";
const TO_SIP: &str = "xmpp_to_sip";

/// The figures of messages, by name, direction and result.
#[derive(Debug)]
struct Figures(BTreeMap<String, i64>);

impl Figures {
    fn look(http: &str) -> Figures {
        let mut stream = TcpStream::connect(http).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let figures = text.lines().filter(|line| line.starts_with("mostar_messages_"));
        Figures(
            figures
                .filter_map(|line| line.rsplit_once(' '))
                .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
                .collect(),
        )
    }

    /// Looks until they are as they should be; they add up all the while.
    fn until(http: &str, is_right: impl Fn(&Figures) -> bool) -> Figures {
        let patience = std::time::Instant::now() + PATIENCE;
        loop {
            let figures = Figures::look(http);
            figures.judge();
            if is_right(&figures) {
                return figures;
            }
            assert!(std::time::Instant::now() < patience, "{figures:?}");
        }
    }

    fn result(&self, way: &str, result: &str) -> i64 {
        let name = format!("mostar_messages_total{{direction=\"{way}\",result=\"{result}\"}}");
        self.0.get(&name).copied().unwrap_or_default()
    }

    /// What waits and what is out.
    fn live(&self, way: &str) -> i64 {
        let gauge =
            |name: &str| self.0.get(&format!("mostar_messages_{name}{{direction=\"{way}\"}}")).copied();
        gauge("queued").unwrap_or_default() + gauge("in_flight").unwrap_or_default()
    }

    /// They add up, whenever they are looked at.
    fn judge(&self) {
        for way in [TO_XMPP, TO_SIP] {
            let sum = |all: &[&str]| all.iter().map(|result| self.result(way, result)).sum::<i64>();
            let over = sum(&["delivered", "refused", "expired", "withdrawn"]);
            assert_eq!(sum(&["accepted", "restored"]), over + self.live(way), "{way}: {self:?}");
        }
    }
}

/// What `mostar fsck` says of a stopped store: in order, and so many wait for XMPP, wait for SIP, or have failed to SIP.
fn fsck(folder: &Path) -> [i64; 3] {
    let output = Command::new(env!("CARGO_BIN_EXE_mostar"))
        .args(["fsck", "-c"])
        .arg(folder.join("mostar.yaml"))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let number = |before: &str, after: &str| {
        let (_, rest) = said.split_once(before).unwrap();
        rest.split_once(after).unwrap().0.parse().unwrap()
    };
    let waits = number("messages to SIP: ", " wait; ");
    [number("messages to XMPP: ", " wait; "), waits, number(&format!("SIP: {waits} wait; "), " have failed")]
}

/// What both ends have seen, over all lives of the gateway.
#[derive(Default)]
struct Seen {
    /// By what was written: the ids under which XMPP got it, and the place of the first.
    to_xmpp: BTreeMap<String, (usize, BTreeSet<String>)>,
    /// The same for SIP: Call-ID, tag and CSeq.
    to_sip: BTreeMap<String, (usize, BTreeSet<String>)>,
    /// What SIP was answered, by Call-ID.
    answers: BTreeMap<String, BTreeSet<String>>,
    count: usize,
}

impl Seen {
    fn arrived(&mut self, sip: bool, text: &str, id: String) {
        self.count += 1;
        let side = if sip { &mut self.to_sip } else { &mut self.to_xmpp };
        side.entry(text.to_owned()).or_insert((self.count, BTreeSet::new())).1.insert(id);
    }
}

type Shared = Arc<Mutex<Seen>>;

/// A SIP peer that takes every MESSAGE, in as many connections as there are.
fn peer(seen: &Shared) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("sip:{};transport=tcp", listener.local_addr().unwrap());
    let seen = seen.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let seen = seen.clone();
            std::thread::spawn(move || serve(stream, &seen));
        }
    });
    address
}

/// The next SIP message; nothing once the connection is over.
fn next(stream: &mut TcpStream, kept: &mut Vec<u8>) -> Option<(String, String)> {
    loop {
        if let Some(end) = kept.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&kept[..end + 4]).into_owned();
            let length: usize = header(&head, "Content-Length").unwrap_or("0").parse().unwrap();
            if kept.len() >= end + 4 + length {
                let whole: Vec<u8> = kept.drain(..end + 4 + length).collect();
                return Some((head, String::from_utf8_lossy(&whole[end + 4..]).into_owned()));
            }
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece) {
            Ok(length) if length > 0 => kept.extend_from_slice(&piece[..length]),
            _ => return None,
        }
    }
}

fn serve(mut stream: TcpStream, seen: &Shared) {
    let mut kept = Vec::new();
    while let Some((head, body)) = next(&mut stream, &mut kept) {
        let value = |name: &str| header(&head, name).unwrap_or_default();
        if head.starts_with("MESSAGE ") {
            let id = format!("{} {} {}", value("Call-ID"), value("From"), value("CSeq"));
            seen.lock().unwrap().arrived(true, &body, id);
        }
        let reply = format!(
            "SIP/2.0 200 OK\r\nVia: {}\r\nFrom: {}\r\nTo: {};tag=p\r\nCall-ID: {}\r\nCSeq: {}\r\nContent-Length: 0\r\n\r\n",
            value("Via"),
            value("From"),
            value("To"),
            value("Call-ID"),
            value("CSeq")
        );
        if stream.write_all(reply.as_bytes()).is_err() {
            return;
        }
    }
}

/// Reads what the XMPP server gets, until the gateway is gone.
fn listen(mut stream: played::Stream, seen: &Shared) -> std::thread::JoinHandle<()> {
    let seen = seen.clone();
    std::thread::spawn(move || {
        while let Some(stanza) = stream.try_stanza() {
            let between = |before: &str, after: &str| {
                Some(stanza.split_once(before)?.1.split_once(after)?.0.to_owned())
            };
            let id = between(" id='", "'").or_else(|| between(" id=\"", "\""));
            if let (Some(id), Some(text)) = (id, between("<body>", "</body>")) {
                seen.lock().unwrap().arrived(false, &text, id);
            }
        }
    })
}

fn http() -> String {
    format!("127.0.0.1:{}", port(1))
}

#[test]
fn what_waits_in_the_figures_waits_in_the_store_and_is_restored() {
    let folder = folder();
    let address = http();
    let mut restored = 0;
    for life in 0..3 {
        let mut running = Running::beside(folder.path(), "127.0.0.1:1", "sip:127.0.0.1:1", &address);
        let figures = Figures::until(&address, |figures| figures.result(TO_XMPP, "restored") == restored);
        assert_eq!(figures.result(TO_XMPP, "accepted"), 0, "{figures:?}");
        let mut stream = running.connect();
        for number in 0..20 {
            stream.write_all(&message(100 * life + number, b"hello")).unwrap();
            assert!(answer(&mut stream).starts_with("SIP/2.0 202 "));
        }
        let figures = Figures::look(&address);
        figures.judge();
        restored += 20;
        assert_eq!((figures.live(TO_XMPP), figures.result(TO_XMPP, "accepted")), (restored, 20));
        running.child.kill().unwrap();
        running.child.wait().unwrap();
        assert_eq!(fsck(folder.path()), [restored, 0, 0]);
    }
}

#[test]
fn whenever_it_is_killed_the_books_add_up_and_everybody_has_each_message_once() {
    let (folder, server, seen) = (folder(), Server::new(), Shared::default());
    let (address, peer) = (http(), peer(&seen));
    let lives: usize = std::env::var("MOSTAR_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(6);
    let (mut left, mut looks) = ([0; 3], 0);
    let mut unanswered: Vec<String> = Vec::new();
    for life in 0..=lives {
        let mut running = Running::beside(folder.path(), &server.address(), &peer, &address);
        let stream = server.welcome();
        let mut writer = stream.writer();
        let reader = listen(stream, &seen);
        running.line("event=link-up");
        let sip = running.connect();
        let (mut out, mut input) = (sip.try_clone().unwrap(), sip);
        let answered = {
            let seen = seen.clone();
            std::thread::spawn(move || {
                let mut kept = Vec::new();
                while let Some((head, _)) = next(&mut input, &mut kept) {
                    let call = header(&head, "Call-ID").unwrap().to_owned();
                    let status = head.split(' ').nth(1).unwrap().to_owned();
                    seen.lock().unwrap().answers.entry(call).or_default().insert(status);
                }
            })
        };
        Figures::until(&address, |figures| {
            let restored = [TO_XMPP, TO_SIP].map(|way| figures.result(way, "restored"));
            restored == [left[0], left[1] + left[2]]
        });
        // The same requests again, which nobody has answered: in a new transaction, as a client does.
        let again = std::mem::take(&mut unanswered);
        for call in &again {
            let number: usize = call.parse().unwrap();
            let request = String::from_utf8(message(number, format!("sip {number}").as_bytes())).unwrap();
            out.write_all(request.replace("z9hG4bK", &format!("z9hG4bKagain{life}")).as_bytes()).unwrap();
        }
        let count = if life == lives { 0 } else { 60 };
        for place in 0..count {
            let number = 1000 * (life + 1) + place;
            out.write_all(&message(number, format!("sip {number}").as_bytes())).unwrap();
            let line = format!(
                "<message from='juliet@example.org/b' to='romeo@sip.example.org' id='x{number}' type='chat'>\
                 <body>xmpp {number}</body></message>"
            );
            writer.write_all(line.as_bytes()).unwrap();
            if place % 12 == life % 12 {
                Figures::look(&address).judge();
                looks += 1;
            }
        }
        // At another place in the conversation each time.
        let enough = seen.lock().unwrap().answers.len() + life * 13 % 60;
        let patience = std::time::Instant::now() + PATIENCE;
        let all = |seen: &Seen| again.iter().all(|call| seen.answers.contains_key(call));
        let is_enough = |seen: &Seen| if count > 0 { seen.answers.len() >= enough } else { all(seen) };
        while !is_enough(&seen.lock().unwrap()) {
            assert!(std::time::Instant::now() < patience);
            std::thread::yield_now();
        }
        if life == lives {
            Figures::until(&address, |figures| figures.live(TO_XMPP) + figures.live(TO_SIP) == 0);
            // What is delivered is forgotten a moment later.
            running.signal(rustix::process::Signal::TERM);
        } else {
            running.child.kill().unwrap();
        }
        running.child.wait().unwrap();
        reader.join().unwrap();
        answered.join().unwrap();
        left = fsck(folder.path());
        let seen = seen.lock().unwrap();
        let asked = (0..count).map(|place| (1000 * (life + 1) + place).to_string());
        unanswered.extend(asked.filter(|call| !seen.answers.contains_key(call)));
    }
    assert_eq!(left, [0, 0, 0], "at rest");
    let seen = seen.lock().unwrap();
    for (call, answers) in &seen.answers {
        assert_eq!(answers.len(), 1, "{call} got {answers:?}");
        let is_there = seen.to_xmpp.contains_key(&format!("sip {call}"));
        assert_eq!(is_there, answers.contains("202"), "{call}: {answers:?}");
    }
    for (text, (_, ids)) in seen.to_xmpp.iter().chain(&seen.to_sip) {
        assert_eq!(ids.len(), 1, "{text} came under {ids:?}");
    }
    // First in, first out among those of one life; what XMPP wrote in different lives, too.
    let mut lines: Vec<(usize, usize)> =
        seen.to_sip.iter().map(|(text, (place, _))| (*place, text[5..].parse().unwrap())).collect();
    lines.sort_unstable();
    let overtaken: Vec<_> = lines.windows(2).filter(|two| two[0].1 >= two[1].1).collect();
    assert!(overtaken.is_empty(), "{overtaken:?}");
    for (name, runs) in [
        ("1: books in metrics and store", looks + lives),
        ("4: same request, same answer, once", seen.answers.len()),
        ("7: order of lines", lines.len()),
    ] {
        result(name, runs);
    }
}

#[test]
fn a_refusal_is_the_answer_after_a_kill_too_and_nothing_is_delivered_later() {
    let (folder, server, address) = (folder(), Server::new(), http());
    let mut before = None;
    for life in 0..2 {
        let mut running = Running::beside(folder.path(), &server.address(), "sip:127.0.0.1:1", &address);
        let mut xmpp = server.welcome();
        running.line("event=link-up");
        let mut sip = running.connect();
        let again = String::from_utf8(message(7, b"hello")).unwrap();
        sip.write_all(again.replace("z9hG4bK", &format!("z9hG4bKlife{life}")).as_bytes()).unwrap();
        if life == 0 {
            let tag = xmpp.until("</message>");
            let id = tag.split(" id='").nth(1).or(tag.split(" id=\"").nth(1)).unwrap();
            let id = id.split(['\'', '"']).next().unwrap();
            xmpp.say(&format!(
                "<message from='juliet@example.org' to='romeo@sip.example.org' type='error' id='{id}'><error type='cancel'>\
                 <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
            ));
        }
        let said = answer(&mut sip).lines().next().unwrap().to_owned();
        assert!(said.starts_with("SIP/2.0 404"), "{said}");
        assert_eq!(*before.get_or_insert(said.clone()), said);
        // What is asked now is answered behind all that would be sent.
        xmpp.say("<iq type='get' id='now' from='juliet@example.org/x' to='sip.example.org'><query xmlns='jabber:iq:version'/></iq>");
        let next = xmpp.until("</iq>");
        assert!(!next.contains("hello"), "{next}");
        let figures = Figures::look(&address);
        figures.judge();
        assert_eq!(figures.result(TO_XMPP, "refused"), i64::from(life == 0));
        running.child.kill().unwrap();
        running.child.wait().unwrap();
    }
    result("3: what was refused is never delivered", 2);
}

/// The order of system calls: what an answer promises is written and synced before the answer leaves. (That whatever leaves
/// waits for its step is the shard's gate; that no promise overtakes it, every vector sees.)
#[test]
fn nothing_is_promised_before_it_is_on_disk() {
    let folder = folder();
    let (trace, file) = (folder.path().join("trace"), folder.path().join("mostar.yaml"));
    let text = configuration(folder.path(), &both(), "127.0.0.1:1", "sip:127.0.0.1:1", "none");
    std::fs::write(&file, text).unwrap();
    // The tracer is the grandchild, so that the child is the gateway.
    let child = Command::new("strace")
        .args(["-D", "-f", "-s", "400", "-e", "trace=pwrite64,fdatasync,write,writev,sendto,sendmsg", "-o"])
        .args([&trace, Path::new(env!("CARGO_BIN_EXE_mostar")), Path::new("run"), Path::new("-c"), &file])
        .env("MOSTAR_TEST_SECRET", running::SECRET)
        .stderr(std::process::Stdio::piped())
        .spawn();
    let Ok(child) = child else {
        eprintln!("skipped: strace is not installed");
        return;
    };
    let mut running = Running::child(child);
    let mut stream = running.connect();
    stream.write_all(&message(1, b"hello")).unwrap();
    assert!(answer(&mut stream).starts_with("SIP/2.0 202 "));
    let further = "Event: presence\r\nContact: <sip:romeo@127.0.0.1:1>\r\nContent-Length: 0\r\n\r\n";
    let subscribe = request("SUBSCRIBE", "TCP", 2).replace("Content-Length: 0\r\n\r\n", further);
    stream.write_all(subscribe.as_bytes()).unwrap();
    assert!(answer(&mut stream).starts_with("SIP/2.0 200 "));
    running.signal(rustix::process::Signal::TERM);
    running.child.wait().unwrap();
    let patience = std::time::Instant::now() + PATIENCE;
    let lines = loop {
        let text = std::fs::read_to_string(&trace).unwrap_or_default();
        if text.contains("+++ exited with") || std::time::Instant::now() > patience {
            break text;
        }
    };
    let lines: Vec<&str> = lines.lines().collect();
    let after = |from: usize, is_it: &dyn Fn(&str) -> bool| {
        from + lines[from..].iter().position(|line| is_it(line)).expect("it is in the trace")
    };
    for (record, promise) in [("page/", "SIP/2.0 202 "), ("watch-dialog/", "SIP/2.0 200 ")] {
        let written = after(0, &|line| line.contains("pwrite64(") && line.contains(record));
        let synced = after(written, &|line| line.contains("fdatasync") && line.contains("= 0"));
        let said = after(0, &|line| line.contains(promise));
        assert!(synced < said, "{promise}: {:?}", &lines[written..=said.max(synced)]);
    }
    result("2: nothing promised before it is on disk", 2);
}

/// A line for the table of results, where one is made.
fn result(name: &str, runs: usize) {
    let Some(path) = std::env::var_os("MOSTAR_RESULTS") else { return };
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(format!("invariant\t{name}\tkill -9 of Mostar\t{runs}\t0\n").as_bytes()).unwrap();
}
