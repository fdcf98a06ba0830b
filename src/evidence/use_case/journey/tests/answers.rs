//! What a journey makes of answers: good, broken, not to be judged.

use super::*;

#[tokio::test]
async fn a_use_case_that_works_is_taken_to_its_end() {
    let server = Server::start(shop).await;
    let probe = journey(BUY, &server);
    assert_eq!(probe.params(), ["account"]);
    assert_eq!(format!("http://{}", probe.system()), server.url);
    let observation = probe.observe(&ask(&[("account", "acme")], Duration::from_secs(10))).await;
    assert!(is_good(&observation), "{observation:?}");
    assert_eq!(
        server.lines(),
        [
            "POST /api/cart",
            "POST /api/cart/c-1/items",
            "POST /api/cart/c-1/pay",
            "GET /api/cart/c-1",
            "DELETE /api/cart/c-1"
        ]
    );
    assert_eq!(server.asked()[0].body, r#"{"account":"acme"}"#);
    assert_eq!(server.asked()[0].header("content-type"), Some("application/json"));
    assert_eq!(observation.measures.number("steps"), Some(5.0));
    assert!(observation.measures.number("duration_seconds").unwrap() > 0.0);
    assert!(observation.measures.get("failed_step").is_none());
    let Some(Value::List(steps)) = observation.measures.get("step") else { panic!("no steps") };
    let Value::Map(pay) = &steps[2] else { panic!("no step") };
    assert_eq!((&pay["name"], &pay["status"]), (&Value::from("pay"), &Value::Int(200)));
    assert!(observation.notes[0].starts_with("5 of 5 steps in "), "{:?}", observation.notes);
}

#[tokio::test]
async fn an_error_with_status_200_is_found_and_the_cart_is_dropped_all_the_same() {
    let server = Server::start(shop).await;
    let observation = take(BUY, &server, &[("account", "globex")]).await;
    let broken = one_broken(&observation);
    assert_eq!(broken.that, r#"json.state == "authorized""#);
    assert_eq!(broken.actual, r#"json.state is "failed""#);
    assert_eq!(broken.at, "shop.yaml:11:28");
    assert_eq!(server.lines().last().unwrap(), "DELETE /api/cart/c%2F2%20x");
    assert_eq!(server.lines().len(), 4, "the step after the failed one is not taken");
    assert_eq!(observation.measures.get("failed_step"), Some(&Value::from("pay")));
    assert_eq!(observation.measures.number("status"), Some(200.0));
    assert_eq!(observation.measures.number("steps"), Some(3.0));
    assert_eq!(observation.notes, ["step 3 of 5 (pay) failed; 1 more not taken"]);
    assert!(observation.excerpt.unwrap().contains("card declined"));
    let again = observation.reproduce.unwrap();
    let line = "curl -sS -i -X POST -H \"cookie: $COOKIE\" -L --max-redirs 10";
    assert_eq!(again, format!("{line} {}/api/cart/c%2F2%20x/pay", server.url));
}

#[tokio::test]
async fn what_breaks_a_step_is_shown_with_its_place() {
    for (answer, step, that, actual, at) in [
        (say(503, "sorry"), "", "status is 2xx", "status is 503", "shop.yaml:1:8"),
        (say(302, ""), "", "status is 2xx", "status is 302", "shop.yaml:1:8"),
        (say(200, "x"), "  expect: [ status == 201 ]\n", "status == 201", "status is 200", "shop.yaml:2:13"),
        (json(r#"{"a":1}"#), "  expect: [ json.b == 1 ]\n", "json.b == 1", "json has no key `b`", "shop.yaml:2:13"),
        (say(200, "<html>"), "  expect: [ json.b == 1 ]\n", "json.b == 1", "the body is not JSON", "shop.yaml:2:13"),
        (say(200, ""), "  expect: [ json.b == 1 ]\n", "json.b == 1", "the body is not JSON", "shop.yaml:2:13"),
        (json("[".repeat(100_000)), "  expect: [ json == 1 ]\n", "json == 1", "the body is not JSON", "shop.yaml:2:13"),
        (json(r#"{"b":1e400}"#), "  expect: [ json.b > 1 ]\n", "json.b > 1", "the body is not JSON", "shop.yaml:2:13"),
        (
            say(200, "please log in"),
            "  expect: [ 'body.contains(\"cart\")' ]\n",
            "body.contains(\"cart\")",
            "body is \"please log in\"",
            "shop.yaml:2:13",
        ),
        (
            say(200, "x"),
            "  expect: [ 'headers[\"etag\"] == \"x\"' ]\n",
            "headers[\"etag\"] == \"x\"",
            "headers has no key `etag`",
            "shop.yaml:2:13",
        ),
        (json("{}"), "  capture: { id: json.id }\n", "capture id: json.id", "json has no key `id`", "shop.yaml:2:18"),
        (
            json(r#"{"id":null}"#),
            "  capture: { id: json.id }\n",
            "capture id: json.id",
            "json.id is null",
            "shop.yaml:2:18",
        ),
        (
            json(r#"{"id":""}"#),
            "  capture: { id: json.id }\n",
            "capture id: json.id",
            "json.id is empty",
            "shop.yaml:2:18",
        ),
        (
            json(r#"{"id":[1]}"#),
            "  capture: { id: json.id }\n",
            "capture id: json.id",
            "json.id is [1], which fits no slot",
            "shop.yaml:2:18",
        ),
        (
            say(200, "<html>"),
            "  capture: { id: json.id }\n",
            "capture id: json.id",
            "the body is not JSON",
            "shop.yaml:2:18",
        ),
        (
            json(format!(r#"{{"id":"{}"}}"#, "x".repeat(9_000))),
            "  capture: { id: json.id }\n",
            "capture id: json.id",
            "json.id is longer than 8 KiB",
            "shop.yaml:2:18",
        ),
    ] {
        let answer = Mutex::new(Some(answer));
        let server = Server::start(move |_, _| answer.lock().unwrap().take().unwrap_or(say(200, "late"))).await;
        let second = if step.contains("capture") { "- get: \"BASE/x/{{ id }}\"\n" } else { "- get: BASE/x\n" };
        let yaml = format!("- get: BASE/api\n{step}{second}  expect: [ 'body != \"\"' ]\n");
        let observation = take(&yaml, &server, &[]).await;
        let broken = one_broken(&observation);
        let found = (broken.that.as_str(), broken.actual.as_str(), broken.at.as_str());
        assert_eq!(found, (that, actual, at), "{step}");
        assert_eq!(server.lines().len(), 1, "{step}");
        assert_eq!(observation.measures.get("failed_step"), Some(&Value::from("1")));
    }
}

#[tokio::test]
async fn all_broken_expectations_of_a_step_are_told_and_odd_ones_do_not_stop_it() {
    let server = Server::start(|_, _| json(r#"{"a":1,"b":2}"#)).await;
    let yaml = r#"- get: BASE/x
  expect:
    - { that: json.a == 3, else: odd, note: since May }
- get: BASE/y
  expect: [ json.a == 2, json.b == 2, json.b == 3 ]
"#;
    let observation = take(yaml, &server, &[]).await;
    let told: Vec<(&str, &str, bool)> =
        observation.broken.iter().map(|broken| (&*broken.that, &*broken.actual, broken.odd)).collect();
    assert_eq!(
        told,
        [
            ("json.a == 2", "json.a is 1", false),
            ("json.b == 3", "json.b is 2", false),
            ("json.a == 3", "json.a is 1", true)
        ]
    );
    assert_eq!(observation.broken[2].note.as_deref(), Some("since May"));
    assert_eq!(server.lines(), ["GET /x", "GET /y"]);
}

#[tokio::test]
async fn clean_up_that_fails_or_cannot_be_done_is_noted_and_is_not_bad() {
    let server = Server::start(|asked, _| match asked.line.as_str() {
        "DELETE /x" => say(500, "no"),
        _ => json("{}"),
    })
    .await;
    let yaml = "- get: BASE/a\n  expect: [ json == json ]\n- delete: BASE/x\n  always: true\n- get: BASE/b\n";
    let observation = take(yaml, &server, &[]).await;
    assert!(is_good(&observation), "{observation:?}");
    assert_eq!(observation.measures.number("steps"), Some(2.0));
    assert!(
        observation
            .notes
            .iter()
            .any(|note| note == "clean-up step 2 of 3 (DELETE /x) failed: status is 500 (expected status is 2xx)"),
        "{:?}",
        observation.notes
    );

    let yaml = r#"- post: BASE/a
  capture: { id: json.id }
- delete: "BASE/a/{{ id }}"
  always: true
- post: BASE/done
  always: true
"#;
    let observation = take(yaml, &server, &[]).await;
    assert_eq!(one_broken(&observation).actual, "json has no key `id`");
    assert!(
        observation.notes.iter().any(|note| note.ends_with("was left out: there is no `id`")),
        "{:?}",
        observation.notes
    );
    assert_eq!(server.lines().last().unwrap(), "POST /done");
}

#[tokio::test]
async fn a_body_beyond_the_cap_is_not_judged() {
    let server = Server::start(|_, _| say(200, "x".repeat(2 << 20))).await;
    let yaml = "- get: BASE/x\n  expect: [ status == 200, 'body.contains(\"y\")' ]\n";
    let observation = take(yaml, &server, &[]).await;
    assert_eq!(blind(&observation).0, UnknownKind::Incomplete);
    // What can be told without the body still is.
    let yaml = "- get: BASE/x\n  expect: [ status == 201, 'body.contains(\"y\")' ]\n";
    let observation = take(yaml, &server, &[]).await;
    assert_eq!(one_broken(&observation).actual, "status is 200");
}

#[tokio::test]
async fn a_parameter_without_a_value_is_missing_and_nothing_is_sent() {
    let server = Server::start(|_, _| say(200, "x")).await;
    let yaml = "- get: \"BASE/x/{{ account }}\"\n  expect: [ 'body == \"x\"' ]\n";
    let observation = take(yaml, &server, &[]).await;
    assert_eq!(blind(&observation).0, UnknownKind::MissingParam);
    assert!(server.lines().is_empty());
}

#[test]
fn own_expectations_are_counted_with_their_defaults_and_captures() {
    let text = BUY.replace("BASE", "http://127.0.0.1:1");
    let node = crate::yaml::parse("shop.yaml", &text).unwrap();
    // cart 1 + capture 1, items 1, pay 2, look 1, drop 1
    assert_eq!((KIND.read)(&node).unwrap().own_expectations(), 7);
}
