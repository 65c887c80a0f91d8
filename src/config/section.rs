//! A typed look at one group of the tree: its values, lists and inner groups by name, with defaults from the registry.

use super::options::{self, Need};
use super::yaml::{At, Node, Value};

/// A group of keys, or its absence; with its path in the registry.
#[derive(Clone, Debug)]
pub struct Section<'a> {
    /// The mapping, when it is there.
    pub node: Option<&'a Node>,
    /// Its path in the registry.
    pub path: String,
}

impl<'a> Section<'a> {
    /// The value of a key.
    pub fn get(&self, name: &str) -> Option<&'a Node> {
        self.node.and_then(|node| node.get(name)).map(|entry| &entry.value)
    }

    /// A group inside.
    pub fn section(&self, name: &str) -> Section<'a> {
        Section { node: self.get(name), path: options::join(&self.path, name) }
    }

    /// The groups of a list inside.
    pub fn sections(&self, name: &str) -> Vec<Section<'a>> {
        let path = format!("{}[]", options::join(&self.path, name));
        match self.get(name).map(|node| &node.value) {
            Some(Value::List(items)) => {
                items.iter().map(|item| Section { node: Some(item), path: path.clone() }).collect()
            }
            _ => Vec::new(),
        }
    }

    /// A text inside.
    pub fn text(&self, name: &str) -> Option<(&'a str, At)> {
        self.get(name).and_then(text_of)
    }

    /// The texts of a list inside, or the single one that stands for it.
    pub fn texts(&self, name: &str) -> Vec<(&'a str, At)> {
        match self.get(name) {
            Some(Node { value: Value::List(items), .. }) => items.iter().filter_map(text_of).collect(),
            Some(node) => text_of(node).into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// The default of a key, as it would be written.
    pub fn default(&self, name: &str) -> &'static str {
        match options::find(&options::join(&self.path, name)).map(|option| option.need) {
            Some(Need::Default(value)) => value,
            _ => "",
        }
    }
}

/// A node that is a single value, with its place.
pub fn text_of(node: &Node) -> Option<(&str, At)> {
    match &node.value {
        Value::Text { text, .. } => Some((text, node.at.clone())),
        _ => None,
    }
}
