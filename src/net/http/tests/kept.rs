//! Connections that the requests of one run share, and what must never be shared.

use std::sync::Mutex;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::super::kept::Place;
use super::*;
use crate::net::scripted::{Authority, Server};
use crate::net::tls::ClientIdentity;

/// What a server does after a request, told by the number of the connection and of the request on it (from 0).
enum Then {
    Say(Vec<u8>),
    SayAndClose(Vec<u8>),
    Close,
    Hang,
}

async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    heads: &Mutex<Vec<String>>,
    then: impl Fn(usize, &str) -> Then,
) {
    for number in 0.. {
        let head = scripted::read_head(&mut stream).await;
        if head.is_empty() {
            return;
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).await.unwrap();
        let does = then(number, &head);
        heads.lock().unwrap().push(head);
        match does {
            Then::Say(bytes) => stream.write_all(&bytes).await.unwrap(),
            Then::SayAndClose(bytes) => {
                stream.write_all(&bytes).await.unwrap();
                return;
            }
            Then::Close => return,
            Then::Hang => scripted::drain(&mut stream).await,
        }
    }
}

/// A server that keeps its connections.
async fn keeping(then: impl Fn(usize, usize, &str) -> Then + Send + Sync + 'static) -> Server {
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let (noted, then) = (Arc::clone(&heads), Arc::new(then));
    let server = scripted::tcp(move |connection, stream| {
        let (noted, then) = (Arc::clone(&noted), Arc::clone(&then));
        async move { talk(stream, &noted, |number, head| then(connection, number, head)).await }
    })
    .await;
    Server { heads, ..server }
}

async fn always(bytes: Vec<u8>) -> Server {
    keeping(move |_, _, _| Then::Say(bytes.clone())).await
}

fn with(kept: &Arc<Kept>, method: Method, url: Url) -> Request {
    let kept = Some(Arc::clone(kept));
    Request { method, kept, follow_redirects: 3, ..Request::get(url, soon()) }
}

async fn ask(client: &Client, kept: &Arc<Kept>, url: Url) -> Result<Response, Failure> {
    client.send(with(kept, Method::GET, url)).await
}

#[tokio::test]
async fn one_connection_serves_a_run_and_its_phases_take_no_time() {
    let server = always(ok("hello")).await;
    let (client, kept) = (client(), Arc::default());
    let methods = [Method::GET, Method::POST, Method::OPTIONS, Method::PUT, Method::DELETE];
    for (number, method) in methods.into_iter().enumerate() {
        let request = Request { body: Bytes::from_static(b"x=1"), ..with(&kept, method, server.url("/")) };
        let response = client.send(request).await.unwrap();
        assert_eq!(response.body, "hello");
        let timings = response.timings;
        for phase in [timings.resolve, timings.connect] {
            assert_eq!(phase == Some(Duration::ZERO), number > 0, "{number}: {timings:?}");
        }
        assert_eq!(timings.tls, None);
        assert!(timings.first_byte.unwrap() > Duration::ZERO && timings.first_byte.unwrap() <= timings.total);
    }
    assert_eq!((server.asked().len(), server.connections()), (5, 1));
    assert_eq!(format!("{kept:?}"), "Kept(1)");

    ask(&client, &Arc::default(), server.url("/")).await.unwrap();
    assert_eq!(server.connections(), 2, "another run");
    client.send(Request::get(server.url("/"), soon())).await.unwrap();
    assert_eq!(server.connections(), 3, "no run at all");
    kept.clear();
    ask(&client, &kept, server.url("/")).await.unwrap();
    assert_eq!(server.connections(), 4, "given up");
}

#[tokio::test]
async fn answers_without_a_body_leave_the_connection_usable() {
    let head = || b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n".to_vec();
    for (method, answer) in [
        (Method::HEAD, head()),
        (Method::DELETE, b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
        (Method::GET, b"HTTP/1.1 304 Not Modified\r\n\r\n".to_vec()),
        (Method::GET, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_vec()),
    ] {
        let server = always(answer).await;
        let (client, kept) = (client(), Arc::default());
        for _ in 0..3 {
            client.send(with(&kept, method.clone(), server.url("/"))).await.unwrap();
        }
        assert_eq!(server.connections(), 1, "{method}");
    }
}

#[tokio::test]
async fn a_connection_that_ends_or_whose_answer_was_not_read_to_its_end_serves_once() {
    let say = |head: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}").into_bytes();
    for (answer, fails) in [
        (say("connection: close\r\ncontent-length: 1", "x"), false),
        (say("keep-alive: timeout=0\r\ncontent-length: 1", "x"), false),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\nx".to_vec(), false),
        (say("content-length: 2000", &"x".repeat(2000)), false), // beyond the cap
        (say("content-encoding: br\r\ncontent-length: 1", "x"), false),
        (say("content-encoding: gzip\r\ncontent-length: 1", "x"), true),
        (b"nonsense\r\n\r\n".to_vec(), true),
    ] {
        let shown = String::from_utf8_lossy(&answer[..40.min(answer.len())]).into_owned();
        let server = always(answer).await;
        let (client, kept) = (client(), Arc::default());
        for number in 1..=3 {
            let caps = Caps { body: 1_000, ..Caps::default() };
            let request = Request { caps, ..with(&kept, Method::GET, server.url("/")) };
            assert_eq!(client.send(request).await.is_err(), fails, "{shown}");
            assert_eq!(server.connections(), number, "{shown}");
        }
    }
}

#[tokio::test]
async fn what_a_server_says_unasked_is_no_answer_to_the_next_request() {
    let twice = [ok("first"), ok("unasked")].concat();
    let server = keeping(move |connection, _, _| Then::Say(if connection == 0 { twice.clone() } else { ok("second") }));
    let server = server.await;
    let (client, kept) = (client(), Arc::default());
    assert_eq!(ask(&client, &kept, server.url("/")).await.unwrap().body, "first");
    let request = with(&kept, Method::POST, server.url("/"));
    assert_eq!(client.send(request).await.unwrap().body, "second");
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_request_is_repeated_only_where_that_does_nothing_twice() {
    for (method, repeated) in [
        (Method::GET, true),
        (Method::HEAD, true),
        (Method::PUT, true),
        (Method::DELETE, true),
        (Method::POST, false),
        (Method::PATCH, false),
    ] {
        // The connection is closed after the second request has come, which may have done something by then.
        let server = keeping(|connection, number, _| match (connection, number) {
            (0, 1) => Then::Close,
            _ => Then::Say(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
        })
        .await;
        let (client, kept) = (client(), Arc::default());
        ask(&client, &kept, server.url("/")).await.unwrap();
        let answer = client.send(with(&kept, method.clone(), server.url("/"))).await;
        if repeated {
            assert!(answer.unwrap().timings.connect.unwrap() > Duration::ZERO, "{method}");
            assert_eq!((server.asked().len(), server.connections()), (3, 2), "{method}");
        } else {
            let failure = answer.unwrap_err();
            assert_eq!((failure.reason, failure.phase), (Reason::Service, Phase::Processing), "{method}");
            assert_eq!(failure.what, "connection closed before any answer");
            assert_eq!(failure.timings.connect, Some(Duration::ZERO));
            assert_eq!((server.asked().len(), server.connections()), (2, 1), "{method}");
        }
    }
}

#[tokio::test]
async fn a_request_that_was_not_sent_goes_over_a_fresh_connection() {
    // Closed without a word after each answer; the client may or may not have noticed when it asks again.
    let server = keeping(|_, _, _| Then::SayAndClose(ok("x"))).await;
    let (client, kept) = (client(), Arc::default());
    for number in 1..=5 {
        ask(&client, &kept, server.url("/")).await.unwrap();
        assert_eq!(server.connections(), number);
    }
    // Its end has come for sure once the connection itself says so.
    let place = Place::new(&with(&kept, Method::GET, server.url("/")), "127.0.0.1", server.address.port(), None);
    let mut connection = kept.take(&place, &client.dialer().guard, Reach::Anywhere).unwrap();
    let begun = std::time::Instant::now();
    while connection.is_ready().await && begun.elapsed() < Duration::from_secs(20) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    kept.keep(place, connection, (StatusCode::OK, http::Version::HTTP_11, &HeaderMap::new()));
    assert_eq!(client.send(with(&kept, Method::POST, server.url("/"))).await.unwrap().body, "x");
    assert_eq!((server.asked().len(), server.connections()), (6, 6));
}

#[tokio::test]
async fn a_failure_that_is_an_answer_or_comes_again_is_reported() {
    let (client, kept) = (client(), Arc::default());
    let cut = keeping(|connection, number, _| match (connection, number) {
        (0, 1) => Then::SayAndClose(b"HTTP/1.1 200 OK\r\nx: ".to_vec()),
        _ => Then::Say(ok("x")),
    })
    .await;
    ask(&client, &kept, cut.url("/")).await.unwrap();
    let failure = ask(&client, &kept, cut.url("/")).await.unwrap_err();
    assert_eq!(failure.what, "connection closed within the answer's head");
    assert_eq!((cut.asked().len(), cut.connections()), (2, 1));

    let down = keeping(|connection, number, _| match (connection, number) {
        (0, 0) => Then::Say(ok("x")),
        _ => Then::Close,
    })
    .await;
    ask(&client, &kept, down.url("/")).await.unwrap();
    let failure = ask(&client, &kept, down.url("/")).await.unwrap_err();
    assert_eq!(failure.what, "connection closed before any answer");
    assert!(failure.timings.connect.unwrap() > Duration::ZERO, "{failure:?}");
    assert_eq!((down.asked().len(), down.connections()), (3, 2));

    let late = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let tired = keeping(|connection, number, _| match (connection, number) {
        (0, 1) => Then::SayAndClose(late.to_vec()),
        _ => Then::Say(ok("x")),
    });
    let tired = tired.await;
    ask(&client, &kept, tired.url("/")).await.unwrap();
    assert_eq!(ask(&client, &kept, tired.url("/")).await.unwrap().status, 200);
    assert_eq!((tired.asked().len(), tired.connections()), (3, 2));
}

#[tokio::test]
async fn no_connection_serves_another_origin_and_few_are_kept() {
    let (client, kept) = (client(), Arc::default());
    let server = always(ok("x")).await;
    let by_name = Url::parse(&format!("http://localhost:{}/", server.address.port())).unwrap();
    for _ in 0..2 {
        ask(&client, &kept, server.url("/")).await.unwrap();
        let request = Request { ip: Some(IpVersion::V4), ..with(&kept, Method::GET, by_name.clone()) };
        client.send(request).await.unwrap();
    }
    assert_eq!(server.connections(), 2);
    let mut servers = Vec::new();
    for _ in 0..7 {
        servers.push(always(ok("x")).await);
        ask(&client, &kept, servers.last().unwrap().url("/")).await.unwrap();
    }
    assert_eq!(format!("{kept:?}"), "Kept(6)");
    for (number, connections) in [(1, 1), (6, 1), (0, 2)] {
        ask(&client, &kept, servers[number].url("/")).await.unwrap();
        assert_eq!(servers[number].connections(), connections, "{number}");
    }
}

#[tokio::test]
async fn redirects_use_the_connection_again_and_reach_no_further_over_it() {
    let long = format!("HTTP/1.1 302 Found\r\nlocation: /b\r\ncontent-length: 200000\r\n\r\n{}", "x".repeat(200_000));
    let server = keeping(move |_, _, head| match head.split(' ').nth(1).unwrap() {
        "/a" => Then::Say(redirect(302, "/b")),
        "/long" => Then::Say(long.clone().into_bytes()),
        _ => Then::Say(ok("here")),
    })
    .await;
    let (client, kept) = (client(), Arc::default());
    for _ in 0..2 {
        let response = ask(&client, &kept, server.url("/a")).await.unwrap();
        assert_eq!((&response.body[..], response.redirects.len()), (&b"here"[..], 1));
    }
    assert_eq!((server.asked().len(), server.connections()), (4, 1));
    ask(&client, &kept, server.url("/long")).await.unwrap();
    assert_eq!(server.connections(), 2, "more than is read of a redirect");

    let name = Url::parse(&format!("http://localhost:{}/", server.address.port())).unwrap();
    for url in [server.url("/"), name] {
        let asked = |reach| Request { ip: Some(IpVersion::V4), reach, ..with(&kept, Method::GET, url.clone()) };
        client.send(asked(Reach::Anywhere)).await.unwrap();
        let before = (server.asked().len(), server.connections());
        let failure = client.send(asked(Reach::PublicOnly)).await.unwrap_err();
        assert_eq!(failure.reason, Reason::Guard, "{failure:?}");
        assert_eq!((server.asked().len(), server.connections()), before);
    }
}

#[tokio::test]
async fn a_kept_connection_waits_for_its_turn_and_holds_none() {
    let server = keeping(|_, _, head| if head.contains("/hang") { Then::Hang } else { Then::Say(ok("x")) }).await;
    let one = Limit { at_once: 1, per_second: None };
    let budgets = Budgets::new(Limits { service: one, ..Limits::default() });
    let client = Client::new(Dialer { budgets, ..Dialer::default() });
    let kept = Arc::default();
    ask(&client, &kept, server.url("/")).await.unwrap();
    let slow = tokio::spawn({
        let (client, url) = (client.clone(), server.url("/hang"));
        async move { client.send(Request::get(url, soon())).await }
    });
    while server.asked().len() < 2 {
        tokio::task::yield_now().await;
    }
    let request = Request { deadline: shortly(), ..with(&kept, Method::GET, server.url("/")) };
    let failure = client.send(request).await.unwrap_err();
    assert!(failure.reason == Reason::Ours && failure.what.contains("no turn"), "{failure:?}");
    slow.abort();
}

#[tokio::test]
async fn an_answer_within_a_run_is_nobody_elses() {
    let server = always(ok("x")).await;
    let client = client();
    for asker in ["a", "b"] {
        let request = with(&Arc::default(), Method::GET, server.url("/"));
        client.send(Request { asker: Some(asker.to_owned()), ..request }).await.unwrap();
    }
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn tls_options_and_client_certificates_are_never_shared() {
    let authority = Authority::new();
    let acceptor = authority.issue(&["localhost"], |_| {}).acceptor(&[]);
    let server = scripted::tcp(move |_, stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            talk(stream, &Mutex::default(), |_, _| Then::Say(ok("x"))).await;
        }
    })
    .await;
    let url = Url::parse(&format!("https://localhost:{}/", server.address.port())).unwrap();
    let identity = |name: &str| {
        let (certificate, key) = authority.issue(&[name], |_| {}).pem();
        Some(Arc::new(ClientIdentity::new((certificate, "c".into()), (Secret::new(key), "k".into()))))
    };
    let trusting = || TlsOptions { ca: Some(authority.pem()), ..TlsOptions::default() };
    let all = [
        trusting(),
        TlsOptions { insecure: true, ..TlsOptions::default() },
        TlsOptions { server_name: Some("localhost".into()), ..trusting() },
        TlsOptions { identity: identity("one"), ..trusting() },
        TlsOptions { identity: identity("two"), ..trusting() },
    ];
    let (client, kept) = (client(), Arc::default());
    for round in 0..2 {
        for tls in &all {
            let request = Request { tls: Arc::new(tls.clone()), ..with(&kept, Method::GET, url.clone()) };
            let response = client.send(request).await.unwrap();
            assert_eq!(response.timings.tls == Some(Duration::ZERO), round > 0, "{tls:?}");
            assert!(response.certificate_expiry.is_some());
        }
        assert_eq!(server.connections(), all.len());
    }
    // One that was accepted unseen doesn't serve whoever wants to see it.
    let request = with(&kept, Method::GET, url);
    assert_eq!(client.send(request).await.unwrap_err().phase, Phase::Tls);
}

#[tokio::test]
async fn http2_uses_its_connection_again() {
    let authority = Authority::new();
    let acceptor = authority.issue(&["localhost"], |_| {}).acceptor(&[b"h2"]);
    let server = scripted::tcp(move |_, stream| {
        let acceptor = acceptor.clone();
        async move {
            let stream = acceptor.accept(stream).await.unwrap();
            let service = hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| async move {
                let answer = http::Response::builder();
                let answer = match request.uri().path() {
                    "/a" => answer.status(302).header("location", "/b"),
                    _ => answer,
                };
                let method = if request.method() == Method::HEAD { "" } else { request.method().as_str() };
                let body = http_body_util::Full::new(Bytes::from(method.to_owned()));
                Ok::<_, std::convert::Infallible>(answer.body(body).unwrap())
            });
            let io = hyper_util::rt::TokioIo::new(stream);
            let builder = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
            let _ = builder.serve_connection(io, service).await;
        }
    })
    .await;
    let tls = Arc::new(TlsOptions { ca: Some(authority.pem()), ..TlsOptions::default() });
    let (client, kept) = (client(), Arc::default());
    for (number, method) in [Method::POST, Method::GET, Method::HEAD, Method::GET].into_iter().enumerate() {
        let path = if number == 3 { "a" } else { "" };
        let url = Url::parse(&format!("https://localhost:{}/{path}", server.address.port())).unwrap();
        let request = Request { tls: Arc::clone(&tls), ..with(&kept, method.clone(), url) };
        let response = client.send(request).await.unwrap();
        assert_eq!(response.version, http::Version::HTTP_2);
        let body = if method == Method::HEAD { "" } else { method.as_str() };
        assert_eq!(response.body, body);
        assert_eq!(response.timings.tls == Some(Duration::ZERO), number > 0);
    }
    assert_eq!(server.connections(), 1);
}
