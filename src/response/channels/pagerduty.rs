//! `pagerduty`: an event of PagerDuty's Events API v2; everything about a ticket is one incident.
//!
//! The `dedup_key` is the same for all of a ticket (`houston/T-7`): what is sent again joins the incident that is there.
//! News of *no issue* resolve it; an action that says `acknowledge` or `resolve` does that. PagerDuty takes an event
//! with 202 and `"status": "success"`; 400 says that the event or its routing key is none, 429 that it comes too fast.

use std::sync::Arc;

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Channel, ChannelKind};
use crate::model::case::number_text;
use crate::model::delivery::{Message, Outcome};
use crate::model::encode;
use crate::model::letter::{Letter, Medium};
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::net::outgoing::{Call, Sending, Wires, json, struck};
use crate::response::service::{Turn, base, below, cut, services, without_secrets};
use crate::yaml::{self, Spanned};

pub static PAGERDUTY: ChannelKind = ChannelKind {
    name: "pagerduty",
    summary: "an incident of PagerDuty (Events API v2)",
    docs: "Keys: `routing_key` (a secret: the integration key of a service's \"Events API v2\" integration), `url` \
           (`https://events.pagerduty.com`; `https://events.eu.pagerduty.com` in Europe). \
           Arrives as an event with `dedup_key` `houston/T-7`, so that all of a ticket is one incident however often \
           it is sent, the summary in at most 1,024 characters, severity `critical` for an issue and `warning` for what \
           is doubtful, the rest in `custom_details`. News of no issue resolve the incident, and open none. \
           202 is delivered, 429, 5xx, silence and answers that aren't PagerDuty's are tried again, 400 and others are \
           a refusal.",
    example: "{ routing_key: { env: PAGERDUTY_ROUTING_KEY } }",
    read: |node| Ok(Arc::new(read(node)?)),
};

/// The longest summary, in characters, as PagerDuty documents it.
const SUMMARY: usize = 1_024;
/// The most of the letter in the details, in characters: a whole event has at most 512 kB.
const DETAILS: usize = 60_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    routing_key: SecretRef,
    #[serde(default)]
    url: Option<Spanned<String>>,
}

/// A service of PagerDuty's.
#[derive(Debug)]
pub struct PagerDuty {
    routing_key: SecretRef,
    base: String,
}

fn read(node: &yaml::Node) -> Result<PagerDuty, Diagnostic> {
    let declared: Declared = node.read()?;
    let base = base(declared.url.as_ref(), "https://events.pagerduty.com")?;
    Ok(PagerDuty { routing_key: declared.routing_key, base })
}

impl PagerDuty {
    async fn post(&self, message: Message<'_>, wires: &Wires) -> Result<Outcome, Outcome> {
        let key = wires.credentials.get(&self.routing_key).map_err(Outcome::retry)?;
        let mut event = struck(event(message, wires), &wires.redactor);
        // The one secret that belongs into the body is put there after all others were struck from it.
        event["routing_key"] = key.expose().trim().into();
        let mut call = Call::get(below(&self.base, "/v2/enqueue")?);
        call.method = Method::POST;
        call.body = event.to_string().into();
        let answer = json(&call.header("Content-Type", "application/json").send(message.now, wires).await?)?;
        if answer["status"] != "success" {
            return Err(Outcome::retry("its answer is not one of PagerDuty's"));
        }
        Ok(Outcome::delivered_as(event["dedup_key"].as_str().unwrap_or_default()))
    }
}

impl Channel for PagerDuty {
    fn send<'a>(&'a self, message: Message<'a>, wires: &'a Wires) -> Sending<'a> {
        Box::pin(async move { self.post(message, wires).await.unwrap_or_else(|failed| failed) })
    }

    fn secrets(&self) -> Vec<SecretRef> {
        vec![self.routing_key.clone()]
    }
}

/// The event but for its routing key.
fn event(message: Message<'_>, wires: &Wires) -> Value {
    let action = without_secrets(message.action, wires);
    let letter = Letter::of(&action, message.links);
    let turn = match Turn::of(&action) {
        Turn::Open => "trigger",
        Turn::Acknowledge => "acknowledge",
        Turn::Close => "resolve",
    };
    let mut event = json!({ "event_action": turn, "dedup_key": letter.thread });
    if turn != "trigger" {
        return event;
    }
    let services = encode::terminal(&services(&action.facts).join(", "));
    let links: Vec<Value> = letter.links().map(|(title, url)| json!({ "href": url, "text": title })).collect();
    event["payload"] = json!({
        "summary": cut(&letter.head(Medium::Plain), SUMMARY),
        "source": if services.is_empty() { "houston" } else { services.as_str() },
        "severity": letter.severity.name(),
        "timestamp": action.created_at.to_string(),
        "component": services,
        "class": "ticket",
        "custom_details": {
            "ticket": number_text(action.ticket),
            "recipient": encode::terminal(&action.recipient),
            "kind": action.kind.name(),
            "key": letter.key,
            "details": cut(&letter.body(Medium::Plain), DETAILS),
        },
    });
    event["client"] = "Houston".into();
    if let Some(link) = message.links {
        event["client_url"] = link.ticket(action.ticket).into();
    }
    event["links"] = links.into();
    event
}

#[cfg(test)]
mod tests {
    use super::super::tests::wires;
    use super::*;
    use crate::model::action::ActionKind;
    use crate::model::letter::Links;
    use crate::model::letter::hostile::HOSTILE;
    use crate::model::secret::Secret;
    use crate::response::service::testing::{Service, channel, message, named, told};

    const TAKEN: &str = r#"{"status":"success","message":"Event processed","dedup_key":"houston/T-7"}"#;

    fn pagerduty(service: &Service) -> std::sync::Arc<dyn Channel> {
        channel(&format!("{{ pagerduty: {{ url: \"{}\", routing_key: {{ env: HOOK_TOKEN }} }} }}", service.url))
    }

    #[tokio::test]
    async fn one_event_for_each_whatever_it_says() {
        let service = Service::start(|_| (202, None, TAKEN.to_owned())).await;
        let (channel, wires) = (pagerduty(&service), wires());
        wires.redactor.learn(&Secret::new("hunter2hunter2".to_owned()));
        let links = Links::new("https://houston.example.com");
        let long = ["hunter2hunter2 bearer-of-good-news", &"\u{1b}".repeat(5_000)].concat();
        for title in HOSTILE.into_iter().chain([long.as_str()]) {
            let action = told(ActionKind::Page, "issue", title);
            let outcome = channel.send(Message { links: Some(&links), ..message(&action) }, &wires).await;
            assert_eq!(outcome, Outcome::delivered_as("houston/T-7"), "{title}");
            let asked = service.asked();
            let [asked] = asked.as_slice() else { panic!("{asked:?}") };
            assert_eq!((&asked.method, asked.uri.path()), (&Method::POST, "/v2/enqueue"));
            assert_eq!(asked.header("content-type"), "application/json");
            assert!(asked.body.len() <= 512_000);
            let mut event = asked.json();
            assert_eq!(event["routing_key"].take(), "bearer-of-good-news");
            assert_eq!((&event["event_action"], &event["dedup_key"]), (&"trigger".into(), &"houston/T-7".into()));
            let payload = &event["payload"];
            assert_eq!((&payload["severity"], &payload["source"]), (&"critical".into(), &"shop".into()));
            let summary = payload["summary"].as_str().unwrap();
            assert!(summary.starts_with("T-7: issue") && summary.chars().count() <= SUMMARY, "{summary}");
            assert!(!summary.chars().any(encode::is_unprintable), "{summary:?}");
            assert_eq!(event["client_url"], "https://houston.example.com/t/T-7");
            assert_eq!(event["links"][0]["href"], "https://houston.example.com/t/T-7");
            let text = event.to_string();
            assert!(!text.contains("hunter2") && !text.contains("bearer-of"), "{text}");
        }
    }

    #[tokio::test]
    async fn what_an_answer_means() {
        for (status, after, body, expected) in [
            (202, None, TAKEN, "delivered"),
            (200, None, "<html>sign in</html>", "retry"),
            (202, None, r#"{"status":"invalid event"}"#, "retry"),
            (400, None, r#"{"status":"invalid event","errors":["bearer-of-good-news"]}"#, "rejected"),
            (401, None, "", "rejected"),
            (429, Some("30"), "", "retry 30"),
            (503, None, "", "retry"),
            (302, None, "", "rejected"),
        ] {
            let service = Service::start(move |_| (status, after, body.to_owned())).await;
            let action = told(ActionKind::Escalate, "doubtful", "slow");
            let outcome = pagerduty(&service).send(message(&action), &wires()).await;
            assert_eq!(named(&outcome), expected, "{status} {body}");
            assert!(!format!("{outcome:?}").contains("bearer-of"), "{outcome:?}");
        }
    }

    #[tokio::test]
    async fn no_issue_resolves_and_an_action_may_say_what_it_is() {
        let service = Service::start(|_| (202, None, TAKEN.to_owned())).await;
        let (channel, wires) = (pagerduty(&service), wires());
        let mut taken_on = told(ActionKind::Announce, "doubtful", "slow");
        taken_on.facts["event"] = "acknowledge".into();
        let mut over = told(ActionKind::Page, "issue", "slow");
        over.facts["event"] = "resolve".into();
        for (action, expected) in [
            (told(ActionKind::Announce, "no_issue", "slow"), "resolve"),
            (told(ActionKind::Escalate, "no_issue", "slow"), "trigger"),
            (told(ActionKind::CallBack, "no_issue", "slow"), "trigger"),
            (told(ActionKind::Announce, "issue", "slow"), "trigger"),
            (taken_on, "acknowledge"),
            (over, "resolve"),
        ] {
            assert_eq!(named(&channel.send(message(&action), &wires).await), "delivered");
            let asked = service.asked();
            assert_eq!(asked[0].json()["event_action"], expected, "{action:?}");
        }
    }

    #[tokio::test]
    async fn without_its_key_nothing_is_sent() {
        let service = Service::start(|_| (202, None, TAKEN.to_owned())).await;
        let text = format!("{{ pagerduty: {{ url: \"{}\", routing_key: {{ env: NOT_THERE }} }} }}", service.url);
        let action = told(ActionKind::Page, "issue", "slow");
        assert_eq!(named(&channel(&text).send(message(&action), &wires()).await), "retry");
        assert!(service.asked().is_empty());
    }
}
