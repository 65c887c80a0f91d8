//! Session descriptions (RFC 8866) as far as chat sessions need them: lines for MSRP (RFC 4975 §8) are understood,
//! all others are counted, so that an answer can refuse each at its place (RFC 3264 §6).
//!
//! `sdp-types` reads and prints; what it reads it keeps whole. [`message`] is what one MSRP line says, [`ours`] makes
//! offers and answers and counts their versions. Nothing here knows what an MSRP URI means: paths are text.

pub mod message;
pub mod ours;

use std::fmt;

use self::message::MessageLine;

/// The media type of what is read and printed here.
pub const TYPE: &str = "application/sdp";

/// Longer descriptions are not read: a chat has 400 bytes, a browser's video offer 10 kB.
const LENGTH: usize = 64 * 1024;
/// More lines would make an answer that nobody wants to carry.
const LINES: usize = 32;

/// Why something is no session description; reads as a reason phrase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadSdp(pub String);

impl fmt::Display for BadSdp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// What a peer offers or answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    session: sdp_types::Session,
}

impl Description {
    /// Reads a description. Bytes that are no UTF-8 are replaced: they stand in names that nobody compares.
    pub fn parse(bytes: &[u8]) -> Result<Description, BadSdp> {
        if bytes.len() > LENGTH {
            return Err(BadSdp(format!("the session description has more than {LENGTH} bytes")));
        }
        let text = String::from_utf8_lossy(bytes);
        let session =
            sdp_types::Session::parse(text.as_bytes()).map_err(|error| BadSdp(error.to_string()))?;
        if session.medias.len() > LINES {
            return Err(BadSdp(format!("the session description has more than {LINES} media lines")));
        }
        Ok(Description { session })
    }

    /// Identity and version of the description (`o=`): an unchanged version means that nothing changed (RFC 3264 §8).
    pub fn version(&self) -> (&str, u64) {
        (&self.session.origin.sess_id, self.session.origin.sess_version)
    }

    /// How many media lines there are.
    pub fn len(&self) -> usize {
        self.session.medias.len()
    }

    /// There is none: an empty offer.
    pub fn is_empty(&self) -> bool {
        self.session.medias.is_empty()
    }

    /// The MSRP lines by their places, refused ones and those for files among them.
    pub fn messages(&self) -> Vec<(usize, MessageLine)> {
        let lines = self.session.medias.iter().enumerate();
        lines.filter_map(|(place, media)| Some((place, MessageLine::read(&self.session, media)?))).collect()
    }

    /// The line at a place, if it is one for MSRP.
    pub fn message(&self, place: usize) -> Option<MessageLine> {
        MessageLine::read(&self.session, self.session.medias.get(place)?)
    }

    /// The first line that a chat can use, with its place.
    pub fn chat(&self) -> Option<(usize, MessageLine)> {
        self.messages().into_iter().find(|(_, line)| line.is_chat())
    }

    /// The kinds of media that are offered besides MSRP and not switched off: `audio`, `video`.
    pub fn others(&self) -> Vec<&str> {
        let media = self.session.medias.iter();
        let others = media.filter(|media| media.port != 0 && !message::is_msrp(media));
        others.map(|media| media.media.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shape of what clients of the SIP SIMPLE SDK write.
    pub(super) const SDK: &str = "v=0\r\no=- 4004159384 4004159384 IN IP4 192.0.2.7\r\ns=client\r\nt=0 0\r\n\
        m=message 39461 TCP/MSRP *\r\nc=IN IP4 192.0.2.7\r\n\
        a=path:msrp://192.0.2.7:39461/963cdeb3e3a09218098d;tcp\r\n\
        a=accept-types:message/cpim text/* image/* application/im-iscomposing+xml\r\n\
        a=accept-wrapped-types:text/* image/* application/im-iscomposing+xml\r\na=setup:actpass\r\n";

    #[test]
    fn a_chat_is_found_beside_audio_and_behind_a_file() {
        let text = SDK.replace(
            "m=message",
            "m=audio 4000 RTP/AVP 0\r\na=sendrecv\r\nm=message 9 TCP/MSRP *\r\na=sendonly\r\n\
             a=path:msrp://192.0.2.7:9/f;tcp\r\na=file-selector:name:\"x\"\r\nm=message",
        );
        let sdp = Description::parse(text.as_bytes()).expect("a description");
        assert_eq!((sdp.len(), sdp.others()), (3, vec!["audio"]));
        assert_eq!(sdp.chat().map(|(place, _)| place), Some(2));
        assert!(sdp.message(1).is_some_and(|line| line.file && !line.is_chat()));
        assert!(sdp.message(0).is_none() && sdp.message(9).is_none());
        assert_eq!(sdp.version(), ("4004159384", 4004159384));
    }

    #[test]
    fn what_is_no_description_says_why() {
        assert!(Description::parse(b"hello").is_err());
        assert!(Description::parse(&vec![b'x'; LENGTH + 1]).is_err());
        let many =
            format!("v=0\r\no=- 1 1 IN IP4 a\r\ns=-\r\nt=0 0\r\n{}", "m=audio 9 RTP/AVP 0\r\n".repeat(33));
        assert!(Description::parse(many.as_bytes()).is_err());
    }

    #[test]
    fn bare_line_feeds_and_foreign_bytes_are_read() {
        let mut bytes = SDK.replace("\r\n", "\n").into_bytes();
        let at = bytes.windows(8).position(|eight| eight == b"s=client").expect("a name");
        bytes[at + 2] = 0xe9;
        assert!(Description::parse(&bytes).is_ok_and(|sdp| sdp.chat().is_some()));
    }
}
