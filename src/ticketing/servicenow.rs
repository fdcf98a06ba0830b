//! `servicenow`: incidents of ServiceNow, as a business rule posts them; verdicts become work notes.

use std::sync::Arc;

use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::Url;

use super::{
    Hook, Incoming, Received, Refused, SystemKind, TicketSystem, What, check_keys, is_own_note, keys, mark, parse_time,
    signed_as_ours, text_at,
};
use crate::model::action::ActionKind;
use crate::model::delivery::{Message, Outcome};
use crate::model::encode;
use crate::model::letter::{Letter, Medium};
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::model::text::Untrusted;
use crate::model::ticket::Report;
use crate::net::outgoing::{self, Call, Sending, Wires};
use crate::yaml::{self, Spanned};

pub static SERVICENOW: SystemKind = SystemKind {
    name: "servicenow",
    summary: "incidents of ServiceNow",
    docs: "Keys: `secrets` (1 to 3 keys of at least 16 bytes, as `{ env: NAME }` or `{ file: path }`; any of them is \
           taken), `url` (https://NAME.service-now.com), `user` and `password` (of a user who may write incidents), \
           `verdict_field` (a field of the incident, like `u_houston_verdict`, that takes the current verdict). \
           ServiceNow posts nothing by itself: a business rule on `incident` (after insert and update) posts JSON to \
           `https://…/hooks/NAME` with a key as `X-Houston-Token`: `sys_id`, `number`, `short_description`, \
           `description`, `caller_id`, `cmdb_ci`, `opened_at` (in UTC), `state`, `url`, and `event` (`opened`, the \
           default, `updated`, `commented` with `comment` and `author`, `closed`, `reopened`). Without `event`, the \
           states 6, 7 and 8 (resolved, closed, canceled) close the ticket. \
           By `fields`: whatever the rule posts. Ignored: our own notes. \
           A verdict is a work note, which only those see who work on it; only a reply to the customer is a comment. \
           Journals can't be edited; after an attempt whose end is not known, the journal is read first, where its user \
           may. An instance that hibernates answers 200 with a page: then it is tried again. \
           Made from public documentation; no instance was at hand.",
    example: "{ secrets: [{ env: HOUSTON_DESK_SECRET }], url: \"https://acme.service-now.com\", user: houston, password: { env: SERVICENOW_PASSWORD } }",
    payload: r#"{"sys_id":"57af7aec73d423002728660c4cf6a71c","number":"INC0010023","short_description":"checkout fails","description":"since nine","caller_id":"Kim","opened_at":"2026-11-18 08:20:08","state":"1"}"#,
    headers: &[],
    read: |node| Ok(Arc::new(read(node)?)),
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    secrets: Vec<SecretRef>,
    url: Spanned<String>,
    user: String,
    password: SecretRef,
    #[serde(default)]
    verdict_field: Option<String>,
}

#[derive(Debug)]
struct ServiceNow {
    declared: Declared,
    url: String,
}

fn read(node: &yaml::Node) -> Result<ServiceNow, Diagnostic> {
    let declared: Declared = node.read()?;
    check_keys(node.get("secrets").unwrap_or(node), &declared.secrets)?;
    let url = super::http_url(&declared.url)?.to_string().trim_end_matches('/').to_owned();
    Ok(ServiceNow { declared, url })
}

impl TicketSystem for ServiceNow {
    fn verify(&self, hook: &Hook<'_>, wires: &Wires) -> Result<(), Refused> {
        signed_as_ours(hook, &keys(&self.declared.secrets, wires)?)
    }

    fn read(&self, hook: &Hook<'_>) -> Result<Received, Refused> {
        let payload = hook.json()?;
        let id = text_at(&payload, "sys_id").ok_or_else(|| Refused::Unreadable("`sys_id` is missing".to_owned()))?;
        let text = |path: &str| text_at(&payload, path).map(Untrusted::new);
        let is_over = matches!(text_at(&payload, "state").as_deref(), Some("6" | "7" | "8"));
        let what = match payload["event"].as_str() {
            None if is_over => What::Closed,
            None | Some("opened") => What::Opened,
            Some("updated") => What::Updated,
            Some("closed") => What::Closed,
            Some("reopened") => What::Reopened,
            Some("commented") => {
                let comment = text("comment").unwrap_or_default();
                if is_own_note(comment.raw()) {
                    return Ok(Received::ignored("our own note"));
                }
                What::Commented { by: text("author"), text: comment }
            }
            Some(other) => return Err(Refused::Unreadable(format!("`event` is {}", encode::terminal(other)))),
        };
        let report = Report {
            title: text("short_description").or_else(|| text("number")),
            text: text("description"),
            reporter: text_at(&payload, "caller_id").map(|name| Untrusted::bounded(name, 256)),
            services: text_at(&payload, "cmdb_ci").filter(|name| name.len() <= 128).into_iter().collect(),
            url: text("url"),
            reported_at: text_at(&payload, "opened_at").and_then(|at| parse_time(&at)),
            ..Report::default()
        };
        let delivery = text_at(&payload, "delivery");
        Ok(Received { delivery, incoming: vec![Incoming { id, what, report, payload }], ignored: None })
    }

    fn annotate<'a>(&'a self, message: Message<'a>, wires: &'a Wires) -> Sending<'a> {
        Box::pin(async move { self.note(message, wires).await.unwrap_or_else(|failed| failed) })
    }

    fn secrets(&self) -> Vec<SecretRef> {
        self.declared.secrets.iter().chain([&self.declared.password]).cloned().collect()
    }
}

impl ServiceNow {
    fn call(&self, path: &str, wires: &Wires) -> Result<Call, Outcome> {
        let url = Url::parse(&format!("{}/api/now/table/{path}", self.url));
        let url = url.map_err(|error| Outcome::rejected(format!("its address: {error}")))?;
        let call = Call::get(url).header("Accept", "application/json");
        call.basic(&self.declared.user, &self.declared.password, wires)
    }

    /// True where the journal of this incident holds this mark; where it can't be read, it doesn't.
    async fn is_there(&self, id: &str, mark: &str, message: Message<'_>, wires: &Wires) -> Result<bool, Outcome> {
        // What is searched for must not hold what a query is made of.
        let id: String = id.chars().filter(char::is_ascii_alphanumeric).collect();
        let query = encode::url_segment(&format!("element_id={id}^valueLIKE{mark}"));
        let call = self.call(&format!("sys_journal_field?sysparm_limit=1&sysparm_query={query}"), wires)?;
        match call.send(message.now, wires).await {
            Ok(answer) => Ok(outgoing::json(&answer)?["result"].as_array().is_some_and(|found| !found.is_empty())),
            Err(Outcome::Rejected { .. }) => Ok(false),
            Err(other) => Err(other),
        }
    }

    async fn note(&self, message: Message<'_>, wires: &Wires) -> Result<Outcome, Outcome> {
        let action = message.action;
        let letter = Letter::of(action, message.links);
        let mark = mark(&letter);
        if message.tries > 0 && self.is_there(&action.recipient, &mark, message, wires).await? {
            return Ok(Outcome::DELIVERED);
        }
        let field = if action.kind == ActionKind::Reply { "comments" } else { "work_notes" };
        let mut body = Map::new();
        body.insert(field.to_owned(), format!("{mark}\n{}", letter.write(Medium::Plain)).into());
        if let (Some(field), Some(verdict)) = (&self.declared.verdict_field, action.facts["verdict"].as_str()) {
            body.insert(field.clone(), json!(verdict));
        }
        let path = format!("incident/{}?sysparm_fields=sys_id", encode::url_segment(&action.recipient));
        let call = self.call(&path, wires)?.with_json(Method::PATCH, Value::Object(body), wires);
        let answer = outgoing::json(&call.send(message.now, wires).await?)?;
        match answer["result"]["sys_id"].as_str() {
            Some(_) => Ok(Outcome::DELIVERED),
            None => Err(Outcome::retry("it answered without the incident")),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::super::tests::service::{Service, action, annotate};
    use super::super::tests::{deliver, desk, hook, wires};
    use super::*;
    use crate::model::letter::hostile::HOSTILE;

    const WRITTEN: (u16, &str, &str) = (200, "", r#"{"result":{"sys_id":"57af"}}"#);

    fn servicenow(url: &str) -> crate::ticketing::Desk {
        let keys = "secrets: [{ env: DESK_SECRET }], user: h, password: { env: OLD_SECRET }, verdict_field: u_verdict";
        desk("servicenow", &format!("{{ {keys}, url: '{url}' }}"))
    }

    #[test]
    fn what_a_delivery_becomes() {
        let desk = servicenow("http://127.0.0.1:9");
        let mut token = HeaderMap::new();
        token.insert("x-houston-token", "desk-secret-0123456789".parse().unwrap());
        assert_eq!(desk.system.verify(&hook(&token, b"{}"), &wires()), Ok(()));
        assert_eq!(desk.system.verify(&hook(&HeaderMap::new(), b"{}"), &wires()), Err(Refused::NotSigned));
        let ours = r#"{"sys_id":"a","event":"commented","comment":"[houston/T-7 a]\nx"}"#;
        assert!(deliver(&desk, ours).unwrap().ignored.is_some());
        for (body, expected) in [
            (r#"{"sys_id":"a","short_description":"x"}"#, What::Opened),
            (r#"{"sys_id":"a","state":"6"}"#, What::Closed),
            (r#"{"sys_id":"a","state":7}"#, What::Closed),
            (r#"{"sys_id":"a","state":"6","event":"reopened"}"#, What::Reopened),
            (
                r#"{"sys_id":"a","event":"commented","comment":"x","author":"k"}"#,
                What::Commented { by: Some("k".into()), text: "x".into() },
            ),
        ] {
            assert_eq!(deliver(&desk, body).unwrap().incoming[0].what, expected, "{body}");
        }
        for wrong in ["{}", r#"{"sys_id":"a","event":"?"}"#, "<html>"] {
            assert!(matches!(deliver(&desk, wrong), Err(Refused::Unreadable(_))), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_verdict_is_a_work_note_and_says_text() {
        for title in HOSTILE {
            let service = Service::start(&[WRITTEN]).await;
            let outcome = annotate(&servicenow(&service.url), &action(ActionKind::Note, "57af", title), 0).await;
            assert_eq!(outcome, Outcome::DELIVERED, "{title:?}");
            let [asked] = &service.asked()[..] else { panic!("one request") };
            assert_eq!(asked.line, "PATCH /api/now/table/incident/57af?sysparm_fields=sys_id HTTP/1.1");
            let body = asked.json();
            let note = body["work_notes"].as_str().unwrap();
            assert!(is_own_note(note) && !note.contains(['\u{1b}', '\u{202e}', '\0', '\r']), "{note:?}");
            assert_eq!((&body["u_verdict"], body.get("comments")), (&json!("doubtful"), None));
        }
    }

    #[tokio::test]
    async fn a_reply_is_a_comment_what_is_there_is_not_repeated_and_failures_are_what_they_are() {
        let mut reply = action(ActionKind::Reply, "57af", "x");
        reply.facts = json!({ "summary": "We are looking into it." });
        let service = Service::start(&[(200, "", r#"{"result":[]}"#), WRITTEN]).await;
        assert_eq!(annotate(&servicenow(&service.url), &reply, 1).await, Outcome::DELIVERED);
        let asked = service.asked();
        assert!(asked[0].line.contains("sysparm_query=element_id%3D57af%5EvalueLIKE%5Bhouston"), "{}", asked[0].line);
        assert!(asked[1].json()["comments"].is_string() && asked[1].json().get("work_notes").is_none());
        let service = Service::start(&[(200, "", r#"{"result":[{"sys_id":"j"}]}"#)]).await;
        assert_eq!(annotate(&servicenow(&service.url), &reply, 1).await, Outcome::DELIVERED);
        assert_eq!(service.asked().len(), 1, "nothing was written");
        let service = Service::start(&[(403, "", "{}"), WRITTEN]).await;
        assert_eq!(annotate(&servicenow(&service.url), &reply, 1).await, Outcome::DELIVERED);

        for (answer, is_retried) in [
            ((200, "Content-Type: text/html\r\n", "<html>Your instance is hibernating</html>"), true),
            ((429, "Retry-After: 7\r\n", "{}"), true),
            ((500, "", ""), true),
            ((200, "", "{}"), true),
            ((401, "", "{}"), false),
            ((404, "", "{}"), false),
        ] {
            let service = Service::start(&[answer]).await;
            let outcome = annotate(&servicenow(&service.url), &reply, 0).await;
            assert_eq!(matches!(outcome, Outcome::Retry { .. }), is_retried, "{answer:?}: {outcome:?}");
            assert_eq!(matches!(outcome, Outcome::Rejected { .. }), !is_retried, "{answer:?}: {outcome:?}");
        }
    }
}
