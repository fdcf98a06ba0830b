//! TLS handshakes that say what they saw: the chain and its expiry are known even where verification fails.
//!
//! One rustls configuration per distinct set of options is made and kept (loading the system's roots costs
//! milliseconds, a handshake less). Each connection clones it with a verifier of its own that notes what was shown.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Host;

use super::budget::Budget;
use super::dial::Target;
use super::guard::Reach;
use super::http::{Client, Failure, IpVersion, Reason, Timings, TlsOptions};
use super::progress::{Progress, Stage};

mod certificate;
mod identity;
mod staple;
mod words;

pub use certificate::{Certificates, Link};
pub use identity::ClientIdentity;
pub use staple::{Staple, StapledStatus};

/// Configurations by what they are made from; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct TlsConfigs(Arc<Mutex<Made>>);

#[derive(Debug, Default)]
struct Made {
    configs: HashMap<Of, (Option<SystemTime>, Base)>,
}

/// What a configuration is made from: the CA file and the client's own certificate, as its digest.
type Of = (Option<PathBuf>, Option<[u8; 32]>);

/// The most configurations that are kept: a certificate that is renewed every hour leaves one behind each time.
const KEPT: usize = 256;

/// What is shared by all connections with the same roots and the same client certificate.
#[derive(Debug, Clone)]
struct Base {
    config: Arc<ClientConfig>,
    verifier: Arc<WebPkiServerVerifier>,
}

/// Whether a certificate that fails verification ends the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verify {
    Require,
    /// Go on, and say what was wrong.
    Report,
}

/// Where to shake hands, and what is trusted there.
#[derive(Debug, Clone)]
pub struct Handshake {
    pub host: Host<String>,
    pub port: u16,
    pub ip: Option<IpVersion>,
    pub tls: TlsOptions,
    pub budget: Budget,
    pub deadline: Instant,
}

/// A handshake that came to its end.
#[derive(Debug, Clone)]
pub struct Report {
    pub shown: Shown,
    pub timings: Timings,
}

impl Handshake {
    /// Connects and shakes hands; a certificate that can't be verified is told in the report and ends nothing.
    ///
    /// # Errors
    /// A [`Failure`] where there was no TLS session at all.
    pub async fn report(&self, client: &Client) -> Result<Report, Failure> {
        let mut progress = Progress::new();
        match tokio::time::timeout_at(self.deadline, self.shake(client, &mut progress)).await {
            Ok(result) => result,
            Err(_) => Err(progress.timed_out(self.deadline)),
        }
    }

    async fn shake(&self, client: &Client, progress: &mut Progress) -> Result<Report, Failure> {
        let target = Target {
            host: borrowed(&self.host),
            port: self.port,
            ip: self.ip,
            budget: self.budget,
            reach: Reach::Anywhere,
        };
        let connected = client.dialer().connect(&target, progress).await?;
        progress.enter(Stage::Tls);
        let host = self.host.to_string();
        let (stream, shown) = client.tls().handshake(connected.stream, &host, &self.tls, &[], Verify::Report).await;
        progress.certificate_expiry = shown.certificates.as_ref().and_then(|certificates| certificates.expiry);
        if let Err((reason, what)) = stream {
            return Err(progress.fail(reason, what));
        }
        progress.timings.tls = Some(progress.since().elapsed());
        progress.timings.total = progress.total();
        Ok(Report { shown, timings: progress.timings })
    }
}

/// The same host without owning its name.
pub(super) fn borrowed(host: &Host<String>) -> Host<&str> {
    match host {
        Host::Domain(name) => Host::Domain(name.as_str()),
        Host::Ipv4(ip) => Host::Ipv4(*ip),
        Host::Ipv6(ip) => Host::Ipv6(*ip),
    }
}

/// What a handshake showed, whether or not it was completed.
#[derive(Debug, Clone, Default)]
pub struct Shown {
    pub certificates: Option<Certificates>,
    /// What is wrong with the certificate; `None` where it was verified or never seen.
    pub failure: Option<String>,
    /// `TLSv1.3`
    pub version: Option<&'static str>,
    /// `TLS13_AES_256_GCM_SHA384`
    pub cipher: Option<&'static str>,
    /// What was stapled to the certificate.
    pub staple: Option<Staple>,
}

impl TlsConfigs {
    /// A handshake over a fresh connection. Has no deadline of its own.
    ///
    /// # Errors
    /// Whose fault it was and what happened, beside what was shown up to there.
    pub(super) async fn handshake(
        &self,
        stream: TcpStream,
        host: &str,
        options: &TlsOptions,
        alpn: &[&[u8]],
        verify: Verify,
    ) -> (Result<TlsStream<TcpStream>, (Reason, String)>, Shown) {
        let base = match self.base(options) {
            Ok(base) => base,
            Err(what) => return (Err((Reason::Ours, what)), Shown::default()),
        };
        let name = options.server_name.as_deref().unwrap_or(host);
        let bare = name.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
        let Ok(server_name) = ServerName::try_from(bare.to_owned()) else {
            let what = format!("`{}` can't be the name of a TLS server", words::bounded(bare));
            return (Err((Reason::Ours, what)), Shown::default());
        };
        let verify = if options.insecure { Verify::Report } else { verify };
        let recorder = Arc::new(Recorder { inner: base.verifier, verify, noted: Mutex::default() });
        let mut config = ClientConfig::clone(&base.config);
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        config.dangerous().set_certificate_verifier(Arc::clone(&recorder) as Arc<dyn ServerCertVerifier>);

        let result = TlsConnector::from(Arc::new(config)).connect(server_name, stream).await;
        let mut shown = recorder.shown(bare);
        match result {
            Ok(stream) => {
                shown.version = stream.get_ref().1.protocol_version().and_then(|version| version.as_str());
                shown.cipher = stream.get_ref().1.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
                (Ok(stream), shown)
            }
            Err(error) => {
                let what = match &shown.failure {
                    Some(failure) if verify == Verify::Require => failure.clone(),
                    _ => handshake_error(&error),
                };
                (Err((Reason::Service, what)), shown)
            }
        }
    }

    /// How many configurations were made and are kept.
    #[cfg(test)]
    pub(super) fn made(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).configs.len()
    }

    fn base(&self, options: &TlsOptions) -> Result<Base, String> {
        let ca = options.ca.as_ref();
        let changed = ca.and_then(|path| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok());
        let of: Of = (ca.cloned(), options.identity.as_ref().map(|identity| identity.digest()));
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, base)) = made.configs.get(&of).filter(|(time, _)| *time == changed) {
            return Ok(base.clone());
        }
        let roots = match ca {
            Some(path) => roots_of(path)?,
            None => system_roots(),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let base = build(provider, roots, options.identity.as_deref())?;
        if made.configs.len() >= KEPT {
            made.configs.clear(); // what is in use is made once more
        }
        made.configs.insert(of, (changed, base.clone()));
        Ok(base)
    }
}

fn build(
    provider: Arc<CryptoProvider>,
    roots: RootCertStore,
    identity: Option<&ClientIdentity>,
) -> Result<Base, String> {
    let unfit = |error: String| format!("TLS can't be set up: {error}");
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|error| unfit(error.to_string()))?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unfit(error.to_string()))?
        .with_webpki_verifier(Arc::clone(&verifier));
    let mut config = match identity {
        Some(identity) => {
            let (chain, key) = identity.read()?;
            builder.with_client_auth_cert(chain, key).map_err(|error| identity.refused(&error))?
        }
        None => builder.with_no_client_auth(),
    };
    // Each probe is a first visit: a resumed session would hide the certificate and flatter the timing.
    config.resumption = Resumption::disabled();
    Ok(Base { config: Arc::new(config), verifier })
}

/// The host's roots, or Mozilla's where the host has none.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

fn roots_of(path: &PathBuf) -> Result<RootCertStore, String> {
    let shown = path.display();
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| format!("CA file {shown} can't be read: {error}"))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| format!("CA file {shown} is not PEM: {error}"))?;
        roots.add(certificate).map_err(|error| format!("CA file {shown} holds no usable certificate: {error}"))?;
    }
    if roots.is_empty() { Err(format!("CA file {shown} holds no certificate")) } else { Ok(roots) }
}

/// Verifies as usual and notes what was shown.
#[derive(Debug)]
struct Recorder {
    inner: Arc<WebPkiServerVerifier>,
    verify: Verify,
    noted: Mutex<Noted>,
}

#[derive(Debug, Default)]
struct Noted {
    chain: Vec<CertificateDer<'static>>,
    failure: Option<rustls::Error>,
    staple: Option<Staple>,
}

impl Recorder {
    fn shown(&self, name: &str) -> Shown {
        let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let certificates = (!noted.chain.is_empty()).then(|| Certificates::read(&noted.chain));
        let failure = noted.failure.as_ref().map(|error| words::certificate(error, name, certificates.as_ref()));
        Shown { certificates, failure, version: None, cipher: None, staple: noted.staple.clone() }
    }

    fn judge<T>(&self, result: Result<T, rustls::Error>, go_on: fn() -> T) -> Result<T, rustls::Error> {
        let Err(error) = result else { return result };
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.failure.get_or_insert_with(|| error.clone());
        match self.verify {
            Verify::Require => Err(error),
            Verify::Report => Ok(go_on()),
        }
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        {
            let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            let chain = std::iter::once(end_entity).chain(intermediates);
            noted.chain = chain.map(|certificate| certificate.clone().into_owned()).collect();
            noted.staple = Staple::read(ocsp_response, Some(end_entity));
        }
        let result = self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        self.judge(result, ServerCertVerified::assertion)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.judge(self.inner.verify_tls12_signature(message, cert, dss), HandshakeSignatureValid::assertion)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.judge(self.inner.verify_tls13_signature(message, cert, dss), HandshakeSignatureValid::assertion)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// A TLS error that came after the handshake, in words: in TLS 1.3 a server says only then that it wants a client
/// certificate, or another one.
pub(super) fn later_alert(error: &io::Error) -> Option<String> {
    let error = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>())?;
    Some(words::handshake(error))
}

fn handshake_error(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(error) => words::handshake(error),
        None => match error.kind() {
            io::ErrorKind::UnexpectedEof => "connection closed in the TLS handshake".to_owned(),
            io::ErrorKind::ConnectionReset => "connection reset in the TLS handshake".to_owned(),
            _ => format!("TLS handshake: {error}"),
        },
    }
}
