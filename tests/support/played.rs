//! An XMPP server that a test plays: its component port, and the streams on it.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::running::PATIENCE;

/// The component port of an XMPP server.
pub struct Server(TcpListener);

impl Server {
    pub fn new() -> Server {
        Server(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    pub fn address(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }

    /// Takes a stream, up to its handshake.
    pub fn accept(&self) -> Stream {
        let (socket, _) = self.0.accept().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut stream = Stream { socket, seen: String::new(), proof: String::new() };
        stream.until("sip.example.org");
        stream.until(">");
        stream.say(
            "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' \
             xmlns:stream='http://etherx.jabber.org/streams' id='played' from='sip.example.org'>",
        );
        stream.proof = stream.until("</handshake>");
        stream
    }

    /// Takes a stream whose handshake is right.
    pub fn welcome(&self) -> Stream {
        let mut stream = self.accept();
        stream.say("<handshake/>");
        stream
    }
}

/// A component's stream, from the server's end.
pub struct Stream {
    socket: TcpStream,
    seen: String,
    /// What the gateway proves its secret with.
    pub proof: String,
}

impl Stream {
    /// Another handle, to write with while this one reads.
    pub fn writer(&self) -> TcpStream {
        self.socket.try_clone().unwrap()
    }

    /// The next stanza, as [`Stream::stanza`]; nothing once the gateway is gone.
    pub fn try_stanza(&mut self) -> Option<String> {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.stanza())).ok()
    }

    pub fn say(&mut self, text: &str) {
        self.socket.write_all(text.as_bytes()).unwrap();
    }

    /// Reads until `end`; gives what was before it and `end` itself.
    pub fn until(&mut self, end: &str) -> String {
        let mut piece = [0; 4096];
        loop {
            if let Some(at) = self.seen.find(end) {
                return self.seen.drain(..at + end.len()).collect();
            }
            let length = self.socket.read(&mut piece).unwrap();
            assert_ne!(length, 0, "the gateway closed the stream before {end}");
            self.seen.push_str(&String::from_utf8_lossy(&piece[..length]));
        }
    }

    /// The next stanza that is no ping; pings are answered.
    pub fn stanza(&mut self) -> String {
        loop {
            if let Some(stanza) = self.next() {
                return stanza;
            }
        }
    }

    /// Answers the ping that is the next stanza.
    pub fn pong(&mut self) {
        assert_eq!(self.next(), None, "this is no ping");
    }

    /// The next stanza, unless it is a ping, which is answered.
    fn next(&mut self) -> Option<String> {
        let tag = self.until(">");
        let name = tag.trim_start().trim_start_matches('<').split([' ', '>', '/']).next().unwrap().to_owned();
        let rest = if tag.ends_with("/>") { String::new() } else { self.until(&format!("</{name}>")) };
        if !rest.contains("urn:xmpp:ping") {
            return Some(tag + &rest);
        }
        let attr = |wanted: &str| {
            let (_, value) = tag.split_once(&format!(" {wanted}="))?;
            value[1..].split(['\'', '"']).next()
        };
        let (from, to, id) = (attr("from").unwrap(), attr("to").unwrap(), attr("id").unwrap());
        self.say(&format!("<iq type='result' from='{to}' to='{from}' id='{id}'/>"));
        None
    }
}
