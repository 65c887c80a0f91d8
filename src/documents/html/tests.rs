use proptest::prelude::*;

use super::*;

fn text(html: &str) -> String {
    read(html).text
}

fn rich(html: &str) -> Option<String> {
    read(html).rich
}

#[test]
fn pages_read_as_a_person_sees_them() {
    for (html, plain) in [
        ("<p>Hello <b>dear</b>\n friend</p><p>bye</p>", "Hello dear friend\nbye"),
        ("<html><head><title>t</title></head><body>hi<br>there<br/><br>x</body></html>", "hi\nthere\n\nx"),
        ("a &lt;b&gt; &amp; &#x1F600;&#33; &nbsp; &unknown; &", "a <b> & 😀! &unknown; &"),
        ("1 < 2 and <3", "1 < 2 and <3"),
        ("<ul><li>one</li><li>two</li></ul><ol><li>a<li>b</ol>", "• one\n• two\n1. a\n2. b"),
        (
            "see <a href=\"https://example.org/?a=1&amp;b=2\">here</a>",
            "see here <https://example.org/?a=1&b=2>",
        ),
        ("<a href='https://example.org'>https://example.org</a>", "https://example.org"),
        ("<a href='https://example.org/'>example.org</a>", "example.org"),
        ("<a href='mailto:romeo@example.net'>Romeo</a>", "Romeo <mailto:romeo@example.net>"),
        ("<a href='tel:+420123'>+420123</a>", "+420123"),
        ("<img src=x alt=':-)'>", ":-)"),
        ("<div style=\"font: 'a>b'\">é</div>", "é"),
        ("<blockquote>he said<br>so</blockquote>no", "> he said\n> so\nno"),
        ("<blockquote><s>he</s> said</blockquote>", "> ~he~ said"),
        ("I <s>hate</s> love it, 10<sup>-6</sup>, 1<sup>st</sup>", "I ~hate~ love it, 10^-6, 1st"),
        ("<pre>if a\n  b</pre>", "if a\n  b"),
        ("<q>so</q>", "“so”"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</table>", "a b\nc"),
        ("plain", "plain"),
    ] {
        assert_eq!(text(html), plain, "{html}");
    }
}

#[test]
fn emphasis_and_links_are_kept_and_nothing_else() {
    for (html, expected) in [
        ("<p><b>html</b> reply &amp; more</p>", Some("<strong>html</strong> reply &amp; more")),
        ("<p style='color:red'>so</p>", None),
        ("<span style='FONT-WEIGHT: 700; color: red'>x</span>", Some("<strong>x</strong>")),
        (
            "<span style='text-decoration:underline line-through'>x</span>y",
            Some("<span style='text-decoration: line-through'>x</span>y"),
        ),
        ("<b style='font-weight:normal'>x</b>", None),
        ("a<br>b <i>c</i><br><br>", Some("a<br/>b <em>c</em>")),
        ("<b>one<i>two</b>three</i>", Some("<strong>one<em>two</em></strong><em>three</em>")),
        ("<b>never closed", Some("<strong>never closed</strong>")),
        ("</b></p>x</i>", None),
        ("<a href='https://e.org/?a=1&amp;b=\\'>no</a>", None),
        (
            "<a href='https://e.org/?a=1&amp;b=2'>here</a>",
            Some("<a href='https://e.org/?a=1&amp;b=2'>here</a>"),
        ),
        ("<a href='https://e.org'>https://e.org</a>", None),
        ("<b></b>x", None),
    ] {
        assert_eq!(rich(html).as_deref(), expected, "{html}");
    }
}

#[test]
fn a_link_that_says_another_address_shows_where_it_leads_and_is_none() {
    let page = read("<b>log in</b>: <a href='https://evil.example/'>https://bank.example/</a>");
    assert_eq!(page.text, "log in: https://bank.example/ <https://evil.example/>");
    let rich = "<strong>log in</strong>: https://bank.example/ &lt;https://evil.example/&gt;";
    assert_eq!(page.rich.as_deref(), Some(rich));
}

#[test]
fn scripts_styles_and_comments_are_not_text() {
    for html in [
        "<script>alert('x')</script>ok",
        "<SCRIPT type=x>if (a</b) {}</SCRIPT >ok",
        "<style>p { background: url(javascript:x) }</style>ok<!-- <b>no</b> -->",
        "<a href='javascript:alert(1)'>ok</a>",
        "<a href='ht\u{feff}://ok'>ok</a>",
        "<a href=' java\nscript:alert(1)'>ok</a>",
        "<a href='data:text/html,x'>ok</a>",
        "<a href='&#106;avascript:alert(1)'>ok</a>",
        "<a href='https:evil'>ok</a><a href='//evil'></a>",
        "<p onclick='x()' onload=y style='width: expression(x); background: url(//evil)'>ok</p>",
        "<svg onload=alert(1)><text>no</text></svg>ok<math><mi>no</mi></math>",
        "<img src='https://evil/pixel.gif' onerror=x>ok",
        "<iframe src='//evil'>no</iframe>ok<object data=x>no</object>",
        "<meta http-equiv=refresh content='0;url=//evil'><base href='//evil'><link rel=stylesheet href='//evil'>ok",
        "<form action='//evil'><input value=no></form>ok",
        "<html><head><title>no</title><meta charset=utf-8><link href=x><body>ok",
        "ok<script>never closed",
        "ok<!-- never closed",
    ] {
        assert_eq!(read(html), Page { text: "ok".into(), rich: None }, "{html}");
    }
}

#[test]
fn a_page_that_is_too_deep_or_too_colorful_is_plain_text() {
    let deep = format!("{}deep{}", "<b><i>".repeat(20), "</i></b>".repeat(20));
    assert_eq!(read(&deep), Page { text: "deep".into(), rich: None });
    let many = "<b>x</b>".repeat(MARKS + 1);
    assert_eq!(rich(&many), None);
    assert!(rich(&"<b>x</b>".repeat(MARKS)).is_some());
    let entangled = "<b><i>".repeat(8) + &"</b><b>x".repeat(2_000);
    assert_eq!(rich(&entangled), None);
}

#[test]
fn a_rich_text_is_compared_with_a_plain_one() {
    for (rich, plain, same) in [
        ("<strong>so</strong> what", "*so* what", true),
        ("<strong>so</strong> what", "no what", false),
        ("<a href='https://e.org/x'>here</a>", "here", true),
        ("<a href='https://e.org/x'>here</a>", "here <https://e.org/x>", true),
        ("<a href='https://e.org/x'>here</a>", "here (https://e.org/x)", true),
        ("<a href='https://e.org/x'>here</a>", "here <https://e.org/y>", false),
        ("<em>pay</em> -5", "pay 5", false),
    ] {
        assert_eq!(says(rich, plain), same, "{rich} {plain}");
    }
}

fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "<",
        ">",
        "a",
        "<a href=https://e.org/x>",
        "<a href='javascript:x'>",
        " href=",
        "\"",
        "'",
        "&",
        "#x",
        ";",
        "&lt;",
        "<!--",
        "-->",
        "</",
        "<script>",
        "</script>",
        "é",
        "/",
        "=",
        "\n",
        "<img alt='<b>'>",
        "<b>",
        "</b>",
        "<i>",
        "</i>",
        "</a>",
        "<s>",
        "</s>",
        "<p>",
        "</p>",
        "<li>",
        "<ol>",
        "</ol>",
        "<blockquote>",
        "</blockquote>",
        "<pre>",
        "</pre>",
        "<q>",
        "</q>",
        "<span style='text-decoration:underline' onclick=x>",
        "</span>",
        "<br>",
        "e.org",
        "\u{1}",
        " ",
        "<sup>",
        "2",
        "<td>",
    ]);
    prop::collection::vec(piece, 0..80).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn nothing_panics_whatever_is_read(html in ".*") {
        let _ = read(&html);
    }

    #[test]
    fn a_rich_text_is_well_formed_and_says_what_the_plain_one_says(html in pieces()) {
        let page = read(&html);
        let Some(rich) = page.rich else { return Ok(()) };
        let clean = crate::words::text::clean(&rich);
        let whole = format!("<body>{clean}</body>");
        let document = roxmltree::Document::parse(&whole).map_err(|error| TestCaseError::fail(format!("{error}: {rich}")))?;
        for node in document.root_element().descendants().skip(1).filter(|node| node.is_element()) {
            prop_assert!(["a", "br", "code", "em", "span", "strong"].contains(&node.tag_name().name()));
            for attribute in node.attributes() {
                let fits = match (node.tag_name().name(), attribute.name()) {
                    ("a", "href") => attribute.value() == "https://e.org/x",
                    ("span", "style") => attribute.value().starts_with("text-decoration: "),
                    _ => false,
                };
                prop_assert!(fits, "{rich}");
            }
        }
        prop_assert!(says(&rich, &page.text), "{rich}\n{}", page.text);
    }
}
