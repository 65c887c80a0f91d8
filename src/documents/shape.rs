//! The shape of a document before it is read: how deep it is, how much one tag holds.
//!
//! `roxmltree` compares each attribute of a tag with each, and each namespace in scope with each at every element that
//! declares one: 64 kB of nested declarations take it seconds, a megabyte hours. What is counted here is so little in any
//! document that somebody means that the limits need no thought. Where the text is no XML, the reader will say so.

use memchr::memmem;

/// How deep elements may lie in elements.
const DEPTH: usize = 64;
/// How many attributes a tag may have.
const ATTRIBUTES: usize = 64;
/// How many namespaces may be declared in one place of the document.
const NAMESPACES: usize = 64;

/// What is too much in it, if anything is.
pub(super) fn excess(text: &str) -> Option<&'static str> {
    let mut rest = text.as_bytes();
    // Of each open element, how many namespaces it declares.
    let mut open: Vec<usize> = Vec::new();
    let mut in_scope = 0;
    while let Some(at) = memchr::memchr(b'<', rest) {
        rest = &rest[at..];
        if let Some(end) = opaque(rest) {
            rest = &rest[end..];
            continue;
        }
        let Tag { length, attributes, namespaces, is_empty } = Tag::of(rest);
        let tag = &rest[..length];
        rest = &rest[length..];
        if tag.starts_with(b"</") {
            in_scope -= open.pop().unwrap_or_default();
            continue;
        }
        if attributes > ATTRIBUTES {
            return Some("a tag has too many attributes");
        }
        if in_scope + namespaces > NAMESPACES {
            return Some("too many namespaces are declared");
        }
        if !is_empty {
            open.push(namespaces);
            in_scope += namespaces;
        }
        if open.len() > DEPTH {
            return Some("elements lie too deep in others");
        }
    }
    None
}

/// Where a comment, a section of text or an instruction ends that begins here.
fn opaque(text: &[u8]) -> Option<usize> {
    let kinds: [(&[u8], &[u8]); 3] = [(b"<!--", b"-->"), (b"<![CDATA[", b"]]>"), (b"<?", b"?>")];
    let (begin, end) = kinds.into_iter().find(|(begin, _)| text.starts_with(begin))?;
    let length = memmem::find(&text[begin.len()..], end).map(|at| begin.len() + at + end.len());
    Some(length.unwrap_or(text.len()))
}

/// A tag, from its first character to its last.
struct Tag {
    length: usize,
    attributes: usize,
    namespaces: usize,
    is_empty: bool,
}

impl Tag {
    fn of(text: &[u8]) -> Tag {
        let mut tag = Tag { length: text.len(), attributes: 0, namespaces: 0, is_empty: false };
        let mut at = 1;
        while let Some(found) = text[at..].iter().position(|byte| matches!(byte, b'"' | b'\'' | b'>')) {
            let before = &text[at..at + found];
            at += found;
            if text[at] == b'>' {
                tag.is_empty = before.ends_with(b"/");
                tag.length = at + 1;
                return tag;
            }
            tag.attributes += 1;
            tag.namespaces += usize::from(memmem::find(before, b"xmlns").is_some());
            let Some(length) = memchr::memchr(text[at], &text[at + 1..]) else { return tag };
            at += length + 2;
        }
        tag
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_meant_is_within_the_limits() {
        let many = "<a x='>' xmlns='u'><b/><c>x</c></a>".repeat(1_000);
        for text in ["", "<a/>", &format!("<?xml version='1.0'?><!-- <a><a> --><r><![CDATA[<a>]]>{many}</r>")]
        {
            assert_eq!(excess(text), None);
        }
    }

    #[test]
    fn depth_attributes_and_namespaces_in_scope_are_limited() {
        let attributes: String = (0..65).map(|number| format!(" a{number}=''")).collect();
        assert!(excess(&format!("<a{attributes}/>")).is_some_and(|why| why.contains("attributes")));
        assert!(excess(&"<a>".repeat(65)).is_some_and(|why| why.contains("deep")));
        assert!(excess(&"<a xmlns:b='c' d=\"'\">".repeat(65)).is_some_and(|why| why.contains("namespaces")));
        let beside: String =
            (0..65).map(|number| format!("<a xmlns:n{number}='c'></a><b xmlns='x'/>")).collect();
        assert_eq!(excess(&format!("<r>{beside}</r>")), None);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(pieces in prop::collection::vec(prop::sample::select(vec![
            "<", ">", "/", "</a>", "<a", "'", "\"", "=", "xmlns", "<!--", "-->", "<![CDATA[", "]]>", "<?", "?>", "é", " ",
        ]), 0..40)) {
            let _ = excess(&pieces.concat());
        }
    }
}
