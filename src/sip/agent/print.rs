//! Requests and responses as they leave us: which headers, in which order, and nothing that breaks a line.

use std::borrow::Cow;

use bytes::Bytes;

use super::own::PRODUCT;
use crate::sip::message::{self, HeaderName, Message, Method, OutRequest, Reply, Request, Response};
use crate::sip::uri::Uri;
use sipx_sip::{Header, RequestBuilder, StatusCode};

/// What the agent adds to a request.
pub struct Additions<'a> {
    /// The whole value of Via.
    pub via: &'a str,
    /// The CSeq number.
    pub cseq: u32,
    /// Answers to challenges.
    pub credentials: &'a [(HeaderName, String)],
}

/// The Request-URI and the Route values of a request (RFC 3261 §12.2.1.1): before a strict router stands, the remote
/// target moves to the end of the routes and the router's URI takes its place.
pub fn routing(out: &OutRequest) -> (String, Vec<String>) {
    let Some(first) = out.routes.first() else { return (out.uri.clone(), Vec::new()) };
    match message::uri_of(first) {
        Some(router) if !is_loose(&router) => {
            let rest = out.routes.iter().skip(1).cloned().chain([format!("<{}>", out.uri)]).collect();
            // §19.1.1: a Request-URI has neither headers nor a method.
            let router = router.split('?').next().unwrap_or_default();
            let parts: Vec<_> =
                router.split(';').filter(|part| !part.to_ascii_lowercase().starts_with("method=")).collect();
            (parts.join(";"), rest)
        }
        _ => (out.uri.clone(), out.routes.clone()),
    }
}

fn is_loose(uri: &str) -> bool {
    let uri = Uri::parse(Bytes::copy_from_slice(uri.as_bytes()));
    uri.is_ok_and(|uri| uri.params().is_some_and(|params| params.contains("lr")))
}

/// A request, complete.
pub fn request(out: &OutRequest, additions: &Additions<'_>) -> Result<Request, String> {
    let (target, routes) = routing(out);
    let uri = Uri::parse(Bytes::from(target)).map_err(|error| format!("{}: {error}", out.uri))?;
    let clean = |text| clean(text).into_owned();
    let build = || -> Result<Request, sipx_sip::BuildError> {
        let mut builder = RequestBuilder::new(out.method.clone(), uri)
            .header(HeaderName::Via, clean(additions.via))?
            .max_forwards(out.max_forwards)
            .header(HeaderName::From, clean(&out.from))?
            .header(HeaderName::To, clean(&out.to))?
            .header(HeaderName::CallId, clean(&out.call_id))?
            .cseq(additions.cseq, &out.method)?;
        for route in &routes {
            builder = builder.header(HeaderName::Route, clean(route))?;
        }
        for (name, value) in additions.credentials.iter().chain(&out.headers) {
            builder = builder.header(name.clone(), clean(value))?;
        }
        Ok(builder.header(HeaderName::UserAgent, PRODUCT)?.body(out.body.clone()).build())
    };
    build().map_err(|error| error.to_string())
}

/// The same as the bytes that leave.
pub fn request_bytes(out: &OutRequest, additions: &Additions<'_>) -> Result<Bytes, String> {
    let (target, routes) = routing(out);
    if !is_plain(&target) {
        Uri::parse(Bytes::copy_from_slice(target.as_bytes()))
            .map_err(|error| format!("{}: {error}", out.uri))?;
    }
    let mut text = Vec::with_capacity(at_most(out, additions.via.len()));
    let mut add = |parts: &[&[u8]]| parts.iter().for_each(|part| text.extend_from_slice(part));
    let method = out.method.as_bytes();
    add(&[method, b" ", target.as_bytes(), b" SIP/2.0\r\nVia: ", clean(additions.via).as_bytes()]);
    add(&[b"\r\nMax-Forwards: ", out.max_forwards.to_string().as_bytes()]);
    add(&[b"\r\nFrom: ", clean(&out.from).as_bytes()]);
    add(&[b"\r\nTo: ", clean(&out.to).as_bytes()]);
    add(&[b"\r\nCall-ID: ", clean(&out.call_id).as_bytes()]);
    add(&[b"\r\nCSeq: ", additions.cseq.to_string().as_bytes(), b" ", method]);
    for route in &routes {
        add(&[b"\r\nRoute: ", clean(route).as_bytes()]);
    }
    for (name, value) in additions.credentials.iter().chain(&out.headers) {
        add(&[b"\r\n", name.canonical(), b": ", clean(value).as_bytes()]);
    }
    add(&[b"\r\nUser-Agent: ", PRODUCT.as_bytes()]);
    add(&[b"\r\nContent-Length: ", out.body.len().to_string().as_bytes(), b"\r\n\r\n", &out.body]);
    Ok(text.into())
}

/// True for a URI as we write it ourselves, which need not be parsed to know that it is one.
fn is_plain(uri: &str) -> bool {
    let is_word = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
    };
    let address = uri.strip_prefix("sip:").and_then(|rest| rest.split_once('@'));
    address.is_some_and(|(user, host)| is_word(user) && is_word(host))
}

/// More bytes than a request will have, without printing it; `name` is the longest name of ours in Via.
pub fn at_most(out: &OutRequest, name: usize) -> usize {
    // Via without its name, Max-Forwards, CSeq, User-Agent, Content-Length and all that is between the values.
    let frame = 300;
    let names = out.headers.iter().map(|(name, value)| name.canonical().len() + value.len() + 4);
    let routes = out.routes.iter().map(|route| route.len() + 9);
    let own = out.from.len() + out.to.len() + out.call_id.len() + out.body.len() + 2 * out.uri.len();
    frame + name + own + names.sum::<usize>() + routes.sum::<usize>()
}

/// A response to `request`. `tag` goes into To where it has none; a header that cannot be printed is left out.
pub fn response(request: &Request, status: StatusCode, reply: &Reply, tag: Option<&str>) -> Response {
    let mut response = Response::new(status, reason(status, reply).into_owned());
    each_field(request, status, reply, tag, |name, value| {
        if let Ok(header) = Header::build(name.clone(), value.to_vec()) {
            response.headers.push(header);
        }
    });
    response.set_body(Bytes::copy_from_slice(&reply.body));
    response
}

/// The same as the bytes that leave.
pub fn response_bytes(request: &Request, status: StatusCode, reply: &Reply, tag: Option<&str>) -> Bytes {
    let mut out = Vec::with_capacity(ROOM);
    for part in ["SIP/2.0 ", &status.code().to_string(), " ", &reason(status, reply), "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    each_field(request, status, reply, tag, |name, value| {
        let fits = memchr::memchr3(b'\r', b'\n', 0, value).is_none();
        if fits && (!matches!(name, HeaderName::Other(_)) || Header::build(name.clone(), "").is_ok()) {
            out.extend_from_slice(name.canonical());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
    });
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&reply.body);
    out.into()
}

/// A message as the bytes that leave.
pub fn bytes_of(message: &Message) -> Bytes {
    let mut out = Vec::with_capacity(ROOM + message.body().len());
    message.write_to(&mut out);
    out.into()
}

/// As long as most start lines and headers are.
const ROOM: usize = 512;

fn reason(status: StatusCode, reply: &Reply) -> Cow<'_, str> {
    match &reply.reason {
        Some(reason) => clean(reason),
        None => Cow::Borrowed(reason_of(status.code())),
    }
}

/// The headers of a response, in order.
fn each_field(
    request: &Request,
    status: StatusCode,
    reply: &Reply,
    tag: Option<&str>,
    mut add: impl FnMut(&HeaderName, &[u8]),
) {
    let given = &request.headers;
    for via in given.get_all(&HeaderName::Via) {
        add(&HeaderName::Via, &repeated(via));
    }
    if let Some(from) = given.get(&HeaderName::From) {
        add(&HeaderName::From, &repeated(from));
    }
    if let Some(to) = given.get(&HeaderName::To).map(repeated) {
        let tag = tag.filter(|_| message::tag(given, &HeaderName::To).is_none());
        match tag {
            Some(tag) => add(&HeaderName::To, &[&to, b";tag=".as_slice(), tag.as_bytes()].concat()),
            None => add(&HeaderName::To, &to),
        }
    }
    for name in [HeaderName::CallId, HeaderName::CSeq] {
        if let Some(header) = given.get(&name) {
            add(&name, &repeated(header));
        }
    }
    let forms = matches!(request.method, Method::Invite | Method::Subscribe | Method::Refer);
    if forms && (101..300).contains(&status.code()) {
        for route in given.get_all(&HeaderName::RecordRoute) {
            add(&HeaderName::RecordRoute, &route.value());
        }
    }
    for (name, value) in &reply.headers {
        add(name, clean(value).as_bytes());
    }
    add(&HeaderName::Server, PRODUCT.as_bytes());
    add(&HeaderName::ContentLength, reply.body.len().to_string().as_bytes());
}

/// What an answer repeats of a request. A byte that may stand in no header of ours becomes a space: an answer without a Via
/// would be worse.
fn repeated(header: &Header) -> Cow<'_, [u8]> {
    let value = message::value(header);
    if memchr::memchr3(b'\r', b'\n', 0, &value).is_none() {
        return value;
    }
    value
        .iter()
        .map(|byte| if matches!(byte, b'\r' | b'\n' | 0) { b' ' } else { *byte })
        .collect::<Vec<_>>()
        .into()
}

/// Text without anything that ends a line or a string; a control character becomes a space.
pub fn clean(text: &str) -> Cow<'_, str> {
    // All bytes at once, not one by one until the first that is no such: that is mostly the last.
    if text.bytes().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~')) {
        return Cow::Borrowed(text.trim());
    }
    let breaks = |c: char| c.is_control() && c != '\t';
    if !text.contains(breaks) {
        return Cow::Borrowed(text.trim());
    }
    let text: String = text.chars().map(|c| if breaks(c) { ' ' } else { c }).collect();
    Cow::Owned(text.trim().to_owned())
}

/// The reason phrase that a standard gives to a status.
pub fn reason_of(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        200 => "OK",
        202 => "Accepted",
        204 => "No Notification",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        305 => "Use Proxy",
        380 => "Alternative Service",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        412 => "Conditional Request Failed",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        421 => "Extension Required",
        423 => "Interval Too Brief",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        485 => "Ambiguous",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        493 => "Undecipherable",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        _ => match status / 100 {
            1 => "Progress",
            2 => "OK",
            3 => "Redirection",
            4 => "Request Failure",
            5 => "Server Failure",
            _ => "Global Failure",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::id::Partition;

    fn out(routes: &[&str]) -> OutRequest {
        OutRequest {
            method: Method::Notify,
            uri: "sip:romeo@192.0.2.7".into(),
            from: "\"J\r\nEvil: 1\" <sip:juliet@example.com>;tag=1".into(),
            to: "<sip:romeo@example.net>;tag=2".into(),
            call_id: "c".into(),
            cseq: 5,
            max_forwards: 70,
            routes: routes.iter().map(|route| route.to_string()).collect(),
            headers: vec![(HeaderName::Event, "presence".into())],
            body: Bytes::from_static(b"x"),
            partition: Partition(0),
            domain: String::new(),
            over: None,
        }
    }

    #[test]
    fn a_loose_router_leaves_the_target_and_a_strict_one_takes_its_place() {
        let loose = ["<sip:p1;lr>", "<sip:p2>"];
        assert_eq!(routing(&out(&loose)), ("sip:romeo@192.0.2.7".into(), loose.map(String::from).to_vec()));
        let (uri, routes) = routing(&out(&["<sip:p1;transport=tcp;method=BYE?X=1>", "<sip:p2;lr>"]));
        assert_eq!(uri, "sip:p1;transport=tcp");
        assert_eq!(routes, ["<sip:p2;lr>", "<sip:romeo@192.0.2.7>"]);
    }

    #[test]
    fn both_ways_of_printing_a_request_give_the_same() {
        let credentials = [(HeaderName::Authorization, "Digest a\r\nb".to_owned())];
        let additions =
            Additions { via: "SIP/2.0/TCP a;branch=z9hG4bKx", cseq: 6, credentials: &credentials };
        for uri in ["sip:romeo@192.0.2.7", "sip:r%40x@b:5;gr=a?c=d", "sip:a b@c", "tel:+1", "sip:[::1]", "x"]
        {
            let out = OutRequest { uri: uri.into(), ..out(&["<sip:p1;lr>", "<sip:p2>"]) };
            let message = request(&out, &additions).map(|request| bytes_of(&Message::Request(request)));
            assert_eq!(request_bytes(&out, &additions), message, "{uri}");
        }
    }

    #[test]
    fn nothing_breaks_a_line() {
        let additions = Additions { via: "SIP/2.0/TCP a;branch=z9hG4bKx", cseq: 6, credentials: &[] };
        let request = request(&out(&[]), &additions).expect("prints");
        let mut bytes = Vec::new();
        request.write_to(&mut bytes);
        let text = String::from_utf8(bytes).expect("UTF-8");
        assert!(!text.contains("\r\nEvil"), "{text}");
        assert!(
            text.contains("CSeq: 6 NOTIFY\r\n") && text.ends_with("Content-Length: 1\r\n\r\nx"),
            "{text}"
        );
    }
}
