//! The `msrp` section as the rest of the program sees it, and who we are to TLS.
//!
//! The certificate and its key are read with the configuration, so that a wrong pair is a mistake of `mostar check` and
//! not of the first session.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Auth;
use super::values::Bad;
use crate::msrp::relay::Account;
use crate::msrp::uri::{Host, Uri};

/// Where the listener is when none is written: as the default of the option says.
const LISTEN: &str = "127.0.0.1:2855";

/// The `msrp` section.
#[derive(Clone, Debug)]
pub struct Msrp {
    /// Where we take connections. With nothing here there are no chat sessions.
    pub listen: Vec<MsrpListen>,
    /// What paths name: `msrp.advertise`, else `sip.advertise`; the listener's own address when absent.
    pub advertise: Option<Host>,
    /// Who we are to TLS. It is there where a listener needs it.
    pub identity: Option<Arc<Identity>>,
    /// Networks that we connect to, besides those that need no word.
    pub connect_to: Vec<IpNet>,
    /// Through which all sessions go.
    pub relay: Option<Relay>,
}

/// A relay of our own.
#[derive(Clone, Debug)]
pub struct Relay {
    /// Where it is.
    pub uri: Uri,
    /// What answers its challenge.
    pub auth: Auth,
}

impl Relay {
    /// What MSRP needs to know.
    pub fn account(&self) -> Account {
        Account {
            relay: self.uri.clone(),
            username: self.auth.username.clone(),
            password: self.auth.password.reveal().to_owned(),
        }
    }
}

impl Default for Msrp {
    fn default() -> Self {
        let listen =
            LISTEN.parse().map(|address| MsrpListen { secure: false, address }).into_iter().collect();
        Msrp { listen, advertise: None, identity: None, connect_to: Vec::new(), relay: None }
    }
}

impl Msrp {
    /// What a URI of ours names, for [`Uri::mint`](crate::msrp::uri::Uri::mint): the host and port of a listener with or
    /// without TLS, where there is one, and rather one of the family of `near`, an address of the peer's.
    pub fn path_host(&self, secure: bool, near: Option<IpAddr>) -> Option<(Host, u16)> {
        let fits = |listen: &&MsrpListen| listen.secure == secure;
        let same = |listen: &&MsrpListen| near.is_none_or(|near| near.is_ipv6() == listen.address.is_ipv6());
        let mut of_kind = self.listen.iter().filter(fits);
        let listen = of_kind.clone().find(same).or_else(|| of_kind.next())?;
        let host = self.advertise.clone().unwrap_or(Host::Ip(listen.address.ip()));
        Some((host, listen.address.port()))
    }

    /// The value of `a=fingerprint` for what we offer over TLS: `SHA-256 4A:AD:…`.
    pub fn fingerprint(&self) -> Option<&str> {
        self.identity.as_ref().map(|identity| identity.fingerprint.as_str())
    }
}

/// One listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MsrpListen {
    /// With TLS: `msrps`.
    pub secure: bool,
    /// The address to bind.
    pub address: SocketAddr,
}

impl std::fmt::Display for MsrpListen {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}://{}", if self.secure { "tls" } else { "tcp" }, self.address)
    }
}

/// A certificate with those that vouch for it, and its key.
pub struct Identity {
    /// Ours first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key; never printed.
    pub key: PrivateKeyDer<'static>,
    /// Its hash, as in `a=fingerprint`.
    pub fingerprint: String,
}

impl Identity {
    /// From the text of two PEM files. What is wrong is told with the file that it is in: true for the key's.
    pub fn read(certificate: &[u8], key: &[u8]) -> Result<Identity, (bool, Bad)> {
        let bad = |is_key, what: &str, help: &str| (is_key, Bad { what: what.into(), help: help.into() });
        let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>();
        let Some(chain) = chain.ok().filter(|chain| !chain.is_empty()) else {
            let help =
                "it begins with -----BEGIN CERTIFICATE-----; ours comes first, then those that vouch for it";
            return Err(bad(false, "this file holds no certificate in PEM", help));
        };
        let Ok(key) = PrivateKeyDer::from_pem_slice(key) else {
            let help = "it begins with -----BEGIN PRIVATE KEY-----, and has no passphrase";
            return Err(bad(true, "this file holds no private key in PEM", help));
        };
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        builder
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder.with_no_client_auth().with_single_cert(chain.clone(), key.clone_key())
            })
            .map_err(|error| {
                let what = format!("certificate and key cannot be used together: {error}");
                bad(true, &what, "name the key that the certificate was made with")
            })?;
        let fingerprint = fingerprint(&chain[0]);
        Ok(Identity { chain, key, fingerprint })
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.fingerprint)
    }
}

fn fingerprint(certificate: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
    let mut text = String::from("SHA-256 ");
    for (index, byte) in digest.as_ref().iter().enumerate() {
        let colon = if index == 0 { "" } else { ":" };
        // Writing to a String cannot fail.
        let _ = write!(text, "{colon}{byte:02X}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(secure: bool, address: &str) -> MsrpListen {
        MsrpListen { secure, address: address.parse().unwrap() }
    }

    #[test]
    fn a_path_names_the_listener_of_its_kind_and_rather_of_the_peers_family() {
        let mut msrp = Msrp {
            listen: vec![
                listen(false, "192.0.2.9:2855"),
                listen(false, "[2001:db8::9]:2856"),
                listen(true, "192.0.2.9:2857"),
            ],
            ..Msrp::default()
        };
        let told = |msrp: &Msrp, secure, near: Option<&str>| {
            let near = near.map(|near| near.parse().unwrap());
            msrp.path_host(secure, near).map(|(host, port)| format!("{host}:{port}"))
        };
        assert_eq!(told(&msrp, false, None).as_deref(), Some("192.0.2.9:2855"));
        assert_eq!(told(&msrp, false, Some("2001:db8::1")).as_deref(), Some("[2001:db8::9]:2856"));
        assert_eq!(told(&msrp, true, Some("2001:db8::1")).as_deref(), Some("192.0.2.9:2857"));
        msrp.advertise = Host::parse("gw.example.org");
        assert_eq!(told(&msrp, true, None).as_deref(), Some("gw.example.org:2857"));
        msrp.listen.pop();
        assert_eq!(told(&msrp, true, None), None);
    }
}
