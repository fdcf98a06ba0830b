//! Summaries as JSON: Atlassian's `/api/v2/summary.json` (<https://doers.statuspage.io/api/v2/summary/>) and Instatus's
//! `/summary.json` (<https://instatus.com/help/api/public-data>). Keys that aren't needed may be missing or new.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::said::{Components, Incident, Said, State};
use crate::model::encode;
use crate::model::observation::UnknownKind;

#[derive(Debug, Deserialize)]
struct Summary {
    #[serde(default)]
    page: Page,
    /// Atlassian: the whole page.
    #[serde(default)]
    status: Option<Indicator>,
    #[serde(default)]
    components: Option<Vec<Component>>,
    #[serde(default)]
    incidents: Option<Vec<Told>>,
    #[serde(default)]
    scheduled_maintenances: Vec<Told>,
    #[serde(default, rename = "activeIncidents")]
    active_incidents: Option<Vec<Told>>,
    #[serde(default, rename = "activeMaintenances")]
    active_maintenances: Vec<Told>,
}

#[derive(Debug, Default, Deserialize)]
struct Page {
    /// Instatus: the whole page.
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    updated_at: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Indicator {
    indicator: String,
}

#[derive(Debug, Deserialize)]
struct Component {
    name: String,
    /// Missing where an incident lists what it touches.
    #[serde(default)]
    status: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Told {
    name: String,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    impact: Option<String>,
    #[serde(default)]
    shortlink: Option<String>,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    components: Vec<Component>,
}

impl Told {
    fn word(&self) -> String {
        self.status.as_deref().unwrap_or_default().to_ascii_lowercase()
    }

    /// True where it names a component that is wanted, or none at all.
    fn concerns(&self, wanted: &Components) -> bool {
        self.components.is_empty() || self.components.iter().any(|component| wanted.has(&component.name))
    }
}

type Unfit = (UnknownKind, String);

/// Reads a summary.
///
/// # Errors
/// It is none of the two, has words that aren't known, or lacks a component.
pub(super) fn read(text: &str, wanted: &Components) -> Result<Said, Unfit> {
    let summary: Summary = serde_json::from_str(text).map_err(|error| {
        (UnknownKind::Unintelligible, format!("it is no summary of a status page (line {})", error.line()))
    })?;
    let overall = overall(&summary)?;
    let mut said =
        Said { touched: summary.page.updated_at.as_deref().and_then(|time| time.parse().ok()), ..Said::default() };

    if let Some(all) = &summary.components {
        let mut components: BTreeMap<String, State> = BTreeMap::new();
        for component in all {
            let word = component.status.as_deref().unwrap_or_default();
            let state = known(State::of(word), word)?;
            if wanted.has(&component.name) {
                let worst = components.entry(component.name.clone()).or_default();
                *worst = state.max(*worst);
            }
        }
        if let Some(missing) = wanted.missing_of(all.iter().map(|component| component.name.as_str())) {
            let names: Vec<&str> = all.iter().take(5).map(|component| component.name.as_str()).collect();
            let names = encode::terminal(&names.join(", "));
            return Err((UnknownKind::Incomplete, format!("no component `{missing}` on the page (but {names}, …)")));
        }
        said.state = components.values().copied().max().unwrap_or_default();
        said.components = Some(components);
    } else if !wanted.is_all() {
        return Err((UnknownKind::Incomplete, "the page lists no components".to_owned()));
    }
    if wanted.is_all() {
        said.state = said.state.max(overall.unwrap_or_default());
    }

    let incidents = summary.incidents.as_ref().or(summary.active_incidents.as_ref());
    if incidents.is_none() && overall.is_none() && said.components.is_none() {
        return Err((UnknownKind::Unintelligible, "it is no summary of a status page".to_owned()));
    }
    if let Some(all) = incidents {
        let mut open = Vec::new();
        for incident in all {
            let word = incident.word();
            if matches!(word.as_str(), "resolved" | "postmortem" | "completed") || !incident.concerns(wanted) {
                continue;
            }
            // Only Instatus says what an incident does to what it touches; Atlassian's components say it themselves.
            if summary.active_incidents.is_some()
                && let Some(impact) = &incident.impact
            {
                said.state = said.state.max(known(State::of(impact), impact)?);
            }
            let link = incident.shortlink.clone().or_else(|| incident.url.clone());
            open.push(Incident { name: incident.name.clone(), word: (!word.is_empty()).then_some(word), link });
        }
        said.incidents = Some(open);
    }
    let maintenances = summary.scheduled_maintenances.iter().chain(&summary.active_maintenances);
    said.maintenances = maintenances
        .filter(|told| matches!(told.word().as_str(), "in_progress" | "verifying" | "inprogress"))
        .filter(|told| told.concerns(wanted))
        .count();
    Ok(said)
}

/// The state of the whole page, by Atlassian's indicator or Instatus's status.
fn overall(summary: &Summary) -> Result<Option<State>, Unfit> {
    if let Some(Indicator { indicator }) = &summary.status {
        let state = match indicator.as_str() {
            "none" => Some(State::Operational),
            "maintenance" => Some(State::UnderMaintenance),
            "minor" => Some(State::DegradedPerformance),
            "major" => Some(State::PartialOutage),
            "critical" => Some(State::MajorOutage),
            _ => None,
        };
        return known(state, indicator).map(Some);
    }
    match &summary.page.status {
        Some(word) => known(State::of(word), word).map(Some),
        None => Ok(None),
    }
}

fn known(state: Option<State>, word: &str) -> Result<State, Unfit> {
    state.ok_or_else(|| {
        let word: String = word.chars().take(40).collect();
        (UnknownKind::Unintelligible, format!("`{}` is no state that we know", encode::terminal(&word)))
    })
}
