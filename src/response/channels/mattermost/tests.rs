//! Against a service that answers as Mattermost does.

use super::*;
use crate::model::action::ActionKind;
use crate::model::letter::hostile::HOSTILE;
use crate::response::loopback::{Answer, Asked, Chat, Service, action, is_rejected, is_retry, long_action, receipt};

const TOKEN: &str = "hyr5dmb1mbb49c44qmx4whniso";
const CHANNEL: &str = "qmd5oqtwoibz8cuzxzg5ekshgr";
const POST: &str = "k4m7s1ps7bgr5f5nmw1mzs6gyh";

/// A server with one channel, one token and one post.
fn mattermost(asked: &Asked) -> Answer {
    let error = |status: u16, id: &str| (status, None, json!({ "id": id, "status_code": status }).to_string());
    if asked.header("authorization") != format!("Bearer {TOKEN}") {
        return error(401, "api.context.session_expired.app_error");
    }
    let body = asked.json();
    let (method, path) = asked.line.split_once(' ').unwrap();
    let path = path.split('?').next().unwrap();
    match (method, path) {
        ("POST", "/api/v4/posts") => {
            assert!(body["message"].as_str().unwrap().chars().count() <= 16_383);
            match body["root_id"].as_str() {
                Some(root) if root != POST => error(400, "api.post.create_post.root_id.app_error"),
                _ if body["channel_id"] != CHANNEL => error(403, "api.context.permissions.app_error"),
                _ => (201, None, json!({ "id": POST, "channel_id": CHANNEL }).to_string()),
            }
        }
        ("PUT", path) if path == format!("/api/v4/posts/{POST}/patch") => {
            (200, None, json!({ "id": POST, "message": body["message"] }).to_string())
        }
        ("PUT", _) => error(404, "app.post.get.app_error"),
        ("GET", path) if path == format!("/api/v4/channels/{CHANNEL}/posts") => {
            (200, None, json!({ "order": [], "posts": {} }).to_string())
        }
        other => panic!("{other:?}"),
    }
}

fn bot(service: &Service, channel: &str) -> Chat {
    let declared =
        format!("{{ mattermost: {{ server: \"{}\", token: {{ env: TOKEN }}, channel: {channel} }} }}", service.url);
    Chat::new(&declared, &[("TOKEN", TOKEN)])
}

fn hook(service: &Service) -> Chat {
    let url = format!("{}/hooks/in-the-path-is-the-secret", service.url);
    Chat::new("{ mattermost: { url: { env: URL } } }", &[("URL", &url)])
}

#[tokio::test]
async fn a_webhook_gets_one_text() {
    let service = Service::start(|_| (200, None, "ok".to_owned())).await;
    let action = action(ActionKind::Escalate, 1, "checkout fails");
    assert_eq!(hook(&service).send(&action, None, 0).await, Outcome::DELIVERED);
    let asked = service.asked();
    assert_eq!((asked.len(), asked[0].line.as_str()), (1, "POST /hooks/in-the-path-is-the-secret"));
    let body = asked[0].json();
    let text = body["text"].as_str().unwrap();
    for part in ["**checkout fails**", "(https://houston.example.com/t/T-7)", &action.key[..12]] {
        assert!(text.contains(part), "{text}");
    }
}

#[tokio::test]
async fn a_bot_changes_its_verdict_and_answers_in_its_thread() {
    let service = Service::start(mattermost).await;
    let chat = bot(&service, CHANNEL);
    let first = receipt(&chat.send(&action(ActionKind::Announce, 1, "no issue"), None, 0).await).to_owned();
    assert_eq!(first, format!("announce {POST}"));
    assert_eq!(service.asked()[0].json()["root_id"], Value::Null);

    assert_eq!(receipt(&chat.send(&action(ActionKind::Announce, 2, "an issue"), Some(&first), 0).await), first);
    let changed = service.asked().remove(0);
    assert_eq!(changed.line, format!("PUT /api/v4/posts/{POST}/patch"));
    assert!(changed.json()["message"].as_str().unwrap().starts_with("**an issue**"));

    assert_eq!(receipt(&chat.send(&action(ActionKind::Page, 2, "an issue"), Some(&first), 0).await), first);
    assert_eq!(service.asked()[0].json()["root_id"], POST);

    for kind in [ActionKind::Announce, ActionKind::Page] {
        let outcome = chat.send(&action(kind, 3, "an issue"), Some("announce 0000000000gone0000000000ab"), 0).await;
        assert_eq!(receipt(&outcome), format!("{} {POST}", kind.name()), "it is said anew");
        assert_eq!(service.asked().len(), 2);
    }
}

#[tokio::test]
async fn a_post_whose_end_is_unknown_is_looked_up_by_its_key() {
    let action = action(ActionKind::Page, 1, "checkout fails");
    let key = action.key.clone();
    let service = Service::start(move |asked| {
        assert!(asked.line.starts_with(&format!("GET /api/v4/channels/{CHANNEL}/posts?since=17")), "{}", asked.line);
        let posts = json!({ "a1": { "id": "a1", "props": {} }, "b2": { "id": "b2", "props": { "houston_key": key } } });
        (200, None, json!({ "order": ["b2", "a1"], "posts": posts }).to_string())
    })
    .await;
    assert_eq!(receipt(&bot(&service, CHANNEL).send(&action, None, 1).await), "page b2");
    let service = Service::start(mattermost).await;
    assert_eq!(receipt(&bot(&service, CHANNEL).send(&action, None, 1).await), format!("page {POST}"));
    assert_eq!(service.asked().len(), 2, "looked for, then posted");
}

#[tokio::test]
async fn what_mattermost_answers_is_understood() {
    let page = action(ActionKind::Page, 1, "checkout fails");
    let service = Service::start(mattermost).await;
    assert!(is_rejected(&bot(&service, "0ther").send(&page, None, 0).await, "permissions"));
    for (status, after, body, retried) in [
        (429, Some("5"), "", Some(Some(5))),
        (500, None, "", Some(None)),
        (200, None, "<html>a proxy's page</html>", Some(None)),
        (201, None, "{}", Some(None)),
        (401, None, "{\"id\":\"api.context.session_expired.app_error\"}", None),
        (302, None, "", None),
    ] {
        let service = Service::start(move |_| (status, after, body.to_owned())).await;
        for outcome in [bot(&service, CHANNEL).send(&page, None, 0).await, hook(&service).send(&page, None, 0).await] {
            match retried {
                Some(after) => assert!(is_retry(&outcome, after), "{status} {body}: {outcome:?}"),
                None => assert!(is_rejected(&outcome, ""), "{status} {body}: {outcome:?}"),
            }
            assert!(!format!("{outcome:?}").contains("in-the-path"), "{outcome:?}");
        }
    }
}

#[tokio::test]
async fn hostile_text_stays_text() {
    let service = Service::start(mattermost).await;
    let chat = bot(&service, CHANNEL);
    for text in HOSTILE {
        receipt(&chat.send(&action(ActionKind::Page, 1, text), None, 0).await);
        let asked = service.asked();
        assert_eq!(asked.len(), 1, "{text:?}");
        let body = asked[0].json();
        let mut shown = body["message"].as_str().unwrap().to_owned();
        // What stands between fences is shown as it is.
        while let Some(open) = shown.find("\n```") {
            let fence: String = shown[open + 1..].chars().take_while(|c| *c == '`').collect();
            let inside = open + 1 + fence.len();
            let close = shown[inside..].find(&format!("\n{fence}\n")).unwrap_or_else(|| panic!("{shown}"));
            shown.replace_range(open..inside + close + fence.len() + 2, "");
        }
        for forbidden in ["<", "@e", "@c", "@a", "@h", "@o", "![", "\u{1b}", "\u{202e}", "\n#", "](http://evil"] {
            assert!(!shown.contains(forbidden), "{text:?} left {forbidden:?} in {shown}");
        }
    }
}

#[tokio::test]
async fn a_long_story_is_cut_and_says_so() {
    let service = Service::start(mattermost).await;
    receipt(&bot(&service, CHANNEL).send(&long_action(ActionKind::Page), None, 0).await);
    let body = service.asked()[0].json();
    let text = body["message"].as_str().unwrap();
    assert!(text.len() <= LONGEST && text.contains("the rest is in Houston") && text.contains("/t/T-7)"), "{text}");
}

#[test]
fn a_declaration_is_one_of_two() {
    for text in [
        "{}",
        "{ url: { env: A }, server: \"https://a\" }",
        "{ server: \"https://a\", token: { env: B } }",
        "{ server: \"https://a\", token: { env: B }, channel: town/square }",
        "{ server: \"ftp://a\", token: { env: B }, channel: C }",
    ] {
        let node = yaml::parse("houston.yaml", text).unwrap();
        assert!(read(&node).is_err(), "{text}");
    }
}
