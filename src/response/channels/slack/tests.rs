//! Against a service that answers as Slack does.

use super::*;
use crate::model::letter::hostile::HOSTILE;
use crate::response::loopback::{Answer, Asked, Chat, Service, action, is_rejected, is_retry, long_action, receipt};

const TOKEN: &str = "xoxb-1234567890-abcdef";

fn answer(body: Value) -> Answer {
    (200, None, body.to_string())
}

/// Slack's API: knows one channel and one token.
fn slack(asked: &Asked) -> Answer {
    if asked.header("authorization") != format!("Bearer {TOKEN}") {
        return answer(json!({ "ok": false, "error": "invalid_auth" }));
    }
    let body = asked.json();
    let channel = body["channel"].as_str().unwrap_or("");
    match asked.line.as_str() {
        "POST /api/chat.postMessage" | "POST /api/chat.update" if channel != "C0123" => {
            answer(json!({ "ok": false, "error": "channel_not_found" }))
        }
        "POST /api/chat.postMessage" => {
            answer(json!({ "ok": true, "channel": "C0123", "ts": "1503435956.000247", "message": {} }))
        }
        "POST /api/chat.update" if body["ts"] == "1503435956.000247" => {
            answer(json!({ "ok": true, "channel": "C0123", "ts": "1503435956.000247" }))
        }
        "POST /api/chat.update" => answer(json!({ "ok": false, "error": "message_not_found" })),
        "POST /api/conversations.history" => answer(json!({ "ok": false, "error": "missing_scope" })),
        other => panic!("{other}"),
    }
}

fn bot(service: &Service, channel: &str) -> Chat {
    let declared =
        format!("{{ slack: {{ token: {{ env: TOKEN }}, channel: {channel}, api: \"{}/api\" }} }}", service.url);
    Chat::new(&declared, &[("TOKEN", TOKEN)])
}

fn hook(service: &Service) -> Chat {
    let url = format!("{}/services/T000/B000/in-the-path-is-the-secret", service.url);
    Chat::new("{ slack: { url: { env: URL } } }", &[("URL", &url)])
}

/// Every text of the blocks.
fn texts(body: &Value) -> Vec<String> {
    let blocks = body["blocks"].as_array().unwrap();
    assert!(blocks.len() <= 50);
    blocks
        .iter()
        .map(|block| {
            let text = if block["type"] == "section" { &block["text"] } else { &block["elements"][0] };
            assert!(text["type"] == "plain_text" || text["verbatim"] == true, "{block}");
            let text = text["text"].as_str().unwrap();
            assert!(!text.is_empty() && text.chars().count() <= 3_000, "{text}");
            text.to_owned()
        })
        .collect()
}

#[tokio::test]
async fn a_webhook_gets_blocks_that_ring_nobody() {
    let service = Service::start(|_| (200, None, "ok".to_owned())).await;
    let chat = hook(&service);
    let action = action(ActionKind::Escalate, 1, "checkout fails");
    assert_eq!(chat.send(&action, None, 0).await, Outcome::DELIVERED);
    let asked = service.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].line, "POST /services/T000/B000/in-the-path-is-the-secret");
    let body = asked[0].json();
    assert_eq!((&body["link_names"], &body["parse"]), (&json!(false), &json!("none")));
    assert_eq!((&body["unfurl_links"], &body["unfurl_media"]), (&json!(false), &json!(false)));
    let texts = texts(&body).join("\n");
    for part in ["*checkout fails*", "<https://houston.example.com/t/T-7|T-7 in Houston>", "houston/T-7"] {
        assert!(texts.contains(part), "{texts}");
    }
    assert!(
        texts.contains("<https://houston.example.com/ack/one-time|Acknowledge>") && texts.contains(&action.key[..12])
    );
}

#[tokio::test]
async fn a_bot_changes_its_verdict_and_answers_in_its_thread() {
    let service = Service::start(slack).await;
    let chat = bot(&service, "C0123");
    let outcome = chat.send(&action(ActionKind::Announce, 1, "no issue"), None, 0).await;
    let first = receipt(&outcome).to_owned();
    let posted = service.asked().remove(0);
    assert_eq!(posted.line, "POST /api/chat.postMessage");
    let body = posted.json();
    assert_eq!((&body["channel"], &body["thread_ts"]), (&json!("C0123"), &Value::Null));
    assert_eq!((&body["unfurl_links"], &body["unfurl_media"]), (&json!(false), &json!(false)));

    let outcome = chat.send(&action(ActionKind::Announce, 2, "an issue"), Some(&first), 0).await;
    assert_eq!(receipt(&outcome), first);
    let updated = service.asked().remove(0);
    assert_eq!(updated.line, "POST /api/chat.update");
    assert_eq!(updated.json()["ts"], "1503435956.000247");
    assert!(texts(&updated.json())[0].contains("an issue"));

    let outcome = chat.send(&action(ActionKind::Page, 2, "an issue"), Some(&first), 0).await;
    assert_eq!(receipt(&outcome), first, "the thread stays the same");
    let body = service.asked().remove(0).json();
    assert_eq!((&body["thread_ts"], &body["reply_broadcast"]), (&json!("1503435956.000247"), &json!(true)));

    // Somebody deleted it: a new one is made.
    let gone = "announce C0123 1400000000.000001";
    let outcome = chat.send(&action(ActionKind::Announce, 3, "an issue"), Some(gone), 0).await;
    assert_eq!(receipt(&outcome), first);
    let lines: Vec<String> = service.asked().into_iter().map(|asked| asked.line).collect();
    assert_eq!(lines, ["POST /api/chat.update", "POST /api/chat.postMessage"]);
}

#[tokio::test]
async fn a_message_whose_end_is_unknown_is_looked_up_by_its_key() {
    let action = action(ActionKind::Page, 1, "checkout fails");
    let key = action.key.clone();
    let service = Service::start(move |asked| match asked.line.as_str() {
        "POST /api/conversations.history" => {
            assert!(asked.body.contains("include_all_metadata=true") && asked.body.contains("channel=C0123"));
            let metadata = json!({ "event_type": "houston_action", "event_payload": { "key": key } });
            answer(json!({ "ok": true, "messages": [{ "ts": "1.0" }, { "ts": "2.0", "metadata": metadata }] }))
        }
        other => panic!("{other}"),
    })
    .await;
    let chat = bot(&service, "C0123");
    assert_eq!(receipt(&chat.send(&action, None, 1).await), "page C0123 2.0");

    // Without the scope for it the message is repeated.
    let service = Service::start(slack).await;
    let chat = bot(&service, "C0123");
    assert_eq!(receipt(&chat.send(&action, None, 1).await), "page C0123 1503435956.000247");
    assert_eq!(service.asked().len(), 2);
}

#[tokio::test]
async fn what_slack_answers_is_understood() {
    let service = Service::start(slack).await;
    let page = action(ActionKind::Page, 1, "checkout fails");
    assert!(is_rejected(&bot(&service, "C9").send(&page, None, 0).await, "channel_not_found"));
    let declared = format!("{{ slack: {{ token: {{ env: TOKEN }}, channel: C0123, api: \"{}/api\" }} }}", service.url);
    let outcome = Chat::new(&declared, &[("TOKEN", "xoxb-of-yesterday")]).send(&page, None, 0).await;
    assert!(is_rejected(&outcome, "invalid_auth"), "{outcome:?}");

    for (status, after, body, retried) in [
        (200, None, "{\"ok\":false,\"error\":\"ratelimited\"}", Some(None)),
        (200, None, "{\"ok\":false,\"error\":\"internal_error\"}", Some(None)),
        (429, Some("30"), "{\"ok\":false,\"error\":\"ratelimited\"}", Some(Some(30))),
        (503, None, "", Some(None)),
        (200, None, "<html>a proxy's page</html>", Some(None)),
        (200, None, "{}", Some(None)),
        (200, None, "{\"ok\":false,\"error\":\"is_archived\"}", None),
        (401, None, "", None),
    ] {
        let service = Service::start(move |_| (status, after, body.to_owned())).await;
        let outcome = bot(&service, "C0123").send(&page, None, 0).await;
        match retried {
            Some(after) => assert!(is_retry(&outcome, after), "{status} {body}: {outcome:?}"),
            None => assert!(is_rejected(&outcome, ""), "{status} {body}: {outcome:?}"),
        }
    }
    for (status, body, retried) in
        [(200, "<html>", true), (500, "", true), (404, "no_service", false), (403, "action_prohibited", false)]
    {
        let service = Service::start(move |_| (status, None, body.to_owned())).await;
        let outcome = hook(&service).send(&page, None, 0).await;
        assert!(if retried { is_retry(&outcome, None) } else { is_rejected(&outcome, body) }, "{outcome:?}");
        assert!(!format!("{outcome:?}").contains("in-the-path"), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_webhook_that_is_not_there_is_tried_again_and_not_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/services/in-the-path-is-the-secret", listener.local_addr().unwrap());
    drop(listener);
    let chat = Chat::new("{ slack: { url: { env: URL } } }", &[("URL", &url)]);
    let outcome = chat.send(&action(ActionKind::Page, 1, "checkout fails"), None, 0).await;
    assert!(is_retry(&outcome, None) && !format!("{outcome:?}").contains("in-the-path"), "{outcome:?}");
    let chat = Chat::new("{ slack: { url: { env: URL } } }", &[("URL", "ftp://in-the-path-is-the-secret")]);
    let outcome = chat.send(&action(ActionKind::Page, 1, "checkout fails"), None, 0).await;
    assert!(is_retry(&outcome, None) && !format!("{outcome:?}").contains("in-the-path"), "{outcome:?}");
}

#[tokio::test]
async fn hostile_text_stays_text() {
    let service = Service::start(slack).await;
    let chat = bot(&service, "C0123");
    for text in HOSTILE {
        let outcome = chat.send(&action(ActionKind::Page, 1, text), None, 0).await;
        assert_eq!(receipt(&outcome), "page C0123 1503435956.000247");
        let asked = service.asked();
        assert_eq!(asked.len(), 1, "{text:?}");
        let body = asked[0].json();
        let shown = texts(&body).join("\n");
        let ours = shown.matches("<https://houston.example.com/").count();
        assert_eq!(shown.matches('<').count(), ours, "{text:?}: {shown}");
        assert_eq!(body["text"].as_str().unwrap().matches('<').count(), 0, "{text:?}");
        assert!(!shown.chars().any(|c| c != '\n' && crate::model::encode::is_unprintable(c)), "{text:?}: {shown}");
    }
}

#[tokio::test]
async fn a_long_story_is_cut_and_says_so() {
    let service = Service::start(slack).await;
    let chat = bot(&service, "C0123");
    receipt(&chat.send(&long_action(ActionKind::Page), None, 0).await);
    let shown = texts(&service.asked()[0].json()).join("\n");
    assert!(shown.contains("the rest is in Houston") && shown.contains("/t/T-7|"), "{shown}");
}

#[test]
fn a_declaration_is_one_of_two() {
    for text in [
        "{}",
        "{ url: { env: A }, token: { env: B }, channel: C }",
        "{ token: { env: B } }",
        "{ token: { env: B }, channel: \"\" }",
        "{ token: { env: B }, channel: C, api: \"ftp://a\" }",
    ] {
        let node = yaml::parse("houston.yaml", text).unwrap();
        assert!(read(&node).is_err(), "{text}");
    }
}
