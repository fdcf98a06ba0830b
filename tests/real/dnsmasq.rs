//! `dns` against a real DNS server.

use houston::model::observation::Seen;

use super::looking::{ask, look, text};
use crate::lab::dnsmasq::Dnsmasq;

#[tokio::test(flavor = "multi_thread")]
async fn dns_reports_what_dnsmasq_answers() {
    let mut dnsmasq = Dnsmasq::start(&[
        "address=/shop.test/127.0.0.9",
        "address=/shop.test/::9",
        "local=/test/",
        "mx-host=shop.test,mail.shop.test,10",
        "txt-record=shop.test,hello there",
    ]);
    let server = format!("server: \"127.0.0.1:{}\"", dnsmasq.port);
    for (question, rcode, answer) in [
        ("name: shop.test", "NOERROR", "127.0.0.9"),
        ("name: shop.test, type: A, transport: tcp", "NOERROR", "127.0.0.9"),
        ("name: shop.test, type: AAAA", "NOERROR", "::9"),
        ("name: shop.test, type: MX", "NOERROR", "10 mail.shop.test"),
        ("name: shop.test, type: TXT", "NOERROR", "hello there"),
        ("name: nothing.test", "NXDOMAIN", ""),
    ] {
        let seen = look("dns", &format!("{{ {question}, {server} }}"), &ask()).await;
        assert_eq!(seen.seen, Seen::Answered, "{question}: {seen:?}");
        assert_eq!(text(&seen, "rcode"), rcode, "{question}: {seen:?}");
        assert!(text(&seen, "answers").contains(answer), "{question}: {seen:?}");
    }
    dnsmasq.server.stop();
    let mut ask = ask();
    ask.deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(3);
    let gone = look("dns", &format!("{{ name: shop.test, {server} }}"), &ask).await;
    assert!(matches!(gone.seen, Seen::Failed(_)), "a server that is named is the service: {gone:?}");
}
