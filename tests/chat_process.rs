//! Chat sessions through the running process: real sockets for XMPP, SIP and MSRP.

#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

#[path = "support/played.rs"]
mod played;
#[path = "support/running.rs"]
mod running;

use played::Server;
use running::{PATIENCE, Running, both, configuration, folder, header, port};

/// A SIP or MSRP connection, from the other side's end.
struct Wire {
    socket: TcpStream,
    seen: Vec<u8>,
}

impl Wire {
    fn of(socket: TcpStream) -> Wire {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Wire { socket, seen: Vec::new() }
    }

    fn say(&mut self, text: &str) {
        self.socket.write_all(text.as_bytes()).unwrap();
    }

    fn more(&mut self) {
        let mut piece = [0; 4096];
        let length = self.socket.read(&mut piece).unwrap();
        assert_ne!(length, 0, "closed");
        self.seen.extend_from_slice(&piece[..length]);
    }

    /// The next SIP message with its body.
    fn sip(&mut self) -> String {
        loop {
            let text = String::from_utf8_lossy(&self.seen).into_owned();
            if let Some(end) = text.find("\r\n\r\n") {
                let head = &text[..end + 4];
                let length: usize = header(head, "Content-Length").unwrap_or("0").parse().unwrap();
                if self.seen.len() >= end + 4 + length {
                    let message: Vec<u8> = self.seen.drain(..end + 4 + length).collect();
                    return String::from_utf8(message).unwrap();
                }
            }
            self.more();
        }
    }

    /// The next SIP message that begins so; OPTIONS on the way are answered.
    fn sip_until(&mut self, first: &str) -> String {
        loop {
            let message = self.sip();
            if message.starts_with(first) {
                return message;
            }
            assert!(message.starts_with("OPTIONS "), "{message}");
            let reply = reply(&message, "200 OK", "");
            self.say(&reply);
        }
    }

    /// The next MSRP frame.
    fn msrp(&mut self) -> String {
        loop {
            let text = String::from_utf8_lossy(&self.seen).into_owned();
            if let Some(tid) = text.split(' ').nth(1)
                && let Some(at) = text.find(&format!("\r\n-------{tid}$\r\n"))
            {
                let frame: Vec<u8> = self.seen.drain(..at + tid.len() + 12).collect();
                return String::from_utf8(frame).unwrap();
            }
            self.more();
        }
    }

    /// Answers an MSRP request.
    fn ok(&mut self, request: &str) {
        let tid = request.split(' ').nth(1).unwrap();
        let (to, from) = (header(request, "From-Path").unwrap(), header(request, "To-Path").unwrap());
        self.say(&format!("MSRP {tid} 200 OK\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\n-------{tid}$\r\n"));
    }
}

fn reply(request: &str, status: &str, body: &str) -> String {
    let value = |name: &str| header(request, name).unwrap_or_default();
    let to = value("To");
    let tag = if to.contains(";tag=") { "" } else { ";tag=p" };
    let more = if body.is_empty() {
        ""
    } else {
        "Contact: <sip:romeo@127.0.0.1>\r\nRecord-Route: <sip:PROXY;transport=tcp;lr>\r\nContent-Type: application/sdp\r\n"
    };
    format!(
        "SIP/2.0 {status}\r\nVia: {}\r\nFrom: {}\r\nTo: {to}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\n{more}Content-Length: {}\r\n\r\n{body}",
        value("Via"),
        value("From"),
        value("Call-ID"),
        value("CSeq"),
        body.len()
    )
}

fn sdp(port: u16, setup: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=message {port} TCP/MSRP *\r\n\
         a=path:msrp://127.0.0.1:{port}/kjhd37s2s20w2a;tcp\r\na=accept-types:text/plain\r\na=setup:{setup}\r\n"
    )
}

#[test]
fn sessions_open_from_both_sides_over_real_sockets() {
    let folder = folder();
    let (server, proxy) = (Server::new(), TcpListener::bind("127.0.0.1:0").unwrap());
    let phone = TcpListener::bind("127.0.0.1:0").unwrap();
    let phone_port = phone.local_addr().unwrap().port();
    let ours = port(3);
    let peer = format!("sip:{};transport=tcp", proxy.local_addr().unwrap());
    let configuration = configuration(folder.path(), &both(), &server.address(), &peer, "none")
        .replace("msrp: { listen: [] }", &format!("msrp: {{ listen: [ \"tcp://127.0.0.1:{ours}\" ] }}"))
        .replace("may_send_from:", "msrp: yes\n      may_send_from:");
    let running = Running::of(folder.path(), &configuration);
    let mut xmpp = server.welcome();
    let mut sip = Wire::of(proxy.accept().unwrap().0);

    // From XMPP.
    xmpp.say("<message from='juliet@example.org/b' to='romeo@sip.example.org' id='m1' type='chat'><body>Ay me!</body></message>");
    let invite = sip.sip_until("INVITE ");
    assert!(invite.contains(&format!("a=path:msrp://127.0.0.1:{ours}/")), "{invite}");
    let accepts = reply(&invite, "200 OK", &sdp(phone_port, "passive"));
    sip.say(&accepts.replace("PROXY", &proxy.local_addr().unwrap().to_string()));
    sip.sip_until("ACK ");
    let mut msrp = Wire::of(phone.accept().unwrap().0);
    let hello = msrp.msrp();
    msrp.ok(&hello);
    let line = msrp.msrp();
    assert!(line.contains("\r\n\r\nAy me!\r\n"), "{line}");
    msrp.ok(&line);
    let (us, them) = (header(&line, "From-Path").unwrap(), header(&line, "To-Path").unwrap());
    let long = "0123456789".repeat(3000);
    msrp.say(&format!(
        "MSRP abcd1234 SEND\r\nTo-Path: {us}\r\nFrom-Path: {them}\r\nMessage-ID: 12345678\r\nByte-Range: 1-30000/30000\r\n\
         Content-Type: text/plain\r\n\r\n{long}\r\n-------abcd1234$\r\n"
    ));
    assert!(xmpp.stanza().contains(&long));
    assert!(msrp.msrp().starts_with("MSRP abcd1234 200"));
    let to = header(&invite, "From").unwrap();
    sip.say(&format!(
        "BYE sip:juliet@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:1;branch=z9hG4bKbye\r\nMax-Forwards: 70\r\n\
         From: <sip:romeo@example.org>;tag=p\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n",
        header(&invite, "Call-ID").unwrap()
    ));
    assert!(sip.sip_until("SIP/2.0 200").contains("2 BYE"));
    assert!(xmpp.until("</message>").contains("<gone "));

    // From SIP.
    let body = sdp(9, "active");
    sip.say(&format!(
        "INVITE sip:juliet@xmpp.example.org SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:1;branch=z9hG4bKinv\r\nMax-Forwards: 70\r\n\
         From: <sip:romeo@example.org>;tag=q\r\nTo: <sip:juliet@xmpp.example.org>\r\nCall-ID: two\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:romeo@127.0.0.1>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    let ping = xmpp.until("</iq>");
    let ping = ping.split("<iq ").nth(1).unwrap();
    let id = ping.split("id='").nth(1).or(ping.split("id=\"").nth(1)).unwrap();
    let id = id.split(['\'', '"']).next().unwrap();
    xmpp.say(&format!("<iq from='example.org' to='sip.example.org' type='result' id='{id}'/>"));
    let accepted = sip.sip_until("SIP/2.0 200");
    let path = accepted.split("a=path:").nth(1).unwrap().lines().next().unwrap();
    let mut own = Wire::of(TcpStream::connect(("127.0.0.1", ours)).unwrap());
    own.say(&format!(
        "MSRP hello123 SEND\r\nTo-Path: {path}\r\nFrom-Path: msrp://127.0.0.1:9/kjhd37s2s20w2a;tcp\r\nMessage-ID: 1234\r\n\
         Byte-Range: 1-0/0\r\n-------hello123$\r\n"
    ));
    assert!(own.msrp().starts_with("MSRP hello123 200"));
    xmpp.say("<message from='juliet@example.org/b' to='romeo@sip.example.org' id='m2' type='chat'><body>Who is there?</body></message>");
    assert!(own.msrp().contains("\r\n\r\nWho is there?\r\n"));
    drop(running);
}
