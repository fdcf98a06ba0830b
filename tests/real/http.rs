//! `http` and its kin at a real nginx that wants client certificates and passwords, and at a server that wants Digest.

use std::sync::Arc;

use houston::evidence::{Ask, Setup, Tools};
use houston::model::observation::{Observation, Phase, Seen, UnknownKind};
use houston::model::secret::Environment;

use super::looking::{ask, look, number, text};
use crate::lab::digest_server::DigestServer;
use crate::lab::nginx::Nginx;

/// A server that lets in who shows a certificate of its authority, and says whom it saw.
const ONLY_KNOWN: &str = "
    ssl_client_certificate ca.pem;
    ssl_verify_client on;
    location = /who { return 200 \"$ssl_client_verify $ssl_client_s_dn\\n\"; }
    location = /away { return 302 https://localhost:$arg_port/who; }
";
/// A server that takes a certificate from whoever shows one.
const ANYBODY: &str = "
    ssl_verify_client optional_no_ca;
    location = /who { return 200 \"$ssl_client_verify\\n\"; }
";

pub fn asked_with(secrets: &[(&str, &str)]) -> Ask {
    let environment = Environment::new(secrets.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    Ask { tools: Arc::new(Tools::new(Setup { environment, ..Setup::default() })), ..ask() }
}

/// Looks once with these settings, in which `{tls}` and `{dir}` stand for nginx's own.
async fn seen(nginx: &Nginx, kind: &str, settings: &str) -> Observation {
    let directory = nginx.server.directory().display().to_string();
    let settings = settings.replace("{tls}", &nginx.tls_port.to_string()).replace("{dir}", &directory);
    look(kind, &settings, &ask()).await
}

const KNOWN: &str = "client_cert: \"{dir}/client.pem\", client_key: { file: \"{dir}/client-key.pem\" }";

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_lets_http_in() {
    let nginx = Nginx::start(ONLY_KNOWN);
    let url = "url: \"https://localhost:{tls}/who\"";
    let known = seen(&nginx, "http", &format!("{{ {url}, tls: {{ ca: \"{{dir}}/ca.pem\", {KNOWN} }} }}")).await;
    assert_eq!(known.seen, Seen::Answered, "{known:?}");
    assert_eq!(text(&known, "body"), "SUCCESS CN=houston\n", "{known:?}");
    let line = known.reproduce.unwrap();
    let curl = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
    let said = String::from_utf8_lossy(&curl.stdout);
    assert!(said.ends_with("SUCCESS CN=houston\n"), "{line}: {said} {}", String::from_utf8_lossy(&curl.stderr));

    let without = seen(&nginx, "http", &format!("{{ {url}, tls: {{ ca: \"{{dir}}/ca.pem\" }} }}")).await;
    assert_eq!(number(&without, "status"), 400.0, "{without:?}");
    let stranger = KNOWN.replace("client", "stranger").replace("stranger_", "client_");
    let stranger = seen(&nginx, "http", &format!("{{ {url}, tls: {{ ca: \"{{dir}}/ca.pem\", {stranger} }} }}")).await;
    assert_eq!(number(&stranger, "status"), 400.0, "{stranger:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_that_cannot_be_used_is_unknown_and_says_which_file() {
    let nginx = Nginx::start(ONLY_KNOWN);
    for (certificate, key, why) in [
        ("client.pem", "stranger-key.pem", "is not that of the client certificate"),
        ("client-key.pem", "client-key.pem", "client-key.pem) holds no certificate in PEM"),
        ("client.pem", "nowhere.pem", "nowhere.pem"),
        ("nowhere.pem", "client-key.pem", "nowhere.pem"),
        ("client.pem", "key.pem", "is not that of the client certificate"),
        // It may be read by everybody.
        ("client.pem", "client.pem", "is readable by others"),
    ] {
        let files = format!("client_cert: \"{{dir}}/{certificate}\", client_key: {{ file: \"{{dir}}/{key}\" }}");
        for (kind, settings) in [
            (
                "http",
                format!("{{ url: \"https://localhost:{{tls}}/who\", tls: {{ ca: \"{{dir}}/ca.pem\", {files} }} }}"),
            ),
            ("tls", format!("{{ address: \"localhost:{{tls}}\", ca: \"{{dir}}/ca.pem\", {files} }}")),
            ("tcp", format!("{{ address: \"localhost:{{tls}}\", tls: {{ ca: \"{{dir}}/ca.pem\", {files} }} }}")),
            ("grpc", format!("{{ address: \"localhost:{{tls}}\", tls: {{ ca: \"{{dir}}/ca.pem\", {files} }} }}")),
            (
                "websocket",
                format!("{{ url: \"wss://localhost:{{tls}}/\", tls: {{ ca: \"{{dir}}/ca.pem\", {files} }} }}"),
            ),
        ] {
            let seen = seen(&nginx, kind, &settings).await;
            let Seen::Blind(unknown) = &seen.seen else { panic!("{kind} {certificate} {key}: {seen:?}") };
            assert!(unknown.why.contains(why), "{kind} {certificate} {key}: {unknown:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_is_shown_by_every_kind_that_speaks_tls() {
    let nginx = Nginx::start(ONLY_KNOWN);
    let tls = format!("tls: {{ ca: \"{{dir}}/ca.pem\", {KNOWN} }}");
    let request = "dialogue: [{ send: \"GET /who HTTP/1.0\" }, { send: \"\" }, { expect: \"^SUCCESS CN=houston\" }]";
    let tcp = seen(&nginx, "tcp", &format!("{{ address: \"localhost:{{tls}}\", {tls}, {request} }}")).await;
    assert_eq!(tcp.seen, Seen::Answered, "{tcp:?}");
    let handshake = format!("{{ address: \"localhost:{{tls}}\", ca: \"{{dir}}/ca.pem\", {KNOWN} }}");
    let handshake = seen(&nginx, "tls", &handshake).await;
    assert_eq!(text(&handshake, "verified"), "true", "{handshake:?}");
    let websocket = seen(&nginx, "websocket", &format!("{{ url: \"wss://localhost:{{tls}}/who\", {tls} }}")).await;
    assert_eq!(number(&websocket, "status"), 200.0, "it is a page, and we are let in: {websocket:?}");
    let without = tls.split(", client_cert").next().unwrap();
    let without = format!("{{ url: \"wss://localhost:{{tls}}/who\", {without} }} }}");
    let without = seen(&nginx, "websocket", &without).await;
    assert_eq!(number(&without, "status"), 400.0, "{without:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_to_another_origin_gets_no_proof_of_who_we_are() {
    let (home, other) = (Nginx::start(ONLY_KNOWN), Nginx::start(ANYBODY));
    // Both have an authority of their own; one file trusts them all.
    let mut roots = std::fs::read_to_string(home.authority()).unwrap();
    roots += &std::fs::read_to_string(other.authority()).unwrap();
    std::fs::write(home.server.directory().join("roots.pem"), roots).unwrap();
    let tls = format!("tls: {{ ca: \"{{dir}}/roots.pem\", {KNOWN} }}");
    let url = format!("https://localhost:{{tls}}/away?port={}", other.tls_port);
    let away = seen(&home, "http", &format!("{{ url: \"{url}\", {tls} }}")).await;
    assert_eq!((number(&away, "status"), text(&away, "body").as_str()), (200.0, "NONE\n"), "{away:?}");
    let straight = format!("{{ url: \"https://localhost:{}/who\", {tls} }}", other.tls_port);
    let straight = seen(&home, "http", &straight).await;
    assert!(text(&straight, "body").starts_with("FAILED:"), "there the certificate is seen: {straight:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn basic_and_digest_are_answered_and_a_wrong_password_is_refused() {
    let page = "location = /in { auth_basic shop; auth_basic_user_file people; try_files /in.txt =404; }";
    let nginx = Nginx::start(page);
    std::fs::write(nginx.html().join("in.txt"), "in\n").unwrap();
    std::fs::write(nginx.server.directory().join("people"), "mallory:{PLAIN}open sesame\n").unwrap();
    let digest = DigestServer::start();
    let (right, wrong) = (asked_with(&[("PASSWORD", "open sesame")]), asked_with(&[("PASSWORD", "open sesam")]));
    for (url, scheme, used) in [
        (nginx.url("/in"), "basic", None),
        (format!("http://127.0.0.1:{}/md5?a=1", digest.port), "digest", Some("MD5")),
        (format!("http://127.0.0.1:{}/sha256", digest.port), "digest", Some("SHA-256")),
        (format!("http://127.0.0.1:{}/both", digest.port), "digest", Some("SHA-256")),
        // The answer to a challenge is for one page: that of the page behind a redirect is reckoned anew.
        (format!("http://127.0.0.1:{}/moved", digest.port), "digest", Some("SHA-256")),
    ] {
        let settings = format!("{{ url: \"{url}\", {scheme}: {{ user: mallory, password: {{ env: PASSWORD }} }} }}");
        let seen = look("http", &settings, &right).await;
        assert_eq!(number(&seen, "status"), 200.0, "{settings}: {seen:?}");
        if let Some(used) = used {
            assert!(text(&seen, "body").contains(used), "{settings}: {seen:?}");
        }
        let line = seen.reproduce.unwrap();
        let curl =
            std::process::Command::new("sh").args(["-c", &line]).env("PASSWORD", "open sesame").output().unwrap();
        assert!(String::from_utf8_lossy(&curl.stdout).contains(" 200 "), "{line}: {curl:?}");
        let seen = look("http", &settings, &wrong).await;
        assert_eq!(number(&seen, "status"), 401.0, "{settings}: {seen:?}");
        let nobody = look("http", &settings, &ask()).await;
        assert!(matches!(&nobody.seen, Seen::Blind(why) if why.kind == UnknownKind::Refused), "{nobody:?}");
    }
    let body = format!(
        "{{ url: \"http://127.0.0.1:{}/sha256\", body: twice, digest: {{ user: mallory, password: {{ env: PASSWORD }} }} }}",
        digest.port
    );
    let posted = look("http", &body, &right).await;
    assert!(text(&posted, "body").contains("\"sent\": \"twice\""), "{posted:?}");

    let mut digest = digest;
    digest.server.stop();
    let gone = look("http", &body, &right).await;
    assert!(matches!(&gone.seen, Seen::Failed(fault) if fault.phase == Phase::Connect), "{gone:?}");
}
