//! From series to measures: one moment, or a window point by point. Pure; for the kinds that read series.

use std::collections::BTreeMap;

use crate::model::encode::{promql_string, terminal};
use crate::model::value::{Measures, Value, show_number};
use crate::net::prometheus::Series;

/// The most series that are kept by their labels.
pub const NAMED_SERIES: usize = 200;

/// What series say at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Moment {
    pub values: BTreeMap<String, f64>,
    /// Series whose value is NaN: a division by zero, or nothing to divide.
    pub not_numbers: usize,
}

impl Moment {
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub fn measures(&self) -> Measures {
        let mut measures = Measures::new();
        measures.set("series", self.values.len());
        if let (1, Some(value)) = (self.values.len(), self.values.values().next()) {
            measures.set("value", *value);
        }
        if let (Some(minimum), Some(maximum)) = extremes(self.values.values().copied()) {
            measures.set("minimum", minimum).set("maximum", maximum);
        }
        if self.values.len() <= NAMED_SERIES {
            let named = self.values.iter().map(|(labels, value)| (labels.clone(), Value::Float(*value))).collect();
            measures.set("values", Value::Map(named));
        }
        measures
    }

    /// A few lines for a reader, the largest values first.
    pub fn excerpt(&self) -> String {
        let mut rows: Vec<(&String, &f64)> = self.values.iter().collect();
        rows.sort_by(|a, b| b.1.total_cmp(a.1));
        let mut lines: Vec<String> = rows
            .iter()
            .take(5)
            .map(|(labels, value)| format!("{} {}", terminal(labels), show_number(**value)))
            .collect();
        if rows.len() > 5 {
            lines.push(format!("… {} more", rows.len() - 5));
        }
        lines.join("\n")
    }
}

fn extremes(values: impl Iterator<Item = f64>) -> (Option<f64>, Option<f64>) {
    values.fold((None, None), |(low, high): (Option<f64>, Option<f64>), value| {
        (Some(low.map_or(value, |low| low.min(value))), Some(high.map_or(value, |high| high.max(value))))
    })
}

/// The last value of each series.
pub fn moment(series: &[Series]) -> Moment {
    let names = distinct_names(series);
    let mut out = Moment::default();
    for one in series {
        if let Some(point) = one.points.last() {
            out.add(labels(one, names), point.value);
        }
    }
    out
}

/// What series say at each of the steps from `from` (seconds since 1970) on; a step without data is empty.
pub fn steps(series: &[Series], from: f64, step: f64, count: usize) -> Vec<Moment> {
    let names = distinct_names(series);
    let mut out = vec![Moment::default(); count];
    for one in series {
        let labels = labels(one, names);
        for point in &one.points {
            let index = ((point.at - from) / step).round();
            if index >= 0.0
                && let Some(moment) = out.get_mut(index as usize)
            {
                moment.add(labels.clone(), point.value);
            }
        }
    }
    out
}

/// The measures of a whole window: the last value, the extremes of all points, every series that there was.
pub fn window(steps: &[Moment]) -> Measures {
    let with_data = || steps.iter().filter(|moment| !moment.is_empty());
    let mut measures = with_data().next_back().map(Moment::measures).unwrap_or_default();
    let (minimum, maximum) = extremes(with_data().flat_map(|moment| moment.values.values().copied()));
    if let (Some(minimum), Some(maximum)) = (minimum, maximum) {
        measures.set("minimum", minimum).set("maximum", maximum);
    }
    let all: std::collections::BTreeSet<&String> = with_data().flat_map(|moment| moment.values.keys()).collect();
    measures.set("series", all.len());
    measures
}

impl Moment {
    /// Keeps a value under its labels; NaN is counted instead.
    pub fn add(&mut self, labels: String, value: f64) {
        if value.is_nan() {
            self.not_numbers += 1;
        } else {
            self.values.insert(labels, value);
        }
    }
}

fn distinct_names(series: &[Series]) -> usize {
    let names: std::collections::BTreeSet<Option<&String>> =
        series.iter().map(|series| series.labels.get("__name__")).collect();
    names.len()
}

fn labels(series: &Series, names: usize) -> String {
    let name = series.labels.get("__name__").filter(|_| names > 1).map_or("", String::as_str);
    written(name, series.labels.iter().map(|(label, value)| (label.as_str(), value.as_str())))
}

/// `{code="500",job="shop"}`, with the metric's name in front where one is given; the labels come sorted.
pub fn written<'a>(name: &str, labels: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let labels: Vec<String> = labels
        .filter(|(label, _)| *label != "__name__")
        .map(|(label, value)| format!("{label}=\"{}\"", promql_string(value)))
        .collect();
    format!("{name}{{{}}}", labels.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::prometheus::Point;

    fn series(labels: &[(&str, &str)], points: &[(f64, f64)]) -> Series {
        Series {
            labels: labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            points: points.iter().map(|(at, value)| Point { at: *at, value: *value }).collect(),
            histograms: false,
        }
    }

    #[test]
    fn one_series_has_a_value_and_several_have_none() {
        let one = moment(&[series(&[("__name__", "up"), ("job", "a\"b")], &[(1.0, 0.5)])]).measures();
        assert_eq!(one.number("value"), Some(0.5));
        assert_eq!(one.get("values").unwrap().show(100), r#"{"{job=\"a\\\"b\"}":0.5}"#);
        let two = moment(&[series(&[("a", "1")], &[(1.0, 3.0)]), series(&[("a", "2")], &[(1.0, -2.0)])]).measures();
        assert_eq!((two.get("value"), two.number("series")), (None, Some(2.0)));
        assert_eq!((two.number("minimum"), two.number("maximum")), (Some(-2.0), Some(3.0)));
        let names = moment(&[series(&[("__name__", "a")], &[(1.0, 1.0)]), series(&[("__name__", "b")], &[(1.0, 2.0)])]);
        assert_eq!(names.values.keys().collect::<Vec<_>>(), ["a{}", "b{}"]);
    }

    #[test]
    fn nan_is_no_data_and_infinity_is() {
        let both = moment(&[series(&[("a", "1")], &[(1.0, f64::NAN)]), series(&[("a", "2")], &[(1.0, f64::INFINITY)])]);
        assert_eq!((both.not_numbers, both.measures().number("value")), (1, Some(f64::INFINITY)));
        assert!(moment(&[series(&[], &[(1.0, f64::NAN)])]).is_empty());
    }

    #[test]
    fn a_window_is_cut_into_its_steps() {
        let rows = [
            series(&[("a", "1")], &[(100.0, 1.0), (115.0, 9.0), (145.0, 2.0)]),
            series(&[("a", "2")], &[(115.0, -4.0), (190.0, 7.0)]),
        ];
        let steps = steps(&rows, 100.0, 15.0, 4);
        let counts: Vec<usize> = steps.iter().map(|moment| moment.values.len()).collect();
        assert_eq!(counts, [1, 2, 0, 1]);
        let measures = window(&steps);
        assert_eq!((measures.number("value"), measures.number("series")), (Some(2.0), Some(2.0)));
        assert_eq!((measures.number("minimum"), measures.number("maximum")), (Some(-4.0), Some(9.0)));
    }

    #[test]
    fn an_excerpt_is_short_and_harmless() {
        let rows: Vec<Series> =
            (0..9).map(|n| series(&[("a", &format!("\u{1b}[2J{n}"))], &[(1.0, f64::from(n))])).collect();
        let excerpt = moment(&rows).excerpt();
        assert_eq!(excerpt.lines().count(), 6);
        assert!(excerpt.starts_with("{a=\"\\u001b[2J8\"} 8\n") && excerpt.ends_with("… 4 more"), "{excerpt}");
    }
}
