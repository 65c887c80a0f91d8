//! The bytes of a stream as tokens: the part of XML 1.0 that RFC 6120 §11.1 leaves, without a tree and without a copy of
//! what stands as it is meant.
//!
//! Bytes may come in any pieces, and every split gives the same. A tag is given when it is whole; of a text is given what
//! has come. Checked here: UTF-8, the characters of XML 1.0 §2.2, names, references, that every tag is closed by its own.
//! Refused, since a stream may not have them: comments, processing instructions, a DTD, entities that are not predefined.
//!
//! What this does not do: namespaces. What a prefix means, and whether an attribute is there twice, is known to
//! [`super::stream`].

use std::borrow::Cow;
use std::fmt;

use memchr::{memchr, memchr_iter, memchr3, memrchr};

use crate::words::text::may_stand_in_xml;

/// The longest tag that is read at all, far above what a server lets a client send.
const TAG_LIMIT: usize = 1024 * 1024;
/// The longest reference: `&#x0010ffff;` and some zeros more.
const REFERENCE_LIMIT: usize = 16;

const CDATA: &[u8] = b"<![CDATA[";

/// Why bytes are no XML that a stream may have. Nothing that comes after them means anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bad(&'static str);

impl fmt::Display for Bad {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.0)
    }
}

/// A piece of XML.
#[derive(Debug)]
pub enum Token<'a> {
    /// What means nothing: the XML declaration, the beginning and the end of a CDATA section.
    Nothing,
    /// The tag that opens an element. An empty one is closed by the same tag, and no [`Token::Close`] follows.
    Open(Tag<'a>),
    /// The tag that closes the innermost element.
    Close,
    /// Some of the text between two tags.
    Text(Cow<'a, str>),
}

/// The tag that opens an element.
#[derive(Debug)]
pub struct Tag<'a> {
    /// The name.
    pub name: Name<'a>,
    /// `<name/>`
    pub is_empty: bool,
    attrs: &'a [u8],
}

/// A name as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'a> {
    /// What stands before the colon.
    pub prefix: Option<&'a str>,
    /// What stands behind it, or the whole name.
    pub local: &'a str,
}

impl<'a> Tag<'a> {
    /// The attributes in order, the values as they are meant.
    pub fn attrs(&self) -> impl Iterator<Item = Result<(Name<'a>, Cow<'a, str>), Bad>> + use<'a> {
        attributes(self.attrs)
    }
}

/// Reads tokens.
#[derive(Debug, Default)]
pub struct Lexer {
    /// The beginning of a token that is not whole yet.
    rest: Vec<u8>,
    /// How far a tag that is not whole has been looked at, and inside which quotes that was.
    seen: usize,
    quote: Option<u8>,
    /// The names of the open elements, one behind the other, and how long each is.
    names: String,
    open: Vec<usize>,
    /// Something has been read: the XML declaration may not come any more.
    has_begun: bool,
    in_cdata: bool,
}

impl Lexer {
    /// Takes bytes in and hands every token that they complete to `take`, with its length, until it says to stop.
    pub fn read(
        &mut self,
        bytes: &[u8],
        mut take: impl FnMut(usize, Token<'_>) -> Result<bool, Bad>,
    ) -> Result<(), Bad> {
        if self.rest.is_empty() {
            let used = self.tokens(bytes, &mut take)?;
            self.rest.extend_from_slice(&bytes[used..]);
        } else {
            let mut all = std::mem::take(&mut self.rest);
            all.extend_from_slice(bytes);
            let used = self.tokens(&all, &mut take)?;
            if used < all.len() {
                all.drain(..used);
                self.rest = all;
            }
        }
        if self.rest.len() > TAG_LIMIT { Err(Bad("a tag is too long")) } else { Ok(()) }
    }

    /// Gives how many bytes were used.
    fn tokens(
        &mut self,
        bytes: &[u8],
        take: &mut impl FnMut(usize, Token<'_>) -> Result<bool, Bad>,
    ) -> Result<usize, Bad> {
        let mut used = 0;
        while let Some(first) = bytes.get(used) {
            let rest = &bytes[used..];
            let token = match first {
                _ if self.in_cdata => self.cdata(rest)?,
                b'<' => self.markup(rest)?,
                _ => self.text(rest)?,
            };
            let Some((length, token)) = token else { break };
            self.has_begun = true;
            used += length;
            if !take(length, token)? {
                return Ok(bytes.len());
            }
        }
        Ok(used)
    }

    /// What begins with `<`; nothing while it is not whole.
    fn markup<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<(usize, Token<'a>)>, Bad> {
        match bytes.get(1) {
            None => Ok(None),
            Some(b'!') if bytes.starts_with(CDATA) && !self.open.is_empty() => {
                self.in_cdata = true;
                Ok(Some((CDATA.len(), Token::Nothing)))
            }
            Some(b'!') if CDATA.starts_with(bytes) => Ok(None),
            Some(b'!') => Err(Bad("a stream has no comments and no DTD")),
            Some(b'?') => self.declaration(bytes),
            Some(b'/') => match self.tag_end(bytes)? {
                None => Ok(None),
                Some(end) => self.close(&bytes[2..end - 1]).map(|()| Some((end, Token::Close))),
            },
            Some(_) => match self.tag_end(bytes)? {
                None => Ok(None),
                Some(end) => Ok(Some((end, Token::Open(self.open(&bytes[1..end - 1])?)))),
            },
        }
    }

    /// The length of the tag at the start. What was looked at once is not looked at again: a tag may come byte by byte.
    fn tag_end(&mut self, bytes: &[u8]) -> Result<Option<usize>, Bad> {
        let (mut at, mut quote) = (std::mem::take(&mut self.seen), self.quote.take());
        loop {
            let rest = &bytes[at..];
            let found = match quote {
                Some(quote) => memchr(quote, rest),
                None => memchr3(b'>', b'\'', b'"', rest),
            };
            let Some(found) = found else {
                (self.seen, self.quote) = (bytes.len(), quote);
                return Ok(None);
            };
            at += found + 1;
            quote = match (quote, rest[found]) {
                (Some(_), _) => None,
                (None, b'>') if at > TAG_LIMIT => return Err(Bad("a tag is too long")),
                (None, b'>') => return Ok(Some(at)),
                (None, quote) => Some(quote),
            };
        }
    }

    fn open<'a>(&mut self, inner: &'a [u8]) -> Result<Tag<'a>, Bad> {
        let (inner, is_empty) = match inner.strip_suffix(b"/") {
            Some(inner) => (inner, true),
            None => (inner, false),
        };
        let (name, attrs) = inner.split_at(name_length(inner));
        let (text, name) = qualified(name)?;
        if !is_empty {
            self.names.push_str(text);
            self.open.push(text.len());
        }
        Ok(Tag { name, is_empty, attrs })
    }

    fn close(&mut self, name: &[u8]) -> Result<(), Bad> {
        let length = self.open.pop().unwrap_or_default();
        let begin = self.names.len() - length;
        if length == 0 || self.names.as_bytes()[begin..] != *trim_end(name) {
            return Err(Bad("a tag closes another element than the open one"));
        }
        self.names.truncate(begin);
        Ok(())
    }

    /// The XML declaration (XML 1.0 §2.8); any other processing instruction is refused.
    fn declaration<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<(usize, Token<'a>)>, Bad> {
        const OPENS: &[u8] = b"<?xml ";
        let plain: Vec<u8> =
            bytes.iter().take(OPENS.len()).map(|byte| if is_space(*byte) { b' ' } else { *byte }).collect();
        if self.has_begun || !OPENS.starts_with(&plain) {
            return Err(Bad("a stream has no processing instructions"));
        }
        let Some(end) = memchr(b'>', bytes) else { return Ok(None) };
        let inner = bytes[..end].get(OPENS.len() - 1..).and_then(|inner| inner.strip_suffix(b"?"));
        for (number, attr) in attributes(inner.ok_or(Bad("the XML declaration is malformed"))?).enumerate() {
            let (name, value) = attr?;
            let fits = match (name.prefix, name.local) {
                (None, "version") => number == 0 && value == "1.0",
                (None, "encoding") => number > 0 && value.eq_ignore_ascii_case("UTF-8"),
                (None, "standalone") => number > 0 && value == "yes",
                _ => false,
            };
            if !fits {
                return Err(Bad("a stream is XML 1.0 in UTF-8"));
            }
        }
        Ok(Some((end + 1, Token::Nothing)))
    }

    /// Text between tags: as much of it as is certain, and all that stands before a mistake.
    fn text<'a>(&self, bytes: &'a [u8]) -> Result<Option<(usize, Token<'a>)>, Bad> {
        let (text, ends) = match memchr(b'<', bytes) {
            Some(end) => (&bytes[..end], true),
            None => (bytes, false),
        };
        if self.open.is_empty() {
            let blank = text.iter().all(|byte| is_space(*byte));
            return if blank {
                Ok(Some((text.len(), Token::Nothing)))
            } else {
                Err(Bad("text outside the stream"))
            };
        }
        let text = if ends { text } else { &text[..certain(text)] };
        if text.is_empty() {
            return Ok(None);
        }
        let forbidden = memchr_iter(b'>', text).find(|at| text[..*at].ends_with(b"]]"));
        match &text[..forbidden.map_or(text.len(), |at| at - 2)] {
            [] => Err(Bad("']]>' in a text")),
            text => decode(text, Place::Text).map(|(length, text)| Some((length, Token::Text(text)))),
        }
    }

    /// The inside of a CDATA section, likewise.
    fn cdata<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<(usize, Token<'a>)>, Bad> {
        if bytes.starts_with(b"]]>") {
            self.in_cdata = false;
            return Ok(Some((3, Token::Nothing)));
        }
        let text = match memchr::memmem::find(bytes, b"]]>") {
            Some(end) => &bytes[..end],
            None => &bytes[..certain(bytes)],
        };
        if text.is_empty() {
            return Ok(None);
        }
        decode(text, Place::Cdata).map(|(length, text)| Some((length, Token::Text(text))))
    }
}

/// Where characters stand: not everywhere do the same ones mean something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Text,
    Cdata,
    Value,
}

/// What characters are meant (XML 1.0 §2.11, §3.3.3, §4.1), up to the first mistake, and how many bytes that was. A
/// mistake at the very beginning is told.
fn decode(bytes: &[u8], place: Place) -> Result<(usize, Cow<'_, str>), Bad> {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'%' | b'\''..=b';' | b'='..=b'~');
    if bytes.iter().all(is_plain)
        && let Ok(text) = std::str::from_utf8(bytes)
    {
        return Ok((bytes.len(), Cow::Borrowed(text)));
    }
    let (text, mut mistake) = match std::str::from_utf8(bytes) {
        Ok(text) => (text, None),
        Err(error) => {
            let good = std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
            (good, Some(Bad("this is no UTF-8")))
        }
    };
    let stays = |c: char| match c {
        '&' => place == Place::Cdata,
        '<' => place != Place::Value,
        ' '..='~' => true,
        '\t' | '\n' => place != Place::Value,
        '\r' => false,
        c => may_stand_in_xml(c),
    };
    let plain = text.find(|c| !stays(c)).unwrap_or(text.len());
    if plain == bytes.len() {
        return Ok((plain, Cow::Borrowed(text)));
    }
    let mut out = text[..plain].to_owned();
    let mut at = plain;
    while let Some(c) = text[at..].chars().next() {
        let (meant, length) = match c {
            c if stays(c) => (Some(c), c.len_utf8()),
            '&' => match reference(&text[at..]) {
                Ok((c, length)) => (Some(c), length),
                Err(bad) => {
                    mistake = Some(bad);
                    break;
                }
            },
            // Both together are one line break.
            '\r' if text[at + 1..].starts_with('\n') => (None, 1),
            '\r' | '\n' | '\t' => (Some(if place == Place::Value { ' ' } else { '\n' }), 1),
            _ => {
                mistake = Some(Bad("a character that may not stand in XML"));
                break;
            }
        };
        out.extend(meant);
        at += length;
    }
    match mistake {
        Some(bad) if at == 0 => Err(bad),
        _ => Ok((at, Cow::Owned(out))),
    }
}

/// The character that a reference at the start means, and how long the reference is.
fn reference(text: &str) -> Result<(char, usize), Bad> {
    let end = text.bytes().take(REFERENCE_LIMIT).position(|byte| byte == b';').ok_or(NO_REFERENCE)?;
    let number = |digits: &str, radix| {
        let fits = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
        let number = u32::from_str_radix(digits, radix).ok().filter(|_| fits);
        number.and_then(char::from_u32).filter(|c| may_stand_in_xml(*c))
    };
    let meant = match &text[1..end] {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "apos" => Some('\''),
        "quot" => Some('"'),
        other => match (other.strip_prefix("#x"), other.strip_prefix('#')) {
            (Some(digits), _) => number(digits, 16),
            (None, Some(digits)) => number(digits, 10),
            (None, None) => None,
        },
    };
    Ok((meant.ok_or(NO_REFERENCE)?, end + 1))
}

const NO_REFERENCE: Bad = Bad("'&' begins no reference that a stream may have");

/// How much of a text means the same whatever follows it.
fn certain(text: &[u8]) -> usize {
    let mut end = text.len();
    for back in 1..=end.min(3) {
        let whole = match text[text.len() - back] {
            0x80..=0xbf => continue,
            0xf0.. => 4,
            0xe0.. => 3,
            0xc0.. => 2,
            _ => 1,
        };
        if whole > back {
            end -= back;
        }
        break;
    }
    end -= match &text[..end] {
        [.., b']', b']'] => 2,
        [.., b']' | b'\r'] => 1,
        _ => 0,
    };
    match memrchr(b'&', &text[..end]) {
        Some(at) if end - at < REFERENCE_LIMIT && memchr(b';', &text[at..end]).is_none() => at,
        _ => end,
    }
}

fn attributes(mut rest: &[u8]) -> impl Iterator<Item = Result<(Name<'_>, Cow<'_, str>), Bad>> {
    std::iter::from_fn(move || {
        if rest.iter().all(|byte| is_space(*byte)) {
            return None;
        }
        let (attr, after) = match attribute(rest) {
            Ok((name, value, after)) => (Ok((name, value)), after),
            Err(bad) => (Err(bad), &b""[..]),
        };
        rest = after;
        Some(attr)
    })
}

/// One attribute with the space before it, and what comes after it.
fn attribute(bytes: &[u8]) -> Result<(Name<'_>, Cow<'_, str>, &[u8]), Bad> {
    const MALFORMED: Bad = Bad("a tag is malformed");
    let inner = trim_start(bytes);
    if inner.len() == bytes.len() {
        return Err(MALFORMED);
    }
    let (name, rest) = inner.split_at(name_length(inner));
    let (_, name) = qualified(name)?;
    let rest = trim_start(trim_start(rest).strip_prefix(b"=").ok_or(MALFORMED)?);
    let quote = *rest.first().filter(|byte| matches!(byte, b'\'' | b'"')).ok_or(MALFORMED)?;
    let end = memchr(quote, &rest[1..]).ok_or(MALFORMED)? + 1;
    let (read, value) = decode(&rest[1..end], Place::Value)?;
    if read < end - 1 {
        // What is wrong stands at the beginning of what was not read.
        decode(&rest[1 + read..end], Place::Value)?;
    }
    Ok((name, value, &rest[end + 1..]))
}

fn name_length(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| is_space(*byte) || *byte == b'=').unwrap_or(bytes.len())
}

/// A name of XML Namespaces §4: one colon at most, and something on both sides of it.
fn qualified(name: &[u8]) -> Result<(&str, Name<'_>), Bad> {
    let text = std::str::from_utf8(name).map_err(|_| Bad("this is no UTF-8"))?;
    let name = match text.split_once(':') {
        Some((prefix, local)) => Name { prefix: Some(prefix), local },
        None => Name { prefix: None, local: text },
    };
    if name.prefix.is_none_or(is_name) && is_name(name.local) {
        Ok((text, name))
    } else {
        Err(Bad("a name is malformed"))
    }
}

fn is_name(text: &str) -> bool {
    let is_plain = |byte: &u8| matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.');
    if let [b'a'..=b'z' | b'A'..=b'Z', rest @ ..] = text.as_bytes()
        && rest.iter().all(is_plain)
    {
        return true;
    }
    let mut characters = text.chars();
    characters.next().is_some_and(begins_name) && characters.all(continues_name)
}

/// XML 1.0 §2.3, but for the colon.
fn begins_name(c: char) -> bool {
    matches!(c,
        'a'..='z' | 'A'..='Z' | '_' | '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{2ff}'
        | '\u{370}'..='\u{37d}' | '\u{37f}'..='\u{1fff}' | '\u{200c}'..='\u{200d}' | '\u{2070}'..='\u{218f}'
        | '\u{2c00}'..='\u{2fef}' | '\u{3001}'..='\u{d7ff}' | '\u{f900}'..='\u{fdcf}' | '\u{fdf0}'..='\u{fffd}'
        | '\u{10000}'..='\u{effff}')
}

fn continues_name(c: char) -> bool {
    matches!(c, '0'..='9' | '-' | '.' | '\u{b7}' | '\u{300}'..='\u{36f}' | '\u{203f}'..='\u{2040}')
        || begins_name(c)
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn trim_start(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.iter().position(|byte| !is_space(*byte)).unwrap_or(bytes.len())..]
}

fn trim_end(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.iter().rposition(|byte| !is_space(*byte)).map_or(0, |at| at + 1)]
}

#[cfg(test)]
mod tests;
