//! CPU-seconds per 1,000 HTTP probes, each over a connection of its own with its phases timed, on one thread.
//!
//! The server runs in a process of its own, so that its work isn't counted. Processor time (user and system) is what to
//! compare; wall time says little on a busy machine. Peers on the same page: blackbox_exporter 0.53 CPU-s per 1,000,
//! check_http 2.5, curl as a process a probe 8.4; over TLS blackbox_exporter 1.14.
//!
//! `cargo bench --bench http_probe`
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::exit, reason = "a bench tells people what it measured")]
#![allow(clippy::disallowed_methods, reason = "a bench starts its own server and reads no configuration")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use houston::net::budget::{Budgets, Limit, Limits};
use houston::net::dial::Dialer;
use houston::net::http::{Client, Request, TlsOptions};
use rcgen::{CertificateParams, KeyPair};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::Instant;
use url::Url;

const PAGE: usize = 200;

fn main() {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("serve") => serve(),
        _ => measure(),
    }
}

/// A server in another process; ends with this one.
struct Server {
    child: Child,
    plain: u16,
    secure: u16,
    ca: tempfile::NamedTempFile,
}

impl Server {
    fn start() -> Self {
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
        Server { plain: plain.parse().unwrap(), secure: secure.parse().unwrap(), child, ca }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve() {
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
        let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let secure = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{} {}", plain.local_addr().unwrap().port(), secure.local_addr().unwrap().port());
        print!("{}", certificate.pem());
        std::io::stdout().flush().unwrap();
        // Ends when whoever started it is gone.
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
            tokio::spawn(answer(stream));
        }
    });
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut head = Vec::with_capacity(512);
    while !head.ends_with(b"\r\n\r\n") {
        if !matches!(stream.read_buf(&mut head).await, Ok(1..)) {
            return;
        }
    }
    if head.starts_with(b"GET /slow") {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let page = "x".repeat(PAGE);
    let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {PAGE}\r\nconnection: close\r\n\r\n{page}");
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// User and system time of this process, from `/proc/self/stat` (proc(5): fields 14 and 15, in hundredths).
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks = |index: usize| fields[index].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}

/// The most memory that this process has had, in MiB.
fn peak_memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

fn measure() {
    let server = Server::start();
    let free = Limit { at_once: 10_000, per_second: None };
    let budgets = Budgets::new(Limits { service: free, ..Limits::default() });
    let client = Client::new(Dialer { budgets, ..Dialer::default() });
    let tls = Arc::new(TlsOptions { ca: Some(server.ca.path().to_owned()), insecure: true, ..TlsOptions::default() });
    let plain = Url::parse(&format!("http://127.0.0.1:{}/page", server.plain)).unwrap();
    let secure = Url::parse(&format!("https://localhost:{}/page", server.secure)).unwrap();
    let slow = Url::parse(&format!("http://127.0.0.1:{}/slow", server.plain)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        run(&client, &plain, &tls, 500, 50).await; // warm up
        for (name, url, probes, at_once) in [
            ("http, 10 at once", &plain, 10_000, 10),
            ("http, 50 at once", &plain, 10_000, 50),
            ("https, full handshake, 50 at once", &secure, 4_000, 50),
            ("http, a page of 1 s, 4,000 at once", &slow, 8_000, 4_000),
        ] {
            let (begun, cpu) = (Instant::now(), cpu_seconds());
            let mean = run(&client, url, &tls, probes, at_once).await;
            let (cpu, wall) = (cpu_seconds() - cpu, begun.elapsed().as_secs_f64());
            println!(
                "{name:36} {:.3} CPU-s per 1,000   {:6.0} probes/s   first byte after {mean:.4} s on average   peak {:.0} MiB",
                cpu * 1_000.0 / probes as f64,
                probes as f64 / wall,
                peak_memory(),
            );
        }
    });
}

/// Probes so many times, so many at once; the mean time to the first byte, in seconds.
async fn run(client: &Client, url: &Url, tls: &Arc<TlsOptions>, probes: usize, at_once: usize) -> f64 {
    let one = |_| async move {
        let deadline = Instant::now() + Duration::from_secs(60);
        let request = Request { tls: Arc::clone(tls), ..Request::get(url.clone(), deadline) };
        let response = client.send(request).await.unwrap();
        assert_eq!((response.status, response.body.len()), (200, PAGE));
        response.timings.first_byte.unwrap().as_secs_f64()
    };
    let times: Vec<f64> = futures_util::stream::iter(0..probes).map(one).buffer_unordered(at_once).collect().await;
    times.iter().sum::<f64>() / times.len() as f64
}
