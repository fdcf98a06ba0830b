//! `opsgenie`: an alert of Opsgenie's Alert API (v2); everything about a ticket is one alert.
//!
//! The `alias` is the same for all of a ticket (`houston/T-7`): while such an alert is open, what is sent again only raises
//! its count. News of *no issue* close it; an action that says `acknowledge` or `resolve` does that. Opsgenie takes a
//! request with 202 and a `requestId`, and works on it afterwards: what comes of it there isn't asked.

use std::sync::Arc;

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Channel, ChannelKind};
use crate::model::case::number_text;
use crate::model::delivery::{Message, Outcome};
use crate::model::encode;
use crate::model::letter::{Letter, Medium, Severity};
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::net::outgoing::{Call, Sending, Wires, json};
use crate::response::service::{Turn, base, below, cut, services, without_secrets};
use crate::yaml::{self, Spanned};

pub static OPSGENIE: ChannelKind = ChannelKind {
    name: "opsgenie",
    summary: "an alert of Opsgenie (Alert API v2)",
    docs: "Keys: `api_key` (a secret: of an API integration), `url` (`https://api.opsgenie.com`; \
           `https://api.eu.opsgenie.com` in Europe), `responders` (a list of `team:NAME`, `user:ADDRESS`, `schedule:NAME` or \
           `escalation:NAME`; without, the integration's own), `priority` (P1 to P5; without, P1 for an issue, P3 for what is doubtful, P5 for the rest). \
           Arrives as an alert with the alias `houston/T-7`, so that all of a ticket is one alert however often it is \
           sent, the message in at most 130 characters and the whole in the description. News of no issue close the alert, and open none. \
           202 is delivered (Opsgenie works on it afterwards), 429, 5xx, silence and answers that aren't Opsgenie's are \
           tried again, 401, 422 and others are a refusal. Made after public documentation, not tried with Opsgenie itself.",
    example: "{ api_key: { env: OPSGENIE_API_KEY }, responders: [\"team:operations\"] }",
    read: |node| Ok(Arc::new(read(node)?)),
};

/// The longest message, in characters, as Opsgenie documents it.
const MESSAGE: usize = 130;
/// The longest description, in characters; Opsgenie cuts it at 15,000.
const DESCRIPTION: usize = 15_000;
const RESPONDERS: usize = 50;

#[derive(Debug, Clone, Copy, Deserialize)]
enum Priority {
    P1,
    P2,
    P3,
    P4,
    P5,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    api_key: SecretRef,
    #[serde(default)]
    url: Option<Spanned<String>>,
    #[serde(default)]
    responders: Vec<Spanned<String>>,
    #[serde(default)]
    priority: Option<Priority>,
}

/// An integration of Opsgenie's.
#[derive(Debug)]
pub struct Opsgenie {
    api_key: SecretRef,
    base: String,
    responders: Vec<Value>,
    priority: Option<Priority>,
}

fn read(node: &yaml::Node) -> Result<Opsgenie, Diagnostic> {
    let declared: Declared = node.read()?;
    let base = base(declared.url.as_ref(), "https://api.opsgenie.com")?;
    if declared.responders.len() > RESPONDERS {
        return Err(Diagnostic::error(node.span.clone(), format!("more than {RESPONDERS} responders")));
    }
    let responder = |written: &Spanned<String>| match written.value.split_once(':') {
        Some((kind @ ("team" | "schedule" | "escalation"), name)) if !name.is_empty() => {
            Ok(json!({ "type": kind, "name": name }))
        }
        Some(("user", name)) if name.contains('@') => Ok(json!({ "type": "user", "username": name })),
        _ => Err(Diagnostic::error(written.at.clone(), "this is no responder")
            .hint("\"team:NAME\", \"user:ADDRESS\", \"schedule:NAME\" or \"escalation:NAME\"")),
    };
    let responders = declared.responders.iter().map(responder).collect::<Result<_, _>>()?;
    Ok(Opsgenie { api_key: declared.api_key, base, responders, priority: declared.priority })
}

impl Opsgenie {
    async fn post(&self, message: Message<'_>, wires: &Wires) -> Result<Outcome, Outcome> {
        // The key is known before the body is written, so that it isn't in it.
        let call =
            Call::get(below(&self.base, "/v2/alerts")?).secret("Authorization", "GenieKey ", &self.api_key, wires)?;
        let action = without_secrets(message.action, wires);
        let letter = Letter::of(&action, message.links);
        let closing = match Turn::of(&action) {
            Turn::Open => None,
            Turn::Acknowledge => Some("acknowledge"),
            Turn::Close => Some("close"),
        };
        let (path, body) = match closing {
            None => ("/v2/alerts".to_owned(), self.alert(&action, &letter)),
            Some(what) => (
                format!("/v2/alerts/{}/{what}?identifierType=alias", encode::url_segment(&letter.thread)),
                json!({ "source": "houston", "note": cut(&letter.head(Medium::Plain), DESCRIPTION) }),
            ),
        };
        let call = Call { url: below(&self.base, &path)?, ..call };
        let answer = json(&call.with_json(Method::POST, body, wires).send(message.now, wires).await?)?;
        if !answer["requestId"].is_string() {
            return Err(Outcome::retry("its answer is not one of Opsgenie's"));
        }
        Ok(Outcome::delivered_as(letter.thread))
    }

    fn alert(&self, action: &crate::model::action::Action, letter: &Letter) -> Value {
        let priority = self.priority.unwrap_or(match letter.severity {
            Severity::Critical => Priority::P1,
            Severity::Warning => Priority::P3,
            Severity::Info => Priority::P5,
        });
        let services = encode::terminal(&services(&action.facts).join(", "));
        let mut alert = json!({
            "message": cut(&letter.head(Medium::Plain), MESSAGE),
            "alias": letter.thread,
            // Shown as HTML, some of it, by some of its clients.
            "description": cut(&letter.body(Medium::Html), DESCRIPTION),
            "source": "houston",
            "entity": cut(&services, 512),
            "priority": format!("{priority:?}"),
            "tags": ["houston", action.kind.name()],
            "details": {
                "ticket": number_text(action.ticket),
                "services": cut(&services, 512),
                "recipient": cut(&encode::terminal(&action.recipient), 512),
                "key": letter.key,
            },
        });
        for (title, url) in letter.links() {
            alert["details"][cut(&encode::terminal(title), 64)] = encode::terminal(url).into();
        }
        if !self.responders.is_empty() {
            alert["responders"] = self.responders.clone().into();
        }
        alert
    }
}

impl Channel for Opsgenie {
    fn send<'a>(&'a self, message: Message<'a>, wires: &'a Wires) -> Sending<'a> {
        Box::pin(async move { self.post(message, wires).await.unwrap_or_else(|failed| failed) })
    }

    fn secrets(&self) -> Vec<SecretRef> {
        vec![self.api_key.clone()]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{declare, wires};
    use super::*;
    use crate::model::action::ActionKind;
    use crate::model::letter::hostile::HOSTILE;
    use crate::response::service::testing::{Service, channel, message, named, told};

    const TAKEN: &str = r#"{"result":"Request will be processed","took":0.302,"requestId":"43a29c5c-3dbf-4fa4"}"#;

    fn opsgenie(service: &Service, more: &str) -> std::sync::Arc<dyn Channel> {
        channel(&format!("{{ opsgenie: {{ url: \"{}\", api_key: {{ env: HOOK_TOKEN }}{more} }} }}", service.url))
    }

    #[tokio::test]
    async fn one_alert_for_each_whatever_it_says() {
        let service = Service::start(|_| (202, None, TAKEN.to_owned())).await;
        let responders = ", responders: [\"team:ops\", \"user:ann@example.com\"]";
        let (channel, wires) = (opsgenie(&service, responders), wires());
        let long = "ä".repeat(5_000);
        for title in HOSTILE.into_iter().chain([long.as_str()]) {
            let action = told(ActionKind::Page, "issue", title);
            assert_eq!(channel.send(message(&action), &wires).await, Outcome::delivered_as("houston/T-7"), "{title}");
            let asked = service.asked();
            let [asked] = asked.as_slice() else { panic!("{asked:?}") };
            assert_eq!((&asked.method, asked.uri.path()), (&Method::POST, "/v2/alerts"));
            assert_eq!(asked.header("authorization"), "GenieKey bearer-of-good-news");
            let alert = asked.json();
            assert_eq!((&alert["alias"], &alert["priority"]), (&"houston/T-7".into(), &"P1".into()));
            let said = alert["message"].as_str().unwrap();
            assert!(said.starts_with("T-7: issue") && said.chars().count() <= MESSAGE, "{said}");
            assert!(!said.chars().any(encode::is_unprintable), "{said:?}");
            assert!(alert["description"].as_str().unwrap().chars().count() <= DESCRIPTION);
            assert!(!alert["description"].as_str().unwrap().contains("<script"), "{alert}");
            assert_eq!(alert["responders"][0], json!({ "type": "team", "name": "ops" }));
            assert_eq!(alert["responders"][1], json!({ "type": "user", "username": "ann@example.com" }));
        }
    }

    #[tokio::test]
    async fn no_issue_closes_and_an_action_may_acknowledge() {
        let service = Service::start(|_| (202, None, TAKEN.to_owned())).await;
        let (channel, wires) = (opsgenie(&service, ", priority: P2"), wires());
        let mut taken_on = told(ActionKind::Announce, "issue", "slow");
        taken_on.facts["event"] = "acknowledge".into();
        for (action, expected) in [
            (told(ActionKind::Announce, "no_issue", "slow"), "/v2/alerts/houston%2FT-7/close?identifierType=alias"),
            (taken_on, "/v2/alerts/houston%2FT-7/acknowledge?identifierType=alias"),
            (told(ActionKind::Escalate, "doubtful", "slow"), "/v2/alerts"),
        ] {
            assert_eq!(named(&channel.send(message(&action), &wires).await), "delivered");
            let asked = service.asked();
            assert_eq!(asked[0].uri.to_string(), expected);
            assert!(expected.contains('?') || asked[0].json()["priority"] == "P2");
        }
    }

    #[tokio::test]
    async fn what_an_answer_means() {
        for (status, after, body, expected) in [
            (202, None, TAKEN, "delivered"),
            (200, None, "<html>sign in</html>", "retry"),
            (202, None, "{}", "retry"),
            (401, None, r#"{"message":"Key format is not valid!"}"#, "rejected"),
            (422, None, r#"{"message":"Request body is not processable."}"#, "rejected"),
            (429, Some("9"), "", "retry 9"),
            (500, None, "", "retry"),
        ] {
            let service = Service::start(move |_| (status, after, body.to_owned())).await;
            let action = told(ActionKind::Page, "issue", "slow");
            let outcome = opsgenie(&service, "").send(message(&action), &wires()).await;
            assert_eq!(named(&outcome), expected, "{status} {body}");
        }
    }

    #[test]
    fn who_is_no_responder_is_refused() {
        for responder in ["ops", "team:", "user:ann", "group:x"] {
            let text = format!("m: {{ opsgenie: {{ api_key: {{ env: X }}, responders: [\"{responder}\"] }} }}");
            assert!(declare(&text).unwrap_err().message.contains("responder"), "{responder}");
        }
    }
}
