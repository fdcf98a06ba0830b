//! TLS errors in words: what is wrong with a certificate, and why a handshake ended.

use jiff::Timestamp;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError};

use super::Certificates;
use crate::model::encode;
use crate::model::units::show_duration;

/// The most names that a sentence lists.
const LISTED: usize = 3;

/// What is wrong with a certificate, as in "certificate expired 2026-11-01 (7 d ago)".
pub(super) fn certificate(error: &rustls::Error, name: &str, shown: Option<&Certificates>) -> String {
    let rustls::Error::InvalidCertificate(error) = error else { return handshake(error) };
    match error {
        CertificateError::ExpiredContext { time, not_after } => {
            format!("certificate expired {} ({} ago)", day(*not_after), apart(*not_after, *time))
        }
        CertificateError::Expired => "certificate expired".to_owned(),
        CertificateError::NotValidYetContext { time, not_before } => {
            format!("certificate is not valid before {} (in {})", day(*not_before), apart(*time, *not_before))
        }
        CertificateError::NotValidYet => "certificate is not valid yet".to_owned(),
        CertificateError::NotValidForNameContext { .. } | CertificateError::NotValidForName => {
            let names = shown.map(|shown| shown.names.as_slice()).unwrap_or_default();
            if names.is_empty() {
                return format!("certificate names no host, so it is not for {}", bounded(name));
            }
            let listed: Vec<_> = names.iter().take(LISTED).map(|name| bounded(name)).collect();
            let more = match names.len().saturating_sub(LISTED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!("certificate is for {}{more}, not {}", listed.join(", "), bounded(name))
        }
        // webpki says "a CA used as an end entity" of the usual certificate that somebody signed himself.
        _ if shown.is_some_and(|shown| shown.self_signed) => "certificate is self-signed".to_owned(),
        CertificateError::UnknownIssuer => match shown.map(|shown| shown.issuer.as_str()) {
            Some(issuer) if !issuer.is_empty() => format!("certificate's issuer is not trusted: {}", bounded(issuer)),
            _ => "certificate's issuer is not trusted".to_owned(),
        },
        CertificateError::Revoked => "certificate is revoked".to_owned(),
        CertificateError::BadSignature => "certificate's signature is wrong".to_owned(),
        CertificateError::BadEncoding => "certificate can't be read".to_owned(),
        other => format!("certificate is not acceptable: {}", bounded(&other.to_string())),
    }
}

/// Why a handshake ended.
pub(super) fn handshake(error: &rustls::Error) -> String {
    match error {
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the server wants a client certificate, and none was sent".to_owned()
        }
        rustls::Error::AlertReceived(alert) => format!("the server broke off the TLS handshake: {alert:?}"),
        rustls::Error::InvalidMessage(_) => "answered something that is not TLS".to_owned(),
        rustls::Error::PeerIncompatible(_) => "no TLS version or cipher in common (1.2 and 1.3 are spoken)".to_owned(),
        rustls::Error::NoApplicationProtocol => "no application protocol in common".to_owned(),
        other => format!("TLS handshake: {}", bounded(&other.to_string())),
    }
}

/// Text from outside, printable and short.
pub(super) fn bounded(text: &str) -> String {
    let mut out = encode::terminal(text);
    if let Some((cut, _)) = out.char_indices().nth(100) {
        out.truncate(cut);
        out.push('…');
    }
    out
}

fn day(time: UnixTime) -> String {
    match i64::try_from(time.as_secs()).ok().and_then(|seconds| Timestamp::from_second(seconds).ok()) {
        Some(time) => time.strftime("%Y-%m-%d").to_string(),
        None => "at a time beyond reckoning".to_owned(),
    }
}

fn apart(from: UnixTime, to: UnixTime) -> String {
    show_duration(std::time::Duration::from_secs(to.as_secs().saturating_sub(from.as_secs())))
}
