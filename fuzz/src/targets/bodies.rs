//! The bodies of messages: envelopes, notices, presence, lists of people, parts, and what a person would read of them.

use mostar::documents::imdn::{self, Imdn, Status};
use mostar::documents::iscomposing::IsComposing;
use mostar::documents::mime::{Inside, MediaType, Part};
use mostar::documents::{date, encoding, resource_lists, text};
use mostar::features::content as read;

use super::parts;

/// An envelope: what is written of it is read as the same.
pub fn cpim(data: &[u8]) {
    use mostar::documents::cpim::{parse, write};
    let Ok(envelope) = parse(data) else { return };
    let _ = (imdn::message_id(&envelope), imdn::Wanted::of(&envelope), envelope.media(), envelope.subject());
    let body = envelope.body();
    assert!(body.is_none_or(|body| body.len() <= data.len()));
    for name in ["From", "To", "cc"] {
        for mailbox in envelope.mailboxes(name) {
            let _ = mailbox.address();
        }
    }
    // Addresses are written from their parts, other values as they are said.
    let headers: Vec<_> = envelope
        .headers
        .iter()
        .filter(|header| !matches!(header.name.as_str(), "From" | "To" | "cc") && header.lang.is_none())
        .map(|header| (header.name.as_str(), header.value.as_str()))
        .collect();
    let written = write(&headers, &[("Content-Type", "text/plain")], b"body");
    let again = match parse(&written) {
        Ok(again) => again,
        Err(why) => {
            // An envelope that has no header, or Content-Type alone, is none.
            assert!(headers.iter().all(|(name, _)| name.eq_ignore_ascii_case("content-type")), "{why}");
            return;
        }
    };
    if headers.iter().all(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
        return;
    }
    let back: Vec<_> =
        again.headers.iter().map(|header| (header.name.as_str(), header.value.as_str())).collect();
    assert_eq!(back, headers);
    assert_eq!(again.body().as_deref(), Some(&b"body"[..]));
}

/// A delivery notification.
pub fn imdn(data: &[u8]) {
    let Ok(told) = Imdn::parse(data) else { return };
    let status = if told.status == Status::Other { Status::Untold } else { told.status };
    // A date has seconds, and a calendar that ends.
    let datetime = told.datetime.and_then(|when| date::read_rfc3339(&date::write_rfc3339(when)));
    assert_eq!(Imdn::parse(told.write().as_bytes()), Ok(Imdn { status, datetime, ..told }));
}

/// A typing notification.
pub fn composing(data: &[u8]) {
    let Ok(told) = IsComposing::parse(data) else { return };
    let again = IsComposing::parse(told.write().as_bytes()).expect("what was written is read");
    assert_eq!(again.active, told.active);
    assert!(!told.active || again.refresh == told.refresh);
}

/// A presence document: what is written of it says the same, written again it is the same.
pub fn pidf(data: &[u8]) {
    use mostar::documents::pidf::{parse, write};
    let Ok(read) = parse(data) else { return };
    let written = write(&read);
    let again = parse(&written).unwrap_or_else(|why| panic!("{why}: {}", shown(&written)));
    assert_eq!(again.tuples.len(), read.tuples.len());
    assert_eq!(again.persons.len(), read.persons.len());
    for (tuple, other) in again.tuples.iter().zip(&read.tuples) {
        assert_eq!((&tuple.open, &tuple.show, &tuple.rpid), (&other.open, &other.show, &other.rpid));
    }
    assert_eq!(shown(&write(&again)), shown(&written));
}

/// A list of people.
pub fn lists(data: &[u8]) {
    let Ok(list) = resource_lists::parse(data) else { return };
    assert!(list.entries.len() <= 200);
    for entry in &list.entries {
        assert!(entry.name.as_ref().is_none_or(|name| name.len() <= 1_024));
    }
}

/// A body in parts, behind its Content-Type.
pub fn mime(data: &[u8]) {
    use mostar::documents::mime::{decode, parts as parts_of};
    let mut all = parts(data);
    let type_ = String::from_utf8_lossy(all.next().unwrap_or_default()).into_owned();
    let body = all.collect::<Vec<_>>().join(&b'\n');
    if let Some(media) = MediaType::parse(&type_) {
        assert_eq!(
            MediaType::parse(&media.to_string()).map(|media| media.to_string()),
            Some(media.to_string())
        );
    }
    if let Some(found) = parts_of(&type_, &body) {
        assert!(size(&found, 0) <= 2 * body.len() + 64, "{} bytes of {}", size(&found, 0), body.len());
    }
    if let Some(bytes) = decode(&type_, &body) {
        assert!(bytes.len() <= body.len());
    }
    let _ = resource_lists::in_body(&type_, &body);
}

fn size(parts: &[Part], depth: usize) -> usize {
    assert!(depth <= 8);
    let one = |part: &Part| match &part.inside {
        Inside::Bytes(bytes) => bytes.len(),
        Inside::Parts(parts) => size(parts, depth + 1),
        Inside::Unreadable => 0,
    };
    parts.iter().map(one).sum()
}

/// What a person would read of a body: Content-Type, Content-Encoding and the body itself.
pub fn content(data: &[u8]) {
    let mut all = parts(data);
    let mut word = || String::from_utf8_lossy(all.next().unwrap_or_default()).into_owned();
    let (type_, coding) = (word(), word());
    let body = all.collect::<Vec<_>>().join(&b'\n');
    let (type_, coding) =
        (Some(type_).filter(|text| !text.is_empty()), Some(coding).filter(|text| !text.is_empty()));
    if let Ok(content) = read::read_body(type_.as_deref(), coding.as_deref(), &body) {
        let most = if coding.is_some() { encoding::SIZE_LIMIT } else { body.len() };
        assert!(content.text.len() <= 8 * most + 1024, "{} bytes of {most}", content.text.len());
        assert!(!content.text.contains('\u{0}'));
    }
    if let Some(type_) = &type_ {
        let _ = read::notice_in(type_, coding.as_deref(), &body, "message/imdn+xml");
    }
    if let Ok(text) = text::decode(&body, type_.as_deref()) {
        assert!(text.len() <= 3 * body.len());
    }
    let text = String::from_utf8_lossy(&body);
    for when in [date::read_rfc3339(&text), date::read_sip(&text)].into_iter().flatten() {
        assert_eq!(
            date::read_rfc3339(&date::write_rfc3339(when)).map(|when| when.0 / 1000),
            Some(when.0 / 1000)
        );
        assert_eq!(date::read_sip(&date::write_sip(when)).map(|when| when.0 / 1000), Some(when.0 / 1000));
    }
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
