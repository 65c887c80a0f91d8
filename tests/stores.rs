//! What is on disk stays readable: the shape of every record, and stores that earlier versions have written.
//! `tests/stores/README.md` says how they came about.
#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mostar::config::Config;
use mostar::features::{self, audit::Audit};
use mostar::gateway::{Gateway, Input, LinkChange, LinkId, Output};
use mostar::store::Store;
use mostar::store::sled::SledStore;
use mostar::words::id::Seed;
use mostar::words::note::{Level, Note};
use mostar::words::time::{Now, Tick, Wall};
use support::books::{self, Books};
use support::script::Script;

/// The formats that there have been, each with the kinds of records that it had.
const FORMATS: [(&str, usize); 2] = [("format-1", 11), ("format-2", 12)];

/// A second after the records of the stores were written.
const NOW: Wall = Wall(1_795_219_200_000 + 60_000);

/// A file of sled is so long, or twice that, and so on. The zeros at its end are not kept.
const SEGMENT: u64 = 512 * 1024;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stores")
}

/// What all conversations have left.
fn conversations() -> impl Iterator<Item = (Script, Books)> {
    support::script::vectors().into_iter().map(|path| {
        let text = fs::read_to_string(&path).unwrap();
        let books = books::of(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (text.parse().unwrap(), books)
    })
}

/// Every record of every conversation, place by place: what stood there once must be able to stand there for ever. A kind
/// whose meaning changes gets a number behind its name (`page.2`), and both are read.
#[test]
fn every_record_has_the_shape_that_it_had() {
    let path = folder().join("shapes.txt");
    let found: BTreeSet<String> = conversations().flat_map(|(_, books)| books.shapes).collect();
    let text = fs::read_to_string(&path).unwrap_or_default();
    let known: BTreeSet<String> = text.lines().map(str::to_owned).collect();
    let lost: Vec<_> = known.difference(&found).collect();
    assert!(lost.is_empty(), "older stores have these, which are not written any more: {lost:#?}");
    if std::env::var_os("BLESS").is_some() {
        let lines: Vec<String> = found.iter().cloned().collect();
        return fs::write(path, lines.join("\n") + "\n").unwrap();
    }
    let new: Vec<_> = found.difference(&known).collect();
    assert!(new.is_empty(), "may older versions ignore these? Then BLESS=1, else a new kind: {new:#?}");
}

#[test]
fn stores_of_all_formats_are_opened_and_nothing_in_them_is_lost() {
    for (format, kinds) in FORMATS {
        let copy = copy(format);
        let store = SledStore::open(copy.path()).unwrap();
        let records: Vec<_> = store.load().map(Result::unwrap).collect();
        let found: BTreeSet<&str> = records.iter().map(|record| record.kind.as_str()).collect();
        assert_eq!(found.len(), kinds, "{format}: {found:?}");
        let mut audit = Audit::new(&config(), NOW);
        for pair in store.pairs() {
            let (name, value) = pair.unwrap();
            audit.look(&name, &value);
        }
        let findings: Vec<String> = audit.finish().iter().map(ToString::to_string).collect();
        assert_eq!(findings, Vec::<String>::new(), "{format}");
        let (waiting, mut gateway) = (audit.books(), Played::new());
        assert!(waiting.to_xmpp.waiting > 0 && waiting.to_sip.waiting > 0, "{format}: {waiting:?}");
        for record in records {
            gateway.handle(Input::Restored(record));
        }
        gateway.handle(Input::RestoreDone);
        for link in 0..config().xmpp.components.len() {
            gateway.handle(Input::Link(LinkId(link), LinkChange::Up));
        }
        for _ in 0..120 {
            gateway.pass(Duration::from_millis(500));
        }
        assert_eq!(gateway.complaints, Vec::<String>::new(), "{format}");
        assert_eq!(
            gateway.restored,
            waiting.to_xmpp.waiting + waiting.to_sip.waiting + waiting.to_sip.failed
        );
        assert_eq!(gateway.lines.len() as u64, waiting.to_xmpp.waiting, "{format}: {:?}", gateway.lines);
        assert!(gateway.messages > 0, "{format}: what waits for SIP goes out");
    }
}

/// Every kind that a feature keeps is in the newest of the stores.
#[test]
fn the_newest_store_has_every_kind_of_record() {
    let registry = features::registry();
    let kinds: BTreeSet<&str> =
        registry.iter().flat_map(|feature| feature.manifest().records).copied().collect();
    assert_eq!(kinds.len(), FORMATS[FORMATS.len() - 1].1, "{kinds:?}");
}

/// Writes a store of the present format to the folder that `MOSTAR_WRITE_STORE` names, and beside it one of format 1.
#[test]
#[ignore = "it writes what the tests above read; see tests/stores/README.md"]
fn writes_a_store() {
    let Some(place) = std::env::var_os("MOSTAR_WRITE_STORE").map(PathBuf::from) else { return };
    let records = harvest();
    let mut store = SledStore::open(&place.join("format-2")).unwrap();
    store.amend(records.iter().map(|(name, value)| (name.clone(), Some(value.clone()))).collect()).unwrap();
    drop(store);
    let db = sled::open(place.join("format-1/sled")).unwrap();
    db.insert("format", b"1").unwrap();
    let tree = db.open_tree("records").unwrap();
    for (name, value) in records.iter().filter(|(name, _)| !name.starts_with("verdict/")) {
        tree.insert(name.as_bytes(), older(value)).unwrap();
    }
    db.flush().unwrap();
    drop((tree, db));
    for format in ["format-1", "format-2"] {
        let _ = fs::remove_dir_all(place.join(format).join("sled/blobs"));
        for entry in files(&place.join(format)) {
            let bytes = fs::read(&entry).unwrap();
            let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            fs::write(&entry, &bytes[..end]).unwrap();
        }
    }
}

/// As it was before places went on over restarts: they began at zero with each process.
fn older(value: &[u8]) -> Vec<u8> {
    let mut tree: serde_json::Value = serde_json::from_slice(value).unwrap();
    for place in ["/order", "/pending/order"] {
        if let Some(order) = tree.pointer_mut(place) {
            *order = (order.as_u64().unwrap() & 0xffff_ffff).into();
        }
    }
    serde_json::to_vec(&tree).unwrap()
}

/// Records of every kind, and of every set of fields, from conversations that go together.
fn harvest() -> BTreeMap<String, Vec<u8>> {
    let (mut records, mut known) = (BTreeMap::new(), BTreeSet::new());
    let allowed = ["domain.rooms=rooms.example.com", "component.conference=conference.example.net"];
    for (script, books) in conversations() {
        if script.settings().any(|(_, setting)| !allowed.contains(&setting)) {
            continue;
        }
        let variants: BTreeSet<String> =
            books.store.iter().map(|(name, value)| variant(name, value)).collect();
        let mut all: BTreeMap<String, Vec<u8>> = records.clone();
        all.extend(books.store.clone());
        let mut audit = Audit::new(&config(), NOW);
        all.iter().for_each(|(name, value)| audit.look(name.as_bytes(), value));
        let is_new = !variants.is_subset(&known);
        if is_new && all.len() == records.len() + books.store.len() && audit.finish().is_empty() {
            (records, known) = (all, &known | &variants);
        }
    }
    records
}

/// The kind of a record and the fields that it has.
fn variant(name: &str, value: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(value).unwrap();
    let fields: Vec<String> = value.as_object().into_iter().flat_map(|map| map.keys().cloned()).collect();
    format!("{} {}", name.split('/').next().unwrap_or_default(), fields.join(" "))
}

fn config() -> Config {
    let mut config = support::config::config();
    support::config::add_rooms(&mut config, "rooms.example.com");
    support::config::add_conference(&mut config, "conference.example.net");
    config
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// A copy of a store that may be opened, with the zeros that belong there.
fn copy(format: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let source = folder().join(format);
    for path in files(&source) {
        let to = copy.path().join(path.strip_prefix(&source).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(&path, &to).unwrap();
        if path.ends_with("sled/db") {
            let file = fs::OpenOptions::new().write(true).open(&to).unwrap();
            let length = file.metadata().unwrap().len();
            file.set_len(length.div_ceil(SEGMENT) * SEGMENT).unwrap();
        }
    }
    copy
}

/// A gateway, and what it does that this is about.
struct Played {
    gateway: Gateway,
    now: Now,
    restored: u64,
    /// The ids of messages that went to XMPP.
    lines: BTreeSet<String>,
    /// How many MESSAGEs went out.
    messages: usize,
    complaints: Vec<String>,
}

impl Played {
    fn new() -> Played {
        Played {
            gateway: Gateway::new(Arc::new(config()), Seed([1; 32])),
            now: Now { tick: Tick(0), wall: NOW },
            restored: 0,
            lines: BTreeSet::new(),
            messages: 0,
            complaints: Vec::new(),
        }
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now.tick + time;
        while let Some((at, _)) = self.gateway.next_timeout().filter(|(at, _)| *at <= until) {
            self.move_to(at.max(self.now.tick));
            self.handle(Input::Timeout);
        }
        self.move_to(until);
    }

    fn move_to(&mut self, tick: Tick) {
        self.now = Now { tick, wall: self.now.wall_at(tick) };
    }

    fn handle(&mut self, input: Input) {
        self.gateway.handle(self.now, input);
        while let Some(output) = self.gateway.poll() {
            match output {
                Output::Stanza(_, stanza) if stanza.type_() == Some("chat") => {
                    self.lines.extend(stanza.id().map(str::to_owned));
                }
                Output::Sip(out) => self.messages += usize::from(out.bytes.starts_with(b"MESSAGE ")),
                Output::Note(Note::Count { name: "messages_total", labels, by })
                    if labels[1].1 == "restored" =>
                {
                    self.restored += by;
                }
                Output::Note(Note::Log { level, event, fields }) if level <= Level::Warn => {
                    let about = ["unreadable", "unused", "orphan", "unknown"];
                    if about.iter().any(|word| event.contains(word)) {
                        self.complaints.push(format!("{event} {fields:?}"));
                    }
                }
                _ => {}
            }
        }
    }
}
