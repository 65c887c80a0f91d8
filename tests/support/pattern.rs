//! `{name}` binds, then must match; `{_}` matches anything. Neither crosses a line.

use std::collections::BTreeMap;

/// What names have been bound to so far.
pub type Bindings = BTreeMap<String, String>;

/// Matches one line; bindings are made on the way and kept only if it matches as a whole.
pub fn line(pattern: &str, text: &str, bindings: &mut Bindings) -> bool {
    let mut trial = bindings.clone();
    if step(pattern, text, &mut trial) {
        *bindings = trial;
        return true;
    }
    false
}

/// Matches line by line.
pub fn block(pattern: &str, text: &str, bindings: &mut Bindings) -> bool {
    let (patterns, texts): (Vec<_>, Vec<_>) = (pattern.lines().collect(), text.lines().collect());
    patterns.len() == texts.len()
        && patterns.iter().zip(&texts).all(|(pattern, text)| line(pattern, text, bindings))
}

/// Replaces bound names in text that goes in.
pub fn fill(text: &str, bindings: &Bindings) -> String {
    let mut out = text.to_owned();
    for (name, value) in bindings {
        out = out.replace(&format!("{{{name}}}"), value);
    }
    out
}

fn hole(pattern: &str) -> Option<(&str, &str, &str)> {
    let open = pattern.find('{')?;
    let close = open + pattern[open..].find('}')?;
    let name = &pattern[open + 1..close];
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_name.then_some((&pattern[..open], name, &pattern[close + 1..]))
}

fn step(pattern: &str, text: &str, bindings: &mut Bindings) -> bool {
    let Some((before, name, after)) = hole(pattern) else { return pattern == text };
    let Some(rest) = text.strip_prefix(before) else { return false };
    if name != "_"
        && let Some(bound) = bindings.get(name).cloned()
    {
        return rest.strip_prefix(bound.as_str()).is_some_and(|rest| step(after, rest, bindings));
    }
    // The shortest text that lets the remainder match.
    for end in (0..=rest.len()).filter(|end| rest.is_char_boundary(*end)) {
        let mut trial = bindings.clone();
        if name != "_" {
            if end == 0 {
                continue;
            }
            trial.insert(name.to_owned(), rest[..end].to_owned());
        }
        if step(after, &rest[end..], &mut trial) {
            *bindings = trial;
            return true;
        }
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
