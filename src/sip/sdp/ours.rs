//! The descriptions that we send in one session: offers and answers (RFC 3264).
//!
//! Every description of a session has the same lines in the same order as the one before (§8); a line that we do not
//! want has port 0 (§6). The version of `o=` grows by one when the text changes and stays when it does not. We have
//! at most one line in use.

use std::io::Write;

use bytes::Bytes;
use sdp_types::{AddrType, Connection, Media, NetType, Origin, Session, Time};

use super::Description;
use super::message::{Direction, Fingerprint, Setup};

/// Our MSRP line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OurLine {
    /// The address of `c=` and `o=`, without brackets: what others reach us by.
    pub host: String,
    /// The port of `m=`, which is that of the path; 9 where nobody can connect to us.
    pub port: u16,
    /// `TCP/TLS/MSRP`.
    pub secure: bool,
    /// The whole value of `a=path`.
    pub path: String,
    /// The whole value of `a=accept-types`.
    pub accept_types: &'static str,
    /// The whole value of `a=accept-wrapped-types`.
    pub accept_wrapped_types: Option<&'static str>,
    /// `a=max-size`, in bytes.
    pub max_size: Option<u64>,
    /// `a=setup`, always sent. In an offer [`Setup::ActPass`], or [`Setup::Active`] where nobody can connect to us.
    pub setup: Setup,
    /// Of our certificate.
    pub fingerprint: Option<Fingerprint>,
    /// `a=msrp-cema`.
    pub cema: bool,
    /// `a=chatroom` (RFC 7701 §8): what the room, or we as somebody in it, can do; an empty value where that is nothing
    /// more than to be a room.
    pub chatroom: Option<&'static str>,
    /// Who may send.
    pub direction: Direction,
}

/// A line of the session, as the next description must repeat it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Slot {
    Ours,
    /// In a box: most sessions have none.
    Refused(Box<Refused>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Refused {
    media: String,
    proto: String,
    fmt: String,
}

/// What we have described so far in one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ours {
    id: u64,
    version: u64,
    slots: Box<[Slot]>,
    last: Bytes,
}

impl Ours {
    /// Nothing is described yet. `id` shall not repeat; it names the session in `o=`.
    pub fn new(id: u64) -> Ours {
        Ours { id, version: 1, slots: Box::default(), last: Bytes::new() }
    }

    /// An offer: the first has our line alone, a later one the lines that the session has.
    pub fn offer(&mut self, line: &OurLine) -> Bytes {
        if self.slots.is_empty() {
            self.slots = [Slot::Ours].into();
        }
        self.describe(line, vec![Time::new(0, 0)])
    }

    /// The answer to an offer: our line stands for the one at `chosen`, all others are refused. Without one, all are.
    pub fn answer(&mut self, offer: &Description, chosen: Option<usize>, line: &OurLine) -> Bytes {
        let lines = offer.session.medias.iter().enumerate();
        self.slots = lines
            .map(|(place, media)| match Some(place) == chosen {
                true => Slot::Ours,
                false => Slot::Refused(Box::new(Refused {
                    media: media.media.clone(),
                    proto: media.proto.clone(),
                    fmt: media.fmt.clone(),
                })),
            })
            .collect();
        // RFC 3264 §6: the time is the offer's.
        self.describe(line, offer.session.times.clone())
    }

    /// The place of our line, where the answer to our offer has its line too.
    pub fn place(&self) -> Option<usize> {
        self.slots.iter().position(|slot| *slot == Slot::Ours)
    }

    fn describe(&mut self, line: &OurLine, times: Vec<Time>) -> Bytes {
        let mut text = self.print(line, times.clone());
        if text == self.last {
            return self.last.clone();
        }
        if !self.last.is_empty() {
            self.version = self.version.saturating_add(1);
            text = self.print(line, times);
        }
        // Without the room that printing left: it stays as long as the session, here and with who sends it.
        self.last = Bytes::copy_from_slice(&text);
        self.last.clone()
    }

    fn print(&self, line: &OurLine, times: Vec<Time>) -> Vec<u8> {
        let family = if line.host.contains(':') { AddrType::Ip6 } else { AddrType::Ip4 };
        let origin = Origin::new(self.id, self.version, NetType::In, family.clone(), &line.host);
        let mut session = Session::new(origin, "-");
        session.connection = Some(Connection::new(NetType::In, family, &line.host));
        session.times = times;
        session.medias = self.slots.iter().map(|slot| media_of(slot, line)).collect();
        let mut out = Printed(Vec::with_capacity(1024));
        // Writing into memory does not fail; what was not written would be refused by who reads it.
        let _ = session.write(&mut out);
        out.0
    }
}

/// What the library prints into: it looks at each character, and mostly writes them one by one.
struct Printed(Vec<u8>);

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match bytes {
            [byte] => self.0.push(*byte),
            bytes => self.0.extend_from_slice(bytes),
        }
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn media_of(slot: &Slot, line: &OurLine) -> Media {
    let plain = |media: &str, port, proto: &str, fmt: &str| Media {
        media: media.to_owned(),
        port,
        num_ports: None,
        proto: proto.to_owned(),
        fmt: fmt.to_owned(),
        media_title: None,
        connections: Vec::new(),
        bandwidths: Vec::new(),
        key: None,
        attributes: Vec::new(),
    };
    let proto = if line.secure { "TCP/TLS/MSRP" } else { "TCP/MSRP" };
    let mut media = match slot {
        Slot::Refused(line) => return plain(&line.media, 0, &line.proto, &line.fmt),
        Slot::Ours => plain("message", line.port, proto, "*"),
    };
    media.add_attribute_with_value("path", &line.path);
    media.add_attribute_with_value("accept-types", line.accept_types);
    if let Some(types) = line.accept_wrapped_types {
        media.add_attribute_with_value("accept-wrapped-types", types);
    }
    if let Some(size) = line.max_size {
        media.add_attribute_with_value("max-size", size);
    }
    media.add_attribute_with_value("setup", line.setup.as_str());
    if let Some(fingerprint) = &line.fingerprint {
        media.add_attribute_with_value("fingerprint", fingerprint);
    }
    if line.cema {
        media.add_attribute_from_str("msrp-cema");
    }
    match line.chatroom {
        Some("") => media.add_attribute_from_str("chatroom"),
        Some(can) => media.add_attribute_with_value("chatroom", can),
        None => {}
    }
    if line.direction != Direction::SendRecv {
        media.add_attribute_from_str(line.direction.as_str());
    }
    media
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> OurLine {
        OurLine {
            host: "192.0.2.9".into(),
            port: 2855,
            secure: false,
            path: "msrp://192.0.2.9:2855/2aabc;tcp".into(),
            accept_types: "message/cpim text/plain",
            accept_wrapped_types: Some("*"),
            max_size: Some(100_000),
            setup: Setup::ActPass,
            fingerprint: None,
            cema: false,
            chatroom: None,
            direction: Direction::SendRecv,
        }
    }

    fn text(bytes: &Bytes) -> &str {
        std::str::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn an_offer_says_what_an_msrp_client_needs() {
        assert_eq!(
            text(&Ours::new(7).offer(&line())),
            "v=0\r\no=- 7 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
             m=message 2855 TCP/MSRP *\r\na=path:msrp://192.0.2.9:2855/2aabc;tcp\r\n\
             a=accept-types:message/cpim text/plain\r\na=accept-wrapped-types:*\r\na=max-size:100000\r\n\
             a=setup:actpass\r\n"
        );
        let secure = OurLine {
            host: "2001:db8::9".into(),
            secure: true,
            cema: true,
            fingerprint: Some(Fingerprint { function: "sha-256".into(), value: vec![0xa, 0xbc] }),
            direction: Direction::Inactive,
            ..line()
        };
        let bytes = Ours::new(7).offer(&secure);
        let expected = "a=setup:actpass\r\na=fingerprint:sha-256 0A:BC\r\na=msrp-cema\r\na=inactive\r\n";
        assert!(
            text(&bytes).ends_with(expected) && text(&bytes).contains("c=IN IP6 2001:db8::9"),
            "{bytes:?}"
        );
        let read = Description::parse(&bytes).expect("a description").message(0).expect("a line");
        assert!(read.secure && read.cema && read.direction == Direction::Inactive);
    }

    #[test]
    fn a_room_says_what_it_can_do() {
        for (chatroom, nicknames, private) in [
            (None, false, false),
            (Some(""), false, false),
            (Some("nickname"), true, false),
            (Some("nickname private-messages"), true, true),
        ] {
            let bytes = Ours::new(7).offer(&OurLine { chatroom, ..line() });
            let read = Description::parse(&bytes).expect("a description").message(0).expect("a line");
            assert_eq!(read.chatroom.is_some(), chatroom.is_some(), "{bytes:?}");
            assert_eq!((read.takes_nicknames(), read.takes_private_messages()), (nicknames, private));
        }
    }

    #[test]
    fn the_version_grows_only_with_a_change() {
        let mut ours = Ours::new(7);
        let first = ours.offer(&line());
        assert_eq!(ours.offer(&line()), first);
        let held = ours.offer(&OurLine { direction: Direction::Inactive, ..line() });
        assert!(text(&held).contains("o=- 7 2 IN"), "{held:?}");
        assert!(text(&ours.offer(&line())).contains("o=- 7 3 IN"));
    }

    #[test]
    fn an_answer_refuses_every_other_line_at_its_place() {
        let offer = "v=0\r\no=- 1 1 IN IP4 a\r\ns=-\r\nc=IN IP4 a\r\nt=3034423619 3042462419\r\n\
            m=audio 4000 RTP/AVP 0 8\r\nm=message 5 TCP/MSRP *\r\na=path:msrp://a:5/x;tcp\r\n\
            m=message 5 TCP/MSRP *\r\na=path:msrp://a:5/y;tcp\r\n";
        let offer = Description::parse(offer.as_bytes()).expect("a description");
        let mut ours = Ours::new(7);
        let answer = ours.answer(&offer, Some(1), &OurLine { setup: Setup::Passive, ..line() });
        let lines: Vec<&str> = text(&answer).lines().filter(|line| line.starts_with(['m', 't'])).collect();
        let refused = "m=message 0 TCP/MSRP *";
        let expected =
            ["t=3034423619 3042462419", "m=audio 0 RTP/AVP 0 8", "m=message 2855 TCP/MSRP *", refused];
        assert_eq!(lines, expected);
        assert_eq!(ours.place(), Some(1));
        let again = ours.offer(&line());
        assert!(text(&again).contains("m=audio 0 RTP/AVP 0 8\r\nm=message 2855"), "lines keep their places");
        let none = ours.answer(&offer, None, &line());
        assert!(text(&none).lines().filter(|line| line.starts_with('m')).all(|line| line.contains(" 0 ")));
    }

    #[test]
    fn nothing_breaks_a_line_and_what_changes_has_a_new_version() {
        let mut ours = Ours::new(7);
        let evil = ours.offer(&OurLine { path: "msrp://a\r\nm=audio 1 RTP/AVP 0".into(), ..line() });
        assert_eq!(text(&evil).lines().filter(|line| line.starts_with("m=")).count(), 1);
        assert!(text(&ours.offer(&line())).contains("o=- 7 2 IN"));
    }
}
