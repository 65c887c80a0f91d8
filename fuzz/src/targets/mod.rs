//! What is fuzzed: one function for each parser of ours, and one for the gateway's door. Bytes go in; whatever must hold
//! of every input is asserted, so that a panic is a fault.
//!
//! These files are part of two programs: the instrumented one of this crate, and `tests/fuzzed.rs`, which plays what has
//! been found to the same functions in every test run.

mod address;
mod bodies;
pub mod component;
mod conference;
mod configuration;
pub mod door;
mod html;
mod msrp;
mod sdp;
mod sip;
mod store;

/// A target: what is done with one input.
pub type Target = fn(&[u8]);

/// All targets by their names, in the order in which they run.
pub const TARGETS: &[(&str, Target)] = &[
    ("address", address::run),
    ("component", component::run),
    ("composing", bodies::composing),
    ("conference", conference::run),
    ("configuration", configuration::file),
    ("content", bodies::content),
    ("cpim", bodies::cpim),
    ("door", door::run),
    ("html", html::run),
    ("imdn", bodies::imdn),
    ("journal", store::journal),
    ("lists", bodies::lists),
    ("mappings", configuration::tables),
    ("mime", bodies::mime),
    ("msrp", msrp::sessions),
    ("msrp-frames", msrp::frames),
    ("pidf", bodies::pidf),
    ("records", store::records),
    ("sdp", sdp::run),
    ("sip", sip::message),
    ("sip-stream", sip::stream),
];

/// The target of this name.
pub fn find(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target)
}

/// Cuts `bytes` into pieces whose lengths a seed draws, mostly short ones.
fn pieces(seed: u8, bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut rest, mut state) = (bytes, u32::from(seed) + 1);
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let long = if state >> 28 == 0 { 4096 } else { 16 };
        let length = (1 + (state >> 16) as usize % long).min(rest.len());
        let (piece, after) = rest.split_at(length);
        rest = after;
        Some(piece)
    })
}

/// The first byte, which chooses something, and the rest.
fn choice(data: &[u8]) -> (u8, &[u8]) {
    data.split_first().map_or((0, data), |(first, rest)| (*first, rest))
}

/// The parts of an input that is several things.
fn parts(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    data.split(|byte| *byte == SEPARATOR)
}

/// What stands between the parts of an input: the record separator, which neither SIP nor XML has.
pub const SEPARATOR: u8 = 0x1e;
