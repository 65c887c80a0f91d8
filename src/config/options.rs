//! Every option: its key, what is written there, its default and one line about it.
//!
//! The one registry behind reading (`shape` refuses what is not listed and knows the nearest key), defaults (they
//! are read by the same code as what an admin writes) and `docs/options.md`.

use std::fmt::Write as _;

/// One option.
#[derive(Debug)]
pub struct Opt {
    /// Its path: groups joined by dots, `[]` behind the name of a list of groups.
    pub key: &'static str,
    /// What is written there.
    pub kind: Kind,
    /// Whether it must be.
    pub need: Need,
    /// One line.
    pub about: &'static str,
}

/// The form of a value. What a text must look like is in [`super::values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A group of keys.
    Group,
    /// A list of groups of keys.
    Groups,
    /// A single value of this form, as shown to people.
    Text(&'static str),
    /// A list of such values; a single one stands for a list of one.
    Texts(&'static str),
    /// `true` or `false`.
    Flag,
    /// A whole number from one to the other.
    Number(u64, u64),
    /// A number and a unit.
    Duration,
    /// `{ file: PATH }` or `{ env: NAME }`.
    Secret,
    /// Lists of rows, as in a table of `mappings/`.
    Rows,
}

/// What holds where a key is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It must be written.
    Required,
    /// This value, as it would be written.
    Default(&'static str),
    /// Nothing; in these words.
    Absent(&'static str),
}

const fn opt(key: &'static str, kind: Kind, need: Need, about: &'static str) -> Opt {
    Opt { key, kind, need, about }
}

use Kind::{Duration, Flag, Group, Groups, Number, Rows, Secret, Text, Texts};
use Need::{Absent, Default, Required};

/// All options, in the order of the documentation.
pub const OPTIONS: &[Opt] = &[
    opt("xmpp", Group, Required, "The XMPP side."),
    opt(
        "xmpp.server",
        Text("HOST:PORT"),
        Required,
        "The component port of the XMPP server (XEP-0114). A name is resolved anew for each connection.",
    ),
    opt("xmpp.components", Groups, Required, "The components that Mostar is on that server."),
    opt(
        "xmpp.components[].domain",
        Text("DOMAIN"),
        Required,
        "The JID domain of SIP users: `romeo@` this domain is `sip:romeo@` the `sip_domain`. The server must know a \
         component of this name.",
    ),
    opt(
        "xmpp.components[].sip_domain",
        Text("DOMAIN"),
        Absent("the same name as `domain`"),
        "The SIP domain that the component stands for.",
    ),
    opt(
        "xmpp.components[].secret",
        Secret,
        Required,
        "The secret that the server knows the component by. A file holds it in one line; others may neither read nor change it, its \
         group may read it.",
    ),
    opt(
        "xmpp.components[].any_domain",
        Flag,
        Default("false"),
        "`user\\40other.example@` this domain reaches `sip:user@other.example`, whatever the domain. Off, only listed \
         domains are reachable.",
    ),
    opt(
        "xmpp.components[].rooms",
        Flag,
        Default("false"),
        "The SIP users of this component are rooms: each has a focus (RFC 4579). An XMPP user joins `room@` this domain as \
         any other room. Needs chat sessions (`msrp.listen`).",
    ),
    opt(
        "xmpp.domains",
        Groups,
        Required,
        "The XMPP domains that may use the gateway and be reached through it. No other can.",
    ),
    opt("xmpp.domains[].domain", Text("DOMAIN"), Required, "The JID domain of XMPP users."),
    opt(
        "xmpp.domains[].sip_alias",
        Text("DOMAIN"),
        Absent("the same name as `domain`"),
        "The name of this domain in SIP, where it needs another one: `juliet@` the domain is `sip:juliet@` the alias.",
    ),
    opt(
        "xmpp.domains[].rooms",
        Flag,
        Default("false"),
        "This domain holds rooms (XEP-0045): a SIP user who calls `sip:room@` its `sip_alias` joins one.",
    ),
    opt("sip", Group, Required, "The SIP side."),
    opt(
        "sip.listen",
        Texts("udp://ADDRESS:PORT or tcp://ADDRESS:PORT"),
        Required,
        "Where Mostar takes SIP requests. IPv6 addresses stand in brackets.",
    ),
    opt(
        "sip.advertise",
        Text("HOST"),
        Absent("the address of the listener"),
        "The name or address that Via and Contact show. Needed where a listener is a wildcard such as 0.0.0.0.",
    ),
    opt("sip.peers", Groups, Required, "The SIP neighbours. Nobody else may speak to Mostar."),
    opt(
        "sip.peers[].uri",
        Text("sip:HOST, sip:HOST:PORT or either with ;transport=udp or ;transport=tcp"),
        Required,
        "Where requests for this peer go. All addresses of the host may speak to us, from any port.",
    ),
    opt(
        "sip.peers[].may_send_from",
        Texts("DOMAIN or \"*\""),
        Default("[]"),
        "The SIP domains whose users this peer speaks for, and that are reached through it. `\"*\"` is any. A domain \
         goes to the first peer that names it, else to the first with a star.",
    ),
    opt(
        "sip.peers[].networks",
        Texts("ADDRESS or ADDRESS/BITS"),
        Default("[]"),
        "Further addresses that this peer speaks from.",
    ),
    opt("sip.peers[].auth", Group, Absent("none"), "What answers a challenge (401, 407) of this peer."),
    opt("sip.peers[].auth.username", Text("NAME"), Required, "The user name."),
    opt("sip.peers[].auth.password", Secret, Required, "The password."),
    opt(
        "sip.peers[].long_messages",
        Flag,
        Default("false"),
        "Messages of more than 1,300 bytes may go there: the whole way behind this peer is TCP.",
    ),
    opt(
        "sip.peers[].trust_dates",
        Flag,
        Default("true"),
        "A message with a Date from 5 minutes to 30 days ago is shown as delayed.",
    ),
    opt(
        "sip.peers[].msrp",
        Text("learn, yes or no"),
        Default("learn"),
        "Whether what is behind this peer speaks MSRP: `learn` opens a chat session only where a device has shown that \
         it does.",
    ),
    opt("msrp", Group, Absent("every default below"), "Chat sessions (MSRP)."),
    opt(
        "msrp.listen",
        Texts("tcp://ADDRESS:PORT or tls://ADDRESS:PORT"),
        Default("tcp://127.0.0.1:2855"),
        "Where Mostar takes the connections of chat sessions; `tls` is for `msrps`. `[]`: no chat sessions, unless through `msrp.relay`.",
    ),
    opt(
        "msrp.advertise",
        Text("HOST"),
        Absent("`sip.advertise`, else the address of the listener"),
        "The name or address that SIP clients reach these listeners by.",
    ),
    opt(
        "msrp.certificate",
        Text("PATH"),
        Absent("none"),
        "The certificate for TLS, in PEM; behind it those that vouch for it. Clients that are told its fingerprint take \
         one that vouches for itself. Read at the start.",
    ),
    opt(
        "msrp.key",
        Text("PATH"),
        Absent("none"),
        "The key of the certificate, in PEM. Others may neither read nor change the file, its group may read it.",
    ),
    opt(
        "msrp.relay",
        Group,
        Absent("none"),
        "A relay of our own (RFC 4976), through which all chat sessions go: for a machine that cannot be reached.",
    ),
    opt(
        "msrp.relay.uri",
        Text("msrps://HOST:PORT"),
        Required,
        "The relay. Its certificate must have this name, by an authority that this machine trusts.",
    ),
    opt("msrp.relay.username", Text("NAME"), Required, "The user name."),
    opt("msrp.relay.password", Secret, Required, "The password."),
    opt(
        "msrp.connect_to",
        Texts("ADDRESS or ADDRESS/BITS"),
        Default("[]"),
        "Further networks that Mostar connects to for chat sessions. Without a word it connects to public addresses, and \
         for the sessions of a peer to that peer and its `networks`, to private addresses where it has a private one, and \
         to this machine where it is on it.",
    ),
    opt(
        "store",
        Text("PATH"),
        Required,
        "The folder of the store: consent, subscriptions, messages on their way. It is made when it is not there.",
    ),
    opt(
        "http",
        Text("ADDRESS:PORT, or none or off"),
        Default("127.0.0.1:9091"),
        "Where `/healthz`, `/readyz` and `/metrics` are, and `/explain`, which `mostar explain` asks: how a message would go, \
         and by that who is typing and what devices have shown. Nobody has to say who he is: keep it on this machine.",
    ),
    opt(
        "mappings",
        Text("PATH"),
        Absent("the built-in tables"),
        "A folder with tables of your own: any of `errors.yaml`, `presence.yaml`, `rooms.yaml`, `sessions.yaml`, `subscribe.yaml`, \
         each a whole table as it stands in `mappings/` of the source.",
    ),
    opt(
        "sessions",
        Rows,
        Absent("the table as it is"),
        "Rows of the session heuristics (`mappings/sessions.yaml`): one with a name that stands there replaces it, one \
         with a new name comes before the others of its list.",
    ),
    opt("stop_timeout", Duration, Default("60s"), "How long a clean stop may take."),
    opt("messages", Group, Absent("every default below"), "How messages are treated."),
    opt(
        "messages.max_message",
        Number(1024, 1_048_576),
        Default("262144"),
        "The longest message in either direction, in bytes of an escaped stanza.",
    ),
    opt(
        "messages.from_gruu",
        Flag,
        Default("false"),
        "The From of a message to SIP names the device (`;gr=`) and not the person. Most SIP clients then open a \
         conversation for each device.",
    ),
    opt(
        "messages.late_errors",
        Flag,
        Default("true"),
        "A message that fails after SIP was told 202 is reported to its sender by a short message.",
    ),
    opt(
        "messages.hold",
        Duration,
        Default("0s"),
        "How long messages for SIP contacts that are away are kept; `0s`: they are refused at once.",
    ),
    opt(
        "messages.rate",
        Number(0, 1_000_000),
        Default("100"),
        "How many messages a second one person may send for long; 20 seconds' worth at once. More are refused, and the \
         sender is told to wait. `0`: no limit.",
    ),
    opt(
        "rooms",
        Group,
        Absent("every default below"),
        "Rooms of XMPP, where an entry of `xmpp.domains` has `rooms: true`.",
    ),
    opt(
        "rooms.factory",
        Text("NAME or none"),
        Default("new"),
        "Who calls `sip:NAME@` a domain of rooms makes a new room there, and is told its address.",
    ),
    opt(
        "rooms.history",
        Number(0, 500),
        Default("0"),
        "How many old lines a SIP user gets who joins a room.",
    ),
    opt(
        "record",
        Group,
        Absent("nothing is recorded"),
        "What goes in and out is written to files that can be played as tests: for the report of a mistake. What people \
         write, and secrets, are left out.",
    ),
    opt(
        "record.folder",
        Text("PATH"),
        Required,
        "The folder of the files: one for each core and start, which nobody else can read. It is made when it is not \
         there.",
    ),
    opt("record.bodies", Flag, Default("false"), "What people write is recorded too."),
    opt(
        "record.limit",
        Number(65_536, 1_073_741_824),
        Default("16777216"),
        "How long a file may become, in bytes. What comes then is left out, and counted as \
         `mostar_record_left_out_total`.",
    ),
];

/// The option of this path.
pub fn find(key: &str) -> Option<&'static Opt> {
    OPTIONS.iter().find(|option| option.key == key)
}

/// The options directly in a group; the empty path is the whole file.
pub fn children(group: &str) -> impl Iterator<Item = &'static Opt> {
    OPTIONS.iter().filter(move |option| split(option.key).0 == group)
}

/// A path's group and last name.
pub fn split(key: &str) -> (&str, &str) {
    key.rsplit_once('.').unwrap_or(("", key))
}

/// The path of what lies in an option: `[]` follows the name of a list of groups.
pub fn inside(option: &Opt) -> String {
    match option.kind {
        Kind::Groups => format!("{}[]", option.key),
        _ => option.key.to_owned(),
    }
}

/// The path of a name in a group.
pub fn join(group: &str, name: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{group}.{name}") }
}

impl Kind {
    /// What is written there, for people.
    pub fn form(self) -> String {
        match self {
            Kind::Group => "a group of keys".into(),
            Kind::Groups => "a list of groups of keys".into(),
            Kind::Text(form) => form.into(),
            Kind::Texts(form) => format!("a list of {form}"),
            Kind::Flag => "true or false".into(),
            Kind::Number(low, high) => format!("a number from {low} to {high}"),
            Kind::Duration => "a duration such as 60s, 5m, 12h, 3d".into(),
            Kind::Secret => "{ file: PATH } or { env: NAME }".into(),
            Kind::Rows => "lists of rows".into(),
        }
    }
}

/// `docs/options.md`, from the registry.
pub fn page() -> String {
    let mut page = String::from(
        "# Options\n\nGenerated from `src/config/options.rs` (`BLESS=1 cargo test --test check` writes it anew). The \
         file is YAML; `mostar check -c FILE` says what is wrong in it, all at once. Paths of files are taken from \
         the folder of the configuration. Keys are stable: a change of meaning is a new key and a line in the \
         CHANGELOG.\n\n| key | written as | default | |\n|---|---|---|---|\n",
    );
    for option in OPTIONS {
        let default = match option.need {
            Need::Required => match find(split(option.key).0) {
                Some(group) if matches!(group.need, Need::Absent(_)) => {
                    format!("required in `{}`", split(group.key).1)
                }
                _ => "required".to_owned(),
            },
            Need::Default(value) => format!("`{value}`"),
            Need::Absent(words) => words.to_owned(),
        };
        let form = option.kind.form().replace('|', "\\|");
        let about = option.about.replace('|', "\\|");
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| `{}` | {form} | {default} | {about} |", option.key);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_lies_in_a_group() {
        for option in OPTIONS {
            let (group, name) = split(option.key);
            assert!(!name.is_empty());
            assert!(
                group.is_empty() || OPTIONS.iter().any(|other| inside(other) == group),
                "{} lies nowhere",
                option.key
            );
        }
    }

    #[test]
    fn every_key_stands_once() {
        for (index, option) in OPTIONS.iter().enumerate() {
            assert!(!OPTIONS[..index].iter().any(|other| other.key == option.key), "{}", option.key);
        }
    }
}
