//! CPU-seconds per 1,000 HTTP probes, each over a connection of its own with its phases timed, on one thread; beside
//! blackbox_exporter, which probes the same pages.
//!
//! The pages' server runs in a process of its own, so that its work isn't counted. Processor time (user and system) is
//! what to compare; wall time says little on a busy machine. blackbox_exporter runs on one thread, too, and is asked over
//! connections that are kept; giving its answers is part of its work.
//!
//! Goals: 5 times as many probes a CPU-second as blackbox_exporter, 2.5 times over TLS; with 4,000 in flight of a page of
//! 1 s at least 3,000 done a second, at most 1.1 s until the first byte on average, 150 MiB.
//!
//! `cargo bench --bench http_probe`; 4,000 in flight need file descriptors: `ulimit -n 10000`
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a bench tells people what it measured")]
#![allow(clippy::exit, clippy::disallowed_methods, reason = "a bench starts its own server and its peer")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use houston::net::budget::{Budgets, Limit, Limits};
use houston::net::dial::Dialer;
use houston::net::http::{Client, Request, TlsOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;
use url::Url;

mod beside;
mod served;

use beside::{Running, cpu_of, debian, peak_memory};
use served::{PAGE, Server, serve};

const ROUNDS: usize = 3;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("serve") => serve(),
        _ => measure(),
    }
}

fn measure() {
    let exporter = debian("prometheus-blackbox-exporter", "prometheus-blackbox-exporter");
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
        let blackbox = Blackbox::start(&exporter).await;
        run(&client, &plain, &tls, 500, 50).await; // warm up
        blackbox.run(&plain, 500, 50).await;
        for (name, url, probes, at_once, goal) in [
            ("http, 10 at once", &plain, 5_000, 10, 5.0),
            ("http, 50 at once", &plain, 5_000, 50, 5.0),
            ("https, full handshake, 50 at once", &secure, 2_000, 50, 2.5),
        ] {
            let (mut ours, mut theirs) = (f64::MAX, f64::MAX);
            for _ in 0..ROUNDS {
                let used = cpu_of("self");
                run(&client, url, &tls, probes, at_once).await;
                ours = ours.min(cpu_of("self") - used);
                let used = blackbox.cpu();
                blackbox.run(url, probes / 2, at_once).await;
                theirs = theirs.min((blackbox.cpu() - used) * 2.0);
            }
            let thousands = probes as f64 / 1e3;
            println!(
                "{name:36} {:.3} CPU-s per 1,000, blackbox_exporter {:.3}: {:.1} x as many a CPU-second (goal {goal})",
                ours / thousands,
                theirs / thousands,
                theirs / ours
            );
        }
        let (probes, at_once) = (20_000, 4_000);
        let (begun, used) = (Instant::now(), cpu_of("self"));
        let mean = run(&client, &slow, &tls, probes, at_once).await;
        println!(
            "http, a page of 1 s, 4,000 at once    {:.3} CPU-s per 1,000, {:.0} done/s (goal 3,000), first byte after \
             {mean:.4} s on average (goal 1.1), peak {:.0} MiB (goal 150)",
            (cpu_of("self") - used) * 1e3 / probes as f64,
            probes as f64 / begun.elapsed().as_secs_f64(),
            peak_memory(),
        );
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

/// A running blackbox_exporter.
struct Blackbox {
    port: u16,
    running: Running,
    _configuration: tempfile::NamedTempFile,
}

impl Blackbox {
    async fn start(program: &Path) -> Self {
        let configuration = tempfile::NamedTempFile::new().unwrap();
        let module = "modules: { page: { prober: http, http: { preferred_ip_protocol: ip4, tls_config: { \
                      insecure_skip_verify: true } } } }\n";
        std::fs::write(configuration.path(), module).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(program)
            .arg(format!("--config.file={}", configuration.path().display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--log.level=error")
            .env("GOMAXPROCS", "1")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let running = Running(child);
        for _ in 0..500 {
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return Blackbox { port, running, _configuration: configuration };
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("blackbox_exporter doesn't listen");
    }

    fn cpu(&self) -> f64 {
        cpu_of(&self.running.0.id().to_string())
    }

    /// Has it probe so many times, so many at once.
    async fn run(&self, url: &Url, probes: usize, at_once: usize) {
        let left = AtomicUsize::new(probes);
        let question = format!("GET /probe?module=page&target={url} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let one = async |_| {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
            let mut answer = Vec::new();
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                stream.write_all(question.as_bytes()).await.unwrap();
                answer.clear();
                // Its answers come in chunks, of which the last one is empty.
                while !answer.ends_with(b"\r\n0\r\n\r\n") {
                    assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "blackbox_exporter hangs up");
                }
                let page = joined(&answer);
                assert!(memchr::memmem::find(&page, b"\nprobe_success 1\n").is_some(), "its probe failed");
            }
        };
        futures_util::future::join_all((0..at_once).map(one)).await;
    }
}

/// The chunks of an answer's body, put together (RFC 9112, 7.1).
fn joined(answer: &[u8]) -> Vec<u8> {
    let body = memchr::memmem::find(answer, b"\r\n\r\n").unwrap() + 4;
    let (mut rest, mut page) = (&answer[body..], Vec::new());
    loop {
        let line = memchr::memmem::find(rest, b"\r\n").unwrap();
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        if length == 0 {
            return page;
        }
        page.extend_from_slice(&rest[line + 2..line + 2 + length]);
        rest = &rest[line + 4 + length..];
    }
}
