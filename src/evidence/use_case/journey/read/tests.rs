//! Reading: what a journey may say, and every fault at its own place.

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
    assert_eq!((first.label.as_str(), first.message.follow_redirects), ("open a cart", 0));
    let Again::Retry { attempts, delay } = &first.again else { panic!("{:?}", first.again) };
    assert_eq!((*attempts, *delay), (3, Duration::from_millis(200)));
    assert_eq!(first.timeout, Some(Duration::from_secs(2)));
    assert_eq!(first.message.params(), ["account"]);
    assert_eq!(first.message.secrets().len(), 2);
    assert_eq!(first.expect[0].at.to_string(), "shop.yaml:7:7");
    assert_eq!((first.expect[1].at.to_string().as_str(), first.expect[1].odd), ("shop.yaml:8:13", true));
    assert_eq!(first.expect[1].note.as_deref(), Some("slow since May"));
    assert!(first.capture[0].fills_slot);
    assert_eq!(first.capture[0].at.to_string(), "shop.yaml:11:20");
    let second = &steps[1];
    assert!(second.always && second.message.follow_redirects == 10);
    assert!(matches!(second.again, Again::Retry { attempts: 1, .. }));
    assert_eq!(second.label, "DELETE /api/cart/{{ cart }}");
    assert_eq!(second.message.params(), ["cart", "account"]);
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
        ("- get: http://h/\n  json: 1\n  form: { a: b }\n", "3:9", "one body", ""),
        ("- get: http://h/\n  headers: { 'a b': x }\n", "2:21", "name of a header", ""),
        ("- get: http://h/\n  headers: { Content-Length: 5 }\n", "2:30", "written by the client", ""),
        ("- get: http://h/\n  headers: { Authorization: Bearer abc }\n", "2:29", "is a secret", "bearer_token"),
        ("- get: http://h/\n  headers: { X-A: x, x-a: y }\n", "2:27", "given twice", ""),
        ("- get: http://h/\n  bearer_token: abc\n", "2:17", "", "env"),
        ("- get: http://h/\n  basic: { user: 'a:b', password: { env: X } }\n", "2:10", "without a colon", ""),
        ("- get: http://h/\n  capture: { status: json.x }\n", "2:22", "name of a measure", ""),
        ("- get: http://h/\n  capture: { 'a-b': json.x }\n", "2:21", "a capture's name", ""),
        (
            "- get: http://h/\n  digest: { user: a, password: { env: X } }\n  basic: { user: a, password: { env: X } }\n",
            "2:11",
            "`digest` beside `basic`: a request has one Authorization",
            "",
        ),
        (
            "- get: http://h/\n  tls: { client_cert: a.pem }\n",
            "2:8",
            "`client_cert` without `client_key`",
            "client_key",
        ),
        ("- get: http://h/\n  tls: { client_key: { env: A } }\n", "2:8", "`client_key` without", "client_cert"),
        (
            "- get: http://h/\n  tls: { client_cert: a.pem, client_key: abc }\n",
            "2:42",
            "a secret is not written",
            "env",
        ),
        ("- get: http://h/\n  capture: { a: { jsonpath: '$.[' } }\n", "2:32", "not a JSONPath", "$.items"),
        ("- get: http://h/\n  capture: { a: { jsonpath: '$..a..b..c' } }\n", "2:29", "at most 2 times", ""),
        ("- get: http://h/\n  capture: { a: { jsonpath: $.a, header: b } }\n", "2:42", "one place is looked at", ""),
        ("- get: http://h/\n  capture: { a: { header: 'a b' } }\n", "2:27", "name of a header", ""),
        ("- get: http://h/\n  capture: { a: { regex: '(' } }\n", "2:26", "not a regular expression", ""),
        ("- get: http://h/\n  capture: { a: {} }\n", "2:17", "nothing says what is captured", ""),
        ("- get: http://h/\n  capture: { a: { xpath: //a } }\n", "2:19", "unknown key `xpath`", "jsonpath"),
        ("- get: http://h/\n  capture: { found: json.a }\n", "2:21", "another name", ""),
        ("- get: http://h/\n  expect: [ { note: x } ]\n", "2:13", "the key `that` is missing", "that"),
        ("- get: http://h/\n  expect: [ { jsonpath: $.a, that: foun == 1 } ]\n", "2:36", "foun", "found"),
        ("- get: http://h/\n  expect: [ found == 1 ]\n", "2:13", "found", ""),
        ("- get: http://h/\n  poll: { until: json.a == 1 }\n", "2:9", "`within` is missing", "within"),
        ("- get: http://h/\n  poll: { until: json.a == b, within: 5s }\n", "2:28", "b", ""),
        ("- get: http://h/\n  poll: { until: json.a == 1, within: 5s, every: 10ms }\n", "2:50", "100ms to 60s", ""),
        ("- get: http://h/\n  poll: { until: json.a == 1, within: 500ms }\n", "2:39", "at least the time between", ""),
        (
            "- get: http://h/\n  poll: { until: json.a == 1, within: 5s }\n  retry: { attempts: 2 }\n",
            "2:9",
            "`poll` beside `retry`",
            "",
        ),
        ("- get: http://h/\n  retry: { attempts: 6 }\n", "2:22", "1 to 5 times", ""),
        ("- get: http://h/\n  retry: { attempts: 2, delay: 5m }\n", "2:32", "at most 60s", ""),
        ("- get: http://h/\n  timeout: 5\n", "2:12", "no unit", "5s"),
        ("- get: http://h/\n  timeout: 0s\n", "2:12", "longer than nothing", ""),
        ("- get: http://h/\n  follow_redirects: 21\n", "2:21", "at most 20", ""),
        ("- get: http://h/\n  expect: [ status == 200 ]\n", "1:8", "no step looks at what is answered", "`body`"),
        ("- get: http://h/\n  always: true\n", "1:1", "nothing is tried", ""),
        (
            &format!("- get: http://h/a/{{{{ cart }}}}\n{read_it}- post: http://h/\n  capture: {{ cart: json.id }}\n"),
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
