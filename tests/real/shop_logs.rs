//! `access_log` and `log_file` on the shop's logs: what is usual is known on the first day, a fault stands out.

use std::path::Path;
use std::time::Duration;

use houston::demo::{Fault, Options, Shop};
use houston::model::observation::Seen;

use super::looking::{ask, look, now, number};
use crate::lab::{get, until};

async fn shop(past_hours: u32, live_rate: f64) -> (tempfile::TempDir, Shop) {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("shop");
    let options = Options {
        directory,
        shop_port: 0,
        admin_port: 0,
        tls_port: 0,
        names_port: 0,
        past_hours,
        live_rate,
        ..Options::default()
    };
    (place, Shop::start(options).await.unwrap())
}

fn access_log(directory: &Path) -> String {
    format!("{{ paths: [\"{}/access.log\"], customer: {{ field: remote_user }} }}", directory.display())
}

fn log_file(directory: &Path) -> String {
    let paths = format!("{}/app.log", directory.display());
    format!("{{ paths: [\"{paths}\"], match: '\"level\":\"error\"', customer: {{ field: customer }} }}")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shop_s_past_says_what_is_usual() {
    let (_place, shop) = shop(50, 0.0).await;
    let mut ask = ask();
    ask.usual = ["requests_per_second", "error_ratio", "p95_seconds"].map(str::to_owned).to_vec();
    let seen = look("access_log", &access_log(shop.directory()), &ask).await;
    assert_eq!(seen.seen, Seen::Answered, "{seen:?}");
    let rates = &seen.past["requests_per_second"];
    assert_eq!(rates.len(), 8, "spans of 1 to 48 hours ago, through every rotation: {seen:?}");
    let rate = number(&seen, "requests_per_second");
    for usual in rates {
        assert!((usual / rate - 1.0).abs() < 0.35, "{rate} now, {rates:?} before");
    }
    assert!(number(&seen, "error_ratio") < 0.02, "{seen:?}");
    assert!((0.05..0.3).contains(&number(&seen, "p95_seconds")), "{seen:?}");

    ask.customer = Some("acme".to_owned());
    let acme = look("access_log", &access_log(shop.directory()), &ask).await;
    let share = number(&acme, "requests") / number(&seen, "requests");
    assert!((0.08..0.22).contains(&share), "{share}");

    ask.customer = None;
    ask.usual = vec!["matches_per_second".to_owned()];
    let said = look("log_file", &log_file(shop.directory()), &ask).await;
    assert_eq!(said.seen, Seen::Answered, "{said:?}");
    assert_eq!(number(&said, "new_error_templates"), 0.0, "{said:?}");
    assert_eq!(said.past["matches_per_second"].len(), 8, "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_of_one_customer_is_a_new_message_of_that_customer() {
    let (_place, shop) = shop(3, 20.0).await;
    let began = now();
    shop.set_fault(Fault::CustomerOnly("acme".into())).unwrap();
    let app = shop.directory().join("app.log");
    tokio::task::spawn_blocking(move || {
        let is_said = || std::fs::read_to_string(&app).unwrap().matches("rejected currency").count() >= 3;
        until("acme's payments fail", Duration::from_secs(60), is_said);
    })
    .await
    .unwrap();

    let mut error_ratios = Vec::new();
    for (customer, new_templates) in [(None, 1.0), (Some("acme"), 1.0), (Some("globex"), 0.0)] {
        let mut ask = ask();
        ask.window.from = began;
        ask.customer = customer.map(str::to_owned);
        let said = look("log_file", &log_file(shop.directory()), &ask).await;
        assert_eq!(number(&said, "new_error_templates"), new_templates, "{customer:?}: {said:?}");
        let served = look("access_log", &access_log(shop.directory()), &ask).await;
        error_ratios.push(number(&served, "error_ratio"));
    }
    let [everyone, acme, globex] = error_ratios[..] else { panic!("{error_ratios:?}") };
    // How much of the shop's own small share of errors falls on whom is chance; on acme falls the fault besides.
    assert!(acme > everyone && acme > globex, "{error_ratios:?}");
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_that_went_away_or_fell_silent_are_unknown() {
    let (_place, shop) = shop(1, 0.0).await;
    shop.set_fault(Fault::LogsSilent).unwrap();
    let silent_since = now();
    assert_eq!(get(shop.address().port(), "/").unwrap().0, 200);
    let mut ask = ask();
    ask.window.from = silent_since;
    for (kind, settings) in [("access_log", access_log(shop.directory())), ("log_file", log_file(shop.directory()))] {
        let seen = look(kind, &settings, &ask).await;
        assert!(matches!(seen.seen, Seen::Blind(_)), "{kind}: {seen:?}");
    }
    shop.set_fault(Fault::Blind).unwrap();
    for (kind, settings) in [("access_log", access_log(shop.directory())), ("log_file", log_file(shop.directory()))] {
        let seen = look(kind, &settings, &ask).await;
        assert!(matches!(seen.seen, Seen::Blind(_)), "{kind}: {seen:?}");
    }
}
