//! SIP users and their MESSAGEs, watching and being watched.

use std::time::Duration;

use bytes::Bytes;
use mostar::sip::flow::{SipOut, Transport};
use mostar::sip::framing;
use mostar::sip::message::{HeaderName, Message, Request, text};

use super::ledger::key_of;
use super::phone::digits;
use super::support::invariants::Invariant::Quiet;
use super::world::{Event, Temper, World};

/// An answer to a request of the gateway's.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// The tag of To, where the request has none.
    pub tag: String,
    pub sdp: String,
}

impl Answer {
    pub fn new(status: u16) -> Answer {
        Answer { status, tag: "sim".into(), sdp: String::new() }
    }
}

/// The value of a header, as the gateway writes it.
pub fn header(text: &str, name: &str) -> String {
    let head = text.lines().take_while(|line| !line.is_empty());
    let mut values = head.filter_map(|line| line.split_once(": ").filter(|(known, _)| *known == name));
    values.next().map_or(String::new(), |(_, value)| value.to_owned())
}

/// The bytes of an answer.
pub fn answer(request: &str, said: &Answer) -> Bytes {
    let Answer { status, tag, sdp } = said;
    let mut lines = vec![format!("SIP/2.0 {status} Simulated")];
    for line in request.lines().take_while(|line| !line.is_empty()) {
        let name = line.split(':').next().unwrap_or_default();
        if ["Via", "From", "Call-ID", "CSeq", "Record-Route", "Expires", "Session-Expires"].contains(&name) {
            lines.push(line.to_owned());
        } else if name == "To" {
            let tag = if line.contains(";tag=") { String::new() } else { format!(";tag={tag}") };
            lines.push(format!("{line}{tag}"));
        }
    }
    let who = digits(&header(request, "To"), "romeo");
    let param = if lines[1].contains("UDP") { "" } else { ";transport=tcp" };
    lines.push(format!("Contact: <sip:romeo{who}@192.0.2.1:5060{param}>"));
    if !sdp.is_empty() {
        lines.push("Content-Type: application/sdp".into());
    }
    lines.push(format!("Content-Length: {}", sdp.len()));
    Bytes::from(format!("{}\r\n\r\n{sdp}", lines.join("\r\n")))
}

impl World {
    /// A SIP user writes: in a session, if there is one, or in one that her phone opens.
    pub fn romeo_speaks(&mut self, romeo: u8, juliet: u8) {
        let call = self.call_with(romeo, juliet);
        if romeo == 0 || call.is_none() && self.course.chance(40) {
            return self.romeo_writes(romeo, juliet);
        }
        let call = call.unwrap_or_else(|| self.calls_juliet(romeo, juliet));
        self.phone_writes(call);
    }

    fn romeo_writes(&mut self, romeo: u8, juliet: u8) {
        let number = self.course.count();
        let body = format!("from-sip-{number}");
        let pair = (format!("romeo{romeo}"), format!("juliet{juliet}"));
        self.ledger.written(true, &body, pair, number);
        let transport = if self.udp { "UDP" } else { "TCP" };
        let message = format!(
            "MESSAGE sip:juliet{juliet}@example.com SIP/2.0\r\nVia: SIP/2.0/{transport} 192.0.2.1:5060;branch=z9hG4bKsim{number}\r\n\
             Max-Forwards: 69\r\nFrom: <sip:romeo{romeo}@example.net>;tag=sim{number}\r\nTo: <sip:juliet{juliet}@example.com>\r\n\
             Call-ID: sim-{number}\r\nCSeq: 1 MESSAGE\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let bytes = Bytes::from(message);
        self.pending.insert(format!("sim-{number}"), (bytes.clone(), body));
        self.send(bytes);
        let first = Duration::from_millis(500);
        self.course.after(500, Event::RomeoRepeats(format!("sim-{number}"), first));
    }

    /// Timer E over UDP; over TCP the client gives up after Timer F and sends the same request anew.
    pub fn romeo_repeats(&mut self, call: &str, wait: Duration) {
        let Some((bytes, body)) = self.pending.get(call).cloned() else { return };
        if self.udp && wait < Duration::from_secs(33) {
            self.send(bytes);
            let next = (wait * 2).min(Duration::from_secs(4)) + Duration::from_millis(1);
            let total = wait + next;
            self.course.after(next.as_millis() as u64, Event::RomeoRepeats(call.to_owned(), total));
        } else if !self.udp && wait < Duration::from_secs(60) {
            let again = String::from_utf8_lossy(&bytes).replacen(
                "z9hG4bK",
                &format!("z9hG4bK{}", wait.as_millis()),
                1,
            );
            if wait > Duration::from_secs(1) {
                self.send(Bytes::from(again));
            }
            self.course.after(32_000, Event::RomeoRepeats(call.to_owned(), wait + Duration::from_secs(32)));
        } else {
            self.pending.remove(call);
            if let Some(fate) = self.ledger.from_sip.get_mut(&body) {
                fate.doubt = true;
            }
        }
    }

    pub fn romeo_watches(&mut self, romeo: u8, juliet: u8) {
        let number = self.course.count();
        let transport = if self.udp { "UDP" } else { "TCP" };
        let subscribe = format!(
            "SUBSCRIBE sip:juliet{juliet}@example.com SIP/2.0\r\nVia: SIP/2.0/{transport} 192.0.2.1:5060;branch=z9hG4bKsim{number}\r\n\
             Max-Forwards: 69\r\nFrom: <sip:romeo{romeo}@example.net>;tag=watch{number}\r\nTo: <sip:juliet{juliet}@example.com>\r\n\
             Call-ID: watch-{number}\r\nCSeq: 1 SUBSCRIBE\r\nContact: <sip:romeo{romeo}@192.0.2.1:5060>\r\nEvent: presence\r\n\
             Expires: 600\r\nContent-Length: 0\r\n\r\n"
        );
        self.watches.insert((format!("juliet{juliet}"), format!("romeo{romeo}")));
        self.send(Bytes::from(subscribe));
    }

    pub fn romeo_gets(&mut self, out: &SipOut) {
        let tcp = out.target.transport == Transport::Tcp;
        if tcp && out.target.conn.is_some_and(|conn| conn.0 != self.connection) && self.course.chance(50) {
            // A response on a connection that is gone goes nowhere; a request is reported.
            if let Some(id) = out.id {
                let connection = self.connection - 1;
                self.course.after(1, Event::SendFailed(connection, id));
                return;
            }
        }
        let Ok(message) = framing::datagram(out.bytes.clone()) else { return };
        match message {
            Message::Response(response) => {
                let status = response.status.code();
                if self.phone_hears(status, &String::from_utf8_lossy(&out.bytes)) {
                    return;
                }
                let call = text(&response.headers, &HeaderName::CallId).unwrap_or_default();
                if status >= 200
                    && let Some((_, body)) = self.pending.get(&call).cloned()
                    && let Some(fate) = self.ledger.from_sip.get_mut(&body)
                {
                    fate.answers.push(status);
                    self.pending.remove(&call);
                }
            }
            Message::Request(request) => self.romeo_is_asked(&request, out),
        }
    }

    fn romeo_is_asked(&mut self, request: &Request, out: &SipOut) {
        let name = |header: &HeaderName| text(&request.headers, header).unwrap_or_default();
        let identity = (name(&HeaderName::CallId), name(&HeaderName::From), name(&HeaderName::CSeq));
        let user = String::from_utf8_lossy(request.uri.user().unwrap_or_default()).into_owned();
        let who = digits(&user, "romeo");
        let temper = self.tempers[who as usize];
        let method = request.method.to_string();
        if matches!(method.as_str(), "INVITE" | "ACK" | "BYE" | "CANCEL" | "UPDATE") {
            return self.phone_gets(who, &method, &String::from_utf8_lossy(&out.bytes));
        }
        // What he has he has, by whatever way it comes; what he did not take he looks at again when it is tried again.
        let attempt =
            (identity.0.clone(), header(&String::from_utf8_lossy(&out.bytes), "Via"), identity.2.clone());
        if let Some(status) = self.accepted.get(&identity).or_else(|| self.accepted.get(&attempt)).copied() {
            return self.answer(&out.bytes, &Answer::new(status), temper);
        }
        if method == "MESSAGE" {
            self.hear_of_failure(request, &identity.1);
        }
        let status = match (method.as_str(), temper) {
            ("OPTIONS" | "NOTIFY", _) => 200,
            (_, Temper::Answers | Temper::Slow) => 200,
            (_, Temper::Silent) => return,
            (_, Temper::Status(status)) => status,
        };
        if method == "MESSAGE" {
            self.romeo_reads(request, &identity.1, status);
        }
        if method == "NOTIFY" {
            self.ledger.totals.presence += 1;
        }
        self.accepted.insert(if status < 300 { identity } else { attempt }, status);
        let mut said = Answer::new(status);
        if method == "OPTIONS" && who > 0 && self.shows {
            said.sdp = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nm=message 9 TCP/MSRP *\r\n".into();
        }
        self.answer(&out.bytes, &said, temper);
        if method == "SUBSCRIBE" && status == 200 {
            self.notify(&out.bytes, name(&HeaderName::Expires) == "0");
        }
    }

    fn romeo_reads(&mut self, request: &Request, from: &str, status: u16) {
        let body = String::from_utf8_lossy(request.body()).into_owned();
        let Some(key) = key_of(&body).map(str::to_owned) else { return };
        let tag = from.split_once(";tag=").map_or("", |(_, tag)| tag);
        let is_slow = self.tempers.contains(&Temper::Slow);
        let Some(fate) = self.ledger.from_xmpp.get_mut(&key) else { return };
        // An answer that comes after Timer F leaves the sender in doubt.
        fate.doubt |= is_slow;
        if status < 300 {
            self.displays(&key, tag, None);
        } else {
            fate.refused_there = true;
            fate.refused_for_good |= matches!(status, 404 | 603);
        }
    }

    /// What is not a Juliet's line, nor says that she takes one back, is the gateway telling of a late failure. It counts as told when it reaches Romeo,
    /// though he may be silent.
    fn hear_of_failure(&mut self, request: &Request, from: &str) {
        let body = String::from_utf8_lossy(request.body()).into_owned();
        let type_ = text(&request.headers, &HeaderName::ContentType).unwrap_or_default();
        let is_juliets =
            key_of(&body).is_some_and(|key| key.starts_with("from-xmpp")) || body.contains("take back");
        let is_own = key_of(&body).is_some_and(|key| key.starts_with("from-sip"));
        self.ledger.checks.hold(Quiet, !is_own, || format!("his own words come back to a Romeo: {body}"));
        if is_juliets || !type_.starts_with("text/plain") {
            return;
        }
        for fate in self.ledger.from_sip.values_mut() {
            if from.contains(&fate.pair.1) && request.uri.to_string().contains(&fate.pair.0) {
                fate.late = true;
            }
        }
    }

    fn answer(&mut self, request: &[u8], said: &Answer, temper: Temper) {
        let bytes = answer(&String::from_utf8_lossy(request), said);
        if temper == Temper::Slow {
            let wait = self.course.below(40_000);
            let connection = if self.udp { 0 } else { self.connection };
            self.course.after(wait, Event::Arrives(connection, bytes));
        } else {
            self.send(bytes);
        }
    }

    /// The state of the phone that was subscribed to: open, or the end of the dialog.
    fn notify(&mut self, subscribe: &[u8], last: bool) {
        let text = String::from_utf8_lossy(subscribe).into_owned();
        let header = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(&format!("{name}: ")))
                .unwrap_or_default()
                .to_owned()
        };
        let number = self.course.count();
        let contact = header("Contact");
        let uri = contact.split(['<', '>']).nth(1).unwrap_or("sip:nobody@invalid").to_owned();
        let to = header("To");
        let from = if to.contains(";tag=") { to } else { format!("{to};tag=sim") };
        let entity = from.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
        let state =
            if last { "terminated;reason=timeout".to_owned() } else { "active;expires=600".to_owned() };
        let body = format!(
            "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='{entity}'><tuple id='t{number}'><status>\
             <basic>open</basic></status></tuple></presence>"
        );
        let transport = if self.udp { "UDP" } else { "TCP" };
        let notify = format!(
            "NOTIFY {uri} SIP/2.0\r\nVia: SIP/2.0/{transport} 192.0.2.1:5060;branch=z9hG4bKsim{number}\r\nMax-Forwards: 69\r\n\
             From: {from}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {number} NOTIFY\r\nContact: <sip:romeo@192.0.2.1:5060>\r\n\
             Event: presence\r\nSubscription-State: {state}\r\nContent-Type: application/pidf+xml\r\nContent-Length: {}\r\n\r\n{body}",
            header("From"),
            header("Call-ID"),
            body.len()
        );
        self.send(Bytes::from(notify));
    }
}
