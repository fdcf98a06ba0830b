//! A real DNS server.

use super::{Server, accepts, free_port, place};

/// A running dnsmasq that knows only what it was told.
#[derive(Debug)]
pub struct Dnsmasq {
    pub port: u16,
    pub server: Server,
}

impl Dnsmasq {
    /// `records` are lines of its configuration, such as `address=/shop.test/127.0.0.1` or `txt-record=shop.test,hello`.
    pub fn start(records: &[&str]) -> Dnsmasq {
        let place = place::new();
        let port = free_port();
        let mut config =
            format!("port={port}\nlisten-address=127.0.0.1\nbind-interfaces\nno-resolv\nno-hosts\nlog-queries\n");
        for record in records {
            config.push_str(record);
            config.push('\n');
        }
        let file = place.path().join("dnsmasq.conf");
        std::fs::write(&file, config).unwrap();
        let mut arguments = vec!["-k".to_owned(), "-C".into(), file.display().to_string(), "--pid-file=".into()];
        arguments.push("--log-facility=-".into());
        if rustix::process::geteuid().is_root() {
            arguments.push("--user=root".into());
        }
        Dnsmasq { port, server: Server::start("dnsmasq", place, arguments, || accepts(port)) }
    }
}

#[test]
fn a_real_dns_server_answers_for_its_names() {
    use std::net::{Ipv4Addr, UdpSocket};
    let dnsmasq = Dnsmasq::start(&["address=/shop.test/127.0.0.9"]);
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(super::READY)).unwrap();
    // Question 7 (RFC 1035): shop.test, type A, class IN, recursion desired.
    let question = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x04shop\x04test\0\0\x01\0\x01";
    socket.send_to(question, (Ipv4Addr::LOCALHOST, dnsmasq.port)).unwrap();
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer).unwrap();
    assert_eq!(&answer[..2], b"\0\x07");
    assert!(answer[..length].ends_with(&[127, 0, 0, 9]), "{:?}", &answer[..length]);
}
