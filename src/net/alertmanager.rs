//! Alertmanager's API, version 2: the alerts that it holds, and why some of them notify nobody.
//!
//! <https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml>. It knows the present only: an alert that
//! has ended is gone. An answer is read strictly; one row that isn't an alert makes it no answer.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use tokio::time::Instant;
use url::Url;

use super::budget::Budget;
use super::http::{Caps, Client, Request, Response};
use super::prometheus::NoAnswer;
use crate::model::encode;
use crate::model::secret::Secret;

/// A server, and how it is spoken to.
#[derive(Debug, Clone)]
pub struct Server {
    pub client: Client,
    /// Where the API is, without `/api/v2/…`; a path prefix is kept.
    pub url: Url,
    pub headers: Vec<(String, String)>,
    pub secret_headers: Vec<(String, Secret)>,
    /// Who asks, where one answer may serve several askers.
    pub asker: String,
}

/// The most bytes of one answer.
pub const BODY_LIMIT: usize = 4 * 1024 * 1024;
/// The most alerts of one answer.
pub const ALERTS_LIMIT: usize = 2_000;

/// An alert that fires.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// `alertname` among them.
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Since when it fires.
    pub starts_at: Timestamp,
    /// When it is taken to have ended unless somebody says again that it fires.
    pub ends_at: Timestamp,
    pub status: Status,
}

/// Whether an alert notifies somebody.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    pub state: State,
    /// Identifiers of silences.
    pub silenced_by: Vec<String>,
    /// Fingerprints of the alerts that inhibit it.
    pub inhibited_by: Vec<String>,
    /// Names of time intervals in which it is muted (0.28 and later).
    #[serde(default)]
    pub muted_by: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It has come in and was not routed yet.
    Unprocessed,
    Active,
    /// Silenced, inhibited or muted.
    Suppressed,
}

/// A silence: who wanted it, and why.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Silence {
    pub comment: String,
    pub created_by: String,
    pub ends_at: Timestamp,
}

impl Alert {
    pub fn name(&self) -> &str {
        self.labels.get("alertname").map_or("", String::as_str)
    }

    pub fn is_silenced(&self) -> bool {
        !self.status.silenced_by.is_empty()
    }

    pub fn is_inhibited(&self) -> bool {
        !self.status.inhibited_by.is_empty()
    }
}

impl Server {
    /// The alerts that all of these matchers match (`service="checkout"`), suppressed ones among them.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn alerts(&self, matchers: &[String], deadline: Instant) -> Result<Vec<Alert>, NoAnswer> {
        let response = self.get(self.alerts_url(matchers), deadline).await?;
        let alerts: Vec<Alert> = read(&response)?;
        if alerts.len() > ALERTS_LIMIT {
            return Err(NoAnswer::TooMuch { limit: ALERTS_LIMIT, what: "alerts" });
        }
        Ok(alerts)
    }

    /// Where these alerts are asked for.
    pub fn alerts_url(&self, matchers: &[String]) -> Url {
        let mut url = self.at("alerts");
        let mut query = "active=true&silenced=true&inhibited=true&unprocessed=true".to_owned();
        for matcher in matchers {
            query.push_str(&format!("&filter={}", encode::url_segment(matcher)));
        }
        if let Some(own) = self.url.query().filter(|own| !own.is_empty()) {
            query = format!("{own}&{query}");
        }
        url.set_query(Some(&query));
        url
    }

    /// What a silence says of itself.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn silence(&self, id: &str, deadline: Instant) -> Result<Silence, NoAnswer> {
        let response = self.get(self.at(&format!("silence/{}", encode::url_segment(id))), deadline).await?;
        read(&response)
    }

    fn at(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(&format!("{}/api/v2/{path}", self.url.path().trim_end_matches('/')));
        url
    }

    async fn get(&self, url: Url, deadline: Instant) -> Result<Response, NoAnswer> {
        let mut request = Request::get(url, deadline);
        request.budget = Budget::System;
        request.caps = Caps { body: BODY_LIMIT, ..Caps::default() };
        request.headers = self.headers.clone();
        request.headers.push(("accept".to_owned(), "application/json".to_owned()));
        request.secret_headers = self.secret_headers.clone();
        request.asker = Some(self.asker.clone());
        self.client.send(request).await.map_err(|failure| NoAnswer::Wire(Box::new(failure)))
    }
}

fn read<T: serde::de::DeserializeOwned>(response: &Response) -> Result<T, NoAnswer> {
    if let Some(coding) = &response.unread_coding {
        let coding = encode::terminal(coding);
        return Err(NoAnswer::Unintelligible(format!("it answered in the coding `{coding}`, which was not asked for")));
    }
    if response.truncated {
        return Err(NoAnswer::TooMuch { limit: BODY_LIMIT, what: "bytes of answer" });
    }
    if response.status != 200 {
        let reason = short(&String::from_utf8_lossy(&response.body));
        return Err(NoAnswer::Refused { status: response.status, kind: String::new(), reason });
    }
    serde_json::from_slice(&response.body).map_err(|error| {
        let start = short(&String::from_utf8_lossy(&response.body));
        let error = short(&error.to_string());
        NoAnswer::Unintelligible(format!("not an answer of its API, version 2 ({error}): `{start}`"))
    })
}

/// The beginning of what a server wrote, safe to show.
fn short(text: &str) -> String {
    let clean = encode::terminal(text.trim());
    let mut short: String = clean.chars().take(160).collect();
    if short.len() < clean.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::net::canned::{Canned, Reply};

    /// Recorded from Alertmanager 0.25.
    const RECORDED: &str = r#"[{"annotations":{},"endsAt":"2026-11-22T09:49:37.254Z","fingerprint":"121c2af96a62804a","receivers":[{"name":"hook"}],"startsAt":"2026-11-22T09:45:37.254Z","status":{"inhibitedBy":[],"silencedBy":["f1c0"],"state":"suppressed"},"updatedAt":"2026-11-22T09:45:37.266Z","generatorURL":"http://vm:40149/graph","labels":{"alertname":"DiskFull","job":"node","severity":"page"}}]"#;

    async fn ask(reply: Reply) -> (Result<Vec<Alert>, NoAnswer>, String) {
        let canned = Canned::start(move |_| reply.clone()).await;
        let url = Url::parse(&format!("{}/am/?tenant=a", canned.url())).unwrap();
        let server = Server {
            client: Client::default(),
            url,
            headers: Vec::new(),
            secret_headers: Vec::new(),
            asker: "test".to_owned(),
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        let matchers = ["service=\"a&b=c\"".to_owned(), "severity=~\"page|x\"".to_owned()];
        let answer = server.alerts(&matchers, deadline).await;
        (answer, canned.asked().first().map(|asked| asked.target.clone()).unwrap_or_default())
    }

    #[tokio::test]
    async fn a_real_answer_is_read_and_matchers_stay_matchers() {
        let (answer, target) = ask(Reply::json(RECORDED)).await;
        let alerts = answer.unwrap();
        assert_eq!((alerts.len(), alerts[0].name(), alerts[0].status.state), (1, "DiskFull", State::Suppressed));
        assert!(alerts[0].is_silenced() && !alerts[0].is_inhibited());
        assert_eq!(
            target,
            "/am/api/v2/alerts?tenant=a&active=true&silenced=true&inhibited=true&unprocessed=true\
             &filter=service%3D%22a%26b%3Dc%22&filter=severity%3D~%22page%7Cx%22"
        );
    }

    #[tokio::test]
    async fn anything_else_is_no_answer() {
        let row = &RECORDED[1..RECORDED.len() - 1];
        let many = format!("[{}]", vec![row; ALERTS_LIMIT + 1].join(","));
        for (reply, part) in [
            (Reply::of(400, "application/json", "\"bad matcher format: x\""), "400: \"bad matcher"),
            (Reply::of(503, "text/html", "<h1>\u{1b}[2Jgone</h1>"), "503: <h1>\\u{1b}[2Jgone"),
            (Reply::of(200, "text/html", "<html>please log in</html>"), "not an answer of its API"),
            (Reply::json("{\"status\":\"success\",\"data\":[]}"), "not an answer of its API"),
            (Reply::json("[{}]"), "not an answer of its API"),
            (Reply::json(RECORDED.replace("suppressed", "fine")), "not an answer of its API"),
            (Reply::json(RECORDED.replace("\"silencedBy\":[\"f1c0\"],", "")), "not an answer of its API"),
            (Reply::json(many), "more than 2000 alerts"),
            (Reply::json(" ".repeat(BODY_LIMIT + 1)), "more than"),
        ] {
            let error = ask(reply).await.0.unwrap_err().to_string();
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}
