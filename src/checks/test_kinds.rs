//! Two small kinds for the tests of this module, which must not depend on how real kinds look today.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;

use crate::evidence::{Ask, Key, Kind, Looking, Probe, Sees};
use crate::model::look::Look;
use crate::model::measure::{Measure, Type};
use crate::model::observation::{Observation, UnknownKind};
use crate::model::secret::SecretRef;
use crate::model::source::Diagnostic;
use crate::yaml::{Node, Spanned};

pub static KINDS: &[&Kind] = &[&HTTP, &LOG_FILE];

const MEASURES: &[Measure] = &[
    Measure { name: "status", kind: Type::Number, unit: "code", meaning: "the status code" },
    Measure { name: "duration_seconds", kind: Type::Number, unit: "seconds", meaning: "how long it took" },
];

static HTTP: Kind = Kind {
    name: "http",
    look: Look::External,
    summary: "asks for a page",
    docs: "",
    keys: &[Key { name: "url", takes: "URL", default: None, meaning: "the page" }],
    measures: MEASURES,
    default_expect: &["status == 200"],
    headline: &["status"],
    sees: Sees::Now,
    attempts: 2,
    example: "external/http.yaml",
    example_text: "",
    read: read_http,
    schema: |generator| generator.subschema_for::<Http>(),
};

static LOG_FILE: Kind = Kind {
    name: "log_file",
    look: Look::Logs,
    summary: "reads logs",
    docs: "",
    keys: &[Key { name: "paths", takes: "list of paths", default: None, meaning: "the files" }],
    measures: MEASURES,
    default_expect: &[],
    headline: &["status"],
    sees: Sees::Past,
    attempts: 1,
    example: "logs/log_file.yaml",
    example_text: "",
    read: read_log_file,
    schema: |generator| generator.subschema_for::<LogFile>(),
};

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[allow(dead_code)]
struct Http {
    url: Spanned<String>,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    follow_redirects: Option<u8>,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    bearer_token: Option<SecretRef>,
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[allow(dead_code)]
struct LogFile {
    paths: Vec<PathBuf>,
    #[serde(default, rename = "match")]
    matching: Option<String>,
}

fn read_http(node: &Node) -> Result<Arc<dyn Probe>, Diagnostic> {
    let http: Http = node.read()?;
    assert!(http.url.value != "http://panic/", "a fault in a kind's code");
    if !http.url.value.starts_with("http") {
        return Err(Diagnostic::error(http.url.at, "the URL has no scheme").hint("https://…"));
    }
    Ok(Arc::new(http))
}

fn read_log_file(node: &Node) -> Result<Arc<dyn Probe>, Diagnostic> {
    Ok(Arc::new(node.read::<LogFile>()?))
}

fn blind() -> Observation {
    Observation::blind(UnknownKind::Refused, "a test looks at nothing")
}

impl Probe for Http {
    fn observe<'a>(&'a self, _: &'a Ask) -> Looking<'a> {
        Box::pin(async { blind() })
    }
    fn system(&self) -> String {
        self.url.value.split('/').nth(2).unwrap_or("?").to_owned()
    }
    fn params(&self) -> Vec<String> {
        let slots = self.url.value.split("{{").skip(1);
        slots.filter_map(|rest| rest.split("}}").next()).map(|name| name.trim().to_owned()).collect()
    }
    fn secrets(&self) -> Vec<SecretRef> {
        self.bearer_token.iter().cloned().collect()
    }
}

impl Probe for LogFile {
    fn observe<'a>(&'a self, _: &'a Ask) -> Looking<'a> {
        Box::pin(async { blind() })
    }
    fn system(&self) -> String {
        self.paths.first().map(|path| path.display().to_string()).unwrap_or_default()
    }
}
