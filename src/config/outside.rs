//! What a configuration refers to outside its own file: files and variables with secrets.
//!
//! A trait, so that checks are tested without a disk.

use std::io::Read as _;
use std::path::Path;

use super::values::Bad;
use super::{Secret, Source};

/// A secret is a line, not a book.
const LIMIT: u64 = 4096;

/// No file with certificates is longer.
const PEM_LIMIT: u64 = 1 << 20;

/// What a PEM file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pem {
    /// Everybody may read it.
    Certificate,
    /// Only we may.
    Key,
}

/// What is found under a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing, or nothing that we may see.
    Nothing,
    /// A folder.
    Folder,
    /// A file, or something odder.
    Other,
}

/// The world around a configuration.
pub trait Outside {
    /// What is there.
    fn look(&self, path: &Path) -> Found;
    /// The secret in a file.
    fn file(&self, path: &Path) -> Result<Secret, Bad>;
    /// The bytes of a file with certificates, or with a key.
    fn pem(&self, path: &Path, kind: Pem) -> Result<Vec<u8>, Bad>;
    /// The secret in a variable of the environment.
    fn variable(&self, name: &str) -> Result<Secret, Bad>;
    /// The text of a table of the admin's own; nothing where there is no such file.
    fn table(&self, path: &Path) -> Result<Option<String>, Bad>;
    /// Whether keys can be read at all; where not, nobody asks for them.
    fn knows_keys(&self) -> bool {
        true
    }
}

/// This machine.
#[derive(Debug)]
pub struct Machine;

impl Outside for Machine {
    fn look(&self, path: &Path) -> Found {
        match std::fs::metadata(path) {
            Ok(meta) if meta.is_dir() => Found::Folder,
            Ok(_) => Found::Other,
            Err(_) => Found::Nothing,
        }
    }

    fn file(&self, path: &Path) -> Result<Secret, Bad> {
        let shown = path.display();
        let wanted = Wanted {
            form: "a file with the secret in one line",
            make: format!("make it: (umask 077; echo SECRET > {shown}), and give it to the user of mostar"),
            is_private: true,
        };
        let bytes = wanted.read(path, LIMIT)?;
        let whole = bytes.len() as u64 <= LIMIT;
        match String::from_utf8(bytes).ok().filter(|_| whole) {
            Some(text) => {
                secret(&text, &shown.to_string()).map(|found| found.found_in(Source::File(path.to_owned())))
            }
            None => Err(Bad {
                what: format!("{shown} holds no line of text"),
                help: format!("put the secret alone into it, in one line of at most {LIMIT} bytes of UTF-8"),
            }),
        }
    }

    fn pem(&self, path: &Path, kind: Pem) -> Result<Vec<u8>, Bad> {
        let wanted = match kind {
            Pem::Certificate => Wanted {
                form: "a file with certificates in PEM",
                make: "put the certificate there, in PEM".into(),
                is_private: false,
            },
            Pem::Key => Wanted {
                form: "a file with a private key in PEM",
                make: "put the key of the certificate there, in PEM".into(),
                is_private: true,
            },
        };
        wanted.read(path, PEM_LIMIT)
    }

    fn table(&self, path: &Path) -> Result<Option<String>, Bad> {
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Bad {
                what: format!("{} cannot be read: {error}", path.display()),
                help: "let the user of mostar read it, as UTF-8".into(),
            }),
        }
    }

    fn variable(&self, name: &str) -> Result<Secret, Bad> {
        match std::env::var(name) {
            Ok(text) => secret(&text, &format!("the variable {name}"))
                .map(|found| found.found_in(Source::Variable(name.to_owned()))),
            Err(std::env::VarError::NotPresent) => Err(Bad {
                what: format!("the variable {name} is not set in the environment"),
                help: "set it where mostar is started, or use `file`".into(),
            }),
            Err(std::env::VarError::NotUnicode(_)) => {
                Err(Bad { what: format!("the variable {name} is not UTF-8"), help: "set it to text".into() })
            }
        }
    }
}

/// This machine, for who needs no secret: there is one wherever one is named.
#[derive(Debug)]
pub struct NoSecrets;

impl Outside for NoSecrets {
    fn look(&self, path: &Path) -> Found {
        Machine.look(path)
    }

    fn file(&self, _path: &Path) -> Result<Secret, Bad> {
        Ok(Secret::new(UNKNOWN))
    }

    fn pem(&self, path: &Path, kind: Pem) -> Result<Vec<u8>, Bad> {
        Machine.pem(path, kind)
    }

    fn variable(&self, _name: &str) -> Result<Secret, Bad> {
        Ok(Secret::new(UNKNOWN))
    }

    fn table(&self, path: &Path) -> Result<Option<String>, Bad> {
        Machine.table(path)
    }

    fn knows_keys(&self) -> bool {
        false
    }
}

/// Stands for a secret that was not read.
const UNKNOWN: &str = "unknown";

/// A file that is to be there.
struct Wanted {
    form: &'static str,
    /// What to do where it is not there.
    make: String,
    /// It is not for others; [`too_open`] has the rule.
    is_private: bool,
}

impl Wanted {
    /// Its bytes; one more than `limit` of a file that is longer.
    fn read(&self, path: &Path, limit: u64) -> Result<Vec<u8>, Bad> {
        use std::os::unix::fs::MetadataExt as _;

        let shown = path.display();
        let bad = |what: String, help: String| Err(Bad { what, help });
        let opened = std::fs::metadata(path).and_then(|meta| match meta.is_file() {
            true => std::fs::File::open(path).map(|file| Some((file, meta))),
            // A pipe would make us wait for whoever writes.
            false => Ok(None),
        });
        let (file, meta) = match opened {
            Ok(Some(opened)) => opened,
            Ok(None) => return bad(format!("{shown} is no plain file"), format!("name {}", self.form)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return bad(format!("{shown} does not exist"), self.make.clone());
            }
            Err(error) => {
                return bad(
                    format!("{shown} cannot be read: {error}"),
                    format!("let the user of mostar read it: chgrp that user's group, chmod 640 {shown}"),
                );
            }
        };
        if self.is_private
            && let Some((who, mode)) = too_open(meta.mode())
        {
            return bad(
                format!("{who} {shown}"),
                format!("chmod {mode} {shown}, and change the secret if others have logged in here"),
            );
        }
        let mut bytes = Vec::new();
        match file.take(limit + 1).read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) => bad(
                format!("{shown} cannot be read: {error}"),
                "look at the disk and at the permissions".into(),
            ),
        }
    }
}

/// Who else has a hand in a file with a secret, and what `chmod` is to be told: others may neither read nor write it, its
/// group may read it, so that it can belong to root.
fn too_open(mode: u32) -> Option<(&'static str, &'static str)> {
    match mode {
        mode if mode & 0o004 != 0 => Some(("everybody on this machine can read", "o=,g-w")),
        mode if mode & 0o002 != 0 => Some(("everybody on this machine can change", "o=,g-w")),
        mode if mode & 0o020 != 0 => Some(("its group can change", "g-w")),
        _ => None,
    }
}

/// The one line of a secret; the line break at its end is not part of it.
fn secret(text: &str, place: &str) -> Result<Secret, Bad> {
    let line = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    if line.trim().is_empty() {
        return Err(Bad { what: format!("{place} is empty"), help: "put the secret there".into() });
    }
    if line.chars().any(char::is_control) {
        return Err(Bad {
            what: format!("{place} holds more than one line, or control characters"),
            help: "put the secret alone there, in one line".into(),
        });
    }
    Ok(Secret::new(line))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn written(text: &[u8], mode: u32) -> Result<Secret, Bad> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        std::fs::write(&path, text).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a mode");
        Machine.file(&path)
    }

    #[test]
    fn a_secret_is_one_line() {
        assert_eq!(
            written(b"s3cret \n", 0o600).map(|secret| secret.reveal().to_owned()),
            Ok("s3cret ".into())
        );
        assert_eq!(
            written(b"s3cret\r\n", 0o640).map(|secret| secret.reveal().to_owned()),
            Ok("s3cret".into())
        );
        for text in [&b""[..], b"\n", b" \n", b"a\nb\n", b"\xff", &[b'a'; 5000]] {
            assert!(written(text, 0o600).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_secret_is_not_for_others_and_its_group_only_reads_it() {
        for (mode, what, help) in [
            (0o644, "everybody on this machine can read ", "chmod o=,g-w "),
            (0o604, "everybody on this machine can read ", "chmod o=,g-w "),
            (0o602, "everybody on this machine can change ", "chmod o=,g-w "),
            (0o666, "everybody on this machine can read ", "chmod o=,g-w "),
            (0o660, "its group can change ", "chmod g-w "),
        ] {
            let bad = written(b"s3cret", mode).unwrap_err();
            assert!(bad.what.starts_with(what) && bad.help.starts_with(help), "{mode:o}: {bad:?}");
        }
        for mode in [0o600, 0o640, 0o440, 0o400] {
            assert!(written(b"s3cret", mode).is_ok(), "{mode:o}");
        }
    }

    #[test]
    fn no_message_shows_the_secret() {
        for error in [written(b"hunter2\nhunter2", 0o600), written(b"hunter2", 0o604)] {
            assert!(!format!("{error:?}").contains("hunter2"));
        }
    }

    #[test]
    fn a_folder_is_no_secret() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(Machine.file(folder.path()).is_err());
        assert!(
            Machine
                .file(&folder.path().join("absent"))
                .is_err_and(|bad| bad.what.ends_with("does not exist"))
        );
    }
}
