//! Requests as they come, and what becomes of them.

use super::*;

struct House {
    access: Access,
    admin: String,
    report: String,
    start: Instant,
    _directory: tempfile::TempDir,
}

fn wall() -> Timestamp {
    "2026-11-22T10:00:00Z".parse().unwrap()
}

impl House {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings {
            state_directory: directory.path().to_owned(),
            hosts: vec!["houston.example.com".to_owned()],
            uid: 990,
            group: None,
            tickets_per_minute: 2,
            tls: false,
        };
        let (access, shown) = Access::open(settings, wall()).unwrap();
        let admin = std::fs::read_to_string(shown.unwrap()).unwrap().trim().to_owned();
        let report = access.issue("ci", Scope::Report, None, wall()).unwrap().expose().to_owned();
        House { access, admin, report, start: Instant::now(), _directory: directory }
    }

    fn now(&self) -> Now {
        Now { wall: wall(), steady: self.start }
    }

    /// The status that a request gets that needs this scope; 200 where it is let in.
    fn ask(&self, method: &str, headers: &[(&str, &str)], needs: Scope) -> u16 {
        self.ask_from(&Peer::Address("127.0.0.1:4444".parse().unwrap()), method, headers, needs)
    }

    fn ask_from(&self, peer: &Peer, method: &str, headers: &[(&str, &str)], needs: Scope) -> u16 {
        let headers = map(headers);
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let asked = Asked { method: &method, headers: &headers, authority: None, peer };
        self.access.admit(&asked, needs, self.now()).map_or_else(Refusal::status, |_| 200)
    }

    /// A session's cookie.
    fn session(&self) -> String {
        let link = self.access.login_link("http://127.0.0.1:8080/", "ops", Scope::Operate, self.start).unwrap();
        let once = link.expose().strip_prefix("http://127.0.0.1:8080/login?once=").unwrap();
        let peer = Peer::Address("127.0.0.1:4444".parse().unwrap());
        let cookie = self.access.log_in(once, &peer, self.start).unwrap();
        for part in ["; HttpOnly", "; SameSite=Strict", "; Path=/"] {
            assert!(cookie.expose().contains(part));
        }
        assert_eq!(self.access.log_in(once, &peer, self.start).unwrap_err(), Refusal::Unauthenticated, "used");
        cookie.expose().split(';').next().unwrap().to_owned()
    }
}

fn map(headers: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    map
}

const HOST: (&str, &str) = ("host", "localhost:8080");
const JSON: (&str, &str) = ("content-type", "application/json");

#[test]
fn tokens_open_what_their_scope_allows() {
    let house = House::new();
    let admin = format!("Bearer {}", house.admin);
    let report = format!("bearer {}", house.report);
    for (authorization, needs, expected) in [
        (admin.as_str(), Scope::Admin, 200),
        (&admin, Scope::Report, 200),
        (&report, Scope::Report, 200),
        (&report, Scope::Read, 403),
        (&report, Scope::Admin, 403),
        ("Bearer hou_wrong", Scope::Report, 401),
        ("Bearer ", Scope::Report, 401),
        ("Bearer", Scope::Report, 401),
        ("Basic YTpi", Scope::Report, 401),
        (&house.admin, Scope::Report, 401),
    ] {
        assert_eq!(house.ask("GET", &[HOST, ("authorization", authorization)], needs), expected, "{needs:?}");
    }
    assert_eq!(house.ask("GET", &[HOST], Scope::Report), 401);
    let two = [HOST, ("authorization", admin.as_str()), ("authorization", admin.as_str())];
    assert_eq!(house.ask("GET", &two, Scope::Report), 401, "two of them");
    house.access.revoke("admin").unwrap();
    assert_eq!(house.ask("GET", &[HOST, ("authorization", &admin)], Scope::Report), 401, "revoked");
}

#[test]
fn the_host_comes_before_everything() {
    let house = House::new();
    let admin = format!("Bearer {}", house.admin);
    for (host, expected) in [("houston.example.com", 200), ("evil.example", 421), ("localhost.evil.example", 421)] {
        let headers = [("host", host), ("authorization", admin.as_str())];
        assert_eq!(house.ask("GET", &headers, Scope::Admin), expected, "{host}");
    }
    assert_eq!(house.ask("GET", &[("authorization", &admin)], Scope::Admin), 421);
}

#[test]
fn a_write_by_token_is_json_and_a_write_by_cookie_is_ours() {
    let house = House::new();
    let admin = ("authorization", &*format!("Bearer {}", house.admin));
    let form = ("content-type", "application/x-www-form-urlencoded");
    for (headers, expected) in [
        (vec![admin, JSON], 200),
        (vec![admin, ("content-type", "application/json; charset=utf-8")], 200),
        (vec![admin], 415),
        (vec![admin, form], 415),
        (vec![admin, ("content-type", "text/plain; application/json")], 415),
        (vec![admin, JSON, form], 415),
    ] {
        let headers: Vec<_> = std::iter::once(HOST).chain(headers).collect();
        assert_eq!(house.ask("POST", &headers, Scope::Operate), expected, "{headers:?}");
    }

    let session = house.session();
    let (cookie, ours) = (("cookie", &*format!("theme=dark; {session}")), ("x-houston", "1"));
    for (method, headers, expected) in [
        ("GET", vec![cookie], 200),
        ("POST", vec![cookie, JSON, ours], 200),
        ("POST", vec![cookie, JSON, ours, ("origin", "http://localhost:8080"), ("sec-fetch-site", "same-origin")], 200),
        ("POST", vec![cookie, JSON], 403),
        ("POST", vec![cookie, ours], 415),
        ("DELETE", vec![cookie, JSON, ours, ("origin", "http://evil.example")], 403),
        ("POST", vec![cookie, JSON, ours, ("origin", "http://localhost:9999")], 403),
        ("POST", vec![cookie, JSON, ours, ("origin", "null")], 403),
        ("POST", vec![cookie, JSON, ours, ("sec-fetch-site", "cross-site")], 403),
        ("GET", vec![cookie, ("cookie", "houston_session=hou_other")], 401),
        ("GET", vec![("cookie", "houston_session=hou_other")], 401),
        ("GET", vec![cookie, ("authorization", "Bearer hou_wrong")], 401),
    ] {
        let headers: Vec<_> = std::iter::once(HOST).chain(headers).collect();
        assert_eq!(house.ask(method, &headers, Scope::Operate), expected, "{method} {headers:?}");
    }
    assert_eq!(house.ask("GET", &[HOST, cookie], Scope::Admin), 403, "the link's scope is the session's");
    house.access.log_out(&map(&[cookie]));
    assert_eq!(house.ask("GET", &[HOST, cookie], Scope::Read), 401, "ended");
}

#[test]
fn the_socket_needs_no_token_and_no_host() {
    let house = House::new();
    let peer = |uid| Peer::Socket { uid, gid: 1, groups: vec![] };
    assert_eq!(house.ask_from(&peer(990), "GET", &[], Scope::Admin), 200);
    assert_eq!(house.ask_from(&peer(0), "POST", &[JSON], Scope::Admin), 200);
    let other = [("authorization", &*format!("Bearer {}", house.admin))];
    assert_eq!(house.ask_from(&peer(1000), "GET", &other, Scope::Report), 403);
}

#[test]
fn guessing_is_answered_less_and_less_but_the_right_token_still_works() {
    let house = House::new();
    let guess = |n: u32| house.ask("GET", &[HOST, ("authorization", &format!("Bearer hou_{n}"))], Scope::Read);
    let answers: Vec<_> = (0..1_000).map(guess).collect();
    assert_eq!(answers.iter().filter(|status| **status == 401).count(), 10);
    assert!(answers[10..].iter().all(|status| *status == 429));
    let admin = format!("Bearer {}", house.admin);
    assert_eq!(house.ask("GET", &[HOST, ("authorization", &admin)], Scope::Read), 200);
    assert_eq!(house.ask("GET", &[HOST], Scope::Read), 401, "nothing presented is no guess");
}

#[test]
fn no_refusal_says_what_was_presented() {
    let refusals = [
        Refusal::Misdirected,
        Refusal::Unauthenticated,
        Refusal::TooMany { retry_after: Duration::from_secs(7) },
        Refusal::NotJson,
        Refusal::Foreign,
        Refusal::Insufficient { needs: Scope::Admin },
        Refusal::NotThisUser,
    ];
    for refusal in refusals {
        assert!((400..500).contains(&refusal.status()));
        assert!(!refusal.to_string().is_empty());
    }
    assert!(!format!("{:?}", House::new().access).contains(&House::new().admin[4..]));
}

#[test]
fn a_declared_token_may_be_bound_to_nets_and_end() {
    let house = House::new();
    let token = "t".repeat(32);
    let declared = Declared {
        name: "desk".to_owned(),
        scope: Scope::Read,
        from: vec![crate::net::guard::Entry::parse("10.1.0.0/16").unwrap()],
        expires: Some(wall() + jiff::SignedDuration::from_secs(60)),
    };
    house.access.declare(declared.clone(), &Secret::new(token.clone())).unwrap();
    assert!(matches!(house.access.declare(declared, &Secret::new("short".to_owned())), Err(AuthError::Short(_))));
    let authorization = format!("Bearer {token}");
    let headers = map(&[HOST, ("authorization", &authorization)]);
    for (from, seconds, let_in) in [
        ("10.1.2.3:4", 0, true),
        ("[::ffff:10.1.2.3]:4", 59, true),
        ("10.2.2.3:4", 0, false),
        ("127.0.0.1:4", 0, false),
        ("10.1.2.3:4", 60, false),
    ] {
        let peer = Peer::Address(from.parse().unwrap());
        let asked = Asked { method: &Method::GET, headers: &headers, authority: None, peer: &peer };
        let now = Now { wall: wall() + jiff::SignedDuration::from_secs(seconds), steady: house.start };
        assert_eq!(house.access.admit(&asked, Scope::Read, now).is_ok(), let_in, "{from} after {seconds} s");
    }
}

#[test]
fn tickets_are_filed_no_faster_than_configured() {
    let house = House::new();
    let identity = |via| Identity { name: "ci".to_owned(), scope: Scope::Report, via };
    for _ in 0..2 {
        assert_eq!(house.access.may_file(&identity(Via::Token), house.start), Ok(()));
    }
    let refusal = house.access.may_file(&identity(Via::Token), house.start).unwrap_err();
    assert_eq!(refusal, Refusal::TooFast { retry_after: Duration::from_secs(30) });
    assert_eq!(refusal.status(), 429);
    assert_eq!(house.access.may_file(&identity(Via::Socket), house.start), Ok(()));
}
