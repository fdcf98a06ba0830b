//! Requests that nobody should send: each is refused for its own reason, in bounded time, and disturbs nobody.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::daemon::{Daemon, ticket};
use super::tickets::well;
use super::wire::{Answer, answer};
use super::world::World;

/// A time limit of ten seconds, kept on a busy machine.
const TEN_SECONDS: Duration = Duration::from_secs(20);

/// Stands for a connection that is closed without an answer.
const CLOSED: u16 = 0;

/// The head of a POST of a ticket, with these lines; the body is the test's business.
fn head(daemon: &Daemon, lines: &[&str]) -> String {
    let host = daemon.tcp();
    let mut head =
        format!("POST /api/v1/tickets HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n", host.host(), daemon.token);
    for line in lines {
        head.push_str(&format!("{line}\r\n"));
    }
    format!("{head}\r\n")
}

fn post(daemon: &Daemon, body: &[u8]) -> Answer {
    daemon.tcp().send(&daemon.request("POST", "/api/v1/tickets", &[], Some(body))).expect("an answer")
}

#[test]
fn a_body_that_is_no_ticket_is_refused_with_its_reason() {
    let world = World::start();
    let daemon = well(&world);
    let deep = |open: &str, close: &str, n: usize| format!("{}{}", open.repeat(n), close.repeat(n));
    let nested = format!("{{\"title\":\"x\",\"params\":{}1{}}}", "{\"a\":".repeat(5_000), "}".repeat(5_000));
    let many: String = (0..33).map(|n| format!("\"p{n}\":\"1\",")).collect();
    let refused: Vec<(&str, Vec<u8>, &str)> = vec![
        ("no title", b"{}".to_vec(), "title"),
        ("nothing", b"".to_vec(), "title"),
        ("blank title", br#"{"title":" \n "}"#.to_vec(), "title"),
        ("null title", br#"{"title":null}"#.to_vec(), "title"),
        ("an unknown field", br#"{"title":"x","urgency":1}"#.to_vec(), "urgency"),
        ("no object: a list", br#"["cli","7","the shop is slow"]"#.to_vec(), "object"),
        ("no object: a text", br#""the shop is slow""#.to_vec(), "object"),
        ("no object: null", b"null".to_vec(), "object"),
        ("no JSON", b"title=x".to_vec(), "object"),
        ("half", br#"{"title":"x""#.to_vec(), "EOF"),
        ("two", br#"{"title":"x"}{"title":"y"}"#.to_vec(), "trailing"),
        ("a trailing comma", br#"{"title":"x",}"#.to_vec(), "trailing comma"),
        ("a key twice", br#"{"title":"x","title":"y"}"#.to_vec(), "duplicate field `title`"),
        ("a key twice, once escaped", br#"{"title":"x","\u0074itle":"y"}"#.to_vec(), "duplicate field `title`"),
        ("a param twice", br#"{"title":"x","params":{"a":"1","a":"2"}}"#.to_vec(), "twice"),
        ("too many params", format!("{{\"title\":\"x\",\"params\":{{{}\"z\":\"1\"}}}}", many).into_bytes(), "32"),
        ("a title that is a number", br#"{"title":1}"#.to_vec(), "expected a string"),
        ("a huge number", format!("{{\"title\":\"x\",\"since\":{}}}", "9".repeat(200)).into_bytes(), "not readable"),
        ("a number beyond all", br#"{"title":"x","alert":1e400}"#.to_vec(), "number"),
        ("services that are a text", br#"{"title":"x","services":"shop"}"#.to_vec(), "sequence"),
        ("a service that is a list", br#"{"title":"x","services":[["shop"]]}"#.to_vec(), "expected a string"),
        ("a time that is none", br#"{"title":"x","since":"yesterday"}"#.to_vec(), "line 1 column"),
        (
            "an end before its begin",
            br#"{"title":"x","since":"2026-01-02T00:00:00Z","until":"1970-01-01T00:00:00Z"}"#.to_vec(),
            "",
        ),
        ("lists without end", deep("[", "]", 100_000).into_bytes(), "object"),
        ("maps in maps", nested.into_bytes(), "not readable"),
        ("invalid UTF-8", b"{\"title\":\"\xff\xfe\"}".to_vec(), "not readable"),
        ("half a surrogate", br#"{"title":"\ud800"}"#.to_vec(), "not readable"),
        ("UTF-16", b"{\0\"\0t\0".to_vec(), "not readable"),
        ("a byte order mark", b"\xef\xbb\xbf{\"title\":\"x\"}".to_vec(), "object"),
        ("a raw NUL", b"{\"title\":\"a\0b\"}".to_vec(), "control character"),
        ("a raw line break", b"{\"title\":\"a\nb\"}".to_vec(), "control character"),
        ("an id with a line break", br#"{"title":"x","id":"a\nb"}"#.to_vec(), "id"),
        ("an id with NUL", br#"{"title":"x","id":"a\u0000b"}"#.to_vec(), "id"),
        ("an empty source", br#"{"title":"x","source":""}"#.to_vec(), "source"),
        (
            "a customer without end",
            format!("{{\"title\":\"x\",\"customer\":\"{}\"}}", "c".repeat(300)).into_bytes(),
            "customer",
        ),
    ];
    for (name, body, why) in refused {
        let answer = post(&daemon, &body);
        if name == "an end before its begin" {
            // Both are moved to the oldest time that can be: a wrong clock must not lose a ticket.
            assert_eq!(answer.status, 202, "{name}: {}", answer.text());
            continue;
        }
        assert_eq!(answer.status, 400, "{name}: {}", answer.text());
        let error = answer.json()["error"].clone();
        let said = format!("{} {}", error["what"].as_str().unwrap(), error["field"].as_str().unwrap_or(""));
        assert!(said.contains(why), "{name}: {said}");
        assert!(said.len() < 400, "{name}: nothing is echoed at length: {}", said.len());
    }
    // Strange, and yet a ticket.
    for (name, body) in [
        ("a title of marks", format!("{{\"title\":\"{}\"}}", "e\u{301}\u{302}".repeat(20_000))),
        ("an escaped NUL", r#"{"title":"a\u0000b"}"#.to_owned()),
        ("a time in 1970", r#"{"title":"x","since":"1970-01-01T00:00:00Z"}"#.to_owned()),
        ("a time in 9999", r#"{"title":"x","reported_at":"9999-12-30T00:00:00+14:59"}"#.to_owned()),
        ("a text of 200 KiB", format!("{{\"title\":\"x\",\"text\":\"{}\"}}", "t".repeat(200 * 1024))),
        ("blanks around", format!("{0}{{ \"title\" : \"x\" }}{0}", " \n\t".repeat(1_000))),
    ] {
        let answer = post(&daemon, body.as_bytes());
        assert_eq!(answer.status, 202, "{name}: {}", answer.text());
        daemon.decided(answer.json()["ticket"].as_str().unwrap());
    }
}

#[test]
fn a_request_that_is_no_request_is_refused() {
    let world = World::start();
    let daemon = well(&world);
    let place = daemon.tcp();
    let (host, token) = (place.host().to_owned(), daemon.token.clone());
    let good = r#"{"title":"x"}"#;
    let json = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", good.len());
    let auth = format!("Host: {host}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n");
    let post = |lines: &str, body: &str| format!("POST /api/v1/tickets HTTP/1.1\r\n{auth}{lines}\r\n{body}");
    let length = good.len();
    let table: Vec<(&str, String, &[u16])> = vec![
        ("as it should be", post(&json, good), &[202]),
        ("gzip", post(&format!("{json}Content-Encoding: gzip\r\n"), good), &[415]),
        ("zstd", post(&format!("{json}Content-Encoding: zstd\r\n"), good), &[415]),
        ("identity, even", post(&format!("{json}Content-Encoding: identity\r\n"), good), &[415]),
        ("no type", post(&format!("Content-Length: {length}\r\n"), good), &[415]),
        ("a form's type", post(&format!("Content-Type: text/plain\r\nContent-Length: {length}\r\n"), good), &[415]),
        ("a form", post("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 7\r\n", "title=x"), &[415]),
        ("two types", post(&format!("{json}Content-Type: text/plain\r\n"), good), &[415]),
        ("1 GiB announced", post("Content-Type: application/json\r\nContent-Length: 1073741824\r\n", good), &[413]),
        (
            "a length beyond all",
            post("Content-Type: application/json\r\nContent-Length: 99999999999999999999\r\n", good),
            &[400],
        ),
        ("a negative length", post("Content-Type: application/json\r\nContent-Length: -1\r\n", good), &[400]),
        ("two lengths", post(&format!("{json}Content-Length: 5\r\n"), good), &[400]),
        ("a length and chunks", post(&format!("{json}Transfer-Encoding: chunked\r\n"), "0\r\n\r\n"), &[400]),
        (
            "chunks twice",
            post("Content-Type: application/json\r\nTransfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"),
            &[400],
        ),
        (
            "chunks that are none",
            post("Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n", "zz\r\n"),
            &[400],
        ),
        ("another coding", post("Content-Type: application/json\r\nTransfer-Encoding: gzip\r\n", good), &[400]),
        ("a wait that is none", format!("POST /api/v1/tickets?wait=30 HTTP/1.1\r\n{auth}{json}\r\n{good}"), &[400]),
        ("a wait twice", format!("POST /api/v1/tickets?wait=1s&wait=2s HTTP/1.1\r\n{auth}{json}\r\n{good}"), &[400]),
        ("another host", "GET /healthz HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".to_owned(), &[421]),
        (
            "another host with our port",
            format!(
                "GET / HTTP/1.1\r\nHost: evil.example:{}\r\nConnection: close\r\n\r\n",
                host.split(':').nth(1).unwrap()
            ),
            &[421],
        ),
        (
            "two hosts",
            format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nHost: evil.example\r\n\r\n"),
            &[400, 421],
        ),
        ("no host", "GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(), &[400, 421]),
        ("a host with a user", format!("GET /healthz HTTP/1.1\r\nHost: x@{host}\r\nConnection: close\r\n\r\n"), &[421]),
        ("HTTP/1.0 without a host", "GET /healthz HTTP/1.0\r\n\r\n".to_owned(), &[421]),
        (
            "another place, in full",
            format!("GET http://evil.example/healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
            &[421],
        ),
        (
            "our place, in full",
            format!("GET http://{host}/healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
            &[200],
        ),
        (
            "a tunnel",
            format!("CONNECT evil.example:443 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
            &[400, 404, 405, 421],
        ),
        (
            "another protocol",
            format!("GET / HTTP/1.1\r\n{auth}Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n"),
            &[200],
        ),
        ("HTTP/2 without asking", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), &[CLOSED, 400, 505]),
        ("HTTP/3.0", format!("GET /healthz HTTP/3.0\r\nHost: {host}\r\nConnection: close\r\n\r\n"), &[400, 505]),
        ("no version", "GET /healthz\r\n\r\n".to_owned(), &[400]),
        ("TLS", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\r\n\r\n".to_owned(), &[400]),
        (
            "a header over two lines",
            format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nX-A: b\r\n c\r\n\r\n"),
            &[400],
        ),
        (
            "a blank before the colon",
            format!("GET /healthz HTTP/1.1\r\nHost : {host}\r\nConnection: close\r\n\r\n"),
            &[400],
        ),
        (
            "NUL in a header",
            format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nX-A: b\0c\r\n\r\n"),
            &[400],
        ),
        (
            "a head without end",
            format!(
                "GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nX-A: {}\r\n\r\n",
                "a".repeat(100_000)
            ),
            &[400, 431],
        ),
        (
            "a thousand headers",
            format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{}\r\n", "X-A: b\r\n".repeat(1_000)),
            &[400, 431],
        ),
        (
            "a path without end",
            format!("GET /{} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n", "a".repeat(100_000)),
            &[400, 414, 431],
        ),
        ("a bad escape", format!("GET /api/v1/tickets/%zz HTTP/1.1\r\n{auth}\r\n"), &[400, 404]),
        ("half an escape", format!("GET /api/v1/tickets/%2 HTTP/1.1\r\n{auth}\r\n"), &[400, 404]),
        ("an escape that is no text", format!("GET /api/v1/tickets/%ff HTTP/1.1\r\n{auth}\r\n"), &[400, 404]),
        ("an escaped NUL", format!("GET /api/v1/tickets/T-1%00 HTTP/1.1\r\n{auth}\r\n"), &[404]),
        ("an escaped slash", format!("GET /api/v1/tickets/T-1%2fevents HTTP/1.1\r\n{auth}\r\n"), &[404]),
        ("a way up", format!("GET /api/v1/tickets/../checks HTTP/1.1\r\n{auth}\r\n"), &[404]),
        ("a page that is none", format!("GET /api/v1/tickets?limit=many HTTP/1.1\r\n{auth}\r\n"), &[400]),
        ("a place that is none", format!("GET /api/v1/tickets?before=x HTTP/1.1\r\n{auth}\r\n"), &[400]),
        ("nothing there", format!("GET /etc/passwd HTTP/1.1\r\n{auth}\r\n"), &[404]),
        ("a way that isn't", format!("DELETE /api/v1/tickets HTTP/1.1\r\n{auth}\r\n"), &[405]),
        (
            "asked before sending, too much",
            post("Content-Type: application/json\r\nContent-Length: 9999999\r\nExpect: 100-continue\r\n", ""),
            &[413],
        ),
    ];
    for (name, request, statuses) in table {
        let answer = match place.send(request.as_bytes()) {
            Err(_) if statuses.contains(&CLOSED) => continue,
            answer => answer.unwrap_or_else(|error| panic!("{name}: {error}")),
        };
        assert!(statuses.contains(&answer.status), "{name}: {} {}", answer.status, answer.text());
        if answer.status >= 400 && !answer.body.is_empty() {
            assert!(answer.json()["error"]["what"].is_string(), "{name}: {}", answer.text());
        }
    }
    let log = daemon.log();
    assert!(!log.contains(&token), "no token in the log");
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn a_body_without_end_is_cut_off_early() {
    let world = World::start();
    let daemon = well(&world);
    let announced = head(&daemon, &["Content-Type: application/json", "Content-Length: 1073741824"]);
    let chunked = head(&daemon, &["Content-Type: application/json", "Transfer-Encoding: chunked"]);
    let block = [b' '; 64 * 1024];
    let mut chunk = format!("{:x}\r\n", block.len()).into_bytes();
    chunk.extend_from_slice(&block);
    chunk.extend_from_slice(b"\r\n");
    for (name, head, piece) in [("announced", announced, &block[..]), ("in chunks", chunked, &chunk[..])] {
        let mut stream = daemon.tcp().connect().unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        // What the kernel takes in between is not read by anybody; a gigabyte would be.
        let mut sent = 0_usize;
        while sent < 64 << 20 {
            match stream.write(piece) {
                Ok(written) => sent += written,
                Err(_) => break,
            }
        }
        assert!(sent < 64 << 20, "{name}: {sent} bytes were taken");
        let answer = answer(&mut *stream).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(answer.status, 413, "{name}: {}", answer.text());
        assert_eq!(answer.header("connection"), Some("close"), "{name}");
        assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0, "{name}: the connection is closed");
    }
    assert_eq!(daemon.get("/healthz").status, 200);
}

/// Sends a byte now and then until an answer comes or the other side closes; how long that took.
fn drip(daemon: &Daemon, head: &str, byte: &[u8]) -> (Option<Answer>, Duration) {
    let super::wire::Place::Tcp(address) = daemon.tcp() else { unreachable!("the daemon listens on TCP") };
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let started = Instant::now();
    stream.write_all(head.as_bytes()).unwrap();
    let mut came = Vec::new();
    let mut chunk = [0; 4096];
    while started.elapsed() < TEN_SECONDS {
        let _ = stream.write(byte);
        match stream.read(&mut chunk) {
            Ok(0) => return (super::wire::answer(&mut &came[..]).ok(), started.elapsed()),
            Ok(read) => came.extend_from_slice(&chunk[..read]),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => return (super::wire::answer(&mut &came[..]).ok(), started.elapsed()),
        }
    }
    panic!("still open after {:?}", started.elapsed());
}

#[test]
fn who_is_slow_is_cut_off_and_delays_nobody() {
    let world = World::start();
    let daemon = well(&world);
    let slow_body = head(&daemon, &["Content-Type: application/json", "Content-Length: 100000"]);
    let slow_chunks = head(&daemon, &["Content-Type: application/json", "Transfer-Encoding: chunked"]);
    let place = daemon.tcp();
    let half_a_head = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\nX-Slow: ", place.host());
    // Two hundred who begin and don't go on.
    let many: Vec<_> = (0..200)
        .map(|_| {
            let mut stream = place.connect().unwrap();
            stream.write_all(half_a_head.as_bytes()).unwrap();
            stream
        })
        .collect();
    std::thread::scope(|scope| {
        let body = scope.spawn(|| drip(&daemon, &slow_body, b" "));
        let chunks = scope.spawn(|| drip(&daemon, &slow_chunks, b"1\r\n \r\n"));
        let heads = scope.spawn(|| drip(&daemon, &half_a_head, b"x"));
        let silent = scope.spawn(|| drip(&daemon, "", b""));
        // Meanwhile everybody else is served.
        let started = Instant::now();
        let verdict = daemon.post("/api/v1/tickets?wait=30s", &ticket("1", "the shop is slow"));
        assert_eq!(verdict.status, 200, "{}", verdict.text());
        assert!(started.elapsed() < Duration::from_secs(8), "others waited {:?}", started.elapsed());
        for (name, slow) in [("a slow body", body), ("slow chunks", chunks)] {
            let (answer, took) = slow.join().unwrap();
            let answer = answer.unwrap_or_else(|| panic!("{name}: no answer"));
            assert_eq!(answer.status, 408, "{name}: {}", answer.text());
            assert!(took > Duration::from_secs(8), "{name}: cut off after {took:?} already");
        }
        for slow in [heads, silent] {
            let (answer, _) = slow.join().unwrap();
            assert!(answer.is_none_or(|answer| answer.status == 408));
        }
    });
    for mut stream in many {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        let rest = String::from_utf8_lossy(&rest).into_owned();
        assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 408"), "{rest}");
    }
    assert_eq!(daemon.all().len(), 1, "nothing else was accepted");
}
