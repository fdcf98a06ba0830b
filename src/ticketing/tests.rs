//! Tests of what all ticket systems have in common, and what their own tests stand on.

use std::collections::BTreeSet;

use super::*;
use crate::model::secret::{Environment, Redactor};
use crate::net::credentials::Credentials;

pub(crate) mod service;

/// The secrets that the examples of the registry, and the tests, name.
pub(crate) fn wires() -> Wires {
    let redactor = Redactor::default();
    let known = [("DESK_SECRET", "desk-secret-0123456789"), ("OLD_SECRET", "old-secret-0123456789")];
    let environment = Environment::new(known.map(|(name, value)| (name.to_owned(), value.to_owned())));
    Wires {
        http: crate::net::http::Client::default(),
        credentials: Credentials::new(environment, redactor.clone()),
        redactor,
    }
}

/// A desk of this kind, as it is declared by this value.
pub(crate) fn desk(kind: &str, value: &str) -> Desk {
    declared(&format!("{{ {kind}: {value} }}")).unwrap()
}

pub(crate) fn declared(text: &str) -> Result<Desk, Vec<Diagnostic>> {
    let node = yaml::parse("houston.yaml", text).unwrap();
    let mut errors = Vec::new();
    declare("desk", &node, &mut errors).ok_or(errors)
}

pub(crate) fn hook<'a>(headers: &'a HeaderMap, body: &'a [u8]) -> Hook<'a> {
    Hook { headers, body, url: None, local: false, now: Timestamp::from_second(1_795_000_000).unwrap() }
}

/// What a delivery without headers is read as.
pub(crate) fn deliver(desk: &Desk, body: &str) -> Result<Received, Refused> {
    desk.system.read(&hook(&HeaderMap::new(), body.as_bytes()))
}

#[test]
fn the_registry_keeps_its_laws() {
    let names: BTreeSet<_> = SYSTEMS.iter().map(|kind| kind.name.to_owned()).collect();
    assert_eq!(names.len(), SYSTEMS.len(), "names are unique");
    let mut files: BTreeSet<String> = std::fs::read_dir("src/ticketing")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    for other in ["mod", "fields", "tests"] {
        assert!(files.remove(other), "{other}");
    }
    assert_eq!(files, names, "every file is registered");
}

#[test]
fn every_kind_reads_its_example_and_refuses_what_is_not_signed() {
    for kind in SYSTEMS {
        assert!(!kind.summary.is_empty() && !kind.docs.is_empty(), "{}", kind.name);
        let desk = declared(&format!("{{ {}: {} }}", kind.name, kind.example)).unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in kind.headers {
            headers.insert(*name, value.parse().unwrap());
        }
        let hook = hook(&headers, kind.payload.as_bytes());
        let received = desk.system.read(&hook).unwrap();
        let [first, ..] = received.incoming.as_slice() else { panic!("{}: {received:?}", kind.name) };
        assert_eq!(first.what, What::Opened, "{}", kind.name);
        let ticket = desk.ticket(first, hook.now).unwrap();
        assert_eq!((ticket.source.as_str(), &ticket.id), ("desk", &first.id));
        assert!(desk.system.verify(&hook, &wires()).is_err(), "{} takes what nobody signed", kind.name);
    }
}

#[test]
fn declared_fields_fill_a_ticket() {
    let desk = declared(
        "{ webhook: { secrets: [{ env: DESK_SECRET }] }, fields: { customer: [org.name, { value: unknown }], \
         service: { path: title, pattern: '^\\[(\\w+)\\]' }, since: org.began, params: { account: org.numbers.1, shop: org.name } } }",
    )
    .unwrap();
    let body = r#"{"id":1,"title":"[checkout] is down","customer":"x","org":{"name":"Acme","began":"2026-11-18T08:20:08.623+0100","numbers":[7,"a-8"]}}"#;
    let received = deliver(&desk, body).unwrap();
    let now = Timestamp::from_second(1_795_000_000).unwrap();
    let ticket = desk.ticket(&received.incoming[0], now).unwrap();
    assert_eq!(ticket.customer.unwrap().raw(), "Acme");
    assert_eq!(ticket.services, ["checkout"]);
    assert_eq!(ticket.params["account"].raw(), "a-8");
    assert_eq!(ticket.symptom.unwrap().from, "2026-11-18T07:20:08.623Z".parse().unwrap());

    let received = deliver(&desk, r#"{"id":2,"title":"slow"}"#).unwrap();
    let ticket = desk.ticket(&received.incoming[0], now).unwrap();
    assert_eq!((ticket.customer.unwrap().raw(), ticket.services.len(), ticket.params.len()), ("unknown", 0, 0));
}

#[test]
fn a_wrong_declaration_is_refused_at_its_place() {
    for (text, place, message) in [
        ("{ webhok: {} }", "houston.yaml:1:3", "no such kind"),
        ("{ }", "houston.yaml:1:1", "one kind, not 0"),
        ("{ webhook: { secrets: [] } }", "houston.yaml:1:23", "holds 0 keys"),
        ("{ webhook: { secrets: [hunter2] } }", "houston.yaml:1:24", "secret"),
        ("{ webhook: { secrets: [{ env: A }], url: \"ftp://a\" } }", "houston.yaml:1:42", "http"),
        ("{ webhook: { secrets: [{ env: A }] }, fields: { custmer: a } }", "houston.yaml:1:49", "custmer"),
        (
            "{ webhook: { secrets: [{ env: A }] }, fields: { customer: { path: a, pattern: '(' } } }",
            "houston.yaml:1:79",
            "regular",
        ),
    ] {
        let errors = declared(text).unwrap_err();
        let error = &errors[0];
        assert_eq!(error.at.to_string(), place, "{text}: {error}");
        let said = format!("{} {}", error.message, error.hint.clone().unwrap_or_default());
        assert!(said.contains(message), "{text}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}
