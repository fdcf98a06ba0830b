//! The channel `irc`: what it sends is read by somebody else on a real server.

use houston::model::action::{Action, ActionKind};
use houston::model::delivery::{Message, Outcome};
use houston::model::secret::{Environment, Redactor};
use houston::net::credentials::Credentials;
use houston::net::http::Client;
use houston::net::outgoing::Wires;
use houston::response::channels;
use houston::yaml;
use jiff::Timestamp;
use serde_json::json;

use crate::lab::ngircd::{Ngircd, Reader};

async fn send(declared: &str, title: &str) -> Outcome {
    let channel = (channels::kind("irc").unwrap().read)(&yaml::parse("houston.yaml", declared).unwrap()).unwrap();
    let redactor = Redactor::default();
    let secrets = [("RIGHT", "open-sesame"), ("WRONG", "please-open"), ("KEY", "sesame")];
    let environment = Environment::new(secrets.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let credentials = Credentials::new(environment, redactor.clone());
    let wires = Wires { http: Client::default(), credentials, redactor };
    let facts = json!({ "verdict": "issue", "summary": title, "reasons": ["checkout answers 500"] });
    let action = Action::new(7, 1, ActionKind::Page, "irc", "ops", facts, Timestamp::UNIX_EPOCH);
    let message = Message { action: &action, previous: None, tries: 0, now: Timestamp::UNIX_EPOCH, links: None };
    channel.send(message, &wires).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_on_a_real_server_sees_what_was_sent() {
    let mut server = Ngircd::start("open-sesame");
    let mut reader = Reader::join(server.port, "open-sesame");
    let (plain, tls) = (server.port, server.tls_port);
    let at = |rest: &str| format!("{{ channel: \"#incidents\", {rest} }}");

    let plainly = format!("server: 127.0.0.1, port: {plain}, tls: false, password: {{ env: RIGHT }}");
    assert_eq!(send(&at(&plainly), "T-7: checkout fails").await, Outcome::DELIVERED);
    let seen = reader.until("houston/T-7 ");
    assert!(
        seen.contains("PRIVMSG #incidents :T-7: checkout fails\r\n") && seen.contains("checkout answers 500"),
        "{seen}"
    );

    let authority = server.authority();
    let secretly =
        format!("server: localhost, port: {tls}, ca: \"{}\", password: {{ env: RIGHT }}", authority.display());
    assert_eq!(send(&at(&secretly), "over TLS\r\nQUIT :bye\r\nPRIVMSG #incidents :forged").await, Outcome::DELIVERED);
    let seen = reader.until("over TLS");
    assert!(!seen.contains("houston@127.0.0.1 PRIVMSG #incidents :forged"), "{seen}");

    // A certificate that isn't trusted, a wrong password, a channel with a key, without and with it.
    let stranger = format!("server: localhost, port: {tls}, password: {{ env: RIGHT }}");
    assert!(matches!(send(&at(&stranger), "x").await, Outcome::Retry { .. }));
    let wrong = plainly.replace("RIGHT", "WRONG");
    let outcome = send(&at(&wrong), "x").await;
    assert!(matches!(outcome, Outcome::Rejected { .. }), "{outcome:?}");
    let outcome = send(&format!("{{ channel: \"#locked\", {plainly} }}"), "x").await;
    assert!(matches!(&outcome, Outcome::Rejected { why } if why.contains("475")), "{outcome:?}");
    let outcome = send(&format!("{{ channel: \"#locked\", {plainly}, channel_key: {{ env: KEY }} }}"), "x").await;
    assert_eq!(outcome, Outcome::DELIVERED);

    server.server.stop();
    let outcome = send(&at(&plainly), "x").await;
    assert!(matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");
}
