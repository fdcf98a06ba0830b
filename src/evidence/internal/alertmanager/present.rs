//! What Alertmanager says of now, and which of the two is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::super::super::Ask;
use super::Alerts;
use crate::model::encode;
use crate::model::observation::{Observation, Seen, Unknown, UnknownKind};
use crate::model::units::show_duration;
use crate::model::value::{Measures, Value};
use crate::model::window::Moment;
use crate::net::alertmanager::{Alert, Server, Silence};
use crate::net::prometheus::NoAnswer;

/// A window that ends no longer ago than this goes on until now.
const STILL_OPEN: Duration = Duration::from_secs(60);
/// The most alerts that an excerpt shows.
const SHOWN: usize = 8;
/// The most silences that are looked up.
const SILENCES: usize = 3;

impl Alerts {
    pub(super) async fn look(&self, ask: &Ask) -> Observation {
        let started = Instant::now();
        let observation = match self.rendered(ask) {
            Ok(matchers) => self.ask_all(ask, &matchers).await,
            Err(unknown) => Observation::blind(unknown.kind, unknown.why),
        };
        observation.took(started.elapsed())
    }

    /// The matchers with their values, without braces.
    fn rendered(&self, ask: &Ask) -> Result<Vec<String>, Unknown> {
        let mut matchers = Vec::new();
        for matcher in &self.matchers {
            for name in matcher.params() {
                // The two servers read an escaped control character differently.
                if ask.params.get(&name).is_some_and(|value| value.chars().any(char::is_control)) {
                    let why = format!("the value of `{name}` holds a control character");
                    return Err(Unknown::new(UnknownKind::Refused, why));
                }
            }
            let selector = matcher
                .render(&ask.params)
                .map_err(|error| Unknown::new(UnknownKind::MissingParam, error.to_string()))?;
            let bare = selector.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(&selector);
            matchers.push(bare.trim().to_owned());
        }
        Ok(matchers)
    }

    async fn ask_all(&self, ask: &Ask, matchers: &[String]) -> Observation {
        if ask.moment == Moment::Now {
            return self.present(ask, matchers).await;
        }
        let is_over = ask.window.to.duration_until(ask.now).as_secs_f64() > STILL_OPEN.as_secs_f64();
        match (&self.history, is_over) {
            (Some(history), true) => self.past(history, ask, matchers).await,
            (None, true) => {
                let why = format!(
                    "{} knows the present only; what fired in the window a Prometheus would know (`prometheus`)",
                    self.endpoint.system()
                );
                Observation::blind(UnknownKind::Incomplete, why)
            }
            (None, false) => self.present(ask, matchers).await,
            (Some(history), false) => {
                let (present, past) = tokio::join!(self.present(ask, matchers), self.past(history, ask, matchers));
                let fires = present.measures.number("firing").is_some_and(|firing| firing > 0.0);
                match present.seen {
                    Seen::Answered if fires => present,
                    Seen::Answered => past,
                    // Half of an answer is none, unless that half says that something fired.
                    _ if past.measures.number("firing").is_some_and(|firing| firing > 0.0) => {
                        past.note("what fires now could not be asked")
                    }
                    _ => present,
                }
            }
        }
    }

    async fn present(&self, ask: &Ask, matchers: &[String]) -> Observation {
        let (headers, secret_headers) = match self.endpoint.headers(&ask.tools) {
            Ok(headers) => headers,
            Err(unknown) => return Observation::blind(unknown.kind, unknown.why),
        };
        let server = Server {
            client: ask.tools.http.clone(),
            url: self.endpoint.url.clone(),
            headers,
            secret_headers,
            asker: ask.check.to_string(),
        };
        let by_hand = format!("{} {}", self.endpoint.curl(), encode::shell_word(server.alerts_url(matchers).as_str()));
        // A little before the caller gives up, so that the answer can still say what was waited for.
        let left = ask.deadline.saturating_duration_since(Instant::now());
        let deadline = ask.deadline - (left / 20).min(Duration::from_millis(100));
        let watched = async {
            match &self.watchdog {
                Some(name) => {
                    let matcher = format!("alertname=\"{}\"", encode::promql_string(name));
                    server.alerts(&[matcher], deadline).await.map(Some)
                }
                None => Ok(None),
            }
        };
        let (alerts, watched) = tokio::join!(server.alerts(matchers, deadline), watched);
        let observation = match alerts {
            Ok(alerts) => {
                let alerts = self.current(alerts, ask.now);
                let silences = silences(&server, &alerts, deadline).await;
                self.weigh(ask.now, &alerts, watched, &silences)
            }
            Err(no_answer) => {
                let unknown = self.endpoint.unanswered_query(&no_answer);
                Observation::blind(unknown.kind, unknown.why)
            }
        };
        observation.reproduce(by_hand)
    }

    /// Those that fire; an alert whose end has come is over though it is still listed. The watchdog is no fault.
    fn current(&self, alerts: Vec<Alert>, now: Timestamp) -> Vec<Alert> {
        let is_watchdog = |alert: &Alert| self.watchdog.as_deref() == Some(alert.name());
        alerts.into_iter().filter(|alert| alert.ends_at > now && !is_watchdog(alert)).collect()
    }

    fn weigh(
        &self,
        now: Timestamp,
        alerts: &[Alert],
        watched: Result<Option<Vec<Alert>>, NoAnswer>,
        silences: &BTreeMap<String, Silence>,
    ) -> Observation {
        let system = self.endpoint.system();
        let mut observation = Observation::answered(measures(now, alerts));
        if !alerts.is_empty() {
            return observation.excerpt(excerpt(now, alerts, silences));
        }
        let blind = |kind, why: String| Observation::blind(kind, format!("{system}: {why}"));
        match (watched, &self.watchdog, &self.absent_is_healthy) {
            (Err(no_answer), _, _) => {
                let unknown = self.endpoint.unanswered_query(&no_answer);
                Observation::blind(unknown.kind, unknown.why)
            }
            (Ok(Some(found)), Some(name), _) => {
                let name = encode::terminal(name);
                if found.iter().any(|alert| alert.ends_at > now) {
                    observation.notes.push(format!("{name} fires, so an alert would have come in"));
                    observation
                } else {
                    let why = format!("no alert, and {name}, which always fires, isn't there either");
                    blind(UnknownKind::Stale, why)
                }
            }
            (_, _, Some(because)) => observation.note(format!("no alert, which is healthy here: {because}")),
            _ => {
                let why = "no alert, and nothing proves that one would have come in (`watchdog`, `absent_means`)";
                blind(UnknownKind::Incomplete, why.to_owned())
            }
        }
    }
}

fn measures(now: Timestamp, alerts: &[Alert]) -> Measures {
    let silenced = alerts.iter().filter(|alert| alert.is_silenced()).count();
    let inhibited = alerts.iter().filter(|alert| alert.is_inhibited()).count();
    let suppressed = |alert: &&Alert| {
        alert.is_silenced() || alert.is_inhibited() || alert.status.state == crate::net::alertmanager::State::Suppressed
    };
    let mut measures = Measures::new();
    measures.set("firing", alerts.len()).set("silenced", silenced).set("inhibited", inhibited);
    measures.set("active", alerts.len() - alerts.iter().filter(suppressed).count());
    named(&mut measures, alerts.iter().map(|alert| &alert.labels));
    if let Some(oldest) = alerts.iter().map(|alert| alert.starts_at).min() {
        measures.set("oldest_seconds", oldest.duration_until(now).as_secs_f64().max(0.0));
    }
    measures
}

/// `names` and `severities` of alerts with these labels.
pub(super) fn named<'a>(measures: &mut Measures, labels: impl Iterator<Item = &'a BTreeMap<String, String>>) {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    let mut severities: BTreeMap<String, i64> = BTreeMap::new();
    for labels in labels {
        names.extend(labels.get("alertname").map(String::as_str));
        if let Some(severity) = labels.get("severity") {
            *severities.entry(severity.clone()).or_default() += 1;
        }
    }
    measures.set("names", names.into_iter().map(str::to_owned).collect::<Vec<_>>());
    measures.set("severities", Value::Map(severities.into_iter().map(|(name, n)| (name, Value::Int(n))).collect()));
}

/// Who silenced these alerts, as far as it can be had: it explains, and decides nothing.
async fn silences(server: &Server, alerts: &[Alert], deadline: Instant) -> BTreeMap<String, Silence> {
    let ids: BTreeSet<&String> = alerts.iter().flat_map(|alert| &alert.status.silenced_by).collect();
    let asked = ids.into_iter().take(SILENCES).map(|id| async move {
        let silence = server.silence(id, deadline).await.ok()?;
        Some((id.clone(), silence))
    });
    futures_util::future::join_all(asked).await.into_iter().flatten().collect()
}

fn excerpt(now: Timestamp, alerts: &[Alert], silences: &BTreeMap<String, Silence>) -> String {
    let mut sorted: Vec<&Alert> = alerts.iter().collect();
    sorted.sort_by(|a, b| (a.starts_at, a.name()).cmp(&(b.starts_at, b.name())));
    let mut lines: Vec<String> = sorted
        .iter()
        .take(SHOWN)
        .map(|alert| {
            let mut line = labelled(&alert.labels);
            if let Ok(age) = Duration::try_from(alert.starts_at.duration_until(now)) {
                line.push_str(&format!(" fires for {}", show_duration(age)));
            }
            for id in &alert.status.silenced_by {
                match silences.get(id) {
                    Some(silence) => line.push_str(&format!(
                        ", silenced by {} until {}: {}",
                        shown(&silence.created_by),
                        silence.ends_at.strftime("%Y-%m-%d %H:%M UTC"),
                        shown(&silence.comment)
                    )),
                    None => line.push_str(", silenced"),
                }
            }
            if alert.is_inhibited() {
                line.push_str(", inhibited by another alert");
            }
            if let Some(summary) = alert.annotations.get("summary").or_else(|| alert.annotations.get("description")) {
                line.push_str(&format!(" – {}", shown(summary)));
            }
            line
        })
        .collect();
    if alerts.len() > SHOWN {
        lines.push(format!("… {} more", alerts.len() - SHOWN));
    }
    lines.join("\n")
}

/// An alert's name and its other labels.
pub(super) fn labelled(labels: &BTreeMap<String, String>) -> String {
    let name = labels.get("alertname").map_or("an alert without a name", String::as_str);
    let others: Vec<String> = labels
        .iter()
        .filter(|(label, _)| !matches!(label.as_str(), "alertname" | "alertstate" | "__name__"))
        .take(12)
        .map(|(label, value)| format!("{}=\"{}\"", shown(label), shown(value)))
        .collect();
    format!("{}{{{}}}", shown(name), others.join(","))
}

fn shown(text: &str) -> String {
    encode::terminal(text).chars().take(100).collect()
}
