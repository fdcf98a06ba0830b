//! The variables of a test: texts, a ticket's values and secrets, and which of them nobody may set.

use std::collections::BTreeMap;

use crate::evidence::Ask;
use crate::evidence::command;
use crate::evidence::endpoint::HeaderText as Declared;
use crate::evidence::slots::TextTemplate;
use crate::model::encode;
use crate::model::observation::{Unknown, UnknownKind};
use crate::model::secret::SecretRef;
use crate::model::source::{Diagnostic, Span};
use crate::yaml::Spanned;

/// The most variables.
const VARIABLES: usize = 64;
/// Variables by which a program loads or runs other code.
const LOADERS: &[&str] = &["PATH", "IFS", "ENV", "SHELLOPTS", "NODE_OPTIONS", "NODE_PATH"];
/// What such variables begin with.
const LOADER_PREFIXES: &[&str] = &[
    "LD_",
    "GLIBC_",
    "GCONV_",
    "BASH_",
    "PYTHON",
    "PERL",
    "RUBY",
    "JAVA_TOOL_",
    "JDK_JAVA_",
    "_JAVA_",
    "GIT_SSH",
    "GIT_EXEC",
    "GIT_CONFIG",
    "HOUSTON_",
];

/// Variables with where their values come from.
#[derive(Debug, Default)]
pub(super) struct Variables(Vec<(String, Variable)>);

#[derive(Debug)]
enum Variable {
    Text(TextTemplate),
    Secret(SecretRef),
}

/// Variables with their values.
pub(super) struct Bound {
    pub(super) env: Vec<(String, String)>,
    /// The same as words of a shell, without the secrets.
    pub(super) words: Vec<String>,
}

impl Variables {
    /// Reads what is declared.
    ///
    /// # Errors
    /// A name that is none, or decides what code runs; a parameter that is not a whole value.
    pub(super) fn read(declared: Spanned<BTreeMap<String, Declared>>) -> Result<Self, Diagnostic> {
        let at = declared.at;
        let wrong = |message: String| Diagnostic::error(at.clone(), message);
        if declared.value.len() > VARIABLES {
            return Err(wrong(format!("more than {VARIABLES} variables")));
        }
        let mut variables = Vec::new();
        for (name, value) in declared.value {
            let shown = encode::terminal(&name);
            let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !is_name {
                return Err(wrong(format!("`{shown}` can't be the name of a variable")));
            }
            if LOADERS.contains(&name.as_str()) || LOADER_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
                return Err(wrong(format!(
                    "the variable `{shown}` decides what code a program runs, and can't be set"
                ))
                .hint("set it in a script of your own that houston.yaml lists under `programs`"));
            }
            variables.push((name, variable(value, &at)?));
        }
        Ok(Variables(variables))
    }

    /// The variables with their values, and the same as words of a shell, without the secrets.
    ///
    /// # Errors
    /// A value is missing, a secret can't be had.
    pub(super) fn bind(&self, ask: &Ask) -> Result<Bound, Unknown> {
        let (mut env, mut words) = (Vec::new(), Vec::new());
        for (name, variable) in &self.0 {
            let value = match variable {
                Variable::Text(text) => {
                    let value = text.render(&ask.params).map_err(command::unbound)?;
                    words.push(format!("{name}={}", encode::shell_word(&value)));
                    value
                }
                Variable::Secret(secret) => {
                    let refused = |why| Unknown::new(UnknownKind::Refused, why);
                    let value = ask.tools.credentials.get(secret).map_err(refused)?.expose().to_owned();
                    if value.contains('\0') {
                        return Err(refused(format!("the secret of `{name}` can't be a variable's value")));
                    }
                    words.push(format!("{name}=…"));
                    value
                }
            };
            env.push((name.clone(), value));
        }
        Ok(Bound { env, words })
    }

    pub(super) fn params(&self) -> impl Iterator<Item = String> {
        let texts = self.0.iter().filter_map(|(_, variable)| match variable {
            Variable::Text(text) => Some(text.params()),
            Variable::Secret(_) => None,
        });
        texts.flatten()
    }

    pub(super) fn secrets(&self) -> Vec<SecretRef> {
        let secrets = self.0.iter().filter_map(|(_, variable)| match variable {
            Variable::Secret(secret) => Some(secret.clone()),
            Variable::Text(_) => None,
        });
        secrets.collect()
    }
}

fn variable(value: Declared, at: &Span) -> Result<Variable, Diagnostic> {
    match value {
        Declared::Plain(text) => {
            command::whole(&text, at, "a whole value", "give each its variable: CUSTOMER: \"{{ customer }}\"")
                .map(Variable::Text)
        }
        Declared::Secret(secret) => Ok(Variable::Secret(secret)),
    }
}
