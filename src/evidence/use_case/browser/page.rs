//! What a step does to the page, tried once; and what the page shows.

use serde_json::{Value as Json, json};
use tokio::time::Instant;

use super::step::Place;
use crate::model::encode;
use crate::model::observation::{Unknown, UnknownKind};
use crate::model::value::Measures;
use crate::net::webdriver::chromium::Browser;
use crate::net::webdriver::{Element, WebDriverError};

/// The most of a page's text that is read, in characters.
const TEXT: usize = 200_000;

/// What the page shows. The third is what `see` found, where it found something.
const LOOK: &str = "const [limit, element] = arguments;
const entry = performance.getEntriesByType('navigation')[0];
const shown = document.body ? document.body.innerText : '';
let own = null;
if (element) {
  const isField = /^(INPUT|TEXTAREA|SELECT)$/.test(element.tagName);
  own = isField ? (element.type === 'password' ? '' : element.value) : element.innerText;
}
return { url: location.href, title: document.title, status: entry ? entry.responseStatus : 0,
  text: shown.slice(0, limit), cut: shown.length > limit, element: own === null ? null : String(own).slice(0, limit) };";

/// The text of a button lies in elements of its own: what counts is the button around it.
const ENABLED: &str = "return !arguments[0].closest(':disabled, [aria-disabled=true]');";

const CHOOSE: &str = "const [wanted, field] = arguments;
if (field.tagName !== 'SELECT') return 'is no <select>';
const option = [...field.options].find(option => option.text.trim() === wanted || option.value === wanted);
if (!option) return 'has no such option';
if (option.disabled) return 'has that option switched off';
field.focus();
option.selected = true;
field.dispatchEvent(new Event('input', { bubbles: true }));
field.dispatchEvent(new Event('change', { bubbles: true }));
return '';";

/// Why an act isn't done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undone {
    /// It may be done in a moment; what is in its way.
    NotYet(String),
    /// It was begun, and must not be begun again; the page doesn't answer.
    Begun(String),
    /// The page opened this dialog, which the driver has dismissed.
    Dialog(String),
    /// Nobody can say.
    Blind(Unknown),
}

/// What the page shows at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    pub url: String,
    pub title: String,
    pub status: Option<u16>,
    /// `None` where it is longer than is read.
    pub text: Option<String>,
    pub element: Option<String>,
    /// Chromium shows a page of its own, for there is none of the service: its name of what went wrong.
    pub error: Option<String>,
}

impl Shown {
    pub fn measures(&self) -> Measures {
        let mut measures = Measures::new();
        measures.set("url", self.url.as_str()).set("title", self.title.as_str());
        if let Some(status) = self.status {
            measures.set("status", status);
        }
        if let Some(text) = &self.text {
            measures.set("text", text.as_str());
        }
        if let Some(element) = &self.element {
            measures.set("element", element.as_str());
        }
        measures
    }
}

/// Tells a passing obstacle from the end of the browser.
pub fn undone(browser: &Browser, error: WebDriverError) -> Undone {
    let blind = |kind, why: String| Undone::Blind(Unknown::new(kind, why));
    if let Some(why) = browser.ended_by_us() {
        return blind(UnknownKind::Incomplete, why);
    }
    match error {
        WebDriverError::Said { error, message, dialog } => match error.as_str() {
            "unexpected alert open" => Undone::Dialog(encode::terminal(&dialog.unwrap_or_default())),
            "invalid selector" => {
                blind(UnknownKind::Refused, "the browser doesn't take this for a CSS selector".to_owned())
            }
            "no such element" | "stale element reference" | "detached shadow root" => {
                Undone::NotYet("it went away".to_owned())
            }
            "element click intercepted" => Undone::NotYet("something else lies over it".to_owned()),
            "element not interactable" | "invalid element state" => {
                Undone::NotYet("nothing can be done with it".to_owned())
            }
            "timeout" | "script timeout" => Undone::Begun("the page doesn't answer".to_owned()),
            "no such alert" => Undone::NotYet("there is no dialog".to_owned()),
            "javascript error" => Undone::NotYet("its script fails".to_owned()),
            "no such window" | "invalid session id" => {
                blind(UnknownKind::Incomplete, "the page or its browser crashed".to_owned())
            }
            _ if message.contains("crash") || message.contains("disconnected") => {
                blind(UnknownKind::Incomplete, "the page or its browser crashed".to_owned())
            }
            _ => Undone::NotYet(encode::terminal(&message)),
        },
        WebDriverError::TimedOut => Undone::Begun("the page doesn't answer".to_owned()),
        WebDriverError::Broken(why) => blind(UnknownKind::Incomplete, why),
        error @ WebDriverError::TooLong(_) => blind(UnknownKind::Incomplete, error.to_string()),
    }
}

/// The page of a browser, with the time that one command has.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    pub browser: &'a Browser,
    pub deadline: Instant,
}

impl Page<'_> {
    /// What begins a change: where it doesn't answer nobody knows whether it was done.
    fn once(&self, error: WebDriverError) -> Undone {
        undone(self.browser, error)
    }

    /// What doesn't change anything may be asked again.
    fn again(&self, error: WebDriverError) -> Undone {
        match undone(self.browser, error) {
            Undone::Begun(why) => Undone::NotYet(why),
            other => other,
        }
    }

    /// The first visible element that fits.
    pub async fn visible(&self, place: &Place) -> Result<Element, Undone> {
        let session = &self.browser.session;
        let found = session.find(&place.locator, self.deadline).await.map_err(|error| self.again(error))?;
        let is_there = !found.is_empty();
        for element in found {
            if session.is_displayed(&element, self.deadline).await.map_err(|error| self.again(error))? {
                return Ok(element);
            }
        }
        let what = if is_there { "it is there, but not visible" } else { "there is no such element" };
        Err(Undone::NotYet(what.to_owned()))
    }

    /// The first visible element that fits, where it can be used.
    async fn usable(&self, place: &Place) -> Result<Element, Undone> {
        let element = self.visible(place).await?;
        let enabled = self.browser.session.run(ENABLED, &[], std::slice::from_ref(&element), self.deadline).await;
        match enabled.map_err(|error| self.again(error))?.as_bool() {
            Some(true) => Ok(element),
            _ => Err(Undone::NotYet("it is disabled".to_owned())),
        }
    }

    pub async fn gone(&self, place: &Place) -> Result<(), Undone> {
        match self.visible(place).await {
            Ok(_) => Err(Undone::NotYet("it is still visible".to_owned())),
            Err(Undone::NotYet(_)) => Ok(()),
            Err(other) => Err(other),
        }
    }

    pub async fn click(&self, place: &Place) -> Result<(), Undone> {
        let element = self.usable(place).await?;
        self.browser.session.click(&element, self.deadline).await.map_err(|error| self.once(error))
    }

    /// Empties a field and types into it; returns the field.
    pub async fn fill(&self, place: &Place, text: &str) -> Result<Element, Undone> {
        let field = self.usable(place).await?;
        let session = &self.browser.session;
        let sort = session.property(&field, "type", self.deadline).await.map_err(|error| self.again(error))?;
        if sort == "file" {
            // What is typed there names a file of this host, which the browser would send.
            let why = format!("{} takes a file, and no file is given away", place.written);
            return Err(Undone::Blind(Unknown::new(UnknownKind::Refused, why)));
        }
        session.clear(&field, self.deadline).await.map_err(|error| self.once(error))?;
        session.type_text(&field, text, self.deadline).await.map_err(|error| self.once(error))?;
        Ok(field)
    }

    pub async fn choose(&self, place: &Place, option: &str) -> Result<(), Undone> {
        let field = self.usable(place).await?;
        let said = self.browser.session.run(CHOOSE, &[json!(option)], &[field], self.deadline).await;
        match said.map_err(|error| self.once(error))?.as_str() {
            Some("") => Ok(()),
            Some(why) => Err(Undone::NotYet(format!("it {}", encode::terminal(why)))),
            None => Err(Undone::NotYet("its script fails".to_owned())),
        }
    }

    pub async fn press(&self, key: char, on: Option<&Place>) -> Result<(), Undone> {
        let session = &self.browser.session;
        let element = match on {
            Some(place) => self.usable(place).await?,
            None => session.active(self.deadline).await.map_err(|error| self.again(error))?,
        };
        session.type_text(&element, &key.to_string(), self.deadline).await.map_err(|error| self.once(error))
    }

    /// Answers the dialog that is open; returns what it says.
    pub async fn answer(&self, accept: bool) -> Result<String, Undone> {
        let session = &self.browser.session;
        let text = session.dialog(self.deadline).await.map_err(|error| self.again(error))?;
        session.answer_dialog(accept, self.deadline).await.map_err(|error| self.once(error))?;
        Ok(text)
    }

    pub async fn look(&self, element: Option<Element>) -> Result<Shown, Undone> {
        let elements: Vec<Element> = element.into_iter().collect();
        let seen = self.browser.session.run(LOOK, &[json!(TEXT)], &elements, self.deadline).await;
        let seen = seen.map_err(|error| self.again(error))?;
        let text = |name: &str| seen.get(name).and_then(Json::as_str).unwrap_or_default().to_owned();
        let url = text("url");
        // No step leads there, and no page may.
        if ["file:", "chrome:", "view-source:", "devtools:"].iter().any(|scheme| url.starts_with(scheme)) {
            let why = format!("the page led to {}", encode::terminal(&url.chars().take(80).collect::<String>()));
            return Err(Undone::Blind(Unknown::new(UnknownKind::Refused, why)));
        }
        let is_error = url.starts_with("chrome-error:");
        let status = seen.get("status").and_then(Json::as_u64).and_then(|status| u16::try_from(status).ok());
        // The browser's own words are not the service's.
        let whole = seen.get("cut").and_then(Json::as_bool) == Some(false);
        let read = if is_error { Some(String::new()) } else { whole.then(|| text("text")) };
        Ok(Shown {
            title: if is_error { String::new() } else { text("title") },
            status: status.filter(|status| *status != 0),
            text: read,
            element: seen.get("element").and_then(Json::as_str).map(str::to_owned),
            url,
            error: is_error.then(|| error_code(&text("text"))),
        })
    }
}

/// Chromium's name of an error, as its own page shows it: `ERR_CERT_AUTHORITY_INVALID`.
fn error_code(text: &str) -> String {
    let name = |at: usize| text[at..].chars().take_while(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || *c == '_');
    text.find("ERR_").map_or_else(|| "the browser could not show it".to_owned(), |at| name(at).collect())
}
