//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Do we have an issue, or not? A ticket comes in, five looks are taken in parallel, a verdict with its evidence goes out.
#[derive(Debug, Parser)]
#[command(name = "houston", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 no issue / fine, 1 doubtful / warnings, 2 issue / errors, 3 could not tell, \
                        64 usage, 130 interrupted.\nFirst steps: houston demo")]
pub struct Cli {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Clone, Args)]
pub struct Common {
    /// The checks [default: ./checks.d, then /etc/houston/checks.d]
    #[arg(long, global = true, value_name = "DIR")]
    pub checks: Option<PathBuf>,
    /// The configuration [default: ./houston.yaml, then /etc/houston/houston.yaml]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A running daemon: http://HOST:PORT or unix:PATH
    #[arg(long, global = true, value_name = "URL")]
    pub server: Option<String>,
    /// The file with the token for --server over TCP [default: $HOUSTON_TOKEN_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Machine-readable output
    #[arg(long, global = true)]
    pub json: bool,
    /// When to colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: When,
    /// No characters beyond ASCII
    #[arg(long, global = true)]
    pub ascii: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum When {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Ask about one ticket, now; waits for the verdict
    Triage(Triage),
    /// The daemon: takes tickets over HTTP, gives verdicts, escalates
    Serve(Serve),
    /// See it work: a small shop with a real fault, and three tickets
    Demo(Demo),
    /// Write, validate and run checks
    #[command(subcommand)]
    Check(Check),
    /// Tickets of a running daemon
    #[command(subcommand)]
    Ticket(Ticket),
    /// Ways out: how people and programs are reached
    #[command(subcommand)]
    Channel(Channel),
    /// Ways in: the systems in which tickets live
    #[command(subcommand)]
    Ticketing(Ticketing),
    /// Hand a mail on standard input to a running daemon, as a mail server's pipe
    #[command(after_help = "Exit codes: 0 it is on disk, 75 try again later, 65 it can't be read, 64 usage.")]
    Mail {
        /// The ticket system of the kind `email`, by its name in the configuration
        #[arg(long, value_name = "NAME")]
        desk: String,
    },
    /// One piece of evidence of a running daemon, in full: T-1 or T-1#3
    Show {
        /// T-1, or T-1#3 for its third finding
        what: String,
    },
    /// Weigh evidence that was gathered elsewhere: a case, or an array of cases, as JSON
    Judge {
        /// A file, or - for standard input
        file: PathBuf,
    },
    /// Is the daemon well?
    Status,
    /// Who of each team is on call
    Oncall {
        /// At another time than now: "tomorrow 09:00", "2026-12-24 18:00", 2026-12-24T18:00:00Z
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
    },
    /// Completions for a shell
    Completions { shell: clap_complete::Shell },
    /// What the kind `capture` starts; it prints one line of counts
    #[command(hide = true)]
    CaptureChild {
        #[arg(long)]
        interface: String,
        #[arg(long)]
        port: u16,
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=30_000))]
        milliseconds: u32,
    },
}

#[derive(Debug, Args)]
pub struct Triage {
    /// What the customer says
    #[arg(required_unless_present = "file")]
    pub text: Option<String>,
    /// A ticket as JSON (- for standard input), as the API takes it
    #[arg(long, conflicts_with = "text", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The service, by its name in the catalog; may be repeated
    #[arg(long)]
    pub service: Vec<String>,
    #[arg(long)]
    pub customer: Option<String>,
    /// When the symptom began: 09:00, "yesterday 14:00", 2026-11-22T09:00:00Z, or 15m ago as 15m
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// When it ended; without it the symptom goes on
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// A parameter of the checks; may be repeated
    #[arg(long = "param", value_name = "NAME=VALUE")]
    pub params: Vec<String>,
    /// How long it may take [default: 60s, or the configuration's]
    #[arg(long, value_name = "DURATION")]
    pub deadline: Option<String>,
    /// Show every finding
    #[arg(long)]
    pub all: bool,
    /// 0 for every verdict; 3 and above stay
    #[arg(long)]
    pub exit_zero: bool,
}

#[derive(Debug, Args)]
pub struct Serve {
    /// Where to listen [default: 127.0.0.1:8460, or the configuration's]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Where tickets and tokens are kept [default: $STATE_DIRECTORY, the configuration's, then ./houston-data]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Demo {
    /// End after the three tickets
    #[arg(long)]
    pub once: bool,
}

#[derive(Debug, Subcommand)]
pub enum Check {
    /// Read every file, show every fault, and say what verdicts the checks can reach
    Validate {
        dir: Option<PathBuf>,
        /// Warnings count as errors
        #[arg(long)]
        strict: bool,
    },
    /// Run one check now
    Run {
        name: String,
        #[arg(long = "param", value_name = "NAME=VALUE")]
        params: Vec<String>,
        /// The span to look at, for kinds that see the past: 15m, or a time as in triage
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
    },
    /// What a sampled check usually shows, hour by hour (asks the daemon)
    Baseline {
        name: String,
        /// One measure only
        #[arg(long)]
        measure: Option<String>,
    },
    /// The checks in force
    List,
    /// The kinds of probes, with keys, measures and an example
    Kinds { name: Option<String> },
    /// The JSON Schema of a file of checks
    Schema,
}

#[derive(Debug, Subcommand)]
pub enum Ticket {
    /// The newest tickets
    List {
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// One ticket with its verdict
    Show {
        ticket: String,
        /// Show every finding
        #[arg(long)]
        all: bool,
    },
    /// Look again: another round
    Retriage { ticket: String },
    /// What the customer said when somebody called back
    Callback {
        ticket: String,
        answer: CallBackAnswer,
        /// What else was said
        #[arg(long)]
        note: Option<String>,
    },
    /// Take it on: the ladder that pages people for it stops
    Acknowledge {
        ticket: String,
        /// For so long; then there is a reminder, and the ladder goes on [default: as the team says, 30m]
        #[arg(long = "for", value_name = "DURATION")]
        hold: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub enum Channel {
    /// The kinds of channels, with keys and an example
    Kinds { name: Option<String> },
    /// Send a message over a channel of houston.yaml that says that it is a test
    Test {
        name: String,
        /// Who is meant, for channels that know more than one
        #[arg(long, value_name = "RECIPIENT")]
        to: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub enum Ticketing {
    /// The kinds of ticket systems, with keys and an example
    Kinds { name: Option<String> },
    /// What a delivery becomes, by the fields of houston.yaml: nothing is verified, nothing is kept
    Test {
        /// Its name in houston.yaml
        system: String,
        /// The body of a delivery, or - for standard input
        payload: std::path::PathBuf,
        /// A header of the delivery; may be repeated
        #[arg(long = "header", value_name = "NAME: VALUE")]
        headers: Vec<String>,
    },
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum CallBackAnswer {
    /// It works for the customer
    Fine,
    /// The customer still sees it: a human looks at once
    StillBroken,
    /// Nobody was reached
    NoAnswer,
}
