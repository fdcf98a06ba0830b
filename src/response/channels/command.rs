//! `command`: a program of one's own that takes the message, from the list of programs that may be run.
//!
//! No shell reads its arguments, and nothing of a ticket gets into them. The message is one JSON object in the environment
//! variable `HOUSTON_MESSAGE`, of at most 100,000 bytes (a kernel takes 131,072 for one variable): beyond, `facts` is left out.
//! Exit code 0 is delivered, 75 (`EX_TEMPFAIL` of sysexits.h) and an end by a signal or the clock are tried again, any other
//! code is a refusal.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Channel, ChannelKind};
use crate::model::case::number_text;
use crate::model::delivery::{Message, Outcome};
use crate::model::encode;
use crate::model::letter::{Letter, Medium};
use crate::model::source::Diagnostic;
use crate::net::outgoing::{Sending, Wires, struck};
use crate::net::process::{self, Bounds, Ended, NotRun, Program};
use crate::response::service::cut;
use crate::yaml::{self, Spanned};

pub static COMMAND: ChannelKind = ChannelKind {
    name: "command",
    summary: "a program of your own, from the list of programs that may be run",
    docs: "The value is a list: the program's absolute path, which must stand in `programs`, then its arguments, each as it is. \
           It runs with bounds (8 s, 512 MiB, no new privileges, an empty directory) and gets the message as a JSON \
           object in the environment variable HOUSTON_MESSAGE: `key` (the same for each repetition), `kind`, `ticket`, \
           `round`, `recipient`, `created_at`, `severity`, `thread`, `headline`, `text` (lines without control \
           characters), `link`, `previous` (the first line that it printed for this ticket's message before) and `facts` (as \
           of the webhook; left out beyond 100 kB). What is in them comes from outside: a shell script must quote it. \
           Exit code 0 is delivered; 75 (EX_TEMPFAIL), a signal or no end in 8 s are tried again; any other code is a refusal.",
    example: "[ /usr/local/lib/houston/notify, --pager ]",
    read: |node| Ok(Arc::new(read(node)?)),
};

/// How long it may run: less than an attempt, for its end takes a moment.
const RUNS: Duration = Duration::from_secs(8);
/// The longest message, in bytes.
const MESSAGE: usize = 100_000;
/// The longest text in it, in characters.
const TEXT: usize = 8_000;
const ARGUMENTS: usize = 128;
/// `EX_TEMPFAIL`
const TEMPORARY: i32 = 75;

/// A program and its arguments.
#[derive(Debug)]
pub struct Command {
    program: Spanned<PathBuf>,
    arguments: Vec<String>,
}

fn read(node: &yaml::Node) -> Result<Command, Diagnostic> {
    let declared: Vec<Spanned<String>> = node.read()?;
    let Some((program, arguments)) = declared.split_first() else {
        return Err(Diagnostic::error(node.span.clone(), "the command is empty")
            .hint("[ /usr/local/lib/houston/notify, --pager ]"));
    };
    let path = PathBuf::from(&program.value);
    let climbs = path.components().any(|part| matches!(part, std::path::Component::ParentDir));
    if !path.is_absolute() || climbs {
        return Err(Diagnostic::error(program.at.clone(), "a program is named by its absolute path"));
    }
    if arguments.len() > ARGUMENTS {
        return Err(Diagnostic::error(node.span.clone(), format!("more than {ARGUMENTS} arguments")));
    }
    if let Some(argument) = declared.iter().find(|argument| argument.value.contains('\0')) {
        return Err(Diagnostic::error(argument.at.clone(), "an argument can't hold a NUL"));
    }
    let arguments = arguments.iter().map(|argument| argument.value.clone()).collect();
    Ok(Command { program: Spanned { at: program.at.clone(), value: path }, arguments })
}

impl Command {
    async fn run(&self, message: Message<'_>, wires: &Wires) -> Result<Outcome, Outcome> {
        let declared = &self.program.value;
        // That it stands in `programs` is judged with the configuration; here, that it is still safe to run.
        let path = process::allowed(declared, std::slice::from_ref(declared));
        let path = path.map_err(|refused| Outcome::rejected(refused.to_string()))?;
        let env = vec![("HOUSTON_MESSAGE".to_owned(), written(message, wires))];
        let program = Program { path, called: Some(declared.clone()), args: self.arguments.clone(), env };
        let ran = process::run(&program, Bounds::default(), Instant::now() + RUNS).await;
        let ran = ran.map_err(|not_run| match not_run {
            NotRun::Refused { .. } => Outcome::rejected(not_run.to_string()),
            NotRun::Failed { .. } => Outcome::retry(not_run.to_string()),
        })?;
        let first = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
            cut(&encode::terminal(&wires.redactor.strike(line)), 200)
        };
        let said = [first(&ran.stderr), first(&ran.stdout)].into_iter().find(|said| !said.is_empty());
        let why = |what: String| said.map_or(what.clone(), |said| format!("{what}: {said}"));
        match ran.ended {
            Ended::Exit(0) => {
                Ok(Outcome::Delivered { receipt: Some(first(&ran.stdout)).filter(|line| !line.is_empty()) })
            }
            Ended::Exit(TEMPORARY) => Err(Outcome::retry(why(format!("exit code {TEMPORARY}")))),
            Ended::Exit(code) => Err(Outcome::rejected(why(format!("exit code {code}")))),
            Ended::Signal(signal) => Err(Outcome::retry(why(format!("ended by signal {signal}")))),
            Ended::TimedOut => Err(Outcome::retry(why(format!("not done after {} s", RUNS.as_secs())))),
        }
    }
}

impl Channel for Command {
    fn send<'a>(&'a self, message: Message<'a>, wires: &'a Wires) -> Sending<'a> {
        Box::pin(async move { self.run(message, wires).await.unwrap_or_else(|failed| failed) })
    }

    fn programs(&self) -> Vec<Spanned<PathBuf>> {
        vec![self.program.clone()]
    }
}

/// The message as the program gets it.
fn written(message: Message<'_>, wires: &Wires) -> String {
    let action = message.action;
    let letter = Letter::of(action, message.links);
    let mut fields = json!({
        "version": 1,
        "key": action.key,
        "kind": action.kind.name(),
        "ticket": number_text(action.ticket),
        "round": action.round,
        "recipient": encode::terminal(&action.recipient),
        "created_at": action.created_at.to_string(),
        "severity": letter.severity.name(),
        "thread": letter.thread,
        "headline": letter.head(Medium::Plain),
        "text": cut(&letter.body(Medium::Plain), TEXT),
        "link": message.links.map(|links| links.ticket(action.ticket)),
        "previous": message.previous,
        "facts": action.facts,
    });
    let whole = struck(fields.clone(), &wires.redactor).to_string();
    if whole.len() <= MESSAGE {
        return whole;
    }
    fields["facts"] = Value::Null;
    struck(fields, &wires.redactor).to_string()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::tests::{declare, wires};
    use super::*;
    use crate::model::action::ActionKind;
    use crate::model::letter::hostile::HOSTILE;
    use crate::model::secret::Secret;
    use crate::response::service::testing::{channel, message, named, told};

    /// A script in a directory of its own; root may run it, as its file can't be written by others.
    fn script(text: &str) -> (tempfile::TempDir, Arc<dyn Channel>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o555)).unwrap();
        let channel = channel(&format!("{{ command: [ {}, \"a b\", \"$(id)\" ] }}", path.display()));
        (directory, channel)
    }

    #[tokio::test]
    async fn the_message_arrives_whole_whatever_it_says() {
        let wires = wires();
        wires.redactor.learn(&Secret::new("hunter2hunter2".to_owned()));
        let (directory, channel) = script(
            "[ \"$1\" = 'a b' ] && [ \"$2\" = '$(id)' ] && [ $# = 2 ] || exit 9\nhere=${0%/*}\nprintf '%s\\n' \
             \"$HOUSTON_MESSAGE\" >> \"$here/got\"\necho receipt-7",
        );
        for title in HOSTILE.into_iter().chain(["hunter2hunter2"]) {
            let action = told(ActionKind::Page, "issue", title);
            let outcome = channel.send(message(&action), &wires).await;
            assert_eq!(outcome, Outcome::delivered_as("receipt-7"), "{title}");
            let got = std::fs::read_to_string(directory.path().join("got")).unwrap();
            std::fs::remove_file(directory.path().join("got")).unwrap();
            assert_eq!(got.lines().count(), 1, "{got}");
            let got: Value = serde_json::from_str(&got).unwrap();
            assert_eq!((&got["key"], &got["ticket"]), (&action.key.as_str().into(), &"T-7".into()));
            let headline = got["headline"].as_str().unwrap();
            assert!(
                headline.starts_with("T-7: issue") && !headline.chars().any(encode::is_unprintable),
                "{headline:?}"
            );
            assert!(!got.to_string().contains("hunter2"), "{got}");
            assert!(title.contains("hunter2") || got["facts"]["reporter"] == title, "{got}");
        }
        let mut large = told(ActionKind::Page, "issue", "slow");
        large.facts["more"] = "x".repeat(200_000).into();
        assert_eq!(named(&channel.send(message(&large), &wires).await), "delivered");
        let got = std::fs::read_to_string(directory.path().join("got")).unwrap();
        assert!(got.len() < MESSAGE && serde_json::from_str::<Value>(&got).unwrap()["facts"].is_null());
    }

    #[tokio::test]
    async fn what_an_end_means() {
        for (text, expected) in [
            ("exit 0", "delivered"),
            ("echo >&2 later; exit 75", "retry"),
            ("echo no; exit 1", "rejected"),
            ("exit 127", "rejected"),
            ("kill -9 $$", "retry"),
        ] {
            let (_directory, channel) = script(text);
            let action = told(ActionKind::Page, "issue", "slow");
            let outcome = channel.send(message(&action), &wires()).await;
            assert_eq!(named(&outcome), expected, "{text}: {outcome:?}");
        }
        let action = told(ActionKind::Page, "issue", "slow");
        let (directory, channel) = script("exit 0");
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(directory.path().join("notify"), open).unwrap();
        assert_eq!(named(&channel.send(message(&action), &wires()).await), "rejected", "anybody could have written it");
    }

    #[test]
    fn what_is_no_command_is_refused() {
        for text in ["[]", "[ notify ]", "[ /usr/../notify ]", "{ path: /bin/true }"] {
            assert!(declare(&format!("m: {{ command: {text} }}")).is_err(), "{text}");
        }
    }
}
