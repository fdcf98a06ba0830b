//! Against a server of the test's own, which says what a real one may.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use super::*;
use crate::model::action::ActionKind;
use crate::model::letter::hostile::HOSTILE;
use crate::response::loopback::{Chat, action, is_rejected, is_retry, long_action};

/// What a server answers to a line.
type Answers = dyn Fn(&str) -> Vec<&'static str> + Send + Sync;

/// A server that notes every line.
struct Server {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(answers: impl Fn(&str) -> Vec<&'static str> + Send + Sync + 'static) -> Server {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let (notes, answers): (_, Arc<Answers>) = (Arc::clone(&heard), Arc::new(answers));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (notes, answers) = (Arc::clone(&notes), Arc::clone(&answers));
                tokio::spawn(async move {
                    let (reading, mut writing) = stream.into_split();
                    let mut lines = BufReader::new(reading).lines();
                    while let Ok(Some(line)) = lines.next_line().await {
                        notes.lock().unwrap().push(line.clone());
                        for answer in answers(&line) {
                            if writing.write_all(format!("{answer}\r\n").as_bytes()).await.is_err() {
                                return;
                            }
                        }
                        if line.starts_with("QUIT") {
                            return;
                        }
                    }
                });
            }
        });
        Server { port, heard }
    }

    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut *self.heard.lock().unwrap())
    }

    fn chat(&self, more: &str) -> Chat {
        let declared = format!(
            "{{ irc: {{ server: 127.0.0.1, port: {}, tls: false, channel: \"#incidents\"{more} }} }}",
            self.port
        );
        Chat::new(&declared, &[("PASSWORD", "open sesame"), ("BROKEN", "a\r\nQUIT :b")])
    }
}

/// A friendly server.
fn friendly(line: &str) -> Vec<&'static str> {
    match line.split(' ').next().unwrap() {
        "USER" => vec!["PING :are-you-there", ":irc 001 houston :Welcome", ":irc 422 houston :MOTD is missing"],
        "JOIN" => vec![
            ":houston!h@127.0.0.1 JOIN :#incidents",
            ":irc 353 houston = #incidents :houston",
            ":irc 366 houston #incidents :End of NAMES list",
        ],
        "PING" => vec![":irc PONG irc :another-token", ":irc PONG irc :houston-was-heard"],
        "QUIT" => vec!["ERROR :Closing connection"],
        _ => Vec::new(),
    }
}

fn said(heard: &[String]) -> Vec<&str> {
    heard.iter().filter_map(|line| line.strip_prefix("PRIVMSG #incidents :")).collect()
}

#[tokio::test]
async fn a_visit_says_its_lines_and_waits_until_they_are_taken() {
    let server = Server::start(friendly).await;
    let page = action(ActionKind::Page, 1, "checkout fails");
    assert_eq!(server.chat("").send(&page, None, 0).await, Outcome::DELIVERED);
    let heard = server.heard();
    assert_eq!(&heard[..4], ["NICK houston", "USER houston 0 * :Houston", "PONG :are-you-there", "JOIN #incidents"]);
    assert_eq!(&heard[heard.len() - 2..], ["PING :houston-was-heard", "QUIT :said"]);
    let said = said(&heard);
    assert_eq!(said[0], "checkout fails");
    assert!(said.last().unwrap().contains(&page.key[..12]), "{said:?}");
}

#[tokio::test]
async fn a_password_is_told_as_the_server_wants_it() {
    let server = Server::start(friendly).await;
    let page = action(ActionKind::Page, 1, "checkout fails");
    let chat = server.chat(", password: { env: PASSWORD }, channel_key: { env: PASSWORD }, nick: triage");
    assert_eq!(chat.send(&page, None, 0).await, Outcome::DELIVERED);
    let heard = server.heard();
    assert_eq!(&heard[..2], ["PASS :open sesame", "NICK triage"]);
    assert!(heard.contains(&"JOIN #incidents open sesame".to_owned()));

    let server = Server::start(|line| match line {
        "CAP REQ :sasl" => vec![":irc CAP * ACK :sasl"],
        "AUTHENTICATE PLAIN" => vec!["AUTHENTICATE +"],
        // printf 'houston-bot\0houston-bot\0open sesame' | base64
        "AUTHENTICATE aG91c3Rvbi1ib3QAaG91c3Rvbi1ib3QAb3BlbiBzZXNhbWU=" => {
            vec![":irc 900 houston :You are logged in", ":irc 903 houston :SASL authentication successful"]
        }
        "CAP END" => vec![":irc 001 houston :Welcome"],
        line if line.starts_with("USER") => Vec::new(),
        line => friendly(line),
    })
    .await;
    let chat = server.chat(", account: houston-bot, password: { env: PASSWORD }");
    assert_eq!(chat.send(&page, None, 0).await, Outcome::DELIVERED);
    assert!(!said(&server.heard()).is_empty());
}

#[tokio::test]
async fn a_name_that_is_taken_is_varied() {
    let server = Server::start(|line| match line {
        "NICK houston" => vec![":irc 433 * houston :Nickname is already in use"],
        "NICK houston_" => vec![":irc 001 houston_ :Welcome"],
        line if line.starts_with("USER") => Vec::new(),
        line => friendly(line),
    })
    .await;
    assert_eq!(server.chat("").send(&action(ActionKind::Page, 1, "x"), None, 0).await, Outcome::DELIVERED);
}

#[tokio::test]
async fn what_a_server_refuses_is_refused_and_the_rest_tried_again() {
    let page = action(ActionKind::Page, 1, "checkout fails");
    for (at, answer, refused) in [
        ("USER", ":irc 464 * :Password incorrect", true),
        ("USER", ":irc 465 * :You are banned", true),
        ("USER", "ERROR :Access denied: Bad server password?", true),
        ("USER", "ERROR :Closing Link: too many connections", false),
        ("JOIN", ":irc 475 houston #incidents :Cannot join channel (+k)", true),
        ("JOIN", ":irc 473 houston #incidents :Cannot join channel (+i)", true),
        ("JOIN", ":irc 437 houston #incidents :Channel is temporarily unavailable", false),
        ("PRIVMSG", ":irc 404 houston #incidents :Cannot send to channel", true),
        ("PRIVMSG", "ERROR :Excess Flood", false),
        ("PING", "ERROR :Server going down", false),
    ] {
        let server = Server::start(move |line| if line.starts_with(at) { vec![answer] } else { friendly(line) }).await;
        let outcome = server.chat("").send(&page, None, 0).await;
        let right = if refused { is_rejected(&outcome, "the server says") } else { is_retry(&outcome, None) };
        assert!(right, "{answer}: {outcome:?}");
    }
    for (answer, refused) in [(":irc CAP * NAK :sasl", true), (":irc 904 * :SASL authentication failed", true)] {
        let server = Server::start(move |line| if line.starts_with("CAP") { vec![answer] } else { Vec::new() }).await;
        let chat = server.chat(", account: houston-bot, password: { env: PASSWORD }");
        assert_eq!(is_rejected(&chat.send(&page, None, 0).await, ""), refused);
    }
    let server = Server::start(friendly).await;
    let outcome = server.chat(", password: { env: BROKEN }").send(&page, None, 0).await;
    assert!(is_rejected(&outcome, "line break") && server.heard().is_empty(), "{outcome:?}");
    let outcome = server.chat(", password: { env: UNSET }").send(&page, None, 0).await;
    assert!(is_retry(&outcome, None), "{outcome:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_or_talks_without_end_is_tried_again() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let gone = Server { port, heard: Arc::default() };
    let page = action(ActionKind::Page, 1, "checkout fails");
    assert!(is_retry(&gone.chat("").send(&page, None, 0).await, None));
    let endless: &'static str = Box::leak("x".repeat(600 * 1024).into_boxed_str());
    let server = Server::start(move |_| vec![endless]).await;
    let outcome = server.chat("").send(&page, None, 0).await;
    assert!(matches!(&outcome, Outcome::Retry { why, .. } if why.contains("without end")), "{outcome:?}");
}

#[tokio::test]
async fn hostile_text_stays_text() {
    let server = Server::start(friendly).await;
    for text in HOSTILE {
        assert_eq!(server.chat("").send(&action(ActionKind::Page, 1, text), None, 0).await, Outcome::DELIVERED);
        let heard = server.heard();
        let commands: Vec<&str> = heard.iter().map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(commands.iter().filter(|command| **command == "QUIT").count(), 1, "{text:?}");
        assert_eq!(heard.len(), 6 + said(&heard).len(), "{text:?}: {heard:?}");
        assert!(!heard.iter().any(|line| line.chars().any(encode::is_unprintable)), "{text:?}: {heard:?}");
    }
}

#[tokio::test]
async fn a_long_story_is_cut_and_says_so() {
    let server = Server::start(friendly).await;
    assert_eq!(server.chat("").send(&long_action(ActionKind::Page), None, 0).await, Outcome::DELIVERED);
    let heard = server.heard();
    let said = said(&heard);
    assert!(said.len() <= LINES && said.iter().all(|line| line.len() <= LINE), "{said:?}");
    assert!(said.iter().any(|line| line.contains("the rest is in Houston")), "{said:?}");
}

#[test]
fn names_are_words() {
    for text in [
        "{ server: irc.example.com }",
        "{ server: \"a b\", channel: \"#a\" }",
        "{ server: a, channel: incidents }",
        "{ server: a, channel: \"#a,#b\" }",
        "{ server: a, channel: \"#a b\" }",
        "{ server: a, channel: \"#a\", nick: \"a b\" }",
        "{ server: a, channel: \"#a\", nick: \"\" }",
        "{ server: a, channel: \"#a\", account: b }",
    ] {
        assert!(read(&yaml::parse("houston.yaml", text).unwrap()).is_err(), "{text}");
    }
    let irc = read(&yaml::parse("houston.yaml", "{ server: a, channel: \"#a\", tls: false }").unwrap()).unwrap();
    assert_eq!(irc.port, 6667);
}
