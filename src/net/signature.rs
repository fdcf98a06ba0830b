//! Signatures over raw bytes: HMAC-SHA-256 (and HMAC-SHA-1 for who knows no other), compared in constant time.

use base64::Engine;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::model::secret::Secret;

/// The shortest key that is worth a signature, in bytes.
pub const KEY_AT_LEAST: usize = 16;

/// How a signature is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writing {
    /// Lower-case hex; capitals are read, too.
    Hex,
    Base64,
}

fn hmac(key: &Secret, parts: &[&[u8]]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose().as_bytes()).ok()?;
    for part in parts {
        mac.update(part);
    }
    Some(mac)
}

/// The signature of these parts, one after the other.
pub fn sign(key: &Secret, parts: &[&[u8]], writing: Writing) -> Option<String> {
    let bytes = hmac(key, parts)?.finalize().into_bytes();
    Some(match writing {
        Writing::Hex => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        Writing::Base64 => base64::engine::general_purpose::STANDARD.encode(bytes),
    })
}

/// True where one of these keys made this signature over these parts. A signature of another length is none.
pub fn verifies(keys: &[Secret], parts: &[&[u8]], signature: &str, writing: Writing) -> bool {
    let given = match writing {
        Writing::Hex => unhex(signature),
        Writing::Base64 => base64::engine::general_purpose::STANDARD.decode(signature).ok(),
    };
    let Some(given) = given.filter(|given| given.len() == 32) else { return false };
    let mut good = false;
    for key in keys {
        // Each key is tried, so that the time tells nothing of which one fits.
        good |= hmac(key, parts).is_some_and(|mac| mac.verify_slice(&given).is_ok());
    }
    good
}

/// True where one of these keys made this HMAC-SHA-1, in base64, over these bytes. Only for senders that have no better
/// one: as an HMAC it is not broken.
pub fn verifies_sha1(keys: &[Secret], bytes: &[u8], signature: &str) -> bool {
    let Ok(given) = base64::engine::general_purpose::STANDARD.decode(signature) else { return false };
    let mut good = false;
    for key in keys {
        let Ok(mut mac) = Hmac::<sha1::Sha1>::new_from_slice(key.expose().as_bytes()) else { continue };
        mac.update(bytes);
        good |= mac.verify_slice(&given).is_ok();
    }
    good
}

/// True where a shared secret that came as it is equals one of these; the time tells nothing of where they differ.
pub fn equals(keys: &[Secret], given: &str) -> bool {
    use subtle::ConstantTimeEq;
    let mut good = false;
    for key in keys {
        good |= bool::from(key.expose().as_bytes().ct_eq(given.as_bytes()));
    }
    good
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || text.len() > 128 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn it_is_the_standard_one() {
        // printf '%s.%s' 1700000000 '{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef
        let parts: [&[u8]; 3] = [b"1700000000", b".", br#"{"a":1}"#];
        let expected = "9eb18f493f8ec135d9eb2dad817c369bb4e9cbfa818657897a7437c1cd8c3a23";
        assert_eq!(sign(&key("0123456789abcdef"), &parts, Writing::Hex).unwrap(), expected);
        let keys = [key("another-key-another"), key("0123456789abcdef")];
        assert!(verifies(&keys, &parts, expected, Writing::Hex), "any of the keys");
        for wrong in ["", "9e", &expected[..62], &format!("{expected}00"), &"٠".repeat(32), "v1=", "zz"] {
            assert!(!verifies(&keys, &parts, wrong, Writing::Hex), "{wrong}");
        }
        assert!(!verifies(&[], &parts, expected, Writing::Hex), "no key, no entry");
    }

    #[test]
    fn the_older_one_is_the_standard_one() {
        // printf 'abc' | openssl dgst -sha1 -hmac 0123456789abcdef -binary | base64
        let keys = [key("another-key-another"), key("0123456789abcdef")];
        assert!(verifies_sha1(&keys, b"abc", "O5Sq3L1Wa4Oh5eJXVHNV+CdRL+8="));
        assert!(!verifies_sha1(&keys, b"abd", "O5Sq3L1Wa4Oh5eJXVHNV+CdRL+8="));
        for wrong in ["", "%", "AAAA"] {
            assert!(!verifies_sha1(&keys, b"abc", wrong), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn only_what_was_signed_verifies(body in proptest::collection::vec(any::<u8>(), 0..64), other in proptest::collection::vec(any::<u8>(), 0..64)) {
            let keys = [key("0123456789abcdef")];
            for writing in [Writing::Hex, Writing::Base64] {
                let signature = sign(&keys[0], &[&body], writing).unwrap();
                prop_assert!(verifies(&keys, &[&body], &signature, writing));
                prop_assert_eq!(verifies(&keys, &[&other], &signature, writing), body == other);
            }
        }
    }
}
