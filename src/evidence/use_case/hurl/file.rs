//! A `.hurl` file: where it lies, what may not stand in it, and where a ticket's values stand.

use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

use url::{Host, Url};

use crate::evidence::slots;
use crate::model::encode;
use crate::model::source::{Diagnostic, Span};
use crate::yaml::Spanned;

/// The most bytes of a file.
pub(super) const LIMIT: u64 = 256 * 1024;

/// Options of hurl that may stand in a file's `[Options]`. What is missing here leads past our guard (`proxy`,
/// `resolve`, `connect-to`, `unix-socket`, `http3`, `negotiate`), or to other files (`output`, `netrc…`, `cert`, `key`,
/// `cacert`, `pinnedpubkey`), or would not do what they say, since the proxy resolves (`ipv4`, `ipv6`). A list of what is allowed, so that an option of a hurl to come is refused until somebody
/// has thought about it.
const OPTIONS: &[&str] = &[
    "aws-sigv4",
    "compressed",
    "connect-timeout",
    "delay",
    "digest",
    "header",
    "http1.0",
    "http1.1",
    "http2",
    "insecure",
    "limit-rate",
    "location",
    "location-trusted",
    "max-redirs",
    "max-time",
    "ntlm",
    "path-as-is",
    "repeat",
    "retry",
    "retry-interval",
    "skip",
    "user",
    "variable",
    "verbose",
    "verbosity",
    "very-verbose",
];

/// A place in the file and what is wrong there; line and column from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) line: u32,
    pub(super) column: u32,
    pub(super) what: String,
}

/// Where a variable stands: what its value could do there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// In a URL behind its host, or in the name of a file.
    Path,
    /// In a header, a form, a body, an assert: hurl puts the value in as it is.
    Text,
}

/// Where the file lies: beside the check's own file, or in a directory below.
///
/// # Errors
/// The name leads elsewhere.
pub(super) fn place(declared: &Spanned<String>) -> Result<PathBuf, Diagnostic> {
    let name = Path::new(&declared.value);
    let below = name.components().all(|part| matches!(part, Component::Normal(_))) && !declared.value.is_empty();
    let is_hurl = name.extension().is_some_and(|extension| extension == "hurl");
    if !below || !is_hurl || declared.value.contains('\0') || slots::without_slots(&declared.value).is_err() {
        return Err(Diagnostic::error(declared.at.clone(), "not the name of a .hurl file beside this one")
            .hint("a name like `buy-a-book.hurl`: it is looked for where this file lies"));
    }
    let check = Path::new(&*declared.at.file);
    let folder = check.parent().unwrap_or_else(|| Path::new(""));
    let path = folder.join(name);
    Ok(std::path::absolute(&path).unwrap_or(path))
}

/// The file's text. A link may lead to another file beside the check, not elsewhere.
///
/// # Errors
/// Why it can't be read.
pub(super) fn read(path: &Path, folder: &Path) -> Result<String, String> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        _ => format!("it can't be read: {error}"),
    };
    let real = path.canonicalize().map_err(failed)?;
    if !real.starts_with(folder.canonicalize().map_err(failed)?) {
        return Err("it is a link that leads out of the directory of its check".to_owned());
    }
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(&real).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err("it is no regular file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(LIMIT + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LIMIT {
        return Err(format!("it is longer than {} KiB", LIMIT / 1024));
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())
}

impl Wrong {
    /// As a diagnostic of the file.
    pub(super) fn diagnostic(self, path: &Path, text: &str) -> Diagnostic {
        let file = encode::terminal(&path.to_string_lossy());
        let at = Span { file: file.as_str().into(), line: self.line, column: self.column, length: 1 };
        Diagnostic::error(at, self.what).with_source(text)
    }
}

/// Looks for what may not stand in a file, and where the variables of `fed` stand, whose values come from tickets.
///
/// It goes by lines, as hurl's own format does: `[Options]` is a line, and so is each option. Where a body happens to hold
/// such lines it is refused too much, never too little.
///
/// # Errors
/// The first place that is wrong.
pub(super) fn inspect(text: &str, fed: &[&str]) -> Result<Vec<(String, Use)>, Wrong> {
    let mut uses = Vec::new();
    let mut in_options = false;
    for (index, line) in text.split('\n').enumerate() {
        let trimmed = line.trim();
        let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        let indent = line.len() - line.trim_start().len();
        let wrong = |at: usize, what: String| {
            let column = line.get(..at).map_or(0, |before| before.chars().count());
            Wrong { line: number, column: u32::try_from(column + 1).unwrap_or(u32::MAX), what }
        };
        let request = request(trimmed);
        // A carriage return alone ends a line for nobody but a reader that is to be misled.
        if line.trim_end_matches('\r').contains('\r') {
            return Err(wrong(indent, "a carriage return within a line".to_owned()));
        }
        let option = if in_options { option(trimmed) } else { None };
        in_options = match trimmed.chars().next() {
            None | Some('#') => in_options,
            Some('[') => trimmed.starts_with("[Options]"),
            // Whatever is no option ends them; only another `[Options]` begins them again.
            Some(_) => option.is_some(),
        };
        if let Some(option) = option.filter(|option| !OPTIONS.contains(option)) {
            let name = encode::terminal(&option.chars().take(40).collect::<String>());
            return Err(wrong(indent, format!("the option `{name}` can't stand in a file that is run here")));
        }
        for (at, name) in variables(line).filter(|(_, name)| fed.contains(name)) {
            if option.is_some_and(|option| !matches!(option, "header" | "user")) {
                return Err(wrong(at, format!("`{name}` comes from a ticket, and can't stand in an option")));
            }
            let is_path = request.is_some() || line.contains("file,");
            if let Some(url) = request {
                let start = indent + (trimmed.len() - url.len());
                let before = line.get(start..at).unwrap_or_default();
                let behind_scheme = before.split_once("://").map_or(before, |(_, rest)| rest);
                if !behind_scheme.contains(['/', '?']) {
                    return Err(wrong(at, format!("`{name}` comes from a ticket, and can't choose a host")));
                }
            }
            uses.push((name.to_owned(), if is_path { Use::Path } else { Use::Text }));
        }
    }
    Ok(uses)
}

/// The option's name, of a line that is one within `[Options]`.
fn option(line: &str) -> Option<&str> {
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_')))?;
    let (name, rest) = line.split_at_checked(end)?;
    (!name.is_empty() && rest.trim_start().starts_with(':')).then_some(name)
}

/// The URL of a line that begins a request.
fn request(line: &str) -> Option<&str> {
    let (method, url) = line.split_once([' ', '\t'])?;
    let is_method = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase()) && method != "HTTP";
    is_method.then(|| url.trim_start())
}

/// The variables in a line, each with where it begins.
fn variables(line: &str) -> impl Iterator<Item = (usize, &str)> {
    line.match_indices("{{").map(|(at, _)| {
        let rest = line.get(at + 2..).unwrap_or_default().trim_start();
        let end = rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-'))).unwrap_or(rest.len());
        (at, rest.get(..end).unwrap_or_default())
    })
}

/// The hosts that the file's own URLs name, and those of `values`: whoever wrote the check names them.
pub(super) fn hosts<'a>(text: &'a str, values: impl Iterator<Item = &'a str>) -> Vec<(Host<String>, u16)> {
    let urls = text.lines().filter_map(|line| request(line.trim()));
    let mut hosts = Vec::new();
    for url in urls.chain(values) {
        // The host alone: what stands behind it may be a template.
        let Some((scheme, rest)) = url.split_once("://") else { continue };
        let authority = rest.split(['/', '?', '#', ' ']).next().unwrap_or_default();
        if authority.contains('{') {
            continue;
        }
        let parsed = Url::parse(&format!("{scheme}://{authority}/")).ok();
        let Some((host, port)) = parsed.and_then(|url| Some((url.host()?.to_owned(), url.port_or_known_default()?)))
        else {
            continue;
        };
        if !hosts.contains(&(host.clone(), port)) {
            hosts.push((host, port));
        }
    }
    hosts
}

/// Whether a ticket's value may stand there.
///
/// # Errors
/// Why not; the value itself is not repeated.
pub(super) fn fits(value: &str, place: Use) -> Result<(), &'static str> {
    let unreserved = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~');
    match place {
        Use::Path if !value.chars().all(unreserved) || value.chars().all(|c| c == '.') => {
            Err("stands in a URL, and holds more than letters, digits and `-._~`")
        }
        Use::Text if value.chars().any(|c| c.is_control() || "\"'`\\<>&{}".contains(c)) => {
            Err("holds a character that could end the text that it stands in")
        }
        _ => Ok(()),
    }
}
