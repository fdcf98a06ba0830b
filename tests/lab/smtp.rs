//! A real mail server: aiosmtpd, which takes mail over STARTTLS only and keeps it in a Maildir.

use std::path::PathBuf;

use super::nginx::certificates;
use super::{Server, accepts, free_port, place};

/// A running mail server with a certificate for `localhost`.
#[derive(Debug)]
pub struct Smtp {
    pub port: u16,
    pub server: Server,
}

impl Smtp {
    /// Its certificate ends in so many days (or ended, where they are negative).
    pub fn start(days: i64) -> Smtp {
        let place = place::new();
        let port = free_port();
        certificates(place.path(), &["localhost"], days);
        let listen = format!("127.0.0.1:{port}");
        let arguments = ["-n", "-l", &listen, "--tlscert", "chain.pem", "--tlskey", "key.pem"];
        let keep = ["-c", "aiosmtpd.handlers.Mailbox", "mails"];
        let arguments = arguments.iter().chain(&keep).map(|argument| (*argument).to_owned());
        Smtp { port, server: Server::start("aiosmtpd", place, arguments, || accepts(port)) }
    }

    /// Every mail that it took, as it came, below three lines of its own (`X-Peer`, `X-MailFrom`, `X-RcptTo`).
    pub fn mails(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.server.directory().join("mails/new")) else { return Vec::new() };
        let mails = entries.map(|entry| String::from_utf8(std::fs::read(entry.unwrap().path()).unwrap()).unwrap());
        mails.collect()
    }

    /// The certificate of the authority that signed its own.
    pub fn authority(&self) -> PathBuf {
        self.server.directory().join("ca.pem")
    }
}
