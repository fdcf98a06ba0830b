//! Deliveries to a real receiver on the loopback interface.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::super::channels::Channel;
use super::super::channels::tests::wires;
use super::*;
use crate::model::action::ActionKind;
use crate::model::secret::Secret;
use crate::net::outgoing::Sending;
use crate::yaml;

/// What a receiver got, and what it answers, in turn; 200 when nothing is left.
#[derive(Debug, Default)]
struct Receiver {
    got: Mutex<Vec<(HeaderMap, Bytes)>>,
    answers: Mutex<Vec<(u16, HeaderMap)>>,
}

impl Receiver {
    /// Listens; returns the URL.
    async fn start(self: &Arc<Self>) -> String {
        async fn take(
            State(receiver): State<Arc<Receiver>>,
            headers: HeaderMap,
            body: Bytes,
        ) -> (StatusCode, HeaderMap) {
            receiver.got.lock().unwrap().push((headers, body));
            let mut answers = receiver.answers.lock().unwrap();
            let (status, headers) = if answers.is_empty() { (200, HeaderMap::new()) } else { answers.remove(0) };
            (StatusCode::from_u16(status).unwrap(), headers)
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?token=in-the-query", listener.local_addr().unwrap());
        let router = axum::Router::new().fallback(take).with_state(Arc::clone(self));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        url
    }

    fn answers(answers: &[(u16, Option<&str>)]) -> Arc<Self> {
        let answer = |(status, after): &(u16, Option<&str>)| {
            let mut headers = HeaderMap::new();
            if let Some(after) = after {
                headers.insert("retry-after", after.parse().unwrap());
            }
            (*status, headers)
        };
        Arc::new(Receiver { got: Mutex::default(), answers: Mutex::new(answers.iter().map(answer).collect()) })
    }
}

fn channels(text: &str) -> Channels {
    let document = yaml::parse("houston.yaml", text).unwrap();
    let yaml::Shape::Map(entries) = &document.shape else { panic!("a map") };
    let mut channels = Channels::default();
    for (name, declared) in entries {
        channels.declare(name, declared).unwrap();
    }
    channels
}

fn hook(url: &str) -> Channels {
    channels(&format!(
        "hook: {{ webhook: {{ url: \"{url}\", secret: {{ env: HOOK_SECRET }}, bearer_token: {{ env: HOOK_TOKEN }} }} }}"
    ))
}

/// Without pauses, so that a test needs none.
fn at_once() -> Backoff {
    Backoff { first: Duration::ZERO, ..Backoff::default() }
}

fn start() -> Timestamp {
    "2026-11-22T10:00:00Z".parse().unwrap()
}

fn action(channel: &str) -> Action {
    let facts = serde_json::json!({ "version": 1, "summary": "T-3 is doubtful", "ticket": { "number": "T-3" },
        "excerpt": "Authorization: Bearer bearer-of-good-news", "nested": [{ "0123456789abcdef0123": 1 }] });
    Action::new(3, 1, ActionKind::Escalate, channel, "ops", facts, start())
}

fn tried(tries: u32) -> Before<'static> {
    Before { tries, previous: None }
}

#[tokio::test]
async fn a_delivery_is_signed_and_holds_no_secret() {
    let receiver = Receiver::answers(&[]);
    let url = receiver.start().await;
    let deliverer = Deliverer::new(hook(&url), wires(), at_once());
    assert_eq!(deliverer.attempt(&action("hook"), tried(0), start()).await, Attempted::Delivered { receipt: None });

    let got = receiver.got.lock().unwrap();
    let (headers, body) = &got[0];
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    // As a receiver verifies it, by the words of the module's documentation.
    let timestamp = header("x-houston-timestamp");
    let mut mac = Hmac::<Sha256>::new_from_slice(b"0123456789abcdef0123").unwrap();
    mac.update(&[timestamp.as_bytes(), b".", body].concat());
    let expected: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(header("x-houston-signature"), format!("v1={expected}"));
    assert_eq!(timestamp, start().as_second().to_string());
    assert_eq!(header("x-houston-key"), action("hook").key);
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(header("authorization"), "Bearer bearer-of-good-news");

    let text = std::str::from_utf8(body).unwrap();
    let document: serde_json::Value = serde_json::from_str(text).unwrap();
    assert_eq!(document["kind"], "escalate");
    assert_eq!(document["ticket"]["number"], "T-3");
    assert_eq!(document["key"], action("hook").key.as_str());
    for secret in ["0123456789abcdef0123", "bearer-of-good-news"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn it_is_repeated_with_the_same_key_until_it_arrives() {
    let receiver = Receiver::answers(&[(500, None), (502, None)]);
    let deliverer = Deliverer::new(hook(&receiver.start().await), wires(), at_once());
    for tries in 0..2 {
        match deliverer.attempt(&action("hook"), tried(tries), start()).await {
            Attempted::Failed { at: Some(at), then, .. } => {
                assert_eq!(at, start(), "the pause is ours to choose");
                assert_eq!(then, [], "two failures are no reason to tell anybody yet");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(deliverer.failing(), ["hook"]);
    }
    assert_eq!(deliverer.attempt(&action("hook"), tried(2), start()).await, Attempted::Delivered { receipt: None });
    assert!(deliverer.failing().is_empty());
    let got = receiver.got.lock().unwrap();
    assert_eq!(got.len(), 3);
    assert!(
        got.iter().all(|(headers, body)| headers["x-houston-key"] == got[0].0["x-houston-key"] && *body == got[0].1)
    );
}

#[tokio::test]
async fn a_receiver_that_asks_for_time_gets_it_and_no_more_than_an_hour() {
    for (status, after, seconds) in [(429, "120", 120), (503, "30", 30), (429, "999999", 3_600)] {
        let receiver = Receiver::answers(&[(status, Some(after))]);
        let deliverer = Deliverer::new(hook(&receiver.start().await), wires(), at_once());
        let expected = start().checked_add(SignedDuration::from_secs(seconds)).unwrap();
        match deliverer.attempt(&action("hook"), tried(0), start()).await {
            Attempted::Failed { at, .. } => assert_eq!(at, Some(expected)),
            other => panic!("{other:?}"),
        }
        // Another action over the same channel isn't sent into the pause.
        let again = deliverer.attempt(&action("hook"), tried(0), start()).await;
        assert!(matches!(again, Attempted::Failed { at: Some(_), .. }), "{again:?}");
        assert_eq!(receiver.got.lock().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn what_is_refused_goes_to_the_log() {
    let receiver = Receiver::answers(&[(401, None)]);
    let declared = hook(&receiver.start().await);
    let deliverer = Deliverer::new(declared, wires(), at_once());
    for (channel, reason) in [("hook", "401"), ("never-declared", "no such channel")] {
        match deliverer.attempt(&action(channel), tried(0), start()).await {
            Attempted::Failed { why, at: None, then } => {
                assert!(why.contains(reason), "{why}");
                let [told] = then.as_slice() else { panic!("{then:?}") };
                assert_eq!((told.channel.as_str(), told.ticket, told.kind), ("log", 3, ActionKind::Escalate));
                assert_eq!(told.facts["undelivered"]["channel"], channel);
                assert_eq!(told.facts["summary"], "T-3 is doubtful");
                assert_eq!(deliverer.attempt(told, tried(0), start()).await, Attempted::Delivered { receipt: None });
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(deliverer.failing().is_empty(), "a refusal is an answer");
}

#[tokio::test]
async fn what_does_not_arrive_is_told_after_two_minutes_and_given_up_after_three_days() {
    // Whoever connects there is hung up on.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/?token=in-the-query", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            drop(listener.accept().await);
        }
    });
    let deliverer = Deliverer::new(hook(&url), wires(), at_once());
    let later = |seconds| start().checked_add(SignedDuration::from_secs(seconds)).unwrap();
    let mut keys = Vec::new();
    for (seconds, again, told) in
        [(0, true, 0), (119, true, 0), (120, true, 1), (72 * 3_600, true, 1), (72 * 3_600 + 1, false, 1)]
    {
        match deliverer.attempt(&action("hook"), tried(0), later(seconds)).await {
            Attempted::Failed { why, at, then } => {
                assert_eq!((at.is_some(), then.len()), (again, told), "after {seconds} s");
                assert!(!why.contains("in-the-query"), "{why}");
                keys.extend(then.into_iter().map(|action| action.key));
            }
            other => panic!("{other:?}"),
        }
    }
    keys.dedup();
    assert_eq!(keys.len(), 1, "however often it is told, it is written once");
}

#[tokio::test]
async fn a_secret_that_is_missing_or_too_short_is_no_reason_to_send_without() {
    let receiver = Receiver::answers(&[]);
    let url = receiver.start().await;
    for name in ["MISSING", "SHORT"] {
        let declared = channels(&format!("hook: {{ webhook: {{ url: \"{url}\", secret: {{ env: {name} }} }} }}"));
        let deliverer = Deliverer::new(declared, wires(), at_once());
        let attempted = deliverer.attempt(&action("hook"), tried(0), start()).await;
        assert!(matches!(attempted, Attempted::Failed { at: Some(_), .. }), "{attempted:?}");
    }
    assert!(receiver.got.lock().unwrap().is_empty());
}

#[derive(Debug)]
enum Misbehaving {
    Panics,
    Hangs,
}

impl Channel for Misbehaving {
    fn send<'a>(&'a self, _message: Message<'a>, _wires: &'a Wires) -> Sending<'a> {
        Box::pin(async move {
            match self {
                Misbehaving::Panics => panic!("a fault of ours"),
                Misbehaving::Hangs => std::future::pending().await,
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_panics_or_hangs_costs_only_its_own_attempt() {
    let mut declared = Channels::default();
    declared.attach("panics", Arc::new(Misbehaving::Panics));
    declared.attach("hangs", Arc::new(Misbehaving::Hangs));
    let deliverer = Deliverer::new(declared, wires(), Backoff::default());
    for (channel, reason) in [("panics", "panicked"), ("hangs", "no answer in 10 s")] {
        match deliverer.attempt(&action(channel), tried(0), start()).await {
            Attempted::Failed { why, at: Some(at), .. } => {
                assert_eq!(why, if reason == "panicked" { "the channel panicked" } else { reason });
                assert!(at > start());
            }
            other => panic!("{other:?}"),
        }
        let before = Instant::now();
        let attempted = deliverer.attempt(&action(channel), tried(1), start()).await;
        assert!(matches!(attempted, Attempted::Failed { .. }));
        assert_eq!(before.elapsed(), Duration::ZERO, "known to fail, and not asked again at once");
    }
    assert_eq!(deliverer.attempt(&action("log"), tried(0), start()).await, Attempted::Delivered { receipt: None });
}

proptest::proptest! {
    #[test]
    fn pauses_grow_to_their_longest_and_never_beyond_five_quarters_of_it(key in "[a-f0-9]{8}", tries in 0..200_u32) {
        let backoff = Backoff::default();
        let pause = backoff.pause(&key, tries);
        let nominal = Duration::from_secs(1_u64 << tries.min(20)).min(backoff.longest);
        proptest::prop_assert!(pause >= nominal.mul_f64(0.75) && pause <= nominal.mul_f64(1.25));
        proptest::prop_assert_eq!(pause, backoff.pause(&key, tries), "the same each time it is asked");
        proptest::prop_assert!(backoff.pause(&key, tries + 2) >= pause.min(backoff.longest.mul_f64(0.75)));
    }
}

#[test]
fn a_secret_never_shows_in_debug() {
    let declared = hook("http://127.0.0.1:1/");
    let shown = format!("{declared:?} {:?}", Secret::new("hunter2".to_owned()));
    assert!(!shown.contains("hunter2") && !shown.contains("0123456789abcdef"));
}
