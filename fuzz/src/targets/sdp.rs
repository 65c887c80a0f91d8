//! Session descriptions: a peer's offer, and the answer that we would give.

use mostar::sip::sdp::Description;
use mostar::sip::sdp::message::{Direction, Setup};
use mostar::sip::sdp::ours::{OurLine, Ours};

use super::parts;

fn line() -> OurLine {
    OurLine {
        host: "192.0.2.9".into(),
        port: 2855,
        secure: false,
        path: "msrp://192.0.2.9:2855/0aabcdefgh;tcp".into(),
        accept_types: "message/cpim text/plain",
        accept_wrapped_types: Some("text/plain"),
        max_size: Some(65_536),
        setup: Setup::Passive,
        fingerprint: None,
        cema: false,
        chatroom: None,
        direction: Direction::default(),
    }
}

/// Offers, one after another in one session: each answer has a line for each of the offer's, in their order, and is read by
/// ourselves as what it should say.
pub fn run(data: &[u8]) {
    let mut ours = Ours::new(7);
    let mut version = 0;
    for offered in parts(data) {
        let Ok(offer) = Description::parse(offered) else { continue };
        assert!(offer.len() <= 32 && offer.others().len() <= offer.len());
        for (_, line) in offer.messages() {
            let kinds = [line.accepts("text/plain"), line.accepts_wrapped("text/html"), line.is_chat()];
            let _ =
                (kinds, line.takes_nicknames(), line.takes_private_messages(), line.fingerprint().is_some());
            if let Some(fingerprint) = line.fingerprint() {
                let printed = fingerprint.to_string();
                assert_eq!(
                    mostar::sip::sdp::message::Fingerprint::read(&printed).as_ref(),
                    Some(fingerprint),
                    "{printed}"
                );
            }
        }
        let chosen = offer.chat().map(|(place, _)| place);
        let answer = ours.answer(&offer, chosen, &line());
        assert!(answer.len() <= 2 * offered.len() + 1024, "{} bytes for {}", answer.len(), offered.len());
        let read = Description::parse(&answer).unwrap_or_else(|bad| panic!("{bad}\n{}", shown(&answer)));
        assert_eq!(read.len(), offer.len(), "{}", shown(&answer));
        assert_eq!(ours.place(), chosen);
        for (place, line) in read.messages() {
            assert_eq!(line.port, if Some(place) == chosen { 2855 } else { 0 }, "{}", shown(&answer));
        }
        assert!(read.version().1 >= version);
        version = read.version().1;
    }
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
