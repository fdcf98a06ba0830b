//! `tcp`: the example's dialogue with a real mail server, through STARTTLS.

use houston::evidence;
use houston::model::observation::{Phase, Seen};

use super::looking::{ask, look, text};
use crate::lab::smtp::Smtp;

/// The dialogue that the example's comments have for mail, for a server at this port.
fn mail(port: u16, tls: &str) -> String {
    let example = evidence::kind("tcp").unwrap().example_text;
    let (_, from) = example.split_once("  # - name: mail-submission\n  #   tcp:\n").unwrap();
    let lines = from.lines().take_while(|line| line.starts_with("  #     "));
    let dialogue: Vec<&str> = lines.map(|line| &line["  #     ".len()..]).collect();
    assert!(dialogue[0].starts_with("address: ") && dialogue[1].starts_with("tls: true"), "{dialogue:?}");
    format!("address: \"localhost:{port}\"\ntls: {tls}\n{}\n", dialogue[2..].join("\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_speaks_with_a_mail_server_through_starttls() {
    let mut smtp = Smtp::start(30);
    let trusted = format!("{{ ca: \"{}\" }}", smtp.authority().display());
    let good = look("tcp", &mail(smtp.port, &trusted), &ask()).await;
    assert_eq!(good.seen, Seen::Answered, "{good:?}");
    assert_eq!(text(&good, "connected"), "true", "{good:?}");
    assert!(text(&good, "received").contains("STARTTLS") && text(&good, "received").contains("221"), "{good:?}");

    // The same server to somebody who doesn't trust its authority, and one whose certificate has run out.
    let stranger = look("tcp", &mail(smtp.port, "true"), &ask()).await;
    assert!(matches!(&stranger.seen, Seen::Failed(fault) if fault.phase == Phase::Tls), "{stranger:?}");
    let expired = Smtp::start(-3);
    let trusted_too = format!("{{ ca: \"{}\" }}", expired.authority().display());
    let late = look("tcp", &mail(expired.port, &trusted_too), &ask()).await;
    assert!(
        matches!(&late.seen, Seen::Failed(fault) if fault.phase == Phase::Tls && fault.what.contains("expired")),
        "{late:?}"
    );

    smtp.server.freeze();
    let mut hurried = ask();
    hurried.deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(1);
    let silent = look("tcp", &mail(smtp.port, &trusted), &hurried).await;
    assert!(matches!(&silent.seen, Seen::Failed(fault) if fault.what.starts_with("no byte in ")), "{silent:?}");
    smtp.server.stop();
    let gone = look("tcp", &mail(smtp.port, &trusted), &ask()).await;
    assert!(matches!(&gone.seen, Seen::Failed(fault) if fault.phase == Phase::Connect), "{gone:?}");
}
