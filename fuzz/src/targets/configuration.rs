//! What an admin writes: the configuration and tables of mappings.

use std::path::Path;

use mostar::config::outside::{Found, Outside, Pem};
use mostar::config::values::Bad;
use mostar::config::{self, Secret};
use mostar::features::{availability, contact, errors, room, sessions};

use super::choice;

/// A machine on which every secret is there, and no certificate.
struct Anywhere;

impl Outside for Anywhere {
    fn look(&self, _path: &Path) -> Found {
        Found::Folder
    }

    fn file(&self, _path: &Path) -> Result<Secret, Bad> {
        Ok(Secret::new("hunter2"))
    }

    fn pem(&self, _path: &Path, _kind: Pem) -> Result<Vec<u8>, Bad> {
        Err(Bad { what: "there is no such file".into(), help: "make it".into() })
    }

    fn variable(&self, _name: &str) -> Result<Secret, Bad> {
        Ok(Secret::new("hunter2"))
    }

    fn table(&self, _path: &Path) -> Result<Option<String>, Bad> {
        Ok(None)
    }
}

/// A configuration: the report can be printed, says why where there is no configuration, and tells no secret.
pub fn file(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (config, report) = config::check("mostar.yaml", &text, Path::new("/etc/mostar"), &Anywhere);
    let printed = report.to_string();
    assert_eq!(config.is_none(), report.errors() > 0, "{printed}");
    assert!(text.contains("hunter2") || !printed.contains("hunter2"), "{printed}");
    assert!(printed.len() <= 4096 + 4096 * text.len(), "{} bytes of {}", printed.len(), text.len());
    if let Some(config) = config {
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}

/// A table of an admin's own.
pub fn tables(data: &[u8]) {
    let (which, rest) = choice(data);
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let _ = match which % 5 {
        0 => sessions::check_table(text),
        1 => errors::check_table(text),
        2 => room::table::check_table(text),
        3 => contact::table::check_table(text),
        _ => availability::check_table(text),
    };
}
