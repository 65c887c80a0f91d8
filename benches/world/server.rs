//! The XMPP server that is played: one stream of the component.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::SIP_DOMAIN;

/// How its stream begins.
pub const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' \
                          xmlns:stream='http://etherx.jabber.org/streams' id='bench' from='sip.bench'>";

/// The server's end of the stream.
#[derive(Clone)]
pub struct Stream(Arc<Mutex<TcpStream>>);

impl Stream {
    /// Takes the component's stream, answers its IQs and shows every `<message/>` and `<presence/>`, whole, to `seen`; what
    /// that gives is sent.
    pub fn accept(server: &TcpListener, seen: impl FnMut(&str) -> Option<String> + Send + 'static) -> Stream {
        Stream::accept_and_tell(server, seen).0
    }

    /// The same, and how the component opened its stream.
    pub fn accept_and_tell(
        server: &TcpListener,
        seen: impl FnMut(&str) -> Option<String> + Send + 'static,
    ) -> (Stream, String) {
        let (mut socket, _) = server.accept().unwrap();
        let opening = handshake(&mut socket);
        socket.set_nodelay(true).unwrap();
        let stream = Stream(Arc::new(Mutex::new(socket.try_clone().unwrap())));
        let answers = stream.clone();
        thread::spawn(move || read(socket, &answers, seen));
        (stream, opening)
    }

    /// Sends text.
    pub fn say(&self, text: &str) {
        self.0.lock().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// The same where the stream may be gone.
    pub fn try_to_say(&self, text: &str) -> bool {
        self.0.lock().unwrap().write_all(text.as_bytes()).is_ok()
    }

    /// Ends the connection without a word.
    pub fn cut(&self) {
        let _ = self.0.lock().unwrap().shutdown(std::net::Shutdown::Both);
    }
}

fn handshake(stream: &mut TcpStream) -> String {
    let mut seen = String::new();
    let mut piece = [0; 4096];
    let mut opened = false;
    loop {
        let length = stream.read(&mut piece).unwrap();
        assert!(length > 0, "the gateway closed the stream");
        seen.push_str(&String::from_utf8_lossy(&piece[..length]));
        if !opened && seen.contains(SIP_DOMAIN) && seen.contains('>') {
            stream.write_all(HEADER.as_bytes()).unwrap();
            opened = true;
        }
        if seen.contains("</handshake>") {
            stream.write_all(b"<handshake/>").unwrap();
            return seen;
        }
    }
}

fn read(socket: TcpStream, answers: &Stream, mut seen: impl FnMut(&str) -> Option<String>) {
    let mut reader = BufReader::with_capacity(1 << 16, socket);
    let mut pending = Vec::new();
    while reader.read_until(b'>', &mut pending).is_ok_and(|length| length > 0) {
        let is_empty = pending.ends_with(b"/>") && pending.iter().filter(|byte| **byte == b'<').count() == 1;
        let is_presence =
            pending.starts_with(b"<presence") && (pending.ends_with(b"</presence>") || is_empty);
        if pending.ends_with(b"</message>") || is_presence {
            if let Some(answer) = seen(&String::from_utf8_lossy(&pending))
                && !answers.try_to_say(&answer)
            {
                return;
            }
            pending.clear();
        } else if pending.ends_with(b"</iq>") {
            let text = String::from_utf8_lossy(&pending).into_owned();
            let value = |name| attribute(&text, name).unwrap_or_default();
            let (id, from, to) = (value("id"), value("from"), value("to"));
            if !answers.try_to_say(&format!("<iq type='result' id='{id}' from='{to}' to='{from}'/>")) {
                return;
            }
            pending.clear();
        }
    }
}

/// The first attribute of this name.
pub fn attribute<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!(" {name}='"))?;
    rest.split('\'').next()
}

/// The body of a message.
pub fn body(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("<body>")?;
    rest.split('<').next()
}
