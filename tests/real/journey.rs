//! `journey` at a real nginx that knows its clients, and at a server that wants to be logged in to, sent files and waited
//! for.

use std::time::Duration;

use houston::model::observation::{Observation, Seen, UnknownKind};

use super::http::asked_with;
use super::looking::{ask, look, number};
use crate::lab::digest_server::DigestServer;
use crate::lab::nginx::Nginx;

fn is_good(seen: &Observation) -> bool {
    seen.seen == Seen::Answered && seen.broken.is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journey_shows_its_client_certificate_at_every_step_to_the_same_host() {
    let nginx = Nginx::start(
        "ssl_client_certificate ca.pem;\n ssl_verify_client on;\n
         location / { return 200 \"$ssl_client_verify $ssl_client_s_dn\\n\"; }",
    );
    let directory = nginx.server.directory().display().to_string();
    let yaml = format!(
        r#"
- get: "https://localhost:{port}/one"
  tls: {{ ca: "{directory}/ca.pem", client_cert: "{directory}/client.pem", client_key: {{ file: "{directory}/client-key.pem" }} }}
  expect: [ 'body == "SUCCESS CN=houston\n"' ]
  capture: {{ who: {{ regex: 'CN=(\w+)' }} }}
- get: "https://localhost:{port}/two?as={{{{ who }}}}"
  expect: [ status == 200, who == "houston", 'body.contains("SUCCESS")' ]
- get: "https://localhost:{port}/three"
  tls: {{ ca: "{directory}/ca.pem" }}
  expect: [ status == 400 ]
"#,
        port = nginx.tls_port
    );
    let seen = look("journey", &yaml, &ask()).await;
    assert!(is_good(&seen), "{seen:?}");
    assert_eq!(number(&seen, "steps"), 3.0);

    let seen = look("journey", &yaml.replace("client-key", "stranger-key"), &ask()).await;
    let Seen::Blind(unknown) = &seen.seen else { panic!("{seen:?}") };
    assert!(unknown.why.contains("is not that of the client certificate"), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journey_logs_in_by_digest_sends_files_and_waits() {
    let server = DigestServer::start();
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("cover.svg"), "<svg/>").unwrap();
    let base = format!("http://127.0.0.1:{}", server.port);
    let yaml = format!(
        r#"
- get: {base}/sha256
  digest: {{ user: mallory, password: {{ env: PASSWORD }} }}
  expect: [ json.used == "SHA-256" ]
- post: {base}/form
  multipart:
    title: "rare \"books\" for {{{{ account }}}}"
    copies: 3
    cover: {{ file: cover.svg, content_type: image/svg+xml, filename: "front.svg" }}
  expect:
    - status == 200
    - {{ jsonpath: '$.parts[*][0]', that: 'found == ["title", "copies", "cover"] && found_count == 3' }}
    - {{ jsonpath: '$.parts[?@[0] == "title"][3]', that: found == "rare \"books\" for acme" }}
    - {{ jsonpath: '$.parts[2]', that: 'found == ["cover", "front.svg", "image/svg+xml", "<svg/>"]' }}
- get: {base}/job
  poll: {{ until: json.state == "done", every: 100ms, within: 10s }}
  expect: [ json.asked == 3 ]
  capture:
    job: {{ header: X-Job, regex: '^job/(\d+)$' }}
    state: {{ jsonpath: $.state }}
- get: "{base}/md5?job={{{{ job }}}}&state={{{{ state }}}}"
  digest: {{ user: mallory, password: {{ env: PASSWORD }} }}
  expect: [ job == "17", json.used == "MD5" ]
"#
    );
    let mut ask = asked_with(&[("PASSWORD", "open sesame")]);
    ask.params.set("account", "acme", true);
    let file = place.path().join("checks.yaml").display().to_string();
    let seen = look_in(&file, &yaml, &ask).await;
    assert!(is_good(&seen), "{seen:?}");
    assert!(seen.notes.iter().any(|note| note.contains("asked 3 times")), "{seen:?}");

    // What never comes is bad, and shown with what was there instead.
    let waiting =
        format!("- get: {base}/job\n  poll: {{ until: json.state == \"paid\", every: 100ms, within: 300ms }}\n");
    let seen = look_in(&file, &waiting, &ask).await;
    assert_eq!(seen.broken.len(), 1, "{seen:?}");
    assert_eq!(seen.broken[0].actual, "json.state is \"done\"", "{seen:?}");
    // What we had no time to wait for is unknown.
    let mut hurried = ask.clone();
    hurried.deadline = tokio::time::Instant::now() + Duration::from_secs(1);
    let seen = look_in(&file, &waiting.replace("300ms", "60s"), &hurried).await;
    assert!(matches!(&seen.seen, Seen::Blind(unknown) if unknown.kind == UnknownKind::TimedOut), "{seen:?}");

    let seen = look_in(&file, &yaml, &asked_with(&[("PASSWORD", "wrong")])).await;
    assert_eq!(seen.broken.len(), 1, "{seen:?}");
}

/// Looks as a check in this file would.
async fn look_in(file: &str, settings: &str, ask: &houston::evidence::Ask) -> Observation {
    let node = houston::yaml::parse(file, settings).unwrap_or_else(|error| panic!("{error}"));
    let probe = (houston::evidence::kind("journey").unwrap().read)(&node).unwrap_or_else(|error| panic!("{error}"));
    probe.observe(ask).await
}
