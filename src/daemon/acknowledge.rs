//! Taking it on: over the API, and by the link in a page, which needs no login.
//!
//! The link is signed with a key of this installation and holds for three days. Whoever opens it sees a button; only the
//! button does anything, for mail programs and chats open links by themselves.

use std::path::Path;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::json;

use super::Shared;
use super::answer::{InPath, Refusal, json_body};
use super::api::find;
use super::auth::Identity;
use crate::model::case::number_text;
use crate::model::encode;
use crate::model::secret::Secret;
use crate::model::text::Untrusted;
use crate::model::units::parse_duration;
use crate::net::signature::{self, Writing};
use crate::store::pages::{TakenOn, Which};

/// A link is good for so long.
const GOOD_FOR: SignedDuration = SignedDuration::from_hours(72);
/// The longest that somebody may take something on at once.
const LONGEST_HOLD: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Of a signature, in hex digits: 128 bits.
const SIGNATURE: usize = 32;

/// Makes and reads the links.
pub struct Links {
    key: Secret,
}

impl Links {
    /// With the key in the state directory, which is made where there is none.
    ///
    /// # Errors
    /// The file can't be read or made, or holds no key.
    pub fn open(state: &Path) -> std::io::Result<Self> {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        let path = state.join("acknowledge.key");
        if !path.exists() {
            let mut bytes = [0_u8; 32];
            getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
            let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let unfinished = path.with_extension("unfinished");
            let mut file =
                std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&unfinished, &path)?;
        }
        let key = std::fs::read_to_string(&path)?.trim().to_owned();
        if key.len() < 2 * signature::KEY_AT_LEAST {
            return Err(std::io::Error::other(format!("{} holds no key; remove it", path.display())));
        }
        Ok(Links { key: Secret::new(key) })
    }

    /// `/a/PAGE-EXPIRY-SIGNATURE`, for the page with this key.
    pub fn path(&self, page: &str, now: Timestamp) -> String {
        let expiry = now.checked_add(GOOD_FOR).unwrap_or(Timestamp::MAX).as_second();
        format!("/a/{page}-{expiry:x}-{}", self.signature(page, expiry))
    }

    fn signature(&self, page: &str, expiry: i64) -> String {
        let parts: [&[u8]; 3] = [b"acknowledge", page.as_bytes(), &expiry.to_be_bytes()];
        let mut signature = signature::sign(&self.key, &parts, Writing::Hex).unwrap_or_default();
        signature.truncate(SIGNATURE);
        signature
    }

    /// The page that a token stands for, while it is good.
    pub fn read(&self, token: &str, now: Timestamp) -> Option<String> {
        let mut parts = token.split('-');
        let (page, expiry, given) = (parts.next()?, parts.next()?, parts.next()?);
        let expiry = i64::from_str_radix(expiry, 16).ok().filter(|_| parts.next().is_none())?;
        let expected = self.signature(page, expiry);
        let good = expected.len() == SIGNATURE && signature::equals(&[Secret::new(expected)], given);
        (good && now.as_second() < expiry).then(|| page.to_owned())
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default)]
    by: Option<Untrusted>,
    #[serde(default, rename = "for")]
    hold: Option<String>,
}

/// `POST /api/v1/tickets/{ticket}/acknowledge`, `{"by": …, "for": "30m"}`; without `by` it is whoever asks.
pub async fn ticket(
    State(shared): State<Arc<Shared>>,
    Extension(identity): Extension<Identity>,
    InPath(name): InPath,
    request: Request,
) -> Result<Response, Refusal> {
    let asked: Asked = json_body(request).await?;
    let case = find(&shared, &name).await?;
    let hold = match asked.hold {
        Some(text) => {
            let hold = parse_duration(&text).map_err(|why| Refusal::field("for", why))?;
            let hold = SignedDuration::try_from(hold).unwrap_or(LONGEST_HOLD);
            if hold.is_zero() || hold > LONGEST_HOLD {
                return Err(Refusal::field("for", "more than nothing and at most 7d"));
            }
            Some(hold)
        }
        None => None,
    };
    let by = asked.by.filter(|by| !by.raw().trim().is_empty());
    let by = by.map_or_else(|| identity.name.clone().into(), |by| Untrusted::bounded(by.raw(), 256));
    let taken = take_on(&shared, Which::OfTicket(case.number), by, hold).await?;
    if taken.tickets.is_empty() {
        return Err(Refusal::new(StatusCode::CONFLICT, "nobody is being reached about this ticket (any more)"));
    }
    let tickets: Vec<String> = taken.tickets.into_iter().map(number_text).collect();
    Ok(axum::Json(json!({ "tickets": tickets, "until": taken.until })).into_response())
}

/// Notes it, and tells whoever follows the tickets.
pub async fn take_on(
    shared: &Shared,
    which: Which,
    by: Untrusted,
    hold: Option<SignedDuration>,
) -> Result<TakenOn, crate::store::StoreError> {
    let taken = shared.store.acknowledge(which, by, hold, (shared.clock)()).await?;
    for ticket in &taken.tickets {
        tracing::info!(ticket = %number_text(*ticket), "taken on");
        shared.told(*ticket);
    }
    Ok(taken)
}

fn no_such_link() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "this link is not good (any more)")
}

/// `GET /a/{token}`: a page with a button. It changes nothing.
pub async fn ask(State(shared): State<Arc<Shared>>, InPath(token): InPath) -> Result<Response, Refusal> {
    let key = shared.acknowledge.read(&token, (shared.clock)()).ok_or_else(no_such_link)?;
    let page = shared.store.page(&key).await?.ok_or_else(no_such_link)?;
    let number = number_text(page.ticket);
    // The ticket's text stays behind the login.
    let body = match page.is_open() {
        true => format!(
            "<p>{number}, for {}</p><form method=\"post\"><button>I take it on</button></form>",
            encode::html(&page.team)
        ),
        false => format!("<p>Nobody is being reached about {number} any more.</p>"),
    };
    Ok(plain(&number, &body))
}

/// `POST /a/{token}`: the button.
pub async fn confirm(State(shared): State<Arc<Shared>>, InPath(token): InPath) -> Result<Response, Refusal> {
    let key = shared.acknowledge.read(&token, (shared.clock)()).ok_or_else(no_such_link)?;
    let page = shared.store.page(&key).await?.ok_or_else(no_such_link)?;
    let number = number_text(page.ticket);
    let by = format!("the link to {}", page.team);
    let taken = take_on(&shared, Which::Page(key), by.into(), None).await?;
    let said = match taken.until {
        Some(until) => format!("<p>{number} is yours until {}.</p>", until.strftime("%Y-%m-%d %H:%M UTC")),
        None => format!("<p>Nobody is being reached about {number} any more.</p>"),
    };
    Ok(plain(&number, &said))
}

/// `body` is markup of ours.
fn plain(title: &str, body: &str) -> Response {
    let head = "<meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
                <style>body{font:18px/1.6 system-ui,sans-serif;margin:3rem auto;max-width:30rem;padding:0 1rem}\
                button{font:inherit;padding:.6rem 1.2rem}</style>";
    Html(format!(
        "<!doctype html><html lang=\"en\"><head>{head}<title>{title}</title></head><body>{body}</body></html>"
    ))
    .into_response()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_link_is_good_for_its_page_and_its_time_alone() {
        let directory = tempfile::tempdir().unwrap();
        let links = Links::open(directory.path()).unwrap();
        let mode = std::fs::metadata(directory.path().join("acknowledge.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let now: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        let path = links.path("0123456789abcdef", now);
        let token = path.strip_prefix("/a/").unwrap();
        let again = Links::open(directory.path()).unwrap();
        assert_eq!(again.read(token, now).as_deref(), Some("0123456789abcdef"), "after a restart, too");
        let late = |hours| now.checked_add(SignedDuration::from_hours(hours)).unwrap();
        assert!(links.read(token, late(71)).is_some());
        assert_eq!(links.read(token, late(72)), None);
        let other = Links::open(tempfile::tempdir().unwrap().path()).unwrap();
        assert_eq!(other.read(token, now), None, "another installation's");
        let (head, signature) = token.rsplit_once('-').unwrap();
        let (page, expiry) = head.split_once('-').unwrap();
        for bad in [
            String::new(),
            head.to_owned(),
            format!("{head}-"),
            format!("{head}-{}", &signature[..31]),
            format!("{head}-{}", "0".repeat(32)),
            format!("{page}-{expiry}0-{signature}"),
            format!("1{page}-{expiry}-{signature}"),
            format!("{token}-"),
            format!("{page}-zz-{signature}"),
        ] {
            assert_eq!(links.read(&bad, now), None, "{bad}");
        }
    }
}
