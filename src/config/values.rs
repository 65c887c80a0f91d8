//! The single values of a configuration, read from their text.
//!
//! Each says in one sentence what is wrong and in another what to write. Nothing here knows where the text stood.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use super::{Listen, MsrpListen, egress};
use crate::features::sessions::PeerMsrp;
use crate::msrp::uri::{Host, Uri};
use crate::sip::flow::Transport;
use crate::words::address;
use crate::xmpp::jid::Jid;

/// What is wrong with a value, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    /// What is wrong.
    pub what: String,
    /// What to write.
    pub help: String,
}

fn bad<T>(what: impl Into<String>, help: impl Into<String>) -> Result<T, Bad> {
    Err(Bad { what: what.into(), help: help.into() })
}

/// A domain in the two forms that the two sides use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Domain {
    /// U-labels, as JIDs have it.
    pub jid: String,
    /// A-labels, as SIP has it.
    pub sip: String,
}

/// The address in a peer's `uri`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerUri {
    /// A name in A-labels or an address; an IPv6 address without brackets.
    pub host: String,
    /// The port, when written.
    pub port: Option<u16>,
    /// The transport, when written.
    pub transport: Option<Transport>,
}

/// `true` or `false`; what else YAML 1.1 took for one is refused, not guessed.
pub fn flag(text: &str) -> Result<bool, Bad> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => bad(format!("`{text}` is neither true nor false"), "write true or false, without quotes"),
    }
}

/// The URI of a relay: `msrps`, and no session. `;tcp` may be left out.
pub fn relay_uri(text: &str) -> Result<Uri, Bad> {
    let whole = if text.contains(';') { text.to_owned() } else { format!("{text};tcp") };
    let help = "write msrps://HOST, with :PORT where it is not 2855";
    match Uri::parse(&whole) {
        Ok(uri) if uri.session().is_some() => bad("a relay has no session-id", help),
        Ok(uri) if !uri.is_secure() => bad("a relay is told our password: it must be msrps", help),
        Ok(uri) if !uri.transport().eq_ignore_ascii_case("tcp") => {
            bad("a relay is reached by tcp here", help)
        }
        Ok(uri) => Ok(uri),
        Err(why) => bad(why, help),
    }
}

/// What is known of MSRP behind a peer.
pub fn msrp(text: &str) -> Result<PeerMsrp, Bad> {
    match text {
        "learn" => Ok(PeerMsrp::Learn),
        "yes" => Ok(PeerMsrp::Yes),
        "no" => Ok(PeerMsrp::No),
        _ => {
            bad(format!("`{text}` is none of learn, yes, no"), "write one of the three; learn is the default")
        }
    }
}

/// The user part of a room factory, as it stands in a JID and in a SIP URI alike; nothing for `none`.
pub fn factory(text: &str) -> Result<Option<String>, Bad> {
    if text == "none" {
        return Ok(None);
    }
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    if text.is_empty() || text.len() > 64 || !text.bytes().all(fits) {
        return bad(
            format!("`{text}` is no name for a room factory"),
            "write small letters, digits, `-`, `_` or `.`, as in `new`; or `none`",
        );
    }
    Ok(Some(text.to_owned()))
}

/// A whole number within limits.
pub fn number(text: &str, low: u64, high: u64) -> Result<u64, Bad> {
    match text.parse::<u64>() {
        Ok(number) if (low..=high).contains(&number) => Ok(number),
        Ok(number) => {
            bad(format!("{number} is out of bounds"), format!("write a number from {low} to {high}"))
        }
        Err(_) => bad(
            format!("`{text}` is no whole number"),
            format!("write a number from {low} to {high}, in digits alone"),
        ),
    }
}

/// Numbers with units: `60s`, `1h30m`. At most a year.
pub fn duration(text: &str) -> Result<Duration, Bad> {
    const HELP: &str = "write a number and a unit: 500ms, 60s, 5m, 12h, 3d";
    const YEAR: u64 = 365 * 24 * 3600 * 1000;
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return bad(format!("`{text}` has no unit"), HELP);
    }
    let mut total: u64 = 0;
    let mut rest = text;
    loop {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        let unit = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60 * 1000,
            "h" => 3600 * 1000,
            "d" => 24 * 3600 * 1000,
            _ => return bad(format!("`{text}` is no duration"), HELP),
        };
        let Ok(number) = number.parse::<u64>() else {
            return bad(format!("`{text}` is no duration"), HELP);
        };
        total = total.saturating_add(number.saturating_mul(unit));
        if total > YEAR {
            return bad(format!("{text} is more than a year"), "write a shorter duration");
        }
        if tail.is_empty() {
            return Ok(Duration::from_millis(total));
        }
        rest = tail;
    }
}

/// A domain name (or an address) that may stand in a JID and in a SIP URI.
pub fn domain(text: &str) -> Result<Domain, Bad> {
    const HELP: &str = "write the bare name, as in example.org";
    if text.contains("://") || text.starts_with("sip:") || text.starts_with("xmpp:") {
        return bad(format!("`{text}` is a URI, not a domain"), HELP);
    }
    if text.contains('@') {
        return bad(format!("`{text}` is an address of a user, not a domain"), HELP);
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    if let Some(inner) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return match inner.parse::<std::net::Ipv6Addr>() {
            Ok(address) => Ok(Domain { jid: format!("[{address}]"), sip: format!("[{address}]") }),
            Err(_) => bad(format!("`{text}` is no IPv6 address"), HELP),
        };
    }
    if name.parse::<std::net::Ipv6Addr>().is_ok() {
        return bad(format!("`{text}` is an IPv6 address without brackets"), format!("write [{name}]"));
    }
    if let Some((name, port)) = name.split_once(':') {
        let what = if port.bytes().all(|byte| byte.is_ascii_digit()) { "a port" } else { "a colon" };
        return bad(format!("`{text}` is a domain with {what}"), format!("write {name} alone"));
    }
    if name.is_empty() {
        return bad("this domain is empty", HELP);
    }
    let odd = |c: &char| c.is_ascii() && !c.is_ascii_alphanumeric() && !matches!(c, '-' | '.' | '_');
    if let Some(odd) = name.chars().find(odd) {
        return bad(format!("{odd:?} may not stand in a domain"), HELP);
    }
    if name.split('.').any(str::is_empty) {
        return bad(format!("`{text}` has an empty part between its dots"), HELP);
    }
    let (unicode, good) = idna::domain_to_unicode(name);
    let ascii = address::sip_domain(&unicode);
    let jid = Jid::new(None, &unicode, None);
    match (good, ascii, jid) {
        (Ok(()), Ok(sip), Ok(jid)) if sip.len() <= 253 && sip.split('.').all(|label| label.len() <= 63) => {
            Ok(Domain { jid: jid.domain().to_owned(), sip })
        }
        _ => bad(format!("`{text}` is no domain name"), "its parts have 1 to 63 letters, digits and hyphens"),
    }
}

/// `host:port`; an IPv6 address in brackets.
pub fn host_port(text: &str) -> Result<String, Bad> {
    const HELP: &str = "write HOST:PORT, as in 127.0.0.1:5347; an IPv6 address in brackets";
    if text.contains("://") {
        return bad(format!("`{text}` is a URL"), HELP);
    }
    let (host, port) = split_port(text, HELP)?;
    let Some(port) = port else {
        return bad(format!("`{text}` has no port"), HELP);
    };
    let host = self::host(host, HELP)?;
    Ok(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
}

/// The address that `http` is on; nothing for `none`.
pub fn http(text: &str) -> Result<Option<SocketAddr>, Bad> {
    if matches!(text, "none" | "off") {
        return Ok(None);
    }
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 => Ok(Some(address)),
        _ => bad(
            format!("`{text}` is no address with a port"),
            "write ADDRESS:PORT, as in 127.0.0.1:9091, or none",
        ),
    }
}

/// `udp://address:port` or `tcp://address:port`.
pub fn listen(text: &str) -> Result<Listen, Bad> {
    const HELP: &str = "write udp://ADDRESS:PORT or tcp://ADDRESS:PORT, as in udp://127.0.0.1:5070";
    let Some((scheme, rest)) = text.split_once("://") else {
        return bad(format!("`{text}` is no listener"), HELP);
    };
    let transport = transport(&scheme.to_ascii_lowercase(), "a listener")?;
    match rest.trim_end_matches('/').parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 => Ok(Listen { transport, address }),
        Ok(_) => bad(format!("`{text}` has port 0"), "write the port that SIP peers send to, as in 5070"),
        Err(_) if rest.parse::<IpAddr>().is_ok() => bad(
            format!("`{text}` has no port"),
            format!(
                "write {scheme}://{}:5070, say",
                if rest.contains(':') { format!("[{rest}]") } else { rest.to_owned() }
            ),
        ),
        Err(_) => bad(
            format!("`{rest}` is no address with a port"),
            format!("{HELP}; names are not looked up here, IPv6 addresses stand in brackets"),
        ),
    }
}

/// `tcp://address:port` or `tls://address:port`, for MSRP.
pub fn msrp_listen(text: &str) -> Result<MsrpListen, Bad> {
    const HELP: &str = "write tcp://ADDRESS:PORT or tls://ADDRESS:PORT, as in tcp://127.0.0.1:2855";
    let Some((scheme, rest)) = text.split_once("://") else {
        return bad(format!("`{text}` is no listener"), HELP);
    };
    let secure = match scheme.to_ascii_lowercase().as_str() {
        "tcp" | "msrp" => false,
        "tls" | "msrps" => true,
        "ws" | "wss" => {
            let name = scheme.to_ascii_uppercase();
            return bad(format!("{name} for a listener comes in a later version"), "use tcp or tls for now");
        }
        _ => return bad(format!("`{scheme}` is no transport that MSRP has here"), "use tcp or tls"),
    };
    match rest.trim_end_matches('/').parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 => Ok(MsrpListen { secure, address }),
        Ok(_) => bad(format!("`{text}` has port 0"), "write the port that clients connect to, as in 2855"),
        Err(_) => bad(
            format!("`{rest}` is no address with a port"),
            format!("{HELP}; names are not looked up here, IPv6 addresses stand in brackets"),
        ),
    }
}

/// What Via, Contact and paths of chat sessions name: a host without a port.
pub fn advertise(text: &str) -> Result<Host, Bad> {
    const HELP: &str =
        "write a name or an address that SIP peers reach this machine by; the port is the listener's";
    let (host, port) =
        if text.parse::<std::net::Ipv6Addr>().is_ok() { (text, None) } else { split_port(text, HELP)? };
    if port.is_some() {
        return bad(format!("`{text}` has a port"), HELP);
    }
    let host = self::host(host, HELP)?;
    match Host::parse(&host) {
        Some(Host::Ip(address)) if address.is_unspecified() => {
            bad(format!("nobody can send to {text}"), HELP)
        }
        Some(host) => Ok(host),
        None => bad(format!("`{text}` is neither a name nor an address"), HELP),
    }
}

/// A network, or a single address.
pub fn network(text: &str) -> Result<IpNet, Bad> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    match text.parse::<IpNet>() {
        Ok(network) if network.trunc() == network => Ok(network),
        Ok(network) => bad(
            format!("{network} is an address inside a network"),
            format!("write {} for the network or {} for the address", network.trunc(), network.addr()),
        ),
        Err(_) => bad(
            format!("`{text}` is no network"),
            "write an address, or one with the bits of its network: 192.0.2.0/24, 2001:db8::/32",
        ),
    }
}

/// `sip:host[:port][;transport=udp|tcp]`.
pub fn peer_uri(text: &str) -> Result<PeerUri, Bad> {
    const HELP: &str =
        "write sip:HOST or sip:HOST:PORT, with ;transport=udp or ;transport=tcp where only one will do";
    let lower = text.to_ascii_lowercase();
    if lower.starts_with("sips:") {
        return bad("sips: needs TLS, which comes in a later version", "write sip: for now");
    }
    let Some(rest) = lower.strip_prefix("sip:").map(|_| &text[4..]) else {
        return bad(format!("`{text}` is no SIP URI"), HELP);
    };
    if rest.contains('@') {
        return bad("this URI names a user; a peer is a host", HELP);
    }
    if rest.contains('?') {
        return bad(format!("`{text}` has headers"), HELP);
    }
    let mut parts = rest.split(';');
    let (host, port) = split_port(parts.next().unwrap_or_default(), HELP)?;
    let host = self::host(host, HELP)?;
    let mut wanted = None;
    for parameter in parts {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        match name.to_ascii_lowercase().as_str() {
            "transport" => wanted = Some(transport(&value.to_ascii_lowercase(), "a peer")?),
            "lr" => {}
            _ => return bad(format!("`{parameter}` means nothing in the address of a peer"), HELP),
        }
    }
    if let Ok(address) = host.parse::<IpAddr>()
        && let Some(kind) = egress::never(address)
    {
        return bad(
            format!("{host} is {kind}, and nothing is ever sent there"),
            "write the address that the peer listens on",
        );
    }
    Ok(PeerUri { host, port, transport: wanted })
}

fn transport(name: &str, whose: &str) -> Result<Transport, Bad> {
    match name {
        "udp" | "sip+udp" => Ok(Transport::Udp),
        "tcp" | "sip+tcp" => Ok(Transport::Tcp),
        "tls" | "ws" | "wss" => bad(
            format!("{} for {whose} comes in a later version", name.to_ascii_uppercase()),
            "use udp or tcp for now",
        ),
        _ => bad(format!("`{name}` is no transport that SIP has here"), "use udp or tcp"),
    }
}

/// A host and the port behind it, when there is one.
fn split_port<'a>(text: &'a str, help: &str) -> Result<(&'a str, Option<u16>), Bad> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').unwrap_or("?"))),
        None if text.parse::<std::net::Ipv6Addr>().is_ok() => {
            return bad(format!("`{text}` is an IPv6 address without brackets"), help);
        }
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    match port.map(str::parse::<u16>) {
        None => Ok((host, None)),
        Some(Ok(port)) if port != 0 => Ok((host, Some(port))),
        Some(_) => bad(format!("`{text}` has no usable port"), help),
    }
}

/// A name in A-labels or an address; IPv6 without brackets.
fn host(text: &str, help: &str) -> Result<String, Bad> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    if text.is_empty() {
        return bad("the host is missing", help);
    }
    match domain(text) {
        Ok(domain) if !domain.sip.starts_with('[') => Ok(domain.sip),
        _ => bad(format!("`{text}` is neither a name nor an address"), help),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("3d"), Ok(Duration::from_secs(259_200)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        for text in ["", "60", "s", "60 s", "60x", "-1s", "1.5h", "99999999999999999999s", "400d", "1é"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn domains_have_two_forms() {
        let both = domain("Bücher.Example.").expect("a domain");
        assert_eq!((both.jid.as_str(), both.sip.as_str()), ("bücher.example", "xn--bcher-kva.example"));
        assert_eq!(domain("xn--bcher-kva.example"), Ok(both));
        assert_eq!(domain("localhost").map(|domain| domain.sip), Ok("localhost".into()));
        assert_eq!(domain("[2001:DB8::1]").map(|domain| domain.sip), Ok("[2001:db8::1]".into()));
        for text in
            ["", ".", "a..b", "a b", "a/b", "u@a", "a:5060", "*", "sip:a", "http://a", "2001:db8::1", "[x]"]
        {
            assert!(domain(text).is_err(), "{text}");
        }
        assert!(domain(&"a".repeat(64)).is_err());
    }

    #[test]
    fn listeners_are_addresses_with_a_port() {
        let both = listen("tcp://[::1]:5070").map(|listen| (listen.transport, listen.address.port()));
        assert_eq!(both, Ok((Transport::Tcp, 5070)));
        for text in [
            "",
            "127.0.0.1:5070",
            "udp://127.0.0.1",
            "udp://::1",
            "udp://host:5070",
            "udp://1.2.3.4:0",
            "quic://1.2.3.4:1",
        ] {
            assert!(listen(text).is_err(), "{text}");
        }
        assert!(listen("tls://1.2.3.4:5061").is_err_and(|bad| bad.what.contains("later version")));
    }

    #[test]
    fn listeners_of_msrp_are_tcp_or_tls() {
        let both = msrp_listen("TLS://[::1]:2855/").map(|listen| (listen.secure, listen.to_string()));
        assert_eq!(both, Ok((true, "tls://[::1]:2855".into())));
        for text in [
            "",
            "127.0.0.1:2855",
            "udp://127.0.0.1:2855",
            "tcp://host:1",
            "tcp://1.2.3.4:0",
            "ws://1.2.3.4:1",
        ] {
            assert!(msrp_listen(text).is_err(), "{text}");
        }
    }

    #[test]
    fn peers_are_hosts() {
        let uri = peer_uri("sip:Proxy.example.org:5080;transport=TCP;lr");
        assert_eq!(
            uri,
            Ok(PeerUri {
                host: "proxy.example.org".into(),
                port: Some(5080),
                transport: Some(Transport::Tcp)
            })
        );
        assert_eq!(peer_uri("sip:[2001:db8::1]").map(|uri| uri.host), Ok("2001:db8::1".into()));
        for text in ["sip:0.0.0.0", "sip:[::]:5070", "sip:169.254.169.254", "sip:[fe80::1]", "sip:224.0.0.1"]
        {
            let told = peer_uri(text).unwrap_err();
            assert!(told.what.ends_with("and nothing is ever sent there"), "{told:?}");
        }
        for text in [
            "",
            "proxy",
            "sip:",
            "sip:u@h",
            "sips:h",
            "sip:h:0",
            "sip:h:x",
            "sip:h;transport=tls",
            "sip:h;x",
            "sip:h?a=b",
            "sip:::1",
            "sip:[::1",
            "sip:*",
        ] {
            assert!(peer_uri(text).is_err(), "{text}");
        }
    }

    #[test]
    fn servers_and_advertised_hosts() {
        assert_eq!(host_port("[::1]:5347"), Ok("[::1]:5347".into()));
        assert_eq!(host_port("xmpp:5347"), Ok("xmpp:5347".into()));
        assert!(
            host_port("127.0.0.1").is_err() && host_port("tcp://h:1").is_err() && host_port(":1").is_err()
        );
        let advertised = |text| advertise(text).map(|host| host.to_string());
        assert_eq!(advertised("2001:db8::1"), Ok("[2001:db8::1]".into()));
        assert_eq!(advertised("Bücher.example.org"), Ok("xn--bcher-kva.example.org".into()));
        assert!(advertise("0.0.0.0").is_err() && advertise("h:5060").is_err() && advertise("").is_err());
    }

    #[test]
    fn networks_are_whole() {
        assert!(network("192.0.2.7").is_ok() && network("192.0.2.0/24").is_ok());
        assert!(network("192.0.2.7/24").is_err_and(|bad| bad.help.contains("192.0.2.0/24")));
        assert!(network("example.org").is_err());
    }
}
