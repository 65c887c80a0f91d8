//! What bodies may cost whoever reads them: time and memory are bounded by their length, whatever they are; and what is
//! written is read.

#![allow(clippy::disallowed_types, reason = "tests are shell, not core")]

use std::time::{Duration, Instant};

use mostar::documents::imdn::{Imdn, Status};
use mostar::documents::iscomposing::IsComposing;
use mostar::documents::{cpim, encoding, file_http, html, imdn, mime, pidf};
use mostar::features::{content, rich};
use mostar::words::time::Wall;
use proptest::prelude::*;

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

/// What parts, envelopes and documents consist of, many times, for whoever reads them.
#[test]
fn whatever_is_repeated_is_read_in_time() {
    let bombs = [
        "--b\r\n",
        "--b\r\n\r\n",
        "--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n",
        "--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n",
        "X: y\r\n",
        " folded\r\n",
        "Content-Transfer-Encoding: base64\r\n\r\n",
        "=\r\n",
        "<a>",
        "<isComposing xmlns='urn:ietf:params:xml:ns:im-iscomposing'>",
        "&lt;",
        "a\\u0041;",
    ];
    for piece in bombs {
        let written = piece.repeat(200_000 / piece.len());
        for type_ in TYPES {
            let begun = Instant::now();
            let _ = content::read_body(Some(type_), None, written.as_bytes());
            let _ = content::notice_in(type_, None, written.as_bytes(), imdn::TYPE);
            assert!(begun.elapsed() < 5 * PATIENCE, "{type_}: {piece}: {:?}", begun.elapsed());
        }
    }
}

#[test]
fn a_document_of_any_shape_is_read_in_time() {
    let nested = |length: usize| -> String {
        (0..length / 24).map(|number| format!("<a xmlns:n{number:05}='u'>")).collect()
    };
    let wide =
        |length: usize| -> String { (0..length / 10).map(|number| format!(" a{number:05}=''")).collect() };
    let shapes: [&dyn Fn(usize) -> String; 4] = [
        &nested,
        &|length| format!("<user{}/>", wide(length)),
        &|length| format!("<users>{}</users>", "<user entity='sip:a@b'/>".repeat(length / 25)),
        &|length| format!("<users>{}", "<user entity='sip:a@b'><endpoint entity='1'>".repeat(length / 45)),
    ];
    for shape in shapes {
        let begun = Instant::now();
        let presence = "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='pres:a@b'>";
        let _ = pidf::parse(format!("{presence}{}</presence>", shape(65_000)).as_bytes());
        assert!(begun.elapsed() < 2 * PATIENCE, "{}: {:?}", &shape(100), begun.elapsed());
    }
}

#[test]
fn an_entity_is_never_expanded() {
    let bomb = "<!DOCTYPE x [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;'>]>";
    let composing =
        format!("{bomb}<isComposing xmlns='urn:ietf:params:xml:ns:im-iscomposing'>&b;</isComposing>");
    assert!(IsComposing::parse(composing.as_bytes()).is_err());
    let report =
        format!("{bomb}<imdn xmlns='urn:ietf:params:xml:ns:imdn'><message-id>&b;</message-id></imdn>");
    assert!(Imdn::parse(report.as_bytes()).is_err());
    let file = format!("{bomb}<file xmlns='urn:gsma:params:xml:ns:rcs:rcs:fthttp'>&b;</file>");
    assert!(file_http::as_text(file.as_bytes()).is_err());
    assert_eq!(
        html::read(&format!("{bomb}<b>&b;</b>")).rich.as_deref(),
        Some("]&gt;<strong>&amp;b;</strong>")
    );
}

#[test]
fn a_compressed_page_is_bounded_before_it_is_read() {
    let page = "<b>x</b>".repeat(125_000);
    let read =
        content::read_body(Some("text/html"), Some("deflate"), &deflated(page.as_bytes())).expect("a page");
    assert_eq!((read.text.len(), read.rich), (125_000, None));
    let bomb = deflated(&vec![b'<'; 64 * 1024 * 1024]);
    let refused = content::read_body(Some("text/html"), Some("deflate"), &bomb).expect_err("a bomb");
    assert_eq!(refused.status, 413);
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("a Vec takes everything");
    encoder.finish().expect("a Vec takes everything")
}

/// Types that somebody reads, and some that nobody does.
const TYPES: [&str; 10] = [
    "text/plain",
    "text/plain;charset=utf-16",
    "text/html",
    "message/cpim",
    "multipart/alternative;boundary=b",
    "multipart/mixed;boundary=b",
    "application/im-iscomposing+xml",
    "message/imdn+xml",
    "application/vnd.gsma.rcs-ft-http+xml",
    "image/png",
];

/// What such bodies consist of, in no order.
const PIECES: [&str; 44] = [
    "\r\n",
    "\n",
    "\r\n\r\n",
    ": ",
    ";",
    "=",
    "\"",
    "\\u00",
    "é",
    "\u{1}",
    "From: <sip:a@b>",
    "NS: imdn <urn:ietf:params:imdn>",
    "imdn.Message-ID: x",
    "imdn.Disposition-Notification: display",
    "DateTime: 2026-11-20T10:34:33Z",
    "Subject:;lang=fr x",
    "Content-Type: text/html; charset=\"utf8\"",
    "Content-Type: message/cpim",
    "Content-Type: multipart/mixed; boundary=b",
    "Content-Transfer-Encoding: base64",
    "Content-Transfer-Encoding: ",
    "Content-Encoding: deflate",
    "Content-Language: cs",
    "--b",
    "--",
    "aMOp",
    "=C3=A9",
    "<?xml version='1.0'?>",
    "<!DOCTYPE x [<!ENTITY a 'b'>]>",
    "&a;",
    "<isComposing xmlns='urn:ietf:params:xml:ns:im-iscomposing'>",
    "<state>active</state>",
    "<refresh>99999999999999999999</refresh>",
    "</isComposing>",
    "<imdn xmlns='urn:ietf:params:xml:ns:imdn'>",
    "<message-id>x</message-id>",
    "<delivery-notification><status><delivered/></status></delivery-notification>",
    "</imdn>",
    "<file xmlns='urn:gsma:params:xml:ns:rcs:rcs:fthttp'><file-info>",
    "<file-size>18446744073709551615</file-size>",
    "<data url='https://f.example/x'/></file-info></file>",
    "<b>",
    "</b>",
    "<a href='https://e.example/x'>here</a>",
];

/// Everything that reads a body reads these bytes.
fn is_read(bytes: &[u8]) -> Result<(), TestCaseError> {
    for type_ in TYPES {
        for coding in [None, Some("deflate"), Some("gzip")] {
            let Ok(read) = content::read_body(Some(type_), coding, bytes) else { continue };
            let most = if coding.is_none() { 16 * bytes.len() + 16 } else { 16 * encoding::SIZE_LIMIT };
            let rich = read.rich.unwrap_or_default();
            prop_assert!(read.text.len().max(rich.len()) <= most, "{type_}");
            prop_assert!(rich.is_empty() || rich::element(&rich).is_some(), "{rich}");
        }
        let _ = content::notice_in(type_, Some("deflate"), bytes, imdn::TYPE);
        let _ = mime::parts(type_, bytes);
    }
    let _ = (Imdn::parse(bytes), IsComposing::parse(bytes));
    if let Ok(text) = file_http::as_text(bytes) {
        prop_assert!(text.len() <= 2 * bytes.len() + 64);
    }
    if let Ok(envelope) = cpim::parse(bytes) {
        let _ = (imdn::message_id(&envelope), imdn::Wanted::of(&envelope), envelope.media());
        prop_assert!(envelope.body().is_none_or(|body| body.len() <= bytes.len()));
    }
    Ok(())
}

/// A text that may stand in a line: not blank at its ends, which nobody reads.
fn line() -> impl Strategy<Value = String> {
    any::<String>().prop_map(|text| text.trim().trim_start_matches(';').trim().to_owned())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_a_reader_panic_or_swell(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        is_read(&bytes)?;
    }

    #[test]
    fn no_body_makes_a_reader_panic_or_swell(pieces in prop::collection::vec(prop::sample::select(PIECES.to_vec()), 0..40)) {
        is_read(pieces.concat().as_bytes())?;
    }

    #[test]
    fn an_envelope_that_is_written_is_read(values in prop::collection::vec(line(), 1..5), body: Vec<u8>) {
        let headers: Vec<(&str, &str)> = values.iter().map(|value| ("Subject", value.as_str())).collect();
        let written = cpim::write(&headers, &[("Content-Type", "text/plain")], &body);
        let read = cpim::parse(&written).expect("what we wrote");
        let found: Vec<(&str, &str)> =
            read.headers.iter().map(|header| (header.name.as_str(), header.value.as_str())).collect();
        prop_assert_eq!(found, headers);
        let inner = read.body().map(|inner| inner.into_owned());
        prop_assert_eq!(inner, Some(body));
    }

    #[test]
    fn a_report_that_is_written_is_read(
        message_id in "[!-~é]{1,60}",
        millis in prop::option::of(0u64..253_402_300_800_000),
        status in prop::sample::select(vec![Status::Delivered, Status::Displayed, Status::Failed, Status::Untold]),
    ) {
        let told = Imdn { message_id, datetime: millis.map(Wall), status };
        prop_assert_eq!(Imdn::parse(told.write().as_bytes()), Ok(told));
    }

    #[test]
    fn a_typing_notification_that_is_written_is_read(active: bool, seconds in 1u64..=3600) {
        let refresh = if active { Duration::from_secs(seconds) } else { mostar::documents::iscomposing::DEFAULT_REFRESH };
        let told = IsComposing { active, refresh };
        prop_assert_eq!(IsComposing::parse(told.write().as_bytes()), Ok(told));
    }
}
