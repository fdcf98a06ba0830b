//! The `journey` kind: a customer's use case, tried step by step over HTTP, with what each step must answer.

use std::sync::Arc;

use crate::evidence::message;
use crate::evidence::{Ask, Key, Kind, Looking, Probe, Sees};
use crate::model::look::Look;
use crate::model::measure::{Measure, Type};
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::yaml::Node;

mod answer;
mod cookies;
mod deadlines;
mod find;
mod hold;
mod keys;
mod read;
mod run;
mod send;
mod show;
mod step;

use step::Step;

/// The kind's entry in the registry.
pub static KIND: Kind = Kind {
    name: "journey",
    look: Look::UseCase,
    summary: "a use case, tried step by step over HTTP",
    docs: "\
Takes the steps in order, with the cookies that the steps before them were given (kept for the host that set them, at
most 50, forgotten after the run). A step is one request and what must hold of its answer; its expectations see what the
`http` kind measures (`json` breaks what needs it where the body isn't JSON), the check's parameters that some step
uses, and what earlier steps captured. Without `expect` a step wants 2xx. At least one step must look at what was answered (`body`, `json`,
`headers`): a page that says \"sorry\" with status 200 is the commonest way in which a use case fails.

Bad: a step's expectation is broken, a value to be captured isn't there, or the service refuses, resets, fails TLS or
stays silent. Unknown: a guard of ours forbids the address, a secret can't be had, an answer is longer than 1 MiB, or
the check's time was used up by the steps before. The steps after a failed one are not taken, but for those with
`always: true`: they clean up, in a slice of the check's timeout that is kept for them (a fifth, at most 2 s); when such
a step fails it is noted, and isn't bad.

The steps of one run share their connections, as a browser's requests do: one is used again for the same host, port and
`tls`, within 5 s, where the answer before was read to its end and the server doesn't close it. Such a step's
`resolve_seconds` and `connect_seconds` are 0, over https `tls_seconds`, too; where a connection must be timed, that is
the `http` kind's. An attempt after one that failed (`retry`), and every run, begins with connections of its own. One that
the server had closed meanwhile is no failure: a request that was not sent, or whose method may be repeated (all but POST
and PATCH), goes over a fresh one.

A step that waits for something (`poll`) is bad where it hasn't come about `within` that time, and unknown where the
check's own time was over before.

What `tls` says holds for the later steps to the same host and port, too, unless they say something of their own.

Redirects are followed (10, as for `http`), never from https to http. Once one has led to another origin, none of the
step's headers, credentials and cookies are sent any more, nor is its body.

`{{ name }}` stands for a parameter or a capture: as a part of a URL's path behind its first character, as a query's
value, in the values of headers, `json`, `form` and `body`. Nothing that a ticket or a service says can choose a host.

Declare `attempts: 3` and `control: synthetic`, so that a failure that is the customer's alone can be proof.",
    keys: &[
        key("get", "URL", Some("one method is required"), "asks for it"),
        key("head", "URL", Some("one method is required"), "asks for its headers"),
        key("post", "URL", Some("one method is required"), "sends to it"),
        key("put", "URL", Some("one method is required"), "replaces it"),
        key("patch", "URL", Some("one method is required"), "changes it"),
        key("delete", "URL", Some("one method is required"), "deletes it"),
        key("name", "text", Some("method and path"), "what the step is called in findings"),
        message::keys::HEADERS,
        message::keys::BODY,
        message::keys::BEARER,
        message::keys::BASIC,
        message::keys::DIGEST,
        message::keys::TLS,
        key(
            "expect",
            "list of CEL",
            Some("status is 2xx"),
            "what must hold of the answer; { that, else: odd, note } as in a check, and with jsonpath, header or regex \
             of what is looked for, as `found` (null, a value, a list of several) and `found_count`; without `that` it \
             must be there",
        ),
        key(
            "capture",
            "map of name to CEL, or to { jsonpath }, { header }, { regex }",
            Some("none"),
            "values for the steps after it; one that isn't there is bad. A regex takes its first group, of the body \
             or of what a jsonpath or header beside it finds",
        ),
        key("always", "true or false", Some("false"), "taken whatever happened before: clean-up"),
        key(
            "retry",
            "{ attempts: 1 to 5, delay: duration }",
            Some("1 attempt, 1s"),
            "asks again until the expectations hold",
        ),
        key(
            "poll",
            "{ until: CEL, every: duration, within: duration }",
            Some("none; every 1s"),
            "asks again until that holds of the answer, and only then holds the expectations against it",
        ),
        key("timeout", "duration", Some("what is left of the check's"), "for this step, its redirects included"),
        message::keys::REDIRECTS,
    ],
    measures: &[
        Measure { name: "steps", kind: Type::Number, unit: "count", meaning: "steps that passed" },
        Measure {
            name: "failed_step",
            kind: Type::Text,
            unit: "text",
            meaning: "name of the step that failed, or its number; absent where none did",
        },
        Measure {
            name: "status",
            kind: Type::Number,
            unit: "HTTP status",
            meaning: "of the step that failed; absent where none did",
        },
        Measure {
            name: "duration_seconds",
            kind: Type::Number,
            unit: "seconds",
            meaning: "all steps together, without clean-up",
        },
        Measure {
            name: "step",
            kind: Type::List,
            unit: "list",
            meaning: "each step that was taken: name, status, duration_seconds, attempts",
        },
    ],
    default_expect: &[],
    headline: &["duration_seconds", "steps", "failed_step", "status"],
    sees: Sees::Now,
    attempts: 1,
    example: "use_case/journey.yaml",
    example_text: include_str!("../../../../checks.d/use_case/journey.yaml"),
    read,
    schema: |generator| generator.subschema_for::<Vec<keys::Keys>>(),
};

const fn key(name: &'static str, takes: &'static str, default: Option<&'static str>, meaning: &'static str) -> Key {
    Key { name, takes, default, meaning }
}

fn read(node: &Node) -> Result<Arc<dyn Probe>, Diagnostic> {
    Ok(Arc::new(Journey { steps: read::steps(node)? }))
}

/// A journey as it was read.
#[derive(Debug)]
struct Journey {
    /// At least one, and at least one that isn't clean-up.
    steps: Vec<Step>,
}

impl Probe for Journey {
    fn observe<'a>(&'a self, ask: &'a Ask) -> Looking<'a> {
        Box::pin(run::run(&self.steps, ask))
    }

    fn system(&self) -> String {
        self.steps.first().map(|step| step.message.url.host_and_port()).unwrap_or_default()
    }

    fn params(&self) -> Vec<String> {
        let captured = |name: &String| self.steps.iter().any(|step| step.capture.iter().any(|c| c.name == *name));
        let mut names: Vec<String> = Vec::new();
        for name in self.steps.iter().flat_map(|step| step.message.params()) {
            if !captured(&name) && !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    fn secrets(&self) -> Vec<SecretRef> {
        let mut secrets: Vec<SecretRef> = Vec::new();
        for secret in self.steps.iter().flat_map(|step| step.message.secrets()) {
            if !secrets.contains(&secret) {
                secrets.push(secret);
            }
        }
        secrets
    }

    fn own_expectations(&self) -> usize {
        self.steps.iter().map(|step| step.expect.len().max(1) + step.capture.len()).sum()
    }
}

#[cfg(test)]
mod tests;
