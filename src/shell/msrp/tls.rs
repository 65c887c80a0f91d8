//! TLS for MSRP (RFC 4975 §14.2 and §14.4, RFC 8122): our certificate for those who connect, and how the certificates
//! of those to whom we connect are checked.
//!
//! With a fingerprint from the SDP the certificate must have that, and nothing else counts (§14.4). Without one, as with
//! relays, its name must be that of the path and an authority that this machine trusts must vouch for it (§14.2). Who
//! connects to us is asked for no certificate: the session-id that it must know came through the SDP.

use std::sync::Arc;

use ring::digest::{self, Algorithm};
use tokio::sync::OnceCell;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, ring::default_provider, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::config::Identity;
use crate::msrp::uri::Host;

/// Both roles.
pub struct Tls {
    provider: Arc<CryptoProvider>,
    identity: Option<Arc<Identity>>,
    /// What the authorities that this machine trusts vouch for; read when it is first needed.
    by_name: OnceCell<Result<Arc<ClientConfig>, String>>,
}

impl Tls {
    /// With this identity.
    pub fn new(identity: Option<Arc<Identity>>) -> Tls {
        Tls { provider: Arc::new(default_provider()), identity, by_name: OnceCell::new() }
    }

    /// For connections that come in; nothing without a certificate.
    pub fn acceptor(&self) -> Result<Option<TlsAcceptor>, String> {
        let Some(identity) = &self.identity else { return Ok(None) };
        let config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                let (chain, key) = (identity.chain.clone(), identity.key.clone_key());
                builder.with_no_client_auth().with_single_cert(chain, key)
            })
            .map_err(|error| format!("cannot use the certificate: {error}"))?;
        Ok(Some(TlsAcceptor::from(Arc::new(config))))
    }

    /// For a connection that we open, by fingerprint or by name.
    pub async fn connector(&self, fingerprint: Option<&str>) -> Result<TlsConnector, String> {
        let config = match fingerprint {
            Some(text) => {
                let pinned = Pinned::parse(text, self.provider.clone())?;
                Arc::new(self.client(|builder| {
                    builder.dangerous().with_custom_certificate_verifier(Arc::new(pinned))
                })?)
            }
            None => self.by_name.get_or_init(|| self.read_authorities()).await.clone()?,
        };
        Ok(TlsConnector::from(config))
    }

    async fn read_authorities(&self) -> Result<Arc<ClientConfig>, String> {
        // They are files.
        let found = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.map_err(|error| error.to_string())?.certs);
        if roots.is_empty() {
            return Err("this machine trusts no authority, and the SDP has no fingerprint".into());
        }
        self.client(|builder| builder.with_root_certificates(roots)).map(Arc::new)
    }

    fn client(&self, check: impl FnOnce(Unchecked) -> Checked) -> Result<ClientConfig, String> {
        let builder = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = check(builder);
        match &self.identity {
            // Some ask for it: they have our fingerprint.
            Some(identity) => builder
                .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
                .map_err(|error| error.to_string()),
            None => Ok(builder.with_no_client_auth()),
        }
    }
}

type Unchecked = tokio_rustls::rustls::ConfigBuilder<ClientConfig, tokio_rustls::rustls::WantsVerifier>;
type Checked =
    tokio_rustls::rustls::ConfigBuilder<ClientConfig, tokio_rustls::rustls::client::WantsClientCert>;

/// The name that a certificate must have.
pub fn server_name(host: &Host) -> Result<ServerName<'static>, String> {
    match host {
        Host::Ip(address) => Ok(ServerName::IpAddress((*address).into())),
        Host::Name(name) => {
            ServerName::try_from(name.to_string()).map_err(|_| format!("{name} is no name for TLS"))
        }
    }
}

/// Takes the one certificate whose hash is known.
#[derive(Debug)]
struct Pinned {
    algorithm: &'static Algorithm,
    hash: Vec<u8>,
    provider: Arc<CryptoProvider>,
}

impl Pinned {
    /// From the value of `a=fingerprint` (RFC 8122 §5): a hash function and pairs of hexadecimal digits.
    fn parse(text: &str, provider: Arc<CryptoProvider>) -> Result<Pinned, String> {
        let (name, hex) =
            text.trim().split_once(' ').ok_or("the fingerprint of the SDP names no function")?;
        let algorithm = match name.to_ascii_lowercase().as_str() {
            "sha-1" => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            "sha-256" => &digest::SHA256,
            "sha-384" => &digest::SHA384,
            "sha-512" => &digest::SHA512,
            _ => return Err("the fingerprint of the SDP is by a function that is not known here".into()),
        };
        let hash = hex.trim().split(':').map(|pair| match pair.len() {
            2 => u8::from_str_radix(pair, 16).ok(),
            _ => None,
        });
        let hash: Option<Vec<u8>> = hash.collect();
        match hash.filter(|hash| hash.len() == algorithm.output_len()) {
            Some(hash) => Ok(Pinned { algorithm, hash, provider }),
            None => Err("the fingerprint of the SDP is malformed".into()),
        }
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if digest::digest(self.algorithm, end_entity).as_ref() == self.hash {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Why a handshake of ours failed, for people.
pub fn explain(error: &std::io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)) => {
            "its certificate does not have the fingerprint of the SDP".into()
        }
        _ => format!("TLS: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_as_they_are_written() {
        let read =
            |text: &str| Pinned::parse(text, Arc::new(default_provider())).map(|pinned| pinned.hash.len());
        let pairs = |count| vec!["4a"; count].join(":").to_uppercase();
        assert_eq!(read(&format!("SHA-1 {}", pairs(20))), Ok(20));
        assert_eq!(read(&format!("sha-256  {} ", pairs(32).to_lowercase())), Ok(32));
        assert_eq!(read(&format!("sha-512 {}", pairs(64))), Ok(64));
        for wrong in ["", "sha-256", "md5 4A", "sha-1 4A:AD", "sha-1 zz", "sha-256 +1:+2"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(read(&format!("sha-256 {}", pairs(20))).is_err());
    }
}
