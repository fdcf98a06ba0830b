//! Secrets: named in the configuration, never written there, never shown anywhere.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};

use base64::Engine as _;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

/// Where a secret is to be had. A literal in its place is an error.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SecretRef {
    /// `{ env: NAME }`
    Env(String),
    /// `{ file: path }`
    File(PathBuf),
}

/// A secret's value. `Debug` shows nothing, there is no `Display`, memory is wiped when it goes.
#[derive(Clone, Debug)]
pub struct Secret(SecretString);

impl Secret {
    pub fn new(value: String) -> Self {
        Secret(SecretString::from(value))
    }

    /// The value, to be put on the wire and nowhere else.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// The process environment as it was at the start, handed in by the command line.
#[derive(Clone, Default)]
pub struct Environment(Arc<BTreeMap<String, String>>);

impl Environment {
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Environment(Arc::new(variables.into_iter().collect()))
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Environment({} variables)", self.0.len())
    }
}

/// Knows every secret in use and takes it out of whatever is about to be kept or shown.
#[derive(Clone, Default)]
pub struct Redactor(Arc<RwLock<Vec<Secret>>>);

impl Redactor {
    /// From now on this value is struck out, in each of the forms in which it could come back.
    pub fn learn(&self, secret: &Secret) {
        if secret.expose().len() < 4 {
            return; // a value this short would strike out ordinary words
        }
        let mut known = self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !known.iter().any(|k| k.expose() == secret.expose()) {
            known.push(secret.clone());
        }
    }

    /// The text without any known secret, plain, percent-encoded, base64 or JSON-escaped.
    pub fn strike(&self, text: &str) -> String {
        let known = self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut out = text.to_owned();
        for secret in known.iter() {
            for form in forms(secret.expose()) {
                if out.contains(&form) {
                    out = out.replace(&form, "‹secret›");
                }
            }
        }
        out
    }
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redactor")
    }
}

fn forms(value: &str) -> Vec<String> {
    let json = serde_json::Value::from(value).to_string();
    let mut forms = vec![
        value.to_owned(),
        super::encode::url_segment(value),
        json[1..json.len() - 1].to_owned(),
        base64::engine::general_purpose::STANDARD_NO_PAD.encode(value),
    ];
    forms.dedup();
    forms.retain(|form| !form.is_empty());
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_struck_out_in_all_its_forms() {
        let redactor = Redactor::default();
        let secret = Secret::new("pa\"ss w0rd/1".to_owned());
        redactor.learn(&secret);
        for form in ["pa\"ss w0rd/1", "pa%22ss%20w0rd%2F1", "pa\\\"ss w0rd/1", "cGEic3MgdzByZC8x"] {
            let out = redactor.strike(&format!("before {form} after"));
            assert_eq!(out, "before ‹secret› after");
        }
        assert!(!format!("{secret:?}").contains("w0rd"));
    }
}
