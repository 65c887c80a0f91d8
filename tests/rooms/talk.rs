//! What is said in calls: lines to all and to one, in one piece or two, names, subjects; and what is heard.

use bytes::Bytes;
use mostar::msrp::frame::decoder::Decoder;
use mostar::msrp::frame::{Flag, Frame, Method};

use super::judge::Line;
use super::muc::NAMES;
use super::phone::Asked;
use super::support::invariants::Invariant::Again;
use super::support::process::Host;
use super::support::written::header_of;
use super::world::World;

impl World {
    fn frame(
        &mut self,
        call: usize,
        method: &str,
        headers: &str,
        body: Option<&[u8]>,
        flag: &str,
        asked: Asked,
    ) {
        let Some(conn) = self.calls[call].conn else { return };
        let tid = format!("t{}id", self.course.count());
        let (us, own) = (self.calls[call].us.clone(), self.own_path(call));
        let mut text =
            format!("MSRP {tid} {method}\r\nTo-Path: {us}\r\nFrom-Path: {own}\r\n{headers}").into_bytes();
        if let Some(body) = body {
            text.extend(b"\r\n");
            text.extend(body);
            text.extend(b"\r\n");
        }
        text.extend(format!("-------{tid}{flag}\r\n").as_bytes());
        let mut decoder = Decoder::new(1 << 20);
        decoder.push(&text);
        let frame = decoder.next_frame().expect("a frame").expect("a good frame");
        self.calls[call].waiting.insert(tid, asked);
        self.frame_out(conn, frame);
    }

    /// The first words over a connection that a phone has opened.
    pub fn hello(&mut self, call: usize) {
        let headers = format!("Message-ID: h{}\r\nByte-Range: 1-0/0\r\n", self.course.count());
        self.frame(call, "SEND", &headers, None, "$", Asked::Hello);
    }

    /// An envelope goes to the gateway, in one piece or two.
    fn send(&mut self, call: usize, envelope: &str, text: String) {
        let id = format!("m{}x", self.course.count());
        let bytes = envelope.as_bytes();
        let cut = if bytes.len() > 60 && self.course.chance(15) {
            1 + self.course.below(bytes.len() as u64 - 2) as usize
        } else {
            0
        };
        let report = if self.course.chance(20) { "Success-Report: yes\r\n" } else { "" };
        let total = bytes.len();
        let head = |from: usize, to: usize| {
            format!(
                "Message-ID: {id}\r\nByte-Range: {}-{to}/{total}\r\n{report}Content-Type: message/cpim\r\n",
                from + 1
            )
        };
        if cut > 0 {
            self.frame(call, "SEND", &head(0, cut), Some(&bytes[..cut]), "+", Asked::Piece);
        }
        self.frame(call, "SEND", &head(cut, total), Some(&bytes[cut..]), "$", Asked::Line(text));
    }

    pub fn somebody_talks(&mut self) {
        for _ in 0..1 + self.course.below(3) {
            let Some(call) = self.some_open() else { return };
            self.talks_in(call);
        }
    }

    fn talks_in(&mut self, call: usize) {
        let (phone, room) = (self.calls[call].phone, self.calls[call].room);
        let address = self.rooms[room].jid.clone();
        let from = format!("From: <sip:p{phone}@example.net>");
        let kind = self.course.below(20);
        if kind == 0 {
            let subject = format!("subject {}", self.course.count());
            let text = format!("Subject: {subject}");
            self.lines.insert(text.clone(), Line::new(call, false));
            let envelope = format!(
                "{from}\r\nTo: <sip:{address}>\r\nSubject: {subject}\r\n\r\nContent-Type: text/plain\r\n\r\n"
            );
            return self.send(call, &envelope, text);
        }
        let nicks: Vec<String> =
            self.rooms[room].occupants.keys().filter(|nick| nick.is_ascii()).cloned().collect();
        let to = match kind {
            1..5 if !nicks.is_empty() => Some(nicks[self.course.below(nicks.len() as u64) as usize].clone()),
            5 => Some("Nobody".to_owned()),
            _ => None,
        };
        let text = self.words();
        self.lines.insert(text.clone(), Line::new(call, to.is_some()));
        let gr = to.map(|nick| format!(";gr={}", nick.replace(' ', "%20"))).unwrap_or_default();
        let envelope =
            format!("{from}\r\nTo: <sip:{address}{gr}>\r\n\r\nContent-Type: text/plain\r\n\r\n{text}");
        self.send(call, &envelope, text);
    }

    pub fn somebody_takes_a_nick(&mut self) {
        let Some(call) = self.some_open() else { return };
        let name = NAMES[self.course.below(NAMES.len() as u64) as usize].to_owned();
        let header = format!("Use-Nickname: \"{name}\"\r\n");
        self.frame(call, "NICKNAME", &header, None, "$", Asked::Nick(name));
    }

    /// A frame has come to a phone.
    pub fn phone_takes(&mut self, conn: u64, frame: &Frame) {
        let call = self.wires[conn as usize].call;
        if self.calls[call].conn != Some(conn) {
            return;
        }
        match frame {
            Frame::Response(response) => match self.calls[call].waiting.remove(&response.tid) {
                Some(Asked::Hello) => self.calls[call].open = response.code == 200,
                Some(Asked::Piece) => {}
                Some(Asked::Line(text)) => self.answered(call, &text, response.code),
                Some(Asked::Nick(nick)) => self.named(call, &nick, response.code),
                None => self.broken(Again, format!("call {call}: {} is answered once more", response.tid)),
            },
            Frame::Request(request) => {
                if request.method == Method::Report {
                    let code = request.status.as_ref().map_or(0, |status| status.code);
                    return self.reported(call, request.message_id.as_deref().unwrap_or_default(), code);
                }
                let mut whole = None;
                if let Some(body) = &request.body {
                    let id = request.message_id.clone().unwrap_or_default();
                    self.calls[call].pieces.entry(id.clone()).or_default().extend(body.iter());
                    if request.flag == Flag::Complete {
                        whole = self.calls[call].pieces.remove(&id);
                    }
                }
                let refuses = whole.as_deref().is_some_and(|bytes| self.hears_it(call, bytes));
                let code = if refuses { 413 } else { 200 };
                if let Some(response) = request.response(code) {
                    self.frame_out(conn, Frame::Response(response));
                }
            }
        }
    }

    /// A phone has heard something. True when it refuses it.
    fn hears_it(&mut self, call: usize, bytes: &[u8]) -> bool {
        let text = String::from_utf8_lossy(&Bytes::copy_from_slice(bytes)).into_owned();
        let mut parts = text.splitn(3, "\r\n\r\n");
        let (head, mime, said) = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        let to = header_of(&format!("x\r\n{head}\r\n\r\n"), "To").unwrap_or_default().to_owned();
        if !mime.contains("text/plain") {
            return false;
        }
        self.hears_line(call, said, to.contains(";gr="));
        to.contains(";gr=") && self.course.chance(8)
    }
}
