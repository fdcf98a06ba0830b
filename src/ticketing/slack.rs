//! `slack`: a slash command, `/houston the checkout fails`, is a ticket.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{Answer, Hook, Incoming, Received, Refused, SystemKind, TicketSystem, What, check_keys, keys};
use crate::model::case::number_text;
use crate::model::delivery::{Message, Outcome};
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::model::text::Untrusted;
use crate::model::ticket::Report;
use crate::net::outgoing::{Sending, Wires};
use crate::net::signature::{Writing, verifies};
use crate::yaml;

pub static SLACK: SystemKind = SystemKind {
    name: "slack",
    summary: "a slash command of Slack",
    docs: "Keys: `secrets` (the app's signing secret, 1 to 3 of them, as `{ env: NAME }` or `{ file: path }`). \
           In Slack: an app with a slash command whose request URL is `https://…/hooks/NAME`. Its requests are signed: \
           `X-Slack-Signature: v0=hex(hmac-sha256(secret, \"v0:\" + timestamp + \":\" + body))`, with \
           `X-Slack-Request-Timestamp` at most 300 s off. \
           What is typed after the command is the ticket's text; reporter: the user. It is answered at once with the \
           ticket's number, which only who typed sees. By `fields`: `user_name`, `channel_name`, `team_domain`, `text` \
           and the other fields of the form. A command without words files nothing, and is told how to be used. \
           Nothing is written back: verdicts go to a channel over the channel kind `slack`.",
    example: "{ secrets: [{ env: HOUSTON_DESK_SECRET }] }",
    payload: "team_id=T0001&team_domain=example&channel_id=C2147483705&channel_name=support&user_id=U2147483697&user_name=kim&command=%2Fhouston&text=the+checkout+fails&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2F1234%2F5678&trigger_id=13345224609.738474920.8088930838d88f008e0",
    headers: &[],
    read: |node| Ok(Arc::new(read(node)?)),
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Slack {
    secrets: Vec<SecretRef>,
}

fn read(node: &yaml::Node) -> Result<Slack, Diagnostic> {
    let slack: Slack = node.read()?;
    check_keys(node.get("secrets").unwrap_or(node), &slack.secrets)?;
    Ok(slack)
}

impl TicketSystem for Slack {
    fn verify(&self, hook: &Hook<'_>, wires: &Wires) -> Result<(), Refused> {
        let keys = keys(&self.secrets, wires)?;
        let (timestamp, signature) = hook
            .header("x-slack-request-timestamp")
            .zip(hook.header("x-slack-signature").and_then(|signature| signature.strip_prefix("v0=")))
            .ok_or(Refused::NotSigned)?;
        if !verifies(&keys, &[b"v0:", timestamp.as_bytes(), b":", hook.body], signature, Writing::Hex) {
            return Err(Refused::NotSigned);
        }
        hook.is_recent(timestamp)
    }

    fn read(&self, hook: &Hook<'_>) -> Result<Received, Refused> {
        command(hook)
    }

    fn annotate<'a>(&'a self, _message: Message<'a>, _wires: &'a Wires) -> Sending<'a> {
        Box::pin(std::future::ready(Outcome::rejected("a command has no place for a note")))
    }

    fn takes_notes(&self) -> bool {
        false
    }

    fn answer(&self, hook: &Hook<'_>, _received: &Received, numbers: &[u64]) -> Option<Answer> {
        Some(answer(hook, numbers))
    }

    fn secrets(&self) -> Vec<SecretRef> {
        self.secrets.clone()
    }
}

/// A slash command as Slack and Mattermost post it.
pub(super) fn command(hook: &Hook<'_>) -> Result<Received, Refused> {
    let mut form = hook.form();
    let of = |name: &str| form.get(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    if of("ssl_check").is_some() {
        return Ok(Received::ignored("a check of the certificate"));
    }
    if of("command").is_none() {
        return Err(Refused::Unreadable("`command` is missing".to_owned()));
    }
    let Some(text) = of("text").filter(|text| text != "help") else {
        return Ok(Received::ignored("a command without words"));
    };
    // Each press of the key has one of its own, which is the same when it is sent again.
    let occasion = of("trigger_id").or_else(|| of("response_url"));
    let occasion = occasion.ok_or_else(|| Refused::Unreadable("`trigger_id` is missing".to_owned()))?;
    let id = Sha256::digest(occasion.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let report = Report {
        title: text.lines().next().map(Untrusted::from),
        reporter: of("user_name").or_else(|| of("user_id")).map(|name| Untrusted::bounded(name, 256)),
        text: Some(Untrusted::new(text)),
        ..Report::default()
    };
    // With these anybody could speak for us, or as us.
    for secret in ["token", "response_url", "trigger_id"] {
        form.remove(secret);
    }
    let incoming = Incoming { id, what: What::Opened, report, payload: json!(form) };
    Ok(Received { incoming: vec![incoming], ..Received::default() })
}

/// What who typed the command is shown.
pub(super) fn answer(hook: &Hook<'_>, numbers: &[u64]) -> Answer {
    let text = match numbers.first() {
        Some(number) => format!("{}: we are looking into it.", number_text(*number)),
        None if hook.form().contains_key("ssl_check") => String::new(),
        None => "Say what is wrong, for whom and since when, after the command.".to_owned(),
    };
    Answer { content_type: "application/json", body: json!({ "response_type": "ephemeral", "text": text }).to_string() }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::super::tests::{deliver, desk, hook, wires};
    use super::*;
    use crate::model::letter::hostile::HOSTILE;
    use crate::model::secret::Secret;
    use crate::net::signature::sign;

    const TEXT: &str = "{ secrets: [{ env: DESK_SECRET }] }";

    fn signed(key: &str, timestamp: &str, body: &str) -> HeaderMap {
        let parts: [&[u8]; 4] = [b"v0:", timestamp.as_bytes(), b":", body.as_bytes()];
        let signature = sign(&Secret::new(key.to_owned()), &parts, Writing::Hex).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("x-slack-request-timestamp", timestamp.parse().unwrap());
        headers.insert("x-slack-signature", format!("v0={signature}").parse().unwrap());
        headers
    }

    #[test]
    fn the_signature_is_the_one_that_slack_documents() {
        // The example of https://api.slack.com/authentication/verifying-requests-from-slack
        let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
        let headers = signed("8f742231b10e8888abcd99yyyzzz85a5", "1531420618", body);
        assert_eq!(
            headers["x-slack-signature"].to_str().unwrap(),
            "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
        );
    }

    #[test]
    fn only_what_slack_signed_now_is_taken_in() {
        let desk = desk("slack", TEXT);
        let (key, body, now) = ("desk-secret-0123456789", "command=%2Fh&text=x&trigger_id=1", "1795000000");
        for (headers, expected) in [
            (signed(key, now, body), Ok(())),
            (signed("other-secret-0123456789", now, body), Err(Refused::NotSigned)),
            (signed(key, now, "command=%2Fh&text=y"), Err(Refused::NotSigned)),
            (signed(key, "1794999000", body), Err(Refused::Stale)),
            (HeaderMap::new(), Err(Refused::NotSigned)),
        ] {
            assert_eq!(desk.system.verify(&hook(&headers, body.as_bytes()), &wires()), expected);
        }
    }

    #[test]
    fn a_command_is_a_ticket_and_is_answered_with_its_number() {
        let desk = desk("slack", TEXT);
        let headers = HeaderMap::new();
        let received = deliver(&desk, SLACK.payload).unwrap();
        let again = deliver(&desk, SLACK.payload).unwrap();
        assert_eq!(received, again, "the same press of the key");
        let other = deliver(&desk, &SLACK.payload.replace("trigger_id=1", "trigger_id=2")).unwrap();
        assert_ne!(received.incoming[0].id, other.incoming[0].id);
        for secret in ["hooks.slack.com", "13345224609"] {
            assert!(!format!("{received:?}").contains(secret), "{secret}");
        }
        let at = hook(&headers, SLACK.payload.as_bytes());
        let answer = desk.system.answer(&at, &received, &[7]).unwrap();
        assert_eq!(answer.body, r#"{"response_type":"ephemeral","text":"T-7: we are looking into it."}"#);
        for empty in ["command=%2Fh&text=&trigger_id=1", "command=%2Fh&text=help&trigger_id=1"] {
            let received = deliver(&desk, empty).unwrap();
            assert!(received.incoming.is_empty());
            assert!(
                desk.system
                    .answer(&hook(&headers, empty.as_bytes()), &received, &[])
                    .unwrap()
                    .body
                    .contains("Say what")
            );
        }
        assert!(deliver(&desk, "ssl_check=1&token=x").unwrap().ignored.is_some());
        for wrong in ["", "text=x", "command=%2Fh&text=x"] {
            assert!(matches!(deliver(&desk, wrong), Err(Refused::Unreadable(_))), "{wrong}");
        }
    }

    #[test]
    fn hostile_text_stays_text() {
        let desk = desk("slack", TEXT);
        let headers = HeaderMap::new();
        for text in HOSTILE {
            let body = url::form_urlencoded::Serializer::new(String::new())
                .extend_pairs([("command", "/h"), ("trigger_id", "1"), ("text", text)])
                .finish();
            let received = deliver(&desk, &body).unwrap();
            let ticket = desk.ticket(&received.incoming[0], hook(&headers, b"").now).unwrap();
            assert_eq!(ticket.text.raw(), text.trim());
            let answer = desk.system.answer(&hook(&headers, body.as_bytes()), &received, &[7]).unwrap();
            assert!(answer.body.contains("\"T-7: we are"), "only our own words: {}", answer.body);
        }
    }
}
