//! A server in a process of its own, so that its work isn't counted: pages for probes, and a shop for journeys.
#![allow(dead_code, reason = "each bench uses a part")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};

use super::beside::Running;

/// Bytes of a page for probes.
pub const PAGE: usize = 200;

/// So many may wait to be accepted. With fewer, connections that come all at once are dropped, and tried again by the
/// system of whoever makes them, a second later.
const BACKLOG: u32 = 4_096;

/// The running server.
pub struct Server {
    pub plain: u16,
    pub secure: u16,
    pub ca: tempfile::NamedTempFile,
    _running: Running,
}

impl Server {
    /// Starts this very program with `serve`, whose `main` must then call [`serve`].
    pub fn start() -> Self {
        let program = std::env::current_exe().unwrap();
        let mut child =
            Command::new(program).arg("serve").stdout(Stdio::piped()).stdin(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ports = lines.next().unwrap().unwrap();
        let (plain, secure) = ports.split_once(' ').unwrap();
        let mut ca = tempfile::NamedTempFile::new().unwrap();
        for line in lines {
            let line = line.unwrap();
            writeln!(ca, "{line}").unwrap();
            if line.starts_with("-----END") {
                break;
            }
        }
        Server { plain: plain.parse().unwrap(), secure: secure.parse().unwrap(), ca, _running: Running(child) }
    }
}

/// The server itself; it ends with whoever started it.
pub fn serve() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let (plain, secure) = (listener(), listener());
        println!("{} {}", plain.local_addr().unwrap().port(), secure.local_addr().unwrap().port());
        print!("{}", certificate.pem());
        std::io::stdout().flush().unwrap();
        std::thread::spawn(|| {
            let _ = std::io::stdin().read_line(&mut String::new());
            std::process::exit(0);
        });
        tokio::spawn(async move {
            while let Ok((stream, _)) = secure.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        answer(stream).await;
                    }
                });
            }
        });
        while let Ok((stream, _)) = plain.accept().await {
            let _ = stream.set_nodelay(true);
            tokio::spawn(answer(stream));
        }
    });
}

fn listener() -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    socket.listen(BACKLOG).unwrap()
}

/// Pages close their connection, the shop keeps it.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut asked = Vec::with_capacity(512);
    loop {
        let head = loop {
            if let Some(end) = memchr::memmem::find(&asked, b"\r\n\r\n") {
                break end + 4;
            }
            if !matches!(stream.read_buf(&mut asked).await, Ok(1..)) {
                return;
            }
        };
        let text = String::from_utf8_lossy(&asked[..head]).to_ascii_lowercase();
        let body = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok()).unwrap_or(0);
        while asked.len() < head + body {
            if !matches!(stream.read_buf(&mut asked).await, Ok(1..)) {
                return;
            }
        }
        asked.drain(..head + body);
        let line = text.lines().next().unwrap_or_default();
        if line.starts_with("get /slow") {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let (status, page) = shop(line).unwrap_or_else(|| ("200 OK", "x".repeat(PAGE)));
        let (kind, keep) = if page.starts_with('{') { ("application/json", true) } else { ("text/plain", false) };
        let connection = if keep { "" } else { "connection: close\r\n" };
        let length = page.len();
        let text =
            format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n{connection}\r\n{page}");
        if stream.write_all(text.as_bytes()).await.is_err() || !keep {
            let _ = stream.shutdown().await;
            return;
        }
    }
}

/// A shop that remembers nothing: what it answers is in the question.
fn shop(line: &str) -> Option<(&'static str, String)> {
    let mut words = line.split(' ');
    let (method, path) = (words.next()?, words.next()?);
    let rest = path.strip_prefix("/api/cart")?;
    let state = match (method, rest) {
        ("post", "") => return Some(("201 Created", r#"{"id":"c-17","account":"acme"}"#.to_owned())),
        ("post", rest) if rest.ends_with("/items") => r#"{"id":"c-17","items":["book-1"],"total":12.5}"#,
        ("post", rest) if rest.ends_with("/pay") => r#"{"id":"c-17","state":"authorized"}"#,
        ("get", _) => r#"{"id":"c-17","items":["book-1"],"state":"open"}"#,
        _ => r#"{"id":"c-17","state":"dropped"}"#,
    };
    Some(("200 OK", state.to_owned()))
}
