//! Frames as bytes (RFC 4975 §9): To-Path and From-Path first, Content-Type last, no blank line without a body.

use std::io::Write;

use bytes::{BufMut, Bytes, BytesMut};

use super::super::path::Path;
use super::{ByteRange, FailureReport, Flag, Frame, Method, Request, Response, Status};

impl Frame {
    /// Writes it behind what is there.
    pub fn write(&self, out: &mut BytesMut) {
        match self {
            Frame::Request(request) => request.write(out),
            Frame::Response(response) => response.write(out),
        }
    }
}

impl Request {
    /// Writes it behind what is there. Its transaction id must not stand in its body
    /// ([`mint_tid`](super::mint_tid)).
    pub fn write(&self, out: &mut BytesMut) {
        out.reserve(512 + self.body.as_ref().map_or(0, Bytes::len));
        put(out, &["MSRP ", &self.tid, " ", self.method.name(), "\r\n"]);
        path(out, "To-Path", &self.to);
        path(out, "From-Path", &self.from);
        if let Some(id) = &self.message_id {
            text(out, "Message-ID", id);
        }
        if let Some(ByteRange { start, end, total }) = self.range {
            let star = |number: Option<u64>| number.map_or("*".to_owned(), |number| number.to_string());
            header(out, "Byte-Range", format_args!("{start}-{}/{}", star(end), star(total)));
        }
        if self.success_report {
            put(out, &["Success-Report: yes\r\n"]);
        }
        match self.failure_report {
            FailureReport::Yes => {}
            FailureReport::No => put(out, &["Failure-Report: no\r\n"]),
            FailureReport::Partial => put(out, &["Failure-Report: partial\r\n"]),
        }
        if let Some(Status { namespace, code, comment }) = &self.status {
            text(out, "Status", format!("{namespace:03} {code:03} {comment}").trim_ascii_end());
        }
        for (name, value) in &self.headers {
            text(out, name, value);
        }
        if let Some(body) = &self.body {
            text(out, "Content-Type", self.content_type.as_deref().unwrap_or("text/plain"));
            out.put_slice(b"\r\n");
            out.put_slice(body);
            out.put_slice(b"\r\n");
        }
        end_line(out, &self.tid, self.flag);
    }
}

impl Response {
    /// Writes it behind what is there.
    pub fn write(&self, out: &mut BytesMut) {
        let start = format!("{:03} {}", self.code, self.comment);
        put(out, &["MSRP ", &self.tid, " "]);
        printable(out, start.trim_ascii_end());
        put(out, &["\r\n"]);
        path(out, "To-Path", &self.to);
        path(out, "From-Path", &self.from);
        for (name, value) in &self.headers {
            text(out, name, value);
        }
        end_line(out, &self.tid, Flag::Complete);
    }

    /// Its bytes.
    pub fn bytes(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(256);
        self.write(&mut out);
        out.freeze()
    }
}

impl Method {
    /// As it stands in a start line.
    pub fn name(&self) -> &str {
        match self {
            Method::Send => "SEND",
            Method::Report => "REPORT",
            Method::Nickname => "NICKNAME",
            Method::Auth => "AUTH",
            Method::Other(name) => name,
        }
    }
}

impl Flag {
    /// As it stands behind an end-line.
    pub fn byte(self) -> u8 {
        match self {
            Flag::Complete => b'$',
            Flag::More => b'+',
            Flag::Aborted => b'#',
        }
    }

    /// What a byte behind an end-line means.
    pub fn of(byte: u8) -> Option<Flag> {
        [Flag::Complete, Flag::More, Flag::Aborted].into_iter().find(|flag| flag.byte() == byte)
    }
}

fn put(out: &mut BytesMut, parts: &[&str]) {
    for part in parts {
        out.put_slice(part.as_bytes());
    }
}

fn header(out: &mut BytesMut, name: &str, value: std::fmt::Arguments<'_>) {
    put(out, &[name, ": "]);
    // Writing into memory does not fail.
    let _ = out.writer().write_fmt(value);
    put(out, &["\r\n"]);
}

fn path(out: &mut BytesMut, name: &str, path: &Path) {
    put(out, &[name, ":"]);
    for uri in path.uris() {
        put(out, &[" ", uri.as_str()]);
    }
    put(out, &["\r\n"]);
}

/// A header whose value may come from elsewhere: a line break in it would be a new header.
fn text(out: &mut BytesMut, name: &str, value: &str) {
    printable(out, name);
    put(out, &[": "]);
    printable(out, value);
    put(out, &["\r\n"]);
}

fn printable(out: &mut BytesMut, value: &str) {
    if value.bytes().all(|byte| byte >= 0x20 && byte != 0x7f) {
        return out.put_slice(value.as_bytes());
    }
    for byte in value.bytes() {
        out.put_u8(if byte < 0x20 || byte == 0x7f { b' ' } else { byte });
    }
}

fn end_line(out: &mut BytesMut, tid: &str, flag: Flag) {
    put(out, &["-------", tid]);
    out.put_u8(flag.byte());
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msrp::path::Path;

    fn request(method: Method) -> Request {
        let path = |text: &str| Path::parse(text).unwrap();
        Request::new("abcd1234".into(), method, path("msrp://bob:2/b;tcp"), path("msrp://us:3/x;tcp"))
    }

    fn printed(request: &Request) -> String {
        let mut out = BytesMut::new();
        request.write(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn a_bodiless_request_has_neither_blank_line_nor_content_type() {
        let mut send = request(Method::Send);
        send.message_id = Some("12ab34".into());
        send.range = Some(ByteRange { start: 1, end: Some(0), total: Some(0) });
        send.content_type = Some("text/plain".into());
        assert_eq!(
            printed(&send),
            "MSRP abcd1234 SEND\r\nTo-Path: msrp://bob:2/b;tcp\r\nFrom-Path: msrp://us:3/x;tcp\r\n\
             Message-ID: 12ab34\r\nByte-Range: 1-0/0\r\n-------abcd1234$\r\n"
        );
    }

    #[test]
    fn content_type_is_the_last_header_and_the_body_ends_by_a_line_break() {
        let mut send = request(Method::Send);
        send.range = Some(ByteRange { start: 1, end: None, total: None });
        send.success_report = true;
        send.failure_report = FailureReport::Partial;
        send.headers = vec![("Content-Disposition".into(), "inline".into())];
        send.content_type = Some("text/plain".into());
        send.body = Some(Bytes::from_static(b"hello"));
        send.flag = Flag::More;
        assert_eq!(
            printed(&send),
            "MSRP abcd1234 SEND\r\nTo-Path: msrp://bob:2/b;tcp\r\nFrom-Path: msrp://us:3/x;tcp\r\n\
             Byte-Range: 1-*/*\r\nSuccess-Report: yes\r\nFailure-Report: partial\r\n\
             Content-Disposition: inline\r\nContent-Type: text/plain\r\n\r\nhello\r\n-------abcd1234+\r\n"
        );
    }

    #[test]
    fn a_line_break_in_a_value_makes_no_new_header() {
        let mut report = request(Method::Report);
        report.status =
            Some(Status { namespace: 0, code: 403, comment: "no\r\nTo-Path: msrp://e:1/e;tcp".into() });
        assert!(printed(&report).contains("Status: 000 403 no  To-Path: msrp://e:1/e;tcp\r\n"));
    }

    #[test]
    fn a_response_has_its_code_and_the_paths() {
        let response = request(Method::Send).response(481).unwrap();
        assert_eq!(
            response.bytes(),
            "MSRP abcd1234 481 No Such Session\r\nTo-Path: msrp://us:3/x;tcp\r\n\
             From-Path: msrp://bob:2/b;tcp\r\n-------abcd1234$\r\n"
        );
    }
}
