use proptest::prelude::*;
use rxml::error::EndOrError;
use rxml::{Parse, RawEvent, RawParser};

use super::*;

/// What the tokens of these pieces say in a line, then the mistake, if there is one.
fn read(pieces: &[&[u8]]) -> (String, Option<Bad>) {
    let (said, bad, _) = read_to_the_end(pieces);
    (said, bad)
}

fn read_to_the_end(pieces: &[&[u8]]) -> (String, Option<Bad>, Lexer) {
    let (mut lexer, mut said) = (Lexer::default(), String::new());
    for piece in pieces {
        let read = lexer.read(piece, |_, token| {
            let mut line = String::new();
            match token {
                Token::Nothing => {}
                Token::Text(text) => line.push_str(&text),
                Token::Close => line.push_str("[/]"),
                Token::Open(tag) => {
                    line = format!("[{}", written(tag.name));
                    for attr in tag.attrs() {
                        let (name, value) = attr?;
                        line += &format!(" {}={value:?}", written(name));
                    }
                    line += if tag.is_empty { "][/]" } else { "]" };
                }
            }
            said += &line;
            Ok(true)
        });
        if let Err(bad) = read {
            return (said, Some(bad), lexer);
        }
    }
    (said, None, lexer)
}

fn written(name: Name<'_>) -> String {
    name.prefix.map(|prefix| format!("{prefix}:")).unwrap_or_default() + name.local
}

fn said(text: &str) -> String {
    let (said, bad) = read(&[text.as_bytes()]);
    bad.map_or(said, |bad| format!("REFUSED: {bad}"))
}

#[test]
fn characters_are_meant_as_xml_means_them() {
    assert_eq!(
        said(
            "<?xml version='1.0' encoding=\"utf-8\"?>\n<a b = '\t&#9;\r\n&lt;\"' p:c=\"'\" ><d/>x\r\n\ry&#x41;&#128512;<![CDATA[&lt;]]]></a\n>"
        ),
        r#"[a b=" \t <\"" p:c="'"][d][/]x"#.to_owned() + "\n\ny" + "A\u{1f600}&lt;][/]"
    );
}

#[test]
fn what_a_stream_may_not_have_is_refused() {
    for text in [
        "x",
        "<a>]]></a>",
        "<a>&lol;</a>",
        "<a>&#0;</a>",
        "<a>&#+65;</a>",
        "<a>&#x00000000000041;</a>",
        "<a>\u{1}</a>",
        "<a>\u{ffff}</a>",
        "<a b='<'/>",
        "<a b='1'c='2'/>",
        "<a b=1/>",
        "<a b/>",
        "<a b='1' '2'/>",
        "<a / >",
        "< a/>",
        "<a:b:c/>",
        "<:a/>",
        "<a:/>",
        "<1/>",
        "<a></b>",
        "<a></>",
        "</a>",
        "<!-- -->",
        "<a><!x></a>",
        "<![CDATA[x]]>",
        "<?x?>",
        "<a/><?xml version='1.0'?>",
        "<?xml version='1.1'?>",
        "<?xml encoding='utf-8'?>",
        "<?xml version='1.0' encoding='latin1'?>",
    ] {
        assert!(said(text).starts_with("REFUSED"), "{text}: {}", said(text));
    }
}

#[test]
fn a_tag_that_comes_byte_by_byte_costs_as_much_as_a_whole_one() {
    let tag = format!("<a b='{}'/>", "x".repeat(20_000));
    let mut lexer = Lexer::default();
    for byte in tag.as_bytes().chunks(1) {
        lexer.read(byte, |_, _| Ok(true)).expect("good so far");
        assert!(lexer.seen + 1 >= lexer.rest.len(), "what was looked at is not looked at again");
    }
    assert!(lexer.rest.is_empty());
}

#[test]
fn a_tag_without_end_is_refused_before_it_fills_the_memory() {
    let piece = vec![b'a'; TAG_LIMIT / 4];
    let mut lexer = Lexer::default();
    let mut read = || lexer.read(&piece, |_, _| Ok(true));
    assert!(read().is_err(), "text outside the stream");
    let mut lexer = Lexer::default();
    let results: Vec<_> = [&b"<"[..], &piece, &piece, &piece, &piece]
        .iter()
        .map(|piece| lexer.read(piece, |_, _| Ok(true)).is_ok())
        .collect();
    assert_eq!(results, [true, true, true, true, false]);
    let whole = [b"<", &piece[..], &piece, &piece, &piece, b">"].concat();
    assert!(read_whole(&whole).is_err());
}

fn read_whole(bytes: &[u8]) -> Result<(), Bad> {
    Lexer::default().read(bytes, |_, _| Ok(true))
}

/// The same by a parser that we did not write.
fn read_by_rxml(mut bytes: &[u8]) -> (String, bool) {
    let (mut parser, mut said) = (RawParser::new(), String::new());
    let mut has_tag_open = String::new();
    loop {
        match parser.parse(&mut bytes, false) {
            Ok(Some(RawEvent::ElementHeadOpen(_, (prefix, name)))) => {
                let prefix = prefix.map(|prefix| format!("{prefix}:")).unwrap_or_default();
                has_tag_open = format!("[{prefix}{name}");
            }
            Ok(Some(RawEvent::Attribute(_, (prefix, name), value))) => {
                let prefix = prefix.map(|prefix| format!("{prefix}:")).unwrap_or_default();
                has_tag_open += &format!(" {prefix}{name}={value:?}");
            }
            Ok(Some(RawEvent::ElementHeadClose(_))) => said += &(std::mem::take(&mut has_tag_open) + "]"),
            Ok(Some(RawEvent::Text(_, text))) => said += &text,
            Ok(Some(RawEvent::ElementFoot(_))) => said += "[/]",
            Ok(Some(RawEvent::XmlDeclaration(..))) => {}
            Ok(None) => return (said, false),
            Err(EndOrError::NeedMoreData) => return (said, false),
            Err(EndOrError::Error(_)) => return (said, true),
        }
    }
}

/// Pieces of XML, right and wrong, in any order.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(vec![
        "<a>",
        "</a>",
        "<b c='d'>",
        "</b>",
        "<a ",
        "p:q",
        "='",
        "' ",
        "=\"",
        "\"",
        "/>",
        ">",
        "<",
        "</",
        " ",
        "\r",
        "\n",
        "\t",
        "x",
        "]",
        "]]>",
        "]]",
        "&",
        "&lt;",
        "&#x",
        "41;",
        "&#10;",
        ";",
        "<![CDATA[",
        "<!",
        "?",
        "\u{e9}",
        "\u{20ac}",
        "\u{1f600}",
        "\u{ffff}",
        "\u{1}",
        "1",
        "-",
        ".",
        ":",
        "\u{b7}",
        "<i/>",
        "text",
    ]);
    let noise = prop::sample::select(vec![&b"\xff"[..], b"\xc3", b"\x80", b"\xe2\x82"]);
    let piece = prop_oneof![40 => pieces.prop_map(|text| text.as_bytes().to_vec()), 1 => noise.prop_map(<[u8]>::to_vec)];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| [b"<s>", &pieces.concat()[..]].concat())
}

proptest! {
    #[test]
    fn any_split_says_the_same(bytes in soup(), size in 1_usize..7) {
        prop_assert_eq!(read(&bytes.chunks(size).collect::<Vec<_>>()), read(&[&bytes]));
    }

    #[test]
    fn a_foreign_parser_says_the_same(bytes in soup()) {
        let (ours, bad, lexer) = read_to_the_end(&[&bytes]);
        // That one reads on to the end of a text before it judges it, and does not wait for the end of a tag.
        let end = if lexer.in_cdata { &b"]]>"[..] } else { b"<" };
        let (theirs, is_bad) = read_by_rxml(&[&bytes[..], if bad.is_some() { end } else { b"" }].concat());
        // Behind a ']' in a CDATA section it leaves a carriage return as it is.
        let theirs = theirs.replace("\r\n", "\n").replace('\r', "\n");
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        prop_assert!(bad.is_none() || is_bad, "{}: {:?}", shown, bad);
        prop_assert!(bad.is_some() || !is_bad || !lexer.rest.is_empty(), "{}", shown);
        prop_assert!(ours.starts_with(&theirs) || theirs.starts_with(&ours), "{}: {} {}", shown, ours, theirs);
    }
}
