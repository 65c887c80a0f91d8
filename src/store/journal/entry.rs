//! What stands in a journal's file: a header, then one entry for each commit.
//!
//! ```text
//! header  magic (16) | format (4) | number of the file (8) | sequence number of its first entry (8) | CRC-32 (4)
//! entry   marker (4) | length (4) | sequence number (8) | CRC-32 (4) | changes
//! change  1 | length (4) | name | length (4) | value        saved
//!         2 | length (4) | name                             forgotten
//! ```
//!
//! Numbers are little-endian. The check sum of an entry covers the number of the file, the sequence number, the length
//! and the changes: an entry of another file, or at another place, is none.
//!
//! A crash can leave one entry at the end of the newest file unfinished, and nobody was promised anything about it: it
//! is cut off. A damaged entry with a good one behind it was promised; so was everything in a file that is not the
//! newest. Such files are refused.

use crc32fast::Hasher;

/// The format of the files that this version writes.
pub const FORMAT: u32 = 1;

/// How long a header is.
pub const HEADER: usize = 40;

const MAGIC: &[u8; 16] = b"\x89mostar-journal\n";

/// Begins an entry. No text in UTF-8 has these bytes, and records are JSON.
const MARKER: [u8; 4] = [0xfe, b'E', 0xff, b'\n'];

/// How much stands before the changes of an entry.
const LEAD: usize = 20;

const SAVED: u8 = 1;
const FORGOTTEN: u8 = 2;

/// What a file turned out to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// The sequence number of the first entry.
    pub first: u64,
    /// The sequence number after that of the last one.
    pub next: u64,
    /// Where the last whole entry ends.
    pub end: u64,
    /// How many changes there are.
    pub changes: usize,
}

/// Why a file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It was never finished: a crash came between its making and its first use.
    Unfinished,
    /// Written by a newer version of this program.
    Newer(u32),
    /// Not what was written.
    Damaged(String),
}

/// The header of a file.
pub fn header(number: u64, first: u64) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&FORMAT.to_le_bytes());
    header.extend_from_slice(&number.to_le_bytes());
    header.extend_from_slice(&first.to_le_bytes());
    let sum = crc32fast::hash(&header);
    header.extend_from_slice(&sum.to_le_bytes());
    header
}

/// Begins an entry in a buffer, in place of what is there.
pub fn begin(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.resize(LEAD, 0);
}

/// Adds a record that is kept.
pub fn save(buffer: &mut Vec<u8>, name: &str, value: &[u8]) {
    buffer.push(SAVED);
    text(buffer, name.as_bytes());
    text(buffer, value);
}

/// Adds the name of a record that is dropped.
pub fn forget(buffer: &mut Vec<u8>, name: &str) {
    buffer.push(FORGOTTEN);
    text(buffer, name.as_bytes());
}

fn text(buffer: &mut Vec<u8>, text: &[u8]) {
    // A text of four gigabytes makes an entry that `seal` refuses.
    buffer.extend_from_slice(&(text.len() as u32).to_le_bytes());
    buffer.extend_from_slice(text);
}

/// Finishes an entry. False if it is too long to be one.
#[must_use]
pub fn seal(buffer: &mut [u8], number: u64, sequence: u64) -> bool {
    let Some((lead, changes)) = buffer.split_at_mut_checked(LEAD) else { return false };
    let Ok(length) = u32::try_from(changes.len()) else { return false };
    lead[..4].copy_from_slice(&MARKER);
    lead[4..8].copy_from_slice(&length.to_le_bytes());
    lead[8..16].copy_from_slice(&sequence.to_le_bytes());
    lead[16..].copy_from_slice(&sum(number, sequence, changes).to_le_bytes());
    true
}

fn sum(number: u64, sequence: u64, changes: &[u8]) -> u32 {
    let mut sum = Hasher::new();
    sum.update(&number.to_le_bytes());
    sum.update(&sequence.to_le_bytes());
    sum.update(&(changes.len() as u32).to_le_bytes());
    sum.update(changes);
    sum.finalize()
}

/// Reads a whole file and tells of every change in order, with no value where a record was dropped. Only the newest
/// file may end in an unfinished entry.
pub fn replay<'a>(
    file: &'a [u8],
    number: u64,
    is_newest: bool,
    mut tell: impl FnMut(&'a str, Option<&'a [u8]>),
) -> Result<Content, Fault> {
    let first = read_header(file, number)?;
    let mut content = Content { first, next: first, end: HEADER as u64, changes: 0 };
    let mut at = HEADER;
    while at < file.len() {
        let Some((sequence, changes)) = entry(&file[at..], number) else {
            let whole = !is_newest || (at + 1..file.len()).any(|at| entry(&file[at..], number).is_some());
            if whole {
                return Err(Fault::Damaged(format!("entry {} at byte {at} is damaged", content.next)));
            }
            break;
        };
        if sequence != content.next {
            let words = format!("at byte {at} is entry {sequence} where {} belongs", content.next);
            return Err(Fault::Damaged(words));
        }
        at += LEAD + changes.len();
        let mut rest = changes;
        while !rest.is_empty() {
            let Some((name, value, after)) = change(rest) else {
                return Err(Fault::Damaged(format!("entry {sequence} has changes of an unknown kind")));
            };
            tell(name, value);
            content.changes += 1;
            rest = after;
        }
        content.next += 1;
        content.end = at as u64;
    }
    Ok(content)
}

/// The sequence number of the first entry.
fn read_header(file: &[u8], number: u64) -> Result<u64, Fault> {
    if file.len() <= HEADER && file != header(number, long(file, 28).unwrap_or_default()) {
        let newer = file.starts_with(MAGIC) && short(file, 16).is_some_and(|format| format > FORMAT);
        return Err(if newer {
            Fault::Newer(short(file, 16).unwrap_or_default())
        } else {
            Fault::Unfinished
        });
    }
    let damaged = |what: &str| Err(Fault::Damaged(what.to_owned()));
    if !file.starts_with(MAGIC) {
        return damaged("it does not begin like a journal");
    }
    match (short(file, 16), long(file, 20), long(file, 28)) {
        (Some(format), _, _) if format > FORMAT => Err(Fault::Newer(format)),
        (Some(_), Some(own), Some(first)) if file[..HEADER] == header(own, first) => {
            if own == number {
                Ok(first)
            } else {
                damaged(&format!("it is number {own}"))
            }
        }
        _ => damaged("its header is damaged"),
    }
}

/// The entry at the beginning of these bytes.
fn entry(bytes: &[u8], number: u64) -> Option<(u64, &[u8])> {
    if !bytes.starts_with(&MARKER) {
        return None;
    }
    let (length, sequence, expected) = (short(bytes, 4)?, long(bytes, 8)?, short(bytes, 16)?);
    let changes = bytes.get(LEAD..LEAD.checked_add(length as usize)?)?;
    (sum(number, sequence, changes) == expected).then_some((sequence, changes))
}

type Change<'a> = (&'a str, Option<&'a [u8]>, &'a [u8]);

fn change(bytes: &[u8]) -> Option<Change<'_>> {
    let (kind, rest) = bytes.split_first()?;
    let (name, rest) = take(rest)?;
    let name = std::str::from_utf8(name).ok()?;
    match *kind {
        SAVED => take(rest).map(|(value, rest)| (name, Some(value), rest)),
        FORGOTTEN => Some((name, None, rest)),
        _ => None,
    }
}

fn take(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    bytes.get(4..)?.split_at_checked(short(bytes, 0)? as usize)
}

fn short(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with three entries, and where each ends.
    fn file() -> (Vec<u8>, Vec<usize>) {
        let (mut file, mut entry, mut ends) = (header(5, 70), Vec::new(), vec![HEADER]);
        for number in 0..3_u64 {
            begin(&mut entry);
            save(&mut entry, &format!("page/07/{number}"), b"{\"text\":\"Art thou not Romeo?\"}");
            forget(&mut entry, &format!("out/08/{number}"));
            assert!(seal(&mut entry, 5, 70 + number));
            file.extend_from_slice(&entry);
            ends.push(file.len());
        }
        (file, ends)
    }

    fn read(file: &[u8], is_newest: bool) -> Result<(Content, Vec<String>), Fault> {
        let mut names = Vec::new();
        let content =
            replay(file, 5, is_newest, |name, value| names.push(format!("{name} {}", value.is_some())))?;
        Ok((content, names))
    }

    #[test]
    fn what_was_written_is_read() {
        let (file, _) = file();
        let (content, names) = read(&file, false).unwrap();
        assert_eq!(content, Content { first: 70, next: 73, end: file.len() as u64, changes: 6 });
        assert_eq!(names[..3], ["page/07/0 true", "out/08/0 false", "page/07/1 true"]);
    }

    #[test]
    fn cut_at_any_byte_the_newest_file_keeps_its_whole_entries() {
        let (file, ends) = file();
        for length in HEADER..=file.len() {
            let (content, names) = read(&file[..length], true).unwrap();
            let whole = ends.iter().filter(|end| **end <= length).count() - 1;
            assert_eq!((content.next, names.len()), (70 + whole as u64, 2 * whole), "at {length}");
            assert_eq!(content.end as usize, ends[whole]);
        }
        for length in 0..HEADER {
            assert_eq!(read(&file[..length], true).err(), Some(Fault::Unfinished), "at {length}");
        }
    }

    #[test]
    fn zeros_where_the_last_entry_should_be_are_an_unfinished_entry() {
        let (mut file, ends) = file();
        for from in ends[2]..file.len() - 1 {
            file[from..].fill(0);
        }
        assert_eq!(read(&file, true).unwrap().0.next, 72);
    }

    #[test]
    fn a_file_that_is_not_the_newest_is_whole_or_refused() {
        let (file, ends) = file();
        for length in HEADER + 1..file.len() {
            let read = read(&file[..length], false);
            assert_eq!(read.is_ok(), ends.contains(&length), "at {length}: {read:?}");
        }
    }

    #[test]
    fn any_flipped_bit_before_the_last_entry_is_refused() {
        let (good, ends) = file();
        for at in 0..ends[2] {
            for bit in 0..8 {
                let mut file = good.clone();
                file[at] ^= 1 << bit;
                assert!(matches!(read(&file, true), Err(Fault::Damaged(_) | Fault::Newer(_))), "{at}, {bit}");
            }
        }
    }

    #[test]
    fn an_entry_twice_is_refused() {
        let (mut file, ends) = file();
        let last = file[ends[2]..].to_vec();
        file.extend_from_slice(&last);
        let fault = read(&file, true).err().unwrap();
        assert!(
            matches!(&fault, Fault::Damaged(words) if words.contains("is entry 72 where 73")),
            "{fault:?}"
        );
    }

    #[test]
    fn a_newer_format_and_another_number_are_told_apart() {
        let (mut file, _) = file();
        assert!(
            matches!(replay(&file, 6, true, |_, _| {}), Err(Fault::Damaged(words)) if words == "it is number 5")
        );
        file[16] = 9;
        assert_eq!(read(&file, true).err(), Some(Fault::Newer(9)));
        assert_eq!(read(&file[..HEADER], true).err(), Some(Fault::Newer(9)));
    }
}
