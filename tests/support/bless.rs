//! `BLESS=1`: a vector whose `out` steps say what came out, for a person to review.
//!
//! A step that is right stays as it was written, byte for byte, and so does everything that goes in. A wrong one is
//! written anew in its own terms: the same headers in the same order, the same names where something stands that has
//! been bound, `{_}` where it had one; what we mint gets a name. What nobody expected becomes a step, an expectation
//! that came to nothing goes. Comments stay.

use std::collections::BTreeSet;

use mostar::shell::record::names;
use mostar::words::id::Partition;
use mostar::xmpp::stanza::Element;

use super::script::{Script, Step, is_comment};
use super::vector::{self, Side, World};
use super::{pattern, xml};

/// The vector as it should be if the gateway is right. Whatever this gives passes; the error says why nothing does.
pub fn bless(text: &str) -> Result<String, String> {
    let script: Script = text.parse()?;
    let names = Names { taken: script.names(), wanted: Vec::new() };
    let world = World::of(&script)?;
    let mut blessing = Blessing {
        world,
        names,
        done: Script { before: script.before, steps: Vec::new() },
        vain: Vec::new(),
    };
    for (number, step) in script.steps.iter().enumerate() {
        blessing
            .step(step, &script.steps[number + 1..])
            .map_err(|error| blessing.world.located(step, &error))?;
    }
    blessing.insert_all();
    let blessed = blessing.done.print();
    if blessed == text {
        return Ok(blessed);
    }
    vector::run(&blessed).map_err(|error| format!("cannot be blessed:\n{error}"))?;
    Ok(blessed)
}

struct Blessing {
    world: World,
    names: Names,
    done: Script,
    /// Expectations that came to nothing: what comes later may be in their terms.
    vain: Vec<(Side, Step)>,
}

impl Blessing {
    fn step(&mut self, step: &Step, later: &[Step]) -> Result<(), String> {
        let (at, words) = step.words()?;
        self.names.look(std::iter::once(step).chain(later));
        self.world.advance(at)?;
        let Some(side) = Side::expected(&words)? else {
            self.insert_all();
            self.world.act(&words, &step.body())?;
            self.done.steps.push(step.clone());
            return Ok(());
        };
        let waiting = self.world.waiting(side);
        if let Some(place) = (0..waiting).find(|place| self.fits(side, *place, step)) {
            for _ in 0..place {
                self.insert(side);
            }
            self.world.expect(side, 0, &step.body())?;
            self.world.take(side);
            self.done.steps.push(step.clone());
        } else if waiting == 0 || self.is_for_another(side, later) {
            self.gave_nothing(side, step);
        } else if self.world.first_text(side).is_some_and(|text| kind(&text) != kind(&step.body())) {
            self.gave_nothing(side, step);
            self.insert(side);
        } else if let Some(out) = self.world.take(side) {
            let mut what = step.what.clone();
            if matches!(side, Side::Sip(Some(_))) {
                what.truncate(what.len() - 3);
                what.push_str(out.over);
            }
            let lines = self.rewrite(side, Some(step), &out.text);
            self.done.steps.push(Step { line: step.line, what, lines });
        }
        Ok(())
    }

    /// An expectation goes; its comments stay.
    fn gave_nothing(&mut self, side: Side, step: &Step) {
        self.vain.push((side, step.clone()));
        let last = self.done.steps.last_mut().map_or(&mut self.done.before, |last| &mut last.lines);
        last.extend(step.lines.iter().filter(|line| is_comment(line)).cloned());
    }

    /// Whether what waits at this place is what the step says. Binds nothing.
    fn fits(&mut self, side: Side, place: usize, step: &Step) -> bool {
        let bindings = self.world.bindings.clone();
        let fits = self.world.expect(side, place, &step.body()).is_ok();
        self.world.bindings = bindings;
        fits
    }

    /// Whether what waits first is what one of the steps says that follow before anything goes in.
    fn is_for_another(&mut self, side: Side, later: &[Step]) -> bool {
        let expected =
            |step: &Step| step.words().ok().and_then(|(_, words)| Side::expected(&words).ok().flatten());
        let until_input = later.iter().map_while(|step| Some((expected(step)?, step)));
        let mut same = until_input.filter(|(other, _)| other.is_same(side));
        same.any(|(other, step)| self.fits(other, 0, step))
    }

    /// Everything that nobody expected becomes steps, in the order in which it came.
    fn insert_all(&mut self) {
        while let Some(side) = self.world.first_waiting() {
            self.insert(side);
        }
    }

    /// What waits first on a side becomes a step of its own.
    fn insert(&mut self, side: Side) {
        let Some(out) = self.world.take(side) else { return };
        // A comment at the end of a step is about the one that follows it.
        let about_next = self.done.steps.last_mut().map_or(Vec::new(), |last| {
            let own = last.lines.iter().rposition(|line| !is_comment(line)).map_or(0, |place| place + 1);
            last.lines.split_off(own)
        });
        let alike =
            |(other, step): &(Side, Step)| other.is_same(side) && kind(&step.body()) == kind(&out.text);
        let template = self.vain.iter().position(alike).map(|place| self.vain.remove(place).1);
        let template = template.map(|step| Step { lines: uncommented(step.lines), ..step });
        let mut lines = self.rewrite(side, template.as_ref(), &out.text);
        lines.extend(about_next);
        let side = match side {
            Side::Xmpp => "xmpp",
            Side::Sip(_) => "sip",
            Side::Msrp => "msrp",
        };
        self.done.steps.push(Step {
            line: 0,
            what: format!("{} {side} out", out.at.0.div_ceil(1000)),
            lines,
        });
    }

    fn rewrite(&mut self, side: Side, template: Option<&Step>, text: &str) -> Vec<String> {
        match side {
            Side::Xmpp => self.rewrite_stanza(template, text),
            Side::Sip(_) | Side::Msrp => self.rewrite_sip(template, text),
        }
    }

    fn rewrite_stanza(&mut self, template: Option<&Step>, text: &str) -> Vec<String> {
        let old = template.map(Step::body).unwrap_or_default();
        let new = self.xml(&old, text);
        let comments = template.into_iter().flat_map(|step| &step.lines).filter(|line| is_comment(line));
        indented(&new).into_iter().chain(comments.cloned()).collect()
    }

    fn rewrite_sip(&mut self, template: Option<&Step>, text: &str) -> Vec<String> {
        let text = text.replace("\r\n", "\n");
        let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
        let (first, headers) = head.split_once('\n').unwrap_or((head, ""));
        let mut headers: Vec<(&str, &str)> =
            headers.lines().filter_map(|line| Some((line.split_once(':')?.0, line))).collect();
        let Some(template) = template else {
            let of_interest =
                headers.iter().filter(|(name, _)| !ROUTINE.contains(name)).map(|(_, line)| *line);
            let mut lines: Vec<String> =
                std::iter::once(first).chain(of_interest).map(|line| self.line(line, "")).collect();
            if !body.is_empty() {
                lines.push(String::new());
                lines.extend(self.body("", body));
            }
            return lines.iter().flat_map(|line| indented(line)).collect();
        };
        let mut lines = Vec::new();
        let mut rest = template.lines.iter();
        let mut is_first = true;
        for line in rest.by_ref() {
            if is_comment(line) {
                lines.push(line.clone());
                continue;
            }
            let old = line.trim();
            if old.is_empty() {
                lines.push(line.clone());
                break;
            }
            let new = match old.strip_prefix('!') {
                _ if is_first => Some(first),
                Some(name) => headers
                    .iter()
                    .find(|(found, _)| found.eq_ignore_ascii_case(name.trim()))
                    .map(|(_, line)| *line),
                None => self.header(old, &mut headers),
            };
            is_first = false;
            let new = match new {
                Some(new) => self.line(new, old),
                None if old.starts_with('!') => old.to_owned(),
                None => format!("!{}", old.split(':').next().unwrap_or(old)),
            };
            lines.extend(indented(&new));
        }
        let rest: Vec<&String> = rest.collect();
        if lines.last().is_some_and(|line| line.trim().is_empty()) {
            let old: String = rest
                .iter()
                .filter(|line| !is_comment(line))
                .flat_map(|line| [line.trim_start_matches("    "), "\n"])
                .collect();
            lines.extend(self.body(&old, body).iter().flat_map(|line| indented(line)));
            lines.extend(rest.into_iter().filter(|line| is_comment(line)).cloned());
        }
        lines
    }

    /// The header that a line is about: the one that it fits, else the first of its name; each only once.
    fn header<'a>(&self, old: &str, headers: &mut Vec<(&'a str, &'a str)>) -> Option<&'a str> {
        let name = old.split(':').next().unwrap_or_default();
        let fits = |line: &str| pattern::line(old, line, &mut self.world.bindings.clone());
        let same = |(found, _): &(&str, &str)| found.eq_ignore_ascii_case(name);
        let place = headers
            .iter()
            .position(|header| same(header) && fits(header.1))
            .or(headers.iter().position(same))?;
        Some(headers.remove(place).1)
    }

    fn body(&mut self, old: &str, new: &str) -> Vec<String> {
        if new.trim_start().starts_with('<') {
            return self.xml(old, new).lines().map(str::to_owned).collect();
        }
        let mut old = old.lines();
        new.lines().map(|line| self.line(line, old.next().unwrap_or_default())).collect()
    }

    /// A line as it came, in terms of the old one: that itself where it fits.
    fn line(&mut self, new: &str, old: &str) -> String {
        if pattern::line(old, new, &mut self.world.bindings) {
            return old.to_owned();
        }
        self.names.put(new, old, &mut self.world.bindings)
    }

    /// A document as it came, with the holes that the old one has at the same places.
    fn xml(&mut self, old: &str, new: &str) -> String {
        let mut holes = Vec::new();
        if let (Ok(old), Ok(new)) = (xml::parse(old), xml::parse(new)) {
            self.holes(&old, &new, &mut holes);
        }
        let mut out = new.to_owned();
        for (value, hole) in holes {
            let stands = [format!("'{value}'"), format!("\"{value}\""), format!(">{value}<")];
            let place = stands.iter().filter_map(|text| out.find(text)).min();
            if let Some(place) = place {
                out.replace_range(place + 1..place + 1 + value.len(), &hole);
            }
        }
        let out = self.names.put(&out, "", &mut self.world.bindings);
        let folded = fold(&out);
        match (xml::parse(&out), xml::parse(&folded)) {
            (Ok(flat), Ok(read)) if xml::lines(&flat) == xml::lines(&read) => folded,
            _ => out,
        }
    }

    fn holes(&mut self, old: &Element, new: &Element, found: &mut Vec<(String, String)>) {
        if !(old.name() == new.name() && old.ns() == new.ns()) {
            return;
        }
        let mut pair = |old: &str, new: &str| {
            if !pattern::names(old).is_empty() && pattern::line(old, new, &mut self.world.bindings) {
                found.push((new.to_owned(), old.to_owned()));
            }
        };
        for attr in new.attrs() {
            if let Some(old) = old.attrs().iter().find(|old| old.name == attr.name && old.ns == attr.ns) {
                pair(&old.value, &attr.value);
            }
        }
        pair(&old.text(), &new.text());
        let mut others: Vec<&Element> = old.children().collect();
        for child in new.children() {
            let same = |other: &&Element| other.name() == child.name() && other.ns() == child.ns();
            if let Some(place) = others.iter().position(same) {
                self.holes(others.remove(place), child, found);
            }
        }
    }
}

/// What every message has, and nobody looks at.
const ROUTINE: [&str; 6] = ["Via", "Max-Forwards", "Content-Length", "User-Agent", "Server", "Allow"];

/// The method, status line or element that something is.
fn kind(text: &str) -> &str {
    text.trim_start().split([' ', '/', '>']).next().unwrap_or_default()
}

/// The comments of a step that came to nothing have been kept already.
fn uncommented(mut lines: Vec<String>) -> Vec<String> {
    lines.retain(|line| !is_comment(line));
    lines
}

/// As lines of a step.
fn indented(text: &str) -> Vec<String> {
    let line = |line: &str| if line.is_empty() { String::new() } else { format!("    {line}") };
    if text.is_empty() { vec![String::new()] } else { text.lines().map(line).collect() }
}

/// Breaks a long document between elements.
fn fold(text: &str) -> String {
    const WIDTH: usize = 110;
    let mut out = String::new();
    let mut width = 0;
    let mut pieces = text.split_inclusive('>').peekable();
    while let Some(piece) = pieces.next() {
        // Between a start and its own end nothing may come.
        let is_break = out.ends_with('>') && piece.starts_with('<') && !piece.starts_with("</");
        let next = pieces.peek().map_or(0, |next| next.len());
        if is_break && width + piece.len() + next > WIDTH {
            out.push_str("\n  ");
            width = 2;
        }
        out.push_str(piece);
        width += piece.len();
    }
    out
}

/// Names for what is minted.
struct Names {
    /// Every name of the script, and the new ones.
    taken: BTreeSet<String>,
    /// Names that something which goes in uses before anything that comes out does, with what stands before them.
    wanted: Vec<(String, String)>,
}

impl Names {
    /// Looks at what is still to come.
    fn look<'a>(&mut self, later: impl Iterator<Item = &'a Step>) {
        self.wanted.clear();
        let mut seen = BTreeSet::new();
        for step in later {
            let comes_out = step.what.contains(" out");
            let body = step.body();
            for name in pattern::names(&body) {
                if seen.insert(name.to_owned()) && !comes_out {
                    let before = body.split(&format!("{{{name}}}")).next().unwrap_or_default();
                    self.wanted.push((name.to_owned(), names::key(before)));
                }
            }
        }
    }

    /// Writes names for bound values and for what we have minted; a hole that `old` has at such a place is used again.
    fn put(&mut self, new: &str, old: &str, bindings: &mut pattern::Bindings) -> String {
        names::words(new, |before, word| {
            let bound = bindings.iter().find(|(_, value)| value.len() >= LONG && *value == word);
            if let Some((name, _)) = bound {
                return Some(format!("{{{name}}}"));
            }
            if Partition::of_token(word).is_none() {
                return is_foreign_hole(word, bindings).then(|| "{_}".to_owned());
            }
            let key = names::key(before);
            let written = old.split_once(&format!("{key}{{")).and_then(|(_, rest)| rest.split('}').next());
            let name = match written.filter(|name| *name == "_" || !bindings.contains_key(*name)) {
                Some(name) => name.to_owned(),
                None => {
                    let is_it =
                        |(name, before): &&(String, String)| *before == key && !bindings.contains_key(name);
                    let wanted = self.wanted.iter().find(is_it).map(|(name, _)| name.clone());
                    wanted.unwrap_or_else(|| self.fresh(names::hint(&key)))
                }
            };
            let hole = format!("{{{name}}}");
            if name != "_" {
                bindings.insert(name, word.to_owned());
            }
            Some(hole)
        })
    }

    fn fresh(&mut self, hint: &str) -> String {
        let numbered = (2..).map(|number| format!("{hint}{number}"));
        let name = std::iter::once(hint.to_owned()).chain(numbered).find(|name| !self.taken.contains(name));
        let name = name.unwrap_or_default();
        self.taken.insert(name.clone());
        name
    }
}

/// Shorter values stand in too many places by chance.
const LONG: usize = 6;

/// Braces that came out and are none of ours: they cannot be written in a pattern.
fn is_foreign_hole(word: &str, bindings: &pattern::Bindings) -> bool {
    pattern::names(word).iter().any(|name| *name != "_" && !bindings.contains_key(*name))
}
