//! The vectors of RFC 7247 §6, XEP-0106 and RFC 5627 in both directions, and what must hold for every address.

use mostar::sip::uri::{Aor, SipAddress, Uri};
use mostar::words::address::{jid_of_sip, sip_of_jid};
use mostar::xmpp::jid::Jid;
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Vector {
    dir: String,
    #[serde(rename = "in")]
    input: String,
    out: String,
    back: String,
}

fn vectors(dir: &str) -> Vec<Vector> {
    let all: Vec<Vector> = serde_json::from_str(include_str!("address-vectors.json")).expect("the vectors");
    let found: Vec<Vector> = all.into_iter().filter(|vector| vector.dir == dir).collect();
    assert!(found.len() >= 5, "{dir} has {} vectors", found.len());
    found
}

/// The JID of a URI, in the domain of the same name; or why there is none.
fn to_jid(uri: &str) -> Result<String, String> {
    let parsed = Uri::parse(uri.to_owned().into()).map_err(|error| error.to_string())?;
    // What the door of the gateway refuses with 416, before an address is looked at.
    if parsed.scheme().is_secure() {
        return Err("sips: MUST NOT be translated".into());
    }
    let sip = SipAddress::of(&parsed).map_err(|problem| problem.0)?;
    let jid = jid_of_sip(&sip, &sip.aor.host).map_err(|condition| condition.text.unwrap_or_default())?;
    Ok(jid.to_string())
}

/// The SIP address of a JID; or why there is none.
fn to_sip(jid: &str) -> Result<SipAddress, String> {
    let jid = Jid::parse(jid).map_err(|error| error.0)?;
    sip_of_jid(&jid).map_err(|condition| condition.text.unwrap_or_default())
}

#[test]
fn sip_addresses_become_jids_and_come_back() {
    for vector in vectors("sip2jid") {
        let found = to_jid(&vector.input);
        if vector.out.starts_with("REJECT") {
            let reason = found.expect_err(&vector.input);
            assert!(!reason.is_empty(), "{} is refused without a reason", vector.input);
            continue;
        }
        let found = found.unwrap_or_else(|reason| panic!("{}: {reason}", vector.input));
        assert_eq!(found, vector.out, "{}", vector.input);
        assert_eq!(to_sip(&found).map(|sip| sip.to_string()), Ok(vector.back), "{found}");
    }
}

#[test]
fn refusals_name_the_character() {
    let reason = |uri| to_jid(uri).expect_err(uri);
    assert_eq!(reason("sip:%20lead@example.com"), "a space may not stand at an end of a localpart");
    assert_eq!(reason("sip:%FF@example.com"), "%FF is not UTF-8");
    assert_eq!(reason("sip:a%00b@example.com"), "U+0000 may not stand in a localpart");
    assert!(to_sip("a\\5cb@example.com").expect_err("a refusal").contains("\\5c"));
    assert_eq!(
        to_sip("\\20a@example.com").expect_err("a refusal"),
        "a space may not stand at an end of a localpart"
    );
}

#[test]
fn jids_become_sip_addresses_and_come_back() {
    for vector in vectors("jid2sip") {
        let found = to_sip(&vector.input).unwrap_or_else(|reason| panic!("{}: {reason}", vector.input));
        assert_eq!(found.to_string(), vector.out, "{}", vector.input);
        assert_eq!(to_jid(&vector.out), Ok(vector.back), "{}", vector.out);
    }
}

#[test]
fn jids_become_pres_uris_and_come_back() {
    for vector in vectors("jid2pres") {
        let found = to_sip(&vector.input).unwrap_or_else(|reason| panic!("{}: {reason}", vector.input));
        assert_eq!(found.aor.to_pres(), vector.out, "{}", vector.input);
        assert_eq!(to_jid(&vector.out), Ok(vector.back), "{}", vector.out);
    }
}

/// Text with many of the characters that escaping, preparation and URIs care about.
fn odd_text() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "a", "B", "é", "ß", "\\", "\\20", "\\2F", "\\5c", "5c", "20", "27", "4", "0", " ", "\"", "&", "'",
        "/", ":", "<", ">", "@", "%", "%41", ";", "=", "?", "#", "＼", "２", "０", "＠", "\u{3000}",
        "\u{212a}", "王", "☎", "İ", ".", "\u{0}",
    ]);
    prop_oneof![prop::collection::vec(pieces, 1..8).prop_map(|pieces| pieces.concat()), ".{1,12}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Sip to JID and back reaches the same JID, and a user part that preparation leaves alone is the same again.
    #[test]
    fn whatever_maps_to_a_jid_maps_back(user in prop::option::of(odd_text()), gr in prop::option::of(odd_text())) {
        let sip = SipAddress { aor: Aor { user, host: "example.com".into() }, gr };
        if let Ok(jid) = jid_of_sip(&sip, "example.com") {
            let back = sip_of_jid(&jid).map_err(|condition| TestCaseError::fail(format!("{jid}: {condition:?}")))?;
            prop_assert_eq!(jid_of_sip(&back, "example.com").ok(), Some(jid));
            let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
            if sip.aor.user.as_deref().is_none_or(plain) {
                prop_assert_eq!(&back.aor, &sip.aor);
            }
            if sip.gr.as_deref().is_none_or(plain) {
                prop_assert_eq!(&back.gr, &sip.gr);
            }
            prop_assert_eq!(SipAddress::parse(&back.to_string()).ok(), Some(back));
        }
    }

    /// JID to SIP and back is the same JID, through the bytes of the URI.
    #[test]
    fn whatever_maps_to_sip_maps_back(local in prop::option::of(odd_text()), resource in prop::option::of(odd_text())) {
        let Ok(jid) = Jid::new(local.as_deref(), "münchen.example", resource.as_deref()) else { return Ok(()) };
        if let Ok(sip) = sip_of_jid(&jid) {
            let read = SipAddress::parse(&sip.to_string()).map_err(|problem| TestCaseError::fail(problem.0))?;
            prop_assert_eq!(jid_of_sip(&read, &read.aor.host).ok(), Some(jid));
        }
    }
}
