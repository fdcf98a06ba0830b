//! Who is told when, and the laws of every ladder.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;
use crate::model::people::{Ladder, OnCall, Override, Person, Step, Way};

fn start() -> Timestamp {
    "2026-11-22T10:00:00Z".parse().unwrap()
}

fn after(seconds: i64) -> Timestamp {
    start().checked_add(SignedDuration::from_secs(seconds)).unwrap()
}

fn catalog(steps: &[(Whom, u64)], repeat: u32, on_call: &[&str]) -> Catalog {
    let person = |name: &str| {
        let way = Way { over: format!("sms-{name}"), to: name.to_owned(), hours: None };
        (name.to_owned(), Person { time_zone: TimeZone::UTC, reach: vec![way] })
    };
    let steps: Vec<Step> =
        steps.iter().map(|(notify, wait)| Step { notify: notify.clone(), wait: Duration::from_secs(*wait) }).collect();
    let overrides =
        on_call.iter().map(|who| Override { from: after(-60), until: after(7_200), who: (*who).to_owned() }).collect();
    let ladder = (!steps.is_empty()).then_some(Ladder { steps, repeat, acknowledge_for: Duration::from_secs(1_800) });
    let team = Team {
        members: vec!["ana".into(), "kim".into()],
        channels: vec!["chat".into()],
        on_call: Some(OnCall { rotation: None, overrides }),
        ladder,
    };
    Catalog {
        teams: BTreeMap::from([("shop".to_owned(), team)]),
        people: ["ana", "kim", "lee"].map(person).into_iter().collect(),
        ..Catalog::default()
    }
}

fn page() -> Page {
    let facts = json!({ "verdict": "issue", "acknowledge": "/a/token" });
    let hold = SignedDuration::from_mins(30);
    Page::begin(7, 1, "shop", "slow\nlogin".into(), vec!["checkout".into()], hold, facts, start())
}

fn fallback() -> Vec<Target> {
    vec![Target { channel: "desk".into(), recipient: "operators".into() }]
}

fn told(actions: &[Action]) -> Vec<String> {
    actions.iter().map(|action| format!("{} {}", action.kind.name(), action.channel)).collect()
}

/// Advances at each of its due times until it ends, or `until`.
fn run(mut page: Page, catalog: &Catalog, until: Timestamp) -> (Page, Vec<(i64, String)>) {
    let mut log = Vec::new();
    while let Some(due) = page.due_at().filter(|due| *due <= until) {
        let (next, actions) = advance(&page, catalog, &fallback(), due);
        assert_ne!(next, page, "it goes on");
        log.extend(told(&actions).into_iter().map(|line| (start().duration_until(due).as_secs(), line)));
        page = next;
    }
    (page, log)
}

fn lines(log: &[(i64, String)]) -> Vec<String> {
    log.iter().map(|(at, line)| format!("{at} {line}")).collect()
}

#[test]
fn nobody_acknowledges_and_it_climbs_to_its_end() {
    let people = Whom::People(vec!["lee".into()]);
    let catalog = catalog(&[(Whom::OnCall, 60), (Whom::Team, 120), (people, 60)], 1, &["kim"]);
    let (page, log) = run(page(), &catalog, after(100_000));
    assert_eq!(
        lines(&log),
        [
            "0 page sms-kim",
            "60 page sms-ana",
            "60 page sms-kim",
            "60 page chat",
            "180 page sms-lee",
            "240 page sms-kim",
            "300 page sms-ana",
            "300 page sms-kim",
            "300 page chat",
            "420 page sms-lee",
            "480 escalate desk",
            "480 escalate log",
        ]
    );
    assert_eq!((page.standing, page.next_at), (Standing::Ended, None));
}

#[test]
fn where_nobody_is_on_call_the_next_step_is_not_waited_for() {
    let climbed = run(page(), &catalog(&[(Whom::OnCall, 60), (Whom::Team, 60)], 0, &[]), after(59)).1;
    assert_eq!(lines(&climbed), ["0 page sms-ana", "0 page sms-kim", "0 page chat"]);
    let nobody = run(page(), &catalog(&[(Whom::OnCall, 60)], 5, &[]), after(0)).1;
    assert_eq!(lines(&nobody), ["0 escalate desk", "0 escalate log"]);
    let gone = run(page(), &Catalog::default(), after(0)).1;
    assert_eq!(lines(&gone), ["0 escalate desk", "0 escalate log"]);
}

#[test]
fn a_team_without_a_ladder_is_told_once() {
    let (page, log) = run(page(), &catalog(&[], 0, &[]), after(100_000));
    assert_eq!(lines(&log), ["0 page sms-ana", "0 page sms-kim", "0 page chat"]);
    assert!(!page.is_open());
}

#[test]
fn an_acknowledgement_holds_then_reminds_then_the_ladder_goes_on() {
    let catalog = catalog(&[(Whom::OnCall, 60), (Whom::Team, 60)], 0, &["kim"]);
    let (mut page, _) = run(page(), &catalog, after(0));
    page.acknowledge("kim".into(), after(600));
    let (page, log) = run(page, &catalog, after(100_000));
    assert_eq!(
        lines(&log),
        [
            "600 remind sms-kim",
            "660 page sms-ana",
            "660 page sms-kim",
            "660 page chat",
            "720 escalate desk",
            "720 escalate log",
        ]
    );
    assert!(!page.is_open());
}

#[test]
fn who_was_down_takes_one_step_and_not_all_that_it_missed() {
    let catalog = catalog(&[(Whom::OnCall, 60), (Whom::Team, 60)], 9, &["kim"]);
    let (next, actions) = advance(&page(), &catalog, &fallback(), after(3_600));
    assert_eq!(told(&actions), ["page sms-kim"]);
    assert_eq!(next.next_at, Some(after(3_660)));
    assert_eq!(advance(&next, &catalog, &fallback(), after(3_601)).1, []);
}

#[test]
fn those_who_were_paged_are_told_once_of_what_joined() {
    let catalog = catalog(&[(Whom::OnCall, 600)], 0, &["kim"]);
    let (mut page, _) = run(page(), &catalog, after(0));
    for ticket in 8..80 {
        page.join(&Page { ticket, title: format!("also {ticket}").into(), ..self::page() });
    }
    let (_, log) = run(page.clone(), &catalog, after(400));
    assert_eq!(lines(&log), ["300 summary sms-kim"]);
    let (_, actions) = advance(&page, &catalog, &fallback(), after(300));
    let facts = &actions[0].facts;
    assert_eq!(facts["also"].as_array().unwrap().len(), 50);
    assert_eq!((&facts["also"][0], &facts["also_left_out"]), (&json!("T-8: also 8"), &json!(22)));
    assert!(facts["summary"].as_str().unwrap().starts_with("T-7 and 72 more tickets since: slow"), "{facts}");
}

proptest! {
    /// However it is acknowledged and whenever it is looked at: bounded, quiet while it is taken on, never silent.
    #[test]
    fn laws(
        steps in prop::collection::vec((0_usize..3, 1_u64..600), 1..5),
        repeat in 0_u32..4,
        someone in any::<bool>(),
        acknowledged in prop::collection::vec((1_i64..2_000, 1_i64..2_000), 0..4),
        late in prop::collection::vec(0_i64..300, 1..8),
    ) {
        let whom = [Whom::OnCall, Whom::Team, Whom::People(vec!["lee".into()])];
        let steps: Vec<(Whom, u64)> = steps.into_iter().map(|(which, wait)| (whom[which].clone(), wait)).collect();
        let on_call: &[&str] = if someone { &["kim"] } else { &[] };
        let catalog = catalog(&steps, repeat, on_call);
        let height = catalog.teams["shop"].ladder.as_ref().unwrap().height();
        let (mut page, mut now, mut keys) = (page(), start(), std::collections::BTreeSet::new());
        let (mut pages, mut escalated, mut quiet_until) = (0, false, None);
        let mut acknowledged = acknowledged.into_iter();
        let mut late = late.into_iter().cycle();
        for _ in 0..1_000 {
            let Some(due) = page.due_at() else { break };
            now = now.max(due).checked_add(SignedDuration::from_secs(late.next().unwrap())).unwrap();
            let before = page.clone();
            let (next, actions) = advance(&page, &catalog, &fallback(), now);
            prop_assert_eq!(&advance(&before, &catalog, &fallback(), now).1, &actions, "pure");
            page = next;
            pages += usize::from(actions.iter().any(|action| action.kind == ActionKind::Page));
            for action in &actions {
                prop_assert!(keys.insert(action.key.clone()), "no key comes twice");
                prop_assert!(action.kind != ActionKind::Page || quiet_until.is_none_or(|until| now > until));
            }
            escalated |= actions.iter().any(|action| action.kind == ActionKind::Escalate);
            if let Some((wait, hold)) = acknowledged.next().filter(|_| page.is_open()) {
                now = now.checked_add(SignedDuration::from_secs(wait.min(30))).unwrap();
                let until = now.checked_add(SignedDuration::from_secs(hold)).unwrap();
                page.acknowledge("kim".into(), until);
                quiet_until = Some(until);
            }
        }
        prop_assert!(!page.is_open() && escalated, "it ends, and never silently");
        prop_assert!(pages <= height, "{} pages of a ladder of {}", pages, height);
    }
}
