//! `pagerduty`: incidents, as PagerDuty's v3 webhooks tell of them; verdicts become notes of theirs.

use std::sync::Arc;

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::{
    Hook, Incoming, Received, Refused, SystemKind, TicketSystem, What, check_keys, is_own_note, keys, mark, text_at,
};
use crate::model::delivery::{Message, Outcome};
use crate::model::encode;
use crate::model::letter::{Letter, Medium};
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::model::text::Untrusted;
use crate::model::ticket::Report;
use crate::net::outgoing::{self, Call, Sending, Wires};
use crate::net::signature::{Writing, verifies};
use crate::yaml::{self, Spanned};

/// What the incidents are called that we page with.
const OWN_INCIDENT: &str = "houston/";
/// Signatures of one delivery that are looked at: one for each secret of the subscription.
const SIGNATURES: usize = 8;

pub static PAGERDUTY: SystemKind = SystemKind {
    name: "pagerduty",
    summary: "incidents of PagerDuty",
    docs: "Keys: `secrets` (of the webhook subscription, 1 to 3, as `{ env: NAME }` or `{ file: path }`), `token` (an API \
           key, for notes) and `from` (the address of a user of the account, in whose name notes are written), `api` (by \
           default https://api.pagerduty.com). \
           In PagerDuty: a generic webhook (v3) with `https://…/hooks/NAME`. Each delivery carries \
           `X-PagerDuty-Signature: v1=hex(hmac-sha256(secret, body)),v1=…`; any of them counts. There is no time in it: \
           what comes again is recognised by the event's id. \
           `incident.triggered` opens a ticket (`alert: true`; title, service, `html_url`; since: `created_at`), \
           `incident.acknowledged`, `incident.annotated`, `incident.resolved` and `incident.reopened` are what they say, \
           every other event of an incident is a change of it. By `fields`: all of the incident, like `service.summary`, \
           `urgency`, `priority.summary`. \
           Ignored: our own notes, incidents whose `incident_key` begins with `houston/` (our own pages), and whatever is \
           about no incident. \
           A verdict is a note of the incident, which PagerDuty can't edit; after an attempt whose end is not known, the \
           notes are read first.",
    example: "{ secrets: [{ env: HOUSTON_DESK_SECRET }], token: { env: PAGERDUTY_TOKEN }, from: houston@example.com }",
    payload: r#"{"event":{"id":"5ac64822-4adc-4fda-ade0-410becf0de4f","event_type":"incident.triggered","resource_type":"incident","occurred_at":"2026-11-18T08:20:08.623Z","agent":{"id":"PLH1HKV","type":"service_reference","summary":"Prometheus"},"client":null,"data":{"id":"PGR0VU2","type":"incident","self":"https://api.pagerduty.com/incidents/PGR0VU2","html_url":"https://acme.pagerduty.com/incidents/PGR0VU2","number":2,"status":"triggered","incident_key":"d3640fbd41094207a1c11e58e46b1662","created_at":"2026-11-18T08:20:08Z","title":"checkout errors","service":{"id":"PF9KMXH","summary":"checkout","type":"service_reference"},"urgency":"high"}}}"#,
    headers: &[],
    read: |node| Ok(Arc::new(read(node)?)),
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    secrets: Vec<SecretRef>,
    #[serde(default)]
    token: Option<SecretRef>,
    #[serde(default)]
    from: Option<Spanned<String>>,
    #[serde(default)]
    api: Option<Spanned<String>>,
}

#[derive(Debug)]
struct PagerDuty {
    secrets: Vec<SecretRef>,
    /// The API key, and in whose name.
    notes: Option<(SecretRef, String)>,
    api: String,
}

fn read(node: &yaml::Node) -> Result<PagerDuty, Diagnostic> {
    let declared: Declared = node.read()?;
    check_keys(node.get("secrets").unwrap_or(node), &declared.secrets)?;
    let notes = match (declared.token, declared.from) {
        (None, None) => None,
        (Some(token), Some(from)) => {
            if !from.value.contains('@') || !from.value.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(Diagnostic::error(from.at, "this is no address"));
            }
            Some((token, from.value))
        }
        _ => {
            let error = Diagnostic::error(node.span.clone(), "notes need both a `token` and a `from`");
            return Err(error.hint("without both, nothing is written into incidents"));
        }
    };
    let api = match &declared.api {
        Some(url) => super::http_url(url)?.to_string(),
        None => "https://api.pagerduty.com".to_owned(),
    };
    Ok(PagerDuty { secrets: declared.secrets, notes, api: api.trim_end_matches('/').to_owned() })
}

impl TicketSystem for PagerDuty {
    fn verify(&self, hook: &Hook<'_>, wires: &Wires) -> Result<(), Refused> {
        let keys = keys(&self.secrets, wires)?;
        let signatures = hook.header("x-pagerduty-signature").ok_or(Refused::NotSigned)?;
        let mut given = signatures.split(',').filter_map(|one| one.trim().strip_prefix("v1=")).take(SIGNATURES);
        let good = given.any(|signature| verifies(&keys, &[hook.body], signature, Writing::Hex));
        if good { Ok(()) } else { Err(Refused::NotSigned) }
    }

    fn read(&self, hook: &Hook<'_>) -> Result<Received, Refused> {
        let delivery = hook.json()?;
        let event = &delivery["event"];
        let kind = text_at(event, "event_type").ok_or_else(|| missing("event.event_type"))?;
        let data = &event["data"];
        // A note's own data names its incident; everything else is the incident.
        let id = match data["type"].as_str() {
            Some("incident") => text_at(data, "id"),
            _ => text_at(data, "incident.id"),
        };
        let Some(id) = id.filter(|_| kind.starts_with("incident.")) else {
            return Ok(Received::ignored("an event that is about no incident"));
        };
        if text_at(data, "incident_key").is_some_and(|key| key.starts_with(OWN_INCIDENT)) {
            return Ok(Received::ignored("our own page"));
        }
        let by = text_at(event, "agent.summary").map(|name| Untrusted::bounded(name, 256));
        let what = match kind.as_str() {
            "incident.triggered" => What::Opened,
            "incident.acknowledged" => What::Acknowledged { by: by.unwrap_or_else(|| "somebody".into()) },
            "incident.resolved" => What::Closed,
            "incident.reopened" => What::Reopened,
            "incident.annotated" => {
                let text = text_at(data, "content").unwrap_or_default();
                if is_own_note(&text) {
                    return Ok(Received::ignored("our own note"));
                }
                What::Commented { by, text: Untrusted::new(text) }
            }
            _ => What::Updated,
        };
        let report = Report {
            title: text_at(data, "title").map(Untrusted::new),
            services: text_at(data, "service.summary").filter(|name| name.len() <= 128).into_iter().collect(),
            url: text_at(data, "html_url").map(Untrusted::new),
            since: text_at(data, "created_at").and_then(|at| super::parse_time(&at)),
            alert: true,
            ..Report::default()
        };
        let incoming = Incoming { id, what, report, payload: data.clone() };
        Ok(Received { delivery: text_at(event, "id"), incoming: vec![incoming], ignored: None })
    }

    fn annotate<'a>(&'a self, message: Message<'a>, wires: &'a Wires) -> Sending<'a> {
        Box::pin(async move { self.note(message, wires).await.unwrap_or_else(|failed| failed) })
    }

    fn takes_notes(&self) -> bool {
        self.notes.is_some()
    }

    fn secrets(&self) -> Vec<SecretRef> {
        self.secrets.iter().chain(self.notes.iter().map(|(token, _)| token)).cloned().collect()
    }
}

impl PagerDuty {
    /// Writes a note, unless an attempt before left it there.
    async fn note(&self, message: Message<'_>, wires: &Wires) -> Result<Outcome, Outcome> {
        let action = message.action;
        let (token, from) = self.notes.as_ref().ok_or_else(|| Outcome::rejected("no `token` is declared"))?;
        let url = format!("{}/incidents/{}/notes", self.api, encode::url_segment(&action.recipient));
        let url = Url::parse(&url).map_err(|error| Outcome::rejected(format!("its address: {error}")))?;
        let call = || {
            let call = Call::get(url.clone()).header("Accept", "application/vnd.pagerduty+json;version=2");
            call.header("From", from.as_str()).secret("Authorization", "Token token=", token, wires)
        };
        let letter = Letter::of(action, message.links);
        let mark = mark(&letter);
        if message.tries > 0 {
            let notes = outgoing::json(&call()?.send(message.now, wires).await?)?;
            let mut notes = notes["notes"].as_array().into_iter().flatten();
            if let Some(there) = notes.find(|note| note["content"].as_str().is_some_and(|text| text.contains(&mark))) {
                return Ok(delivered(there));
            }
        }
        let content = format!("{mark}\n{}", letter.write(Medium::Plain));
        let body = json!({ "note": { "content": content } });
        let answer = call()?.with_json(Method::POST, body, wires).send(message.now, wires).await?;
        let answer = outgoing::json(&answer)?;
        if answer["note"].is_null() {
            return Err(Outcome::retry("it answered without a note"));
        }
        Ok(delivered(&answer["note"]))
    }
}

fn delivered(note: &Value) -> Outcome {
    note["id"].as_str().map_or(Outcome::DELIVERED, Outcome::delivered_as)
}

fn missing(name: &str) -> Refused {
    Refused::Unreadable(format!("`{name}` is missing"))
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::super::tests::service::{Service, action, annotate};
    use super::super::tests::{declared, deliver, desk, hook, wires};
    use super::*;
    use crate::model::action::ActionKind;
    use crate::model::letter::hostile::HOSTILE;
    use crate::model::secret::Secret;
    use crate::net::signature::sign;

    fn with_notes(url: &str) -> crate::ticketing::Desk {
        desk(
            "pagerduty",
            &format!(
                "{{ secrets: [{{ env: DESK_SECRET }}], token: {{ env: OLD_SECRET }}, from: h@example.com, api: '{url}' }}"
            ),
        )
    }

    fn signature(key: &str, body: &str) -> String {
        format!("v1={}", sign(&Secret::new(key.to_owned()), &[body.as_bytes()], Writing::Hex).unwrap())
    }

    #[test]
    fn any_of_the_signatures_counts() {
        let desk = desk("pagerduty", "{ secrets: [{ env: DESK_SECRET }] }");
        let (good, other) = (signature("desk-secret-0123456789", "{}"), signature("other-secret-0123456789", "{}"));
        for (value, expected) in [
            (good.clone(), true),
            (format!("{other},{good}"), true),
            (format!("{other}, {good}"), true),
            (other.clone(), false),
            (good.replace("v1=", "v2="), false),
            (good.replace("v1=", ""), false),
            (format!("{},{good}", vec![other; SIGNATURES].join(",")), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("x-pagerduty-signature", value.parse().unwrap());
            let verified = desk.system.verify(&hook(&headers, b"{}"), &wires());
            assert_eq!(verified.is_ok(), expected, "{value}");
        }
    }

    fn event(kind: &str, data: &Value) -> String {
        json!({ "event": { "id": "e-1", "event_type": kind, "agent": { "summary": "Kim" }, "data": data } }).to_string()
    }

    #[test]
    fn what_an_event_becomes() {
        let desk = with_notes("http://127.0.0.1:9");
        let incident = json!({ "id": "P1", "type": "incident", "title": "x" });
        let note = json!({ "id": "N1", "type": "incident_note", "content": "mine", "incident": { "id": "P1" } });
        for (kind, data, expected) in [
            ("incident.triggered", &incident, What::Opened),
            ("incident.acknowledged", &incident, What::Acknowledged { by: "Kim".into() }),
            ("incident.resolved", &incident, What::Closed),
            ("incident.reopened", &incident, What::Reopened),
            ("incident.priority_updated", &incident, What::Updated),
            ("incident.annotated", &note, What::Commented { by: Some("Kim".into()), text: "mine".into() }),
        ] {
            let received = deliver(&desk, &event(kind, data)).unwrap();
            assert_eq!((received.incoming[0].id.as_str(), &received.incoming[0].what), ("P1", &expected), "{kind}");
            assert_eq!(received.delivery.as_deref(), Some("e-1"));
        }
        let own_note =
            json!({ "type": "incident_note", "content": "[houston/T-7 abc]\n…", "incident": { "id": "P1" } });
        let own_page = json!({ "id": "P1", "type": "incident", "incident_key": "houston/T-7", "title": "x" });
        for (kind, data) in [
            ("incident.annotated", &own_note),
            ("incident.triggered", &own_page),
            ("pagey.ping", &json!({ "message": "Hello", "type": "ping" })),
            ("service.created", &json!({ "id": "S1", "type": "service" })),
        ] {
            let received = deliver(&desk, &event(kind, data)).unwrap();
            assert!(received.ignored.is_some() && received.incoming.is_empty(), "{kind}");
        }
        assert!(matches!(deliver(&desk, "{}"), Err(Refused::Unreadable(_))));
        assert!(declared("{ pagerduty: { secrets: [{ env: A }], from: a@b } }").is_err(), "half of what notes need");
    }

    #[tokio::test]
    async fn a_note_is_written_once_and_says_text() {
        for title in HOSTILE {
            let service = Service::start(&[(201, "", r#"{"note":{"id":"N1"}}"#)]).await;
            let outcome = annotate(&with_notes(&service.url), &action(ActionKind::Note, "P1/..", title), 0).await;
            assert_eq!(outcome, Outcome::delivered_as("N1"), "{title:?}");
            let [asked] = &service.asked()[..] else { panic!("one request") };
            assert_eq!(asked.line, "POST /incidents/P1%2F../notes HTTP/1.1");
            assert_eq!(asked.header("authorization"), Some("Token token=old-secret-0123456789"));
            assert_eq!(asked.header("from"), Some("h@example.com"));
            let content = asked.json()["note"]["content"].as_str().unwrap().to_owned();
            assert!(is_own_note(&content) && !content.contains(['\u{1b}', '\u{202e}', '\0', '\r']), "{content:?}");
        }
    }

    #[tokio::test]
    async fn what_may_be_there_is_looked_for_and_failures_are_what_they_are() {
        let note = action(ActionKind::Note, "P1", "x");
        let mark = mark(&Letter::of(&note, None));
        let there =
            json!({ "notes": [{ "id": "N0", "content": "?" }, { "id": "N9", "content": format!("{mark}\nx") }] });
        let service = Service::start(&[(200, "", &there.to_string())]).await;
        assert_eq!(annotate(&with_notes(&service.url), &note, 1).await, Outcome::delivered_as("N9"));
        assert_eq!(service.asked().len(), 1, "nothing was written");
        let service = Service::start(&[(200, "", r#"{"notes":[]}"#), (201, "", r#"{"note":{"id":"N1"}}"#)]).await;
        assert_eq!(annotate(&with_notes(&service.url), &note, 1).await, Outcome::delivered_as("N1"));

        for (answer, after) in [
            ((429, "Retry-After: 7\r\n", "{}"), Some(Some(std::time::Duration::from_secs(7)))),
            ((503, "", ""), Some(None)),
            ((200, "", "<html>hello</html>"), Some(None)),
            ((200, "", "{}"), Some(None)),
            ((401, "", "{}"), None),
            ((404, "", "{}"), None),
        ] {
            let service = Service::start(&[answer]).await;
            match annotate(&with_notes(&service.url), &note, 0).await {
                Outcome::Retry { after: waits, .. } => assert_eq!(Some(waits), after, "{answer:?}"),
                Outcome::Rejected { .. } => assert_eq!(after, None, "{answer:?}"),
                delivered => panic!("{answer:?}: {delivered:?}"),
            }
        }
    }
}
