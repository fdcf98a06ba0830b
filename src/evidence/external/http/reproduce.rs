//! The curl command that asks the same by hand. Secrets stand in it by the name of where they are.

use http::Method;

use super::config::{Config, HeaderText};
use crate::model::encode::shell_word;
use crate::model::secret::SecretRef;
use crate::net::http::{IpVersion, Request};

pub(super) fn curl(config: &Config, request: &Request) -> String {
    let mut line = String::from("curl -sS -i");
    let usual = if request.body.is_empty() { Method::GET } else { Method::POST };
    if request.method == Method::HEAD {
        line += " --head";
    } else if request.method != usual {
        line += &format!(" -X {}", shell_word(request.method.as_str()));
    }
    for (name, value) in &request.headers {
        line += &format!(" -H {}", shell_word(&format!("{name}: {value}")));
    }
    for (name, value) in &config.headers {
        if let HeaderText::Secret(secret) = value {
            line += &format!(" -H {}", with_secret(&format!("{name}: "), secret));
        }
    }
    if let Some(token) = &config.bearer_token {
        line += &format!(" -H {}", with_secret("Authorization: Bearer ", token));
    }
    if let Some(basic) = &config.basic {
        line += &format!(" -u {}", with_secret(&format!("{}:", basic.user), &basic.password));
    }
    if !request.body.is_empty() {
        line += &format!(" --data-raw {}", shell_word(&String::from_utf8_lossy(&request.body)));
    }
    if request.follow_redirects > 0 {
        line += &format!(" -L --max-redirs {}", request.follow_redirects);
    }
    match request.ip {
        Some(IpVersion::V4) => line += " -4",
        Some(IpVersion::V6) => line += " -6",
        None => {}
    }
    if let Some(ca) = &config.tls.ca {
        line += &format!(" --cacert {}", shell_word(&ca.to_string_lossy()));
    }
    if config.tls.insecure {
        line += " -k";
    }
    line + " " + &shell_word(request.url.as_str())
}

/// Text and a secret as one word of a shell, the secret as a variable or as a file that is read.
fn with_secret(text: &str, secret: &SecretRef) -> String {
    let quoted = shell_word(text);
    match secret {
        SecretRef::Env(name) if crate::model::params::is_name(name) => format!("{quoted}\"${name}\""),
        SecretRef::Env(_) => format!("{quoted}\"$SECRET\""),
        SecretRef::File(path) => format!("{quoted}\"$(cat {})\"", shell_word(&path.to_string_lossy())),
    }
}
