//! What one MSRP line of a session description says (RFC 4975 §8, RFC 6135, RFC 6714, RFC 5547, RFC 7701).
//!
//! Read loosely: names in any case, attributes at the level of the session where a client has put them there. What
//! cannot be understood is as if it were not there.

use std::fmt;

/// Who opens the connection (RFC 4145, RFC 6135 §4.2). `holdconn` is read as nothing, as RFC 6135 §4.2.1 says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// The one who says it.
    Active,
    /// The other one.
    Passive,
    /// Either: the answer decides.
    ActPass,
}

impl Setup {
    fn read(text: &str) -> Option<Setup> {
        [Setup::Active, Setup::Passive, Setup::ActPass]
            .into_iter()
            .find(|one| one.as_str().eq_ignore_ascii_case(text.trim()))
    }

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Setup::Active => "active",
            Setup::Passive => "passive",
            Setup::ActPass => "actpass",
        }
    }

    /// What is answered to an offer. Passive, unless the offerer insists on being it, which RFC 6135 forbids him;
    /// who says nothing opens the connection himself (RFC 4975 §5.4).
    pub fn answer_to(offer: Option<Setup>) -> Setup {
        if offer == Some(Setup::Passive) { Setup::Active } else { Setup::Passive }
    }

    /// Whether we open the connection after this answer to an offer of ours that said `self`.
    pub fn connects_after(self, answer: Option<Setup>) -> bool {
        match self {
            Setup::Active => true,
            Setup::Passive => false,
            Setup::ActPass => answer != Some(Setup::Active),
        }
    }
}

/// Who may send (RFC 8866 §6.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Both; what is meant where nothing is said.
    #[default]
    SendRecv,
    /// Who says it; the other one is on hold.
    SendOnly,
    /// Who hears it.
    RecvOnly,
    /// Nobody.
    Inactive,
}

impl Direction {
    fn read(name: &str) -> Option<Direction> {
        [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive]
            .into_iter()
            .find(|one| one.as_str().eq_ignore_ascii_case(name))
    }

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        }
    }

    /// What is answered to it by who would like both (RFC 3264 §6.1).
    pub fn answer(self) -> Direction {
        match self {
            Direction::SendOnly => Direction::RecvOnly,
            Direction::RecvOnly => Direction::SendOnly,
            same => same,
        }
    }

    /// Whether the one who hears it may send.
    pub fn lets_us_send(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }
}

/// The hash of a certificate (RFC 8122 §5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// The function in lower case: `sha-256`.
    pub function: String,
    /// The value.
    pub value: Vec<u8>,
}

impl Fingerprint {
    /// Reads one as it stands in a description: `sha-256 4A:AD:…`.
    pub fn read(text: &str) -> Option<Fingerprint> {
        let (function, value) = text.trim().split_once(' ')?;
        let octet = |pair: &str| (pair.len() == 2).then(|| u8::from_str_radix(pair, 16).ok()).flatten();
        let value: Option<Vec<u8>> = value.trim().split(':').map(octet).collect();
        Some(Fingerprint { function: function.to_ascii_lowercase(), value: value? })
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.function)?;
        for (number, octet) in self.value.iter().enumerate() {
            write!(out, "{}{octet:02X}", if number == 0 { ' ' } else { ':' })?;
        }
        Ok(())
    }
}

/// One MSRP line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageLine {
    /// The port of `m=`; zero means refused or switched off.
    pub port: u16,
    /// `TCP/TLS/MSRP`.
    pub secure: bool,
    /// The URIs of `a=path`, relays first, the peer last.
    pub path: Vec<String>,
    /// `a=accept-types`, in lower case and without parameters.
    pub accept_types: Vec<String>,
    /// `a=accept-wrapped-types`, the same way.
    pub accept_wrapped_types: Vec<String>,
    /// `a=max-size`, in bytes.
    pub max_size: Option<u64>,
    /// `a=setup`.
    pub setup: Option<Setup>,
    /// `a=fingerprint`, each that could be read.
    pub fingerprints: Vec<Fingerprint>,
    /// `a=msrp-cema` (RFC 6714): the address to connect to may be that of `c=` and `m=`.
    pub cema: bool,
    /// The address of `c=`.
    pub address: Option<String>,
    /// `a=chatroom` (RFC 7701 §8.1), with what the room can do.
    pub chatroom: Option<Vec<String>>,
    /// It is about a file (RFC 5547).
    pub file: bool,
    /// Who may send.
    pub direction: Direction,
}

/// Whether a media line is for MSRP.
pub(super) fn is_msrp(media: &sdp_types::Media) -> bool {
    media.media.eq_ignore_ascii_case("message")
        && ["TCP/MSRP", "TCP/TLS/MSRP"].iter().any(|known| known.eq_ignore_ascii_case(&media.proto))
}

impl MessageLine {
    pub(super) fn read(session: &sdp_types::Session, media: &sdp_types::Media) -> Option<MessageLine> {
        if !is_msrp(media) {
            return None;
        }
        let all = || media.attributes.iter().chain(&session.attributes);
        let values = |name: &'static str| {
            all()
                .filter(move |one| one.attribute.eq_ignore_ascii_case(name))
                .map(|one| one.value.as_deref().unwrap_or_default().trim())
        };
        let first = |name| values(name).next();
        let words = |name| -> Vec<String> {
            let types = first(name).unwrap_or_default().split_ascii_whitespace();
            types.map(|one| one.split(';').next().unwrap_or_default().to_ascii_lowercase()).collect()
        };
        let is_file = |one: &sdp_types::Attribute| {
            ["file-selector", "file-transfer-id"].iter().any(|name| one.attribute.eq_ignore_ascii_case(name))
        };
        let connection = media.connections.first().or(session.connection.as_ref());
        Some(MessageLine {
            port: media.port,
            secure: media.proto.to_ascii_uppercase().contains("TLS"),
            path: first("path").unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect(),
            accept_types: words("accept-types"),
            accept_wrapped_types: words("accept-wrapped-types"),
            max_size: first("max-size").and_then(|size| size.parse().ok()),
            setup: first("setup").and_then(Setup::read),
            fingerprints: values("fingerprint").filter_map(Fingerprint::read).collect(),
            cema: first("msrp-cema").is_some(),
            address: connection.map(|one| one.connection_address.clone()),
            chatroom: first("chatroom").map(|_| words("chatroom")),
            file: media.attributes.iter().any(is_file),
            direction: all().find_map(|one| Direction::read(&one.attribute)).unwrap_or_default(),
        })
    }

    /// Whether nicknames can be asked for (RFC 7701 §8; its text also spells the token `nicknames`).
    pub fn takes_nicknames(&self) -> bool {
        self.can("nickname") || self.can("nicknames")
    }

    /// Whether messages to one person of the room can be sent, or are told from the others (RFC 7701 §8).
    pub fn takes_private_messages(&self) -> bool {
        self.can("private-messages")
    }

    fn can(&self, token: &str) -> bool {
        self.chatroom.iter().flatten().any(|known| known == token)
    }

    /// Whether a chat can use it: not refused, with a path, and not for a file.
    pub fn is_chat(&self) -> bool {
        self.port != 0 && !self.path.is_empty() && !self.file
    }

    /// The fingerprint by the best function that is known (RFC 8122 §5.1: one of them decides).
    pub fn fingerprint(&self) -> Option<&Fingerprint> {
        let known = ["sha-1", "sha-256", "sha-384", "sha-512"];
        let rank = |one: &&Fingerprint| known.iter().position(|name| *name == one.function);
        self.fingerprints.iter().rev().max_by_key(rank)
    }

    /// Whether `kind` may be sent as it is. A line without `accept-types`, which RFC 4975 §8.6 demands, takes plain
    /// text.
    pub fn accepts(&self, kind: &str) -> bool {
        match &self.accept_types[..] {
            [] => kind == "text/plain",
            types => matches_any(types, kind),
        }
    }

    /// Whether `kind` may be sent inside a container such as `message/cpim`: what may stand alone may stand there too.
    pub fn accepts_wrapped(&self, kind: &str) -> bool {
        matches_any(&self.accept_wrapped_types, kind) || self.accepts(kind)
    }
}

/// Whether one of `types` is `kind`, or a wildcard for it.
fn matches_any(types: &[String], kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    types.iter().any(|known| {
        known == "*"
            || known == "*/*"
            || *known == kind
            || known.strip_suffix('*').is_some_and(|family| family.ends_with('/') && kind.starts_with(family))
    })
}

#[cfg(test)]
mod tests {
    use super::super::Description;
    use super::*;

    fn line(attributes: &str) -> MessageLine {
        let text = format!(
            "v=0\r\no=- 1 1 IN IP6 ::1\r\ns=-\r\nc=IN IP6 2001:db8::7\r\nt=0 0\r\na=setup:active\r\n\
             m=message 2855 tcp/tls/msrp *\r\na=path:msrps://r.example:2855/a;tcp msrps://c.example:9/b;tcp\r\n{attributes}"
        );
        Description::parse(text.as_bytes()).expect("a description").message(0).expect("a line")
    }

    #[test]
    fn a_line_is_read_with_what_the_session_says_for_it() {
        let line = line(
            "a=accept-types:message/CPIM text/plain;charset=utf-8\r\na=max-size:10000\r\na=msrp-cema\r\n\
             a=fingerprint:SHA-1 4a:AD\r\na=fingerprint:sha-256 zz\r\na=chatroom:nickname Private-Messages\r\na=RecvOnly\r\n",
        );
        assert!(line.secure && line.cema && line.is_chat());
        assert_eq!(line.path, ["msrps://r.example:2855/a;tcp", "msrps://c.example:9/b;tcp"]);
        assert_eq!(line.accept_types, ["message/cpim", "text/plain"]);
        assert_eq!((line.max_size, line.setup), (Some(10000), Some(Setup::Active)));
        assert_eq!(line.fingerprints.iter().map(ToString::to_string).collect::<Vec<_>>(), ["sha-1 4A:AD"]);
        let best = self::line(
            "a=fingerprint:md5 00\r\na=fingerprint:SHA-1 01\r\na=fingerprint:sha-256 02\r\na=fingerprint:sha-1 03\r\n",
        );
        assert_eq!(best.fingerprint().map(ToString::to_string).as_deref(), Some("sha-256 02"));
        assert_eq!(line.chatroom, Some(vec!["nickname".into(), "private-messages".into()]));
        assert_eq!(line.address.as_deref(), Some("2001:db8::7"));
        assert_eq!((line.direction, line.direction.answer()), (Direction::RecvOnly, Direction::SendOnly));
    }

    #[test]
    fn wildcards_match_in_both_lists() {
        let line = line("a=accept-types:message/cpim text/*\r\na=accept-wrapped-types:image/png *\r\n");
        for (kind, alone, wrapped) in [
            ("message/cpim", true, true),
            ("TEXT/plain", true, true),
            ("textual/x", false, true),
            ("image/png", false, true),
        ] {
            assert_eq!((line.accepts(kind), line.accepts_wrapped(kind)), (alone, wrapped), "{kind}");
        }
    }

    #[test]
    fn a_line_without_types_takes_plain_text() {
        let line = line("");
        assert!(line.accepts("text/plain") && !line.accepts("message/cpim"));
    }

    #[test]
    fn who_connects_follows_rfc_6135() {
        assert_eq!(line("a=setup:holdconn\r\n").setup, None);
        for (offer, answer) in [
            (Some(Setup::ActPass), Setup::Passive),
            (Some(Setup::Active), Setup::Passive),
            (Some(Setup::Passive), Setup::Active),
            (None, Setup::Passive),
        ] {
            assert_eq!(Setup::answer_to(offer), answer);
        }
        assert!(Setup::ActPass.connects_after(None) && Setup::ActPass.connects_after(Some(Setup::Passive)));
        assert!(!Setup::ActPass.connects_after(Some(Setup::Active)));
        assert!(Setup::Active.connects_after(Some(Setup::Passive)));
    }
}
