//! Messages that are nearly all plain (`src/sip/plain.rs`) go through the target of SIP: whoever reads them, they say the
//! same as to the library.

use proptest::prelude::*;

use crate::targets;

/// Messages of lines that are plain more often than not.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let start = prop::sample::select(vec![
        "MESSAGE sip:a@b SIP/2.0",
        "NOTIFY sips:b;lr?x=1 SIP/2.0",
        "OPTIONS tel:+1 SIP/2.0",
        "BYE x SIP/2.0",
        "FOO sip:a SIP/2.0",
        "ACK sip:a@b  SIP/2.0",
        "MESSAGE sip:a@b sip/2.0",
        "SIP/2.0 200 OK",
        "SIP/2.0 180 ",
        "SIP/2.0 999 a b",
        "SIP/2.0 20 x",
        "sip/2.0 200 OK",
        "SIP/2.0 099 x",
        "SIP/3.0 200 OK",
        "",
        " ",
    ]);
    let name = prop::sample::select(vec![
        "Via",
        "From",
        "To",
        "v",
        "to",
        "Call-ID",
        "Call-Id",
        "Subject",
        "X-Foo",
        "x y",
        "",
        "P!",
        "\u{e9}",
        "Content-Length",
    ]);
    let colon = prop::sample::select(vec![": ", ": ", ": ", ": ", ":", " : ", ":  ", ":\t", ""]);
    let value = prop::sample::select(vec![
        "0",
        "2",
        "3",
        "<sip:a@b>;tag=1",
        "",
        " ",
        "x ",
        "a\r\n b",
        "a\rb",
        "a\nb",
        "\0",
        "gr\u{fc}n",
    ]);
    let end = prop::sample::select(vec![
        "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", "\r\n ",
    ]);
    let length = prop::sample::select(vec![
        "",
        "Content-Length: 2\r\n",
        "Content-Length: 2\r\n",
        "Content-Length: 9\r\n",
    ]);
    let line =
        (name, colon, value, end).prop_map(|(name, colon, value, end)| format!("{name}{colon}{value}{end}"));
    (start, prop::collection::vec(line, 0..4), length).prop_map(|(start, lines, length)| {
        format!("{start}\r\n{}{length}\r\nbody", lines.concat()).into_bytes()
    })
}

proptest! {
    #[test]
    fn what_is_read_in_one_pass_the_library_reads_the_same(bytes in message()) {
        targets::find("sip").expect("a target")(&bytes);
    }
}
