//! What fuzzing has found goes through the same targets again, without instrumentation: the corpora in `fuzz/corpus/` and
//! everything that once made a target fail, in `fuzz/found/`.
//!
//! `FUZZ_SEEDS=FOLDER` writes the first inputs of each target there, out of vectors, recordings and samples: `fuzz/run` asks
//! for that where it has none yet.

#![allow(
    clippy::duplicate_mod,
    reason = "the targets stand for themselves, and have the tests' configuration too"
)]

#[path = "fuzzed/plain.rs"]
mod plain;
#[path = "fuzzed/seeds.rs"]
mod seeds;
mod support;
#[path = "../fuzz/src/targets/mod.rs"]
mod targets;

use std::path::{Path, PathBuf};

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// The inputs of a packed corpus: each is its length in decimal, a colon, its bytes and a line break.
fn unpacked(pack: &[u8]) -> Vec<&[u8]> {
    let (mut rest, mut out) = (pack, Vec::new());
    while let Some(colon) = rest.iter().position(|byte| *byte == b':') {
        let length: usize =
            std::str::from_utf8(&rest[..colon]).ok().and_then(|text| text.parse().ok()).expect("a length");
        out.push(&rest[colon + 1..][..length]);
        rest = &rest[colon + 1 + length + 1..];
    }
    assert!(rest.is_empty(), "a pack ends with its last input");
    out
}

/// Plays an input; the name of it where it fails, and why stands before.
fn failed(target: targets::Target, name: String, input: &[u8]) -> Option<String> {
    std::panic::catch_unwind(|| target(input)).is_err().then_some(name)
}

fn is_well(failed: &[String]) {
    assert!(failed.is_empty(), "{} inputs failed: {failed:?}", failed.len());
}

#[test]
fn what_was_found_is_mended() {
    let mut wrong = Vec::new();
    for (name, target) in targets::TARGETS {
        let Ok(folder) = std::fs::read_dir(here().join("found").join(name)) else { continue };
        for file in folder.flatten() {
            let input = std::fs::read(file.path()).expect("an input");
            wrong.extend(failed(*target, file.path().display().to_string(), &input));
        }
    }
    is_well(&wrong);
}

#[test]
fn what_is_known_goes_through() {
    let mut wrong = Vec::new();
    for (name, target) in targets::TARGETS {
        let pack = std::fs::read(here().join("corpus").join(format!("{name}.pack")));
        let pack = pack.unwrap_or_else(|why| panic!("{name} has no corpus: {why}"));
        for (number, input) in unpacked(&pack).into_iter().enumerate() {
            wrong.extend(failed(*target, format!("{name} {number}"), input));
        }
    }
    is_well(&wrong);
}

#[test]
fn seeds_go_through() {
    let seeds = seeds::all();
    let mut wrong = Vec::new();
    for (name, target) in targets::TARGETS {
        let of_target: Vec<_> = seeds.iter().filter(|(known, _)| known == name).collect();
        assert!(!of_target.is_empty(), "{name} has no seeds");
        for (number, (_, input)) in of_target.iter().enumerate() {
            if let Some(folder) = std::env::var_os("FUZZ_SEEDS") {
                let folder = Path::new(&folder).join(name);
                std::fs::create_dir_all(&folder).expect("a folder");
                std::fs::write(folder.join(format!("seed-{number:04}")), input).expect("a seed");
            } else if number % 5 == 0 {
                // All of them go through the instrumented program.
                wrong.extend(failed(*target, format!("{name} {number}"), input));
            }
        }
    }
    is_well(&wrong);
}
