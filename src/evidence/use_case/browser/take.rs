//! One step: done as soon as it can be, then looked at until it holds; and why it doesn't.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use url::Url;

use super::page::{Page, Undone, undone};
use super::patience::Patience;
use super::run::{End, NOTED, Run, Taken, words};
use super::step::{Act, Step, Text};
use crate::evidence::slots::SlotError;
use crate::expect::{Held, Usual};
use crate::model::observation::{Broken, Fault, Phase, Unknown, UnknownKind};
use crate::model::units::show_duration;
use crate::net::guard::Reach;
use crate::net::http::Reason;
use crate::net::proxy::Unmade;
use crate::net::webdriver::{Element, WebDriverError};

/// How long a step may take, where it doesn't say.
const STEP: Duration = Duration::from_secs(10);
/// Between two looks at a page.
const PAUSE: Duration = Duration::from_millis(60);
/// The driver keeps a step's deadline itself; this long it may take to say so.
const GRACE: Duration = Duration::from_millis(400);

impl Run<'_> {
    pub(super) async fn take(&mut self, step: &Step, until: Instant) -> Taken {
        let began = Instant::now();
        let mut odd = Vec::new();
        let end = self.take_within(step, began, until, &mut odd).await;
        let mut end = match end {
            Ok(()) => End::Held,
            Err(end) => end,
        };
        if let (Some(why), false) = (self.browser.ended_by_us(), matches!(end, End::Held)) {
            end = End::Blind(Unknown::new(UnknownKind::Incomplete, why));
        }
        Taken { end, odd, duration: began.elapsed() }
    }

    async fn take_within(
        &mut self,
        step: &Step,
        began: Instant,
        until: Instant,
        odd: &mut Vec<Broken>,
    ) -> Result<(), End> {
        if began >= until {
            let why = "the check's time ran out before it";
            return Err(End::Blind(Unknown::new(UnknownKind::TimedOut, why)));
        }
        let own = began + step.timeout.unwrap_or(STEP);
        let patience = Patience { began, end: own.min(until), is_own: own <= until, total: until - self.started };
        let deadline = patience.end + GRACE;
        let page = Page { browser: self.browser, deadline };
        loop {
            match self.browser.session.wait_until(patience.end, deadline).await {
                Ok(()) => break,
                Err(error) => self.obstacle(undone(self.browser, error), step, &patience).await?,
            }
        }
        let (refused, failed) = (self.proxy.refusals().len(), self.proxy.failures().len());
        let found = loop {
            match self.act(step, page, &patience, (refused, failed)).await {
                Ok(element) => break element,
                Err(Obstacle::Undone(undone)) => self.obstacle(undone, step, &patience).await?,
                Err(Obstacle::End(end)) => return Err(end),
            }
        };
        self.hold(step, page, &patience, found, odd).await
    }

    /// Waits a moment where it may go away; ends the step where it won't, or the time is up.
    async fn obstacle(&mut self, undone: Undone, step: &Step, patience: &Patience) -> Result<(), End> {
        let (what, is_over) = match undone {
            Undone::Blind(unknown) => return Err(End::Blind(unknown)),
            Undone::NotYet(what) => (what, false),
            Undone::Begun(what) => (what, true),
            Undone::Dialog(text) => {
                let text = self.ask.tools.redactor.strike(&text);
                self.dialogs += 1;
                if self.dialogs <= NOTED {
                    self.notes.push(format!("the page opened a dialog, which was dismissed: {text}"));
                }
                (format!("a dialog is in the way: {text}"), false)
            }
        };
        if is_over || Instant::now() + PAUSE >= patience.end {
            return Err(patience.broken(step, what));
        }
        sleep_until(patience.end.min(Instant::now() + PAUSE)).await;
        Ok(())
    }

    /// Does what the step says, once; returns the element that it saw.
    async fn act(
        &mut self,
        step: &Step,
        page: Page<'_>,
        patience: &Patience,
        unmade: (usize, usize),
    ) -> Result<Option<Element>, Obstacle> {
        let values = &self.ask.params;
        match &step.act {
            Act::Go(template) => {
                let url = template.render(values).map_err(|error| unbound(&error))?;
                self.went = Some(url.clone());
                self.go(step, &url, page, patience, unmade).await.map_err(Obstacle::End)?;
                return Ok(None);
            }
            Act::Fill(place, Text::Plain(template)) => {
                let text = template.render(values).map_err(|error| unbound(&error))?;
                page.fill(place, &typed(&text)?).await?;
            }
            Act::Fill(place, Text::Secret(secret)) => {
                let secret = self.ask.tools.credentials.get(secret);
                let secret = secret.map_err(|why| blind(UnknownKind::Refused, why))?;
                let field = page.fill(place, &typed(secret.expose())?).await?;
                self.filled.push((field, secret));
            }
            Act::Click(place) => page.click(place).await?,
            Act::Select(place, template) => {
                let text = template.render(values).map_err(|error| unbound(&error))?;
                page.choose(place, &text).await?;
            }
            Act::Press(key, on) => page.press(*key, on.as_ref()).await?,
            Act::See(place) => return Ok(Some(page.visible(place).await?)),
            Act::Gone(place) => page.gone(place).await?,
            Act::Dialog(accept) => drop(page.answer(*accept).await?),
            Act::Wait => {}
        }
        Ok(None)
    }

    async fn go(
        &mut self,
        step: &Step,
        url: &Url,
        page: Page<'_>,
        patience: &Patience,
        unmade: (usize, usize),
    ) -> Result<(), End> {
        let guard = &self.ask.tools.http.dialer().guard;
        if let Err(denied) = guard.check_url(url, Reach::Anywhere) {
            return Err(End::Blind(Unknown::new(UnknownKind::Refused, denied.to_string())));
        }
        let went = self.browser.session.go(url.as_str(), page.deadline).await;
        let failed = went.as_ref().err().and_then(|error| match error {
            WebDriverError::Said { error, .. } if error == "insecure certificate" => {
                Some("net::ERR_CERT_INVALID".to_owned())
            }
            WebDriverError::Said { message, .. } => net_error(message),
            _ => None,
        });
        if let Err(error) = went
            && failed.is_none()
        {
            match undone(self.browser, error) {
                // The page is there; it opened a dialog at once.
                Undone::Dialog(text) => self.obstacle(Undone::Dialog(text), step, patience).await?,
                Undone::Begun(_) => {
                    let what = format!("the page was not there in {}", show_duration(patience.began.elapsed()));
                    return Err(patience.fault(Phase::Processing, what));
                }
                Undone::NotYet(what) => return Err(patience.fault(Phase::Processing, what)),
                Undone::Blind(unknown) => return Err(End::Blind(unknown)),
            }
        }
        // Our proxy answers for whom it can't reach; its own account says why.
        let here = target(&self.browser.session.url(page.deadline).await.unwrap_or_default());
        let is_it = |other: &&Unmade| failed.is_some() || here.as_deref() == Some(other.target.as_str());
        if let Some(refused) = self.proxy.refusals().iter().skip(unmade.0).find(is_it) {
            let why = format!("a guard of ours forbids {}", words(refused));
            return Err(End::Blind(Unknown::new(UnknownKind::Refused, why)));
        }
        if let Some(unmade) = self.proxy.failures().iter().skip(unmade.1).find(is_it) {
            return Err(match unmade.reason {
                Reason::Ours | Reason::Guard => End::Blind(Unknown::new(UnknownKind::Unreachable, words(unmade))),
                Reason::Service => End::Failed(Fault { phase: Phase::Connect, what: words(unmade) }),
                Reason::Timeout => patience.fault(Phase::Connect, words(unmade)),
            });
        }
        match failed {
            None => Ok(()),
            Some(code) if code.contains("CERT") || code.contains("SSL") => {
                Err(End::Failed(Fault { phase: Phase::Tls, what: code }))
            }
            Some(code) => Err(End::Failed(Fault { phase: Phase::Processing, what: code })),
        }
    }

    /// Looks until everything holds that the step expects.
    async fn hold(
        &mut self,
        step: &Step,
        page: Page<'_>,
        patience: &Patience,
        mut found: Option<Element>,
        odd: &mut Vec<Broken>,
    ) -> Result<(), End> {
        let wants_status = matches!(step.act, Act::Go(_))
            && !step.expect.iter().any(|expect| expect.that.names().iter().any(|name| name == "status"));
        // What changes the page may be followed by another page, which the next step waits for.
        let only_changes =
            matches!(step.act, Act::Fill(..) | Act::Click(_) | Act::Select(..) | Act::Press(..) | Act::Dialog(_));
        if step.expect.is_empty() && only_changes {
            return Ok(());
        }
        loop {
            // A page that draws itself anew has another element in the same place.
            if let (None, Act::See(place)) = (&found, &step.act) {
                found = page.visible(place).await.ok();
            }
            let shown = match page.look(found.clone()).await {
                Ok(shown) => shown,
                Err(undone) => {
                    found = None;
                    self.obstacle(undone, step, patience).await?;
                    continue;
                }
            };
            self.shown = shown;
            if let Some(status) = self.shown.status
                && wants_status
                && status >= 400
            {
                let that = "status < 400".to_owned();
                let actual = format!("status is {status}");
                return Err(End::Broken(vec![Broken {
                    that,
                    actual,
                    at: step.at.to_string(),
                    note: None,
                    odd: false,
                }]));
            }
            if let (Act::Go(_), None, Some(code)) = (&step.act, self.shown.status, &self.shown.error) {
                let phase = if code.contains("CERT") || code.contains("SSL") { Phase::Tls } else { Phase::Processing };
                return Err(End::Failed(Fault { phase, what: code.clone() }));
            }
            if let Some(what) = self.no_page_of_the_service(step) {
                found = None;
                self.obstacle(Undone::NotYet(what), step, patience).await?;
                continue;
            }
            let held = self.held(step, patience.began.elapsed());
            if held.broken.is_empty() && held.unseen.is_none() {
                odd.extend(held.odd);
                return Ok(());
            }
            if Instant::now() + PAUSE >= patience.end {
                odd.extend(held.odd);
                return Err(match held.unseen {
                    Some(why) if held.broken.is_empty() => End::Blind(Unknown::new(UnknownKind::Incomplete, why)),
                    _ => patience.late(held.broken),
                });
            }
            sleep(PAUSE).await;
            if matches!(step.act, Act::See(_)) {
                found = None;
            }
        }
    }

    /// Headings and words of the browser's own error pages, and of our proxy's, must not pass for the service's.
    fn no_page_of_the_service(&self, step: &Step) -> Option<String> {
        let went = matches!(step.act, Act::Go(_));
        if self.shown.error.is_some() && !(went && self.shown.status.is_some()) {
            return Some("the browser shows an error page of its own".to_owned());
        }
        if went || self.shown.status.is_none_or(|status| status < 400) {
            return None;
        }
        let here = target(&self.shown.url)?;
        let unmade = [self.proxy.refusals(), self.proxy.failures()].concat();
        unmade.iter().find(|unmade| unmade.target == here).map(words)
    }

    fn held(&self, step: &Step, took: Duration) -> Account {
        let mut measures = self.shown.measures();
        for (name, bound) in self.ask.params.iter() {
            if measures.get(name).is_none() {
                measures.set(name, bound.value.as_str());
            }
        }
        measures.set("duration_seconds", took.as_secs_f64());
        let mut account = Account::default();
        for expect in &step.expect {
            match expect.that.hold(&measures, &|_, _| Usual::Unknown { why: "not in a step".to_owned() }) {
                Held::True => {}
                Held::False { actual } if expect.odd => account.odd.push(expect.broken(actual)),
                Held::False { actual } => account.broken.push(expect.broken(actual)),
                Held::Unknown { .. } if self.shown.text.is_none() => {
                    account.unseen = Some("the page's text is longer than is read".to_owned());
                }
                Held::Unknown { why } => account.unseen = Some(why),
            }
        }
        account
    }
}

/// What a step's expectations come to at one moment.
#[derive(Debug, Default)]
struct Account {
    broken: Vec<Broken>,
    odd: Vec<Broken>,
    /// Why one can't be told.
    unseen: Option<String>,
}

/// Why an act came to nothing.
enum Obstacle {
    Undone(Undone),
    End(End),
}

impl From<Undone> for Obstacle {
    fn from(undone: Undone) -> Self {
        Obstacle::Undone(undone)
    }
}

fn blind(kind: UnknownKind, why: String) -> Obstacle {
    Obstacle::End(End::Blind(Unknown::new(kind, why)))
}

fn unbound(error: &SlotError) -> Obstacle {
    let kind = match error {
        SlotError::Missing(_) => UnknownKind::MissingParam,
        _ => UnknownKind::Refused,
    };
    blind(kind, error.to_string())
}

/// A text as it may be typed: the driver reads code points of the private use area as keys, Enter among them.
fn typed(text: &str) -> Result<String, Obstacle> {
    if text.chars().any(|c| c.is_control() || ('\u{e000}'..='\u{f8ff}').contains(&c)) {
        let why = "what is to be typed holds a control character or the code of a key";
        return Err(blind(UnknownKind::Refused, why.to_owned()));
    }
    Ok(text.to_owned())
}

/// `host:port` of a URL, as the proxy counts.
fn target(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    Some(format!("{}:{}", url.host()?, url.port_or_known_default()?))
}

/// Chromium's own name of what went wrong: `net::ERR_EMPTY_RESPONSE`.
fn net_error(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("net::ERR_")?;
    let name: String = rest.chars().take_while(|c| c.is_ascii_uppercase() || *c == '_' || c.is_ascii_digit()).collect();
    Some(format!("net::ERR_{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_holds_no_keys() {
        for fine in ["acme", "Grüße & 10 €", "a b", "😀"] {
            assert!(typed(fine).is_ok_and(|text| text == fine), "{fine}");
        }
        for hostile in ["acme\u{e007}", "\u{e009}a", "a\nb", "a\tb", "\u{f8ff}"] {
            assert!(typed(hostile).is_err(), "{hostile:?}");
        }
    }

    #[test]
    fn chromium_s_errors_keep_their_names() {
        let message = "unknown error: net::ERR_EMPTY_RESPONSE (Session info: x)";
        assert_eq!(net_error(message).as_deref(), Some("net::ERR_EMPTY_RESPONSE"));
        assert_eq!(net_error("no such element"), None);
    }
}
