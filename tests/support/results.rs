//! Lines for the table of results: appended to the file that `MOSTAR_RESULTS` names, where it is set.

use std::io::Write;

/// One line, its fields parted by tabs, in one write: several processes share the file.
pub fn line(fields: &[&str]) {
    let Some(path) = std::env::var_os("MOSTAR_RESULTS") else { return };
    let text = fields.join("\t") + "\n";
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    if let Err(error) = file.and_then(|mut file| file.write_all(text.as_bytes())) {
        eprintln!("MOSTAR_RESULTS: {error}");
    }
}
