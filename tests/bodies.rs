//! What bodies may cost whoever reads them: time and memory are bounded by their length.

#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

use std::time::{Duration, Instant};

use mostar::documents::html;

/// Twenty times what one pass over it needs.
const PATIENCE: Duration = Duration::from_secs(3);

fn is_read_in_one_pass(piece: &str, length: usize) {
    let written = piece.repeat(length / piece.len());
    let begun = Instant::now();
    let page = html::read(&written);
    let rich = page.rich.as_deref().unwrap_or_default();
    assert!(begun.elapsed() < PATIENCE * (1 + length as u32 / 200_000), "{piece}: {:?}", begun.elapsed());
    assert!(page.text.len().max(rich.len()) <= 16 * written.len(), "{piece}");
}

#[test]
fn whatever_is_repeated_is_read_in_one_pass() {
    for piece in [
        "<a",
        "</b>",
        "<a href=\"",
        "<a='>",
        "<a=\">",
        "&amp;",
        "&eacute;",
        "<!--",
        "<script>",
        "<script></script",
        "<s>x",
        "<a href=https://e.org>",
        "<a href=https://e.org>b.c</a>",
        "<b></a>",
        "<li>x",
        "<blockquote>x",
        "<pre> \n",
        "<span style='",
        "<span style='font-weight:bold;'>x",
        "\n",
        "<q>",
        "</",
        "<sup>1",
        "<ol><li>",
        "&#x",
        "<a href href ",
    ] {
        is_read_in_one_pass(piece, 100_000);
    }
}

#[test]
fn a_megabyte_of_tags_is_read_in_one_pass() {
    for piece in ["<b>", "<a href=https://e.org>x</a>", "<i></b>"] {
        is_read_in_one_pass(piece, 1_000_000);
    }
}
