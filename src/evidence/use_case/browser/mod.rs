//! The `browser` kind: a customer's use case, tried in a real Chromium, with what the page must show.

use std::sync::Arc;

use serde::Deserialize;

use crate::evidence::{Ask, Key, Kind, Looking, Probe, Sees};
use crate::model::look::Look;
use crate::model::measure::{Measure, Type};
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::yaml::{Node, Spanned};

mod page;
mod patience;
mod picture;
mod read;
mod run;
mod step;
mod take;

use step::{Act, Step};

/// The window, where the check names no other.
const WINDOW: (u32, u32) = (1280, 800);

/// The kind's entry in the registry.
pub static KIND: Kind = Kind {
    name: "browser",
    look: Look::UseCase,
    summary: "a use case, tried step by step in a real Chromium",
    docs: "\
Starts a Chromium of its own by chromedriver, with a fresh profile that goes with it, and takes the steps in order. Each
does one thing, and waits until it can be done (the element is there, visible, enabled, and nothing lies over it) and
until its expectations hold, 10 s at the most (`timeout`). Elements are CSS selectors, or `text=Pay now`: the element
that shows exactly this text, or is called so. Expectations are CEL over what the page shows now: `status` of its
document, `url`, `title`, `text` (what a reader sees of it), `element` (what `see` found: its text, or what is filled in),
`duration_seconds` of the step, and the parameters that some step uses. `go` wants a status below 400 where its `expect`
says nothing of `status`. Dialogs that no step answers are dismissed and noted. At least one step must look at what is shown.

Bad: an element or an expectation doesn't come within the step's time, or the service refuses, resets, fails TLS. The
excerpt is the page's text, and a screenshot (PNG, 1 MiB at most; the newest 100, for 14 days) is kept as a file that the
finding names. Unknown: no chromedriver or Chromium (Debian's packages chromium-driver and chromium), a guard of ours
forbids an address that the page wanted and a step failed then, the browser crashed or took more than 1.5 GiB, the
check's time was used up. The steps after a failed one are not taken, but for those with `always: true`, as with
`journey`.

Everything that the browser connects to, the loopback included, goes through a proxy of ours that judges each address
as for the `http` kind: 256 MiB at most, no QUIC, no WebRTC past it, no downloads, no traffic of the browser's own. At its
deadline it is killed with all its processes; two run at once, others wait.

Chromium doesn't run its sandbox as root: there the kind is unknown, unless the check says `sandbox: false`. Without the
sandbox a page that breaks out of the browser has Houston's own rights, so that is for pages of your own; better run
Houston as a user of its own, as its service does. While it runs, other users of this host could find the driver's port.

`{{ name }}` stands for a parameter: in a URL's path and its query's values, in `with` and `option`; never in a selector.
A secret that was filled in is shown nowhere: its field is hidden in the screenshot, and where the page repeats it there
is none. Frames, further windows, files to upload and captures are not there.",
    keys: &[
        key("steps", "list of steps", None, "what is done, in order; the keys below but the last three are a step's"),
        key("go", "URL", Some("one act a step"), "opens a page"),
        key("fill", "selector", Some("one act a step"), "empties a field and types `with`"),
        key("with", "text or secret", Some("required with fill"), "what is typed; line breaks and key codes are refused"),
        key("click", "selector", Some("one act a step"), "clicks an element"),
        key("select", "selector", Some("one act a step"), "chooses `option` of a `<select>`"),
        key("option", "text", Some("required with select"), "the option's text or value"),
        key("press", "key", Some("one act a step"), "presses Enter, Tab, Escape, Space, ArrowDown, PageDown …"),
        key("on", "selector", Some("what has the focus"), "the element that gets the key"),
        key("see", "selector", Some("one act a step"), "waits until an element is visible"),
        key("gone", "selector", Some("one act a step"), "waits until no such element is visible"),
        key("dialog", "accept or dismiss", Some("one act a step"), "waits for a dialog of the page and answers it"),
        key("name", "text", Some("the act as written"), "what the step is called in findings"),
        key(
            "expect",
            "list of CEL",
            Some("none"),
            "what must come to hold of the page; { that, else: odd, note } as in a check",
        ),
        key("always", "true or false", Some("false"), "taken whatever happened before: clean-up"),
        key("timeout", "duration", Some("10s"), "for this step"),
        key("window", "WIDTHxHEIGHT", Some("1280x800"), "the size of the window in pixels"),
        key("insecure", "true or false", Some("false"), "takes any certificate"),
        key("sandbox", "true or false", Some("true"), "false: as root, and only for pages of your own"),
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
            meaning: "of the page at which a step failed; absent where none did",
        },
        Measure {
            name: "duration_seconds",
            kind: Type::Number,
            unit: "seconds",
            meaning: "all steps together, without the browser's start and clean-up",
        },
        Measure {
            name: "step",
            kind: Type::List,
            unit: "list",
            meaning: "each step that was taken: name, duration_seconds",
        },
    ],
    default_expect: &[],
    headline: &["duration_seconds", "steps", "failed_step", "status"],
    sees: Sees::Now,
    attempts: 1,
    example: "use_case/browser.yaml",
    example_text: include_str!("../../../../checks.d/use_case/browser.yaml"),
    read,
    schema: |generator| generator.subschema_for::<Config>(),
};

/// What a step's expectations see.
const STEP_MEASURES: &[Measure] = &[
    Measure { name: "status", kind: Type::Number, unit: "HTTP status", meaning: "of the page's document" },
    Measure { name: "url", kind: Type::Text, unit: "text", meaning: "where the page is" },
    Measure { name: "title", kind: Type::Text, unit: "text", meaning: "its title" },
    Measure { name: "text", kind: Type::Text, unit: "text", meaning: "what a reader sees of it" },
    Measure { name: "element", kind: Type::Text, unit: "text", meaning: "what `see` found" },
    Measure { name: "duration_seconds", kind: Type::Number, unit: "seconds", meaning: "since the step began" },
];

const fn key(name: &'static str, takes: &'static str, default: Option<&'static str>, meaning: &'static str) -> Key {
    Key { name, takes, default, meaning }
}

/// What stands under `browser:`; the steps are read one by one.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(rename = "steps")]
    _steps: Vec<read::Keys>,
    #[serde(default)]
    window: Option<Spanned<String>>,
    #[serde(default)]
    insecure: bool,
    #[serde(default = "sandboxed")]
    sandbox: bool,
}

fn sandboxed() -> bool {
    true
}

fn read(node: &Node) -> Result<Arc<dyn Probe>, Diagnostic> {
    let config: Config = node.read()?;
    let steps = read::steps(node.get("steps").unwrap_or(node))?;
    let window = match config.window {
        None => WINDOW,
        Some(written) => size(&written.value).ok_or_else(|| {
            Diagnostic::error(written.at, "not the size of a window").hint("1280x800; each between 200 and 4000")
        })?,
    };
    Ok(Arc::new(Browser { steps, window, insecure: config.insecure, sandbox: config.sandbox }))
}

fn size(text: &str) -> Option<(u32, u32)> {
    let (width, height) = text.split_once('x')?;
    let side = |text: &str| text.parse().ok().filter(|side| (200..=4000).contains(side));
    Some((side(width)?, side(height)?))
}

/// A use case as it was read.
#[derive(Debug)]
struct Browser {
    /// At least one that isn't clean-up, and of those the first goes somewhere.
    steps: Vec<Step>,
    window: (u32, u32),
    insecure: bool,
    sandbox: bool,
}

impl Probe for Browser {
    fn observe<'a>(&'a self, ask: &'a Ask) -> Looking<'a> {
        Box::pin(run::run(self, ask))
    }

    fn system(&self) -> String {
        let first = self.steps.iter().find_map(|step| match &step.act {
            Act::Go(url) => Some(url.host_and_port()),
            _ => None,
        });
        first.unwrap_or_default()
    }

    fn params(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for name in self.steps.iter().flat_map(Step::slots) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    fn secrets(&self) -> Vec<SecretRef> {
        let mut secrets: Vec<SecretRef> = Vec::new();
        for secret in self.steps.iter().filter_map(Step::secret) {
            if !secrets.contains(secret) {
                secrets.push(secret.clone());
            }
        }
        secrets
    }

    fn own_expectations(&self) -> usize {
        self.steps.iter().map(|step| 1 + step.expect.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_a_size() {
        for (text, expected) in [
            ("1280x800", Some((1280, 800))),
            ("390x844", Some((390, 844))),
            ("1280", None),
            ("1280x", None),
            ("100x800", None),
            ("1280x9000", None),
            ("-1x800", None),
        ] {
            assert_eq!(size(text), expected, "{text}");
        }
    }

    #[test]
    fn a_check_is_read_with_its_faults_in_place() {
        let yaml = |text: &str| crate::yaml::parse("shop.yaml", text).unwrap();
        let probe = read(&yaml(
            "steps:\n- go: \"http://shop:81/x/{{ a }}\"\n- fill: \"#p\"\n  with: { env: P }\n- see: \"#x\"\nwindow: 390x844",
        ))
        .unwrap();
        assert_eq!(probe.system(), "shop:81");
        assert_eq!((probe.params(), probe.secrets().len(), probe.own_expectations()), (vec!["a".to_owned()], 1, 3));
        for (text, place, message) in [
            ("steps: []\nsandbox: no-thanks", "2:10", ""),
            ("sandbox: false", "1:1", "steps"),
            ("steps:\n- go: http://h/\n- see: a\nwindow: big", "4:9", "size of a window"),
            ("steps:\n- go: http://h/\n- se: a", "3:3", "unknown key `se`"),
            ("steps:\n- go: http://h/\n- see: a\nsanbox: false", "4:1", "unknown key `sanbox`"),
        ] {
            let error = read(&yaml(text)).unwrap_err();
            assert_eq!(error.at.to_string(), format!("shop.yaml:{place}"), "{text}: {error:?}");
            assert!(error.message.contains(message), "{text}: {error:?}");
        }
    }
}
