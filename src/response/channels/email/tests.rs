//! What a mail server can answer, and what is written to it.

use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use super::super::tests::{declare, wires};
use super::*;
use crate::model::secret::Secret;

/// A server that answers as usual, but for commands that begin so: those it answers with that. Keeps what it hears.
async fn server(unusual: &'static [(&'static str, &'static str)]) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hearing = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let hearing = Arc::clone(&hearing);
            tokio::spawn(async move {
                let (reading, mut writing) = stream.split();
                let mut lines = BufReader::new(reading).lines();
                let answer = |to: &str| {
                    let special = unusual.iter().find(|(begin, _)| to.starts_with(begin));
                    special.map_or_else(
                        || match to.split(' ').next() {
                            Some("EHLO") => "250-here\r\n250 AUTH PLAIN",
                            Some("DATA") => "354 go on",
                            Some("QUIT") => "221 bye",
                            Some("AUTH") => "235 welcome",
                            _ => "250 fine",
                        },
                        |(_, answer)| *answer,
                    )
                };
                let greeting = unusual.iter().find(|(begin, _)| begin.is_empty()).map_or("220 hello", |(_, it)| it);
                let _ = writing.write_all(format!("{greeting}\r\n").as_bytes()).await;
                let mut data = false;
                while let Ok(Some(line)) = lines.next_line().await {
                    hearing.lock().unwrap().push(line.clone());
                    let said = match (data, line.as_str()) {
                        (true, ".") => answer("."),
                        (true, _) => continue,
                        _ => answer(&line),
                    };
                    data = said.starts_with("354");
                    if writing.write_all(format!("{said}\r\n").as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (port, heard)
}

async fn send(port: u16, more: &str, message: Message<'_>, wires: &Wires) -> Outcome {
    let text = format!(
        "m: {{ email: {{ server: 127.0.0.1, port: {port}, from: houston@example.com, to: [a@example.com, \
         b@example.com]{more} }} }}"
    );
    let channels = declare(&text).unwrap();
    channels.get("m").unwrap().send(message, wires).await
}

fn told(kind: ActionKind, recipient: &str, summary: &str) -> Action {
    let facts = serde_json::json!({ "verdict": "doubtful", "summary": summary });
    Action::new(7, 1, kind, "m", recipient, facts, Timestamp::UNIX_EPOCH)
}

fn message(action: &Action) -> Message<'_> {
    Message { action, previous: None, tries: 0, now: Timestamp::UNIX_EPOCH, links: None }
}

/// What an attempt comes to: `delivered`, `retry` or `rejected`.
fn named(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Delivered { .. } => "delivered",
        Outcome::Retry { .. } => "retry",
        Outcome::Rejected { .. } => "rejected",
    }
}

/// What a server says to which command.
type Answers = &'static [(&'static str, &'static str)];

#[tokio::test]
async fn what_a_server_answers_and_what_it_means() {
    let cases: &[(Answers, &str, &str)] = &[
        (&[], ", tls: none", "delivered"),
        (&[("", "421 busy")], ", tls: none", "retry"),
        (&[("", "554 no service")], ", tls: none", "rejected"),
        (&[("", "HTTP/1.1 400 Bad Request")], ", tls: none", "retry"),
        (&[("MAIL", "451 later")], ", tls: none", "retry"),
        (&[("MAIL", "550 who?")], ", tls: none", "rejected"),
        (&[("RCPT TO:<a@", "550 who?")], ", tls: none", "delivered"),
        (&[("RCPT TO:<a@", "550 who?"), ("RCPT TO:<b@", "450 greylisted")], ", tls: none", "retry"),
        (&[("RCPT", "550 who?")], ", tls: none", "rejected"),
        (&[("DATA", "452 full")], ", tls: none", "retry"),
        (&[(".", "552 too much")], ", tls: none", "rejected"),
        (&[(".", "451 later")], ", tls: none", "retry"),
        (&[("QUIT", "500 what?")], ", tls: none", "delivered"),
        (&[("AUTH", "535 no")], ", tls: none, user: u, password: { env: HOOK_TOKEN }", "rejected"),
        (&[("AUTH", "454 later")], ", tls: none, user: u, password: { env: HOOK_TOKEN }", "retry"),
        (&[], ", tls: none, user: u, password: { env: HOOK_TOKEN }", "delivered"),
        (&[], ", tls: none, user: u, password: { env: NOT_THERE }", "retry"),
        // Without TLS there is no mail, nor a login.
        (&[], ", user: u, password: { env: HOOK_TOKEN }", "rejected"),
        (&[("EHLO", "250-here\r\n250 STARTTLS"), ("STARTTLS", "454 not now")], "", "retry"),
        (&[("EHLO", "250-here\r\n250 STARTTLS"), ("STARTTLS", "220 go\r\n250 AUTH PLAIN")], "", "retry"),
        (&[("EHLO", "250-here\r\n250 STARTTLS\r\n220 go")], "", "retry"),
    ];
    let wires = wires();
    for (unusual, more, expected) in cases {
        let (port, heard) = server(unusual).await;
        let action = told(ActionKind::Escalate, "operators", "look at it");
        let outcome = send(port, more, message(&action), &wires).await;
        assert_eq!(named(&outcome), *expected, "{unusual:?}{more}: {outcome:?}");
        assert!(!format!("{outcome:?}").contains("bearer-of"), "{outcome:?}");
        let heard = heard.lock().unwrap().join("\n");
        let is_plain = more.contains("none");
        assert!(is_plain || !(heard.contains("AUTH") || heard.contains("MAIL")), "{heard}");
    }
    let action = told(ActionKind::Escalate, "operators", "look at it");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    assert_eq!(named(&send(port, ", tls: none", message(&action), &wires).await), "retry");
}

#[tokio::test]
async fn a_mail_answers_the_one_before_and_a_repetition_has_its_name() {
    let (port, heard) = server(&[]).await;
    let wires = wires();
    wires.redactor.learn(&Secret::new("hunter2hunter2".to_owned()));
    let long = format!("hunter2hunter2 {}", "ä".repeat(900));
    let first = told(ActionKind::Page, "carol@example.net", &long);
    let sent = send(port, ", tls: none", message(&first), &wires).await;
    let Outcome::Delivered { receipt: Some(name) } = &sent else { panic!("{sent:?}") };
    let again = Message { tries: 1, ..message(&first) };
    assert_eq!(send(port, ", tls: none", again, &wires).await, sent);
    let second = told(ActionKind::Announce, "operators", "it is over");
    let answer = Message { previous: Some(name), ..message(&second) };
    assert_eq!(named(&send(port, ", tls: none", answer, &wires).await), "delivered");
    let forged = Message { previous: Some("<a@b>\r\nBcc: <x@y>"), ..message(&second) };
    assert_eq!(named(&send(port, ", tls: none", forged, &wires).await), "delivered");

    let heard = heard.lock().unwrap().join("\n");
    assert!(!heard.contains("hunter2"), "{heard}");
    let mails: Vec<&str> = heard.split("\nDATA\n").skip(1).collect();
    let [one, repeated, two, three] = mails.as_slice() else { panic!("{heard}") };
    let header = |mail: &str, name: &str| {
        let line = mail.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.unwrap_or_else(|| panic!("no {name}: {mail}")).to_owned()
    };
    assert_eq!(header(one, "Message-ID"), header(repeated, "Message-ID"));
    assert_eq!(header(one, "In-Reply-To"), "<houston.T-7@example.com>");
    assert_eq!(header(two, "In-Reply-To"), *name);
    assert_eq!(header(two, "References"), format!("<houston.T-7@example.com> {name}"));
    assert_eq!(header(two, "Subject"), "[houston T-7] it is over");
    assert!(!three.contains("Bcc") && header(three, "References") == "<houston.T-7@example.com>", "{three}");
    assert_eq!(header(one, "To"), "carol@example.net");
    assert_eq!(heard.matches("RCPT TO:<carol@example.net>").count(), 2);
    assert_eq!(heard.matches("RCPT TO:<a@example.com>").count(), 2);
}

#[test]
fn what_cannot_be_a_mail_channel_is_refused_at_its_place() {
    for (text, message) in [
        ("{ server: \"a b\", from: a@example.com, to: [a@example.com] }", "no host"),
        ("{ server: a, from: a@example.com, to: [] }", "1 to 50"),
        ("{ server: a, from: nobody, to: [a@example.com] }", "no mail address"),
        ("{ server: a, from: a@example.com, to: [\"a@example.com\\r\\nBcc: b@example.com\"] }", "no mail address"),
        ("{ server: a, port: 0, from: a@example.com, to: [a@example.com] }", "port"),
        ("{ server: a, tls: maybe, from: a@example.com, to: [a@example.com] }", "starttls"),
        ("{ server: a, user: u, from: a@example.com, to: [a@example.com] }", "password"),
        ("{ server: a, password: { env: X }, from: a@example.com, to: [a@example.com] }", "user"),
        ("{ server: a, tls: none, user: u, password: { env: X }, from: a@example.com, to: [a@example.com] }", "clear"),
        ("{ server: a, hello: \"a b\", from: a@example.com, to: [a@example.com] }", "no host name"),
    ] {
        let error = declare(&format!("m: {{ email: {text} }}")).unwrap_err();
        let said = format!("{} {}", error.message, error.hint.clone().unwrap_or_default());
        assert!(said.contains(message), "{text}: {said}");
    }
}
