//! What a letter says, and that nobody's text becomes markup.

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn action(kind: ActionKind, facts: Value) -> Action {
    Action::new(7, 1, kind, "chat", "ops", facts, Timestamp::UNIX_EPOCH)
}

fn issue(title: &str) -> Value {
    json!({ "verdict": "issue", "probability": 0.97, "ticket": { "title": title, "customer": "acme", "services": ["checkout"] },
        "scope": "customer", "reasons": ["proof: buy failed 3 of 3"],
        "findings": [{ "check": "buy", "look": "use_case", "outcome": "bad", "failed": [{ "that": "status == 200", "actual": "status is 502" }],
            "reproduce": "curl -sS https://shop.example.com/" }, { "check": "page", "look": "external", "outcome": "good" }] })
}

#[test]
fn a_letter_says_what_a_responder_needs() {
    let links = Links::new("https://houston.example.com/");
    let letter = Letter::of(&action(ActionKind::Announce, issue("checkout fails")), Some(&links));
    assert_eq!(letter.severity, Severity::Critical);
    let text = letter.write(Medium::Plain);
    for part in [
        "T-7: issue - checkout fails",
        "Verdict: issue (score 97 %)",
        "Customer: acme",
        "- proof: buy failed 3 of 3",
        "- BAD buy (use case): expected status == 200, status is 502",
        "    curl -sS https://shop.example.com/",
        "T-7 in Houston: https://houston.example.com/t/T-7",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(!text.contains("page"), "what was good is left to the case: {text}");
}

#[test]
fn a_reply_says_its_text_and_nothing_besides() {
    let mut facts = issue("x");
    facts["summary"] = "We are looking into it.".into();
    let letter = Letter::of(&action(ActionKind::Reply, facts), None);
    assert_eq!(letter.body(Medium::Plain), "");
    assert_eq!(letter.head(Medium::Plain), "We are looking into it.");
}

#[test]
fn what_a_ticket_says_becomes_no_markup() {
    for (medium, hostile, inert) in [
        (
            Medium::Slack,
            "<!channel> <@U1> <http://evil|runbook>",
            "&lt;!channel&gt; &lt;@U1&gt; &lt;http://evil|runbook&gt;",
        ),
        (Medium::Html, "<script>alert('1')</script>\"", "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&quot;"),
        (Medium::Markdown, "![x](http://t) @all", "\\!\\[x\\]\\(http://t\\) @\u{200b}all"),
        (Medium::Jira, "{code}!img! [~admin]", "\\{code\\}\\!img\\! \\[\\~admin\\]"),
        (Medium::Plain, "a\r\nb\u{1b}[2J", "a\\u{d} b\\u{1b}[2J"),
    ] {
        assert_eq!(medium.text(hostile), inert, "{medium:?}");
        let letter = Letter::of(&action(ActionKind::Announce, issue(hostile)), None);
        assert!(letter.write(medium).contains(inert), "{medium:?}");
    }
}

#[test]
fn hostile_texts_are_inert_in_every_medium() {
    for text in hostile::HOSTILE {
        for medium in Medium::ALL {
            let letter = Letter::of(&action(ActionKind::Announce, issue(text)), None);
            let written = letter.write(medium);
            assert!(
                !written.chars().any(|c| c != '\n' && c != '\u{200b}' && encode::is_unprintable(c)),
                "{medium:?} {text:?}"
            );
            let encoded = medium.text(text);
            let forbidden: &[&str] = match medium {
                Medium::Plain => &["\n"],
                Medium::Slack | Medium::Html => &["<", ">", "\n"],
                Medium::Markdown => &["<", "](", "@e", "@c", "@a", "@h", "@o", "#1", "\n", " ```", " !["],
                Medium::Jira => &["\n", " {code", " !http", " [~", "a|h"],
            };
            for forbidden in forbidden {
                assert!(!encoded.contains(forbidden), "{medium:?} {text:?}: {encoded:?} holds {forbidden:?}");
            }
        }
    }
}

#[test]
fn no_code_ends_its_own_block() {
    let hostile = "a ``` b\n{noformat}\n</pre>\n````";
    assert!(Medium::Markdown.code(hostile).starts_with("\n`````text\n"));
    assert_eq!(Medium::Slack.code(hostile).matches("```").count(), 2);
    assert_eq!(Medium::Jira.code(hostile).matches("{noformat}").count(), 2);
    assert_eq!(Medium::Html.code(hostile).matches("</pre>").count(), 1);
}

proptest! {
    #[test]
    fn a_text_is_one_line_without_controls_in_every_medium(text in "\\PC*|.*") {
        for medium in Medium::ALL {
            let encoded = medium.text(&text).replace('\u{200b}', "");
            prop_assert!(!encoded.chars().any(encode::is_unprintable), "{:?}", medium);
        }
        prop_assert!(!Medium::Html.text(&text).contains(['<', '>', '"']));
        prop_assert!(!Medium::Slack.text(&text).contains(['<', '>']));
    }
}
