//! A stapled answer of a certificate's issuer on whether it was revoked (OCSP, RFC 6960 §4.2.1, stapled as in RFC 6066
//! §8). Read for what it says; its signature is not verified: only the server that it speaks of could have forged it.

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use x509_parser::asn1_rs::{Any, Class, Oid, Tag};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use x509_parser::time::ASN1Time;

/// id-pkix-ocsp-basic, 1.3.6.1.5.5.7.48.1.1.
const BASIC: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 48, 1, 1];
/// The most answers of one response that are looked through.
const ANSWERS: usize = 32;

/// What was stapled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staple {
    pub status: StapledStatus,
    /// After this it says nothing any more; `None` where newer information is always to be had.
    pub next_update: Option<Timestamp>,
}

/// What a stapled answer says of the server's own certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StapledStatus {
    Good,
    Revoked,
    /// The issuer's responder doesn't know the certificate.
    Unknown,
    /// It can't be read, is a refusal, or is about another certificate.
    Invalid,
}

impl Staple {
    /// `None` where nothing was stapled.
    pub(super) fn read(response: &[u8], certificate: Option<&CertificateDer<'_>>) -> Option<Self> {
        if response.is_empty() {
            return None;
        }
        let read = certificate
            .and_then(|der| X509Certificate::from_der(der).ok())
            .and_then(|(_, certificate)| answer_for(response, certificate.raw_serial()));
        Some(read.unwrap_or(Staple { status: StapledStatus::Invalid, next_update: None }))
    }
}

fn answer_for(response: &[u8], serial: &[u8]) -> Option<Staple> {
    let mut response = inside(response, Tag::Sequence)?;
    let status = take(&mut response)?;
    if status.tag() != Tag::Enumerated || status.data != [0] {
        return None;
    }
    let mut bytes = inside(explicit(&take(&mut response)?, 0)?, Tag::Sequence)?;
    let (kind, answer) = (take(&mut bytes)?, take(&mut bytes)?);
    if kind.tag() != Tag::Oid || Oid::new(kind.data.into()) != Oid::from(BASIC).ok()? {
        return None;
    }
    let mut basic = inside(answer.data, Tag::Sequence)?;
    let mut data = take(&mut basic)?.data;
    let mut next = take(&mut data)?;
    if next.class() == Class::ContextSpecific && next.tag() == Tag(0) {
        next = take(&mut data)?;
    }
    let _responder = next;
    let _produced_at = take(&mut data)?;
    let mut answers = take(&mut data)?.data;
    for _ in 0..ANSWERS {
        let mut single = take(&mut answers)?.data;
        let mut identity = take(&mut single)?.data;
        let (_algorithm, _name, _key) = (take(&mut identity)?, take(&mut identity)?, take(&mut identity)?);
        let about = take(&mut identity)?;
        if unsigned(about.data) != unsigned(serial) {
            continue;
        }
        let status = take(&mut single)?;
        let status = match (status.class(), status.tag().0) {
            (Class::ContextSpecific, 0) => StapledStatus::Good,
            (Class::ContextSpecific, 1) => StapledStatus::Revoked,
            (Class::ContextSpecific, 2) => StapledStatus::Unknown,
            _ => return None,
        };
        let _this_update = take(&mut single)?;
        let next_update = take(&mut single)
            .and_then(|next| ASN1Time::from_der(explicit(&next, 0)?).ok())
            .and_then(|(_, time)| Timestamp::from_second(time.timestamp()).ok());
        return Some(Staple { status, next_update });
    }
    None
}

/// The next value, taken off the front.
fn take<'a>(data: &mut &'a [u8]) -> Option<Any<'a>> {
    let (rest, any) = Any::from_der(data).ok()?;
    *data = rest;
    Some(any)
}

/// What is inside of one value with this tag.
fn inside(data: &[u8], tag: Tag) -> Option<&[u8]> {
    let (_, any) = Any::from_der(data).ok()?;
    (any.tag() == tag).then_some(any.data)
}

/// What is inside of `[number] EXPLICIT`.
fn explicit<'a>(any: &Any<'a>, number: u32) -> Option<&'a [u8]> {
    (any.class() == Class::ContextSpecific && any.tag() == Tag(number)).then_some(any.data)
}

/// Without the zeros in front.
fn unsigned(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_refusal_and_nonsense_are_invalid() {
        let certificate = CertificateDer::from(vec![1, 2, 3]);
        assert_eq!(Staple::read(&[], Some(&certificate)), None);
        // tryLater, as a responder without time says it (RFC 6960 §2.3).
        for response in [&[0x30, 0x03, 0x0a, 0x01, 0x03][..], b"no DER", &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]] {
            let read = Staple::read(response, Some(&certificate)).unwrap();
            assert_eq!(read.status, StapledStatus::Invalid);
            assert_eq!(answer_for(response, &[7]), None);
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = answer_for(&bytes, &[7]);
        }
    }
}
