//! `hurl` with the real hurl, at a real web server and at servers that misbehave.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use houston::evidence::{Ask, Setup, Tools};
use houston::model::observation::{Observation, Seen, UnknownKind};
use houston::model::secret::Environment;
use houston::net::guard::{Entry, Guard};

use super::looking::{ask, example, look, number, text, tools};
use crate::lab::nginx::Nginx;
use crate::lab::{place, program};

/// A shop that answers every order alike.
fn shop(state: &str) -> Nginx {
    let is =
        |path: &str, answer: &str| format!("location = {path} {{ default_type application/json; return {answer}; }}\n");
    let locations = [
        is("/api/cart", r#"201 '{"id":"c1","account":"synthetic-1"}'"#),
        is("/api/cart/c1/items", r#"200 '{"items":["book-1"]}'"#),
        is("/api/cart/c1/pay", &format!(r#"200 '{{"state":"{state}"}}'"#)),
        is("/api/cart/c1", "204"),
        is("/away", "302 http://169.254.169.254/latest/meta-data/"),
        is("/echo", r#"200 '{"customer":"$http_x_customer","token":"$http_authorization"}'"#),
    ];
    Nginx::start(&locations.concat())
}

#[test]
fn the_example_buys_a_book() {
    let (well, declines) = (shop("authorized"), shop("declined"));
    let allowed = format!("programs: [ {} ]", program("hurl").display());
    let outcome = |port: u16, config: &str| {
        example("hurl", &[("http://127.0.0.1:8470", &format!("http://127.0.0.1:{port}"))], config)
    };
    let finding = outcome(well.port, &allowed);
    assert_eq!(finding["outcome"], "good", "{finding}");
    let finding = outcome(declines.port, &allowed);
    assert_eq!(finding["outcome"], "bad", "{finding}");
    let told = finding.to_string();
    for word in ["buy-a-book.hurl:19:", "string <declined>", "string <authorized>", "/api/cart/{{cart}}/pay"] {
        assert!(told.contains(word), "{word}: {finding}");
    }
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let finding = outcome(nobody, &allowed);
    assert_eq!(finding["outcome"], "bad", "{finding}");
    assert!(finding.to_string().contains("connection refused"), "{finding}");
    // Not on the list, or not there: nobody looked, and how to get it is said.
    for config in ["{}", "programs: [ /opt/nowhere/hurl ]"] {
        let finding = outcome(well.port, config);
        assert_eq!(finding["outcome"], "unknown", "{finding}");
        assert!(finding.to_string().contains("cargo install hurl"), "{finding}");
    }
}

/// Runs this file, which is put into `place`.
async fn run(place: &Path, file: &str, more: &str, ask: &Ask) -> Observation {
    std::fs::write(place.join("case.hurl"), file).unwrap();
    // A check's file is where the check says that it was read from; these come from the place's own.
    super::looking::look_from(&place.join("check.yaml"), "hurl", &format!("{{ file: case.hurl{more} }}"), ask).await
}

fn asked(time: Duration) -> Ask {
    let mut ask = ask();
    ask.tools = tools(vec![program("hurl")]);
    ask.deadline = tokio::time::Instant::now() + time;
    ask
}

fn blind(seen: &Observation) -> (UnknownKind, &str) {
    let Seen::Blind(unknown) = &seen.seen else { panic!("{seen:?}") };
    (unknown.kind, &unknown.why)
}

const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn values_go_in_as_values_and_secrets_stay_in() {
    let (nginx, place) = (shop("authorized"), place::new());
    let mut ask = asked(SOON);
    ask.tools = Arc::new(Tools::new(Setup {
        programs: vec![program("hurl")],
        environment: Environment::new([("TOKEN".to_owned(), "s3cr3t-t0ken".to_owned())]),
        ..Setup::default()
    }));
    let file = format!(
        "GET {}\nX-Customer: {{{{customer}}}}\nAuthorization: Bearer {{{{token}}}}\nHTTP 200\n[Asserts]\n\
         jsonpath \"$.customer\" == \"{{{{customer}}}}\"\njsonpath \"$.token\" == \"no such\"\n",
        nginx.url("/echo")
    );
    let more = ", variables: { customer: \"{{ who }}\", token: { env: TOKEN } }";
    for value in ["acme", "0x10", "true", "--help", "a, b; c = d"] {
        ask.params.set("who", value, true);
        let seen = run(place.path(), &file, more, &ask).await;
        assert_eq!((&seen.seen, seen.broken.len()), (&Seen::Answered, 1), "{value}: {seen:?}");
        assert!(seen.broken[0].that.contains("no such") && seen.broken[0].at.ends_with("case.hurl:7:1"), "{seen:?}");
        assert!(!format!("{seen:?}").contains("s3cr3t-t0ken"), "{seen:?}");
    }
    for value in ["a\" b", "x</a>", "{{token}}", "a\nb"] {
        ask.params.set("who", value, true);
        let seen = run(place.path(), &file, more, &ask).await;
        assert_eq!(blind(&seen).0, UnknownKind::Refused, "{value}: {seen:?}");
    }
    let file = format!("GET {}/{{{{customer}}}}\nHTTP 404\n", nginx.url("/customers"));
    for (value, fits) in [("acme-1", true), ("../api/cart", false), ("a?b=c", false), ("..", false), ("a b", false)] {
        ask.params.set("who", value, true);
        let seen = run(place.path(), &file, ", variables: { customer: \"{{ who }}\" }", &ask).await;
        assert_eq!(seen.seen == Seen::Answered, fits, "{value}: {seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_out_leads_through_the_guard() {
    let (nginx, place) = (shop("authorized"), place::new());
    let authority = nginx.authority();
    let secure = format!("GET {}\nHTTP 201\n[Asserts]\njsonpath \"$.id\" == \"c1\"\n", nginx.tls_url("/api/cart"));
    let with_authority = format!(", ca: {}", authority.display());
    let seen = run(place.path(), &secure, &with_authority, &asked(SOON)).await;
    assert_eq!((&seen.seen, number(&seen, "steps"), seen.broken.len()), (&Seen::Answered, 1.0, 0), "{seen:?}");
    let seen = run(place.path(), &secure, "", &asked(SOON)).await;
    assert!(matches!(&seen.seen, Seen::Failed(fault) if fault.phase.name() == "tls"), "{seen:?}");

    let away = format!("GET {}\n[Options]\nlocation: true\nHTTP 403\n", nginx.url("/away"));
    let seen = run(place.path(), &away, "", &asked(SOON)).await;
    let (kind, why) = blind(&seen);
    assert!(kind == UnknownKind::Refused && why.contains("metadata service"), "{seen:?}");

    let mut held = asked(SOON);
    let denied = ["127.0.0.0/8", "::1"].map(|net| Entry::parse(net).unwrap()).to_vec();
    let guard = Guard::new(denied, Vec::new());
    held.tools = Arc::new(Tools::new(Setup { programs: vec![program("hurl")], guard, ..Setup::default() }));
    let before = std::fs::read(nginx.access_log()).unwrap_or_default().len();
    for (file, more) in [
        (format!("GET {}\nHTTP 200\n", nginx.url("/echo")), ""),
        (format!("GET {}\nHTTP 403\n", nginx.url("/echo")), ""),
        (secure.clone(), with_authority.as_str()),
    ] {
        let seen = run(place.path(), &file, more, &held).await;
        let (kind, why) = blind(&seen);
        assert!(kind == UnknownKind::Refused && why.contains("deny list"), "{file}: {seen:?}");
    }
    assert_eq!(std::fs::read(nginx.access_log()).unwrap_or_default().len(), before, "nobody asked it");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_answer_of_the_service_is_told_from_what_is() {
    let (nginx, place) = (shop("authorized"), place::new());
    let cart = nginx.url("/api/cart");
    for (file, kind, word) in [
        (format!("GET {cart}\nHTTP 201\n[Asserts]\nbogus \"x\" == 1\n"), UnknownKind::Unintelligible, ":4:1:"),
        (format!("GET {cart}/{{{{missing}}}}\nHTTP 200\n"), UnknownKind::Unintelligible, "missing"),
        (String::new(), UnknownKind::Incomplete, "no entry"),
        (format!("POST {cart}\nfile,../../../../etc/passwd;\nHTTP 201\n"), UnknownKind::Unintelligible, "unauthorized"),
        ("GET file:///etc/passwd\n".to_owned(), UnknownKind::Unintelligible, "schemes"),
    ] {
        let seen = run(place.path(), &file, "", &asked(SOON)).await;
        let (told, why) = blind(&seen);
        assert!(told == kind && why.contains(word), "{file}: {seen:?}");
    }
    for (file, place_in_file) in [
        (format!("GET {cart}\nHTTP 201\n[Captures]\nx: jsonpath \"$.nope\"\n"), "case.hurl:4:4"),
        (format!("GET {}\nHTTP 204\n[Asserts]\njsonpath \"$.x\" exists\n", nginx.url("/api/cart/c1")), "case.hurl:4:1"),
        (format!("GET {cart}\nHTTP 201\n\nGET {cart}\nHTTP/1.1 200\n"), "case.hurl:5:10"),
    ] {
        let seen = run(place.path(), &file, "", &asked(SOON)).await;
        assert!(seen.seen == Seen::Answered && seen.broken[0].at.ends_with(place_in_file), "{file}: {seen:?}");
        assert!(text(&seen, "failed_step").starts_with("GET http"), "{seen:?}");
    }
    let seen = look("hurl", "{ file: nothing-here.hurl }", &asked(SOON)).await;
    assert!(blind(&seen).1.contains("no such file"), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_misbehave_are_bounded() {
    let place = place::new();
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let file = format!("GET http://{}/\nHTTP 200\n", silent.local_addr().unwrap());
    let seen = run(place.path(), &file, "", &asked(Duration::from_secs(4))).await;
    assert!(matches!(&seen.seen, Seen::Failed(fault) if fault.what.contains("case.hurl:1:5")), "{seen:?}");

    let endless = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let file = format!("GET http://{}/\nHTTP 200\n", endless.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in endless.incoming().flatten() {
            let _ = stream.read(&mut [0; 4_096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
            while stream.write_all(&[b'x'; 65_536]).is_ok() {}
        }
    });
    let seen = run(place.path(), &file, "", &asked(Duration::from_secs(25))).await;
    assert_eq!(blind(&seen).0, UnknownKind::Incomplete, "{seen:?}");

    let waits = "GET http://127.0.0.1:1/\n[Options]\ndelay: 60s\nHTTP 200\n";
    let seen = run(place.path(), waits, "", &asked(Duration::from_secs(3))).await;
    assert_eq!(blind(&seen).0, UnknownKind::TimedOut, "{seen:?}");
}
