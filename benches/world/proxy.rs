//! The SIP peer that is played, over TCP: whole messages, and answers to them.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// A message.
pub struct Message {
    /// The first line and the headers.
    pub head: Vec<String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Message {
    /// The value of a header; nothing is an empty one.
    pub fn value(&self, name: &str) -> &str {
        let of = |line: &'_ String| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(':'));
        self.head.iter().find(|line| of(line)).map_or("", |line| line[name.len() + 1..].trim())
    }

    /// The status of an answer.
    pub fn status(&self) -> Option<u16> {
        let rest = self.head[0].strip_prefix("SIP/2.0 ")?;
        Some(rest.split(' ').next().and_then(|code| code.parse().ok()).unwrap_or(0))
    }

    /// The method of a request.
    pub fn method(&self) -> &str {
        self.head[0].split(' ').next().unwrap_or_default()
    }

    /// A 200 to this request. `more` is what stands before Content-Length.
    pub fn ok(&self, more: &str, body: &str) -> String {
        let mut answer = String::from("SIP/2.0 200 OK\r\n");
        for line in &self.head {
            match line.split(':').next().unwrap_or_default() {
                "Via" | "From" | "Call-ID" | "CSeq" | "Record-Route" => {
                    answer.push_str(&format!("{line}\r\n"));
                }
                "To" if line.contains(";tag=") => answer.push_str(&format!("{line}\r\n")),
                "To" => answer.push_str(&format!("{line};tag=bench\r\n")),
                _ => {}
            }
        }
        answer + &format!("{more}Content-Length: {}\r\n\r\n{body}", body.len())
    }
}

/// Shows every message that comes over connections that the gateway opens, and over this one of ours, to `seen`; what
/// that gives is sent.
pub fn read_all<F>(listener: TcpListener, ours: &TcpStream, seen: F)
where
    F: FnMut(Message) -> Option<String> + Clone + Send + 'static,
{
    read(ours.try_clone().unwrap(), seen.clone());
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            read(connection, seen.clone());
        }
    });
}

/// The same for one connection.
pub fn read(stream: TcpStream, mut seen: impl FnMut(Message) -> Option<String> + Send + 'static) {
    thread::spawn(move || {
        stream.set_nodelay(true).unwrap();
        let mut answers = stream.try_clone().unwrap();
        let mut reader = BufReader::with_capacity(1 << 16, stream);
        while let Some(message) = next(&mut reader) {
            if let Some(answer) = seen(message) {
                let _ = answers.write_all(answer.as_bytes());
            }
        }
    });
}

/// The next message. Nothing when the connection has ended.
fn next(reader: &mut impl BufRead) -> Option<Message> {
    let (mut head, mut length) = (Vec::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
        let line = line.trim_end();
        if let Some(value) = line.strip_prefix("Content-Length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        match (line.is_empty(), head.is_empty()) {
            (false, _) => head.push(line.to_owned()),
            // A line without anything between messages keeps the connection alive (RFC 5626).
            (true, true) => {}
            (true, false) => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Message { head, body })
}
