//! Commands: the only place that prints, reads the environment and the wall clock.

use std::io::{IsTerminal, Write};

use clap::Parser;

use crate::model::look::Outcome;
use crate::model::verdict::Decision;
use crate::net::capture;
use crate::report::style::Style;

mod args;
mod check;
mod context;
mod demo;
mod judge;
mod mail;
mod oncall;
mod progress;
mod serve;
mod ticket;
mod triage;
mod ways;
mod when;

use args::{Cli, Command, When};

/// How a command ended; Nagios-compatible, so that Houston can itself be a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// No issue, all fine.
    Fine,
    /// Doubtful, warnings.
    Doubtful,
    /// Issue, errors.
    Issue,
    /// Houston could not tell: no daemon, no usable checks, nothing answered.
    Unknown,
    Usage,
    /// What was handed in can't be read, and never will be: `EX_DATAERR` of sysexits.h.
    Unreadable,
    /// To be handed in again later: `EX_TEMPFAIL` of sysexits.h.
    Later,
    Interrupted,
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Exit::Fine => 0,
            Exit::Doubtful => 1,
            Exit::Issue => 2,
            Exit::Unknown => 3,
            Exit::Usage => 64,
            Exit::Unreadable => 65,
            Exit::Later => 75,
            Exit::Interrupted => 130,
        }
    }

    pub fn of(decision: Decision) -> Self {
        match decision {
            Decision::NoIssue => Exit::Fine,
            Decision::Doubtful => Exit::Doubtful,
            Decision::Issue => Exit::Issue,
        }
    }

    /// As a verdict's document says it: where nothing answered, Houston could not tell.
    pub fn of_verdict(verdict: &crate::model::verdict::Verdict) -> Self {
        let answered =
            verdict.findings.iter().any(|f| matches!(f.outcome, Outcome::Good | Outcome::Odd | Outcome::Bad));
        if answered { Exit::of(verdict.decision) } else { Exit::Unknown }
    }

    pub fn of_outcome(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Good => Exit::Fine,
            Outcome::Odd => Exit::Doubtful,
            Outcome::Bad => Exit::Issue,
            Outcome::Unknown | Outcome::NotApplicable => Exit::Unknown,
        }
    }

    /// The one with the higher code.
    pub fn graver(self, other: Exit) -> Exit {
        if other.code() > self.code() { other } else { self }
    }
}

/// Where a command prints, and how.
#[derive(Debug, Clone)]
pub struct Terminal {
    pub style: Style,
    /// How progress looks, on standard error.
    pub progress_style: Style,
    pub live: bool,
    pub json: bool,
}

impl Terminal {
    #[allow(clippy::disallowed_methods)] // the command line reads the environment
    fn new(common: &args::Common) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let locale =
            ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
        let utf8 = locale.as_ref().is_none_or(|locale| {
            let upper = locale.to_uppercase();
            upper.contains("UTF-8") || upper.contains("UTF8")
        });
        let colour = |is_terminal: bool| match common.color {
            When::Always => true,
            When::Never => false,
            When::Auto => is_terminal && !dumb && !no_color,
        };
        let (out, err) = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
        let width = terminal_size::terminal_size().map_or(100, |(width, _)| usize::from(width.0)).clamp(60, 160);
        let ascii = common.ascii || !utf8;
        Terminal {
            style: Style { colour: colour(out), ascii, width },
            progress_style: Style { colour: colour(err), ascii, width },
            // Who wants no colour has no use for codes that move the cursor either.
            live: err && !dumb && !no_color,
            json: common.json,
        }
    }

    /// One line (or block) on standard output. A closed pipe ends the output, not the command.
    pub fn line(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{text}");
    }

    /// One JSON document on standard output, in one line. What could move a cursor or turn text around, which JSON
    /// itself lets through, is escaped; with `--ascii` everything beyond ASCII is.
    pub fn document(&self, document: &impl serde::Serialize) -> anyhow::Result<()> {
        let text = serde_json::to_string(document)?;
        let mut out = String::with_capacity(text.len());
        for c in text.chars() {
            if (self.style.ascii && !c.is_ascii()) || crate::model::encode::is_unprintable(c) {
                // JSON has escapes of 16 bits only.
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            } else {
                out.push(c);
            }
        }
        self.line(&out);
        Ok(())
    }

    /// One line on standard error.
    pub fn note(&self, text: &str) {
        let mut err = std::io::stderr().lock();
        let _ = writeln!(err, "{text}");
    }
}

/// Runs the command line of this process.
pub fn main() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; clap's own exit code 2 would read as "issue".
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Fine };
        }
    };
    let terminal = Terminal::new(&cli.common);
    match run(&terminal, &cli) {
        Ok(exit) => exit,
        Err(error) => {
            terminal.note(&format!("houston: {}", crate::model::encode::terminal_lines(&format!("{error:#}"))));
            if error.is::<Mistyped>() { Exit::Usage } else { Exit::Unknown }
        }
    }
}

/// The time, in the zone of whoever types.
#[allow(clippy::disallowed_methods)] // the command line reads the clock
pub fn now() -> jiff::Zoned {
    jiff::Zoned::now()
}

/// The clock that the daemon is handed.
#[allow(clippy::disallowed_methods)] // the command line reads the clock
pub fn clock() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// What was typed can't be meant.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Mistyped(pub String);

fn run(terminal: &Terminal, cli: &Cli) -> anyhow::Result<Exit> {
    match &cli.command {
        Command::Judge { file } => judge::run(terminal, file),
        Command::Triage(args) => triage::run(terminal, cli, args),
        Command::Serve(args) => serve::run(terminal, cli, args),
        Command::Demo(args) => demo::run(terminal, cli, args),
        Command::Check(command) => check::run(terminal, cli, command),
        Command::Ticket(command) => ticket::run(terminal, cli, command),
        Command::Channel(command) => ways::channel(terminal, cli, command),
        Command::Ticketing(command) => ways::ticketing(terminal, cli, command),
        Command::Mail { desk } => Ok(mail::run(terminal, cli, desk)),
        Command::Show { what } => ticket::show(terminal, cli, what),
        Command::Status => ticket::status(terminal, cli),
        Command::Oncall { at } => oncall::run(terminal, cli, at.as_deref()),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut <Cli as clap::CommandFactory>::command(), "houston", &mut script);
            terminal.line(String::from_utf8_lossy(&script).trim_end());
            Ok(Exit::Fine)
        }
        Command::CaptureChild { interface, port, milliseconds } => {
            let duration = std::time::Duration::from_millis(u64::from(*milliseconds));
            terminal.line(&capture::child(&capture::Request { interface: interface.clone(), port: *port, duration }));
            Ok(Exit::Fine)
        }
    }
}
