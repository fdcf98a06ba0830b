//! Which steps share a connection, and which don't.

use super::*;

const FIVE: &str = r#"- post: BASE/cart
  expect: [ 'body == "ok"', connect_seconds > 0.0 ]
- put: BASE/cart/item
  body: book
  expect: [ connect_seconds == 0.0, resolve_seconds == 0.0, first_byte_seconds > 0.0 ]
- get: BASE/cart
- post: BASE/cart/pay
  json: { sum: 12 }
- delete: BASE/cart
  always: true
"#;

#[tokio::test]
async fn the_steps_of_one_run_share_a_connection_and_no_other_run_does() {
    let server = Server::start(|_, _| say(200, "ok")).await;
    let probe = journey(FIVE, &server);
    for run in 1..=3 {
        let observation = probe.observe(&ask(&[], Duration::from_secs(10))).await;
        assert!(is_good(&observation), "{observation:?}");
        assert_eq!((server.lines().len(), server.connections()), (run * 5, run));
    }
    let both = ask(&[], Duration::from_secs(10));
    let (one, two) = tokio::join!(probe.observe(&both), probe.observe(&both));
    assert!(is_good(&one) && is_good(&two), "{one:?} {two:?}");
    assert_eq!(server.connections(), 5);
}

#[tokio::test]
async fn a_server_that_closes_gets_a_connection_for_each_step() {
    let close = |_: &Asked, _: usize| Answer::Say(200, vec![("connection", "close".to_owned())], "ok".to_owned());
    let server = Server::start(close).await;
    let yaml = "- get: BASE/1\n  expect: [ 'body == \"ok\"' ]\n- post: BASE/2\n- post: BASE/3\n- get: BASE/4\n- put: BASE/5\n  expect: [ connect_seconds > 0.0 ]\n";
    let observation = take(yaml, &server, &[]).await;
    assert!(is_good(&observation), "{observation:?}");
    assert_eq!((server.lines().len(), server.connections()), (5, 5));
}

#[tokio::test]
async fn an_attempt_after_a_failed_one_has_a_connection_of_its_own_and_waiting_is_no_failure() {
    let third = |_: &Asked, number: usize| json(format!(r#"{{"done":{}}}"#, number >= 3));
    let again = |how: &str, wanted: &str| format!("- get: BASE/order\n  expect: [ '{wanted}' ]\n  {how}\n");
    for (how, connections) in
        [("retry: { attempts: 3, delay: 10ms }", 3), ("poll: { until: json.done, every: 100ms, within: 8s }", 1)]
    {
        let server = Server::start(third).await;
        let observation = take(&again(how, "json.done"), &server, &[]).await;
        assert!(is_good(&observation), "{how}: {observation:?}");
        assert_eq!((server.lines().len(), server.connections()), (3, connections), "{how}");
    }
}

#[tokio::test]
async fn redirects_share_the_connection_of_their_origin_only() {
    let other = Server::start(|_, _| say(200, "there")).await;
    let away = other.url.clone();
    let server = Server::start(move |asked, _| match asked.line.as_str() {
        "GET /near" => redirect(302, "/here"),
        "GET /far" => redirect(302, format!("{away}/there")),
        _ => say(200, "here"),
    })
    .await;
    let yaml = r#"- get: BASE/near
  expect: [ 'body == "here"' ]
- get: BASE/far
  expect: [ 'body == "there"' ]
- get: BASE/far
- get: BASE/here
"#;
    let observation = take(yaml, &server, &[]).await;
    assert!(is_good(&observation), "{observation:?}");
    assert_eq!((server.lines().len(), server.connections()), (5, 1));
    assert_eq!((other.lines().len(), other.connections()), (2, 1));
}
