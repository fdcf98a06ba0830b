//! Servers of the tests' own, on loopback: they say exactly what a test tells them to, over plain TCP, TLS or UDP.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::{RData, Record};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

/// What a running server has been asked.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// The head of each request, in order.
    pub(crate) heads: Arc<Mutex<Vec<String>>>,
    pub(crate) connections: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) fn url(&self, path: &str) -> url::Url {
        url::Url::parse(&format!("http://{}{path}", self.address)).unwrap()
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// In this much time everything here is done; only a hang takes longer.
pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// A deadline that is meant to run out.
pub(crate) fn shortly() -> Instant {
    Instant::now() + Duration::from_millis(300)
}

/// Takes connections; what happens on each is up to `script`, which is given its number from 0.
pub(crate) async fn tcp<F>(script: impl Fn(usize, TcpStream) -> F + Send + 'static) -> Server
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server { address: listener.local_addr().unwrap(), heads: Arc::default(), connections: Arc::default() };
    let counter = Arc::clone(&server.connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(script(counter.fetch_add(1, Ordering::SeqCst), stream));
        }
    });
    server
}

/// Answers each request with what `answer` makes of its head, as raw bytes, and closes the connection.
pub(crate) async fn http(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Server {
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let (noted, answer) = (Arc::clone(&heads), Arc::new(answer));
    let server = tcp(move |_, mut stream| {
        let (noted, answer) = (Arc::clone(&noted), Arc::clone(&answer));
        async move {
            let head = read_head(&mut stream).await;
            let bytes = answer(&head);
            noted.lock().unwrap().push(head);
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
            drain(&mut stream).await;
        }
    })
    .await;
    Server { heads, ..server }
}

/// Everything up to the empty line.
pub(crate) async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// Reads on until the other side closes, so that closing is no reset.
pub(crate) async fn drain(stream: &mut (impl AsyncRead + Unpin)) {
    let mut buffer = [0; 4096];
    while matches!(stream.read(&mut buffer).await, Ok(1..)) {}
}

pub(crate) fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

pub(crate) fn redirect(status: u16, location: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Elsewhere\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n").into_bytes()
}

/// A root of the tests' own, and certificates under it.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

/// A certificate chain and its key.
pub(crate) struct Identity {
    chain: Vec<rustls::pki_types::CertificateDer<'static>>,
    key: KeyPair,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let folder = tempfile::tempdir().unwrap();
        params.distinguished_name.push(DnType::CommonName, format!("Root of {}", folder.path().display()));
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(folder.path().join("root.pem"), issuer.pem()).unwrap();
        Authority { issuer, folder }
    }

    /// The file to name as `ca`.
    pub(crate) fn pem(&self) -> PathBuf {
        self.folder.path().join("root.pem")
    }

    /// A good certificate for these names, but for what `change` makes of it.
    pub(crate) fn issue(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity { chain: vec![certificate.der().clone()], key }
    }
}

/// A certificate that nobody but itself vouches for.
pub(crate) fn self_signed(names: &[&str]) -> Identity {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    Identity { chain: vec![certificate.der().clone()], key }
}

impl Identity {
    pub(crate) fn acceptor(&self, alpn: &[&[u8]]) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(self.key.serialize_der()).into();
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }

    /// The same for clients that show a certificate of this authority, and for nobody else.
    pub(crate) fn acceptor_for(&self, authority: &Authority) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority.issuer.der().clone()).unwrap();
        let verifier =
            rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(self.key.serialize_der()).into();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(self.chain.clone(), key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    /// The certificate and its key as PEM.
    pub(crate) fn pem(&self) -> (String, String) {
        let body = base64::engine::general_purpose::STANDARD.encode(&self.chain[0]);
        let certificate = format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
        (certificate, self.key.serialize_pem())
    }

    /// Answers each request over TLS with `ok`.
    pub(crate) async fn serve(&self) -> Server {
        serve(self.acceptor(&[])).await
    }
}

/// Answers each request over TLS with `ok`.
pub(crate) async fn serve(acceptor: TlsAcceptor) -> Server {
    tcp(move |_, stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            read_head(&mut stream).await;
            let _ = stream.write_all(&ok("hello")).await;
            let _ = stream.shutdown().await;
            drain(&mut stream).await;
        }
    })
    .await
}

/// What a name server of the tests' own says to the n-th question (from 0).
pub(crate) enum Says {
    Code(ResponseCode),
    Records(Vec<(u32, RData)>),
    /// These records, by a server that answers for the zone (AA) and has validated what it says (AD).
    Certain(Vec<(u32, RData)>),
    /// No answer, but these in the authority section.
    Elsewhere(Vec<(u32, RData)>),
    Nothing,
    /// These bytes, after the question's id.
    Raw(Vec<u8>),
}

/// A name server over UDP.
pub(crate) async fn dns(script: impl Fn(usize, &Message) -> Says + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        for number in 0.. {
            let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
            let asked = Message::from_vec(&buffer[..length]).unwrap();
            let Some(bytes) = reply(&asked, script(number, &asked)) else { continue };
            let _ = socket.send_to(&bytes, from).await;
        }
    });
    address
}

pub(crate) fn reply(asked: &Message, says: Says) -> Option<Vec<u8>> {
    let mut message = Message::new(asked.metadata.id, MessageType::Response, asked.metadata.op_code);
    message.metadata.recursion_available = true;
    message.add_query(asked.queries[0].clone());
    match says {
        Says::Nothing => return None,
        Says::Raw(bytes) => return Some([&asked.metadata.id.to_be_bytes()[..], &bytes].concat()),
        Says::Code(code) => message.metadata.response_code = code,
        Says::Elsewhere(records) => {
            let name = asked.queries[0].name.clone();
            for (ttl, data) in records {
                message.add_authority(Record::from_rdata(name.clone(), ttl, data));
            }
        }
        Says::Certain(records) => {
            message.metadata.authoritative = true;
            message.metadata.authentic_data = asked.metadata.authentic_data;
            for (ttl, data) in records {
                message.add_answer(Record::from_rdata(asked.queries[0].name.clone(), ttl, data));
            }
        }
        Says::Records(records) => {
            let name = asked.queries[0].name.clone();
            for (ttl, data) in records {
                message.add_answer(Record::from_rdata(name.clone(), ttl, data));
            }
        }
    }
    Some(message.to_vec().unwrap())
}
