//! The PromQL that is made of selectors: what a counter grew by, what a histogram's quantiles are.

use super::Traffic;
use crate::evidence::Ask;
use crate::evidence::slots::PromqlTemplate;
use crate::model::encode;
use crate::model::observation::{Unknown, UnknownKind};

/// One measure and how it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub measure: &'static str,
    pub query: String,
}

/// The selectors with their values, of everyone or of one customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selectors {
    pub requests: String,
    pub errors: Option<String>,
    pub client_errors: Option<String>,
    pub duration: Option<String>,
}

/// The quantiles that are asked for.
const QUANTILES: [(&str, &str); 3] = [("p50_seconds", "0.5"), ("p95_seconds", "0.95"), ("p99_seconds", "0.99")];

impl Selectors {
    /// # Errors
    /// A parameter is missing, or there is no label that could tell customers apart.
    pub fn of(traffic: &Traffic, ask: &Ask) -> Result<Self, Unknown> {
        let matcher = match (&ask.customer, &traffic.customer) {
            (None, _) => None,
            (Some(customer), Some(label)) => Some(format!("{label}=\"{}\"", encode::promql_string(customer))),
            (Some(_), None) => {
                let why = "this check does not say which label names the customer";
                return Err(Unknown::new(UnknownKind::Refused, why));
            }
        };
        let fill = |template: &PromqlTemplate| {
            let text = template
                .render(&ask.params)
                .map_err(|error| Unknown::new(UnknownKind::MissingParam, error.to_string()))?;
            Ok(match &matcher {
                Some(matcher) => with_matcher(text.trim(), matcher),
                None => text.trim().to_owned(),
            })
        };
        let maybe = |template: &Option<_>| template.as_ref().map(fill).transpose();
        Ok(Selectors {
            requests: fill(&traffic.requests)?,
            errors: maybe(&traffic.errors)?,
            client_errors: maybe(&traffic.client_errors)?,
            duration: maybe(&traffic.duration)?,
        })
    }

    /// Everything that is asked of a span of so many seconds, at its end.
    pub fn over(&self, seconds: u64) -> Vec<Asked> {
        let grown = |selector: &String| format!("sum(increase({selector}[{seconds}s]))");
        let mut asked = vec![Asked { measure: "requests", query: grown(&self.requests) }];
        for (measure, selector) in [("error_ratio", &self.errors), ("client_error_ratio", &self.client_errors)] {
            asked.extend(selector.as_ref().map(|selector| Asked { measure, query: grown(selector) }));
        }
        for (measure, quantile) in QUANTILES {
            asked.extend(self.duration.as_ref().map(|selector| {
                let by = if is_classic(selector) { " by (le)" } else { "" };
                let of = format!("histogram_quantile({quantile}, sum{by} (rate({selector}[{seconds}s])))");
                let query = if is_in_milliseconds(selector) { format!("{of} / 1000") } else { of };
                Asked { measure, query }
            }));
        }
        asked
    }

    /// True where failures are counted by the same metric as all requests: one that has none yet has no series of it.
    pub fn share_a_metric(&self, of: Option<&String>) -> bool {
        of.is_some_and(|other| name(other) == name(&self.requests))
    }
}

/// The metric's name in front of the braces.
fn name(selector: &str) -> &str {
    selector.split('{').next().unwrap_or_default().trim()
}

fn is_classic(selector: &str) -> bool {
    name(selector).ends_with("_bucket")
}

fn is_in_milliseconds(selector: &str) -> bool {
    let name = name(selector);
    let name = name.strip_suffix("_bucket").unwrap_or(name);
    name.ends_with("_milliseconds") || name.ends_with("_ms")
}

/// A selector that must fit this as well.
fn with_matcher(selector: &str, matcher: &str) -> String {
    let Some((name, rest)) = selector.split_once('{') else { return format!("{selector}{{{matcher}}}") };
    let inside = rest.trim_end().strip_suffix('}').unwrap_or(rest).trim().trim_end_matches(',');
    let comma = if inside.trim().is_empty() { "" } else { "," };
    format!("{name}{{{inside}{comma}{matcher}}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_customer_is_one_more_matcher() {
        for (selector, expected) in [
            ("x", "x{c=\"a\"}"),
            ("x{}", "x{c=\"a\"}"),
            ("x {job=\"s\"}", "x {job=\"s\",c=\"a\"}"),
            ("x{job=\"s\", }", "x{job=\"s\",c=\"a\"}"),
            ("x{job=\"{},}\"}", "x{job=\"{},}\",c=\"a\"}"),
        ] {
            assert_eq!(with_matcher(selector, "c=\"a\""), expected);
        }
    }

    #[test]
    fn a_histogram_is_read_as_what_it_is() {
        let quantile = |duration: &str| {
            let (requests, duration) = ("r".to_owned(), Some(duration.to_owned()));
            let selectors = Selectors { requests, errors: None, client_errors: None, duration };
            selectors.over(900).pop().unwrap().query
        };
        for (duration, expected) in [
            ("d_seconds_bucket{a=\"b\"}", "sum by (le) (rate(d_seconds_bucket{a=\"b\"}[900s])))"),
            ("d_seconds", "sum (rate(d_seconds[900s])))"),
            ("d_milliseconds_bucket", "sum by (le) (rate(d_milliseconds_bucket[900s]))) / 1000"),
        ] {
            assert_eq!(quantile(duration), format!("histogram_quantile(0.99, {expected}"));
        }
    }
}
