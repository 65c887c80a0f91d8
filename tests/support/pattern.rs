//! `{name}` binds, then must match; `{_}` matches anything. Neither crosses a line.

use std::collections::BTreeMap;

/// What names have been bound to so far.
pub type Bindings = BTreeMap<String, String>;

/// Matches one line; bindings are made on the way and kept only if it matches as a whole.
pub fn line(pattern: &str, text: &str, bindings: &mut Bindings) -> bool {
    let mut made = Vec::new();
    let matches = step(pattern, text, bindings, &mut made);
    if matches {
        bindings.extend(made);
    }
    matches
}

/// Matches line by line.
pub fn block(pattern: &str, text: &str, bindings: &mut Bindings) -> bool {
    let (patterns, texts): (Vec<_>, Vec<_>) = (pattern.lines().collect(), text.lines().collect());
    patterns.len() == texts.len()
        && patterns.iter().zip(&texts).all(|(pattern, text)| line(pattern, text, bindings))
}

/// Replaces bound names in text that goes in.
pub fn fill(text: &str, bindings: &Bindings) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        rest = &rest[open..];
        let known = rest.find('}').and_then(|close| Some((close, bindings.get(&rest[1..close])?)));
        let (length, value) = known.map_or((1, "{"), |(close, value)| (close + 1, value.as_str()));
        out.push_str(value);
        rest = &rest[length..];
    }
    out + rest
}

fn hole(pattern: &str) -> Option<(&str, &str, &str)> {
    let open = pattern.find('{')?;
    let close = open + pattern[open..].find('}')?;
    let name = &pattern[open + 1..close];
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_name.then_some((&pattern[..open], name, &pattern[close + 1..]))
}

fn step(pattern: &str, text: &str, bindings: &Bindings, made: &mut Vec<(String, String)>) -> bool {
    let Some((before, name, after)) = hole(pattern) else { return pattern == text };
    let Some(rest) = text.strip_prefix(before) else { return false };
    if name != "_" {
        let here = made.iter().find(|(known, _)| known == name).map(|(_, value)| value);
        if let Some(bound) = here.or_else(|| bindings.get(name)).cloned() {
            return rest.strip_prefix(bound.as_str()).is_some_and(|rest| step(after, rest, bindings, made));
        }
    }
    // The shortest text that lets the remainder match.
    for end in (0..=rest.len()).filter(|end| rest.is_char_boundary(*end)) {
        let known = made.len();
        if name != "_" {
            if end == 0 {
                continue;
            }
            made.push((name.to_owned(), rest[..end].to_owned()));
        }
        if step(after, &rest[end..], bindings, made) {
            return true;
        }
        made.truncate(known);
    }
    false
}

/// The names in a pattern, in order.
pub fn names(pattern: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = pattern;
    while let Some((_, name, after)) = hole(rest) {
        found.push(name);
        rest = after;
    }
    found
}
