//! SIP users whose phones speak MSRP: they invite and are invited, accept, refuse, say nothing, answer twice, change
//! their sessions and hang up, each at any moment.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use mostar::msrp::path::Path;

use super::romeo::{Answer, answer, header};
use super::support::invariants::Invariant::Quiet;
use super::wire::PORT;
use super::world::{Event, PEACE, PEOPLE, Temper, World};

/// How far a session is, as the phone sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its INVITE is out.
    Calling,
    /// The gateway's INVITE waits.
    Ringing,
    Up,
    Over,
}

/// What a phone does with an INVITE.
#[derive(Clone, Copy, Debug)]
pub enum Pick {
    Accept,
    Refuse(u16),
    /// 200, but the line has port 0.
    PortZero,
    /// 200, but nobody is where the path leads.
    Nowhere,
}

/// What a phone changes in a session.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    Refresh,
    Hold,
    Resume,
    /// Another path.
    Move,
}

/// One session, or what was to become one.
#[derive(Debug)]
pub struct Call {
    pub romeo: u8,
    pub juliet: u8,
    /// The phone opened it.
    pub ours: bool,
    pub id: String,
    pub tag: String,
    local: String,
    remote: String,
    target: String,
    cseq: u32,
    pub stage: Stage,
    /// The final answer to an INVITE that has no ACK yet, and its number.
    unacked: Option<(Bytes, u32)>,
    pick: Pick,
    changing: Option<Change>,
    held: bool,
    cancelled: bool,
    // What MSRP needs is in `talk.rs`.
    pub own: Path,
    pub peer: Option<Path>,
    pub dials: bool,
    pub conn: Option<u64>,
    /// The gateway has answered something in this session.
    pub open: bool,
    pub wrapped: bool,
    /// It answers no SEND.
    pub mute: bool,
    /// It refuses what the gateway sends with this code.
    pub refuses: Option<u16>,
    pub incoming: BTreeMap<String, (Vec<u8>, u64)>,
    pub read: BTreeSet<String>,
    /// Pieces of letters to be sent.
    pub queue: VecDeque<(usize, usize)>,
    pub speaking: bool,
}

/// A request of a phone's that has no final answer.
#[derive(Debug)]
pub struct Asking {
    bytes: Bytes,
    call: usize,
    method: &'static str,
    quiet: bool,
    tries: u8,
}

impl World {
    fn call(&mut self, romeo: u8, juliet: u8, ours: bool, id: &str) -> usize {
        let number = self.calls.len();
        let tag = format!("ph{number}");
        let muting = self.course.now < PEACE;
        let call = Call {
            romeo,
            juliet,
            ours,
            id: id.to_owned(),
            local: format!("<sip:romeo{romeo}@example.net>;tag={tag}"),
            tag,
            remote: format!("<sip:juliet{juliet}@example.com>"),
            target: format!("sip:juliet{juliet}@example.com"),
            cseq: 100,
            stage: if ours { Stage::Calling } else { Stage::Ringing },
            unacked: None,
            pick: Pick::Accept,
            changing: None,
            held: false,
            cancelled: false,
            own: self.new_path(romeo, number),
            peer: None,
            dials: false,
            conn: None,
            open: false,
            wrapped: romeo == 2,
            mute: muting && self.course.chance(4),
            refuses: (muting && self.course.chance(5))
                .then(|| [403, 413, 415, 481][self.course.below(4) as usize]),
            incoming: BTreeMap::new(),
            read: BTreeSet::new(),
            queue: VecDeque::new(),
            speaking: false,
        };
        self.calls.push(call);
        number
    }

    fn new_path(&mut self, romeo: u8, number: usize) -> Path {
        let (port, count) = (PORT + u16::from(romeo), self.course.count());
        let text = format!("msrp://192.0.2.1:{port}/p{number}x{count};tcp");
        Path::parse(&text).expect("a path")
    }

    fn sdp(&mut self, number: usize, setup: &str) -> String {
        let version = self.course.count();
        let call = &self.calls[number];
        let types = match call.romeo {
            1 => "text/plain application/im-iscomposing+xml",
            _ => {
                "message/cpim text/* application/im-iscomposing+xml\r\na=accept-wrapped-types:text/* \
                 application/im-iscomposing+xml"
            }
        };
        let port = match call.pick {
            Pick::PortZero => 0,
            _ => PORT + u16::from(call.romeo),
        };
        let path = match call.pick {
            Pick::Nowhere => call.own.to_string().replace(":700", ":900"),
            _ => call.own.to_string(),
        };
        let direction = if call.held { "sendonly" } else { "sendrecv" };
        format!(
            "v=0\r\no=- {number} {version} IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
             m=message {port} TCP/MSRP *\r\na=path:{path}\r\na=accept-types:{types}\r\na={direction}\r\n{setup}"
        )
    }

    // ---- the gateway's requests

    /// A request of a dialog, or one that begins one.
    pub fn phone_gets(&mut self, romeo: u8, method: &str, text: &str) {
        let key = (branch_of(text), method.to_owned());
        if let Some(known) = self.served.get(&key).cloned() {
            return self.send(known);
        }
        let (to, from) = (header(text, "To"), header(text, "From"));
        let (found, peer) = (tag_of(&to), tag_of(&from));
        let id = header(text, "Call-ID");
        // By both tags (RFC 3261 §12.2.2): a gateway that was restarted ends the dialog of an answer that never arrived,
        // while the INVITE, which came again, has begun another.
        let number = self.calls.iter().rposition(|call| {
            call.id == id && Some(call.tag.as_str()) == found && tag_of(&call.remote) == peer
        });
        match (method, number) {
            ("INVITE", None) if found.is_none() => self.rings(romeo, text),
            ("ACK", Some(number)) => self.acked(number, text),
            ("ACK", None) => {}
            ("CANCEL", _) => self.cancelled(text),
            (_, None) => drop(self.serve(text, method, Answer::new(481))),
            ("BYE", Some(number)) => {
                self.serve(text, method, Answer::new(200));
                self.calls[number].unacked = None;
                self.over(number, "the gateway hangs up");
            }
            (_, Some(number)) if self.calls[number].stage != Stage::Up => {
                self.serve(text, method, Answer::new(481));
            }
            (_, Some(number)) => {
                let has_offer = text.contains("\r\n\r\nv=0") || method == "INVITE";
                let sdp = if has_offer { self.sdp(number, "a=setup:passive\r\n") } else { String::new() };
                let bytes = self.serve(text, method, Answer { sdp, ..Answer::new(200) });
                if method == "INVITE" {
                    self.unacked(number, bytes, cseq_of(text));
                }
            }
        }
    }

    /// Answers, and remembers what was said: the request may come again.
    fn serve(&mut self, text: &str, method: &str, said: Answer) -> Bytes {
        let bytes = answer(text, &said);
        if said.status >= 200 {
            self.served.insert((branch_of(text), method.to_owned()), bytes.clone());
        }
        self.send(bytes.clone());
        bytes
    }

    fn unacked(&mut self, number: usize, bytes: Bytes, cseq: u32) {
        self.calls[number].unacked = Some((bytes, cseq));
        self.course.after(500, Event::Repeats(number, 500));
    }

    /// Timer G, and that of RFC 3261 §13.3.1.4.
    pub fn repeats(&mut self, number: usize, wait: u64) {
        let Some((bytes, _)) = self.calls[number].unacked.clone() else { return };
        if wait > 32_000 {
            self.calls[number].unacked = None;
            if self.calls[number].stage == Stage::Up {
                self.hangs(number);
            }
            return;
        }
        if self.udp || bytes.starts_with(b"SIP/2.0 2") {
            self.send(bytes);
        }
        let next = wait.min(4_000);
        self.course.after(next, Event::Repeats(number, wait + next));
    }

    fn rings(&mut self, romeo: u8, text: &str) {
        if romeo == 0 && !self.all_msrp {
            self.ledger.wrong(Quiet, "a telephone without MSRP was rung for a line of text".to_owned());
        }
        let temper = self.tempers[romeo as usize];
        let id = header(text, "Call-ID");
        let from = header(text, "From");
        let juliet = digits(&from, "juliet");
        let branch = branch_of(text);
        if self.calls.iter().any(|call| call.id == id && !call.ours && call.stage == Stage::Ringing) {
            return;
        }
        if romeo == 0 {
            self.serve(text, "INVITE", Answer { tag: "none".into(), ..Answer::new(488) });
            return;
        }
        let pick = match (temper, self.course.below(100)) {
            (Temper::Silent, _) => return,
            (Temper::Status(status), _) => Pick::Refuse(status),
            _ if self.course.now >= PEACE => Pick::Accept,
            (_, 0..8) => Pick::Refuse([486, 488, 603, 480, 415, 404, 503][self.course.below(7) as usize]),
            (_, 8..12) => Pick::PortZero,
            (_, 12..17) => Pick::Nowhere,
            _ => Pick::Accept,
        };
        let forks = 1 + u64::from(self.course.chance(8));
        for _ in 0..forks {
            let number = self.call(romeo, juliet, false, &id);
            let gateway = contact_of(text);
            let sdp = text.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
            let call = &mut self.calls[number];
            (call.remote, call.target, call.pick) = (from.clone(), gateway, pick);
            call.local = format!("{};tag={}", header(text, "To"), call.tag);
            self.reads_sdp(number, &sdp);
            let tag = self.calls[number].tag.clone();
            if self.course.chance(40) {
                let ringing = answer(text, &Answer { tag, ..Answer::new(180) });
                self.send(ringing);
            }
            let wait = match self.course.below(100) {
                _ if self.course.now >= PEACE => self.course.below(50),
                0..4 => 60_000,
                4..10 => 9_950 + self.course.below(120),
                10..20 => self.course.below(8_000),
                _ => self.course.below(200),
            };
            self.ringing.insert((branch.clone(), number), text.to_owned());
            if wait < 60_000 {
                self.course.after(wait, Event::Picks(branch.clone(), number));
            }
        }
    }

    /// Somebody, or the phone itself, answers.
    pub fn picks(&mut self, branch: &str, number: usize) {
        let Some(text) = self.ringing.remove(&(branch.to_owned(), number)) else { return };
        let tag = self.calls[number].tag.clone();
        if let Pick::Refuse(status) = self.calls[number].pick {
            let bytes = self.serve(&text, "INVITE", Answer { tag, ..Answer::new(status) });
            self.unacked(number, bytes, cseq_of(&text));
            return self.over(number, "refused");
        }
        let setup = match self.course.below(3) {
            0 => "a=setup:active\r\n",
            1 => "a=setup:passive\r\n",
            _ => "",
        };
        self.calls[number].dials =
            setup.contains("active") && !matches!(self.calls[number].pick, Pick::Nowhere);
        let sdp = self.sdp(number, setup);
        let bytes = self.serve(&text, "INVITE", Answer { tag, sdp, ..Answer::new(200) });
        self.unacked(number, bytes, cseq_of(&text));
        self.up(number);
    }

    fn acked(&mut self, number: usize, text: &str) {
        let call = &mut self.calls[number];
        if call.unacked.as_ref().is_some_and(|(_, cseq)| *cseq == cseq_of(text)) {
            call.unacked = None;
        }
    }

    fn cancelled(&mut self, text: &str) {
        self.serve(text, "CANCEL", Answer { tag: "cancelled".into(), ..Answer::new(200) });
        let branch = branch_of(text);
        let found: Vec<_> = self.ringing.keys().filter(|(known, _)| *known == branch).cloned().collect();
        for (place, key) in found.into_iter().enumerate() {
            let Some(invite) = self.ringing.remove(&key) else { continue };
            self.over(key.1, "cancelled");
            // A proxy passes one final answer on.
            if place == 0 {
                let tag = self.calls[key.1].tag.clone();
                let bytes = self.serve(&invite, "INVITE", Answer { tag, ..Answer::new(487) });
                self.unacked(key.1, bytes, cseq_of(&invite));
            }
        }
    }

    // ---- the phone's requests

    /// A phone opens a session.
    pub fn calls_juliet(&mut self, romeo: u8, juliet: u8) -> usize {
        let id = format!("call-{}", self.course.count());
        let number = self.call(romeo, juliet, true, &id);
        let setup = match self.course.below(4) {
            0 => "a=setup:active\r\n",
            1 => "a=setup:passive\r\n",
            2 => "a=setup:actpass\r\n",
            _ => "",
        };
        self.calls[number].dials = !setup.contains("passive");
        let sdp = self.sdp(number, setup);
        let timer = match self.course.below(8) {
            0 => "Supported: timer\r\nSession-Expires: 90;refresher=uas\r\n",
            1 => "Supported: timer\r\n",
            _ => "",
        };
        self.ask(number, "INVITE", timer, &sdp);
        if self.course.chance(4) {
            let wait = self.course.below(60);
            self.course.after(wait, Event::Cancels(number));
        }
        number
    }

    /// The phone thinks better of it.
    pub fn cancels(&mut self, number: usize) {
        if self.calls[number].stage != Stage::Calling {
            return;
        }
        let Some((branch, invite)) = self.asking.iter().find_map(|(branch, asking)| {
            (asking.call == number && asking.method == "INVITE")
                .then(|| (branch.clone(), asking.bytes.clone()))
        }) else {
            return;
        };
        // RFC 3261 §9.1: not before something was heard.
        if !self.asking[&branch].quiet {
            return;
        }
        self.calls[number].cancelled = true;
        let invite = String::from_utf8_lossy(&invite).into_owned();
        let lines: Vec<_> = invite
            .split("\r\n\r\n")
            .next()
            .unwrap_or_default()
            .lines()
            .filter(|line| {
                ["Via", "From", "To", "Call-ID", "Max-Forwards"].iter().any(|name| line.starts_with(name))
            })
            .collect();
        let first = invite.lines().next().unwrap_or_default().replacen("INVITE", "CANCEL", 1);
        let cseq = cseq_of(&invite);
        let text =
            format!("{first}\r\n{}\r\nCSeq: {cseq} CANCEL\r\nContent-Length: 0\r\n\r\n", lines.join("\r\n"));
        self.send(Bytes::from(text));
    }

    fn request(&mut self, number: usize, method: &str, cseq: u32, more: &str, body: &str) -> (String, Bytes) {
        let branch = format!("z9hG4bKphone{}", self.course.count());
        let (transport, param) = if self.udp { ("UDP", "") } else { ("TCP", ";transport=tcp") };
        let call = &self.calls[number];
        let romeo = call.romeo;
        let type_ = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let text = format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/{transport} 192.0.2.1:5060;branch={branch}\r\nMax-Forwards: 69\r\n\
             From: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:romeo{romeo}@192.0.2.1:5060{param}>\r\nAllow: INVITE, ACK, BYE, CANCEL, UPDATE, MESSAGE\r\n\
             User-Agent: phone {romeo}\r\n{more}{type_}Content-Length: {}\r\n\r\n{body}",
            call.target,
            call.local,
            call.remote,
            call.id,
            body.len()
        );
        (branch, Bytes::from(text))
    }

    fn ask(&mut self, number: usize, method: &'static str, more: &str, body: &str) {
        self.calls[number].cseq += 1;
        let cseq = self.calls[number].cseq;
        let (branch, bytes) = self.request(number, method, cseq, more, body);
        self.send(bytes.clone());
        self.asking.insert(branch.clone(), Asking { bytes, call: number, method, quiet: false, tries: 0 });
        self.course.after(500, Event::Asks(branch, 500));
    }

    /// Timers A, B, E and F.
    pub fn asks_again(&mut self, branch: &str, wait: u64) {
        let udp = self.udp;
        let Some(asking) = self.asking.get_mut(branch) else { return };
        let patience = if asking.quiet && asking.method == "INVITE" { 64_000 } else { 32_000 };
        if wait < patience {
            let bytes = asking.bytes.clone();
            if udp && !asking.quiet {
                self.send(bytes);
            }
            let next = wait.min(4_000);
            return self.course.after(next, Event::Asks(branch.to_owned(), wait + next));
        }
        let Some(asking) = self.asking.remove(branch) else { return };
        match asking.method {
            // A session that the other side keeps would never end.
            "BYE" if asking.tries < 5 => {
                self.calls[asking.call].cseq += 1;
                let cseq = self.calls[asking.call].cseq;
                let (branch, bytes) = self.request(asking.call, "BYE", cseq, "", "");
                self.send(bytes.clone());
                let again = Asking { bytes, quiet: false, tries: asking.tries + 1, ..asking };
                self.asking.insert(branch.clone(), again);
                self.course.after(500, Event::Asks(branch, 500));
            }
            "BYE" => {}
            _ => self.hangs(asking.call),
        }
    }

    /// An answer of the gateway's to something a phone asked. False when it is none.
    pub fn phone_hears(&mut self, status: u16, text: &str) -> bool {
        let cseq = header(text, "CSeq");
        if cseq.ends_with("CANCEL") {
            return true;
        }
        let branch = branch_of(text);
        let Some(asking) = self.asking.get_mut(&branch) else {
            // A 2xx again: its ACK was lost.
            if status / 100 == 2
                && cseq.ends_with("INVITE")
                && let Some(ack) = self.acks.get(&branch).cloned()
            {
                self.send(ack);
            }
            return self.acks.contains_key(&branch) || cseq.ends_with("BYE");
        };
        if status < 200 {
            asking.quiet = true;
            return true;
        }
        let Some(asking) = self.asking.remove(&branch) else { return true };
        let number = asking.call;
        if asking.method != "INVITE" {
            return true;
        }
        if status >= 300 {
            let ack = self.ack_refusal(&asking.bytes, text);
            self.send(ack.clone());
            self.acks.insert(branch, ack);
            let change = self.calls[number].changing.take();
            if matches!(change, Some(Change::Move)) {
                // Its old path is nobody's any more.
                self.hangs(number);
            } else if change.is_none() || matches!(status, 408 | 481) {
                self.over(number, "the gateway refuses");
            }
            return true;
        }
        let call = &mut self.calls[number];
        let was_calling = call.stage == Stage::Calling;
        call.remote = header(text, "To");
        call.target = contact_of(text);
        let seq = cseq_of(text);
        let (_, ack) = self.request(number, "ACK", seq, "", "");
        self.send(ack.clone());
        self.acks.insert(branch, ack);
        let sdp = text.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
        if was_calling {
            self.reads_sdp(number, &sdp);
            let setup = sdp.lines().find_map(|line| line.strip_prefix("a=setup:"));
            self.calls[number].dials = setup != Some("active");
            self.up(number);
            if self.calls[number].cancelled {
                self.hangs(number);
            }
        } else {
            self.changed(number, &sdp);
        }
        true
    }

    fn ack_refusal(&mut self, invite: &Bytes, text: &str) -> Bytes {
        let invite = String::from_utf8_lossy(invite).into_owned();
        let via = header(&invite, "Via");
        let first = invite.lines().next().unwrap_or_default().replacen("INVITE", "ACK", 1);
        let (from, to, id) = (header(text, "From"), header(text, "To"), header(text, "Call-ID"));
        Bytes::from(format!(
            "{first}\r\nVia: {via}\r\nMax-Forwards: 69\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {id}\r\nCSeq: {} ACK\r\n\
             Content-Length: 0\r\n\r\n",
            cseq_of(&invite)
        ))
    }

    fn reads_sdp(&mut self, number: usize, sdp: &str) {
        let path = sdp.lines().find_map(|line| line.strip_prefix("a=path:"));
        self.calls[number].peer = path.and_then(|path| Path::parse(path).ok());
    }

    /// Both have agreed.
    fn up(&mut self, number: usize) {
        let call = &mut self.calls[number];
        call.stage = Stage::Up;
        self.ledger.totals.sessions += 1;
        let (dials, ours, useless) =
            (call.dials, call.ours, matches!(call.pick, Pick::PortZero | Pick::Nowhere));
        if useless {
            return;
        }
        if dials {
            let wait = self.course.below(60);
            self.course.after(wait, Event::Dials(number));
        }
        let lasts = match self.course.below(10) {
            0 => Some(self.course.below(300)),
            1..4 => Some(self.course.below(10_000)),
            4..8 => Some(self.course.below(100_000)),
            // The gateway's own end when nobody writes.
            _ if ours => Some(200_000),
            _ => None,
        };
        if let Some(lasts) = lasts {
            let at = self.course.now + Duration::from_millis(lasts);
            self.course
                .at(at.min(PEACE.max(self.course.now) + Duration::from_secs(60)), Event::Hangs(number));
        }
        if self.course.now < PEACE && self.course.chance(20) {
            let change = [Change::Refresh, Change::Hold, Change::Move][self.course.below(3) as usize];
            let wait = self.course.below(8_000);
            self.course.after(wait, Event::Changes(number, change));
        }
    }

    /// A phone hangs up.
    pub fn hangs(&mut self, number: usize) {
        match self.calls[number].stage {
            Stage::Up => {
                self.over(number, "the phone hangs up");
                self.ask(number, "BYE", "", "");
            }
            Stage::Calling => self.over(number, "nobody answered"),
            _ => {}
        }
    }

    /// A session is over for the phone.
    pub fn over(&mut self, number: usize, why: &str) {
        if std::mem::replace(&mut self.calls[number].stage, Stage::Over) == Stage::Over {
            return;
        }
        self.course.note(&format!("call {number} is over: {why}"));
        self.unsettled(number);
        if let Some(conn) = self.calls[number].conn {
            self.hang_wire(conn);
        }
    }

    /// A phone wants something changed.
    pub fn changes(&mut self, number: usize, change: Change) {
        let call = &self.calls[number];
        if call.stage != Stage::Up
            || call.unacked.is_some()
            || self.asking.values().any(|asking| asking.call == number)
        {
            return;
        }
        let romeo = call.romeo;
        self.calls[number].changing = Some(change);
        match change {
            Change::Hold => {
                self.calls[number].held = true;
                let wait = 1_000 + self.course.below(20_000);
                self.course.after(wait, Event::Changes(number, Change::Resume));
            }
            Change::Resume => self.calls[number].held = false,
            Change::Move => {
                self.unsettled(number);
                let own = self.new_path(romeo, number);
                let call = &mut self.calls[number];
                (call.own, call.conn, call.open, call.dials) = (own, None, false, true);
                call.peer = None;
                call.incoming.clear();
                call.read.clear();
            }
            Change::Refresh => {}
        }
        let setup = if matches!(change, Change::Move) { "a=setup:active\r\n" } else { "" };
        let sdp = self.sdp(number, setup);
        self.ask(number, "INVITE", "", &sdp);
    }

    /// The gateway agrees to a change.
    fn changed(&mut self, number: usize, sdp: &str) {
        if let Some(Change::Move) = self.calls[number].changing.take()
            && self.calls[number].stage == Stage::Up
        {
            self.reads_sdp(number, sdp);
            self.course.after(5, Event::Dials(number));
        }
    }

    /// The latest session of a phone with a person, where there is one.
    pub fn call_with(&self, romeo: u8, juliet: u8) -> Option<usize> {
        let fits = |call: &Call| {
            let usable = matches!(call.stage, Stage::Up | Stage::Calling);
            let pick = !matches!(call.pick, Pick::PortZero | Pick::Nowhere);
            call.romeo == romeo && call.juliet == juliet && usable && pick
        };
        self.calls.iter().rposition(fits)
    }
}

/// The number behind a name.
pub fn digits(text: &str, name: &str) -> u8 {
    let rest = text.split_once(name).map_or("", |(_, rest)| rest);
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse::<u8>().unwrap_or(0) % PEOPLE
}

fn tag_of(address: &str) -> Option<&str> {
    address.split_once(";tag=").map(|(_, tag)| tag)
}

fn branch_of(text: &str) -> String {
    let via = header(text, "Via");
    let branch = via.split_once("branch=").map_or("", |(_, rest)| rest);
    branch.split(';').next().unwrap_or_default().to_owned()
}

fn cseq_of(text: &str) -> u32 {
    header(text, "CSeq").split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn contact_of(text: &str) -> String {
    header(text, "Contact").split(['<', '>']).nth(1).unwrap_or("sip:nobody@invalid").to_owned()
}
