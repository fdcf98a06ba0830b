//! Pages begin with their verdict, join in a storm, wait while somebody has taken them on, and survive.

use jiff::SignedDuration;
use serde_json::json;

use super::*;
use crate::model::page::{Page, Standing};
use crate::store::pages::Which;

fn page(ticket: u64, services: &[&str], begun: i64) -> Page {
    let services = services.iter().map(|name| (*name).to_owned()).collect();
    let hold = SignedDuration::from_secs(100);
    Page::begin(ticket, 1, "crew", format!("ticket {ticket}").into(), services, hold, json!({}), at(begun))
}

async fn paged(store: &Store, services: &[&str], begun: i64) -> u64 {
    let number = accept(store, &format!("{services:?} {begun}")).await.unwrap().number;
    let pages = vec![page(number, services, begun)];
    let (verdict, learned) = (verdict(Decision::Issue), Learned::default());
    store.decide(number, 1, at(begun), verdict, Following { pages, ..Following::default() }, learned).await.unwrap();
    number
}

async fn stored(store: &Store, ticket: u64) -> Page {
    store.page(&Page::key_of(ticket, 1, "crew")).await.unwrap().unwrap()
}

/// What is due, by ticket.
async fn due(store: &Store, now: i64) -> Vec<u64> {
    store.due_pages(at(now)).await.unwrap().iter().map(|due| due.ticket).collect()
}

#[tokio::test]
async fn a_storm_is_one_page_and_what_joins_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let first = paged(&store, &["shop"], 0).await;
    for n in 1..20 {
        paged(&store, &["shop", "search"], n).await;
    }
    assert_eq!(due(&store, 20).await, [first], "one page");
    let leader = stored(&store, first).await;
    assert_eq!((leader.joined_count, leader.summary_at), (19, Some(at(300))));
    let other = paged(&store, &["mail"], 21).await;
    assert_eq!(due(&store, 21).await, [first, other], "another service is another page");
    let later = paged(&store, &["shop"], 300).await;
    assert!(due(&store, 300).await.contains(&later), "and so is what comes after the quiet time");
    let last = paged(&store, &["mail"], 320).await;
    assert_eq!(stored(&store, last).await.standing, Standing::Joined { leader: Page::key_of(other, 1, "crew") });
}

#[tokio::test]
async fn an_acknowledgement_is_for_the_page_and_for_what_joined_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let (first, second) = (paged(&store, &["shop"], 0).await, paged(&store, &["shop"], 1).await);
    let taken = store.acknowledge(Which::OfTicket(second), "kim".into(), None, at(10)).await.unwrap();
    assert_eq!((taken.tickets, taken.until), (vec![first, second], Some(at(110))));
    drop(store);
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(due(&store, 109).await, [0_u64; 0]);
    assert_eq!(due(&store, 110).await, [first]);
    for ticket in [first, second] {
        let events = store.events(ticket, 0).await.unwrap();
        assert!(events.iter().any(|recorded| recorded.event.name() == "acknowledged"), "T-{ticket}");
    }
    let hold = Some(SignedDuration::from_secs(7));
    let by_key = store.acknowledge(Which::Page(Page::key_of(first, 1, "crew")), "ana".into(), hold, at(120)).await;
    assert_eq!(by_key.unwrap().until, Some(at(127)));
    assert_eq!(store.acknowledge(Which::OfTicket(77), "kim".into(), None, at(10)).await.unwrap().tickets, [0_u64; 0]);
}

#[tokio::test]
async fn what_changed_meanwhile_is_not_written_over() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let ticket = paged(&store, &["shop"], 0).await;
    let found = store.due_pages(at(0)).await.unwrap().remove(0);
    store.acknowledge(Which::OfTicket(ticket), "kim".into(), None, at(1)).await.unwrap();
    let mut climbed = found.page.clone().unwrap();
    climbed.taken = 1;
    let actions = vec![action(ticket, 1, "ana", at(1))];
    let written = store.advance_page(&found, Some(climbed.clone()), actions.clone(), at(1)).await.unwrap();
    assert!(!written && store.queue_length().await.unwrap() == 0, "neither the page nor the message");
    let found = store.due_pages(at(101)).await.unwrap().remove(0);
    assert!(store.advance_page(&found, Some(climbed), actions, at(101)).await.unwrap());
    assert_eq!((stored(&store, ticket).await.taken, store.queue_length().await.unwrap()), (1, 1));
}

#[tokio::test]
async fn one_team_is_reached_about_a_ticket_once_at_a_time_and_not_when_it_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let ticket = paged(&store, &["shop"], 0).await;
    store.new_round(ticket, at(500)).await.unwrap();
    let again = Page { key: Page::key_of(ticket, 2, "crew"), round: 2, ..page(ticket, &["shop"], 400) };
    let (verdict, learned) = (verdict(Decision::Issue), Learned::default());
    store
        .decide(ticket, 2, at(400), verdict, Following { pages: vec![again.clone()], ..Following::default() }, learned)
        .await
        .unwrap();
    assert_eq!(store.page(&again.key).await.unwrap(), None);
    let joined = paged(&store, &["shop"], 10).await;
    store.end_pages(ticket).await.unwrap();
    assert!(stored(&store, ticket).await.is_open(), "it goes on for the one that joined");
    store.end_pages(joined).await.unwrap();
    store.end_pages(ticket).await.unwrap();
    assert_eq!(due(&store, 100_000).await, [0_u64; 0]);
    assert_eq!(
        store.acknowledge(Which::OfTicket(ticket), "kim".into(), None, at(10)).await.unwrap().tickets,
        [0_u64; 0]
    );
}

#[tokio::test]
async fn a_damaged_page_is_handed_out_with_its_damage_and_can_be_ended() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let ticket = paged(&store, &["shop"], 0).await;
    drop(store);
    tamper(directory.path(), "UPDATE page SET body = x'00'");
    let store = Store::open(directory.path()).unwrap();
    let found = store.due_pages(at(0)).await.unwrap().remove(0);
    assert!(matches!(found.page, Err(StoreError::Damaged(_))), "{found:?}");
    let told = vec![action(ticket, 1, "operators", at(1))];
    assert!(store.advance_page(&found, None, told, at(1)).await.unwrap());
    assert_eq!((due(&store, 100_000).await, store.queue_length().await.unwrap()), (vec![], 1));
}
