//! Who we are to a server that asks for it: a client certificate with its private key.

use std::fmt;
use std::hash::{Hash, Hasher};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};

use crate::model::secret::Secret;

/// A client certificate, its chain and its key, as PEM. Two are the same where their contents are.
#[derive(Clone)]
pub struct ClientIdentity {
    /// The client's own certificate first.
    certificate: String,
    /// Where it is from, for errors: `file /etc/houston/client.pem`.
    certificate_place: String,
    key: Secret,
    key_place: String,
    digest: [u8; 32],
}

impl ClientIdentity {
    /// Takes the two PEM texts, each with the words by which it is named in errors. They are read when they are used.
    pub fn new(certificate: (String, String), key: (Secret, String)) -> Self {
        let ((certificate, certificate_place), (key, key_place)) = (certificate, key);
        let mut digest = Sha256::new();
        for part in [certificate.as_bytes(), key.expose().as_bytes()] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        let digest = digest.finalize().into();
        ClientIdentity { certificate, certificate_place, key, key_place, digest }
    }

    /// What it is known by in a table: says nothing of the key.
    pub(super) fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The chain and the key.
    ///
    /// # Errors
    /// Which of the two can't be read. What is in it is never repeated.
    pub(super) fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(self.certificate.as_bytes()).collect();
        let place = &self.certificate_place;
        let chain = chain.map_err(|_| format!("the client certificate ({place}) is not PEM"))?;
        if chain.is_empty() {
            return Err(format!("the client certificate ({place}) holds no certificate in PEM"));
        }
        let place = &self.key_place;
        let key = PrivateKeyDer::from_pem_slice(self.key.expose().as_bytes()).map_err(|_| {
            let locked = self.key.expose().contains("ENCRYPTED");
            let why = if locked { "is locked with a passphrase" } else { "holds no private key in PEM" };
            format!("the client key ({place}) {why}")
        })?;
        Ok((chain, key))
    }

    /// That the TLS library takes neither.
    pub(super) fn refused(&self, error: &rustls::Error) -> String {
        let (certificate, key) = (&self.certificate_place, &self.key_place);
        match error {
            rustls::Error::InconsistentKeys(_) => {
                format!("the client key ({key}) is not that of the client certificate ({certificate})")
            }
            other => format!("the client certificate ({certificate}) and its key ({key}) can't be used: {other}"),
        }
    }
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientIdentity(")?;
        self.digest.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

impl PartialEq for ClientIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for ClientIdentity {}

impl Hash for ClientIdentity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}
