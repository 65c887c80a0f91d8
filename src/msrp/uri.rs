//! MSRP URIs (RFC 4975 §6 and §9, RFC 7977 §5): parsed loosely, printed as they came, compared by §6.1.
//!
//! A URI keeps its text, since what a peer put into its path must go back to it byte for byte. It deliberately does not
//! resolve anything, and it has no default port: the registered one is none (§6).

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::Range;
use std::sync::Arc;

use crate::words::id::{Mint, Partition};
use crate::words::percent;

/// The longest URI that is read.
const LONGEST: usize = 1024;

/// An `msrp` or `msrps` URI.
///
/// Two are equal by §6.1: scheme, host, port, session and transport count, the user part and other parameters do not.
#[derive(Clone)]
pub struct Uri {
    text: Arc<str>,
    secure: bool,
    host: Host,
    port: Option<u16>,
    session: Option<Range<u16>>,
    transport: Range<u16>,
}

/// The host part of a URI, in the form in which it is compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A literal address.
    Ip(IpAddr),
    /// A name, in lower case and percent-decoded.
    Name(Arc<str>),
}

/// Where the next hop of a path is found: what a connection is opened to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hop {
    /// TLS is required.
    pub secure: bool,
    /// The host.
    pub host: Host,
    /// The port, which only URIs of relays may leave out (RFC 4976 §8).
    pub port: Option<u16>,
    /// `tcp`, `ws`; in lower case.
    pub transport: Arc<str>,
}

impl Uri {
    /// Reads a URI; says what is wrong with one that is none.
    pub fn parse(text: &str) -> Result<Uri, &'static str> {
        if text.len() > LONGEST || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("a URI has strange characters or is too long");
        }
        let (scheme, rest) = text.split_once("://").ok_or("a URI has no scheme")?;
        let secure = match scheme {
            _ if scheme.eq_ignore_ascii_case("msrp") => false,
            _ if scheme.eq_ignore_ascii_case("msrps") => true,
            _ => return Err("the scheme of a URI is not msrp or msrps"),
        };
        let authority_end = rest.find(['/', ';']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(authority_end);
        let host_port = authority.rsplit_once('@').map_or(authority, |(_, host_port)| host_port);
        let (host, port) = host_and_port(host_port)?;
        let (session, params) = match rest.strip_prefix('/') {
            Some(rest) => rest.split_once(';').map(|(session, params)| (Some(session), params)),
            None => rest.strip_prefix(';').map(|params| (None, params)),
        }
        .ok_or("a URI names no transport")?;
        if session.is_some_and(|session| session.is_empty() || !session.bytes().all(in_session)) {
            return Err("the session-id of a URI is malformed");
        }
        let transport = params.split(';').next().unwrap_or_default();
        if transport.is_empty() || !transport.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err("the transport of a URI is malformed");
        }
        let at = |part: &str| {
            let start = part.as_ptr() as usize - text.as_ptr() as usize;
            start as u16..(start + part.len()) as u16
        };
        Ok(Uri { secure, host, port, session: session.map(at), transport: at(transport), text: text.into() })
    }

    /// A URI of ours for a new session: its session-id names `partition` and cannot be guessed (§14.1).
    pub fn mint(mint: &mut Mint, partition: Partition, secure: bool, host: &Host, port: u16) -> Uri {
        let scheme = if secure { "msrps" } else { "msrp" };
        let text = format!("{scheme}://{host}:{port}/{};tcp", mint.token(partition));
        let token = text.len() - "xxxxxxxxxxxxxxxxxx;tcp".len()..text.len() - ";tcp".len();
        let transport = text.len() - "tcp".len()..text.len();
        let narrow = |range: Range<usize>| range.start as u16..range.end as u16;
        Uri {
            secure,
            host: host.clone(),
            port: Some(port),
            session: Some(narrow(token)),
            transport: narrow(transport),
            text: text.into(),
        }
    }

    /// The text, as it came.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// True for `msrps`.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port, if one is named.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The session-id, as it came: case counts.
    pub fn session(&self) -> Option<&str> {
        self.session.clone().map(|range| self.part(range))
    }

    /// `tcp`, `ws`, as it came: case does not count.
    pub fn transport(&self) -> &str {
        self.part(self.transport.clone())
    }

    /// Where a connection to this URI goes.
    pub fn hop(&self) -> Hop {
        Hop {
            secure: self.secure,
            host: self.host.clone(),
            port: self.port,
            transport: self.transport().to_ascii_lowercase().into(),
        }
    }

    fn part(&self, range: Range<u16>) -> &str {
        self.text.get(range.start.into()..range.end.into()).unwrap_or_default()
    }
}

impl PartialEq for Uri {
    fn eq(&self, other: &Uri) -> bool {
        self.text == other.text
            || self.secure == other.secure
                && self.host == other.host
                && self.port == other.port
                && self.session() == other.session()
                && self.transport().eq_ignore_ascii_case(other.transport())
    }
}

impl Eq for Uri {}

impl fmt::Display for Uri {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl Host {
    /// Reads a host as it stands in a URI or in `advertise`: a name, an IPv4 address, an IPv6 one with or without brackets.
    pub fn parse(text: &str) -> Option<Host> {
        let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = inner.parse::<IpAddr>() {
            return Some(Host::Ip(address));
        }
        let name = percent::decode(text.as_bytes()).ok()?;
        let is_name = !name.is_empty()
            && name.len() <= 253
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
        is_name.then(|| Host::Name(name.to_ascii_lowercase().into()))
    }

    /// The address, where it is one.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Host::Ip(address) => Some(*address),
            Host::Name(_) => None,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Ip(IpAddr::V6(address)) => write!(out, "[{address}]"),
            Host::Ip(IpAddr::V4(address)) => write!(out, "{address}"),
            Host::Name(name) => out.write_str(name),
        }
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}://{}", if self.secure { "msrps" } else { "msrp" }, self.host)?;
        if let Some(port) = self.port {
            write!(out, ":{port}")?;
        }
        write!(out, ";{}", self.transport)
    }
}

fn host_and_port(text: &str) -> Result<(Host, Option<u16>), &'static str> {
    const NO_HOST: &str = "the host of a URI is malformed";
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (inside, behind) = rest.split_once(']').ok_or(NO_HOST)?;
            let address: Ipv6Addr = inside.parse().map_err(|_| NO_HOST)?;
            let port = if behind.is_empty() { None } else { Some(behind.strip_prefix(':').ok_or(NO_HOST)?) };
            (Host::Ip(address.into()), port)
        }
        None => {
            let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
            (Host::parse(host).ok_or(NO_HOST)?, port)
        }
    };
    let port = match port {
        None => None,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse().map_err(|_| "the port of a URI is malformed")?)
        }
        Some(_) => return Err("the port of a URI is malformed"),
    };
    Ok((host, port))
}

/// `unreserved`, `+`, `=`, `/` by §9; and what else cannot be mistaken, since it only has to be given back.
fn in_session(byte: u8) -> bool {
    !matches!(byte, b';' | b'<' | b'>' | b'"' | b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::id::Seed;

    fn uri(text: &str) -> Uri {
        Uri::parse(text).unwrap_or_else(|wrong| panic!("{text}: {wrong}"))
    }

    #[test]
    fn the_parts_of_a_uri_are_found_and_its_text_is_kept() {
        let text = "MSRPS://alice:x@Host.Example.COM:8493/as/f+d=34;TCP;a=b;c";
        let read = uri(text);
        assert!(read.is_secure());
        assert_eq!(read.host(), &Host::Name("host.example.com".into()));
        assert_eq!(read.port(), Some(8493));
        assert_eq!(read.session(), Some("as/f+d=34"));
        assert_eq!(read.transport(), "TCP");
        assert_eq!(read.to_string(), text);
        assert_eq!(read.hop().to_string(), "msrps://host.example.com:8493;tcp");
        assert_eq!(uri("msrp://[2001:DB8::1]:9/x;ws").hop().to_string(), "msrp://[2001:db8::1]:9;ws");
        assert_eq!(uri("msrps://alice@intra.example.com;tcp").session(), None);
    }

    #[test]
    fn what_is_no_uri_is_refused() {
        for text in [
            "",
            "msrp:host/x;tcp",
            "sip://host/x;tcp",
            "msrp://host:1/x",
            "msrp://host:1/;tcp",
            "msrp://host:1/x;",
            "msrp://host:1/x;t p",
            "msrp:///x;tcp",
            "msrp://ho st:1/x;tcp",
            "msrp://host:99999/x;tcp",
            "msrp://host:+1/x;tcp",
            "msrp://[::1/x;tcp",
            "msrp://[::1]9/x;tcp",
            "msrp://%zz:1/x;tcp",
            "msrp://host:1/é;tcp",
        ] {
            assert!(Uri::parse(text).is_err(), "{text}");
        }
        assert!(Uri::parse(&format!("msrp://host:1/{};tcp", "x".repeat(LONGEST))).is_err());
    }

    #[test]
    fn uris_are_compared_by_scheme_host_port_session_and_transport() {
        let one = uri("msrp://alice@atlanta.example.com:2855/iau39;tcp");
        for same in [
            "MSRP://atlanta.example.com:2855/iau39;TCP",
            "msrp://bob@Atlanta.Example.com:2855/iau39;tcp;x=y",
            "msrp://%61tlanta.example.com:2855/iau39;tcp",
        ] {
            assert_eq!(one, uri(same), "{same}");
        }
        for other in [
            "msrps://atlanta.example.com:2855/iau39;tcp",
            "msrp://atlanta.example.org:2855/iau39;tcp",
            "msrp://atlanta.example.com:2856/iau39;tcp",
            "msrp://atlanta.example.com/iau39;tcp",
            "msrp://atlanta.example.com:2855/iAu39;tcp",
            "msrp://atlanta.example.com:2855;tcp",
            "msrp://atlanta.example.com:2855/iau39;ws",
        ] {
            assert_ne!(one, uri(other), "{other}");
        }
        assert_eq!(uri("msrp://[::1]:1/x;tcp"), uri("msrp://[0:0::0:1]:1/x;tcp"));
    }

    #[test]
    fn a_minted_uri_names_its_partition_and_reads_back() {
        let mut mint = Mint::new(Seed([3; 32]));
        for host in ["gw.example.com", "192.0.2.1", "2001:db8::1"] {
            let host = Host::parse(host).unwrap();
            let made = Uri::mint(&mut mint, Partition(0xa7), true, &host, 2855);
            let read = uri(made.as_str());
            assert_eq!(made, read);
            assert_eq!((made.session(), made.transport()), (read.session(), "tcp"));
            assert_eq!(Partition::of_token(made.session().unwrap()), Some(Partition(0xa7)));
        }
    }
}
