//! Real servers for the tests, from Debian's packages: started on free loopback ports, ended by their process id.
//!
//! A server that several tests use is started once per test binary. Whatever happens to the binary, its servers end with
//! it: the kernel tells them (`setpriv --pdeathsig`).

// A test may use any part of a server's surface, and none has to use all of it.
#![allow(dead_code)]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub mod alertmanager;
pub mod answers;
pub mod blackbox_exporter;
pub mod digest_server;
pub mod dnsmasq;
pub mod grpc_server;
pub mod journal;
pub mod nginx;
pub mod ngircd;
pub mod node_exporter;
pub mod place;
pub mod postgres;
pub mod prometheus;
pub mod request_tracker;
pub mod server;
pub mod smtp;
pub mod websocket_server;

pub use server::Server;

/// How long a server may take until it answers, on a cold and busy machine.
pub const READY: Duration = Duration::from_secs(60);

/// Where Debian's packages put programs; not all of it is in everybody's path.
const PROGRAM_DIRECTORIES: &[&str] = &[
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
    "/usr/lib/nagios/plugins",
    "/lib/systemd",
];

/// The program's full path.
///
/// # Panics
/// Where it isn't installed: a test that can't run has not passed.
pub fn program(name: &str) -> PathBuf {
    // What no package brings, scripts/test builds into the build's own directory.
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("tools").join("bin");
    let directories = PROGRAM_DIRECTORIES.iter().map(PathBuf::from).chain([built]);
    let found = directories.map(|directory| directory.join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} isn't here: run scripts/test, it installs what the tests need"))
}

/// A port that nobody listens on at the moment. Each is given out once per run.
pub fn free_port() -> u16 {
    static GIVEN: std::sync::Mutex<Vec<u16>> = std::sync::Mutex::new(Vec::new());
    let mut given = GIVEN.lock().unwrap();
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        if !given.contains(&port) {
            given.push(port);
            return port;
        }
    }
}

/// Looks again and again until it is so.
///
/// # Panics
/// When it isn't within this time.
pub fn until(what: &str, at_most: Duration, mut is_so: impl FnMut() -> bool) {
    let ends = Instant::now() + at_most;
    while !is_so() {
        assert!(Instant::now() < ends, "not within {at_most:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One plain request, answered with status and body; nothing where nobody answers. Knows nothing of the code that is
/// tested.
pub fn get(port: u16, path: &str) -> Option<(u16, String)> {
    get_with(port, path, &["User-Agent: lab"])
}

/// The same with these header lines.
pub fn get_with(port: u16, path: &str, headers: &[&str]) -> Option<(u16, String)> {
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    exchange(port, &format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n{headers}\r\n"))
}

/// Sends JSON.
pub fn post(port: u16, path: &str, json: &str) -> Option<(u16, String)> {
    let head = format!("POST {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json");
    exchange(port, &format!("{head}\r\nContent-Length: {}\r\n\r\n{json}", json.len()))
}

fn exchange(port: u16, request: &str) -> Option<(u16, String)> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    stream.set_write_timeout(Some(Duration::from_secs(10))).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.take(8 * 1024 * 1024).read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

/// True where somebody accepts connections.
pub fn accepts(port: u16) -> bool {
    TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), Duration::from_secs(1)).is_ok()
}

/// In a URL's query.
pub fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
