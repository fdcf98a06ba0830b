//! Reads a journey from its YAML: a list of steps, each checked at its own place.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::super::expectation::{compile, find_slots, step_name};
use super::answer::{CONTENT, step_measures};
use super::find::Finder;
use super::keys::{CaptureKey, Keys, PollKeys, Retry, Said};
use super::step::{Again, Capture, Expect, Poll, Step, Wanted};
use crate::evidence::external::tls_options::Tls;
use crate::evidence::message::{Message, Written, WrittenBody};
use crate::evidence::slots::UrlTemplate;
use crate::expect::Expression;
use crate::model::params::is_name;
use crate::model::source::{Diagnostic, Span};
use crate::yaml::{Node, Shape, Spanned};

/// The most steps of a journey.
const STEPS_LIMIT: usize = 50;
/// The most attempts of a step.
const ATTEMPTS_LIMIT: u32 = 5;
/// The longest pause between two attempts.
const DELAY_LIMIT: Duration = Duration::from_secs(60);
/// The shortest time between two requests of a step that waits for something.
const POLL_LEAST: Duration = Duration::from_millis(100);
/// The longest that a step waits for something.
const POLL_LIMIT: Duration = Duration::from_secs(600);
/// What an expectation calls that which is looked for, and how often it is there.
pub const FOUND: &str = "found";
pub const FOUND_COUNT: &str = "found_count";

/// Reads all steps.
///
/// # Errors
/// The first thing that is wrong, at its own place.
pub fn steps(node: &Node) -> Result<Vec<Step>, Diagnostic> {
    let Shape::List(nodes) = &node.shape else {
        let message = format!("expected a list of steps, found {}", node.describe());
        return Err(Diagnostic::error(node.span.clone(), message).hint("write `- get: https://…`, a line per step"));
    };
    if nodes.is_empty() || nodes.len() > STEPS_LIMIT {
        return Err(Diagnostic::error(node.span.clone(), format!("a journey has 1 to {STEPS_LIMIT} steps")));
    }
    let written = nodes.iter().map(Node::read::<Keys>).collect::<Result<Vec<Keys>, Diagnostic>>()?;

    // Expressions may use what any slot uses: a name that is no capture is a parameter, which the check declares.
    let slots: Vec<String> = nodes.iter().flat_map(slots_of).map(|(name, _)| name).collect();
    let captured: Vec<&str> = written.iter().flat_map(|keys| keys.capture.keys()).map(String::as_str).collect();
    let mut known: Vec<String> = slots.iter().filter(|name| !captured.contains(&name.as_str())).cloned().collect();
    known.sort();
    known.dedup();

    let mut steps: Vec<Step> = Vec::new();
    let mut certificates: HashMap<String, Arc<Tls>> = HashMap::new();
    for (keys, node) in written.into_iter().zip(nodes) {
        for (name, at) in slots_of(node) {
            if !known.contains(&name) {
                return Err(Diagnostic::error(at, format!("`{name}` is used before it is captured"))
                    .hint("a step can use what the steps before it capture"));
            }
        }
        let mut step = step(keys, node, &known, &slots)?;
        // Whom to trust, and who we are, is a matter of the host: it needn't be said at each step.
        match certificates.entry(step.message.url.host_and_port()) {
            Entry::Occupied(before) if *step.message.tls == Tls::default() => {
                step.message.tls = Arc::clone(before.get());
            }
            entry => {
                entry.insert_entry(Arc::clone(&step.message.tls));
            }
        }
        for capture in &step.capture {
            if !known.contains(&capture.name) {
                known.push(capture.name.clone());
            }
        }
        steps.push(step);
    }
    if steps.iter().all(|step| step.always) {
        return Err(Diagnostic::error(node.span.clone(), "every step is `always`: nothing is tried"));
    }
    // A page that says "sorry" with status 200 passes every journey that doesn't read it.
    let reads = |expression: &Expression| expression.names().iter().any(|name| CONTENT.contains(&name.as_str()));
    let has_content = |step: &Step| {
        step.expect.iter().any(|expect| !expect.odd && (expect.of.is_some() || reads(&expect.that)))
            || step.capture.iter().any(|capture| match &capture.value {
                Wanted::Found(_) => true,
                Wanted::Expression(expression) => reads(expression),
            })
            || matches!(&step.again, Again::Poll(poll) if reads(&poll.until))
    };
    if !steps.iter().any(has_content) {
        return Err(Diagnostic::error(
            steps[0].at.clone(),
            "no step looks at what is answered: an error page with status 200 would pass",
        )
        .hint("expect something of `body`, `json` or `headers`, or capture from it"));
    }
    Ok(steps)
}

fn step(keys: Keys, node: &Node, known: &[String], slots: &[String]) -> Result<Step, Diagnostic> {
    let methods = [
        (Method::GET, keys.get),
        (Method::HEAD, keys.head),
        (Method::POST, keys.post),
        (Method::PUT, keys.put),
        (Method::PATCH, keys.patch),
        (Method::DELETE, keys.delete),
    ];
    let mut asked: Vec<(Method, Spanned<UrlTemplate>)> =
        methods.into_iter().filter_map(|(method, url)| url.map(|url| (method, url))).collect();
    let (method, url) = match (asked.len(), asked.pop()) {
        (1, Some(one)) => one,
        (0, _) | (_, None) => {
            return Err(Diagnostic::error(
                node.span.clone(),
                "a step needs one of get, head, post, put, patch, delete",
            )
            .hint("write `- get: https://…`"));
        }
        (_, Some((_, second))) => {
            return Err(Diagnostic::error(second.at, "a step has one method").hint("make it a step of its own"));
        }
    };
    let name = keys.name.map(step_name).transpose()?;
    let label = name.clone().unwrap_or_else(|| format!("{method} {}", path_as_written(url.value.text())));

    let written = Written {
        headers: keys.headers,
        body: WrittenBody { json: keys.json, form: keys.form, multipart: keys.multipart, body: keys.body },
        bearer_token: keys.bearer_token,
        basic: keys.basic,
        digest: keys.digest,
        follow_redirects: keys.follow_redirects,
    };
    let at = url.at;
    let message = Message::read(method, url.value, written, true)?;
    let message = Message { tls: Arc::new(keys.tls.unwrap_or_default()), ..message };

    let extra: Vec<&str> = known.iter().map(String::as_str).collect();
    let expect = keys.expect.into_iter().map(|said| expectation(said, &extra)).collect::<Result<_, _>>()?;
    let capture =
        keys.capture.into_iter().map(|(name, value)| capture(name, value, &extra, slots)).collect::<Result<_, _>>()?;

    let again = match (keys.retry, keys.poll) {
        (Some(_), Some(poll)) => {
            return Err(Diagnostic::error(poll.at, "`poll` beside `retry`: a step is taken again for one reason"));
        }
        (retry, None) => read_retry(retry)?,
        (None, Some(poll)) => read_poll(poll.value, &extra)?,
    };
    let timeout = keys.timeout.map(|timeout| (timeout.value.0, timeout.at));
    if let Some((duration, at)) = &timeout
        && duration.is_zero()
    {
        return Err(Diagnostic::error(at.clone(), "a timeout is longer than nothing"));
    }
    Ok(Step {
        name,
        label,
        message,
        expect,
        capture,
        always: keys.always,
        again,
        timeout: timeout.map(|(duration, _)| duration),
        at,
    })
}

fn read_retry(retry: Option<Retry>) -> Result<Again, Diagnostic> {
    let Some(Retry { attempts, delay }) = retry else {
        return Ok(Again::Retry { attempts: 1, delay: Duration::ZERO });
    };
    if !(1..=ATTEMPTS_LIMIT).contains(&attempts.value) {
        return Err(Diagnostic::error(attempts.at, format!("a step is tried 1 to {ATTEMPTS_LIMIT} times")));
    }
    let pause = delay.as_ref().map_or(Duration::from_secs(1), |delay| delay.value.0);
    if let Some(delay) = delay
        && pause > DELAY_LIMIT
    {
        return Err(Diagnostic::error(delay.at, "the pause between two attempts is at most 60s"));
    }
    Ok(Again::Retry { attempts: attempts.value, delay: pause })
}

fn read_poll(poll: PollKeys, extra: &[&str]) -> Result<Again, Diagnostic> {
    let PollKeys { until, every, within } = poll;
    let pause = every.as_ref().map_or(Duration::from_secs(1), |every| every.value.0);
    if let Some(every) = every
        && !(POLL_LEAST..=DELAY_LIMIT).contains(&pause)
    {
        return Err(Diagnostic::error(every.at, "between two requests are 100ms to 60s"));
    }
    if within.value.0 < pause || within.value.0 > POLL_LIMIT {
        let message = "`within` is at least the time between two requests, and at most 10m";
        return Err(Diagnostic::error(within.at, message));
    }
    let condition = condition(&until.value, &until.at, extra)?;
    Ok(Again::Poll(Poll { until: condition, every: pause, within: within.value.0, at: until.at }))
}

/// An expression that is true or false of an answer.
fn condition(text: &str, at: &Span, extra: &[&str]) -> Result<Expression, Diagnostic> {
    let condition = compile(text, at, |text| Expression::condition(text, step_measures(), extra))?;
    if !condition.usual().is_empty() {
        return Err(Diagnostic::error(at.clone(), "usual(…) can't be used in a step")
            .hint("expect it of the whole journey: usual(duration_seconds)"));
    }
    Ok(condition)
}

/// The path of a URL as it is written, slots and all.
fn path_as_written(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').map_or("/", |at| &rest[at..]).split('?').next().unwrap_or("/")
}

fn expectation(said: Spanned<Said>, extra: &[&str]) -> Result<Expect, Diagnostic> {
    let Spanned { at, value: Said { that, of, odd, note } } = said;
    let of = Finder::read(of)?;
    let (text, at) = match (that, &of) {
        (Some(that), _) if that.at.file.is_empty() => (that.value, at),
        (Some(that), _) => (that.value, that.at),
        (None, Some(_)) => (format!("{FOUND} != null"), at),
        (None, None) => {
            return Err(Diagnostic::error(at, "the key `that` is missing").hint("add `that: …`"));
        }
    };
    let mut names = extra.to_vec();
    if of.is_some() {
        names.extend([FOUND, FOUND_COUNT]);
    }
    let that = condition(&text, &at, &names)?;
    Ok(Expect { of, that, odd, note, at })
}

fn capture(name: String, value: Spanned<CaptureKey>, extra: &[&str], slots: &[String]) -> Result<Capture, Diagnostic> {
    let Spanned { at, value } = value;
    let refuse = |message: String| Err(Diagnostic::error(at.clone(), message));
    if !is_name(&name) || name.len() > 64 {
        return refuse("a capture's name is a letter or underscore, then letters, digits, underscores".to_owned());
    }
    if step_measures().iter().any(|measure| measure.name == name) {
        return refuse(format!("`{name}` is the name of a measure; give the capture another one"));
    }
    if [FOUND, FOUND_COUNT].contains(&name.as_str()) {
        return refuse(format!("`{name}` is what an expectation looks for; give the capture another name"));
    }
    let value = match value {
        CaptureKey::Expression(text) => {
            Wanted::Expression(compile(&text, &at, |text| Expression::value(text, step_measures(), extra))?)
        }
        CaptureKey::Found(keys) => match Finder::read(keys)? {
            Some(finder) => Wanted::Found(finder),
            None => return refuse("nothing says what is captured: jsonpath, header or regex".to_owned()),
        },
    };
    Ok(Capture { fills_slot: slots.contains(&name), name, value, at })
}

/// Every slot of a step with its place.
fn slots_of(node: &Node) -> Vec<(String, Span)> {
    let mut found = Vec::new();
    if let Shape::Map(entries) = &node.shape {
        for (key, value) in entries {
            if !matches!(key.text(), Some("expect" | "capture" | "poll")) {
                find_slots(value, &mut found);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests;
