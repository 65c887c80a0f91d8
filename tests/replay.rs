//! Every vector, recorded, goes as it went: what the recorder writes of a conversation is a vector that a fresh gateway
//! passes, with what people wrote and without.

#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

mod support;

use std::path::Path;

/// Conversations that turn on what people wrote: without it they go otherwise.
const ABOUT_TEXT: [(&str, &str); 10] = [
    ("chat/only-cpim.vec", "whether a text is ASCII decides its type inside the envelope"),
    ("chat/shown-by-presence.vec", "what a presence document says of abilities is text"),
    ("chat/twice.vec", "two texts of one length are one text"),
    (
        "pager/corrections-replies-reactions.vec",
        "what is quoted and what is said is told apart by its place in the text",
    ),
    ("pager/cpim.vec", "an encoded text is no text of its encoding any more"),
    ("pager/files.vec", "an address of a file is no address any more"),
    ("pager/html-too-long.vec", "emphasis and text are told apart by what the page says"),
    ("pager/html.vec", "links and the words around them are told apart by what they say"),
    ("pager/max-message.vec", "a character that is escaped in XML is none any more"),
    ("rooms/joined.vec", "whether a text is ASCII decides its type inside the envelope"),
];

/// Longer recordings, in bytes, are not played.
const DAY: usize = 1 << 20;

#[test]
fn every_vector_recorded_goes_as_it_went() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let filter = std::env::var("VECTOR").unwrap_or_default();
    let mut paths = support::script::vectors();
    paths.retain(|path| path.to_string_lossy().contains(&filter));
    let (mut failures, mut recordings) = (Vec::new(), 0);
    for path in &paths {
        let name = path.strip_prefix(&root).unwrap_or(path).display().to_string();
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let folder = tempfile::tempdir().unwrap();
        let recorded = support::vector::record(&text, folder.path());
        for (bodies, recorded) in recorded.unwrap_or_else(|error| panic!("{name}: {error}")) {
            if !bodies && ABOUT_TEXT.iter().any(|(about, _)| *about == name) {
                continue;
            }
            recordings += 1;
            // A day in which little more happens than that the peer is asked how it is.
            if recorded.len() > DAY {
                continue;
            }
            if let Err(failure) = support::vector::run(&recorded) {
                let how = if bodies { "with bodies" } else { "concealed" };
                failures.push(format!("--- {name} {how}\n{failure}"));
            }
        }
    }
    assert!(
        recordings + ABOUT_TEXT.len() >= 2 * paths.len() || !filter.is_empty(),
        "only {recordings} recordings of {} vectors",
        paths.len()
    );
    assert!(failures.is_empty(), "{} of {recordings} failed\n{}", failures.len(), failures.join("\n"));
}
