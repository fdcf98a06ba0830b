//! One run of a use case in a browser: start it, step after step until one fails, a screenshot, the clean-up, its end.

use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use url::{Host, Url};

use super::page::{Page, Shown, Undone};
use super::step::{Act, Step, Text};
use super::{Browser as Check, picture};
use crate::evidence::Ask;
use crate::evidence::slots::SlotError;
use crate::expect::{Held, Usual};
use crate::model::encode::{shell_word, terminal};
use crate::model::observation::{Broken, Fault, Observation, Phase, Seen, Unknown, UnknownKind};
use crate::model::secret::Secret;
use crate::model::units::show_duration;
use crate::model::value::{Measures, Value};
use crate::net::budget::Budget;
use crate::net::http::Reason;
use crate::net::proxy::{self, Admit, Proxy, Unmade};
use crate::net::webdriver::chromium::{Browser, NotStarted, Settings};
use crate::net::webdriver::{Element, WebDriverError};

/// Browsers of this process that run at once: each takes some hundred MiB.
static AT_ONCE: Semaphore = Semaphore::const_new(2);
/// How long a step may take, where it doesn't say.
const STEP: Duration = Duration::from_secs(10);
/// Between two looks at a page.
const PAUSE: Duration = Duration::from_millis(60);
/// A page that isn't as it should be for this long, or for half of the check's time, is itself to blame.
const FAIR_CHANCE: Duration = Duration::from_secs(1);
/// Kept of the deadline at the most: for the browser's end, for the evidence, for clean-up.
const END: Duration = Duration::from_millis(800);
const EVIDENCE: Duration = Duration::from_millis(1500);
const CLEAN_UP: Duration = Duration::from_secs(3);
/// The driver keeps a step's deadline itself; this long it may take to say so.
const GRACE: Duration = Duration::from_millis(400);
/// Dialogs that are noted, connections that weren't made that are noted.
const NOTED: usize = 3;
/// The most of a page's text that is kept, in characters.
const TEXT_SHOWN: usize = 500;

/// How one step ended.
#[derive(Debug)]
enum End {
    Held,
    Broken(Vec<Broken>),
    Failed(Fault),
    Blind(Unknown),
}

/// A step that was taken.
#[derive(Debug)]
struct Taken {
    end: End,
    odd: Vec<Broken>,
    duration: Duration,
}

struct Run<'a> {
    check: &'a Check,
    ask: &'a Ask,
    browser: &'a Browser,
    proxy: &'a Proxy,
    started: Instant,
    /// The steps themselves.
    steps_end: Instant,
    /// What is shown, as far as it was looked at.
    shown: Shown,
    /// The last page that was gone to.
    went: Option<Url>,
    filled: Vec<(Element, Secret)>,
    dialogs: usize,
    notes: Vec<String>,
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

    async fn take(&mut self, step: &Step, until: Instant) -> Taken {
        let began = Instant::now();
        let mut odd = Vec::new();
        let end = self.take_within(step, began, until, &mut odd).await;
        let mut end = match end {
            Ok(()) => End::Held,
            Err(end) => end,
        };
        if let (Some(why), false) = (self.browser.ended_by_us(), matches!(end, End::Held)) {
            end = End::Blind(Unknown::new(UnknownKind::Incomplete, why));
        }
        Taken { end, odd, duration: began.elapsed() }
    }

    async fn take_within(
        &mut self,
        step: &Step,
        began: Instant,
        until: Instant,
        odd: &mut Vec<Broken>,
    ) -> Result<(), End> {
        if began >= until {
            let why = "the check's time ran out before it";
            return Err(End::Blind(Unknown::new(UnknownKind::TimedOut, why)));
        }
        let own = began + step.timeout.unwrap_or(STEP);
        let patience = Patience { began, end: own.min(until), is_own: own <= until, total: until - self.started };
        let deadline = patience.end + GRACE;
        let page = Page { browser: self.browser, deadline };
        loop {
            match self.browser.session.wait_until(patience.end, deadline).await {
                Ok(()) => break,
                Err(error) => self.obstacle(super::page::undone(self.browser, error), step, &patience).await?,
            }
        }
        let (refused, failed) = (self.proxy.refusals().len(), self.proxy.failures().len());
        let found = loop {
            match self.act(step, page, &patience, (refused, failed)).await {
                Ok(element) => break element,
                Err(Obstacle::Undone(undone)) => self.obstacle(undone, step, &patience).await?,
                Err(Obstacle::End(end)) => return Err(end),
            }
        };
        self.hold(step, page, &patience, found, odd).await
    }

    /// Waits a moment where it may go away; ends the step where it won't, or the time is up.
    async fn obstacle(&mut self, undone: Undone, step: &Step, patience: &Patience) -> Result<(), End> {
        let (what, is_over) = match undone {
            Undone::Blind(unknown) => return Err(End::Blind(unknown)),
            Undone::NotYet(what) => (what, false),
            Undone::Begun(what) => (what, true),
            Undone::Dialog(text) => {
                let text = self.ask.tools.redactor.strike(&text);
                self.dialogs += 1;
                if self.dialogs <= NOTED {
                    self.notes.push(format!("the page opened a dialog, which was dismissed: {text}"));
                }
                (format!("a dialog is in the way: {text}"), false)
            }
        };
        if is_over || Instant::now() + PAUSE >= patience.end {
            return Err(patience.broken(step, what));
        }
        sleep_until(patience.end.min(Instant::now() + PAUSE)).await;
        Ok(())
    }

    /// Does what the step says, once; returns the element that it saw.
    async fn act(
        &mut self,
        step: &Step,
        page: Page<'_>,
        patience: &Patience,
        unmade: (usize, usize),
    ) -> Result<Option<Element>, Obstacle> {
        let values = &self.ask.params;
        match &step.act {
            Act::Go(template) => {
                let url = template.render(values).map_err(|error| unbound(&error))?;
                self.went = Some(url.clone());
                self.go(step, &url, page, patience, unmade).await.map_err(Obstacle::End)?;
                return Ok(None);
            }
            Act::Fill(place, Text::Plain(template)) => {
                let text = template.render(values).map_err(|error| unbound(&error))?;
                page.fill(place, &typed(&text)?).await?;
            }
            Act::Fill(place, Text::Secret(secret)) => {
                let secret = self.ask.tools.credentials.get(secret);
                let secret = secret.map_err(|why| blind(UnknownKind::Refused, why))?;
                let field = page.fill(place, &typed(secret.expose())?).await?;
                self.filled.push((field, secret));
            }
            Act::Click(place) => page.click(place).await?,
            Act::Select(place, template) => {
                let text = template.render(values).map_err(|error| unbound(&error))?;
                page.choose(place, &text).await?;
            }
            Act::Press(key, on) => page.press(*key, on.as_ref()).await?,
            Act::See(place) => return Ok(Some(page.visible(place).await?)),
            Act::Gone(place) => page.gone(place).await?,
            Act::Dialog(accept) => drop(page.answer(*accept).await?),
            Act::Wait => {}
        }
        Ok(None)
    }

    async fn go(
        &mut self,
        step: &Step,
        url: &Url,
        page: Page<'_>,
        patience: &Patience,
        unmade: (usize, usize),
    ) -> Result<(), End> {
        let guard = &self.ask.tools.http.dialer().guard;
        if let Err(denied) = guard.check_url(url, crate::net::guard::Reach::Anywhere) {
            return Err(End::Blind(Unknown::new(UnknownKind::Refused, denied.to_string())));
        }
        let went = self.browser.session.go(url.as_str(), page.deadline).await;
        let failed = went.as_ref().err().and_then(|error| match error {
            WebDriverError::Said { error, .. } if error == "insecure certificate" => {
                Some("its certificate is not trusted".to_owned())
            }
            WebDriverError::Said { message, .. } => net_error(message),
            _ => None,
        });
        if let Err(error) = went
            && failed.is_none()
        {
            match super::page::undone(self.browser, error) {
                // The page is there; it opened a dialog at once.
                Undone::Dialog(text) => self.obstacle(Undone::Dialog(text), step, patience).await?,
                Undone::Begun(_) => {
                    let what = format!("the page was not there in {}", show_duration(patience.began.elapsed()));
                    return Err(patience.fault(Phase::Processing, what));
                }
                Undone::NotYet(what) => return Err(patience.fault(Phase::Processing, what)),
                Undone::Blind(unknown) => return Err(End::Blind(unknown)),
            }
        }
        // Our proxy answers for whom it can't reach; its own account says why.
        let here = target(&self.browser.session.url(page.deadline).await.unwrap_or_default());
        let is_it = |other: &&Unmade| failed.is_some() || here.as_deref() == Some(other.target.as_str());
        if let Some(refused) = self.proxy.refusals().iter().skip(unmade.0).find(is_it) {
            let why = format!("a guard of ours forbids {}", words(refused));
            return Err(End::Blind(Unknown::new(UnknownKind::Refused, why)));
        }
        if let Some(unmade) = self.proxy.failures().iter().skip(unmade.1).find(is_it) {
            return Err(match unmade.reason {
                Reason::Ours | Reason::Guard => End::Blind(Unknown::new(UnknownKind::Unreachable, words(unmade))),
                Reason::Service => End::Failed(Fault { phase: Phase::Connect, what: words(unmade) }),
                Reason::Timeout => patience.fault(Phase::Connect, words(unmade)),
            });
        }
        match failed {
            None => Ok(()),
            Some(code) if code.contains("certificate") || code.contains("CERT") || code.contains("SSL") => {
                Err(End::Failed(Fault { phase: Phase::Tls, what: code }))
            }
            Some(code) => Err(End::Failed(Fault { phase: Phase::Processing, what: code })),
        }
    }

    /// Looks until everything holds that the step expects.
    async fn hold(
        &mut self,
        step: &Step,
        page: Page<'_>,
        patience: &Patience,
        mut found: Option<Element>,
        odd: &mut Vec<Broken>,
    ) -> Result<(), End> {
        let wants_status = matches!(step.act, Act::Go(_))
            && !step.expect.iter().any(|expect| expect.that.names().iter().any(|name| name == "status"));
        // What changes the page may be followed by another page, which the next step waits for.
        let only_changes =
            matches!(step.act, Act::Fill(..) | Act::Click(_) | Act::Select(..) | Act::Press(..) | Act::Dialog(_));
        if step.expect.is_empty() && only_changes {
            return Ok(());
        }
        loop {
            // A page that draws itself anew has another element in the same place.
            if let (None, Act::See(place)) = (&found, &step.act) {
                found = page.visible(place).await.ok();
            }
            let shown = match page.look(found.clone()).await {
                Ok(shown) => shown,
                Err(undone) => {
                    found = None;
                    self.obstacle(undone, step, patience).await?;
                    continue;
                }
            };
            self.shown = shown;
            if let Some(status) = self.shown.status
                && wants_status
                && status >= 400
            {
                let that = "status < 400".to_owned();
                let actual = format!("status is {status}");
                return Err(End::Broken(vec![Broken {
                    that,
                    actual,
                    at: step.at.to_string(),
                    note: None,
                    odd: false,
                }]));
            }
            if let Some(what) = self.no_page_of_the_service(step) {
                found = None;
                self.obstacle(Undone::NotYet(what), step, patience).await?;
                continue;
            }
            let held = self.held(step, patience.began.elapsed());
            if held.broken.is_empty() && held.unseen.is_none() {
                odd.extend(held.odd);
                return Ok(());
            }
            if Instant::now() + PAUSE >= patience.end {
                odd.extend(held.odd);
                return Err(match held.unseen {
                    Some(why) if held.broken.is_empty() => End::Blind(Unknown::new(UnknownKind::Incomplete, why)),
                    _ => patience.late(held.broken),
                });
            }
            sleep(PAUSE).await;
            if matches!(step.act, Act::See(_)) {
                found = None;
            }
        }
    }

    /// Headings and words of the browser's own error pages, and of our proxy's, must not pass for the service's.
    fn no_page_of_the_service(&self, step: &Step) -> Option<String> {
        let went = matches!(step.act, Act::Go(_));
        if self.shown.is_error && !(went && self.shown.status.is_some()) {
            return Some("the browser shows an error page of its own".to_owned());
        }
        if went || self.shown.status.is_none_or(|status| status < 400) {
            return None;
        }
        let here = target(&self.shown.url)?;
        let unmade = [self.proxy.refusals(), self.proxy.failures()].concat();
        unmade.iter().find(|unmade| unmade.target == here).map(words)
    }

    fn held(&self, step: &Step, took: Duration) -> Account {
        let mut measures = self.shown.measures();
        for (name, bound) in self.ask.params.iter() {
            if measures.get(name).is_none() {
                measures.set(name, bound.value.as_str());
            }
        }
        measures.set("duration_seconds", took.as_secs_f64());
        let mut account = Account::default();
        for expect in &step.expect {
            match expect.that.hold(&measures, &|_, _| Usual::Unknown { why: "not in a step".to_owned() }) {
                Held::True => {}
                Held::False { actual } if expect.odd => account.odd.push(expect.broken(actual)),
                Held::False { actual } => account.broken.push(expect.broken(actual)),
                Held::Unknown { .. } if self.shown.text.is_none() => {
                    account.unseen = Some("the page's text is longer than is read".to_owned());
                }
                Held::Unknown { why } => account.unseen = Some(why),
            }
        }
        account
    }
}

/// What a step's expectations come to at one moment.
#[derive(Debug, Default)]
struct Account {
    broken: Vec<Broken>,
    odd: Vec<Broken>,
    /// Why one can't be told.
    unseen: Option<String>,
}

/// Why an act came to nothing.
enum Obstacle {
    Undone(Undone),
    End(End),
}

impl From<Undone> for Obstacle {
    fn from(undone: Undone) -> Self {
        Obstacle::Undone(undone)
    }
}

fn blind(kind: UnknownKind, why: String) -> Obstacle {
    Obstacle::End(End::Blind(Unknown::new(kind, why)))
}

fn unbound(error: &SlotError) -> Obstacle {
    let kind = match error {
        SlotError::Missing(_) => UnknownKind::MissingParam,
        _ => UnknownKind::Refused,
    };
    blind(kind, error.to_string())
}

/// A text as it may be typed: the driver reads code points of the private use area as keys, Enter among them.
fn typed(text: &str) -> Result<String, Obstacle> {
    if text.chars().any(|c| c.is_control() || ('\u{e000}'..='\u{f8ff}').contains(&c)) {
        let why = "what is to be typed holds a control character or the code of a key";
        return Err(blind(UnknownKind::Refused, why.to_owned()));
    }
    Ok(text.to_owned())
}

/// How long a step waits, and whose fault it is when that was in vain.
#[derive(Debug, Clone, Copy)]
struct Patience {
    began: Instant,
    end: Instant,
    /// The end is the step's own, not the check's.
    is_own: bool,
    total: Duration,
}

impl Patience {
    fn is_fair(&self) -> bool {
        let waited = self.began.elapsed();
        self.is_own || waited >= FAIR_CHANCE || waited >= self.total / 2
    }

    fn short(&self) -> End {
        let left = show_duration(self.began.elapsed());
        let why = format!("only {left} of the check's {} were left for it", show_duration(self.total));
        End::Blind(Unknown::new(UnknownKind::TimedOut, why))
    }

    fn late(&self, broken: Vec<Broken>) -> End {
        if self.is_fair() { End::Broken(broken) } else { self.short() }
    }

    /// The act itself could not be done.
    fn broken(&self, step: &Step, actual: String) -> End {
        let actual = format!("{actual}, after {}", show_duration(self.began.elapsed()));
        self.late(vec![Broken { that: step.that.clone(), actual, at: step.at.to_string(), note: None, odd: false }])
    }

    fn fault(&self, phase: Phase, what: String) -> End {
        if self.is_fair() { End::Failed(Fault { phase, what }) } else { self.short() }
    }
}

/// `host:port` of a URL, as the proxy counts.
fn target(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    Some(format!("{}:{}", url.host()?, url.port_or_known_default()?))
}

fn words(unmade: &Unmade) -> String {
    terminal(&format!("{}: {}", unmade.target, unmade.what))
}

/// Chromium's own name of what went wrong: `net::ERR_EMPTY_RESPONSE`.
fn net_error(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("net::ERR_")?;
    let name: String = rest.chars().take_while(|c| c.is_ascii_uppercase() || *c == '_' || c.is_ascii_digit()).collect();
    Some(format!("net::ERR_{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_holds_no_keys() {
        for fine in ["acme", "Grüße & 10 €", "a b", "😀"] {
            assert!(typed(fine).is_ok_and(|text| text == fine), "{fine}");
        }
        for hostile in ["acme\u{e007}", "\u{e009}a", "a\nb", "a\tb", "\u{f8ff}"] {
            assert!(typed(hostile).is_err(), "{hostile:?}");
        }
    }

    #[test]
    fn chromium_s_errors_keep_their_names() {
        let message = "unknown error: net::ERR_EMPTY_RESPONSE (Session info: x)";
        assert_eq!(net_error(message).as_deref(), Some("net::ERR_EMPTY_RESPONSE"));
        assert_eq!(net_error("no such element"), None);
    }
}
