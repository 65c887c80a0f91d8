//! The component stream (XEP-0114 §3) as a machine without I/O: bytes in, [`Event`]s out.
//!
//! Limits are checked on the tokens of [`super::lexer`], before a tree is built: a stanza that exceeds one costs its head, is
//! named in [`Event::Refused`] so that its sender can be answered, and the rest of it is skipped; the stream goes on.
//! Only what XML itself forbids, or what a stream does not allow (a DTD, a comment, bad UTF-8), ends it.
//!
//! What this does not do: connect, wait, send. [`open`], [`handshake`] and [`CLOSE`] are what has to be sent.

use std::borrow::Cow;

use sha1::{Digest, Sha1};

use super::element::{Attr, Element, Name, escape_value};
use super::lexer::{self, Bad, Lexer, Tag, Token};
pub use super::limits::{Limit, Limits, Refused};
use super::ns;

/// What opens our half of the stream of the component `domain`.
pub fn open(domain: &str) -> String {
    let mut text = String::from("<?xml version='1.0'?><stream:stream xmlns='");
    text.push_str(ns::COMPONENT);
    text.push_str("' xmlns:stream='");
    text.push_str(ns::STREAM);
    text.push_str("' to='");
    escape_value(domain, &mut text);
    text.push_str("'>");
    text
}

/// What proves that we know `secret`, on the stream that the server named `id`. XEP-0114 §3: SHA-1 in lower case
/// hexadecimal over the id and the secret, both as they are, not as XML escapes them.
pub fn handshake(id: &str, secret: &str) -> String {
    let digest = Sha1::new().chain_update(id).chain_update(secret).finalize();
    format!("<handshake>{digest:x}</handshake>")
}

/// What closes our half of the stream.
pub const CLOSE: &str = "</stream:stream>";

/// A refused stanza is skipped up to this many bytes; whoever sends more is not sending a stanza.
const SKIP_BYTES: usize = 16 * 1024 * 1024;
/// A refused stanza is skipped up to this depth: the lexer keeps the names of open elements.
const SKIP_DEPTH: usize = 100_000;
/// The longest address or id that is kept of a refused stanza.
const HEAD_VALUE: usize = 4096;

const NO_STREAM: &str = "this is no XMPP stream";

/// What the server's bytes mean.
#[derive(Debug, PartialEq)]
pub enum Event {
    /// The server opened its half. Send [`handshake`] with this id.
    Opened {
        /// The stream's id.
        id: String,
    },
    /// The handshake is accepted: stanzas may be sent.
    Accepted,
    /// A stanza, or another element at the level of stanzas.
    Element(Element),
    /// A stanza that exceeded a limit.
    Refused(Refused),
    /// `<stream:error/>`; the server closes next.
    Error(StreamError),
    /// The server closed its half.
    Closed,
    /// The stream cannot be read any further; what comes after is ignored.
    Broken(String),
}

/// `<stream:error/>` (RFC 6120 §4.9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamError {
    /// The condition's name: `not-authorized`.
    pub condition: String,
    /// What the server says about it.
    pub text: Option<String>,
}

/// The server's half of a component stream.
pub struct Stream {
    lexer: Lexer,
    limits: Limits,
    state: State,
    /// Open elements, the stream's root included.
    depth: usize,
    /// Namespace declarations in force, innermost last.
    scopes: Vec<Scope>,
    /// The open elements of the current stanza, outermost first.
    tree: Vec<Element>,
    /// Bytes of the current stanza.
    bytes: usize,
    /// Elements and texts of the current stanza.
    nodes: usize,
    /// The current stanza has been refused.
    skipping: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    /// Not a byte has come.
    ExpectFirstByte,
    ExpectHeader,
    ExpectAccept,
    Open,
    Done,
}

struct Scope {
    depth: usize,
    prefix: Option<String>,
    ns: Name,
}

/// The attributes of a tag, while it is read.
#[derive(Default)]
struct Head {
    attrs: Vec<Attr>,
    /// The attributes with a prefix, by their place: a declaration may follow them.
    prefixed: Vec<(usize, String)>,
    /// How many namespaces it declares.
    declared: usize,
    over: Option<Limit>,
}

impl Stream {
    /// A stream of which nothing has come yet.
    pub fn new(limits: Limits) -> Stream {
        Stream {
            lexer: Lexer::default(),
            limits,
            state: State::ExpectFirstByte,
            depth: 0,
            scopes: Vec::new(),
            tree: Vec::new(),
            bytes: 0,
            nodes: 0,
            skipping: false,
        }
    }

    /// Reads what came from the server, and appends what it means to `events`.
    pub fn receive(&mut self, bytes: &[u8], events: &mut Vec<Event>) {
        // Something that speaks another protocol would otherwise be read as a text that waits for its tag.
        let foreign = |first: &u8| *first != b'<' && !first.is_ascii_whitespace();
        if let (State::ExpectFirstByte, Some(first)) = (self.state, bytes.first()) {
            if foreign(first) {
                return self.end(Event::Broken(NO_STREAM.into()), events);
            }
            self.state = State::ExpectHeader;
        }
        if self.state == State::Done {
            return;
        }
        let mut lexer = std::mem::take(&mut self.lexer);
        let read = lexer.read(bytes, |length, token| {
            self.token(length, token, events)?;
            Ok(self.state != State::Done)
        });
        self.lexer = lexer;
        if let Err(bad) = read {
            self.end(Event::Broken(bad.to_string()), events);
        }
    }

    fn end(&mut self, event: Event, events: &mut Vec<Event>) {
        self.state = State::Done;
        self.tree.clear();
        events.push(event);
    }

    fn token(&mut self, length: usize, token: Token<'_>, events: &mut Vec<Event>) -> Result<(), Bad> {
        self.bytes = self.bytes.saturating_add(length);
        match token {
            Token::Nothing => {}
            Token::Open(tag) => {
                self.depth += 1;
                if self.depth == 2 {
                    (self.bytes, self.nodes) = (length, 0);
                }
                self.open(&tag, events)?;
                if tag.is_empty && self.state != State::Done {
                    self.foot(events);
                }
            }
            Token::Text(text) => self.text(text, events),
            Token::Close => self.foot(events),
        }
        if self.depth > SKIP_DEPTH || (self.depth > 1 && self.bytes > SKIP_BYTES) {
            self.end(Event::Broken("an element without end".into()), events);
        }
        Ok(())
    }

    fn open(&mut self, tag: &Tag<'_>, events: &mut Vec<Event>) -> Result<(), Bad> {
        self.nodes += 1;
        let skips = self.skipping || self.refuse_for_size(events);
        let mut head = Head::default();
        for attr in tag.attrs() {
            let (name, value) = attr?;
            if !skips {
                self.attribute(&mut head, name, value);
            }
        }
        if !skips {
            self.head(tag.name, head, events);
        }
        Ok(())
    }

    fn attribute(&mut self, head: &mut Head, name: lexer::Name<'_>, value: Cow<'_, str>) {
        let lexer::Name { prefix, local: name } = name;
        if head.over.is_none() {
            if head.attrs.len() + head.declared >= self.limits.attributes {
                head.over = Some(Limit::Attributes(self.limits.attributes));
            } else if self.bytes > self.limits.bytes {
                head.over = Some(Limit::Bytes(self.limits.bytes));
            }
        }
        let declares = match prefix {
            None if name == "xmlns" => Some(None),
            Some("xmlns") => Some(Some(name)),
            _ => None,
        };
        if head.over.is_some() {
            // Only what names the stanza is still worth keeping, once.
            let known = head.attrs.iter().any(|attr| attr.ns.is_empty() && attr.name == name);
            if declares.is_some()
                || prefix.is_some()
                || known
                || !is_address(name)
                || value.len() > HEAD_VALUE
            {
                return;
            }
        }
        if let Some(declared) = declares {
            head.declared += 1;
            let depth = self.depth;
            let mut own = self.scopes.iter().rev().take_while(|scope| scope.depth == depth);
            if own.any(|scope| scope.prefix.as_deref() == declared) {
                head.over = Some(Limit::Names);
            }
            let prefix = declared.map(str::to_owned);
            return self.scopes.push(Scope { depth, prefix, ns: ns::intern(&value) });
        }
        if let Some(prefix) = prefix {
            head.prefixed.push((head.attrs.len(), prefix.to_owned()));
        }
        head.attrs.push(Attr { ns: Cow::Borrowed(""), name: intern(name), value: value.into_owned() });
    }

    fn head(&mut self, name: lexer::Name<'_>, mut head: Head, events: &mut Vec<Event>) {
        let ns = self.resolve(name.prefix);
        let mut names_fit = ns.is_some();
        for (place, prefix) in &head.prefixed {
            match self.resolve(Some(prefix)) {
                Some(ns) => head.attrs[*place].ns = ns,
                None => names_fit = false,
            }
        }
        let is_repeated = |(place, attr): (usize, &Attr)| {
            head.attrs[..place].iter().any(|other| other.name == attr.name && other.ns == attr.ns)
        };
        names_fit = names_fit && !head.attrs.iter().enumerate().any(is_repeated);
        let element = Element::parsed(intern(name.local), ns.unwrap_or_default(), head.attrs);
        if self.depth == 1 {
            return self.header(&element, names_fit, events);
        }
        self.tree.push(element);
        if let Some(limit) = head.over.or((!names_fit).then_some(Limit::Names)) {
            self.refuse(limit, events);
        }
    }

    fn resolve(&self, prefix: Option<&str>) -> Option<Name> {
        let declared = self.scopes.iter().rev().find(|scope| scope.prefix.as_deref() == prefix);
        match (declared, prefix) {
            (Some(scope), _) => Some(scope.ns.clone()),
            (None, None) => Some(Cow::Borrowed("")),
            (None, Some("xml")) => Some(Cow::Borrowed(ns::XML)),
            (None, Some(_)) => None,
        }
    }

    /// The root: is this a component stream at all?
    fn header(&mut self, root: &Element, names_fit: bool, events: &mut Vec<Event>) {
        let default = self.resolve(None).unwrap_or_default();
        if !names_fit || !root.is("stream", ns::STREAM) {
            return self.end(Event::Broken(NO_STREAM.into()), events);
        }
        if default != ns::COMPONENT {
            let reason = format!("this is no component stream: its namespace is '{default}'");
            return self.end(Event::Broken(reason), events);
        }
        self.state = State::ExpectAccept;
        // A header without an id comes before an error: there is nothing to prove yet.
        if let Some(id) = root.attr("id").filter(|id| !id.is_empty()) {
            events.push(Event::Opened { id: id.to_owned() });
        }
    }

    fn text(&mut self, text: Cow<'_, str>, events: &mut Vec<Event>) {
        // White space between stanzas is a keep-alive (RFC 6120 §4.6.1); any other text there means nothing.
        if self.depth < 2 || self.skipping {
            return;
        }
        // A text may come in pieces; it is one part all the same.
        if !self.tree.last().is_some_and(Element::ends_in_text) {
            self.nodes += 1;
        }
        if self.refuse_for_size(events) {
            return;
        }
        if let Some(element) = self.tree.last_mut() {
            element.append_parsed(text.into_owned());
        }
    }

    fn foot(&mut self, events: &mut Vec<Event>) {
        if !self.skipping && self.depth > 1 && self.bytes > self.limits.bytes {
            self.refuse(Limit::Bytes(self.limits.bytes), events);
        }
        while self.scopes.last().is_some_and(|scope| scope.depth >= self.depth) {
            self.scopes.pop();
        }
        self.depth -= 1;
        if self.depth == 0 {
            return self.end(Event::Closed, events);
        }
        if self.skipping {
            self.skipping = self.depth > 1;
            return;
        }
        let Some(element) = self.tree.pop() else { return };
        match self.tree.last_mut() {
            Some(parent) => parent.push(element),
            None => self.complete(element, events),
        }
    }

    fn complete(&mut self, element: Element, events: &mut Vec<Event>) {
        if element.is("error", ns::STREAM) {
            events.push(Event::Error(stream_error(&element)));
        } else if self.state == State::Open {
            events.push(Event::Element(element));
        } else if element.is("handshake", ns::COMPONENT) {
            self.state = State::Open;
            events.push(Event::Accepted);
        } else if !element.is("features", ns::STREAM) {
            self.end(Event::Broken(format!("<{}/> before the handshake", element.name())), events);
        }
    }

    /// Refuses the current stanza if it has grown too large.
    fn refuse_for_size(&mut self, events: &mut Vec<Event>) -> bool {
        let Limits { depth, nodes, bytes, .. } = self.limits;
        // The root is not part of any stanza; a stanza's own tag is refused when it is known who sent it.
        if self.depth < 2 || self.tree.is_empty() {
            return false;
        }
        let limit = if self.depth - 1 > depth {
            Limit::Depth(depth)
        } else if self.nodes > nodes {
            Limit::Nodes(nodes)
        } else if self.bytes > bytes {
            Limit::Bytes(bytes)
        } else {
            return false;
        };
        self.refuse(limit, events);
        true
    }

    fn refuse(&mut self, limit: Limit, events: &mut Vec<Event>) {
        self.skipping = true;
        let Some(stanza) = self.tree.first() else { return };
        let mut head = Element::new(stanza.name().to_owned(), stanza.ns().to_owned());
        for attr in stanza.attrs() {
            if attr.ns.is_empty() && is_address(&attr.name) && attr.value.len() <= HEAD_VALUE {
                head.push_attr(attr.clone());
            }
        }
        self.tree.clear();
        events.push(Event::Refused(Refused { head, limit }));
    }
}

fn is_address(name: &str) -> bool {
    matches!(name, "from" | "to" | "id" | "type")
}

fn stream_error(element: &Element) -> StreamError {
    let condition =
        element.children().find(|child| child.ns() == ns::STREAM_ERRORS && child.name() != "text");
    StreamError {
        condition: condition.map_or("undefined-condition", Element::name).to_owned(),
        text: element.child("text", ns::STREAM_ERRORS).map(Element::text).filter(|text| !text.is_empty()),
    }
}

/// The names that most stanzas are made of, in the order of [`ns::find`].
const NAMES: [&str; 21] = [
    "c", "id", "iq", "to", "ver", "body", "from", "hash", "node", "ping", "show", "type", "delay", "error",
    "query", "active", "status", "thread", "message", "presence", "priority",
];

fn intern(name: &str) -> Name {
    match ns::find(&NAMES, name) {
        Some(place) => Cow::Borrowed(NAMES[place]),
        None => Cow::Owned(name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns:stream='http://etherx.jabber.org/streams' \
                          xmlns='jabber:component:accept' from='sip.example' id='s1'>";
    const READY: &str = "<handshake/>";

    fn read_in(pieces: &[&[u8]]) -> Vec<Event> {
        let mut stream = Stream::new(Limits { bytes: 100_000, ..Limits::default() });
        let mut events = Vec::new();
        pieces.iter().for_each(|piece| stream.receive(piece, &mut events));
        events
    }

    /// What follows header and handshake.
    fn read(text: &str) -> Vec<Event> {
        let mut events = read_in(&[HEADER.as_bytes(), READY.as_bytes(), text.as_bytes()]);
        assert_eq!(events.drain(..2).next_back(), Some(Event::Accepted));
        events
    }

    fn broken(text: &str) -> bool {
        matches!(read(text).last(), Some(Event::Broken(_)))
    }

    fn refusal(event: &Event) -> (Limit, String) {
        match event {
            Event::Refused(refused) => (refused.limit, refused.head.to_string()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_stream_opens_and_the_handshake_is_the_published_one() {
        assert_eq!(read_in(&[HEADER.as_bytes()]), [Event::Opened { id: "s1".into() }]);
        // Computed apart from this code: printf 3BF96D32secret | sha1sum
        assert_eq!(
            handshake("3BF96D32", "secret"),
            "<handshake>b09ea9b3b7f586be8a08d0a3dd7466f110aeb136</handshake>"
        );
        assert_eq!(
            open("sip.example"),
            "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' \
             xmlns:stream='http://etherx.jabber.org/streams' to='sip.example'>"
        );
    }

    #[test]
    fn stanzas_keep_what_is_foreign_to_them() {
        let text = "<message from='a@b/c' to='d@e'><body xml:lang='de'>x &lt; &#x79;<![CDATA[<z>]]></body>\
                    <p:x xmlns:p='urn:p' xmlns:q='urn:q' q:a='1' a='2'><y xmlns=''/><p:z/></p:x></message>";
        let events = read(text);
        let [Event::Element(element)] = &events[..] else { panic!("{events:?}") };
        assert_eq!(element.child("body", ns::COMPONENT).map(Element::text).as_deref(), Some("x < y<z>"));
        let x = element.child("x", "urn:p").expect("the foreign child");
        assert_eq!(x.attr("a"), Some("2"));
        assert!(x.child("y", "").is_some() && x.child("z", "urn:p").is_some());
    }

    #[test]
    fn any_split_gives_the_same_events() {
        let text = format!(
            "{HEADER}{READY} \n<message from='a@b' to='c@d'><body>gr\u{fc}n &amp; 😀</body></message>\
             <iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq></stream:stream>"
        );
        let whole = read_in(&[text.as_bytes()]);
        assert_eq!(whole.len(), 5);
        assert_eq!(read_in(&text.as_bytes().chunks(1).collect::<Vec<_>>()), whole);
        for at in 1..text.len() {
            let (head, tail) = text.as_bytes().split_at(at);
            assert_eq!(read_in(&[head, tail]), whole, "split at {at}");
        }
    }

    #[test]
    fn a_stanza_of_20000_levels_is_refused_and_the_stream_goes_on() {
        let (open, close) = ("<a>".repeat(20_000), "</a>".repeat(20_000));
        let events =
            read(&format!("<message from='a@b/c' to='d@e' id='7' type='chat'>{open}{close}</message><iq/>"));
        let head = "<message xmlns='jabber:component:accept' from='a@b/c' to='d@e' id='7' type='chat'/>";
        assert_eq!(refusal(&events[0]), (Limit::Depth(64), head.into()));
        assert_eq!(events[1..], [Event::Element(Element::new("iq", ns::COMPONENT))]);
    }

    #[test]
    fn each_limit_is_told_and_answered() {
        let many = |count: usize| (0..count).map(|number| format!(" a{number}=''")).collect::<String>();
        for (inner, limit) in [
            (format!("<x{}/>", many(65)), Limit::Attributes(64)),
            ("<x/>".repeat(4096), Limit::Nodes(4096)),
            (format!("<body>{}</body>", "x".repeat(100_000)), Limit::Bytes(100_000)),
            (format!("<x a='{}'/>", "x".repeat(100_000)), Limit::Bytes(100_000)),
            ("<p:x/>".into(), Limit::Names),
            ("<x a='' a=''/>".into(), Limit::Names),
            ("<x xmlns='urn:a' xmlns='urn:b'/>".into(), Limit::Names),
            ("<x xmlns:p='urn:a' xmlns:q='urn:a' p:a='' q:a=''/>".into(), Limit::Names),
        ] {
            let events = read(&format!("<message from='a@b' to='c@d' id='7'>{inner}</message><iq/>"));
            assert_eq!(refusal(&events[0]).0, limit, "{inner:.60}");
            assert!(matches!(&events[1], Event::Element(iq) if iq.name() == "iq"));
            let Event::Refused(refused) = &events[0] else { panic!("{events:?}") };
            let answer = refused.answer().expect("an answer").to_xml();
            assert!(answer.contains("<policy-violation ") && answer.contains("id='7'"), "{answer}");
        }
    }

    #[test]
    fn a_text_of_many_references_is_one_part() {
        let events = read(&format!("<message><body>{}</body></message>", "a&lt;".repeat(5000)));
        let [Event::Element(message)] = &events[..] else { panic!("{events:?}") };
        assert_eq!(message.child("body", ns::COMPONENT).map(Element::text), Some("a<".repeat(5000)));
    }

    #[test]
    fn a_stanza_whose_own_tag_is_too_large_is_still_named() {
        let many = (0..100).map(|number| format!(" a{number}=''")).collect::<String>();
        let events = read(&format!("<message id='7'{many} from='a@b' to='c@d'><body/></message><iq/>"));
        assert_eq!(
            refusal(&events[0]).1,
            "<message xmlns='jabber:component:accept' id='7' from='a@b' to='c@d'/>"
        );
        assert_eq!(events.len(), 2);
        let events = read(&format!("<message id='{}' from='a@b' to='c@d'/><iq/>", "x".repeat(200_000)));
        assert_eq!(refusal(&events[0]).0, Limit::Bytes(100_000));
    }

    #[test]
    fn a_stanza_without_end_ends_the_stream() {
        let events = read(&"<a>".repeat(SKIP_DEPTH));
        assert!(matches!(&events[..], [Event::Refused(_), Event::Broken(_)]), "{:?}", events.len());
        let piece = "x".repeat(1024 * 1024);
        let mut stream = Stream::new(Limits::default());
        let mut events = Vec::new();
        stream.receive(format!("{HEADER}{READY}<message><body>").as_bytes(), &mut events);
        (0..18).for_each(|_| stream.receive(piece.as_bytes(), &mut events));
        assert!(matches!(&events[2..], [Event::Refused(_), Event::Broken(_)]), "{:?}", &events[2..]);
    }

    #[test]
    fn what_xml_or_a_stream_forbids_ends_it() {
        for text in [
            "<!DOCTYPE x [<!ENTITY a 'b'>]>",
            "<message>&nbsp;</message>",
            "<message>&#0;</message>",
            "<message><!-- x --></message>",
            "<?pi x?>",
            "<message></iq>",
            "<message",
        ] {
            assert!(broken(text) || text == "<message", "{text}");
        }
        let bad = [HEADER.as_bytes(), READY.as_bytes(), b"<message><body>\xff</body></message>"];
        assert!(matches!(read_in(&bad).last(), Some(Event::Broken(_))));
        for first in ["HTTP/1.1 400 Bad Request\r\n", "<html>", "<!DOCTYPE x>", "\u{0}"] {
            assert!(matches!(&read_in(&[first.as_bytes()])[..], [Event::Broken(_)]), "{first}");
        }
        let client = HEADER.replace("jabber:component:accept", "jabber:client");
        assert!(matches!(&read_in(&[client.as_bytes()])[..],
            [Event::Broken(reason)] if reason.ends_with("its namespace is 'jabber:client'")));
    }

    #[test]
    fn nothing_is_read_after_the_end() {
        let events = read("</stream:stream><message/>");
        assert_eq!(events, [Event::Closed]);
        assert_eq!(read_in(&[HEADER.as_bytes(), b"<message/>", READY.as_bytes()]).len(), 2);
    }

    #[test]
    fn a_stream_error_carries_its_condition_and_text() {
        let error = "<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
                     <text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>no such host</text></stream:error>";
        let without_id = HEADER.replace(" id='s1'", "");
        let events = read_in(&[without_id.as_bytes(), error.as_bytes(), b"</stream:stream>"]);
        let error = StreamError { condition: "host-unknown".into(), text: Some("no such host".into()) };
        assert_eq!(events, [Event::Error(error), Event::Closed]);
    }

    #[test]
    fn known_names_are_sorted_for_the_search() {
        assert!(NAMES.is_sorted_by_key(|name| ns::order(name)));
    }
}
