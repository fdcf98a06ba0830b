//! `teams`: Adaptive Cards to a channel or chat of Microsoft Teams, through a workflow's webhook.
//!
//! The connectors of Office 365, and their incoming webhooks, are gone; what takes their place is the trigger "When a
//! Teams webhook request is received" of the Workflows app (Power Automate), which posts the cards of the body:
//! <https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using>. Text from
//! outside stands in `TextRun`s, which know no markup (<https://adaptivecards.io/explorer/TextRun.html>).

use std::path::PathBuf;
use std::sync::Arc;

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Channel, ChannelKind};
use crate::model::delivery::{Message, Outcome};
use crate::model::encode;
use crate::model::letter::{Letter, Part, Severity};
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::net::http::TlsOptions;
use crate::net::outgoing::{Call, Sending, Wires, secret_url};
use crate::yaml;

pub static TEAMS: ChannelKind = ChannelKind {
    name: "teams",
    summary: "cards to a channel of Microsoft Teams, through a workflow's webhook",
    docs: "Keys: `url` (a workflow's, as a secret: `{ env: NAME }` or `{ file: path }`; in Teams, the channel's \
           Workflows → \"Send webhook alerts to a channel\" makes one), `ca` (PEM file of roots to trust instead of the \
           system's). The webhooks of Office 365's connectors are retired, and aren't spoken to. \
           Each message is one Adaptive Card, with links as buttons, and ends with the ticket and the beginning of its \
           key. A workflow can neither change what it posted nor answer in a thread, and tells no repetition: what is sent \
           again since nobody knew whether it had arrived is there twice, with the same key. 202 says that the workflow \
           was started, not that the card is shown. \
           2xx is delivered; 408, 425, 429, 5xx and silence are tried again; any other status is a refusal. \
           What is longer than 20,000 bytes is cut, and says so (Teams takes about 28 KB).",
    example: "{ url: { env: TEAMS_WORKFLOW_URL } }",
    read: |node| Ok(Arc::new(read(node)?)),
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    url: SecretRef,
    #[serde(default)]
    ca: Option<PathBuf>,
}

/// A workflow of Teams.
#[derive(Debug)]
pub struct Teams {
    url: SecretRef,
    tls: Arc<TlsOptions>,
}

fn read(node: &yaml::Node) -> Result<Teams, Diagnostic> {
    let declared: Declared = node.read()?;
    Ok(Teams { url: declared.url, tls: Arc::new(TlsOptions { ca: declared.ca, ..TlsOptions::default() }) })
}

/// Teams takes about 28 KB with all that it adds; others found 21,000 bytes to be what works.
const LONGEST: usize = 20_000;

impl Teams {
    async fn post(&self, message: Message<'_>, wires: &Wires) -> Result<Outcome, Outcome> {
        let url = secret_url(&self.url, wires)?;
        let letter = Letter::of(message.action, message.links);
        let card = card(&letter.fitted(|letter| card(letter).to_string().len() <= LONGEST));
        let answer =
            Call::get(url).with_json(Method::POST, card, wires).tls(&self.tls).send(message.now, wires).await?;
        // A workflow answers 202 and nothing, or an ID; a page is somebody else's.
        match answer.body.trim_ascii_start().first() {
            Some(b'<') => Err(Outcome::retry("it answered with a page, not as a workflow does")),
            _ => Ok(Outcome::DELIVERED),
        }
    }
}

impl Channel for Teams {
    fn send<'a>(&'a self, message: Message<'a>, wires: &'a Wires) -> Sending<'a> {
        Box::pin(async move { self.post(message, wires).await.unwrap_or_else(|failed| failed) })
    }

    fn secrets(&self) -> Vec<SecretRef> {
        vec![self.url.clone()]
    }
}

/// The message with its card.
fn card(letter: &Letter) -> Value {
    let color = match letter.severity {
        Severity::Critical => "Attention",
        Severity::Warning => "Warning",
        Severity::Info => "Default",
    };
    let headline = json!({ "type": "TextRun", "text": shown(&letter.headline), "weight": "Bolder", "size": "Medium",
        "color": color });
    let mut body = vec![block(vec![headline], "Default")];
    let mut actions = Vec::new();
    for part in &letter.parts {
        match part {
            Part::Field { name, value } => {
                body.push(block(vec![bold(&format!("{name}: ")), run(&shown(value))], "Small"));
            }
            Part::List { name, items } => {
                body.push(block(vec![bold(name)], "Default"));
                for item in items {
                    body.push(block(vec![run(&format!("• {}", shown(&item.text)))], "None"));
                    let lines = item.code.as_deref().map(encode::terminal_lines).unwrap_or_default();
                    body.extend(lines.lines().map(|line| block(vec![code(&shown(line))], "None")));
                }
            }
            Part::Link { title, url } => {
                actions.push(json!({ "type": "Action.OpenUrl", "title": shown(title), "url": url }));
            }
        }
    }
    body.push(block(
        vec![json!({ "type": "TextRun", "text": letter.mark(), "isSubtle": true, "size": "Small" })],
        "Small",
    ));
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "msteams": { "width": "Full" },
                "fallbackText": shown(&letter.headline),
                "body": body,
                "actions": actions,
            },
        }],
    })
}

fn block(runs: Vec<Value>, spacing: &str) -> Value {
    json!({ "type": "RichTextBlock", "spacing": spacing, "inlines": runs })
}

fn run(text: &str) -> Value {
    json!({ "type": "TextRun", "text": text })
}

fn bold(text: &str) -> Value {
    json!({ "type": "TextRun", "text": text, "weight": "Bolder" })
}

fn code(line: &str) -> Value {
    json!({ "type": "TextRun", "text": line, "fontType": "Monospace" })
}

/// Text of one line. Clients fill in dates where a text says `{{DATE(…)}}`, and templates where it says `${…}`.
fn shown(text: &str) -> String {
    encode::terminal(text).replace("{{", "{ {").replace("${", "$ {")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::action::ActionKind;
    use crate::model::letter::hostile::HOSTILE;
    use crate::response::loopback::{Answer, Asked, Chat, Service, action, is_rejected, is_retry, long_action};

    /// A workflow: takes cards by a signed URL.
    fn workflow(asked: &Asked) -> Answer {
        if !asked.line.starts_with("POST /workflows/0a1b/triggers/manual/paths/invoke?") || !asked.line.contains("sig=")
        {
            return (401, None, json!({ "error": { "code": "DirectApiAuthorizationRequired" } }).to_string());
        }
        let body = asked.json();
        let card = &body["attachments"][0];
        let fits = body["type"] == "message"
            && card["contentType"] == "application/vnd.microsoft.card.adaptive"
            && card["content"]["type"] == "AdaptiveCard"
            && asked.body.len() < 21_000;
        if fits { (202, None, String::new()) } else { (400, None, "TriggerInputSchemaMismatch".to_owned()) }
    }

    fn chat(service: &Service) -> Chat {
        let path = "workflows/0a1b/triggers/manual/paths/invoke?api-version=1&sig=in-the-query-is-the-secret";
        let url = format!("{}/{path}", service.url);
        Chat::new("{ teams: { url: { env: URL } } }", &[("URL", &url)])
    }

    /// Every text of the card, and the addresses of its buttons.
    fn texts(body: &Value) -> (Vec<String>, Vec<String>) {
        let content = &body["attachments"][0]["content"];
        let mut texts = Vec::new();
        for block in content["body"].as_array().unwrap() {
            assert_eq!(block["type"], "RichTextBlock", "a TextBlock would read Markdown: {block}");
            for run in block["inlines"].as_array().unwrap() {
                assert_eq!((run["type"].as_str(), &run["selectAction"]), (Some("TextRun"), &Value::Null));
                texts.push(run["text"].as_str().unwrap().to_owned());
            }
        }
        let urls = content["actions"].as_array().unwrap();
        (texts, urls.iter().map(|action| action["url"].as_str().unwrap().to_owned()).collect())
    }

    #[tokio::test]
    async fn a_card_says_all_and_links_are_its_buttons() {
        let service = Service::start(workflow).await;
        let page = action(ActionKind::Page, 1, "checkout fails");
        assert_eq!(chat(&service).send(&page, None, 0).await, Outcome::DELIVERED);
        let asked = service.asked();
        assert_eq!(asked.len(), 1);
        let (texts, urls) = texts(&asked[0].json());
        assert_eq!(texts[0], "checkout fails");
        assert_eq!(urls, ["https://houston.example.com/t/T-7", "https://houston.example.com/ack/one-time"]);
        assert!(texts.last().unwrap().contains(&page.key[..12]));
    }

    #[tokio::test]
    async fn what_a_workflow_answers_is_understood() {
        let page = action(ActionKind::Page, 1, "checkout fails");
        for (status, after, body, retried) in [
            (429, Some("12"), "", Some(Some(12))),
            (500, None, "", Some(None)),
            (200, None, "<html>sign in</html>", Some(None)),
            (401, None, "DirectApiAuthorizationRequired", None),
            (400, None, "TriggerInputSchemaMismatch", None),
            (404, None, "WorkflowNotFound", None),
        ] {
            let service = Service::start(move |_| (status, after, body.to_owned())).await;
            let outcome = chat(&service).send(&page, None, 0).await;
            match retried {
                Some(after) => assert!(is_retry(&outcome, after), "{status}: {outcome:?}"),
                None => assert!(is_rejected(&outcome, body), "{status}: {outcome:?}"),
            }
            assert!(!format!("{outcome:?}").contains("in-the-query"), "{outcome:?}");
        }
    }

    #[tokio::test]
    async fn hostile_text_stays_text() {
        let service = Service::start(workflow).await;
        let chat = chat(&service);
        for text in HOSTILE {
            assert_eq!(chat.send(&action(ActionKind::Page, 1, text), None, 0).await, Outcome::DELIVERED);
            let asked = service.asked();
            assert_eq!(asked.len(), 1, "{text:?}");
            let (texts, urls) = texts(&asked[0].json());
            assert!(urls.iter().all(|url| url.starts_with("https://houston.example.com/")), "{urls:?}");
            for text in texts {
                assert!(!text.chars().any(encode::is_unprintable), "{text:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_long_story_is_cut_and_says_so() {
        let service = Service::start(workflow).await;
        assert_eq!(chat(&service).send(&long_action(ActionKind::Page), None, 0).await, Outcome::DELIVERED);
        let (texts, urls) = texts(&service.asked()[0].json());
        assert!(texts.iter().any(|text| text.contains("the rest is in Houston")) && urls.len() == 2);
    }
}
