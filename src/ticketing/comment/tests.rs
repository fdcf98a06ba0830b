//! What the tests of every tracker stand on.

use super::*;
use crate::model::letter::hostile::HOSTILE;
use crate::ticketing::Desk;
use crate::ticketing::tests::wires;

pub(in crate::ticketing) fn now() -> Timestamp {
    Timestamp::from_second(1_795_000_000).unwrap()
}

/// A verdict on a ticket with this title, for those who work on it.
pub(in crate::ticketing) fn note(id: &str, title: &str) -> Action {
    let facts = serde_json::json!({
        "verdict": "no_issue", "probability": 0.02, "reasons": [title],
        "ticket": { "number": "T-7", "title": title, "customer": title },
        "findings": [{ "outcome": "bad", "check": "checkout", "look": "internal", "reproduce": title,
                       "failed": [{ "that": "status = 200", "actual": title }] }],
    });
    Action::new(7, 1, ActionKind::Note, "ticketing:desk", id, facts, now())
}

/// A verdict in customer-safe words.
pub(in crate::ticketing) fn safe_note(id: &str) -> Action {
    let facts = serde_json::json!({ "summary": "T-7: we are looking into it further.", "verdict": "doubtful", "customer_safe": true });
    Action::new(7, 1, ActionKind::Note, "ticketing:desk", id, facts, now())
}

pub(in crate::ticketing) fn reply(id: &str, text: &str) -> Action {
    let facts = serde_json::json!({ "summary": text, "ticket": { "number": "T-7" } });
    Action::at_occasion(7, 1, ActionKind::Reply, "ticketing:desk", id, "first reply", facts, now())
}

/// One attempt at an action.
pub(in crate::ticketing) async fn attempt(desk: &Desk, action: &Action, previous: Option<&str>, tries: u32) -> Outcome {
    let message = Message { action, previous, tries, now: now(), links: None };
    desk.system.annotate(message, &wires()).await
}

/// The reasons of an outcome that is none.
pub(in crate::ticketing) fn why(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Retry { why, .. } | Outcome::Rejected { why } => why,
        Outcome::Delivered { .. } => panic!("it was delivered"),
    }
}

/// Hostile notes and replies, and what a system makes of each.
pub(in crate::ticketing) fn hostile(id: &str) -> Vec<Action> {
    HOSTILE.iter().flat_map(|text| [note(id, text), reply(id, text)]).collect()
}

/// Panics where anything but our own markup is in it.
pub(in crate::ticketing) fn holds_only_text(medium: Medium, written: &str) {
    for c in written.chars() {
        assert!(c == '\n' || c == '\u{200b}' || !crate::model::encode::is_unprintable(c), "{c:?} in {written:?}");
    }
    let mut left = written.to_owned();
    if medium != Medium::Jira {
        let start = left.find("<!-- houston").expect("its marker");
        left.truncate(start);
    }
    match medium {
        Medium::Html => {
            for ours in ["p", "b", "ul", "li", "pre", "code"] {
                left = left.replace(&format!("<{ours}>"), "").replace(&format!("</{ours}>"), "");
            }
            assert!(!left.contains('<') && !left.contains('>'), "{left}");
        }
        Medium::Markdown => {
            // What stands between fences is shown as it is.
            let outside: Vec<&str> = left.split("\n```").step_by(2).collect();
            let outside = outside.concat();
            for bad in ["<", "](", "![", "@o", "@e", "@c", "#1"] {
                assert!(!outside.contains(bad), "{bad}: {outside}");
            }
        }
        Medium::Jira => {
            let outside: String = left.split("{noformat}").step_by(2).collect();
            for bad in ["[~", "{code}", "!http", "|http"] {
                let found = outside.match_indices(bad).any(|(at, _)| !outside[..at].ends_with('\\'));
                assert!(!found, "{bad}: {outside}");
            }
        }
        Medium::Plain | Medium::Slack => {}
    }
}

#[test]
fn what_waited_or_failed_may_stand_there() {
    let action = note("1", "x");
    let later = |seconds| now().checked_add(SignedDuration::from_secs(seconds)).unwrap();
    for (tries, seconds, expected) in [(0, 0, false), (0, 5, false), (0, 6, true), (1, 0, true)] {
        let message = Message { action: &action, previous: None, tries, now: later(seconds), links: None };
        assert_eq!(may_stand_there(&message), expected, "{tries} {seconds}");
    }
}
