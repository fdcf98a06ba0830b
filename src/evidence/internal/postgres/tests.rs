//! What the kind makes of servers that aren't what they should be; and what it refuses when it is read.

use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::model::observation::Seen;
use crate::model::params::Params;
use crate::model::window::{Moment, Window};
use crate::net::scripted::tcp;
use crate::yaml;

fn ask(patience: Duration) -> Ask {
    let now = Timestamp::from_second(1_795_340_700).unwrap();
    Ask {
        now,
        window: Window::new(now, now),
        moment: Moment::Now,
        since: now,
        params: Params::default(),
        customer: None,
        attempt: 1,
        usual: Vec::new(),
        deadline: Instant::now() + patience,
        memory: Arc::default(),
        check: "db".into(),
        tools: Arc::default(),
    }
}

fn probe(text: &str) -> Result<Arc<dyn Probe>, String> {
    yaml::parse("p.yaml", text).and_then(|node| read(&node)).map_err(|error| error.to_string())
}

/// What a server that says this, and then that over and over, is taken for.
async fn seen(says: &[u8], again: &[u8], more: &str, patience: Duration) -> String {
    let (says, again) = (says.to_vec(), again.to_vec());
    let server = tcp(move |_, mut stream: TcpStream| {
        let (says, again) = (says.clone(), again.clone());
        async move {
            // The greeting, which begins with its length: what is left unread when it closes would be answered by a reset.
            let length = stream.read_u32().await.unwrap_or(4);
            let mut greeting = vec![0; length.saturating_sub(4) as usize];
            let _ = stream.read_exact(&mut greeting).await;
            let _ = stream.write_all(&says).await;
            while !again.is_empty() && stream.write_all(&again).await.is_ok() {}
            if patience < Duration::from_secs(5) {
                std::future::pending::<()>().await;
            }
            let _ = stream.shutdown().await;
        }
    })
    .await;
    let text = format!("address: {}\ndatabase: a\nuser: b\nquery: select 1\n{more}", server.address);
    let observation = probe(&text).unwrap().observe(&ask(patience)).await;
    match observation.seen {
        Seen::Answered => panic!("{observation:?}"),
        Seen::Failed(fault) => format!("bad, {}: {}", fault.phase.name(), fault.what),
        Seen::Blind(unknown) => format!("{}: {}", unknown.kind.name(), unknown.why),
    }
}

/// An error as the protocol writes it: its fields, each with its letter and its end.
fn error(code: &str, message: &str) -> Vec<u8> {
    let fields = format!("SFATAL\0VFATAL\0C{code}\0M{message}\0\0");
    let length = u32::try_from(fields.len() + 4).unwrap();
    [b"E", &length.to_be_bytes()[..], fields.as_bytes()].concat()
}

const WANTS_PASSWORD: &[u8] = b"R\0\0\0\x08\0\0\0\x03";
/// Nothing else is wanted to be let in.
const COME_IN: &[u8] = b"R\0\0\0\x08\0\0\0\0";
/// A parameter's status, which a server may send at any time.
const STATUS: &[u8] = b"S\0\0\0\x08a\0b\0S\0\0\0\x08a\0b\0S\0\0\0\x08a\0b\0";
/// The start of a message of two gigabytes.
const ENDLESS: &[u8] = b"E\x7f\xff\xff\xffSFATAL";

#[tokio::test]
async fn a_server_that_is_none_or_is_hostile_is_told_from_one_that_is_down() {
    let long = Duration::from_secs(20);
    for (says, again, more, expected) in [
        (
            &*error("53300", "too many \u{1b}[2J clients"),
            &b""[..],
            "",
            "bad, processing: too many \\u{1b}[2J clients (53300)",
        ),
        (&*error("28P01", "no entry"), b"", "", "refused: "),
        (WANTS_PASSWORD, b"", "", "refused: "),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", "", "unintelligible: "),
        (b"Zxxxxxxxxxxxxxxxxxxx", b"", "", "unintelligible: "),
        (b"R\0\0\0\0", b"", "", "unintelligible: "),
        (b"", b"", "", "bad, processing: connection closed"),
        (COME_IN, STATUS, "", "incomplete: "),
        (ENDLESS, STATUS, "", "incomplete: "),
        (b"N", b"", "tls: true", "bad, tls: it speaks no TLS"),
        (b"E", b"", "tls: true", "bad, tls: it doesn't speak PostgreSQL's protocol"),
        (b"", b"", "tls: true", "bad, tls: connection closed before it answered"),
    ] {
        let shown = format!("{:?} {more}", String::from_utf8_lossy(says));
        let seen = seen(says, again, more, long).await;
        assert!(seen.starts_with(expected), "{shown}: {seen}");
    }
}

#[tokio::test]
async fn a_server_that_is_silent_is_bad_at_the_deadline() {
    for (says, more, expected) in [
        (&b""[..], "", "bad, processing: no byte in"),
        (b"", "tls: true", "bad, tls: no TLS handshake in"),
        (b"R\0\0\0\x08\0\0\0\0", "", "bad, processing: no byte in"),
    ] {
        let seen = seen(says, b"", more, Duration::from_millis(400)).await;
        assert!(seen.starts_with(expected), "{more}: {seen}");
    }
}

#[tokio::test]
async fn our_own_guard_and_a_missing_value_are_blindness() {
    let guarded = probe("address: 169.254.169.254:5432\ndatabase: a\nuser: b\nquery: select 1").unwrap();
    let seen = guarded.observe(&ask(Duration::from_secs(5))).await;
    assert!(matches!(&seen.seen, Seen::Blind(unknown) if unknown.kind == UnknownKind::Refused), "{seen:?}");
    let text = "address: db\ndatabase: a\nuser: b\nquery: select $1\nvalues: [\"x{{ who }}\"]";
    let valued = probe(text).unwrap();
    assert_eq!((valued.system().as_str(), valued.params()), ("db:5432", vec!["who".to_owned()]));
    let seen = valued.observe(&ask(Duration::from_secs(5))).await;
    assert!(matches!(&seen.seen, Seen::Blind(unknown) if unknown.kind == UnknownKind::MissingParam), "{seen:?}");
}

#[test]
fn what_is_wrong_is_said_at_its_place() {
    let head = "address: db:5432\ndatabase: a\nuser: b\n";
    for (text, part) in [
        ("address: \"{{ db }}:1\"\ndatabase: a\nuser: b\nquery: x".to_owned(), "p.yaml:1:10"),
        ("address: db\ndatabase: \"\"\nuser: b\nquery: x".to_owned(), "p.yaml:2:11: `database` is a name"),
        ("address: db\ndatabase: a\nuser: \"{{ u }}\"\nquery: x".to_owned(), "p.yaml:3:7: `user` is a name"),
        (format!("{head}query: \"select '{{{{ x }}}}'\""), "p.yaml:4:8: parameters can't stand"),
        (format!("{head}query: ' '"), "p.yaml:4:8: the statement is empty"),
        (format!("{head}query: '{}'", "x".repeat(QUERY_LIMIT + 1)), "longer than"),
        (format!("{head}query: x\npassword: hunter2"), "p.yaml:5:11"),
        (format!("{head}query: x\nstatement_timeout: 0s"), "p.yaml:5:20: the time limit"),
        (format!("{head}query: x\nvalues: [{}]", "a,".repeat(VALUES + 1)), "p.yaml:5:9: more than"),
    ] {
        let error = probe(&text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
}
