//! The same question by several is put once.

use super::*;

fn asked_by(asker: &str, url: Url) -> Request {
    Request { asker: Some(asker.to_owned()), ..Request::get(url, soon()) }
}

#[tokio::test]
async fn others_get_the_answer_and_a_second_attempt_is_one() {
    let server = scripted::http(|_| ok("x")).await;
    let client = client();
    for (asker, asked) in [("a", 1), ("b", 1), ("c", 1), ("a", 2), ("b", 2), ("b", 3)] {
        client.send(asked_by(asker, server.url("/"))).await.unwrap();
        assert_eq!(server.connections(), asked, "{asker}");
    }
}

#[tokio::test]
async fn at_the_same_time_it_is_asked_once() {
    let server = scripted::http(|_| ok("x")).await;
    let client = client();
    let all = (0..50).map(|number| client.send(asked_by(&number.to_string(), server.url("/"))));
    let answers = futures_util::future::join_all(all).await;
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap().body == "x"));
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn what_differs_is_asked_again() {
    let server = scripted::http(|_| ok("x")).await;
    let client = client();
    let base = asked_by("first", server.url("/"));
    client.send(base.clone()).await.unwrap();
    let secret = |value: &str| vec![("authorization".to_owned(), Secret::new(value.to_owned()))];
    let variants = [
        Request { asker: None, ..base.clone() },
        Request { method: Method::HEAD, asker: Some("b".into()), ..base.clone() },
        Request { url: server.url("/?x"), asker: Some("b".into()), ..base.clone() },
        Request { headers: vec![("a".into(), "b".into())], asker: Some("b".into()), ..base.clone() },
        Request { headers: vec![("ab".into(), "".into())], asker: Some("b".into()), ..base.clone() },
        Request { secret_headers: secret("one"), asker: Some("b".into()), ..base.clone() },
        Request { secret_headers: secret("two"), asker: Some("b".into()), ..base.clone() },
        Request { method: Method::POST, asker: Some("b".into()), ..base.clone() },
        Request { ip: Some(IpVersion::V4), asker: Some("b".into()), ..base.clone() },
    ];
    for (index, variant) in variants.into_iter().enumerate() {
        client.send(variant).await.unwrap();
        assert_eq!(server.connections(), index + 2, "variant {index}");
    }
}

#[tokio::test]
async fn the_one_who_asks_may_leave() {
    let server = scripted::tcp(|number, mut stream| async move {
        use tokio::io::AsyncWriteExt as _;
        scripted::read_head(&mut stream).await;
        if number > 0 {
            let _ = stream.write_all(&ok("second")).await;
        }
        scripted::drain(&mut stream).await;
    })
    .await;
    let client = client();
    let first = tokio::spawn({
        let (client, request) = (client.clone(), asked_by("a", server.url("/")));
        async move { client.send(request).await }
    });
    while server.connections() == 0 {
        tokio::task::yield_now().await;
    }
    let second = tokio::spawn({
        let (client, request) = (client.clone(), asked_by("b", server.url("/")));
        async move { client.send(request).await }
    });
    tokio::task::yield_now().await;
    first.abort();
    assert_eq!(second.await.unwrap().unwrap().body, "second");
}

#[tokio::test]
async fn an_impatient_askers_timeout_is_not_taken_for_everyones() {
    let server = scripted::tcp(|number, mut stream| async move {
        use tokio::io::AsyncWriteExt as _;
        scripted::read_head(&mut stream).await;
        if number > 0 {
            let _ = stream.write_all(&ok("in time")).await;
        }
        scripted::drain(&mut stream).await;
    })
    .await;
    let client = client();
    let impatient = Request { deadline: shortly(), ..asked_by("a", server.url("/")) };
    assert_eq!(client.send(impatient).await.unwrap_err().reason, Reason::Timeout);
    assert_eq!(client.send(asked_by("b", server.url("/"))).await.unwrap().body, "in time");
}
