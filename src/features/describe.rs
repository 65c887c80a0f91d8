//! What stands between chats, rooms and session descriptions: our line, their line, whose device a Contact is.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::LazyLock;

use crate::config::egress::{Around, Policy, Refusal};
use crate::documents::cpim;
use crate::documents::mime::{self, Inside};
use crate::features::devices::Ability;
use crate::features::sessions::Route;
use crate::features::{Cx, content};
use crate::msrp::Behalf;
use crate::msrp::path::Path;
use crate::msrp::session::{Role, Terms};
use crate::msrp::uri::{Hop, Host, Uri};
use crate::sip::message::{self, HeaderName, Headers, Reply};
use crate::sip::sdp::message::{Direction, Fingerprint, MessageLine, Setup};
use crate::sip::sdp::ours::OurLine;
use crate::sip::sdp::{self, Description};
use crate::sip::uri::{Aor, SipAddress};
use crate::sip::usage::session::Body;
use crate::words::id::Partition;
use crate::xmpp::jid::Jid;

/// What is taken in a session as it is: what is taken in a MESSAGE.
static TYPES: LazyLock<String> = LazyLock::new(|| accepted(false));
/// What is taken in CPIM: all of it but another envelope. RFC 7573 writes `*` there, but a picture would be refused.
static WRAPPED_TYPES: LazyLock<String> = LazyLock::new(|| accepted(true));

fn accepted(wrapped: bool) -> String {
    let types = content::ACCEPT.split(", ").filter(|type_| !wrapped || *type_ != cpim::TYPE);
    types.collect::<Vec<_>>().join(" ")
}

/// The port of a line that nobody can connect to.
const NOWHERE: u16 = 9;

/// Which kinds of MSRP we can be reached by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    /// Without TLS.
    pub plain: bool,
    /// With TLS.
    pub secure: bool,
    /// Through a relay of our own, which is reached by whatever there is.
    pub relay: bool,
}

impl Ways {
    /// As configured.
    pub fn of(cx: &Cx<'_>) -> Ways {
        let has = |secure| cx.config.msrp.path_host(secure, None).is_some();
        Ways { plain: has(false), secure: has(true), relay: cx.config.msrp.relay.is_some() }
    }

    /// Whether a session can come about on a line: somebody can be connected to. With TLS that may be the other side
    /// alone, since only who is connected to needs a certificate (RFC 6135 §4.3).
    pub fn fit(self, line: &MessageLine) -> bool {
        let they_listen = matches!(line.setup, Some(Setup::ActPass | Setup::Passive));
        match line.secure {
            _ if self.relay => true,
            true => self.secure || they_listen && self.plain,
            false => self.plain,
        }
    }

    /// What we answer to the `a=setup` of a line that fits.
    pub fn setup(self, line: &MessageLine) -> Setup {
        let we_listen = if line.secure { self.secure } else { self.plain };
        if we_listen || self.relay { Setup::answer_to(line.setup) } else { Setup::Active }
    }
}

/// A URI of ours for a new session of this user; `near`: an address of theirs. Without a listener of its kind it has the
/// port of nobody.
pub fn own_uri(cx: &mut Cx<'_>, user: &Jid, secure: bool, near: Option<&str>) -> Option<Uri> {
    let near = near.and_then(|near| near.trim_matches(['[', ']']).parse().ok());
    let listener = cx.config.msrp.path_host(secure, near);
    let (host, port) = listener.or_else(|| {
        let (host, _) = cx.config.msrp.path_host(!secure, near)?;
        Some((host, NOWHERE))
    })?;
    Some(Uri::mint(cx.mint, Partition::of(user.bare_str()), secure, &host, port))
}

/// A URI of ours behind a relay, which nobody connects to.
pub fn relayed_uri(cx: &mut Cx<'_>, user: &Jid) -> Uri {
    let listener = cx.config.msrp.listen.first().map(|listen| Host::Ip(listen.address.ip()));
    let host = cx.config.msrp.advertise.clone().or(listener).unwrap_or(Host::Ip(Ipv4Addr::LOCALHOST.into()));
    Uri::mint(cx.mint, Partition::of(user.bare_str()), true, &host, NOWHERE)
}

/// Our line of an offer, and of an answer to `theirs`. RFC 6714 §4.2, §4.3: with relays it is left out of an answer.
pub fn our_line(
    cx: &Cx<'_>,
    own: &Path,
    theirs: Option<&MessageLine>,
    setup: Setup,
    direction: Direction,
) -> OurLine {
    // A relay of our own is the first that they meet; `m=` is about the endpoint (RFC 4975 §8.1).
    let (met, end, is_direct) = (own.first(), own.last(), !own.has_relay());
    OurLine {
        host: end.host().to_string().trim_matches(['[', ']']).to_owned(),
        port: end.port().unwrap_or(NOWHERE),
        // An answer has the transport of its offer (RFC 3264 §6.1).
        secure: theirs.map_or(met.is_secure(), |line| line.secure),
        path: own.to_string(),
        accept_types: TYPES.as_str(),
        accept_wrapped_types: Some(WRAPPED_TYPES.as_str()),
        max_size: Some(cx.config.messages.max_message as u64),
        setup,
        fingerprint: cx
            .config
            .msrp
            .fingerprint()
            .filter(|_| is_direct && met.is_secure())
            .and_then(Fingerprint::read),
        cema: is_direct && theirs.is_none_or(anchors),
        chatroom: None,
        direction,
    }
}

/// The same for a room: all that is said in one is in CPIM (RFC 7701 §5.2).
pub fn room_line(line: OurLine) -> OurLine {
    OurLine { accept_types: cpim::TYPE, chatroom: Some("nickname private-messages"), ..line }
}

/// The description in a body, also where it is a part of a multipart body; what is wrong with it otherwise.
pub fn read(body: &Body) -> Result<Description, String> {
    let is_plain = !body.kind.trim_start().to_ascii_lowercase().starts_with("multipart/");
    if is_plain {
        return Description::parse(&body.bytes).map_err(|bad| bad.to_string());
    }
    let parts = mime::parts(&body.kind, &body.bytes).ok_or("The body is not the multipart that it says")?;
    let (main, sub) = sdp::TYPE.split_once('/').unwrap_or_default();
    let found = parts.iter().find_map(|part| match &part.inside {
        Inside::Bytes(bytes) if part.media.is(main, sub) => Some(bytes),
        _ => None,
    });
    let bytes = found.ok_or("There is no session description in the body")?;
    Description::parse(bytes).map_err(|bad| bad.to_string())
}

/// An offer with a chat in it that is possible here.
#[derive(Debug)]
pub struct Offered {
    /// All of it.
    pub description: Description,
    /// The place of the chat's line.
    pub place: usize,
    /// That line.
    pub line: MessageLine,
    /// Its path.
    pub path: Path,
}

/// The first line for a chat whose path can be used.
pub fn chat_line(description: &Description, ways: Ways) -> Option<(usize, MessageLine, Path)> {
    description.messages().into_iter().find_map(|(place, line)| {
        let path = path_of(&line).filter(|_| line.is_chat() && takes_text(&line) && ways.fit(&line))?;
        Some((place, line, path))
    })
}

/// The line for a room in an offer; else why it is refused.
pub fn offered_room(cx: &Cx<'_>, body: &Body) -> Result<MessageLine, (Reply, &'static str)> {
    let refuse = |code: u16, words: &str| Err((not_acceptable(cx, code, words), "media"));
    let description = match read(body) {
        Ok(description) => description,
        Err(words) => return Err((Reply::new(400).because(words), "malformed")),
    };
    let lines: Vec<MessageLine> = description.messages().into_iter().map(|(_, line)| line).collect();
    match chat_line(&description, Ways::of(cx)) {
        Some((_, line, _)) if line.accepts(cpim::TYPE) => Ok(line),
        // RFC 3261 §20.43: 305 incompatible media format.
        Some(_) => refuse(305, "A room needs message/cpim among the accept-types"),
        None if lines.iter().any(MessageLine::is_chat) => refuse(302, "The MSRP line cannot be used here"),
        None => refuse(304, "Only chat by MSRP is possible in this room"),
    }
}

/// 488 with a Warning (RFC 3261 §20.43).
pub fn not_acceptable(cx: &Cx<'_>, code: u16, words: &str) -> Reply {
    let host = cx.config.sip.advertise.as_ref().map_or_else(|| "localhost".to_owned(), Host::to_string);
    let warning = format!("{code} {host} \"{words}\"");
    Reply::new(488).because(words).with(message::other("Warning"), warning)
}

/// Whether a middlebox may anchor the session with this line of theirs (RFC 6714).
pub fn anchors(line: &MessageLine) -> bool {
    line.cema && line.path.len() == 1
}

/// What is connected to for a line: the place of `c=` and `m=`, where both sides are ready for a middlebox there.
fn anchor_of(line: &MessageLine, path: &Path) -> Option<Hop> {
    let host = line.address.as_deref().filter(|_| anchors(line)).and_then(|address| {
        let address = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        Host::parse(&address)
    })?;
    Some(Hop { host, port: Some(line.port), ..path.first().hop() })
}

/// Whether texts can be shown at the other end: what is offered may be pictures of a screen.
pub fn takes_text(line: &MessageLine) -> bool {
    line.accepts("text/plain") || line.accepts(cpim::TYPE)
}

/// The path of a line.
pub fn path_of(line: &MessageLine) -> Option<Path> {
    Path::parse(&line.path.join(" ")).ok()
}

/// What the two descriptions have settled.
pub fn terms(line: &MessageLine, path: Path, active: bool, peer: usize) -> Terms {
    let anchor = anchor_of(line, &path);
    Terms {
        path,
        role: if active { Role::Active } else { Role::Passive },
        behalf: Behalf::Peer(peer),
        anchor,
        fingerprint: line.fingerprint().map(ToString::to_string),
        max_size: line.max_size,
    }
}

/// Why the path of a line is not connected to, where that can be said before DNS is asked: with the address, and the key
/// that would allow it.
pub fn forbidden(cx: &Cx<'_>, line: &MessageLine, peer: usize) -> Option<String> {
    let ways = Ways::of(cx);
    if ways.relay || ways.setup(line) != Setup::Active {
        return None;
    }
    let path = path_of(line)?;
    let hop = anchor_of(line, &path).unwrap_or_else(|| path.first().hop());
    let Host::Ip(address) = hop.host else { return None };
    let at = SocketAddr::new(address, hop.port?);
    let policy = Policy::new(cx.config);
    let peer = cx.config.sip.peers.get(peer);
    let own = peer.map(|peer| peer.host.parse().into_iter().collect::<Vec<IpAddr>>()).unwrap_or_default();
    let networks = peer.map(|peer| peer.networks.as_slice()).unwrap_or_default();
    let around = Around { peer: &own, networks, is_named: false, aliases: &[], is_here: &|_| false };
    match policy.judge(at, around) {
        // A peer that is a name may be near it.
        Err(Refusal::Unnamed(_)) if own.is_empty() => None,
        Err(refusal) => Some(format!("{at} is {refusal}")),
        Ok(_) => None,
    }
}

/// A device, by what its Contact says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// As the facts name it.
    pub name: String,
    /// Its `gr`, where the Contact is a GRUU of the contact's own.
    pub gr: Option<String>,
}

impl Device {
    /// Of a message's Contact; `gr` as From has it where Contact has none.
    pub fn of(cx: &Cx<'_>, headers: &Headers, contact: &Aor, from: Option<&str>) -> Device {
        let uri = message::address(headers, &HeaderName::Contact).map(|address| address.uri);
        let own = uri.as_ref().and_then(|uri| SipAddress::of(uri).ok()).filter(|address| {
            address.aor == *contact || cx.domains.known_as(&address.aor).as_ref() == Some(contact)
        });
        let gr = own.and_then(|address| address.gr).or_else(|| from.map(str::to_owned));
        let uri = || uri.map(|uri| String::from_utf8_lossy(&uri.to_bytes()).into_owned());
        let name = gr.clone().or_else(uri).unwrap_or_default();
        Device { name, gr }
    }
}

/// What a device calls itself: a client's User-Agent, a server's Server.
pub fn agent(headers: &Headers) -> Option<String> {
    message::text(headers, &HeaderName::UserAgent).or_else(|| message::text(headers, &HeaderName::Server))
}

/// What a device says of itself by Allow, which is rarely much.
pub fn allowed(cx: &mut Cx<'_>, headers: &Headers, contact: &Aor, device: &str) {
    if headers.count(&HeaderName::Allow) == 0 {
        return;
    }
    let methods = message::list(headers, &HeaderName::Allow);
    for (method, ability) in [("MESSAGE", Ability::Message), ("INVITE", Ability::Invite)] {
        let can = methods.iter().any(|known| known == method);
        cx.facts.devices.shows(cx.now.tick, contact, device, ability, can);
    }
}

/// By whom a session of this contact's goes or came.
pub fn route<'a>(cx: &Cx<'a>, peer: usize, contact: &'a Aor, agent: Option<&'a str>) -> Route<'a> {
    let via = cx.config.sip.peers.get(peer).map_or("", |peer| peer.uri.as_str());
    Route { agent, via, domain: &contact.host }
}

/// The value of an MSRP header of MIME.
pub fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
}

/// What a MESSAGE with such a body would be answered, as the code of an MSRP response.
pub fn code_of(reply: &Reply) -> u16 {
    match reply.status {
        code @ (413 | 415) => code,
        _ => 400,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Ways = Ways { plain: true, secure: false, relay: false };

    #[test]
    fn a_session_takes_what_a_message_takes_and_no_envelope_in_an_envelope() {
        assert!(accepted(false).contains("message/cpim") && !accepted(true).contains("message/cpim"));
        assert!(accepted(true).contains("application/im-iscomposing+xml message/imdn+xml"));
    }

    #[test]
    fn the_description_is_found_among_other_parts() {
        let sdp = "v=0\r\no=- 1 1 IN IP4 a\r\ns=-\r\nt=0 0\r\nm=message 5 TCP/MSRP *\r\na=path:msrp://a:5/x;tcp\r\n";
        let body = Body {
            kind: "multipart/mixed;boundary=b".into(),
            bytes: format!(
                "--b\r\nContent-Type: text/plain\r\n\r\nhi\r\n--b\r\nContent-Type: application/sdp\r\n\r\n{sdp}\r\n--b--\r\n"
            )
            .into(),
        };
        let description = read(&body).expect("a description");
        assert_eq!(chat_line(&description, PLAIN).map(|(place, ..)| place), Some(0));
        assert!(read(&Body { kind: "multipart/mixed;boundary=c".into(), ..body }).is_err());
    }

    #[test]
    fn a_line_with_a_broken_path_or_for_tls_is_passed_over() {
        let sdp = "v=0\r\no=- 1 1 IN IP4 a\r\ns=-\r\nt=0 0\r\nm=message 5 TCP/MSRP *\r\na=path:http://a\r\n\
            m=message 5 TCP/TLS/MSRP *\r\na=path:msrps://a:5/s;tcp\r\nm=message 5 TCP/MSRP *\r\na=path:msrp://a:5/x;tcp\r\n";
        let description = Description::parse(sdp.as_bytes()).expect("a description");
        assert_eq!(chat_line(&description, PLAIN).map(|(place, ..)| place), Some(2));
        assert_eq!(
            chat_line(&description, Ways { plain: false, secure: true, relay: false })
                .map(|(place, ..)| place),
            Some(1)
        );
    }
}
