//! What binds the lines of a metrics page together: metadata once and in front, and in OpenMetrics the groups of a metric.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::line::{Keyword, Parsed, number};
use super::{Family, Format, Label, Type, Written};

/// The endings that samples of a type may have behind the metric's name (OpenMetrics 1.0, "Suffixes").
pub(super) fn suffixes(kind: Type) -> &'static [&'static str] {
    match kind {
        Type::Counter => &["_total", "_created"],
        Type::Histogram => &["_bucket", "_count", "_sum", "_created"],
        Type::GaugeHistogram => &["_bucket", "_gcount", "_gsum"],
        Type::Summary => &["", "_count", "_sum", "_created"],
        Type::Info => &["_info"],
        Type::Gauge | Type::StateSet | Type::Unknown => &[""],
    }
}

/// Why a line can't stand where it stands.
type Why = &'static str;

/// All metrics of a page so far.
pub(super) struct Families<'a> {
    format: Format,
    list: Vec<Known<'a>>,
    by_name: HashMap<&'a str, usize>,
    /// The last sample's name, its metric, and the ending behind the metric's name.
    last: Option<(&'a str, Option<usize>, &'a str)>,
    /// Text: names that had samples. OpenMetrics: names that samples of the metrics so far can have.
    taken: HashSet<std::borrow::Cow<'a, str>>,
    metric: Option<Metric>,
    /// The label sets of the current metric that are complete.
    complete: HashSet<u64>,
}

struct Known<'a> {
    family: Family<'a>,
    typed: bool,
    declared: bool,
    sampled: bool,
}

impl<'a> Families<'a> {
    pub fn new(format: Format) -> Self {
        Families {
            format,
            list: Vec::new(),
            by_name: HashMap::new(),
            last: None,
            taken: HashSet::new(),
            metric: None,
            complete: HashSet::new(),
        }
    }

    /// The metrics that have metadata.
    pub fn into_declared(self) -> Vec<Family<'a>> {
        self.list.into_iter().filter(|known| known.declared).map(|known| known.family).collect()
    }

    /// A HELP, TYPE or UNIT line.
    pub fn metadata(&mut self, keyword: Keyword, name: Written<'a>, rest: &'a str) -> Result<(), Why> {
        let kind = match keyword {
            Keyword::Type => Some(self.type_named(rest)?),
            _ => None,
        };
        let open_metrics = self.format == Format::OpenMetrics;
        let index = match self.by_name.get(name.0) {
            Some(&index) => {
                if open_metrics && index + 1 != self.list.len() {
                    return Err("the lines of one metric must stand together");
                }
                index
            }
            None => {
                if open_metrics {
                    self.settle()?;
                }
                self.add(name)
            }
        };
        let text_sampled = !open_metrics && keyword == Keyword::Type && self.taken.contains(name.0);
        let Some(known) = self.list.get_mut(index) else { return Ok(()) };
        known.declared = true;
        if text_sampled || (known.sampled && (open_metrics || keyword == Keyword::Type)) {
            return Err("metadata must stand before the metric's samples");
        }
        match keyword {
            Keyword::Help if known.family.help.is_some() => Err("a second HELP line for the same metric"),
            Keyword::Help => {
                known.family.help = Some(Written(rest));
                Ok(())
            }
            Keyword::Type if known.typed => Err("a second TYPE line for the same metric"),
            Keyword::Type => {
                known.typed = true;
                known.family.kind = kind.unwrap_or_default();
                Ok(())
            }
            Keyword::Unit if known.family.unit.is_some() => Err("a second UNIT line for the same metric"),
            Keyword::Unit => {
                let fits =
                    rest.is_empty() || name.0.strip_suffix(rest).is_some_and(|n| n.len() > 1 && n.ends_with('_'));
                known.family.unit = Some(rest);
                if fits { Ok(()) } else { Err("the metric's name must end in `_` and its unit") }
            }
        }
    }

    fn type_named(&self, word: &str) -> Result<Type, Why> {
        let open_metrics = self.format == Format::OpenMetrics;
        Ok(match word {
            "counter" => Type::Counter,
            "gauge" => Type::Gauge,
            "histogram" => Type::Histogram,
            "summary" => Type::Summary,
            "untyped" if !open_metrics => Type::Unknown,
            "unknown" if open_metrics => Type::Unknown,
            "gaugehistogram" if open_metrics => Type::GaugeHistogram,
            "info" if open_metrics => Type::Info,
            "stateset" if open_metrics => Type::StateSet,
            _ => return Err("no such type of metric"),
        })
    }

    fn add(&mut self, name: Written<'a>) -> usize {
        let family = Family { name, kind: Type::Unknown, help: None, unit: None };
        self.list.push(Known { family, typed: false, declared: false, sampled: false });
        self.by_name.insert(name.0, self.list.len() - 1);
        self.last = None;
        self.list.len() - 1
    }

    /// A line with a value.
    #[inline]
    pub fn sample(&mut self, sample: &Parsed<'a>, labels: &[Label<'a>]) -> Result<(), Why> {
        let (index, suffix) = match self.last {
            Some((name, index, suffix)) if name == sample.name.0 => (index, suffix),
            _ => {
                let (index, suffix) = match self.format {
                    Format::Text => {
                        self.taken.insert(sample.name.0.into());
                        self.find_text(sample.name.0)
                    }
                    Format::OpenMetrics => self.find_open_metrics(sample.name)?,
                };
                self.last = Some((sample.name.0, index, suffix));
                (index, suffix)
            }
        };
        let Some(known) = index.and_then(|index| self.list.get(index)) else { return Ok(()) };
        let (kind, name) = (known.family.kind, known.family.name.0);
        let bound = bound(kind, suffix, labels, self.format == Format::OpenMetrics)?;
        match self.format {
            Format::Text => Ok(()),
            Format::OpenMetrics => self.point(sample, labels, (kind, name, suffix), bound),
        }
    }

    /// The metric that a sample of the text format belongs to, if it has metadata.
    fn find_text(&mut self, name: &'a str) -> (Option<usize>, &'a str) {
        let found = self.by_name.get(name).map(|&index| (index, "")).or_else(|| {
            ["_bucket", "_count", "_sum"].into_iter().find_map(|suffix| {
                let index = *self.by_name.get(name.strip_suffix(suffix)?)?;
                suffixes(self.list.get(index)?.family.kind).contains(&suffix).then_some((index, suffix))
            })
        });
        match found {
            Some((index, suffix)) => {
                if let Some(known) = self.list.get_mut(index) {
                    known.sampled = true;
                }
                (Some(index), suffix)
            }
            None => (None, ""),
        }
    }

    fn find_open_metrics(&mut self, name: Written<'a>) -> Result<(Option<usize>, &'a str), Why> {
        if let Some(known) = self.list.last() {
            let (family, kind, sampled) = (known.family.name.0, known.family.kind, known.sampled);
            if let Some(suffix) = name.0.strip_prefix(family)
                && suffixes(kind).contains(&suffix)
            {
                if !sampled {
                    self.settle()?;
                }
                return Ok((Some(self.list.len() - 1), suffix));
            }
        }
        if let Some(&index) = self.by_name.get(name.0) {
            let last = index + 1 == self.list.len();
            return Err(if last {
                "a sample of this type needs the type's ending behind the metric's name"
            } else {
                "the lines of one metric must stand together"
            });
        }
        self.settle()?;
        let index = self.add(name);
        self.settle()?;
        Ok((Some(index), ""))
    }

    /// Closes the last metric (or its metadata): its samples' names are taken from now on.
    fn settle(&mut self) -> Result<(), Why> {
        self.close_metric()?;
        self.complete.clear();
        let Some(known) = self.list.last_mut() else { return Ok(()) };
        if known.sampled {
            return Ok(());
        }
        known.sampled = true;
        let kind = known.family.kind;
        if matches!(kind, Type::Info | Type::StateSet) && known.family.unit.is_some_and(|unit| !unit.is_empty()) {
            return Err("a metric of this type has no unit");
        }
        let name = known.family.name.0;
        for suffix in suffixes(kind) {
            let sample = if suffix.is_empty() { name.into() } else { format!("{name}{suffix}").into() };
            if !self.taken.insert(sample) {
                return Err("its samples would have the names of another metric's");
            }
        }
        Ok(())
    }

    /// `# EOF`
    pub fn finish(&mut self) -> Result<(), Why> {
        self.settle()
    }

    // ---- OpenMetrics: the points of one metric

    fn point(
        &mut self,
        sample: &Parsed<'a>,
        labels: &[Label<'a>],
        (kind, name, suffix): (Type, &str, &str),
        bound: Option<f64>,
    ) -> Result<(), Why> {
        value_fits(kind, suffix, sample.value)?;
        if kind == Type::StateSet && !labels.iter().any(|label| label.name.0 == name) {
            return Err("a state needs a label with the metric's own name");
        }
        let exemplars =
            matches!((kind, suffix), (Type::Counter, "_total") | (Type::Histogram | Type::GaugeHistogram, "_bucket"));
        if sample.exemplar.is_some() && !exemplars {
            return Err("only a counter's total and a histogram's buckets have exemplars");
        }
        let inner = match kind {
            Type::Histogram | Type::GaugeHistogram => "le",
            Type::Summary => "quantile",
            Type::StateSet => name,
            _ => "",
        };
        let (key, point) = keys(labels, inner, suffix);
        let time = sample.timestamp_ms;
        if let Some(current) = self.metric.as_mut()
            && current.key == key
        {
            match (current.time, time) {
                (None, None) => {
                    if !current.points.insert(point) {
                        return Err("the same series twice");
                    }
                }
                (Some(before), Some(now)) if now < before => return Err("a series must go forward in time"),
                (Some(before), Some(now)) if now > before => {
                    current.complete()?;
                    *current = Metric::new(kind, key, time);
                }
                (Some(_), Some(_)) => {}
                _ => return Err("either all points of a series have a timestamp or none"),
            }
            return current.add(suffix, bound, sample.value);
        }
        self.close_metric()?;
        if self.complete.contains(&key) {
            return Err("the lines of one series must stand together");
        }
        let mut metric = Metric::new(kind, key, time);
        metric.points.insert(point);
        metric.add(suffix, bound, sample.value)?;
        self.metric = Some(metric);
        Ok(())
    }

    fn close_metric(&mut self) -> Result<(), Why> {
        if let Some(metric) = self.metric.take() {
            metric.complete()?;
            self.complete.insert(metric.key);
        }
        Ok(())
    }
}

/// The upper bound of a bucket or the quantile of a summary's line; absent for all others.
fn bound(kind: Type, suffix: &str, labels: &[Label<'_>], open_metrics: bool) -> Result<Option<f64>, Why> {
    let (label, missing) = match (kind, suffix) {
        (Type::Histogram | Type::GaugeHistogram, "_bucket") => ("le", "a bucket without its `le` label"),
        (Type::Summary, "") => ("quantile", "a summary's line without its `quantile` label"),
        _ => return Ok(None),
    };
    let written = labels.iter().find(|l| l.name.0 == label).ok_or(missing)?.value.0;
    let value = number(written).map_err(|_| "`le` and `quantile` must be numbers")?;
    if value.is_nan() {
        return Err("`le` and `quantile` must be numbers");
    }
    if open_metrics && value == f64::INFINITY && written != "+Inf" {
        return Err("the last bucket is written `+Inf`");
    }
    if label == "quantile" && !(0.0..=1.0).contains(&value) {
        return Err("a quantile lies between 0 and 1");
    }
    Ok(Some(value))
}

fn value_fits(kind: Type, suffix: &str, value: f64) -> Result<(), Why> {
    let negative_or_nan = value.is_nan() || value < 0.0;
    match (kind, suffix) {
        (Type::Counter, "_total")
        | (Type::Histogram | Type::GaugeHistogram, "_bucket")
        | (Type::Histogram | Type::Summary, "_count" | "_sum")
        | (Type::GaugeHistogram, "_gcount")
            if negative_or_nan =>
        {
            Err("a count can't be negative or NaN")
        }
        (Type::GaugeHistogram, "_gsum") if value.is_nan() => Err("a sum can't be NaN"),
        (Type::Summary, "") if value < 0.0 => Err("a summary's quantile can't be negative"),
        (Type::Info, _) if value != 1.0 => Err("the value of an info must be 1"),
        (Type::StateSet, _) if value != 0.0 && value != 1.0 => Err("the value of a state must be 0 or 1"),
        _ => Ok(()),
    }
}

/// One hash for the series (its labels in any order, without the inner one), one for the point within it.
fn keys(labels: &[Label<'_>], inner: &str, suffix: &str) -> (u64, u64) {
    let hash = |parts: (&str, &str)| {
        let mut hasher = DefaultHasher::new();
        parts.hash(&mut hasher);
        hasher.finish()
    };
    let mut key = 0_u64;
    let mut point = hash((suffix, ""));
    for label in labels.iter().filter(|label| !label.value.0.is_empty()) {
        let pair = hash((label.name.0, label.value.0));
        if label.name.0 == inner {
            point = point.wrapping_add(pair);
        } else {
            key = key.wrapping_add(pair);
        }
    }
    (key, point)
}

/// The points of one series at one time.
struct Metric {
    kind: Type,
    key: u64,
    time: Option<i64>,
    points: HashSet<u64>,
    last_bucket: Option<(f64, f64)>,
    negative_buckets: bool,
    count: Option<f64>,
    sum: Option<f64>,
}

impl Metric {
    fn new(kind: Type, key: u64, time: Option<i64>) -> Self {
        Metric {
            kind,
            key,
            time,
            points: HashSet::new(),
            last_bucket: None,
            negative_buckets: false,
            count: None,
            sum: None,
        }
    }

    fn add(&mut self, suffix: &str, bound: Option<f64>, value: f64) -> Result<(), Why> {
        match (suffix, bound) {
            ("_bucket", Some(bound)) => {
                if let Some((before, count)) = self.last_bucket {
                    if bound <= before {
                        return Err("buckets must ascend");
                    }
                    if value < count {
                        return Err("a bucket counts what the ones before it count as well");
                    }
                }
                self.last_bucket = Some((bound, value));
                self.negative_buckets |= bound < 0.0;
            }
            ("_count" | "_gcount", _) => self.count = Some(value),
            ("_sum" | "_gsum", _) => self.sum = Some(value),
            _ => {}
        }
        Ok(())
    }

    fn complete(&self) -> Result<(), Why> {
        if !matches!(self.kind, Type::Histogram | Type::GaugeHistogram) {
            return Ok(());
        }
        let Some((_, total)) = self.last_bucket.filter(|(bound, _)| *bound == f64::INFINITY) else {
            return Err("the histogram above has no bucket `+Inf`");
        };
        if self.count.is_some() != self.sum.is_some() {
            return Err("the histogram above has only one of count and sum");
        }
        if self.count.is_some_and(|count| count != total) {
            return Err("the histogram above has a count that isn't its bucket `+Inf`");
        }
        match self.sum {
            Some(_) if self.kind == Type::Histogram && self.negative_buckets => {
                Err("the histogram above has negative buckets and so can't have a sum")
            }
            Some(sum) if sum < 0.0 && !self.negative_buckets => {
                Err("the histogram above has a negative sum without negative buckets")
            }
            _ => Ok(()),
        }
    }
}
