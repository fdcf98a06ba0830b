//! Tests of the store's surface, on real files.

use std::path::Path;

use jiff::Timestamp;

use super::*;
use crate::model::action::ActionKind;
use crate::model::case::CaseState;
use crate::model::look::{Look, Outcome};
use crate::model::ticket::Report;
use crate::model::verdict::{self, Coverage, CurrentState, Decision, Phase, Scope, TicketHead};
use crate::model::window::Window;

mod law;
mod pages;

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + seconds).unwrap()
}

pub(super) fn ticket(id: &str, title: &str) -> Ticket {
    Report { source: Some("test".into()), title: Some(title.into()), ..Report::default() }.accept(at(0), id).unwrap()
}

pub(super) fn verdict(decision: Decision) -> Verdict {
    Verdict {
        version: verdict::VERSION,
        ticket: TicketHead {
            number: None,
            source: "test".into(),
            id: "1".into(),
            title: "t".into(),
            customer: None,
            services: vec![],
            services_from: vec![],
        },
        decision,
        phase: Phase::Final,
        probability: 0.25,
        power: 0.5,
        scope: Scope::Unknown,
        window: Window::new(at(0), at(1)),
        current_state: CurrentState::Intermittent { failed: 3, tried: 10 },
        coverage: Coverage::default(),
        reasons: vec!["because".into()],
        findings: vec![],
        incident: None,
        next: vec![],
        questions: vec![],
        deadline_ms: 60_000,
        took_ms: 1,
    }
}

pub(super) fn action(ticket: u64, round: u32, recipient: &str, created_at: Timestamp) -> Action {
    Action::new(ticket, round, ActionKind::Escalate, "log", recipient, serde_json::json!({"why": "x"}), created_at)
}

fn look() -> Event {
    Event::Look { look: Look::Logs, answered: 1, planned: 2, worst: Outcome::Odd }
}

async fn accept(store: &Store, id: &str) -> Result<Accepted, StoreError> {
    store.accept(ticket(id, "it is slow"), Delivery::default(), at(0), at(60)).await
}

/// Changes the file behind the store's back.
fn tamper(directory: &Path, sql: &str) {
    let changed = Connection::open(directory.join("houston.db")).unwrap().execute(sql, []).unwrap();
    assert!(changed > 0, "{sql}");
}

#[tokio::test]
async fn everything_is_there_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(store.recovered(), None);
    let number = accept(&store, "a").await.unwrap().number;
    assert_eq!(number, 1);
    assert_eq!(store.begin(number, at(1)).await.unwrap(), 1);
    store.append(number, at(2), vec![look(), look()]).await.unwrap();
    let learned = Learned {
        templates: vec![("app-log".into(), vec!["user <*> failed".into()])],
        passed_with: vec![("buy".into(), "account=acme".into())],
    };
    let escalation = action(number, 1, "ops", at(3));
    store.decide(number, 1, at(3), verdict(Decision::Doubtful), vec![escalation.clone()], learned).await.unwrap();
    let second = accept(&store, "b").await.unwrap().number;
    drop(store);

    let store = Store::open(directory.path()).unwrap();
    let case = store.case(number).await.unwrap().unwrap();
    assert_eq!(case.ticket, ticket("a", "it is slow"));
    assert_eq!((case.round, case.attempts, case.state), (1, 1, CaseState::Decided));
    assert_eq!((case.accepted_at, case.deadline_at), (at(0), at(60)));
    assert_eq!(case.verdict, Some(verdict(Decision::Doubtful)));
    let events = store.events(number, 0).await.unwrap();
    let expected = [
        (at(2), look()),
        (at(2), look()),
        (at(3), Event::Verdict { verdict: Box::new(verdict(Decision::Doubtful)) }),
        (at(3), Event::Action { action: Box::new(escalation.clone()) }),
    ];
    assert_eq!(events.iter().map(|e| (e.at, e.event.clone())).collect::<Vec<_>>(), expected);
    assert_eq!(store.events(number, events[1].sequence).await.unwrap().len(), 2);
    let due = store.due(at(3), 10).await.unwrap();
    assert_eq!(due.iter().map(|due| (&due.action, due.tries)).collect::<Vec<_>>(), [(&escalation, 0)]);
    let memory = store.memory(at(1_000_000_000)).await.unwrap();
    assert!(memory.templates["app-log"].contains("user <*> failed"));
    assert!(memory.passed_with.contains(&("buy".into(), "account=acme".into())));
    let unfinished = store.unfinished().await.unwrap();
    assert_eq!(unfinished.iter().map(|case| case.number).collect::<Vec<_>>(), [second]);
    let newest: Vec<_> = store.cases(None, 10).await.unwrap().iter().map(|case| case.number).collect();
    assert_eq!(newest, [second, number]);
    assert_eq!(store.cases(Some(second), 10).await.unwrap().len(), 1);
    assert_eq!(store.case(99).await.unwrap(), None);
    assert_eq!(store.events(99, 0).await.unwrap_err(), StoreError::NoSuchTicket(99));
}

#[tokio::test]
async fn the_same_delivery_is_the_same_ticket() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let mut deliveries = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let store = store.clone();
        deliveries.spawn(async move { accept(&store, "same").await.unwrap() });
    }
    let accepted = deliveries.join_all().await;
    assert_eq!(accepted.iter().filter(|accepted| accepted.new).count(), 1);
    assert!(accepted.iter().all(|accepted| accepted.number == 1));
    assert_eq!(store.unfinished_count().await.unwrap(), 1);
}

#[tokio::test]
async fn an_idempotency_key_belongs_to_what_was_said_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let deliver = async |id: &str, title: &str, key: &str, seconds: i64| {
        let report = Report { title: Some(title.into()), ..Report::default() };
        let ticket = report.accept(at(seconds), id).unwrap();
        store
            .accept(
                ticket,
                Delivery { idempotency_key: Some(key.into()), ..Delivery::default() },
                at(seconds),
                at(seconds + 60),
            )
            .await
    };
    assert_eq!(deliver("generated-1", "slow", "k", 0).await.unwrap(), Accepted { number: 1, new: true });
    // A repetition comes later, and its generated id is another one.
    assert_eq!(deliver("generated-2", "slow", "k", 5).await.unwrap(), Accepted { number: 1, new: false });
    assert_eq!(deliver("generated-3", "down", "k", 6).await.unwrap_err(), StoreError::Conflict { ticket: 1 });
    assert_eq!(deliver("generated-4", "slow", "other", 7).await.unwrap(), Accepted { number: 2, new: true });
}

#[tokio::test]
async fn two_hundred_at_once_each_get_their_own_answer() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let mut requests = tokio::task::JoinSet::new();
    for n in 0..200 {
        let store = store.clone();
        requests.spawn(async move {
            if n % 10 == 0 {
                // Refused, in the middle of a group: it must take no other with it.
                let error = store.decide(9_999, 1, at(0), verdict(Decision::Issue), vec![], Learned::default()).await;
                assert_eq!(error.unwrap_err(), StoreError::NoSuchTicket(9_999));
                None
            } else {
                Some(accept(&store, &n.to_string()).await.unwrap().number)
            }
        });
    }
    let mut numbers: Vec<_> = requests.join_all().await.into_iter().flatten().collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=180).collect::<Vec<u64>>());
    drop(store);
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(store.unfinished_count().await.unwrap(), 180);
}

#[tokio::test]
async fn a_statement_that_fails_takes_no_other_of_its_group_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let bad = store.write(Urgency::Intake, |connection| {
        connection.execute("INSERT INTO meta (name, value) VALUES ('half', 1)", [])?;
        connection.execute("INSERT INTO nowhere VALUES (1)", [])?;
        Ok(())
    });
    let (good, bad, also_good) = tokio::join!(accept(&store, "1"), bad, accept(&store, "2"));
    assert!(good.unwrap().new && also_good.unwrap().new);
    assert!(matches!(bad, Err(StoreError::Unwritable(_))));
    let half: i64 = store
        .read(|c| Ok(c.query_row("SELECT count(*) FROM meta WHERE name = 'half'", [], |row| row.get(0))?))
        .await
        .unwrap();
    assert_eq!(half, 0, "what the failed one had written is undone");
    assert_eq!(store.broken(), None);
}

#[tokio::test]
async fn a_round_is_decided_once_and_followed_by_another() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let number = accept(&store, "1").await.unwrap().number;
    let decide = |round| {
        let (store, actions) = (store.clone(), vec![action(number, round, "ops", at(1))]);
        async move { store.decide(number, round, at(1), verdict(Decision::Issue), actions, Learned::default()).await }
    };
    assert_eq!(store.new_round(number, at(99)).await, Err(StoreError::NotDecided { ticket: number, round: 1 }));
    assert_eq!(decide(2).await, Err(StoreError::NoSuchRound { ticket: number, round: 2 }));
    let results = [decide(1), decide(1), decide(1)];
    let results = futures_util::future::join_all(results).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(results.contains(&Err(StoreError::AlreadyDecided { ticket: number, round: 1 })));
    assert_eq!(store.queue_length().await.unwrap(), 1);
    assert_eq!(store.begin(number, at(2)).await, Err(StoreError::AlreadyDecided { ticket: number, round: 1 }));

    assert_eq!(store.new_round(number, at(99)).await.unwrap(), 2);
    let case = store.case(number).await.unwrap().unwrap();
    assert_eq!((case.round, case.state, case.attempts, case.verdict), (2, CaseState::Accepted, 0, None));
    assert_eq!(decide(1).await, Err(StoreError::AlreadyDecided { ticket: number, round: 1 }));
    decide(2).await.unwrap();
    let verdicts = store.events(number, 0).await.unwrap();
    assert_eq!(verdicts.iter().filter(|event| matches!(event.event, Event::Verdict { .. })).count(), 2);
}

#[tokio::test]
async fn an_action_waits_until_it_is_delivered_or_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let number = accept(&store, "1").await.unwrap().number;
    let (first, second) = (action(number, 1, "a", at(1)), action(number, 1, "b", at(2)));
    let actions = vec![first.clone(), second.clone()];
    store.decide(number, 1, at(2), verdict(Decision::Doubtful), actions, Learned::default()).await.unwrap();
    let due = async |seconds| -> Vec<(String, u32)> {
        let due = store.due(at(seconds), 10).await.unwrap();
        due.into_iter().map(|due| (due.action.recipient, due.tries)).collect()
    };
    assert_eq!(due(0).await, []);
    assert_eq!(due(2).await, [("a".into(), 0), ("b".into(), 0)]);
    assert_eq!(store.next_due().await.unwrap(), Some(at(1)));
    store.failed(&first.key, "refused", Some(at(30))).await.unwrap();
    assert_eq!(due(29).await, [("b".into(), 0)]);
    assert_eq!(due(30).await, [("b".into(), 0), ("a".into(), 1)]);
    store.delivered(&second.key, at(3), None).await.unwrap();
    store.delivered(&second.key, at(4), None).await.unwrap();
    store.failed(&second.key, "late news", Some(at(9))).await.unwrap();
    assert_eq!(due(99).await, [("a".into(), 1)]);
    let fallback = action(number, 1, "a by another way", at(40));
    store.failed_then(&first.key, "gone", None, vec![fallback.clone(), fallback]).await.unwrap();
    assert_eq!(due(99).await, [("a by another way".into(), 0)]);
    assert_eq!(store.queue_length().await.unwrap(), 1);
    let unknown = store.delivered("nobody's", at(5), None).await;
    assert_eq!(unknown, Err(StoreError::NoSuchAction("nobody's".into())));
}

#[tokio::test]
async fn damage_is_found_and_hides_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    for id in ["1", "2", "3"] {
        accept(&store, id).await.unwrap();
    }
    let escalation = action(3, 1, "ops", at(1));
    let actions = vec![escalation.clone()];
    store.decide(3, 1, at(1), verdict(Decision::Doubtful), actions, Learned::default()).await.unwrap();
    store.append(2, at(1), vec![look()]).await.unwrap();
    // Valid JSON that says something else: only the checksum tells.
    tamper(directory.path(), "UPDATE ticket SET body = CAST(replace(body, 'slow', 'fast') AS BLOB) WHERE number = 1");
    tamper(
        directory.path(),
        "UPDATE verdict SET body = CAST(replace(body, 'doubtful', 'no_issue') AS BLOB) WHERE ticket = 3",
    );
    tamper(directory.path(), "UPDATE event SET body = CAST(replace(body, 'odd', 'bad') AS BLOB) WHERE ticket = 2");
    tamper(directory.path(), "UPDATE outbox SET body = x'00'");

    for number in [1, 3] {
        assert!(matches!(store.case(number).await, Err(StoreError::Damaged(_))), "T-{number}");
    }
    assert!(matches!(store.events(2, 0).await, Err(StoreError::Damaged(_))));
    assert!(matches!(store.events(3, 0).await, Err(StoreError::Damaged(_))));
    let listed = store.cases(None, 10).await.unwrap();
    assert_eq!(listed.len(), 3);
    assert_eq!(listed[0].verdict, None, "a damaged verdict is no verdict");
    let unfinished = store.unfinished().await.unwrap();
    assert_eq!(unfinished.iter().map(|case| case.number).collect::<Vec<_>>(), [1, 2]);
    assert!(unfinished[0].ticket.title.raw().contains("damaged") && !unfinished[0].ticket.notes.is_empty());
    assert_eq!((unfinished[0].ticket.source.as_str(), unfinished[0].ticket.id.as_str()), ("test", "1"));
    let due = store.due(at(9), 10).await.unwrap();
    assert_eq!((due[0].action.key.as_str(), due[0].action.ticket), (escalation.key.as_str(), 3));
    assert!(due[0].action.facts["damaged"].is_string());
    // It can still be ended.
    assert_eq!(store.begin(1, at(2)).await.unwrap(), 1);
    store.decide(1, 1, at(3), verdict(Decision::Doubtful), vec![], Learned::default()).await.unwrap();
    assert_eq!(store.unfinished_count().await.unwrap(), 1);
}

#[tokio::test]
async fn a_second_daemon_is_refused_and_a_stale_lock_is_no_obstacle() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("houston.lock"), "").unwrap();
    let store = Store::open(directory.path()).unwrap();
    let start = std::time::Instant::now();
    assert!(matches!(Store::open(directory.path()), Err(OpenError::Locked(_))));
    assert!(start.elapsed() < Duration::from_secs(5));
    drop(store);
    Store::open(directory.path()).unwrap();
}

#[tokio::test]
async fn a_newer_schema_is_refused_untouched() {
    let directory = tempfile::tempdir().unwrap();
    drop(Store::open(directory.path()).unwrap());
    tamper(directory.path(), "UPDATE meta SET value = 99 WHERE name = 'schema'");
    let found = Store::open(directory.path());
    let Err(OpenError::Newer { found: 99, known, .. }) = found else { panic!("{found:?}") };
    assert_eq!(known as usize, schema::MIGRATIONS.len());
    assert!(!directory.path().join("houston.db.corrupt-1").exists());
}

#[tokio::test]
async fn a_store_that_cannot_be_read_is_moved_aside_and_never_reuses_numbers() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    accept(&store, "1").await.unwrap();
    drop(store);
    let path = directory.path().join("houston.db");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[..100].fill(0);
    std::fs::write(&path, bytes).unwrap();

    let store = Store::open(directory.path()).unwrap();
    let said = store.recovered().unwrap();
    assert!(said.contains("houston.db.corrupt-1"), "{said}");
    assert!(directory.path().join("houston.db.corrupt-1").exists());
    let again = accept(&store, "1").await.unwrap();
    assert!(again.new && again.number > 100_000, "{again:?}");
    drop(store);
    let store = Store::open(directory.path()).unwrap();
    assert!(store.recovered().is_some(), "it is said until somebody has seen to it");
    assert_eq!(accept(&store, "2").await.unwrap().number, again.number + 1);
    drop(store);
    std::fs::remove_file(directory.path().join("houston.db.corrupt-1")).unwrap();
    assert_eq!(Store::open(directory.path()).unwrap().recovered(), None);
}

#[tokio::test]
async fn a_store_that_was_deleted_is_noticed_at_once_and_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    store.probe().await.unwrap();
    std::fs::remove_file(directory.path().join("houston.db")).unwrap();
    assert!(matches!(store.probe().await, Err(StoreError::Unwritable(_))));
    assert!(store.broken().is_some());
    assert!(matches!(accept(&store, "1").await, Err(StoreError::Unwritable(_))), "nothing is acknowledged any more");
    drop(store);
    let store = Store::open(directory.path()).unwrap();
    assert!(store.recovered().unwrap().contains("gone"));
    assert!(accept(&store, "1").await.unwrap().number > 100_000);
}

#[tokio::test]
async fn a_full_disk_acknowledges_nothing_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let first = accept(&store, "first").await.unwrap().number;
    let limit = async |pages: u32| {
        let sql = format!("PRAGMA max_page_count = {pages}");
        store.write(Urgency::Intake, move |c| Ok(c.query_row(&sql, [], |row| row.get::<_, i64>(0))?)).await.unwrap()
    };
    limit(1).await; // as small as it can be: what it holds now
    let large = || {
        let report = Report { title: Some("x".into()), text: Some("y".repeat(60_000).into()), ..Report::default() };
        report.accept(at(0), "large").unwrap()
    };
    let refused = store.accept(large(), Delivery::default(), at(0), at(60)).await;
    assert!(matches!(refused, Err(StoreError::Unwritable(_))), "{refused:?}");
    assert_eq!(store.broken(), None, "a full disk is no reason to end");
    assert_eq!(store.unfinished_count().await.unwrap(), 1);
    limit(1_000_000).await;
    let accepted = store.accept(large(), Delivery::default(), at(0), at(60)).await.unwrap();
    assert!(accepted.new);
    store.decide(first, 1, at(1), verdict(Decision::Issue), vec![], Learned::default()).await.unwrap();
    drop(store);
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(store.unfinished_count().await.unwrap(), 1);
}

#[tokio::test]
async fn the_reserve_is_used_for_what_was_accepted_and_restored() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let reserve = directory.path().join("houston.reserve");
    let full = || rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), None);
    // Full for as long as the reserve is there.
    let watched = reserve.clone();
    let obligation = store.write(Urgency::Obligation, move |connection| {
        if watched.exists() { Err(full().into()) } else { Ok(write::probe(connection)?) }
    });
    let (intake, obligation) = tokio::join!(accept(&store, "1"), obligation);
    obligation.unwrap();
    // It was refused where it shared the group, and is in where it had its own.
    assert_eq!(intake.is_ok(), store.unfinished_count().await.unwrap() == 1);
    assert!(!reserve.exists());
    store.probe().await.unwrap();
    assert!(reserve.exists());
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_written_any_more() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let failed: Result<(), _> = store
        .write(Urgency::Intake, |_| {
            let error = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC);
            Err(rusqlite::Error::SqliteFailure(error, None).into())
        })
        .await;
    assert!(matches!(failed, Err(StoreError::Unwritable(_))));
    assert!(store.broken().is_some());
    assert!(matches!(accept(&store, "1").await, Err(StoreError::Unwritable(_))));
    drop(store);
    let store = Store::open(directory.path()).unwrap();
    assert!(accept(&store, "1").await.unwrap().new);
}

#[tokio::test]
async fn a_request_that_panics_ends_the_writer_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let panicked: Result<(), _> = store.write(Urgency::Intake, |_| panic!("a fault of ours")).await;
    assert!(matches!(panicked, Err(StoreError::Unwritable(_))));
    assert!(matches!(accept(&store, "1").await, Err(StoreError::Unwritable(_))));
    assert!(store.broken().is_some());
}

#[tokio::test]
async fn templates_are_bounded_and_the_longest_unseen_go_first() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let day = 86_400;
    let learn = async |id: &str, seconds: i64, templates: Vec<String>| {
        let number = accept(&store, id).await.unwrap().number;
        let learned = Learned { templates: vec![("log".into(), templates)], ..Learned::default() };
        store.decide(number, 1, at(seconds), verdict(Decision::Issue), vec![], learned).await.unwrap();
        store.memory(at(1_000_000_000)).await.unwrap().templates["log"].clone()
    };
    let old = learn("1", 0, vec!["old".into(), "seen again".into()]).await;
    assert_eq!(old.len(), 2);
    learn("2", 2 * day, vec!["seen again".into()]).await;
    let many = usize::try_from(memory::PER_CHECK).unwrap() - 1;
    let full = learn("3", 3 * day, (0..many).map(|n| format!("t{n}")).collect()).await;
    assert_eq!(full.len(), many + 1);
    assert!(full.contains("seen again") && !full.contains("old"));
}

#[tokio::test]
async fn a_trouble_is_what_the_newest_verdict_says_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let number = accept(&store, "1").await.unwrap().number;
    let mut issue = verdict(Decision::Issue);
    issue.ticket.services = vec!["checkout".into()];
    store.decide(number, 1, at(50), issue, vec![], Learned::default()).await.unwrap();
    let found = store.troubles(at(50)).await.unwrap();
    let [trouble] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(trouble.window, Window::new(at(0), at(50)), "it went on when it was decided");
    assert!(trouble.concerns(Some("checkout")) && trouble.concerns(None) && !trouble.concerns(Some("search")));
    assert!(store.troubles(at(51)).await.unwrap().is_empty(), "it ended before");

    store.new_round(number, at(200)).await.unwrap();
    store.decide(number, 2, at(60), verdict(Decision::NoIssue), vec![], Learned::default()).await.unwrap();
    assert!(store.troubles(at(0)).await.unwrap().is_empty(), "it was none");
}
