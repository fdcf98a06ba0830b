//! The store against a model of it in memory: whatever is done in whatever order, both say the same.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// One thing that is done to the store.
#[derive(Debug, Clone)]
enum Step {
    Accept { id: u8, key: Option<u8> },
    Begin(u8),
    Append(u8),
    Decide { ticket: u8, round: u8, actions: u8 },
    NewRound(u8),
    Delivered(u8),
    Failed { action: u8, retry: Option<i64> },
    Due(i64),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let ticket = || 1..5_u8;
    prop_oneof![
        4 => (0..6_u8, proptest::option::weighted(0.4, 0..4_u8)).prop_map(|(id, key)| Step::Accept { id, key }),
        3 => ticket().prop_map(Step::Begin),
        2 => ticket().prop_map(Step::Append),
        4 => (ticket(), 1..4_u8, 0..3_u8).prop_map(|(ticket, round, actions)| Step::Decide { ticket, round, actions }),
        2 => ticket().prop_map(Step::NewRound),
        2 => any::<u8>().prop_map(Step::Delivered),
        2 => (any::<u8>(), proptest::option::weighted(0.7, 0..100_i64))
            .prop_map(|(action, retry)| Step::Failed { action, retry }),
        2 => (0..100_i64).prop_map(Step::Due),
        1 => Just(Step::Reopen),
    ]
}

#[derive(Debug, Clone, PartialEq)]
enum Sent {
    Waiting { due: i64, tries: u32 },
    Done,
    GivenUp,
}

#[derive(Debug, Default)]
struct Modelled {
    id: u8,
    round: u32,
    attempts: u32,
    running: bool,
    decided: bool,
    /// "look", "verdict", "action"
    events: Vec<&'static str>,
}

#[derive(Debug, Default)]
struct Model {
    tickets: Vec<Modelled>,
    keys: BTreeMap<u8, u64>,
    actions: BTreeMap<String, Sent>,
    /// The ticket of each action.
    of: BTreeMap<String, u8>,
}

impl Model {
    fn ticket(&mut self, number: u8) -> Result<&mut Modelled, StoreError> {
        self.tickets.get_mut(usize::from(number) - 1).ok_or(StoreError::NoSuchTicket(number.into()))
    }

    fn accept(&mut self, id: u8, key: Option<u8>) -> Result<Accepted, StoreError> {
        // What a ticket says is its id's parity here, so that keys meet both the same and another content.
        if let Some(&number) = key.and_then(|key| self.keys.get(&key)) {
            let same = self.tickets[usize::try_from(number).unwrap() - 1].id % 2 == id % 2;
            return if same {
                Ok(Accepted { number, new: false })
            } else {
                Err(StoreError::Conflict { ticket: number })
            };
        }
        if let Some(found) = self.tickets.iter().position(|ticket| ticket.id == id) {
            return Ok(Accepted { number: found as u64 + 1, new: false });
        }
        self.tickets.push(Modelled { id, round: 1, ..Modelled::default() });
        let number = self.tickets.len() as u64;
        if let Some(key) = key {
            self.keys.insert(key, number);
        }
        Ok(Accepted { number, new: true })
    }

    fn begin(&mut self, number: u8) -> Result<u32, StoreError> {
        let ticket = self.ticket(number)?;
        if ticket.decided {
            return Err(StoreError::AlreadyDecided { ticket: number.into(), round: ticket.round });
        }
        ticket.attempts += 1;
        ticket.running = true;
        Ok(ticket.attempts)
    }

    fn decide(&mut self, number: u8, round: u32, actions: &[Action]) -> Result<(), StoreError> {
        let ticket = self.ticket(number)?;
        if round > ticket.round {
            return Err(StoreError::NoSuchRound { ticket: number.into(), round });
        }
        if round < ticket.round || ticket.decided {
            return Err(StoreError::AlreadyDecided { ticket: number.into(), round });
        }
        ticket.decided = true;
        ticket.events.push("verdict");
        for action in actions {
            self.ticket(number)?.events.push("action");
            self.actions.insert(action.key.clone(), Sent::Waiting { due: 0, tries: 0 });
            self.of.insert(action.key.clone(), number);
        }
        Ok(())
    }

    fn new_round(&mut self, number: u8) -> Result<u32, StoreError> {
        let ticket = self.ticket(number)?;
        if !ticket.decided {
            return Err(StoreError::NotDecided { ticket: number.into(), round: ticket.round });
        }
        (ticket.decided, ticket.running, ticket.attempts) = (false, false, 0);
        ticket.round += 1;
        Ok(ticket.round)
    }

    /// The key of some action, or one that nobody knows.
    fn key(&self, n: u8) -> String {
        self.actions.keys().nth(usize::from(n) % (self.actions.len() + 1)).cloned().unwrap_or("unknown".into())
    }

    fn sent(&mut self, key: &str) -> Result<&mut Sent, StoreError> {
        self.actions.get_mut(key).ok_or(StoreError::NoSuchAction(key.to_owned()))
    }

    fn failed(&mut self, key: &str, retry: Option<i64>) -> Result<(), StoreError> {
        let sent = self.sent(key)?;
        *sent = match (&*sent, retry) {
            (Sent::Done, _) => Sent::Done,
            (_, None) => Sent::GivenUp,
            (Sent::Waiting { tries, .. }, Some(due)) => Sent::Waiting { due, tries: tries + 1 },
            // Counted by the store all along.
            (Sent::GivenUp, Some(_)) => unreachable!("the test doesn't revive what was given up"),
        };
        Ok(())
    }

    fn due(&self, now: i64) -> BTreeMap<String, u32> {
        self.actions
            .iter()
            .filter_map(|(key, sent)| match sent {
                Sent::Waiting { due, tries } if *due <= now => Some((key.clone(), *tries)),
                _ => None,
            })
            .collect()
    }
}

async fn agree(store: &Store, model: &Model) {
    let cases = store.cases(None, 100).await.unwrap();
    assert_eq!(cases.len(), model.tickets.len());
    for (case, (number, expected)) in cases.iter().rev().zip((1_u64..).zip(&model.tickets)) {
        assert_eq!(case.number, number);
        assert_eq!(case.ticket.id, expected.id.to_string());
        assert_eq!((case.round, case.attempts), (expected.round, expected.attempts));
        assert_eq!(case.verdict.is_some(), expected.decided);
        let state = match (expected.decided, expected.running) {
            (true, _) => CaseState::Decided,
            (false, true) => CaseState::Running,
            (false, false) => CaseState::Accepted,
        };
        assert_eq!(case.state, state);
        let events: Vec<_> = store.events(number, 0).await.unwrap().iter().map(|e| e.event.name()).collect();
        assert_eq!(events, expected.events);
    }
    let unfinished: Vec<_> = store.unfinished().await.unwrap().iter().map(|case| case.number).collect();
    let expected: Vec<_> =
        (1_u64..).zip(&model.tickets).filter(|(_, ticket)| !ticket.decided).map(|(number, _)| number).collect();
    assert_eq!(unfinished, expected);
    let waiting = model.actions.values().filter(|sent| matches!(sent, Sent::Waiting { .. })).count();
    assert_eq!(store.queue_length().await.unwrap(), waiting);
}

async fn run(steps: Vec<Step>) {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(directory.path()).unwrap();
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Accept { id, key } => {
                let ticket = ticket(&id.to_string(), if id % 2 == 0 { "even" } else { "odd" });
                let delivery = Delivery { idempotency_key: key.map(|key| format!("key {key}")), ..Delivery::default() };
                let accepted = store.accept(ticket, delivery, at(0), at(60)).await;
                assert_eq!(accepted, model.accept(id, key));
            }
            Step::Begin(ticket) => assert_eq!(store.begin(ticket.into(), at(0)).await, model.begin(ticket)),
            Step::Append(ticket) => {
                let expected = model.ticket(ticket).map(|ticket| ticket.events.push("look"));
                assert_eq!(store.append(ticket.into(), at(0), vec![look()]).await, expected);
            }
            Step::Decide { ticket, round, actions } => {
                let round = u32::from(round);
                let actions: Vec<_> =
                    (0..actions).map(|n| action(ticket.into(), round, &n.to_string(), at(0))).collect();
                let expected = model.decide(ticket, round, &actions);
                let decided =
                    store.decide(ticket.into(), round, at(0), verdict(Decision::Issue), actions, Learned::default());
                assert_eq!(decided.await, expected);
            }
            Step::NewRound(ticket) => {
                assert_eq!(store.new_round(ticket.into(), at(60)).await, model.new_round(ticket));
            }
            Step::Delivered(n) => {
                let key = model.key(n);
                let was_done = model.actions.get(&key) == Some(&Sent::Done);
                let expected = model.sent(&key).map(|sent| *sent = Sent::Done);
                if expected.is_ok() && !was_done {
                    let of = model.of[&key];
                    model.ticket(of).unwrap().events.push("reached");
                }
                assert_eq!(store.delivered(&key, at(0), None).await, expected);
            }
            Step::Failed { action, retry } => {
                let key = model.key(action);
                if model.actions.get(&key) != Some(&Sent::GivenUp) {
                    let expected = model.failed(&key, retry);
                    assert_eq!(store.failed(&key, "why", retry.map(at)).await, expected);
                }
            }
            Step::Due(now) => {
                let due = store.due(at(now), 1_000).await.unwrap();
                let due: BTreeMap<_, _> = due.into_iter().map(|due| (due.action.key, due.tries)).collect();
                assert_eq!(due, model.due(now));
            }
            Step::Reopen => {
                drop(store);
                store = Store::open(directory.path()).unwrap();
                agree(&store, &model).await;
            }
        }
    }
    agree(&store, &model).await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn the_store_does_what_its_model_does(steps in proptest::collection::vec(step(), 1..40)) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run(steps));
    }
}
