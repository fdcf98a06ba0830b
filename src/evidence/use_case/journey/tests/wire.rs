//! What a journey sends, and what it never sends: captures, redirects, cookies, secrets.

use super::*;

#[tokio::test]
async fn captures_of_every_sort_reach_later_steps_through_their_slots() {
    let server = Server::start(|asked, _| match asked.line.as_str() {
        "GET /start" => json(r#"{"n": 42, "f": 1.5, "b": true, "t": "a&b={{ x }}\"/..", "l": [1, 2]}"#),
        _ => json(r#"{"l": [1, 2]}"#),
    })
    .await;
    let yaml = r#"- get: BASE/start
  capture: { n: json.n, f: json.f, b: json.b, t: json.t, l: json.l, size: size(json.l) }
- post: "BASE/x/{{ n }}/{{ t }}?f={{ f }}&t={{ t }}&size={{ size }}"
  form: { b: "{{ b }}", t: "{{ t }}" }
  headers: { X-N: "{{ n }}" }
  expect: [ json.l == l ]
- post: BASE/json
  json: [ "{{ n }}", { t: "{{ t }}" } ]
- put: BASE/text
  body: "{{ t }}"
"#;
    let observation = take(yaml, &server, &[]).await;
    assert!(is_good(&observation), "{observation:?}");
    let asked = server.asked();
    let t = "a%26b%3D%7B%7B%20x%20%7D%7D%22%2F..";
    assert_eq!(asked[1].line, format!("POST /x/42/{t}?f=1.5&t={t}&size=2"));
    assert_eq!(asked[1].body, format!("b=true&t={t}"));
    assert_eq!(asked[1].header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(asked[1].header("x-n"), Some("42"));
    assert_eq!(asked[2].body, r#"["42",{"t":"a&b={{ x }}\"/.."}]"#);
    assert_eq!(asked[3].body, r#"a&b={{ x }}"/.."#);
    assert_eq!(asked[3].header("content-type"), Some("text/plain; charset=utf-8"));
}

#[tokio::test]
async fn a_captured_value_that_would_break_out_is_not_sent() {
    let server = Server::start(|_, _| json(r#"{"t": "x\r\nX-Evil: 1", "d": ".."}"#)).await;
    for slot in ["headers: { X-T: \"{{ t }}\" }\n  get: BASE/y", "get: \"BASE/y/{{ t }}\"", "get: \"BASE/y/{{ d }}\""] {
        let yaml = format!("- get: BASE/x\n  capture: {{ t: json.t, d: json.d }}\n- {slot}\n");
        let observation = take(&yaml, &server, &[]).await;
        assert_eq!(blind(&observation).0, UnknownKind::Refused, "{slot}");
    }
    assert!(server.lines().iter().all(|line| line == "GET /x"));
}

#[tokio::test]
async fn redirects_are_followed_with_their_cookies() {
    let server = Server::start(|asked, _| match asked.line.as_str() {
        "POST /login" => {
            let set = vec![("location", "/home".to_owned()), ("set-cookie", "sid=abcdef; HttpOnly".to_owned())];
            Answer::Say(302, set, String::new())
        }
        "POST /keep" => redirect(307, "kept"),
        "GET /home" => say(200, format!("hello {}", asked.header("cookie").unwrap_or("stranger"))),
        _ => say(200, format!("{} {}", asked.line, asked.body)),
    })
    .await;
    let yaml = r#"- post: BASE/login
  form: { user: "{{ account }}" }
  expect: [ status == 200, redirects == 1, 'body == "hello sid=abcdef"' ]
- post: BASE/keep
  body: this
  expect: [ 'body == "POST /kept this"' ]
- post: BASE/login
  follow_redirects: 0
  expect: [ status == 302, 'headers["location"] == "/home"' ]
"#;
    let observation = take(yaml, &server, &[("account", "acme")]).await;
    assert!(is_good(&observation), "{observation:?}");
    let home = &server.asked()[1];
    assert_eq!((home.line.as_str(), home.body.as_str(), home.header("content-type")), ("GET /home", "", None));
}

#[tokio::test]
async fn redirects_without_end_are_the_service_s_fault_and_strange_ones_are_not_followed() {
    let looping = Server::start(|_, _| redirect(302, "/again")).await;
    let observation = take("- get: BASE/x\n  expect: [ 'body != \"\"' ]\n", &looping, &[]).await;
    let Seen::Failed(fault) = &observation.seen else { panic!("{observation:?}") };
    assert!(fault.what.starts_with("step 1 of 1 (GET /x): redirects without end: 10 followed"), "{}", fault.what);
    assert_eq!(looping.lines().len(), 11);

    for to in ["file:///etc/passwd", "ftp://127.0.0.1/", "http://[::1"] {
        let server = Server::start(move |_, _| redirect(302, to)).await;
        let observation = take("- get: BASE/x\n  expect: [ 'body != \"\"' ]\n", &server, &[]).await;
        assert!(matches!(observation.seen, Seen::Failed(_)), "{to}: {observation:?}");
    }
    // A metadata service is never asked, whoever says so.
    let server = Server::start(|_, _| redirect(302, "http://169.254.169.254/latest/")).await;
    let observation = take("- get: BASE/x\n  expect: [ 'body != \"\"' ]\n", &server, &[]).await;
    assert_eq!(blind(&observation).0, UnknownKind::Refused);
}

#[tokio::test]
async fn a_session_that_changes_at_the_login_is_sent_in_its_new_form_only() {
    let server = Server::start(|asked, _| match asked.line.as_str() {
        "GET /form" => Answer::Say(200, vec![("set-cookie", "sid=anonymous".to_owned())], "log in".to_owned()),
        "POST /login" => {
            let set = vec![("location", "/home".to_owned()), ("set-cookie", "sid=logged-in".to_owned())];
            Answer::Say(303, set, String::new())
        }
        _ => say(200, asked.header("cookie").unwrap_or_default()),
    })
    .await;
    let yaml = r#"- get: BASE/form
- post: BASE/login
  expect: [ 'body == "sid=logged-in"' ]
- get: BASE/later
  expect: [ 'body == "sid=logged-in"' ]
"#;
    let observation = take(yaml, &server, &[]).await;
    assert!(is_good(&observation), "{observation:?}");
}

#[tokio::test]
async fn nothing_of_ours_reaches_another_origin_nor_comes_back_from_it() {
    let other: Arc<Mutex<String>> = Arc::default();
    let home = Arc::clone(&other);
    let a = Server::start(move |asked, _| match asked.line.as_str() {
        "GET /set" => Answer::Say(200, vec![("set-cookie", "sid=cookie-of-a; Path=/".to_owned())], "x".to_owned()),
        "GET /go" | "POST /go" => redirect(302, format!("{}/away", home.lock().unwrap())),
        "POST /send" => redirect(307, format!("{}/away", home.lock().unwrap())),
        _ => say(200, "home again"),
    })
    .await;
    let back = a.url.clone();
    let b = Server::start(move |_, _| redirect(302, format!("{back}/back"))).await;
    *other.lock().unwrap() = b.url.clone();

    let yaml = r#"- get: BASE/set
  expect: [ 'body == "x"' ]
- post: BASE/go
  headers: { X-Plain: mine, X-Api-Key: { env: SHOP_TOKEN } }
  basic: { user: shop, password: { env: SHOP_PASSWORD } }
  json: { secret: thing }
  expect: [ 'body == "home again"' ]
- get: BASE/go
  headers: { Cookie: "own=1; {{ account }}" }
  bearer_token: { env: SHOP_TOKEN }
- post: BASE/send
  json: { secret: thing }
"#;
    let observation = take(yaml, &a, &[("account", "acme")]).await;
    let (kind, why) = blind(&observation);
    assert!(kind == UnknownKind::Refused && why.contains("a request with a body"), "{why}");

    let at_a = a.asked();
    assert_eq!(at_a[1].header("authorization"), Some("Basic c2hvcDpjb3JyZWN0IGhvcnNl"));
    assert_eq!(at_a[1].header("cookie"), Some("sid=cookie-of-a"));
    assert_eq!(at_a[3].header("cookie"), Some("own=1; acme; sid=cookie-of-a"));
    assert_eq!(at_a[3].header("authorization"), Some("Bearer t0ken-of-the-shop"));
    let elsewhere: Vec<Asked> =
        b.asked().into_iter().chain(at_a.into_iter().filter(|asked| asked.line.ends_with("/back"))).collect();
    assert_eq!(elsewhere.len(), 4, "twice away and twice back");
    for asked in elsewhere {
        for header in ["authorization", "cookie", "x-plain", "x-api-key", "content-type", "referer"] {
            assert_eq!(asked.header(header), None, "{asked:?}");
        }
        assert_eq!(asked.body, "");
    }
}

#[tokio::test]
async fn a_flood_of_cookies_does_not_stop_a_journey() {
    let server = Server::start(|asked, _| match asked.line.as_str() {
        "GET /set" => {
            let mut cookies =
                vec![("set-cookie", "sid=abcdef".to_owned()), ("set-cookie", "b=2; Domain=example.com".to_owned())];
            cookies.extend((0..120).map(|n| ("set-cookie", format!("c{n}={}; Max-Age=1e20", "y".repeat(200)))));
            Answer::Say(200, cookies, "x".to_owned())
        }
        _ => say(200, asked.header("cookie").unwrap_or_default().split(';').count().to_string()),
    })
    .await;
    let yaml = "- get: BASE/set\n  expect: [ 'body == \"x\"' ]\n- get: BASE/count\n  expect: [ 'body == \"50\"' ]\n";
    let observation = take(yaml, &server, &[]).await;
    assert!(is_good(&observation), "{observation:?}");
    assert!(observation.notes.iter().any(|note| note.contains("cookies were not kept")), "{:?}", observation.notes);
    assert!(server.asked()[1].header("cookie").unwrap().starts_with("sid=abcdef; c0="));
}

#[tokio::test]
async fn secrets_that_are_echoed_are_struck_out_and_the_line_to_repeat_it_names_them() {
    let server = Server::start(|asked, _| match asked.line.as_str() {
        "POST /login" => Answer::Say(
            200,
            vec![("set-cookie", "sid=cookie-0f-this-run".to_owned())],
            r#"{"token":"captured-t0ken"}"#.to_owned(),
        ),
        _ => {
            let headers: Vec<String> = ["authorization", "cookie", "x-api-key"]
                .iter()
                .filter_map(|name| asked.header(name))
                .map(str::to_owned)
                .collect();
            say(500, format!("you sent {}", headers.join(" | ")))
        }
    })
    .await;
    let yaml = r#"- post: BASE/login
  basic: { user: shop, password: { env: SHOP_PASSWORD } }
  capture: { token: json.token }
- post: "BASE/pay?for={{ account }}"
  headers: { Authorization: "Bearer {{ token }}", X-Api-Key: { env: SHOP_TOKEN }, X-Plain: "it's mine" }
  json: { account: "{{ account }}" }
  expect: [ 'body == "ok"' ]
"#;
    let observation = take(yaml, &server, &[("account", "ac'me")]).await;
    let sent = server.asked()[1].clone();
    assert_eq!(sent.header("authorization"), Some("Bearer captured-t0ken"));
    assert_eq!(sent.header("x-api-key"), Some("t0ken-of-the-shop"));
    let shown = format!("{observation:?}");
    for secret in ["captured-t0ken", "cookie-0f-this-run", "t0ken-of-the-shop", "correct horse", "Y29ycmVjdCBob3JzZ"] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
    assert!(observation.excerpt.unwrap().starts_with("you sent Bearer ‹secret›"));
    assert_eq!(
        observation.reproduce.unwrap(),
        format!(
            "curl -sS -i -H 'x-plain: it'\\''s mine' -H 'content-type: application/json' \
             -H \"authorization: Bearer ${{token}}\" -H \"x-api-key: $SHOP_TOKEN\" -H \"cookie: $COOKIE\" \
             --data-raw '{{\"account\":\"ac'\\''me\"}}' -L --max-redirs 10 '{}/pay?for=ac%27me'",
            server.url
        )
    );
}

#[tokio::test]
async fn a_secret_that_cannot_be_had_is_our_own_trouble() {
    let server = Server::start(|_, _| say(200, "x")).await;
    let yaml = "- get: BASE/x\n  bearer_token: { env: NOT_SET }\n  expect: [ 'body == \"x\"' ]\n";
    let probe = journey(yaml, &server);
    assert_eq!(probe.secrets(), [SecretRef::Env("NOT_SET".to_owned())]);
    let observation = probe.observe(&ask(&[], Duration::from_secs(5))).await;
    let (kind, why) = blind(&observation);
    assert!(kind == UnknownKind::Refused && why.contains("NOT_SET is not set"), "{why}");
    assert!(server.lines().is_empty());
}
