//! The shop as its visitors see it: by hand over HTTP, each fault by its effect, the logs as they are read.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::*;

/// A shop without a past and without customers of its own, on free ports.
async fn open(options: impl FnOnce(&mut Options)) -> (tempfile::TempDir, Shop) {
    let place = tempfile::tempdir().unwrap();
    let mut chosen = Options {
        directory: place.path().join("shop"),
        shop_port: 0,
        admin_port: 0,
        tls_port: 0,
        names_port: 0,
        seed: 1,
        past_hours: 0,
        live_rate: 0.0,
    };
    options(&mut chosen);
    let shop = Shop::start(chosen).await.unwrap();
    (place, shop)
}

thread_local! {
    /// A client that has nothing in common with the shop's own customers; one per test, as it reads the system's roots.
    static CLIENT: reqwest::Client = {
        let _ = rustls::crypto::ring::default_provider().install_default();
        #[allow(clippy::disallowed_methods)] // a visitor from outside, not a probe
        reqwest::Client::builder().user_agent("visitor/1").timeout(Duration::from_secs(20)).build().unwrap()
    };
}

fn client() -> reqwest::Client {
    CLIENT.with(Clone::clone)
}

async fn ask(method: &str, url: String, body: Option<Value>) -> (u16, String) {
    let mut request = client().request(method.parse().unwrap(), url);
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn shop_asked(shop: &Shop, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let (status, text) = ask(method, format!("http://{}{path}", shop.address()), body).await;
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

async fn admin_asked(shop: &Shop, method: &str, body: Option<Value>) -> (u16, Value) {
    let (status, text) = ask(method, format!("http://{}/faults", shop.admin_address()), body).await;
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Buys a book; the payment's answer.
async fn buy(shop: &Shop, account: &str) -> (u16, Value) {
    let (status, cart) = shop_asked(shop, "POST", "/api/cart", Some(json!({ "account": account }))).await;
    assert_eq!(status, 201, "{cart}");
    let path = format!("/api/cart/{}", cart["id"].as_str().unwrap());
    let (status, cart) = shop_asked(shop, "POST", &format!("{path}/items"), Some(json!({ "sku": "book-1" }))).await;
    assert_eq!((status, &cart["items"]), (200, &json!(["book-1"])));
    let paid = shop_asked(shop, "POST", &format!("{path}/pay"), None).await;
    let (status, _) = shop_asked(shop, "DELETE", &path, None).await;
    assert_eq!(status, 204);
    paid
}

fn log(shop: &Shop, name: &str) -> String {
    std::fs::read_to_string(shop.directory().join(name)).unwrap_or_default()
}

#[tokio::test]
async fn a_purchase_by_hand_leaves_its_traces_in_both_logs_and_in_the_metrics() {
    let (_place, shop) = open(|_| {}).await;
    let (status, paid) = buy(&shop, "acme").await;
    assert_eq!((status, &paid["state"], &paid["cents"]), (200, &json!("authorized"), &json!(1490)));

    let (status, account) = shop_asked(&shop, "GET", "/api/account/acme", None).await;
    assert_eq!((status, &account["orders"], &account["spent_cents"]), (200, &json!(1), &json!(1490)));

    let access = log(&shop, "access.log");
    let form = regex::Regex::new(
        r#"^127\.0\.0\.1 - (\S+) \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000\] "([A-Z]+) (\S+) HTTP/1\.1" (\d{3}) \d+ "-" "([^"]*)" \d+\.\d{3}$"#,
    )
    .unwrap();
    let requests: Vec<(String, String)> = access
        .lines()
        .map(|line| {
            let found = form.captures(line).unwrap_or_else(|| panic!("{line}"));
            assert_eq!((&found[1], &found[5]), ("acme", "visitor/1"), "{line}");
            (found[2].to_owned(), found[4].to_owned())
        })
        .collect();
    let expected = [("POST", "201"), ("POST", "200"), ("POST", "200"), ("DELETE", "204"), ("GET", "200")];
    assert_eq!(requests, expected.map(|(method, status)| (method.to_owned(), status.to_owned())));

    let said: Vec<Value> = log(&shop, "app.log").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(said.iter().all(|line| line["customer"] == "acme" && line["level"].is_string()), "{said:?}");
    let order = said.iter().find(|line| line["order"].is_string()).unwrap();
    assert_eq!((&order["order"], &order["msg"]), (&paid["order"], &json!("order authorized: 1 books, 14.90 EUR")));
    order["ts"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();

    let (status, page) = shop_asked(&shop, "GET", "/metrics", None).await;
    let page = page.as_str().unwrap();
    assert_eq!(status, 200);
    for line in [
        r#"http_requests_total{job="shop",route="/api/cart/{id}/pay",code="200",customer="acme"} 1"#,
        r#"shop_orders_total{job="shop",customer="acme"} 1"#,
        r#"shop_up{job="shop"} 1"#,
        r#"shop_recent_error_ratio{job="shop"} 0.0"#,
    ] {
        assert!(page.lines().any(|one| one == line), "{line}\n{page}");
    }
    shop.stop().await;
}

#[tokio::test]
async fn wrong_requests_get_the_answer_that_fits() {
    let (_place, shop) = open(|_| {}).await;
    let (_, cart) = shop_asked(&shop, "POST", "/api/cart", Some(json!({ "account": "globex" }))).await;
    let items = format!("/api/cart/{}/items", cart["id"].as_str().unwrap());
    for (method, path, body, expected) in [
        ("GET", "/", None, 200),
        ("GET", "/healthz", None, 200),
        ("GET", "/status", None, 200),
        ("GET", "/favicon.ico", None, 404),
        ("GET", "/api/search?q=bread", None, 200),
        ("GET", "/api/search?q=nothing+of+this+kind", None, 200),
        ("GET", "/api/search", None, 400),
        ("GET", "/api/search?q=%ff%0a%22", None, 200),
        ("POST", "/api/cart", None, 400),
        ("POST", "/api/cart", Some(json!({ "account": "nobody" })), 404),
        ("POST", "/api/cart", Some(json!({ "account": 7 })), 400),
        ("GET", "/api/cart", None, 405),
        ("GET", "/api/cart/c-999999", None, 404),
        ("POST", "/api/cart/c-999999/pay", None, 404),
        ("DELETE", "/api/cart/c-999999", None, 404),
        ("POST", &items, Some(json!({ "sku": "book-99" })), 404),
        ("POST", &items, Some(json!({ "sku": "book-13" })), 500),
        ("POST", &items, Some(json!({ "sku": "x".repeat(20_000) })), 400),
        ("GET", "/api/account/nobody", None, 404),
    ] {
        let (status, answer) = shop_asked(&shop, method, path, body.clone()).await;
        assert_eq!(status, expected, "{method} {path} {body:?}: {answer}");
    }
    join_all((0..60).map(|_| shop_asked(&shop, "POST", &items, Some(json!({ "sku": "book-2" }))))).await;
    let (_, cart) = shop_asked(&shop, "GET", items.trim_end_matches("/items"), None).await;
    assert_eq!(cart["items"].as_array().unwrap().len(), 50, "a cart takes no more");
}

#[tokio::test]
async fn paying_twice_is_one_order() {
    let (_place, shop) = open(|_| {}).await;
    let (_, cart) = shop_asked(&shop, "POST", "/api/cart", Some(json!({ "account": "globex" }))).await;
    let path = format!("/api/cart/{}/pay", cart["id"].as_str().unwrap());
    let (first, second) = (shop_asked(&shop, "POST", &path, None).await, shop_asked(&shop, "POST", &path, None).await);
    assert_eq!(first, second);
    let (_, account) = shop_asked(&shop, "GET", "/api/account/globex", None).await;
    assert_eq!(account["orders"], 1);
}

#[tokio::test]
async fn customer_only_hits_this_customer_alone() {
    let (_place, shop) = open(|_| {}).await;
    shop.set_fault(Fault::CustomerOnly("acme".into())).unwrap();
    let started = Instant::now();
    let (status, answer) = buy(&shop, "acme").await;
    assert_eq!((status, &answer["state"]), (502, &json!("failed")), "{answer}");
    assert!(started.elapsed() >= Duration::from_millis(200));
    assert_eq!(buy(&shop, "globex").await.0, 200);
    let said: Vec<Value> = log(&shop, "app.log").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let errors: Vec<&Value> = said.iter().filter(|line| line["level"] == "error").collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors[0]["msg"], "payment authorization failed: ledger shard 7 rejected currency for account");
    assert_eq!((&errors[0]["customer"], &errors[0]["order"]), (&json!("acme"), &answer["order"]));

    shop.set_fault(Fault::None).unwrap();
    assert_eq!(buy(&shop, "acme").await.0, 200);
    assert!(shop.set_fault(Fault::CustomerOnly("nobody".into())).is_err());
}

#[tokio::test]
async fn pay_down_and_search_down_answer_503() {
    let (_place, shop) = open(|_| {}).await;
    shop.set_fault(Fault::PayDown).unwrap();
    assert_eq!(buy(&shop, "globex").await.0, 503);
    assert_eq!(shop_asked(&shop, "GET", "/api/search?q=bread", None).await.0, 200);
    shop.set_fault(Fault::SearchDown).unwrap();
    assert_eq!(buy(&shop, "globex").await.0, 200);
    assert_eq!(shop_asked(&shop, "GET", "/api/search?q=bread", None).await.0, 503);
    assert_eq!(shop_asked(&shop, "GET", "/healthz", None).await.0, 200);
    let app = log(&shop, "app.log");
    assert!(app.contains("payment gateway is unreachable") && app.contains("search index is unavailable"), "{app}");
    let (_, status) = shop_asked(&shop, "GET", "/status", None).await;
    assert!(status.as_str().unwrap().contains("Search</th><td>outage"), "{status}");
}

#[tokio::test]
async fn slow_db_makes_search_and_payment_wait() {
    let (_place, shop) = open(|_| {}).await;
    shop.set_fault(Fault::SlowDb).unwrap();
    let started = Instant::now();
    let (found, paid) = tokio::join!(shop_asked(&shop, "GET", "/api/search?q=bread", None), buy(&shop, "hooli"));
    assert_eq!((found.0, paid.0), (200, 200));
    assert!(started.elapsed() >= Duration::from_millis(1500));
    let app = log(&shop, "app.log");
    assert!(app.contains("query of the catalog took") && app.contains("query of the ledger took"), "{app}");
}

#[tokio::test]
async fn bad_deploy_fails_one_request_in_five() {
    let (_place, shop) = open(|_| {}).await;
    shop.set_fault(Fault::BadDeploy).unwrap();
    let answers = join_all((0..100).map(|_| shop_asked(&shop, "GET", "/", None))).await;
    let failed = answers.iter().filter(|(status, _)| *status == 500).count();
    assert!((8..=35).contains(&failed), "{failed} of 100");
    assert_eq!(log(&shop, "app.log").matches("unhandled exception").count(), failed);
    let (_, page) = shop_asked(&shop, "GET", "/metrics", None).await;
    assert!(page.as_str().unwrap().contains("version=\"5.3.0\""), "{page}");
}

#[tokio::test]
async fn the_monitoring_s_own_faults_leave_the_shop_alone() {
    let (_place, shop) = open(|_| {}).await;
    shop.set_fault(Fault::MetricsDead).unwrap();
    let (status, page) = shop_asked(&shop, "GET", "/metrics", None).await;
    assert!(status == 502 && page.as_str().unwrap().starts_with("<html>"), "{status} {page}");

    shop.set_fault(Fault::LogsSilent).unwrap();
    assert_eq!(buy(&shop, "acme").await.0, 200);
    assert_eq!((log(&shop, "access.log"), log(&shop, "app.log")), (String::new(), String::new()));

    shop.set_fault(Fault::LogsGone).unwrap();
    assert_eq!(buy(&shop, "acme").await.0, 200);
    assert!(!shop.directory().join("access.log").exists() && !shop.directory().join("app.log").exists());

    shop.set_fault(Fault::None).unwrap();
    assert_eq!(log(&shop, "access.log").lines().count(), 4, "what was logged elsewhere is back");

    shop.set_fault(Fault::BotsRefused).unwrap();
    assert_eq!(shop_asked(&shop, "POST", "/api/cart", Some(json!({ "account": "acme" }))).await.0, 429);
    assert_eq!(shop_asked(&shop, "GET", "/", None).await.0, 200);
}

#[tokio::test]
async fn blind_hangs_the_metrics_until_it_is_repaired_and_moves_the_logs_away() {
    let (_place, shop) = open(|_| {}).await;
    let before = shop_asked(&shop, "GET", "/", None).await.0;
    shop.set_fault(Fault::Blind).unwrap();
    assert!(before == 200 && !shop.directory().join("access.log").exists());
    let url = format!("http://{}/metrics", shop.address());
    let mut hanging = tokio::spawn(ask("GET", url, None));
    // The shop has taken the request when it counts it among the hanging ones.
    poll("a request that hangs", || shop.inner.hanging.available_permits() < 64).await;
    assert_eq!(shop_asked(&shop, "GET", "/", None).await.0, 200, "the shop goes on");
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut hanging).await.is_err(), "it must not be answered");
    assert_eq!(admin_asked(&shop, "DELETE", None).await.0, 204);
    assert_eq!(hanging.await.unwrap().0, 200);
    assert_eq!(log(&shop, "access.log").lines().count(), 2);
}

async fn poll(what: &str, mut done: impl FnMut() -> bool) {
    let ends = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < ends, "no {what} within 20 s");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn the_switch_takes_faults_over_http_and_refuses_what_is_none() {
    let (_place, shop) = open(|_| {}).await;
    for (body, expected, active) in [
        (
            json!({ "fault": "customer-only", "customer": "acme" }),
            200,
            json!([{ "fault": "customer-only", "customer": "acme" }]),
        ),
        (json!({ "fault": "customer-only" }), 422, Value::Null),
        (json!({ "fault": "customer-only", "customer": "nobody" }), 422, Value::Null),
        (json!({ "fault": "everything" }), 422, Value::Null),
        (json!({ "fault": "pay-down", "colour": "red" }), 422, Value::Null),
        (json!("pay-down"), 422, Value::Null),
        (
            json!({ "fault": "pay-down" }),
            200,
            json!([{ "fault": "customer-only", "customer": "acme" }, { "fault": "pay-down" }]),
        ),
        (json!({ "fault": "none" }), 200, json!([])),
    ] {
        let (status, answer) = admin_asked(&shop, "POST", Some(body.clone())).await;
        assert_eq!((status, &answer["active"]), (expected, &active), "{body}: {answer}");
    }
    shop.add_fault(Fault::SlowDb).unwrap();
    let (_, answer) = admin_asked(&shop, "GET", None).await;
    assert_eq!(answer["active"], json!([{ "fault": "slow-db" }]));
    assert_eq!(answer["available"].as_array().unwrap().len(), 12);
    assert_eq!((admin_asked(&shop, "DELETE", None).await.0, shop.faults()), (204, vec![]));

    let elsewhere = client()
        .post(format!("http://{}/faults", shop.admin_address()))
        .header("host", "shop.attacker.example")
        .json(&json!({ "fault": "pay-down" }));
    assert_eq!(elsewhere.send().await.unwrap().status(), 403);
    assert_eq!(shop.faults(), vec![]);
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let place = tempfile::tempdir().unwrap();
    let free = Options {
        directory: place.path().join("shop"),
        past_hours: 0,
        shop_port: 0,
        admin_port: 0,
        tls_port: 0,
        names_port: 0,
        ..Options::default()
    };
    for options in [Options { shop_port: port, ..free.clone() }, Options { admin_port: port, ..free.clone() }] {
        let error = Shop::start(options).await.unwrap_err().to_string();
        assert!(error.contains(&format!("port {port} on 127.0.0.1")) && error.contains("in use"), "{error}");
    }
    assert!(!place.path().join("shop").exists(), "nothing is written before the ports are there");
}

#[tokio::test]
async fn the_present_goes_on_where_the_past_ends() {
    let (_place, shop) = open(|options| {
        options.past_hours = 1;
        options.live_rate = 40.0;
    })
    .await;
    let past = log(&shop, "access.log").lines().count();
    let live = || log(&shop, "access.log").lines().skip(past).map(str::to_owned).collect::<Vec<_>>();
    let is_bought = |line: &String| line.contains("/pay HTTP/1.1\" 200");
    poll("living customers who buy", || live().len() > 60 && live().iter().any(is_bought)).await;
    let access = log(&shop, "access.log");
    let time = |line: &str| {
        let text = &line[line.find('[').unwrap() + 1..line.find(']').unwrap()];
        jiff::fmt::strtime::parse("%d/%b/%Y:%H:%M:%S %z", text).unwrap().to_timestamp().unwrap()
    };
    let times: Vec<jiff::Timestamp> = access.lines().skip(past.saturating_sub(200)).map(time).collect();
    assert!(times.is_sorted(), "lines stand in the order of their times");
    let gap = |pair: &[jiff::Timestamp]| pair[1].as_second() - pair[0].as_second();
    assert!(times.windows(2).all(|pair| gap(pair) <= 10), "no hole between the past and the present");
    let carts = |name: &str| log(&shop, name).matches("cart c-1 opened").count();
    assert_eq!(carts("app.log"), 1, "numbers go on, they don't begin again");

    let directory = shop.directory().to_path_buf();
    shop.stop().await;
    assert!(directory.join("access.log").exists());
}

#[tokio::test]
async fn a_closed_shop_gives_its_ports_and_its_directory_back() {
    let (_place, shop) = open(|_| {}).await;
    let (port, admin_port, directory) =
        (shop.address().port(), shop.admin_address().port(), shop.directory().to_path_buf());
    shop.set_fault(Fault::MetricsHang).unwrap();
    let hanging = tokio::spawn(ask("GET", format!("http://{}/metrics", shop.address()), None));
    poll("a request that hangs", || shop.inner.hanging.available_permits() < 64).await;
    shop.stop().await;
    assert_eq!(hanging.await.unwrap().0, 200, "a request that hangs doesn't keep the shop open");
    let again = Options {
        directory,
        shop_port: port,
        admin_port,
        past_hours: 0,
        live_rate: 0.0,
        seed: 1,
        tls_port: 0,
        names_port: 0,
    };
    let again = Shop::start(again).await.unwrap();
    assert_eq!(shop_asked(&again, "GET", "/healthz", None).await.0, 200);
}

#[tokio::test]
async fn it_answers_over_tls_under_its_own_name_and_by_its_own_authority() {
    let place = tempfile::tempdir().unwrap();
    let options = Options {
        directory: place.path().join("shop"),
        shop_port: 0,
        admin_port: 0,
        tls_port: 0,
        names_port: 0,
        past_hours: 0,
        live_rate: 0.0,
        ..Options::default()
    };
    let shop = Shop::start(options).await.unwrap();
    let pem = std::fs::read(shop.directory().join("ca.pem")).unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    #[allow(clippy::disallowed_methods)]
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([reqwest::Certificate::from_pem(&pem).unwrap()])
        .resolve(SERVER_NAME, shop.tls_address())
        .build()
        .unwrap();
    let url = format!("https://{SERVER_NAME}:{}/healthz", shop.tls_address().port());
    assert_eq!(client.get(url).send().await.unwrap().status(), 200);
    shop.stop().await;
}
