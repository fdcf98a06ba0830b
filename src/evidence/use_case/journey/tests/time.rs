//! Time: attempts, deadlines, clean-up in the time kept for it, silence.

use super::*;

#[tokio::test]
async fn a_step_is_asked_again_until_it_holds() {
    let pending =
        |_: &Asked, number: usize| json(if number < 3 { r#"{"state":"pending"}"# } else { r#"{"state":"done"}"# });
    let yaml = |attempts: u32, delay: &str| {
        format!(
            "- get: BASE/order\n  expect: [ 'json.state == \"done\"' ]\n  retry: {{ attempts: {attempts}, delay: {delay} }}\n"
        )
    };
    let server = Server::start(pending).await;
    let observation = take(&yaml(5, "10ms"), &server, &[]).await;
    assert!(is_good(&observation), "{observation:?}");
    assert_eq!(server.lines().len(), 3);
    assert!(observation.notes.iter().any(|note| note.contains("held at attempt 3 of 5")), "{:?}", observation.notes);

    let server = Server::start(pending).await;
    let observation = take(&yaml(2, "10ms"), &server, &[]).await;
    assert_eq!(one_broken(&observation).actual, r#"json.state is "pending""#);
    assert_eq!(server.lines().len(), 2);

    // Not asked as often as declared: that is no answer.
    let server = Server::start(pending).await;
    let observation = take(&yaml(5, "30s"), &server, &[]).await;
    let (kind, why) = blind(&observation);
    assert!(kind == UnknownKind::TimedOut && why.contains("after 1 of 5 attempts"), "{why}");
}

#[tokio::test]
async fn a_service_that_refuses_or_is_silent_has_failed_and_the_step_is_named() {
    // A port on which nobody listens: bound, and closed again.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    let server = Server::start(|asked, _| if asked.line == "GET /hang" { Answer::Hang } else { say(200, "x") }).await;
    let yaml = format!("- get: BASE/x\n  expect: [ 'body == \"x\"' ]\n- name: pay\n  post: http://{closed}/pay\n");
    let observation = take(&yaml, &server, &[]).await;
    let Seen::Failed(fault) = &observation.seen else { panic!("{observation:?}") };
    assert_eq!(fault.phase, Phase::Connect);
    assert!(fault.what.starts_with("step 2 of 2 (pay): ") && fault.what.contains("refused"), "{}", fault.what);

    let yaml =
        "- get: BASE/hang\n  timeout: 200ms\n  expect: [ 'body == \"x\"' ]\n- post: BASE/clean\n  always: true\n";
    let observation = take(yaml, &server, &[]).await;
    let Seen::Failed(fault) = &observation.seen else { panic!("{observation:?}") };
    assert_eq!(fault.phase, Phase::Processing);
    assert!(fault.what.starts_with("step 1 of 2 (GET /hang): "), "{}", fault.what);
    assert_eq!(server.lines().last().unwrap(), "POST /clean");
}

#[tokio::test]
async fn the_run_ends_by_itself_before_its_deadline_and_still_cleans_up() {
    let server = Server::start(|asked, _| if asked.line == "GET /hang" { Answer::Hang } else { say(200, "x") }).await;
    let yaml = "- get: BASE/hang\n  expect: [ 'body == \"x\"' ]\n- delete: BASE/clean\n  always: true\n";
    let ask = ask(&[], Duration::from_millis(1_500));
    let observation = journey(yaml, &server).observe(&ask).await;
    assert!(Instant::now() < ask.deadline, "it ended by itself");
    assert!(matches!(observation.seen, Seen::Failed(_)), "{observation:?}");
    assert_eq!(server.lines(), ["GET /hang", "DELETE /clean"]);
}

#[tokio::test]
async fn a_step_that_had_no_time_left_is_no_proof_against_the_service() {
    let server = Server::start(|asked, _| if asked.line == "GET /hang" { Answer::Hang } else { say(200, "x") }).await;
    // The first step spends the time, waiting for what never comes; it is told apart from the second one.
    let yaml = "- get: BASE/x\n  expect: [ 'body == \"y\"' ]\n  retry: { attempts: 5, delay: 300ms }\n";
    let ask = ask(&[], Duration::from_millis(800));
    let observation = journey(yaml, &server).observe(&ask).await;
    assert_eq!(blind(&observation).0, UnknownKind::TimedOut);
    let ask = ask_with_deadline(Instant::now());
    let observation = journey("- get: BASE/hang\n  expect: [ 'body == \"x\"' ]\n", &server).observe(&ask).await;
    assert_eq!(blind(&observation).0, UnknownKind::TimedOut);
}

fn ask_with_deadline(deadline: Instant) -> Ask {
    Ask { deadline, ..ask(&[], Duration::ZERO) }
}

#[tokio::test]
async fn a_run_that_is_dropped_leaves_nothing_under_way() {
    let server = Server::start(|asked, _| if asked.line == "GET /hang" { Answer::Hang } else { say(200, "x") }).await;
    let probe = journey("- get: BASE/hang\n  expect: [ 'body == \"x\"' ]\n- get: BASE/after\n", &server);
    let ask = ask(&[], Duration::from_secs(30));
    let mut looking = probe.observe(&ask);
    let started = Instant::now();
    while server.lines().is_empty() && started.elapsed() < Duration::from_secs(10) {
        let _ = tokio::time::timeout(Duration::from_millis(20), &mut looking).await;
    }
    drop(looking);
    let started = Instant::now();
    while *server.given_up.lock().unwrap() == 0 && started.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(*server.given_up.lock().unwrap(), 1, "the connection was closed");
    assert_eq!(server.lines(), ["GET /hang"]);
}
