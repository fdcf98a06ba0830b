//! What is kept of a page at which a step failed: a screenshot in which no secret can be read.

use serde_json::json;
use tokio::time::Instant;

use crate::evidence::Ask;
use crate::files::kept::FILE_LIMIT;
use crate::model::secret::{Redactor, Secret};
use crate::net::webdriver::{Element, Session, WebDriverError};

/// Turns a field's text into dots; what can't be turned is emptied.
const HIDE: &str = "const field = arguments[0];
if (field.tagName === 'INPUT') { field.type = 'password'; } else { field.value = ''; }";

/// Everything that can be read in the page, fields included; those with dots can't.
const READABLE: &str = "const limit = arguments[0];
const fields = [...document.querySelectorAll('input, textarea')].filter(field => field.type !== 'password');
const values = fields.map(field => field.value).join('\\n');
const shown = document.body ? document.body.innerText : '';
return [(shown + '\\n' + values).slice(0, limit), shown.length + values.length > limit];";

/// More text than this is not searched for secrets, in characters.
const SEARCHED: usize = 400_000;

/// Takes a screenshot and keeps it; returns where it lies, or why there is none.
///
/// `filled` are the fields with secrets in them.
pub async fn take(
    session: &Session,
    ask: &Ask,
    filled: &[(Element, Secret)],
    deadline: Instant,
) -> Result<String, String> {
    let Some(kept) = ask.tools.kept.clone() else { return Err("there is no place to keep it".to_owned()) };
    if !filled.is_empty() {
        for (field, _) in filled {
            // A field of a page that is gone shows nothing any more.
            let _ = session.run(HIDE, &[], std::slice::from_ref(field), deadline).await;
        }
        shows_no_secret(session, &ask.tools.redactor, filled, deadline).await?;
    }
    let picture = session.screenshot(FILE_LIMIT, deadline).await.map_err(|error| match error {
        WebDriverError::TooLong(_) => "it is larger than 1 MiB".to_owned(),
        other => other.to_string(),
    })?;
    let (check, now) = (ask.check.to_string(), ask.now);
    let keeping = tokio::task::spawn_blocking(move || kept.put(&check, "png", &picture, now));
    match keeping.await {
        Ok(Ok(path)) => Ok(path.display().to_string()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("it could not be written".to_owned()),
    }
}

/// Refuses where a secret can be read in the page, or where that can't be found out.
async fn shows_no_secret(
    session: &Session,
    redactor: &Redactor,
    filled: &[(Element, Secret)],
    deadline: Instant,
) -> Result<(), String> {
    let unknown = "the page could not be searched for the secrets that were filled in".to_owned();
    let Ok(found) = session.run(READABLE, &[json!(SEARCHED)], &[], deadline).await else { return Err(unknown) };
    let text = found.get(0).and_then(serde_json::Value::as_str);
    let (Some(text), Some(false)) = (text, found.get(1).and_then(serde_json::Value::as_bool)) else {
        return Err(unknown);
    };
    if redactor.strike(text) != text || filled.iter().any(|(_, secret)| text.contains(secret.expose())) {
        return Err("the page shows a secret".to_owned());
    }
    Ok(())
}
