//! A journal in front of a tree: what is committed is appended to one file and synced, and only what is still alive when
//! the file has become long goes into the tree. Most records are messages, which live for less.
//!
//! **A commit** is one entry in the newest file, whole or not there, then one sync of that file; nothing else. What the
//! files hold and the tree does not stands in memory too, as overlays of the tree: the newest file's, and that of an
//! older one which is being moved.
//!
//! **Moving.** A file that is long enough is followed by a new one. [`Journaled::tidy`] then moves its overlay to the
//! tree, a few records at a time, in the order of their names, without those that the newest file knows better. When
//! nothing is left, the tree is made durable, it notes the number of the file, and the file goes in its time. A crash anywhere in
//! between changes nothing: what was moved is moved again, and a file whose number the tree has noted is only removed.
//!
//! What is **brief**, forgotten within minutes and of which there may be very many, is not moved but carried on: written
//! once more into the newest file, with the next commit, so that it never costs the tree anything.
//!
//! A file that is not long, but has stood for a while, is moved likewise: what a burst has left in memory goes.
//!
//! **After a failure** nothing is guessed: the newest file is cut back to its last acknowledged entry and read again
//! before it is used; after a failure of the tree the file that was being moved is moved from its beginning.
//!
//! It does not compress, and it does not keep old values: this is no history.

use std::cmp::Ordering::{Equal, Greater, Less};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Poll;

use super::record::{Life, Restored};
use super::{Change, Room, Step, Store, StoreError};
use entry::{Content, Fault};
use files::{Files, Handle};
use reader::{Reader, View};

pub mod entry;
pub mod files;
pub mod reader;
#[cfg(test)]
mod tests;

/// A file of so many bytes, or whose names in memory are so many, is followed by a new one: a start reads it. What it
/// carries on from the file before counts for itself, and makes it longer by twice as much: so no more is carried on than
/// comes in. So many names are looked at in one piece of moving, and so many are carried on by one commit of their own.
///
/// Zeros are written so far ahead: a sync of bytes in the middle of a file costs half of one that makes it longer.
const LIMITS: Limits =
    Limits { bytes: 64 * 1024 * 1024, names: 200_000, piece: 64, together: 2000, ahead: 1024 * 1024 };

/// A file that has become so many times as long while the one before it is still being moved takes no more commits: the tree
/// has taken nothing for very long. While a start reads, nothing is moved, and it takes all.
const TOO_LONG: u64 = 8;

/// One that has become so many times as long meanwhile is in a hurry.
const PRESSED: u64 = 2;

/// A file with one part in so many of the names that it may have is worth being moved when there is time.
const MUCH: usize = 50;

/// A buffer for entries that has grown larger is given back.
const BUFFER: usize = 1024 * 1024;

/// How files are called: this, and their number in hexadecimal.
const PREFIX: &str = "journal.";

/// Where records go that stay.
pub trait Tree: Send {
    /// What readers on other threads see of it.
    type View: View;

    /// Lets others read what is there now.
    fn view(&self) -> Result<Self::View, StoreError>;

    /// Whether it is known that there is a journal in front of it.
    fn has_journal(&self) -> bool;

    /// The number of the last file whose records are all here; 0 for none.
    fn moved(&self) -> Result<u64, StoreError>;

    /// Notes durably that there is a journal in front of it.
    fn expect_journal(&mut self) -> Result<(), StoreError>;

    /// Keeps records and drops those without a value. A hundred at most. They need not be durable yet.
    fn apply(&mut self, changes: Vec<(String, Option<Vec<u8>>)>) -> Result<(), StoreError>;

    /// Makes durable what was applied, and then that this file's records are all here. To be asked until it is ready.
    fn settle(&mut self, number: u64) -> Poll<Result<(), StoreError>>;

    /// All records, in the order of their names.
    fn all(&self) -> Pairs<'_>;

    /// Opens it anew after a failure. What was not settled may be gone.
    fn reopen(&mut self) -> Result<(), StoreError>;
}

/// Names and values in the order of names.
pub type Pairs<'a> = Box<dyn Iterator<Item = Result<(Vec<u8>, Vec<u8>), StoreError>> + 'a>;

/// What was saved or forgotten since the tree was asked.
type Overlay = BTreeMap<Name, Held>;

/// The last word about a name.
#[derive(Clone, Debug)]
struct Held {
    /// Nothing where it was forgotten.
    value: Option<Vec<u8>>,
    /// What is older, in a file before or in the tree, may know the name: then it must be told that this was forgotten.
    is_below: bool,
    is_brief: bool,
}

impl Held {
    /// Of which nothing is known but the value.
    fn of(value: Option<Vec<u8>>) -> Held {
        Held { value, is_below: true, is_brief: false }
    }
}

/// A record's name, which knows its first bytes: there are many names, and whoever looks for one among them compares
/// these without going to where each text stands. The order is that of the texts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    head: u128,
    text: Box<str>,
}

impl From<String> for Name {
    fn from(text: String) -> Name {
        let mut head = [0; 16];
        let known = text.len().min(head.len());
        head[..known].copy_from_slice(&text.as_bytes()[..known]);
        Name { head: u128::from_be_bytes(head), text: text.into() }
    }
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    bytes: u64,
    names: usize,
    piece: usize,
    together: usize,
    ahead: usize,
}

/// A tree with a journal.
pub struct Journaled<T, F: Files> {
    path: PathBuf,
    tree: T,
    files: F,
    newest: Newest<F::File>,
    older: Option<Older>,
    /// The entry that is being made, and the names in it.
    entry: Vec<u8>,
    names: Vec<Name>,
    /// What was taken from the older files and goes into the newest with the next commit.
    carrying: Overlay,
    /// Set while the newest file, or the tree, is being changed; stays set where that failed.
    file_failed: bool,
    tree_failed: bool,
    /// How many names and bytes the newest file had when the last of those who read at the start was done: that is not the
    /// tree's fault.
    excused: (u64, u64),
    /// Others have it while they read: the tree is not changed under their eyes.
    reading: Arc<()>,
    limits: Limits,
}

/// The file that commits go to.
struct Newest<H> {
    number: u64,
    /// The sequence number of its first entry.
    first: u64,
    file: H,
    /// Where the last acknowledged entry ends.
    end: u64,
    /// Where the zeros behind it end.
    room: u64,
    /// The sequence number of the next one.
    next: u64,
    overlay: Overlay,
    /// How many of these are brief.
    brief: usize,
    /// How many names, and bytes of records, were carried on into it.
    carried: (u64, u64),
}

impl<H: Handle> Newest<H> {
    /// Takes the last word about a name.
    fn keep(&mut self, name: Name, held: Held) {
        self.brief += usize::from(held.is_brief);
        let before = if held.value.is_none() && !held.is_below {
            self.overlay.remove(&name)
        } else {
            self.overlay.insert(name, held)
        };
        self.brief -= usize::from(before.is_some_and(|before| before.is_brief));
    }

    /// Writes an entry behind the last one, durably.
    fn append(&mut self, entry: &[u8], ahead: usize) -> io::Result<()> {
        let end = self.end + entry.len() as u64;
        if end > self.room {
            self.file.write(end, &vec![0; ahead])?;
            self.room = end + ahead as u64;
        }
        self.file.write(self.end, entry)?;
        self.file.sync()
    }

    /// Cuts off what is behind the last acknowledged entry, durably.
    fn cut(&mut self) -> io::Result<()> {
        self.file.cut(self.end)?;
        self.room = self.end;
        self.file.sync()
    }
}

/// Files whose records go to the tree: one, unless a start has found more.
struct Older {
    numbers: Vec<u64>,
    overlay: Overlay,
}

impl<T: Tree, F: Files> Journaled<T, F> {
    /// The store whose tree this is, and whose journal stands in this folder.
    pub fn over(path: &Path, mut tree: T, files: F) -> Result<Journaled<T, F>, StoreError> {
        let place = Place { path, files: &files };
        let mut numbers = place.numbers()?;
        let moved = tree.moved()?;
        let gone = numbers.partition_point(|number| *number <= moved);
        for number in numbers.drain(..gone) {
            place.remove(number)?;
        }
        let newest = match place.newest(&mut numbers)? {
            Some(newest) => newest,
            None if tree.has_journal() => return Err(place.missing(moved + 1)),
            None => place.create(moved + 1, 1)?,
        };
        let mut older = Older { numbers, overlay: Overlay::new() };
        place.read(&mut older, moved + 1, (newest.number, newest.first))?;
        if !tree.has_journal() {
            tree.expect_journal()?;
        }
        Ok(Journaled {
            path: path.to_owned(),
            tree,
            files,
            newest,
            older: Some(older).filter(|older| !older.numbers.is_empty()),
            entry: Vec::new(),
            names: Vec::new(),
            carrying: Overlay::new(),
            file_failed: false,
            tree_failed: false,
            excused: (0, 0),
            reading: Arc::new(()),
            limits: LIMITS,
        })
    }

    /// Every record with its name, in the order of names, whatever it is: for who looks at a store that is not in use.
    pub fn pairs(&self) -> Pairs<'_> {
        static NONE: Overlay = Overlay::new();
        let older = self.older.as_ref().map_or(&NONE, |older| &older.overlay);
        let below = covered(self.carrying.iter(), covered(older.iter(), self.tree.all()));
        covered(self.newest.overlay.iter(), below)
    }

    /// Keeps records and drops those without a value, by names that need not be ours, durably and all or none.
    pub fn amend(&mut self, changes: Vec<(String, Option<Vec<u8>>)>) -> Result<(), StoreError> {
        self.begin_entry();
        for (name, value) in &changes {
            match value {
                Some(value) => entry::save(&mut self.entry, name, value),
                None => entry::forget(&mut self.entry, name),
            }
        }
        self.seal()?;
        self.append()?;
        for (name, value) in changes {
            self.newest.keep(name.into(), Held::of(value));
        }
        Ok(())
    }

    /// Lets other threads read what is kept now, whatever is committed later; and the names that are of no kind.
    pub fn reader(&self) -> Result<(Reader<T::View>, Vec<String>), StoreError> {
        let mut older = self.older.as_ref().map(|older| older.overlay.clone()).unwrap_or_default();
        older.extend(self.carrying.clone());
        let overlays = [self.newest.overlay.clone(), older];
        Reader::new(self.tree.view()?, overlays, self.reading.clone())
    }

    fn place(&self) -> Place<'_, F> {
        Place { path: &self.path, files: &self.files }
    }

    /// Begins an entry with what is carried on, which [`Journaled::append`] takes for written.
    fn begin_entry(&mut self) {
        entry::begin(&mut self.entry);
        for (name, held) in &self.carrying {
            if let Some(value) = &held.value {
                entry::save(&mut self.entry, &name.text, value);
            }
        }
    }

    /// Makes an entry of the steps, and notes their names.
    fn encode(&mut self, steps: &[Step]) -> Result<(), StoreError> {
        self.begin_entry();
        self.names.clear();
        for change in steps.iter().flatten() {
            let name = match change {
                Change::Save(record) => {
                    let name = record.key.text();
                    entry::save(&mut self.entry, &name, &record.value);
                    name
                }
                Change::Forget(key) => {
                    let name = key.text();
                    entry::forget(&mut self.entry, &name);
                    name
                }
            };
            self.names.push(name.into());
        }
        self.seal()
    }

    fn seal(&mut self) -> Result<(), StoreError> {
        if entry::seal(&mut self.entry, self.newest.number, self.newest.next) {
            Ok(())
        } else {
            Err(self.place().io(&io::Error::other("a commit is longer than four gigabytes")))
        }
    }

    /// Writes the entry that was made, durably.
    fn append(&mut self) -> Result<(), StoreError> {
        let newest = &mut self.newest;
        self.file_failed = true;
        if let Err(error) = newest.append(&self.entry, self.limits.ahead) {
            return Err(self.place().io(&error));
        }
        self.file_failed = false;
        newest.end += self.entry.len() as u64;
        newest.next += 1;
        // What was carried on stands in it before all that is new.
        newest.carried.0 += self.carrying.len() as u64;
        for (name, held) in std::mem::take(&mut self.carrying) {
            newest.carried.1 += (name.text.len() + held.value.as_ref().map_or(0, Vec::len)) as u64;
            newest.keep(name, held);
        }
        Ok(())
    }

    /// Writes what is carried on, where no commit took it along.
    fn carry(&mut self) -> Result<(), StoreError> {
        if self.carrying.is_empty() {
            return Ok(());
        }
        self.begin_entry();
        self.seal()?;
        self.append()
    }

    fn is_full(&self) -> bool {
        self.older.is_some() && self.exceeds(TOO_LONG, self.excused)
    }

    /// Others read what was there at the start.
    fn is_read(&self) -> bool {
        Arc::strong_count(&self.reading) > 1
    }

    fn is_long(&self, times: u64) -> bool {
        let (names, bytes) = self.newest.carried;
        self.exceeds(times, (2 * names, 2 * bytes))
    }

    /// Whether the newest file has so many times what it may have, and these names and bytes besides.
    fn exceeds(&self, times: u64, (names, bytes): (u64, u64)) -> bool {
        self.newest.end >= self.limits.bytes * times + bytes
            || self.newest.overlay.len() as u64 >= self.limits.names as u64 * times + names
    }

    /// Begins a new file. If that fails, commits go on into the one there is: one that was only half made is empty, and
    /// an empty newest file is ignored at a start.
    fn rotate(&mut self) -> Result<(), StoreError> {
        // What is not the newest file ends in an entry.
        self.file_failed = true;
        let cut = self.newest.cut();
        cut.map_err(|error| self.place().io(&error))?;
        self.file_failed = false;
        let next = self.place().create(self.newest.number + 1, self.newest.next)?;
        let full = std::mem::replace(&mut self.newest, next);
        self.excused = (0, 0);
        self.older = Some(Older { numbers: vec![full.number], overlay: full.overlay });
        Ok(())
    }

    /// Moves a few records, or finishes. True when there is more to do at once. What is brief is carried on instead.
    fn move_some(&mut self) -> Result<bool, StoreError> {
        let Some(older) = &mut self.older else { return Ok(false) };
        let mut piece = Vec::new();
        for _ in 0..self.limits.piece {
            let Some((name, held)) = older.overlay.pop_first() else { break };
            if self.newest.overlay.contains_key(&name) {
                continue;
            }
            if held.is_brief {
                self.carrying.insert(name, held);
            } else {
                piece.push((name.text.into_string(), held.value));
            }
        }
        let (is_empty, last) = (older.overlay.is_empty(), older.numbers.last().copied());
        if !piece.is_empty() {
            self.tree_failed = true;
            self.tree.apply(piece)?;
            self.tree_failed = false;
        }
        if is_empty || self.carrying.len() >= self.limits.together {
            self.carry()?;
        }
        let (true, Some(last)) = (is_empty, last) else { return Ok(true) };
        self.tree_failed = true;
        let settled = self.tree.settle(last);
        self.tree_failed = matches!(settled, Poll::Ready(Err(_)));
        match settled {
            Poll::Pending => return Ok(false),
            Poll::Ready(result) => result?,
        }
        let done = self.older.take().map(|older| older.numbers).unwrap_or_default();
        self.files.discard(done.into_iter().map(name).collect());
        Ok(self.is_long(1))
    }

    /// Opens the tree anew, and what was on its way there is moved from the beginning. What the newest file has said of it
    /// meanwhile is read again too: it may have taken a name for one that nobody else knows.
    fn reopen_tree(&mut self) -> Result<(), StoreError> {
        self.tree.reopen()?;
        let moved = self.tree.moved()?;
        if let Some(mut older) = self.older.take() {
            let first = older.numbers.first().copied().unwrap_or_default();
            older.overlay.clear();
            self.carrying.clear();
            let read = if moved < first {
                let place = self.place();
                let newest = place.overlay(self.newest.number);
                let read = place.read(&mut older, first, (self.newest.number, self.newest.first));
                newest.map(|overlay| (self.newest.overlay, self.newest.brief) = (overlay, 0)).and(read)
            } else {
                // All of it is there; only the files are left to be removed.
                Ok(())
            };
            self.older = Some(older);
            read?;
        }
        self.tree_failed = false;
        Ok(())
    }

    /// Cuts the newest file back to what was acknowledged, and sees that all of that is there.
    fn repair_file(&mut self) -> Result<(), StoreError> {
        let cut = self.newest.cut();
        let place = self.place();
        cut.map_err(|error| place.io(&error))?;
        let bytes = place.bytes(self.newest.number)?;
        let content = entry::replay(&bytes, self.newest.number, false, |_, _| {})
            .map_err(|fault| place.fault(self.newest.number, fault))?;
        if content.next != self.newest.next || content.end != self.newest.end {
            return Err(place.unreadable(self.newest.number, "entries that were synced are gone"));
        }
        self.file_failed = false;
        Ok(())
    }
}

impl<T: Tree, F: Files> Store for Journaled<T, F> {
    fn load(&self) -> Box<dyn Iterator<Item = Result<Restored, StoreError>> + '_> {
        Box::new(self.pairs().map(|pair| pair.and_then(parse)))
    }

    fn commit(&mut self, steps: &mut Vec<Step>) -> Result<(), StoreError> {
        if self.file_failed {
            return Err(self.place().io(&io::Error::other("it was not opened again after a failure")));
        }
        if self.is_read() {
            self.excused = (self.newest.overlay.len() as u64, self.newest.end);
        }
        if self.is_full() {
            return Err(self.place().io(&io::Error::other("its journal is full and cannot be moved")));
        }
        self.encode(steps)?;
        if self.names.is_empty() && self.carrying.is_empty() {
            steps.clear();
            return Ok(());
        }
        self.append()?;
        for (change, name) in steps.drain(..).flatten().zip(self.names.drain(..)) {
            let (value, life) = match change {
                Change::Save(record) => (Some(record.value), record.life),
                Change::Forget(_) => (None, Life::Open),
            };
            let is_below = match self.newest.overlay.get(&name) {
                Some(before) => before.is_below,
                // What the older file says of it, if only that it was forgotten, is not moved once this is said.
                None => {
                    let older = self.older.as_ref();
                    life != Life::First || older.is_some_and(|older| older.overlay.contains_key(&name))
                }
            };
            self.newest.keep(name, Held { value, is_below, is_brief: life == Life::Brief });
        }
        self.entry.shrink_to(BUFFER);
        Ok(())
    }

    fn tidy(&mut self) -> Result<bool, StoreError> {
        if self.file_failed || self.is_read() {
            return Ok(false);
        }
        if self.tree_failed {
            self.reopen_tree()?;
        }
        if self.older.is_some() {
            return self.move_some();
        }
        let is_long = self.is_long(1);
        if is_long {
            self.rotate()?;
        }
        Ok(is_long)
    }

    fn is_pressed(&self) -> bool {
        self.older.is_some() && self.is_long(PRESSED)
    }

    fn trim(&mut self) -> Result<(), StoreError> {
        let lasting = self.newest.overlay.len() - self.newest.brief;
        let has_much = lasting >= self.limits.names / MUCH;
        let may_turn = !self.file_failed && self.older.is_none() && !self.is_read();
        if has_much && may_turn { self.rotate() } else { Ok(()) }
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        if self.file_failed {
            self.repair_file()?;
        }
        if self.tree_failed {
            self.reopen_tree()?;
        }
        Ok(())
    }

    fn room(&self) -> Option<Room> {
        let space = rustix::fs::statvfs(&self.path).ok()?;
        Some(Room {
            free: space.f_bavail.saturating_mul(space.f_frsize),
            total: space.f_blocks.saturating_mul(space.f_frsize),
        })
    }
}

fn parse((name, value): (Vec<u8>, Vec<u8>)) -> Result<Restored, StoreError> {
    let name = String::from_utf8(name)
        .map_err(|name| StoreError::BadName(String::from_utf8_lossy(name.as_bytes()).into_owned()))?;
    Restored::parse(&name, value).ok_or(StoreError::BadName(name))
}

/// What is below, with an overlay on top: both in the order of names.
fn covered<'a>(overlay: impl Iterator<Item = (&'a Name, &'a Held)> + 'a, below: Pairs<'a>) -> Pairs<'a> {
    let mut above = overlay.peekable();
    let mut below = below.peekable();
    Box::new(std::iter::from_fn(move || {
        loop {
            let order = match (below.peek(), above.peek()) {
                (Some(Err(_)), _) | (Some(_), None) => Less,
                (Some(Ok((name, _))), Some((covering, _))) => name.as_slice().cmp(covering.text.as_bytes()),
                (None, _) => Greater,
            };
            if order == Less {
                return below.next();
            }
            if order == Equal {
                below.next();
            }
            let (name, held) = above.next()?;
            if let Some(value) = &held.value {
                return Some(Ok((name.text.as_bytes().to_vec(), value.clone())));
            }
        }
    }))
}

/// The folder of a journal, and how its troubles are told.
struct Place<'a, F> {
    path: &'a Path,
    files: &'a F,
}

impl<F: Files> Place<'_, F> {
    /// The numbers of the files that are there, in order.
    fn numbers(&self) -> Result<Vec<u64>, StoreError> {
        let names = self.files.list().map_err(|error| self.io(&error))?;
        let number = |name: &String| u64::from_str_radix(name.strip_prefix(PREFIX)?, 16).ok();
        let mut numbers: Vec<u64> = names.iter().filter_map(number).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Takes the newest file that holds something from the numbers, ready for commits. Nothing if no file was ever
    /// begun.
    fn newest(&self, numbers: &mut Vec<u64>) -> Result<Option<Newest<F::File>>, StoreError> {
        while let Some(number) = numbers.pop() {
            let bytes = self.bytes(number)?;
            let mut last = Last::new();
            let content = entry::replay(&bytes, number, true, keep(&mut last));
            let is_empty = match &content {
                Ok(content) => content.changes == 0,
                Err(fault) => *fault == Fault::Unfinished,
            };
            let is_last = numbers.is_empty();
            if is_empty && (!is_last || content.is_err()) {
                // It was begun, and nothing was ever promised in it.
                self.remove(number)?;
                continue;
            }
            let content = content.map_err(|fault| self.fault(number, fault))?;
            let mut file = self.files.open(&name(number)).map_err(|error| self.io(&error))?;
            if bytes.len() as u64 > content.end {
                file.cut(content.end).and_then(|()| file.sync()).map_err(|error| self.io(&error))?;
            }
            let Content { first, next, end, .. } = content;
            let overlay = overlay_of(&last).collect();
            let (brief, carried) = (0, (0, 0));
            return Ok(Some(Newest { number, first, file, end, room: end, next, overlay, brief, carried }));
        }
        Ok(None)
    }

    /// What the newest file says of each name, once more.
    fn overlay(&self, number: u64) -> Result<Overlay, StoreError> {
        let bytes = self.bytes(number)?;
        let mut last = Last::new();
        entry::replay(&bytes, number, true, keep(&mut last)).map_err(|fault| self.fault(number, fault))?;
        Ok(overlay_of(&last).collect())
    }

    /// Reads older files, and sees that nothing is missing between the first of these numbers and the newest file,
    /// whose number and first entry these are.
    fn read(&self, older: &mut Older, first: u64, newest: (u64, u64)) -> Result<(), StoreError> {
        let there = older.numbers.iter().copied().chain([newest.0]);
        if let Some((missing, _)) = (first..).zip(there).find(|(number, there)| number != there) {
            return Err(self.missing(missing));
        }
        let mut expected = None;
        for number in older.numbers.iter().copied() {
            let bytes = self.bytes(number)?;
            let mut last = Last::new();
            let content = entry::replay(&bytes, number, false, keep(&mut last));
            older.overlay.append(&mut overlay_of(&last).collect());
            let content = content.map_err(|fault| self.fault(number, fault))?;
            if expected.is_some_and(|expected| expected != content.first) {
                return Err(self.cut_short(number - 1));
            }
            expected = Some(content.next);
        }
        match expected {
            Some(expected) if expected != newest.1 => Err(self.cut_short(newest.0 - 1)),
            _ => Ok(()),
        }
    }

    /// Makes an empty file, durably.
    fn create(&self, number: u64, first: u64) -> Result<Newest<F::File>, StoreError> {
        let header = entry::header(number, first);
        let make = || {
            let mut file = self.files.create(&name(number))?;
            file.write(0, &header)?;
            file.sync()?;
            self.files.sync()?;
            Ok(file)
        };
        let file = make().map_err(|error| self.io(&error))?;
        let (end, overlay) = (header.len() as u64, Overlay::new());
        let (brief, carried) = (0, (0, 0));
        Ok(Newest { number, first, file, end, room: end, next: first, overlay, brief, carried })
    }

    /// Removes a file, durably. One that is gone already is fine.
    fn remove(&self, number: u64) -> Result<(), StoreError> {
        match self.files.remove(&name(number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.io(&error)),
            _ => self.files.sync().map_err(|error| self.io(&error)),
        }
    }

    fn bytes(&self, number: u64) -> Result<Vec<u8>, StoreError> {
        self.files.read(&name(number)).map_err(|error| self.io(&error))
    }

    fn io(&self, error: &io::Error) -> StoreError {
        StoreError::Io { path: self.path.display().to_string(), reason: error.to_string() }
    }

    fn missing(&self, number: u64) -> StoreError {
        self.unreadable(number, "it is missing")
    }

    fn cut_short(&self, number: u64) -> StoreError {
        self.unreadable(number, "its last entries are missing")
    }

    fn unreadable(&self, number: u64, reason: &str) -> StoreError {
        let path = self.path.join(name(number)).display().to_string();
        StoreError::Unreadable { path, reason: reason.to_owned() }
    }

    fn fault(&self, number: u64, fault: Fault) -> StoreError {
        match fault {
            Fault::Unfinished => self.unreadable(number, "it has no header"),
            Fault::Damaged(words) => self.unreadable(number, &words),
            Fault::Newer(found) => {
                let path = self.path.join(name(number)).display().to_string();
                StoreError::Newer { path, found, known: entry::FORMAT }
            }
        }
    }
}

fn name(number: u64) -> String {
    format!("{PREFIX}{number:016x}")
}

/// The last word of a file about each name. Most words are overtaken before its end; they are never copied.
type Last<'a> = BTreeMap<&'a str, Option<&'a [u8]>>;

fn keep<'a>(last: &mut Last<'a>) -> impl FnMut(&'a str, Option<&'a [u8]>) {
    |name, value| {
        last.insert(name, value);
    }
}

fn overlay_of(last: &Last<'_>) -> impl Iterator<Item = (Name, Held)> {
    last.iter().map(|(name, value)| ((*name).to_owned().into(), Held::of(value.map(<[u8]>::to_vec))))
}
