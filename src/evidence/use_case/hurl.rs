//! Kind `hurl`: a `.hurl` file, run as it is by the hurl program, with its way out led through our guard.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use super::super::command;
use super::super::endpoint::HeaderText as Declared;
use super::super::slots::TextTemplate;
use super::super::{Ask, Key, Kind, Looking, Probe, Sees};
use crate::model::encode;
use crate::model::look::Look;
use crate::model::measure::{Measure, Type};
use crate::model::observation::{Observation, Unknown, UnknownKind};
use crate::model::params::is_name;
use crate::model::secret::{Redactor, Secret, SecretRef};
use crate::model::source::{Diagnostic, Span};
use crate::net::budget::Budget;
use crate::net::process::{self, NotRun, Program};
use crate::net::proxy::{self, Admit, Proxy};
use crate::yaml::{Node, Spanned};

mod file;
mod outcome;
mod report;

use outcome::Run;

/// The most that it may print, on each of its outputs; a report holds heads of answers, no bodies.
const OUTPUT: usize = 4 * 1024 * 1024;
/// The most of an answer's body, where the answer says how long it is.
const BODY: u64 = 16 * 1024 * 1024;
/// Address space: bodies are held in memory.
const MEMORY: u64 = 1024 * 1024 * 1024;
/// Bytes through the proxy, in a whole run.
const TRANSFERRED: u64 = 128 * 1024 * 1024;
const OPEN_FILES: u64 = 256;
const VARIABLES: usize = 64;
/// What the file is called where hurl sees it.
const NAME: &str = "case.hurl";
/// What hurl is called in the list of programs.
const PROGRAM: &str = "hurl";
/// How to get it: Debian has no package of it.
const INSTALL: &str = "Debian has no package of it: apt install libcurl4-openssl-dev libxml2-dev pkg-config clang \
    libclang-dev, then cargo install hurl --version 8.0.1 --locked --root /usr/local";

/// What stands under `hurl:`.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The file's name, beside this one or in a directory below.
    file: Spanned<String>,
    /// Variables of the file: texts, which may hold {{ parameters }}, or secrets.
    #[serde(default)]
    variables: Option<Spanned<BTreeMap<String, Declared>>>,
    /// A PEM file of roots to trust instead of the system's.
    #[serde(default)]
    ca: Option<Spanned<PathBuf>>,
}

/// A file to be run.
#[derive(Debug)]
struct Hurl {
    path: PathBuf,
    /// The directory of the check's own file.
    folder: PathBuf,
    variables: Vec<(String, Variable)>,
    ca: Option<PathBuf>,
}

#[derive(Debug)]
enum Variable {
    Text(TextTemplate),
    Secret(SecretRef),
}

fn read(node: &Node) -> Result<Arc<dyn Probe>, Diagnostic> {
    let config: Config = node.read()?;
    let path = file::place(&config.file)?;
    let folder = std::path::Path::new(&config.file.value).ancestors().count().saturating_sub(1);
    let folder = path.ancestors().nth(folder).unwrap_or(&path).to_owned();
    if let Some(ca) = config.ca.as_ref().filter(|ca| !ca.value.is_absolute()) {
        return Err(Diagnostic::error(ca.at.clone(), "the path is not absolute"));
    }
    let variables = match config.variables {
        Some(declared) => variables(declared)?,
        None => Vec::new(),
    };
    let hurl = Hurl { path, folder, variables, ca: config.ca.map(|ca| ca.value) };
    // A file that isn't there yet is told when it is to be run; one that is wrong, at its own place.
    if let Ok(text) = file::read(&hurl.path, &hurl.folder) {
        file::inspect(&text, &hurl.fed()).map_err(|wrong| wrong.diagnostic(&hurl.path, &text))?;
    }
    Ok(Arc::new(hurl))
}

fn variables(declared: Spanned<BTreeMap<String, Declared>>) -> Result<Vec<(String, Variable)>, Diagnostic> {
    let at: Span = declared.at;
    let wrong = |message: String| Diagnostic::error(at.clone(), message);
    if declared.value.len() > VARIABLES {
        return Err(wrong(format!("more than {VARIABLES} variables")));
    }
    let mut variables = Vec::new();
    for (name, value) in declared.value {
        if !is_name(&name) {
            return Err(wrong(format!("`{}` can't be the name of a variable", encode::terminal(&name))));
        }
        let variable = match value {
            Declared::Secret(secret) => Variable::Secret(secret),
            Declared::Plain(text) => {
                Variable::Text(TextTemplate::parse(&text).map_err(|error| wrong(format!("`{name}`: {error}")))?)
            }
        };
        variables.push((name, variable));
    }
    Ok(variables)
}

impl Probe for Hurl {
    fn observe<'a>(&'a self, ask: &'a Ask) -> Looking<'a> {
        Box::pin(async {
            let started = Instant::now();
            let observation = match self.run(ask).await {
                Ok(observation) => observation,
                Err(unknown) => Observation::blind(unknown.kind, unknown.why),
            };
            observation.took(started.elapsed())
        })
    }

    fn system(&self) -> String {
        self.path.display().to_string()
    }

    fn params(&self) -> Vec<String> {
        let texts = self.variables.iter().filter_map(|(_, variable)| match variable {
            Variable::Text(text) => Some(text.params()),
            Variable::Secret(_) => None,
        });
        let mut names: Vec<String> = texts.flatten().collect();
        names.sort();
        names.dedup();
        names
    }

    fn secrets(&self) -> Vec<SecretRef> {
        let secrets = self.variables.iter().filter_map(|(_, variable)| match variable {
            Variable::Secret(secret) => Some(secret.clone()),
            Variable::Text(_) => None,
        });
        secrets.collect()
    }

    /// What its asserts are is up to the file; without one hurl still holds the status that it names.
    fn own_expectations(&self) -> usize {
        1
    }
}

/// Variables with their values.
struct Bound {
    env: Vec<(String, String)>,
    /// The same as words of a shell, without the secrets.
    words: Vec<String>,
}

impl Hurl {
    /// Variables whose values come from tickets.
    fn fed(&self) -> Vec<&str> {
        let texts = self.variables.iter().filter_map(|(name, variable)| match variable {
            Variable::Text(text) if !text.params().is_empty() => Some(name.as_str()),
            _ => None,
        });
        texts.collect()
    }

    async fn run(&self, ask: &Ask) -> Result<Observation, Unknown> {
        let program = program(&ask.tools.programs)?;
        let (path, folder) = (self.path.clone(), self.folder.clone());
        let read = tokio::task::spawn_blocking(move || file::read(&path, &folder)).await;
        let shown = encode::terminal(&self.path.to_string_lossy());
        let text = read
            .unwrap_or_else(|_| Err("it can't be read".to_owned()))
            .map_err(|why| Unknown::new(UnknownKind::Incomplete, format!("{shown}: {why}")))?;
        let uses = file::inspect(&text, &self.fed()).map_err(|wrong| {
            Unknown::new(UnknownKind::Refused, format!("{shown}:{}:{}: {}", wrong.line, wrong.column, wrong.what))
        })?;
        let bound = self.bind(ask, &uses)?;

        let left = ask.deadline.saturating_duration_since(Instant::now());
        // Ending it takes a moment; the answer is to be ready before the caller gives up.
        let deadline = ask.deadline - (left / 5).min(Duration::from_millis(750));
        let literal = self.variables.iter().filter_map(|(_, variable)| match variable {
            Variable::Text(text) if text.params().is_empty() => Some(text.text()),
            _ => None,
        });
        let settings = proxy::Settings {
            admit: Admit::Credential,
            declared: file::hosts(&text, literal),
            budget: Budget::Service,
            bounds: proxy::Bounds { bytes: TRANSFERRED, ..proxy::Bounds::default() },
            deadline,
        };
        let proxy = Proxy::start(ask.tools.http.dialer(), settings).await.map_err(|error| {
            Unknown::new(UnknownKind::Unreachable, format!("no port for the guard between: {error}"))
        })?;
        let hidden = Redactor::default();
        hidden.learn(&proxy.url());
        if let Some(password) = proxy.password() {
            hidden.learn(&Secret::new(format!("{}:{}", proxy::USER, password.expose())));
            hidden.learn(&password);
        }
        let program =
            Program { path: program, called: None, args: self.args(deadline), env: self.env(bound.env, &proxy) };
        let bounds = process::Bounds {
            output: OUTPUT,
            cpu: left.max(Duration::from_secs(1)),
            memory: MEMORY,
            file: file::LIMIT * 2,
            open_files: OPEN_FILES,
        };
        let ran = process::run_with_file(&program, bounds, deadline, NAME, text.as_bytes()).await;
        let ran = ran.map_err(|not_run| command::unknown(&not_run))?;
        let strike = |text: &str| hidden.strike(&ask.tools.redactor.strike(text));
        let run = Run { ran: &ran, file: &shown, text: &text, proxy: &proxy, strike: &strike };
        let by_hand = bound.words.into_iter().chain([format!("hurl --test {}", encode::shell_word(&shown))]);
        Ok(run.observation().reproduce(by_hand.collect::<Vec<_>>().join(" ")))
    }

    fn args(&self, deadline: Instant) -> Vec<String> {
        let most = deadline.saturating_duration_since(Instant::now()).saturating_sub(Duration::from_millis(250));
        let mut args: Vec<String> =
            ["--json", "--no-color", "--no-pretty", "--error-format", "short"].map(Into::into).into();
        // One request that hangs ends before everything does, so that hurl can say which.
        for (name, value) in [
            ("--max-time", format!("{}ms", most.as_millis().max(1))),
            ("--connect-timeout", format!("{}ms", most.as_millis().max(1))),
            ("--max-filesize", BODY.to_string()),
            ("--header", format!("{}: 1", crate::net::http::MARKER)),
            ("--file-root", self.folder.to_string_lossy().into_owned()),
        ] {
            args.extend([name.to_owned(), value]);
        }
        if let Some(ca) = &self.ca {
            args.extend(["--cacert".to_owned(), ca.to_string_lossy().into_owned()]);
        }
        args.push(NAME.to_owned());
        args
    }

    /// Everything that nobody else may read goes by the environment: a command line is everybody's.
    fn env(&self, mut env: Vec<(String, String)>, proxy: &Proxy) -> Vec<(String, String)> {
        for name in ["http_proxy", "https_proxy", "all_proxy"] {
            env.push((name.to_owned(), proxy.url().expose().to_owned()));
        }
        env
    }

    fn bind(&self, ask: &Ask, uses: &[(String, file::Use)]) -> Result<Bound, Unknown> {
        let refused = |why: String| Unknown::new(UnknownKind::Refused, why);
        let (mut env, mut words) = (Vec::new(), Vec::new());
        for (name, variable) in &self.variables {
            match variable {
                Variable::Secret(secret) => {
                    let value = ask.tools.credentials.get(secret).map_err(refused)?;
                    if value.expose().contains('\0') {
                        return Err(refused(format!("the secret of `{name}` can't be a variable's value")));
                    }
                    env.push((format!("HURL_SECRET_{name}"), value.expose().to_owned()));
                    words.push(format!("HURL_SECRET_{name}=…"));
                }
                Variable::Text(text) => {
                    let value = text.render(&ask.params).map_err(command::unbound)?;
                    let places = uses.iter().filter(|(used, _)| used == name).map(|(_, place)| *place);
                    for place in places {
                        for param in text.params() {
                            let given = ask.params.get(&param).unwrap_or_default();
                            file::fits(given, place).map_err(|why| refused(format!("the value of `{param}` {why}")))?;
                        }
                    }
                    // In quotes it is a text whatever it looks like; what the check says itself is read as hurl reads it.
                    let value = if text.params().is_empty() { value } else { format!("\"{value}\"") };
                    words.push(format!("HURL_VARIABLE_{name}={}", encode::shell_word(&value)));
                    env.push((format!("HURL_VARIABLE_{name}"), value));
                }
            }
        }
        Ok(Bound { env, words })
    }
}

/// The first program of the list that is called hurl.
fn program(list: &[PathBuf]) -> Result<PathBuf, Unknown> {
    let named = list.iter().find(|path| path.file_name().is_some_and(|name| name == PROGRAM));
    let Some(named) = named else {
        let why = format!("no program called hurl is in the list of programs that checks may run ({INSTALL})");
        return Err(Unknown::new(UnknownKind::Refused, why));
    };
    if !named.exists() {
        let why = format!("{} isn't there ({INSTALL})", encode::terminal(&named.to_string_lossy()));
        return Err(Unknown::new(UnknownKind::Unreachable, why));
    }
    process::allowed(named, list).map_err(|not_run: NotRun| command::unknown(&not_run))
}

/// A file of hurl's.
pub static KIND: Kind = Kind {
    name: "hurl",
    look: Look::UseCase,
    summary: "runs a .hurl file as it is: requests, captures, asserts",
    docs: "\
The file lies beside the check's own (or in a directory below), has at most 256 KiB, and is run by the hurl program (8.0
or later): the first one of that name which `programs` in houston.yaml lists. Debian has no package of it; install
libcurl4-openssl-dev, libxml2-dev, pkg-config, clang and libclang-dev, then
`cargo install hurl --version 8.0.1 --locked --root /usr/local`.

Bad: an assert that doesn't hold, a capture that finds nothing, a body that isn't what a query needs, each shown at its
line of the .hurl file with what was there instead; a service that refuses, resets, fails TLS or stays silent. Unknown:
a file that hurl can't parse, a variable that is missing, an empty file, an address that our guard forbids, time that ran
out on the requests before or on our own side, more than 16 MiB of an answer, a report that can't be read.

All its connections go through a proxy of ours on loopback, so that names are resolved and addresses judged as for every
other kind: redirects and captures lead nowhere else. For that the file's `[Options]` may not hold proxy, resolve,
connect-to, unix-socket, http3, negotiate; nor, since they lead to files, output, netrc, cert, key, cacert and
pinnedpubkey; nor ipv4 and ipv6, since it isn't hurl that resolves. Such a file is refused at the option's line.
`file,name;` reads below the check's directory only. Over plain HTTP each request has a connection of its own.

A parameter's value is always a text, and never an option, a file or a host: in a URL it may hold letters, digits and
`-._~` only, elsewhere none of `\" ' < > & { } \\` or a backtick, since hurl puts it in as it is. Variables and secrets go
in by the environment, not by the command line; secrets are struck from what comes out.",
    keys: &[
        key("file", "name of a .hurl file", None, "what is run"),
        key(
            "variables",
            "map of texts or secrets",
            Some("none"),
            "the file's variables; texts may hold {{ parameters }}, others are numbers, true, false or null where they look so",
        ),
        key("ca", "absolute path", Some("the system's"), "PEM file of the roots to trust"),
    ],
    measures: &[
        Measure { name: "steps", kind: Type::Number, unit: "count", meaning: "entries of the file that passed" },
        Measure {
            name: "failed_step",
            kind: Type::Text,
            unit: "text",
            meaning: "method and URL of the entry that failed, as the file has them; absent where none did",
        },
        Measure {
            name: "status",
            kind: Type::Number,
            unit: "HTTP status",
            meaning: "of the entry that failed; absent where none did",
        },
        Measure {
            name: "duration_seconds",
            kind: Type::Number,
            unit: "seconds",
            meaning: "all entries together, waits between them included",
        },
        Measure {
            name: "step",
            kind: Type::List,
            unit: "list",
            meaning: "the first 200 entries that were run: name, status, duration_seconds, attempts",
        },
    ],
    default_expect: &[],
    headline: &["duration_seconds", "steps", "failed_step", "status"],
    sees: Sees::Now,
    attempts: 1,
    example: "use_case/hurl.yaml",
    example_text: include_str!("../../../checks.d/use_case/hurl.yaml"),
    read,
    schema: |generator| generator.subschema_for::<Config>(),
};

const fn key(name: &'static str, takes: &'static str, default: Option<&'static str>, meaning: &'static str) -> Key {
    Key { name, takes, default, meaning }
}

#[cfg(test)]
mod tests;
