//! HTML as plain text: nothing of it can be a tag, a script or a link any more.
//!
//! Paragraphs and list items become lines, entities become characters, what is not meant for eyes (scripts, styles,
//! comments, the head) is left out. Where a link leads is shown behind its text when it leads to the web. Tables and
//! layout are not tried.

/// Elements whose content is not text.
const HIDDEN: [&str; 7] = ["head", "script", "style", "template", "title", "noscript", "object"];

/// Elements that begin a new line, and end one.
const LINES: [&str; 19] = [
    "address",
    "article",
    "blockquote",
    "br",
    "dd",
    "div",
    "dt",
    "footer",
    "h1",
    "h2",
    "h3",
    "h4",
    "header",
    "hr",
    "li",
    "p",
    "pre",
    "section",
    "tr",
];

/// The named entities that people's editors write; others stay as they are.
const ENTITIES: [(&str, char); 18] = [
    ("amp", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("apos", '\''),
    ("nbsp", ' '),
    ("copy", '©'),
    ("reg", '®'),
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
];

/// The text that a reader of the page would see.
pub fn to_text(html: &str) -> String {
    let mut out = Text::default();
    let mut links: Vec<Option<String>> = Vec::new();
    let mut rest = html;
    let last_close = html.rfind('>');
    while let Some(at) = rest.find(['<', '&']) {
        out.run(&rest[..at]);
        rest = &rest[at..];
        if rest.starts_with('&') {
            let (c, tail) = entity(rest);
            out.put(c);
            rest = tail;
            continue;
        }
        if let Some(comment) = rest.strip_prefix("<!--") {
            rest = comment.split_once("-->").map_or("", |(_, tail)| tail);
            continue;
        }
        // Where no `>` follows there are no tags any more: text without end is not searched again for each `<`.
        let open = html.len() - rest.len();
        let Some((tag, tail)) = last_close.filter(|close| *close > open).and_then(|_| tag(rest)) else {
            out.put('<');
            rest = &rest[1..];
            continue;
        };
        rest = tail;
        let name = tag
            .trim_start_matches('/')
            .split(|c: char| !c.is_ascii_alphanumeric())
            .next()
            .unwrap_or_default();
        let name = name.to_ascii_lowercase();
        let closing = tag.starts_with('/');
        if !closing && !tag.ends_with('/') && HIDDEN.contains(&name.as_str()) {
            rest = after_closing(rest, &name);
        } else if LINES.contains(&name.as_str()) {
            out.line(name == "br" && !closing);
        } else if name == "td" || name == "th" {
            out.put(' ');
        } else if name == "a" && !closing {
            links.push(attribute(tag, "href").filter(|href| is_web(href)));
        } else if name == "a"
            && let Some(Some(href)) = links.pop()
            && !out.text.ends_with(&href)
        {
            out.put(' ');
            out.run(&format!("<{href}>"));
        } else if name == "img"
            && !closing
            && let Some(alt) = attribute(tag, "alt")
        {
            out.run(&alt);
        }
    }
    out.run(rest);
    out.text.trim().to_owned()
}

/// Text whose white space is collapsed as a browser does.
#[derive(Default)]
struct Text {
    text: String,
    space: bool,
}

impl Text {
    fn run(&mut self, text: &str) {
        text.chars().for_each(|c| self.put(c));
    }

    fn put(&mut self, c: char) {
        if matches!(c, ' ' | '\t' | '\r' | '\n') {
            self.space = true;
            return;
        }
        if self.space && !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push(' ');
        }
        self.space = false;
        self.text.push(c);
    }

    /// Ends the line; a `<br>` does so even where the line is empty.
    fn line(&mut self, always: bool) {
        self.space = false;
        if always || !(self.text.is_empty() || self.text.ends_with('\n')) {
            self.text.push('\n');
        }
    }
}

/// What stands between `<` and `>`, quotes respected; nothing if this `<` begins no tag.
fn tag(text: &str) -> Option<(&str, &str)> {
    let first = text[1..].chars().next()?;
    if !(first.is_ascii_alphabetic() || matches!(first, '/' | '!' | '?')) {
        return None;
    }
    let mut quote = None;
    for (at, c) in text.char_indices().skip(1) {
        match (quote, c) {
            (None, '>') => return Some((&text[1..at], &text[at + 1..])),
            (None, '"' | '\'') if text[..at].trim_end().ends_with('=') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    // A tag that never ends hides nothing but itself.
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
        None => ENTITIES.iter().find(|(known, _)| *known == name).map(|(_, c)| *c as u32),
    };
    match number.and_then(char::from_u32) {
        Some(c) => (c, &text[end + 1..]),
        None => plain,
    }
}

/// The value of an attribute in the text of a tag, its entities undone.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let lower = tag.to_ascii_lowercase();
    let at = lower.match_indices(name).map(|(at, _)| at).find(|at| {
        lower[..*at].ends_with(|c: char| c.is_ascii_whitespace())
            && lower[at + name.len()..].trim_start().starts_with('=')
    })?;
    let value = tag[at + name.len()..].trim_start().strip_prefix('=')?.trim_start();
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

/// Only what a person may want to open is shown: never `javascript:`, `data:` or a path without a host.
fn is_web(href: &str) -> bool {
    let start = href.get(..8).unwrap_or(href).to_ascii_lowercase();
    (start.starts_with("http://") || start.starts_with("https://"))
        && !href.contains(|c: char| c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pages_read_as_a_person_sees_them() {
        for (html, text) in [
            ("<p>Hello <b>dear</b>\n friend</p><p>bye</p>", "Hello dear friend\nbye"),
            (
                "<html><head><title>t</title></head><body>hi<br>there<br/><br>x</body></html>",
                "hi\nthere\n\nx",
            ),
            ("a &lt;b&gt; &amp; &#x1F600;&#33; &nbsp; &unknown; &", "a <b> & 😀! &unknown; &"),
            ("1 < 2 and <3", "1 < 2 and <3"),
            ("<ul><li>one</li><li>two</li></ul>", "one\ntwo"),
            (
                "see <a href=\"https://example.org/?a=1&amp;b=2\">here</a>",
                "see here <https://example.org/?a=1&b=2>",
            ),
            ("<a href='https://example.org'>https://example.org</a>", "https://example.org"),
            ("<img src=x alt=':-)'>", ":-)"),
            ("<div style=\"font: 'a>b'\">é</div>", "é"),
            ("plain", "plain"),
        ] {
            assert_eq!(to_text(html), text, "{html}");
        }
    }

    #[test]
    fn scripts_styles_and_comments_are_not_text() {
        for html in [
            "<script>alert('x')</script>ok",
            "<SCRIPT type=x>if (a</b) {}</SCRIPT >ok",
            "<style>p { }</style>ok<!-- <b>no</b> -->",
            "<a href='javascript:alert(1)'>ok</a>",
            "ok<script>never closed",
            "ok<!-- never closed",
        ] {
            assert_eq!(to_text(html), "ok", "{html}");
        }
    }

    #[test]
    fn a_megabyte_of_open_tags_is_read_once() {
        let html = "<a".repeat(500_000);
        assert_eq!(to_text(&html).len(), html.len());
    }

    proptest! {
        #[test]
        fn nothing_panics(html in ".*", pieces in prop::collection::vec(prop::sample::select(vec![
            "<", ">", "a", " href=", "\"", "'", "&", "#x", ";", "<!--", "-->", "</", "script", "é", "/", "=", "\n", "img alt=",
        ]), 0..60)) {
            let _ = to_text(&html);
            let _ = to_text(&pieces.concat());
        }
    }
}
