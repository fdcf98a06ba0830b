//! Reads secrets from where the configuration says they are.

use crate::model::secret::{Environment, Redactor, Secret, SecretRef};

/// Resolves [`SecretRef`]s; every value that it hands out is known to the redactor.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    environment: Environment,
    redactor: Redactor,
}

impl Credentials {
    pub fn new(environment: Environment, redactor: Redactor) -> Self {
        Credentials { environment, redactor }
    }

    /// The secret's value. A file must not be readable by group or others; a final line break is dropped.
    ///
    /// # Errors
    /// Says which variable or file is missing or unfit, never what is in it.
    pub fn get(&self, from: &SecretRef) -> Result<Secret, String> {
        let value = match from {
            SecretRef::Env(name) => self
                .environment
                .get(name)
                .map(str::to_owned)
                .ok_or_else(|| format!("environment variable {name} is not set"))?,
            SecretRef::File(path) => {
                use std::os::unix::fs::PermissionsExt;
                let shown = path.display();
                let metadata = std::fs::metadata(path).map_err(|error| format!("secret file {shown}: {error}"))?;
                if metadata.permissions().mode() & 0o077 != 0 {
                    return Err(format!("secret file {shown} is readable by others (chmod 600 {shown})"));
                }
                if metadata.len() > 64 * 1024 {
                    return Err(format!("secret file {shown} is larger than 64 KiB"));
                }
                let text = std::fs::read_to_string(path).map_err(|error| format!("secret file {shown}: {error}"))?;
                text.trim_end_matches(['\r', '\n']).to_owned()
            }
        };
        if value.is_empty() {
            return Err("the secret is empty".to_owned());
        }
        let secret = Secret::new(value);
        self.redactor.learn(&secret);
        Ok(secret)
    }
}
