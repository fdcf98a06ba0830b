//! Tests of mail: what becomes a ticket, a comment, or nothing.

use http::HeaderMap;
use proptest::prelude::*;

use super::super::What;
use super::super::tests::{declared, deliver, desk, hook, wires};
use super::*;
use crate::model::letter::hostile::HOSTILE;

fn mail(headers: &str, text: &str) -> String {
    let headers = headers.replace('\n', "\r\n");
    format!("From: Kim <kim@customer.example>\r\nMessage-ID: <2@customer.example>\r\n{headers}\r\n\r\n{text}")
}

#[test]
fn whom_the_desk_trusts() {
    let open = desk("email", "{ secrets: [{ env: DESK_SECRET }] }");
    let closed = desk("email", "{}");
    let mut token = HeaderMap::new();
    token.insert("x-houston-token", "desk-secret-0123456789".parse().unwrap());
    let mut wrong = HeaderMap::new();
    wrong.insert("x-houston-token", "desk-secret-012345678".parse().unwrap());
    for (desk, headers, local, expected) in [
        (&open, &token, false, true),
        (&open, &wrong, false, false),
        (&open, &HeaderMap::new(), false, false),
        (&open, &wrong, true, true),
        (&closed, &token, false, false),
        (&closed, &HeaderMap::new(), true, true),
    ] {
        let hook = Hook { local, ..hook(headers, b"x") };
        assert_eq!(desk.system.verify(&hook, &wires()).is_ok(), expected, "{headers:?} {local}");
    }
    assert!(declared("{ email: { secrets: [] } }").is_err(), "an empty list is a mistake");
    assert!(declared("{ email: { own: [support] } }").is_err(), "no address");
}

#[test]
fn robots_are_ignored_and_people_are_not() {
    let plain = desk("email", "{ own: [Support@Example.com] }");
    let lists = desk("email", "{ lists: true }");
    for (desk, headers, ignored) in [
        (&plain, "Subject: x", false),
        (&plain, "Auto-Submitted: no\nSubject: x", false),
        (&plain, "Auto-Submitted: auto-replied; owner-email=\"a@b\"", true),
        (&plain, "auto-submitted: Auto-Generated", true),
        (&plain, "Precedence: BULK", true),
        (&plain, "Precedence: junk (really)", true),
        (&plain, "Precedence: list", true),
        (&lists, "Precedence: list", false),
        (&lists, "Precedence: bulk", true),
        (&plain, "Precedence: first-class", false),
        (&plain, "X-Houston-Ticket: T-1", true),
        (&plain, "Return-Path: <>", true),
        (&plain, "Return-Path: < >", true),
        (&plain, "Return-Path: <kim@customer.example>", false),
        (&plain, "Content-Type: multipart/report; report-type=delivery-status; boundary=b", true),
    ] {
        let received = deliver(desk, &mail(headers, "text")).unwrap();
        assert_eq!(received.ignored.is_some(), ignored, "{headers}: {received:?}");
        assert_eq!(received.incoming.is_empty(), ignored, "{headers}");
    }
    for (from, ignored) in
        [("MAILER-DAEMON@mx.example", true), ("support@example.com", true), ("kim@example.com", false)]
    {
        let received = deliver(&plain, &format!("From: {from}\r\n\r\ntext")).unwrap();
        assert_eq!(received.ignored.is_some(), ignored, "{from}");
    }
}

#[test]
fn a_mail_is_a_ticket() {
    let desk =
        declared("{ email: {}, fields: { customer: from.domain, service: { path: to.0, pattern: '^([a-z]+)' } } }")
            .unwrap();
    let body = mail(
        "To: checkout@example.com\nSubject: =?iso-8859-1?Q?M=FCnchen?= is down\nReply-To: <ops@customer.example>\n\
         Date: Wed, 18 Nov 2026 09:20:08 +0100\nContent-Type: multipart/mixed; boundary=b",
        "--b\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n\
         --c\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<style>p{}</style><script>alert(1)</script><p>since <b>nine</b> &amp; ten</p>\r\n--c--\r\n\
         --b\r\nContent-Type: text/plain\r\nContent-Disposition: attachment; filename=a.txt\r\n\r\nattached\r\n--b--\r\n",
    );
    let received = deliver(&desk, &body).unwrap();
    let ticket = desk.ticket(&received.incoming[0], hook(&HeaderMap::new(), b"").now).unwrap();
    assert_eq!((ticket.id.as_str(), ticket.title.raw()), ("2@customer.example", "München is down"));
    assert_eq!(ticket.text.raw(), "since nine & ten");
    assert_eq!(ticket.reporter.unwrap().raw(), "Kim <kim@customer.example>");
    assert_eq!(ticket.contact.unwrap().raw(), "ops@customer.example");
    assert_eq!((ticket.customer.unwrap().raw(), ticket.services), ("customer.example", vec!["checkout".to_owned()]));
    assert_eq!(ticket.reported_at, "2026-11-18T08:20:08Z".parse().unwrap());
    assert_eq!(received.delivery.as_deref(), Some("2@customer.example"));
}

#[test]
fn an_answer_belongs_to_the_ticket_that_it_answers() {
    let desk = desk("email", "{}");
    let id = |id: &str| Reference::Id(id.to_owned());
    for (headers, expected) in [
        ("Subject: x", vec![]),
        ("Subject: Re: [Houston t-7] x", vec![Reference::Number(7)]),
        ("Subject: [houston T-x] x", vec![]),
        ("In-Reply-To: <1@a>", vec![id("1@a")]),
        ("In-Reply-To: <3@a>\nReferences: <1@a>\n <2@a>\n\t<3@a>", vec![id("3@a"), id("2@a"), id("1@a")]),
        ("Subject: [houston T-7]\nReferences: <1@a> junk", vec![Reference::Number(7), id("1@a")]),
        ("References: junk < <> >", vec![]),
    ] {
        let received = deliver(&desk, &mail(headers, "thanks")).unwrap();
        assert_eq!(desk.system.belongs_to(&received.incoming[0]), expected, "{headers}");
        assert_eq!(received.incoming[0].what == What::Opened, expected.is_empty(), "{headers}");
    }
}

#[test]
fn a_comment_is_what_its_writer_wrote() {
    let desk = desk("email", "{}");
    for (text, expected, reopened) in [
        ("Thanks.\r\n\r\nOn Wed, 18 Nov 2026, Houston wrote:\r\n> still broken?\r\n", "Thanks.", false),
        ("Still broken!\r\n\r\nAm 18.11.2026 schrieb Houston:\r\n\r\n> x", "Still broken!", true),
        ("> is it well?\r\nno\r\n-- \r\nKim, Acme", "no", false),
        ("ok\r\n-----Original Message-----\r\nFrom: x", "ok", false),
        ("On monday:\r\nit failed", "On monday:\nit failed", false),
        ("> all quoted", "> all quoted", false),
    ] {
        let received = deliver(&desk, &mail("In-Reply-To: <1@a>", text)).unwrap();
        let What::Commented { by, text: said } = &received.incoming[0].what else { panic!("{received:?}") };
        assert_eq!(said.raw(), expected);
        assert_eq!(by.as_ref().unwrap().raw(), "Kim <kim@customer.example>");
        assert_eq!(received.incoming.get(1).is_some_and(|second| second.what == What::Reopened), reopened, "{text}");
    }
}

#[test]
fn hostile_text_stays_text_and_empty_mail_is_refused() {
    let desk = desk("email", "{}");
    let now = hook(&HeaderMap::new(), b"").now;
    for text in HOSTILE {
        let received = deliver(&desk, &mail("Subject: x", text)).unwrap();
        assert_eq!(received.incoming.len(), 1, "{text:?}");
        let ticket = desk.ticket(&received.incoming[0], now).unwrap();
        assert_eq!(ticket.text.raw(), text.replace('\r', "").trim(), "{text:?}");
    }
    for odd in [
        "Subject: \r\n\r\n",
        "\r\nno headers at all",
        "From: <>\r\n\r\n",
        "garbage",
        "Message-ID: <a\u{202e}b>\r\n\r\nx",
    ] {
        let received = deliver(&desk, odd).unwrap();
        for incoming in &received.incoming {
            desk.ticket(incoming, now).unwrap();
        }
        assert_eq!(received.incoming.len(), 1, "{odd:?}");
    }
    assert!(matches!(deliver(&desk, " \r\n"), Err(Refused::Unreadable(_))));
}

proptest! {
    #[test]
    fn whatever_comes_is_a_ticket_or_ignored(bytes in proptest::collection::vec(any::<u8>(), 1..400), head in 0..4_usize) {
        let heads: [&[u8]; 4] = [b"", b"Subject: ", b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n", b"Message-ID: <"];
        let received = mail::read(&[heads[head], &bytes].concat(), &mail::Rules::default());
        prop_assert!(received.ignored.is_some() || !received.incoming.is_empty());
        let desk = desk("email", "{}");
        for incoming in &received.incoming {
            let accepted = desk.ticket(incoming, hook(&HeaderMap::new(), b"").now);
            prop_assert!(accepted.is_ok(), "{:?}", accepted);
        }
    }
}

#[test]
fn a_mail_leaves_new_only_after_it_was_taken_in() {
    let place = tempfile::tempdir().unwrap();
    assert!(maildir::look(place.path(), None).is_err(), "there is no Maildir");
    for directory in ["new", "cur", "tmp"] {
        std::fs::create_dir(place.path().join(directory)).unwrap();
    }
    let here = |name: &str| place.path().join(name).exists();
    std::fs::write(place.path().join("new/1.a"), "Subject: one\r\n\r\n1").unwrap();
    std::fs::write(place.path().join("new/2.b"), "x".repeat(300 * 1024)).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", place.path().join("new/3.c")).unwrap();
    let first = maildir::look(place.path(), None).unwrap();
    assert_eq!(first.mails.len(), 2, "a link is no mail");
    assert_eq!(first.mails[1].len() as u64, maildir::MAIL_LIMIT);
    let again = maildir::look(place.path(), None).unwrap();
    assert_eq!(again, first, "nothing was taken in yet");
    assert!(here("new/1.a"));
    let next = maildir::look(place.path(), Some(&first.cursor)).unwrap();
    assert_eq!(next.mails.len(), 0);
    assert!(here("cur/1.a:2,S") && here("cur/2.b:2,S") && !here("new/1.a"));
    let odd = maildir::look(place.path(), Some(r#"["../tmp", "gone", ""]"#)).unwrap();
    assert!(odd.mails.is_empty() && here("tmp"));
}
