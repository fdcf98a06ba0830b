//! A real nginx: plain and TLS, with its own access log.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustix::process::Signal;

use super::{Server, accepts, free_port, place, until};

/// A running nginx with a plain and a TLS port.
#[derive(Debug)]
pub struct Nginx {
    pub port: u16,
    pub tls_port: u16,
    pub server: Server,
}

/// The format of the access log: nginx's *combined* with the time that the request took.
const LOG_FORMAT: &str = "'$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent \"$http_referer\" \"$http_user_agent\" $request_time'";

impl Nginx {
    /// Starts one with these lines (`location …`) in the server that listens on both ports. Its certificate is for
    /// `shop.test` and `localhost`, for another thirty days.
    pub fn start(locations: &str) -> Nginx {
        Nginx::with_certificate(locations, &["shop.test", "localhost"], 30)
    }

    /// The same with a certificate for these names that ends in so many days (or ended, where they are negative).
    pub fn with_certificate(locations: &str, names: &[&str], days: i64) -> Nginx {
        let place = place::new();
        let (port, tls_port) = (free_port(), free_port());
        std::fs::create_dir(place.path().join("html")).unwrap();
        certificates(place.path(), names, days);
        let root = if rustix::process::geteuid().is_root() { "user root;\n" } else { "" };
        let config = format!(
            "daemon off;\nworker_processes 1;\npid nginx.pid;\nerror_log stderr notice;\n{root}\
             events {{ worker_connections 256; }}\n\
             http {{\n\
               client_body_temp_path tmp-body;\n proxy_temp_path tmp-proxy;\n fastcgi_temp_path tmp-fastcgi;\n\
               uwsgi_temp_path tmp-uwsgi;\n scgi_temp_path tmp-scgi;\n\
               log_format timed {LOG_FORMAT};\n access_log access.log timed;\n\
               ssl_protocols TLSv1.2 TLSv1.3;\n ssl_certificate chain.pem;\n ssl_certificate_key key.pem;\n\
               server {{\n listen 127.0.0.1:{port};\n listen 127.0.0.1:{tls_port} ssl http2;\n root html;\n\
               {locations}\n}}\n}}\n"
        );
        let file = place.path().join("nginx.conf");
        std::fs::write(&file, config).unwrap();
        let prefix = format!("{}/", place.path().display());
        let arguments = ["-e", "stderr", "-p", &prefix, "-c", "nginx.conf"].map(str::to_owned);
        let ready = || accepts(port) && accepts(tls_port);
        Nginx { port, tls_port, server: Server::start("nginx", place, arguments, ready) }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// For a name of the certificate; whoever asks it has to be told the address.
    pub fn tls_url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.tls_port)
    }

    /// The certificate of the authority that signed its own.
    pub fn authority(&self) -> PathBuf {
        self.server.directory().join("ca.pem")
    }

    /// The files below `/`.
    pub fn html(&self) -> PathBuf {
        self.server.directory().join("html")
    }

    pub fn access_log(&self) -> PathBuf {
        self.server.directory().join("access.log")
    }

    /// Rotates the access log as logrotate does: by renaming it and telling nginx.
    pub fn rotate(&self) {
        std::fs::rename(self.access_log(), self.server.directory().join("access.log.1")).unwrap();
        self.server.signal(Signal::USR1);
        until("nginx opened a new log", Duration::from_secs(20), || self.access_log().exists());
    }

    /// Waits until its access log has this many lines.
    pub fn until_logged(&self, lines: usize) {
        let count = || std::fs::read_to_string(self.access_log()).map_or(0, |text| text.lines().count());
        until(&format!("{lines} lines in nginx's log"), Duration::from_secs(20), || count() >= lines);
    }
}

/// An authority and certificates signed by it, as PEM files: `ca.pem`, `ca-key.pem`, the server's `chain.pem` and
/// `key.pem`, a client's `client.pem` and `client-key.pem`; `stranger.pem` and `stranger-key.pem` sign themselves.
pub fn certificates(directory: &Path, names: &[&str], days: i64) {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(rcgen::DnType::CommonName, "Lab authority");
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let authority_pem = authority_key.serialize_pem();

    let key = KeyPair::generate().unwrap();
    let mut server = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    // Half an hour more, so that "in 30 days" is 30 whole days for a while.
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
    let from_unix = |seconds: i64| (std::time::UNIX_EPOCH + Duration::from_secs(seconds as u64)).into();
    server.not_before = from_unix(now - 100 * 86_400);
    server.not_after = from_unix(now + days * 86_400 + 1800);
    let issuer = Issuer::new(authority, authority_key);
    let certificate = server.signed_by(&key, &issuer).unwrap();
    let person = |name: &str| {
        let mut person = CertificateParams::new(Vec::new()).unwrap();
        person.distinguished_name.push(rcgen::DnType::CommonName, name);
        (person, KeyPair::generate().unwrap())
    };
    let ((client, client_key), (stranger, stranger_key)) = (person("houston"), person("stranger"));
    let client = client.signed_by(&client_key, &issuer).unwrap();
    let stranger = stranger.self_signed(&stranger_key).unwrap();

    let write = |name: &str, text: String| {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        if name.contains("key") {
            std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        }
    };
    write("client.pem", client.pem());
    write("client-key.pem", client_key.serialize_pem());
    write("stranger.pem", stranger.pem());
    write("stranger-key.pem", stranger_key.serialize_pem());
    write("ca.pem", authority_certificate.pem());
    write("ca-key.pem", authority_pem);
    write("chain.pem", certificate.pem());
    write("key.pem", key.serialize_pem());
}

#[test]
fn a_real_nginx_answers_logs_and_rotates() {
    let nginx = Nginx::start("location /missing { return 404 'no\n'; }");
    std::fs::write(nginx.html().join("index.html"), "hello").unwrap();
    assert_eq!(super::get(nginx.port, "/"), Some((200, "hello".into())));
    assert_eq!(super::get(nginx.port, "/missing"), Some((404, "no\n".into())));
    nginx.until_logged(2);
    let log = std::fs::read_to_string(nginx.access_log()).unwrap();
    assert!(log.lines().next().unwrap().contains("\"GET / HTTP/1.0\" 200 5 \"-\" \"lab\" 0.0"), "{log}");
    nginx.rotate();
    super::get(nginx.port, "/");
    nginx.until_logged(1);
}
