//! The store of a played gateway, and whether it is in order: after each step of a conversation every record in it must say
//! what `mostar fsck` lets pass, and as many messages wait in it as the figures say.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use mostar::config::Config;
use mostar::features::audit::Audit;
use mostar::gateway::io::Output;
use mostar::store::record::Restored;
use mostar::words::note::Note;
use mostar::words::time::Wall;
use mostar::xmpp::stanza::StanzaKind;

use super::restore::records;
use super::script::Script;
use super::vector::World;

/// See the module.
#[derive(Debug, Default)]
pub struct Books {
    /// What is on disk.
    pub store: BTreeMap<String, Vec<u8>>,
    /// Every record that was there once, as it was last.
    pub saved: BTreeMap<String, Vec<u8>>,
    /// Every shape that a record of a kind has had: a place in it and the type that stands there.
    pub shapes: BTreeSet<String>,
    /// How many wait and fly, to XMPP and to SIP; the balance of all that was taken and became of it.
    live: [i64; 2],
    balance: [i64; 2],
    wrong: Option<String>,
    /// Nothing has changed since it was judged.
    judged: Cell<bool>,
}

impl Books {
    /// Something comes out of the gateway. True if that was for the books alone.
    pub fn see(&mut self, output: &Output) -> bool {
        if !matches!(output, Output::Stanza(..) | Output::Sip(_) | Output::Msrp(_)) {
            self.judged.set(false);
        }
        match output {
            // What overtakes the store must be no promise: a refusal, an answer that keeps nothing.
            Output::Now(now) if promises(now) => {
                self.wrong.get_or_insert_with(|| format!("overtakes the store: {now:?}"));
                false
            }
            Output::Save(record) => {
                let name = record.key.to_string();
                if let Ok(value) = serde_json::from_slice(&record.value) {
                    shapes(record.key.kind, &value, &mut self.shapes);
                }
                self.saved.insert(name.clone(), record.value.clone());
                self.store.insert(name, record.value.clone());
                true
            }
            Output::Forget(key) => {
                self.store.remove(&key.to_string());
                true
            }
            Output::Note(Note::Count { name: "messages_total", labels, by }) => {
                let taken = matches!(labels[1].1, "accepted" | "restored");
                self.balance[side(labels[0].1)] += if taken { *by as i64 } else { -(*by as i64) };
                false
            }
            Output::Note(Note::Gauge { name: "messages_queued" | "messages_in_flight", labels, by }) => {
                self.live[side(&labels[0].1)] += by;
                false
            }
            _ => false,
        }
    }

    /// What the store held, for a process that begins. Its figures begin anew.
    pub fn restart(&mut self) -> Vec<Restored> {
        (self.live, self.balance) = ([0; 2], [0; 2]);
        records(&self.store).collect()
    }

    /// Whether all is in order.
    pub fn judge(&self, config: &Config, now: Wall) -> Result<(), String> {
        if self.judged.replace(true) {
            return Ok(());
        }
        if let Some(wrong) = &self.wrong {
            return Err(wrong.clone());
        }
        let mut audit = Audit::new(config, now);
        for (name, value) in &self.store {
            audit.look(name.as_bytes(), value);
        }
        if let Some(finding) = audit.finish().first() {
            return Err(format!("the store is not in order: {finding}"));
        }
        let books = audit.books();
        let waiting = [books.to_xmpp.waiting as i64, books.to_sip.waiting as i64];
        // A failure that was said is in the store for a moment longer.
        let most = [waiting[0], waiting[1] + books.to_sip.failed as i64];
        let is_right = (0..2).all(|side| (waiting[side]..=most[side]).contains(&self.live[side]));
        match is_right && self.balance == self.live {
            true => Ok(()),
            false => Err(format!("the books do not add up: {books:?}, {:?}, {:?}", self.live, self.balance)),
        }
    }
}

/// Whether somebody may take this for the word that something is kept.
fn promises(output: &Output) -> bool {
    match output {
        Output::Sip(out) => {
            let text = String::from_utf8_lossy(&out.bytes);
            text.starts_with("SIP/2.0 2") && !text.contains(" OPTIONS\r\n")
        }
        Output::Msrp(out) => format!("{out:?}").contains(" 200"),
        Output::Stanza(_, stanza) => {
            stanza.kind != StanzaKind::Iq
                && stanza.type_() != Some("error")
                && stanza.type_() != Some("unsubscribed")
        }
        _ => false,
    }
}

fn side(direction: &str) -> usize {
    usize::from(direction == "xmpp_to_sip")
}

/// The books at the end of a conversation, which goes as written.
pub fn of(text: &str) -> Result<Books, String> {
    let script: Script = text.parse()?;
    let mut world = World::of(&script)?;
    for step in &script.steps {
        world.step(step)?;
    }
    Ok(world.books)
}

/// Every place in a value, and what stands there.
fn shapes(place: &str, value: &serde_json::Value, found: &mut BTreeSet<String>) {
    use serde_json::Value;
    let type_ = match value {
        Value::Object(fields) => {
            return fields.iter().for_each(|(name, value)| shapes(&format!("{place}.{name}"), value, found));
        }
        Value::Array(items) => {
            found.insert(format!("{place}: list"));
            return items.iter().for_each(|value| shapes(&format!("{place}[]"), value, found));
        }
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "text",
    };
    found.insert(format!("{place}: {type_}"));
}
