//! The world of tests and benches: one component, one listed XMPP domain, one peer. `tests/vectors/README.md` says it
//! in words.

use std::time::Duration;

use mostar::config::{
    Component, Config, Identity, Listen, Messages, Msrp, Peer, Secret, Sip, Xmpp, XmppDomain,
};
use mostar::msrp::uri::Host;
use mostar::sip::flow::Transport;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// The configuration of every vector, before its `config` lines, and of the benches that play no process.
pub fn config() -> Config {
    Config {
        xmpp: Xmpp {
            server: "127.0.0.1:5347".into(),
            components: vec![Component {
                domain: "example.net".into(),
                sip_domain: "example.net".into(),
                secret: Secret::new("vector"),
                any_domain: false,
                rooms: false,
            }],
            domains: vec![XmppDomain {
                domain: "example.com".into(),
                sip_alias: "example.com".into(),
                rooms: false,
            }],
        },
        sip: Sip {
            listen: vec![
                Listen { transport: Transport::Tcp, address: "192.0.2.9:5060".parse().unwrap() },
                Listen { transport: Transport::Udp, address: "192.0.2.9:5060".parse().unwrap() },
            ],
            advertise: Host::parse("gateway.example.org"),
            peers: vec![Peer {
                uri: "sip:192.0.2.1:5060;transport=tcp".into(),
                host: "192.0.2.1".into(),
                port: Some(5060),
                transport: Some(Transport::Tcp),
                may_send_from: vec!["example.net".into()],
                any_domain: false,
                networks: Vec::new(),
                auth: None,
                long_messages: false,
                trust_dates: true,
                msrp: Default::default(),
            }],
        },
        msrp: Msrp { advertise: Host::parse("gateway.example.org"), ..Msrp::default() },
        store: "/nonexistent".into(),
        http: None,
        mappings: Default::default(),
        sessions: std::sync::Arc::new(mostar::features::sessions::whole(None)),
        stop_timeout: Duration::from_secs(60),
        messages: Messages::default(),
        rooms: Default::default(),
        record: None,
    }
}

/// A second component, whose users are rooms of SIP.
#[allow(dead_code)]
pub fn add_conference(config: &mut Config, domain: &str) {
    let first = config.xmpp.components[0].clone();
    let (domain, sip_domain) = (domain.to_owned(), domain.to_owned());
    config.sip.peers[0].may_send_from.push(domain.clone());
    config.xmpp.components.push(Component { domain, sip_domain, rooms: true, ..first });
}

/// A second domain of XMPP, whose users are rooms.
#[allow(dead_code)]
pub fn add_rooms(config: &mut Config, domain: &str) {
    let (domain, sip_alias) = (domain.to_owned(), domain.to_owned());
    config.xmpp.domains.push(XmppDomain { domain, sip_alias, rooms: true });
}

/// Somebody to be to TLS, where nobody looks at more than the fingerprint.
#[allow(dead_code)]
pub fn identity() -> Identity {
    let key = PrivateKeyDer::Pkcs8(Vec::new().into());
    Identity { chain: Vec::new(), key, fingerprint: "SHA-256 4A:AD:B9:B1".into() }
}
