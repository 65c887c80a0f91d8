//! What stands in a store: files of its journal, and records that a gateway is given back.

use std::sync::{Arc, LazyLock};

use mostar::config::Config;
use mostar::gateway::{Gateway, Input, LinkChange, LinkId};
use mostar::store::journal::entry;
use mostar::store::record::Restored;
use mostar::words::id::Seed;
use mostar::words::time::{Now, Tick, Wall};

use super::door::config::config;
use super::{choice, parts};

/// A file of the journal: read as it is, and written from the same bytes and then damaged at one place.
pub fn journal(data: &[u8]) {
    for is_newest in [false, true] {
        let mut changes = 0;
        if let Ok(content) = entry::replay(data, 1, is_newest, |_, _| changes += 1) {
            assert!(content.end <= data.len() as u64 && content.changes == changes);
        }
    }
    let (place, rest) = choice(data);
    let mut file = entry::header(1, 5);
    let mut written: Vec<(String, Option<Vec<u8>>)> = Vec::new();
    let mut ends = vec![(file.len(), 0)];
    for (sequence, part) in (5..).zip(parts(rest).take(16)) {
        let mut buffer = Vec::new();
        entry::begin(&mut buffer);
        for change in part.split(|byte| *byte == b'\n') {
            let name = String::from_utf8_lossy(change.split(|byte| *byte == b'=').next().unwrap_or_default());
            match change.iter().position(|byte| *byte == b'=') {
                Some(at) => {
                    entry::save(&mut buffer, &name, &change[at + 1..]);
                    written.push((name.into_owned(), Some(change[at + 1..].to_vec())));
                }
                None => {
                    entry::forget(&mut buffer, &name);
                    written.push((name.into_owned(), None));
                }
            }
        }
        assert!(entry::seal(&mut buffer, 1, sequence));
        file.extend_from_slice(&buffer);
        ends.push((file.len(), written.len()));
    }
    let read = |file: &[u8]| {
        let mut told = Vec::new();
        let content = entry::replay(file, 1, true, |name, value| {
            told.push((name.to_owned(), value.map(<[u8]>::to_vec)));
        });
        (content, told)
    };
    assert_eq!(read(&file).1, written);
    // A file that a crash cut short is what was whole before.
    let cut = entry::HEADER + usize::from(place) * 8 % (file.len() - entry::HEADER + 1);
    let known = ends.iter().rev().find(|(end, _)| *end <= cut).map_or(0, |(_, count)| *count);
    let (content, told) = read(&file[..cut]);
    assert!(content.is_ok(), "{content:?}");
    assert_eq!(told, written[..known]);
}

/// Records as a store may hold them, `KEY=VALUE`: a gateway that is given them starts, lives on for a while, and stops.
pub fn records(data: &[u8]) {
    static CONFIG: LazyLock<Arc<Config>> = LazyLock::new(|| Arc::new(config()));
    let mut gateway = Gateway::new(CONFIG.clone(), Seed([3; 32]));
    let mut now = Now { tick: Tick(0), wall: Wall(1_795_219_200_000) };
    let mut given = 0;
    for part in parts(data).take(64) {
        let at = part.iter().position(|byte| *byte == b'=').unwrap_or(part.len());
        let Ok(name) = std::str::from_utf8(&part[..at]) else { continue };
        let value = part.get(at + 1..).unwrap_or_default().to_vec();
        if let Some(record) = Restored::parse(name, value) {
            given += 1;
            gateway.handle(now, Input::Restored(record));
            drain(&mut gateway);
        }
    }
    gateway.handle(now, Input::RestoreDone);
    drain(&mut gateway);
    gateway.handle(now, Input::Link(LinkId(0), LinkChange::Up));
    drain(&mut gateway);
    assert!(gateway.load() <= 100 + 50 * given, "{} of {given} records", gateway.load());
    for _ in 0..200 {
        let Some((at, _)) = gateway.next_timeout() else { break };
        now.tick = now.tick.max(at);
        now.wall = Wall(1_795_219_200_000 + now.tick.0 / 1000);
        gateway.handle(now, Input::Timeout);
        drain(&mut gateway);
    }
    gateway.handle(now, Input::Stop);
    drain(&mut gateway);
}

fn drain(gateway: &mut Gateway) {
    let mut count = 0;
    while gateway.poll().is_some() {
        count += 1;
        assert!(count < 20_000, "a drain without end");
    }
}
