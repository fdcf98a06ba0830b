//! From an answer to measures and an excerpt. Whatever is a secret of ours is struck out first: servers echo.

use crate::evidence::Ask;
use crate::evidence::message::answer;
use crate::model::secret::Redactor;
use crate::model::value::Measures;
use crate::net::http::Response;

/// The most of a body that is kept as an excerpt, in bytes.
const EXCERPT: usize = 600;

/// The measures of an answer; `json` is null where the body isn't any.
pub(super) fn measures(response: &Response, ask: &Ask) -> Measures {
    let mut measures = answer::measures(response, ask.now, |text| ask.tools.redactor.strike(text));
    if !response.truncated && measures.get("json").is_none() {
        measures.set("json", serde_json::Value::Null);
    }
    measures
}

/// The beginning of the body, where it is text.
pub(super) fn excerpt(response: &Response, redactor: &Redactor) -> Option<String> {
    let mut end = response.body.len().min(EXCERPT);
    let text = loop {
        // The cut may fall within a character; more than three bytes back it is no text at all.
        match std::str::from_utf8(response.body.get(..end)?) {
            Ok(text) => break text,
            Err(error) if error.error_len().is_none() => end = error.valid_up_to(),
            Err(_) => return None,
        }
    };
    let text = text.trim();
    if text.is_empty() || text.contains('\0') {
        return None;
    }
    // A secret that the cut goes through would not be recognised: strike the whole, then cut.
    let struck = redactor.strike(&String::from_utf8_lossy(&response.body));
    let struck = struck.trim();
    let mut end = struck.len().min(EXCERPT);
    while !struck.is_char_boundary(end) {
        end -= 1;
    }
    struck.get(..end).map(str::to_owned)
}
