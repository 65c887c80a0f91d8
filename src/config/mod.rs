//! The configuration as the rest of the program sees it: checked, with every default filled in.
//!
//! [`read`] takes a file and gives this, or all of its mistakes at once, with line, caret, the nearest right key and
//! what to do. The keys are listed in [`options`], which also writes `docs/options.md`.

mod check;
pub mod egress;
mod msrp;
pub mod options;
pub mod outside;
mod pairs;
mod recorded;
pub mod report;
mod section;
mod shape;
mod sockets;
pub mod values;
pub mod yaml;

use std::io::{ErrorKind, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

pub use self::check::check;
pub use self::msrp::{Identity, Msrp, MsrpListen, Relay};
use self::outside::Outside as _;
use self::report::Report;
use crate::features::sessions::PeerMsrp;
use crate::msrp::uri::Host;
use crate::sip::flow::Transport;
use crate::sip::uri::Aor;
use crate::words::table;

/// No configuration is longer, in bytes.
const LIMIT: u64 = 1 << 20;

/// Reads the configuration in a file, with the secrets that it refers to. The configuration is there when the report
/// has nothing but warnings; an error in words when there is nothing to report on.
pub fn read(path: &Path) -> Result<(Option<Config>, Report), String> {
    read_with(path, &outside::Machine)
}

/// The same for who looks at the store and speaks to nobody: no secret is read, so whoever may read the file may do so.
pub fn read_without_secrets(path: &Path) -> Result<(Option<Config>, Report), String> {
    read_with(path, &outside::NoSecrets)
}

fn read_with(path: &Path, outside: &dyn outside::Outside) -> Result<(Option<Config>, Report), String> {
    let shown = path.display();
    let mut bytes = Vec::new();
    std::fs::File::open(path).and_then(|file| file.take(LIMIT + 1).read_to_end(&mut bytes)).map_err(
        |error| {
            let help = match error.kind() {
                ErrorKind::NotFound => "write one after config/mostar.yaml, or name another by -c",
                ErrorKind::IsADirectory => "name the file in it, as in -c FOLDER/mostar.yaml",
                _ => "let this user read it, or be the user of the gateway",
            };
            format!("{shown} cannot be read: {error}: {help}")
        },
    )?;
    if bytes.len() as u64 > LIMIT {
        return Err(format!("{shown} is longer than {LIMIT} bytes: this is no configuration"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        format!("{shown} is not UTF-8, first at byte {at}: save it as UTF-8 (iconv -f LATIN1 -t UTF-8)")
    })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    Ok(check(&shown.to_string(), &text, folder, outside))
}

/// Everything that an admin decided.
#[derive(Clone, Debug)]
pub struct Config {
    /// The XMPP server and what we are there.
    pub xmpp: Xmpp,
    /// Our SIP endpoint and its neighbours.
    pub sip: Sip,
    /// Chat sessions.
    pub msrp: Msrp,
    /// Where the store lives.
    pub store: PathBuf,
    /// Where `/healthz`, `/readyz` and `/metrics` are; nothing for `none`.
    pub http: Option<SocketAddr>,
    /// Tables of the admin's own.
    pub mappings: table::Own,
    /// The session heuristics, with the admin's own rows.
    pub sessions: Arc<crate::features::sessions::table::Table>,
    /// How long a clean stop may take.
    pub stop_timeout: Duration,
    /// How messages are treated.
    pub messages: Messages,
    /// Rooms.
    pub rooms: Rooms,
    /// Where recordings go; nothing where none are made.
    pub record: Option<Record>,
}

#[cfg(test)]
impl Config {
    /// Nobody anywhere, for tests to fill in what they are about.
    pub fn empty() -> Config {
        Config {
            xmpp: Xmpp { server: String::new(), components: Vec::new(), domains: Vec::new() },
            sip: Sip { listen: Vec::new(), advertise: None, peers: Vec::new() },
            msrp: Msrp::default(),
            store: PathBuf::new(),
            http: None,
            mappings: table::Own::new(),
            sessions: Arc::new(crate::features::sessions::whole(None)),
            stop_timeout: Duration::from_secs(60),
            messages: Messages::default(),
            rooms: Rooms::default(),
            record: None,
        }
    }
}

/// The `xmpp` section.
#[derive(Clone, Debug)]
pub struct Xmpp {
    /// `host:port` of the server's component listener; resolved anew for each connection.
    pub server: String,
    /// The components we are.
    pub components: Vec<Component>,
    /// The XMPP domains that may use the gateway and be reached through it.
    pub domains: Vec<XmppDomain>,
}

/// One XEP-0114 component.
#[derive(Clone, Debug)]
pub struct Component {
    /// The JID domain it serves, in U-labels.
    pub domain: String,
    /// The SIP domain it stands for, in A-labels.
    pub sip_domain: String,
    /// What the handshake proves.
    pub secret: Secret,
    /// Whether `user\40other.example@domain` reaches SIP users of any domain. Off by default.
    pub any_domain: bool,
    /// Its users on the SIP side are rooms: each has a focus. Not together with `any_domain`.
    pub rooms: bool,
}

/// A listed XMPP domain.
#[derive(Clone, Debug)]
pub struct XmppDomain {
    /// The JID domain, in U-labels.
    pub domain: String,
    /// The name it has in SIP, in A-labels; the same by default.
    pub sip_alias: String,
    /// Its users are rooms (XEP-0045).
    pub rooms: bool,
}

/// The `sip` section.
#[derive(Clone, Debug)]
pub struct Sip {
    /// Where we listen.
    pub listen: Vec<Listen>,
    /// What Contact and Via name; the listener's own address when absent.
    pub advertise: Option<Host>,
    /// Who may speak to us, and where requests go.
    pub peers: Vec<Peer>,
}

impl Sip {
    /// The peer that carries requests for `domain`, by its place in `peers`: the first that names it, else the first
    /// that speaks for every domain.
    pub fn peer_for(&self, domain: &str) -> Option<usize> {
        let names = |peer: &Peer| peer.may_send_from.iter().any(|known| known == domain);
        self.peers.iter().position(names).or_else(|| self.peers.iter().position(|peer| peer.any_domain))
    }

    /// What Via and Contact name for a listener: the advertised host, or its own address, and its port.
    pub fn host_port(&self, listen: &Listen) -> String {
        match &self.advertise {
            Some(host) => format!("{host}:{}", listen.address.port()),
            None => listen.address.to_string(),
        }
    }

    /// The value of Contact for what we say to `domain` in the name of `user`: an address at which we can be reached
    /// by the transport of the peer that serves the domain, and where that peer is an address, from its family.
    pub fn contact(&self, user: &Aor, domain: &str) -> String {
        let peer = self.peer_for(domain).map(|peer| &self.peers[peer]);
        let wanted = peer.and_then(|peer| peer.transport);
        let family = peer.and_then(|peer| peer.host.parse::<IpAddr>().ok()).map(|address| address.is_ipv6());
        let fits = |listen: &&Listen| wanted.is_none_or(|transport| listen.transport == transport);
        let near = |listen: &&Listen| family.is_none_or(|six| listen.address.is_ipv6() == six);
        let nearest = self.listen.iter().filter(fits).find(near);
        let Some(listen) = nearest.or(self.listen.iter().find(fits)).or(self.listen.first()) else {
            return format!("<{user}>");
        };
        let at = Aor { user: user.user.clone(), host: self.host_port(listen) };
        match listen.transport {
            Transport::Udp => format!("<{at}>"),
            Transport::Tcp => format!("<{at};transport=tcp>"),
        }
    }
}

/// One listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// UDP or TCP.
    pub transport: Transport,
    /// The address to bind.
    pub address: SocketAddr,
}

/// A SIP neighbour.
#[derive(Clone, Debug)]
pub struct Peer {
    /// As written, for messages to people.
    pub uri: String,
    /// The host of `uri`: a name to resolve (A-labels), or an address (IPv6 without brackets).
    pub host: String,
    /// The port of `uri`, when written.
    pub port: Option<u16>,
    /// The transport of `uri`, when written.
    pub transport: Option<Transport>,
    /// The SIP domains it speaks for and that are reached through it, in A-labels.
    pub may_send_from: Vec<String>,
    /// It speaks for, and reaches, every domain.
    pub any_domain: bool,
    /// Further addresses it speaks from.
    pub networks: Vec<IpNet>,
    /// What answers its challenges.
    pub auth: Option<Auth>,
    /// MESSAGEs over 1,300 bytes may go: the whole way behind this peer is TCP.
    pub long_messages: bool,
    /// A Date of its messages is believed.
    pub trust_dates: bool,
    /// Whether what is behind it speaks MSRP.
    pub msrp: PeerMsrp,
}

impl Peer {
    /// True when the peer may speak for users of `domain`.
    pub fn speaks_for(&self, domain: &str) -> bool {
        self.any_domain || self.may_send_from.iter().any(|known| known == domain)
    }

    /// True when `address` is in one of the further networks.
    pub fn has_network(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }
}

/// Digest credentials.
#[derive(Clone, Debug)]
pub struct Auth {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// The `messages` section.
#[derive(Clone, Debug)]
pub struct Messages {
    /// The longest message either way, in bytes of an escaped stanza.
    pub max_message: usize,
    /// From of a MESSAGE names the device (GRUU) instead of the person (AOR).
    pub from_gruu: bool,
    /// A failure after the SIP answer is told by a MESSAGE.
    pub late_errors: bool,
    /// How long messages for absent SIP contacts are kept; zero for not at all.
    pub hold: Duration,
    /// How many messages a second one sender may send for long; zero for any number.
    pub rate: u64,
}

impl Default for Messages {
    fn default() -> Self {
        Messages {
            max_message: 262_144,
            from_gruu: false,
            late_errors: true,
            hold: Duration::ZERO,
            rate: 100,
        }
    }
}

/// The `rooms` section.
#[derive(Clone, Debug)]
pub struct Rooms {
    /// The user part that makes a new room in a domain of rooms; nothing for `none`.
    pub factory: Option<String>,
    /// How many old lines a SIP user gets who joins a room.
    pub history: u64,
}

impl Default for Rooms {
    fn default() -> Self {
        Rooms { factory: Some("new".into()), history: 0 }
    }
}

/// The `record` section.
#[derive(Clone, Debug)]
pub struct Record {
    /// The folder of the files.
    pub folder: PathBuf,
    /// What people write is recorded too.
    pub bodies: bool,
    /// The longest file, in bytes.
    pub limit: u64,
    /// The configuration as a recording tells it.
    pub config: String,
}

/// A secret: never printed, not even by a debug print, and compared in a time that says nothing about where two differ.
#[derive(Clone)]
pub struct Secret {
    text: String,
    source: Source,
}

/// Where a secret was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Somebody gave it.
    Given,
    /// In a file, which can be read again.
    File(PathBuf),
    /// In a variable of the environment, which is as it was at the start.
    Variable(String),
}

impl Secret {
    /// Takes a secret in.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret { text: text.into(), source: Source::Given }
    }

    /// The same, found there.
    pub fn found_in(self, source: Source) -> Secret {
        Secret { source, ..self }
    }

    /// Gives it out, to the one place that proves knowledge of it.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// Where it was found.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The secret as its file has it now; as it is where it is from no file. Otherwise what is wrong, and what to do.
    pub fn read_again(&self) -> Result<Secret, (String, String)> {
        match &self.source {
            Source::File(path) => outside::Machine.file(path).map_err(|bad| (bad.what, bad.help)),
            Source::Given | Source::Variable(_) => Ok(self.clone()),
        }
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Secret) -> bool {
        let (one, two) = (self.text.as_bytes(), other.text.as_bytes());
        let difference = one.iter().zip(two).fold(0, |sum, (a, b)| sum | (a ^ b));
        one.len() == two.len() && std::hint::black_box(difference) == 0 && self.source == other.source
    }
}

impl Eq for Secret {}

impl std::fmt::Debug for Secret {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_equal_or_not_and_say_nothing() {
        let secret = Secret::new("mark-secret");
        assert!(secret == Secret::new("mark-secret"));
        for other in ["mark-secreT", "Mark-secret", "mark-secre", "mark-secret1", ""] {
            assert!(secret != Secret::new(other), "{other}");
        }
        assert_eq!(format!("{secret:?}"), "(secret)");
    }

    #[test]
    fn a_contact_is_of_the_transport_and_the_family_of_the_peer() {
        let listen =
            |transport, address: &str| Listen { transport, address: address.parse().expect("an address") };
        let peer = |host: &str, transport, domain: &str| Peer {
            uri: String::new(),
            host: host.into(),
            port: None,
            transport: Some(transport),
            may_send_from: vec![domain.into()],
            any_domain: false,
            networks: Vec::new(),
            auth: None,
            long_messages: false,
            trust_dates: true,
            msrp: PeerMsrp::Learn,
        };
        let sip = Sip {
            listen: vec![
                listen(Transport::Udp, "192.0.2.9:5060"),
                listen(Transport::Tcp, "192.0.2.9:5060"),
                listen(Transport::Tcp, "[2001:db8::9]:5070"),
            ],
            advertise: None,
            peers: vec![
                peer("2001:db8::1", Transport::Tcp, "six.example"),
                peer("192.0.2.1", Transport::Tcp, "four.example"),
                peer("proxy.example", Transport::Udp, "name.example"),
            ],
        };
        let user = Aor { user: Some("juliet".into()), host: "example.com".into() };
        let contact = |domain| sip.contact(&user, domain);
        assert_eq!(contact("six.example"), "<sip:juliet@[2001:db8::9]:5070;transport=tcp>");
        assert_eq!(contact("four.example"), "<sip:juliet@192.0.2.9:5060;transport=tcp>");
        assert_eq!(contact("name.example"), "<sip:juliet@192.0.2.9:5060>");
    }
}
