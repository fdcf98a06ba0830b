//! `log`: one line of the daemon's own log per action. It needs nobody else, so it is the last way out.

use std::sync::Arc;

use serde::Deserialize;

use super::{Channel, ChannelKind};
use crate::model::case::number_text;
use crate::model::delivery::{Message, Outcome};
use crate::model::encode;
use crate::net::outgoing::{Sending, Wires};

/// The most of the facts that the line carries, in bytes.
const FACTS: usize = 4_096;

pub static LOG: ChannelKind = ChannelKind {
    name: "log",
    summary: "a line in the daemon's log",
    docs: "Writes each action as one line at level `warn` on the target `houston::action`, with its key, its ticket, \
           its recipient, a summary and the first 4 KiB of its facts as JSON. Text from outside is escaped: it can't \
           forge a line. It counts as delivered once it is handed over: where nobody reads the log's pipe, it waits there, and beyond 1,024 lines is dropped and counted. A channel `log` of this kind is always there. It has no keys.",
    example: "{}",
    read: |node| {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct NoKeys {}
        node.read::<NoKeys>()?;
        Ok(Arc::new(Log))
    },
};

#[derive(Debug)]
pub struct Log;

impl Channel for Log {
    fn send<'a>(&'a self, message: Message<'a>, wires: &'a Wires) -> Sending<'a> {
        let action = message.action;
        let shown = |text: &str| encode::terminal(&wires.redactor.strike(text));
        let summary = action.facts.get("summary").or_else(|| action.facts.get("verdict"));
        let mut facts = shown(&action.facts.to_string());
        if facts.len() > FACTS {
            let mut end = FACTS;
            while !facts.is_char_boundary(end) {
                end -= 1;
            }
            facts.truncate(end);
            facts.push('…');
        }
        tracing::warn!(
            target: "houston::action",
            key = %shown(&action.key),
            kind = action.kind.name(),
            ticket = %number_text(action.ticket),
            round = action.round,
            recipient = %shown(&action.recipient),
            summary = %shown(summary.and_then(|summary| summary.as_str()).unwrap_or_default()),
            %facts,
            "action"
        );
        Box::pin(std::future::ready(Outcome::DELIVERED))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Mutex;

    use jiff::Timestamp;

    use super::super::tests::wires;
    use super::*;
    use crate::model::action::{Action, ActionKind};
    use crate::model::secret::Secret;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn one_action_is_one_line_whatever_it_says() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let wires = wires();
        wires.redactor.learn(&Secret::new("hunter2hunter2".to_owned()));
        let hostile = "x\r\n2026-01-01 WARN forged\u{1b}[2J\u{2028}\u{202e} hunter2hunter2";
        let facts = serde_json::json!({ "summary": hostile, "long": "y".repeat(10_000) });
        let action = Action::new(7, 1, ActionKind::Escalate, "log", hostile, facts, Timestamp::UNIX_EPOCH);
        let guard = tracing::subscriber::set_default(subscriber);
        let message = Message { action: &action, previous: None, tries: 0, now: Timestamp::UNIX_EPOCH, links: None };
        assert_eq!(Log.send(message, &wires).await, Outcome::DELIVERED);
        drop(guard);
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("T-7") && text.contains(&action.key) && text.contains("WARN"), "{text}");
        assert!(!text.trim_end().chars().any(encode::is_unprintable) && !text.contains("hunter2"), "{text}");
        assert!(text.len() < 3 * FACTS);
    }
}
