//! `access_log`, `http`, `tcp` and `tls` against a real nginx.

use base64::Engine as _;
use houston::model::observation::{Observation, Seen};

use super::looking::{ask, look, now};
use crate::lab::nginx::Nginx;
use crate::lab::{get, get_with};

/// Pages by which an nginx answers in every way that the tests need.
const LOCATIONS: &str = "
    location = /ok { return 200 'fine\\n'; }
    location = /missing { return 404 'no\\n'; }
    location = /broken { return 500 'oh\\n'; }
    location = /moved { return 302 /ok; }
    location = /round { return 302 /round; }
    location = /slow.txt { limit_rate 40k; }
";

fn number(observation: &Observation, name: &str) -> f64 {
    observation.measures.number(name).unwrap_or_else(|| panic!("no {name} in {observation:?}"))
}

fn authorization(user: &str) -> String {
    format!("Authorization: Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:secret")))
}

#[tokio::test(flavor = "multi_thread")]
async fn access_log_counts_what_nginx_wrote_down_across_a_rotation() {
    let nginx = Nginx::start(LOCATIONS);
    std::fs::write(nginx.html().join("slow.txt"), vec![b'x'; 80_000]).unwrap();
    // A log that begins within the window can't answer for all of it.
    let an_hour_ago = now().checked_sub(jiff::SignedDuration::from_hours(1)).unwrap();
    let line = format!(
        "127.0.0.1 - - [{}] \"GET / HTTP/1.1\" 500 1 \"-\" \"-\" 9.000\n",
        an_hour_ago.strftime("%d/%b/%Y:%H:%M:%S %z")
    );
    std::fs::write(nginx.access_log(), line.repeat(100)).unwrap();
    let (acme, globex) = (authorization("acme"), authorization("globex"));
    for _ in 0..20 {
        get_with(nginx.port, "/ok", &[&acme]).unwrap();
        get(nginx.port, "/ok").unwrap();
    }
    for _ in 0..3 {
        get_with(nginx.port, "/broken", &[&acme]).unwrap();
        get_with(nginx.port, "/missing", &[&globex]).unwrap();
    }
    // Odd things that reach every web server.
    get_with(nginx.port, "/ok?q=%22+500+%22", &["User-Agent: \\\" 500 \\\""]).unwrap();
    nginx.until_logged(147);
    nginx.rotate();
    assert_eq!(get(nginx.port, "/slow.txt").unwrap().0, 200);
    for _ in 0..10 {
        get_with(nginx.port, "/ok", &[&globex]).unwrap();
    }
    // What Houston asks for itself isn't the customers' traffic.
    for headers in [["User-Agent: houston/0.1.0"], ["X-Houston-Probe: 1"]] {
        get_with(nginx.port, "/broken", &headers).unwrap();
    }
    nginx.until_logged(13);

    let settings = format!("{{ paths: [\"{}\"], customer: {{ field: remote_user }} }}", nginx.access_log().display());
    let everyone = look("access_log", &settings, &ask()).await;
    assert_eq!(everyone.seen, Seen::Answered, "{everyone:?}");
    // One of Houston's two came without its name in the log: only its header said so, which nginx doesn't write.
    let requests = 47 + 11 + 1;
    assert_eq!(number(&everyone, "requests"), f64::from(requests), "{everyone:?}");
    assert!((number(&everyone, "error_ratio") - 4.0 / f64::from(requests)).abs() < 1e-9, "{everyone:?}");
    assert!((number(&everyone, "client_error_ratio") - 3.0 / f64::from(requests)).abs() < 1e-9, "{everyone:?}");
    assert!(number(&everyone, "p50_seconds") < 0.1 && number(&everyone, "p99_seconds") >= 0.3, "{everyone:?}");
    assert!(number(&everyone, "bytes_per_second") * 900.0 > 80_000.0, "{everyone:?}");
    assert!(number(&everyone, "last_line_age_seconds") < 60.0, "{everyone:?}");

    for (customer, requests, error_ratio) in [("acme", 23.0, 3.0 / 23.0), ("globex", 13.0, 0.0)] {
        let mut ask = ask();
        ask.customer = Some(customer.to_owned());
        let alone = look("access_log", &settings, &ask).await;
        assert_eq!(number(&alone, "requests"), requests, "{customer}: {alone:?}");
        assert!((number(&alone, "error_ratio") - error_ratio).abs() < 1e-9, "{customer}: {alone:?}");
    }

    let mut nobody = ask();
    nobody.customer = Some("initech".to_owned());
    let nobody = look("access_log", &settings, &nobody).await;
    assert!(matches!(nobody.seen, Seen::Blind(_)), "no request is no answer: {nobody:?}");
}
