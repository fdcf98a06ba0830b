//! A program and its arguments, as checks declare them: whom a ticket's values reach, and how.

use std::path::{Component, Path, PathBuf};

use super::Key;
use super::slots::{self, SlotError, TextTemplate};
use crate::model::encode;
use crate::model::observation::{Unknown, UnknownKind};
use crate::model::params::Params;
use crate::model::source::{Diagnostic, Span};
use crate::net::process::NotRun;
use crate::yaml::Spanned;

/// The most arguments of a command.
const ARGUMENTS: usize = 128;

/// The key of a command, for the documentation.
pub const KEY: Key = Key {
    name: "command",
    takes: "list of text",
    default: None,
    meaning: "the program's absolute path and its arguments; \"{{ parameter }}\" as a whole argument",
};

/// A program by its absolute path, and its arguments.
#[derive(Debug)]
pub struct Command {
    pub path: PathBuf,
    arguments: Vec<TextTemplate>,
}

/// What a command may begin with, for the hints.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// A whole command.
    pub command: &'static str,
    /// A directory in which such programs lie.
    pub directory: &'static str,
}

impl Command {
    /// Reads a list: the program, then its arguments, each as it is.
    ///
    /// # Errors
    /// There is no program, its path isn't absolute, a parameter stands where it can't.
    pub fn read(declared: Spanned<Vec<Spanned<String>>>, sample: Sample) -> Result<Self, Diagnostic> {
        let Some((program, arguments)) = declared.value.split_first() else {
            return Err(
                Diagnostic::error(declared.at, "the command is empty").hint(format!("command: {}", sample.command))
            );
        };
        if slots::without_slots(&program.value).is_err() {
            return Err(Diagnostic::error(program.at.clone(), "a parameter can't choose the program"));
        }
        let path = PathBuf::from(&program.value);
        if !path.is_absolute() {
            let hint = format!("for example {}/{}", sample.directory, encode::terminal(&program.value));
            return Err(Diagnostic::error(program.at.clone(), "the program is not an absolute path").hint(hint));
        }
        if path.components().any(|part| matches!(part, Component::ParentDir)) || program.value.contains('\0') {
            return Err(Diagnostic::error(program.at.clone(), "the program's path can't hold `..`"));
        }
        if arguments.len() > ARGUMENTS {
            return Err(Diagnostic::error(declared.at, format!("more than {ARGUMENTS} arguments")));
        }
        let arguments = arguments
            .iter()
            .map(|argument| {
                whole(&argument.value, &argument.at, "a whole argument", "split it: [ …, -H, \"{{ host }}\" ]")
            })
            .collect::<Result<_, _>>()?;
        Ok(Command { path, arguments })
    }

    /// The program's own name, for what is said of it.
    pub fn name(&self) -> String {
        encode::terminal(&self.path.file_name().unwrap_or(self.path.as_os_str()).to_string_lossy())
    }

    /// The command as it is declared, as words of a shell.
    pub fn shown(&self) -> String {
        let words = self.arguments.iter().map(|argument| encode::shell_word(argument.text()));
        std::iter::once(self.name()).chain(words).collect::<Vec<_>>().join(" ")
    }

    pub fn params(&self) -> impl Iterator<Item = String> {
        self.arguments.iter().flat_map(TextTemplate::params)
    }

    /// The arguments with their values.
    ///
    /// # Errors
    /// A value that is missing, or that the program would take for an option.
    pub fn bind(&self, params: &Params) -> Result<Vec<String>, Unknown> {
        let mut args = Vec::with_capacity(self.arguments.len());
        let mut options_are_over = false;
        for argument in &self.arguments {
            let value = argument.render(params).map_err(unbound)?;
            let is_slot = !argument.params().is_empty();
            if is_slot && !options_are_over && value.starts_with('-') {
                let why =
                    format!("the value of `{}` begins with `-` and would be an option", argument.params().join(", "));
                return Err(Unknown::new(UnknownKind::Refused, why));
            }
            options_are_over |= !is_slot && value == "--";
            args.push(value);
        }
        Ok(args)
    }
}

/// A text that holds a parameter as a whole, or none.
///
/// # Errors
/// A slot that isn't one, or one with text around it.
pub fn whole(text: &str, at: &Span, place: &str, hint: &str) -> Result<TextTemplate, Diagnostic> {
    let template = TextTemplate::parse(text).map_err(|error| Diagnostic::error(at.clone(), error.to_string()))?;
    let is_one_slot = text.starts_with("{{") && text.find("}}") == text.len().checked_sub(2);
    if !template.params().is_empty() && !is_one_slot {
        return Err(Diagnostic::error(at.clone(), format!("a parameter must be {place}")).hint(hint));
    }
    Ok(template)
}

/// A line to run a program by hand.
pub fn by_hand(path: &Path, args: &[String]) -> String {
    let words = std::iter::once(path.to_string_lossy().into_owned()).chain(args.iter().cloned());
    words.map(|word| encode::shell_word(&word)).collect::<Vec<_>>().join(" ")
}

/// Why a template has no value.
pub fn unbound(error: SlotError) -> Unknown {
    let kind = match error {
        SlotError::Missing(_) => UnknownKind::MissingParam,
        _ => UnknownKind::Refused,
    };
    Unknown::new(kind, error.to_string())
}

/// Why a program was not run.
pub fn unknown(not_run: &NotRun) -> Unknown {
    let kind = match not_run {
        NotRun::Refused { .. } => UnknownKind::Refused,
        NotRun::Failed { .. } => UnknownKind::Unreachable,
    };
    Unknown::new(kind, encode::terminal(&not_run.to_string()))
}
