//! The SIP phone that is played: what it says over SIP, and its MSRP connections.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::Sender;
use std::thread;

use bytes::BytesMut;
use mostar::msrp::frame::decoder::Decoder;
use mostar::msrp::frame::{Flag, Frame, Method, Request};

use super::Event;
use super::world::proxy::Message;
use super::world::{SIP_DOMAIN, XMPP_DOMAIN};

/// More than any body.
const BODY: usize = 2 * 1024 * 1024;

/// One end of an open session.
pub struct Session {
    /// Its BYE, as we say it, by the number of the user.
    pub bye: (usize, String),
    /// Our path.
    ours: String,
    /// The gateway's path.
    theirs: String,
}

impl Session {
    /// What was agreed on by the 200 to an INVITE of ours.
    pub fn of(number: usize, accepted: &Message) -> Session {
        let text = String::from_utf8_lossy(&accepted.body);
        let theirs = text.split("a=path:").nth(1).and_then(|rest| rest.lines().next());
        Session {
            bye: (number, inside("BYE", number, accepted)),
            ours: path(9, number),
            theirs: theirs.expect("a path").to_owned(),
        }
    }

    /// The SEND that binds a connection to it.
    pub fn bind(&self, number: usize) -> String {
        let Session { ours, theirs, .. } = self;
        format!(
            "MSRP bind{number} SEND\r\nTo-Path: {theirs}\r\nFrom-Path: {ours}\r\nMessage-ID: bind{number}\r\n\
             Byte-Range: 1-0/0\r\n-------bind{number}$\r\n"
        )
    }

    /// A SEND with a text.
    pub fn send(&self, serial: usize, body: &str, receipt: bool) -> String {
        let (Session { ours, theirs, .. }, length) = (self, body.len());
        let report = if receipt { "Success-Report: yes\r\n" } else { "" };
        format!(
            "MSRP line{serial} SEND\r\nTo-Path: {theirs}\r\nFrom-Path: {ours}\r\nMessage-ID: {serial:08}\r\n\
             Byte-Range: 1-{length}/{length}\r\n{report}Content-Type: text/plain\r\n\r\n{body}\r\n-------line{serial}$\r\n"
        )
    }

    /// What answers a SEND of the gateway's, for the share of parsing.
    pub fn answer(&self, serial: usize) -> String {
        let Session { ours, theirs, .. } = self;
        let tid = format!("00aaaaaaaaaaaa{serial:06}");
        format!("MSRP {tid} 200 OK\r\nTo-Path: {theirs}\r\nFrom-Path: {ours}\r\n-------{tid}$\r\n")
    }
}

fn path(port: u16, number: usize) -> String {
    format!("msrp://127.0.0.1:{port}/phone{number:08};tcp")
}

fn description(path: &str, port: u16, setup: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=message {port} TCP/MSRP *\r\n\
         a=path:{path}\r\na=accept-types:text/plain\r\na=setup:{setup}\r\n"
    )
}

fn request(method: &str, number: usize, uri: &str, dialog: &str, more: &str, body: &str) -> String {
    let cseq = if method == "BYE" { 2 } else { 1 };
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK{method}{number}\r\nMax-Forwards: 69\r\n{dialog}\
         CSeq: {cseq} {method}\r\n{more}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// An INVITE with this number, for a session of these two that we bind.
pub fn invite(number: usize, who: usize) -> String {
    let dialog = format!(
        "From: <sip:romeo{who}@{SIP_DOMAIN}>;tag=t{number}\r\nTo: <sip:juliet{who}@{XMPP_DOMAIN}>\r\nCall-ID: \
         open-{number}\r\n"
    );
    let more = format!("Contact: <sip:romeo{who}@127.0.0.1>\r\nContent-Type: application/sdp\r\n");
    let body = description(&path(9, number), 9, "active");
    request("INVITE", number, &format!("sip:juliet{who}@{XMPP_DOMAIN}"), &dialog, &more, &body)
}

/// A request in the dialog that the answer to an INVITE of ours has made.
pub fn inside(method: &str, number: usize, accepted: &Message) -> String {
    let (from, to, call) = (accepted.value("From"), accepted.value("To"), accepted.value("Call-ID"));
    let dialog = format!("From: {from}\r\nTo: {to}\r\nCall-ID: {call}\r\n");
    request(method, number, contact(accepted), &dialog, "", "")
}

/// A BYE in the dialog of an INVITE of the gateway's.
pub fn bye(number: usize, invite: &Message) -> String {
    let (from, to, call) = (invite.value("From"), invite.value("To"), invite.value("Call-ID"));
    let dialog = format!("From: {to};tag=bench\r\nTo: {from}\r\nCall-ID: {call}\r\n");
    request("BYE", number, contact(invite), &dialog, "", "")
}

fn contact(message: &Message) -> &str {
    let contact = message.value("Contact");
    contact.split(['<', '>']).nth(1).unwrap_or(contact)
}

/// A 200 to an INVITE of the gateway's, with a path to this port.
pub fn accept(invite: &Message, port: u16) -> String {
    let path = path(port, number_of(invite));
    let more = "Contact: <sip:romeo@127.0.0.1>\r\nContent-Type: application/sdp\r\n";
    invite.ok(more, &description(&path, port, "passive"))
}

/// The number of the user whom a request is for, or from: the first number behind a name of ours.
pub fn number_of(message: &Message) -> usize {
    let to = message.value("To");
    let digits: String =
        to.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a user with a number")
}

/// An MSRP connection of ours.
pub struct Phone(pub TcpStream);

impl Phone {
    /// One whose frames are answered, and told.
    pub fn connect(gateway: SocketAddr, events: &Sender<Event>) -> Phone {
        let phone = Phone::bare(gateway);
        read(phone.0.try_clone().unwrap(), events.clone());
        phone
    }

    /// One that nobody reads.
    pub fn bare(gateway: SocketAddr) -> Phone {
        let socket = TcpStream::connect(gateway).unwrap();
        socket.set_nodelay(true).unwrap();
        Phone(socket)
    }

    /// Sends frames.
    pub fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }

    /// Sends a frame over a connection that nobody reads, and waits until something answers it with 200.
    pub fn ask(&mut self, text: &str) {
        self.say(text);
        let mut seen = Vec::new();
        while !seen.ends_with(b"$\r\n") {
            let mut piece = [0; 1024];
            let length = self.0.read(&mut piece).unwrap();
            assert!(length > 0, "the gateway closed the connection");
            seen.extend_from_slice(&piece[..length]);
        }
        assert!(String::from_utf8_lossy(&seen).contains(" 200 "));
    }
}

/// Takes the connections that the gateway opens.
pub fn listen(listener: TcpListener, events: Sender<Event>) {
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            connection.set_nodelay(true).unwrap();
            read(connection, events.clone());
        }
    });
}

/// Answers and reports what comes, and tells it.
fn read(mut socket: TcpStream, events: Sender<Event>) {
    thread::spawn(move || {
        let (mut decoder, mut piece) = (Decoder::new(BODY), vec![0; 1 << 16]);
        while let Ok(length @ 1..) = socket.read(&mut piece) {
            decoder.push(&piece[..length]);
            let mut answers = BytesMut::new();
            while let Some(frame) = decoder.next_frame() {
                match frame.expect("a frame") {
                    Frame::Response(response) => {
                        let _ = events.send(Event::Answered(response.tid, response.code));
                    }
                    Frame::Request(request) => take(&request, &mut answers, &events),
                }
            }
            if !answers.is_empty() && socket.write_all(&answers).is_err() {
                return;
            }
        }
    });
}

fn take(request: &Request, answers: &mut BytesMut, events: &Sender<Event>) {
    if let Some(response) = request.response(200) {
        response.write(answers);
    }
    let id = request.message_id.as_deref().unwrap_or_default();
    match (&request.method, &request.body) {
        (Method::Report, _) => {
            let _ = events.send(Event::Reported(id.parse().unwrap_or(0)));
        }
        (Method::Send, Some(body)) if request.flag == Flag::Complete => {
            if request.success_report {
                let total = request.range.and_then(|range| range.total).unwrap_or(0);
                let (to, from, tid) = (request.from.first(), request.to.last(), &request.tid);
                let mut report = String::new();
                let _ = write!(
                    report,
                    "MSRP {tid} REPORT\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\nMessage-ID: {id}\r\nByte-Range: \
                     1-{total}/{total}\r\nStatus: 000 200 OK\r\n-------{tid}$\r\n"
                );
                answers.extend_from_slice(report.as_bytes());
            }
            let tail = String::from_utf8_lossy(&body[body.len().saturating_sub(20)..]).into_owned();
            let _ = events.send(Event::Line(super::serial_in(&tail)));
        }
        _ => {}
    }
}
