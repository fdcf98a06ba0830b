//! The shop over TLS, with a certificate of its own authority, whose root lies beside the logs as `ca.pem`.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::connections::{Connection, MAX_CONNECTIONS};

/// The name in the certificate.
pub const NAME: &str = "shop.example";
/// The file of the authority's root, beside the logs.
pub const ROOT: &str = "ca.pem";
/// A handshake that takes longer is given up.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Handshakes that are done and wait to be served.
const QUEUE: usize = 64;

/// Why there is no certificate.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Makes an authority and a certificate, and writes the authority's root down.
pub fn certificate(directory: &Path) -> Result<TlsAcceptor, Failure> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "The bookshop's own authority");
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

    let key = KeyPair::generate()?;
    let names = vec![NAME.to_owned(), "localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut shop = CertificateParams::new(names)?;
    shop.distinguished_name.push(DnType::CommonName, NAME);
    let now = time::OffsetDateTime::from_unix_timestamp(super::clock::now_millis() / 1_000)?;
    shop.not_before = now - time::Duration::days(1);
    shop.not_after = now + time::Duration::days(90);
    let shop = shop.signed_by(&key, &authority)?;
    std::fs::write(directory.join(ROOT), authority.pem())?;

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![shop.der().clone(), authority.der().clone()], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves until told to stop.
pub fn serve(
    listener: TcpListener,
    tls: TlsAcceptor,
    router: Router,
    stopping: CancellationToken,
) -> Vec<JoinHandle<()>> {
    let address = listener.local_addr();
    let (ready, queue) = mpsc::channel(QUEUE);
    let shaking = tokio::spawn(shake_hands(listener, tls, ready, stopping.clone()));
    let serving = tokio::spawn(async move {
        let secured = Secured { queue, address };
        let served = axum::serve(secured, router).with_graceful_shutdown(stopping.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::warn!(%error, "the shop stopped serving over TLS");
        }
    });
    vec![shaking, serving]
}

async fn shake_hands(
    listener: TcpListener,
    tls: TlsAcceptor,
    ready: mpsc::Sender<(Connection<TlsStream<TcpStream>>, SocketAddr)>,
    stopping: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // The semaphore is never closed, so there always is a permit in the end.
        let permit = tokio::select! {
            permit = room.clone().acquire_owned() => permit.ok(),
            () = stopping.cancelled() => return,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopping.cancelled() => return,
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (tls, ready) = (tls.clone(), ready.clone());
        tokio::spawn(async move {
            if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
                // Without a receiver the shop is closing.
                let _ = ready.send((Connection::new(stream, permit), peer)).await;
            }
        });
    }
}

struct Secured {
    queue: mpsc::Receiver<(Connection<TlsStream<TcpStream>>, SocketAddr)>,
    address: std::io::Result<SocketAddr>,
}

impl Listener for Secured {
    type Io = Connection<TlsStream<TcpStream>>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        match self.queue.recv().await {
            Some(connection) => connection,
            // Nobody shakes hands any more: the shop is closing, and the server is told so by its own token.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        match &self.address {
            Ok(address) => Ok(*address),
            Err(error) => Err(std::io::Error::new(error.kind(), error.to_string())),
        }
    }
}
