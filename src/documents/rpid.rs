//! Rich presence (RFC 4480) and the person of the data model (RFC 4479): what somebody is doing, in the words of
//! those documents.
//!
//! Read: activities, mood, place-type, user-input and their notes, in `dm:person` or, against table 1 of RFC 4480 but
//! as it is met, in a tuple or its status. Not read: devices, privacy, sphere, class, time-offset, and `from` and
//! `until`, since nobody is known who plans ahead with them.

use roxmltree::Node;

use super::pidf::understood;
use super::xml::{XmlWriter, children, inner, words};
use super::{date, pidf};
use crate::words::availability::Words;
use crate::words::time::Wall;

/// The namespace of RFC 4480.
pub const RPID: &str = "urn:ietf:params:xml:ns:pidf:rpid";
/// The namespace of RFC 4479.
pub const DATA_MODEL: &str = "urn:ietf:params:xml:ns:pidf:data-model";

/// One activity, mood or place: an element of the vocabulary, or `other` with words of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The element's name: `on-the-phone`.
    pub name: String,
    /// What stands inside, for `other`.
    pub text: Option<String>,
}

impl Told {
    /// An element of the vocabulary.
    pub fn new(name: impl Into<String>) -> Told {
        Told { name: name.into(), text: None }
    }
}

/// What RFC 4480 adds to a person or a tuple.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rpid {
    /// `<activities/>`.
    pub activities: Vec<Told>,
    /// `<mood/>`.
    pub moods: Vec<Told>,
    /// `<place-type/>`.
    pub places: Vec<Told>,
    /// The notes inside any of these.
    pub notes: Vec<Words>,
    /// `<user-input/>`: whether nobody is at the keyboard.
    pub idle: Option<bool>,
}

/// A `dm:person`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Person {
    /// Its id, unique in the document.
    pub id: String,
    /// What it is doing.
    pub rpid: Rpid,
    /// What it says itself.
    pub notes: Vec<Words>,
    /// Since when.
    pub timestamp: Option<Wall>,
}

impl Rpid {
    /// True when it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Rpid::default()
    }

    /// Adds what the children of `node` say.
    pub(super) fn read(&mut self, node: Node<'_, '_>) {
        for child in node.children().filter(|child| child.tag_name().namespace() == Some(RPID)) {
            if !understood(child) {
                continue;
            }
            let list = match child.tag_name().name() {
                "activities" => &mut self.activities,
                "mood" => &mut self.moods,
                "place-type" => &mut self.places,
                "user-input" => {
                    self.idle = match inner(child).as_str() {
                        "idle" => Some(true),
                        "active" => Some(false),
                        _ => self.idle,
                    };
                    continue;
                }
                _ => continue,
            };
            for told in child.children().filter(Node::is_element) {
                match told.tag_name().name() {
                    "note" => self.notes.extend(words(told)),
                    name => {
                        let text = Some(inner(told)).filter(|text| !text.is_empty());
                        list.push(Told { name: name.to_owned(), text });
                    }
                }
            }
        }
    }

    /// Whether [`Rpid::write`] has something to write: notes inside its elements are not written.
    pub(super) fn is_written(&self) -> bool {
        let lists = [&self.activities, &self.moods, &self.places];
        self.idle.is_some() || lists.iter().any(|list| !list.is_empty())
    }

    /// Writes the elements, in the order of RFC 4480 §3.
    pub(super) fn write(&self, out: &mut XmlWriter) {
        for (name, list) in [
            ("rpid:activities", &self.activities),
            ("rpid:mood", &self.moods),
            ("rpid:place-type", &self.places),
        ] {
            if list.is_empty() {
                continue;
            }
            out.element(name, &[], |out| {
                for told in list {
                    let name = format!("rpid:{}", told.name);
                    match &told.text {
                        Some(text) => out.text(&name, &[], text),
                        None => out.empty(&name, &[]),
                    }
                }
            });
        }
        if let Some(idle) = self.idle {
            out.text("rpid:user-input", &[], if idle { "idle" } else { "active" });
        }
    }
}

impl Person {
    pub(super) fn read(node: Node<'_, '_>) -> Person {
        let mut person =
            Person { id: node.attribute("id").unwrap_or_default().to_owned(), ..Person::default() };
        person.rpid.read(node);
        // Clients write note and timestamp of a person in either namespace.
        for ns in [DATA_MODEL, pidf::PIDF] {
            person.notes.extend(children(node, ns, "note").filter_map(words));
            for stamp in children(node, ns, "timestamp") {
                person.timestamp = person.timestamp.max(date::read_rfc3339(&inner(stamp)));
            }
        }
        person
    }

    pub(super) fn write(&self, out: &mut XmlWriter) {
        out.element("dm:person", &[("id", &self.id)], |out| {
            self.rpid.write(out);
            self.notes.iter().for_each(|note| out.words("dm:note", note));
            if let Some(at) = self.timestamp {
                out.text("dm:timestamp", &[], &date::write_rfc3339(at));
            }
        });
    }
}
