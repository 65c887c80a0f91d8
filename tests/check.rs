//! `mostar check`, as an admin sees it: each file in `tests/config/` with what is printed about it, and the exit codes.
//!
//! `BLESS=1` writes the expected outputs and `docs/options.md` anew, for review.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A secret that no output may show. The files in `tests/config/` have it wherever one may be put by mistake.
const SECRET: &str = "hunter2";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn blessing() -> bool {
    std::env::var_os("BLESS").is_some()
}

fn mostar(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mostar"))
        .args(arguments)
        .current_dir(folder)
        .env("MOSTAR_SECRET", SECRET)
        .env("EMPTY_SECRET", "")
        .env_remove("UNSET_SECRET")
        .output()
        .expect("the binary runs")
}

/// A folder with the files of `tests/config/` and secrets of every kind beside them.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for file in samples() {
        let name = file.file_name().expect("a name");
        std::fs::copy(&file, folder.path().join(name)).expect("a copy");
    }
    let secrets = [("good", SECRET, 0o600), ("open", SECRET, 0o644), ("empty", "\n", 0o600)];
    for (name, text, mode) in secrets {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a secret");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a mode");
    }
    let made =
        || rcgen::generate_simple_self_signed(["gateway.example.org".to_owned()]).expect("a certificate");
    let (ours, another) = (made(), made());
    for (name, text) in [
        ("certificate", ours.cert.pem()),
        ("key", ours.signing_key.serialize_pem()),
        ("wrong_key", another.signing_key.serialize_pem()),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("a mode");
    }
    folder
}

fn samples() -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(root().join("tests/config"))
        .expect("tests/config")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_sample_is_reported_as_written() {
    let folder = folder();
    let mut stale = Vec::new();
    for file in samples() {
        let name = file.file_name().and_then(|name| name.to_str()).expect("a name");
        let output = mostar(folder.path(), &["check", "-c", name]);
        let told = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(!told.contains(SECRET), "{name} shows the secret:\n{told}");
        let told = format!("{told}exit {}\n", output.status.code().expect("a status"));
        let golden = file.with_extension("txt");
        if blessing() {
            std::fs::write(&golden, &told).expect("a golden file");
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != told {
            stale.push(format!("{name}:\n{told}"));
        }
    }
    assert!(stale.is_empty(), "not as expected (BLESS=1 accepts):\n{}", stale.join("\n"));
}

#[test]
fn the_page_of_options_is_not_stale() {
    let path = root().join("docs/options.md");
    let page = mostar::config::options::page();
    if blessing() {
        std::fs::write(&path, &page).expect("docs/options.md");
    }
    assert!(
        std::fs::read_to_string(&path).unwrap_or_default() == page,
        "docs/options.md is stale: BLESS=1 cargo test --test check"
    );
}

#[test]
fn the_short_example_is_good() {
    let folder = folder();
    let example = std::fs::read_to_string(root().join("config/mostar.yaml")).expect("the example");
    std::fs::write(folder.path().join("mostar.yaml"), example).expect("a copy");
    std::fs::rename(folder.path().join("good"), folder.path().join("secret")).expect("a secret");
    let output = mostar(folder.path(), &["check", "-c", "mostar.yaml"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "mostar.yaml: good\n");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn who_does_not_read_the_report_causes_no_panic() {
    let folder = folder();
    // As a pipe whose reader is gone: every write fails.
    let full = std::fs::File::options().write(true).open("/dev/full").expect("a device");
    let mut command = Command::new(env!("CARGO_BIN_EXE_mostar"));
    let output =
        command.args(["check", "-c", "secrets.yaml"]).current_dir(folder.path()).stdout(full).output();
    let output = output.expect("the binary");
    assert_eq!((output.status.code(), output.stderr), (Some(1), Vec::new()));
}

#[test]
fn what_cannot_be_read_ends_with_two() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("latin1.yaml"), b"store: /b\xfccher\n").expect("a file");
    for (name, help) in [
        ("absent.yaml", "write one after config/mostar.yaml"),
        ("latin1.yaml", "save it as UTF-8"),
        (".", "name the file in it"),
    ] {
        let output = mostar(folder.path(), &["check", "-c", name]);
        assert_eq!(output.status.code(), Some(2), "{name}");
        let words = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(words.starts_with(&format!("mostar: {name} ")) && words.lines().count() == 1, "{words}");
        assert!(words.contains(help), "{words}");
    }
}

#[test]
fn run_refuses_what_check_refuses() {
    let folder = folder();
    let output = mostar(folder.path(), &["run", "-c", "secrets.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty(), "standard output is not for logs");
    let told = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(told.ends_with("secrets.yaml: 18 mistakes\n") && !told.contains(SECRET), "{told}");
    assert_eq!(mostar(folder.path(), &["run", "-c", "absent.yaml"]).status.code(), Some(2));
}

#[test]
fn a_wrong_command_line_ends_with_two() {
    for arguments in
        [&["check"][..], &["chekc", "-c", "x"], &["check", "-c"], &["run", "-c", "x", "--log", "xml"], &[]]
    {
        assert_eq!(mostar(root(), arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn version_and_help_are_told() {
    let version = mostar(root(), &["--version"]);
    assert_eq!(String::from_utf8_lossy(&version.stdout), format!("mostar {}\n", env!("CARGO_PKG_VERSION")));
    let help = mostar(root(), &["--help"]);
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("check"));
}
