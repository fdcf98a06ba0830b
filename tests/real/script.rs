//! `script` with pytest's JUnit reports and Perl's TAP, from Debian's packages, at a real web server.

use std::path::Path;
use std::time::Duration;

use houston::model::observation::{Observation, Seen, UnknownKind};

use super::looking::{ask, example, look, number, text, tools};
use crate::lab::nginx::Nginx;
use crate::lab::{place, program};

/// A shop's own test, as its people have it.
const SHOP: &str = r#"
import os
import urllib.request

URL = os.environ["SHOP_URL"]


def test_the_shop_opens():
    assert urllib.request.urlopen(URL + "/index.html").status == 200


def test_it_greets_its_customer():
    page = urllib.request.urlopen(URL + "/hello.txt").read().decode()
    assert os.environ["CUSTOMER"] in page
"#;

#[test]
fn the_example_runs_a_test_that_is_there_already() {
    let nginx = Nginx::start("");
    std::fs::write(nginx.html().join("index.html"), "the shop").unwrap();
    let page = nginx.html().join("hello.txt");
    let place = place::new();
    let test = place.path().join("test_shop.py");
    std::fs::write(&test, SHOP).unwrap();
    let here = format!("http://127.0.0.1:{}", nginx.port);
    let replaced = [("/opt/shop/tests/test_shop.py", test.to_str().unwrap()), ("http://127.0.0.1:8470", &here)];
    let outcome = |config: &str| example("script", &replaced, config);
    let allowed = "programs: [ /usr/bin/pytest-3 ]";

    std::fs::write(&page, "hello synthetic-1").unwrap();
    let finding = outcome(allowed);
    assert_eq!(finding["outcome"], "good", "{finding}");
    std::fs::write(&page, "hello somebody").unwrap();
    let finding = outcome(allowed);
    assert_eq!(finding["outcome"], "bad", "{finding}");
    assert!(finding.to_string().contains("test_it_greets_its_customer"), "{finding}");
    // Not on the list, and a test that can't be read: nobody looked.
    assert_eq!(outcome("{}")["outcome"], "unknown");
    std::fs::write(&test, "import nothing_of_this_name").unwrap();
    let finding = outcome(allowed);
    assert_eq!(finding["outcome"], "unknown", "{finding}");
    std::fs::remove_file(&test).unwrap();
    assert_eq!(outcome(allowed)["outcome"], "unknown");
}

/// Runs a Perl test, which prints TAP.
async fn perl(place: &Path, body: &str, time: Duration) -> Observation {
    let test = place.join("shop.t");
    std::fs::write(&test, format!("use strict; use warnings; use Test::More;\n{body}\n")).unwrap();
    let perl = program("perl");
    let mut ask = ask();
    ask.tools = tools(vec![perl.clone()]);
    ask.deadline = tokio::time::Instant::now() + time;
    look("script", &format!("{{ command: [ {}, {} ], tap: stdout }}", perl.display(), test.display()), &ask).await
}

fn blind(seen: &Observation) -> UnknownKind {
    let Seen::Blind(unknown) = &seen.seen else { panic!("{seen:?}") };
    unknown.kind
}

#[tokio::test(flavor = "multi_thread")]
async fn perl_s_own_tests_tell_their_steps_and_what_is_missing() {
    let place = place::new();
    let within = Duration::from_secs(30);
    let seen = perl(place.path(), "plan tests => 2; ok(1, 'opens'); is(2, 2, 'pays');", within).await;
    assert_eq!(
        (&seen.seen, number(&seen, "steps"), number(&seen, "failures")),
        (&Seen::Answered, 2.0, 0.0),
        "{seen:?}"
    );

    let body = "ok(1, 'opens'); subtest 'pays' => sub { ok(1, 'card'); is(503, 200, 'is authorized'); }; done_testing;";
    let seen = perl(place.path(), body, within).await;
    assert_eq!((&seen.seen, number(&seen, "exit")), (&Seen::Answered, 1.0), "{seen:?}");
    assert_eq!(text(&seen, "failed_step"), "pays › is authorized", "{seen:?}");

    for (body, kind) in [
        ("plan tests => 3; ok(1, 'opens');", UnknownKind::Incomplete),
        ("plan tests => 2; ok(1, 'opens'); BAIL_OUT('no database');", UnknownKind::Incomplete),
        ("plan skip_all => 'no shop here';", UnknownKind::Incomplete),
        ("plan tests => 1; ok(1, 'opens'); kill 'KILL', $$;", UnknownKind::Unintelligible),
        ("print 'x' x 100 for 1 .. 20_000;", UnknownKind::Incomplete),
        ("this is no perl", UnknownKind::Unintelligible),
    ] {
        let seen = perl(place.path(), body, within).await;
        assert_eq!(blind(&seen), kind, "{body}: {seen:?}");
    }
    let hangs = "plan tests => 1; fork; ok(1, 'opens'); sleep 3_600;";
    let seen = perl(place.path(), hangs, Duration::from_secs(3)).await;
    assert_eq!(blind(&seen), UnknownKind::TimedOut, "{seen:?}");
    nobody_runs(&place.path().join("shop.t"));
}

/// Looks, within a bound, until no process has this file in its command line.
fn nobody_runs(test: &Path) {
    let word = test.to_str().unwrap().as_bytes().to_vec();
    let runs = || {
        std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            line.windows(word.len()).any(|part| part == word)
        })
    };
    crate::lab::until("nobody runs it", Duration::from_secs(5), || !runs());
}
