//! An exporter's answer to `/probe`: what its metrics say of the probe.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::days_until;
use crate::evidence::series::{NAMED_SERIES, written};
use crate::model::encode;
use crate::model::observation::{Unknown, UnknownKind};
use crate::model::value::{Measures, Value};
use crate::net::exposition::{self, Exposition, Format, Limits, Sample, What};
use crate::net::http::Response;

/// What a page says.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) success: bool,
    pub(super) measures: Measures,
}

/// Reads a page strictly.
///
/// # Errors
/// Why it can't be used.
pub(super) fn read(response: &Response, system: &str, now: Timestamp) -> Result<Page, Unknown> {
    let unfit = |kind, why: String| Unknown::new(kind, format!("{system}: {why}"));
    if let Some(coding) = &response.unread_coding {
        let coding = encode::terminal(coding);
        return Err(unfit(UnknownKind::Unintelligible, format!("its page has the coding `{coding}`")));
    }
    let content_type = response.headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let format = Format::of_content_type(content_type)
        .map_err(|why| unfit(UnknownKind::Unintelligible, encode::terminal(&why)))?;
    if response.truncated {
        return Err(unfit(UnknownKind::Incomplete, "its page is larger than we read".to_owned()));
    }
    let page = exposition::read(&response.body, format, Limits::default()).map_err(|fault| {
        let kind = match fault.what {
            What::TooMuch { .. } => UnknownKind::Incomplete,
            _ => UnknownKind::Unintelligible,
        };
        unfit(kind, format!("its page, {}", encode::terminal(&fault.to_string())))
    })?;
    weigh(&page, now).map_err(|(kind, why)| unfit(kind, why))
}

fn weigh(page: &Exposition<'_>, now: Timestamp) -> Result<Page, (UnknownKind, String)> {
    let success = match one(page, "probe_success")? {
        Some(1.0) => true,
        Some(0.0) => false,
        Some(other) => {
            return Err((UnknownKind::Unintelligible, format!("its `probe_success` is {other}, neither 0 nor 1")));
        }
        None => {
            let why = "no `probe_success` on its page: is it a blackbox_exporter?";
            return Err((UnknownKind::Unintelligible, why.to_owned()));
        }
    };
    let mut measures = Measures::new();
    measures.set("success", success);
    for (measure, metric) in
        [("duration_seconds", "probe_duration_seconds"), ("resolve_seconds", "probe_dns_lookup_time_seconds")]
    {
        if let Some(seconds) = one(page, metric)?.filter(|seconds| seconds.is_finite() && *seconds >= 0.0) {
            measures.set(measure, seconds);
        }
    }
    // 0 stands for "no answer".
    if let Some(status) = one(page, "probe_http_status_code")?.filter(|status| (100.0..1_000.0).contains(status)) {
        measures.set("status", status as u16);
    }
    let expiry = one(page, "probe_ssl_earliest_cert_expiry")?;
    if let Some(expiry) = expiry.filter(|seconds| seconds.is_finite() && *seconds > 0.0) {
        measures.set("certificate_expiry_days", days_until(expiry, now));
    }
    let phases: BTreeMap<String, Value> = page
        .samples
        .iter()
        .filter(|sample| sample.name.text().ends_with("_duration_seconds") && sample.value.is_finite())
        .filter_map(|sample| Some((page.label(sample, "phase")?.into_owned(), Value::Float(sample.value))))
        .take(NAMED_SERIES)
        .collect();
    if !phases.is_empty() {
        measures.set("phases", Value::Map(phases));
    }
    if page.samples.len() <= NAMED_SERIES {
        let numbers = page.samples.iter().filter(|sample| !sample.value.is_nan());
        let values = numbers.map(|sample| (named(page, sample), Value::Float(sample.value))).collect();
        measures.set("values", Value::Map(values));
    }
    Ok(Page { success, measures })
}

/// The one sample of this name.
fn one(page: &Exposition<'_>, name: &str) -> Result<Option<f64>, (UnknownKind, String)> {
    let mut found = page.samples.iter().filter(|sample| sample.name.is(name));
    let first = found.next();
    match found.next() {
        Some(again) => Err((UnknownKind::Unintelligible, format!("line {}: `{name}` for the second time", again.line))),
        None => Ok(first.map(|sample| sample.value)),
    }
}

fn named(page: &Exposition<'_>, sample: &Sample<'_>) -> String {
    let labels: BTreeMap<_, _> = page.labels(sample).iter().map(|l| (l.name.text(), l.value.text())).collect();
    written(&sample.name.text(), labels.iter().map(|(name, value)| (&**name, &**value)))
}
