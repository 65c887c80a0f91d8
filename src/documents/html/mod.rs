//! HTML as plain text, and, where there is emphasis or a link in it, the same words with that and nothing else.
//!
//! Both come out of one pass, so they cannot say different things: the plain text is what a reader of the page would see,
//! and [`Page::rich`] is that text with tags in it. Those are all that is allowed: `em`, `strong`, `code`, `br`, `span` with
//! an underline or a line through, and `a` with an address of a kind that people open. They are written here, balanced and
//! not deeper than [`DEPTH`]; nothing of the page's own tags, attributes or styles is copied but the checked address. So
//! there is no script, image, style sheet, color or size in it: nothing runs, nothing is fetched, nothing can be hidden.
//!
//! Paragraphs, list items, quotations and rows become lines. In the plain text `~` marks what is struck out, and where a
//! link leads stands behind its words; in the rich text too, where the words look like another address. Tables and layout
//! are not tried.

mod tokens;

use std::collections::BTreeMap;

use tokens::{Tag, Token, Tokens};

/// How many marks may lie in each other.
const DEPTH: usize = 16;
/// How many there may be; a page with more of them is plain text alone.
const MARKS: usize = 1_000;
/// How many levels of quotation are shown.
const QUOTES: usize = 4;
/// The longest address that is shown, in bytes.
const ADDRESS: usize = 2_000;

/// The kinds of addresses that a person may want to open: never `javascript:`, `data:`, `file:` or a path without a host.
const SCHEMES: [&str; 8] = ["http", "https", "mailto", "xmpp", "sip", "sips", "tel", "im"];

/// What a page says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In plain text.
    pub text: String,
    /// The same words with their emphasis, where there is any; well-formed XML but for a root element.
    pub rich: Option<String>,
}

/// Reads a page.
pub fn read(html: &str) -> Page {
    let Page { text, rich } = scan(html);
    // What was so entangled that the two differ is plain text alone.
    let rich = rich.filter(|rich| says(rich, &text));
    Page { text, rich }
}

fn scan(html: &str) -> Page {
    let mut writer = Writer { rich: Some(Rich::default()), ..Writer::default() };
    for token in Tokens::of(html) {
        match token {
            Token::Text(text) => text.chars().for_each(|c| writer.put(c)),
            Token::Char(c) => writer.put(c),
            Token::Open(tag) => writer.open(&tag),
            Token::Close(name) => writer.close(name),
        }
    }
    writer.finish()
}

/// Whether a rich text, as [`read`] gives it, says the same as a plain one: every character that is no white space and no
/// mark of emphasis or of a quotation, with or without the addresses of links.
pub fn says(rich: &str, plain: &str) -> bool {
    let page = scan(rich);
    let shown =
        |c: &char| !(c.is_whitespace() || matches!(c, '*' | '_' | '~' | '`' | '>' | '<' | '•' | '(' | ')'));
    let same = |text: &str| text.chars().filter(shown).eq(plain.chars().filter(shown));
    same(&page.text) || same(&words(rich))
}

/// A rich text without its tags.
fn words(rich: &str) -> String {
    let pieces = Tokens::of(rich).map(|token| match token {
        Token::Text(text) => text.to_owned(),
        Token::Char(c) => c.to_string(),
        Token::Open(_) | Token::Close(_) => String::new(),
    });
    pieces.collect()
}

/// Emphasis that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mark {
    Code,
    Em,
    Link(String),
    Strike,
    Strong,
    Underline,
}

impl Mark {
    /// That of an element, by its name or by its style.
    fn of(tag: &Tag<'_>) -> Option<Mark> {
        let style = || tag.attribute("style").unwrap_or_default().to_ascii_lowercase();
        let is_plain = |property: &str, value: &str| declares(&style(), property, |found| found == value);
        match tag.name {
            "a" => tag.attribute("href").filter(|href| is_address(href)).map(Mark::Link),
            "b" | "strong" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "th" => {
                (!is_plain("font-weight", "normal")).then_some(Mark::Strong)
            }
            "i" | "em" | "cite" | "dfn" | "var" => (!is_plain("font-style", "normal")).then_some(Mark::Em),
            "u" | "ins" => Some(Mark::Underline),
            "s" | "strike" | "del" => Some(Mark::Strike),
            "code" | "kbd" | "samp" | "tt" | "pre" => Some(Mark::Code),
            "span" => Mark::of_style(&style()),
            _ => None,
        }
    }

    fn of_style(style: &str) -> Option<Mark> {
        let is_bold = |value: &str| {
            value.starts_with("bold")
                || value.parse::<u32>().is_ok_and(|weight| (600..=1000).contains(&weight))
        };
        let is_slanted = |value: &str| matches!(value, "italic" | "oblique");
        let has =
            |word: &'static str| move |value: &str| value.split_ascii_whitespace().any(|one| one == word);
        let line = |word| {
            declares(style, "text-decoration", has(word))
                || declares(style, "text-decoration-line", has(word))
        };
        if line("line-through") {
            // It turns the meaning round: of several this one is kept.
            return Some(Mark::Strike);
        }
        if declares(style, "font-weight", is_bold) {
            return Some(Mark::Strong);
        }
        if declares(style, "font-style", is_slanted) {
            return Some(Mark::Em);
        }
        line("underline").then_some(Mark::Underline)
    }

    fn open(&self) -> String {
        match self {
            Mark::Code => "<code>".to_owned(),
            Mark::Em => "<em>".to_owned(),
            Mark::Link(href) => format!("<a href='{}'>", escaped(href)),
            Mark::Strike => "<span style='text-decoration: line-through'>".to_owned(),
            Mark::Strong => "<strong>".to_owned(),
            Mark::Underline => "<span style='text-decoration: underline'>".to_owned(),
        }
    }

    fn close(&self) -> &'static str {
        match self {
            Mark::Code => "</code>",
            Mark::Em => "</em>",
            Mark::Link(_) => "</a>",
            Mark::Strike | Mark::Underline => "</span>",
            Mark::Strong => "</strong>",
        }
    }
}

/// The text with tags.
#[derive(Debug, Default)]
struct Rich {
    text: String,
    /// What is open: its mark, and where its tag stands.
    open: Vec<(Mark, usize)>,
    marks: usize,
    /// Something visible stands in a mark that the plain text does not show.
    is_worth_it: bool,
}

/// Both texts, white space collapsed as a browser does.
#[derive(Debug, Default)]
struct Writer {
    text: String,
    rich: Option<Rich>,
    space: bool,
    pre: usize,
    quotes: usize,
    /// The next digit is raised.
    raised: bool,
    /// The lists that are open: the number of the next item of those that count.
    lists: Vec<Option<usize>>,
    /// A link is open, whose words begin here in the plain text.
    link: Option<usize>,
    /// What each open element has begun, by the element's name.
    begun: BTreeMap<&'static str, Vec<Option<Mark>>>,
}

impl Writer {
    fn put(&mut self, c: char) {
        if self.pre > 0 && c == '\n' {
            return self.line(true);
        }
        if matches!(c, ' ' | '\t' | '\r' | '\n') {
            if self.pre > 0 && c != '\r' {
                self.both(' ');
            } else {
                self.space = true;
            }
            return;
        }
        self.settle();
        if std::mem::take(&mut self.raised)
            && (c.is_ascii_digit() || matches!(c, '-' | '−'))
            && self.text.ends_with(|last: char| last.is_ascii_digit())
        {
            self.both('^');
        }
        self.both(c);
    }

    fn run(&mut self, text: &str) {
        text.chars().for_each(|c| self.put(c));
    }

    /// The space that waits, if it stands between words.
    fn settle(&mut self) {
        if std::mem::take(&mut self.space) && !self.text.is_empty() && !self.text.ends_with('\n') {
            self.both(' ');
        }
    }

    /// The marks of a quotation, at the beginning of a line.
    fn margin(&mut self) {
        if self.quotes > 0 && (self.text.is_empty() || self.text.ends_with('\n')) {
            let marks = "> ".repeat(self.quotes.min(QUOTES));
            self.text.push_str(&marks);
            if let Some(rich) = &mut self.rich {
                rich.text.push_str(&marks.replace('>', "&gt;"));
            }
        }
    }

    /// A character in both texts.
    fn both(&mut self, c: char) {
        self.margin();
        self.text.push(c);
        let Some(rich) = &mut self.rich else { return };
        match c {
            '<' => rich.text.push_str("&lt;"),
            '>' => rich.text.push_str("&gt;"),
            '&' => rich.text.push_str("&amp;"),
            // One that must not be collapsed.
            ' ' if self.pre > 0 => rich.text.push('\u{a0}'),
            c => rich.text.push(c),
        }
        rich.is_worth_it |=
            !c.is_whitespace() && rich.open.iter().any(|(mark, _)| !matches!(mark, Mark::Link(_)));
    }

    /// Ends the line; a `<br>` does so even where the line is empty.
    fn line(&mut self, always: bool) {
        self.space = false;
        if always || !(self.text.is_empty() || self.text.ends_with('\n')) {
            self.text.push('\n');
            if let Some(rich) = &mut self.rich {
                rich.text.push_str("<br/>");
            }
        }
    }

    fn open(&mut self, tag: &Tag<'_>) {
        match tag.name {
            "br" => return self.line(true),
            "hr" => return self.line(false),
            "wbr" => return,
            "img" => {
                if let Some(alt) = tag.attribute("alt") {
                    self.run(&alt);
                }
                return;
            }
            "td" | "th" => self.space = true,
            "q" => self.put('“'),
            "sup" => self.raised = true,
            name if is_line(name) => self.line(false),
            _ => {}
        }
        if tag.is_closed {
            return;
        }
        match tag.name {
            "blockquote" => self.quotes += 1,
            "pre" => self.pre += 1,
            "ul" => self.lists.push(None),
            "ol" => self.lists.push(Some(1)),
            "li" => self.item(),
            _ => {}
        }
        // There are no links in links.
        let mark = Mark::of(tag).filter(|mark| !matches!(mark, Mark::Link(_)) || self.link.is_none());
        if let Some(mark) = &mark {
            self.settle();
            self.begin(mark.clone());
        }
        self.begun.entry(tag.name).or_default().push(mark);
    }

    fn close(&mut self, name: &'static str) {
        let begun = self.begun.get_mut(name).and_then(Vec::pop);
        if let Some(Some(mark)) = &begun {
            self.end(mark);
        }
        if begun.is_some() {
            match name {
                "blockquote" => {
                    self.line(false);
                    self.quotes = self.quotes.saturating_sub(1);
                }
                "pre" => self.pre = self.pre.saturating_sub(1),
                "ul" | "ol" => drop(self.lists.pop()),
                "q" => self.put('”'),
                _ => {}
            }
        }
        if name == "sup" {
            self.raised = false;
        }
        if name != "br" && is_line(name) {
            self.line(false);
        }
    }

    fn item(&mut self) {
        match self.lists.last_mut() {
            Some(Some(next)) => {
                let number = *next;
                *next += 1;
                self.run(&format!("{number}. "));
            }
            Some(None) | None => self.run("• "),
        }
    }

    fn begin(&mut self, mark: Mark) {
        self.margin();
        match mark {
            Mark::Strike => self.text.push('~'),
            Mark::Link(_) => self.link = Some(self.text.len()),
            _ => {}
        }
        let Some(rich) = &mut self.rich else { return };
        rich.marks += 1;
        if rich.open.len() >= DEPTH || rich.marks > MARKS {
            self.rich = None;
            return;
        }
        let at = rich.text.len();
        rich.text.push_str(&mark.open());
        rich.open.push((mark, at));
    }

    fn end(&mut self, mark: &Mark) {
        match mark {
            Mark::Strike => self.text.push('~'),
            Mark::Link(href) => return self.end_of_link(mark, href),
            _ => {}
        }
        self.unmark(mark);
    }

    /// The mark ends; what was opened in it and is not over goes on behind it.
    fn unmark(&mut self, mark: &Mark) {
        let Some(rich) = &mut self.rich else { return };
        let Some(place) = rich.open.iter().rposition(|(known, _)| known == mark) else { return };
        let inner = rich.open.split_off(place + 1);
        for (mark, _) in inner.iter().rev() {
            rich.text.push_str(mark.close());
        }
        rich.open.pop();
        rich.text.push_str(mark.close());
        rich.marks += inner.len();
        for (mark, _) in inner {
            let at = rich.text.len();
            rich.text.push_str(&mark.open());
            rich.open.push((mark, at));
        }
        if rich.marks > MARKS {
            self.rich = None;
        }
    }

    /// Behind a link stands where it leads, unless its words say so. Words that look like another address are no link.
    fn end_of_link(&mut self, link: &Mark, href: &str) {
        let from = self.link.take().unwrap_or_default();
        let words = self.text.get(from..).unwrap_or_default().trim();
        let bare = href.split_once(':').map_or(href, |(_, rest)| rest).trim_matches('/');
        if words.is_empty() {
            return self.forget(link);
        }
        if words.ends_with(href) || words.trim_end_matches('/').ends_with(bare) {
            return self.unmark(link);
        }
        let is_another = !words.contains(char::is_whitespace) && words.contains(['.', '@', ':', '/']);
        let shown = format!(" <{href}>");
        if is_another {
            self.forget(link);
            return self.run(&shown);
        }
        self.unmark(link);
        let rich = self.rich.take();
        self.run(&shown);
        self.rich = rich.map(|rich| Rich { is_worth_it: true, ..rich });
    }

    /// The tag of a link is taken out again.
    fn forget(&mut self, link: &Mark) {
        let Some(rich) = &mut self.rich else { return };
        match rich.open.pop() {
            Some((mark, at)) if mark == *link => rich.text.replace_range(at..at + mark.open().len(), ""),
            // Something is open in it: too odd to be worth it.
            _ => self.rich = None,
        }
    }

    fn finish(mut self) -> Page {
        let text = self.text.trim().to_owned();
        let rich = self.rich.take().filter(|rich| rich.is_worth_it && !text.is_empty()).map(|mut rich| {
            while let Some((mark, _)) = rich.open.pop() {
                rich.text.push_str(mark.close());
            }
            let mut words = rich.text.trim();
            while let Some(shorter) = words.strip_suffix("<br/>") {
                words = shorter.trim_end();
            }
            while let Some(shorter) = words.strip_prefix("<br/>") {
                words = shorter.trim_start();
            }
            words.to_owned()
        });
        Page { text, rich }
    }
}

/// Elements that begin a new line, and end one.
fn is_line(name: &str) -> bool {
    !matches!(
        name,
        "a" | "b"
            | "cite"
            | "code"
            | "del"
            | "dfn"
            | "em"
            | "i"
            | "img"
            | "ins"
            | "kbd"
            | "q"
            | "s"
            | "samp"
            | "span"
            | "strike"
            | "strong"
            | "sup"
            | "td"
            | "th"
            | "tt"
            | "u"
            | "var"
            | "wbr"
    )
}

/// Whether a style says this of a property. Anything with a bracket, such as `url(…)`, is no value here.
fn declares(style: &str, property: &str, fits: impl Fn(&str) -> bool) -> bool {
    style.split(';').filter_map(|one| one.split_once(':')).any(|(name, value)| {
        let value = value.trim().trim_end_matches("!important").trim_end();
        name.trim() == property && !value.contains('(') && fits(value)
    })
}

/// Whether it is an address that may be shown and opened.
pub fn is_address(href: &str) -> bool {
    let Some((scheme, rest)) = href.split_once(':') else { return false };
    let is_web = scheme.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("http"));
    SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(scheme))
        && href.len() <= ADDRESS
        && !rest.trim_start_matches('/').is_empty()
        && (!is_web || rest.starts_with("//"))
        && !href.contains(|c: char| {
            c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | '"' | '\'' | '\\')
        })
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests;
