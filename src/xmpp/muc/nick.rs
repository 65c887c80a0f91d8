//! Nicks that we give to people of the other side: such that every server and client leaves them as they are.
//!
//! RFC 7622 prepares resources with OpaqueString, which lets nearly everything stand. Prosody, ejabberd and many clients
//! still prepare them with Resourceprep (RFC 6122, appendix B; RFC 3454): what that refuses does not arrive at all, and
//! what it changes comes back as another name. So a nick of ours is what both leave alone: compatibility characters
//! composed; what is invisible, private or newer than Unicode 3.2 left out, emoji among it; and one direction of writing
//! (RFC 3454 §6).
//!
//! It is not for nicks of XMPP users: their servers have judged them.

use std::borrow::Cow;
use std::cmp::Ordering::{Equal, Greater, Less};

use precis_profiles::Nickname;
use precis_profiles::precis_core::profile::PrecisFastInvocation;

/// A name as a nick that is the same for everybody, of at most 1,023 bytes; nothing where nothing of it can be one.
pub fn of(name: &str) -> Option<Box<str>> {
    if name.len() <= LONGEST && name.bytes().all(|byte| matches!(byte, b'!'..=b'~')) && !name.is_empty() {
        return Some(name.into());
    }
    let shown: String = name.chars().map(blank).filter(|c| !is_left_out(*c)).collect();
    // What it does not know it refuses whole: newer characters stand as they are then.
    let composed = Nickname::enforce(shown.as_str()).unwrap_or(Cow::Borrowed(&shown));
    let shown: String = composed.chars().map(blank).filter(|c| !is_left_out(*c) && !is_newer(*c)).collect();
    let one = one_way(&shown);
    let words: Vec<&str> = one.split(' ').filter(|word| !word.is_empty()).collect();
    let mut nick = words.join(" ");
    let mut end = nick.len().min(LONGEST);
    while !nick.is_char_boundary(end) {
        end -= 1;
    }
    nick.truncate(end);
    let nick = if nick.chars().any(is_to_left) { ends_to_left(&nick) } else { nick.trim() };
    (!nick.is_empty()).then(|| nick.into())
}

/// RFC 7622 §3.4.
const LONGEST: usize = 1023;

fn blank(c: char) -> char {
    if c.is_whitespace() { ' ' } else { c }
}

/// What RFC 3454 forbids or maps to nothing: tables B.1, C.2 to C.4 and C.6 to C.9.
fn is_left_out(c: char) -> bool {
    c.is_control()
        || u32::from(c) & 0xfffe == 0xfffe
        || matches!(c,
            '\u{ad}' | '\u{340}' | '\u{341}' | '\u{34f}' | '\u{6dd}' | '\u{70f}' | '\u{1806}' | '\u{180b}'..='\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2ff0}'..='\u{2ffb}'
            | '\u{e000}'..='\u{f8ff}' | '\u{fdd0}'..='\u{fdef}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffd}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0001}' | '\u{e0020}'..='\u{e007f}'
            | '\u{f0000}'..)
}

/// Whether Resourceprep does not know it. Beyond the basic plane it knows ideographs and little else.
fn is_newer(c: char) -> bool {
    match u16::try_from(u32::from(c)) {
        Ok(c) => LATER
            .binary_search_by(|(from, to)| {
                if c < *from {
                    Greater
                } else if c > *to {
                    Less
                } else {
                    Equal
                }
            })
            .is_ok(),
        Err(_) => !matches!(c, '\u{20000}'..='\u{2a6d6}' | '\u{2f800}'..='\u{2fa1d}'),
    }
}

/// A name in one direction of writing: of two, the one that has more letters stays.
fn one_way(name: &str) -> Cow<'_, str> {
    let to_left = name.chars().filter(|c| is_to_left(*c)).count();
    let to_right = name.chars().filter(|c| is_to_right(*c)).count();
    match (to_left, to_right) {
        (0, _) | (_, 0) => Cow::Borrowed(name),
        _ if to_left > to_right => Cow::Owned(name.chars().filter(|c| !is_to_right(*c)).collect()),
        _ => Cow::Owned(name.chars().filter(|c| !is_of_the_left(*c)).collect()),
    }
}

/// A name that runs to the left begins and ends with a letter that does.
fn ends_to_left(name: &str) -> &str {
    name.trim_matches(|c| !is_to_left(c))
}

/// RandALCat of RFC 3454, table D.1.
fn is_to_left(c: char) -> bool {
    matches!(c,
        '\u{5be}' | '\u{5c0}' | '\u{5c3}' | '\u{5d0}'..='\u{5ea}' | '\u{5f0}'..='\u{5f4}' | '\u{61b}' | '\u{61f}'
        | '\u{621}'..='\u{63a}' | '\u{640}'..='\u{64a}' | '\u{66d}'..='\u{66f}' | '\u{671}'..='\u{6d5}'
        | '\u{6e5}'..='\u{6e6}' | '\u{6fa}'..='\u{6fe}' | '\u{700}'..='\u{70d}' | '\u{710}' | '\u{712}'..='\u{72c}'
        | '\u{780}'..='\u{7a5}' | '\u{7b1}' | '\u{fb1d}' | '\u{fb1f}'..='\u{fb28}' | '\u{fb2a}'..='\u{fb36}'
        | '\u{fb38}'..='\u{fb3c}' | '\u{fb3e}' | '\u{fb40}'..='\u{fb41}' | '\u{fb43}'..='\u{fb44}'
        | '\u{fb46}'..='\u{fbb1}' | '\u{fbd3}'..='\u{fd3d}' | '\u{fd50}'..='\u{fd8f}' | '\u{fd92}'..='\u{fdc7}'
        | '\u{fdf0}'..='\u{fdfc}' | '\u{fe70}'..='\u{fe74}' | '\u{fe76}'..='\u{fefc}')
}

/// Letters of scripts that run to the left, and their marks.
fn is_of_the_left(c: char) -> bool {
    is_to_left(c) || matches!(c, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{feff}')
}

/// LCat, nearly (table D.2): the letters of all other scripts.
fn is_to_right(c: char) -> bool {
    c.is_alphabetic() && !is_of_the_left(c)
}

/// What came into the basic plane after Unicode 3.2, which is all that Resourceprep knows (RFC 3454, table A.1).
#[rustfmt::skip]
const LATER: [(u16, u16); 177] = [
    (0x221, 0x221), (0x234, 0x24f), (0x2ae, 0x2af), (0x2ef, 0x2ff), (0x350, 0x35f), (0x370, 0x373), (0x376, 0x377),
    (0x37b, 0x37d), (0x37f, 0x37f), (0x3cf, 0x3cf), (0x3f7, 0x3ff), (0x487, 0x487), (0x4cf, 0x4cf), (0x4f6, 0x4f7),
    (0x4fa, 0x4ff), (0x510, 0x52f), (0x560, 0x560), (0x588, 0x588), (0x58d, 0x58f), (0x5a2, 0x5a2), (0x5ba, 0x5ba),
    (0x5c5, 0x5c7), (0x5ef, 0x5ef), (0x600, 0x60b), (0x60d, 0x61a), (0x61c, 0x61e), (0x620, 0x620), (0x63b, 0x63f),
    (0x656, 0x65f), (0x6ee, 0x6ef), (0x6ff, 0x6ff), (0x72d, 0x72f), (0x74d, 0x77f), (0x7c0, 0x900), (0x904, 0x904),
    (0x93a, 0x93b), (0x94e, 0x94f), (0x955, 0x957), (0x971, 0x980), (0x9bd, 0x9bd), (0x9ce, 0x9ce), (0x9fb, 0xa01),
    (0xa03, 0xa03), (0xa51, 0xa51), (0xa75, 0xa76), (0xa8c, 0xa8c), (0xae1, 0xae3), (0xaf0, 0xaff), (0xb35, 0xb35),
    (0xb44, 0xb44), (0xb55, 0xb55), (0xb62, 0xb63), (0xb71, 0xb77), (0xbb6, 0xbb6), (0xbd0, 0xbd0), (0xbe6, 0xbe6),
    (0xbf3, 0xc00), (0xc04, 0xc04), (0xc34, 0xc34), (0xc3c, 0xc3d), (0xc58, 0xc5d), (0xc62, 0xc63), (0xc77, 0xc81),
    (0xc84, 0xc84), (0xcbc, 0xcbd), (0xcdd, 0xcdd), (0xce2, 0xce3), (0xcf1, 0xd01), (0xd04, 0xd04), (0xd29, 0xd29),
    (0xd3a, 0xd3d), (0xd44, 0xd44), (0xd4e, 0xd56), (0xd58, 0xd5f), (0xd62, 0xd63), (0xd70, 0xd81), (0xde6, 0xdef),
    (0xe86, 0xe86), (0xe89, 0xe89), (0xe8c, 0xe8c), (0xe8e, 0xe93), (0xe98, 0xe98), (0xea0, 0xea0), (0xea8, 0xea9),
    (0xeac, 0xeac), (0xeba, 0xeba), (0xede, 0xedf), (0xf6b, 0xf6c), (0xf8c, 0xf8f), (0xfce, 0xfce), (0xfd0, 0xfda),
    (0x1022, 0x1022), (0x1028, 0x1028), (0x102b, 0x102b), (0x1033, 0x1035), (0x103a, 0x103f), (0x105a, 0x109f),
    (0x10c7, 0x10cd), (0x10f9, 0x10fa), (0x10fc, 0x10ff), (0x115a, 0x115e), (0x11a3, 0x11a7), (0x11fa, 0x11ff),
    (0x1207, 0x1207), (0x1247, 0x1247), (0x1287, 0x1287), (0x12af, 0x12af), (0x12cf, 0x12cf), (0x12ef, 0x12ef),
    (0x130f, 0x130f), (0x131f, 0x131f), (0x1347, 0x1347), (0x135d, 0x1360), (0x1380, 0x1399), (0x13f5, 0x1400),
    (0x1677, 0x167f), (0x16f1, 0x16f8), (0x170d, 0x170d), (0x1715, 0x171f), (0x17dd, 0x17dd), (0x17f0, 0x17f9),
    (0x180f, 0x180f), (0x1878, 0x1878), (0x18aa, 0x1dff), (0x1e9c, 0x1e9f), (0x1efa, 0x1eff), (0x2053, 0x2056),
    (0x2058, 0x205e), (0x2064, 0x2069), (0x2090, 0x209c), (0x20b2, 0x20c0), (0x20eb, 0x20f0), (0x213b, 0x213c),
    (0x214c, 0x2152), (0x2184, 0x218b), (0x23cf, 0x23ff), (0x24ff, 0x24ff), (0x2614, 0x2615), (0x2618, 0x2618),
    (0x267e, 0x267f), (0x268a, 0x2700), (0x2705, 0x2705), (0x270a, 0x270b), (0x2728, 0x2728), (0x274c, 0x274c),
    (0x274e, 0x274e), (0x2753, 0x2755), (0x2757, 0x2757), (0x275f, 0x2760), (0x2795, 0x2797), (0x27b0, 0x27b0),
    (0x27bf, 0x27cf), (0x27ec, 0x27ef), (0x2b00, 0x2e5d), (0x312d, 0x312f), (0x31b8, 0x31e3), (0x321d, 0x321e),
    (0x3244, 0x3250), (0x327c, 0x327e), (0x32cc, 0x32cf), (0x32ff, 0x32ff), (0x3377, 0x337a), (0x33de, 0x33df),
    (0x33ff, 0x33ff), (0x4db6, 0x4dff), (0x9fa6, 0x9fff), (0xa4d0, 0xabf9), (0xd7b0, 0xd7fb), (0xfa2e, 0xfa2f),
    (0xfa6b, 0xfad9), (0xfbb2, 0xfbc2), (0xfd40, 0xfd4f), (0xfdcf, 0xfdcf), (0xfdfd, 0xfdff), (0xfe10, 0xfe19),
    (0xfe24, 0xfe2f), (0xfe47, 0xfe48),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn nick(name: &str) -> String {
        of(name).map_or_else(String::new, String::from)
    }

    #[test]
    fn what_every_server_takes_stays() {
        for name in
            ["Juliet", "Juliet Capulet", "Jürgen", "ジュリエット ♥", "שלום", "O'Hara <&> \"x\\y\"", "a b"]
        {
            assert_eq!(nick(name), name);
        }
    }

    #[test]
    fn compatibility_characters_are_composed() {
        assert_eq!(nick("ＪＵＬＩＥＴ Ⅳ"), "JULIET IV");
        assert_eq!(nick("A\u{30a}"), "Å");
    }

    #[test]
    fn what_nobody_sees_is_left_out() {
        assert_eq!(nick("a\u{200b}\u{202e}b\u{ad}\u{feff}"), "ab");
        assert_eq!(nick("\u{a0} x \u{2003}\t y \u{e000}\u{fffd}"), "x y");
        assert_eq!(nick("\u{200e} \u{0}\u{e0041}"), "");
    }

    #[test]
    fn what_older_servers_do_not_know_is_left_out() {
        assert_eq!(nick("Anna 🌸 Lee"), "Anna Lee");
        assert_eq!(nick("𝓙𝓾𝓵𝓲𝓮𝓽 \u{20b9}"), "Juliet");
        assert_eq!(nick("🌹"), "");
        assert!(LATER.windows(2).all(|pair| pair[0].1 < pair[1].0));
    }

    #[test]
    fn of_two_directions_that_with_more_letters_stays() {
        assert_eq!(nick("שלום Jo"), "שלום");
        assert_eq!(nick("שלום Juliet"), "Juliet");
        assert_eq!(nick("1 שלום 🌹"), "שלום");
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        assert_eq!(nick(&"あ".repeat(400)).len(), 1023);
        assert_eq!(nick(&"é".repeat(600)).len(), 1022);
        assert_eq!(nick(&"x".repeat(2000)).len(), 1023);
        assert_eq!(nick(&format!("{} y", "x".repeat(1022))).len(), 1022);
    }

    #[test]
    fn a_nick_is_one_for_good() {
        for name in [
            "ＪＵＬＩＥＴ Ⅳ",
            "שלום Jo",
            "\u{fdfa}",
            "e\u{301}\u{200d}x",
            "ﬁ\u{fe0f}",
            "①②",
            "🏳\u{fe0f}\u{200d}🌈",
        ] {
            assert_eq!(nick(&nick(name)), nick(name), "{name}");
        }
    }
}
