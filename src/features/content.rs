//! The content of a SIP MESSAGE as text (RFC 3428 §7, RFC 7572 §7), or the answer that refuses it.
//!
//! Understood: text in any charset, HTML as plain text, the best text of `multipart/alternative`, all texts of
//! `multipart/mixed`, and what `message/cpim` wraps. The names inside a CPIM envelope are not believed: it is signed by
//! nobody. A file that was uploaded somewhere is shown as its address. Typing notifications and delivery reports, bare or
//! wrapped, belong to other features ([`notice`]); one that is mixed with something else, and everything else that is not
//! text, is refused: 415 with what is accepted.

use std::borrow::Cow;

use crate::documents::encoding::{self, ACCEPT_ENCODING, EncodingProblem};
use crate::documents::file_http;
use crate::documents::imdn::{self, Wanted};
use crate::documents::mime::{self, Inside, MediaType, Part};
use crate::documents::text::{self, TextProblem};
use crate::documents::{cpim, date, html};
use crate::sip::message::{self, HeaderName, Reply, Request};
use crate::words::text::{clean, is_language};
use crate::words::time::Wall;

/// What is accepted in a MESSAGE, for Accept.
pub const ACCEPT: &str = "text/plain, text/html, multipart/alternative, multipart/mixed, message/cpim, \
                          application/im-iscomposing+xml, message/imdn+xml, application/vnd.gsma.rcs-ft-http+xml";

/// The meaning of a MESSAGE's body and of the headers that describe it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// The text, without characters that XML forbids; lines end in LF. May be empty.
    pub text: String,
    /// Its language.
    pub lang: Option<String>,
    /// Its subject, in one line.
    pub subject: Option<String>,
    /// When it was written, by the sender's clock.
    pub date: Option<Wall>,
    /// It came in a CPIM envelope.
    pub wrapped: bool,
    /// The notifications that its sender asks for (RFC 5438 §6.3).
    pub asks: Option<Asks>,
    /// The text with its emphasis, as [`html::read`] gives it, where it came with some.
    pub rich: Option<String>,
    /// There was HTML in it.
    pub has_html: bool,
}

/// What a sender asks to be told about a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asks {
    /// Its name for the message.
    pub message_id: String,
    /// What.
    pub wanted: Wanted,
}

/// Reads a MESSAGE, or says how to refuse it.
pub fn read(request: &Request) -> Result<Content, Reply> {
    let header = |name: &HeaderName| message::text(&request.headers, name).filter(|value| !value.is_empty());
    let content = Content {
        subject: header(&HeaderName::Subject).and_then(|subject| one_line(&subject)),
        lang: header(&HeaderName::ContentLanguage).and_then(|langs| first_lang(&langs)),
        date: header(&HeaderName::Date).and_then(|date| date::read_sip(&date)),
        ..Content::default()
    };
    let (type_, encoding) = (header(&HeaderName::ContentType), header(&HeaderName::ContentEncoding));
    read_into(content, type_.as_deref(), encoding.as_deref(), request.body())
}

/// Reads a body of a session by its Content-Type and its Content-Encoding, or says how a MESSAGE with it would be refused.
pub fn read_body(type_: Option<&str>, encoding: Option<&str>, body: &[u8]) -> Result<Content, Reply> {
    read_into(Content::default(), type_, encoding, body)
}

fn read_into(
    mut content: Content,
    type_: Option<&str>,
    encoding: Option<&str>,
    body: &[u8],
) -> Result<Content, Reply> {
    let body = encoding
        .map_or(Ok(Cow::Borrowed(body)), |names| encoding::decode(names, body))
        .map_err(refuse_encoding)?;
    if body.is_empty() && type_.is_none() {
        return Ok(content);
    }
    let type_ = type_.unwrap_or("text/plain");
    if type_ == "text/plain"
        && let Ok(text) = std::str::from_utf8(&body)
        && text.is_ascii()
        && !text.contains('\r')
    {
        // What most phones send: the long way would give the same.
        content.text = clean(text).into_owned();
        return Ok(content);
    }
    let found = if MediaType::parse(type_).is_some_and(|media| media.is("message", "cpim")) {
        unwrap(&body, &mut content)?
    } else {
        entity(type_, &body)?
    };
    content.text = match clean(&found.text) {
        Cow::Owned(text) => text,
        Cow::Borrowed(_) => found.text,
    };
    content.lang = found.lang.or(content.lang);
    content.has_html = found.has_html;
    // Of alternatives the plain one is what was meant: a page that says something else is not shown.
    content.rich = found
        .rich
        .map(|rich| clean(&rich).into_owned())
        .filter(|rich| found.rank == HTML || html::says(rich, &content.text));
    Ok(content)
}

/// The bytes of a MESSAGE whose content is this and nothing else, bare or in a CPIM envelope, decompressed: a typing
/// notification, a report. Nothing if it is something else, or cannot be read.
pub fn notice<'a>(request: &'a Request, type_: &str) -> Option<Cow<'a, [u8]>> {
    // Most messages are plain text, and are told apart without reading more of them.
    let outer = request.headers.get(&HeaderName::ContentType)?.raw_value().trim_ascii_start();
    if outer.get(..5).is_some_and(|main| main.eq_ignore_ascii_case(b"text/")) {
        return None;
    }
    let header = |name: &HeaderName| message::text(&request.headers, name).filter(|value| !value.is_empty());
    let encoding = header(&HeaderName::ContentEncoding);
    notice_in(&header(&HeaderName::ContentType)?, encoding.as_deref(), request.body(), type_)
}

/// The same for a body of a session.
pub fn notice_in<'a>(
    outer: &str,
    encoding: Option<&str>,
    body: &'a [u8],
    type_: &str,
) -> Option<Cow<'a, [u8]>> {
    if outer.starts_with("text/") {
        // What nearly all bodies are, and no notice is.
        return None;
    }
    let outer = MediaType::parse(outer)?;
    let (main, sub) = type_.split_once('/')?;
    let is_envelope = outer.is("message", "cpim");
    if !is_envelope && !outer.is(main, sub) {
        return None;
    }
    let body = match encoding {
        Some(names) => encoding::decode(names, body).ok()?,
        None => Cow::Borrowed(body),
    };
    if !is_envelope {
        return Some(body);
    }
    let envelope = cpim::parse(&body).ok()?;
    if !envelope.media().is_some_and(|media| media.is(main, sub)) {
        return None;
    }
    let inner = envelope.body()?;
    let inner = match envelope.part_header("Content-Encoding") {
        Some(names) => encoding::decode(names, &inner).ok()?,
        None => inner,
    };
    Some(Cow::Owned(inner.into_owned()))
}

/// Whether the body of a MESSAGE is a CPIM message.
pub fn is_wrapped(request: &Request) -> bool {
    let type_ = message::text(&request.headers, &HeaderName::ContentType).unwrap_or_default();
    MediaType::parse(&type_).is_some_and(|media| media.is("message", "cpim"))
}

/// How good a text is among alternatives.
const PLAIN: u8 = 2;
const HTML: u8 = 1;

/// A text that was found in a body, and how good it is among alternatives.
struct Found {
    text: String,
    lang: Option<String>,
    rank: u8,
    rich: Option<String>,
    has_html: bool,
}

impl Found {
    fn plain(text: String) -> Found {
        Found { text, lang: None, rank: PLAIN, rich: None, has_html: false }
    }
}

/// Reads a CPIM message into `content`: its subject and date count, its names do not.
fn unwrap(bytes: &[u8], content: &mut Content) -> Result<Found, Reply> {
    let bad = |reason: &str| Reply::new(400).because(format!("The body is {reason}"));
    let envelope = cpim::parse(bytes).map_err(bad)?;
    content.wrapped = true;
    let wanted = Wanted::of(&envelope);
    if let Some(message_id) = imdn::message_id(&envelope).filter(|_| wanted != Wanted::default()) {
        content.asks = Some(Asks { message_id: message_id.to_owned(), wanted });
    }
    if envelope.header("Require").is_some_and(|names| !names.value.trim().is_empty()) {
        return Err(unsupported());
    }
    if let Some(subject) = envelope.header("Subject") {
        content.subject = one_line(&subject.value).or(content.subject.take());
    }
    if let Some(when) = envelope.header("DateTime").and_then(|when| date::read_rfc3339(&when.value)) {
        content.date = Some(when);
    }
    if let Some(lang) = envelope.part_header("Content-Language").and_then(first_lang) {
        content.lang = Some(lang);
    }
    let inner = envelope.body().ok_or_else(unsupported)?;
    let inner = envelope
        .part_header("Content-Encoding")
        .map_or(Ok(inner.as_ref().into()), |names| encoding::decode(names, &inner))
        .map_err(refuse_encoding)?;
    // An envelope in an envelope is a loop or a trap.
    entity(envelope.content_type(), &inner)
}

/// A body of this Content-Type.
fn entity(type_: &str, body: &[u8]) -> Result<Found, Reply> {
    let media = MediaType::parse(type_).ok_or_else(unsupported)?;
    if media.main == "multipart" {
        let parts = mime::parts(type_, body).ok_or_else(|| {
            Reply::new(400).because("The body is not the multipart that its Content-Type says")
        })?;
        return several(&media, &parts);
    }
    leaf(&media, body)
}

/// A body that is no multipart.
fn leaf(media: &MediaType, body: &[u8]) -> Result<Found, Reply> {
    if media.is(file_http::TYPE.0, file_http::TYPE.1) {
        let text = file_http::as_text(body).map_err(|error| Reply::new(400).because(error.to_string()))?;
        return Ok(Found::plain(text));
    }
    let rank = match (media.main.as_str(), media.sub.as_str()) {
        ("text", "plain") => PLAIN,
        ("text", "html") => HTML,
        _ => return Err(unsupported()),
    };
    let text = text::decode(body, media.param("charset")).map_err(|problem| match problem {
        TextProblem::Malformed(charset) => Reply::new(400).because(format!("The body is not {charset}")),
        TextProblem::UnknownCharset(name) => unsupported().because(format!("Unknown charset {name}")),
    })?;
    if rank == PLAIN {
        return Ok(Found::plain(text));
    }
    let page = html::read(&text);
    Ok(Found { text: page.text, lang: None, rank, rich: page.rich, has_html: true })
}

/// The parts of a multipart body: of alternatives the best text, of a mixture all texts. Whatever else is in a mixture
/// must have been declared optional (RFC 5621 §8.1), or the message is refused as a whole.
fn several(media: &MediaType, parts: &[Part]) -> Result<Found, Reply> {
    let read = |part: &Part| {
        let found = match &part.inside {
            Inside::Bytes(bytes) if part.media.main != "multipart" => leaf(&part.media, bytes),
            Inside::Bytes(_) | Inside::Unreadable => Err(unsupported()),
            Inside::Parts(inner) => several(&part.media, inner),
        };
        found.map(|found| Found {
            lang: found.lang.or_else(|| part.lang.as_deref().and_then(first_lang)),
            ..found
        })
    };
    match media.sub.as_str() {
        "alternative" => {
            let mut best: Result<Found, Reply> = Err(unsupported());
            for part in parts {
                match (read(part), &best) {
                    // Of two that are as good, RFC 2046 §5.1.4 has the later one preferred.
                    (Ok(found), Ok(known)) if found.rank >= known.rank => {
                        let rich = if found.rank == PLAIN { known.rich.clone() } else { None };
                        let has_html = found.has_html || known.has_html;
                        best = Ok(Found { rich: found.rich.or(rich), has_html, ..found });
                    }
                    (Ok(found), Ok(_)) => {
                        if let Ok(known) = &mut best {
                            known.has_html |= found.has_html;
                            known.rich = found.rich.or(known.rich.take());
                        }
                    }
                    (Ok(found), Err(_)) => best = Ok(found),
                    // That a text is broken says more than that a picture is none.
                    (Err(reply), Err(known)) if known.status == 415 => best = Err(reply),
                    _ => {}
                }
            }
            best
        }
        "mixed" => {
            let mut all: Option<Found> = None;
            for part in parts {
                match (read(part), &mut all) {
                    (Ok(found), Some(all)) => {
                        if !all.text.is_empty() && !all.text.ends_with('\n') {
                            all.text.push('\n');
                        }
                        all.text.push_str(&found.text);
                        (all.rich, all.has_html) = (None, all.has_html || found.has_html);
                    }
                    (Ok(found), all) => *all = Some(found),
                    (Err(_), _) if part.optional => {}
                    (Err(reply), _) => return Err(reply),
                }
            }
            all.ok_or_else(unsupported)
        }
        _ => Err(unsupported()),
    }
}

fn unsupported() -> Reply {
    Reply::new(415).with(HeaderName::Accept, ACCEPT)
}

fn refuse_encoding(problem: EncodingProblem) -> Reply {
    match problem {
        EncodingProblem::Unknown(_) => Reply::new(415).with(HeaderName::AcceptEncoding, ACCEPT_ENCODING),
        EncodingProblem::Broken(reason) => Reply::new(400).because(format!("The body is {reason}")),
        EncodingProblem::TooLong => Reply::new(413).because("The body is too long when it is decompressed"),
    }
}

/// A text without line breaks and without what XML forbids; nothing if nothing is left.
fn one_line(text: &str) -> Option<String> {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    Some(clean(text.trim()).into_owned()).filter(|text| !text.is_empty())
}

/// The first tag of a Content-Language, if it is one.
fn first_lang(langs: &str) -> Option<String> {
    let tag = langs.split(',').next().unwrap_or_default().trim();
    is_language(tag).then(|| tag.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::message::{Header, Method};
    use crate::sip::uri::Uri;
    use bytes::Bytes;
    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use proptest::prelude::*;
    use std::io::Write;

    fn request(headers: &[(HeaderName, &str)], body: &[u8]) -> Request {
        let uri = Uri::parse(Bytes::from_static(b"sip:juliet@example.com")).expect("a URI");
        let mut request = Request::new(Method::Message, uri);
        for (name, value) in headers {
            request.headers.push(Header::build(name.clone(), value.to_string()).expect("a header"));
        }
        request.set_body(Bytes::copy_from_slice(body));
        request
    }

    fn of_type(type_: &str, body: impl AsRef<[u8]>) -> Result<Content, Reply> {
        read(&request(&[(HeaderName::ContentType, type_)], body.as_ref()))
    }

    fn text_of(type_: &str, body: impl AsRef<[u8]>) -> String {
        of_type(type_, body).expect("a text").text
    }

    fn status_of(type_: &str, body: impl AsRef<[u8]>) -> u16 {
        of_type(type_, body).expect_err("a refusal").status
    }

    #[test]
    fn plain_text_comes_with_its_subject_language_and_date() {
        let read = read(&request(
            &[
                (HeaderName::ContentType, "text/plain"),
                (HeaderName::Subject, "Verona"),
                (HeaderName::ContentLanguage, "cs, en"),
                (HeaderName::Date, "Fri, 20 Nov 2026 10:34:56 GMT"),
            ],
            "Nic z obého, má děvo spanilá".as_bytes(),
        ));
        let expected = Content {
            text: "Nic z obého, má děvo spanilá".into(),
            lang: Some("cs".into()),
            subject: Some("Verona".into()),
            date: Some(Wall(1_795_170_896_000)),
            ..Content::default()
        };
        assert_eq!(read, Ok(expected));
    }

    #[test]
    fn charsets_are_read_and_bytes_that_are_not_theirs_refused() {
        assert_eq!(text_of("text/plain; charset=\"iso-8859-1\"", b"h\xe9"), "hé");
        let reply = of_type("text/plain", b"h\xe9").expect_err("a refusal");
        assert_eq!((reply.status, reply.reason.as_deref()), (400, Some("The body is not UTF-8")));
        assert_eq!(status_of("text/plain;charset=klingon", "x"), 415);
    }

    #[test]
    fn html_becomes_plain_text_and_forbidden_characters_are_replaced() {
        assert_eq!(text_of("text/html", "<p>Hi <script>x</script>&amp; bye"), "Hi & bye");
        assert_eq!(text_of("text/plain", "a\0b\u{1b}"), "a\u{fffd}b\u{fffd}");
        assert_eq!(text_of("text/html", "a&#0;b&#x1b;"), "a\u{fffd}b\u{fffd}");
    }

    #[test]
    fn of_alternatives_the_plain_text_is_taken() {
        let body = "--b\nContent-Type: text/plain\n\nplain\n--b\nContent-Type: text/html\n\n<b>rich</b>\n\
                    --b\nContent-Type: image/png\n\n\u{0}\n--b--\n";
        assert_eq!(text_of("multipart/alternative; boundary=b", body), "plain");
        let body = "--b\nContent-Type: text/html\n\n<b>rich</b>\n--b--";
        assert_eq!(text_of("multipart/alternative; boundary=b", body), "rich");
        let body = "--b\nContent-Type: image/png\n\nx\n--b--";
        assert_eq!(status_of("multipart/alternative; boundary=b", body), 415);
        assert_eq!(status_of("multipart/alternative", "no boundary"), 400);
    }

    #[test]
    fn the_texts_of_a_mixture_are_joined_and_other_parts_must_be_optional() {
        let mixture = |disposition: &str| {
            format!(
                "--b\r\n\r\none\r\n--b\r\nContent-Type: image/png\r\n{disposition}\r\n\r\nPNG\r\n\
                 --b\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n\
                 --c\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<i>tw=6F\r\n--c--\r\n--b--"
            )
        };
        let type_ = "multipart/mixed; boundary=\"b\"";
        assert_eq!(text_of(type_, mixture("Content-Disposition: render; handling=optional")), "one\ntwo");
        assert_eq!(status_of(type_, mixture("Content-Disposition: render; handling=required")), 415);
        assert_eq!(status_of(type_, mixture("X: y")), 415);
    }

    #[test]
    fn an_envelope_gives_subject_and_date_but_no_name() {
        let body = "From: Mallory <sip:mallory@example.net>\r\nDateTime: 2026-11-20T10:34:56Z\r\nSubject: inner\r\n\r\n\
                    Content-Type: text/plain; charset=utf8\nContent-Transfer-Encoding: \n\nhé";
        let read = read(&request(
            &[
                (HeaderName::ContentType, "message/cpim"),
                (HeaderName::Subject, "outer"),
                (HeaderName::Date, "Fri, 20 Nov 2026 10:00:00 GMT"),
            ],
            body.as_bytes(),
        ));
        let expected = Content {
            text: "hé".into(),
            subject: Some("inner".into()),
            date: Some(Wall(1_795_170_896_000)),
            wrapped: true,
            ..Content::default()
        };
        assert_eq!(read, Ok(expected));
        assert_eq!(status_of("message/cpim", "hello"), 400);
    }

    #[test]
    fn typing_and_reports_are_refused_bare_and_wrapped() {
        for type_ in
            ["application/im-iscomposing+xml", "message/imdn+xml", "application/pidf+xml", "image/png"]
        {
            for reply in [
                of_type(type_, "<x/>"),
                of_type("message/cpim", format!("From: <sip:a@b>\r\n\r\nContent-Type: {type_}\r\n\r\n<x/>")),
            ] {
                let reply = reply.expect_err("a refusal");
                assert_eq!(reply.status, 415, "{type_}");
                assert!(reply.headers.contains(&(HeaderName::Accept, ACCEPT.to_owned())));
            }
        }
    }

    #[test]
    fn a_compressed_body_is_read_and_an_unknown_encoding_refused() {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
        zlib.write_all("hé".as_bytes()).expect("a Vec takes everything");
        let zlib = zlib.finish().expect("a Vec takes everything");
        let encoded = |name, body: &[u8]| {
            read(&request(
                &[(HeaderName::ContentType, "text/plain"), (HeaderName::ContentEncoding, name)],
                body,
            ))
        };
        assert_eq!(encoded("deflate", &zlib).map(|content| content.text).as_deref(), Ok("hé"));
        assert_eq!(encoded("gzip", &zlib).map_err(|reply| reply.status), Err(400));
        let reply = encoded("br", b"x").expect_err("a refusal");
        assert_eq!(reply.status, 415);
        assert!(reply.headers.contains(&(HeaderName::AcceptEncoding, ACCEPT_ENCODING.to_owned())));
    }

    #[test]
    fn nothing_at_all_is_an_empty_text_and_text_without_a_type_is_plain() {
        assert_eq!(read(&request(&[], b"")), Ok(Content::default()));
        assert_eq!(read(&request(&[], b"x")).map(|content| content.text).as_deref(), Ok("x"));
        assert_eq!(status_of("nonsense", "x"), 415);
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(
            body in prop::collection::vec(any::<u8>(), 0..300),
            type_ in prop::sample::select(vec!["text/plain", "text/html", "message/cpim", "multipart/mixed;boundary=b"]),
            encoding in prop::sample::select(vec!["identity", "deflate", "gzip"]),
        ) {
            let headers = [(HeaderName::ContentType, type_), (HeaderName::ContentEncoding, encoding)];
            let _ = read(&request(&headers, &body));
        }
    }
}
