//! MSRP requests and responses as values (RFC 4975 §7 and §9): what is read, and what is acted on.
//!
//! [`decoder`] cuts a stream into frames, [`head`](self) reads their headers, [`print`](self) writes them. Headers that
//! nobody here knows are kept. A request whose headers contradict themselves is still a request, with
//! [`Request::fault`] saying why it is answered 400; only what cannot be framed or answered is [`decoder::Garbage`].

pub mod decoder;
mod head;
mod print;

use bytes::Bytes;

use super::path::Path;
use crate::words::id::{Mint, Partition};

/// What may not be larger in a request other than SEND (§7.1).
pub const BODY_OF_OTHERS: usize = 10_240;

/// A request or a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A request.
    Request(Request),
    /// A response.
    Response(Response),
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The transaction id.
    pub tid: String,
    /// What is wanted.
    pub method: Method,
    /// To-Path.
    pub to: Path,
    /// From-Path.
    pub from: Path,
    /// Message-ID.
    pub message_id: Option<String>,
    /// Byte-Range.
    pub range: Option<ByteRange>,
    /// Success-Report is `yes`.
    pub success_report: bool,
    /// Failure-Report; `yes` when absent.
    pub failure_report: FailureReport,
    /// Status, which a REPORT carries.
    pub status: Option<Status>,
    /// Content-Type, as it came.
    pub content_type: Option<String>,
    /// All other headers in their order, those of MIME and those that cannot be read among them.
    pub headers: Vec<(String, String)>,
    /// The body. A bodiless request is something else than one with an empty body (§7.1).
    pub body: Option<Bytes>,
    /// The end of the end-line.
    pub flag: Flag,
    /// The body was larger than the decoder's limit and was passed over; so many bytes.
    pub oversize: Option<u64>,
    /// What is wrong with it, if it must be answered 400.
    pub fault: Option<&'static str>,
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The transaction id of its request.
    pub tid: String,
    /// The code.
    pub code: u16,
    /// What stands behind the code.
    pub comment: String,
    /// To-Path.
    pub to: Path,
    /// From-Path.
    pub from: Path,
    /// All other headers in their order: `Use-Path`, `Offset`.
    pub headers: Vec<(String, String)>,
}

/// What a request wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// A message or a piece of one (RFC 4975).
    Send,
    /// What became of a message (RFC 4975).
    Report,
    /// A name in a room (RFC 7701).
    Nickname,
    /// Admission to a relay (RFC 4976).
    Auth,
    /// Anything else.
    Other(String),
}

/// The end of an end-line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// `$`: the message ends here.
    Complete,
    /// `+`: more follows.
    More,
    /// `#`: nothing more follows, and the message is void.
    Aborted,
}

/// Which failures the sender of a message wants to hear of (§5.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailureReport {
    /// All, so every SEND is answered.
    #[default]
    Yes,
    /// None, so nothing is answered.
    No,
    /// Those that are noticed: no 200, and no timer.
    Partial,
}

/// Byte-Range: which bytes of a message a request carries or speaks of, counted from one. Clients count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// The first byte.
    pub start: u64,
    /// The last byte; absent for `*`.
    pub end: Option<u64>,
    /// The length of the message; absent for `*`.
    pub total: Option<u64>,
}

/// Status: a namespace, a code of it, and a comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// 0 means the codes of responses; there is no other.
    pub namespace: u16,
    /// The code.
    pub code: u16,
    /// What stands behind it.
    pub comment: String,
}

impl Frame {
    /// To-Path.
    pub fn to(&self) -> &Path {
        match self {
            Frame::Request(request) => &request.to,
            Frame::Response(response) => &response.to,
        }
    }
}

impl Request {
    /// A bodiless request without any but the necessary headers.
    pub fn new(tid: String, method: Method, to: Path, from: Path) -> Request {
        Request {
            tid,
            method,
            to,
            from,
            message_id: None,
            range: None,
            success_report: false,
            failure_report: FailureReport::Yes,
            status: None,
            content_type: None,
            headers: Vec::new(),
            body: None,
            flag: Flag::Complete,
            oversize: None,
            fault: None,
        }
    }

    /// The response to this request (§7.2); nothing where none may be sent: to a REPORT, and where Failure-Report says
    /// so. Only the previous hop hears of a SEND, the whole path of anything else. From-Path is what the request was
    /// addressed to.
    pub fn response(&self, code: u16) -> Option<Response> {
        let is_wanted = match self.failure_report {
            FailureReport::Yes => true,
            FailureReport::No => false,
            FailureReport::Partial => code != 200,
        };
        if self.method == Method::Report || !is_wanted {
            return None;
        }
        let to = match self.method {
            Method::Send if self.from.has_relay() => self.from.first().clone().into(),
            _ => self.from.clone(),
        };
        Some(Response {
            tid: self.tid.clone(),
            code,
            comment: comment(code).to_owned(),
            to,
            from: if self.to.has_relay() { self.to.last().clone().into() } else { self.to.clone() },
            headers: Vec::new(),
        })
    }
}

/// A transaction id that names `partition` and whose end-line does not stand in `body` (§7.1).
pub fn mint_tid(mint: &mut Mint, partition: Partition, body: &[u8]) -> String {
    loop {
        let tid = mint.token(partition);
        if memchr::memmem::find(body, tid.as_bytes()).is_none() {
            return tid;
        }
    }
}

/// True for what may be a transaction id or a Message-ID that we send (`ident`, §9).
pub fn is_ident(text: &str) -> bool {
    (4..=32).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+' | b'%' | b'='))
}

/// What to write behind a code (§10, RFC 7701 §9).
pub fn comment(code: u16) -> &'static str {
    match code {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        408 => "Timed Out",
        413 => "Stop Sending",
        415 => "Unsupported Media Type",
        423 => "Parameter Out of Bounds",
        424 => "Malformed Nickname",
        425 => "Nickname Reserved or Already in Use",
        428 => "Private Messages Not Supported",
        481 => "No Such Session",
        501 => "Unknown Method",
        506 => "Session in Use",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msrp::uri::Uri;
    use crate::words::id::Seed;

    fn path(text: &str) -> Path {
        Path::parse(text).unwrap()
    }

    #[test]
    fn a_send_is_answered_to_the_previous_hop_and_others_to_the_whole_path() {
        let from = path("msrp://relay:1/r;tcp msrp://bob:2/b;tcp");
        let own: Path = Uri::parse("msrp://us:3/x;tcp").unwrap().into();
        let mut request = Request::new("abcd1234".into(), Method::Send, own.clone(), from.clone());
        let response = request.response(200).unwrap();
        assert_eq!((response.to.to_string().as_str(), response.from), ("msrp://relay:1/r;tcp", own));
        request.method = Method::Nickname;
        assert_eq!(request.response(501).unwrap().to, from);
        request.method = Method::Report;
        assert_eq!(request.response(400), None);
    }

    #[test]
    fn failure_report_decides_what_is_answered() {
        let own: Path = Uri::parse("msrp://us:3/x;tcp").unwrap().into();
        let mut request = Request::new("abcd1234".into(), Method::Send, own.clone(), own);
        let mut told = |failure| {
            request.failure_report = failure;
            [200, 413].map(|code| request.response(code).is_some())
        };
        assert_eq!(told(FailureReport::Yes), [true, true]);
        assert_eq!(told(FailureReport::Partial), [false, true]);
        assert_eq!(told(FailureReport::No), [false, false]);
    }

    #[test]
    fn a_transaction_id_is_not_in_its_body() {
        let (mut one, mut two) = (Mint::new(Seed([1; 32])), Mint::new(Seed([1; 32])));
        let first = one.token(Partition(5));
        let body = format!("it ends\r\n-------{first}$\r\n or not");
        let tid = mint_tid(&mut two, Partition(5), body.as_bytes());
        assert_ne!(tid, first);
        assert!(is_ident(&tid) && !is_ident("abc") && !is_ident(&"x".repeat(33)) && !is_ident("-abcd"));
    }
}
