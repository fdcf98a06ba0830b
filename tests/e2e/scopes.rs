//! Who may do what: every route of the daemon, asked by everybody.

use houston::daemon::api::routes;
use houston::daemon::auth::Scope;

use super::daemon::{Daemon, ticket};
use super::program::variable;
use super::tickets::config;
use super::wire::Answer;
use super::world::{World, four_looks};

/// What needs no token, and why that is well: nothing of it says anything that a stranger could use.
// A desk proves itself by its signature: tests/e2e/hooks.rs.
const OPEN: &[(&str, &str)] = &[
    ("POST", "/hooks/{system}"),
    ("GET", "/a/{token}"),
    ("POST", "/a/{token}"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/login"),
];

/// A screenshot that was kept.
const PICTURE: &str = "20261122T101500Z-front-1f2e3d4c.png";

fn daemon(world: &World) -> Daemon {
    let tokens = "listen:\n  tokens:\n  \
        - { name: reporter, scope: report, secret: { env: REPORT_TOKEN } }\n  \
        - { name: reader, scope: read, secret: { env: READ_TOKEN } }\n  \
        - { name: operator, scope: operate, secret: { env: OPERATE_TOKEN } }\n";
    Daemon::start(&[("shop.yaml", &four_looks(world, "/well"))], &config(world, tokens))
}

fn ask(daemon: &Daemon, method: &str, path: &str, lines: &[String]) -> Answer {
    let place = daemon.tcp();
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", place.host());
    for line in lines {
        request.push_str(&format!("{line}\r\n"));
    }
    if method != "GET" {
        request.push_str("Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}");
    } else {
        request.push_str("\r\n");
    }
    place.send(request.as_bytes()).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
}

fn bearer(token: &str) -> Vec<String> {
    vec![format!("Authorization: Bearer {token}")]
}

#[test]
fn every_route_asks_who_it_is_and_whether_he_may() {
    let world = World::start();
    let daemon = daemon(&world);
    daemon.post("/api/v1/tickets?wait=30s", &ticket("1", "the shop is slow"));
    let identities = [
        (Some(Scope::Report), bearer(variable("REPORT_TOKEN"))),
        (Some(Scope::Read), bearer(variable("READ_TOKEN"))),
        (Some(Scope::Operate), bearer(variable("OPERATE_TOKEN"))),
        (Some(Scope::Admin), bearer(&daemon.token)),
        (None, Vec::new()),
    ];
    let kept = daemon.state().join("evidence");
    std::fs::create_dir_all(&kept).unwrap();
    std::fs::write(kept.join(PICTURE), b"\x89PNG").unwrap();
    let routes = routes();
    assert!(routes.len() >= 14, "only {} routes", routes.len());
    let open: Vec<_> = routes.iter().filter(|route| route.scope.is_none()).map(|r| (r.method, r.path)).collect();
    assert_eq!(open, OPEN, "a route that needs no token is one to think about");
    for route in &routes {
        let path = route.path.replace("/evidence/{name}", &format!("/evidence/{PICTURE}"));
        let path = path
            .replace("{ticket}", "T-1")
            .replace("{name}", "front")
            .replace("{system}", "desk")
            .replace("{token}", "0-0-0");
        assert!(!path.contains('{'), "a route this test can't ask: {path}");
        for (scope, lines) in &identities {
            let answer = ask(&daemon, route.method, &path, lines);
            let what = format!("{} {path} as {scope:?}: {} {}", route.method, answer.status, answer.text());
            match (route.scope, scope) {
                (None, _) => assert_ne!(answer.status, 403, "{what}"),
                (Some(_), None) => assert_eq!(answer.status, 401, "{what}"),
                (Some(needs), Some(has)) if *has < needs => {
                    assert_eq!(answer.status, 403, "{what}");
                    assert!(answer.text().contains(needs.name()), "{what}");
                }
                // Another's ticket is not there for a reporter.
                (Some(_), Some(Scope::Report)) if route.path == "/api/v1/tickets/{ticket}" => {
                    assert_eq!(answer.status, 404, "{what}");
                }
                _ => assert!(![401, 403, 404, 405, 415].contains(&answer.status), "{what}"),
            }
            for (name, value) in [
                ("x-content-type-options", "nosniff"),
                ("referrer-policy", "no-referrer"),
                ("cache-control", "no-store"),
            ] {
                assert_eq!(answer.header(name), Some(value), "{what}");
            }
            assert!(
                answer.header("content-security-policy").is_some_and(|p| p.starts_with("default-src 'none'")),
                "{what}"
            );
            assert_eq!(answer.header("access-control-allow-origin"), None, "{what}");
        }
        // Another method on the same path is no way around.
        for method in ["HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
            let answer = ask(&daemon, method, &path, &[]);
            assert!([401, 405].contains(&answer.status) || route.scope.is_none(), "{method} {path}: {}", answer.status);
        }
    }
    // Unknown paths, and known ones written otherwise, lead nowhere.
    for path in [
        "/api/v1/",
        "/API/V1/tickets",
        "//api/v1/tickets",
        "/api/v1/tickets/",
        "/api/v1/tickets/T-1/",
        "/metrics/",
        "/t/",
    ] {
        assert_eq!(ask(&daemon, "GET", path, &[]).status, 404, "{path}");
    }
}

#[test]
fn who_files_tickets_sees_their_verdicts_but_not_the_evidence() {
    let world = World::start();
    let daemon = daemon(&world);
    let body = ticket("1", "the shop is slow").to_string();
    let filed = |token: &str| {
        let place = daemon.tcp();
        let request = format!(
            "POST /api/v1/tickets?wait=30s HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            place.host(),
            body.len()
        );
        place.send(request.as_bytes()).unwrap()
    };
    let told = filed(variable("REPORT_TOKEN"));
    assert_eq!((told.status, &told.json()["verdict"]), (200, &"no_issue".into()), "{}", told.text());
    assert_eq!(told.json()["findings"], serde_json::json!([]), "{}", told.text());
    assert!(!told.text().contains(&world.address), "no inner address: {}", told.text());
    assert_eq!(filed(variable("READ_TOKEN")).json()["findings"].as_array().map(Vec::len), Some(4));
    let own = ask(&daemon, "GET", "/api/v1/tickets/T-1", &bearer(variable("REPORT_TOKEN")));
    assert_eq!((own.status, &own.json()["verdict"]), (200, &"no_issue".into()), "{}", own.text());
    assert_eq!(own.json()["document"]["findings"], serde_json::json!([]), "{}", own.text());
    assert!(!own.text().contains(&world.address), "no inner address: {}", own.text());
    let whole = ask(&daemon, "GET", "/api/v1/tickets/T-1", &bearer(variable("READ_TOKEN")));
    assert_eq!(whole.json()["document"]["findings"].as_array().map(Vec::len), Some(4));
}

#[test]
fn who_files_too_fast_is_told_to_wait_and_nothing_is_accepted() {
    let world = World::start();
    let settings = "listen:\n  tickets_per_minute: 3\n";
    let daemon = Daemon::start(&[("shop.yaml", &four_looks(&world, "/well"))], &config(&world, settings));
    let answers: Vec<Answer> =
        (0..5).map(|n| daemon.post("/api/v1/tickets", &ticket(&n.to_string(), "the shop is slow"))).collect();
    let accepted = answers.iter().filter(|answer| answer.status == 202).count();
    let last = answers.last().unwrap();
    assert!((3..5).contains(&accepted), "{accepted}");
    assert_eq!((last.status, last.header("retry-after").is_some()), (429, true), "{}", last.text());
    assert_eq!(daemon.all().len(), accepted);
}

#[test]
fn a_token_counts_only_where_it_belongs() {
    let world = World::start();
    let daemon = daemon(&world);
    let (good, path) = (daemon.token.clone(), "/api/v1/tickets");
    let wrong: Vec<(&str, Vec<String>, String)> = vec![
        ("another", bearer("hou_0123456789abcdef0123456789abcdef0123456789a"), path.to_owned()),
        ("cut short", bearer(&good[..good.len() - 1]), path.to_owned()),
        ("with more behind", bearer(&format!("{good}x")), path.to_owned()),
        ("as a password", vec![format!("Authorization: Basic {good}")], path.to_owned()),
        ("right and wrong", [bearer(&good), bearer("hou_wrong")].concat(), path.to_owned()),
        ("no scheme", vec![format!("Authorization: {good}")], path.to_owned()),
    ];
    for (name, lines, path) in wrong {
        let answer = ask(&daemon, "GET", &path, &lines);
        assert_eq!(answer.status, 401, "{name}: {}", answer.text());
        assert!(!answer.text().contains(&good), "{name}");
    }
    let unnoticed: Vec<(&str, Vec<String>, String)> = vec![
        ("in the query", vec![], format!("{path}?token={good}&access_token={good}")),
        ("in a cookie", vec![format!("Cookie: houston_session={good}")], path.to_owned()),
        ("in another header", vec![format!("X-Api-Key: {good}")], path.to_owned()),
    ];
    for (name, lines, path) in unnoticed {
        assert_eq!(ask(&daemon, "GET", &path, &lines).status, 401, "{name}");
    }
    // Who guesses on is told to wait; who knows the token is let in all the same.
    let many: Vec<Answer> = (0..20).map(|n| ask(&daemon, "GET", path, &bearer(&format!("hou_guess-{n}")))).collect();
    let last = many.last().unwrap();
    assert_eq!((last.status, last.header("retry-after").is_some()), (429, true), "{}", last.text());
    assert_eq!(ask(&daemon, "GET", path, &bearer(&good)).status, 200);
    assert!(!daemon.log().contains(&good), "{}", daemon.log());
}

#[test]
fn the_login_link_works_once_and_its_session_is_no_way_in_for_other_pages() {
    let world = World::start();
    let daemon = daemon(&world);
    let announced = std::fs::read_to_string(daemon.home().join("stdout.log")).unwrap();
    let (_, link) = announced.split_once("the pages, once: http://").unwrap();
    let path = &link.trim()[link.find('/').unwrap()..];
    let entered = ask(&daemon, "GET", path, &[]);
    assert_eq!((entered.status, entered.header("location")), (303, Some("/")), "{}", entered.text());
    let cookie = entered.header("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let cookie = format!("Cookie: {}", cookie.split(';').next().unwrap());
    assert_eq!(ask(&daemon, "GET", path, &[]).status, 401, "once");
    assert_eq!(ask(&daemon, "GET", "/", std::slice::from_ref(&cookie)).status, 200);
    daemon.post("/api/v1/tickets?wait=30s", &ticket("1", "the shop is slow"));

    let origin = |origin: &str| format!("Origin: {origin}");
    let own = format!("http://{}", daemon.tcp().host());
    let write = "/api/v1/tickets/T-1/retriage";
    for (lines, status) in [
        (vec![], 403),
        (vec!["X-Houston: 1".to_owned(), origin("http://evil.example")], 403),
        (vec!["X-Houston: 1".to_owned(), origin("null")], 403),
        (vec!["X-Houston: 1".to_owned(), "Sec-Fetch-Site: cross-site".to_owned()], 403),
        (vec!["X-Houston: 1".to_owned(), origin(&own)], 202),
    ] {
        let answer = ask(&daemon, "POST", write, &[vec![cookie.clone()], lines.clone()].concat());
        assert_eq!(answer.status, status, "{lines:?}: {}", answer.text());
    }
}
