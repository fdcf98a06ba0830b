//! What a chain of certificates says, for display and expiry; trust is decided elsewhere.

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

/// The most names of one certificate that are kept.
const NAMES: usize = 1_000;
/// The most certificates of a chain that are told; browsers and rustls itself give up far below.
const CHAIN: usize = 16;

/// Read from the chain as the server showed it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Certificates {
    /// The earliest expiry in the chain.
    pub expiry: Option<Timestamp>,
    /// Of the server's own certificate.
    pub not_after: Option<Timestamp>,
    pub not_before: Option<Timestamp>,
    /// DNS names and addresses that it is for, at most 1,000; from outside.
    pub names: Vec<String>,
    /// As in RFC 4514; from outside.
    pub issuer: String,
    /// It names itself as its issuer.
    pub self_signed: bool,
    /// The certificates in the order in which they were shown, at most 16.
    pub chain: Vec<Link>,
    /// How many were shown.
    pub chain_length: usize,
}

/// One certificate of a chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// As in RFC 4514; from outside, as is the issuer.
    pub subject: String,
    pub issuer: String,
    pub not_after: Option<Timestamp>,
}

impl Certificates {
    pub(super) fn read(chain: &[CertificateDer<'_>]) -> Self {
        let mut read = Certificates { chain_length: chain.len(), ..Certificates::default() };
        for (index, der) in chain.iter().enumerate() {
            let Ok((_, certificate)) = X509Certificate::from_der(der) else { continue };
            let not_after = Timestamp::from_second(certificate.validity().not_after.timestamp()).ok();
            read.expiry = match (read.expiry, not_after) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            if index < CHAIN {
                let (subject, issuer) = (certificate.subject().to_string(), certificate.issuer().to_string());
                read.chain.push(Link { subject, issuer, not_after });
            }
            if index == 0 {
                read.not_after = not_after;
                read.not_before = Timestamp::from_second(certificate.validity().not_before.timestamp()).ok();
                read.issuer = certificate.issuer().to_string();
                read.self_signed = certificate.issuer() == certificate.subject();
                read.names = names(&certificate);
            }
        }
        read
    }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let names = extension.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match *bytes {
            [a, b, c, d] => Some(std::net::Ipv4Addr::new(*a, *b, *c, *d).to_string()),
            bytes => <[u8; 16]>::try_from(bytes).ok().map(|octets| std::net::Ipv6Addr::from(octets).to_string()),
        },
        _ => None,
    });
    names.take(NAMES).collect()
}
