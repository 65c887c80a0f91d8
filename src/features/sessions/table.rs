//! Tables of rows with names, conditions and one decision: how `mappings/sessions.yaml` is read, overridden by an admin,
//! asked, and explained.
//!
//! A [`Question`] says which conditions and decisions its rows may have; it is the one registry behind reading (what is
//! not listed is a mistake, with its line and the nearest right word), asking and explaining.

use std::fmt::Write as _;
use std::time::Duration;

use crate::config::report::Mistake;
use crate::config::values;
use crate::config::yaml::{self, At, Entry, Node, Value};
use crate::words::condition::Kind;
use crate::words::near;

/// A list of rows and what may stand in them.
#[derive(Debug)]
pub struct Question {
    /// Its key in the table.
    pub name: &'static str,
    /// The conditions that its rows may have.
    pub conditions: &'static [(&'static str, Form)],
    /// The decisions that its rows may make, each with the further keys that belong to it.
    pub decisions: &'static [(&'static str, &'static [&'static str])],
}

/// What a condition may be compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One of these words, or a list of them.
    Words(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// The number of a SIP answer, or a list of them.
    Status,
    /// The beginning of a text, or a list of such; letter case does not count.
    Beginning,
    /// A time that must have passed.
    AtLeast,
}

/// What a situation says to one condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact<'a> {
    /// A word of the condition's.
    Word(&'static str),
    /// Yes or no.
    Flag(bool),
    /// The number of a SIP answer.
    Status(u16),
    /// A text.
    Text(&'a str),
    /// So much time has passed.
    Time(Duration),
    /// Several of the condition's words: those whose bits are set, the first one's lowest.
    Among(&'static [&'static str], u8),
    /// It is not known, or there is none: no row that asks for it fits.
    Nothing,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// All of these must hold; each names one of several values.
    pub when: Vec<(&'static str, Vec<String>)>,
    /// The decision.
    pub then: &'static str,
    /// `for` or `after`.
    pub time: Option<Duration>,
    /// `condition` of a refusal.
    pub condition: Option<Kind>,
    /// `status` of a refusal.
    pub status: Option<u16>,
    /// `text` of a refusal.
    pub text: Option<String>,
}

impl Row {
    /// The first condition that does not hold, or nothing.
    fn obstacle(&self, facts: &[(&'static str, Fact<'_>)]) -> Option<&'static str> {
        let holds = |(name, values): &&(&'static str, Vec<String>)| {
            let fact = facts.iter().find(|(known, _)| known == name).map_or(Fact::Nothing, |(_, fact)| *fact);
            !values.iter().any(|value| fact.is(value))
        };
        self.when.iter().find(holds).map(|(name, _)| *name)
    }
}

impl Fact<'_> {
    fn is(&self, value: &str) -> bool {
        match self {
            Fact::Word(word) => *word == value,
            Fact::Flag(flag) => value == if *flag { "true" } else { "false" },
            Fact::Status(status) => value.parse() == Ok(*status),
            Fact::Text(text) => {
                text.get(..value.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(value))
            }
            Fact::Time(time) => values::duration(value).is_ok_and(|least| *time >= least),
            Fact::Among(words, bits) => among(words, *bits).any(|word| word == value),
            Fact::Nothing => false,
        }
    }

    fn shown(&self) -> String {
        match self {
            Fact::Word(word) => (*word).to_owned(),
            Fact::Flag(flag) => flag.to_string(),
            Fact::Status(status) => status.to_string(),
            Fact::Text(text) => format!("{text:?}"),
            Fact::Time(time) => format!("{}s", time.as_secs()),
            Fact::Among(_, 0) => "nothing".to_owned(),
            Fact::Among(words, bits) => among(words, *bits).collect::<Vec<_>>().join(" "),
            Fact::Nothing => "not known".to_owned(),
        }
    }
}

fn among(words: &'static [&'static str], bits: u8) -> impl Iterator<Item = &'static str> {
    words.iter().enumerate().filter(move |(place, _)| bits >> place & 1 == 1).map(|(_, word)| *word)
}

/// All lists of rows, in the order of the questions they were read for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    lists: Vec<(&'static str, Vec<Row>)>,
}

/// Lists that stand before, or in place of, those of a table.
pub type Own = Table;

impl Table {
    /// A whole table from its text: every question has a list that ends in a row without conditions.
    pub fn read(text: &str, questions: &'static [Question]) -> Result<Table, String> {
        let mut mistakes = Vec::new();
        let mut table = Table::default();
        if let Some(root) = yaml::parse(text, &mut mistakes) {
            table = Table::of(&root, questions, &mut mistakes);
        }
        mistakes.sort_by_key(|mistake| mistake.at.start);
        if let Some(mistake) = mistakes.first() {
            let line = text.get(..mistake.at.start).unwrap_or(text).matches('\n').count() + 1;
            return Err(format!("line {line}: {}: {}", mistake.what, mistake.help));
        }
        table.is_whole(questions).map(|()| table)
    }

    /// Every question has a list that ends in a row without conditions; else which has not.
    pub fn is_whole(&self, questions: &'static [Question]) -> Result<(), String> {
        for question in questions {
            match self.list(question.name).last() {
                Some(last) if last.when.is_empty() => {}
                Some(last) => {
                    let (list, row) = (question.name, &last.name);
                    return Err(format!(
                        "the last row of `{list}`, {row}, has conditions: end with one that has none"
                    ));
                }
                None => return Err(format!("`{}` has no rows", question.name)),
            }
        }
        Ok(())
    }

    /// Some lists of rows, as they stand in a tree; what is wrong with them is told.
    pub fn of(root: &Node, questions: &'static [Question], mistakes: &mut Vec<Mistake>) -> Own {
        let mut table = Table::default();
        let Value::Map(entries) = &root.value else {
            let what = format!("this is {}, not lists of rows", root.noun());
            mistakes.push(Mistake::error(root.at.clone(), what).help(names(questions)));
            return table;
        };
        for entry in entries {
            let Some(question) = questions.iter().find(|question| question.name == entry.key) else {
                let known = questions.iter().map(|question| question.name);
                mistakes.push(unknown("no list of rows is called", entry, known, &names(questions)));
                continue;
            };
            let Value::List(items) = &entry.value.value else {
                let what = format!("`{}` is {}, not a list of rows", entry.key, entry.value.noun());
                mistakes.push(Mistake::error(entry.key_at.clone(), what).help(EXAMPLE));
                continue;
            };
            let mut rows: Vec<Row> = Vec::new();
            for item in items {
                let Some(row) = row(item, question, mistakes) else { continue };
                if rows.iter().any(|other| other.name == row.name) {
                    let what = format!("two rows of `{}` are called {}", question.name, row.name);
                    mistakes
                        .push(Mistake::error(item.at.clone(), what).help("give one of them another name"));
                    continue;
                }
                rows.push(row);
            }
            table.lists.push((question.name, rows));
        }
        table
    }

    /// This table with an admin's rows: one of a known name in its place, the others before all rows, in their order.
    pub fn with(mut self, own: Own) -> Table {
        for (name, rows) in own.lists {
            let Some((_, list)) = self.lists.iter_mut().find(|(known, _)| *known == name) else {
                self.lists.push((name, rows));
                continue;
            };
            let mut first = Vec::new();
            for row in rows {
                match list.iter_mut().find(|known| known.name == row.name) {
                    Some(known) => *known = row,
                    None => first.push(row),
                }
            }
            list.splice(0..0, first);
        }
        self
    }

    /// The row that decides; there is one in every whole table.
    pub fn ask(&self, question: &str, facts: &[(&'static str, Fact<'_>)]) -> Option<&Row> {
        self.list(question).iter().find(|row| row.obstacle(facts).is_none())
    }

    /// Why that row decides: the facts, and for each row before it the condition that did not hold.
    pub fn explain(&self, question: &str, facts: &[(&'static str, Fact<'_>)]) -> String {
        let mut text = String::new();
        let shown: Vec<String> =
            facts.iter().map(|(name, fact)| format!("{name}: {}", fact.shown())).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{question}: {{ {} }}", shown.join(", "));
        for row in self.list(question) {
            match row.obstacle(facts) {
                Some(condition) => {
                    let _ = writeln!(text, "  not {}: {condition} differs", row.name);
                }
                None => {
                    let _ = writeln!(text, "  {} decides: {}", row.name, row.then);
                    break;
                }
            }
        }
        text
    }

    /// The rows of a question, in order.
    pub fn list(&self, question: &str) -> &[Row] {
        self.lists.iter().find(|(name, _)| *name == question).map_or(&[], |(_, rows)| rows)
    }
}

const EXAMPLE: &str = "a row is written { row: NAME, when: { CONDITION: VALUE }, do: DECISION }";

/// One row of a list; nothing if it is wrong.
fn row(node: &Node, question: &'static Question, mistakes: &mut Vec<Mistake>) -> Option<Row> {
    let Value::Map(entries) = &node.value else {
        mistakes.push(
            Mistake::error(node.at.clone(), format!("this is {}, not a row", node.noun())).help(EXAMPLE),
        );
        return None;
    };
    let before = mistakes.len();
    let text_of = |name: &str| node.get(name).and_then(|entry| single(&entry.value));
    let (name, then) = (text_of("row"), text_of("do"));
    for (key, value) in [("row", &name), ("do", &then)] {
        if value.is_none() {
            mistakes.push(
                Mistake::error(node.at.clone(), format!("`{key}` is missing in this row")).help(EXAMPLE),
            );
        }
    }
    let decision = then.and_then(|(text, at)| {
        let found = question.decisions.iter().find(|(known, _)| *known == text);
        if found.is_none() {
            let known: Vec<_> = question.decisions.iter().map(|(known, _)| *known).collect();
            let what = format!("`{}` cannot decide {text:?}", question.name);
            mistakes.push(Mistake::error(at, what).help(format!("decide one of: {}", known.join(", "))));
        }
        found
    });
    let mut row = Row {
        name: name.map_or_else(String::new, |(text, _)| text.to_owned()),
        when: Vec::new(),
        then: decision.map_or("", |(known, _)| known),
        time: None,
        condition: None,
        status: None,
        text: None,
    };
    let further = decision.map_or(&[][..], |(_, further)| further);
    for entry in entries {
        match entry.key.as_str() {
            "row" | "do" => {}
            "when" => row.when = conditions(&entry.value, question, mistakes),
            key if further.contains(&key) => argument(&mut row, entry, mistakes),
            _ => {
                let known = ["row", "when", "do"].into_iter().chain(further.iter().copied());
                let mistake = unknown("a row that decides so has no", entry, known, EXAMPLE);
                // Other languages of rules say so.
                mistakes.push(match entry.key.as_str() {
                    "name" => mistake.help("did you mean `row`?"),
                    "then" => mistake.help("did you mean `do`?"),
                    _ => mistake,
                });
            }
        }
    }
    for key in further.iter().filter(|key| **key != "text" && node.get(key).is_none()) {
        let what = format!("`{key}` is missing: this decision needs it");
        mistakes.push(Mistake::error(node.at.clone(), what).help(form_of(key)));
    }
    (mistakes.len() == before).then_some(row)
}

fn argument(row: &mut Row, entry: &Entry, mistakes: &mut Vec<Mistake>) {
    let Some((text, at)) = single(&entry.value) else {
        let what = format!("`{}` is {}", entry.key, entry.value.noun());
        return mistakes.push(Mistake::error(entry.value.at.clone(), what).help(form_of(&entry.key)));
    };
    let good = match entry.key.as_str() {
        "text" => {
            row.text = Some(text.to_owned());
            true
        }
        "condition" => {
            let word = serde::de::value::StrDeserializer::<serde::de::value::Error>::new(text);
            row.condition = serde::Deserialize::deserialize(word).ok();
            row.condition.is_some()
        }
        "status" => {
            row.status = text.parse().ok().filter(|status| (400..700).contains(status));
            row.status.is_some()
        }
        _ => {
            row.time = values::duration(text).ok();
            row.time.is_some()
        }
    };
    if !good {
        let what = format!("`{}` cannot be {text:?}", entry.key);
        mistakes.push(Mistake::error(at, what).help(form_of(&entry.key)));
    }
}

fn form_of(key: &str) -> &'static str {
    match key {
        "condition" => "write a condition of XMPP such as policy-violation or service-unavailable",
        "status" => "write a SIP answer from 400 to 699",
        "text" => "write a sentence for the sender",
        _ => "write a duration such as 60s, 10m, 24h",
    }
}

fn conditions(
    node: &Node,
    question: &'static Question,
    mistakes: &mut Vec<Mistake>,
) -> Vec<(&'static str, Vec<String>)> {
    let Value::Map(entries) = &node.value else {
        let what = format!("`when` is {}, not conditions", node.noun());
        mistakes.push(Mistake::error(node.at.clone(), what).help(EXAMPLE));
        return Vec::new();
    };
    let mut all = Vec::new();
    for entry in entries {
        let Some((name, form)) = question.conditions.iter().find(|(name, _)| *name == entry.key) else {
            let known = question.conditions.iter().map(|(name, _)| *name);
            let help: Vec<_> = known.clone().collect();
            let help = format!("the conditions of `{}` are: {}", question.name, help.join(", "));
            mistakes.push(unknown("there is no condition", entry, known, &help));
            continue;
        };
        let nodes = match &entry.value.value {
            Value::List(items) => items.iter().collect(),
            _ => vec![&entry.value],
        };
        let mut accepted = Vec::new();
        for node in nodes {
            match single(node) {
                Some((text, _)) if form.takes(text) => accepted.push(text.to_owned()),
                found => {
                    let what = match found {
                        Some((text, _)) => format!("`{name}` is never {text:?}"),
                        None => format!("`{name}` is never {}", node.noun()),
                    };
                    mistakes.push(Mistake::error(node.at.clone(), what).help(form.shown()));
                }
            }
        }
        all.push((*name, accepted));
    }
    all
}

impl Form {
    fn takes(self, text: &str) -> bool {
        match self {
            Form::Words(words) => words.contains(&text),
            Form::Flag => matches!(text, "true" | "false"),
            Form::Status => text.parse::<u16>().is_ok_and(|status| (300..700).contains(&status)),
            Form::Beginning => !text.is_empty(),
            Form::AtLeast => values::duration(text).is_ok(),
        }
    }

    fn shown(self) -> String {
        match self {
            Form::Words(words) => format!("it is one of: {}", words.join(", ")),
            Form::Flag => "it is true or false".to_owned(),
            Form::Status => "it is a SIP answer from 300 to 699".to_owned(),
            Form::Beginning => "it is the beginning of a text".to_owned(),
            Form::AtLeast => "it is a duration such as 60s, 10m, 24h".to_owned(),
        }
    }
}

fn single(node: &Node) -> Option<(&str, At)> {
    match &node.value {
        Value::Text { text, .. } => Some((text, node.at.clone())),
        _ => None,
    }
}

fn names(questions: &[Question]) -> String {
    let names: Vec<_> = questions.iter().map(|question| question.name).collect();
    format!("the lists are: {}", names.join(", "))
}

fn unknown(what: &str, entry: &Entry, known: impl Iterator<Item = &'static str>, help: &str) -> Mistake {
    let help = match near::nearest(&entry.key, known) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => help.to_owned(),
    };
    Mistake::error(entry.key_at.clone(), format!("{what} `{}`", entry.key)).help(help)
}
