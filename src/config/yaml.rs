//! The configuration file as a tree in which every node knows where it stands.
//!
//! Built from the events of the YAML parser and not by serde, so that one reading finds all mistakes. What a
//! configuration does not need is refused with a word on what to write instead: anchors, aliases, tags, several
//! documents, keys that are no text.

use std::ops::Range;

use serde_yaml::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use super::report::Mistake;

/// Nobody writes a configuration deeper than this; it also bounds how deep a tree is dropped.
const DEPTH: usize = 16;

/// Where something stands, in bytes of the file.
pub type At = Range<usize>;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where.
    pub at: At,
    /// What.
    pub value: Value,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub enum Value {
    /// Nothing: an empty value, `~` or `null`.
    Null,
    /// Text; numbers and booleans are told apart by who asks.
    Text {
        /// As written, unescaped.
        text: String,
        /// It stood in quotes or in a block, so it is text and nothing else.
        quoted: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order written, each key once.
    Map(Vec<Entry>),
}

/// One key of a mapping with its value.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub key_at: At,
    /// Its value.
    pub value: Node,
}

impl Node {
    /// The value of a key, when this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// What it is, for people.
    pub fn noun(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Text { .. } => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a group of keys",
        }
    }
}

/// Reads the file's text. The tree is what could be read; the mistakes say what could not.
pub fn parse(text: &str, mistakes: &mut Vec<Mistake>) -> Option<Node> {
    let mut builder = Builder { text, open: Vec::new(), root: None, mistakes, documents: 0 };
    for event in Parser::new_from_str(text) {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                let mistake = syntax_mistake(text, &error);
                builder.mistakes.push(mistake);
                return None;
            }
        };
        if !builder.event(event, &span) {
            return None;
        }
    }
    builder.root
}

/// A collection whose end has not come yet.
enum Open {
    List { at: usize, items: Vec<Node> },
    Map { at: usize, entries: Vec<Entry>, key: Option<(String, At)> },
}

struct Builder<'a> {
    text: &'a str,
    open: Vec<Open>,
    root: Option<Node>,
    mistakes: &'a mut Vec<Mistake>,
    documents: usize,
}

impl Builder<'_> {
    /// Takes one event; false when reading on makes no sense.
    fn event(&mut self, event: Event<'_>, span: &Span) -> bool {
        let at = self.range(span);
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.mistakes.push(
                        Mistake::error(at, "a second document begins here")
                            .help("keep everything in one document: remove the `---` line"),
                    );
                    return false;
                }
            }
            Event::Scalar(value, style, anchor, tag) => {
                self.refuse_properties(&at, anchor, tag.is_some());
                let quoted = !matches!(style, ScalarStyle::Plain);
                let value = match value.as_ref() {
                    "" | "~" | "null" | "Null" | "NULL" if !quoted => Value::Null,
                    text => Value::Text { text: text.to_owned(), quoted },
                };
                self.node(Node { at, value });
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_properties(&at, anchor, tag.is_some());
                self.open.push(Open::List { at: at.start, items: Vec::new() });
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_properties(&at, anchor, tag.is_some());
                self.open.push(Open::Map { at: at.start, entries: Vec::new(), key: None });
            }
            Event::SequenceEnd => {
                if let Some(Open::List { at: start, items }) = self.open.pop() {
                    let end = at.end.max(start);
                    self.node(Node { at: start..end, value: Value::List(items) });
                }
            }
            Event::MappingEnd => {
                if let Some(Open::Map { at: start, entries, .. }) = self.open.pop() {
                    let end = at.end.max(start);
                    self.node(Node { at: start..end, value: Value::Map(entries) });
                }
            }
            Event::Alias(_) => {
                self.mistakes.push(
                    Mistake::error(at.clone(), "references (`*name`) are not used here")
                        .help("write the value out; a star that is meant as text stands in quotes: \"*\""),
                );
                self.node(Node { at, value: Value::Null });
            }
            _ => {}
        }
        if self.open.len() > DEPTH {
            let at = self.range(span);
            self.mistakes.push(
                Mistake::error(at, "brackets or indentation nest too deep here")
                    .help("no option lies deeper than five levels"),
            );
            return false;
        }
        true
    }

    /// Puts a finished node where it belongs.
    fn node(&mut self, node: Node) {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, key, .. }) => match key.take() {
                None => {
                    let text = match &node.value {
                        Value::Text { text, .. } => text.clone(),
                        _ => {
                            self.mistakes.push(
                                Mistake::error(node.at.clone(), format!("{} cannot be a key", node.noun()))
                                    .help("a key is a word followed by a colon and a space"),
                            );
                            String::new()
                        }
                    };
                    *key = Some((text, node.at));
                }
                Some((key, key_at)) => {
                    if key.is_empty() {
                        return;
                    }
                    if let Some(first) = entries.iter().find(|entry| entry.key == key) {
                        let line = 1 + self.text[..first.key_at.start].matches('\n').count();
                        self.mistakes.push(
                            Mistake::error(key_at, format!("`{key}` stands here for the second time"))
                                .help(format!("it was given in line {line}; keep one of the two")),
                        );
                        return;
                    }
                    entries.push(Entry { key, key_at, value: node });
                }
            },
        }
    }

    fn refuse_properties(&mut self, at: &At, anchor: usize, tag: bool) {
        if anchor != 0 {
            self.mistakes.push(
                Mistake::error(at.clone(), "anchors (`&name`) are not used here")
                    .help("remove it and write the value out where it is needed"),
            );
        }
        if tag {
            self.mistakes.push(
                Mistake::error(at.clone(), "tags (`!name`) are not used here")
                    .help("remove it; text that begins with `!` stands in quotes"),
            );
        }
    }

    fn range(&self, span: &Span) -> At {
        let start = offset(self.text, span.start.byte_offset(), span.start.index());
        let end = offset(self.text, span.end.byte_offset(), span.end.index());
        start..end.max(start)
    }
}

/// A byte offset that is inside the text and at the edge of a character.
fn offset(text: &str, bytes: Option<usize>, chars: usize) -> usize {
    let at = bytes
        .or_else(|| text.char_indices().nth(chars).map(|(at, _)| at))
        .unwrap_or(text.len())
        .min(text.len());
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// The parser's complaint in words for an admin.
fn syntax_mistake(text: &str, error: &ScanError) -> Mistake {
    let at = offset(text, error.marker().byte_offset(), error.marker().index());
    let line_start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let line = text[line_start..].lines().next().unwrap_or_default();
    let help = if line.trim_start_matches(' ').starts_with('\t') {
        "indent with spaces; YAML allows no tabs there"
    } else if line.contains(": *") || line.contains("[*") || line.contains("[ *") || line.contains("- *") {
        "a star that is meant as text stands in quotes: \"*\""
    } else {
        "look at this line and the one before: keys of one group begin in the same column, a colon is followed \
         by a space, brackets and quotes are closed"
    };
    Mistake::error(at..at, format!("this is no YAML: {}", error.info())).help(help).hides_line()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<Node>, Vec<Mistake>) {
        let mut mistakes = Vec::new();
        let node = parse(text, &mut mistakes);
        (node, mistakes)
    }

    #[test]
    fn every_node_knows_its_place() {
        let text = "a:\n  - { é: \"x y\", c: 1 }\n";
        let (node, mistakes) = read(text);
        assert!(mistakes.is_empty(), "{mistakes:?}");
        let list = node.and_then(|node| node.get("a").map(|entry| entry.value.clone()));
        let Some(Node { value: Value::List(items), .. }) = list else { panic!("no list") };
        let entry =
            items[0].get("é").map(|entry| (&text[entry.key_at.clone()], &text[entry.value.at.clone()]));
        assert_eq!(entry, Some(("é", "\"x y\"")));
    }

    #[test]
    fn a_key_stands_once() {
        let (_, mistakes) = read("a: 1\nb: 2\na: 3\n");
        assert_eq!(mistakes.len(), 1);
        assert_eq!(mistakes[0].at.start, 10);
    }

    #[test]
    fn what_is_not_needed_is_refused() {
        for text in ["a: &x 1\nb: 2\n", "a: !!int 1\n", "a: 1\n---\nb: 2\n", "[1]: 2\n", "a: &x 1\nb: *x\n"] {
            assert!(!read(text).1.is_empty(), "{text}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let (node, mistakes) = read(&"[".repeat(200_000));
        assert!(node.is_none());
        assert_eq!(mistakes.len(), 1);
    }

    #[test]
    fn an_empty_file_is_no_tree() {
        assert!(read("").0.is_none());
        assert!(read("# only a comment\n").0.is_none());
    }
}
