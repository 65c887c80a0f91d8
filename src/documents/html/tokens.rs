//! HTML cut into texts, characters and tags, in one pass: what people's editors write, and what nobody should have written.
//!
//! Comments, declarations and what is not meant for eyes (scripts, styles, the head) are passed over. A `<` that begins no
//! tag is a character. Every byte is looked at a fixed number of times, whatever is left open.

/// Elements whose content is not text. That of a head is one of these, and its end may be left out.
const HIDDEN: [&str; 9] =
    ["script", "style", "template", "title", "noscript", "object", "svg", "math", "iframe"];

/// The elements that mean something here. All others are as if they were not there; what is in them is.
const KNOWN: [&str; 48] = [
    "a",
    "address",
    "article",
    "b",
    "blockquote",
    "br",
    "cite",
    "code",
    "dd",
    "del",
    "dfn",
    "div",
    "dt",
    "em",
    "footer",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hr",
    "i",
    "img",
    "ins",
    "kbd",
    "li",
    "ol",
    "p",
    "pre",
    "q",
    "s",
    "samp",
    "section",
    "span",
    "strike",
    "strong",
    "sup",
    "table",
    "td",
    "th",
    "tr",
    "tt",
    "u",
    "ul",
    "var",
    "wbr",
];

/// The named entities that people's editors write; others stay as they are.
const ENTITIES: [(&str, char); 18] = [
    ("amp", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("apos", '\''),
    ("trade", '™'),
    ("euro", '€'),
    ("hellip", '…'),
    ("mdash", '—'),
    ("ndash", '–'),
    ("lsquo", '‘'),
    ("rsquo", '’'),
    ("ldquo", '“'),
    ("rdquo", '”'),
    ("bull", '•'),
    ("rarr", '→'),
    ("zwj", '\u{200d}'),
    ("zwnj", '\u{200c}'),
];

/// The names of U+00A0 to U+00FF, in their order (HTML 4.01 §24.2).
const LATIN: &str = "nbsp iexcl cent pound curren yen brvbar sect uml copy ordf laquo not shy reg macr deg plusmn sup2 sup3 \
    acute micro para middot cedil sup1 ordm raquo frac14 frac12 frac34 iquest Agrave Aacute Acirc Atilde Auml Aring AElig \
    Ccedil Egrave Eacute Ecirc Euml Igrave Iacute Icirc Iuml ETH Ntilde Ograve Oacute Ocirc Otilde Ouml times Oslash Ugrave \
    Uacute Ucirc Uuml Yacute THORN szlig agrave aacute acirc atilde auml aring aelig ccedil egrave eacute ecirc euml igrave \
    iacute icirc iuml eth ntilde ograve oacute ocirc otilde ouml divide oslash ugrave uacute ucirc uuml yacute thorn yuml";

/// A piece of a page.
#[derive(Debug)]
pub enum Token<'a> {
    /// Text without tags and entities.
    Text(&'a str),
    /// A character that was written as an entity.
    Char(char),
    /// A known element begins; it is over at once where it says so.
    Open(Tag<'a>),
    /// A known element ends.
    Close(&'static str),
}

/// The tag with which an element begins.
#[derive(Debug)]
pub struct Tag<'a> {
    /// The element.
    pub name: &'static str,
    /// `<br/>`.
    pub is_closed: bool,
    text: &'a str,
}

impl Tag<'_> {
    /// The value of an attribute, its entities undone; nothing if it is empty.
    pub fn attribute(&self, name: &str) -> Option<String> {
        let lower = self.text.to_ascii_lowercase();
        let at = lower.match_indices(name).map(|(at, _)| at).find(|at| {
            lower[..*at].ends_with(|c: char| c.is_ascii_whitespace() || matches!(c, '"' | '\''))
                && lower[at + name.len()..].trim_start().starts_with('=')
        })?;
        let value = self.text[at + name.len()..].trim_start().strip_prefix('=')?.trim_start();
        let value = match value.chars().next()? {
            quote @ ('"' | '\'') => value[1..].split(quote).next()?,
            _ => value.split(|c: char| c.is_ascii_whitespace() || c == '>').next()?,
        };
        let mut out = String::new();
        let mut rest = value;
        while let Some(at) = rest.find('&') {
            out.push_str(&rest[..at]);
            let (c, tail) = entity(&rest[at..]);
            out.push(c);
            rest = tail;
        }
        out.push_str(rest);
        Some(out.trim().to_owned()).filter(|value| !value.is_empty())
    }
}

/// The pieces of a page, in their order.
pub struct Tokens<'a> {
    rest: &'a str,
    length: usize,
    /// Where the last `>` is: behind it there are no tags.
    last_close: Option<usize>,
}

impl<'a> Tokens<'a> {
    /// Those of this page.
    pub fn of(html: &'a str) -> Tokens<'a> {
        Tokens { rest: html, length: html.len(), last_close: html.rfind('>') }
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        taken
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            let at = self.rest.find(['<', '&']).unwrap_or(self.rest.len());
            if at > 0 {
                return Some(Token::Text(self.take(at)));
            }
            if self.rest.is_empty() {
                return None;
            }
            if self.rest.starts_with('&') {
                let (c, tail) = entity(self.rest);
                self.rest = tail;
                return Some(Token::Char(c));
            }
            if let Some(comment) = self.rest.strip_prefix("<!--") {
                self.rest = comment.split_once("-->").map_or("", |(_, tail)| tail);
                continue;
            }
            let here = self.length - self.rest.len();
            let found = self.last_close.filter(|close| *close > here).and_then(|_| tag(self.rest));
            let Some((text, tail)) = found else { return Some(Token::Text(self.take(1))) };
            self.rest = tail;
            let is_closing = text.starts_with('/');
            let name =
                text.trim_start_matches('/').split(|c: char| c.is_ascii_whitespace() || c == '/').next();
            let name = name.unwrap_or_default();
            let is = |known: &&&str| known.eq_ignore_ascii_case(name);
            let is_closed = text.ends_with('/');
            if let Some(hidden) = HIDDEN.iter().find(is) {
                if !is_closing && !is_closed {
                    self.rest = after_closing(self.rest, hidden);
                }
                continue;
            }
            match KNOWN.iter().find(is) {
                Some(name) if is_closing => return Some(Token::Close(name)),
                Some(name) => return Some(Token::Open(Tag { name, is_closed, text })),
                None => {}
            }
        }
    }
}

/// What stands between `<` and `>`, quotes respected, and what follows; nothing if this `<` begins no tag.
fn tag(text: &str) -> Option<(&str, &str)> {
    let first = text[1..].chars().next()?;
    if !(first.is_ascii_alphabetic() || matches!(first, '/' | '!' | '?')) {
        return None;
    }
    let (mut quote, mut after_equals) = (None, false);
    for (at, c) in text.char_indices().skip(1) {
        match (quote, c) {
            (None, '>') => return Some((&text[1..at], &text[at + 1..])),
            (None, '"' | '\'') if after_equals => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
        after_equals = c == '=' || after_equals && c.is_whitespace();
    }
    // A quote that never ends hides nothing but its own tag.
    let at = text.find('>')?;
    Some((&text[1..at], &text[at + 1..]))
}

/// What follows `</name>`; nothing where it never comes.
fn after_closing<'a>(text: &'a str, name: &str) -> &'a str {
    let mut rest = text;
    while let Some((_, tail)) = rest.split_once("</") {
        let here = tail.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name));
        if here && !tail[name.len()..].starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return tail.split_once('>').map_or("", |(_, after)| after);
        }
        rest = tail;
    }
    ""
}

/// The character that an entity at the start of `text` stands for, and what follows.
fn entity(text: &str) -> (char, &str) {
    let plain = ('&', &text[1..]);
    let Some(end) = text.bytes().take(12).position(|byte| byte == b';') else { return plain };
    let name = &text[1..end];
    let number = match name.strip_prefix('#') {
        Some(hex) if hex.starts_with(['x', 'X']) => u32::from_str_radix(&hex[1..], 16).ok(),
        Some(decimal) => decimal.parse().ok(),
        None => named(name),
    };
    match number.and_then(char::from_u32) {
        Some('\u{a0}') => (' ', &text[end + 1..]),
        Some(c) => (c, &text[end + 1..]),
        None => plain,
    }
}

fn named(name: &str) -> Option<u32> {
    if let Some((_, c)) = ENTITIES.iter().find(|(known, _)| *known == name) {
        return Some(u32::from(*c));
    }
    LATIN.split_ascii_whitespace().zip(0xa0..).find(|(known, _)| *known == name).map(|(_, number)| number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_found_by_any_spelling_and_the_rest_is_not_there() {
        let told = |html: &str| {
            let pieces = Tokens::of(html).map(|token| match token {
                Token::Text(text) => text.to_owned(),
                Token::Char(c) => c.to_string(),
                Token::Open(tag) => format!("[{}]", tag.name),
                Token::Close(name) => format!("[/{name}]"),
            });
            pieces.collect::<String>()
        };
        assert_eq!(told("<B\n x>a</b ><o:p>c</o:p><p:x>d<!doctype html>"), "[b]a[/b]cd");
        assert_eq!(
            told("caf&eacute; &Auml;&yuml; &nosuch; &#xe9;&#110000000;"),
            "café Äÿ &nosuch; é&#110000000;"
        );
        assert_eq!(told("a<SVG><a href=x>b</a></svg >c<iframe src=x/>d"), "acd");
        assert_eq!(LATIN.split_ascii_whitespace().count(), 96);
    }

    #[test]
    fn attributes_are_found_as_whole_words() {
        let tag = |text| Tag { name: "a", is_closed: false, text };
        assert_eq!(tag("a data-href=x href = 'y&amp;z'").attribute("href").as_deref(), Some("y&z"));
        assert_eq!(tag("a title=\"t\"href=y").attribute("href").as_deref(), Some("y"));
        assert_eq!(tag("a href").attribute("href"), None);
        assert_eq!(tag("a href=''").attribute("href"), None);
    }
}
