//! Addresses of services, as they stand in YAML.

use url::Url;

use super::Spanned;
use crate::model::source::Diagnostic;

/// The address of a service: `http` or `https`, without a user in it.
///
/// # Errors
/// It is none, at its place.
pub fn http_url(url: &Spanned<String>) -> Result<Url, Diagnostic> {
    let wrong = |what: String| Diagnostic::error(url.at.clone(), what);
    let read = Url::parse(&url.value).map_err(|error| wrong(format!("not a URL: {error}")))?;
    if !matches!(read.scheme(), "http" | "https") || read.host_str().is_none() {
        return Err(wrong("it begins with http:// or https://".to_owned()));
    }
    if !read.username().is_empty() || read.password().is_some() {
        return Err(wrong("a user or password doesn't belong into a URL".to_owned()).hint("there is a key for it"));
    }
    Ok(read)
}
