//! What is sent to a phone, and what an answer means.

use http::Method;
use proptest::prelude::*;

use super::super::tests::{declare, wires};
use super::*;
use crate::model::action::ActionKind;
use crate::model::letter::Links;
use crate::model::letter::hostile::HOSTILE;
use crate::response::service::testing::{Service, channel, message, named, told};

fn twilio(service: &Service, more: &str) -> Arc<dyn Channel> {
    channel(&format!(
        "{{ twilio: {{ url: \"{}\", account: AC01, token: {{ env: HOOK_TOKEN }}, from: \"+4930123456\", to: \
         \"+491701234567\"{more} }} }}",
        service.url
    ))
}

const TAKEN: &str = r#"{"sid":"SM42","status":"queued","error_code":null}"#;

fn field<'a>(form: &'a [(String, String)], name: &str) -> &'a str {
    let mut values = form.iter().filter(|(key, _)| key == name);
    let value = values.next().unwrap_or_else(|| panic!("no {name}: {form:?}"));
    assert!(values.next().is_none(), "{form:?}");
    &value.1
}

#[tokio::test]
async fn one_message_for_each_whatever_it_says() {
    let service = Service::start(|_| (201, None, TAKEN.to_owned())).await;
    let (channel, wires) = (twilio(&service, ""), wires());
    let links = Links::new("https://houston.example.com");
    let (long, wide) = ("x".repeat(5_000), "ж".repeat(5_000));
    for title in HOSTILE.into_iter().chain([long.as_str(), wide.as_str()]) {
        let action = told(ActionKind::Page, "issue", title);
        let sending = Message { links: Some(&links), ..message(&action) };
        assert_eq!(channel.send(sending, &wires).await, Outcome::delivered_as("SM42"), "{title}");
        let asked = service.asked();
        let [asked] = asked.as_slice() else { panic!("{asked:?}") };
        assert_eq!((&asked.method, asked.uri.path()), (&Method::POST, "/2010-04-01/Accounts/AC01/Messages.json"));
        assert_eq!(asked.header("authorization"), "Basic QUMwMTpiZWFyZXItb2YtZ29vZC1uZXdz");
        let form = asked.form();
        assert_eq!(form.len(), 3, "{form:?}");
        assert_eq!((field(&form, "From"), field(&form, "To")), ("+4930123456", "+491701234567"));
        let body = field(&form, "Body");
        let end = format!(" https://houston.example.com/t/T-7 #{}", &action.key[..8]);
        assert!(body.starts_with("T-7: issue") && body.ends_with(&end), "{body}");
        assert!(body.chars().count() <= 480 && !body.chars().any(encode::is_unprintable), "{body}");
    }
}

#[tokio::test]
async fn a_call_speaks_and_nothing_in_it_is_markup() {
    let taken = TAKEN.replace("SM42", "CA42");
    let service = Service::start(move |_| (201, None, taken.clone())).await;
    let (channel, wires) = (twilio(&service, ", by: voice, user: SK02"), wires());
    for title in HOSTILE {
        let mut action = told(ActionKind::Page, "issue", title);
        action.recipient = "+15005550006".to_owned();
        assert_eq!(channel.send(message(&action), &wires).await, Outcome::delivered_as("CA42"), "{title}");
        let asked = service.asked();
        assert_eq!((asked.len(), asked[0].uri.path()), (1, "/2010-04-01/Accounts/AC01/Calls.json"));
        let form = asked[0].form();
        assert_eq!((form.len(), field(&form, "To")), (3, "+15005550006"));
        let document = roxmltree::Document::parse(field(&form, "Twiml")).unwrap();
        let tags: Vec<_> = document.descendants().filter(|node| node.is_element()).collect();
        assert_eq!(tags.iter().map(|tag| tag.tag_name().name()).collect::<Vec<_>>(), ["Response", "Say"]);
        assert!(tags[1].text().unwrap().starts_with("This is Houston. Ticket T - 7. issue"), "{form:?}");
    }
}

#[tokio::test]
async fn what_an_answer_means() {
    for (status, after, body, expected) in [
        (201, None, TAKEN, "delivered"),
        (200, None, "<html>sign in</html>", "retry"),
        (201, None, "{}", "retry"),
        (400, None, r#"{"code":21211,"message":"Invalid 'To' Phone Number"}"#, "rejected"),
        (401, None, r#"{"code":20003}"#, "rejected"),
        (429, Some("3"), r#"{"code":20429}"#, "retry 3"),
        (503, None, "", "retry"),
    ] {
        let service = Service::start(move |_| (status, after, body.to_owned())).await;
        let action = told(ActionKind::Page, "issue", "slow");
        let outcome = twilio(&service, "").send(message(&action), &wires()).await;
        assert_eq!(named(&outcome), expected, "{status} {body}");
    }
}

#[tokio::test]
async fn a_message_whose_end_nobody_knows_is_looked_for_first() {
    let action = told(ActionKind::Page, "issue", "slow");
    let mark = action.key[..8].to_owned();
    for (listed, posts) in [
        (format!(r##"{{"messages":[{{"sid":"SM1","status":"sent","body":"T-7: issue - slow #{mark}"}}]}}"##), 0),
        (format!(r##"{{"messages":[{{"sid":"SM1","status":"failed","body":"T-7: issue - slow #{mark}"}}]}}"##), 1),
        (r##"{"messages":[{"sid":"SM1","status":"sent","body":"T-7: issue - slow #00000000"}]}"##.to_owned(), 1),
        (r#"{"messages":[]}"#.to_owned(), 1),
    ] {
        let answer = listed.clone();
        let service = Service::start(move |asked| match asked.method {
            Method::GET => (200, None, answer.clone()),
            _ => (201, None, TAKEN.to_owned()),
        })
        .await;
        let again = Message { tries: 1, ..message(&action) };
        let outcome = twilio(&service, "").send(again, &wires()).await;
        assert_eq!(outcome, Outcome::delivered_as(if posts == 0 { "SM1" } else { "SM42" }), "{listed}");
        let asked = service.asked();
        let query = "To=%2B491701234567&DateSent%3E=2026-11-22&PageSize=100";
        assert_eq!(asked[0].uri.query(), Some(query));
        assert_eq!(asked.len(), 1 + posts);
    }
    // A list that can't be had is no reason to send twice.
    let service = Service::start(|asked| match asked.method {
        Method::GET => (503, None, String::new()),
        _ => (201, None, TAKEN.to_owned()),
    })
    .await;
    let again = Message { tries: 1, ..message(&action) };
    assert_eq!(named(&twilio(&service, "").send(again, &wires()).await), "retry");
    assert_eq!(service.asked().len(), 1);
}

#[test]
fn what_cannot_be_a_phone_is_refused() {
    for (keys, said) in [
        ("account: \"AC/..\", from: \"+4930123456\", to: \"+491701234567\"", "SID"),
        ("account: AC01, from: \"030123456\", to: \"+491701234567\"", "phone"),
        ("account: AC01, from: \"+4930123456\", to: \"+49 170\"", "phone"),
        ("account: AC01, from: \"+4930123456\", to: \"+491701234567\", by: fax", "sms"),
    ] {
        let error = declare(&format!("m: {{ twilio: {{ token: {{ env: X }}, {keys} }} }}")).unwrap_err();
        let said_is = format!("{} {}", error.message, error.hint.clone().unwrap_or_default());
        assert!(said_is.contains(said), "{keys}: {said_is}");
    }
}

proptest! {
    #[test]
    fn a_message_has_three_parts_at_most_and_its_end_whole(says in "\\PC{0,600}|[a-z€\\[ ]{0,600}") {
        let end = " https://houston.example.com/t/T-7 #0123abcd";
        let text = text_message(&says, end);
        prop_assert!(text.ends_with(end));
        let septets: Option<usize> = text.chars().map(septets).sum();
        prop_assert!(septets.is_some_and(|septets| septets <= SEPTETS) || text.encode_utf16().count() <= UNITS);
    }
}
