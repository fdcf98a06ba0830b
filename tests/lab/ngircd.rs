//! A real IRC server: ngIRCd.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;

use super::nginx::certificates;
use super::{READY, Server, accepts, free_port, place};

/// A running ngIRCd with a channel `#incidents`.
#[derive(Debug)]
pub struct Ngircd {
    /// Plain.
    pub port: u16,
    /// With TLS, for the name `localhost`.
    pub tls_port: u16,
    pub server: Server,
}

impl Ngircd {
    /// With this password, where it isn't empty.
    pub fn start(password: &str) -> Ngircd {
        let place = place::new();
        let (port, tls_port) = (free_port(), free_port());
        certificates(place.path(), &["localhost"], 30);
        let password = if password.is_empty() { String::new() } else { format!("Password = {password}\n") };
        let at = place.path().display();
        let config = format!(
            "[Global]\nName = irc.lab.test\nAdminInfo1 = Lab\nAdminInfo2 = Lab\nAdminEMail = lab@lab.test\nInfo = Lab\n\
             Listen = 127.0.0.1\nPorts = {port}\nMotdPhrase = Hello\nServerUID = {uid}\nServerGID = {gid}\n{password}\
             [Limits]\nMaxConnectionsIP = 0\nMaxPenaltyTime = 0\n[Options]\nDNS = no\nIdent = no\nPAM = no\n\
             [Channel]\nName = #incidents\n[Channel]\nName = #locked\nModes = +tnk sesame\n\
             [SSL]\nCertFile = {at}/chain.pem\nKeyFile = {at}/key.pem\nPorts = {tls_port}\n",
            uid = rustix::process::geteuid().as_raw(),
            gid = rustix::process::getegid().as_raw(),
        );
        let file = place.path().join("ngircd.conf");
        std::fs::write(&file, config).unwrap();
        let arguments = ["-n".to_owned(), "-f".to_owned(), file.display().to_string()];
        Ngircd { port, tls_port, server: Server::start("ngircd", place, arguments, || accepts(port)) }
    }

    /// The certificate of the authority that signed its own.
    pub fn authority(&self) -> PathBuf {
        self.server.directory().join("ca.pem")
    }
}

/// Somebody who sits in a channel and reads.
#[derive(Debug)]
pub struct Reader {
    stream: TcpStream,
    read: String,
}

impl Reader {
    /// Joins `#incidents`, and returns when it is there.
    pub fn join(port: u16, password: &str) -> Reader {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.set_read_timeout(Some(READY)).unwrap();
        let mut reader = Reader { stream, read: String::new() };
        if !password.is_empty() {
            reader.say(&format!("PASS {password}"));
        }
        reader.say("NICK reader");
        reader.say("USER reader 0 * :Reader");
        reader.until(" 001 ");
        reader.say("JOIN #incidents");
        reader.until(" 366 ");
        reader
    }

    fn say(&mut self, line: &str) {
        self.stream.write_all(format!("{line}\r\n").as_bytes()).unwrap();
    }

    /// Everything that came, once this is in it.
    pub fn until(&mut self, text: &str) -> &str {
        let mut buffer = [0; 4_096];
        while !self.read.contains(text) {
            let count = self.stream.read(&mut buffer).unwrap();
            assert!(count > 0, "the server hung up: {}", self.read);
            self.read.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        &self.read
    }
}
