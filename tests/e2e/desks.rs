//! Ticket systems that are real, and a daemon that they tell of their tickets.

use serde_json::json;

use super::daemon::Daemon;
use super::program::{Ended, finish, houston, variable};
use crate::lab::alertmanager::Alertmanager;
use crate::lab::{READY, until};

/// A check, so that a daemon has one.
const CHECKS: &[(&str, &str)] =
    &[("shop.yaml", "service: shop\nchecks:\n- { name: port, tcp: { address: '127.0.0.1:9' } }\n")];

#[test]
fn a_real_alertmanager_opens_and_closes_tickets() {
    let config = "ticketing: { alerts: { alertmanager: { secrets: [{ env: HOOK_SECRET }] } } }\n";
    let daemon = Daemon::start(CHECKS, config);
    let super::wire::Place::Tcp(address) = daemon.tcp() else { panic!("it listens over TCP") };
    let alertmanager = Alertmanager::telling(&format!("http://{address}/hooks/alerts"), variable("HOOK_SECRET"));
    alertmanager.fire(&[("CheckoutSlow", "shop")]);
    until("a ticket", READY, || !daemon.all().is_empty());
    let ticket = daemon.all().remove(0);
    assert_eq!(ticket["title"], "CheckoutSlow of shop", "{ticket}");
    let number = ticket["ticket"].as_str().unwrap().to_owned();
    let shown = daemon.decided(&number);
    assert_eq!((&shown["report"]["alert"], &shown["report"]["services"]), (&json!(true), &json!(["shop"])), "{shown}");
    alertmanager.resolve("CheckoutSlow", "shop");
    until("the end of the alert", READY, || {
        daemon.events(&number, None).iter().any(|(_, name, data)| name == "heard" && data["what"] == "closed")
    });
    assert_eq!(daemon.all().len(), 1, "whatever was repeated is the same ticket");
}

#[test]
fn an_alertmanager_with_a_wrong_token_opens_none() {
    let config = "ticketing: { alerts: { alertmanager: { secrets: [{ env: HOOK_SECRET }] } } }\n";
    let daemon = Daemon::start(CHECKS, config);
    let super::wire::Place::Tcp(address) = daemon.tcp() else { panic!("it listens over TCP") };
    let alertmanager = Alertmanager::telling(&format!("http://{address}/hooks/alerts"), "not-the-key-0123456789");
    alertmanager.fire(&[("CheckoutSlow", "shop")]);
    until("a refusal in the log", READY, || daemon.log().contains("a delivery was refused"));
    assert!(daemon.all().is_empty());
}

/// What `houston mail` makes of this mail.
fn mail(daemon: &Daemon, server: &str, mail: &str) -> Ended {
    let file = daemon.home().join("mail.eml");
    std::fs::write(&file, mail).unwrap();
    let mut command = houston(&[], daemon.home());
    command.args(["mail", "--desk", "support", "--server", server, "--config", "houston.yaml"]);
    command.stdin(std::fs::File::open(&file).unwrap());
    finish(command)
}

const MAIL: &str = "From: Kim <kim@customer.example>\r\nMessage-ID: <1@customer.example>\r\nSubject: the shop is down\r\n\r\n\
                    since nine\r\n";

#[test]
fn a_piped_mail_is_a_ticket_and_stays_with_the_mail_server_until_it_is_one() {
    let mut daemon = Daemon::start(CHECKS, "ticketing: { support: { email: {} } }\n");
    let server = daemon.server();
    let first = mail(&daemon, &server, MAIL);
    assert_eq!((first.code, first.stdout.trim()), (Some(0), "T-1"), "{}", first.stderr);
    let repeated = mail(&daemon, &server, MAIL);
    assert_eq!((repeated.code, repeated.stdout.trim()), (Some(0), "T-1"));
    daemon.decided("T-1");
    let reply = "From: kim@customer.example\r\nMessage-ID: <2@customer.example>\r\nSubject: Re: [houston T-1]\r\n\r\n\
                 it is better now\r\n> we look\r\n";
    assert_eq!(mail(&daemon, &server, reply).stdout.trim(), "T-1");
    let heard: Vec<_> = daemon.events("T-1", None).into_iter().filter(|(_, name, _)| name == "heard").collect();
    let [(_, _, comment)] = heard.as_slice() else { panic!("{heard:?}") };
    assert_eq!((&comment["what"], &comment["text"]), (&json!("commented"), &json!("it is better now")));
    let stray = "From: kim@customer.example\r\nIn-Reply-To: <x@elsewhere.example>\r\nSubject: Re: prices\r\n\r\nand now it fails";
    assert_eq!(mail(&daemon, &server, stray).stdout.trim(), "T-2", "what answers nothing of ours is not lost");
    let robot = format!("Auto-Submitted: auto-replied\r\n{MAIL}");
    let robot = mail(&daemon, &server, &robot);
    assert_eq!((robot.code, robot.stdout.as_str()), (Some(0), ""));
    assert_eq!(mail(&daemon, &server, "").code, Some(65));
    let large = format!("{MAIL}{}", "x".repeat(2_000_000)).replace("<1@", "<3@");
    assert_eq!(mail(&daemon, &server, &large).stdout.trim(), "T-3");

    let super::wire::Place::Tcp(address) = daemon.tcp() else { panic!("it listens over TCP") };
    let remote = mail(&daemon, &format!("http://{address}"), &MAIL.replace("<1@", "<4@"));
    assert_eq!(remote.code, Some(75), "only the local socket is trusted: {}", remote.stdout);
    daemon.kill();
    assert_eq!(mail(&daemon, &server, &MAIL.replace("<1@", "<5@")).code, Some(75), "nobody is there");
    daemon.again();
    assert_eq!(mail(&daemon, &server, &MAIL.replace("<1@", "<5@")).stdout.trim(), "T-4");
}

#[test]
fn a_maildir_is_read_and_its_mail_moves_once_it_is_on_disk() {
    let config = "ticketing: { support: { email: { maildir: Maildir } } }\n";
    let mut daemon = Daemon::prepared(&[], CHECKS, config);
    let maildir = daemon.home().join("Maildir");
    for directory in ["new", "cur", "tmp"] {
        std::fs::create_dir_all(maildir.join(directory)).unwrap();
    }
    std::fs::write(maildir.join("new/1.host"), MAIL).unwrap();
    daemon.again();
    until("a ticket", READY, || daemon.all().len() == 1);
    until("the mail in cur", READY, || maildir.join("cur/1.host:2,S").exists());
    assert!(!maildir.join("new/1.host").exists());
    daemon.kill();
    // As after a crash before the mail was moved: it is known.
    std::fs::write(maildir.join("new/1.host"), MAIL).unwrap();
    std::fs::write(maildir.join("new/2.host"), MAIL.replace("<1@", "<2@")).unwrap();
    daemon.again();
    until("the second ticket", READY, || daemon.all().len() == 2);
    until("both in cur", READY, || maildir.join("cur/2.host:2,S").exists());
    assert_eq!(daemon.all().len(), 2);
}

#[test]
fn a_voicemail_is_told_to_humans_at_once_and_once() {
    let daemon = Daemon::start(CHECKS, "ticketing: { phone: { phone: { secrets: [{ env: HOOK_SECRET }] } } }\n");
    let call =
        json!({ "id": "c-1", "from": "+49 89 1", "text": "it fails", "recording_url": "https://calls.example.com/1" });
    let token = format!("X-Houston-Token: {}", variable("HOOK_SECRET"));
    for _ in 0..2 {
        let request = daemon.request("POST", "/hooks/phone", &[&token], Some(call.to_string().as_bytes()));
        let answer = daemon.tcp().send(&request).unwrap();
        assert_eq!((answer.status, answer.json()["tickets"].clone()), (202, json!(["T-1"])), "{}", answer.text());
    }
    daemon.decided("T-1");
    let actions = daemon.events("T-1", None).into_iter().filter(|(_, name, _)| name == "action");
    let urgent: Vec<_> = actions.filter(|(_, _, data)| data["action"]["facts"]["why"] == "urgent").collect();
    let [(_, _, action)] = urgent.as_slice() else { panic!("{urgent:?}") };
    let facts = &action["action"]["facts"];
    assert_eq!((&action["action"]["kind"], &facts["contact"]), (&json!("escalate"), &json!("+49 89 1")));
    assert!(facts["summary"].as_str().unwrap().contains("nobody has spoken to the customer"), "{facts}");
}
