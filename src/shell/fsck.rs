//! `mostar fsck`: opens the store of a stopped gateway, has it judged ([`crate::features::audit`]), says what was found, and
//! mends it where that is wished.
//!
//! What is taken out of the store, or replaced there, is first appended to a file in the store's folder, durably: one line
//! of JSON for each record. So nothing is ever lost by a repair, and a repair that is interrupted can be begun again.
//! Deliberately not here: damaged files of the store itself. They are refused as at a start, and a backup is the way out.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::Serialize;

use super::clock::Clock;
use super::store_owner;
use crate::config::Config;
use crate::features::audit::view::Side;
use crate::features::audit::{Audit, Finding, Repair};
use crate::store::StoreError;
use crate::store::journal::files::sync_all;
use crate::store::sled::SledStore;
use crate::words::time::Wall;

/// Where records go that are taken out.
pub const ASIDE: &str = "set-aside.jsonl";

/// So many records are mended in one commit.
const TOGETHER: usize = 1_000;

/// What is mended may show something else, once or twice.
const ROUNDS: usize = 4;

/// Looks at the store, and mends it if that is wished. True when it is in order at the end; words when it cannot be read.
pub fn run(mut config: Config, repair: bool, out: &mut dyn Write) -> Result<bool, String> {
    crate::words::table::replace(std::mem::take(&mut config.mappings));
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let mut store = open(&config.store)?;
    let now = Clock::start().now().wall;
    let (mut audit, mut findings) = look(&config, &store, now)?;
    tell(out, &findings)?;
    let mut mended = 0;
    for _ in 0..ROUNDS {
        let count = findings.iter().filter(|finding| finding.repair != Repair::Nothing).count();
        if !repair || count == 0 {
            break;
        }
        mend(&config.store, &mut store, &findings, now)?;
        mended += count;
        (audit, findings) = look(&config, &store, now)?;
        tell(out, &findings)?;
    }
    let said = sum(out, &config.store, &audit, findings.len(), mended);
    said.or_else(ignore_pipe)?;
    Ok(findings.is_empty())
}

fn tell(out: &mut dyn Write, findings: &[Finding]) -> Result<(), String> {
    findings.iter().try_for_each(|finding| writeln!(out, "{finding}")).or_else(ignore_pipe)
}

/// Who reads only the first lines, as `head` does, has what he wants.
fn ignore_pipe(error: io::Error) -> Result<(), String> {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(format!("what was found cannot be told: {error}")),
    }
}

fn open(folder: &Path) -> Result<SledStore, String> {
    let shown = folder.display();
    if !folder.join("sled").exists() {
        return Err(match folder.is_file() {
            true => StoreError::NoFolder { path: shown.to_string() }.to_string(),
            false => format!("there is no store in {shown}: a gateway makes one when it starts"),
        });
    }
    store_owner::judge(folder, "fsck")?;
    SledStore::open(folder).map_err(|error| match error {
        StoreError::Locked { .. } => {
            format!("the store {shown} is in use: stop the gateway, and look at its store again then")
        }
        error => error.to_string(),
    })
}

fn look(config: &Config, store: &SledStore, now: Wall) -> Result<(Audit, Vec<Finding>), String> {
    let mut audit = Audit::new(config, now);
    for pair in store.pairs() {
        let (name, value) = pair.map_err(|error| error.to_string())?;
        audit.look(&name, &value);
    }
    let findings = audit.finish();
    Ok((audit, findings))
}

/// Sets aside what the findings are about, then mends the store.
fn mend(folder: &Path, store: &mut SledStore, findings: &[Finding], now: Wall) -> Result<(), String> {
    // By name: a record that has two findings is mended by the last one.
    let repairs: BTreeMap<&str, &Finding> = findings
        .iter()
        .filter(|finding| finding.repair != Repair::Nothing)
        .map(|finding| (finding.record.as_str(), finding))
        .collect();
    set_aside(folder, store, &repairs, now)?;
    let changes = repairs.into_values().filter_map(|finding| {
        let value = match &finding.repair {
            Repair::Replace(value) => Some(value.clone()),
            Repair::SetAside => None,
            Repair::Nothing => return None,
        };
        Some((finding.record.clone(), value))
    });
    let changes: Vec<_> = changes.collect();
    for some in changes.chunks(TOGETHER) {
        store.amend(some.to_vec()).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// A line of the file.
#[derive(Serialize)]
struct Line<'a> {
    record: &'a str,
    /// As text, where it is some.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    /// Else in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<String>,
    why: String,
    /// When, in milliseconds since 1970.
    at: u64,
}

fn set_aside(
    folder: &Path,
    store: &SledStore,
    repairs: &BTreeMap<&str, &Finding>,
    now: Wall,
) -> Result<(), String> {
    let path = folder.join(ASIDE);
    let failed = |error: io::Error| format!("{} cannot be written: {error}", path.display());
    let file = OpenOptions::new().create(true).append(true).open(&path).map_err(failed)?;
    let mut file = BufWriter::new(file);
    for pair in store.pairs() {
        let (name, value) = pair.map_err(|error| error.to_string())?;
        let Ok(name) = std::str::from_utf8(&name) else { continue };
        let Some(finding) = repairs.get(name) else { continue };
        let text = std::str::from_utf8(&value).ok();
        let hex = || value.iter().map(|byte| format!("{byte:02x}")).collect();
        let bytes = if text.is_none() { Some(hex()) } else { None };
        let line = Line { record: name, value: text, bytes, why: finding.to_string(), at: now.0 };
        let line = serde_json::to_string(&line).map_err(|error| failed(error.into()))?;
        writeln!(file, "{line}").map_err(failed)?;
    }
    let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().and_then(|()| sync_all(folder)).map_err(failed)
}

/// What there is, and what became of it.
fn sum(out: &mut dyn Write, folder: &Path, audit: &Audit, left: usize, mended: usize) -> io::Result<()> {
    let kinds: Vec<String> = audit.kinds().iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let count: u64 = audit.kinds().values().sum();
    match count {
        0 => writeln!(out, "no records")?,
        _ => writeln!(out, "{count} records: {}", kinds.join(", "))?,
    }
    let books = audit.books();
    let Side { waiting, delivered, failed } = books.to_xmpp;
    writeln!(out, "messages to XMPP: {waiting} wait; of late {delivered} were delivered, {failed} failed")?;
    let Side { waiting, failed, .. } = books.to_sip;
    writeln!(out, "messages to SIP: {waiting} wait; {failed} have failed and their senders are being told")?;
    if audit.over() > 0 {
        writeln!(
            out,
            "subscriptions that have come to their end: {}; the next start ends them",
            audit.over()
        )?;
    }
    if mended > 0 {
        let aside = folder.join(ASIDE);
        writeln!(out, "repaired: {mended}; what was taken out or corrected is in {}", aside.display())?;
    }
    match left {
        0 => writeln!(out, "the store {} is in order", folder.display()),
        1 => writeln!(out, "the store {} has 1 finding", folder.display()),
        left => writeln!(out, "the store {} has {left} findings", folder.display()),
    }
}
