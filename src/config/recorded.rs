//! The configuration as a recording tells it: in one line, what the gateway itself goes by. Where the process keeps its
//! files and where its secrets are is left out, and so is what an admin wrote beside it.

use super::options::{self, Kind};
use super::yaml::{Node, Value};

/// What only the process goes by; the store must be named, so it is.
const OF_THE_PROCESS: [&str; 5] = ["http", "mappings", "record", "stop_timeout", "store"];

/// The line: YAML, and where all texts are in quotes JSON.
pub fn print(root: &Node) -> String {
    let mut out = String::from("{\"store\":\"recorded\"");
    if let Value::Map(entries) = &root.value {
        for entry in entries.iter().filter(|entry| !OF_THE_PROCESS.contains(&entry.key.as_str())) {
            out.push(',');
            pair(&entry.key, &entry.key, &entry.value, &mut out);
        }
    }
    out.push('}');
    out
}

fn pair(key: &str, path: &str, value: &Node, out: &mut String) {
    quote(key, out);
    out.push(':');
    match options::find(path).map(|option| option.kind) {
        Some(Kind::Secret) => out.push_str("{\"env\":\"SECRET\"}"),
        Some(Kind::Groups) => node(value, &format!("{path}[]"), out),
        _ => node(value, path, out),
    }
}

fn node(node: &Node, path: &str, out: &mut String) {
    match &node.value {
        Value::Null => out.push('~'),
        // In quotes, `true` would be text.
        Value::Text { text, quoted: false } if text.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            out.push_str(text);
        }
        Value::Text { text, .. } => quote(text, out),
        Value::List(items) => {
            out.push('[');
            for (number, item) in items.iter().enumerate() {
                if number > 0 {
                    out.push(',');
                }
                self::node(item, path, out);
            }
            out.push(']');
        }
        Value::Map(entries) => {
            out.push('{');
            for (number, entry) in entries.iter().enumerate() {
                if number > 0 {
                    out.push(',');
                }
                pair(&entry.key, &options::join(path, &entry.key), &entry.value, out);
            }
            out.push('}');
        }
    }
}

/// A text as JSON has it, which YAML reads alike.
fn quote(text: &str, out: &mut String) {
    // A text can always be written.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::yaml;

    #[test]
    fn secrets_and_places_are_not_told() {
        let text = "
xmpp:
  # an old word
  components: [ { domain: a.example, secret: { file: /home/me/word }, any_domain: true } ]
sip: { peers: [ { auth: { username: m, password: { env: WORD } }, networks: [ \"192.0.2.0/24\" ] } ] }
store: /var/lib/mostar
mappings: tables
record: { folder: x }
messages: { max_message: 2048, hold: 3d }
";
        let mut mistakes = Vec::new();
        let root = yaml::parse(text, &mut mistakes).unwrap();
        assert_eq!(
            print(&root),
            "{\"store\":\"recorded\",\"xmpp\":{\"components\":[{\"domain\":\"a.example\",\"secret\":{\"env\":\"SECRET\"},\
             \"any_domain\":true}]},\"sip\":{\"peers\":[{\"auth\":{\"username\":m,\"password\":{\"env\":\"SECRET\"}},\
             \"networks\":[\"192.0.2.0/24\"]}]},\"messages\":{\"max_message\":2048,\"hold\":3d}}"
        );
    }
}
