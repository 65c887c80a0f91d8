//! One instrumented program for all targets: `MOSTAR_FUZZ=sip mostar-fuzz CORPUS…`, with the options of libFuzzer.
//! `fuzz/run` builds it, runs it, and keeps what it finds.

#![no_main]

mod targets;

use std::sync::LazyLock;

use targets::Target;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("MOSTAR_FUZZ").unwrap_or_default();
    targets::find(&name).unwrap_or_else(|| {
        let names: Vec<_> = targets::TARGETS.iter().map(|(name, _)| *name).collect();
        eprintln!("MOSTAR_FUZZ names the target: {}", names.join(" "));
        std::process::exit(2)
    })
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));
