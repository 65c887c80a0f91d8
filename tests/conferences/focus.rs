//! A focus of our own, which knows nothing of the gateway's code: it lets in, gives names, hands on what members say, tells
//! who is there, expels and forgets (RFC 4579, RFC 7701, RFC 4575).

use std::collections::BTreeMap;

use mostar::documents::date;
use mostar::msrp::frame::decoder::Decoder;
use mostar::msrp::frame::{Frame, Method};
use mostar::words::time::Wall;

use super::support::written::header_of;
use super::world::{Event, ROOM, World};

/// Where the first call is reached by MSRP.
pub const PORT: u16 = 7000;

/// A member of ours.
#[derive(Debug)]
pub struct Member {
    id: String,
    /// From and To, as requests of the focus have them.
    from: String,
    to: String,
    /// `juliet1@example.com`.
    pub who: String,
    us: String,
    pub nick: String,
    pub up: bool,
    acked: bool,
    cseq: u32,
    joined: Wall,
    pub conn: Option<u64>,
    /// What its own SENDs carry, by transaction.
    pub lines: BTreeMap<String, String>,
}

#[derive(Debug)]
pub struct Watch {
    id: String,
    from: String,
    to: String,
    contact: String,
    cseq: u32,
    version: u32,
    over: bool,
}

/// How the focus shows what its clock says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shows {
    #[default]
    Nothing,
    /// Its roster says when each has joined.
    Joined,
    /// Its answers have a Date.
    Date,
}

impl Shows {
    pub fn of(seed: u64) -> Shows {
        [Shows::Nothing, Shows::Joined, Shows::Date][(seed / 3 % 3) as usize]
    }
}

#[derive(Debug, Default)]
pub struct Focus {
    pub shows: Shows,
    pub natives: BTreeMap<String, String>,
    pub calls: Vec<Member>,
    pub watches: Vec<Watch>,
}

impl Focus {
    /// Who is there: address and name.
    pub fn there(&self) -> BTreeMap<String, String> {
        let ours = self.calls.iter().filter(|member| member.up);
        let ours = ours.map(|member| (member.who.clone(), member.nick.clone()));
        self.natives.clone().into_iter().chain(ours).collect()
    }

    fn entries(&self) -> String {
        self.there().iter().map(|(who, name)| entry(who, name, self.joined(who))).collect()
    }

    /// When somebody has joined who is there, as the roster says it.
    fn joined(&self, who: &str) -> Option<Wall> {
        let calls = self.calls.iter().filter(|member| member.up && member.who == *who);
        calls.map(|member| member.joined).max().filter(|_| self.shows == Shows::Joined)
    }
}

fn entry(address: &str, name: &str, joined: Option<Wall>) -> String {
    let when = joined
        .map(|joined| format!("<joining-info><when>{}</when></joining-info>", date::write_rfc3339(joined)));
    format!(
        "<user entity=\"sip:{address}\" state=\"full\"><display-text>{name}</display-text><endpoint entity=\"sip:{address};x=1\" \
         state=\"full\"><status>connected</status>{}</endpoint></user>",
        when.unwrap_or_default()
    )
}

fn answer(request: &str, status: &str, tag: &str, more: &str, body: &str) -> String {
    let get = |name| header_of(request, name).unwrap_or_default();
    let vias: String = request
        .lines()
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("Via:"))
        .map(|line| format!("{line}\r\n"))
        .collect();
    let to = get("To");
    let tag = if to.contains(";tag=") { String::new() } else { format!(";tag={tag}") };
    format!(
        "SIP/2.0 {status}\r\n{vias}From: {}\r\nTo: {to}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\nContact: \
         <sip:mantua@192.0.2.1:5070;transport=tcp>;isfocus\r\n{more}Content-Length: {}\r\n\r\n{body}",
        get("From"),
        get("Call-ID"),
        get("CSeq"),
        body.len()
    )
}

fn uri_in(value: &str) -> String {
    value.split(['<', '>']).nth(1).unwrap_or(value).to_owned()
}

impl World {
    /// A SIP message comes to the focus.
    pub fn focus_hears(&mut self, text: &str) {
        if text.starts_with("SIP/2.0") {
            // 481 to a NOTIFY ends what is watched.
            let id = header_of(text, "Call-ID").unwrap_or_default();
            if text.starts_with("SIP/2.0 481") {
                self.focus
                    .watches
                    .iter_mut()
                    .filter(|watch| watch.id == id)
                    .for_each(|watch| watch.over = true);
            }
            return;
        }
        let id = header_of(text, "Call-ID").unwrap_or_default().to_owned();
        let call = self.focus.calls.iter().position(|member| member.id == id && member.up);
        match (text.split(' ').next().unwrap_or_default(), call) {
            ("ACK", Some(call)) => self.focus.calls[call].acked = true,
            ("ACK", None) => {}
            ("INVITE", None) if !header_of(text, "To").unwrap_or_default().contains(";tag=") => {
                self.lets_in(text, id);
            }
            ("INVITE" | "UPDATE", Some(call)) => {
                let body = self.description(call);
                self.sip(answer(text, "200 OK", "", "Content-Type: application/sdp\r\n", &body));
            }
            ("BYE", Some(call)) => {
                self.sip(answer(text, "200 OK", "", "", ""));
                self.member_goes(call);
            }
            ("SUBSCRIBE", _) => self.watched(text, id),
            ("OPTIONS", _) => self.sip(answer(text, "200 OK", "o", "", "")),
            _ => self.sip(answer(text, "481 Gone", "x", "", "")),
        }
    }

    fn description(&self, call: usize) -> String {
        format!(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=message {0} TCP/MSRP *\r\n\
             a=path:msrp://192.0.2.1:{0}/f{call}x;tcp\r\na=accept-types:message/cpim\r\na=accept-wrapped-types:text/plain\r\n\
             a=setup:passive\r\na=chatroom:nickname private-messages\r\n",
            PORT + call as u16
        )
    }

    fn lets_in(&mut self, text: &str, id: String) {
        if self.course.chance(4) && !self.peace {
            self.tally.refused += 1;
            return self.sip(answer(text, "486 Full", "x", "", ""));
        }
        let number = self.focus.calls.len();
        let from = header_of(text, "From").unwrap_or_default().to_owned();
        let who = uri_in(&from).trim_start_matches("sip:").to_owned();
        let nick = from.split('"').nth(1).unwrap_or("nobody").to_owned();
        let us = text.lines().find_map(|line| line.strip_prefix("a=path:")).unwrap_or_default().to_owned();
        let to = format!("{};tag=f{number}", header_of(text, "To").unwrap_or_default());
        self.focus.calls.push(Member {
            id,
            from: to,
            to: from,
            who,
            us,
            nick,
            up: true,
            acked: false,
            cseq: 1,
            joined: self.focus_clock(),
            conn: None,
            lines: BTreeMap::new(),
        });
        let body = self.description(number);
        let mut more = "Content-Type: application/sdp\r\n".to_owned();
        if self.focus.shows == Shows::Date {
            more += &format!("Date: {}\r\n", date::write_sip(self.focus_clock()));
        }
        self.sip(answer(text, "200 OK", &format!("f{number}"), &more, &body));
        self.course.after(32_000, Event::FocusWaits(number));
        self.changed(number);
    }

    /// A member of whom no ACK has come is none (RFC 3261 §13.3.1.4).
    pub fn focus_waits(&mut self, call: usize) {
        let member = &self.focus.calls[call];
        if member.up && !member.acked {
            self.hangs_up(call);
        }
    }

    /// A member is not there any more.
    fn member_goes(&mut self, call: usize) {
        self.focus.calls[call].up = false;
        let who = self.focus.calls[call].who.clone();
        if let Some(conn) = self.focus.calls[call].conn.take() {
            self.dies(conn);
        }
        self.gone(&who);
    }

    fn watched(&mut self, text: &str, id: String) {
        let expires = header_of(text, "Expires").unwrap_or("3600").to_owned();
        let known = self.focus.watches.iter().position(|watch| watch.id == id && !watch.over);
        let is_new = !header_of(text, "To").unwrap_or_default().contains(";tag=");
        if known.is_none() && !is_new {
            return self.sip(answer(text, "481 Gone", "x", "", ""));
        }
        let number = known.unwrap_or(self.focus.watches.len());
        let tag = format!("n{number}");
        self.sip(answer(text, "200 OK", &tag, &format!("Expires: {expires}\r\n"), ""));
        if known.is_none() {
            let to = header_of(text, "To").unwrap_or_default();
            self.focus.watches.push(Watch {
                id,
                from: format!("{to};tag={tag}"),
                to: header_of(text, "From").unwrap_or_default().to_owned(),
                contact: uri_in(header_of(text, "Contact").unwrap_or_default()),
                cseq: 0,
                version: 0,
                over: false,
            });
        }
        let all = self.focus.entries();
        let state = if expires == "0" { "terminated;reason=timeout" } else { "active;expires=3600" };
        self.notify(number, "full", &all, state);
        self.focus.watches[number].over |= expires == "0";
    }

    fn notify(&mut self, number: usize, kind: &str, users: &str, state: &str) {
        let watch = &mut self.focus.watches[number];
        watch.cseq += 1;
        watch.version += 1;
        let body = format!(
            "<?xml version=\"1.0\"?><conference-info xmlns=\"urn:ietf:params:xml:ns:conference-info\" entity=\"sip:{ROOM}\" \
             state=\"{kind}\" version=\"{}\"><users state=\"{kind}\">{users}</users></conference-info>",
            watch.version
        );
        let text = format!(
            "NOTIFY {} SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bKn{number}x{}\r\nMax-Forwards: 70\r\nFrom: {}\r\n\
             To: {}\r\nCall-ID: {}\r\nCSeq: {} NOTIFY\r\nContact: <sip:mantua@192.0.2.1:5070;transport=tcp>\r\nEvent: \
             conference\r\nSubscription-State: {state}\r\nContent-Type: application/conference-info+xml\r\nContent-Length: {}\r\n\r\n{body}",
            watch.contact,
            watch.cseq,
            watch.from,
            watch.to,
            watch.id,
            watch.cseq,
            body.len()
        );
        self.tally.documents += 1;
        self.sip(text);
    }

    fn tell(&mut self, users: &str) {
        for number in 0..self.focus.watches.len() {
            if !self.focus.watches[number].over {
                // Some get all of it, some only what has changed.
                if self.course.chance(10) {
                    let all = self.focus.entries();
                    self.notify(number, "full", &all, "active;expires=3600");
                } else {
                    self.notify(number, "partial", users, "active;expires=3600");
                }
            }
        }
    }

    /// A member is there, or has another name.
    fn changed(&mut self, call: usize) {
        let member = &self.focus.calls[call];
        let users = entry(&member.who, &member.nick, self.focus.joined(&member.who));
        self.tell(&users);
    }

    fn gone(&mut self, who: &str) {
        if !self.focus.there().contains_key(who) {
            self.tell(&format!("<user entity=\"sip:{who}\" state=\"deleted\"/>"));
        }
    }

    pub fn native_comes_or_goes(&mut self) {
        let who = format!("romeo{}@example.net", self.course.below(6));
        match self.focus.natives.remove(&who) {
            Some(_) => self.gone(&who),
            None => {
                let name = who.split('@').next().unwrap_or_default().replace('r', "R");
                self.focus.natives.insert(who.clone(), name.clone());
                self.tell(&entry(&who, &name, None));
            }
        }
    }

    /// A frame comes to the focus.
    pub fn member_says(&mut self, conn: u64, frame: &Frame) {
        let call = self.wires[conn as usize].call;
        let Frame::Request(request) = frame else { return };
        let mut code = 200;
        match (&request.method, &request.body) {
            (Method::Nickname, _) => {
                let asked =
                    request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("use-nickname"));
                let nick = asked.map(|(_, value)| value.trim_matches('"').to_owned()).unwrap_or_default();
                let other = self.focus.calls.iter().enumerate().any(|(other, member)| {
                    other != call
                        && member.up
                        && member.nick == nick
                        && member.who != self.focus.calls[call].who
                });
                if other || self.focus.natives.values().any(|name| *name == nick) {
                    code = 425;
                } else if self.focus.calls[call].nick != nick {
                    self.focus.calls[call].nick = nick;
                    self.tally.renamed += 1;
                    self.changed(call);
                }
            }
            (Method::Send, Some(body)) => {
                let text = String::from_utf8_lossy(body).into_owned();
                let said = text.split("\r\n\r\n").nth(2).unwrap_or_default().to_owned();
                if self.course.chance(6) {
                    code = 403;
                } else {
                    self.focus.calls[call].lines.insert(request.tid.clone(), said.clone());
                    self.tally.said += 1;
                    let (who, nick) =
                        (self.focus.calls[call].who.clone(), self.focus.calls[call].nick.clone());
                    self.hand_on(Some(call), &who, &nick, &said);
                }
            }
            _ => {}
        }
        if let Some(response) = request.response(code) {
            self.frame(conn, Frame::Response(response));
        }
    }

    /// What the clock of the focus says: it is right.
    fn focus_clock(&self) -> Wall {
        Wall(1_795_219_200_000 + self.course.now.0 / 1000)
    }

    /// What somebody says goes to all members but one.
    fn hand_on(&mut self, but: Option<usize>, who: &str, nick: &str, said: &str) {
        let stamp = date::write_rfc3339(self.focus_clock());
        let envelope = format!(
            "From: \"{nick}\" <sip:{who}>\r\nTo: <sip:{ROOM}>\r\nDateTime: {stamp}\r\n\r\nContent-Type: text/plain\r\n\r\n{said}"
        );
        for call in 0..self.focus.calls.len() {
            let member = &self.focus.calls[call];
            if let (true, true, Some(conn)) = (member.up, but != Some(call), member.conn) {
                let (us, count) = (member.us.clone(), self.course.count());
                let text = format!(
                    "MSRP s{count}id SEND\r\nTo-Path: {us}\r\nFrom-Path: msrp://192.0.2.1:{}/f{call}x;tcp\r\nMessage-ID: s{count}m\r\n\
                     Byte-Range: 1-{1}/{1}\r\nContent-Type: message/cpim\r\n\r\n{envelope}\r\n-------s{count}id$\r\n",
                    PORT + call as u16,
                    envelope.len()
                );
                let mut decoder = Decoder::new(1 << 20);
                decoder.push(text.as_bytes());
                let frame = decoder.next_frame().expect("a frame").expect("a good frame");
                self.frame(conn, frame);
            }
        }
    }

    /// Somebody of SIP says something.
    pub fn focus_speaks(&mut self) {
        let natives: Vec<(String, String)> =
            self.focus.natives.iter().map(|(who, name)| (who.clone(), name.clone())).collect();
        if !natives.is_empty() {
            let (who, name) = natives[self.course.below(natives.len() as u64) as usize].clone();
            let said = format!("native line {}", self.course.count());
            self.hand_on(None, &who, &name, &said);
        }
    }

    pub fn focus_expels(&mut self) {
        let up: Vec<usize> = (0..self.focus.calls.len()).filter(|call| self.focus.calls[*call].up).collect();
        if up.is_empty() {
            return;
        }
        let call = up[self.course.below(up.len() as u64) as usize];
        self.tally.expelled += 1;
        self.hangs_up(call);
    }

    fn hangs_up(&mut self, call: usize) {
        let branch = self.course.count();
        let member = &mut self.focus.calls[call];
        member.cseq += 1;
        let text = format!(
            "BYE sip:juliet@gateway.example.org:5060;transport=tcp SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bKb{branch}\r\n\
             Max-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} BYE\r\nReason: SIP;cause=403;text=\"out\"\r\n\
             Content-Length: 0\r\n\r\n",
            member.from, member.to, member.id, member.cseq
        );
        self.sip(text);
        self.member_goes(call);
    }

    /// The focus is started anew, and knows nothing.
    pub fn focus_forgets(&mut self) {
        self.course.note("the focus forgets");
        self.tally.forgotten += 1;
        for call in 0..self.focus.calls.len() {
            self.focus.calls[call].up = false;
            if let Some(conn) = self.focus.calls[call].conn.take() {
                self.dies(conn);
            }
        }
        self.focus.watches.iter_mut().for_each(|watch| watch.over = true);
    }
}
