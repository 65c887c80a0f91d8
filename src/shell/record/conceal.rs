//! What a recording does not tell: what people wrote, and what proves who somebody is.
//!
//! Text of people that comes in is replaced by as many bytes of `x`. The gateway that plays the recording passes on
//! what it was given, so where text goes out that has come in before, the same stands; where it is of the gateway's
//! own making, or has been changed on its way, anything may stand there (`{_}`). Addresses, names, ids, states and
//! times are told. Credentials and passwords are left out even where the admin lets bodies be recorded.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};

use crate::documents::conference;

/// The way that a text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the gateway: it will be given again as it stands.
    In,
    /// From the gateway: it will be compared.
    Out,
}

/// Knows what has come in, and conceals it.
#[derive(Debug)]
pub struct Conceal {
    /// The admin lets bodies be recorded.
    bodies: bool,
    /// Hashes of texts that have come in, with a key of this process.
    heard: BTreeSet<u64>,
    key: RandomState,
}

/// How many texts are remembered; then all are forgotten, and what goes out may be anything.
const HEARD: usize = 10_000;

/// Anything, in an expectation.
const ANYTHING: &str = "{_}";
/// The same behind a name.
const COLON_ANYTHING: &str = ":{_}";

/// Elements whose text nobody wrote.
const STRUCTURE: [&str; 31] = [
    "active",
    "basic",
    "by",
    "contact",
    "contenttype",
    "datetime",
    "disconnection-method",
    "display-text",
    "entry",
    "gone",
    "joining-method",
    "lastactive",
    "locked",
    "maximum-user-count",
    "message-id",
    "priority",
    "purpose",
    "recipient-uri",
    "redirect",
    "refresh",
    "show",
    "state",
    "text",
    "thread",
    "timestamp",
    "type",
    "until",
    "uri",
    "user-count",
    "user-input",
    "when",
];

/// Which way a medium flows, as a roster says it (RFC 4575 §5.8.4).
const MEDIA: [&str; 4] = ["inactive", "recvonly", "sendonly", "sendrecv"];

/// Elements whose text is a secret.
const SECRETS: [&str; 3] = ["digest", "key", "password"];

/// Attributes that people write.
const WRITTEN: [&str; 4] = ["alt", "href", "src", "title"];

/// Attributes, elements and headers that say when or by which version something was made.
const PASSING: [&str; 6] = ["date", "server", "stamp", "timestamp", "user-agent", "ver"];

/// Parts inside parts, as deep as a body of ours is read.
const DEPTH: usize = 4;

impl Conceal {
    /// Has heard nothing.
    pub fn new(bodies: bool) -> Conceal {
        Conceal { bodies, heard: BTreeSet::new(), key: RandomState::new() }
    }

    /// A SIP message or an MSRP frame, with line feeds alone. What the head says of the body's length is left out where it is so.
    pub fn message(&mut self, way: Way, text: &str) -> String {
        let text = text.replace("\r\n", "\n");
        let (head, body) = text.split_once("\n\n").unwrap_or((text.trim_end_matches('\n'), ""));
        let mut lines = head.lines();
        let mut out = self.first_line(way, lines.next().unwrap_or_default());
        let mut type_ = String::new();
        let mut is_kept = true;
        for line in lines {
            if line.starts_with([' ', '\t']) {
                // It goes on with the header before.
                if is_kept {
                    push_line(&mut out, line);
                }
                continue;
            }
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let (name_, value) = (name.trim().to_ascii_lowercase(), value.trim());
            let header = match name_.as_str() {
                "authorization" | "proxy-authorization" if way == Way::In => None,
                "authorization" | "proxy-authorization" => Some(format!("{name}: {ANYTHING}")),
                "content-length" | "l" if way == Way::Out => None,
                // The bytes of the line breaks may differ: it is right if it is near.
                "content-length" | "l" if is_near(value, body) => None,
                // Why somebody was put out of a room is what somebody wrote.
                "reason" if !self.bodies => Some(match value.split_once(";text=") {
                    Some((cause, _)) if way == Way::Out => format!("{name}: {cause};text={ANYTHING}"),
                    Some((cause, text)) => {
                        format!("{name}: {cause};text=\"{}\"", placeholder(text.trim_matches('"')))
                    }
                    None => line.to_owned(),
                }),
                "subject" | "s" => Some(format!("{name}: {}", self.words(way, value))),
                passing if way == Way::Out && PASSING.contains(&passing) => {
                    Some(format!("{name}: {ANYTHING}"))
                }
                // Whether a text is ASCII shows in its type.
                "content-type" | "c"
                    if way == Way::Out
                        && !self.bodies
                        && value.to_ascii_lowercase().starts_with("text/plain") =>
                {
                    Some(format!("{name}: text/plain{ANYTHING}"))
                }
                _ => Some(without_passwords(way, line)),
            };
            if matches!(name_.as_str(), "content-type" | "c") {
                type_ = value.to_owned();
            }
            is_kept = header.is_some() && !name_.ends_with("authorization");
            if let Some(header) = header {
                push_line(&mut out, &header);
            }
        }
        if !body.is_empty() {
            out.push_str("\n\n");
            out.push_str(&self.body(way, &type_, body, DEPTH));
        }
        out
    }

    /// Bytes that are no message: nobody knows what is in them, but a head that looks like one.
    pub fn noise(&mut self, text: &str) -> String {
        let first = text.lines().next().unwrap_or_default();
        if first.contains("SIP/2.0") { self.message(Way::In, text) } else { placeholder(text) }
    }

    /// A request line, or a status line: why somebody declined is what somebody wrote.
    fn first_line(&mut self, way: Way, line: &str) -> String {
        match status_of(line).filter(|_| way == Way::Out && !self.bodies) {
            Some((status, _)) if status.ends_with(" 603") => format!("{status} {ANYTHING}"),
            _ => without_passwords(way, line),
        }
    }

    fn body(&mut self, way: Way, type_: &str, body: &str, depth: usize) -> String {
        let lower = type_.to_ascii_lowercase();
        let base = lower.split(';').next().unwrap_or_default().trim();
        if base.ends_with("xml") || base == "text/html" {
            return self.xml(way, body);
        }
        if base == "application/sdp" {
            return self.description(way, body);
        }
        if base == "message/sipfrag" {
            // What became of something is no word of anybody's, but how it was declined may be.
            let (line, rest) = body.split_once('\n').unwrap_or((body, ""));
            let told = match status_of(line) {
                Some((status, words)) => format!("{status} {}", self.words(way, words)),
                None => self.words(way, line),
            };
            let end = if body.contains('\n') { "\n" } else { "" };
            return format!("{told}{end}{}", self.words(way, rest));
        }
        if depth > 0 && base == "message/cpim" {
            // Headers, a blank line, headers of the content, a blank line.
            let (outer, rest) = self.head(way, body);
            let (inner, content) = self.head(way, rest);
            let type_ = value_of(&inner, "content-type").to_owned();
            return format!("{outer}{inner}{}", self.body(way, &type_, content, depth - 1));
        }
        if depth > 0
            && base.starts_with("multipart/")
            && let Some(boundary) = boundary(type_)
        {
            let mut out = String::new();
            let mut rest = body;
            while !rest.is_empty() {
                let end = next_part(rest, &boundary);
                let (content, after) = rest.split_at(end);
                let (line, part) = content.split_at(content.find('\n').map_or(content.len(), |at| at + 1));
                if line.starts_with(&format!("--{boundary}")) {
                    let (head, part) = self.head(way, part);
                    let type_ = value_of(&head, "content-type").to_owned();
                    out.push_str(line);
                    out.push_str(&head);
                    out.push_str(&self.body(way, &type_, part, depth - 1));
                } else {
                    out.push_str(&self.words(way, content));
                }
                rest = after;
            }
            return out;
        }
        self.words(way, body)
    }

    /// A session description: without keys, and without what people call themselves and their sessions. What we number
    /// has another number in each run.
    fn description(&mut self, way: Way, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        for line in text.split_inclusive('\n') {
            match line.split_once('=') {
                Some(("k", _)) => {}
                Some(("a", value)) if value.starts_with("crypto:") => {}
                Some(("o", _)) if way == Way::Out => out.push_str(&format!("o={ANYTHING}\n")),
                Some((name @ ("s" | "i" | "u" | "e" | "p"), value)) if value.trim() != "-" => {
                    out.push_str(&format!("{name}={}\n", self.words(way, value.trim())));
                }
                _ => out.push_str(line),
            }
        }
        out
    }

    /// The lines up to a blank one, which is among them; a subject is concealed.
    fn head<'a>(&mut self, way: Way, text: &'a str) -> (String, &'a str) {
        let mut out = String::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.find('\n').map_or(rest.len(), |at| at + 1));
            rest = after;
            match line.split_once(':') {
                Some((name, value)) if name.to_ascii_lowercase().starts_with("subject") => {
                    out.push_str(&format!("{name}: {}\n", self.words(way, value.trim())));
                }
                _ => out.push_str(line),
            }
            if line.trim().is_empty() {
                break;
            }
        }
        (out, rest)
    }

    /// A document or a stanza: tags stay, texts are concealed.
    pub fn xml(&mut self, way: Way, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut inside = String::new();
        let mut rest = text;
        while let Some(open) = rest.find('<') {
            out.push_str(&self.run(way, &inside, &rest[..open]));
            rest = &rest[open..];
            if let Some(after) = rest.strip_prefix("<!--") {
                rest = after.split_once("-->").map_or("", |(_, rest)| rest);
                continue;
            }
            if let Some(after) = rest.strip_prefix("<![CDATA[") {
                let (data, after) = after.split_once("]]>").unwrap_or((after, ""));
                let data = quick_xml::escape::partial_escape(data).into_owned();
                out.push_str(&self.run(way, &inside, &data));
                rest = after;
                continue;
            }
            let (tag, after) = rest.split_at(end_of_tag(rest));
            inside = name_of(tag).to_owned();
            out.push_str(&self.tag(way, tag));
            rest = after;
        }
        out + &self.run(way, &inside, rest)
    }

    /// The text behind a tag of this name.
    fn run(&mut self, way: Way, name: &str, text: &str) -> String {
        let passing = way == Way::Out && PASSING.contains(&name);
        // In presence people write it, in a roster it is a word of RFC 4575.
        let is_word = match name {
            "status" => conference::Status::parse(text).is_some() || MEDIA.contains(&text),
            // What kind of form it is (XEP-0068).
            "value" => text.starts_with("http://jabber.org/protocol/"),
            _ => false,
        };
        if text.trim().is_empty() || is_word || STRUCTURE.contains(&name) && !passing {
            return without_passwords(way, text);
        }
        if passing {
            return ANYTHING.to_owned();
        }
        let plain = quick_xml::escape::unescape(text).unwrap_or(text.into()).into_owned();
        if SECRETS.contains(&name) {
            return match way {
                Way::In => placeholder(&plain),
                Way::Out => ANYTHING.to_owned(),
            };
        }
        let told = self.words(way, &plain);
        // Trees are compared with a text in one line.
        if told.contains(ANYTHING) && !self.bodies {
            return ANYTHING.to_owned();
        }
        quick_xml::escape::partial_escape(told.as_str()).into_owned()
    }

    fn tag(&mut self, way: Way, tag: &str) -> String {
        let mut out = String::with_capacity(tag.len());
        let mut rest = tag;
        while let Some(open) = rest.find(['\'', '"']) {
            let quote = &rest[open..=open];
            let Some(length) = rest[open + 1..].find(quote) else { break };
            let name =
                rest[..open].trim_end_matches('=').rsplit([' ', '\n', '\t', ':']).next().unwrap_or_default();
            let value = &rest[open + 1..open + 1 + length];
            out.push_str(&rest[..=open]);
            if way == Way::Out && PASSING.contains(&name) {
                out.push_str(ANYTHING);
            } else if WRITTEN.contains(&name) {
                out.push_str(&self.words(way, value));
            } else {
                out.push_str(&without_passwords(way, value));
            }
            out.push_str(quote);
            rest = &rest[open + length + 2..];
        }
        out + rest
    }

    /// Something that a person wrote.
    fn words(&mut self, way: Way, text: &str) -> String {
        if self.bodies || text.trim().is_empty() {
            return text.to_owned();
        }
        let hash = self.key.hash_one(text);
        match way {
            Way::In => {
                if self.heard.len() >= HEARD {
                    self.heard.clear();
                }
                self.heard.insert(hash);
                placeholder(text)
            }
            Way::Out if self.heard.contains(&hash) => placeholder(text),
            Way::Out => {
                let anything = |line: &str| if line.is_empty() { "" } else { ANYTHING };
                text.split('\n').map(anything).collect::<Vec<_>>().join("\n")
            }
        }
    }
}

/// As many bytes, and the same line breaks.
fn placeholder(text: &str) -> String {
    let one = |c: char| if c == '\n' { "\n".to_owned() } else { "x".repeat(c.len_utf8()) };
    text.chars().map(one).collect()
}

fn push_line(out: &mut String, line: &str) {
    out.push('\n');
    out.push_str(line);
}

/// Whether this is the length of the body, whatever its line breaks.
fn is_near(value: &str, body: &str) -> bool {
    let breaks = body.matches('\n').count();
    value.parse::<usize>().is_ok_and(|length| (body.len()..=body.len() + breaks).contains(&length))
}

/// The value of a header in a head.
fn value_of<'a>(head: &'a str, name: &str) -> &'a str {
    let is =
        |line: &&str| line.split(':').next().is_some_and(|found| found.trim().eq_ignore_ascii_case(name));
    head.lines().find(is).and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim())
}

fn boundary(type_: &str) -> Option<String> {
    let mut parameters = type_.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let (_, value) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("boundary"))?;
    Some(value.trim().trim_matches('"').to_owned()).filter(|value| !value.is_empty())
}

/// Where the next part begins, after the first line.
fn next_part(text: &str, boundary: &str) -> usize {
    text.find(&format!("\n--{boundary}")).map_or(text.len(), |at| at + 1)
}

/// Where the tag ends that begins here: `>` in a value does not end it.
fn end_of_tag(text: &str) -> usize {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '>') => return at + 1,
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    text.len()
}

/// The local name of the element that a tag begins; nothing for one that ends there.
fn name_of(tag: &str) -> &str {
    let name = tag[1..].split([' ', '>', '\n', '\t', '\r']).next().unwrap_or_default();
    if name.starts_with('/') || tag.ends_with("/>") {
        return "";
    }
    name.rsplit(':').next().unwrap_or_default()
}

/// A status line: version and code, and the words behind them.
fn status_of(line: &str) -> Option<(&str, &str)> {
    let code = line.strip_prefix("SIP/2.0 ")?;
    let length = code.find(' ').unwrap_or(code.len());
    Some((&line[..line.len() - code.len() + length], code[length..].trim()))
}

/// A SIP URI may hold a password (RFC 3261 §19.1.1): it is left out, and where it goes out it may be that of a stanza.
fn without_passwords(way: Way, text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let scheme =
        |rest: &str| ["sip:", "sips:"].iter().filter_map(|name| Some(rest.find(name)? + name.len())).min();
    while let Some(start) = scheme(rest) {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = rest.find([' ', '<', '>', '"', ',']).unwrap_or(rest.len());
        if let Some(host) = rest[..end].find('@')
            && let Some(colon) = rest[..host].find(':')
        {
            out.push_str(&rest[..colon]);
            out.push_str(if way == Way::Out { COLON_ANYTHING } else { ":x" });
            rest = &rest[host..];
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_becomes_as_many_bytes() {
        let mut conceal = Conceal::new(false);
        let stanza = "<message from='a@b/c' stamp='1'><body>Hi &amp; ü</body><thread>t1</thread><x xmlns='jabber:x:oob'><url>h</url>\
                      </x><html><p title='T'>Hi</p></html></message>";
        assert_eq!(
            conceal.xml(Way::In, stanza),
            "<message from='a@b/c' stamp='1'><body>xxxxxxx</body><thread>t1</thread><x xmlns='jabber:x:oob'><url>x</url></x><html>\
             <p title='x'>xx</p></html></message>"
        );
        assert_eq!(
            conceal.message(
                Way::Out,
                "MESSAGE sip:a SIP/2.0\r\nContent-Type: text/plain\r\nContent-Length: 8\r\n\r\nHi & ü"
            ),
            "MESSAGE sip:a SIP/2.0\nContent-Type: text/plain{_}\n\nxxxxxxx"
        );
        assert_eq!(
            conceal.xml(Way::Out, "<a ver='1'><body>our words</body><timestamp>2</timestamp></a>"),
            "<a ver='{_}'><body>{_}</body><timestamp>{_}</timestamp></a>"
        );
    }

    #[test]
    fn a_session_description_keeps_its_lines_and_tells_no_key() {
        let mut conceal = Conceal::new(false);
        let text = "v=0\no=juliet 1 2 IN IP4 a\ns=Our chat\nk=clear:secret\nm=message 5 TCP/MSRP *\na=path:msrp://a:5/x;tcp\n\
                    a=crypto:1 secret\n";
        assert_eq!(
            conceal.body(Way::In, "application/sdp", text, DEPTH),
            "v=0\no=juliet 1 2 IN IP4 a\ns=xxxxxxxx\nm=message 5 TCP/MSRP *\na=path:msrp://a:5/x;tcp\n"
        );
        assert!(
            conceal.body(Way::Out, "application/sdp", text, DEPTH).starts_with("v=0\no={_}\ns=xxxxxxxx\n")
        );
    }

    #[test]
    fn a_roster_keeps_its_words_and_a_status_of_people_does_not() {
        let mut conceal = Conceal::new(false);
        let roster = "<user entity='sip:a@b'><display-text>Al</display-text><endpoint><status>on-hold</status></endpoint></user>";
        assert_eq!(conceal.xml(Way::In, roster), roster);
        assert_eq!(conceal.xml(Way::In, "<status>on my way</status>"), "<status>xxxxxxxxx</status>");
    }

    #[test]
    fn structure_of_bodies_stays() {
        let mut conceal = Conceal::new(false);
        let mut body = |type_: &str, body: &str| conceal.body(Way::In, type_, body, DEPTH);
        assert_eq!(
            body("message/cpim", "From: <sip:a@b>\nSubject: s\n\nContent-Type: text/plain\n\ntext\n"),
            "From: <sip:a@b>\nSubject: x\n\nContent-Type: text/plain\n\nxxxx\n"
        );
        assert_eq!(
            body(
                "multipart/mixed; boundary=\"b\"",
                "pre\n--b\nContent-Type: text/plain\n\none\n--b\n\ntwo\n--b--\n"
            ),
            "xxx\n--b\nContent-Type: text/plain\n\nxxx\n--b\n\nxxx\n--b--\n"
        );
        assert_eq!(
            body(
                "application/pidf+xml",
                "<p:presence entity='e'><note>At <!-- c -->home</note><basic>open</basic></p:presence>"
            ),
            "<p:presence entity='e'><note>xxxxxxx</note><basic>open</basic></p:presence>"
        );
    }

    #[test]
    fn credentials_are_left_out_whatever_the_admin_lets_be_recorded() {
        let mut conceal = Conceal::new(true);
        let head = "MESSAGE sip:a:word@b SIP/2.0\r\nAuthorization: Digest\r\n response=\"1\"\r\nTo: <sips:a:word@b>\r\n\
                    Content-Length: 2\r\n\r\nHi";
        assert_eq!(conceal.message(Way::In, head), "MESSAGE sip:a:x@b SIP/2.0\nTo: <sips:a:x@b>\n\nHi");
        assert_eq!(
            conceal.message(Way::Out, head),
            "MESSAGE sip:a:{_}@b SIP/2.0\nAuthorization: {_}\nTo: <sips:a:{_}@b>\n\nHi"
        );
        assert_eq!(
            conceal.xml(Way::In, "<q><password>word</password><body>Hi</body></q>"),
            "<q><password>xxxx</password><body>Hi</body></q>"
        );
    }

    #[test]
    fn how_somebody_declined_is_concealed_and_that_it_was_so_is_told() {
        let mut conceal = Conceal::new(false);
        assert_eq!(conceal.message(Way::Out, "SIP/2.0 603 Too busy\r\n\r\n"), "SIP/2.0 603 {_}");
        assert_eq!(conceal.message(Way::Out, "SIP/2.0 486 Busy Here\r\n\r\n"), "SIP/2.0 486 Busy Here");
        let mut told = |body: &str| conceal.body(Way::In, "message/sipfrag;version=2.0", body, DEPTH);
        assert_eq!(told("SIP/2.0 603 Too busy"), "SIP/2.0 603 xxxxxxxx");
        assert_eq!(told("SIP/2.0 200 OK\nSubject: word"), "SIP/2.0 200 xx\nxxxxxxxxxxxxx");
        assert_eq!(told("my words"), "xxxxxxxx");
    }

    #[test]
    fn noise_is_concealed_whole() {
        let mut conceal = Conceal::new(false);
        assert_eq!(conceal.noise("no request\nat all"), "xxxxxxxxxx\nxxxxxx");
        assert_eq!(conceal.noise("A b SIP/2.0\n\nbody"), "A b SIP/2.0\n\nxxxx");
        assert_eq!(conceal.xml(Way::In, "<a><![CDATA[word]]> b"), "<a>xxxxxx");
        assert_eq!(conceal.xml(Way::In, "<a b='"), "<a b='");
    }
}
