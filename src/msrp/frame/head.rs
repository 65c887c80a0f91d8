//! Start lines and headers (RFC 4975 §9), read loosely.
//!
//! To-Path and From-Path may come in either order (RFC 7573's own examples have them reversed), header names in any
//! case, blanks in any number. A header that means something and cannot be read makes the request faulty, not the
//! stream: its end-line still stands where it stands.

use super::decoder::Garbage;
use super::{ByteRange, FailureReport, Flag, Frame, Method, Request, Response, Status};
use crate::msrp::path::Path;

/// The longest transaction id or Message-ID that is read. §9 says 32; UUIDs, which have 36 characters, are about.
const LONGEST_IDENT: usize = 64;

/// The longest method name that is read.
const LONGEST_METHOD: usize = 32;

/// The fault of a line that has no colon, or nothing that could be a name before it.
const NAMELESS: &str = "a header has no name";

/// What the start line says.
pub(super) enum Start {
    Request { tid: String, method: Method },
    Response { tid: String, code: u16, comment: String },
}

impl Start {
    pub(super) fn tid(&self) -> &str {
        match self {
            Start::Request { tid, .. } | Start::Response { tid, .. } => tid,
        }
    }
}

/// Reads the first line, without its line break.
pub(super) fn start_line(line: &[u8]) -> Result<Start, Garbage> {
    let text = String::from_utf8_lossy(line);
    let rest = text.strip_prefix("MSRP ").ok_or(Garbage("it is not MSRP"))?;
    let (tid, rest) = rest.split_once(' ').ok_or(Garbage("a start line has no method or code"))?;
    if !is_read_as_ident(tid) {
        return Err(Garbage("a transaction id is malformed"));
    }
    let (word, comment) = rest.split_once(' ').unwrap_or((rest, ""));
    let tid = tid.to_owned();
    if word.len() == 3 && word.bytes().all(|byte| byte.is_ascii_digit()) {
        let code = word.parse().map_err(|_| Garbage("a code is malformed"))?;
        return Ok(Start::Response { tid, code, comment: comment.trim().to_owned() });
    }
    // The grammar has only capitals, the file transfers of some clients a FILE_OFFSET.
    let is_method = (1..=LONGEST_METHOD).contains(&word.len())
        && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    if !is_method || !comment.is_empty() {
        return Err(Garbage("a method is malformed"));
    }
    let method = match word {
        "SEND" => Method::Send,
        "REPORT" => Method::Report,
        "NICKNAME" => Method::Nickname,
        "AUTH" => Method::Auth,
        _ => Method::Other(word.to_owned()),
    };
    Ok(Start::Request { tid, method })
}

/// Reads the headers: all lines behind the first, each with its line break. The body and the flag come later.
pub(super) fn headers(start: Start, lines: &[u8], known: &mut Known) -> Result<Frame, Garbage> {
    let text = String::from_utf8_lossy(lines);
    let mut found = Found::default();
    for line in text.split("\r\n").filter(|line| !line.is_empty()) {
        let Some((name, value)) = line.split_once(':') else {
            found.fault(NAMELESS, "", "");
            continue;
        };
        found.header(name.trim_ascii_end(), value.trim_ascii(), known)?;
    }
    let to = found.to.ok_or(Garbage("there is no To-Path"))?;
    let from = found.from.ok_or(Garbage("there is no From-Path"))?;
    Ok(match start {
        Start::Response { tid, code, comment } => {
            Frame::Response(Response { tid, code, comment, to, from, headers: found.others })
        }
        Start::Request { tid, method } => Frame::Request(Request {
            tid,
            method,
            to,
            from,
            message_id: found.message_id,
            range: found.range,
            success_report: found.success_report,
            failure_report: found.failure_report,
            status: found.status,
            content_type: found.content_type,
            headers: found.others,
            body: None,
            flag: Flag::Complete,
            oversize: None,
            fault: found.fault,
        }),
    })
}

/// The paths of the frame before, To-Path and From-Path: the next one mostly has the same, which need not be read again.
#[derive(Debug, Default)]
pub(super) struct Known([Option<Path>; 2]);

impl Known {
    fn path(&mut self, place: usize, value: &str) -> Result<Path, Garbage> {
        match &self.0[place] {
            Some(known) if known.is_written(value) => Ok(known.clone()),
            _ => Ok(self.0[place].insert(Path::parse(value).map_err(Garbage)?).clone()),
        }
    }
}

#[derive(Default)]
struct Found {
    to: Option<Path>,
    from: Option<Path>,
    message_id: Option<String>,
    range: Option<ByteRange>,
    success_report: bool,
    failure_report: FailureReport,
    status: Option<Status>,
    content_type: Option<String>,
    others: Vec<(String, String)>,
    fault: Option<&'static str>,
}

impl Found {
    fn header(&mut self, name: &str, value: &str, known: &mut Known) -> Result<(), Garbage> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("To-Path") {
            if self.to.replace(known.path(0, value)?).is_some() {
                return Err(Garbage("there are two To-Paths"));
            }
        } else if is("From-Path") {
            if self.from.replace(known.path(1, value)?).is_some() {
                return Err(Garbage("there are two From-Paths"));
            }
        } else if is("Message-ID") {
            if !is_read_as_ident(value) {
                self.fault("the Message-ID is malformed", name, value);
            } else if self.message_id.replace(value.to_owned()).is_some() {
                self.fault("there are two Message-IDs", name, value);
            }
        } else if is("Byte-Range") {
            match ByteRange::parse(value) {
                Some(range) if self.range.is_none() => self.range = Some(range),
                Some(_) => self.fault("there are two Byte-Ranges", name, value),
                None => self.fault("the Byte-Range is malformed", name, value),
            }
        } else if is("Success-Report") {
            match value.to_ascii_lowercase().as_str() {
                "yes" => self.success_report = true,
                "no" => self.success_report = false,
                _ => self.fault("the Success-Report is malformed", name, value),
            }
        } else if is("Failure-Report") {
            match value.to_ascii_lowercase().as_str() {
                "yes" => self.failure_report = FailureReport::Yes,
                "no" => self.failure_report = FailureReport::No,
                "partial" => self.failure_report = FailureReport::Partial,
                _ => self.fault("the Failure-Report is malformed", name, value),
            }
        } else if is("Status") {
            match Status::parse(value) {
                Some(status) => self.status = Some(status),
                None => self.fault("the Status is malformed", name, value),
            }
        } else if is("Content-Type") {
            self.content_type = Some(value.to_owned());
        } else if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
            self.fault(NAMELESS, "", "");
        } else {
            self.others.push((name.to_owned(), value.to_owned()));
        }
        Ok(())
    }

    /// The first fault is told. The header is kept among the others, so that a recording has the same fault; of a line
    /// without a name, which may be anybody's words, only that there was one.
    fn fault(&mut self, what: &'static str, name: &str, value: &str) {
        self.fault.get_or_insert(what);
        self.others.push((name.to_owned(), value.to_owned()));
    }
}

impl ByteRange {
    /// Reads `1-39/*`.
    pub fn parse(text: &str) -> Option<ByteRange> {
        let (range, total) = text.split_once('/')?;
        let (start, end) = range.split_once('-')?;
        Some(ByteRange { start: number(start)?, end: number_or_star(end)?, total: number_or_star(total)? })
    }
}

impl Status {
    /// Reads `000 200 OK`.
    pub fn parse(text: &str) -> Option<Status> {
        let (namespace, rest) = text.split_once(' ')?;
        let rest = rest.trim_ascii_start();
        let (code, comment) = rest.split_once(' ').unwrap_or((rest, ""));
        let three = |digits: &str| {
            let is_number = digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
            if is_number { digits.parse().ok() } else { None }
        };
        Some(Status {
            namespace: three(namespace)?,
            code: three(code)?,
            comment: comment.trim_ascii().to_owned(),
        })
    }
}

fn number(text: &str) -> Option<u64> {
    let text = text.trim_ascii();
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn number_or_star(text: &str) -> Option<Option<u64>> {
    if text.trim_ascii() == "*" { Some(None) } else { number(text).map(Some) }
}

fn is_read_as_ident(text: &str) -> bool {
    (1..=LONGEST_IDENT).contains(&text.len())
        && text.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+' | b'%' | b'=' | b'_')
        })
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::super::decoder::Decoder;
    use super::*;

    const PATHS: &str = "To-Path: msrp://us:3/x;tcp\r\nFrom-Path: msrp://bob:2/b;tcp\r\n";

    fn request(more: &str) -> Request {
        let start = start_line(b"MSRP abcd1234 SEND").unwrap();
        match headers(start, format!("{PATHS}{more}").as_bytes(), &mut Known::default()) {
            Ok(Frame::Request(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn defaults_are_those_of_the_rfc() {
        let read = request("");
        assert_eq!((read.success_report, read.failure_report), (false, FailureReport::Yes));
        assert_eq!((read.range, read.message_id, read.fault), (None, None, None));
    }

    #[test]
    fn known_headers_are_typed_and_unknown_ones_kept() {
        let read = request(
            "message-id:  12ab \r\nBYTE-RANGE: 1-*/28406\r\nSuccess-Report: Yes\r\nFailure-Report: partial\r\n\
             Content-Disposition: inline\r\nX-Odd: a: b\r\nContent-Type: text/plain\r\n",
        );
        assert_eq!(read.message_id.as_deref(), Some("12ab"));
        assert_eq!(read.range, Some(ByteRange { start: 1, end: None, total: Some(28406) }));
        assert_eq!((read.success_report, read.failure_report), (true, FailureReport::Partial));
        assert_eq!(read.content_type.as_deref(), Some("text/plain"));
        let kept = [("Content-Disposition", "inline"), ("X-Odd", "a: b")];
        assert_eq!(read.headers, kept.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(read.fault, None);
    }

    #[test]
    fn what_contradicts_itself_is_a_fault_of_the_request() {
        for more in [
            "Byte-Range: 1-2\r\n",
            "Byte-Range: -1-2/3\r\n",
            "Byte-Range: 1-2/3\r\nByte-Range: 1-2/3\r\n",
            "Byte-Range: 1-99999999999999999999999999/*\r\n",
            "Message-ID: a b\r\n",
            "Message-ID: aaaa\r\nMessage-ID: bbbb\r\n",
            "Success-Report: maybe\r\n",
            "Failure-Report: maybe\r\n",
            "Status: 000\r\n",
            "no colon\r\n",
            ": no name\r\n",
            "a\u{0}b: a name that is no token\r\n",
        ] {
            let read = request(more);
            assert!(read.fault.is_some(), "{more}");
            let mut printed = BytesMut::new();
            read.write(&mut printed);
            let mut decoder = Decoder::new(100);
            decoder.push(&printed);
            let Some(Ok(Frame::Request(again))) = decoder.next_frame() else { panic!("{more}") };
            assert_eq!(again.fault, read.fault, "it is printed as faulty as it came");
        }
    }

    #[test]
    fn without_both_paths_nothing_can_be_answered() {
        for lines in [
            "",
            "To-Path: msrp://us:3/x;tcp\r\n",
            "From-Path: msrp://us:3/x;tcp\r\n",
            "To-Path: sip:us\r\nFrom-Path: msrp://us:3/x;tcp\r\n",
            "To-Path: msrp://us:3/x;tcp\r\nTo-Path: msrp://us:3/y;tcp\r\nFrom-Path: msrp://us:3/x;tcp\r\n",
        ] {
            let start = start_line(b"MSRP abcd1234 SEND").unwrap();
            assert!(headers(start, lines.as_bytes(), &mut Known::default()).is_err(), "{lines}");
        }
        let start = start_line(b"MSRP abcd1234 SEND").unwrap();
        let reversed = "From-Path: msrp://bob:2/b;tcp\r\nTo-Path: msrp://us:3/x;tcp\r\n";
        assert!(headers(start, reversed.as_bytes(), &mut Known::default()).is_ok());
    }

    #[test]
    fn start_lines_are_told_apart() {
        let method = |line: &str| match start_line(line.as_bytes()) {
            Ok(Start::Request { method, .. }) => Some(method),
            _ => None,
        };
        assert_eq!(method("MSRP abcd SEND"), Some(Method::Send));
        assert_eq!(method("MSRP abcd REPORT"), Some(Method::Report));
        assert_eq!(method("MSRP abcd FILE_OFFSET"), Some(Method::Other("FILE_OFFSET".into())));
        assert!(matches!(
            start_line(b"MSRP 1a 481 No such session"),
            Ok(Start::Response { code: 481, ref comment, .. }) if comment == "No such session"
        ));
        assert!(matches!(start_line(b"MSRP 1a 200"), Ok(Start::Response { code: 200, .. })));
        for line in [
            "MSRP",
            "MSRP abcd",
            "MSRP a/b SEND",
            "msrp abcd SEND",
            "MSRP  SEND",
            "MSRP abcd send",
            "GET / x",
        ] {
            assert!(start_line(line.as_bytes()).is_err(), "{line}");
        }
    }

    #[test]
    fn status_has_a_namespace_a_code_and_perhaps_a_comment() {
        let status = Status::parse("000 413 Too big").unwrap();
        assert_eq!((status.namespace, status.code, status.comment.as_str()), (0, 413, "Too big"));
        assert_eq!(Status::parse("000 200").map(|status| status.code), Some(200));
        assert_eq!(Status::parse("200 OK"), None);
    }
}
