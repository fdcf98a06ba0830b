//! Journeys against a real server on the loopback: what they see, what they send, what they never send.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::*;
use crate::evidence::Tools;
use crate::model::memory::Memory;
use crate::model::observation::{Broken, Observation, Phase, Seen, UnknownKind};
use crate::model::params::Params;
use crate::model::secret::{Environment, Redactor};
use crate::model::value::Value;
use crate::model::window::{Moment, Window};
use crate::net::budget::{Budgets, Limit, Limits};
use crate::net::credentials::Credentials;
use crate::net::dial::Dialer;
use crate::net::dns::Resolver;
use crate::net::http::Client;

/// A request as it arrived.
#[derive(Debug, Clone)]
struct Asked {
    /// `POST /api/cart?x=1`
    line: String,
    headers: axum::http::HeaderMap,
    body: String,
}

impl Asked {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

enum Answer {
    Say(u16, Vec<(&'static str, String)>, String),
    Hang,
}

fn say(status: u16, body: impl Into<String>) -> Answer {
    Answer::Say(status, Vec::new(), body.into())
}

fn json(body: impl Into<String>) -> Answer {
    Answer::Say(200, vec![("content-type", "application/json".to_owned())], body.into())
}

fn redirect(status: u16, to: impl Into<String>) -> Answer {
    Answer::Say(status, vec![("location", to.into())], String::new())
}

/// A server that answers what the test says, and remembers what it was asked.
struct Server {
    /// `http://127.0.0.1:12345`
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    /// Requests that were given up while they hung.
    given_up: Arc<Mutex<usize>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct GivenUp(Arc<Mutex<usize>>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        *self.0.lock().unwrap() += 1;
    }
}

impl Server {
    async fn start(answer: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let given_up: Arc<Mutex<usize>> = Arc::default();
        let (seen, dropped) = (Arc::clone(&asked), Arc::clone(&given_up));
        let answer = Arc::new(answer);
        let app = axum::Router::new().fallback(move |request: Request| {
            let (seen, dropped, answer) = (Arc::clone(&seen), Arc::clone(&dropped), Arc::clone(&answer));
            async move {
                let (parts, body) = request.into_parts();
                let body: Bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
                let asked = Asked {
                    line: format!("{} {}", parts.method, parts.uri),
                    headers: parts.headers,
                    body: String::from_utf8_lossy(&body).into_owned(),
                };
                let number = {
                    let mut seen = seen.lock().unwrap();
                    seen.push(asked.clone());
                    seen.iter().filter(|before| before.line == asked.line).count()
                };
                match answer(&asked, number) {
                    Answer::Hang => {
                        let _guard = GivenUp(dropped);
                        std::future::pending::<Response>().await
                    }
                    Answer::Say(status, headers, body) => {
                        let mut response = Response::builder().status(StatusCode::from_u16(status).unwrap());
                        for (name, value) in headers {
                            response = response.header(name, value);
                        }
                        response.body(Body::from(body)).unwrap()
                    }
                }
            }
        });
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        Server { url, asked, given_up, task }
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.line).collect()
    }
}

/// The journey of this YAML, with `BASE` for the server's URL.
fn journey(yaml: &str, server: &Server) -> Arc<dyn Probe> {
    let text = yaml.replace("BASE", &server.url);
    let node = crate::yaml::parse("shop.yaml", &text).unwrap();
    (KIND.read)(&node).unwrap_or_else(|error| panic!("{error:?}\n{text}"))
}

fn tools() -> Arc<Tools> {
    tools_with(&[("SHOP_TOKEN", "t0ken-of-the-shop"), ("SHOP_PASSWORD", "correct horse")])
}

fn ask(params: &[(&str, &str)], time: Duration) -> Ask {
    let mut bound = Params::default();
    for (name, value) in params {
        bound.set(name, *value, true);
    }
    let now = "2026-11-22T10:00:00Z".parse().unwrap();
    Ask {
        now,
        window: Window::new(now, now),
        moment: Moment::Now,
        params: bound,
        customer: None,
        attempt: 1,
        usual: Vec::new(),
        deadline: Instant::now() + time,
        memory: Arc::new(Memory::default()),
        check: "buy-a-book".into(),
        tools: tools(),
    }
}

fn tools_with(variables: &[(&str, &str)]) -> Arc<Tools> {
    let environment = Environment::new(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let redactor = Redactor::default();
    // Tests ask their own server as often as they like.
    let free = Limit { at_once: 8, per_second: None };
    let budgets = Budgets::new(Limits { service: free, system: free, targets: BTreeMap::new() });
    Arc::new(Tools {
        http: Client::new(Dialer { budgets, ..Dialer::default() }),
        resolver: Resolver::default(),
        credentials: Credentials::new(environment, redactor.clone()),
        redactor,
        programs: Vec::new(),
    })
}

async fn take(yaml: &str, server: &Server, params: &[(&str, &str)]) -> Observation {
    journey(yaml, server).observe(&ask(params, Duration::from_secs(10))).await
}

fn blind(observation: &Observation) -> (UnknownKind, &str) {
    match &observation.seen {
        Seen::Blind(unknown) => (unknown.kind, &unknown.why),
        other => panic!("not blind: {other:?} {:?}", observation.broken),
    }
}

fn one_broken(observation: &Observation) -> &Broken {
    assert!(matches!(observation.seen, Seen::Answered), "{:?}", observation.seen);
    assert_eq!(observation.broken.len(), 1, "{:?}", observation.broken);
    &observation.broken[0]
}

fn is_good(observation: &Observation) -> bool {
    matches!(observation.seen, Seen::Answered) && observation.broken.is_empty()
}

const BUY: &str = r#"- name: cart
  post: "BASE/api/cart"
  json: { account: "{{ account }}" }
  expect: [ status == 201 ]
  capture: { cart: json.id }
- name: put a book in
  post: "BASE/api/cart/{{ cart }}/items"
  json: { sku: book-1 }
- name: pay
  post: "BASE/api/cart/{{ cart }}/pay"
  expect: [ status == 200, 'json.state == "authorized"' ]
- name: look
  get: "BASE/api/cart/{{ cart }}"
- name: drop the cart
  delete: "BASE/api/cart/{{ cart }}"
  always: true
"#;

/// A shop in which one customer's payments fail as the worst of failures do: with status 200.
fn shop(asked: &Asked, _: usize) -> Answer {
    let session = "session=s3ss10n-of-this-run";
    let in_session = asked.header("cookie") == Some(session);
    match asked.line.as_str() {
        "POST /api/cart" => {
            let id = if asked.body.contains("globex") { "c/2 x" } else { "c-1" };
            Answer::Say(201, vec![("set-cookie", format!("{session}; Path=/"))], format!(r#"{{"id":"{id}"}}"#))
        }
        _ if !in_session => say(401, "no session"),
        "POST /api/cart/c%2F2%20x/pay" => json(r#"{"error":"card declined","state":"failed"}"#),
        line if line.ends_with("/pay") => json(r#"{"state":"authorized"}"#),
        line if line.starts_with("DELETE") => say(204, ""),
        _ => json("{}"),
    }
}

#[tokio::test]
async fn a_use_case_that_works_is_taken_to_its_end() {
    let server = Server::start(shop).await;
    let probe = journey(BUY, &server);
    assert_eq!(probe.params(), ["account"]);
    assert_eq!(format!("http://{}", probe.system()), server.url);
    let observation = probe.observe(&ask(&[("account", "acme")], Duration::from_secs(10))).await;
    assert!(is_good(&observation), "{observation:?}");
    assert_eq!(
        server.lines(),
        [
            "POST /api/cart",
            "POST /api/cart/c-1/items",
            "POST /api/cart/c-1/pay",
            "GET /api/cart/c-1",
            "DELETE /api/cart/c-1"
        ]
    );
    assert_eq!(server.asked()[0].body, r#"{"account":"acme"}"#);
    assert_eq!(server.asked()[0].header("content-type"), Some("application/json"));
    assert_eq!(observation.measures.number("steps"), Some(5.0));
    assert!(observation.measures.number("duration_seconds").unwrap() > 0.0);
    assert!(observation.measures.get("failed_step").is_none());
    let Some(Value::List(steps)) = observation.measures.get("step") else { panic!("no steps") };
    let Value::Map(pay) = &steps[2] else { panic!("no step") };
    assert_eq!((&pay["name"], &pay["status"]), (&Value::from("pay"), &Value::Int(200)));
    assert!(observation.notes[0].starts_with("5 of 5 steps in "), "{:?}", observation.notes);
}

#[tokio::test]
async fn an_error_with_status_200_is_found_and_the_cart_is_dropped_all_the_same() {
    let server = Server::start(shop).await;
    let observation = take(BUY, &server, &[("account", "globex")]).await;
    let broken = one_broken(&observation);
    assert_eq!(broken.that, r#"json.state == "authorized""#);
    assert_eq!(broken.actual, r#"json.state is "failed""#);
    assert_eq!(broken.at, "shop.yaml:11:28");
    assert_eq!(server.lines().last().unwrap(), "DELETE /api/cart/c%2F2%20x");
    assert_eq!(server.lines().len(), 4, "the step after the failed one is not taken");
    assert_eq!(observation.measures.get("failed_step"), Some(&Value::from("pay")));
    assert_eq!(observation.measures.number("status"), Some(200.0));
    assert_eq!(observation.measures.number("steps"), Some(3.0));
    assert_eq!(observation.notes, ["step 3 of 5 (pay) failed; 1 more not taken"]);
    assert!(observation.excerpt.unwrap().contains("card declined"));
    let again = observation.reproduce.unwrap();
    assert_eq!(again, format!("curl -sS -X POST -H \"cookie: $COOKIE\" {}/api/cart/c%2F2%20x/pay", server.url));
}

#[tokio::test]
async fn what_breaks_a_step_is_shown_with_its_place() {
    for (answer, step, that, actual, at) in [
        (say(503, "sorry"), "", "status is 2xx", "status is 503", "shop.yaml:1:8"),
        (say(302, ""), "", "status is 2xx", "status is 302", "shop.yaml:1:8"),
        (say(200, "x"), "  expect: [ status == 201 ]\n", "status == 201", "status is 200", "shop.yaml:2:13"),
        (json(r#"{"a":1}"#), "  expect: [ json.b == 1 ]\n", "json.b == 1", "json has no key `b`", "shop.yaml:2:13"),
        (say(200, "<html>"), "  expect: [ json.b == 1 ]\n", "json.b == 1", "the body is not JSON", "shop.yaml:2:13"),
        (say(200, ""), "  expect: [ json.b == 1 ]\n", "json.b == 1", "the body is not JSON", "shop.yaml:2:13"),
        (json("[".repeat(100_000)), "  expect: [ json == 1 ]\n", "json == 1", "the body is not JSON", "shop.yaml:2:13"),
        (json(r#"{"b":1e400}"#), "  expect: [ json.b > 1 ]\n", "json.b > 1", "the body is not JSON", "shop.yaml:2:13"),
        (
            say(200, "please log in"),
            "  expect: [ 'body.contains(\"cart\")' ]\n",
            "body.contains(\"cart\")",
            "body is \"please log in\"",
            "shop.yaml:2:13",
        ),
        (
            say(200, "x"),
            "  expect: [ 'headers[\"etag\"] == \"x\"' ]\n",
            "headers[\"etag\"] == \"x\"",
            "headers has no key `etag`",
            "shop.yaml:2:13",
        ),
        (json("{}"), "  capture: { id: json.id }\n", "capture id: json.id", "json has no key `id`", "shop.yaml:2:18"),
        (
            json(r#"{"id":null}"#),
            "  capture: { id: json.id }\n",
            "capture id: json.id",
            "json.id is null",
            "shop.yaml:2:18",
        ),
        (
            json(r#"{"id":""}"#),
            "  capture: { id: json.id }\n",
            "capture id: json.id",
            "json.id is empty",
            "shop.yaml:2:18",
        ),
        (
            json(r#"{"id":[1]}"#),
            "  capture: { id: json.id }\n",
            "capture id: json.id",
            "json.id is [1], which fits no slot",
            "shop.yaml:2:18",
        ),
        (
            say(200, "<html>"),
            "  capture: { id: json.id }\n",
            "capture id: json.id",
            "the body is not JSON",
            "shop.yaml:2:18",
        ),
        (
            json(format!(r#"{{"id":"{}"}}"#, "x".repeat(9_000))),
            "  capture: { id: json.id }\n",
            "capture id: json.id",
            "json.id is longer than 8 KiB",
            "shop.yaml:2:18",
        ),
    ] {
        let answer = Mutex::new(Some(answer));
        let server = Server::start(move |_, _| answer.lock().unwrap().take().unwrap_or(say(200, "late"))).await;
        let second = if step.contains("capture") { "- get: \"BASE/x/{{ id }}\"\n" } else { "- get: BASE/x\n" };
        let yaml = format!("- get: BASE/api\n{step}{second}  expect: [ 'body != \"\"' ]\n");
        let observation = take(&yaml, &server, &[]).await;
        let broken = one_broken(&observation);
        let found = (broken.that.as_str(), broken.actual.as_str(), broken.at.as_str());
        assert_eq!(found, (that, actual, at), "{step}");
        assert_eq!(server.lines().len(), 1, "{step}");
        assert_eq!(observation.measures.get("failed_step"), Some(&Value::from("1")));
    }
}

#[tokio::test]
async fn all_broken_expectations_of_a_step_are_told_and_odd_ones_do_not_stop_it() {
    let server = Server::start(|_, _| json(r#"{"a":1,"b":2}"#)).await;
    let yaml = r#"- get: BASE/x
  expect:
    - { that: json.a == 3, else: odd, note: since May }
- get: BASE/y
  expect: [ json.a == 2, json.b == 2, json.b == 3 ]
"#;
    let observation = take(yaml, &server, &[]).await;
    let told: Vec<(&str, &str, bool)> =
        observation.broken.iter().map(|broken| (&*broken.that, &*broken.actual, broken.odd)).collect();
    assert_eq!(
        told,
        [
            ("json.a == 2", "json.a is 1", false),
            ("json.b == 3", "json.b is 2", false),
            ("json.a == 3", "json.a is 1", true)
        ]
    );
    assert_eq!(observation.broken[2].note.as_deref(), Some("since May"));
    assert_eq!(server.lines(), ["GET /x", "GET /y"]);
}

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
async fn a_step_is_asked_again_until_it_holds() {
    let pending =
        |_: &Asked, number: usize| json(if number < 3 { r#"{"state":"pending"}"# } else { r#"{"state":"done"}"# });
    let yaml = |attempts: u32, delay: &str| {
        format!(
            "- get: BASE/order\n  expect: [ 'json.state == \"done\"' ]\n  retry: {{ attempts: {attempts}, delay: {delay} }}\n"
        )
    };
    let server = Server::start(pending).await;
    let observation = take(&yaml(5, "10ms"), &server, &[]).await;
    assert!(is_good(&observation), "{observation:?}");
    assert_eq!(server.lines().len(), 3);
    assert!(observation.notes.iter().any(|note| note.contains("held at attempt 3 of 5")), "{:?}", observation.notes);

    let server = Server::start(pending).await;
    let observation = take(&yaml(2, "10ms"), &server, &[]).await;
    assert_eq!(one_broken(&observation).actual, r#"json.state is "pending""#);
    assert_eq!(server.lines().len(), 2);

    // Not asked as often as declared: that is no answer.
    let server = Server::start(pending).await;
    let observation = take(&yaml(5, "30s"), &server, &[]).await;
    let (kind, why) = blind(&observation);
    assert!(kind == UnknownKind::TimedOut && why.contains("after 1 of 5 attempts"), "{why}");
}

#[tokio::test]
async fn clean_up_that_fails_or_cannot_be_done_is_noted_and_is_not_bad() {
    let server = Server::start(|asked, _| match asked.line.as_str() {
        "DELETE /x" => say(500, "no"),
        _ => json("{}"),
    })
    .await;
    let yaml = "- get: BASE/a\n  expect: [ json == json ]\n- delete: BASE/x\n  always: true\n- get: BASE/b\n";
    let observation = take(yaml, &server, &[]).await;
    assert!(is_good(&observation), "{observation:?}");
    assert_eq!(observation.measures.number("steps"), Some(2.0));
    assert!(
        observation
            .notes
            .iter()
            .any(|note| note == "clean-up step 2 of 3 (DELETE /x) failed: status is 500 (expected status is 2xx)"),
        "{:?}",
        observation.notes
    );

    let yaml = r#"- post: BASE/a
  capture: { id: json.id }
- delete: "BASE/a/{{ id }}"
  always: true
- post: BASE/done
  always: true
"#;
    let observation = take(yaml, &server, &[]).await;
    assert_eq!(one_broken(&observation).actual, "json has no key `id`");
    assert!(
        observation.notes.iter().any(|note| note.ends_with("was left out: there is no `id`")),
        "{:?}",
        observation.notes
    );
    assert_eq!(server.lines().last().unwrap(), "POST /done");
}

#[tokio::test]
async fn a_service_that_refuses_or_is_silent_has_failed_and_the_step_is_named() {
    // A port on which nobody listens: bound, and closed again.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    let server = Server::start(|asked, _| if asked.line == "GET /hang" { Answer::Hang } else { say(200, "x") }).await;
    let yaml = format!("- get: BASE/x\n  expect: [ 'body == \"x\"' ]\n- name: pay\n  post: http://{closed}/pay\n");
    let observation = take(&yaml, &server, &[]).await;
    let Seen::Failed(fault) = &observation.seen else { panic!("{observation:?}") };
    assert_eq!(fault.phase, Phase::Connect);
    assert!(fault.what.starts_with("step 2 of 2 (pay): ") && fault.what.contains("refused"), "{}", fault.what);

    let yaml =
        "- get: BASE/hang\n  timeout: 200ms\n  expect: [ 'body == \"x\"' ]\n- post: BASE/clean\n  always: true\n";
    let observation = take(yaml, &server, &[]).await;
    let Seen::Failed(fault) = &observation.seen else { panic!("{observation:?}") };
    assert_eq!(fault.phase, Phase::Processing);
    assert!(fault.what.starts_with("step 1 of 2 (GET /hang): "), "{}", fault.what);
    assert_eq!(server.lines().last().unwrap(), "POST /clean");
}

#[tokio::test]
async fn the_run_ends_by_itself_before_its_deadline_and_still_cleans_up() {
    let server = Server::start(|asked, _| if asked.line == "GET /hang" { Answer::Hang } else { say(200, "x") }).await;
    let yaml = "- get: BASE/hang\n  expect: [ 'body == \"x\"' ]\n- delete: BASE/clean\n  always: true\n";
    let ask = ask(&[], Duration::from_millis(1_500));
    let observation = journey(yaml, &server).observe(&ask).await;
    assert!(Instant::now() < ask.deadline, "it ended by itself");
    assert!(matches!(observation.seen, Seen::Failed(_)), "{observation:?}");
    assert_eq!(server.lines(), ["GET /hang", "DELETE /clean"]);
}

#[tokio::test]
async fn a_step_that_had_no_time_left_is_no_proof_against_the_service() {
    let server = Server::start(|asked, _| if asked.line == "GET /hang" { Answer::Hang } else { say(200, "x") }).await;
    // The first step spends the time, waiting for what never comes; it is told apart from the second one.
    let yaml = "- get: BASE/x\n  expect: [ 'body == \"y\"' ]\n  retry: { attempts: 5, delay: 300ms }\n";
    let ask = ask(&[], Duration::from_millis(800));
    let observation = journey(yaml, &server).observe(&ask).await;
    assert_eq!(blind(&observation).0, UnknownKind::TimedOut);
    let ask = ask_with_deadline(Instant::now());
    let observation = journey("- get: BASE/hang\n  expect: [ 'body == \"x\"' ]\n", &server).observe(&ask).await;
    assert_eq!(blind(&observation).0, UnknownKind::TimedOut);
}

fn ask_with_deadline(deadline: Instant) -> Ask {
    Ask { deadline, ..ask(&[], Duration::ZERO) }
}

#[tokio::test]
async fn a_run_that_is_dropped_leaves_nothing_under_way() {
    let server = Server::start(|asked, _| if asked.line == "GET /hang" { Answer::Hang } else { say(200, "x") }).await;
    let probe = journey("- get: BASE/hang\n  expect: [ 'body == \"x\"' ]\n- get: BASE/after\n", &server);
    let ask = ask(&[], Duration::from_secs(30));
    let mut looking = probe.observe(&ask);
    let started = Instant::now();
    while server.lines().is_empty() && started.elapsed() < Duration::from_secs(10) {
        let _ = tokio::time::timeout(Duration::from_millis(20), &mut looking).await;
    }
    drop(looking);
    let started = Instant::now();
    while *server.given_up.lock().unwrap() == 0 && started.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(*server.given_up.lock().unwrap(), 1, "the connection was closed");
    assert_eq!(server.lines(), ["GET /hang"]);
}

#[tokio::test]
async fn a_body_beyond_the_cap_is_not_judged() {
    let server = Server::start(|_, _| say(200, "x".repeat(2 << 20))).await;
    let yaml = "- get: BASE/x\n  expect: [ status == 200, 'body.contains(\"y\")' ]\n";
    let observation = take(yaml, &server, &[]).await;
    assert_eq!(blind(&observation).0, UnknownKind::Incomplete);
    // What can be told without the body still is.
    let yaml = "- get: BASE/x\n  expect: [ status == 201, 'body.contains(\"y\")' ]\n";
    let observation = take(yaml, &server, &[]).await;
    assert_eq!(one_broken(&observation).actual, "status is 200");
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
            "curl -sS -X POST -H 'x-plain: it'\\''s mine' -H 'content-type: application/json' \
             -H \"authorization: Bearer ${{token}}\" -H \"x-api-key: $SHOP_TOKEN\" -H \"cookie: $COOKIE\" \
             --data-raw '{{\"account\":\"ac'\\''me\"}}' '{}/pay?for=ac%27me'",
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

#[tokio::test]
async fn a_parameter_without_a_value_is_missing_and_nothing_is_sent() {
    let server = Server::start(|_, _| say(200, "x")).await;
    let yaml = "- get: \"BASE/x/{{ account }}\"\n  expect: [ 'body == \"x\"' ]\n";
    let observation = take(yaml, &server, &[]).await;
    assert_eq!(blind(&observation).0, UnknownKind::MissingParam);
    assert!(server.lines().is_empty());
}

#[test]
fn own_expectations_are_counted_with_their_defaults_and_captures() {
    let text = BUY.replace("BASE", "http://127.0.0.1:1");
    let node = crate::yaml::parse("shop.yaml", &text).unwrap();
    // cart 1 + capture 1, items 1, pay 2, look 1, drop 1
    assert_eq!((KIND.read)(&node).unwrap().own_expectations(), 7);
}
