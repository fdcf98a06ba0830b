//! The JSON Schema of a file of checks, for editors: `houston check schema`.

use serde_json::{Value, json};

use super::reader::COMMON_KEYS;
use crate::evidence::Kind;
use crate::model::look::{Class, Look};
use crate::model::units;

/// The schema of one file, with the values of these kinds.
///
/// The kinds' values come from their own types; the keys that are common to all checks are written down here, and a
/// test holds them against the reader's.
pub fn schema(kinds: &[&'static Kind]) -> Value {
    let mut generator = schemars::generate::SchemaSettings::draft2020_12().into_generator();
    let duration = generator.subschema_for::<units::Span>().to_value();
    let look = generator.subschema_for::<Look>().to_value();
    let class = generator.subschema_for::<Class>().to_value();
    let mut check = common(&duration, &look, &class);
    let mut one_kind = Vec::new();
    let mut control = serde_json::Map::new();
    for kind in kinds {
        let mut value = (kind.schema)(&mut generator).to_value();
        if let Value::Object(object) = &mut value {
            object.insert("description".to_owned(), Value::from(kind.summary));
        }
        control.insert(kind.name.to_owned(), value.clone());
        check.insert(kind.name.to_owned(), value);
        one_kind.push(json!({ "required": [kind.name] }));
    }
    control.insert("expect".to_owned(), json!({ "$ref": "#/$defs/Expectations" }));
    check.insert(
        "control".to_owned(),
        json!({
            "description": "what proves that the runner itself is fine",
            "anyOf": [
                { "const": "synthetic" },
                { "type": "object", "properties": control, "additionalProperties": false, "maxProperties": 2 }
            ]
        }),
    );
    let mut definitions = generator.take_definitions(true);
    definitions.insert("Expectations".to_owned(), expectations());
    let mut check = json!({
        "type": "object", "properties": check, "additionalProperties": false, "required": ["name"]
    });
    if !one_kind.is_empty()
        && let Value::Object(object) = &mut check
    {
        object.insert("oneOf".to_owned(), Value::Array(one_kind));
    }
    definitions.insert("Check".to_owned(), check);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A file of Houston's checks.d",
        "type": "object",
        "additionalProperties": false,
        "required": ["checks"],
        "properties": {
            "service": { "type": "string", "description": "what these checks speak for: a service of the catalog" },
            "owner": { "type": "string", "description": "the team that is paged" },
            "defaults": {
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "timeout": duration, "every": duration, "class": class,
                    "attempts": { "type": "integer", "minimum": 1, "maximum": 10 },
                    "needed": { "type": "boolean" },
                    "labels": labels()
                }
            },
            "checks": { "type": "array", "items": { "$ref": "#/$defs/Check" } }
        },
        "$defs": definitions
    })
}

fn common(duration: &Value, look: &Value, class: &Value) -> serde_json::Map<String, Value> {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let list =
        |description: &str| json!({ "type": "array", "items": { "type": "string" }, "description": description });
    let described = |schema: &Value, description: &str| {
        let mut schema = schema.clone();
        if let Value::Object(object) = &mut schema {
            object.insert("description".to_owned(), Value::from(description));
        }
        schema
    };
    let mut keys = serde_json::Map::new();
    for name in COMMON_KEYS {
        let schema = match name {
            "name" => json!({
                "type": "string", "pattern": "^[a-z0-9._-]{1,64}$", "description": "its name, unique over all files"
            }),
            "service" => text("what it speaks for, instead of the file's service"),
            "owner" => text("the team that is paged, instead of the file's owner"),
            "expect" => json!({ "$ref": "#/$defs/Expectations" }),
            "look" => described(look, "instead of the kind's home look"),
            "class" => described(class, "how far its word may be trusted"),
            "timeout" => described(duration, "how long it may take (10s)"),
            "every" => described(duration, "sampled in the background this often; without it only for tickets"),
            "attempts" => json!({
                "type": "integer", "minimum": 1, "maximum": 10, "description": "how often it looks before it accuses"
            }),
            "bad_if" => json!({
                "type": "object", "additionalProperties": false, "required": ["failures", "of"],
                "properties": {
                    "failures": { "type": "integer", "minimum": 1, "maximum": 10 },
                    "of": { "type": "integer", "minimum": 1, "maximum": 10 }
                },
                "description": "bad where at least this many of the attempts failed"
            }),
            "group" => text("the witness: the system asked together with the place it is asked from"),
            "needed" => json!({ "type": "boolean", "description": "whether its silence blocks the verdict no issue" }),
            "params" => params(),
            "applies_to" => json!({
                "type": "object", "additionalProperties": false,
                "properties": {
                    "services": list("only tickets of these services"),
                    "customers": list("only tickets of these customers"),
                    "ticket_matches": text("a regular expression over the ticket's title and text")
                },
                "description": "which tickets it is for"
            }),
            "from" => json!({ "type": "array", "items": { "const": "local" }, "description": "where it looks from" }),
            "depends_on" => list("what it depends on"),
            "known_issue" => json!({
                "type": "object", "additionalProperties": false, "required": ["until"],
                "properties": { "until": text("2026-12-24 or 2026-12-24T18:00:00Z"), "ticket": text("where it is followed") },
                "description": "a failure that is accepted for a while"
            }),
            "labels" => labels(),
            "annotations" => json!({
                "type": "object", "additionalProperties": false,
                "properties": { "summary": text("one sentence"), "runbook_url": { "type": "string", "format": "uri" } }
            }),
            _ => continue, // `control` needs the kinds and is added by the caller
        };
        keys.insert(name.to_owned(), schema);
    }
    keys
}

fn params() -> Value {
    json!({
        "type": "object",
        "propertyNames": { "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,63}$" },
        "additionalProperties": {
            "type": "object", "additionalProperties": false,
            "properties": {
                "from": { "type": "string", "pattern": r"^ticket\.(customer|params\.[A-Za-z_][A-Za-z0-9_]*)$" },
                "pattern": { "type": "string", "description": "a regular expression that the whole value must match" },
                "default": { "type": ["string", "number", "boolean"] },
                "ask": { "type": "string", "maxLength": 200, "description": "what to ask the reporter when it is missing" }
            }
        },
        "description": "what it takes from a ticket"
    })
}

fn labels() -> Value {
    json!({
        "type": "object",
        "propertyNames": { "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" },
        "additionalProperties": { "type": ["string", "number", "boolean"] }
    })
}

fn expectations() -> Value {
    json!({
        "type": "array", "minItems": 1, "maxItems": 64,
        "items": {
            "anyOf": [
                { "type": "string", "description": "a CEL expression over the kind's measures" },
                {
                    "type": "object", "additionalProperties": false, "required": ["that"],
                    "properties": {
                        "that": { "type": "string", "description": "a CEL expression over the kind's measures" },
                        "else": { "enum": ["bad", "odd"], "description": "what a broken one comes to (bad)" },
                        "note": { "type": "string" }
                    }
                }
            ]
        },
        "description": "what must hold"
    })
}

#[cfg(test)]
mod tests {
    use super::super::test_kinds::KINDS;
    use super::*;

    #[test]
    fn every_key_that_is_read_is_in_the_schema_and_every_reference_leads_somewhere() {
        let schema = schema(KINDS);
        let keys = schema["$defs"]["Check"]["properties"].as_object().unwrap();
        for name in COMMON_KEYS.iter().chain(&["http", "log_file"]) {
            assert!(keys.contains_key(*name), "{name}");
        }
        assert_eq!(keys.len(), COMMON_KEYS.len() + KINDS.len());
        assert_eq!(keys["http"]["description"], "asks for a page");
        let text = schema.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(schema.pointer(pointer).is_some(), "{pointer}");
        }
        assert!(text.contains("SecretRef"));
    }
}
