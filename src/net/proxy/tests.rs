//! The proxy between real sockets: what passes, what is refused, and that nothing outlives it.

use std::sync::atomic::AtomicUsize;

use hickory_resolver::proto::rr::RData;
use hickory_resolver::proto::rr::rdata::A;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::net::budget::{Budgets, Limit, Limits};
use crate::net::dns::Resolver;
use crate::net::guard::{Entry, Guard};
use crate::net::scripted::{self, Says, ok, shortly, soon};

fn settings() -> Settings {
    Settings {
        admit: Admit::Credential,
        declared: Vec::new(),
        budget: Budget::Service,
        bounds: Bounds::default(),
        deadline: soon(),
    }
}

fn dialer() -> Dialer {
    let free = Limit { at_once: 64, per_second: None };
    let budgets = Budgets::new(Limits { service: free, system: free, ..Limits::default() });
    Dialer { budgets, ..Dialer::default() }
}

/// What stands in the header of a program that was told the proxy's URL.
fn authorization(proxy: &Proxy) -> String {
    let url = proxy.url();
    let rest = url.expose().strip_prefix("http://").unwrap();
    match rest.split_once('@') {
        Some((pair, _)) => {
            format!("Proxy-Authorization: Basic {}\r\n", base64::engine::general_purpose::STANDARD.encode(pair))
        }
        None => String::new(),
    }
}

/// Sends these bytes on a connection of its own and reads to the end.
async fn say(proxy: &Proxy, bytes: &str) -> String {
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    rest(&mut stream).await
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = tokio::time::timeout_at(soon(), stream.read_to_end(&mut bytes)).await.expect("the proxy holds on");
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn tunnel(proxy: &Proxy, target: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{}\r\n", authorization(proxy));
    stream.write_all(head.as_bytes()).await.unwrap();
    let head = tokio::time::timeout_at(soon(), scripted::read_head(&mut stream)).await.unwrap();
    (stream, head)
}

async fn plain(proxy: &Proxy, url: &str) -> String {
    say(proxy, &format!("GET {url} HTTP/1.1\r\nConnection: close\r\n{}\r\n", authorization(proxy))).await
}

/// Waits until nobody but the proxy itself holds its parts: no task is left.
async fn all_over(shared: &std::sync::Weak<Shared>) {
    let until = soon();
    while shared.strong_count() > 0 {
        assert!(Instant::now() < until, "{} are left", shared.strong_count());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_tunnel_carries_bytes_both_ways() {
    let echo = scripted::tcp(|_, mut stream| async move {
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = write.shutdown().await;
    })
    .await;
    let proxy = Proxy::start(&dialer(), settings()).await.unwrap();
    let (mut stream, head) = tunnel(&proxy, &echo.address.to_string()).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let sent = "x".repeat(300_000);
    let (mut read, mut write) = stream.split();
    let sending = async {
        write.write_all(sent.as_bytes()).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut back = String::new();
    let (_, read) = tokio::join!(sending, read.read_to_string(&mut back));
    read.unwrap();
    assert!(back == sent, "{} bytes came back", back.len());
    assert!(proxy.refusals().is_empty() && proxy.failures().is_empty() && !proxy.is_spent());
}

#[tokio::test]
async fn a_plain_request_arrives_as_it_would_without_us() {
    let server = scripted::http(|_| {
        b"HTTP/1.1 418 Teapot\r\nX-Odd-Case: 1\r\nKeep-Alive: 5\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"
            .to_vec()
    })
    .await;
    let proxy = Proxy::start(&dialer(), settings()).await.unwrap();
    let request = format!(
        "POST {}?q=%20a HTTP/1.1\r\nHost: shop.example\r\nX-Customer: acme\r\n{}Proxy-Connection: Keep-Alive\r\n\
         Connection: close, X-Hop\r\nX-Hop: 1\r\nContent-Length: 3\r\n\r\nabc",
        server.url("/a/b"),
        authorization(&proxy)
    );
    let answer = say(&proxy, &request).await;
    assert!(answer.starts_with("HTTP/1.1 418 ") && answer.ends_with("hello"), "{answer}");
    assert!(answer.contains("X-Odd-Case: 1") && !answer.contains("Keep-Alive"), "{answer}");
    let head = server.asked().remove(0);
    assert!(head.starts_with("POST /a/b?q=%20a HTTP/1.1\r\n"), "{head}");
    for line in ["Host: shop.example\r\n", "X-Customer: acme\r\n", "Content-Length: 3\r\n"] {
        assert_eq!(head.matches(line).count(), 1, "{line}: {head}");
    }
    for gone in ["roxy", "X-Hop", "Basic", "Via"] {
        assert!(!head.contains(gone), "{gone}: {head}");
    }
}

#[tokio::test]
async fn the_host_header_is_made_where_there_is_none() {
    let server = scripted::http(|_| ok("hello")).await;
    let proxy = Proxy::start(&dialer(), settings()).await.unwrap();
    let answer = plain(&proxy, &format!("http://user:pass@{}", server.address)).await;
    assert!(answer.ends_with("hello"), "{answer}");
    let head = server.asked().remove(0).to_lowercase();
    assert!(head.starts_with("get / ") && head.contains(&format!("host: {}\r\n", server.address)), "{head}");
}

#[tokio::test]
async fn who_has_not_the_credential_gets_nothing() {
    let server = scripted::http(|_| ok("hello")).await;
    let proxy = Proxy::start(&dialer(), settings()).await.unwrap();
    let encode = |pair: &str| base64::engine::general_purpose::STANDARD.encode(pair);
    for header in [
        String::new(),
        "Proxy-Authorization: Basic\r\n".to_owned(),
        "Proxy-Authorization: Basic ====\r\n".to_owned(),
        format!("Proxy-Authorization: Basic {}\r\n", encode("houston:")),
        format!("Proxy-Authorization: Basic {}\r\n", encode(&format!("houston:{}", "0".repeat(48)))),
        authorization(&proxy).replace("Basic", "Bearer"),
        authorization(&proxy).replace("Proxy-Authorization", "Authorization"),
    ] {
        for line in [format!("GET {} HTTP/1.1", server.url("/")), format!("CONNECT {} HTTP/1.1", server.address)] {
            let answer = say(&proxy, &format!("{line}\r\nHost: x\r\nConnection: close\r\n{header}\r\n")).await;
            assert!(answer.starts_with("HTTP/1.1 407 "), "{line} {header}: {answer}");
        }
    }
    assert_eq!(server.connections(), 0);
    assert!(!format!("{:?}", proxy.url()).contains(proxy.password().unwrap().expose()));
}

#[tokio::test]
async fn our_own_user_needs_none_where_that_is_the_rule() {
    let server = scripted::http(|_| ok("hello")).await;
    let proxy = Proxy::start(&dialer(), Settings { admit: Admit::SameUser, ..settings() }).await.unwrap();
    assert!(proxy.password().is_none());
    assert!(plain(&proxy, server.url("/").as_str()).await.ends_with("hello"));
}

#[tokio::test]
async fn the_guard_is_asked_about_every_spelling() {
    let server = scripted::http(|_| ok("hello")).await;
    let denied = vec![
        Entry::parse("127.0.0.0/8").unwrap(),
        Entry::parse("::1").unwrap(),
        Entry::parse("*.internal.example").unwrap(),
    ];
    let dialer = Dialer { guard: Guard::new(denied, Vec::new()), ..dialer() };
    let proxy = Proxy::start(&dialer, settings()).await.unwrap();
    let port = server.address.port();
    for host in [
        "169.254.169.254",
        "0xa9fea9fe",
        "[::ffff:a9fe:a9fe]",
        "metadata.google.internal.",
        "127.0.0.1",
        "localhost",
        "2130706433",
        "[::ffff:127.0.0.1]",
        "db.internal.example",
        "0.0.0.0",
    ] {
        let answer = plain(&proxy, &format!("http://{host}:{port}/")).await;
        assert!(
            answer.starts_with("HTTP/1.1 403 ") && answer.contains("destination_ip_prohibited"),
            "{host}: {answer}"
        );
        let (_, head) = tunnel(&proxy, &format!("{host}:{port}")).await;
        assert!(head.starts_with("HTTP/1.1 403 "), "{host}: {head}");
    }
    assert_eq!(server.connections(), 0);
    let refusals = proxy.refusals();
    assert_eq!(refusals.len(), KEPT, "the first, and no more");
    assert_eq!(refusals[0].target, format!("169.254.169.254:{port}"));
    assert_eq!(refusals[0].what, "169.254.169.254 is a metadata service");
    assert!(proxy.failures().is_empty());
}

#[tokio::test]
async fn a_name_that_changes_its_address_reaches_only_what_was_judged() {
    let server = scripted::http(|_| ok("judged")).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let dns = scripted::dns(move |_, _| {
        let address = match count.fetch_add(1, Ordering::SeqCst) % 2 {
            0 => Ipv4Addr::LOCALHOST,
            _ => Ipv4Addr::new(169, 254, 169, 254),
        };
        Says::Records(vec![(0, RData::A(A(address)))])
    })
    .await;
    let dialer = Dialer { resolver: Resolver::with_servers(vec![dns]), ..dialer() };
    let proxy = Proxy::start(&dialer, settings()).await.unwrap();
    let (mut judged, mut refused) = (0, 0);
    for _ in 0..20 {
        let answer = plain(&proxy, &format!("http://shop.example:{}/", server.address.port())).await;
        match answer.starts_with("HTTP/1.1 403 ") {
            true => refused += 1,
            false => {
                assert!(answer.ends_with("judged"), "{answer}");
                judged += 1;
            }
        }
    }
    assert!(judged + refused == 20 && server.connections() == judged, "{judged} {refused}");
}

#[tokio::test]
async fn from_outside_only_what_is_declared_may_be_inside() {
    let declared = vec![(Host::parse("shop.example").unwrap(), 443)];
    let proxy = Proxy::start(&dialer(), Settings { declared, ..settings() }).await.unwrap();
    let host = |name: &str| Host::parse(name).unwrap();
    assert_eq!(proxy.shared.reach(&host("127.0.0.1"), 80), Reach::Anywhere);
    proxy.shared.was_outside.store(true, Ordering::Relaxed);
    for (name, port, expected) in [
        ("shop.example", 443, Reach::Anywhere),
        ("SHOP.example", 443, Reach::Anywhere),
        ("shop.example", 80, Reach::PublicOnly),
        ("127.0.0.1", 443, Reach::PublicOnly),
    ] {
        assert_eq!(proxy.shared.reach(&host(name), port), expected, "{name}:{port}");
    }
    let server = scripted::http(|_| ok("inside")).await;
    let answer = plain(&proxy, server.url("/").as_str()).await;
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("is inside"), "{answer}");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn what_can_not_be_reached_is_said() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mute = scripted::tcp(|_, stream| async move { drop(stream) }).await;
    let babble = scripted::http(|_| b"220 smtp.example ESMTP\r\n".to_vec()).await;
    let proxy = Proxy::start(&dialer(), settings()).await.unwrap();
    let own = proxy.address();
    for (url, status, what) in [
        (format!("http://{gone}/"), 502, "connection refused"),
        (mute.url("/").to_string(), 502, "connection closed before any answer"),
        (babble.url("/").to_string(), 502, "answered something that is not HTTP"),
        (format!("http://{own}/"), 403, "is a listener of this daemon"),
        ("ftp://127.0.0.1/".to_owned(), 400, "only CONNECT"),
        ("/".to_owned(), 400, "only CONNECT"),
    ] {
        let answer = plain(&proxy, &url).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(what), "{url}: {answer}");
    }
    let whats: Vec<String> = proxy.failures().into_iter().map(|failure| failure.what).collect();
    assert_eq!(whats.len(), 3, "{whats:?}");
    assert_eq!(proxy.refusals().len(), 1);
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let server = scripted::http(|_| ok("hello")).await;
    let bounds = Bounds { head: 8_192, ..Bounds::default() };
    let proxy = Proxy::start(&dialer(), Settings { bounds, ..settings() }).await.unwrap();
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    let head = format!("GET {} HTTP/1.1\r\n{}X-Long: ", server.url("/"), authorization(&proxy));
    stream.write_all(head.as_bytes()).await.unwrap();
    // The proxy may close before all of it is written.
    let _ = stream.write_all("x".repeat(100_000).as_bytes()).await;
    let answer = rest(&mut stream).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn who_says_nothing_is_let_go() {
    let silent = scripted::tcp(|_, stream| async move {
        let _held = stream;
        std::future::pending().await
    })
    .await;
    let bounds = Bounds { idle: Duration::from_millis(100), ..Bounds::default() };
    let proxy = Proxy::start(&dialer(), Settings { bounds, ..settings() }).await.unwrap();
    assert_eq!(say(&proxy, "").await, "");
    assert_eq!(say(&proxy, "GET http://127.0.0.1/ HT").await, "");
    let (mut stream, head) = tunnel(&proxy, &silent.address.to_string()).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(rest(&mut stream).await, "");
}

#[tokio::test]
async fn so_many_connections_and_no_more() {
    let server = scripted::http(|_| ok("hello")).await;
    let bounds = Bounds { connections: 2, ..Bounds::default() };
    let proxy = Proxy::start(&dialer(), Settings { bounds, ..settings() }).await.unwrap();
    let held = [TcpStream::connect(proxy.address()).await.unwrap(), TcpStream::connect(proxy.address()).await.unwrap()];
    let url = server.url("/").to_string();
    let third = plain(&proxy, &url);
    tokio::pin!(third);
    assert!(tokio::time::timeout_at(shortly(), &mut third).await.is_err(), "a third was served beside the two");
    drop(held);
    assert!(third.await.ends_with("hello"));
}

#[tokio::test]
async fn more_bytes_than_allowed_are_cut() {
    let server = scripted::http(|_| ok(&"x".repeat(1_000_000))).await;
    let bounds = Bounds { bytes: 200_000, ..Bounds::default() };
    let proxy = Proxy::start(&dialer(), Settings { bounds, ..settings() }).await.unwrap();
    let answer = plain(&proxy, server.url("/").as_str()).await;
    assert!(answer.len() <= 200_001, "{}", answer.len());
    assert!(proxy.is_spent());
}

#[tokio::test]
async fn a_program_takes_one_turn_at_a_target() {
    let silent = scripted::tcp(|_, stream| async move {
        let _held = stream;
        std::future::pending().await
    })
    .await;
    let one = Limit { at_once: 1, per_second: None };
    let budgets = Budgets::new(Limits { service: one, ..Limits::default() });
    let dialer = Dialer { budgets: budgets.clone(), ..Dialer::default() };
    let proxy = Proxy::start(&dialer, settings()).await.unwrap();
    let target = silent.address.to_string();
    let (_first, head) = tunnel(&proxy, &target).await;
    let (_second, second) = tunnel(&proxy, &target).await;
    assert!(head.starts_with("HTTP/1.1 200") && second.starts_with("HTTP/1.1 200"), "{head} {second}");
    let other = budgets.turn("127.0.0.1", silent.address.port(), Budget::Service);
    tokio::pin!(other);
    assert!(tokio::time::timeout_at(shortly(), &mut other).await.is_err(), "the target has a visitor");
    drop(proxy);
    tokio::time::timeout_at(soon(), other).await.expect("the visitor has gone");
}

#[tokio::test]
async fn everything_ends_with_the_deadline_or_its_owner() {
    for by_deadline in [true, false] {
        let silent = scripted::tcp(|_, stream| async move {
            let _held = stream;
            std::future::pending().await
        })
        .await;
        let deadline = if by_deadline { Instant::now() + Duration::from_millis(500) } else { soon() };
        let proxy = Proxy::start(&dialer(), Settings { deadline, ..settings() }).await.unwrap();
        let shared = Arc::downgrade(&proxy.shared);
        let address = proxy.address();
        let target = silent.address.to_string();
        let (mut in_tunnel, head) = tunnel(&proxy, &target).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let mut waiting = TcpStream::connect(address).await.unwrap();
        let request = format!("GET http://{target}/ HTTP/1.1\r\nHost: x\r\n{}\r\n", authorization(&proxy));
        waiting.write_all(request.as_bytes()).await.unwrap();
        let mut proxy = Some(proxy);
        if !by_deadline {
            proxy = None;
        }
        assert_eq!(rest(&mut in_tunnel).await, "");
        assert_eq!(rest(&mut waiting).await, "");
        drop(proxy);
        all_over(&shared).await;
        assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    }
}
