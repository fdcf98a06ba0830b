//! The channels `email`, to a real mail server through STARTTLS, and `alertmanager`, to a real Alertmanager.

use std::collections::BTreeMap;

use houston::model::action::{Action, ActionKind};
use houston::model::delivery::{Message, Outcome};
use houston::model::letter::Links;
use houston::model::secret::{Environment, Redactor};
use houston::net::credentials::Credentials;
use houston::net::outgoing::Wires;
use houston::response::channels::Channels;
use houston::yaml;
use jiff::Timestamp;
use serde_json::Value;

use crate::lab::alertmanager::Alertmanager;
use crate::lab::smtp::Smtp;
use crate::lab::{get, until};

#[path = "../../src/model/letter/hostile.rs"]
mod hostile;

fn channels(text: &str) -> Channels {
    let document = yaml::parse("houston.yaml", text).unwrap();
    let yaml::Shape::Map(entries) = &document.shape else { panic!("a map") };
    let mut channels = Channels::default();
    channels.declare(&entries[0].0, &entries[0].1).unwrap();
    channels
}

fn wires() -> Wires {
    let redactor = Redactor::default();
    let credentials = Credentials::new(Environment::new([]), redactor.clone());
    Wires { http: houston::net::http::Client::default(), credentials, redactor }
}

fn told(ticket: u64, title: &str) -> Action {
    let facts = serde_json::json!({
        "verdict": "issue", "probability": 0.97, "reasons": [title], "reporter": title,
        "ticket": { "number": format!("T-{ticket}"), "title": title, "services": ["shop"] },
        "findings": [{ "check": "shop", "outcome": "bad", "look": "external", "reproduce": title }],
    });
    Action::new(ticket, 1, ActionKind::Escalate, "mine", "operators", facts, Timestamp::now())
}

fn message(action: &Action) -> Message<'_> {
    Message { action, previous: None, tries: 0, now: Timestamp::now(), links: None }
}

/// Name and whole value of each header.
fn headers(mail: &str) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> = Vec::new();
    for line in mail.lines().take_while(|line| !line.is_empty()) {
        match headers.last_mut() {
            Some((_, value)) if line.starts_with([' ', '\t']) => value.push_str(line),
            _ => {
                let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no header: {line}"));
                headers.push((name.to_owned(), value.trim().to_owned()));
            }
        }
    }
    headers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_gets_one_mail_for_each_whatever_it_says() {
    let smtp = Smtp::start(30);
    let channel = |ca: String| {
        let text = format!(
            "mine: {{ email: {{ server: localhost, port: {}, from: \"Houston <houston@example.com>\", to: \
             [ops@example.com, dev@example.com]{ca} }} }}",
            smtp.port
        );
        channels(&text).get("mine").unwrap().clone()
    };
    let trusting = channel(format!(", ca: \"{}\"", smtp.authority().display()));
    let wires = wires();
    let stranger = channel(String::new());
    let refused = stranger.send(message(&told(1, "x")), &wires).await;
    assert!(matches!(refused, Outcome::Retry { .. }), "an authority that nobody knows: {refused:?}");
    assert_eq!(smtp.mails().len(), 0);

    for (ticket, title) in (1..).zip(hostile::HOSTILE) {
        let action = told(ticket, title);
        let outcome = trusting.send(message(&action), &wires).await;
        let expected = format!("<{}@example.com>", &action.key[..32]);
        assert_eq!(outcome, Outcome::delivered_as(expected), "{title}");
    }
    let mails = smtp.mails();
    assert_eq!(mails.len(), hostile::HOSTILE.len());
    for mail in mails {
        let headers = headers(&mail);
        let mut names: Vec<String> = headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        names.sort();
        let ours = [
            "auto-submitted",
            "content-type",
            "date",
            "from",
            "in-reply-to",
            "message-id",
            "mime-version",
            "references",
            "subject",
            "to",
            "x-houston-key",
            "x-houston-ticket",
            "x-mailfrom",
            "x-peer",
            "x-rcptto",
        ];
        assert_eq!(names, ours, "{mail}");
        let headers: BTreeMap<String, String> = headers.into_iter().collect();
        assert!(headers["Subject"].starts_with(&format!("[houston {}] ", headers["X-Houston-Ticket"])), "{mail}");
        assert_eq!(headers["X-RcptTo"], "ops@example.com, dev@example.com");
        assert_eq!(headers["Auto-Submitted"], "auto-generated");
        assert!(mail.contains("text/plain; charset=utf-8") && mail.contains("text/html; charset=utf-8"), "{mail}");
        let (_, html) = mail.split_once("Content-Type: text/html").unwrap();
        assert!(!html.contains("<script") && !html.contains("<img") && !html.contains("<svg"), "{html}");
        assert!(mail.is_ascii() && !mail.contains('\u{1b}') && !mail.contains('\0'), "{mail:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_alertmanager_has_one_alert_for_each_until_it_is_over() {
    let alertmanager = Alertmanager::start();
    let text = format!("mine: {{ alertmanager: {{ url: \"{}\", lasts: 1h }} }}", alertmanager.url());
    let (channel, wires) = (channels(&text).get("mine").unwrap().clone(), wires());
    let links = Links::new("https://houston.example.com");
    let send = async |action: &Action| {
        let message = Message { links: Some(&links), ..message(action) };
        assert_eq!(channel.send(message, &wires).await, Outcome::DELIVERED, "{action:?}");
    };
    let fires = || -> Vec<Value> {
        let (status, alerts) = get(alertmanager.port, "/api/v2/alerts").unwrap();
        assert_eq!(status, 200, "{alerts}");
        serde_json::from_str(&alerts).unwrap()
    };
    for (ticket, title) in (1..).zip(hostile::HOSTILE) {
        let action = told(ticket, title);
        send(&action).await;
        send(&action).await;
    }
    let all = fires();
    assert_eq!(all.len(), hostile::HOSTILE.len(), "{all:?}");
    for alert in &all {
        let labels = &alert["labels"];
        assert_eq!((&labels["alertname"], &labels["verdict"]), (&"HoustonVerdict".into(), &"issue".into()));
        assert_eq!((&labels["severity"], &labels["service"]), (&"critical".into(), &"shop".into()));
        let page = format!("https://houston.example.com/t/{}", labels["ticket"].as_str().unwrap());
        assert_eq!(alert["generatorURL"], page.as_str());
        assert_eq!(alert["status"]["state"], "active");
        assert!(!alert["annotations"].to_string().contains(['<', '>']), "{alert}");
    }
    // Another verdict takes the place of the first, and no issue ends it.
    let mut doubtful = told(1, "slow");
    doubtful.facts["verdict"] = "doubtful".into();
    send(&doubtful).await;
    let of_first = |alerts: Vec<Value>| -> Vec<String> {
        let verdict = |alert: &Value| alert["labels"]["verdict"].as_str().unwrap().to_owned();
        alerts.iter().filter(|alert| alert["labels"]["ticket"] == "T-1").map(verdict).collect()
    };
    let soon = std::time::Duration::from_secs(20);
    until("the first verdict's alert ends", soon, || of_first(fires()) == ["doubtful"]);
    let mut over = told(1, "slow");
    over.facts["verdict"] = "no_issue".into();
    over.kind = ActionKind::Announce;
    send(&over).await;
    until("no alert is left", soon, || of_first(fires()).is_empty());
    assert_eq!(fires().len(), hostile::HOSTILE.len() - 1, "the other tickets' alerts stand");
}
