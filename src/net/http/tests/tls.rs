//! HTTPS: what is accepted, what is refused and in which words.

use std::path::PathBuf;

use rcgen::date_time_ymd;

use super::*;
use crate::model::secret::Secret;
use crate::net::scripted::{Authority, Identity, Server, self_signed};
use crate::net::tls::ClientIdentity;

async fn ask(server: &Server, host: &str, tls: TlsOptions) -> Result<Response, Failure> {
    let url = Url::parse(&format!("https://{host}:{}/?q=s3cret", server.address.port())).unwrap();
    client().send(Request { tls: Arc::new(tls), ..Request::get(url, soon()) }).await
}

fn trusting(ca: PathBuf) -> TlsOptions {
    TlsOptions { ca: Some(ca), ..TlsOptions::default() }
}

async fn refused(identity: Identity, host: &str, ca: PathBuf) -> Failure {
    let failure = ask(&identity.serve().await, host, trusting(ca)).await.unwrap_err();
    assert_eq!((failure.reason, failure.phase), (Reason::Service, Phase::Tls), "{failure:?}");
    failure
}

#[tokio::test]
async fn a_good_certificate_is_accepted_and_its_expiry_known() {
    let authority = Authority::new();
    let identity = authority.issue(&["localhost", "127.0.0.1"], |params| params.not_after = date_time_ymd(2031, 2, 3));
    let server = identity.serve().await;
    for host in ["localhost", "127.0.0.1"] {
        let response = ask(&server, host, trusting(authority.pem())).await.unwrap();
        assert_eq!(response.body, "hello");
        assert_eq!(response.certificate_expiry.unwrap().to_string(), "2031-02-03T00:00:00Z");
        assert!(response.timings.tls.is_some());
    }
    let named = TlsOptions { server_name: Some("localhost".into()), ..trusting(authority.pem()) };
    assert!(ask(&server, "[::ffff:127.0.0.1]", named).await.is_ok());
}

#[tokio::test]
async fn bad_certificates_are_named() {
    let authority = Authority::new();
    let expired = authority.issue(&["localhost"], |params| params.not_after = date_time_ymd(2020, 2, 3));
    let failure = refused(expired, "localhost", authority.pem()).await;
    assert!(
        failure.what.starts_with("certificate expired 2020-02-03 (") && failure.what.ends_with("ago)"),
        "{failure:?}"
    );
    assert_eq!(failure.certificate_expiry.unwrap().to_string(), "2020-02-03T00:00:00Z");

    let early = authority.issue(&["localhost"], |params| params.not_before = date_time_ymd(4000, 2, 3));
    let failure = refused(early, "localhost", authority.pem()).await;
    assert!(failure.what.starts_with("certificate is not valid before 4000-02-03"), "{failure:?}");

    let names = ["a.example", "b.example", "c.example", "d.example"];
    let failure = refused(authority.issue(&names, |_| {}), "localhost", authority.pem()).await;
    assert_eq!(failure.what, "certificate is for a.example, b.example, c.example and 1 more, not localhost");
    let failure = refused(authority.issue(&[], |_| {}), "localhost", authority.pem()).await;
    assert_eq!(failure.what, "certificate names no host, so it is not for localhost");

    let failure = refused(self_signed(&["localhost"]), "localhost", authority.pem()).await;
    assert_eq!(failure.what, "certificate is self-signed");
    let stranger = Authority::new();
    let failure = refused(stranger.issue(&["localhost"], |_| {}), "localhost", authority.pem()).await;
    assert!(failure.what.contains("issuer is not trusted"), "{failure:?}");
}

#[tokio::test]
async fn the_systems_roots_do_not_trust_a_tests_root() {
    let authority = Authority::new();
    let server = authority.issue(&["localhost"], |_| {}).serve().await;
    let failure = ask(&server, "localhost", TlsOptions::default()).await.unwrap_err();
    assert!(failure.what.contains("issuer is not trusted"), "{failure:?}");
}

#[tokio::test]
async fn insecure_accepts_any_certificate() {
    for identity in [
        self_signed(&["x.example"]),
        Authority::new().issue(&["y.example"], |p| p.not_after = date_time_ymd(2020, 1, 1)),
    ] {
        let server = identity.serve().await;
        let insecure = TlsOptions { insecure: true, ..TlsOptions::default() };
        let response = ask(&server, "localhost", insecure).await.unwrap();
        assert!(response.certificate_expiry.is_some());
    }
}

#[tokio::test]
async fn a_ca_file_that_is_none_is_our_own_fault() {
    let folder = tempfile::tempdir().unwrap();
    let server = self_signed(&["localhost"]).serve().await;
    for (name, content) in [("missing.pem", None), ("empty.pem", Some("")), ("text.pem", Some("hello"))] {
        let path = folder.path().join(name);
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let failure = ask(&server, "localhost", trusting(path)).await.unwrap_err();
        assert_eq!((failure.reason, failure.phase), (Reason::Ours, Phase::Tls), "{failure:?}");
        assert!(failure.what.contains(name), "{failure:?}");
    }
}

#[tokio::test]
async fn what_is_no_tls_is_said() {
    let plain = scripted::tcp(|_, mut stream| async move {
        use tokio::io::AsyncWriteExt as _;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        scripted::drain(&mut stream).await;
    })
    .await;
    let failure = ask(&plain, "localhost", TlsOptions::default()).await.unwrap_err();
    assert_eq!((failure.reason, failure.phase), (Reason::Service, Phase::Tls));
    assert_eq!(failure.what, "answered something that is not TLS");

    let closing = scripted::tcp(|_, stream| async move { drop(stream) }).await;
    let failure = ask(&closing, "localhost", TlsOptions::default()).await.unwrap_err();
    assert_eq!((failure.reason, failure.phase), (Reason::Service, Phase::Tls));
    assert!(failure.what.starts_with("connection "), "{failure:?}");

    let silent = scripted::tcp(|_, mut stream| async move { scripted::drain(&mut stream).await }).await;
    let url = Url::parse(&format!("https://localhost:{}/", silent.address.port())).unwrap();
    let failure = client().send(Request::get(url, shortly())).await.unwrap_err();
    assert_eq!((failure.reason, failure.phase), (Reason::Timeout, Phase::Tls));
    assert!(failure.what.starts_with("no TLS handshake in"), "{failure:?}");
}

#[tokio::test]
async fn http2_is_spoken_where_it_is_offered() {
    let authority = Authority::new();
    let acceptor = authority.issue(&["localhost"], |_| {}).acceptor(&[b"h2", b"http/1.1"]);
    let server = scripted::tcp(move |_, stream| {
        let acceptor = acceptor.clone();
        async move {
            let stream = acceptor.accept(stream).await.unwrap();
            let service = hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| async move {
                let text = format!("{:?} {}", request.version(), request.headers()[MARKER].to_str().unwrap());
                Ok::<_, std::convert::Infallible>(http::Response::new(http_body_util::Full::new(Bytes::from(text))))
            });
            let io = hyper_util::rt::TokioIo::new(stream);
            let builder = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
            let _ = builder.serve_connection(io, service).await;
        }
    })
    .await;
    let response = ask(&server, "localhost", trusting(authority.pem())).await.unwrap();
    assert_eq!(response.version, http::Version::HTTP_2);
    assert_eq!(response.body, "HTTP/2.0 1");
    assert!(response.timings.first_byte.is_some());
}

fn as_client(identity: &Identity, ca: PathBuf) -> TlsOptions {
    let (certificate, key) = identity.pem();
    let client = ClientIdentity::new((certificate, "client.pem".into()), (Secret::new(key), "client-key.pem".into()));
    TlsOptions { identity: Some(Arc::new(client)), ..trusting(ca) }
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_a_server_that_asks_for_one() {
    let authority = Authority::new();
    let acceptor = authority.issue(&["localhost"], |_| {}).acceptor_for(&authority);
    let server = crate::net::scripted::serve(acceptor).await;
    let known = authority.issue(&["houston"], |_| {});
    let response = ask(&server, "localhost", as_client(&known, authority.pem())).await.unwrap();
    assert_eq!(response.body, "hello");

    let without = ask(&server, "localhost", trusting(authority.pem())).await.unwrap_err();
    assert_eq!(without.reason, Reason::Service);
    assert_eq!(without.what, "the server wants a client certificate, and none was sent");
    let stranger = ask(&server, "localhost", as_client(&self_signed(&["houston"]), authority.pem())).await.unwrap_err();
    assert_eq!(stranger.reason, Reason::Service);
    assert!(stranger.what.starts_with("the server broke off the TLS handshake: "), "{stranger:?}");
}

#[tokio::test]
async fn a_client_certificate_that_cannot_be_used_is_our_own_trouble() {
    let authority = Authority::new();
    let server = authority.issue(&["localhost"], |_| {}).serve().await;
    let (certificate, key) = authority.issue(&["houston"], |_| {}).pem();
    let (_, other) = authority.issue(&["houston"], |_| {}).pem();
    for (certificate, key, what) in [
        ("nonsense", key.as_str(), "the client certificate (client.pem) holds no certificate in PEM"),
        (&*certificate, "s3cret nonsense", "the client key (client-key.pem) holds no private key in PEM"),
        (
            &*certificate,
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nczNjcmV0\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "the client key (client-key.pem) is locked with a passphrase",
        ),
        (&*certificate, &*other, "the client key (client-key.pem) is not that of the client certificate (client.pem)"),
    ] {
        let client = ClientIdentity::new(
            (certificate.to_owned(), "client.pem".into()),
            (Secret::new(key.to_owned()), "client-key.pem".into()),
        );
        let tls = TlsOptions { identity: Some(Arc::new(client)), ..trusting(authority.pem()) };
        assert!(!format!("{tls:?}").contains("s3cret"));
        let failure = ask(&server, "localhost", tls).await.unwrap_err();
        assert_eq!((failure.reason, failure.what.as_str()), (Reason::Ours, what));
    }
}

#[tokio::test]
async fn one_configuration_is_made_for_each_certificate_and_used_again() {
    let authority = Authority::new();
    let server = authority.issue(&["localhost"], |_| {}).serve().await;
    let url = Url::parse(&format!("https://localhost:{}/", server.address.port())).unwrap();
    let client = client();
    let (one, two) = (authority.issue(&["one"], |_| {}), authority.issue(&["two"], |_| {}));
    for identity in [&one, &two, &one, &one, &two] {
        let tls = Arc::new(as_client(identity, authority.pem()));
        assert!(client.send(Request { tls, ..Request::get(url.clone(), soon()) }).await.is_ok());
    }
    assert_eq!(client.tls().made(), 2);
}
