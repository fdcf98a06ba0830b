//! `houston demo`: a small shop with real faults, the real daemon beside it, and three tickets through its real API.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use super::args::{Cli, Demo};
use super::context::{self, Context};
use super::serve::{self, Service, Start};
use super::{Exit, Terminal, triage};
use crate::demo::{Fault, Options, Shop};
use crate::evidence::KINDS;
use crate::model::finding::Finding;
use crate::model::look::Outcome;
use crate::model::secret::{Redactor, SecretRef};
use crate::model::ticket::Report;
use crate::model::verdict::{Decision, Scope, Verdict};
use crate::net::credentials::Credentials;
use crate::net::daemon::{Address, Daemon};
use crate::report::style::Paint;
use crate::report::text;

/// The catalog of the shop, as it stands in the project's root.
const CATALOG: &str = include_str!("../../houston.yaml");
/// Where the daemon listens.
const PORT: u16 = 8460;

/// How often the shop's metrics are looked at before they must have something to say.
const FIRST_CUSTOMERS: u32 = 40;

/// One of the three tickets.
struct Scene {
    /// What is done to the shop.
    says: &'static str,
    fault: Fault,
    title: &'static str,
    customer: &'static str,
    decision: Decision,
    scope: Option<Scope>,
}

fn scenes() -> [Scene; 3] {
    [
        Scene {
            says: "the shop is well, and a customer complains all the same",
            fault: Fault::None,
            title: "checkout felt slow this morning",
            customer: "globex",
            decision: Decision::NoIssue,
            scope: None,
        },
        Scene {
            says: "now one customer's account is broken for real: acme's payments fail, everybody else's work",
            fault: Fault::CustomerOnly("acme".to_owned()),
            title: "checkout is failing for us",
            customer: "acme",
            decision: Decision::Issue,
            scope: Some(Scope::Customer),
        },
        Scene {
            says: "now the monitoring is blind: /metrics hangs, the logs are gone, and the ticket's customer id is not one",
            fault: Fault::Blind,
            title: "checkout does not work",
            customer: "Initech, Inc.",
            decision: Decision::Doubtful,
            scope: None,
        },
    ]
}

pub fn run(terminal: &Terminal, cli: &Cli, args: &Demo) -> anyhow::Result<Exit> {
    let runtime = context::runtime()?;
    runtime.block_on(async {
        let started = std::time::Instant::now();
        say(
            terminal,
            "a small bookshop opens on 127.0.0.1, with customers, metrics, logs and two days of a made-up past …",
        );
        let shop = Shop::start(Options::default()).await?;
        let mut stage = Stage::set(terminal, cli, shop).await?;
        say(
            terminal,
            &format!(
                "ready after {:.1} s: the shop on http://{}",
                started.elapsed().as_secs_f64(),
                stage.shop.address()
            ),
        );
        let right = tokio::select! {
            right = stage.play(terminal) => right?,
            _ = tokio::signal::ctrl_c() => {
                stage.strike().await?;
                return Ok(Exit::Interrupted);
            }
        };
        let exit = if right { Exit::Fine } else { Exit::Issue };
        if !right {
            terminal.note("houston: not every verdict is as it should be");
        } else if !terminal.json {
            terminal.line(&terminal.style.paint(Paint::Good, "all three as they should be"));
        }
        if !args.once {
            stage.invite(terminal);
            tokio::select! {
                ended = stage.service.ended() => ended?,
                _ = tokio::signal::ctrl_c() => {}
            }
        }
        stage.strike().await?;
        Ok(exit)
    })
}

fn say(terminal: &Terminal, text: &str) {
    if terminal.json {
        return;
    }
    terminal.line(&terminal.style.plain(text));
}

/// Shop and daemon, side by side.
struct Stage {
    shop: Shop,
    service: Service,
    daemon: Daemon,
    checks: PathBuf,
    login: Option<String>,
    url: String,
}

impl Stage {
    async fn set(terminal: &Terminal, cli: &Cli, shop: Shop) -> anyhow::Result<Self> {
        let folder = shop.directory().to_path_buf();
        let checks = folder.join("checks.d");
        let config = folder.join("houston.yaml");
        // Each demo begins anew; the shop holds the lock of this directory, so nobody else is in it.
        for old in [&checks, &folder.join("houston-data")] {
            if old.exists() {
                std::fs::remove_dir_all(old).with_context(|| format!("{} can't be cleared", old.display()))?;
            }
        }
        // Examples of systems that the shop doesn't play would only be silent here.
        for kind in KINDS.iter().filter(|kind| !kind.example_text.contains("service: platform")) {
            write(&checks.join(kind.example), kind.example_text)?;
        }
        write(&config, CATALOG)?;

        let mut common = cli.common.clone();
        common.checks = Some(checks.clone());
        common.config = Some(config);
        let context = Context::load(terminal, &common)?;
        let settings = context.config.triage;
        let state = folder.join("houston-data");
        let start = Start {
            socket: Some(state.join("houston.sock")),
            tcp: Some(([127, 0, 0, 1], PORT).into()),
            settings,
            state,
            log: None,
        };
        let service = serve::start(context, start).await?;
        let url = service.url.clone().context("the daemon does not listen")?;
        let token = Credentials::new(Default::default(), Redactor::default())
            .get(&SecretRef::File(service.token_file.clone()))
            .map_err(anyhow::Error::msg)?;
        let daemon = Daemon::new(Address::Url(url.clone()), Some(token)).map_err(anyhow::Error::msg)?;
        let login = service.login.clone();
        first_customers(&daemon).await?;
        Ok(Stage { shop, service, daemon, checks, login, url })
    }

    /// The three tickets, one after the other; true if every verdict is as it should be.
    async fn play(&mut self, terminal: &Terminal) -> anyhow::Result<bool> {
        let mut right = true;
        for scene in scenes() {
            say(terminal, "");
            say(terminal, &terminal.style.paint(Paint::Strong, scene.says));
            self.shop.set_fault(scene.fault.clone())?;
            let report = Report {
                source: Some("demo".to_owned()),
                title: Some(scene.title.into()),
                customer: Some(scene.customer.into()),
                ..Report::default()
            };
            let verdict = triage::remote(terminal, &self.daemon, &report).await?;
            triage::show(terminal, &verdict, false)?;
            right &= as_expected(terminal, &scene, &verdict);
        }
        self.shop.set_fault(Fault::None)?;
        Ok(right)
    }

    /// What can be played with while it stays up.
    fn invite(&self, terminal: &Terminal) {
        let admin = self.shop.admin_address();
        let socket = self.service.socket.as_ref().map_or(String::new(), |path| format!("unix:{}", path.display()));
        let login = self.login.as_deref().unwrap_or(&self.url);
        for line in [
            String::new(),
            "The shop is repaired, and everything stays up. Ctrl-C ends it.".to_owned(),
            format!("  look at the tickets   {login}   (works once)"),
            format!(
                "  break the shop        curl -d '{{\"fault\":\"pay-down\"}}' -H 'content-type: application/json' http://{admin}/faults"
            ),
            format!("  repair it             curl -X DELETE http://{admin}/faults"),
            format!(
                "  file a ticket         houston triage \"checkout is failing for us\" --customer acme --server {socket}"
            ),
            format!("  add a check           drop a file into {} (houston check kinds)", self.checks.display()),
            format!("  is it well?           houston status --server {socket}"),
        ] {
            say(terminal, &line);
        }
    }

    async fn strike(self) -> anyhow::Result<()> {
        self.service.stop().await?;
        self.shop.stop().await;
        Ok(())
    }
}

/// Waits until the shop's own customers have been there: before that its metrics have nothing to say.
async fn first_customers(daemon: &Daemon) -> anyhow::Result<()> {
    for _ in 0..FIRST_CUSTOMERS {
        let finding: Finding = daemon
            .post("/api/v1/checks/recent-errors/run", &serde_json::json!({}))
            .await
            .map_err(anyhow::Error::msg)?;
        if finding.outcome != Outcome::Unknown {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    anyhow::bail!("nobody came to the shop: its metrics say nothing")
}

fn as_expected(terminal: &Terminal, scene: &Scene, verdict: &Verdict) -> bool {
    let decided = verdict.decision == scene.decision;
    let scoped = scene.scope.is_none_or(|scope| verdict.scope == scope);
    if !decided || !scoped {
        terminal.note(&format!(
            "houston: \"{}\" should be {}{}, and is {} ({}): {}",
            scene.title,
            scene.decision.name(),
            scene.scope.map_or(String::new(), |scope| format!(" for {}", scope.name())),
            verdict.decision.name(),
            verdict.scope.name(),
            text::answer(verdict)
        ));
    }
    decided && scoped
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("{} can't be made", parent.display()))?;
    }
    std::fs::write(path, text).with_context(|| format!("{} can't be written", path.display()))
}
