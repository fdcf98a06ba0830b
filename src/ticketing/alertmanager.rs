//! `alertmanager`: each alert that an Alertmanager tells of is a ticket, as long as it fires.

use std::sync::Arc;

use base64::Engine as _;
use serde::Deserialize;
use serde_json::Value;

use super::{Hook, Incoming, Received, Refused, SystemKind, TicketSystem, What, check_keys, keys, text_at};
use crate::model::delivery::{Message, Outcome};
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::model::text::Untrusted;
use crate::model::ticket::Report;
use crate::net::outgoing::{Sending, Wires};
use crate::net::signature::equals;
use crate::yaml;

/// What our own alerts are called: they must not come back as tickets.
const OWN: &str = "Houston";

/// Lines of labels and annotations in a ticket's text.
const LINES: usize = 64;

pub static ALERTMANAGER: SystemKind = SystemKind {
    name: "alertmanager",
    summary: "alerts, as Alertmanager's webhook tells of them",
    docs: "Keys: `secrets` (1 to 3 keys of at least 16 bytes, as `{ env: NAME }` or `{ file: path }`; any of them is \
           taken), `user` (only this one, where Alertmanager comes with a password). \
           In Alertmanager: a receiver with `webhook_configs: [{ url: https://…/hooks/NAME, http_config: { \
           authorization: { credentials: KEY } } }]`, or `basic_auth` with the key as its password; it signs nothing, so \
           over TLS, or from the same machine. \
           Each alert of a delivery (webhook version 4) is a ticket with `alert: true`: its id is the fingerprint and \
           the time at which it began to fire, so that whatever is repeated is the same ticket, and the same alert on \
           another day another one. A resolved alert closes its ticket. Title: the annotation `summary`, else the \
           alert's name; text: annotations and labels; service: the label `service`; since: `startsAt`. Other labels by \
           `fields`: `{ customer: labels.customer, service: labels.job }`; `groupLabels`, `commonLabels`, `receiver` \
           and `externalURL` stand beside `labels` and `annotations`. \
           Ignored: alerts whose name begins with `Houston`, for these are our own. \
           Nothing is written back, for there is no place for it.",
    example: "{ secrets: [{ env: HOUSTON_DESK_SECRET }] }",
    payload: r#"{"version":"4","groupKey":"{}:{alertname=\"CheckoutErrors\"}","truncatedAlerts":0,"status":"firing","receiver":"houston","groupLabels":{"alertname":"CheckoutErrors"},"commonLabels":{"alertname":"CheckoutErrors","service":"checkout"},"commonAnnotations":{},"externalURL":"http://alertmanager.example.com:9093","alerts":[{"status":"firing","labels":{"alertname":"CheckoutErrors","service":"checkout","severity":"page"},"annotations":{"summary":"7 % of the checkouts fail"},"startsAt":"2026-11-18T08:20:08.623Z","endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://prometheus.example.com:9090/graph?g0.expr=errors","fingerprint":"b3b7e1a0c1d2e3f4"}]}"#,
    headers: &[],
    read: |node| Ok(Arc::new(read(node)?)),
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    secrets: Vec<SecretRef>,
    #[serde(default)]
    user: Option<String>,
}

#[derive(Debug)]
struct Alertmanager {
    secrets: Vec<SecretRef>,
    user: Option<String>,
}

fn read(node: &yaml::Node) -> Result<Alertmanager, Diagnostic> {
    let declared: Declared = node.read()?;
    check_keys(node.get("secrets").unwrap_or(node), &declared.secrets)?;
    Ok(Alertmanager { secrets: declared.secrets, user: declared.user })
}

impl TicketSystem for Alertmanager {
    fn verify(&self, hook: &Hook<'_>, wires: &Wires) -> Result<(), Refused> {
        let keys = keys(&self.secrets, wires)?;
        let given = hook.header("authorization").and_then(|value| value.split_once(' ')).ok_or(Refused::NotSigned)?;
        let good = match given {
            (scheme, token) if scheme.eq_ignore_ascii_case("bearer") && self.user.is_none() => {
                equals(&keys, token.trim())
            }
            (scheme, pair) if scheme.eq_ignore_ascii_case("basic") => {
                let pair = base64::engine::general_purpose::STANDARD.decode(pair.trim()).unwrap_or_default();
                let pair = String::from_utf8(pair).unwrap_or_default();
                let (user, password) = pair.split_once(':').unwrap_or_default();
                equals(&keys, password) && self.user.as_ref().is_none_or(|expected| expected == user)
            }
            _ => false,
        };
        if good { Ok(()) } else { Err(Refused::NotSigned) }
    }

    fn read(&self, hook: &Hook<'_>) -> Result<Received, Refused> {
        let payload = hook.json()?;
        let alerts = payload["alerts"].as_array();
        let alerts = alerts.ok_or_else(|| Refused::Unreadable("`alerts` is missing".to_owned()))?;
        let left_out = payload["truncatedAlerts"].as_u64().unwrap_or(0);
        if left_out > 0 {
            tracing::warn!(left_out, "an Alertmanager left alerts out of a delivery (its `max_alerts`)");
        }
        let mut received = Received::default();
        for alert in alerts {
            if text_at(alert, "labels.alertname").is_some_and(|name| name.starts_with(OWN)) {
                continue;
            }
            received.incoming.push(incoming(alert, &payload)?);
        }
        if received.incoming.is_empty() {
            return Ok(Received::ignored("these are our own alerts"));
        }
        Ok(received)
    }

    fn annotate<'a>(&'a self, _message: Message<'a>, _wires: &'a Wires) -> Sending<'a> {
        Box::pin(std::future::ready(Outcome::rejected("an alert has no place for a note")))
    }

    fn takes_notes(&self) -> bool {
        false
    }

    fn secrets(&self) -> Vec<SecretRef> {
        self.secrets.clone()
    }
}

fn incoming(alert: &Value, delivery: &Value) -> Result<Incoming, Refused> {
    let needed = |path: &str| {
        text_at(alert, path).ok_or_else(|| Refused::Unreadable(format!("an alert comes without `{path}`")))
    };
    let (fingerprint, starts_at) = (needed("fingerprint")?, needed("startsAt")?);
    let what = match needed("status")?.as_str() {
        "firing" => What::Opened,
        "resolved" => What::Closed,
        other => return Err(Refused::Unreadable(format!("a status {}", crate::model::encode::terminal(other)))),
    };
    let title = text_at(alert, "annotations.summary").or_else(|| text_at(alert, "labels.alertname"));
    let web = |value: &Value, path: &str| text_at(value, path).filter(|url| url.starts_with("http"));
    let report = Report {
        title: title.map(Untrusted::new),
        text: Some(Untrusted::new(lines(alert))),
        services: text_at(alert, "labels.service").filter(|name| name.len() <= 128).into_iter().collect(),
        url: web(alert, "generatorURL").or_else(|| web(delivery, "externalURL")).map(Untrusted::new),
        since: super::parse_time(&starts_at),
        alert: true,
        ..Report::default()
    };
    let mut payload = alert.clone();
    for name in ["groupLabels", "commonLabels", "commonAnnotations", "receiver", "externalURL", "groupKey"] {
        payload[name] = delivery[name].clone();
    }
    Ok(Incoming { id: format!("{fingerprint}/{starts_at}"), what, report, payload })
}

/// Annotations, then labels, one per line.
fn lines(alert: &Value) -> String {
    let mut lines = Vec::new();
    for part in ["annotations", "labels"] {
        for (name, value) in alert[part].as_object().into_iter().flatten() {
            if let Some(value) = value.as_str().filter(|_| lines.len() < LINES) {
                lines.push(format!("{name}: {value}"));
            }
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http::header::AUTHORIZATION;

    use super::super::tests::{deliver, desk, hook, wires};
    use super::*;
    use crate::model::letter::hostile::HOSTILE;

    const TEXT: &str = "{ secrets: [{ env: DESK_SECRET }, { env: OLD_SECRET }] }";

    fn authorized(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        headers
    }

    fn basic(pair: &str) -> String {
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
    }

    #[test]
    fn only_who_knows_the_key_is_let_in() {
        let any = desk("alertmanager", TEXT);
        let named = desk("alertmanager", "{ secrets: [{ env: DESK_SECRET }], user: prod }");
        let key = "desk-secret-0123456789";
        for (desk, value, expected) in [
            (&any, format!("Bearer {key}"), true),
            (&any, "bearer old-secret-0123456789".to_owned(), true),
            (&any, basic(&format!("anybody:{key}")), true),
            (&any, basic("anybody:desk-secret"), false),
            (&any, basic(key), false),
            (&any, "Bearer desk-secret-012345678".to_owned(), false),
            (&any, "Bearer".to_owned(), false),
            (&any, format!("Digest {key}"), false),
            (&any, "Basic %%%".to_owned(), false),
            (&named, basic(&format!("prod:{key}")), true),
            (&named, basic(&format!("test:{key}")), false),
            (&named, format!("Bearer {key}"), false),
        ] {
            let verified = desk.system.verify(&hook(&authorized(&value), b"{}"), &wires());
            assert_eq!(verified, if expected { Ok(()) } else { Err(Refused::NotSigned) }, "{value}");
        }
        assert_eq!(any.system.verify(&hook(&HeaderMap::new(), b"{}"), &wires()), Err(Refused::NotSigned));
    }

    fn alert(status: &str, name: &str, starts_at: &str) -> Value {
        serde_json::json!({ "status": status, "labels": { "alertname": name, "service": "checkout", "customer": "acme" },
            "annotations": { "runbook": "first\nsecond" }, "startsAt": starts_at, "fingerprint": "b3b7" })
    }

    fn delivery(alerts: Vec<Value>) -> String {
        serde_json::json!({ "version": "4", "alerts": alerts, "receiver": "houston" }).to_string()
    }

    #[test]
    fn what_is_repeated_is_the_same_ticket_and_another_day_another_one() {
        let desk = super::super::tests::declared(&format!(
            "{{ alertmanager: {TEXT}, fields: {{ customer: labels.customer, params: {{ by: receiver }} }} }}"
        ))
        .unwrap();
        let (monday, tuesday) = ("2026-11-16T08:00:00Z", "2026-11-17T08:00:00Z");
        let received = deliver(
            &desk,
            &delivery(vec![
                alert("firing", "Slow", monday),
                alert("resolved", "Slow", monday),
                alert("firing", "Slow", tuesday),
            ]),
        )
        .unwrap();
        let [fired, resolved, again] = received.incoming.as_slice() else { panic!("{received:?}") };
        assert_eq!((&fired.what, &resolved.what), (&What::Opened, &What::Closed));
        assert_eq!(fired.id, resolved.id);
        assert_ne!(fired.id, again.id);
        let ticket = desk.ticket(fired, hook(&HeaderMap::new(), b"").now).unwrap();
        assert!(ticket.alert);
        assert_eq!((ticket.title.raw(), ticket.services.as_slice()), ("Slow", &["checkout".to_owned()][..]));
        assert_eq!((ticket.customer.unwrap().raw(), ticket.params["by"].raw()), ("acme", "houston"));
        assert!(ticket.text.raw().contains("runbook: first\nsecond"));
        assert_eq!(ticket.symptom.unwrap().from, monday.parse().unwrap());
    }

    #[test]
    fn our_own_alerts_make_no_tickets() {
        let desk = desk("alertmanager", TEXT);
        let monday = "2026-11-16T08:00:00Z";
        let own = deliver(&desk, &delivery(vec![alert("firing", "HoustonVerdict", monday)])).unwrap();
        assert!(own.incoming.is_empty() && own.ignored.is_some(), "{own:?}");
        let mixed = delivery(vec![alert("firing", "HoustonVerdict", monday), alert("firing", "Slow", monday)]);
        assert_eq!(deliver(&desk, &mixed).unwrap().incoming.len(), 1);
    }

    #[test]
    fn what_is_no_delivery_is_refused_and_hostile_text_stays_text() {
        let desk = desk("alertmanager", TEXT);
        for body in [
            "[]",
            "{}",
            "null",
            r#"{"alerts":[{}]}"#,
            r#"{"alerts":[{"fingerprint":"a","startsAt":"b","status":"?"}]}"#,
        ] {
            assert!(matches!(deliver(&desk, body), Err(Refused::Unreadable(_))), "{body}");
        }
        for text in HOSTILE {
            let received = deliver(&desk, &delivery(vec![alert("firing", text, "2026-11-16T08:00:00Z")])).unwrap();
            let ticket = desk.ticket(&received.incoming[0], hook(&HeaderMap::new(), b"").now).unwrap();
            assert_eq!(ticket.title.raw(), text.trim(), "{text:?}");
        }
    }
}
