//! The table of results: lines that tests and benches leave where `MOSTAR_RESULTS` says.

use std::fs::OpenOptions;
use std::io::Write;

/// Appends a line, in one write: several processes share the file.
pub fn line(text: &str) {
    let Some(path) = std::env::var_os("MOSTAR_RESULTS") else { return };
    let written = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(format!("{text}\n").as_bytes()));
    written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
