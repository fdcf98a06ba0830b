//! What a reader gets to see of a step's answer.

use crate::net::http::Response;

/// The most of an answer's body that is kept, in bytes.
const BODY_SHOWN: usize = 500;

/// The first bytes of an answer's body, where it is text; what it is, where it isn't.
///
/// `strike` takes the secrets out of the whole body before it is cut: half a secret would not be recognised.
pub fn excerpt(response: &Response, strike: impl Fn(&str) -> String) -> String {
    let body = &response.body[..];
    if body.is_empty() {
        return String::new();
    }
    // A body that was cut at the cap may end within a character.
    let is_text = match std::str::from_utf8(body) {
        Ok(text) => !text.contains('\0'),
        Err(error) => response.truncated && error.error_len().is_none(),
    };
    if !is_text {
        let kind = response.headers.get(http::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        return format!("({} bytes of {})", body.len(), kind.unwrap_or("something that is not text"));
    }
    let mut text = strike(&String::from_utf8_lossy(body));
    if text.len() > BODY_SHOWN {
        let mut end = BODY_SHOWN;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}
