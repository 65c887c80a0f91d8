//! SIP users: they call rooms and are called for them, hold, hang up, and ask others in and out. A phone is a user agent
//! of its own: nothing of the gateway's code but the reading of frames is in it.

use super::judge::Heard;
use super::muc::NAMES;
use super::support::invariants::Invariant::Fate;
use super::support::process::Host;
use super::support::written::header_of;
use super::wire::PORT;
use super::world::{Event, Given, World};

/// So long a phone waits for a final answer, and for an ACK.
const PATIENCE: u64 = 60_000;
/// More calls are not made in one run.
const CALLS: usize = 80;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It has called, and has no answer.
    Calling,
    /// It is called.
    Ringing,
    Up,
    Over,
}

/// What a transaction of MSRP asked.
#[derive(Clone, Debug)]
pub enum Asked {
    Hello,
    Piece,
    Line(String),
    Nick(String),
}

/// A call.
#[derive(Debug)]
pub struct Call {
    pub phone: u8,
    pub room: usize,
    /// Call-ID.
    id: String,
    pub stage: Stage,
    /// Its BYE is on the way.
    pub leaves: bool,
    own_tag: String,
    tag: String,
    /// The INVITE that rings.
    invite: Option<String>,
    acked: bool,
    cseq: u32,
    active: bool,
    /// The gateway's end in MSRP.
    pub us: String,
    pub conn: Option<u64>,
    /// It may send.
    pub open: bool,
    /// It can tell private lines from others.
    pub private: bool,
    /// The gateway died since it began.
    pub doubted: bool,
    /// Its address in the room.
    pub jid: Option<String>,
    pub given: Vec<Given>,
    pub heard: Heard,
    /// It has put the gateway on hold, or wants to; it did once.
    hold: Option<bool>,
    pub holds: bool,
    pub was_held: bool,
    /// What is not answered, by transaction.
    pub waiting: std::collections::BTreeMap<String, Asked>,
    /// Pieces of what is being heard, by Message-ID.
    pub pieces: std::collections::BTreeMap<String, Vec<u8>>,
}

impl Call {
    pub fn is_up(&self) -> bool {
        self.stage == Stage::Up && !self.doubted
    }
}

impl World {
    pub fn call_of(&self, text: &str) -> Option<usize> {
        let id = header_of(text, "Call-ID")?;
        self.calls.iter().position(|call| call.id == id)
    }

    fn begin(&mut self, phone: u8, room: usize, id: String, stage: Stage) -> usize {
        let number = self.calls.len();
        let (active, private) = (self.course.chance(60), self.course.chance(80));
        self.calls.push(Call {
            phone,
            room,
            id,
            stage,
            leaves: false,
            own_tag: format!("t{number}"),
            tag: String::new(),
            invite: None,
            acked: false,
            cseq: 1,
            active,
            us: String::new(),
            conn: None,
            open: false,
            private,
            doubted: false,
            jid: None,
            given: Vec::new(),
            heard: Heard::default(),
            hold: None,
            holds: false,
            was_held: false,
            waiting: Default::default(),
            pieces: Default::default(),
        });
        number
    }

    pub fn own_path(&self, call: usize) -> String {
        format!("msrp://192.0.2.1:{}/c{call}x;tcp", PORT + call as u16)
    }

    fn description(&self, call: usize, setup: &str, direction: &str) -> String {
        let chatroom = if self.calls[call].private { "nickname private-messages" } else { "nickname" };
        format!(
            "v=0\r\no=- 1 {} IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=message {} TCP/MSRP *\r\na=path:{}\r\n\
             a=accept-types:message/cpim\r\na=accept-wrapped-types:*\r\na=setup:{setup}\r\na={direction}\r\na=chatroom:{chatroom}\r\n",
            self.calls[call].cseq,
            PORT + call as u16,
            self.own_path(call)
        )
    }

    /// A request of a phone, in the dialog of a call or before it.
    pub fn ask(&mut self, call: usize, method: &str, headers: &str, body: &str) {
        let branch = self.course.count();
        let room = self.rooms[self.calls[call].room].jid.clone();
        let it = &mut self.calls[call];
        if method != "ACK" && method != "CANCEL" && !(method == "INVITE" && it.tag.is_empty()) {
            it.cseq += 1;
        }
        let uri = if it.tag.is_empty() { room.clone() } else { "verona@gateway.example.org:5060".to_owned() };
        let tag = if it.tag.is_empty() { String::new() } else { format!(";tag={}", it.tag) };
        let text = format!(
            "{method} sip:{uri} SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bKx{branch}\r\nFrom: \
             <sip:p{}@example.net>;tag={}\r\nTo: <sip:{room}>{tag}\r\nCall-ID: {}\r\nCSeq: {} {method}\r\nMax-Forwards: 70\r\n\
             Contact: <sip:p{}@192.0.2.1:5062;transport=tcp>\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            it.phone,
            it.own_tag,
            it.id,
            it.cseq,
            it.phone,
            body.len()
        );
        it.leaves |= method == "BYE";
        self.sip(text);
    }

    /// Somebody calls a room.
    pub fn dial_in(&mut self) {
        let phone = self.course.below(self.phones.into()) as u8;
        let room = usize::from(self.course.chance(15));
        let mine = |call: &&super::phone::Call| call.phone == phone && call.stage != Stage::Over;
        let live = self.calls.iter().filter(mine).count();
        if self.calls.len() >= CALLS || live >= 3 || live >= 1 && self.course.chance(70) {
            return;
        }
        let call = self.begin(phone, room, format!("p{phone}c{}", self.calls.len()), Stage::Calling);
        let setup = match (self.calls[call].active, self.course.below(3)) {
            (_, 0) => "actpass",
            (true, _) => "active",
            (false, _) => "passive",
        };
        let body = self.description(call, setup, "sendrecv");
        let name = if self.course.chance(30) {
            NAMES[self.course.below(NAMES.len() as u64) as usize].to_owned()
        } else {
            format!("P{phone}")
        };
        let room_jid = self.rooms[room].jid.clone();
        let branch = self.course.count();
        let text = format!(
            "INVITE sip:{room_jid} SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bKx{branch}\r\nFrom: \"{name}\" \
             <sip:p{phone}@example.net>;tag=t{call}\r\nTo: <sip:{room_jid}>\r\nCall-ID: {}\r\nCSeq: 1 INVITE\r\nMax-Forwards: \
             70\r\nContact: <sip:p{phone}@192.0.2.1:5062;transport=tcp>\r\nContent-Type: application/sdp\r\nContent-Length: \
             {}\r\n\r\n{body}",
            self.calls[call].id,
            body.len()
        );
        self.calls[call].invite = Some(text.clone());
        self.tally.called += 1;
        self.sip(text);
        self.course.after(PATIENCE, Event::GivesUp(call));
        if self.course.chance(5) {
            let cancel = self.calls[call].invite.clone().unwrap_or_default();
            let cancel = cancel.split("\r\nContact").next().unwrap_or_default().replace("INVITE", "CANCEL");
            self.sip(format!("{cancel}\r\nContent-Length: 0\r\n\r\n"));
        }
    }

    /// A phone has waited long enough.
    pub fn gives_up(&mut self, call: usize) {
        let it = &self.calls[call];
        match it.stage {
            Stage::Calling | Stage::Ringing => {
                if !it.doubted {
                    self.broken(Fate, format!("call {call} was never answered"));
                }
                self.over(call);
            }
            Stage::Up if it.invite.is_some() && !it.acked => {
                if !it.doubted {
                    self.broken(Fate, format!("call {call} never got its ACK"));
                }
                self.ask(call, "BYE", "", "");
                self.over(call);
            }
            _ => {}
        }
    }

    /// Something reaches a phone.
    pub fn phone_hears(&mut self, text: &str) {
        let call = self.call_of(text);
        if text.starts_with("SIP/2.0") {
            return self.phone_is_answered(text, call);
        }
        match (text.split(' ').next().unwrap_or_default(), call) {
            ("OPTIONS", _) => self.answer(text, 200, "", ""),
            ("NOTIFY", _) => self.notified(text),
            ("INVITE", None) => self.rings(text),
            ("INVITE", Some(call)) => {
                let direction = if self.calls[call].holds { "sendonly" } else { "sendrecv" };
                let body = self.description(call, "actpass", direction);
                self.answer(text, 200, "Content-Type: application/sdp\r\n", &body);
            }
            ("ACK", Some(call)) => self.calls[call].acked = true,
            ("CANCEL", Some(call)) => {
                self.answer(text, 200, "", "");
                if self.calls[call].stage == Stage::Ringing {
                    let invite = self.calls[call].invite.clone().unwrap_or_default();
                    self.answer(&invite, 487, "", "");
                    self.over(call);
                }
            }
            ("BYE", Some(call)) if self.calls[call].stage == Stage::Up => {
                self.answer(text, 200, "", "");
                self.over(call);
            }
            ("UPDATE", Some(call)) if self.calls[call].stage == Stage::Up => self.answer(text, 200, "", ""),
            ("ACK", _) => {}
            _ => self.answer(text, 481, "", ""),
        }
    }

    fn phone_is_answered(&mut self, text: &str, call: Option<usize>) {
        let status: u16 = text.get(8..11).and_then(|code| code.parse().ok()).unwrap_or_default();
        let method = header_of(text, "CSeq").and_then(|cseq| cseq.split(' ').nth(1)).unwrap_or_default();
        if status < 200 {
            return;
        }
        match (method, call) {
            ("SUBSCRIBE", _) => self.subscribed(text, status),
            ("INVITE", Some(call)) if self.calls[call].stage == Stage::Calling => {
                self.called(call, text, status)
            }
            ("INVITE", Some(call)) if status < 300 => {
                self.ask(call, "ACK", "", "");
                match self.calls[call].stage {
                    Stage::Up => {
                        if let Some(hold) = self.calls[call].hold.take() {
                            self.calls[call].holds = hold;
                        }
                    }
                    // It has given up.
                    _ => {
                        if self.calls[call].tag.is_empty() {
                            self.calls[call].tag = tag_of(text, "To");
                        }
                        self.ask(call, "BYE", "", "");
                    }
                }
            }
            ("INVITE", Some(call)) => {
                self.calls[call].hold = None;
                self.ack_refusal(text);
            }
            _ => {}
        }
    }

    /// The ACK for a refusal has the branch of its INVITE.
    fn ack_refusal(&mut self, text: &str) {
        let head: String = ["Via", "From", "To", "Call-ID"]
            .iter()
            .map(|name| format!("{name}: {}\r\n", header_of(text, name).unwrap_or_default()))
            .collect();
        let cseq = header_of(text, "CSeq").unwrap_or_default().replace("INVITE", "ACK");
        self.sip(format!(
            "ACK sip:verona@rooms.example.com SIP/2.0\r\n{head}CSeq: {cseq}\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        ));
    }

    /// The first INVITE of a call has its final answer.
    fn called(&mut self, call: usize, text: &str, status: u16) {
        if status >= 300 {
            self.ack_refusal(text);
            return self.over(call);
        }
        self.calls[call].tag = tag_of(text, "To");
        self.calls[call].invite = None;
        self.ask(call, "ACK", "", "");
        self.is_described(call, text);
        self.calls[call].stage = Stage::Up;
        self.connect(call);
    }

    /// The gateway has said where it is.
    fn is_described(&mut self, call: usize, text: &str) {
        let line =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
        let theirs = line("a=setup:");
        self.calls[call].us = line("a=path:");
        match theirs.as_str() {
            "active" => self.calls[call].active = false,
            "passive" => self.calls[call].active = true,
            _ => {}
        }
        if self.calls[call].us.is_empty() {
            self.wrong(format!("call {call} is not told where to: {text}"));
        }
    }

    fn connect(&mut self, call: usize) {
        if self.calls[call].active {
            let conn = self.wire(call, false);
            self.calls[call].conn = Some(conn);
            self.hello(call);
        }
    }

    /// A room calls.
    fn rings(&mut self, text: &str) {
        let to = header_of(text, "To").unwrap_or_default().to_owned();
        let phone = to.split("sip:p").nth(1).and_then(|rest| rest.split('@').next()?.parse().ok());
        let from = header_of(text, "From").unwrap_or_default().to_owned();
        let room = self.rooms.iter().position(|room| from.contains(&format!("sip:{}", room.jid)));
        let (Some(phone), Some(room)) = (phone, room) else {
            return self.wrong(format!("a call of nobody's: {text}"));
        };
        self.tally.rang += 1;
        let id = header_of(text, "Call-ID").unwrap_or_default().to_owned();
        let call = self.begin(phone, room, id, Stage::Ringing);
        self.calls[call].invite = Some(text.to_owned());
        self.calls[call].tag = tag_of(text, "From");
        self.answer(text, 180, "", "");
        self.course.after(PATIENCE + 40_000, Event::GivesUp(call));
        if self.peace || self.course.chance(85) {
            let wait = self.course.below(4_000);
            self.course.after(wait, Event::Picks(call));
        }
    }

    /// Somebody picks up, or refuses.
    pub fn picks(&mut self, call: usize) {
        if self.calls[call].stage != Stage::Ringing {
            return;
        }
        let invite = self.calls[call].invite.clone().unwrap_or_default();
        match self.course.below(10) {
            0 => {
                self.answer(&invite, 486, "", "");
                self.over(call);
            }
            1 => {
                self.answer(&invite, 603, "", "");
                self.over(call);
            }
            _ => {
                self.is_described(call, &invite);
                let offered =
                    invite.lines().find_map(|line| line.strip_prefix("a=setup:")).unwrap_or("active");
                let setup = match offered {
                    "passive" => "active",
                    "actpass" if self.course.chance(50) => "active",
                    _ => "passive",
                };
                self.calls[call].active = setup == "active";
                let body = self.description(call, setup, "sendrecv");
                self.answer(&invite, 200, "Content-Type: application/sdp\r\n", &body);
                self.calls[call].stage = Stage::Up;
                self.course.after(32_000, Event::GivesUp(call));
                self.connect(call);
            }
        }
    }

    /// A phone answers a request.
    pub fn answer(&mut self, request: &str, status: u16, headers: &str, body: &str) {
        let text = self.answer_text(request, status, headers, body);
        self.sip(text);
    }

    pub fn answer_text(&mut self, request: &str, status: u16, headers: &str, body: &str) -> String {
        let vias: String = request
            .lines()
            .take_while(|line| !line.is_empty())
            .filter(|line| line.starts_with("Via:"))
            .map(|line| format!("{line}\r\n"))
            .collect();
        let get = |name| header_of(request, name).unwrap_or_default();
        let mut to = get("To").to_owned();
        if !to.contains(";tag=") {
            let tag =
                self.call_of(request).map_or("none".to_owned(), |call| self.calls[call].own_tag.clone());
            to.push_str(&format!(";tag={tag}"));
        }
        format!(
            "SIP/2.0 {status} Fine\r\n{vias}From: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\nContact: \
             <sip:phone@192.0.2.1:5062;transport=tcp>\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            get("From"),
            get("Call-ID"),
            get("CSeq"),
            body.len()
        )
    }

    fn some_call(&mut self) -> Option<usize> {
        let up: Vec<usize> =
            (0..self.calls.len()).filter(|call| self.calls[*call].stage == Stage::Up).collect();
        (!up.is_empty()).then(|| up[self.course.below(up.len() as u64) as usize])
    }

    /// A call over which something can be said.
    pub fn some_open(&mut self) -> Option<usize> {
        self.some_call().filter(|call| self.calls[*call].open && self.calls[*call].conn.is_some())
    }

    pub fn somebody_hangs_up(&mut self) {
        if let Some(call) = self.some_call() {
            self.hangs_up(call);
        }
    }

    fn hangs_up(&mut self, call: usize) {
        self.ask(call, "BYE", "", "");
        self.over(call);
    }

    pub fn everybody_leaves(&mut self) {
        for call in 0..self.calls.len() {
            if self.calls[call].stage == Stage::Up {
                self.hangs_up(call);
            }
        }
    }

    /// A call is over for a phone: its connection goes, what is not answered will not be.
    pub fn over(&mut self, call: usize) {
        let it = &mut self.calls[call];
        it.stage = Stage::Over;
        it.open = false;
        it.waiting.clear();
        self.subs_end(call);
        if let Some(conn) = self.calls[call].conn.take() {
            self.dies(conn);
        }
    }

    /// A phone hears that its connection is gone: some hang up, others wait until the gateway does.
    pub fn hears(&mut self, conn: u64) {
        let call = self.wires[conn as usize].call;
        if self.calls[call].conn != Some(conn) {
            return;
        }
        self.calls[call].conn = None;
        self.calls[call].open = false;
        self.calls[call].waiting.clear();
        if self.calls[call].stage == Stage::Up && self.course.chance(40) {
            self.hangs_up(call);
        }
    }

    /// The gateway has died.
    pub fn calls_are_doubted(&mut self) {
        for call in &mut self.calls {
            call.doubted = true;
            call.hold = None;
        }
        for sub in &mut self.subs {
            sub.over = true;
        }
    }

    pub fn somebody_holds(&mut self) {
        let Some(call) = self.some_open().filter(|call| self.calls[*call].hold.is_none()) else { return };
        let hold = !self.calls[call].holds;
        self.holds(call, hold);
    }

    pub fn holds(&mut self, call: usize, hold: bool) {
        self.tally.held += 1;
        self.calls[call].hold = Some(hold);
        self.calls[call].was_held = true;
        // The number of the description is that of the request.
        self.calls[call].cseq += 1;
        let direction = if hold { "sendonly" } else { "sendrecv" };
        let setup = if self.calls[call].active { "active" } else { "passive" };
        let body = self.description(call, setup, direction);
        self.calls[call].cseq -= 1;
        self.ask(call, "INVITE", "Content-Type: application/sdp\r\n", &body);
    }

    pub fn somebody_refers(&mut self) {
        let Some(call) = self.some_call() else { return };
        let room = self.rooms[self.calls[call].room].jid.clone();
        let nicks: Vec<String> = self.rooms[self.calls[call].room].occupants.keys().cloned().collect();
        let target = match self.course.below(4) {
            0 => format!("<sip:juliet{}@example.com>", self.course.below(self.natives.into())),
            1 => format!("<sip:p{}@example.net>", self.course.below(self.phones.into())),
            2 if !nicks.is_empty() => {
                let nick = nicks[self.course.below(nicks.len() as u64) as usize].replace(' ', "%20");
                format!("<sip:{room};gr={nick};method=BYE>")
            }
            _ => format!("<sip:p{}@example.net;method=BYE>", self.course.below(self.phones.into())),
        };
        if !target.is_ascii() {
            return;
        }
        self.tally.referred += 1;
        self.ask(call, "REFER", &format!("Refer-To: {target}\r\n"), "");
    }
}

pub fn tag_of(text: &str, name: &str) -> String {
    let value = header_of(text, name).unwrap_or_default();
    value.split(";tag=").nth(1).unwrap_or_default().split(';').next().unwrap_or_default().to_owned()
}
