//! One run of a journey: step after step, until one fails; then the clean-up, in the time kept for it.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep, timeout_at};

use super::answer::{self, CONTENT, step_measures};
use super::cookies::Jar;
use super::send::{Letter, Unready, send};
use super::show;
use super::step::{Capture, Step};
use crate::evidence::Ask;
use crate::evidence::slots::SlotError;
use crate::expect::{Held, Usual};
use crate::model::observation::{Broken, Fault, Observation, Seen, Unknown, UnknownKind};
use crate::model::params::Params;
use crate::model::secret::{Redactor, Secret};
use crate::model::units::show_duration;
use crate::model::value::{Measures, Value};
use crate::net::http::{Failure, Reason, Response};

/// The most that is kept of the deadline for steps that are taken whatever happened.
const CLEAN_UP: Duration = Duration::from_secs(2);
/// Kept back so that the run ends by itself and isn't cut off.
const MARGIN: Duration = Duration::from_millis(100);
/// A service that is silent for this long, or for half of the journey's time, is itself to blame.
const FAIR_CHANCE: Duration = Duration::from_secs(1);
/// The longest value that is captured for a slot, in bytes.
const CAPTURE_LIMIT: usize = 8 * 1024;

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
    /// Expectations of the sort `else: odd` that don't hold.
    odd: Vec<Broken>,
    status: Option<u16>,
    duration: Duration,
    attempts: u32,
    excerpt: String,
    reproduce: Option<String>,
}

impl Taken {
    fn new(end: End) -> Self {
        Taken {
            end,
            odd: Vec::new(),
            status: None,
            duration: Duration::ZERO,
            attempts: 1,
            excerpt: String::new(),
            reproduce: None,
        }
    }
}

/// Until when what is done.
struct Deadlines {
    started: Instant,
    /// The steps themselves.
    steps: Instant,
    /// Everything.
    all: Instant,
}

impl Deadlines {
    fn new(started: Instant, deadline: Instant, cleans_up: bool) -> Self {
        let total = deadline.saturating_duration_since(started);
        let all = deadline - MARGIN.min(total / 20);
        let reserve = if cleans_up { CLEAN_UP.min(total / 5) } else { Duration::ZERO };
        Deadlines { started, steps: all - reserve, all }
    }
}

struct Run<'a> {
    ask: &'a Ask,
    steps: &'a [Step],
    deadlines: Deadlines,
    /// Parameters and captures, for slots.
    values: Params,
    /// Parameters and captures, for expressions.
    known: Measures,
    jar: Jar,
    /// What this run must not show: sessions, tokens that it captured and used.
    hidden: Redactor,
    notes: Vec<String>,
}

/// Takes the steps once.
pub async fn run(steps: &[Step], ask: &Ask) -> Observation {
    let started = Instant::now();
    let mut known = Measures::new();
    for (name, bound) in ask.params.iter() {
        known.set(name, bound.value.as_str());
    }
    let mut run = Run {
        ask,
        steps,
        deadlines: Deadlines::new(started, ask.deadline, steps.iter().any(|step| step.always)),
        values: ask.params.clone(),
        known,
        jar: Jar::default(),
        hidden: Redactor::default(),
        notes: Vec::new(),
    };
    let mut observation = run.all().await;
    observation.took = started.elapsed();
    observation
}

impl Run<'_> {
    async fn all(&mut self) -> Observation {
        let steps = self.steps;
        let last = steps.iter().rposition(|step| !step.always).unwrap_or_default();
        let mut stopped: Option<(usize, Taken)> = None;
        let mut shown = Vec::new();
        let mut odd = Vec::new();
        let mut passed = 0_usize;
        let mut skipped = 0_usize;
        let mut duration = Duration::ZERO;
        for (index, step) in steps.iter().enumerate() {
            if stopped.is_some() && !step.always {
                skipped += 1;
                continue;
            }
            if step.always {
                let until = if stopped.is_none() && index < last { self.deadlines.steps } else { self.deadlines.all };
                if let Some(taken) = self.clean_up(index, step, until).await {
                    passed += usize::from(matches!(taken.end, End::Held));
                    shown.push(show_taken(step, &taken));
                }
                continue;
            }
            let mut taken = self.take(index, step, self.deadlines.steps).await;
            duration += taken.duration;
            shown.push(show_taken(step, &taken));
            odd.append(&mut taken.odd);
            if matches!(taken.end, End::Held) {
                passed += 1;
            } else {
                stopped = Some((index, taken));
            }
        }

        let mut measures = Measures::new();
        measures.set("steps", passed).set("duration_seconds", duration.as_secs_f64()).set("step", Value::List(shown));
        let mut observation = Observation::answered(Measures::new());
        if let Some((index, taken)) = stopped {
            let step = &steps[index];
            measures.set("failed_step", step.name.clone().unwrap_or_else(|| (index + 1).to_string()));
            if let Some(status) = taken.status {
                measures.set("status", status);
            }
            if !taken.excerpt.is_empty() {
                observation = observation.excerpt(taken.excerpt);
            }
            observation.reproduce = taken.reproduce.map(|line| self.strike(&line));
            let place = self.place(index);
            let rest = if skipped == 0 { String::new() } else { format!("; {skipped} more not taken") };
            let verb = if matches!(taken.end, End::Blind(_)) { "could not be judged" } else { "failed" };
            self.notes.insert(0, format!("{place} {verb}{rest}"));
            match taken.end {
                End::Held => {}
                End::Broken(broken) => observation.broken = broken,
                End::Failed(fault) => {
                    let what = format!("{place}: {}", self.strike(&fault.what));
                    observation.seen = Seen::Failed(Fault { what, ..fault });
                }
                End::Blind(unknown) => {
                    let why = format!("{place}: {}", self.strike(&unknown.why));
                    observation.seen = Seen::Blind(Unknown { why, ..unknown });
                }
            }
        } else {
            let total = show_duration(duration);
            self.notes.insert(0, format!("{passed} of {} steps in {total}", steps.len()));
        }
        observation.broken.append(&mut odd);
        for broken in &mut observation.broken {
            broken.actual = self.strike(&broken.actual);
        }
        if self.jar.dropped() > 0 {
            self.notes
                .push(format!("{} cookies were not kept: too many, too long or for another host", self.jar.dropped()));
        }
        observation.notes = std::mem::take(&mut self.notes);
        observation.measures(measures)
    }

    /// `step 3 of 5 (pay)`
    fn place(&self, index: usize) -> String {
        format!("step {} of {} ({})", index + 1, self.steps.len(), self.steps[index].label)
    }

    fn now(&self) -> Timestamp {
        self.ask.now.checked_add(self.deadlines.started.elapsed()).unwrap_or(self.ask.now)
    }

    /// The text without any secret: those of the configuration, and those of this run's session.
    fn strike(&self, text: &str) -> String {
        for value in self.jar.values() {
            self.hidden.learn(&Secret::new(value.to_owned()));
        }
        self.hidden.strike(&self.ask.tools.redactor.strike(text))
    }

    /// Takes a step whatever happened before; what goes wrong is noted.
    async fn clean_up(&mut self, index: usize, step: &Step, until: Instant) -> Option<Taken> {
        let place = self.place(index);
        if let Some(missing) = step.slots().into_iter().find(|name| self.values.get(name).is_none()) {
            self.notes.push(format!("clean-up {place} was left out: there is no `{missing}`"));
            return None;
        }
        let taken = self.take(index, step, until).await;
        let what = match &taken.end {
            End::Held => None,
            End::Broken(broken) => broken.first().map(|broken| format!("{} (expected {})", broken.actual, broken.that)),
            End::Failed(fault) => Some(fault.what.clone()),
            End::Blind(unknown) => Some(unknown.why.clone()),
        };
        if let Some(what) = what {
            self.notes.push(format!("clean-up {place} failed: {}", self.strike(&what)));
        }
        Some(taken)
    }

    /// Takes a step as often as it says, until its expectations hold.
    async fn take(&mut self, index: usize, step: &Step, until: Instant) -> Taken {
        let mut attempt = 1;
        let mut before = Duration::ZERO;
        loop {
            let mut taken = self.try_once(step, until).await;
            taken.attempts = attempt;
            taken.duration += before;
            if matches!(taken.end, End::Held | End::Blind(_)) || attempt >= step.attempts {
                if attempt > 1 {
                    let place = self.place(index);
                    let ended = if matches!(taken.end, End::Held) { "held" } else { "did not hold" };
                    self.notes.push(format!("{place} {ended} at attempt {attempt} of {}", step.attempts));
                }
                return taken;
            }
            if Instant::now() + step.delay >= until {
                taken.end = End::Blind(Unknown::new(
                    UnknownKind::TimedOut,
                    format!("the journey's time ran out after {attempt} of {} attempts", step.attempts),
                ));
                return taken;
            }
            sleep(step.delay).await;
            before = taken.duration + step.delay;
            attempt += 1;
        }
    }

    async fn try_once(&mut self, step: &Step, until: Instant) -> Taken {
        let began = Instant::now();
        if began >= until {
            return Taken::new(End::Blind(Unknown::new(
                UnknownKind::TimedOut,
                "the journey's time ran out before it".to_owned(),
            )));
        }
        let letter = match Letter::write(step, &self.values, self.ask, &self.hidden) {
            Ok(letter) => letter,
            Err(error) => {
                let kind = match &error {
                    Unready::Slot(SlotError::Missing(_)) => UnknownKind::MissingParam,
                    _ => UnknownKind::Refused,
                };
                return Taken::new(End::Blind(Unknown::new(kind, error.to_string())));
            }
        };
        let with_cookies = self.jar.header(&letter.url, self.now()).is_some();
        let reproduce = Some(show::curl(step, &letter, with_cookies));
        let own = step.timeout.map(|timeout| began + timeout);
        let deadline = own.map_or(until, |own| own.min(until));
        let now = self.now();
        let sent = send(&letter, step.follow_redirects, &mut self.jar, &self.ask.tools, now, deadline);
        // The client keeps the deadline itself; this is for the day on which it doesn't.
        let answer = timeout_at(deadline + MARGIN / 2, sent).await;
        // The client's own count leaves out the wait for a turn at the target, which is our doing.
        let mut taken = match answer {
            Ok(Ok(response)) => Taken { duration: response.timings.total, ..self.judge(step, &response) },
            Ok(Err(failure)) => Taken {
                duration: failure.timings.total,
                ..Taken::new(self.failed(failure, own.is_some_and(|own| own <= until)))
            },
            Err(_) => Taken::new(End::Blind(Unknown::new(
                UnknownKind::TimedOut,
                format!("no answer, and no error, in {}", show_duration(began.elapsed())),
            ))),
        };
        taken.reproduce = reproduce;
        taken
    }

    /// Whose fault it is that there was no whole answer.
    fn failed(&self, failure: Failure, own_timeout: bool) -> End {
        let waited = failure.timings.total;
        let total = self.deadlines.steps.saturating_duration_since(self.deadlines.started);
        match failure.reason {
            Reason::Service => End::Failed(Fault { phase: failure.phase, what: failure.what }),
            Reason::Timeout if own_timeout || waited >= FAIR_CHANCE || waited >= total / 2 => {
                End::Failed(Fault { phase: failure.phase, what: failure.what })
            }
            Reason::Timeout => End::Blind(Unknown::new(
                UnknownKind::TimedOut,
                format!("only {} of the journey's {} were left for it", show_duration(waited), show_duration(total)),
            )),
            Reason::Guard => End::Blind(Unknown::new(UnknownKind::Refused, failure.what)),
            Reason::Ours => End::Blind(Unknown::new(failure.unknown, failure.what)),
        }
    }

    /// Holds the answer against the step's expectations, and keeps what it captures.
    fn judge(&mut self, step: &Step, response: &Response) -> Taken {
        let measures = answer::measures(response, self.now());
        let mut all = self.known.clone();
        for (name, value) in measures.iter() {
            all.set(name, value.clone());
        }
        let mut broken = Vec::new();
        let mut odd = Vec::new();
        let mut unseen = None;
        if step.expect.is_empty() && !(200..300).contains(&response.status) {
            broken.push(Broken {
                that: "status is 2xx".to_owned(),
                actual: format!("status is {}", response.status),
                at: step.at.to_string(),
                note: None,
                odd: false,
            });
        }
        for expect in &step.expect {
            let actual = match expect.that.hold(&all, &|_, _| Usual::Unknown { why: "not in a journey".to_owned() }) {
                Held::True => continue,
                Held::False { actual } => actual,
                Held::Unknown { why } => match absent(expect.that.names(), &measures, response) {
                    Absent::Ours(what) => {
                        unseen.get_or_insert(what);
                        continue;
                    }
                    Absent::Json => "the body is not JSON".to_owned(),
                    Absent::No => why,
                },
            };
            let list = if expect.odd { &mut odd } else { &mut broken };
            list.push(expect.broken(actual));
        }
        // Captured even where an expectation is broken, for the clean-up: what isn't there is told only where nothing
        // else is wrong, since an answer that is wrong altogether lacks it, too.
        let sound = broken.is_empty() && unseen.is_none();
        for capture in &step.capture {
            match self.capture(capture, &all, &measures, response) {
                Err(End::Broken(mut more)) if sound => broken.append(&mut more),
                Err(End::Blind(unknown)) if sound => unseen = Some(unknown.why),
                _ => {}
            }
        }
        let end = match unseen {
            // What is broken is broken, whatever else could not be seen.
            _ if !broken.is_empty() => End::Broken(broken),
            Some(why) => End::Blind(Unknown::new(UnknownKind::Incomplete, why)),
            None => End::Held,
        };
        let excerpt =
            if matches!(end, End::Held) { String::new() } else { show::excerpt(response, |text| self.strike(text)) };
        Taken { odd, status: Some(response.status), excerpt, ..Taken::new(end) }
    }

    /// Keeps one value for the steps to come. What isn't there, or isn't a value, is a broken expectation.
    fn capture(
        &mut self,
        capture: &Capture,
        all: &Measures,
        measures: &Measures,
        response: &Response,
    ) -> Result<(), End> {
        let refuse = |actual: String| {
            Err(End::Broken(vec![Broken {
                that: format!("capture {}: {}", capture.name, capture.value.text()),
                actual,
                at: capture.at.to_string(),
                note: None,
                odd: false,
            }]))
        };
        let value = match capture.value.evaluate(all) {
            Ok(value) => value,
            Err(why) => match absent(capture.value.names(), measures, response) {
                Absent::Ours(what) => return Err(End::Blind(Unknown::new(UnknownKind::Incomplete, what))),
                Absent::Json => return refuse("the body is not JSON".to_owned()),
                Absent::No => return refuse(why),
            },
        };
        let text = match &value {
            Value::Null => return refuse(format!("{} is null", capture.value.text())),
            Value::Text(text) if text.is_empty() => return refuse(format!("{} is empty", capture.value.text())),
            Value::Text(text) => Some(text.clone()),
            Value::Int(number) => Some(number.to_string()),
            Value::Float(number) if number.is_finite() => Some(number.to_string()),
            Value::Bool(value) => Some(value.to_string()),
            _ => None,
        };
        match text {
            Some(text) if text.len() <= CAPTURE_LIMIT => self.values.set(&capture.name, text, false),
            Some(_) => return refuse(format!("{} is longer than 8 KiB", capture.value.text())),
            None if capture.fills_slot => {
                return refuse(format!("{} is {}, which fits no slot", capture.value.text(), value.show(40)));
            }
            None => {}
        }
        self.known.set(&capture.name, value);
        Ok(())
    }
}

/// Why an expression could not be evaluated.
enum Absent {
    /// Every measure was there.
    No,
    /// The service answered something else than JSON: that is the service's doing.
    Json,
    /// We didn't read it, or it isn't to be had of such an exchange.
    Ours(String),
}

fn absent(names: &[String], measures: &Measures, response: &Response) -> Absent {
    let missing = |name: &str| step_measures().iter().any(|m| m.name == name) && measures.get(name).is_none();
    let missing: Vec<&str> = names.iter().map(String::as_str).filter(|name| missing(name)).collect();
    let of_body = |name: &str| CONTENT.contains(&name) || name == "body_bytes";
    match missing.first() {
        None => Absent::No,
        Some(name) if response.truncated && of_body(name) => Absent::Ours(match &response.unread_coding {
            Some(coding) => format!("the body is packed as {coding}, which is not understood here"),
            None => "the body is longer than is read".to_owned(),
        }),
        Some(_) if missing.iter().all(|name| *name == "json") => Absent::Json,
        Some(name) => Absent::Ours(format!("there is no {name} of this exchange")),
    }
}

/// What is kept of each step: its name, its status, how long it took.
fn show_taken(step: &Step, taken: &Taken) -> Value {
    let mut map = std::collections::BTreeMap::new();
    map.insert("name".to_owned(), Value::from(step.label.as_str()));
    map.insert("duration_seconds".to_owned(), Value::from(taken.duration.as_secs_f64()));
    if let Some(status) = taken.status {
        map.insert("status".to_owned(), Value::from(status));
    }
    if taken.attempts > 1 {
        map.insert("attempts".to_owned(), Value::from(taken.attempts));
    }
    Value::Map(map)
}
