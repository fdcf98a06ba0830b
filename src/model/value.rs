//! Measures: named facts in base units, as a probe reports them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};

/// One fact. Numbers keep NaN and the infinities, which JSON can't hold.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)] // JSON only (stored evidence), never YAML
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Int(value) => serializer.serialize_i64(*value),
            Value::Float(value) if value.is_finite() => serializer.serialize_f64(*value),
            Value::Float(value) => serializer.serialize_str(&show_number(*value)),
            Value::Text(value) => serializer.serialize_str(value),
            Value::List(values) => serializer.collect_seq(values),
            Value::Map(values) => serializer.collect_map(values),
        }
    }
}

impl Value {
    /// The number, where it is one.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Int(value) => Some(*value as f64),
            Value::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// The fact as a person reads it, at most `limit` characters long.
    pub fn show(&self, limit: usize) -> String {
        let text = match self {
            Value::Null => "null".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Int(value) => value.to_string(),
            Value::Float(value) => show_number(*value),
            Value::Text(value) => format!("\"{value}\""),
            other => serde_json::to_string(other).unwrap_or_default(),
        };
        if text.chars().count() <= limit {
            return text;
        }
        let mut cut: String = text.chars().take(limit.saturating_sub(1)).collect();
        cut.push('…');
        cut
    }
}

/// A float with four significant digits and no exponent where that can be avoided.
pub fn show_number(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let magnitude = value.abs();
    if !(1e-6..1e15).contains(&magnitude) {
        return format!("{value:.3e}");
    }
    let digits_before = magnitude.log10().floor() as i32 + 1;
    let decimals = (4 - digits_before).max(0) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}
impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Value::Int(value)
    }
}
impl From<u16> for Value {
    fn from(value: u16) -> Self {
        Value::Int(i64::from(value))
    }
}
impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Value::Int(i64::from(value))
    }
}
impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Value::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}
impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Value::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}
impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Value::Float(value)
    }
}
impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Value::Text(value.to_owned())
    }
}
impl From<String> for Value {
    fn from(value: String) -> Self {
        Value::Text(value)
    }
}
impl From<Vec<String>> for Value {
    fn from(values: Vec<String>) -> Self {
        Value::List(values.into_iter().map(Value::Text).collect())
    }
}
impl From<serde_json::Value> for Value {
    fn from(value: serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(value) => Value::Bool(value),
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(value) => Value::Int(value),
                None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            serde_json::Value::String(value) => Value::Text(value),
            serde_json::Value::Array(values) => Value::List(values.into_iter().map(Value::from).collect()),
            serde_json::Value::Object(values) => {
                Value::Map(values.into_iter().map(|(key, value)| (key, Value::from(value))).collect())
            }
        }
    }
}

/// The named facts of one observation. A measure that was not seen is absent, never zero.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Measures(BTreeMap<String, Value>);

impl Measures {
    pub fn new() -> Self {
        Self::default()
    }

    /// Records a fact; the last one under a name counts.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) -> &mut Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    pub fn number(&self, name: &str) -> Option<f64> {
        self.0.get(name).and_then(Value::as_f64)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_with_four_digits() {
        for (value, shown) in [
            (0.228_456, "0.2285"),
            (1.0, "1"),
            (12.3456, "12.35"),
            (0.0, "0"),
            (1234567.0, "1234567"),
            (0.8, "0.8"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (1e-9, "1.000e-9"),
        ] {
            assert_eq!(show_number(value), shown);
        }
    }

    #[test]
    fn what_json_cannot_hold_is_written_as_text() {
        assert_eq!(serde_json::to_string(&Value::Float(f64::NAN)).unwrap(), "\"NaN\"");
        assert_eq!(serde_json::to_string(&Value::Float(0.5)).unwrap(), "0.5");
    }
}
