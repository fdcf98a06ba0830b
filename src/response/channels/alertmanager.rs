//! `alertmanager`: an alert `HoustonVerdict` in an Alertmanager (API v2), so that the routing tree that is there pages.
//!
//! There is one alert per service of the ticket, and one where it has none, with the labels
//!
//! | label | holds |
//! |---|---|
//! | `alertname` | `HoustonVerdict` |
//! | `verdict` | `issue` or `doubtful`; `no_issue` only where somebody is asked for all the same |
//! | `severity` | `critical` for `issue`, `warning` for `doubtful`, `info` for `no_issue` |
//! | `service` | the service, as the catalogue names it |
//! | `ticket` | `T-7` |
//! | `team` | who is meant |
//!
//! An alert is what its labels are: sent again it is the same alert. A ticket's newer verdict ends the alerts of the others,
//! and news of *no issue* end all. What nobody ends ends by itself, after `lasts`.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Channel, ChannelKind};
use crate::model::case::number_text;
use crate::model::delivery::{Message, Outcome};
use crate::model::letter::{Letter, Medium};
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::model::units;
use crate::net::http::TlsOptions;
use crate::net::outgoing::{Call, Sending, Wires};
use crate::response::service::{Turn, base, below, cut, services, without_secrets};
use crate::yaml::{self, Spanned};

pub static ALERTMANAGER: ChannelKind = ChannelKind {
    name: "alertmanager",
    summary: "an alert in an Alertmanager, whose routing tree pages",
    docs: "Keys: `url` (where its API is, with the prefix if there is one), `bearer_token` (a secret), or `user` and \
           `password` (a secret), `ca` (PEM file of roots to trust instead of the system's), `lasts` (how long an alert \
           fires unless its ticket's next verdict ends it; 4h). \
           Arrives as one alert `HoustonVerdict` per service of the ticket, with the labels `verdict` (`issue`, `doubtful`), \
           `severity` (`critical`, `warning`), `service`, `ticket` and `team` to route by, `summary` and `description` as annotations, \
           and the ticket's page as generator URL. Sent again it is the same alert; another verdict of the ticket ends it, and no issue ends it without another. \
           In annotations stand `‹` and `›` for `<` and `>`, and a character of no width behind `@`: Alertmanager's \
           templates hand them to chats as they are. \
           2xx is delivered; 429, 5xx and silence are tried again; other answers are a refusal.",
    example: "{ url: \"http://alertmanager:9093\" }",
    read: |node| Ok(Arc::new(read(node)?)),
};

const LASTS: Duration = Duration::from_secs(4 * 3_600);
const SHORTEST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3_600);
/// The most services that get an alert.
const SERVICES: usize = 20;
/// The longest description, in characters.
const DESCRIPTION: usize = 8_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    url: Spanned<String>,
    #[serde(default)]
    bearer_token: Option<SecretRef>,
    #[serde(default)]
    user: Option<Spanned<String>>,
    #[serde(default)]
    password: Option<SecretRef>,
    #[serde(default)]
    ca: Option<std::path::PathBuf>,
    #[serde(default)]
    lasts: Option<Spanned<String>>,
}

/// Who we are to it.
#[derive(Debug)]
enum Login {
    Nobody,
    Bearer(SecretRef),
    Basic(String, SecretRef),
}

/// An Alertmanager.
#[derive(Debug)]
pub struct Alertmanager {
    base: String,
    login: Login,
    tls: Arc<TlsOptions>,
    lasts: Duration,
}

fn read(node: &yaml::Node) -> Result<Alertmanager, Diagnostic> {
    let declared: Declared = node.read()?;
    let base = base(Some(&declared.url), "")?;
    let login = match (declared.bearer_token, declared.user, declared.password) {
        (None, None, None) => Login::Nobody,
        (Some(token), None, None) => Login::Bearer(token),
        (None, Some(user), Some(password)) => Login::Basic(user.value, password),
        _ => {
            return Err(Diagnostic::error(node.span.clone(), "a login is `bearer_token`, or `user` and `password`"));
        }
    };
    let lasts = match declared.lasts {
        None => LASTS,
        Some(written) => match units::parse_duration(&written.value) {
            Ok(lasts) if (SHORTEST..=LONGEST).contains(&lasts) => lasts,
            _ => return Err(Diagnostic::error(written.at, "`lasts` is between 1m and 7d").hint("lasts: 4h")),
        },
    };
    let tls = Arc::new(TlsOptions { ca: declared.ca, ..TlsOptions::default() });
    Ok(Alertmanager { base, login, tls, lasts })
}

impl Alertmanager {
    async fn post(&self, message: Message<'_>, wires: &Wires) -> Result<Outcome, Outcome> {
        let call = Call::get(below(&self.base, "/api/v2/alerts")?);
        let call = match &self.login {
            Login::Nobody => call,
            Login::Bearer(token) => call.secret("Authorization", "Bearer ", token, wires)?,
            Login::Basic(user, password) => call.basic(user, password, wires)?,
        };
        let alerts = self.alerts(message, wires);
        let call = call.with_json(Method::POST, alerts, wires).tls(&self.tls);
        let answer = call.send(message.now, wires).await?;
        // It answers with nothing; a page is somebody else's.
        if answer.body.trim_ascii().first() == Some(&b'<') {
            return Err(Outcome::retry("its answer is not one of an Alertmanager"));
        }
        Ok(Outcome::DELIVERED)
    }

    fn alerts(&self, message: Message<'_>, wires: &Wires) -> Value {
        let action = without_secrets(message.action, wires);
        let letter = Letter::of(&action, message.links);
        let rings = Turn::of(&action) == Turn::Open;
        // An alert that ends before it starts is refused, and clocks are set back.
        let now = message.now.max(action.created_at);
        let verdict = action.facts["verdict"].as_str();
        let current = verdict.filter(|verdict| matches!(*verdict, "issue" | "no_issue")).unwrap_or("doubtful");
        let ends = SignedDuration::try_from(self.lasts).ok().and_then(|lasts| now.checked_add(lasts).ok());
        let ends = ends.unwrap_or(Timestamp::MAX);
        let named: Vec<&str> = services(&action.facts).into_iter().take(SERVICES).collect();
        let named = if named.is_empty() { vec![""] } else { named };
        let mut alerts = Vec::new();
        for service in named {
            for verdict in ["issue", "doubtful", "no_issue"] {
                let fires = rings && verdict == current;
                let severity = match verdict {
                    "issue" => "critical",
                    "doubtful" => "warning",
                    _ => "info",
                };
                let mut alert = json!({
                    "labels": {
                        "alertname": "HoustonVerdict", "verdict": verdict, "severity": severity,
                        "ticket": number_text(action.ticket), "team": action.recipient,
                    },
                    "startsAt": action.created_at.to_string(),
                    "endsAt": if fires { ends } else { now }.to_string(),
                });
                if !service.is_empty() {
                    alert["labels"]["service"] = service.into();
                }
                if fires {
                    alert["annotations"] = json!({
                        "summary": for_any_chat(&letter.head(Medium::Plain)),
                        "description": cut(&for_any_chat(&letter.body(Medium::Plain)), DESCRIPTION),
                        "key": letter.key,
                    });
                    if let Some(links) = message.links {
                        alert["generatorURL"] = links.ticket(action.ticket).into();
                    }
                }
                alerts.push(alert);
            }
        }
        alerts.into()
    }
}

impl Channel for Alertmanager {
    fn send<'a>(&'a self, message: Message<'a>, wires: &'a Wires) -> Sending<'a> {
        Box::pin(async move { self.post(message, wires).await.unwrap_or_else(|failed| failed) })
    }

    fn secrets(&self) -> Vec<SecretRef> {
        match &self.login {
            Login::Nobody => Vec::new(),
            Login::Bearer(secret) | Login::Basic(_, secret) => vec![secret.clone()],
        }
    }
}

/// Plain text from which nobody's markup makes a mention, a tag or a link with another title: Alertmanager's templates
/// put annotations into messages of chats as they are.
fn for_any_chat(plain: &str) -> String {
    plain.replace('<', "‹").replace('>', "›").replace('@', "@\u{200b}").replace("](", "] (")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{declare, wires};
    use super::*;
    use crate::model::action::ActionKind;
    use crate::model::letter::hostile::HOSTILE;
    use crate::response::service::testing::{Service, channel, message, named, told};

    fn alertmanager(service: &Service, more: &str) -> std::sync::Arc<dyn Channel> {
        channel(&format!("{{ alertmanager: {{ url: \"{}/am/\"{more} }} }}", service.url))
    }

    #[tokio::test]
    async fn the_alert_of_its_verdict_fires_and_the_others_end() {
        let service = Service::start(|_| (200, None, String::new())).await;
        let (channel, wires) = (alertmanager(&service, ", bearer_token: { env: HOOK_TOKEN }, lasts: 1h"), wires());
        for (kind, verdict, firing) in [
            (ActionKind::Page, "issue", Some(("issue", "critical"))),
            (ActionKind::Escalate, "doubtful", Some(("doubtful", "warning"))),
            (ActionKind::CallBack, "no_issue", Some(("no_issue", "info"))),
            (ActionKind::Announce, "no_issue", None),
            (ActionKind::Escalate, "", Some(("doubtful", "warning"))),
        ] {
            let action = told(kind, verdict, "slow");
            assert_eq!(channel.send(message(&action), &wires).await, Outcome::DELIVERED);
            let asked = service.asked();
            assert_eq!((asked.len(), asked[0].uri.path()), (1, "/am/api/v2/alerts"));
            assert_eq!(asked[0].header("authorization"), "Bearer bearer-of-good-news");
            let alerts = asked[0].json();
            let alerts = alerts.as_array().unwrap();
            assert_eq!(alerts.len(), 3);
            let fires: Vec<_> = alerts.iter().filter(|alert| alert["endsAt"] == "2026-11-22T11:00:30Z").collect();
            let ended = alerts.iter().filter(|alert| alert["endsAt"] == "2026-11-22T10:00:30Z").count();
            assert_eq!((fires.len(), fires.len() + ended), (usize::from(firing.is_some()), 3));
            if let (Some((verdict, severity)), [alert]) = (firing, fires.as_slice()) {
                let labels = json!({ "alertname": "HoustonVerdict", "verdict": verdict, "severity": severity,
                    "ticket": "T-7", "team": "operators", "service": "shop" });
                assert_eq!(alert["labels"], labels);
                assert_eq!(alert["startsAt"], "2026-11-22T10:00:00Z");
            }
        }
    }

    #[tokio::test]
    async fn no_mention_and_no_tag_gets_into_an_annotation() {
        let service = Service::start(|_| (200, None, String::new())).await;
        let (channel, wires) = (alertmanager(&service, ", user: houston, password: { env: HOOK_TOKEN }"), wires());
        for title in HOSTILE {
            let action = told(ActionKind::Page, "issue", title);
            assert_eq!(channel.send(message(&action), &wires).await, Outcome::DELIVERED, "{title}");
            let asked = service.asked();
            assert!(asked[0].header("authorization").starts_with("Basic "));
            for alert in asked[0].json().as_array().unwrap() {
                let annotations = alert["annotations"].to_string();
                assert!(!annotations.contains(['<', '>']) && !annotations.contains("@channel"), "{annotations}");
                assert!(!annotations.contains("](") && !annotations.contains("bearer-of"), "{annotations}");
            }
        }
    }

    #[tokio::test]
    async fn what_an_answer_means() {
        for (status, after, body, expected) in [
            (200, None, "", "delivered"),
            (200, None, "<html>sign in</html>", "retry"),
            (400, None, "invalid label", "rejected"),
            (401, None, "", "rejected"),
            (429, Some("7"), "", "retry 7"),
            (500, None, "", "retry"),
        ] {
            let service = Service::start(move |_| (status, after, body.to_owned())).await;
            let action = told(ActionKind::Page, "issue", "slow");
            let outcome = alertmanager(&service, "").send(message(&action), &wires()).await;
            assert_eq!(named(&outcome), expected, "{status} {body}");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for (text, message) in [
            ("{ url: \"ftp://a\" }", "http"),
            ("{ url: \"http://a\", user: b }", "login"),
            ("{ url: \"http://a\", lasts: 1s }", "between"),
            ("{ url: \"http://a/?x=1\" }", "path"),
        ] {
            let error = declare(&format!("m: {{ alertmanager: {text} }}")).unwrap_err();
            assert!(error.message.contains(message), "{text}: {error}");
        }
    }
}
