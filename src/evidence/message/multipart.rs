//! A form in several parts, with files: `multipart/form-data`.
//!
//! Format: RFC 7578, names written as browsers do (the WHATWG's "multipart/form-data encoding algorithm").

use std::fmt::{self, Write as _};
use std::path::{Component, Path, PathBuf};

use http::HeaderValue;
use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer};

use super::Unready;
use crate::evidence::slots::{BodyTemplate, without_slots};
use crate::model::encode::{is_unprintable, shell_word};
use crate::model::params::Params;
use crate::model::source::Diagnostic;
use crate::yaml::Spanned;

/// The longest file, in bytes.
const FILE_LIMIT: u64 = 256 * 1024;
/// The most parts.
const PARTS_LIMIT: usize = 50;

/// The parts in the order written.
#[derive(Debug, Default)]
pub struct MultipartTemplate(Vec<(String, Spanned<Part>)>);

#[derive(Debug)]
enum Part {
    Text(BodyTemplate),
    File(Attachment),
}

/// A file that is sent as it is when the request is made.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "MultipartFile")]
struct Attachment {
    /// Below the directory of the check's own file.
    file: PathBuf,
    /// What the server is told that it is called; by default its own name.
    filename: Option<String>,
    /// By default `application/octet-stream`.
    content_type: Option<String>,
    /// The check's own directory.
    #[serde(skip)]
    directory: PathBuf,
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Part;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a whole number, true or false, or { file: path }")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Part, E> {
                BodyTemplate::parse(text).map(Part::Text).map_err(E::custom)
            }
            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Part, E> {
                self.visit_str(if value { "true" } else { "false" })
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Part, E> {
                self.visit_str(&number.to_string())
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Part, E> {
                self.visit_str(&number.to_string())
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Part, A::Error> {
                Attachment::deserialize(MapAccessDeserializer::new(map)).map(Part::File)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for MultipartTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts;
        impl<'de> Visitor<'de> for Parts {
            type Value = MultipartTemplate;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("names and parts of a form")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<MultipartTemplate, A::Error> {
                let mut parts = Vec::new();
                while let Some((name, part)) = entries.next_entry::<String, Spanned<Part>>()? {
                    parts.push((name, part));
                }
                Ok(MultipartTemplate(parts))
            }
        }
        deserializer.deserialize_map(Parts)
    }
}

impl schemars::JsonSchema for MultipartTemplate {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MultipartTemplate".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let file = generator.subschema_for::<Attachment>();
        schemars::json_schema!({
            "type": "object",
            "additionalProperties": { "anyOf": [{ "type": ["string", "integer", "boolean"] }, file] },
            "description": "texts may hold {{ parameters }}"
        })
    }
}

impl MultipartTemplate {
    /// The parts with their files found.
    ///
    /// # Errors
    /// A name with slots; a file that leads out of the check's directory, isn't there or is too long.
    pub(super) fn placed(mut self) -> Result<Self, Diagnostic> {
        for (index, (name, part)) in self.0.iter_mut().enumerate() {
            let refuse = |message: String| Err(Diagnostic::error(part.at.clone(), message));
            if index >= PARTS_LIMIT {
                return refuse(format!("a form has at most {PARTS_LIMIT} parts"));
            }
            if without_slots(name).is_err() {
                return refuse("the name of a part holds no parameters".to_owned());
            }
            let Part::File(attachment) = &mut part.value else { continue };
            let below = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
            if !attachment.file.components().all(below) || without_slots(&attachment.file.to_string_lossy()).is_err() {
                return Err(Diagnostic::error(part.at.clone(), "a file to send lies beside the check")
                    .hint("give its path from the directory of the check's own file"));
            }
            let filename = attachment.filename.as_deref().unwrap_or_default();
            if filename.chars().any(is_unprintable) || without_slots(filename).is_err() {
                return refuse("`filename` is plain text".to_owned());
            }
            let content_type = attachment.content_type.as_deref().unwrap_or_default();
            if HeaderValue::from_str(content_type).is_err() || without_slots(content_type).is_err() {
                return refuse("`content_type` is a media type, such as image/png".to_owned());
            }
            attachment.directory = Path::new(&*part.at.file).parent().unwrap_or(Path::new("")).to_path_buf();
            if let Err(why) = attachment.read() {
                return refuse(why);
            }
        }
        Ok(self)
    }

    pub(super) fn params(&self) -> Vec<String> {
        let texts = self.0.iter().filter_map(|(_, part)| match &part.value {
            Part::Text(text) => Some(text.params()),
            Part::File(_) => None,
        });
        texts.flatten().collect()
    }

    /// The content type with its boundary, and the bytes.
    pub(super) fn write(&self, values: &Params) -> Result<(String, Vec<u8>), Unready> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| Unready::File(format!("no random numbers: {error}")))?;
        let mut boundary = "houston-".to_owned();
        for byte in random {
            let _ = write!(boundary, "{byte:02x}");
        }
        let mut out = Vec::new();
        for (name, part) in &self.0 {
            let mut head = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"", escaped(name));
            let content = match &part.value {
                Part::Text(text) => text.render(values)?.into_bytes(),
                Part::File(attachment) => {
                    let kind = attachment.content_type.as_deref().unwrap_or("application/octet-stream");
                    let _ = write!(head, "; filename=\"{}\"\r\nContent-Type: {kind}", escaped(&attachment.name()));
                    attachment.read().map_err(Unready::File)?
                }
            };
            out.extend_from_slice(head.as_bytes());
            out.extend_from_slice(b"\r\n\r\n");
            out.extend_from_slice(&content);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        Ok((format!("multipart/form-data; boundary={boundary}"), out))
    }

    /// Each part as an option of curl.
    pub(super) fn curl(&self, values: &Params) -> Vec<String> {
        let option = |(name, part): &(String, Spanned<Part>)| match &part.value {
            Part::Text(text) => {
                let text = text.render(values).unwrap_or_default();
                format!("--form-string {}", shell_word(&format!("{name}={text}")))
            }
            Part::File(attachment) => {
                let kind = attachment.content_type.as_deref().unwrap_or("application/octet-stream");
                let path = attachment.path();
                let file = format!("{name}=@{};type={kind};filename={}", path.display(), attachment.name());
                format!("-F {}", shell_word(&file))
            }
        };
        self.0.iter().map(option).collect()
    }
}

impl Attachment {
    fn path(&self) -> PathBuf {
        self.directory.join(&self.file)
    }

    fn name(&self) -> String {
        let own = || self.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        self.filename.clone().unwrap_or_else(own)
    }

    /// Its bytes. Never waits: what isn't a regular file of a bounded length isn't opened.
    fn read(&self) -> Result<Vec<u8>, String> {
        let shown = self.file.display();
        let fault = |error: std::io::Error| format!("the file {shown} can't be read: {error}");
        let directory = if self.directory.as_os_str().is_empty() { Path::new(".") } else { &self.directory };
        let (directory, path) = (directory.canonicalize().map_err(fault)?, self.path().canonicalize().map_err(fault)?);
        if !path.starts_with(&directory) {
            return Err(format!("the file {shown} leads out of the check's directory"));
        }
        let metadata = path.metadata().map_err(fault)?;
        if !metadata.is_file() || metadata.len() > FILE_LIMIT {
            return Err(format!("the file {shown} is no file of at most 256 KiB"));
        }
        std::fs::read(path).map_err(fault)
    }
}

/// As browsers write a name between quotes.
fn escaped(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}
