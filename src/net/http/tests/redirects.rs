//! Where redirects lead, and what goes along.

use std::sync::OnceLock;

use super::*;
use crate::net::dns::Resolver;
use crate::net::guard::{Entry, Guard};
use crate::net::scripted::Says;
use hickory_resolver::proto::rr::RData;

#[tokio::test]
async fn redirects_are_followed_up_to_the_limit() {
    let server = scripted::http(|head| {
        let n: u32 = head.split("/hop/").nth(1).unwrap().split_whitespace().next().unwrap().parse().unwrap();
        if n == 0 { ok("there") } else { redirect(302, &format!("/hop/{}", n - 1)) }
    })
    .await;
    let response = get(server.url("/hop/10")).await.unwrap();
    assert_eq!((response.status, response.redirects.len(), response.url.path()), (200, 10, "/hop/0"));
    let failure = get(server.url("/hop/11")).await.unwrap_err();
    assert_eq!((failure.reason, failure.phase), (Reason::Service, Phase::Processing));
    assert_eq!(failure.redirects.len(), 10);
    assert!(failure.what.contains("redirects without end: 10 followed"), "{failure:?}");
    let unfollowed = client().send(Request::get(server.url("/hop/1"), soon())).await.unwrap();
    assert_eq!((unfollowed.status, unfollowed.redirects.len()), (302, 0));
}

#[tokio::test]
async fn a_loop_ends_and_its_query_is_not_shown() {
    let server = scripted::http(|_| redirect(302, "/again?token=s3cret")).await;
    let failure = get(server.url("/")).await.unwrap_err();
    assert!(failure.what.contains("/again") && !failure.what.contains("s3cret"), "{failure:?}");
    assert_eq!(server.connections(), 11);
}

#[tokio::test]
async fn what_is_configured_does_not_cross_origins_nor_come_back() {
    // A sends to B, B back to A, A to its own last page.
    static B: OnceLock<SocketAddrText> = OnceLock::new();
    type SocketAddrText = String;
    let a = scripted::http(|head| match head.split_whitespace().nth(1) {
        Some("/start?key=query-s3cret") => redirect(302, &format!("http://{}/b", B.get().unwrap())),
        Some("/back") => redirect(302, "/last"),
        _ => ok("done"),
    })
    .await;
    let back = format!("http://{}/back", a.address);
    let b = scripted::http(move |_| redirect(302, &back)).await;
    B.set(b.address.to_string()).unwrap();

    let secret = |name: &str, value: &str| (name.to_owned(), Secret::new(value.to_owned()));
    let request = Request {
        headers: vec![("X-Plain".into(), "plain-s3cret".into()), ("Accept".into(), "text/html".into())],
        secret_headers: vec![
            secret("Authorization", "Bearer auth-s3cret"),
            secret("Cookie", "cookie-s3cret"),
            secret("X-Api-Key", "key-s3cret"),
        ],
        follow_redirects: 10,
        ..Request::get(a.url("/start?key=query-s3cret"), soon())
    };
    assert_eq!(client().send(request).await.unwrap().body, "done");
    let first = &a.asked()[0];
    assert_eq!(first.matches("s3cret").count(), 5, "{first}");
    for later in b.asked().iter().chain(&a.asked()[1..]) {
        assert!(!later.contains("s3cret"), "{later}");
        assert!(later.to_lowercase().contains("accept: text/html"), "{later}");
        assert!(!later.to_lowercase().contains("referer"), "{later}");
    }
    assert_eq!((a.connections(), b.connections()), (3, 1));
}

#[tokio::test]
async fn a_login_that_sets_a_cookie_and_redirects_works() {
    let server = scripted::http(|head| match head.to_lowercase() {
        head if head.contains("cookie: own=1; s=1") => ok("in"),
        head if head.contains("cookie: own=1") => {
            b"HTTP/1.1 302 Found\r\nset-cookie: s=1; HttpOnly\r\nlocation: /\r\ncontent-length: 0\r\n\r\n".to_vec()
        }
        _ => ok("lost"),
    })
    .await;
    let request = Request {
        secret_headers: vec![("cookie".into(), Secret::new("own=1".into()))],
        follow_redirects: 10,
        ..Request::get(server.url("/"), soon())
    };
    let response = client().send(request).await.unwrap();
    assert_eq!(response.body, "in");
    assert_eq!(response.set_cookies.len(), 1);
}

#[tokio::test]
async fn each_hop_is_guarded() {
    for (location, reason) in [
        ("http://169.254.169.254/latest/meta-data/", Reason::Guard),
        ("http://0xa9fea9fe/", Reason::Guard),
        ("http://[::ffff:169.254.169.254]/", Reason::Guard),
        ("http://metadata.google.internal/", Reason::Guard),
        ("http://0.0.0.0/", Reason::Guard),
        ("http://224.0.0.1/", Reason::Guard),
        ("http://10.66.0.1/", Reason::Guard),
        ("file:///etc/passwd", Reason::Service),
        ("ftp://127.0.0.1/", Reason::Service),
        ("http://[", Reason::Service),
    ] {
        let server = scripted::http(move |_| redirect(302, location)).await;
        let guard = Guard::new(vec![Entry::parse("10.66.0.0/16").unwrap()], Vec::new());
        let client = Client::new(Dialer { guard, ..Dialer::default() });
        let request = Request { follow_redirects: 10, ..Request::get(server.url("/"), soon()) };
        let failure = client.send(request).await.unwrap_err();
        assert_eq!(failure.reason, reason, "{location}: {failure:?}");
        assert_eq!(server.connections(), 1, "{location}");
    }
}

#[tokio::test]
async fn what_came_from_outside_does_not_lead_inside() {
    let server = scripted::http(|_| ok("inside")).await;
    let request = Request { reach: Reach::PublicOnly, ..Request::get(server.url("/"), soon()) };
    let failure = client().send(request).await.unwrap_err();
    assert_eq!(failure.reason, Reason::Guard);
    assert!(failure.what.contains("inside"), "{failure:?}");
    let by_name = Url::parse(&format!("http://localhost:{}/", server.address.port())).unwrap();
    let request = Request { reach: Reach::PublicOnly, ..Request::get(by_name, soon()) };
    assert_eq!(client().send(request).await.unwrap_err().reason, Reason::Guard);
    assert_eq!(server.connections(), 0);
    assert_eq!(get(server.url("/")).await.unwrap().reach, Reach::Anywhere);
}

#[tokio::test]
async fn a_name_that_changes_its_address_reaches_only_what_was_judged() {
    let server = scripted::http(|_| ok("judged")).await;
    let flip = scripted::dns(|number, asked| {
        let v4 = asked.queries[0].query_type == hickory_resolver::proto::rr::RecordType::A;
        let address = if number % 2 == 0 { "169.254.169.254" } else { "127.0.0.1" };
        if v4 { Says::Records(vec![(0, RData::A(address.parse().unwrap()))]) } else { Says::Records(Vec::new()) }
    })
    .await;
    let free = Limit { at_once: 64, per_second: None };
    let client = Client::new(Dialer {
        resolver: Resolver::with_servers(vec![flip]),
        guard: Guard::default(),
        budgets: Budgets::new(Limits { service: free, ..Limits::default() }),
    });
    let url = Url::parse(&format!("http://rebind.example:{}/", server.address.port())).unwrap();
    let (mut judged, mut refused) = (0, 0);
    for _ in 0..1_000 {
        let request = Request { ip: Some(IpVersion::V4), ..Request::get(url.clone(), soon()) };
        match client.send(request).await {
            Ok(response) => {
                assert_eq!(response.body, "judged");
                judged += 1;
            }
            Err(failure) => {
                // A connection that was tried would have failed in another way.
                assert_eq!(failure.reason, Reason::Guard, "{failure:?}");
                refused += 1;
            }
        }
    }
    assert_eq!((judged, refused), (500, 500));
}
