//! One run of a journey: step after step, until one fails; then the clean-up, in the time kept for it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep, timeout_at};

use super::answer;
use super::cookies::Jar;
use super::deadlines::{Deadlines, MARGIN};
use super::find::as_one;
use super::hold::{Absent, absent, condition, found, hold};
use super::send::send;
use super::show;
use super::step::{Again, Capture, Expect, Poll, Step, Wanted};
use crate::evidence::Ask;
use crate::model::observation::{Broken, Fault, Observation, Seen, Unknown, UnknownKind};
use crate::model::params::Params;
use crate::model::secret::{Redactor, Secret};
use crate::model::units::show_duration;
use crate::model::value::{Measures, Value};
use crate::net::http::{Failure, Kept, Reason, Response};

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
    /// What it waits for has not come about yet.
    waits: bool,
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
            waits: false,
            excerpt: String::new(),
            reproduce: None,
        }
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
    /// Its connections, which no other run sees.
    kept: Arc<Kept>,
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
        kept: Arc::default(),
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
        if let Some(missing) = step.message.params().into_iter().find(|name| self.values.get(name).is_none()) {
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

    /// Takes a step as often as it says, until its expectations hold, or until what it waits for has come about.
    async fn take(&mut self, index: usize, step: &Step, until: Instant) -> Taken {
        let began = Instant::now();
        let mut attempt = 1;
        let mut before = Duration::ZERO;
        loop {
            let mut taken = self.try_once(step, until).await;
            taken.attempts = attempt;
            taken.duration += before;
            let pause = match &step.again {
                Again::Retry { attempts, delay } => {
                    let again = matches!(taken.end, End::Broken(_) | End::Failed(_)) && attempt < *attempts;
                    again.then_some(*delay)
                }
                Again::Poll(poll) => {
                    let again = taken.waits || matches!(taken.end, End::Failed(_));
                    (again && began.elapsed() + poll.every < poll.within).then_some(poll.every)
                }
            };
            let Some(pause) = pause else {
                self.note_attempts(index, step, &taken);
                return taken;
            };
            if Instant::now() + pause >= until {
                let of = match &step.again {
                    Again::Retry { attempts, .. } => format!("after {attempt} of {attempts} attempts"),
                    Again::Poll(poll) => {
                        let (waited, within) = (show_duration(began.elapsed()), show_duration(poll.within));
                        format!("after {waited} of the {within} for which it waits")
                    }
                };
                let why = format!("the journey's time ran out {of}");
                taken.end = End::Blind(Unknown::new(UnknownKind::TimedOut, why));
                return taken;
            }
            if !taken.waits {
                // Nothing of the attempt that failed is left for the next one, not its connection either.
                self.kept.clear();
            }
            sleep(pause).await;
            before = taken.duration + pause;
            attempt += 1;
        }
    }

    fn note_attempts(&mut self, index: usize, step: &Step, taken: &Taken) {
        let (place, attempt) = (self.place(index), taken.attempts);
        let held = if matches!(taken.end, End::Held) { "held" } else { "did not hold" };
        match &step.again {
            Again::Retry { attempts, .. } if attempt > 1 => {
                self.notes.push(format!("{place} {held} at attempt {attempt} of {attempts}"));
            }
            Again::Poll(poll) if taken.waits => {
                let within = show_duration(poll.within);
                self.notes.push(format!("{place} waited for it in vain for {within}, and asked {attempt} times"));
            }
            Again::Poll(_) if attempt > 1 => {
                let waited = show_duration(taken.duration);
                self.notes.push(format!("{place} asked {attempt} times in {waited}"));
            }
            _ => {}
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
        let request = match step.message.write(&self.values, self.ask, &self.hidden) {
            Ok(request) => request,
            Err(unready) => return Taken::new(End::Blind(Unknown::new(unready.kind(), unready.to_string()))),
        };
        let with_cookies = self.jar.header(&request.url, self.now()).is_some();
        let reproduce = Some(step.message.curl(&request, &self.values, with_cookies));
        let own = step.timeout.map(|timeout| began + timeout);
        let deadline = own.map_or(until, |own| own.min(until));
        let now = self.now();
        let sent = send(request, &mut self.jar, &self.kept, &self.ask.tools, now, deadline);
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
        if let Again::Poll(poll) = &step.again
            && let Some(end) = waits(poll, &all, &measures, response)
        {
            let excerpt = show::excerpt(response, |text| self.strike(text));
            return Taken { waits: true, status: Some(response.status), excerpt, ..Taken::new(end) };
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
            let actual = match hold(expect, &all, &measures, response) {
                Ok(()) => continue,
                Err(Absent::Ours(what)) => {
                    unseen.get_or_insert(what);
                    continue;
                }
                Err(Absent::Json) => "the body is not JSON".to_owned(),
                Err(Absent::No(actual)) => actual,
            };
            let list = if expect.odd { &mut odd } else { &mut broken };
            list.push(broken_expectation(expect, actual));
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
        let shown = capture.value.text();
        let value = match &capture.value {
            Wanted::Expression(expression) => {
                expression.evaluate(all).map_err(|why| absent(expression.names(), why, measures, response))
            }
            Wanted::Found(finder) => found(finder, response).map(as_one),
        };
        let value = match value {
            Ok(Value::Null) if matches!(capture.value, Wanted::Found(_)) => {
                return refuse(format!("{shown} finds nothing"));
            }
            Ok(value) => value,
            Err(Absent::Ours(what)) => return Err(End::Blind(Unknown::new(UnknownKind::Incomplete, what))),
            Err(Absent::Json) => return refuse("the body is not JSON".to_owned()),
            Err(Absent::No(why)) => return refuse(why),
        };
        let text = match &value {
            Value::Null => return refuse(format!("{shown} is null")),
            Value::Text(text) if text.is_empty() => return refuse(format!("{shown} is empty")),
            Value::Text(text) => Some(text.clone()),
            Value::Int(number) => Some(number.to_string()),
            Value::Float(number) if number.is_finite() => Some(number.to_string()),
            Value::Bool(value) => Some(value.to_string()),
            _ => None,
        };
        match text {
            Some(text) if text.len() <= CAPTURE_LIMIT => self.values.set(&capture.name, text, false),
            Some(_) => return refuse(format!("{shown} is longer than 8 KiB")),
            None if capture.fills_slot => {
                return refuse(format!("{shown} is {}, which fits no slot", value.show(40)));
            }
            None => {}
        }
        self.known.set(&capture.name, value);
        Ok(())
    }
}

/// That what is waited for has not come about; `None` where it has.
fn waits(poll: &Poll, all: &Measures, measures: &Measures, response: &Response) -> Option<End> {
    let actual = match condition(&poll.until, all, measures, response) {
        Ok(()) => return None,
        Err(Absent::Ours(what)) => return Some(End::Blind(Unknown::new(UnknownKind::Incomplete, what))),
        Err(Absent::Json) => "the body is not JSON".to_owned(),
        Err(Absent::No(actual)) => actual,
    };
    let that = format!("until {}", poll.until.text());
    Some(End::Broken(vec![Broken { that, actual, at: poll.at.to_string(), note: None, odd: false }]))
}

fn broken_expectation(expect: &Expect, actual: String) -> Broken {
    Broken { that: expect.text(), actual, at: expect.at.to_string(), note: expect.note.clone(), odd: expect.odd }
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
