//! `access_log`: what the customers' requests did in the window, from the access log of a web server.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::evidence::endpoint::AbsentMeans;
use crate::evidence::log_source::{self, LogSource, Opened, Question, TimeConfig, Unfit, show_time};
use crate::evidence::{Ask, Key, Kind, Looking, Probe, Sees};
use crate::files::scan::{Coverage, scan};
use crate::files::timestamp::{micros, timestamp};
use crate::model::look::Look;
use crate::model::measure::{Measure, Type};
use crate::model::observation::{Observation, Unknown, UnknownKind};
use crate::model::value::Measures;
use crate::model::window::Window;
use crate::yaml::Spanned;

mod columns;
mod custom;
mod json;
mod proxies;
mod request;
mod tally;
#[cfg(test)]
mod tests;

use columns::Columns;
use custom::Custom;
use json::{FieldsConfig, Names};
use request::Form;
use tally::{PathRule, Rules, Tally, Whose};

/// A log of which more than this share can't be read says so; of which more than half, nothing.
const UNPARSED: f64 = 0.01;

/// The kind.
pub static KIND: Kind = Kind {
    name: "access_log",
    look: Look::Traffic,
    summary: "rate, errors and latency of requests from a web server's access log",
    docs:
        "Reads the part of the files that lies in the window, as `log_file` does, and counts the requests: how many, \
how many ended in 5xx (`error_ratio`) or 4xx (`client_error_ratio`, never bad by itself), how long they took.

Common and combined logs are read as they are, with a virtual host before them and a request time behind them (the \
first number with a point, `rt=`, or Traefik's last word); so are JSON logs of Caddy, Traefik, Envoy and nginx, the \
text logs of HAProxy (HTTP), Envoy and Istio (their default format) and AWS load balancers (application and classic), \
and W3C extended logs as IIS and CloudFront write them: their columns are those that the newest file's last `#Fields:` \
line in its first 64 KiB names, a line with another number of columns is not read, and their `time-taken` is \
milliseconds where it is a whole number. Any other log is described by `format`, as the server's own configuration writes it (`$remote_addr … $request_time`, `%h … %D`). A duration \
that is a bare whole number is not guessed at: say its unit with `fields` or `format`. Without durations the \
quantiles are absent. Houston's own requests are left out.

Unknown are: a window without a request (unless `absent_means: { healthy: true, because: … }`), a window that wasn't \
read whole, and a log of which more than half can't be read.

With `customer`, a ticket that names a customer is answered for that customer's requests alone as well, so that \
\"only you\" can be said.",
    keys: &[
        Key {
            name: "paths",
            takes: "list of paths, wildcards allowed",
            default: None,
            meaning: "the files; their rotations are found by themselves",
        },
        Key {
            name: "format",
            takes: "auto, combined, json, w3c, haproxy, alb, envoy, or a format string",
            default: Some("auto"),
            meaning: "how lines are written; a format string is nginx's log_format, Apache's LogFormat, or the `#Fields:` line of a W3C extended log",
        },
        Key {
            name: "fields",
            takes: "{ status, path, bytes, duration, duration_unit }",
            default: Some("the usual names"),
            meaning: "names of a JSON log's fields, with dots between; the unit is seconds, milliseconds, microseconds or nanoseconds",
        },
        Key {
            name: "customer",
            takes: "{ path_segment }, { query } or { field }",
            default: Some("none"),
            meaning: "where a request says whose it is: a segment of its path (from 1), a value of its query, a field of the line (remote_user, remote_addr, http_x_tenant, a JSON field)",
        },
        Key {
            name: "path",
            takes: "prefix or regular expression",
            default: Some("every path"),
            meaning: "only requests of these paths; a text that begins with `/` and has none of `*?[(|^$+{\\` is a prefix",
        },
        Key {
            name: "timestamp",
            takes: "{ field, zone }",
            default: Some("found by themselves, UTC"),
            meaning: "the JSON field that holds the time, and the zone of times that don't say theirs",
        },
        Key {
            name: "absent_means",
            takes: "{ healthy: true, because }",
            default: Some("unknown"),
            meaning: "that a window without any request is no reason to worry, and why",
        },
    ],
    measures: &[
        Measure { name: "requests", kind: Type::Number, unit: "count", meaning: "requests in the window" },
        Measure {
            name: "requests_per_second",
            kind: Type::Number,
            unit: "per second",
            meaning: "requests per second of the window",
        },
        Measure {
            name: "error_ratio",
            kind: Type::Number,
            unit: "ratio 0–1",
            meaning: "share of the requests that were answered with 5xx",
        },
        Measure {
            name: "client_error_ratio",
            kind: Type::Number,
            unit: "ratio 0–1",
            meaning: "share of the requests that were answered with 4xx",
        },
        Measure {
            name: "p50_seconds",
            kind: Type::Number,
            unit: "seconds",
            meaning: "half of the requests took at most this long",
        },
        Measure {
            name: "p95_seconds",
            kind: Type::Number,
            unit: "seconds",
            meaning: "95 % of the requests took at most this long",
        },
        Measure {
            name: "p99_seconds",
            kind: Type::Number,
            unit: "seconds",
            meaning: "99 % of the requests took at most this long",
        },
        Measure {
            name: "bytes_per_second",
            kind: Type::Number,
            unit: "bytes per second",
            meaning: "bytes sent per second of the window",
        },
        Measure {
            name: "last_line_age_seconds",
            kind: Type::Number,
            unit: "seconds",
            meaning: "how long ago the log's last line was written, whatever the window",
        },
    ],
    default_expect: &["usual(requests_per_second)", "usual(error_ratio)"],
    headline: &["requests_per_second", "error_ratio"],
    sees: Sees::Past,
    attempts: 1,
    example: "traffic/access-log.yaml",
    example_text: include_str!("../../../checks.d/traffic/access-log.yaml"),
    read: |node| {
        let config: Config = node.read()?;
        let absent = config.absent_means.clone().map(AbsentMeans::because).transpose()?.flatten();
        Ok(Arc::new(AccessLog::new(config, absent).map_err(|unfit| unfit.at(node))?))
    },
    schema: |generator| generator.subschema_for::<Config>(),
};

/// What a check declares.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AccessLog")]
pub struct Config {
    /// The files, wildcards allowed; their rotations are found by themselves.
    pub paths: Vec<String>,
    /// `auto`, `combined`, `json`, `w3c`, `haproxy`, `alb`, `envoy`, or a format string of nginx or Apache.
    pub format: Option<String>,
    pub fields: Option<FieldsConfig>,
    pub customer: Option<CustomerConfig>,
    /// A prefix or a regular expression.
    pub path: Option<String>,
    pub timestamp: Option<TimeConfig>,
    pub absent_means: Option<Spanned<AbsentMeans>>,
}

/// Where a request says whose it is; one of the three.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AccessLogCustomer")]
pub struct CustomerConfig {
    /// The segment of the path with this number, from 1.
    pub path_segment: Option<u8>,
    /// A value of the query.
    pub query: Option<String>,
    /// A field of the line.
    pub field: Option<String>,
}

/// Reads access logs.
#[derive(Debug, Clone)]
pub struct AccessLog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: LogSource,
    form: Form,
    path: Option<PathRule>,
    customer: Option<Whose>,
}

impl AccessLog {
    /// `absent`: why an empty window is healthy, where it is.
    ///
    /// # Errors
    /// Says which key has a value that can't be used.
    pub fn new(config: Config, absent: Option<String>) -> Result<Self, Unfit> {
        let source = LogSource::new(&config.paths, config.timestamp.as_ref(), absent)?;
        let names = Names::new(config.fields.as_ref());
        let form = match config.format.as_deref() {
            None | Some("auto") => Form::Auto(names),
            Some("combined" | "common") => Form::Combined,
            Some("json") => Form::Json(names),
            Some("haproxy") => Form::Haproxy,
            Some("alb") => Form::Alb,
            Some("envoy") => Form::Envoy,
            Some("w3c") => Form::W3c(None, names),
            Some(fields) if fields.starts_with("#Fields:") => {
                let columns = Columns::parse(fields.trim_end().as_bytes())
                    .ok_or_else(|| Unfit::new("format", "this `#Fields:` line names no sc-status"))?;
                Form::W3c(Some(columns), names)
            }
            Some(format) if format.contains(['$', '%']) => {
                Form::Custom(Custom::parse(format).map_err(|why| Unfit::new("format", why))?)
            }
            Some(other) => {
                let known = "auto, combined, json, w3c, haproxy, alb, envoy, or a format string of nginx or Apache";
                return Err(Unfit::new("format", format!("unknown format `{other}` ({known})")));
            }
        };
        let customer = match config.customer {
            None => None,
            Some(CustomerConfig { path_segment: Some(number @ 1..), query: None, field: None }) => {
                Some(Whose::PathSegment(usize::from(number)))
            }
            Some(CustomerConfig { path_segment: None, query: Some(name), field: None }) if !name.is_empty() => {
                Some(Whose::Query(name))
            }
            Some(CustomerConfig { path_segment: None, query: None, field: Some(field) }) if !field.is_empty() => {
                Some(Whose::Field(field.split('.').map(str::to_owned).collect()))
            }
            Some(_) => {
                let why = "`customer` takes one of `path_segment` (from 1), `query` and `field`";
                return Err(Unfit::new("customer", why));
            }
        };
        let path = match config.path {
            None => None,
            Some(prefix)
                if prefix.starts_with('/') && !prefix.contains(['*', '?', '[', '(', '|', '^', '$', '+', '{', '\\']) =>
            {
                Some(PathRule::Prefix(prefix))
            }
            Some(text) => Some(PathRule::Pattern(log_source::pattern("path", &text)?)),
        };
        Ok(AccessLog(Arc::new(Inner { source, form, path, customer })))
    }

    /// Answers a question, blocking.
    pub fn look(&self, question: &Question) -> Observation {
        self.0.look(question)
    }
}

impl Probe for AccessLog {
    fn observe<'a>(&'a self, ask: &'a Ask) -> Looking<'a> {
        Box::pin(async move {
            let probe = self.clone();
            log_source::run(ask, move |question| probe.look(&question)).await
        })
    }

    fn system(&self) -> String {
        self.0.source.system()
    }

    fn splits_by_customer(&self) -> bool {
        self.0.customer.is_some()
    }
}

/// What one reading of the files yields.
struct Seen {
    coverage: Coverage,
    tally: Tally,
    past: Vec<Measures>,
}

impl Inner {
    fn look(&self, question: &Question) -> Observation {
        if question.customer.is_some() && self.customer.is_none() {
            return Observation::blind(
                UnknownKind::Refused,
                "this check does not say where a request names its customer",
            );
        }
        let (seen, opened, moved) =
            log_source::read(&self.source, question, question.earliest_past(), |opened| self.read(question, opened));
        self.tell(question, &opened, seen, moved)
    }

    fn read(&self, question: &Question, opened: &Opened) -> Seen {
        let form = self.form.with_heads(opened.snapshot.members.iter().map(|member| member.head()));
        let rules = Rules {
            form: &form,
            path: self.path.as_ref(),
            customer: self.customer.as_ref().zip(question.customer.as_deref()),
        };
        let Opened { snapshot, clock, gate } = opened;
        let count = |window: Window| {
            let mut tally = Tally::default();
            let coverage = scan(snapshot, window, None, clock, gate, |entry| tally.add(&entry, &rules));
            (coverage, tally)
        };
        let (coverage, tally) = count(question.window);
        let mut past = Vec::new();
        for window in question.past() {
            if gate.halted().is_some() {
                break;
            }
            if !snapshot.reaches(micros(window.from), micros(question.window.from)) {
                continue;
            }
            let (coverage, tally) = count(window);
            // A span without a line may be one in which nothing was written down: no sample.
            if coverage.incomplete.is_empty() && coverage.lines > 0 && tally.unparsed_share(coverage.lines) <= UNPARSED
            {
                past.push(tally.measures(window));
            }
        }
        Seen { coverage, tally, past }
    }

    fn tell(&self, question: &Question, opened: &Opened, seen: Seen, moved: Option<String>) -> Observation {
        let Seen { coverage, tally, past } = seen;
        let last = opened.snapshot.last(&opened.clock, &opened.gate).map(|(at, _)| at);
        let mut notes = log_source::notes(question, opened, &coverage);
        let readable = coverage.lines.saturating_sub(tally.unparsed);
        let unparsed = tally.unparsed_share(readable);
        if unparsed > UNPARSED {
            notes.push(format!("{:.1} % of the lines are no request that can be read", unparsed * 100.0));
        }
        let blindness = log_source::blindness(question, opened, &coverage, moved).or_else(|| {
            (unparsed > 0.5).then(|| {
                let why = format!("{} of {} lines are no request that can be read", tally.unparsed, coverage.lines);
                Unknown::new(UnknownKind::Unintelligible, why)
            })
        });
        let absent = self.source.absent().filter(|_| tally.requests == 0 && blindness.is_none());
        let mut measures =
            if tally.requests > 0 || absent.is_some() { tally.measures(question.window) } else { Measures::new() };
        if let Some(last) = last {
            measures.set("last_line_age_seconds", (micros(question.now) - last).max(0) as f64 / 1e6);
        }
        if let Some(because) = absent {
            notes.push(format!("no request in the window, which is healthy here: {because}"));
        }
        let mut observation = Observation::answered(measures).window(question.window);
        for name in &question.usual {
            observation.past.insert(name.clone(), past.iter().filter_map(|past| past.number(name)).collect());
        }
        observation.notes = notes;
        observation.data_until = last.map(timestamp);
        observation.reproduce = Some(format!(
            "cat {} # the lines of {} to {}",
            self.source.shell_paths(),
            show_time(micros(question.window.from)),
            show_time(micros(question.window.to))
        ));
        match blindness {
            Some(unknown) => log_source::blind(observation, unknown),
            None if tally.requests == 0 && absent.is_none() => {
                let what = if question.customer.is_some() { "request of the ticket's customer" } else { "request" };
                log_source::blind(observation, log_source::empty(question, what, last))
            }
            None => observation,
        }
    }
}
