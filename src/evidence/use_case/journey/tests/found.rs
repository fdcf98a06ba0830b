//! What is looked for in answers, waited for, and sent in parts.

use super::*;

const PAGE: &str =
    r#"{ "items": [ { "sku": "a", "price": 5 }, { "sku": "b", "price": 25 } ], "total": 30, "none": null }"#;

fn catalogue(asked: &Asked, _: usize) -> Answer {
    match asked.line.as_str() {
        "GET /items" => Answer::Say(
            200,
            vec![("location", "/carts/42?x=1".to_owned()), ("x-tag", "a".to_owned()), ("x-tag", "b".to_owned())],
            PAGE.to_owned(),
        ),
        "GET /page" => say(200, "<input name=\"csrf\" value=\"t0k&en\"> <input value=\"second\">"),
        _ => say(200, "ok"),
    }
}

#[tokio::test]
async fn values_are_found_by_jsonpath_header_and_regex() {
    let server = Server::start(catalogue).await;
    let yaml = r#"- get: BASE/items
  expect:
    - { jsonpath: '$.items[*].sku', that: 'found == ["a", "b"] && found_count == 2' }
    - { jsonpath: '$.items[?@.price > 10].sku', that: found == "b" }
    - { jsonpath: '$.items[?@.price > 100]', that: found == null && found_count == 0 }
    - { jsonpath: $.total, that: found > 20 }
    - { jsonpath: $.total, regex: '^(\d)', that: found == "3" }
    - { jsonpath: $.items }
    - { header: X-Tag, that: 'found == ["a", "b"]' }
    - { header: etag, that: found == null }
    - { regex: '"total": (\d+)', that: found == "30" }
    - { regex: '"sum"', that: found == null }
  capture:
    cart: { header: Location, regex: '/carts/(\d+)' }
    dear: { jsonpath: '$.items[?@.price > 10].sku' }
    all: { jsonpath: '$..price' }
- get: BASE/page
  expect: [ 'all == [5, 25]' ]
  capture: { csrf: { regex: 'name="csrf" value="([^"]+)"' } }
- post: "BASE/buy/{{ cart }}/{{ dear }}"
  form: { csrf: "{{ csrf }}" }
"#;
    let observation = take(yaml, &server, &[]).await;
    assert!(is_good(&observation), "{observation:?}");
    assert_eq!(server.lines()[2], "POST /buy/42/b");
    assert_eq!(server.asked()[2].body, "csrf=t0k%26en");
}

#[tokio::test]
async fn what_is_not_found_breaks_the_step_at_its_place() {
    for (get, step, that, actual, at) in [
        (
            "items",
            "capture: { a: { jsonpath: $.nothing } }",
            "capture a: jsonpath $.nothing",
            "jsonpath $.nothing finds nothing",
            "2:17",
        ),
        ("items", "capture: { a: { header: ETag } }", "capture a: header etag", "header etag finds nothing", "2:17"),
        ("items", "capture: { a: { regex: 'x(y)' } }", "capture a: regex x(y)", "regex x(y) finds nothing", "2:17"),
        ("page", "capture: { a: { jsonpath: $.a } }", "capture a: jsonpath $.a", "the body is not JSON", "2:17"),
        (
            "items",
            "expect: [ { jsonpath: $.total, that: found == 31 } ]",
            "jsonpath $.total: found == 31",
            "found is 30",
            "2:40",
        ),
        ("items", "expect: [ { jsonpath: $.nothing } ]", "jsonpath $.nothing: found != null", "found is null", "2:13"),
        (
            "page",
            "expect: [ { jsonpath: $.nothing } ]",
            "jsonpath $.nothing: found != null",
            "the body is not JSON",
            "2:13",
        ),
    ] {
        let server = Server::start(catalogue).await;
        let observation = take(&format!("- get: BASE/{get}\n  {step}\n"), &server, &[]).await;
        let broken = one_broken(&observation);
        let found = (broken.that.as_str(), broken.actual.as_str(), broken.at.as_str());
        assert_eq!(found, (that, actual, format!("shop.yaml:{at}").as_str()), "{step}");
    }
    // Several values fit no slot.
    let server = Server::start(catalogue).await;
    let yaml = "- get: BASE/items\n  capture: { a: { jsonpath: '$.items[*].sku' } }\n- get: \"BASE/x/{{ a }}\"\n";
    let observation = take(yaml, &server, &[]).await;
    assert!(one_broken(&observation).actual.ends_with("is [\"a\",\"b\"], which fits no slot"), "{observation:?}");
}

#[tokio::test]
async fn a_body_that_was_not_read_is_unknown_and_a_path_that_finds_too_much_as_well() {
    let server = Server::start(|asked, _| match asked.line.as_str() {
        "GET /long" => json(format!("[\"{}\"]", "x".repeat(1 << 20))),
        // Each level holds all that is below it.
        _ => json(format!("{}\"{}\"{}", "[".repeat(100), "x".repeat(100_000), "]".repeat(100))),
    })
    .await;
    for (path, why) in [("long", "longer than is read"), ("deep", "finds more than is kept")] {
        let observation =
            take(&format!("- get: BASE/{path}\n  expect: [ {{ jsonpath: '$..*' }} ]\n"), &server, &[]).await;
        let (kind, said) = blind(&observation);
        assert!(kind == UnknownKind::Incomplete && said.contains(why), "{said}");
    }
}

#[tokio::test]
async fn a_step_waits_until_something_has_come_about() {
    let paid = |_: &Asked, number: usize| match number {
        1 => say(503, "starting"),
        2 => json(r#"{"state":"open"}"#),
        _ => json(r#"{"state":"paid","by":"card"}"#),
    };
    let yaml = |until: &str, within: &str| {
        format!(
            "- get: BASE/order\n  poll: {{ until: '{until}', every: 100ms, within: {within} }}\n  expect: [ json.by == \"card\" ]\n"
        )
    };
    let server = Server::start(paid).await;
    let observation = take(&yaml("json.state == \"paid\"", "9s"), &server, &[]).await;
    assert!(is_good(&observation), "{observation:?}");
    assert_eq!(server.lines().len(), 3);
    assert!(observation.notes.iter().any(|note| note.contains("asked 3 times in")), "{:?}", observation.notes);

    let server = Server::start(paid).await;
    let observation = take(&yaml("json.state == \"sent\"", "500ms"), &server, &[]).await;
    let broken = one_broken(&observation);
    assert_eq!((broken.that.as_str(), broken.at.as_str()), ("until json.state == \"sent\"", "shop.yaml:2:18"));
    assert!((2..=5).contains(&server.lines().len()), "{:?}", server.lines());
    assert!(observation.notes.iter().any(|note| note.contains("waited for it in vain for 500")), "{observation:?}");

    // Our own time was over first.
    let server = Server::start(paid).await;
    let probe = journey(&yaml("json.state == \"sent\"", "60s"), &server);
    let observation = probe.observe(&ask(&[], Duration::from_secs(1))).await;
    let (kind, why) = blind(&observation);
    assert!(kind == UnknownKind::TimedOut && why.contains("of the 1 m for which it waits"), "{why}");

    // What holds at once is asked once, and is then held against the expectations.
    let server = Server::start(paid).await;
    let observation = take(&yaml("status == 503", "9s"), &server, &[]).await;
    assert_eq!(one_broken(&observation).actual, "the body is not JSON");
    assert_eq!(server.lines().len(), 1);
}

#[tokio::test]
async fn parts_of_a_form_are_sent_with_their_files_and_cannot_be_broken_out_of() {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("cover.png"), "\u{1}PNG").unwrap();
    let server = Server::start(|_, _| say(200, "thanks")).await;
    let yaml = format!(
        "- post: {}/form\n  multipart:\n    who: \"{{{{ account }}}}\"\n    'a\"b': 1\n    cover: {{ file: cover.png, content_type: image/png }}\n  expect: [ 'body == \"thanks\"' ]\n",
        server.url
    );
    let file = place.path().join("shop.yaml").display().to_string();
    let probe = (KIND.read)(&crate::yaml::parse(&file, &yaml).unwrap()).unwrap();
    assert_eq!(probe.params(), ["account"]);
    let value = "x\r\n--houston\r\nContent-Disposition: form-data; name=\"admin\"\r\n\r\n1";
    let observation = probe.observe(&ask(&[("account", value)], Duration::from_secs(10))).await;
    assert!(is_good(&observation), "{observation:?}");
    let asked = &server.asked()[0];
    let boundary = asked.header("content-type").unwrap().strip_prefix("multipart/form-data; boundary=").unwrap();
    assert_eq!(
        asked.body,
        format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"who\"\r\n\r\n{value}\r\n\
             --{boundary}\r\nContent-Disposition: form-data; name=\"a%22b\"\r\n\r\n1\r\n\
             --{boundary}\r\nContent-Disposition: form-data; name=\"cover\"; filename=\"cover.png\"\r\n\
             Content-Type: image/png\r\n\r\n\u{1}PNG\r\n--{boundary}--\r\n"
        )
    );
    assert_eq!(boundary.len(), "houston-".len() + 32);

    // Gone since the check was read.
    std::fs::remove_file(place.path().join("cover.png")).unwrap();
    let observation = probe.observe(&ask(&[("account", "x")], Duration::from_secs(10))).await;
    assert!(blind(&observation).1.contains("cover.png can't be read"), "{observation:?}");
}

#[test]
fn a_file_to_send_lies_beside_the_check() {
    let place = tempfile::tempdir().unwrap();
    let inner = place.path().join("checks");
    std::fs::create_dir(&inner).unwrap();
    std::fs::write(place.path().join("outside"), "secret").unwrap();
    std::os::unix::fs::symlink("../outside", inner.join("link")).unwrap();
    std::fs::create_dir(inner.join("folder")).unwrap();
    std::fs::write(inner.join("long"), vec![b'x'; 256 * 1024 + 1]).unwrap();
    std::fs::write(inner.join("fine"), "x").unwrap();
    let file = inner.join("shop.yaml").display().to_string();
    for (part, message) in [
        ("{ file: ../outside }", "lies beside the check"),
        ("{ file: /etc/passwd }", "lies beside the check"),
        ("{ file: \"{{ a }}\" }", "lies beside the check"),
        ("{ file: link }", "leads out of the check's directory"),
        ("{ file: nowhere }", "can't be read"),
        ("{ file: folder }", "no file of at most 256 KiB"),
        ("{ file: long }", "no file of at most 256 KiB"),
        ("{ file: fine, content_type: \"a\\nb\" }", "is a media type"),
        ("{ file: fine, filename: \"a\\nb\" }", "is plain text"),
    ] {
        let yaml = format!("- post: http://h/\n  multipart:\n    a: {part}\n  expect: [ 'body != \"\"' ]\n");
        let error = (KIND.read)(&crate::yaml::parse(&file, &yaml).unwrap()).expect_err(part);
        assert!(error.message.contains(message), "{part}: {error:?}");
        assert_eq!((error.at.line, error.at.column), (3, 8), "{part}: {error:?}");
    }
}

#[test]
fn the_examples_that_stand_in_comments_read() {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("cover.png"), "x").unwrap();
    let file = place.path().join("journey.yaml").display().to_string();
    // Whole sentences stand between them.
    let lines = KIND.example_text.lines().filter_map(|line| line.strip_prefix("  # "));
    let yaml: Vec<&str> = lines.filter(|line| line.starts_with(['-', ' '])).collect();
    let node = crate::yaml::parse(&file, &yaml.join("\n")).unwrap();
    let crate::yaml::Shape::List(checks) = &node.shape else { panic!("{node:?}") };
    assert_eq!(checks.len(), 2);
    for check in checks {
        let probe = (KIND.read)(check.get("journey").unwrap()).unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!((probe.secrets().len(), probe.params()), (1, Vec::new()));
    }
}
