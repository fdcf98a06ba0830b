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
        "cname=www.shop.test,shop.test,77",
        "host-record=shop.test,127.0.0.9,88",
        "srv-host=_imap._tcp.shop.test,mail.shop.test,143,5,10",
        "caa-record=shop.test,0,issue,ca.test",
        // Types 2 and 6, in the wire's own form: ns.shop.test; and with it root, 7, 1, 2, 3 and 4 seconds.
        "dns-rr=shop.test,2,026e730473686f70047465737400",
        "dns-rr=shop.test,6,026e730473686f7004746573740004726f6f74000000000700000001000000020000000300000004",
    ]);
    let server = format!("server: \"127.0.0.1:{}\"", dnsmasq.port);
    for (question, rcode, answer) in [
        ("name: shop.test", "NOERROR", "127.0.0.9"),
        ("name: shop.test, type: A, transport: tcp", "NOERROR", "127.0.0.9"),
        ("name: shop.test, type: AAAA", "NOERROR", "::9"),
        ("name: shop.test, type: MX", "NOERROR", "10 mail.shop.test"),
        ("name: shop.test, type: TXT", "NOERROR", "hello there"),
        ("name: www.shop.test, type: CNAME", "NOERROR", "shop.test"),
        ("name: www.shop.test, type: A", "NOERROR", "127.0.0.9"),
        ("name: _imap._tcp.shop.test, type: SRV", "NOERROR", "5 10 143 mail.shop.test"),
        ("name: shop.test, type: CAA", "NOERROR", "ca.test"),
        ("name: shop.test, type: NS", "NOERROR", "ns.shop.test"),
        ("name: shop.test, type: SOA", "NOERROR", "ns.shop.test. root. 7 1 2 3 4"),
        ("name: nothing.test", "NXDOMAIN", ""),
    ] {
        let seen = look("dns", &format!("{{ {question}, {server} }}"), &ask()).await;
        assert_eq!(seen.seen, Seen::Answered, "{question}: {seen:?}");
        assert_eq!(text(&seen, "rcode"), rcode, "{question}: {seen:?}");
        assert!(text(&seen, "answers").contains(answer), "{question}: {seen:?}");
        // What it was told itself; that a name is missing it only supposes.
        assert_eq!(text(&seen, "authoritative"), (rcode == "NOERROR").to_string(), "{question}: {seen:?}");
    }
    dnsmasq.server.stop();
    let mut ask = ask();
    ask.deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(3);
    let gone = look("dns", &format!("{{ name: shop.test, {server} }}"), &ask).await;
    assert!(matches!(gone.seen, Seen::Failed(_)), "a server that is named is the service: {gone:?}");
}
