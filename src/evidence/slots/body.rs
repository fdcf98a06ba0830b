//! Slots in what is sent: a JSON value, a form, plain text.

use std::fmt;

use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Number, Value};

use super::{FromText, Pieces, SlotError, value, without_slots};
use crate::model::encode;
use crate::model::params::Params;

/// Plain text with slots, of any number of lines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BodyTemplate(Pieces);

impl BodyTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// A slot that isn't one.
    pub fn parse(text: &str) -> Result<Self, SlotError> {
        Pieces::parse(text).map(BodyTemplate)
    }

    pub fn params(&self) -> Vec<String> {
        self.0.params()
    }

    /// The text with its values, unencoded: plain text has no syntax to break out of.
    ///
    /// # Errors
    /// A value that is missing.
    pub fn render(&self, values: &Params) -> Result<String, SlotError> {
        self.0.fill(|name| value(values, name).map(str::to_owned))
    }
}

impl<'de> Deserialize<'de> for BodyTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        FromText::read(deserializer, BodyTemplate::parse, "a text")
    }
}

impl schemars::JsonSchema for BodyTemplate {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "BodyTemplate".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "description": "may hold {{ parameters }}" })
    }
}

/// A JSON value whose texts may hold slots; a text that is one slot stays a text, keys hold none.
#[derive(Debug, Clone, PartialEq)]
pub enum JsonTemplate {
    /// `null`, a number, true or false.
    Fixed(Value),
    Text(BodyTemplate),
    List(Vec<JsonTemplate>),
    /// In the order written.
    Map(Vec<(String, JsonTemplate)>),
}

impl JsonTemplate {
    pub fn params(&self) -> Vec<String> {
        let mut names = Vec::new();
        self.collect(&mut names);
        names
    }

    fn collect(&self, names: &mut Vec<String>) {
        match self {
            JsonTemplate::Fixed(_) => {}
            JsonTemplate::Text(text) => {
                for name in text.params() {
                    if !names.contains(&name) {
                        names.push(name);
                    }
                }
            }
            JsonTemplate::List(values) => values.iter().for_each(|value| value.collect(names)),
            JsonTemplate::Map(values) => values.iter().for_each(|(_, value)| value.collect(names)),
        }
    }

    /// The value with its slots filled; serialise it with `serde_json`.
    ///
    /// # Errors
    /// A value that is missing.
    pub fn render(&self, values: &Params) -> Result<Value, SlotError> {
        Ok(match self {
            JsonTemplate::Fixed(value) => value.clone(),
            JsonTemplate::Text(text) => Value::String(text.render(values)?),
            JsonTemplate::List(items) => {
                Value::Array(items.iter().map(|item| item.render(values)).collect::<Result<_, _>>()?)
            }
            JsonTemplate::Map(entries) => Value::Object(
                entries
                    .iter()
                    .map(|(key, value)| Ok((key.clone(), value.render(values)?)))
                    .collect::<Result<Map<_, _>, SlotError>>()?,
            ),
        })
    }
}

impl<'de> Deserialize<'de> for JsonTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = JsonTemplate;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<JsonTemplate, E> {
        Ok(JsonTemplate::Fixed(Value::Null))
    }

    fn visit_none<E: de::Error>(self) -> Result<JsonTemplate, E> {
        self.visit_unit()
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<JsonTemplate, E> {
        Ok(JsonTemplate::Fixed(Value::Bool(value)))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<JsonTemplate, E> {
        Ok(JsonTemplate::Fixed(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<JsonTemplate, E> {
        Ok(JsonTemplate::Fixed(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<JsonTemplate, E> {
        match Number::from_f64(value) {
            Some(number) => Ok(JsonTemplate::Fixed(Value::Number(number))),
            None => Err(E::custom("JSON has no infinite numbers and no NaN")),
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<JsonTemplate, E> {
        BodyTemplate::parse(text).map(JsonTemplate::Text).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<JsonTemplate, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(JsonTemplate::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<JsonTemplate, A::Error> {
        let mut map = Vec::new();
        while let Some(Name(key)) = entries.next_key()? {
            map.push((key, entries.next_value()?));
        }
        Ok(JsonTemplate::Map(map))
    }
}

impl schemars::JsonSchema for JsonTemplate {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "JsonTemplate".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "description": "any JSON value; its texts may hold {{ parameters }}" })
    }
}

/// A key: text without slots.
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        FromText::read(
            deserializer,
            |text| {
                without_slots(text)?;
                Ok(Name(text.to_owned()))
            },
            "a name",
        )
    }
}

/// Names and values of a form, sent as `application/x-www-form-urlencoded`, in the order written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FormTemplate(Vec<(String, BodyTemplate)>);

impl FormTemplate {
    pub fn params(&self) -> Vec<String> {
        let mut names = Vec::new();
        for name in self.0.iter().flat_map(|(_, value)| value.params()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// The encoded form. Spaces become `%20`, which every reader of forms accepts beside `+`.
    ///
    /// # Errors
    /// A value that is missing.
    pub fn render(&self, values: &Params) -> Result<String, SlotError> {
        let pairs: Result<Vec<String>, SlotError> = self
            .0
            .iter()
            .map(|(name, value)| {
                Ok(format!("{}={}", encode::url_segment(name), encode::url_segment(&value.render(values)?)))
            })
            .collect();
        Ok(pairs?.join("&"))
    }
}

impl<'de> Deserialize<'de> for FormTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FormVisitor;
        impl<'de> Visitor<'de> for FormVisitor {
            type Value = FormTemplate;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("names and values of a form")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<FormTemplate, A::Error> {
                let mut form = Vec::new();
                while let Some(Name(name)) = entries.next_key()? {
                    let FieldValue(value) = entries.next_value()?;
                    form.push((name, value));
                }
                Ok(FormTemplate(form))
            }
        }
        deserializer.deserialize_map(FormVisitor)
    }
}

/// A form's value: text, or a whole number, true or false that needs no quotes.
struct FieldValue(BodyTemplate);

impl<'de> Deserialize<'de> for FieldValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldVisitor;
        impl Visitor<'_> for FieldVisitor {
            type Value = BodyTemplate;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a whole number, true or false (other values go in quotes)")
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<BodyTemplate, E> {
                self.visit_str(if value { "true" } else { "false" })
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<BodyTemplate, E> {
                self.visit_str(&value.to_string())
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<BodyTemplate, E> {
                self.visit_str(&value.to_string())
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<BodyTemplate, E> {
                BodyTemplate::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(FieldVisitor).map(FieldValue)
    }
}

impl schemars::JsonSchema for FormTemplate {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "FormTemplate".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "object",
            "additionalProperties": { "type": ["string", "integer", "boolean"] },
            "description": "values may hold {{ parameters }}"
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::tests::params;
    use super::*;

    fn template(value: Value) -> Result<JsonTemplate, serde_json::Error> {
        serde_json::from_value(value)
    }

    #[test]
    fn a_text_leaf_stays_text_and_everything_else_stays_what_it_is() {
        let body =
            template(json!({"n": 1, "f": 1.5, "t": true, "z": null, "a": "{{ x }}", "l": ["<{{ y }}>", 2]})).unwrap();
        assert_eq!(body.params(), ["x", "y"]);
        assert_eq!(
            body.render(&params(&[("x", "12"), ("y", "\"},{\"admin\":true")])).unwrap(),
            json!({"n": 1, "f": 1.5, "t": true, "z": null, "a": "12", "l": ["<\"},{\"admin\":true>", 2]})
        );
        assert_eq!(body.render(&params(&[("x", "1")])), Err(SlotError::Missing("y".to_owned())));
    }

    #[test]
    fn keys_hold_no_slots() {
        assert!(template(json!({"{{ x }}": 1})).unwrap_err().to_string().contains("no parameters can stand here"));
        let form: Result<FormTemplate, _> = serde_json::from_value(json!({"{{ x }}": "1"}));
        assert!(form.unwrap_err().to_string().contains("no parameters can stand here"));
    }

    #[test]
    fn a_form_takes_scalars() {
        let form: FormTemplate = serde_json::from_value(json!({"a b": "x&y={{ p }}", "n": 5, "t": true})).unwrap();
        assert_eq!(form.render(&params(&[("p", "1&2")])).unwrap(), "a%20b=x%26y%3D1%262&n=5&t=true");
        assert!(serde_json::from_value::<FormTemplate>(json!({"a": ["list"]})).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn what_is_read_back_is_the_value(value in any::<String>()) {
            let body = template(json!({"a": {"b": ["{{ x }}"]}})).unwrap();
            let sent = serde_json::to_string(&body.render(&params(&[("x", &value)])).unwrap()).unwrap();
            prop_assert_eq!(serde_json::from_str::<Value>(&sent).unwrap(), json!({"a": {"b": [value.clone()]}}));

            let form: FormTemplate = serde_json::from_value(json!({"a": "{{ x }}", "b": "1"})).unwrap();
            let sent = form.render(&params(&[("x", &value)])).unwrap();
            let read: Vec<(String, String)> = url::form_urlencoded::parse(sent.as_bytes()).into_owned().collect();
            prop_assert_eq!(read, vec![("a".to_owned(), value), ("b".to_owned(), "1".to_owned())]);
        }
    }
}
