//! `access_log`, `http`, `tcp` and `tls` against a real nginx.

use base64::Engine as _;
use houston::model::observation::{Observation, Phase, Seen};

use super::looking::{ask, example, look, now, number, text};
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

/// Looks once with these settings, in which `{port}`, `{tls}` and `{ca}` stand for nginx's own.
async fn seen(nginx: &Nginx, kind: &str, settings: &str) -> Observation {
    let settings = settings
        .replace("{port}", &nginx.port.to_string())
        .replace("{tls}", &nginx.tls_port.to_string())
        .replace("{ca}", &nginx.authority().display().to_string());
    look(kind, &settings, &ask()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn http_reports_what_nginx_answers() {
    let nginx = Nginx::start(LOCATIONS);
    std::fs::write(nginx.html().join("large.txt"), vec![b'x'; 3 << 20]).unwrap();
    for (settings, status, redirects) in [
        ("{ url: \"http://127.0.0.1:{port}/ok\" }", 200.0, 0.0),
        ("{ url: \"http://127.0.0.1:{port}/ok\", method: HEAD }", 200.0, 0.0),
        ("{ url: \"http://127.0.0.1:{port}/missing\" }", 404.0, 0.0),
        ("{ url: \"http://127.0.0.1:{port}/broken\" }", 500.0, 0.0),
        ("{ url: \"http://127.0.0.1:{port}/moved\" }", 200.0, 1.0),
        ("{ url: \"http://127.0.0.1:{port}/moved\", follow_redirects: 0 }", 302.0, 0.0),
        ("{ url: \"http://127.0.0.1:{port}/ok\", method: POST, json: { a: 1 } }", 200.0, 0.0),
        ("{ url: \"https://localhost:{tls}/ok\", tls: { ca: \"{ca}\" } }", 200.0, 0.0),
        ("{ url: \"https://127.0.0.1:{tls}/ok\", tls: { ca: \"{ca}\", server_name: shop.test } }", 200.0, 0.0),
        ("{ url: \"https://127.0.0.1:{tls}/ok\", tls: { insecure: true } }", 200.0, 0.0),
        // nginx notices it and says so.
        ("{ url: \"http://127.0.0.1:{tls}/ok\" }", 400.0, 0.0),
    ] {
        let seen = seen(&nginx, "http", settings).await;
        assert_eq!(seen.seen, Seen::Answered, "{settings}: {seen:?}");
        let found = (number(&seen, "status"), number(&seen, "redirects"));
        assert_eq!(found, (status, redirects), "{settings}: {seen:?}");
        assert!(number(&seen, "duration_seconds") < 30.0 && number(&seen, "first_byte_seconds") > 0.0, "{seen:?}");
    }

    let secure = seen(&nginx, "http", "{ url: \"https://localhost:{tls}/ok\", tls: { ca: \"{ca}\" } }").await;
    assert_eq!(text(&secure, "http_version"), "HTTP/2", "{secure:?}");
    let days = number(&secure, "certificate_expiry_days");
    assert!((29.9..30.1).contains(&days), "{secure:?}");
    let plain = seen(&nginx, "http", "{ url: \"http://127.0.0.1:{port}/ok\" }").await;
    assert_eq!(text(&plain, "body"), "fine\n", "{plain:?}");
    assert_eq!(text(&plain, "http_version"), "HTTP/1.1", "{plain:?}");
    let large = seen(&nginx, "http", "{ url: \"http://127.0.0.1:{port}/large.txt\" }").await;
    assert!(large.measures.get("body").is_none() && number(&large, "status") == 200.0, "beyond the cap: {large:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn http_names_the_phase_in_which_the_service_failed() {
    let mut nginx = Nginx::start(LOCATIONS);
    for (settings, phase) in [
        ("{ url: \"http://127.0.0.1:{port}/round\" }", Phase::Processing),
        ("{ url: \"https://localhost:{tls}/ok\" }", Phase::Tls),
        ("{ url: \"https://127.0.0.1:{tls}/ok\", tls: { ca: \"{ca}\" } }", Phase::Tls),
        ("{ url: \"https://127.0.0.1:{port}/ok\" }", Phase::Tls),
    ] {
        let seen = seen(&nginx, "http", settings).await;
        assert!(matches!(&seen.seen, Seen::Failed(fault) if fault.phase == phase), "{settings}: {seen:?}");
    }
    nginx.server.stop();
    let gone = seen(&nginx, "http", "{ url: \"http://127.0.0.1:{port}/ok\" }").await;
    assert!(matches!(&gone.seen, Seen::Failed(fault) if fault.phase == Phase::Connect), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_connects_and_speaks_with_nginx() {
    let mut nginx = Nginx::start(LOCATIONS);
    let dialogue = "dialogue: [{ send: \"HEAD /ok HTTP/1.0\" }, { send: \"\" }, { expect: \"^HTTP/1.1 200\" }]";
    for settings in [
        "{ address: \"127.0.0.1:{port}\" }".to_owned(),
        format!("{{ address: \"127.0.0.1:{{port}}\", {dialogue} }}"),
        format!("{{ address: \"localhost:{{tls}}\", tls: {{ ca: \"{{ca}}\" }}, {dialogue} }}"),
    ] {
        let seen = seen(&nginx, "tcp", &settings).await;
        assert_eq!(seen.seen, Seen::Answered, "{settings}: {seen:?}");
        assert_eq!(text(&seen, "connected"), "true", "{seen:?}");
    }
    nginx.server.stop();
    let gone = seen(&nginx, "tcp", "{ address: \"127.0.0.1:{port}\" }").await;
    assert!(matches!(&gone.seen, Seen::Failed(fault) if fault.phase == Phase::Connect), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_reads_the_certificate_whether_or_not_it_is_good() {
    let good = Nginx::start(LOCATIONS);
    let expired = Nginx::with_certificate(LOCATIONS, &["localhost"], -3);
    for (nginx, settings, verified, failure, days) in [
        (&good, "{ address: \"localhost:{tls}\", ca: \"{ca}\" }", true, "", 30.0),
        (&good, "{ address: \"127.0.0.1:{tls}\", ca: \"{ca}\", server_name: shop.test }", true, "", 30.0),
        (&good, "{ address: \"localhost:{tls}\" }", false, "trust", 30.0),
        (
            &good,
            "{ address: \"localhost:{tls}\", ca: \"{ca}\", server_name: other.test }",
            false,
            "not other.test",
            30.0,
        ),
        (&expired, "{ address: \"localhost:{tls}\", ca: \"{ca}\" }", false, "expired", -3.0),
    ] {
        let seen = seen(nginx, "tls", settings).await;
        assert_eq!(seen.seen, Seen::Answered, "{settings}: {seen:?}");
        assert_eq!(text(&seen, "verified"), verified.to_string(), "{settings}: {seen:?}");
        assert!(text(&seen, "failure").contains(failure), "{settings}: {seen:?}");
        assert!((number(&seen, "expiry_days") - days).abs() < 0.1, "{settings}: {seen:?}");
    }
    let plain = seen(&good, "tls", "{ address: \"127.0.0.1:{port}\" }").await;
    assert!(matches!(&plain.seen, Seen::Failed(fault) if fault.phase == Phase::Tls), "{plain:?}");
}

/// Runs openssl in the directory of an nginx; what it printed.
fn openssl(nginx: &Nginx, arguments: &str) -> String {
    #[allow(clippy::disallowed_methods)] // the lab makes certificates and answers of its own
    let mut command = std::process::Command::new(crate::lab::program("openssl"));
    let run = command.args(arguments.split(' ')).current_dir(nginx.server.directory()).output().unwrap();
    assert!(run.status.success(), "{arguments}: {}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).unwrap()
}

/// What is seen at this time, once it has this status: an old worker goes on until the new one has started.
async fn stapled(nginx: &Nginx, now: jiff::Timestamp, status: &str) -> Observation {
    let (port, ca) = (nginx.tls_port, nginx.authority());
    let settings = format!("{{ address: \"localhost:{port}\", ca: \"{}\" }}", ca.display());
    let ends = std::time::Instant::now() + crate::lab::READY;
    loop {
        let mut ask = ask();
        ask.now = now;
        let seen = look("tls", &settings, &ask).await;
        if text(&seen, "ocsp_status") == status {
            return seen;
        }
        assert!(std::time::Instant::now() < ends, "not {status}: {seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_tells_the_chain_the_cipher_and_what_is_stapled() {
    let nginx = Nginx::start("include staple*.conf;");
    let settings = "{ address: \"localhost:{tls}\", ca: \"{ca}\" }";
    let first = seen(&nginx, "tls", settings).await;
    assert_eq!((text(&first, "ocsp_status").as_str(), text(&first, "ocsp_stapled").as_str()), ("none", "false"));
    assert_eq!(number(&first, "chain_length"), 1.0, "{first:?}");
    assert_eq!(text(&first, "version"), "TLSv1.3", "{first:?}");
    assert!(text(&first, "cipher").starts_with("TLS13_"), "{first:?}");

    // The authority's whole database is one line, and it answers for it offline.
    let place = nginx.server.directory();
    let serial = openssl(&nginx, "x509 -in chain.pem -noout -serial");
    let serial = serial.trim().trim_start_matches("serial=");
    openssl(&nginx, "ocsp -issuer ca.pem -cert chain.pem -no_nonce -reqout request.der");
    let mut chain = std::fs::read_to_string(place.join("chain.pem")).unwrap();
    chain += &std::fs::read_to_string(place.join("ca.pem")).unwrap();
    std::fs::write(place.join("chain.pem"), chain).unwrap();
    std::fs::write(place.join("staple.conf"), "ssl_stapling on;\nssl_stapling_file answer.der;\n").unwrap();
    for (line, status) in [
        (format!("V\t990101000000Z\t\t{serial}\tunknown\t/CN=x\n"), "good"),
        (format!("R\t990101000000Z\t260101000000Z\t{serial}\tunknown\t/CN=x\n"), "revoked"),
        ("V\t990101000000Z\t\t7777\tunknown\t/CN=x\n".to_owned(), "unknown"),
    ] {
        std::fs::write(place.join("index.txt"), line).unwrap();
        let signer = "-rsigner ca.pem -rkey ca-key.pem -CA ca.pem";
        openssl(&nginx, &format!("ocsp -index index.txt {signer} -reqin request.der -respout answer.der -ndays 7"));
        nginx.server.signal(rustix::process::Signal::HUP);
        let now = stapled(&nginx, ask().now, status).await;
        assert_eq!(text(&now, "ocsp_stapled"), "true", "{now:?}");
        assert_eq!(number(&now, "chain_length"), 2.0, "{now:?}");
        assert!(text(&now, "chain").contains("Lab authority"), "{now:?}");
        assert!(!text(&now, "expires_first").contains("Lab authority"), "{now:?}");
        // What was true for a week says nothing after two; a revocation lasts.
        let later = ask().now.checked_add(jiff::SignedDuration::from_hours(14 * 24)).unwrap();
        stapled(&nginx, later, if status == "revoked" { status } else { "expired" }).await;
    }
}

#[test]
fn the_page_s_example_finds_what_nginx_serves() {
    let nginx = Nginx::start("");
    let here = format!("127.0.0.1:{}", nginx.port);
    std::fs::write(nginx.html().join("index.html"), "<html>a shop</html>").unwrap();
    assert_eq!(example("http", &[("127.0.0.1:8470", &here)], "{}")["outcome"], "good");
    std::fs::write(nginx.html().join("index.html"), "maintenance").unwrap();
    assert_eq!(example("http", &[("127.0.0.1:8470", &here)], "{}")["outcome"], "bad");
}
