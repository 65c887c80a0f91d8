//! Whether the tree has the shape of [`super::options`]: keys that exist, values of the right kind, nothing missing.
//!
//! Says for an unknown key which one may have been meant, or where it belongs. Also finds what may be a secret, so
//! that no report shows it.

use super::options::{self, Kind, Need, OPTIONS, Opt};
use super::report::Mistake;
use super::yaml::{At, Entry, Node, Value};
use crate::words::near;

/// What a look at the shape found.
#[derive(Debug, Default)]
pub struct Findings {
    /// What is wrong.
    pub mistakes: Vec<Mistake>,
    /// Places that may hold a secret.
    pub hidden: Vec<At>,
}

/// Looks at the whole file.
pub fn look(root: &Node) -> Findings {
    let mut findings = Findings::default();
    match &root.value {
        Value::Map(_) => group(root, "", root.at.start..root.at.start, &mut findings),
        _ => findings.mistakes.push(
            Mistake::error(root.at.clone(), format!("this file is {}, not a configuration", root.noun()))
                .help("it begins with keys such as `xmpp:` and `sip:`; docs/options.md lists them all"),
        ),
    }
    findings
}

/// A mapping that must have the keys of the group `path`. `at` is where a missing key is told.
fn group(node: &Node, path: &str, at: At, findings: &mut Findings) {
    let Value::Map(entries) = &node.value else {
        wrong_kind(node, path, "a group of keys", at, findings);
        return;
    };
    for entry in entries {
        match options::find(&options::join(path, &entry.key)) {
            Some(option) => value(option, entry, findings),
            None => {
                if options::children(path).any(|option| option.kind == Kind::Secret) {
                    hide(&entry.value, findings);
                }
                findings.mistakes.push(unknown(path, entry));
            }
        }
    }
    for option in options::children(path).filter(|option| option.need == Need::Required) {
        let (_, name) = options::split(option.key);
        let meant = |entry: &Entry| near(path, &entry.key) == Some(name);
        if node.get(name).is_none() && !entries.iter().any(meant) {
            let place = match path.strip_suffix("[]") {
                _ if path.is_empty() => "the file".to_owned(),
                Some(list) => format!("this entry of `{list}`"),
                None => format!("`{path}`"),
            };
            findings.mistakes.push(
                Mistake::error(at.clone(), format!("`{name}` is missing in {place}")).help(format!(
                    "add `{}`: {}",
                    example(option),
                    option.about
                )),
            );
        }
    }
}

fn value(option: &'static Opt, entry: &Entry, findings: &mut Findings) {
    let node = &entry.value;
    let form = option.kind.form();
    if let (Value::Null, false) = (&node.value, option.kind == Kind::Secret) {
        findings.mistakes.push(
            Mistake::error(entry.key_at.clone(), format!("`{}` has no value", entry.key))
                .help(format!("write {form}, or remove the key{}", default(option))),
        );
        return;
    }
    match option.kind {
        Kind::Group => group(node, option.key, entry.key_at.clone(), findings),
        Kind::Groups => match &node.value {
            Value::List(items) if items.is_empty() && option.need == Need::Required => {
                findings.mistakes.push(
                    Mistake::error(node.at.clone(), format!("`{}` is empty", entry.key))
                        .help(format!("it needs one entry at least: {}", option.about)),
                );
            }
            Value::List(items) => {
                for item in items {
                    let at = match &item.value {
                        Value::Map(entries) => {
                            entries.first().map_or(item.at.clone(), |first| first.key_at.clone())
                        }
                        _ => item.at.clone(),
                    };
                    group(item, &options::inside(option), at, findings);
                }
            }
            _ => wrong_kind(node, option.key, &form, entry.key_at.clone(), findings),
        },
        Kind::Texts(_) => match &node.value {
            Value::Text { .. } => {}
            Value::List(items) if items.is_empty() && option.need == Need::Required => {
                findings.mistakes.push(
                    Mistake::error(node.at.clone(), format!("`{}` is empty", entry.key))
                        .help(format!("it needs one entry at least: {}", option.about)),
                );
            }
            Value::List(items) => {
                for item in items.iter().filter(|item| !matches!(item.value, Value::Text { .. })) {
                    findings.mistakes.push(
                        Mistake::error(item.at.clone(), format!("this is {}", item.noun()))
                            .help(format!("`{}` is {form}", entry.key)),
                    );
                }
            }
            _ => wrong_kind(node, option.key, &form, entry.key_at.clone(), findings),
        },
        Kind::Secret => secret(entry, findings),
        // Whoever knows the table looks at them.
        Kind::Rows => {}
        Kind::Text(_) | Kind::Flag | Kind::Number(..) | Kind::Duration => {
            if !matches!(node.value, Value::Text { .. }) {
                wrong_kind(node, option.key, &form, entry.key_at.clone(), findings);
            }
        }
    }
}

/// `{ file: PATH }` or `{ env: NAME }`, one of the two.
fn secret(entry: &Entry, findings: &mut Findings) {
    let name = &entry.key;
    let Value::Map(entries) = &entry.value.value else {
        hide(&entry.value, findings);
        findings.mistakes.push(
            Mistake::error(entry.key_at.clone(), format!("`{name}` does not say where the secret is"))
                .help(format!(
                    "a secret never stands in this file: put it into a file that others may not read and write \
                     `{name}: {{ file: PATH }}`, or into the environment and write `{name}: {{ env: NAME }}`"
                )),
        );
        return;
    };
    for inner in entries {
        let known = inner.key == "file" || inner.key == "env";
        if !known {
            hide(&inner.value, findings);
            findings.mistakes.push(
                Mistake::error(inner.key_at.clone(), format!("`{}` is no way to give a secret", inner.key))
                    .help(format!("write `{name}: {{ file: PATH }}` or `{name}: {{ env: NAME }}`")),
            );
        } else if !matches!(inner.value.value, Value::Text { .. }) {
            findings.mistakes.push(
                Mistake::error(inner.key_at.clone(), format!("`{}` is {}", inner.key, inner.value.noun()))
                    .help("write the path of a file, or the name of a variable of the environment"),
            );
        }
    }
    let given = entries.iter().filter(|inner| inner.key == "file" || inner.key == "env").count();
    if given == 2 || entries.is_empty() {
        let what = if given == 2 { "both `file` and `env`" } else { "neither `file` nor `env`" };
        findings.mistakes.push(
            Mistake::error(entry.key_at.clone(), format!("`{name}` has {what}"))
                .help(format!("write `{name}: {{ file: PATH }}` or `{name}: {{ env: NAME }}`")),
        );
    }
}

fn wrong_kind(node: &Node, path: &str, form: &str, at: At, findings: &mut Findings) {
    if options::children(path).any(|option| option.kind == Kind::Secret) {
        hide(node, findings);
    }
    let at = if matches!(node.value, Value::Text { .. }) { node.at.clone() } else { at };
    let option = OPTIONS.iter().find(|option| option.key == path || options::inside(option) == path);
    let about = option.map_or("docs/options.md lists all options", |option| option.about);
    let what = match path.strip_suffix("[]") {
        Some(list) => format!("this entry of `{list}`"),
        None => format!("`{path}`"),
    };
    findings
        .mistakes
        .push(Mistake::error(at, format!("{what} is {}, but should be {form}", node.noun())).help(about));
}

/// A path as it is told: `xmpp.components[]` is an entry of `xmpp.components`.
fn here(path: &str) -> &str {
    path.strip_suffix("[]").unwrap_or(path)
}

fn default(option: &Opt) -> String {
    match option.need {
        Need::Required => String::new(),
        Need::Default(value) => format!(" (then it is {value})"),
        Need::Absent(words) => format!(" (then it is {words})"),
    }
}

/// How a missing option would be written.
fn example(option: &Opt) -> String {
    let (_, name) = options::split(option.key);
    match option.kind {
        Kind::Group => format!("{name}:"),
        Kind::Groups => format!("{name}: [ … ]"),
        Kind::Texts(form) => format!("{name}: [ {form} ]"),
        kind => format!("{name}: {}", kind.form()),
    }
}

/// Hides every single value at or under a node.
fn hide(node: &Node, findings: &mut Findings) {
    match &node.value {
        Value::Null => {}
        Value::Text { .. } => findings.hidden.push(node.at.clone()),
        Value::List(items) => items.iter().for_each(|item| hide(item, findings)),
        Value::Map(entries) => {
            for entry in entries {
                hide(&entry.value, findings);
            }
        }
    }
}

fn unknown(path: &str, entry: &Entry) -> Mistake {
    let name = entry.key.as_str();
    let place = if path.is_empty() { "of the file" } else { here(path) };
    let mistake = |help: String| {
        let what = match path {
            "" => format!("`{name}` is no option"),
            _ => format!("`{name}` is no option of `{place}`"),
        };
        Mistake::error(entry.key_at.clone(), what).help(help)
    };
    if let Some(known) = near(path, name) {
        return mistake(format!("did you mean `{known}`?"));
    }
    if let Some(option) = OPTIONS.iter().find(|option| options::split(option.key).1 == name) {
        let (group, _) = options::split(option.key);
        let home =
            if group.is_empty() { "at the top of the file".into() } else { format!("in `{}`", here(group)) };
        return mistake(format!("`{name}` belongs {home}"));
    }
    let known: Vec<_> = options::children(path).map(|option| options::split(option.key).1).collect();
    mistake(format!("remove it; known here: {}", known.join(", ")))
}

/// The option of a group that an unknown key was probably meant for.
fn near(path: &str, name: &str) -> Option<&'static str> {
    if options::find(&options::join(path, name)).is_some() {
        return None;
    }
    near::nearest(name, options::children(path).map(|option| options::split(option.key).1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::yaml;

    fn mistakes(text: &str) -> Vec<String> {
        let root = yaml::parse(text, &mut Vec::new()).expect("the test's own YAML");
        look(&root).mistakes.iter().map(|mistake| format!("{} {}", mistake.what, mistake.help)).collect()
    }

    #[test]
    fn the_nearest_key_is_named() {
        for (wrong, right) in
            [("stor", "store"), ("Store", "store"), ("stop-timeout", "stop_timeout"), ("isp", "sip")]
        {
            let told = mistakes(&format!("{wrong}: 1\n"));
            assert!(told.iter().any(|text| text.ends_with(&format!("did you mean `{right}`?"))), "{told:?}");
        }
    }

    #[test]
    fn a_key_elsewhere_is_shown_its_home() {
        let told = mistakes("may_send_from: [ a ]\n");
        assert!(told.iter().any(|text| text.ends_with("`may_send_from` belongs in `sip.peers`")), "{told:?}");
    }

    #[test]
    fn whatever_may_be_a_secret_is_hidden() {
        let text = "xmpp: { components: [ { secret: AAA, secrt: AAA, domain: x }, { secret: { value: AAA } } ] }\n\
                    sip: { peers: [ { uri: u, auth: AAA }, { auth: { passwort: [AAA], password: [AAA] } } ] }\n";
        let root = yaml::parse(text, &mut Vec::new()).expect("the test's own YAML");
        let hidden: Vec<_> = look(&root).hidden.into_iter().map(|at| text[at].to_owned()).collect();
        assert_eq!(hidden, ["AAA"; 6]);
    }
}
