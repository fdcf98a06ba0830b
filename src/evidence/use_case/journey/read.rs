//! Reads a journey from its YAML: a list of steps, each checked at its own place.

use std::time::Duration;

use http::{HeaderName, Method};

use super::super::expectation::{compile, expectation, find_slots, step_name};
use super::answer::{CONTENT, step_measures};
use super::keys::{Basic, HeaderKey, Keys, Retry};
use super::step::{Body, Capture, Credentials, HeaderValue, Step};
use crate::evidence::slots::UrlTemplate;
use crate::expect::Expression;
use crate::model::encode::is_unprintable;
use crate::model::params::is_name;
use crate::model::source::{Diagnostic, Span};
use crate::yaml::{Node, Shape, Spanned};

/// The most steps of a journey.
const STEPS_LIMIT: usize = 50;
/// The most attempts of a step.
const ATTEMPTS_LIMIT: u32 = 5;
/// The longest pause between two attempts.
const DELAY_LIMIT: Duration = Duration::from_secs(60);
/// The most redirects that a step can be told to follow.
const REDIRECTS_LIMIT: u8 = 20;
/// As for the `http` kind.
const REDIRECTS: u8 = 10;

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
    for (keys, node) in written.into_iter().zip(nodes) {
        for (name, at) in slots_of(node) {
            if !known.contains(&name) {
                return Err(Diagnostic::error(at, format!("`{name}` is used before it is captured"))
                    .hint("a step can use what the steps before it capture"));
            }
        }
        let step = step(keys, node, &known, &slots)?;
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
        step.expect.iter().any(|expect| !expect.odd && reads(&expect.that))
            || step.capture.iter().any(|capture| reads(&capture.value))
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

    let bodies = [keys.json.is_some(), keys.form.is_some(), keys.body.is_some()];
    if bodies.iter().filter(|given| **given).count() > 1 {
        let at = keys.body.as_ref().map(|body| &body.at).or(keys.form.as_ref().map(|form| &form.at));
        let at = at.cloned().unwrap_or_else(|| node.span.clone());
        return Err(Diagnostic::error(at, "a step sends one of json, form and body"));
    }
    let body = match (keys.json, keys.form, keys.body) {
        (Some(json), _, _) => Body::Json(json.value),
        (_, Some(form), _) => Body::Form(form.value),
        (_, _, Some(body)) => Body::Text(body.value),
        _ => Body::None,
    };
    let credentials = match (keys.bearer_token, keys.basic) {
        (Some(_), Some(basic)) => {
            return Err(Diagnostic::error(basic.at, "a step has one of bearer_token and basic"));
        }
        (Some(token), None) => Some(Credentials::Bearer(token.value)),
        (None, Some(basic)) => {
            let Basic { user, password } = basic.value;
            if user.is_empty() || user.contains(':') || user.chars().any(is_unprintable) || user.contains("{{") {
                return Err(Diagnostic::error(basic.at, "the user is plain text without a colon"));
            }
            Some(Credentials::Basic { user, password })
        }
        (None, None) => None,
    };
    let mut headers = Vec::new();
    for (name, value) in keys.headers {
        headers.push((header_name(&name, &value, credentials.is_some())?, value.value.0));
    }
    if let Some((first, _)) = headers
        .iter()
        .enumerate()
        .find_map(|(index, (name, _))| headers[..index].iter().any(|(before, _)| before == name).then_some((name, ())))
    {
        return Err(Diagnostic::error(node.span.clone(), format!("header `{first}` is given twice")));
    }

    let extra: Vec<&str> = known.iter().map(String::as_str).collect();
    let expect =
        keys.expect.into_iter().map(|said| expectation(said, step_measures(), &extra)).collect::<Result<_, _>>()?;
    let capture =
        keys.capture.into_iter().map(|(name, value)| capture(name, value, &extra, slots)).collect::<Result<_, _>>()?;

    let (attempts, delay) = match keys.retry {
        None => (1, Duration::ZERO),
        Some(Retry { attempts, delay }) => {
            if !(1..=ATTEMPTS_LIMIT).contains(&attempts.value) {
                return Err(Diagnostic::error(attempts.at, format!("a step is tried 1 to {ATTEMPTS_LIMIT} times")));
            }
            let pause = delay.as_ref().map_or(Duration::from_secs(1), |delay| delay.value.0);
            if let Some(delay) = delay
                && pause > DELAY_LIMIT
            {
                return Err(Diagnostic::error(delay.at, "the pause between two attempts is at most 60s"));
            }
            (attempts.value, pause)
        }
    };
    let timeout = keys.timeout.map(|timeout| (timeout.value.0, timeout.at));
    if let Some((duration, at)) = &timeout
        && duration.is_zero()
    {
        return Err(Diagnostic::error(at.clone(), "a timeout is longer than nothing"));
    }
    if let Some(follow) = &keys.follow_redirects
        && follow.value > REDIRECTS_LIMIT
    {
        return Err(Diagnostic::error(follow.at.clone(), format!("at most {REDIRECTS_LIMIT} redirects are followed")));
    }
    Ok(Step {
        name,
        label,
        method,
        url: url.value,
        headers,
        body,
        credentials,
        expect,
        capture,
        always: keys.always,
        attempts,
        delay,
        timeout: timeout.map(|(duration, _)| duration),
        follow_redirects: keys.follow_redirects.map_or(REDIRECTS, |follow| follow.value),
        at: url.at,
    })
}

/// The path of a URL as it is written, slots and all.
fn path_as_written(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').map_or("/", |at| &rest[at..]).split('?').next().unwrap_or("/")
}

fn header_name(name: &str, value: &Spanned<HeaderKey>, has_credentials: bool) -> Result<String, Diagnostic> {
    let refuse = |message: String| Err(Diagnostic::error(value.at.clone(), message));
    let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else {
        return refuse(format!("`{}` is not the name of a header", name.chars().take(40).collect::<String>()));
    };
    let header = header.as_str().to_owned();
    let ours =
        ["content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "expect", "accept-encoding"];
    if ours.contains(&header.as_str()) {
        return refuse(format!("header `{header}` is set by the client itself"));
    }
    let lets_in = matches!(header.as_str(), "authorization" | "proxy-authorization");
    if lets_in && has_credentials {
        return refuse(format!("header `{header}` beside bearer_token or basic"));
    }
    if let HeaderValue::Text(text) = &value.value.0
        && lets_in
        && text.params().is_empty()
    {
        return Err(Diagnostic::error(value.at.clone(), format!("header `{header}` holds a secret in plain text"))
            .hint("use bearer_token: { env: NAME }, or basic: { user: …, password: { env: NAME } }"));
    }
    Ok(header)
}

fn capture(name: String, value: Spanned<String>, extra: &[&str], slots: &[String]) -> Result<Capture, Diagnostic> {
    let refuse = |message: String| Err(Diagnostic::error(value.at.clone(), message));
    if !is_name(&name) || name.len() > 64 {
        return refuse("a capture's name is a letter or underscore, then letters, digits, underscores".to_owned());
    }
    if step_measures().iter().any(|measure| measure.name == name) {
        return refuse(format!("`{name}` is the name of a measure; give the capture another one"));
    }
    let expression = compile(&value.value, &value.at, |text| Expression::value(text, step_measures(), extra))?;
    Ok(Capture { fills_slot: slots.contains(&name), name, value: expression, at: value.at })
}

/// Every slot of a step with its place.
fn slots_of(node: &Node) -> Vec<(String, Span)> {
    let mut found = Vec::new();
    if let Shape::Map(entries) = &node.shape {
        for (key, value) in entries {
            if !matches!(key.text(), Some("expect" | "capture")) {
                find_slots(value, &mut found);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::parse;

    fn read(text: &str) -> Result<Vec<Step>, Diagnostic> {
        steps(&parse("shop.yaml", text).expect("YAML"))
    }

    #[test]
    fn a_journey_is_read_with_the_place_of_every_expectation() {
        let steps = read(
            r#"- post: "https://shop.example.com/api/cart"
  name: open a cart
  headers: { X-Channel: web, X-Try: 1, X-Api-Key: { env: SHOP_KEY } }
  json: { account: "{{ account }}", lines: [1, { gift: true }] }
  bearer_token: { file: /run/secrets/shop }
  expect:
    - status == 201
    - that: duration_seconds < 2
      else: odd
      note: slow since May
  capture: { cart: json.id }
  retry: { attempts: 3, delay: 200ms }
  timeout: 2s
  follow_redirects: 0
- delete: "https://shop.example.com/api/cart/{{ cart }}?by={{ account }}"
  always: true
"#,
        )
        .unwrap();
        assert_eq!(steps.len(), 2);
        let first = &steps[0];
        assert_eq!((first.label.as_str(), first.attempts, first.follow_redirects), ("open a cart", 3, 0));
        assert_eq!(first.delay, Duration::from_millis(200));
        assert_eq!(first.timeout, Some(Duration::from_secs(2)));
        assert_eq!(first.slots(), ["account"]);
        assert_eq!(first.secrets().len(), 2);
        assert_eq!(first.expect[0].at.to_string(), "shop.yaml:7:7");
        assert_eq!((first.expect[1].at.to_string().as_str(), first.expect[1].odd), ("shop.yaml:8:13", true));
        assert_eq!(first.expect[1].note.as_deref(), Some("slow since May"));
        assert!(first.capture[0].fills_slot);
        assert_eq!(first.capture[0].at.to_string(), "shop.yaml:11:20");
        let second = &steps[1];
        assert!(second.always && second.follow_redirects == 10 && second.attempts == 1);
        assert_eq!(second.label, "DELETE /api/cart/{{ cart }}");
        assert_eq!(second.slots(), ["cart", "account"]);
    }

    #[test]
    fn every_fault_is_shown_at_its_own_place() {
        let mut wrong = Vec::new();
        let read_it = "  expect: [ 'body != \"\"' ]\n";
        for (text, place, message, hint) in [
            ("get: http://h/", "1:1", "expected a list of steps", "- get:"),
            ("[]", "1:1", "1 to 50 steps", ""),
            ("- name: x\n", "1:3", "needs one of get, head", "- get:"),
            ("- get: http://h/\n  post: http://h/\n", "2:9", "one method", "of its own"),
            ("- get: ftp://h/\n", "1:8", "not an http or https URL", "write it like"),
            ("- get: \"http://{{ h }}/\"\n", "1:8", "parameter `h` can't stand in a URL's scheme, host or port", ""),
            ("- get: http://h/\n  colour: red\n", "2:3", "unknown key `colour`", "known keys"),
            ("- get: http://h/\n  expct: [x]\n", "2:3", "unknown key `expct`", "`expect`"),
            ("- get: http://h/\n  expect: [ sttus == 200 ]\n", "2:13", "sttus", "status"),
            ("- get: http://h/\n  expect: [ 'status == 200 && sttus == 1' ]\n", "2:31", "sttus", "status"),
            ("- get: http://h/\n  expect: [ { that: statu == 200 } ]\n", "2:21", "statu", "status"),
            ("- get: http://h/\n  expect: [ usual(duration_seconds) ]\n", "2:13", "usual", "whole journey"),
            ("- get: http://h/\n  expect: [ 'json.a == \"{{ b }}\"' ]\n", "2:13", "holds no {{ slots }}", "alone"),
            ("- get: http://h/\n  expect: [ { that: status == 200, else: perhaps } ]\n", "2:42", "perhaps", ""),
            ("- get: http://h/\n  json: 1\n  form: { a: b }\n", "3:9", "one of json, form and body", ""),
            ("- get: http://h/\n  headers: { 'a b': x }\n", "2:21", "not the name of a header", ""),
            ("- get: http://h/\n  headers: { Content-Length: 5 }\n", "2:30", "set by the client", ""),
            (
                "- get: http://h/\n  headers: { Authorization: Bearer abc }\n",
                "2:29",
                "secret in plain text",
                "bearer_token",
            ),
            ("- get: http://h/\n  headers: { X-A: x, x-a: y }\n", "1:3", "given twice", ""),
            ("- get: http://h/\n  bearer_token: abc\n", "2:17", "", "env"),
            ("- get: http://h/\n  basic: { user: 'a:b', password: { env: X } }\n", "2:10", "without a colon", ""),
            ("- get: http://h/\n  capture: { status: json.x }\n", "2:22", "name of a measure", ""),
            ("- get: http://h/\n  capture: { 'a-b': json.x }\n", "2:21", "a capture's name", ""),
            ("- get: http://h/\n  retry: { attempts: 6 }\n", "2:22", "1 to 5 times", ""),
            ("- get: http://h/\n  retry: { attempts: 2, delay: 5m }\n", "2:32", "at most 60s", ""),
            ("- get: http://h/\n  timeout: 5\n", "2:12", "no unit", "5s"),
            ("- get: http://h/\n  timeout: 0s\n", "2:12", "longer than nothing", ""),
            ("- get: http://h/\n  follow_redirects: 21\n", "2:21", "at most 20", ""),
            ("- get: http://h/\n  expect: [ status == 200 ]\n", "1:8", "no step looks at what is answered", "`body`"),
            ("- get: http://h/\n  always: true\n", "1:1", "nothing is tried", ""),
            (
                &format!(
                    "- get: http://h/a/{{{{ cart }}}}\n{read_it}- post: http://h/\n  capture: {{ cart: json.id }}\n"
                ),
                "1:19",
                "`cart` is used before it is captured",
                "before it",
            ),
            (
                &format!("- get: \"http://h/a/{{{{ cart }}}}\"\n  capture: {{ cart: json.id }}\n{read_it}"),
                "1:20",
                "`cart` is used before it is captured",
                "before it",
            ),
            (
                &format!(
                    "- get: http://h/\n{read_it}- get: http://h/\n  expect: [ later == 1 ]\n- get: http://h/\n  capture: {{ later: json.id }}\n"
                ),
                "4:13",
                "later",
                "",
            ),
        ] {
            let error = read(text).expect_err(text);
            let fits = error.at.to_string() == format!("shop.yaml:{place}")
                && error.message.contains(message)
                && error.hint.as_deref().unwrap_or_default().contains(hint);
            if !fits {
                wrong.push(format!("{text}wanted {place} `{message}` `{hint}`: {error:?}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn expectations_see_parameters_and_earlier_captures() {
        let steps = read(
            r#"- post: "http://h/x/{{ account }}"
  expect: [ json.account == account ]
  capture: { cart: json.id, total: json.total }
- get: http://h/cart
  expect: [ json.total == total && json.id == cart ]
"#,
        )
        .unwrap();
        assert!(!steps[0].capture.iter().any(|capture| capture.fills_slot));
    }
}
