//! One run of a use case in a browser: start it, step after step until one fails, a screenshot, the clean-up, its end.

use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use url::{Host, Url};

use super::page::{Page, Shown};
use super::step::Act;
use super::{Browser as Check, picture};
use crate::evidence::Ask;
use crate::model::encode::{shell_word, terminal};
use crate::model::observation::{Broken, Fault, Observation, Seen, Unknown, UnknownKind};
use crate::model::secret::Secret;
use crate::model::units::show_duration;
use crate::model::value::{Measures, Value};
use crate::net::budget::Budget;
use crate::net::http::Reason;
use crate::net::proxy::{self, Admit, Proxy, Unmade};
use crate::net::webdriver::Element;
use crate::net::webdriver::chromium::{Browser, NotStarted, Settings};

/// Browsers of this process that run at once: each takes some hundred MiB.
static AT_ONCE: Semaphore = Semaphore::const_new(2);
/// Kept of the deadline at the most: for the browser's end, for the evidence, for clean-up.
const END: Duration = Duration::from_millis(800);
const EVIDENCE: Duration = Duration::from_millis(1500);
const CLEAN_UP: Duration = Duration::from_secs(3);
/// Dialogs that are noted, connections that weren't made that are noted.
pub(super) const NOTED: usize = 3;
/// The most of a page's text that is kept, in characters.
const TEXT_SHOWN: usize = 500;

/// How one step ended.
#[derive(Debug)]
pub(super) enum End {
    Held,
    Broken(Vec<Broken>),
    Failed(Fault),
    Blind(Unknown),
}

/// A step that was taken.
#[derive(Debug)]
pub(super) struct Taken {
    pub end: End,
    pub odd: Vec<Broken>,
    pub duration: Duration,
}

/// A run under way.
pub(super) struct Run<'a> {
    check: &'a Check,
    pub ask: &'a Ask,
    pub browser: &'a Browser,
    pub proxy: &'a Proxy,
    pub started: Instant,
    /// The steps themselves.
    steps_end: Instant,
    /// What is shown, as far as it was looked at.
    pub shown: Shown,
    /// The last page that was gone to.
    pub went: Option<Url>,
    pub filled: Vec<(Element, Secret)>,
    pub dialogs: usize,
    pub notes: Vec<String>,
}

/// Takes the steps once.
pub async fn run(check: &Check, ask: &Ask) -> Observation {
    let started = Instant::now();
    let observation = match attempt(check, ask, started).await {
        Ok(observation) => observation,
        Err(unknown) => Observation::blind(unknown.kind, unknown.why),
    };
    observation.took(started.elapsed())
}

async fn attempt(check: &Check, ask: &Ask, started: Instant) -> Result<Observation, Unknown> {
    let total = ask.deadline.saturating_duration_since(started);
    let all = ask.deadline - END.min(total / 6);
    let cleans_up = check.steps.iter().any(|step| step.always);
    let reserve = EVIDENCE.min(total / 6) + if cleans_up { CLEAN_UP.min(total / 5) } else { Duration::ZERO };
    let steps_end = all - reserve;

    let late = || Unknown::new(UnknownKind::TimedOut, "other browsers were running all the time that it had");
    let _turn = match timeout_at(steps_end, AT_ONCE.acquire()).await {
        Ok(Ok(turn)) => turn,
        _ => return Err(late()),
    };
    let declared = check.steps.iter().filter_map(|step| match &step.act {
        Act::Go(url) => Some((url.base().host()?.to_owned(), url.base().port_or_known_default()?)),
        _ => None,
    });
    let settings = proxy::Settings {
        admit: Admit::SameUser,
        declared: declared.collect::<Vec<(Host<String>, u16)>>(),
        budget: Budget::Service,
        bounds: proxy::Bounds::default(),
        deadline: ask.deadline,
    };
    let proxy = Proxy::start(ask.tools.http.dialer(), settings).await;
    let proxy = proxy.map_err(|error| Unknown::new(UnknownKind::Incomplete, format!("no proxy: {error}")))?;
    let settings = Settings {
        proxy: proxy.address(),
        sandbox: check.sandbox,
        insecure: check.insecure,
        window: check.window,
        deadline: steps_end,
    };
    let browser = Browser::start(settings).await.map_err(not_started)?;
    let ready = Instant::now();
    let mut run = Run {
        check,
        ask,
        browser: &browser,
        proxy: &proxy,
        started,
        steps_end,
        shown: Shown::default(),
        went: None,
        filled: Vec::new(),
        dialogs: 0,
        notes: Vec::new(),
    };
    let observation = run.all(all).await.note(format!("the browser started in {}", show_duration(ready - started)));
    browser.end(ask.deadline).await;
    Ok(observation)
}

fn not_started(why: NotStarted) -> Unknown {
    let kind = match &why {
        NotStarted::Missing(_) | NotStarted::Failed(_) => UnknownKind::Unreachable,
        NotStarted::Root => UnknownKind::Refused,
        NotStarted::TimedOut => UnknownKind::TimedOut,
    };
    let advice = if why == NotStarted::Root { ": run Houston as another user, or say `sandbox: false`" } else { "" };
    Unknown::new(kind, format!("{}{advice}", terminal(&why.to_string())))
}

impl Run<'_> {
    async fn all(&mut self, all: Instant) -> Observation {
        let steps = &self.check.steps;
        let mut stopped: Option<(usize, Taken)> = None;
        let (mut shown, mut odd) = (Vec::new(), Vec::new());
        let (mut passed, mut skipped) = (0_usize, 0_usize);
        let mut duration = Duration::ZERO;
        let mut observation = Observation::answered(Measures::new());
        for (index, step) in steps.iter().enumerate() {
            if stopped.is_some() && !step.always {
                skipped += 1;
                continue;
            }
            let until = if step.always { all } else { self.steps_end };
            let mut taken = self.take(step, until).await;
            let mut map = std::collections::BTreeMap::new();
            map.insert("name".to_owned(), Value::from(step.label.as_str()));
            map.insert("duration_seconds".to_owned(), Value::from(taken.duration.as_secs_f64()));
            shown.push(Value::Map(map));
            let held = matches!(taken.end, End::Held);
            passed += usize::from(held);
            if step.always {
                self.note_clean_up(index, &taken.end);
                continue;
            }
            duration += taken.duration;
            odd.append(&mut taken.odd);
            if !held {
                taken.end = self.weigh(taken.end);
                observation = self.evidence(observation, all).await;
                stopped = Some((index, taken));
            }
        }
        let mut measures = Measures::new();
        measures.set("steps", passed).set("duration_seconds", duration.as_secs_f64()).set("step", Value::List(shown));
        if let Some((index, taken)) = stopped {
            measures.set("failed_step", steps[index].name.clone().unwrap_or_else(|| (index + 1).to_string()));
            if let Some(status) = self.shown.status {
                measures.set("status", status);
            }
            let place = self.place(index);
            let rest = if skipped == 0 { String::new() } else { format!("; {skipped} more not taken") };
            let verb = if matches!(taken.end, End::Blind(_)) { "could not be judged" } else { "failed" };
            self.notes.insert(0, format!("{place} {verb}{rest}"));
            match taken.end {
                End::Held => {}
                End::Broken(broken) => observation.broken = broken,
                End::Failed(fault) => {
                    observation.seen = Seen::Failed(Fault { what: format!("{place}: {}", fault.what), ..fault });
                }
                End::Blind(unknown) => {
                    observation.seen = Seen::Blind(Unknown { why: format!("{place}: {}", unknown.why), ..unknown });
                }
            }
        } else {
            self.notes.insert(0, format!("{passed} of {} steps in {}", steps.len(), show_duration(duration)));
        }
        observation.broken.append(&mut odd);
        for broken in &mut observation.broken {
            broken.actual = self.ask.tools.redactor.strike(&broken.actual);
        }
        self.note_connections();
        observation.notes = std::mem::take(&mut self.notes);
        observation.measures(measures)
    }

    /// `step 3 of 5 (click: #pay)`
    fn place(&self, index: usize) -> String {
        format!("step {} of {} ({})", index + 1, self.check.steps.len(), self.check.steps[index].label)
    }

    fn note_clean_up(&mut self, index: usize, end: &End) {
        let what = match end {
            End::Held => return,
            End::Broken(broken) => {
                broken.first().map(|b| format!("{} (expected {})", b.actual, b.that)).unwrap_or_default()
            }
            End::Failed(fault) => fault.what.clone(),
            End::Blind(unknown) => unknown.why.clone(),
        };
        self.notes.push(format!("clean-up {} failed: {what}", self.place(index)));
    }

    /// What the page wanted and didn't get, whether or not anything failed.
    fn note_connections(&mut self) {
        for unmade in self.proxy.refusals().iter().chain(&self.proxy.failures()).take(NOTED) {
            self.notes.push(format!("not connected: {}", words(unmade)));
        }
    }

    /// A step that failed where *we* kept something from the page proves nothing.
    fn weigh(&self, end: End) -> End {
        let End::Broken(broken) = &end else { return end };
        let failures = self.proxy.failures();
        let ours = |unmade: &&Unmade| unmade.reason == Reason::Ours;
        let kept = if let Some(refused) = self.proxy.refusals().first() {
            Some((UnknownKind::Refused, format!("a guard of ours kept the page from {}", words(refused))))
        } else if self.proxy.is_spent() {
            Some((UnknownKind::Incomplete, "the page wanted more data than it may load".to_owned()))
        } else {
            let ours = failures.iter().find(ours);
            ours.map(|unmade| (UnknownKind::Unreachable, format!("we could not reach {}", words(unmade))))
        };
        match (kept, broken.first()) {
            (Some((kind, why)), Some(broken)) => {
                let why = format!("{} (expected {}), but {why}", broken.actual, broken.that);
                End::Blind(Unknown::new(kind, self.ask.tools.redactor.strike(&why)))
            }
            _ => end,
        }
    }

    /// The page's text, a screenshot, and a line to go there by hand.
    async fn evidence(&mut self, observation: Observation, all: Instant) -> Observation {
        let until = all.min(Instant::now() + EVIDENCE);
        let page = Page { browser: self.browser, deadline: until };
        if let Ok(shown) = page.look(None).await {
            self.shown = shown;
        }
        let mut observation = observation;
        // The whole text first: half a secret would not be recognised.
        let mut text = self.ask.tools.redactor.strike(self.shown.text.as_deref().unwrap_or_default());
        for (_, secret) in &self.filled {
            text = text.replace(secret.expose(), "‹secret›");
        }
        let short: String = text.trim().chars().take(TEXT_SHOWN).collect();
        if !short.is_empty() {
            observation = observation.excerpt(short);
        }
        if let Some(url) = &self.went {
            observation = observation.reproduce(format!("chromium --incognito {}", shell_word(url.as_str())));
        }
        match timeout_at(until, picture::take(&self.browser.session, self.ask, &self.filled, until)).await {
            Ok(Ok(path)) => observation.picture = Some(path),
            Ok(Err(why)) => self.notes.push(format!("no screenshot: {}", terminal(&why))),
            Err(_) => self.notes.push("no screenshot: the page doesn't answer".to_owned()),
        }
        observation
    }
}

/// A connection that wasn't made, in words.
pub(super) fn words(unmade: &Unmade) -> String {
    terminal(&format!("{}: {}", unmade.target, unmade.what))
}
