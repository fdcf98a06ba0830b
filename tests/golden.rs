//! Golden cases: a ticket, a world of small scripted servers and logs, and the verdict that must come of it.
//!
//! Every folder of `tests/cases/{issue,no_issue,doubtful}` is a case, and stands where its verdict is. A case says only
//! in what its world differs from the healthy shop of `tests/cases/shop`; adding one needs no Rust. See
//! `tests/cases/README.md` for the files of a case.

mod case;
mod contained;
mod expected;
mod logs;
mod prometheus;
mod server;
mod world;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use houston::model::case::Event;
use houston::model::verdict::Phase;
use houston::triage::{self, Round, Setting};
use jiff::Timestamp;
use tokio::runtime::{Builder, Handle, Runtime};

use case::Case;
use world::World;

/// How many cases run side by side.
const AT_ONCE: usize = 3;

/// How long after its deadline a triage may still take to say so, on a machine that is busy.
pub const SMALL: Duration = Duration::from_secs(4);

/// A triage, and what it told on the way.
pub struct Run {
    pub round: Round,
    /// How many findings there were when an early verdict came.
    pub early_after: Option<usize>,
    pub took: Duration,
}

#[allow(clippy::disallowed_methods)] // the looks see files and servers that live in the present
fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).expect("whole seconds of today")
}

/// The runtime that keeps deadlines and the one that probes run on, as the program has them.
pub fn runtimes() -> (Runtime, Runtime) {
    let build = |name| Builder::new_multi_thread().worker_threads(2).thread_name(name).enable_all().build().unwrap();
    (build("golden"), build("golden-looks"))
}

/// One triage, listened to.
pub async fn triage(ticket: &houston::model::ticket::Ticket, setting: &Setting, now: Timestamp) -> Run {
    let started = Instant::now();
    let (mut findings, mut early_after) = (0, None);
    let round = triage::run(ticket, Some("T-1".to_owned()), 1, setting, now, |event| match event {
        Event::Finding { .. } => findings += 1,
        Event::Verdict { verdict } if verdict.phase == Phase::Early => early_after = Some(findings),
        _ => {}
    })
    .await;
    Run { round, early_after, took: started.elapsed() }
}

/// Runs one case, once for each of its tickets; what is wrong with it.
async fn play(folder: PathBuf, looks: Handle, servers: Handle) -> Vec<String> {
    let now = now();
    let case = Arc::new(Case::read(&folder));
    let place = tempfile::tempdir().unwrap();
    // Servers never wait for the program's own runtimes, nor these for them.
    let world = servers.spawn(World::start(Arc::clone(&case), place.path().to_owned(), now)).await.unwrap();
    let (setting, expected) = world.setting(&case, looks);
    let mut wrong = Vec::new();
    for (variant, ticket) in case.tickets(now).into_iter().enumerate() {
        let run = triage(&ticket, &setting, now).await;
        let faults = expected.hold(&case, &run, &setting);
        if !faults.is_empty() {
            wrong.push(format!("\n{} (ticket {}):\n  {}", case.name(), variant + 1, faults.join("\n  ")));
            wrong.push(expected::show(&run.round.verdict));
        }
    }
    wrong
}

/// Runs every case whose verdict this is.
fn all_of(verdict: &str) {
    let folders = case::folders(verdict);
    assert!(folders.len() >= 3, "only {} cases of {verdict}", folders.len());
    let (runtime, looks) = runtimes();
    let (world, _) = runtimes();
    let handles = (looks.handle().clone(), world.handle().clone());
    let wrong: Vec<String> = runtime.block_on(async {
        futures_util::stream::iter(folders)
            .map(|folder| {
                let (looks, servers) = handles.clone();
                let name = folder.display().to_string();
                // A case whose files can't be read costs itself and not the others.
                async move {
                    tokio::spawn(play(folder, looks, servers))
                        .await
                        .unwrap_or_else(|error| vec![format!("\n{name}: {error}")])
                }
            })
            .buffered(AT_ONCE)
            .concat()
            .await
    });
    looks.shutdown_background();
    world.shutdown_background();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn cases_that_are_an_issue() {
    all_of("issue");
}

#[test]
fn cases_that_are_no_issue() {
    all_of("no_issue");
}

#[test]
fn cases_that_are_doubtful() {
    all_of("doubtful");
}

/// What probes share, with the budgets of a configuration.
pub fn tools(config: &houston::config::Config) -> Arc<houston::evidence::Tools> {
    use houston::net::budget::{Limit, Limits};
    let limit = |budget: &houston::config::Budget| Limit { at_once: budget.concurrent, per_second: budget.per_second };
    let limits = Limits {
        service: limit(&config.budgets.service),
        system: limit(&config.budgets.system),
        targets: config.budgets.hosts.iter().map(|(host, budget)| (host.clone(), limit(budget))).collect(),
    };
    Arc::new(houston::evidence::Tools::new(houston::evidence::Setup { limits, ..Default::default() }))
}
